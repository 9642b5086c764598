//! The process that holds a lock, and whether it still runs.

use serde::{Deserialize, Serialize};

/// A process that may hold a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in clock ticks since the machine's boot; none without `/proc`.
    pub started: Option<String>,
    /// Where the process id is valid: the machine's boot id and the PID namespace; none without `/proc`.
    pub place: Option<String>,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        let pid = std::process::id();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        Self {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            pid,
            started: start_of(pid),
            place: boot
                .zip(namespace)
                .map(|(boot, namespace)| format!("{} {}", boot.trim(), namespace.display())),
        }
    }

    /// Whether the process has certainly ended, as seen from `here`. Only a process on the same machine can tell.
    pub(super) fn has_ended(&self, here: &Self) -> bool {
        self.place.is_some()
            && self.place == here.place
            && self.started.is_some()
            && start_of(self.pid) != self.started
    }
}

/// When a process on this machine started, in clock ticks since boot; none if no such process runs or there is no
/// `/proc`.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name, in parentheses, may contain anything; the start time is the 20th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie has ended, although its id is still taken.
    let state = fields.next()?;
    if state == "Z" {
        None
    } else {
        fields.nth(18).map(str::to_owned)
    }
}
