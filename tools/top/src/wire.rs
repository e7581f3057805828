//! The sockets of running programs, and what is asked there: `docs/view.md` of the library.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read: the snapshot of a pool of 65,536 workers has less.
const MOST: u64 = 64 << 20;

/// The only protocol that there is.
const PROTOCOL: u32 = 1;

/// What a program says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) protocol: u32,
    pub(crate) pid: i32,
    pub(crate) program: String,
    pub(crate) pools: Vec<PoolName>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PoolName {
    pub(crate) pool: u64,
    pub(crate) name: String,
}

/// What a pool is at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) state: String,
    pub(crate) target: u64,
    pub(crate) uptime: f64,
    pub(crate) tasks: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) restarts: u64,
    pub(crate) queued: u64,
    pub(crate) running: u64,
    pub(crate) run: Times,
    pub(crate) wait: Times,
    pub(crate) workers: Vec<Worker>,
    pub(crate) calls: Vec<Call>,
    pub(crate) warnings: Vec<Warning>,
}

/// How long something took, in seconds.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Times {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Worker {
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    pub(crate) host: Option<String>,
    pub(crate) tasks: u64,
    pub(crate) busy: f64,
    pub(crate) memory: Option<u64>,
    pub(crate) restarts: u64,
    pub(crate) at: Option<At>,
}

/// The task that a worker runs.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct At {
    pub(crate) function: String,
    pub(crate) task: u64,
    #[serde(rename = "for")]
    pub(crate) since: f64,
    pub(crate) done: Option<u64>,
    pub(crate) of: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) ended: bool,
    pub(crate) tasks: u64,
    pub(crate) waiting: u64,
    pub(crate) elapsed: f64,
    pub(crate) longest: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Warning {
    pub(crate) text: String,
}

/// What the threads of a worker are at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Stack {
    pub(crate) stack: String,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

/// A connection to a program.
#[derive(Debug)]
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn connect(path: &PathBuf) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Asks, and reads the answer as what it should be.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, request: &str) -> io::Result<T> {
        self.0.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        self.0.by_ref().take(MOST).read_line(&mut answer)?;
        if !answer.ends_with('\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the program has closed the connection"));
        }
        if let Ok(Refusal { error }) = serde_json::from_str(&answer) {
            return Err(io::Error::other(error));
        }
        serde_json::from_str(&answer).map_err(io::Error::from)
    }
}

/// The folder where the sockets are.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let own = std::fs::metadata("/proc/self")?.uid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let runtime = runtime.filter(|path| path.metadata().is_ok_and(|it| it.is_dir() && it.uid() == own));
    Ok(runtime.map_or_else(|| PathBuf::from(format!("/tmp/multiproc-{own}")), |path| path.join("multiproc")))
}

/// The programs that can be looked at, by their process ids.
pub(crate) fn programs() -> io::Result<Vec<(PathBuf, Program)>> {
    let folder = folder()?;
    let own = std::fs::metadata("/proc/self")?.uid();
    match folder.symlink_metadata() {
        // Nobody has opened any.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(found) if found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0 => {}
        Ok(_) => return Err(io::Error::other(format!("{} is not this user's alone", folder.display()))),
        Err(error) => return Err(error),
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Names of programs that were killed are left, and others may end meanwhile.
        let program = Client::connect(&path).and_then(|mut client| client.ask::<Program>("pools"));
        found.extend(program.ok().filter(|program| program.protocol == PROTOCOL).map(|program| (path, program)));
    }
    found.sort_by_key(|(_, program)| program.pid);
    Ok(found)
}
