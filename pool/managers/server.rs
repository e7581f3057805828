//! The server of a manager: a process that holds objects. One thread lets clients in, one drops objects that nobody refers to
//! any more, and each client's thread has a thread here that carries out its requests.

use crate::channels::channel::Sender;
use crate::channels::line::Answerer;
use crate::error::{Error, ManagerKind};
use crate::heap::tree;
use crate::managers::handle::{Knock, ManagerHandle};
use crate::managers::objects::{Object, Objects};
use crate::managers::request;
use crate::sys::fork::Original;
use crate::sys::signal;
use parking_lot::RwLock;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a server looks for objects whose last proxy has gone without a word: with a process that was killed, or with an
/// item of a queue that nobody has taken.
const SWEEP_EACH: Duration = Duration::from_millis(250);

/// A server, in its process.
#[derive(Debug)]
pub(crate) struct Server {
    handle: ManagerHandle,
    objects: Objects,
    /// Locked for reading by each call that came from another process; for writing by who ends the server.
    open: RwLock<()>,
}

static SERVER: OnceLock<Server> = OnceLock::new();

/// The server of this manager, if it is this process.
#[inline]
pub(crate) fn here(id: u64) -> Option<&'static Server> {
    SERVER.get().filter(|server| server.handle.id() == id)
}

impl Server {
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }
}

/// The life of a server: what its process runs. Says that it is there by what it sends.
pub(crate) fn serve(handle: ManagerHandle, ready: Sender<()>) -> Result<(), Error> {
    handle.is_served_by(tree::own()?);
    let (bury, buried) = mpsc::channel::<Vec<Arc<Object>>>();
    let undertaker = std::thread::Builder::new().name("multiproc-drop".to_owned()).stack_size(signal::stack_limit());
    let undertaker = undertaker.spawn(move || buried.into_iter().for_each(drop))?;
    let server = SERVER.get_or_init(|| Server { handle, objects: Objects::default(), open: RwLock::new(()) });
    ready.send(())?;
    drop(ready);
    server.mind_the_door(&bury);
    // Calls that have begun come to their end; and no other begins, as long as this is held.
    let _closed = server.open.write();
    let _ = bury.send(server.objects.take_all());
    drop(bury);
    let _ = undertaker.join();
    Ok(())
}

impl Server {
    fn mind_the_door(&'static self, bury: &mpsc::Sender<Vec<Arc<Object>>>) {
        let mut swept = Instant::now();
        loop {
            match self.handle.door().get_timeout(SWEEP_EACH) {
                Ok(Some(Knock::Enter(invitation))) => self.let_in(invitation.accept()),
                Ok(Some(Knock::Gone(id))) => bury_all(bury, self.objects.take_if_gone(id).into_iter().collect()),
                Ok(Some(Knock::Stop)) => return,
                Ok(None) => {}
                // It was no knock, or who has knocked is gone.
                Err(error) if error.is_decode() => {}
                // A process has written over the door.
                Err(_) => return,
            }
            if swept.elapsed() >= SWEEP_EACH {
                tree::reclaim_orphans();
                bury_all(bury, self.objects.take_gone());
                swept = Instant::now();
            }
        }
    }

    /// Answers what a client's thread asks, on a thread of its own.
    fn let_in(&'static self, line: Answerer) {
        let line = Arc::new(line);
        let own = Arc::clone(&line);
        let builder = std::thread::Builder::new().name("multiproc-serve".to_owned()).stack_size(signal::stack_limit());
        if let Err(error) = builder.spawn(move || self.converse(&own)) {
            let text = format!("it has no thread left for another client: {error}");
            if line.next().is_some() {
                let _ = line.answer(request::failure(&ManagerKind::Refused { text }));
            }
        }
    }

    fn converse(&self, line: &Answerer) {
        let original = Original::here();
        while let Some(asked) = line.next() {
            let open = self.open.read();
            let reply = match asked.reader() {
                Ok(mut reader) => request::carry_out(&self.objects, &mut reader, &|| line.is_over()),
                Err(kind) => request::failure(&ManagerKind::Decode { text: kind.to_string() }),
            };
            original.end_forks();
            drop(asked);
            if let Err(kind) = line.answer(reply) {
                // It cannot travel, or there is no memory for it; that can be said in few words.
                if line.answer(request::failure(&kind.into())).is_err() {
                    return;
                }
            }
            // Not before the reply is sent: the server may end here.
            drop(open);
        }
    }
}

fn bury_all(bury: &mpsc::Sender<Vec<Arc<Object>>>, gone: Vec<Arc<Object>>) {
    if !gone.is_empty() {
        let _ = bury.send(gone);
    }
}
