"""Shows how far a long job is, in two ways: by its results, and by a counter in shared memory.

python3 examples/python/progress_bar.py --size 100000 --workers 2
"""

import argparse
import os
import sys
from multiprocessing import Pool, Value

RANGE = 1_000

done = None


def initialize(counter):
    global done
    done = counter


def steps(n):
    count = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


def best(results):
    """The most steps; of several numbers the lowest."""
    return max(results, key=lambda it: (it[0], -it[1]))


def longest(bounds):
    return best((steps(n), n) for n in range(*bounds))


def longest_counted(bounds):
    result = longest(bounds)
    with done.get_lock():
        done.value += 1
    return result


def ranges(n):
    return [(max(start, 1), min(start + RANGE, n)) for start in range(0, n, RANGE)]


class Bar:
    def __init__(self, total):
        self.total, self.shown = total, 0

    def show(self, count):
        percent = 100 * count // max(self.total, 1)
        assert percent >= self.shown, f"it went back from {self.shown} % to {percent} %"
        if sys.stdout.isatty():
            print(f"\r[{'#' * (percent // 2):<50}] {percent:>3} %", end="\n" if count == self.total else "", flush=True)
        else:
            for tenth in range(self.shown // 10 + 1, percent // 10 + 1):
                print(f"{tenth}0 %")
        self.shown = percent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=300_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    n, counter = max(options.size, 2), Value("Q", 0)
    work = ranges(n)
    with Pool(options.workers, initialize, (counter,)) as pool:
        print("by its results:")
        bar, results = Bar(len(work)), []
        for result in pool.imap_unordered(longest, work):
            results.append(result)
            bar.show(len(results))
        by_results = best(results)

        print("by a counter:")
        bar = Bar(len(work))
        result = pool.map_async(longest_counted, work)
        while not result.ready():
            bar.show(counter.value)
            result.wait(0.05)
        bar.show(counter.value)
        by_counter = best(result.get())
    expected = best(map(longest, work))
    assert (by_results, by_counter, counter.value) == (expected, expected, len(work))
    print(f"below {n}, the number {expected[1]} needs the most steps: {expected[0]}")


if __name__ == "__main__":
    main()
