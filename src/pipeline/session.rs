//! A session with the provider: sends what a run still lacks, and finds out what it cost.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, warn};

use super::ahead::Ended;
use super::attempts::{ArchivedBatch, RunAttempts};
use super::connect::Connection;
use super::evidence::{evidence, must_wait};
use super::gates::over_budget;
use super::gathered::Gathered;
use super::means::Means;
use super::report::Progress;
use super::run_mode::BalanceMode;
use super::start::Start;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{
    Fetcher, Pacer, Patience, Purse, fetch, fetch_index, reach_account, settle_charges,
};
use crate::ledger::Outcome;
use crate::money::Usd;
use crate::plan::Plan;

/// The most rounds of fetching: another one follows when the provider's task list has freed money.
const MAX_ROUNDS: usize = 5;

/// How long charges are settled after the run was asked to stop.
const SETTLING_AT_THE_END: Duration = Duration::from_secs(10);

/// A difference between the provider's clock and ours that is worth a warning.
const WRONG_CLOCK: TimeDelta = TimeDelta::minutes(10);

/// A session with the provider.
pub(super) struct Session<'a> {
    start: Start<'a>,
    connection: Connection,
    pub(super) means: Means,
    pacer: Pacer,
    /// When the clock has run this long, no further request is sent.
    deadline: Option<Duration>,
}

impl<'a> Session<'a> {
    /// Reads the account over a connection.
    ///
    /// # Errors
    /// An account that the provider refuses, a provider that cannot be reached, or a stop.
    pub(super) async fn open(start: Start<'a>, connection: Connection) -> Result<Self> {
        let Start { pipeline, env, .. } = start;
        let clock = &env.clock;
        let max_time = pipeline.budget.max_time;
        let deadline = max_time.map(|time| clock.running() + time);
        let account = tokio::select! {
            biased;
            account = reach_account(&connection.client, clock) => account?,
            reason = env.stop.requested() => return Err(reason.error()),
        };
        warn_of_clock(connection.client.provider_ahead());
        let index = tokio::select! {
            biased;
            index = fetch_index(&connection.client, clock) => index,
            reason = env.stop.requested() => return Err(reason.error()),
        };
        if let Some(index) = index
            && let Err(error) = start.ledger.record_index(index).await
        {
            warn!(%error, "failed to record the size of the provider's index");
        }
        let means = Means::of(pipeline, account.as_ref())?;
        // The slower of the two limits applies: that of the account and that of the file.
        let allowed = means.requests_per_minute.and_then(NonZeroU32::new);
        let chosen = pipeline.api.requests_per_minute;
        let per_minute = allowed.map_or(chosen, |allowed| allowed.min(chosen));
        Ok(Self {
            start,
            connection,
            means,
            pacer: Pacer::new(pipeline.api.max_in_flight, per_minute, clock),
            deadline,
        })
    }

    /// Sends the plan and settles what it cost. Returns why sending stopped early, if it did. What
    /// needs no further attempt is reported to `ended`.
    pub(super) async fn fetch(
        &self,
        gathered: &mut Gathered,
        mut plan: Plan,
        ended: &UnboundedSender<Ended>,
    ) -> Result<Option<Error>> {
        // What an earlier start may have paid counts against the budget until the provider says
        // that it did not.
        if gathered.attempts.has_unknown_charges() {
            self.settle(&mut gathered.attempts, Patience::None).await;
        }
        let (prices, now) = (self.means.prices(), self.start.env.clock.now());
        if plan.requests() > 0
            && let Some(error) = must_wait(&gathered.attempts.entries, prices, now)
        {
            return Ok(Some(error));
        }
        let mut stopped = None;
        for round in 0..MAX_ROUNDS {
            let spent = gathered.attempts.committed();
            if let Some(error) = self.balance_too_low(&plan, spent, round) {
                stopped = Some(error);
                break;
            }
            let ended_early = self.round(gathered, &plan, ended).await;
            if plan.requests() > 0 {
                stopped = ended_early;
            }
            if !gathered.attempts.has_unknown_charges() {
                break;
            }
            let before = gathered.attempts.committed();
            self.settle(&mut gathered.attempts, Patience::UntilListed)
                .await;
            // Another round is worth it only if it was the budget that stopped this one, and money
            // was freed.
            let freed = gathered.attempts.committed() < before;
            if !(freed && self.stopped_at_the_ceiling(stopped.as_ref())) {
                break;
            }
            plan = gathered.plan_unsent().await?;
        }
        gathered.attempts.sort();
        self.explain(stopped, gathered).await
    }

    /// Sends one plan. Returns why sending stopped early, if it did.
    async fn round(
        &self,
        gathered: &mut Gathered,
        plan: &Plan,
        ended: &UnboundedSender<Ended>,
    ) -> Option<Error> {
        let Start { pipeline, env, .. } = self.start;
        let (targets, requests) = (plan.targets(), plan.requests());
        let max_cost = self.max_cost(plan);
        debug!(run = gathered.record.run, targets, requests, %max_cost, "planned");
        (env.on_progress)(Progress::Planned {
            targets,
            requests,
            max_cost,
            means: self.means,
        });
        if requests == 0 {
            return None;
        }
        let purse = Purse::new(pipeline.budget.max_cost_usd, gathered.attempts.committed());
        let fetcher = Fetcher {
            list: &gathered.list,
            run: &gathered.record.run,
            endpoint: pipeline.request.endpoint,
            options: pipeline.request.options,
            client: &self.connection.client,
            pacer: &self.pacer,
            purse: &purse,
            prices: self.means.prices(),
            evidence: evidence(self.start.store, gathered, self.means.prices()).await,
            retry: pipeline.api.retry,
            ledger: self.start.ledger,
            clock: &env.clock,
            random: Mutex::new(fastrand::Rng::with_seed(env.seed)),
            events: &|event| (env.on_progress)(Progress::Fetch(event)),
            completed: &|attempt, targets| {
                let (id, targets) = (attempt.id, Arc::clone(targets));
                let attempt = Box::new(attempt.clone());
                // No one receives any more if flattening has failed.
                let _ = ended.send(Ended::Archived(ArchivedBatch { id, targets }, attempt));
            },
            unanswered: &|targets| {
                let _ = ended.send(Ended::Unanswered(targets.into()));
            },
            stop: &env.stop,
            deadline: self.deadline,
            drain: pipeline.api.drain,
        };
        // Batches are numbered on from those of earlier starts and rounds.
        let first = gathered.attempts.next_batch;
        let batches = plan.batches().map(|mut batch| {
            batch.number += first;
            batch
        });
        let fetched = fetch(&fetcher, batches, first + requests as u32).await;
        gathered.attempts.add(fetched, &mut gathered.states)
    }

    /// Asks the provider what attempts with unknown charge cost, and records it. What cannot be
    /// settled stays unknown.
    async fn settle(&self, attempts: &mut RunAttempts, patience: Patience) {
        let Start {
            pipeline,
            env,
            ledger,
            ..
        } = self.start;
        let mut settled = Vec::new();
        let recorded = async {
            let asked = settle_charges(
                &self.connection.client,
                &env.clock,
                pipeline.api.listed_after,
                &attempts.entries,
                patience,
            );
            for attempt in asked.await? {
                // A response that arrived but could not be recorded is found by the next start,
                // unless a recorded attempt hides it.
                let hides = attempt.outcome == Outcome::Ambiguous
                    && ledger.has_usable_response(attempt.id).await?;
                if !hides {
                    ledger.record_attempt(&attempt).await?;
                }
                settled.push(attempt);
            }
            Ok::<_, Error>(())
        };
        // Someone who stops the run does not wait long for this.
        let enough = async {
            env.stop.requested().await;
            env.clock.sleep(SETTLING_AT_THE_END).await;
        };
        tokio::select! {
            biased;
            recorded = recorded => {
                if let Err(error) = recorded {
                    warn!(%error, "failed to settle charges; they stay unknown");
                }
            }
            () = enough => {}
        }
        for attempt in settled {
            attempts.replace(attempt);
        }
    }

    /// The most that a plan may cost.
    fn max_cost(&self, plan: &Plan) -> Usd {
        let targets = plan.targets();
        self.means.prices().cost(plan.requests(), targets)
    }

    /// Refuses to start a plan that the balance does not cover, as far as the budget lets it go.
    fn balance_too_low(&self, plan: &Plan, spent: Usd, round: usize) -> Option<Error> {
        let (requests, max_cost) = (plan.requests(), self.max_cost(plan));
        let balance = self.means.balance_usd?;
        let needed = match self.start.pipeline.budget.max_cost_usd {
            Some(ceiling) => max_cost.min(ceiling - spent),
            None => max_cost,
        };
        let spends_anyway = self.start.mode.balance == BalanceMode::SpendWhatIsLeft;
        if requests == 0 || balance >= needed || spends_anyway {
            return None;
        }
        let message = format!(
            "the balance of ${balance} does not cover the rest: up to ${needed} for {requests} requests"
        );
        let sent = if round == 0 {
            "this start sent nothing"
        } else {
            "paid responses are archived"
        };
        let hint = format!(
            "{sent}; add credit and run the same command, or pass --spend-what-is-left to run until the money is used up"
        );
        Some(Error::new(ErrorKind::Account, message).with_hint(hint))
    }

    /// Whether it was `max_cost_usd` that stopped a round, not `max_minutes`.
    fn stopped_at_the_ceiling(&self, stopped: Option<&Error>) -> bool {
        let clock = &self.start.env.clock;
        stopped.is_some_and(|error| error.kind() == ErrorKind::Budget)
            && self
                .deadline
                .is_none_or(|deadline| clock.running() < deadline)
    }

    /// Replaces the error of one request that the budget does not cover by what that means for the
    /// run.
    async fn explain(&self, stopped: Option<Error>, gathered: &Gathered) -> Result<Option<Error>> {
        let ceiling = self.start.pipeline.budget.max_cost_usd;
        let (true, Some(ceiling)) = (self.stopped_at_the_ceiling(stopped.as_ref()), ceiling) else {
            return Ok(stopped);
        };
        let rest = gathered.plan_unsent().await?;
        if rest.requests() == 0 {
            return Ok(stopped);
        }
        let spent = gathered.attempts.committed();
        Ok(Some(over_budget(ceiling, spent, self.max_cost(&rest))))
    }
}

/// Warns of a clock that is wrong: it decides which date is fetched.
fn warn_of_clock(ahead: TimeDelta) {
    if ahead.abs() >= WRONG_CLOCK {
        let minutes = ahead.num_minutes().abs();
        let how = if ahead < TimeDelta::zero() {
            "ahead of"
        } else {
            "behind"
        };
        warn!(
            minutes,
            "the clock of this machine is {how} the provider's; set it, because it decides the date of a snapshot"
        );
    }
}
