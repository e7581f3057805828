"""A process changes a dict and a list that a manager holds, and its parent prints them.

python3 examples/python/manager_hello.py
"""

from multiprocessing import Manager, Process


def f(mapping, numbers):
    mapping["1"] = "one"
    mapping["2"] = "two"
    numbers.reverse()


if __name__ == "__main__":
    with Manager() as manager:
        mapping = manager.dict()
        numbers = manager.list(range(10))
        process = Process(target=f, args=(mapping, numbers))
        process.start()
        process.join()
        print(sorted(mapping.items()))
        print(list(numbers))
