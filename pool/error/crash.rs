//! What is known of a process that a fault has ended: what the fault was, and the calls that led there.

use super::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

/// How a process ended, and what it has left behind about that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Death {
    pub(crate) exit: Exit,
    pub(crate) crash: Option<Crash>,
    pub(crate) kill: Kill,
    /// The most memory that it had at once, in bytes.
    pub(crate) peak: Option<u64>,
}

/// Who has killed a process that SIGKILL has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kill {
    /// There is no SIGKILL, or the kernel does not count.
    #[default]
    Unknown,
    /// The kernel, which needed memory: for the control group, if that has a limit, in bytes.
    OutOfMemory { limit: Option<u64> },
    /// A process, and not the kernel.
    ByOthers,
}

impl From<Exit> for Death {
    fn from(exit: Exit) -> Death {
        Death { exit, crash: None, kill: Kill::Unknown, peak: None }
    }
}

impl Death {
    /// The calls on the stack, one a line.
    pub(crate) fn backtrace(&self) -> Option<&str> {
        self.crash.as_ref().map(|crash| crash.stack.text()).filter(|text| !text.is_empty())
    }

    /// Whether it had no more memory: the kernel says so, or an allocation failed, which ends a program in Rust.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self.kill, Kill::OutOfMemory { .. }) || self.has_failed_to_allocate()
    }

    fn has_failed_to_allocate(&self) -> bool {
        self.crash.as_ref().is_some_and(|crash| crash.cause == Cause::Abort && crash.stack.is_failed_allocation())
    }

    /// What is behind it, to be appended to a message.
    pub(crate) fn why(&self) -> String {
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let peak = self.peak.map(|peak| format!("; it had used up to {}", mib(peak))).unwrap_or_default();
        match (&self.crash, self.kill) {
            (Some(Crash { cause, stack, data }), _) => {
                let data =
                    data.map(|it| format!("; it had {} of the {} that it may have", mib(it.used), mib(it.limit)));
                let data = data.unwrap_or_default();
                if self.has_failed_to_allocate() {
                    return format!("; out of memory: an allocation failed{}{data}", stack.first_calls());
                }
                format!("; {cause}{}{data}", stack.first_calls())
            }
            (None, Kill::OutOfMemory { limit }) => {
                let limit = limit.map(|limit| format!(", which may have {}", mib(limit))).unwrap_or_default();
                format!("; out of memory: the kernel needed memory for its control group{limit}{peak}")
            }
            (None, Kill::ByOthers) => "; no want of memory was counted in its control group".to_owned(),
            (None, Kill::Unknown) => self.exit.hint().to_owned(),
        }
    }
}

/// What the handler of a fault has noted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Crash {
    pub(crate) cause: Cause,
    pub(crate) stack: Stack,
    /// Its private memory, if that was limited.
    pub(crate) data: Option<Use>,
}

/// How much a process had of something that it may not have without limit, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// What a fault was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    StackOverflow,
    /// A bad access to memory; the address, unless the processor does not tell.
    Memory {
        address: Option<u64>,
    },
    Instruction,
    Arithmetic,
    Trap,
    /// A filter of system calls has refused one.
    SystemCall {
        number: i32,
    },
    Abort,
    /// It has sent itself the signal.
    Own,
    Sent {
        by: i32,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::StackOverflow => f.write_str("a stack overflow"),
            Cause::Memory { address: Some(address) } => write!(f, "a bad memory access, at address {address:#x}"),
            Cause::Memory { address: None } => {
                f.write_str("a bad memory access, at an address that no program can have")
            }
            Cause::Instruction => f.write_str("an instruction that the processor does not execute"),
            Cause::Arithmetic => {
                f.write_str("an arithmetic operation that the processor refuses, as a division by zero")
            }
            Cause::Trap => f.write_str("a trap instruction"),
            Cause::SystemCall { number } => write!(f, "a filter refuses the system call {number}"),
            Cause::Abort => f.write_str("it called abort"),
            Cause::Own => f.write_str("it sent itself the signal"),
            Cause::Sent { by } => write!(f, "process {by} sent the signal"),
        }
    }
}

/// One call on the stack of a process that runs the same program.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "backtrace"), allow(dead_code, reason = "nobody walks a stack then"))]
pub(crate) struct Frame {
    /// Where the same instruction is in this process; 0 if it is not there.
    pub(crate) address: u64,
    /// What is said of it if it has no name.
    pub(crate) place: String,
    /// It is in the executable, and not in a library that this has loaded.
    pub(crate) is_program: bool,
}

/// The calls on a stack, the last one first. The stack is walked, and their names are looked up, when somebody asks: that reads
/// the tables and the debug information of the program.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<Line>", into = "Vec<Line>")]
pub(crate) struct Stack(Arc<LazyLock<Named, Find>>);

/// Finds the calls, and their names.
type Find = Box<dyn FnOnce() -> Named + Send>;

#[derive(Debug, Default)]
struct Named {
    lines: Vec<Line>,
    text: String,
}

/// A call: several stand for one frame if the compiler has put functions into one another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    function: String,
    /// `file:line`.
    place: Option<String>,
    /// It is the program's own, as far as can be seen.
    is_own: bool,
}

impl From<Vec<Line>> for Stack {
    fn from(lines: Vec<Line>) -> Stack {
        Stack::of(move || Named::new(lines))
    }
}

impl From<Stack> for Vec<Line> {
    fn from(stack: Stack) -> Vec<Line> {
        stack.named().lines.clone()
    }
}

impl Named {
    fn new(lines: Vec<Line>) -> Named {
        let text = lines.iter().enumerate().map(|(number, line)| match &line.place {
            Some(place) => format!("{number:4}: {}\n             at {place}\n", line.function),
            None => format!("{number:4}: {}\n", line.function),
        });
        Named { text: text.collect(), lines }
    }
}

impl Default for Stack {
    fn default() -> Stack {
        Stack::of(Named::default)
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nobody has asked for it by that.
        f.write_str("Stack(..)")
    }
}

impl Stack {
    /// The calls that `walk` finds, which is called once, by the thread that asks first.
    #[cfg_attr(not(feature = "backtrace"), allow(dead_code, reason = "nobody walks a stack then"))]
    pub(crate) fn new(walk: impl FnOnce() -> Vec<Frame> + Send + 'static) -> Stack {
        // Code of others reads what the dead process could have written: where that panics there is no backtrace.
        let find = || catch_unwind(AssertUnwindSafe(|| Named::new(walk().iter().flat_map(lines).collect())));
        Stack::of(|| find().unwrap_or_default())
    }

    fn of(find: impl FnOnce() -> Named + Send + 'static) -> Stack {
        Stack(Arc::new(LazyLock::new(Box::new(find))))
    }

    fn named(&self) -> &Named {
        &self.0
    }

    /// One call a line, with its number.
    pub(crate) fn text(&self) -> &str {
        &self.named().text
    }

    /// Whether an allocation failed: the standard library ends the program in functions of these names.
    fn is_failed_allocation(&self) -> bool {
        let names =
            ["alloc::alloc::handle_alloc_error", "std::alloc::rust_oom", "std::alloc::default_alloc_error_hook"];
        self.named().lines.iter().any(|line| names.iter().any(|name| line.function.starts_with(name)))
    }

    /// The last calls of the program's own code, for the line of an error: without those of the standard library that lead to
    /// the end, and without those of this library that lead to the task.
    fn first_calls(&self) -> String {
        const MOST: usize = 3;
        let own: Vec<&Line> = self.named().lines.iter().filter(|line| line.is_own).take(MOST).collect();
        let text = own.iter().enumerate().map(|(number, line)| {
            let how = if number == 0 { ", in" } else { ", called from" };
            let place = line.place.as_deref().map(|place| format!(" ({place})")).unwrap_or_default();
            format!("{how} `{}`{place}", line.function)
        });
        text.collect()
    }
}

/// Whether a function is part of what stands around a task: the standard library, this one, or C's.
#[cfg(feature = "backtrace")]
fn is_of_a_library(function: &str) -> bool {
    let path = function.trim_start_matches(['<', '&', '*']);
    ["std::", "core::", "alloc::", "multiproc::", "__", "rust_", "_start"].iter().any(|prefix| path.starts_with(prefix))
        || function.contains("multiproc::")
}

/// What the debug information of this program says of a call.
#[cfg(feature = "backtrace")]
fn lines(frame: &Frame) -> Vec<Line> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut lines = Vec::new();
    if let (Ok(address), true) = (usize::try_from(frame.address), frame.address != 0) {
        backtrace::resolve(std::ptr::without_provenance_mut(address), |symbol| {
            let Some(name) = symbol.name() else { return };
            let file = symbol.filename().map(|path| path.strip_prefix(&here).unwrap_or(path).display().to_string());
            let place = file.zip(symbol.lineno()).map(|(file, line)| format!("{file}:{line}"));
            let function = format!("{name:#}");
            let is_own = frame.is_program && !is_of_a_library(&function);
            lines.push(Line { function, place, is_own });
        });
    }
    if lines.is_empty() {
        lines.push(nameless(frame));
    }
    lines
}

#[cfg(not(feature = "backtrace"))]
fn lines(frame: &Frame) -> Vec<Line> {
    vec![nameless(frame)]
}

fn nameless(frame: &Frame) -> Line {
    Line { function: frame.place.clone(), place: None, is_own: false }
}
