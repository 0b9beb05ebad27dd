//! Functions with what they are applied to, sums, products and integrals over an index.

use super::expression::{MAX_DEPTH, Parsed, Parser, digits, expression};
use super::token::{Kind, Name, Relation};
use crate::expr::{Expr, Function, Series, SeriesKind};
use num_traits::{One, Signed};

impl Parser<'_> {
    pub(super) fn function(&mut self, name: Name) -> Parsed {
        let mut base = None;
        let mut power = None;
        loop {
            if name == Name::Log && base.is_none() && self.take(&Kind::Op('_')) {
                base = Some(match self.first_digit() {
                    // `\log_28` is log_2 8; `\log_{10}` has braces.
                    Some((first, "")) => first,
                    Some((first, rest)) => {
                        let value = digits(rest)?;
                        return Ok(logarithm(value, first));
                    }
                    None => self.argument()?,
                });
            } else if power.is_none() && self.take(&Kind::Op('^')) {
                power = Some(self.exponent()?);
            } else {
                break;
            }
        }
        let arguments = self.applied()?;
        let mut function = name;
        if power.as_ref().and_then(Expr::as_small) == Some(-1) {
            // sin^-1 is arcsin, not 1/sin.
            let inverse = match name {
                Name::Plain(Function::Sin) => Some(Function::Asin),
                Name::Plain(Function::Cos) => Some(Function::Acos),
                Name::Plain(Function::Tan) => Some(Function::Atan),
                Name::Plain(Function::Sinh) => Some(Function::Asinh),
                Name::Plain(Function::Cosh) => Some(Function::Acosh),
                Name::Plain(Function::Tanh) => Some(Function::Atanh),
                _ => None,
            };
            let inverse = match name {
                Name::Inverse(Function::Cos) => Some(Name::Inverted(Function::Acos)),
                Name::Inverse(Function::Sin) => Some(Name::Inverted(Function::Asin)),
                Name::Inverse(Function::Tan) => Some(Name::Cotangent),
                Name::Inverse(Function::Cosh) => Some(Name::Inverted(Function::Acosh)),
                Name::Inverse(Function::Sinh) => Some(Name::Inverted(Function::Asinh)),
                Name::Inverse(Function::Tanh) => Some(Name::Inverted(Function::Atanh)),
                _ => inverse.map(Name::Plain),
            };
            if let Some(inverse) = inverse {
                function = inverse;
                power = None;
            }
        }
        let value = self.applied_to(function, arguments, base)?;
        Ok(match power {
            Some(power) => Expr::power(value, power),
            None => value,
        })
    }

    pub(super) fn applied_to(&self, name: Name, mut arguments: Vec<Expr>, base: Option<Expr>) -> Parsed {
        let many = matches!(name, Name::Plain(Function::Gcd | Function::Lcm | Function::Min | Function::Max));
        if arguments.len() != 1 && !many {
            return Err("wrong-number-of-arguments");
        }
        Ok(match name {
            Name::Plain(function) => Expr::apply(function, arguments),
            Name::Inverse(function) => Expr::apply(function, arguments).inverse(),
            Name::Inverted(function) => Expr::apply(function, vec![arguments.swap_remove(0).inverse()]),
            Name::Cotangent => {
                let argument = arguments.swap_remove(0);
                // From −π/2 to π/2 for some, from 0 to π for others.
                if argument.as_number().is_some_and(Signed::is_negative) {
                    return Err("branch-of-arccot");
                }
                let quarter = Expr::product([Expr::Pi, Expr::integer(2).inverse()]);
                quarter.minus(Expr::apply(Function::Atan, vec![argument]))
            }
            Name::Exp => Expr::power(Expr::E, arguments.swap_remove(0)),
            Name::Lg => logarithm(arguments.swap_remove(0), Expr::integer(10)),
            Name::Log => match base {
                Some(base) => logarithm(arguments.swap_remove(0), base),
                None if self.mode.natural => Expr::apply(Function::Ln, arguments),
                None => logarithm(arguments.swap_remove(0), Expr::integer(10)),
            },
        })
    }

    /// What a function is applied to: brackets, or the factors up to the next sign or function.
    pub(super) fn applied(&mut self) -> Result<Vec<Expr>, &'static str> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too-deep");
        }
        if self.take(&Kind::Open('(')) {
            let bars = std::mem::take(&mut self.bars);
            let arguments = self.arguments(')')?;
            self.bars = bars;
            self.depth -= 1;
            return Ok(arguments);
        }
        if self.peek() == Some(&Kind::Open('[')) || self.peek() == Some(&Kind::Open('g')) {
            let value = self.postfix()?;
            self.depth -= 1;
            return Ok(vec![value]);
        }
        let negative = self.take(&Kind::Op('-'));
        let mut factors = vec![self.power()?];
        while let Some(kind) = self.peek() {
            let operand = matches!(kind, Kind::Number(_) | Kind::Letter(_) | Kind::Pi | Kind::Frac | Kind::Sqrt);
            if !operand {
                break;
            }
            factors.push(self.power()?);
        }
        if self.peek() == Some(&Kind::Op('/')) && matches!(self.ahead(1), Some(Kind::Number(_))) && factors.len() == 1 {
            // `sin pi/6`: what a typist means.
            self.at += 1;
            factors.push(self.power()?.inverse());
        }
        self.depth -= 1;
        let value = Expr::product(factors);
        Ok(vec![if negative { value.negated() } else { value }])
    }

    pub(super) fn series(&mut self, kind: SeriesKind) -> Parsed {
        if !self.take(&Kind::Op('_')) || !self.take(&Kind::Open('g')) {
            return Err("series-without-bounds");
        }
        let Some(Kind::Letter(index)) = self.peek() else { return Err("series-without-index") };
        self.at += 1;
        if !self.take(&Kind::Relation(Relation::Equal)) {
            return Err("series-without-bounds");
        }
        let from = self.sum()?;
        if !self.take(&Kind::Close('g')) || !self.take(&Kind::Op('^')) {
            return Err("series-without-bounds");
        }
        let to = self.bound()?;
        let body = self.product()?;
        // `i` here is an index, not √−1.
        let body = if index == "i" { body.map(&|part| (*part == Expr::I).then(|| Expr::symbol("i"))) } else { body };
        Ok(Expr::Series(Box::new(Series { kind, index: index.clone(), from, to, body })))
    }

    pub(super) fn integral(&mut self) -> Parsed {
        if !self.take(&Kind::Op('_')) {
            return Err("indefinite-integral");
        }
        let from = self.bound()?;
        if !self.take(&Kind::Op('^')) {
            return Err("integral-without-bounds");
        }
        let to = self.bound()?;
        // Up to the last `d` with a variable behind it.
        let end = (self.at..self.tokens.len())
            .find(|at| {
                let is = |at: usize, name: Option<&str>| {
                    matches!(self.tokens.get(at).map(|token| &token.kind), Some(Kind::Letter(letter)) if name.is_none_or(|name| letter == name))
                };
                is(*at, Some("d")) && is(*at + 1, None)
            })
            .ok_or("integral-without-variable")?;
        let body = if end == self.at { Expr::integer(1) } else { expression(&self.tokens[self.at..end], self.mode)? };
        let Kind::Letter(index) = &self.tokens[end + 1].kind else { return Err("integral-without-variable") };
        self.at = end + 2;
        Ok(Expr::Series(Box::new(Series { kind: SeriesKind::Integral, index: index.clone(), from, to, body })))
    }
}

fn logarithm(value: Expr, base: Expr) -> Expr {
    if base == Expr::E {
        return Expr::apply(Function::Ln, vec![value]);
    }
    if value.as_number().is_some_and(One::is_one) {
        return Expr::integer(0);
    }
    Expr::product([Expr::apply(Function::Ln, vec![value]), Expr::apply(Function::Ln, vec![base]).inverse()])
}
