"""Workers take tasks from one queue and put results into another.

python3 examples/python/task_queue.py --workers 4
"""

import argparse
from multiprocessing import Process, Queue, current_process

STOP = None


def work(tasks, done):
    for operation, a, b in iter(tasks.get, STOP):
        value = a * b if operation == "multiply" else a + b
        done.put((f"{operation}({a}, {b}) = {value}", current_process().name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=4)
    workers = parser.parse_args().workers
    tasks, done = Queue(), Queue()
    for i in range(20):
        tasks.put(("multiply", i, 7))
    crew = [Process(target=work, args=(tasks, done)) for _ in range(workers)]
    for process in crew:
        process.start()
    results = [done.get() for _ in range(20)]
    # More tasks may come while the workers are there.
    for i in range(10):
        tasks.put(("add", i, 8))
    results += [done.get() for _ in range(10)]
    for _ in crew:
        tasks.put(STOP)
    for process in crew:
        process.join()
    names = {process.name for process in crew}
    assert all(name in names for _, name in results)
    for line in sorted(line for line, _ in results):
        print(line)
