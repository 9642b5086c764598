//! The fetch loop: keeps requests in flight until every batch has ended.
//!
//! The loop and its [`Dispatcher`] are the only place that changes the state of batches. The
//! attempts themselves run concurrently and return what happened.

use std::collections::{HashMap, VecDeque};
use std::iter::Fuse;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::attempt::{Closed, NotRecorded, Sent, Work};
use super::drain::Drain;
use super::events::{BatchEnd, End, Entry, Event, Fetched};
use super::fetcher::Fetcher;
use super::isolate::{Isolation, Part};
use super::refusal::{paid_but_unusable, price_not_understood, refusal, unknown_to_us};
use super::trust::Trust;
use super::verdict::Next;
use crate::error::{Error, ErrorKind};
use crate::ledger::Attempt;
use crate::money::Usd;
use crate::plan::{Batch, Plan};
use crate::provider::StatusClass;
use crate::store::AttemptId;
use crate::targets::TargetId;

/// Intents that are recorded before there is a permit for them, so that a permit that becomes free
/// is used at once.
const AHEAD: usize = 4;

/// Sends all batches and waits for their ends. Batches that are made on the way are numbered from
/// `next_batch`.
///
/// A ledger that fails stops sending, too; the error is in [`Fetched::stopped`].
pub async fn fetch(
    fetcher: &Fetcher<'_>,
    batches: impl DoubleEndedIterator<Item = Batch>,
    next_batch: u32,
) -> Fetched {
    let clock = fetcher.clock;
    let stopping = watch::Sender::new(false);
    let mut dispatcher = Dispatcher::new(fetcher, batches, next_batch, &stopping);
    let mut drain = Drain::new(fetcher.stop, clock, fetcher.drain);
    let mut sending = FuturesUnordered::new();
    let mut closing = FuturesUnordered::new();
    let mut waiting = FuturesUnordered::new();
    loop {
        // Every pass may have made room: a request ended, a wait is over, or a batch was split.
        let load = Load {
            sending: sending.len(),
            closing: closing.len(),
            waiting: waiting.len(),
        };
        dispatcher.fill(load, |work, reserved| {
            sending.push(fetcher.send(work, reserved, stopping.subscribe()));
        });
        dispatcher.report_queue(waiting.len());
        // Once the run is stopping, batches that wait for a retry are not sent again.
        let done_waiting = waiting.is_empty() || dispatcher.stopped.is_some();
        if sending.is_empty() && closing.is_empty() && done_waiting {
            break;
        }
        // The order matters: a stop and the deadline come first, because they forbid new requests.
        tokio::select! {
            biased;
            reason = drain.requested() => {
                drain.begin(&reason);
                dispatcher.stop(reason.error());
            }
            () = deadline(fetcher), if dispatcher.stopped.is_none() => {
                dispatcher.stop(Error::new(ErrorKind::Budget, "stopped at [budget] max_minutes"));
            }
            Some(closed) = closing.next() => match closed {
                Ok(closed) => {
                    if let Some(Parked { batch, wait }) = dispatcher.follow(closed) {
                        waiting.push(async move {
                            clock.sleep(wait).await;
                            batch
                        });
                    }
                }
                Err(error) => dispatcher.not_archived(error),
            },
            Some(sent) = sending.next() => match sent {
                Ok(Sent::Posted(posted)) => closing.push(fetcher.close(posted, &stopping)),
                Ok(Sent::Withdrawn(work)) => dispatcher.withdraw(work),
                Err(not_recorded) => dispatcher.never_sent(not_recorded),
            },
            Some(batch) = waiting.next() => dispatcher.unpark(batch),
            // Last, so that a response that has arrived is not dropped. Responses that are being
            // archived are awaited in any case.
            () = drain.over() => {
                drain.end(sending.len());
                sending.clear();
            }
        }
    }
    dispatcher.finish()
}

/// Waits until no further request may be sent. Never returns without a deadline.
async fn deadline(fetcher: &Fetcher<'_>) {
    match fetcher.deadline {
        Some(deadline) => {
            let rest = deadline.saturating_sub(fetcher.clock.running());
            fetcher.clock.sleep(rest).await;
        }
        None => std::future::pending().await,
    }
}

/// How many attempts are in each state.
#[derive(Clone, Copy)]
struct Load {
    sending: usize,
    closing: usize,
    /// Batches that wait for a retry.
    waiting: usize,
}

/// A batch that waits for a retry.
struct Parked {
    batch: u32,
    wait: Duration,
}

/// The batches that are not sent yet, in flight, and ended.
struct Dispatcher<'a, 'f, P> {
    fetcher: &'f Fetcher<'a>,
    planned: Fuse<P>,
    /// Batches that are sent before anything else.
    ready: VecDeque<Work>,
    /// Batches that wait for a retry, by number.
    parked: HashMap<u32, Work>,
    isolation: Isolation<'f>,
    trust: Trust,
    in_flight: HashMap<AttemptId, (Entry, Vec<TargetId>)>,
    /// Batches with suspects that are in flight.
    suspects_in_flight: usize,
    next_batch: u32,
    ends: Vec<BatchEnd>,
    entries: Vec<Entry>,
    stopped: Option<Error>,
    /// Tells all attempts that no further request may be sent.
    stopping: &'f watch::Sender<bool>,
}

impl<'a, 'f, P: DoubleEndedIterator<Item = Batch>> Dispatcher<'a, 'f, P> {
    fn new(
        fetcher: &'f Fetcher<'a>,
        planned: P,
        next_batch: u32,
        stopping: &'f watch::Sender<bool>,
    ) -> Self {
        Self {
            fetcher,
            planned: planned.fuse(),
            ready: VecDeque::new(),
            parked: HashMap::new(),
            isolation: Isolation::new(|id| fetcher.list.root_domain_of(id)),
            trust: Trust::of(fetcher.evidence),
            in_flight: HashMap::new(),
            suspects_in_flight: 0,
            next_batch,
            ends: Vec::new(),
            entries: Vec::new(),
            stopped: None,
            stopping,
        }
    }

    /// Starts attempts with `send` while there is room for them and the budget covers them.
    fn fill(&mut self, mut load: Load, mut send: impl FnMut(Work, Usd)) {
        let width = self.fetcher.pacer.width() as usize;
        let canaries = self.trust.in_flight().unwrap_or(usize::MAX);
        // A store that cannot keep up (`closing`) and a provider in trouble (`waiting`) hold back
        // new attempts.
        while self.stopped.is_none()
            && load.sending < width + AHEAD
            && load.closing < width
            && load.waiting < width + AHEAD
            && load.sending + load.closing < canaries
        {
            let Some(work) = self.next() else { return };
            let max_cost = self.fetcher.max_cost(&work.batch);
            if let Some(reserved) = self.fetcher.purse.reserve(max_cost) {
                self.begin(&work, reserved);
                load.sending += 1;
                send(work, reserved);
                continue;
            }
            self.ready.push_front(work);
            // The requests in flight may cost less than was reserved for them, which may free
            // enough.
            if load.sending == 0 && load.closing == 0 {
                self.stop(out_of_budget(max_cost));
            }
            return;
        }
    }

    fn report_queue(&self, waiting: usize) {
        let pacer = self.fetcher.pacer;
        (self.fetcher.events)(Event::Queue {
            in_flight: pacer.in_flight(),
            waiting: waiting as u64,
            width: pacer.width().into(),
        });
    }

    /// The next batch to send: retries first, then suspects, then the plan, then targets that have
    /// lost their batch.
    fn next(&mut self) -> Option<Work> {
        if let Some(work) = self.ready.pop_front() {
            return Some(work);
        }
        // Before any response was usable, whole batches say more than parts of refused ones, and what
        // is refused should not be filled up with targets that were never sent.
        let whole = self.isolation.is_doubtful() || self.trust.in_flight().is_some();
        if whole && let Some(batch) = self.planned.next() {
            return Some(Work::new(batch, 0, 0));
        }
        if let Some(part) = self.isolation.next().or_else(|| self.isolation.probe()) {
            return Some(self.part(part));
        }
        if let Some(batch) = self.planned.next() {
            return Some(Work::new(batch, 0, 0));
        }
        // While suspects are in flight, more may be set aside, which saves a request.
        if self.suspects_in_flight == 0 || self.isolation.has_many_loose() {
            let list = self.fetcher.list;
            let mut loose = std::mem::take(&mut self.isolation.loose);
            loose.append(&mut self.isolation.fresh);
            loose.sort_unstable();
            for batch in Plan::of_some(list, loose).batches() {
                let work = self.work(batch.targets, 0, 0);
                self.ready.push_back(work);
            }
        }
        self.ready.pop_front()
    }

    /// A new batch of suspects, filled up with fresh targets as far as that does not mislead the
    /// search.
    fn part(&mut self, part: Part) -> Work {
        let room = self.isolation.room(&part);
        while self.isolation.fresh.len() < room {
            // The last batch of the plan: what is left of it is sent at the end, and no row of the
            // other batches has to wait for that.
            match self.planned.next_back() {
                Some(batch) => self.isolation.fresh.extend(batch.targets),
                None => break,
            }
        }
        let (count, mut targets) = (part.targets.len(), part.targets);
        self.isolation.fill(&mut targets, room);
        let mut work = self.work(targets, count, 0);
        work.named_before = part.named_before;
        self.isolation
            .keep_left_out(work.batch.number, part.left_out);
        work
    }

    /// A new batch of these targets; the first `suspects` of them are suspects.
    fn work(&mut self, targets: Vec<TargetId>, suspects: usize, halvings: u8) -> Work {
        let number = self.next_batch;
        self.next_batch += 1;
        let root_domains = self.fetcher.root_domains(&targets);
        let batch = Batch {
            number,
            targets,
            root_domains,
        };
        Work::new(batch, suspects, halvings)
    }

    fn begin(&mut self, work: &Work, reserved: Usd) {
        self.suspects_in_flight += usize::from(work.suspects > 0);
        let mut attempt = Attempt::of(&self.fetcher.intent(work, reserved));
        let message = "the run stopped before it archived the response";
        attempt.status_message = Some(message.to_owned());
        let entry = Entry {
            attempt,
            reserved,
            sent_by: Duration::MAX,
        };
        let targets = work.batch.targets.clone();
        self.in_flight.insert(work.id(), (entry, targets));
    }

    /// Stops sending. The first error counts.
    fn stop(&mut self, error: Error) {
        self.stopping.send_replace(true);
        self.stopped.get_or_insert(error);
    }

    /// Stops because a response could not be archived. Its error says where the response is, so it
    /// counts before others.
    fn not_archived(&mut self, error: Error) {
        self.stopping.send_replace(true);
        self.stopped = Some(error);
    }

    fn end(&mut self, batch: Batch, end: End) {
        if matches!(end, End::Refused(_) | End::Failed(_)) {
            (self.fetcher.unanswered)(&batch.targets);
        }
        self.push_end(Some(batch.number), batch.targets.into(), end);
    }

    fn push_end(&mut self, batch: Option<u32>, targets: Arc<[TargetId]>, end: End) {
        self.ends.push(BatchEnd {
            batch,
            targets,
            end,
        });
    }

    /// Takes back a batch that was not sent.
    fn withdraw(&mut self, work: Work) {
        self.in_flight.remove(&work.id());
        self.suspects_in_flight -= usize::from(work.suspects > 0);
        self.ready.push_front(work);
    }

    /// Stops because the ledger failed before a request was sent: nothing may be sent that it does
    /// not record.
    fn never_sent(&mut self, NotRecorded { id, error }: NotRecorded) {
        if let Some((_, targets)) = self.in_flight.remove(&id) {
            self.push_end(None, targets.into(), End::Unsent);
        }
        self.stop(error);
    }

    /// Makes a batch ready whose wait is over.
    fn unpark(&mut self, batch: u32) {
        self.ready.extend(self.parked.remove(&batch));
    }

    /// Does what the verdict on an attempt says. Returns the batch if it must wait for a retry.
    fn follow(&mut self, closed: Closed) -> Option<Parked> {
        self.report(&closed);
        let Closed {
            mut work,
            entry,
            verdict,
            message,
            pause,
            result,
            unknown_price,
        } = closed;
        let id = entry.attempt.id;
        self.trust.learn(result, entry.attempt.charged);
        if let Some(told) = unknown_price {
            let charged = entry.attempt.cost_usd.unwrap_or_default();
            self.stop(price_not_understood(told, charged));
        } else if !result.counts() && self.trust.is_lost() {
            self.stop(paid_but_unusable(&message));
        } else if result.class() == StatusClass::UnknownRefusal && self.isolation.is_hopeless() {
            self.stop(unknown_to_us(&message));
        }
        self.in_flight.remove(&id);
        self.suspects_in_flight -= usize::from(work.suspects > 0);
        if let Some(pause) = pause {
            self.fetcher.pacer.pause(pause);
        }
        let mut parked = None;
        match verdict.next {
            Next::Complete => {
                let Batch {
                    number, targets, ..
                } = work.batch;
                let targets: Arc<[TargetId]> = targets.into();
                (self.fetcher.completed)(&entry.attempt, &targets);
                self.isolation.returned(number, &targets);
                self.push_end(Some(number), targets, End::Complete(id));
            }
            Next::Retry(wait) => {
                let batch = work.batch.number;
                work.attempt += 1;
                self.parked.insert(batch, work);
                parked = Some(Parked { batch, wait });
            }
            Next::Isolate { named } => {
                let Batch {
                    number, targets, ..
                } = work.batch;
                self.isolation
                    .refused(number, targets, work.suspects, work.named_before, named);
            }
            Next::Halve => {
                self.isolation.set_aside(work.batch.number);
                self.halve(work);
            }
            Next::Refuse => {
                self.isolation
                    .refused_alone(work.batch.number, work.batch.targets[0]);
                self.end(work.batch, End::Refused(message));
            }
            Next::Fail => {
                self.isolation.set_aside(work.batch.number);
                self.end(work.batch, End::Failed(message));
            }
            Next::StopRun { reason } => {
                self.end(work.batch, End::Unsent);
                self.stop(refusal(reason, &message));
            }
        }
        self.entries.push(entry);
        parked
    }

    /// Makes the halves of a batch ready. They are not suspects, because those are filled up with
    /// more targets, and the batch has too many already.
    fn halve(&mut self, work: Work) {
        let targets = work.batch.targets;
        for half in targets.chunks(targets.len().div_ceil(2)) {
            let half = self.work(half.to_vec(), 0, work.halvings + 1);
            self.ready.push_back(half);
        }
    }

    /// Reports that an attempt has ended.
    fn report(&self, closed: &Closed) {
        let attempt = &closed.entry.attempt;
        let targets = closed.work.batch.targets.len() as u64;
        (self.fetcher.events)(Event::Attempt {
            outcome: attempt.outcome,
            result: closed.result,
            took: Duration::from_millis(attempt.duration_ms.unwrap_or_default()),
            bytes: attempt.body_bytes.unwrap_or_default(),
            cost: attempt.cost_usd,
            targets: if closed.verdict.done() { targets } else { 0 },
        });
    }

    /// Ends everything that has not ended yet as unsent.
    fn finish(mut self) -> Fetched {
        // Attempts that were abandoned after a drain or could not be archived. Their intents are in
        // the ledger, where the next start finds them.
        for (mut entry, targets) in std::mem::take(&mut self.in_flight).into_values() {
            entry.sent_by = self.fetcher.clock.running();
            let batch = Some(entry.attempt.id.batch);
            self.entries.push(entry);
            self.push_end(batch, targets.into(), End::Unsent);
        }
        let works = self.ready.into_iter().chain(self.parked.into_values());
        let unsent = works
            .map(|work| work.batch)
            .chain(self.planned)
            .map(|batch| batch.targets)
            .chain([self.isolation.rest().collect()]);
        self.ends.extend(
            unsent
                .filter(|targets: &Vec<_>| !targets.is_empty())
                .map(|targets| BatchEnd {
                    batch: None,
                    targets: targets.into(),
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

fn out_of_budget(max_cost: Usd) -> Error {
    Error::new(
        ErrorKind::Budget,
        format!("the budget does not cover the next request, which may cost ${max_cost}"),
    )
}
