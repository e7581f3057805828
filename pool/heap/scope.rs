//! When handles may be written and read: inside this library's own messages and nowhere else.
//!
//! A handle is a reference, and its bytes hold no count. Whoever writes one into a message keeps the block alive until
//! the other side has taken its own reference: the writer *pins* it. Code that makes a message runs under [`collect`],
//! which gives the pins to whoever looks after that message. A handle that is serialised elsewhere (into JSON, into a
//! file) would dangle, so it refuses.

use crate::heap::block::Block;
use std::cell::{Cell, RefCell};

/// Blocks that a message refers to, kept alive until it was read.
pub(crate) type Pins = Vec<Block>;

thread_local! {
    /// How many values of a message this thread is writing or reading: inside each other, if there is more than one.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether somebody looks after what is written.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    static PINS: RefCell<Pins> = const { RefCell::new(Vec::new()) };
    /// Why a handle refused; serialisers that keep no text lose it otherwise.
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sets a cell for as long as it lives.
struct Set<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<T>>, T);

impl<T: Copy> Set<T> {
    fn new(cell: &'static std::thread::LocalKey<Cell<T>>, value: T) -> Set<T> {
        Set(cell, cell.replace(value))
    }
}

impl<T: Copy> Drop for Set<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs code that writes a message, and gives the blocks that it refers to.
pub(crate) fn collect<R>(code: impl FnOnce() -> R) -> (R, Pins) {
    let outer = PINS.with_borrow_mut(std::mem::take);
    let collecting = Set::new(&COLLECTING, true);
    let result = code();
    drop(collecting);
    (result, PINS.replace(outer))
}

/// Takes the blocks that were written since the last call, inside of [`collect`]. Costs next to nothing if there are none.
#[inline]
pub(crate) fn take_pins() -> Pins {
    PINS.with_borrow_mut(std::mem::take)
}

/// Runs the user's `Serialize` or `Deserialize` for one value of a message.
pub(crate) fn within<R>(code: impl FnOnce() -> R) -> R {
    let _deeper = Set::new(&DEPTH, DEPTH.get() + 1);
    code()
}

/// Why a handle refused to be written or read, if that is what the last error was.
pub(crate) fn take_reason() -> Option<String> {
    REASON.take()
}

/// Whether a message is being written in which handles can travel.
pub(crate) fn is_writing() -> bool {
    DEPTH.get() > 0 && COLLECTING.get()
}

/// Notes a block that is being written.
///
/// # Errors
///
/// It would not be looked after.
pub(super) fn pin(block: &Block) -> Result<(), String> {
    if !is_writing() {
        return Err(refuse(
            "a handle to shared memory can only travel in arguments, items, results and queues of multiproc: anywhere \
             else nobody would keep alive what it refers to",
        ));
    }
    PINS.with_borrow_mut(|pins| pins.push(block.clone()));
    Ok(())
}

/// Looks whether a handle may be read here.
///
/// # Errors
///
/// These are not the bytes of a message.
pub(super) fn check_reading() -> Result<(), String> {
    if DEPTH.get() > 0 {
        return Ok(());
    }
    Err(refuse("a handle to shared memory can only be read from a message of multiproc"))
}

/// Notes why a handle refuses, and gives the text back.
pub(crate) fn refuse(text: impl Into<String>) -> String {
    let text = text.into();
    REASON.set(Some(text.clone()));
    text
}
