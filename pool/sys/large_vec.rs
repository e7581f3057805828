//! Large vectors that are filled as a whole: in memory that is new to the process, or in that of an earlier vector.

use parking_lot::Mutex;
use rustix::mm::{Advice, madvise};
use std::any::Any;
use std::cell::Cell;
use std::collections::TryReserveError;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Up to this size an allocator may hand out memory that it has used before, and has its pages (`mallopt(3)`,
/// `M_MMAP_THRESHOLD`): large pages would only make it keep more. Its limit of 32 MiB counts what it notes of a piece as well.
pub(crate) const LARGE: usize = (32 << 20) - 16;

/// Above this size large pages cost as much as small ones, and up to twice as much, where it was measured: on a virtual machine,
/// in which to clear memory takes longer the more of it is new.
const LARGEST: usize = 128 << 20;

/// How long a thread that asks [`is_offered`] keeps memory.
const KEPT: Duration = Duration::from_secs(2);

/// The memory of a vector that was used, without its values.
pub(crate) type Used = Box<dyn Any + Send>;

/// The memory of a vector if it is so large that its allocator would give it back to the system; the vector is dropped if it is
/// not.
pub(crate) fn used<T: bytemuck::Pod + Send>(mut vector: Vec<T>) -> Option<Used> {
    vector.clear();
    (vector.capacity() * size_of::<T>() > LARGE).then(|| Box::new(vector) as Used)
}

/// What a room has: the memory, and when it was kept.
type Contents = Mutex<Option<(Used, Instant)>>;

/// Where the memory of one vector is kept for the next one of the same type and length. With the last handle the memory goes back
/// to the allocator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Contents>);

thread_local! {
    /// The room from which the next vector of this thread gets its memory.
    static OFFERED: Cell<Weak<Contents>> = const { Cell::new(Weak::new()) };
}

impl Room {
    /// Keeps the memory, and offers it to this thread, unless there is some already.
    pub(crate) fn keep(&self, memory: Used) {
        self.0.lock().get_or_insert_with(|| (memory, Instant::now()));
        // A thread that ends offers nothing.
        let _ = OFFERED.try_with(|offered| offered.set(Arc::downgrade(&self.0)));
    }
}

/// Whether memory is offered to this thread. What was kept for longer than [`KEPT`] is given back before that.
pub(crate) fn is_offered() -> bool {
    let Some(room) = OFFERED.try_with(Cell::take).ok().and_then(|room| room.upgrade()) else { return false };
    let mut contents = room.lock();
    let old = contents.take_if(|(_, since)| since.elapsed() > KEPT);
    let is_offered = contents.is_some();
    drop(contents);
    drop(old);
    if is_offered {
        let _ = OFFERED.try_with(|offered| offered.set(Arc::downgrade(&room)));
    }
    is_offered
}

/// An empty vector in memory that this thread was offered, with room for `count` values and not for many more. Memory that does
/// not suit is given back: it is not kept beside other memory.
fn in_used_memory<T: 'static>(count: usize) -> Option<Vec<T>> {
    let room = OFFERED.try_with(Cell::take).ok()?.upgrade()?;
    let (memory, _) = room.lock().take()?;
    let vector = *memory.downcast::<Vec<T>>().ok()?;
    (count..=count.saturating_add(count / 8)).contains(&vector.capacity()).then_some(vector)
}

/// An empty vector with room for `count` values, all of which are about to be written. A large one gets memory that the thread
/// was offered ([`Room::keep`]), if there is some.
///
/// `madvise(2)` with `MADV_HUGEPAGE`: one of some 32 to 128 MiB gets its memory in large pages where the system has them. A page
/// costs a fault when it is first written, which takes longer than copying 4 KiB and not much longer than that for 2 MiB.
///
/// # Errors
///
/// There is no memory for it.
pub(super) fn with_room<T: 'static>(count: usize) -> Result<Vec<T>, TryReserveError> {
    if count.saturating_mul(size_of::<T>()) > LARGE {
        if let Some(vector) = in_used_memory(count) {
            return Ok(vector);
        }
    }
    let mut out = Vec::<T>::new();
    out.try_reserve_exact(count)?;
    let room = &mut out.spare_capacity_mut()[..count];
    if (LARGE + 1..=LARGEST).contains(&size_of_val(room)) {
        let page = rustix::param::page_size();
        let start = room.as_mut_ptr().cast::<u8>();
        // Of the pages at both ends a part may belong to others.
        let before = start.align_offset(page);
        let len = (size_of_val(room) - before) / page * page;
        // SAFETY: the whole pages within memory that this vector alone has; the advice changes none of its bytes. Where the
        // system refuses, its pages are small.
        let _ = unsafe { madvise(start.wrapping_add(before).cast(), len, Advice::LinuxHugepage) };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mapping in which an address lies, as `/proc/PID/smaps` shows it.
    fn mapping_of(address: usize) -> String {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut found = String::new();
        for line in text.lines() {
            let bounds = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let bounds = bounds.and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            inside = bounds.map_or(inside, |bounds| bounds.contains(&address));
            if inside {
                found.push_str(line);
                found.push('\n');
            }
        }
        found
    }

    fn is_advised(vector: &Vec<u64>) -> bool {
        let middle = vector.as_ptr() as usize + vector.capacity() * 4;
        let mapping = mapping_of(middle);
        mapping.lines().any(|line| line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "hg"))
    }

    #[test]
    fn large_ones_have_large_pages_where_there_are_any() {
        let large = with_room::<u64>((LARGE >> 3) + 1).unwrap();
        assert!(large.is_empty() && large.capacity() == (LARGE >> 3) + 1);
        assert_eq!(is_advised(&large), std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists());
        for len in [LARGE, LARGEST + 8] {
            assert!(!is_advised(&with_room::<u64>(len >> 3).unwrap()));
        }
        assert!(with_room::<u64>(usize::MAX).is_err());
        assert!(with_room::<()>(usize::MAX).unwrap().is_empty());
    }

    #[test]
    fn memory_is_used_again_for_a_vector_of_its_type_and_length() {
        let count = (LARGE >> 3) + 1000;
        let room = Room::default();
        let offer = |count: usize| {
            let vector = vec![7u64; count];
            let start = vector.as_ptr();
            room.keep(used(vector).unwrap());
            start
        };
        let start = offer(count);
        let again = with_room::<u64>(count - 8).unwrap();
        assert!(again.is_empty() && again.as_ptr() == start && again.capacity() == count);
        // One offer is one vector.
        assert!(in_used_memory::<u64>(count - 8).is_none());
        // Too small, too large, of another type: none of them stays.
        for offered in [count - 1, count + count / 8 + 1] {
            offer(offered);
            assert_eq!(with_room::<u64>(count).unwrap().capacity(), count);
            assert!(room.0.lock().is_none());
        }
        offer(count);
        assert_eq!(with_room::<i64>(count).unwrap().capacity(), count);
        assert!(room.0.lock().is_none());
        // A small vector takes nothing, another thread neither, and the last handle ends it.
        offer(count);
        assert_eq!(with_room::<u64>(8).unwrap().capacity(), 8);
        std::thread::spawn(move || assert_eq!(with_room::<u64>(count).unwrap().capacity(), count)).join().unwrap();
        assert!(room.0.lock().is_some() && used(vec![7u64; 8]).is_none());
        assert!(is_offered() && is_offered());
        if let (Some((_, since)), Some(past)) = (&mut *room.0.lock(), Instant::now().checked_sub(2 * KEPT)) {
            *since = past;
        }
        assert!(!is_offered() && room.0.lock().is_none());
        offer(count);
        drop(room);
        assert!(in_used_memory::<u64>(count).is_none());
    }
}
