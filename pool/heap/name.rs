//! A name in the file system that goes when nobody of the tree holds it any more, however its holders end.
//!
//! The block says which name and which inode. Whoever releases the last reference to it (the last holder itself, or who
//! reclaims it) removes the name. What is written there is only ever a hint: a name that means something else by now stays.

use crate::error::Error;
use crate::heap::block::Block;
use crate::heap::guardian;
use crate::heap::kind::Kind;
use crate::heap::record::{DEVICE, LEN, NAME, inode};
use crate::sys::atomic::Ordering;
use crate::sys::shm::{LONGEST_NAME, ShmId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share in a name.
#[derive(Clone, Debug)]
pub(crate) struct Name(Block);

impl Name {
    /// To be a name.
    ///
    /// # Errors
    ///
    /// See [`Block::new`].
    pub(crate) fn new() -> Result<Name, Error> {
        let name = Name(Block::new(Kind::Name, NAME + LONGEST_NAME)?);
        guardian::call();
        Ok(name)
    }

    /// Says what is to be removed; before it exists.
    pub(crate) fn record(&self, name: &str, id: ShmId) {
        self.forget();
        let bytes = self.0.memory().bytes();
        let fits = bytes.write(NAME, name.as_bytes());
        if fits {
            let _ = bytes.write(LEN, &(name.len() as u64).to_ne_bytes());
            let _ = bytes.write(DEVICE, &id.device.to_ne_bytes());
            if let Some(inode) = inode(self.0.memory()) {
                // SYNC: name
                inode.store(id.inode, Ordering::Release);
            }
        }
    }

    /// Nothing is to be removed (any more).
    pub(crate) fn forget(&self) {
        if let Some(inode) = inode(self.0.memory()) {
            // SYNC: name
            inode.store(0, Ordering::Release);
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let block = Block::deserialize(deserializer)?;
        if block.kind() != Kind::Name as u8 {
            return Err(D::Error::custom("the handle refers to something that is no shared memory"));
        }
        Ok(Name(block))
    }
}
