"""The dining philosophers, whose forks are queues: a fork lies on the table as the one item of its queue.

python3 examples/python/philosophers.py --philosophers 4 --meals 50
"""

import argparse
import queue
import time
from multiprocessing import Process, Queue, RawArray


def dine(forks, seats, eaten, who, meals, way):
    count = len(forks)
    left, right = forks[who], forks[(who + 1) % count]
    for _ in range(meals):
        if way == "LowerForkFirst":
            first, second = (right, left) if who + 1 == count else (left, right)
            first.get()
            second.get()
        elif way == "Waiter":
            seats.get()
            left.get()
            right.get()
        else:
            while True:
                left.get()
                try:
                    right.get(timeout=(200 + 100 * who) / 1e6)
                    break
                except queue.Empty:
                    left.put(())
        eaten[who] += 1
        left.put(())
        right.put(())
        if way == "Waiter":
            seats.put(())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--philosophers", type=int, default=5)
    parser.add_argument("--meals", type=int, default=200)
    options = parser.parse_args()
    count = options.philosophers
    for way in ("LowerForkFirst", "Waiter", "PutBack"):
        start = time.perf_counter()
        forks, seats, eaten = [Queue(1) for _ in range(count)], Queue(count), RawArray("Q", count)
        for fork in forks:
            fork.put(())
        for _ in range(count - 1):
            seats.put(())
        crew = [Process(target=dine, args=(forks, seats, eaten, who, options.meals, way)) for who in range(count)]
        for process in crew:
            process.start()
        for process in crew:
            process.join()
        assert list(eaten) == [options.meals] * count, "somebody went hungry"
        for fork in forks:
            fork.get(timeout=10)
        print(f"{way}: {count} philosophers have eaten {options.meals} times each")
        print(f"{time.perf_counter() - start:.3f}s")


if __name__ == "__main__":
    main()
