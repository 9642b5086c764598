//! What a run asks, and of whom.

use serde::{Deserialize, Serialize};

use crate::provider::{Endpoint, RankScale};

/// What a run asks, and of whom: the same for all rows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The pipeline's name.
    pub pipeline: String,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The host, or the simulator and its seed.
    pub asked_of: String,
    /// Whether the provider invents its data: the simulator, embedded or on this machine.
    #[serde(default)]
    pub invented: bool,
    /// Whether links to subdomains of a domain count.
    pub include_subdomains: bool,
    /// The scale of ranks.
    pub rank_scale: RankScale,
}

impl Question {
    /// In what another differs, in words; none if in nothing.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = |question: &Self| -> [(&'static str, String); 5] {
            [
                ("pipeline", question.pipeline.clone()),
                ("endpoint", format!("{:?}", question.endpoint)),
                ("host", question.asked_of.clone()),
                (
                    "include_subdomains",
                    question.include_subdomains.to_string(),
                ),
                ("rank_scale", format!("{:?}", question.rank_scale)),
            ]
        };
        let differing = fields(self)
            .into_iter()
            .zip(fields(other))
            .find(|(left, right)| left.1 != right.1);
        differing
            .map(|((name, left), (_, right))| format!("{name} is {left} there and {right} here"))
    }
}
