//! Machines that are reached by ssh: servers of OpenSSH on this machine, each with an address and a home folder of its own.
//!
//! They are ordinary processes of the user that runs the tests, with their own keys and configuration in a temporary folder.

use crate::common::proc::{children_of, descendants_of, eventually, kill, name_of, send_signal};
use multiproc::cluster::Ssh;
use rustix::process::Signal;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Where systems have the server, which must be called by its whole path.
const SERVERS: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/lib/ssh/sshd"];

/// Some hosts; they are gone when it is dropped.
pub(crate) struct Hosts {
    folder: PathBuf,
    hosts: Vec<Host>,
}

struct Host {
    server: Child,
    address: String,
    port: u16,
}

impl Hosts {
    /// Starts so many. `None`, and a word why, if this machine cannot.
    pub(crate) fn start(count: usize) -> Option<Hosts> {
        Hosts::with_caches(&vec![""; count])
    }

    /// Starts one for each of these: its cache folder is a file system of its own with such options, if there are any.
    pub(crate) fn with_caches(caches: &[&str]) -> Option<Hosts> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let skip = |why: &str| println!("skipped: {why}");
        let Some(sshd) = SERVERS.iter().find(|path| Path::new(path).exists()) else {
            skip("there is no sshd");
            return None;
        };
        if caches.iter().any(|it| !it.is_empty()) && !run("unshare", &["-m", "mount", "-t", "tmpfs", "none", "/mnt"]) {
            skip("no file system can be mounted here");
            return None;
        }
        let name = format!("sshd-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir(&folder).unwrap();
        if rustix::process::geteuid().is_root() {
            // The server wants it, and its own package makes it at each start of the system.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut hosts = Hosts { folder, hosts: Vec::new() };
        for key in ["host_key", "user_key", "other_key"] {
            let path = hosts.folder.join(key);
            assert!(run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]));
        }
        fs::copy(hosts.folder.join("user_key.pub"), hosts.folder.join("authorized_keys")).unwrap();
        for (at, cache) in caches.iter().enumerate() {
            let host = hosts.start_host(sshd, at, cache);
            hosts.hosts.push(host);
        }
        let key = fs::read_to_string(hosts.folder.join("host_key.pub")).unwrap();
        let known = hosts.hosts.iter().map(|host| format!("[{}]:{} {key}", host.address, host.port));
        fs::write(hosts.folder.join("known_hosts"), known.collect::<String>()).unwrap();
        Some(hosts)
    }

    fn start_host(&self, sshd: &str, at: usize, cache: &str) -> Host {
        let address = format!("127.0.0.{}", at + 1);
        let home = self.home(at);
        fs::create_dir_all(home.join(".cache")).unwrap();
        // The port may be somebody else's by the time that the server asks for it.
        for _ in 0..20 {
            let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
            let config = self.folder.join(format!("config{at}"));
            let [key, authorized] = ["host_key", "authorized_keys"].map(|name| self.folder.join(name));
            let text = format!(
                "ListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nSetEnv HOME={}\nPidFile none\nUsePAM no\n\
                 StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nMaxStartups 100\n",
                key.display(),
                authorized.display(),
                home.display()
            );
            fs::write(&config, text).unwrap();
            let mut command = match cache {
                "" => Command::new(sshd),
                options => {
                    let mount = format!("mount -t tmpfs -o {options} none {}/.cache && exec \"$@\"", home.display());
                    let mut command = Command::new("unshare");
                    command.args(["-m", "sh", "-c", &mount, "sh", sshd]);
                    command
                }
            };
            let log = self.folder.join(format!("log{at}"));
            command.args(["-D", "-e", "-f"]).arg(&config).stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap());
            let mut server = command.spawn().unwrap();
            // Not by a connection: another server may be there.
            let listens = || fs::read_to_string(&log).unwrap().contains("Server listening on");
            if eventually(Duration::from_secs(10), || listens() || server.try_wait().unwrap().is_some()) && listens() {
                return Host { server, address, port };
            }
            let _ = server.kill();
            server.wait().unwrap();
        }
        panic!("sshd does not start: {}", fs::read_to_string(self.folder.join(format!("log{at}"))).unwrap());
    }

    /// The name by which ssh reaches a host.
    pub(crate) fn name(&self, at: usize) -> String {
        format!("{}:{}", self.hosts[at].address, self.hosts[at].port)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.hosts.len()).map(|at| self.name(at)).collect()
    }

    /// The home folder that people have there.
    pub(crate) fn home(&self, at: usize) -> PathBuf {
        self.folder.join(format!("home{at}"))
    }

    /// The path of a key, or of the list of the hosts' keys.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// ssh to all of them, as somebody uses it whom they know.
    pub(crate) fn ssh(&self) -> Ssh {
        self.ssh_to(self.names())
    }

    /// The same to some names.
    pub(crate) fn ssh_to(&self, names: impl IntoIterator<Item = String>) -> Ssh {
        // Nothing of the user's own.
        Ssh::hosts(names)
            .ssh_option(format!("IdentityFile={}", self.file("user_key")))
            .ssh_option(format!("UserKnownHostsFile={}", self.file("known_hosts")))
            .ssh_option("GlobalKnownHostsFile=/dev/null")
            .ssh_option("IdentitiesOnly=yes")
            .ssh_option("IdentityAgent=none")
            .ssh_option("StrictHostKeyChecking=yes")
    }

    /// What runs on a host: sessions, agents and workers.
    pub(crate) fn processes(&self, at: usize) -> Vec<i32> {
        descendants_of(self.hosts[at].server.id() as i32)
    }

    /// Stops what passes on what the agents of a host say and hear, so that nothing is heard of them any more.
    pub(crate) fn silence(&self, at: usize) {
        let is_server = |pid: &i32| name_of(*pid).is_some_and(|name| name.starts_with("sshd"));
        for session in self.processes(at).into_iter().filter(is_server) {
            // It may end itself meanwhile.
            send_signal(session, Signal::STOP);
        }
    }

    /// Cuts a host off: the way there ends in the middle of whatever is said.
    pub(crate) fn cut(&self, at: usize) {
        let server = self.hosts[at].server.id() as i32;
        for session in children_of(server) {
            // It may end itself meanwhile.
            kill(session);
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for at in 0..self.hosts.len() {
            let left = self.processes(at);
            // First what would start others.
            let _ = self.hosts[at].server.kill();
            left.into_iter().for_each(|pid| _ = kill(pid));
            let _ = self.hosts[at].server.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
