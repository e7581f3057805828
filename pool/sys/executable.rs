//! The running executable: where it lies in memory, which build it is, and what it runs before `main`.

use std::sync::OnceLock;

/// Where the linker put the start of this module's ELF header. If the library is linked into the executable this is
/// the executable; if it is part of a shared object, it is that.
fn module_start() -> usize {
    #[allow(unsafe_code)]
    unsafe extern "C" {
        static __ehdr_start: u8;
    }
    &raw const __ehdr_start as usize
}

/// A range of addresses.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: usize,
    end: usize,
}

impl Range {
    fn contains(self, at: usize, len: usize) -> bool {
        at >= self.start && at.checked_add(len).is_some_and(|end| end <= self.end)
    }
}

/// What the program headers of this module say.
#[derive(Debug)]
struct Image {
    start: usize,
    is_main: bool,
    /// Whether the kernel is told to start a loader for it.
    has_loader: bool,
    loaded: Vec<Range>,
    read_only: Vec<Range>,
    build_note: Option<Vec<u8>>,
    init_array: Option<Range>,
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(read_image)
}

fn read_image() -> Image {
    let start = module_start();
    // SAFETY: `__ehdr_start` is defined by the linker as the ELF header of this module, which is mapped read-only for
    // the module's life.
    let header = unsafe { &*(start as *const libc::Elf64_Ehdr) };
    let table = start + header.e_phoff as usize;
    // SAFETY: getauxval only reads a table that the kernel set up.
    let is_main = unsafe { libc::getauxval(libc::AT_PHDR) } as usize == table;
    // SAFETY: the program headers follow from the ELF header; the linker places them in the same mapped segment (the
    // loader itself reads them there).
    let headers = unsafe { std::slice::from_raw_parts(table as *const libc::Elf64_Phdr, usize::from(header.e_phnum)) };
    let loaded_first = headers.iter().find(|it| it.p_type == libc::PT_LOAD && it.p_offset == 0);
    let bias = start.wrapping_sub(loaded_first.map_or(0, |it| it.p_vaddr as usize));
    let range = |it: &libc::Elf64_Phdr| {
        let start = bias.wrapping_add(it.p_vaddr as usize);
        Range { start, end: start.wrapping_add(it.p_memsz as usize) }
    };
    let has_loader = headers.iter().any(|it| it.p_type == libc::PT_INTERP);
    let loaded = headers.iter().filter(|it| it.p_type == libc::PT_LOAD).map(range).collect();
    let read_only: Vec<Range> = headers
        .iter()
        .filter(|it| it.p_type == libc::PT_LOAD && it.p_flags & libc::PF_W == 0 || it.p_type == libc::PT_GNU_RELRO)
        // Some linkers make code that can be executed and nothing else.
        .filter(|it| it.p_flags & libc::PF_R != 0)
        .map(range)
        .collect();
    let build_note = headers
        .iter()
        .filter(|it| it.p_type == libc::PT_NOTE)
        .map(range)
        .filter(|note| read_only.iter().any(|it| it.contains(note.start, note.end - note.start)))
        // SAFETY: the note lies in a read-only segment of this module (just checked), mapped for its life.
        .find_map(|note| build_id(unsafe { mapped(note) }));
    let init_array = headers.iter().find(|it| it.p_type == libc::PT_DYNAMIC).map(range).and_then(|dynamic| {
        // SAFETY: the dynamic section of this module; the loader has mapped and relocated it.
        init_array(unsafe { mapped(dynamic) }, bias)
    });
    Image { start, is_main, has_loader, loaded, read_only, build_note, init_array }
}

/// # Safety
///
/// The range is mapped, and nobody writes to it any more.
unsafe fn mapped(range: Range) -> &'static [u8] {
    // SAFETY: forwarded to the caller.
    unsafe { std::slice::from_raw_parts(range.start as *const u8, range.end - range.start) }
}

/// Finds the NT_GNU_BUILD_ID note (type 3, name "GNU"). `elf(5)`.
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|it| u32::from_ne_bytes(it.try_into().unwrap_or_default()) as usize)
    };
    loop {
        let (name_len, text_len, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let text_at = 12 + name_len.next_multiple_of(4);
        let text = notes.get(text_at..text_at.checked_add(text_len)?)?;
        if kind == 3 && notes.get(12..12 + name_len) == Some(b"GNU\0") {
            return Some(text.to_vec());
        }
        notes = notes.get(text_at + text_len.next_multiple_of(4)..)?;
    }
}

/// Finds DT_INIT_ARRAY (25) and DT_INIT_ARRAYSZ (27) in a dynamic section. `elf(5)`.
fn init_array(dynamic: &[u8], bias: usize) -> Option<Range> {
    let entry = |tag: u64| {
        dynamic.chunks_exact(16).find_map(|it| {
            let key = u64::from_ne_bytes(it[..8].try_into().ok()?);
            let value = u64::from_ne_bytes(it[8..].try_into().ok()?);
            (key == tag).then_some(value as usize)
        })
    };
    let start = bias.wrapping_add(entry(25)?);
    Some(Range { start, end: start + entry(27)? })
}

/// Whether this library is part of the running executable (and not of a shared object that it has loaded).
pub(crate) fn is_main() -> bool {
    image().is_main
}

/// Whether the program was started as an argument of the dynamic loader: `ld.so PROGRAM`. Then the loader is the executable of
/// this process, as far as the kernel knows.
pub(crate) fn is_loaded_by_hand() -> bool {
    // SAFETY: getauxval only reads a table that the kernel set up.
    let loader = unsafe { libc::getauxval(libc::AT_BASE) };
    // The place of the loader that the kernel has started beside the program; there is none for a program that is linked
    // statically, which asks for none.
    image().has_loader && loader == 0
}

/// Whether an address lies inside of the executable.
pub(crate) fn contains(address: usize) -> bool {
    image().loaded.iter().any(|it| it.contains(address, 1))
}

/// The distance of an address from the start of the executable.
pub(crate) fn offset_of(address: usize) -> u64 {
    address.wrapping_sub(image().start) as u64
}

/// The address `delta` bytes from the start of the executable, if `len` bytes from there on lie inside one of the
/// executable's own read-only segments and it is aligned.
///
/// The pointer has the provenance of the image, which [`module_start`] exposes.
pub(crate) fn read_only_address(delta: u64, len: usize, align: usize) -> Option<*const u8> {
    let at = image().start.wrapping_add(usize::try_from(delta).ok()?);
    (at % align == 0 && image().read_only.iter().any(|it| it.contains(at, len)))
        .then(|| std::ptr::with_exposed_provenance(at))
}

/// All places that [`read_only_address`] may accept, as distances from the start of the executable.
#[cfg(any(test, feature = "cluster"))]
pub(crate) fn read_only_ranges() -> Vec<std::ops::Range<u64>> {
    image().read_only.iter().map(|it| offset_of(it.start)..offset_of(it.end)).collect()
}

/// What tells this build from another: the GNU build-id note, else device, inode, size and time of the file.
pub(crate) fn build() -> &'static [u8] {
    static BUILD: OnceLock<Vec<u8>> = OnceLock::new();
    BUILD.get_or_init(|| {
        use std::os::unix::fs::MetadataExt;
        image().build_note.clone().unwrap_or_else(|| {
            std::fs::metadata("/proc/self/exe").map_or_else(
                |_| Vec::new(),
                |it| format!("{}:{}:{}:{}.{}", it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec()).into(),
            )
        })
    })
}

/// Like [`build`], also among files on different machines: without a build-id note it is the SHA-256 of the file.
#[cfg(feature = "cluster")]
pub(crate) fn build_anywhere() -> &'static [u8] {
    static BUILD: OnceLock<Vec<u8>> = OnceLock::new();
    BUILD.get_or_init(|| {
        image().build_note.clone().unwrap_or_else(|| digest().map_or_else(|_| Vec::new(), |(digest, _)| digest))
    })
}

/// The file that is running, also if another one has its name by now.
///
/// # Errors
///
/// It cannot be read.
#[cfg(feature = "cluster")]
pub(crate) fn file() -> std::io::Result<std::fs::File> {
    std::fs::File::open("/proc/self/exe")
}

/// The SHA-256 of that file, and its length.
///
/// # Errors
///
/// It cannot be read.
#[cfg(feature = "cluster")]
pub(crate) fn digest() -> std::io::Result<(Vec<u8>, u64)> {
    use std::os::unix::fs::FileExt;
    let (file, mut len, mut piece) = (file()?, 0, vec![0; 256 * 1024]);
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    loop {
        match file.read_at(&mut piece, len)? {
            0 => return Ok((digest.finish().as_ref().to_vec(), len)),
            read => {
                digest.update(&piece[..read]);
                len += read as u64;
            }
        }
    }
}

/// The name of this machine.
#[cfg(feature = "cluster")]
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "a machine without a name".to_owned() } else { name.trim().to_owned() }
}

/// Whether the program runs with more rights than its caller (set-user-id); the environment is not to be trusted then.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval only reads a table that the kernel set up.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The name of its file, without the folder; empty if it is not known any more.
pub(crate) fn name() -> String {
    let path = std::env::current_exe().ok();
    path.as_ref().and_then(|path| path.file_name()).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What glibc passes to each entry of `.init_array`.
pub(crate) type Constructor = extern "C" fn(i32, *const *const libc::c_char, *const *const libc::c_char);

/// The arguments of a constructor, kept for [`run_constructors_after`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartArguments {
    pub(crate) argc: i32,
    pub(crate) argv: *const *const libc::c_char,
    pub(crate) envp: *const *const libc::c_char,
}

/// Runs the constructors of the executable that stand behind `own`, as the loader would have done next.
pub(crate) fn run_constructors_after(own: Constructor, start: StartArguments) {
    let Some(array) = image().init_array else { return };
    // SAFETY: the loader has mapped and relocated the array and is walking it right now, below us on the stack; each
    // entry is a pointer-sized word (0 and -1 are fillers).
    let entries = unsafe { std::slice::from_raw_parts(array.start as *const usize, (array.end - array.start) / 8) };
    let Some(at) = entries.iter().position(|it| *it == own as usize) else { return };
    for entry in entries[at + 1..].iter().filter(|it| **it != 0 && **it != usize::MAX) {
        // SAFETY: a non-filler entry of `.init_array` is a function of this type, put there by the linker.
        let constructor = unsafe { std::mem::transmute::<usize, Constructor>(*entry) };
        constructor(start.argc, start.argv, start.envp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_binary_is_the_executable() {
        assert!(is_main());
        assert!(!build().is_empty());
        assert!(image().init_array.is_some());
    }

    #[test]
    fn only_read_only_memory_of_our_own_is_accepted() {
        static CONSTANT: [u64; 2] = [1, 2];
        let here = offset_of(CONSTANT.as_ptr() as usize);
        assert_eq!(read_only_address(here, 16, 8), Some(CONSTANT.as_ptr().cast()));
        assert_eq!(read_only_address(here + 1, 8, 8), None);
        let heap = Box::new(1u64);
        assert_eq!(read_only_address(offset_of(&raw const *heap as usize), 8, 8), None);
        assert_eq!(read_only_address(u64::MAX, 8, 1), None);
    }

    #[test]
    fn a_broken_note_is_no_build_id() {
        assert_eq!(build_id(&[]), None);
        assert_eq!(build_id(&[0xff; 40]), None);
    }
}
