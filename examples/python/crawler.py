"""Several processes walk through a web site, and visit each page once.

python3 examples/python/crawler.py --pages 60 --crawlers 3 --depth 1

No crawler is killed here: a queue of Python whose reader is killed may stay locked for ever.
"""

import argparse
import socket
import threading
from multiprocessing import JoinableQueue, Lock, Manager, Process


def serve(listener, pages):
    """Serves the site, on threads of this process."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, pages), daemon=True).start()


def answer(connection, pages):
    with connection, connection.makefile("r") as requests:
        path = requests.readline().strip().removeprefix("GET /")
        if not path.isdigit() or int(path) >= pages:
            connection.sendall(b"404")
            return
        page = int(path)
        links = [2 * page + 1, 2 * page + 2, page * 7 % pages, page // 2]
        connection.sendall("".join(f"/{link}\n" for link in links if link < pages).encode())


def fetch(port, path):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET {path}\n".encode())
        with connection.makefile("r") as answer:
            return answer.read().split()


def crawl(port, deepest, todo, pages, lock):
    while True:
        path = todo.get()
        depth, _ = pages[path]
        links = fetch(port, path)
        for link in links if depth < deepest else ():
            with lock:
                is_new = link not in pages
                if is_new:
                    pages[link] = (depth + 1, None)
            if is_new:
                todo.put(link)
        pages[path] = (depth, len(links))
        todo.task_done()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--crawlers", type=int, default=4)
    parser.add_argument("--depth", type=int, default=20)
    options = parser.parse_args()
    with Manager() as manager, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        todo, pages, lock = JoinableQueue(), manager.dict(), Lock()
        pages["/0"] = (0, None)
        todo.put("/0")
        arguments = (port, options.depth, todo, pages, lock)
        crew = [Process(target=crawl, args=arguments, daemon=True) for _ in range(max(options.crawlers, 1))]
        for process in crew:
            process.start()
        threading.Thread(target=serve, args=(listener, options.pages), daemon=True).start()
        todo.join()
        found = dict(pages)
        for process in crew:
            process.terminate()
            process.join()
    links = sum(links for _, links in found.values())
    deepest = max(depth for depth, _ in found.values())
    print(f"{len(found)} pages with {links} links, the deepest at {deepest}")


if __name__ == "__main__":
    main()
