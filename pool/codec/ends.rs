//! Values in which there are ends of ipc-channel, or may be.

use super::{CodecError, Result, decode_body};
use crate::heap::scope;
use crate::luggage::{self, Care};
use serde::de::DeserializeOwned;

/// What is to be done before such a value is written.
#[cold]
pub(super) fn before(care: Care) -> Result<()> {
    match care {
        Care::Nothing => Ok(()),
        Care::Pack => scope::within(scope::carry).map_err(CodecError),
        Care::Look => {
            // What others have left there.
            luggage::strays();
            Ok(())
        }
    }
}

/// What is to be done behind it; whether it has luggage. It `carries` ends that are in an `Ipc`.
#[cold]
pub(super) fn behind(care: Care, carries: bool, written: Result<()>) -> Result<bool> {
    if !carries && care != Care::Pack {
        written?;
        if luggage::strays() {
            luggage::suspect();
            return Err(CodecError("an end of ipc-channel in it is not in a `multiproc::Ipc`".to_owned()));
        }
        return Ok(false);
    }
    // Also if it was not written to its end: what was serialised so far must not stay in ipc-channel's list.
    let packed = luggage::pack();
    written?;
    let luggage = packed.map_err(CodecError)?;
    let any = luggage.is_some();
    if let Some(luggage) = luggage {
        scope::pin_luggage(luggage);
    }
    Ok(any)
}

/// Reads a body that has luggage.
#[cold]
pub(super) fn decode<T: DeserializeOwned + 'static>(bytes: Vec<u8>) -> Result<T> {
    let luggage = scope::next_luggage();
    let luggage = luggage.ok_or_else(|| CodecError("its ends of ipc-channel did not come with it".to_owned()))?;
    luggage.unpack(move || decode_body(&bytes)).map_err(CodecError)?
}
