//! The ledger: what every attempt at a sample costs. The most that an attempt may cost is reserved before it is sent,
//! and settled on what it did cost: attempts that broke, and those that were tried again, count like any other.

use distill_dataset::Entry;
use serde::{Deserialize, Serialize};

/// What attempts cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// US dollars.
    pub usd: f64,
    /// Whether some of it was counted here, because the endpoint did not tell it.
    pub estimated: bool,
}

impl Cost {
    /// Adds another.
    pub fn add(&mut self, other: &Cost) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.usd += other.usd;
        self.estimated |= other.estimated;
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
}

/// The most that may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Tokens generated.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
}

impl Budget {
    /// Whether there is a limit at all.
    pub fn is_limited(&self) -> bool {
        self.tokens.is_some() || self.usd.is_some()
    }
}

/// Which limit of a budget is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exceeded {
    /// That of tokens.
    Tokens(u64),
    /// That of dollars.
    Usd(f64),
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exceeded::Tokens(tokens) => write!(f, "{tokens} tokens"),
            Exceeded::Usd(usd) => write!(f, "${usd}"),
        }
    }
}

/// The most that attempts may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Most {
    /// Tokens generated.
    pub tokens: u64,
    /// US dollars.
    pub usd: f64,
}

/// What was spent and what is reserved, against a budget.
#[derive(Debug, Default)]
pub struct Ledger {
    budget: Budget,
    spent: Cost,
    reserved: Most,
    /// Attempts under way.
    open: u64,
}

impl Ledger {
    /// A ledger in which `spent` was spent already.
    pub fn new(budget: Budget, spent: Cost) -> Ledger {
        Ledger { budget, spent, reserved: Most::default(), open: 0 }
    }

    /// Reserves the most that an attempt may cost.
    ///
    /// # Errors
    /// When it does not fit beside what was spent and what is reserved. What is reserved may turn out cheaper.
    pub fn reserve(&mut self, most: Most) -> Result<(), Exceeded> {
        self.fits(most)?;
        self.reserved.tokens += most.tokens;
        self.reserved.usd += most.usd;
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
        self.reserved.usd = if self.open == 0 { 0.0 } else { (self.reserved.usd - most.usd).max(0.0) };
    }

    /// What was spent.
    pub fn spent(&self) -> &Cost {
        &self.spent
    }

    fn fits(&self, most: Most) -> Result<(), Exceeded> {
        let tokens = self.spent.completion_tokens.saturating_add(self.reserved.tokens).saturating_add(most.tokens);
        if let Some(limit) = self.budget.tokens.filter(|limit| tokens > *limit) {
            return Err(Exceeded::Tokens(limit));
        }
        let usd = self.spent.usd + self.reserved.usd + most.usd;
        match self.budget.usd.filter(|limit| usd > *limit) {
            Some(limit) => Err(Exceeded::Usd(limit)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_counts_until_it_is_settled_and_what_broke_counts_after() {
        let spent = Cost { completion_tokens: 10, ..Cost::default() };
        let mut ledger = Ledger::new(Budget { tokens: Some(50), usd: None }, spent);
        let most = Most { tokens: 20, usd: 0.0 };
        ledger.reserve(most).expect("room");
        ledger.reserve(most).expect("room");
        assert_eq!(ledger.reserve(most), Err(Exceeded::Tokens(50)), "10 spent, 40 reserved");
        ledger.settle(most, &Cost { completion_tokens: 20, ..Cost::default() });
        assert_eq!(ledger.reserve(most), Err(Exceeded::Tokens(50)), "a broken attempt cost all that it could");
        ledger.settle(most, &Cost::default());
        ledger.reserve(most).expect("the other cost nothing");
    }

    #[test]
    fn dollars_that_were_given_back_are_there_again() {
        let mut ledger = Ledger::new(Budget { tokens: None, usd: Some(0.3) }, Cost::default());
        let most = Most { tokens: 1, usd: 0.1 };
        for _ in 0..1000 {
            (0..2).for_each(|_| ledger.reserve(most).expect("room"));
            (0..2).for_each(|_| ledger.release(most));
        }
        ledger.reserve(Most { tokens: 1, usd: 0.3 }).expect("nothing is reserved any more");
    }
}
