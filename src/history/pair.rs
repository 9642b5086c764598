//! Chooses two snapshots that can be compared: both published, the earlier one first, with the same
//! settings.

use std::sync::Arc;

use chrono::NaiveDate;
use polars::prelude::DataFrame;

use super::label_lines::{Label, keys_with};
use super::local_files::LocalFiles;
use super::opened::Opened;
use super::tables::{Side, blocking, count, listed};
use crate::contract::Table;
use crate::error::{Error, Result};
use crate::lake::{Manifest, snapshots};
use crate::store::Store;

/// Two published snapshots with the same settings: all of their root domains, or one, and all of
/// their targets, or those with a label.
#[derive(Debug)]
pub struct Pair {
    /// Before and after.
    sides: [Arc<Opened>; 2],
    /// The root domain to compare; `None` for all.
    pub(super) root_domain: Option<String>,
    label: Option<Label>,
}

impl Pair {
    /// Reads the manifests of two dates. By default these are the last snapshot and the one before
    /// it.
    ///
    /// # Errors
    /// A date is not published, the dates are the same or in the wrong order, the settings of the
    /// snapshots differ, neither snapshot has a target of the root domain, or the lake fails.
    pub async fn choose(
        store: &Store,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
        root_domain: Option<String>,
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
        check_order(from, to)?;
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
        let pair = Self {
            sides: [from, to].map(|manifest| Arc::new(Opened::new(manifest))),
            root_domain,
            label: None,
        };
        pair.check_root_domain(store).await?;
        Ok(pair)
    }

    /// Two snapshots that have the same settings, the earlier one first, and what to compare: all
    /// targets, or those with a label.
    #[must_use]
    pub fn of(from: &Arc<Opened>, to: &Arc<Opened>, label: Option<Label>) -> Self {
        Self {
            sides: [from, to].map(Arc::clone),
            root_domain: None,
            label,
        }
    }

    /// The dates of both.
    #[must_use]
    pub fn dates(&self) -> [NaiveDate; 2] {
        [Side::Before, Side::After].map(|side| self.sides[side as usize].manifest().snapshot)
    }

    /// The files of a table in both snapshots. They are opened, or copied from a bucket, only once.
    pub(super) async fn files_of_both(
        &self,
        store: &Store,
        table: Table,
    ) -> Result<[Arc<LocalFiles>; 2]> {
        let before = self.files(store, Side::Before, table).await?;
        Ok([before, self.files(store, Side::After, table).await?])
    }

    async fn files(&self, store: &Store, side: Side, table: Table) -> Result<Arc<LocalFiles>> {
        self.sides[side as usize].files(store, table).await
    }

    /// The keys of the targets to compare in each snapshot; `None` for all.
    pub(super) async fn keys(&self, store: &Store) -> Result<[Option<DataFrame>; 2]> {
        let Some(label) = self.label.clone() else {
            return Ok([None, None]);
        };
        let [before, after] = self.files_of_both(store, Table::Targets).await?;
        blocking(move || {
            let keys = |files: &LocalFiles| keys_with(files, &label).map(Some);
            Ok([keys(&before)?, keys(&after)?])
        })
        .await
    }

    /// A domain that was mistyped would look like one without changes.
    async fn check_root_domain(&self, store: &Store) -> Result<()> {
        let Some(root_domain) = self.root_domain.clone() else {
            return Ok(());
        };
        for side in Side::BOTH {
            let files = self.files(store, side, Table::Targets).await?;
            let domain = root_domain.clone();
            let targets = blocking(move || count(listed(&files, Some(&domain))?));
            if targets.await? > 0 {
                return Ok(());
            }
        }
        let [from, to] = self.dates();
        Err(Error::usage(format!(
            "--root-domain: no target of {root_domain} is in the snapshots {from} and {to}"
        ))
        .with_hint("give a registrable domain, such as crates.io; the column root_domain of `targets` has those of the list"))
    }
}

fn check_order(from: NaiveDate, to: NaiveDate) -> Result<()> {
    let (message, hint) = match from.cmp(&to) {
        std::cmp::Ordering::Less => return Ok(()),
        std::cmp::Ordering::Equal => (
            format!("{from} cannot be compared with itself"),
            "give two dates, or none for the last two snapshots; `backlake snapshots` lists them"
                .to_owned(),
        ),
        std::cmp::Ordering::Greater => (
            format!("--from {from} is later than --to {to}"),
            format!("swap the dates: --from {to} --to {from}"),
        ),
    };
    Err(Error::usage(message).with_hint(hint))
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
