//! Source → pieces: text, and the tokens of tags. Whitespace is trimmed as Jinja2 does with `trim_blocks` and
//! `lstrip_blocks`; line ends are `\n`, and the last one is dropped.

use super::{
    number,
    text::is_space,
    value::{Outcome, fault},
};
use std::sync::Arc;

/// Longest source of a template, in bytes: the longest known are under 50 KiB.
const MAX_SOURCE: usize = 1 << 20;

/// A piece of a template and its line.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) line: u32,
    pub(super) what: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(Arc<str>),
    /// `{{ … }}`
    Variable(Vec<Token>),
    /// `{% … %}`
    Block(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(Arc<str>),
    Text(Arc<str>),
    Int(i128),
    Float(f64),
    Operator(&'static str),
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

pub(super) fn lex(source: &str) -> Outcome<Vec<Piece>> {
    if source.len() > MAX_SOURCE {
        return fault(format!("expected a template of at most {MAX_SOURCE} bytes, found {}", source.len()));
    }
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, line: 1, counted: 0, line_starts: true, pieces: Vec::new() };
    lexer.run().map_err(|mut error| {
        error.line = lexer.line();
        error
    })?;
    Ok(lexer.pieces)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    /// Line ends before this place are in `line`.
    counted: usize,
    /// Whether the text that comes begins a line.
    line_starts: bool,
    pieces: Vec<Piece>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn line(&mut self) -> u32 {
        let end = self.at.min(self.source.len());
        self.line += self.source[self.counted..end].matches('\n').count() as u32;
        self.counted = end;
        self.line
    }

    fn run(&mut self) -> Outcome<()> {
        loop {
            let rest = self.rest();
            let opening =
                rest.match_indices('{').find(|(at, _)| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
            let Some((at, _)) = opening else {
                self.text(rest);
                return Ok(());
            };
            let kind = rest.as_bytes()[at + 1];
            let sign = rest[at + 2..].chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let mut text = &rest[..at];
            if sign == Some('-') {
                text = text.trim_end_matches(is_space);
            } else if sign.is_none() && kind != b'{' {
                let start = text.rfind('\n').map_or(0, |newline| newline + 1);
                if (start > 0 || self.line_starts) && text[start..].chars().all(is_space) {
                    text = &text[..start];
                }
            }
            self.text(text);
            self.at += at + 2 + usize::from(sign.is_some());
            match kind {
                b'#' => self.comment()?,
                b'{' => self.tag("}}")?,
                _ => match self.raw_begin() {
                    true => self.raw()?,
                    false => self.tag("%}")?,
                },
            }
        }
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            let line = self.line();
            self.pieces.push(Piece { line, what: Content::Text(text.into()) });
        }
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(is_space).len();
    }

    /// Takes the end of a tag, if it is here, and what it trims: all that is blank after a minus, a line end after a block.
    fn end(&mut self, end: &str) -> bool {
        let rest = self.rest();
        if let Some(after) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(end)) {
            self.at = self.source.len() - after.len();
            self.skip_spaces();
        } else if let Some(after) = rest.strip_prefix(end) {
            let after = if end == "}}" { after } else { after.strip_prefix('\n').unwrap_or(after) };
            self.at = self.source.len() - after.len();
        } else if let Some(after) =
            rest.strip_prefix('+').and_then(|rest| rest.strip_prefix(end)).filter(|_| end != "}}")
        {
            self.at = self.source.len() - after.len();
        } else {
            return false;
        }
        self.line_starts = self.source[..self.at].ends_with('\n');
        true
    }

    fn comment(&mut self) -> Outcome<()> {
        let Some(end) = self.rest().find("#}") else { return fault("a comment has no end") };
        // A sign before the end belongs to it.
        let signed = end > 0 && matches!(self.rest().as_bytes()[end - 1], b'-' | b'+');
        self.at += end - usize::from(signed);
        self.end("#}");
        Ok(())
    }

    /// Takes the rest of `{% raw %}`, if this is one.
    fn raw_begin(&mut self) -> bool {
        let Some(after) = self.rest().trim_start_matches(is_space).strip_prefix("raw") else { return false };
        let after = after.trim_start_matches(is_space);
        let (after, trims) = match (after.strip_prefix("-%}"), after.strip_prefix("%}")) {
            (Some(after), _) => (after, true),
            (_, Some(after)) => (after, false),
            _ => return false,
        };
        self.at = self.source.len() - after.len();
        if trims {
            self.skip_spaces();
        }
        true
    }

    fn raw(&mut self) -> Outcome<()> {
        let rest = self.rest();
        for (at, _) in rest.match_indices("{%") {
            let inner = &rest[at + 2..];
            let sign = inner.chars().next().filter(|sign| matches!(sign, '-' | '+'));
            let word = inner[usize::from(sign.is_some())..].trim_start_matches(is_space);
            let Some(after) = word.strip_prefix("endraw") else { continue };
            let before = self.at;
            self.at = self.source.len() - after.trim_start_matches(is_space).len();
            if !self.end("%}") {
                self.at = before;
                continue;
            }
            let mut text = &rest[..at];
            if sign == Some('-') {
                text = text.trim_end_matches(is_space);
            } else if sign.is_none() {
                let start = text.rfind('\n').map_or(0, |newline| newline + 1);
                if start > 0 && text[start..].chars().all(is_space) {
                    text = &text[..start];
                }
            }
            self.text(text);
            return Ok(());
        }
        fault("a raw block has no end")
    }

    fn tag(&mut self, end: &str) -> Outcome<()> {
        let line = self.line();
        let mut tokens = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        loop {
            // Brackets that are open are closed first: `}}` may be two of them. Signs may begin the end of the tag.
            if open.is_empty() && self.end(end) {
                break;
            }
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return fault(format!("a tag has no end: expected {end}")) };
            if is_space(first) {
                self.skip_spaces();
            } else if first.is_ascii_digit() {
                let after_point = matches!(tokens.last(), Some(Token::Operator(".")));
                let (token, length) = number::read(rest, after_point)?;
                self.at += length;
                tokens.push(token);
            } else if first == '\'' || first == '"' {
                let (text, length) = string(rest)?;
                self.at += length;
                tokens.push(Token::Text(text.into()));
            } else if first == '_' || first.is_alphabetic() {
                let word = |c: char| c == '_' || c.is_alphanumeric();
                let length = rest.len() - rest.trim_start_matches(word).len();
                self.at += length;
                tokens.push(Token::Name(rest[..length].into()));
            } else {
                let known = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
                let Some(operator) = known else { return fault(format!("unexpected character {first:?}")) };
                match *operator {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(operator) => {
                        return fault(format!("unexpected {operator:?}"));
                    }
                    _ => {}
                }
                self.at += operator.len();
                tokens.push(Token::Operator(operator));
            }
        }
        let what = if end == "}}" { Content::Variable(tokens) } else { Content::Block(tokens) };
        self.pieces.push(Piece { line, what });
        Ok(())
    }
}

/// A string literal at the beginning of `rest`, with Python's escapes; and its length.
fn string(rest: &str) -> Outcome<(String, usize)> {
    let quote = rest.as_bytes()[0] as char;
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((out, at + 1));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some((_, escape)) = chars.next() else { break };
        let simple = match escape {
            '\n' => continue,
            '\\' | '\'' | '"' => escape,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' | 'u' | 'U' => {
                let wanted = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let digits: String = std::iter::from_fn(|| chars.next_if(|(_, c)| c.is_ascii_hexdigit()))
                    .take(wanted)
                    .map(|(_, c)| c)
                    .collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == wanted);
                match code.and_then(char::from_u32) {
                    Some(c) => c,
                    None => {
                        return fault(format!("\\{escape}{digits}: expected {wanted} digits that name a character"));
                    }
                }
            }
            '0'..='7' => {
                let mut code = escape as u32 - '0' as u32;
                for _ in 0..2 {
                    let Some((_, digit)) = chars.next_if(|(_, c)| matches!(c, '0'..='7')) else { break };
                    code = code * 8 + (digit as u32 - '0' as u32);
                }
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            'N' => return fault("\\N: characters by their names are not supported"),
            other => {
                // Python keeps what it does not know.
                out.push('\\');
                other
            }
        };
        out.push(simple);
    }
    fault("a text has no end")
}
