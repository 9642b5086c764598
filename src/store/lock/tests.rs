//! Who holds the lock on a snapshot, who takes it over, and what a renewal and a release leave alone.

use std::future::pending;

use object_store::memory::InMemory;

use super::*;

fn owner(pid: u32) -> Owner {
    Owner {
        host: "pod".to_owned(),
        pid,
        started: None,
        place: None,
    }
}

fn lake() -> (Store, Clock, chrono::NaiveDate) {
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    (
        Store::over(Arc::new(InMemory::new()), "memory"),
        Clock::simulated(now),
        now.date_naive(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_held_until_it_is_released() {
    let (store, clock, date) = lake();
    let lock = Lock::take(&store, date, owner(1), &clock).await.unwrap();
    let error = Lock::take(&store, date, owner(2), &clock)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("process 1 on pod"), "{error}");
    lock.release().await;
    let second = Lock::take(&store, date, owner(2), &clock).await.unwrap();
    second.renew().await.unwrap();
    assert_eq!(
        store
            .list(&Layout { snapshot: date }.locks())
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_s_lock_is_taken_over_and_an_owner_that_resumes_stops() {
    let (store, clock, date) = lake();
    let dead = Lock::take(&store, date, owner(1), &clock).await.unwrap();
    clock.sleep(Duration::from_secs(59)).await;
    assert!(Lock::take(&store, date, owner(2), &clock).await.is_err());
    clock.sleep(Duration::from_secs(2)).await;
    let (left, right) = tokio::join!(
        Lock::take(&store, date, owner(2), &clock),
        Lock::take(&store, date, owner(3), &clock)
    );
    assert!(left.is_ok() != right.is_ok(), "one of two takes it over");
    let error = dead.ensure().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let stop = Stop::default();
    assert!(
        clock
            .within(Duration::from_secs(30), dead.keep_until(pending(), &stop))
            .await
            .is_none()
    );
    assert!(matches!(stop.reason(), Some(StopReason::LockLost(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lock_with_an_outdated_number_is_not_held() {
    let (store, clock, date) = lake();
    let old = Lock::take(&store, date, owner(1), &clock).await.unwrap();
    old.release().await;
    let first = Lock::take(&store, date, owner(2), &clock).await.unwrap();
    first.release().await;
    let second = Lock::take(&store, date, owner(3), &clock).await.unwrap();
    assert_eq!(second.number, 2);
    // A process with an outdated listing creates the number of the first lock again.
    let late = Lock {
        store: store.clone(),
        layout: Layout { snapshot: date },
        clock: clock.clone(),
        number: 1,
        held: Mutex::new(second.held()),
        markers: Mutex::default(),
    };
    assert_eq!(late.renew().await.unwrap_err().kind(), ErrorKind::Locked);
    second.renew().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn renewing_and_releasing_never_overwrite_the_lock_of_another_process() {
    let (store, clock, date) = lake();
    let lock = Lock::take(&store, date, owner(1), &clock).await.unwrap();
    // A process with an outdated listing, or an operator, has put another lock into its place.
    let other = Record {
        owner: owner(2),
        ..lock.held().record
    };
    let path = lock.layout.lock(lock.number);
    store.put(&path, json(&other).unwrap()).await.unwrap();
    let theirs = store.get(&path).await.unwrap();
    assert_eq!(lock.renew().await.unwrap_err().kind(), ErrorKind::Locked);
    lock.release().await;
    assert_eq!(store.get(&path).await.unwrap(), theirs);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_alive_keeps_the_lock_even_if_clocks_differ() {
    let (store, clock, date) = lake();
    let (theirs, stop) = (clock.clone(), Stop::default());
    let lock = Lock::take(&store, date, owner(1), &theirs).await.unwrap();
    // The other process has a clock that is an hour ahead.
    let ahead = Clock::simulated(clock.now() + chrono::Duration::hours(1));
    tokio::select! {
        () = lock.keep_until(pending(), &stop) => {}
        taken = Lock::take(&store, date, owner(2), &ahead) => {
            assert_eq!(taken.unwrap_err().kind(), ErrorKind::Locked);
        }
    }
    assert_eq!(stop.reason(), None);
}

#[tokio::test]
async fn the_lock_of_a_process_on_this_machine_that_has_ended_is_taken_over_at_once() {
    let (store, clock, date) = lake();
    let here = Owner::this_process();
    let ended = Owner {
        started: Some("1".to_owned()),
        ..here.clone()
    };
    let _lock = Lock::take(&store, date, ended, &clock).await.unwrap();
    let taken = Lock::take(&store, date, here.clone(), &clock).await;
    assert_eq!(
        taken.is_ok(),
        here.place.is_some() && here.started.is_some()
    );
}
