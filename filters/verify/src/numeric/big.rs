//! Balls of any precision: integers in units of 2^-bits, with an integer bound on the error.
//!
//! Elementary functions are power series after argument reduction, computed with 64 guard bits and more where the
//! result is large, so that what they lose stays under the two units that are added to the bound.

use super::{Fault, Real};
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// Values beyond 2^this are not followed.
const MAX_MAGNITUDE: u64 = 20_000;
const GUARD: u32 = 64;
/// Angles beyond 2^this are not reduced: each bit of them costs one of precision.
const MAX_ANGLE: u32 = 256;
/// e is raised to no larger power.
const MAX_EXPONENT: i64 = 1000;

/// Middle and bound, both in units of 2^-bits.
#[derive(Clone, Debug)]
pub(crate) struct Big {
    middle: BigInt,
    bound: BigInt,
    bits: u32,
}

impl Big {
    fn new(middle: BigInt, bound: BigInt, bits: u32) -> Result<Big, Fault> {
        let fits = middle.bits().max(bound.bits()) <= MAX_MAGNITUDE + u64::from(bits);
        fits.then_some(Big { middle, bound, bits }).ok_or(Fault::Unclear)
    }

    fn is_exact_zero(&self) -> bool {
        self.middle.is_zero() && self.bound.is_zero()
    }

    /// The middle in units of 2^-(bits + guard).
    fn widened(&self, guard: u32) -> BigInt {
        &self.middle << guard
    }
}

impl Real for Big {
    fn operation(bits: u32) -> u64 {
        let words = u64::from(bits / 64);
        30 + words * words / 10
    }

    fn elementary(bits: u32) -> u64 {
        // Terms in proportion to the bits, each a product; measured: 20 µs at 256 bits, 150 at 1,024, 3,000 at 4,096.
        let bits = u64::from(bits);
        200 + bits * 3 / 5 * (10 + bits / 64 * (bits / 64) / 40)
    }

    fn rational(value: &BigRational, bits: u32) -> Result<Self, Fault> {
        if value.numer().bits() > MAX_MAGNITUDE || value.denom().bits() > MAX_MAGNITUDE {
            return Err(Fault::Unclear);
        }
        let (middle, rest) = (value.numer() << bits).div_mod_floor(value.denom());
        Big::new(middle, BigInt::from(u8::from(!rest.is_zero())), bits)
    }

    fn pi(bits: u32) -> Self {
        Big { middle: pi(bits + GUARD) >> GUARD, bound: BigInt::from(2), bits }
    }

    fn add(&self, other: &Self) -> Self {
        Big { middle: &self.middle + &other.middle, bound: &self.bound + &other.bound, bits: self.bits }
    }

    fn neg(&self) -> Self {
        Big { middle: -&self.middle, bound: self.bound.clone(), bits: self.bits }
    }

    fn mul(&self, other: &Self) -> Result<Self, Fault> {
        if self.is_exact_zero() || other.is_exact_zero() {
            return Ok(Big { middle: BigInt::zero(), bound: BigInt::zero(), bits: self.bits });
        }
        let bound = self.middle.abs() * &other.bound + other.middle.abs() * &self.bound + &self.bound * &other.bound;
        Big::new((&self.middle * &other.middle) >> self.bits, (bound >> self.bits) + 2, self.bits)
    }

    fn inverse(&self) -> Result<Self, Fault> {
        if self.is_exact_zero() {
            return Err(Fault::Undefined);
        }
        let size = self.middle.abs();
        let least = &size - &self.bound;
        if !least.is_positive() {
            return Err(Fault::Unclear);
        }
        let one = BigInt::one() << (2 * self.bits);
        let bound = &self.bound * &one / (size * least) + 2;
        Big::new(one / &self.middle, bound, self.bits)
    }

    fn sqrt(&self) -> Result<Self, Fault> {
        if self.is_exact_zero() {
            return Ok(self.clone());
        }
        let root = |value: BigInt| (value.max(BigInt::zero()) << self.bits).sqrt();
        let (low, high) = (root(&self.middle - &self.bound), root(&self.middle + &self.bound) + 1);
        Big::new((&low + &high) >> 1, ((high - low) >> 1) + 2, self.bits)
    }

    fn exp(&self) -> Result<Self, Fault> {
        let whole = (&self.middle >> self.bits).to_i64().ok_or(Fault::Unclear)?;
        if whole.abs() > MAX_EXPONENT || self.bound.bits() > u64::from(self.bits) {
            return Err(Fault::Unclear);
        }
        // A large result magnifies the error of its exponent: 2^(1.45·x) fits into 3/2·x further bits.
        let guard = GUARD + u32::try_from(whole.max(0)).unwrap_or(0) * 3 / 2;
        let bits = self.bits + guard;
        let halvings = 8 + (64 - whole.unsigned_abs().leading_zeros());
        let small = self.widened(guard) >> halvings;
        let mut term = BigInt::one() << bits;
        let mut sum = term.clone();
        let mut index = 1_u32;
        while !term.is_zero() && term != BigInt::from(-1) {
            term = ((term * &small) >> bits) / index;
            sum += &term;
            index += 1;
        }
        for _ in 0..halvings {
            sum = (&sum * &sum) >> bits;
        }
        let middle = sum >> guard;
        // e^(m±r) is within e^m·2r of e^m for r up to 1.
        let bound = (((&middle + 2) * &self.bound) >> (self.bits - 1)) + 2;
        Big::new(middle, bound, self.bits)
    }

    fn ln(&self) -> Result<Self, Fault> {
        let least = &self.middle - &self.bound;
        if !least.is_positive() {
            return Err(Fault::Unclear);
        }
        let bits = self.bits + GUARD;
        let value = self.widened(GUARD);
        // value = mantissa · 2^shift, the mantissa in [1, 2).
        let shift = i64::try_from(value.bits()).unwrap_or(i64::MAX) - i64::from(bits) - 1;
        let mantissa = if shift >= 0 { &value >> shift } else { &value << -shift };
        let one = BigInt::one() << bits;
        let ratio = ((&mantissa - &one) << bits) / (&mantissa + &one);
        let middle = (atanh_series(&ratio, bits) << 1) + ln_2(bits) * shift;
        // A mantissa cut off to the right lost less than a unit of 2^-bits, relatively.
        let bound = (&self.bound << self.bits) / least + 2;
        Big::new(middle >> GUARD, bound, self.bits)
    }

    fn sin_cos(&self) -> Result<(Self, Self), Fault> {
        let magnitude = self.middle.bits().saturating_sub(u64::from(self.bits)) as u32;
        if magnitude > MAX_ANGLE {
            return Err(Fault::Unclear);
        }
        let guard = GUARD + magnitude;
        let bits = self.bits + guard;
        let quarter: BigInt = pi(bits) >> 1;
        let value = self.widened(guard);
        let doubled: BigInt = &value * 2 + &quarter;
        let turns = doubled.div_floor(&(&quarter * 2));
        let rest: BigInt = value - &turns * &quarter;
        let square: BigInt = (&rest * &rest) >> bits;
        let series = |first: BigInt, mut index: u32| {
            let (mut sum, mut term) = (first.clone(), first);
            while !term.is_zero() && term != BigInt::from(-1) {
                let next: BigInt = (term * &square) >> bits;
                term = -next / (index * (index + 1));
                sum += &term;
                index += 2;
            }
            sum
        };
        let (sin, cos) = (series(rest.clone(), 2), series(BigInt::one() << bits, 1));
        let (sin, cos) = match turns.mod_floor(&BigInt::from(4)).to_u8() {
            Some(0) => (sin, cos),
            Some(1) => (cos, -sin),
            Some(2) => (-sin, -cos),
            _ => (-cos, sin),
        };
        let ball = |value: BigInt| Big::new(value >> guard, &self.bound + 3, self.bits);
        Ok((ball(sin)?, ball(cos)?))
    }

    fn atan(&self) -> Result<Self, Fault> {
        let bits = self.bits + GUARD;
        let one = BigInt::one() << bits;
        let value = self.widened(GUARD);
        let large = value.abs() > one;
        let mut small = if large { (&one << bits) / &value } else { value.clone() };
        // atan x = 2 atan(x / (1 + √(1 + x²)))
        for _ in 0..3 {
            let root = ((((&small * &small) >> bits) + &one) << bits).sqrt();
            small = (&small << bits) / (&one + root);
        }
        let square = (&small * &small) >> bits;
        let (mut sum, mut power, mut index) = (small.clone(), small, 3_u32);
        while !power.is_zero() && power != BigInt::from(-1) {
            power = -((power * &square) >> bits);
            sum += &power / index;
            index += 2;
        }
        sum <<= 3;
        if large {
            let half: BigInt = pi(bits) >> 1;
            sum = if value.is_negative() { -half - sum } else { half - sum };
        }
        Big::new(sum >> GUARD, &self.bound + 2, self.bits)
    }

    fn sign(&self) -> Option<Ordering> {
        if self.is_exact_zero() {
            Some(Ordering::Equal)
        } else if self.middle.abs() > self.bound {
            Some(if self.middle.is_negative() { Ordering::Less } else { Ordering::Greater })
        } else {
            None
        }
    }

    fn floor(&self) -> Option<BigInt> {
        let low = (&self.middle - &self.bound) >> self.bits;
        (low == (&self.middle + &self.bound) >> self.bits).then_some(low)
    }

    fn differs(&self, other: &Self) -> bool {
        (&self.middle - &other.middle).abs() > &self.bound + &other.bound
    }

    fn is_sharp(&self) -> bool {
        // 64 digits of the value, or zero exactly.
        self.is_exact_zero() || self.bound.bits() + 64 <= self.middle.bits()
    }

    fn is_fine(&self) -> bool {
        self.bound.bits() <= 64
    }

    fn approximate(&self) -> f64 {
        let shift = self.bits.saturating_sub(64);
        (&self.middle >> shift).to_f64().unwrap_or(f64::NAN) / 2_f64.powi((self.bits - shift) as i32)
    }
}

/// artanh of `ratio`, at most 1/3, in units of 2^-bits.
fn atanh_series(ratio: &BigInt, bits: u32) -> BigInt {
    let square = (ratio * ratio) >> bits;
    let (mut sum, mut power, mut index) = (ratio.clone(), ratio.clone(), 3_u32);
    while !power.is_zero() && power != BigInt::from(-1) {
        power = (power * &square) >> bits;
        sum += &power / index;
        index += 2;
    }
    sum
}

/// ln 2 = 2 artanh(1/3).
fn ln_2(bits: u32) -> BigInt {
    let bits_here = bits + 16;
    (atanh_series(&((BigInt::one() << bits_here) / 3), bits_here) << 1) >> 16
}

/// Machin's formula: π = 16 arctan(1/5) − 4 arctan(1/239).
fn pi(bits: u32) -> BigInt {
    let bits_here = bits + 16;
    let arctan = |inverse: u32| {
        let (mut power, mut sum, mut index) = ((BigInt::one() << bits_here) / inverse, BigInt::zero(), 1_u32);
        while !power.is_zero() {
            let term = &power / index;
            sum = if index % 4 == 1 { sum + term } else { sum - term };
            power /= inverse * inverse;
            index += 2;
        }
        sum
    };
    (arctan(5) * 16 - arctan(239) * 4) >> 16
}
