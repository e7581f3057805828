"""Ten processes print one line each, one at a time.

python3 examples/python/lock_hello.py
"""

from multiprocessing import Lock, Process


def f(lock, number):
    with lock:
        print("hello world", number, flush=True)


if __name__ == "__main__":
    lock = Lock()
    crew = [Process(target=f, args=(lock, number)) for number in range(10)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
