//! The one file that knows every stage: lists → plan → fetch → flatten → lake.
//!
//! A run reads nothing but the target lists and the lake. Started again it finds what its earlier starts have paid
//! for in the ledger, plans what is missing, and publishes from the archive alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{debug, info, warn};

use super::books::Books;
use super::connect::{connect, credentials_for};
use super::gates::{same_question, too_many_failed, with_date};
use super::means::Means;
use super::plan::read_targets;
use super::publish::{Publication, WhenDamaged};
use super::report::{Findings, Progress, RunEnd, RunReport, RunState, seconds, write_summary};
use super::spec::Pipeline;
use super::surroundings::{Surroundings, locked};
use super::target_states::TargetStates;
use crate::clock::Stopwatch;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::fate::{Fate, Fates};
use crate::fetch::{Credentials, Fetcher, Pacer, Purse, fetch, fetch_account, settle_charges};
use crate::flatten::Irregularities;
use crate::lake::{Manifest, heal, is_untidy};
use crate::ledger::{Charged, Ledger, Outcome, RunRecord, refused_since, remember_refused};
use crate::money::Usd;
use crate::plan::{Plan, lower_bound, sorted};
use crate::store::{Lock, Store};
use crate::targets::TargetList;
use crate::upkeep::open_snapshots;

/// Fetches what is missing and publishes. Published already: says so.
///
/// # Errors
/// What stops a run before it has anything to report. What stops it later stands in [`RunEnd::error`].
pub async fn run(pipeline: &Pipeline, env: &Surroundings<'_>) -> Result<RunEnd> {
    let (clock, snapshot) = (&env.clock, pipeline.snapshot);
    let start = clock.now();
    let store = env.lake(pipeline)?;
    store.probe().await?;
    if !pipeline.replace
        && let Some(end) = published_already(pipeline, env, &store, start).await?
    {
        return Ok(end);
    }
    let credentials = credentials_for(pipeline, env)?;
    let reader = pipeline.clone();
    let list = tokio::task::spawn_blocking(move || read_targets(&reader)).await;
    let list = list.context(|| "reading the target lists panicked")??;
    for date in open_snapshots(&store)
        .await?
        .into_iter()
        .filter(|date| *date != snapshot)
    {
        warn!("snapshot {date} was begun and is not published; `--snapshot {date}` continues it");
    }
    locked(&store, pipeline, env, async |lock| {
        let this_start = Start {
            pipeline,
            env,
            store: store.clone(),
            lock,
            start,
        };
        this_start.work(list, &credentials).await
    })
    .await
}

async fn published_already(
    pipeline: &Pipeline,
    env: &Surroundings<'_>,
    store: &Store,
    start: DateTime<Utc>,
) -> Result<Option<RunEnd>> {
    let Some(manifest) = Manifest::read(store, pipeline.snapshot).await? else {
        return Ok(None);
    };
    same_question(pipeline, &manifest.question)?;
    let next = Ledger::new(store.clone(), pipeline.snapshot)
        .run_record(manifest.generation + 1)
        .await?;
    if let Some(next) = next {
        warn!(
            run = next.run,
            "a replacement of this snapshot was begun and is not published; `--replace` continues it"
        );
    }
    if is_untidy(store, pipeline.snapshot).await? {
        finish_broken_off(pipeline, env, store).await;
    }
    let report = RunReport::of_manifest(&manifest, RunState::AlreadyPublished, start, &env.clock);
    Ok(Some(RunEnd {
        report,
        error: None,
    }))
}

/// Clears what a publication has left over that was broken off once its manifest was written.
async fn finish_broken_off(pipeline: &Pipeline, env: &Surroundings<'_>, store: &Store) {
    let finished = locked(store, pipeline, env, async |_lock| {
        match Manifest::read(store, pipeline.snapshot).await? {
            Some(manifest) => heal(store, &manifest).await,
            None => Ok(()),
        }
    });
    match finished.await {
        Ok(()) => info!("cleared what a publication that was broken off had left over"),
        Err(error) => {
            warn!(%error, "a publication has left something over; the next start clears it")
        }
    }
}

/// Rounds of fetching at the most: another follows when the provider's list of tasks has freed money.
const MAX_ROUNDS: usize = 5;

/// How long the books are settled once the run is to stop.
const SETTLING_AT_THE_END: Duration = Duration::from_secs(10);

/// One start of a run, which holds the lock.
struct Start<'a> {
    pipeline: &'a Pipeline,
    env: &'a Surroundings<'a>,
    store: Store,
    lock: Arc<Lock>,
    start: DateTime<Utc>,
}

impl Start<'_> {
    async fn work(self, mut list: TargetList, credentials: &Credentials) -> Result<RunEnd> {
        let Self {
            pipeline,
            env,
            store,
            lock,
            start,
        } = &self;
        let (clock, snapshot) = (&env.clock, pipeline.snapshot);
        // Whoever held the lock before may have published.
        let over = Manifest::read(store, snapshot).await?;
        if let Some(manifest) = over.as_ref().filter(|_| !pipeline.replace) {
            same_question(pipeline, &manifest.question)?;
            let report =
                RunReport::of_manifest(manifest, RunState::AlreadyPublished, *start, clock);
            return Ok(RunEnd {
                report,
                error: None,
            });
        }
        let ledger = Ledger::locked(store.clone(), snapshot, Arc::clone(lock));
        let record = self.record(&ledger, over.as_ref()).await?;
        same_question(pipeline, &record.question)?;

        let mut books = Books::default();
        let mut states = TargetStates::new(list.target_count());
        let earlier = ledger
            .earlier_attempts(pipeline.endpoint, record.first_batch..u32::MAX)
            .await?;
        books.take_earlier(earlier, &list, &mut states, clock);
        self.skip_refused(&record, &list, &mut states).await?;
        list.seal();
        let list = Arc::new(list);
        ledger
            .write_target_list(&record.run, &list, pipeline.rules)
            .await?;
        let (means, stopped) = self
            .fetch(
                &ledger,
                &record,
                &list,
                &mut books,
                &mut states,
                credentials,
            )
            .await?;
        let refused = books.refused(&list, &states);
        if let Err(error) =
            remember_refused(store, pipeline.snapshot, refused, &record.question).await
        {
            warn!(%error, "the next run asks again for what was refused");
        }
        ledger
            .write_unanswered(&record.run, &states.unanswered(&list))
            .await?;

        let fates = states.fates(&list);
        let requests = books.totals(lower_bound(&list.root_domain_sizes()));
        if let Some(error) = stopped.or_else(|| too_many_failed(&fates, pipeline)) {
            let (run, vanished) = (record.run, books.vanished);
            let report = self.held_open(run, &list, fates, &books, requests, means, vanished);
            let error = with_date(error, pipeline);
            write_summary(&ledger, &report, Some(&error)).await;
            return Ok(RunEnd {
                report,
                error: Some(error),
            });
        }
        if fates.failed > 0 {
            warn!(
                failed = fates.failed,
                "published all the same: [publish] max_failed_ratio allows for that share"
            );
        }
        (env.on_progress)(Progress::Publishing {
            answers: books.answered.len() as u64,
        });
        let vanished = books.vanished;
        let rules = pipeline.rules;
        let publication = Publication {
            pipeline,
            env,
            store,
            ledger: &ledger,
            lock,
            record,
            list,
            rules,
            states,
            books,
            requests,
            over,
            when_damaged: WhenDamaged::AskAgain,
            stages: Stopwatch::default(),
        };
        let published = publication
            .publish()
            .await
            .map_err(|error| with_date(error, pipeline))?;
        let end = published.end(*start, clock, vanished, means);
        let end = RunEnd {
            error: end.error.map(|error| with_date(error, pipeline)),
            ..end
        };
        write_summary(&ledger, &end.report, end.error.as_ref()).await;
        Ok(end)
    }

    /// The record of the run that this start continues or begins.
    async fn record(&self, ledger: &Ledger, over: Option<&Manifest>) -> Result<RunRecord> {
        let generation = over.map_or(1, |over| over.generation + 1);
        if let Some(record) = ledger.run_record(generation).await? {
            return Ok(record);
        }
        let chance = fastrand::Rng::with_seed(self.env.seed).u32(..) >> 8;
        let run = format!("{}-{chance:06x}", self.start.format("%Y%m%dT%H%M%SZ"));
        // Answers to the run that is replaced do not count for this one.
        let first_batch = if over.is_some() {
            ledger.next_batch().await?
        } else {
            0
        };
        let (started_at, question) = (self.start, self.pipeline.question());
        ledger
            .begin_run(RunRecord {
                run,
                started_at,
                question,
                generation,
                first_batch,
            })
            .await
    }

    /// Sets the fate of targets that the account's earlier runs have found refused, so that they are not asked.
    async fn skip_refused(
        &self,
        record: &RunRecord,
        list: &TargetList,
        states: &mut TargetStates,
    ) -> Result<()> {
        let again_after = self.pipeline.retry_refused_after;
        if again_after.is_zero() {
            return Ok(());
        }
        let refused =
            refused_since(&self.store, self.start - again_after, &record.question).await?;
        let mut skipped = 0;
        for refused in refused {
            let Some(target) = list
                .find(&refused.target)
                .filter(|id| states.of(*id).0 == Fate::Unsent)
            else {
                continue;
            };
            let (then, again) = (
                refused.refused_at.date_naive(),
                (refused.refused_at + again_after).date_naive(),
            );
            let reason = format!(
                "{}; refused on {then}, asked again from {again}",
                refused.reason
            );
            states.set(&[target], Fate::Refused, None, Some(&reason));
            skipped += 1;
        }
        if skipped > 0 {
            info!(
                skipped,
                "targets that the provider refused before are not asked"
            );
        }
        Ok(())
    }

    /// Sends what is missing, and settles what it cost. Returns what is known of the account, and why sending stopped
    /// early, if it did.
    async fn fetch(
        &self,
        ledger: &Ledger,
        record: &RunRecord,
        list: &Arc<TargetList>,
        books: &mut Books,
        states: &mut TargetStates,
        credentials: &Credentials,
    ) -> Result<(Option<Means>, Option<Error>)> {
        let Self { pipeline, env, .. } = self;
        let clock = &env.clock;
        let deadline = pipeline.max_time.map(|time| clock.running() + time);
        let mut plan = plan_unasked(list, states).await?;
        if plan.requests() == 0 && books.cost_unknown() == Usd::ZERO {
            return Ok((None, None));
        }
        let (client, _simulator) = connect(pipeline, credentials, env).await?;
        let told = tokio::select! {
            told = fetch_account(&client, clock) => told,
            reason = env.stop.requested() => return Ok((None, Some(reason.error()))),
        };
        let told = match told {
            Ok(told) => told,
            // Nothing is left to ask: what is complete is published.
            Err(error) if plan.requests() == 0 => {
                warn!(%error, "what was charged unseen stays unknown");
                return Ok((None, None));
            }
            Err(error) => return Ok((None, Some(error))),
        };
        let means = Means::of(pipeline, told.as_ref());
        let minute = means
            .requests_per_minute
            .and_then(std::num::NonZeroU32::new);
        let minute = minute.map_or(pipeline.requests_per_minute, |told| {
            told.min(pipeline.requests_per_minute)
        });
        let pacer = Pacer::new(pipeline.max_in_flight, minute, clock);
        let unknown = |books: &mut Books| {
            books
                .entries
                .iter()
                .any(|entry| entry.attempt.charged == Charged::Unknown)
        };
        if unknown(books) {
            self.settle(ledger, &client, books, false).await;
        }
        let mut stopped = None;
        for _ in 0..MAX_ROUNDS {
            let max_cost = means
                .prices()
                .cost(plan.requests(), plan.order().len() as u64);
            debug!(
                run = record.run,
                targets = list.target_count(),
                to_ask = plan.order().len(),
                requests = plan.requests(),
                %max_cost,
                "planned"
            );
            let spent = books.cost() + books.cost_unknown();
            if let Some(error) = self.balance_too_low(&means, max_cost, spent, plan.requests()) {
                stopped = Some(error);
                break;
            }
            (env.on_progress)(Progress::Planned {
                targets: plan.order().len() as u64,
                requests: plan.requests(),
                max_cost,
                means,
            });
            let purse = Purse::new(pipeline.max_cost_usd, spent);
            let fetcher = Fetcher {
                list,
                run: &record.run,
                endpoint: pipeline.endpoint,
                options: pipeline.options,
                client: &client,
                pacer: &pacer,
                purse: &purse,
                prices: means.prices(),
                retry: pipeline.retry,
                ledger,
                clock,
                random: Mutex::new(fastrand::Rng::with_seed(env.seed)),
                events: &|event| (env.on_progress)(Progress::Fetch(event)),
                stop: &env.stop,
                deadline,
                drain: pipeline.drain,
            };
            let first = books.next_batch;
            if plan.requests() > 0 {
                let batches = plan.batches().map(|mut batch| {
                    batch.number += first;
                    batch
                });
                let fetched = fetch(&fetcher, batches, first + plan.requests() as u32).await;
                stopped = books.take(fetched, states);
            }
            if !unknown(books) {
                break;
            }
            let before = books.cost() + books.cost_unknown();
            self.settle(ledger, &client, books, true).await;
            let freed = books.cost() + books.cost_unknown() < before;
            let at_the_budget = stopped
                .as_ref()
                .is_some_and(|error| error.kind() == ErrorKind::Budget);
            let time_left = deadline.is_none_or(|deadline| clock.running() < deadline);
            if !(at_the_budget && freed && time_left) {
                break;
            }
            plan = plan_unasked(list, states).await?;
        }
        books.answered.sort_by_key(|answered| answered.id);
        books.entries.sort_by_key(|entry| entry.attempt.id);
        Ok((Some(means), stopped))
    }

    /// Asks the provider what attempts cost of which no answer tells, and enters it.
    async fn settle(
        &self,
        ledger: &Ledger,
        client: &crate::fetch::Client,
        books: &mut Books,
        wait: bool,
    ) {
        let asked = settle_charges(
            client,
            &self.env.clock,
            self.pipeline.listed_after,
            &books.entries,
            wait,
        );
        let mut settled = Vec::new();
        // Nobody waits long for the books once the run is to stop: what is unknown stays so.
        let (stop, clock) = (&self.env.stop, &self.env.clock);
        let enough = async {
            stop.requested().await;
            clock.sleep(SETTLING_AT_THE_END).await;
        };
        let entered = async {
            for attempt in asked.await? {
                // An answer that came and could not be entered is found by the next start, unless an entry hides it.
                let hides = attempt.outcome == Outcome::Ambiguous
                    && ledger.response(attempt.id).await?.is_some();
                if !hides {
                    ledger.record_attempt(&attempt).await?;
                }
                settled.push(attempt);
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            entered = entered => {
                if let Err(error) = entered {
                    warn!(%error, "what was charged unseen stays unknown");
                }
            }
            () = enough => {}
        }
        settled
            .into_iter()
            .for_each(|attempt| books.replace(attempt));
    }

    /// Says so if the account does not hold what the plan may cost, as far as the budget lets it.
    fn balance_too_low(
        &self,
        means: &Means,
        max_cost: Usd,
        spent: Usd,
        requests: u64,
    ) -> Option<Error> {
        let balance = means.balance_usd?;
        let needed = self
            .pipeline
            .max_cost_usd
            .map_or(max_cost, |ceiling| max_cost.min(ceiling - spent));
        if requests == 0 || balance >= needed || self.pipeline.spend_what_is_left {
            return None;
        }
        let message = format!(
            "the balance of ${balance} does not cover what is left to ask: up to ${needed} for {requests} requests"
        );
        let hint = "nothing was sent by this start; add credit and run the same command, or let it go as far as the money does with --spend-what-is-left";
        Some(Error::new(ErrorKind::Account, message).with_hint(hint))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a run has gathered comes together here"
    )]
    fn held_open(
        &self,
        run: String,
        list: &TargetList,
        mut fates: Fates,
        books: &Books,
        requests: crate::lake::RequestTotals,
        means: Option<Means>,
        vanished: u64,
    ) -> RunReport {
        // Until the answers are flattened, it is known how many items came, not which targets they answer.
        let items = books.items();
        let answered = fates.absent;
        fates.returned = items.min(answered);
        fates.absent = answered - fates.returned;
        RunReport {
            run,
            pipeline: self.pipeline.name.clone(),
            snapshot: self.pipeline.snapshot,
            state: RunState::Open,
            lines: list.line_count() as u64,
            fates,
            requests: requests.sent,
            retries: requests.retries,
            lower_bound: requests.lower_bound,
            items,
            unmatched: items - fates.returned,
            cost_usd: requests.cost_usd,
            cost_unknown_usd: requests.cost_unknown_usd,
            files: 0,
            bytes: 0,
            seconds: seconds(self.start, &self.env.clock),
            irregularities: Irregularities::default(),
            findings: Findings::default(),
            stage_seconds: Default::default(),
            vanished,
            means,
        }
    }
}

async fn plan_unasked(list: &Arc<TargetList>, states: &TargetStates) -> Result<Plan> {
    let planner = Arc::clone(list);
    let unasked: Vec<bool> = list
        .targets()
        .map(|target| states.of(target.id).0 == Fate::Unsent)
        .collect();
    let planned = tokio::task::spawn_blocking(move || {
        let mut order = sorted(&planner);
        order.retain(|id| unasked[id.0 as usize]);
        Plan::of_some(&planner, order)
    });
    planned.await.context(|| "planning panicked")
}
