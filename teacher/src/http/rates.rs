//! Limits in requests and tokens per minute, kept before a server has to say so.

use crate::Cost;
use std::time::{Duration, Instant};

/// Seconds' worth that may be sent at once.
const BURST_S: f64 = 5.0;
/// Weight of the latest answer in what an answer is expected to take.
const WEIGHT: f64 = 0.05;

/// A bucket that fills steadily. What is taken may leave a debt, so that no request is too large for it.
struct Bucket {
    per_s: f64,
    filled: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: f64, now: Instant) -> Bucket {
        let per_s = per_minute / 60.0;
        Bucket { per_s, filled: (per_s * BURST_S).max(1.0), at: now }
    }

    fn has(&mut self, amount: f64, now: Instant) -> bool {
        let most = (self.per_s * BURST_S).max(1.0);
        self.filled = (self.filled + self.per_s * now.saturating_duration_since(self.at).as_secs_f64()).min(most);
        self.at = now;
        self.filled >= amount
    }

    /// How long it takes until it has `amount`.
    fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        let missing = if self.has(amount, now) { 0.0 } else { amount - self.filled };
        // A limit of thousands of years is no limit.
        Duration::try_from_secs_f64(missing / self.per_s).unwrap_or(Duration::MAX)
    }
}

/// The limits of one endpoint.
pub(super) struct Rates {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Tokens that an answer is expected to take.
    answer: Option<f64>,
}

impl Rates {
    /// Limits in a minute.
    pub(super) fn new(requests: Option<u32>, tokens: Option<u64>, now: Instant) -> Rates {
        Rates {
            requests: requests.map(|limit| Bucket::new(f64::from(limit), now)),
            tokens: tokens.map(|limit| Bucket::new(limit as f64, now)),
            answer: None,
        }
    }

    /// Whether one more request may be sent.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        // The tokens of those before are paid for first.
        self.requests.as_mut().is_none_or(|bucket| bucket.has(1.0, now))
            && self.tokens.as_mut().is_none_or(|bucket| bucket.has(1.0, now))
    }

    /// How long it takes until one more request may be sent, and the limit that says so.
    pub(super) fn wait(&mut self, now: Instant) -> (Duration, &'static str) {
        let wait = |bucket: &mut Option<Bucket>| bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait(1.0, now));
        let (requests, tokens) = (wait(&mut self.requests), wait(&mut self.tokens));
        if tokens > requests { (tokens, "tokens-per-minute") } else { (requests, "requests-per-minute") }
    }

    /// Takes a request of so many tokens, which asks for so many at most; the tokens that it is expected to take.
    pub(super) fn take(&mut self, prompt: u64, most: u32) -> f64 {
        let expected = prompt as f64 + self.answer.unwrap_or(f64::from(most)).min(f64::from(most));
        if let Some(bucket) = &mut self.requests {
            bucket.filled -= 1.0;
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.filled -= expected;
        }
        expected
    }

    /// Corrects what a request was expected to take by what it took.
    pub(super) fn settle(&mut self, expected: f64, cost: &Cost) {
        let answer = cost.completion_tokens as f64;
        if answer > 0.0 {
            self.answer = Some(self.answer.map_or(answer, |before| before + WEIGHT * (answer - before)));
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.filled += expected - (cost.prompt_tokens as f64 + answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests of 100 tokens are sent in ten minutes, looked at every 50 ms.
    fn sent(requests: Option<u32>, tokens: Option<u64>) -> u32 {
        let start = Instant::now();
        let mut rates = Rates::new(requests, tokens, start);
        let mut sent = 0;
        for tick in 0..12_000 {
            while rates.has_room(start + Duration::from_millis(50 * tick)) {
                let expected = rates.take(20, 4000);
                rates.settle(expected, &Cost { prompt_tokens: 20, completion_tokens: 80, ..Cost::default() });
                sent += 1;
                assert!(sent < 100_000, "no limit holds");
            }
        }
        sent
    }

    #[test]
    fn a_debt_of_tokens_says_how_long_it_is_paid_off_for() {
        let start = Instant::now();
        let mut rates = Rates::new(Some(60), Some(10_000), start);
        assert_eq!(rates.wait(start).0, Duration::ZERO);
        // A burst of 833 tokens is there, and 166 come each second.
        rates.take(0, 32_768);
        let (wait, limit) = rates.wait(start);
        assert_eq!(limit, "tokens-per-minute");
        assert!((190..193).contains(&wait.as_secs()), "{wait:?}");
        assert!(
            !rates.has_room(start + wait - Duration::from_secs(1))
                && rates.has_room(start + wait + Duration::from_secs(1))
        );
    }

    #[test]
    fn a_minute_s_limits_hold_over_many_and_are_used_up() {
        assert!((600..=605).contains(&sent(Some(60), None)), "{}", sent(Some(60), None));
        // 3,000 tokens a minute are 30 requests of 100.
        assert!((298..=305).contains(&sent(None, Some(3000))), "{}", sent(None, Some(3000)));
        assert!((298..=305).contains(&sent(Some(60), Some(3000))), "the tighter one counts");
    }
}
