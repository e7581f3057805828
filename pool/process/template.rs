//! How children come to be copies of a template, which is made when the first is asked for, and again when it has died.
//! [`cloning`](crate::process::cloning) has what runs in the template.
//!
//! All of it happens on the reactor's thread, which asks and waits for no answer. What was asked is answered, or the template
//! ends, or is killed since it has not answered in time; so each start comes to an end.

use crate::error::{Death, Error};
use crate::ipc::control::{Control, Reply};
use crate::process::cloning::{Answer, Request};
use crate::process::start::{News, Prepared, READY_WITHIN, Start, Tell, Way};
use crate::sys::child::{self, Child, ChildSignal};
use crate::sys::out_of_memory::{self, Before};
use crate::sys::poll::Interest;
use crate::sys::reactor::{Event, Reactor, reactor};
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How processes come to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// This program is executed again for each: nothing of one is in another. The default.
    #[default]
    Spawn,
    /// This program is executed again once, for a *template*, of which each is a copy. Python calls it `forkserver`.
    ///
    /// What the initializer of a pool has made is there in each worker, and takes memory once as long as nobody changes it.
    /// See [`PoolBuilder::start_method`](crate::PoolBuilder::start_method).
    Template,
}

/// So many copies may be asked for and not made yet; others wait. Far fewer than messages fit into the socket, so that nobody
/// ever waits for room there.
const MOST_ASKED: usize = 16;

/// Makes a child that somebody wants, when it is known how.
type Make = Box<dyn FnOnce(Way) -> Start + Send>;

/// A template that is to be started.
pub(crate) struct Recipe {
    pub(crate) start: Start,
    /// What it has written last, for the report of its end.
    pub(crate) last_words: Box<dyn Fn() -> Option<String> + Send>,
}

/// A template, and the children that are to be copies of it.
#[derive(Clone)]
pub(crate) struct Template(Arc<Shared>);

struct Shared {
    recipe: Box<dyn Fn() -> Result<Recipe, Error> + Send + Sync>,
    /// How long it may take to end when it is told to.
    grace: Duration,
    state: Mutex<State>,
    /// It has ended.
    ended: Condvar,
}

struct State {
    stage: Stage,
    /// Its process was asked for, and has not ended yet.
    exists: bool,
    /// No more children are wanted.
    is_over: bool,
    /// Children that wait for the template, or for room in its socket.
    waiting: VecDeque<(Make, Tell)>,
}

enum Stage {
    /// There is none.
    Absent,
    Starting(Starting),
    Ready(Ready),
    /// Its initializer has left threads of these names behind, so that it ends.
    Threaded(Vec<String>),
}

struct Starting {
    child: Option<Arc<Child>>,
    control: Control,
    /// What it said, or was said of it.
    complaint: Option<Error>,
    last_words: Box<dyn Fn() -> Option<String> + Send>,
}

impl Starting {
    /// Only the first complaint counts.
    fn complain(&mut self, error: Error) {
        self.complaint.get_or_insert(error);
    }
}

struct Ready {
    child: Arc<Child>,
    control: Control,
    /// Copies that were asked for, in that order.
    asked: VecDeque<Asked>,
}

/// A copy that was asked for.
struct Asked {
    nonce: u64,
    prepared: Prepared,
    /// The kernel's kills for want of memory when it was asked for.
    kills: Before,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

impl Template {
    /// A template that is made by `recipe`, and has `grace` to end.
    pub(crate) fn new(grace: Duration, recipe: impl Fn() -> Result<Recipe, Error> + Send + Sync + 'static) -> Template {
        let state = State { stage: Stage::Absent, exists: false, is_over: false, waiting: VecDeque::new() };
        let (recipe, state, ended) = (Box::new(recipe), Mutex::new(state), Condvar::new());
        Template(Arc::new(Shared { recipe, grace, state, ended }))
    }

    /// Starts a child; `tell` hears what becomes of it, as with [`Start::start`].
    ///
    /// # Errors
    ///
    /// Nothing was started: this process has no reactor.
    pub(crate) fn start(
        &self,
        make: impl FnOnce(Way) -> Start + Send + 'static,
        tell: impl Fn(News) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let (reactor, shared) = (reactor()?, Arc::clone(&self.0));
        let wanted: (Make, Tell) = (Box::new(make), Box::new(tell));
        reactor.post(move || {
            shared.state.lock().waiting.push_back(wanted);
            shared.proceed(reactor);
        });
        Ok(())
    }

    /// Why children are not copies, if so.
    pub(crate) fn warning(&self) -> Option<String> {
        match &self.0.state.lock().stage {
            Stage::Threaded(names) => Some(format!(
                "the initializer has left threads behind ({}), which a copy of a process does not have: each worker was started \
                 afresh, and has run the initializer itself",
                names.join(", ")
            )),
            _ => None,
        }
    }

    /// Ends it, and makes none again.
    pub(crate) fn end(&self) {
        let mut state = self.0.state.lock();
        if std::mem::replace(&mut state.is_over, true) {
            return;
        }
        let child = match &state.stage {
            Stage::Starting(Starting { child: Some(child), .. }) => {
                child.tell_to_end();
                child
            }
            Stage::Ready(Ready { child, control, .. }) => {
                if child.is_stopped() || control.send(&Request::End, &[]).is_err() {
                    child.signal(ChildSignal::Kill);
                }
                child
            }
            // There is none; or it ends of itself; or it will be killed when it is heard of.
            _ => return,
        };
        let child = Arc::clone(child);
        drop(state);
        // With a process that has a child there is a reactor.
        let Ok(reactor) = reactor() else { return };
        let (pidfd, deadline) = (Arc::clone(child.pidfd()), Deadline::after(self.0.grace));
        reactor.watch(pidfd, Interest::Exit, deadline, move |event| {
            if event == Event::TimedOut {
                child.signal(ChildSignal::Kill);
            }
        });
    }

    /// Waits until it has ended, which it was told to. Returns whether that came true before the deadline.
    pub(crate) fn wait(&self, deadline: Deadline) -> bool {
        let mut state = self.0.state.lock();
        while state.exists {
            if deadline.passed() {
                return false;
            }
            // Without a deadline this cannot last: it is killed when its grace is over.
            deadline.wait(&self.0.ended, &mut state);
        }
        true
    }
}

/// What is to be done next.
enum Step {
    /// Make a template.
    Launch,
    /// Ask this template for a copy.
    Ask(Control, Make, Tell),
    /// Start a child without it.
    Execute(Make, Tell),
    /// Nobody wants this child any more.
    Refuse(Tell),
}

impl State {
    /// Hears of the template that is being started.
    fn hear(&mut self, news: News) {
        let Stage::Starting(starting) = &mut self.stage else { return };
        match news {
            News::Started(child) => {
                if self.is_over {
                    child.signal(ChildSignal::Kill);
                }
                starting.child = Some(child);
            }
            News::Replied(Reply::Ready) => {
                let Some(child) = starting.child.take() else { return };
                let (control, asked) = (starting.control.clone(), VecDeque::new());
                self.stage = Stage::Ready(Ready { child, control, asked });
            }
            News::Replied(Reply::Threads(names)) => self.stage = Stage::Threaded(names),
            News::Replied(Reply::Initializer(error)) => starting.complain(Error::initializer(error)),
            News::Replied(Reply::Refused(cause)) => {
                starting.complain(Error::start(format!("the template of the processes could not start: {cause}")));
            }
            News::Silent => {
                let text = "the template of the processes did not become ready in time and was killed";
                starting.complain(Error::start(text));
            }
            // Whoever heads all that is told takes these.
            News::Impossible(_) | News::Exited(..) => {}
        }
    }

    fn next_step(&mut self) -> Option<Step> {
        if self.waiting.is_empty() {
            return None;
        }
        match &self.stage {
            Stage::Absent if !self.is_over => return Some(Step::Launch),
            Stage::Starting(_) => return None,
            Stage::Ready(ready) if ready.asked.len() >= MOST_ASKED => return None,
            _ => {}
        }
        let (make, tell) = self.waiting.pop_front()?;
        Some(match &self.stage {
            _ if self.is_over => Step::Refuse(tell),
            Stage::Ready(ready) => Step::Ask(ready.control.clone(), make, tell),
            _ => Step::Execute(make, tell),
        })
    }
}

/// On the reactor's thread. Nobody is told anything while the state is locked: who is told may have locks of its own.
impl Shared {
    /// Does what can be done now for those who wait.
    fn proceed(self: &Arc<Self>, reactor: &'static Reactor) {
        loop {
            // Not in the condition of a loop, which would keep the state locked.
            let step = self.state.lock().next_step();
            match step {
                None => return,
                Some(Step::Launch) => self.launch(reactor),
                Some(Step::Ask(control, make, tell)) => self.ask(reactor, &control, make, tell),
                Some(Step::Execute(make, tell)) => make(Way::Executed).start_here(reactor, tell),
                Some(Step::Refuse(tell)) => tell(News::Impossible(Error::start("no more processes are wanted"))),
            }
        }
    }

    /// Makes a template.
    fn launch(self: &Arc<Self>, reactor: &'static Reactor) {
        let Recipe { start, last_words } = match (self.recipe)() {
            Ok(recipe) => recipe,
            Err(error) => return self.fail_all(&error),
        };
        let control = start.control.clone();
        let mut state = self.state.lock();
        state.stage = Stage::Starting(Starting { child: None, control, complaint: None, last_words });
        state.exists = true;
        drop(state);
        let shared = Arc::clone(self);
        start.start_here(reactor, Box::new(move |news| shared.hear(reactor, news)));
    }

    /// Tells all who wait that there will be no child.
    fn fail_all(&self, error: &Error) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        waiting.into_iter().for_each(|(_, tell)| tell(News::Impossible(error.clone())));
    }

    /// Hears of the template.
    fn hear(self: &Arc<Self>, reactor: &'static Reactor, news: News) {
        match news {
            News::Impossible(error) => {
                self.state.lock().stage = Stage::Absent;
                self.fail_all(&error);
                self.has_ended();
            }
            News::Exited(death, held) => {
                self.bury(reactor, &death);
                drop(held);
                self.has_ended();
            }
            news => self.state.lock().hear(news),
        }
        self.proceed(reactor);
    }

    fn has_ended(&self) {
        self.state.lock().exists = false;
        self.ended.notify_all();
    }

    /// The template has ended: takes the copies that it has still made, and tells those who wait that there will be no others.
    fn bury(&self, reactor: &'static Reactor, death: &Death) {
        self.take_answers(reactor);
        let mut state = self.state.lock();
        if let Stage::Threaded(_) = state.stage {
            // Nobody has waited for it.
            return;
        }
        let stage = std::mem::replace(&mut state.stage, Stage::Absent);
        drop(state);
        let exit = death.exit;
        let report = |child: Option<&Child>, when: &str| {
            let pid = child.map_or(0, Child::pid);
            Error::died(format!("process {pid}, the template of the others, {exit}{when}"), death.clone())
        };
        let (error, asked) = match stage {
            Stage::Starting(Starting { complaint: Some(error), .. }) => (error, VecDeque::new()),
            Stage::Starting(Starting { child, last_words, .. }) => {
                let said = last_words().and_then(|text| Some(format!(": {}", text.lines().last()?)));
                let when = format!(" before it was ready{}", said.unwrap_or_default());
                (report(child.as_deref(), &when), VecDeque::new())
            }
            Stage::Ready(ready) => (report(Some(&ready.child), ""), ready.asked),
            Stage::Absent | Stage::Threaded(_) => return,
        };
        if !asked.is_empty() {
            lost(reactor, LOOKS);
        }
        asked.into_iter().for_each(|asked| asked.prepared.fail(error.clone()));
        self.fail_all(&error);
    }

    /// Asks the template for a copy.
    fn ask(self: &Arc<Self>, reactor: &'static Reactor, control: &Control, make: Make, tell: Tell) {
        let Some((prepared, socket, options)) = make(Way::Copied).prepare(Way::Copied, tell) else { return };
        let output = options.output.iter().flat_map(|output| [&output.stdout, &output.stderr]);
        let fds: Vec<&OwnedFd> = std::iter::once(&socket).chain(output).collect();
        let nonce = prepared.nonce();
        if let Err(error) = control.send(&Request::Copy { nonce }, &fds) {
            // As a rule it has died, which is heard of soon.
            self.kill();
            return prepared.fail(Error::start(format!("the template of the processes could not be asked: {error}")));
        }
        // While the template is at it.
        let kills = out_of_memory::before();
        let mut state = self.state.lock();
        let Stage::Ready(ready) = &mut state.stage else {
            drop(state);
            return prepared.fail(Error::start("the template of the processes has ended"));
        };
        ready.asked.push_back(Asked { nonce, prepared, kills });
        if ready.asked.len() == 1 {
            drop(state);
            self.listen(reactor, control);
        }
    }

    fn kill(&self) {
        if let Stage::Ready(ready) = &self.state.lock().stage {
            ready.child.signal(ChildSignal::Kill);
        }
    }

    /// Waits for the next answer of the template.
    fn listen(self: &Arc<Self>, reactor: &'static Reactor, control: &Control) {
        let (shared, control) = (Arc::clone(self), control.clone());
        let socket = Arc::clone(control.socket());
        reactor.watch(socket, Interest::Readable, Deadline::after(READY_WITHIN), move |event| {
            if event == Event::TimedOut {
                // It was stopped, or the machine is overloaded beyond use.
                return shared.kill();
            }
            shared.take_answers(reactor);
            let waits = match &shared.state.lock().stage {
                // That of a later template is another one.
                Stage::Ready(ready) => Arc::ptr_eq(ready.control.socket(), control.socket()) && !ready.asked.is_empty(),
                _ => false,
            };
            if waits {
                shared.listen(reactor, &control);
            }
            shared.proceed(reactor);
        });
    }

    /// Takes the answers that are there.
    fn take_answers(&self, reactor: &'static Reactor) {
        loop {
            let mut state = self.state.lock();
            let Stage::Ready(ready) = &mut state.stage else { return };
            if ready.asked.is_empty() {
                return;
            }
            let answer = match ready.control.receive::<Answer>(false) {
                Ok(Some(answer)) => answer,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has ended, which is heard of by another way. Or it says nonsense, or this process has no descriptor left
                // for what it says.
                Ok(None) | Err(_) => {
                    ready.child.signal(ChildSignal::Kill);
                    return;
                }
            };
            let (of, pidfd, cause) = match answer {
                (Answer::Made { nonce }, fds) => (nonce, fds.into_iter().next(), None),
                (Answer::Failed { nonce, cause }, _) => (nonce, None, Some(cause)),
            };
            // They come in the order in which they were asked for.
            let is_next = ready.asked.front().is_some_and(|asked| asked.nonce == of);
            let Some(Asked { prepared, kills, .. }) = is_next.then(|| ready.asked.pop_front()).flatten() else {
                ready.child.signal(ChildSignal::Kill);
                return;
            };
            drop(state);
            let child = match (pidfd, cause) {
                (Some(pidfd), _) => {
                    prepared.adopt(pidfd, kills).map_err(|error| format!("its template has sent no child: {error}"))
                }
                (None, Some(cause)) => Err(cause),
                (None, None) => Err("its template has sent nothing".to_owned()),
            };
            match child {
                Ok(child) => prepared.greet().follow(reactor, child),
                Err(cause) => {
                    prepared.fail(Error::start(format!("a process could not be started: {cause}")));
                    lost(reactor, LOOKS);
                }
            }
        }
    }
}

/// How often, and how many times, somebody looks for a copy that nobody has been told of.
const LOOK_EACH: Duration = Duration::from_millis(20);
const LOOKS: u32 = 50;

/// A template may have made a copy and have died before it could say so. That copy ends as soon as it finds that nobody has its
/// control socket; and since it is a child of this process, it is this one that must wait for it.
fn lost(reactor: &'static Reactor, looks: u32) {
    child::reap_unknown();
    if looks > 0 {
        reactor.after(LOOK_EACH, move || lost(reactor, looks - 1));
    }
}
