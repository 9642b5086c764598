//! A bad target does not take its batch down: what to ask next after the provider has refused one.

/// How a refused batch is asked again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parts<T> {
    /// It had one target: that is the one refused.
    Alone,
    /// Both parts are asked: the target that the refusal names and the rest, or two halves.
    Two(Vec<T>, Vec<T>),
    /// The refusal names a field beside the targets: a defect.
    OtherField,
}

/// Divides a refused batch by what the refusal says. `text` gives a target as it was posted.
///
/// A target that is named is only suspected: it is asked alone (a refusal costs nothing), so that no innocent one is
/// ever taken for refused.
pub(super) fn split<T: Copy>(targets: &[T], text: impl Fn(T) -> String, message: &str) -> Parts<T> {
    if ["'include_subdomains'", "'rank_scale'", "'tag'"].iter().any(|field| message.contains(field)) {
        return Parts::OtherField;
    }
    if targets.len() < 2 {
        return Parts::Alone;
    }
    // The longest that is found: `example.com` is found wherever `sub.example.com` is.
    let lengths = targets.iter().enumerate().filter_map(|(at, target)| {
        let text = text(*target);
        message.contains(&text).then_some((text.len(), at))
    });
    if let Some((_, at)) = lengths.max() {
        let mut rest = targets.to_vec();
        let named = rest.remove(at);
        return Parts::Two(vec![named], rest);
    }
    let (left, right) = targets.split_at(targets.len() / 2);
    Parts::Two(left.to_vec(), right.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_batch_is_divided_by_what_the_refusal_says() {
        let targets = ["a.com", "b.a.com", "https://a.com/", "https://a.com/b", "https://a.com/b:c"];
        let split = |message: &str| split(&targets, str::to_owned, message);
        let named = |at: usize| {
            let mut rest = targets.to_vec();
            Parts::Two(vec![rest.remove(at)], rest)
        };
        for (at, target) in targets.iter().enumerate() {
            assert_eq!(split(&format!("Invalid Field: 'target' ({target}).")), named(at));
        }
        assert_eq!(
            split("Invalid Field: 'targets'."),
            Parts::Two(targets[..2].to_vec(), targets[2..].to_vec())
        );
        assert_eq!(split("Invalid Field: 'rank_scale'."), Parts::OtherField);
        assert_eq!(super::split(&targets[..1], str::to_owned, "Invalid Field: 'targets'."), Parts::Alone);
    }
}
