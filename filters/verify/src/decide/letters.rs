//! What letters may stand for: any whole number, any constant, the index of a sum. Such letters can have another name, or
//! the formulas need to agree at whole numbers only.

use super::{Case, Finding, Verdict, equation, scalar};
use crate::expr::{Expr, Function, Series};
use crate::read::{Scalar, Value};
use num_bigint::BigInt;
use num_rational::BigRational;

/// More orders of constants than those of so many are not tried.
const MAX_CONSTANTS: usize = 3;

/// Whether two unequal scalars are the same for what their letters stand for.
pub(super) fn same(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Option<Finding> {
    let stands = |part: &Expr| matches!(part, Expr::Symbol(name) if is_whole(name) || name.starts_with(['C', 'c', 'K', 'A', 'B', 'D']));
    if !gold.expr.any(&stands) {
        return None;
    }
    renamed(&gold.expr, &answer.expr, case)
        .or_else(|| at_whole_numbers(&gold.expr, &answer.expr, case))
        .or_else(|| shifted(gold, answer, case))
        .or_else(|| constants(&gold.expr, &answer.expr, case))
}

fn names(expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    expr.symbols(&mut names);
    names
}

fn is_whole(name: &str) -> bool {
    matches!(name, "k" | "n" | "m" | "l" | "j" | "N")
}

/// The only variable, where it is a name for whole numbers.
fn only(expr: &Expr) -> Option<String> {
    match names(expr).as_slice() {
        [name] if is_whole(name) => Some(name.clone()),
        _ => None,
    }
}

/// kπ and nπ.
fn renamed(gold: &Expr, answer: &Expr, case: &Case<'_>) -> Option<Finding> {
    let (wanted, given) = (only(gold)?, only(answer)?);
    if wanted == given {
        return None;
    }
    let answer = answer.substitute(&given, &Expr::symbol(wanted));
    let same = scalar::same(gold, &answer, case).verdict == Verdict::Equal;
    same.then(|| Finding::probable(Verdict::Equal, "parameter-renamed"))
}

/// (−1)^n and cos nπ: what only whole numbers are meant for.
fn at_whole_numbers(gold: &Expr, answer: &Expr, case: &Case<'_>) -> Option<Finding> {
    const FROM: i64 = -3;
    const TO: i64 = 11;
    let (wanted, given) = (names(gold), names(answer));
    let [name] = wanted.as_slice() else { return None };
    if !is_whole(name) || given.iter().any(|other| other != name) {
        return None;
    }
    let alternates = |expr: &Expr| {
        expr.any(&|part| match part {
            Expr::Power(base, exponent) if base.as_number().is_some_and(|base| *base < BigRational::default()) => {
                !names(exponent).is_empty()
            }
            Expr::Apply(Function::Sin | Function::Cos | Function::Tan, parts) => {
                parts[0].any(&|part| *part == Expr::Pi) && !names(&parts[0]).is_empty()
            }
            Expr::Power(base, exponent) if **base == Expr::I || **base == Expr::E => {
                exponent.any(&|part| *part == Expr::I)
            }
            _ => false,
        })
    };
    if !alternates(gold) && !alternates(answer) {
        return None;
    }
    let mut agreed = 0;
    for value in FROM..=TO {
        let at = |expr: &Expr| expr.substitute(name, &Expr::integer(value));
        match scalar::same(&at(gold), &at(answer), case).verdict {
            Verdict::Equal => agreed += 1,
            Verdict::Unequal => return None,
            Verdict::Unknown => {}
        }
    }
    (agreed >= 8).then(|| Finding::probable(Verdict::Equal, "agree-at-whole-numbers"))
}

/// π/4 + kπ and −3π/4 + nπ: the solutions of an equation, counted from another one.
fn shifted(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Option<Finding> {
    let (wanted, given) = (only(&gold.expr)?, only(&answer.expr)?);
    let turns = |scalar: &Scalar| {
        scalar.expr.any(&|part| *part == Expr::Pi) || scalar.unit.as_ref().is_some_and(|unit| unit.degree)
    };
    let linear = |expr: &Expr, name: &str| {
        let at = |value: i64| expr.substitute(name, &Expr::integer(value));
        let bend = Expr::sum([at(0), at(2), Expr::product([Expr::integer(-2), at(1)])]);
        scalar::same(&bend, &Expr::integer(0), case).verdict == Verdict::Equal
    };
    if !turns(gold) || !turns(answer) || !linear(&gold.expr, &wanted) || !linear(&answer.expr, &given) {
        return None;
    }
    let value = |scalar: &Scalar| Value::Scalar(scalar.clone());
    let found = equation::families((&value(gold), &wanted), (&value(answer), &given), case);
    (found.verdict == Verdict::Equal).then(|| Finding::probable(Verdict::Equal, "same-members"))
}

/// C·e^x and A·e^x: constants of integration by other names, in any order.
fn constants(gold: &Expr, answer: &Expr, case: &Case<'_>) -> Option<Finding> {
    let constant = |name: &String| matches!(name.split('_').next().unwrap_or(name), "C" | "c" | "K" | "A" | "B" | "D");
    let (wanted, given): (Vec<_>, Vec<_>) =
        (names(gold).into_iter().filter(constant).collect(), names(answer).into_iter().filter(constant).collect());
    let of_integration = wanted.iter().any(|name| matches!(name.split('_').next(), Some("C" | "c" | "K")));
    let several = wanted.len() > 1;
    let others = names(gold).len() > wanted.len();
    if wanted.is_empty()
        || wanted.len() != given.len()
        || wanted.len() > MAX_CONSTANTS
        || !others
        || !(of_integration || several)
    {
        return None;
    }
    orders(wanted.len()).into_iter().find_map(|order| {
        let renamed = answer.map(&|part| match part {
            Expr::Symbol(name) => {
                let at = given.iter().position(|other| other == name)?;
                Some(Expr::symbol(wanted[order[at]].clone()))
            }
            _ => None,
        });
        let same = scalar::same(gold, &renamed, case).verdict == Verdict::Equal;
        same.then(|| Finding::probable(Verdict::Equal, "constants-renamed"))
    })
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        1 => vec![vec![0]],
        2 => vec![vec![0, 1], vec![1, 0]],
        _ => [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(Vec::from).to_vec(),
    }
}

/// The same with the indices of its sums, products and integrals named by how deep they lie.
pub(super) fn unbound(expr: Expr) -> Expr {
    if expr.any(&|part| matches!(part, Expr::Series(_))) { named_by_depth(&expr, 0) } else { expr }
}

fn named_by_depth(expr: &Expr, depth: usize) -> Expr {
    expr.map(&|part| {
        let Expr::Series(series) = part else { return None };
        let index = format!("#{depth}");
        let body = series.body.substitute(&series.index, &Expr::symbol(index.clone()));
        Some(Expr::Series(Box::new(Series {
            kind: series.kind,
            index,
            from: named_by_depth(&series.from, depth + 1),
            to: named_by_depth(&series.to, depth + 1),
            body: named_by_depth(&body, depth + 1),
        })))
    })
}

/// Floors and ceilings of constants as the whole numbers that they are, also where the constant is one itself.
pub(super) fn floors(expr: &Expr, case: &Case<'_>) -> Expr {
    if !expr.any(&|part| matches!(part, Expr::Apply(Function::Floor | Function::Ceiling, _))) {
        return expr.clone();
    }
    expr.map(&|part| {
        let Expr::Apply(function @ (Function::Floor | Function::Ceiling), parts) = part else { return None };
        let inner = floors(&parts[0], case);
        if !names(&inner).is_empty() {
            return Some(Expr::apply(*function, vec![inner]));
        }
        let value = scalar::approximate(&inner, case).filter(|value| value.abs() < 1e9)?;
        let whole = Expr::Number(BigRational::from_integer(BigInt::from(value.round() as i64)));
        let same = scalar::same(&inner, &whole, case);
        (same.verdict == Verdict::Equal).then_some(whole)
    })
}

/// Whether two formulas with floors or ceilings differ at a whole number or a half of one, where these jump.
pub(super) fn jump_apart(a: &Expr, b: &Expr, names: &[String], case: &Case<'_>) -> bool {
    const PLACES: [(i64, i64); 9] = [(0, 1), (1, 1), (2, 1), (4, 1), (8, 1), (9, 1), (-2, 1), (3, 2), (100, 1)];
    let jumps = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Apply(Function::Floor | Function::Ceiling, _)));
    if !jumps(a) && !jumps(b) || names.len() > 2 {
        return false;
    }
    PLACES.iter().any(|(above, below)| {
        let at = |expr: &Expr| {
            let value = Expr::Number(BigRational::new((*above).into(), (*below).into()));
            floors(&names.iter().fold(expr.clone(), |expr, name| expr.substitute(name, &value)), case)
        };
        scalar::same(&at(a), &at(b), case).verdict == Verdict::Unequal
    })
}
