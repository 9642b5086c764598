//! Chooses two snapshots that can be compared: both published, with the same settings.

use chrono::NaiveDate;

use crate::error::{Error, Result};
use crate::lake::{Manifest, snapshots};
use crate::store::Store;

/// Two published snapshots with the same settings.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The snapshot before.
    pub(super) from: Manifest,
    /// The snapshot after.
    pub(super) to: Manifest,
}

impl Pair {
    /// Reads the manifests of two dates. By default these are the last snapshot and the one before
    /// it.
    ///
    /// # Errors
    /// A date is not published, both dates are the same, the settings of the snapshots differ, or
    /// the lake fails.
    pub async fn choose(
        store: &Store,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
    ) -> Result<Self> {
        let published = snapshots(store).await?;
        let lake = store.display();
        let last = || published.last().copied();
        let to = to
            .or_else(last)
            .ok_or_else(|| too_few(&lake, "no snapshot is published"))?;
        let before = || published.iter().rev().copied().find(|date| *date < to);
        let from = from
            .or_else(before)
            .ok_or_else(|| too_few(&lake, &format!("no snapshot before {to} is published")))?;
        if from == to {
            return Err(
                Error::usage(format!("{from} cannot be compared with itself")).with_hint(
                    "give two dates, or none for the last two snapshots; `backlake snapshots` lists them",
                ),
            );
        }
        let (from, to) = (
            published_at(store, from).await?,
            published_at(store, to).await?,
        );
        if let Some(difference) = from.question.difference(&to.question) {
            let message = format!(
                "snapshots {} and {} have different settings: {difference}",
                from.snapshot, to.snapshot
            );
            return Err(Error::usage(message)
                .with_hint("compare two snapshots of one pipeline with the same settings"));
        }
        Ok(Self { from, to })
    }

    /// The dates of both.
    #[must_use]
    pub fn dates(&self) -> [NaiveDate; 2] {
        [self.from.snapshot, self.to.snapshot]
    }
}

async fn published_at(store: &Store, date: NaiveDate) -> Result<Manifest> {
    Manifest::read(store, date).await?.ok_or_else(|| {
        Error::usage(format!(
            "snapshot {date} is not published in {}",
            store.display()
        ))
        .with_hint("`backlake snapshots` lists the published snapshots")
    })
}

fn too_few(lake: &str, what: &str) -> Error {
    Error::usage(format!("{what} in {lake}")).with_hint(
        "a comparison needs two snapshots; `backlake snapshots` lists the published ones",
    )
}
