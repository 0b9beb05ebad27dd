//! Equations and chains of relations in several variables, antiderivatives, residue classes, ratios, families.

use super::{Case, Finding, Verdict, scalar};
use crate::expr::{Expr, Function};
use crate::normal;
use crate::numeric::{Float, evaluate};
use crate::read::{Value, token::Relation};
use num_rational::BigRational;
use num_traits::Zero;

/// A primitive with its bounds put in has at most about so many parts.
const MAX_SIZE: usize = 4000;

/// Two equations: the same up to a constant factor.
pub(crate) fn equations(a: &(Expr, Expr), b: &(Expr, Expr), case: &Case<'_>) -> Finding {
    let (left, right) = (a.0.clone().minus(a.1.clone()), b.0.clone().minus(b.1.clone()));
    let (left, right) = (scalar::named_calls(&left), scalar::named_calls(&right));
    match factor(&left, &right, case) {
        Some(true) => Finding::probable(Verdict::Equal, "same-up-to-a-factor"),
        // Multiplied out: xy = 1 and y = 1/x.
        _ if divides(&left) != divides(&right) && normal::same_zeros(&left, &right, &case.effort) => {
            Finding::probable(Verdict::Equal, "same-zeros")
        }
        Some(false) => Finding::probable(Verdict::Unequal, "no-common-factor"),
        None => Finding::unknown("equations-undecided"),
    }
}

/// Whether something is divided by a variable.
fn divides(expr: &Expr) -> bool {
    expr.any(&|part| match part {
        Expr::Power(base, exponent) => {
            exponent.as_number().is_some_and(|power| *power < BigRational::zero())
                && base.any(&|part| matches!(part, Expr::Symbol(_)))
        }
        _ => false,
    })
}

/// Whether `a / b` is a constant other than zero.
fn factor(a: &Expr, b: &Expr, case: &Case<'_>) -> Option<bool> {
    if normal::proportional(a, b, &case.effort) {
        return Some(true);
    }
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    // a(p)·b(q) = a(q)·b(p), q being p in other letters.
    let elsewhere = |expr: &Expr| {
        expr.map(&|part| match part {
            Expr::Symbol(name) => Some(Expr::Symbol(format!("{name}′"))),
            _ => None,
        })
    };
    let left = Expr::product([a.clone(), elsewhere(b)]);
    let right = Expr::product([elsewhere(a), b.clone()]);
    match scalar::same(&left, &right, case).verdict {
        Verdict::Equal => {
            let zero = Expr::integer(0);
            let vanishes = |expr: &Expr| scalar::same(expr, &zero, case).verdict != Verdict::Unequal;
            (!vanishes(a) && !vanishes(b)).then_some(true)
        }
        Verdict::Unequal => Some(false),
        Verdict::Unknown => None,
    }
}

/// Two chains of relations, side by side; a chain can be read from its other end.
pub(crate) fn chains(a: (&[Expr], &[Relation]), b: (&[Expr], &[Relation]), case: &Case<'_>) -> Finding {
    if let (([l, r], [left]), ([m, s], [right])) = (a, b) {
        return pairs((l, *left, r), (m, *right, s), case);
    }
    if a.1.len() != b.1.len() {
        return Finding::unknown("chains-of-other-length");
    }
    let forward = matched(a, b, case);
    if forward.verdict == Verdict::Equal {
        return forward;
    }
    let sides: Vec<Expr> = b.0.iter().rev().cloned().collect();
    let signs: Vec<Relation> = b.1.iter().rev().map(|sign| flipped(*sign)).collect();
    let backward = matched(a, (&sides, &signs), case);
    if backward.verdict == Verdict::Equal { backward } else { forward }
}

fn matched(a: (&[Expr], &[Relation]), b: (&[Expr], &[Relation]), case: &Case<'_>) -> Finding {
    if a.1 != b.1 {
        return Finding::probable(Verdict::Unequal, "other-relation");
    }
    Finding::all(a.0.iter().zip(b.0).map(|(a, b)| scalar::same(a, b, case)))
}

fn flipped(sign: Relation) -> Relation {
    match sign {
        Relation::Less => Relation::Greater,
        Relation::LessEqual => Relation::GreaterEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterEqual => Relation::LessEqual,
        other => other,
    }
}

/// One relation each: the differences of the sides by a factor, whose sign turns an inequality around.
fn pairs(a: (&Expr, Relation, &Expr), b: (&Expr, Relation, &Expr), case: &Case<'_>) -> Finding {
    let kind = |sign: Relation| match sign {
        Relation::Less | Relation::Greater => 0,
        Relation::LessEqual | Relation::GreaterEqual => 1,
        Relation::Equal | Relation::Approx => 2,
        Relation::Unequal => 3,
        _ => 4,
    };
    if kind(a.1) != kind(b.1) {
        return Finding::probable(Verdict::Unequal, "other-relation");
    }
    if kind(a.1) >= 2 {
        let found = equations(&(a.0.clone(), a.2.clone()), &(b.0.clone(), b.2.clone()), case);
        return if kind(a.1) == 4 && found.verdict == Verdict::Equal { Finding::unknown("relation") } else { found };
    }
    // All as `difference < 0`.
    let difference = |(left, sign, right): (&Expr, Relation, &Expr)| match sign {
        Relation::Less | Relation::LessEqual => left.clone().minus(right.clone()),
        _ => right.clone().minus(left.clone()),
    };
    let (left, right) = (difference(a), difference(b));
    match factor(&left, &right, case) {
        Some(true) => match factor_sign(&left, &right, case) {
            Some(true) => Finding::probable(Verdict::Equal, "same-up-to-a-factor"),
            Some(false) => Finding::proven(Verdict::Unequal, "turned-around"),
            None => Finding::unknown("sign-of-factor"),
        },
        Some(false) => Finding::probable(Verdict::Unequal, "no-common-factor"),
        None => Finding::unknown("relations-undecided"),
    }
}

fn factor_sign(a: &Expr, b: &Expr, case: &Case<'_>) -> Option<bool> {
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    (0..8).find_map(|index| {
        let point = scalar::point(&names, index, false);
        let value = |expr: &Expr| {
            let value = evaluate::<Float>(expr, &point, 53, &case.effort).ok()?;
            value.is_real().then_some(value.re)
        };
        use crate::numeric::Real;
        let (left, right) = (value(a)?.sign()?, value(b)?.sign()?);
        (left.is_ne() && right.is_ne()).then_some(left == right)
    })
}

/// The constant of integration of an antiderivative, where it has one.
fn integration_constant(expr: &Expr) -> Option<String> {
    let Expr::Sum(terms) = expr else { return None };
    let mut names = Vec::new();
    expr.symbols(&mut names);
    let constant = terms.iter().find_map(|term| match term {
        Expr::Symbol(name) if matches!(name.as_str(), "C" | "c" | "K" | "C_1" | "C_0" | "c_1") => Some(name.clone()),
        _ => None,
    })?;
    // It appears once and not alone.
    let once = terms.iter().filter(|term| {
        let mut inner = Vec::new();
        term.symbols(&mut inner);
        inner.contains(&constant)
    });
    (once.count() == 1 && names.len() > 1).then_some(constant)
}

/// Functions up to a constant; nothing where the gold has no constant of integration.
pub(crate) fn antiderivatives(gold: &Expr, answer: &Expr, case: &Case<'_>) -> Option<Finding> {
    let constant = integration_constant(gold)?;
    // `C` in brackets with the rest of a formula (a plane, a circle) is no constant of integration.
    let Some(other) = integration_constant(answer) else {
        // Where it stands elsewhere in the answer, both are compared as they are.
        if answer.any(&|part| matches!(part, Expr::Symbol(name) if *name == constant)) {
            return None;
        }
        let without = gold.substitute(&constant, &Expr::integer(0));
        let found = up_to_constant(&without, answer, case);
        return Some(if found.verdict == Verdict::Equal {
            Finding::unknown("constant-of-integration-missing")
        } else {
            found
        });
    };
    let zero = Expr::integer(0);
    Some(up_to_constant(&gold.substitute(&constant, &zero), &answer.substitute(&other, &zero), case))
}

fn up_to_constant(a: &Expr, b: &Expr, case: &Case<'_>) -> Finding {
    let mut names = Vec::new();
    a.symbols(&mut names);
    b.symbols(&mut names);
    let difference = a.clone().minus(b.clone());
    use crate::numeric::Real;
    // Positive and negative numbers may have constants of their own: ln|x|.
    let mut seen: [Option<Float>; 2] = [None, None];
    let mut agreed = 0;
    for index in 0..12 {
        if index % 4 == 3 {
            continue;
        }
        let point = scalar::point(&names, index, false);
        let Ok(value) = evaluate::<Float>(&difference, &point, 53, &case.effort) else { continue };
        if !value.is_real() || !value.re.is_sharp() && value.re.approximate().abs() > 1e-6 {
            continue;
        }
        let side = &mut seen[usize::from(index % 4 == 2)];
        match side {
            Some(known) if known.differs(&value.re) => {
                return Finding::proven(Verdict::Unequal, "difference-not-constant");
            }
            Some(_) => agreed += 1,
            None => *side = Some(value.re),
        }
    }
    if agreed >= 3 {
        Finding::probable(Verdict::Equal, "same-up-to-a-constant")
    } else {
        Finding::unknown("no-common-domain")
    }
}

/// Two residue classes.
pub(crate) fn congruent(a: (&Expr, &Expr), b: (&Expr, &Expr), case: &Case<'_>) -> Finding {
    let (Some(left), Some(right)) = (a.1.as_number(), b.1.as_number()) else { return scalar::same(a.1, b.1, case) };
    if left != right {
        return Finding::proven(Verdict::Unequal, "other-modulus");
    }
    match (a.0.as_number(), b.0.as_number()) {
        (Some(x), Some(y)) if !left.is_zero() => {
            let same = ((x - y) / left).is_integer();
            Finding::proven(if same { Verdict::Equal } else { Verdict::Unequal }, "residues")
        }
        _ => progression(a, b.0).or_else(|| progression(b, a.0)).unwrap_or_else(|| scalar::same(a.0, b.0, case)),
    }
}

/// Whether `5k + 2` runs through the residue class; nothing where it is no such progression.
fn progression((residue, modulus): (&Expr, &Expr), terms: &Expr) -> Option<Finding> {
    let (residue, modulus) = (residue.as_number()?, modulus.as_number().filter(|modulus| !modulus.is_zero())?);
    let mut names = Vec::new();
    terms.symbols(&mut names);
    let [name] = names.as_slice() else { return None };
    let at = |index: i64| terms.substitute(name, &Expr::integer(index)).as_number().cloned();
    let (first, second, third) = (at(0)?, at(1)?, at(2)?);
    let step = &second - &first;
    let fits = third - &second == step && (&step == modulus || step == -modulus);
    let same = fits && ((first - residue) / modulus).is_integer();
    Some(Finding::probable(if same { Verdict::Equal } else { Verdict::Unequal }, "progression"))
}

/// Sets of residue classes, over their common modulus.
pub(crate) fn classes(a: &[Value], b: &[Value]) -> Option<Finding> {
    const MAX: i64 = 5000;
    let numbers = |members: &[Value]| {
        let each = members.iter().map(|member| {
            let Value::Congruence { value, modulus } = member else { return None };
            Some((value.as_small()?, modulus.as_small().filter(|modulus| (1..=MAX).contains(modulus))?))
        });
        each.collect::<Option<Vec<_>>>()
    };
    let (a, b) = (numbers(a)?, numbers(b)?);
    let common = a
        .iter()
        .chain(&b)
        .try_fold(1_i64, |all, (_, modulus)| Some(num_integer::lcm(all, *modulus)).filter(|all| *all <= MAX))?;
    let holds = |classes: &[(i64, i64)], number: i64| {
        classes.iter().any(|(value, modulus)| (number - value.rem_euclid(*modulus)).rem_euclid(*modulus) == 0)
    };
    let same = (0..common).all(|number| holds(&a, number) == holds(&b, number));
    Some(Finding::probable(if same { Verdict::Equal } else { Verdict::Unequal }, "residues"))
}

/// Two ratios, by their cross products.
pub(crate) fn ratios(a: &[Expr], b: &[Expr], case: &Case<'_>) -> Finding {
    if a.len() != b.len() {
        return Finding::proven(Verdict::Unequal, "other-number-of-parts");
    }
    let zero = |expr: &Expr| expr.as_number().is_some_and(Zero::is_zero);
    if a.iter().any(zero) || b.iter().any(zero) {
        return Finding::all(a.iter().zip(b).map(|(a, b)| scalar::same(a, b, case)));
    }
    let cross = |at: usize| {
        let left = Expr::product([a[0].clone(), b[at].clone()]);
        let right = Expr::product([a[at].clone(), b[0].clone()]);
        scalar::same(&left, &right, case)
    };
    Finding::all((1..a.len()).map(cross))
}

/// Two families over the integers: members near zero of each are looked for among those of the other.
pub(crate) fn families(a: (&Value, &str), b: (&Value, &str), case: &Case<'_>) -> Finding {
    const NEAR: i64 = 3;
    const FAR: i64 = 14;
    let members = |(value, parameter): (&Value, &str), reach: i64| -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        for index in -reach..=reach {
            expressions(value, &mut |expr| {
                for sign in expr.signs() {
                    all.push(sign.substitute(parameter, &Expr::integer(index)));
                }
            })?;
        }
        Some(all)
    };
    let all = [members(a, NEAR), members(b, FAR), members(b, NEAR), members(a, FAR)];
    let [Some(near_a), Some(far_b), Some(near_b), Some(far_a)] = all else { return Finding::unknown("family") };
    let contained = |near: &[Expr], far: &[Expr]| {
        Finding::all(near.iter().map(|member| {
            let mut result = Finding::proven(Verdict::Unequal, "member-missing");
            for other in far {
                let found = scalar::same(member, other, case);
                match found.verdict {
                    Verdict::Equal => return found,
                    Verdict::Unknown => result = found,
                    Verdict::Unequal => {}
                }
            }
            result
        }))
    };
    let there = contained(&near_a, &far_b);
    if there.verdict == Verdict::Unequal {
        return there;
    }
    let both = Finding::all([there, contained(&near_b, &far_a)].into_iter());
    if both.verdict == Verdict::Equal { Finding::probable(Verdict::Equal, "same-members") } else { both }
}

/// Every expression that is a member of `value`; nothing where it has other members.
fn expressions(value: &Value, each: &mut dyn FnMut(&Expr)) -> Option<()> {
    match value {
        Value::Scalar(scalar) => {
            let degree = scalar.unit.as_ref().is_some_and(|unit| unit.degree);
            if degree {
                let radians = [scalar.expr.clone(), Expr::Pi, Expr::Number(BigRational::new(1.into(), 180.into()))];
                each(&Expr::product(radians));
            } else {
                each(&scalar.expr);
            }
            Some(())
        }
        Value::Named { value, .. } => expressions(value, each),
        Value::Set { members, .. } | Value::Union(members) => {
            members.iter().try_for_each(|member| expressions(member, each))
        }
        _ => None,
    }
}

/// The definite integral of a polynomial, exactly; the expression itself where it is none.
pub(crate) fn integrated(expr: &Expr) -> Expr {
    expr.map(&|part| {
        let Expr::Series(series) = part else { return None };
        if series.kind != crate::expr::SeriesKind::Integral {
            return None;
        }
        let body = integrated(&series.body);
        if body.size() * (series.from.size() + series.to.size()) > MAX_SIZE {
            return None;
        }
        let primitive = primitive(&body, &series.index)?;
        let at = |bound: &Expr| primitive.substitute(&series.index, bound);
        Some(at(&series.to).minus(at(&series.from)))
    })
}

/// An antiderivative of sums of powers, sines, cosines and exponentials of the variable alone.
fn primitive(expr: &Expr, name: &str) -> Option<Expr> {
    let free = |expr: &Expr| {
        let mut names = Vec::new();
        expr.symbols(&mut names);
        !names.iter().any(|known| known == name)
    };
    let variable = Expr::symbol(name);
    if free(expr) {
        return Some(Expr::product([expr.clone(), variable]));
    }
    match expr {
        Expr::Symbol(_) => Some(Expr::product([Expr::power(variable, Expr::integer(2)), Expr::integer(2).inverse()])),
        Expr::Sum(terms) => terms.iter().map(|term| primitive(term, name)).collect::<Option<Vec<_>>>().map(Expr::sum),
        Expr::Product(factors) => {
            let (constants, rest): (Vec<_>, Vec<_>) = factors.iter().cloned().partition(free);
            let [one] = rest.as_slice() else { return None };
            Some(Expr::product(constants.into_iter().chain([primitive(one, name)?])))
        }
        Expr::Power(base, exponent) if **base == variable => {
            let power = exponent.as_number()?;
            let next = power + BigRational::from_integer(1.into());
            if next.is_zero() {
                return Some(Expr::apply(Function::Ln, vec![Expr::apply(Function::Abs, vec![variable])]));
            }
            Some(Expr::product([Expr::power(variable, Expr::Number(next.clone())), Expr::Number(next.recip())]))
        }
        Expr::Power(base, exponent) if **base == Expr::E && **exponent == variable => Some(expr.clone()),
        Expr::Apply(Function::Sin, parts) if parts[0] == variable => {
            Some(Expr::apply(Function::Cos, vec![variable]).negated())
        }
        Expr::Apply(Function::Cos, parts) if parts[0] == variable => Some(Expr::apply(Function::Sin, vec![variable])),
        _ => None,
    }
}
