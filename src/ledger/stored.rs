//! What reading an object of the ledger finds.

use crate::error::{Error, Result};

/// An object of the ledger as found in the lake.
///
/// A lake that fails is an [`Error`] instead: it says nothing about the object.
#[derive(Debug)]
pub enum Stored<T> {
    /// The object is there and can be read.
    Whole(T),
    /// The object is there and cannot be read, for this reason.
    Damaged(Error),
    /// There is no such object.
    Missing,
}

impl<T> Stored<T> {
    /// The object, or `None` if it is missing.
    ///
    /// # Errors
    /// The object is damaged.
    pub fn undamaged(self) -> Result<Option<T>> {
        match self {
            Self::Whole(object) => Ok(Some(object)),
            Self::Damaged(error) => Err(error),
            Self::Missing => Ok(None),
        }
    }
}
