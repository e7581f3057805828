//! Nodes that the environment names.

use crate::error::Error;
use crate::nodes::secret::FILE_VARIABLE;
use crate::nodes::starters::command::Command;
use crate::nodes::starters::listen::Listen;
use crate::nodes::starters::ssh::Ssh;
use crate::nodes::starters::starter::Nodes;

/// Returns the nodes that the environment variable `MULTIPROC_CLUSTER` names; this machine if it is not set or empty.
///
/// | value | nodes |
/// |---|---|
/// | `local` or `local:N` | `N` agents on this machine, 1 if not given |
/// | `ssh:HOST,HOST` | those that [`Ssh`] makes of the hosts |
/// | `command:TEXT` | the one that [`Command`] makes of the text |
/// | `listen:ADDRESS` or `listen:ADDRESS,N` | up to `N` agents that come to this address, as to [`Listen`]; 1 if not given |
///
/// What agents are started by that come of themselves says [`Nodes::command`]. The secret is in the file that
/// `MULTIPROC_SECRET_FILE` names, or in `MULTIPROC_SECRET`.
///
/// ```
/// use multiproc::{Pool, cluster};
///
/// let pool = Pool::builder().on(cluster::from_env()?).processes(2).build()?;
/// assert_eq!(pool.map(|x: u64| x + 1, 0..3)?, [1, 2, 3]);
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::is_invalid_argument`]: the variable has another value.
pub fn from_env() -> Result<Nodes, Error> {
    let value = std::env::var_os("MULTIPROC_CLUSTER").unwrap_or_default();
    let nodes = value.to_str().and_then(named);
    let forms = "`local:2`, `ssh:HOST,HOST`, `command:TEXT`, or `listen:ADDRESS:PORT,8`";
    nodes.ok_or_else(|| {
        Error::invalid_argument(format!("MULTIPROC_CLUSTER is {value:?}, which names no nodes: set it to {forms}"))
    })
}

/// The nodes that such a text names, if it does.
fn named(text: &str) -> Option<Nodes> {
    Some(match text.split_once(':').unwrap_or((text, "")) {
        ("", "") => Nodes(None),
        ("local", "") => Command::new("{agent}").into(),
        ("local", count) => Command::new("{agent}").nodes(count.parse().ok()?).into(),
        ("ssh", hosts) if !hosts.is_empty() => Ssh::hosts(hosts.split(',').map(str::trim)).into(),
        ("command", text) if !text.is_empty() => Command::new(text).into(),
        ("listen", text) if !text.is_empty() => {
            let (address, nodes) = text.rsplit_once(',').unwrap_or((text, "1"));
            let listen = Listen::at(address).nodes(nodes.parse().ok()?);
            match std::env::var_os(FILE_VARIABLE) {
                Some(path) => listen.secret_file(path),
                None => listen,
            }
            .into()
        }
        _ => return None,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn texts_name_nodes() {
        let starter = |text| named(text).unwrap().0;
        assert!(starter("").is_none());
        assert_eq!(starter("local").unwrap().nodes(), 1);
        assert_eq!(starter("local:3").unwrap().nodes(), 3);
        assert_eq!(starter("command:srun {agent}").unwrap().nodes(), 1);
        let ssh = starter("ssh:node1, me@node2:2222").unwrap();
        assert_eq!((ssh.host(0), ssh.host(1), ssh.host(2)), (Some("node1"), Some("me@node2:2222"), None));
        assert_eq!(starter("listen:10.0.0.1:7777").unwrap().nodes(), 1);
        assert_eq!(starter("listen:[::1]:7777,8").unwrap().nodes(), 8);
        for wrong in ["ssh", "ssh:", "local:x", "command:", "listen:", "listen:a:1,x", "nodes", ":x"] {
            assert!(named(wrong).is_none(), "{wrong}");
        }
    }
}
