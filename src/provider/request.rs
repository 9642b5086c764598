//! The body of a request: one task with its targets.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The endpoints that this program supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoStaticStr)]
pub enum Endpoint {
    /// Backlink profiles of up to 1000 pages, domains and subdomains.
    #[serde(rename = "backlinks/bulk_pages_summary")]
    #[strum(serialize = "backlinks/bulk_pages_summary")]
    #[default]
    BulkPagesSummary,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 1] = [Self::BulkPagesSummary];

    /// The name in the pipeline file and in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The path below the host.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::BulkPagesSummary => "/v3/backlinks/bulk_pages_summary/live",
        }
    }

    /// The part of the path that a response names as its function.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::BulkPagesSummary => "bulk_pages_summary",
        }
    }
}

/// The scale of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RankScale {
    /// 0 to 100.
    OneHundred,
    /// 0 to 1000.
    #[default]
    OneThousand,
}

impl RankScale {
    /// The name in the pipeline file and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The fields of a task besides its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TaskOptions {
    /// Whether links to the subdomains of a domain count.
    pub include_subdomains: bool,
    /// The scale of ranks.
    pub rank_scale: RankScale,
}

#[derive(Serialize)]
struct PostedTask<'a> {
    targets: &'a [&'a str],
    #[serde(flatten)]
    options: &'a TaskOptions,
    tag: &'a str,
}

/// The JSON body that requests these targets.
///
/// # Errors
/// The serializer's; strings and booleans cause none.
pub fn body(targets: &[&str], options: &TaskOptions, tag: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&[PostedTask {
        targets,
        options,
        tag,
    }])
}
