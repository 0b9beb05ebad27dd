//! A template as it was read: statements and expressions. Chains of operators, of attributes and of branches are lists
//! and not trees, so that their length is no depth.

use super::value::Value;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Text(Arc<str>),
    Print(Expression),
    If(Vec<(Option<Expression>, Vec<Statement>)>),
    For(Arc<For>),
    Set(Target, Expression),
    SetBlock(Target, Vec<Filter>, Vec<Statement>),
    Macro(Arc<Macro>),
    /// The body as a macro without a name, and the call that may call it.
    Call(Arc<Macro>, Expression),
    FilterBlock(Vec<Filter>, Vec<Statement>),
    With(Vec<(Target, Expression)>, Vec<Statement>),
    /// What the assistant says.
    Generation(Vec<Statement>),
    /// A block or the like: a scope and nothing else.
    Scope(Vec<Statement>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) over: Expression,
    pub(crate) filter: Option<Expression>,
    pub(crate) recursive: bool,
    pub(crate) body: Vec<Statement>,
    pub(crate) otherwise: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) name: Arc<str>,
    pub(crate) parameters: Vec<(Arc<str>, Option<Expression>)>,
    pub(crate) body: Vec<Statement>,
    /// Whether its body speaks of `varargs` and `kwargs`: only then may more be passed than it names.
    pub(crate) takes_more: [bool; 2],
}

#[derive(Debug)]
pub(crate) enum Target {
    Name(Arc<str>),
    /// A name inside a namespace.
    Attribute(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) name: Arc<str>,
    pub(crate) arguments: Arguments,
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Expression>,
    pub(crate) named: Vec<(Arc<str>, Expression)>,
    /// `*` and `**`.
    pub(crate) spread: [Option<Box<Expression>>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Debug)]
pub(crate) enum Expression {
    Constant(Value),
    Name(Arc<str>),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    /// What follows a value, one after the other.
    Postfix(Box<Expression>, Vec<Postfix>),
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    Concatenation(Vec<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    /// Value, condition, value otherwise.
    Conditional(Box<(Expression, Expression, Option<Expression>)>),
}

#[derive(Debug)]
pub(crate) enum Postfix {
    Attribute(Arc<str>),
    Item(Expression),
    Slice(Box<[Option<Expression>; 3]>),
    Call(Arguments),
    Filter(Filter),
    Test { filter: Filter, negated: bool },
}
