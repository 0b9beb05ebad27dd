//! Filters over items: choosing, ordering, grouping, joining.

use super::{
    filters::{self, Given, add, passes},
    run::{Passed, Run},
    value::{Outcome, Value, fault},
};
use std::cmp::Ordering;

pub(super) fn apply(run: &mut Run<'_>, name: &str, value: Value, passed: &Passed) -> Outcome<Value> {
    let given = Given { filter: name, passed };
    Ok(match name {
        "first" => match &value {
            Value::Generator(index) => match run.generators[*index].pop_front() {
                Some(first) => first,
                None => Value::undefined("there is no first item: it"),
            },
            _ => {
                run.items(&value)?.into_iter().next().unwrap_or_else(|| Value::undefined("there is no first item: it"))
            }
        },
        "last" => match &value {
            Value::Generator(_) => return fault("last: a generator cannot be reversed"),
            _ => run.items(&value)?.pop().unwrap_or_else(|| Value::undefined("there is no last item: it")),
        },
        "reverse" => match &value {
            Value::Str(text) => Value::str(text.chars().rev().collect::<String>()),
            _ => {
                let mut items = run.items(&value)?;
                items.reverse();
                run.generator(items)
            }
        },
        "join" => {
            let separator = given.get(0, "d").map_or_else(|| "".into(), Value::text);
            let attribute = given.get(1, "attribute").cloned();
            let mut out = String::new();
            for (index, item) in run.items(&value)?.into_iter().enumerate() {
                let item = match &attribute {
                    Some(path) => by_path(run, &item, path)?,
                    None => item,
                };
                let text = run.text(&item)?;
                run.made(separator.len() + text.len())?;
                out.push_str(if index > 0 { &separator } else { "" });
                out.push_str(&text);
            }
            Value::str(out)
        }
        "map" => map(run, &value, &given)?,
        "select" | "reject" | "selectattr" | "rejectattr" => {
            let mut test = passed.positional.as_slice();
            let path = match name.ends_with("attr") {
                true => match test.split_first() {
                    Some((path, rest)) => {
                        test = rest;
                        Some(path.clone())
                    }
                    None => return fault(format!("{name}: expected an attribute")),
                },
                false => None,
            };
            let mut kept = Vec::new();
            for item in run.items(&value)? {
                let tested = match &path {
                    Some(path) => by_path(run, &item, path)?,
                    None => item.clone(),
                };
                if passes(run, &tested, test)? == name.starts_with("select") {
                    kept.push(item);
                }
            }
            run.generator(kept)
        }
        "sort" | "unique" | "min" | "max" | "groupby" => ordered(run, name, &value, &given)?,
        "dictsort" => {
            let Value::Dict(entries) = &value else {
                return fault(format!("dictsort: expected a dictionary, found {}", value.kind()));
            };
            let by_value = given.get(1, "by").and_then(Value::as_str) == Some("value");
            let folds = !given.flag(0, "case_sensitive", false);
            let mut keyed: Vec<(Value, Value)> = Vec::new();
            for (key, value) in &entries.entries {
                let by = if by_value { value } else { key };
                keyed.push((folded(by.clone(), folds), Value::tuple(vec![key.clone(), value.clone()])?));
            }
            Value::list(sorted(run, keyed, given.flag(2, "reverse", false))?)?
        }
        "sum" => {
            let attribute = given.get(0, "attribute").filter(|path| !matches!(path, Value::None)).cloned();
            let mut sum = given.get(1, "start").cloned().unwrap_or(Value::Int(0));
            for item in run.items(&value)? {
                let item = match &attribute {
                    Some(path) => by_path(run, &item, path)?,
                    None => item,
                };
                sum = add(&sum, &item)?;
            }
            sum
        }
        "batch" | "slice" => {
            let count = match usize::try_from(given.number(0, "linecount", 0)?) {
                Ok(count @ 1..=100_000) => count,
                _ => return fault(format!("{name}: expected a count of 1 to 100000")),
            };
            let fill = given.get(1, "fill_with").filter(|fill| !matches!(fill, Value::None)).cloned();
            let items = run.items(&value)?;
            let parts = if name == "batch" { batches(items, count, fill)? } else { slices(&items, count, fill)? };
            run.generator(parts)
        }
        _ if filters::exists(name) => return fault(format!("the filter {name} is not supported")),
        _ => return fault(format!("there is no filter {name}")),
    })
}

fn batches(items: Vec<Value>, count: usize, fill: Option<Value>) -> Outcome<Vec<Value>> {
    let batch = |items: &[Value]| {
        let mut items = items.to_vec();
        if let Some(fill) = &fill {
            items.resize(count, fill.clone());
        }
        Value::list(items)
    };
    items.chunks(count).map(batch).collect()
}

fn slices(items: &[Value], count: usize, fill: Option<Value>) -> Outcome<Vec<Value>> {
    let (each, more) = (items.len() / count, items.len() % count);
    let mut at = 0;
    let mut parts = Vec::new();
    for index in 0..count {
        let length = each + usize::from(index < more);
        let mut part = items[at..at + length].to_vec();
        at += length;
        if index >= more && more > 0 {
            part.extend(fill.clone());
        }
        parts.push(Value::list(part)?);
    }
    Ok(parts)
}

fn map(run: &mut Run<'_>, value: &Value, given: &Given<'_>) -> Outcome<Value> {
    let mut mapped = Vec::new();
    let attribute = given.passed.named.iter().find(|(name, _)| &**name == "attribute").map(|(_, path)| path.clone());
    let default = given.passed.named.iter().find(|(name, _)| &**name == "default").map(|(_, value)| value.clone());
    for item in run.items(value)? {
        mapped.push(match (&attribute, given.passed.positional.split_first()) {
            (Some(path), None) => match (by_path(run, &item, path)?, &default) {
                (Value::Undefined(_), Some(default)) => default.clone(),
                (found, _) => found,
            },
            (_, Some((name, arguments))) => {
                let Some(name) = name.as_str() else { return fault("map: expected the name of a filter") };
                let named = given.passed.named.clone();
                filters::apply(run, name, item, Passed { positional: arguments.to_vec(), named })?
            }
            (None, None) => return fault("map: expected a filter or an attribute"),
        });
    }
    Ok(run.generator(mapped))
}

/// `a.b.0` of an item: whole numbers are indices.
fn by_path(run: &mut Run<'_>, item: &Value, path: &Value) -> Outcome<Value> {
    let Some(path) = path.as_str() else { return run.item(item, path) };
    let mut value = item.clone();
    for part in path.split('.') {
        let key = part.parse::<i128>().map_or_else(|_| Value::str(part), Value::Int);
        value = run.item(&value, &key)?;
    }
    Ok(value)
}

fn folded(value: Value, folds: bool) -> Value {
    match value {
        Value::Str(text) if folds => Value::str(text.to_lowercase()),
        other => other,
    }
}

fn sorted(run: &mut Run<'_>, mut keyed: Vec<(Value, Value)>, reverse: bool) -> Outcome<Vec<Value>> {
    let sizes = keyed.iter().map(|(key, _)| key.size()).fold(0, usize::saturating_add);
    run.step(keyed.len().saturating_mul(8).saturating_add(sizes / 16))?;
    let mut wrong = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = a.order(b).unwrap_or_else(|| {
            wrong = wrong.take().or(Some((a.kind(), b.kind())));
            Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    match wrong {
        Some((a, b)) => fault(format!("sorting: {a} and {b} have no order")),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn ordered(run: &mut Run<'_>, name: &str, value: &Value, given: &Given<'_>) -> Outcome<Value> {
    let places = match name {
        "sort" => (1, Some(2)),
        "groupby" => (2, Some(0)),
        _ => (0, Some(1)),
    };
    let folds = !given.flag(places.0, "case_sensitive", false);
    let path = places.1.and_then(|at| given.get(at, "attribute")).filter(|path| !matches!(path, Value::None)).cloned();
    let mut keyed = Vec::new();
    for item in run.items(value)? {
        let key = match &path {
            Some(path) => by_path(run, &item, path)?,
            None => item.clone(),
        };
        keyed.push((folded(key, folds), item));
    }
    Ok(match name {
        "sort" => Value::list(sorted(run, keyed, given.flag(0, "reverse", false))?)?,
        "unique" => {
            let mut seen: Vec<Value> = Vec::new();
            let mut kept = Vec::new();
            for (key, item) in keyed {
                run.step(seen.len().saturating_mul(1 + key.size() / 64))?;
                if !seen.iter().any(|known| known.equals(&key)) {
                    seen.push(key);
                    kept.push(item);
                }
            }
            run.generator(kept)
        }
        "groupby" => {
            let pairs = keyed.into_iter().map(|(key, item)| Ok((key.clone(), Value::tuple(vec![key, item])?)));
            let pairs = pairs.collect::<Outcome<Vec<_>>>()?;
            let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
            for pair in sorted(run, pairs, false)? {
                let [key, item] =
                    <[Value; 2]>::try_from(run.items(&pair)?).map_err(|_| super::value::Fault::new("groupby"))?;
                match groups.last_mut().filter(|(known, _)| known.equals(&key)) {
                    Some((_, items)) => items.push(item),
                    None => groups.push((key, vec![item])),
                }
            }
            let group = |(key, items): (Value, Vec<Value>)| Value::tuple(vec![key, Value::list(items)?]);
            Value::list(groups.into_iter().map(group).collect::<Outcome<_>>()?)?
        }
        _ => {
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed {
                let better = match &best {
                    None => true,
                    Some((known, _)) => match key.order(known) {
                        Some(order) => order == if name == "min" { Ordering::Less } else { Ordering::Greater },
                        None => return fault(format!("{name}: {} and {} have no order", key.kind(), known.kind())),
                    },
                };
                if better {
                    best = Some((key, item));
                }
            }
            best.map_or_else(|| Value::undefined("there is no item: it"), |(_, item)| item)
        }
    })
}
