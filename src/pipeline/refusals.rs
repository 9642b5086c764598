//! What it took a run to find refused targets, and what a plan expects of those found before.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::gathered::Gathered;
use super::means::Means;
use super::ready::Pipeline;
use super::report::{Refusals, RefusedBefore, RefusedExample};
use super::surroundings::Surroundings;
use super::target_states::{TargetState, TargetStates};
use crate::error::Result;
use crate::fate::Fate;
use crate::fetch::Search;
use crate::ledger::{self, Attempt, Outcome, RefusedTarget};
use crate::money::Usd;
use crate::provider::StatusClass;
use crate::store::Store;
use crate::targets::{TargetId, TargetList};

/// How many refused targets a report shows.
const EXAMPLES: usize = 3;
/// How long a plan waits for what the lake knows about refused targets.
const PATIENCE: Duration = Duration::from_secs(10);

impl Refusals {
    /// What all starts of the run have found out, or `None` if no target is refused. `remembered`
    /// are the targets that later runs skip for the time `pause`.
    pub(super) fn of(
        gathered: &Gathered,
        remembered: &[RefusedTarget],
        pause: chrono::Duration,
        means: Option<&Means>,
    ) -> Option<Self> {
        let states = &gathered.states;
        let refused = gathered.list.ids();
        let refused = refused.filter(|&id| states.fate_of(id) == Fate::Refused);
        let refused = refused.map(|id| (id, states.of(id)));
        let (mut found, mut skipped, mut examples) = (0, 0, Vec::new());
        for (target, state) in refused {
            if state.batch.is_none() {
                skipped += 1;
                continue;
            }
            found += 1;
            if examples.len() < EXAMPLES {
                examples.push(RefusedExample {
                    target: gathered.list.target(target).text.into_owned(),
                    reason: state.reason.unwrap_or_default().to_owned(),
                });
            }
        }
        if found + skipped == 0 {
            return None;
        }
        let attempts = || gathered.attempts.entries.iter().map(|entry| &entry.attempt);
        let refused = || attempts().filter(|attempt| is_refusal(attempt));
        let responses = attempts().filter(|attempt| attempt.outcome == Outcome::Ok);
        let above = (responses.count() as u64).saturating_sub(gathered.requests().lower_bound);
        let above = if found > 0 { above } else { 0 };
        let charged: Usd = refused().filter_map(|attempt| attempt.cost_usd).sum();
        let last = remembered.iter().map(|refused| refused.refused_at).max();
        Some(Self {
            found,
            skipped,
            requests_refused: refused().count() as u64,
            responses_above_bound: above,
            cost_usd: means.map(|means| charged + means.price_per_request_usd * above),
            asked_again_from: last
                .filter(|_| !pause.is_zero())
                .map(|last| (last + pause).date_naive()),
            examples,
        })
    }
}

/// Whether the provider refused the request because of a target.
fn is_refusal(attempt: &Attempt) -> bool {
    let class = attempt.status_code.map(StatusClass::of);
    matches!(attempt.outcome, Outcome::Split | Outcome::Refused)
        && matches!(
            class,
            Some(StatusClass::BatchRefused | StatusClass::UnknownRefusal)
        )
}

/// The targets of a list that the provider refused in earlier runs.
pub(super) type EarlierRefusals = Vec<(TargetId, RefusedTarget)>;

/// Whether a run that starts at `now` skips this target: the provider refused it in an earlier run, and `pause` has not
/// passed since then.
fn is_skipped(refused: &RefusedTarget, pause: chrono::Duration, now: DateTime<Utc>) -> bool {
    !pause.is_zero() && now < refused.refused_at + pause
}

/// Sets the fate of targets that the provider refused in earlier runs, so that they are not asked
/// for. If that leaves nothing to ask for, all are asked for: the targets are probably not the cause.
pub(super) fn skip_refused(
    before: &[(TargetId, RefusedTarget)],
    pause: chrono::Duration,
    now: DateTime<Utc>,
    states: &mut TargetStates,
) {
    let mut skipped = 0;
    for (target, refused) in before {
        if states.fate_of(*target) != Fate::Unsent || !is_skipped(refused, pause, now) {
            continue;
        }
        let then = refused.refused_at.date_naive();
        let again = (refused.refused_at + pause).date_naive();
        let reason = format!(
            "{}; refused on {then}, asked again from {again}",
            refused.reason
        );
        let state = TargetState {
            fate: Fate::Refused,
            reason: Some(&reason),
            batch: None,
        };
        states.set(&[*target], state);
        skipped += 1;
    }
    if states.reset_if_all_are_refused() {
        info!("the provider refused every target of the list before: asking for all of them again");
    } else if skipped > 0 {
        info!(
            skipped,
            "not asking for targets that the provider refused before"
        );
    }
}

/// What the lake remembers about the targets of a list; `None` if that is nothing, or if the lake
/// cannot be read: a plan needs no lake.
pub(super) async fn refused_before(
    pipeline: &Pipeline,
    list: &TargetList,
    means: &Means,
    env: &Surroundings<'_>,
) -> Option<RefusedBefore> {
    let read = tokio::select! {
        biased;
        read = remembered(pipeline, env) => read,
        () = env.clock.sleep(PATIENCE) => return None,
    };
    let refused = read.unwrap_or_else(|error| {
        warn!(%error, "failed to read the refused targets of earlier runs; the plan does not count them");
        Vec::new()
    });
    let found = list.find_all(refused.iter().map(|refused| refused.target.as_str()));
    let in_list = refused.into_iter().zip(found);
    let in_list = in_list.filter_map(|(refused, id)| id.map(|_| refused));
    let pause = pipeline.targets.retry_refused_after;
    let now = env.clock.now();
    let (mut skipped, mut again): (Vec<_>, Vec<_>) =
        in_list.partition(|refused| is_skipped(refused, pause, now));
    // A run that would have nothing to ask for asks for all.
    if skipped.len() == list.target_count() {
        again.append(&mut skipped);
    }
    if skipped.is_empty() && again.is_empty() {
        return None;
    }
    let named = again
        .iter()
        .filter(|refused| refused.reason.contains(&refused.target));
    let named = named.count() as u64;
    let search = Search::expected(named, again.len() as u64 - named);
    let until = skipped.iter().map(|refused| refused.refused_at + pause);
    Some(RefusedBefore {
        skipped: skipped.len() as u64,
        skipped_until: until.max().map(|until| until.date_naive()),
        asked_again: again.len() as u64,
        requests: search.requests,
        cost_usd: means.price_per_request_usd * search.responses,
    })
}

async fn remembered(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<Vec<RefusedTarget>> {
    let store = match &env.store {
        Some(store) => store.clone(),
        // A lake that does not exist yet is not created by looking at it.
        None if Store::is_missing(&pipeline.lake.url) => return Ok(Vec::new()),
        None => Store::open(&pipeline.lake.url)?,
    };
    ledger::refused_before(&store, &pipeline.question()).await
}
