//! What a webhook is told of the end of a run.

use serde_json::{Value, json};

use super::file::{NotifyFormat, Occasion};
use super::ready::Pipeline;
use super::report::{RunEnd, RunReport, RunState};
use crate::alerts::Alert;
use crate::counted::counted;
use crate::error::{Error, ErrorKind};
use crate::visible::escaped;

/// The alerts that a notice lists.
const ALERTS: usize = 20;
/// The characters of a text for people.
const TEXT: usize = 3_500;
/// The characters of one line of it.
const LINE: usize = 400;

/// A notice about the end of a run.
pub(super) struct Notice<'a> {
    occasion: Occasion,
    pipeline: &'a Pipeline,
    report: Option<&'a RunReport>,
    error: Option<&'a Error>,
}

impl<'a> Notice<'a> {
    /// What to tell; `None` if the pipeline wants to hear nothing of this end.
    ///
    /// A run that finds its snapshot published has nothing to tell. Neither has one that gives way to
    /// another process, or that someone stopped.
    pub(super) fn of(pipeline: &'a Pipeline, end: Result<&'a RunEnd, &'a Error>) -> Option<Self> {
        let report = end.ok().map(|end| &end.report);
        let error = end.map_or_else(Some, |end| end.error.as_ref());
        let mut occasions = Vec::new();
        match error.map(Error::kind) {
            None if report.is_some_and(|report| report.state == RunState::Published) => {
                occasions.push(Occasion::Finished);
            }
            None | Some(ErrorKind::Locked | ErrorKind::Interrupted | ErrorKind::Terminated) => {}
            Some(ErrorKind::Held) => occasions.push(Occasion::Held),
            Some(_) => occasions.push(Occasion::Failed),
        }
        let has_news = |report: &RunReport| {
            !report.alerts.is_empty() && report.state != RunState::AlreadyPublished
        };
        if report.is_some_and(has_news) {
            occasions.push(Occasion::Alerts);
        }
        let wanted = &pipeline.notify.on;
        let occasion = occasions.into_iter().find(|one| wanted.contains(one))?;
        Some(Self {
            occasion,
            pipeline,
            report,
            error,
        })
    }

    /// The notice in a format.
    pub(super) fn json(&self, format: NotifyFormat) -> String {
        let told = match format {
            NotifyFormat::Json => self.fields(),
            NotifyFormat::Slack => json!({
                "text": for_slack(&self.text()),
                "mrkdwn": false,
                "unfurl_links": false,
                "unfurl_media": false,
            }),
        };
        told.to_string()
    }

    fn alerts(&self) -> &[Alert] {
        self.report.map_or(&[], |report| &report.alerts)
    }

    fn fields(&self) -> Value {
        let question = self.pipeline.question();
        let alerts = self.alerts();
        let mut fields = json!({
            "event": self.occasion.name(),
            "text": self.text(),
            "pipeline": self.pipeline.name,
            "snapshot": self.pipeline.snapshot,
            "provider": question.asked_of,
            "invented": question.invented,
            "exit_code": self.error.map_or(0, |error| error.kind().exit_code()),
            "error": self.error.map(ToString::to_string),
            "hint": self.error.map(Error::hint),
            "alerts": &alerts[..alerts.len().min(ALERTS)],
            "more_alerts": self.more_alerts(),
        });
        if let Some(report) = self.report {
            fields["run"] = report.run.clone().into();
            fields["state"] = report.state.name().into();
            fields["lines"] = report.lines.into();
            fields["fates"] = json!(report.fates);
            fields["requests"] = report.requests.into();
            fields["cost_usd"] = json!(report.cost_usd);
            fields["warnings"] = json!(report.warnings);
        }
        fields
    }

    /// How many alerts the notice does not show.
    fn more_alerts(&self) -> u64 {
        let listed = self.alerts().len().saturating_sub(ALERTS) as u64;
        listed + self.report.map_or(0, |report| report.more_alerts)
    }

    /// The notice for people, every foreign text in one line.
    fn text(&self) -> String {
        let Pipeline { name, snapshot, .. } = self.pipeline;
        let what = match (self.occasion, self.error) {
            (Occasion::Held, _) => "the snapshot is held",
            (_, Some(_)) => "the run failed",
            (_, None) => "the snapshot is published",
        };
        let invented = match self.pipeline.question().invented {
            true => " (invented data)",
            false => "",
        };
        let mut lines = vec![format!("backlake {name}, {snapshot}{invented}: {what}")];
        if let Some(error) = self.error {
            lines.push(format!("{error} (exit code {})", error.kind().exit_code()));
            lines.push(format!("what to do: {}", error.hint()));
        }
        if let Some(report) = self.report {
            lines.push(format!(
                "{}, {} with data, {}, ${}",
                counted(report.lines, "line"),
                report.fates.returned,
                counted(report.requests, "request"),
                report.cost_usd
            ));
            lines.extend(
                report
                    .warnings
                    .iter()
                    .map(|warning| format!("warning: {warning}")),
            );
        }
        let alerts = self.alerts();
        lines.extend(alerts.iter().take(ALERTS).map(Alert::line));
        let more = self.more_alerts();
        if more > 0 {
            lines.push(format!("and {}", counted(more, "more alert")));
        }
        let mut text = String::new();
        let mut left = TEXT;
        for line in lines {
            let line: String = escaped(&line).chars().take(LINE).collect();
            let length = line.chars().count() + 1;
            if length > left {
                text.push_str("…\n");
                break;
            }
            left -= length;
            text.push_str(&line);
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A text as Slack shows it and nothing else: no link, no mention, no markup of its own. A joiner that
/// has no width separates what Slack would take for a link or a mention.
fn for_slack(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            ':' | '@' | '#' | '.' => safe.extend([character, '\u{2060}']),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_link_a_mention_or_a_control_sequence_for_slack() {
        for hostile in [
            "<!channel> <@U123> <https://evil.example|bank>",
            "@here @channel #general",
            "https://evil.example/?a=1&lt;!channel&gt;",
            "www.evil.example mailto:a@b.example",
        ] {
            let safe = for_slack(hostile);
            for active in [
                "<", ">", "://", "@h", "@c", "@b", "@U", "#g", "evil.e", "www.e",
            ] {
                assert!(!safe.contains(active), "{active} in {safe}");
            }
            let entities = safe.matches('&').count();
            let known = ["&amp;", "&lt;", "&gt;"].map(|entity| safe.matches(entity).count());
            assert_eq!(entities, known.iter().sum::<usize>(), "{safe}");
        }
    }
}
