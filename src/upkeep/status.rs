//! Whether a lake is up to date and has no problems: the verdict of `backlake status`, from its nights alone.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};

use super::night::{Night, NightState};
use super::nights::{dates, nights};
use crate::error::Result;
use crate::money::Usd;
use crate::store::{Owner, Store};

/// What a lake must be like to be in order.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// How many nights are looked at, today included.
    pub nights: u32,
    /// How old the newest snapshot may be.
    pub max_age: TimeDelta,
}

/// Whether a lake is up to date and has no problems.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The lake.
    pub lake: String,
    /// When it was looked at.
    pub checked_at: DateTime<Utc>,
    /// What someone must look at. Empty if there is nothing.
    pub problems: Vec<Problem>,
    /// The newest published snapshot.
    pub newest: Option<Newest>,
    /// How old it may be, in seconds.
    pub max_age_seconds: i64,
    /// The last nights, and every older one that is not published, oldest first.
    pub nights: Vec<Night>,
    /// What the snapshots of this month have cost so far.
    pub month: Month,
    /// The balance of the account, as the last start that asked for it found it.
    pub balance: Option<Balance>,
}

/// The newest published snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// Its date.
    pub snapshot: NaiveDate,
    /// When it was published. A later replay does not make its data newer.
    pub published_at: DateTime<Utc>,
    /// How long ago that was.
    pub age_seconds: i64,
}

/// What the snapshots of a month have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Month {
    /// The first day of the month.
    pub from: NaiveDate,
    /// Snapshots that are published, open or held.
    pub snapshots: u64,
    /// Snapshots that were pruned; their cost is not counted.
    pub pruned: u64,
    /// What was charged, also for runs that were abandoned.
    pub cost_usd: Usd,
    /// What may have been charged in addition, at most.
    pub cost_unknown_usd: Usd,
    /// What the lower bounds cost, if all snapshots are published and their prices are known.
    pub lower_bound_usd: Option<Usd>,
}

/// A balance, and when it was that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The balance before the first request.
    pub usd: Usd,
    /// The snapshot that was fetched then.
    pub snapshot: NaiveDate,
}

/// Something that someone must look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A night that is not published.
    Night(NaiveDate, NightState),
    /// A replacement that is not published.
    Replacement(NaiveDate),
    /// The newest snapshot is too old.
    Stale(Newest),
    /// There is no published snapshot.
    NothingPublished,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Night(date, state) => write!(f, "{date} is {}", state.name()),
            Self::Replacement(date) => write!(f, "the replacement of {date} is open"),
            Self::Stale(Newest {
                snapshot,
                age_seconds,
                ..
            }) => {
                let (hours, minutes) = (age_seconds / 3600, age_seconds / 60 % 60);
                write!(
                    f,
                    "the newest snapshot, {snapshot}, is {hours} h {minutes:02} min old"
                )
            }
            Self::NothingPublished => f.write_str("no snapshot is published"),
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a lake and judges it. Nothing is sent, locked or changed.
///
/// # Errors
/// A lake that fails.
pub async fn status(
    store: &Store,
    expected: Expected,
    here: &Owner,
    now: DateTime<Utc>,
) -> Result<Status> {
    let known = dates(store).await?;
    let since = first_night(expected.nights, now).min(first_of_month(now));
    // Older nights count only if they are not published, and the newest published one wherever it is.
    let published: Vec<_> = crate::lake::snapshots(store).await?;
    let newest = published.last().copied();
    let read = known.into_iter().filter(|date| {
        *date >= since || Some(*date) == newest || published.binary_search(date).is_err()
    });
    let nights = nights(store, read, here, now).await?;
    Ok(judge(store.display(), nights, expected, now))
}

/// Judges the nights of a lake: everything that is not published, and the published ones of this
/// month and of the nights that are looked at.
fn judge(lake: String, mut known: Vec<Night>, expected: Expected, now: DateTime<Utc>) -> Status {
    // A command that only took the lock has started nothing, for example a replay of a wrong date.
    known.retain(|night| night.state != NightState::Missing);
    let first = first_night(expected.nights, now);
    let month = month(&known, now);
    let newest = newest(&known, now);
    let balance = known.iter().rev().find_map(|night| {
        let (usd, snapshot) = (night.balance_usd?, night.snapshot);
        Some(Balance { usd, snapshot })
    });
    let nights = shown(known, first, now.date_naive());
    let mut problems: Vec<_> = nights
        .iter()
        .filter(|night| night.needs_attention())
        .map(|night| match night.state {
            NightState::Published => Problem::Replacement(night.snapshot),
            state => Problem::Night(night.snapshot, state),
        })
        .collect();
    match newest {
        None => problems.push(Problem::NothingPublished),
        Some(newest) if newest.age_seconds > expected.max_age.num_seconds() => {
            problems.push(Problem::Stale(newest));
        }
        Some(_) => {}
    }
    Status {
        lake,
        checked_at: now,
        problems,
        newest,
        max_age_seconds: expected.max_age.num_seconds(),
        nights,
        month,
        balance,
    }
}

/// The nights that are shown: those since `first`, with the missing ones, and older ones that need
/// attention. Today counts only once it has started.
fn shown(known: Vec<Night>, first: NaiveDate, today: NaiveDate) -> Vec<Night> {
    let begins = known
        .first()
        .map_or(today, |night| night.snapshot)
        .max(first);
    let mut by_date: BTreeMap<_, _> = begins
        .iter_days()
        .take_while(|date| *date < today)
        .map(|date| (date, Night::missing(date)))
        .collect();
    for night in known {
        if night.snapshot >= first || night.needs_attention() {
            by_date.insert(night.snapshot, night);
        }
    }
    by_date.into_values().collect()
}

fn newest(nights: &[Night], now: DateTime<Utc>) -> Option<Newest> {
    let mut published = nights.iter().rev();
    published.find_map(|night| {
        let snapshot = night.snapshot;
        // What is published after its day is as old as the end of that day: a replay or a late
        // continuation does not bring newer data.
        let end = snapshot
            .checked_add_days(Days::new(1))?
            .and_time(NaiveTime::MIN);
        let published_at = night.published_at?.min(end.and_utc());
        let age_seconds = (now - published_at).num_seconds().max(0);
        Some(Newest {
            snapshot,
            published_at,
            age_seconds,
        })
    })
}

fn month(nights: &[Night], now: DateTime<Utc>) -> Month {
    let from = first_of_month(now);
    let (mut snapshots, mut pruned) = (0, 0);
    let (mut cost_usd, mut cost_unknown_usd) = (Usd::ZERO, Usd::ZERO);
    let mut lower_bound_usd = Some(Usd::ZERO);
    let of_month = |night: &&Night| {
        (night.snapshot.year(), night.snapshot.month()) == (from.year(), from.month())
    };
    for night in nights.iter().filter(of_month) {
        if night.state == NightState::Pruned {
            pruned += 1;
            continue;
        }
        cost_usd += night.cost_usd;
        cost_unknown_usd += night.cost_unknown_usd;
        // An abandoned run has no snapshot.
        if night.state == NightState::Abandoned {
            continue;
        }
        snapshots += 1;
        // The bound of an open snapshot is for all its targets, its cost is not.
        let bound = night
            .lower_bound_usd
            .filter(|_| night.state == NightState::Published);
        lower_bound_usd = lower_bound_usd.zip(bound).map(|(sum, more)| sum + more);
    }
    Month {
        from,
        snapshots,
        pruned,
        cost_usd,
        cost_unknown_usd,
        lower_bound_usd,
    }
}

fn first_of_month(now: DateTime<Utc>) -> NaiveDate {
    let today = now.date_naive();
    today.with_day(1).unwrap_or(today)
}

fn first_night(nights: u32, now: DateTime<Utc>) -> NaiveDate {
    let before = Days::new(nights.saturating_sub(1).into());
    now.date_naive()
        .checked_sub_days(before)
        .unwrap_or(NaiveDate::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::night::tests::{date, open, published};

    fn now() -> DateTime<Utc> {
        date(26).and_hms_opt(7, 0, 0).unwrap().and_utc()
    }

    fn judged(nights: Vec<Night>, count: u32, hours: i64) -> Status {
        let max_age = TimeDelta::hours(hours);
        judge(
            "lake".to_owned(),
            nights,
            Expected {
                nights: count,
                max_age,
            },
            now(),
        )
    }

    fn problems(status: &Status) -> String {
        let problems: Vec<_> = status.problems.iter().map(Problem::to_string).collect();
        problems.join("; ")
    }

    #[test]
    fn a_lake_is_fresh_and_whole_or_its_problems_are_named() {
        for (nights, count, hours, expected) in [
            (vec![published(25), published(26)], 7, 26, ""),
            // Tonight's run may still come; missing nights count from the first one on.
            (vec![published(25)], 7, 48, ""),
            (
                vec![published(23), published(25), published(26)],
                7,
                26,
                "2026-11-24 is missing",
            ),
            (vec![published(23), published(25), published(26)], 2, 26, ""),
            (vec![published(25), open(26)], 7, 48, "2026-11-26 is open"),
            // An open night is never too old to be shown.
            (
                vec![open(2), published(25), published(26)],
                2,
                26,
                "2026-11-02 is open",
            ),
            (
                vec![open(26)],
                1,
                26,
                "2026-11-26 is open; no snapshot is published",
            ),
            (
                vec![published(24), published(25)],
                2,
                26,
                "the newest snapshot, 2026-11-25, is 28 h 40 min old",
            ),
            (
                vec![published(20)],
                3,
                26,
                "2026-11-24 is missing; 2026-11-25 is missing; the newest snapshot, 2026-11-20, is 148 h 40 min old",
            ),
        ] {
            assert_eq!(problems(&judged(nights, count, hours)), expected);
        }
    }

    #[test]
    fn a_late_publication_does_not_make_data_newer_than_the_end_of_its_day() {
        let mut late = published(23);
        late.published_at = Some(now());
        let status = judged(vec![late], 1, 26);
        let newest = status.newest.unwrap();
        assert_eq!(
            (newest.published_at.date_naive(), newest.age_seconds),
            (date(24), 55 * 3600)
        );
    }

    #[test]
    fn a_month_adds_up_its_snapshots_and_says_what_it_does_not_know() {
        let mut pruned = published(3);
        pruned.state = NightState::Pruned;
        let month = judged(vec![pruned.clone(), published(24), published(25)], 1, 48).month;
        let mut abandoned = open(4);
        abandoned.state = NightState::Abandoned;
        let with_abandoned = judged(vec![abandoned.clone(), published(25)], 1, 48).month;
        let without = judged(vec![published(25)], 1, 48).month;
        assert_eq!(
            with_abandoned,
            Month {
                cost_usd: without.cost_usd + abandoned.cost_usd,
                ..without
            }
        );
        let usd = |text: &str| text.parse::<Usd>().unwrap();
        assert_eq!(
            (month.snapshots, month.pruned, month.cost_usd),
            (2, 1, usd("0.60"))
        );
        assert_eq!(month.lower_bound_usd, Some(usd("0.50")));
        let month = judged(vec![published(24), open(25)], 1, 48).month;
        assert_eq!((month.cost_usd, month.lower_bound_usd), (usd("0.36"), None));
        let mut october = published(25);
        october.snapshot = NaiveDate::from_ymd_opt(2026, 10, 31).unwrap();
        assert_eq!(judged(vec![october], 1, 48).month.snapshots, 0);
    }
}
