//! A reading as text, for people: what was understood, in plain spelling.

use super::token::Relation;
use super::{Interval, Scalar, Value};
use crate::expr::{Expr, Function, Series, SeriesKind};
use num_rational::BigRational;
use num_traits::{One, Signed};
use std::fmt::{Display, Formatter, Result, Write};

/// How tightly what stands around an expression binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Around {
    Nothing,
    Sum,
    Product,
    Power,
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Value::Scalar(scalar) => scalar.fmt(f),
            Value::Tuple(parts) => enclosed(f, "(", parts, ", ", ")"),
            Value::Set { members, braced: true } => enclosed(f, "{", members, ", ", "}"),
            Value::Set { members, braced: false } => enclosed(f, "", members, ", ", ""),
            Value::Interval(interval) => interval.fmt(f),
            Value::Union(parts) => enclosed(f, "", parts, " ∪ ", ""),
            Value::Intersection(parts) => enclosed(f, "", parts, " ∩ ", ""),
            Value::Difference(whole, without) => write!(f, "{whole} \\ {without}"),
            Value::Field(letter) => match letter {
                'R' => f.write_str("ℝ"),
                'Z' => f.write_str("ℤ"),
                'N' => f.write_str("ℕ"),
                'Q' => f.write_str("ℚ"),
                'C' => f.write_str("ℂ"),
                other => f.write_char(*other),
            },
            Value::Matrix(rows) => {
                f.write_char('[')?;
                for (at, row) in rows.iter().enumerate() {
                    f.write_str(if at > 0 { "; " } else { "" })?;
                    enclosed(f, "", row, ", ", "")?;
                }
                f.write_char(']')
            }
            Value::Relation(sides, signs) => {
                for (at, side) in sides.iter().enumerate() {
                    if let Some(sign) = at.checked_sub(1).and_then(|at| signs.get(at)) {
                        write!(f, " {} ", relation(*sign))?;
                    }
                    side.fmt(f)?;
                }
                Ok(())
            }
            Value::Logic { any, parts } => enclosed(f, "", parts, if *any { " or " } else { " and " }, ""),
            Value::Named { name, value, .. } => match **value {
                Value::Interval(_) | Value::Union(_) | Value::Field(_) => write!(f, "{name} ∈ {value}"),
                _ => write!(f, "{name} = {value}"),
            },
            Value::Chain { values, signs } => {
                for (at, value) in values.iter().enumerate() {
                    if let Some(sign) = at.checked_sub(1).and_then(|at| signs.get(at)) {
                        write!(f, " {} ", relation(*sign))?;
                    }
                    value.fmt(f)?;
                }
                Ok(())
            }
            Value::Congruence { value, modulus } => write!(f, "{value} mod {modulus}"),
            Value::Ratio(parts) => enclosed(f, "", parts, " : ", ""),
            Value::Twice(first, second) => write!(f, "{first}: {second}"),
            Value::Words(words) => f.write_str(words),
            Value::Prose { words, formulas } => {
                let mut formulas = formulas.iter();
                for (at, piece) in words.split('#').enumerate() {
                    if let Some(formula) = if at > 0 { formulas.next() } else { None } {
                        formula.fmt(f)?;
                    }
                    f.write_str(piece)?;
                }
                Ok(())
            }
            Value::Span { value, parameters } => write!(f, "{value}, {} ∈ ℝ", parameters.join(", ")),
            Value::Family { value, parameter } => write!(f, "{value}, {parameter} ∈ ℤ"),
        }
    }
}

fn enclosed<T: Display>(f: &mut Formatter<'_>, open: &str, parts: &[T], between: &str, close: &str) -> Result {
    f.write_str(open)?;
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at > 0 { between } else { "" })?;
        part.fmt(f)?;
    }
    f.write_str(close)
}

impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.expr.fmt(f)?;
        if self.percent {
            f.write_str(" %")?;
        }
        match &self.unit {
            Some(unit) => write!(f, " [{unit}]"),
            None => Ok(()),
        }
    }
}

impl Display for Interval {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (open, close) = (if self.low_closed { '[' } else { '(' }, if self.high_closed { ']' } else { ')' });
        write!(f, "{open}{}, {}{close}", self.low, self.high)
    }
}

fn relation(sign: Relation) -> &'static str {
    match sign {
        Relation::Equal => "=",
        Relation::Unequal => "≠",
        Relation::Less => "<",
        Relation::LessEqual => "≤",
        Relation::Greater => ">",
        Relation::GreaterEqual => "≥",
        Relation::Approx => "≈",
        Relation::Congruent => "≡",
        Relation::In => "∈",
        Relation::NotIn => "∉",
        Relation::Implies => "⇒",
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write(self, Around::Nothing, f)
    }
}

fn bracketed(f: &mut Formatter<'_>, needed: bool, inner: impl FnOnce(&mut Formatter<'_>) -> Result) -> Result {
    f.write_str(if needed { "(" } else { "" })?;
    inner(f)?;
    f.write_str(if needed { ")" } else { "" })
}

fn write(expr: &Expr, around: Around, f: &mut Formatter<'_>) -> Result {
    match expr {
        Expr::Number(value) => {
            let sign_or_bar = value.is_negative() || !value.is_integer();
            bracketed(f, sign_or_bar && around >= Around::Product, |f| write!(f, "{value}"))
        }
        Expr::Pi => f.write_str("pi"),
        Expr::E => f.write_str("e"),
        Expr::I => f.write_str("i"),
        Expr::Infinity => f.write_str("oo"),
        Expr::Sign(true) => f.write_str("±1"),
        Expr::Sign(false) => f.write_str("∓1"),
        Expr::Symbol(name) => f.write_str(name),
        Expr::Sum(terms) => bracketed(f, around >= Around::Product, |f| {
            for (at, term) in terms.iter().enumerate() {
                f.write_str(if at > 0 { " + " } else { "" })?;
                write(term, Around::Sum, f)?;
            }
            Ok(())
        }),
        Expr::Product(factors) => bracketed(f, around >= Around::Power, |f| {
            for (at, factor) in factors.iter().enumerate() {
                match factor {
                    Expr::Power(base, exponent) if at > 0 && exponent.as_small() == Some(-1) => {
                        f.write_char('/')?;
                        write(base, Around::Power, f)?;
                    }
                    _ => {
                        f.write_str(if at > 0 { "*" } else { "" })?;
                        write(factor, Around::Product, f)?;
                    }
                }
            }
            Ok(())
        }),
        Expr::Power(base, exponent) => match exponent.as_number() {
            Some(power) if *power == BigRational::new(1.into(), 2.into()) => write!(f, "sqrt({base})"),
            Some(power) if *power == BigRational::new((-1).into(), 2.into()) => {
                bracketed(f, around >= Around::Product, |f| write!(f, "1/sqrt({base})"))
            }
            _ => bracketed(f, around >= Around::Power, |f| {
                write(base, Around::Power, f)?;
                f.write_char('^')?;
                write(exponent, Around::Power, f)
            }),
        },
        Expr::Apply(Function::Root, parts) => enclosed(f, "root(", parts, ", ", ")"),
        Expr::Apply(function, parts) => {
            write!(f, "{}", format!("{function:?}").to_lowercase())?;
            enclosed(f, "(", parts, ", ", ")")
        }
        Expr::Call(name, parts) => {
            f.write_str(name)?;
            enclosed(f, "(", parts, ", ", ")")
        }
        Expr::Series(series) => {
            let Series { kind, index, from, to, body } = &**series;
            let name = match kind {
                SeriesKind::Sum => "sum",
                SeriesKind::Product => "product",
                SeriesKind::Integral => "integral",
            };
            write!(f, "{name}({body}, {index} = {from}..{to})")
        }
    }
}

impl Display for super::unit::Unit {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.degree {
            return f.write_str("degrees");
        }
        if !self.factor.is_one() {
            write!(f, "{} ", self.factor)?;
        }
        let mut first = true;
        for (dimension, power) in &self.dimensions {
            f.write_str(if first { "" } else { "·" })?;
            first = false;
            f.write_str(dimension)?;
            if *power != 1 {
                write!(f, "^{power}")?;
            }
        }
        Ok(())
    }
}
