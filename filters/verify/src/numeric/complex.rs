//! Complex balls: pairs of real ones. A value whose imaginary part is exactly zero stays on the real line, so that
//! branch cuts along it are decided and not guessed.

use super::{Fault, Real};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// Real and imaginary part.
#[derive(Clone, Debug)]
pub(crate) struct Complex<R> {
    /// Real part.
    pub re: R,
    /// Imaginary part.
    pub im: R,
}

type Outcome<R> = Result<Complex<R>, Fault>;

/// Powers up to this are multiplied out, and roots up to this are taken.
pub(super) const MAX_POWER: i64 = 1 << 14;

impl<R: Real> Complex<R> {
    /// A rational number.
    pub(crate) fn rational(value: &BigRational, bits: u32) -> Outcome<R> {
        Ok(Complex { re: R::rational(value, bits)?, im: zero(bits)? })
    }

    /// A real number.
    pub(crate) fn real(re: R, bits: u32) -> Outcome<R> {
        Ok(Complex { re, im: zero(bits)? })
    }

    /// Whether this surely lies on the real line.
    pub(crate) fn is_real(&self) -> bool {
        self.im.sign() == Some(Ordering::Equal)
    }

    /// Whether the two surely differ.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        self.re.differs(&other.re) || self.im.differs(&other.im)
    }

    /// Whether its bound is small against it.
    pub(crate) fn is_sharp(&self) -> bool {
        self.re.is_sharp() && self.im.is_sharp()
    }

    /// Whether its bound is as small as the precision allows.
    pub(crate) fn is_fine(&self) -> bool {
        self.re.is_fine() && self.im.is_fine()
    }

    fn is_zero(&self) -> bool {
        self.is_real() && self.re.sign() == Some(Ordering::Equal)
    }

    /// `self + other`
    pub(crate) fn add(&self, other: &Self) -> Self {
        Complex { re: self.re.add(&other.re), im: self.im.add(&other.im) }
    }

    /// `-self`
    pub(crate) fn neg(&self) -> Self {
        Complex { re: self.re.neg(), im: self.im.neg() }
    }

    fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    /// `self · other`
    pub(crate) fn mul(&self, other: &Self) -> Outcome<R> {
        Ok(Complex {
            re: self.re.mul(&other.re)?.add(&self.im.mul(&other.im)?.neg()),
            im: self.re.mul(&other.im)?.add(&self.im.mul(&other.re)?),
        })
    }

    /// `1 / self`
    pub(crate) fn inverse(&self) -> Outcome<R> {
        if self.is_real() {
            return Ok(Complex { re: self.re.inverse()?, im: self.im.clone() });
        }
        let square = self.re.mul(&self.re)?.add(&self.im.mul(&self.im)?).inverse()?;
        Ok(Complex { re: self.re.mul(&square)?, im: self.im.neg().mul(&square)? })
    }

    /// |self|
    pub(crate) fn abs(&self) -> Result<R, Fault> {
        if self.is_real() {
            return match self.re.sign() {
                Some(Ordering::Less) => Ok(self.re.neg()),
                Some(_) => Ok(self.re.clone()),
                None => self.re.mul(&self.re)?.sqrt(),
            };
        }
        self.re.mul(&self.re)?.add(&self.im.mul(&self.im)?).sqrt()
    }

    /// The principal square root.
    pub(crate) fn sqrt(&self, bits: u32) -> Outcome<R> {
        if self.is_real() {
            return match self.re.sign().ok_or(Fault::Unclear)? {
                Ordering::Less => Ok(Complex { re: zero(bits)?, im: self.re.neg().sqrt()? }),
                _ => Ok(Complex { re: self.re.sqrt()?, im: zero(bits)? }),
            };
        }
        let half = R::rational(&BigRational::new(1.into(), 2.into()), bits)?;
        let size = self.abs()?;
        let re = size.add(&self.re).mul(&half)?.sqrt()?;
        let im = size.add(&self.re.neg()).mul(&half)?.sqrt()?;
        match self.im.sign() {
            Some(Ordering::Less) => Ok(Complex { re, im: im.neg() }),
            Some(_) => Ok(Complex { re, im }),
            None if self.re.sign() == Some(Ordering::Greater) => {
                // Far from the cut: im = Im z / (2 re).
                let im = self.im.mul(&half)?.mul(&re.inverse()?)?;
                Ok(Complex { re, im })
            }
            None => Err(Fault::Unclear),
        }
    }

    /// e^self
    pub(crate) fn exp(&self) -> Outcome<R> {
        let size = self.re.exp()?;
        if self.is_real() {
            return Ok(Complex { re: size, im: self.im.clone() });
        }
        let (sin, cos) = self.im.sin_cos()?;
        Ok(Complex { re: size.mul(&cos)?, im: size.mul(&sin)? })
    }

    /// The principal logarithm.
    pub(crate) fn ln(&self, bits: u32) -> Outcome<R> {
        if self.is_zero() {
            return Err(Fault::Undefined);
        }
        let size = self.abs()?.ln()?;
        Ok(Complex { re: size, im: self.argument(bits)? })
    }

    fn argument(&self, bits: u32) -> Result<R, Fault> {
        let half = R::pi(bits).mul(&R::rational(&BigRational::new(1.into(), 2.into()), bits)?)?;
        match (self.re.sign(), self.im.sign()) {
            (Some(Ordering::Greater), Some(Ordering::Equal)) => zero(bits),
            (Some(Ordering::Less), Some(Ordering::Equal)) => Ok(R::pi(bits)),
            (Some(Ordering::Greater), _) => self.im.mul(&self.re.inverse()?)?.atan(),
            (_, Some(Ordering::Greater)) => Ok(half.add(&self.re.mul(&self.im.inverse()?)?.atan()?.neg())),
            (_, Some(Ordering::Less)) => Ok(half.neg().add(&self.re.mul(&self.im.inverse()?)?.atan()?.neg())),
            _ => Err(Fault::Unclear),
        }
    }

    /// `self` to a whole power.
    pub(crate) fn whole_power(&self, power: i64, bits: u32) -> Outcome<R> {
        if power.abs() > MAX_POWER {
            return self.power_by_logarithm(&Complex::rational(&BigRational::from_integer(power.into()), bits)?, bits);
        }
        let mut result = Complex::rational(&BigRational::one(), bits)?;
        let (mut square, mut rest) = (self.clone(), power.unsigned_abs());
        while rest > 0 {
            if rest & 1 == 1 {
                result = result.mul(&square)?;
            }
            rest >>= 1;
            if rest > 0 {
                square = square.mul(&square)?;
            }
        }
        if power < 0 { result.inverse() } else { Ok(result) }
    }

    /// `self` to a rational power: real for a real base and an odd denominator, principal otherwise.
    pub(crate) fn rational_power(&self, power: &BigRational, bits: u32) -> Outcome<R> {
        if power.is_integer()
            && let Some(power) = power.numer().to_i64()
        {
            return self.whole_power(power, bits);
        }
        if self.is_zero() {
            return if power.is_positive() { Ok(self.clone()) } else { Err(Fault::Undefined) };
        }
        if power.denom() == &BigInt::from(2)
            && let Some(twice) = power.numer().to_i64()
        {
            return self.sqrt(bits)?.whole_power(twice, bits);
        }
        let exponent = Complex::rational(power, bits)?;
        let odd = (power.denom() % 2_u8).is_one();
        if self.is_real() && odd && self.re.sign().ok_or(Fault::Unclear)? == Ordering::Less {
            let size = self.neg().power_by_logarithm(&exponent, bits)?;
            return Ok(if (power.numer() % 2_u8).is_zero() { size } else { size.neg() });
        }
        self.power_by_logarithm(&exponent, bits)
    }

    /// `self` to any power.
    pub(crate) fn power(&self, power: &Self, bits: u32) -> Outcome<R> {
        if self.is_zero() {
            return match power.re.sign() {
                Some(Ordering::Greater) => Ok(self.clone()),
                Some(_) => Err(Fault::Undefined),
                None => Err(Fault::Unclear),
            };
        }
        self.power_by_logarithm(power, bits)
    }

    fn power_by_logarithm(&self, power: &Self, bits: u32) -> Outcome<R> {
        self.ln(bits)?.mul(power)?.exp()
    }

    /// sin and cos.
    pub(crate) fn sin_cos(&self, bits: u32) -> Result<(Self, Self), Fault> {
        let (sin, cos) = self.re.sin_cos()?;
        if self.is_real() {
            return Ok((Complex::real(sin, bits)?, Complex::real(cos, bits)?));
        }
        let (sinh, cosh) = hyperbolic(&self.im, bits)?;
        Ok((
            Complex { re: sin.mul(&cosh)?, im: cos.mul(&sinh)? },
            Complex { re: cos.mul(&cosh)?, im: sin.mul(&sinh)?.neg() },
        ))
    }

    /// sinh and cosh.
    pub(crate) fn sinh_cosh(&self, bits: u32) -> Result<(Self, Self), Fault> {
        // sinh z = −i sin(iz), cosh z = cos(iz)
        if self.is_real() {
            let (sinh, cosh) = hyperbolic(&self.re, bits)?;
            return Ok((Complex::real(sinh, bits)?, Complex::real(cosh, bits)?));
        }
        let (sin, cos) = self.times_i().sin_cos(bits)?;
        Ok((sin.times_i().neg(), cos))
    }

    fn times_i(&self) -> Self {
        Complex { re: self.im.neg(), im: self.re.clone() }
    }

    /// arctan; undefined at ±i.
    pub(crate) fn atan(&self, bits: u32) -> Outcome<R> {
        if self.is_real() {
            return Complex::real(self.re.atan()?, bits);
        }
        // (i/2)·(ln(1 − iz) − ln(1 + iz))
        let one = Complex::rational(&BigRational::one(), bits)?;
        let rotated = self.times_i();
        let difference = one.sub(&rotated).ln(bits)?.sub(&one.add(&rotated).ln(bits)?);
        difference.times_i().halved(bits)
    }

    /// arcsin.
    pub(crate) fn asin(&self, bits: u32) -> Outcome<R> {
        let one = Complex::rational(&BigRational::one(), bits)?;
        let root = one.sub(&self.mul(self)?);
        if self.is_real() {
            // On [−1, 1]: arctan(x / √(1 − x²)).
            match root.re.sign() {
                Some(Ordering::Greater) => {
                    return Complex::real(self.re.mul(&root.re.sqrt()?.inverse()?)?.atan()?, bits);
                }
                None => return Err(Fault::Unclear),
                _ => {}
            }
        }
        // −i·ln(iz + √(1 − z²))
        Ok(self.times_i().add(&root.sqrt(bits)?).ln(bits)?.times_i().neg())
    }

    /// arccos = π/2 − arcsin.
    pub(crate) fn acos(&self, bits: u32) -> Outcome<R> {
        let half = Complex::real(R::pi(bits), bits)?.halved(bits)?;
        Ok(half.sub(&self.asin(bits)?))
    }

    fn halved(&self, bits: u32) -> Outcome<R> {
        self.mul(&Complex::rational(&BigRational::new(1.into(), 2.into()), bits)?)
    }
}

fn zero<R: Real>(bits: u32) -> Result<R, Fault> {
    R::rational(&BigRational::zero(), bits)
}

fn hyperbolic<R: Real>(value: &R, bits: u32) -> Result<(R, R), Fault> {
    let (up, down) = (value.exp()?, value.neg().exp()?);
    let half = R::rational(&BigRational::new(1.into(), 2.into()), bits)?;
    Ok((up.add(&down.neg()).mul(&half)?, up.add(&down).mul(&half)?))
}
