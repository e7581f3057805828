"""What docs/comparison.md says about libraries in Python, tried: prints what each of them does.

    pip install joblib loky mpire[dill] pebble psutil ray && python benches/compare/claims.py [LIBRARY]

Each trial is a process of its own, which has 60 seconds. A library that is not installed is left out.
"""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

WORKERS = 2
LIMIT = 60
PATIENCE = 5  # for results that may never come
TRIALS = {}

# ---------------------------------------------------------------------------------------------------------- the tasks


def increment(x):
    return x + 1


def die(x=None):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_37(x):
    time.sleep(0.01)
    if x == 37:
        die()
    return x


def nap_at_1(x):
    time.sleep(3 if x == 1 else 0.01)
    return x


def mark_later(path):
    time.sleep(2)
    open(path, "w").close()


def worker_pid(x=None):
    time.sleep(0.3)
    return os.getpid()


def hoard(x):
    os.kept = [*getattr(os, "kept", []), os.urandom(1 << 20) * 200]  # in a module: this function may be sent anew each time
    return os.getpid()


def kind_of(x):
    return type(x).__name__


class Input:
    """Ten thousand items, which counts those that were taken from it."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        for x in range(10_000):
            self.taken += 1
            yield x


# ---------------------------------------------------------------------------------------------------------- the trials


def trial(library, question):
    def add(f):
        TRIALS[f"{library}: {question}"] = (library, f)
        return f

    return add


def outcome(f, *arguments, **options):
    """What a call returns or raises, in few words."""
    try:
        return repr(f(*arguments, **options))
    except BaseException as error:
        return f"{type(error).__name__}: {error}".split("\n")[0][:160]


def tally(results):
    """How many calls have a result, how many an error, and how many neither."""
    counts, errors, end = {"results": 0, "errors": 0, "nothing": 0}, set(), time.monotonic() + PATIENCE
    for result in results:
        try:
            result(max(0.1, end - time.monotonic()))
            counts["results"] += 1
        except (TimeoutError, futures.TimeoutError, multiprocessing.TimeoutError):
            counts["nothing"] += 1
        except BaseException as error:
            counts["errors"] += 1
            errors.add(type(error).__name__)
    return f"{counts} {sorted(errors) or ''}".strip()


def in_time(f, *arguments):
    """The outcome of a call that may never return."""
    seen = ["no answer"]
    thread = threading.Thread(target=lambda: seen.append(outcome(f, *arguments)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return seen[-1]


def goes_on(submit, stop):
    """Whether a task runs on after the caller has done with it what is called to stop it."""
    path = tempfile.mktemp()
    result = submit(mark_later, path)
    time.sleep(0.5)
    said = outcome(stop, result)
    time.sleep(3)
    return f"{said}, and the task {'ran on' if os.path.exists(path) else 'was stopped'}"


def taken_at_first(results, source):
    """How many items were taken when one result was, and whether these become more while nobody takes another one."""
    next(iter(results))
    first = source.taken
    time.sleep(0.5)
    return f"one result was taken, and {first} items; {source.taken} half a second later"


@trial("multiprocessing", "one of 100 single calls is killed")
def _():
    pool = multiprocessing.Pool(WORKERS)
    results = [pool.apply_async(die_at_37, (x,)).get for x in range(100)]
    return f"{tally(results)}; afterwards {outcome(pool.map, increment, [1])}"


@trial("multiprocessing", "one task of a map is killed")
def _():
    return in_time(multiprocessing.Pool(WORKERS).map, die_at_37, range(100))


@trial("multiprocessing", "the idle worker that waits for the next task is killed")
def _():
    pool = multiprocessing.Pool(WORKERS)
    pool.map(worker_pid, range(WORKERS), 1)
    time.sleep(0.5)
    # The others wait for the lock, in sem_wait; this one waits in read.
    waits = [it.pid for it in pool._pool if "pipe" in open(f"/proc/{it.pid}/wchan").read()]
    os.kill(waits[0], signal.SIGKILL)
    time.sleep(1)
    return in_time(pool.map, increment, range(10))


@trial("multiprocessing", "get(timeout)")
def _():
    pool = multiprocessing.Pool(WORKERS)
    return goes_on(lambda f, x: pool.apply_async(f, (x,)), lambda result: result.get(0.1))


@trial("multiprocessing", "input of imap")
def _():
    source = Input()
    return taken_at_first(multiprocessing.Pool(WORKERS).imap(increment, source), source)


@trial("multiprocessing", "a lambda")
def _():
    return outcome(multiprocessing.Pool(WORKERS).map, lambda x: x, [1])


def executor_is_killed(executor):
    results = [executor.submit(die_at_37, x).result for x in range(100)]
    return f"{tally(results)}; afterwards {outcome(executor.submit, increment, 1)}"


@trial("concurrent.futures", "one of 100 tasks is killed")
def _():
    return executor_is_killed(futures.ProcessPoolExecutor(WORKERS))


@trial("concurrent.futures", "input of map")
def _():
    source = Input()
    return taken_at_first(futures.ProcessPoolExecutor(WORKERS).map(increment, source), source)


@trial("concurrent.futures", "cancel")
def _():
    return goes_on(futures.ProcessPoolExecutor(WORKERS).submit, lambda result: result.cancel())


@trial("concurrent.futures", "a lambda")
def _():
    return outcome(futures.ProcessPoolExecutor(WORKERS).submit(lambda x: x, 1).result)


@trial("loky", "one of 100 tasks is killed")
def _():
    import loky

    return executor_is_killed(loky.ProcessPoolExecutor(WORKERS))


@trial("loky", "cancel, then shutdown(kill_workers=True)")
def _():
    import loky

    executor = loky.ProcessPoolExecutor(WORKERS)
    cancelled = goes_on(executor.submit, lambda result: result.cancel())
    return f"{cancelled}; {goes_on(executor.submit, lambda _: executor.shutdown(kill_workers=True))}"


@trial("loky", "a worker grows by 200 MB a task")
def _():
    import loky

    executor = loky.ProcessPoolExecutor(1)
    pids = []
    for _ in range(6):
        pids.append(executor.submit(hoard, 0).result())
        time.sleep(1.1)
    return f"{len(set(pids))} processes for {len(pids)} tasks"


@trial("loky", "a closure")
def _():
    import loky

    y = 1
    return outcome(loky.ProcessPoolExecutor(WORKERS).submit(lambda x: x + y, 1).result)


@trial("joblib", "one of 100 tasks is killed")
def _():
    import joblib

    parallel = joblib.Parallel(WORKERS)
    return outcome(parallel, (joblib.delayed(die_at_37)(x) for x in range(100)))


@trial("joblib", "input of a generator")
def _():
    import joblib

    source = Input()
    items = (joblib.delayed(increment)(x) for x in source)
    return taken_at_first(joblib.Parallel(WORKERS, return_as="generator", batch_size=1)(items), source)


@trial("joblib", "an array of 2 MB, and of half a MB")
def _():
    import joblib
    import numpy

    arrays = [numpy.zeros(2_000_000, "u1"), numpy.zeros(500_000, "u1")]
    return outcome(joblib.Parallel(WORKERS), [joblib.delayed(kind_of)(array) for array in arrays])


@trial("joblib", "a closure")
def _():
    import joblib

    y = 1
    return outcome(joblib.Parallel(WORKERS), [joblib.delayed(lambda x: x + y)(1)])


@trial("mpire", "one task of a map is killed, then one by apply_async")
def _():
    import mpire

    pool = mpire.WorkerPool(WORKERS)
    killed, afterwards = in_time(pool.map, die_at_37, range(100)), in_time(pool.map, increment, range(3))
    results = [pool.apply_async(die_at_37, (x,)) for x in range(100)]
    single = tally([result.get for result in results])
    return f"{killed}; afterwards {afterwards}; single calls {single}; afterwards {in_time(pool.map, increment, range(3))}"


@trial("mpire", "task_timeout of a map")
def _():
    import mpire

    return in_time(lambda: mpire.WorkerPool(WORKERS).map(nap_at_1, range(100), task_timeout=0.5))


@trial("mpire", "input of imap, with max_tasks_active=10")
def _():
    import mpire

    source, options = Input(), {"iterable_len": 10_000, "chunk_size": 1, "max_tasks_active": 10}
    return taken_at_first(mpire.WorkerPool(WORKERS).imap(increment, source, **options), source)


@trial("mpire", "a closure, with use_dill")
def _():
    import mpire

    y = 1
    return in_time(mpire.WorkerPool(WORKERS, start_method="spawn", use_dill=True).map, lambda x: x + y, [1])


@trial("pebble", "one of 100 tasks is killed")
def _():
    import pebble

    pool = pebble.ProcessPool(WORKERS)
    results = [pool.schedule(die_at_37, (x,)).result for x in range(100)]
    error = outcome(pool.schedule(die).result)
    return f"{tally(results)}; {error}; afterwards {outcome(pool.schedule(increment, (1,)).result)}"


@trial("pebble", "idle workers are killed")
def _():
    import pebble

    pool = pebble.ProcessPool(WORKERS)
    pids = {future.result() for future in [pool.schedule(worker_pid) for _ in range(WORKERS)]}
    time.sleep(0.5)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    return in_time(lambda: pool.schedule(increment, (1,)).result())


@trial("pebble", "a time limit, and cancel")
def _():
    import pebble

    pool = pebble.ProcessPool(WORKERS)
    limit = outcome(pool.schedule(nap_at_1, (1,), timeout=0.5).result)
    stopped = goes_on(lambda f, x: pool.schedule(f, (x,)), lambda future: future.cancel())
    return f"{limit}; {stopped}; afterwards {outcome(pool.schedule(increment, (1,)).result)}"


@trial("pebble", "input of map")
def _():
    import pebble

    source = Input()
    return taken_at_first(pebble.ProcessPool(WORKERS).map(increment, source).result(), source)


@trial("pebble", "a lambda")
def _():
    import pebble

    return in_time(lambda: pebble.ProcessPool(WORKERS).schedule(lambda x: x, (1,)).result())


def ray_pool():
    import ray
    import ray.util.multiprocessing

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    return ray.util.multiprocessing.Pool(WORKERS)


@trial("ray", "one of 100 tasks is killed")
def _():
    pool = ray_pool()
    results = [pool.apply_async(die_at_37, (x,)).get for x in range(100)]
    return f"{tally(results)}; afterwards {in_time(pool.map, increment, range(4))}"


@trial("ray", "get(timeout)")
def _():
    pool = ray_pool()
    return goes_on(lambda f, x: pool.apply_async(f, (x,)), lambda result: result.get(0.1))


@trial("ray", "input of imap")
def _():
    pool, source = ray_pool(), Input()
    return taken_at_first(pool.imap(increment, iter(source), chunksize=10), source)


@trial("ray", "a closure")
def _():
    y = 1
    return outcome(ray_pool().map, lambda x: x + y, [1])


# ------------------------------------------------------------------------------------------------------- running them


def version(library):
    if library in ("multiprocessing", "concurrent.futures"):
        return sys.version.split()[0]
    from importlib.metadata import version

    return version(library)


def main():
    only = sys.argv[1:]
    for name, (library, _) in TRIALS.items():
        if importlib.util.find_spec(library) is None or only and library not in only:
            continue
        # Into a file: workers that are left behind would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen([sys.executable, __file__, "--trial", name], stdout=output,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            output.seek(0)
            lines = output.read().strip().splitlines() or [f"no answer in {LIMIT} s"]
        print(f"{library} {version(library)}: {name.split(': ', 1)[1]}\n    {lines[-1]}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trial"]:
        print(outcome(TRIALS[sys.argv[2]][1]).strip("'\""), flush=True)
        os._exit(0)
    main()
