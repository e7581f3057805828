//! A trace of what the workers of a pool did when, for Perfetto and Chrome: the "trace event format", as JSON.
//!
//! Whoever drives hands events over without waiting; a thread of the trace's own writes them. So a slow disk holds no
//! pool up, and what a worker does cannot damage the file, not even its death.

use crate::engine::watch::json::Escaped;
use crate::engine::watch::ran::Ran;
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
    generation: u32,
}

#[derive(Debug)]
enum Event {
    /// A worker has become ready.
    Ready { pid: i32, place: usize, at: Instant },
    /// It has run tasks.
    Ran { pid: i32, ran: Ran },
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
        let start = Instant::now();
        let shown = path.display().to_string();
        let writer = std::thread::Builder::new().name("multiproc-trace".to_owned()).stack_size(128 * 1024);
        let writer = thread::spawn(writer, move || {
            if let Err(error) = write_all(BufWriter::new(file), &inbox, start) {
                eprintln!("multiproc: the trace {shown} is not complete: {error}");
            }
        })?;
        Ok(Trace { events: Some(events), writer: Some(writer), left_out: 0, generation: fork_generation() })
    }

    /// A worker in the slot `at` has become ready.
    pub(crate) fn ready(&mut self, pid: i32, at: usize) {
        self.tell(Event::Ready { pid, place: at, at: Instant::now() });
    }

    /// A worker has run tasks: one that is a process, since nothing else has a row.
    pub(crate) fn ran(&mut self, ran: &Ran) {
        if let Some(pid) = ran.pid {
            self.tell(Event::Ran { pid, ran: *ran });
        }
    }

    fn tell(&mut self, event: Event) {
        let Some(events) = &self.events else { return };
        if let Err(TrySendError::Full(_)) = events.try_send(event) {
            self.left_out += 1;
        }
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

/// Writes everything that comes, and closes the list behind it; times count from `start`.
fn write_all(mut out: impl Write, events: &Receiver<Event>, start: Instant) -> io::Result<()> {
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
        write_event(&mut out, &event, start)?;
        separator = ",\n";
    }
    out.write_all(b"\n]\n")?;
    out.flush()
}

fn write_event(out: &mut impl Write, event: &Event, start: Instant) -> io::Result<()> {
    let own = own_pid();
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let since_start = |at: Instant| micros(at.saturating_duration_since(start));
    match event {
        Event::Ready { pid, place, at } => {
            let number = place + 1;
            write!(
                out,
                r#"{{"ph":"M","pid":{own},"tid":{pid},"name":"thread_name","args":{{"name":"worker {number}"}}}},"#
            )?;
            let ts = since_start(*at);
            write!(out, r#"{{"ph":"i","pid":{own},"tid":{pid},"ts":{ts:.3},"s":"t","name":"ready"}}"#)
        }
        Event::Ran { pid, ran: Ran { function, first, count, start, lasted, lost, .. } } => {
            let (ts, dur) = (since_start(*start), micros(*lasted));
            let (name, kind) = (Escaped(function), if *lost { "lost" } else { "tasks" });
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

    fn tasks(function: &'static str, begin: Instant) -> Event {
        let (start, lasted) = (begin + Duration::from_micros(1500), Duration::from_nanos(2500));
        let ran = Ran { place: 0, pid: Some(7), function, first: 10, count: 3, start, lasted, lost: false };
        Event::Ran { pid: 7, ran }
    }

    #[test]
    fn a_trace_is_json() {
        let (events, inbox) = bounded(10);
        let start = Instant::now();
        let all = [Event::Ready { pid: 7, place: 0, at: start }, tasks("a::\"b\"\\\n", start), Event::LeftOut(4)];
        all.into_iter().for_each(|event| events.send(event).unwrap());
        drop(events);
        let mut out = Vec::new();
        write_all(&mut out, &inbox, start).unwrap();
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
        write_all(&mut out, &inbox, start).unwrap();
        assert!(serde_json::from_slice::<Vec<u8>>(&out).unwrap().is_empty());
    }

    #[test]
    fn what_comes_too_fast_is_counted() {
        let (events, inbox) = bounded(1);
        let mut trace = Trace { events: Some(events), writer: None, left_out: 0, generation: fork_generation() };
        (0..5).for_each(|_| trace.tell(tasks("f", Instant::now())));
        assert_eq!((trace.left_out, inbox.len()), (4, 1));
        assert!(inbox.recv().is_ok());
        drop(trace);
        assert!(matches!(inbox.recv(), Ok(Event::LeftOut(4))));
    }
}
