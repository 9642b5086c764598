//! Two snapshots that can be compared: both published, of one question.

use chrono::NaiveDate;

use crate::error::{Error, Result};
use crate::lake::{Manifest, snapshots};
use crate::store::Store;

/// Two published snapshots that answer the same question.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The one before.
    pub(super) from: Manifest,
    /// The one after.
    pub(super) to: Manifest,
}

impl Pair {
    /// Reads the manifests of two dates: by default of the last snapshot, and of the last one before it.
    ///
    /// # Errors
    /// Dates that are not published or the same, snapshots of different questions, and a lake that fails.
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
                    "give two dates, or none for the last two; `backlake snapshots` lists them",
                ),
            );
        }
        let (from, to) = (
            published_at(store, from).await?,
            published_at(store, to).await?,
        );
        if let Some(difference) = from.question.difference(&to.question) {
            let message = format!(
                "{} (there) and {} (here) answer different questions: {difference}",
                from.snapshot, to.snapshot
            );
            return Err(Error::usage(message)
                .with_hint("compare snapshots that one pipeline has made with the same settings"));
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
        .with_hint("`backlake snapshots` lists what is")
    })
}

fn too_few(lake: &str, what: &str) -> Error {
    Error::usage(format!("{what} in {lake}"))
        .with_hint("two are compared; `backlake snapshots` lists what is published")
}
