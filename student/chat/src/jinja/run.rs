//! Statements → text. A run has a budget of steps and of bytes, and a depth that it does not exceed: a template that would
//! never end, fill the memory or overflow the stack is an error.

use super::{
    ast::{Filter, For, Macro, Statement, Target, What},
    filters,
    value::{Fault, Looping, Outcome, Value, fault},
};
use std::{collections::VecDeque, sync::Arc};

/// Steps of one rendering: statements, operations, items.
const MAX_STEPS: u64 = 20_000_000;
/// Bytes of texts that one rendering makes, however small the conversation.
const MAX_BYTES: usize = 256 << 20;
/// How often as many bytes as the conversation has a rendering may make.
const BYTES_PER_BYTE: usize = 256;
/// How deep macros, statements and expressions may go while they are computed.
const MAX_DEPTH: u32 = 200;

/// Names of one block, the newest last.
#[derive(Default)]
struct Scope {
    names: Vec<(Arc<str>, Value)>,
    parent: Option<usize>,
    /// A macro was defined in it and may outlive it.
    kept: bool,
}

/// A loop that runs or ran.
struct Running {
    what: Arc<For>,
    scope: usize,
    depth0: usize,
    changed: Option<Vec<Value>>,
}

/// What is passed to macros, functions, filters and tests.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Arc<str>, Value)>,
}

/// Where a block of statements ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// One rendering.
pub(crate) struct Run<'t> {
    scopes: Vec<Scope>,
    scope: usize,
    pub(super) namespaces: Vec<Vec<(Arc<str>, Value)>>,
    pub(super) generators: Vec<VecDeque<Value>>,
    callers: Vec<(Arc<Macro>, usize)>,
    loops: Vec<Running>,
    steps: u64,
    bytes: usize,
    depth: u32,
    mark: &'t str,
}

impl<'t> Run<'t> {
    /// A run that sees `names`, whose texts have so many bytes; `mark` is put around what the assistant generates.
    pub(crate) fn new(names: Vec<(Arc<str>, Value)>, size: usize, mark: &'t str) -> Run<'t> {
        Run {
            scopes: vec![
                Scope { names, parent: None, kept: true },
                Scope { parent: Some(0), kept: true, ..Scope::default() },
            ],
            scope: 1,
            namespaces: Vec::new(),
            generators: Vec::new(),
            callers: Vec::new(),
            loops: Vec::new(),
            steps: MAX_STEPS,
            bytes: MAX_BYTES.saturating_add(size.saturating_mul(BYTES_PER_BYTE)),
            depth: 0,
            mark,
        }
    }

    pub(crate) fn render(&mut self, statements: &[Statement]) -> Outcome<String> {
        let mut out = String::new();
        self.block(statements, &mut out)?;
        Ok(out)
    }

    /// Takes steps off the budget.
    pub(crate) fn step(&mut self, count: usize) -> Outcome<()> {
        match self.steps.checked_sub(count as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => fault(format!("expected an end within {MAX_STEPS} steps: the template runs on and on")),
        }
    }

    /// Takes bytes off the budget.
    pub(crate) fn made(&mut self, bytes: usize) -> Outcome<()> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => fault("the template makes more text than is allowed: it multiplies what it is given"),
        }
    }

    /// A value as text.
    pub(crate) fn text(&mut self, value: &Value) -> Outcome<Arc<str>> {
        let size = value.size();
        self.step(1 + size / 64)?;
        if value.as_str().is_none() {
            self.made(size)?;
        }
        Ok(value.text())
    }

    /// Goes one deeper for as long as `work` takes.
    pub(crate) fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(format!("expected macros, blocks and expressions at most {MAX_DEPTH} deep in each other"));
        }
        let outcome = work(self);
        self.depth -= 1;
        outcome
    }

    pub(crate) fn name(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self.scope);
        while let Some(index) = scope {
            let names = &self.scopes[index].names;
            if let Some((_, value)) = names.iter().rev().find(|(known, _)| **known == *name) {
                return Some(value.clone());
            }
            scope = self.scopes[index].parent;
        }
        None
    }

    fn set(&mut self, name: &Arc<str>, value: Value) {
        let names = &mut self.scopes[self.scope].names;
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => names.push((name.clone(), value)),
        }
    }

    /// Does some work in a new scope inside of `parent`.
    fn inside<T>(&mut self, parent: usize, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let before = self.scope;
        self.scopes.push(Scope { parent: Some(parent), ..Scope::default() });
        self.scope = self.scopes.len() - 1;
        let scope = self.scope;
        let outcome = self.deeper(work);
        self.scope = before;
        if scope + 1 == self.scopes.len() && !self.scopes[scope].kept {
            self.scopes.pop();
        }
        outcome
    }

    fn block(&mut self, statements: &[Statement], out: &mut String) -> Outcome<Flow> {
        for statement in statements {
            self.step(1)?;
            let flow = self.statement(&statement.what, out).map_err(|error| match error.line {
                0 => Fault { line: statement.line, ..error },
                _ => error,
            })?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn statement(&mut self, what: &What, out: &mut String) -> Outcome<Flow> {
        match what {
            What::Text(text) => self.write(text, out)?,
            What::Print(expression) => {
                let value = self.value(expression)?;
                let text = self.text(&value)?;
                self.write(&text, out)?;
            }
            What::If(branches) => {
                for (condition, body) in branches {
                    let holds = match condition {
                        Some(condition) => self.value(condition)?.is_true(),
                        None => true,
                    };
                    if holds {
                        return self.deeper(|run| run.block(body, out));
                    }
                }
            }
            What::For(repetition) => {
                let over = self.value(&repetition.over)?;
                self.repeat(repetition, &over, self.scope, 0, out)?;
            }
            What::Set(target, expression) => {
                let value = self.value(expression)?;
                self.assign(target, value)?;
            }
            What::SetBlock(target, filters, body) => {
                let text = self.captured(filters, body)?;
                self.assign(target, text)?;
            }
            What::FilterBlock(filters, body) => {
                let text = self.captured(filters, body)?;
                self.write(&text.text(), out)?;
            }
            What::Macro(definition) => {
                self.keep();
                self.set(&definition.name, Value::Macro(definition.clone(), self.scope));
            }
            What::Call(body, call) => {
                self.keep();
                self.callers.push((body.clone(), self.scope));
                let caller = Value::Caller(self.callers.len() - 1);
                let value = self.call_with_caller(call, caller)?;
                self.write(&value.text(), out)?;
            }
            What::With(values, body) => {
                let values: Vec<(&Target, Value)> = values
                    .iter()
                    .map(|(target, expression)| Ok((target, self.value(expression)?)))
                    .collect::<Outcome<_>>()?;
                return self.inside(self.scope, |run| {
                    for (target, value) in values {
                        run.assign(target, value)?;
                    }
                    run.block(body, out)
                });
            }
            What::Generation(body) => {
                out.push_str(self.mark);
                self.inside(self.scope, |run| run.block(body, out))?;
                out.push_str(self.mark);
            }
            What::Scope(body) => return self.inside(self.scope, |run| run.block(body, out)),
            What::Break => return Ok(Flow::Break),
            What::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn write(&mut self, text: &str, out: &mut String) -> Outcome<()> {
        self.made(text.len())?;
        out.push_str(text);
        Ok(())
    }

    /// Marks this scope and those around it as ones that a macro may come back to.
    fn keep(&mut self) {
        let mut scope = Some(self.scope);
        while let Some(index) = scope.filter(|index| !self.scopes[*index].kept) {
            self.scopes[index].kept = true;
            scope = self.scopes[index].parent;
        }
    }

    fn captured(&mut self, filters: &[Filter], body: &[Statement]) -> Outcome<Value> {
        let mut text = String::new();
        self.inside(self.scope, |run| run.block(body, &mut text))?;
        let mut value = Value::str(text);
        for filter in filters {
            let passed = self.passed(&filter.arguments)?;
            value = filters::apply(self, &filter.name, value, passed)?;
        }
        Ok(value)
    }

    fn assign(&mut self, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Attribute(namespace, name) => match self.name(namespace) {
                Some(Value::Namespace(index)) => {
                    let names = &mut self.namespaces[index];
                    match names.iter_mut().find(|(known, _)| known == name) {
                        Some((_, place)) => *place = value,
                        None => names.push((name.clone(), value)),
                    }
                }
                _ => return fault(format!("{namespace}.{name}: cannot assign to what is no namespace")),
            },
            Target::Tuple(targets) => {
                let values = self.items(&value)?;
                if values.len() != targets.len() {
                    return fault(format!("expected {} values to unpack, found {}", targets.len(), values.len()));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(())
    }

    fn repeat(&mut self, what: &Arc<For>, over: &Value, scope: usize, depth0: usize, out: &mut String) -> Outcome<()> {
        let mut items = self.items(over)?;
        if let Some(filter) = &what.filter {
            let mut kept = Vec::new();
            for item in items {
                let holds = self.inside(scope, |run| {
                    run.step(1)?;
                    run.assign(&what.target, item.clone())?;
                    Ok(run.value(filter)?.is_true())
                })?;
                if holds {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let number = self.loops.len();
        self.loops.push(Running { what: what.clone(), scope, depth0, changed: None });
        let length = items.len();
        for (index0, item) in items.iter().enumerate() {
            self.step(1)?;
            let looping = Looping {
                index0,
                length,
                depth0,
                previous: index0.checked_sub(1).map(|before| items[before].clone()),
                next: items.get(index0 + 1).cloned(),
                number,
            };
            let flow = self.inside(scope, |run| {
                run.set(&"loop".into(), Value::Loop(Arc::new(looping)));
                run.assign(&what.target, item.clone())?;
                run.block(&what.body, out)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        if length == 0 && !what.otherwise.is_empty() {
            self.inside(scope, |run| run.block(&what.otherwise, out))?;
        }
        Ok(())
    }

    /// `loop(items)` in a recursive loop: what it renders one deeper.
    pub(super) fn recurse(&mut self, looping: &Looping, passed: Passed) -> Outcome<Value> {
        let (what, scope, depth0) = {
            let running = &self.loops[looping.number];
            (running.what.clone(), running.scope, running.depth0)
        };
        let Some(over) = passed.positional.first().filter(|_| what.recursive) else {
            return fault("expected `loop(items)` inside of a loop that is `recursive`");
        };
        let mut out = String::new();
        self.repeat(&what, over, scope, depth0 + 1, &mut out)?;
        Ok(Value::str(out))
    }

    /// `loop.changed(…)`: whether these values are others than the last time.
    pub(super) fn changed(&mut self, looping: &Looping, values: Vec<Value>) -> bool {
        let before = &mut self.loops[looping.number].changed;
        let same = before.as_ref().is_some_and(|before| {
            before.len() == values.len() && before.iter().zip(&values).all(|(before, now)| before.equals(now))
        });
        *before = Some(values);
        !same
    }

    pub(super) fn caller(&mut self, number: usize, passed: Passed) -> Outcome<Value> {
        let (body, scope) = self.callers[number].clone();
        self.expand(&body, scope, passed, None)
    }

    /// What a macro renders.
    pub(super) fn expand(
        &mut self,
        what: &Arc<Macro>,
        scope: usize,
        passed: Passed,
        caller: Option<Value>,
    ) -> Outcome<Value> {
        let Passed { positional, named } = passed;
        let mut positional = positional.into_iter();
        let mut named = named;
        self.inside(scope, |run| {
            for (parameter, default) in &what.parameters {
                let by_name = named.iter().position(|(name, _)| name == parameter);
                let value = match (positional.next(), by_name) {
                    (Some(_), Some(_)) => return fault(format!("{}: {parameter} is passed twice", what.name)),
                    (Some(value), None) => value,
                    (None, Some(at)) => named.remove(at).1,
                    (None, None) => match default {
                        Some(default) => run.value(default)?,
                        None => Value::undefined(parameter),
                    },
                };
                run.set(parameter, value);
            }
            let rest: Vec<Value> = positional.collect();
            if what.takes_more[0] {
                run.set(&"varargs".into(), Value::tuple(rest)?);
            } else if !rest.is_empty() {
                let (most, found) = (what.parameters.len(), what.parameters.len() + rest.len());
                return fault(format!("{}: expected at most {most} arguments, found {found}", what.name));
            }
            if what.takes_more[1] {
                let named = named.into_iter().map(|(name, value)| (Value::Str(name), value)).collect();
                run.set(&"kwargs".into(), Value::dict(named)?);
            } else if let Some((name, _)) = named.first() {
                return fault(format!("{}: there is no parameter {name}", what.name));
            }
            if let Some(caller) = caller {
                run.set(&"caller".into(), caller);
            }
            let mut out = String::new();
            run.block(&what.body, &mut out)?;
            Ok(Value::str(out))
        })
    }

    /// The items of whatever is iterated; a generator has none left afterwards.
    pub(crate) fn items(&mut self, value: &Value) -> Outcome<Vec<Value>> {
        let items = match value {
            Value::Undefined(_) => Vec::new(),
            Value::List(items) | Value::Tuple(items) => items.items.clone(),
            Value::Dict(entries) => entries.entries.iter().map(|(key, _)| key.clone()).collect(),
            Value::Str(text) => {
                let mut buffer = [0; 4];
                text.chars().map(|c| Value::str(&*c.encode_utf8(&mut buffer))).collect()
            }
            Value::Generator(index) => std::mem::take(&mut self.generators[*index]).into(),
            other => return fault(format!("a {} cannot be iterated", other.kind())),
        };
        self.step(items.len())?;
        self.made(items.len().saturating_mul(size_of::<Value>()))?;
        Ok(items)
    }

    /// Items that are iterated once.
    pub(crate) fn generator(&mut self, items: Vec<Value>) -> Value {
        self.generators.push(items.into());
        Value::Generator(self.generators.len() - 1)
    }
}
