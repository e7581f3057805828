"""Counts the words of text files, and prints the ten most frequent.

python3 examples/python/word_count.py --workers 2 README.md
"""

import argparse
import os
import re
import time
from collections import Counter
from multiprocessing import Pool

PIECE = 256 * 1024
NO_LETTER = re.compile(r"[\W_]+")


def pieces(path):
    length = os.stat(path).st_size
    return [(path, start, min(start + PIECE, length)) for start in range(0, length, PIECE)]


def count(piece):
    """Counts the words of one piece; a line belongs to the piece in which it starts."""
    path, at, end = piece
    counts = Counter()
    with open(path, "rb") as file:
        if at > 0:
            file.seek(at - 1)
            at += len(file.readline()) - 1
        while at < end:
            line = file.readline()
            at += len(line)
            text = line.decode(errors="replace").lower()
            counts.update(word for word in NO_LETTER.split(text) if word)
    return counts


def merge(all_counts):
    total = Counter()
    for counts in all_counts:
        total.update(counts)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    work = [piece for file in options.files for piece in pieces(file)]

    start = time.perf_counter()
    expected = merge(map(count, work))
    alone = time.perf_counter() - start
    ranking = sorted(expected.items(), key=lambda entry: (-entry[1], entry[0]))
    for word, number in ranking[:10]:
        print(f"{number:>8}  {word}")
    total = sum(expected.values())
    print(f"{total} words, {len(expected)} different, in {len(options.files)} files ({len(work)} pieces)")
    print(f"without workers {alone:.3f}s")
    for workers in (1, options.workers):
        start = time.perf_counter()
        with Pool(workers) as pool:
            started = time.perf_counter() - start
            counts = merge(pool.map(count, work))
            took = time.perf_counter() - start - started
        assert counts == expected
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s (started in {started:.3f}s)")


if __name__ == "__main__":
    main()
