//! The archive: the bytes of every response, as received.

use bytes::Bytes;

use super::attempt::Attempt;
use super::handle::Ledger;
use super::pack::{Packed, pack, unpack};
use super::stored::Stored;
use crate::error::{Error, Result};
use crate::provider::Envelope;
use crate::store::AttemptId;

impl Ledger {
    /// Archives the bytes of a response as received. Returns when they are durable. If the lake fails, this is tried
    /// again for as long as the store is patient; the response stays in memory until then.
    ///
    /// # Errors
    /// A lake that fails for longer. Then the response is kept on the local disk, and the error says where.
    pub async fn archive_response(&self, attempt: &Attempt, body: Bytes) -> Result<()> {
        let packed = pack(body).await?;
        let path = self.layout.response(attempt.id);
        match self.store.put(&path, packed.clone()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.spill(attempt, packed, error).await),
        }
    }

    /// The response to an attempt, as received.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn response(&self, id: AttemptId) -> Result<Stored<Bytes>> {
        let Some(packed) = self.packed_response(id).await? else {
            return Ok(if self.is_spilled(id).await? {
                let message = "the response is kept on the local disk until the next start";
                Stored::Damaged(Error::unexpected(message))
            } else {
                Stored::Missing
            });
        };
        Ok(match unpack(packed).await {
            Ok(body) => Stored::Whole(body),
            Err(error) => Stored::Damaged(error),
        })
    }

    /// Whether a later start can read from its response how an attempt ended: the response is whole, or it is kept on the
    /// local disk until then.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn has_usable_response(&self, id: AttemptId) -> Result<bool> {
        Ok(match self.response(id).await? {
            Stored::Whole(body) => Envelope::read(&body).is_ok(),
            Stored::Damaged(_) | Stored::Missing => self.is_spilled(id).await?,
        })
    }

    /// The response to an attempt, still compressed, or `None` if there is no response.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn packed_response(&self, id: AttemptId) -> Result<Option<Packed>> {
        let path = self.layout.response(id);
        let place = self.bundles().await?.place(&path);
        let bytes = self.bytes(&path, place).await?;
        Ok(bytes.map(|bytes| Packed { path, bytes }))
    }
}
