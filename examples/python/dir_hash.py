"""Hashes all files below a folder.

python3 examples/python/dir_hash.py --workers 2 PATH
"""

import argparse
import os
import stat
import sys
import time
from multiprocessing import Pool

START = 0xCBF29CE484222325


def fnv(total, data):
    for byte in data:
        total = ((total ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return total


def walk(folder):
    left = [folder]
    while left:
        path = left.pop()
        try:
            is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        except OSError:
            is_folder = False
        if not is_folder:
            yield path
            continue
        try:
            left.extend(os.path.join(path, name) for name in os.listdir(path))
        except OSError:
            pass


def hash_file(path):
    """The hash of a file, or what is wrong with it: an exception would end the iteration over the results."""
    try:
        total = START
        with open(path, "rb") as file:
            while data := file.read(64 * 1024):
                total = fnv(total, data)
        return path, total, None
    except OSError as error:
        return path, None, f"{path}: {error.strerror} (os error {error.errno})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("folder")
    options = parser.parse_args()
    if not os.path.lexists(options.folder):
        sys.exit(f"dir_hash: {options.folder}: No such file or directory (os error 2)")

    start = time.perf_counter()
    expected = {path: total for path, total, error in map(hash_file, walk(options.folder)) if error is None}
    print(f"without workers {time.perf_counter() - start:.3f}s")
    for workers in (1, options.workers):
        hashes, errors = {}, []
        with Pool(workers) as pool:
            start = time.perf_counter()
            for path, total, error in pool.imap_unordered(hash_file, walk(options.folder)):
                if error is None:
                    hashes[path] = total
                else:
                    errors.append(error)
            took = time.perf_counter() - start
        print(f"{workers} worker{'' if workers == 1 else 's'} {took:.3f}s")
        assert hashes == expected
    for error in errors:
        print("error:", error)
    digest = START
    # Sorted by the parts of the paths, as the paths of Rust are.
    for path in sorted(expected, key=lambda path: path.split("/")):
        digest = fnv(fnv(digest, os.fsencode(path)), expected[path].to_bytes(8, "little"))
    print(f"{digest:016x}  {len(expected)} files")


if __name__ == "__main__":
    main()
