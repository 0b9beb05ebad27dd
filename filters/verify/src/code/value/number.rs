//! When numbers are close: exactly where they are equal, by the scale of the expected one where a tolerance says so, and
//! never because something overflowed. What is infinite or no number is close to nothing but itself.

use super::super::Tolerance;
use num_bigint::BigInt;
use num_traits::{Float, FromPrimitive, Signed, ToPrimitive};
use std::cmp::Ordering;

/// Whole numbers up to this many bits are floating-point numbers too.
const EXACT_BITS: u64 = 53;
/// No finite tolerance reaches a number with so many more bits than the expected one has.
const FARTHEST_BITS: u64 = 1100;

/// A number.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Int(BigInt),
    Float(f64),
}

impl Number {
    /// Whether Python finds them equal, or `got` is close enough to this.
    pub(super) fn accepts(&self, got: &Number, tolerance: Option<&Tolerance>) -> bool {
        let equal = match (self, got) {
            (Number::Int(a), Number::Int(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a == b,
            // Exactly, as Python does: 2**53 + 1 is not 2.0**53.
            (Number::Int(a), Number::Float(b)) | (Number::Float(b), Number::Int(a)) => {
                b.is_finite() && b.fract() == 0.0 && BigInt::from_f64(*b).as_ref() == Some(a)
            }
        };
        equal || tolerance.is_some_and(|tolerance| self.is_close(got, tolerance))
    }

    fn is_close(&self, got: &Number, tolerance: &Tolerance) -> bool {
        if let (Some(expected), Some(got)) = (self.small(), got.small()) {
            return tolerance.allows(expected, got);
        }
        let (Some(expected), Some(got)) = (Exact::new(self), Exact::new(got)) else { return false };
        let off = expected.minus(&got);
        let allowed = |part: f64, of: Exact| {
            let share = if part > 0.0 { Exact::of(part.min(f64::MAX)) } else { None };
            share.is_some_and(|share| off.compare(&share.times(&of)) != Ordering::Greater)
        };
        let one = Exact { mantissa: BigInt::from(1), exponent: 0 };
        allowed(tolerance.absolute, one) || allowed(tolerance.relative, expected.abs())
    }

    /// As a floating-point number, where that is the same number.
    fn small(&self) -> Option<f64> {
        match self {
            Number::Int(value) => value.to_f64().filter(|_| value.bits() <= EXACT_BITS),
            Number::Float(value) => Some(*value),
        }
    }

    /// Whether a number of `bits` bits or more can be close to this at all.
    pub(super) fn reaches(&self, bits: u64) -> bool {
        let own = match self {
            Number::Int(value) => value.bits(),
            Number::Float(_) => 1024,
        };
        bits <= own + FARTHEST_BITS
    }
}

/// A finite number, exactly: a mantissa times a power of two.
struct Exact {
    mantissa: BigInt,
    exponent: i64,
}

impl Exact {
    fn new(number: &Number) -> Option<Exact> {
        match number {
            Number::Int(value) => Some(Exact { mantissa: value.clone(), exponent: 0 }),
            Number::Float(value) => Exact::of(*value),
        }
    }

    fn of(value: f64) -> Option<Exact> {
        if !value.is_finite() {
            return None;
        }
        let (mantissa, exponent, sign) = value.integer_decode();
        Some(Exact { mantissa: BigInt::from(mantissa) * sign, exponent: exponent.into() })
    }

    /// How far they are apart.
    fn minus(&self, other: &Exact) -> Exact {
        let exponent = self.exponent.min(other.exponent);
        Exact { mantissa: (self.at(exponent) - other.at(exponent)).abs(), exponent }
    }

    fn times(&self, other: &Exact) -> Exact {
        Exact { mantissa: &self.mantissa * &other.mantissa, exponent: self.exponent + other.exponent }
    }

    fn abs(&self) -> Exact {
        Exact { mantissa: self.mantissa.abs(), exponent: self.exponent }
    }

    fn compare(&self, other: &Exact) -> Ordering {
        let exponent = self.exponent.min(other.exponent);
        self.at(exponent).cmp(&other.at(exponent))
    }

    /// The mantissa for an exponent that is no larger. Exponents are those of a few floating-point numbers: small.
    fn at(&self, exponent: i64) -> BigInt {
        &self.mantissa << (self.exponent - exponent)
    }
}

impl Tolerance {
    /// Whether `got` is close enough. Two numbers that are infinite are so when they are the same.
    pub fn allows(&self, expected: f64, got: f64) -> bool {
        if expected == got {
            return true;
        }
        if !expected.is_finite() || !got.is_finite() {
            return false;
        }
        let off = (expected - got).abs();
        if off.is_finite() {
            return off <= self.absolute || off <= self.relative * expected.abs();
        }
        // They are farther apart than the largest number: the same, in quarters.
        let off = (expected / 4.0 - got / 4.0).abs();
        off <= self.absolute / 4.0 || off <= self.relative * (expected / 4.0).abs()
    }

    /// The same for numbers in decimal notation, some of which no floating-point number can hold.
    pub(in super::super) fn allows_text(&self, expected: &str, got: &str) -> bool {
        let held = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        if let (Some(expected), Some(got)) = (held(expected), held(got)) {
            return self.allows(expected, got);
        }
        let (Some(expected), Some(got)) = (Decimal::read(expected), Decimal::read(got)) else { return false };
        if expected == got {
            return true;
        }
        // In units of the expected one's leading digit.
        let (unit, place) = (expected.leading(), expected.place);
        let scaled = Tolerance { absolute: self.absolute * power_of_ten(place.saturating_neg()), ..*self };
        scaled.allows(unit, got.leading() * power_of_ten(got.place.saturating_sub(place)))
    }
}

/// Whether both texts are numbers in decimal notation, and the same number.
pub(in super::super) fn decimals_equal(a: &str, b: &str) -> bool {
    match (Decimal::read(a), Decimal::read(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => matches!((infinity(a), infinity(b)), (Some(a), Some(b)) if a == b),
        _ => false,
    }
}

/// Whether a text that is infinity is the negative one.
fn infinity(text: &str) -> Option<bool> {
    let (negative, word) = match text.strip_prefix('-') {
        Some(word) => (true, word),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    ["inf", "infinity"].iter().any(|name| word.eq_ignore_ascii_case(name)).then_some(negative)
}

fn power_of_ten(exponent: i64) -> f64 {
    10_f64.powi(exponent.clamp(-2000, 2000) as i32)
}

/// A number in decimal notation, in one way of writing: its digits without zeros on either side, and the place of the
/// first of them, as an exponent of ten.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    place: i64,
}

impl Decimal {
    /// `None` where the text is no number such as `-12`, `+.5`, `3.` or `1.5e-7`.
    fn read(text: &str) -> Option<Decimal> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).map_or((rest, None), |(m, e)| (m, Some(e)));
        let exponent = match exponent {
            None => 0,
            Some(written) => {
                let digits = written.strip_prefix(['-', '+']).unwrap_or(written);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                // Beyond that it is as good as infinite, and kept apart from what is a little farther by nobody.
                let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(i64::MAX / 4);
                if written.starts_with('-') { -size } else { size }
            }
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if whole.len() + fraction.len() == 0 || !all().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let zeros = all().take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<u8> = all().skip(zeros).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        // Zero has one way of being written.
        if digits.is_empty() {
            return Some(Decimal { negative: false, digits, place: 0 });
        }
        Some(Decimal { negative, digits, place: exponent + whole.len() as i64 - zeros as i64 - 1 })
    }

    /// The digits as a number with the first of them before the point.
    fn leading(&self) -> f64 {
        let (first, rest) = self.digits.split_at(self.digits.len().min(1));
        let text = [first, b".", &rest[..rest.len().min(30)], b"0"].concat();
        let size = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        if self.negative { -size } else { size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(text: &str) -> Number {
        Number::Int(text.parse().expect("a number"))
    }

    #[test]
    fn closeness_is_finite() {
        let huge = format!("1{}", "0".repeat(400));
        let off_by_one = format!("1{}1", "0".repeat(399));
        let relative = Tolerance { absolute: 0.0, relative: 1e-9 };
        let absolute = Tolerance { absolute: 1e-6, relative: 0.0 };
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (expected, got, tolerance, close) in [
            (Number::Float(3.25), int(&huge), relative, false),
            (int(&huge), Number::Float(3.25), relative, false),
            (int(&huge), int("3"), relative, false),
            (int(&huge), int(&off_by_one), relative, true),
            (int(&huge), int(&off_by_one), absolute, false),
            (int(&huge), int(&format!("-{huge}")), relative, false),
            (int(&huge), Number::Float(inf), relative, false),
            (Number::Float(inf), int(&huge), relative, false),
            (Number::Float(inf), Number::Float(inf), relative, true),
            (Number::Float(inf), Number::Float(-inf), relative, false),
            (Number::Float(inf), Number::Float(1e308), relative, false),
            (Number::Float(1.0), Number::Float(inf), relative, false),
            (Number::Float(nan), Number::Float(nan), relative, false),
            (Number::Float(1.0), Number::Float(nan), absolute, false),
            (Number::Float(1e308), Number::Float(-1e308), relative, false),
            (Number::Float(1e308), Number::Float(-1e308), Tolerance { absolute: 0.0, relative: 2.5 }, true),
            (Number::Float(1e300), int(&format!("1{}", "0".repeat(300))), relative, true),
            (Number::Float(1e308), int(&format!("2{}", "0".repeat(308))), relative, false),
            (int("9007199254740993"), Number::Float(9007199254740992.0), Tolerance::default(), false),
            (
                int("9007199254740993"),
                Number::Float(9007199254740992.0),
                Tolerance { absolute: 1.0, relative: 0.0 },
                true,
            ),
            (Number::Float(0.0), int(&huge), Tolerance { absolute: inf, relative: 0.0 }, false),
            (int("100"), int("101"), Tolerance { absolute: 0.0, relative: 0.01 }, true),
            (int("101"), int("100"), Tolerance { absolute: 0.0, relative: 0.0099 }, false),
        ] {
            assert_eq!(expected.accepts(&got, Some(&tolerance)), close, "{expected:?} and {got:?} by {tolerance:?}");
        }
    }

    #[test]
    fn decimals_are_compared_by_value() {
        for (a, b, same) in [
            ("0.50", "0.5", true),
            ("3", "3.0", true),
            (".5", "0.5", true),
            ("3.", "3", true),
            ("1e3", "1000", true),
            ("-0", "0.00", true),
            ("007", "7", true),
            ("+1", "1", true),
            ("1e999999999999999999999", "1e999999999999999999998", true),
            ("1e400", "1e401", false),
            ("0.1", "0.10000000000000000000000000000000000001", false),
            ("1", "-1", false),
            ("1", "l", false),
            ("", "", false),
            (".", ".", false),
            ("1e", "1", false),
            ("nan", "nan", false),
            ("0x10", "16", false),
        ] {
            assert_eq!(decimals_equal(a, b), same, "{a} and {b}");
            assert_eq!(decimals_equal(b, a), same, "{b} and {a}");
        }
        let relative = Tolerance { absolute: 0.0, relative: 1e-9 };
        for (expected, got, close) in [
            ("3.25", "1e400", false),
            ("1e400", "3.25", false),
            ("1e400", "1e400", true),
            ("1e400", "1.0000000001e400", true),
            ("1e400", "1e401", false),
            ("1e400", "-1e400", false),
            ("1e400", "1e999", false),
            ("1e999", "1e400", false),
            ("1e-400", "0", true),
            ("1000.0", "1000.0000001", true),
        ] {
            assert_eq!(relative.allows_text(expected, got), close, "{expected} and {got}");
        }
    }
}
