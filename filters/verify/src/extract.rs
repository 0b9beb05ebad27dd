//! From what a response says after its reasoning to the answer that it states, and by which rule it was found.
//!
//! The last box (several, where only "and" or commas stand between them), then a stated
//! anchor ("the final answer is"). The last number of a text is not an answer; [`Rule::LastFormula`] takes it only where
//! the caller asks for that.

use crate::{anchor, boxed};

/// How an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The text is the answer itself.
    Given,
    /// The last `\boxed{…}`.
    Boxed,
    /// Several boxes with only "and" or commas between them.
    BoxedSeveral,
    /// Behind words like "the final answer is".
    Anchor,
    /// The last formula or number, on request.
    LastFormula,
}

impl Rule {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Given => "given",
            Rule::Boxed => "boxed",
            Rule::BoxedSeveral => "boxed-several",
            Rule::Anchor => "anchor",
            Rule::LastFormula => "last-formula",
        }
    }
}

/// An answer as it stands in the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Its text; several boxes are joined by commas.
    pub text: String,
    /// How it was found.
    pub rule: Rule,
}

/// The longest stretch between two boxes that an "and" joins whatever else it says, in characters.
const MAX_BREATH: usize = 40;

/// The answer in `text`, what a response says after its reasoning; `loose` also takes its last formula.
pub fn extract(text: &str, loose: bool) -> Option<Extracted> {
    concluded(text)
        .or_else(|| last_boxes(text))
        .or_else(|| anchor::anchored(text))
        .or_else(|| if loose { last_formula(text) } else { None })
}

/// "The final answer is $…$" behind the last box: what was boxed before was a step.
fn concluded(text: &str) -> Option<Extracted> {
    const ANCHOR: &str = "final answer is";
    let at = text.rfind(ANCHOR)? + ANCHOR.len();
    let behind = &text[at..];
    if behind.contains("\\boxed") || behind.contains("\\fbox") {
        return None;
    }
    let formula = anchor::formulas(behind.trim_start_matches([':', ' ', '*', '\n']))?;
    Some(Extracted { text: formula, rule: Rule::Anchor })
}

/// The answer within a worked solution: in its last box, or behind an anchor; nothing where the text is the answer.
pub(crate) fn within(text: &str) -> Option<Extracted> {
    const LONG: usize = 80;
    let boxed = text.contains("\\boxed") || text.contains("\\fbox");
    let found = if boxed { last_boxes(text) } else { None };
    found.or_else(|| if text.len() > LONG { anchor::anchored(text) } else { None })
}

fn last_boxes(text: &str) -> Option<Extracted> {
    let mut boxes = boxed::boxed_answers(text);
    let start = |answer: &str| answer.as_ptr() as usize - text.as_ptr() as usize;
    // Boxes that are left to be filled in, and what is rejected, where another box states something.
    let states = |answer: &&str| !is_blank(answer) && !is_rejected(&text[..start(answer)]);
    if boxes.iter().any(states) {
        boxes.retain(states);
    }
    let last = *boxes.last()?;
    let mut first = boxes.len() - 1;
    while first > 0 {
        let Some(gap) = text.get(start(boxes[first - 1]) + boxes[first - 1].len()..start(boxes[first])) else { break };
        if !joins(gap.strip_prefix('}').unwrap_or(gap)) {
            break;
        }
        first -= 1;
    }
    if first == boxes.len() - 1 {
        return Some(Extracted { text: last.trim().to_owned(), rule: Rule::Boxed });
    }
    let joined = boxes[first..].iter().map(|answer| answer.trim()).collect::<Vec<_>>().join(", ");
    Some(Extracted { text: joined, rule: Rule::BoxedSeveral })
}

/// A box that is only shown: `\boxed{}`, `\boxed{...}`, `\boxed{answer}`.
fn is_blank(answer: &str) -> bool {
    let plain = answer.trim().trim_start_matches("\\text{").trim_end_matches('}').trim().to_lowercase();
    matches!(
        plain.as_str(),
        "" | "..."
            | "…"
            | "\\ldots"
            | "\\dots"
            | "\\cdots"
            | "answer"
            | "your answer"
            | "final answer"
            | "\\quad"
            | "\\;"
            | "?"
            | "\\square"
            | "答案"
            | "your answer here"
            | "\\phantom{0"
    )
}

/// Whether what stands before a box takes it back: "rather than", "not".
fn is_rejected(before: &str) -> bool {
    const LONGEST: usize = 40;
    const WORDS: [&str; 12] = [
        "rather than",
        "instead of",
        "not",
        "isn't",
        "never",
        "not equal to",
        "而不是",
        "不是",
        "而非",
        "\\ne",
        "\\neq",
        "≠",
    ];
    let mut from = before.len().saturating_sub(LONGEST);
    while !before.is_char_boundary(from) {
        from += 1;
    }
    let tail = before[from..].to_lowercase();
    let tail = tail.trim_end_matches(['{', ' ', '$', '(', '[', '*', '\\']);
    let tail =
        tail.strip_suffix("\\boxed").or(tail.strip_suffix("\\fbox")).or(tail.strip_suffix("boxed")).unwrap_or(tail);
    let tail = tail.trim_end_matches([' ', '$', '(', '[', '*', '\\', '\n', ':']);
    WORDS.iter().any(|word| {
        tail.strip_suffix(word).is_some_and(|rest| !word.is_ascii() || !rest.ends_with(|c: char| c.is_alphanumeric()))
    })
}

/// Whether only "and", "or", commas, a name with its equals sign and mathematics' own marks stand between two boxes.
fn joins(gap: &str) -> bool {
    const MARKS: [&str; 11] = ["\\text", "\\quad", "\\qquad", "\\(", "\\)", "\\[", "\\]", "\\,", "\\;", "\\ ", "$"];
    let gap = gap.trim_end().trim_end_matches('{').trim_end();
    let gap = gap.strip_suffix("\\boxed").or(gap.strip_suffix("\\fbox")).unwrap_or(gap);
    if gap.is_empty() {
        return true;
    }
    let plain = MARKS.iter().fold(gap.to_owned(), |rest, mark| rest.replace(mark, " "));
    let breaks = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '，' | '、' | '{' | '}');
    let words: Vec<&str> = plain.split(breaks).filter(|word| !word.is_empty()).collect();
    // Something must join them: two boxes on lines of their own are two answers.
    let joined = |word: &&str| matches!(*word, "and" | "or" | "和" | "或");
    let named = |word: &&str| plain.contains('=') && (*word == "=" || word.len() <= 4 && word.is_ascii());
    // "\boxed{3} apples and \boxed{5} pears" in one breath.
    // Between them may nothing be concluded, taken back or compared.
    let turns = |word: &&str| {
        matches!(
            word.to_lowercase().trim_end_matches([':', '.']),
            "so" | "thus"
                | "hence"
                | "therefore"
                | "answer"
                | "not"
                | "than"
                | "but"
                | "because"
                | "since"
                | "if"
                | "instead"
                | "conclude"
                | "final"
                | "then"
                | "which"
                | "where"
                | "gives"
                | "means"
                | "implies"
                | "finally"
                | "when"
        )
    };
    let breath = gap.chars().count() <= MAX_BREATH
        && !plain.contains(['.', '\n'])
        && words.iter().any(joined)
        && !words.iter().any(turns);
    breath
        || words.iter().all(|word| joined(word) || named(word))
            && (words.iter().any(joined) || gap.contains([',', ';', '，', '、']))
}

/// The last formula or number of the text, whichever ends later.
fn last_formula(text: &str) -> Option<Extracted> {
    let mut best: Option<(usize, &str)> = None;
    for (open, close) in [("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]")] {
        if let Some(end) = text.rfind(close)
            && let Some(start) = text[..end].rfind(open)
            && best.is_none_or(|(at, _)| end > at)
        {
            best = Some((end, &text[start + open.len()..end]));
        }
    }
    if !text.contains("$$") {
        let dollars: Vec<usize> =
            text.match_indices('$').map(|(at, _)| at).filter(|at| !text[..*at].ends_with('\\')).collect();
        if let [.., start, end] = dollars.as_slice()
            && dollars.len().is_multiple_of(2)
            && best.is_none_or(|(at, _)| *end > at)
        {
            best = Some((*end, &text[start + 1..*end]));
        }
    }
    best = best.filter(|(_, formula)| !formula.trim().is_empty());
    let (_, found) = last_number(text).into_iter().chain(best).max_by_key(|(end, _)| *end)?;
    Some(Extracted { text: found.trim().to_owned(), rule: Rule::LastFormula })
}

/// The last run of digits with what belongs to it, and where it ends; not one within a word.
fn last_number(text: &str) -> Option<(usize, &str)> {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '/' | '-' | '−');
    let mut rest = text;
    while let Some(end) = rest.rfind(|c: char| c.is_ascii_digit()) {
        let start = rest[..end].char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(end, |(at, _)| at);
        if !rest[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '^' || c == '|') {
            return Some((end, rest[start..=end].trim_start_matches(',')));
        }
        rest = &rest[..start];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &str) -> Option<(String, Rule)> {
        extract(response, false).map(|found| (found.text, found.rule))
    }

    #[test]
    fn the_last_number_is_no_answer() {
        assert_eq!(text("I am done: 7"), None);
        assert_eq!(text(" \\boxed{2}"), Some(("2".into(), Rule::Boxed)));
    }

    #[test]
    fn several_boxes() {
        assert_eq!(text("\\boxed{1} and \\boxed{2}").map(|found| found.0), Some("1, 2".into()));
        assert_eq!(text("$\\boxed{1}$, $\\boxed{2}$").map(|found| found.1), Some(Rule::BoxedSeveral));
        assert_eq!(text("\\boxed{1} \\quad \\text{and} \\quad \\boxed{2}").map(|found| found.0), Some("1, 2".into()));
        assert_eq!(text("\\(a = \\boxed{1}\\) and \\(b = \\boxed{2}\\)").map(|found| found.0), Some("1, 2".into()));
        assert_eq!(text("\\boxed{1}\n\n\\boxed{2}").map(|found| found.0), Some("2".into()));
        assert_eq!(text("\\boxed{1} no no \\boxed{2}").map(|found| found.0), Some("2".into()));
    }

    #[test]
    fn anchors() {
        assert_eq!(text("a\n#### 1,234\n").map(|found| found.0), Some("1,234".into()));
        assert_eq!(text("#### 2 ways\nso 7"), None, "a heading is no answer");
        assert_eq!(text("The answer is 5. That is my final answer.").map(|found| found.0), Some("5".into()));
        assert_eq!(
            text("So the final answer is $\\frac{1}{2}$. Good.").map(|found| found.0),
            Some("\\frac{1}{2}".into())
        );
        assert_eq!(text("**Answer:** 12 apples.").map(|found| found.0), Some("12 apples".into()));
        assert_eq!(text("所以答案是 3.5。").map(|found| found.0), Some("3.5".into()));
    }
}
