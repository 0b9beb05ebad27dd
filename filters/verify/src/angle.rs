//! Angles whose sine and cosine are radicals: multiples of π/12, π/10 and π/8.

use crate::expr::{Expr, Function};
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{ToPrimitive, Zero};

/// `r` where `expr` is rπ, `r` rational.
pub(crate) fn turns(expr: &Expr) -> Option<BigRational> {
    match expr {
        Expr::Number(value) => value.is_zero().then(|| value.clone()),
        _ => multiple(expr, &[Expr::Pi]),
    }
}

/// `r` where `expr` is iπr.
pub(crate) fn imaginary_turns(expr: &Expr) -> Option<BigRational> {
    multiple(expr, &[Expr::Pi, Expr::I])
}

/// The rational factor of a product of it and `wanted`, in any order; sums of such products too.
fn multiple(expr: &Expr, wanted: &[Expr]) -> Option<BigRational> {
    match expr {
        Expr::Sum(terms) => terms.iter().map(|term| multiple(term, wanted)).sum(),
        Expr::Product(factors) => {
            let (mut ratio, mut missing) = (BigRational::from_integer(1.into()), wanted.to_vec());
            for factor in factors {
                match factor {
                    Expr::Number(value) => ratio *= value,
                    other => {
                        let at = missing.iter().position(|part| part == other)?;
                        missing.remove(at);
                    }
                }
            }
            missing.is_empty().then_some(ratio)
        }
        other => (wanted == [other.clone()]).then(|| BigRational::from_integer(1.into())),
    }
}

/// sin, cos or tan of `turns`·π in radicals; nothing where the table has no such angle or there is no value.
pub(crate) fn exact(function: Function, turns: &BigRational) -> Option<Expr> {
    let half = BigRational::new(1.into(), 2.into());
    match function {
        Function::Cos => cosine(turns),
        Function::Sin => cosine(&(half - turns)),
        Function::Tan => {
            let (sin, cos) = (cosine(&(half - turns))?, cosine(turns)?);
            (cos != Expr::integer(0)).then(|| Expr::product([sin, cos.inverse()]))
        }
        _ => None,
    }
}

/// The angle whose sine, cosine or tangent is about `value`, in multiples of π, and that sine, cosine or tangent in
/// radicals; nothing where the table has no such angle.
pub(crate) fn inverse(function: Function, value: f64) -> Option<(BigRational, Expr)> {
    let (direct, angle) = match function {
        Function::Asin => (Function::Sin, value.clamp(-1.0, 1.0).asin()),
        Function::Acos => (Function::Cos, value.clamp(-1.0, 1.0).acos()),
        Function::Atan => (Function::Tan, value.atan()),
        _ => return None,
    };
    let steps = (angle / std::f64::consts::PI * 120.0).round();
    let turns = BigRational::new((steps as i64).into(), 120.into());
    let sine = exact(direct, &turns)?;
    Some((turns, sine))
}

fn cosine(turns: &BigRational) -> Option<Expr> {
    // In units of π/120, which all of the table's angles are multiples of.
    let steps = turns * BigRational::from_integer(120.into());
    let steps = steps.is_integer().then(|| steps.numer().mod_floor(&240.into()).to_i64())??;
    let steps = if steps > 120 { 240 - steps } else { steps };
    let (steps, negative) = if steps > 60 { (120 - steps, true) } else { (steps, false) };
    let root = |value: Expr| Expr::power(value, Expr::Number(BigRational::new(1.into(), 2.into())));
    let root_of = |value: i64| root(Expr::integer(value));
    let over = |value: Expr, below: i64| Expr::product([value, Expr::Number(BigRational::new(1.into(), below.into()))]);
    let with = |number: i64, factor: i64, radicand: i64| {
        Expr::sum([Expr::integer(number), Expr::product([Expr::integer(factor), root_of(radicand)])])
    };
    let value = match steps {
        0 => Expr::integer(1),
        10 => over(Expr::sum([root_of(6), root_of(2)]), 4),
        12 => over(root(with(10, 2, 5)), 4),
        15 => over(root(with(2, 1, 2)), 2),
        20 => over(root_of(3), 2),
        24 => over(with(1, 1, 5), 4),
        30 => over(root_of(2), 2),
        36 => over(root(with(10, -2, 5)), 4),
        40 => over(Expr::integer(1), 2),
        45 => over(root(with(2, -1, 2)), 2),
        48 => over(with(-1, 1, 5), 4),
        50 => over(root_of(6).minus(root_of(2)), 4),
        60 => Expr::integer(0),
        _ => return None,
    };
    Some(if negative { value.negated() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::scalar::approximate;

    #[test]
    fn the_table_holds_what_the_functions_say() {
        let case = crate::decide::Case { policy: &crate::Policy::default(), effort: crate::effort::Effort::new() };
        let mut found = 0;
        for steps in -240..=240 {
            let turns = BigRational::new(steps.into(), 120.into());
            let angle = f64::from(steps) / 120.0 * std::f64::consts::PI;
            for (function, value) in
                [(Function::Cos, angle.cos()), (Function::Sin, angle.sin()), (Function::Tan, angle.tan())]
            {
                let Some(exact) = exact(function, &turns) else { continue };
                let exact = approximate(&exact, &case).expect("a real number");
                assert!((exact - value).abs() < 1e-9, "{function:?} of {turns} π: {exact} and {value}");
                found += 1;
            }
        }
        assert!(found > 200, "{found}");
    }
}
