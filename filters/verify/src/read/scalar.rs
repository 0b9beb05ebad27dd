//! A number, a quantity or an expression: what stands before a unit, the unit, a percent sign, the digits of a decimal.

use super::expression::expression;
use super::list::{Reader, trimmed};
use super::number::Decimal;
use super::token::{Kind, Relation, Token};
use super::unit::{self, Unit};
use super::value::{Parsed, Scalar, Value};
use crate::expr::Expr;
use num_rational::BigRational;

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
        if let Some(Kind::Currency(code)) = tokens.first().map(|token| &token.kind) {
            (currency, tokens) = (Some(Unit::base(code)), &tokens[1..]);
        }
        // The longest tail that is a unit, with something before it.
        let mut unit = currency;
        let first = tokens.len().saturating_sub(MAX_UNIT).max(1);
        let starts = (first..tokens.len()).filter(|at| match &tokens[*at].kind {
            Kind::Word(_) | Kind::Degree | Kind::Currency(_) => true,
            // Single letters are units behind a number alone.
            Kind::Letter(_) => tokens[..*at].iter().all(|token| matches!(token.kind, Kind::Number(_) | Kind::Op(_))),
            Kind::Function(_) => *at + 1 == tokens.len(),
            Kind::Relation(Relation::In) => *at + 1 == tokens.len(),
            _ => false,
        });
        // In `sin 30°` the degree belongs to the argument.
        let applied =
            tokens[..tokens.len().saturating_sub(1)].iter().any(|token| matches!(token.kind, Kind::Function(_)));
        let mut direct = None;
        for at in starts {
            if applied && tokens[at].kind == Kind::Degree {
                continue;
            }
            let plain_letter = matches!(tokens[at].kind, Kind::Letter(_));
            if plain_letter && !tokens[at].space && !tokens[at].textual {
                continue;
            }
            let head = match tokens[at - 1].kind {
                Kind::Op('*' | '^') => &tokens[..at - 1],
                _ => &tokens[..at],
            };
            if let (Some(found), Ok(expr)) =
                (self::unit::unit(&tokens[at..]), expression(strip_percent(head).0, self.natural))
            {
                (unit, direct) = (Some(found), Some((head, expr)));
                break;
            }
        }
        // `90^{\circ}` closes its group behind the degree.
        if direct.is_none()
            && !applied
            && let Some(head) = degree_tail(tokens)
            && let Ok(expr) = expression(head, self.natural)
        {
            (unit, direct) = (Some(Unit::degrees()), Some((head, expr)));
        }
        let (head, percent) = strip_percent(direct.as_ref().map_or(tokens, |(head, _)| head));
        let expr = match direct {
            Some((_, expr)) => expr,
            None => expression(head, self.natural)?,
        };
        let expr = if negative { expr.negated() } else { expr };
        Ok(Value::Scalar(Scalar { decimal: decimal(head), expr, percent, unit }))
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

fn degree_tail(tokens: &[Token]) -> Option<&[Token]> {
    match tokens {
        [
            head @ ..,
            Token { kind: Kind::Op('^'), .. },
            Token { kind: Kind::Open('g'), .. },
            Token { kind: Kind::Degree, .. },
            Token { kind: Kind::Close('g'), .. },
        ] if !head.is_empty() => Some(head),
        _ => None,
    }
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
            let power = expression(exponent, false).ok()?.as_small().filter(|power| power.abs() < 2000)?;
            Some(Decimal { places: decimal.places - power as i32, significant: decimal.significant })
        }
        _ => None,
    }
}
