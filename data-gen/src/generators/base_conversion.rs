//! Base conversion: `Write 45 in base 2.`, worked out by repeated division.

use super::{Drawn, check_ranges};
use distill_dataset::Reference;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Whole numbers to be written in another base. Two numbers are a range, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BaseConversionConfig {
    /// How many distinct problems.
    pub count: u32,
    /// The number to be converted.
    pub number: [i64; 2],
    /// The base to convert to.
    pub base: [i64; 2],
}

impl Default for BaseConversionConfig {
    fn default() -> Self {
        BaseConversionConfig { count: 1000, number: [2, 999], base: [2, 9] }
    }
}

impl BaseConversionConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_ranges([("number", self.number, 0, 1 << 40), ("base", self.base, 2, 16)])
    }
}

pub(super) fn draw(config: &BaseConversionConfig, rng: &mut ChaCha8Rng) -> Drawn {
    let mut range = |[low, high]: [i64; 2]| rng.random_range(low..=high);
    let (number, base) = (range(config.number), range(config.base));
    let (mut left, mut digits, mut steps) = (number, Vec::new(), Vec::new());
    loop {
        let (quotient, digit) = (left / base, left % base);
        steps.push(format!("{left}={base}*{quotient}+{digit}"));
        digits.push(char::from_digit(digit as u32, 16).unwrap_or('?'));
        left = quotient;
        if left == 0 {
            break;
        }
    }
    Drawn {
        question: format!("Write {number} in base {base}."),
        answer: digits.into_iter().rev().collect(),
        solution: steps.join("\n"),
        reference: Reference::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::{GeneratorConfig, generate};

    #[test]
    fn digits_are_those_of_the_number() {
        let config = BaseConversionConfig { base: [2, 16], number: [0, 5000], ..BaseConversionConfig::default() };
        for problem in generate(&GeneratorConfig::BaseConversion(config), 3).expect("problems") {
            let question = problem.messages[0].content.trim_start_matches("Write ").trim_end_matches('.');
            let (number, base) = question.split_once(" in base ").expect("a question");
            let base: u32 = base.parse().expect("a base");
            assert_eq!(i64::from_str_radix(&problem.answer, base).expect("digits").to_string(), number);
            assert!(problem.answer == "0" || !problem.answer.starts_with('0'));
        }
    }
}
