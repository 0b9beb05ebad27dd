//! What of a text is prose. Formulas, code and addresses are blanked out in place, so that a byte of what is left is the same
//! byte of the text. One pass in linear time: where a marker has no end, that is found out once.

use serde::{Deserialize, Serialize};
use std::{collections::HashSet, ops::Range};

/// Where a judgement rests: bytes of the turn, and what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The first byte, counted in the whole turn, prefix included.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    /// What stands there, cut after 120 characters.
    pub excerpt: String,
}

impl Evidence {
    /// Bytes of `part`, which begins at byte `offset` of the turn.
    pub(crate) fn of(part: &str, offset: usize, span: Range<usize>) -> Evidence {
        let excerpt = part.get(span.clone()).unwrap_or_default().chars().take(120).collect();
        Evidence { start: (offset + span.start) as u64, end: (offset + span.end) as u64, excerpt }
    }
}

/// A text without what is not prose.
pub(crate) struct Prose {
    /// As many bytes as the text; blanks in place of formulas, code and addresses, line breaks where they were.
    pub(crate) text: String,
    /// Blocks of code, fences included.
    pub(crate) fences: Vec<Range<usize>>,
}

/// Environments that hold formulas, tables or code.
const ENVIRONMENTS: [&str; 32] = [
    "equation",
    "align",
    "aligned",
    "alignat",
    "alignedat",
    "flalign",
    "gather",
    "gathered",
    "multline",
    "split",
    "cases",
    "dcases",
    "rcases",
    "array",
    "matrix",
    "pmatrix",
    "bmatrix",
    "Bmatrix",
    "vmatrix",
    "Vmatrix",
    "smallmatrix",
    "eqnarray",
    "subequations",
    "math",
    "displaymath",
    "tabular",
    "tabularx",
    "tikzpicture",
    "verbatim",
    "lstlisting",
    "minted",
    "algorithmic",
];

/// Reads what is prose.
pub(crate) fn prose(text: &str) -> Prose {
    let mut reader = Reader { text, paragraph_end: 0, missing: [0; 7], unended: HashSet::new(), fences: Vec::new() };
    let mut blanked = String::with_capacity(text.len());
    let (mut kept, mut at) = (0, 0);
    while at < text.len() {
        match reader.aside(at) {
            Some(end) => {
                blanked.push_str(&text[kept..at]);
                blanked.extend(text[at..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
                (kept, at) = (end, end);
            }
            None => at += 1,
        }
    }
    blanked.push_str(&text[kept..]);
    Prose { text: blanked, fences: reader.fences }
}

struct Reader<'t> {
    text: &'t str,
    /// The blank line behind the paragraph that was read last.
    paragraph_end: usize,
    /// For every kind of inline marker: no end of it stands before this byte.
    missing: [usize; 7],
    /// Environments that do not end.
    unended: HashSet<(&'static str, bool)>,
    fences: Vec<Range<usize>>,
}

impl<'t> Reader<'t> {
    /// The end of what is not prose and begins here. Every marker is ASCII: its bytes are whole characters.
    fn aside(&mut self, at: usize) -> Option<usize> {
        match self.text.as_bytes()[at] {
            b'`' => Some(self.fence(at, b'`').unwrap_or_else(|| self.inline_code(at))),
            b'~' => self.fence(at, b'~'),
            b'$' => Some(self.dollars(at)),
            b'\\' => Some(self.command(at)),
            b'h' | b'H' | b'w' | b'W' => self.address(at),
            _ => None,
        }
    }

    /// A block of code whose fence stands here: through the line that closes it, or all that follows.
    fn fence(&mut self, at: usize, mark: u8) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let indented = bytes[..at].iter().rev().take(16).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let begins = at == indented || bytes[at - indented - 1] == b'\n';
        let width = if begins { run(bytes, at, mark) } else { 0 };
        if width < 3 {
            return None;
        }
        let (line, mut next) = self.line(at + width);
        if mark == b'`' && line.contains('`') {
            return None;
        }
        while next < bytes.len() {
            let (line, end) = self.line(next);
            let line = line.trim();
            next = end;
            if line.len() >= width && line.bytes().all(|byte| byte == mark) {
                break;
            }
        }
        self.fences.push(at..next);
        Some(next)
    }

    /// The rest of a line, and where the next one begins.
    fn line(&self, at: usize) -> (&'t str, usize) {
        let rest = &self.text[at..];
        let length = rest.find('\n').unwrap_or(rest.len());
        (&rest[..length], (at + length + 1).min(self.text.len()))
    }

    /// Code within a line: through as many backticks as open it. The marks alone where none follow.
    fn inline_code(&mut self, at: usize) -> usize {
        let width = run(self.text.as_bytes(), at, b'`');
        let opened = at + width;
        if width > 3 {
            return opened;
        }
        self.closed(width - 1, opened, |bytes, from, limit| {
            let mut next = from;
            while next < limit {
                match run(bytes, next, b'`') {
                    0 => next += 1,
                    found if found == width => return Some(next + width),
                    found => next += found,
                }
            }
            None
        })
    }

    /// A formula between dollars. A single one opens before what is no white space and closes behind what is none and
    /// before no digit, as Pandoc has it: prices are prose.
    fn dollars(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        if bytes.get(at + 1) == Some(&b'$') {
            return self.closed(3, at + 2, |bytes, from, limit| find(bytes, from..limit, b"$$").map(|end| end + 2));
        }
        if bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace) {
            return at + 1;
        }
        self.closed(4, at + 1, |bytes, from, limit| {
            let closes = |index: &usize| {
                let before = bytes[index - 1];
                let digit = bytes.get(index + 1).is_some_and(u8::is_ascii_digit);
                bytes[*index] == b'$' && !before.is_ascii_whitespace() && before != b'\\' && !digit
            };
            (from..limit).find(closes).map(|index| index + 1)
        })
    }

    /// A formula or environment that a backslash opens; else the command's name.
    fn command(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        match bytes.get(at + 1) {
            Some(b'(') => self.closed(5, at + 2, |bytes, from, to| find(bytes, from..to, b"\\)").map(|end| end + 2)),
            Some(b'[') => self.closed(6, at + 2, |bytes, from, to| find(bytes, from..to, b"\\]").map(|end| end + 2)),
            Some(byte) if byte.is_ascii_alphabetic() => {
                let name = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                self.environment(at).unwrap_or(at + 1 + name)
            }
            Some(byte) if byte.is_ascii() => at + 2,
            _ => at + 1,
        }
    }

    fn environment(&mut self, at: usize) -> Option<usize> {
        let rest = self.text[at..].strip_prefix("\\begin{")?;
        let length = rest.bytes().take(20).position(|byte| byte == b'}')?;
        let (name, behind) = rest.split_at(length);
        let name = ENVIRONMENTS.into_iter().find(|known| name.strip_suffix('*').unwrap_or(name) == *known)?;
        let starred = rest.as_bytes()[length - 1] == b'*';
        if self.unended.contains(&(name, starred)) {
            return None;
        }
        let end = format!("\\end{{{name}{}}}", if starred { "*" } else { "" });
        let found = behind.find(&end);
        if found.is_none() {
            self.unended.insert((name, starred));
        }
        Some(self.text.len() - behind.len() + found? + end.len())
    }

    /// Where a kind of marker closes within the paragraph; where it opened, if it does not.
    fn closed(&mut self, kind: usize, opened: usize, find: impl Fn(&[u8], usize, usize) -> Option<usize>) -> usize {
        if opened >= self.paragraph_end {
            self.paragraph_end = self.text[opened..].find("\n\n").map_or(self.text.len(), |length| opened + length);
        }
        if opened < self.missing[kind] {
            return opened;
        }
        find(self.text.as_bytes(), opened, self.paragraph_end).unwrap_or_else(|| {
            self.missing[kind] = self.paragraph_end;
            opened
        })
    }

    /// The end of an address that begins here.
    fn address(&self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let begins = |start: &str| {
            bytes[at..].get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes()))
        };
        let inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if inside || !["http://", "https://", "www."].into_iter().any(begins) {
            return None;
        }
        let ends = |byte: &u8| byte.is_ascii_whitespace() || !byte.is_ascii() || matches!(byte, b'<' | b'>' | b'"');
        Some(bytes[at..].iter().position(ends).map_or(bytes.len(), |length| at + length))
    }
}

/// How many of a byte stand here.
fn run(bytes: &[u8], at: usize, mark: u8) -> usize {
    bytes[at..].iter().take_while(|byte| **byte == mark).count()
}

fn find(bytes: &[u8], within: Range<usize>, wanted: &[u8]) -> Option<usize> {
    let start = within.start;
    bytes[within].windows(wanted.len()).position(|found| found == wanted).map(|index| start + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_code_and_addresses_are_no_prose() {
        let cases = [
            ("so $x^2$ is", "so is"),
            ("so $$a\nb$$ is", "so is"),
            ("so \\(x\\) and \\[y\n= z\\] is", "so and is"),
            ("so \\begin{align*}a\n\nb\\end{align*} is", "so is"),
            ("a \\begin{itemize} point \\end{itemize}", "a {itemize} point {itemize}"),
            ("so `x = 1` is", "so is"),
            ("so ``a ` b`` is", "so is"),
            ("see https://a.org/b?c=d now", "see now"),
            ("see\n```python\nprint(1)\n```\nnow", "see now"),
            ("see\n  ~~~\na\n~~~~\nnow", "see now"),
            ("see\n````\n```\na\n````\nnow", "see now"),
            ("```never closed\nall code", ""),
            ("it costs $5 and then $7 more", "it costs 5 and then 7 more"),
            ("it costs \\$5 and \\$7", "it costs 5 and 7"),
            ("one ` alone", "one alone"),
            ("a \\begin{align} without end", "a {align} without end"),
            ("a $ alone\n\nand $x$", "a alone and"),
            ("\\boxed{yes}", "{yes}"),
            ("答案是 $x$。", "答案是 。"),
            ("\\é \\", "é"),
            ("www", "www"),
        ];
        for (text, expected) in cases {
            let found = prose(text).text;
            assert_eq!(found.len(), text.len(), "{text}: every byte keeps its place");
            assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        }
        let text = "a\n```\nb\n```\nc\n```\nd";
        let fences: Vec<&str> = prose(text).fences.into_iter().map(|span| &text[span]).collect();
        assert_eq!(fences, ["```\nb\n```\n", "```\nd"]);
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        for unit in
            ["`", "`` ", "$a", "$$", "\\(", "\\[", "\\begin{align}", "\\begin{b}", "```a`\n", "http://", "~~~\n", "\\"]
        {
            let text = unit.repeat(4_000_000 / unit.len());
            assert_eq!(prose(&text).text.len(), text.len(), "{unit}");
        }
    }
}
