//! A result as an argument of a later call.

use super::{AsyncResult, Shared};
use crate::codec::{self, CodecError, Payload};
use crate::engine::call::job::{Delivery, Job};
use crate::error::{Error, Result, TaskError};
use crate::ipc::link::Payload as Bytes;
use std::mem;
use std::sync::Arc;

/// Appends an argument to those before it.
pub(in crate::api) type Argument = Box<dyn Fn(&mut Vec<u8>) -> Result<(), CodecError>>;

impl<T: Payload + Send> AsyncResult<T> {
    /// The call whose result this is.
    ///
    /// # Errors
    ///
    /// The result was taken already.
    pub(in crate::api) fn awaited(&self) -> Result<&Arc<Job>> {
        match self.shared.state.lock().taken {
            true => Err(Error::invalid_argument("the result of a call was taken already, and cannot be an argument")),
            false => Ok(&self.shared.job),
        }
    }

    /// Makes an argument of the result of a call that has ended.
    ///
    /// # Errors
    ///
    /// The call has failed.
    pub(in crate::api) fn into_argument(self) -> Result<Argument, TaskError> {
        if let Some(bytes) = self.shared.take_bytes() {
            return Ok(Box::new(move |out| {
                out.extend_from_slice(&bytes);
                Ok(())
            }));
        }
        let value = self.get()?;
        Ok(Box::new(move |out| codec::encode(&value, out)))
    }
}

impl<T: Payload + Send> Shared<T> {
    /// Takes the bytes of the value as they have come, if it is that of a single task, refers to nothing, and was not read yet.
    /// A worker has written them: they are those of one `T`, or they are left to who reads them.
    fn take_bytes(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        // Its callbacks get it first.
        if state.taken || state.by_callback || !state.gather.as_ref().is_some_and(|gather| gather.is_of_one_task()) {
            return None;
        }
        let mut deliveries = self.job.take_deliveries();
        let is_whole = |payload: &Bytes| {
            payload.read(&mut Vec::new(), |reader| codec::skip::<T>(reader).is_ok() && reader.is_empty())
        };
        let bytes = match &mut deliveries[..] {
            [Delivery::Values { count: 1, payload, pins, .. }] if pins.is_empty() && is_whole(payload) => match payload
            {
                Bytes::Own(bytes) => Some(mem::take(bytes)),
                elsewhere => elsewhere.to_vec().ok(),
            },
            _ => None,
        };
        match bytes {
            Some(_) => state.taken = true,
            None => deliveries.drain(..).for_each(|delivery| self.job.deliver(delivery)),
        }
        bytes
    }
}
