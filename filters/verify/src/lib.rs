//! Is this answer right? A model's text and a reference go in; equal, unequal or unknown comes out, with what was seen.
//!
//! Unknown is never folded into unequal: an answer that this crate cannot read is nobody's mistake.

mod boxed;
mod number;

pub use boxed::{boxed_answers, last_boxed};
pub use number::{Number, parse_number};

/// What the judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same number.
    Equal,
    /// Another number.
    Unequal,
    /// Not decided; `Judgement::reason` says why.
    Unknown,
}

/// A verdict with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Equal, unequal or unknown.
    pub verdict: Verdict,
    /// `equal`, `unequal`, `no-answer`, `answer-not-a-number`, `reference-not-a-number`, `percent-on-one-side`.
    pub reason: &'static str,
    /// The answer that was read out of the text; empty when there was none.
    pub found: String,
}

/// Judges the last boxed answer in `text` against `reference`, as integers, decimals or fractions, exactly.
pub fn judge_math(text: &str, reference: &str) -> Judgement {
    let Some(found) = last_boxed(text) else {
        return Judgement { verdict: Verdict::Unknown, reason: "no-answer", found: String::new() };
    };
    let (verdict, reason) = compare(found, reference);
    Judgement { verdict, reason, found: found.to_owned() }
}

/// Judges the last boxed answer in `text` against `reference` as text, white space at the ends aside.
pub fn judge_text(text: &str, reference: &str) -> Judgement {
    match last_boxed(text) {
        None => Judgement { verdict: Verdict::Unknown, reason: "no-answer", found: String::new() },
        Some(found) if found.trim() == reference.trim() => {
            Judgement { verdict: Verdict::Equal, reason: "equal", found: found.to_owned() }
        }
        Some(found) => Judgement { verdict: Verdict::Unequal, reason: "unequal", found: found.to_owned() },
    }
}

fn compare(found: &str, reference: &str) -> (Verdict, &'static str) {
    let Some(reference) = parse_number(reference) else { return (Verdict::Unknown, "reference-not-a-number") };
    let Some(found) = parse_number(found) else { return (Verdict::Unknown, "answer-not-a-number") };
    if found.percent != reference.percent {
        // 50% may be meant as 50 or as 0.5; only a person can tell.
        return (Verdict::Unknown, "percent-on-one-side");
    }
    if found.value == reference.value { (Verdict::Equal, "equal") } else { (Verdict::Unequal, "unequal") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(answer: &str, reference: &str) -> Verdict {
        judge_math(&format!("So the answer is $\\boxed{{{answer}}}$."), reference).verdict
    }

    #[test]
    fn equal_numbers_in_other_spellings() {
        let pairs = [
            ("42", "42"),
            ("+42", "42"),
            ("042", "42"),
            ("42.0", "42"),
            ("42.", "42"),
            ("-7", "\u{2212}7"),
            ("1,234", "1234"),
            ("1{,}234", "1234"),
            ("1\\,234", "1234"),
            ("\\$18", "18"),
            ("$18$", "18"),
            ("\\frac{1}{2}", "0.5"),
            ("\\dfrac{3}{4}", "3/4"),
            ("-\\frac{1}{2}", "-0.5"),
            ("\\frac12", "1/2"),
            ("2/4", "1/2"),
            ("1\\frac{1}{2}", "3/2"),
            ("-1\\frac{1}{2}", "-1.5"),
            ("x = 5", "5"),
            ("18\\%", "18%"),
            (".5", "1/2"),
            ("1e3", "1000"),
            ("\\text{ }7 \\text{ apples}", "7"),
            ("1.50", "1.5"),
            ("123456789012345678901234567890", "123456789012345678901234567890.000"),
        ];
        for (answer, reference) in pairs {
            assert_eq!(verdict(answer, reference), Verdict::Equal, "{answer} against {reference}");
        }
    }

    #[test]
    fn different_numbers_are_unequal() {
        let pairs =
            [("42", "43"), ("-7", "7"), ("0.333", "1/3"), ("1/2", "2/1"), ("1.2345", "12345"), ("1{,}234", "1.234")];
        for (answer, reference) in pairs {
            assert_eq!(verdict(answer, reference), Verdict::Unequal, "{answer} against {reference}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let cases = [
            ("x^2+1", "3", "answer-not-a-number"),
            ("\\sqrt{2}", "1.41", "answer-not-a-number"),
            ("", "3", "answer-not-a-number"),
            ("3", "many", "reference-not-a-number"),
            ("1/0", "3", "answer-not-a-number"),
            ("50\\%", "0.5", "percent-on-one-side"),
            ("12,34", "1234", "answer-not-a-number"),
            ("1 2", "12", "answer-not-a-number"),
            ("1e999999999", "3", "answer-not-a-number"),
            ("3 and 4", "4", "answer-not-a-number"),
            ("5, 6", "56", "answer-not-a-number"),
        ];
        for (answer, reference, reason) in cases {
            let judgement = judge_math(&format!("\\boxed{{{answer}}}"), reference);
            assert_eq!(
                (judgement.verdict, judgement.reason),
                (Verdict::Unknown, reason),
                "{answer} against {reference}"
            );
        }
        assert_eq!(judge_math("I do not know", "3").reason, "no-answer");
        assert_eq!(judge_math("\\boxed{3", "3").reason, "no-answer", "a box that never closes holds nothing");
    }

    #[test]
    fn the_last_box_counts_and_braces_nest() {
        assert_eq!(judge_math("\\boxed{1} no, \\boxed{\\frac{4}{2}}", "2").verdict, Verdict::Equal);
        assert_eq!(
            judge_math("\\boxed{7} and then \\boxed{", "7").verdict,
            Verdict::Equal,
            "an open box hides none before it"
        );
    }

    #[test]
    fn hostile_answers_cost_little() {
        let deep = format!("\\boxed{{{}", "{".repeat(1 << 20));
        assert_eq!(judge_math(&deep, "3").reason, "no-answer");
        assert_eq!(judge_math(&"\\boxed{".repeat(1 << 17), "3").reason, "no-answer");
        let long = format!("\\boxed{{{}}}", "9".repeat(1 << 20));
        assert_eq!(judge_math(&long, "3").reason, "answer-not-a-number");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,60}", reference in ".{0,20}") {
            judge_math(&format!("\\boxed{{{text}}}"), &reference);
            judge_math(&text, &reference);
        }

        #[test]
        fn a_number_equals_itself_however_it_is_written(value in any::<i64>(), scale in 0_usize..6) {
            let padded = format!("{value}.{}", "0".repeat(scale + 1));
            prop_assert_eq!(verdict(&padded, &value.to_string()), Verdict::Equal);
            let fraction = format!("\\frac{{{}}}{{{}}}", i128::from(value) * 6, 6);
            prop_assert_eq!(verdict(&fraction, &value.to_string()), Verdict::Equal);
            prop_assert_eq!(verdict(&value.to_string(), &(i128::from(value) + 1).to_string()), Verdict::Unequal);
        }
    }
}
