//! Where a column lies in a Parquet file: a name, or names and places in lists with dots between them, as `messages.0.content`.
//! A name that has dots itself is found before a path.

use arrow_array::{Array, cast::AsArray};
use arrow_schema::{DataType, Fields};

/// A way from a top-level column to what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The top-level column.
    pub(super) root: usize,
    steps: Vec<Step>,
    /// What lies there.
    pub(super) kind: DataType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Into that field of a struct.
    Field(usize),
    /// To that item of a list.
    Item(usize),
}

impl Way {
    /// The way to a column, where there is one.
    pub(super) fn find(fields: &Fields, column: &str) -> Option<Way> {
        let (root, mut steps, kind) = among(fields, column)?;
        steps.reverse();
        Some(Way { root, steps, kind: kind.clone() })
    }

    /// Goes the way in a row: the array that it ends in, and the place there. Nothing where something on it is null, or a list
    /// is too short.
    pub(super) fn go<'a>(&self, root: &'a dyn Array, row: usize) -> Option<(&'a dyn Array, usize)> {
        let (mut array, mut row) = (root, row);
        for step in &self.steps {
            if array.is_null(row) {
                return None;
            }
            match step {
                Step::Field(field) => array = array.as_struct_opt()?.columns().get(*field)?,
                Step::Item(item) => {
                    let list = array.as_list_opt::<i32>()?;
                    let [start, end] = [row, row + 1].map(|place| list.value_offsets().get(place).copied());
                    row = usize::try_from(start?).ok()?.checked_add(*item)?;
                    if row >= usize::try_from(end?).ok()? {
                        return None;
                    }
                    array = list.values();
                }
            }
        }
        (!array.is_null(row)).then_some((array, row))
    }
}

/// The field that a path begins with, the steps behind it, the last one first, and what lies there.
fn among<'k>(fields: &'k Fields, path: &str) -> Option<(usize, Vec<Step>, &'k DataType)> {
    let named = |name: &str| fields.iter().position(|field| field.name() == name);
    if let Some(found) = named(path) {
        return Some((found, Vec::new(), fields[found].data_type()));
    }
    let dots = path.char_indices().rev().filter(|(_, c)| *c == '.').map(|(at, _)| at);
    dots.into_iter().find_map(|at| {
        let found = named(&path[..at])?;
        let (steps, kind) = within(fields[found].data_type(), &path[at + 1..])?;
        Some((found, steps, kind))
    })
}

fn within<'k>(kind: &'k DataType, path: &str) -> Option<(Vec<Step>, &'k DataType)> {
    match kind {
        DataType::Struct(fields) => {
            let (field, mut steps, kind) = among(fields, path)?;
            steps.push(Step::Field(field));
            Some((steps, kind))
        }
        DataType::List(item) => {
            let (place, rest) = path.split_once('.').map_or((path, None), |(place, rest)| (place, Some(rest)));
            let place = place.parse().ok()?;
            let (mut steps, kind) = match rest {
                Some(rest) => within(item.data_type(), rest)?,
                None => (Vec::new(), item.data_type()),
            };
            steps.push(Step::Item(place));
            Some((steps, kind))
        }
        _ => None,
    }
}
