//! Chooses two snapshots that can be compared: both published, the earlier one first, with the same
//! settings.

use chrono::NaiveDate;
use polars::prelude::{DataType, len};

use super::tables::{blocking, listed, only, run};
use crate::contract::Table;
use crate::error::{Error, Result};
use crate::lake::{Manifest, snapshots};
use crate::store::Store;

/// Two published snapshots with the same settings: all of their root domains, or one.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The snapshot before.
    pub(super) from: Manifest,
    /// The snapshot after.
    pub(super) to: Manifest,
    /// The root domain to compare; `None` for all.
    pub(super) root_domain: Option<String>,
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
            from,
            to,
            root_domain,
        };
        pair.check_root_domain(store).await?;
        Ok(pair)
    }

    /// The dates of both.
    #[must_use]
    pub fn dates(&self) -> [NaiveDate; 2] {
        [self.from.snapshot, self.to.snapshot]
    }

    /// A domain that was mistyped would look like one without changes.
    async fn check_root_domain(&self, store: &Store) -> Result<()> {
        let Some(root_domain) = self.root_domain.clone() else {
            return Ok(());
        };
        for manifest in [&self.from, &self.to] {
            let files = store.local_files(manifest, Table::Targets).await?;
            let domain = root_domain.clone();
            let targets = blocking(move || {
                let targets = listed(&files, Some(&domain))?;
                let count = len().cast(DataType::Int64).alias("targets");
                only(&run(targets.select([count]))?, "targets")
            });
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
