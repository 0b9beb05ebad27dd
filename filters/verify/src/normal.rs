//! The normal form: an expression as a fraction of two polynomials over ℚ in atoms — variables, π, powers of e, roots of
//! primes, i, and whatever else stands for itself. Where the difference of two expressions has numerator zero, they are
//! proven equal, wherever both are defined.
//!
//! Exponents are rational: `x^(1/2)` is the atom `x` to the 1/2, which is sound on the principal branch. A product under
//! a root is pulled apart only where a factor is a positive number.

use crate::angle;
use crate::effort::{Effort, reduction};
use crate::expr::{Expr, Function, bits, plus, times};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::{BigRational, Ratio};
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::collections::BTreeMap;

/// More terms than this are not multiplied out.
const MAX_TERMS: usize = 400;
/// Steps for a term that is added or multiplied.
const STEP: u64 = 30;
/// Steps for a trial division.
const DIVISION: u64 = 3;
const MAX_EXPONENT: i64 = 64;

/// Atoms with their exponents, in order.
type Monomial = Vec<(u32, Ratio<i64>)>;

/// Terms with their coefficients.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Poly(BTreeMap<Monomial, BigRational>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fraction {
    above: Poly,
    below: Poly,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Atom {
    Symbol(String),
    Pi,
    E,
    I,
    Prime(u64),
    /// A function of normal forms.
    Applied(Function, Vec<Fraction>),
    /// What is raised to a fractional power and has no simpler form.
    Radicand(Fraction),
    /// A base raised to a monomial.
    Raised(Box<Atom>, Monomial),
}

/// Whether `a` and `b` are proven equal, or to differ by a number; nothing where neither is.
pub(crate) fn equal(a: &Expr, b: &Expr, effort: &Effort) -> Option<bool> {
    let mut forms = Forms { atoms: Vec::new(), effort };
    let (a, b) = (forms.fraction(a)?, forms.fraction(b)?);
    if a == b {
        return Some(true);
    }
    let left = forms.times(&a.above, &b.below)?;
    let right = forms.times(&b.above, &a.below)?;
    let difference = forms.plus(&left, &right, &-BigRational::one())?;
    let number = difference.single().is_some_and(|(monomial, _)| monomial.is_empty());
    let whole = a.below == one() && b.below == one();
    if difference.0.is_empty() { Some(true) } else { (number && whole).then_some(false) }
}

/// Whether `a` is proven to be `b` times a number other than zero. False says nothing.
pub(crate) fn proportional(a: &Expr, b: &Expr, effort: &Effort) -> bool {
    let mut forms = Forms { atoms: Vec::new(), effort };
    let (Some(a), Some(b)) = (forms.fraction(a), forms.fraction(b)) else { return false };
    let (a, b, below) = (a.above.0, b.above.0, a.below == b.below);
    let Some((monomial, value)) = a.iter().next() else { return false };
    let Some(factor) = b.get(monomial).map(|other| other / value) else { return false };
    below && a.len() == b.len() && a.iter().all(|(monomial, value)| b.get(monomial) == Some(&(value * &factor)))
}

/// Whether `a` and `b` are zero at the same places, as far as their numerators say: `xy − 1` and `y − 1/x`.
pub(crate) fn same_zeros(a: &Expr, b: &Expr, effort: &Effort) -> bool {
    let mut forms = Forms { atoms: Vec::new(), effort };
    let (Some(a), Some(b)) = (forms.fraction(a), forms.fraction(b)) else { return false };
    let (a, b) = (forms.cleared(&a.above), forms.cleared(&b.above));
    let Some((monomial, value)) = a.0.iter().next() else { return false };
    let Some(factor) = b.0.get(monomial).map(|other| other / value) else { return false };
    a.0.len() == b.0.len() && a.0.iter().all(|(monomial, value)| b.0.get(monomial) == Some(&(value * &factor)))
}

struct Forms<'e> {
    atoms: Vec<Atom>,
    effort: &'e Effort,
}

fn constant(value: BigRational) -> Poly {
    let mut poly = Poly::default();
    if !value.is_zero() {
        poly.0.insert(Vec::new(), value);
    }
    poly
}

fn one() -> Poly {
    constant(BigRational::one())
}

impl Poly {
    /// The only term, where there is one.
    fn single(&self) -> Option<(&Monomial, &BigRational)> {
        (self.0.len() == 1).then(|| self.0.iter().next()).flatten()
    }
}

impl Forms<'_> {
    fn spend(&mut self, steps: usize) -> Option<()> {
        self.effort.spend(u64::try_from(steps).ok()? * STEP)
    }

    fn atom(&mut self, atom: Atom) -> u32 {
        match self.atoms.iter().position(|known| *known == atom) {
            Some(at) => at as u32,
            None => {
                self.atoms.push(atom);
                self.atoms.len() as u32 - 1
            }
        }
    }

    fn alone(&mut self, atom: Atom, exponent: Ratio<i64>) -> Poly {
        let atom = self.atom(atom);
        Poly(BTreeMap::from([(vec![(atom, exponent)], BigRational::one())]))
    }

    fn plus(&mut self, a: &Poly, b: &Poly, scale: &BigRational) -> Option<Poly> {
        self.spend(a.0.len() + b.0.len())?;
        let mut sum = a.clone();
        for (monomial, value) in &b.0 {
            let entry = sum.0.entry(monomial.clone()).or_insert_with(BigRational::zero);
            *entry = plus(entry, &times(value, scale));
            if entry.is_zero() {
                sum.0.remove(monomial);
            }
        }
        (sum.0.len() <= MAX_TERMS).then_some(sum)
    }

    fn times(&mut self, a: &Poly, b: &Poly) -> Option<Poly> {
        self.spend(a.0.len() * b.0.len() + 1)?;
        let mut product = Poly::default();
        let mut extra = Vec::new();
        for (left, left_value) in &a.0 {
            for (right, right_value) in &b.0 {
                let mut value = times(left_value, right_value);
                let bits = bits(&value);
                if bits > 8192 {
                    return None;
                }
                if !value.is_integer() {
                    // Once for the product, once for the sum.
                    self.effort.spend(2 * reduction(bits))?;
                }
                let mut monomial = merged(left, right)?;
                let mut rest = None;
                monomial.retain_mut(|(atom, exponent)| {
                    match &self.atoms[*atom as usize] {
                        Atom::I => {
                            let power = exponent.to_integer().rem_euclid(4);
                            if power >= 2 {
                                value = -&value;
                            }
                            *exponent = Ratio::from_integer(power % 2);
                        }
                        Atom::Prime(prime) => {
                            let whole = exponent.floor();
                            let power = whole.to_integer();
                            if power.abs() < 4096 {
                                value *= num_traits::Pow::pow(BigRational::from_integer((*prime).into()), power as i32);
                                *exponent -= whole;
                            }
                        }
                        // √(…)² is what stood under the root.
                        Atom::Radicand(inner)
                            if *exponent >= Ratio::one() && inner.below == one() && rest.is_none() =>
                        {
                            rest = Some((inner.above.clone(), exponent.floor().to_integer()));
                            *exponent -= exponent.floor();
                        }
                        _ => {}
                    }
                    !exponent.is_zero()
                });
                match rest {
                    Some((inner, power)) if power <= 8 => extra.push((monomial, value, inner, power)),
                    Some(_) => return None,
                    None => {
                        let entry = product.0.entry(monomial).or_insert_with(BigRational::zero);
                        *entry = plus(entry, &value);
                    }
                }
            }
        }
        product.0.retain(|_, value| !value.is_zero());
        for (monomial, value, inner, power) in extra {
            let mut part = Poly(BTreeMap::from([(monomial, value)]));
            for _ in 0..power {
                part = self.times(&part, &inner)?;
            }
            product = self.plus(&product, &part, &BigRational::one())?;
        }
        (product.0.len() <= MAX_TERMS).then_some(product)
    }

    /// Multiplied by the variables that its terms are divided by.
    fn cleared(&self, poly: &Poly) -> Poly {
        let mut lowest: BTreeMap<u32, Ratio<i64>> = BTreeMap::new();
        for (atom, exponent) in poly.0.keys().flatten() {
            let symbol = matches!(self.atoms[*atom as usize], Atom::Symbol(_));
            if symbol && *exponent < Ratio::zero() {
                let entry = lowest.entry(*atom).or_insert(*exponent);
                *entry = (*entry).min(*exponent);
            }
        }
        let factor: Monomial = lowest.into_iter().map(|(atom, exponent)| (atom, -exponent)).collect();
        let raised = poly.0.iter().filter_map(|(monomial, value)| {
            let mut product = merged(monomial, &factor)?;
            product.retain(|(_, exponent)| !exponent.is_zero());
            Some((product, value.clone()))
        });
        Poly(raised.collect())
    }

    fn multiply(&mut self, a: &Fraction, b: &Fraction) -> Option<Fraction> {
        let above = self.times(&a.above, &b.above)?;
        let below = self.times(&a.below, &b.below)?;
        self.simplified(above, below)
    }

    /// A denominator of one term goes into the numerator.
    fn simplified(&mut self, above: Poly, below: Poly) -> Option<Fraction> {
        if above.0.is_empty() {
            return (!below.0.is_empty()).then(|| Fraction { above, below: one() });
        }
        let Some((monomial, value)) = below.single() else {
            return (!below.0.is_empty()).then_some(Fraction { above, below });
        };
        let plain = monomial.iter().all(|(atom, _)| !matches!(self.atoms[*atom as usize], Atom::Radicand(_)));
        if !plain {
            return Some(Fraction { above, below });
        }
        let inverse: Monomial = monomial.iter().map(|(atom, exponent)| (*atom, -exponent)).collect();
        let factor = Poly(BTreeMap::from([(inverse, value.recip())]));
        Some(Fraction { above: self.times(&above, &factor)?, below: one() })
    }

    fn fraction(&mut self, expr: &Expr) -> Option<Fraction> {
        self.spend(1)?;
        let whole = |above: Poly| Some(Fraction { above, below: one() });
        match expr {
            Expr::Number(value) => whole(constant(value.clone())),
            Expr::Pi => whole(self.alone(Atom::Pi, Ratio::one())),
            Expr::E => whole(self.alone(Atom::E, Ratio::one())),
            Expr::I => whole(self.alone(Atom::I, Ratio::one())),
            Expr::Symbol(name) => whole(self.alone(Atom::Symbol(name.clone()), Ratio::one())),
            Expr::Sum(terms) => {
                let mut sum = Fraction { above: Poly::default(), below: one() };
                for term in terms {
                    let next = self.fraction(term)?;
                    sum = if sum.below == next.below {
                        Fraction { above: self.plus(&sum.above, &next.above, &BigRational::one())?, below: sum.below }
                    } else {
                        let left = self.times(&sum.above, &next.below)?;
                        let right = self.times(&next.above, &sum.below)?;
                        let below = self.times(&sum.below, &next.below)?;
                        Fraction { above: self.plus(&left, &right, &BigRational::one())?, below }
                    };
                }
                self.simplified(sum.above, sum.below)
            }
            Expr::Product(factors) => {
                let mut product = Fraction { above: one(), below: one() };
                for factor in factors {
                    let next = self.fraction(factor)?;
                    product = self.multiply(&product, &next)?;
                }
                Some(product)
            }
            Expr::Power(base, exponent) => match exponent.as_number() {
                Some(power) => {
                    let base = self.fraction(base)?;
                    self.rational_power(base, power)
                }
                None => self.symbolic_power(base, exponent),
            },
            Expr::Apply(Function::Root, parts) => {
                let index = parts.get(1)?.as_number().filter(|index| !index.is_zero())?;
                let base = self.fraction(&parts[0])?;
                self.rational_power(base, &index.recip())
            }
            Expr::Apply(Function::Ln, parts) if parts[0].as_number().is_some_and(Signed::is_positive) => {
                // ln of a fraction: a sum over its primes.
                let mut sum = Poly::default();
                for (prime, power) in factored(parts[0].as_number()?, self.effort)? {
                    let prime = Fraction { above: constant(BigRational::from_integer(prime.into())), below: one() };
                    let ln = self.alone(Atom::Applied(Function::Ln, vec![prime]), Ratio::one());
                    sum = self.plus(&sum, &ln, &BigRational::from_integer(power.into()))?;
                }
                whole(sum)
            }
            Expr::Apply(function @ (Function::Sin | Function::Cos | Function::Tan), parts)
                if angle::turns(&parts[0]).is_some_and(|turns| angle::exact(*function, &turns).is_some()) =>
            {
                let turns = angle::turns(&parts[0])?;
                self.fraction(&angle::exact(*function, &turns)?)
            }
            Expr::Apply(function, parts) => {
                let parts = parts.iter().map(|part| self.fraction(part)).collect::<Option<Vec<_>>>()?;
                whole(self.alone(Atom::Applied(*function, parts), Ratio::one()))
            }
            Expr::Infinity | Expr::Sign(_) | Expr::Call(..) | Expr::Series(_) => None,
        }
    }

    fn rational_power(&mut self, base: Fraction, power: &BigRational) -> Option<Fraction> {
        if power.is_integer() {
            let count = power.numer().to_i64().filter(|count| count.abs() <= MAX_EXPONENT)?;
            let base = if count < 0 { self.simplified(base.below, base.above)? } else { base };
            let mut result = Fraction { above: one(), below: one() };
            for _ in 0..count.unsigned_abs() {
                result = self.multiply(&result, &base)?;
            }
            return Some(result);
        }
        let power = small(Ratio::new(power.numer().to_i64()?, power.denom().to_i64()?))?;
        if power.denom() > &64 || power.numer().abs() > 4096 {
            return None;
        }
        if base.below == one()
            && let Some((monomial, value)) = base.above.single()
        {
            // Positive numbers leave the root, and so does what is positive by nature.
            let mut result = self.number_power(value, power)?;
            let simple = monomial.len() <= 1
                && monomial
                    .iter()
                    .all(|(atom, exponent)| matches!(self.atoms[*atom as usize], Atom::Symbol(_)) && exponent.is_one());
            let positive = monomial
                .iter()
                .all(|(atom, _)| matches!(self.atoms[*atom as usize], Atom::Pi | Atom::E | Atom::Prime(_)));
            if (value.is_positive() && simple) || positive {
                let raised = monomial.iter().map(|(atom, exponent)| Some((*atom, small(exponent * power)?)));
                let raised: Monomial = raised.collect::<Option<_>>()?;
                let factor = Poly(BTreeMap::from([(raised, BigRational::one())]));
                result = self.times(&result, &factor)?;
                return Some(Fraction { above: result, below: one() });
            }
            if value.is_positive() {
                let inner =
                    Fraction { above: Poly(BTreeMap::from([(monomial.clone(), BigRational::one())])), below: one() };
                let root = self.alone(Atom::Radicand(inner), power);
                return Some(Fraction { above: self.times(&result, &root)?, below: one() });
            }
        }
        // A positive content leaves the root, so that √(4x + 4) is 2√(x + 1).
        let content = base.above.0.values().next_back().map(|value| value.abs()).filter(|value| !value.is_zero())?;
        let scaled = self.plus(&Poly::default(), &base.above, &content.recip())?;
        let outer = self.number_power(&content, power)?;
        let root = self.alone(Atom::Radicand(Fraction { above: scaled, below: base.below }), power);
        Some(Fraction { above: self.times(&outer, &root)?, below: one() })
    }

    /// A number to a fractional power, by its primes; i for the square root of −1.
    fn number_power(&mut self, value: &BigRational, power: Ratio<i64>) -> Option<Poly> {
        let mut result = one();
        if value.is_negative() {
            let sign = match power.denom() {
                2 => {
                    let i = self.alone(Atom::I, Ratio::one());
                    let mut sign = one();
                    for _ in 0..power.numer().rem_euclid(4) {
                        sign = self.times(&sign, &i)?;
                    }
                    sign
                }
                // The real root.
                odd if odd % 2 == 1 => {
                    constant(BigRational::from_integer(if power.numer() % 2 == 0 { 1 } else { -1 }.into()))
                }
                _ => return None,
            };
            result = self.times(&result, &sign)?;
        }
        for (prime, exponent) in factored(&value.abs(), self.effort)? {
            let exponent = small(small(Ratio::from_integer(exponent))? * power)?;
            let root = self.alone(Atom::Prime(prime), exponent);
            result = self.times(&result, &root)?;
        }
        Some(result)
    }

    /// `b^(m₁ + m₂ + …)` as a product of atoms `b^m`, their coefficients as exponents.
    fn symbolic_power(&mut self, base: &Expr, exponent: &Expr) -> Option<Fraction> {
        // Euler: e^(iφ) = cos φ + i sin φ.
        if *base == Expr::E
            && let Some(turns) = angle::imaginary_turns(exponent)
            && let (Some(cos), Some(sin)) = (angle::exact(Function::Cos, &turns), angle::exact(Function::Sin, &turns))
        {
            return self.fraction(&Expr::sum([cos, Expr::product([Expr::I, sin])]));
        }
        let exponent = self.fraction(exponent)?;
        if exponent.below != one() {
            return None;
        }
        let bases: Vec<(Atom, i64)> = match base {
            Expr::E => vec![(Atom::E, 1)],
            Expr::Number(value) if value.is_positive() => {
                factored(value, self.effort)?.into_iter().map(|(prime, power)| (Atom::Prime(prime), power)).collect()
            }
            Expr::Symbol(name) => vec![(Atom::Symbol(name.clone()), 1)],
            _ => return None,
        };
        let mut result = one();
        for (atom, power) in bases {
            for (monomial, value) in &exponent.above.0 {
                let coefficient = small(Ratio::new(value.numer().to_i64()?, value.denom().to_i64()?))?;
                let coefficient = small(coefficient * small(Ratio::from_integer(power))?)?;
                let factor = if monomial.is_empty() {
                    self.alone(atom.clone(), coefficient)
                } else {
                    self.alone(Atom::Raised(Box::new(atom.clone()), monomial.clone()), coefficient)
                };
                result = self.times(&result, &factor)?;
            }
        }
        Some(Fraction { above: result, below: one() })
    }
}

fn merged(a: &Monomial, b: &Monomial) -> Option<Monomial> {
    let mut all: BTreeMap<u32, Ratio<i64>> = a.iter().copied().collect();
    for (atom, exponent) in b {
        let sum = all.entry(*atom).or_insert_with(Ratio::zero);
        *sum = small(*sum + exponent)?;
    }
    Some(all.into_iter().filter(|(_, exponent)| !exponent.is_zero()).collect())
}

/// An exponent that can be added and multiplied once more without leaving `i64`.
fn small(exponent: Ratio<i64>) -> Option<Ratio<i64>> {
    const MOST: i64 = 1 << 20;
    (exponent.numer().abs() <= MOST && *exponent.denom() <= MOST).then_some(exponent)
}

/// Prime factors of a positive fraction, where trial division finds them all.
fn factored(value: &BigRational, effort: &Effort) -> Option<Vec<(u64, i64)>> {
    let mut factors = Vec::new();
    for (number, sign) in [(value.numer(), 1), (value.denom(), -1)] {
        let mut rest = number.clone();
        let mut prime = 2_u64;
        while !rest.is_one() {
            effort.spend(DIVISION * (2 + rest.bits() / 64))?;
            let square = BigInt::from(prime) * prime;
            if square > rest {
                factors.push((rest.to_u64()?, sign));
                break;
            }
            let mut count = 0;
            loop {
                let (quotient, remainder) = rest.div_rem(&BigInt::from(prime));
                if !remainder.is_zero() {
                    break;
                }
                rest = quotient;
                count += 1;
            }
            if count > 0 {
                factors.push((prime, count * sign));
            }
            prime += 1 + prime % 2;
            if prime > 2000 {
                // What is left is a prime if it is small enough; else it is not known to be one.
                if !rest.is_one() {
                    let small = rest.to_u64().filter(|rest| *rest < 4_000_000)?;
                    factors.push((small, sign));
                }
                break;
            }
        }
    }
    Some(factors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{Value, read};

    fn expr(text: &str) -> Expr {
        match read(text, crate::read::token::Mode::default()).values.first() {
            Some(Value::Scalar(scalar)) => scalar.expr.clone(),
            other => panic!("{text} is read as {other:?}"),
        }
    }

    #[test]
    fn proven_equal() {
        for (a, b) in [
            ("(x+1)(x-1)", "x^2-1"),
            ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"),
            ("\\sqrt{12}", "2\\sqrt{3}"),
            ("\\frac{1}{\\sqrt3-\\sqrt2}", "\\sqrt3+\\sqrt2"),
            ("(1+i)^2", "2i"),
            ("2^{x+1}", "2\\cdot 2^x"),
            ("e^{2x}", "(e^x)^2"),
            ("\\ln 6", "\\ln 2+\\ln 3"),
            ("\\sqrt{4x+4}", "2\\sqrt{x+1}"),
            ("\\sqrt{x+1}^2", "x+1"),
            ("\\sqrt[3]{-8}", "-2"),
            ("\\sqrt{-4}", "2i"),
            ("\\frac{1}{x}+\\frac1y", "\\frac{x+y}{xy}"),
        ] {
            assert_eq!(equal(&expr(a), &expr(b), &Effort::new()), Some(true), "{a} and {b}");
        }
    }

    #[test]
    fn what_differs_is_never_proven_equal() {
        for (a, b) in [
            ("\\sqrt{x^2}", "x"),
            ("\\sqrt{xy}", "\\sqrt{x}\\sqrt{y}"),
            ("\\ln(x^2)", "2\\ln x"),
            ("\\sqrt{2}", "\\sqrt{3}"),
            ("2^x 3^x", "5^x"),
            ("i", "-i"),
            ("\\sqrt{(x-1)^2}", "x-1"),
            ("(-1)^{2/3}", "-1"),
        ] {
            assert_ne!(equal(&expr(a), &expr(b), &Effort::new()), Some(true), "{a} and {b}");
        }
    }
}
