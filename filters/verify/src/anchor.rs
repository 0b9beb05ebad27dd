//! What a response states behind words like "the answer is": the formula, or the clause, that stands there; not what the
//! rest of the sentence says of it.

use crate::extract::{Extracted, Rule};
use crate::read::words;

/// Longest stretch behind an anchor that is looked at.
const MAX_ANCHORED: usize = 400;
/// More anchors of a kind, from the end, are not looked at.
const MAX_ANCHORS: usize = 32;

const ANCHORS: &[&str] = &[
    "final answer is",
    "final answer:",
    "final answer",
    "answer is",
    "answer:",
    "answer is:",
    "answer should be",
    "answer would be",
    "answer must be",
    "answer equals",
    "答案是",
    "答案为",
    "答案為",
    "答案：",
    "答案:",
    "答案应为",
    "答案应是",
    "答案应该是",
    "答案就是",
    "答案等于",
    "答案即为",
    "答案选",
    "最终答案",
    "结果是",
    "结果为",
    "答：",
];

/// What takes an anchor back, right behind it.
const DENIALS: &[&str] = &[
    "not ",
    "n't ",
    "is not ",
    "isn't ",
    "no longer ",
    "never ",
    "cannot ",
    "不",
    "并不",
    "并非",
    "非",
    "是不",
    "unlikely ",
];

/// Words between an anchor and what it states.
const FILLERS: &[&str] = &[
    "therefore ",
    "thus ",
    "hence ",
    "simply ",
    "just ",
    "then ",
    "indeed ",
    "clearly ",
    "still ",
    "actually ",
    "also ",
    "therefore, ",
    "thus, ",
    "hence, ",
    "equal to ",
    "that ",
    "given by ",
    "is ",
    "是",
    "为",
    "應為",
    "应为",
];

/// Where a clause ends that states a value: what follows says why, or what else is so.
const ENDS: &[&str] = &[
    " because ",
    " since ",
    " where ",
    " as ",
    " when ",
    " which ",
    " so ",
    " if ",
    " while ",
    " due to ",
    " by ",
    " after ",
    " for which ",
    " (this ",
    " (that ",
    " (since ",
    " (because ",
    " (which ",
    " (as ",
    " (i.e",
    " (it ",
    " (the ",
    " (note",
    " (see ",
    " (when ",
    " (where ",
    " (not ",
    " – ",
    " — ",
    " and that ",
    " and this ",
    " and it ",
    " and is ",
    ", so ",
    ", as ",
    ", with ",
    ", where ",
    ", when ",
    ", and it ",
    ", and is ",
    ", the ",
    ", a ",
    ", it ",
    ", this ",
    ", that ",
    "，因为",
    "，所以",
    "，其中",
    "，即",
];

/// Where any clause ends.
const TURNS: &[&str] = &[
    ", which ",
    ", because ",
    ", since ",
    ", and that ",
    ", and this ",
    " rather than ",
    " instead of ",
    ", not ",
    ", rather ",
    ", instead ",
    " and not ",
    " but not ",
    "，而不是",
    "而不是",
    "，不是",
    "，而非",
    ", although ",
    ", though ",
    ", but ",
];

/// The answer behind the last anchor that states one.
pub(crate) fn anchored(text: &str) -> Option<Extracted> {
    let lower = text.to_lowercase();
    // Lower case can change lengths; then places do not fit and only exact spellings count.
    let lower = if lower.len() == text.len() { lower } else { text.to_owned() };
    let places = |anchor: &&str| {
        lower.rmatch_indices(*anchor).take(MAX_ANCHORS).map(|(at, _)| at + anchor.len()).collect::<Vec<_>>()
    };
    let mut ends: Vec<usize> = ANCHORS.iter().flat_map(places).collect();
    ends.extend(last_line(text));
    ends.sort_unstable_by(|a, b| b.cmp(a));
    ends.dedup();
    ends.into_iter().find_map(|at| {
        let behind = text[at..].trim_start_matches([':', ' ', '*', '：', '\n', '=', '_']).trim_start();
        let mut end = behind.len().min(MAX_ANCHORED);
        while !behind.is_char_boundary(end) {
            end -= 1;
        }
        let answer = stated(&behind[..end])?;
        Some(Extracted { text: answer, rule: Rule::Anchor })
    })
}

/// What stands right behind an anchor; nothing where that takes it back.
fn stated(behind: &str) -> Option<String> {
    let mut behind = behind;
    loop {
        let lower = behind.to_lowercase();
        if DENIALS.iter().any(|denial| lower.starts_with(denial)) {
            return None;
        }
        let filler = FILLERS.iter().find(|filler| lower.starts_with(**filler));
        match filler.and_then(|filler| behind.get(filler.len()..)) {
            Some(rest) => behind = rest.trim_start(),
            None => break,
        }
    }
    if let Some(formulas) = formulas(behind) {
        return Some(formulas);
    }
    let clause = clause(sentence(behind));
    let answer = clause.trim().trim_end_matches(['*', '_', ',', ';', '，']).trim();
    (!answer.is_empty()).then(|| answer.to_owned())
}

/// The formula at the beginning; several that commas or an "and" join are a list.
pub(crate) fn formulas(text: &str) -> Option<String> {
    let (first, mut rest) = formula(text)?;
    let mut all = vec![first.trim()];
    loop {
        let behind = rest.trim_start_matches([' ', ',']);
        let joined = ["and ", "or ", "和", "或"].into_iter().find_map(|word| behind.strip_prefix(word));
        let comma = rest.trim_start().starts_with(',');
        let Some((next, after)) = joined.or(comma.then_some(behind)).and_then(|next| formula(next.trim_start())) else {
            break;
        };
        all.push(next.trim());
        rest = after;
    }
    Some(all.join(", "))
}

/// A clause without what follows the value that it states, and without what is said before it.
fn clause(sentence: &str) -> &str {
    let cut = |text: &str, marks: &[&str]| {
        let lower = text.to_ascii_lowercase();
        marks.iter().filter_map(|mark| lower.find(mark)).min().filter(|at| *at > 0).unwrap_or(text.len())
    };
    let sentence = &sentence[..cut(sentence, TURNS)];
    let head = &sentence[..cut(sentence, ENDS)];
    if is_value(head) {
        return head;
    }
    // "the volume of the prism is 120"
    match sentence.rsplit_once(" is ") {
        Some((before, value)) if !is_value(before) => clause(value),
        _ => sentence,
    }
}

/// Whether a text begins as a value does, and not as a sentence.
fn is_value(text: &str) -> bool {
    let text = text.trim();
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return false };
    if !first.is_alphabetic() || !first.is_ascii() && text.chars().count() <= 8 {
        return true;
    }
    // x = 2, f(x) = …, B
    let next = chars.as_str().trim_start().chars().next();
    let variable = chars.as_str().chars().next().is_none_or(|c| !c.is_alphanumeric());
    let symbol = next.is_none_or(|c| !c.is_alphabetic() && !c.is_whitespace());
    variable && symbol || words::number(text).is_some() || !text.contains(' ') && text.len() < 40
}

/// `#### 42` or `A: 42` on the last line, as GSM8K and its models write it; elsewhere they are headings and choices.
fn last_line(text: &str) -> Option<usize> {
    let text = text.trim_end();
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    let rest = ["####", "A:"].into_iter().find_map(|mark| text[start..].trim_start().strip_prefix(mark))?;
    let number = rest.trim_start().trim_start_matches(['-', '$', ' ']).starts_with(|c: char| c.is_ascii_digit());
    number.then_some(text.len() - rest.len())
}

/// `$…$`, `\(…\)` or `\[…\]` right at the beginning, and what follows it.
fn formula(text: &str) -> Option<(&str, &str)> {
    for (open, close) in [("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("$", "$")] {
        if let Some(inner) = text.strip_prefix(open)
            && let Some(end) = inner.find(close)
            && !inner[..end].trim().is_empty()
            && (open != "$" || !inner.starts_with(|c: char| c.is_ascii_digit()) || !inner[..end].contains(' '))
        {
            return Some((&inner[..end], &inner[end + close.len()..]));
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
