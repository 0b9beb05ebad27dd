//! Points that real parameters run through: `(1 + t, 2t), t ∈ ℝ`. Where every entry is affine in the parameters, two
//! such sets are one if a point of each lies in the other and their directions span the same space.

use super::{Case, Finding, Verdict, scalar};
use crate::expr::Expr;
use crate::read::Value;
use num_rational::BigRational;
use num_traits::Zero;

type Spanned<'v> = (&'v Value, &'v [String]);
type Row = Vec<BigRational>;

/// Two sets of points.
pub(super) fn same(gold: Spanned<'_>, answer: Spanned<'_>, case: &Case<'_>) -> Finding {
    let (Some(a), Some(b)) = (entries(gold.0), entries(answer.0)) else { return Finding::unknown("parameters") };
    if a.len() != b.len() {
        return Finding::probable(Verdict::Unequal, "other-shape");
    }
    if let (Some((start, along)), Some((other, across))) = (affine(&a, gold.1), affine(&b, answer.1)) {
        let between: Row = start.iter().zip(&other).map(|(a, b)| a - b).collect();
        let size = rank(along.clone());
        let equal = size == rank(across.clone())
            && size == rank(along.iter().cloned().chain(across).collect())
            && size == rank(along.into_iter().chain([between]).collect());
        return Finding::probable(if equal { Verdict::Equal } else { Verdict::Unequal }, "same-span");
    }
    // The same under other names.
    let named = gold.1.len() == answer.1.len();
    let renamed =
        b.iter().map(|entry| {
            let apart = answer.1.iter().enumerate().fold(entry.clone(), |entry, (at, name)| {
                entry.substitute(name, &Expr::symbol(format!("parameter {at}")))
            });
            gold.1.iter().enumerate().fold(apart, |entry, (at, name)| {
                entry.substitute(&format!("parameter {at}"), &Expr::symbol(name.clone()))
            })
        });
    match Finding::all(a.iter().zip(renamed).map(|(a, b)| scalar::same(a, &b, case))).verdict {
        Verdict::Equal if named => Finding::probable(Verdict::Equal, "renamed-parameters"),
        _ => Finding::unknown("parameters"),
    }
}

fn entries(value: &Value) -> Option<Vec<Expr>> {
    match value {
        Value::Named { value, .. } => entries(value),
        Value::Matrix(rows) => Some(rows.iter().flatten().cloned().collect()),
        Value::Tuple(parts) => {
            let each = parts.iter().map(|part| match part {
                Value::Scalar(scalar) if scalar.unit.is_none() && !scalar.percent => Some(scalar.expr.clone()),
                _ => None,
            });
            each.collect()
        }
        _ => None,
    }
}

/// The point where all parameters are 0, and the direction of each; nothing where an entry is not affine, or no number.
fn affine(entries: &[Expr], parameters: &[String]) -> Option<(Row, Vec<Row>)> {
    let at = |values: &[i64]| -> Option<Row> {
        let each = entries.iter().map(|entry| {
            let number = parameters
                .iter()
                .zip(values)
                .fold(entry.clone(), |entry, (name, value)| entry.substitute(name, &Expr::integer(*value)));
            number.as_number().cloned()
        });
        each.collect()
    };
    let unit = |place: usize, value: i64| -> Vec<i64> {
        (0..parameters.len()).map(|at| if at == place { value } else { 0 }).collect()
    };
    let start = at(&unit(0, 0))?;
    let mut along = Vec::new();
    for place in 0..parameters.len() {
        along.push(at(&unit(place, 1))?.iter().zip(&start).map(|(end, start)| end - start).collect::<Row>());
    }
    // What is affine is so here too; a polynomial that is not differs at one of these.
    for probe in [3, -5, 7] {
        let values: Vec<i64> = (0..parameters.len()).map(|place| probe + 11 * place as i64).collect();
        for (entry, found) in at(&values)?.iter().enumerate() {
            let steps =
                along.iter().zip(&values).map(|(row, value)| &row[entry] * BigRational::from_integer((*value).into()));
            if steps.fold(start[entry].clone(), |sum, step| sum + step) != *found {
                return None;
            }
        }
    }
    Some((start, along))
}

/// How many rows are independent, by elimination.
fn rank(mut rows: Vec<Row>) -> usize {
    let width = rows.first().map_or(0, Vec::len);
    let mut rank = 0;
    for column in 0..width {
        let Some(pivot) = (rank..rows.len()).find(|row| !rows[*row][column].is_zero()) else { continue };
        rows.swap(rank, pivot);
        let (done, rest) = rows.split_at_mut(rank + 1);
        let pivot = &done[rank];
        for row in rest {
            let factor = &row[column] / &pivot[column];
            row.iter_mut().zip(pivot).for_each(|(entry, above)| *entry -= &factor * above);
        }
        rank += 1;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_rows_are_counted() {
        let row = |numbers: [i64; 3]| numbers.map(|number| BigRational::from_integer(number.into())).to_vec();
        assert_eq!(rank(vec![row([1, 2, 3]), row([2, 4, 6])]), 1);
        assert_eq!(rank(vec![row([0, 0, 1]), row([0, 1, 0]), row([0, 1, 1])]), 2);
        assert_eq!(rank(vec![row([0, 0, 0])]), 0);
    }
}
