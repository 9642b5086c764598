//! The loop: keeps requests under way until every batch has ended.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tracing::{Instrument as _, debug, info_span, warn};

use super::client::{Client, Reply, SendError};
use super::ledger::{Attempt, AttemptId, Charged, Intent, Journal, Outcome};
use super::permits::{Pacer, Purse};
use super::retry::{Decision, Happened, RetryPolicy, Tries};
use super::split::{Parts, split};
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::money::Usd;
use crate::plan::Batch;
use crate::provider::{self, Endpoint, Envelope, Prices, StatusClass, TaskOptions, code};
use crate::target::{TargetId, TargetList};

/// Everything that fetching needs.
pub struct Fetcher<'a, J> {
    /// The targets behind the batches.
    pub list: &'a TargetList,
    /// The run's name: the beginning of every tag.
    pub run: &'a str,
    /// What is asked of.
    pub endpoint: Endpoint,
    /// What is asked for beside the targets.
    pub options: TaskOptions,
    /// Speaks HTTP.
    pub client: &'a Client,
    /// Gives leave to send.
    pub pacer: &'a Pacer,
    /// Batches under way at once; a few more than requests, so that one that waits leaves no gap.
    pub max_open: usize,
    /// Covers the cost.
    pub purse: &'a Purse,
    /// What a request costs at the most.
    pub prices: Prices,
    /// What to do after a failure.
    pub retry: RetryPolicy,
    /// Keeps the books.
    pub journal: &'a J,
    /// Tells the time and waits.
    pub clock: &'a Clock,
    /// Draws the jitter.
    pub random: Mutex<fastrand::Rng>,
    /// Every attempt that has ended, as entered in the journal.
    pub entered: Mutex<Vec<Attempt>>,
    /// Hears how it goes.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Says that no further request may leave.
    pub stopping: Stopping,
}

/// Says that no further request may leave; those that wait give up waiting.
#[derive(Debug)]
pub struct Stopping(watch::Sender<bool>);

impl Default for Stopping {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stopping {
    fn set(&self) {
        self.0.send_replace(true);
    }

    fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is said.
    async fn wait(&self) {
        // The sender lives as long as this, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A batch was answered.
    Answered {
        /// Targets asked for.
        targets: u64,
        /// Items returned.
        items: u64,
    },
    /// A batch ended without an answer, or in parts.
    Ended {
        /// Targets that have ended with it.
        targets: u64,
        /// Batches that take its place.
        parts: u64,
    },
    /// An attempt failed and is repeated.
    Retried,
    /// The provider says what it charged.
    Charged(Usd),
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its answer is archived under this attempt.
    Answered(AttemptId),
    /// The provider refuses its targets, with this code and text.
    Refused(String),
    /// Its tries are used up, for this reason.
    Failed(String),
    /// It was not sent.
    Unsent,
}

/// A batch and how it ended. Batches that were split do not appear; their parts do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEnd {
    /// The batch.
    pub batch: u32,
    /// Its targets.
    pub targets: Vec<TargetId>,
    /// Its end.
    pub end: End,
}

/// How all batches ended.
#[derive(Debug)]
pub struct Fetched {
    /// Every batch once.
    pub ends: Vec<BatchEnd>,
    /// Why sending stopped before all was sent.
    pub stopped: Option<Error>,
}

/// What came of a batch on its way.
enum Came {
    End(Batch, End),
    Split(Vec<TargetId>, Vec<TargetId>),
    Stop(Batch, Error),
}

/// Sends all batches and waits for their ends. New batches, from splitting, are numbered from `next_number`.
///
/// A journal that fails stops it, too, and stands in [`Fetched::stopped`]; the batch it failed for has no end then.
pub async fn fetch<J: Journal>(
    fetcher: &Fetcher<'_, J>,
    batches: impl Iterator<Item = Batch>,
    mut next_number: u32,
) -> Fetched {
    let mut planned = batches.fuse();
    let mut again: VecDeque<Batch> = VecDeque::new();
    let mut open = FuturesUnordered::new();
    let mut fetched = Fetched { ends: Vec::new(), stopped: None };
    loop {
        while fetched.stopped.is_none() && open.len() < fetcher.max_open {
            let next = again.pop_front().or_else(|| planned.next());
            let Some(batch) = next else { break };
            let worst = fetcher.worst(&batch);
            if fetcher.purse.reserve(worst) {
                open.push(fetcher.work(batch, worst));
            } else if open.is_empty() {
                fetched.stopped = Some(fetcher.out_of_budget(worst));
                again.push_front(batch);
            } else {
                // What is under way may cost less than was set aside for it.
                again.push_front(batch);
                break;
            }
        }
        match open.next().await {
            None if fetched.stopped.is_some() || again.is_empty() => break,
            None => {}
            Some(Err(error)) => {
                // Without books nothing more is sent; what is under way is paid for, so it is awaited and kept.
                fetcher.stopping.set();
                fetched.stopped.get_or_insert(error);
            }
            Some(Ok(came)) => match came {
                Came::End(batch, end) => {
                    fetched.ends.push(BatchEnd { batch: batch.number, targets: batch.targets, end });
                }
                Came::Split(left, right) => {
                    for targets in [left, right] {
                        let root_domains = fetcher.root_domains(&targets);
                        again.push_back(Batch { number: next_number, targets, root_domains });
                        next_number += 1;
                    }
                }
                Came::Stop(batch, error) => {
                    fetched.ends.push(BatchEnd {
                        batch: batch.number,
                        targets: batch.targets,
                        end: End::Unsent,
                    });
                    fetcher.stopping.set();
                    fetched.stopped.get_or_insert(error);
                }
            },
        }
    }
    let rest = again.into_iter().chain(planned);
    fetched.ends.extend(rest.map(|batch| BatchEnd {
        batch: batch.number,
        targets: batch.targets,
        end: End::Unsent,
    }));
    fetched
}

impl<J: Journal> Fetcher<'_, J> {
    fn worst(&self, batch: &Batch) -> Usd {
        self.prices.cost(1, batch.targets.len() as u64)
    }

    fn root_domains(&self, targets: &[TargetId]) -> u32 {
        let mut roots: Vec<u32> = targets.iter().map(|&id| self.list.root_domain_of(id)).collect();
        roots.sort_unstable();
        roots.dedup();
        roots.len() as u32
    }

    fn jitter(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    fn out_of_budget(&self, worst: Usd) -> Error {
        Error::new(
            ErrorKind::Budget,
            format!("the budget does not cover the next request, which may cost ${worst}"),
        )
    }

    /// Tries a batch, for which `reserved` is set aside, until it has ended.
    async fn work(&self, batch: Batch, mut reserved: Usd) -> Result<Came> {
        let (mut attempt, mut tries) = (1, Tries::default());
        loop {
            let id = AttemptId { batch: batch.number, attempt };
            let span = info_span!("attempt", batch = id.batch, attempt);
            let permit = self.pacer.leave().await?;
            if self.stopping.is_set() {
                self.purse.settle(reserved, Some(Usd::ZERO));
                return Ok(Came::End(batch, End::Unsent));
            }
            let tried = self.attempt(id, &batch, reserved).instrument(span).await;
            let (tried, happened, message) = tried?;
            tries.count(happened);
            let decision = self.retry.decide(happened, tries, self.clock.now(), self.jitter());
            if decision == Decision::Stop {
                // Said before the next one gets this one's permit.
                self.stopping.set();
            }
            drop(permit);
            match decision {
                Decision::Done => {
                    let items = tried.items.unwrap_or_default();
                    self.enter(tried, Outcome::Ok).await?;
                    (self.events)(Event::Answered { targets: batch.targets.len() as u64, items });
                    return Ok(Came::End(batch, End::Answered(id)));
                }
                Decision::Retry(wait) => {
                    warn!(
                        batch = id.batch,
                        attempt,
                        wait_seconds = wait.as_secs_f64(),
                        "{message}; trying again"
                    );
                    let outcome =
                        if happened == Happened::NoAnswer { Outcome::Ambiguous } else { Outcome::Retried };
                    self.enter(tried, outcome).await?;
                    (self.events)(Event::Retried);
                    tokio::select! {
                        () = self.clock.sleep(wait) => {}
                        () = self.stopping.wait() => return Ok(Came::End(batch, End::Unsent)),
                    }
                    reserved = self.worst(&batch);
                    if !self.purse.reserve(reserved) {
                        return Ok(Came::Stop(batch, self.out_of_budget(reserved)));
                    }
                    attempt += 1;
                }
                Decision::Isolate => return self.isolate(batch, tried, message).await,
                Decision::Refused => {
                    warn!(batch = id.batch, "{message}; the batch is refused");
                    self.enter(tried, Outcome::Refused).await?;
                    // Which of several it is that the provider refuses, nobody knows.
                    let alone = batch.targets.len() == 1;
                    let end = if alone { End::Refused(message) } else { End::Failed(message) };
                    return Ok(self.ended(batch, end));
                }
                Decision::GiveUp => {
                    warn!(batch = id.batch, attempt, "{message}; giving up");
                    let outcome =
                        if happened == Happened::NoAnswer { Outcome::Ambiguous } else { Outcome::Failed };
                    self.enter(tried, outcome).await?;
                    return Ok(self.ended(batch, End::Failed(message)));
                }
                Decision::Stop => {
                    self.enter(tried, Outcome::Failed).await?;
                    return Ok(Came::Stop(batch, stop(happened, &message)));
                }
            }
        }
    }

    async fn isolate(&self, batch: Batch, tried: Attempt, message: String) -> Result<Came> {
        let text = |id: TargetId| self.list.target(id).text.to_owned();
        match split(&batch.targets, text, &message) {
            Parts::OtherField => {
                self.stopping.set();
                self.enter(tried, Outcome::Failed).await?;
                Ok(Came::Stop(batch, stop(Happened::Status(code::UNKNOWN_FIELD), &message)))
            }
            Parts::Alone => {
                self.enter(tried, Outcome::Refused).await?;
                Ok(self.ended(batch, End::Refused(message)))
            }
            Parts::Two(left, right) => {
                debug!(batch = batch.number, "a target is refused; asking in parts");
                self.enter(tried, Outcome::Split).await?;
                (self.events)(Event::Ended { targets: 0, parts: 2 });
                Ok(Came::Split(left, right))
            }
        }
    }

    fn ended(&self, batch: Batch, end: End) -> Came {
        (self.events)(Event::Ended { targets: batch.targets.len() as u64, parts: 0 });
        Came::End(batch, end)
    }

    async fn enter(&self, mut attempt: Attempt, outcome: Outcome) -> Result<()> {
        attempt.outcome = outcome;
        if let Some(cost) = attempt.cost_usd {
            (self.events)(Event::Charged(cost));
        }
        self.journal.record(&attempt).await?;
        self.entered.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
        Ok(())
    }

    /// One request: intent, post, archive, read. Returns the entry, what happened, and it in words.
    async fn attempt(
        &self,
        id: AttemptId,
        batch: &Batch,
        reserved: Usd,
    ) -> Result<(Attempt, Happened, String)> {
        let texts: Vec<&str> = batch.targets.iter().map(|&id| self.list.target(id).text).collect();
        let tag = format!("{}/{id}", self.run);
        let body = provider::body(&texts, &self.options, &tag)
            .context(|| format!("failed to write request {id}"))?;
        let sent_at = self.clock.now();
        let intent = Intent {
            id,
            tag: tag.clone(),
            sent_at,
            reserved,
            root_domains: batch.root_domains,
            targets: texts.into_iter().map(str::to_owned).collect(),
        };
        self.journal.intend(&intent).await?;
        let answer = self.client.post(self.endpoint, body).await;
        let took = (self.clock.now() - sent_at).to_std().unwrap_or(Duration::ZERO);
        let mut entry = Attempt::of(&intent);
        entry.duration_ms = Some(took.as_millis() as u64);
        let happened = match answer {
            Ok(reply) => {
                self.journal.keep(id, reply.body.clone()).await?;
                self.read(reply, &mut entry).await?
            }
            Err(error) => {
                entry.status_message = Some(error.to_string());
                match error {
                    SendError::NotSent(_) => {
                        entry.charged = Charged::No;
                        Happened::NotSent
                    }
                    SendError::NoAnswer(_) => Happened::NoAnswer,
                    SendError::TooLarge { .. } => Happened::TooLarge,
                    SendError::Encoding { body, .. } => {
                        self.journal.keep(id, body).await?;
                        Happened::Malformed
                    }
                }
            }
        };
        self.purse.settle(
            reserved,
            if entry.charged == Charged::Unknown { None } else { entry.cost_usd.or(Some(Usd::ZERO)) },
        );
        let message = entry.status_message.clone().unwrap_or_default();
        let message = match entry.status_code {
            Some(code) if happened != Happened::Malformed => format!("{code} {message}"),
            _ => message,
        };
        Ok((entry, happened, message))
    }

    /// Reads what an answer says of itself, off the runtime's threads.
    async fn read(&self, reply: Reply, entry: &mut Attempt) -> Result<Happened> {
        entry.http_status = Some(reply.status);
        entry.body_bytes = Some(reply.body.len() as u64);
        let read = tokio::task::spawn_blocking(move || Envelope::read(&reply.body));
        let envelope = match read.await.context(|| "reading an answer panicked")? {
            Ok(envelope) => envelope,
            Err(malformed) => {
                let status = entry.http_status.unwrap_or_default();
                return Ok(if (200..300).contains(&status) {
                    entry.status_message = Some(malformed.to_string());
                    Happened::Malformed
                } else {
                    entry.status_message = Some(format!("HTTP {status} without an answer of the provider"));
                    // Nothing is charged for what is turned away; a broken server may have charged.
                    entry.charged = if status < 500 { Charged::No } else { Charged::Unknown };
                    Happened::HttpStatus(status)
                });
            }
        };
        Ok(entry.answered(&envelope, self.endpoint))
    }
}

/// Why a run stops.
fn stop(happened: Happened, message: &str) -> Error {
    let class = match happened {
        Happened::Status(code) => StatusClass::of(code),
        Happened::HttpStatus(status) => StatusClass::of_http(status),
        Happened::NotSent | Happened::NoAnswer | Happened::Malformed | Happened::TooLarge => {
            StatusClass::Server
        }
    };
    let error = Error::new(ErrorKind::Account, format!("the provider refuses: {message}"));
    match (class, happened) {
        (StatusClass::Defect, _) => {
            error.with_hint("this is a defect of backlake, not of your account; report it with the message above")
        }
        (_, Happened::Status(code::NOT_AUTHORISED) | Happened::HttpStatus(401)) => {
            error.with_hint("check DATAFORSEO_LOGIN and DATAFORSEO_PASSWORD (the API password, not that of the dashboard)")
        }
        (_, Happened::Status(code::OUT_OF_FUNDS | 40200) | Happened::HttpStatus(402)) => {
            error.with_hint("the account is out of funds; add credit and run the same command: it continues")
        }
        (_, Happened::Status(40203)) => error
            .with_hint("the account's own daily limit is reached; raise it in the dashboard or run the same command after 00:00 UTC"),
        (_, Happened::Status(40207)) => error.with_hint("allow this machine's IP address in the provider's dashboard"),
        (StatusClass::PostedTooOften, _) => {
            error.with_hint("the same task was posted too often; run the same command in an hour (40205) or a day (40206)")
        }
        _ => error,
    }
}
