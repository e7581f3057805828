//! Nodes that the environment names.

use crate::error::Error;
use crate::nodes::starters::command::Command;
use crate::nodes::starters::starter::Nodes;

/// Returns the nodes that the environment variable `MULTIPROC_CLUSTER` names; this machine if it is not set or empty.
///
/// | value | nodes |
/// |---|---|
/// | `local` or `local:N` | `N` agents on this machine, 1 if not given |
/// | `command:TEXT` | the one that [`Command`] makes of the text |
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
    let wrong = || Error::invalid_argument(format!("MULTIPROC_CLUSTER is {value:?}, which names no nodes"));
    let text = value.to_str().ok_or_else(wrong)?;
    match text.split_once(':').unwrap_or((text, "")) {
        ("", "") => Ok(Nodes(None)),
        ("local", "") => Ok(Command::new("{agent}").into()),
        ("local", count) => Ok(Command::new("{agent}").nodes(count.parse().map_err(|_| wrong())?).into()),
        ("command", text) if !text.is_empty() => Ok(Command::new(text).into()),
        _ => Err(wrong()),
    }
}
