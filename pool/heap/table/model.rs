//! Model of the free lists and of the counts of blocks: every interleaving of two or three processes.

use super::*;
use crate::sys::atomic::AtomicU64;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Memory {
    head: Head,
    entries: Vec<Entry>,
    /// What is in each block; the checker reports uses that do not follow each other.
    payload: Vec<UnsafeCell<()>>,
    geometry: Geometry,
}

impl Memory {
    /// A table of `count` blocks of 64 bytes, of which the first `free` were used and are free.
    fn with(count: u32, free: u32) -> Arc<Memory> {
        let geometry = Geometry::of(1 << 20).expect("the smallest heap");
        let head = Head::new();
        head.entries.store(u64::from(free), Relaxed);
        let entry = |index: u32| Entry {
            state: AtomicU64::new(0),
            at: AtomicU64::new(geometry.data_at + 64 * u64::from(index)),
            link: AtomicU64::new(u64::from(SMALLEST) << 32),
            len: AtomicU64::new(0),
        };
        let payload = (0..count).map(|_| UnsafeCell::new(())).collect();
        let memory = Memory { head, entries: (0..count).map(entry).collect(), payload, geometry };
        (0..free).for_each(|index| memory.table().free(index).expect("a sound table"));
        Arc::new(memory)
    }

    /// A table of `count` blocks of 64 bytes, all free.
    fn new(count: u32) -> Arc<Memory> {
        Memory::with(count, count)
    }

    fn table(&self) -> Table<'_> {
        Table { geometry: self.geometry, head: &self.head, entries: &self.entries }
    }

    /// A free block, if there is one: behind the entries of a model there are no more.
    fn take(&self) -> Option<Site> {
        self.table().allocate(40, 7, false).ok()
    }

    fn give(&self, site: Site) {
        if self.table().release(site.index, site.generation).expect("held") {
            self.table().free(site.index).expect("a sound table");
        }
    }

    fn free_sorted(&self) -> Vec<u32> {
        let mut free = self.table().free_entries().expect("no circle");
        free.sort();
        free
    }
}

#[test]
fn model_a_free_block_goes_to_one() {
    loom::model(|| {
        let memory = Memory::new(2);
        let other = Arc::clone(&memory);
        // The pattern that a list without tags falls for: one takes the first and is about to follow its link, another takes
        // both and gives the first back.
        let thread = thread::spawn(move || {
            let (first, second) = (other.take(), other.take());
            assert!(first.is_none() || second.is_none() || first.unwrap().index != second.unwrap().index);
            first.into_iter().for_each(|site| other.give(site));
            second.into_iter().for_each(|site| other.give(site));
        });
        if let Some(site) = memory.take() {
            assert_eq!(memory.table().holders(site.index), 1);
            memory.give(site);
        }
        thread.join().unwrap();
        assert_eq!(memory.free_sorted(), [0, 1]);
    });
}

#[test]
fn model_an_upgrade_and_the_last_release_exclude_each_other() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            let upgraded = other.table().upgrade(site.index, site.generation).expect("a sound table");
            if let Some(again) = upgraded {
                assert_eq!((again.index, again.generation), (site.index, site.generation));
                other.give(again);
            }
        });
        memory.give(site);
        thread.join().unwrap();
        assert_eq!(memory.free_sorted(), [0]);
        // The old handle opens nothing any more, also once somebody has the block again.
        let newer = memory.take().expect("free");
        assert!(memory.table().upgrade(site.index, site.generation).expect("a sound table").is_none());
        memory.give(newer);
    });
}

#[test]
fn model_a_handle_does_not_open_what_has_come_after() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            if let Some(again) = other.table().upgrade(site.index, site.generation).expect("a sound table") {
                other.give(again);
            }
        });
        memory.give(site);
        if let Some(newer) = memory.take() {
            assert_ne!(newer.generation, site.generation);
            assert_eq!(memory.table().holders(newer.index), 1);
            memory.give(newer);
        }
        thread.join().unwrap();
        assert_eq!(memory.free_sorted(), [0]);
    });
}

/// Those that are kept with their pages are found by who wants such a one, and by who finds no other.
#[test]
fn model_a_kept_block_goes_to_one() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        assert!(memory.table().release(site.index, site.generation).expect("held"));
        assert!(memory.table().keep(&site).expect("a sound table"));
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.table().allocate(40, 7, true).ok())
        };
        let mine = memory.take();
        let theirs = other.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        mine.iter().chain(&theirs).for_each(|site| assert!(!site.is_zero));
        assert_eq!(memory.head.kept_bytes.load(Relaxed), 0);
        mine.into_iter().chain(theirs).for_each(|site| memory.give(site));
        assert_eq!(memory.free_sorted(), [0]);
    });
}

/// The bytes of a handle travel by other ways; that the block is what they say is seen by whoever opens it.
#[test]
fn model_who_opens_a_block_sees_what_it_is() {
    loom::model(|| {
        let memory = Memory::new(1);
        let handle = Arc::new(AtomicU64::new(0));
        let opens = {
            let (memory, handle) = (Arc::clone(&memory), Arc::clone(&handle));
            thread::spawn(move || {
                // Without any order of its own.
                let Some(index) = (handle.load(Relaxed) as u32).checked_sub(1) else { return };
                if let Some(site) = memory.table().upgrade(index, 0).expect("a sound table") {
                    assert_eq!((site.len, site.kind), (40, 7));
                    memory.give(site);
                }
            })
        };
        let site = memory.take().expect("free");
        handle.store(u64::from(site.index) + 1, Relaxed);
        opens.join().unwrap();
        memory.give(site);
    });
}

#[test]
fn model_all_uses_of_a_block_come_before_the_next() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        let again = memory.table().upgrade(site.index, site.generation).expect("a sound table").expect("held");
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.payload[0].with(|_| ());
                memory.give(again);
            })
        };
        memory.payload[0].with(|_| ());
        memory.give(site);
        if let Some(next) = memory.take() {
            memory.payload[0].with_mut(|_| ());
            memory.give(next);
        }
        other.join().unwrap();
        assert_eq!(memory.free_sorted(), [0]);
    });
}

/// Whoever finds that nobody has a block any more whose count may be too high (`heap/doubt.rs`) may have looked too early. Then
/// it is not gone for who has it next. In one thread: the checker lets a change by compare-exchange come behind a store that it
/// has not seen, which no processor does.
#[test]
fn model_a_block_that_was_in_doubt_is_not_gone_for_the_next() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        memory.table().doubt(site.index).expect("a sound table");
        memory.give(site);
        assert_eq!(memory.table().give_up(site.index), Ok(false));
        let next = memory.take().expect("free");
        assert_eq!(memory.table().give_up(next.index), Ok(false));
        assert_eq!(memory.table().doubts(next.index), (false, false));
        memory.give(next);
    });
}

/// A block that is in doubt is gone when whoever looks says so, for all who ask from then on.
#[test]
fn model_a_block_in_doubt_is_given_up_once_and_for_all() {
    loom::model(|| {
        let memory = Memory::new(1);
        let site = memory.take().expect("free");
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                // It may be marked while somebody asks.
                memory.table().doubt(site.index).expect("a sound table");
                memory.table().give_up(site.index).expect("a sound table")
            })
        };
        let gave_up = memory.table().give_up(site.index).expect("a sound table");
        let (is_doubtful, is_gone) = memory.table().doubts(site.index);
        assert!(!gave_up || is_doubtful && is_gone);
        assert!(other.join().unwrap());
        assert_eq!(memory.table().doubts(site.index), (true, true));
        assert!(memory.table().is_held(site.index, site.generation));
    });
}

/// Two who make blocks of new memory at the same time.
#[test]
fn model_new_memory_goes_to_one() {
    loom::model(|| {
        let memory = Memory::with(2, 0);
        let other = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.take().expect("room"))
        };
        let mine = memory.take().expect("room");
        let theirs = other.join().unwrap();
        assert_ne!((mine.index, mine.at), (theirs.index, theirs.at));
        assert!(mine.index != theirs.index && mine.at.abs_diff(theirs.at) >= 64);
    });
}
