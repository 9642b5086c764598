//! What the rules take for worth telling: the table `[alerts]` of a pipeline file.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::rule::Rule;

/// What the rules take for worth telling.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertSettings {
    /// Whether alerts are looked for.
    pub enabled: bool,
    /// How many nights are compared with.
    pub nights: u32,
    /// For how many nights an alert is quiet once it was told.
    pub quiet_nights: u32,
    /// How old the newest snapshot may be.
    pub max_age: TimeDelta,
    /// The smallest robust z-score.
    pub min_z: f64,
    /// The smallest change in referring main domains.
    pub min_domains: f64,
    /// The smallest change in referring main domains, as a share.
    pub min_change: f64,
    /// The smallest change over all nights, as a share.
    pub min_slow_change: f64,
    /// The smallest move of a share: of nofollow, of broken backlinks, of a top-level domain.
    pub min_share_change: f64,
    /// The rules that are switched off.
    pub off: BTreeSet<Rule>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            nights: 28,
            quiet_nights: 7,
            max_age: TimeDelta::hours(36),
            min_z: 5.0,
            min_domains: 5.0,
            min_change: 0.1,
            min_slow_change: 0.3,
            min_share_change: 0.1,
            off: BTreeSet::new(),
        }
    }
}

impl AlertSettings {
    /// Whether a rule applies.
    #[must_use]
    pub fn applies(&self, rule: Rule) -> bool {
        self.enabled && !self.off.contains(&rule)
    }
}
