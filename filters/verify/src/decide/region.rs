//! Sets of real numbers: intervals, unions, inequalities in one variable. Two are compared at their ends, between them,
//! beyond them and on a grid; one point that only one of them holds proves them different.

use super::{Case, Finding, Verdict, scalar};
use crate::expr::Expr;
use crate::read::{Interval, Value, token::Relation};
use num_rational::BigRational;
use num_traits::ToPrimitive;
use std::cmp::Ordering;

/// Most ends that are looked at.
const MAX_ENDS: usize = 64;

/// Whether the value can only be a set of numbers.
pub(crate) fn is_region(value: &Value) -> bool {
    match value {
        Value::Interval(_) | Value::Union(_) | Value::Intersection(_) | Value::Difference(..) | Value::Field(_) => true,
        Value::Logic { parts, .. } => parts.iter().any(is_region),
        Value::Relation(_, signs) => signs.iter().any(|sign| !matches!(sign, Relation::Equal | Relation::Approx)),
        Value::Named { value, .. } => is_region(value),
        _ => false,
    }
}

/// Whether two sets of numbers are the same.
pub(crate) fn same(a: &Value, b: &Value, case: &Case<'_>) -> Finding {
    let (Some(left), Some(right)) = (variable(a), variable(b)) else { return Finding::unknown("several-variables") };
    if let (Some(left), Some(right)) = (&left, &right)
        && left != right
    {
        return Finding::unknown("other-variable");
    }
    let name = left.or(right).unwrap_or_default();
    if name.is_empty() && (claims(a) || claims(b)) {
        // 8 > 7e says nothing about anything.
        return Finding::unknown("no-variable");
    }
    let mut ends = Vec::new();
    gather(a, &mut ends, case);
    gather(b, &mut ends, case);
    if ends.len() > MAX_ENDS {
        return Finding::unknown("too-many-ends");
    }
    let mut decided = 0;
    for point in points(&ends, case) {
        if case.effort.is_spent() {
            return Finding::unknown("out-of-budget");
        }
        let (left, right) = (holds(a, &name, &point, case), holds(b, &name, &point, case));
        match (left, right) {
            (Some(left), Some(right)) if left != right => {
                return Finding::proven(Verdict::Unequal, "a-number-in-one-only");
            }
            (Some(_), Some(_)) => decided += 1,
            _ => {}
        }
    }
    if decided < 8 {
        return Finding::unknown("membership-undecided");
    }
    // Where one side names no ends, another root could lie between the points.
    let explicit = |value: &Value| {
        let mut ends = Vec::new();
        gather(value, &mut ends, case);
        linear(value) || !ends.is_empty() && !matches!(value, Value::Relation(..))
    };
    if explicit(a) || explicit(b) {
        Finding::probable(Verdict::Equal, "same-members")
    } else {
        Finding::unknown("ends-unknown")
    }
}

/// Whether a value says something of a variable, or would if it had one.
fn claims(value: &Value) -> bool {
    match value {
        Value::Relation(..) => true,
        Value::Logic { parts, .. } => parts.iter().any(claims),
        _ => false,
    }
}

/// The one variable of a value; `Some(None)` where it has none, nothing where it has several.
fn variable(value: &Value) -> Option<Option<String>> {
    let mut names = Vec::new();
    symbols(value, &mut names);
    names.dedup();
    (names.len() <= 1).then(|| names.pop())
}

fn symbols(value: &Value, names: &mut Vec<String>) {
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    match value {
        Value::Relation(sides, _) => {
            for side in sides {
                let mut inner = Vec::new();
                calls(side, &mut inner);
                inner.into_iter().for_each(&mut add);
            }
        }
        Value::Named { name, value, .. } => {
            add(name.clone());
            symbols(value, names);
        }
        Value::Logic { parts, .. } | Value::Union(parts) | Value::Intersection(parts) => {
            parts.iter().for_each(|part| symbols(part, names));
        }
        Value::Difference(a, b) => {
            symbols(a, names);
            symbols(b, names);
        }
        Value::Set { members, .. } | Value::Tuple(members) => members.iter().for_each(|part| symbols(part, names)),
        Value::Scalar(scalar) => {
            let mut inner = Vec::new();
            scalar.expr.symbols(&mut inner);
            inner.into_iter().for_each(&mut add);
        }
        Value::Interval(interval) => {
            let mut inner = Vec::new();
            interval.low.expr.symbols(&mut inner);
            interval.high.expr.symbols(&mut inner);
            inner.into_iter().for_each(&mut add);
        }
        _ => {}
    }
}

/// Variables, and calls of named functions as variables of their own.
fn calls(expr: &Expr, names: &mut Vec<String>) {
    match expr {
        Expr::Call(name, arguments) => names.push(format!("{name}{arguments:?}")),
        Expr::Symbol(name) => names.push(name.clone()),
        _ => expr.children().into_iter().for_each(|part| calls(part, names)),
    }
    names.sort();
    names.dedup();
}

/// Whether every part is an interval or a bare variable against a number.
fn linear(value: &Value) -> bool {
    match value {
        Value::Relation(sides, _) => sides.iter().all(|side| {
            let mut names = Vec::new();
            calls(side, &mut names);
            names.is_empty()
                || matches!(side, Expr::Symbol(_) | Expr::Call(..))
                || matches!(side, Expr::Apply(crate::expr::Function::Abs, parts) if matches!(parts[0], Expr::Symbol(_)))
        }),
        Value::Logic { parts, .. } | Value::Union(parts) | Value::Intersection(parts) => parts.iter().all(linear),
        Value::Difference(a, b) => linear(a) && linear(b),
        Value::Named { value, .. } => linear(value),
        Value::Interval(_) | Value::Field(_) | Value::Set { .. } | Value::Tuple(_) | Value::Scalar(_) => true,
        _ => false,
    }
}

/// The numbers at which membership can change, as far as they are written down.
fn gather(value: &Value, ends: &mut Vec<Expr>, case: &Case<'_>) {
    let add = |expr: &Expr, ends: &mut Vec<Expr>| {
        let mut names = Vec::new();
        calls(expr, &mut names);
        if names.is_empty() && !ends.contains(expr) && !expr.any(&|part| *part == Expr::Infinity) {
            ends.push(expr.clone());
            if expr.as_number().is_some_and(|value| value > &BigRational::default()) {
                // |x| < 3 changes at −3 too.
                ends.push(expr.clone().negated());
            }
        }
    };
    match value {
        Value::Interval(interval) => {
            add(&interval.low.expr, ends);
            add(&interval.high.expr, ends);
        }
        Value::Tuple(parts) | Value::Set { members: parts, .. } => {
            for part in parts {
                gather(part, ends, case);
            }
        }
        Value::Scalar(scalar) => scalar.expr.signs().iter().for_each(|expr| add(expr, ends)),
        Value::Relation(sides, _) => {
            for side in sides {
                add(side, ends);
            }
            // a·x + b against c changes where that is solved.
            for pair in sides.windows(2) {
                if let Some(root) = root(&pair[0].clone().minus(pair[1].clone()), case) {
                    add(&root, ends);
                }
            }
        }
        Value::Named { value, .. } => gather(value, ends, case),
        Value::Union(parts) | Value::Intersection(parts) | Value::Logic { parts, .. } => {
            parts.iter().for_each(|part| gather(part, ends, case));
        }
        Value::Difference(a, b) => {
            gather(a, ends, case);
            gather(b, ends, case);
        }
        _ => {}
    }
}

/// Where a linear expression in one variable is zero.
fn root(expr: &Expr, case: &Case<'_>) -> Option<Expr> {
    let mut names = Vec::new();
    expr.symbols(&mut names);
    let [name] = names.as_slice() else { return None };
    let at = |value: i64| expr.substitute(name, &Expr::integer(value));
    let (zero, one, two) = (at(0), at(1), at(2));
    let slope = one.clone().minus(zero.clone());
    let straight = scalar::same(&two.minus(one), &slope, case).verdict == Verdict::Equal;
    let level = scalar::same(&slope, &Expr::integer(0), case).verdict != Verdict::Unequal;
    (straight && !level).then(|| Expr::product([Expr::integer(-1), zero, slope.inverse()]))
}

/// The ends, numbers between and beyond them, and a grid.
fn points(ends: &[Expr], case: &Case<'_>) -> Vec<Expr> {
    let mut all: Vec<Expr> = ends.to_vec();
    let mut places: Vec<f64> =
        ends.iter().filter_map(|end| scalar::approximate(end, case)).filter(|place| place.abs() < 1e12).collect();
    places.sort_by(f64::total_cmp);
    places.dedup_by(|a, b| (*a - *b).abs() < 1e-12);
    let mut add = |place: f64| {
        if let Some(number) = BigRational::from_float(place) {
            all.push(Expr::Number(number));
        }
    };
    for pair in places.windows(2) {
        for part in [0.5, 1e-6, 1.0 - 1e-6] {
            add(pair[0] + (pair[1] - pair[0]) * part);
        }
    }
    if let (Some(first), Some(last)) = (places.first(), places.last()) {
        for beyond in [1e-6, 0.5, 1.0, 100.0, 1e6] {
            add(first - beyond);
            add(last + beyond);
        }
    }
    for step in -12_i32..=12 {
        add(f64::from(step));
        add(f64::from(step) + 0.4375);
    }
    all
}

/// Whether `value` holds the number `point`; `name` stands for it in relations.
fn holds(value: &Value, name: &str, point: &Expr, case: &Case<'_>) -> Option<bool> {
    match value {
        Value::Interval(interval) => within(interval, point, case),
        // Two numbers in round brackets, where a set was meant.
        Value::Tuple(parts) => match parts.as_slice() {
            [Value::Scalar(low), Value::Scalar(high)] => {
                let interval = Interval { low: low.clone(), high: high.clone(), low_closed: false, high_closed: false };
                within(&interval, point, case)
            }
            _ => None,
        },
        Value::Scalar(scalar) => {
            let mut found = Some(false);
            for expr in scalar.expr.signs() {
                match scalar::order(&expr, point, case) {
                    Some(Ordering::Equal) => return Some(true),
                    Some(_) => {}
                    None => found = None,
                }
            }
            found
        }
        Value::Set { members, .. } => any(members.iter().map(|member| holds(member, name, point, case))),
        Value::Union(parts) => any(parts.iter().map(|part| holds(part, name, point, case))),
        Value::Intersection(parts) => all(parts.iter().map(|part| holds(part, name, point, case))),
        Value::Logic { any: one, parts } => {
            let mut each = parts.iter().map(|part| holds(part, name, point, case));
            if *one { any(&mut each) } else { all(&mut each) }
        }
        Value::Difference(whole, without) => {
            all([holds(whole, name, point, case), holds(without, name, point, case).map(|inside| !inside)].into_iter())
        }
        Value::Field(letter) => {
            let number = point.as_number()?;
            match letter {
                'R' | 'C' => Some(true),
                'Q' => Some(true),
                'Z' => Some(number.is_integer()),
                'N' => Some(number.is_integer() && number.to_f64()? >= 1.0),
                _ => None,
            }
        }
        Value::Named { value, .. } => holds(value, name, point, case),
        Value::Relation(sides, signs) => {
            let sides: Vec<Expr> = sides
                .iter()
                .map(|side| {
                    side.map(&|part| match part {
                        Expr::Symbol(symbol) if symbol == name => Some(point.clone()),
                        Expr::Call(called, arguments) if format!("{called}{arguments:?}") == name => {
                            Some(point.clone())
                        }
                        _ => None,
                    })
                })
                .collect();
            all(signs.iter().zip(sides.windows(2)).map(|(sign, pair)| {
                let order = scalar::order(&pair[0], &pair[1], case)?;
                Some(match sign {
                    Relation::Less => order.is_lt(),
                    Relation::LessEqual => order.is_le(),
                    Relation::Greater => order.is_gt(),
                    Relation::GreaterEqual => order.is_ge(),
                    Relation::Equal | Relation::Approx => order.is_eq(),
                    Relation::Unequal => order.is_ne(),
                    _ => return None,
                })
            }))
        }
        _ => None,
    }
}

fn within(interval: &Interval, point: &Expr, case: &Case<'_>) -> Option<bool> {
    let low = scalar::order(&interval.low.expr, point, case)?;
    let high = scalar::order(point, &interval.high.expr, case)?;
    let above = low.is_lt() || interval.low_closed && low.is_eq();
    let below = high.is_lt() || interval.high_closed && high.is_eq();
    Some(above && below)
}

fn any(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(false);
    for one in each {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

fn all(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(each.map(|one| one.map(|one| !one))).map(|one| !one)
}
