//! The contracts that one pipeline uses.

use std::sync::Arc;

use super::built_in::BUILT_IN;
use super::definition::Contract;
use super::table::Table;

/// The contracts that a pipeline uses, one per table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Contracts([Arc<Contract>; 4]);

impl Default for Contracts {
    /// The built-in contracts.
    fn default() -> Self {
        Self(BUILT_IN.clone())
    }
}

impl Contracts {
    /// The contract of a table.
    #[must_use]
    pub fn of(&self, table: Table) -> &Arc<Contract> {
        &self.0[table as usize]
    }

    /// Replaces a contract by a later version.
    ///
    /// # Errors
    /// A description of the problem if the contract does not follow the current one: see [`Contract::follows`].
    pub fn adopt(&mut self, later: Contract) -> Result<(), String> {
        if later.table != Table::Pages.name() {
            return Err(format!(
                "this is a contract of `{}`, but only `pages` can adopt fields: backlake computes the other tables",
                later.table
            ));
        }
        let current = &mut self.0[Table::Pages as usize];
        later.follows(current)?;
        *current = Arc::new(later);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ColumnType, ItemType};

    #[test]
    fn a_later_version_keeps_every_column_and_adds_item_fields_after_them() {
        let v1 = Table::Pages.contract();
        let later = |text: String| Contract::parse(&text).unwrap();
        let v2 = v1.text().replace("\nversion = 1", "\nversion = 2");
        let adopted = format!(
            "{v2}\n{}",
            v1.adopting("page_authority", ItemType::Int64).unwrap()
        );
        assert_eq!(later(adopted.clone()).follows(v1), Ok(()));
        let mut contracts = Contracts::default();
        contracts.adopt(later(adopted.clone())).unwrap();
        assert_eq!(contracts.of(Table::Pages).id(), "pages.v2");
        for (text, complaint) in [
            (
                v1.text().to_owned(),
                "version 1 is not later than version 1",
            ),
            (
                v2.replace("\nname = \"rank\"", "\nname = \"page_rank\""),
                "column 6 is not `rank`",
            ),
            (
                v2.replace(
                    "sort = [\"root_domain\", \"target\"]",
                    "sort = [\"target\"]",
                ),
                "not sorted by root_domain",
            ),
            (
                adopted.replace("page_authority", "backlinks"),
                "`backlinks` repeats",
            ),
            (
                adopted.replace("item = \"page_authority\"", "source = \"backlake\""),
                "column `page_authority` is new",
            ),
            (adopted.replace("since = 2", "since = 1"), "`since = 2`"),
        ] {
            let refused = later(text).follows(v1).unwrap_err();
            assert!(refused.contains(complaint), "{refused}");
        }
        let refused = contracts
            .adopt(Table::Targets.contract().clone())
            .unwrap_err();
        assert!(refused.contains("only `pages`"), "{refused}");
    }

    #[test]
    fn a_type_that_is_unknown_or_that_no_item_has_is_rejected_with_what_is_allowed() {
        let text = Table::Pages.contract().text();
        let adopted = format!(
            "{text}\n{}",
            Table::Pages
                .contract()
                .adopting("x", ItemType::Int64)
                .unwrap()
        );
        for (kind, complaint) in [
            (
                ColumnType::Bool.name(),
                "items only fill columns of type utf8",
            ),
            ("uint8", "expected one of `utf8`, `int64`"),
        ] {
            let changed = adopted.replace("item = \"x\"", "item = \"x\"\nsource = \"\"");
            let (start, end) = changed.rsplit_once("type = \"int64\"").unwrap();
            let refused = Contract::parse(&format!("{start}type = \"{kind}\"{end}")).unwrap_err();
            assert!(refused.contains(complaint), "{refused}");
        }
    }
}
