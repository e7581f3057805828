//! Functions that are called on objects: results, errors, panics, time limits, and calls inside of calls.

use super::common::proc::eventually;
use super::common::watchdog::watchdog;
use multiproc::ipc_channel::ipc;
use multiproc::{Event, Ipc, ListProxy, Manager, Process, Proxy, Value, ValueProxy};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An object that is not serialisable, and says when it is dropped.
struct Account {
    balance: i64,
    dropped: Value<u32>,
}

impl Account {
    fn open(balance: i64, dropped: Value<u32>) -> Account {
        Account { balance, dropped }
    }

    fn deposit(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    fn withdraw(&mut self, amount: i64) -> Result<i64, String> {
        if amount > self.balance {
            return Err(format!("only {} left", self.balance));
        }
        self.balance -= amount;
        Ok(self.balance)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.dropped.update(|count| *count += 1).unwrap();
    }
}

#[test]
fn functions_are_called_where_the_object_is() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let dropped = Value::new(0);
    let account = manager.create(Account::open, (100, dropped.clone())).unwrap();
    assert_eq!(account.call(Account::deposit, (20,)).unwrap(), 120);
    let pid = account.call(|_: &mut Account| std::process::id(), ()).unwrap();
    assert_eq!(pid, manager.pid() as u32);
    assert_eq!(account.try_call(Account::withdraw, (50,)).unwrap(), 70);
    let error = account.try_call(Account::withdraw, (500,)).unwrap_err();
    assert!(error.is_error() && error.to_string().contains("only 70 left"), "{error}");
    assert!(error.function().contains("withdraw"), "{}", error.function());
    // By `call` an `Err` is a value like any other.
    assert_eq!(account.call(Account::withdraw, (500,)).unwrap(), Err("only 70 left".to_owned()));
    let other =
        Process::spawn(|account: Proxy<Account>| account.call(Account::deposit, (1,)).unwrap(), (account.clone(),));
    assert_eq!(other.unwrap().join().unwrap(), 71);
    assert_eq!(dropped.get().unwrap(), 0);
    drop(account);
    // What the other process had is given back a moment after it has ended.
    assert!(eventually(Duration::from_secs(20), || manager.objects().unwrap().is_empty()));
    manager.shutdown();
    assert_eq!(dropped.get().unwrap(), 1);
}

#[test]
fn a_panic_is_its_callers_error_and_the_object_stays() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let list = manager.list([1, 2]).unwrap();
    let half = |list: &mut Vec<i32>| {
        list.push(3);
        assert!(list.is_empty(), "it has {} items", list.len());
    };
    let error = list.call(half, ()).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.message(), Some("it has 3 items"));
    assert!(error.location().unwrap().contains("calls.rs"), "{:?}", error.location());
    assert_eq!(list.to_vec().unwrap(), [1, 2, 3]);
    let error = manager.create(|| -> u32 { panic!("no object") }, ()).unwrap_err();
    assert_eq!(error.message(), Some("no object"));
    assert_eq!(manager.objects().unwrap().len(), 1);
}

#[test]
fn calls_of_one_object_follow_each_other_and_those_of_others_do_not_wait() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let (busy, begun, go_on) = (manager.value(0u64).unwrap(), Event::new(), Event::new());
    let (held, held_begun, held_go_on) = (busy.clone(), begun.clone(), go_on.clone());
    let holder = std::thread::spawn(move || {
        let hold = |value: &mut u64, begun: Event, go_on: Event| {
            begun.set();
            go_on.wait();
            *value += 1;
        };
        held.call(hold, (held_begun, held_go_on)).unwrap();
    });
    begun.wait();
    let other = manager.value(5).unwrap();
    assert_eq!(other.get().unwrap(), 5);
    let start = Instant::now();
    let limit = Duration::from_millis(50);
    let late = busy.with_timeout(limit).set(100).unwrap_err();
    assert!(late.is_timed_out() && start.elapsed() >= limit, "{late}");
    let crew: Vec<_> = (0..4)
        .map(|_| {
            let busy = busy.clone();
            std::thread::spawn(move || (0..50).for_each(|_| busy.update(|value| *value += 1).unwrap()))
        })
        .collect();
    go_on.set();
    holder.join().unwrap();
    crew.into_iter().for_each(|thread| thread.join().unwrap());
    // What was given up before it began was never called.
    assert_eq!(busy.get().unwrap(), 201);
}

#[test]
fn a_call_that_has_begun_goes_on_when_its_time_is_over() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let (value, go_on) = (manager.value(0).unwrap(), Event::new());
    let slow = |value: &mut i32, go_on: Event| {
        go_on.wait();
        *value += 1;
        *value
    };
    let begun = value.with_timeout(Duration::from_millis(200)).call(slow, (go_on.clone(),));
    assert!(begun.unwrap_err().is_timed_out());
    go_on.set();
    // The reply to the first call is not taken for the reply to this.
    assert_eq!(value.call(slow, (go_on,)).unwrap(), 2);
}

#[test]
fn a_function_may_call_other_objects() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let total = manager.value(10u32).unwrap();
    let list = manager.list([1u32, 2, 3]).unwrap();
    let add = |list: &mut Vec<u32>, total: ValueProxy<u32>| {
        let sum = list.iter().sum::<u32>();
        total.set(total.get().unwrap() + sum).unwrap();
        std::process::id()
    };
    assert_eq!(list.call(add, (total.clone(),)).unwrap(), manager.pid() as u32);
    assert_eq!(total.get().unwrap(), 16);
    // Of another manager as well.
    let other = Manager::new().unwrap();
    let elsewhere = other.value(1u32).unwrap();
    list.call(add, (elsewhere.clone(),)).unwrap();
    assert_eq!(elsewhere.get().unwrap(), 7);
    // And may make some.
    let make = |list: &mut Vec<u32>, manager: multiproc::ManagerHandle| manager.list(list.clone()).unwrap();
    let made: ListProxy<u32> = list.call(make, (manager.handle(),)).unwrap();
    assert_eq!(made.to_vec().unwrap(), [1, 2, 3]);
}

#[test]
fn a_call_of_the_same_object_inside_of_a_call_is_refused() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let value = manager.value(1).unwrap();
    let again = |_: &mut i32, own: ValueProxy<i32>| own.get().unwrap_err().is_would_deadlock();
    assert!(value.call(again, (value.clone(),)).unwrap());
    assert_eq!(value.get().unwrap(), 1);
}

#[test]
fn what_cannot_travel_is_an_error_and_the_next_call_works() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let map = manager.create(HashMap::<String, u64>::new, ()).unwrap();
    let (sender, _receiver) = ipc::channel::<u32>().unwrap();
    let error = map.call(|_: &mut HashMap<String, u64>, _: Ipc<ipc::IpcSender<u32>>| (), (Ipc(sender),)).unwrap_err();
    assert!(error.is_encode(), "{error}");
    let result = map.call(|_: &mut HashMap<String, u64>| Ipc(ipc::channel::<u32>().unwrap().0), ());
    assert!(result.unwrap_err().is_encode());
    assert_eq!(map.call(|map: &mut HashMap<String, u64>| map.len(), ()).unwrap(), 0);
}

#[test]
fn large_arguments_and_results() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|it| it as u8).collect();
    let value = manager.value(bytes.clone()).unwrap();
    assert_eq!(value.get().unwrap(), bytes);
    let list = manager.list(vec!["text".repeat(10_000); 20]).unwrap();
    assert_eq!(list.get(19).unwrap().unwrap().len(), 40_000);
}

#[test]
fn a_function_may_have_children_of_its_own() {
    let _watchdog = watchdog(60);
    let manager = Manager::new().unwrap();
    let value = manager.value(6u64).unwrap();
    let pool = |value: &mut u64| {
        let pool = multiproc::Pool::new(2).unwrap();
        pool.map(|x: u64| x * 2, [*value, 1]).unwrap()
    };
    assert_eq!(value.call(pool, ()).unwrap(), [12, 2]);
}
