"""Counts hits from many processes: under a lock, and without one.

python3 examples/python/shared_counter.py --size 20000 --workers 4
python3 examples/python/shared_counter.py --wrong

Python has no atomic addition, so without a lock each process counts for itself.
"""

import argparse
import time
from multiprocessing import Process, RawArray, Value


def locked(counter, hits):
    for _ in range(hits):
        with counter.get_lock():
            counter.value += 1


def apart(counters, at, hits):
    for _ in range(hits):
        counters[at] += 1


def wrong(counter, hits):
    for _ in range(hits):
        counter.get_obj().value += 1


def run(function, arguments):
    """How long it takes until a process for each of the arguments has ended."""
    start = time.perf_counter()
    crew = [Process(target=function, args=it) for it in arguments]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--wrong", action="store_true")
    options = parser.parse_args()
    hits, workers = options.size, options.workers

    counter = Value("Q", 0)
    took = run(locked, [(counter, hits)] * workers)
    assert counter.value == workers * hits
    print(f"under a lock: {counter.value} of {workers * hits}, {took:.3f}s")
    counters = RawArray("Q", workers)
    took = run(apart, [(counters, at, hits) for at in range(workers)])
    assert sum(counters) == workers * hits
    print(f"without a lock: {sum(counters)} of {workers * hits}, {took:.3f}s")
    if options.wrong:
        counter = Value("Q", 0)
        took = run(wrong, [(counter, hits)] * workers)
        print(f"by a read and a write: {counter.value} of {workers * hits}, {took:.3f}s")


if __name__ == "__main__":
    main()
