//! Matrices: their rows, their sums and products, their determinants.

use super::expression::expression;
use super::token::{Kind, Mode, Token};
use crate::expr::Expr;
use num_traits::Zero;

/// Rows of entries.
pub(crate) type Rows = Vec<Vec<Expr>>;

const NAMES: &[&str] = &["matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "smallmatrix", "array"];
const MAX_SIDE: usize = 16;
/// Parts of all entries together, beyond which nothing is multiplied out.
const MAX_SIZE: usize = 2000;
/// Brackets around sums of matrices, within each other.
const MAX_DEPTH: u32 = 6;

/// The index right after the `\end` of the environment that the first token begins.
pub(crate) fn closing(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Begin(_) => depth += 1,
            Kind::End(_) => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The entries between `\begin` and `\end`.
pub(crate) fn rows(tokens: &[Token], mode: Mode) -> Result<Rows, &'static str> {
    let mut rows: Rows = Vec::new();
    for row in tokens.split(|token| token.kind == Kind::Row) {
        if row.is_empty() {
            continue;
        }
        let entries = row
            .split(|token| token.kind == Kind::Ampersand)
            .map(|entry| expression(entry, mode))
            .collect::<Result<Vec<_>, _>>()?;
        rows.push(entries);
    }
    let width = rows.first().map_or(0, Vec::len);
    if width == 0 || width > MAX_SIDE || rows.len() > MAX_SIDE || rows.iter().any(|row| row.len() != width) {
        return Err("ragged-matrix");
    }
    Ok(rows)
}

/// A matrix, or sums and products of matrices and numbers; nothing where there is none.
pub(crate) fn matrix(tokens: &[Token], mode: Mode) -> Option<Result<Rows, &'static str>> {
    tokens.iter().any(is_matrix).then(|| terms(tokens, mode, 0))
}

fn is_matrix(token: &Token) -> bool {
    matches!(&token.kind, Kind::Begin(name) if name != "vmatrix" && NAMES.contains(&name.as_str()))
}

/// What lies between the bracket that `tokens` begin with and the one that closes it.
pub(super) fn inside(tokens: &[Token]) -> Option<&[Token]> {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) | Kind::Begin(_) => depth += 1,
            Kind::Close(_) | Kind::End(_) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return tokens.get(1..at);
        }
    }
    None
}

fn terms(tokens: &[Token], mode: Mode, nesting: u32) -> Result<Rows, &'static str> {
    let (mut depth, mut start, mut negative) = (0_i32, 0, false);
    let mut total: Option<Rows> = None;
    for at in 0..=tokens.len() {
        let sign = match tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Begin(_) | Kind::Open(_)) => {
                depth += 1;
                continue;
            }
            Some(Kind::End(_) | Kind::Close(_)) => {
                depth -= 1;
                continue;
            }
            Some(Kind::Op(sign @ ('+' | '-'))) if depth == 0 => Some(*sign),
            Some(_) => continue,
            None => None,
        };
        if start < at {
            let mut term = factors(&tokens[start..at], mode, nesting)?;
            if negative {
                term = scaled(&term, &Expr::integer(-1));
            }
            total = Some(match total {
                None => term,
                Some(total) => added(&total, &term)?,
            });
            negative = false;
        }
        negative ^= sign == Some('-');
        start = at + 1;
    }
    total.ok_or("empty")
}

fn factors(tokens: &[Token], mode: Mode, depth: u32) -> Result<Rows, &'static str> {
    let (mut at, mut scalar, mut product) = (0, Expr::integer(1), None::<Rows>);
    while at < tokens.len() {
        match &tokens[at].kind {
            Kind::Op('*') => at += 1,
            Kind::Begin(name) if NAMES.contains(&name.as_str()) => {
                let end = closing(&tokens[at..]).ok_or("unfinished-environment")?;
                let next = rows(&tokens[at + 1..at + end], mode)?;
                at += end + 1;
                let (next, length) = raised(next, &tokens[at..])?;
                at += length;
                product = Some(match product {
                    None => next,
                    Some(product) => multiplied(&product, &next)?,
                });
            }
            // Brackets around matrices.
            Kind::Open('(' | '[' | 'g' | '{')
                if depth < MAX_DEPTH && inside(&tokens[at..]).is_some_and(|inner| inner.iter().any(is_matrix)) =>
            {
                let inner = inside(&tokens[at..]).unwrap_or_default();
                let next = terms(inner, mode, depth + 1)?;
                at += inner.len() + 2;
                let (next, length) = raised(next, &tokens[at..])?;
                at += length;
                product = Some(match product {
                    None => next,
                    Some(product) => multiplied(&product, &next)?,
                });
            }
            _ => {
                // Up to the next matrix, or the bracket around it.
                let mut end = at;
                while let Some(token) = tokens.get(end) {
                    let bracket = matches!(token.kind, Kind::Open(_));
                    let length = if bracket { inside(&tokens[end..]).map(<[Token]>::len) } else { None };
                    let holds = length.is_some_and(|length| tokens[end..end + length + 1].iter().any(is_matrix));
                    if holds || is_matrix(token) {
                        break;
                    }
                    end += length.map_or(1, |length| length + 2);
                }
                let end = end.min(tokens.len());
                let end = if end > at && tokens[end - 1].kind == Kind::Op('*') { end - 1 } else { end };
                if end == at {
                    return Err("not-an-operand");
                }
                scalar = Expr::product([scalar, expression(&tokens[at..end], mode)?]);
                at = end;
            }
        }
    }
    Ok(scaled(&product.ok_or("scalar-beside-matrix")?, &scalar))
}

/// A matrix to the power that follows it, or transposed, and how many tokens that takes.
fn raised(rows: Rows, tokens: &[Token]) -> Result<(Rows, usize), &'static str> {
    const MAX_POWER: i64 = 12;
    if tokens.first().map(|token| &token.kind) != Some(&Kind::Op('^')) {
        return Ok((rows, 0));
    }
    let (exponent, length) = match tokens.get(1).map(|token| &token.kind) {
        Some(Kind::Open('g')) => {
            let inner = inside(&tokens[1..]).ok_or("unfinished")?;
            (inner, inner.len() + 3)
        }
        Some(_) => (&tokens[1..2], 2),
        None => return Err("unfinished"),
    };
    match exponent {
        [Token { kind: Kind::Letter(name), .. }] if name == "T" || name == "t" => {
            return Ok((transposed(&rows), length));
        }
        [Token { kind: Kind::Unknown(name), .. }] if matches!(name.as_str(), "top" | "intercal") => {
            return Ok((transposed(&rows), length));
        }
        _ => {}
    }
    let power = expression(exponent, Mode::default())?.as_small().filter(|power| power.abs() <= MAX_POWER);
    let power = power.ok_or("power-of-matrix")?;
    let base = if power < 0 { inverted(&rows)? } else { rows };
    if base.len() != base[0].len() || power == 0 {
        return Err("power-of-matrix");
    }
    let mut result = base.clone();
    for _ in 1..power.unsigned_abs() {
        result = multiplied(&result, &base)?;
    }
    Ok((result, length))
}

fn transposed(rows: &Rows) -> Rows {
    (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].clone()).collect()).collect()
}

/// The inverse of up to three rows, by cofactors.
fn inverted(rows: &Rows) -> Result<Rows, &'static str> {
    if rows.len() > 3 {
        return Err("no-inverse");
    }
    let whole = determinant(rows)?;
    if whole.as_number().is_some_and(Zero::is_zero) {
        return Err("no-inverse");
    }
    let size = rows.len();
    let minor = |row: usize, column: usize| -> Result<Expr, &'static str> {
        let rest: Rows = (0..size)
            .filter(|at| *at != row)
            .map(|at| (0..size).filter(|place| *place != column).map(|place| rows[at][place].clone()).collect())
            .collect();
        if rest.is_empty() { Ok(Expr::integer(1)) } else { determinant(&rest) }
    };
    let entry = |row: usize, column: usize| {
        let sign = Expr::integer(if (row + column).is_multiple_of(2) { 1 } else { -1 });
        // Transposed.
        Ok(Expr::product([sign, minor(column, row)?, whole.clone().inverse()]))
    };
    (0..size).map(|row| (0..size).map(|column| entry(row, column)).collect()).collect()
}

fn scaled(rows: &Rows, factor: &Expr) -> Rows {
    let scale = |entry: &Expr| Expr::product([factor.clone(), entry.clone()]);
    rows.iter().map(|row| row.iter().map(scale).collect()).collect()
}

fn added(a: &Rows, b: &Rows) -> Result<Rows, &'static str> {
    if a.len() != b.len() || a[0].len() != b[0].len() {
        return Err("shapes-differ");
    }
    let row =
        |(a, b): (&Vec<Expr>, &Vec<Expr>)| a.iter().zip(b).map(|(a, b)| Expr::sum([a.clone(), b.clone()])).collect();
    Ok(a.iter().zip(b).map(row).collect())
}

fn multiplied(a: &Rows, b: &Rows) -> Result<Rows, &'static str> {
    if a[0].len() != b.len() {
        return Err("shapes-differ");
    }
    let entry = |row: &[Expr], column: usize| {
        Expr::sum(row.iter().zip(b).map(|(left, right)| Expr::product([left.clone(), right[column].clone()])))
    };
    let product: Rows = a.iter().map(|row| (0..b[0].len()).map(|column| entry(row, column)).collect()).collect();
    let size = product.iter().flatten().map(Expr::size).sum::<usize>();
    if size > MAX_SIZE { Err("too-large") } else { Ok(product) }
}

/// The determinant of up to four rows, by expansion.
pub(crate) fn determinant(rows: &Rows) -> Result<Expr, &'static str> {
    if rows.len() != rows[0].len() || rows.len() > 4 {
        return Err("no-determinant");
    }
    if rows.iter().flatten().map(Expr::size).sum::<usize>() > MAX_SIZE {
        return Err("too-large");
    }
    if rows.len() == 1 {
        return Ok(rows[0][0].clone());
    }
    let mut terms = Vec::new();
    for (column, factor) in rows[0].iter().enumerate() {
        let minor: Rows = rows[1..]
            .iter()
            .map(|row| row.iter().enumerate().filter(|(at, _)| *at != column).map(|(_, entry)| entry.clone()).collect())
            .collect();
        let sign = Expr::integer(if column % 2 == 0 { 1 } else { -1 });
        terms.push(Expr::product([sign, factor.clone(), determinant(&minor)?]));
    }
    Ok(Expr::sum(terms))
}
