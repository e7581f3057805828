//! Many processes put and get while one after the other is killed, wherever it happens to be. In the end each item is
//! accounted for by name: it came out once, or it was the one that a killed process was putting or had just taken.

use super::common::alone::alone;
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Payload, Process, Queue, RawArray, RawValue, Value, shared_memory_report};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 8;
const CONSUMERS: usize = 8;

/// The most items of one producer.
const MOST: usize = 1 << 20;

/// How long it goes on; longer with MULTIPROC_LONG=1.
fn limit() -> Duration {
    Duration::from_secs(if std::env::var_os("MULTIPROC_LONG").is_some() { 60 } else { 4 })
}

/// What all share: for each producer how many items it has begun to put and how many it has put, and how often each item was
/// taken.
#[derive(Clone, Serialize, Deserialize)]
struct Account {
    stop: RawValue<u32>,
    begun: RawArray<u64>,
    put: RawArray<u64>,
    taken: RawArray<u8>,
}

impl Account {
    fn new() -> Account {
        let (begun, put) = (RawArray::new(PRODUCERS), RawArray::new(PRODUCERS));
        Account { stop: RawValue::new(0), begun, put, taken: RawArray::new(PRODUCERS * MOST) }
    }

    fn produce<T>(&self, who: usize, put: impl Fn(T), item: fn(u64) -> T) {
        loop {
            let number = self.begun.get(who);
            if self.stop.get() != 0 || number as usize >= MOST {
                return;
            }
            self.begun.set(who, number + 1);
            put(item((who * MOST) as u64 + number));
            self.put.set(who, number + 1);
        }
    }

    fn consume(&self, mut get: impl FnMut() -> Option<u64>) {
        while let Some(number) = get() {
            let at = number as usize;
            self.taken.set(at, self.taken.get(at) + 1);
        }
    }
}

/// An item as it travels, with its number.
trait Thing: Payload {
    fn make(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Thing for u64 {
    fn make(number: u64) -> u64 {
        number
    }
    fn number(self) -> u64 {
        self
    }
}

/// Small ones, larger ones, and ones that refer to shared memory.
#[derive(Serialize, Deserialize)]
enum Mixed {
    Small(u64),
    Large(u64, Vec<u64>),
    Handle(Value<u64>),
}

impl Thing for Mixed {
    fn make(number: u64) -> Mixed {
        match number % 7 {
            0 => Mixed::Large(number, vec![number; 100]),
            1 => Mixed::Handle(Value::new(number)),
            2 if number % 5 == 0 => Mixed::Large(number, vec![number; 10_000]),
            _ => Mixed::Small(number),
        }
    }

    fn number(self) -> u64 {
        match self {
            Mixed::Small(number) => number,
            Mixed::Large(number, numbers) => {
                assert!(numbers.iter().all(|it| *it == number));
                number
            }
            Mixed::Handle(value) => value.get().unwrap(),
        }
    }
}

fn storm<T: Thing>(queue: &Queue<T>) {
    let _watchdog = watchdog(180);
    let account = Account::new();
    let spawn = |at: usize| {
        let role = |queue: Queue<T>, account: Account, at: usize| {
            if at < PRODUCERS {
                account.produce(at, |item| queue.put(item).unwrap(), T::make);
            } else {
                account.consume(|| queue.get().ok().map(T::number));
            }
        };
        Process::spawn(role, (queue.clone(), account.clone(), at)).unwrap()
    };
    let mut crew: Vec<_> = (0..PRODUCERS + CONSUMERS).map(spawn).collect();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = Instant::now();
    let (mut killed_producers, mut killed_consumers, mut in_doubt) = (0, 0, Vec::new());
    // On a busy machine it takes longer until some of both kinds were killed.
    while start.elapsed() < limit() || killed_producers.min(killed_consumers) <= 2 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) as usize % crew.len();
        let before: u64 = account.put.read(..).iter().sum();
        std::thread::sleep(Duration::from_micros((random >> 40) % 20_000));
        kill(crew[victim].pid());
        crew[victim].wait();
        assert_eq!(crew[victim].exitcode(), Some(-9), "it has ended before it was killed");
        if victim < PRODUCERS {
            killed_producers += 1;
            // What it had begun to put may be there or not; the next one begins behind it.
            let (begun, put) = (account.begun.get(victim), account.put.get(victim));
            assert!(begun - put <= 1);
            in_doubt.extend((put..begun).map(|number| victim * MOST + number as usize));
            account.put.set(victim, begun);
        } else {
            killed_consumers += 1;
        }
        crew[victim] = spawn(victim);
        // The others go on.
        let go_on = || account.put.read(..).iter().sum::<u64>() > before;
        assert!(eventually(Duration::from_secs(20), go_on), "all hang");
    }
    account.stop.set(1);
    let consumers = crew.split_off(PRODUCERS);
    multiproc::join_all(crew).unwrap();
    queue.close().unwrap();
    multiproc::join_all(consumers).unwrap();
    assert_eq!(queue.len(), 0);
    let (mut lost, mut all) = (0, 0);
    for who in 0..PRODUCERS {
        let put = account.put.get(who) as usize;
        let taken = account.taken.read(who * MOST..(who + 1) * MOST);
        assert!(taken[put..].iter().all(|times| *times == 0), "an item came out that nobody has put");
        for (number, times) in taken[..put].iter().enumerate() {
            assert!(*times <= 1, "an item came out twice");
            lost += usize::from(*times == 0 && !in_doubt.contains(&(who * MOST + number)));
        }
        all += put;
    }
    println!("{all} items, {killed_producers} producers and {killed_consumers} consumers killed, {lost} items lost");
    assert!(lost <= killed_consumers, "{lost} items lost, {killed_consumers} consumers killed");
    drop(account);
    let is_quiet = || {
        let report = shared_memory_report().unwrap();
        report.damage.is_empty() && report.lost <= killed_producers + killed_consumers
    };
    assert!(eventually(Duration::from_secs(20), is_quiet), "{:?}", shared_memory_report());
}

#[test]
fn numbers_in_a_bounded_queue() {
    if alone("kills::numbers_in_a_bounded_queue") {
        storm(&Queue::<u64>::bounded(16));
    }
}

#[test]
fn mixed_items_in_a_bounded_queue() {
    if alone("kills::mixed_items_in_a_bounded_queue") {
        storm(&Queue::<Mixed>::bounded(16));
    }
}

#[test]
fn mixed_items_in_an_endless_queue() {
    if alone("kills::mixed_items_in_an_endless_queue") {
        storm(&Queue::<Mixed>::new());
    }
}
