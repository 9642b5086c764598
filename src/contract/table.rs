//! The four tables of the lake and their built-in contracts.

use strum::IntoStaticStr;

use super::built_in::BUILT_IN;
use super::definition::Contract;

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Table {
    /// One row per returned item.
    Pages,
    /// One row per item, dimension and key.
    Breakdowns,
    /// One row per input line, with its fate.
    Targets,
    /// One row per attempt, with its cost.
    Requests,
}

impl Table {
    /// All tables, in the order in which a snapshot is published.
    pub const ALL: [Self; 4] = [Self::Pages, Self::Breakdowns, Self::Targets, Self::Requests];

    /// The name of the table's folder in the lake, also used in contracts and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The table with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The built-in contract.
    #[must_use]
    pub fn contract(self) -> &'static Contract {
        &BUILT_IN[self as usize]
    }

    /// The column whose values the manifest adds up, so that an audit can check the sum; `breakdowns` has none.
    #[must_use]
    pub fn audited_column(self) -> Option<&'static str> {
        match self {
            Self::Pages => Some("matched"),
            Self::Breakdowns => None,
            Self::Targets => Some("fate"),
            Self::Requests => Some("cost_usd"),
        }
    }
}

/// The six maps of an item, in the order of an item's rows in the breakdowns table: the dimension's name, and the field
/// with the map.
pub const DIMENSIONS: [(&str, &str); 6] = [
    ("attribute", "referring_links_attributes"),
    ("country", "referring_links_countries"),
    ("platform_type", "referring_links_platform_types"),
    ("semantic_location", "referring_links_semantic_locations"),
    ("tld", "referring_links_tld"),
    ("type", "referring_links_types"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ColumnType;

    #[test]
    fn every_contract_has_its_table_s_name_and_says_where_each_column_comes_from() {
        for table in Table::ALL {
            let contract = table.contract();
            assert_eq!(contract.table, table.name());
            for key in &contract.sort {
                assert!(
                    contract.schema().index_of(key).is_ok(),
                    "{} is sorted by {key}",
                    contract.table
                );
            }
            for column in &contract.columns {
                assert!(
                    !column.source().is_empty(),
                    "{} does not say where {} comes from",
                    contract.table,
                    column.name
                );
            }
            if let Some(audited) = table.audited_column() {
                assert!(contract.schema().index_of(audited).is_ok(), "{audited}");
            }
        }
    }

    #[test]
    fn every_dimension_is_a_map_of_pages_and_dimensions_are_sorted() {
        assert!(DIMENSIONS.is_sorted());
        for (_, field) in DIMENSIONS {
            let schema = Table::Pages.contract().schema();
            assert_eq!(
                schema.field_with_name(field).unwrap().data_type(),
                &ColumnType::CountsByKey.arrow()
            );
        }
    }
}
