//! Audits the archive of a snapshot: every response is read and held to its attempt, every bundle to its index.
//!
//! # Memory
//! A few responses at a time. Bundles are hashed from disk.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use futures::StreamExt as _;
use object_store::path::Path;
use serde::Serialize;

use super::attempt::{Attempt, Intent, Outcome};
use super::bundle::{Index, indexes};
use super::handle::Ledger;
use super::pack::parse;
use super::stored::Stored;
use crate::error::{Context, Error, Result};
use crate::store::{AttemptId, Layout, hash};

/// Responses that are read at the same time.
const AT_ONCE: usize = 16;

/// The result of auditing an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveAudit {
    /// The snapshot's date.
    pub snapshot: NaiveDate,
    /// The number of responses that are as they were received.
    pub responses: u64,
    /// Their size in bytes, decompressed.
    pub bytes: u64,
    /// The number of attempts whose response was received by a version that recorded no hash.
    pub unhashed: u64,
    /// The problems, each with the attempt or file that has it; empty if the archive is sound.
    pub problems: Vec<String>,
}

/// What an audit found in one response.
enum Found {
    Whole { bytes: u64, is_hashed: bool },
    Problem(String),
}

/// Whether all bundles are as their indexes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BundleState {
    Sound,
    Damaged,
}

impl BundleState {
    /// What it means that an object cannot be read.
    fn problem(self, error: Error) -> Result<String> {
        match self {
            Self::Sound => Err(error),
            Self::Damaged => Ok(error.to_string()),
        }
    }
}

impl Ledger {
    /// Audits the archive; none if there is none.
    ///
    /// # Errors
    /// A lake that fails. A problem with the archive is not an error: the result lists it.
    pub async fn audit_archive(&self) -> Result<Option<ArchiveAudit>> {
        let mut audit = ArchiveAudit {
            snapshot: self.layout.snapshot,
            responses: 0,
            bytes: 0,
            unhashed: 0,
            problems: Vec::new(),
        };
        let listed = self.store.list_here(&self.layout.archive()).await?;
        for number in indexes(&listed) {
            let problem = self.audit_bundle(number).await?;
            audit.problems.extend(problem);
        }
        // Reading from a damaged bundle fails, which says nothing about the lake.
        let bundles = if audit.problems.is_empty() {
            BundleState::Sound
        } else {
            BundleState::Damaged
        };
        let archived = match self.objects_below(&self.layout.archive()).await {
            Ok(archived) => archived,
            // Without its index, nothing says what is in a bundle.
            Err(_) if bundles == BundleState::Damaged => return Ok(Some(audit)),
            Err(error) => return Err(error),
        };
        let attempts: Vec<Attempt> = self
            .audited(self.layout.attempts(), bundles, &mut audit)
            .await?;
        let intents: Vec<Intent> = self
            .audited(self.layout.intents(), bundles, &mut audit)
            .await?;
        if archived.is_empty() && attempts.is_empty() {
            return Ok(None);
        }
        let asked: BTreeSet<AttemptId> = attempts
            .iter()
            .map(|attempt| attempt.id)
            .chain(intents.iter().map(|intent| intent.id))
            .collect();
        for path in archived.keys() {
            let name = path.filename().unwrap_or_default();
            let id = Layout::attempt_of(name);
            if !id.is_some_and(|id| asked.contains(&id)) {
                audit.problems.push(format!(
                    "{path} is the response to no attempt of the ledger"
                ));
            }
        }
        // Nothing relies on a response that the ledger has given up.
        let received = attempts.into_iter().filter(|attempt| {
            attempt.body_bytes.is_some() && attempt.outcome != Outcome::Ambiguous
        });
        let mut found = futures::stream::iter(received)
            .map(|attempt| self.audit_response(attempt, bundles))
            .buffered(AT_ONCE);
        while let Some(found) = found.next().await {
            match found? {
                Found::Whole { bytes, is_hashed } => {
                    audit.responses += 1;
                    audit.bytes += bytes;
                    audit.unhashed += u64::from(!is_hashed);
                }
                Found::Problem(problem) => audit.problems.push(problem),
            }
        }
        Ok(Some(audit))
    }

    /// Reads a response and holds it to its attempt.
    async fn audit_response(&self, attempt: Attempt, bundles: BundleState) -> Result<Found> {
        let id = attempt.id;
        let packed = match self.packed_response(id).await {
            Ok(Some(packed)) => packed,
            Ok(None) => {
                return Ok(Found::Problem(format!(
                    "the response to attempt {id} is missing in the archive"
                )));
            }
            Err(error) => return bundles.problem(error).map(Found::Problem),
        };
        let checked = tokio::task::spawn_blocking(move || {
            let body = packed.unpack(attempt.most_bytes())?;
            attempt.audit_body(&body)?;
            Ok(Found::Whole {
                bytes: body.len() as u64,
                is_hashed: attempt.body_sha256.is_some() || attempt.body_xxh3.is_some(),
            })
        });
        let checked: Result<Found> = checked.await.context(|| "reading a response panicked")?;
        Ok(checked.unwrap_or_else(|error| Found::Problem(error.to_string())))
    }

    /// The objects of a folder; those that cannot be read are problems.
    async fn audited<T: serde::de::DeserializeOwned>(
        &self,
        folder: Path,
        bundles: BundleState,
        audit: &mut ArchiveAudit,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        for (path, place) in self.objects_below(&folder).await? {
            let bytes = match self.bytes(&path, place.as_ref()).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    audit.problems.push(bundles.problem(error)?);
                    continue;
                }
            };
            match parse(path, bytes).await {
                Stored::Whole(object) => found.push(object),
                Stored::Damaged(error) => audit.problems.push(error.to_string()),
                Stored::Missing => {}
            }
        }
        Ok(found)
    }

    /// Compares a bundle with its index. Returns how they differ.
    async fn audit_bundle(&self, number: u32) -> Result<Option<String>> {
        let path = self.layout.bundle_index(number);
        let json = self.store.get(&path).await?.unwrap_or_default();
        let read: serde_json::Result<Index> = serde_json::from_slice(&json);
        let Ok(index) = read else {
            return Ok(Some(format!("{path} is damaged")));
        };
        let bundle = self.layout.bundle(number);
        let Some(file) = self.store.as_file(&bundle).await? else {
            return Ok(Some(format!("{bundle} is missing")));
        };
        let local = file.path.clone();
        let hashed = tokio::task::spawn_blocking(move || hash(&local));
        let hashed = hashed.await.context(|| "hashing a bundle panicked")?;
        let (bytes, sha256) = hashed.context(|| format!("failed to read {bundle}"))?;
        Ok((bytes != index.bytes || sha256 != index.sha256)
            .then(|| format!("{bundle} has other bytes than {path} says")))
    }
}
