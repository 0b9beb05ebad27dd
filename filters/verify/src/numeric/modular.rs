//! Rational functions modulo a prime: a difference there proves that two expressions differ, however large their
//! numbers are.
//!
//! Two rational functions over ℚ that agree as functions agree modulo every prime at every point where both are defined
//! there. So one point of disagreement is a proof.

use crate::expr::{Expr, bits};
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::ToPrimitive;

/// The two largest primes below 2^61.
pub(crate) const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 61) - 31];

/// `expr` modulo `prime`, variables valued by `value`; nothing where it is undefined there or not a rational function.
pub(crate) fn evaluate(expr: &Expr, prime: u64, value: &dyn Fn(&str) -> u64) -> Option<u64> {
    match expr {
        Expr::Number(number) => {
            let numerator = reduce(number.numer(), prime)?;
            let denominator = reduce(number.denom(), prime)?;
            Some(times(numerator, inverse(denominator, prime)?, prime))
        }
        Expr::Symbol(name) => Some(value(name) % prime),
        Expr::Sum(terms) => terms.iter().try_fold(0, |sum, term| Some((sum + evaluate(term, prime, value)?) % prime)),
        Expr::Product(factors) => {
            factors.iter().try_fold(1, |product, factor| Some(times(product, evaluate(factor, prime, value)?, prime)))
        }
        Expr::Power(base, exponent) => {
            let exponent = exponent.as_number().filter(|power| power.is_integer() && bits(power) < 4096)?;
            let base = evaluate(base, prime, value)?;
            // Fermat: exponents count modulo p − 1, for what is not zero.
            if base == 0 {
                return (exponent.numer() > &BigInt::from(0)).then_some(0);
            }
            Some(power(base, exponent.numer().mod_floor(&BigInt::from(prime - 1)).to_u64()?, prime))
        }
        _ => None,
    }
}

fn reduce(value: &BigInt, prime: u64) -> Option<u64> {
    value.mod_floor(&BigInt::from(prime)).to_u64()
}

fn times(a: u64, b: u64, prime: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(prime)) as u64
}

fn power(mut base: u64, mut exponent: u64, prime: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, base, prime);
        }
        base = times(base, base, prime);
        exponent >>= 1;
    }
    result
}

fn inverse(value: u64, prime: u64) -> Option<u64> {
    (value != 0).then(|| power(value, prime - 2, prime))
}
