//! Text to tokens: LaTeX, Unicode and plain spelling become one alphabet. Styling and spacing disappear here.

use super::alphabet::{COMMANDS, FUNCTIONS, GREEK, SILENT, TEXTUAL};
use super::number::{self, Numeral};
use crate::expr::Function;

/// Longer answers are not read.
pub(crate) const MAX_CHARS: usize = 4000;
const MAX_NESTING: usize = 16;
/// No known command has a longer name.
const LONGEST_NAME: usize = 24;

/// One token, and whether white space stood before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// What it is.
    pub kind: Kind,
    /// White space before it.
    pub space: bool,
    /// Inside of `\\text{…}`.
    pub textual: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is named for what it stands for")]
pub(crate) enum Kind {
    Number(Numeral),
    /// A variable: one letter, or the name of a Greek one.
    Letter(String),
    /// A run of letters that is no product of variables.
    Word(String),
    Function(Name),
    /// `+ - * / ^ _ ! ' ~`
    Op(char),
    PlusMinus(bool),
    Relation(Relation),
    /// `, ; :`
    Mark(char),
    /// `( [ ` and `{` of a set, `g` for a group, `<` angle, `f` floor, `c` ceiling.
    Open(char),
    Close(char),
    Bar,
    Frac,
    Over,
    Choose,
    Sqrt,
    Binom,
    Overline,
    Begin(String),
    End(String),
    Row,
    Ampersand,
    Percent,
    Degree,
    Currency(&'static str),
    Sum,
    Prod,
    Int,
    Pi,
    Infinity,
    Mod,
    Cup,
    Cap,
    SetMinus,
    Empty,
    /// ℝ, ℤ, ℕ, ℚ, ℂ by its letter.
    Field(char),
    And,
    Or,
    Dots,
    /// A command that nothing here knows.
    Unknown(String),
}

/// A function's name as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A function as it is.
    Plain(Function),
    /// 1 / that function: sec, csc, cot.
    Inverse(Function),
    /// `log`, with or without a base.
    Log,
    /// `lg`: base 10.
    Lg,
    /// `exp`.
    Exp,
}

/// Between two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the relations' own names")]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approx,
    Congruent,
    In,
    NotIn,
    Implies,
}

/// How commas between digits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commas {
    /// `1,234` is one thousand two hundred and thirty-four.
    Group,
    /// `1,234` is 1 and 234.
    Separate,
    /// `1,22` is 1.22.
    Decimal,
}

/// Tokens of `text`, or why there are none.
pub(crate) fn tokens(text: &str, commas: Commas) -> Result<Vec<Token>, &'static str> {
    let chars: Vec<char> = text.chars().take(MAX_CHARS + 1).collect();
    if chars.len() > MAX_CHARS {
        return Err("too-long");
    }
    let dollars = chars.iter().enumerate().filter(|(at, c)| **c == '$' && (*at == 0 || chars[at - 1] != '\\')).count();
    let mut scanner =
        Scanner { chars: &chars, at: 0, out: Vec::new(), commas, environments: 0, money: dollars % 2 == 1, nesting: 0 };
    scanner.run(chars.len(), false)?;
    let mut tokens = scanner.out;
    balance(&mut tokens);
    Ok(tokens)
}

/// `]0, 1[` gets brackets that open and close, what never closes is closed, and the `x` of `2.5 x 10^4` multiplies.
fn balance(tokens: &mut Vec<Token>) {
    let mut open: Vec<char> = Vec::new();
    for at in 0..tokens.len() {
        let next = tokens.get(at + 1).map(|token| token.kind.clone());
        match tokens[at].kind.clone() {
            Kind::Open('[') if open.last() == Some(&']') || ends_interval(&open, next.as_ref()) => {
                open.pop();
                tokens[at].kind = Kind::Close('[');
            }
            Kind::Close(']') if open.is_empty() => {
                open.push(']');
                tokens[at].kind = Kind::Open(']');
            }
            Kind::Open(bracket) => open.push(bracket),
            Kind::Close(_) => {
                open.pop();
            }
            Kind::Letter(name) if name == "x" && at > 0 && tokens[at].space => {
                let ten = matches!(&next, Some(Kind::Number(numeral)) if numeral.digits.as_deref() == Some("10"));
                let power = tokens.get(at + 2).is_some_and(|token| token.kind == Kind::Op('^'));
                if ten && power && matches!(tokens[at - 1].kind, Kind::Number(_)) {
                    tokens[at].kind = Kind::Op('*');
                }
            }
            _ => {}
        }
    }
    while let Some(bracket) = open.pop() {
        let close = match bracket {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            other => other,
        };
        tokens.push(Token { kind: Kind::Close(close), space: false, textual: false });
    }
}

/// Whether a `[` ends the interval that the last bracket began: `(0, 1[`.
fn ends_interval(open: &[char], next: Option<&Kind>) -> bool {
    matches!(open.last(), Some('(' | '[')) && matches!(next, None | Some(Kind::Cup | Kind::Cap))
}

struct Scanner<'t> {
    chars: &'t [char],
    at: usize,
    out: Vec<Token>,
    commas: Commas,
    environments: u32,
    /// A lone `$` is money.
    money: bool,
    nesting: usize,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    /// Scans up to `end`; in text, runs of letters are words.
    fn run(&mut self, end: usize, textual: bool) -> Result<(), &'static str> {
        let mut space = false;
        while self.at < end {
            let before = self.out.len();
            let c = self.chars[self.at];
            if c.is_whitespace() || c == '\u{200b}' || c == '~' {
                self.at += 1;
                space = true;
                continue;
            }
            if c.is_ascii_digit() || c == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
                let (numeral, length) = number::scan(&self.chars[self.at..end], self.commas)?;
                self.at += length;
                self.push(Kind::Number(numeral));
            } else if c == '\\' {
                self.command(end)?;
            } else if c.is_alphabetic() && c.is_ascii() {
                self.letters(end, textual);
            } else {
                self.symbol(c);
            }
            if let Some(token) = self.out.get_mut(before) {
                token.space = space;
                space = false;
            }
            for token in &mut self.out[before..] {
                token.textual |= textual;
            }
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind) {
        self.out.push(Token { kind, space: false, textual: false });
    }

    fn letters(&mut self, end: usize, textual: bool) {
        let start = self.at;
        while self.at < end && (self.chars[self.at].is_ascii_alphabetic()) {
            self.at += 1;
        }
        // `p.m.`
        if self.at - start == 1 && self.starts(".m.") {
            self.at += 3;
        }
        let run: String = self.chars[start..self.at].iter().filter(|c| **c != '.').collect();
        self.word(&run, textual);
    }

    fn word(&mut self, run: &str, textual: bool) {
        // 1st, 2nd, 3rd, 4th
        if matches!(run, "st" | "nd" | "rd" | "th")
            && self.at >= 3
            && self.chars[self.at - 3].is_ascii_digit()
            && self.out.last().is_some_and(|token| matches!(token.kind, Kind::Number(_)))
        {
            return;
        }
        // `1orW(x)`
        if let Some(rest) = run.strip_prefix("or").or_else(|| run.strip_prefix("and"))
            && rest.starts_with(|c: char| c.is_ascii_uppercase())
            && self.out.last().is_some_and(|token| matches!(token.kind, Kind::Number(_)))
        {
            self.push(if run.starts_with("or") { Kind::Or } else { Kind::And });
            return self.word(rest, textual);
        }
        match run.to_ascii_lowercase().as_str() {
            "and" => return self.push(Kind::And),
            "or" => return self.push(Kind::Or),
            "percent" | "percentage" | "pct" => return self.push(Kind::Percent),
            "degrees" | "degree" | "deg" => return self.push(Kind::Degree),
            "infinity" => return self.push(Kind::Infinity),
            "mod" | "modulo" => return self.push(Kind::Mod),
            _ => {}
        }
        if run.chars().count() == 1 {
            return self.push(Kind::Letter(run.to_owned()));
        }
        if let Some((_, name)) = FUNCTIONS.iter().find(|(known, _)| *known == run) {
            return self.push(Kind::Function(*name));
        }
        match run {
            "sqrt" => return self.push(Kind::Sqrt),
            "pi" => return self.push(Kind::Pi),
            "inf" | "oo" => return self.push(Kind::Infinity),
            "choose" if !textual => return self.push(Kind::Choose),
            _ => {}
        }
        if let Some((name, _)) = GREEK.iter().find(|(known, _)| *known == run && known.len() > 2) {
            return self.push(Kind::Letter((*name).to_owned()));
        }
        // \mathrm{gb} is a product as gb is.
        if textual && run.len() > 2 || run.len() > 3 || super::words::is_known(run) {
            return self.push(Kind::Word(run.to_owned()));
        }
        for letter in run.chars() {
            self.push(Kind::Letter(letter.to_string()));
        }
    }

    fn command(&mut self, end: usize) -> Result<(), &'static str> {
        self.at += 1;
        let Some(next) = self.chars[self.at..end].first().copied() else { return Ok(()) };
        if next == '\\' {
            // A row's end; outside of a matrix, a command escaped once too often.
            self.at += 1;
            if self.environments == 0 && self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
                self.at -= 1;
                return self.command(end);
            }
            if self.environments > 0 {
                self.push(Kind::Row);
            }
            return Ok(());
        }
        if !next.is_ascii_alphabetic() {
            self.at += 1;
            match next {
                '{' => self.push(Kind::Open('{')),
                '}' => self.push(Kind::Close('}')),
                '%' => self.push(Kind::Percent),
                '$' => self.push(Kind::Currency("USD")),
                '|' => self.push(Kind::Bar),
                // Spacing and the marks of inline mathematics.
                _ => {}
            }
            return Ok(());
        }
        let start = self.at;
        while self.at < end && self.chars[self.at].is_ascii_alphabetic() {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        self.named(&name, start, end)
    }

    fn named(&mut self, name: &str, start: usize, end: usize) -> Result<(), &'static str> {
        if let Some((_, kind)) = COMMANDS.iter().find(|(known, _)| *known == name) {
            self.push(kind.clone());
            return Ok(());
        }
        if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            self.push(Kind::Function(*function));
            return Ok(());
        }
        if GREEK.iter().any(|(known, _)| *known == name) {
            self.push(Kind::Letter(name.to_owned()));
            return Ok(());
        }
        if SILENT.contains(&name) {
            if (name == "left" || name == "right" || name == "middle") && self.peek(0) == Some('.') {
                self.at += 1;
            }
            return Ok(());
        }
        if TEXTUAL.contains(&name) || name == "mathbb" {
            let Some((from, to)) = self.argument(end) else { return Ok(()) };
            if name == "mathbb" || name == "mathbf" && to - from == 1 && "RZNQC".contains(self.chars[from]) {
                self.push(Kind::Field(*self.chars.get(from).unwrap_or(&'R')));
                self.at = (to + 1).min(end);
                return Ok(());
            }
            return self.within(from, to, true);
        }
        if name == "dot" {
            // A dotted digit repeats; the numeral before it cannot know, so it is marked here.
            self.push(Kind::Overline);
            return Ok(());
        }
        if name == "begin" || name == "end" {
            let Some((from, to)) = self.argument(end) else { return Err("unfinished-environment") };
            let environment: String = self.chars[from..to].iter().collect();
            self.at = (to + 1).min(end);
            if name == "begin" {
                self.environments += 1;
                // The columns of an array.
                if environment == "array"
                    && self.peek(0) == Some('{')
                    && let Some((_, to)) = self.argument(end)
                {
                    self.at = (to + 1).min(end);
                }
                self.push(Kind::Begin(environment));
            } else {
                self.environments = self.environments.saturating_sub(1);
                self.push(Kind::End(environment));
            }
            return Ok(());
        }
        // A known command run together with what follows: `\quadx`, `\cdotx`, `\pir`.
        for length in (2..name.len().min(LONGEST_NAME)).rev() {
            let known = &name[..length];
            let prefix = SILENT.contains(&known)
                || COMMANDS.iter().any(|(name, _)| *name == known && known.len() > 1)
                || FUNCTIONS.iter().any(|(name, _)| *name == known);
            if prefix {
                self.at = start + length;
                return self.named(known, start, end);
            }
        }
        self.push(Kind::Unknown(name.to_owned()));
        Ok(())
    }

    /// The range within the braces that begin here, to the end where they do not close; or one character.
    fn argument(&mut self, end: usize) -> Option<(usize, usize)> {
        while self.at < end && self.chars[self.at].is_whitespace() {
            self.at += 1;
        }
        if self.at >= end {
            return None;
        }
        if self.chars[self.at] != '{' {
            return Some((self.at, self.at + 1));
        }
        let (start, mut depth, mut at) = (self.at + 1, 1, self.at + 1);
        while at < end {
            match self.chars[at] {
                '\\' => at += 1,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some((start, at));
            }
            at += 1;
        }
        Some((start, end))
    }

    fn within(&mut self, from: usize, to: usize, textual: bool) -> Result<(), &'static str> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err("too-deep");
        }
        self.at = from;
        self.run(to, textual)?;
        self.nesting -= 1;
        self.at = if self.chars.get(to) == Some(&'}') { to + 1 } else { to };
        Ok(())
    }

    fn symbol(&mut self, c: char) {
        self.at += 1;
        let two = |scanner: &mut Self, kind: Kind| {
            scanner.at += 1;
            scanner.push(kind);
        };
        let next = self.peek(0);
        match c {
            '<' if next == Some('=') => two(self, Kind::Relation(Relation::LessEqual)),
            '>' if next == Some('=') => two(self, Kind::Relation(Relation::GreaterEqual)),
            '!' if next == Some('=') => two(self, Kind::Relation(Relation::Unequal)),
            '=' if next == Some('=') => two(self, Kind::Relation(Relation::Equal)),
            '*' if next == Some('*') => two(self, Kind::Op('^')),
            '{' => self.push(Kind::Open('g')),
            '}' => self.push(Kind::Close('g')),
            '+' | '-' | '*' | '/' | '^' | '_' | '!' | '\'' => self.push(Kind::Op(c)),
            '\u{2212}' | '\u{2013}' | '\u{2010}' | '\u{2011}' | '\u{ff0d}' => self.push(Kind::Op('-')),
            '\u{ff0b}' => self.push(Kind::Op('+')),
            '×' | '·' | '⋅' | '∗' | '⨯' | '•' => self.push(Kind::Op('*')),
            '÷' | '∕' | '⁄' => self.push(Kind::Op('/')),
            '’' | '′' => self.push(Kind::Op('\'')),
            '±' => self.push(Kind::PlusMinus(true)),
            '∓' => self.push(Kind::PlusMinus(false)),
            '=' | '＝' => self.push(Kind::Relation(Relation::Equal)),
            '<' => self.push(Kind::Relation(Relation::Less)),
            '>' => self.push(Kind::Relation(Relation::Greater)),
            '≤' | '⩽' | '≦' => self.push(Kind::Relation(Relation::LessEqual)),
            '≥' | '⩾' | '≧' => self.push(Kind::Relation(Relation::GreaterEqual)),
            '≠' => self.push(Kind::Relation(Relation::Unequal)),
            '≈' | '≃' => self.push(Kind::Relation(Relation::Approx)),
            '≡' => self.push(Kind::Relation(Relation::Congruent)),
            '∈' => self.push(Kind::Relation(Relation::In)),
            '∉' => self.push(Kind::Relation(Relation::NotIn)),
            '⇒' | '→' | '⟹' | '⇔' => self.push(Kind::Relation(Relation::Implies)),
            ',' | '，' | '、' => self.push(Kind::Mark(',')),
            ';' | '；' => self.push(Kind::Mark(';')),
            ':' | '：' | '∶' => self.push(Kind::Mark(':')),
            '(' | '（' => self.push(Kind::Open('(')),
            ')' | '）' => self.push(Kind::Close(')')),
            '[' => self.push(Kind::Open('[')),
            ']' => self.push(Kind::Close(']')),
            '⟨' | '〈' => self.push(Kind::Open('<')),
            '⟩' | '〉' => self.push(Kind::Close('>')),
            '⌊' => self.push(Kind::Open('f')),
            '⌋' => self.push(Kind::Close('f')),
            '⌈' => self.push(Kind::Open('c')),
            '⌉' => self.push(Kind::Close('c')),
            '|' => self.push(Kind::Bar),
            '&' => self.push(Kind::Ampersand),
            '%' | '％' => self.push(Kind::Percent),
            '°' | 'º' | '˚' | '∘' => self.push(Kind::Degree),
            '$' => {
                if self.money {
                    self.push(Kind::Currency("USD"));
                }
            }
            '€' => self.push(Kind::Currency("EUR")),
            '£' => self.push(Kind::Currency("GBP")),
            '¥' => self.push(Kind::Currency("CNY")),
            '₹' => self.push(Kind::Currency("INR")),
            '√' => self.push(Kind::Sqrt),
            'π' | '𝜋' => self.push(Kind::Pi),
            '∞' => self.push(Kind::Infinity),
            '∪' => self.push(Kind::Cup),
            '∩' => self.push(Kind::Cap),
            '∖' => self.push(Kind::SetMinus),
            '∅' | 'Ø' => self.push(Kind::Empty),
            '∑' => self.push(Kind::Sum),
            '∏' => self.push(Kind::Prod),
            '∫' => self.push(Kind::Int),
            'ℝ' => self.push(Kind::Field('R')),
            'ℤ' => self.push(Kind::Field('Z')),
            'ℕ' => self.push(Kind::Field('N')),
            'ℚ' => self.push(Kind::Field('Q')),
            'ℂ' => self.push(Kind::Field('C')),
            '∨' => self.push(Kind::Or),
            '∧' => self.push(Kind::And),
            '…' => self.push(Kind::Dots),
            // A full stop ends a sentence.
            '.' | '。' | '"' | '“' | '”' | '`' | '?' => {}
            other => self.rare(other),
        }
    }

    fn rare(&mut self, c: char) {
        if let Some((numerator, denominator)) = number::vulgar(c) {
            return self.push(Kind::Number(Numeral::fraction(numerator, denominator)));
        }
        if let Some(first) = number::script(c) {
            // A run of raised or lowered digits is one exponent or index.
            let mut digits = String::from(first.1);
            while let Some((raised, digit)) = self.peek(0).and_then(number::script)
                && raised == first.0
            {
                digits.push(digit);
                self.at += 1;
            }
            self.push(Kind::Op(if first.0 { '^' } else { '_' }));
            self.push(Kind::Open('g'));
            if let Some(rest) = digits.strip_prefix('-') {
                self.push(Kind::Op('-'));
                digits = rest.to_owned();
            }
            if let Ok(value) = digits.parse::<i64>() {
                self.push(Kind::Number(Numeral::integer(value)));
            }
            return self.push(Kind::Close('g'));
        }
        if let Some((name, _)) = GREEK.iter().find(|(_, letter)| *letter == c) {
            return self.push(Kind::Letter((*name).to_owned()));
        }
        if c.is_alphabetic() {
            // A word in another script.
            let mut word = String::from(c);
            while let Some(next) = self.peek(0)
                && next.is_alphabetic()
                && !next.is_ascii()
            {
                word.push(next);
                self.at += 1;
            }
            return self.push(Kind::Word(word));
        }
        self.push(Kind::Unknown(c.to_string()));
    }
}
