//! One error type for the whole program: a kind, a message and a hint.
//!
//! The kind alone decides the exit code ([`ErrorKind::exit_code`]). The message says what went wrong
//! and where (file, line, key, target, batch). The hint says what to do next.

use std::error::Error as StdError;
use std::{fmt, io};

use rustix::io::Errno;

use crate::secret::without_credentials;

type BoxedError = Box<dyn StdError + Send + Sync>;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure that a caller must be able to tell apart: each has its own exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A defect, or an environment that failed: a full disk, a lake that cannot be reached.
    Unexpected,
    /// The command line, the pipeline file or a target list is wrong. Nothing was sent.
    Usage,
    /// The account or the provider refuses: credentials, funds, limits.
    Account,
    /// The budget does not cover the next request, or the time is up.
    Budget,
    /// The snapshot is complete but not published: it waits for a decision.
    Held,
    /// Another run holds the lock on the snapshot.
    Locked,
    /// A check found problems.
    FoundProblems,
    /// SIGINT.
    Interrupted,
    /// SIGTERM or SIGHUP.
    Terminated,
}

impl ErrorKind {
    /// Every kind, in the order of their exit codes.
    pub const ALL: [Self; 9] = [
        Self::Unexpected,
        Self::Usage,
        Self::Account,
        Self::Budget,
        Self::Held,
        Self::Locked,
        Self::FoundProblems,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The exit code of the process: the contract with the scheduler. 0 means done.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Account => 3,
            Self::Budget => 4,
            Self::Held => 5,
            Self::Locked => 6,
            Self::FoundProblems => 7,
            // Shells report a process that a signal ended as 128 plus the number of the signal.
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The meaning of the exit code in a few words, for help and documentation.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected failure",
            Self::Usage => "command line, pipeline file or target list is wrong",
            Self::Account => "the account or the provider refuses",
            Self::Budget => "stopped at the budget",
            Self::Held => "the snapshot is held",
            Self::Locked => "another process holds the lock",
            Self::FoundProblems => "a check found problems",
            Self::Interrupted => "interrupted (SIGINT)",
            Self::Terminated => "terminated (SIGTERM, SIGHUP)",
        }
    }

    /// What to do next, for an error that has no hint of its own.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Unexpected => {
                "run the same command again: it continues, and archived responses are not paid for twice; if it fails again, report this with the log of `-vv`"
            }
            Self::Usage => {
                "nothing was sent or paid; correct the mistake and run the same command again"
            }
            Self::Account => {
                "paid responses are archived; resolve this with the provider, then run the same command: it continues"
            }
            Self::Budget => {
                "paid responses are archived; raise the ceiling or wait, then run the same command: it continues"
            }
            Self::Held => {
                "paid responses are archived; look at the report, then run the same command again"
            }
            Self::Locked => "nothing is lost; wait until it has ended, then run the same command",
            Self::FoundProblems => "the report names each problem",
            Self::Interrupted | Self::Terminated => {
                "paid responses are archived; run the same command again: it continues"
            }
        }
    }
}

/// What went wrong, where, and what to do next.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<BoxedError>,
}

impl Error {
    /// An error of a kind; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// The command line, the pipeline file or a target list is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A defect, or an environment that failed.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// A usage error with its cause. If the cause alone shows what to do, that is the hint.
    pub fn usage_caused_by(message: impl Into<String>, source: impl Into<BoxedError>) -> Self {
        let source = source.into();
        Self {
            hint: hint_for(&*source),
            ..Self::usage(message).caused_by(source)
        }
    }

    /// Says what to do next, in place of the kind's own hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause; it is shown after the message.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxedError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.kind.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.message.clone();
        for error in causes(self) {
            match error.downcast_ref::<Self>() {
                // Its causes come next.
                Some(ours) => add(&mut said, &ours.message),
                None => add(&mut said, &error.to_string()),
            }
        }
        f.write_str(&without_credentials(&said))
    }
}

/// Adds a cause to a message, unless it is said already: many libraries print their cause as part of their own message,
/// and some begin with the message of whoever called them.
fn add(said: &mut String, cause: &str) {
    if cause.is_empty() || said.contains(cause) {
        return;
    }
    // The cause may begin with how the message ends; the longest such part is left out.
    let ends = cause.rmatch_indices(": ").map(|(at, _)| at);
    let repeated = ends.into_iter().find(|&at| {
        let before = said.strip_suffix(&cause[..at]);
        before.is_some_and(|before| before.is_empty() || before.ends_with(": "))
    });
    match repeated {
        Some(at) => said.push_str(&cause[at..]),
        None => {
            said.push_str(": ");
            said.push_str(cause);
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The causes of an error, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// What to do about a cause that is clear by itself, whatever was being done.
#[must_use]
pub fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let too_many_files = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    std::iter::once(error)
        .chain(causes(error))
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .find_map(|error| {
            if full.contains(&error.kind()) {
                Some("the disk is full: free some space")
            } else if too_many_files.contains(&error.raw_os_error()) {
                Some("too many files are open: raise the limit, for example with `ulimit -n 4096`")
            } else {
                None
            }
        })
}

fn hint_for(source: &(dyn StdError + 'static)) -> Option<String> {
    let advice = advice(source)?;
    Some(format!(
        "{advice}, then run the same command again; paid responses are archived"
    ))
}

/// Adds what was being done to an error.
pub trait Context<T> {
    /// Says what failed: `context` is "failed to …", with what and where. An error of ours keeps
    /// its kind and its hint; any other becomes [`ErrorKind::Unexpected`].
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
    /// The same for an error that the user can correct: [`ErrorKind::Usage`].
    fn usage<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<BoxedError>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let source = error.into();
            let (kind, hint) = match source.downcast_ref::<Error>() {
                Some(ours) => (ours.kind, ours.hint.clone()),
                None => (ErrorKind::Unexpected, hint_for(&*source)),
            };
            Error {
                hint,
                ..Error::new(kind, context()).caused_by(source)
            }
        })
    }

    fn usage<S: Into<String>>(self, context: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::usage_caused_by(context(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_the_kind_and_the_hint_of_our_own_errors() {
        let locked = Error::new(ErrorKind::Locked, "taken").with_hint("wait");
        let error = Err::<(), _>(locked)
            .context(|| "failed to publish")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert_eq!(error.hint(), "wait");
        assert_eq!(error.to_string(), "failed to publish: taken");
        let foreign = Err::<(), _>(std::io::Error::other("broken")).context(|| "failed to read");
        assert_eq!(foreign.unwrap_err().kind(), ErrorKind::Unexpected);
    }

    /// Prints its cause as part of its own message, as `object_store` does.
    #[derive(Debug)]
    struct Talkative(io::Error);

    impl fmt::Display for Talkative {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "lake: {}", self.0)
        }
    }

    impl StdError for Talkative {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn each_cause_is_printed_once() {
        let error =
            Err::<(), _>(Talkative(io::Error::other("denied"))).context(|| "failed to list");
        let error = error.context(|| "failed to publish").unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to publish: failed to list: lake: denied"
        );
    }

    #[test]
    fn nothing_is_said_twice_whatever_a_chain_of_causes_repeats() {
        for (chain, said) in [
            (&["a", "b", "c"][..], "a: b: c"),
            // Each contains its cause.
            (
                &["failed", "lake: denied (13)", "denied (13)"],
                "failed: lake: denied (13)",
            ),
            (&["failed: denied", "denied"], "failed: denied"),
            // The cause of a cause is contained in what was said before, not in the last.
            (&["a: x y z", "b", "x y z"], "a: x y z: b"),
            // A cause that begins with the message of its caller.
            (
                &["failed to open it", "failed to open it: not found"],
                "failed to open it: not found",
            ),
            (&["a: b: c", "b: c: d"], "a: b: c: d"),
            // Not where a word merely ends like another.
            (&["scab", "ab: d"], "scab: ab: d"),
            (&["failed", "", "denied"], "failed: denied"),
        ] {
            let causes = chain[1..].iter().rev();
            let mut cause: Option<Error> = None;
            for text in causes {
                let error = Error::unexpected(*text);
                cause = Some(match cause {
                    Some(cause) => error.caused_by(cause),
                    None => error,
                });
            }
            let error = Error::unexpected(chain[0]).caused_by(cause.unwrap());
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn no_error_prints_credentials() {
        let cause = io::Error::other(
            "error sending request for url (https://me:SECRET@s3.example.com/b/o?X-Amz-Signature=SECRET&list-type=2)",
        );
        let error = Err::<(), _>(cause).context(|| "failed to read s3://key:SECRET@bucket/lake");
        let said = error.unwrap_err().to_string();
        assert!(!said.contains("SECRET"), "{said}");
        assert!(
            said.contains("s3.example.com/b/o") && said.contains("list-type=2"),
            "{said}"
        );
    }

    #[test]
    fn a_full_disk_and_too_many_files_have_their_own_hints() {
        for (errno, advice) in [
            (Errno::NOSPC, "disk is full"),
            (Errno::DQUOT, "disk is full"),
            (Errno::MFILE, "`ulimit -n"),
            (Errno::NFILE, "`ulimit -n"),
        ] {
            let cause = io::Error::from_raw_os_error(errno.raw_os_error());
            let error = Err::<(), _>(Talkative(cause)).context(|| "failed to write");
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unexpected);
            assert!(error.hint().contains(advice), "{}", error.hint());
        }
    }

    #[test]
    fn every_kind_has_an_exit_code_of_its_own() {
        let mut codes = ErrorKind::ALL.map(ErrorKind::exit_code).to_vec();
        assert!(codes.is_sorted());
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }
}
