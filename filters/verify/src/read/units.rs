//! The units that are known: names, dimensions, factors; what prefixes go with them.

/// Names; numerator and denominator of the factor; dimensions with their powers; whether SI prefixes go with it.
pub(super) type Row = (&'static [&'static str], i64, i64, &'static [(&'static str, i32)], bool);

const ENERGY: &[(&str, i32)] = &[("kg", 1), ("m", 2), ("s", -2)];
const POWER: &[(&str, i32)] = &[("kg", 1), ("m", 2), ("s", -3)];
const PRESSURE: &[(&str, i32)] = &[("kg", 1), ("m", -1), ("s", -2)];
const SPEED: &[(&str, i32)] = &[("m", 1), ("s", -1)];
const RATE: &[(&str, i32)] = &[("s", -1)];

/// Every unit.
pub(super) const UNITS: &[Row] = &[
    // The commonest with their prefix: found without being taken apart.
    (&["km", "kilometer"], 1000, 1, &[("m", 1)], false),
    (&["cm", "centimeter"], 1, 100, &[("m", 1)], false),
    (&["mm", "millimeter"], 1, 1000, &[("m", 1)], false),
    (&["kg", "kilogram"], 1, 1, &[("kg", 1)], false),
    (&["hour", "h", "hr"], 3600, 1, &[("s", 1)], false),
    (&["min", "minute"], 60, 1, &[("s", 1)], false),
    (&["day"], 86_400, 1, &[("s", 1)], false),
    (&["dollar", "USD", "buck"], 1, 1, &[("USD", 1)], false),
    (&["m", "meter", "metre", "метр"], 1, 1, &[("m", 1)], true),
    (&["inch", "in", "inche", "Zoll"], 254, 10_000, &[("m", 1)], false),
    (&["ft", "foot", "feet"], 3048, 10_000, &[("m", 1)], false),
    (&["yd", "yard"], 9144, 10_000, &[("m", 1)], false),
    (&["mi", "mile"], 1_609_344, 1000, &[("m", 1)], false),
    (&["g", "gram", "gramme"], 1, 1000, &[("kg", 1)], true),
    (&["ton", "tonne"], 1000, 1, &[("kg", 1)], false),
    (&["lb", "pound"], 45_359_237, 100_000_000, &[("kg", 1)], false),
    (&["oz", "ounce"], 28_349_523_125, 1_000_000_000_000, &[("kg", 1)], false),
    (&["s", "sec", "second"], 1, 1, &[("s", 1)], true),
    (&["week"], 604_800, 1, &[("s", 1)], false),
    (&["month"], 1, 1, &[("month", 1)], false),
    (&["year", "yr"], 12, 1, &[("month", 1)], false),
    (&["A", "ampere", "amp"], 1, 1, &[("A", 1)], true),
    (&["K", "kelvin"], 1, 1, &[("K", 1)], true),
    (&["mol", "mole"], 1, 1, &[("mol", 1)], true),
    (&["radian", "rad"], 1, 1, &[("angle", 1)], false),
    (&["celsius"], 1, 1, &[("celsius", 1)], false),
    (&["fahrenheit"], 1, 1, &[("fahrenheit", 1)], false),
    (&["cent", "penny", "pennies", "penn"], 1, 100, &[("USD", 1)], false),
    (&["euro", "EUR"], 1, 1, &[("EUR", 1)], false),
    (&["GBP"], 1, 1, &[("GBP", 1)], false),
    (&["yuan", "CNY", "RMB"], 1, 1, &[("CNY", 1)], false),
    (&["yen", "JPY"], 1, 1, &[("JPY", 1)], false),
    (&["won", "KRW"], 1, 1, &[("KRW", 1)], false),
    (&["cc"], 1, 1_000_000, &[("m", 3)], false),
    (&["gallon"], 3_785_411_784, 1_000_000_000_000, &[("m", 3)], false),
    (&["acre"], 40_468_564_224, 10_000_000, &[("m", 2)], false),
    (&["rupee", "Rs", "INR"], 1, 1, &[("INR", 1)], false),
    (&["ruble", "rouble", "RUB", "рубль", "рубля", "рублей", "руб"], 1, 1, &[("RUB", 1)], false),
    (&["L", "l", "liter", "litre"], 1, 1000, &[("m", 3)], true),
    (&["ha", "hectare"], 10_000, 1, &[("m", 2)], false),
    (&["mph"], 1_609_344, 3_600_000, SPEED, false),
    (&["kph", "kmh"], 1000, 3600, SPEED, false),
    (&["N", "newton"], 1, 1, &[("kg", 1), ("m", 1), ("s", -2)], true),
    (&["J", "joule"], 1, 1, ENERGY, true),
    (&["Wh"], 3600, 1, ENERGY, true),
    (&["W", "watt"], 1, 1, POWER, true),
    (&["Hz", "hertz"], 1, 1, RATE, true),
    (&["Bq", "becquerel"], 1, 1, RATE, true),
    (&["Pa", "pascal"], 1, 1, PRESSURE, true),
    (&["bar"], 100_000, 1, PRESSURE, false),
    (&["atm", "atmosphere"], 101_325, 1, PRESSURE, false),
    (&["V", "volt"], 1, 1, &[("kg", 1), ("m", 2), ("s", -3), ("A", -1)], true),
    (&["Omega", "ohm"], 1, 1, &[("kg", 1), ("m", 2), ("s", -3), ("A", -2)], true),
    (&["C", "coulomb"], 1, 1, &[("A", 1), ("s", 1)], true),
    (&["F", "farad"], 1, 1, &[("kg", -1), ("m", -2), ("s", 4), ("A", 2)], true),
    (&["T", "tesla"], 1, 1, &[("kg", 1), ("s", -2), ("A", -1)], true),
    (&["Wb", "weber"], 1, 1, &[("kg", 1), ("m", 2), ("s", -2), ("A", -1)], true),
    (&["H", "henry"], 1, 1, &[("kg", 1), ("m", 2), ("s", -2), ("A", -2)], true),
    (&["eV", "electronvolt"], 1, 1, &[("eV", 1)], true),
    (&["cal", "calorie"], 4184, 1000, ENERGY, true),
    (&["lm", "lumen"], 1, 1, &[("lm", 1)], true),
    (&["lx", "lux"], 1, 1, &[("lm", 1), ("m", -2)], true),
    (&["cd", "candela"], 1, 1, &[("cd", 1)], true),
    (&["Gy", "gray", "Sv", "sievert"], 1, 1, &[("m", 2), ("s", -2)], true),
    (&["dB", "decibel"], 1, 1, &[("dB", 1)], false),
    (&["byte"], 8, 1, &[("bit", 1)], true),
    (&["bit"], 1, 1, &[("bit", 1)], true),
];

/// SI prefixes: sign, word, power of ten.
pub(super) const PREFIXES: &[(&str, &str, i32)] = &[
    ("p", "pico", -12),
    ("n", "nano", -9),
    ("mu", "micro", -6),
    ("μ", "micro", -6),
    ("m", "milli", -3),
    ("c", "centi", -2),
    ("d", "deci", -1),
    ("h", "hecto", 2),
    ("k", "kilo", 3),
    ("M", "mega", 6),
    ("G", "giga", 9),
    ("T", "tera", 12),
];

/// Units of up to three letters that are read as such wherever they stand, and not as products of letters.
pub(super) const COMMON: &[&str] = &[
    "km", "cm", "mm", "dm", "nm", "in", "ft", "yd", "mi", "kg", "mg", "ton", "lb", "oz", "sec", "ms", "min", "hr",
    "day", "yr", "amp", "mol", "rad", "usd", "eur", "gbp", "cny", "rmb", "inr", "ml", "ha", "mph", "kph", "kmh", "kj",
    "kw", "hz", "pa", "USD", "EUR", "GBP", "CNY", "RMB", "INR", "mL", "kJ", "kW", "Hz", "Pa", "kWh", "kPa", "kHz",
    "MHz", "GHz", "MPa", "atm", "bar", "ohm", "eV", "keV", "MeV", "Rs", "won", "cc", "kN", "kV", "mV", "mA",
];

/// Words that multiply the number before them: numerator and denominator.
pub(super) const MAGNITUDES: &[(&[&str], i64, i64)] = &[
    (&["hundred", "hundreds"], 100, 1),
    (&["thousand", "thousands", "тысяч", "тысячи", "тысяча", "tausend", "mille", "千"], 1000, 1),
    (&["百"], 100, 1),
    (
        &["million", "millions", "Million", "Millionen", "millón", "millones", "миллион", "миллиона", "миллионов"],
        1_000_000,
        1,
    ),
    (&["billion", "billions", "Milliarde", "Milliarden", "milliard", "milliards"], 1_000_000_000, 1),
    (&["trillion", "trillions"], 1_000_000_000_000, 1),
    (&["lakh", "lakhs"], 100_000, 1),
    (&["crore", "crores"], 10_000_000, 1),
    (&["dozen", "dozens", "Dutzend", "douzaine", "douzaines", "docena", "docenas"], 12, 1),
    (&["tens"], 10, 1),
    (&["万"], 10_000, 1),
    (&["亿"], 100_000_000, 1),
    (&["halves", "half"], 1, 2),
    (&["thirds"], 1, 3),
    (&["quarters", "fourths"], 1, 4),
    (&["fifths"], 1, 5),
    (&["sixths"], 1, 6),
    (&["sevenths"], 1, 7),
    (&["eighths"], 1, 8),
    (&["ninths"], 1, 9),
    (&["tenths"], 1, 10),
    (&["elevenths"], 1, 11),
    (&["twelfths"], 1, 12),
    (&["hundredths"], 1, 100),
    (&["thousandths"], 1, 1000),
];
