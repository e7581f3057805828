"""The driver of the peers in Python: `python -c "import driver; driver.main()" PEER`.

Reads a plan as one line of JSON, sets up, answers {"kind": "ready"}, then takes one sample for every further line. It is
imported, not run, so that every kind of worker finds these functions by the name of their module.
"""

import json
import multiprocessing
import os
import signal
import statistics
import sys
import time

WORKERS = 2
KILLED_AMONG, VICTIM = 100, 37
PATIENCE = 3.0  # for results that may never come

try:
    import numpy
except ImportError:  # the peers without it have no rows that need it
    numpy = None

# ---------------------------------------------------------------------------------------------------------- the tasks


def increment(x):
    return x + 1


def increment_or_die(x):
    if x == VICTIM:
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1


def burn(steps):
    x = 1
    for i in range(steps):
        x = (x * 5 + i) & 0xFFFF
    return x


def steps_per_second():
    """Of CPU time: others may use the machine as well."""
    steps, start = 200_000, time.thread_time()
    burn(steps)
    return steps / (time.thread_time() - start)


def echo(data):
    return data


def total(values):
    return float(values.sum())


def pid(_):
    time.sleep(0.02)
    return os.getpid()


SHARED = []  # in a worker: the arrays that it has inherited


def share(arrays):
    SHARED.extend(numpy.frombuffer(array) for array in arrays)


def total_shared(at):
    return float(SHARED[at % WORKERS].sum())


# ---------------------------------------------------------------------------------------------------------- the peers


class Multiprocessing:
    method = "fork"

    def __init__(self, **options):
        self.pool = multiprocessing.get_context(self.method).Pool(WORKERS, **options)

    def map(self, f, items, chunksize=None):
        return self.pool.map(f, items, chunksize)

    def apply(self, f, x):
        return self.pool.apply(f, (x,))

    def submit(self, f, x):
        return self.pool.apply_async(f, (x,)).get

    def close(self):
        self.pool.terminate()
        self.pool.join()

    @classmethod
    def process(cls, x):
        process = multiprocessing.get_context(cls.method).Process(target=increment, args=(x,))
        process.start()
        process.join()
        assert process.exitcode == 0


class MultiprocessingSpawn(Multiprocessing):
    method = "spawn"
    only = ("first_result", "start_and_join", "idle_worker_pss")


class Joblib:
    def __init__(self):
        import joblib

        self.delayed = joblib.delayed
        self.parallel = joblib.Parallel(n_jobs=WORKERS)
        self.parallel.__enter__()

    def map(self, f, items, chunksize="auto"):
        self.parallel.batch_size = chunksize
        return self.parallel(self.delayed(f)(x) for x in items)

    def apply(self, f, x):
        return self.map(f, [x])[0]

    def close(self):
        from joblib.externals.loky import get_reusable_executor

        self.parallel.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True)


class Loky:
    def __init__(self):
        import loky

        self.executor = loky.ProcessPoolExecutor(WORKERS)

    def map(self, f, items, chunksize=1):
        return list(self.executor.map(f, items, chunksize=chunksize))

    def apply(self, f, x):
        return self.executor.submit(f, x).result()

    def submit(self, f, x):
        return self.executor.submit(f, x).result

    def close(self):
        self.executor.shutdown(wait=True)


class Mpire:
    def __init__(self):
        import mpire

        self.pool = mpire.WorkerPool(n_jobs=WORKERS, keep_alive=True)

    def map(self, f, items, chunksize=None):
        # By default it makes one array of results that are arrays.
        return self.pool.map(f, items, chunk_size=chunksize, concatenate_numpy_output=False)

    def apply(self, f, x):
        return self.pool.apply(f, (x,))

    def submit(self, f, x):
        return self.pool.apply_async(f, (x,)).get

    def close(self):
        self.pool.stop_and_join()


class Pebble:
    def __init__(self):
        import pebble

        self.pool = pebble.ProcessPool(max_workers=WORKERS)

    def map(self, f, items, chunksize=1):
        return list(self.pool.map(f, items, chunksize=chunksize).result())

    def apply(self, f, x):
        return self.pool.schedule(f, args=(x,)).result()

    def submit(self, f, x):
        return self.pool.schedule(f, args=(x,)).result

    def close(self):
        self.pool.stop()
        self.pool.join()


PEERS = {
    "multiprocessing": Multiprocessing,
    "multiprocessing spawn": MultiprocessingSpawn,
    "joblib": Joblib,
    "loky": Loky,
    "mpire": Mpire,
    "pebble": Pebble,
}

OPEN = []  # pools to be closed in the end

# -------------------------------------------------------------------------------------------------- taking of samples


def seconds(code, *args):
    start = time.perf_counter()
    code(*args)
    return time.perf_counter() - start


class Plan:
    """How a sample is taken; the same as in plan.rs."""

    def __init__(self, measure, items, seconds, bytes, task, steps):
        self.measure, self.items, self.seconds = measure, items, seconds
        self.bytes, self.task, self.steps = bytes, task, steps

    def rate(self, run, factor=1.0):
        """Items per second: of as many as are done in the time of a sample."""
        count = max(self.items // 1024, 1)
        while True:
            took = seconds(run, count)
            if count == self.items or took > self.seconds / 4:
                break
            count = min(count * 4, self.items)
        count = min(max(int(count * self.seconds / took), 1), self.items)
        return lambda: factor * count / seconds(run, count)

    def bandwidth(self, item, run):
        items = [item(at) for at in range(self.items)]
        return self.rate(lambda count: run(items[:count]), self.bytes)

    def efficiency(self, run):
        return self.rate(lambda count: run([self.steps] * count), self.task / WORKERS)

    def latency(self, pause, call, drop=lambda result: None):
        def sample():
            times, start = [], time.perf_counter()
            while not times or (len(times) < self.items and time.perf_counter() - start < self.seconds):
                time.sleep(pause)
                called = time.perf_counter()
                result = call(len(times))
                times.append(time.perf_counter() - called)
                drop(result)
            return statistics.median(times)

        return sample

    def pair(self, pair):
        count = max(self.items // 10, 1)

        def run():
            for _ in range(count):
                pair()

        return lambda: seconds(run) / count

    def large(self, echo):
        small_bytes = 8 << 20
        small_count = self.bytes // small_bytes

        def rate(size, count):
            data = random_bytes(size)

            def run():
                for _ in range(count):
                    assert len(echo(data)) == size

            return size * count / seconds(run)

        def sample():
            small, large = rate(small_bytes, small_count), rate(self.bytes, 1)
            return {"value": large / small, "note": f"{large / (1 << 30):.2f} GiB/s"}

        return sample


def random_bytes(size):
    """Not all the same: what is all zero costs no memory."""
    return os.urandom(1 << 20) * (size >> 20)


def pss(pids):
    def one(pid):
        with open(f"/proc/{pid}/smaps_rollup") as text:
            return next(int(line.split()[1]) * 1024 for line in text if line.startswith("Pss:"))

    return statistics.mean(map(one, pids))


def worker_pids(pool):
    seen = set()
    while len(seen) < WORKERS:
        seen.update(pool.map(pid, range(2 * WORKERS), 1))
    return seen


def party(lock, ready, go, stop, pairs):
    ready.release()
    while not go.value:
        pass
    count = 0
    while not stop.value:
        for _ in range(100):
            lock.acquire()
            lock.release()
        count += 100
    pairs.put(count)


def contest(of_the_slower):
    """Takes of one lock by two processes: together per second, or the share of the slower one."""
    lock, ready, pairs = multiprocessing.Lock(), multiprocessing.Semaphore(0), multiprocessing.SimpleQueue()
    go, stop = multiprocessing.RawValue("i", 0), multiprocessing.RawValue("i", 0)
    crew = [multiprocessing.Process(target=party, args=(lock, ready, go, stop, pairs)) for _ in range(WORKERS)]
    for process in crew:
        process.start()
    for _ in crew:
        ready.acquire()
    start, go.value = time.perf_counter(), 1
    time.sleep(0.3)
    stop.value = 1
    elapsed = time.perf_counter() - start
    counts = [pairs.get() for _ in crew]
    for process in crew:
        process.join()
    return min(counts) / sum(counts) if of_the_slower else sum(counts) / elapsed


def killed(pool):
    """One task kills its worker; the time counts if nothing else was lost."""
    results, errors, never = 0, 0, 0
    start = time.perf_counter()
    waiting = []
    for x in range(KILLED_AMONG):
        try:
            waiting.append(pool.submit(increment_or_die, x))
        except Exception:  # the pool takes no more
            errors += 1
    for get in waiting:
        try:
            get(timeout=max(start + PATIENCE - time.perf_counter(), 0))
            results += 1
        except Exception as error:
            if type(error).__name__ == "TimeoutError":
                never += 1
            else:
                errors += 1
    took = time.perf_counter() - start
    whole = results == KILLED_AMONG - 1 and errors == 1
    note = f"{results} results, {errors} lost" + (f", {never} never ended" if never else "")
    return {"value": took if whole else None, "note": note}


def killed_in_one_call(pool):
    """As `killed`, of a pool that has no single tasks."""
    try:
        pool.map(increment_or_die, range(KILLED_AMONG))
    except Exception as error:
        return {"value": None, "note": f"the whole call is lost: {type(error).__name__}"}
    return {"value": None, "note": "no error"}


def sampler(peer, plan):
    """What takes a sample; None if this peer has nothing to do it with."""
    make, measure = PEERS[peer], plan.measure
    plain = make is Multiprocessing
    if measure not in getattr(make, "only", (measure,)):
        return None

    def warm(**options):
        pool = make(**options)
        pool.map(increment, range(100))
        OPEN.append(pool)
        return pool

    if measure == "map":
        pool = warm()
        return plan.rate(lambda count: pool.map(increment, range(count)))
    if measure == "map_chunksize_1":
        pool = warm()
        return plan.rate(lambda count: pool.map(increment, range(count), 1))
    if measure in ("apply", "apply_from_sleep"):
        pool = warm()
        return plan.latency(0.002 if measure == "apply_from_sleep" else 0, lambda x: pool.apply(increment, x))
    if measure == "echo_8mib":
        pool = warm()
        return plan.bandwidth(lambda at: random_bytes(plan.bytes), lambda items: pool.map(echo, items, 1))
    if measure == "sum_8mib" and numpy:
        pool = warm()
        return plan.bandwidth(lambda at: numpy.random.rand(plan.bytes // 8), lambda items: pool.map(total, items, 1))
    if measure == "sum_8mib_by_handle" and plain and numpy:
        arrays = [multiprocessing.RawArray("d", plan.bytes // 8) for _ in range(WORKERS)]
        for array in arrays:
            numpy.frombuffer(array)[:] = numpy.random.rand(plan.bytes // 8)
        pool = warm(initializer=share, initargs=(arrays,))
        return plan.bandwidth(lambda at: at, lambda items: pool.map(total_shared, items))
    if measure in ("echo_64mib", "echo_1gib") and plain:
        pool = warm()
        return plan.large(lambda data: pool.apply(echo, data))
    if measure in ("tasks_5ms", "tasks_20us"):
        pool = warm()
        return plan.efficiency(lambda items: pool.map(burn, items))
    if measure == "first_result":

        def first(x):
            pool = make()
            assert pool.apply(increment, x) == x + 1
            return pool

        return plan.latency(0, first, lambda pool: pool.close())
    if measure == "start_and_join" and hasattr(make, "process"):
        return plan.latency(0, make.process)
    if measure == "idle_worker_pss":
        pids = worker_pids(warm())
        return lambda: pss(pids)
    if measure == "lock_pair" and plain:
        lock = multiprocessing.Lock()

        def pair():
            lock.acquire()
            lock.release()

        return plan.pair(pair)
    if measure in ("lock_contended", "lock_fairness") and plain:
        return lambda: contest(measure == "lock_fairness")
    if measure == "worker_killed":
        pool = warm()
        return lambda: killed(pool) if hasattr(pool, "submit") else killed_in_one_call(pool)
    if measure == "calibrate":
        return lambda: max(steps_per_second() for _ in range(9))
    return None


def versions():
    """What is installed, for those who install what is missing."""
    import importlib.metadata

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("joblib", "loky", "mpire", "pebble", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def main():
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
        return

    def answer(**what):
        print(json.dumps(what), flush=True)

    try:
        sample = sampler(sys.argv[1], Plan(**json.loads(sys.stdin.readline())))
        if sample is None:
            answer(kind="unsupported")
            return
        answer(kind="ready")
        while sys.stdin.readline():
            result = sample()
            answer(kind="sample", **(result if isinstance(result, dict) else {"value": result}))
        # Who has started this ends it if a pool that has lost a worker cannot be closed any more.
        for pool in OPEN:
            pool.close()
    except Exception as error:
        answer(kind="failed", note=f"{type(error).__name__}: {error}")
