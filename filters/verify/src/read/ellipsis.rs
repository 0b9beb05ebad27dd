//! Lists with something left out: `1, 2, …, 10` becomes all ten where the step is plain, and keeps the gap as a member
//! that nothing else equals where it is not.

use super::Value;
use crate::expr::Expr;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Longer lists are not written out.
const MAX_MEMBERS: usize = 200;

/// The members of a list; `None` is where something was left out.
pub(super) fn members(parts: Vec<Option<Value>>) -> Vec<Value> {
    if let Some(all) = written_out(&parts) {
        return all.into_iter().map(|number| Value::expr(Expr::Number(number))).collect();
    }
    parts.into_iter().map(|part| part.unwrap_or_else(|| Value::expr(Expr::symbol("…")))).collect()
}

/// An arithmetic progression of numbers with one gap, its ends given.
fn written_out(parts: &[Option<Value>]) -> Option<Vec<BigRational>> {
    let gap = parts.iter().position(Option::is_none)?;
    let number = |part: &Option<Value>| match part {
        Some(Value::Scalar(scalar)) if scalar.unit.is_none() && !scalar.percent => scalar.expr.as_number().cloned(),
        _ => None,
    };
    let before = parts[..gap].iter().map(number).collect::<Option<Vec<_>>>()?;
    let after = parts[gap + 1..].iter().map(number).collect::<Option<Vec<_>>>()?;
    let (first, end) = (before.first()?, after.first()?);
    let step = match before.as_slice() {
        [first, second, ..] => second - first,
        // 1, …, 10
        _ if first.is_integer() && end.is_integer() => BigRational::one(),
        _ => return None,
    };
    if step.is_zero() {
        return None;
    }
    let even = |run: &[BigRational]| run.windows(2).all(|pair| &pair[1] - &pair[0] == step);
    let last = before.last()?;
    let count = ((end - last) / &step).to_integer().to_usize()?;
    let whole = ((end - last) / &step).is_integer() && (end - last).is_positive() == step.is_positive() && count > 0;
    if !even(&before) || !even(&after) || !whole || count > MAX_MEMBERS {
        return None;
    }
    let mut all = before.clone();
    for index in 1..count {
        all.push(last + &step * BigRational::from_integer(index.into()));
    }
    all.extend(after);
    Some(all)
}
