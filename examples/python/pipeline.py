"""Four stages, each a process, with pipes between them: read lines, parse them, compute (by several processes), write.

python3 examples/python/pipeline.py --lines 3000 --workers 2

A stage ends when nobody is left at the other end of its pipe. So each process may have no other ends than its own: they are
spawned, not forked, and this one closes its copies.
"""

import argparse
import multiprocessing
import time
from multiprocessing.connection import wait


def text(number):
    return f"{number} {number * 7 % 1000} {number * 13 % 1000}"


def compute(numbers):
    return sum(number * number for number in numbers)


def received(connection):
    """What comes through a pipe, until nobody is left at its other end."""
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return


def read(lines, to):
    for number in range(lines):
        to.send((number, text(number)))


def parse(source, to):
    for number, line in received(source):
        to[number % len(to)].send((number, [int(word) for word in line.split(" ")]))


def work(source, to):
    for number, numbers in received(source):
        to.send((number, compute(numbers)))


def write(sources, result):
    early, sums = {}, []
    while sources:
        for source in wait(sources):
            try:
                number, total = source.recv()
                early[number] = total
            except EOFError:
                sources.remove(source)
        while len(sums) in early:
            sums.append(early.pop(len(sums)))
    result.send(sums)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    crew = []

    def start(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        crew.append(process)
        # The child has duplicates; what is still open here would keep the reader waiting.
        for argument in arguments:
            for end in argument if isinstance(argument, list) else [argument]:
                if hasattr(end, "close"):
                    end.close()

    begin = time.perf_counter()
    from_reader, to_parser = context.Pipe(duplex=False)
    to_workers, from_workers = [], []
    for _ in range(options.workers):
        numbers, to_worker = context.Pipe(duplex=False)
        sums, to_writer = context.Pipe(duplex=False)
        start(work, numbers, to_writer)
        to_workers.append(to_worker)
        from_workers.append(sums)
    start(parse, from_reader, to_workers)
    start(read, options.lines, to_parser)
    result, to_us = context.Pipe(duplex=False)
    start(write, from_workers, to_us)
    sums = result.recv()
    for process in crew:
        process.join()
        assert process.exitcode == 0
    assert sums == [compute(map(int, text(number).split(" "))) for number in range(options.lines)]
    print(f"{len(sums)} lines through {options.workers} workers, in order; the last gives {sums[-1]}")
    print(f"{time.perf_counter() - begin:.3f}s")


if __name__ == "__main__":
    main()
