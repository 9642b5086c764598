//! Shared by the tests of fetching: runs against a provider that answers from a script.

use std::sync::Arc;

use backlake::error::{Error, ErrorKind};
use backlake::pipeline::{RunEnd, RunState};
use backlake::simulator::{Behaviour, Scripted, Simulator};

use crate::harness::{Site, simulator};

/// Pages of one domain.
pub(crate) fn pages(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("https://example.com/{n}"))
        .collect()
}

/// The kind of the error that a run ended with.
pub(crate) fn kind(end: &RunEnd) -> Option<ErrorKind> {
    end.error.as_ref().map(Error::kind)
}

/// Asserts that a run published its snapshot and accounts for every line.
pub(crate) fn published(end: &RunEnd) {
    assert!(end.error.is_none(), "{:?}", end.error);
    assert_eq!(end.report.state, RunState::Published);
    assert_eq!(end.report.lines, end.report.fates.total());
}

/// Runs a list of this many pages, one request at a time. The simulator takes its first responses
/// from the script.
pub(crate) async fn run_scripted(
    count: usize,
    responses: impl IntoIterator<Item = Scripted>,
) -> (Site, Arc<Simulator>, RunEnd) {
    let site = Site::new(pages(count)).with("[api]\nmax_in_flight = 1\nmax_response_mib = 1");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    simulator.script(responses);
    let end = site.run(&simulator, &clock).await.unwrap();
    (site, simulator, end)
}
