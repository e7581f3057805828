//! Queues, pipes and managers beside Python's, crossbeam-channel between threads, and ipc-channel, taken in the same run.
//!
//!     cargo bench --bench channels                 # all rows
//!     cargo bench --bench channels -- queue_u64    # the rows whose name contains "queue_u64"
//!     cargo bench --bench channels -- --no-python  # without the peer
//!
//! Millions of items per second of all parties together, microseconds for one round trip, GiB/s of payload. Medians of 5
//! runs; compare ratios, not absolute numbers: machines differ, and drift.

mod common;

use common::{Row, runs};
use crossbeam::channel;
use multiproc::ipc_channel::ipc;
use multiproc::{Connection, DictProxy, Manager, Process, Queue, RawValue, SharedDict, pipe};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The most items that lie in a queue.
const BOUND: usize = 1024;

/// Millions of items per second, if one run moves so many and takes so many seconds.
fn millions(items: usize, mut seconds: impl FnMut() -> f64) -> f64 {
    runs(|| items as f64 / seconds() / 1e6)
}

/// Seconds in which the consumers take all items, from the moment on at which all parties are there.
fn between_processes(producers: usize, consumers: usize, items: usize, batch: usize) -> f64 {
    fn come(here: &RawValue<u32>) {
        here.fetch_add(1);
        while here.get() < 1 << 20 {
            std::hint::spin_loop();
        }
    }
    fn party(queue: Queue<u64>, here: RawValue<u32>, count: usize, batch: usize, puts: bool) {
        come(&here);
        let mut done = 0;
        while done < count {
            done += match (puts, batch) {
                (true, 1) => queue.put(done as u64).map(|()| 1).expect("put"),
                (true, _) => queue.put_many(0..batch as u64).map(|()| batch).expect("put"),
                (false, 1) => queue.get().map(|item| usize::from(black_box(item) < u64::MAX)).expect("get"),
                (false, _) => queue.get_many(batch.min(count - done)).expect("get").len(),
            };
        }
    }
    let (queue, here) = (Queue::bounded(BOUND), RawValue::new(0));
    // This process is the first consumer.
    let spawn =
        |count, puts| Process::spawn(party, (queue.clone(), here.clone(), count, batch, puts)).expect("a process");
    let producers = (0..producers).map(|_| spawn(items / producers, true));
    let crew: Vec<_> = producers.chain((1..consumers).map(|_| spawn(items / consumers, false))).collect();
    while here.get() < crew.len() as u32 {
        std::thread::yield_now();
    }
    let start = Instant::now();
    here.set(1 << 20);
    party(queue.clone(), here.clone(), items / consumers, batch, false);
    let taken = start.elapsed().as_secs_f64();
    multiproc::join_all(crew).expect("the crew");
    taken
}

/// The same between threads, over crossbeam-channel.
fn between_threads(producers: usize, consumers: usize, items: usize) -> f64 {
    let (sender, receiver) = channel::bounded::<u64>(BOUND);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..producers {
            let sender = sender.clone();
            scope.spawn(move || (0..(items / producers) as u64).for_each(|item| sender.send(item).expect("send")));
        }
        for _ in 0..consumers {
            let receiver = receiver.clone();
            scope.spawn(move || (0..items / consumers).for_each(|_| _ = black_box(receiver.recv().expect("receive"))));
        }
    });
    start.elapsed().as_secs_f64()
}

/// From one process to another, over ipc-channel.
fn over_ipc_channel(items: usize) -> f64 {
    let (sender, receiver) = ipc::channel::<u64>().expect("a channel");
    let send = |sender: ipc::IpcSender<u64>, count: u64| (0..count).for_each(|item| sender.send(item).expect("send"));
    let other = Process::spawn(send, (sender, items as u64)).expect("a process");
    // The time that the other takes to start does not count.
    receiver.recv().expect("receive");
    let start = Instant::now();
    (1..items).for_each(|_| _ = black_box(receiver.recv().expect("receive")));
    let taken = start.elapsed().as_secs_f64();
    other.join().expect("the other side");
    taken
}

/// GiB/s of items of 1 MiB, from one process to another.
fn mebibytes() -> f64 {
    const COUNT: usize = 400;
    fn send(queue: Queue<Vec<u8>>) {
        let item = vec![7_u8; 1 << 20];
        (0..COUNT).for_each(|_| queue.put(item.clone()).expect("put"));
    }
    runs(|| {
        let queue = Queue::bounded(8);
        let other = Process::spawn(send, (queue.clone(),)).expect("a process");
        black_box(queue.get().expect("get"));
        let start = Instant::now();
        (1..COUNT).for_each(|_| _ = black_box(queue.get().expect("get")));
        let taken = start.elapsed().as_secs_f64();
        other.join().expect("the other side");
        (COUNT - 1) as f64 / 1024.0 / taken
    })
}

/// Microseconds for a message there and one back, while both sides look for them, or sleep.
fn ping_pong(asleep: bool) -> f64 {
    let trips = if asleep { 500 } else { 20_000 };
    fn answer(connection: Connection<u64>) {
        while let Ok(number) = connection.recv() {
            connection.send(number).expect("send");
        }
    }
    runs(|| {
        let (ours, theirs) = pipe();
        let other = Process::spawn(answer, (theirs,)).expect("a process");
        let mut taken = Duration::ZERO;
        for number in 0..trips + 1 {
            if asleep {
                std::thread::sleep(Duration::from_micros(300));
            }
            let start = Instant::now();
            ours.send(number).expect("send");
            assert_eq!(ours.recv().expect("receive"), number);
            // The first waits until the process is there.
            taken += if number == 0 { Duration::ZERO } else { start.elapsed() };
        }
        drop(ours);
        other.join().expect("the other side");
        taken.as_secs_f64() * 1e6 / trips as f64
    })
}

/// Microseconds for an operation on a map that another process holds.
fn manager_dict(operation: fn(&DictProxy<String, u64>)) -> f64 {
    const COUNT: usize = 20_000;
    let manager = Manager::new().expect("a manager");
    let dict = manager.dict((0..1000).map(|at| (at.to_string(), at))).expect("a map");
    (0..1000).for_each(|_| operation(&dict));
    runs(|| {
        let start = Instant::now();
        (0..COUNT).for_each(|_| operation(&dict));
        start.elapsed().as_secs_f64() * 1e6 / COUNT as f64
    })
}

/// Microseconds for an operation on a map in shared memory.
fn shared_dict(operation: fn(&SharedDict<String, u64>)) -> f64 {
    const COUNT: usize = 200_000;
    let dict = SharedDict::new();
    dict.extend((0..1000).map(|at| (at.to_string(), at))).expect("a map");
    runs(|| {
        let start = Instant::now();
        (0..COUNT).for_each(|_| operation(&dict));
        start.elapsed().as_secs_f64() * 1e6 / COUNT as f64
    })
}

/// The same, while another process does so, too.
fn shared_dict_between_two() -> f64 {
    const COUNT: u64 = 200_000;
    fn party(dict: SharedDict<u64, u64>, start: RawValue<u32>) {
        start.fetch_add(1);
        while start.get() < 2 {
            std::hint::spin_loop();
        }
        (0..COUNT).for_each(|at| dict.update(&(at % 1000), |sum| *sum.get_or_insert(0) += 1).expect("update"));
    }
    runs(|| {
        let (dict, start) = (SharedDict::new(), RawValue::new(0));
        let other = Process::spawn(party, (dict.clone(), start.clone())).expect("a process");
        while start.get() == 0 {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        party(dict, start);
        let taken = begun.elapsed();
        other.join().expect("the other side");
        taken.as_secs_f64() * 1e6 / COUNT as f64
    })
}

const ITEMS: usize = 2_000_000;

const ROWS: &[Row] = &[
    ("queue_u64_1_1", "M/s", || millions(ITEMS, || between_processes(1, 1, ITEMS, 1))),
    ("queue_u64_1_1 crossbeam", "M/s", || millions(ITEMS, || between_threads(1, 1, ITEMS))),
    ("queue_u64_1_1 ipc-channel", "M/s", || millions(ITEMS / 20, || over_ipc_channel(ITEMS / 20))),
    ("queue_u64_4_4", "M/s", || millions(ITEMS, || between_processes(4, 4, ITEMS, 1))),
    ("queue_u64_4_4 crossbeam", "M/s", || millions(ITEMS, || between_threads(4, 4, ITEMS))),
    ("queue_u64_many_1_1", "M/s", || millions(ITEMS, || between_processes(1, 1, ITEMS, 100))),
    ("queue_mebibytes", "GiB/s", mebibytes),
    ("pipe_round_trip", "us", || ping_pong(false)),
    ("pipe_round_trip_asleep", "us", || ping_pong(true)),
    ("manager_dict_get", "us", || manager_dict(|dict| _ = black_box(dict.get("77").expect("get")))),
    ("manager_dict_set", "us", || manager_dict(|dict| _ = dict.insert("77".to_owned(), 5).expect("set"))),
    ("shared_dict_get", "us", || shared_dict(|dict| _ = black_box(dict.get("77").expect("get")))),
    ("shared_dict_set", "us", || shared_dict(|dict| _ = dict.insert("77".to_owned(), 5).expect("set"))),
    ("shared_dict_update_1_1", "us", shared_dict_between_two),
];

const PYTHON: &str = r#"
import sys, time, statistics, multiprocessing as mp
def produce(queue, here, count, item):
    here.wait()
    for _ in range(count): queue.put(item)
def consume(queue, here, count):
    here.wait()
    for _ in range(count): queue.get()
def queue(producers, consumers, items, item=12345):
    def run():
        queue, here = mp.Queue(1024 if isinstance(item, int) else 8), mp.Event()
        crew = [mp.Process(target=produce, args=(queue, here, items // producers, item)) for _ in range(producers)]
        crew += [mp.Process(target=consume, args=(queue, here, items // consumers)) for _ in range(consumers - 1)]
        for p in crew: p.start()
        time.sleep(0.1)
        t = time.perf_counter(); here.set()
        consume(queue, here, items // consumers)
        t = time.perf_counter() - t
        for p in crew: p.join()
        return items / t
    run(); return statistics.median(run() for _ in range(5))
def answer(connection, other):
    other.close()
    try:
        while True: connection.send(connection.recv())
    except EOFError: pass
def ping_pong(trips, pause):
    def run():
        ours, theirs = mp.Pipe()
        other = mp.Process(target=answer, args=(theirs, ours)); other.start(); theirs.close()
        taken = 0
        for number in range(trips + 1):
            if pause: time.sleep(pause)
            t = time.perf_counter(); ours.send(number); ours.recv()
            if number: taken += time.perf_counter() - t
        ours.close(); other.join()
        return taken * 1e6 / trips
    run(); return statistics.median(run() for _ in range(5))
def manager_dict(operation):
    manager = mp.Manager()
    dict = manager.dict({str(at): at for at in range(1000)})
    def run():
        t = time.perf_counter()
        for _ in range(5000): operation(dict)
        return (time.perf_counter() - t) * 1e6 / 5000
    run(); return statistics.median(run() for _ in range(5))
rows = {
    "manager_dict_get": lambda: manager_dict(lambda dict: dict.get("77")),
    "shared_dict_get": lambda: manager_dict(lambda dict: dict.get("77")),
    "shared_dict_set": lambda: manager_dict(lambda dict: dict.__setitem__("77", 5)),
    "manager_dict_set": lambda: manager_dict(lambda dict: dict.__setitem__("77", 5)),
    "pipe_round_trip": lambda: ping_pong(5000, 0),
    "pipe_round_trip_asleep": lambda: ping_pong(500, 0.0003),
    "queue_u64_1_1": lambda: queue(1, 1, 100000) / 1e6,
    "queue_u64_4_4": lambda: queue(4, 4, 100000) / 1e6,
    "queue_mebibytes": lambda: queue(1, 1, 200, bytes(1 << 20)) / 1024,
}
if __name__ == "__main__":
    mp.set_start_method("fork")
    name = sys.argv[1]
    if name in rows: print(rows[name]())
"#;

fn main() {
    common::table(ROWS, PYTHON);
}
