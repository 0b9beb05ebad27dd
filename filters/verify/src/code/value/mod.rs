//! Values that go between Python and this program. What is expected is read from JSON and held; what a solution sends stays
//! the bytes that it sent, in Python's marshal format (version 2, which has no references), and is checked, compared and
//! shown in place. So an answer costs no more memory than its bytes, and no more time than reading them once.

mod equal;
mod json;
mod marshal;
mod number;

pub(super) use marshal::Sent;
pub(super) use number::decimals_equal;

use num_bigint::BigInt;

/// Deepest nesting that is read.
const MAX_DEPTH: u32 = 200;

/// A value as JSON can say it, or a call's parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of any size.
    Int(BigInt),
    /// A floating-point number.
    Float(f64),
    /// Text, as UTF-8 with lone surrogates kept.
    Text(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary, in its order.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// Reads JSON text exactly: numbers of any size stay whole.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn from_json(text: &str) -> Result<Value, String> {
        json::read(text)
    }

    /// As Python writes it, cut.
    pub(super) fn short(&self) -> String {
        let mut bytes = Vec::new();
        self.marshal(&mut bytes);
        Sent::read(&bytes).map(Sent::short).unwrap_or_default()
    }
}
