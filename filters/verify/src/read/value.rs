//! Tokens to a value: lists, tuples, sets, intervals, relations, quantities, and expressions inside of them.

use super::expression::expression;
use super::matrix::{self, Rows};
use super::number::Decimal;
use super::token::{Kind, Relation, Token};
use super::unit::{self, Unit};
use super::words;
use crate::expr::Expr;
use num_rational::BigRational;

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
    fn negated(self) -> Scalar {
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

const MAX_DEPTH: u32 = 12;
const MAX_PARTS: usize = 256;

type Parsed = Result<Value, &'static str>;

/// Reads all of `tokens`. `natural` says what a bare `log` is.
pub(crate) fn value(tokens: &[Token], natural: bool) -> Parsed {
    Reader { natural, depth: 0 }.value(tokens)
}

struct Reader {
    natural: bool,
    depth: u32,
}

/// Ranges between separators outside of all brackets; nothing where there is no separator.
fn split<'t>(tokens: &'t [Token], separates: impl Fn(&Kind) -> bool) -> Option<Vec<&'t [Token]>> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Open(_) | Kind::Begin(_) => depth += 1,
            Kind::Close(_) | Kind::End(_) => depth -= 1,
            kind if depth <= 0 && separates(kind) => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return None;
    }
    parts.push(&tokens[start..]);
    Some(parts)
}

/// What lies between the bracket that opens `tokens` and the one that closes them.
fn bracketed(tokens: &[Token]) -> Option<(char, &[Token], char)> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let (Kind::Open(open), Kind::Close(close)) = (&first.kind, &last.kind) else { return None };
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(_) | Kind::Begin(_) => depth += 1,
            Kind::Close(_) | Kind::End(_) => depth -= 1,
            _ => {}
        }
        if depth == 0 && at + 1 < tokens.len() {
            return None;
        }
    }
    (tokens.len() >= 2).then(|| (*open, &tokens[1..tokens.len() - 1], *close))
}

fn is_relation(kind: &Kind) -> bool {
    matches!(kind, Kind::Relation(relation) if *relation != Relation::Implies)
}

impl Reader {
    fn value(&mut self, tokens: &[Token]) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("too-deep");
        }
        let result = self.joined(trimmed(tokens));
        self.depth -= 1;
        result
    }

    /// "or", "and", semicolons and commas.
    fn joined(&mut self, tokens: &[Token]) -> Parsed {
        if tokens.is_empty() {
            return Err("empty");
        }
        if let [Token { kind: Kind::Relation(Relation::Approx), .. }, rest @ ..] = tokens {
            return self.value(rest);
        }
        if let [Token { kind: Kind::Word(word), .. }, rest @ ..] = tokens
            && !rest.is_empty()
            && words::is_hedge(word)
        {
            return self.value(rest);
        }
        // `A ⇒ B`: what follows is the answer.
        if let Some(parts) = split(tokens, |kind| *kind == Kind::Relation(Relation::Implies))
            && let Some(last) = parts.last().filter(|last| !last.is_empty())
        {
            return self.value(last);
        }
        if let Some(family) = self.family(tokens)? {
            return Ok(family);
        }
        // `x < 3 : (-∞, 3)`
        if tokens.iter().any(|token| is_relation(&token.kind))
            && let Some(parts) = split(tokens, |kind| *kind == Kind::Mark(':'))
            && let [first, second] = parts.as_slice()
            && first.iter().any(|token| is_relation(&token.kind))
            && let (Ok(first), Ok(second)) = (self.value(first), self.value(second))
        {
            return Ok(Value::Twice(Box::new(first), Box::new(second)));
        }
        if let Some(parts) = split(tokens, |kind| matches!(kind, Kind::Or)) {
            let parts = self.parts(&parts)?;
            return Ok(gathered(parts, true));
        }
        let bars = tokens.iter().any(|token| token.kind == Kind::And);
        let groups = split(tokens, |kind| *kind == Kind::Mark(';'));
        let separators: &[Kind] = if groups.is_some() { &[Kind::Mark(';')] } else { &[Kind::Mark(','), Kind::And] };
        if let Some(parts) = split(tokens, |kind| separators.contains(kind) || bars && *kind == Kind::And) {
            if let Some(congruence) = self.with_modulus(tokens)? {
                return Ok(congruence);
            }
            let parts = self.parts(&parts)?;
            return Ok(gathered(if groups.is_some() { solutions(parts) } else { parts }, false));
        }
        self.single(tokens)
    }

    fn parts(&mut self, parts: &[&[Token]]) -> Result<Vec<Value>, &'static str> {
        let parts: Vec<&[Token]> = parts.iter().map(|part| trimmed(part)).filter(|part| !part.is_empty()).collect();
        if parts.len() > MAX_PARTS {
            return Err("too-many-parts");
        }
        parts.into_iter().map(|part| self.value(part)).collect()
    }

    /// `…, k ∈ ℤ`
    fn family(&mut self, tokens: &[Token]) -> Result<Option<Value>, &'static str> {
        let Some(parts) = split(tokens, |kind| {
            matches!(kind, Kind::Mark(',' | ';'))
                || matches!(kind, Kind::Word(word) if word == "for" || word == "where")
        }) else {
            // `kπ (k ∈ ℤ)`
            if let Some(open) = tokens.iter().rposition(|token| token.kind == Kind::Open('('))
                && open > 0
                && tokens.last().map(|token| &token.kind) == Some(&Kind::Close(')'))
                && let Some(parameter) = integer_parameter(&tokens[open + 1..tokens.len() - 1])
            {
                let value = Box::new(self.value(&tokens[..open])?);
                return Ok(Some(Value::Family { value, parameter }));
            }
            return Ok(None);
        };
        let Some(parameter) = parts.last().and_then(|last| integer_parameter(last)) else { return Ok(None) };
        let length = parts.last().map_or(0, |last| last.len());
        let value = Box::new(self.value(&tokens[..tokens.len() - length - 1])?);
        Ok(Some(Value::Family { value, parameter }))
    }

    fn single(&mut self, tokens: &[Token]) -> Parsed {
        if let Some(congruence) = self.with_modulus(tokens)? {
            return Ok(congruence);
        }
        if let Some(parts) = split(tokens, is_relation) {
            return self.relation(tokens, &parts);
        }
        if let Some(parts) = split(tokens, |kind| matches!(kind, Kind::Cup)) {
            return Ok(Value::Union(self.parts(&parts)?));
        }
        if let Some(parts) = split(tokens, |kind| matches!(kind, Kind::Cap)) {
            return Ok(Value::Intersection(self.parts(&parts)?));
        }
        if let Some(parts) = split(tokens, |kind| matches!(kind, Kind::SetMinus))
            && let [whole, without] = parts.as_slice()
        {
            return Ok(Value::Difference(Box::new(self.value(whole)?), Box::new(self.value(without)?)));
        }
        let colon = |kind: &Kind| matches!(kind, Kind::Mark(':')) || matches!(kind, Kind::Word(word) if word == "to");
        if let Some(parts) = split(tokens, colon) {
            let sides = parts.iter().map(|part| expression(part, self.natural)).collect::<Result<Vec<_>, _>>()?;
            return Ok(Value::Ratio(sides));
        }
        match tokens {
            [Token { kind: Kind::Empty, .. }] => return Ok(Value::Set { members: Vec::new(), braced: true }),
            [Token { kind: Kind::Field(letter), .. }] => return Ok(Value::Field(*letter)),
            [Token { kind: Kind::Word(word), .. }] => return Ok(Value::Words(words::normal(word))),
            _ => {}
        }
        if let Some(parts) = split(tokens, |kind| *kind == Kind::Mark('↔')) {
            return self.parts(&parts).map(Value::Tuple);
        }
        match matrix::matrix(tokens, self.natural) {
            Some(Ok(rows)) => return Ok(Value::Matrix(rows)),
            // Two numbers above each other in brackets are a binomial coefficient where one is calculated with.
            Some(Err(fault)) => return self.scalar(tokens).map_err(|_| fault),
            None => {}
        }
        if let Some((open, inner, close)) = bracketed(tokens)
            && let Some(value) = self.bracket(open, inner, close)?
        {
            return Ok(value);
        }
        // -[0, 1)
        if let [Token { kind: Kind::Op('-'), .. }, rest @ ..] = tokens
            && let Some((open @ ('[' | '('), inner, close)) = bracketed(rest)
            && let Ok(Some(Value::Interval(interval))) = self.bracket(open, inner, close)
        {
            return Ok(Value::Interval(Interval {
                low: interval.high.negated(),
                high: interval.low.negated(),
                low_closed: interval.high_closed,
                high_closed: interval.low_closed,
            }));
        }
        self.scalar(tokens)
    }

    fn bracket(&mut self, open: char, inner: &[Token], close: char) -> Result<Option<Value>, &'static str> {
        let comma = |kind: &Kind| matches!(kind, Kind::Mark(',' | ';'));
        match (open, close) {
            ('{', _) | ('g', 'g') => {
                if inner.is_empty() {
                    return Ok(Some(Value::Set { members: Vec::new(), braced: true }));
                }
                if open == '{'
                    && let Some(value) = self.builder(inner)
                {
                    return Ok(Some(value));
                }
                let value = self.value(inner)?;
                Ok(Some(match (open, value) {
                    ('{', Value::Set { members, .. }) => Value::Set { members, braced: true },
                    ('{', Value::Logic { parts, .. }) => Value::Set { members: parts, braced: true },
                    ('{', other) => Value::Set { members: vec![other], braced: true },
                    (_, other) => other,
                }))
            }
            ('(', ')') | ('<', '>') => {
                let Some(parts) = split(inner, comma) else {
                    // Brackets around something that is not an expression: ((1, 2)), (x = 3).
                    return match self.scalar(inner) {
                        Ok(_) => Ok(None),
                        Err(_) => self.value(inner).map(Some),
                    };
                };
                if parts.iter().any(|part| part.is_empty()) {
                    return Err("empty-part");
                }
                Ok(Some(Value::Tuple(self.parts(&parts)?)))
            }
            ('[' | '(' | ']', ']' | ')' | '[') => {
                let Some(parts) = split(inner, comma) else { return Ok(None) };
                if parts.iter().all(|part| bracketed(trimmed(part)).is_some_and(|(open, ..)| open == '[')) {
                    return self.nested(&parts).map(Some);
                }
                // [x = 4, y = -4]
                if parts.iter().all(|part| part.iter().any(|token| token.kind == Kind::Relation(Relation::Equal))) {
                    return Ok(Some(Value::Set { members: self.parts(&parts)?, braced: false }));
                }
                let [low, high] = parts.as_slice() else {
                    // A list in brackets.
                    return Ok(Some(Value::Tuple(self.parts(&parts)?)));
                };
                Ok(Some(Value::Interval(Interval {
                    low: self.end(low)?,
                    high: self.end(high)?,
                    low_closed: open == '[',
                    high_closed: close == ']',
                })))
            }
            _ => Ok(None),
        }
    }

    /// An end of an interval.
    fn end(&mut self, tokens: &[Token]) -> Result<Scalar, &'static str> {
        match self.scalar(tokens)? {
            Value::Scalar(scalar) => Ok(scalar),
            _ => Err("end-of-interval"),
        }
    }

    /// `x | x > 1`, `(x, y) : x + y = 1`, `2k | k ∈ ℤ` within braces.
    fn builder(&mut self, inner: &[Token]) -> Option<Value> {
        let at = inner.iter().position(|token| matches!(token.kind, Kind::Bar | Kind::Mark(':')))?;
        let (member, condition) = (trimmed(&inner[..at]), trimmed(&inner[at + 1..]));
        if let Some(parameter) = integer_parameter(condition) {
            let value = Box::new(self.value(member).ok()?);
            return Some(Value::Family { value, parameter });
        }
        let letters = member.iter().all(|token| {
            matches!(
                token.kind,
                Kind::Letter(_) | Kind::Mark(',') | Kind::Open('(') | Kind::Close(')') | Kind::Field(_)
            ) || token.kind == Kind::Relation(Relation::In)
        });
        let condition = self.value(condition).ok().filter(|_| letters && !member.is_empty())?;
        // `x | x = 3k, k ∈ ℤ` and conditions; not `|x|` at the beginning of a list.
        let condition = match condition {
            Value::Set { members, braced: false } if !members.is_empty() => Value::Logic { any: false, parts: members },
            other => other,
        };
        matches!(
            condition,
            Value::Relation(..) | Value::Logic { .. } | Value::Family { .. } | Value::Named { .. } | Value::Twice(..)
        )
        .then_some(condition)
    }

    /// `[[1, 2], [3, 4]]`
    fn nested(&mut self, parts: &[&[Token]]) -> Parsed {
        let mut rows: Rows = Vec::new();
        for part in parts {
            let Some((_, inner, _)) = bracketed(trimmed(part)) else { return Err("ragged-matrix") };
            let entries = split(inner, |kind| *kind == Kind::Mark(',')).unwrap_or_else(|| vec![inner]);
            rows.push(entries.into_iter().map(|entry| expression(entry, self.natural)).collect::<Result<_, _>>()?);
        }
        if rows.iter().any(|row| row.len() != rows[0].len()) { Err("ragged-matrix") } else { Ok(Value::Matrix(rows)) }
    }

    /// `x ≡ 3 (mod 7)`
    fn with_modulus(&mut self, tokens: &[Token]) -> Result<Option<Value>, &'static str> {
        let Some(at) = tokens.iter().position(|token| token.kind == Kind::Mod) else { return Ok(None) };
        let mut modulus = trimmed(&tokens[at + 1..]);
        let mut end = at;
        if at > 0 && tokens[at - 1].kind == Kind::Open('(') {
            end = at - 1;
            modulus = modulus.strip_suffix_close(')');
        }
        let mut head = trimmed(&tokens[..end]);
        if let Some(parts) = split(head, |kind| matches!(kind, Kind::Relation(Relation::Congruent | Relation::Equal)))
            && let Some(last) = parts.last()
        {
            head = last;
        }
        let value = expression(head, self.natural)?;
        Ok(Some(Value::Congruence { value, modulus: expression(modulus, self.natural)? }))
    }

    fn relation(&mut self, tokens: &[Token], parts: &[&[Token]]) -> Parsed {
        let signs: Vec<Relation> = {
            let mut depth = 0_i32;
            let mut signs = Vec::new();
            for token in tokens {
                match &token.kind {
                    Kind::Open(_) | Kind::Begin(_) => depth += 1,
                    Kind::Close(_) | Kind::End(_) => depth -= 1,
                    Kind::Relation(relation) if depth <= 0 => signs.push(*relation),
                    _ => {}
                }
            }
            signs
        };
        if signs.len() + 1 != parts.len() {
            return Err("relation");
        }
        // `2 in`: the unit is no relation.
        if parts.last().is_some_and(|last| last.is_empty()) && signs.last() == Some(&Relation::In) {
            return self.scalar(tokens);
        }
        let equal = |relation: &Relation| {
            matches!(relation, Relation::Equal | Relation::Approx | Relation::In | Relation::Congruent)
        };
        if signs.iter().all(equal) {
            // A value after `≈` only approximates the one before it.
            let exact = signs.iter().position(|sign| *sign == Relation::Approx).filter(|at| *at > 0);
            let last = exact.unwrap_or(parts.len() - 1);
            let name = trimmed(parts[0]);
            let value = trimmed(parts[last]);
            if let Some(name) = self.name(name, last > 1 || value.is_empty()) {
                let sides = match (expression(trimmed(parts[0]), self.natural), expression(value, self.natural)) {
                    (Ok(left), Ok(right)) => Some(Box::new((left, right))),
                    _ => None,
                };
                let value = Box::new(self.value(value)?);
                return Ok(Value::Named { name, value, sides });
            }
            if last > 1 && signs.iter().all(|sign| *sign == Relation::Equal) && parts[0].len() > 1 {
                // A calculation: 2 + 3 = 4 + 1 = 5.
                let sides =
                    parts.iter().map(|part| expression(trimmed(part), self.natural)).collect::<Result<Vec<_>, _>>();
                if sides.is_ok_and(|sides| {
                    sides.iter().all(|side| {
                        let mut names = Vec::new();
                        side.symbols(&mut names);
                        names.is_empty()
                    })
                }) {
                    return self.value(value);
                }
            }
        }
        let sides: Result<Vec<_>, _> = parts.iter().map(|part| expression(trimmed(part), self.natural)).collect();
        match sides {
            Ok(sides) => Ok(Value::Relation(sides, signs)),
            // `A^{-1} = [1, 2; 3, 4]`, `u × v = [1, 2]`: what stands last is what it is.
            Err(fault) if signs.iter().all(|sign| *sign == Relation::Equal) => {
                let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Err(fault) };
                let value = Box::new(self.value(last).map_err(|_| fault)?);
                let name: String = first.iter().map(|token| spelled(&token.kind)).collect();
                Ok(Value::Named { name, value, sides: None })
            }
            Err(fault) => Err(fault),
        }
    }

    /// The left side of an equation as a name: a variable, `f(x)`, `(p, q)`, `|AB|`, `A : B`, words.
    fn name(&self, tokens: &[Token], chained: bool) -> Option<String> {
        let text: String = tokens.iter().map(|token| spelled(&token.kind)).collect();
        let first = &tokens.first()?.kind;
        let letters = tokens.iter().filter(|token| matches!(token.kind, Kind::Letter(_) | Kind::Word(_))).count();
        let calculates =
            tokens.iter().any(|token| matches!(token.kind, Kind::Op('+' | '-' | '*' | '/' | '^') | Kind::PlusMinus(_)));
        let number = tokens.iter().any(|token| matches!(token.kind, Kind::Number(_)));
        let indexed = tokens.len() > 1 && tokens[1].kind == Kind::Op('_');
        match first {
            Kind::Word(_) => Some(text),
            Kind::Letter(_) if tokens.len() == 1 => Some(text),
            Kind::Letter(_) if indexed && !calculates => Some(text),
            // f(x), f(2), P(A ∪ B)
            Kind::Letter(_) if matches!(tokens[1].kind, Kind::Open('(') | Kind::Op('\'')) => {
                (tokens.last().map(|token| &token.kind) == Some(&Kind::Close(')')) || indexed).then_some(text)
            }
            // AB, S_{ABC} : S
            Kind::Letter(name) if letters > 1 && !calculates && !number && name.chars().all(char::is_uppercase) => {
                Some(text)
            }
            Kind::Open('(') if letters > 1 && !calculates && !number => Some(text),
            Kind::Bar if !calculates && !number && letters > 1 => Some(text),
            // NO/BO = …
            Kind::Frac if letters > 1 && !number && !calculates => {
                let capitals = tokens.iter().all(|token| match &token.kind {
                    Kind::Letter(name) => name.chars().all(char::is_uppercase),
                    _ => true,
                });
                capitals.then_some(text)
            }
            Kind::Unknown(_) if tokens.len() == 1 => Some(text),
            _ if chained && letters == 1 && tokens.len() == 1 => Some(text),
            _ => None,
        }
    }

    /// A number, a quantity or an expression.
    fn scalar(&mut self, tokens: &[Token]) -> Parsed {
        let mut tokens = trimmed(tokens);
        if let Some(angle) = sexagesimal(tokens) {
            let unit = Some(Unit::degrees());
            return Ok(Value::Scalar(Scalar { expr: Expr::Number(angle), decimal: None, percent: false, unit }));
        }
        let mut currency = None;
        let mut negative = false;
        if let [Token { kind: Kind::Op('-'), .. }, Token { kind: Kind::Currency(_), .. }, ..] = tokens {
            (negative, tokens) = (true, &tokens[1..]);
        }
        if let Some(Kind::Currency(code)) = tokens.first().map(|token| &token.kind) {
            (currency, tokens) = (Some(Unit::base(code)), &tokens[1..]);
        }
        // The longest tail that is a unit, with something before it.
        let mut unit = currency;
        let starts = (1..tokens.len()).filter(|at| match &tokens[*at].kind {
            Kind::Word(_) | Kind::Degree | Kind::Currency(_) => true,
            // Single letters are units behind a number alone.
            Kind::Letter(_) => tokens[..*at].iter().all(|token| matches!(token.kind, Kind::Number(_) | Kind::Op(_))),
            Kind::Function(_) => *at + 1 == tokens.len(),
            Kind::Relation(Relation::In) => *at + 1 == tokens.len(),
            _ => false,
        });
        // In `sin 30°` the degree belongs to the argument.
        let applied =
            tokens[..tokens.len().saturating_sub(1)].iter().any(|token| matches!(token.kind, Kind::Function(_)));
        let mut direct = None;
        for at in starts {
            if applied && tokens[at].kind == Kind::Degree {
                continue;
            }
            let plain_letter = matches!(tokens[at].kind, Kind::Letter(_));
            if plain_letter && !tokens[at].space && !tokens[at].textual {
                continue;
            }
            let head = match tokens[at - 1].kind {
                Kind::Op('*' | '^') => &tokens[..at - 1],
                _ => &tokens[..at],
            };
            if let (Some(found), Ok(expr)) =
                (self::unit::unit(&tokens[at..]), expression(strip_percent(head).0, self.natural))
            {
                (unit, direct) = (Some(found), Some((head, expr)));
                break;
            }
        }
        // `90^{\circ}` closes its group behind the degree.
        if direct.is_none()
            && !applied
            && let Some(head) = degree_tail(tokens)
            && let Ok(expr) = expression(head, self.natural)
        {
            (unit, direct) = (Some(Unit::degrees()), Some((head, expr)));
        }
        let (head, percent) = strip_percent(direct.as_ref().map_or(tokens, |(head, _)| head));
        let expr = match direct {
            Some((_, expr)) => expr,
            None => expression(head, self.natural)?,
        };
        let expr = if negative { expr.negated() } else { expr };
        Ok(Value::Scalar(Scalar { decimal: decimal(head), expr, percent, unit }))
    }
}

/// `63° 45' 30"`: degrees, minutes, seconds.
fn sexagesimal(tokens: &[Token]) -> Option<BigRational> {
    let (negative, tokens) = match tokens {
        [Token { kind: Kind::Op('-'), .. }, rest @ ..] => (true, rest),
        _ => (false, tokens),
    };
    let (mut total, mut place, mut value, mut primes) = (BigRational::default(), 0_u32, None, 0);
    let mut worth = |value: Option<BigRational>, at: u32| {
        // In falling order, each once.
        let fits = place <= at;
        place = at + 1;
        total += value? / BigRational::from_integer(60_i64.pow(at).into());
        fits.then_some(())
    };
    for token in tokens {
        match &token.kind {
            Kind::Number(numeral) => {
                if primes > 0 {
                    worth(value.take(), primes)?;
                    primes = 0;
                }
                if value.is_some() {
                    return None;
                }
                value = Some(numeral.value.clone());
            }
            Kind::Degree => worth(value.take(), 0)?,
            Kind::Op('\'') => primes += 1,
            Kind::Op('^') | Kind::Open('g') | Kind::Close('g') => {}
            _ => return None,
        }
    }
    if primes > 0 {
        worth(value.take(), primes)?;
    }
    // Degrees alone are an ordinary quantity; primes alone may be feet.
    let degrees = tokens.iter().filter(|token| token.kind == Kind::Degree).count();
    (value.is_none() && place > 1 && place <= 3 && degrees == 1).then_some(if negative { -total } else { total })
}

trait StripClose {
    fn strip_suffix_close(&self, close: char) -> &Self;
}

impl StripClose for [Token] {
    fn strip_suffix_close(&self, close: char) -> &[Token] {
        match self.last() {
            Some(token) if token.kind == Kind::Close(close) => &self[..self.len() - 1],
            _ => self,
        }
    }
}

fn strip_percent(tokens: &[Token]) -> (&[Token], bool) {
    match tokens {
        [head @ .., Token { kind: Kind::Percent, .. }] if !head.is_empty() => (head, true),
        _ => (tokens, false),
    }
}

fn degree_tail(tokens: &[Token]) -> Option<&[Token]> {
    match tokens {
        [
            head @ ..,
            Token { kind: Kind::Op('^'), .. },
            Token { kind: Kind::Open('g'), .. },
            Token { kind: Kind::Degree, .. },
            Token { kind: Kind::Close('g'), .. },
        ] if !head.is_empty() => Some(head),
        _ => None,
    }
}

/// How precisely a lone decimal is stated.
fn decimal(tokens: &[Token]) -> Option<Decimal> {
    let tokens = match tokens {
        [Token { kind: Kind::Op('-' | '+'), .. }, rest @ ..] => rest,
        _ => tokens,
    };
    match tokens {
        [Token { kind: Kind::Number(numeral), .. }] => numeral.decimal,
        // 1.5 × 10^-3
        [
            Token { kind: Kind::Number(numeral), .. },
            Token { kind: Kind::Op('*'), .. },
            Token { kind: Kind::Number(ten), .. },
            Token { kind: Kind::Op('^'), .. },
            exponent @ ..,
        ] if ten.value == BigRational::from_integer(10.into()) => {
            let decimal = numeral.decimal?;
            let power = expression(exponent, false).ok()?.as_small().filter(|power| power.abs() < 2000)?;
            Some(Decimal { places: decimal.places - power as i32, significant: decimal.significant })
        }
        _ => None,
    }
}

/// `k ∈ ℤ`, `k is an integer`
fn integer_parameter(tokens: &[Token]) -> Option<String> {
    match trimmed(tokens) {
        [
            Token { kind: Kind::Letter(name), .. },
            Token { kind: Kind::Relation(Relation::In), .. },
            Token { kind: Kind::Field('Z'), .. },
        ]
        | [
            Token { kind: Kind::Letter(name), .. },
            Token { kind: Kind::Relation(Relation::In), .. },
            Token { kind: Kind::Letter(_), .. },
        ] => Some(name.clone()),
        // any integer n
        [rest @ .., Token { kind: Kind::Letter(name), .. }]
            if matches!(rest.last().map(|token| &token.kind), Some(Kind::Word(word)) if word.starts_with("integer"))
                && rest.iter().all(|token| matches!(token.kind, Kind::Word(_))) =>
        {
            Some(name.clone())
        }
        [Token { kind: Kind::Letter(name), .. }, rest @ ..]
            if rest.iter().any(|token| matches!(&token.kind, Kind::Word(word) if word.starts_with("integer"))) =>
        {
            Some(name.clone())
        }
        _ => None,
    }
}

/// Without what only stands around: separators, a closing full stop, an empty pair of braces.
fn trimmed(mut tokens: &[Token]) -> &[Token] {
    let idle = |kind: &Kind| matches!(kind, Kind::Mark(',' | ';') | Kind::And | Kind::Or | Kind::Row);
    loop {
        match tokens {
            [first, rest @ ..] if idle(&first.kind) => tokens = rest,
            [rest @ .., last] if idle(&last.kind) => tokens = rest,
            [rest @ .., Token { kind: Kind::Open('g'), .. }, Token { kind: Kind::Close('g'), .. }]
                if !rest.is_empty() =>
            {
                tokens = rest
            }
            // A group around everything.
            [Token { kind: Kind::Open('g'), .. }, .., Token { kind: Kind::Close('g'), .. }]
                if tokens.len() > 2 && bracketed(tokens).is_some() =>
            {
                tokens = &tokens[1..tokens.len() - 1];
            }
            _ => return tokens,
        }
    }
}

/// `p = 5, q = 2; p = 7, q = 2`: groups that give values to the same names become tuples of the values.
fn solutions(parts: Vec<Value>) -> Vec<Value> {
    let named = |part: &Value| -> Option<Vec<(String, Value)>> {
        let Value::Set { members, braced: false } = part else { return None };
        let each = members.iter().map(|member| match member {
            Value::Named { name, value, .. } => Some((name.clone(), (**value).clone())),
            _ => None,
        });
        each.collect()
    };
    let groups: Option<Vec<Vec<(String, Value)>>> = parts.iter().map(named).collect();
    let Some(groups) = groups.filter(|groups| groups.len() > 1) else { return parts };
    let names = |group: &[(String, Value)]| group.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if groups.iter().any(|group| names(group) != names(&groups[0])) {
        return parts;
    }
    groups.into_iter().map(|group| Value::Tuple(group.into_iter().map(|(_, value)| value).collect())).collect()
}

/// Parts that stood side by side as one value: relations are joined, everything else is a set; a name given once holds
/// for the bare values that follow it.
fn gathered(parts: Vec<Value>, any: bool) -> Value {
    if parts.len() == 1 {
        return parts.into_iter().next().unwrap_or(Value::Set { members: Vec::new(), braced: false });
    }
    let region = |part: &Value| match part {
        Value::Relation(_, signs) => signs.iter().any(|sign| *sign != Relation::Equal),
        _ => false,
    };
    if parts.iter().any(region) {
        return Value::Logic { any, parts };
    }
    let mut members = Vec::new();
    for part in parts {
        match part {
            Value::Set { members: inner, braced: false } => members.extend(inner),
            other => members.push(other),
        }
    }
    // n = 1, 2, 3
    let bare = members.iter().skip(1).all(|member| !matches!(member, Value::Named { .. } | Value::Relation(..)));
    if bare
        && members.len() > 1
        && let Value::Named { value, .. } = &members[0]
        && !matches!(**value, Value::Interval(_) | Value::Union(_))
    {
        members[0] = (**value).clone();
    }
    Value::Set { members, braced: false }
}

fn spelled(kind: &Kind) -> String {
    match kind {
        Kind::Letter(name) | Kind::Word(name) | Kind::Unknown(name) => name.clone(),
        Kind::Number(numeral) => numeral.value.to_string(),
        Kind::Open('g') | Kind::Close('g') => String::new(),
        Kind::Op(c) | Kind::Mark(c) | Kind::Open(c) | Kind::Close(c) => c.to_string(),
        Kind::Bar => "|".to_owned(),
        Kind::Frac => "frac".to_owned(),
        Kind::Cup => "∪".to_owned(),
        Kind::Cap => "∩".to_owned(),
        _ => "?".to_owned(),
    }
}
