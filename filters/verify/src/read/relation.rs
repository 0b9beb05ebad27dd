//! Relations: equations, inequalities, chains of them, congruences; and what an equation's left side names.

use super::expression::expression;
use super::list::{Reader, split, trimmed};
use super::name::{name, spelled};
use super::token::{Kind, Relation, Token};
use super::unit::is_letter;
use super::value::{Parsed, Value};
use crate::expr::Expr;

impl Reader {
    /// `x ≡ 3 (mod 7)`
    pub(super) fn with_modulus(&mut self, tokens: &[Token]) -> Result<Option<Value>, &'static str> {
        let Some(at) = tokens.iter().position(|token| token.kind == Kind::Mod) else { return Ok(None) };
        let mut modulus = trimmed(&tokens[at + 1..]);
        let mut end = at;
        if at > 0 && tokens[at - 1].kind == Kind::Open('(') {
            end = at - 1;
            if let [inner @ .., Token { kind: Kind::Close(')'), .. }] = modulus {
                modulus = inner;
            }
        }
        let mut head = trimmed(&tokens[..end]);
        if let Some(parts) = split(head, |kind| matches!(kind, Kind::Relation(Relation::Congruent | Relation::Equal)))
            && let Some(last) = parts.last()
        {
            head = last;
        }
        let modulus = expression(modulus, self.mode)?;
        let values = match split(head, |kind| matches!(kind, Kind::Mark(',') | Kind::And | Kind::Or)) {
            Some(parts) => parts.into_iter().map(trimmed).filter(|part| !part.is_empty()).collect(),
            None => vec![head],
        };
        let mut classes = Vec::new();
        for value in values {
            for value in expression(value, self.mode)?.signs() {
                classes.push(Value::Congruence { value, modulus: modulus.clone() });
            }
        }
        Ok(match classes.len() {
            1 => classes.pop(),
            _ => Some(Value::Set { members: classes, braced: false }),
        })
    }

    pub(super) fn relation(&mut self, tokens: &[Token], parts: &[&[Token]]) -> Parsed {
        let signs: Vec<Relation> = {
            let mut depth = 0_i32;
            let mut signs = Vec::new();
            for token in tokens {
                match &token.kind {
                    Kind::Open(_) | Kind::Begin(_) => depth += 1,
                    Kind::Close(_) | Kind::End(_) => depth -= 1,
                    Kind::Relation(relation) if depth <= 0 => signs.push(*relation),
                    _ => {}
                }
            }
            signs
        };
        if signs.len() + 1 != parts.len() {
            return Err("relation");
        }
        // `2 in`: the unit is no relation.
        if parts.last().is_some_and(|last| last.is_empty()) && signs.last() == Some(&Relation::In) {
            return self.scalar(tokens);
        }
        let equal = |relation: &Relation| {
            matches!(relation, Relation::Equal | Relation::Approx | Relation::In | Relation::Congruent)
        };
        if signs.iter().all(equal)
            && let Some(value) = self.stated(parts, &signs)?
        {
            return Ok(value);
        }
        let sides: Result<Vec<_>, _> = parts.iter().map(|part| expression(trimmed(part), self.mode)).collect();
        match sides {
            Ok(sides) => Ok(Value::Relation(sides, signs)),
            // `A^{-1} = [1, 2; 3, 4]`, `u × v = [1, 2]`: what stands last is what it is.
            Err(fault)
                if signs.iter().all(|sign| *sign == Relation::Equal) && !parts.iter().any(|part| speaks(part)) =>
            {
                let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Err(fault) };
                let value = Box::new(self.value(last).map_err(|_| fault)?);
                let name: String = first.iter().map(|token| spelled(&token.kind)).collect();
                Ok(Value::Named { name, value, sides: None })
            }
            Err(fault) => Err(fault),
        }
    }

    /// `x = …`, `… = x`, and values equal to each other: `600 = 6·10²`.
    fn stated(&mut self, parts: &[&[Token]], signs: &[Relation]) -> Result<Option<Value>, &'static str> {
        let (first, last) = (trimmed(parts[0]), trimmed(parts[parts.len() - 1]));
        if let Some(name) = name(first) {
            let rest: Vec<&[Token]> = parts[1..].iter().map(|part| trimmed(part)).collect();
            if let Some(value) = self.of_several(&rest, &signs[1..]) {
                return Ok(Some(Value::Named { name, value: Box::new(value), sides: None }));
            }
            let sides = match (expression(first, self.mode), expression(exact(&rest, &signs[1..]), self.mode)) {
                (Ok(left), Ok(right)) => Some(Box::new((left, right))),
                _ => None,
            };
            let value = Box::new(match self.chain(&rest, &signs[1..]) {
                Some(chain) => chain,
                None => {
                    // What stands between may be calculated, and must be mathematics.
                    for part in &rest[..rest.len() - 1] {
                        let inner = expression(part, self.mode).map_err(|_| "words-in-a-chain")?;
                        if inner.any(&|part| matches!(part, Expr::Symbol(symbol) if *symbol == name)) {
                            return Err("name-within-its-value");
                        }
                    }
                    self.value(exact(&rest, &signs[1..]))?
                }
            });
            return Ok(Some(Value::Named { name, value, sides }));
        }
        if signs.contains(&Relation::In) {
            return Ok(None);
        }
        let all: Vec<&[Token]> = parts.iter().map(|part| trimmed(part)).collect();
        if let Some(chain) = self.chain(&all, signs) {
            return Ok(Some(chain));
        }
        // 5 = x
        if let [value, _] = all.as_slice()
            && signs == [Relation::Equal]
            && let Some(name) = name(last)
            && let Some(value) = self.constant(value)
        {
            return Ok(Some(Value::Named { name, value: Box::new(value), sides: None }));
        }
        Ok(None)
    }

    /// `height = depth = 10` behind `width =`: one constant that several names have.
    fn of_several(&mut self, rest: &[&[Token]], signs: &[Relation]) -> Option<Value> {
        let (last, names) = rest.split_last().filter(|(_, names)| !names.is_empty())?;
        let names = names.iter().map(|part| name(part)).collect::<Option<Vec<_>>>()?;
        let value = self.constant(last).filter(|_| signs.iter().all(|sign| *sign == Relation::Equal))?;
        let named = |value, name| Value::Named { name, value: Box::new(value), sides: None };
        Some(names.into_iter().rev().fold(value, named))
    }

    /// Several values without a variable.
    fn chain(&mut self, parts: &[&[Token]], signs: &[Relation]) -> Option<Value> {
        if parts.len() < 2 {
            return None;
        }
        let values = parts.iter().map(|part| self.constant(part)).collect::<Option<Vec<_>>>()?;
        // A currency sign on one side alone is a stray dollar.
        let money = |value: &&Value| matches!(value, Value::Scalar(scalar) if scalar.unit.as_ref().is_some_and(|unit| unit.dimensions.contains_key("USD")));
        let paid = values.iter().filter(money).count();
        if paid > 0 && paid < values.len() {
            return None;
        }
        Some(Value::Chain { values, signs: signs.to_vec() })
    }

    /// A value without a variable.
    fn constant(&mut self, tokens: &[Token]) -> Option<Value> {
        // A letter that is no unit is a variable, and is seen before anything is read.
        let variable = |(at, token): (usize, &Token)| {
            let unit = |name: &str| token.textual || at > 0 && token.space && is_letter(name);
            matches!(&token.kind, Kind::Letter(name) if name != "e" && name != "i" && name != "Omega" && name != "mu" && !unit(name))
                && !self.mode.glued
        };
        if tokens.iter().enumerate().any(variable) {
            return None;
        }
        let value = self.value(tokens).ok()?;
        let Value::Scalar(scalar) = &value else { return None };
        let mut names = Vec::new();
        scalar.expr.symbols(&mut names);
        let calls = scalar.expr.any(&|part| matches!(part, Expr::Call(..)));
        (names.is_empty() && !calls).then_some(value)
    }
}

/// Whether words are said in it.
fn speaks(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| matches!(token.kind, Kind::Word(_) | Kind::And | Kind::Or))
}

/// The last part; or the one before the first `≈`, which what follows only approximates.
fn exact<'t>(parts: &[&'t [Token]], signs: &[Relation]) -> &'t [Token] {
    let at = signs.iter().position(|sign| *sign == Relation::Approx).unwrap_or(parts.len() - 1);
    parts.get(at).copied().unwrap_or_default()
}
