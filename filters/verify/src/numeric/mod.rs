//! Numbers known to within a bound: an expression comes in, a ball that holds its value goes out.
//!
//! [`Real`] is what a kind of ball can do; [`Complex`] is written once on top of it. `float` decides nearly everything;
//! `big` has as many digits as are asked for.

mod big;
mod complex;
mod evaluate;
mod float;
pub(crate) mod modular;

pub(crate) use big::Big;
pub(crate) use complex::Complex;
pub(crate) use evaluate::{Point, evaluate, exact};
pub(crate) use float::Float;

use num_bigint::BigInt;
use num_rational::BigRational;
use std::cmp::Ordering;

/// Why there is no ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No value here: 1/0, ln 0.
    Undefined,
    /// Not decided at this precision, or too large, or without a rule.
    Unclear,
}

/// A real number known to within a bound.
pub(crate) trait Real: Clone {
    /// Steps that a sum or a product takes.
    fn operation(bits: u32) -> u64;
    /// Steps that an elementary function takes.
    fn elementary(bits: u32) -> u64;
    /// The bits that are asked for; a fixed-precision kind ignores it.
    fn rational(value: &BigRational, bits: u32) -> Result<Self, Fault>;
    /// π.
    fn pi(bits: u32) -> Self;
    /// `self + other`.
    fn add(&self, other: &Self) -> Self;
    /// `-self`.
    fn neg(&self) -> Self;
    /// `self · other`.
    fn mul(&self, other: &Self) -> Result<Self, Fault>;
    /// `1 / self`.
    fn inverse(&self) -> Result<Self, Fault>;
    /// √self; what reaches below zero by rounding is cut off there.
    fn sqrt(&self) -> Result<Self, Fault>;
    /// e^self.
    fn exp(&self) -> Result<Self, Fault>;
    /// ln self, for what is surely positive.
    fn ln(&self) -> Result<Self, Fault>;
    /// sin and cos.
    fn sin_cos(&self) -> Result<(Self, Self), Fault>;
    /// arctan.
    fn atan(&self) -> Result<Self, Fault>;
    /// Its sign, where the ball does not hold zero or is exactly zero.
    fn sign(&self) -> Option<Ordering>;
    /// Its floor, where the ball lies between two integers.
    fn floor(&self) -> Option<BigInt>;
    /// Whether the two surely differ.
    fn differs(&self, other: &Self) -> bool;
    /// Whether the bound is small against the value.
    fn is_sharp(&self) -> bool;
    /// Whether its bound is as small as this precision allows, whatever the value.
    fn is_fine(&self) -> bool;
    /// The middle, roughly.
    fn approximate(&self) -> f64;
}
