//! Checks what the provider checks: the structure of a posted task, and the rules for its targets.

use std::collections::HashSet;

use serde_json::Value;

use crate::provider::{MAX_ROOT_DOMAINS, MAX_TAG, MAX_TARGETS, code};
use crate::targets::{Canonical, Rules, TargetKind, canonical};

/// A refusal: the status code and its message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(super) fn field(name: &str) -> Self {
        Self::new(code::INVALID_FIELD, format!("Invalid Field: '{name}'."))
    }

    pub(super) fn rate_per_minute() -> Self {
        Self::new(code::RATE_PER_MINUTE, "Rate limit per minute exceeded.")
    }
}

/// A task that follows the rules.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The targets as posted, and their canonical forms.
    pub(super) targets: Vec<(String, Canonical)>,
    /// The task as posted, which the response repeats.
    pub(super) posted: Value,
}

impl Accepted {
    pub(super) fn tag(&self) -> Option<&str> {
        self.posted.get("tag").and_then(Value::as_str)
    }
}

/// The only task of a posted body. Its contents are not checked.
pub(super) fn one_task(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Err(Refusal::new(code::EMPTY, "POST Data Is Empty."));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Array(mut tasks)) if tasks.len() == 1 && tasks[0].is_object() => {
            Ok(tasks.remove(0))
        }
        Ok(Value::Array(tasks)) if tasks.is_empty() => {
            Err(Refusal::new(code::EMPTY, "POST Data Is Empty."))
        }
        Ok(Value::Array(tasks)) if tasks.len() > 1 => Err(Refusal::new(
            code::ONE_TASK,
            "You can set only one task at a time.",
        )),
        _ => Err(Refusal::new(
            code::BAD_STRUCTURE,
            "POST Data Structure Is Invalid.",
        )),
    }
}

/// Checks a task against the rules of `bulk_pages_summary`. One invalid target makes the whole task
/// fail.
pub(super) fn check(posted: Value) -> Result<Accepted, Refusal> {
    let fields = posted.as_object().into_iter().flatten();
    for (name, value) in fields {
        let fits = match name.as_str() {
            // The provider's own client posts null for fields that are not set.
            "include_subdomains" | "rank_scale" | "tag" if value.is_null() => true,
            "targets" => value.is_array(),
            "include_subdomains" => value.is_boolean(),
            "rank_scale" => matches!(value.as_str(), Some("one_hundred" | "one_thousand")),
            "tag" => value
                .as_str()
                .is_some_and(|tag| tag.chars().count() <= MAX_TAG),
            _ => {
                return Err(Refusal::new(
                    code::UNKNOWN_FIELD,
                    format!("Unknown Fields in POST Data: {name}."),
                ));
            }
        };
        if !fits {
            return Err(Refusal::field(name));
        }
    }
    let targets = posted
        .get("targets")
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::field("targets"))?;
    if !(1..=MAX_TARGETS).contains(&targets.len()) {
        return Err(Refusal::field("targets"));
    }
    let mut seen = HashSet::new();
    let mut accepted = Vec::with_capacity(targets.len());
    for (at, target) in targets.iter().enumerate() {
        let text = target.as_str().ok_or_else(|| Refusal::field("targets"))?;
        let known = canonical(text, &Rules::default())
            .ok()
            .filter(|known| keeps_form(text, known));
        let Some(known) = known else {
            // The real messages vary: some name the target, others do not.
            return Err(if at % 2 == 0 {
                Refusal::new(
                    code::INVALID_FIELD,
                    format!("Invalid Field: 'target' ({text})."),
                )
            } else {
                Refusal::field("targets")
            });
        };
        if !seen.insert(text) {
            return Err(Refusal::new(code::DUPLICATE, "Duplicate host."));
        }
        accepted.push((text.to_owned(), known));
    }
    let roots: HashSet<&str> = accepted
        .iter()
        .map(|(_, known)| known.root_domain())
        .collect();
    if roots.len() > MAX_ROOT_DOMAINS {
        return Err(Refusal::field("targets"));
    }
    Ok(Accepted {
        targets: accepted,
        posted,
    })
}

/// Whether a target has the form that the provider requires: a domain without scheme and `www.`, a
/// page with a scheme.
fn keeps_form(text: &str, known: &Canonical) -> bool {
    match known.kind() {
        TargetKind::Page => true,
        TargetKind::Domain | TargetKind::Subdomain => text.eq_ignore_ascii_case(known.text()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(task: Value) -> u32 {
        check(task).map_or_else(|refusal| refusal.code, |_| code::OK)
    }

    #[test]
    fn a_task_is_checked_against_every_rule() {
        let page = "https://example.com/";
        let domains = |count: usize| (0..count).map(|n| format!("d{n}.com")).collect::<Vec<_>>();
        let pages = |count: usize| (0..count).map(|n| format!("{page}{n}")).collect::<Vec<_>>();
        for (task, expected) in [
            (json!({"targets": [page]}), code::OK),
            (
                json!({"targets": [page], "tag": "t", "rank_scale": "one_hundred", "include_subdomains": false}),
                code::OK,
            ),
            (
                json!({"targets": [page], "tag": null, "rank_scale": null, "include_subdomains": null}),
                code::OK,
            ),
            (json!({"targets": pages(1000)}), code::OK),
            (json!({"targets": pages(1001)}), code::INVALID_FIELD),
            (json!({"targets": domains(100)}), code::OK),
            (json!({"targets": domains(101)}), code::INVALID_FIELD),
            (json!({"targets": []}), code::INVALID_FIELD),
            (json!({"targets": page}), code::INVALID_FIELD),
            (json!({}), code::INVALID_FIELD),
            (json!({"targets": [page, null]}), code::INVALID_FIELD),
            (json!({"targets": ["www.example.com"]}), code::INVALID_FIELD),
            (
                json!({"targets": ["https://example.com(not set)"]}),
                code::INVALID_FIELD,
            ),
            (json!({"targets": ["localhost"]}), code::INVALID_FIELD),
            (json!({"targets": [page, page]}), code::DUPLICATE),
            (
                json!({"targets": [page], "tag": "x".repeat(256)}),
                code::INVALID_FIELD,
            ),
            (
                json!({"targets": [page], "rank_scale": "ten"}),
                code::INVALID_FIELD,
            ),
            (
                json!({"targets": [page], "include_subdomains": "yes"}),
                code::INVALID_FIELD,
            ),
            (json!({"targets": [page], "limit": 10}), code::UNKNOWN_FIELD),
        ] {
            assert_eq!(refusal(task.clone()), expected, "{task}");
        }
    }

    #[test]
    fn only_a_single_task_is_accepted() {
        for (body, expected) in [
            ("", code::EMPTY),
            ("[]", code::EMPTY),
            ("{}", code::BAD_STRUCTURE),
            ("[1]", code::BAD_STRUCTURE),
            ("<html>", code::BAD_STRUCTURE),
            ("[{},{}]", code::ONE_TASK),
        ] {
            assert_eq!(
                one_task(body.as_bytes()).unwrap_err().code,
                expected,
                "{body}"
            );
        }
        assert!(one_task(b"[{}]").is_ok());
    }
}
