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
use std::mem::ManuallyDrop;
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

/// What this thread knows of the message that it is writing or reading.
///
/// The functions below leave all of it as they found it, also when the code that they run panics. So a thread that ends has
/// nothing left in it: `ManuallyDrop` says so, and saves each access the question whether it was dropped already.
struct Message {
    /// How many values this thread is writing or reading: inside each other, if there is more than one.
    depth: Cell<u32>,
    /// Whether [`collect`] looks after what is written.
    collecting: Cell<bool>,
    /// Who reads what is written.
    reach: Cell<Reach>,
    /// What was written refers to this.
    pins: ManuallyDrop<RefCell<Pins>>,
    /// Whether there are attached descriptors among the pins: asked for after each item.
    has_fds: Cell<bool>,
    /// How often [`carry`] was called.
    carried: Cell<u32>,
    /// The attached descriptors that have come with what is read and that no value has asked for yet.
    arrived: ManuallyDrop<RefCell<VecDeque<Arc<AttachedFds>>>>,
}

thread_local! {
    static MESSAGE: Message = const {
        Message {
            depth: Cell::new(0),
            collecting: Cell::new(false),
            reach: Cell::new(Reach::Here),
            pins: ManuallyDrop::new(RefCell::new(Vec::new())),
            has_fds: Cell::new(false),
            carried: Cell::new(0),
            arrived: ManuallyDrop::new(RefCell::new(VecDeque::new())),
        }
    };
}

/// What the message around a new one has collected so far. It is put back when this is dropped.
struct Outer {
    collecting: bool,
    reach: Reach,
    pins: Pins,
    has_fds: bool,
}

impl Outer {
    fn put_aside(reach: Reach) -> Outer {
        MESSAGE.with(|message| Outer {
            collecting: message.collecting.replace(true),
            reach: message.reach.replace(reach),
            pins: message.pins.take(),
            has_fds: message.has_fds.replace(false),
        })
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        // What is left is that of a message whose code has panicked.
        let _left = MESSAGE.with(|message| {
            message.collecting.set(self.collecting);
            message.reach.set(self.reach);
            message.has_fds.set(self.has_fds);
            message.pins.replace(std::mem::take(&mut self.pins))
        });
    }
}

/// Who reads a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A process of this tree, which finds what handles refer to.
    #[default]
    Here,
    /// A process on another machine: the message may refer to nothing.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "made by the feature `cluster`"))]
    Elsewhere,
}

/// Runs code that writes a message, and returns what the message refers to.
pub(crate) fn collect<R>(code: impl FnOnce() -> R) -> (R, Pins) {
    collect_for(Reach::Here, code)
}

/// Checks that the message which this thread is writing, if it is, may refer to something of this machine.
///
/// # Errors
///
/// It is read elsewhere.
pub(crate) fn check_reach(what: &str) -> Result<(), String> {
    match MESSAGE.with(|message| message.reach.get()) {
        Reach::Here => Ok(()),
        Reach::Elsewhere => Err(format!(
            "{what} means nothing on another machine, where this pool has its workers: pass the data itself, or a path or an \
             address by which the worker gets it"
        )),
    }
}

/// Like [`collect`], for a message that is read within this reach.
pub(crate) fn collect_for<R>(reach: Reach, code: impl FnOnce() -> R) -> (R, Pins) {
    let outer = Outer::put_aside(reach);
    let result = code();
    let pins = take_pins();
    drop(outer);
    (result, pins)
}

/// Takes what was noted since the last call, inside of [`collect`]. Costs next to nothing if there is nothing.
#[inline]
pub(crate) fn take_pins() -> Pins {
    MESSAGE.with(|message| {
        message.has_fds.set(false);
        message.pins.take()
    })
}

/// Runs the user's `Serialize` or `Deserialize` for one value of a message.
pub(crate) fn within<R>(code: impl FnOnce() -> R) -> R {
    struct Deeper;
    impl Drop for Deeper {
        fn drop(&mut self) {
            MESSAGE.with(|message| message.depth.set(message.depth.get() - 1));
        }
    }
    MESSAGE.with(|message| message.depth.set(message.depth.get() + 1));
    let _deeper = Deeper;
    code()
}

/// Returns whether this thread is writing a message in which handles can travel.
pub(crate) fn is_writing() -> bool {
    MESSAGE.with(|message| message.depth.get() > 0 && message.collecting.get())
}

/// Notes a block that is being written.
///
/// # Errors
///
/// Nobody would look after it.
pub(super) fn pin(block: &Block) -> Result<(), String> {
    if !is_writing() {
        return Err(
            "a handle to shared memory can only travel in arguments, items, results and queues of multiproc: anywhere \
             else nobody would keep alive what it refers to"
                .to_owned(),
        );
    }
    check_reach("a handle to shared memory")?;
    MESSAGE.with(|message| message.pins.borrow_mut().push(Pin::Block(block.clone())));
    Ok(())
}

/// Returns whether attached descriptors were written since the last [`take_pins`] or [`take_attached`].
#[inline]
pub(crate) fn has_fds() -> bool {
    MESSAGE.with(|message| message.has_fds.get())
}

/// Takes the attached descriptors that were written, and leaves the blocks.
pub(crate) fn take_attached() -> Pins {
    if !has_fds() {
        return Pins::new();
    }
    let (attached, blocks) = take_pins().into_iter().partition(|pin| matches!(pin, Pin::AttachedFds(_)));
    MESSAGE.with(|message| message.pins.replace(blocks));
    attached
}

/// Returns how often [`carry`] was called.
#[inline]
pub(crate) fn carried() -> u32 {
    MESSAGE.with(|message| message.carried.get())
}

/// Notes that the value that is being written has attached descriptors.
///
/// # Errors
///
/// Nobody would look after them.
pub(crate) fn carry() -> Result<(), String> {
    if !is_writing() {
        return Err(
            "an end of ipc-channel can only travel in arguments, items, contexts and results of multiproc, or in \
             messages of ipc-channel itself"
                .to_owned(),
        );
    }
    check_reach("an end of ipc-channel")?;
    MESSAGE.with(|message| message.carried.set(message.carried.get().wrapping_add(1)));
    Ok(())
}

/// Adds attached descriptors to what the message refers to.
pub(crate) fn pin_attached(attached: AttachedFds) {
    MESSAGE.with(|message| {
        message.has_fds.set(true);
        message.pins.borrow_mut().push(Pin::AttachedFds(Arc::new(attached)));
    });
}

/// Runs code that reads a message with its attached descriptors.
pub(crate) fn with_attached<R>(attached: Vec<Arc<AttachedFds>>, code: impl FnOnce() -> R) -> R {
    struct Restore(VecDeque<Arc<AttachedFds>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _left = MESSAGE.with(|message| message.arrived.replace(std::mem::take(&mut self.0)));
        }
    }
    let _outer = Restore(MESSAGE.with(|message| message.arrived.replace(attached.into())));
    code()
}

/// Takes the attached descriptors of the next value that has any.
pub(crate) fn next_attached() -> Option<Arc<AttachedFds>> {
    MESSAGE.with(|message| message.arrived.borrow_mut().pop_front())
}

/// Returns how many sets of attached descriptors no value has asked for yet.
pub(crate) fn attached_left() -> usize {
    MESSAGE.with(|message| message.arrived.borrow().len())
}

/// Checks that a handle may be read here.
///
/// # Errors
///
/// These are not the bytes of a message.
pub(crate) fn check_reading() -> Result<(), String> {
    if MESSAGE.with(|message| message.depth.get()) > 0 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::kind::Kind;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_message_whose_code_panics_leaves_nothing_behind() {
        let (outer, inner) = (Block::new(Kind::Test, 8).unwrap(), Block::new(Kind::Test, 8).unwrap());
        let (id, index, generation) = inner.handle();
        let ((), pins) = collect(|| {
            within(|| pin(&outer)).unwrap();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                collect(|| {
                    within(|| pin(&inner)).unwrap();
                    pin_attached(AttachedFds::default());
                    within(|| panic!("as a test"))
                })
            }));
            assert!(panicked.is_err() && !has_fds() && !is_writing());
        });
        assert_eq!(pins.len(), 1);
        drop(inner);
        Block::open(id, index, generation).unwrap_err();
    }
}
