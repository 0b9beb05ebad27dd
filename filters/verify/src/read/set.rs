//! Sets by a condition, statements and values in braces or one below the other, rows in brackets.

use super::expression::expression;
use super::list::{Reader, bracketed, gathered, integer_parameter, is_relation, split, trimmed};
use super::matrix::Rows;
use super::token::{Kind, Relation, Token};
use super::value::{Parsed, Value};

impl Reader {
    /// `x | x > 1`, `(x, y) : x + y = 1`, `2k | k ∈ ℤ` within braces.
    pub(super) fn builder(&mut self, inner: &[Token]) -> Option<Value> {
        let at = inner.iter().position(|token| matches!(token.kind, Kind::Bar | Kind::Mark(':')))?;
        let (member, condition) = (trimmed(&inner[..at]), trimmed(&inner[at + 1..]));
        if let Some(parameter) = integer_parameter(condition) {
            let value = Box::new(self.value(member).ok()?);
            return Some(Value::Family { value, parameter });
        }
        let letters = member.iter().all(|token| {
            matches!(
                token.kind,
                Kind::Letter(_) | Kind::Mark(',') | Kind::Open('(') | Kind::Close(')') | Kind::Field(_)
            ) || token.kind == Kind::Relation(Relation::In)
        });
        // The letter that runs through a set has no name outside of it.
        let variable = match member {
            [Token { kind: Kind::Letter(name), .. }]
            | [Token { kind: Kind::Letter(name), .. }, Token { kind: Kind::Relation(Relation::In), .. }, ..] => {
                Some(name)
            }
            _ => None,
        };
        let known = Kind::Letter("x".to_owned());
        let free = variable.is_some() && !condition.iter().any(|token| token.kind == known);
        let condition: Vec<Token> = condition
            .iter()
            .map(|token| match &token.kind {
                Kind::Letter(name) if free && Some(name) == variable => Token { kind: known.clone(), ..token.clone() },
                _ => token.clone(),
            })
            .collect();
        let condition = self.value(&condition).ok().filter(|_| letters && !member.is_empty())?;
        // `x | x = 3k, k ∈ ℤ` and conditions; not `|x|` at the beginning of a list.
        let condition = match condition {
            Value::Set { members, braced: false } if !members.is_empty() => Value::Logic { any: false, parts: members },
            other => other,
        };
        matches!(
            condition,
            Value::Relation(..) | Value::Logic { .. } | Value::Family { .. } | Value::Named { .. } | Value::Twice(..)
        )
        .then_some(condition)
    }

    /// `\begin{cases} x = 1 \\ y = 2 \end{cases}`: what all holds; with conditions beside them, values by case.
    pub(super) fn cases(&mut self, tokens: &[Token]) -> Result<Option<Value>, &'static str> {
        // `\left\{ \begin{array}{ll} … \end{array} \right.` as well.
        let (braced, tokens) = match tokens {
            [Token { kind: Kind::Open('{'), .. }, rest @ .., Token { kind: Kind::Close('}'), .. }] => (true, rest),
            _ => (false, tokens),
        };
        let [Token { kind: Kind::Begin(name), .. }, inner @ .., Token { kind: Kind::End(_), .. }] = tokens else {
            return Ok(None);
        };
        let by_case = braced && name == "array" || !braced && matches!(name.as_str(), "cases" | "dcases");
        if !by_case && (braced || !matches!(name.as_str(), "aligned" | "align" | "gathered")) {
            return Ok(None);
        }
        let says_if =
            |token: &Token| matches!(&token.kind, Kind::Word(word) if matches!(word.as_str(), "if" | "for" | "when"));
        let rows: Vec<&[Token]> =
            inner.split(|token| token.kind == Kind::Row).map(trimmed).filter(|row| !row.is_empty()).collect();
        let relation = |row: &[Token]| row.iter().any(|token| is_relation(&token.kind));
        let said = |row: &&[Token]| row.iter().any(says_if) || relation(row);
        // A set of one array has no conditions.
        if braced && !rows.iter().all(said) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for row in rows {
            let columns: Vec<&[Token]> = row
                .split(|token| token.kind == Kind::Ampersand)
                .map(trimmed)
                .filter(|part| !part.iter().all(says_if))
                .collect();
            match columns.as_slice() {
                [value, condition] if !relation(value) && by_case => {
                    let condition =
                        condition.iter().position(|token| !says_if(token)).map_or(*condition, |at| &condition[at..]);
                    parts.push(Value::Tuple(vec![self.value(value)?, self.value(condition)?]));
                }
                _ => {
                    let whole: Vec<Token> = row.iter().filter(|token| token.kind != Kind::Ampersand).cloned().collect();
                    parts.push(self.value(&whole)?);
                }
            }
        }
        if parts.is_empty() {
            return Err("empty");
        }
        Ok(Some(if parts.iter().any(|part| matches!(part, Value::Tuple(_))) {
            Value::Named {
                name: "cases".to_owned(),
                value: Box::new(Value::Set { members: parts, braced: true }),
                sides: None,
            }
        } else {
            gathered(parts, false)
        }))
    }

    /// `[[1, 2], [3, 4]]`
    pub(super) fn nested(&mut self, parts: &[&[Token]]) -> Parsed {
        let mut rows: Rows = Vec::new();
        for part in parts {
            let Some((_, inner, _)) = bracketed(trimmed(part)) else { return Err("ragged-matrix") };
            let entries = split(inner, |kind| *kind == Kind::Mark(',')).unwrap_or_else(|| vec![inner]);
            rows.push(entries.into_iter().map(|entry| expression(entry, self.mode)).collect::<Result<_, _>>()?);
        }
        if rows.iter().any(|row| row.len() != rows[0].len()) { Err("ragged-matrix") } else { Ok(Value::Matrix(rows)) }
    }
}
