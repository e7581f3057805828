//! How a [`RemoteManager`] makes objects.

use super::manager::{RemoteManager, decode, tuple};
use super::proxy::RemoteProxy;
use super::wire::{Created, Request};
use crate::error::RemoteCallError;
use crate::pickle::value::PyValue;
use crate::process::args::Args;
use serde::Serialize;

impl RemoteManager {
    /// Has the manager make an object of a type that is registered there, or give the one that the type stands for: Python's
    /// `manager.typeid(*args)`.
    ///
    /// # Errors
    ///
    /// [`RemoteCallError::traceback`]: it has no such type, or making the object failed. And as [`RemoteProxy::call`].
    ///
    /// # Timeouts
    ///
    /// After 60 s, see [`RemoteManagerBuilder::timeout`](crate::RemoteManagerBuilder::timeout).
    pub fn create<A: Args + Serialize>(&self, typeid: &str, args: A) -> Result<RemoteProxy, RemoteCallError> {
        self.create_with(typeid, args, [])
    }

    /// As [`RemoteManager::create`], with arguments by the names of their parameters as well.
    ///
    /// # Errors
    ///
    /// As [`RemoteManager::create`].
    pub fn create_with<A: Args + Serialize>(
        &self,
        typeid: &str,
        args: A,
        kwargs: impl IntoIterator<Item = (&'static str, PyValue)>,
    ) -> Result<RemoteProxy, RemoteCallError> {
        let mut all = vec![typeid.into()];
        all.extend(tuple(&args, typeid)?);
        let kwargs = kwargs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = Request { kwargs, ..Request::of_server("create", all) };
        let made = self.ask_server(request, typeid, self.timeout())?;
        let (ident, methods) = made.extract().map_err(|error| decode(error, typeid))?;
        Ok(RemoteProxy::new(self.clone(), typeid.to_owned(), Created { ident, methods }))
    }
}
