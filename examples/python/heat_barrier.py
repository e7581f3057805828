"""Heat that spreads along a rod: each process has a part of it, and all go from step to step together.

python3 examples/python/heat_barrier.py --size 200 --steps 100 --workers 3
"""

import argparse
import os
import sys
import threading
import time
from multiprocessing import Barrier, Process, RawArray


def step(old, first, last):
    return [old[at] + 0.25 * (old[at - 1] - 2.0 * old[at] + old[at + 1]) for at in range(first, last)]


def start_heat(size):
    return [100.0 if at == 0 else 0.0 for at in range(size)]


def alone(size, steps):
    rod = start_heat(size)
    for _ in range(steps):
        rod[1 : size - 1] = step(rod, 1, size - 1)
    return rod


def spread(barrier, buffers, first, last, steps, give_up_at):
    for number in range(steps):
        if number == give_up_at:
            barrier.abort()
            return
        old, new = buffers[number % 2], buffers[(number + 1) % 2]
        new[first:last] = step(old[first - 1 : last + 1], 1, last - first + 1)
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            sys.exit(3)


def together(size, steps, workers, give_up_at):
    """The heat behind the last step, and how many processes found the barrier broken."""
    barrier = Barrier(workers)
    buffers = [RawArray("d", start_heat(size)) for _ in range(2)]
    bounds = [1 + (size - 2) * at // workers for at in range(workers + 1)]
    crew = []
    for at in range(workers):
        arguments = (barrier, buffers, bounds[at], bounds[at + 1], steps, give_up_at if at == 0 else None)
        crew.append(Process(target=spread, args=arguments))
        crew[-1].start()
    for process in crew:
        process.join()
    return list(buffers[steps % 2]), sum(process.exitcode == 3 for process in crew)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    size, steps = options.size, options.steps
    start = time.perf_counter()
    expected = alone(size, steps)
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        start = time.perf_counter()
        rod, broken = together(size, steps, workers, None)
        print(f"{workers} worker{'' if workers == 1 else 's'} {time.perf_counter() - start:.3f}s")
        assert rod == expected and broken == 0
    print(f"{steps} steps, bit for bit the same; at place 5 there are {expected[5]:.6f} degrees")
    _, broken = together(size, steps, options.workers, steps // 2)
    assert broken == options.workers - 1
    print(f"one gives up half way: {broken} find the barrier broken")


if __name__ == "__main__":
    main()
