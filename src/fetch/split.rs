//! A bad target does not take its batch down: what to ask next after the provider has refused one.

/// How a refused batch is asked again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parts<T> {
    /// It had one target: that is the one refused.
    Alone(T),
    /// The refusal names one target; the rest is asked again without it.
    Named { refused: T, rest: Vec<T> },
    /// The refusal names none: both halves are asked.
    Halves(Vec<T>, Vec<T>),
    /// The refusal names a field beside the targets: a defect.
    OtherField,
}

/// Divides a refused batch by what the refusal says. `text` gives a target as it was posted.
pub(super) fn split<T: Copy>(targets: &[T], text: impl Fn(T) -> String, message: &str) -> Parts<T> {
    if ["'include_subdomains'", "'rank_scale'", "'tag'"].iter().any(|field| message.contains(field)) {
        return Parts::OtherField;
    }
    if let [alone] = targets {
        return Parts::Alone(*alone);
    }
    let named = |target: &T| {
        let text = text(*target);
        message.match_indices(&text).any(|(at, _)| {
            // Whole, not as the beginning of a longer one.
            let end = message[at + text.len()..].chars().next();
            let start = message[..at].chars().next_back();
            start.is_none_or(|c| !is_part_of_target(c)) && end.is_none_or(|c| !is_part_of_target(c))
        })
    };
    if let Some(at) = targets.iter().position(named) {
        let mut rest = targets.to_vec();
        let refused = rest.remove(at);
        return Parts::Named { refused, rest };
    }
    let (left, right) = targets.split_at(targets.len() / 2);
    Parts::Halves(left.to_vec(), right.to_vec())
}

fn is_part_of_target(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '%' | '?' | '=' | '&' | '~' | '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_batch_is_divided_by_what_the_refusal_says() {
        let targets = ["https://a.com/", "https://a.com/b", "https://a.com/bc"];
        let split = |message: &str| split(&targets, str::to_owned, message);
        assert_eq!(
            split("Invalid Field: 'target' (https://a.com/b)."),
            Parts::Named { refused: targets[1], rest: vec![targets[0], targets[2]] }
        );
        assert_eq!(
            split("Invalid Field: 'targets'."),
            Parts::Halves(vec![targets[0]], targets[1..].to_vec())
        );
        assert_eq!(split("Invalid Field: 'rank_scale'."), Parts::OtherField);
        assert_eq!(
            super::split(&targets[..1], str::to_owned, "Invalid Field: 'targets'."),
            Parts::Alone(targets[0])
        );
    }
}
