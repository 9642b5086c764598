//! The archive and the books of one snapshot's run: what was asked, the answers as received, how each attempt ended.
//!
//! Everything a run has paid for is here before anything else happens to it, so a run that was broken off continues
//! from here, and publishing reads from nowhere else.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Write as _};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use futures::{Stream, StreamExt as _};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tracing::warn;

use super::attempt::{Attempt, AttemptResult, Intent, Outcome};
use super::bundle::{Bundles, Place};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::Fate;
use crate::money::Usd;
use crate::provider::{Endpoint, Envelope, code};
use crate::question::Question;
use crate::store::{AttemptId, Layout, Lock, Store};
use crate::targets::{Rules, TargetList};

/// The level at which answers are archived: they shrink to about an eighth, faster than they arrive.
const LEVEL: i32 = 3;
/// Bytes for which a compressed object is believed before it is decompressed.
const AT_ONCE_BYTES: u64 = 64 << 20;
/// Small objects that are read at once.
const READ_AT_ONCE: usize = 16;

/// Names the run that fills a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's name, the beginning of its files' names.
    pub run: String,
    /// When it was first started.
    pub started_at: DateTime<Utc>,
    /// What it asks; a start that asks something else does not continue it.
    pub question: Question,
    /// Which publication of the date it is for: 1, and one more with each replacement.
    #[serde(default = "first")]
    pub generation: u32,
    /// The number of its first batch: those before it are of the runs it replaces.
    #[serde(default)]
    pub first_batch: u32,
}

fn first() -> u32 {
    1
}

/// What became of a target that was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// In canonical form.
    pub target: String,
    /// Its fate.
    pub fate: Fate,
    /// Why.
    pub reason: Option<String>,
    /// The batch that asked for it last.
    pub batch: Option<u32>,
}

/// The archive of one snapshot.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    layout: Layout,
    /// Nothing is asked without it.
    lock: Option<Arc<Lock>>,
    /// What was bundled, read once: nothing is while the lock is held.
    bundles: Arc<OnceCell<Bundles>>,
}

/// An attempt that an earlier start of the run has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierAttempt {
    /// What was asked for; nothing where that cannot be read any more.
    pub targets: Vec<String>,
    /// What it may have cost at the most.
    pub reserved: Usd,
    /// How it ended, as entered, or as the archive tells where the run broke off before the entry.
    pub attempt: Attempt,
}

impl Ledger {
    /// The archive of this snapshot.
    #[must_use]
    pub fn new(store: Store, snapshot: NaiveDate) -> Self {
        Self {
            store,
            layout: Layout { snapshot },
            lock: None,
            bundles: Arc::default(),
        }
    }

    /// The archive of this snapshot for the one who holds the lock on it.
    #[must_use]
    pub fn locked(store: Store, snapshot: NaiveDate, lock: Arc<Lock>) -> Self {
        Self {
            lock: Some(lock),
            ..Self::new(store, snapshot)
        }
    }

    /// The record of the run that fills this snapshot for the nth time, if it was begun.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn run_record(&self, generation: u32) -> Result<Option<RunRecord>> {
        let path = self.layout.run(generation);
        if self.store.get(&path).await?.is_none() {
            Ok(None)
        } else {
            self.read(&path).await?.map(Some)
        }
    }

    /// The records of all runs that were begun for this snapshot, the oldest first.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn run_records(&self) -> Result<Vec<RunRecord>> {
        let objects = self.store.list_here(&self.layout.run_root()).await?;
        let mut records: Vec<RunRecord> = Vec::new();
        for path in objects.iter().map(|object| &object.location) {
            if Layout::generation_of(path).is_some() {
                records.push(self.read(path).await??);
            }
        }
        records.sort_by_key(|record| record.generation);
        Ok(records)
    }

    /// Begins a run: the record that is there already, or else this one.
    ///
    /// # Errors
    /// A lake that fails, or a record that is damaged.
    pub async fn begin_run(&self, new: RunRecord) -> Result<RunRecord> {
        let path = self.layout.run(new.generation);
        let json =
            serde_json::to_vec_pretty(&new).context(|| "failed to write the run's record")?;
        if self.store.put_new(&path, json.into()).await? {
            return Ok(new);
        }
        self.read(&path).await?
    }

    /// The number of the next batch: no number is ever given twice.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn next_batch(&self) -> Result<u32> {
        let mut next = 0;
        for folder in [
            self.layout.intents(),
            self.layout.attempts(),
            self.layout.archive(),
        ] {
            for (object, _) in self.objects_below(&folder).await? {
                next = next.max(Layout::batch_of(&object) + 1);
            }
        }
        Ok(next)
    }

    /// What was bundled, without the answers that are there besides: they were put back.
    async fn bundles(&self) -> Result<&Bundles> {
        let read = async || {
            let answers = self.store.list_here(&self.layout.archive()).await?;
            Ok(Bundles::read(&self.store, self.layout, &answers)
                .await?
                .without(&answers))
        };
        self.bundles.get_or_try_init(read).await
    }

    /// The objects below a folder, by path, and where they stand if they are bundled. One that is there besides is the
    /// later.
    async fn objects_below(&self, folder: &Path) -> Result<BTreeMap<Path, Option<Place>>> {
        let bundled = self.bundles().await?.below(folder);
        let mut objects: BTreeMap<_, _> = bundled
            .map(|(path, place)| (path.clone(), Some(place.clone())))
            .collect();
        let loose = self
            .store
            .list(folder)
            .await?
            .into_iter()
            .map(|object| object.location);
        objects.extend(
            loose
                .filter(|path| !Layout::is_bundle(path))
                .map(|path| (path, None)),
        );
        Ok(objects)
    }

    /// Keeps the input lines of a run as it has read them, so that its tables can be rebuilt when the list has changed.
    ///
    /// # Errors
    /// A lake or a disk that fails.
    pub async fn write_target_list(
        &self,
        run: &str,
        list: &Arc<TargetList>,
        rules: Rules,
    ) -> Result<()> {
        let (list, file) = (Arc::clone(list), self.store.temporary()?);
        let path = file.path().to_owned();
        let written = tokio::task::spawn_blocking(move || {
            let failed = || format!("failed to write {}", path.display());
            let mut packed = zstd::Encoder::new(BufWriter::new(file), LEVEL).context(failed)?;
            let mut lines = BufWriter::with_capacity(1 << 16, &mut packed);
            list.write_kept(&rules, &mut lines).context(failed)?;
            lines.flush().context(failed)?;
            drop(lines);
            packed
                .finish()
                .context(failed)?
                .into_inner()
                .context(failed)
        });
        let file = written
            .await
            .context(|| "keeping the target list panicked")??;
        self.store
            .deliver(file.path(), &self.layout.lines(run))
            .await?
            .complete()
            .await
    }

    /// The input lines of a run, and the rules they were read by; none if they were never kept.
    ///
    /// # Errors
    /// A lake that fails, or lines that are damaged.
    pub async fn target_list(&self, run: &str) -> Result<Option<(TargetList, Rules)>> {
        let path = self.layout.lines(run);
        let Some(file) = self.store.as_file(&path).await? else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || {
            let damaged = || format!("failed to read {path} from the lake");
            let packed = std::fs::File::open(&file.path).context(damaged)?;
            let lines = zstd::Decoder::new(packed).context(damaged)?;
            TargetList::read_kept(BufReader::with_capacity(1 << 16, lines)).context(damaged)
        });
        read.await
            .context(|| "reading the kept target list panicked")?
            .map(Some)
    }

    /// Keeps what became of the targets that were not answered, for the tables to be rebuilt.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn write_unanswered(&self, run: &str, targets: &[Unanswered]) -> Result<()> {
        let json =
            serde_json::to_vec(targets).context(|| "failed to write what was not answered")?;
        self.store
            .put(&self.layout.unanswered(run), pack(json.into()).await?)
            .await
    }

    /// What became of the targets of a run that were not answered; nothing if it was not kept.
    ///
    /// # Errors
    /// A lake that fails, or an object that is damaged.
    pub async fn unanswered(&self, run: &str) -> Result<Vec<Unanswered>> {
        let path = self.layout.unanswered(run);
        if self.store.get(&path).await?.is_none() {
            Ok(Vec::new())
        } else {
            self.read(&path).await?
        }
    }

    /// All attempts of a run that were made at this endpoint, by batch and attempt, and the number of the next batch. Its
    /// batches are those from `first` on, before that of the run that replaces it, if there is one.
    ///
    /// Files that cannot be read are named in the log and worked around: of an entry the archive tells as much, and the
    /// targets of an intent are asked for again. A number is never given twice, so nothing in the archive is written
    /// over.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn earlier_attempts(
        &self,
        endpoint: Endpoint,
        batches: Range<u32>,
    ) -> Result<(Vec<EarlierAttempt>, u32)> {
        let mut next_batch = batches.start;
        let mut ended = BTreeMap::new();
        let mut entries = self
            .read_all::<Attempt>(self.layout.attempts(), &batches)
            .await?;
        while let Some((path, entry)) = entries.next().await {
            next_batch = next_batch.max(Layout::batch_of(&path) + 1);
            match entry? {
                Ok(attempt) => drop(ended.insert(attempt.id, attempt)),
                Err(error) => warn!(%error, "the entry of an attempt is unreadable"),
            }
        }
        let mut earlier = Vec::new();
        let mut intents = self
            .read_all::<Intent>(self.layout.intents(), &batches)
            .await?;
        while let Some((path, intent)) = intents.next().await {
            next_batch = next_batch.max(Layout::batch_of(&path) + 1);
            let intent = match intent? {
                Ok(intent) => intent,
                Err(error) => {
                    warn!(%error, "what an attempt asked is unreadable; its targets are asked for again");
                    continue;
                }
            };
            let attempt = match ended.remove(&intent.id) {
                Some(attempt) => attempt,
                None => self.as_archived(&intent, endpoint).await?,
            };
            earlier.push(EarlierAttempt {
                targets: intent.targets,
                reserved: intent.reserved,
                attempt,
            });
        }
        // What they asked is lost, what they cost is not, nor are the rows they brought.
        let without_intent = ended.into_values();
        earlier.extend(without_intent.map(|attempt| EarlierAttempt {
            targets: Vec::new(),
            reserved: attempt.cost_usd.unwrap_or_default(),
            attempt,
        }));
        earlier.sort_by_key(|earlier| earlier.attempt.id);
        Ok((earlier, next_batch))
    }

    /// How an attempt ended whose entry was never written: as its archived answer says, or ambiguous without one.
    async fn as_archived(&self, intent: &Intent, endpoint: Endpoint) -> Result<Attempt> {
        let mut attempt = Attempt::of(intent);
        attempt.status_message = Some("the run broke off before the answer".to_owned());
        let body = match self.response(intent.id).await? {
            Some(Ok(body)) => body,
            None => return Ok(attempt),
            Some(Err(error)) => {
                warn!(%error, "the answer to an attempt is unreadable; its targets are asked for again");
                return Ok(attempt);
            }
        };
        attempt.body_bytes = Some(body.len() as u64);
        let Ok(envelope) = Envelope::read(&body) else {
            attempt.status_message =
                Some("the run broke off before the answer was read".to_owned());
            return Ok(attempt);
        };
        let good = attempt.answered(&envelope, endpoint) == AttemptResult::Status(code::OK);
        attempt.outcome = if good { Outcome::Ok } else { Outcome::Failed };
        Ok(attempt)
    }

    /// Enters that the archived answer to an attempt cannot be used, so that the next start asks again. What it cost
    /// stays in the books.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn reject_response(&self, mut attempt: Attempt, reason: &str) -> Result<()> {
        attempt.outcome = Outcome::Ambiguous;
        attempt.status_message = Some(reason.to_owned());
        self.record_attempt(&attempt).await
    }

    /// Keeps what a start of the run came to; beside the manifest, too, if the snapshot is published.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn write_summary(&self, summary: &impl Serialize, published: bool) -> Result<()> {
        let json = serde_json::to_vec_pretty(summary).context(|| "failed to write the summary")?;
        let json = Bytes::from(json);
        self.store.put(&self.layout.summary(), json.clone()).await?;
        if published {
            self.store.put(&self.layout.published_summary(), json).await
        } else {
            Ok(())
        }
    }

    /// The answer to an attempt as received, or how it is broken; none if there is none.
    ///
    /// # Errors
    /// A lake that fails: that says nothing of the answer.
    pub async fn response(&self, id: AttemptId) -> Result<Option<Result<Bytes>>> {
        match self.packed_response(id).await? {
            Some(Packed { path, bytes }) => Ok(Some(unpack(&path, bytes).await)),
            None => Ok(None),
        }
    }

    /// The same, still compressed.
    ///
    /// # Errors
    /// A lake that fails: that says nothing of the answer.
    pub async fn packed_response(&self, id: AttemptId) -> Result<Option<Packed>> {
        let path = self.layout.response(id);
        let bytes = match self.bundles().await?.place(&path) {
            Some(place) => place.read(&self.store).await?,
            None => self.store.get(&path).await?,
        };
        Ok(bytes.map(|bytes| Packed { path, bytes }))
    }

    /// Reads the objects of a folder that are of these batches, by name, some at a time.
    async fn read_all<T: DeserializeOwned>(
        &self,
        folder: Path,
        batches: &Range<u32>,
    ) -> Result<impl Stream<Item = (Path, Result<Result<T>>)> + Unpin> {
        let mut objects = self.objects_below(&folder).await?;
        objects.retain(|path, _| batches.contains(&Layout::batch_of(path)));
        let read = futures::stream::iter(objects)
            .map(move |(path, place)| async move {
                let bytes = match place {
                    Some(place) => place.read(&self.store).await,
                    None => self.store.get(&path).await,
                };
                let read = match bytes {
                    Ok(bytes) => Ok(parsed(&path, bytes).await),
                    Err(error) => Err(error),
                };
                (path, read)
            })
            .buffered(READ_AT_ONCE);
        Ok(Box::pin(read))
    }

    /// What an object says, or how it is broken; a lake that fails says nothing of it.
    async fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Result<T>> {
        Ok(parsed(path, self.store.get(path).await?).await)
    }
}

/// What an object says by its bytes.
pub(crate) async fn parsed<T: DeserializeOwned>(path: &Path, bytes: Option<Bytes>) -> Result<T> {
    let bytes =
        bytes.ok_or_else(|| Error::unexpected(format!("{path} has vanished from the lake")))?;
    let bytes = if path.as_ref().ends_with(".zst") {
        unpack(path, bytes).await?
    } else {
        bytes
    };
    serde_json::from_slice(&bytes).context(|| format!("failed to read {path} from the lake"))
}

impl Ledger {
    /// Enters what is about to be sent; returns when it is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if another run has begun this attempt; a lake that fails.
    pub async fn record_intent(&self, intent: &Intent) -> Result<()> {
        if let Some(lock) = &self.lock {
            lock.ensure().await?;
        }
        let json = serde_json::to_vec(intent).context(|| "failed to write an intent")?;
        let json = pack(json.into()).await?;
        if self
            .store
            .put_new(&self.layout.intent(intent.id), json)
            .await?
        {
            return Ok(());
        }
        let message = format!(
            "another run has begun attempt {} of this snapshot",
            intent.id
        );
        Err(Error::new(ErrorKind::Locked, message))
    }

    /// Returns if requests may still be sent: nobody else does.
    ///
    /// # Errors
    /// As [`Lock::ensure`].
    pub async fn may_send(&self) -> Result<()> {
        match &self.lock {
            Some(lock) => lock.ensure().await,
            None => Ok(()),
        }
    }

    /// Takes an intent back: the request was not sent.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn withdraw_intent(&self, id: AttemptId) -> Result<()> {
        self.store.delete(&self.layout.intent(id)).await
    }

    /// Keeps the bytes of an answer as received; returns when they are durable.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn archive_response(&self, id: AttemptId, body: Bytes) -> Result<()> {
        self.store
            .put(&self.layout.response(id), pack(body).await?)
            .await
    }

    /// Enters how an attempt ended; returns when it is durable.
    ///
    /// # Errors
    /// A lake that fails.
    pub async fn record_attempt(&self, attempt: &Attempt) -> Result<()> {
        let json = serde_json::to_vec(attempt).context(|| "failed to write an attempt")?;
        self.store
            .put(&self.layout.attempt(attempt.id), json.into())
            .await
    }
}

/// Compresses off the runtime's threads.
pub(crate) async fn pack(bytes: Bytes) -> Result<Bytes> {
    let packed = tokio::task::spawn_blocking(move || zstd::bulk::compress(&bytes, LEVEL)).await;
    let packed = packed.context(|| "compressing panicked")?;
    packed
        .map(Bytes::from)
        .context(|| "failed to compress for the archive")
}

async fn unpack(path: &Path, bytes: Bytes) -> Result<Bytes> {
    let packed = Packed {
        path: path.clone(),
        bytes,
    };
    tokio::task::spawn_blocking(move || packed.unpack())
        .await
        .context(|| "decompressing panicked")?
}

/// A compressed object.
#[derive(Debug)]
pub struct Packed {
    path: Path,
    bytes: Bytes,
}

impl Packed {
    /// What it holds. For use on a blocking thread.
    ///
    /// # Errors
    /// An object that is damaged.
    pub fn unpack(&self) -> Result<Bytes> {
        let unpacked = match zstd::zstd_safe::get_frame_content_size(&self.bytes) {
            // Into a buffer of the right size at once.
            Ok(Some(size)) if size <= AT_ONCE_BYTES => {
                zstd::bulk::decompress(&self.bytes, size as usize)
            }
            _ => zstd::decode_all(self.bytes.as_ref()),
        };
        unpacked
            .map(Bytes::from)
            .context(|| format!("failed to decompress {}", self.path))
    }
}
