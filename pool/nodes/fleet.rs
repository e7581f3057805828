//! All agents of a pool: they are asked for, greeted, listened to, given up and asked for again. To the pool it is a launcher.
//!
//! One thread, the keeper, does all of that, sends the beats, and reads the streams as long as nobody drives the pool.

use crate::codec;
use crate::engine::callbacks::{self, Callback};
use crate::engine::launch::launcher::{Launched, Launcher, News, Tell};
use crate::engine::launch::spawn::Environment;
use crate::engine::watch::output::Handler;
use crate::engine::watch::records;
use crate::error::Error;
use crate::ipc::bell::Doze;
use crate::ipc::link::LinkKind;
use crate::nodes::address::Address;
use crate::nodes::agent;
use crate::nodes::door::{Door, Guest};
use crate::nodes::event::{NodeEvent, NodeEventKind, OnNode};
use crate::nodes::greeting::{self, Greeted, Greeter};
use crate::nodes::lines::Lines;
use crate::nodes::messages::{Greeting, Start};
use crate::nodes::node::Node;
use crate::nodes::node_link::NodeLink;
use crate::nodes::post::{Asked, Crew, Post, State};
use crate::nodes::starters::starter::{LOOK_EACH, Starter};
use crate::nodes::stream::Stream;
use crate::nodes::tended::{Driven, Tended};
use crate::nodes::wire::{Inbox, Kind};
use crate::process::enlist::Call;
use crate::sys::poll::{self, Interest, Waker};
use crate::sys::stream;
use crate::sys::thread;
use crate::sys::time::Deadline;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// So much of a fleet's end its agents may take.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What a fleet is told.
pub(crate) struct Orders {
    pub(crate) starter: Box<dyn Starter>,
    /// The [`Setup`](crate::nodes::messages::Setup) of each agent.
    pub(crate) setup: Vec<u8>,
    pub(crate) link: LinkKind,
    pub(crate) name: String,
    pub(crate) env: Environment,
    /// So many workers are enough for `build`, if they are there within so long.
    pub(crate) at_least: usize,
    pub(crate) within: Duration,
    pub(crate) lost_after: Duration,
    pub(crate) on_node: Option<OnNode>,
    pub(crate) output: Option<Handler>,
}

/// Makes workers on other machines.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

/// What the keeper and the pool share.
pub(crate) struct Shared {
    orders: Orders,
    /// Where agents come in, if not by the standard streams of what has started them.
    door: Option<Door>,
    crew: Mutex<Crew>,
    /// The crew has changed.
    changed: Condvar,
    /// Wakes the keeper.
    keeper: Arc<Waker>,
    /// Wakes a driver that sleeps on the streams.
    driver: Waker,
    driven: Arc<Driven>,
    lines: Lines,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("starter", &self.orders.starter).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Asks for the agents.
    ///
    /// # Errors
    ///
    /// There is no descriptor or thread left.
    pub(crate) fn start(orders: Orders) -> Result<Fleet, Error> {
        if orders.on_node.is_some() || orders.output.is_some() || records::wanted().is_some() {
            callbacks::start()?;
        }
        let keeper = Arc::new(Waker::new()?);
        let doorway = orders.starter.doorway()?;
        let door = doorway.map(|doorway| Door::start(doorway, Arc::clone(&keeper))).transpose()?;
        let post = |at| Post::new(orders.starter.host(at).unwrap_or_default());
        let posts = (0..orders.starter.nodes()).map(post).collect();
        let lines = Lines::new(orders.output.clone());
        let shared = Arc::new(Shared {
            orders,
            door,
            crew: Mutex::new(Crew { posts, ..Crew::default() }),
            changed: Condvar::new(),
            keeper,
            driver: Waker::new()?,
            driven: Arc::default(),
            lines,
        });
        let builder = std::thread::Builder::new().name("multiproc-nodes".to_owned());
        let keeper = Arc::clone(&shared);
        let keeper = Some(thread::spawn(builder, move || keeper.keep())?);
        Ok(Fleet { shared, keeper })
    }

    /// How a pool of these workers sleeps.
    pub(crate) fn doze(&self) -> Arc<dyn Doze> {
        Arc::clone(&self.shared) as Arc<dyn Doze>
    }

    /// Waits until it is known how many workers all agents take, and returns that.
    ///
    /// # Errors
    ///
    /// No agent has come to life in time.
    pub(crate) fn muster(&self) -> Result<usize, Error> {
        let starter = &self.shared.orders.starter;
        if let Some(workers) = starter.workers().filter(|_| !starter.starts()) {
            // Those that come by themselves may come at any time.
            return Ok(starter.nodes().saturating_mul(workers));
        }
        let until = Deadline::after(self.shared.orders.within);
        let mut crew = self.shared.crew.lock();
        while crew.posts.iter().any(Post::is_coming) && !until.passed() {
            until.wait(&self.shared.changed, &mut crew);
        }
        match crew.nodes().map(|node| node.capacity).sum() {
            0 => Err(crew.failure()),
            capacity => Ok(capacity),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.let_go();
        if let Some(keeper) = self.keeper.take().filter(|it| it.thread().id() != std::thread::current().id()) {
            // A panic there was reported, and there is nothing to be done about it here.
            let _ = keeper.join();
        }
    }
}

impl Launcher for Fleet {
    fn prepare(&self, workers: usize) -> Result<(), Error> {
        self.shared.orders.env.prepare(workers)
    }

    fn launch(&self, place: usize, tell: Tell) -> Result<Option<Launched>, Error> {
        let Orders { env, link, .. } = &self.shared.orders;
        let mut crew = self.shared.crew.lock();
        let variables = env.of(place).into_iter();
        let variables = variables.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        let start = codec::to_bytes(&Start { place, variables });
        // The one with the most room, so that the workers are spread.
        let node = crew.nodes().max_by_key(|node| node.room()).cloned();
        let tell = match node {
            None if crew.posts.iter().all(Post::is_abandoned) => return Err(crew.failure()),
            None => tell,
            Some(node) => match node.start(&start, tell) {
                Ok(process) => {
                    let link = NodeLink::new(process, *link);
                    return Ok(Some(Launched { link: Box::new(link), output: None }));
                }
                Err(tell) => tell,
            },
        };
        crew.waiting.insert(place, tell);
        Ok(None)
    }

    fn quorum(&self) -> Option<(usize, Deadline)> {
        Some((self.shared.orders.at_least, Deadline::after(self.shared.orders.within)))
    }

    /// Ends the agents: workers need theirs until they have ended, which they have.
    fn wait(&self, deadline: Deadline) -> bool {
        self.shared.let_go();
        let mut crew = self.shared.crew.lock();
        while !crew.has_ended && !deadline.passed() {
            deadline.wait(&self.shared.changed, &mut crew);
        }
        crew.has_ended
    }
}

impl Doze for Shared {
    fn sleep(&self, until: Deadline) {
        self.driven.is_asleep.store(true, Relaxed);
        let nodes: Vec<Arc<Node>> = self.crew.lock().nodes().cloned().collect();
        let mut sources = vec![(self.driver.as_fd(), Interest::Readable)];
        for node in &nodes {
            sources.push((node.socket.as_fd(), Interest::Readable));
            if node.has_unsent() {
                sources.push((node.socket.as_fd(), Interest::Writable));
            }
        }
        // If the system refuses, a moment has passed, and the driver looks for itself.
        let _ = poll::wait(&sources, until);
        // Here, and not only by their links: a node may have none, or one that nobody listens to.
        nodes.iter().for_each(|node| node.read());
        self.driver.clear();
        self.driven.note();
        self.driven.is_asleep.store(false, Relaxed);
    }

    fn wake(&self) {
        self.driver.wake();
    }
}

impl Shared {
    /// The agents are not needed any more.
    fn let_go(&self) {
        self.crew.lock().over = true;
        self.keeper.wake();
    }

    /// The keeper's life.
    fn keep(&self) {
        let mut next_beat = Instant::now();
        let every = self.orders.lost_after / 5;
        loop {
            let mut all = Tended::default();
            let mut is_full = false;
            let is_driven = self.driven.is_now();
            let nodes: Vec<Arc<Node>> = self.crew.lock().nodes().cloned().collect();
            for node in &nodes {
                let tended = if is_driven && node.has_workers() { node.take_news() } else { node.tend() };
                is_full |= tended.is_full;
                all.join(tended);
            }
            let now = Instant::now();
            if now >= next_beat {
                next_beat = now + every;
                nodes.iter().for_each(|node| node.beat());
                self.find_lost(&nodes);
            }
            let events = self.look_after_posts(&mut all);
            if !self.deliver(all, events) {
                return;
            }
            self.rest(is_full, next_beat);
        }
    }

    /// Gives up nodes that were silent for too long.
    fn find_lost(&self, nodes: &[Arc<Node>]) {
        let lost_after = self.orders.lost_after;
        for node in nodes.iter().filter(|node| node.silence() > lost_after / 2) {
            // What lies there unread was sent by somebody who lives.
            if poll::is_readable(node.socket.as_fd()) {
                node.note_life();
            } else if node.silence() > lost_after {
                node.lose(&format!("nothing was heard of it for {lost_after:?}"));
            }
        }
    }

    /// Asks for agents, greets those that come, and lets go of those that are no more: their last news come to `all`.
    fn look_after_posts(&self, all: &mut Tended) -> Vec<NodeEvent> {
        let mut events = Vec::new();
        let mut wanted = Vec::new();
        let mut crew = self.crew.lock();
        let over = crew.over;
        let is_deserted = crew.nodes().next().is_none();
        crew.deserted = is_deserted.then(|| crew.deserted.unwrap_or_else(Instant::now));
        let within = self.orders.within;
        let nobody_comes = crew.deserted.is_some_and(|since| since.elapsed() > within);
        for (at, post) in crew.posts.iter_mut().enumerate() {
            let has_hung_up = post.has_hung_up();
            match &mut post.state {
                State::Vacant(when) if *when <= Instant::now() && !over => {
                    post.state = State::Busy;
                    wanted.push(at);
                }
                State::Coming(greeter) => match greeter.look() {
                    Greeted::NotYet => {}
                    Greeted::Failed(cause) => post.end(NodeEventKind::Failed, cause),
                    Greeted::Here(greeting, inbox) => {
                        let socket = Arc::clone(greeter.socket());
                        let stream = Stream::new(Arc::clone(&socket), None);
                        events.push(self.employ(at, post, greeting, (socket, stream), inbox));
                    }
                },
                State::Expected(_) if has_hung_up => {
                    post.end(NodeEventKind::Failed, "it has ended before it said anything".to_owned());
                }
                State::Expected(until) if until.passed() => post.end(NodeEventKind::Failed, greeting::LATE.to_owned()),
                // Nobody knows whether one is on its way. Who calls is not to wait for ever.
                State::Open(since) if nobody_comes && since.elapsed() > within => {
                    self.door.iter().for_each(Door::turn_away);
                    post.end(NodeEventKind::Failed, format!("no agent has come within {within:?}"));
                }
                State::Held(node) => {
                    if node.begins_to_drain() {
                        events.push(NodeEvent::new(NodeEventKind::Draining, post.host.clone(), None));
                    }
                    if let Some((kind, cause)) = node.end() {
                        all.join(node.take_news());
                        post.end(kind, cause);
                    }
                }
                _ => {}
            }
            if let Some(event) = post.look_for_end(self.orders.starter.starts()) {
                self.door.iter().for_each(|door| door.forget(at));
                events.push(event);
            }
        }
        self.let_in(&mut crew, &mut events);
        drop(crew);
        wanted.into_iter().for_each(|at| self.see_to(at));
        if !events.is_empty() {
            self.changed.notify_all();
        }
        events
    }

    /// Takes an agent into the pool's service, at this place.
    fn employ(
        &self,
        at: usize,
        post: &mut Post,
        greeting: Greeting,
        stream: (Arc<OwnedFd>, Stream),
        inbox: Inbox,
    ) -> NodeEvent {
        let Orders { starter, setup, .. } = &self.orders;
        let capacity = starter.workers().unwrap_or(greeting.cpus).max(1);
        post.host = starter.host(at).map_or(greeting.host, str::to_owned);
        let (keeper, driven) = (Arc::clone(&self.keeper), Arc::clone(&self.driven));
        let node = Node::new(post.host.as_str().into(), capacity, stream, inbox, keeper, driven);
        node.say(Kind::Setup, setup);
        node.beat();
        post.hold(node)
    }

    /// Gives those that have come in by the door their places.
    fn let_in(&self, crew: &mut Crew, events: &mut Vec<NodeEvent>) {
        let Some(door) = &self.door else { return };
        let (guests, refused) = door.news();
        for Guest { post, greeting, socket, stream } in guests {
            let is_its = |(at, it): &(usize, &mut Post)| match (post, &it.state) {
                (Some(post), State::Expected(..)) => post == *at,
                (None, State::Open(_)) => true,
                _ => false,
            };
            // If nobody expects it any more its stream ends here, and it with that.
            let Some((at, post)) = crew.posts.iter_mut().enumerate().find(is_its) else { continue };
            events.push(self.employ(at, post, greeting, (socket, stream), greeting::inbox()));
        }
        let refused = refused.into_iter();
        events.extend(refused.map(|(name, cause)| NodeEvent::new(NodeEventKind::Failed, name, Some(cause))));
    }

    /// Asks for the agent of a place, without the lock, since that takes a while.
    fn see_to(&self, at: usize) {
        let asked = self.ask_for(at);
        let mut crew = self.crew.lock();
        let post = &mut crew.posts[at];
        match asked {
            Ok((state, started, lifeline)) => {
                if let (Some(started), true) = (&started, post.host.is_empty()) {
                    post.host = started.name.clone();
                }
                (post.state, post.started, post.lifeline) = (state, started, lifeline);
            }
            Err(error) => post.end(NodeEventKind::Failed, error.to_string()),
        }
    }

    /// Asks for the agent of a place.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    fn ask_for(&self, at: usize) -> Result<Asked, Error> {
        let starter = &self.orders.starter;
        let call = |address: &Address| Ok::<_, Error>(Call::new(agent::entry(), &address.to_string())?.to_string());
        let Some(door) = &self.door else {
            let (started, socket) = starter.start(at, &call(&Address::Stdio)?)?;
            let greeter = Greeter::new(socket, started.cargo.clone());
            return Ok((State::Coming(Box::new(greeter)), Some(started), None));
        };
        if !starter.starts() {
            door.welcome();
            return Ok((State::Open(Instant::now()), None, None));
        }
        let (address, line) = door.expect(at)?;
        let (started, lifeline) = starter.start(at, &call(&address)?)?;
        // So little fits into an empty socket. If nobody reads it any more, the lifeline tells.
        let _ = stream::send(lifeline.as_fd(), &[IoSlice::new(&line)]);
        Ok((State::Expected(Deadline::after(greeting::WITHIN)), Some(started), Some(Arc::new(lifeline))))
    }

    /// Tells what has happened, without any lock. Returns false once the fleet is over.
    fn deliver(&self, tended: Tended, events: Vec<NodeEvent>) -> bool {
        let Tended { news, lines, has_answers, .. } = tended;
        // Who left, and what has come or gone, may have made room; also for an error.
        let has_room = !events.is_empty() || news.iter().any(|(_, news)| matches!(news, News::Exited(..)));
        for (tell, news) in news {
            tell(news);
        }
        if has_answers {
            self.driver.wake();
        }
        for (host, line) in lines {
            self.lines.take(&self.orders.name, host, line);
        }
        if let Some(on_node) = &self.orders.on_node {
            callbacks::send(events.into_iter().map(|event| {
                let on_node = on_node.clone();
                Box::new(move || on_node.call(&event)) as Callback
            }));
        }
        let waiting = {
            let mut crew = self.crew.lock();
            if crew.over {
                self.door.iter().for_each(Door::close);
                let started = crew.end();
                drop(crew);
                let until = Deadline::after(END_WITHIN);
                started.into_iter().for_each(|mut started| started.wait(until));
                self.crew.lock().has_ended = true;
                self.changed.notify_all();
                return false;
            }
            if has_room { std::mem::take(&mut crew.waiting) } else { BTreeMap::new() }
        };
        waiting.into_values().for_each(|tell| tell(News::Room));
        true
    }

    /// Sleeps until there is something to do.
    fn rest(&self, is_full: bool, next_beat: Instant) {
        let mut until = Deadline::at(next_beat);
        let mut held: Vec<(Arc<OwnedFd>, bool)> = Vec::new();
        // Who drives hears the nodes; and what is full is emptied by somebody who is awake.
        let is_driven = self.driven.is_now();
        if is_driven || is_full {
            until = until.earlier(Deadline::after(Driven::RECENT));
        }
        for post in &self.crew.lock().posts {
            match &post.state {
                State::Vacant(when) => until = until.earlier(Deadline::at(*when)),
                State::Coming(greeter) => {
                    until = until.earlier(greeter.until());
                    held.push((Arc::clone(greeter.socket()), greeter.has_unsent()));
                }
                State::Ending(..) => until = until.earlier(Deadline::after(LOOK_EACH)),
                State::Held(node) if !(is_full || is_driven && node.has_workers()) => {
                    held.push((Arc::clone(&node.socket), node.has_unsent()))
                }
                State::Expected(deadline) => until = until.earlier(*deadline),
                State::Held(_) | State::Open(_) | State::Busy | State::Abandoned(_) => {}
            }
            held.extend(post.lifeline.iter().map(|lifeline| (Arc::clone(lifeline), false)));
        }
        let mut sources: Vec<(BorrowedFd<'_>, Interest)> = vec![(self.keeper.as_fd(), Interest::Readable)];
        for (socket, has_unsent) in &held {
            sources.push((socket.as_fd(), Interest::Readable));
            if *has_unsent {
                sources.push((socket.as_fd(), Interest::Writable));
            }
        }
        // If the system refuses, a moment has passed, and the next look is due.
        let _ = poll::wait(&sources, until);
        self.keeper.clear();
    }
}
