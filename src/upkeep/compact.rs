//! Bundles: the many small objects that a run leaves, its answers and its books, in one tar.
//!
//! A night of a million targets leaves three thousand objects, and a year of them a million, each of which takes a
//! request to copy, to move to colder storage or to delete. Once a snapshot is published they can be bundled. They stand
//! in the tar under the paths they had in the lake, so `tar -x` brings them back, and an index beside it says where each
//! begins, so that one can be read without the others.
//!
//! # What survives
//! The tar is read back and held to the objects before it is delivered; the index comes after it, and only then do the
//! objects go. Until they have gone they are there twice, and the next compaction takes them away.
//!
//! # Memory
//! A few objects at a time, and about 150 bytes for each of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};

use chrono::{Days, NaiveDate};
use futures::StreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use super::unfinished::{Objects, being_replaced};
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::lake::snapshots;
use crate::ledger::{Bundles, FORMAT, Index, indexes};
use crate::stop::Stop;
use crate::store::{Layout, Lock, Owner, Store, hash};

/// Objects that are read at once.
const READ_AT_ONCE: usize = 16;
/// A bundle and its index are two objects: fewer than this are not worth it.
const FEWEST: usize = 3;
/// Bytes of a tar that are written or read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// What can be bundled: the answers and books of published snapshots of which no replacement was begun. Those of the last
/// days stay as they are, if so many are given.
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
    let since = keep_days.and_then(|days| today.checked_sub_days(Days::new(days.into())));
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

/// Bundles what [`to_compact`] has named.
///
/// # Errors
/// A date that a run holds; a lake or a disk that fails. Whatever was not finished is by the next compaction.
pub async fn compact(
    store: &Store,
    dates: &[NaiveDate],
    owner: &Owner,
    clock: &Clock,
) -> Result<()> {
    for &snapshot in dates {
        let stop = Stop::default();
        let work = async |lock: std::sync::Arc<Lock>| {
            // What was named may have changed until the lock was taken.
            let replaced = being_replaced(store, &[snapshot].into()).await?;
            if replaced.is_empty() {
                bundle(store, Layout { snapshot }, &lock).await
            } else {
                Ok(())
            }
        };
        Lock::hold(store, snapshot, owner.clone(), clock, &stop, work).await?;
    }
    Ok(())
}

/// The objects of a run that are not bundled, by path.
async fn loose(store: &Store, layout: Layout) -> Result<Vec<ObjectMeta>> {
    let mut found = Vec::new();
    for folder in [layout.archive(), layout.intents(), layout.attempts()] {
        found.extend(store.list(&folder).await?);
    }
    found.retain(|object| !Layout::is_bundle(&object.location));
    Ok(found)
}

async fn bundle(store: &Store, layout: Layout, lock: &Lock) -> Result<()> {
    let archive = store.list_here(&layout.archive()).await?;
    let number = indexes(&archive).last().map_or(0, |last| last + 1);
    let loose = loose(store, layout).await?;
    let (there_twice, new): (Vec<_>, Vec<_>) = {
        let bundled = Bundles::read(store, layout, &archive).await?;
        let mut sorted = (Vec::new(), Vec::new());
        for object in loose {
            // Of what was broken off before it went; an entry that was written since is another.
            let twice = match bundled.place(&object.location) {
                Some(place) => place.read(store).await? == store.get(&object.location).await?,
                None => false,
            };
            if twice {
                sorted.0.push(object.location)
            } else {
                sorted.1.push(object.location)
            }
        }
        sorted
    };
    if new.len() >= FEWEST {
        write(store, layout, number, &new, lock).await?;
    }
    lock.ensure().await?;
    store.delete_all(there_twice).await?;
    if new.len() >= FEWEST {
        store.delete_all(new).await
    } else {
        Ok(())
    }
}

/// Writes a bundle of these objects, reads it back, and puts it and then its index in place.
async fn write(
    store: &Store,
    layout: Layout,
    number: u32,
    objects: &[Path],
    lock: &Lock,
) -> Result<()> {
    let (path, file) = (layout.bundle(number), store.temporary()?);
    let failed = || format!("failed to write {}", file.path().display());
    let mut tar = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, file.as_file()));
    let mut hashes = Vec::with_capacity(objects.len());
    let read = |object: Path| async move { (store.get(&object).await, object) };
    let mut contents = futures::stream::iter(objects.to_vec())
        .map(read)
        .buffered(READ_AT_ONCE);
    while let Some((content, object)) = contents.next().await {
        let vanished = || Error::unexpected(format!("{object} has vanished from the lake"));
        let content = content?.ok_or_else(vanished)?;
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
    let index =
        index.context(|| format!("{path} was not written as it should be; nothing was changed"))?;
    store.deliver(file.path(), &path).await?.complete().await?;
    lock.ensure().await?;
    let json = serde_json::to_vec(&index).context(|| "failed to write the index of a bundle")?;
    if store
        .put_new(&layout.bundle_index(number), json.into())
        .await?
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Locked,
        format!("another process has written {path}"),
    ))
}

/// Where each object stands in a tar, which is to hold these and nothing else.
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
                return Err(io::Error::other(format!(
                    "{path} reads back as another object"
                )));
            }
        }
    }
    match expected.next() {
        None => Ok(objects),
        Some((object, _)) => Err(io::Error::other(format!("{object} is missing"))),
    }
}
