//! Other scripts and languages: full-width and mathematical characters, joining words, Chinese numerals and units. What is
//! not known here stays a word, so that nothing is read into it.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

/// A word that joins two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joiner {
    /// Both.
    And,
    /// Either.
    Or,
}

/// A part of a run of characters without spaces.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// "and", "or".
    Joiner(Joiner),
    /// A numeral in words.
    Number(BigRational),
    /// A unit by its English name, or a word that is not known.
    Word(String),
    /// Degrees.
    Degree,
    /// "per"
    Per,
    /// A hundredth.
    Percent,
}

/// ASCII for what is the same in another shape: full-width, mathematical bold and italic, digits of other scripts.
pub(super) fn folded(c: char) -> char {
    let shifted = |first: u32, to: char| char::from_u32(c as u32 - first + to as u32).unwrap_or(c);
    match c {
        '０'..='９' => shifted(0xff10, '0'),
        'Ａ'..='Ｚ' => shifted(0xff21, 'A'),
        'ａ'..='ｚ' => shifted(0xff41, 'a'),
        '．' => '.',
        '＋' => '+',
        '－' | '﹣' => '-',
        '＊' => '*',
        '／' => '/',
        '＝' => '=',
        '＜' => '<',
        '＞' => '>',
        '％' => '%',
        '！' => '!',
        '＾' => '^',
        '＿' => '_',
        '｛' => '{',
        '｝' => '}',
        '＼' => '\\',
        '＄' => '$',
        '٠'..='٩' => shifted(0x660, '0'),
        '۰'..='۹' => shifted(0x6f0, '0'),
        '०'..='९' => shifted(0x966, '0'),
        '\u{1d400}'..='\u{1d6a3}' => {
            let place = (c as u32 - 0x1d400) % 52;
            char::from_u32(if place < 26 { 'A' as u32 + place } else { 'a' as u32 + place - 26 }).unwrap_or(c)
        }
        '\u{210e}' => 'h',
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_u32('0' as u32 + (c as u32 - 0x1d7ce) % 10).unwrap_or(c),
        '\u{2126}' => 'Ω',
        '\u{b5}' => 'μ',
        '\u{212b}' => 'Å',
        _ => c,
    }
}

/// Letters of alphabets whose words have spaces between them: Latin and Cyrillic.
pub(super) fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic()
        || matches!(c, '\u{c0}'..='\u{24f}' | '\u{400}'..='\u{4ff}' | '\u{1e00}'..='\u{1eff}')
            && !matches!(c, 'Ø' | '×' | '÷')
}

/// "and" and "or" in languages with spaces.
pub(super) fn joiner(word: &str) -> Option<Joiner> {
    match word {
        "ou" | "oder" | "или" | "o" | "або" | "lub" | "veya" => Some(Joiner::Or),
        "et" | "und" | "и" | "y" | "та" | "oraz" | "ve" => Some(Joiner::And),
        _ => None,
    }
}

const JOINERS: &[(&str, Joiner)] = &[
    ("或者", Joiner::Or),
    ("或", Joiner::Or),
    ("または", Joiner::Or),
    ("또는", Joiner::Or),
    ("أو", Joiner::Or),
    ("या", Joiner::Or),
    ("以及", Joiner::And),
    ("并且", Joiner::And),
    ("和", Joiner::And),
    ("与", Joiner::And),
    ("與", Joiner::And),
    ("且", Joiner::And),
    ("及", Joiner::And),
    ("と", Joiner::And),
    ("そして", Joiner::And),
    ("그리고", Joiner::And),
    ("와", Joiner::And),
    ("과", Joiner::And),
];

/// Units by their English names; the longer spelling first.
const UNITS: &[(&str, &str)] = &[
    ("摄氏度", "celsius"),
    ("华氏度", "fahrenheit"),
    ("个小时", "hour"),
    ("小时", "hour"),
    ("小時", "hour"),
    ("分钟", "minute"),
    ("分鐘", "minute"),
    ("秒钟", "second"),
    ("星期", "week"),
    ("个月", "month"),
    ("千米", "km"),
    ("公里", "km"),
    ("厘米", "cm"),
    ("公分", "cm"),
    ("毫米", "mm"),
    ("分米", "dm"),
    ("千克", "kg"),
    ("公斤", "kg"),
    ("毫克", "mg"),
    ("毫升", "mL"),
    ("公顷", "hectare"),
    ("美元", "dollar"),
    ("欧元", "euro"),
    ("英镑", "GBP"),
    ("日元", "yen"),
    ("块钱", "yuan"),
    ("人民币", "yuan"),
    ("牛顿", "newton"),
    ("焦耳", "joule"),
    ("欧姆", "ohm"),
    ("赫兹", "hertz"),
    ("伏特", "volt"),
    ("安培", "ampere"),
    ("米", "meter"),
    ("克", "gram"),
    ("吨", "ton"),
    ("噸", "ton"),
    ("秒", "second"),
    ("分", "minute"),
    ("时", "hour"),
    ("天", "day"),
    ("日", "day"),
    ("周", "week"),
    ("年", "year"),
    ("月", "month"),
    ("元", "yuan"),
    ("升", "liter"),
    ("円", "yen"),
    ("万", "万"),
    ("萬", "万"),
    ("亿", "亿"),
    ("億", "亿"),
    ("千", "千"),
    ("百", "百"),
    ("块", "yuan"),
];
/// Words that go with numbers of things.
const CLASSIFIERS: &str =
    "个個只隻人本条條张張种種次名件辆輛棵头頭支枝位颗顆朵把台臺间間页頁套对對袋箱瓶杯岁歲倍组組项項题題道户戶幢";

/// Whether a run says something about a number that is neither a unit nor a thing: between, at least, about, not.
pub(super) fn is_hedged(run: &str) -> bool {
    const HEDGES: [&str; 14] =
        ["之间", "以上", "以下", "左右", "不", "非", "至", "到", "大于", "小于", "超过", "除", "没", "以外"];
    HEDGES.iter().any(|word| run.contains(word))
}

/// A run of such characters as joiners, numerals and units, where it is nothing but those; else as one word. `first` says
/// that no digits stand before it.
pub(super) fn parts(run: &str, first: bool) -> Vec<Part> {
    parted(run, first).unwrap_or_else(|| vec![Part::Word(run.to_owned())])
}

fn parted(run: &str, mut first: bool) -> Option<Vec<Part>> {
    let (mut rest, mut parts) = (run, Vec::new());
    while !rest.is_empty() {
        if let Some((known, joiner)) = JOINERS.iter().find(|(known, _)| rest.starts_with(known)) {
            parts.push(Part::Joiner(*joiner));
            (rest, first) = (&rest[known.len()..], true);
            continue;
        }
        if first && let Some((value, percent, length)) = numeral(rest) {
            parts.push(Part::Number(value));
            parts.extend(percent.then_some(Part::Percent));
            (rest, first) = (&rest[length..], false);
            continue;
        }
        if first {
            return None;
        }
        if let Some(unit) = rest.strip_prefix("每") {
            parts.push(Part::Per);
            rest = unit;
            continue;
        }
        for (power, word) in [("平方", "square"), ("立方", "cubic")] {
            if let Some(unit) = rest.strip_prefix(power) {
                parts.push(Part::Word(word.to_owned()));
                rest = unit;
            }
        }
        if let Some(unit) = rest.strip_prefix("度") {
            parts.push(Part::Degree);
            rest = unit;
            continue;
        }
        if let Some(classifier) = rest.chars().next().filter(|c| CLASSIFIERS.contains(*c) && rest.len() == c.len_utf8())
        {
            parts.push(Part::Word(classifier.to_string()));
            return Some(parts);
        }
        let (known, name) = UNITS.iter().find(|(known, _)| rest.starts_with(known))?;
        parts.push(Part::Word((*name).to_owned()));
        rest = &rest[known.len()..];
    }
    Some(parts)
}

/// A Chinese numeral at the beginning, whether it is a percentage, and its length in bytes.
fn numeral(text: &str) -> Option<(BigRational, bool, usize)> {
    if let Some(half) = ["一半", "半"].into_iter().find(|half| text.starts_with(half)) {
        return Some((BigRational::new(1.into(), 2.into()), false, half.len()));
    }
    let (negative, body) = text.strip_prefix('负').map_or((false, text), |rest| (true, rest));
    let signed = |value: BigRational| if negative { -value } else { value };
    let sign = text.len() - body.len();
    if let Some(rest) = body.strip_prefix("百分之") {
        let (value, length) = decimal(rest)?;
        return Some((signed(value), true, sign + "百分之".len() + length));
    }
    let (value, length) = decimal(body)?;
    if let Some(rest) = body[length..].strip_prefix("分之") {
        let (above, further) = decimal(rest)?;
        if value.is_zero() {
            return None;
        }
        return Some((signed(above / value), false, sign + length + "分之".len() + further));
    }
    Some((signed(value), false, sign + length))
}

fn decimal(text: &str) -> Option<(BigRational, usize)> {
    let (whole, mut length) = integer(text)?;
    let mut value = BigRational::from_integer(whole);
    if let Some(rest) = text[length..].strip_prefix('点') {
        let digits: Vec<char> = rest.chars().take_while(|c| digit(*c).is_some()).collect();
        let mut place = BigRational::one();
        for c in &digits {
            place /= BigRational::from_integer(10.into());
            value += &place * BigRational::from_integer(digit(*c)?.into());
        }
        if digits.is_empty() {
            return None;
        }
        length += '点'.len_utf8() + digits.iter().map(|c| c.len_utf8()).sum::<usize>();
    }
    Some((value, length))
}

fn digit(c: char) -> Option<i64> {
    "零一二三四五六七八九".chars().position(|known| known == c).map(|at| at as i64).or(match c {
        '〇' => Some(0),
        '两' | '兩' => Some(2),
        _ => None,
    })
}

/// 一千二百三十四, 二〇二四.
fn integer(text: &str) -> Option<(BigInt, usize)> {
    const MAX: usize = 24;
    let scale = |c: char| match c {
        '十' => Some(10_i64),
        '百' => Some(100),
        '千' => Some(1000),
        _ => None,
    };
    let large = |c: char| match c {
        '万' | '萬' => Some(10_000_i64),
        '亿' | '億' => Some(100_000_000),
        _ => None,
    };
    let run: Vec<char> = text
        .chars()
        .take_while(|c| digit(*c).is_some() || scale(*c).is_some() || large(*c).is_some())
        .take(MAX + 1)
        .collect();
    if run.is_empty() || run.len() > MAX || large(run[0]).is_some() {
        return None;
    }
    let length = run.iter().map(|c| c.len_utf8()).sum();
    if run.iter().all(|c| digit(*c).is_some()) {
        let value = run.iter().try_fold(BigInt::zero(), |value, c| Some(value * 10 + digit(*c)?))?;
        return Some((value, length));
    }
    let (mut total, mut section, mut pending) = (BigInt::zero(), BigInt::zero(), None);
    for c in run {
        if let Some(value) = digit(c) {
            if pending.is_some_and(|pending| pending != 0) {
                return None;
            }
            pending = Some(value);
        } else if let Some(value) = scale(c) {
            section += BigInt::from(pending.take().unwrap_or(1)) * value;
        } else if let Some(value) = large(c) {
            section += pending.take().unwrap_or(0);
            // Ten thousands come behind hundreds of millions, and multiply only what stands after those.
            total = if value == 10_000 { total + section * value } else { (total + section) * value };
            section = BigInt::zero();
        }
    }
    Some((total + section + pending.unwrap_or(0), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        numeral(text)
            .filter(|(.., length)| *length == text.len())
            .map(|(value, percent, _)| format!("{value}{}", if percent { "%" } else { "" }))
    }

    #[test]
    fn chinese_numerals() {
        for (text, wanted) in [
            ("十二", "12"),
            ("二十", "20"),
            ("一百零五", "105"),
            ("一千二百三十四", "1234"),
            ("三万五千", "35000"),
            ("一亿二千万", "120000000"),
            ("二〇二四", "2024"),
            ("二分之一", "1/2"),
            ("负三点一四", "-157/50"),
            ("百分之二十", "20%"),
        ] {
            assert_eq!(value(text).as_deref(), Some(wanted), "{text}");
        }
        assert_eq!(value("一样"), None);
        assert_eq!(value("零分之一"), None);
    }

    #[test]
    fn runs_are_parted_whole_or_not_at_all() {
        assert_eq!(parts("或", false), [Part::Joiner(Joiner::Or)]);
        assert_eq!(parts("平方厘米", false), [Part::Word("square".into()), Part::Word("cm".into())]);
        assert_eq!(parts("和平", false), [Part::Word("和平".into())]);
        assert_eq!(parts("个苹果", false), [Part::Word("个苹果".into())]);
    }
}
