//! The size of the provider's index, which it tells free of charge.

use serde::{Deserialize, Serialize};

/// The size of the provider's index. What the provider leaves out is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IndexSize {
    /// The backlinks that it knows.
    pub backlinks: Option<i64>,
    /// The pages that it knows.
    pub pages: Option<i64>,
    /// The domains that it knows.
    pub domains: Option<i64>,
}

impl IndexSize {
    /// The path of the call.
    pub const PATH: &str = "/v3/backlinks/index";

    /// Reads the body of a successful response; `None` if it tells no total.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let response: serde_json::Value = serde_json::from_slice(body).ok()?;
        let result = response.pointer("/tasks/0/result/0")?;
        let total = |name: &str| result.get(name)?.as_i64().filter(|total| *total >= 0);
        let size = Self {
            backlinks: total("total_backlinks"),
            pages: total("total_pages"),
            domains: total("total_domains"),
        };
        (size != Self::default()).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_total_is_not_known() {
        let read = |result: &str| {
            IndexSize::read(format!("{{\"tasks\":[{{\"result\":{result}}}]}}").as_bytes())
        };
        let size = read(r#"[{"total_backlinks":5,"total_pages":"many","total_domains":-1}]"#);
        let backlinks = Some(5);
        assert_eq!(
            size,
            Some(IndexSize {
                backlinks,
                ..IndexSize::default()
            })
        );
        for useless in ["null", "[]", "[null]", "[{}]", "5"] {
            assert_eq!(read(useless), None, "{useless}");
        }
        assert_eq!(IndexSize::read(b"<html>"), None);
    }
}
