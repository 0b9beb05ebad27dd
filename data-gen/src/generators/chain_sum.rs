//! Chained sums: `What is 34+5-3+8?`, worked out one operation a line. Running totals are never negative.

use super::{Drawn, check_ranges};
use distill_dataset::Reference;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Sums such as `What is 34+5-3+8?`. Two numbers are a range, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ChainSumConfig {
    /// How many distinct problems.
    pub count: u32,
    /// How many numbers a sum has.
    pub terms: [i64; 2],
    /// The first number.
    pub first: [i64; 2],
    /// Every later number.
    pub operand: [i64; 2],
}

impl Default for ChainSumConfig {
    fn default() -> Self {
        ChainSumConfig { count: 1000, terms: [3, 4], first: [10, 60], operand: [1, 9] }
    }
}

impl ChainSumConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_ranges([
            ("terms", self.terms, 2, 64),
            ("first", self.first, 0, 1 << 30),
            ("operand", self.operand, 0, 1 << 24),
        ])
    }
}

pub(super) fn draw(config: &ChainSumConfig, rng: &mut ChaCha8Rng) -> Drawn {
    let mut range = |[low, high]: [i64; 2]| rng.random_range(low..=high);
    let (terms, mut total) = (range(config.terms), range(config.first));
    let (mut sum, mut steps) = (total.to_string(), Vec::new());
    for _ in 1..terms {
        // A subtraction that would go below zero becomes an addition.
        let (minus, operand) = (range([0, 1]) == 1, range(config.operand));
        let (sign, next) = if minus && operand <= total { ('-', total - operand) } else { ('+', total + operand) };
        // Writing into a string cannot fail.
        let _ = write!(sum, "{sign}{operand}");
        steps.push(format!("{total}{sign}{operand}={next}"));
        total = next;
    }
    Drawn {
        question: format!("What is {sum}?"),
        answer: total.to_string(),
        solution: steps.join("\n"),
        reference: Reference::Math,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::{GeneratorConfig, generate};

    /// Adds up a question's sum without looking at its solution.
    fn evaluate(question: &str) -> i64 {
        let sum = question.trim_start_matches("What is ").trim_end_matches('?');
        let spaced = sum.replace('-', " -").replace('+', " +");
        spaced.split_whitespace().map(|term| term.parse::<i64>().expect("a term")).sum()
    }

    #[test]
    fn answers_are_right_and_every_step_holds() {
        let config = ChainSumConfig { count: 3000, first: [0, 12], ..ChainSumConfig::default() };
        for problem in generate(&GeneratorConfig::ChainSum(config), 3).expect("problems") {
            assert_eq!(evaluate(&problem.messages[0].content).to_string(), problem.answer);
            let solution = problem.solution.expect("a worked solution");
            for step in solution.lines() {
                let (left, right) = step.split_once('=').expect("a step");
                assert_eq!(evaluate(left).to_string(), right, "{step}");
                assert!(!right.starts_with('-'), "a running total went below zero: {step}");
            }
            assert!(solution.ends_with(&format!("={}", problem.answer)));
        }
    }

    #[test]
    fn ranges_are_checked() {
        let bad = ChainSumConfig { operand: [9, 1], ..ChainSumConfig::default() };
        assert!(bad.check().expect_err("a reversed range").contains("`operand`"));
    }
}
