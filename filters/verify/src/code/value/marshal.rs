//! Python's marshal format, version 2: values are written, and read in place. A reader accepts exactly what `marshal.loads`
//! accepts of the plain types, so that checked bytes may be passed on to a Python as they are.

use super::{MAX_DEPTH, Value};
use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive;
use std::fmt::Write;

/// Longest text of [`Sent::short`].
const SHORT: usize = 200;
/// Bits of a digit of a whole number.
pub(super) const DIGIT: u64 = 15;

/// What a solution sent: a plain value, checked, as its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Sent<'b>(&'b [u8]);

/// What comes next in marshalled bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'b> {
    None,
    Bool(bool),
    Small(i32),
    /// Whether it is negative, and its digits of 15 bits in two bytes each, least first, the last of them not 0.
    Big(bool, &'b [u8]),
    Float(f64),
    Complex(f64, f64),
    Text(&'b [u8]),
    Bytes(&'b [u8]),
    /// So many values follow.
    List(usize),
    Tuple(usize),
    Set(usize, bool),
    /// Keys and values follow, up to `End`.
    Dict,
    End,
}

/// Bytes that are left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn word<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn float(&mut self) -> Option<f64> {
        self.word().map(f64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        // Marshal's lengths are signed.
        let length = usize::try_from(i32::from_le_bytes(self.word()?)).ok()?;
        // Everything takes a byte at least.
        (length <= self.0.len()).then_some(length)
    }

    /// The next item; `None` where the bytes are none.
    pub(super) fn next(&mut self) -> Option<Item<'b>> {
        let [kind] = self.word()?;
        Some(match kind {
            b'N' => Item::None,
            b'T' => Item::Bool(true),
            b'F' => Item::Bool(false),
            b'i' => Item::Small(i32::from_le_bytes(self.word()?)),
            b'l' => {
                let count = i32::from_le_bytes(self.word()?);
                let digits = self.take(2 * count.unsigned_abs() as usize)?;
                let (words, _) = digits.as_chunks::<2>();
                let in_range = words.iter().all(|word| word[1] <= 0x7f);
                if !in_range || words.last() == Some(&[0, 0]) {
                    return None;
                }
                Item::Big(count < 0, digits)
            }
            b'g' => Item::Float(self.float()?),
            b'y' => Item::Complex(self.float()?, self.float()?),
            b'u' => {
                let length = self.length()?;
                Item::Text(self.take(length).filter(|bytes| surrogate_utf8(bytes))?)
            }
            b's' => {
                let length = self.length()?;
                Item::Bytes(self.take(length)?)
            }
            b'[' => Item::List(self.length()?),
            b'(' => Item::Tuple(self.length()?),
            b'<' => Item::Set(self.length()?, false),
            b'>' => Item::Set(self.length()?, true),
            b'{' => Item::Dict,
            b'0' => Item::End,
            _ => return None,
        })
    }

    /// Whether the dictionary that is being read ends here; its end is taken.
    pub(super) fn ends(&mut self) -> Option<bool> {
        let ends = self.0.first()? == &b'0';
        self.0 = &self.0[usize::from(ends)..];
        Some(ends)
    }

    /// Goes past one value, which must be plain; where it is a key, something that can be one.
    fn pass(&mut self, depth: u32, key: bool) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.next()? {
            Item::End => return None,
            Item::List(_) | Item::Dict | Item::Set(_, false) if key => return None,
            Item::List(count) => (0..count).try_for_each(|_| self.pass(depth + 1, false))?,
            Item::Tuple(count) => (0..count).try_for_each(|_| self.pass(depth + 1, key))?,
            Item::Set(count, _) => (0..count).try_for_each(|_| self.pass(depth + 1, true))?,
            Item::Dict => {
                while !self.ends()? {
                    self.pass(depth + 1, true)?;
                    self.pass(depth + 1, false)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// As Python writes it; stops where there is enough to show.
    fn show(&mut self, text: &mut String) -> Option<()> {
        // Writing into a string cannot fail.
        let _ = match self.next()? {
            Item::None => write!(text, "None"),
            Item::Bool(value) => write!(text, "{}", if value { "True" } else { "False" }),
            Item::Small(value) => write!(text, "{value}"),
            // Digits of a huge number cost more than anybody reads.
            Item::Big(_, digits) if digits.len() > 512 => write!(text, "a number of {} bits", bits(digits)),
            Item::Big(negative, digits) => write!(text, "{}", big(negative, digits)),
            Item::Float(value) => write!(text, "{value:?}"),
            Item::Complex(real, imaginary) => write!(text, "({real:?}{imaginary:+?}j)"),
            Item::Text(bytes) => write!(text, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(2 * SHORT)])),
            Item::Bytes(bytes) => write!(text, "b{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(2 * SHORT)])),
            Item::List(count) => return self.show_all(text, ("[", "]"), count),
            Item::Tuple(count) => return self.show_all(text, ("(", if count == 1 { ",)" } else { ")" }), count),
            Item::Set(0, _) => write!(text, "set()"),
            Item::Set(count, _) => return self.show_all(text, ("{", "}"), count),
            Item::Dict => {
                text.push('{');
                let mut separator = "";
                while text.len() <= 2 * SHORT && !self.ends()? {
                    text.push_str(separator);
                    self.show(text)?;
                    text.push_str(": ");
                    self.show(text)?;
                    separator = ", ";
                }
                text.push('}');
                Ok(())
            }
            Item::End => return None,
        };
        Some(())
    }

    fn show_all(&mut self, text: &mut String, brackets: (&str, &str), count: usize) -> Option<()> {
        text.push_str(brackets.0);
        for index in 0..count {
            text.push_str(if index > 0 { ", " } else { "" });
            if text.len() > 2 * SHORT {
                break;
            }
            self.show(text)?;
        }
        text.push_str(brackets.1);
        Some(())
    }
}

impl<'b> Sent<'b> {
    /// One plain value and nothing after it; `None` where the bytes are anything else.
    pub(in super::super) fn read(bytes: &'b [u8]) -> Option<Sent<'b>> {
        let mut reader = Reader(bytes);
        reader.pass(0, false)?;
        reader.0.is_empty().then_some(Sent(bytes))
    }

    /// The values of a tuple of so many.
    pub(in super::super) fn tuple<const N: usize>(self) -> Option<[Sent<'b>; N]> {
        let mut reader = Reader(self.0);
        match reader.next()? {
            Item::Tuple(count) if count == N => {}
            _ => return None,
        }
        let mut parts = [self; N];
        for part in &mut parts {
            let begin = reader.0;
            reader.pass(0, false)?;
            *part = Sent(begin.get(..begin.len() - reader.0.len())?);
        }
        Some(parts)
    }

    /// The text, where it is one.
    pub(in super::super) fn text(self) -> Option<&'b [u8]> {
        match Reader(self.0).next()? {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As Python writes it, cut.
    pub(in super::super) fn short(self) -> String {
        let mut text = String::new();
        Reader(self.0).show(&mut text);
        super::super::text::short(&text, SHORT)
    }

    pub(super) fn reader(self) -> Reader<'b> {
        Reader(self.0)
    }
}

impl Value {
    /// For Python's `marshal.loads`.
    pub(in super::super) fn marshal(&self, out: &mut Vec<u8>) {
        let length = |out: &mut Vec<u8>, length: usize| out.extend((length as u32).to_le_bytes());
        match self {
            Value::None => out.push(b'N'),
            Value::Bool(value) => out.push(if *value { b'T' } else { b'F' }),
            Value::Int(value) => marshal_int(value, out),
            Value::Float(value) => {
                out.push(b'g');
                out.extend(value.to_le_bytes());
            }
            Value::Text(bytes) => {
                out.push(b'u');
                length(out, bytes.len());
                out.extend(bytes);
            }
            Value::List(items) | Value::Tuple(items) => {
                out.push(if matches!(self, Value::List(_)) { b'[' } else { b'(' });
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
}

fn marshal_int(value: &BigInt, out: &mut Vec<u8>) {
    if let Some(small) = value.to_i32() {
        out.push(b'i');
        out.extend(small.to_le_bytes());
        return;
    }
    let digits = digits(value);
    let count = (digits.len() / 2) as i32;
    out.push(b'l');
    out.extend((if value.sign() == Sign::Minus { -count } else { count }).to_le_bytes());
    out.extend(digits);
}

/// Digits of 15 bits in two bytes each, least first, without zeros at the end.
pub(super) fn digits(value: &BigInt) -> Vec<u8> {
    let mut digits = Vec::new();
    let (mut held, mut bits) = (0_u64, 0);
    for word in value.iter_u32_digits() {
        held |= u64::from(word) << bits;
        bits += 32;
        while bits >= DIGIT {
            digits.extend(((held & 0x7fff) as u16).to_le_bytes());
            held >>= DIGIT;
            bits -= DIGIT;
        }
    }
    while held > 0 {
        digits.extend(((held & 0x7fff) as u16).to_le_bytes());
        held >>= DIGIT;
    }
    while digits.ends_with(&[0, 0]) {
        digits.truncate(digits.len() - 2);
    }
    digits
}

/// The number that digits stand for.
pub(super) fn big(negative: bool, digits: &[u8]) -> BigInt {
    let mut words = Vec::with_capacity(digits.len() / 4 + 1);
    let (mut held, mut held_bits) = (0_u64, 0);
    for digit in digits.as_chunks::<2>().0 {
        held |= u64::from(u16::from_le_bytes(*digit)) << held_bits;
        held_bits += DIGIT;
        while held_bits >= 32 {
            words.push(held as u32);
            held >>= 32;
            held_bits -= 32;
        }
    }
    words.push(held as u32);
    BigInt::from_slice(if negative { Sign::Minus } else { Sign::Plus }, &words)
}

/// How many bits a number has at most.
pub(super) fn bits(digits: &[u8]) -> u64 {
    digits.len() as u64 / 2 * DIGIT
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

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
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
            assert!(json(text).accepts(Sent::read(&bytes).expect("a value"), None), "{text}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_without_harm() {
        let deep = "[".repeat(100_000);
        assert!(Value::from_json(&deep).is_err());
        let mut nested = Vec::new();
        (0..1000).for_each(|_| nested.extend([b'[', 1, 0, 0, 0]));
        for bytes in [
            &b""[..],
            b"[\xff\xff\xff\xff",
            b"l\xff\xff\xff\x7f",
            b"l\x01\0\0\0\0\0",
            b"l\x01\0\0\0\xff\xff",
            b"u\x01\0\0\0\xff",
            b"c",
            b"{N",
            b"{[\0\0\0\0N0",
            b"<\x01\0\0\0{0",
            b"[\x01\0\0\x000",
            b"0",
            b"NN",
            &nested,
        ] {
            assert_eq!(Sent::read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn values_are_shown_in_short() {
        for (text, shown) in [
            (
                "[1, -98765432109876543210987654321, 0.5, true, null]",
                "[1, -98765432109876543210987654321, 0.5, True, None]",
            ),
            ("{\"a\": [\"b\"]}", "{\"a\": [\"b\"]}"),
            ("{}", "{}"),
        ] {
            assert_eq!(json(text).short(), shown);
        }
        let long = Value::List(vec![Value::None; 1 << 20]).short();
        assert!(long.len() < 2 * SHORT && long.ends_with('…'), "{long}");
        assert_eq!(Value::Int(BigInt::from(1) << 6000).short(), "a number of 6015 bits");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64), text in ".{0,40}") {
            if let Some(sent) = Sent::read(&bytes) {
                sent.short();
                Value::None.accepts(sent, None);
            }
            let _ = Value::from_json(&text);
        }
    }
}
