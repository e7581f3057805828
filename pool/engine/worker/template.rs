//! The template of a pool's workers: it has run the initializer once for all of them.

use crate::codec;
use crate::engine::worker::routines::{Routine, Routines};
use crate::identity::Entry;
use crate::ipc::control::Reply;
use crate::process::role::{ChildContext, Role};
use crate::process::{cloning, panic};
use crate::sys::usage;
use serde::{Deserialize, Serialize};

/// What the template of workers is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Only the initializer is run.
    pub(crate) routines: Routines,
    /// See [`Limits`](crate::engine::worker::main_loop::Limits): the initializer counts for each worker.
    pub(crate) memory: Option<u64>,
}

/// The descriptor by which a child finds [`live`].
pub(crate) fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc template of workers", live);
    &ENTRY
}

/// The life of a template; the result is its exit code.
fn live(childhood: ChildContext) -> i32 {
    let ChildContext { control, setup, fds, attached } = childhood;
    // Each copy would have them.
    drop(fds);
    let prepared = codec::from_bytes::<Setup>(&setup).map_err(|error| error.0).and_then(|setup| {
        setup.memory.map_or(Ok(()), usage::limit_memory).map_err(|error| error.to_string())?;
        Ok(setup.routines)
    });
    let mut routines = match prepared {
        Ok(routines) => routines,
        Err(cause) => {
            let _ = control.send(&Reply::Refused(format!("its setup: {cause}")), &[]);
            return 1;
        }
    };
    panic::note();
    routines.load(attached);
    if let Some(Err(error)) = routines.initializer.as_ref().map(|it| it.run(Routine::proceed)) {
        let _ = control.send(&Reply::Initializer(error), &[]);
        return 1;
    }
    drop((setup, routines));
    cloning::serve(control)
}
