//! A relay between agents and a pool that does what networks do: it delays, slows, falls silent, cuts, resets, and changes bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToPool = 0,
    ToAgent = 1,
}

/// What the relay does at present, for all connections.
#[derive(Debug, Default)]
struct Weather {
    /// Nothing goes through in that direction; what waits goes on when it is over, as TCP would have it.
    is_silent: [AtomicBool; 2],
    /// Microseconds that each piece takes.
    delay: AtomicU64,
    /// Bytes a second; 0 = no limit.
    rate: AtomicU64,
    /// How many bytes go through in that direction until one is changed.
    corrupt: [Countdown; 2],
    /// How many bytes go through in that direction until the connection ends that brings the next one.
    cut: [Countdown; 2],
    /// Connections that are cut are reset.
    resets: AtomicBool,
}

/// Counts bytes down to one at which something happens. It is set while they go through, so it counts from when it is set.
#[derive(Debug, Default)]
struct Countdown {
    /// Bytes before that one, plus one; 0 = there is none.
    left: AtomicU64,
}

impl Countdown {
    fn set(&self, bytes: u64) {
        self.left.store(bytes + 1, Relaxed);
    }

    /// So many bytes go through. Returns which of them is the one, once.
    fn pass(&self, len: usize) -> Option<usize> {
        let before = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(len as u64))).unwrap();
        (1..=len as u64).contains(&before).then(|| before as usize - 1)
    }
}

/// The relay. Its threads end with the connections.
pub(crate) struct Relay {
    pub(crate) port: u16,
    weather: Arc<Weather>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// A relay to this port of this machine.
    pub(crate) fn to(port: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay =
            Relay { port: listener.local_addr().unwrap().port(), weather: Arc::default(), open: Arc::default() };
        let (weather, open) = (Arc::clone(&relay.weather), Arc::clone(&relay.open));
        std::thread::spawn(move || {
            for agent in listener.incoming() {
                // The pool may be gone already.
                let (Ok(agent), Ok(pool)) = (agent, TcpStream::connect(("127.0.0.1", port))) else { continue };
                for socket in [&agent, &pool] {
                    socket.set_nodelay(true).unwrap();
                    open.lock().unwrap().push(socket.try_clone().unwrap());
                }
                let [back_agent, back_pool] = [&agent, &pool].map(|socket| socket.try_clone().unwrap());
                let (there, back) = (Arc::clone(&weather), Arc::clone(&weather));
                std::thread::spawn(move || carry(agent, pool, Way::ToPool, &there));
                std::thread::spawn(move || carry(back_pool, back_agent, Way::ToAgent, &back));
            }
        });
        relay
    }

    /// The command, for an agent that comes through the relay.
    pub(crate) fn command(command: &str) -> (Relay, String) {
        let port = super::agents::port_of(command);
        let relay = Relay::to(port);
        let through = command.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", relay.port));
        (relay, through)
    }

    pub(crate) fn silence(&self, way: Way, is_silent: bool) {
        self.weather.is_silent[way as usize].store(is_silent, Relaxed);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.delay.store(delay.as_micros() as u64, Relaxed);
    }

    /// Bytes a second.
    pub(crate) fn slow(&self, rate: u64) {
        self.weather.rate.store(rate, Relaxed);
    }

    /// Changes the byte that comes so many bytes from now.
    pub(crate) fn corrupt_in(&self, way: Way, bytes: u64) {
        self.weather.corrupt[way as usize].set(bytes);
    }

    /// Ends connections when so many bytes more have gone through.
    pub(crate) fn cut_in(&self, way: Way, bytes: u64, resets: bool) {
        self.weather.resets.store(resets, Relaxed);
        self.weather.cut[way as usize].set(bytes);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for socket in self.open.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        [Way::ToPool, Way::ToAgent].into_iter().for_each(|way| self.silence(way, false));
    }
}

/// Carries what one says to the other.
fn carry(mut from: TcpStream, mut to: TcpStream, way: Way, weather: &Weather) {
    let way = way as usize;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let rate = weather.rate.load(Relaxed);
        let most = if rate == 0 { buffer.len() } else { (rate / 100).clamp(1, buffer.len() as u64) as usize };
        let Ok(len @ 1..) = from.read(&mut buffer[..most]) else { break };
        let bytes = &mut buffer[..len];
        while weather.is_silent[way].load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let delay = Duration::from_micros(weather.delay.load(Relaxed));
        let slow = (len as u64 * 1_000_000).checked_div(rate).map_or(Duration::ZERO, Duration::from_micros);
        if delay.max(slow) > Duration::ZERO {
            std::thread::sleep(delay.max(slow));
        }
        if let Some(at) = weather.corrupt[way].pass(len) {
            bytes[at] ^= 4;
        }
        let cut = weather.cut[way].pass(len);
        if to.write_all(&bytes[..cut.unwrap_or(len)]).is_err() {
            break;
        }
        if cut.is_some() {
            if weather.resets.load(Relaxed) {
                // Takes the connection apart at once, which resets it. `tcp(7)`
                [&from, &to].into_iter().for_each(|socket| _ = rustix::net::connect_unspec(socket));
            }
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
