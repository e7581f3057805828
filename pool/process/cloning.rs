//! A template: a child that makes other children, as copies of itself. Its own half; [`template`](crate::process::template)
//! has the parent's.
//!
//! It has one thread, runs what all its copies are to have done already, and then does what it is asked. A copy is a child of
//! the template's parent ([`sibling`]). It goes through the handshake of every child, in which it is told who it is.

use crate::ipc::control::{Control, Reply};
use crate::process::bootstrap::{self, Copied};
use crate::sys::child::{self, Output};
use crate::sys::clone::{Sibling, sibling};
use crate::sys::{signal, thread};
use serde::{Deserialize, Serialize};

/// What a template is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// To make a child with this number. Beside it come the child's end of its control socket and, if it is not to write where
    /// the template does, where it is to write.
    Copy { nonce: u64 },
    /// To end.
    End,
}

/// What a template answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The child with this number exists. Its pidfd comes beside it.
    Made { nonce: u64 },
    /// It could not be made.
    Failed { nonce: u64, cause: String },
}

/// The life of a template that has done what its copies are to have done; the result is its exit code. Copies do not return.
pub(crate) fn serve(control: Control) -> i32 {
    let parent = child::parent_pid();
    thread::leave_one_behind(signal::stack_limit());
    let reply = match thread::others() {
        Ok(names) if names.is_empty() => Reply::Ready,
        Ok(names) => Reply::Threads(names),
        Err(error) => Reply::Refused(format!("its threads cannot be counted: {error}")),
    };
    // What the streams hold now each copy would write once more.
    signal::flush_standard_streams();
    if control.send(&reply, &[]).is_err() || !matches!(reply, Reply::Ready) {
        return 1;
    }
    loop {
        let (nonce, fds) = match control.receive::<Request>(true) {
            Ok(Some((Request::Copy { nonce }, fds))) => (nonce, fds),
            // The pool ends. Or it has ended, and so does this process.
            Ok(Some((Request::End, _)) | None) | Err(_) => return 0,
        };
        let mut fds = fds.into_iter();
        // Only a parent that is about to end sends no socket.
        let Some(socket) = fds.next() else { return 1 };
        let output = fds.next().zip(fds.next()).map(|(stdout, stderr)| Output { stdout, stderr });
        let sent = match sibling() {
            Ok(Sibling::Copy) => {
                // It is the template's. Nobody else in this process has it.
                drop(control);
                bootstrap::live_as_copy(Copied { socket, output, nonce, parent })
            }
            Ok(Sibling::Original(pidfd)) => control.send(&Answer::Made { nonce }, &[&pidfd]),
            Err(error) => control.send(&Answer::Failed { nonce, cause: error.to_string() }, &[]),
        };
        if sent.is_err() {
            return 1;
        }
    }
}
