//! What a text is made of, for comparing it with another: tokens, each a 64-bit hash and its bytes.
//!
//! In: a text and how to read it. Out: its tokens in order. Two tokens are equal where their canonical forms are; a hash stands
//! for the form, and [`equal`] compares the forms themselves.
//!
//! Three readings. `Words` and `Bare` are those of published rules. `Mathematics` is ours: it keeps what a formula means and
//! leaves out how it is set, so that `$x^{2}\leq 1{.}$`, `\(x^2 \le 1\)` and `x^2 ≤ 1` are the same tokens.

use super::hash::{Hash, digits, letters, lower, of_byte, visible};
use crate::near::hash::load;
use std::ops::Range;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What stands between blanks, in lower case, punctuation kept: open-r1 and s1 (`decontaminate.py`).
    Words,
    /// The same without the punctuation of ASCII: lm-evaluation-harness (`janitor.py`). What is nothing but punctuation is no
    /// word.
    Bare,
    /// Words, numbers, LaTeX commands, operators; each character of a script that sets no blanks.
    Mathematics,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Of its canonical form; the lowest bit says that it is a number, the one above that it is a word.
    pub(super) hash: u64,
    start: u32,
    end: u32,
}

impl Token {
    fn new(hash: u64, bytes: Range<usize>) -> Token {
        Token { hash, start: bytes.start as u32, end: bytes.end as u32 }
    }

    /// Its bytes in the text.
    pub(super) fn bytes(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether it is a number.
    pub(super) fn is_number(&self) -> bool {
        self.hash & NUMBER == NUMBER
    }

    /// How much it says: 2 for a word of two letters or more, 1 for a letter, a number, an operator, a character that is a word
    /// by itself.
    pub(super) fn halves(&self) -> usize {
        if self.hash & WORD == WORD { 2 } else { 1 }
    }

    /// Its hash where a number is as good as any other.
    pub(super) fn masked(&self) -> u64 {
        if self.is_number() { ANY_NUMBER } else { self.hash }
    }
}

/// The bits of a hash that say what a token is.
const NUMBER: u64 = 1;
const WORD: u64 = 2;

/// The hash of every number where numbers are masked.
const ANY_NUMBER: u64 = 0x6a09_e667_f3bc_c908;

/// The tokens of a text. What comes after the first 4 GiB is not read.
pub(super) fn tokens(text: &str, reading: Reading) -> Vec<Token> {
    let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
    match reading {
        Reading::Words => words(text, false),
        Reading::Bare => words(text, true),
        Reading::Mathematics => mathematics(text),
    }
}

/// Whether two tokens have one canonical form. With `masked`, numbers are equal.
pub(super) fn equal(one: (&str, Token), other: (&str, Token), reading: Reading, masked: bool) -> bool {
    if masked && one.1.is_number() && other.1.is_number() {
        return true;
    }
    canonical(one.0, one.1, reading) == canonical(other.0, other.1, reading)
}

fn canonical(text: &str, token: Token, reading: Reading) -> String {
    let text = text.get(token.bytes()).unwrap_or_default();
    match reading {
        Reading::Words => text.chars().flat_map(char::to_lowercase).collect(),
        Reading::Bare => {
            let kept = text.chars().filter(|char| !char.is_ascii_punctuation());
            kept.map(|char| char.to_ascii_lowercase()).collect()
        }
        Reading::Mathematics => {
            let mut form = String::new();
            step(text, 0, &mut form);
            form
        }
    }
}

/// What stands between blanks; `bare` leaves out the punctuation of ASCII.
fn words(text: &str, bare: bool) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len() / 5);
    let (mut hash, mut start, mut at) = (Hash::new(), 0, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        // Eight bytes at once where all of them are part of a word.
        let eight = load(bytes, at);
        let run = if bare { letters(eight) } else { visible(eight) };
        if run > 0 {
            hash.push_some(lower(eight), run);
            at += run;
            continue;
        }
        let mut next = at + 1;
        let blank = if *byte < 0x80 {
            matches!(byte, b' ' | b'\t'..=b'\r' | 0x1c..=0x1f)
        } else {
            let char = text[at..].chars().next().unwrap_or_default();
            next = at + char.len_utf8();
            let blank = char.is_whitespace();
            if !blank && bare {
                bytes[at..next].iter().for_each(|byte| hash.push(*byte));
            } else if !blank {
                char.to_lowercase().for_each(|char| hash.push_char(char));
            }
            blank
        };
        if blank {
            if hash.len > 0 {
                tokens.push(Token::new(hash.finish() | WORD, start..at));
                hash = Hash::new();
            }
            start = next;
        } else if *byte < 0x80 && !(bare && byte.is_ascii_punctuation()) {
            hash.push(byte.to_ascii_lowercase());
        }
        at = next;
    }
    if hash.len > 0 {
        tokens.push(Token::new(hash.finish() | WORD, start..at));
    }
    tokens
}

/// What a byte of ASCII begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing: blanks, punctuation, and what only sets a formula (`$`, `{`, `}`, `~`, `` ` ``, `&`).
    Nothing,
    Letter,
    Digit,
    /// A token by itself.
    Symbol,
    /// What [`step`] looks at: `\`, `.`, `!`, all beyond ASCII.
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'+' | b'-' | b'*' | b'/' | b'=' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'|' => Class::Symbol,
            b'^' | b'_' | b'%' | b'#' | b'@' => Class::Symbol,
            b'\\' | b'.' | b'!' => Class::Other,
            _ => Class::Nothing,
        };
        byte += 1;
    }
    classes
};

/// The hash of each byte of ASCII as a token.
const SYMBOLS: [u64; 128] = {
    let mut hashes = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        hashes[byte] = of_byte(byte as u8);
        byte += 1;
    }
    hashes
};

/// The fast way: runs of ASCII are read here, all else by [`step`].
fn mathematics(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let class = |at: usize| bytes.get(at).map_or(Class::Nothing, |byte| CLASSES[*byte as usize]);
    let mut tokens = Vec::with_capacity(text.len() / 3);
    let mut form = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match class(at) {
            Class::Nothing => {
                at += 1;
                continue;
            }
            Class::Symbol => {
                at += 1;
                tokens.push(Token::new(SYMBOLS[bytes[start] as usize & 127], start..at));
                continue;
            }
            Class::Letter => {
                let mut hash = Hash::new();
                loop {
                    let eight = load(bytes, at);
                    let run = letters(eight);
                    hash.push_some(lower(eight), run);
                    at += run;
                    if run < 8 {
                        break;
                    }
                }
                if bytes.get(at).is_none_or(|byte| *byte < 0x80 && *byte != b'\'') {
                    let word = if at - start > 1 { WORD } else { 0 };
                    tokens.push(Token::new(hash.finish() | word, start..at));
                    // Most words are followed by a blank.
                    at += usize::from(bytes.get(at) == Some(&b' '));
                    continue;
                }
            }
            Class::Digit => {
                let mut hash = Hash::new();
                loop {
                    let eight = load(bytes, at);
                    let run = digits(eight);
                    hash.push_some(eight, run);
                    at += run;
                    if run < 8 {
                        break;
                    }
                }
                if bytes.get(at).is_none_or(|byte| *byte < 0x80 && *byte != b'.' && *byte != b',') {
                    tokens.push(Token::new(hash.finish() | NUMBER, start..at));
                    continue;
                }
            }
            Class::Other => {}
        }
        form.clear();
        let (end, kind) = step(text, start, &mut form);
        if !form.is_empty() {
            let mut hash = Hash::new();
            form.bytes().for_each(|byte| hash.push(byte));
            tokens.push(Token::new(hash.finish() | kind, start..end));
        }
        at = end;
    }
    tokens
}

/// Reads what begins at a byte: writes its canonical form, nothing where it is no token, and returns where it ends and what it
/// is: [`NUMBER`], [`WORD`] or 0. Ends after where it began.
fn step(text: &str, start: usize, form: &mut String) -> (usize, u64) {
    let mut rest = text.get(start..).unwrap_or_default().chars();
    let Some(first) = rest.next() else { return (start + 1, 0) };
    let end = start + first.len_utf8();
    let char = folded(first);
    if char == '\\' {
        return (command(text, end, form), 0);
    }
    if char.is_ascii_digit() || (char == '.' && folds_to_digit(rest.clone().next())) {
        return (number(text, start, form), NUMBER);
    }
    if stands_alone(char) {
        form.push(char);
        return (end, 0);
    }
    if char.is_alphabetic() {
        let end = word(text, start, form);
        return (end, if form.chars().nth(1).is_some() { WORD } else { 0 });
    }
    if char.is_ascii() {
        if char == '!' {
            // A factorial, not the end of a sentence.
            let before = text.get(..start).unwrap_or_default();
            let symbol = before.ends_with(|char: char| char.is_ascii_digit() || matches!(char, ')' | '}'))
                || before.chars().rev().take_while(|char| char.is_alphabetic()).take(2).count() == 1;
            // A token is read again from its own bytes, with nothing before it.
            if symbol || start == 0 {
                form.push('!');
            }
        } else if CLASSES[char as usize] == Class::Symbol {
            form.push(char);
        }
        return (end, 0);
    }
    match char {
        '\u{80}'..='\u{bf}' if !matches!(char, '°' | '±' | '²' | '³' | '·' | '¹' | '¼'..='¾') => {}
        // Punctuation and marks that combine with a letter.
        '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{fe00}'..='\u{fe4f}' | '\u{feff}' | '\u{fffd}' => {}
        '\u{300}'..='\u{36f}' => {}
        _ if char.is_whitespace() || char.is_control() => {}
        '×' => form.push_str("\\times"),
        '·' | '⋅' => form.push_str("\\cdot"),
        '÷' => form.push_str("\\div"),
        '≤' => form.push_str("\\le"),
        '≥' => form.push_str("\\ge"),
        '≠' => form.push_str("\\ne"),
        '√' => form.push_str("\\sqrt"),
        '∞' => form.push_str("\\infty"),
        '°' => form.push_str("\\circ"),
        '±' => form.push_str("\\pm"),
        '∠' => form.push_str("\\angle"),
        '△' => form.push_str("\\triangle"),
        '∩' => form.push_str("\\cap"),
        '∪' => form.push_str("\\cup"),
        '∈' => form.push_str("\\in"),
        _ => form.push(char),
    }
    (end, if char.is_numeric() { NUMBER } else { 0 })
}

/// A word: letters, with apostrophes and combining marks inside left out.
fn word(text: &str, start: usize, form: &mut String) -> usize {
    let mut end = start;
    let mut rest = text.get(start..).unwrap_or_default().char_indices().peekable();
    while let Some((at, char)) = rest.next() {
        let after = start + at + char.len_utf8();
        let char = folded(char);
        let inside = (char == '\'' && rest.peek().is_some_and(|(_, next)| folded(*next).is_alphabetic()))
            || matches!(char, '\u{300}'..='\u{36f}');
        if char.is_alphabetic() && !stands_alone(char) {
            form.extend(char.to_lowercase());
        } else if !inside {
            break;
        }
        end = after;
    }
    end
}

/// A number: digits, a decimal point, commas before groups of three digits, which the canonical form leaves out.
fn number(text: &str, start: usize, form: &mut String) -> usize {
    let mut end = start;
    let mut rest = text.get(start..).unwrap_or_default().chars();
    let mut point = false;
    while let Some(first) = rest.next() {
        let char = folded(first);
        if char.is_ascii_digit() {
            form.push(char);
        } else if char == '.' && !point && folds_to_digit(rest.clone().next()) {
            form.push('.');
            point = true;
        } else if !(char == ',' && !point && rest.clone().take_while(|char| folds_to_digit(Some(*char))).count() == 3) {
            break;
        }
        end += first.len_utf8();
    }
    end
}

fn folds_to_digit(char: Option<char>) -> bool {
    char.is_some_and(|char| folded(char).is_ascii_digit())
}

/// What follows a `\`. Commands keep their case; those that only set a formula are no token, and synonyms are one.
fn command(text: &str, start: usize, form: &mut String) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    if length == 0 {
        let Some(char) = rest.chars().next() else { return start };
        if matches!(char, '{' | '}' | '%' | '#' | '_' | '|') {
            form.push(char);
        }
        // A `\` before what is no sign of ASCII is alone.
        return if char.is_ascii_punctuation() || char == ' ' { start + 1 } else { start };
    }
    let name = &rest[..length];
    let letter = match name {
        "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "displaystyle" | "textstyle" | "limits" | "quad"
        | "qquad" | "text" | "textbf" | "textit" | "mathrm" | "mathbf" | "mathit" | "mathsf" | "rm" | "bf"
        | "operatorname" | "begin" | "end" | "hline" | "noindent" => return start + length,
        "alpha" => "α",
        "beta" => "β",
        "gamma" => "γ",
        "delta" | "Delta" => "δ",
        "epsilon" | "varepsilon" => "ε",
        "theta" => "θ",
        "lambda" => "λ",
        "mu" => "μ",
        "pi" => "π",
        "rho" => "ρ",
        "sigma" => "σ",
        "phi" | "varphi" => "φ",
        "omega" => "ω",
        "lbrace" => "{",
        "rbrace" => "}",
        "leq" | "leqslant" => "\\le",
        "geq" | "geqslant" => "\\ge",
        "neq" => "\\ne",
        "dfrac" | "tfrac" | "cfrac" => "\\frac",
        "dots" | "cdots" | "ldots" => "\\dots",
        "degree" => "\\circ",
        _ => {
            form.push('\\');
            form.push_str(name);
            return start + length;
        }
    };
    form.push_str(letter);
    start + length
}

/// A character of ASCII for its full-width form, for dashes and for apostrophes.
fn folded(char: char) -> char {
    match char {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(char) - 0xfee0).unwrap_or(char),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}' | '\u{2019}' => '\'',
        _ => char,
    }
}

/// Whether a character belongs to a script that sets no blanks between words: Han, kana, Thai, Lao, Burmese, Khmer.
fn stands_alone(char: char) -> bool {
    matches!(u32::from(char),
        0x0e01..=0x0e4e | 0x0e80..=0x0ecf | 0x1000..=0x103f | 0x1780..=0x17d3 | 0x3040..=0x30ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forms(text: &str, reading: Reading) -> Vec<String> {
        tokens(text, reading).into_iter().map(|token| canonical(text, token, reading)).collect()
    }

    #[test]
    fn mathematics_is_kept_and_its_setting_left_out() {
        let cases = [
            ("Janet’s ducks lay 1,600 eggs.", "janets|ducks|lay|1600|eggs"),
            (r"$x^{2}\leq 3.50$", r"x|^|2|\le|3.50"),
            (r"\(x^2 ≤ 3.50\)", r"x|^|2|\le|3.50"),
            (r"\left(\dfrac{1}{2}\right) \times π", r"(|\frac|1|2|)|\times|π"),
            (r"(\frac{1}{2})×\pi", r"(|\frac|1|2|)|\times|π"),
            ("小明有３个苹果，2.5元", "小|明|有|3|个|苹|果|2.5|元"),
            ("5! and n! are big! (n+1)!", "5|!|and|n|!|are|big|(|n|+|1|)|!"),
            (r"\{1, 2, 3\} \\ \text{if } 1,2,3", "{|1|2|3|}|if|1|2|3"),
            ("2x−y=.5", "2|x|-|y|=|.5"),
            ("na\u{ef}ve ÉCOLE", "na\u{ef}ve|école"),
        ];
        for (text, expected) in cases {
            assert_eq!(forms(text, Reading::Mathematics).join("|"), expected, "{text}");
        }
    }

    #[test]
    fn published_readings_are_as_published() {
        assert_eq!(forms("What's  x^2, \u{a0}Bob? - É", Reading::Words), ["what's", "x^2,", "bob?", "-", "é"]);
        assert_eq!(forms("What's  x^2, \u{a0}Bob? - É", Reading::Bare), ["whats", "x2", "bob", "É"]);
    }

    proptest! {
        #[test]
        fn equal_hashes_are_equal_forms(text in any::<String>(), other in r"[a-zA-Z0-9 .,'$\\{}!é’１小×-]{0,60}") {
            for text in [text, other] {
                for reading in [Reading::Words, Reading::Bare, Reading::Mathematics] {
                    let tokens = tokens(&text, reading);
                    let mut end = 0;
                    for token in &tokens {
                        let bytes = token.bytes();
                        prop_assert!(bytes.start >= end && bytes.end > bytes.start && text.get(bytes.clone()).is_some());
                        end = bytes.end;
                        let form = canonical(&text, *token, reading);
                        let mut hash = Hash::new();
                        form.bytes().for_each(|byte| hash.push(byte));
                        prop_assert_eq!(hash.finish() | token.hash & 3, token.hash, "{:?} {:?}", text, form);
                    }
                }
            }
        }
    }
}
