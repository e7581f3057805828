"""A process changes a number and an array in shared memory, and its parent prints them.

python3 examples/python/value_array_hello.py
"""

from multiprocessing import Array, Process, Value


def f(number, numbers):
    number.value = 1.25
    for index in range(len(numbers)):
        numbers[index] = -numbers[index]


if __name__ == "__main__":
    number = Value("d", 0.0)
    numbers = Array("i", range(10))
    process = Process(target=f, args=(number, numbers))
    process.start()
    process.join()
    print(number.value)
    print(numbers[:])
