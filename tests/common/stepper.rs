//! Runs a thread of another process one machine instruction at a time. `ptrace(2)`, x86-64.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// A thread of a child of this process, which stands still. To be used on the thread that has seized it.
pub(crate) struct Stepper {
    thread: i32,
    /// Whether there is a system call at an address: code does not change.
    calls: HashMap<u64, bool>,
    here: PhantomData<*const ()>,
}

/// What a thread will do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The system call of this number.
    SystemCall(i64),
    Other,
}

impl Stepper {
    /// Stops the thread wherever it is.
    ///
    /// # Errors
    ///
    /// The kernel does not allow it.
    #[allow(unsafe_code)]
    pub(crate) fn seize(thread: i32) -> io::Result<Stepper> {
        // SAFETY: touches no memory of this process.
        check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, 0_usize, 0_usize) })?;
        // SAFETY: as above.
        check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0_usize, 0_usize) })?;
        let stepper = Stepper { thread, calls: HashMap::new(), here: PhantomData };
        assert!(stepper.wait().is_some(), "the thread has ended");
        Ok(stepper)
    }

    /// Looks at the next instruction.
    #[allow(unsafe_code)]
    pub(crate) fn next(&mut self) -> Next {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
        // SAFETY: the target has room for the registers.
        let read = unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.thread, 0_usize, registers.as_mut_ptr()) };
        check(read).unwrap();
        // SAFETY: filled in just above, and valid for all bytes anyway.
        let registers = unsafe { registers.assume_init() };
        let is_call = *self.calls.entry(registers.rip).or_insert_with(|| {
            // SAFETY: touches no memory of this process.
            let text = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.thread, registers.rip, 0_usize) };
            // `syscall` is 0f 05.
            text & 0xffff == 0x050f
        });
        if is_call { Next::SystemCall(registers.rax as i64) } else { Next::Other }
    }

    /// Runs one instruction; a system call is one, however long it takes.
    #[allow(unsafe_code)]
    pub(crate) fn step(&self) {
        let mut signal = 0;
        loop {
            // SAFETY: touches no memory of this process.
            check(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.thread, 0_usize, signal as usize) }).unwrap();
            match self.wait().expect("the thread has ended") {
                libc::SIGTRAP => return,
                // One that was sent to it: it gets it.
                other => signal = other,
            }
        }
    }

    /// Waits until it stands still; the signal that did it, `None` = it has ended.
    #[allow(unsafe_code)]
    fn wait(&self) -> Option<i32> {
        let mut status = 0;
        loop {
            // SAFETY: writes into a variable of ours.
            match unsafe { libc::waitpid(self.thread, ptr::from_mut(&mut status), libc::__WALL) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                pid if pid == self.thread && libc::WIFSTOPPED(status) => return Some(libc::WSTOPSIG(status)),
                _ => return None,
            }
        }
    }

    /// Its process was killed: lets the kernel clear the thread away, which is for its tracer to see first.
    pub(crate) fn bury(self) {
        while self.wait().is_some() {}
    }

    /// Lets it run.
    #[allow(unsafe_code)]
    pub(crate) fn let_go(self) {
        // SAFETY: touches no memory of this process.
        check(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.thread, 0_usize, 0_usize) }).unwrap();
    }
}

fn check(result: i64) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
