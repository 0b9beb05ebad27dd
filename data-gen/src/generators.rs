//! Seeded generators of problems with exact answers and worked solutions. Each file has one kind of problem.

mod base_conversion;
mod chain_sum;
mod countdown;
mod linear_equation;

pub use base_conversion::BaseConversionConfig;
pub use chain_sum::ChainSumConfig;
pub use countdown::CountdownConfig;
pub use linear_equation::LinearEquationConfig;

use crate::ProblemsError;
use distill_dataset::{Digest, Message, Problem, Reference, Split, problem_id};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What may be done with generated problems: anything. They are nobody's work.
const LICENCE: &str = "CC0-1.0";

/// A kind of problem with its difficulty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "generator", rename_all = "kebab-case")]
pub enum GeneratorConfig {
    /// `What is 34+5-3+8?`
    ChainSum(ChainSumConfig),
    /// `Solve 3x+5=20 for x.`
    LinearEquation(LinearEquationConfig),
    /// Signs between numbers so that they reach a target.
    Countdown(CountdownConfig),
    /// `Write 45 in base 2.`
    BaseConversion(BaseConversionConfig),
}

/// What a draw gives.
struct Drawn {
    question: String,
    answer: String,
    solution: String,
    reference: Reference,
}

impl GeneratorConfig {
    /// The kinds a recipe may name.
    pub const KINDS: &'static [&'static str] = &["chain-sum", "linear-equation", "countdown", "base-conversion"];

    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        match self {
            GeneratorConfig::ChainSum(config) => config.check(),
            GeneratorConfig::LinearEquation(config) => config.check(),
            GeneratorConfig::Countdown(config) => config.check(),
            GeneratorConfig::BaseConversion(config) => config.check(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            GeneratorConfig::ChainSum(_) => "chain-sum",
            GeneratorConfig::LinearEquation(_) => "linear-equation",
            GeneratorConfig::Countdown(_) => "countdown",
            GeneratorConfig::BaseConversion(_) => "base-conversion",
        }
    }

    /// How many distinct problems it makes.
    pub fn count(&self) -> u32 {
        match self {
            GeneratorConfig::ChainSum(config) => config.count,
            GeneratorConfig::LinearEquation(config) => config.count,
            GeneratorConfig::Countdown(config) => config.count,
            GeneratorConfig::BaseConversion(config) => config.count,
        }
    }

    /// A draw; some draws are no good problem.
    fn draw(&self, rng: &mut ChaCha8Rng) -> Option<Drawn> {
        match self {
            GeneratorConfig::ChainSum(config) => Some(chain_sum::draw(config, rng)),
            GeneratorConfig::LinearEquation(config) => Some(linear_equation::draw(config, rng)),
            GeneratorConfig::Countdown(config) => countdown::draw(config, rng),
            GeneratorConfig::BaseConversion(config) => Some(base_conversion::draw(config, rng)),
        }
    }
}

/// Draws distinct problems; draw `i` depends on the settings, the seed and `i` alone.
pub(crate) fn generate(config: &GeneratorConfig, seed: u64) -> Result<Vec<Problem>, ProblemsError> {
    let (wanted, kind) = (config.count(), config.kind());
    let (mut seen, mut problems) = (HashSet::new(), Vec::new());
    let most = u64::from(wanted) * 20 + 1000;
    for draw in 0..most {
        if problems.len() as u64 == u64::from(wanted) {
            return Ok(problems);
        }
        let seed = Digest::new(kind).field(&seed.to_string()).field(&draw.to_string()).finish_u64();
        let Some(drawn) = config.draw(&mut ChaCha8Rng::seed_from_u64(seed)) else { continue };
        let messages = vec![Message::user(drawn.question)];
        let id = problem_id(&messages);
        if seen.insert(id.clone()) {
            problems.push(Problem {
                id,
                messages,
                domain: "math".to_owned(),
                reference: drawn.reference,
                answer: drawn.answer,
                solution: Some(drawn.solution),
                source: kind.to_owned(),
                split: Split::Train,
                licence: Some(LICENCE.to_owned()),
            });
        }
    }
    Err(ProblemsError::TooFew { wanted, found: problems.len() as u32, draws: most })
}

/// Checks inclusive ranges `(key, [low, high], least, most)`.
fn check_ranges<const N: usize>(ranges: [(&str, [i64; 2], i64, i64); N]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, [low, high], least, most) in ranges {
        if low > high || low < least || high > most {
            wrong.push(format!("`{key}`: expected [low, high] within {least} to {most}, found [{low}, {high}]"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_depend_on_the_seed_alone_and_are_distinct() {
        let all = [
            GeneratorConfig::ChainSum(ChainSumConfig::default()),
            GeneratorConfig::LinearEquation(LinearEquationConfig::default()),
            GeneratorConfig::Countdown(CountdownConfig::default()),
            GeneratorConfig::BaseConversion(BaseConversionConfig::default()),
        ];
        for config in all {
            assert_eq!(config.check(), Ok(()));
            let first = generate(&config, 1).expect("problems");
            assert_eq!(first, generate(&config, 1).expect("problems"));
            assert_ne!(first, generate(&config, 2).expect("problems"));
            let ids: HashSet<&str> = first.iter().map(|problem| problem.id.as_str()).collect();
            assert_eq!(ids.len(), 1000, "{}", config.kind());
        }
    }

    #[test]
    fn a_space_too_small_is_an_error_that_counts() {
        let config = ChainSumConfig { count: 50, terms: [2, 2], first: [1, 2], operand: [1, 2] };
        let error = generate(&GeneratorConfig::ChainSum(config), 1).expect_err("there are only 7");
        assert!(error.to_string().starts_with("expected 50 distinct problems, found 7"), "{error}");
    }
}
