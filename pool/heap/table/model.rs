//! Model of the free lists and of the counts of blocks: every interleaving of two or three processes.

use super::*;
use loom::sync::Arc;
use loom::thread;

struct Memory {
    head: Head,
    entries: Vec<Entry>,
    geometry: Geometry,
}

fn words<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Memory {
    /// A table of `count` blocks of 64 bytes, all free.
    fn new(count: u32) -> Arc<Memory> {
        let geometry = Geometry::of(1 << 20).expect("the smallest heap");
        let head = Head {
            entries: AtomicU64::new(u64::from(count)),
            data: AtomicU64::new(0),
            span: AtomicU64::new(0),
            parties: AtomicU64::new(0),
            next_party: AtomicU64::new(0),
            guardian: AtomicU64::new(0),
            _pad: words(),
            cut: words(),
            free: words(),
        };
        let entry = |index: u32| Entry {
            state: AtomicU64::new(0),
            at: AtomicU64::new(geometry.data_at + 64 * u64::from(index)),
            link: AtomicU64::new(u64::from(SMALLEST) << 32),
            len: AtomicU64::new(0),
        };
        let memory = Memory { head, entries: (0..count).map(entry).collect(), geometry };
        (0..count).for_each(|index| memory.table().free(index).expect("a sound table"));
        Arc::new(memory)
    }

    fn table(&self) -> Table<'_> {
        Table { geometry: self.geometry, head: &self.head, entries: &self.entries }
    }

    fn take(&self) -> Option<Site> {
        let index = self.table().pop(SMALLEST).expect("a sound table")?;
        let entry = &self.entries[index as usize];
        let generation = entry.state.load(Relaxed) >> 32;
        entry.state.store(generation << 32 | 1, Release);
        Some(self.table().site(index).expect("a sound table"))
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
