//! Expressions → values.

use super::{
    ast::{Arguments, Comparison, Expression, Postfix},
    checks, filters, functions, methods, number,
    run::{Passed, Run},
    text::places,
    value::{Looping, Outcome, Value, fault},
};
use std::{cmp::Ordering, sync::Arc};

impl Run<'_> {
    pub(super) fn value(&mut self, expression: &Expression) -> Outcome<Value> {
        self.step(1)?;
        match expression {
            Expression::Constant(value) => Ok(value.clone()),
            Expression::Name(name) => Ok(self.resolve(name)),
            other => self.deeper(|run| run.composed(other)),
        }
    }

    fn resolve(&self, name: &Arc<str>) -> Value {
        match self.name(name) {
            Some(value) => value,
            None => functions::NAMES
                .iter()
                .find(|known| ***known == **name)
                .map_or_else(|| Value::Undefined(name.clone()), |name| Value::Function(name)),
        }
    }

    fn values(&mut self, expressions: &[Expression]) -> Outcome<Vec<Value>> {
        expressions.iter().map(|expression| self.value(expression)).collect()
    }

    fn composed(&mut self, expression: &Expression) -> Outcome<Value> {
        match expression {
            Expression::Constant(_) | Expression::Name(_) => self.value(expression),
            Expression::List(items) => Value::list(self.values(items)?),
            Expression::Tuple(items) => Value::tuple(self.values(items)?),
            Expression::Dict(entries) => {
                let pair = |(key, value): &(Expression, Expression)| Ok((self.value(key)?, self.value(value)?));
                Value::dict(entries.iter().map(pair).collect::<Outcome<_>>()?)
            }
            Expression::Postfix(base, steps) => {
                let base = self.value(base)?;
                self.follow(base, steps, None)
            }
            Expression::Chain(first, others) => {
                let mut value = self.value(first)?;
                for (operator, other) in others {
                    let other = self.value(other)?;
                    value = match (operator, &value) {
                        (super::ast::Operator::Modulo, Value::Str(format)) => {
                            Value::str(super::format::percent(format, &other)?)
                        }
                        _ => number::compute(*operator, &value, &other)?,
                    };
                    self.made(value.as_str().map_or(0, str::len))?;
                    self.step(value.as_items().map_or(1, <[Value]>::len))?;
                }
                Ok(value)
            }
            Expression::Concatenation(items) => {
                let mut out = String::new();
                for value in self.values(items)? {
                    out.push_str(&self.text(&value)?);
                }
                self.made(out.len())?;
                Ok(Value::str(out))
            }
            Expression::And(items) => self.first_that(items, false),
            Expression::Or(items) => self.first_that(items, true),
            Expression::Not(item) => Ok(Value::Bool(!self.value(item)?.is_true())),
            Expression::Negative(item) => {
                let value = self.value(item)?;
                match &value {
                    Value::Float(value) => Ok(Value::Float(-value)),
                    _ => number::compute(super::ast::Operator::Subtract, &Value::Int(0), &value),
                }
            }
            Expression::Positive(item) => {
                let value = self.value(item)?;
                number::compute(super::ast::Operator::Add, &Value::Int(0), &value)
            }
            Expression::Compare(first, others) => {
                let mut left = self.value(first)?;
                for (comparison, other) in others {
                    let right = self.value(other)?;
                    if !self.compares(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expression::Conditional(parts) => {
                let (value, condition, otherwise) = &**parts;
                match (self.value(condition)?.is_true(), otherwise) {
                    (true, _) => self.value(value),
                    (false, Some(otherwise)) => self.value(otherwise),
                    (false, None) => Ok(Value::undefined("a condition without `else`")),
                }
            }
        }
    }

    /// The first item that is true, or false, or the last.
    fn first_that(&mut self, items: &[Expression], wanted: bool) -> Outcome<Value> {
        let mut value = Value::None;
        for item in items {
            value = self.value(item)?;
            if value.is_true() == wanted {
                break;
            }
        }
        Ok(value)
    }

    pub(super) fn compares(&mut self, comparison: Comparison, left: &Value, right: &Value) -> Outcome<bool> {
        self.step((left.size().min(right.size())) / 64)?;
        let order = || match (left, right) {
            (Value::Undefined(name), _) | (_, Value::Undefined(name)) => fault(format!("{name} is undefined")),
            _ => match left.order(right) {
                Some(order) => Ok(Some(order)),
                None if left.as_float().is_some() && right.as_float().is_some() => Ok(None),
                None => fault(format!("{} and {} have no order", left.kind(), right.kind())),
            },
        };
        Ok(match comparison {
            Comparison::Equal => left.equals(right),
            Comparison::Unequal => !left.equals(right),
            Comparison::Less => order()? == Some(Ordering::Less),
            Comparison::Greater => order()? == Some(Ordering::Greater),
            Comparison::LessOrEqual => order()?.is_some_and(Ordering::is_le),
            Comparison::GreaterOrEqual => order()?.is_some_and(Ordering::is_ge),
            Comparison::In => self.contains(right, left)?,
            Comparison::NotIn => !self.contains(right, left)?,
        })
    }

    /// Python's `in`.
    pub(super) fn contains(&mut self, whole: &Value, part: &Value) -> Outcome<bool> {
        match (whole, part) {
            (Value::Str(text), Value::Str(part)) => {
                self.step(text.len() / 64)?;
                Ok(text.contains(&**part))
            }
            (Value::Str(_), other) => fault(format!("expected a text to look for in a text, found {}", other.kind())),
            (Value::Dict(_), Value::List(_) | Value::Dict(_)) => fault(format!("a {} cannot be a key", part.kind())),
            (Value::Dict(_), _) => Ok(whole.entry(part).is_some()),
            _ => {
                self.step(whole.size() / 64)?;
                Ok(self.items(whole)?.iter().any(|item| item.equals(part)))
            }
        }
    }

    pub(super) fn passed(&mut self, arguments: &Arguments) -> Outcome<Passed> {
        let mut passed = Passed { positional: self.values(&arguments.positional)?, named: Vec::new() };
        for (name, expression) in &arguments.named {
            passed.named.push((name.clone(), self.value(expression)?));
        }
        if let Some(spread) = &arguments.spread[0] {
            let spread = self.value(spread)?;
            passed.positional.extend(self.items(&spread)?);
        }
        if let Some(spread) = &arguments.spread[1] {
            let Value::Dict(entries) = self.value(spread)? else { return fault("expected a dictionary after **") };
            for (key, value) in &entries.entries {
                passed.named.push((key.text(), value.clone()));
            }
        }
        Ok(passed)
    }

    /// A call block's call: the last step is passed the caller.
    pub(super) fn call_with_caller(&mut self, call: &Expression, caller: Value) -> Outcome<Value> {
        let Expression::Postfix(base, steps) = call else { return fault("expected a call in a call block") };
        let base = self.value(base)?;
        self.follow(base, steps, Some(caller))
    }

    fn follow(&mut self, base: Value, steps: &[Postfix], mut caller: Option<Value>) -> Outcome<Value> {
        let mut value = base;
        for (index, step) in steps.iter().enumerate() {
            self.step(1)?;
            value = match step {
                Postfix::Attribute(name) => self.attribute(&value, name)?,
                Postfix::Item(key) => {
                    let key = self.value(key)?;
                    self.item(&value, &key)?
                }
                Postfix::Slice(parts) => {
                    let mut bounds = [None, None, None];
                    for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                        *bound = part.as_ref().map(|part| self.value(part)).transpose()?;
                    }
                    slice(&value, &bounds)?
                }
                Postfix::Call(arguments) => {
                    let passed = self.passed(arguments)?;
                    let caller = if index + 1 == steps.len() { caller.take() } else { None };
                    self.call(&value, passed, caller)?
                }
                Postfix::Filter(filter) => {
                    let passed = self.passed(&filter.arguments)?;
                    let made = filters::apply(self, &filter.name, value, passed)?;
                    self.made(made.as_str().map_or(0, str::len))?;
                    made
                }
                Postfix::Test { filter, negated } => {
                    let passed = self.passed(&filter.arguments)?;
                    Value::Bool(checks::holds(self, &filter.name, &value, &passed.positional)? != *negated)
                }
            };
        }
        Ok(value)
    }

    pub(super) fn call(&mut self, what: &Value, passed: Passed, caller: Option<Value>) -> Outcome<Value> {
        match what {
            Value::Function(name) => functions::call(self, name, passed),
            Value::Macro(definition, scope) => self.expand(definition, *scope, passed, caller),
            Value::Caller(number) => self.caller(*number, passed),
            Value::Loop(looping) => self.recurse(looping, passed),
            Value::Method(method) => {
                let made = match (&method.0, &*method.1) {
                    (Value::Loop(looping), "cycle") => match passed.positional.is_empty() {
                        true => return fault("loop.cycle: expected at least one value"),
                        false => passed.positional[looping.index0 % passed.positional.len()].clone(),
                    },
                    (Value::Loop(looping), _) => Value::Bool(self.changed(looping, passed.positional)),
                    (value, name) => methods::call(self, value, name, passed)?,
                };
                self.made(made.as_str().map_or(0, str::len))?;
                Ok(made)
            }
            Value::Undefined(name) => fault(format!("{name} is undefined")),
            other => fault(format!("a {} cannot be called", other.kind())),
        }
    }

    /// `value.name`: a method, else an entry.
    pub(super) fn attribute(&mut self, value: &Value, name: &Arc<str>) -> Outcome<Value> {
        let missing = || Value::undefined(&format!("{} has no `{name}`: it", value.kind()));
        if methods::exists(value, name) {
            return Ok(Value::Method(Arc::new((value.clone(), name.clone()))));
        }
        Ok(match value {
            Value::Undefined(name) => return fault(format!("{name} is undefined")),
            Value::Dict(_) if methods::is_forbidden(value, name) => missing(),
            Value::Dict(_) => value.named(name).cloned().unwrap_or_else(missing),
            Value::Namespace(index) => {
                let found = self.namespaces[*index].iter().find(|(known, _)| known == name);
                found.map_or_else(missing, |(_, value)| value.clone())
            }
            Value::Loop(looping) => of_loop(looping, name).unwrap_or_else(missing),
            Value::Macro(definition, _) if &**name == "name" => Value::Str(definition.name.clone()),
            _ => missing(),
        })
    }

    /// `value[key]`: an item, else what `value.key` is.
    pub(super) fn item(&mut self, value: &Value, key: &Value) -> Outcome<Value> {
        if let Value::Undefined(name) = value {
            return fault(format!("{name} is undefined"));
        }
        let missing = || Value::undefined(&format!("{} has no item {}: it", value.kind(), key.repr()));
        if let Some(found) = value.entry(key) {
            return Ok(found.clone());
        }
        if let Some(index) = key.as_int() {
            let at = |length: usize| {
                let index = if index < 0 { index + length as i128 } else { index };
                usize::try_from(index).ok().filter(|index| *index < length)
            };
            return Ok(match value {
                Value::List(items) | Value::Tuple(items) => at(items.items.len()).map(|at| items.items[at].clone()),
                Value::Str(text) => {
                    self.step(text.len() / 64)?;
                    let place = if index >= 0 { usize::try_from(index).ok() } else { at(text.chars().count()) };
                    place.and_then(|at| text.chars().nth(at)).map(|c| Value::str(c.to_string()))
                }
                _ => None,
            }
            .unwrap_or_else(missing));
        }
        match key {
            Value::Str(name) if !matches!(value, Value::Dict(_)) || methods::exists(value, name) => {
                self.attribute(value, name)
            }
            _ => Ok(missing()),
        }
    }
}

fn of_loop(looping: &Looping, name: &str) -> Option<Value> {
    let Looping { index0, length, depth0, .. } = *looping;
    let number = |value: usize| Value::Int(value as i128);
    Some(match name {
        "index" => number(index0 + 1),
        "index0" => number(index0),
        "revindex" => number(length - index0),
        "revindex0" => number(length - index0 - 1),
        "first" => Value::Bool(index0 == 0),
        "last" => Value::Bool(index0 + 1 == length),
        "length" => number(length),
        "depth" => number(depth0 + 1),
        "depth0" => number(depth0),
        "previtem" => looping.previous.clone().unwrap_or_else(|| Value::undefined("there is no previous item: it")),
        "nextitem" => looping.next.clone().unwrap_or_else(|| Value::undefined("there is no next item: it")),
        _ => return None,
    })
}

/// Python's slices of texts, lists and tuples.
fn slice(value: &Value, bounds: &[Option<Value>; 3]) -> Outcome<Value> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(bound) => match bound.as_int() {
                Some(bound) => Some(bound),
                None => return fault(format!("expected whole numbers in a slice, found {}", bound.kind())),
            },
        };
    }
    let step = numbers[2].unwrap_or(1);
    if step == 0 {
        return fault("a slice's step is zero");
    }
    let indices = |length: usize| -> Vec<usize> {
        let length = length as i128;
        let clamp = |bound: i128| {
            (if bound < 0 { bound.saturating_add(length) } else { bound })
                .clamp(if step < 0 { -1 } else { 0 }, if step < 0 { length - 1 } else { length })
        };
        let (start, end) = match step > 0 {
            true => (numbers[0].map_or(0, clamp), numbers[1].map_or(length, clamp)),
            false => (numbers[0].map_or(length - 1, clamp), numbers[1].map_or(-1, clamp)),
        };
        let mut indices = Vec::new();
        let mut at = start;
        while (step > 0 && at < end) || (step < 0 && at > end) {
            indices.push(at as usize);
            at = at.saturating_add(step);
        }
        indices
    };
    match value {
        Value::Str(text) => {
            let places = places(text);
            let indices = indices(places.len() - 1);
            if step == 1 {
                let ends = indices.first().zip(indices.last());
                return Ok(Value::str(ends.map_or("", |(first, last)| &text[places[*first]..places[last + 1]])));
            }
            let pieces = indices.into_iter().map(|index| &text[places[index]..places[index + 1]]);
            Ok(Value::str(pieces.collect::<String>()))
        }
        Value::List(items) => {
            Value::list(indices(items.items.len()).into_iter().map(|index| items.items[index].clone()).collect())
        }
        Value::Tuple(items) => {
            Value::tuple(indices(items.items.len()).into_iter().map(|index| items.items[index].clone()).collect())
        }
        Value::Undefined(name) => fault(format!("{name} is undefined")),
        other => Ok(Value::undefined(&format!("a slice of a {}", other.kind()))),
    }
}
