//! The code of a response: the last fenced block of the right language after the reasoning, merged with what solutions
//! begin with.

use super::Language;

/// The last closed fenced block in `language` after the last `</think>`; where no block names a language, the last
/// block. A block that was never closed was cut off, and is none.
pub fn last_block(response: &str, language: Language) -> Option<String> {
    let answer = match response.rfind("</think>") {
        Some(close) => &response[close + "</think>".len()..],
        None if response.contains("<think>") => return None,
        None => response,
    };
    let (mut named, mut unnamed) = (None, None);
    let mut open: Option<(&str, Option<bool>, Vec<&str>)> = None;
    for line in answer.lines() {
        let bare = line.trim_start();
        let fence = fence(bare).filter(|_| line.len() - bare.len() <= 3);
        match (&mut open, fence) {
            (None, Some(fence)) => {
                let info = bare[fence.len()..].trim();
                // `python title="x"` and `{.python}` name a language too.
                let word = info.trim_start_matches(['{', '.']).split([' ', '}', ',', ':']).next().unwrap_or("");
                let right = (!word.is_empty()).then(|| Language::named(word) == Some(language));
                // A backtick in what follows makes it text, not a fence.
                if !(fence.starts_with('`') && info.contains('`')) {
                    open = Some((fence, right, Vec::new()));
                }
            }
            (Some((opened, ..)), Some(fence))
                if fence.starts_with(*opened) && bare[fence.len()..].trim().is_empty() =>
            {
                if let Some((_, right, lines)) = open.take() {
                    match right {
                        Some(true) => named = Some(lines),
                        Some(false) => {}
                        None => unnamed = Some(lines),
                    }
                }
            }
            (Some((.., lines)), _) => lines.push(line),
            (None, None) => {}
        }
    }
    named.or(unnamed).map(|lines| lines.join("\n") + "\n")
}

/// Three or more backticks or tildes at the beginning of a line.
fn fence(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    (length >= 3).then(|| &line[..length])
}

/// Python code merged with what solutions begin with. Code that defines the function comes after a starter that is whole
/// by itself (so that its imports and helpers count), and replaces one that breaks off; code that does not define it goes
/// on where the starter ends.
pub(super) fn merge(starter: &str, code: &str, function: Option<&str>) -> String {
    let Some(function) = function.filter(|_| !starter.trim().is_empty()) else { return code.to_owned() };
    let defines = code.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line).trim_start();
        let rest = line.strip_prefix("def ").or_else(|| line.strip_prefix("class ")).map(str::trim_start);
        let assigned = line.strip_prefix(function).is_some_and(|rest| rest.trim_start().starts_with('='));
        assigned
            || rest
                .and_then(|rest| rest.strip_prefix(function))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    });
    if !defines {
        return format!("{starter}{code}");
    }
    let last = starter.lines().rev().map(str::trim_end).find(|line| !line.trim().is_empty()).unwrap_or("");
    if last.ends_with(':') || last.trim_start().starts_with('@') {
        return code.to_owned();
    }
    // `from __future__` must come first, wherever it was written.
    if code.contains("from __future__") {
        return code.to_owned();
    }
    format!("{starter}\n\n{code}")
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
        assert_eq!(block(&format!("<think>{}</think>no code", python("x = 1"))), None, "reasoning is no answer");
        assert_eq!(block(&format!("<think>{}", python("x = 1"))), None, "reasoning that never ends");
        assert_eq!(block(&format!("a</think>b</think>{}", python("x = 2"))).as_deref(), Some("x = 2\n"));
        assert_eq!(block("```python\nx = 1\n"), None, "cut off");
        assert_eq!(block("```cpp\nint x;\n```"), None);
        assert_eq!(
            block("~~~~py\n```\nx\n```\n~~~~").as_deref(),
            Some("```\nx\n```\n"),
            "a longer fence holds a shorter one"
        );
        assert_eq!(block("  ```Python3 title=\"a\"\n  x = 1\n  ```").as_deref(), Some("  x = 1\n"));
        assert_eq!(block("```python\r\nx = 1\r\n```\r\n").as_deref(), Some("x = 1\n"));
        assert_eq!(last_block("```c++\nint x;\n```", Language::Cpp).as_deref(), Some("int x;\n"));
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
    }
}
