"""Shrinks many images, one of which is broken.

python3 examples/python/thumbnails.py --size 12 --workers 2
"""

import argparse
import os
import shutil
import tempfile
import time
from multiprocessing import Pool

WIDTH, HEIGHT, FACTOR, BROKEN = 640, 480, 8, 7
HEADER = b"P5 640 480 255\n"


def make_images(folder, count):
    """Makes images in the format PGM; one lacks its second half."""
    brighter = [bytes((value + by) & 255 for value in range(256)) for by in range(256)]
    paths = []
    for number in range(count):
        line = bytes((column * (number + 1) // 8) & 255 for column in range(WIDTH))
        image = HEADER + b"".join(line.translate(brighter[row & 255]) for row in range(HEIGHT))
        if number == BROKEN:
            image = image[: len(image) // 2]
        paths.append(os.path.join(folder, f"image-{number:04}.pgm"))
        with open(paths[-1], "wb") as file:
            file.write(image)
    return paths


def shrink(path):
    """Writes the thumbnail beside the image, and returns the path and the sum of the thumbnail's pixels."""
    name = os.path.basename(path)
    with open(path, "rb") as file:
        image = file.read()
    if not image.startswith(HEADER):
        raise ValueError(f"{name}: no image of the right size")
    pixels = image[len(HEADER) :]
    if len(pixels) != WIDTH * HEIGHT:
        raise ValueError(f"{name}: {len(pixels)} pixels instead of {WIDTH * HEIGHT}")
    small = bytearray()
    for top in range(0, WIDTH * HEIGHT, WIDTH * FACTOR):
        for corner in range(top, top + WIDTH, FACTOR):
            lines = (pixels[at : at + FACTOR] for at in range(corner, corner + WIDTH * FACTOR, WIDTH))
            small.append(sum(map(sum, lines)) // (FACTOR * FACTOR))
    with open(path.replace(".pgm", ".thumbnail.pgm"), "wb") as file:
        file.write(f"P5 {WIDTH // FACTOR} {HEIGHT // FACTOR} 255\n".encode() + small)
    return path, sum(small)


def shrink_or_error(path):
    """An error per item has to be a value: an exception would end the iteration over the results."""
    try:
        return shrink(path), None
    except ValueError as error:
        return None, error


def main(folder):
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    images = make_images(folder, options.size)
    start = time.perf_counter()
    outcomes = map(shrink_or_error, images)
    expected = dict(result for result, error in outcomes if error is None)
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        done, errors = {}, []
        with Pool(workers) as pool:
            start = time.perf_counter()
            for result, error in pool.imap_unordered(shrink_or_error, images):
                if error is None:
                    done[result[0]] = result[1]
                else:
                    errors.append(error)
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        print(f"{len(done)} thumbnails, {len(errors)} errors")
        for error in errors:
            print(f"error: {error}")
        assert done == expected


if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="multiproc-thumbnails-")
    try:
        main(folder)
    finally:
        shutil.rmtree(folder)
