//! Two expressions: the same function, another one, or not decided.
//!
//! In this order, each step deciding what it can: exact numbers; the difference modulo a prime, for rational functions;
//! balls at fixed points; the normal form; balls of many digits.

use super::{Case, Finding, Verdict, letters};
use crate::angle;
use crate::effort::Effort;
use crate::expr::{Expr, Function, SPECIAL, lowest, plus};
use crate::normal;
use crate::numeric::{Big, Complex, Fault, Float, Point, Real, evaluate, exact, modular};
use num_rational::BigRational;
use std::cmp::Ordering;

/// Expressions with more parts are not compared.
const MAX_SIZE: usize = 1500;
/// Steps of making the coordinate of a point.
const POINT: u64 = 40;
/// Points at which functions are compared, and how many must have been usable.
const POINTS: usize = 12;
const ENOUGH: usize = 3;
/// Digits of the precise balls, in bits.
const PRECISIONS: [u32; 3] = [256, 1024, 4096];

/// Whether `a` and `b` are the same.
pub(crate) fn same(a: &Expr, b: &Expr, case: &Case<'_>) -> Finding {
    if a == b {
        return Finding::proven(Verdict::Equal, "identical");
    }
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Finding::proven(if a == b { Verdict::Equal } else { Verdict::Unequal }, "exact-arithmetic");
    }
    if a.size() + b.size() > MAX_SIZE {
        return Finding::unknown("too-large");
    }
    if a.any(&|part| *part == Expr::Infinity) || b.any(&|part| *part == Expr::Infinity) {
        return infinite(a, b);
    }
    let (a, b) = (letters::unbound(named_calls(a)), letters::unbound(named_calls(b)));
    if a == b {
        return Finding::proven(Verdict::Equal, "identical");
    }
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    names.sort();
    if names.iter().any(|name| name == "…") {
        // What was left out could be anything.
        return Finding::unknown("something-left-out");
    }
    if let Some(finding) = by_residues(&a, &b) {
        return finding;
    }
    if names.is_empty() { constants(&a, &b, case) } else { functions(&a, &b, &names, case) }
}

/// Which of two real constants is larger; nothing where that is not decided.
pub(crate) fn order(a: &Expr, b: &Expr, case: &Case<'_>) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_number(), b.as_number()) {
        return Some(a.cmp(b));
    }
    let infinite = |expr: &Expr| match expr {
        Expr::Infinity => Some(1),
        Expr::Product(_) if *expr == Expr::Infinity.negated() => Some(-1),
        _ => None,
    };
    match (infinite(a), infinite(b)) {
        (Some(a), Some(b)) => return Some(a.cmp(&b)),
        (Some(a), None) => return Some(a.cmp(&0)),
        (None, Some(b)) => return Some(0.cmp(&b)),
        (None, None) => {}
    }
    let difference = a.clone().minus(b.clone());
    let value = evaluate::<Float>(&difference, &Vec::new(), 53, &case.effort);
    if let Ok(value) = &value
        && value.is_real()
        && let Some(order) = value.re.sign()
    {
        return Some(order);
    }
    if same(a, b, case).verdict == Verdict::Equal {
        return Some(Ordering::Equal);
    }
    let value = evaluate::<Big>(&difference, &Vec::new(), PRECISIONS[1], &case.effort).ok()?;
    if value.is_real() { value.re.sign() } else { None }
}

/// The value of a real constant, roughly.
pub(crate) fn approximate(expr: &Expr, case: &Case<'_>) -> Option<f64> {
    let value = evaluate::<Float>(expr, &Vec::new(), 53, &case.effort).ok()?;
    value.is_real().then(|| value.re.approximate())
}

/// ±∞ equal themselves only.
fn infinite(a: &Expr, b: &Expr) -> Finding {
    let plain = |expr: &Expr| *expr == Expr::Infinity || *expr == Expr::Infinity.negated();
    let finite = |expr: &Expr| !expr.any(&|part| *part == Expr::Infinity);
    if plain(a) && plain(b) || plain(a) && finite(b) || finite(a) && plain(b) {
        return Finding::proven(Verdict::Unequal, "infinite");
    }
    Finding::unknown("infinite")
}

/// `f(2)` becomes a variable of that name; what has a value that is not known here does not.
pub(super) fn named_calls(expr: &Expr) -> Expr {
    if !expr.any(&|part| matches!(part, Expr::Call(..))) {
        return expr.clone();
    }
    expr.map(&|part| match part {
        Expr::Call(name, arguments) if !SPECIAL.contains(&name.as_str()) => {
            Some(Expr::Symbol(format!("{name}{arguments:?}")))
        }
        _ => None,
    })
}

/// A difference modulo a prime proves that rational functions differ.
fn by_residues(a: &Expr, b: &Expr) -> Option<Finding> {
    for (round, prime) in modular::PRIMES.into_iter().enumerate() {
        let value = |name: &str| {
            // FNV-1a: fixed points that no answer was made for.
            let seed = 0xcbf2_9ce4_8422_2325 ^ (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let (left, right) = (modular::evaluate(a, prime, &value)?, modular::evaluate(b, prime, &value)?);
        if left != right {
            return Some(Finding::proven(Verdict::Unequal, "differ-modulo-a-prime"));
        }
    }
    None
}

fn constants(a: &Expr, b: &Expr, case: &Case<'_>) -> Finding {
    let special = |part: &Expr| {
        matches!(
            part,
            Expr::Apply(Function::Asin | Function::Acos | Function::Atan | Function::Floor | Function::Ceiling, _)
        )
    };
    if a.any(&special) || b.any(&special) {
        let plain = |expr: &Expr| letters::floors(&angles(expr, case), case);
        let (left, right) = (plain(a), plain(b));
        if left == right {
            return Finding::proven(Verdict::Equal, "normal-form");
        }
        return settled(&left, &right, case);
    }
    settled(a, b, case)
}

/// Two constants without what the table of angles or a floor settles.
fn settled(a: &Expr, b: &Expr, case: &Case<'_>) -> Finding {
    let point = Vec::new();
    if let (Some(a), Some(b)) = (exact(a, &point, &case.effort), exact(b, &point, &case.effort)) {
        return Finding::proven(if a == b { Verdict::Equal } else { Verdict::Unequal }, "exact-arithmetic");
    }
    let left = evaluate::<Float>(a, &point, 53, &case.effort);
    let right = evaluate::<Float>(b, &point, 53, &case.effort);
    match (&left, &right) {
        (Ok(left), Ok(right)) if left.differs(right) => return Finding::proven(Verdict::Unequal, "disjoint-balls"),
        (Err(Fault::Undefined), Err(Fault::Undefined)) => return Finding::unknown("undefined"),
        (Err(Fault::Undefined), Ok(_)) | (Ok(_), Err(Fault::Undefined)) => return Finding::unknown("undefined"),
        _ => {}
    }
    if let Some(equal) = normal::equal(a, b, &case.effort) {
        return Finding::proven(if equal { Verdict::Equal } else { Verdict::Unequal }, "normal-form");
    }
    let mut agreed = false;
    for bits in PRECISIONS {
        let left = evaluate::<Big>(a, &point, bits, &case.effort);
        let right = evaluate::<Big>(b, &point, bits, &case.effort);
        match (left, right) {
            (Ok(left), Ok(right)) if left.differs(&right) => {
                return Finding::proven(Verdict::Unequal, "disjoint-balls");
            }
            (Ok(left), Ok(right)) => {
                // What should be zero has no digits to be sharp in; at the last precision, none being left counts.
                let last = bits == PRECISIONS[2];
                agreed |= left.is_sharp() && right.is_sharp() || last && left.is_fine() && right.is_fine();
            }
            (Err(Fault::Undefined), _) | (_, Err(Fault::Undefined)) => return Finding::unknown("undefined"),
            _ => {}
        }
        // 1,024 bits that agree are enough; the last precision is for what was not sharp.
        if agreed && bits > 256 {
            break;
        }
    }
    if agreed { Finding::probable(Verdict::Equal, "balls-overlap") } else { Finding::unknown("not-evaluated") }
}

/// Inverse sines, cosines and tangents as the angles that they are, where these are in the table: arccos(−1) is π.
fn angles(expr: &Expr, case: &Case<'_>) -> Expr {
    if !expr.any(&|part| matches!(part, Expr::Apply(Function::Asin | Function::Acos | Function::Atan, _))) {
        return expr.clone();
    }
    expr.map(&|part| {
        let Expr::Apply(function @ (Function::Asin | Function::Acos | Function::Atan), parts) = part else {
            return None;
        };
        let value = approximate(&parts[0], case)?;
        let (turns, sine) = angle::inverse(*function, value)?;
        let same = normal::equal(&parts[0], &sine, &case.effort) == Some(true);
        same.then(|| Expr::product([Expr::Number(turns), Expr::Pi]))
    })
}

/// What both are at one point.
enum Meeting {
    Differ,
    Agree,
    /// One is real there and the other is not, or not defined.
    OtherDomain,
    Nothing,
}

fn meet<R: Real>(a: &Expr, b: &Expr, point: &Point, bits: u32, effort: &Effort) -> Meeting {
    let real = point.iter().all(|(_, _, im)| im == &BigRational::default());
    let left: Result<Complex<R>, Fault> = evaluate(a, point, bits, effort);
    let right: Result<Complex<R>, Fault> = evaluate(b, point, bits, effort);
    match (left, right) {
        (Ok(left), Ok(right)) => {
            if real && left.is_real() != right.is_real() && (left.im.sign() != right.im.sign()) {
                return if left.differs(&right) { Meeting::OtherDomain } else { Meeting::Nothing };
            }
            if left.differs(&right) {
                // Two values off the real line may lie on different branches.
                return if real && !left.is_real() { Meeting::Nothing } else { Meeting::Differ };
            }
            if left.is_sharp() && right.is_sharp() { Meeting::Agree } else { Meeting::Nothing }
        }
        (Err(Fault::Undefined), Ok(_)) | (Ok(_), Err(Fault::Undefined)) => Meeting::OtherDomain,
        _ => Meeting::Nothing,
    }
}

fn functions(a: &Expr, b: &Expr, names: &[String], case: &Case<'_>) -> Finding {
    let either = |test: &dyn Fn(&Expr) -> bool| a.any(test) || b.any(test);
    let whole = either(&|part| {
        let counts = matches!(
            part,
            Expr::Apply(
                Function::Factorial | Function::DoubleFactorial | Function::Binomial | Function::Gcd | Function::Lcm,
                _
            )
        ) || matches!(part, Expr::Series(_));
        counts && {
            let mut names = Vec::new();
            part.symbols(&mut names);
            !names.is_empty()
        }
    });
    // Off the real line only what has one branch is compared, and what has i in it.
    let branches = either(&|part| match part {
        Expr::Power(_, exponent) => !exponent.as_number().is_some_and(BigRational::is_integer),
        Expr::Apply(function, _) => !matches!(
            function,
            Function::Sin | Function::Cos | Function::Tan | Function::Sinh | Function::Cosh | Function::Tanh
        ),
        _ => false,
    });
    let complex = !whole && (!branches || either(&|part| *part == Expr::I));
    let (mut agreed, mut apart, mut met) = (0, false, Vec::new());
    for index in 0..POINTS {
        if case.effort.spend(POINT * names.len() as u64).is_none() {
            return Finding::unknown("out-of-budget");
        }
        let point = if whole { whole_point(names, index) } else { point(names, index, complex) };
        match meet::<Float>(a, b, &point, 53, &case.effort) {
            Meeting::Differ => return Finding::proven(Verdict::Unequal, "differ-at-a-point"),
            Meeting::OtherDomain => apart = true,
            Meeting::Agree => {
                agreed += 1;
                met.push(point);
            }
            Meeting::Nothing => {}
        }
    }
    if let Some(equal) = normal::equal(a, b, &case.effort) {
        return Finding::proven(if equal { Verdict::Equal } else { Verdict::Unequal }, "normal-form");
    }
    if apart {
        // Confirmed with more digits before it counts.
        let confirmed = (0..POINTS).any(|index| {
            let point = if whole { whole_point(names, index) } else { point(names, index, complex) };
            matches!(meet::<Big>(a, b, &point, 256, &case.effort), Meeting::OtherDomain)
        });
        if confirmed {
            return Finding::probable(Verdict::Unequal, "other-domain");
        }
    }
    for point in met.iter().take(2) {
        if matches!(meet::<Big>(a, b, point, 256, &case.effort), Meeting::Differ) {
            return Finding::proven(Verdict::Unequal, "differ-at-a-point");
        }
    }
    if agreed < ENOUGH {
        // What was too rough for floats may be sharp with more digits.
        agreed = 0;
        for index in 0..POINTS {
            let point = if whole { whole_point(names, index) } else { point(names, index, complex) };
            match meet::<Big>(a, b, &point, 1024, &case.effort) {
                Meeting::Differ => return Finding::proven(Verdict::Unequal, "differ-at-a-point"),
                Meeting::Agree => agreed += 1,
                _ => {}
            }
            if agreed >= ENOUGH {
                break;
            }
        }
    }
    if agreed >= ENOUGH {
        if letters::jump_apart(a, b, names, case) {
            return Finding::probable(Verdict::Unequal, "differ-at-a-jump");
        }
        Finding::probable(Verdict::Equal, "agree-at-points")
    } else {
        Finding::unknown("no-common-domain")
    }
}

/// Fixed points: between 0 and 1, above 1, negative, and complex where that says something.
pub(crate) fn point(names: &[String], index: usize, complex: bool) -> Point {
    let value = |place: usize| -> (BigRational, BigRational) {
        // Coprime-looking numerators, so that no two variables share a value and no nice number is hit.
        let (step, place) = (index as i64, place as i64);
        let odd = 2 * place + 3 + 5 * step;
        let small = ratio(odd * 7 + 4 * place + 1, odd * 11 + 17 + 6 * place);
        let zero = BigRational::default();
        match index % 4 {
            0 => (small, zero),
            1 => (plus(&small, &ratio(1 + 2 * place + step, 1)), zero),
            2 => (-plus(&small, &ratio((place + step) % 3, 1)), zero),
            _ if complex => (ratio(odd, 7 + place), ratio(3 + step - 2 * place, 5)),
            // Signs mixed among the variables.
            _ if place % 2 == 0 => (plus(&small, &ratio(2 + step, 3)), zero),
            _ => (-plus(&small, &ratio(step, 4)), zero),
        }
    };
    names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let (re, im) = value(place);
            (name.clone(), re, im)
        })
        .collect()
}

/// Small whole numbers, for what counts.
fn whole_point(names: &[String], index: usize) -> Point {
    names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let value = 1 + (index + place * 5) as i64 % 9 + if place == 0 { 2 } else { 0 };
            (name.clone(), ratio(value, 1), BigRational::default())
        })
        .collect()
}

fn ratio(above: i64, below: i64) -> BigRational {
    lowest(above.into(), below.into())
}
