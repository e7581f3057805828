"""Draws the Mandelbrot set, row by row, into an image.

python3 examples/python/mandelbrot.py --size 200 --workers 2 --out mandelbrot.pgm
"""

import argparse
import os
import time
from functools import partial
from multiprocessing import Pool

MOST_STEPS = 255


def steps(re, im):
    x = y = 0.0
    for step in range(MOST_STEPS):
        if x * x + y * y > 4.0:
            return step
        x, y = x * x - y * y + re, 2.0 * x * y + im
    return MOST_STEPS


def make_row(size, row):
    im = 3.0 * (row / size) - 1.5
    return bytes(255 - steps(3.0 * (column / size) - 2.2, im) for column in range(size))


def write(out, size, rows):
    """Writes the rows of an image in the format PGM, and returns their checksum (FNV-1a)."""
    if out:
        out.write(f"P5 {size} {size} 255\n".encode())
    total = 0xCBF29CE484222325
    for row in rows:
        if out:
            out.write(row)
        for byte in row:
            total = ((total ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out")
    options = parser.parse_args()
    size = options.size
    start = time.perf_counter()
    expected = write(None, size, (make_row(size, row) for row in range(size)))
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        with Pool(workers) as pool:
            out = open(options.out, "wb") if options.out else None
            start = time.perf_counter()
            total = write(out, size, pool.imap(partial(make_row, size), range(size), chunksize=4))
            took = time.perf_counter() - start
            if out:
                out.close()
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert total == expected
    print(f"{size} rows, the same image each time: {expected:016x}")


if __name__ == "__main__":
    main()
