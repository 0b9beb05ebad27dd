//! Multiple choice: which letter does a response state, and is it the right one?
//!
//! Only a box or an explicit anchor states a letter: a loose search for `A` finds the article. The text of an option stands
//! for its letter. A response that states two different letters states none.

use crate::{Certainty, Judgement, Policy, Verdict, boxed_answers, extract::Rule, judge_answer, plain_text};

/// Words after which a letter, or an option's text, is an answer.
const ANCHORS: [&str; 11] = [
    "answer is",
    "answer:",
    "answer is:",
    "correct option is",
    "correct choice is",
    "correct option:",
    "option is",
    "choice is",
    "答案是",
    "答案为",
    "答案：",
];
/// Words before a letter that are not part of it.
const TITLES: [&str; 5] = ["option", "choice", "answer", "选项", "letter"];
/// Longest text behind an anchor that is looked at.
const MAX_ANCHORED: usize = 200;

/// The options of a question: lines that begin with `A.`, `B)`, `(C)` or the like, from A on.
pub fn options_in(question: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for line in question.lines() {
        let Some((letter, text)) = lettered(line.trim()) else { continue };
        if letter == 0 {
            // The last list counts: an example in the question may have one too.
            options.clear();
        }
        if letter == options.len() {
            options.push(text.trim().to_owned());
        }
    }
    if options.len() < 2 { Vec::new() } else { options }
}

/// Judges the letter that `response` states against `gold`, a letter or the text of an option.
pub fn judge_choice(response: &str, gold: &str, options: &[String]) -> Judgement {
    let Some(wanted) = letter_of(gold, options, true) else { return Judgement::unknown("gold-is-no-choice") };
    let (stated, rule) = stated(response);
    let found = stated.join(" | ");
    let judgement = |verdict, certainty, reason| Judgement {
        verdict,
        certainty,
        reason,
        found: found.clone(),
        rule,
        ..Judgement::unknown(reason)
    };
    let letters: Vec<Option<usize>> = stated.iter().map(|text| letter_of(text, options, rule == Rule::Boxed)).collect();
    let Some(first) = letters.iter().flatten().next() else {
        return judgement(
            Verdict::Unknown,
            Certainty::Probable,
            if stated.is_empty() { "no-answer" } else { "no-choice" },
        );
    };
    if letters.iter().flatten().any(|letter| letter != first) {
        return judgement(Verdict::Unknown, Certainty::Probable, "several-choices");
    }
    // Behind an anchor stands a sentence, which may say something else about its first letter.
    let certainty = if rule == Rule::Boxed { Certainty::Proven } else { Certainty::Probable };
    match *first == wanted {
        true => judgement(Verdict::Equal, certainty, "same-choice"),
        false => judgement(Verdict::Unequal, certainty, "other-choice"),
    }
}

/// What a response states, in its boxes, else behind its anchors.
fn stated(text: &str) -> (Vec<String>, Rule) {
    let boxes = boxed_answers(text);
    if !boxes.is_empty() {
        return (boxes.iter().map(|answer| answer.trim().to_owned()).collect(), Rule::Boxed);
    }
    let lower = text.to_lowercase();
    let lower = if lower.len() == text.len() { lower } else { text.to_owned() };
    let mut places: Vec<usize> =
        ANCHORS.iter().flat_map(|anchor| lower.match_indices(anchor).map(|(at, _)| at + anchor.len())).collect();
    places.sort_unstable();
    let behind = |at: usize| {
        let rest = text[at..].trim_start_matches([':', ' ', '*', '：', '\n', '_', '$']);
        let line = rest.lines().next().unwrap_or("");
        let mut end = line.len().min(MAX_ANCHORED);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line[..end].trim().to_owned()
    };
    (places.into_iter().map(behind).filter(|text| !text.is_empty()).collect(), Rule::Anchor)
}

/// The place of the letter that a text is, from 0. `alone`: the text is an answer and nothing else, so that a small letter
/// may count.
fn letter_of(text: &str, options: &[String], alone: bool) -> Option<usize> {
    let text = bare(text);
    let known = |letter: &usize| options.is_empty() || *letter < options.len();
    let by_letter = lettered(text).filter(|(letter, _)| known(letter));
    let mut same = options.iter().enumerate().filter(|(_, option)| !option.is_empty() && alike(option, text));
    let by_text = same.next().map(|(place, _)| place).filter(|_| same.next().is_none());
    if let Some((letter, rest)) = by_letter {
        // `B) 5` where 5 is option C says two things.
        let rest = bare(rest);
        let contradicts =
            |(place, option): (usize, &String)| place != letter && !option.is_empty() && alike(option, rest);
        let contradiction = !rest.is_empty() && options.iter().enumerate().any(contradicts);
        return (!contradiction).then_some(letter);
    }
    if let Some(place) = by_text {
        return Some(place);
    }
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(c @ 'a'..='j'), None) if alone => Some(c as usize - 'a' as usize).filter(known),
        _ => None,
    }
}

/// Without LaTeX's wrapping, emphasis, and a title like `Option`.
fn bare(text: &str) -> &str {
    let mut text = text.trim().trim_matches(['$', '*', '_', '`', ' ']);
    for wrapper in ["\\text", "\\textbf", "\\mathrm", "\\mathbf", "\\textrm", "\\boxed"] {
        let inner = text.strip_prefix(wrapper).and_then(|rest| rest.trim_start().strip_prefix('{'));
        if let Some(inner) = inner.and_then(|rest| rest.strip_suffix('}')) {
            text = inner.trim();
        }
    }
    let lower = text.to_lowercase();
    for title in TITLES {
        let behind = lower.starts_with(title).then(|| text.get(title.len()..)).flatten();
        if let Some(rest) = behind.filter(|rest| rest.starts_with([' ', ':', '('])) {
            text = rest.trim_start_matches([' ', ':']);
        }
    }
    text
}

/// `B`, `B.`, `(B)`, `B) text`, `B: text`: the letter's place and what follows.
fn lettered(text: &str) -> Option<(usize, &str)> {
    let open = text.strip_prefix('(').or_else(|| text.strip_prefix('['));
    let inner = open.unwrap_or(text);
    let letter = inner.chars().next().filter(|c| matches!(c, 'A'..='J'))?;
    let rest = inner.strip_prefix(letter)?.trim_start_matches(['*', '_', '$', '}']);
    let rest = match (open, rest.chars().next()) {
        (Some(_), Some(')' | ']')) => &rest[1..],
        (Some(_), _) => return None,
        (None, None) => rest,
        (None, Some('.' | ')' | ':')) => &rest[1..],
        // `A, because …` and `A and B`: the letter, and what follows.
        (None, Some(',')) => &rest[1..],
        (None, Some('，' | '。' | '、' | '：')) => rest.get(3..)?,
        (None, Some(_)) => return None,
    };
    // `A.B` and `A, B` name two.
    let second = rest.trim_start_matches([' ', ',', '(', '&']);
    let second = second.strip_prefix("and ").or(second.strip_prefix("or ")).unwrap_or(second).trim_start_matches('(');
    let mut following = second.chars();
    let two = matches!(following.next(), Some('A'..='J'))
        && following.next().is_none_or(|c| matches!(c, ')' | '.' | ',' | ' ') && !second[1..].starts_with(". "));
    let named_two = two && (second.len() <= 2 || second[1..].starts_with([')', ',']));
    (!named_two).then_some((letter as usize - 'A' as usize, rest.trim()))
}

/// The same text, or the same value.
fn alike(option: &str, text: &str) -> bool {
    let text = text.trim_end_matches('.');
    let same_text = plain_text(option) == plain_text(text);
    same_text || !text.is_empty() && judge_answer(text, option, &Policy::default()).verdict == Verdict::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Vec<String> {
        ["Paris", "\\frac{1}{2}", "a dog", "7 apples"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_letter_is_stated_in_a_box_or_behind_an_anchor() {
        for (response, gold, verdict, reason) in [
            ("\\boxed{B}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{b}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{\\text{(B)}}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{\\textbf{B. }\\frac12}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{B) \\frac12}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{B) Paris}", "B", Verdict::Unknown, "no-choice"),
            ("\\boxed{Paris}", "A", Verdict::Equal, "same-choice"),
            ("\\boxed{0.5}", "B", Verdict::Equal, "same-choice"),
            ("\\boxed{0.5}", "C", Verdict::Unequal, "other-choice"),
            ("The answer is B.", "B", Verdict::Equal, "same-choice"),
            ("The answer is **(C)** because", "C", Verdict::Equal, "same-choice"),
            ("Answer: Option D", "D", Verdict::Equal, "same-choice"),
            ("The answer is a dog.", "C", Verdict::Equal, "same-choice"),
            ("The answer is a mystery to me.", "A", Verdict::Unknown, "no-choice"),
            ("A dog is what I would say. B is wrong.", "B", Verdict::Unknown, "no-answer"),
            ("I think B", "B", Verdict::Unknown, "no-answer"),
            ("\\boxed{A} or \\boxed{B}", "B", Verdict::Unknown, "several-choices"),
            ("\\boxed{A, B}", "B", Verdict::Unknown, "no-choice"),
            ("\\boxed{A and B}", "A", Verdict::Unknown, "no-choice"),
            ("The answer is A. No: the answer is B.", "B", Verdict::Unknown, "several-choices"),
            ("\\boxed{E}", "B", Verdict::Unknown, "no-choice"),
            ("\\boxed{C}", "a dog", Verdict::Equal, "same-choice"),
            ("\\boxed{C}", "a cat", Verdict::Unknown, "gold-is-no-choice"),
        ] {
            let judgement = judge_choice(response, gold, &options());
            assert_eq!(
                (judgement.verdict, judgement.reason),
                (verdict, reason),
                "{response} against {gold}: {judgement:?}"
            );
        }
        assert_eq!(judge_choice("\\boxed{E}", "(E)", &[]).verdict, Verdict::Equal, "without options any letter");
    }

    #[test]
    fn options_are_read_from_a_question() {
        let question = "Which city?\n(A) Paris\n(B) Rome\n";
        assert_eq!(options_in(question), ["Paris", "Rome"]);
        assert_eq!(options_in("A. x\nB. y\n\nNow:\nA) 1\nB) 2\nC) 3"), ["1", "2", "3"]);
        assert!(options_in("A. Lincoln was a president.").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(response in ".{0,60}", gold in ".{0,10}") {
            judge_choice(&response, &gold, &options());
            judge_choice(&format!("answer is {response} \\boxed{{{gold}}}"), &gold, &[]);
            options_in(&response);
        }
    }
}
