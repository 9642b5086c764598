//! What keeps a snapshot from being published, or a run from being continued.

use super::report::Findings;
use super::spec::{OnFinding, Pipeline};
use crate::error::{Error, ErrorKind, Result};
use crate::fate::Fates;
use crate::question::Question;

/// Why a snapshot is held open, if it is.
pub(super) fn too_many_failed(fates: &Fates, pipeline: &Pipeline) -> Option<Error> {
    let targets = fates.total() - fates.duplicate - fates.invalid;
    let ratio = fates.failed as f64 / targets as f64;
    let message = if ratio > pipeline.max_failed_ratio {
        let allowed = pipeline.max_failed_ratio;
        format!(
            "{} of {targets} targets failed, more than [publish] max_failed_ratio = {allowed} allows",
            fates.failed
        )
    } else if fates.refused == targets {
        let message = format!("the provider refuses every one of {targets} targets");
        let hint = "the targets are probably not the cause: look at the refusals in the log and at the account's access to the endpoint; the next start asks again";
        return Some(Error::new(ErrorKind::Held, message).with_hint(hint));
    } else {
        return None;
    };
    Some(Error::new(ErrorKind::Held, message))
}

/// Says in the hint which snapshot it is that the next start continues: the date may be another by then.
pub(super) fn with_date(error: Error, pipeline: &Pipeline) -> Error {
    let hint = format!(
        "{} (after midnight UTC with --snapshot {})",
        error.hint(),
        pipeline.snapshot
    );
    error.with_hint(hint)
}

/// Refuses to mix answers to different questions in one snapshot.
pub(super) fn same_question(pipeline: &Pipeline, there: &Question) -> Result<()> {
    match there.difference(&pipeline.question()) {
        None => Ok(()),
        Some(difference) => Err(Error::usage(format!(
            "snapshot {} in {} is of another question: {difference}",
            pipeline.snapshot, pipeline.lake
        ))
        .with_hint("nothing was sent; use another [lake] url for it, another --snapshot, or the options it was begun with")),
    }
}

/// Why a snapshot is held, if what was found in it is not accepted.
pub(super) fn held(findings: &Findings, pipeline: &Pipeline) -> Option<Error> {
    let drifted = pipeline.on_drift == OnFinding::Hold && !findings.drift.is_empty();
    let changed = pipeline.on_change == OnFinding::Hold && !findings.changes.is_empty();
    if pipeline.accept || !(drifted || changed) {
        return None;
    }
    let mut reasons = Vec::new();
    if drifted {
        let fields: Vec<String> = findings
            .drift
            .iter()
            .map(|drift| format!("`{}` {}", drift.field, drift.what.words()))
            .collect();
        reasons.push(format!(
            "the answers are not as the contract says: {}",
            fields.join(", ")
        ));
    }
    if changed {
        let figures: Vec<String> = findings
            .changes
            .iter()
            .map(|change| {
                format!(
                    "{} went from {} to {}",
                    change.figure, change.before, change.now
                )
            })
            .collect();
        reasons.push(format!(
            "it is not as the snapshot before: {}",
            figures.join(", ")
        ));
    }
    let message = format!(
        "snapshot {} is held: {}",
        pipeline.snapshot,
        reasons.join("; ")
    );
    let hint = "everything is paid for and archived; look at the summary, then publish it as it is with `--accept`, or change [publish] or [lake] contracts and run the same command";
    Some(Error::new(ErrorKind::Held, message).with_hint(hint))
}
