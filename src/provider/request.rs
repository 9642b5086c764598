//! What is posted: one task with its targets.

use serde::{Deserialize, Serialize};

/// The endpoints this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// Backlink profiles of up to 1000 pages, domains and subdomains.
    #[serde(rename = "backlinks/bulk_pages_summary")]
    BulkPagesSummary,
}

impl Endpoint {
    /// The path below the host.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::BulkPagesSummary => "/v3/backlinks/bulk_pages_summary/live",
        }
    }

    /// The parts of the path as an answer names them.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::BulkPagesSummary => "bulk_pages_summary",
        }
    }
}

/// The scale of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankScale {
    /// 0 to 100.
    OneHundred,
    /// 0 to 1000.
    #[default]
    OneThousand,
}

/// What a task asks beside its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TaskOptions {
    /// Whether links to subdomains of a domain count.
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

/// The JSON body that asks for these targets.
///
/// # Errors
/// None that strings and booleans could cause; the serializer's own type.
pub fn body(targets: &[&str], options: &TaskOptions, tag: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&[PostedTask {
        targets,
        options,
        tag,
    }])
}
