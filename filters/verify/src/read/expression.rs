//! Tokens to one expression, by precedence: sums, products, signs, powers, what follows an operand.

use super::letter::chosen;
use super::matrix;
use super::name::label_key;
use super::number;
use super::token::{Kind, Mode, Token};
use crate::expr::{Expr, Function, SeriesKind};
use num_rational::BigRational;

/// Brackets in brackets beyond this are not read.
pub(super) const MAX_DEPTH: u32 = 48;
/// Signs behind one operand: `5!!`, `3%`.
const MAX_SUFFIXES: usize = 8;

/// An expression, or why there is none.
pub(super) type Parsed = Result<Expr, &'static str>;

/// All of `tokens` as one expression.
pub(crate) fn expression(tokens: &[Token], mode: Mode) -> Parsed {
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0, mode };
    let expr = parser.infix(true)?;
    if parser.at < tokens.len() { Err("trailing-text") } else { Ok(expr) }
}

/// Walks over tokens.
pub(super) struct Parser<'t> {
    pub tokens: &'t [Token],
    pub at: usize,
    pub depth: u32,
    /// Open absolute values.
    pub bars: u32,
    /// How uncertain letters are read.
    pub mode: Mode,
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> Option<&'t Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn ahead(&self, count: usize) -> Option<&'t Kind> {
        self.tokens.get(self.at + count).map(|token| &token.kind)
    }

    pub(super) fn take(&mut self, kind: &Kind) -> bool {
        let here = self.peek() == Some(kind);
        self.at += usize::from(here);
        here
    }

    pub(super) fn sum(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too-deep");
        }
        let mut terms = Vec::new();
        loop {
            let (mut negative, mut sign) = (false, None);
            loop {
                match self.peek() {
                    Some(Kind::Op('+')) => {}
                    Some(Kind::Op('-')) => negative = !negative,
                    Some(Kind::PlusMinus(plus)) if sign.is_none() => sign = Some(*plus),
                    _ => break,
                }
                self.at += 1;
            }
            let mut term = self.product()?;
            if let Some(plus) = sign {
                term = Expr::product([Expr::Sign(plus), term]);
            }
            terms.push(if negative { term.negated() } else { term });
            if !matches!(self.peek(), Some(Kind::Op('+' | '-') | Kind::PlusMinus(_))) {
                break;
            }
        }
        self.depth -= 1;
        Ok(Expr::sum(terms))
    }

    pub(super) fn product(&mut self) -> Parsed {
        let mut start = self.at;
        let mut factors = vec![self.signed()?];
        loop {
            match self.peek() {
                Some(Kind::Op('*')) => {
                    let crossed = self.tokens[self.at].mark == Some('×') && self.is_arrow(start);
                    self.at += 1;
                    let crossed = crossed && self.is_arrow(self.at);
                    start = self.at;
                    let next = self.signed()?;
                    match factors.pop() {
                        // A cross product has an order.
                        Some(last) if crossed && self.mode.labels => {
                            factors.push(Expr::Call("×".to_owned(), vec![last, next]));
                        }
                        last => factors.extend(last.into_iter().chain([next])),
                    }
                }
                Some(Kind::Op('/')) => {
                    self.at += 1;
                    let divisor = self.signed()?;
                    factors.push(divisor.inverse());
                }
                Some(Kind::Mod) => return Err("remainder"),
                Some(kind) if self.begins(kind) => {
                    let mixed = self.mixed(factors.last());
                    let number = |token: &Token| matches!(token.kind, Kind::Number(_));
                    if !mixed && number(&self.tokens[self.at]) && number(&self.tokens[self.at - 1]) {
                        return Err("numbers-side-by-side");
                    }
                    let next = self.power()?;
                    match (mixed, factors.pop()) {
                        // A whole number before a fraction is a mixed number.
                        (true, Some(whole)) => factors.push(Expr::sum([whole, next])),
                        (_, whole) => factors.extend(whole.into_iter().chain([next])),
                    }
                }
                _ => break,
            }
        }
        Ok(if factors.len() == 1 { factors.swap_remove(0) } else { Expr::product(factors) })
    }

    /// Whether an arrow or a hat stands on the operand that begins there.
    fn is_arrow(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| matches!(token.mark, Some('→' | '^' | 'î')))
    }

    /// Whether the number just read and the fraction that follows are one mixed number.
    fn mixed(&self, last: Option<&Expr>) -> bool {
        let whole = last.and_then(Expr::as_number).is_some_and(|value| value.is_integer());
        let after_number =
            self.at > 0 && matches!(&self.tokens[self.at - 1].kind, Kind::Number(numeral) if numeral.digits.is_some());
        let before = self.at.checked_sub(2).map(|at| &self.tokens[at].kind);
        let alone = !matches!(before, Some(Kind::Op('*' | '/' | '^' | '_')));
        if !(whole && after_number && alone) {
            return false;
        }
        match self.peek() {
            // A fraction of two numbers, the smaller one on top.
            Some(Kind::Frac) => {
                let mut probe =
                    Parser { tokens: self.tokens, at: self.at, depth: self.depth, bars: 0, mode: Mode::default() };
                let number = |fraction: Parsed| fraction.ok().and_then(|fraction| fraction.as_number().cloned());
                let plain = self.tokens[self.at..].iter().take(7).all(|token| {
                    !matches!(token.kind, Kind::Letter(_) | Kind::Pi | Kind::Sqrt | Kind::Op('-' | '^'))
                        || !matches!(token.kind, Kind::Op('-'))
                });
                let fraction = number(probe.power());
                plain && fraction.is_some_and(|value| value > BigRational::default())
            }
            Some(Kind::Number(numeral)) if numeral.digits.is_none() => {
                numeral.decimal.is_none() && !numeral.value.is_integer()
            }
            // `2 3/4`
            Some(Kind::Number(numeral)) => {
                numeral.digits.is_some()
                    && self.ahead(1) == Some(&Kind::Op('/'))
                    && matches!(self.ahead(2), Some(Kind::Number(_)))
            }
            _ => false,
        }
    }

    /// Whether an operand begins here, so that a product without a sign goes on.
    fn begins(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Number(_)
            | Kind::Letter(_)
            | Kind::Function(_)
            | Kind::Frac
            | Kind::Sqrt
            | Kind::Binom
            | Kind::Overline
            | Kind::Pi
            | Kind::Infinity
            | Kind::Sum
            | Kind::Prod
            | Kind::Int
            | Kind::Begin(_)
            | Kind::Open('(' | '[' | 'g' | 'f' | 'c') => true,
            Kind::Bar => self.bars == 0,
            _ => false,
        }
    }

    fn signed(&mut self) -> Parsed {
        let mut negative = false;
        while let Some(Kind::Op(sign @ ('+' | '-'))) = self.peek() {
            negative ^= *sign == '-';
            self.at += 1;
        }
        // `1/2 3`… a number with a slash right behind a whole number: `2 3/4`.
        let mixed = matches!(self.peek(), Some(Kind::Number(numeral)) if numeral.digits.is_some())
            && matches!(self.ahead(1), Some(Kind::Number(numeral)) if numeral.digits.is_some())
            && self.ahead(2) == Some(&Kind::Op('/'))
            && matches!(self.ahead(3), Some(Kind::Number(numeral)) if numeral.digits.is_some());
        let value = if mixed {
            let whole = self.atom()?;
            let numerator = self.atom()?;
            self.at += 1;
            let denominator = self.atom()?;
            Expr::sum([whole, Expr::product([numerator, denominator.inverse()])])
        } else {
            self.power()?
        };
        Ok(if negative { value.negated() } else { value })
    }

    pub(super) fn power(&mut self) -> Parsed {
        let base = self.postfix()?;
        self.raised(base)
    }

    fn raised(&mut self, base: Expr) -> Parsed {
        if !self.take(&Kind::Op('^')) {
            return Ok(base);
        }
        if self.take(&Kind::Degree) {
            return self.raised(degrees(base));
        }
        if self.peek() == Some(&Kind::Op('\'')) {
            return Err("derivative");
        }
        if self.peek() == Some(&Kind::Open('g')) && self.ahead(1) == Some(&Kind::Degree) {
            self.at += 2;
            self.take(&Kind::Close('g'));
            return self.raised(degrees(base));
        }
        let exponent = self.exponent()?;
        let power = Expr::power(base, exponent);
        // `2^{10}!`, `x^2^3` after braces
        let power = self.suffix(power)?;
        if self.peek() == Some(&Kind::Op('^')) { Err("double-exponent") } else { Ok(power) }
    }

    pub(super) fn exponent(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too-deep");
        }
        let mut negative = false;
        while let Some(Kind::Op(sign @ ('+' | '-'))) = self.peek() {
            negative ^= *sign == '-';
            self.at += 1;
        }
        let group = self.peek() == Some(&Kind::Open('g'));
        let exponent = self.atom()?;
        let exponent = if group { exponent } else { self.raised(exponent)? };
        self.depth -= 1;
        Ok(if negative { exponent.negated() } else { exponent })
    }

    pub(super) fn postfix(&mut self) -> Parsed {
        let atom = self.atom()?;
        self.suffix(atom)
    }

    fn suffix(&mut self, mut value: Expr) -> Parsed {
        for _ in 0..MAX_SUFFIXES {
            match self.peek() {
                Some(Kind::Op('!')) => {
                    self.at += 1;
                    let double = self.take(&Kind::Op('!'));
                    if self.peek() == Some(&Kind::Op('!')) {
                        return Err("multiple-factorial");
                    }
                    let function = if double { Function::DoubleFactorial } else { Function::Factorial };
                    value = Expr::apply(function, vec![value]);
                }
                Some(Kind::Degree) => {
                    self.at += 1;
                    value = degrees(value);
                }
                Some(Kind::Percent) => {
                    self.at += 1;
                    value = Expr::product([value, Expr::Number(BigRational::new(1.into(), 100.into()))]);
                }
                _ => return Ok(value),
            }
        }
        Err("too-deep")
    }

    fn atom(&mut self) -> Parsed {
        let Some(kind) = self.peek() else { return Err("unfinished") };
        self.at += 1;
        match kind {
            // ∠1 is no number.
            Kind::Number(_) if matches!(self.tokens[self.at - 1].mark, Some('∠' | '△')) => Err("label"),
            Kind::Number(numeral) => {
                if self.peek() == Some(&Kind::Op('_'))
                    && let Some(digits) = &numeral.digits
                {
                    self.at += 1;
                    let base = self.argument()?.as_small().and_then(|base| u32::try_from(base).ok());
                    let value = base.and_then(|base| number::in_base(digits, base));
                    return value.map(Expr::Number).ok_or("not-a-numeral");
                }
                // 5C2
                if let (Some(Kind::Letter(letter)), Some(Kind::Number(bottom))) = (self.peek(), self.ahead(1))
                    && matches!(letter.as_str(), "C" | "P")
                    && !self.tokens[self.at].space
                    && !self.tokens[self.at + 1].space
                    && numeral.digits.is_some()
                    && bottom.digits.is_some()
                {
                    self.at += 2;
                    return Ok(chosen(letter, Expr::Number(numeral.value.clone()), Expr::Number(bottom.value.clone())));
                }
                Ok(Expr::Number(numeral.value.clone()))
            }
            Kind::Letter(name) => self.letter(name),
            Kind::Op(sign @ ('_' | '^')) => self.combination(*sign),
            // `{}_5C_2`
            Kind::Open('g')
                if self.peek() == Some(&Kind::Close('g')) && matches!(self.ahead(1), Some(Kind::Op('_' | '^'))) =>
            {
                self.at += 2;
                self.combination(if self.tokens[self.at - 1].kind == Kind::Op('_') { '_' } else { '^' })
            }
            Kind::Open('g') if self.tokens[self.at - 1].mark.is_some() && self.mode.labels => {
                let mark = self.tokens[self.at - 1].mark;
                match self.bracket('g')? {
                    Expr::Symbol(run) if run.len() > 1 && run.chars().all(|c| c.is_ascii_uppercase()) => {
                        Ok(Expr::symbol(label_key(&run, mark)))
                    }
                    inner => Ok(inner),
                }
            }
            Kind::Pi => Ok(Expr::Pi),
            Kind::Infinity => Ok(Expr::Infinity),
            Kind::Open(open @ ('(' | '[' | 'g' | 'f' | 'c')) => self.bracket(*open),
            Kind::Bar if self.barred_matrix().is_some() => {
                let close = self.barred_matrix().ok_or("unfinished-environment")?;
                let rows = matrix::rows(&self.tokens[self.at + 1..self.at + close], self.mode)?;
                self.at += close + 2;
                matrix::determinant(&rows)
            }
            Kind::Bar => {
                self.bars += 1;
                let inner = self.sum()?;
                if !self.take(&Kind::Bar) {
                    return Err("open-absolute-value");
                }
                self.bars -= 1;
                Ok(Expr::apply(Function::Abs, vec![inner]))
            }
            Kind::Frac if self.derives() => Err("derivative"),
            Kind::Frac => {
                let (above, below) = self.two_arguments()?;
                Ok(Expr::product([above, below.inverse()]))
            }
            Kind::Binom => {
                let (top, bottom) = self.two_arguments()?;
                Ok(Expr::apply(Function::Binomial, vec![top, bottom]))
            }
            Kind::Sqrt => self.root(),
            Kind::Overline => {
                let capital = |ahead: usize| self.capital(self.at + ahead).is_some();
                let group = self.peek() == Some(&Kind::Open('g'));
                let segment = group && capital(1) && capital(2) && self.ahead(3) == Some(&Kind::Close('g'));
                let inner = self.argument()?;
                Ok(match inner {
                    // A segment.
                    Expr::Symbol(run) if segment => Expr::symbol(label_key(&run, Some('—'))),
                    inner if segment => inner,
                    inner => Expr::apply(Function::Conjugate, vec![inner]),
                })
            }
            Kind::Function(name) => self.function(*name),
            Kind::Sum => self.series(SeriesKind::Sum),
            Kind::Prod => self.series(SeriesKind::Product),
            Kind::Int => self.integral(),
            // Two numbers above each other: a binomial coefficient, in the brackets that were just opened.
            Kind::Begin(_) if self.at > 1 && self.tokens[self.at - 2].kind == Kind::Open('(') => {
                let close = matrix::closing(&self.tokens[self.at - 1..]).ok_or("unfinished-environment")?;
                let rows = matrix::rows(&self.tokens[self.at..self.at + close - 1], self.mode)?;
                self.at += close;
                match <[Vec<Expr>; 2]>::try_from(rows) {
                    Ok([top, bottom]) if top.len() == 1 => {
                        Ok(Expr::apply(Function::Binomial, top.into_iter().chain(bottom).collect()))
                    }
                    _ => Err("matrix-in-expression"),
                }
            }
            // What a sum leaves out.
            Kind::Dots => Ok(Expr::symbol("…")),
            Kind::Begin(name) if name == "vmatrix" => {
                let close = matrix::closing(&self.tokens[self.at - 1..]).ok_or("unfinished-environment")?;
                let rows = matrix::rows(&self.tokens[self.at..self.at + close - 1], self.mode)?;
                self.at += close;
                matrix::determinant(&rows)
            }
            _ => Err("not-an-operand"),
        }
    }

    fn bracket(&mut self, open: char) -> Parsed {
        let bars = std::mem::take(&mut self.bars);
        let value = self.infix(open == 'g')?;
        self.bars = bars;
        let close = match open {
            '(' => ')',
            '[' => ']',
            other => other,
        };
        // What never closes closes at the end, for a group; a bracket must.
        let ended = self.at >= self.tokens.len() && open == 'g';
        if !(self.take(&Kind::Close(close)) || ended) {
            return Err("open-bracket");
        }
        Ok(match open {
            'f' => Expr::apply(Function::Floor, vec![value]),
            'c' => Expr::apply(Function::Ceiling, vec![value]),
            _ => value,
        })
    }

    /// A sum, or `a \over b` and `n \choose k` within a group.
    fn infix(&mut self, over: bool) -> Parsed {
        let value = self.sum()?;
        match self.peek() {
            Some(Kind::Over) if over => {
                self.at += 1;
                let below = self.sum()?;
                Ok(Expr::product([value, below.inverse()]))
            }
            Some(Kind::Choose) => {
                self.at += 1;
                let below = self.sum()?;
                Ok(Expr::apply(Function::Binomial, vec![value, below]))
            }
            _ => Ok(value),
        }
    }

    /// A bound of a sum or integral: a group, or one signed operand.
    pub(super) fn bound(&mut self) -> Parsed {
        let negative = self.take(&Kind::Op('-'));
        let value = self.argument()?;
        Ok(if negative { value.negated() } else { value })
    }

    pub(super) fn arguments(&mut self, close: char) -> Result<Vec<Expr>, &'static str> {
        let mut arguments = vec![self.sum()?];
        while self.take(&Kind::Mark(',')) || self.take(&Kind::Mark(';')) {
            arguments.push(self.sum()?);
        }
        if self.take(&Kind::Close(close)) { Ok(arguments) } else { Err("open-bracket") }
    }

    /// A LaTeX argument: a group, one digit, or one operand.
    pub(super) fn argument(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too-deep");
        }
        let value = self.atom();
        self.depth -= 1;
        value
    }

    /// Two arguments in a row; two digits in one numeral are two arguments: `\frac12`.
    fn two_arguments(&mut self) -> Result<(Expr, Expr), &'static str> {
        if let Some((first, rest)) = self.first_digit() {
            let (second, rest) = match rest.split_at_checked(1) {
                Some((second, rest)) => (digits(second)?, rest),
                None => (self.argument()?, ""),
            };
            return Ok((first, self.followed(second, rest)?));
        }
        let first = self.argument()?;
        if let Some((second, rest)) = self.first_digit() {
            return Ok((first, self.followed(second, rest)?));
        }
        Ok((first, self.argument()?))
    }

    pub(super) fn first_digit(&mut self) -> Option<(Expr, &'t str)> {
        let Some(Kind::Number(numeral)) = self.peek() else { return None };
        let text = numeral.digits.as_deref().filter(|text| !text.is_empty())?;
        self.at += 1;
        let (first, rest) = text.split_at(1);
        Some((digits(first).ok()?, rest))
    }

    /// Digits left over after a one-digit argument: the reading is lost unless there are none.
    fn followed(&self, value: Expr, rest: &str) -> Parsed {
        if rest.is_empty() {
            return Ok(value);
        }
        // `\frac123` is (1/2)·3: dividing by 2/3.
        Ok(Expr::product([value, digits(rest)?.inverse()]))
    }

    fn root(&mut self) -> Parsed {
        if self.peek() == Some(&Kind::Open('[')) {
            self.at += 1;
            let index = self.sum()?;
            if !self.take(&Kind::Close(']')) {
                return Err("open-bracket");
            }
            let radicand = self.argument()?;
            return Ok(Expr::apply(Function::Root, vec![radicand, index]));
        }
        let half = Expr::Number(BigRational::new(1.into(), 2.into()));
        // `\sqrt23` is √2·3, `sqrt(2)` and `√17` take what stands there.
        if let Some(Kind::Number(numeral)) = self.peek()
            && let Some(text) = numeral.digits.clone()
            && text.len() > 1
            && !self.tokens[self.at].space
        {
            self.at += 1;
            let (first, rest) = text.split_at(1);
            return Ok(Expr::product([Expr::power(digits(first)?, half), digits(rest)?]));
        }
        let radicand = self.argument()?;
        Ok(Expr::power(radicand, half))
    }
}

pub(super) fn digits(text: &str) -> Parsed {
    number::in_base(text, 10).map(Expr::Number).ok_or("not-a-numeral")
}

fn degrees(value: Expr) -> Expr {
    Expr::product([value, Expr::Pi, Expr::Number(BigRational::new(1.into(), 180.into()))])
}
