//! Numbers of things as people read them: `1 night`, `1,234 nights`.

use indicatif::HumanCount;

/// A number and its noun: `1 file`, `1,234 files`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {}", HumanCount(number), plural(number, noun))
}

/// The noun alone, in the form that the number needs: `file`, `files`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        for (number, expected) in [(0, "0 nights"), (1, "1 night"), (1_234, "1,234 nights")] {
            assert_eq!(counted(number, "night"), expected);
        }
    }
}
