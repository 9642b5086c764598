//! A clock that is days off books nothing wrongly: what was charged is found by the provider's clock, or stays unknown.

use std::sync::Arc;
use std::time::Duration;

use backlake::clock::Clock;
use backlake::money::Usd;
use backlake::pipeline::{Begins, RunEnd, RunMode, run};
use backlake::simulator::{Behaviour, Fault, Simulator, What};
use chrono::TimeDelta;

use crate::harness::{Site, date, noon, surroundings};
use crate::scripted::pages;

/// A provider that charges for this request and sends no response to it. Later ones fail without a charge.
fn loses(request: u64) -> Arc<Simulator> {
    let fault = |what, charged, from, until| Fault {
        what,
        charged,
        share: 1.0,
        from,
        until,
        code: 0,
        seconds: 0.0,
        times: 1,
    };
    let lost = fault(What::Reset, true, request, request + 1);
    let refused = fault(What::Refused, false, request + 1, u64::MAX);
    let behaviour = Behaviour {
        date: Some(date()),
        faults: vec![lost, refused],
        ..Behaviour::default()
    };
    Arc::new(Simulator::new(behaviour, &Clock::simulated(noon())))
}

fn charged(simulator: &Simulator) -> Usd {
    simulator.ledger().iter().map(|charge| charge.cost).sum()
}

/// Starts a run on a machine whose clock is off by this many days.
async fn start(site: &Site, simulator: &Arc<Simulator>, clock: &Clock) -> RunEnd {
    let pipeline = site.pipeline(&simulator.url());
    let mode = RunMode {
        begins: Begins::AnyDate,
        ..RunMode::default()
    };
    let env = surroundings(simulator, clock);
    run(&pipeline, mode, &env).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_charge_is_found_by_the_provider_s_clock() {
    for days in [-400, -3, 0, 3, 400] {
        // The first request, before anything was certainly charged, and a later one.
        for lost in [0, 1] {
            let site = Site::new(pages(2500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
            let simulator = loses(lost);
            let clock = Clock::simulated(noon() + TimeDelta::days(days));
            let end = start(&site, &simulator, &clock).await;
            let booked = (end.report.cost_usd, end.report.cost_unknown_usd);
            assert_eq!(booked, (charged(&simulator), Usd::ZERO), "{days}, {lost}");
            assert_eq!(simulator.ledger().len() as u64, lost + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_start_with_a_wrong_clock_sent_is_found_or_stays_unknown() {
    for (days, found) in [(-3, true), (0, true), (3, false)] {
        for lost in [0, 1] {
            let site = Site::new(pages(2500)).with("[api]\nmax_in_flight = 1\nmax_attempts = 1");
            let simulator = loses(lost);
            let clock = Clock::simulated(noon() + TimeDelta::days(days));
            // Killed before anything is settled.
            let killed = Box::pin(start(&site, &simulator, &clock));
            let ended = clock.within(Duration::from_secs(60), killed).await;
            assert!(ended.is_none());
            assert_eq!(simulator.ledger().len() as u64, lost + 1);
            let corrected = Clock::simulated(noon() + TimeDelta::hours(1));
            corrected.sleep(Duration::from_secs(300)).await;
            let end = start(&site, &simulator, &corrected).await;
            let (cost, unknown) = (end.report.cost_usd, end.report.cost_unknown_usd);
            assert_eq!(unknown == Usd::ZERO, found, "{days}, {lost}");
            let charged = charged(&simulator);
            assert!(
                cost <= charged && charged <= cost + unknown,
                "{days}, {lost}"
            );
        }
    }
}
