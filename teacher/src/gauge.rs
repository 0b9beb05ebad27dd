//! What is told of a run while it goes on: tokens a second, in flight, cut, spent.

use crate::{Budget, Cost};
use std::{
    collections::VecDeque,
    fmt::Write,
    time::{Duration, Instant},
};

/// Time over which a rate is told.
const WINDOW: Duration = Duration::from_secs(10);
/// How often a rate is noted.
const EVERY: Duration = Duration::from_millis(500);

/// Tokens that arrived, and when.
pub(crate) struct Gauge {
    tokens: u64,
    prompt_tokens: u64,
    /// When, tokens and tokens of prompts by then.
    notes: VecDeque<(Instant, [u64; 2])>,
}

impl Gauge {
    pub(crate) fn new(now: Instant) -> Gauge {
        Gauge { tokens: 0, prompt_tokens: 0, notes: VecDeque::from([(now, [0; 2])]) }
    }

    /// Takes tokens that arrived; whether it is time to tell people.
    pub(crate) fn take(&mut self, tokens: u64, now: Instant) -> bool {
        self.tokens += tokens;
        if self.notes.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < EVERY) {
            return false;
        }
        self.notes.push_back((now, [self.tokens, self.prompt_tokens]));
        while self.notes.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.notes.pop_front();
        }
        true
    }

    /// Takes tokens of a prompt that was answered.
    pub(crate) fn take_prompt(&mut self, tokens: u64) {
        self.prompt_tokens += tokens;
    }

    /// Tokens a second over the last seconds, and tokens of prompts.
    pub(crate) fn rates(&self) -> (f64, f64) {
        let (Some((from, before)), Some((to, after))) = (self.notes.front(), self.notes.back()) else {
            return (0.0, 0.0);
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        let rate = |at: usize| if seconds > 0.0 { (after[at] - before[at]) as f64 / seconds } else { 0.0 };
        (rate(0), rate(1))
    }

    /// All of it in a few words, with what is in flight and how many answers a limit cut.
    pub(crate) fn told(&self, (in_flight, cut): (usize, u64), spent: &Cost, budget: &Budget) -> String {
        let mut text = format!("{in_flight} in flight");
        // Writing into a string cannot fail.
        let (rate, _) = self.rates();
        if rate > 0.0 {
            let _ = write!(text, ", {} tokens/s", short(rate));
        }
        if spent.completion_tokens > 0 {
            let _ = write!(text, ", {}", short(spent.completion_tokens as f64));
            let _ = match budget.tokens {
                Some(most) => write!(text, " of {} tokens", short(most as f64)),
                None => write!(text, " tokens"),
            };
        }
        let money = spent.money().against(budget.money);
        if !money.is_empty() {
            let _ = write!(text, ", {money}");
        }
        if cut > 0 {
            let _ = write!(text, ", {cut} cut at the limit");
        }
        text
    }
}

/// A count in three or four characters.
fn short(count: f64) -> String {
    match count {
        ..1e4 => format!("{count:.0}"),
        1e4..1e6 => format!("{:.0}k", count / 1e3),
        1e6..1e9 => format!("{:.1}M", count / 1e6),
        _ => format!("{:.2}G", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut gauge = Gauge::new(start);
        assert_eq!(gauge.told((0, 0), &Cost::default(), &Budget::default()), "0 in flight");
        // 100 a second for a minute, then 1,000.
        for tick in 1..=1500_u64 {
            let tokens = if tick <= 1200 { 5 } else { 50 };
            gauge.take(tokens, start + Duration::from_millis(50 * tick));
        }
        let spent = Cost { completion_tokens: 2_345_678, usd: 1.5, ..Cost::default() };
        let money = Budget::money_of(Some(20.0), None);
        let budget = Budget { tokens: Some(10_000_000), money, ..Budget::default() };
        assert_eq!(
            gauge.told((64, 1), &spent, &budget),
            "64 in flight, 1000 tokens/s, 2.3M of 10.0M tokens, $1.50 of $20.00, 1 cut at the limit"
        );
    }
}
