//! The loop: keeps requests under way until every batch has ended.
//!
//! An attempt goes through two hands. [`Fetcher::send`] enters the intent, waits for leave and posts; [`Fetcher::close`]
//! archives the answer, reads what it says of itself, decides and enters the end. The first holds a place among the
//! requests under way, the second does not, so that a slow store leaves no gap. The loop between them is the only one
//! that changes anything.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{SemaphorePermit, watch};
use tracing::{Instrument as _, Span, debug, info_span, trace, warn};

use super::client::{Client, Response};
use super::events::{BatchEnd, End, Entry, Event, Fetched, Step};
use super::isolate::{Accused, Isolation, accused};
use super::permits::{Pacer, Purse};
use super::refusal::refusal;
use super::retry::{CEILING, Decision, FLOOR, RetryContext, RetryPolicy, Tries};
use super::transport::SendError;
use crate::clock::Clock;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::ledger::{Attempt, AttemptResult, Charged, Intent, Ledger, Outcome};
use crate::money::Usd;
use crate::plan::{Batch, Plan};
use crate::provider::{self, Endpoint, Envelope, Prices, StatusClass, TaskOptions, code};
use crate::stop::{Stop, StopReason};
use crate::store::AttemptId;
use crate::targets::{TargetId, TargetList};

/// Everything that fetching needs.
pub struct Fetcher<'a> {
    /// The targets behind the batches.
    pub list: &'a TargetList,
    /// The run's name: the beginning of every tag.
    pub run: &'a str,
    /// What is asked of.
    pub endpoint: Endpoint,
    /// What is asked for beside the targets.
    pub options: TaskOptions,
    /// Speaks to the provider.
    pub client: &'a Client,
    /// Gives leave to send.
    pub pacer: &'a Pacer,
    /// Covers the cost.
    pub purse: &'a Purse,
    /// What a request costs at the most.
    pub prices: Prices,
    /// What to do after a failure.
    pub retry: RetryPolicy,
    /// Keeps the books.
    pub ledger: &'a Ledger,
    /// Tells the time and waits.
    pub clock: &'a Clock,
    /// Draws the jitter.
    pub random: Mutex<fastrand::Rng>,
    /// Hears how it goes.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Asks to stop from outside.
    pub stop: &'a Stop,
    /// When the clock has run so long, no further request leaves.
    pub deadline: Option<Duration>,
    /// How long to wait for what is under way once a signal has asked to stop.
    pub drain: Duration,
}

/// Intents that are entered ahead of their leave to send, so that a place that falls free is taken at once.
const AHEAD: usize = 4;
/// An answer this small brings hardly a row: its request keeps its place until it is read, because it may say that
/// there are too many at once.
const SMALL: usize = 16 << 10;
/// How often a batch is halved because the provider takes too long for it.
const MAX_HALVINGS: u8 = 4;

/// A batch on its way.
#[derive(Debug)]
struct Work {
    batch: Batch,
    span: Span,
    /// How many of its first targets are suspected, because a batch with them was refused.
    suspects: usize,
    /// The number of the next attempt.
    attempt: u32,
    tries: Tries,
    halvings: u8,
}

impl Work {
    fn new(batch: Batch, suspects: usize, halvings: u8) -> Self {
        let span = info_span!(
            "batch",
            number = batch.number,
            targets = batch.targets.len()
        );
        Self {
            batch,
            span,
            suspects,
            attempt: 1,
            tries: Tries::default(),
            halvings,
        }
    }
}

/// A request that was sent, or was not.
struct Sent<'p> {
    work: Work,
    intent: Intent,
    span: Span,
    /// None: it was not sent.
    answer: Option<(Result<Response, SendError>, Duration)>,
    permit: Option<SemaphorePermit<'p>>,
}

/// An attempt that has ended, and what follows.
struct Closed {
    work: Work,
    entry: Entry,
    result: AttemptResult,
    decision: Decision,
    /// What the answer says, with its code.
    message: String,
    accused: Accused,
    /// For how long no request is to leave, if so.
    pause: Option<Duration>,
}

/// Sends all batches and waits for their ends. Batches that are made on the way are numbered from `next_batch`.
///
/// A journal that fails stops it, too, and stands in [`Fetched::stopped`].
pub async fn fetch(
    fetcher: &Fetcher<'_>,
    batches: impl Iterator<Item = Batch>,
    next_batch: u32,
) -> Fetched {
    let stopping = watch::Sender::new(false);
    let mut dispatcher = Dispatcher {
        fetcher,
        planned: batches.fuse(),
        ready: VecDeque::new(),
        parked: HashMap::new(),
        isolation: Isolation::default(),
        under_way: HashMap::new(),
        suspects_under_way: 0,
        next_batch,
        ends: Vec::new(),
        entries: Vec::new(),
        stopped: None,
        stopping: &stopping,
    };
    let mut sending = FuturesUnordered::new();
    let mut closing = FuturesUnordered::new();
    let mut waiting = FuturesUnordered::new();
    let mut asked_to_stop = false;
    let mut drained = None;
    let clock = fetcher.clock;
    let until = |end: Option<Duration>| {
        clock.sleep(end.unwrap_or_default().saturating_sub(clock.running()))
    };
    loop {
        let width = fetcher.pacer.width() as usize;
        // A store that cannot keep up, and a provider in trouble, hold back what is new.
        while dispatcher.stopped.is_none()
            && sending.len() < width + AHEAD
            && closing.len() < width
            && waiting.len() < width + AHEAD
        {
            let Some(work) = dispatcher.next() else { break };
            let worst = fetcher.worst(&work.batch);
            if let Some(reserved) = fetcher.purse.reserve(worst) {
                dispatcher.begin(&work, reserved);
                sending.push(fetcher.send(work, reserved, stopping.subscribe()));
                continue;
            }
            dispatcher.ready.push_front(work);
            // What is under way may cost less than was set aside for it.
            if sending.is_empty() && closing.is_empty() {
                dispatcher.stop(fetcher.out_of_budget(worst));
            }
            break;
        }
        (fetcher.events)(Event::Queue {
            in_flight: fetcher.pacer.under_way(),
            waiting: waiting.len() as u64,
            width: fetcher.pacer.width().into(),
        });
        if sending.is_empty()
            && closing.is_empty()
            && (waiting.is_empty() || dispatcher.stopped.is_some())
        {
            break;
        }
        tokio::select! {
            biased;
            reason = fetcher.stop.requested(), if !asked_to_stop => {
                asked_to_stop = true;
                dispatcher.stop(reason.error());
                // Nobody is in a hurry when it is the lock that is lost.
                let signal = matches!(reason, StopReason::Interrupted | StopReason::Terminated);
                drained = signal.then(|| clock.running() + fetcher.drain);
            }
            () = until(fetcher.deadline), if fetcher.deadline.is_some() && dispatcher.stopped.is_none() => {
                dispatcher.stop(Error::new(ErrorKind::Budget, "stopped at [budget] max_minutes"));
            }
            Some(closed) = closing.next() => match closed {
                Ok(closed) => {
                    if let Some((number, wait)) = dispatcher.follow(closed) {
                        waiting.push(async move {
                            clock.sleep(wait).await;
                            number
                        });
                    }
                }
                Err(error) => dispatcher.stop(error),
            },
            Some(sent) = sending.next() => match sent {
                Ok(Sent { work, intent, answer: None, .. }) => dispatcher.withdrawn(work, intent.id),
                Ok(sent) => closing.push(fetcher.close(sent, &stopping)),
                Err((id, error)) => dispatcher.never_sent(id, error),
            },
            Some(number) = waiting.next() => dispatcher.unpark(number),
            // Last, so that no answer that is there is dropped; those that are being archived are awaited.
            () = until(drained), if drained.is_some() => {
                warn!(requests = sending.len(), "what is under way is given up; it may be charged");
                drained = None;
                sending.clear();
            }
        }
    }
    dispatcher.finish()
}

/// What is still to be asked, what is under way, and what has ended.
struct Dispatcher<'a, 'f, P> {
    fetcher: &'f Fetcher<'a>,
    planned: P,
    ready: VecDeque<Work>,
    /// Batches that wait for their next try, by number.
    parked: HashMap<u32, Work>,
    isolation: Isolation,
    under_way: HashMap<AttemptId, (Entry, Vec<TargetId>)>,
    suspects_under_way: usize,
    next_batch: u32,
    ends: Vec<BatchEnd>,
    entries: Vec<Entry>,
    stopped: Option<Error>,
    stopping: &'f watch::Sender<bool>,
}

impl<P: Iterator<Item = Batch>> Dispatcher<'_, '_, P> {
    /// What is to be sent next: what was tried before, then suspects, then the plan, then what has lost its batch.
    fn next(&mut self) -> Option<Work> {
        if let Some(work) = self.ready.pop_front() {
            return Some(work);
        }
        if let Some(suspects) = self.isolation.next() {
            let room = self.isolation.room(&suspects);
            while self.isolation.loose.len() < room {
                match self.planned.next() {
                    Some(batch) => self.isolation.loose.extend(batch.targets),
                    None => break,
                }
            }
            let (known, mut targets) = (suspects.targets.len(), suspects.targets);
            let list = self.fetcher.list;
            self.isolation
                .fill(&mut targets, room, |id| list.root_domain_of(id));
            return Some(self.work(targets, known, 0));
        }
        if let Some(batch) = self.planned.next() {
            return Some(Work::new(batch, 0, 0));
        }
        // As long as suspects are under way, what has lost its batch may yet fill theirs up.
        if self.suspects_under_way == 0 && !self.isolation.loose.is_empty() {
            let list = self.fetcher.list;
            let mut loose = std::mem::take(&mut self.isolation.loose);
            loose.sort_unstable_by_key(|&id| (list.root_domain_of(id), id.0));
            for batch in Plan::of_some(list, loose).batches() {
                let work = self.work(batch.targets, 0, 0);
                self.ready.push_back(work);
            }
        }
        self.ready.pop_front()
    }

    /// A new batch of these targets.
    fn work(&mut self, targets: Vec<TargetId>, suspects: usize, halvings: u8) -> Work {
        let number = self.next_batch;
        self.next_batch += 1;
        let root_domains = self.fetcher.root_domains(&targets);
        Work::new(
            Batch {
                number,
                targets,
                root_domains,
            },
            suspects,
            halvings,
        )
    }

    fn begin(&mut self, work: &Work, reserved: Usd) {
        self.suspects_under_way += usize::from(work.suspects > 0);
        let id = AttemptId {
            batch: work.batch.number,
            attempt: work.attempt,
        };
        let mut attempt = Attempt::of(&self.fetcher.intent(work, reserved));
        attempt.status_message = Some("the run stopped before the answer was archived".to_owned());
        let entry = Entry {
            attempt,
            reserved,
            sent_by: Duration::MAX,
        };
        self.under_way
            .insert(id, (entry, work.batch.targets.clone()));
    }

    fn stop(&mut self, error: Error) {
        self.stopping.send_replace(true);
        self.stopped.get_or_insert(error);
    }

    fn end(&mut self, batch: Batch, end: End) {
        self.ends.push(BatchEnd {
            batch: Some(batch.number),
            targets: batch.targets,
            end,
        });
    }

    /// A request did not leave: the run is to stop, or the budget no longer covers it.
    fn withdrawn(&mut self, work: Work, id: AttemptId) {
        self.under_way.remove(&id);
        self.suspects_under_way -= usize::from(work.suspects > 0);
        self.ready.push_front(work);
    }

    /// The books failed before a request left: without books nothing is sent.
    fn never_sent(&mut self, id: AttemptId, error: Error) {
        if let Some((_, targets)) = self.under_way.remove(&id) {
            self.ends.push(BatchEnd {
                batch: None,
                targets,
                end: End::Unsent,
            });
        }
        self.stop(error);
    }

    fn unpark(&mut self, number: u32) {
        self.ready.extend(self.parked.remove(&number));
    }

    /// Does what an attempt's end decides. Returns the batch that is to wait, and how long.
    fn follow(&mut self, closed: Closed) -> Option<(u32, Duration)> {
        let Closed {
            mut work,
            entry,
            result,
            decision,
            message,
            accused,
            pause,
        } = closed;
        let id = entry.attempt.id;
        self.tell(
            &entry.attempt,
            result,
            decision,
            work.batch.targets.len() as u64,
        );
        self.under_way.remove(&id);
        self.suspects_under_way -= usize::from(work.suspects > 0);
        self.entries.push(entry);
        if let Some(pause) = pause {
            self.fetcher.pacer.pause(pause);
        }
        match decision {
            Decision::Done => {
                self.isolation.answered(work.batch.targets.len());
                self.end(work.batch, End::Answered(id));
            }
            Decision::Retry(wait) => {
                let number = work.batch.number;
                work.attempt += 1;
                self.parked.insert(number, work);
                return Some((number, wait));
            }
            Decision::Isolate => match accused {
                Accused::Alone => {
                    self.isolation.convicted();
                    self.end(work.batch, End::Refused(message));
                }
                Accused::Named(at) => {
                    self.isolation
                        .refused(work.batch.targets, work.suspects, Some(at))
                }
                Accused::Some => self
                    .isolation
                    .refused(work.batch.targets, work.suspects, None),
                Accused::OtherField => {
                    self.end(work.batch, End::Unsent);
                    self.stop(refusal(
                        AttemptResult::Status(code::UNKNOWN_FIELD),
                        &message,
                    ));
                }
            },
            Decision::Halve if work.batch.targets.len() > 1 && work.halvings < MAX_HALVINGS => {
                // Not as suspects, who are filled up: there are too many already.
                for half in work
                    .batch
                    .targets
                    .chunks(work.batch.targets.len().div_ceil(2))
                {
                    let half = self.work(half.to_vec(), 0, work.halvings + 1);
                    self.ready.push_back(half);
                }
            }
            // Which of several it is that the provider refuses, nobody knows.
            Decision::Refused if work.batch.targets.len() == 1 => {
                self.end(work.batch, End::Refused(message))
            }
            Decision::Refused | Decision::GiveUp | Decision::Halve => {
                self.end(work.batch, End::Failed(message))
            }
            Decision::Stop => {
                self.end(work.batch, End::Unsent);
                self.stop(refusal(result, &message));
            }
        }
        None
    }

    /// Tells the one who listens how an attempt ended.
    fn tell(&self, attempt: &Attempt, result: AttemptResult, decision: Decision, targets: u64) {
        let ended = matches!(
            attempt.outcome,
            Outcome::Ok | Outcome::Refused | Outcome::Failed
        ) || decision == Decision::GiveUp;
        (self.fetcher.events)(Event::Attempt {
            outcome: attempt.outcome,
            result,
            took: Duration::from_millis(attempt.duration_ms.unwrap_or_default()),
            bytes: attempt.body_bytes.unwrap_or_default(),
            cost: attempt.cost_usd,
            targets: if ended { targets } else { 0 },
        });
    }

    fn finish(mut self) -> Fetched {
        // Given up at the end of a drain, or not to be archived: the intents are in the journal for the next start.
        for (mut entry, targets) in std::mem::take(&mut self.under_way).into_values() {
            entry.sent_by = self.fetcher.clock.running();
            self.fetcher.purse.settle(entry.reserved, None);
            let batch = Some(entry.attempt.id.batch);
            self.entries.push(entry);
            self.ends.push(BatchEnd {
                batch,
                targets,
                end: End::Unsent,
            });
        }
        let works = self
            .ready
            .into_iter()
            .chain(self.parked.into_values())
            .map(|work| work.batch);
        let unsent = works.chain(self.planned).map(|batch| batch.targets);
        self.ends.extend(
            unsent
                .chain([self.isolation.rest().collect()])
                .filter(|targets: &Vec<_>| !targets.is_empty())
                .map(|targets| BatchEnd {
                    batch: None,
                    targets,
                    end: End::Unsent,
                }),
        );
        Fetched {
            ends: self.ends,
            entries: self.entries,
            next_batch: self.next_batch,
            stopped: self.stopped,
        }
    }
}

impl Fetcher<'_> {
    fn worst(&self, batch: &Batch) -> Usd {
        self.prices.cost(1, batch.targets.len() as u64)
    }

    fn root_domains(&self, targets: &[TargetId]) -> u32 {
        let mut roots: Vec<u32> = targets
            .iter()
            .map(|&id| self.list.root_domain_of(id))
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots.len() as u32
    }

    fn jitter(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    fn step(&self, step: Step) {
        trace!(?step);
        (self.events)(Event::Step(step));
    }

    fn out_of_budget(&self, worst: Usd) -> Error {
        Error::new(
            ErrorKind::Budget,
            format!("the budget does not cover the next request, which may cost ${worst}"),
        )
    }

    fn intent(&self, work: &Work, reserved: Usd) -> Intent {
        let id = AttemptId {
            batch: work.batch.number,
            attempt: work.attempt,
        };
        Intent {
            id,
            tag: format!("{}/{id}", self.run),
            sent_at: self.clock.now(),
            reserved,
            root_domains: work.batch.root_domains,
            targets: work
                .batch
                .targets
                .iter()
                .map(|&id| self.list.target(id).text.to_owned())
                .collect(),
        }
    }

    /// Enters the intent, waits for leave, and posts.
    async fn send(
        &self,
        work: Work,
        reserved: Usd,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<Sent<'_>, (AttemptId, Error)> {
        let mut intent = self.intent(&work, reserved);
        let id = intent.id;
        let span = info_span!(parent: &work.span, "attempt", number = id.attempt);
        let entered = span.clone();
        let sending = async {
            let texts: Vec<&str> = intent.targets.iter().map(String::as_str).collect();
            let body = provider::body(&texts, &self.options, &intent.tag)
                .context(|| format!("failed to write request {id}"))?;
            self.step(Step::Intending(id));
            // Places are given in the order in which batches come here, however long their intents take.
            let place = async {
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => Ok(None),
                    permit = self.pacer.place() => permit.map(Some),
                }
            };
            let (permit, intended) = futures::join!(place, self.ledger.record_intent(&intent));
            intended?;
            self.step(Step::Intended(id));
            let permit = match permit? {
                None => None,
                Some(permit) => tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => None,
                    () = self.pacer.pace() => Some(permit),
                },
            };
            let raised = self.purse.raise(reserved, self.worst(&work.batch));
            let (Some(permit), Some(reserved)) = (permit, raised) else {
                self.ledger.withdraw_intent(id).await?;
                self.purse
                    .settle(raised.unwrap_or(reserved), Some(Usd::ZERO));
                return Ok(Sent {
                    work,
                    intent,
                    span,
                    answer: None,
                    permit: None,
                });
            };
            intent.reserved = reserved;
            self.ledger.may_send().await?;
            intent.sent_at = self.clock.now();
            let start = self.clock.running();
            let answer = self.client.post(self.endpoint, body).await;
            self.step(Step::Received(id));
            let took = self.clock.running() - start;
            // What may say that there are too many at once keeps its place until it is read.
            let small = answer
                .as_ref()
                .is_ok_and(|response| response.body.len() <= SMALL);
            let permit = small.then_some(permit);
            Ok(Sent {
                work,
                intent,
                span,
                answer: Some((answer, took)),
                permit,
            })
        };
        sending
            .instrument(entered)
            .await
            .map_err(|error| (id, error))
    }

    /// Archives the answer, reads what it says of itself, decides what follows, and enters how the attempt ended.
    async fn close(&self, sent: Sent<'_>, stopping: &watch::Sender<bool>) -> Result<Closed> {
        let span = sent.span.clone();
        self.close_within(sent, stopping).instrument(span).await
    }

    async fn close_within(&self, sent: Sent<'_>, stopping: &watch::Sender<bool>) -> Result<Closed> {
        let Sent {
            mut work,
            intent,
            answer,
            permit,
            ..
        } = sent;
        let id = intent.id;
        let mut attempt = Attempt::of(&intent);
        let mut asked = None;
        let mut result = AttemptResult::NotSent;
        if let Some((answer, took)) = answer {
            attempt.duration_ms = Some(took.as_millis() as u64);
            result = match answer {
                Ok(response) => {
                    asked = response.wait;
                    self.ledger
                        .archive_response(id, response.body.clone())
                        .await?;
                    self.step(Step::Archived(id));
                    self.read(response, &mut attempt).await?
                }
                Err(error) => self.no_response(error, &mut attempt).await?,
            };
        }
        let charged = attempt.charged;
        let known = (charged != Charged::Unknown).then(|| attempt.cost_usd.unwrap_or_default());
        self.purse.settle(intent.reserved, known);

        work.tries.count(result, charged);
        let context = RetryContext {
            now: self.clock.now(),
            jitter: self.jitter(),
            asked,
        };
        let decision = self.retry.decide(result, work.tries, charged, context);
        if decision == Decision::Stop {
            // Said before the next one gets this one's place.
            stopping.send_replace(true);
        }
        let class = result.class();
        match (class, permit) {
            (StatusClass::TooManyAtOnce, Some(permit)) => self.pacer.narrow(permit),
            (StatusClass::Success, permit) => {
                drop(permit);
                self.pacer.answered();
            }
            (_, permit) => drop(permit),
        }
        let pause = match (class, decision) {
            // All of them would be turned away.
            (StatusClass::RatePerMinute, Decision::Retry(wait)) => Some(wait),
            _ => asked.map(|asked| asked.clamp(FLOOR, CEILING)),
        };
        let text = attempt.status_message.clone().unwrap_or_default();
        let message = match attempt.status_code {
            Some(code) if result != AttemptResult::Malformed => format!("{code} {text}"),
            _ => text,
        };
        let accused = accused(
            &work.batch.targets,
            |id| self.list.target(id).text,
            &message,
        );
        attempt.outcome = match (decision, accused) {
            (Decision::Done, _) => Outcome::Ok,
            (Decision::Retry(_) | Decision::GiveUp, _) if result == AttemptResult::NoResponse => {
                Outcome::Ambiguous
            }
            (Decision::Retry(_), _) => Outcome::Retried,
            (Decision::Isolate, Accused::Alone) | (Decision::Refused, _) => Outcome::Refused,
            (Decision::Isolate, Accused::Named(_) | Accused::Some) => Outcome::Split,
            (Decision::Halve, _)
                if work.batch.targets.len() > 1 && work.halvings < MAX_HALVINGS =>
            {
                Outcome::Split
            }
            (Decision::Isolate | Decision::Halve | Decision::GiveUp | Decision::Stop, _) => {
                Outcome::Failed
            }
        };
        match decision {
            Decision::Done => debug!(items = attempt.items, "answered"),
            Decision::Retry(wait) => {
                warn!(
                    batch = id.batch,
                    attempt = id.attempt,
                    wait_seconds = wait.as_secs_f64(),
                    "{message}; trying again"
                );
            }
            Decision::Isolate => debug!("{message}; asking in parts"),
            _ => warn!(
                batch = id.batch,
                attempt = id.attempt,
                outcome = attempt.outcome.name(),
                "{message}"
            ),
        }
        self.ledger.record_attempt(&attempt).await?;
        self.step(Step::Entered(id));
        let entry = Entry {
            attempt,
            reserved: intent.reserved,
            sent_by: self.clock.running(),
        };
        Ok(Closed {
            work,
            entry,
            result,
            decision,
            message,
            accused,
            pause,
        })
    }

    /// Enters why there is no answer.
    async fn no_response(&self, error: SendError, attempt: &mut Attempt) -> Result<AttemptResult> {
        attempt.status_message = Some(error.to_string());
        Ok(match error {
            SendError::NotSent(_) => {
                attempt.charged = Charged::No;
                AttemptResult::NotSent
            }
            SendError::NoResponse(_) => AttemptResult::NoResponse,
            SendError::TooLarge { .. } => AttemptResult::TooLarge,
            SendError::Encoding { body, .. } => {
                self.ledger.archive_response(attempt.id, body).await?;
                AttemptResult::Malformed
            }
        })
    }

    /// Reads what an answer says of itself, off the runtime's threads.
    async fn read(&self, response: Response, attempt: &mut Attempt) -> Result<AttemptResult> {
        attempt.http_status = Some(response.status);
        attempt.body_bytes = Some(response.body.len() as u64);
        let read = tokio::task::spawn_blocking(move || Envelope::read(&response.body));
        let envelope = match read.await.context(|| "reading an answer panicked")? {
            Ok(envelope) => envelope,
            Err(malformed) => {
                let status = attempt.http_status.unwrap_or_default();
                return Ok(if (200..300).contains(&status) {
                    attempt.status_message = Some(malformed.to_string());
                    AttemptResult::Malformed
                } else {
                    attempt.status_message =
                        Some(format!("HTTP {status} without an answer of the provider"));
                    // Nothing is charged for what is turned away; a broken server may have charged.
                    attempt.charged = if status < 500 {
                        Charged::No
                    } else {
                        Charged::Unknown
                    };
                    AttemptResult::HttpStatus(status)
                });
            }
        };
        Ok(attempt.answered(&envelope, self.endpoint))
    }
}
