//! What a rule has found, and what is told of it.

use chrono::NaiveDate;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use super::rule::{Rule, Severity};
use crate::counted::counted;
use crate::history::Label;

/// What an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A night.
    Night(NaiveDate),
    /// A target.
    Target {
        /// Its root domain.
        root_domain: String,
        /// The target in canonical form.
        target: String,
    },
    /// A root domain, with all its targets of the list.
    Domain(String),
    /// A label, with all its targets.
    Label(Label),
}

/// What a rule has found tonight, told before or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it is about.
    pub subject: Subject,
    /// What tells two findings of a rule about the same subject apart: the top-level domain of a
    /// burst.
    pub detail: Option<String>,
    /// The number before.
    pub before: Option<f64>,
    /// The number now.
    pub after: Option<f64>,
    /// How far it goes. Twice as far is worse.
    pub magnitude: f64,
    /// What orders the alerts of the same severity, largest first.
    pub weight: f64,
    /// The pages whose own findings this one stands for.
    pub pages: u64,
    /// The finding in words, after the name of the subject.
    pub what: String,
}

/// An alert, as it is told and kept in the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule.
    pub rule: Rule,
    /// Identifies it among the alerts of its rule, and is the same on every night.
    pub key: String,
    /// How serious it is.
    pub severity: Severity,
    /// The target, if it is about one.
    pub target: Option<String>,
    /// The root domain, if it is about one or its target.
    pub root_domain: Option<String>,
    /// The label, if it is about one; else the labels of the target. As `client = Acme`.
    pub labels: Vec<String>,
    /// The top-level domain or country of a burst.
    pub detail: Option<String>,
    /// The number before.
    pub before: Option<f64>,
    /// The number now.
    pub after: Option<f64>,
    /// What happened, after the name of the subject.
    pub what: String,
    /// The first night of an unbroken row of nights on which the rule alerts.
    pub since: NaiveDate,
    /// The night on which it was told last.
    pub told: NaiveDate,
    /// Whether it was told on an earlier night and is quiet since then.
    pub quiet: bool,
    /// How far it goes. Twice as far is worse.
    pub magnitude: f64,
    /// The pages whose own alerts this one stands for.
    pub pages: u64,
    /// The SQL that shows it, on the views of `backlake sql`.
    pub sql: String,
}

impl Finding {
    /// The order of findings: worst first.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let severity = other.rule.severity().cmp(&self.rule.severity());
        severity
            .then_with(|| self.is_of_page().cmp(&other.is_of_page()))
            .then_with(|| other.weight.total_cmp(&self.weight))
            .then_with(|| self.rule.cmp(&other.rule))
            .then_with(|| self.subject.cmp(&other.subject))
            .then_with(|| self.detail.cmp(&other.detail))
    }

    /// What tells findings of one rule apart. A rule about the night is told once for all nights, but for those that are
    /// not published.
    pub(super) fn key(&self) -> String {
        let subject = match &self.subject {
            Subject::Night(date) if self.rule == Rule::Unpublished => date.to_string(),
            Subject::Night(_) => String::new(),
            Subject::Target { target, .. } => format!("target {target}"),
            Subject::Domain(domain) => format!("domain {domain}"),
            Subject::Label((column, value)) => format!("label {column}\n{value}"),
        };
        match &self.detail {
            Some(detail) => format!("{subject}\n{detail}"),
            None => subject,
        }
    }

    fn is_of_page(&self) -> bool {
        matches!(self.subject, Subject::Target { .. })
    }

    /// The alert about it. Labels are those of its target.
    pub(super) fn alert(
        self,
        labels: Vec<String>,
        [since, told, tonight]: [NaiveDate; 3],
        sql: String,
    ) -> Alert {
        let key = self.key();
        let (target, root_domain, labels) = match self.subject {
            Subject::Night(_) => (None, None, Vec::new()),
            Subject::Target {
                root_domain,
                target,
            } => (Some(target), Some(root_domain), labels),
            Subject::Domain(domain) => (None, Some(domain), Vec::new()),
            Subject::Label(label) => (None, None, vec![shown(&label)]),
        };
        Alert {
            rule: self.rule,
            key,
            severity: self.rule.severity(),
            target,
            root_domain,
            labels,
            detail: self.detail,
            before: self.before,
            after: self.after,
            what: self.what,
            since,
            told,
            quiet: told < tonight,
            magnitude: self.magnitude,
            pages: self.pages,
            sql,
        }
    }
}

impl Alert {
    /// Whether it says that all pages moved together.
    #[must_use]
    pub fn is_index_shift(&self) -> bool {
        self.rule == Rule::IndexShift
    }

    /// What the alert is about, as its line begins.
    #[must_use]
    pub fn subject(&self) -> String {
        match (&self.target, &self.root_domain, self.labels.first()) {
            (Some(target), ..) => target.clone(),
            (None, Some(domain), _) => format!("{domain} (root domain)"),
            (None, None, Some(label)) => format!("{label} (label)"),
            (None, None, None) => "the night".to_owned(),
        }
    }
}

impl Alert {
    /// The alert as one line for people, if its texts have no line ends of their own.
    #[must_use]
    pub fn line(&self) -> String {
        /// The characters of a subject that are shown.
        const SUBJECT: usize = 120;
        let name = self.subject();
        let mut subject: String = name.chars().take(SUBJECT).collect();
        if subject.len() < name.len() {
            subject.push('…');
        }
        let pages = match self.pages {
            0 => String::new(),
            pages => format!(", on {}", counted(pages, "page")),
        };
        let numbers = match (self.before, self.after) {
            (Some(before), Some(after)) => format!(" ({} → {})", number(before), number(after)),
            _ => String::new(),
        };
        let told = match (self.quiet, self.since < self.told) {
            (true, _) => format!(", told on {}", self.told),
            (false, true) => format!(", since {}", self.since),
            (false, false) => String::new(),
        };
        let (severity, what) = (self.severity.name(), &self.what);
        format!("{severity:<6}  {subject}: {what}{numbers}{pages}{told}")
    }
}

/// A number of an alert, whole or a share: `1,234`, `0.25`.
fn number(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 && value >= 0.0 => HumanCount(value as u64).to_string(),
        value => value.to_string(),
    }
}

/// A label as it is shown.
pub(super) fn shown(label: &Label) -> String {
    format!("{} = {}", label.0, label.1)
}
