"""Counts the primes below N, by ranges of very uneven cost.

python3 examples/python/primes.py 1000000 2
"""

import math
import os
import sys
import time
from multiprocessing import Pool

KNOWN = {1_000: 168, 10_000: 1_229, 100_000: 9_592, 1_000_000: 78_498, 10_000_000: 664_579}

small = []


def initialize(primes):
    small.extend(primes)


def is_prime(primes, n):
    for prime in primes:
        if prime * prime > n:
            break
        if n % prime == 0:
            return False
    return True


def count(bounds):
    start, end = bounds
    two = 1 if start <= 2 < end else 0
    return two + sum(is_prime(small, n) for n in range(max(start, 3) | 1, end, 2))


def make_ranges(n):
    ranges, start = [], 0
    while start < n:
        end = min(start + (100 << (len(ranges) % 12)), n)
        ranges.append((start, end))
        start = end
    return ranges


def small_primes(n):
    primes = []
    for candidate in range(3, math.isqrt(n) + 1, 2):
        if is_prime(primes, candidate):
            primes.append(candidate)
    return primes


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else len(os.sched_getaffinity(0))
    ranges = make_ranges(n)
    print(len(ranges), "ranges")
    for processes in (1, workers):
        with Pool(processes, initialize, (small_primes(n),)) as pool:
            start = time.perf_counter()
            primes = sum(pool.map(count, ranges, chunksize=1))
            took = time.perf_counter() - start
        print(f"{primes} primes below {n}, {processes} worker{'' if processes == 1 else 's'}: {took:.3f}s")
        assert primes == KNOWN.get(n, primes)


if __name__ == "__main__":
    main()
