//! Values in which there are ends of ipc-channel, or may be.

use super::{CodecError, Result, decode_body};
use crate::attached_fds::{self, Packing};
use crate::heap::scope;
use serde::de::DeserializeOwned;

/// What is to be done before such a value is written.
#[cold]
pub(super) fn before(packing: Packing) -> Result<()> {
    match packing {
        Packing::Nothing => Ok(()),
        Packing::Pack => scope::within(scope::carry).map_err(CodecError),
        Packing::Look => {
            // What others have left there.
            attached_fds::strays();
            Ok(())
        }
    }
}

/// Runs after a value was serialised: collects its ipc-channel descriptors, and returns whether there were any. `carries`: the
/// value contained an `Ipc`.
#[cold]
pub(super) fn behind(packing: Packing, carries: bool, written: Result<()>) -> Result<bool> {
    if !carries && packing != Packing::Pack {
        written?;
        if attached_fds::strays() {
            attached_fds::suspect();
            return Err(CodecError("an end of ipc-channel in it is not in a `multiproc::Ipc`".to_owned()));
        }
        return Ok(false);
    }
    // Also if it was not written to its end: what was serialised so far must not stay in ipc-channel's list.
    let packed = attached_fds::pack();
    written?;
    let attached = packed.map_err(CodecError)?;
    let any = attached.is_some();
    if let Some(attached) = attached {
        scope::pin_attached(attached);
    }
    Ok(any)
}

/// Reads a body that has attached descriptors.
#[cold]
pub(super) fn decode<T: DeserializeOwned + 'static>(bytes: Vec<u8>) -> Result<T> {
    let attached = scope::next_attached();
    let attached = attached.ok_or_else(|| CodecError("its ends of ipc-channel did not come with it".to_owned()))?;
    attached.unpack(move || decode_body(&bytes)).map_err(CodecError)?
}
