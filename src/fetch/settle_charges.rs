//! Settles unknown charges: finds out from the provider's task list what attempts without a
//! complete response cost.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::info;

use super::client::Client;
use super::events::Entry;
use super::free_calls::list_tasks;
use crate::clock::Clock;
use crate::error::Result;
use crate::ledger::{Attempt, Charged};
use crate::money::Usd;
use crate::provider::{ListedTask, SERVER_TIMEOUT};

/// How far the provider's clock may differ from ours without its responses showing it, or ours from itself if someone has
/// corrected it.
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::hours(24);
/// How long after a request was sent the provider's task list shows its charge, unless the pipeline
/// file says otherwise. A task that is not listed by then was never run.
pub const LISTED_AFTER: Duration = Duration::from_secs(SERVER_TIMEOUT.as_secs() + 60);

/// Whether to wait until the provider's task list must show every attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Read the list once. Attempts that may appear later stay unknown.
    None,
    /// Wait until no attempt can appear any more.
    UntilListed,
}

/// Settles the unknown charges among `entries` by their tags in the provider's task list. Returns
/// the attempts that are settled.
///
/// An attempt that is not listed `listed_after` its sending was not charged, if the list covers the time of its sending
/// by the provider's clock. What cannot be settled stays unknown.
///
/// # Errors
/// An account that the provider refuses.
pub async fn settle_charges(
    client: &Client,
    clock: &Clock,
    listed_after: Duration,
    entries: &[Entry],
    patience: Patience,
) -> Result<Vec<Attempt>> {
    let is_unknown = |entry: &&Entry| entry.attempt.charged == Charged::Unknown;
    let mut unknown: Vec<&Entry> = entries.iter().filter(is_unknown).collect();
    let mut settled = Vec::new();
    let Some(first) = unknown.iter().map(|entry| entry.attempt.sent_at).min() else {
        return Ok(settled);
    };
    loop {
        let read_at = clock.running();
        let window = Window::new(first, clock.now(), client.provider_ahead());
        let Some(tasks) = list_tasks(client, clock, window.from, window.to).await? else {
            break;
        };
        let charges = charges_by_tag(&tasks);
        let shows_the_run = window.shows_the_run(entries, &charges);
        let mut longest_wait = Duration::ZERO;
        unknown.retain(|entry| {
            let age = read_at.saturating_sub(entry.sent_by);
            let wait = listed_after.saturating_sub(age);
            let covered = shows_the_run && window.covers(entry);
            match price_of(charges.get(entry.attempt.tag.as_str()), wait, covered) {
                Price::Known { cost, request_id } => {
                    settled.push(with_price(&entry.attempt, cost, request_id));
                    false
                }
                Price::Later(wait) => {
                    longest_wait = longest_wait.max(wait);
                    true
                }
                Price::Unknown => true,
            }
        });
        if unknown.is_empty() || patience == Patience::None || longest_wait.is_zero() {
            break;
        }
        info!(
            requests = unknown.len(),
            wait_seconds = longest_wait.as_secs(),
            "requests ended without a response; waiting until the provider's task list must show whether they were charged"
        );
        clock.sleep(longest_wait).await;
    }
    info!(
        settled = settled.len(),
        unknown = unknown.len(),
        "read from the provider's task list what requests without a response cost"
    );
    Ok(settled)
}

/// The time for which the provider's task list is read.
///
/// The provider lists tasks by its own clock. If that of this machine is days off, the list does not show what was sent,
/// and that must not count as "not charged".
struct Window {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// How far the provider's clock is ahead of ours.
    ahead: TimeDelta,
    /// The provider's time.
    now: DateTime<Utc>,
}

impl Window {
    /// From the first sending until now, by both clocks.
    fn new(first: DateTime<Utc>, now: DateTime<Utc>, ahead: TimeDelta) -> Self {
        Self {
            from: moved(first.min(moved(first, ahead)), -CLOCK_DIFFERENCE),
            to: moved(now.max(moved(now, ahead)), CLOCK_DIFFERENCE),
            ahead,
            now: moved(now, ahead),
        }
    }

    /// Whether the time of a sending is plausible: an earlier start whose clock was ahead has recorded a time that has
    /// not come yet.
    fn covers(&self, entry: &Entry) -> bool {
        let sent_at = entry.attempt.sent_at;
        sent_at.min(moved(sent_at, self.ahead)) <= moved(self.now, CLOCK_DIFFERENCE)
    }

    /// Whether the list shows anything of what was certainly charged in this time. If nothing was, nothing says that it
    /// does not.
    fn shows_the_run(&self, entries: &[Entry], charges: &HashMap<&str, ListedCharge>) -> bool {
        let mut charged = entries
            .iter()
            .map(|entry| &entry.attempt)
            .filter(|attempt| attempt.charged == Charged::Yes)
            .filter(|attempt| (self.from..=self.to).contains(&attempt.sent_at))
            .peekable();
        charged.peek().is_none() || charged.any(|attempt| charges.contains_key(&*attempt.tag))
    }
}

/// A time moved by a difference. A ledger can say absurd times; one that cannot be moved stays.
fn moved(time: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    time.checked_add_signed(by).unwrap_or(time)
}

/// What the provider's task list says about one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ListedCharge {
    /// The sum over all tasks with the tag, or `None` if one of them has no cost yet.
    cost: Option<Usd>,
    request_id: Option<String>,
}

/// What an attempt cost, as far as the task list says.
#[derive(Debug, PartialEq, Eq)]
enum Price {
    Known {
        cost: Usd,
        request_id: Option<String>,
    },
    /// The list may show it after this wait.
    Later(Duration),
    /// The list does not say, although it should by now.
    Unknown,
}

fn charges_by_tag(tasks: &[ListedTask]) -> HashMap<&str, ListedCharge> {
    let mut charges: HashMap<&str, ListedCharge> = HashMap::new();
    for task in tasks {
        if let Some(tag) = &task.tag {
            let charge = charges.entry(tag).or_insert_with(|| ListedCharge {
                cost: Some(Usd::ZERO),
                request_id: task.id.clone(),
            });
            charge.cost = charge.cost.zip(task.cost).map(|(sum, cost)| sum + cost);
        }
    }
    charges
}

/// What an attempt cost. `wait` is the rest of the time after which the list must show it: zero
/// once it is over.
///
/// | the list shows | before that time | after it |
/// |---|---|---|
/// | a cost | known | known |
/// | no cost: 0 | later, because the task may still run | known: free |
/// | a task without a cost | later | unknown |
/// | nothing | later | known: free, if the list covers the attempt; else unknown |
fn price_of(listed: Option<&ListedCharge>, wait: Duration, covered: bool) -> Price {
    let known = |cost, listed: &ListedCharge| Price::Known {
        cost,
        request_id: listed.request_id.clone(),
    };
    match listed.map(|listed| (listed, listed.cost)) {
        Some((listed, Some(cost))) if cost > Usd::ZERO => known(cost, listed),
        _ if !wait.is_zero() => Price::Later(wait),
        Some((listed, Some(cost))) => known(cost, listed),
        Some((_, None)) => Price::Unknown,
        None if !covered => Price::Unknown,
        None => Price::Known {
            cost: Usd::ZERO,
            request_id: None,
        },
    }
}

/// The attempt with its settled charge.
fn with_price(attempt: &Attempt, cost: Usd, request_id: Option<String>) -> Attempt {
    let mut attempt = attempt.clone();
    attempt.cost_usd = Some(cost.to_scale());
    attempt.charged = if cost > Usd::ZERO {
        Charged::Yes
    } else {
        Charged::No
    };
    attempt.request_id = attempt.request_id.take().or(request_id);
    attempt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_time_in_the_ledger_is_no_panic() {
        let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        for ahead in [TimeDelta::days(3000), TimeDelta::days(-3000)] {
            for (from, to) in [(first, last), (last, first)] {
                let window = Window::new(from, to, ahead);
                assert!(window.from <= from && window.to >= to);
            }
        }
    }

    fn task(tag: &str, id: &str, cost: Option<i64>) -> ListedTask {
        ListedTask {
            id: Some(id.to_owned()),
            tag: Some(tag.to_owned()),
            cost: cost.map(Usd::from_micros),
        }
    }

    #[test]
    fn a_price_is_known_when_the_list_shows_a_cost_or_must_have_shown_one() {
        let listed = |cost: Option<i64>| {
            Some(ListedCharge {
                cost: cost.map(Usd::from_micros),
                request_id: Some("id".to_owned()),
            })
        };
        let known = |cost: i64, request_id: Option<&str>| Price::Known {
            cost: Usd::from_micros(cost),
            request_id: request_id.map(str::to_owned),
        };
        let wait = Duration::from_secs(7);
        for (listed, early, late) in [
            (
                listed(Some(36)),
                known(36, Some("id")),
                known(36, Some("id")),
            ),
            (listed(Some(0)), Price::Later(wait), known(0, Some("id"))),
            (listed(None), Price::Later(wait), Price::Unknown),
            (None, Price::Later(wait), known(0, None)),
        ] {
            let listed = listed.as_ref();
            assert_eq!(price_of(listed, wait, true), early, "{listed:?}");
            assert_eq!(price_of(listed, Duration::ZERO, true), late, "{listed:?}");
        }
        assert_eq!(price_of(None, wait, false), Price::Later(wait));
        assert_eq!(price_of(None, Duration::ZERO, false), Price::Unknown);
    }

    #[test]
    fn the_charges_of_a_tag_are_added_up() {
        let tasks = [
            task("a", "1", Some(10)),
            task("b", "2", Some(5)),
            task("a", "3", Some(20)),
            task("b", "4", None),
        ];
        let charges = charges_by_tag(&tasks);
        assert_eq!(charges["a"].cost, Some(Usd::from_micros(30)));
        assert_eq!(charges["a"].request_id.as_deref(), Some("1"));
        assert_eq!(charges["b"].cost, None);
    }
}
