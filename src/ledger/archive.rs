//! The archive: the bytes of every response, as received.

use bytes::Bytes;

use super::handle::Ledger;
use super::pack::{Packed, pack, unpack};
use super::stored::Stored;
use crate::error::Result;
use crate::store::AttemptId;

impl Ledger {
    /// Archives the bytes of a response as received. Returns when they are durable.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn archive_response(&self, id: AttemptId, body: Bytes) -> Result<()> {
        let packed = pack(body).await?;
        self.store.put(&self.layout.response(id), packed).await
    }

    /// The response to an attempt, as received.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn response(&self, id: AttemptId) -> Result<Stored<Bytes>> {
        let Some(packed) = self.packed_response(id).await? else {
            return Ok(Stored::Missing);
        };
        Ok(match unpack(packed).await {
            Ok(body) => Stored::Whole(body),
            Err(error) => Stored::Damaged(error),
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
