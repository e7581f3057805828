"""A process sends a message through a pipe, and its parent receives it.

python3 examples/python/pipe_hello.py
"""

from multiprocessing import Pipe, Process


def f(connection):
    connection.send((42, None, "hello"))
    connection.close()


if __name__ == "__main__":
    parent, child = Pipe()
    process = Process(target=f, args=(child,))
    process.start()
    print(parent.recv())
    process.join()
