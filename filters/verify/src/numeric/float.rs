//! Balls of `f64`: a middle and a bound on the distance to the true value.
//!
//! Every operation widens the bound by its rounding. The standard library's elementary functions are taken to be right
//! to 16 units in the last place; the C libraries state 1 to 4.

use super::{Fault, Real};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{FromPrimitive, ToPrimitive};
use std::cmp::Ordering;

/// Middle and bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Float {
    middle: f64,
    bound: f64,
}

/// Rounding of one operation, generously.
const UNIT: f64 = 4.0 * f64::EPSILON;
/// Rounding of an elementary function.
const FUNCTION: f64 = 16.0 * f64::EPSILON;
/// Nothing smaller is a bound: below it, products of subnormal numbers would lose theirs.
const TINY: f64 = 1e-290;

impl Float {
    fn new(middle: f64, bound: f64) -> Result<Float, Fault> {
        (middle.abs() < 1e250 && bound < 1e250).then_some(Float { middle, bound }).ok_or(Fault::Unclear)
    }

    fn rounded(middle: f64, bound: f64, unit: f64) -> Result<Float, Fault> {
        Float::new(middle, (bound + middle.abs() * unit) * (1.0 + UNIT) + TINY)
    }

    fn is_exact_zero(self) -> bool {
        self.middle == 0.0 && self.bound == 0.0
    }
}

impl Real for Float {
    fn operation(_bits: u32) -> u64 {
        4
    }

    fn elementary(_bits: u32) -> u64 {
        10
    }

    fn rational(value: &BigRational, _bits: u32) -> Result<Self, Fault> {
        let middle = value.to_f64().filter(|middle| middle.is_finite()).ok_or(Fault::Unclear)?;
        let exact = value.is_integer() && middle.abs() < 9e15;
        if exact { Float::new(middle, 0.0) } else { Float::rounded(middle, 0.0, UNIT) }
    }

    fn pi(_bits: u32) -> Self {
        Float { middle: std::f64::consts::PI, bound: 1e-15 }
    }

    fn add(&self, other: &Self) -> Self {
        if self.is_exact_zero() {
            return *other;
        }
        if other.is_exact_zero() {
            return *self;
        }
        let middle = self.middle + other.middle;
        Float { middle, bound: (self.bound + other.bound + middle.abs() * UNIT) * (1.0 + UNIT) + TINY }
    }

    fn neg(&self) -> Self {
        Float { middle: -self.middle, bound: self.bound }
    }

    fn mul(&self, other: &Self) -> Result<Self, Fault> {
        if self.is_exact_zero() || other.is_exact_zero() {
            return Ok(Float { middle: 0.0, bound: 0.0 });
        }
        let bound = self.middle.abs() * other.bound + other.middle.abs() * self.bound + self.bound * other.bound;
        Float::rounded(self.middle * other.middle, bound, UNIT)
    }

    fn inverse(&self) -> Result<Self, Fault> {
        if self.is_exact_zero() {
            return Err(Fault::Undefined);
        }
        let least = self.middle.abs() * (1.0 - UNIT) - self.bound;
        if least <= TINY {
            return Err(Fault::Unclear);
        }
        Float::rounded(1.0 / self.middle, self.bound / (least * self.middle.abs()) * (1.0 + UNIT), UNIT)
    }

    fn sqrt(&self) -> Result<Self, Fault> {
        if self.is_exact_zero() {
            return Ok(*self);
        }
        let (low, high) = ((self.middle - self.bound).max(0.0).sqrt(), (self.middle + self.bound).max(0.0).sqrt());
        Float::rounded((low + high) / 2.0, (high - low) / 2.0 + high * UNIT, UNIT)
    }

    fn exp(&self) -> Result<Self, Fault> {
        if self.middle + self.bound > 500.0 || self.bound > 1.0 {
            return Err(Fault::Unclear);
        }
        let middle = self.middle.exp();
        Float::rounded(middle, middle * self.bound.exp_m1(), FUNCTION)
    }

    fn ln(&self) -> Result<Self, Fault> {
        let least = self.middle - self.bound;
        if least <= TINY {
            return Err(Fault::Unclear);
        }
        let middle = self.middle.ln();
        // Near 1 the logarithm is small and its error is that of its argument.
        Float::rounded(middle, self.bound / least + FUNCTION * (self.middle - 1.0).abs().min(1.0), FUNCTION)
    }

    fn sin_cos(&self) -> Result<(Self, Self), Fault> {
        if self.middle.abs() > 1e6 {
            return Err(Fault::Unclear);
        }
        let (sin, cos) = self.middle.sin_cos();
        Ok((Float::rounded(sin, self.bound, FUNCTION)?, Float::rounded(cos, self.bound, FUNCTION)?))
    }

    fn atan(&self) -> Result<Self, Fault> {
        Float::rounded(self.middle.atan(), self.bound, FUNCTION)
    }

    fn sign(&self) -> Option<Ordering> {
        if self.is_exact_zero() {
            Some(Ordering::Equal)
        } else if self.middle - self.bound > 0.0 {
            Some(Ordering::Greater)
        } else if self.middle + self.bound < 0.0 {
            Some(Ordering::Less)
        } else {
            None
        }
    }

    fn floor(&self) -> Option<BigInt> {
        let (low, high) = ((self.middle - self.bound).floor(), (self.middle + self.bound).floor());
        (low == high && low.abs() < 1e15).then(|| BigInt::from_f64(low)).flatten()
    }

    fn differs(&self, other: &Self) -> bool {
        (self.middle - other.middle).abs() * (1.0 - UNIT) > (self.bound + other.bound) * (1.0 + UNIT)
    }

    fn is_sharp(&self) -> bool {
        self.bound <= 1e-9 * self.middle.abs().max(1e-6)
    }

    fn is_fine(&self) -> bool {
        self.bound <= 1e-12
    }

    fn approximate(&self) -> f64 {
        self.middle
    }
}
