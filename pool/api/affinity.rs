//! [`CpuAffinity`]: which CPUs workers are pinned to.

#[cfg(doc)]
use crate::api::builder::PoolBuilder;
use crate::error::{Error, Result};
use crate::sys::cpu::allowed_cpus;

/// Which CPUs workers are pinned to, see [`PoolBuilder::cpu_affinity`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuAffinity(Kind);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Free,
    All,
    These(Vec<usize>),
}

/// `true`: the CPUs that this process may use. `false`: workers are not pinned.
impl From<bool> for CpuAffinity {
    fn from(on: bool) -> CpuAffinity {
        CpuAffinity(if on { Kind::All } else { Kind::Free })
    }
}

/// These CPUs, by their numbers.
impl From<Vec<usize>> for CpuAffinity {
    fn from(cpus: Vec<usize>) -> CpuAffinity {
        CpuAffinity(Kind::These(cpus))
    }
}

/// These CPUs, by their numbers.
impl<const N: usize> From<[usize; N]> for CpuAffinity {
    fn from(cpus: [usize; N]) -> CpuAffinity {
        Vec::from(cpus).into()
    }
}

impl CpuAffinity {
    /// Whether these are CPUs by their numbers, which mean something on this machine alone.
    #[cfg(feature = "cluster")]
    pub(super) fn is_list(&self) -> bool {
        matches!(self.0, Kind::These(_))
    }

    /// Whether workers are pinned at all.
    #[cfg(feature = "cluster")]
    pub(super) fn is_on(&self) -> bool {
        self.0 != Kind::Free
    }

    /// The numbers of the CPUs.
    pub(super) fn cpus(self) -> Result<Vec<usize>> {
        let wanted = match self.0 {
            Kind::Free => return Ok(Vec::new()),
            Kind::All => return Ok(allowed_cpus()?),
            Kind::These(cpus) => cpus,
        };
        if wanted.is_empty() {
            return Err(Error::invalid_argument("there must be at least 1 CPU to pin workers to"));
        }
        let allowed = allowed_cpus()?;
        match wanted.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => Err(Error::invalid_argument(format!("this process may not use CPU {cpu}, only {allowed:?}"))),
            None => Ok(wanted),
        }
    }
}
