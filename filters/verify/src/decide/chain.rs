//! Values stated as equal to each other, `600 = 6·10²` and `2π ≈ 6.28`, against another: one that fits suffices, if what
//! is stated is true.

use super::{Case, Finding, Verdict, quantity, same as same_value, scalar};
use crate::read::{Scalar, Value, token::Relation};

type Chain<'v> = (&'v [Value], &'v [Relation]);

/// A chain against a value; `gold` says that the chain is the gold.
pub(super) fn against((values, signs): Chain<'_>, other: &Value, gold: bool, case: &Case<'_>) -> Finding {
    if !holds(values, signs, case) {
        return Finding::unknown("chain-contradicts-itself");
    }
    let mut result = None;
    for value in values {
        let found = if gold { same_value(value, other, case) } else { same_value(other, value, case) };
        match found.verdict {
            Verdict::Equal => return Finding::probable(Verdict::Equal, "one-of-a-chain"),
            Verdict::Unknown => result = Some(found),
            Verdict::Unequal => {}
        }
    }
    result.unwrap_or(Finding::probable(Verdict::Unequal, "none-of-a-chain"))
}

/// A calculation that contradicts itself as what it comes to; any other value as it is.
pub(super) fn resolved(value: &Value, case: &Case<'_>) -> Value {
    match value {
        Value::Chain { values, signs } if !holds(values, signs, case) => {
            let last = signs.iter().position(|sign| *sign == Relation::Approx).unwrap_or(values.len() - 1);
            values.get(last).unwrap_or(value).clone()
        }
        other => other.clone(),
    }
}

/// A calculation behind a name; where it contradicts itself, what it comes to counts.
pub(super) fn named((values, signs): Chain<'_>, other: &Value, gold: bool, case: &Case<'_>) -> Finding {
    if holds(values, signs, case) {
        return against((values, signs), other, gold, case);
    }
    let value = resolved(&Value::Chain { values: values.to_vec(), signs: signs.to_vec() }, case);
    let found = if gold { same_value(&value, other, case) } else { same_value(other, &value, case) };
    match found.verdict {
        Verdict::Equal => Finding::probable(Verdict::Equal, "end-of-a-chain"),
        _ => Finding::unknown("chain-contradicts-itself"),
    }
}

/// Whether neighbours are as equal as their sign says.
fn holds(values: &[Value], signs: &[Relation], case: &Case<'_>) -> bool {
    values.windows(2).zip(signs).all(|(pair, sign)| {
        let [Value::Scalar(left), Value::Scalar(right)] = pair else { return false };
        let found = quantity::same(left, right, case);
        if found.verdict != Verdict::Unequal || quantity::same(right, left, case).verdict != Verdict::Unequal {
            return true;
        }
        // `\frac13 = 0.33`; `\approx` may be rougher than that.
        quantity::rounds(left, right, case)
            || quantity::rounds(right, left, case)
            || *sign == Relation::Approx && near(left, right, case)
    })
}

fn near(left: &Scalar, right: &Scalar, case: &Case<'_>) -> bool {
    const ROUGHLY: f64 = 0.05;
    let value = |scalar: &Scalar| scalar::approximate(&scalar.expr, case);
    match (value(left), value(right)) {
        (Some(left), Some(right)) => (left - right).abs() <= ROUGHLY * left.abs().max(right.abs()),
        _ => false,
    }
}
