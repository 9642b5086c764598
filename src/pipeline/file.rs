//! The pipeline file as it is written: its tables and keys, and what stands for those that are left out. What they may say
//! is checked where a [`super::Pipeline`] is made of them.

use serde::Deserialize;
use toml::Spanned;

use super::spec::OnFinding;
use crate::lake::TableFormat;
use crate::money::Usd;
use crate::provider::{Endpoint, RankScale};
use crate::targets::{BareUrl, Format, SuffixList};

/// The pipeline file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    pub(super) name: Spanned<String>,
    pub(super) endpoint: Endpoint,
    pub(super) snapshot: Option<Spanned<String>>,
    pub(super) targets: TargetsSpec,
    #[serde(default)]
    pub(super) request: RequestSpec,
    #[serde(default)]
    pub(super) api: ApiSpec,
    #[serde(default)]
    pub(super) simulator: SimulatorSpec,
    pub(super) price: Option<PriceSpec>,
    #[serde(default)]
    pub(super) budget: BudgetSpec,
    pub(super) lake: LakeSpec,
    #[serde(default)]
    pub(super) publish: PublishSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetsSpec {
    pub(super) paths: Spanned<Vec<String>>,
    pub(super) format: Option<Format>,
    #[serde(default = "default_column")]
    pub(super) column: String,
    pub(super) keep: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) bare_url: BareUrl,
    #[serde(default)]
    pub(super) suffixes: SuffixList,
    pub(super) retry_refused_after_days: Option<Spanned<i64>>,
}

fn default_column() -> String {
    "url".to_owned()
}

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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SimulatorSpec {
    pub(super) seed: Option<u64>,
    pub(super) latency_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceSpec {
    pub(super) per_request_usd: Spanned<Usd>,
    pub(super) per_row_usd: Spanned<Usd>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BudgetSpec {
    pub(super) max_cost_usd: Option<Spanned<Usd>>,
    pub(super) max_minutes: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LakeSpec {
    pub(super) url: Spanned<String>,
    #[serde(default)]
    pub(super) table_format: TableFormat,
    pub(super) contracts: Option<Spanned<Vec<String>>>,
    pub(super) file_mib: Option<Spanned<i64>>,
    pub(super) memory_mib: Option<Spanned<i64>>,
}

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
}
