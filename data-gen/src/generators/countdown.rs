//! Countdown: signs between given numbers, in their order, so that they reach a target. Only problems with exactly one
//! solution are kept, so that the answer is exact; the worked solution is the search for it.

use super::{Drawn, check_ranges};
use distill_dataset::Reference;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Numbers between which signs are to be put so that they reach a target. Two numbers are a range, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CountdownConfig {
    /// How many distinct problems.
    pub count: u32,
    /// How many numbers are given.
    pub numbers: [i64; 2],
    /// Each of them.
    pub number: [i64; 2],
}

impl Default for CountdownConfig {
    fn default() -> Self {
        CountdownConfig { count: 1000, numbers: [3, 4], number: [2, 20] }
    }
}

impl CountdownConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_ranges([("numbers", self.numbers, 2, 6), ("number", self.number, 1, 1000)])
    }
}

const SIGNS: [char; 3] = ['+', '-', '*'];

pub(super) fn draw(config: &CountdownConfig, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    let mut range = |[low, high]: [i64; 2]| rng.random_range(low..=high);
    let numbers: Vec<i64> = (0..range(config.numbers)).map(|_| range(config.number)).collect();
    let tries = 3_usize.pow(numbers.len() as u32 - 1);
    let chosen = range([0, tries as i64 - 1]) as usize;
    let values: Vec<i64> = (0..tries).map(|number| evaluate(&numbers, number)).collect();
    let target = values[chosen];
    if target < 0 || values.iter().filter(|value| **value == target).count() != 1 {
        return None;
    }
    let steps: Vec<String> =
        (0..=chosen).map(|number| format!("{}={}", expression(&numbers, number), values[number])).collect();
    let listed: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Some(Drawn {
        question: format!(
            "Put +, - or * between the numbers {}, in this order, to reach {target}. * goes first.",
            listed.join(", ")
        ),
        answer: expression(&numbers, chosen),
        solution: steps.join("\n"),
        reference: Reference::Text,
    })
}

/// The signs of try `number`: its digits in base three.
fn signs(count: usize, number: usize) -> impl Iterator<Item = char> {
    (0..count).map(move |place| SIGNS[number / 3_usize.pow(place as u32) % 3])
}

fn expression(numbers: &[i64], number: usize) -> String {
    let rest = signs(numbers.len() - 1, number).zip(&numbers[1..]).map(|(sign, value)| format!("{sign}{value}"));
    format!("{}{}", numbers[0], rest.collect::<String>())
}

/// With multiplication before addition and subtraction.
fn evaluate(numbers: &[i64], number: usize) -> i64 {
    let (mut sum, mut product) = (0, numbers[0]);
    for (sign, value) in signs(numbers.len() - 1, number).zip(&numbers[1..]) {
        match sign {
            '*' => product *= value,
            '+' => (sum, product) = (sum + product, *value),
            _ => (sum, product) = (sum + product, -value),
        }
    }
    sum + product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::{GeneratorConfig, generate};

    /// Evaluates an expression without signs' numbering.
    fn value(expression: &str) -> i64 {
        let terms = expression.replace('-', "+-");
        terms
            .split('+')
            .map(|term| term.split('*').map(|factor| factor.parse::<i64>().expect("a number")).product::<i64>())
            .sum()
    }

    #[test]
    fn the_answer_reaches_the_target_with_the_given_numbers() {
        for problem in generate(&GeneratorConfig::Countdown(CountdownConfig::default()), 3).expect("problems") {
            let question = &problem.messages[0].content;
            let (given, target) = question
                .trim_start_matches("Put +, - or * between the numbers ")
                .split_once(", in this order, to reach ")
                .expect("a question");
            let target: i64 = target.trim_end_matches(". * goes first.").parse().expect("a target");
            assert_eq!(value(&problem.answer), target, "{question}");
            assert_eq!(
                problem.answer.split(['+', '-', '*']).collect::<Vec<_>>(),
                given.split(", ").collect::<Vec<_>>()
            );
            let solution = problem.solution.expect("a solution");
            for step in solution.lines() {
                let (left, right) = step.split_once('=').expect("a step");
                assert_eq!(value(left).to_string(), right);
            }
            assert!(solution.ends_with(&format!("{}={target}", problem.answer)));
        }
    }
}
