"""Tasks that hang, crash, fail or work, with time limits and second tries.

python3 examples/python/timeouts.py --size 20 --workers 2

A `Pool` of Python can stop no single task, and its `map` hangs when a worker dies. So this program has a scheduler of its
own: a process for each task, which is killed when its time is over.
"""

import argparse
import os
import signal
import time
from multiprocessing import Pipe, Process, RawArray
from multiprocessing.connection import wait

LIMIT = 0.2
DONE, TIMED_OUT, CRASHED, FAILED = range(4)


def work(number):
    if number % 5 == 1:
        time.sleep(3600)
    elif number % 5 == 2:
        os.kill(os.getpid(), signal.SIGABRT)
    elif number % 5 == 3:
        raise ValueError(f"number {number} is not for me")
    return number * number


def flaky(tries, number):
    """Works at its third try."""
    tries[number] += 1
    if tries[number] == 1:
        os.kill(os.getpid(), signal.SIGABRT)
    if tries[number] == 2:
        raise ValueError("not yet")
    return number


def run(connection, function, args):
    try:
        connection.send((DONE, function(*args)))
    except Exception as error:
        connection.send((FAILED, str(error)))


def run_all(workers, function, calls, limit=None, retries=0):
    """What becomes of each call: its kind, and a value or a text."""
    outcomes, waiting, running = [None] * len(calls), [(at, retries) for at in range(len(calls))], {}
    waiting.reverse()
    while waiting or running:
        while waiting and len(running) < workers:
            at, left = waiting.pop()
            ours, theirs = Pipe(duplex=False)
            process = Process(target=run, args=(theirs, function, calls[at]))
            process.start()
            theirs.close()
            end = None if limit is None else time.monotonic() + limit
            running[process.sentinel] = (process, ours, at, left, end)
        ends = [entry[4] for entry in running.values() if entry[4] is not None]
        wait(list(running), None if not ends else max(0, min(ends) - time.monotonic()))
        for sentinel, (process, ours, at, left, end) in list(running.items()):
            if not process.is_alive():
                outcome = ours.recv() if ours.poll() and process.exitcode == 0 else (CRASHED, process.exitcode)
            elif end is not None and time.monotonic() >= end:
                process.kill()
                outcome = (TIMED_OUT, limit)
            else:
                continue
            process.join()
            ours.close()
            process.close()
            del running[sentinel]
            if outcome[0] != DONE and left > 0:
                waiting.append((at, left - 1))
            else:
                outcomes[at] = outcome
    return outcomes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    count = options.size

    outcomes = run_all(options.workers, work, [(number,) for number in range(count)], limit=LIMIT)
    texts = {DONE: "{}", TIMED_OUT: "stopped at its time limit", CRASHED: "lost its worker", FAILED: "failed: {}"}
    for number, (kind, value) in enumerate(outcomes[:5]):
        print(f"task {number}: {texts[kind].format(value)}")
    done, timed_out, crashed, failed = (sum(kind == it for kind, _ in outcomes) for it in range(4))
    print(f"of {count} tasks: {done} done, {timed_out} timed out, {crashed} crashed, {failed} failed")
    for number, (kind, _) in enumerate(outcomes):
        assert kind == (DONE if number % 5 == 4 else number % 5)

    tries = RawArray("I", count)
    worked = run_all(options.workers, flaky, [(tries, number) for number in range(count)], retries=2)
    assert worked == [(DONE, number) for number in range(count)] and all(it == 3 for it in tries)
    print(f"{count} flaky tasks worked, each at its third try")


if __name__ == "__main__":
    main()
