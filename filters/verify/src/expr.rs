//! Expressions: what a reading of an answer is made of. Rational arithmetic is folded while they are built, within caps.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Integers and fractions are kept exactly up to this size, in bits; larger powers stay powers.
pub(crate) const MAX_BITS: u64 = 4096;
/// The largest factorial that is multiplied out.
pub(crate) const MAX_FACTORIAL: u32 = 2100;

/// Functions with values that nothing here computes. Equal arguments give equal values; else nothing is known.
pub(crate) const SPECIAL: &[&str] = &["Gamma", "zeta", "erf", "Li", "Si", "Ci", "Ei"];

/// An expression. `a - b` is `a + (-1)·b`, `a / b` is `a · b^-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expr {
    /// An exact rational.
    Number(BigRational),
    /// π.
    Pi,
    /// e.
    E,
    /// √−1.
    I,
    /// +∞.
    Infinity,
    /// +1 in the upper reading of `±` (and −1 in the lower one); `false` is `∓`.
    Sign(bool),
    /// A variable, with its index where it has one: `x`, `x_1`, `alpha`.
    Symbol(String),
    /// Terms added.
    Sum(Vec<Expr>),
    /// Factors multiplied.
    Product(Vec<Expr>),
    /// Base and exponent.
    Power(Box<Expr>, Box<Expr>),
    /// A known function.
    Apply(Function, Vec<Expr>),
    /// A function that the problem named: `f(2)`.
    Call(String, Vec<Expr>),
    /// A sum, product or integral over an index.
    Series(Box<Series>),
}

/// `Σ`, `Π` or `∫` of `body` over `index` between two bounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    /// Which.
    pub kind: SeriesKind,
    /// The bound variable.
    pub index: String,
    /// Where it begins.
    pub from: Expr,
    /// Where it ends, included.
    pub to: Expr,
    /// What is added, multiplied or integrated.
    pub body: Expr,
}

/// What a series does with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SeriesKind {
    /// Σ
    Sum,
    /// Π
    Product,
    /// ∫
    Integral,
}

/// Functions with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the field's own names")]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Ln,
    Abs,
    Floor,
    Ceiling,
    Factorial,
    DoubleFactorial,
    Binomial,
    Conjugate,
    Re,
    Im,
    Gcd,
    Lcm,
    Min,
    Max,
    /// The second argument's root of the first; real where that is odd and the first is real.
    Root,
}

impl Expr {
    /// An integer.
    pub(crate) fn integer(value: i64) -> Expr {
        Expr::Number(BigRational::from_integer(BigInt::from(value)))
    }

    /// A variable.
    pub(crate) fn symbol(name: impl Into<String>) -> Expr {
        Expr::Symbol(name.into())
    }

    /// The rational that this is, if it is one.
    pub(crate) fn as_number(&self) -> Option<&BigRational> {
        match self {
            Expr::Number(value) => Some(value),
            _ => None,
        }
    }

    /// The small integer that this is, if it is one.
    pub(crate) fn as_small(&self) -> Option<i64> {
        self.as_number().filter(|value| value.is_integer()).and_then(|value| value.numer().to_i64())
    }

    /// The sum of `terms`, numbers folded.
    pub(crate) fn sum(terms: impl IntoIterator<Item = Expr>) -> Expr {
        let mut number = BigRational::zero();
        let mut rest = Vec::new();
        let mut take = |term: Expr, rest: &mut Vec<Expr>| match term {
            Expr::Number(value) if bits(&number) + bits(&value) <= 2 * MAX_BITS => number = plus(&number, &value),
            other => rest.push(other),
        };
        for term in terms {
            match term {
                Expr::Sum(inner) => inner.into_iter().for_each(|term| take(term, &mut rest)),
                other => take(other, &mut rest),
            }
        }
        if !number.is_zero() || rest.is_empty() {
            rest.push(Expr::Number(number));
        }
        if rest.len() == 1 { rest.swap_remove(0) } else { Expr::Sum(rest) }
    }

    /// The product of `factors`, numbers folded.
    pub(crate) fn product(factors: impl IntoIterator<Item = Expr>) -> Expr {
        let mut number = BigRational::one();
        let mut rest = Vec::new();
        let mut take = |factor: Expr, rest: &mut Vec<Expr>| match factor {
            Expr::Number(value) if bits(&number) + bits(&value) <= 2 * MAX_BITS => number = times(&number, &value),
            other => rest.push(other),
        };
        for factor in factors {
            match factor {
                Expr::Product(inner) => inner.into_iter().for_each(|factor| take(factor, &mut rest)),
                other => take(other, &mut rest),
            }
        }
        // Zero times anything finite is zero; what is infinite stays, so that it is not hidden.
        if number.is_zero() && !rest.iter().any(Expr::may_be_undefined) {
            return Expr::Number(number);
        }
        if !number.is_one() || rest.is_empty() {
            rest.insert(0, Expr::Number(number));
        }
        if rest.len() == 1 { rest.swap_remove(0) } else { Expr::Product(rest) }
    }

    /// `base` to the `exponent`; exact where the result is a small enough rational.
    pub(crate) fn power(base: Expr, exponent: Expr) -> Expr {
        if base == Expr::I
            && let Some(count) = exponent.as_number().filter(|count| count.is_integer())
        {
            return match (count.numer() % 4_i32 + 4_i32) % 4_i32 {
                rest if rest.is_zero() => Expr::integer(1),
                rest if rest.is_one() => Expr::I,
                rest if rest == BigInt::from(2) => Expr::integer(-1),
                _ => Expr::I.negated(),
            };
        }
        if let (Some(value), Some(count)) = (base.as_number(), exponent.as_small()) {
            // ±1 and 0 to any power: only the parity counts.
            let unit = value.is_integer() && value.numer().bits() <= 1;
            let count = if unit && count > 0 {
                2 - count % 2
            } else if unit {
                count % 2
            } else {
                count
            };
            let small = bits(value).saturating_mul(count.unsigned_abs()) <= MAX_BITS;
            if let Some(count) = count.to_i32().filter(|count| small && !(value.is_zero() && *count <= 0)) {
                return Expr::Number(num_traits::Pow::pow(value, count));
            }
        }
        if exponent.as_number().is_some_and(One::is_one) {
            return base;
        }
        // (b^m)^n is b^(m·n) for whole numbers.
        if let (Expr::Power(inner, first), Some(_)) = (&base, exponent.as_small())
            && let Some(first) = first.as_number()
            && bits(first) < 64
        {
            let exponent = Expr::product([Expr::Number(first.clone()), exponent]);
            return Expr::power((**inner).clone(), exponent);
        }
        Expr::Power(Box::new(base), Box::new(exponent))
    }

    /// `1 / self`.
    pub(crate) fn inverse(self) -> Expr {
        Expr::power(self, Expr::integer(-1))
    }

    /// `-self`.
    pub(crate) fn negated(self) -> Expr {
        Expr::product([Expr::integer(-1), self])
    }

    /// `self - other`.
    pub(crate) fn minus(self, other: Expr) -> Expr {
        Expr::sum([self, other.negated()])
    }

    /// `function(arguments)`, exact where that is cheap.
    pub(crate) fn apply(function: Function, arguments: Vec<Expr>) -> Expr {
        match (function, arguments.as_slice()) {
            (Function::Abs, [Expr::Number(value)]) => Expr::Number(value.abs()),
            (Function::Floor, [Expr::Number(value)]) => Expr::Number(value.floor()),
            (Function::Ceiling, [Expr::Number(value)]) => Expr::Number(value.ceil()),
            (Function::Conjugate | Function::Re, [Expr::Number(value)]) => Expr::Number(value.clone()),
            (Function::Im, [Expr::Number(_)]) => Expr::integer(0),
            (Function::DoubleFactorial, [Expr::Number(value)]) if value.is_integer() && small_count(value) => {
                let count = value.numer().to_i64().unwrap_or(0);
                let steps = (0..).map(|step| count - 2 * step).take_while(|factor| *factor > 1);
                Expr::Number(BigRational::from_integer(steps.fold(BigInt::one(), |product, factor| product * factor)))
            }
            _ => Expr::Apply(function, arguments),
        }
    }

    /// Whether some value of the variables makes this undefined or infinite.
    fn may_be_undefined(&self) -> bool {
        match self {
            Expr::Number(_) | Expr::Pi | Expr::E | Expr::I | Expr::Sign(_) | Expr::Symbol(_) => false,
            Expr::Sum(parts) | Expr::Product(parts) => parts.iter().any(Expr::may_be_undefined),
            Expr::Power(base, exponent) => {
                base.may_be_undefined() || exponent.as_number().is_none_or(|value| value.is_negative())
            }
            _ => true,
        }
    }

    /// The direct parts of this expression.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Sum(parts) | Expr::Product(parts) | Expr::Apply(_, parts) | Expr::Call(_, parts) => {
                parts.iter().collect()
            }
            Expr::Power(base, exponent) => vec![base, exponent],
            Expr::Series(series) => vec![&series.from, &series.to, &series.body],
            _ => Vec::new(),
        }
    }

    /// Whether any part satisfies `test`.
    pub(crate) fn any(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        if test(self) {
            return true;
        }
        // Asked of every expression several times over: without a list of its parts.
        match self {
            Expr::Sum(parts) | Expr::Product(parts) | Expr::Apply(_, parts) | Expr::Call(_, parts) => {
                parts.iter().any(|part| part.any(test))
            }
            Expr::Power(base, exponent) => base.any(test) || exponent.any(test),
            Expr::Series(series) => series.from.any(test) || series.to.any(test) || series.body.any(test),
            _ => false,
        }
    }

    /// Its parts counted, itself included.
    pub(crate) fn size(&self) -> usize {
        1 + self.children().into_iter().map(Expr::size).sum::<usize>()
    }

    /// Adds the free variables to `names`, each once, in order of appearance. A call of a named function counts as one.
    pub(crate) fn symbols(&self, names: &mut Vec<String>) {
        let mut add = |name: &str| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        };
        match self {
            Expr::Symbol(name) => add(name),
            Expr::Series(series) => {
                let mut inner = Vec::new();
                series.body.symbols(&mut inner);
                inner.iter().filter(|name| **name != series.index).for_each(|name| add(name));
                series.from.symbols(names);
                series.to.symbols(names);
            }
            _ => self.children().into_iter().for_each(|part| part.symbols(names)),
        }
    }

    /// The same with every part for which `replace` has something replaced by that.
    pub(crate) fn map(&self, replace: &dyn Fn(&Expr) -> Option<Expr>) -> Expr {
        if let Some(other) = replace(self) {
            return other;
        }
        let all = |parts: &[Expr]| parts.iter().map(|part| part.map(replace)).collect::<Vec<_>>();
        match self {
            Expr::Sum(parts) => Expr::sum(all(parts)),
            Expr::Product(parts) => Expr::product(all(parts)),
            Expr::Power(base, exponent) => Expr::power(base.map(replace), exponent.map(replace)),
            Expr::Apply(function, parts) => Expr::apply(*function, all(parts)),
            Expr::Call(name, parts) => Expr::Call(name.clone(), all(parts)),
            Expr::Series(series) => Expr::Series(Box::new(Series {
                kind: series.kind,
                index: series.index.clone(),
                from: series.from.map(replace),
                to: series.to.map(replace),
                body: series.body.map(replace),
            })),
            other => other.clone(),
        }
    }

    /// The same with `name` standing for `value`.
    pub(crate) fn substitute(&self, name: &str, value: &Expr) -> Expr {
        self.map(&|part| match part {
            Expr::Symbol(symbol) if symbol == name => Some(value.clone()),
            Expr::Series(series) if series.index == name => Some(part.clone()),
            _ => None,
        })
    }

    /// Both readings of `±`, or this alone.
    pub(crate) fn signs(&self) -> Vec<Expr> {
        if !self.any(&|part| matches!(part, Expr::Sign(_))) {
            return vec![self.clone()];
        }
        let with = |upper: bool| {
            self.map(&|part| match part {
                Expr::Sign(plus) => Some(Expr::integer(if *plus == upper { 1 } else { -1 })),
                _ => None,
            })
        };
        vec![with(true), with(false)]
    }
}

/// Whether a double factorial of it is worked out at once.
fn small_count(value: &BigRational) -> bool {
    value.numer().to_i64().is_some_and(|count| (-1..=300).contains(&count))
}

/// `a · b`. Whole numbers and small ones, which are nearly all, go without the greatest common divisors of large ones.
pub(crate) fn times(a: &BigRational, b: &BigRational) -> BigRational {
    if a.is_integer() && b.is_integer() {
        return BigRational::from_integer(a.numer() * b.numer());
    }
    match (small(a), small(b)) {
        (Some(a), Some(b)) => lowest(a.0 * b.0, a.1 * b.1),
        _ => a * b,
    }
}

/// `a + b`, likewise.
pub(crate) fn plus(a: &BigRational, b: &BigRational) -> BigRational {
    if a.is_integer() && b.is_integer() {
        return BigRational::from_integer(a.numer() + b.numer());
    }
    match (small(a), small(b)) {
        (Some(a), Some(b)) => lowest(a.0 * b.1 + b.0 * a.1, a.1 * b.1),
        _ => a + b,
    }
}

/// Numerator and denominator, where products of two such numbers and a sum of two products fit into 128 bits.
fn small(value: &BigRational) -> Option<(i128, i128)> {
    let fits = |part: &BigInt| part.to_i64().filter(|part| part.unsigned_abs() < 1 << 62).map(i128::from);
    Some((fits(value.numer())?, fits(value.denom())?))
}

/// `numer / denom`, the denominator positive.
pub(crate) fn lowest(numer: i128, denom: i128) -> BigRational {
    let divisor = numer.gcd(&denom).max(1);
    BigRational::new_raw((numer / divisor).into(), (denom / divisor).into())
}

/// The larger of numerator and denominator, in bits.
pub(crate) fn bits(value: &BigRational) -> u64 {
    value.numer().bits().max(value.denom().bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fold_and_huge_powers_stay() {
        let two = Expr::integer(2);
        assert_eq!(Expr::power(two.clone(), Expr::integer(10)), Expr::integer(1024));
        assert_eq!(Expr::power(Expr::integer(-1), Expr::integer(1_000_000_007)), Expr::integer(-1));
        let tower = Expr::power(Expr::integer(9), Expr::power(Expr::integer(9), Expr::integer(9)));
        assert!(matches!(tower, Expr::Power(..)), "9^9^9 is kept, not computed");
        assert!(matches!(Expr::power(Expr::integer(0), Expr::integer(-1)), Expr::Power(..)), "1/0 is kept");
        assert_eq!(Expr::sum([two.clone(), two.clone().negated()]), Expr::integer(0));
    }

    #[test]
    fn both_signs_are_read_together() {
        let expr = Expr::sum([Expr::Sign(true), Expr::product([Expr::integer(10), Expr::Sign(false)])]);
        assert_eq!(expr.signs(), vec![Expr::integer(-9), Expr::integer(9)]);
    }

    #[test]
    fn short_ways_give_the_same_fractions() {
        let whole: Vec<BigInt> =
            ["0", "1", "-1", "6", "-35", "4611686018427387903", "-4611686018427387904", "9223372036854775808"]
                .iter()
                .map(|text| text.parse().expect("a number"))
                .collect();
        let fractions = |numer: &BigInt| -> Vec<BigRational> {
            let denominators = whole.iter().filter(|denom| !denom.is_zero());
            denominators.map(|denom| BigRational::new(numer.clone(), denom.clone())).collect()
        };
        let all: Vec<BigRational> = whole.iter().flat_map(fractions).collect();
        for a in &all {
            for b in &all {
                assert_eq!(times(a, b), a * b, "{a} times {b}");
                assert_eq!(plus(a, b), a + b, "{a} plus {b}");
            }
        }
    }
}
