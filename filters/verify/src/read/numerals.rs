//! Numbers in words: English cardinals and fractions, and the small cardinals of some other languages.

use num_rational::BigRational;
use num_traits::Zero;

const ONES: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const LARGE: &[(&str, i64)] = &[
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
    ("dozen", 12),
];
const PARTS: &[(&str, i64)] = &[
    ("half", 2),
    ("halves", 2),
    ("third", 3),
    ("thirds", 3),
    ("quarter", 4),
    ("quarters", 4),
    ("fourth", 4),
    ("fourths", 4),
    ("fifth", 5),
    ("fifths", 5),
    ("sixth", 6),
    ("sixths", 6),
    ("seventh", 7),
    ("sevenths", 7),
    ("eighth", 8),
    ("eighths", 8),
    ("ninth", 9),
    ("ninths", 9),
    ("tenth", 10),
    ("tenths", 10),
];
/// Words that are a number in one language and nothing else in English.
const FOREIGN: &[(&[&str], i64)] = &[
    (&["cero", "ноль"], 0),
    (&["eins", "uno", "один"], 1),
    (&["zwei", "deux", "dos", "dois", "два"], 2),
    (&["drei", "trois", "tres", "três", "три"], 3),
    (&["vier", "quatre", "cuatro", "quattro", "quatro", "четыре"], 4),
    (&["fünf", "cinq", "cinco", "cinque", "пять"], 5),
    (&["sechs", "seis", "шесть"], 6),
    (&["sieben", "sept", "siete", "sette", "sete", "семь"], 7),
    (&["acht", "huit", "ocho", "oito", "восемь"], 8),
    (&["neun", "neuf", "nueve", "nove", "девять"], 9),
    (&["zehn", "dix", "diez", "dieci", "dez", "десять"], 10),
    (&["onze", "undici", "одиннадцать"], 11),
    (&["zwölf", "douze", "doce", "dodici", "doze", "двенадцать"], 12),
    (&["dreizehn", "treize", "trece", "tredici"], 13),
    (&["vierzehn", "quatorze", "catorce"], 14),
    (&["fünfzehn", "quinze", "quince", "quindici"], 15),
    (&["sechzehn", "seize", "dieciséis"], 16),
    (&["zwanzig", "vingt", "veinte", "venti", "vinte", "двадцать"], 20),
    (&["dreißig", "trente", "treinta", "trenta"], 30),
    (&["hundert", "cien", "cem", "сто"], 100),
];

/// A number in words.
pub(crate) fn number(text: &str) -> Option<BigRational> {
    const LONGEST: usize = 120;
    if text.len() > LONGEST {
        return None;
    }
    let lower = text.trim().to_lowercase();
    if let Some((_, value)) = FOREIGN.iter().find(|(words, _)| words.contains(&lower.as_str())) {
        return Some(whole(*value));
    }
    let words: Vec<&str> = lower.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let (negative, words) = match words.as_slice() {
        ["minus" | "negative", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let value = match words.split_last()? {
        (part, before) if PARTS.iter().any(|(name, _)| name == part) => {
            let (_, below) = PARTS.iter().find(|(name, _)| name == part)?;
            // "a half", "three quarters", "two and a half"
            let part = |above: i64| whole(above) / whole(*below);
            match before {
                // A third alone may be one behind the second.
                [] if matches!(*below, 2) || words[0] == "quarter" => part(1),
                [] => return None,
                [words @ .., "and"] => whole(cardinal(words)?) + part(1),
                words => match words.iter().rposition(|word| *word == "and") {
                    Some(at) if at > 0 => whole(cardinal(&words[..at])?) + part(cardinal(&words[at + 1..])?),
                    _ => part(cardinal(words)?),
                },
            }
        }
        _ => whole(cardinal(words)?),
    };
    Some(if negative { -value } else { value })
}

/// A text of words that begins with a number in words, with that in digits: `2/3` for "two thirds", `5 apples` for "five
/// apples", `10 %` for "ten percent". Nothing for any other text.
pub(crate) fn in_digits(text: &str) -> Option<String> {
    const LONGEST: usize = 160;
    let bytes = text.as_bytes();
    if text.len() > LONGEST || bytes.iter().any(u8::is_ascii_digit) || text.contains(['=', '<', '>', '+', '*', '^']) {
        return None;
    }
    let normal = super::words::normal(text);
    if let Some(value) = number(&normal) {
        return Some(value.to_string());
    }
    let lower = text.trim_start_matches(|c: char| !c.is_alphabetic()).to_lowercase();
    if lower.contains("a ")
        && let Some(value) = number(&format!("one {normal}"))
    {
        return Some(value.to_string());
    }
    let words: Vec<&str> = normal.split(' ').collect();
    // "half a dozen"
    if let ["half", rest @ ..] = words.as_slice()
        && let Some(value) = number(&rest.join(" "))
    {
        return Some((value / whole(2)).to_string());
    }
    // The longest number at the beginning; no other may follow it.
    let length = (1..words.len()).rev().find(|length| number(&words[..*length].join(" ")).is_some())?;
    let (counted, rest) = words.split_at(length);
    let plain = rest.iter().all(|word| {
        word.chars().all(char::is_alphabetic)
            && number(word).is_none()
            && !super::words::states(word)
            && !matches!(
                *word,
                "point"
                    | "and"
                    | "of"
                    | "to"
                    | "th"
                    | "times"
                    | "plus"
                    | "minus"
                    | "divided"
                    | "squared"
                    | "hundredths"
            )
    });
    // "one" begins sentences that count nothing.
    (plain && rest.len() <= 3 && counted != ["one"])
        .then(|| format!("{} {}", number(&counted.join(" ")).unwrap_or_default(), rest.join(" ")))
}

fn whole(value: i64) -> BigRational {
    BigRational::from_integer(value.into())
}

/// one hundred and twenty-five thousand three
fn cardinal(words: &[&str]) -> Option<i64> {
    let (mut total, mut section, mut last) = (0_i64, 0_i64, Last::Nothing);
    for (at, word) in words.iter().enumerate() {
        if *word == "and" {
            if !matches!(last, Last::Hundred | Last::Large) || at + 1 == words.len() {
                return None;
            }
            continue;
        }
        if let Some(value) = ONES.iter().position(|known| known == word) {
            let fits = match last {
                Last::Ones => false,
                Last::Tens => (1..10).contains(&value),
                _ => true,
            };
            section = fits.then_some(section + value as i64)?;
            last = Last::Ones;
        } else if let Some(value) = TENS.iter().position(|known| known == word) {
            section = (!matches!(last, Last::Ones | Last::Tens)).then_some(section + 10 * (value as i64 + 2))?;
            last = Last::Tens;
        } else if matches!(*word, "hundred" | "hundreds") {
            section = if section.is_zero() { 100 } else { (section < 100).then_some(section * 100)? };
            last = Last::Hundred;
        } else if let Some((_, value)) = LARGE.iter().find(|(known, _)| known == word) {
            let count = if section == 0 && total == 0 { 1 } else { section };
            total = total.checked_add(count.checked_mul(*value)?)?;
            (section, last) = (0, Last::Large);
        } else {
            return None;
        }
    }
    (last != Last::Nothing).then_some(total + section)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Ones,
    Tens,
    Hundred,
    Large,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        for (text, wanted) in [
            ("twenty-one", "21"),
            ("one hundred twenty five", "125"),
            ("one hundred and five", "105"),
            ("two thousand", "2000"),
            ("three million two hundred thousand", "3200000"),
            ("two thirds", "2/3"),
            ("half", "1/2"),
            ("two and three quarters", "11/4"),
            ("minus four", "-4"),
            ("zwölf", "12"),
            ("eighteen", "18"),
        ] {
            assert_eq!(number(text).map(|value| value.to_string()).as_deref(), Some(wanted), "{text}");
        }
        for text in ["", "and", "one two", "twenty eleven", "five apples", "hundred hundred", "one and", "seventy-zero"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
