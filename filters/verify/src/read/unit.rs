//! Units: words and powers of them to dimensions and a factor.

use super::token::{Kind, Token};
use super::units::{COMMON, MAGNITUDES, PREFIXES, Row, UNITS};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};
use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

/// A unit of measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// In base units, without π.
    pub factor: BigRational,
    /// Powers of the base dimensions.
    pub dimensions: BTreeMap<String, i32>,
    /// Whether a word without a known meaning is part of it: apples.
    pub unknown: bool,
    /// Degrees: the factor lacks π.
    pub degree: bool,
    /// A letter right behind a number, which can be a variable as well.
    pub glued: bool,
}

impl Unit {
    fn one() -> Unit {
        Unit { factor: BigRational::one(), dimensions: BTreeMap::new(), unknown: false, degree: false, glued: false }
    }

    /// A unit of one dimension.
    pub(crate) fn base(dimension: &str) -> Unit {
        let mut unit = Unit::one();
        unit.dimensions.insert(dimension.to_owned(), 1);
        unit
    }

    /// Degrees of an angle.
    pub(crate) fn degrees() -> Unit {
        let factor = BigRational::new(1.into(), 180.into());
        Unit { factor, degree: true, ..Unit::base("angle") }
    }

    /// A letter for thousands, millions or billions of money.
    pub(super) fn short(letter: &str) -> Unit {
        Unit::base(&format!("#{letter}"))
    }

    /// What such a letter multiplies with.
    pub(super) fn short_magnitude(&self) -> Option<BigRational> {
        let (name, _) = self.dimensions.iter().next()?;
        let power = match name.strip_prefix('#')? {
            "k" | "K" => 3_u32,
            "M" => 6,
            _ => 9,
        };
        Some(BigRational::from_integer(BigInt::from(10).pow(power)))
    }

    /// This and another one multiplied.
    pub(super) fn and(&self, other: &Unit) -> Unit {
        let mut unit = self.clone();
        unit.times(other, 1);
        unit
    }

    /// A minute.
    pub(crate) fn minutes() -> Unit {
        Unit { factor: BigRational::from_integer(60.into()), ..Unit::base("s") }
    }

    /// Whether a word in it may change how many are meant.
    pub(crate) fn may_count(&self) -> bool {
        const COUNTS: [&str; 12] = [
            "pair",
            "score",
            "gross",
            "couple",
            "trio",
            "fortnight",
            "decade",
            "century",
            "centurie",
            "grand",
            "stone",
            "mil",
        ];
        let word = |name: &String| !name.is_ascii() && name != "¥" || COUNTS.contains(&name.as_str());
        self.unknown && self.dimensions.keys().any(word)
    }

    /// Seconds, or a multiple of them.
    pub(crate) fn is_time(&self) -> bool {
        self.dimensions.len() == 1 && self.dimensions.get("s") == Some(&1)
    }

    /// The pound, a weight.
    pub(crate) fn is_pound(&self) -> bool {
        self.dimensions.len() == 1
            && listed("pound", false)
                .is_some_and(|pound| pound.factor == self.factor && pound.dimensions == self.dimensions)
    }

    /// The coulomb, whose sign is that of degrees Celsius without the degrees.
    pub(crate) fn is_coulomb(&self) -> bool {
        listed("C", false).is_some_and(|coulomb| coulomb.factor == self.factor && coulomb.dimensions == self.dimensions)
    }

    /// The pound, money.
    pub(crate) fn is_sterling(&self) -> bool {
        self.dimensions.len() == 1 && self.dimensions.contains_key("GBP")
    }

    fn times(&mut self, other: &Unit, power: i32) {
        match power {
            _ if other.factor.is_one() => {}
            1 if self.factor.is_one() => self.factor.clone_from(&other.factor),
            _ => self.factor *= other.factor.clone().pow(power),
        }
        for (dimension, exponent) in &other.dimensions {
            let entry = self.dimensions.entry(dimension.clone()).or_default();
            *entry += exponent * power;
        }
        self.dimensions.retain(|_, exponent| *exponent != 0);
        self.unknown |= other.unknown;
        self.degree |= other.degree;
    }
}

/// The unit that a word names, singular or plural, with or without a prefix.
fn named(word: &str) -> Option<Unit> {
    find(word).map(prefixed_by)
}

/// A unit, and the power of ten that a prefix makes of it.
type Found = (&'static Unit, i32);

fn find(word: &str) -> Option<Found> {
    // As it stands, before other forms of it are made.
    if let Some(unit) = listed(word, false) {
        return Some((unit, 0));
    }
    let lower = if word.chars().count() > 1 { word.to_lowercase() } else { word.to_owned() };
    for form in [Some(word), Some(lower.as_str()).filter(|lower| *lower != word)].into_iter().flatten() {
        for form in [form, form.strip_suffix("es").unwrap_or(form), form.strip_suffix('s').unwrap_or(form)] {
            // A lone `s` is no plural.
            if !form.is_empty()
                && let Some(found) = listed(form, false).map(|unit| (unit, 0)).or_else(|| prefixed(form))
            {
                return Some(found);
            }
        }
    }
    None
}

/// Units by name, and those that take a prefix; the first of several of one name.
static BY_NAME: [LazyLock<HashMap<&str, Unit>>; 2] =
    [LazyLock::new(|| by_name(false)), LazyLock::new(|| by_name(true))];

fn by_name(prefix: bool) -> HashMap<&'static str, Unit> {
    let rows = UNITS.iter().rev().filter(|(.., prefixes)| *prefixes || !prefix);
    rows.flat_map(|row| row.0.iter().map(move |name| (*name, unit_of(row)))).collect()
}

fn unit_of((_, above, below, dimensions, _): &Row) -> Unit {
    let factor = BigRational::new(BigInt::from(*above), BigInt::from(*below));
    let dimensions = dimensions.iter().map(|(name, power)| ((*name).to_owned(), *power)).collect();
    Unit { factor, dimensions, ..Unit::one() }
}

fn listed(name: &str, prefix: bool) -> Option<&'static Unit> {
    BY_NAME[usize::from(prefix)].get(name)
}

/// `km`, `kilometer`: signs go with signs and words with words.
fn prefixed(name: &str) -> Option<Found> {
    PREFIXES.iter().find_map(|(sign, word, power)| {
        let short = name
            .strip_prefix(sign)
            .filter(|rest| rest.chars().count() <= 2 || *rest == "mol" || *rest == "cal" || *rest == "Omega");
        let long = name.strip_prefix(word).filter(|rest| rest.chars().count() > 2);
        Some((listed(short.or(long)?, true)?, *power))
    })
}

fn prefixed_by((unit, power): Found) -> Unit {
    let mut unit = unit.clone();
    if power != 0 {
        unit.factor *= BigRational::from_integer(10.into()).pow(power);
    }
    unit
}

/// The currency that a word names.
pub(super) fn currency(word: &str) -> Option<Unit> {
    named(word).filter(|unit| {
        unit.factor.is_one()
            && unit
                .dimensions
                .keys()
                .all(|name| matches!(name.as_str(), "USD" | "EUR" | "GBP" | "CNY" | "JPY" | "INR" | "RUB" | "KRW"))
    })
}

/// Whether a run of letters is a unit's name.
pub(crate) fn is_unit(word: &str) -> bool {
    word.len() > 1 && find(word).is_some()
}

/// Whether a short run of letters is a unit wherever it stands.
pub(crate) fn is_common(word: &str) -> bool {
    let listed = |form: &str| {
        let first = form.bytes().next();
        COMMON.iter().any(|known| known.bytes().next() == first && *known == form)
    };
    let known = |form: &str| listed(form) || form.strip_suffix('s').is_some_and(listed);
    let other = |word: &str| word.chars().any(char::is_uppercase) && known(&word.to_lowercase());
    word.len() > 1 && (known(word) || other(word))
}

/// Letters that are a unit right behind a number, unless they are a variable.
pub(super) fn is_symbol(letter: &str) -> bool {
    matches!(letter, "m" | "g" | "s" | "h" | "L" | "J" | "N" | "W" | "V" | "K" | "Omega" | "mu")
}

/// Letters that are a unit behind a number and a space.
pub(super) fn is_letter(letter: &str) -> bool {
    letter.chars().count() == 1 && listed(letter, false).is_some()
}

/// What a word multiplies the number before it with; `one` says that the number is one.
pub(super) fn magnitude(word: &str, one: bool) -> Option<BigRational> {
    if word.is_ascii() && word.len() < 4 {
        return None;
    }
    let lower = word.to_lowercase();
    let known = |name: &str| {
        let found = MAGNITUDES.iter().find(|(names, ..)| names.contains(&name));
        found.map(|(_, above, below)| BigRational::new(BigInt::from(*above), BigInt::from(*below)))
    };
    let single =
        one && matches!(lower.as_str(), "third" | "quarter" | "fourth" | "fifth" | "sixth" | "eighth" | "tenth");
    known(word).or_else(|| known(&lower)).or_else(|| if single { known(&format!("{lower}s")) } else { None })
}

/// All of `tokens` as a unit. `textual` says that single letters are units too, as they are inside of `\text`.
pub(crate) fn unit(tokens: &[Token]) -> Option<Unit> {
    let mut unit = Unit::one();
    let (mut at, mut sign, mut pending, mut any) = (0, 1, 1, false);
    while at < tokens.len() {
        let word = match &tokens[at].kind {
            Kind::Word(word) | Kind::Letter(word) => word.as_str(),
            Kind::Degree => match tokens.get(at + 1).map(|token| &token.kind) {
                // 37 °C
                Some(Kind::Letter(scale) | Kind::Word(scale)) if temperature(scale).is_some() => {
                    unit.times(&Unit::base(temperature(scale).unwrap_or_default()), sign);
                    (at, any) = (at + 2, true);
                    continue;
                }
                _ => "°",
            },
            Kind::Currency(code) => {
                unit.times(&Unit::base(code), sign);
                (at, any) = (at + 1, true);
                continue;
            }
            Kind::Op('/') => {
                (at, sign) = (at + 1, -1);
                continue;
            }
            Kind::Op('*') if any => {
                at += 1;
                continue;
            }
            Kind::Function(super::token::Name::Plain(crate::expr::Function::Min)) => "min",
            Kind::Relation(super::token::Relation::In) => "in",
            _ => return None,
        };
        if super::words::states(word) {
            return None;
        }
        at += 1;
        // `k\Omega`, `\mu m`
        let joined = match tokens.get(at) {
            Some(Token { kind: Kind::Letter(next) | Kind::Word(next), space, .. })
                if (!space || word == "mu") && PREFIXES.iter().any(|(sign, ..)| *sign == word) =>
            {
                prefixed(&format!("{word}{next}"))
                    .map(prefixed_by)
                    .filter(|_| word == "mu" || next == "Omega" || !tokens[at].textual)
            }
            _ => None,
        };
        at += usize::from(joined.is_some());
        match word {
            _ if joined.is_some() => {}
            "square" | "squared" | "sq" | "cubic" | "cubed" => {
                let power = if word.starts_with('s') { 2 } else { 3 };
                if word.ends_with('d') {
                    return None;
                }
                pending = power;
                continue;
            }
            "per" => {
                sign = -1;
                continue;
            }
            "of" | "a" | "an" | "the" if any => {
                if word == "a" || word == "an" || word == "the" {
                    continue;
                }
                // `5 cups of water`: what follows only names the thing.
                break;
            }
            _ => {}
        }
        let mut power = pending;
        pending = 1;
        if matches!(tokens.get(at).map(|token| &token.kind), Some(Kind::Op('^'))) {
            let group = matches!(tokens.get(at + 1).map(|token| &token.kind), Some(Kind::Open('g')));
            let mut place = at + 1 + usize::from(group);
            let negative = matches!(tokens.get(place).map(|token| &token.kind), Some(Kind::Op('-')));
            place += usize::from(negative);
            let Some(Kind::Number(numeral)) = tokens.get(place).map(|token| &token.kind) else { return None };
            let size: i32 = numeral.digits.as_deref()?.parse().ok().filter(|size| (0..=12).contains(size))?;
            power = if negative { -size } else { size };
            at = place + 1 + usize::from(group);
        } else if let Some(Token { kind: Kind::Number(numeral), space: false, .. }) = tokens.get(at)
            && matches!(numeral.digits.as_deref(), Some("2" | "3"))
        {
            // m2
            power = if numeral.digits.as_deref() == Some("2") { 2 } else { 3 };
            at += 1;
        } else if matches!(tokens.get(at).map(|token| &token.kind), Some(Kind::Word(word)) if word == "squared" || word == "cubed")
        {
            power = if matches!(&tokens[at].kind, Kind::Word(word) if word == "cubed") { 3 } else { 2 };
            at += 1;
        }
        let next = match joined.or_else(|| named(word)) {
            _ if word == "°" => Unit::degrees(),
            Some(next) => next,
            // One letter of no unit is a variable.
            None if word.chars().count() == 1 && word.is_ascii() => return None,
            None => {
                let singular = word.to_lowercase();
                let singular = singular.strip_suffix('s').unwrap_or(&singular).to_owned();
                if matches!(singular.as_str(), "unit") {
                    Unit { unknown: true, ..Unit::one() }
                } else {
                    Unit { unknown: true, ..Unit::base(&singular) }
                }
            }
        };
        unit.times(&next, sign * power);
        any = true;
    }
    any.then_some(unit)
}

/// The dimension that a temperature's scale is.
fn temperature(scale: &str) -> Option<&'static str> {
    match scale {
        "C" | "celsius" | "Celsius" | "centigrade" => Some("celsius"),
        "F" | "fahrenheit" | "Fahrenheit" => Some("fahrenheit"),
        "K" | "kelvin" | "Kelvin" => Some("K"),
        _ => None,
    }
}
