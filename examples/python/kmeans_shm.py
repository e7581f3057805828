"""k-means: points in shared memory that each worker opens by its name, centres in a shared list.

python3 examples/python/kmeans_shm.py --size 2000 --workers 2
"""

import argparse
import os
import struct
import time
from multiprocessing import Pool
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import ShareableList, SharedMemory

CLUSTERS, ROUNDS, BLOCK = 5, 10, 500

points = centres = None


def initialize(points_name, centres_name):
    global points, centres
    points, centres = SharedMemory(points_name), ShareableList(name=centres_name)


def make_points(count):
    """Clouds around five places, as x and y one behind the other."""
    state, numbers = 1, []
    for at in range(count):
        for axis in range(2):
            state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
            middle = 10.0 * ((at * 7 + axis * 3) % CLUSTERS)
            numbers.append(middle + (state >> 33) / (1 << 30) * 4.0 - 4.0)
    return numbers


def sums(numbers, places):
    """For each centre: the sums of x and y of the points that are nearest to it, and their number."""
    out = [[0.0, 0.0, 0] for _ in range(CLUSTERS)]
    for x, y in zip(numbers[::2], numbers[1::2]):
        nearest, least = 0, float("inf")
        for at in range(CLUSTERS):
            dx, dy = x - places[2 * at], y - places[2 * at + 1]
            if dx * dx + dy * dy < least:
                nearest, least = at, dx * dx + dy * dy
        own = out[nearest]
        own[0] += x
        own[1] += y
        own[2] += 1
    return out


def sums_of_block(bounds):
    first, last = bounds
    numbers = struct.unpack_from(f"{2 * (last - first)}d", points.buf, 16 * first)
    return sums(numbers, list(centres))


def moved(places, blocks):
    """The new centres: the sums of the blocks are added in their order, so that the result is the same each time."""
    out = list(places)
    for at in range(CLUSTERS):
        x = y = 0.0
        count = 0
        for block in blocks:
            x, y, count = x + block[at][0], y + block[at][1], count + block[at][2]
        if count:
            out[2 * at], out[2 * at + 1] = x / count, y / count
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    count = max(options.size, CLUSTERS)
    numbers = make_points(count)
    bounds = [(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
    first_centres = numbers[: 2 * CLUSTERS]

    start = time.perf_counter()
    expected = first_centres
    for _ in range(ROUNDS):
        expected = moved(expected, [sums(numbers[2 * first : 2 * last], expected) for first, last in bounds])
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        with SharedMemoryManager() as manager:
            memory = manager.SharedMemory(16 * count)
            struct.pack_into(f"{2 * count}d", memory.buf, 0, *numbers)
            places = manager.ShareableList(first_centres)
            with Pool(workers, initialize, (memory.name, places.shm.name)) as pool:
                start = time.perf_counter()
                for _ in range(ROUNDS):
                    for at, value in enumerate(moved(list(places), pool.map(sums_of_block, bounds))):
                        places[at] = value
                took = time.perf_counter() - start
            assert list(places) == expected
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
    for at in range(CLUSTERS):
        print(f"centre {at}: {expected[2 * at]:.6f} {expected[2 * at + 1]:.6f}")


if __name__ == "__main__":
    main()
