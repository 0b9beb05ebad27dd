//! Two values: equal, unequal or not decided. Each kind of value meets its own; where kinds differ, a convention of
//! [`Policy`] applies or they are unequal.

mod chain;
mod equation;
mod letters;
mod names;
mod quantity;
mod region;
pub(crate) mod scalar;
mod span;
mod text;

use crate::effort::Effort;
use crate::expr::Expr;
use crate::read::{Interval, Value};
use crate::{Certainty, Policy, Verdict};

/// What was found, and how surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Equal, unequal or unknown.
    pub verdict: Verdict,
    /// Proven or probable.
    pub certainty: Certainty,
    /// By what.
    pub reason: &'static str,
}

impl Finding {
    /// Beyond doubt.
    pub(crate) fn proven(verdict: Verdict, reason: &'static str) -> Finding {
        Finding { verdict, certainty: Certainty::Proven, reason }
    }

    /// By convention, or as far as was looked.
    pub(crate) fn probable(verdict: Verdict, reason: &'static str) -> Finding {
        Finding { verdict, certainty: Certainty::Probable, reason }
    }

    /// As it is, but proven no more.
    pub(crate) fn at_most_probable(self) -> Finding {
        Finding { certainty: Certainty::Probable, ..self }
    }

    /// Not decided.
    pub(crate) fn unknown(reason: &'static str) -> Finding {
        Finding::probable(Verdict::Unknown, reason)
    }

    /// Equal if all are; unequal if one is; as certain as the least certain one that matters.
    pub(crate) fn all(each: impl Iterator<Item = Finding>) -> Finding {
        let mut result = Finding::proven(Verdict::Equal, "identical");
        for next in each {
            result = match (result.verdict, next.verdict) {
                (_, Verdict::Unequal) => return next,
                (Verdict::Unknown, _) => result,
                (_, Verdict::Unknown) => next,
                _ if result.certainty == Certainty::Probable => result,
                _ => next,
            };
        }
        result
    }
}

/// What a comparison is made under.
pub(crate) struct Case<'p> {
    /// Where conventions differ.
    pub policy: &'p Policy,
    /// What it may still cost.
    pub effort: Effort,
}

/// Whether `answer` is `gold`.
pub(crate) fn same(gold: &Value, answer: &Value, case: &Case<'_>) -> Finding {
    use Value::{Congruence, Family, Matrix, Named, Ratio, Relation, Scalar, Set, Tuple};
    let (gold, answer) = (&plain(gold), &plain(answer));
    if gold == answer {
        return Finding::proven(Verdict::Equal, "identical");
    }
    match (gold, answer) {
        (Value::Words(_) | Value::Prose { .. }, _) | (_, Value::Words(_) | Value::Prose { .. }) => {
            text::same(gold, answer, case)
        }
        (Value::Chain { values, signs }, other) => chain::against((values, signs), other, true, case),
        (other, Value::Chain { values, signs }) => chain::against((values, signs), other, false, case),
        // Both of what is said must be so.
        (Value::Twice(first, second), other) => {
            Finding::all([same(first, other, case), same(second, other, case)].into_iter())
        }
        (other, Value::Twice(first, second)) => {
            Finding::all([same(other, first, case), same(other, second, case)].into_iter())
        }
        (Value::Field(a), Value::Field(b)) if a != b => Finding::proven(Verdict::Unequal, "other-numbers"),
        (Value::Span { value, parameters }, Value::Span { value: other, parameters: others }) => {
            span::same((value, parameters), (other, others), case)
        }
        (Value::Span { .. }, _) | (_, Value::Span { .. }) => Finding::unknown("parameters"),
        (Family { value, parameter }, other) | (other, Family { value, parameter }) => {
            family((value, parameter), other, case)
        }
        (Named { value, .. }, Set { members, .. }) if matches!(**value, Named { .. }) && names::all(members) => {
            names::lists(&names::each(gold), members, case).at_most_probable()
        }
        (Set { members, .. }, Named { value, .. }) if matches!(**value, Named { .. }) && names::all(members) => {
            names::lists(members, &names::each(answer), case).at_most_probable()
        }
        (Named { name, value, sides }, Named { name: other, value: answer, sides: others }) => {
            names::same((name, value, sides), (other, answer, others), case)
        }
        (Named { value, .. }, Set { members, braced: false })
        | (Set { members, braced: false }, Named { value, .. })
            if matches!(**value, Tuple(_)) && names::distinct(members) =>
        {
            names::against_tuple(gold, answer, case)
        }
        (Tuple(_), Set { members, braced: false }) | (Set { members, braced: false }, Tuple(_))
            if names::distinct(members) =>
        {
            names::against_tuple(gold, answer, case)
        }
        (Set { members: a, .. }, Set { members: b, .. }) if names::distinct(a) || names::distinct(b) => {
            names::lists(a, b, case)
        }
        (Named { sides: Some(sides), .. }, Relation(chain, signs))
        | (Relation(chain, signs), Named { sides: Some(sides), .. })
            if signs.as_slice() == [crate::read::token::Relation::Equal] =>
        {
            equation::equations(sides, &(chain[0].clone(), chain[1].clone()), case)
        }
        (Relation(a, left), Relation(b, right)) => {
            let found = equation::chains((a, left), (b, right), case);
            if found.verdict == Verdict::Equal || !region::is_region(gold) || !region::is_region(answer) {
                return found;
            }
            let by_members = region::same(gold, answer, case);
            match by_members.reason {
                "several-variables" | "other-variable" | "membership-undecided" => found,
                "ends-unknown" => Finding::unknown("ends-unknown"),
                _ => by_members,
            }
        }
        _ if region::is_region(gold) || region::is_region(answer) => regions(gold, answer, case),
        (Named { value, sides, .. }, other) | (other, Named { value, sides, .. })
            if !matches!(other, Set { .. }) || !matches!(**value, Scalar(_)) =>
        {
            let equation = matches!(other, Relation(..)) && sides.is_some();
            if equation {
                return Finding::probable(Verdict::Unequal, "equation-against-value");
            }
            if let Value::Chain { values, signs } = &**value {
                return chain::named((values, signs), other, std::ptr::eq(other, answer), case);
            }
            if let (Tuple(parts), Scalar(_), None) = (&**value, other, sides)
                && parts.len() == 2
            {
                // P(5, 2) is a point, or a number of arrangements.
                return Finding::unknown("point-or-arrangements");
            }
            let found = if std::ptr::eq(other, answer) { same(value, other, case) } else { same(other, value, case) };
            if found.verdict == Verdict::Equal && !case.policy.bare_names {
                return Finding::unknown("name-on-one-side");
            }
            match found {
                Finding { verdict: Verdict::Equal, reason: "identical", .. } => {
                    Finding::probable(Verdict::Equal, "name-on-one-side")
                }
                other => other,
            }
        }
        (Scalar(a), Scalar(b)) => scalars(a, b, case),
        (Tuple(a), Tuple(b)) => {
            if a.len() != b.len() {
                return Finding::proven(Verdict::Unequal, "other-length");
            }
            Finding::all(a.iter().zip(b).map(|(a, b)| same(a, b, case)))
        }
        (Set { members: a, .. }, Set { members: b, .. })
            if matches!(a.first(), Some(Congruence { .. })) && equation::classes(a, b).is_some() =>
        {
            equation::classes(a, b).unwrap_or(Finding::unknown("residues"))
        }
        (Set { members: a, .. }, Congruence { .. }) if equation::classes(a, std::slice::from_ref(answer)).is_some() => {
            equation::classes(a, std::slice::from_ref(answer)).unwrap_or(Finding::unknown("residues"))
        }
        (Congruence { .. }, Set { members: b, .. }) if equation::classes(std::slice::from_ref(gold), b).is_some() => {
            equation::classes(std::slice::from_ref(gold), b).unwrap_or(Finding::unknown("residues"))
        }
        (Set { members: a, braced: left }, Set { members: b, braced: right }) => {
            let (left, right) = (nesting(a) + usize::from(*left), nesting(b) + usize::from(*right));
            if left > 0 && right > 0 && left != right {
                return Finding::probable(Verdict::Unequal, "other-nesting");
            }
            sets(a, b, case)
        }
        (Tuple(parts), Set { members, braced }) | (Set { members, braced }, Tuple(parts)) => {
            // A set of one tuple is that tuple; else order is what tells them apart.
            if let [one] = members.as_slice() {
                return same(one, if matches!(gold, Tuple(_)) { gold } else { answer }, case);
            }
            if *braced && !case.policy.tuple_for_set {
                return Finding::proven(Verdict::Unequal, "set-against-tuple");
            }
            if parts.len() != members.len() {
                return Finding::proven(Verdict::Unequal, "other-length");
            }
            let found = Finding::all(parts.iter().zip(members).map(|(a, b)| same(a, b, case)));
            match found.verdict {
                Verdict::Equal if case.policy.tuple_for_set => Finding::probable(Verdict::Equal, "set-against-tuple"),
                Verdict::Equal => Finding::unknown("list-against-tuple"),
                _ => found,
            }
        }
        // Several things are named, and one value says which of them it is not.
        (Set { members, .. }, other) | (other, Set { members, .. }) if names::distinct(members) => {
            match sets(members, std::slice::from_ref(other), case).verdict {
                Verdict::Unequal => Finding::probable(Verdict::Unequal, "member-missing"),
                _ => Finding::unknown("one-of-several-names"),
            }
        }
        (Set { members, .. }, other) => convention(sets(members, std::slice::from_ref(other), case)),
        (other, Set { members, .. }) => convention(sets(std::slice::from_ref(other), members, case)),
        (Matrix(a), Matrix(b)) => {
            if a.len() != b.len() || a[0].len() != b[0].len() {
                return Finding::proven(Verdict::Unequal, "other-shape");
            }
            let entries = a.iter().flatten().zip(b.iter().flatten());
            Finding::all(entries.map(|(a, b)| scalar::same(a, b, case)))
        }
        (Matrix(rows), Tuple(parts)) | (Tuple(parts), Matrix(rows)) => {
            // A vector, standing or lying.
            let vector: Vec<&Expr> = rows.iter().flatten().collect();
            if rows.len() > 1 && rows[0].len() > 1 || vector.len() != parts.len() {
                return Finding::proven(Verdict::Unequal, "other-shape");
            }
            let found = vector.into_iter().zip(parts).map(|(a, b)| same(&Value::expr(a.clone()), b, case));
            match Finding::all(found) {
                Finding { verdict: Verdict::Equal, .. } => Finding::probable(Verdict::Equal, "vector-against-tuple"),
                other => other,
            }
        }
        (Congruence { value: a, modulus: m }, Congruence { value: b, modulus: n }) => {
            equation::congruent((a, m), (b, n), case)
        }
        (Congruence { value, modulus }, Scalar(scalar)) | (Scalar(scalar), Congruence { value, modulus }) => {
            match equation::congruent((value, modulus), (&scalar.expr, modulus), case) {
                Finding { verdict: Verdict::Equal, .. } => Finding::probable(Verdict::Equal, "residue-without-modulus"),
                other => other,
            }
        }
        (Ratio(a), Ratio(b)) => equation::ratios(a, b, case),
        (Ratio(parts), Scalar(scalar)) | (Scalar(scalar), Ratio(parts)) => match parts.as_slice() {
            // 2:30 is a ratio, or two hours and a half.
            [_, _] if scalar.unit.as_ref().is_some_and(crate::read::unit::Unit::is_time) => {
                Finding::unknown("clock-or-ratio")
            }
            [a, b] => match scalar::same(&Expr::product([a.clone(), b.clone().inverse()]), &scalar.expr, case) {
                Finding { verdict: Verdict::Equal, .. } => Finding::probable(Verdict::Equal, "ratio-as-fraction"),
                other => other,
            },
            _ => Finding::proven(Verdict::Unequal, "ratio-against-number"),
        },
        (Relation(..), _) | (_, Relation(..)) => Finding::probable(Verdict::Unequal, "equation-against-value"),
        _ => Finding::probable(Verdict::Unequal, "other-kind"),
    }
}

/// Integrals done, `±` spread out into a set, sets of one kind.
fn plain(value: &Value) -> Value {
    match value {
        Value::Scalar(scalar) => {
            let expr = equation::integrated(&scalar.expr);
            let signs = expr.signs();
            let with = |expr: Expr| Value::Scalar(crate::read::Scalar { expr, ..scalar.clone() });
            if signs.len() == 1 {
                return with(expr);
            }
            Value::Set { members: signs.into_iter().map(with).collect(), braced: false }
        }
        Value::Set { members, braced } => {
            let mut all = Vec::new();
            for member in members {
                match plain(member) {
                    Value::Set { members, braced: false } => all.extend(members),
                    Value::Named { name, value, sides: _ } if matches!(*value, Value::Set { .. }) => {
                        let Value::Set { members, .. } = *value else { continue };
                        all.extend(members.into_iter().map(|member| Value::Named {
                            name: name.clone(),
                            value: Box::new(member),
                            sides: None,
                        }));
                    }
                    other => all.push(other),
                }
            }
            Value::Set { members: all, braced: *braced }
        }
        Value::Named { name, value, sides } => {
            let value = plain(value);
            Value::Named { name: name.clone(), value: Box::new(value), sides: sides.clone() }
        }
        other => other.clone(),
    }
}

fn scalars(gold: &crate::read::Scalar, answer: &crate::read::Scalar, case: &Case<'_>) -> Finding {
    if gold.unit.is_none()
        && let Some(found) = equation::antiderivatives(&gold.expr, &answer.expr, case)
    {
        return found;
    }
    let found = quantity::same(gold, answer, case);
    if found.verdict == Verdict::Unequal
        && let Some(same) = letters::same(gold, answer, case)
    {
        return same;
    }
    found
}

/// A set of one for that one: a convention.
fn convention(found: Finding) -> Finding {
    match found.verdict {
        Verdict::Equal => Finding::probable(Verdict::Equal, "set-of-one"),
        _ => found,
    }
}

/// How deep braces lie within each other.
fn nesting(members: &[Value]) -> usize {
    let depth = |member: &Value| match member {
        Value::Set { members, braced } => usize::from(*braced) + nesting(members),
        _ => 0,
    };
    members.iter().map(depth).max().unwrap_or(0)
}

fn family((value, parameter): (&Value, &str), other: &Value, case: &Case<'_>) -> Finding {
    match other {
        Value::Family { value: answer, parameter: name } => {
            equation::families((value, parameter), (answer, name), case)
        }
        Value::Scalar(_) | Value::Named { .. } | Value::Set { .. } => {
            // The parameter may go without saying.
            let inner = if let Value::Named { value, .. } = other { value } else { other };
            let mut names = Vec::new();
            if let Value::Scalar(scalar) = inner {
                scalar.expr.symbols(&mut names);
            }
            match names.as_slice() {
                [name] if matches!(name.as_str(), "k" | "n" | "m" | "l") => {
                    equation::families((value, parameter), (inner, name), case)
                }
                _ => Finding::probable(Verdict::Unequal, "one-against-a-family"),
            }
        }
        _ => Finding::unknown("family"),
    }
}

/// Sets of numbers against each other, and against what could be meant as one.
fn regions(gold: &Value, answer: &Value, case: &Case<'_>) -> Finding {
    if let (Value::Logic { any: a, parts: left }, Value::Logic { any: b, parts: right }) = (gold, answer)
        && a == b
        && left.len() == right.len()
    {
        let found = sets(left, right, case);
        if found.verdict == Verdict::Equal {
            return found;
        }
    }
    if let (Value::Interval(a), Value::Interval(b)) = (gold, answer) {
        return intervals(a, b, case);
    }
    // Unions, interval by interval: their ends may be stated as decimals.
    if let (Value::Union(a), Value::Union(b)) = (gold, answer)
        && a.len() == b.len()
    {
        let found = Finding::all(a.iter().zip(b).map(|(a, b)| same(a, b, case)));
        if found.verdict == Verdict::Equal {
            return found;
        }
    }
    let possible = |value: &Value| {
        region::is_region(value)
            || matches!(value, Value::Scalar(_) | Value::Set { .. } | Value::Named { .. } | Value::Relation(..))
            || matches!(value, Value::Tuple(parts) if parts.len() == 2)
    };
    if !possible(gold) || !possible(answer) {
        return Finding::probable(Verdict::Unequal, "other-kind");
    }
    // (a, b) against [c, d] with letters: end by end.
    if let (Some(a), Some(b)) = (as_interval(gold), as_interval(answer)) {
        return intervals(&a, &b, case);
    }
    let found = region::same(gold, answer, case);
    if found.reason == "several-variables" && region::is_region(gold) != region::is_region(answer) {
        return Finding::probable(Verdict::Unequal, "other-kind");
    }
    found
}

fn as_interval(value: &Value) -> Option<Interval> {
    match value {
        Value::Interval(interval) => Some(interval.clone()),
        Value::Named { value, .. } => as_interval(value),
        Value::Tuple(parts) => match parts.as_slice() {
            [Value::Scalar(low), Value::Scalar(high)] => {
                Some(Interval { low: low.clone(), high: high.clone(), low_closed: false, high_closed: false })
            }
            _ => None,
        },
        _ => None,
    }
}

fn intervals(a: &Interval, b: &Interval, case: &Case<'_>) -> Finding {
    let ends = Finding::all([quantity::same(&a.low, &b.low, case), quantity::same(&a.high, &b.high, case)].into_iter());
    if ends.verdict == Verdict::Equal && (a.low_closed, a.high_closed) != (b.low_closed, b.high_closed) {
        return Finding::proven(Verdict::Unequal, "open-against-closed");
    }
    ends
}

/// Every member of each is in the other.
pub(crate) fn sets(gold: &[Value], answer: &[Value], case: &Case<'_>) -> Finding {
    if gold.is_empty() != answer.is_empty() {
        return Finding::proven(Verdict::Unequal, "empty-set");
    }
    let contained = |gold: &[Value], answer: &[Value], turned: bool| {
        Finding::all(gold.iter().map(|member| {
            let mut result = Finding::proven(Verdict::Unequal, "member-missing");
            for other in answer {
                let found = if turned { same(other, member, case) } else { same(member, other, case) };
                match found.verdict {
                    Verdict::Equal => return found,
                    Verdict::Unknown => result = found,
                    Verdict::Unequal => {}
                }
            }
            result
        }))
    };
    let found = Finding::all([contained(gold, answer, false), contained(answer, gold, true)].into_iter());
    // `Yes, 5` beside 5.
    let speaks =
        |members: &[Value]| members.iter().any(|member| matches!(member, Value::Words(_) | Value::Prose { .. }));
    if found.verdict == Verdict::Unequal && speaks(gold) != speaks(answer) {
        return Finding::unknown("words-among-members");
    }
    found
}
