//! Ready traces of a row: whole turns that somebody's teacher wrote, each exactly as it was written, with what the file says
//! beside it. What it claims of them stays its own word.

use super::{Cells, Columns};
use distill_dataset::{Cell, FileClaim, FinishReason, TurnFormat, Unreadable};
use serde_json::value::RawValue;

/// A ready turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response {
    /// Exactly what was written.
    pub(crate) text: String,
    /// How it is laid out, as far as it shows.
    pub(crate) format: TurnFormat,
    /// Why it ended, as far as the file says.
    pub(crate) finish_reason: FinishReason,
    /// The file's own name for that, where it is none of ours.
    pub(crate) finish_name: Option<String>,
    /// Who wrote it, where the file says so.
    pub(crate) teacher: Option<String>,
    /// What the file claims of it.
    pub(crate) claims: Vec<FileClaim>,
}

/// The responses of a row. `last` is what a conversation ends with.
pub(super) fn read(columns: &Columns, last: Option<String>, cells: &Cells<'_>) -> Vec<Result<Response, Unreadable>> {
    if !columns.has_traces() {
        return Vec::new();
    }
    let beside = |column: &str| listed(cells.at(column)).map(|values| (column.to_owned(), values));
    let read = || {
        let texts = match &columns.responses {
            None => vec![last],
            Some(column) => listed(cells.at(column))?,
        };
        let one = |column: &Option<String>| column.as_deref().map(beside).transpose();
        let reasoning = one(&columns.reasoning)?;
        let ends = one(&columns.finish_reasons)?;
        let claims = columns.claims.iter().map(|column| beside(column)).collect::<Result<Vec<_>, _>>()?;
        for (column, values) in reasoning.iter().chain(&ends).chain(&claims) {
            // A list that is not there says nothing of any of them.
            if values.len() != texts.len() && !values.iter().all(Option::is_none) {
                let detail =
                    format!("expected {} entries in `{column}`, one a response, found {}", texts.len(), values.len());
                return Err(Unreadable::new("unequal-lists", detail));
            }
        }
        Ok((texts, reasoning, ends, claims))
    };
    let (texts, reasoning, ends, claims) = match read() {
        Ok(found) => found,
        Err(unreadable) => return vec![Err(unreadable)],
    };
    if texts.is_empty() {
        return vec![Err(Unreadable::new("no-response", "found an empty list"))];
    }
    let at = |values: &Option<(String, Vec<Option<String>>)>, place: usize| {
        values.as_ref().and_then(|(_, values)| values.get(place).cloned().flatten())
    };
    let teacher = cells.said(&columns.teacher);
    let response = |(place, text): (usize, Option<String>)| {
        let text = text.ok_or_else(|| Unreadable::new("no-response", ""))?;
        let text = match at(&reasoning, place).filter(|reasoning| !reasoning.is_empty()) {
            // As an endpoint's answer that comes in two parts.
            Some(reasoning) => TurnFormat::default().join(&reasoning, &text),
            None => text,
        };
        if text.trim().is_empty() {
            return Err(Unreadable::new("no-response", "found an empty text"));
        }
        let (finish_reason, finish_name) = finish(at(&ends, place));
        let says = claims.iter().filter_map(|(name, values)| Some((name, values.get(place)?.as_ref()?)));
        let claims = says.map(|(name, says)| FileClaim { name: name.clone(), says: says.clone() }).collect();
        let format = TurnFormat::of_text(&text);
        Ok(Response { text, format, finish_reason, finish_name, teacher: teacher.clone(), claims })
    };
    texts.into_iter().enumerate().map(response).collect()
}

/// The values of a list, or the one value that stands for a list of one.
fn listed(cell: Option<&Cell>) -> Result<Vec<Option<String>>, Unreadable> {
    let json = match cell {
        None => return Ok(vec![None]),
        Some(Cell::Text(text)) => return Ok(vec![Some(text.clone())]),
        Some(Cell::Json(json)) => json,
    };
    let items: Vec<&RawValue> = serde_json::from_str(json)
        .map_err(|error| Unreadable::new("not-text", format!("expected a text or a list of texts, found {error}")))?;
    let item = |raw: &RawValue| match raw.get().as_bytes().first() {
        None | Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|error| Unreadable::new("malformed-json", error.to_string())),
        Some(b'[' | b'{') => {
            Err(Unreadable::new("not-text", "expected a list of texts, found a list of lists or objects"))
        }
        Some(_) => Ok(Some(raw.get().to_owned())),
    };
    items.into_iter().map(item).collect()
}

/// Why it ended, by the names that endpoints and exports have for it.
fn finish(name: Option<String>) -> (FinishReason, Option<String>) {
    let known = name.as_deref().map(|name| match name {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "context" => FinishReason::Context,
        "content_filter" | "content-filter" => FinishReason::ContentFilter,
        _ => FinishReason::Unknown,
    });
    match known {
        Some(FinishReason::Unknown) => (FinishReason::Unknown, name.filter(|name| name != "unknown")),
        Some(known) => (known, None),
        None => (FinishReason::Unknown, None),
    }
}
