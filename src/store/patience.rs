//! Tries again what a store refuses for a while, so that a store that hiccups ends no run and loses no paid response.
//!
//! A failure that can pass (a store that is busy or cannot be reached, credentials that have expired, a full disk) is
//! tried again until `limit` is over. After a stop was requested, this lasts only a little longer. While anything is tried
//! again, [`Patience::healthy`] waits, so that no new request is paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::error::advice;
use crate::stop::Stop;

/// How long a command without a pipeline file tries again.
pub const RETRY: Duration = Duration::from_secs(600);
/// The wait after the second failure; after the first one there is none. It doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long tries go on after a stop was requested: someone waits for the end of the process.
const AFTER_A_STOP: Duration = Duration::from_secs(20);
/// How often the log says that a store still fails.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// How long failures are tried again. Clones share one state.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    clock: Clock,
    stop: Stop,
    limit: Duration,
    /// How many operations are tried again now.
    failing: Arc<watch::Sender<u32>>,
    /// Wakes what waits until nothing is tried again, in the order in which the waits began, so that batches go on in
    /// their order. A watch channel would wake its receivers in any order.
    healthy: Arc<Notify>,
    /// Whether any operation has succeeded: only credentials that have worked can expire.
    worked: Arc<AtomicBool>,
    /// Whether the patience ended, and no operation has succeeded since then. Then a failure counts at once.
    is_over: Arc<AtomicBool>,
    /// Whether a denial never passes.
    strict: bool,
}

impl Patience {
    pub(super) fn new(clock: &Clock, stop: &Stop, limit: Duration) -> Self {
        Self {
            clock: clock.clone(),
            stop: stop.clone(),
            limit,
            failing: Arc::new(watch::Sender::new(0)),
            healthy: Arc::default(),
            worked: Arc::default(),
            is_over: Arc::default(),
            strict: false,
        }
    }

    /// The same patience, except with a denial: what was never permitted does not pass.
    pub(super) fn strict(&self) -> Self {
        Self {
            strict: true,
            ..self.clone()
        }
    }

    /// No patience: the first failure counts.
    pub(super) fn none() -> Self {
        Self::new(&Clock::system(), &Stop::default(), Duration::ZERO)
    }

    /// Does `work` until it succeeds, fails in a way that does not pass, or the patience is over.
    pub(super) async fn persist<T, E, F>(&self, mut work: impl FnMut() -> F) -> Result<T, E>
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let mut error = match work().await {
            Err(error) if self.is_patient() && self.may_pass(&error) => error,
            end => {
                self.note(&end);
                return end;
            }
        };
        let _failing = Failing::new(self);
        let start = self.clock.running();
        let (mut wait, mut said) = (Duration::ZERO, None);
        loop {
            let since = self.clock.running() - start;
            let limit = match self.stop.reason() {
                None => self.limit,
                Some(_) => self.limit.min(AFTER_A_STOP),
            };
            if since >= limit {
                self.is_over.store(true, Ordering::Relaxed);
                return Err(error);
            }
            if said.is_none_or(|said| since >= said + SAID_EVERY) {
                let (seconds, minutes) = (since.as_secs(), limit.as_secs() / 60);
                let advice = advice(&error);
                warn!(%error, advice, seconds, "the lake fails; trying again for up to {minutes} min, and sending nothing until then");
                said = Some(since);
            }
            if !wait.is_zero() {
                self.clock.sleep(wait.min(limit - since)).await;
            }
            wait = (2 * wait).clamp(FIRST_WAIT, LONGEST_WAIT);
            match work().await {
                Err(again) if self.may_pass(&again) => error = again,
                end => {
                    self.note(&end);
                    let seconds = (self.clock.running() - start).as_secs();
                    info!(seconds, "the lake works again");
                    return end;
                }
            }
        }
    }

    fn is_patient(&self) -> bool {
        self.limit > Duration::ZERO && !self.is_over.load(Ordering::Relaxed)
    }

    /// Takes note of a success.
    fn note<T, E>(&self, end: &Result<T, E>) {
        if end.is_ok() {
            self.worked.store(true, Ordering::Relaxed);
            self.is_over.store(false, Ordering::Relaxed);
        }
    }

    fn may_pass(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        let worked = self.worked.load(Ordering::Relaxed) && !self.strict;
        may_pass(error) && (worked || !(is_denied(error) || asks_metadata_service(error)))
    }

    /// Waits before the next try after a conflict with another writer.
    pub(super) async fn pause(&self, tries: usize) {
        let wait = FIRST_WAIT * u32::try_from(tries).unwrap_or(u32::MAX);
        self.clock.sleep(wait.min(LONGEST_WAIT)).await;
    }

    /// Tells whenever operations begin or cease to be tried again. Never ends.
    pub(super) async fn watch(&self, mut tell: impl FnMut(bool)) {
        let mut failing = self.failing.subscribe();
        let mut fails = false;
        // `self` keeps the sender alive, so waiting cannot fail.
        while failing
            .wait_for(|failing| (*failing > 0) != fails)
            .await
            .is_ok()
        {
            fails = !fails;
            tell(fails);
        }
    }

    /// Waits until nothing is tried again.
    pub(super) async fn healthy(&self) {
        loop {
            // Created before the check, so that no wake-up between the check and the await is lost.
            let healthy = self.healthy.notified();
            if *self.failing.borrow() == 0 {
                return;
            }
            healthy.await;
        }
    }
}

/// Counts one operation that is tried again, until it is dropped.
struct Failing<'a>(&'a Patience);

impl<'a> Failing<'a> {
    fn new(patience: &'a Patience) -> Self {
        patience.failing.send_modify(|failing| *failing += 1);
        Self(patience)
    }
}

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.failing.send_modify(|failing| *failing -= 1);
        self.0.healthy.notify_waiters();
    }
}

/// Whether the lake does not permit the operation.
pub(super) fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind as K;

    use object_store::Error as E;
    let denied = [K::PermissionDenied, K::ReadOnlyFilesystem, K::NotADirectory];
    std::iter::successors(Some(error), |&error| error.source()).any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        let store = cause.downcast_ref::<E>();
        io.is_some_and(|error| denied.contains(&error.kind()))
            || matches!(
                store,
                Some(E::PermissionDenied { .. } | E::Unauthenticated { .. } | E::NotFound { .. })
            )
    })
}

/// Whether a cloud's client has looked for credentials at the machine's metadata service, and there is none: it does that
/// when it finds no other credentials.
pub(super) fn asks_metadata_service(error: &(dyn std::error::Error + 'static)) -> bool {
    let text = error.to_string();
    [
        "169.254.169.254",
        "169.254.170.2",
        "metadata.google.internal",
    ]
    .iter()
    .any(|host| text.contains(host))
}

/// Whether the same operation may succeed later.
fn may_pass(error: &(dyn std::error::Error + 'static)) -> bool {
    use object_store::Error as E;
    use std::io::ErrorKind as K;
    let causes = std::iter::successors(Some(error), |&error| error.source());
    for cause in causes {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let lasting = [
                K::NotFound,
                K::AlreadyExists,
                K::NotADirectory,
                K::IsADirectory,
                K::DirectoryNotEmpty,
                K::InvalidInput,
                K::CrossesDevices,
                K::Unsupported,
            ];
            return !lasting.contains(&io.kind());
        }
        if let Some(store) = cause.downcast_ref::<E>() {
            let lasting = matches!(
                store,
                E::NotFound { .. }
                    | E::AlreadyExists { .. }
                    | E::Precondition { .. }
                    | E::NotModified { .. }
                    | E::NotSupported { .. }
                    | E::NotImplemented { .. }
                    | E::InvalidPath { .. }
                    | E::UnknownConfigurationKey { .. }
            );
            if lasting {
                return false;
            }
        }
    }
    true
}
