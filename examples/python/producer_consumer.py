"""Several producers, several consumers, and a queue between them that never holds more than a few items.

python3 examples/python/producer_consumer.py --items 10000

When all is put, one sentinel for each consumer says so.
"""

import argparse
import time
from multiprocessing import Process, Queue, SimpleQueue

STOP = None


def produce(queue, first, count):
    for item in range(first, first + count):
        queue.put(item)


def consume(queue, results):
    count = total = most = 0
    for item in iter(queue.get, STOP):
        count, total, most = count + 1, total + item, max(most, queue.qsize())
    results.put((count, total, most))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--consumers", type=int, default=4)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--bound", type=int, default=10)
    options = parser.parse_args()
    share = options.items // options.producers
    start = time.perf_counter()
    queue, results = Queue(options.bound), SimpleQueue()
    producers = [Process(target=produce, args=(queue, it * share, share)) for it in range(options.producers)]
    consumers = [Process(target=consume, args=(queue, results)) for _ in range(options.consumers)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join()
    for _ in consumers:
        queue.put(STOP)
    seen = [results.get() for _ in consumers]
    for process in consumers:
        process.join()
    count, total, most = sum(it[0] for it in seen), sum(it[1] for it in seen), max(it[2] for it in seen)
    everything = options.producers * share
    assert (count, total) == (everything, everything * (everything - 1) // 2)
    assert most <= options.bound
    print(f"{options.producers} producers, {options.consumers} consumers: {count} items, their sum is {total}")
    print(f"{time.perf_counter() - start:.3f}s, and never more than {options.bound} items in the queue")


if __name__ == "__main__":
    main()
