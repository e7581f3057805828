//! Panics of user code. In a child process: noted where they happen, carried to the parent as plain data. In the parent,
//! on a thread that must go on: contained.

use crate::codec::{self, CodecError, Payload, Reader};
use crate::error::Panic;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Set while this thread runs guarded user code.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<(Option<String>, Option<String>)>> = const { RefCell::new(None) };
}

/// Runs user code whose panics are noted for [`describe`]; `code` itself catches them.
pub(crate) fn guarded<R>(code: impl FnOnce() -> R) -> R {
    let before = GUARDED.replace(true);
    let result = code();
    GUARDED.set(before);
    result
}

/// From now on notes where guarded code panics, and its backtrace if `RUST_BACKTRACE` asks for one, and leaves it to the
/// caller to report it. Done once for a process and the copies of it.
pub(crate) fn note() {
    static NOTED: Once = Once::new();
    NOTED.call_once(install_hook);
}

fn install_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // In a program built with `panic = "abort"` this is the last chance to say anything.
        if !GUARDED.get() || cfg!(panic = "abort") {
            return before(info);
        }
        let location = info.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        LAST.set(Some((location, captured.then(|| backtrace.to_string()))));
    }));
}

/// Runs user code on a thread that must go on: `None` if it has panicked, which the panic hook has reported.
///
/// What it panicked with is not dropped: its destructor is the user's code too.
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(code)).map_err(std::mem::forget).ok()
}

/// Reports on stderr what has no other way out: as one piece, since other processes write there, too.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let line = format!("multiproc: {what}\n");
    // There is nobody to tell if that fails.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Drops a value in a child process, whose destructor may be the user's; `what` it is stands in the report of a panic.
pub(crate) fn discard(what: &str, value: Box<dyn Any>) {
    if let Err(payload) = guarded(|| catch_unwind(AssertUnwindSafe(|| drop(value)))) {
        let Panic { message, location, .. } = describe(payload);
        let at = location.map(|place| format!(" at {place}")).unwrap_or_default();
        say(format_args!("the destructor of {what} panicked{at}: {message}"));
    }
}

/// Reads a value, whose `Deserialize` implementation may be the user's.
pub(crate) fn decode<T: Payload>(reader: &mut Reader<'_>) -> Result<T, CodecError> {
    if !codec::runs_user_code::<T>() {
        return codec::decode(reader);
    }
    decoded(contain(|| codec::decode(reader)))
}

/// What came of reading a value, contained.
pub(crate) fn decoded<T>(outcome: Option<Result<T, CodecError>>) -> Result<T, CodecError> {
    outcome.unwrap_or_else(|| Err(CodecError("its `Deserialize` implementation panicked".to_owned())))
}

/// What the caught panic of guarded code was.
pub(crate) fn describe(payload: Box<dyn Any + Send>) -> Panic {
    let message = match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(payload) => {
                // Its destructor is user code outside of any guard; a few bytes are lost instead.
                std::mem::forget(payload);
                "a value that is no text".to_owned()
            }
        },
    };
    let (location, backtrace) = LAST.take().unwrap_or_default();
    Panic { message, location, backtrace }
}
