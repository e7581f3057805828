//! How a thread asks the server of a manager.

use crate::channels::line::{Asker, Received};
use crate::codec::{Packed, Payload, Reader};
use crate::error::{ManagerError, ManagerKind, QueueKind};
use crate::identity::Entry;
use crate::managers::handle::{Knock, ManagerHandle};
use crate::managers::request::{self, Serve};
use crate::managers::server;
use crate::process::args::Args;
use crate::sys::time::Deadline;
use std::cell::RefCell;

thread_local! {
    /// The lines on which this thread asks servers, by manager. One that is in use is not here.
    static LINES: RefCell<Vec<(ManagerHandle, Asker)>> = const { RefCell::new(Vec::new()) };
}

impl ManagerHandle {
    /// Has the server carry out a request.
    pub(super) fn ask<R: Payload, A: Args>(
        &self,
        object: u64,
        entry: &'static Entry<Serve>,
        args: &A,
        deadline: Deadline,
    ) -> Result<R, ManagerError> {
        let asked = request::write(object, entry, args).and_then(|request| match server::here(self.id()) {
            Some(server) => {
                let is_late = || deadline.passed();
                let reply = request::carry_out(server.objects(), &mut Reader::new(&request.bytes), &is_late);
                request::read(&mut Reader::new(&reply.bytes))
            }
            None => request::read(&mut self.ask_server(request, deadline)?.reader()?),
        });
        asked.map_err(|kind| ManagerError::new(kind, entry.name()))
    }

    /// Asks the server on the line that this thread has to it.
    fn ask_server(&self, request: Packed, deadline: Deadline) -> Result<Received, ManagerKind> {
        let is_gone = || self.is_gone();
        let line = match self.known_line() {
            Some(line) => line,
            None => self.new_line(deadline)?,
        };
        match line.ask(request, deadline, &is_gone) {
            Ok(Some(reply)) => {
                // In a destructor of a thread-local there may be no place for it.
                let _ = LINES.try_with(|lines| lines.borrow_mut().push((self.clone(), line)));
                Ok(reply)
            }
            // The line goes: what is answered on it later is the answer to this.
            Ok(None) => Err(ManagerKind::TimedOut),
            Err(QueueKind::Disconnected) => Err(self.gone()),
            Err(kind) => Err(kind.into()),
        }
    }

    fn known_line(&self) -> Option<Asker> {
        let own = |lines: &RefCell<Vec<(ManagerHandle, Asker)>>| {
            let mut lines = lines.borrow_mut();
            let at = lines.iter().rposition(|(manager, _)| manager.id() == self.id())?;
            Some(lines.swap_remove(at).1)
        };
        LINES.try_with(own).ok().flatten()
    }

    #[cold]
    fn new_line(&self, deadline: Deadline) -> Result<Asker, ManagerKind> {
        let _ = LINES.try_with(|lines| {
            // Those to servers that have ended; dropped when the list is free again.
            let mut lines = lines.borrow_mut();
            let (gone, there) = std::mem::take(&mut *lines).into_iter().partition(|(manager, _)| manager.is_gone());
            *lines = there;
            gone
        } as Vec<_>);
        let line = Asker::new()?;
        let invitation = line.invitation().ok_or(ManagerKind::UnknownObject)?;
        self.knock(Knock::Enter(invitation), deadline)?;
        Ok(line)
    }
}
