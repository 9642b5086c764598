//! The built-in contracts: `schemas/*.toml`, compiled into the program, in the order of
//! [`Table::ALL`](super::Table::ALL).

use std::sync::{Arc, LazyLock};

use super::definition::Contract;

pub(super) static BUILT_IN: LazyLock<[Arc<Contract>; 4]> = LazyLock::new(|| {
    [
        include_str!("../../schemas/pages.v1.toml"),
        include_str!("../../schemas/breakdowns.v1.toml"),
        include_str!("../../schemas/targets.v1.toml"),
        include_str!("../../schemas/requests.v1.toml"),
    ]
    .map(|text| {
        #[expect(
            clippy::expect_used,
            reason = "the text is compiled in and a test reads it, so a mistake never ships"
        )]
        Arc::new(Contract::parse(text).expect("a contract that is compiled in"))
    })
});
