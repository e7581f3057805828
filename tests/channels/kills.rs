//! Many processes put and get while one after the other is killed, wherever it happens to be. In the end each item is
//! accounted for by name: it came out once, or it was the one that a killed process was putting or had just taken.

use super::common::alone::alone;
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Payload, Process, Queue, RawArray, RawValue, Receiver, Sender, Value, channel, shared_memory_report};
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

/// What all share: for each producer how many items it has begun to put and how many it has put, how often each item was taken,
/// and who is to leave.
#[derive(Clone, Serialize, Deserialize)]
struct Account {
    stop: RawValue<u32>,
    leave: RawArray<u8>,
    begun: RawArray<u64>,
    put: RawArray<u64>,
    taken: RawArray<u8>,
}

impl Account {
    fn new() -> Account {
        let (begun, put) = (RawArray::new(PRODUCERS), RawArray::new(PRODUCERS));
        let leave = RawArray::new(PRODUCERS + CONSUMERS);
        Account { stop: RawValue::new(0), leave, begun, put, taken: RawArray::new(PRODUCERS * MOST) }
    }

    /// Puts items until it is to stop or to leave, or `put` returns false, which has not put its item then.
    fn produce<T>(&self, who: usize, put: impl Fn(T) -> bool, item: fn(u64) -> T) {
        loop {
            let number = self.begun.get(who);
            if self.stop.get() != 0 || self.leave.get(who) != 0 || number as usize >= MOST {
                return;
            }
            self.begun.set(who, number + 1);
            if !put(item((who * MOST) as u64 + number)) {
                return self.begun.set(who, number);
            }
            self.put.set(who, number + 1);
        }
    }

    fn consume(&self, mut get: impl FnMut() -> Option<u64>) {
        while let Some(number) = get() {
            self.note_taken(number);
        }
    }

    fn note_taken(&self, number: u64) {
        let at = number as usize;
        self.taken.set(at, self.taken.get(at) + 1);
    }

    /// A producer was killed: what it had begun to put may be there or not, and the next one begins behind it.
    fn give_up_doubt(&self, who: usize) -> Option<usize> {
        let (begun, put) = (self.begun.get(who), self.put.get(who));
        assert!(begun - put <= 1);
        self.put.set(who, begun);
        (begun > put).then_some(who * MOST + put as usize)
    }

    /// How many items were put, and which of them did not come out. None came out twice, or that was not put.
    fn missing(&self) -> (usize, Vec<usize>) {
        let (mut all, mut missing) = (0, Vec::new());
        for who in 0..PRODUCERS {
            let put = self.put.get(who) as usize;
            let taken = self.taken.read(who * MOST..(who + 1) * MOST);
            assert!(taken[put..].iter().all(|times| *times == 0), "an item came out that nobody has put");
            assert!(taken.iter().all(|times| *times <= 1), "an item came out twice");
            missing.extend((0..put).filter(|number| taken[*number] == 0).map(|number| who * MOST + number));
            all += put;
        }
        (all, missing)
    }
}

/// Random numbers, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
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

/// Kills a process, which has not ended by itself.
fn end<R: Payload>(process: &Process<R>) {
    kill(process.pid());
    process.wait();
    assert_eq!(process.exitcode(), Some(-9), "it has ended before it was killed");
}

/// What killed processes may have lost is lost, and nothing else is wrong.
fn books_come_out(kills: usize) {
    let is_quiet = || {
        let report = shared_memory_report().unwrap();
        report.damage.is_empty() && report.lost <= kills
    };
    assert!(eventually(Duration::from_secs(20), is_quiet), "{:?}", shared_memory_report());
}

fn storm<T: Thing>(queue: &Queue<T>) {
    let _watchdog = watchdog(180);
    let account = Account::new();
    let spawn = |at: usize| {
        let role = |queue: Queue<T>, account: Account, at: usize| {
            if at < PRODUCERS {
                account.produce(at, |item| queue.put(item).is_ok(), T::make);
            } else {
                account.consume(|| queue.get().ok().map(T::number));
            }
        };
        Process::spawn(role, (queue.clone(), account.clone(), at)).unwrap()
    };
    let mut crew: Vec<_> = (0..PRODUCERS + CONSUMERS).map(spawn).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    let (mut killed_producers, mut killed_consumers, mut in_doubt) = (0, 0, Vec::new());
    // On a busy machine it takes longer until some of both kinds were killed.
    while start.elapsed() < limit() || killed_producers.min(killed_consumers) <= 2 {
        let victim = random.below(crew.len() as u64) as usize;
        let before: u64 = account.put.read(..).iter().sum();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        end(&crew[victim]);
        if victim < PRODUCERS {
            killed_producers += 1;
            in_doubt.extend(account.give_up_doubt(victim));
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
    let (all, missing) = account.missing();
    let lost = missing.iter().filter(|item| !in_doubt.contains(item)).count();
    println!("{all} items, {killed_producers} producers and {killed_consumers} consumers killed, {lost} items lost");
    assert!(lost <= killed_consumers, "{lost} items lost, {killed_consumers} consumers killed");
    drop(account);
    books_come_out(killed_producers + killed_consumers);
}

/// Which end of a channel nobody has any more at last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    Senders,
    Receivers,
}

/// The same over a channel, whose ends are dropped as well as killed all the time; and in the end all who have the one end are
/// dropped or killed, none is replaced, and those at the other end are told.
fn channel_storm<T: Thing>(gone: Gone) {
    let _watchdog = watchdog(180);
    let (account, (sender, receiver)) = (Account::new(), channel::<T>(16));
    // Each ends when it is to leave, or is told that nobody is left at the other end.
    let produce = |sender: Sender<T>, account: Account, who: usize| {
        let put = |item| match sender.send(item) {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_disconnected(), "{error}");
                false
            }
        };
        account.produce(who, put, T::make);
    };
    let consume = |receiver: Receiver<T>, account: Account, at: usize| {
        while account.leave.get(at) == 0 {
            match receiver.recv_timeout(Duration::from_millis(10)) {
                Ok(Some(item)) => account.note_taken(item.number()),
                Ok(None) => {}
                Err(error) => {
                    return assert!(error.is_disconnected(), "{error}");
                }
            }
        }
    };
    let spawn = |at: usize, sender: &Sender<T>, receiver: &Receiver<T>| match at < PRODUCERS {
        true => Process::spawn(produce, (sender.clone(), account.clone(), at)).unwrap(),
        false => Process::spawn(consume, (receiver.clone(), account.clone(), at)).unwrap(),
    };
    let mut crew: Vec<_> = (0..PRODUCERS + CONSUMERS).map(|at| spawn(at, &sender, &receiver)).collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    // Kills of producers and of consumers, and those that have left.
    let (mut killed, mut left, mut in_doubt) = ([0, 0], [0, 0], Vec::new());
    let mut send_away = |process: &Process<()>, at: usize, dies: bool| {
        let side = usize::from(at >= PRODUCERS);
        if dies {
            end(process);
            killed[side] += 1;
            in_doubt.extend((side == 0).then(|| account.give_up_doubt(at)).flatten());
        } else {
            account.leave.set(at, 1);
            process.wait();
            assert_eq!(process.exitcode(), Some(0));
            left[side] += 1;
        }
        killed.into_iter().chain(left).min().unwrap_or_default()
    };
    let (start, mut fewest) = (Instant::now(), 0);
    while start.elapsed() < limit() || fewest <= 2 {
        let at = random.below(crew.len() as u64) as usize;
        let before: u64 = account.put.read(..).iter().sum();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        fewest = send_away(&crew[at], at, random.below(3) > 0);
        account.leave.set(at, 0);
        crew[at] = spawn(at, &sender, &receiver);
        let go_on = || account.put.read(..).iter().sum::<u64>() > before;
        assert!(eventually(Duration::from_secs(20), go_on), "all hang");
    }
    let (ends, others) = match gone {
        Gone::Senders => (0..PRODUCERS, PRODUCERS..crew.len()),
        Gone::Receivers => (PRODUCERS..crew.len(), 0..PRODUCERS),
    };
    // A handle of this process is one of them.
    let (sender, receiver) = match gone {
        Gone::Senders => {
            drop(sender);
            (None, Some(receiver))
        }
        Gone::Receivers => {
            drop(receiver);
            (Some(sender), None)
        }
    };
    for at in ends {
        send_away(&crew[at], at, random.below(2) > 0);
    }
    for at in others {
        // It is told, after all that was sent.
        assert!(crew[at].wait_timeout(Duration::from_secs(20)), "{at} hangs");
        assert_eq!(crew[at].exitcode(), Some(0));
    }
    let (all, missing) = account.missing();
    let lost: Vec<_> = missing.iter().filter(|item| !in_doubt.contains(item)).collect();
    println!("{all} items, {killed:?} killed, {left:?} left, {} lost, {} in doubt", lost.len(), in_doubt.len());
    match (&sender, &receiver) {
        (None, Some(receiver)) => {
            assert!(receiver.try_recv().is_err_and(|error| error.is_disconnected()) && receiver.is_empty());
            // Each is the last one that a killed consumer had taken.
            assert!(lost.len() <= killed[1], "{lost:?}");
        }
        (Some(sender), None) => {
            assert!(sender.try_send(T::make(0)).is_err_and(|error| error.is_disconnected()));
            // What nobody takes any more is still there.
            let unread = sender.len();
            // So each that is missing is there, or was the last one of a killed consumer or producer.
            assert!(missing.len() >= unread && lost.len() <= unread + killed[1], "{unread} unread, {missing:?}");
        }
        _ => unreachable!(),
    }
    drop((account, sender, receiver, crew));
    books_come_out(killed.into_iter().sum());
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

#[test]
fn numbers_in_a_channel_whose_senders_go() {
    if alone("kills::numbers_in_a_channel_whose_senders_go") {
        channel_storm::<u64>(Gone::Senders);
    }
}

#[test]
fn mixed_items_in_a_channel_whose_senders_go() {
    if alone("kills::mixed_items_in_a_channel_whose_senders_go") {
        channel_storm::<Mixed>(Gone::Senders);
    }
}

#[test]
fn numbers_in_a_channel_whose_receivers_go() {
    if alone("kills::numbers_in_a_channel_whose_receivers_go") {
        channel_storm::<u64>(Gone::Receivers);
    }
}

#[test]
fn mixed_items_in_a_channel_whose_receivers_go() {
    if alone("kills::mixed_items_in_a_channel_whose_receivers_go") {
        channel_storm::<Mixed>(Gone::Receivers);
    }
}
