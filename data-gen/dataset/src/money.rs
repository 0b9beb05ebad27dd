//! Money: amounts, each in its own currency. Nothing is ever converted into another.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A currency, by its three letters of ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The US dollar.
    pub const USD: Currency = Currency(*b"USD");
}

impl Default for Currency {
    fn default() -> Currency {
        Currency::USD
    }
}

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(text: String) -> Result<Currency, String> {
        match text.as_bytes() {
            [a, b, c] if text.bytes().all(|letter| letter.is_ascii_uppercase()) => Ok(Currency([*a, *b, *c])),
            _ => Err(format!("expected a currency's three capital letters (ISO 4217), e.g. \"CNY\", found {text:?}")),
        }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// So much of one currency, in a recipe `{ currency = "CNY", amount = 100 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Amount {
    /// Of which.
    pub currency: Currency,
    /// How much.
    pub amount: f64,
}

impl fmt::Display for Amount {
    /// `$1.5` or `CNY 1.5`, with as many decimals as are asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.currency {
            Currency::USD => f.write_str("$")?,
            other => write!(f, "{other} ")?,
        }
        fmt::Display::fmt(&self.amount, f)
    }
}

/// Amounts by currency. What is nothing is not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(BTreeMap<Currency, f64>);

impl Money {
    /// Adds so much.
    pub fn add(&mut self, Amount { currency, amount }: Amount) {
        if amount != 0.0 {
            *self.0.entry(currency).or_default() += amount;
        }
    }

    /// Adds all of it.
    pub fn add_all(&mut self, other: &Money) {
        other.iter().for_each(|amount| self.add(amount));
    }

    /// With so many US dollars more: records of older versions keep dollars apart.
    pub fn and_usd(&self, usd: f64) -> Money {
        let mut money = self.clone();
        money.add(Amount { currency: Currency::USD, amount: usd });
        money
    }

    /// How much of a currency it is.
    pub fn of(&self, currency: Currency) -> f64 {
        self.0.get(&currency).copied().unwrap_or_default()
    }

    /// Its amounts, in the order of their letters.
    pub fn iter(&self) -> impl Iterator<Item = Amount> + '_ {
        self.0.iter().map(|(currency, amount)| Amount { currency: *currency, amount: *amount })
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For people, against the most that may be spent: `$1.50 of $20.00, CNY 3.20`. Empty where there is neither.
    pub fn against(&self, most: Option<Amount>) -> String {
        let capped = most.map(|most| {
            let spent = Amount { amount: self.of(most.currency), ..most };
            format!("{spent:.2} of {most:.2}")
        });
        let others = self.iter().filter(|amount| most.is_none_or(|most| most.currency != amount.currency));
        capped.into_iter().chain(others.map(|amount| format!("{amount:.2}"))).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Money {
    /// All amounts, with two decimals; `$0.00` where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("$0.00") } else { f.write_str(&self.against(None)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CNY: Currency = Currency(*b"CNY");

    #[test]
    fn amounts_of_two_currencies_are_never_one() {
        let mut money = Money::default();
        assert_eq!((money.to_string().as_str(), money.against(None).as_str()), ("$0.00", ""));
        let mut add = |currency, amount| money.add(Amount { currency, amount });
        add(CNY, 3.0);
        add(Currency::USD, 1.5);
        add(CNY, 0.25);
        add(Currency::USD, 0.0);
        assert_eq!(money.to_string(), "CNY 3.25, $1.50");
        assert_eq!((money.of(CNY), money.of(Currency::USD)), (3.25, 1.5));
        let most = |currency| Some(Amount { currency, amount: 20.0 });
        assert_eq!(money.against(most(Currency::USD)), "$1.50 of $20.00, CNY 3.25");
        let yen = Currency(*b"JPY");
        assert_eq!(Money::default().against(most(yen)), "JPY 0.00 of JPY 20.00");
        let json = serde_json::to_string(&money).expect("JSON");
        assert_eq!(json, r#"{"CNY":3.25,"USD":1.5}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).expect("money"), money);
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        for wrong in ["", "cny", "CNYX", "C1Y", "¥¥", "US"] {
            let error = Currency::try_from(wrong.to_owned()).expect_err(wrong);
            assert!(error.contains("ISO 4217") && error.contains(wrong), "{error}");
        }
        let amount: Amount = serde_json::from_str(r#"{"currency":"CNY","amount":100}"#).expect("an amount");
        assert_eq!(amount.to_string(), "CNY 100");
        assert_eq!(Amount { currency: Currency::USD, amount: 0.5 }.to_string(), "$0.5");
    }
}
