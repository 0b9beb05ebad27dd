//! Letters in expressions: variables with their indices, functions that a problem names, capitals side by side as one name,
//! combinations, derivatives.

use super::expression::{Parsed, Parser};
use super::matrix;
use super::name::label_key;
use super::token::{Kind, Token};
use crate::expr::{Expr, Function, SPECIAL};

/// Letters that name a function where brackets follow.
const FUNCTION_LETTERS: &[&str] = &["f", "g", "h", "F", "G", "H"];

impl<'t> Parser<'t> {
    /// How far the matrix reaches that begins here, where bars stand around nothing else: a determinant.
    pub(super) fn barred_matrix(&self) -> Option<usize> {
        let Some(Kind::Begin(name)) = self.peek() else { return None };
        let close = matrix::closing(&self.tokens[self.at..])?;
        let plain = matches!(name.as_str(), "array" | "matrix" | "smallmatrix");
        (plain && self.ahead(close + 1) == Some(&Kind::Bar)).then_some(close)
    }

    /// Whether the fraction that begins here is a derivative: `d` before what stands above and below. A sum below that
    /// begins with `d`, as in `de+df+ef`, is one of products.
    pub(super) fn derives(&self) -> bool {
        let first = self.tokens.get(self.at + 1).map(|token| &token.kind);
        if !matches!(first, Some(Kind::Letter(name) | Kind::Unknown(name)) if name == "d" || name == "partial") {
            return false;
        }
        let Some(above) = matrix::inside(&self.tokens[self.at..]) else { return false };
        let below =
            matrix::inside(&self.tokens[(self.at + above.len() + 2).min(self.tokens.len())..]).unwrap_or_default();
        let differential = |tokens: &[Token], alone: bool| {
            let first = tokens.first().is_some_and(|token| {
                matches!(&token.kind, Kind::Letter(name) if name == "d")
                    || matches!(&token.kind, Kind::Unknown(name) if name == "partial")
            });
            let next = tokens.get(1).map(|token| &token.kind);
            first
                && (next.is_none() && alone || matches!(next, Some(Kind::Letter(_) | Kind::Op('^') | Kind::Open('('))))
        };
        let mut depth = 0_usize;
        let is_sum = below.iter().any(|token| {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(token.kind, Kind::Op('+' | '-'))
        });
        differential(above, true) && differential(below, false) && !is_sum
    }

    /// The capital letter at a place.
    pub(super) fn capital(&self, at: usize) -> Option<&'t str> {
        match self.tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Letter(name)) if name.len() == 1 && name.chars().all(|c| c.is_ascii_uppercase()) => Some(name),
            _ => None,
        }
    }

    /// Capital letters side by side, as one name.
    fn labelled(&mut self) -> Option<Expr> {
        let first = self.at - 1;
        let textual = |at: usize| {
            self.tokens.get(at).is_some_and(|token| {
                token.textual && !token.space && matches!(&token.kind, Kind::Letter(name) if name.len() == 1)
            })
        };
        let mut run = String::new();
        let mut at = first;
        while let Some(letter) = self.capital(at) {
            run.push_str(letter);
            at += 1;
        }
        if run.is_empty() && textual(first) {
            while at == first || textual(at) {
                let Some(Kind::Letter(letter)) = self.tokens.get(at).map(|token| &token.kind) else { break };
                run.push_str(letter);
                at += 1;
            }
        }
        if run.len() < 2 {
            return None;
        }
        self.at = at;
        Some(Expr::symbol(label_key(&run, self.tokens[first].mark)))
    }

    /// `_5C_2`, `^5C_2`, `_5P_2`: from behind the first sign on.
    pub(super) fn combination(&mut self, sign: char) -> Parsed {
        let top = self.argument()?;
        let Some(Kind::Letter(letter)) = self.peek() else { return Err("index-before-nothing") };
        let counts = matches!(letter.as_str(), "C" | "P" | "A") && top.as_small().is_some_and(|top| top >= 0);
        self.at += 1;
        if !counts || !(self.take(&Kind::Op('_')) || sign == '_' && self.take(&Kind::Op('^'))) {
            return Err("index-before-letter");
        }
        let bottom = self.argument()?;
        Ok(chosen(letter, top, bottom))
    }

    /// `C_5^2`, `A_5^2`: from behind the letter on.
    fn chosen(&mut self, letter: &str) -> Option<Expr> {
        if !matches!(letter, "C" | "A" | "P") || !matches!(self.peek(), Some(Kind::Op('_' | '^'))) {
            return None;
        }
        let start = self.at;
        let mut both = Vec::new();
        for _ in 0..2 {
            let Some(Kind::Op(sign @ ('_' | '^'))) = self.peek() else { break };
            self.at += 1;
            match self.argument() {
                Ok(value) if value.as_small().is_some_and(|value| value >= 0) => both.push((*sign, value)),
                _ => break,
            }
        }
        both.sort_by_key(|(sign, _)| *sign == '^');
        match <[(char, Expr); 2]>::try_from(both) {
            Ok([('_', lower), ('^', upper)]) => {
                let turned = lower.as_small() < upper.as_small();
                Some(if turned { chosen(letter, upper, lower) } else { chosen(letter, lower, upper) })
            }
            _ => {
                self.at = start;
                None
            }
        }
    }

    pub(super) fn letter(&mut self, name: &str) -> Parsed {
        if self.tokens[self.at - 1].mark == Some('î') {
            return Ok(Expr::symbol(format!("{name}\u{302}")));
        }
        if self.mode.labels
            && let Some(label) = self.labelled()
        {
            return Ok(label);
        }
        if let Some(value) = self.chosen(name) {
            return Ok(value);
        }
        // f^{-1}(3)
        if FUNCTION_LETTERS.contains(&name) && self.peek() == Some(&Kind::Op('^')) {
            let group = usize::from(self.ahead(1) == Some(&Kind::Open('g')));
            let one =
                matches!(self.ahead(2 + group), Some(Kind::Number(numeral)) if numeral.digits.as_deref() == Some("1"));
            let open = 3 + 2 * group;
            if self.ahead(1 + group) == Some(&Kind::Op('-')) && one && self.ahead(open) == Some(&Kind::Open('(')) {
                self.at += open + 1;
                return Ok(Expr::Call(format!("{name}^-1"), self.arguments(')')?));
            }
        }
        let mut name = name.to_owned();
        if self.take(&Kind::Op('_')) {
            name = format!("{name}_{}", self.index()?);
        }
        while self.take(&Kind::Op('\'')) {
            name.push('\'');
        }
        match name.as_str() {
            "e" => return Ok(Expr::E),
            "i" => return Ok(Expr::I),
            _ => {}
        }
        let called =
            FUNCTION_LETTERS.contains(&name.as_str()) || SPECIAL.contains(&name.as_str()) || name.ends_with('\'');
        if self.peek() == Some(&Kind::Open('(')) && (called || name == "C") {
            let start = self.at;
            self.at += 1;
            let arguments = self.arguments(')')?;
            if called {
                return Ok(Expr::Call(name, arguments));
            }
            if arguments.len() == 2 {
                return Ok(Expr::apply(Function::Binomial, arguments));
            }
            self.at = start;
        }
        Ok(Expr::Symbol(name))
    }

    /// The text of an index: `_1`, `_{n-1}`, `_{max}`.
    fn index(&mut self) -> Result<String, &'static str> {
        let start = self.at;
        let mut depth = 0_u32;
        loop {
            match self.peek() {
                Some(Kind::Open('g')) => depth += 1,
                Some(Kind::Close('g')) => depth = depth.saturating_sub(1),
                Some(_) => {}
                None if depth > 0 => break,
                None => return Err("unfinished"),
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        let mut text = String::new();
        for token in &self.tokens[start..self.at] {
            match &token.kind {
                Kind::Open('g') | Kind::Close('g') => {}
                Kind::Number(numeral) => text.push_str(&numeral.value.to_string()),
                Kind::Letter(name) | Kind::Word(name) => text.push_str(name),
                Kind::Op(c) | Kind::Mark(c) | Kind::Open(c) | Kind::Close(c) => text.push(*c),
                _ => text.push('?'),
            }
        }
        Ok(text)
    }
}

/// Combinations, or arrangements, of some out of others.
pub(super) fn chosen(letter: &str, top: Expr, bottom: Expr) -> Expr {
    if letter == "C" {
        return Expr::apply(Function::Binomial, vec![top, bottom]);
    }
    let factorial = |value: Expr| Expr::apply(Function::Factorial, vec![value]);
    Expr::product([factorial(top.clone()), factorial(top.minus(bottom)).inverse()])
}
