"""A process puts a value into a queue, and its parent gets it.

python3 examples/python/queue_hello.py
"""

from multiprocessing import Process, Queue


def f(queue):
    queue.put((42, None, "hello"))


if __name__ == "__main__":
    queue = Queue()
    process = Process(target=f, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
