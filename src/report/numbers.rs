//! Numbers and texts as people read them.

use chrono::{Datelike as _, NaiveDate};
use indicatif::HumanCount;
use maud::{Markup, html};

use crate::money::Usd;
use crate::visible::escaped;

/// The sign of a negative number.
const MINUS: char = '\u{2212}';

/// A number with separators, and its exact value for programs.
pub(super) fn count(value: i64) -> Markup {
    html! { data value=(value) { (separated(value)) } }
}

/// The same for a number that is never negative.
pub(super) fn total(value: u64) -> Markup {
    html! { data value=(value) { (HumanCount(value).to_string()) } }
}

/// A number that may be missing.
pub(super) fn known(value: Option<i64>) -> Markup {
    match value {
        Some(value) => count(value),
        None => html! { data value="" { "–" } },
    }
}

/// Dollars with as many digits as the amount has.
pub(super) fn money(amount: Usd) -> Markup {
    html! { data value=(amount) { (usd(&amount.to_string())) } }
}

/// Dollars with all digits that the lake stores, so that the amounts of a column stand below each
/// other.
pub(super) fn dollars(amount: Usd) -> Markup {
    let micros = amount.micros().unsigned_abs();
    let digits = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    html! { data value=(digits) { (usd(&digits)) } }
}

/// `$1,234.50` for `1234.50`.
pub(super) fn usd(digits: &str) -> String {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "00"));
    let whole = whole
        .parse()
        .map_or_else(|_| whole.to_owned(), |whole| HumanCount(whole).to_string());
    format!("${whole}.{part}")
}

/// `1,234`, `−1,234`.
pub(super) fn separated(value: i64) -> String {
    let number = HumanCount(value.unsigned_abs());
    if value < 0 {
        format!("{MINUS}{number}")
    } else {
        number.to_string()
    }
}

/// `+1,234`, `−1,234`, `±0`.
pub(super) fn signed(value: i64) -> String {
    match value {
        0 => "±0".to_owned(),
        1.. => format!("+{}", separated(value)),
        _ => separated(value),
    }
}

/// Whether more of a metric is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

/// A change, with an arrow and a colour.
pub(super) fn change(value: i64, better: Better) -> Markup {
    let arrow = match value {
        0 => "",
        1.. => "▲ ",
        _ => "▼ ",
    };
    html! {
        span class=(tone(value, better)) { (arrow) data value=(value) { (signed(value)) } }
    }
}

/// The class of a change.
pub(super) fn tone(value: i64, better: Better) -> &'static str {
    match (value.signum(), better) {
        (0, _) => "flat",
        (1, Better::More) | (-1, Better::Less) => "good",
        _ => "bad",
    }
}

/// A ratio as a percentage with a sign: `+12.3 %`, `−0.4 %`, `+250 %`.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let sign = match percent {
        0.0 => '±',
        percent if percent < 0.0 => MINUS,
        _ => '+',
    };
    if percent.abs() < 99.95 {
        format!("{sign}{:.1} %", percent.abs())
    } else {
        format!("{sign}{} %", HumanCount(percent.abs().round() as u64))
    }
}

/// A part of a whole as a percentage: `12.3 %`. A small part is never shown as nothing.
pub(super) fn share(part: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return "–".to_owned();
    }
    let percent = part / whole * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.05 => "< 0.1 %".to_owned(),
        percent if (99.95..100.0).contains(&percent) => "> 99.9 %".to_owned(),
        100.0 => "100 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// A date in a chart: `23 Nov`.
pub(super) fn day(date: NaiveDate) -> String {
    format!("{} {}", date.day(), date.format("%b"))
}

/// Foreign text: invisible characters are made visible, and a long text is shortened in the middle.
/// The whole text is in the title.
pub(super) fn foreign(text: &str) -> Markup {
    /// The characters that are shown of a long text at its start and at its end.
    const SHOWN: [usize; 2] = [40, 20];
    let visible = escaped(text);
    let length = visible.chars().count();
    if length <= SHOWN[0] + SHOWN[1] + 1 {
        return html! { bdi { (breakable(&visible)) } };
    }
    let start: String = visible.chars().take(SHOWN[0]).collect();
    let end: String = visible.chars().skip(length - SHOWN[1]).collect();
    html! { bdi title=(visible) { (breakable(&start)) "…" (breakable(&end)) } }
}

/// A text whose lines break after the slashes of a path rather than within a name.
fn breakable(text: &str) -> Markup {
    html! {
        @for part in text.split_inclusive('/') {
            (part)
            @if part.ends_with('/') && part != "/" && !part.ends_with(":/") { wbr; }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_shares_are_never_rounded_to_nothing() {
        assert_eq!(signed(-1_234), "−1,234");
        assert_eq!(signed(0), "±0");
        for (ratio, shown) in [
            (0.123, "+12.3 %"),
            (-0.004, "−0.4 %"),
            (0.0, "±0.0 %"),
            (12.5, "+1,250 %"),
        ] {
            assert_eq!(percent(ratio), shown);
        }
        for (part, shown) in [
            (0.0, "0 %"),
            (1e-6, "< 0.1 %"),
            (0.5, "50.0 %"),
            (0.99999, "> 99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(share(part, 1.0), shown);
        }
        assert_eq!(share(0.0, 0.0), "–");
    }

    #[test]
    fn a_change_has_the_colour_of_what_it_means() {
        for (value, better, expected) in [
            (1, Better::More, "good"),
            (-1, Better::More, "bad"),
            (1, Better::Less, "bad"),
            (-1, Better::Less, "good"),
            (0, Better::Less, "flat"),
        ] {
            assert_eq!(tone(value, better), expected);
        }
    }

    #[test]
    fn foreign_text_cannot_act_and_is_shortened_in_the_middle() {
        let shown = foreign("<b>\u{202e}evil").into_string();
        assert_eq!(shown, "<bdi>&lt;b&gt;\\u{202e}evil</bdi>");
        let long = format!("https://example.com/{}/end", "a".repeat(2_000));
        let shown = foreign(&long).into_string();
        assert!(shown.contains(&format!("title=\"{long}\"")), "{shown}");
        assert!(
            shown.ends_with("aaaaaaaaaaaaaaaa/<wbr>end</bdi>"),
            "{shown}"
        );
    }
}
