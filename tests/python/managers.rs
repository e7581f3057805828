//! Python's own test cases of managers, under their names: `_TestContainers`, `_TestMyManager`, `TestInitializers`, and
//! `TestSyncManagerTypes`.
//!
//! Changed: proxies are typed, so there are no negative indexes and no lists of mixed types; maps have no order; queues,
//! locks and their like are handles that need no server. `isinstance` and `str` of proxies make no sense here.

use super::common::watchdog::watchdog;
use multiproc::{DictProxy, ListProxy, Manager, NamespaceProxy, Proxy};
use std::collections::HashMap;

mod containers {
    use super::*;

    #[test]
    fn test_list() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let a = manager.list(0..10).unwrap();
        assert_eq!(a.to_vec().unwrap(), (0..10).collect::<Vec<_>>());
        let b = manager.list([]).unwrap();
        assert_eq!(b.to_vec().unwrap(), [0; 0]);
        b.extend(0..5).unwrap();
        assert_eq!(b.to_vec().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!((b.get(2).unwrap(), b.get(10).unwrap()), (Some(2), None));
        assert_eq!(b.call(|b: &mut Vec<i32>| b[2..10.min(b.len())].to_vec(), ()).unwrap(), [2, 3, 4]);
        b.call(|b: &mut Vec<i32>| *b = b.repeat(2), ()).unwrap();
        assert_eq!(b.to_vec().unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        b.extend([5, 6]).unwrap();
        assert_eq!(b.to_vec().unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(a.to_vec().unwrap(), (0..10).collect::<Vec<_>>());
        let e = manager.list([a.to_vec().unwrap(), b.to_vec().unwrap()]).unwrap();
        assert_eq!(e.get(1).unwrap().unwrap().len(), 12);
        // A list of proxies sees what becomes of the list.
        let f = manager.list([a.clone()]).unwrap();
        a.push(100).unwrap();
        assert_eq!(f.get(0).unwrap().unwrap().get(10).unwrap(), Some(100));
    }

    #[test]
    fn test_list_iter() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let a = manager.list(0..10).unwrap();
        let it = a.to_vec().unwrap().into_iter();
        a.push(11).unwrap();
        // In Python an iterator sees it; here it is one over a copy.
        assert_eq!(it.collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn test_list_proxy_in_list() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let a = manager.list((0..3).map(|_| manager.list(0..3).unwrap())).unwrap();
        let inner = |at: usize| a.get(at).unwrap().unwrap();
        assert!((0..3).all(|at| inner(at).to_vec().unwrap() == [0, 1, 2]));
        inner(0).set(1, 55).unwrap();
        assert_eq!((inner(0).to_vec().unwrap(), inner(1).to_vec().unwrap()), (vec![0, 55, 2], vec![0, 1, 2]));
        assert_eq!(inner(1).pop().unwrap(), Some(2));
        assert_eq!((inner(1).len().unwrap(), inner(2).len().unwrap()), (2, 3));
        drop(a);
        // A list that holds itself is kept until the manager ends, as in Python.
        let b = manager.list::<ListProxy<u8>>([]).unwrap();
        assert!(b.is_empty().unwrap());
    }

    #[test]
    fn test_dict() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let d = manager.dict([]).unwrap();
        for code in 65..70 {
            d.insert(code, char::from(code).to_string()).unwrap();
        }
        let expected: HashMap<u8, String> = (65..70).map(|code| (code, char::from(code).to_string())).collect();
        assert_eq!(d.to_map().unwrap(), expected);
        let (mut keys, mut values) = (d.keys().unwrap(), d.values().unwrap());
        keys.sort();
        values.sort();
        assert_eq!(keys, (65..70).collect::<Vec<u8>>());
        assert_eq!(values, ["A", "B", "C", "D", "E"]);
    }

    #[test]
    fn test_dict_iter() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let d = manager.dict((65..70).map(|code| (code, code.to_string()))).unwrap();
        let all: HashMap<i32, String> =
            d.keys().unwrap().into_iter().map(|key| (key, d.get(&key).unwrap().unwrap())).collect();
        assert_eq!(all, d.to_map().unwrap());
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn test_dict_proxy_nested() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let key = |text: &str| text.to_owned();
        let pets = manager.dict([(key("ferrets"), 2), (key("hamsters"), 4)]).unwrap();
        let supplies = manager.dict([(key("water"), 10), (key("feed"), 3)]).unwrap();
        let d = manager.dict([(key("pets"), pets.clone()), (key("supplies"), supplies.clone())]).unwrap();
        let inner = |name: &str| d.get(name).unwrap().unwrap();
        assert_eq!(inner("supplies").get("water").unwrap(), Some(10));
        assert_eq!(inner("pets").get("ferrets").unwrap(), Some(2));
        inner("supplies").insert(key("blankets"), 5).unwrap();
        assert_eq!(supplies.get("blankets").unwrap(), Some(5));
        inner("supplies").insert(key("water"), 7).unwrap();
        assert_eq!(supplies.get("water").unwrap(), Some(7));
        drop((pets, supplies));
        assert_eq!(inner("supplies").get("water").unwrap(), Some(7));
        inner("supplies").call(HashMap::clear, ()).unwrap();
        assert!(inner("supplies").is_empty().unwrap() && !inner("pets").is_empty().unwrap());
        d.clear().unwrap();
        assert_eq!(d.len().unwrap(), 0);
        // What only the map referred to is gone with it.
        assert_eq!(manager.objects().unwrap().len(), 1);
    }

    #[test]
    fn test_nested_queue() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let a = manager.list([]).unwrap();
        a.push(manager.queue(None).unwrap()).unwrap();
        a.get(0).unwrap().unwrap().put(123).unwrap();
        let b = manager.dict([(0, manager.queue(None).unwrap())]).unwrap();
        b.get(&0).unwrap().unwrap().put(456).unwrap();
        assert_eq!(a.get(0).unwrap().unwrap().get().unwrap(), 123);
        assert_eq!(b.get(&0).unwrap().unwrap().get().unwrap(), 456);
    }

    #[test]
    fn test_namespace() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let n = manager.namespace().unwrap();
        n.set("name", "Bob".to_owned()).unwrap();
        n.set("job", "Builder".to_owned()).unwrap();
        n.set("_hidden", "hidden".to_owned()).unwrap();
        assert_eq!(n.get("name").unwrap(), Some("Bob".to_owned()));
        assert_eq!(n.get("job").unwrap(), Some("Builder".to_owned()));
        assert!(n.remove("job").unwrap());
        assert_eq!(n.names().unwrap(), ["_hidden", "name"]);
        assert_eq!(n.get::<String>("job").unwrap(), None);
    }
}

mod my_manager {
    use super::*;

    #[derive(Default)]
    struct FooBar;

    impl FooBar {
        fn f(&mut self) -> String {
            "f()".to_owned()
        }
        fn g(&mut self) -> Result<(), std::num::ParseIntError> {
            "x".parse::<i32>().map(drop)
        }
    }

    fn baz() -> Vec<u32> {
        (0..10).map(|i| i * i).collect()
    }

    fn common(manager: &Manager) {
        let first: Proxy<FooBar> = manager.create(FooBar::default, ()).unwrap();
        let second = manager.create(FooBar::default, ()).unwrap();
        let squares = manager.create(baz, ()).unwrap();
        for it in [&first, &second] {
            assert_eq!(it.call(FooBar::f, ()).unwrap(), "f()");
            let error = it.try_call(FooBar::g, ()).unwrap_err();
            assert!(error.is_error() && error.to_string().contains("invalid digit"), "{error}");
        }
        assert_eq!(squares.call(|squares: &mut Vec<u32>| squares.clone(), ()).unwrap()[..4], [0, 1, 4, 9]);
    }

    #[test]
    fn test_mymanager() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        common(&manager);
        let pid = manager.pid();
        manager.shutdown();
        // Python's case asks for the exit code 0 or SIGTERM; what must not be is that it is still there.
        assert!(!multiproc::active_children().iter().any(|child| child.pid() == pid));
    }

    #[test]
    fn test_mymanager_context() {
        let _watchdog = watchdog(60);
        let object = {
            let manager = Manager::new().unwrap();
            common(&manager);
            manager.create(FooBar::default, ()).unwrap()
        };
        assert!(object.call(FooBar::f, ()).unwrap_err().is_gone());
    }
}

mod initializers {
    use super::*;
    use multiproc::RawValue;

    #[test]
    fn test_manager_initializer() {
        let _watchdog = watchdog(60);
        let count = RawValue::new(0);
        let initializer = |count: RawValue<i32>| _ = count.fetch_add(1);
        let manager = Manager::builder().initializer(initializer, (count.clone(),)).start().unwrap();
        assert_eq!(count.get(), 1);
        manager.shutdown();
        // What is no function does not build; one that fails is an error of the start.
        let error = Manager::builder().initializer(|| panic!("no"), ()).start().unwrap_err();
        assert_eq!(error.manager().unwrap().message(), Some("no"));
    }
}

mod sync_manager_types {
    use super::*;
    use multiproc::{
        Args, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, Pool, Process, Queue, RLock, Semaphore,
        Task, ValueProxy,
    };
    use std::time::Duration;

    const MOMENT: Duration = Duration::from_millis(1);

    /// Runs the child's part in a child.
    fn run_worker<F: Task<A, Output = ()>, A: Args>(work: F, args: A) {
        Process::spawn(work, args).unwrap().join().unwrap();
    }

    #[test]
    fn test_queue() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().queue(2).unwrap();
        o.put(5).unwrap();
        o.put(6).unwrap();
        let child = |o: Queue<i32>| {
            assert!(o.len() == 2 && o.is_full());
            assert_eq!((o.get().unwrap(), o.is_empty(), o.get().unwrap(), o.is_empty()), (5, false, 6, true));
        };
        run_worker(child, (o.clone(),));
        assert!(o.is_empty() && !o.is_full());
    }

    #[test]
    fn test_joinable_queue() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().joinable_queue(2).unwrap();
        o.put(5).unwrap();
        run_worker(|o: JoinableQueue<i32>| assert_eq!(*o.get().unwrap(), 5), (o.clone(),));
        o.join().unwrap();
        assert!(o.is_empty());
    }

    #[test]
    fn test_event() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().event().unwrap();
        o.set();
        let child = |o: Event| {
            assert!(o.is_set());
            o.wait();
            o.clear();
            assert!(!o.wait_timeout(MOMENT));
        };
        run_worker(child, (o.clone(),));
        assert!(!o.is_set() && !o.wait_timeout(MOMENT));
    }

    #[test]
    fn test_lock() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().lock().unwrap();
        o.acquire().unwrap();
        // Whoever ends with a lock held breaks it here, so the child gives one back.
        run_worker(|o: Lock| o.release().unwrap(), (o.clone(),));
        assert!(o.release().unwrap_err().is_not_held());
    }

    #[test]
    fn test_rlock() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().rlock().unwrap();
        let child = |o: RLock| {
            o.acquire().unwrap();
            o.release().unwrap();
        };
        run_worker(child, (o.clone(),));
        assert!(!o.locked());
    }

    #[test]
    fn test_semaphore() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().semaphore(1).unwrap();
        o.acquire().unwrap();
        run_worker(|o: Semaphore| o.release(1).unwrap(), (o.clone(),));
        assert_eq!(o.get_value(), 1);
    }

    #[test]
    fn test_bounded_semaphore() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().bounded_semaphore(1).unwrap();
        let child = |o: BoundedSemaphore| {
            o.acquire().unwrap();
            o.release(1).unwrap();
        };
        run_worker(child, (o.clone(),));
        assert!(o.release(1).is_err());
    }

    #[test]
    fn test_condition() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().condition().unwrap();
        let child = |o: Condition| {
            o.acquire().unwrap();
            o.release().unwrap();
        };
        run_worker(child, (o.clone(),));
        assert!(o.release().is_err());
    }

    #[test]
    fn test_barrier() {
        let _watchdog = watchdog(60);
        let o = Manager::new().unwrap().barrier(5).unwrap();
        let child = |o: Barrier| {
            assert_eq!(o.parties(), 5);
            o.abort().unwrap();
        };
        run_worker(child, (o.clone(),));
        assert!(o.broken());
        o.reset().unwrap();
        assert!(!o.broken());
    }

    #[test]
    fn test_pool() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.create(|| Pool::new(4).unwrap(), ()).unwrap();
        let child = |o: Proxy<Pool>| {
            let sum = |pool: &mut Pool| pool.map(|x: u32| x * x, 0..5).unwrap().iter().sum::<u32>();
            assert_eq!(o.call(sum, ()).unwrap(), 30);
        };
        run_worker(child, (o,));
    }

    #[test]
    fn test_list() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.list([5]).unwrap();
        let child = |o: ListProxy<i32>| {
            assert_eq!(o.get(0).unwrap(), Some(5));
            assert!(o.contains(&5).unwrap());
            o.sort().unwrap();
            o.reverse().unwrap();
            assert_eq!(o.len().unwrap(), 1);
            assert_eq!(o.remove(0).unwrap(), Some(5));
        };
        run_worker(child, (o.clone(),));
        assert!(o.is_empty().unwrap());
    }

    #[test]
    fn test_dict() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.dict([("foo".to_owned(), 5)]).unwrap();
        let child = |o: DictProxy<String, i32>| {
            assert_eq!(o.len().unwrap(), 1);
            assert_eq!(o.get("foo").unwrap(), Some(5));
            assert_eq!((o.keys().unwrap(), o.values().unwrap()), (vec!["foo".to_owned()], vec![5]));
            assert_eq!(o.to_map().unwrap().len(), 1);
            assert_eq!(o.pop().unwrap(), Some(("foo".to_owned(), 5)));
        };
        run_worker(child, (o.clone(),));
        assert!(o.is_empty().unwrap());
    }

    #[test]
    fn test_value() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.value(1).unwrap();
        let child = |o: ValueProxy<i32>| {
            assert_eq!(o.get().unwrap(), 1);
            o.set(2).unwrap();
        };
        run_worker(child, (o.clone(),));
        assert_eq!(o.get().unwrap(), 2);
    }

    #[test]
    fn test_array() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.value([0, 1]).unwrap();
        run_worker(|o: ValueProxy<[i32; 2]>| assert_eq!(o.get().unwrap(), [0, 1]), (o.clone(),));
        assert_eq!(o.get().unwrap(), [0, 1]);
    }

    #[test]
    fn test_namespace() {
        let _watchdog = watchdog(60);
        let manager = Manager::new().unwrap();
        let o = manager.namespace().unwrap();
        o.set("x", 0).unwrap();
        o.set("y", 1).unwrap();
        let child = |o: NamespaceProxy| assert_eq!((o.get("x").unwrap(), o.get("y").unwrap()), (Some(0), Some(1)));
        run_worker(child, (o,));
    }
}
