//! Every key of the pipeline file: type, default, allowed values and meaning.
//!
//! The parser takes bounds and defaults of numbers from here, and `key_docs` generates
//! `docs/configuration.md` and the output of `backlake config` from [`KEYS`], so the documentation
//! and the program cannot disagree.

use std::ops::RangeInclusive;

use crate::fetch::LISTED_AFTER;
use crate::provider::{MAX_IN_FLIGHT as API_IN_FLIGHT, MAX_REQUESTS_PER_MINUTE, SERVER_TIMEOUT};

/// The name of a key and the whole numbers that it allows.
pub(super) struct Bounded {
    pub(super) key: &'static str,
    pub(super) range: RangeInclusive<u32>,
}

/// A whole number with a default.
pub(super) struct Whole {
    pub(super) bounds: Bounded,
    pub(super) default: u32,
}

/// A number from zero to `max` with a default.
pub(super) struct Ratio {
    pub(super) key: &'static str,
    pub(super) max: f64,
    pub(super) default: f64,
}

const fn whole(key: &'static str, range: RangeInclusive<u32>, default: u32) -> Whole {
    let bounds = Bounded { key, range };
    Whole { bounds, default }
}

const fn ratio(key: &'static str, max: f64, default: f64) -> Ratio {
    Ratio { key, max, default }
}

const SERVER_SECONDS: u32 = SERVER_TIMEOUT.as_secs() as u32;
const LISTED_SECONDS: u32 = LISTED_AFTER.as_secs() as u32;
/// A week.
const MOST_MINUTES: u32 = 7 * 24 * 60;
/// A tebibyte.
const MOST_MEMORY_MIB: u32 = 1 << 20;

pub(super) const MAX_LIST_MIB: Whole = whole("targets.max_list_mib", 1..=MOST_MEMORY_MIB, 1024);
pub(super) const RETRY_REFUSED_AFTER_DAYS: Whole =
    whole("targets.retry_refused_after_days", 0..=3650, 30);
pub(super) const SKIP_LINES: Whole = whole("targets.skip_lines", 0..=1_000_000, 0);
pub(super) const MAX_INVALID_RATIO: Ratio = ratio("targets.max_invalid_ratio", 1.0, 0.2);
/// The number of invalid lines from which the default of [`MAX_INVALID_RATIO`] applies.
pub(super) const FEW_INVALID: u64 = 10;
pub(super) const MAX_IN_FLIGHT: Whole =
    whole("api.max_in_flight", 1..=API_IN_FLIGHT, API_IN_FLIGHT);
pub(super) const REQUESTS_PER_MINUTE: Whole =
    whole("api.requests_per_minute", 1..=MAX_REQUESTS_PER_MINUTE, 2000);
pub(super) const TIMEOUT_SECONDS: Whole = whole(
    "api.timeout_seconds",
    SERVER_SECONDS + 1..=3600,
    SERVER_SECONDS + 30,
);
pub(super) const STALL_SECONDS: Whole = whole("api.stall_seconds", 5..=600, 60);
pub(super) const DRAIN_SECONDS: Whole = whole("api.drain_seconds", 1..=3600, 60);
pub(super) const LISTED_AFTER_SECONDS: Whole =
    whole("api.listed_after_seconds", 1..=3600, LISTED_SECONDS);
pub(super) const MAX_RESPONSE_MIB: Whole = whole("api.max_response_mib", 1..=1024, 256);
pub(super) const MAX_ATTEMPTS: Whole = whole("api.max_attempts", 1..=20, 8);
pub(super) const MAX_MINUTES: Bounded = Bounded {
    key: "budget.max_minutes",
    range: 1..=MOST_MINUTES,
};
pub(super) const FILE_MIB: Whole = whole("lake.file_mib", 1..=4096, 256);
pub(super) const RETRY_MINUTES: Whole = whole("lake.retry_minutes", 0..=MOST_MINUTES, 10);
pub(super) const MEMORY_MIB: Whole = whole("lake.memory_mib", 256..=MOST_MEMORY_MIB, 1024);
pub(super) const MAX_FAILED_RATIO: Ratio = ratio("publish.max_failed_ratio", 1.0, 0.0);
pub(super) const MAX_ROW_CHANGE: Ratio = ratio("publish.max_row_change", 100.0, 0.5);
pub(super) const MAX_NULL_CHANGE: Ratio = ratio("publish.max_null_change", 1.0, 0.1);
pub(super) const MAX_TOTAL_CHANGE: Ratio = ratio("publish.max_total_change", 100.0, 0.5);
pub(super) const GRACE_MINUTES: Whole = whole("publish.grace_minutes", 0..=MOST_MINUTES, 0);
pub(super) const ALERT_NIGHTS: Whole = whole("alerts.nights", 2..=90, 28);
pub(super) const QUIET_NIGHTS: Whole = whole("alerts.quiet_nights", 0..=90, 7);
pub(super) const MAX_AGE_HOURS: Whole = whole("alerts.max_age_hours", 1..=8760, 36);
pub(super) const MIN_Z: Ratio = ratio("alerts.min_z", 100.0, 5.0);
pub(super) const MIN_DOMAINS: Whole = whole("alerts.min_domains", 1..=1_000_000, 5);
pub(super) const MIN_CHANGE: Ratio = ratio("alerts.min_change", 1.0, 0.1);
pub(super) const MIN_SLOW_CHANGE: Ratio = ratio("alerts.min_slow_change", 1.0, 0.3);
pub(super) const MIN_SHARE_CHANGE: Ratio = ratio("alerts.min_share_change", 1.0, 0.1);

/// A key of the pipeline file.
pub(super) struct Key {
    /// The name, after that of its table and a dot: `api.max_in_flight`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Fallback,
    pub(super) meaning: &'static str,
}

/// The type of a value.
pub(super) enum Kind {
    Text,
    TextOrNumber,
    Texts,
    Date,
    Flag,
    Dollars,
    /// A whole number without an upper bound.
    Number,
    OneOf(&'static [&'static str]),
    /// A list of some of these.
    Choices(&'static [&'static str]),
    Within(RangeInclusive<u32>),
    UpTo(f64),
}

/// The value that applies if the key is absent.
pub(super) enum Fallback {
    /// The key must be there; an example as TOML.
    Required(&'static str),
    /// This value, as TOML.
    Value(&'static str),
    /// This whole number.
    Number(u32),
    /// This ratio.
    Ratio(f64),
    /// No value: what applies instead, and an example as TOML.
    Absent(&'static str, &'static str),
}

use Fallback::{Absent, Required, Value};
use Kind::{Choices, Date, Dollars, Flag, Number, OneOf, Text, TextOrNumber, Texts};

/// The names of the rules for alerts.
const RULES: &[&str] = &[
    "unpublished",
    "stale",
    "fates",
    "drift",
    "cost",
    "index_shift",
    "domains_lost",
    "domains_gained",
    "slow_loss",
    "slow_gain",
    "burst",
    "spam",
    "broken",
    "nofollow",
    "page_lost",
];

const fn key(name: &'static str, kind: Kind, default: Fallback, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        meaning,
    }
}

const fn number(whole: Whole, meaning: &'static str) -> Key {
    let Whole { bounds, default } = whole;
    key(
        bounds.key,
        Kind::Within(bounds.range),
        Fallback::Number(default),
        meaning,
    )
}

const fn share(ratio: Ratio, meaning: &'static str) -> Key {
    let Ratio {
        key: name,
        max,
        default,
    } = ratio;
    key(name, Kind::UpTo(max), Fallback::Ratio(default), meaning)
}

const FINDING: Kind = OneOf(&["report", "hold"]);

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("name", Text, Absent("the name of the file", "\"nightly\""),
        "The name of the pipeline, in manifests and tags: 1 to 60 letters, digits, `_` and `-`. All starts of a snapshot must use the same name."),
    key("endpoint", OneOf(&["backlinks/bulk_pages_summary"]), Value("\"backlinks/bulk_pages_summary\""),
        "The endpoint of the API."),
    key("snapshot", Date, Absent("today in UTC", "\"2026-11-23\""),
        "The date of the snapshot."),

    key("targets.paths", Texts, Required("[\"targets.txt\"]"),
        "The target lists: paths and globs relative to the working directory, `s3://…`, `gs://…` and `az://…` with globs, `https://…`; plain or compressed (`.gz`, `.zst`, or `.zip` with one file). `-` is standard input, and `~/` the home folder. A glob does not match hidden files."),
    key("targets.format", OneOf(&["txt", "csv", "tsv", "ndjson", "json", "xml", "xlsx", "parquet"]), Absent("from the name of each file; `txt` for standard input", "\"csv\""),
        "The format of the lists. `json` is an array of texts or objects, `xml` a sitemap or an index of sitemaps in the same folder. Text is UTF-8, or UTF-16 with a byte order mark."),
    key("targets.column", TextOrNumber, Absent("the column with a well-known name, such as `url`, `target`, `address`, `page` or `domain`, if there is exactly one", "\"url\""),
        "The column that holds the target: its name, exactly or else without regard to case, white space and Unicode form, or its number from 1."),
    key("targets.delimiter", OneOf(&[",", ";", "\\t", "|"]), Absent("from the header; a tab for `tsv`", "\";\""),
        "The field separator of csv and tsv."),
    key("targets.header", Flag, Value("true"),
        "Whether csv, tsv and xlsx have a header. Without one, `column` and `keep` are numbers."),
    number(SKIP_LINES,
        "How many lines to skip above the header in csv, tsv and xlsx."),
    key("targets.sheet", Text, Absent("the first sheet", "\"Pages\""),
        "The sheet of a workbook."),
    key(MAX_INVALID_RATIO.key, Kind::UpTo(MAX_INVALID_RATIO.max), Absent("0.2, for 10 and more invalid lines", "0.2"),
        "The share of lines that may be invalid. Above it nothing is sent (exit code 2). A value that is set applies to any number of lines: 0.0 allows no invalid line."),
    key("targets.keep", Texts, Absent("no columns", "[\"client\"]"),
        "Columns of the lists to copy into `targets.labels`."),
    key("targets.bare_url", OneOf(&["page", "domain"]), Value("\"page\""),
        "What a URL without a path, such as `https://example.com`, means: that page or the whole domain."),
    key("targets.suffixes", OneOf(&["icann_and_private", "icann"]), Value("\"icann_and_private\""),
        "Which sections of the public suffix list end a root domain. With `icann_and_private`, `a.github.io` and `b.github.io` are two root domains."),
    number(MAX_LIST_MIB,
        "The largest list that is downloaded from a bucket or the web, in MiB."),
    number(RETRY_REFUSED_AFTER_DAYS,
        "For how many days a target that the provider refused is not requested again. 0 requests it in every run."),

    key("request.include_subdomains", Flag, Value("true"),
        "Whether links to the subdomains of a domain count."),
    key("request.rank_scale", OneOf(&["one_thousand", "one_hundred"]), Value("\"one_thousand\""),
        "The scale of ranks: 0 to 1000 or 0 to 100."),

    key("api.base_url", Text, Required("\"https://api.dataforseo.com\""),
        "The provider to ask: `https://api.dataforseo.com`, or `simulator` for the embedded simulator, which invents its data."),
    number(MAX_IN_FLIGHT,
        "The largest number of requests in flight. backlake uses fewer while the provider asks for it."),
    number(REQUESTS_PER_MINUTE,
        "The largest number of requests per minute. The limit of the account applies too."),
    number(TIMEOUT_SECONDS,
        "How long a request may take. The provider itself gives up after 120 seconds."),
    number(STALL_SECONDS,
        "How long a response may pause before it counts as interrupted."),
    number(DRAIN_SECONDS,
        "How long requests in flight may continue after a signal asked the run to stop."),
    number(LISTED_AFTER_SECONDS,
        "How long after a request the provider's task list must show it. A request that is missing then was not charged."),
    number(MAX_RESPONSE_MIB,
        "The largest response, decompressed, in MiB."),
    number(MAX_ATTEMPTS,
        "How often a batch is sent when the server fails without charging."),

    key("simulator.seed", Number, Value("1"),
        "The seed of the simulator's population. Used only with `base_url = \"simulator\"`."),
    key("simulator.latency_ms", Number, Value("0"),
        "How long the simulator takes to respond, in milliseconds."),
    key("simulator.stories", Flag, Value("false"),
        "Whether something happens in the simulated data: seasons, link attacks, moved sites, dying pages, updates of the index."),

    key("price.per_request_usd", Dollars, Absent("the price of the account", "0.024"),
        "The price of a request, for `plan` and the budget. Set both prices or neither."),
    key("price.per_row_usd", Dollars, Absent("the price of the account", "0.000036"),
        "The price of a returned row."),

    key("budget.max_cost_usd", Dollars, Absent("no limit", "25.00"),
        "The most that a snapshot may cost over all its starts. A request is sent only if the rest of this amount covers it."),
    key("budget.max_minutes", Kind::Within(MAX_MINUTES.range), Absent("no limit", "240"),
        "For how many minutes each start may send requests."),

    key("lake.url", Text, Required("\"lake\""),
        "The lake: a path, or `s3://bucket/folder`, `gs://…`, `az://…`."),
    key("lake.table_formats", Choices(&["delta", "iceberg"]), Value("[]"),
        "Table formats for readers of the same Parquet files: `delta` gives each table a Delta log, `iceberg` an Iceberg table."),
    key("lake.contracts", Texts, Absent("the built-in contracts", "[\"pages.v2.toml\"]"),
        "Files with later versions of the built-in contracts, which add columns for new fields."),
    number(FILE_MIB,
        "The size at which a file of a table is closed, in MiB."),
    number(MEMORY_MIB,
        "The memory that publishing may use, in MiB, target list included (about 90 bytes per line)."),
    number(RETRY_MINUTES,
        "How long to retry if the lake fails, in minutes. Until it works again, no request is sent, and paid responses wait in memory."),

    key("run.continue_open", OneOf(&["report", "first"]), Value("\"report\""),
        "What `run` does if yesterday's snapshot is open: report it, or continue it before today's. Each of the two snapshots has its own full budget."),

    share(MAX_FAILED_RATIO,
        "The share of targets that may fail in a published snapshot. Above it the snapshot is held (exit code 5)."),
    key("publish.on_drift", FINDING, Value("\"report\""),
        "What to do if responses differ from the contract: unknown fields, missing fields, values of another type. `hold` holds the snapshot until `--accept`."),
    key("publish.on_change", FINDING, Value("\"report\""),
        "What to do if the snapshot differs from the previous one by more than the following three keys allow."),
    share(MAX_ROW_CHANGE,
        "The largest change in the number of rows, as a share of the previous number."),
    share(MAX_NULL_CHANGE,
        "The largest change in the share of nulls of a column of `pages`: 0.1 allows a change from 5 % to 15 %."),
    share(MAX_TOTAL_CHANGE,
        "The largest change in the total of a column of counts, as a share of the previous total."),
    key("publish.success_file", Flag, Value("false"),
        "Whether to write an empty `_SUCCESS` file into each partition."),
    number(GRACE_MINUTES,
        "How long a start that replaces a snapshot waits before it deletes the replaced files, in minutes, so that queries that have read the old manifest can finish. A plain glob sees both snapshots until then."),
    key("publish.report", Flag, Value("false"),
        "Whether to write `_reports/<date>.html` into the lake, the page of `backlake report`. If that fails, the run warns and its exit code stays the same."),

    key("alerts.enabled", Flag, Value("true"),
        "Whether `run` looks for what needs attention after it has published a snapshot, and keeps it in `_alerts/<date>.json`. [alerts.md](alerts.md) has the rules. If that fails, the run warns and its exit code stays the same."),
    number(ALERT_NIGHTS,
        "How many nights a snapshot is compared with."),
    number(QUIET_NIGHTS,
        "For how many nights an alert is quiet once it was told, unless it gets twice as bad."),
    number(MAX_AGE_HOURS,
        "How old the newest snapshot may be, in hours."),
    share(MIN_Z,
        "The smallest robust z-score of a change in referring main domains."),
    number(MIN_DOMAINS,
        "The smallest change in referring main domains."),
    share(MIN_CHANGE,
        "The smallest change in referring main domains, as a share of the expected number."),
    share(MIN_SLOW_CHANGE,
        "The smallest change in referring main domains over all nights that happens a few at a time, as a share."),
    share(MIN_SHARE_CHANGE,
        "The smallest move of the share of broken backlinks, of nofollow, or of one top-level domain or country: 0.1 is ten points."),
    key("alerts.off", Choices(RULES), Absent("no rules", "[\"nofollow\"]"),
        "Rules that are switched off, by name."),

    key("notify.url_env", Text, Absent("no webhook", "\"BACKLAKE_NOTIFY_URL\""),
        "The environment variable that holds the URL of a webhook, which is told how a run ended. The URL is a secret, so it does not belong in this file. If the webhook fails, the run warns and its exit code stays the same."),
    key("notify.format", OneOf(&["json", "slack"]), Value("\"json\""),
        "What the webhook is sent: fields for programs, or a message for Slack and chats that take its messages."),
    key("notify.on", Choices(&["finished", "held", "failed", "alerts"]), Absent("all of them", "[\"held\", \"failed\", \"alerts\"]"),
        "When the webhook is told. A run that gives way to another process (6) or that was stopped (130, 143) tells nothing."),

    key("lineage.file", Text, Absent("no file", "\"lineage.ndjson\""),
        "A file to which OpenLineage events are appended, one per line: START, then COMPLETE or FAIL."),
    key("lineage.url", Text, Absent("no server", "\"https://lineage.example.com/api/v1/lineage\""),
        "A server to which the events are sent, with the token in `OPENLINEAGE_API_KEY`, if it is set. A server that fails changes nothing."),
];

impl Key {
    /// The key of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The table and the name in it; the table is empty for keys at the top of the file.
    pub(super) fn path(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// A line to write, with the default or an example: `[lake] url = "lake"`.
    pub(super) fn line(&self) -> String {
        let value = self.default.example();
        match self.path() {
            ("", name) => format!("{name} = {value}"),
            (table, name) => format!("[{table}] {name} = {value}"),
        }
    }
}

impl Fallback {
    /// A value to write, as TOML: the default, or an example if there is none.
    pub(super) fn example(&self) -> String {
        match self {
            Required(toml) | Value(toml) | Absent(_, toml) => (*toml).to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Ratio(ratio) => format!("{ratio:.1}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Rule;
    use crate::clock::Clock;
    use crate::fetch::RetryPolicy;
    use crate::pipeline::{Overrides, Pipeline};

    #[test]
    fn every_rule_for_alerts_can_be_switched_off() {
        assert_eq!(RULES, Rule::ALL.map(Rule::name));
    }

    /// A pipeline file in which only the required keys and `more` are set.
    fn file(more: Option<(&Key, &str)>) -> String {
        let mut tables: std::collections::BTreeMap<&str, String> = Default::default();
        let mut set = |key: &Key, value: &str| {
            let (table, name) = key.path();
            *tables.entry(table).or_default() += &format!("{name} = {value}\n");
        };
        for key in KEYS {
            match (&key.default, more) {
                (_, Some((more, value))) if more.name == key.name => set(key, value),
                (Required(example), _) => set(key, example),
                _ => {}
            }
        }
        let tables = tables.into_iter().map(|(table, lines)| match table {
            "" => lines,
            table => format!("[{table}]\n{lines}"),
        });
        tables.collect()
    }

    fn parse(text: &str) -> crate::error::Result<Pipeline> {
        let clock = Clock::simulated(chrono::DateTime::UNIX_EPOCH);
        Pipeline::parse("test.toml", text, Overrides::default(), &clock)
    }

    #[tokio::test]
    async fn a_documented_default_is_what_an_absent_key_means() {
        let bare = format!("{:?}", parse(&file(None)).unwrap());
        for key in KEYS {
            if !matches!(key.default, Absent(..)) {
                let text = file(Some((key, &key.default.example())));
                assert_eq!(format!("{:?}", parse(&text).unwrap()), bare, "{}", key.name);
            }
        }
        assert_eq!(MAX_ATTEMPTS.default, RetryPolicy::default().max_attempts);
    }

    #[tokio::test]
    async fn documented_values_are_allowed_and_all_others_refused() {
        for key in KEYS {
            let accepts = |value: &str| parse(&file(Some((key, value)))).is_ok();
            match &key.kind {
                OneOf(choices) => {
                    for choice in *choices {
                        assert!(accepts(&format!("\"{choice}\"")), "{} {choice}", key.name);
                    }
                    assert!(!accepts("\"other\""), "{}", key.name);
                }
                Choices(choices) => {
                    for choice in *choices {
                        assert!(accepts(&format!("[\"{choice}\"]")), "{} {choice}", key.name);
                    }
                    assert!(accepts("[]") && !accepts("[\"other\"]"), "{}", key.name);
                    assert!(!accepts(&format!("\"{}\"", choices[0])), "{}", key.name);
                }
                Kind::Within(range) => {
                    let (min, max) = (i64::from(*range.start()), i64::from(*range.end()));
                    assert!(accepts(&min.to_string()) && accepts(&max.to_string()));
                    assert!(!accepts(&(min - 1).to_string()), "{}", key.name);
                    assert!(!accepts(&(max + 1).to_string()), "{}", key.name);
                }
                Kind::UpTo(max) => {
                    assert!(
                        accepts("0.0") && accepts(&format!("{max:.1}")),
                        "{}",
                        key.name
                    );
                    assert!(!accepts("-0.1") && !accepts(&format!("{:.1}", max + 0.1)));
                }
                // Both prices belong together.
                Dollars if key.name.starts_with("price.") => {}
                Dollars => {
                    for amount in ["25", "25.5", "\"25.50\"", "0"] {
                        assert!(accepts(amount), "{} {amount}", key.name);
                    }
                    assert!(!accepts("-1") && !accepts("\"much\"") && !accepts("nan"));
                }
                Text | TextOrNumber | Texts | Date | Flag | Number => {
                    assert!(!accepts("1.5"), "{}", key.name);
                }
            }
        }
    }

    #[tokio::test]
    async fn every_key_that_the_parser_takes_is_documented() {
        let mut tables: Vec<&str> = KEYS.iter().map(|key| key.path().0).collect();
        tables.dedup();
        let top = tables.iter().copied().filter(|table| !table.is_empty());
        for table in &tables {
            // The message about an unknown key lists the keys that exist.
            let text = match *table {
                "" => format!("nonsense = 1\n{}", file(None)),
                table => {
                    let (heading, rest) = (format!("[{table}]\n"), file(None));
                    if rest.contains(&heading) {
                        rest.replace(&heading, &format!("{heading}nonsense = 1\n"))
                    } else {
                        format!("{rest}{heading}nonsense = 1\n")
                    }
                }
            };
            let message = parse(&text).unwrap_err().to_string();
            let (_, known) = message.split_once("expected").unwrap();
            let mut known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            let mut documented: Vec<&str> = KEYS
                .iter()
                .map(Key::path)
                .filter(|(of, _)| of == table)
                .map(|(_, name)| name)
                .collect();
            if table.is_empty() {
                documented.extend(top.clone());
            }
            known.sort_unstable();
            documented.sort_unstable();
            assert_eq!(known, documented, "{message}");
        }
    }
}
