//! Signals: the first asks a run to stop, the second stops at once.

use tracing::warn;

use crate::error::{Context as _, Result};
use crate::fetch::{Reason, Stop};

/// Listens for as long as the process runs. SIGHUP counts as SIGTERM.
pub(super) fn listen(stop: &Stop) -> Result<()> {
    let stop = stop.clone();
    let mut signals = Signals::new().context(|| "failed to listen for signals")?;
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let reason = signals.next().await;
            let exit_code = reason.error().kind().exit_code();
            if std::mem::take(&mut first) {
                stop.request(reason);
                warn!(
                    "stopping: nothing more is sent, what is under way is awaited and kept; once more stops at once"
                );
            } else {
                // What is under way is in the books as such: the next start settles it.
                std::process::exit(exit_code.into());
            }
        }
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Reason {
        tokio::select! {
            _ = self.interrupt.recv() => Reason::Interrupted,
            _ = self.terminate.recv() => Reason::Terminated,
            _ = self.hang_up.recv() => Reason::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Reason {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Reason::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }
}
