//! What is shown, and what keys do.

use crate::wire::{Client, Snapshot, Stack, programs};
use ratatui::crossterm::event::KeyCode;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

/// A pool of a running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) program: String,
    pub(crate) pid: i32,
    pub(crate) pool: u64,
    pub(crate) name: String,
}

/// What lies over the view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Over {
    #[default]
    Nothing,
    /// The stack of a worker, from this line on.
    Stack { worker: usize, text: String, from: u16 },
    /// Whether this task is really to be ended.
    End { worker: usize, pid: i32, task: u64, function: String },
}

/// What is kept of a snapshot, to tell how much has happened since.
#[derive(Clone, Debug)]
struct Before {
    at: Instant,
    tasks: u64,
    /// How long each worker was busy, and which process that was.
    busy: Vec<(Option<i32>, f64)>,
}

/// So many snapshots are looked back.
const BACK: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct App {
    pub(crate) places: Vec<Place>,
    pub(crate) chosen: usize,
    client: Option<(Place, Client)>,
    pub(crate) shown: Snapshot,
    before: VecDeque<Before>,
    pub(crate) per_second: f64,
    /// The share of the time in which each worker was busy.
    pub(crate) busy: Vec<f64>,
    pub(crate) worker: usize,
    pub(crate) over: Over,
    pub(crate) message: String,
    pub(crate) quit: bool,
}

impl App {
    /// Looks for pools, and at the chosen one.
    pub(crate) fn refresh(&mut self, now: Instant) {
        match find() {
            Ok(places) => self.set_places(places),
            Err(error) => self.message = error.to_string(),
        }
        let Some(place) = self.places.get(self.chosen).cloned() else {
            self.client = None;
            return;
        };
        match self.ask::<Snapshot>(&format!("show {}", place.pool)) {
            Ok(shown) => self.take(shown, now),
            Err(error) => self.message = error.to_string(),
        }
    }

    pub(crate) fn set_places(&mut self, places: Vec<Place>) {
        let chosen = self.places.get(self.chosen);
        let found = chosen.and_then(|chosen| places.iter().position(|it| it == chosen));
        self.places = places;
        self.chosen = found.unwrap_or(0);
        if found.is_none() {
            self.forget();
        }
    }

    /// Forgets what was seen of a pool: from now on it is another one.
    fn forget(&mut self) {
        (self.worker, self.over, self.shown) = (0, Over::Nothing, Snapshot::default());
        self.before.clear();
    }

    /// Asks the program of the chosen pool.
    fn ask<T: DeserializeOwned>(&mut self, request: &str) -> io::Result<T> {
        let place = self.places.get(self.chosen).ok_or_else(|| io::Error::other("there is no pool"))?;
        if self.client.as_ref().is_none_or(|(of, _)| of.path != place.path) {
            self.client = Some((place.clone(), Client::connect(&place.path)?));
        }
        let Some((_, client)) = &mut self.client else { return Err(io::ErrorKind::NotConnected.into()) };
        let answer = client.ask(request);
        if answer.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Other) {
            self.client = None;
        }
        answer
    }

    /// Takes a snapshot of the pool, and tells what has happened since those before.
    pub(crate) fn take(&mut self, shown: Snapshot, now: Instant) {
        if self.before.back().is_some_and(|before| before.tasks > shown.tasks) {
            self.before.clear();
        }
        let busy: Vec<_> = shown.workers.iter().map(|worker| (worker.pid, worker.busy)).collect();
        let (since, tasks, old) = match self.before.front() {
            Some(before) => ((now - before.at).as_secs_f64(), before.tasks, before.busy.clone()),
            // Since the pool was made.
            None => (shown.uptime, 0, Vec::new()),
        };
        self.per_second = if since > 0.0 { (shown.tasks - tasks) as f64 / since } else { 0.0 };
        let share = |(place, (pid, busy)): (usize, &(Option<i32>, f64))| {
            let before = old.get(place).filter(|(of, _)| of == pid).map_or(0.0, |(_, busy)| *busy);
            if since > 0.0 { ((busy - before) / since).clamp(0.0, 1.0) } else { 0.0 }
        };
        self.busy = busy.iter().enumerate().map(share).collect();
        self.before.push_back(Before { at: now, tasks: shown.tasks, busy });
        if self.before.len() > BACK {
            self.before.pop_front();
        }
        self.worker = self.worker.min(shown.workers.len().saturating_sub(1));
        self.shown = shown;
    }

    /// What a key does.
    pub(crate) fn press(&mut self, key: KeyCode) {
        self.message.clear();
        match (&mut self.over, key) {
            (Over::Stack { from, .. }, KeyCode::Down | KeyCode::Char('j')) => *from = from.saturating_add(1),
            (Over::Stack { from, .. }, KeyCode::Up | KeyCode::Char('k')) => *from = from.saturating_sub(1),
            (Over::End { .. }, KeyCode::Char('y')) => self.end_task(),
            (Over::Stack { .. } | Over::End { .. }, _) => self.over = Over::Nothing,
            (Over::Nothing, KeyCode::Char('q') | KeyCode::Esc) => self.quit = true,
            (Over::Nothing, KeyCode::Down | KeyCode::Char('j')) => {
                self.worker = (self.worker + 1).min(self.shown.workers.len().saturating_sub(1));
            }
            (Over::Nothing, KeyCode::Up | KeyCode::Char('k')) => self.worker = self.worker.saturating_sub(1),
            (Over::Nothing, KeyCode::Right | KeyCode::Tab) => self.choose(1),
            (Over::Nothing, KeyCode::Left | KeyCode::BackTab) => self.choose(self.places.len().saturating_sub(1)),
            (Over::Nothing, KeyCode::Char('s')) => self.show_stack(),
            (Over::Nothing, KeyCode::Char('x')) => self.ask_whether_to_end(),
            (Over::Nothing, KeyCode::Char('+')) => self.resize(self.shown.target + 1),
            (Over::Nothing, KeyCode::Char('-')) => self.resize(self.shown.target.saturating_sub(1)),
            _ => {}
        }
    }

    fn choose(&mut self, further: usize) {
        if !self.places.is_empty() {
            self.chosen = (self.chosen + further) % self.places.len();
            self.forget();
            self.refresh(Instant::now());
        }
    }

    /// Asks for something of the chosen pool; what is behind the number of the pool is in `rest`.
    fn command<T: DeserializeOwned>(&mut self, what: &str, rest: &str) -> Option<T> {
        let pool = self.places.get(self.chosen)?.pool;
        match self.ask(&format!("{what} {pool} {rest}")) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.message = error.to_string();
                None
            }
        }
    }

    fn show_stack(&mut self) {
        let worker = self.worker;
        if let Some(Stack { stack: text }) = self.command("stack", &worker.to_string()) {
            self.over = Over::Stack { worker, text, from: 0 };
        }
    }

    fn ask_whether_to_end(&mut self) {
        let Some(worker) = self.shown.workers.get(self.worker) else { return };
        match (&worker.at, worker.pid) {
            (Some(at), Some(pid)) => {
                let (task, function) = (at.task, at.function.clone());
                self.over = Over::End { worker: self.worker, pid, task, function };
            }
            _ => self.message = "the worker runs no task".to_owned(),
        }
    }

    fn end_task(&mut self) {
        if let Over::End { worker, pid, task, .. } = std::mem::take(&mut self.over)
            && self.command::<IgnoredAny>("end", &format!("{worker} {pid} {task}")).is_some()
        {
            self.message = format!("task {task} was ended, and its worker is replaced");
        }
    }

    fn resize(&mut self, count: u64) {
        if self.command::<IgnoredAny>("resize", &count.to_string()).is_some() {
            self.message = format!("the pool has {count} workers from now on");
            self.shown.target = count;
        }
    }
}

/// The pools of all programs.
fn find() -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    for (path, program) in programs()? {
        for pool in program.pools {
            let (path, name) = (path.clone(), pool.name);
            places.push(Place { path, program: program.program.clone(), pid: program.pid, pool: pool.pool, name });
        }
    }
    Ok(places)
}
