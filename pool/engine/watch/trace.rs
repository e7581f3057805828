//! A trace of what the workers of a pool did when, for Perfetto and Chrome: the "trace event format", as JSON.
//!
//! Whoever drives hands events over without waiting; a thread of the trace's own writes them. So a slow disk holds no
//! pool up, and what a worker does cannot damage the file, not even its death.

use crate::engine::watch::json::Escaped;
use crate::sys::child::own_pid;
use crate::sys::descriptor::beyond_standard;
use crate::sys::fork::fork_generation;
use crate::sys::thread;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many events may wait to be written.
const QUEUE: usize = 16 * 1024;

/// A trace that is being written; it is complete once this is dropped.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Absent once it ends.
    events: Option<Sender<Event>>,
    writer: Option<JoinHandle<()>>,
    /// Events that came faster than they could be written.
    left_out: u64,
    start: Instant,
    generation: u32,
}

/// Tasks that a worker has run one after the other, or the task that it ran when it died.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) pid: i32,
    /// The function.
    pub(crate) name: &'static str,
    /// The number of the first task in its call.
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) start: Instant,
    pub(crate) lasted: Duration,
    /// The worker has died in the middle of it.
    pub(crate) lost: bool,
}

#[derive(Debug)]
enum Event {
    /// A worker has become ready.
    Ready { pid: i32, place: usize, at: Duration },
    /// It has run `count` tasks from `first`, or has died in the middle of that one.
    Tasks { pid: i32, name: &'static str, first: u64, count: u32, lost: bool, at: Duration, lasted: Duration },
    /// Some events are missing.
    LeftOut(u64),
}

impl Trace {
    /// Begins a trace in a new file, or in the place of what is there.
    ///
    /// # Errors
    ///
    /// The file cannot be created, or there is no thread to write it.
    pub(crate) fn create(path: &Path) -> io::Result<Trace> {
        let file = File::from(beyond_standard(File::create(path)?.into())?);
        let (events, inbox) = bounded(QUEUE);
        let shown = path.display().to_string();
        let writer = std::thread::Builder::new().name("multiproc-trace".to_owned()).stack_size(128 * 1024);
        let writer = thread::spawn(writer, move || {
            if let Err(error) = write_all(BufWriter::new(file), &inbox) {
                eprintln!("multiproc: the trace {shown} is not complete: {error}");
            }
        })?;
        Ok(Trace {
            events: Some(events),
            writer: Some(writer),
            left_out: 0,
            start: Instant::now(),
            generation: fork_generation(),
        })
    }

    /// A worker in the slot `at` has become ready.
    pub(crate) fn ready(&mut self, pid: i32, at: usize) {
        let now = self.since_start(Instant::now());
        self.tell(Event::Ready { pid, place: at, at: now });
    }

    /// A worker has run some tasks.
    pub(crate) fn tasks(&mut self, span: &Span) {
        let Span { pid, name, first, count, start, lasted, lost } = *span;
        let at = self.since_start(start);
        self.tell(Event::Tasks { pid, name, first, count, lost, at, lasted });
    }

    fn tell(&mut self, event: Event) {
        let Some(events) = &self.events else { return };
        if let Err(TrySendError::Full(_)) = events.try_send(event) {
            self.left_out += 1;
        }
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // In a fork of the process that made it there is no such thread, and the file is not ours.
        if self.generation != fork_generation() {
            std::mem::forget(self.writer.take());
            return;
        }
        if let Some(events) = self.events.take().filter(|_| self.left_out > 0) {
            // Waits for room; an error means that the writer has given up, and has said so.
            let _ = events.send(Event::LeftOut(self.left_out));
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Writes everything that comes, and closes the list behind it.
fn write_all(mut out: impl Write, events: &Receiver<Event>) -> io::Result<()> {
    out.write_all(b"[")?;
    let mut separator = "\n";
    loop {
        // What is known is to be seen, even if this process ends without a farewell.
        let event = match events.try_recv() {
            Ok(event) => event,
            Err(_) => {
                out.flush()?;
                let Ok(event) = events.recv() else { break };
                event
            }
        };
        out.write_all(separator.as_bytes())?;
        write_event(&mut out, &event)?;
        separator = ",\n";
    }
    out.write_all(b"\n]\n")?;
    out.flush()
}

fn write_event(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let own = own_pid();
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    match event {
        Event::Ready { pid, place, at } => {
            let number = place + 1;
            write!(
                out,
                r#"{{"ph":"M","pid":{own},"tid":{pid},"name":"thread_name","args":{{"name":"worker {number}"}}}},"#
            )?;
            let ts = micros(*at);
            write!(out, r#"{{"ph":"i","pid":{own},"tid":{pid},"ts":{ts:.3},"s":"t","name":"ready"}}"#)
        }
        Event::Tasks { pid, name, first, count, lost, at, lasted } => {
            let (ts, dur) = (micros(*at), micros(*lasted));
            let (name, kind) = (Escaped(name), if *lost { "lost" } else { "tasks" });
            write!(
                out,
                r#"{{"ph":"X","pid":{own},"tid":{pid},"ts":{ts:.3},"dur":{dur:.3},"name":"{name}","cat":"{kind}","#
            )?;
            write!(out, r#""args":{{"first":{first},"count":{count}}}}}"#)
        }
        Event::LeftOut(count) => {
            write!(out, r#"{{"ph":"M","pid":{own},"name":"events_left_out","args":{{"count":{count}}}}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(name: &'static str) -> Event {
        let (at, lasted) = (Duration::from_micros(1500), Duration::from_nanos(2500));
        Event::Tasks { pid: 7, name, first: 10, count: 3, lost: false, at, lasted }
    }

    #[test]
    fn a_trace_is_json() {
        let (events, inbox) = bounded(10);
        let all = [Event::Ready { pid: 7, place: 0, at: Duration::ZERO }, tasks("a::\"b\"\\\n"), Event::LeftOut(4)];
        all.into_iter().for_each(|event| events.send(event).unwrap());
        drop(events);
        let mut out = Vec::new();
        write_all(&mut out, &inbox).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read[2]["name"], "a::\"b\"\\\n");
        assert_eq!((read[2]["ts"].as_f64(), read[2]["dur"].as_f64()), (Some(1500.0), Some(2.5)));
        assert_eq!(
            (&read[2]["tid"], &read[2]["args"]["first"], &read[2]["args"]["count"]),
            (&7.into(), &10.into(), &3.into())
        );
        assert_eq!(read[3]["args"]["count"], 4);
        let (events, inbox) = bounded(1);
        drop::<Sender<Event>>(events);
        out.clear();
        write_all(&mut out, &inbox).unwrap();
        assert!(serde_json::from_slice::<Vec<u8>>(&out).unwrap().is_empty());
    }

    #[test]
    fn what_comes_too_fast_is_counted() {
        let (events, inbox) = bounded(1);
        let (start, generation) = (Instant::now(), fork_generation());
        let mut trace = Trace { events: Some(events), writer: None, left_out: 0, start, generation };
        (0..5).for_each(|_| trace.tell(tasks("f")));
        assert_eq!((trace.left_out, inbox.len()), (4, 1));
        assert!(inbox.recv().is_ok());
        drop(trace);
        assert!(matches!(inbox.recv(), Ok(Event::LeftOut(4))));
    }
}
