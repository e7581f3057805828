"""A process that says hello while its parent waits for it, and one that fails.

python3 examples/python/process.py

A `Process` of Python has no result; a queue brings it back.
"""

import sys
from multiprocessing import Process, SimpleQueue, current_process, parent_process


def greet(results, name):
    print(f"{current_process().name}, started by {parent_process().name}: hello, {name}", flush=True)
    results.put(len(name))


def give_up():
    sys.exit(3)


if __name__ == "__main__":
    results = SimpleQueue()
    process = Process(target=greet, args=(results, "bob"))
    process.start()
    process.join()
    print(f"{process.name} ended with exit code {process.exitcode}")
    print("its result:", results.get())

    process = Process(target=give_up)
    process.start()
    process.join()
    print(f"{process.name} ended with exit code {process.exitcode}")
