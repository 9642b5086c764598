//! The columns that say which target a row belongs to.

use std::sync::Arc;

use arrow::array::builder::{BooleanBuilder, StringBuilder};
use arrow::array::{Array as _, ArrayRef, StringArray};

use crate::targets::{Canonical, Rules, Target, canonical};

/// The columns that say which target a row belongs to.
pub(super) struct TargetColumns {
    pub(super) target: ArrayRef,
    pub(super) kind: ArrayRef,
    pub(super) root_domain: ArrayRef,
    pub(super) matched: ArrayRef,
}

impl TargetColumns {
    /// Builds the columns. A row that matches no target gets the canonical form of its own url.
    pub(super) fn of(
        matches: &[Option<usize>],
        urls: Option<&StringArray>,
        targets: &[Target<'_>],
        rules: &Rules,
    ) -> Self {
        let mut text = StringBuilder::new();
        let mut kind = StringBuilder::new();
        let mut root_domain = StringBuilder::new();
        let mut matched = BooleanBuilder::with_capacity(matches.len());
        for (row, found) in matches.iter().enumerate() {
            matched.append_value(found.is_some());
            if let Some(found) = found {
                let target = &targets[*found];
                text.append_value(&target.text);
                kind.append_value(target.kind.name());
                root_domain.append_value(target.root_domain);
                continue;
            }
            let url = urls
                .filter(|urls| urls.is_valid(row))
                .map(|urls| urls.value(row));
            let own = url.and_then(|url| canonical(url, rules).ok());
            text.append_option(own.as_ref().map(Canonical::text).or(url));
            kind.append_option(own.as_ref().map(|own| own.kind().name()));
            root_domain.append_option(own.as_ref().map(Canonical::root_domain));
        }
        Self {
            target: Arc::new(text.finish()),
            kind: Arc::new(kind.finish()),
            root_domain: Arc::new(root_domain.finish()),
            matched: Arc::new(matched.finish()),
        }
    }
}
