//! What becomes of what a dead process held before anybody waited for it: freed, before others get the dead one's slot
//! and it would look as if they held it.

use crate::heap::held;
use crate::heap::holdings::on_release;
use crate::heap::kind::Kind;
use crate::heap::memory::Memory;
use crate::heap::reclaim;
use crate::sync::algorithm::barrier::Barrier;
use crate::sync::algorithm::condition::Condition;
use crate::sync::algorithm::queue::{self, Queue, Shape};
use crate::sync::algorithm::rlock::RLock;
use crate::sync::algorithm::rwlock::RwLock;
use crate::sync::algorithm::semaphore::Semaphore;
use crate::sync::algorithm::store::{self, Store};
use crate::sync::algorithm::tally::Tally;
use crate::sync::algorithm::word::Word;
use crate::sync::this_thread::ThisThread;
use crate::sys::atomic::{AtomicU64, Ordering};
use crate::sys::time::Deadline;

/// Tells the heap who hears of deaths, and who knows what blocks hold; before there is anything to tell.
pub(crate) fn take_part() {
    reclaim::on_death(reclaim);
    on_release(holdings);
}

/// A process has died that had a handle to this block: takes it off. Its index in the process table; returns `false` if
/// the block could not be opened until the deadline.
pub(crate) fn reclaim(kind: u8, memory: &Memory, index: u32, deadline: Deadline) -> bool {
    let slot = u16::try_from(index + 1).unwrap_or(u16::MAX);
    let is_one_of = |kinds: &[Kind]| kinds.iter().any(|it| *it as u8 == kind);
    if is_one_of(Kind::LOCKS) {
        memory.view::<Word>(0).inspect(|word| word.reclaim(slot));
    } else if is_one_of(&[Kind::RLock]) {
        memory.view::<RLock>(0).inspect(|lock| lock.reclaim(slot));
    } else if is_one_of(&[Kind::Queue]) {
        // Whoever releases what a dead process held has a slot itself.
        let Ok(caller) = ThisThread::new() else { return false };
        in_queue(memory, |queue| queue.reclaim(&caller, slot, held::leave));
    } else if let Some(stores) = stores(kind).and_then(|count| memory.views::<store::Head>(0, count)) {
        stores.iter().for_each(|head| Store::reclaim(head, slot));
    } else if is_one_of(&[Kind::Tally]) {
        memory.view::<Tally>(0).inspect(|tally| tally.reclaim(slot));
    } else if let Some(kind) = Kind::OPENED.iter().find(|it| **it as u8 == kind) {
        let Ok(caller) = ThisThread::new() else { return false };
        let done = match kind {
            Kind::RwLock => memory.view::<RwLock>(0).map(|lock| lock.reclaim(&caller, slot, deadline).is_some()),
            Kind::Condition => memory.view::<Condition>(0).map(|it| it.reclaim(&caller, deadline).is_some()),
            Kind::Barrier => memory.view::<Barrier>(0).map(|barrier| barrier.reclaim(&caller, deadline).is_some()),
            _ => memory.view::<Semaphore>(0).map(|semaphore| semaphore.reclaim(&caller, slot, deadline).is_some()),
        };
        // A block that is too small for what it should be has nothing to be taken off.
        return done.unwrap_or(true);
    }
    true
}

/// How many stores a block of this kind consists of; `None` = it does not.
fn stores(kind: u8) -> Option<usize> {
    match kind {
        _ if kind == Kind::Dict as u8 => Some(store::dict::SHARDS),
        _ if kind == Kind::List as u8 => Some(1),
        _ => None,
    }
}

/// Does this to the queue that lies in a block. One that was never filled in holds nothing, and nobody has it locked.
fn in_queue(memory: &Memory, work: impl FnOnce(Queue<'_>)) {
    let Some(words) = memory.bytes().len().checked_sub(size_of::<queue::Head>()).map(|len| len / 8) else { return };
    let (Some(head), Some(words)) = (memory.view(0), memory.views(size_of::<queue::Head>(), words)) else { return };
    if let Some(shape) = Shape::read(head, words.len()) {
        work(Queue { head, words, shape: &shape });
    }
}

/// What a block holds of other blocks.
fn holdings(kind: u8, memory: &Memory, each: &mut dyn FnMut(u64)) {
    let len = memory.bytes().len();
    let places = if kind == Kind::Queue as u8 {
        return in_queue(memory, |queue| queue.held(each));
    } else if let Some((count, heads)) = stores(kind).and_then(|count| Some((count, memory.views(0, count)?))) {
        for (at, head) in heads.iter().enumerate() {
            let words = store::words_in(len, count, at).and_then(|(start, len)| memory.views(start, len));
            words.inspect(|words| Store::new(head, words).held(each));
        }
        return;
    } else if kind == Kind::Item as u8 {
        // Their number comes first.
        // SYNC: item blocks
        let count = memory.view::<AtomicU64>(0).map_or(0, |count| count.load(Ordering::Acquire));
        memory.views::<AtomicU64>(8, usize::try_from(count).unwrap_or(usize::MAX))
    } else {
        None
    };
    // SYNC: registry
    places.unwrap_or_default().iter().for_each(|place| each(place.load(Ordering::Acquire)));
}
