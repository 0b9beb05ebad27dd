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
    /// Hours in which anybody buys.
    pub hours: Option<f64>,
    /// Those hours, times the GPUs behind the teacher.
    pub gpu_hours: Option<f64>,
}

impl Budget {
    /// Whether what attempts cost is limited.
    pub fn counts_costs(&self) -> bool {
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
            Exceeded::Usd(_) => "budget-usd",
            Exceeded::Hours(_) => "budget-hours",
            Exceeded::GpuHours(_) => "budget-gpu-hours",
        }
    }
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exceeded::Tokens(tokens) => write!(f, "{tokens} tokens"),
            Exceeded::Usd(usd) => write!(f, "${usd}"),
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
    /// US dollars.
    pub usd: f64,
}

impl Most {
    /// No limit.
    pub const ALL: Most = Most { tokens: u64::MAX, usd: f64::MAX };

    /// Whether it is within `limit`.
    pub fn fits(&self, limit: Most) -> bool {
        self.tokens <= limit.tokens && self.usd <= limit.usd
    }
}

impl From<Cost> for Most {
    fn from(cost: Cost) -> Most {
        Most { tokens: cost.completion_tokens, usd: cost.usd }
    }
}

impl From<Most> for Cost {
    fn from(most: Most) -> Cost {
        Cost { completion_tokens: most.tokens, usd: most.usd, ..Cost::default() }
    }
}

/// What was spent and what is reserved, against what was granted.
#[derive(Debug, Default)]
pub struct Ledger {
    granted: Most,
    spent: Cost,
    reserved: Most,
    /// Attempts under way.
    open: u64,
}

impl Ledger {
    /// A ledger in which `spent` was spent already, of what is `granted` in all.
    pub fn new(granted: Most, spent: Cost) -> Ledger {
        Ledger { granted, spent, reserved: Most::default(), open: 0 }
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
        let need = Most { tokens: used.tokens.saturating_add(most.tokens), usd: used.usd + most.usd };
        if !need.fits(self.granted) {
            return Err(need);
        }
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

    /// What was spent and what is reserved.
    pub fn used(&self) -> Most {
        let tokens = self.spent.completion_tokens.saturating_add(self.reserved.tokens);
        Most { tokens, usd: self.spent.usd + self.reserved.usd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_counts_until_it_is_settled_and_what_broke_counts_after() {
        let spent = Cost { completion_tokens: 10, ..Cost::default() };
        let mut ledger = Ledger::new(Most { tokens: 50, usd: 0.0 }, spent);
        let most = Most { tokens: 20, usd: 0.0 };
        ledger.reserve(most).expect("room");
        ledger.reserve(most).expect("room");
        assert_eq!(ledger.reserve(most), Err(Most { tokens: 70, usd: 0.0 }), "10 spent, 40 reserved");
        ledger.settle(most, &Cost { completion_tokens: 20, ..Cost::default() });
        ledger.reserve(most).expect_err("a broken attempt cost all that it could");
        ledger.settle(most, &Cost::default());
        ledger.reserve(most).expect("the other cost nothing");
        ledger.reserve(most).expect_err("nothing is left");
        ledger.grant(Most { tokens: 70, usd: 0.0 });
        ledger.reserve(most).expect("more was granted");
    }

    #[test]
    fn dollars_that_were_given_back_are_there_again() {
        let mut ledger = Ledger::new(Most { tokens: u64::MAX, usd: 0.3 }, Cost::default());
        let most = Most { tokens: 1, usd: 0.1 };
        for _ in 0..1000 {
            (0..2).for_each(|_| ledger.reserve(most).expect("room"));
            (0..2).for_each(|_| ledger.release(most));
        }
        ledger.reserve(Most { tokens: 1, usd: 0.3 }).expect("nothing is reserved any more");
    }
}
