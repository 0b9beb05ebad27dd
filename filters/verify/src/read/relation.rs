//! Relations: equations, inequalities, chains of them, congruences; and what an equation's left side names.

use super::expression::expression;
use super::list::{Reader, split, trimmed};
use super::token::{Kind, Relation, Token};
use super::value::{Parsed, Value};

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
        let value = expression(head, self.natural)?;
        Ok(Some(Value::Congruence { value, modulus: expression(modulus, self.natural)? }))
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
        if signs.iter().all(equal) {
            // A value after `≈` only approximates the one before it.
            let exact = signs.iter().position(|sign| *sign == Relation::Approx).filter(|at| *at > 0);
            let last = exact.unwrap_or(parts.len() - 1);
            let name = trimmed(parts[0]);
            let value = trimmed(parts[last]);
            if let Some(name) = self.name(name, last > 1 || value.is_empty()) {
                let sides = match (expression(trimmed(parts[0]), self.natural), expression(value, self.natural)) {
                    (Ok(left), Ok(right)) => Some(Box::new((left, right))),
                    _ => None,
                };
                let value = Box::new(self.value(value)?);
                return Ok(Value::Named { name, value, sides });
            }
            if last > 1 && signs.iter().all(|sign| *sign == Relation::Equal) && parts[0].len() > 1 {
                // A calculation: 2 + 3 = 4 + 1 = 5.
                let sides =
                    parts.iter().map(|part| expression(trimmed(part), self.natural)).collect::<Result<Vec<_>, _>>();
                if sides.is_ok_and(|sides| {
                    sides.iter().all(|side| {
                        let mut names = Vec::new();
                        side.symbols(&mut names);
                        names.is_empty()
                    })
                }) {
                    return self.value(value);
                }
            }
        }
        let sides: Result<Vec<_>, _> = parts.iter().map(|part| expression(trimmed(part), self.natural)).collect();
        match sides {
            Ok(sides) => Ok(Value::Relation(sides, signs)),
            // `A^{-1} = [1, 2; 3, 4]`, `u × v = [1, 2]`: what stands last is what it is.
            Err(fault) if signs.iter().all(|sign| *sign == Relation::Equal) => {
                let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Err(fault) };
                let value = Box::new(self.value(last).map_err(|_| fault)?);
                let name: String = first.iter().map(|token| spelled(&token.kind)).collect();
                Ok(Value::Named { name, value, sides: None })
            }
            Err(fault) => Err(fault),
        }
    }

    /// The left side of an equation as a name: a variable, `f(x)`, `(p, q)`, `|AB|`, `A : B`, words.
    pub(super) fn name(&self, tokens: &[Token], chained: bool) -> Option<String> {
        let text: String = tokens.iter().map(|token| spelled(&token.kind)).collect();
        let first = &tokens.first()?.kind;
        let letters = tokens.iter().filter(|token| matches!(token.kind, Kind::Letter(_) | Kind::Word(_))).count();
        let calculates =
            tokens.iter().any(|token| matches!(token.kind, Kind::Op('+' | '-' | '*' | '/' | '^') | Kind::PlusMinus(_)));
        let number = tokens.iter().any(|token| matches!(token.kind, Kind::Number(_)));
        let indexed = tokens.len() > 1 && tokens[1].kind == Kind::Op('_');
        match first {
            Kind::Word(_) => Some(text),
            Kind::Letter(_) if tokens.len() == 1 => Some(text),
            Kind::Letter(_) if indexed && !calculates => Some(text),
            // f(x), f(2), P(A ∪ B)
            Kind::Letter(_) if matches!(tokens[1].kind, Kind::Open('(') | Kind::Op('\'')) => {
                (tokens.last().map(|token| &token.kind) == Some(&Kind::Close(')')) || indexed).then_some(text)
            }
            // AB, S_{ABC} : S
            Kind::Letter(name) if letters > 1 && !calculates && !number && name.chars().all(char::is_uppercase) => {
                Some(text)
            }
            Kind::Open('(') if letters > 1 && !calculates && !number => Some(text),
            Kind::Bar if !calculates && !number && letters > 1 => Some(text),
            // NO/BO = …
            Kind::Frac if letters > 1 && !number && !calculates => {
                let capitals = tokens.iter().all(|token| match &token.kind {
                    Kind::Letter(name) => name.chars().all(char::is_uppercase),
                    _ => true,
                });
                capitals.then_some(text)
            }
            Kind::Unknown(_) if tokens.len() == 1 => Some(text),
            _ if chained && letters == 1 && tokens.len() == 1 => Some(text),
            _ => None,
        }
    }
}

fn spelled(kind: &Kind) -> String {
    match kind {
        Kind::Letter(name) | Kind::Word(name) | Kind::Unknown(name) => name.clone(),
        Kind::Number(numeral) => numeral.value.to_string(),
        Kind::Open('g') | Kind::Close('g') => String::new(),
        Kind::Op(c) | Kind::Mark(c) | Kind::Open(c) | Kind::Close(c) => c.to_string(),
        Kind::Bar => "|".to_owned(),
        Kind::Frac => "frac".to_owned(),
        Kind::Cup => "∪".to_owned(),
        Kind::Cap => "∩".to_owned(),
        _ => "?".to_owned(),
    }
}
