//! The SQL behind each number, on the views of `backlake sql`.

use std::fmt::Write as _;

use chrono::NaiveDate;

use super::collect::{Attention, BY, DOMAINS, RANK_BARS, Report, TOP, most_rank};
use crate::fate::Fate;
use crate::history::{CONCENTRATED, Label, MOST_REASONS, Summary};
use crate::lake::sql_text;
use crate::provider::SPAM_BANDS;

/// A query of the appendix.
pub(super) struct Query {
    /// What `data-sql` of its numbers says.
    pub(super) id: String,
    /// What it answers.
    pub(super) what: String,
    /// The query. Its values, row by row, are those of the numbers in the order of the page.
    pub(super) sql: String,
}

impl Query {
    fn new(id: impl Into<String>, what: impl Into<String>, sql: impl AsRef<str>) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            sql: sql.as_ref().trim().to_owned(),
        }
    }
}

/// What is counted of many pages, in the order of the page.
const TOTALS: &str = "count(*) AS pages,
       coalesce(sum(backlinks), 0)::BIGINT AS backlinks,
       quantile_disc(referring_main_domains, 0.5) AS referring_main_domains_median,
       coalesce(sum(referring_main_domains), 0)::BIGINT AS referring_main_domains_sum,
       quantile_disc(rank, 0.5) AS rank_median,
       quantile_disc(backlinks_spam_score, 0.5) AS spam_score_median";

/// What is counted of the pages of a root domain or label, in the order of their tables.
const GROUP: &str = "count(*) AS pages, coalesce(sum(backlinks), 0)::BIGINT AS backlinks,
       quantile_disc(referring_main_domains, 0.5) AS referring_main_domains_median,
       quantile_disc(rank, 0.5) AS rank_median, coalesce(sum(broken_backlinks), 0)::BIGINT AS broken";

/// Every query of a report, in the order of its sections.
pub(super) fn queries(report: &Report) -> Vec<Query> {
    let mut queries = trust(report.date());
    queries.extend(attention(report));
    let sections = [tiles, nights, movers, groups, profile, risk];
    let of_pages = sections.into_iter().flat_map(|section| section(report));
    queries.extend(of_pages.map(|query| of_label(query, report.label.as_ref())));
    queries.extend(lines(report));
    queries
}

/// The query over the pages, breakdowns and lines of a label.
fn of_label(mut query: Query, label: Option<&Label>) -> Query {
    let Some((column, value)) = label else {
        return query;
    };
    for table in ["pages", "breakdowns", "targets"] {
        // The lines of other labels count in the table by label, too.
        if table == "targets" && query.id.starts_with("labels-") {
            continue;
        }
        let of = format!("{table}_of({}, {})", sql_text(column), sql_text(value));
        for before in ["FROM", "JOIN"] {
            let whole = |end: &str| {
                (
                    format!("{before} {table}{end}"),
                    format!("{before} {of}{end}"),
                )
            };
            for (plain, labelled) in ["\n", " ", ";"].map(whole) {
                query.sql = query.sql.replace(&plain, &labelled);
            }
        }
    }
    query
}

/// What is said about lines, which is always of the whole night.
fn lines(report: &Report) -> Vec<Query> {
    let newest = date(report.date());
    let mut queries = Vec::new();
    for (number, column) in super::bill::label_costs(report).into_iter().enumerate() {
        queries.push(Query::new(
            format!("cost-{number}"),
            format!("What does each {} cost?", column.name),
            format!(
                "SELECT lines, cost_usd::DECIMAL(18,6) AS cost
FROM label_daily
WHERE snapshot_date = {newest} AND name = {}
ORDER BY cost DESC, lines DESC, label
LIMIT {};",
                sql_text(column.name),
                column.rows.len()
            ),
        ));
    }
    if !report.lines.reasons.is_empty() {
        queries.push(Query::new(
            "reasons",
            "Why do lines have no page?",
            format!(
                "SELECT count(*) AS lines
FROM (
    SELECT fate, coalesce(replace(reason, nullif(target, ''), '…'), reason, '') AS reason
    FROM targets
    WHERE snapshot_date = {newest} AND fate IN ('invalid', 'refused', 'failed')
)
GROUP BY fate, reason
ORDER BY lines DESC, fate, reason
LIMIT {MOST_REASONS};"
            ),
        ));
    }
    queries
}

fn risk(report: &Report) -> Vec<Query> {
    let newest = date(report.date());
    let mut queries = Vec::new();
    let since = super::risk::comparison(report).filter(|since| !since.spam.is_empty());
    if let Some(since) = since {
        let both = both(since);
        queries.push(Query::new(
            "spam-risen",
            format!(
                "Which pages have a higher spam score than on {}?",
                since.from
            ),
            format!(
                "SELECT was.backlinks_spam_score AS before, now.backlinks_spam_score AS after,
       after - before AS change
{both}
  AND now.backlinks_spam_score > was.backlinks_spam_score
ORDER BY change DESC, root_domain, target
LIMIT {TOP};"
            ),
        ));
    }
    let Some(pages) = report.newest() else {
        return queries;
    };
    let ranked = [
        (
            "concentrated",
            "Which pages get many backlinks from few domains?",
            "backlinks, referring_main_domains",
            format!("backlinks >= {CONCENTRATED} AND referring_main_domains > 0"),
            "backlinks / referring_main_domains",
            pages.concentrated.len(),
        ),
        (
            "broken",
            "Which pages have the most broken backlinks?",
            "broken_backlinks, backlinks, rank",
            "broken_backlinks > 0".to_owned(),
            "broken_backlinks",
            pages.broken.len(),
        ),
    ];
    for (id, what, columns, condition, by, rows) in ranked {
        if rows > 0 {
            let sql = format!(
                "SELECT {columns}
FROM pages
WHERE matched AND snapshot_date = {newest} AND {condition}
ORDER BY {by} DESC, root_domain, target
LIMIT {rows};"
            );
            queries.push(Query::new(id, what, sql));
        }
    }
    queries
}

/// The pages that two snapshots have in common.
fn both(since: &Summary) -> String {
    let (from, to) = (date(since.from), date(since.to));
    format!(
        "FROM pages was JOIN pages now USING (root_domain, target)
WHERE was.snapshot_date = {from} AND now.snapshot_date = {to} AND was.matched AND now.matched"
    )
}

fn date(date: NaiveDate) -> String {
    format!("DATE '{date}'")
}

fn trust(newest: NaiveDate) -> Vec<Query> {
    let newest = date(newest);
    let mut columns = "count(*) AS lines".to_owned();
    for fate in Fate::ALL.map(Fate::name) {
        let _ = write!(
            columns,
            ",\n       count(*) FILTER (fate = '{fate}') AS {fate}"
        );
    }
    vec![
        Query::new(
            "fates",
            "What became of every line?",
            format!("SELECT {columns}\nFROM targets\nWHERE snapshot_date = {newest};"),
        ),
        Query::new(
            "cost",
            "What did the snapshot cost?",
            format!(
                "SELECT cost_usd, cost_unknown_usd, budget_usd, requests, lower_bound\nFROM run_costs\nWHERE snapshot_date = {newest};"
            ),
        ),
    ]
}

fn tiles(report: &Report) -> Vec<Query> {
    let newest = date(report.date());
    let mut queries = vec![Query::new(
        "tiles",
        "What are the totals of all pages?",
        format!("SELECT {TOTALS}\nFROM pages\nWHERE matched AND snapshot_date = {newest};"),
    )];
    for days in super::tiles::OVER {
        let Some(day) = report.before(days) else {
            continue;
        };
        let sql = format!(
            "WITH now AS (
    SELECT {TOTALS}
    FROM pages
    WHERE matched AND snapshot_date = {newest}
), was AS (
    SELECT {TOTALS}
    FROM pages
    WHERE matched AND snapshot_date = {then}
)
SELECT now.pages - was.pages, now.backlinks - was.backlinks,
       now.referring_main_domains_median - was.referring_main_domains_median,
       now.rank_median - was.rank_median, now.spam_score_median - was.spam_score_median
FROM now, was;",
            then = date(day.date),
        );
        queries.push(Query::new(
            format!("changes-{days}"),
            format!("How did that change since {}?", day.date),
            sql,
        ));
    }
    queries
}

fn attention(report: &Report) -> Option<Query> {
    let Attention::Told(told) = &report.attention else {
        return None;
    };
    let rows = told.alerts.len().min(super::attention::SHOWN);
    let newest = date(report.date());
    (rows > 0).then(|| {
        Query::new(
            "alerts",
            "What needs attention?",
            format!(
                "SELECT before, after\nFROM alerts\nWHERE snapshot_date = {newest} AND position <= {rows}\nORDER BY position;"
            ),
        )
    })
}

fn movers(report: &Report) -> Vec<Query> {
    let mut queries = Vec::new();
    for (name, summary) in report.comparisons() {
        let (from, to) = (date(summary.from), date(summary.to));
        let both = both(summary);
        queries.push(Query::new(
            format!("like-for-like-{name}"),
            format!(
                "How did the pages in both snapshots change since {}?",
                summary.from
            ),
            format!("SELECT sum(now.backlinks - was.backlinks)::BIGINT AS change\n{both};"),
        ));
        for (kind, sign, order) in [("gained", '>', "DESC"), ("lost-links", '<', "ASC")] {
            queries.push(Query::new(
                format!("{kind}-{name}"),
                format!(
                    "Which pages {} since {}?",
                    kind.replace("lost-links", "lost"),
                    summary.from
                ),
                format!(
                    "SELECT was.{BY} AS before, now.{BY} AS after, now.{BY} - was.{BY} AS change
{both}
  AND now.{BY} {sign} was.{BY}
ORDER BY change {order}, root_domain, target
LIMIT {TOP};"
                ),
            ));
        }
        for list in super::movers::lists(summary) {
            if !list.pages.is_empty() {
                queries.push(Query::new(
                    format!("{}-{name}", list.kind),
                    format!("Which pages are {} since {}?", list.kind, summary.from),
                    one_sided(list.kind, &from, &to),
                ));
            }
        }
        let list = |day: &str| {
            format!(
                "SELECT root_domain, target, fate FROM targets\n    WHERE snapshot_date = {day} AND fate NOT IN ('duplicate', 'invalid')"
            )
        };
        queries.push(Query::new(
            format!("groups-{name}"),
            format!("What became of the pages since {}?", summary.from),
            format!(
                "WITH was AS (
    {}
), now AS (
    {}
)
SELECT count(*) FILTER (was.fate = 'returned' AND now.fate = 'returned') AS in_both,
       count(*) FILTER (was.fate = 'absent' AND now.fate = 'returned') AS new,
       count(*) FILTER (was.fate = 'returned' AND now.fate = 'absent') AS lost,
       count(*) FILTER (was.fate IS NULL AND now.fate = 'returned') AS added,
       count(*) FILTER (was.fate = 'returned' AND now.fate IS NULL) AS removed,
       count(*) FILTER (was.fate = 'returned' AND now.fate IN ('failed', 'refused', 'unsent')
                     OR now.fate = 'returned' AND was.fate IN ('failed', 'refused', 'unsent')) AS unanswered
FROM was FULL JOIN now USING (root_domain, target);",
                list(&from),
                list(&to),
            ),
        ));
    }
    queries
}

/// The pages that only one snapshot has.
fn one_sided(kind: &str, from: &str, to: &str) -> String {
    const UNANSWERED: &str = "fate IN ('failed', 'refused', 'unsent')";
    let pages = |day: &str, other: &str, fate: &str| {
        format!(
            "SELECT root_domain, target, {BY}
FROM pages LEFT JOIN (
    SELECT root_domain, target, fate FROM targets
    WHERE snapshot_date = {other} AND fate NOT IN ('duplicate', 'invalid')
) USING (root_domain, target)
WHERE matched AND snapshot_date = {day} AND {fate}"
        )
    };
    let found = match kind {
        "new" => pages(to, from, "fate = 'absent'"),
        "lost" => pages(from, to, "fate = 'absent'"),
        "added" => pages(to, from, "fate IS NULL"),
        "removed" => pages(from, to, "fate IS NULL"),
        _ => format!(
            "{}\nUNION ALL\n{}",
            pages(from, to, UNANSWERED),
            pages(to, from, UNANSWERED)
        ),
    };
    format!(
        "SELECT {BY} FROM (\n{found}\n)\nORDER BY {BY} DESC NULLS LAST, root_domain, target\nLIMIT {TOP};"
    )
}

fn nights(report: &Report) -> Vec<Query> {
    let dates: Vec<_> = report.dates().into_iter().map(date).collect();
    let (first, last) = (dates.first(), dates.last());
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let among = if dates.len() == report.days.len() {
        format!("snapshot_date BETWEEN {first} AND {last}")
    } else {
        format!("snapshot_date IN ({})", dates.join(", "))
    };
    let sql = format!(
        "SELECT coalesce(pages, 0), coalesce(backlinks, 0), referring_main_domains_median, rank_median,
       spam_score_median, requests, lower_bound, cost_usd
FROM run_costs LEFT JOIN (
    SELECT snapshot_date, {TOTALS}
    FROM pages
    WHERE matched AND {among}
    GROUP BY snapshot_date
) USING (snapshot_date)
WHERE {among}
ORDER BY snapshot_date DESC;"
    );
    vec![Query::new(
        "nights",
        "What was each night like, and what did it cost?",
        sql,
    )]
}

fn groups(report: &Report) -> Vec<Query> {
    let newest = date(report.date());
    let mut queries = vec![Query::new(
        "domains",
        "What do the pages of each root domain amount to?",
        format!(
            "SELECT {GROUP}
FROM pages
WHERE matched AND snapshot_date = {newest}
GROUP BY root_domain
ORDER BY backlinks DESC, root_domain
LIMIT {DOMAINS};"
        ),
    )];
    for (number, column) in super::groups::columns(report).into_iter().enumerate() {
        let name = sql_text(column.name);
        queries.push(Query::new(
            format!("labels-{number}"),
            format!("What do the pages of each {} amount to?", column.name),
            format!(
                "WITH line AS (
    SELECT DISTINCT root_domain, target, labels[{name}] AS label
    FROM targets
    WHERE snapshot_date = {newest} AND fate <> 'invalid' AND labels[{name}] IS NOT NULL
)
SELECT {GROUP}
FROM line JOIN pages USING (root_domain, target)
WHERE matched AND snapshot_date = {newest}
GROUP BY label
ORDER BY pages DESC, label
LIMIT {};",
                column.rows.len()
            ),
        ));
    }
    queries
}

fn profile(report: &Report) -> Vec<Query> {
    let newest = date(report.date());
    let [watch, bad] = SPAM_BANDS;
    let width = most_rank(&report.manifest) / RANK_BARS;
    let last = RANK_BARS - 1;
    let mut queries = vec![
        Query::new(
            "ranks",
            "How many pages have which rank?",
            format!(
                "SELECT least(rank // {width}, {last}) AS part, count(*) AS pages
FROM pages
WHERE matched AND rank IS NOT NULL AND snapshot_date = {newest}
GROUP BY part
ORDER BY part;"
            ),
        ),
        Query::new(
            "spam",
            "How many pages are in which spam band?",
            format!(
                "SELECT count(*) FILTER (backlinks_spam_score < {watch}),
       count(*) FILTER (backlinks_spam_score BETWEEN {watch} AND {}),
       count(*) FILTER (backlinks_spam_score >= {bad})
FROM pages
WHERE matched AND snapshot_date = {newest};",
                bad - 1
            ),
        ),
    ];
    if let Some(from) = report
        .dates()
        .first()
        .filter(|first| **first != report.date())
    {
        let from = date(*from);
        for dimension in super::profile::dimensions(report) {
            queries.push(Query::new(
                format!("shares-{}", dimension.name),
                format!("How did the links shift by {}?", dimension.title),
                format!(
                    "WITH in_both AS (
    SELECT root_domain, target FROM targets WHERE snapshot_date = {from} AND fate = 'returned'
    INTERSECT
    SELECT root_domain, target FROM targets WHERE snapshot_date = {newest} AND fate = 'returned'
)
SELECT coalesce(sum(links) FILTER (snapshot_date = {from}), 0)::BIGINT AS before,
       coalesce(sum(links) FILTER (snapshot_date = {newest}), 0)::BIGINT AS after
FROM breakdowns SEMI JOIN in_both USING (root_domain, target)
WHERE dimension = '{}' AND snapshot_date IN ({from}, {newest})
GROUP BY key
ORDER BY after DESC, before DESC, key
LIMIT {};",
                    dimension.name,
                    dimension.rows.len()
                ),
            ));
        }
    }
    queries
}
