//! Flattens, sorts and writes while a run still fetches, so that publishing has only the rest to do.
//!
//! This never holds back a request or the archive: only the ids of archived responses are queued;
//! the responses are read back from the archive. Publishing reads the responses that are not
//! flattened when fetching ends. If this fails, publishing reads all of them.
//!
//! # Memory
//! [`PageTables`], which publishing takes over, a few responses, and the target numbers of the
//! responses in the queue.

use std::collections::HashMap;
use std::pin::pin;

use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::poll_fn;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

use super::attempts::ArchivedBatch;
use super::gathered::Gathered;
use super::page_tables::PageTables;
use super::report::Progress;
use super::responses::ReadResponse;
use super::start::Start;
use crate::error::{Error, Result};
use crate::fate::Fate;
use crate::lake::Manifest;
use crate::ledger::Attempt;
use crate::targets::TargetId;

/// How many responses are read at once: an object store takes longer to send one than a core to
/// flatten it.
const AT_ONCE: usize = 8;

/// Targets that need no further attempt.
pub(super) enum Ended {
    /// Their response is archived.
    Archived(ArchivedBatch, Box<Attempt>),
    /// They are refused, or have failed.
    Unanswered(Box<[TargetId]>),
}

/// [`Ended`], after the response is read.
enum Read {
    Response(ArchivedBatch, Result<ReadResponse>),
    Unanswered(Box<[TargetId]>),
}

/// Flattens what earlier starts have archived, and what `fetching` completes, until that ends. If this
/// fails, the tables are as they were at the beginning, and publishing reads everything.
///
/// # Errors
/// A contract that cannot be sorted by; a disk that fails; a lock that is lost.
pub(super) async fn flatten_during<'a, T>(
    start: &Start<'a>,
    gathered: &mut Gathered,
    published: Option<&Manifest>,
    fetching: impl AsyncFnOnce(&mut Gathered, UnboundedSender<Ended>) -> T,
) -> Result<(T, PageTables<'a>)> {
    let (ended, queue) = unbounded_channel();
    let awaited = [Fate::Unsent, Fate::Absent];
    let mut tables = PageTables::new(start, gathered, published, &awaited)?;
    let entries = gathered.attempts.entries.iter();
    let attempts: HashMap<_, _> = entries
        .map(|entry| (entry.attempt.id, &entry.attempt))
        .collect();
    for batch in &gathered.attempts.archived {
        if let Some(attempt) = attempts.get(&batch.id) {
            let (batch, attempt) = (batch.clone(), Box::new((*attempt).clone()));
            // The queue is open, and what does not get in is read by publishing.
            let _ = ended.send(Ended::Archived(batch, attempt));
        }
    }
    // Not while another future may end this one: it renews the lock.
    tables.prepare().await?;
    let flattened = || (start.env.on_progress)(Progress::Flattened);
    let mut fetching = pin!(fetching(gathered, ended));
    let first = {
        let following = pin!(follow(&mut tables, queue, flattened));
        match select(fetching.as_mut(), following).await {
            Either::Left((fetched, _)) => Either::Left(fetched),
            Either::Right((followed, _)) => Either::Right(followed),
        }
    };
    let fetched = match first {
        Either::Left(fetched) => fetched,
        Either::Right(followed) => {
            // Now, because the archive may need the room on the disk.
            begin_again_if_failed(&mut tables, followed).await?;
            fetching.await
        }
    };
    let added = match start.env.stop.reason() {
        None => tables.all_are_added().await,
        // A run that stops publishes nothing.
        Some(_) => tables.step_ends().await,
    };
    begin_again_if_failed(&mut tables, added).await?;
    Ok((fetched, tables))
}

/// Begins again if flattening has failed or a row came too late.
async fn begin_again_if_failed(tables: &mut PageTables<'_>, ended: Result<()>) -> Result<()> {
    let error = match ended {
        Ok(()) if !tables.is_late() => return Ok(()),
        Ok(()) => {
            Error::unexpected("a row arrived that belongs before rows that are already written")
        }
        Err(error) => error,
    };
    warn!(%error, "failed to write rows while fetching; publishing reads all responses from the archive");
    tables.begin_again().await
}

/// Ends early if a row comes too late.
async fn follow(
    tables: &mut PageTables<'_>,
    mut queue: UnboundedReceiver<Ended>,
    flattened: impl Fn(),
) -> Result<()> {
    let source = tables.source.clone();
    let queue = poll_fn(|context| queue.poll_recv(context));
    let mut responses = queue
        .map(async |ended| match ended {
            Ended::Archived(batch, attempt) => {
                let read = source.read(&batch, Some(&attempt)).await;
                Read::Response(batch, read)
            }
            Ended::Unanswered(targets) => Read::Unanswered(targets),
        })
        .buffer_unordered(AT_ONCE);
    loop {
        let read = tokio::select! {
            biased;
            // First, so that the number of written rows is reported at once.
            ended = tables.step_ends(), if tables.has_step() => {
                ended?;
                continue;
            }
            read = responses.next() => read,
        };
        let (batch, read) = match read {
            Some(Read::Response(batch, read)) => (batch, read),
            Some(Read::Unanswered(targets)) => {
                tables.settle(&targets);
                continue;
            }
            None => return Ok(()),
        };
        match read {
            Ok(ReadResponse::Flattened(response)) => {
                // Whatever is waited for, the response is added as a whole.
                flattened();
                tables.add(&batch, response).await?;
            }
            // Publishing reads it again, and does what is to be done about it.
            Ok(ReadResponse::Damaged(error)) | Err(error) => {
                debug!(%error, "a response is not flattened while fetching");
            }
        }
        if tables.is_late() {
            return Ok(());
        }
    }
}
