//! The rules: their names, how serious they are, and the formulas that the documentation shows.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// How serious an alert is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Low,
    /// Worth a look.
    Medium,
    /// Look first.
    High,
}

impl Severity {
    /// Every severity.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A rule. The order is that of the documentation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Rule {
    /// A date was started and is not published.
    Unpublished,
    /// The newest snapshot is old.
    Stale,
    /// More lines than before have no data.
    Fates,
    /// Responses differ from the contract.
    Drift,
    /// More requests were sent than needed.
    Cost,
    /// The provider's whole index moved.
    IndexShift,
    /// Referring main domains were lost.
    DomainsLost,
    /// Referring main domains were gained.
    DomainsGained,
    /// Referring main domains are lost a few at a time.
    SlowLoss,
    /// Referring main domains are gained a few at a time.
    SlowGain,
    /// Most new links come from one top-level domain or country.
    Burst,
    /// The spam score has entered a worse band.
    Spam,
    /// Many backlinks are broken.
    Broken,
    /// The share of nofollow has moved.
    Nofollow,
    /// The provider has no data any more.
    PageLost,
}

impl Rule {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Unpublished,
        Self::Stale,
        Self::Fates,
        Self::Drift,
        Self::Cost,
        Self::IndexShift,
        Self::DomainsLost,
        Self::DomainsGained,
        Self::SlowLoss,
        Self::SlowGain,
        Self::Burst,
        Self::Spam,
        Self::Broken,
        Self::Nofollow,
        Self::PageLost,
    ];

    /// The name in settings, reports and the lake.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The rule of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// How serious its alerts are.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Unpublished | Self::Stale | Self::DomainsLost | Self::Burst | Self::PageLost => {
                Severity::High
            }
            Self::Fates
            | Self::Drift
            | Self::IndexShift
            | Self::SlowLoss
            | Self::Spam
            | Self::Broken => Severity::Medium,
            Self::Cost | Self::DomainsGained | Self::SlowGain | Self::Nofollow => Severity::Low,
        }
    }

    /// What it is about.
    fn about(self) -> &'static str {
        match self {
            Self::Unpublished
            | Self::Stale
            | Self::Fates
            | Self::Drift
            | Self::Cost
            | Self::IndexShift => "the night",
            Self::DomainsLost | Self::DomainsGained | Self::SlowLoss | Self::SlowGain => {
                "target, root domain, label"
            }
            Self::Burst | Self::Spam | Self::Broken | Self::Nofollow | Self::PageLost => "target",
        }
    }

    /// When it alerts.
    fn formula(self) -> &'static str {
        match self {
            Self::Unpublished => "a date since the previous snapshot is held, open or damaged",
            Self::Stale => "the newest snapshot was published more than `max_age_hours` ago",
            Self::Fates => {
                "the share of lines with one of the fates absent, refused or failed is at least 2 points higher than in the previous snapshot, and that is at least 10 lines"
            }
            Self::Drift => "responses have a field that differs from the contract",
            Self::Cost => "the requests sent are 10 % and at least 3 above the lower bound",
            Self::IndexShift => {
                "abs(s) is at least 2 % and 5 standard errors; or at least 1 %, if the totals of the provider's index moved by 2 % or more that night"
            }
            Self::DomainsLost => {
                "d < 0, abs(d) ≥ `min_z` · σ, and the change against the expected number is at least `min_change` and `min_domains`"
            }
            Self::DomainsGained => "the same with d > 0",
            Self::SlowLoss => {
                "D < 0, abs(D) ≥ `min_z` · σ, and the change is at least `min_slow_change` and `min_domains`; not if `domains_lost` told of it within the nights"
            }
            Self::SlowGain => "the same with D > 0",
            Self::Burst => {
                "the referring pages grew by 10 % and 10 against the median of the 7 nights before; since the first of these nights, one top-level domain or country has at least 10 more links, half of all that were gained, and its share grew by `min_share_change`; if both apply, only the top-level domain is reported"
            }
            Self::Spam => {
                "the score is in a higher band (0–30, 31–60, 61–100) than the median of the 7 nights before, and at least 5 points above it"
            }
            Self::Broken => {
                "at least 5 more backlinks are broken than the median of the 7 nights before, and their share grew by `min_share_change`"
            }
            Self::Nofollow => {
                "the share of referring pages with nofollow moved by `min_share_change` against the median of the 7 nights before; only pages with 20 or more referring pages"
            }
            Self::PageLost => {
                "the provider had data two nights ago, and none last night and tonight"
            }
        }
    }
}

/// The table of rules in `docs/alerts.md`.
#[must_use]
pub fn rules_markdown() -> String {
    let mut text = String::from("| rule | about | severity | alerts if |\n|---|---|---|---|\n");
    for rule in Rule::ALL {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            rule.name(),
            rule.about(),
            rule.severity().name(),
            rule.formula()
        );
    }
    text
}
