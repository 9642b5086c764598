//! What the provider's API is: requests, envelopes, status codes, limits and prices. No policy, no I/O.

mod account;
mod envelope;
mod id_list;
mod request;
mod status;
mod walk;

use std::time::Duration;

pub use account::{Account, Prices};
pub use envelope::{Envelope, Malformed, Task};
pub use id_list::{IdList, Listed, MAX_LISTED};
pub use request::{Endpoint, RankScale, TaskOptions, body};
pub use status::{StatusClass, code};
pub use walk::{PATH, TakeItem, Walk};

/// The provider's live host.
pub const BASE_URL: &str = "https://api.dataforseo.com";
/// Targets in one request at the most.
pub const MAX_TARGETS: usize = 1000;
/// Root domains among them at the most.
pub const MAX_ROOT_DOMAINS: usize = 100;
/// Requests of one account under way at once.
pub const MAX_IN_FLIGHT: u32 = 30;
/// Requests of one account a minute.
pub const MAX_REQUESTS_PER_MINUTE: u32 = 10_000;
/// Characters in a tag at the most.
pub const MAX_TAG: usize = 255;
/// How long the provider works on a task before it gives up.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(120);
/// Levels of brackets in an answer at the most; a real one has nine.
pub const MAX_DEPTH: usize = 64;
