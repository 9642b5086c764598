//! Compares the recorded costs of a snapshot with the provider's task list, request by request.

use std::collections::{HashMap, HashSet};

use chrono::Duration;

use super::ready::{Pipeline, Provider};
use super::report::Reconciled;
use super::surroundings::Surroundings;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{Client, list_tasks};
use crate::ledger::{Attempt, Charged, Ledger};
use crate::money::Usd;
use crate::provider::ListedTask;
use crate::store::Store;

/// How many differences a reconciliation shows.
const FIRST_DIFFERENCES: usize = 5;

/// Compares the recorded costs of a snapshot with the provider's task list.
pub(super) async fn reconcile(
    pipeline: &Pipeline,
    store: &Store,
    client: &Client,
    env: &Surroundings<'_>,
) -> Result<Reconciled> {
    if let Provider::Simulator(_) = pipeline.api.provider {
        let message = "the embedded simulator forgets its tasks when a run ends";
        let hint = "reconcile against the API, or against `backlake simulate` with --base-url";
        return Err(Error::usage(message).with_hint(hint));
    }
    let ours = our_attempts(pipeline, store).await?;
    let theirs = their_tasks(client, env, &ours).await?;
    let comparison = compare(&ours, &theirs);
    let different = comparison.differences.len() as u64;
    let mut first_differences = comparison.differences;
    first_differences.truncate(FIRST_DIFFERENCES);
    Ok(Reconciled {
        snapshot: pipeline.snapshot,
        requests: ours.len() as u64,
        recorded_usd: comparison.recorded_usd,
        charged_usd: comparison.charged_usd,
        different,
        first_differences,
    })
}

/// The attempts of the newest run of the snapshot that has any; at least one.
async fn our_attempts(pipeline: &Pipeline, store: &Store) -> Result<Vec<Attempt>> {
    let ledger = Ledger::new(store.clone(), pipeline.snapshot);
    let records = ledger.all_runs().await?;
    let mut earlier = Vec::new();
    for record in records.iter().rev() {
        earlier = ledger.attempts_of(record).await?.attempts;
        // A run that has sent nothing yet is skipped.
        if !earlier.is_empty() {
            break;
        }
    }
    if earlier.is_empty() {
        let message = format!(
            "no request of snapshot {} is recorded in {}",
            pipeline.snapshot,
            store.display()
        );
        let hint = "pass --snapshot with the date of a run that was started";
        return Err(Error::usage(message).with_hint(hint));
    }
    let attempts = earlier.into_iter().map(|earlier| earlier.attempt);
    Ok(attempts.collect())
}

/// The provider's tasks from the time of these attempts.
async fn their_tasks(
    client: &Client,
    env: &Surroundings<'_>,
    ours: &[Attempt],
) -> Result<Vec<ListedTask>> {
    let times = ours.iter().map(|attempt| attempt.sent_at);
    let now = env.clock.now();
    let first = times.clone().min().unwrap_or(now);
    let last = times.max().unwrap_or(now);
    // The clocks of the two sides may differ.
    let margin = Duration::hours(1);
    let listed = list_tasks(client, &env.clock, first - margin, last + margin).await?;
    listed.ok_or_else(no_task_list)
}

/// The difference between the two sides.
struct Comparison {
    recorded_usd: Usd,
    charged_usd: Usd,
    differences: Vec<String>,
}

/// Compares attempts with the tasks of the same runs, by tag. Several tasks with one tag count
/// together.
fn compare(ours: &[Attempt], theirs: &[ListedTask]) -> Comparison {
    // The tag of an attempt is the name of its run, a slash and its number.
    let run = |tag: &str| tag.rsplit_once('/').map(|(run, _)| run.to_owned());
    let runs_of_ours: HashSet<String> = ours
        .iter()
        .filter_map(|attempt| run(&attempt.tag))
        .collect();
    let mut charged: HashMap<&str, Usd> = HashMap::new();
    let mut without_cost = HashSet::new();
    for task in theirs {
        let Some(tag) = task.tag.as_deref() else {
            continue;
        };
        if run(tag).is_some_and(|run| runs_of_ours.contains(&run)) {
            *charged.entry(tag).or_default() += task.cost.unwrap_or_default().to_scale();
            if task.cost.is_none() {
                without_cost.insert(tag);
            }
        }
    }
    let charged_usd = charged.values().copied().sum();
    let mut differences = Vec::new();
    for attempt in ours {
        let tag = attempt.tag.as_str();
        let listed = charged.remove(tag).unwrap_or_default();
        let recorded = attempt.cost_usd;
        if without_cost.contains(tag) {
            differences.push(format!("{tag}: the provider does not show its cost yet"));
        } else if attempt.charged == Charged::Unknown || recorded.unwrap_or_default() != listed {
            let recorded = recorded.map_or_else(|| "unknown".to_owned(), |usd| format!("${usd}"));
            differences.push(format!(
                "{tag}: {recorded} in the ledger, ${listed} at the provider"
            ));
        }
    }
    // Left over: tasks of these runs that the ledger does not have.
    let mut foreign: Vec<_> = charged
        .into_iter()
        .map(|(tag, usd)| format!("{tag}: not in the ledger, ${usd} at the provider"))
        .collect();
    foreign.sort_unstable();
    differences.extend(foreign);
    let recorded = ours.iter().filter_map(|attempt| attempt.cost_usd);
    Comparison {
        recorded_usd: recorded.sum(),
        charged_usd,
        differences,
    }
}

fn no_task_list() -> Error {
    let message = "failed to read the task list: the provider gave no usable response";
    let hint = "the log above says why; run the same command again later";
    Error::new(ErrorKind::Account, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Intent;
    use crate::store::AttemptId;
    use crate::targets::TextList;

    fn attempt(batch: u32, cost: Option<&str>) -> Attempt {
        let id = AttemptId { batch, attempt: 1 };
        let intent = Intent {
            id,
            tag: format!("run/{id}"),
            sent_at: chrono::DateTime::UNIX_EPOCH,
            targets: TextList::default(),
            root_domains: 0,
            reserved: Usd::ZERO,
        };
        Attempt {
            cost_usd: cost.map(|usd| usd.parse().unwrap()),
            charged: if cost.is_some() {
                Charged::Yes
            } else {
                Charged::Unknown
            },
            ..Attempt::of(&intent)
        }
    }

    fn task(tag: &str, cost: Option<&str>) -> ListedTask {
        ListedTask {
            id: None,
            tag: Some(tag.to_owned()),
            cost: cost.map(|usd| usd.parse().unwrap()),
        }
    }

    #[test]
    fn each_kind_of_difference_is_reported_once() {
        let ours = [
            attempt(0, Some("0.06")),
            attempt(1, Some("0.06")),
            attempt(2, None),
            attempt(3, Some("0.02")),
        ];
        let tags: Vec<&str> = ours.iter().map(|attempt| attempt.tag.as_str()).collect();
        let theirs = [
            // The same cost; another cost, from two tasks; unknown to us; unknown to them.
            task(tags[0], Some("0.06")),
            task(tags[1], Some("0.05")),
            task(tags[1], Some("0.02")),
            task(tags[2], Some("0.03")),
            task(tags[3], None),
            // Only there; and one of another run.
            task("run/9-1", Some("0.01")),
            task("other/0-1", Some("5.00")),
        ];
        let found = compare(&ours, &theirs);
        assert_eq!(found.recorded_usd, "0.14".parse().unwrap());
        assert_eq!(found.charged_usd, "0.17".parse().unwrap());
        let expected = [
            ("$0.06 in the ledger", "$0.07 at the provider"),
            ("unknown in the ledger", "$0.03 at the provider"),
            ("does not show its cost", "yet"),
            ("not in the ledger", "$0.01 at the provider"),
        ];
        assert_eq!(
            found.differences.len(),
            expected.len(),
            "{:?}",
            found.differences
        );
        for (difference, (left, right)) in found.differences.iter().zip(expected) {
            assert!(
                difference.contains(left) && difference.contains(right),
                "{difference}"
            );
        }
    }

    #[test]
    fn equal_costs_are_not_a_difference() {
        let ours = [attempt(0, Some("0.06"))];
        let theirs = [task(&ours[0].tag, Some("0.06"))];
        assert_eq!(compare(&ours, &theirs).differences, [""; 0]);
    }
}
