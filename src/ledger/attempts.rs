//! Intents and attempts: records each one, and reads those of earlier starts.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::{Stream, StreamExt as _};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::attempt::{Attempt, BodyDigest, Intent, Outcome};
use super::handle::Ledger;
use super::pack::{pack, parse};
use super::run::RunRecord;
use super::stored::Stored;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::money::Usd;
use crate::provider::{Endpoint, Envelope};
use crate::store::{AttemptId, Layout};
use crate::targets::TextList;

/// Small objects that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// An attempt of an earlier start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierAttempt {
    /// The targets it asked for. Empty if its intent is damaged.
    pub targets: TextList,
    /// What it may have cost at most.
    pub reserved: Usd,
    /// How it ended: as recorded, or as its archived response says if the run was interrupted
    /// before recording it.
    pub attempt: Attempt,
}

/// The attempts of earlier starts, and where to continue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EarlierAttempts {
    /// The attempts by batch and attempt number.
    pub attempts: Vec<EarlierAttempt>,
    /// The number of the next batch.
    pub next_batch: u32,
}

impl Ledger {
    /// Records what is about to be sent. Returns when the intent is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another run has recorded this attempt; a lake that fails.
    pub async fn record_intent(&self, intent: &Intent) -> Result<()> {
        self.may_send().await?;
        let json = serde_json::to_vec(intent).context(|| "failed to write an intent")?;
        let packed = pack(json.into()).await?;
        let path = self.layout.intent(intent.id);
        if self.store.put_new(&path, packed).await? {
            return Ok(());
        }
        let message = format!(
            "another process has started attempt {} of this snapshot",
            intent.id
        );
        Err(Error::new(ErrorKind::Locked, message))
    }

    /// Checks that this process still holds the lock, so that no other process sends the same
    /// requests. While the lake fails or its disk is full, this waits: what is paid for must have a place.
    ///
    /// # Errors
    /// The lock is lost or cannot be renewed; a disk that stays full.
    pub async fn may_send(&self) -> Result<()> {
        self.store.ready().await?;
        match &self.lock {
            Some(lock) => lock.ensure().await,
            None => Ok(()),
        }
    }

    /// Deletes an intent, because the request was not sent.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn withdraw_intent(&self, id: AttemptId) -> Result<()> {
        self.lock()?.delete(&self.layout.intent(id)).await
    }

    /// Records how an attempt ended. Returns when the record is durable.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn record_attempt(&self, attempt: &Attempt) -> Result<()> {
        let json = serde_json::to_vec(attempt).context(|| "failed to write an attempt")?;
        let path = self.layout.attempt(attempt.id);
        self.store.put(&path, json.into()).await
    }

    /// Records that the archived response to an attempt cannot be used, so that the next start asks
    /// for its targets again. The cost of the attempt stays in the ledger.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn reject_response(&self, mut attempt: Attempt, reason: &str) -> Result<()> {
        attempt.outcome = Outcome::Ambiguous;
        attempt.status_message = Some(reason.to_owned());
        self.record_attempt(&attempt).await
    }

    /// Reads the attempts of a run, as [`Ledger::earlier_attempts`] does. The batches of another run may lie between its
    /// own.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn attempts_of(&self, record: &RunRecord) -> Result<EarlierAttempts> {
        let batches = record.first_batch..u32::MAX;
        let endpoint = record.question.endpoint;
        let mut earlier = self.earlier_attempts(endpoint, batches).await?;
        let attempts = &mut earlier.attempts;
        attempts.retain(|earlier| earlier.attempt.is_of(&record.run));
        Ok(earlier)
    }

    /// Reads all attempts at an endpoint whose batches are in a range.
    ///
    /// Damaged objects are logged and worked around. The archived response replaces a damaged
    /// attempt, and the targets of a damaged intent are asked for again. The name of a damaged
    /// object still counts for [`EarlierAttempts::next_batch`], so nothing in the archive is ever
    /// overwritten.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn earlier_attempts(
        &self,
        endpoint: Endpoint,
        batches: Range<u32>,
    ) -> Result<EarlierAttempts> {
        self.take_spilled().await?;
        let mut next_batch = batches.start;
        let mut recorded = self.recorded_attempts(&batches, &mut next_batch).await?;
        let mut earlier = Vec::new();
        let mut intents = self
            .read_all::<Intent>(self.layout.intents(), &batches)
            .await?;
        while let Some((path, intent)) = intents.next().await {
            next_batch = next_batch.max(Layout::batch_of(&path) + 1);
            let intent = match intent? {
                Stored::Whole(intent) => intent,
                Stored::Damaged(error) => {
                    warn!(%error, "an intent is unreadable; its targets are asked for again");
                    continue;
                }
                Stored::Missing => continue,
            };
            let attempt = match recorded.remove(&intent.id) {
                Some(attempt) => attempt,
                None => self.unrecorded_attempt(&intent, endpoint).await?,
            };
            earlier.push(EarlierAttempt {
                targets: intent.targets,
                reserved: intent.reserved,
                attempt,
            });
        }
        // Without an intent the targets are lost, but the cost and the rows of the response still
        // count.
        let without_intent = recorded.into_values();
        earlier.extend(without_intent.map(|attempt| EarlierAttempt {
            targets: TextList::default(),
            reserved: attempt.cost_usd.unwrap_or_default(),
            attempt,
        }));
        earlier.sort_by_key(|earlier| earlier.attempt.id);
        Ok(EarlierAttempts {
            attempts: earlier,
            next_batch,
        })
    }

    /// The recorded attempts of these batches. Raises `next_batch` above every batch that has one.
    async fn recorded_attempts(
        &self,
        batches: &Range<u32>,
        next_batch: &mut u32,
    ) -> Result<BTreeMap<AttemptId, Attempt>> {
        let mut recorded = BTreeMap::new();
        let mut attempts = self
            .read_all::<Attempt>(self.layout.attempts(), batches)
            .await?;
        while let Some((path, attempt)) = attempts.next().await {
            *next_batch = (*next_batch).max(Layout::batch_of(&path) + 1);
            match attempt? {
                Stored::Whole(attempt) => drop(recorded.insert(attempt.id, attempt)),
                Stored::Damaged(error) => warn!(%error, "a recorded attempt is unreadable"),
                Stored::Missing => {}
            }
        }
        Ok(recorded)
    }

    /// How an attempt ended that was never recorded: as its archived response says, or ambiguous
    /// without a response.
    async fn unrecorded_attempt(&self, intent: &Intent, endpoint: Endpoint) -> Result<Attempt> {
        let mut attempt = Attempt::of(intent);
        attempt.status_message = Some("the run was interrupted before the response".to_owned());
        let body = match self.response(intent.id).await? {
            Stored::Whole(body) => body,
            Stored::Missing => return Ok(attempt),
            Stored::Damaged(error) => {
                warn!(%error, "a response is unreadable; its targets are asked for again");
                attempt.status_message = Some(error.to_string());
                return Ok(attempt);
            }
        };
        attempt.take_body(BodyDigest::of(&body));
        let Ok(envelope) = Envelope::read(&body) else {
            let message = "the run was interrupted before it read the response";
            attempt.status_message = Some(message.to_owned());
            return Ok(attempt);
        };
        let result = attempt.take_envelope(&envelope, endpoint);
        attempt.outcome = if result.counts() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        Ok(attempt)
    }

    /// Reads the objects of a folder that belong to these batches, in the order of their names.
    async fn read_all<T: DeserializeOwned>(
        &self,
        folder: Path,
        batches: &Range<u32>,
    ) -> Result<impl Stream<Item = (Path, Result<Stored<T>>)> + Unpin> {
        let mut objects = self.objects_below(&folder).await?;
        objects.retain(|path, _| batches.contains(&Layout::batch_of(path)));
        let read = futures::stream::iter(objects)
            .map(move |(path, place)| async move {
                let read = match self.bytes(&path, place.as_ref()).await {
                    Ok(bytes) => Ok(parse(path.clone(), bytes).await),
                    Err(error) => Err(error),
                };
                (path, read)
            })
            .buffered(CONCURRENT_READS);
        Ok(Box::pin(read))
    }
}
