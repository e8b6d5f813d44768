//! What a place costs: face value, fee, and the tax that is included.
//!
//! The price shown is all-in: what a fan sees first is what a fan pays. Invariants: `price = face + fee`;
//! a total is the plain sum of its places, so nothing is added later; the included tax is rounded half up
//! once per place, so that places and totals agree to the minor unit.

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

use crate::money::{Money, MoneyError};

/// A tax rate in basis points (700 = 7 %), included in prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct TaxRate(u16);

/// A rate above 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tax rate is 0 to 10000 basis points")]
pub struct TaxRateError;

impl TryFrom<u16> for TaxRate {
    type Error = TaxRateError;

    fn try_from(basis_points: u16) -> Result<Self, TaxRateError> {
        if basis_points <= 10_000 { Ok(Self(basis_points)) } else { Err(TaxRateError) }
    }
}

impl TaxRate {
    /// The rate in basis points.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// The tax contained in a gross amount that is not negative, rounded half up.
    fn included_in(self, gross: i64) -> i64 {
        let (gross, rate) = (i128::from(gross), i128::from(self.0));
        let whole = 10_000 + rate;
        let tax = (2 * gross * rate + whole) / (2 * whole);
        i64::try_from(tax).expect("a part is no larger than its whole")
    }
}

/// How an event prices its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tariff {
    /// Fee per place, in minor units.
    pub fee: u32,
    /// Tax included in the price.
    pub tax_bp: TaxRate,
}

/// The price of one place, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitPrice {
    /// What the organiser asks.
    pub face: Money,
    /// What is added for the service.
    pub fee: Money,
    /// Tax included in `price`.
    pub tax: Money,
    /// What the fan pays.
    pub price: Money,
}

impl Tariff {
    /// The price of a place with this face value.
    ///
    /// # Errors
    /// When the face value is negative or the sum overflows.
    pub fn unit(self, face: Money) -> Result<UnitPrice, MoneyError> {
        if face.amount() < 0 {
            return Err(MoneyError::Negative);
        }
        let fee = Money::new(self.fee.into(), face.currency());
        let price = face.plus(fee)?;
        let tax = Money::new(self.tax_bp.included_in(price.amount()), face.currency());
        Ok(UnitPrice { face, fee, tax, price })
    }
}

/// What several places cost together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Fees contained.
    pub fee: Money,
    /// Tax contained.
    pub tax: Money,
    /// What the fan pays.
    pub price: Money,
}

/// One line of a total: so many places at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// How many.
    pub quantity: u32,
    /// Fee of one, in minor units.
    pub fee: i64,
    /// Included tax of one, in minor units.
    pub tax: i64,
    /// Price of one, in minor units.
    pub price: i64,
}

impl Total {
    /// Adds lines up.
    ///
    /// # Errors
    /// When a sum overflows.
    pub fn of(currency: Currency, lines: impl IntoIterator<Item = Line>) -> Result<Self, MoneyError> {
        let zero = Money::zero(currency);
        lines.into_iter().try_fold(Self { fee: zero, tax: zero, price: zero }, |sum, line| {
            let part = |amount| Money::new(amount, currency).times(line.quantity);
            Ok(Self {
                fee: sum.fee.plus(part(line.fee)?)?,
                tax: sum.tax.plus(part(line.tax)?)?,
                price: sum.price.plus(part(line.price)?)?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices_as_a_table() {
        // face, fee, rate, price, included tax
        for (face, fee, rate, price, tax) in [
            (4500, 150, 700, 4650, 304),
            (4500, 0, 1900, 4500, 718),
            (0, 0, 1900, 0, 0),
            (1, 0, 10_000, 1, 1),
            (100, 0, 0, 100, 0),
        ] {
            let tariff = Tariff { fee, tax_bp: TaxRate::try_from(rate).unwrap() };
            let unit = tariff.unit(Money::new(face, Currency::EUR)).unwrap();
            assert_eq!((unit.price.amount(), unit.tax.amount()), (price, tax), "{face} {fee} {rate}");
        }
        assert_eq!(TaxRate::try_from(10_001), Err(TaxRateError));
        let negative = Tariff::default().unit(Money::new(-1, Currency::EUR));
        assert_eq!(negative, Err(MoneyError::Negative));
    }

    proptest! {
        #[test]
        fn totals_add_up(lines in prop::collection::vec((1u32..50, 0i64..10_000_000, 0u32..10_000, 0u16..=10_000), 0..20)) {
            let mut expected = (0i64, 0i64, 0i64);
            let lines: Vec<Line> = lines.into_iter().map(|(quantity, face, fee, rate)| {
                let tariff = Tariff { fee, tax_bp: TaxRate::try_from(rate).unwrap() };
                let unit = tariff.unit(Money::new(face, Currency::EUR)).unwrap();
                prop_assert_eq!(unit.price, unit.face.plus(unit.fee).unwrap());
                prop_assert!((0..=unit.price.amount()).contains(&unit.tax.amount()));
                for _ in 0..quantity {
                    expected.0 += unit.fee.amount();
                    expected.1 += unit.tax.amount();
                    expected.2 += unit.price.amount();
                }
                Ok(Line { quantity, fee: unit.fee.amount(), tax: unit.tax.amount(), price: unit.price.amount() })
            }).collect::<Result<_, _>>()?;
            let total = Total::of(Currency::EUR, lines).unwrap();
            prop_assert_eq!((total.fee.amount(), total.tax.amount(), total.price.amount()), expected);
        }
    }
}
