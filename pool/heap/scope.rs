//! When handles may be written and read: inside this library's own messages and nowhere else.
//!
//! A handle is a reference, and its bytes hold no count. Whoever writes one into a message keeps the block alive until
//! the other side has taken its own reference: the writer *pins* it. Code that makes a message runs under [`collect`],
//! which gives the pins to whoever looks after that message. A handle that is serialised elsewhere (into JSON, into a
//! file) would dangle, so it refuses.

use crate::attached_fds::AttachedFds;
use crate::heap::block::Block;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a message refers to, kept until it was read.
pub(crate) type Pins = Vec<Pin>;

/// One thing that a message refers to.
#[derive(Clone, Debug)]
pub(crate) enum Pin {
    /// Shared memory; the value holds a handle to it.
    Block(Block),
    /// Descriptors that travel beside the message, for the next value that says so.
    AttachedFds(Arc<AttachedFds>),
}

/// The attached descriptors among what a message refers to, in the order of its values.
pub(crate) fn attached_in(pins: &[Pin]) -> Vec<Arc<AttachedFds>> {
    let attached = |pin: &Pin| if let Pin::AttachedFds(attached) = pin { Some(Arc::clone(attached)) } else { None };
    pins.iter().filter_map(attached).collect()
}

thread_local! {
    /// How many values of a message this thread is writing or reading: inside each other, if there is more than one.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether somebody looks after what is written.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    static PINS: RefCell<Pins> = const { RefCell::new(Vec::new()) };
    /// Whether there are attached descriptors among them.
    static HAS_FDS: Cell<bool> = const { Cell::new(false) };
    /// How often something in a value has said that it has attached descriptors.
    static CARRIED: Cell<u32> = const { Cell::new(0) };
    /// What has come with the message that is being read, for the values in it that say so.
    static ARRIVED: RefCell<VecDeque<Arc<AttachedFds>>> = const { RefCell::new(VecDeque::new()) };
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

/// Runs code that writes a message, and gives what it refers to.
pub(crate) fn collect<R>(code: impl FnOnce() -> R) -> (R, Pins) {
    let outer = PINS.with_borrow_mut(std::mem::take);
    let with_fds = Set::new(&HAS_FDS, false);
    let collecting = Set::new(&COLLECTING, true);
    let result = code();
    drop((collecting, with_fds));
    (result, PINS.replace(outer))
}

/// Takes what was noted since the last call, inside of [`collect`]. Costs next to nothing if there are none.
#[inline]
pub(crate) fn take_pins() -> Pins {
    HAS_FDS.set(false);
    PINS.with_borrow_mut(std::mem::take)
}

/// Runs the user's `Serialize` or `Deserialize` for one value of a message.
pub(crate) fn within<R>(code: impl FnOnce() -> R) -> R {
    let _deeper = Set::new(&DEPTH, DEPTH.get() + 1);
    code()
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
        return Err(
            "a handle to shared memory can only travel in arguments, items, results and queues of multiproc: anywhere \
             else nobody would keep alive what it refers to"
                .to_owned(),
        );
    }
    PINS.with_borrow_mut(|pins| pins.push(Pin::Block(block.clone())));
    Ok(())
}

/// Whether attached descriptors were written since the last [`take_pins`] or [`take_attached`].
#[inline]
pub(crate) fn has_fds() -> bool {
    HAS_FDS.get()
}

/// Takes the attached descriptors that were written, and leaves the blocks.
pub(crate) fn take_attached() -> Pins {
    if !HAS_FDS.replace(false) {
        return Pins::new();
    }
    let (attached, blocks) = take_pins().into_iter().partition(|pin| matches!(pin, Pin::AttachedFds(_)));
    PINS.set(blocks);
    attached
}

/// How often [`carry`] was called.
#[inline]
pub(crate) fn carried() -> u32 {
    CARRIED.get()
}

/// Notes that the value that is being written has attached descriptors.
///
/// # Errors
///
/// It would not be looked after.
pub(crate) fn carry() -> Result<(), String> {
    if DEPTH.get() == 0 || !COLLECTING.get() {
        return Err(
            "an end of ipc-channel can only travel in arguments, items, contexts and results of multiproc, or in \
             messages of ipc-channel itself"
                .to_owned(),
        );
    }
    CARRIED.set(CARRIED.get().wrapping_add(1));
    Ok(())
}

/// Adds attached descriptors to what the message refers to.
pub(crate) fn pin_attached(attached: AttachedFds) {
    HAS_FDS.set(true);
    PINS.with_borrow_mut(|pins| pins.push(Pin::AttachedFds(Arc::new(attached))));
}

/// Runs code that reads a message with its attached descriptors.
pub(crate) fn with_attached<R>(attached: Vec<Arc<AttachedFds>>, code: impl FnOnce() -> R) -> R {
    struct Restore(VecDeque<Arc<AttachedFds>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ARRIVED.set(std::mem::take(&mut self.0));
        }
    }
    let _outer = Restore(ARRIVED.replace(attached.into()));
    code()
}

/// The attached descriptors of the next value that has any.
pub(crate) fn next_attached() -> Option<Arc<AttachedFds>> {
    ARRIVED.with_borrow_mut(VecDeque::pop_front)
}

/// How many sets of attached descriptors were not asked for yet.
pub(crate) fn attached_left() -> usize {
    ARRIVED.with_borrow(VecDeque::len)
}

/// Looks whether a handle may be read here.
///
/// # Errors
///
/// These are not the bytes of a message.
pub(crate) fn check_reading() -> Result<(), String> {
    if DEPTH.get() > 0 {
        return Ok(());
    }
    Err("a handle to shared memory can only be read from a message of multiproc".to_owned())
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pin(self).map_err(S::Error::custom)?;
        self.handle().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Block, D::Error> {
        check_reading().map_err(D::Error::custom)?;
        let (id, index, generation) = Deserialize::deserialize(deserializer)?;
        Block::open(id, index, generation).map_err(D::Error::custom)
    }
}
