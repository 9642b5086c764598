//! One attempt: records the intent, sends the request, archives the response, and records how the
//! attempt ended.
//!
//! An attempt has two halves. [`Fetcher::send`] records the intent, waits for its turn and sends.
//! [`Fetcher::close`] archives the response, reads it, decides what follows and records the end.
//! Only the first half holds a permit of the pacer, so a slow store never leaves a gap between
//! requests.

use std::time::Duration;

use tokio::sync::{SemaphorePermit, watch};
use tracing::{Instrument as _, Span, debug, info_span, warn};

use super::accused::accused;
use super::classify::{classify, classify_error};
use super::client::Response;
use super::events::{Entry, Step};
use super::fetcher::Fetcher;
use super::purse::PriceCheck;
use super::retry::{Decision, MAX_WAIT, MIN_WAIT, RetryContext, Tries};
use super::transport::SendError;
use super::verdict::{BatchSize, Next, Verdict, verdict};
use crate::aside::aside;
use crate::error::{Context, Error, Result};
use crate::ledger::{Attempt, AttemptResult, BodyDigest, Charged, Intent};
use crate::money::Usd;
use crate::plan::Batch;
use crate::provider::{self, StatusClass};
use crate::store::AttemptId;

/// A response below this size has few rows, so it may say that there are too many requests at once.
/// Its request keeps its permit until the response is read.
const SMALL_BODY: usize = 16 << 10;

/// A batch on its way to an end.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) batch: Batch,
    span: Span,
    /// How many of the first targets are suspects: a batch with them was refused.
    pub(super) suspects: usize,
    /// How many others of the suspects' group refusals have named.
    pub(super) named_before: usize,
    /// The number of the next attempt.
    pub(super) attempt: u32,
    tries: Tries,
    pub(super) halvings: u8,
}

impl Work {
    pub(super) fn new(batch: Batch, suspects: usize, halvings: u8) -> Self {
        let span = info_span!(
            "batch",
            number = batch.number,
            targets = batch.targets.len()
        );
        Self {
            batch,
            span,
            suspects,
            named_before: 0,
            attempt: 1,
            tries: Tries::default(),
            halvings,
        }
    }

    /// The id of the next attempt.
    pub(super) fn id(&self) -> AttemptId {
        AttemptId {
            batch: self.batch.number,
            attempt: self.attempt,
        }
    }
}

/// What became of the first half of an attempt.
#[expect(
    clippy::large_enum_variant,
    reason = "one per request in flight, and nearly always the large one"
)]
pub(super) enum Sent<'p> {
    /// The request was sent.
    Posted(Posted<'p>),
    /// The request was not sent, because the run is stopping or the budget no longer covers it. The
    /// intent is deleted.
    Withdrawn(Work),
}

/// A request that was sent, and what came back.
pub(super) struct Posted<'p> {
    work: Work,
    intent: Intent,
    span: Span,
    response: Result<Response, SendError>,
    took: Duration,
    permit: Option<SemaphorePermit<'p>>,
}

/// The ledger failed, so the request was not sent.
pub(super) struct NotRecorded {
    pub(super) id: AttemptId,
    pub(super) error: Error,
}

/// An attempt that has ended, and what follows.
pub(super) struct Closed {
    pub(super) work: Work,
    pub(super) entry: Entry,
    pub(super) result: AttemptResult,
    pub(super) verdict: Verdict,
    /// The status code of the response and its text, or why there is no response.
    pub(super) message: String,
    /// How long no request may be sent.
    pub(super) pause: Option<Duration>,
    /// What the attempt may have cost at the told prices, if it cost more and nothing shows what
    /// the next one will cost.
    pub(super) unknown_price: Option<Usd>,
}

/// What came back from a request, once it is archived and read.
struct Received {
    result: AttemptResult,
    /// How long the provider asks to wait before the next request.
    requested_wait: Option<Duration>,
}

impl Fetcher<'_> {
    /// The intent of the next attempt of a batch.
    pub(super) fn intent(&self, work: &Work, reserved: Usd) -> Intent {
        let id = work.id();
        Intent {
            id,
            tag: format!("{}/{id}", self.run),
            sent_at: self.clock.now(),
            reserved,
            root_domains: work.batch.root_domains,
            targets: self.list.texts_of(work.batch.targets.iter().copied()),
        }
    }

    /// Records the intent, waits for a permit and for its turn, and sends the request. `stopping`
    /// becomes true when no further request may be sent.
    pub(super) async fn send(
        &self,
        work: Work,
        reserved: Usd,
        stopping: watch::Receiver<bool>,
    ) -> Result<Sent<'_>, NotRecorded> {
        let id = work.id();
        let span = info_span!(parent: &work.span, "attempt", number = id.attempt);
        let sent = self.send_within(work, reserved, stopping, span.clone());
        let sent = sent.instrument(span).await;
        sent.map_err(|error| NotRecorded { id, error })
    }

    async fn send_within(
        &self,
        work: Work,
        reserved: Usd,
        mut stopping: watch::Receiver<bool>,
        span: Span,
    ) -> Result<Sent<'_>> {
        let mut intent = self.intent(&work, reserved);
        let id = intent.id;
        let texts: Vec<&str> = intent.targets.iter().collect();
        // Before the intent, so that a request that cannot be written leaves no trace.
        let body = provider::body(&texts, &self.options, &intent.tag)
            .context(|| format!("failed to write request {id}"))?;
        self.step(Step::Intending(id));
        // The permit is awaited while the intent is written, so permits go to batches in their
        // order, however long each intent takes.
        let permit = async {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => Ok(None),
                permit = self.pacer.permit() => permit.map(Some),
            }
        };
        let (permit, recorded) = futures::join!(permit, self.ledger.record_intent(&intent));
        recorded?;
        self.step(Step::Intended(id));
        let permit = match permit? {
            None => None,
            Some(permit) => tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => None,
                () = self.pacer.turn() => Some(permit),
            },
        };
        // Other requests may have cost more than expected since the reservation, so it is checked
        // again.
        let told = self.max_cost(&work.batch);
        let (Some(permit), Some(reserved)) = (permit, self.purse.confirm(told)) else {
            self.ledger.withdraw_intent(id).await?;
            self.purse.release(told);
            return Ok(Sent::Withdrawn(work));
        };
        intent.reserved = reserved;
        // A lost lock means that another process may send the same request.
        self.ledger.may_send().await?;
        intent.sent_at = self.clock.now();
        let start = self.clock.running();
        let response = self.client.post(self.endpoint, body).await;
        self.step(Step::Received(id));
        let took = self.clock.running() - start;
        let is_small = |response: &Response| response.body.len() <= SMALL_BODY;
        let permit = response.as_ref().is_ok_and(is_small).then_some(permit);
        Ok(Sent::Posted(Posted {
            work,
            intent,
            span,
            response,
            took,
            permit,
        }))
    }

    /// Archives the response, reads it, decides what follows, and records how the attempt ended.
    /// Sets `stopping` if the whole run must stop.
    ///
    /// # Errors
    /// A ledger that fails.
    pub(super) async fn close(
        &self,
        posted: Posted<'_>,
        stopping: &watch::Sender<bool>,
    ) -> Result<Closed> {
        let span = posted.span.clone();
        self.close_within(posted, stopping).instrument(span).await
    }

    async fn close_within(
        &self,
        posted: Posted<'_>,
        stopping: &watch::Sender<bool>,
    ) -> Result<Closed> {
        let Posted {
            mut work,
            intent,
            response,
            took,
            permit,
            ..
        } = posted;
        let mut attempt = Attempt::of(&intent);
        attempt.duration_ms = Some(took.as_millis() as u64);
        let received = self.receive(response, &mut attempt).await?;
        let Received {
            result,
            requested_wait,
        } = received;
        // The reservation is replaced at once, so that the next request may use what it did not cost.
        let charged = attempt.charged;
        let cost = (charged != Charged::Unknown).then(|| attempt.cost_usd.unwrap_or_default());
        let told = self.max_cost(&work.batch);
        let price = self.purse.settle(told, cost);
        if price == PriceCheck::NotUnderstood {
            // At once, so that no waiting request is sent at an unknown price.
            stopping.send_replace(true);
        }

        work.tries.count(result, charged);
        let context = RetryContext {
            now: self.clock.now(),
            jitter: self.jitter(),
            requested_wait,
        };
        let decision = self.retry.decide(result, work.tries, charged, context);
        let message = message(&attempt, result);
        let verdict = self.verdict(decision, &message, result, &work);
        attempt.outcome = verdict.outcome;
        if let Next::StopRun { .. } = verdict.next {
            // Before the permit is released, so that no waiting request takes it.
            stopping.send_replace(true);
        }
        self.release(permit, result.class());
        let pause = match (result.class(), decision) {
            // The provider would turn away every other request of this minute, too.
            (StatusClass::RatePerMinute, Decision::Retry(wait)) => Some(wait),
            _ => requested_wait.map(|wait| wait.clamp(MIN_WAIT, MAX_WAIT)),
        };
        // If the process ends before this record, the next start reads the archived response instead.
        log(&attempt, verdict.next, &message);
        self.ledger.record_attempt(&attempt).await?;
        self.step(Step::Recorded(attempt.id));
        let entry = Entry {
            attempt,
            reserved: intent.reserved,
            sent_by: self.clock.running(),
        };
        Ok(Closed {
            work,
            entry,
            result,
            verdict,
            message,
            pause,
            unknown_price: (price == PriceCheck::NotUnderstood).then_some(told),
        })
    }

    /// Archives what came back, then reads it into the attempt.
    async fn receive(
        &self,
        response: Result<Response, SendError>,
        attempt: &mut Attempt,
    ) -> Result<Received> {
        match response {
            Ok(response) => {
                let body = response.body.clone();
                self.ledger.archive_response(attempt, body).await?;
                self.step(Step::Archived(attempt.id));
                Ok(Received {
                    requested_wait: response.requested_wait,
                    result: self.read(response, attempt).await?,
                })
            }
            Err(error) => {
                let result = classify_error(&error);
                attempt.status_message = Some(error.to_string());
                if matches!(result, AttemptResult::NotSent | AttemptResult::WayRefused) {
                    attempt.charged = Charged::No;
                }
                // Bytes that cannot be decompressed may have been paid for.
                if let SendError::Encoding { body, .. } = error {
                    self.ledger.archive_response(attempt, body).await?;
                }
                Ok(Received {
                    result,
                    requested_wait: None,
                })
            }
        }
    }

    /// Reads a response into the attempt.
    async fn read(&self, response: Response, attempt: &mut Attempt) -> Result<AttemptResult> {
        attempt.http_status = Some(response.status);
        let (bytes, secrets) = (response.body.len(), response.secrets);
        if secrets > 0 {
            let (batch, number) = (attempt.id.batch, attempt.id.attempt);
            warn!(
                batch,
                attempt = number,
                secrets,
                "the response repeats the credentials; they are replaced by asterisks"
            );
        }
        let read = aside(bytes, move || {
            let digest = BodyDigest::of(&response.body);
            (digest, classify(response.status, &response.body))
        });
        let (digest, read) = read.await.context(|| "reading a response panicked")?;
        attempt.take_body(digest);
        match read {
            Ok(envelope) => {
                let result = attempt.take_envelope(&envelope, self.endpoint);
                if secrets > 0 {
                    attempt.oddities.push("the credentials".to_owned());
                }
                Ok(result)
            }
            Err(no_envelope) => {
                attempt.status_message = Some(no_envelope.message);
                attempt.charged = no_envelope.charged;
                Ok(no_envelope.result)
            }
        }
    }

    fn verdict(
        &self,
        decision: Decision,
        message: &str,
        result: AttemptResult,
        work: &Work,
    ) -> Verdict {
        let targets = &work.batch.targets;
        let texts = self.list.texts_of(targets.iter().copied());
        let accused = accused(texts.iter(), message);
        let size = BatchSize {
            targets: targets.len(),
            halvings: work.halvings,
        };
        verdict(decision, accused, result, size)
    }

    /// Gives the permit back, and tells the pacer whether the provider accepts this many requests in
    /// flight.
    fn release(&self, permit: Option<SemaphorePermit<'_>>, class: StatusClass) {
        match (class, permit) {
            (StatusClass::TooManyAtOnce, Some(permit)) => self.pacer.narrow(permit),
            (StatusClass::Success, permit) => {
                drop(permit);
                self.pacer.succeeded();
            }
            (_, permit) => drop(permit),
        }
    }
}

/// The status code of a response and its text, or why there is no response.
fn message(attempt: &Attempt, result: AttemptResult) -> String {
    let text = attempt.status_message.clone().unwrap_or_default();
    match attempt.status_code {
        Some(code) if result != AttemptResult::Malformed => format!("{code} {text}"),
        _ => text,
    }
}

fn log(attempt: &Attempt, next: Next, message: &str) {
    let id = attempt.id;
    match next {
        Next::Complete => debug!(items = attempt.items, "received a response"),
        Next::Retry(wait) => {
            let wait_seconds = wait.as_secs_f64();
            warn!(
                batch = id.batch,
                attempt = id.attempt,
                wait_seconds,
                "{message}; retrying"
            );
        }
        // A refused batch is expected: a list may have targets that the provider refuses.
        Next::Isolate { .. } => debug!("{message}; asking for the targets in parts"),
        Next::Halve | Next::Refuse | Next::Fail | Next::StopRun { .. } => warn!(
            batch = id.batch,
            attempt = id.attempt,
            outcome = attempt.outcome.name(),
            "{message}"
        ),
    }
}
