//! Numerals: digits with separators, a decimal point, repeating digits, a power of ten; exactly.

use super::token::Commas;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

/// More digits are not read.
const MAX_DIGITS: usize = 1100;
/// The largest power of ten in `1e…`.
const MAX_EXPONENT: u32 = 1200;

/// A numeral as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Numeral {
    /// Its value.
    pub value: BigRational,
    /// For a decimal: the place of its last digit (2 for `1.25`, −3 for `5e3`) and its significant digits.
    pub decimal: Option<Decimal>,
    /// Only digits: they can be the digits of another base, or the numerator of `\frac12`.
    pub digits: Option<String>,
}

/// How precisely a decimal is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// The last digit is worth 10^-places.
    pub places: i32,
    /// Digits from the first one that is not zero.
    pub significant: u32,
}

impl Numeral {
    /// An integer.
    pub(crate) fn integer(value: i64) -> Numeral {
        let digits = (value >= 0).then(|| value.to_string());
        Numeral { value: BigRational::from_integer(value.into()), decimal: None, digits }
    }

    /// A number that was written in words.
    pub(crate) fn rational(value: BigRational) -> Numeral {
        Numeral { value, decimal: None, digits: None }
    }

    /// A fraction in one character.
    pub(crate) fn fraction(numerator: i64, denominator: i64) -> Numeral {
        Numeral { value: BigRational::new(numerator.into(), denominator.into()), decimal: None, digits: None }
    }
}

/// The numeral at the beginning of `text`, and its length in characters.
pub(crate) fn scan(text: &[char], commas: Commas) -> Result<(Numeral, usize), &'static str> {
    let mut at = 0;
    let mut whole = String::new();
    let run = |from: usize| text[from.min(text.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
    let count = run(0);
    whole.extend(&text[..count]);
    at += count;
    let mut grouped = false;
    if (1..=3).contains(&count) {
        while let Some(separator) = separator(&text[at..], commas, whole == "0") {
            // Exactly three digits, and the same on: `1 0000` and `1,23,456` are no groups.
            if run(at + separator) != 3 {
                break;
            }
            whole.extend(&text[at + separator..at + separator + 3]);
            at += separator + 3;
            grouped = true;
        }
    }
    let mut fraction = String::new();
    let mut decimal = false;
    let point = match text.get(at) {
        Some('.') => {
            run(at + 1) > 0
                || repeating(&text[at + 1..]).is_some()
                || !text.get(at + 1).is_some_and(|c| c.is_alphabetic() || *c == '.' || *c == '\\')
        }
        Some(',') => commas == Commas::Decimal && !grouped && run(at + 1) > 0,
        _ => false,
    };
    if point {
        let count = run(at + 1);
        fraction.extend(&text[at + 1..at + 1 + count]);
        at += 1 + count;
        decimal = count > 0;
        // Thin spaces among decimals: 0.123\,456
        while let Some(skip) = thin(&text[at..]).filter(|skip| run(at + skip) == 3 && fraction.len().is_multiple_of(3))
        {
            fraction.extend(&text[at + skip..at + skip + 3]);
            at += skip + 3;
        }
    }
    if whole.len() + fraction.len() > MAX_DIGITS {
        return Err("too-many-digits");
    }
    let parse = |digits: &str| BigInt::parse_bytes(format!("0{digits}").as_bytes(), 10).unwrap_or_default();
    let mut value = BigRational::new(parse(&format!("{whole}{fraction}")), ten(fraction.len() as u32));
    let mut places = fraction.len() as i32;
    let mut plain = !decimal && !grouped;
    // Repeating digits: 0.1\overline{6}, 0.\dot{3}
    if point && let Some((digits, length)) = repeating(&text[at..]) {
        let nines = ten(digits.len() as u32) - 1;
        value += BigRational::new(parse(&digits), nines * ten(fraction.len() as u32));
        return Ok((Numeral { value, decimal: None, digits: None }, at + length));
    }
    if let Some((exponent, length)) = exponent(&text[at..]) {
        if exponent.unsigned_abs() > MAX_EXPONENT {
            return Err("exponent-too-large");
        }
        let scale = BigRational::from_integer(ten(exponent.unsigned_abs()));
        value = if exponent < 0 { value / scale } else { value * scale };
        places -= exponent;
        at += length;
        plain = false;
    }
    let significant = format!("{whole}{fraction}").trim_start_matches('0').len() as u32;
    Ok((
        Numeral { value, decimal: decimal.then_some(Decimal { places, significant }), digits: plain.then_some(whole) },
        at,
    ))
}

fn ten(exponent: u32) -> BigInt {
    if exponent == 0 { BigInt::one() } else { BigInt::from(10).pow(exponent) }
}

fn starts(text: &[char], with: &str) -> bool {
    with.chars().enumerate().all(|(at, c)| text.get(at) == Some(&c))
}

/// The length of a thousands separator here.
fn separator(text: &[char], commas: Commas, zero: bool) -> Option<usize> {
    if zero {
        return None;
    }
    for known in [
        "{,}", ",\\! ", ",\\, ", "{, }", "{ ,}", " {, }", ",\\!", ",\\,", "\\,", "\\ ", "\\!", "\\;", "\u{a0}",
        "\u{202f}", "\u{2009}", " ",
    ] {
        if starts(text, known) && text.get(known.chars().count()).is_some_and(char::is_ascii_digit) {
            return Some(known.chars().count());
        }
    }
    (commas == Commas::Group && starts(text, ",")).then_some(1)
}

fn thin(text: &[char]) -> Option<usize> {
    ["\\,", "\u{2009}", "\u{202f}"].into_iter().find(|known| starts(text, known)).map(|known| known.chars().count())
}

fn repeating(text: &[char]) -> Option<(String, usize)> {
    if let Some(open) = ["\\overline{", "\\bar{", "\\overline {", "("].into_iter().find(|open| starts(text, open)) {
        let start = open.chars().count();
        let digits: String = text[start..].iter().take_while(|c| c.is_ascii_digit()).collect();
        let close = if open == "(" { ')' } else { '}' };
        let fits = !digits.is_empty() && digits.len() < 64 && text.get(start + digits.len()) == Some(&close);
        return fits.then(|| (digits.clone(), start + digits.len() + 1));
    }
    // Dots on the first and the last repeating digit.
    let dotted = |text: &[char]| {
        (starts(text, "\\dot{") && text.get(5).is_some_and(char::is_ascii_digit) && text.get(6) == Some(&'}'))
            .then(|| text[5])
    };
    let mut digits = String::from(dotted(text)?);
    let mut at = 7;
    let between: String = text[at..].iter().take_while(|c| c.is_ascii_digit()).collect();
    if let Some(last) = dotted(&text[at + between.len()..]) {
        at += between.len() + 7;
        digits.push_str(&between);
        digits.push(last);
    }
    (digits.len() < 64).then_some((digits, at))
}

/// `e-7`, `E23` right after the digits.
fn exponent(text: &[char]) -> Option<(i32, usize)> {
    if !matches!(text.first(), Some('e' | 'E')) {
        return None;
    }
    let sign = usize::from(matches!(text.get(1), Some('+' | '-' | '\u{2212}')));
    let digits: String = text[1 + sign..].iter().take_while(|c| c.is_ascii_digit()).take(9).collect();
    let length = 1 + sign + digits.len();
    let followed = text.get(length).is_some_and(|c| c.is_ascii_alphanumeric());
    let value: i32 = digits.parse().ok().filter(|_| !followed)?;
    Some((if sign == 1 && text[1] != '+' { -value } else { value }, length))
}

/// Fractions in one character.
pub(crate) fn vulgar(c: char) -> Option<(i64, i64)> {
    Some(match c {
        '↉' => (0, 3),
        '⅐' => (1, 7),
        '⅑' => (1, 9),
        '⅒' => (1, 10),
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        _ => return None,
    })
}

/// A raised (`true`) or lowered digit or sign.
pub(crate) fn script(c: char) -> Option<(bool, char)> {
    const RAISED: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    const LOWERED: &str = "₀₁₂₃₄₅₆₇₈₉";
    let place = |all: &str| all.chars().position(|known| known == c).and_then(|at| char::from_digit(at as u32, 10));
    match c {
        '⁻' => Some((true, '-')),
        _ => place(RAISED).map(|digit| (true, digit)).or_else(|| place(LOWERED).map(|digit| (false, digit))),
    }
}

/// A value written in another base.
pub(crate) fn in_base(digits: &str, base: u32) -> Option<BigRational> {
    if !(2..=36).contains(&base) || digits.is_empty() || digits.len() > 256 {
        return None;
    }
    let mut value = BigInt::zero();
    for digit in digits.chars() {
        value = value * base + digit.to_digit(base)?;
    }
    Some(BigRational::from_integer(value))
}
