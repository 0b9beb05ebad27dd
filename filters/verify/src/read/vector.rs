//! Sums of unit vectors as their components: `2î + 3ĵ` is (2, 3).

use super::Value;
use crate::expr::Expr;

const UNITS: [&str; 3] = ["i\u{302}", "j\u{302}", "k\u{302}"];

/// The components of a sum of unit vectors. Plain letters are unit vectors where `i` and `j` stand together.
pub(super) fn components(expr: &Expr) -> Option<Value> {
    let hats = expr.any(&|part| matches!(part, Expr::Symbol(name) if UNITS.contains(&name.as_str())));
    let plain = !hats
        && expr.any(&|part| *part == Expr::I)
        && expr.any(&|part| matches!(part, Expr::Symbol(name) if name == "j"));
    if !hats && !plain {
        return None;
    }
    let place = |part: &Expr| match part {
        Expr::Symbol(name) if hats => UNITS.iter().position(|unit| unit == name),
        Expr::I if plain => Some(0),
        Expr::Symbol(name) if plain && name == "j" => Some(1),
        Expr::Symbol(name) if plain && name == "k" => Some(2),
        _ => None,
    };
    let terms = match expr {
        Expr::Sum(terms) => terms.as_slice(),
        other => std::slice::from_ref(other),
    };
    let mut parts: [Vec<Expr>; 3] = Default::default();
    for term in terms {
        let factors = match term {
            Expr::Product(factors) => factors.as_slice(),
            other => std::slice::from_ref(other),
        };
        let (units, rest): (Vec<&Expr>, Vec<&Expr>) = factors.iter().partition(|factor| place(factor).is_some());
        let [unit] = units.as_slice() else { return None };
        if rest.iter().any(|factor| factor.any(&|part| place(part).is_some())) {
            return None;
        }
        parts[place(unit)?].push(Expr::product(rest.into_iter().cloned()));
    }
    let length = if parts[2].is_empty() { 2 } else { 3 };
    Some(Value::Tuple(parts.into_iter().take(length).map(|terms| Value::expr(Expr::sum(terms))).collect()))
}
