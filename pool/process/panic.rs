//! Panics of user code in a child process: noted where they happen, carried to the parent as plain data.

use crate::error::Panic;
use std::any::Any;
use std::cell::{Cell, RefCell};

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

/// From now on notes where guarded code panics, and its backtrace if `RUST_BACKTRACE` asks for one, and leaves it to the
/// caller to report it.
pub(crate) fn note() {
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
