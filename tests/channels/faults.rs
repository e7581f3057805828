//! Values that refuse, items of another type, forks.

use super::common::seccomp::refuse;
use super::common::watchdog::watchdog;
use multiproc::{Error, GetError, Process, PutError, Queue, RawArray, Value, shared_memory_report};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Refuses to be written or read if it is odd.
#[derive(Clone, Debug, PartialEq)]
struct Even(u32);

impl Serialize for Even {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 7 { Err(serde::ser::Error::custom("seven")) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Even, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if number % 2 == 0 { Ok(Even(number)) } else { Err(serde::de::Error::custom("odd")) }
    }
}

#[test]
fn a_value_that_refuses_is_given_back_and_the_queue_unchanged() {
    let queue = Queue::bounded(5);
    let error = queue.put(Even(7)).unwrap_err();
    assert!(error.is_encode() && error.to_string().contains("seven"), "{error}");
    assert_eq!((error.into_inner(), queue.len()), (Even(7), 0));
    let error = queue.put_many([Even(2), Even(7), Even(4)]).unwrap_err();
    assert_eq!((error.into_inner(), queue.len()), (vec![Even(2), Even(7), Even(4)], 0));
}

#[test]
fn an_item_that_cannot_be_read_costs_itself_alone() {
    let queue = Queue::new();
    queue.put_many([Even(2), Even(3), Even(4), Even(5), Even(6)]).unwrap();
    assert_eq!(queue.get().unwrap(), Even(2));
    let error = queue.get().unwrap_err();
    assert!(error.is_decode() && error.to_string().contains("odd"), "{error}");
    let rest = queue.get_many(9).unwrap();
    assert!(matches!(&rest[..], [Ok(Even(4)), Err(error), Ok(Even(6))] if error.is_decode()), "{rest:?}");
}

/// Goes in as a queue of numbers, or a value, and comes out as a queue of text.
enum Turned {
    Numbers(Queue<u64>),
    Value(Value<u64>),
    Text(Queue<String>),
}

impl Serialize for Turned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Turned::Numbers(queue) => queue.serialize(serializer),
            Turned::Value(value) => value.serialize(serializer),
            Turned::Text(queue) => queue.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Turned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Turned, D::Error> {
        Queue::deserialize(deserializer).map(Turned::Text)
    }
}

#[test]
fn a_queue_of_another_type_gives_errors() {
    let _watchdog = watchdog(60);
    let (numbers, turn) = (Queue::<u64>::bounded(3), Queue::new());
    numbers.put(5).unwrap();
    turn.put(Turned::Numbers(numbers.clone())).unwrap();
    let Turned::Text(text) = turn.get().unwrap() else { panic!("not turned") };
    assert!(text.get().unwrap_err().is_decode());
    text.put("a text that is too long for a number".to_owned()).unwrap();
    text.put(String::new()).unwrap();
    assert!(numbers.get().unwrap_err().is_decode());
    assert_eq!(text.get().unwrap(), "");
    turn.put(Turned::Value(Value::new(1))).unwrap();
    let error = turn.get().err().unwrap();
    assert!(error.is_decode(), "{error}");
}

#[test]
fn errors_are_plain_data_and_keep_their_kind() {
    let queue = Queue::<String>::bounded(1);
    queue.put("a".to_owned()).unwrap();
    let full: PutError<String> = queue.try_put("b".to_owned()).unwrap_err();
    let full: PutError<String> = serde_json::from_str(&serde_json::to_string(&full).unwrap()).unwrap();
    assert!(full.is_full() && full.to_string() == "the queue is full" && format!("{full:?}").contains("full"));
    let error: Error = full.into();
    assert_eq!((error.to_string().as_str(), error.queue().is_some()), ("the queue is full", true));
    queue.close().unwrap();
    queue.get().unwrap();
    let closed: GetError = queue.get().unwrap_err();
    let closed: GetError = serde_json::from_str(&serde_json::to_string(&closed).unwrap()).unwrap();
    assert!(closed.is_closed() && !closed.is_decode());
    assert!(Error::from(closed).queue().unwrap().is_closed());
}

#[test]
fn a_process_that_is_told_of_nothing_ends_by_the_close() {
    let _watchdog = watchdog(60);
    let queue = Queue::<u64>::new();
    let drain = |queue: Queue<u64>| {
        let mut sum = 0;
        loop {
            match queue.get() {
                Ok(item) => sum += item,
                Err(error) => return (sum, error.is_closed()),
            }
        }
    };
    let other = Process::spawn(drain, (queue.clone(),)).unwrap();
    queue.put_many(1..=100).unwrap();
    queue.close().unwrap();
    assert_eq!(other.join().unwrap(), (5050, true));
}

/// A limit on files, or a filter that forbids to write them, leaves the way by mapped memory.
#[test]
fn large_items_where_files_cannot_be_written() {
    let _watchdog = watchdog(60);
    let put = |queue: Queue<Vec<u32>>, is_limited: bool| {
        if is_limited {
            let limit = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        } else {
            refuse(&[libc::SYS_pwritev, libc::SYS_pread64], libc::EPERM);
        }
        queue.put((0..1 << 18).collect()).unwrap();
        queue.get().unwrap().len()
    };
    for is_limited in [true, false] {
        let (queue, expected) = (Queue::new(), (0..1 << 18).collect::<Vec<u32>>());
        queue.put(expected.clone()).unwrap();
        let process = Process::spawn(put, (queue.clone(), is_limited)).unwrap();
        assert_eq!(process.join().unwrap(), 1 << 18);
        assert_eq!(queue.get().unwrap(), expected);
    }
}

/// Items that take the memory of others find nothing of them.
#[test]
fn memory_is_used_again_for_items_of_all_kinds() {
    let _watchdog = watchdog(60);
    let (bytes, handles) = (Queue::<Vec<u8>>::new(), Queue::<(Vec<Value<u64>>, Vec<u16>)>::new());
    let texts = Queue::<String>::new();
    for round in 0..20_u64 {
        bytes.put(vec![0xff; 200_000]).unwrap();
        assert_eq!(bytes.get().unwrap(), vec![0xff; 200_000]);
        let values = (0..round % 5).map(Value::new).collect();
        handles.put((values, vec![round as u16; 90_000])).unwrap();
        let (values, numbers) = handles.get().unwrap();
        assert_eq!(numbers, vec![round as u16; 90_000]);
        assert!(values.iter().zip(0..).all(|(value, number)| value.get().unwrap() == number));
        texts.put("x".repeat(100_000 + round as usize)).unwrap();
        assert_eq!(texts.get().unwrap().len(), 100_000 + round as usize);
        // What is no item is zero.
        let array = RawArray::<u64>::new(20_000);
        assert!(array.read(..).iter().all(|it| *it == 0));
        array.write(0, &[u64::MAX; 20_000]);
    }
    assert!(shared_memory_report().unwrap().damage.is_empty());
}
