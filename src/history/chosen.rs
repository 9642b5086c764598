//! Chooses the snapshot that a command looks at.

use chrono::NaiveDate;

use crate::error::{Error, ErrorKind, Result};
use crate::lake::Manifest;
use crate::store::Store;

/// The manifest of the snapshot of a date; without one, of the newest. `published` are the dates that
/// are published, oldest first.
///
/// # Errors
/// No snapshot is published, or not on this date; as [`manifest_of`].
pub async fn chosen(
    store: &Store,
    published: &[NaiveDate],
    date: Option<NaiveDate>,
) -> Result<Manifest> {
    let lake = store.display();
    let date = match (date, published.last()) {
        (_, None) => {
            let message = format!("no snapshot is published in {lake}");
            return Err(Error::usage(message).with_hint(
                "publish one first; `backlake status` says why the last nights are not published",
            ));
        }
        (Some(date), _) if !published.contains(&date) => {
            let message = format!("--snapshot: {date} is not published in {lake}");
            let hint = "`backlake snapshots` lists the published snapshots";
            return Err(Error::usage(message).with_hint(hint));
        }
        (Some(date), _) => date,
        (None, Some(newest)) => *newest,
    };
    manifest_of(store, date).await
}

/// The manifest of a snapshot that was found published.
///
/// # Errors
/// The manifest is damaged, or the snapshot was deleted; the lake fails.
pub async fn manifest_of(store: &Store, date: NaiveDate) -> Result<Manifest> {
    let manifest = Manifest::read(store, date).await.map_err(damaged)?;
    manifest.ok_or_else(|| {
        Error::usage(format!("snapshot {date} was deleted while it was read"))
            .with_hint("run the same command again")
    })
}

/// A manifest that can be read but not understood is damage, which a check has found.
fn damaged(error: Error) -> Error {
    if !Manifest::is_damage(&error) {
        return error;
    }
    Error::new(ErrorKind::FoundProblems, error.to_string())
        .with_hint("the manifest is damaged; `backlake verify` audits the snapshots")
}
