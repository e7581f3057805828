//! Values and arrays, with and without locks.

use super::common::watchdog::watchdog;
use multiproc::{Array, Lock, Pool, RawArray, RawValue, Value, bytemuck};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[bytemuck(crate = "multiproc::bytemuck")]
#[repr(C)]
struct Point {
    x: f64,
    y: f64,
    tag: [u32; 4],
}

#[test]
fn a_value_of_every_kind() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(1).unwrap();
    macro_rules! round {
        ($($type:ty: $first:expr, $second:expr;)*) => { $(
            let value = Value::<$type>::new($first);
            assert_eq!(value.get().unwrap(), $first);
            let before = pool.apply(|value: Value<$type>| {
                let before = value.get().unwrap();
                value.set($second).unwrap();
                (before == $first, format!("{value:?}"))
            }, (value.clone(),)).unwrap();
            assert!(before.0);
            assert_eq!(before.1, format!("Value({:?}, Lock(owner=this thread))", $second));
            assert_eq!(value.get().unwrap(), $second);
        )* };
    }
    round! {
        u8: 1, 255;
        i64: -1, i64::MIN;
        f64: 1.5, -0.0;
        u128: 1, u128::MAX;
        bool: false, true;
        char: 'a', 'ß';
        [u16; 100]: [1; 100], [2; 100];
        Point: Point { x: 1.0, y: 2.0, tag: [3; 4] }, Point { x: -1.0, y: 0.5, tag: [4; 4] };
    }
}

type Counters = (Value<[u64; 3]>, RawValue<i16>, Array<u32>, RawArray<u8>);

#[test]
fn updates_from_many_processes_are_all_there() {
    let _watchdog = watchdog(60);
    let pool = Pool::new(4).unwrap();
    let (value, raw) = (Value::new([0u64; 3]), RawValue::new(0i16));
    let array = Array::<u32>::new(7);
    let bytes = RawArray::<u8>::new(5);
    let shared = (value.clone(), raw.clone(), array.clone(), bytes.clone());
    pool.with(&shared)
        .tasks(
            |(value, raw, array, bytes): &Counters, item: usize| {
                for _ in 0..100 {
                    value.update(|all| all.iter_mut().for_each(|it| *it += 1)).unwrap();
                    raw.fetch_add(1);
                    array.lock().unwrap()[item % 7] += 1;
                    bytes.fetch_add(item % 5, 1);
                }
            },
            0..70,
        )
        .run()
        .unwrap();
    assert_eq!(value.get().unwrap(), [7000; 3]);
    assert_eq!(raw.get(), 7000);
    assert_eq!(array.read(..).unwrap(), [1000; 7]);
    assert_eq!(bytes.read(..), [(1400 % 256) as u8; 5]);
}

#[test]
fn the_guard_excludes_its_own_thread() {
    let _watchdog = watchdog(60);
    let value = Value::new(1u32);
    let mut held = value.lock().unwrap();
    *held += 1;
    assert!(value.get().unwrap_err().is_would_deadlock());
    assert!(value.set(1).unwrap_err().is_would_deadlock());
    assert!(value.lock().unwrap_err().is_would_deadlock());
    drop(held);
    assert_eq!(value.get().unwrap(), 2);
    let array = Array::from(&[1, 2, 3]);
    let held = array.lock().unwrap();
    assert!(array.get(0).unwrap_err().is_would_deadlock());
    drop(held);
    // The lock of a value is the very lock that its accesses take.
    let held = value.get_lock().lock().unwrap();
    assert!(value.get().unwrap_err().is_would_deadlock());
    drop(held);
    let lock = Lock::new();
    let (a, b) = (Value::with_lock(1, &lock).unwrap(), Array::<u8>::with_lock(3, &lock).unwrap());
    let held = lock.lock().unwrap();
    assert!(a.get().unwrap_err().is_would_deadlock() && b.read(..).unwrap_err().is_would_deadlock());
    drop(held);
    let pool = Pool::new(1).unwrap();
    let same = pool.apply(
        |a: Value<i32>, b: Array<u8>| {
            let _held = a.get_lock().lock().unwrap();
            b.get(0).unwrap_err().is_would_deadlock()
        },
        (a, b),
    );
    assert!(same.unwrap());
}

#[test]
fn arrays_are_read_and_written_in_ranges() {
    let _watchdog = watchdog(60);
    let array = Array::from(&(0..1000u64).collect::<Vec<_>>());
    assert_eq!((array.len(), array.get(999).unwrap()), (1000, 999));
    array.write(10, &[1, 2, 3]).unwrap();
    assert_eq!(array.read(9..14).unwrap(), [9, 1, 2, 3, 13]);
    array.set(0, 77).unwrap();
    assert_eq!(array.read(..=0).unwrap(), [77]);
    assert!(std::panic::catch_unwind(|| array.get(1000)).is_err());
    assert!(std::panic::catch_unwind(|| array.write(999, &[1, 2])).is_err());
    // A panic in between does not leave it locked.
    assert_eq!(array.get(999).unwrap(), 999);
    let raw = RawArray::from(&[1u16, 2, 3]);
    raw.write(1, &[9, 8]);
    assert_eq!((raw.get(0), raw.read(..)), (1, vec![1, 9, 8]));
    assert!(std::panic::catch_unwind(|| raw.get(3)).is_err());
    assert!(std::panic::catch_unwind(|| raw.write(2, &[1, 2])).is_err());
    for from in [0, 3, usize::MAX] {
        assert!(std::panic::catch_unwind(|| raw.read(from..=usize::MAX)).is_err());
    }
    assert!(Array::<u8>::new(0).is_empty() && RawArray::<u8>::new(0).read(..).is_empty());
}

#[test]
fn a_large_array_is_shared_and_not_copied() {
    let _watchdog = watchdog(120);
    let array = Array::<f64>::new(16 << 20);
    let pool = Pool::new(2).unwrap();
    let sum = pool
        .with(&array)
        .tasks(
            |array: &Array<f64>, part: usize| {
                let mut all = array.lock().unwrap();
                let part = &mut all[part << 20..][..1 << 20];
                part.fill(0.5);
                part.iter().sum::<f64>()
            },
            0..16,
        )
        .run();
    assert_eq!(sum.unwrap().iter().sum::<f64>(), (8 << 20) as f64);
    assert_eq!(array.read(..).unwrap().iter().sum::<f64>(), (8 << 20) as f64);
}

#[test]
fn raw_values_of_up_to_8_bytes_are_atomic() {
    let _watchdog = watchdog(60);
    let value = RawValue::new([1u16, 2, 3, 4]);
    let pool = Pool::new(1).unwrap();
    pool.apply(|value: RawValue<[u16; 4]>| value.set([5; 4]), (value.clone(),)).unwrap();
    assert_eq!(value.get(), [5; 4]);
    let wide = RawValue::new([7u64; 9]);
    pool.apply(|wide: RawValue<[u64; 9]>| wide.set([8; 9]), (wide.clone(),)).unwrap();
    assert_eq!(wide.get(), [8; 9]);
    let number = RawValue::new(10u8);
    assert_eq!((number.fetch_add(250), number.fetch_sub(5), number.swap(1)), (10, 4, 255));
    assert_eq!((number.compare_exchange(1, 2), number.compare_exchange(1, 3)), (Ok(1), Err(2)));
    assert_eq!((number.update(|it| it * 2), number.get()), (2, 4));
}

/// Neighbours change at the same time, in the same word.
#[test]
fn single_elements_of_any_integer_are_never_torn() {
    let _watchdog = watchdog(120);
    fn check<T: multiproc::Integer + std::fmt::Debug>(ones: T) {
        let (array, zero) = (RawArray::<T>::new(16), T::zeroed());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for on in [true, false].into_iter().cycle().take_while(|_| !stop.load(Relaxed)) {
                    array.set(3, if on { ones } else { zero });
                }
            });
            let counter = scope.spawn(|| (0..100_000).for_each(|_| _ = array.fetch_add(2, ones)));
            for _ in 0..1_000_000 {
                let seen = array.get(3);
                assert!(seen == zero || seen == ones, "{seen:?}");
            }
            counter.join().unwrap();
            stop.store(true, Relaxed);
        });
        let single = RawValue::new(zero);
        (0..100_000).for_each(|_| _ = single.fetch_add(ones));
        assert_eq!((array.get(2), array.get(1), array.get(4)), (single.get(), zero, zero));
    }
    check(u8::MAX);
    check(u16::MAX);
    check(u32::MAX);
    check(u64::MAX);
    check(-1i16);
}
