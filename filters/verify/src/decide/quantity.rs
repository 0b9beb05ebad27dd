//! Two scalars with what stands behind them: units, percent signs, the digits of a decimal.

use super::{Case, Finding, Verdict, scalar};
use crate::expr::Expr;
use crate::numeric::{Big, Real, evaluate};
use crate::read::{Scalar, number::Decimal, unit::Unit};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// Whether the answer is the gold.
pub(crate) fn same(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Finding {
    match (&gold.unit, &answer.unit) {
        (None, None) => percent(gold, answer, case),
        (Some(left), Some(right)) => {
            if let Some(found) = temperatures(gold, answer, case) {
                return found;
            }
            if let Some((left, right)) = same_sign(left, right) {
                let with = |scalar: &Scalar, unit: Unit| Scalar { unit: Some(unit), ..scalar.clone() };
                return doubted(same(&with(gold, left), &with(answer, right), case));
            }
            if calendar(left) != calendar(right)
                && (calendar(left) || calendar(right))
                && (left.is_time() || right.is_time())
            {
                // A month has no fixed number of days.
                return Finding::unknown("months-against-days");
            }
            if (left.is_sterling() || right.is_sterling()) && left.is_pound() != right.is_pound() {
                // Of money, or of weight.
                let figures = percent(gold, answer, case);
                return if figures.verdict == Verdict::Equal { Finding::unknown("pounds") } else { doubted(figures) };
            }
            let warm =
                |unit: &Unit| unit.dimensions.contains_key("celsius") || unit.dimensions.contains_key("fahrenheit");
            if left.degree && warm(right) || warm(left) && right.degree {
                // Degrees whose scale is not said may be of either.
                let figures = percent(gold, answer, case);
                return if figures.verdict == Verdict::Equal {
                    Finding::unknown("degrees-of-what")
                } else {
                    doubted(figures)
                };
            }
            if left.dimensions != right.dimensions {
                // Words without a meaning here may still mean the same: apples, pieces of fruit.
                return if left.unknown || right.unknown {
                    // 90° is 100 gon, for all that is known of gons; three apples are no four pears.
                    let figures = percent(gold, answer, case);
                    let decided = left.unknown && right.unknown && figures.verdict == Verdict::Unequal;
                    if decided { figures } else { Finding::unknown("unit-words-differ") }
                } else {
                    Finding::proven(Verdict::Unequal, "other-dimension")
                };
            }
            if left.factor == right.factor && left.degree == right.degree {
                return percent(gold, answer, case);
            }
            let in_base = |scalar: &Scalar| -> Expr {
                let unit = scalar.unit.as_ref();
                let factor = unit.map_or_else(BigRational::one, |unit| unit.factor.clone());
                let pi = if unit.is_some_and(|unit| unit.degree) { Expr::Pi } else { Expr::integer(1) };
                Expr::product([scalar.expr.clone(), Expr::Number(factor), pi])
            };
            scalar::same(&in_base(gold), &in_base(answer), case)
        }
        (one, other) => {
            let unit = one.as_ref().or(other.as_ref());
            let figures = percent(gold, answer, case);
            if gold.percent != answer.percent && figures.verdict == Verdict::Equal {
                return Finding::unknown("percent-against-a-unit");
            }
            if figures.verdict == Verdict::Equal && gold.unit.as_ref().is_some_and(|unit| unit.glued) {
                return Finding::unknown("unit-or-variable");
            }
            // 180° is π without more ado; 90 for 90° is a convention.
            if figures.verdict != Verdict::Equal && unit.is_some_and(|unit| unit.degree) {
                let value = |scalar: &Scalar| match &scalar.unit {
                    Some(unit) => Expr::product([scalar.expr.clone(), Expr::Number(unit.factor.clone()), Expr::Pi]),
                    None => scalar.expr.clone(),
                };
                let angle = scalar::same(&value(gold), &value(answer), case);
                return if angle.verdict == Verdict::Equal { angle } else { figures };
            }
            // A word that is not known may count: pairs, or a number in another language.
            if figures.verdict == Verdict::Unequal && unit.is_some_and(Unit::may_count) {
                return Finding::unknown("unit-may-count");
            }
            match figures.verdict {
                Verdict::Equal if case.policy.bare_units => Finding::probable(Verdict::Equal, "unit-on-one-side"),
                Verdict::Equal => Finding::unknown("unit-on-one-side"),
                _ => figures,
            }
        }
    }
}

fn percent(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Finding {
    if gold.percent == answer.percent {
        return figures(gold, answer, case);
    }
    let value = |scalar: &Scalar| {
        let hundredth = BigRational::new(1.into(), if scalar.percent { 100.into() } else { BigInt::one() });
        let decimal = scalar
            .decimal
            .map(|decimal| if scalar.percent { Decimal { places: decimal.places + 2, ..decimal } } else { decimal });
        Scalar {
            expr: Expr::product([scalar.expr.clone(), Expr::Number(hundredth)]),
            decimal,
            percent: false,
            unit: None,
        }
    };
    let by_value = figures(&value(gold), &value(answer), case);
    if by_value.verdict == Verdict::Equal {
        return by_value;
    }
    // 28 for 28 % says the same where a percentage was asked for. A gold below 1 was not meant as one.
    let below_one = |scalar: &Scalar| scalar.expr.as_number().is_some_and(|value| value.abs() < BigRational::one());
    if figures(gold, answer, case).verdict == Verdict::Equal {
        // Half a percent and a half are written alike, and one of them is wrong.
        if below_one(if gold.percent { gold } else { answer }) {
            return if gold.percent { Finding::unknown("percent-below-one") } else { by_value };
        }
        return if case.policy.bare_percent {
            Finding::probable(Verdict::Equal, "percent-on-one-side")
        } else {
            Finding::unknown("percent-on-one-side")
        };
    }
    by_value
}

/// Degrees Celsius, degrees Fahrenheit and kelvins.
fn temperatures(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Option<Finding> {
    let ratio = |above: i64, below: i64| Expr::Number(BigRational::new(above.into(), below.into()));
    let kelvin = |scalar: &Scalar| -> Option<(Expr, String)> {
        let unit = scalar.unit.as_ref()?;
        let (dimension, power) = unit.dimensions.iter().next().filter(|_| unit.dimensions.len() == 1)?;
        let expr = scalar.expr.clone();
        let value = match (dimension.as_str(), power) {
            ("celsius", 1) => Expr::sum([expr, ratio(27_315, 100)]),
            ("fahrenheit", 1) => Expr::product([Expr::sum([expr, ratio(45_967, 100)]), ratio(5, 9)]),
            ("K", 1) => Expr::product([expr, Expr::Number(unit.factor.clone())]),
            _ => return None,
        };
        Some((value, dimension.clone()))
    };
    let scale = |scalar: &Scalar| {
        let unit = scalar.unit.as_ref();
        unit.is_some_and(|unit| ["celsius", "fahrenheit"].iter().any(|scale| unit.dimensions.contains_key(*scale)))
    };
    if !scale(gold) && !scale(answer) {
        return None;
    }
    // `25 C` without the sign of degrees.
    let bare = |scalar: &Scalar| scalar.unit.as_ref().is_some_and(Unit::is_coulomb);
    let celsius = |scalar: &Scalar| scalar.unit.as_ref().is_some_and(|unit| unit.dimensions.contains_key("celsius"));
    if bare(gold) && celsius(answer) || celsius(gold) && bare(answer) {
        return Some(doubted(percent(gold, answer, case)));
    }
    let ((left, one), (right, other)) = (kelvin(gold)?, kelvin(answer)?);
    (one != other).then(|| doubted(scalar::same(&left, &right, case)))
}

/// Whether it is months or years.
fn calendar(unit: &Unit) -> bool {
    unit.dimensions.len() == 1 && unit.dimensions.contains_key("month")
}

/// Probable at most.
fn doubted(found: Finding) -> Finding {
    Finding { certainty: crate::Certainty::Probable, ..found }
}

/// `¥` is the sign of two currencies; beside the name of one it is that one.
fn same_sign(left: &Unit, right: &Unit) -> Option<(Unit, Unit)> {
    let sign = |unit: &Unit| unit.dimensions.contains_key("¥");
    let named = |unit: &Unit, currency: &str| {
        let mut unit = unit.clone();
        if let Some(power) = unit.dimensions.remove("¥") {
            unit.dimensions.insert(currency.to_owned(), power);
        }
        unit
    };
    if sign(left) == sign(right) {
        return None;
    }
    let other = if sign(left) { right } else { left };
    let currency = ["CNY", "JPY"].into_iter().find(|currency| other.dimensions.contains_key(*currency))?;
    Some((named(left, currency), named(right, currency)))
}

/// The figures alone. A decimal gold also stands for what rounds to it.
fn figures(gold: &Scalar, answer: &Scalar, case: &Case<'_>) -> Finding {
    let exact = scalar::same(&gold.expr, &answer.expr, case);
    if exact.verdict != Verdict::Unequal {
        return exact;
    }
    if case.policy.rounded_answers
        && let (None, Some(stated), Some(value)) = (gold.decimal, answer.decimal, answer.expr.as_number())
        && stated.significant >= 4
        && within_half(value, &gold.expr, stated, case)
    {
        return Finding::probable(Verdict::Equal, "rounded-answer");
    }
    let (Some(stated), Some(value)) = (gold.decimal, gold.expr.as_number()) else { return exact };
    if !case.policy.rounding {
        return exact;
    }
    if !within_half(value, &answer.expr, stated, case) {
        return exact;
    }
    // A fraction or a root that ends nowhere can only be meant rounded; a decimal could be a miscalculation.
    let endless = answer.expr.as_number().is_none_or(|value| !ends(value));
    let least = if endless { 3 } else { 4 };
    if stated.significant >= least {
        Finding::probable(Verdict::Equal, "rounds-to-the-gold")
    } else {
        Finding::unknown("too-few-digits-to-round")
    }
}

/// Whether one is what the other's decimal rounds.
pub(super) fn rounds(decimal: &Scalar, exact: &Scalar, case: &Case<'_>) -> bool {
    let (Some(stated), Some(value)) = (decimal.decimal, decimal.expr.as_number()) else { return false };
    within_half(value, &exact.expr, stated, case)
}

/// Whether `answer` lies within half a unit of the gold's last digit.
fn within_half(gold: &BigRational, answer: &Expr, stated: Decimal, case: &Case<'_>) -> bool {
    let mut names = Vec::new();
    answer.symbols(&mut names);
    if !names.is_empty() {
        return false;
    }
    if stated.places.abs() > 1500 {
        return false;
    }
    let ten = BigInt::from(10).pow(stated.places.unsigned_abs());
    let unit = if stated.places >= 0 { BigRational::new(BigInt::one(), ten) } else { BigRational::from_integer(ten) };
    let half = unit / BigRational::from_integer(2.into());
    if let Some(answer) = answer.as_number() {
        return (answer - gold).abs() <= half;
    }
    let offset = answer.clone().minus(Expr::Number(gold.clone()));
    let Ok(offset) = evaluate::<Big>(&offset, &Vec::new(), 256, &case.effort) else { return false };
    let Ok(half) = Big::rational(&half, 256) else { return false };
    offset.is_real()
        && half.add(&offset.re).sign().is_some_and(|sign| sign.is_gt())
        && half.add(&offset.re.neg()).sign().is_some_and(|sign| sign.is_gt())
}

/// Whether a fraction's decimal expansion ends.
fn ends(value: &BigRational) -> bool {
    let mut rest = value.denom().clone();
    for prime in [2_u8, 5] {
        while (&rest % prime).is_zero() {
            rest /= prime;
        }
    }
    rest.is_one()
}
