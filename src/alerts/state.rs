//! The alerts of a snapshot as the lake keeps them, beside what was told before.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::tell::{Memory, WORSE};
use crate::error::{Context as _, Error, Result};
use crate::store::{Layout, Lock, Store};

/// Whether the pages were compared to find out if all of them moved together since the night before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftCheck {
    /// They were compared. If all moved together, there is an alert.
    Checked,
    /// The rule is switched off.
    Off,
    /// There is no earlier night to compare with.
    OneNight,
    /// Too few pages have enough referring main domains.
    FewPages,
}

/// The alerts of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// The version of the format.
    pub format: u32,
    /// The date of the snapshot.
    pub snapshot: NaiveDate,
    /// How many nights were compared, tonight included.
    pub nights: u32,
    /// Whether all pages moved together.
    pub index_shift: ShiftCheck,
    /// Worst first, those that are quiet at the end.
    pub alerts: Vec<Alert>,
    /// How many more there are.
    pub more: u64,
    /// Nights that could not be read. Their numbers are missing in the comparison.
    pub not_read: Vec<NaiveDate>,
    /// What was told, so that it is quiet.
    pub(super) memory: Vec<Memory>,
}

impl Alerts {
    /// The version of the format that this program writes.
    pub(super) const FORMAT: u32 = 1;

    /// The alerts that are told for this snapshot.
    pub fn told(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| !alert.quiet)
    }

    /// Whether these alerts of a snapshot, which was then replaced, have told an alert of the replacement, and it has not
    /// become worse.
    #[must_use]
    pub fn have_told(&self, alert: &Alert) -> bool {
        self.told().any(|told| {
            let is_same = (told.rule, &told.key) == (alert.rule, &alert.key);
            is_same && alert.magnitude < told.magnitude * WORSE
        })
    }
}

/// Writes the alerts of the snapshot whose lock is held.
///
/// # Errors
/// The lock was lost, or the lake fails.
pub async fn write(store: &Store, lock: &Lock, alerts: &Alerts) -> Result<()> {
    let json = serde_json::to_vec_pretty(alerts).context(|| "failed to write the alerts")?;
    lock.ensure().await?;
    let layout = Layout {
        snapshot: alerts.snapshot,
    };
    store.put(&layout.alerts(), json.into()).await
}

/// The alerts of a snapshot; none if they were not written.
///
/// # Errors
/// The lake fails, or the file is damaged or of another version.
pub(super) async fn stored(store: &Store, snapshot: NaiveDate) -> Result<Option<Alerts>> {
    let path = Layout { snapshot }.alerts();
    let Some(json) = store.get(&path).await? else {
        return Ok(None);
    };
    let alerts: Alerts =
        serde_json::from_slice(&json).context(|| format!("failed to read {path}"))?;
    if alerts.format > Alerts::FORMAT {
        return Err(Error::usage(format!("{path} has format {}", alerts.format))
            .with_hint("use a newer version of backlake"));
    }
    Ok(Some(alerts))
}

/// The alerts of the last date before this one that has any.
pub(super) async fn stored_before(store: &Store, snapshot: NaiveDate) -> Result<Option<Alerts>> {
    let objects = store.list_here(&Layout::all_alerts()).await?;
    let dates = objects
        .iter()
        .filter_map(|object| Layout::date_of(&object.location));
    match dates.filter(|date| *date < snapshot).max() {
        Some(date) => stored(store, date).await,
        None => Ok(None),
    }
}
