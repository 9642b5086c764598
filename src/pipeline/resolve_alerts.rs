//! The tables `[alerts]` and `[notify]` of the pipeline file, checked.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use toml::Spanned;

use super::checked::File;
use super::file::{AlertsSpec, NotifySpec, Occasion};
use super::keys;
use super::ready::NotifySettings;
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

    pub(super) fn notify(&self, spec: NotifySpec) -> Result<NotifySettings> {
        let is_name = |text: &str| {
            let mut characters = text.chars();
            characters
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if let Some(name) = &spec.url_env
            && !is_name(name.get_ref())
        {
            // It may be the URL itself, which nothing should repeat.
            let message = "not the name of an environment variable; the URL itself is a secret, so put it into that variable";
            return Err(self.refuse("notify.url_env", name, message));
        }
        let mut on = BTreeSet::new();
        if let Some(names) = &spec.on {
            for name in names.get_ref() {
                let occasion = Occasion::ALL.into_iter().find(|one| one.name() == name);
                on.insert(occasion.ok_or_else(|| {
                    let known = Occasion::ALL.map(Occasion::name).join(", ");
                    let message = format!("`{name}` is not one of {known}");
                    self.refuse("notify.on", names, &message)
                })?);
            }
        }
        Ok(NotifySettings {
            url_env: spec.url_env.map(Spanned::into_inner),
            format: spec.format,
            on: match spec.on {
                Some(_) => on,
                None => Occasion::ALL.into(),
            },
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
    async fn a_webhook_is_named_by_its_variable_and_told_of_everything() {
        let notify = parse("[notify]\nurl_env = \"HOOK\"").unwrap().notify;
        assert_eq!(notify.on, BTreeSet::from(Occasion::ALL));
        for (wrong, said) in [
            (
                "url_env = \"https://hooks.example.com/SECRET\"",
                "environment variable",
            ),
            ("url_env = \"\"", "environment variable"),
            ("on = [\"done\"]", "finished, held, failed, alerts"),
        ] {
            let error = parse(&format!("[notify]\n{wrong}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(said) && !error.contains("SECRET"), "{error}");
        }
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
