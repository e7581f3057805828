//! Proxies are handles: they travel wherever handles do, and an object lives as long as its last proxy.

use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{DictProxy, Manager, Pool, Process, Queue, ValueProxy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn in_arguments_contexts_results_items_and_objects() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let words = manager.dict::<String, u64>([]).unwrap();
    let pool = Pool::new(2).unwrap();
    let count = |words: &DictProxy<String, u64>, word: String| words.update(&word, |count| *count += 1).unwrap();
    let text = ["a", "b", "a", "c", "a"].map(str::to_owned);
    pool.with(&words).tasks(count, text).run().unwrap();
    assert_eq!(words.get("a").unwrap(), Some(3));
    let made = pool.apply(|manager: multiproc::ManagerHandle| manager.value(7).unwrap(), (manager.handle(),)).unwrap();
    drop(pool);
    assert_eq!(made.get().unwrap(), 7);
    let queue = Queue::<ValueProxy<i32>>::bounded(2);
    queue.put(made).unwrap();
    // It has no proxy but the one in the queue.
    assert_eq!(manager.objects().unwrap().len(), 2);
    let outer = manager.list([queue.get().unwrap()]).unwrap();
    assert_eq!(outer.get(0).unwrap().unwrap().get().unwrap(), 7);
    assert_eq!(manager.objects().unwrap().len(), 3);
    drop(outer);
    let only_words = || manager.objects().unwrap().len() == 1;
    assert!(eventually(SOON, only_words), "{:?}", manager.objects());
}

#[test]
fn not_outside_of_messages() {
    let manager = Manager::new().unwrap();
    let value = manager.value(1).unwrap();
    let error = serde_json::to_string(&value).unwrap_err();
    assert!(error.to_string().contains("can only travel in arguments"), "{error}");
}

/// Written as a proxy of a number, and read as one of a text.
enum Confused {
    Number(ValueProxy<u64>),
    Text(ValueProxy<String>),
}

impl Serialize for Confused {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Confused::Number(number) => number.serialize(serializer),
            Confused::Text(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Confused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Confused, D::Error> {
        ValueProxy::deserialize(deserializer).map(Confused::Text)
    }
}

#[test]
fn of_another_type_they_are_errors() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let number = manager.value(1u64).unwrap();
    let queue = Queue::new();
    queue.put(Confused::Number(number.clone())).unwrap();
    let Confused::Text(text) = queue.get().unwrap() else { unreachable!() };
    let error = text.get().unwrap_err();
    assert!(error.is_decode() && error.to_string().contains("the object is a `u64`"), "{error}");
    assert_eq!(number.get().unwrap(), 1);
}

#[test]
fn an_object_goes_with_its_last_proxy_also_if_that_was_killed() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let value = manager.value("held".to_owned()).unwrap();
    let hold = |value: ValueProxy<String>, ready: Queue<()>| {
        assert_eq!(value.get().unwrap(), "held");
        ready.put(()).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
    };
    let ready = Queue::new();
    let process = Process::spawn(hold, (value.clone(), ready.clone())).unwrap();
    ready.get().unwrap();
    drop(value);
    assert_eq!(manager.objects().unwrap().len(), 1);
    kill(process.pid());
    process.wait();
    assert!(eventually(SOON, || manager.objects().unwrap().is_empty()), "{:?}", manager.objects());
}
