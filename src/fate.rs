//! The fate of an input line: every line ends in exactly one, and their counts must add up.

use serde::{Deserialize, Deserializer, Serialize, de};
use strum::IntoStaticStr;

/// What became of an input line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Fate {
    /// The provider returned an item for it.
    Returned,
    /// Asked and paid for, but the response has no such item.
    Absent,
    /// The same canonical target as an earlier line.
    Duplicate,
    /// Breaks the provider's rules; never sent.
    Invalid,
    /// The provider refuses this one target.
    Refused,
    /// All its attempts failed.
    Failed,
    /// Not sent: the run reached its budget or was stopped.
    Unsent,
}

impl Fate {
    /// Every fate, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::Returned,
        Self::Absent,
        Self::Duplicate,
        Self::Invalid,
        Self::Refused,
        Self::Failed,
        Self::Unsent,
    ];

    /// The name in the targets table, the manifest and the reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How many input lines ended in each fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each field is the count of the fate of its name"
)]
pub struct Fates {
    #[serde(deserialize_with = "count")]
    pub returned: u64,
    #[serde(deserialize_with = "count")]
    pub absent: u64,
    #[serde(deserialize_with = "count")]
    pub duplicate: u64,
    #[serde(deserialize_with = "count")]
    pub invalid: u64,
    #[serde(deserialize_with = "count")]
    pub refused: u64,
    #[serde(deserialize_with = "count")]
    pub failed: u64,
    #[serde(deserialize_with = "count")]
    pub unsent: u64,
}

/// The largest count that a stored file may state. Sums of such counts never overflow.
const MAX_COUNT: u64 = 1 << 48;

/// Reads a count of a stored file. One that is impossible makes the file a damaged one.
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let count = u64::deserialize(from)?;
    if count > MAX_COUNT {
        return Err(de::Error::custom(format!("{count} is an impossible count")));
    }
    Ok(count)
}

/// Reads a count that may be unknown.
pub(crate) fn known_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Count(#[serde(deserialize_with = "count")] u64);

    let found = Option::<Count>::deserialize(from)?;
    Ok(found.map(|Count(count)| count))
}

impl Fates {
    /// The count of one fate, to be changed.
    pub fn of_mut(&mut self, fate: Fate) -> &mut u64 {
        match fate {
            Fate::Returned => &mut self.returned,
            Fate::Absent => &mut self.absent,
            Fate::Duplicate => &mut self.duplicate,
            Fate::Invalid => &mut self.invalid,
            Fate::Refused => &mut self.refused,
            Fate::Failed => &mut self.failed,
            Fate::Unsent => &mut self.unsent,
        }
    }

    /// The count of one fate.
    #[must_use]
    pub fn of(&self, fate: Fate) -> u64 {
        *self.clone().of_mut(fate)
    }

    /// The sum over all fates. It must equal the number of input lines.
    #[must_use]
    pub fn total(&self) -> u64 {
        Fate::ALL.iter().map(|&fate| self.of(fate)).sum()
    }
}
