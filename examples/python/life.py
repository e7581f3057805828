"""Conway's Game of Life: each process has a band of rows of two boards in shared memory, in turn old and new.

python3 examples/python/life.py --size 60 --generations 100 --workers 2
"""

import argparse
import os
import time
from multiprocessing import Barrier, Event, Process, Value
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory

# The R-pentomino.
SEED = ((0, 1), (0, 2), (1, 0), (1, 1), (2, 1))


def band(old, new, size, first, last):
    """Computes some rows of the new board; nothing lives beyond the border."""
    for row in range(first, last):
        above, here, below = (old[at * size : (at + 1) * size] for at in (row - 1, row, row + 1))
        columns = [x + y + z for x, y, z in zip(above, here, below)]
        line = bytearray(size)
        for at in range(1, size - 1):
            around = columns[at - 1] + columns[at] + columns[at + 1]
            line[at] = around == 3 or (around == 4 and here[at])
        new[row * size : (row + 1) * size] = line


def live(barrier, stop, generation, last_generation, names, size, first, last):
    boards = [SharedMemory(name) for name in names]
    while not stop.is_set():
        number = generation.value
        band(boards[number % 2].buf, boards[(number + 1) % 2].buf, size, first, last)
        if barrier.wait() == 0:
            generation.value = number + 1
            if number + 1 == last_generation:
                stop.set()
        barrier.wait()
    for board in boards:
        board.close()


def start_board(size):
    board = bytearray(size * size)
    for row, column in SEED:
        board[(size // 2 + row) * size + size // 2 + column] = 1
    return board


def alone(size, generations):
    old = start_board(size)
    for _ in range(generations):
        new = bytearray(size * size)
        band(old, new, size, 1, size - 1)
        old = new
    return old


def together(size, generations, workers):
    with SharedMemoryManager() as manager:
        boards = [manager.SharedMemory(size * size) for _ in range(2)]
        boards[0].buf[: size * size] = start_board(size)
        barrier, stop, generation = Barrier(workers), Event(), Value("Q", 0)
        bounds = [1 + (size - 2) * at // workers for at in range(workers + 1)]
        crew = []
        for at in range(workers):
            names = [board.name for board in boards]
            arguments = (barrier, stop, generation, generations, names, size, bounds[at], bounds[at + 1])
            crew.append(Process(target=live, args=arguments))
            crew[-1].start()
        for process in crew:
            process.join()
            assert process.exitcode == 0
        return bytearray(boards[generations % 2].buf[: size * size])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=600)
    parser.add_argument("--generations", type=int, default=1103)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    size, generations = max(options.size, 10), max(options.generations, 1)
    start = time.perf_counter()
    expected = alone(size, generations)
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        start = time.perf_counter()
        board = together(size, generations, workers)
        print(f"{workers} worker{'' if workers == 1 else 's'} {time.perf_counter() - start:.3f}s")
        assert board == expected
    print(f"{sum(expected)} cells live in generation {generations}")


if __name__ == "__main__":
    main()
