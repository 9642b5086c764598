//! A run flattens and sorts responses while it waits for others, and its files are those of a replay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backlake::clock::Clock;
use backlake::pipeline::{FindingsMode, Progress, RunMode, Surroundings, replay, run};
use backlake::simulator::Behaviour;
use backlake::store::Store;
use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, Result};
use tokio::sync::watch;

use crate::campaign::contents;
use crate::harness::{Site, drifting, simulator, surroundings};
use crate::interfering::{Interfered, Interference, Operation};

/// Delays archiving the third response until this many others are flattened. The first responses are
/// canaries: nothing else is sent before they return.
#[derive(Debug)]
struct ThirdComesLast {
    others: u64,
    flattened: watch::Sender<u64>,
    arrived: AtomicU64,
    clock: Clock,
}

#[async_trait]
impl Interference for ThirdComesLast {
    async fn around(
        &self,
        operation: Operation,
        path: &Path,
        work: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        let archives = operation.is_write() && path.as_ref().starts_with("_archive");
        if archives && self.arrived.fetch_add(1, Ordering::Relaxed) == 2 {
            let mut flattened = self.flattened.subscribe();
            let others = |flattened: &u64| *flattened >= self.others;
            // With no limit, a run that flattens nothing would hang here instead of failing below.
            let waited = flattened.wait_for(others);
            self.clock.within(Duration::from_secs(60), waited).await;
        }
        work.await
    }
}

/// The published files by path.
async fn tables(objects: &InMemory) -> BTreeMap<String, Bytes> {
    let mut found = contents(objects).await;
    found.retain(|path, _| path.ends_with(".parquet"));
    found
}

// In real time, because simulated time runs on while no one but a thread works.
#[tokio::test]
async fn responses_are_flattened_while_others_are_awaited_and_the_files_are_those_of_a_replay() {
    let targets = (0..1000).map(|n| format!("site{n}.com"));
    let site = Site::new(targets).with("[api]\nmax_in_flight = 4");
    let (simulator, clock) = simulator(Behaviour::default()).await;
    // The example of an unknown field does not depend on which response is read first.
    let drifting = || {
        drifting(&simulator, &clock, |_, item| {
            item["page_authority"] = item["url"].clone()
        })
    };
    let objects = Arc::new(InMemory::new());
    let last = Arc::new(ThirdComesLast {
        others: 7,
        flattened: watch::Sender::new(0),
        arrived: AtomicU64::new(0),
        clock: clock.clone(),
    });
    let store = |inner: Arc<dyn ObjectStore>| Store::over(inner, "memory");
    let interfered = Arc::new(Interfered::new(Arc::clone(&objects) as _, &last));
    let (responses, ahead) = (AtomicU64::new(0), AtomicU64::new(0));
    let on_progress = |progress: Progress| match progress {
        Progress::Flattened => last.flattened.send_modify(|flattened| *flattened += 1),
        Progress::Publishing {
            responses: all,
            flattened,
        } => {
            responses.store(all, Ordering::Relaxed);
            ahead.store(flattened, Ordering::Relaxed);
        }
        _ => {}
    };
    let env = Surroundings {
        store: Some(store(interfered)),
        on_progress: &on_progress,
        ..drifting()
    };
    let pipeline = site.pipeline(&simulator.url());
    let end = run(&pipeline, RunMode::default(), &env).await.unwrap();
    assert!(end.error.is_none(), "{:?}", end.error);
    let (responses, ahead) = (responses.into_inner(), ahead.into_inner());
    assert!(responses == 10 && ahead >= 7, "{ahead} of {responses}");
    // Every response is flattened once.
    assert_eq!(*last.flattened.borrow(), responses);

    let published = tables(&objects).await;
    let env = Surroundings {
        store: Some(store(Arc::clone(&objects) as _)),
        ..surroundings(&simulator, &clock)
    };
    for path in published.keys() {
        objects.delete(&Path::from(path.as_str())).await.unwrap();
    }
    let again = replay(&pipeline, FindingsMode::Hold, &env).await.unwrap();
    assert!(again.error.is_none(), "{:?}", again.error);
    assert!(published == tables(&objects).await, "the tables differ");
    assert_eq!(again.report.findings.drift, end.report.findings.drift);
}
