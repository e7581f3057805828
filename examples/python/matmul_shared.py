"""Multiplies two matrices, by blocks of rows, into one array in shared memory.

python3 examples/python/matmul_shared.py --size 120 --workers 2

Forked workers inherit the arrays through the initializer; only the numbers of rows travel.
"""

import argparse
import os
import time
from multiprocessing import Pool, RawArray

ROWS = 16

shared = None


def initialize(*arrays):
    global shared
    shared = arrays


def value(seed):
    """A number of -1 to 1, made of its place."""
    seed = (seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    return (seed >> 11) / (1 << 52) - 1.0


def product(a, b, n, first, last):
    """Some rows of the product of two matrices of n by n."""
    out = []
    for row in range(first, last):
        line = [0.0] * n
        for inner in range(n):
            factor, other = a[row * n + inner], b[inner * n : (inner + 1) * n]
            line = [total + factor * it for total, it in zip(line, other)]
        out += line
    return out


def multiply(block):
    n, first, last = block
    a, b, c = shared
    c[first * n : last * n] = product(a, b, n, first, last)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    n = options.size
    a = RawArray("d", [value(at) for at in range(n * n)])
    b = RawArray("d", [value(at + n * n) for at in range(n * n)])
    start = time.perf_counter()
    expected = product(a, b, n, 0, n)
    print(f"without workers {time.perf_counter() - start:.3f}s")
    blocks = [(n, first, min(first + ROWS, n)) for first in range(0, n, ROWS)]
    for workers in (1, options.workers):
        c = RawArray("d", n * n)
        with Pool(workers, initialize, (a, b, c)) as pool:
            start = time.perf_counter()
            pool.map(multiply, blocks)
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert list(c) == expected
    trace = sum(expected[at * n + at] for at in range(n))
    print(f"{n} x {n}, the same product each time; the sum of its diagonal is {trace:.6f}")


if __name__ == "__main__":
    main()
