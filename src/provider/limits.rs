//! The limits that the provider's documentation states, and a few of our own.

use std::time::Duration;

/// Targets in one request.
pub const MAX_TARGETS: usize = 1000;
/// Distinct root domains among the targets of one request.
pub const MAX_ROOT_DOMAINS: usize = 100;
/// Requests of one account in flight at the same time.
pub const MAX_IN_FLIGHT: u32 = 30;
/// Requests of one account per minute.
pub const MAX_REQUESTS_PER_MINUTE: u32 = 10_000;
/// Characters in a tag.
pub const MAX_TAG: usize = 255;
/// How long the provider works on a task before it gives up.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(120);
/// Levels of brackets in a response that this program accepts; a real response has nine.
pub const MAX_DEPTH: usize = 64;
