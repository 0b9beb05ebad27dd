//! Linear equations in one unknown with an integer solution: `Solve 3x+5=20 for x.`

use super::{Drawn, check_ranges};
use distill_dataset::Reference;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Equations such as `3x+5=20`. Two numbers are a range, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LinearEquationConfig {
    /// How many distinct problems.
    pub count: u32,
    /// The factor of x.
    pub factor: [i64; 2],
    /// What is added to it.
    pub offset: [i64; 2],
    /// The solution.
    pub solution: [i64; 2],
}

impl Default for LinearEquationConfig {
    fn default() -> Self {
        LinearEquationConfig { count: 1000, factor: [2, 12], offset: [-30, 30], solution: [-20, 20] }
    }
}

impl LinearEquationConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_ranges([
            ("factor", self.factor, 1, 1 << 20),
            ("offset", self.offset, -(1 << 30), 1 << 30),
            ("solution", self.solution, -(1 << 20), 1 << 20),
        ])
    }
}

pub(super) fn draw(config: &LinearEquationConfig, rng: &mut ChaCha8Rng) -> Drawn {
    let mut range = |[low, high]: [i64; 2]| rng.random_range(low..=high);
    let (factor, offset, x) = (range(config.factor), range(config.offset), range(config.solution));
    let right = factor * x + offset;
    let plus = match offset {
        0 => String::new(),
        _ => format!("{offset:+}"),
    };
    let product = right - offset;
    let mut steps = Vec::new();
    if offset != 0 {
        steps.push(format!("{factor}x={right}{:+}", -offset));
        steps.push(format!("{factor}x={product}"));
    }
    steps.push(format!("x={product}/{factor}"));
    steps.push(format!("x={x}"));
    Drawn {
        question: format!("Solve {factor}x{plus}={right} for x."),
        answer: x.to_string(),
        solution: steps.join("\n"),
        reference: Reference::Math,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::{GeneratorConfig, generate};

    #[test]
    fn the_answer_solves_the_equation_and_every_step() {
        for problem in generate(&GeneratorConfig::LinearEquation(LinearEquationConfig::default()), 3).expect("problems")
        {
            let x: i64 = problem.answer.parse().expect("a number");
            let equation = problem.messages[0].content.trim_start_matches("Solve ").trim_end_matches(" for x.");
            let holds = |equation: &str| {
                let (left, right) = equation.split_once('=').expect("an equation");
                let (factor, offset) = left.split_once('x').expect("a term in x");
                let factor: i64 = if factor.is_empty() { 1 } else { factor.parse().expect("a factor") };
                let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().expect("an offset") };
                let value = match right.split_once('/') {
                    Some((a, b)) => a.parse::<i64>().expect("a number") / b.parse::<i64>().expect("a number"),
                    None => match right[1..].find(['+', '-']) {
                        Some(at) => {
                            right[..at + 1].parse::<i64>().expect("a number")
                                + right[at + 1..].parse::<i64>().expect("a number")
                        }
                        None => right.parse().expect("a number"),
                    },
                };
                factor * x + offset == value
            };
            assert!(holds(equation), "{equation} with x={x}");
            for step in problem.solution.expect("a solution").lines() {
                assert!(holds(step), "{step} with x={x}");
            }
        }
    }
}
