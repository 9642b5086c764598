//! What the provider's API is: requests, envelopes, status codes, limits and prices. No policy, no
//! I/O.

mod account;
mod body;
mod each_item;
mod envelope;
mod fields;
mod index;
mod limits;
mod request;
mod spam;
mod status;
mod task_list;
mod walk;

pub use account::{Account, Prices};
pub use body::{Body, Malformed};
pub use each_item::each_item;
pub use envelope::{Envelope, Task};
pub use index::IndexSize;
pub use limits::{
    MAX_DEPTH, MAX_IN_FLIGHT, MAX_REQUESTS_PER_MINUTE, MAX_ROOT_DOMAINS, MAX_TAG, MAX_TARGETS,
    SERVER_TIMEOUT,
};
pub use request::{Endpoint, RankScale, TaskOptions, body};
pub use spam::SPAM_BANDS;
pub use status::{CHECK_THE_WAY, StatusClass, code};
pub use task_list::{ListedTask, MAX_LISTED, TaskListPage};
pub use walk::{PATH, TakeItem, Walk};
