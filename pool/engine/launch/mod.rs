//! Launchers make worker processes exist; they never see a task.

pub(crate) mod body;
pub(crate) mod inline;
pub(crate) mod launcher;
pub(crate) mod spawn;
pub(crate) mod template;
pub(crate) mod threads;
