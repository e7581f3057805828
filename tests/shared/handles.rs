//! Handles travel: in arguments, items, contexts and results, however deep; and nowhere else.

use super::common::alone::alone;
use super::common::links::on_each_pool;
use super::common::proc::{eventually, kill};
use super::common::watchdog::watchdog;
use multiproc::{Array, Lock, Pool, RawValue, Value};
use std::collections::BTreeMap;
use std::time::Duration;

type Nested = BTreeMap<i32, Vec<Option<Value<i32>>>>;

#[test]
fn handles_travel_nested_and_in_both_directions() {
    on_each_pool(2, 60, |pool| {
        let map = BTreeMap::from([(1, vec![Some(Value::new(1i32)), None]), (2, vec![Some(Value::new(2))])]);
        let sums = pool.map(
            |(factor, map): (i32, Nested)| {
                map.into_values().flatten().flatten().map(|value| value.get().unwrap() * factor).sum::<i32>()
            },
            (0..100).map(|factor| (factor, map.clone())),
        );
        assert_eq!(sums.unwrap(), (0..100).map(|factor| 3 * factor).collect::<Vec<_>>());
        // A worker makes them, and they outlive it.
        let made = pool.map(|x: u64| (x, Value::new(x * x), "text".to_owned()), 0..200).unwrap();
        for (x, value, _) in &made {
            assert_eq!(value.get().unwrap(), x * x);
        }
        let through =
            pool.apply(|value: Value<u64>, lock: Lock| (lock, value), (made[3].1.clone(), Lock::new())).unwrap();
        through.1.set(10).unwrap();
        assert_eq!(made[3].1.get().unwrap(), 10);
        drop(through.0.lock().unwrap());
    });
}

#[test]
fn a_result_outlives_the_worker_that_made_it() {
    on_each_pool(1, 60, |pool| {
        for round in 0..20 {
            let array = pool.apply(|x: u32| Array::from(&vec![x; 100_000]), (round,)).unwrap();
            kill(pool.worker_pids()[0]);
            let again = pool.map_each(|x: u32| Value::new(x), 0..50);
            assert!(again.iter().filter(|it| it.is_err()).count() <= 1);
            for (value, x) in again.iter().zip(0..).filter_map(|(it, x)| Some((it.as_ref().ok()?, x))) {
                assert_eq!(value.get().unwrap(), x);
            }
            assert_eq!(array.read(99_999..).unwrap(), [round]);
        }
    });
}

#[test]
fn a_worker_may_keep_a_handle() {
    use std::sync::OnceLock;
    static KEPT: OnceLock<Value<u64>> = OnceLock::new();
    let _watchdog = watchdog(60);
    let value = Value::new(5u64);
    let pool = Pool::builder()
        .processes(1)
        .initializer(|value: Value<u64>| drop(KEPT.set(value)), (value.clone(),))
        .build()
        .unwrap();
    drop(value);
    // Also the next worker gets it.
    for round in 0..3 {
        let got = pool.apply(|| KEPT.get().unwrap().update(|it| std::mem::replace(it, *it + 1)).unwrap(), ()).unwrap();
        assert_eq!(got, 5 + round);
        let pid = pool.worker_pids()[0];
        kill(pid);
        assert!(eventually(Duration::from_secs(30), || pool.worker_pids().first().is_some_and(|it| *it != pid)));
    }
}

#[test]
fn a_handle_is_refused_outside_of_messages() {
    let _watchdog = watchdog(60);
    let lock = Lock::new();
    let error = serde_json::to_string(&lock).unwrap_err().to_string();
    assert!(error.contains("can only travel in arguments, items, results"), "{error}");
    let error = serde_json::to_string(&Some(vec![Value::new(1)])).unwrap_err().to_string();
    assert!(error.contains("can only travel in"), "{error}");
    let error = serde_json::from_str::<Lock>("[1,2,3]").unwrap_err().to_string();
    assert!(error.contains("can only be read from a message of multiproc"), "{error}");
    // Also inside of a task.
    let pool = Pool::new(1).unwrap();
    let text = pool.apply(|lock: Lock| serde_json::to_string(&lock).unwrap_err().to_string(), (lock,)).unwrap();
    assert!(text.contains("can only travel in"), "{text}");
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct Bytes((u64, u32, u32));

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        // What a worker of another tree, or a hostile one, could send.
        Lock::deserialize(deserializer).map(|_| Bytes((0, 0, 0)))
    }
}

#[test]
fn a_handle_of_another_tree_is_a_clear_error() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let _lock = Lock::new();
    for bytes in [(1, 0, 0), (u64::MAX, u32::MAX, u32::MAX)] {
        let error = pool.apply(|_: Bytes| (), (Bytes(bytes),)).unwrap_err();
        let task = error.task().unwrap();
        assert!(task.is_decode(), "{task}");
        assert!(task.to_string().contains("belongs to the shared memory of another program"), "{task}");
    }
}

#[test]
fn a_handle_keeps_its_type() {
    // The bytes of one type read as another: only by a type that lies about itself.
    #[derive(serde::Serialize)]
    #[serde(transparent)]
    struct Liar(RawValue<u64>);
    impl<'de> serde::Deserialize<'de> for Liar {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Liar, D::Error> {
            Lock::deserialize(deserializer).map(|_| Liar(RawValue::new(0)))
        }
    }
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: Liar| (), (Liar(RawValue::new(1)),)).unwrap_err();
    assert!(error.to_string().contains("the handle refers to something that is no lock"), "{error}");
}

#[test]
fn an_idle_worker_lets_go_of_the_last_context() {
    if !alone("handles::an_idle_worker_lets_go_of_the_last_context") {
        return;
    }
    on_each_pool(2, 60, |pool| {
        let before = multiproc::shared_memory_report().unwrap().blocks;
        let value = Value::new(1u64);
        assert_eq!(
            pool.with(&value).tasks(|value: &Value<u64>, x: u64| value.get().unwrap() + x, 0..9).run().unwrap().len(),
            9
        );
        drop(value);
        let blocks = || multiproc::shared_memory_report().unwrap().blocks;
        assert!(eventually(Duration::from_secs(20), || blocks() <= before), "{} blocks, {before} before", blocks());
    });
}
