//! The error of a response that cannot be flattened.

use arrow::error::ArrowError;
use thiserror::Error;

use crate::provider::Malformed;

/// Why a response could not be flattened.
#[derive(Debug, Error)]
pub enum FlattenError {
    /// The body is not complete JSON, or its nesting is deeper than in any response.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The columns do not match the contract, which is a defect of backlake.
    #[error("the columns do not match the contract: {0}")]
    Contract(#[from] ArrowError),
}
