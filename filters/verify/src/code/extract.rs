//! The code of a response: the last fenced block of the right language after the reasoning, merged with what solutions
//! begin with.

use super::Language;

/// Columns that a tab stands for.
const TAB: usize = 4;
/// How much farther in than its beginning a block may end, as in CommonMark.
const SLACK: usize = 3;

/// A block that is being read.
struct Block<'t> {
    /// The marks it began with.
    fence: &'t str,
    /// The column of these marks, and how many marks of quotation stand before them.
    column: usize,
    quotes: usize,
    /// Whether it is of the right language, where it says of which.
    right: Option<bool>,
    /// Before which column white space is not the code's: `None` until a line says.
    margin: Option<usize>,
    text: String,
}

/// The last closed fenced block in `language` of what a response says after its reasoning; where no block names a language, the last
/// block. A block that was never closed was cut off, and is none. Blocks may stand in lists and quotations, on a bullet too:
/// what is before their column is not theirs.
pub fn last_block(answer: &str, language: Language) -> Option<String> {
    let answer = answer.trim_start_matches('\u{feff}');
    let (mut named, mut unnamed) = (None, None);
    let mut open: Option<Block<'_>> = None;
    for line in answer.lines() {
        if let Some(block) = &mut open {
            let (inside, column) = quoted(line, block.quotes);
            let bare = inside.trim_start_matches([' ', '\t']);
            let marks = fence(bare).filter(|marks| marks.starts_with(block.fence));
            let near = column + width(&inside[..inside.len() - bare.len()]) <= block.column + SLACK;
            match marks.filter(|_| near).map(|marks| bare[marks.len()..].trim()) {
                Some("") => {
                    match block.right {
                        Some(true) => named = Some(std::mem::take(&mut block.text)),
                        Some(false) => {}
                        None => unnamed = Some(std::mem::take(&mut block.text)),
                    }
                    open = None;
                    continue;
                }
                // Nobody closed the last one.
                Some(info) if word(info).and_then(Language::named).is_some() => {}
                _ => {
                    if !bare.is_empty() && block.margin.is_none() {
                        // On a bullet, but not in its paragraph: written as if there were none.
                        block.margin = Some(if bare.len() == inside.len() { column } else { block.column });
                    }
                    block.text.push_str(without(inside, column, block.margin.unwrap_or(block.column)));
                    block.text.push('\n');
                    continue;
                }
            }
        }
        open = beginning(line, language).or(open);
    }
    named.or(unnamed)
}

/// The block that begins in a line.
fn beginning(line: &str, language: Language) -> Option<Block<'_>> {
    let (mut rest, mut quotes) = (line, 0);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(after) = rest.strip_prefix('>') {
            (rest, quotes) = (after, quotes + 1);
        } else if let Some(after) = after_bullet(rest) {
            rest = after;
        } else {
            break;
        }
    }
    let fence = fence(rest)?;
    let info = rest[fence.len()..].trim();
    // A backtick in what follows makes it text, not a fence.
    if fence.starts_with('`') && info.contains('`') {
        return None;
    }
    let right = word(info).map(|word| Language::named(word) == Some(language));
    Some(Block {
        fence,
        column: width(&line[..line.len() - rest.len()]),
        quotes,
        right,
        margin: None,
        text: String::new(),
    })
}

/// What follows a bullet or a number of a list.
fn after_bullet(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let after = match digits {
        0 => line.strip_prefix(['-', '*', '+', '•'])?,
        1..=9 => line[digits..].strip_prefix(['.', ')'])?,
        _ => return None,
    };
    after.starts_with([' ', '\t']).then_some(after)
}

/// The word of a fence's information that names a language: `python title="x"`, `{.python}` and `python=` name one too.
fn word(info: &str) -> Option<&str> {
    let info = info.trim_start_matches(['{', '.']);
    let end = info.find(|c: char| c.is_whitespace() || "}{,:=;([|".contains(c)).unwrap_or(info.len());
    Some(&info[..end]).filter(|word| !word.is_empty())
}

/// What a line holds after so many marks of quotation, and in which column that begins. A line that has fewer is lazy.
fn quoted(line: &str, quotes: usize) -> (&str, usize) {
    let mut rest = line;
    for _ in 0..quotes {
        match rest.trim_start_matches([' ', '\t']).strip_prefix('>') {
            Some(after) => rest = after,
            None => break,
        }
    }
    (rest, width(&line[..line.len() - rest.len()]))
}

/// What is left of a line that begins in one column without the white space before another.
fn without(line: &str, begins: usize, column: usize) -> &str {
    let (mut at, mut rest) = (begins, line);
    while at < column {
        match rest.strip_prefix([' ', '\t']) {
            Some(after) => {
                at += width(&rest[..rest.len() - after.len()]);
                rest = after;
            }
            None => break,
        }
    }
    rest
}

fn width(text: &str) -> usize {
    text.chars().map(|c| if c == '\t' { TAB } else { 1 }).sum()
}

/// Three or more backticks or tildes at the beginning of a line.
fn fence(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    (length >= 3).then(|| &line[..length])
}

/// Code as a program: without a byte-order mark, and without white space that all its lines begin with.
pub(super) fn program(code: &str) -> String {
    let code = code.trim_start_matches('\u{feff}');
    let filled = || code.lines().filter(|line| !line.trim().is_empty());
    let margin = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let common = filled().map(margin).min().unwrap_or(0);
    let Some(first) = filled().next().filter(|_| common > 0) else { return code.to_owned() };
    // Lines that begin with other white space are for Python to judge.
    let first = &first[..common];
    if !filled().all(|line| line.starts_with(first)) {
        return code.to_owned();
    }
    let lines = code.split('\n').map(|line| line.strip_prefix(first).unwrap_or(line.trim_start_matches([' ', '\t'])));
    lines.collect::<Vec<_>>().join("\n")
}

/// Python code merged with what solutions begin with. Code that defines the function comes after a starter that is whole
/// by itself (so that its imports and helpers count), and replaces one that breaks off; code that does not define it goes
/// on where the starter ends.
pub(super) fn merge(starter: &str, code: &str, function: Option<&str>) -> String {
    let Some(function) = function else { return program(code) };
    let whole = program(code);
    if starter.trim().is_empty() {
        return whole;
    }
    if !defines(&whole, function) {
        return format!("{starter}{code}", code = code.trim_start_matches('\u{feff}'));
    }
    let last = starter.lines().rev().map(str::trim_end).find(|line| !line.trim().is_empty()).unwrap_or("");
    if last.ends_with(':') || last.trim_start().starts_with('@') {
        return whole;
    }
    // `from __future__` must come first, wherever it was written.
    if whole.contains("from __future__") {
        return whole;
    }
    format!("{starter}\n\n{whole}")
}

fn defines(code: &str, function: &str) -> bool {
    code.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line).trim_start();
        let rest = line.strip_prefix("def ").or_else(|| line.strip_prefix("class ")).map(str::trim_start);
        let assigned = line.strip_prefix(function).is_some_and(|rest| {
            let rest = rest.trim_start();
            rest.starts_with('=') && !rest.starts_with("==")
        });
        assigned
            || rest
                .and_then(|rest| rest.strip_prefix(function))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(response: &str) -> Option<String> {
        last_block(response, Language::Python)
    }

    #[test]
    fn the_last_block_of_the_language_after_the_reasoning_counts() {
        let python = |code: &str| format!("```python\n{code}\n```\n");
        assert_eq!(block(&python("x = 1")).as_deref(), Some("x = 1\n"));
        assert_eq!(block(&(python("x = 1") + &python("x = 2"))).as_deref(), Some("x = 2\n"));
        assert_eq!(block(&(python("x = 1") + "```bash\nls\n```")).as_deref(), Some("x = 1\n"));
        assert_eq!(
            block(&(python("x = 1") + "```\n42\n```")).as_deref(),
            Some("x = 1\n"),
            "a named block goes before an unnamed one"
        );
        assert_eq!(block("```\nx = 1\n```").as_deref(), Some("x = 1\n"));
        assert_eq!(block("```python\nx = 1\n"), None, "cut off");
        assert_eq!(block("```cpp\nint x;\n```"), None);
        assert_eq!(
            block("~~~~py\n```\nx\n```\n~~~~").as_deref(),
            Some("```\nx\n```\n"),
            "a longer fence holds a shorter one"
        );
        assert_eq!(block("  ```Python3 title=\"a\"\n  x = 1\n  ```").as_deref(), Some("x = 1\n"));
        assert_eq!(block("```python\r\nx = 1\r\n```\r\n").as_deref(), Some("x = 1\n"));
        assert_eq!(last_block("```c++\nint x;\n```", Language::Cpp).as_deref(), Some("int x;\n"));
    }

    /// Lines of the file: the language, the response and the code in it as JSON, `null` where there is none.
    #[test]
    fn blocks_are_found_where_they_stand() {
        let mut count = 0;
        for line in include_str!("../../tests/code/cases/blocks.jsonl").lines() {
            let (language, response, code): (Language, String, Option<String>) =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(last_block(&response, language), code, "{line}");
            count += 1;
        }
        assert!(count > 200, "{count}");
    }

    #[test]
    fn margins_are_taken_from_programs() {
        for (code, whole) in [
            ("x = 1\n", "x = 1\n"),
            ("  x = 1\n  if x:\n    y\n", "x = 1\nif x:\n  y\n"),
            ("\u{feff}x", "x"),
            ("\tx\n\n\ty", "x\n\ny"),
            ("    x\n\ty", "    x\n\ty"),
            ("  x\ny", "  x\ny"),
            ("", ""),
        ] {
            assert_eq!(program(code), whole, "{code:?}");
        }
    }

    #[test]
    fn starters_are_merged_by_what_the_code_defines() {
        let whole = "import math\n\ndef f(x):\n    \"\"\"Doc.\"\"\"\n";
        assert_eq!(merge(whole, "    return x\n", Some("f")), format!("{whole}    return x\n"));
        assert!(merge(whole, "def f(x):\n    return math.pi\n", Some("f")).starts_with("import math"));
        assert_eq!(
            merge("class Solution:\n    def f(self):\n", "class Solution:\n    def f(self): pass\n", Some("f")),
            "class Solution:\n    def f(self): pass\n"
        );
        assert!(merge(whole, "def fg(x): pass\n", Some("f")).ends_with("def fg(x): pass\n"));
        assert_eq!(merge("", "x", Some("f")), "x");
        assert_eq!(merge(whole, "    def f(x): pass\n", Some("f")), format!("{whole}\n\ndef f(x): pass\n"));
        assert_eq!(merge("", "  print(1)", None), "print(1)");
    }
}
