//! Numbers, amounts and times as people read them.

use indicatif::{BinaryBytes, HumanCount};

use crate::money::Usd;

/// A number with separators: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// The same for a number that may be negative.
pub(super) fn signed_count(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", HumanCount(number.unsigned_abs()))
}

/// A size: `1.50 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Dollars and cents: `$1,000,000.00`.
pub(super) fn rounded(amount: Usd) -> String {
    let cents = amount.cents();
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    let dollars = u64::try_from(cents / 100).unwrap_or(u64::MAX);
    format!("{sign}${}.{:02}", HumanCount(dollars), cents % 100)
}

/// All digits of an amount, with separators: `$1,234.056789`.
pub(super) fn exact(amount: Usd) -> String {
    let text = amount.to_string();
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text),
        None => ("", text.as_str()),
    };
    let (dollars, rest) = text.split_once('.').unwrap_or((text, "00"));
    let dollars = dollars.parse().map_or_else(|_| dollars.to_owned(), count);
    format!("{sign}${dollars}.{rest}")
}

/// Dollars and cents of an amount that must not be exceeded: rounded up.
pub(super) fn rounded_up(amount: Usd) -> String {
    rounded(amount.up_to_cents())
}

/// A number of seconds: `12 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_cents_with_separators() {
        for (micros, expected) in [
            (1_000_000_000_000, "$1,000,000.00"),
            (289_848, "$0.29"),
            (-1_500_000, "-$1.50"),
            (4_999, "$0.00"),
        ] {
            assert_eq!(rounded(Usd::from_micros(micros)), expected);
        }
        for (micros, expected) in [
            (1_234_056_789, "$1,234.056789"),
            (-60_000, "-$0.06"),
            (25_000_000, "$25.00"),
        ] {
            assert_eq!(exact(Usd::from_micros(micros)), expected);
        }
        for (micros, expected) in [(24_036, "$0.03"), (30_000, "$0.03"), (0, "$0.00")] {
            assert_eq!(rounded_up(Usd::from_micros(micros)), expected);
        }
    }

    #[test]
    fn durations_have_the_two_largest_units() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(65), "1 min 05 s");
        assert_eq!(duration(7_800), "2 h 10 min");
    }
}
