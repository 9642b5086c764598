//! The bands of spam scores.

/// The spam scores, of 0 to 100, at which the provider's next band begins.
pub const SPAM_BANDS: [i64; 2] = [31, 61];
