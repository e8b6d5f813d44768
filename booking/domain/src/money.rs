//! Money: integer minor units of one currency, with checked arithmetic.
//!
//! No float and no decimal: an amount is exact or it is an error.

use std::fmt;

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

/// Why an amount could not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Beyond 64 bits of minor units.
    #[error("the amount is too large")]
    Overflow,
    /// Two currencies in one sum.
    #[error("{left} and {right} cannot be added")]
    Currency {
        /// One of them.
        left: Currency,
        /// The other.
        right: Currency,
    },
    /// A price below zero.
    #[error("a price cannot be negative")]
    Negative,
}

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    amount: i64,
    currency: Currency,
}

impl Money {
    /// From minor units.
    #[must_use]
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// Nothing.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    /// Minor units.
    #[must_use]
    pub const fn amount(self) -> i64 {
        self.amount
    }

    /// The currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum.
    ///
    /// # Errors
    /// When the currencies differ or the sum overflows.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Currency { left: self.currency, right: other.currency });
        }
        let amount = self.amount.checked_add(other.amount).ok_or(MoneyError::Overflow)?;
        Ok(Self { amount, ..self })
    }

    /// So many times the amount.
    ///
    /// # Errors
    /// When the product overflows.
    pub fn times(self, quantity: u32) -> Result<Self, MoneyError> {
        let amount = self.amount.checked_mul(i64::from(quantity)).ok_or(MoneyError::Overflow)?;
        Ok(Self { amount, ..self })
    }

    /// The sum of many, `zero` when there are none.
    ///
    /// # Errors
    /// See [`Money::plus`].
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::plus)
    }
}

impl fmt::Display for Money {
    /// `45.00 EUR`, with as many decimals as the currency has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.currency.exponent().unwrap_or(0));
        let unit = 10u64.pow(self.currency.exponent().unwrap_or(0).into());
        let sign = if self.amount < 0 { "-" } else { "" };
        let (whole, rest) = (self.amount.unsigned_abs() / unit, self.amount.unsigned_abs() % unit);
        if decimals == 0 {
            write!(f, "{sign}{whole} {}", self.currency.code())
        } else {
            write!(f, "{sign}{whole}.{rest:0decimals$} {}", self.currency.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_written_with_their_currency_s_decimals() {
        for (amount, currency, text) in [
            (4500, Currency::EUR, "45.00 EUR"),
            (-5, Currency::EUR, "-0.05 EUR"),
            (4500, Currency::JPY, "4500 JPY"),
            (4500, Currency::KWD, "4.500 KWD"),
        ] {
            assert_eq!(Money::new(amount, currency).to_string(), text);
        }
        let text = serde_json::to_string(&Money::new(4500, Currency::EUR)).unwrap();
        assert_eq!(text, r#"{"amount":4500,"currency":"EUR"}"#);
    }

    #[test]
    fn currencies_do_not_mix_and_sums_do_not_wrap() {
        let (euro, yen) = (Money::new(1, Currency::EUR), Money::new(1, Currency::JPY));
        assert!(matches!(euro.plus(yen), Err(MoneyError::Currency { .. })));
        assert_eq!(Money::new(i64::MAX, Currency::EUR).plus(euro), Err(MoneyError::Overflow));
        assert_eq!(Money::new(i64::MAX, Currency::EUR).times(2), Err(MoneyError::Overflow));
    }

    proptest! {
        #[test]
        fn a_sum_is_the_sum_of_its_parts(amounts in prop::collection::vec(0i64..1_000_000_000, 0..50)) {
            let total = Money::sum(Currency::EUR, amounts.iter().map(|a| Money::new(*a, Currency::EUR))).unwrap();
            prop_assert_eq!(total.amount(), amounts.iter().sum::<i64>());
        }
    }
}
