//! A device that has become slow is told, not waited for: something on it is broken or shared.

use crate::ModelError;
use std::{collections::VecDeque, time::Duration};

/// Steps whose median is the measure.
const STEPS: usize = 33;
/// Steps before one is judged.
const FIRST: usize = 5;
/// How many times the median a step may take.
const FACTOR: f64 = 10.0;
/// What a step may take in any case: the first of a new shape compiles.
const LEAST: Duration = Duration::from_secs(10);

/// How long tokens took.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seconds_per_token: VecDeque<f64>,
    tokens: usize,
    spent: Duration,
}

impl Pace {
    /// Counts work at so many tokens.
    pub(crate) fn count(&mut self, tokens: usize, spent: Duration) {
        self.tokens += tokens;
        self.spent += spent;
    }

    /// Ends a step.
    ///
    /// # Errors
    /// When its tokens took over ten times the median of the steps before.
    pub(crate) fn step(&mut self, waited: Duration) -> Result<(), ModelError> {
        let spent = std::mem::take(&mut self.spent) + waited;
        let tokens = std::mem::take(&mut self.tokens);
        if tokens == 0 {
            return Ok(());
        }
        let took = spent.as_secs_f64() / tokens as f64;
        let mut sorted: Vec<f64> = self.seconds_per_token.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.len() >= FIRST && spent > LEAST {
            let median = sorted[sorted.len() / 2];
            if took > FACTOR * median {
                let expected = median * tokens as f64;
                return Err(ModelError::Slow { seconds: spent.as_secs_f64(), expected });
            }
        }
        if self.seconds_per_token.len() == STEPS {
            self.seconds_per_token.pop_front();
        }
        self.seconds_per_token.push_back(took);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_ten_times_the_median_is_an_error_and_a_large_or_short_one_is_not() {
        let mut pace = Pace::default();
        let mut step = |tokens, seconds| {
            pace.count(tokens, Duration::from_secs_f64(seconds / 2.0));
            pace.step(Duration::from_secs_f64(seconds / 2.0))
        };
        step(1000, 60.0).expect("the first compiles");
        for _ in 0..6 {
            step(1000, 2.0).expect("as ever");
        }
        step(10_000, 21.0).expect("more tokens take longer");
        step(10, 9.0).expect("too short to be judged");
        let error = step(1000, 21.0).expect_err("ten times as long");
        assert!(error.to_string().contains("21") && error.to_string().contains("2.0"), "{error}");
    }
}
