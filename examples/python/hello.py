"""Squares, computed by four worker processes.

python3 examples/python/hello.py
"""

from multiprocessing import Pool


def square(x):
    return x * x


if __name__ == "__main__":
    with Pool(4) as pool:
        squares = pool.map(square, range(1_000))
    print("the first ten:", squares[:10])
    print("their sum:", sum(squares))
