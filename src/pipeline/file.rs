//! The pipeline file as written: its tables and keys, before any value is checked.
//!
//! `resolve` turns it into a [`Pipeline`](super::Pipeline); `keys` documents every key.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use strum::IntoStaticStr;
use toml::Spanned;

use crate::lake::TableFormat;
use crate::money::Usd;
use crate::provider::{Endpoint, RankScale};
use crate::targets::{BareUrl, Column, Delimiter, Format, SuffixList};

/// The pipeline file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PipelineSpec {
    pub(super) name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) endpoint: Endpoint,
    pub(super) snapshot: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) targets: TargetsSpec,
    #[serde(default)]
    pub(super) request: RequestSpec,
    #[serde(default)]
    pub(super) api: ApiSpec,
    #[serde(default)]
    pub(super) simulator: SimulatorSpec,
    #[serde(default)]
    pub(super) price: PriceSpec,
    #[serde(default)]
    pub(super) budget: BudgetSpec,
    #[serde(default)]
    pub(super) lake: LakeSpec,
    #[serde(default)]
    pub(super) run: RunSpec,
    #[serde(default)]
    pub(super) publish: PublishSpec,
    #[serde(default)]
    pub(super) alerts: AlertsSpec,
    #[serde(default)]
    pub(super) notify: NotifySpec,
    #[serde(default)]
    pub(super) lineage: LineageSpec,
}

/// The table `[notify]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotifySpec {
    pub(super) url_env: Option<Spanned<String>>,
    pub(super) format: NotifyFormat,
    pub(super) on: Option<Spanned<Vec<String>>>,
}

/// How a notice is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyFormat {
    /// Fields for programs, and a text.
    #[default]
    Json,
    /// A text for Slack, and for chats that take its messages.
    Slack,
}

/// What a webhook is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Occasion {
    /// The snapshot was published.
    Finished,
    /// The snapshot waits for a decision.
    Held,
    /// The run failed in a way that needs a person.
    Failed,
    /// Something needs attention.
    Alerts,
}

impl Occasion {
    /// Every occasion.
    pub const ALL: [Self; 4] = [Self::Finished, Self::Held, Self::Failed, Self::Alerts];

    /// The name in the pipeline file and in notices.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The table `[alerts]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AlertsSpec {
    pub(super) enabled: Option<bool>,
    pub(super) nights: Option<Spanned<i64>>,
    pub(super) quiet_nights: Option<Spanned<i64>>,
    pub(super) max_age_hours: Option<Spanned<i64>>,
    pub(super) min_z: Option<Spanned<f64>>,
    pub(super) min_domains: Option<Spanned<i64>>,
    pub(super) min_change: Option<Spanned<f64>>,
    pub(super) min_slow_change: Option<Spanned<f64>>,
    pub(super) min_share_change: Option<Spanned<f64>>,
    pub(super) off: Option<Spanned<Vec<String>>>,
}

/// The table `[lineage]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LineageSpec {
    pub(super) file: Option<String>,
    pub(super) url: Option<Spanned<String>>,
}

/// The table `[targets]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TargetsSpec {
    pub(super) paths: Option<Spanned<Vec<String>>>,
    pub(super) format: Option<Format>,
    pub(super) column: Option<Spanned<Column>>,
    pub(super) delimiter: Option<Delimiter>,
    pub(super) header: Option<bool>,
    pub(super) skip_lines: Option<Spanned<i64>>,
    pub(super) sheet: Option<String>,
    pub(super) max_invalid_ratio: Option<Spanned<f64>>,
    pub(super) keep: Option<Spanned<Vec<String>>>,
    pub(super) bare_url: BareUrl,
    pub(super) suffixes: SuffixList,
    pub(super) max_list_mib: Option<Spanned<i64>>,
    pub(super) retry_refused_after_days: Option<Spanned<i64>>,
}

/// The table `[request]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestSpec {
    pub(super) include_subdomains: bool,
    pub(super) rank_scale: RankScale,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            include_subdomains: true,
            rank_scale: RankScale::default(),
        }
    }
}

/// The table `[api]`. `base_url` is optional here because a flag can replace it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiSpec {
    pub(super) base_url: Option<Spanned<String>>,
    pub(super) max_in_flight: Option<Spanned<i64>>,
    pub(super) requests_per_minute: Option<Spanned<i64>>,
    pub(super) timeout_seconds: Option<Spanned<i64>>,
    pub(super) stall_seconds: Option<Spanned<i64>>,
    pub(super) drain_seconds: Option<Spanned<i64>>,
    pub(super) listed_after_seconds: Option<Spanned<i64>>,
    pub(super) max_response_mib: Option<Spanned<i64>>,
    pub(super) max_attempts: Option<Spanned<i64>>,
}

/// The table `[simulator]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SimulatorSpec {
    pub(super) seed: Option<u64>,
    pub(super) latency_ms: Option<u64>,
    pub(super) stories: Option<bool>,
}

/// The table `[price]`: both prices or none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PriceSpec {
    pub(super) per_request_usd: Option<Spanned<Amount>>,
    pub(super) per_row_usd: Option<Spanned<Amount>>,
}

/// The table `[budget]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BudgetSpec {
    pub(super) max_cost_usd: Option<Spanned<Amount>>,
    pub(super) max_minutes: Option<Spanned<i64>>,
}

/// The table `[lake]`. `url` is optional here because a flag can replace it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LakeSpec {
    pub(super) url: Option<Spanned<String>>,
    pub(super) table_formats: Vec<TableFormat>,
    pub(super) contracts: Option<Spanned<Vec<String>>>,
    pub(super) file_mib: Option<Spanned<i64>>,
    pub(super) memory_mib: Option<Spanned<i64>>,
    pub(super) retry_minutes: Option<Spanned<i64>>,
}

/// The table `[run]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunSpec {
    pub(super) continue_open: ContinueOpen,
}

/// What `run` does if yesterday's snapshot is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContinueOpen {
    /// Report it.
    #[default]
    Report,
    /// Continue it before today's.
    First,
}

/// The table `[publish]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PublishSpec {
    pub(super) max_failed_ratio: Option<Spanned<f64>>,
    pub(super) on_drift: OnFinding,
    pub(super) on_change: OnFinding,
    pub(super) max_row_change: Option<Spanned<f64>>,
    pub(super) max_null_change: Option<Spanned<f64>>,
    pub(super) max_total_change: Option<Spanned<f64>>,
    pub(super) success_file: bool,
    pub(super) grace_minutes: Option<Spanned<i64>>,
    pub(super) report: bool,
}

/// What to do with a snapshot in which something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFinding {
    /// Report the finding and publish the snapshot.
    #[default]
    Report,
    /// Hold the snapshot until someone accepts it.
    Hold,
}

/// An amount of dollars: a number, or a string. A number is read as it is written, as long as it has
/// at most 15 digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount(pub(super) Usd);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl AmountVisitor {
    fn amount<E: de::Error>(text: &str) -> Result<Amount, E> {
        let read = text.parse().map(Amount);
        read.map_err(|_| E::custom(format!("`{text}` is not an amount of dollars")))
    }
}

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of dollars")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        Self::amount(text)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
        Self::amount(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
        // The shortest text that reads back as this number: what was written.
        Self::amount(&number.to_string())
    }
}
