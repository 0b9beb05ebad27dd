//! Chained sums: `What is 34+5-3+8?`, worked out one operation a line. Running totals are never negative.

use crate::ProblemsError;
use distill_dataset::{Digest, Message, Problem, Reference, Split, problem_id};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt::Write};

/// How hard the sums are. Ranges are inclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ChainSumConfig {
    /// How many distinct problems.
    pub count: u32,
    /// Numbers in a sum.
    pub terms: [u32; 2],
    /// The first number.
    pub first: [u32; 2],
    /// Every later number.
    pub operand: [u32; 2],
}

impl Default for ChainSumConfig {
    fn default() -> Self {
        ChainSumConfig { count: 1000, terms: [3, 4], first: [10, 60], operand: [1, 9] }
    }
}

impl ChainSumConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        for (key, [low, high], least, most) in
            [("terms", self.terms, 2, 64), ("first", self.first, 0, 1 << 30), ("operand", self.operand, 0, 1 << 24)]
        {
            if low > high || low < least || high > most {
                return Err(format!("`{key}`: expected [low, high] within {least} to {most}, found [{low}, {high}]"));
            }
        }
        Ok(())
    }
}

/// Draws distinct problems; draw `i` depends on the settings' seed and `i` alone.
pub(crate) fn generate(config: &ChainSumConfig, seed: u64) -> Result<Vec<Problem>, ProblemsError> {
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    let most = u64::from(config.count) * 20 + 1000;
    for draw in 0..most {
        if problems.len() as u64 == u64::from(config.count) {
            return Ok(problems);
        }
        let seed = Digest::new("chain-sum").field(&seed.to_string()).field(&draw.to_string()).finish_u64();
        let problem = draw_one(config, &mut ChaCha8Rng::seed_from_u64(seed));
        if seen.insert(problem.id.clone()) {
            problems.push(problem);
        }
    }
    match problems.len() as u64 == u64::from(config.count) {
        true => Ok(problems),
        false => Err(ProblemsError::TooFew { wanted: config.count, found: problems.len() as u32, draws: most }),
    }
}

fn draw_one(config: &ChainSumConfig, rng: &mut ChaCha8Rng) -> Problem {
    let terms = rng.random_range(config.terms[0]..=config.terms[1]);
    let mut total = rng.random_range(config.first[0]..=config.first[1]);
    let (mut sum, mut steps) = (total.to_string(), Vec::new());
    for _ in 1..terms {
        let operand = rng.random_range(config.operand[0]..=config.operand[1]);
        // A subtraction that would go below zero becomes an addition.
        let minus = rng.random::<bool>() && operand <= total;
        let (sign, next) = if minus { ('-', total - operand) } else { ('+', total + operand) };
        // Writing into a string cannot fail.
        let _ = write!(sum, "{sign}{operand}");
        steps.push(format!("{total}{sign}{operand}={next}"));
        total = next;
    }
    let messages = vec![Message::user(format!("What is {sum}?"))];
    Problem {
        id: problem_id(&messages),
        messages,
        domain: "math".to_owned(),
        reference: Reference::Math,
        answer: total.to_string(),
        solution: Some(steps.join("\n")),
        source: "chain-sum".to_owned(),
        split: Split::Train,
        licence: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds up a question's sum without looking at its solution.
    fn evaluate(question: &str) -> i64 {
        let sum = question.trim_start_matches("What is ").trim_end_matches('?');
        let spaced = sum.replace('-', " -").replace('+', " +");
        spaced.split_whitespace().map(|term| term.parse::<i64>().expect("a term")).sum()
    }

    #[test]
    fn answers_are_right_and_every_step_holds() {
        let config = ChainSumConfig { count: 3000, first: [0, 12], ..ChainSumConfig::default() };
        for problem in generate(&config, 3).expect("problems") {
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
    fn problems_depend_on_the_seed_alone_and_are_distinct() {
        let config = ChainSumConfig::default();
        let first = generate(&config, 1).expect("problems");
        assert_eq!(first, generate(&config, 1).expect("problems"));
        assert_ne!(first, generate(&config, 2).expect("problems"));
        let ids: HashSet<&str> = first.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn a_space_too_small_is_an_error_that_counts() {
        let config = ChainSumConfig { count: 50, terms: [2, 2], first: [1, 2], operand: [1, 2] };
        let error = generate(&config, 1).expect_err("there are only 7");
        assert!(error.to_string().starts_with("expected 50 distinct problems, found 7"), "{error}");
    }

    #[test]
    fn ranges_are_checked() {
        let bad = ChainSumConfig { operand: [9, 1], ..ChainSumConfig::default() };
        assert!(bad.check().expect_err("a reversed range").contains("`operand`"));
        assert_eq!(ChainSumConfig::default().check(), Ok(()));
    }
}
