"""Estimates pi: the part of random points in a square that fall into its circle.

python3 examples/python/pi_monte_carlo.py --size 1000000 --workers 2
"""

import argparse
import math
import os
import time
from multiprocessing import Pool

TASKS = 64
MASK = (1 << 64) - 1


def inside(seed, points):
    """How many of so many points lie inside; the numbers are those of splitmix64."""
    state, count = seed << 32, 0
    for _ in range(points):
        square = 0.0
        for _ in range(2):
            state = (state + 0x9E3779B97F4A7C15) & MASK
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            x = ((z ^ (z >> 31)) >> 11) / (1 << 53)
            square += x * x
        count += square < 1.0
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    each = max(options.size // TASKS, 1)
    points = each * TASKS

    start = time.perf_counter()
    expected = sum(inside(seed, each) for seed in range(TASKS))
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        with Pool(workers) as pool:
            start = time.perf_counter()
            count = sum(pool.starmap(inside, [(seed, each) for seed in range(TASKS)]))
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert count == expected
    pi = 4 * expected / points
    print(f"pi is about {pi:.4f}: {expected} of {points} points, counted alike each time")
    assert abs(pi - math.pi) < 0.01 or points < 1_000_000


if __name__ == "__main__":
    main()
