//! The ledger: what every attempt at a sample costs. The most that an attempt may cost is reserved before it is sent,
//! and settled on what it did cost: attempts that broke, and those that were tried again, count like any other.

use distill_dataset::{Amount, Currency, Entry, Money, Tally};
use serde::{Deserialize, Serialize};

/// What attempts cost. Money is kept by currency: nothing is ever converted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Those of them that a cache had, as far as endpoints tell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// US dollars.
    pub usd: f64,
    /// Money of other currencies.
    #[serde(default, skip_serializing_if = "Money::is_empty")]
    pub other: Money,
    /// Whether some of it was counted here, because the endpoint did not tell it.
    pub estimated: bool,
}

impl Cost {
    /// Adds another.
    pub fn add(&mut self, other: &Cost) {
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.completion_tokens += other.completion_tokens;
        self.usd += other.usd;
        self.other.add_all(&other.other);
        self.estimated |= other.estimated;
    }

    /// Adds money.
    pub fn pay(&mut self, paid: Amount) {
        match paid.currency {
            Currency::USD => self.usd += paid.amount,
            _ => self.other.add(paid),
        }
    }

    /// All of the money.
    pub fn money(&self) -> Money {
        self.other.and_usd(self.usd)
    }

    /// The money of one currency.
    pub fn money_of(&self, currency: Currency) -> f64 {
        if currency == Currency::USD { self.usd } else { self.other.of(currency) }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What one attempt cost, as it is kept: a budget counts it in every later run. All charges of one sample have one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// The sample that was asked for.
    pub sample: String,
    /// The attempt's own number. Of two charges of one attempt the later one counts: the first was made of what had
    /// arrived when it was interrupted.
    pub number: String,
    /// Whether it brought no answer.
    pub wasted: bool,
    /// What it cost.
    pub cost: Cost,
}

impl Entry for Charge {
    fn key(&self) -> String {
        self.sample.clone()
    }
}

/// What all attempts at some samples cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Charges {
    /// Attempts.
    pub attempts: u32,
    /// What they cost, all together.
    pub all: Cost,
    /// What those of them cost that brought no answer.
    pub wasted: Cost,
}

impl Charges {
    /// Adds one attempt.
    pub fn add(&mut self, charge: &Charge) {
        self.attempts += 1;
        self.all.add(&charge.cost);
        if charge.wasted {
            self.wasted.add(&charge.cost);
        }
    }

    /// Counts them in a stage's tally.
    pub fn count_in(&self, tally: &mut Tally) {
        tally.prompt_tokens += self.all.prompt_tokens;
        tally.cached_tokens += self.all.cached_tokens;
        tally.completion_tokens += self.all.completion_tokens;
        tally.cost_usd += self.all.usd;
        tally.cost_other.add_all(&self.all.other);
        tally.wasted_tokens += self.wasted.completion_tokens;
    }
}

/// The most that may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Tokens generated.
    pub tokens: Option<u64>,
    /// Money, in one currency: what was spent in another does not count.
    pub money: Option<Amount>,
    /// Hours in which anybody buys.
    pub hours: Option<f64>,
    /// Those hours, times the GPUs behind the teacher.
    pub gpu_hours: Option<f64>,
}

impl Budget {
    /// Whether what attempts cost is limited.
    pub fn counts_costs(&self) -> bool {
        self.tokens.is_some() || self.money.is_some()
    }

    /// The currency in which its money is counted.
    pub fn currency(&self) -> Currency {
        self.money.map(|most| most.currency).unwrap_or_default()
    }

    /// The most money, of the two keys of a recipe that may say it: `budget-usd = 20`, or
    /// `budget-money = { currency = "CNY", amount = 100 }`.
    pub fn money_of(usd: Option<f64>, other: Option<Amount>) -> Option<Amount> {
        other.or(usd.map(|amount| Amount { currency: Currency::USD, amount }))
    }

    /// What is wrong with those two keys, a line each.
    pub fn wrong_money(usd: Option<f64>, other: Option<Amount>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, most) in [("budget-usd", usd), ("budget-money", other.map(|other| other.amount))] {
            if let Some(found) = most.filter(|most| !most.is_finite() || *most < 0.0) {
                wrong.push(format!("`{key}`: expected 0 or more, found {found}"));
            }
        }
        if usd.is_some() && other.is_some() {
            wrong.push("`budget-money`: expected it or `budget-usd`, found both".to_owned());
        } else if other.is_some_and(|other| other.currency == Currency::USD) {
            wrong.push("`budget-money`: expected another currency than USD, whose key is `budget-usd`".to_owned());
        }
        wrong
    }
}

/// Which limit of a budget is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exceeded {
    /// That of tokens.
    Tokens(u64),
    /// That of money.
    Money(Amount),
    /// That of hours.
    Hours(f64),
    /// That of GPU-hours.
    GpuHours(f64),
}

impl Exceeded {
    /// The key of a recipe that sets it.
    pub fn key(&self) -> &'static str {
        match self {
            Exceeded::Tokens(_) => "budget-tokens",
            Exceeded::Money(most) if most.currency == Currency::USD => "budget-usd",
            Exceeded::Money(_) => "budget-money",
            Exceeded::Hours(_) => "budget-hours",
            Exceeded::GpuHours(_) => "budget-gpu-hours",
        }
    }
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exceeded::Tokens(tokens) => write!(f, "{tokens} tokens"),
            Exceeded::Money(most) => write!(f, "{most}"),
            Exceeded::Hours(hours) => write!(f, "{hours} hours"),
            Exceeded::GpuHours(hours) => write!(f, "{hours} GPU-hours"),
        }
    }
}

/// The most that attempts may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Most {
    /// Tokens generated.
    pub tokens: u64,
    /// Money, in the currency of the budget. Older versions wrote dollars alone.
    #[serde(alias = "usd")]
    pub money: f64,
}

impl Most {
    /// No limit.
    pub const ALL: Most = Most { tokens: u64::MAX, money: f64::MAX };

    /// What something cost, as far as a budget in that currency counts it.
    pub fn of(cost: &Cost, currency: Currency) -> Most {
        Most { tokens: cost.completion_tokens, money: cost.money_of(currency) }
    }

    /// The same as a cost. What is not limited is none of it: nobody counts that until it is spent.
    pub fn as_cost(&self, currency: Currency) -> Cost {
        let completion_tokens = if self.tokens == u64::MAX { 0 } else { self.tokens };
        let mut cost = Cost { completion_tokens, ..Cost::default() };
        // As JSON it may have lost its last digit.
        if self.money < f64::MAX / 2.0 {
            cost.pay(Amount { currency, amount: self.money });
        }
        cost
    }

    /// Whether it is within `limit`.
    pub fn fits(&self, limit: Most) -> bool {
        self.tokens <= limit.tokens && self.money <= limit.money
    }
}

/// What was spent and what is reserved, against what was granted.
#[derive(Debug, Default)]
pub struct Ledger {
    /// In which its money is counted.
    currency: Currency,
    granted: Most,
    spent: Cost,
    reserved: Most,
    /// Attempts under way.
    open: u64,
}

impl Ledger {
    /// A ledger in which `spent` was spent already, of what is `granted` in all, in that currency.
    pub fn new(granted: Most, spent: Cost, currency: Currency) -> Ledger {
        Ledger { currency, granted, spent, reserved: Most::default(), open: 0 }
    }

    /// So much is granted now.
    pub fn grant(&mut self, granted: Most) {
        self.granted = granted;
    }

    /// Reserves the most that an attempt may cost.
    ///
    /// # Errors
    /// When it does not fit beside what was spent and what is reserved: what is needed in all. What is reserved may turn out cheaper.
    pub fn reserve(&mut self, most: Most) -> Result<(), Most> {
        let used = self.used();
        let need = Most { tokens: used.tokens.saturating_add(most.tokens), money: used.money + most.money };
        if !need.fits(self.granted) {
            return Err(need);
        }
        self.reserved.tokens += most.tokens;
        self.reserved.money += most.money;
        self.open += 1;
        Ok(())
    }

    /// Replaces a reservation by what the attempt did cost.
    pub fn settle(&mut self, most: Most, cost: &Cost) {
        self.release(most);
        self.spent.add(cost);
    }

    /// Gives a reservation back: nothing was spent.
    pub fn release(&mut self, most: Most) {
        self.reserved.tokens = self.reserved.tokens.saturating_sub(most.tokens);
        self.open = self.open.saturating_sub(1);
        // Sums of fractions do not cancel exactly: nothing reserved is nothing.
        self.reserved.money = if self.open == 0 { 0.0 } else { (self.reserved.money - most.money).max(0.0) };
    }

    /// What was spent.
    pub fn spent(&self) -> &Cost {
        &self.spent
    }

    /// What was spent and what is reserved.
    pub fn used(&self) -> Most {
        let spent = Most::of(&self.spent, self.currency);
        Most { tokens: spent.tokens.saturating_add(self.reserved.tokens), money: spent.money + self.reserved.money }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_counts_until_it_is_settled_and_what_broke_counts_after() {
        let spent = Cost { completion_tokens: 10, ..Cost::default() };
        let mut ledger = Ledger::new(Most { tokens: 50, money: 0.0 }, spent, Currency::USD);
        let most = Most { tokens: 20, money: 0.0 };
        ledger.reserve(most).expect("room");
        ledger.reserve(most).expect("room");
        assert_eq!(ledger.reserve(most), Err(Most { tokens: 70, money: 0.0 }), "10 spent, 40 reserved");
        ledger.settle(most, &Cost { completion_tokens: 20, ..Cost::default() });
        ledger.reserve(most).expect_err("a broken attempt cost all that it could");
        ledger.settle(most, &Cost::default());
        ledger.reserve(most).expect("the other cost nothing");
        ledger.reserve(most).expect_err("nothing is left");
        ledger.grant(Most { tokens: 70, money: 0.0 });
        ledger.reserve(most).expect("more was granted");
    }

    #[test]
    fn dollars_that_were_given_back_are_there_again() {
        let mut ledger = Ledger::new(Most { tokens: u64::MAX, money: 0.3 }, Cost::default(), Currency::USD);
        let most = Most { tokens: 1, money: 0.1 };
        for _ in 0..1000 {
            (0..2).for_each(|_| ledger.reserve(most).expect("room"));
            (0..2).for_each(|_| ledger.release(most));
        }
        ledger.reserve(Most { tokens: 1, money: 0.3 }).expect("nothing is reserved any more");
    }
    fn cny() -> Currency {
        "CNY".to_owned().try_into().expect("a currency")
    }

    #[test]
    fn a_charge_of_an_older_version_is_read_and_what_it_had_is_written_as_it_was() {
        let old = r#"{"sample":"s","number":"1-0","wasted":false,"cost":{"prompt_tokens":3,"completion_tokens":5,"usd":0.25,"estimated":true}}"#;
        let charge: Charge = serde_json::from_str(old).expect("a charge");
        let cost = Cost { prompt_tokens: 3, completion_tokens: 5, usd: 0.25, estimated: true, ..Cost::default() };
        assert_eq!(charge.cost, cost);
        assert_eq!(serde_json::to_string(&charge).expect("JSON"), old);
        let mut new = Charge { cost: Cost { cached_tokens: 2, ..cost }, ..charge };
        new.cost.pay(Amount { currency: cny(), amount: 1.5 });
        let json = serde_json::to_string(&new).expect("JSON");
        assert!(json.contains(r#""cached_tokens":2"#) && json.contains(r#""usd":0.25,"other":{"CNY":1.5}"#), "{json}");
        assert_eq!(serde_json::from_str::<Charge>(&json).expect("a charge"), new);
        let granted: Most = serde_json::from_str(r#"{"tokens":7,"usd":2.5}"#).expect("a grant of an older version");
        assert_eq!(granted, Most { tokens: 7, money: 2.5 });
        assert_eq!(Most::ALL.as_cost(cny()), Cost::default(), "what is not limited is not spent");
        assert_eq!(granted.as_cost(cny()).money().to_string(), "CNY 2.50");
    }

    #[test]
    fn a_ledger_counts_its_own_currency_alone() {
        let most = |money| Most { tokens: 1, money };
        let spent = Cost { usd: 50.0, ..Cost::default() };
        let mut ledger = Ledger::new(Most { tokens: u64::MAX, money: 10.0 }, spent, cny());
        ledger.reserve(most(6.0)).expect("dollars are no yuan");
        let mut cost = Cost::default();
        cost.pay(Amount { currency: cny(), amount: 5.0 });
        ledger.settle(most(6.0), &cost);
        assert_eq!(ledger.reserve(most(6.0)), Err(Most { tokens: 1, money: 11.0 }));
        assert_eq!(ledger.spent().money().to_string(), "CNY 5.00, $50.00");
    }

    #[test]
    fn money_has_one_key_for_dollars_and_one_for_the_rest() {
        let other = |currency| Some(Amount { currency, amount: 1.0 });
        assert!(Budget::wrong_money(Some(1.0), None).is_empty() && Budget::wrong_money(None, other(cny())).is_empty());
        for (usd, money, expected) in [
            (Some(1.0), other(cny()), "found both"),
            (None, other(Currency::USD), "`budget-usd`"),
            (Some(f64::NAN), None, "found NaN"),
            (None, Some(Amount { currency: cny(), amount: -1.0 }), "found -1"),
        ] {
            let wrong = Budget::wrong_money(usd, money);
            assert!(wrong.len() == 1 && wrong[0].contains(expected), "{expected}: {wrong:?}");
        }
        let money = Budget::money_of(None, other(cny())).expect("money");
        assert_eq!(
            (Exceeded::Money(money).key(), Exceeded::Money(money).to_string()),
            ("budget-money", "CNY 1".to_owned())
        );
    }
}
