//! The value of an expression at a point, as a ball, within a number of steps.

use super::complex::{Complex, MAX_POWER};
use super::{Fault, Real};
use crate::effort::{Effort, reduction};
use crate::expr::{Expr, Function, MAX_FACTORIAL, Series, SeriesKind, plus, times};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// Values of the variables: name, real and imaginary part.
pub(crate) type Point = Vec<(String, BigRational, BigRational)>;

/// The largest exact result, in bits.
const MAX_EXACT: u64 = 1 << 16;
/// Steps for a factor of a factorial.
const FACTOR: u64 = 60;
/// Larger exponents are balls, in bits.
const MAX_EXPONENT: u64 = 512;
/// The longest sum that is added up.
const MAX_TERMS: i64 = 2000;

/// `expr` at `point` to about `bits` bits.
pub(crate) fn evaluate<R: Real>(expr: &Expr, point: &Point, bits: u32, effort: &Effort) -> Result<Complex<R>, Fault> {
    let spend = |steps: u64| effort.spend(steps).ok_or(Fault::Unclear);
    spend(R::operation(bits))?;
    // Elementary functions within: a power is exp(n·ln x), and complex ones take two real ones each.
    let elementary = match expr {
        Expr::E | Expr::Pi => 1,
        Expr::Power(_, exponent) if exponent.as_small().is_none_or(|power| power.abs() > MAX_POWER) => 6,
        // By complex logarithms and roots.
        Expr::Apply(Function::Asin | Function::Acos | Function::Atan, _) => 8,
        Expr::Apply(Function::Abs | Function::Floor | Function::Ceiling, _) => 0,
        Expr::Apply(..) => 2,
        _ => 0,
    };
    if elementary > 0 {
        spend(elementary * R::elementary(bits))?;
    }
    let rational = |value: i64| Complex::<R>::rational(&BigRational::from_integer(value.into()), bits);
    match expr {
        Expr::Number(value) => Complex::rational(value, bits),
        Expr::Pi => Complex::real(R::pi(bits), bits),
        Expr::E => rational(1)?.exp(),
        Expr::I => Ok(Complex { re: rational(0)?.re, im: rational(1)?.re }),
        Expr::Infinity | Expr::Sign(_) => Err(Fault::Undefined),
        // A function that nothing here can compute.
        Expr::Call(..) => Err(Fault::Unclear),
        Expr::Symbol(name) => {
            let (_, re, im) = point.iter().find(|(known, ..)| known == name).ok_or(Fault::Unclear)?;
            Ok(Complex { re: R::rational(re, bits)?, im: R::rational(im, bits)? })
        }
        Expr::Sum(terms) => {
            let mut sum = rational(0)?;
            for term in terms {
                sum = sum.add(&evaluate(term, point, bits, effort)?);
            }
            Ok(sum)
        }
        Expr::Product(factors) => {
            let mut product = rational(1)?;
            for factor in factors {
                product = product.mul(&evaluate(factor, point, bits, effort)?)?;
            }
            Ok(product)
        }
        Expr::Power(base, exponent) => match (&**base, &**exponent) {
            (Expr::E, exponent) => evaluate(exponent, point, bits, effort)?.exp(),
            (base, Expr::Number(power)) => evaluate(base, point, bits, effort)?.rational_power(power, bits),
            (base, exponent) => {
                let base = evaluate(base, point, bits, effort)?;
                match exact_within(exponent, point, MAX_EXPONENT, effort) {
                    Some(power) => base.rational_power(&power, bits),
                    None => base.power(&evaluate(exponent, point, bits, effort)?, bits),
                }
            }
        },
        Expr::Apply(function, arguments) => apply(*function, arguments, point, bits, effort),
        Expr::Series(series) => add_up(series, point, bits, effort),
    }
}

fn apply<R: Real>(
    function: Function,
    arguments: &[Expr],
    point: &Point,
    bits: u32,
    effort: &Effort,
) -> Result<Complex<R>, Fault> {
    let whole = |value: BigInt| Complex::<R>::rational(&BigRational::from_integer(value), bits);
    // A factor multiplied onto a large integer.
    let spend_on = |factors: &BigInt| {
        let count = factors.to_u32().unwrap_or(0).min(MAX_FACTORIAL);
        effort.spend(u64::from(count) * FACTOR).ok_or(Fault::Unclear)
    };
    let integers = || {
        arguments
            .iter()
            .map(|argument| {
                exact(argument, point, effort).filter(BigRational::is_integer).map(|value| value.to_integer())
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(Fault::Unclear)
    };
    match function {
        Function::Factorial => {
            let count = integers()?[0].clone();
            if count.is_negative() {
                return Err(Fault::Undefined);
            }
            spend_on(&count)?;
            return whole(factorial(&count)?);
        }
        Function::DoubleFactorial => {
            let count =
                integers()?[0].to_i64().filter(|count| *count <= i64::from(MAX_FACTORIAL)).ok_or(Fault::Unclear)?;
            if count < -1 {
                return Err(Fault::Undefined);
            }
            spend_on(&BigInt::from(count.max(0)))?;
            let steps = (0..).map(|step| count - 2 * step).take_while(|factor| *factor > 1);
            return whole(steps.fold(BigInt::one(), |product, factor| product * factor));
        }
        Function::Binomial => {
            let both = integers()?;
            spend_on(&both[1])?;
            return whole(binomial(&both[0], &both[1])?);
        }
        Function::Gcd => return whole(integers()?.into_iter().fold(BigInt::zero(), |a, b| a.gcd(&b))),
        Function::Lcm => return whole(integers()?.into_iter().fold(BigInt::one(), |a, b| a.lcm(&b))),
        _ => {}
    }
    let values = arguments.iter().map(|part| evaluate(part, point, bits, effort)).collect::<Result<Vec<_>, _>>()?;
    let value: &Complex<R> = values.first().ok_or(Fault::Unclear)?;
    match function {
        Function::Sin => Ok(value.sin_cos(bits)?.0),
        Function::Cos => Ok(value.sin_cos(bits)?.1),
        Function::Tan => {
            let (sin, cos) = value.sin_cos(bits)?;
            sin.mul(&cos.inverse()?)
        }
        Function::Asin => value.asin(bits),
        Function::Acos => value.acos(bits),
        Function::Atan => value.atan(bits),
        Function::Sinh => Ok(value.sinh_cosh(bits)?.0),
        Function::Cosh => Ok(value.sinh_cosh(bits)?.1),
        Function::Tanh => {
            let (sinh, cosh) = value.sinh_cosh(bits)?;
            sinh.mul(&cosh.inverse()?)
        }
        Function::Asinh | Function::Acosh | Function::Atanh => {
            let one = Complex::rational(&BigRational::one(), bits)?;
            match function {
                // ln(z + √(z² + 1))
                Function::Asinh => value.add(&value.mul(value)?.add(&one).sqrt(bits)?).ln(bits),
                // ln(z + √(z + 1)·√(z − 1))
                Function::Acosh => {
                    let root = value.add(&one).sqrt(bits)?.mul(&value.add(&one.neg()).sqrt(bits)?)?;
                    value.add(&root).ln(bits)
                }
                // (ln(1 + z) − ln(1 − z)) / 2
                _ => {
                    let difference = one.add(value).ln(bits)?.add(&one.add(&value.neg()).ln(bits)?.neg());
                    difference.mul(&Complex::rational(&BigRational::new(1.into(), 2.into()), bits)?)
                }
            }
        }
        Function::Ln => value.ln(bits),
        Function::Abs => Complex::real(value.abs()?, bits),
        Function::Conjugate => Ok(Complex { re: value.re.clone(), im: value.im.neg() }),
        Function::Re => Complex::real(value.re.clone(), bits),
        Function::Im => Complex::real(value.im.clone(), bits),
        Function::Floor | Function::Ceiling => {
            if !value.is_real() {
                return Err(Fault::Undefined);
            }
            if function == Function::Floor {
                whole(value.re.floor().ok_or(Fault::Unclear)?)
            } else {
                whole(-value.re.neg().floor().ok_or(Fault::Unclear)?)
            }
        }
        Function::Min | Function::Max => {
            let mut best = value.clone();
            for other in &values[1..] {
                let order = best.re.add(&other.re.neg()).sign().ok_or(Fault::Unclear)?;
                if (order == Ordering::Greater) == (function == Function::Min) {
                    best = other.clone();
                }
            }
            if values.iter().all(Complex::is_real) { Ok(best) } else { Err(Fault::Undefined) }
        }
        Function::Root => {
            let index = arguments.get(1).and_then(|index| exact(index, point, effort)).ok_or(Fault::Unclear)?;
            if index.is_zero() {
                return Err(Fault::Undefined);
            }
            value.rational_power(&index.recip(), bits)
        }
        Function::Factorial | Function::DoubleFactorial | Function::Binomial | Function::Gcd | Function::Lcm => {
            Err(Fault::Unclear)
        }
    }
}

/// The exact value of an expression that is plainly rational at this point.
pub(crate) fn exact(expr: &Expr, point: &Point, effort: &Effort) -> Option<BigRational> {
    exact_within(expr, point, MAX_EXACT, effort)
}

/// The same, with no number of more than `most` bits on the way.
fn exact_within(expr: &Expr, point: &Point, most: u64, effort: &Effort) -> Option<BigRational> {
    let inner = |expr: &Expr| exact_within(expr, point, most, effort);
    // Every result is brought to lowest terms, which is what costs.
    let small = |value: BigRational| {
        let bits = crate::expr::bits(&value);
        effort.spend(reduction(bits))?;
        (bits <= most).then_some(value)
    };
    match expr {
        Expr::Number(value) => Some(value.clone()),
        Expr::Symbol(name) => {
            point.iter().find(|(known, _, im)| known == name && im.is_zero()).map(|(_, re, _)| re.clone())
        }
        Expr::Sum(terms) => terms.iter().try_fold(BigRational::zero(), |sum, term| small(plus(&sum, &inner(term)?))),
        Expr::Product(factors) => {
            factors.iter().try_fold(BigRational::one(), |product, factor| small(times(&product, &inner(factor)?)))
        }
        Expr::Power(base, exponent) => {
            let (base, exponent) = (inner(base)?, inner(exponent)?);
            let count = exponent.numer().to_i32().filter(|_| exponent.is_integer())?;
            let small = crate::expr::bits(&base).saturating_mul(u64::from(count.unsigned_abs())) <= most;
            (small && !(base.is_zero() && count <= 0)).then(|| num_traits::Pow::pow(base, count))
        }
        Expr::Apply(Function::Factorial, parts) => {
            let count = inner(parts.first()?).filter(BigRational::is_integer)?.to_integer();
            let small = count.to_u64().filter(|count| *count <= most / 8)?;
            effort.spend(small * FACTOR)?;
            factorial(&count).ok().map(BigRational::from_integer)
        }
        _ => None,
    }
}

fn factorial(count: &BigInt) -> Result<BigInt, Fault> {
    let count = count.to_u32().filter(|count| *count <= MAX_FACTORIAL).ok_or(Fault::Unclear)?;
    Ok((1..=count).fold(BigInt::one(), |product, factor| product * factor))
}

fn binomial(top: &BigInt, bottom: &BigInt) -> Result<BigInt, Fault> {
    if bottom.is_negative() {
        return Ok(BigInt::zero());
    }
    // The shorter way round, where there is one.
    let other = top - bottom;
    let count = if other.is_negative() { bottom.clone() } else { bottom.clone().min(other) };
    let count = count.to_u32().filter(|count| *count <= MAX_FACTORIAL).ok_or(Fault::Unclear)?;
    if top.bits() > 64 {
        return Err(Fault::Unclear);
    }
    Ok((0..count).fold(BigInt::one(), |product, index| product * (top - index) / (index + 1)))
}

fn add_up<R: Real>(series: &Series, point: &Point, bits: u32, effort: &Effort) -> Result<Complex<R>, Fault> {
    if series.kind == SeriesKind::Integral {
        return Err(Fault::Unclear);
    }
    let bound = |expr: &Expr| {
        exact(expr, point, effort)
            .filter(BigRational::is_integer)
            .and_then(|value| value.to_integer().to_i64())
            .ok_or(Fault::Unclear)
    };
    let (from, to) = (bound(&series.from)?, bound(&series.to)?);
    if to.checked_sub(from).is_none_or(|count| count > MAX_TERMS) {
        return Err(Fault::Unclear);
    }
    let start = i64::from(series.kind == SeriesKind::Product);
    let mut total = Complex::rational(&BigRational::from_integer(start.into()), bits)?;
    let mut inner: Point = point.iter().filter(|(name, ..)| *name != series.index).cloned().collect();
    inner.push((series.index.clone(), BigRational::zero(), BigRational::zero()));
    for index in from..=to {
        if let Some(last) = inner.last_mut() {
            last.1 = BigRational::from_integer(index.into());
        }
        let term = evaluate(&series.body, &inner, bits, effort)?;
        total = if series.kind == SeriesKind::Sum { total.add(&term) } else { total.mul(&term)? };
    }
    Ok(total)
}
