//! Signals: the first asks the command to stop in order, the second ends the process at once.

use tracing::{error, warn};

use crate::error::{Context as _, Result};
use crate::stop::{Stop, StopReason};

/// Listens as long as the process runs. SIGHUP counts as SIGTERM unless it is ignored (`nohup`).
pub(super) fn listen(stop: &Stop) -> Result<()> {
    let stop = stop.clone();
    let mut signals = Signals::new().context(|| "failed to listen for signals")?;
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let reason = signals.next().await;
            if std::mem::take(&mut first) {
                stop.request(reason);
                warn!(
                    "stopping: work in progress is completed and kept; a second signal ends the process at once"
                );
            } else {
                // The ledger has the intents of requests in flight: the next start settles them.
                let ended = reason.error();
                let code = ended.kind().exit_code();
                error!(
                    code,
                    hint = ended.hint(),
                    "ended at once by a second signal"
                );
                std::process::exit(code.into());
            }
        }
    });
    Ok(())
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None under `nohup`.
    hang_up: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let hang_up = if hang_up_is_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    async fn next(&mut self) -> StopReason {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => StopReason::Interrupted,
            _ = self.terminate.recv() => StopReason::Terminated,
            _ = hang_up => StopReason::Terminated,
        }
    }
}

/// Whether the process was started to outlive its terminal.
fn hang_up_is_ignored() -> bool {
    const SIGHUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGHUP != 0)
}
