//! Hosts: which names are valid, and which root domain a host belongs to.
//!
//! Root domains follow the public suffix list of the `psl` crate.

use psl::{List, Psl, Type};

use super::rules::{Invalid, SuffixList};

/// Checks that a host is a DNS name of two or more labels, `_` included. The `url` crate accepts
/// more.
pub(super) fn check_host(host: &str) -> Result<(), Invalid> {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if host.is_empty() {
        Err(Invalid::EmptyHost)
    } else if host.len() > 253 || !host.split('.').all(fits) {
        Err(Invalid::BadHost {
            host: shortened(host),
        })
    } else if !host.contains('.') {
        Err(Invalid::SingleLabel {
            host: host.to_owned(),
        })
    } else {
        Ok(())
    }
}

/// Accepts an IPv4 address only in dotted decimal form. The URL standard also reads `12345` as one.
pub(super) fn check_address(address: &str, written: &str) -> Result<(), Invalid> {
    match written.trim_end_matches('.') {
        written if written == address => Ok(()),
        written if !written.contains('.') => Err(Invalid::SingleLabel {
            host: shortened(written),
        }),
        written => Err(Invalid::BadHost {
            host: shortened(written),
        }),
    }
}

/// The part of a URL between `//` and the path, as written: user info, host and port.
pub(super) fn authority(url: &str) -> &str {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '\\', '?', '#']).next().unwrap_or_default()
}

/// The first characters of a host or scheme, for messages.
pub(super) fn shortened(host: &str) -> String {
    host.chars().take(120).collect()
}

/// The root domain of a host: the public suffix and one more label. A host that is itself a public
/// suffix is its own root domain.
pub(super) fn root_domain(host: &str, suffixes: SuffixList) -> &str {
    let Some(mut suffix) = List.suffix(host.as_bytes()) else {
        return host;
    };
    if suffixes == SuffixList::Icann {
        // The ICANN suffix is part of the private one: look up what remains without the first
        // label.
        while suffix.typ() == Some(Type::Private) {
            let shorter = suffix
                .as_bytes()
                .iter()
                .position(|&b| b == b'.')
                .map(|dot| &suffix.as_bytes()[dot + 1..]);
            match shorter.and_then(|rest| List.suffix(rest)) {
                Some(outer) => suffix = outer,
                None => break,
            }
        }
    }
    let before = host.len() - suffix.as_bytes().len();
    if before == 0 {
        return host;
    }
    let label = host[..before - 1].rfind('.').map_or(0, |dot| dot + 1);
    &host[label..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn private_suffixes_never_merge_two_icann_root_domains(
            left in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
            right in "([a-z]{1,3}\\.){0,2}(github\\.io|example\\.com|co\\.uk|blogspot\\.com)",
        ) {
            let same = |suffixes| root_domain(&left, suffixes) == root_domain(&right, suffixes);
            if same(SuffixList::IcannAndPrivate) {
                prop_assert!(same(SuffixList::Icann));
            }
        }
    }
}
