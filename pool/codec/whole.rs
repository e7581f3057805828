//! Values that are all there is, in bytes or in a part of a memory file.

use super::{CodecError, PREFIX, Reader, Result, decode, is_same, same};
use crate::sys::file_part::FilePart;
use serde::de::DeserializeOwned;
use std::io;

/// Reads a value that is all there is in a part of a memory file; `None` where the system does not allow that.
pub(crate) fn decode_file<T: DeserializeOwned + 'static>(part: FilePart<'_>) -> Option<Result<T>> {
    let copied = |error: &io::Error| match error.kind() {
        io::ErrorKind::OutOfMemory => Some(CodecError::no_memory(usize::try_from(part.len()).unwrap_or(usize::MAX))),
        _ => None,
    };
    let prefix: [u8; PREFIX] = part.up_to(PREFIX)?.to_vec().ok()?.try_into().ok()?;
    let body = part.behind(PREFIX)?;
    if cfg!(target_endian = "little") && u64::from_le_bytes(prefix) == body.len() {
        for_each_number!(N => {
            if is_same::<T, Vec<N>>() && body.len() % size_of::<N>() as u64 == 0 {
                return match body.to_vec::<N>() {
                    Ok(numbers) => Some(same(numbers)),
                    Err(error) => copied(&error).map(Err),
                };
            }
        });
    }
    match part.to_vec::<u8>() {
        Ok(bytes) => Some(decode_whole(&mut Reader::new(&bytes))),
        Err(error) => copied(&error).map(Err),
    }
}

/// Reads a value that is all there is.
#[inline]
pub(crate) fn decode_whole<T: DeserializeOwned + 'static>(reader: &mut Reader<'_>) -> Result<T> {
    whole(reader, decode)
}

/// What `decode` reads must be all there is.
#[inline]
pub(crate) fn whole<R>(reader: &mut Reader<'_>, decode: impl FnOnce(&mut Reader<'_>) -> Result<R>) -> Result<R> {
    let value = decode(reader)?;
    if reader.is_empty() { Ok(value) } else { Err(CodecError("it is a value of another type".to_owned())) }
}
