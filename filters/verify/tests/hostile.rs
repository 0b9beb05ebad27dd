//! Answers that are made to hurt: they come back as unknown or unequal, without a panic, and without being worked out.

use distill_verify::{Certainty, Policy, Verdict, judge_answer, judge_math};
use proptest::prelude::*;

fn verdict(answer: &str, gold: &str) -> Verdict {
    judge_answer(answer, gold, &Policy::default()).verdict
}

#[test]
fn what_would_take_for_ever_is_not_worked_out() {
    let matrices = "\\begin{pmatrix}a&b\\\\c&d\\end{pmatrix}".repeat(24);
    let determinants =
        (0..12).fold("x".to_owned(), |inner, _| format!("\\begin{{vmatrix}}{inner}&1\\\\2&{inner}\\end{{vmatrix}}"));
    let nested = (0..60).fold("x".to_owned(), |inner, _| format!("\\int_0^{{{inner}}} x^3 dx"));
    let set = format!("\\{{{}\\}}", (0..200).map(|n| format!("\\sqrt{{x+{n}}}")).collect::<Vec<_>>().join(","));
    let answers = [
        "9^{9^{9^9}}".to_owned(),
        "(10^9)!".to_owned(),
        "((((5!)!)!)!)!".to_owned(),
        "\\binom{10^{18}}{10^{17}}".to_owned(),
        "\\sum_{k=1}^{10^{18}} k".to_owned(),
        "(x+y+t+1)^{60}(x-y)^{60}".to_owned(),
        "2^{1/2^{1/2^{1/2^{1/2}}}}".to_owned(),
        "1e999999999".to_owned(),
        format!("{}1{}", "(".repeat(3000), ")".repeat(3000)),
        format!("{}x", "\\sqrt{".repeat(900)),
        format!("{}x", "\\sin ".repeat(700)),
        format!("x{}", "!".repeat(3900)),
        format!("x{}2", "^{".repeat(1900)),
        format!("|{}", "|".repeat(3000)),
        "\\text{".repeat(700),
        "\\frac".repeat(700),
        "9".repeat(3999),
        format!("0.{}", "3".repeat(3000)),
        format!("\\{}", "a".repeat(3900)),
        "\\boxed{".repeat(1 << 15),
        "{".repeat(1 << 20),
        "(A) ".repeat(900),
        matrices,
        determinants,
        nested,
        set,
    ];
    for answer in &answers {
        let shown: String = answer.chars().take(40).collect();
        for gold in ["3", "x^2 + 1", "\\{1, 2\\}", answer.as_str()] {
            let judged = judge_answer(answer, gold, &Policy::default());
            let same_text = gold == answer;
            assert!(judged.verdict != Verdict::Equal || same_text, "{shown} against {gold}: {judged:?}");
            let back = judge_answer(gold, answer, &Policy::default());
            assert!(back.verdict != Verdict::Equal || same_text, "{gold} against {shown}");
        }
        judge_math(answer, "3", &Policy::default());
    }
}

#[test]
fn a_tower_beside_its_neighbour_is_not_called_equal() {
    for (a, b) in [("9^{9^9}", "9^{9^9}+1"), ("10^{400}+1", "10^{400}"), ("e^{-1000}", "0"), ("(10^9)!", "(10^9)!+1")] {
        assert_ne!(verdict(a, b), Verdict::Equal, "{a} against {b}");
    }
}

#[test]
fn an_answer_that_was_cut_off_is_none() {
    for response in ["I do not know", "\\boxed{3", ""] {
        let judged = judge_math(response, "3", &Policy::default());
        assert_eq!((judged.verdict, judged.reason), (Verdict::Unknown, "no-answer"), "{response}");
    }
}

#[test]
fn policies_turn_what_differs_by_convention_around() {
    let judge = |answer: &str, gold: &str, policy: &Policy| judge_answer(answer, gold, policy).verdict;
    let default = Policy::default();
    for (gold, answer, off) in [
        ("x = 5", "5", Policy { bare_names: false, ..default.clone() }),
        ("5 \\text{ cm}", "5", Policy { bare_units: false, ..default.clone() }),
        ("28 \\%", "28", Policy { bare_percent: false, ..default.clone() }),
        ("3.142", "\\pi", Policy { rounding: false, ..default.clone() }),
    ] {
        assert_eq!(judge(answer, gold, &default), Verdict::Equal, "{gold} and {answer} by default");
        assert_ne!(judge(answer, gold, &off), Verdict::Equal, "{gold} and {answer} with the convention off");
    }
    for (gold, answer, on) in [
        ("(1, 2)", "\\{1, 2\\}", Policy { tuple_for_set: true, ..default.clone() }),
        ("\\frac13", "0.3333", Policy { rounded_answers: true, ..default.clone() }),
    ] {
        assert_ne!(judge(answer, gold, &default), Verdict::Equal, "{gold} and {answer} by default");
        assert_eq!(judge(answer, gold, &on), Verdict::Equal, "{gold} and {answer} with the convention on");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics_and_nothing_proven_is_contradicted(
        gold in "[-0-9a-z+*/^_(){}\\[\\]|!,.;:=<>%$ \\\\]{0,40}",
        answer in "\\PC{0,40}",
    ) {
        let policy = Policy::default();
        let (there, back) = (judge_answer(&answer, &gold, &policy), judge_answer(&gold, &answer, &policy));
        let proven = there.certainty == Certainty::Proven && back.certainty == Certainty::Proven;
        let opposed = [(there.verdict, back.verdict), (back.verdict, there.verdict)]
            .contains(&(Verdict::Equal, Verdict::Unequal));
        prop_assert!(!(proven && opposed), "{there:?} {back:?}");
        prop_assert!(judge_answer(&gold, &gold, &policy).verdict != Verdict::Unequal, "{gold:?} is itself");
        judge_math(&answer, &gold, &policy);
    }

    #[test]
    fn a_number_equals_itself_however_it_is_written(value in any::<i64>(), zeros in 0_usize..6) {
        let padded = format!("{value}.{}", "0".repeat(zeros + 1));
        prop_assert_eq!(verdict(&padded, &value.to_string()), Verdict::Equal);
        let fraction = format!("\\frac{{{}}}{{{}}}", i128::from(value) * 6, 6);
        prop_assert_eq!(verdict(&fraction, &value.to_string()), Verdict::Equal);
        prop_assert_eq!(verdict(&value.to_string(), &(i128::from(value) + 1).to_string()), Verdict::Unequal);
    }
}
