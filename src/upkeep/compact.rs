//! Compacts a lake: packs the many small objects of a run's ledger into one tar file, a bundle.
//!
//! A night of a million targets leaves three thousand objects, and a year leaves a million. Each of them takes a request
//! to copy, to move to colder storage or to delete. Once a snapshot is published, its objects can be bundled. In the tar
//! they have the paths that they have in the lake, so `tar -x` restores them. The bundle's index says where each object
//! begins, so that one object can be read without the others.
//!
//! # What an interruption leaves
//! The tar is read back and compared with the objects before it is delivered. Then the index is written, and only then
//! the objects are deleted. If compacting is interrupted before that, they exist twice, and the next compaction deletes
//! them.
//!
//! # Memory
//! A few objects at a time, and about 150 bytes per object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};

use chrono::NaiveDate;
use futures::StreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::unfinished::{Objects, being_replaced, days_before};
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::lake::snapshots;
use crate::ledger::{Bundles, FORMAT, Index, indexes};
use crate::stop::Stop;
use crate::store::{Layout, Lock, Owner, Store, hash};

/// Objects that are read at the same time.
const READ_AT_ONCE: usize = 16;
/// The fewest objects that are worth a bundle, because a bundle and its index are two objects.
const FEWEST: usize = 3;
/// The size of the buffer for reading and writing a tar, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Plans what to bundle, and changes nothing: the responses, intents and attempts of published snapshots that are not
/// being replaced, except those of the last `keep_days` days.
///
/// # Errors
/// A lake that fails.
pub async fn to_compact(
    store: &Store,
    keep_days: Option<u32>,
    today: NaiveDate,
) -> Result<Vec<Objects>> {
    let published = snapshots(store).await?.into_iter().collect();
    let replaced = being_replaced(store, &published).await?;
    let since = keep_days.map(|days| days_before(today, days));
    let mut found = Vec::new();
    for date in published
        .into_iter()
        .filter(|date| !replaced.contains(date))
    {
        if since.is_some_and(|since| date >= since) {
            continue;
        }
        let loose = loose(store, Layout { snapshot: date }).await?;
        if loose.len() >= FEWEST {
            found.push(Objects::of(date, &loose));
        }
    }
    Ok(found)
}

/// Bundles the objects of these dates, which [`to_compact`] has planned.
///
/// # Errors
/// A date whose lock another process holds; a lake or a disk that fails; a requested stop, which takes effect between
/// two objects or deletions. The next compaction finishes what is left.
pub async fn compact(
    store: &Store,
    dates: &[NaiveDate],
    owner: &Owner,
    clock: &Clock,
    stop: &Stop,
) -> Result<()> {
    for &snapshot in dates {
        stop.check()?;
        let work = async |lock: std::sync::Arc<Lock>| {
            // A replacement may have been started since the plan was made.
            let replaced = being_replaced(store, &[snapshot].into()).await?;
            if replaced.is_empty() {
                bundle(store, Layout { snapshot }, &lock, stop).await
            } else {
                Ok(())
            }
        };
        Lock::hold(store, snapshot, owner.clone(), clock, stop, work).await?;
    }
    Ok(())
}

/// The objects of a date's ledger that exist outside of bundles, sorted by path.
async fn loose(store: &Store, layout: Layout) -> Result<Vec<ObjectMeta>> {
    let mut found = Vec::new();
    for folder in [layout.archive(), layout.intents(), layout.attempts()] {
        found.extend(store.list(&folder).await?);
    }
    found.retain(|object| !Layout::is_bundle(&object.location));
    Ok(found)
}

/// Bundles the loose objects of a date and deletes them.
async fn bundle(store: &Store, layout: Layout, lock: &Lock, stop: &Stop) -> Result<()> {
    let archive = store.list_here(&layout.archive()).await?;
    let number = indexes(&archive).last().map_or(0, |last| last + 1);
    let bundled = Bundles::read(store, layout, &archive).await?;
    let (mut duplicates, mut new) = (Vec::new(), Vec::new());
    for object in loose(store, layout).await? {
        // An interrupted compaction leaves objects that are bundled already. A different content is a newer object.
        let is_duplicate = match bundled.place(&object.location) {
            Some(place) => place.read(store).await? == store.get(&object.location).await?,
            None => false,
        };
        let objects = if is_duplicate {
            &mut duplicates
        } else {
            &mut new
        };
        objects.push(object.location);
    }
    for object in duplicates.iter().chain(&new) {
        store.refuse_links(object)?;
    }
    if new.len() >= FEWEST {
        write(store, layout, number, &new, Guard { lock, stop }).await?;
    } else {
        new.clear();
    }
    // From here on, every object in the two lists is in a bundle.
    for objects in [duplicates, new] {
        stop.check()?;
        lock.delete_all(objects).await?;
    }
    Ok(())
}

/// What can end the writing of a bundle early.
#[derive(Clone, Copy)]
struct Guard<'a> {
    lock: &'a Lock,
    stop: &'a Stop,
}

/// Writes a bundle of these objects, reads it back, and delivers it and then its index.
async fn write(
    store: &Store,
    layout: Layout,
    number: u32,
    objects: &[Path],
    guard: Guard<'_>,
) -> Result<()> {
    let (path, file) = (layout.bundle(number), store.temporary(layout.snapshot)?);
    let failed = || format!("failed to write {}", file.path().display());
    let mut tar = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, file.as_file()));
    let mut hashes = Vec::with_capacity(objects.len());
    let read = |object: Path| async move { (store.get(&object).await, object) };
    let mut contents = futures::stream::iter(objects.to_vec())
        .map(read)
        .buffered(READ_AT_ONCE);
    while let Some((content, object)) = contents.next().await {
        guard.stop.check()?;
        let missing = || Error::unexpected(format!("{object} is missing in the lake"));
        let content = content?.ok_or_else(missing)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, object.as_ref(), content.as_ref())
            .context(failed)?;
        hashes.push((object.to_string(), Sha256::digest(&content)));
    }
    let mut buffer = tar.into_inner().context(failed)?;
    buffer.flush().context(failed)?;
    drop(buffer);

    // The objects are deleted once they are bundled, so the tar is read back from the disk and compared with them.
    let again = file.reopen().context(failed)?;
    let local = file.path().to_owned();
    let read_back = tokio::task::spawn_blocking(move || -> io::Result<_> {
        let (bytes, sha256) = hash(&local)?;
        Ok(Index {
            format: FORMAT,
            bytes,
            sha256,
            objects: places(again, &hashes)?,
        })
    });
    let index = read_back
        .await
        .context(|| "reading a bundle back panicked")?;
    let index = index.context(|| {
        format!("{path} differs from its objects when read back; nothing was changed")
    })?;

    // Readers find a bundle by its index, so the index comes last.
    store.deliver(file.path(), &path).await?.complete().await?;
    guard.lock.ensure().await?;
    let json = serde_json::to_vec(&index).context(|| "failed to write the index of a bundle")?;
    let path = layout.bundle_index(number);
    if store.put_new(&path, json.into()).await? {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Locked,
        format!("another process has written {path}"),
    ))
}

/// Where each object begins in a tar, and its size in bytes. The tar must contain exactly the expected objects.
fn places(
    tar: File,
    expected: &[(String, impl AsRef<[u8]>)],
) -> io::Result<BTreeMap<String, [u64; 2]>> {
    let mut tar = tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, tar));
    let mut objects = BTreeMap::new();
    let mut expected = expected.iter();
    for entry in tar.entries()? {
        let mut entry = entry?;
        let (start, bytes) = (entry.raw_file_position(), entry.size());
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut found = Sha256::new();
        io::copy(&mut entry, &mut found)?;
        match expected.next() {
            Some((object, hash))
                if *object == path && found.finalize().as_slice() == hash.as_ref() =>
            {
                objects.insert(path, [start, bytes]);
            }
            _ => {
                return Err(io::Error::other(format!("{path} differs in the tar")));
            }
        }
    }
    match expected.next() {
        None => Ok(objects),
        Some((object, _)) => Err(io::Error::other(format!("{object} is missing in the tar"))),
    }
}
