//! Vectors whose memory is new to the process, filled as a whole.

use rustix::mm::{Advice, madvise};
use std::collections::TryReserveError;

/// Below this size an allocator may hand out memory that it has used before, and has its pages (`mallopt(3)`,
/// `M_MMAP_THRESHOLD`): large pages would only make it keep more.
const LARGE: usize = 32 << 20;

/// Above this size large pages cost as much as small ones, and up to twice as much, where it was measured: on a virtual machine,
/// in which to clear memory takes longer the more of it is new.
const LARGEST: usize = 128 << 20;

/// An empty vector with room for `count` values, all of which are about to be written.
///
/// `madvise(2)` with `MADV_HUGEPAGE`: one of some 32 to 128 MiB gets its memory in large pages where the system has them. A page
/// costs a fault when it is first written, which takes longer than copying 4 KiB and not much longer than that for 2 MiB.
///
/// # Errors
///
/// There is no memory for it.
pub(super) fn with_room<T>(count: usize) -> Result<Vec<T>, TryReserveError> {
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
}
