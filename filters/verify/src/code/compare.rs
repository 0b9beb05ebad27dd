//! Is what a program wrote what was expected? Always outside the sandbox, always over the whole output: a prefix is wrong.

use super::{Compare, Tolerance, text::short_bytes, value::decimals_equal};

/// Where they differ, in short: expected and got.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) at: String,
    pub(super) expected: String,
    pub(super) got: String,
}

/// `None` when they agree. What was written is gone through in place: it may be long.
pub(super) fn difference(
    expected: &[u8],
    got: &[u8],
    how: Compare,
    tolerance: Option<&Tolerance>,
) -> Option<Difference> {
    let same = |a: &[u8], b: &[u8]| a == b || tolerance.is_some_and(|tolerance| close(a, b, tolerance));
    match how {
        Compare::Exact => first([expected].into_iter(), [got].into_iter(), "output", |a, b| a == b),
        Compare::Lines => first(lines(expected), lines(got), "line", same),
        Compare::Tokens => first(tokens(expected), tokens(got), "token", same),
        Compare::Decimals => first(stripped(expected), stripped(got), "line", |a, b| {
            let close = || tolerance.is_some_and(|tolerance| self::close(a, b, tolerance));
            a == b || same_decimals(a, b) || close()
        }),
    }
}

/// Lines without the white space at their ends, and without empty ones at the end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.trim_ascii_end();
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter(move |_| !text.is_empty())
}

/// Lines without the white space around them, of a text without the white space around it: one at least.
fn stripped(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.trim_ascii().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

/// Whether both lines are numbers alone, and the same ones.
fn same_decimals(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => match (std::str::from_utf8(a), std::str::from_utf8(b)) {
                (Ok(a), Ok(b)) if decimals_equal(a, b) => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}

fn first<'t>(
    mut expected: impl Iterator<Item = &'t [u8]>,
    mut got: impl Iterator<Item = &'t [u8]>,
    unit: &str,
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> Option<Difference> {
    let show = |part: Option<&[u8]>| part.map_or_else(|| "nothing".to_owned(), |part| short_bytes(part, 120));
    for place in 1_u64.. {
        match (expected.next(), got.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if same(a, b) => {}
            (a, b) => return Some(Difference { at: format!("{unit} {place}"), expected: show(a), got: show(b) }),
        }
    }
    None
}

/// Token by token, so that lines of numbers may have a tolerance too.
fn close(a: &[u8], b: &[u8], tolerance: &Tolerance) -> bool {
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        let (a, b) = match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => (a, b),
            _ => return false,
        };
        let (Ok(expected), Ok(got)) = (std::str::from_utf8(a), std::str::from_utf8(b)) else { return a == b };
        // `inf` and `nan` are words here, not numbers.
        if expected != got && !tolerance.allows_text(expected, got) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(expected: &str, got: &str, how: Compare, tolerance: Option<Tolerance>) -> bool {
        difference(expected.as_bytes(), got.as_bytes(), how, tolerance.as_ref()).is_none()
    }

    #[test]
    fn white_space_is_forgiven_and_nothing_else() {
        for (expected, got, how, same) in [
            ("1 2\n3\n", "1 2\n3", Compare::Tokens, true),
            ("1 2\n3\n", "1  2 3", Compare::Tokens, true),
            ("1 2\n3\n", "1 2 3", Compare::Lines, false),
            ("1 2\n3\n", "1 2 \n3\n\n", Compare::Lines, true),
            ("1 2\n3\n", "1 2\n3", Compare::Exact, false),
            ("1\n2\n", "1\n", Compare::Tokens, false),
            ("1\n", "1\n2\n", Compare::Tokens, false),
            ("1\n", "", Compare::Tokens, false),
            ("", "", Compare::Tokens, true),
            ("1.0", "1.00", Compare::Tokens, false),
            ("Yes", "YES", Compare::Tokens, false),
        ] {
            assert_eq!(agree(expected, got, how, None), same, "{expected:?} and {got:?} by {how:?}");
        }
    }

    #[test]
    fn a_tolerance_is_for_numbers() {
        let tolerance = Some(Tolerance { absolute: 1e-6, relative: 1e-6 });
        assert!(agree("1000000.0 x", "1000000.5 x", Compare::Tokens, tolerance));
        assert!(agree("0.3333333\n", "0.33333335\n", Compare::Lines, tolerance));
        assert!(!agree("0.5", "0.51", Compare::Tokens, tolerance));
        assert!(!agree("nan", "NaN", Compare::Tokens, tolerance));
        assert!(!agree("inf", "1e999", Compare::Tokens, tolerance));
        let huge = format!("1{}", "0".repeat(400));
        assert!(!agree("3.25", &huge, Compare::Tokens, tolerance));
        assert!(!agree(&huge, "1e999", Compare::Tokens, tolerance));
        assert!(!agree(&huge, "3.25", Compare::Tokens, tolerance));
        assert!(agree(&huge, &format!("1{}1", "0".repeat(399)), Compare::Tokens, tolerance));
    }

    #[test]
    fn live_code_bench_compares_numbers_as_decimals() {
        for (expected, got, same) in [
            ("0.5\n", "0.50", true),
            ("3\n", "3.0\n", true),
            ("0.5 2\nabc\n", "0.50 2.0\nabc", true),
            ("1 2", "1  2", true),
            ("a b", "a  b", false),
            ("1\n2", "1 2", false),
            ("  1\n 2 \n\n", "1\n2", true),
            ("1\n\n2", "1\n2", false),
            ("", "\n\n", true),
            ("", "x", false),
            ("1", "1 1", false),
            ("1e3", "1000", true),
            ("-0", "0", true),
            ("50000000000000000", "50000000000000001", false),
            ("0.1", "0.1000000001", false),
            ("YES", "yes", false),
            ("1 YES", "1.0 YES", false),
            ("inf", "Infinity", true),
            ("inf", "-inf", false),
            ("nan", "NaN", false),
            ("nan", "nan", true),
        ] {
            assert_eq!(agree(expected, got, Compare::Decimals, None), same, "{expected:?} and {got:?}");
        }
    }

    #[test]
    fn a_difference_says_where() {
        let found = difference(b"1 2 3", b"1 2\x1b[31m 3", Compare::Tokens, None);
        let expected =
            Difference { at: "token 2".to_owned(), expected: "2".to_owned(), got: "2\u{fffd}[31m".to_owned() };
        assert_eq!(found, Some(expected));
        assert_eq!(difference(b"1 2", b"1", Compare::Tokens, None).map(|found| found.got), Some("nothing".to_owned()));
    }
}
