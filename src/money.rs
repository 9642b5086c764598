//! US dollars as exact decimals: what a request costs and what a run may spend.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Sub, SubAssign};
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The digits after the point that the lake stores: `decimal(18,6)`, a millionth of a dollar.
pub const SCALE: u32 = 6;

/// An exact amount of US dollars. A sum that no decimal can hold stays at the largest one, because a
/// lake that is damaged must not end the program. An amount is written as a decimal string, also in JSON, so that no
/// reader rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Usd(Decimal);

impl Usd {
    /// No dollars.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// An amount from millionths of a dollar.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(Decimal::from_parts(
            micros.unsigned_abs() as u32,
            (micros.unsigned_abs() >> 32) as u32,
            0,
            micros < 0,
            SCALE,
        ))
    }

    /// The amount in millionths of a dollar, as the lake's `decimal(18,6)` stores it. Smaller parts
    /// are rounded half to even.
    #[must_use]
    pub fn micros(self) -> i128 {
        let mut scaled = self.0.round_dp(SCALE);
        scaled.rescale(SCALE);
        scaled.mantissa()
    }

    /// The amount rounded half to even to a millionth of a dollar, as the lake stores it.
    #[must_use]
    pub fn to_scale(self) -> Self {
        Self(self.0.round_dp(SCALE))
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < Decimal::ZERO
    }

    /// The amount rounded up to whole cents: a budget of it covers the amount.
    #[must_use]
    pub fn up_to_cents(self) -> Self {
        let up = RoundingStrategy::ToPositiveInfinity;
        Self(self.0.round_dp_with_strategy(2, up))
    }

    /// The amount in cents, rounded half to even.
    #[must_use]
    pub fn cents(self) -> i128 {
        let mut scaled = self.0.round_dp(2);
        scaled.rescale(2);
        scaled.mantissa()
    }
}

impl FromStr for Usd {
    type Err = rust_decimal::Error;

    /// Accepts `25`, `25.00` and the exponents that JSON writes for small floats (`3.6e-05`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = if text.contains(['e', 'E']) {
            Decimal::from_scientific(text)
        } else {
            Decimal::from_str(text)
        };
        parsed.map(|amount| Self(amount.normalize()))
    }
}

impl fmt::Display for Usd {
    /// The bare number with at least two digits after the point: `0.06`, `25.00`, `0.000036`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.0.normalize();
        if plain.scale() < 2 {
            write!(f, "{plain:.2}")
        } else {
            write!(f, "{plain}")
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not an amount of dollars; write it as \"25.00\""
            ))
        })
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Mul<u64> for Usd {
    type Output = Self;
    fn mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(Decimal::from(count)))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_written_so_that_no_digit_is_lost() {
        for (given, shown, micros) in [
            ("25", "25.00", 25_000_000),
            ("0.02006", "0.02006", 20_060),
            ("3.6e-05", "0.000036", 36),
            ("0.060", "0.06", 60_000),
        ] {
            let amount: Usd = given.parse().unwrap();
            assert_eq!(
                (amount.to_string().as_str(), amount.micros()),
                (shown, micros),
                "{given}"
            );
        }
    }

    #[test]
    fn an_absurd_amount_never_ends_the_program() {
        for text in [
            "79228162514264337593543950335",
            "-79228162514264337593543950335",
            "1e28",
            "0.0000000000000000000000000001",
        ] {
            let amount: Usd = text.parse().unwrap();
            let sums = [
                amount + amount,
                amount - (Usd::ZERO - amount),
                amount * 1_000_000,
            ];
            for sum in sums {
                let _ = (sum.to_string(), sum.micros(), sum.cents(), sum.to_scale());
            }
        }
        for text in ["", "NaN", "inf", "1e99", "0x1", "1.2.3"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }
}
