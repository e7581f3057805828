//! The calls on the stack of a process that has crashed, from a copy of its top.
//!
//! The tables that say how to walk are those of *this* process: it runs the same executable, and as a rule the same libraries,
//! at other addresses. A mapping of the other process is known by its file, by device and inode, and only if this process
//! has mapped it, too. So nothing is read that the other one could have made, but for its stack and its registers.

use crate::error::Frame;
use crate::sys::executable;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, UnwindRegsNative, Unwinder, UnwinderNative,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The most calls that are told.
const MOST_FRAMES: usize = 64;

/// The largest table that is read.
const MOST_OF_A_TABLE: u64 = 256 << 20;

/// What a process was doing when it crashed.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    pub(super) lr: u64,
    /// Where the copied part of the stack was.
    pub(super) stack_start: u64,
    pub(super) stack: Vec<u8>,
    /// Its `/proc/self/maps`.
    pub(super) maps: String,
}

/// The calls, the last one first.
pub(super) fn frames(top: &Top) -> Vec<Frame> {
    let own_maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(memory) = File::open("/proc/self/mem") else { return Vec::new() };
    let own = images(&own_maps);
    let shared = images(&top.maps).into_iter().filter_map(|(file, theirs)| {
        let ours = own.get(&file)?;
        let (len, tables) = tables(&memory, ours.start)?;
        Some((
            Shared { theirs: theirs.start..theirs.start.checked_add(len)?, ours: ours.start, path: ours.path },
            tables,
        ))
    });
    let (shared, tables): (Vec<Shared<'_>>, Vec<_>) = shared.unzip();
    let mut unwinder = UnwinderNative::new();
    for (image, tables) in shared.iter().zip(tables) {
        unwinder.add_module(Module::new(String::new(), image.theirs.clone(), image.theirs.start, tables));
    }
    let image_at = |address: u64| shared.iter().find(|image| image.theirs.contains(&address));
    let frame = |address: u64| match image_at(address) {
        None => Frame { address: 0, place: format!("{address:#x}"), is_program: false },
        Some(image) => {
            let offset = address - image.theirs.start;
            let address = image.ours + offset;
            let is_program = usize::try_from(address).is_ok_and(executable::contains);
            Frame { address, place: format!("{}+{offset:#x}", image.path), is_program }
        }
    };
    walk(top, &unwinder, |address| image_at(address).is_some()).into_iter().map(frame).collect()
}

/// A file that both processes execute.
#[derive(Debug)]
struct Shared<'a> {
    /// Where it is in the other process.
    theirs: Range<u64>,
    /// Where it begins in this one.
    ours: u64,
    path: &'a str,
}

/// The addresses of the calls, each within its instruction.
fn walk(
    top: &Top,
    unwinder: &UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    is_code: impl Fn(u64) -> bool,
) -> Vec<u64> {
    let mut read = |address: u64| {
        let at = usize::try_from(address.wrapping_sub(top.stack_start)).map_err(drop)?;
        let word = at.checked_add(8).and_then(|end| top.stack.get(at..end)).ok_or(())?;
        Ok(u64::from_ne_bytes(word.try_into().map_err(drop)?))
    };
    let mut found = Vec::new();
    let (mut pc, mut sp) = (top.pc, top.sp);
    if !is_code(pc) {
        // A call of a function that is none: who called it is next.
        found.push(pc);
        if cfg!(target_arch = "aarch64") {
            pc = top.lr.wrapping_sub(1);
        } else if let Ok(caller) = read(sp) {
            (pc, sp) = (caller.wrapping_sub(1), sp.wrapping_add(8));
        }
    }
    #[cfg(target_arch = "x86_64")]
    let registers = UnwindRegsNative::new(pc, sp, top.fp);
    #[cfg(target_arch = "aarch64")]
    let registers = UnwindRegsNative::new(top.lr, sp, top.fp);
    let mut cache = CacheNative::<_>::new();
    let mut calls = unwinder.iter_frames(pc, registers, &mut cache, &mut read);
    while let (Ok(Some(frame)), true) = (calls.next(), found.len() < MOST_FRAMES) {
        found.push(frame.address_for_lookup());
    }
    found
}

/// A file that is mapped to be executed.
#[derive(Clone, Copy, Debug)]
struct Image<'a> {
    /// Where its first byte is.
    start: u64,
    path: &'a str,
}

/// The images in a text of the form of `/proc/PID/maps`, by device and inode; see `proc_pid_maps(5)`.
fn images(maps: &str) -> BTreeMap<(&str, &str), Image<'_>> {
    let (mut begun, mut images) = (BTreeMap::new(), BTreeMap::new());
    for line in maps.lines() {
        // start-end, rights, offset, device, inode, path, which may contain blanks.
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        let [range, rights, offset, device, inode, ..] = fields[..] else { continue };
        let start = range.split_once('-').and_then(|(start, _)| u64::from_str_radix(start, 16).ok());
        let (Some(start), true) = (start, inode != "0") else { continue };
        let path = fields.get(5).copied().unwrap_or_default().trim_start();
        // A file may be mapped several times, also to be read alone. What is executed has its first page next before it.
        if u64::from_str_radix(offset, 16) == Ok(0) {
            begun.insert((device, inode), Image { start, path });
        }
        if let (true, Some(image)) = (rights.contains('x'), begun.get(&(device, inode))) {
            images.entry((device, inode)).or_insert(*image);
        }
    }
    images
}

/// The length of an image of this process that begins at `start`, and its tables, as it has them in its memory.
fn tables(memory: &File, start: u64) -> Option<(u64, ExplicitModuleSectionInfo<Vec<u8>>)> {
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0u8; usize::try_from(len.min(MOST_OF_A_TABLE)).ok()?];
        memory.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    const PT_LOAD: u32 = 1;
    const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
    let header = read(start, 64)?;
    if header.get(..4)? != b"\x7fELF" {
        return None;
    }
    // `elf(5)`: e_phoff and e_phnum of the header; p_type, p_offset, p_vaddr and p_memsz of each program header.
    let (table_at, count) = (word(&header, 32)?, u64::from(u16::from_ne_bytes(header.get(56..58)?.try_into().ok()?)));
    let table = read(start.checked_add(table_at)?, count * 56)?;
    let segments: Vec<(u32, u64, Range<u64>)> = table
        .chunks_exact(56)
        .filter_map(|entry| {
            let kind = u32::from_ne_bytes(entry[..4].try_into().ok()?);
            let (offset, start) = (word(entry, 8)?, word(entry, 16)?);
            Some((kind, offset, start..start.checked_add(word(entry, 40)?)?))
        })
        .collect();
    let first = segments.iter().find(|(kind, offset, _)| *kind == PT_LOAD && *offset == 0)?;
    let bias = start.wrapping_sub(first.2.start);
    let shifted = |range: &Range<u64>| range.start.wrapping_add(bias)..range.end.wrapping_add(bias);
    let header_range = shifted(&segments.iter().find(|(kind, ..)| *kind == PT_GNU_EH_FRAME)?.2);
    let header = read(header_range.start, header_range.end.checked_sub(header_range.start)?)?;
    let frames_start = frames_start(&header, header_range.start)?;
    // The linker does not say where it ends, but it has an end mark of its own.
    let loaded = segments.iter().filter(|(kind, ..)| *kind == PT_LOAD).map(|(_, _, range)| shifted(range));
    let loaded: Vec<Range<u64>> = loaded.collect();
    let len = loaded.iter().map(|range| range.end).max()?.checked_sub(start)?;
    let frames_range = frames_start..loaded.iter().find(|range| range.contains(&frames_start))?.end;
    let frames = read(frames_range.start, frames_range.end - frames_range.start)?;
    let tables = ExplicitModuleSectionInfo {
        // All addresses here are those of this process; what the tables say is relative to themselves.
        base_svma: start,
        eh_frame_svma: Some(frames_range),
        eh_frame: Some(frames),
        eh_frame_hdr_svma: Some(header_range),
        eh_frame_hdr: Some(header),
        ..ExplicitModuleSectionInfo::default()
    };
    Some((len, tables))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Where the frames are that a header at `at` belongs to (`.eh_frame_hdr`, Linux Standard Base): version 1, and the place
/// relative to where it stands, in four bytes, as all linkers write it.
fn frames_start(header: &[u8], at: u64) -> Option<u64> {
    let (1, 0x1b) = (*header.first()?, *header.get(1)?) else { return None };
    let distance = i32::from_ne_bytes(header.get(4..8)?.try_into().ok()?);
    at.checked_add(4)?.checked_add_signed(distance.into())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn images_are_what_is_mapped_to_be_executed() {
        let maps = "\
55d0-55d1 r--p 00000000 fe:00 12    /bin/a program (deleted)
55d1-55d5 r-xp 00001000 fe:00 12    /bin/a program (deleted)
55d7-55d9 rw-p 00000000 00:00 0    [heap]
6000-6009 r--p 00000000 fe:00 13    /lib/mapped twice
7000-7001 r--p 00000000 fe:00 13    /lib/mapped twice
7001-7003 r-xp 00001000 fe:00 13    /lib/mapped twice
8000-8009 r--p 00000000 fe:00 12    /bin/a program (deleted)
9001-9003 r-xp 00001000 fe:00 15    /lib/without its beginning
nonsense
x-8 r-xp 00000000 fe:00 14    /lib/nonsense
a000-a001 rw-s 00000000 00:01 16    /memfd:x (deleted)";
        let images: Vec<(u64, &str)> = images(maps).values().map(|image| (image.start, image.path)).collect();
        assert_eq!(images, [(0x55d0, "/bin/a program (deleted)"), (0x7000, "/lib/mapped twice")]);
    }

    #[test]
    fn whatever_a_process_leaves_behind_is_survived() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let code = whatever_a_process_leaves_behind_is_survived as *const () as u64;
        let mut random = crate::sys::fuzz::Random::new(7);
        for round in 0..300 {
            let sp = 0x7000_0000_0000 + random.below(1 << 20) as u64;
            let mut stack = vec![0u8; 4096];
            for word in stack.chunks_exact_mut(8) {
                let value = match random.below(4) {
                    0 => code + random.below(1 << 16) as u64,
                    1 => sp + random.below(8192) as u64,
                    2 => u64::MAX - random.below(64) as u64,
                    _ => random.below(1 << 30) as u64,
                };
                word.copy_from_slice(&value.to_ne_bytes());
            }
            let any = [0, sp, code, u64::MAX, sp + 8];
            let mut any = || any[random.below(any.len())];
            let (pc, fp, lr) = (if round % 3 == 0 { any() } else { code + round }, any(), any());
            let stack_start = if round % 5 == 0 { any() } else { sp };
            let found = frames(&Top { pc, sp, fp, lr, stack_start, stack, maps: maps.clone() });
            assert!(!found.is_empty() && found.len() <= MOST_FRAMES);
        }
    }
}
