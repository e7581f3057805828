"""One tour through a pool: each kind of call, errors, time limits, and its end.

python3 examples/python/pool_demo.py --workers 4
"""

import argparse
import multiprocessing
import time


def multiply(a, b):
    return a * b


def plus(a, b):
    return a + b


def divide(x):
    return 100 // (x - 5)


def sleeps(x):
    time.sleep(x / 1000)
    return x


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=4)
    pool = multiprocessing.Pool(parser.parse_args().workers)

    calls = [(multiply, (i, 7)) for i in range(3)] + [(plus, (i, 8)) for i in range(3)]
    results = [pool.apply_async(function, args) for function, args in calls]
    print("apply_async:", [result.get() for result in results])
    print("map:", pool.map(abs, [3, -4, 5]))
    print("imap:", list(pool.imap(abs, [3, -4, 5])))
    print("imap_unordered, sorted:", sorted(pool.imap_unordered(abs, [3, -4, 5])))

    try:
        pool.apply(divide, (5,))
    except ZeroDivisionError:
        print("apply: an error, as expected")
    try:
        pool.map(divide, range(10))
    except ZeroDivisionError:
        print("map: an error, as expected")

    values = pool.imap(divide, range(10))
    good = bad = 0
    while True:
        try:
            next(values)
            good += 1
        except StopIteration:
            break
        except ZeroDivisionError:
            bad += 1
    print(f"imap: {good} results and {bad} error")

    result = pool.apply_async(sleeps, (300,))
    waits = 0
    while True:
        try:
            value = result.get(timeout=0.02)
            break
        except multiprocessing.TimeoutError:
            waits += 1
    print("get with a time limit:", value, "after some waits" if waits else "at once")

    pool.close()
    try:
        pool.map(abs, [1])
    except ValueError:
        print("a closed pool takes no calls")
    pool.join()

    pool = multiprocessing.Pool(2)
    pool.apply_async(sleeps, (100_000,))
    pool.terminate()
    pool.join()
    print("terminated")
