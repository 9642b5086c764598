//! What stops a run from being continued or a snapshot from being published, each with a hint that
//! fits the cause.

use chrono::NaiveDate;

use super::file::OnFinding;
use super::ready::Pipeline;
use super::report::Findings;
use super::run_mode::{Begins, FindingsMode};
use crate::error::{Error, ErrorKind, Result};
use crate::fate::Fates;
use crate::lake::{Manifest, snapshots};
use crate::ledger::Ledger;
use crate::money::Usd;
use crate::question::Question;
use crate::store::Store;

/// Refuses to mix invented and real data in one lake: looks at the newest published snapshot and at
/// the open ones.
pub(super) async fn same_kind_of_data(
    pipeline: &Pipeline,
    store: &Store,
    open: &[NaiveDate],
) -> Result<()> {
    for date in snapshots(store).await?.into_iter().rev() {
        // `verify` reports a manifest that cannot be read; an older one says the same about the lake.
        if let Ok(Some(manifest)) = Manifest::read(store, date).await {
            same_kind(pipeline, date, &manifest.question)?;
            break;
        }
    }
    for &date in open {
        let records = Ledger::new(store.clone(), date).run_records().await;
        if let Some(record) = records.unwrap_or_default().last() {
            same_kind(pipeline, date, &record.question)?;
        }
    }
    Ok(())
}

fn same_kind(pipeline: &Pipeline, date: NaiveDate, existing: &Question) -> Result<()> {
    let question = pipeline.question();
    // Runs before the field `invented` existed have only the name of their provider.
    let host = existing.asked_of.as_str();
    let invented = existing.invented
        || host.starts_with("simulator")
        || ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    if invented == question.invented {
        return Ok(());
    }
    let (lake, asked) = (&pipeline.lake.url, &question.asked_of);
    let message = if invented {
        format!(
            "snapshot {date} in {lake} holds the simulator's invented data; this run would ask {asked}"
        )
    } else {
        format!(
            "snapshot {date} in {lake} holds data from {host}; this run would ask {asked}, which invents its data"
        )
    };
    let hint =
        "nothing was sent; use another [lake] url: a lake never mixes invented and real data";
    Err(Error::usage(message).with_hint(hint))
}

/// Refuses to begin a date that is not today: what would be fetched is the data of today. The
/// simulator knows the data of every date.
pub(super) async fn begins_today(
    pipeline: &Pipeline,
    begins: Begins,
    ledger: &Ledger,
    published: Option<&Manifest>,
) -> Result<()> {
    let Pipeline {
        snapshot, today, ..
    } = *pipeline;
    let invented = pipeline.api.provider.is_invented();
    if snapshot == today || invented || begins == Begins::AnyDate {
        return Ok(());
    }
    let generation = published.map_or(1, |published| published.generation + 1);
    let begun = ledger.run_record(generation).await?.is_some();
    if begun || is_repeated(ledger, published).await? {
        return Ok(());
    }
    let what = if published.is_some() {
        "a replacement of snapshot"
    } else {
        "snapshot"
    };
    let message = format!(
        "{what} {snapshot} was never started, and what can be fetched is the data of today, {today}"
    );
    let hint = format!(
        "nothing was sent; leave out the date, or pass --backfill to publish today's data as {snapshot}"
    );
    Err(Error::usage(message).with_hint(hint))
}

/// Whether the published run is a replacement whose start was interrupted before its end.
async fn is_repeated(ledger: &Ledger, published: Option<&Manifest>) -> Result<bool> {
    match published {
        Some(published) => ledger.is_marked_replacing(&published.run).await,
        None => Ok(false),
    }
}

/// What a start finds that was started with different settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// A published snapshot.
    Published,
    /// A run or a replacement that is not published.
    Unfinished,
}

/// Refuses to mix responses to different questions in one snapshot.
pub(super) fn same_question(
    pipeline: &Pipeline,
    existing: &Question,
    which: Existing,
) -> Result<()> {
    let Some(difference) = existing.difference(&pipeline.question()) else {
        return Ok(());
    };
    let (snapshot, lake) = (pipeline.snapshot, &pipeline.lake.url);
    let what = match which {
        Existing::Published => "snapshot",
        Existing::Unfinished => "the unfinished run of snapshot",
    };
    let message =
        format!("{what} {snapshot} in {lake} was started with different settings: {difference}");
    let hint = match which {
        Existing::Published => "nothing was sent; use another [lake] url, another --snapshot, or the settings that it was started with".to_owned(),
        Existing::Unfinished => format!(
            "nothing was sent; use the settings that it was started with, or give the run up with `backlake abandon {lake} --snapshot {snapshot}`: its responses stay in the archive, but it is never published"
        ),
    };
    Err(Error::usage(message).with_hint(hint))
}

/// Holds a snapshot in which too many targets failed, or all are refused. `example` is the reason
/// of one failure or refusal.
pub(super) fn too_many_failed(
    fates: &Fates,
    example: Option<&str>,
    pipeline: &Pipeline,
) -> Option<Error> {
    let targets = fates.total() - fates.duplicate - fates.invalid;
    let allowed = pipeline.publish.max_failed_ratio;
    let cause = if example.is_some_and(|reason| reason.starts_with("failed to connect")) {
        "the provider cannot be reached: "
    } else {
        ""
    };
    let example = example.map_or_else(String::new, |reason| format!(" (for example: {reason})"));
    if fates.failed as f64 / targets as f64 > allowed {
        let (message, hint) = if fates.failed == targets {
            (
                format!("{cause}none of {targets} targets got a response{example}"),
                "check that the provider can be reached (network, proxy, [api] base_url), then run the same command again",
            )
        } else {
            (
                format!(
                    "{} of {targets} targets failed{example}, more than [publish] max_failed_ratio = {allowed} allows",
                    fates.failed
                ),
                "responses are archived; run the same command again: it asks only for the targets that failed; or raise [publish] max_failed_ratio",
            )
        };
        return Some(Error::new(ErrorKind::Held, message).with_hint(hint));
    }
    if fates.refused == targets {
        let message = format!("the provider refuses all {targets} targets{example}");
        let hint = "the targets are probably not the cause: look at the refusals in the log and check that the account may use the endpoint; the next start asks for them again";
        return Some(Error::new(ErrorKind::Held, message).with_hint(hint));
    }
    None
}

/// Holds a replay of a run that has not asked for all its targets.
pub(super) fn incomplete(fates: &Fates, pipeline: &Pipeline) -> Option<Error> {
    (fates.unsent > 0).then(|| {
        let message = format!(
            "{} targets of snapshot {} were not asked for yet",
            fates.unsent, pipeline.snapshot
        );
        let hint =
            "`backlake run` asks for them; to publish what is archived, for free, pass --accept";
        Error::new(ErrorKind::Held, message).with_hint(hint)
    })
}

/// Holds a snapshot whose findings the pipeline file wants to be held, unless they are accepted.
pub(super) fn held(findings: &Findings, mode: FindingsMode, pipeline: &Pipeline) -> Option<Error> {
    let publish = &pipeline.publish;
    let drifted = publish.on_drift == OnFinding::Hold && !findings.drift.is_empty();
    let changed = publish.on_change == OnFinding::Hold && !findings.changes.is_empty();
    if mode == FindingsMode::Accept || !(drifted || changed) {
        return None;
    }
    let mut reasons = Vec::new();
    if drifted {
        let fields = findings.drift.iter();
        let fields: Vec<_> = fields
            .map(|drift| format!("`{}` {}", drift.field, drift.what.words()))
            .collect();
        reasons.push(format!(
            "the responses differ from the contract: {}",
            fields.join(", ")
        ));
    }
    if changed {
        let figures = findings.changes.iter();
        let figures: Vec<_> = figures
            .map(|change| {
                let verb = if change.change < 0.0 { "fell" } else { "rose" };
                let percent = change.change.abs() * 100.0;
                format!("{} {verb} by {percent:.1} %", change.figure)
            })
            .collect();
        reasons.push(format!(
            "it differs from the previous snapshot: {}",
            figures.join(", ")
        ));
    }
    let (snapshot, reasons) = (pipeline.snapshot, reasons.join("; "));
    let hint = match (drifted, changed) {
        (true, false) => {
            "everything is paid for and archived; publish it as it is with `--accept`, or change the contract in [lake] contracts and run the same command again"
        }
        _ => {
            "everything is paid for and archived; look at the summary, then publish it as it is with `--accept`, or change [publish] and run the same command again"
        }
    };
    let message = format!("snapshot {snapshot} is held: {reasons}");
    Some(Error::new(ErrorKind::Held, message).with_hint(hint))
}

/// Refuses to replace a published snapshot by less of the same run.
pub(super) fn not_less(published: &Manifest, rebuilt: &Manifest) -> Result<()> {
    let (before, now) = (&published.tally, &rebuilt.tally);
    for (things, before, now) in [
        (
            "returned targets",
            before.fates.returned,
            now.fates.returned,
        ),
        ("items", before.items, now.items),
    ] {
        if now < before {
            let message = format!(
                "the archive of snapshot {} has {now} {things}, but {before} are published",
                published.snapshot
            );
            let hint = "nothing was changed; `backlake verify LAKE --archive` names every damaged response";
            return Err(Error::unexpected(message).with_hint(hint));
        }
    }
    Ok(())
}

/// Says how far the budget went and how much the rest needs.
pub(super) fn over_budget(ceiling: Usd, spent: Usd, rest: Usd) -> Error {
    let message = format!(
        "stopped at the budget: ${spent} of ${ceiling} is spent, the rest needs up to ${rest}"
    );
    let enough = (spent + rest).up_to_cents();
    let hint = format!("paid responses are archived; continue with --max-cost-usd {enough}");
    Error::new(ErrorKind::Budget, message).with_hint(hint)
}

/// Adds to the hint which snapshot the next start continues, because the date may have changed by
/// then. A date that was given stays in the command.
pub(super) fn with_date(error: Error, pipeline: &Pipeline) -> Error {
    if pipeline.snapshot != pipeline.today {
        return error;
    }
    let hint = format!(
        "{}; after midnight UTC add --snapshot {}",
        error.hint(),
        pipeline.snapshot
    );
    error.with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_hint_covers_what_is_spent_and_the_rest() {
        let usd = |text: &str| text.parse::<Usd>().unwrap();
        let error = over_budget(usd("0.10"), usd("0.059784"), usd("0.234132"));
        assert!(error.to_string().contains("$0.059784 of $0.1"), "{error}");
        assert!(
            error.hint().ends_with("--max-cost-usd 0.30"),
            "{}",
            error.hint()
        );
        let error = over_budget(usd("1.00"), usd("1.00"), usd("2.00"));
        assert!(
            error.hint().ends_with("--max-cost-usd 3.00"),
            "{}",
            error.hint()
        );
    }
}
