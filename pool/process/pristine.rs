//! The template of processes that are started one by one: it has run nothing, and stays until this process ends.

use crate::error::Error;
use crate::identity::Entry;
use crate::ipc::control::ChildKind;
use crate::process::role::{ChildContext, Host, Role};
use crate::process::start::{Start, control_pair};
use crate::process::template::{Recipe, Template};
use crate::process::{cloning, panic};
use crate::sys::child::SpawnOptions;
use std::sync::OnceLock;
use std::time::Duration;

fn entry() -> &'static Entry<Role> {
    static ENTRY: Entry<Role> = Entry::new(|| "multiproc template of processes", live);
    &ENTRY
}

/// The life of the template.
fn live(context: ChildContext) -> i32 {
    panic::note();
    cloning::serve(context.control)
}

/// The template of this process's children, for all of them. It is made at the first start, and ends with this process.
pub(super) fn template(host: Host) -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    // It is never told to end.
    TEMPLATE.get_or_init(|| Template::new(Duration::ZERO, move || recipe(host)))
}

fn recipe(host: Host) -> Result<Recipe, Error> {
    let (control, socket) = control_pair()?;
    let start = Start {
        host,
        kind: ChildKind::Template,
        name: "multiproc-tmpl".to_owned(),
        role: entry(),
        setup: Vec::new(),
        fds: Vec::new(),
        attached: Vec::new(),
        socket,
        control,
        options: SpawnOptions::default(),
        descendants: None,
    };
    Ok(Recipe { start, last_words: Box::new(|| None) })
}
