//! Nights for tests, and what is judged of the evidence for one night.

use super::*;

/// A day of November 2026.
pub(in crate::upkeep) fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
}

fn question() -> Question {
    let question = serde_json::json!({
        "pipeline": "nightly", "endpoint": "backlinks/bulk_pages_summary",
        "asked_of": "api.dataforseo.com", "include_subdomains": true, "rank_scale": "one_thousand",
    });
    serde_json::from_value(question).unwrap()
}

/// A night that was published at 02:20 for $0.30, $0.05 more than the lower bound.
pub(in crate::upkeep) fn published(day: u32) -> Night {
    let mut night = Night::of(
        date(day),
        Evidence {
            question: Some(question()),
            ..Evidence::default()
        },
    );
    night.state = NightState::Published;
    night.published_at = date(day).and_hms_opt(2, 20, 0).map(|time| time.and_utc());
    night.cost_usd = Usd::from_micros(300_000);
    night.lower_bound_usd = Some(Usd::from_micros(250_000));
    night
}

/// A night that stopped at its budget after $0.06.
pub(in crate::upkeep) fn open(day: u32) -> Night {
    let spent = Spent {
        requests: 1,
        answered: 1000,
        cost_usd: Usd::from_micros(60_000),
        ..Spent::default()
    };
    let summary = Summary {
        lines: 5000,
        exit_code: 4,
        error: Some("stopped at the budget".to_owned()),
        ..Summary::default()
    };
    Night::of(
        date(day),
        Evidence {
            question: Some(question()),
            spent: Some(spent),
            summary: Some(summary),
            ..Evidence::default()
        },
    )
}

fn lock(hold: Hold) -> Option<Holder> {
    let at = date(25).and_hms_opt(2, 0, 0).unwrap().and_utc();
    Some(Holder {
        host: "pod".to_owned(),
        pid: 7,
        taken_at: at,
        renewed_at: at,
        hold,
    })
}

fn ended(exit_code: u8) -> Option<Summary> {
    let error = Some(format!("ended with {exit_code}"));
    Some(Summary {
        exit_code,
        error,
        ..Summary::default()
    })
}

fn manifest(replacing: bool) -> Option<Published> {
    let at = date(25).and_hms_opt(2, 20, 0).unwrap().and_utc();
    Some(Published {
        tally: Tally::default(),
        bytes: 1,
        at,
        replacing,
    })
}

#[test]
fn the_state_of_a_night_its_reason_and_its_command_follow_from_what_the_lake_holds() {
    use NightState::{Abandoned, Damaged, Held, Missing, Open, Pruned, Published, Running};

    const RUN: &str = "backlake run a.toml --snapshot 2026-11-25";
    const REPLACE: &str = "backlake run a.toml --snapshot 2026-11-25 --replace";
    let started = |hold: Option<Hold>, exit_code: Option<u8>| Evidence {
        question: Some(question()),
        lock: hold.and_then(lock),
        summary: exit_code.and_then(ended),
        ..Evidence::default()
    };
    let published = |hold, replacing| Evidence {
        published: manifest(replacing),
        ..started(hold, Some(0))
    };
    let (held, abandoned) = (Some(Hold::Held), Some(Hold::Abandoned));
    let only_locked = Evidence {
        question: None,
        ..started(abandoned, None)
    };
    let pruned_now = || Evidence {
        pruned: true,
        ..started(None, Some(0))
    };
    let given_up = Evidence {
        abandoned: true,
        ..pruned_now()
    };
    let damaged = Evidence {
        damaged: Some(Error::unexpected("bad")),
        ..started(None, Some(0))
    };
    for (evidence, state, why, command) in [
        (Evidence::default(), Missing, "nothing was started", ""),
        (started(None, None), Open, NO_REPORT, RUN),
        (started(None, Some(4)), Open, "ended with 4", RUN),
        (started(None, Some(5)), Held, "ended with 5", RUN),
        (started(held, Some(5)), Running, "", ""),
        (started(abandoned, None), Open, KILLED, RUN),
        // The summary is older than the start that was killed.
        (started(abandoned, Some(5)), Open, KILLED, RUN),
        (only_locked, Open, KILLED, RUN),
        (pruned_now(), Pruned, "", ""),
        (given_up, Abandoned, "", ""),
        (published(None, false), Published, "", ""),
        (published(None, true), Published, "", REPLACE),
        (published(held, true), Published, "", ""),
        (damaged, Damaged, "bad", ""),
    ] {
        let said = format!("{evidence:?}");
        let night = Night::of(date(25), evidence);
        let (found, shown) = (
            night.why.clone().unwrap_or_default(),
            night.command("a.toml"),
        );
        assert_eq!((night.state, found.as_str()), (state, why), "{said}");
        assert_eq!(shown.unwrap_or_default(), command, "{said}");
        // What can be continued needs attention, and so does what is lost.
        let attention =
            !command.is_empty() || matches!(state, NightState::Missing | NightState::Damaged);
        assert_eq!(night.needs_attention(), attention, "{said}");
    }
}

#[test]
fn the_cost_of_the_lower_bound_is_known_with_the_prices_or_if_it_was_reached() {
    let tally = |sent| Tally {
        items: 1000,
        requests: crate::lake::RequestTotals {
            sent,
            lower_bound: 1,
            cost_usd: Usd::from_micros(90_000),
            ..Default::default()
        },
        ..Tally::default()
    };
    let means = Means {
        balance_usd: None,
        price_per_request_usd: Usd::from_micros(24_000),
        price_per_row_usd: Usd::from_micros(36),
    };
    for (sent, means, expected) in [
        (1, None, Some(90_000)),
        (2, None, None),
        (2, Some(means), Some(60_000)),
    ] {
        let night = Night::of(
            date(25),
            Evidence {
                published: Some(Published {
                    tally: tally(sent),
                    ..manifest(false).unwrap()
                }),
                summary: Some(Summary {
                    means,
                    ..Summary::default()
                }),
                ..Evidence::default()
            },
        );
        assert_eq!(
            night.lower_bound_usd,
            expected.map(Usd::from_micros),
            "{sent}"
        );
    }
}
