//! Reads in the message of a refusal which target it names.

/// What a refusal says about the targets of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accused {
    /// The refusal names the target at this index. It is only a suspect until it is refused alone,
    /// because the text may be misread.
    Target(usize),
    /// The refusal names no target.
    Unnamed,
    /// The refusal names a field that is not a target: a defect of this program.
    OtherField,
}

/// Reads the message of a refusal. `targets` are the targets of the batch as they were posted.
pub(super) fn accused(targets: impl Iterator<Item = impl AsRef<str>>, message: &str) -> Accused {
    // The field is before the parenthesis, the target inside it, and a target may contain any text.
    let field = message.split('(').next().unwrap_or_default();
    if ["'include_subdomains'", "'rank_scale'", "'tag'"]
        .iter()
        .any(|name| field.contains(name))
    {
        return Accused::OtherField;
    }
    // The longest match counts: a message with `sub.example.com` contains `example.com`, too.
    let lengths = targets.enumerate().filter_map(|(at, text)| {
        let text = text.as_ref();
        message.contains(text).then_some((text.len(), at))
    });
    lengths
        .max()
        .map_or(Accused::Unnamed, |(_, at)| Accused::Target(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_accuses_the_target_that_it_names() {
        let texts = [
            "a.com",
            "b.a.com",
            "https://a.com/",
            "https://a.com/b",
            "https://a.com/b:c",
        ];
        let accused = |message: &str| accused(texts.iter(), message);
        for (at, target) in texts.iter().enumerate() {
            assert_eq!(
                accused(&format!("Invalid Field: 'target' ({target}).")),
                Accused::Target(at)
            );
        }
        assert_eq!(accused("Invalid Field: 'targets'."), Accused::Unnamed);
        assert_eq!(accused("Invalid Field: 'rank_scale'."), Accused::OtherField);
        assert_eq!(
            accused("40501 Invalid Field: 'target' (https://x.com/a'tag'b)."),
            Accused::Unnamed
        );
    }
}
