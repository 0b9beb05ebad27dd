//! Text to values. One text can have several readings (`1,234`, `log`); all of them are kept, the likeliest first.

mod alphabet;
mod applied;
mod expression;
mod list;
pub(crate) mod matrix;
pub(crate) mod number;
mod prose;
mod relation;
mod scalar;
mod show;
pub(crate) mod token;
pub(crate) mod unit;
pub(crate) mod value;
pub(crate) mod words;

pub(crate) use value::{Interval, Scalar, Value};

use token::Commas;

/// An answer's text and what it can mean.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'t> {
    /// As it was written, without what stands around it.
    pub text: &'t str,
    /// Readings, the likeliest first.
    pub values: Vec<Value>,
    /// Why there is none.
    pub fault: &'static str,
}

/// Reads `text`; `natural` says whether a bare `log` is the natural one.
pub(crate) fn read(text: &str, natural: bool) -> Answer<'_> {
    let text = unwrapped(text);
    let mut answer = Answer { text, values: Vec::new(), fault: "empty" };
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
        match token::tokens(text, commas).and_then(|tokens| list::value(&tokens, natural)) {
            Ok(value) if !answer.values.contains(&value) => answer.values.push(value),
            Ok(_) => {}
            Err(fault) => answer.fault = fault,
        }
    }
    // `an ellipse` is no number of ellipses.
    let nameless = |value: &Value| match value {
        Value::Scalar(Scalar { expr, unit: Some(unit), .. }) => unit.unknown && expr.as_number().is_none(),
        _ => false,
    };
    let wordy = answer.values.iter().any(nameless) && words::wordy(&words::normal(text));
    answer.values.retain(|value| !(wordy && nameless(value)));
    if answer.values.is_empty() {
        answer.values.extend(prose::prose(text, natural));
    }
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

fn has_comma_between_digits(text: &str) -> bool {
    text.as_bytes().windows(3).any(|bytes| bytes[1] == b',' && bytes[0].is_ascii_digit() && bytes[2].is_ascii_digit())
}
