//! What a run asks, and which host it asks.

use serde::{Deserialize, Serialize};

use crate::provider::{Endpoint, RankScale};

/// What a run asks, and which host it asks: the same for all rows of a snapshot.
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
    /// Whether links to the subdomains of a domain count.
    pub include_subdomains: bool,
    /// The scale of ranks.
    pub rank_scale: RankScale,
}

impl Question {
    /// The first setting in which a later question differs, for a message: `host was a.com, now
    /// b.com`. `None` if they are the same.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Option<String> {
        let fields = |question: &Self| -> [(&'static str, String); 5] {
            [
                ("pipeline", question.pipeline.clone()),
                ("endpoint", question.endpoint.name().to_owned()),
                ("host", question.asked_of.clone()),
                (
                    "include_subdomains",
                    question.include_subdomains.to_string(),
                ),
                ("rank_scale", question.rank_scale.name().to_owned()),
            ]
        };
        let differing = fields(self)
            .into_iter()
            .zip(fields(later))
            .find(|(before, now)| before.1 != now.1);
        differing.map(|((name, before), (_, now))| format!("{name} was {before}, now {now}"))
    }
}
