//! Panics of user code in a child process: noted where they happen, carried to the parent as plain data.

use crate::error::Panic;
use std::any::Any;
use std::cell::{Cell, RefCell};

/// Who else hears of a panic in guarded code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Nobody: it is reported to the parent and not on stderr.
    Quiet,
    /// The hook that was there before, which writes to stderr.
    Loud,
}

thread_local! {
    /// Set while this thread runs guarded user code.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<(Option<String>, Option<String>)>> = const { RefCell::new(None) };
}

/// Runs user code whose panics are noted for [`describe`]; `code` itself catches them.
pub(crate) fn guarded<R>(code: impl FnOnce() -> R) -> R {
    GUARDED.set(true);
    let result = code();
    GUARDED.set(false);
    result
}

/// From now on notes where guarded code panics, and its backtrace if `RUST_BACKTRACE` asks for one.
pub(crate) fn note(hook: Hook) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !GUARDED.get() {
            return before(info);
        }
        let location = info.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
        LAST.set(Some((location, captured.then(|| backtrace.to_string()))));
        if hook == Hook::Loud {
            before(info);
        }
    }));
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
