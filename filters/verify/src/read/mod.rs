//! Text to values. One text can have several readings (`1,234`, `log`); all of them are kept, the likeliest first.

mod alphabet;
mod applied;
mod command;
mod doubt;
mod ellipsis;
mod expression;
mod foreign;
mod letter;
mod list;
pub(crate) mod matrix;
mod name;
pub(crate) mod number;
mod numerals;
mod prose;
mod relation;
mod scalar;
mod scan;
mod set;
mod show;
mod symbol;
pub(crate) mod token;
pub(crate) mod unit;
mod units;
pub(crate) mod value;
mod vector;
pub(crate) mod words;

pub(crate) use value::{Interval, Scalar, Value};

use token::{Commas, Mode};

/// An answer's text and what it can mean.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'t> {
    /// As it was written, without what stands around it.
    pub text: &'t str,
    /// Readings, the likeliest first.
    pub values: Vec<Value>,
    /// Why there is none.
    pub fault: &'static str,
    /// Other readings, which can only put the first ones in question.
    pub others: Vec<Value>,
    /// Whether a reading rests on a word, a mark or a letter that could mean something else. Nothing is proven by it.
    pub doubt: bool,
    /// Whether capital letters side by side could be one name or a product.
    pub labels: bool,
}

/// Reads `text`.
pub(crate) fn read(text: &str, mode: Mode) -> Answer<'_> {
    let text = unwrapped(text);
    let mut answer =
        Answer { text, values: Vec::new(), fault: "empty", others: Vec::new(), doubt: false, labels: false };
    if text.is_empty() {
        return answer;
    }
    let mut readings = vec![Commas::Group];
    if has_comma_between_digits(text) {
        readings.push(Commas::Separate);
        if text.matches(',').count() == 1 && !text.contains(['(', '[', '{']) {
            readings.push(Commas::Decimal);
        }
    }
    for commas in readings {
        let scanned = token::scanned(text, commas).and_then(|(tokens, doubt)| {
            if !doubt::fits(text, &tokens, commas) {
                return Err("commas");
            }
            answer.doubt |= doubt || doubt::doubtful(&tokens);
            answer.labels |= doubt::labelled(&tokens);
            let value = list::value(&tokens, mode);
            // `5m`: five of a variable, or five metres.
            let glued = match doubt::glued(&tokens) {
                true => list::value(&tokens, Mode { glued: true, ..mode }).ok(),
                false => None,
            };
            let other = doubt::other(&tokens).and_then(|tokens| list::value(&tokens, mode).ok());
            answer.others.extend(other);
            Ok((value, glued))
        });
        match scanned {
            Ok((value, glued)) => {
                answer.fault = value.as_ref().err().copied().unwrap_or(answer.fault);
                for value in value.into_iter().chain(glued) {
                    if !answer.values.contains(&value) {
                        answer.values.push(value);
                    }
                }
            }
            Err(fault) => answer.fault = fault,
        }
    }
    // 1.234,5
    if let Some(text) = continental(text) {
        answer.doubt = true;
        answer.values.extend(token::tokens(&text, Commas::Group).and_then(|tokens| list::value(&tokens, mode)));
    }
    // `an ellipse` is no number of ellipses.
    let nameless = |value: &Value| match value {
        Value::Scalar(Scalar { expr, unit: Some(unit), .. }) => unit.unknown && expr.as_number().is_none(),
        _ => false,
    };
    let wordy = answer.values.iter().any(nameless) && words::wordy(&words::normal(text));
    answer.values.retain(|value| !(wordy && nameless(value)));
    if answer.values.is_empty() {
        answer.doubt = true;
        answer.values.extend(prose::prose(text, mode));
    }
    answer.doubt |= answer.values.len() > 1;
    answer
}

/// Without Markdown, quotation marks and a final full stop.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text.len();
        for mark in ["**", "__", "\"", "`"] {
            if text.len() > 2 * mark.len()
                && let Some(inner) = text.strip_prefix(mark).and_then(|inner| inner.strip_suffix(mark))
            {
                text = inner.trim();
            }
        }
        let ends_in_number = text.len() > 1 && text.as_bytes()[text.len() - 2].is_ascii_digit();
        if text.ends_with('.') && !text.ends_with("..") && !text.to_lowercase().ends_with(".m.")
            || text.ends_with(',') && !ends_in_number
        {
            text = text[..text.len() - 1].trim_end();
        }
        if text.len() == before {
            return text;
        }
    }
}

/// The English spelling of a number whose points part thousands and whose comma parts decimals.
fn continental(text: &str) -> Option<String> {
    let body = text.trim().trim_start_matches('-');
    let (whole, fraction) = body.split_once(',')?;
    let mut groups = whole.split('.');
    let first = groups
        .next()
        .is_some_and(|first| (1..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_digit()));
    let rest: Vec<&str> = groups.collect();
    let grouped = !rest.is_empty()
        && rest.iter().all(|group| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    (first && grouped && digits).then(|| text.replace('.', "").replace(',', "."))
}

fn has_comma_between_digits(text: &str) -> bool {
    text.as_bytes().windows(3).any(|bytes| bytes[1] == b',' && bytes[0].is_ascii_digit() && bytes[2].is_ascii_digit())
}
