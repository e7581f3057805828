//! A queue in shared memory, and items in blocks of their own, when somebody has written over both.

use super::*;
use crate::heap::held;
use crate::sync::lock::Lock;
use crate::sys::fuzz::{Random, fuzz_alone, within};

type Item = (String, Option<Lock>);

struct Fixture {
    queue: Core<Item>,
    lock: Lock,
}

impl Fixture {
    const CAPACITY: usize = 8;

    fn new() -> Fixture {
        Fixture { queue: Core::new(Some(Fixture::CAPACITY)).unwrap(), lock: Lock::new() }
    }

    /// An item that lies in its slot, in a block, or in a block with a handle in it.
    fn put(&self, random: &mut Random) {
        let end = *random.pick(&[8, 80]);
        let text = random.text(end);
        let lock = random.once_in(3).then(|| self.lock.clone());
        match self.queue.put((text, lock), Patience::None, &|| false) {
            Ok(()) => {}
            Err(error) => assert!(error.is_full() || error.is_damaged(), "{error}"),
        }
    }

    /// Writes over the items: slots, and the blocks that they hold.
    fn scribble(&self, random: &mut Random) {
        for _ in 0..random.below(3) {
            let word = random.pick(&self.queue.place.words);
            let before = word.load(Ordering::Relaxed);
            match held::open(before) {
                Ok(block) => {
                    let bytes = block.memory().bytes();
                    let at = random.below(bytes.len());
                    assert!(bytes.write(at, &[random.number() as u8]));
                }
                Err(_) if random.once_in(2) => word.store(before ^ 1 << random.below(64), Ordering::Relaxed),
                Err(_) => word.store(random.number(), Ordering::Relaxed),
            }
        }
    }
}

#[test]
fn whatever_stands_in_a_queue_and_its_items() {
    fuzz_alone(Fixture::new, |fixture, random| {
        fixture.put(random);
        fixture.scribble(random);
        let most = random.below(4);
        // An item is copied, and what it says of its own length is bounded by that.
        let all = within(64 * 1024, &"items", || fixture.queue.get_many(most, Patience::None, &|| false));
        match all {
            Ok(items) => {
                assert!(items.len() <= most);
                for item in items.into_iter().flatten() {
                    assert!(item.0.len() < 4 * 80 && item.1.is_none_or(|lock| !lock.is_poisoned()));
                }
            }
            Err(error) => assert!(error.is_damaged(), "{error}"),
        }
        assert!(fixture.queue.len() <= Fixture::CAPACITY);
    });
}
