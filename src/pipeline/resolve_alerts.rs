//! The tables `[alerts]` and `[notify]` of the pipeline file, checked.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::checked::File;
use super::file::AlertsSpec;
use super::keys;
use crate::alerts::{AlertSettings, Rule};
use crate::error::Result;

impl File<'_> {
    pub(super) fn alerts(&self, spec: AlertsSpec) -> Result<AlertSettings> {
        let mut off = BTreeSet::new();
        if let Some(names) = &spec.off {
            for name in names.get_ref() {
                let rule = Rule::named(name).ok_or_else(|| {
                    let known: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
                    let message = format!("`{name}` is not a rule; rules are {}", known.join(", "));
                    self.refuse("alerts.off", names, &message)
                })?;
                off.insert(rule);
            }
        }
        let hours = self.whole(&keys::MAX_AGE_HOURS, spec.max_age_hours)?;
        Ok(AlertSettings {
            enabled: spec.enabled.unwrap_or(true),
            nights: self.whole(&keys::ALERT_NIGHTS, spec.nights)?,
            quiet_nights: self.whole(&keys::QUIET_NIGHTS, spec.quiet_nights)?,
            max_age: TimeDelta::hours(hours.into()),
            min_z: self.ratio(&keys::MIN_Z, spec.min_z)?,
            min_domains: self.whole(&keys::MIN_DOMAINS, spec.min_domains)?.into(),
            min_change: self.ratio(&keys::MIN_CHANGE, spec.min_change)?,
            min_slow_change: self.ratio(&keys::MIN_SLOW_CHANGE, spec.min_slow_change)?,
            min_share_change: self.ratio(&keys::MIN_SHARE_CHANGE, spec.min_share_change)?,
            off,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::pipeline::{Overrides, Pipeline};

    fn parse(more: &str) -> Result<Pipeline> {
        let text = format!(
            "[targets]\npaths = [\"a.txt\"]\n[api]\nbase_url = \"simulator\"\n[lake]\nurl = \"lake\"\n{more}"
        );
        let clock = Clock::simulated(chrono::DateTime::UNIX_EPOCH);
        Pipeline::parse("test.toml", &text, Overrides::default(), &clock)
    }

    #[tokio::test]
    async fn without_keys_the_rules_have_their_defaults() {
        assert_eq!(parse("").unwrap().alerts, AlertSettings::default());
    }

    #[tokio::test]
    async fn a_rule_is_switched_off_by_its_name_and_others_are_refused() {
        let alerts = parse("[alerts]\noff = [\"spam\", \"burst\"]")
            .unwrap()
            .alerts;
        assert!(!alerts.applies(Rule::Spam) && alerts.applies(Rule::Broken));
        let error = parse("[alerts]\noff = [\"spma\"]").unwrap_err().to_string();
        assert!(
            error.contains("line 8") && error.contains("page_lost"),
            "{error}"
        );
    }
}
