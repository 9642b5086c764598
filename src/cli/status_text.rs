//! The text of the report of `status`.

use std::fmt::Write as _;

use super::format::{count, duration, rounded};
use crate::counted::counted;
use crate::money::Usd;
use crate::store::Hold;
use crate::upkeep::{Night, NightState, Status};
use crate::visible::escaped;

/// The report for people.
pub(super) fn text(found: &Status, file: &str) -> String {
    let verdict = match found.problems.len() as u64 {
        0 => "up to date, no problems".to_owned(),
        problems => counted(problems, "problem"),
    };
    let at = found.checked_at.format("%Y-%m-%d %H:%M UTC");
    let mut text = format!("{} at {at}: {verdict}\n\n", found.lake);
    nights(&found.nights, file, &mut text);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    let limit = duration(found.max_age_seconds.unsigned_abs());
    row(
        "newest",
        match found.newest {
            None => "no snapshot is published".to_owned(),
            Some(newest) => format!(
                "{}, {} old; at most {limit} is fine",
                newest.snapshot,
                duration(newest.age_seconds.unsigned_abs())
            ),
        },
    );
    row("month", month(found));
    if let Some(balance) = found.balance {
        let (usd, snapshot) = (rounded(balance.usd), balance.snapshot);
        row(
            "balance",
            format!("{usd} before the last requests of {snapshot}"),
        );
    }
    for night in &found.nights {
        if let Some(lock) = night.lock.as_ref().filter(|lock| lock.hold == Hold::Held) {
            let (snapshot, pid, host) = (night.snapshot, lock.pid, escaped(&lock.host));
            let since = lock.taken_at.format("%Y-%m-%d %H:%M:%S UTC");
            let ago = (found.checked_at - lock.renewed_at).num_seconds().max(0);
            row(
                "lock",
                format!("{snapshot} by process {pid} on {host} since {since}, renewed {ago} s ago"),
            );
        }
    }
    for night in found
        .nights
        .iter()
        .filter(|night| night.cost_unknown_usd > Usd::ZERO)
    {
        let (snapshot, unknown) = (night.snapshot, rounded(night.cost_unknown_usd));
        let then = match night.state {
            NightState::Running => "for requests in flight",
            NightState::Open | NightState::Held => "the next start settles it",
            _ => "`backlake check FILE --reconcile` compares with the provider",
        };
        row(
            "unsettled",
            format!(
                "up to {unknown} of {snapshot}; {}",
                then.replace("FILE", file)
            ),
        );
    }
    text
}

fn nights(nights: &[Night], file: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "  {:<12}{:<11}{:>11} {:<14}{:>8}{:>9}{:>12}{:>13}",
        "night", "state", "answered", "of lines", "failed", "refused", "cost", "lower bound"
    );
    for night in nights {
        let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
        let of = |number: Option<u64>| {
            number.map_or_else(String::new, |number| format!("of {}", count(number)))
        };
        let usd = |amount: Option<Usd>| amount.map_or_else(|| "-".to_owned(), rounded);
        let spent = night.question.is_some().then_some(night.cost_usd);
        let line = format!(
            "  {:<12}{:<11}{:>11} {:<14}{:>8}{:>9}{:>12}{:>13}",
            night.snapshot.to_string(),
            night.state.name(),
            known(night.answered),
            of(night.lines),
            known(night.fates.map(|fates| fates.failed)),
            known(night.fates.map(|fates| fates.refused)),
            usd(spent),
            usd(night.lower_bound_usd),
        );
        let _ = writeln!(text, "{}", line.trim_end());
        let mut note = |note: &str| {
            let _ = writeln!(text, "              {}", escaped(note));
        };
        if let Some(why) = night
            .why
            .as_deref()
            .filter(|_| night.state != NightState::Missing)
        {
            note(why);
        }
        if let Some(hint) = &night.hint {
            note(&format!("hint: {hint}"));
        }
        if night.replacing {
            note("its replacement is not published yet");
        }
        if let Some(command) = night.command(file) {
            note(&format!("continue: {command}"));
        }
    }
    text.push('\n');
}

fn month(found: &Status) -> String {
    let month = &found.month;
    let mut text = format!(
        "{} for {} of {}",
        rounded(month.cost_usd),
        counted(month.snapshots, "snapshot"),
        month.from.format("%Y-%m")
    );
    if month.cost_unknown_usd > Usd::ZERO {
        let _ = write!(
            text,
            ", and up to {} not settled",
            rounded(month.cost_unknown_usd)
        );
    }
    if let Some(bound) = month.lower_bound_usd {
        let _ = write!(text, "; lower bound {}", rounded(bound));
    }
    if month.pruned > 0 {
        let pruned = counted(month.pruned, "pruned snapshot");
        let _ = write!(text, "; without {pruned}");
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, Utc};

    use super::*;
    use crate::fate::Fates;
    use crate::store::Holder;
    use crate::upkeep::{Balance, Month, Newest, Problem};

    fn date(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    fn at(day: u32, hour: u32, minute: u32) -> DateTime<Utc> {
        date(day).and_hms_opt(hour, minute, 0).unwrap().and_utc()
    }

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn night(day: u32, state: NightState) -> Night {
        let question = serde_json::json!({
            "pipeline": "nightly", "endpoint": "backlinks/bulk_pages_summary",
            "asked_of": "api.dataforseo.com", "include_subdomains": true, "rank_scale": "one_thousand",
        });
        let fates = Fates {
            returned: 990_000,
            absent: 9_900,
            refused: 17,
            failed: 83,
            ..Fates::default()
        };
        Night {
            snapshot: date(day),
            state,
            question: serde_json::from_value(question).unwrap(),
            lines: Some(1_000_000),
            answered: Some(999_900),
            fates: Some(fates),
            requests: 1_051,
            lower_bound: Some(1_000),
            cost_usd: usd("60.864"),
            cost_unknown_usd: Usd::ZERO,
            lower_bound_usd: Some(usd("59.64")),
            bytes: 1,
            published_at: (state == NightState::Published).then(|| at(day, 2, 40)),
            replacing: false,
            why: None,
            hint: None,
            lock: None,
            balance_usd: None,
        }
    }

    fn status(nights: Vec<Night>, problems: Vec<Problem>) -> Status {
        Status {
            lake: "/srv/backlake/lake".to_owned(),
            checked_at: at(26, 7, 0),
            problems,
            newest: Some(Newest {
                snapshot: date(24),
                published_at: at(24, 2, 40),
                age_seconds: 188_400,
            }),
            max_age_seconds: 26 * 3600,
            nights,
            month: Month {
                from: date(1),
                snapshots: 24,
                pruned: 2,
                cost_usd: usd("1460.12"),
                cost_unknown_usd: usd("0.06"),
                lower_bound_usd: Some(usd("1431.36")),
            },
            balance: Some(Balance {
                usd: usd("1234.5"),
                snapshot: date(25),
            }),
        }
    }

    fn pinned(name: &str, text: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/it/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }

    #[test]
    fn a_lake_without_problems_is_told_in_one_screen() {
        let mut status = status(
            vec![
                night(25, NightState::Published),
                night(26, NightState::Published),
            ],
            Vec::new(),
        );
        status.month.cost_unknown_usd = Usd::ZERO;
        status.month.pruned = 0;
        status.newest = Some(Newest {
            snapshot: date(26),
            published_at: at(26, 2, 40),
            age_seconds: 15_600,
        });
        pinned("status", &text(&status, "nightly.toml"));
    }

    #[test]
    fn every_state_has_its_reason_and_its_command() {
        let killed = |state, why: &str| Night {
            fates: None,
            lower_bound: None,
            lower_bound_usd: None,
            why: Some(why.to_owned()),
            ..night(25, state)
        };
        let lock = Holder {
            host: "worker-3".to_owned(),
            pid: 4711,
            taken_at: at(26, 2, 0),
            renewed_at: at(26, 7, 0) - chrono::TimeDelta::seconds(4),
            hold: Hold::Held,
        };
        let nights = vec![
            Night { question: None, lines: None, answered: None, ..killed(NightState::Missing, "nothing was started") },
            Night { replacing: true, ..night(20, NightState::Published) },
            night(21, NightState::Pruned),
            Night { cost_unknown_usd: usd("0.1"), snapshot: date(22), why: None, ..killed(NightState::Abandoned, "") },
            Night { why: Some("failed to read _snapshots/2026-11-22.json: expected value".to_owned()), ..killed(NightState::Damaged, "") },
            Night {
                why: Some("snapshot 2026-11-23 is held: the responses differ from the contract: `spam` is unknown".to_owned()),
                hint: Some("everything is paid for and archived; publish it as it is with `--accept`".to_owned()),
                ..night(23, NightState::Held)
            },
            Night { cost_unknown_usd: usd("0.06"), ..killed(NightState::Open, "the last start was interrupted") },
            Night { lock: Some(lock), cost_unknown_usd: usd("1.8"), ..night(26, NightState::Running) },
        ];
        let problems = vec![Problem::NothingPublished; 5];
        pinned(
            "status_of_every_state",
            &text(&status(nights, problems), "FILE"),
        );
    }
}
