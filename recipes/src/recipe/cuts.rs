//! Cuts: one pool of traces, selected in several ways. `[cuts.NAME]` has values of the recipe that are laid over it, as `--set`
//! does; the whole recipe is then run once for itself and once for each cut. What a cut does not change is made once, since
//! stages are found by what decides them.
//!
//! ```toml
//! [cuts.undecided-too]
//! filters.3.on-unknown = "keep"
//!
//! [cuts.unfiltered]
//! filters = []
//! ```

use super::{
    decode::{Diagnostics, Section},
    is_file_name,
    source::lay,
    values::Value,
};
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What a cut may change: what comes after the pool.
const REACH: [&str; 6] = ["filters", "export", "shaping", "student", "evaluation", "publish"];

/// A cut as it is written.
pub(super) struct Cut<'s> {
    pub(super) name: String,
    /// Dotted keys and their values, in the order of the file.
    values: Vec<(String, Value<'s>)>,
}

/// Takes the cuts out of a recipe.
pub(super) fn take<'s>(root: &mut Spanned<DeTable<'s>>, diagnostics: &mut Diagnostics) -> Vec<Cut<'s>> {
    let Some((_, value)) = root.get_mut().remove_entry("cuts") else { return Vec::new() };
    let Some(section) = Section::new(value, "cuts", diagnostics) else { return Vec::new() };
    let DeValue::Table(table) = section.rest().into_inner() else { return Vec::new() };
    let mut cuts = Vec::new();
    for (name, value) in table {
        let (place, name) = (name.span(), name.into_inner().into_owned());
        if !is_file_name(&name) {
            let message = format!("`cuts.{name}` names a folder: expected letters, digits, `-`, `_` and `.`");
            diagnostics.push(place.clone(), message, None);
        }
        let mut values = Vec::new();
        flatten(value, String::new(), &mut values);
        if values.is_empty() {
            diagnostics.push(place, format!("`cuts.{name}`: expected values to lay over the recipe, found none"), None);
        }
        for (key, value) in &values {
            let table = key.split('.').next().unwrap_or_default();
            if !REACH.contains(&table) {
                let message =
                    format!("`cuts.{name}.{key}`: a cut is of the pool that is there: it cannot change `{table}`");
                diagnostics.push(value.span(), message, Some(format!("it can change {}", REACH.join(", "))));
            }
        }
        cuts.push(Cut { name, values });
    }
    // As they are written, not as a table sorts them.
    cuts.sort_by_key(|cut| cut.values.iter().map(|(_, value)| value.span().start).min());
    cuts
}

impl<'s> Cut<'s> {
    /// Lays its values over the recipe. Returns them as `--set` would have them.
    pub(super) fn lay_over(
        self,
        root: &mut Spanned<DeTable<'s>>,
        text: &str,
        diagnostics: &mut Diagnostics,
    ) -> Vec<String> {
        let mut overrides = Vec::new();
        for (key, value) in self.values {
            let place: Range<usize> = value.span();
            overrides.push(format!("{key}={}", text.get(place.clone()).unwrap_or_default()));
            if let Err(message) = lay(root.get_mut(), &key, value, &place) {
                diagnostics.push(place, format!("`cuts.{}.{key}`: {message}", self.name), None);
            }
        }
        overrides
    }
}

/// Tables are laid over tables: what counts is what is in them.
fn flatten<'s>(value: Value<'s>, key: String, values: &mut Vec<(String, Value<'s>)>) {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => {
            for (name, value) in table {
                let name = name.into_inner();
                flatten(value, if key.is_empty() { name.into_owned() } else { format!("{key}.{name}") }, values);
            }
        }
        other => values.push((key, Spanned::new(span, other))),
    }
}
