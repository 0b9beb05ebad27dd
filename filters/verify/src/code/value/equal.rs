//! Is what a solution sent what was expected? As Python finds it, tuples taken as lists since JSON has none, in one pass
//! over the bytes. Keys are looked up by a hash that nobody can prepare for.

use super::{
    Value,
    marshal::{Item, Reader, Sent, big, bits},
    number::Number,
};
use crate::code::Tolerance;
use std::collections::HashMap;

impl Value {
    /// Whether a solution's value is this one, numbers within a tolerance. What has no end or no order in JSON, such as a
    /// set, is no expected value's equal.
    pub(in super::super) fn accepts(&self, sent: Sent<'_>, tolerance: Option<&Tolerance>) -> bool {
        same(self, &mut sent.reader(), tolerance).unwrap_or(false)
    }
}

/// Goes past one value, unless it differs. `None` where there is none.
fn same(expected: &Value, got: &mut Reader<'_>, tolerance: Option<&Tolerance>) -> Option<bool> {
    let item = got.next()?;
    Some(match (expected, item) {
        (Value::None, Item::None) => true,
        (Value::Text(a), Item::Text(b)) => a == b,
        (Value::List(items) | Value::Tuple(items), Item::List(count) | Item::Tuple(count)) => {
            if items.len() != count {
                return Some(false);
            }
            for item in items {
                if !same(item, got, tolerance)? {
                    return Some(false);
                }
            }
            true
        }
        (Value::Dict(pairs), Item::Dict) => {
            let mut index: HashMap<&[u8], &Value> = HashMap::new();
            for (key, value) in pairs {
                if let Value::Text(key) = key {
                    index.insert(key, value);
                }
            }
            while !got.ends()? {
                // A key that came before is found no more.
                let Item::Text(key) = got.next()? else { return Some(false) };
                match index.remove(key) {
                    Some(value) if same(value, got, tolerance)? => {}
                    _ => return Some(false),
                }
            }
            index.is_empty()
        }
        (expected, item) => {
            let Some(expected) = expected_number(expected) else { return Some(false) };
            match item {
                // Not even looked at, where it is too long.
                Item::Big(_, digits) if !expected.reaches(bits(digits)) => false,
                Item::Complex(real, 0.0) => expected.accepts(&Number::Float(real), None),
                item => number(item).is_some_and(|got| expected.accepts(&got, tolerance)),
            }
        }
    })
}

fn expected_number(value: &Value) -> Option<Number> {
    match value {
        Value::Bool(value) => Some(Number::Int(u8::from(*value).into())),
        Value::Int(value) => Some(Number::Int(value.clone())),
        Value::Float(value) => Some(Number::Float(*value)),
        _ => None,
    }
}

fn number(item: Item<'_>) -> Option<Number> {
    match item {
        Item::Bool(value) => Some(Number::Int(u8::from(value).into())),
        Item::Small(value) => Some(Number::Int(value.into())),
        Item::Big(negative, digits) => Some(Number::Int(big(negative, digits))),
        Item::Float(value) => Some(Number::Float(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::{BigInt, Sign};
    use num_traits::{Float, FromPrimitive, Signed};

    fn sent(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.marshal(&mut bytes);
        bytes
    }

    fn accepts(expected: &Value, got: &Value, tolerance: Option<&Tolerance>) -> bool {
        let bytes = sent(got);
        expected.accepts(Sent::read(&bytes).unwrap_or_else(|| panic!("{got:?} was not read")), tolerance)
    }

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn values_compare_as_python_compares_them() {
        for (a, b, same) in [
            ("1", "1.0", true),
            ("true", "1", true),
            ("9007199254740993", "9007199254740992.0", false),
            ("123456789012345678901234567890", "123456789012345678901234567890", true),
            ("123456789012345678901234567890", "123456789012345678901234567891", false),
            ("0.1", "0.10000000000000002", false),
            ("NaN", "NaN", false),
            ("[1, [2]]", "[1, [2]]", true),
            ("[1]", "[1, 1]", false),
            ("\"1\"", "1", false),
            ("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", true),
            ("{\"a\": 1, \"b\": 2}", "{\"b\": 1, \"a\": 2}", false),
            ("{\"a\": 1, \"b\": 2}", "{\"a\": 1}", false),
            ("{\"a\": 1}", "{\"a\": 1, \"b\": 2}", false),
            ("{\"a\": 1, \"a\": 2}", "{\"a\": 2}", true),
            ("{}", "[]", false),
            ("null", "0", false),
            ("0", "false", true),
            ("0.0", "-0.0", true),
            ("Infinity", "Infinity", true),
            ("Infinity", "-Infinity", false),
        ] {
            assert_eq!(accepts(&json(a), &json(b), None), same, "{a} == {b}");
            assert_eq!(accepts(&json(b), &json(a), None), same, "{b} == {a}");
        }
        let tolerance = Tolerance { absolute: 1e-6, relative: 0.0 };
        assert!(accepts(&json("[0.1]"), &json("[0.1000001]"), Some(&tolerance)));
        assert!(!accepts(&json("[0.1]"), &json("[0.2]"), Some(&tolerance)));
        assert!(accepts(&json("[1]"), &Value::Tuple(vec![json("1")]), None), "JSON has no tuples");
        let raw = |bytes: &[u8], expected: &str| {
            json(expected)
                .accepts(Sent::read(bytes).expect("a value"), Some(&Tolerance { absolute: 9.0, relative: 9.0 }))
        };
        assert!(raw(&[b"y", &3_f64.to_le_bytes()[..], &[0; 8]].concat(), "3"), "3 + 0j is 3");
        assert!(!raw(&[b"y", &3_f64.to_le_bytes()[..], &1_f64.to_le_bytes()].concat(), "3"));
        for (bytes, expected) in [
            (&b"<\0\0\0\0"[..], "[]"),
            (b">\x01\0\0\0i\x01\0\0\0", "[1]"),
            (b"s\x01\0\0\0a", "\"a\""),
            (b"{i\x01\0\0\0N0", "{\"1\": null}"),
            (b"{u\x01\0\0\0aNu\x01\0\0\0aN0", "{\"a\": null, \"b\": null}"),
            (b"{u\x01\0\0\0aNu\x01\0\0\0aN0", "{\"a\": null}"),
        ] {
            assert!(!raw(bytes, expected), "{bytes:?} and {expected}");
        }
    }

    #[test]
    fn large_answers_are_read_once() {
        // Quadratic work would take minutes here.
        let dict = |base: u32| {
            let pair = |n: u32| (Value::Text((base + n).to_string().into_bytes()), Value::None);
            Value::Dict((0..200_000).map(pair).collect())
        };
        assert!(accepts(&dict(1), &dict(1), None));
        assert!(!accepts(&dict(1), &dict(2), None));
        let long = Value::Int((BigInt::from(1) << 40_000_000) + 1);
        assert!(accepts(&long, &long, None));
        assert!(!accepts(&json("1"), &long, Some(&Tolerance { absolute: 1.0, relative: 1.0 })));
    }

    /// Numbers that are drawn, always the same ones.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            // Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % sides
        }

        fn float(&mut self) -> f64 {
            const SPECIAL: [f64; 16] = [
                0.0,
                -0.0,
                1.0,
                -1.0,
                0.5,
                3.25,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                f64::MAX,
                f64::MIN,
                f64::MIN_POSITIVE,
                5e-324,
                9_007_199_254_740_992.0,
                1e300,
                1e-300,
            ];
            match self.roll(3) {
                0 => SPECIAL[self.roll(16) as usize],
                1 => f64::from_bits(self.roll(u64::MAX)),
                _ => (self.roll(2001) as f64 - 1000.0) / 8.0,
            }
        }

        fn number(&mut self) -> Value {
            match self.roll(8) {
                0 => Value::Bool(self.roll(2) == 1),
                1 | 2 => Value::Int(BigInt::from(self.roll(2001) as i64 - 1000)),
                3 => {
                    let sign = if self.roll(2) == 0 { 1 } else { -1 };
                    Value::Int((BigInt::from(self.roll(u64::MAX)) << self.roll(1400)) * sign)
                }
                4 => {
                    let near = BigInt::from(1) << (50 + self.roll(10));
                    Value::Int(near + self.roll(5))
                }
                _ => Value::Float(self.float()),
            }
        }

        /// A number that is often close to another.
        fn beside(&mut self, value: &Value) -> Value {
            match (self.roll(4), value) {
                (0, _) => self.number(),
                (1, Value::Int(value)) => {
                    Value::Int(value + (BigInt::from(self.roll(3) as i64 - 1) << self.roll(value.bits() + 1)))
                }
                (1, Value::Float(value)) => Value::Float(value * (1.0 + (self.roll(21) as f64 - 10.0) * 1e-9)),
                (2, Value::Float(value)) if value.is_finite() => {
                    Value::Int(BigInt::from_f64(*value).unwrap_or_default())
                }
                (2, Value::Int(value)) => Value::Float(num_traits::ToPrimitive::to_f64(value).unwrap_or(0.0)),
                _ => value.clone(),
            }
        }

        fn tolerance(&mut self) -> Option<Tolerance> {
            let mut part = || match self.roll(6) {
                0 | 1 => 0.0,
                2 => 1e-9,
                3 => 1e-6,
                4 => 0.5,
                _ => 10_f64.powi(self.roll(600) as i32 - 300),
            };
            let tolerance = Tolerance { absolute: part(), relative: part() };
            (self.roll(4) > 0).then_some(tolerance)
        }

        /// Both values in the same place of the same structure.
        fn nest(&mut self, a: Value, b: Value, depth: u32) -> (Value, Value) {
            if depth == 0 {
                return (a, b);
            }
            let (a, b) = self.nest(a, b, depth - 1);
            let beside = Value::Int(BigInt::from(self.roll(9)));
            let text = |text: &str| Value::Text(text.into());
            match self.roll(3) {
                0 => (Value::List(vec![beside.clone(), a]), Value::List(vec![beside, b])),
                1 => (Value::List(vec![a, beside.clone()]), Value::Tuple(vec![b, beside])),
                _ => (
                    Value::Dict(vec![(text("a"), a), (text("b"), beside.clone())]),
                    Value::Dict(vec![(text("b"), beside), (text("a"), b)]),
                ),
            }
        }
    }

    /// In units of the smallest floating-point number; `None` where it is not finite.
    fn units(value: &Value) -> Option<BigInt> {
        match value {
            Value::Bool(value) => Some(BigInt::from(u8::from(*value)) << 1075),
            Value::Int(value) => Some(value << 1075),
            Value::Float(value) if value.is_finite() => {
                let (mantissa, exponent, sign) = value.integer_decode();
                Some((BigInt::from(mantissa) * sign) << (i32::from(exponent) + 1075))
            }
            _ => None,
        }
    }

    /// What is right by the definition, in exact arithmetic; `None` where rounding may decide.
    fn truth(expected: &Value, got: &Value, tolerance: Option<&Tolerance>) -> Option<bool> {
        let (Some(a), Some(b)) = (units(expected), units(got)) else {
            // What is not finite is close to nothing; infinities equal themselves.
            return Some(matches!((expected, got), (Value::Float(a), Value::Float(b)) if a == b));
        };
        if a == b {
            return Some(true);
        }
        let Some(tolerance) = tolerance else { return Some(false) };
        let off = (&a - &b).abs() << 1075;
        let mut close = false;
        for bound in
            [units(&Value::Float(tolerance.absolute))? << 1075, units(&Value::Float(tolerance.relative))? * a.abs()]
        {
            if bound.sign() == Sign::NoSign {
                continue;
            }
            let rounding = (&bound >> 40) + (BigInt::from(2) << 1075);
            let (above, below) = (off > &bound + &rounding, off < &bound - &rounding);
            if !above && !below {
                return None;
            }
            close |= below;
        }
        Some(close)
    }

    #[test]
    fn a_million_pairs_are_judged_by_the_definition() {
        let mut dice = Dice(13);
        let (mut accepted, mut refused, mut open) = (0, 0, 0);
        for round in 0..1_000_000 {
            let a = dice.number();
            let b = dice.beside(&a);
            let tolerance = dice.tolerance();
            let told = |what: &str| format!("round {round}, {what}: {a:?} and {b:?} by {tolerance:?}");
            let found = accepts(&a, &b, tolerance.as_ref());
            match truth(&a, &b, tolerance.as_ref()) {
                Some(right) => assert_eq!(found, right, "{}", told("the definition")),
                None => open += 1,
            }
            if found {
                accepted += 1
            } else {
                refused += 1
            }
            let exact = accepts(&a, &b, None);
            assert_eq!(exact, accepts(&b, &a, None), "{}", told("equality is symmetric"));
            assert!(found || !exact, "{}", told("what is equal is close"));
            let absolute = tolerance.map(|tolerance| Tolerance { relative: 0.0, ..tolerance });
            let (there, back) = (accepts(&a, &b, absolute.as_ref()), accepts(&b, &a, absolute.as_ref()));
            assert_eq!(there, back, "{}", told("an absolute tolerance is symmetric"));
            if round % 8 == 0 {
                let depth = 1 + dice.roll(4) as u32;
                let (outer, other) = dice.nest(a.clone(), b.clone(), depth);
                assert_eq!(accepts(&outer, &other, tolerance.as_ref()), found, "{}", told("nesting changes nothing"));
                let more = Value::List(vec![b.clone(), Value::None]);
                assert!(!accepts(&Value::List(vec![a.clone()]), &more, tolerance.as_ref()), "{}", told("one more"));
            }
        }
        assert!(accepted > 200_000 && refused > 200_000 && open < 10_000, "{accepted}, {refused}, {open}");
    }
}
