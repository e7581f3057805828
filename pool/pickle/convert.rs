//! What a [`PyValue`] is made of, and what is made of it.

use super::value::PyValue;
use super::{de, read, ser, write};
use crate::error::ConnectionError;
use serde::{Serialize, de::DeserializeOwned};

impl PyValue {
    /// Returns the value of Python that a value of Rust becomes.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_encode`]: its `Serialize` implementation refuses.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<PyValue, ConnectionError> {
        value.serialize(ser::Serializer).map_err(|failure| ConnectionError::encode(failure.to_string()))
    }

    /// Returns the value of Rust that this value of Python becomes.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_decode`]: it is none of that type.
    pub fn extract<T: DeserializeOwned>(self) -> Result<T, ConnectionError> {
        T::deserialize(de::Deserializer(self)).map_err(|failure| ConnectionError::decode(failure.to_string()))
    }

    /// Reads what Python's `pickle.dumps` has written, with any of its protocols.
    ///
    /// Nothing is called, whatever the bytes say. Reading takes at most 256 times as much memory as the bytes, and 32 MiB: a
    /// byte can be a whole value, and a pickle can hold one object more than once.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_decode`]: it is no pickle, or of something that is no plain value: the error names its class or
    /// function.
    pub fn from_pickle(bytes: &[u8]) -> Result<PyValue, ConnectionError> {
        let value = read::read(bytes).and_then(|tree| tree.value(tree.root()));
        value.map_err(|failure| ConnectionError::decode(failure.to_string()))
    }

    /// Writes it for Python's `pickle.loads`.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::is_encode`]: it is nested deeper than 200 levels.
    pub fn to_pickle(&self) -> Result<Vec<u8>, ConnectionError> {
        let mut writer = write::Writer::new();
        match writer.value(self) {
            Ok(()) => Ok(writer.finish()),
            Err(failure) => Err(ConnectionError::encode(failure.to_string())),
        }
    }
}
