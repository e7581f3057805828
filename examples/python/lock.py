"""Two processes and one lock: each does its five steps without being interrupted by the other.

python3 examples/python/lock.py --step-ms 10
"""

import argparse
import time
from multiprocessing import Lock, Process


def say(line):
    """Writes a line in one piece, since the other processes write to the same place."""
    print(line + "\n", end="", flush=True)


def work(lock, name, number, by, step_ms):
    with lock:
        say(f"init {name} number = {number}")
        for _ in range(5):
            time.sleep(step_ms / 1000)
            number += by
            say(f"{name} number = {number}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-ms", type=int, default=1000)
    step_ms = parser.parse_args().step_ms
    lock = Lock()
    Process(target=work, args=(lock, "add1", 0, 1, step_ms)).start()
    Process(target=work, args=(lock, "plus3", 0, 3, step_ms)).start()
    say("main end")
