//! A number, a quantity or an expression: what stands before a unit, the unit, a percent sign, the digits of a decimal.

use super::expression::expression;
use super::list::{Reader, trimmed};
use super::number::Decimal;
use super::token::{Kind, Mode, Relation, Token};
use super::unit::{self, Unit};
use super::value::{Parsed, Scalar, Value};
use crate::expr::Expr;
use num_rational::BigRational;
use num_traits::{One, Pow};

/// The longest unit, in tokens.
const MAX_UNIT: usize = 24;

impl Reader {
    /// A number, a quantity or an expression.
    pub(super) fn scalar(&mut self, tokens: &[Token]) -> Parsed {
        let mut tokens = trimmed(tokens);
        if let Some(angle) = sexagesimal(tokens) {
            let unit = Some(Unit::degrees());
            return Ok(Value::Scalar(Scalar { expr: Expr::Number(angle), decimal: None, percent: false, unit }));
        }
        let mut currency = None;
        let mut negative = false;
        if let [Token { kind: Kind::Op('-'), .. }, Token { kind: Kind::Currency(_), .. }, ..] = tokens {
            (negative, tokens) = (true, &tokens[1..]);
        }
        // US$5
        let nation = tokens
            .iter()
            .take_while(|token| matches!(&token.kind, Kind::Letter(name) if name.chars().all(char::is_uppercase)))
            .count();
        if matches!(tokens.get(nation).map(|token| &token.kind), Some(Kind::Currency(_))) {
            tokens = &tokens[nation..];
        }
        // USD 5, Rs. 5
        if let [Token { kind: Kind::Word(word), .. }, rest @ ..] = tokens
            && rest.first().is_some_and(|token| matches!(token.kind, Kind::Number(_)))
            && let Some(money) = unit::currency(word)
        {
            (currency, tokens) = (Some(money), rest);
        }
        if let Some(Kind::Currency(code)) = tokens.first().map(|token| &token.kind) {
            (currency, tokens) = (Some(Unit::base(code)), &tokens[1..]);
        }
        let applied =
            tokens[..tokens.len().saturating_sub(1)].iter().any(|token| matches!(token.kind, Kind::Function(_)));
        let found = self.tail(tokens, applied, currency.is_some());
        let (head, percent) = strip_percent(found.as_ref().map_or(tokens, |found| found.head));
        let mut stated = decimal(head);
        let mut expr = match &found {
            Some(found) => found.expr.clone(),
            None => expression(head, self.mode)?,
        };
        let mut unit = currency;
        if let Some(Tail { mut magnitude, unit: mut named, .. }) = found {
            // $5k, $5M
            if unit.is_some()
                && let Some(short) = named.as_ref().and_then(Unit::short_magnitude)
            {
                (magnitude, named) = (Some(short), None);
            }
            if let Some(magnitude) = magnitude {
                stated = stated.and_then(|stated| scaled(stated, &magnitude));
                expr = Expr::product([expr, Expr::Number(magnitude)]);
            }
            unit = match (unit, named) {
                // $5 per hour; `$5 dollars` says one thing twice.
                (Some(money), Some(named)) if money.dimensions != named.dimensions => Some(money.and(&named)),
                (money, named) => named.or(money),
            };
        }
        let expr = if negative { expr.negated() } else { expr };
        Ok(Value::Scalar(Scalar { decimal: stated, expr, percent, unit }))
    }

    /// The longest tail that is a unit, or a magnitude with or without one, with something before it.
    fn tail<'t>(&self, tokens: &'t [Token], applied: bool, money: bool) -> Option<Tail<'t>> {
        let first = tokens.len().saturating_sub(MAX_UNIT).max(1);
        let figures = |kind: &Kind| matches!(kind, Kind::Number(_) | Kind::Op(_) | Kind::Open('g') | Kind::Close('g'));
        (first..tokens.len()).find_map(|at| {
            let token = &tokens[at];
            let begins = match &token.kind {
                Kind::Word(_) | Kind::Degree | Kind::Currency(_) => true,
                Kind::Open('(') => in_brackets(&tokens[at..]).is_some(),
                // 5/hr
                Kind::Op('/') => matches!(tokens.get(at + 1).map(|token| &token.kind), Some(Kind::Word(_))),
                // $5k
                Kind::Letter(letter)
                    if money && at + 1 == tokens.len() && matches!(letter.as_str(), "k" | "K" | "M" | "B") =>
                {
                    matches!(tokens[at - 1].kind, Kind::Number(_))
                }
                // Single letters are units behind a number alone, or in text.
                Kind::Letter(letter) => {
                    let number = tokens[..at].iter().all(|token| figures(&token.kind));
                    let apart = token.space || self.mode.glued || letter == "Omega" || is_micro(&tokens[at..]);
                    token.textual || number && apart
                }
                Kind::Function(_) | Kind::Relation(Relation::In) => at + 1 == tokens.len(),
                _ => false,
            };
            // In `sin 30°` the degree belongs to the argument.
            if !begins || applied && token.kind == Kind::Degree {
                return None;
            }
            let head = match tokens[at - 1].kind {
                Kind::Op('*' | '^' | '-') => &tokens[..at - 1],
                _ => &tokens[..at],
            };
            let expr = expression(strip_percent(head).0, self.mode).ok()?;
            let one = expr.as_number().is_some_and(One::is_one);
            let bracketed = in_brackets(&tokens[at..]);
            let (mut magnitude, mut rest) = (None::<BigRational>, bracketed.unwrap_or(&tokens[at..]));
            while let [Token { kind: Kind::Word(word), .. }, following @ ..] = rest
                && let Some(factor) = unit::magnitude(word, one)
            {
                magnitude = Some(magnitude.map_or(factor.clone(), |magnitude| magnitude * factor));
                rest = following;
            }
            if rest.is_empty() {
                return Some(Tail { head, expr, magnitude, unit: None });
            }
            let mut unit = match rest {
                [Token { kind: Kind::Letter(letter), .. }]
                    if money && matches!(letter.as_str(), "k" | "K" | "M" | "B") =>
                {
                    Unit::short(letter)
                }
                _ => unit::unit(rest)?,
            };
            if bracketed.is_some() && unit.unknown {
                return None;
            }
            unit.glued = self.mode.glued && matches!(token.kind, Kind::Letter(_)) && !token.space && !token.textual;
            Some(Tail { head, expr, magnitude, unit: Some(unit) })
        })
    }

    /// `2 h 30 min`, `5 feet, 6 inches`: parts of one quantity, each in a smaller unit than the one before it.
    pub(super) fn compound(&self, tokens: &[Token]) -> Option<Value> {
        let counted = matches!(
            tokens,
            [
                Token { kind: Kind::Number(_), .. },
                Token { kind: Kind::Word(_) | Kind::Letter(_) | Kind::Function(_), .. },
                _,
                _,
                ..
            ]
        );
        if !counted {
            return None;
        }
        let starts: Vec<usize> = tokens
            .iter()
            .enumerate()
            .filter(|(at, token)| {
                let before = at.checked_sub(1).map(|at| &tokens[at].kind);
                matches!(token.kind, Kind::Number(_))
                    && !matches!(before, Some(Kind::Op(_) | Kind::Number(_) | Kind::Open(_)))
            })
            .map(|(at, _)| at)
            .collect();
        if starts.len() < 2 || starts[0] != 0 || starts.len() > 4 {
            return None;
        }
        let mut total = Vec::new();
        let mut last: Option<Unit> = None;
        let mut whole: Option<Unit> = None;
        for (place, start) in starts.iter().enumerate() {
            let end = starts.get(place + 1).copied().unwrap_or(tokens.len());
            let part = trimmed(&tokens[*start..end]);
            let Kind::Number(numeral) = &part.first()?.kind else { return None };
            let mut unit = unit::unit(part.get(1..)?).filter(|unit| !unit.unknown && !unit.degree)?;
            // 2 h 30 m
            let minutes = matches!(part, [_, Token { kind: Kind::Letter(letter), .. }] if letter == "m");
            if minutes && last.as_ref().is_some_and(Unit::is_time) {
                unit = Unit::minutes();
            }
            if last.is_some_and(|last| last.dimensions != unit.dimensions || last.factor <= unit.factor) {
                return None;
            }
            let first = whole.get_or_insert_with(|| unit.clone());
            total.push(Expr::Number(&numeral.value * &unit.factor / &first.factor));
            last = Some(unit);
        }
        Some(Value::Scalar(Scalar { expr: Expr::sum(total), decimal: None, percent: false, unit: whole }))
    }

    /// An end of an interval.
    pub(super) fn end(&mut self, tokens: &[Token]) -> Result<Scalar, &'static str> {
        match self.scalar(tokens)? {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err("end-of-interval"),
        }
    }
}

/// `63° 45' 30"`: degrees, minutes, seconds.
fn sexagesimal(tokens: &[Token]) -> Option<BigRational> {
    let (negative, tokens) = match tokens {
        [Token { kind: Kind::Op('-'), .. }, rest @ ..] => (true, rest),
        _ => (false, tokens),
    };
    let (mut total, mut place, mut value, mut primes) = (BigRational::default(), 0_u32, None, 0);
    let mut worth = |value: Option<BigRational>, at: u32| {
        // In falling order, each once.
        let fits = place <= at;
        place = at + 1;
        total += value? / BigRational::from_integer(60_i64.pow(at).into());
        fits.then_some(())
    };
    for token in tokens {
        match &token.kind {
            Kind::Number(numeral) => {
                if primes > 0 {
                    worth(value.take(), primes)?;
                    primes = 0;
                }
                if value.is_some() {
                    return None;
                }
                value = Some(numeral.value.clone());
            }
            Kind::Degree => worth(value.take(), 0)?,
            Kind::Op('\'') if primes < 2 => primes += 1,
            Kind::Op('^') | Kind::Open('g') | Kind::Close('g') => {}
            _ => return None,
        }
    }
    if primes > 0 {
        worth(value.take(), primes)?;
    }
    // Degrees alone are an ordinary quantity; primes alone may be feet.
    let degrees = tokens.iter().filter(|token| token.kind == Kind::Degree).count();
    (value.is_none() && place > 1 && place <= 3 && degrees == 1).then_some(if negative { -total } else { total })
}

fn strip_percent(tokens: &[Token]) -> (&[Token], bool) {
    match tokens {
        [head @ .., Token { kind: Kind::Percent, .. }] if !head.is_empty() => (head, true),
        _ => (tokens, false),
    }
}

/// What stands at the end of a quantity, and what is before it.
struct Tail<'t> {
    head: &'t [Token],
    expr: Expr,
    magnitude: Option<BigRational>,
    unit: Option<Unit>,
}

/// The words in brackets that end `tokens`: `47.5 (pounds)`.
fn in_brackets(tokens: &[Token]) -> Option<&[Token]> {
    match tokens {
        [Token { kind: Kind::Open('('), .. }, words @ .., Token { kind: Kind::Close(')'), .. }] => {
            let word = |token: &Token| matches!(token.kind, Kind::Word(_) | Kind::Op('/' | '-'));
            (!words.is_empty() && words.iter().all(word)).then_some(words)
        }
        _ => None,
    }
}

/// `\mu m`, `k\Omega`
fn is_micro(tokens: &[Token]) -> bool {
    let name = |at: usize| match tokens.get(at).map(|token| &token.kind) {
        Some(Kind::Letter(name) | Kind::Word(name)) => Some(name.as_str()),
        _ => None,
    };
    match (name(0), name(1)) {
        (Some("mu"), Some(next)) => unit::is_symbol(next) || matches!(next, "F" | "C" | "A"),
        (Some("k" | "M" | "m"), Some("Omega")) => true,
        _ => false,
    }
}

/// A decimal's precision, its value multiplied; none where that is by no power of ten.
fn scaled(stated: Decimal, magnitude: &BigRational) -> Option<Decimal> {
    let ten = BigRational::from_integer(10.into());
    (-4..=13)
        .find(|power: &i32| Pow::pow(&ten, *power) == *magnitude)
        .map(|power| Decimal { places: stated.places - power, ..stated })
}

/// How precisely a lone decimal is stated.
fn decimal(tokens: &[Token]) -> Option<Decimal> {
    let tokens = match tokens {
        [Token { kind: Kind::Op('-' | '+'), .. }, rest @ ..] => rest,
        _ => tokens,
    };
    match tokens {
        [Token { kind: Kind::Number(numeral), .. }] => numeral.decimal,
        // 1.5 × 10^-3
        [
            Token { kind: Kind::Number(numeral), .. },
            Token { kind: Kind::Op('*'), .. },
            Token { kind: Kind::Number(ten), .. },
            Token { kind: Kind::Op('^'), .. },
            exponent @ ..,
        ] if ten.value == BigRational::from_integer(10.into()) => {
            let decimal = numeral.decimal?;
            let power = expression(exponent, Mode::default()).ok()?.as_small().filter(|power| power.abs() < 2000)?;
            Some(Decimal { places: decimal.places - power as i32, significant: decimal.significant })
        }
        _ => None,
    }
}
