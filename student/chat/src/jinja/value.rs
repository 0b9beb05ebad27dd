//! What templates compute with: Python's values, as far as templates can make them. Lists and dictionaries never change, as
//! in the sandbox of the reference; what does change, namespaces and generators, lives in the run and is named by number.
//! So values hold no cycles, and how deep they nest is known without looking.

use super::{ast::Macro, number};
use std::sync::Arc;

/// How deep lists and dictionaries may nest.
const MAX_DEPTH: u32 = 100;
/// How large a list or a dictionary may be, in bytes about: written out, with what it holds several times counted so often.
const MAX_SIZE: usize = 256 << 20;

/// What went wrong, and in which line of the template; 0 where that is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) line: u32,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), line: 0 }
    }
}

pub(crate) type Outcome<T> = Result<T, Fault>;

/// The short way to an error.
pub(crate) fn fault<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::new(message))
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A name or a key that is not there; which one, for the message of whoever uses it.
    Undefined(Arc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    List(Arc<Items>),
    Tuple(Arc<Items>),
    Dict(Arc<Entries>),
    /// Something that is iterated once: the run knows what is left of it.
    Generator(usize),
    Namespace(usize),
    Loop(Arc<Looping>),
    /// A macro, and the scope in which it was defined.
    Macro(Arc<Macro>, usize),
    /// The body of a call block, by the run's number for it.
    Caller(usize),
    /// A function of the environment.
    Function(&'static str),
    /// A method with what it belongs to.
    Method(Arc<(Value, Arc<str>)>),
}

/// Values in order.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) items: Vec<Value>,
    extent: Extent,
}

/// Keys and values in the order in which they came.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<(Value, Value)>,
    extent: Extent,
}

/// How deep and how large.
#[derive(Clone, Copy, Debug)]
struct Extent {
    depth: u32,
    size: usize,
}

/// The `loop` of one iteration.
#[derive(Debug)]
pub(crate) struct Looping {
    pub(crate) index0: usize,
    pub(crate) length: usize,
    pub(crate) depth0: usize,
    pub(crate) previous: Option<Value>,
    pub(crate) next: Option<Value>,
    /// The number of the loop among those that run.
    pub(crate) number: usize,
}

impl Value {
    pub(crate) fn str(text: impl Into<Arc<str>>) -> Value {
        Value::Str(text.into())
    }

    pub(crate) fn undefined(what: &str) -> Value {
        Value::Undefined(what.into())
    }

    pub(crate) fn list(items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::List(Arc::new(Items { extent: extent(items.iter())?, items })))
    }

    pub(crate) fn tuple(items: Vec<Value>) -> Outcome<Value> {
        Ok(Value::Tuple(Arc::new(Items { extent: extent(items.iter())?, items })))
    }

    /// Of two equal keys, the last value counts, at the place of the first.
    pub(crate) fn dict(pairs: Vec<(Value, Value)>) -> Outcome<Value> {
        let mut entries: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if matches!(key, Value::List(_) | Value::Dict(_)) {
                return fault(format!("a {} cannot be a key", key.kind()));
            }
            match entries.iter_mut().find(|(known, _)| known.equals(&key)) {
                Some((_, place)) => *place = value,
                None => entries.push((key, value)),
            }
        }
        let extent = extent(entries.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Value::Dict(Arc::new(Entries { entries, extent })))
    }

    fn depth(&self) -> u32 {
        match self {
            Value::List(items) | Value::Tuple(items) => items.extent.depth,
            Value::Dict(entries) => entries.extent.depth,
            Value::Method(method) => method.0.depth() + 1,
            Value::Loop(looping) => {
                1 + looping.previous.iter().chain(&looping.next).map(Value::depth).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// How long it is when it is written out, about.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::Str(text) => 8 + text.len(),
            Value::List(items) | Value::Tuple(items) => items.extent.size,
            Value::Dict(entries) => entries.extent.size,
            _ => 8,
        }
    }

    /// The name of its type in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Generator(_) => "generator",
            Value::Namespace(_) => "namespace",
            Value::Loop(_) => "loop",
            Value::Macro(..) | Value::Caller(_) => "macro",
            Value::Function(_) => "function",
            Value::Method(_) => "method",
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.items.is_empty(),
            Value::Dict(entries) => !entries.entries.is_empty(),
            _ => true,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Whole numbers and truth values, as Python takes them for indices.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(*value),
            Value::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            other => other.as_int().map(|value| value as f64),
        }
    }

    /// The items of a list or a tuple.
    pub(crate) fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(&items.items),
            _ => None,
        }
    }

    /// The value under a key of a dictionary.
    pub(crate) fn entry(&self, key: &Value) -> Option<&Value> {
        match self {
            Value::Dict(entries) => entries.entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value under a name of a dictionary.
    pub(crate) fn named(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Dict(entries) => {
                entries.entries.iter().find(|(known, _)| known.as_str() == Some(name)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b))
            }
            (Value::Dict(a), Value::Dict(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(key, value)| other.entry(key).is_some_and(|found| found.equals(value)))
            }
            (Value::Generator(a), Value::Generator(b))
            | (Value::Namespace(a), Value::Namespace(b))
            | (Value::Caller(a), Value::Caller(b)) => a == b,
            (Value::Macro(a, _), Value::Macro(b, _)) => Arc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Arc::ptr_eq(a, b),
            (Value::Function(a), Value::Function(b)) => a == b,
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => self.as_float().zip(other.as_float()).is_some_and(|(a, b)| a == b),
            },
        }
    }

    /// Python's order, where there is one.
    pub(crate) fn order(&self, other: &Value) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                match a.items.iter().zip(&b.items).find(|(a, b)| !a.equals(b)) {
                    Some((a, b)) => a.order(b),
                    None => Some(a.items.len().cmp(&b.items.len())),
                }
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => self.as_float()?.partial_cmp(&other.as_float()?),
            },
        }
    }

    /// Python's `str`.
    pub(crate) fn text(&self) -> Arc<str> {
        match self {
            Value::Str(text) => text.clone(),
            Value::Undefined(_) => "".into(),
            other => {
                let mut out = String::new();
                other.write(&mut out);
                out.into()
            }
        }
    }

    /// Python's `repr`.
    pub(crate) fn repr(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&number::repr(*value)),
            Value::Str(text) => quote(text, out),
            Value::List(items) => write_items(&items.items, ['[', ']'], out),
            Value::Tuple(items) => {
                write_items(&items.items, ['(', ')'], out);
                if items.items.len() == 1 {
                    out.insert(out.len() - 1, ',');
                }
            }
            Value::Dict(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.entries.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    key.write(out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
            other => {
                out.push('<');
                out.push_str(other.kind());
                out.push('>');
            }
        }
    }
}

fn extent<'v>(values: impl Iterator<Item = &'v Value>) -> Outcome<Extent> {
    let mut extent = Extent { depth: 1, size: 8 };
    for value in values {
        extent.depth = extent.depth.max(1 + value.depth());
        extent.size = extent.size.saturating_add(value.size());
    }
    if extent.depth > MAX_DEPTH {
        return fault(format!("expected values nested at most {MAX_DEPTH} deep, found deeper ones"));
    }
    if extent.size > MAX_SIZE {
        return fault(format!("expected lists of at most {MAX_SIZE} bytes in all, found {}", extent.size));
    }
    Ok(extent)
}

fn write_items(items: &[Value], brackets: [char; 2], out: &mut String) {
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        item.write(out);
    }
    out.push(brackets[1]);
}

/// A text as Python writes it in a list: in single quotes unless it holds some and no double ones.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
}

/// Whether Python shows a character as it is: not controls, separators other than the blank, formats, private ones.
fn is_printable(c: char) -> bool {
    match c as u32 {
        0x20..=0x7e => true,
        0..=0xa0 | 0xad => false,
        0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x1680 | 0x180e => false,
        0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x3000 | 0xfeff => false,
        0xe000..=0xf8ff | 0xfff0..=0xfffb | 0xfffe | 0xffff | 0xe_0000..=0x10_ffff => false,
        _ => true,
    }
}
