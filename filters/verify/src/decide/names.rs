//! What is named: `x = 5`, `f(x) = x + 1`, `AB = 3, BC = 4`. The same name gives the same value; of other names nothing
//! is known, except where a name is only a letter that stands for any other.

use super::{Case, Finding, Verdict, chain, equation, same as same_value, sets};
use crate::expr::Expr;
use crate::read::Value;

type Named<'v> = (&'v String, &'v Value, &'v Option<Box<(Expr, Expr)>>);

/// Two named values.
pub(super) fn same((name, gold, sides): Named<'_>, (other, answer, others): Named<'_>, case: &Case<'_>) -> Finding {
    if name == other {
        return values(gold, answer, case);
    }
    // a = b = 10 says it of a and of b.
    if let Value::Named { name, value, sides } = gold {
        return same((name, value, sides), (other, answer, others), case).at_most_probable();
    }
    if let Value::Named { name: other, value, sides: others } = answer {
        return same((name, gold, sides), (other, value, others), case).at_most_probable();
    }
    if let Some(found) = renamed((name, gold), (other, answer), case) {
        return found;
    }
    if let Some(found) = together((name, gold), (other, answer), case) {
        return found;
    }
    // AB = CD and CD = AB are one equation.
    let constant = |value: &Value| match value {
        Value::Scalar(scalar) => {
            let mut names = Vec::new();
            scalar.expr.symbols(&mut names);
            names.is_empty()
        }
        _ => true,
    };
    if let (Some(a), Some(b)) = (sides, others)
        && !constant(gold)
        && !constant(answer)
        && equation::equations(a, b, case).verdict == Verdict::Equal
    {
        return Finding::probable(Verdict::Equal, "same-up-to-a-factor");
    }
    let (left, right) = (stem(name), stem(other));
    let short = |name: &str| name.chars().count() == 1 || name.contains('_') && !name.contains(' ');
    if left != right && short(left) && short(right) {
        // y = x + 1 and f(x) = x + 1
        let function = |name: &str, other: &str| name == "y" && other.contains('(');
        if (function(name, other) || function(other, name)) && same_value(gold, answer, case).verdict == Verdict::Equal
        {
            return Finding::probable(Verdict::Equal, "graph-and-function");
        }
        return Finding::probable(Verdict::Unequal, "other-name");
    }
    // The values tell other things apart; the same value of other things says nothing.
    match same_value(gold, answer, case).verdict {
        Verdict::Unequal => Finding::probable(Verdict::Unequal, "other-name"),
        _ => Finding::unknown("other-name"),
    }
}

/// What one name is said to be on both sides.
fn values(gold: &Value, answer: &Value, case: &Case<'_>) -> Finding {
    if !matches!(gold, Value::Chain { .. }) && !matches!(answer, Value::Chain { .. }) {
        return same_value(gold, answer, case);
    }
    let found = same_value(&chain::resolved(gold, case), &chain::resolved(answer, case), case);
    Finding { certainty: crate::Certainty::Probable, ..found }
}

/// `(m, n) = (1, 2)` and `(n, m) = (2, 1)`.
fn together((name, gold): (&str, &Value), (other, answer): (&str, &Value), case: &Case<'_>) -> Option<Finding> {
    let parts = |name: &str| -> Option<Vec<String>> {
        Some(name.strip_prefix('(')?.strip_suffix(')')?.split(',').map(str::to_owned).collect())
    };
    let (wanted, given) = (parts(name)?, parts(other)?);
    let (Value::Tuple(gold), Value::Tuple(answer)) = (gold, answer) else { return None };
    if wanted.len() != gold.len() || given.len() != answer.len() || wanted.len() != given.len() {
        return None;
    }
    let places = wanted.iter().map(|name| given.iter().position(|other| other == name)).collect::<Option<Vec<_>>>()?;
    let found = Finding::all(gold.iter().zip(places).map(|(part, at)| same_value(part, &answer[at], case)));
    Some(Finding { certainty: crate::Certainty::Probable, ..found })
}

fn stem(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

/// `f(x) = x + 1` and `f(t) = t + 1`.
fn renamed((name, gold): (&str, &Value), (other, answer): (&str, &Value), case: &Case<'_>) -> Option<Finding> {
    let variable = |name: &str| {
        let (_, argument) = name.strip_suffix(')')?.split_once('(')?;
        let plain = !argument.is_empty() && argument.chars().all(char::is_alphabetic);
        (plain && (argument.chars().count() == 1 || argument.chars().all(char::is_lowercase)))
            .then(|| argument.to_owned())
    };
    if stem(name) != stem(other) {
        return None;
    }
    let (wanted, given) = (variable(name)?, variable(other)?);
    // A function that is constant.
    let any = |name: &str| matches!(name, "x" | "y" | "z" | "t" | "s" | "u" | "v" | "n" | "m" | "k");
    if any(&wanted)
        && any(&given)
        && matches!((gold, answer), (Value::Scalar(a), Value::Scalar(b)) if a.expr.as_number().is_some() && b.expr.as_number().is_some())
    {
        let found = same_value(gold, answer, case);
        return Some(Finding { certainty: crate::Certainty::Probable, ..found });
    }
    let Value::Scalar(scalar) = answer else { return None };
    // P(A) and P(B) are two things; so is f(a) where b appears too.
    let mut names = Vec::new();
    scalar.expr.symbols(&mut names);
    if !names.contains(&given) || names.contains(&wanted) {
        return None;
    }
    let expr = scalar.expr.substitute(&given, &Expr::symbol(wanted));
    let answer = Value::Scalar(crate::read::Scalar { expr, ..scalar.clone() });
    let found = same_value(gold, &answer, case);
    Some(Finding { certainty: crate::Certainty::Probable, ..found })
}

/// Whether all members are named.
pub(super) fn all(members: &[Value]) -> bool {
    !members.is_empty() && members.iter().all(|member| matches!(member, Value::Named { .. }))
}

/// `a = b = 10` as `a = 10, b = 10`.
pub(super) fn each(mut value: &Value) -> Vec<Value> {
    let mut names = Vec::new();
    while let Value::Named { name, value: inner, .. } = value {
        names.push(name.clone());
        value = inner;
    }
    names.into_iter().map(|name| Value::Named { name, value: Box::new(value.clone()), sides: None }).collect()
}

/// Whether several members are named, each by another name.
pub(super) fn distinct(members: &[Value]) -> bool {
    if !all(members) {
        return false;
    }
    let names = named(members);
    members.len() > 1
        && names.len() == members.len()
        && names.iter().enumerate().all(|(at, (name, _))| names[..at].iter().all(|(other, _)| other != name))
}

fn named(members: &[Value]) -> Vec<(&str, &Value)> {
    let each = members.iter().filter_map(|member| match member {
        Value::Named { name, value, .. } => Some((name.as_str(), &**value)),
        _ => None,
    });
    each.collect()
}

/// Lists of which at least one names each of its members: by name, or in the same order where the other has no names.
pub(super) fn lists(gold: &[Value], answer: &[Value], case: &Case<'_>) -> Finding {
    if let (true, true) = (all(gold), all(answer)) {
        let (wanted, given) = (named(gold), named(answer));
        let has = |list: &[(&str, &Value)], name: &str| list.iter().any(|(other, _)| *other == name);
        let same_names =
            wanted.iter().all(|(name, _)| has(&given, name)) && given.iter().all(|(name, _)| has(&wanted, name));
        if !same_names {
            // Fewer of them, or others.
            let found = sets(gold, answer, case);
            return match found.verdict {
                Verdict::Unequal if gold.len() == answer.len() && found.reason == "member-missing" => {
                    Finding::probable(Verdict::Unequal, "other-names")
                }
                _ => found,
            };
        }
        return Finding::all(wanted.iter().map(|(name, value)| {
            let values = |list: &[(&str, &Value)]| {
                list.iter().filter(|(other, _)| other == name).map(|(_, value)| (*value).clone()).collect::<Vec<_>>()
            };
            match values(&given).as_slice() {
                [one] if values(&wanted).len() == 1 => same_value(value, one, case),
                several => sets(&values(&wanted), several, case),
            }
        }));
    }
    let (bare_gold, bare_answer) = (bare(gold), bare(answer));
    let found = sets(&bare_gold, &bare_answer, case);
    if found.verdict != Verdict::Equal {
        return found;
    }
    if !case.policy.bare_names {
        return Finding::unknown("name-on-one-side");
    }
    let in_order = gold.len() == answer.len()
        && Finding::all(bare_gold.iter().zip(&bare_answer).map(|(a, b)| same_value(a, b, case))).verdict
            == Verdict::Equal;
    if in_order { Finding::probable(Verdict::Equal, "names-on-one-side") } else { Finding::unknown("order-of-names") }
}

fn bare(members: &[Value]) -> Vec<Value> {
    let value = |member: &Value| match member {
        Value::Named { value, .. } => (**value).clone(),
        other => other.clone(),
    };
    members.iter().map(value).collect()
}

/// `x = 1, y = 2` against `(1, 2)` or `(x, y) = (1, 2)`.
pub(super) fn against_tuple(gold: &Value, answer: &Value, case: &Case<'_>) -> Finding {
    let turned = matches!(gold, Value::Set { .. });
    let (list, tuple) = if turned { (gold, answer) } else { (answer, gold) };
    let Value::Set { members, .. } = list else { return Finding::unknown("list-against-tuple") };
    let (names, parts): (Option<Vec<String>>, &[Value]) = match tuple {
        Value::Named { name, value, .. } => match &**value {
            Value::Tuple(parts) => {
                let inner = name.strip_prefix('(').and_then(|name| name.strip_suffix(')'));
                (inner.map(|inner| inner.split(',').map(str::to_owned).collect()), parts)
            }
            _ => return Finding::unknown("list-against-tuple"),
        },
        Value::Tuple(parts) => (None, parts),
        _ => return Finding::unknown("list-against-tuple"),
    };
    if parts.len() != members.len() {
        return Finding::probable(Verdict::Unequal, "other-length");
    }
    let mut given = named(members);
    match names {
        Some(names) => {
            if names.len() != parts.len() || !names.iter().all(|name| given.iter().any(|(other, _)| other == name)) {
                return Finding::unknown("other-names");
            }
            given.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
        }
        // Coordinates stand in the order of their letters.
        None if given.iter().all(|(name, _)| name.chars().count() == 1) => given.sort_by_key(|(name, _)| *name),
        None => {}
    }
    let found =
        Finding::all(parts.iter().zip(given).map(|(part, (_, value))| {
            if turned { same_value(value, part, case) } else { same_value(part, value, case) }
        }));
    match found.verdict {
        Verdict::Equal if case.policy.bare_names => Finding::probable(Verdict::Equal, "names-on-one-side"),
        Verdict::Equal => Finding::unknown("name-on-one-side"),
        Verdict::Unequal => Finding::probable(Verdict::Unequal, "names-on-one-side"),
        Verdict::Unknown => found,
    }
}
