//! What a text can mean: numbers and quantities, lists, sets, intervals, relations, words.

use super::matrix::Rows;
use super::number::Decimal;
use super::token::Relation;
use super::unit::Unit;
use crate::expr::Expr;

/// What an answer is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A number, a quantity or a function.
    Scalar(Scalar),
    /// `(1, 2)`; two parts can be an open interval.
    Tuple(Vec<Value>),
    /// `1, 2` or `{1, 2}`: order and repetition do not count.
    Set {
        /// Its members.
        members: Vec<Value>,
        /// Whether braces were there.
        braced: bool,
    },
    /// From one end to the other.
    Interval(Interval),
    /// Everything that is in one of the parts.
    Union(Vec<Value>),
    /// What is in all of the parts.
    Intersection(Vec<Value>),
    /// What is in the first and not in the second.
    Difference(Box<Value>, Box<Value>),
    /// ℝ and its like.
    Field(char),
    /// Rows of entries.
    Matrix(Rows),
    /// A chain of relations: one more side than signs.
    Relation(Vec<Expr>, Vec<Relation>),
    /// Relations joined by "or" (`any`) or "and".
    Logic {
        /// One suffices.
        any: bool,
        /// What is joined.
        parts: Vec<Value>,
    },
    /// `x = …`, `f(x) = …`, `x ∈ …`: something named, and what it is.
    Named {
        /// The name as it was written.
        name: String,
        /// What it is.
        value: Box<Value>,
        /// The two sides of the equation, for `y = x + 1`.
        sides: Option<Box<(Expr, Expr)>>,
    },
    /// Values equal, or nearly equal, to each other: `600 = 6·10²`, `2π ≈ 6.28`.
    Chain {
        /// What stands between the signs.
        values: Vec<Value>,
        /// `=` and `≈`.
        signs: Vec<Relation>,
    },
    /// A residue class.
    Congruence {
        /// A representative.
        value: Expr,
        /// The modulus.
        modulus: Expr,
    },
    /// `a : b : c`
    Ratio(Vec<Expr>),
    /// Said in two ways: `x < 3 : (-∞, 3)`.
    Twice(Box<Value>, Box<Value>),
    /// Words alone, normalised.
    Words(String),
    /// Words with formulas among them.
    Prose {
        /// The words, normalised, `#` where a formula stood.
        words: String,
        /// The formulas.
        formulas: Vec<Value>,
    },
    /// A point for all real numbers that the parameters can be.
    Span {
        /// With the parameters in it.
        value: Box<Value>,
        /// The parameters.
        parameters: Vec<String>,
    },
    /// A value for every integer that the parameter can be.
    Family {
        /// With the parameter in it.
        value: Box<Value>,
        /// The parameter.
        parameter: String,
    },
}

/// A number, a quantity or a function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    /// Its value, without percent sign and unit.
    pub expr: Expr,
    /// How precisely it is stated, for a decimal.
    pub decimal: Option<Decimal>,
    /// A percent sign follows.
    pub percent: bool,
    /// A unit follows.
    pub unit: Option<Unit>,
}

impl Scalar {
    /// `-self`.
    pub(super) fn negated(self) -> Scalar {
        Scalar { expr: self.expr.negated(), ..self }
    }
}

/// An interval.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interval {
    /// Lower end.
    pub low: Scalar,
    /// Upper end.
    pub high: Scalar,
    /// Whether the lower end belongs to it.
    pub low_closed: bool,
    /// Whether the upper end belongs to it.
    pub high_closed: bool,
}

impl Value {
    /// An expression alone.
    pub(crate) fn expr(expr: Expr) -> Value {
        Value::Scalar(Scalar { expr, decimal: None, percent: false, unit: None })
    }
}

/// A value, or why there is none.
pub(super) type Parsed = Result<Value, &'static str>;
