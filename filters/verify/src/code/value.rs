//! Values that go between Python and this program: read from JSON, to and from Python's marshal format (version 2, which
//! has no references), compared, and shown in short. What a solution sends is read here and nowhere else.

use super::Tolerance;
use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive;
use std::fmt::Write;

/// Deepest nesting that is read.
const MAX_DEPTH: u32 = 200;
/// Longest text of [`Value::short`].
const SHORT: usize = 200;

/// A value of Python's plain types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of any size.
    Int(BigInt),
    /// A floating-point number.
    Float(f64),
    /// A complex number.
    Complex(f64, f64),
    /// Text, as UTF-8 with lone surrogates kept.
    Text(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A set, frozen or not.
    Set(Vec<Value>, bool),
    /// A dictionary, in its order.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// Reads JSON text exactly: numbers of any size stay whole.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_json(text: &str) -> Result<Value, String> {
        let mut reader = Json { bytes: text.as_bytes(), place: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.place < reader.bytes.len() {
            return Err(format!("expected nothing after the value, found more at byte {}", reader.place));
        }
        Ok(value)
    }

    /// Reads what a solution sent. `None` when it is not a plain value.
    pub fn unmarshal(bytes: &[u8]) -> Option<Value> {
        let mut rest = bytes;
        let value = unmarshal(&mut rest, 0)?;
        rest.is_empty().then_some(value)
    }

    /// For Python's `marshal.loads`.
    pub fn marshal(&self, out: &mut Vec<u8>) {
        let length = |out: &mut Vec<u8>, length: usize| out.extend((length as u32).to_le_bytes());
        match self {
            Value::None => out.push(b'N'),
            Value::Bool(value) => out.push(if *value { b'T' } else { b'F' }),
            Value::Int(value) => marshal_int(value, out),
            Value::Float(value) => {
                out.push(b'g');
                out.extend(value.to_le_bytes());
            }
            Value::Complex(real, imaginary) => {
                out.push(b'y');
                out.extend(real.to_le_bytes());
                out.extend(imaginary.to_le_bytes());
            }
            Value::Text(bytes) | Value::Bytes(bytes) => {
                out.push(if matches!(self, Value::Text(_)) { b'u' } else { b's' });
                length(out, bytes.len());
                out.extend(bytes);
            }
            Value::List(items) | Value::Tuple(items) | Value::Set(items, _) => {
                out.push(match self {
                    Value::List(_) => b'[',
                    Value::Tuple(_) => b'(',
                    Value::Set(_, true) => b'>',
                    _ => b'<',
                });
                length(out, items.len());
                items.iter().for_each(|item| item.marshal(out));
            }
            Value::Dict(pairs) => {
                out.push(b'{');
                for (key, value) in pairs {
                    key.marshal(out);
                    value.marshal(out);
                }
                out.push(b'0');
            }
        }
    }

    /// Whether Python would find them equal, tuples taken as lists, since JSON has none.
    pub fn equals(&self, other: &Value, tolerance: Option<&Tolerance>) -> bool {
        let all = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b, tolerance));
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Text(a), Value::Text(b)) | (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a) | Value::Tuple(a), Value::List(b) | Value::Tuple(b)) => all(a, b),
            (Value::Set(a, _), Value::Set(b, _)) => {
                a.len() == b.len() && a.iter().all(|a| b.iter().any(|b| a.equals(b, None)))
            }
            (Value::Dict(a), Value::Dict(b)) => {
                let same = |key: &Value, value: &Value| {
                    b.iter().any(|(other, found)| key.equals(other, None) && value.equals(found, tolerance))
                };
                a.len() == b.len() && a.iter().all(|(key, value)| same(key, value))
            }
            (Value::Complex(a, b), Value::Complex(c, d)) => a == c && b == d,
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.equals(&b, tolerance),
                _ => false,
            },
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Value::Bool(value) => Some(Number::Int(BigInt::from(u8::from(*value)))),
            Value::Int(value) => Some(Number::Int(value.clone())),
            Value::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }

    /// As Python writes it, cut.
    pub fn short(&self) -> String {
        let mut text = String::new();
        self.show(&mut text);
        super::text::short(&text, SHORT)
    }

    fn show(&self, text: &mut String) {
        if text.len() > 2 * SHORT {
            return;
        }
        let show_all = |text: &mut String, open: &str, items: &[Value], close: &str| {
            text.push_str(open);
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                item.show(text);
                if text.len() > 2 * SHORT {
                    break;
                }
            }
            text.push_str(close);
        };
        // Writing into a string cannot fail.
        let _ = match self {
            Value::None => write!(text, "None"),
            Value::Bool(value) => write!(text, "{}", if *value { "True" } else { "False" }),
            // Digits of a huge number cost more than anybody reads.
            Value::Int(value) if value.bits() > 4096 => write!(text, "a number of {} bits", value.bits()),
            Value::Int(value) => write!(text, "{value}"),
            Value::Float(value) => write!(text, "{value:?}"),
            Value::Complex(real, imaginary) => write!(text, "({real:?}{imaginary:+?}j)"),
            Value::Text(bytes) => write!(text, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(2 * SHORT)])),
            Value::Bytes(bytes) => write!(text, "b{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(2 * SHORT)])),
            Value::List(items) => return show_all(text, "[", items, "]"),
            Value::Tuple(items) => return show_all(text, "(", items, if items.len() == 1 { ",)" } else { ")" }),
            Value::Set(items, _) => return show_all(text, "{", items, "}"),
            Value::Dict(pairs) => {
                text.push('{');
                for (index, (key, value)) in pairs.iter().enumerate() {
                    text.push_str(if index > 0 { ", " } else { "" });
                    key.show(text);
                    text.push_str(": ");
                    value.show(text);
                    if text.len() > 2 * SHORT {
                        break;
                    }
                }
                text.push('}');
                Ok(())
            }
        };
    }
}

/// A number on its way to a comparison.
enum Number {
    Int(BigInt),
    Float(f64),
}

impl Number {
    fn equals(&self, other: &Number, tolerance: Option<&Tolerance>) -> bool {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a == b || tolerance.is_some_and(|t| t.allows(float(a), float(b))),
            (Number::Float(a), Number::Float(b)) => a == b || tolerance.is_some_and(|t| t.allows(*a, *b)),
            (Number::Int(a), Number::Float(b)) | (Number::Float(b), Number::Int(a)) => {
                // Exactly, as Python does: 2**53 + 1 is not 2.0**53.
                let exact =
                    b.is_finite() && b.fract() == 0.0 && num_traits::FromPrimitive::from_f64(*b).as_ref() == Some(a);
                exact || tolerance.is_some_and(|t| t.allows(float(a), *b))
            }
        }
    }
}

fn float(value: &BigInt) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

fn marshal_int(value: &BigInt, out: &mut Vec<u8>) {
    if let Some(small) = value.to_i32() {
        out.push(b'i');
        out.extend(small.to_le_bytes());
        return;
    }
    // Digits of 15 bits, least first; the sign is that of their number.
    let (sign, words) = value.to_u32_digits();
    let mut digits: Vec<u16> = Vec::new();
    let (mut held, mut bits) = (0_u64, 0);
    for word in words {
        held |= u64::from(word) << bits;
        bits += 32;
        while bits >= 15 {
            digits.push((held & 0x7fff) as u16);
            held >>= 15;
            bits -= 15;
        }
    }
    while held > 0 {
        digits.push((held & 0x7fff) as u16);
        held >>= 15;
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let count = digits.len() as i32;
    out.push(b'l');
    out.extend((if sign == Sign::Minus { -count } else { count }).to_le_bytes());
    digits.iter().for_each(|digit| out.extend(digit.to_le_bytes()));
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}

fn unmarshal(rest: &mut &[u8], depth: u32) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    let [kind] = number(rest)?;
    Some(match kind {
        b'N' => Value::None,
        b'T' => Value::Bool(true),
        b'F' => Value::Bool(false),
        b'i' => Value::Int(i32::from_le_bytes(number(rest)?).into()),
        b'l' => {
            let count = i32::from_le_bytes(number(rest)?);
            let digits = take(rest, 2 * count.unsigned_abs() as usize)?;
            let mut bits = Vec::with_capacity(digits.len());
            let (mut held, mut held_bits) = (0_u64, 0);
            for digit in digits.chunks_exact(2) {
                let digit = u16::from_le_bytes([digit[0], digit[1]]);
                if digit > 0x7fff {
                    return None;
                }
                held |= u64::from(digit) << held_bits;
                held_bits += 15;
                while held_bits >= 32 {
                    bits.push(held as u32);
                    held >>= 32;
                    held_bits -= 32;
                }
            }
            bits.push(held as u32);
            Value::Int(BigInt::from_slice(if count < 0 { Sign::Minus } else { Sign::Plus }, &bits))
        }
        b'g' => Value::Float(f64::from_le_bytes(number(rest)?)),
        b'y' => Value::Complex(f64::from_le_bytes(number(rest)?), f64::from_le_bytes(number(rest)?)),
        b'u' | b's' => {
            let length = u32::from_le_bytes(number(rest)?) as usize;
            let bytes = take(rest, length)?.to_vec();
            if kind == b's' {
                Value::Bytes(bytes)
            } else if surrogate_utf8(&bytes) {
                Value::Text(bytes)
            } else {
                return None;
            }
        }
        b'[' | b'(' | b'<' | b'>' => {
            let count = u32::from_le_bytes(number(rest)?) as usize;
            // Every item takes a byte at least: nothing is allocated on a word alone.
            if count > rest.len() {
                return None;
            }
            let items = (0..count).map(|_| unmarshal(rest, depth + 1)).collect::<Option<Vec<_>>>()?;
            match kind {
                b'[' => Value::List(items),
                b'(' => Value::Tuple(items),
                kind => {
                    if !items.iter().all(Value::hashable) {
                        return None;
                    }
                    Value::Set(items, kind == b'>')
                }
            }
        }
        b'{' => {
            let mut pairs = Vec::new();
            while rest.first()? != &b'0' {
                let key = unmarshal(rest, depth + 1)?;
                if !key.hashable() {
                    return None;
                }
                pairs.push((key, unmarshal(rest, depth + 1)?));
            }
            take(rest, 1)?;
            Value::Dict(pairs)
        }
        _ => return None,
    })
}

impl Value {
    fn hashable(&self) -> bool {
        match self {
            Value::List(_) | Value::Dict(_) | Value::Set(_, false) => false,
            Value::Tuple(items) => items.iter().all(Value::hashable),
            _ => true,
        }
    }
}

/// UTF-8 in which surrogates are allowed, as Python's `surrogatepass` writes them.
fn surrogate_utf8(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(_) => return true,
            Err(error) => {
                rest = &rest[error.valid_up_to()..];
                match rest {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] => rest = after,
                    _ => return false,
                }
            }
        }
    }
}

/// A reader of JSON that keeps numbers whole.
struct Json<'t> {
    bytes: &'t [u8],
    place: usize,
}

impl Json<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.place).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.place += 1;
        }
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("expected {expected} at byte {}", self.place))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.bytes.get(self.place..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        self.place += if found { word.len() } else { 0 };
        found
    }

    fn value(&mut self, depth: u32) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return self.wrong("less nesting");
        }
        self.space();
        match self.bytes.get(self.place) {
            Some(b'[') => self.list(depth),
            Some(b'{') => self.dict(depth),
            Some(b'"') => Ok(Value::Text(self.text()?.into_bytes())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.eat("null") => Ok(Value::None),
            _ if self.eat("true") => Ok(Value::Bool(true)),
            _ if self.eat("false") => Ok(Value::Bool(false)),
            _ if self.eat("NaN") => Ok(Value::Float(f64::NAN)),
            _ if self.eat("Infinity") => Ok(Value::Float(f64::INFINITY)),
            _ => self.wrong("a JSON value"),
        }
    }

    fn list(&mut self, depth: u32) -> Result<Value, String> {
        self.place += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat("]") {
                return Ok(Value::List(items));
            }
            if !self.eat(",") {
                return self.wrong("`,` or `]`");
            }
        }
    }

    fn dict(&mut self, depth: u32) -> Result<Value, String> {
        self.place += 1;
        let mut pairs = Vec::new();
        self.space();
        if self.eat("}") {
            return Ok(Value::Dict(pairs));
        }
        loop {
            self.space();
            let key = Value::Text(self.text()?.into_bytes());
            self.space();
            if !self.eat(":") {
                return self.wrong("`:`");
            }
            pairs.push((key, self.value(depth + 1)?));
            self.space();
            if self.eat("}") {
                return Ok(Value::Dict(pairs));
            }
            if !self.eat(",") {
                return self.wrong("`,` or `}`");
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let start = self.place;
        if !self.eat("\"") {
            return self.wrong("`\"`");
        }
        while let Some(byte) = self.bytes.get(self.place) {
            self.place += 1;
            match byte {
                b'\\' => self.place += 1,
                b'"' => {
                    let text = self.bytes.get(start..self.place).unwrap_or_default();
                    return serde_json::from_slice(text).map_err(|error| format!("text at byte {start}: {error}"));
                }
                _ => {}
            }
        }
        self.wrong("the end of a text")
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.place;
        if self.eat("-Infinity") {
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        while self
            .bytes
            .get(self.place)
            .is_some_and(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
        {
            self.place += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.place]).unwrap_or_default();
        if text.contains(['.', 'e', 'E']) {
            return text.parse().map(Value::Float).map_err(|_| format!("expected a number at byte {start}"));
        }
        text.parse().map(Value::Int).map_err(|_| format!("expected a number at byte {start}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn numbers_compare_as_python_compares_them() {
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
            ("null", "0", false),
        ] {
            assert_eq!(json(a).equals(&json(b), None), same, "{a} == {b}");
        }
        let tolerance = Tolerance { absolute: 1e-6, relative: 0.0 };
        assert!(json("[0.1]").equals(&json("[0.1000001]"), Some(&tolerance)));
        assert!(!json("[0.1]").equals(&json("[0.2]"), Some(&tolerance)));
        assert!(json("[1]").equals(&Value::Tuple(vec![json("1")]), None), "JSON has no tuples");
    }

    #[test]
    fn what_is_marshalled_comes_back() {
        for text in [
            "null",
            "[1, -1, 2147483648, -98765432109876543210987654321, 0.5, true, \"\\u00e9\"]",
            "{\"a\": {}}",
            "32768",
            "1073741824",
        ] {
            let mut bytes = Vec::new();
            json(text).marshal(&mut bytes);
            assert_eq!(Value::unmarshal(&bytes), Some(json(text)), "{text}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_without_harm() {
        let deep = "[".repeat(100_000);
        assert!(Value::from_json(&deep).is_err());
        let mut nested = Vec::new();
        (0..1000).for_each(|_| nested.extend([b'[', 1, 0, 0, 0]));
        for bytes in
            [&b""[..], b"[\xff\xff\xff\xff", b"l\xff\xff\xff\x7f", b"u\x01\0\0\0\xff", b"c", b"{N", b"NN", &nested]
        {
            assert_eq!(Value::unmarshal(bytes), None, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64), text in ".{0,40}") {
            if let Some(value) = Value::unmarshal(&bytes) {
                value.short();
            }
            let _ = Value::from_json(&text);
        }
    }
}
