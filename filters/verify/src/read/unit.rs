//! Units: words and powers of them to dimensions and a factor.

use super::token::{Kind, Token};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow};
use std::collections::BTreeMap;

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
}

/// Name, dimension and power, numerator and denominator of the factor.
const UNITS: &[(&[&str], &str, i64, i64)] = &[
    (&["m", "meter", "metre"], "m", 1, 1),
    (&["km", "kilometer", "kilometre"], "m", 1000, 1),
    (&["cm", "centimeter", "centimetre"], "m", 1, 100),
    (&["mm", "millimeter", "millimetre"], "m", 1, 1000),
    (&["dm", "decimeter", "decimetre"], "m", 1, 10),
    (&["nm", "nanometer", "nanometre"], "m", 1, 1_000_000_000),
    (&["inch", "in", "inche"], "m", 254, 10_000),
    (&["ft", "foot", "feet"], "m", 3048, 10_000),
    (&["yd", "yard"], "m", 9144, 10_000),
    (&["mi", "mile"], "m", 1_609_344, 1000),
    (&["kg", "kilogram"], "kg", 1, 1),
    (&["g", "gram"], "kg", 1, 1000),
    (&["mg", "milligram"], "kg", 1, 1_000_000),
    (&["ton", "tonne"], "kg", 1000, 1),
    (&["lb", "pound"], "kg", 45_359_237, 100_000_000),
    (&["oz", "ounce"], "kg", 28_349_523_125, 1_000_000_000_000),
    (&["s", "sec", "second"], "s", 1, 1),
    (&["ms", "millisecond"], "s", 1, 1000),
    (&["min", "minute"], "s", 60, 1),
    (&["h", "hr", "hour"], "s", 3600, 1),
    (&["day"], "s", 86_400, 1),
    (&["week"], "s", 604_800, 1),
    (&["month"], "month", 1, 1),
    (&["year", "yr"], "month", 12, 1),
    (&["A", "ampere", "amp"], "A", 1, 1),
    (&["K", "kelvin"], "K", 1, 1),
    (&["mol", "mole"], "mol", 1, 1),
    (&["radian", "rad"], "angle", 1, 1),
    (&["dollar", "USD", "buck"], "USD", 1, 1),
    (&["cent", "penny", "pennies", "penn"], "USD", 1, 100),
    (&["euro", "EUR"], "EUR", 1, 1),
    (&["GBP"], "GBP", 1, 1),
    (&["yuan", "CNY", "RMB"], "CNY", 1, 1),
    (&["rupee", "INR"], "INR", 1, 1),
];

/// Names, numerator and denominator of the factor, dimensions with their powers.
type Derived = (&'static [&'static str], i64, i64, &'static [(&'static str, i32)]);

/// Units made of others: numerator and denominator of the factor, then dimensions.
const DERIVED: &[Derived] = &[
    (&["L", "l", "liter", "litre"], 1, 1000, &[("m", 3)]),
    (&["mL", "ml", "milliliter", "millilitre"], 1, 1_000_000, &[("m", 3)]),
    (&["ha", "hectare"], 10_000, 1, &[("m", 2)]),
    (&["mph"], 1_609_344, 3_600_000, &[("m", 1), ("s", -1)]),
    (&["kph", "kmh"], 1000, 3600, &[("m", 1), ("s", -1)]),
    (&["N", "newton"], 1, 1, &[("kg", 1), ("m", 1), ("s", -2)]),
    (&["J", "joule"], 1, 1, &[("kg", 1), ("m", 2), ("s", -2)]),
    (&["kJ", "kilojoule"], 1000, 1, &[("kg", 1), ("m", 2), ("s", -2)]),
    (&["W", "watt"], 1, 1, &[("kg", 1), ("m", 2), ("s", -3)]),
    (&["kW", "kilowatt"], 1000, 1, &[("kg", 1), ("m", 2), ("s", -3)]),
    (&["Hz", "hertz"], 1, 1, &[("s", -1)]),
    (&["Pa", "pascal"], 1, 1, &[("kg", 1), ("m", -1), ("s", -2)]),
    (&["V", "volt"], 1, 1, &[("kg", 1), ("m", 2), ("s", -3), ("A", -1)]),
];

impl Unit {
    fn one() -> Unit {
        Unit { factor: BigRational::one(), dimensions: BTreeMap::new(), unknown: false, degree: false }
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

    fn times(&mut self, other: &Unit, power: i32) {
        self.factor *= other.factor.clone().pow(power);
        for (dimension, exponent) in &other.dimensions {
            let entry = self.dimensions.entry(dimension.clone()).or_default();
            *entry += exponent * power;
        }
        self.dimensions.retain(|_, exponent| *exponent != 0);
        self.unknown |= other.unknown;
        self.degree |= other.degree;
    }
}

/// The unit that a word names, singular or plural.
fn named(word: &str) -> Option<Unit> {
    let forms = [word.to_owned(), word.to_lowercase()];
    for form in &forms {
        for form in [form.as_str(), form.strip_suffix("es").unwrap_or(form), form.strip_suffix('s').unwrap_or(form)] {
            // A lone `s` is no plural.
            if form.is_empty() {
                continue;
            }
            for (names, dimension, above, below) in UNITS {
                if names.contains(&form) {
                    let factor = BigRational::new(BigInt::from(*above), BigInt::from(*below));
                    return Some(Unit { factor, ..Unit::base(dimension) });
                }
            }
            for (names, above, below, dimensions) in DERIVED {
                if names.contains(&form) {
                    let factor = BigRational::new(BigInt::from(*above), BigInt::from(*below));
                    let dimensions = dimensions.iter().map(|(name, power)| ((*name).to_owned(), *power)).collect();
                    return Some(Unit { factor, dimensions, ..Unit::one() });
                }
            }
        }
    }
    None
}

/// Whether a run of letters is a unit's name.
pub(crate) fn is_unit(word: &str) -> bool {
    word.len() > 1 && named(word).is_some()
}

/// All of `tokens` as a unit. `textual` says that single letters are units too, as they are inside of `\text`.
pub(crate) fn unit(tokens: &[Token]) -> Option<Unit> {
    let mut unit = Unit::one();
    let (mut at, mut sign, mut pending, mut any) = (0, 1, 1, false);
    while at < tokens.len() {
        let word = match &tokens[at].kind {
            Kind::Word(word) | Kind::Letter(word) => word.as_str(),
            Kind::Degree => "°",
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
        at += 1;
        match word {
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
        } else if matches!(tokens.get(at).map(|token| &token.kind), Some(Kind::Word(word)) if word == "squared" || word == "cubed")
        {
            power = if matches!(&tokens[at].kind, Kind::Word(word) if word == "cubed") { 3 } else { 2 };
            at += 1;
        }
        let next = match named(word) {
            _ if word == "°" => Unit::degrees(),
            Some(next) => next,
            // One letter of no unit is a variable.
            None if word.chars().count() == 1 => return None,
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
