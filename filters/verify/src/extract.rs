//! From a whole response to the answer that it states, and by which rule it was found.
//!
//! After the last `</think>`: the last box (several, where only "and" or commas stand between them), then a stated
//! anchor ("the final answer is"). The last number of a text is not an answer; [`Rule::LastFormula`] takes it only where
//! the caller asks for that.

use crate::boxed;

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

/// Longest stretch behind an anchor that is looked at.
const MAX_ANCHORED: usize = 400;

const ANCHORS: &[&str] = &[
    "final answer is",
    "final answer:",
    "final answer",
    "answer is",
    "answer:",
    "answer is:",
    "答案是",
    "答案为",
    "答案：",
    "答案:",
    "最终答案",
];

/// The answer in `response`; `loose` also takes its last formula.
pub fn extract(response: &str, loose: bool) -> Option<Extracted> {
    let text = match response.rsplit_once("</think>") {
        Some((_, after)) => after,
        // Cut off while it was still thinking.
        None if response.contains("<think>") => return None,
        None => response,
    };
    last_boxes(text).or_else(|| anchored(text)).or_else(|| if loose { last_formula(text) } else { None })
}

/// What is in the last box of a text, or in its last boxes; nothing where it has none.
pub(crate) fn boxed(text: &str) -> Option<String> {
    if text.contains("\\boxed") || text.contains("\\fbox") { last_boxes(text).map(|found| found.text) } else { None }
}

fn last_boxes(text: &str) -> Option<Extracted> {
    let boxes = boxed::boxed_answers(text);
    let last = *boxes.last()?;
    let mut first = boxes.len() - 1;
    while first > 0 {
        let start = |answer: &str| answer.as_ptr() as usize - text.as_ptr() as usize;
        let gap = text.get(start(boxes[first - 1]) + boxes[first - 1].len() + 1..start(boxes[first]))?;
        if !joins(gap) {
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

/// Whether only "and", "or", commas and mathematics' own marks stand between two boxes.
fn joins(gap: &str) -> bool {
    let mut rest = gap.trim_end().trim_end_matches('{').trim_end().replace("\\boxed", " ").replace("\\fbox", " ");
    for mark in [
        "\\text{and}",
        "\\text{ and }",
        "\\text{or}",
        "\\text{ or }",
        "\\quad",
        "\\qquad",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\,",
        "\\;",
        "\\ ",
        "$",
    ] {
        rest = rest.replace(mark, " ");
    }
    let mut words = rest
        .split(|c: char| c.is_whitespace() || c == ',' || c == ';' || c == '，' || c == '、')
        .filter(|word| !word.is_empty());
    let mut count = 0;
    let fine = words.all(|word| {
        count += 1;
        matches!(word, "and" | "or" | "和" | "或")
    });
    // Something must join them: two boxes on lines of their own are two answers.
    fine && (count > 0 || gap.contains([',', ';', '，', '、']))
}

fn anchored(text: &str) -> Option<Extracted> {
    let lower = text.to_lowercase();
    // Lower case can change lengths; then places do not fit and only exact spellings count.
    let lower = if lower.len() == text.len() { lower } else { text.to_owned() };
    let mut ends: Vec<usize> =
        ANCHORS.iter().filter_map(|anchor| lower.rfind(anchor).map(|at| at + anchor.len())).collect();
    ends.extend(hashes(text));
    ends.sort_unstable_by(|a, b| b.cmp(a));
    // The last anchor with something behind it.
    ends.into_iter().find_map(|at| {
        let behind = text[at..].trim_start_matches([':', ' ', '*', '：', '\n', '=', '_']).trim_start();
        let mut end = behind.len().min(MAX_ANCHORED);
        while !behind.is_char_boundary(end) {
            end -= 1;
        }
        let behind = &behind[..end];
        let answer = first_formula(behind).unwrap_or_else(|| sentence(behind)).trim().trim_end_matches(['*', '_']);
        (!answer.is_empty()).then(|| Extracted { text: answer.to_owned(), rule: Rule::Anchor })
    })
}

/// `#### 42` on the last line, as GSM8K writes it; elsewhere it is a heading.
fn hashes(text: &str) -> Option<usize> {
    let at = text.rfind("####")? + "####".len();
    let last = text[at..].trim();
    let number = last.trim_start_matches(['-', '$', ' ']).starts_with(|c: char| c.is_ascii_digit());
    (number && !last.contains('\n')).then_some(at)
}

/// `$…$`, `\(…\)` or `\[…\]` right at the beginning, with what follows up to the sentence's end left out.
fn first_formula(text: &str) -> Option<&str> {
    for (open, close) in [("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$")] {
        if let Some(inner) = text.strip_prefix(open)
            && let Some(end) = inner.find(close)
            && !inner[..end].trim().is_empty()
            && (open != "$" || !inner.starts_with(|c: char| c.is_ascii_digit()) || !inner[..end].contains(' '))
        {
            return Some(&inner[..end]);
        }
    }
    None
}

/// Up to the end of the sentence or line.
fn sentence(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("");
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        let after = line[at + c.len_utf8()..].chars().next();
        if c == '。' || c == '.' && after.is_none_or(char::is_whitespace) || c == '<' && after == Some('|') {
            end = at;
            break;
        }
    }
    &line[..end]
}

/// The last formula of the text, or else its last number.
fn last_formula(text: &str) -> Option<Extracted> {
    let found = |text: &str| Some(Extracted { text: text.trim().to_owned(), rule: Rule::LastFormula });
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
    if let Some((_, formula)) = best.filter(|(_, formula)| !formula.trim().is_empty()) {
        return found(formula);
    }
    // The last run of digits with what belongs to it.
    let end = text.rfind(|c: char| c.is_ascii_digit())?;
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '/' | '-' | '−');
    let start = text[..end].char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(end, |(at, _)| at);
    found(text[start..=end].trim_matches([',', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &str) -> Option<(String, Rule)> {
        extract(response, false).map(|found| (found.text, found.rule))
    }

    #[test]
    fn only_what_follows_the_thinking_counts() {
        assert_eq!(text("<think>\\boxed{1}</think> \\boxed{2}"), Some(("2".into(), Rule::Boxed)));
        assert_eq!(text("<think>\\boxed{1}</think> I am done: 7"), None, "the last number is no answer");
    }

    #[test]
    fn several_boxes() {
        assert_eq!(text("\\boxed{1} and \\boxed{2}").map(|found| found.0), Some("1, 2".into()));
        assert_eq!(text("$\\boxed{1}$, $\\boxed{2}$").map(|found| found.1), Some(Rule::BoxedSeveral));
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
