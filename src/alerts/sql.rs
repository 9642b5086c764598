//! The SQL that shows an alert, on the views of `backlake sql`.

use chrono::NaiveDate;

use super::alert::{Finding, Subject};
use super::rule::Rule;
use crate::lake::sql_text;

/// The SQL behind a finding, over the nights from `from` to `to`.
pub(super) fn sql(finding: &Finding, from: NaiveDate, to: NaiveDate) -> String {
    let dates = format!("snapshot_date BETWEEN DATE '{from}' AND DATE '{to}'");
    match &finding.subject {
        Subject::Night(_) => of_night(finding.rule, &dates),
        Subject::Target {
            root_domain,
            target,
        } => {
            let page = format!(
                "root_domain = {} AND target = {}",
                sql_text(root_domain),
                sql_text(target)
            );
            of_page(finding, &page, &dates)
        }
        Subject::Domain(domain) => format!(
            "SELECT snapshot_date, count(*) AS pages, sum(referring_main_domains)::BIGINT AS referring_main_domains\nFROM pages\nWHERE matched AND root_domain = {} AND {dates}\nGROUP BY snapshot_date\nORDER BY snapshot_date;",
            sql_text(domain)
        ),
        Subject::Label((column, value)) => format!(
            "WITH line AS (\n    SELECT DISTINCT snapshot_date, root_domain, target\n    FROM targets\n    WHERE fate <> 'invalid' AND labels[{}] = {} AND {dates}\n)\nSELECT snapshot_date, count(*) AS pages, sum(referring_main_domains)::BIGINT AS referring_main_domains\nFROM line JOIN pages USING (snapshot_date, root_domain, target)\nWHERE matched AND {dates}\nGROUP BY snapshot_date\nORDER BY snapshot_date;",
            sql_text(column),
            sql_text(value)
        ),
    }
}

fn of_night(rule: Rule, dates: &str) -> String {
    match rule {
        // The open dates come after the snapshot.
        Rule::Unpublished => {
            "SELECT *\nFROM nights\nORDER BY snapshot_date DESC\nLIMIT 28;".to_owned()
        }
        Rule::IndexShift => format!(
            "WITH page AS (\n    SELECT snapshot_date, referring_main_domains AS now,\n           lag(referring_main_domains) OVER (PARTITION BY root_domain, target ORDER BY snapshot_date) AS was\n    FROM pages\n    WHERE matched AND {dates}\n)\nSELECT snapshot_date, median(ln(1 + now) - ln(1 + was)) AS moved, count(*) AS pages\nFROM page\nWHERE was >= 20 AND now IS NOT NULL\nGROUP BY snapshot_date\nORDER BY snapshot_date;"
        ),
        _ => format!("SELECT *\nFROM run_costs\nWHERE {dates}\nORDER BY snapshot_date;"),
    }
}

fn of_page(finding: &Finding, page: &str, dates: &str) -> String {
    let columns = match finding.rule {
        Rule::Burst => {
            let detail = finding.detail.as_deref().unwrap_or_default();
            let (dimension, key) = detail.split_once(' ').unwrap_or_default();
            return format!(
                "SELECT snapshot_date, sum(links) FILTER (key = {})::BIGINT AS links, sum(links)::BIGINT AS all_links\nFROM breakdowns\nWHERE dimension = {} AND {page} AND {dates}\nGROUP BY snapshot_date\nORDER BY snapshot_date;",
                sql_text(key),
                sql_text(dimension)
            );
        }
        Rule::PageLost => {
            return format!(
                "SELECT snapshot_date, fate\nFROM targets\nWHERE fate <> 'duplicate' AND {page} AND {dates}\nORDER BY snapshot_date;"
            );
        }
        Rule::Spam => "backlinks_spam_score",
        Rule::Broken => "broken_backlinks, backlinks",
        Rule::Nofollow => "referring_pages_nofollow, referring_pages",
        _ => "referring_main_domains",
    };
    format!(
        "SELECT snapshot_date, {columns}\nFROM pages\nWHERE matched AND {page} AND {dates}\nORDER BY snapshot_date;"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_literal() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 23).unwrap();
        let hostile = "x'; DROP TABLE pages; --";
        let label = (hostile.to_owned(), hostile.to_owned());
        for subject in [
            Subject::Domain(hostile.to_owned()),
            Subject::Label(label),
            Subject::Target {
                root_domain: hostile.to_owned(),
                target: hostile.to_owned(),
            },
        ] {
            for rule in Rule::ALL {
                let finding = Finding {
                    rule,
                    subject: subject.clone(),
                    detail: Some(format!("tld {hostile}")),
                    before: None,
                    after: None,
                    magnitude: 1.0,
                    weight: 1.0,
                    pages: 0,
                    what: String::new(),
                };
                let sql = sql(&finding, date, date);
                // Outside of literals nothing of it is left.
                let outside: String = sql.split('\'').step_by(2).collect();
                assert!(!outside.contains("DROP"), "{sql}");
            }
        }
    }
}
