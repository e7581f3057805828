"""Reads the log of a web server, by ranges of bytes: status codes, busiest paths, errors.

python3 examples/python/log_parse.py --size 20000 --workers 2
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from multiprocessing import Pool

PIECE = 256 * 1024
STATUS = (200, 200, 200, 200, 200, 200, 304, 301, 404, 500)


def make_log(file, lines):
    state = 42
    for number in range(lines):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        random = state >> 33
        status, page, size = STATUS[random % 10], random // 10 % 50, random // 500 % 100_000
        minute, second = number // 60 % 60, number % 60
        file.write(
            f"10.0.0.{random % 250} - - [28/Nov/2026:15:{minute:02}:{second:02} +0000] "
            f'"GET /page/{page * page % 31} HTTP/1.1" {status} {size}\n'.encode()
        )


def parse(piece):
    """Counts what the lines say that start in a range of bytes."""
    path, at, end = piece
    counts, paths, size, bad = Counter(), Counter(), 0, 0
    with open(path, "rb") as file:
        if at > 0:
            file.seek(at - 1)
            at += len(file.readline()) - 1
        while at < end:
            line = file.readline()
            at += len(line)
            try:
                _, request, rest = line.split(b'"')
                status, length = rest.split()
                counts[int(status)] += 1
                paths[request.split(b" ")[1].decode()] += 1
                size += int(length)
            except (ValueError, IndexError):
                bad += 1
    return counts, paths, size, bad


def merge(summaries):
    counts, paths, size, bad = Counter(), Counter(), 0, 0
    for summary in summaries:
        counts.update(summary[0])
        paths.update(summary[1])
        size += summary[2]
        bad += summary[3]
    return counts, paths, size, bad


def main(path):
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=400_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with open(path, "wb") as file:
        make_log(file, options.size)
        file.write(b"the end of this line is los")
    length = os.stat(path).st_size
    pieces = [(path, start, min(start + PIECE, length)) for start in range(0, length, PIECE)]

    start = time.perf_counter()
    expected = merge(map(parse, pieces))
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        with Pool(workers) as pool:
            start = time.perf_counter()
            summary = merge(pool.imap_unordered(parse, pieces))
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert summary == expected
    counts, paths, size, bad = expected
    lines = sum(counts.values())
    for status, count in sorted(counts.items()):
        print(f"{status}: {count}")
    for page, count in sorted(paths.items(), key=lambda entry: (-entry[1], entry[0]))[:5]:
        print(f"{count:>8}  {page}")
    errors = sum(count for status, count in counts.items() if status >= 400)
    print(f"{lines} lines, {size} bytes, {100 * errors / lines:.1f} % errors, {bad} unreadable")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="multiproc-log-") as folder:
        main(os.path.join(folder, "access.log"))
