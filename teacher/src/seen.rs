//! What can be seen of a run from outside while it goes on: by `distill status`, from another process.

use crate::{Budget, Cost};
use distill_dataset::{Amount, Currency, FinishReason, Money};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Seen {
    /// Samples whose outcome is known.
    pub done: u64,
    /// Samples wanted by this process.
    pub total: u64,
    /// Those of them whose outcome was known when this process began.
    pub begun_with: u64,
    /// Tokens that the dataset took to generate so far, as far as this process knows.
    pub spent_tokens: u64,
    /// The most that it may take.
    pub cap_tokens: Option<u64>,
    /// US dollars likewise.
    pub spent_usd: f64,
    /// Money of other currencies likewise.
    pub spent_other: Money,
    /// The most that it may cost, where that is said in US dollars.
    pub cap_usd: Option<f64>,
    /// The same where it is said in another currency.
    pub cap_other: Option<Amount>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Tokens a second that arrived over the last seconds.
    pub tokens_per_s: f64,
    /// Tokens a second of prompts that were answered over the last seconds.
    pub prompt_tokens_per_s: f64,
    /// Seconds until all are there, at the pace of this run; none before something was had.
    pub eta_s: Option<f64>,
    /// Answers of this run by why they ended.
    pub ends: BTreeMap<String, u64>,
    /// Answers of this run by the power of two, in tokens, that they are below.
    pub lengths: BTreeMap<u32, u64>,
    /// Samples that cannot be had.
    pub unanswered: u64,
    /// Samples that failed after every retry.
    pub failed: u64,
    /// Attempts that were made again.
    pub retries: u64,
    /// What is said of it, e.g. which endpoint is waited for.
    pub remark: String,
    /// The endpoints, where it asks some.
    pub endpoints: Vec<EndpointSeen>,
}

/// How an endpoint stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct EndpointSeen {
    /// Its base.
    pub url: String,
    /// Requests in flight there.
    pub in_flight: u64,
    /// As many as it takes now.
    pub limit: u64,
    /// `there`, `away`, `closed` or `left`: its registration is gone.
    pub state: String,
    /// Why it is not there.
    pub why: String,
    /// Requests that it works on, whoever sent them, where it tells.
    pub running: Option<f64>,
    /// Requests that wait there, likewise.
    pub waiting: Option<f64>,
    /// Share of its cache that is used, 0 to 1, likewise.
    pub cache: Option<f64>,
}

impl Seen {
    /// Takes an answer: why it ended, and how many tokens it has.
    pub(crate) fn take(&mut self, end: &str, tokens: u32) {
        *self.ends.entry(end.to_owned()).or_default() += 1;
        *self.lengths.entry(tokens.saturating_add(1).checked_next_power_of_two().unwrap_or(u32::MAX)).or_default() += 1;
    }

    /// With what the dataset cost so far, and the most that it may.
    pub(crate) fn with_costs(self, spent: Cost, budget: &Budget) -> Seen {
        let dollars = budget.money.filter(|most| most.currency == Currency::USD);
        Seen {
            spent_tokens: spent.completion_tokens,
            cap_tokens: budget.tokens,
            spent_usd: spent.usd,
            spent_other: spent.other,
            cap_usd: dollars.map(|most| most.amount),
            cap_other: budget.money.filter(|_| dollars.is_none()),
            ..self
        }
    }

    /// What the dataset cost so far, against the most that it may: empty where there is neither.
    pub fn money(&self) -> String {
        let cap = self.cap_usd.map(|amount| Amount { currency: Currency::USD, amount });
        self.spent_other.and_usd(self.spent_usd).against(self.cap_other.or(cap))
    }

    /// Answers of this run that a limit cut.
    pub fn cut(&self) -> u64 {
        let censored = [FinishReason::Length, FinishReason::Context];
        censored.iter().filter_map(|reason| self.ends.get(reason.as_str())).sum()
    }

    /// Their share of all.
    pub fn censored(&self) -> f64 {
        let all: u64 = self.ends.values().sum();
        if all == 0 { 0.0 } else { self.cut() as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_end_and_by_length() {
        let mut seen = Seen::default();
        for (end, tokens) in [("stop", 7), ("stop", 8), ("length", 4096), ("stop", u32::MAX)] {
            seen.take(end, tokens);
        }
        assert_eq!(seen.ends, BTreeMap::from([("stop".to_owned(), 3), ("length".to_owned(), 1)]));
        assert_eq!(seen.lengths.get(&8), Some(&1), "below eight");
        assert_eq!(seen.lengths.get(&16), Some(&1), "eight itself is not");
        assert!((seen.censored() - 0.25).abs() < 1e-9);
    }
}
