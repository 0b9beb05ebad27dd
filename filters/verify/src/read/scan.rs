//! Characters to tokens: numbers, runs of letters, groups; `command` and `symbol` have the rest.

use super::alphabet::{FUNCTIONS, GREEK};
use super::number::{self, Numeral};
use super::token::{Commas, Kind, Relation, Token};
use super::{foreign, unit, words};

const MAX_NESTING: usize = 16;

/// Tokens, and whether something was passed over or guessed.
pub(super) fn scan(mut chars: Vec<char>, commas: Commas) -> Result<(Vec<Token>, bool), &'static str> {
    if chars.iter().any(|c| !c.is_ascii()) {
        chars.iter_mut().for_each(|c| *c = foreign::folded(*c));
    }
    let dollars = chars.iter().enumerate().filter(|(at, c)| **c == '$' && (*at == 0 || chars[at - 1] != '\\')).count();
    let mut scanner = Scanner {
        chars: &chars,
        at: 0,
        out: Vec::new(),
        commas,
        environments: 0,
        money: dollars % 2 == 1,
        nesting: 0,
        mark: None,
        doubt: false,
        styled: false,
        gaps: Vec::new(),
    };
    scanner.run(chars.len(), false)?;
    let (mut tokens, mut doubt) = (scanner.out, scanner.doubt);
    doubt |= !scanner.gaps.is_empty() && apart(&mut tokens, &scanner.gaps);
    if tokens.iter().any(|token| token.kind == Kind::Break) {
        doubt |= broken(&mut tokens);
    }
    Ok((tokens, doubt))
}

/// Lines that each state a relation are a list of them; elsewhere a new line is white space. Whether one was passed over.
fn broken(tokens: &mut Vec<Token>) -> bool {
    while tokens.last().is_some_and(|token| token.kind == Kind::Break) {
        tokens.pop();
    }
    let relation = |token: &Token| matches!(token.kind, Kind::Relation(_));
    let mut lines = tokens.split(|token| token.kind == Kind::Break).filter(|line| !line.is_empty());
    let stated = lines.all(|line| line.iter().any(relation) && !line.first().is_some_and(relation));
    let mut passed = false;
    tokens.retain_mut(|token| {
        if token.kind == Kind::Break && stated {
            token.kind = Kind::Mark(',');
        }
        passed |= token.kind == Kind::Break;
        token.kind != Kind::Break
    });
    passed
}

/// Equations with a wide space between them, `y = x^2 \quad y = -x`, become a list of them. Whether they did.
fn apart(tokens: &mut Vec<Token>, gaps: &[usize]) -> bool {
    let ends: Vec<usize> = gaps.iter().copied().filter(|at| *at > 0 && *at < tokens.len()).collect();
    let starts = [0].into_iter().chain(ends.iter().copied());
    let equation = |part: &[Token]| {
        let depth = part.iter().fold(0_i32, |depth, token| match token.kind {
            Kind::Open(_) | Kind::Begin(_) => depth + 1,
            Kind::Close(_) | Kind::End(_) => depth - 1,
            _ => depth,
        });
        let named = matches!(part, [Token { kind: Kind::Letter(_), textual: false, .. }, ..]);
        let stated =
            part.iter().any(|token| matches!(token.kind, Kind::Relation(Relation::Equal | Relation::Congruent)));
        let open = matches!(part.last().map(|token| &token.kind), Some(Kind::Op(_) | Kind::Relation(_)));
        depth == 0 && named && stated && !open
    };
    if ends.is_empty()
        || !starts.zip(ends.iter().copied().chain([tokens.len()])).all(|(from, to)| equation(&tokens[from..to]))
    {
        return false;
    }
    for at in ends.into_iter().rev() {
        tokens.insert(at, Token::new(Kind::Mark(',')));
    }
    true
}

pub(super) struct Scanner<'t> {
    pub chars: &'t [char],
    pub at: usize,
    pub out: Vec<Token>,
    pub commas: Commas,
    pub environments: u32,
    /// A lone `$` is money.
    pub money: bool,
    nesting: usize,
    /// What the next token is marked with.
    pub mark: Option<char>,
    /// Something was passed over or guessed.
    pub doubt: bool,
    /// A styled group has just ended or begun: digits on both sides are one numeral.
    pub styled: bool,
    /// Before which tokens a wide space stands.
    pub gaps: Vec<usize>,
}

impl Scanner<'_> {
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    pub(super) fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    /// Scans up to `end`; in text, runs of letters are words.
    pub(super) fn run(&mut self, end: usize, textual: bool) -> Result<(), &'static str> {
        let mut space = false;
        while self.at < end {
            let before = self.out.len();
            let c = self.chars[self.at];
            if c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}' | '~') {
                if c == '\n' && self.environments == 0 && !self.out.is_empty() && self.nesting == 0 {
                    self.push(Kind::Break);
                }
                self.at += 1;
                (space, self.styled) = (true, false);
                continue;
            }
            if c.is_ascii_digit() || c == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
                self.number(end)?;
            } else if c == '\\' {
                self.command(end)?;
            } else if c.is_alphabetic() && foreign::is_letter(c) {
                self.letters(end, textual, space);
            } else {
                self.symbol(c);
            }
            if let Some(token) = self.out.get_mut(before) {
                token.space = space;
                space = false;
            }
            for token in self.out.iter_mut().skip(before) {
                token.textual |= textual;
            }
        }
        Ok(())
    }

    fn number(&mut self, end: usize) -> Result<(), &'static str> {
        let (numeral, length) = number::scan(&self.chars[self.at..end], self.commas)?;
        self.at += length;
        let joined = match (self.out.last().map(|token| &token.kind), &numeral.digits) {
            // `\mathbf{1}0`
            (Some(Kind::Number(Numeral { digits: Some(before), .. })), Some(digits)) if self.styled => {
                number::in_base(&format!("{before}{digits}"), 10).map(|value| (value, format!("{before}{digits}")))
            }
            _ => None,
        };
        self.styled = false;
        if let (Some((value, digits)), Some(last)) = (joined, self.out.last_mut()) {
            last.kind = Kind::Number(Numeral { value, decimal: None, digits: Some(digits) });
            return Ok(());
        }
        self.push(Kind::Number(numeral));
        Ok(())
    }

    pub(super) fn push(&mut self, kind: Kind) {
        self.out.push(Token { mark: self.mark.take(), ..Token::new(kind) });
    }

    fn letters(&mut self, end: usize, textual: bool, space: bool) {
        let start = self.at;
        while self.at < end && foreign::is_letter(self.chars[self.at]) {
            self.at += 1;
        }
        // `p.m.`
        if self.at - start == 1 && self.starts(".m.") {
            self.at += 3;
        }
        self.styled = false;
        let run: String = self.chars[start..self.at].iter().filter(|c| **c != '.').collect();
        if run.is_ascii() {
            let followed = self.at >= end || !self.chars[self.at].is_ascii_digit();
            return self.word(&run, textual, space && followed);
        }
        if let Some(joiner) = foreign::joiner(&run.to_lowercase()) {
            return self.joined(joiner);
        }
        self.push(Kind::Word(run));
    }

    /// Whether a single letter has white space on both sides, where it can be a word at all.
    fn stands_alone(&self, apart: bool, possible: bool) -> bool {
        possible && apart && self.peek(0).is_some_and(char::is_whitespace)
    }

    /// "and" or "or" in some language.
    pub(super) fn joined(&mut self, joiner: foreign::Joiner) {
        self.push(if joiner == foreign::Joiner::Or { Kind::Or } else { Kind::And });
    }

    fn word(&mut self, run: &str, textual: bool, apart: bool) {
        let after_number = self.out.last().is_some_and(|token| matches!(token.kind, Kind::Number(_)));
        // 1st, 2nd, 3rd, 4th
        if matches!(run, "st" | "nd" | "rd" | "th")
            && self.at >= 3
            && self.chars[self.at - 3].is_ascii_digit()
            && after_number
        {
            return;
        }
        // `1orW(x)`
        if let Some(rest) = run.strip_prefix("or").or_else(|| run.strip_prefix("and"))
            && rest.starts_with(|c: char| c.is_ascii_uppercase())
            && after_number
        {
            self.push(if run.starts_with("or") { Kind::Or } else { Kind::And });
            return self.word(rest, textual, false);
        }
        // 10 per cent
        if run.eq_ignore_ascii_case("per") && self.starts(" cent") && !self.peek(5).is_some_and(char::is_alphabetic) {
            self.at += " cent".len();
            return self.push(Kind::Percent);
        }
        match run.to_ascii_lowercase().as_str() {
            "and" => return self.push(Kind::And),
            "or" => return self.push(Kind::Or),
            "percent" | "percentage" | "pct" => return self.push(Kind::Percent),
            "degrees" | "degree" | "deg" => return self.push(Kind::Degree),
            "infinity" => return self.push(Kind::Infinity),
            "mod" | "modulo" => return self.push(Kind::Mod),
            "lim" => return self.push(Kind::Limit),
            _ => {}
        }
        if (textual || apart && !self.out.is_empty())
            && let Some(joiner) = foreign::joiner(run)
            && (run.len() > 1 || self.stands_alone(apart, run == "o" || textual))
        {
            self.doubt = true;
            return self.joined(joiner);
        }
        if run.chars().count() == 1 {
            return self.push(Kind::Letter(run.to_owned()));
        }
        if run == "sec" && self.is_second() {
            return self.push(Kind::Word(run.to_owned()));
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
        let quantity = (textual || after_number && apart) && unit::is_unit(run);
        if textual && run.len() > 2
            || run.len() > 3
            || quantity
            || words::is_known(run)
            || textual && words::is_short(run)
        {
            return self.push(Kind::Word(run.to_owned()));
        }
        for letter in run.chars() {
            self.push(Kind::Letter(letter.to_string()));
        }
    }

    /// Whether `sec` is the unit, as in `5 sec` and `ft/sec`: behind a number or below a unit, and no argument follows.
    fn is_second(&self) -> bool {
        let next = self.chars[self.at..].iter().find(|c| !c.is_whitespace() && !matches!(c, '$' | '}')).copied();
        let argument = next.is_some_and(|c| c.is_alphanumeric() || matches!(c, '\\' | '('));
        match self.out.as_slice() {
            [.., Token { kind: Kind::Number(_), .. }] => !argument && next != Some('^'),
            [.., unit, Token { kind: Kind::Op('/'), .. }] => {
                !argument && (matches!(unit.kind, Kind::Word(_)) || unit.textual || unit.space)
            }
            _ => false,
        }
    }

    /// The range within the braces that begin here, to the end where they do not close; or one character.
    pub(super) fn argument(&mut self, end: usize) -> Option<(usize, usize)> {
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

    /// Where an argument's closing brace is passed.
    pub(super) fn behind(&self, from: usize, to: usize) -> usize {
        let braced = from > 0 && self.chars[from - 1] == '{' && self.chars.get(to) == Some(&'}');
        to + usize::from(braced)
    }

    pub(super) fn within(&mut self, from: usize, to: usize, textual: bool) -> Result<(), &'static str> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err("too-deep");
        }
        self.at = from;
        let before = self.out.len();
        self.styled = true;
        self.run(to, textual)?;
        self.nesting -= 1;
        self.at = self.behind(from, to);
        self.styled = self.out.len() <= before + 1;
        Ok(())
    }

    /// The relation that `\not` turns around, where it can be.
    pub(super) fn negate(&mut self, end: usize) -> Result<(), &'static str> {
        let before = self.out.len();
        while self.at < end && (self.chars[self.at].is_whitespace() || matches!(self.chars[self.at], '{' | '}')) {
            self.at += 1;
        }
        if self.at >= end {
            return Err("negated-nothing");
        }
        match self.chars[self.at] {
            '\\' => self.command(end)?,
            c => self.symbol(c),
        }
        if self.at < end && self.chars[self.at] == '}' {
            self.at += 1;
        }
        let [token] = self.out.get_mut(before..).unwrap_or_default() else { return Err("negated-something") };
        let Kind::Relation(relation) = &mut token.kind else { return Err("negated-something") };
        *relation = match *relation {
            Relation::Equal => Relation::Unequal,
            Relation::Less => Relation::GreaterEqual,
            Relation::LessEqual => Relation::Greater,
            Relation::Greater => Relation::LessEqual,
            Relation::GreaterEqual => Relation::Less,
            Relation::In => Relation::NotIn,
            _ => return Err("negated-something"),
        };
        Ok(())
    }
}
