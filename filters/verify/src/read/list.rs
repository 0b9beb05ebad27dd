//! Tokens to a value: what "or", "and", semicolons, commas and brackets part, down to single values.

use super::expression::expression;
use super::matrix::{self, inside};
use super::token::{Kind, Mode, Relation, Token};
use super::value::{Interval, Parsed, Value};
use super::{ellipsis, name, vector, words};

const MAX_DEPTH: u32 = 12;
const MAX_PARTS: usize = 256;

/// Reads all of `tokens`.
pub(super) fn value(tokens: &[Token], mode: Mode) -> Parsed {
    Reader { mode, depth: 0 }.value(tokens)
}

/// Values within values, up to a depth.
pub(super) struct Reader {
    /// How uncertain letters are read.
    pub mode: Mode,
    depth: u32,
}

impl Reader {
    pub(super) fn value(&mut self, tokens: &[Token]) -> Parsed {
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
        if let [Token { kind: Kind::Word(word), .. }, rest @ ..] = tokens
            && words::concludes(word)
            && rest.iter().any(|token| is_relation(&token.kind))
        {
            let rest = match rest {
                [Token { kind: Kind::Mark(':' | ','), .. }, rest @ ..] => rest,
                _ => rest,
            };
            return self.value(rest);
        }
        // `A ⇒ B`: what follows is the answer, where it is about the same.
        if let Some(parts) = split(tokens, |kind| *kind == Kind::Relation(Relation::Implies))
            && let Some((last, before)) = parts.split_last().filter(|(last, _)| !last.is_empty())
        {
            return self.concluded(last, before);
        }
        if let Some(statement) = self.statements(tokens)? {
            return Ok(statement);
        }
        if let Some(span) = self.span(tokens) {
            return Ok(span);
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
            return Ok(gathered(solutions(parts), true));
        }
        if let Some(sum) = self.compound(tokens) {
            return Ok(sum);
        }
        let bars = tokens.iter().any(|token| token.kind == Kind::And);
        let groups = split(tokens, |kind| *kind == Kind::Mark(';'));
        let separators: &[Kind] = if groups.is_some() { &[Kind::Mark(';')] } else { &[Kind::Mark(','), Kind::And] };
        if let Some(parts) = split(tokens, |kind| separators.contains(kind) || bars && *kind == Kind::And) {
            if let Some(congruence) = self.with_modulus(tokens)? {
                return Ok(congruence);
            }
            if parts.iter().any(|part| matches!(part, [Token { kind: Kind::Dots, .. }])) {
                return self.continued(&parts);
            }
            if let Some(table) = self.table(&parts) {
                return Ok(table);
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

    /// `Alice: 3, Bob: 4`
    fn table(&mut self, parts: &[&[Token]]) -> Option<Value> {
        let each = parts.iter().map(|part| {
            let [label, value] = split(trimmed(part), |kind| *kind == Kind::Mark(':'))?.try_into().ok()?;
            let worded = matches!(trimmed(label), [Token { kind: Kind::Word(word), .. }] if word.len() > 3);
            let value = self.value(value).ok().filter(|value| match value {
                Value::Scalar(scalar) => scalar.expr.as_number().is_some(),
                // domain: ℝ, range: [0, 1]
                Value::Field(_) | Value::Interval(_) | Value::Union(_) | Value::Words(_) => worded,
                _ => false,
            })?;
            Some(Value::Named { name: name::name(label)?, value: Box::new(value), sides: None })
        });
        let members = each.collect::<Option<Vec<_>>>()?;
        Some(Value::Set { members, braced: false })
    }

    /// What follows from something: about the same letters, or it is not known which of the two is the answer.
    fn concluded(&mut self, last: &[Token], before: &[&[Token]]) -> Parsed {
        let stated = |tokens: &[Token]| tokens.iter().any(|token| token.kind == Kind::Relation(Relation::Equal));
        let names = |tokens: &[Token]| {
            let letters = tokens.iter().filter_map(|token| match &token.kind {
                Kind::Letter(name) | Kind::Word(name) => Some(name.clone()),
                _ => None,
            });
            letters.collect::<Vec<_>>()
        };
        let known: Vec<String> = before.iter().flat_map(|part| names(part)).collect();
        let named = names(last);
        if stated(last) && !named.is_empty() && !known.is_empty() && !named.iter().any(|name| known.contains(name)) {
            return Err("conclusion-about-something-else");
        }
        // p → q is a statement of its own.
        let relates = |tokens: &[Token]| tokens.iter().any(|token| is_relation(&token.kind));
        if !relates(last) && !named.is_empty() && !before.iter().any(|part| relates(part)) {
            return Err("logic");
        }
        self.value(last)
    }

    /// Statements joined by ∧ or ∨; between letters these calculate, which nothing here can.
    fn statements(&mut self, tokens: &[Token]) -> Result<Option<Value>, &'static str> {
        let any = tokens.iter().any(|token| token.kind == Kind::Vee);
        let sign = if any { Kind::Vee } else { Kind::Wedge };
        let Some(parts) = split(tokens, |kind| *kind == sign) else { return Ok(None) };
        if !parts.iter().all(|part| part.iter().any(|token| is_relation(&token.kind))) {
            return Err("logic");
        }
        let parts = self.parts(&parts)?;
        Ok(Some(gathered(parts, any)))
    }

    /// `1, 2, …, 10` with all its members, or with what is left out kept as such.
    fn continued(&mut self, parts: &[&[Token]]) -> Parsed {
        let dots = |part: &&[Token]| matches!(part, [Token { kind: Kind::Dots, .. }]);
        let read = parts.iter().map(|part| if dots(part) { Ok(None) } else { self.value(part).map(Some) });
        let members = read.collect::<Result<Vec<Option<Value>>, _>>()?;
        Ok(Value::Set { members: ellipsis::members(members), braced: false })
    }

    /// `(s, s + t, 1), s, t ∈ ℝ`
    fn span(&mut self, tokens: &[Token]) -> Option<Value> {
        let separates = |kind: &Kind| {
            matches!(kind, Kind::Mark(',' | ';'))
                || matches!(kind, Kind::Word(word) if word == "for" || word == "where" || word == "with")
        };
        if tokens.last().map(|token| &token.kind) != Some(&Kind::Field('R')) {
            return None;
        }
        let parts = split(tokens, separates)?;
        let (last, before) = parts.split_last()?;
        let [head @ .., Token { kind: Kind::Relation(Relation::In), .. }, Token { kind: Kind::Field('R'), .. }] =
            trimmed(last)
        else {
            return None;
        };
        let letter = |tokens: &[Token]| match trimmed(tokens) {
            [Token { kind: Kind::Letter(_), .. }] | [Token { mark: Some('^'), .. }, ..] => name::name(tokens),
            _ => None,
        };
        let mut parameters = vec![letter(head)?];
        parameters
            .extend(before.iter().rev().map_while(|part| if trimmed(part).is_empty() { None } else { letter(part) }));
        parameters.reverse();
        let behind = &parts[parts.len() - parameters.len()..];
        let length = behind.iter().map(|part| part.len() + 1).sum::<usize>();
        let value = self.value(tokens.get(..tokens.len().checked_sub(length)?)?).ok()?;
        let point = match &value {
            Value::Named { value, .. } => value,
            value => value,
        };
        matches!(point, Value::Matrix(_) | Value::Tuple(_)).then(|| Value::Span { value: Box::new(value), parameters })
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
        // ℝ − {0}
        if matches!(tokens.first(), Some(Token { kind: Kind::Field(_), .. }))
            && let Some(parts) = split(tokens, |kind| matches!(kind, Kind::Op('-')))
            && let [whole @ [Token { kind: Kind::Field(_), .. }], without] = parts.as_slice()
            && matches!(without.first(), Some(Token { kind: Kind::Open('{' | '[' | '('), .. }))
        {
            return Ok(Value::Difference(Box::new(self.value(whole)?), Box::new(self.value(without)?)));
        }
        // A(1, 2)
        if let [Token { kind: Kind::Letter(name), .. }, point @ ..] = tokens
            && name.len() == 1
            && name != "C"
            && name.chars().all(|c| c.is_ascii_uppercase())
            && let Some(('(', inner, ')')) = bracketed(point)
            && split(inner, |kind| *kind == Kind::Mark(',')).is_some()
        {
            let value = Box::new(self.value(point)?);
            return Ok(Value::Named { name: name.clone(), value, sides: None });
        }
        if let Some(cases) = self.cases(tokens)? {
            return Ok(cases);
        }
        let colon = |kind: &Kind| matches!(kind, Kind::Mark(':')) || matches!(kind, Kind::Word(word) if word == "to");
        if let Some(parts) = split(tokens, colon) {
            let sides = parts.iter().map(|part| expression(part, self.mode)).collect::<Result<Vec<_>, _>>()?;
            return Ok(Value::Ratio(sides));
        }
        match tokens {
            [Token { kind: Kind::Empty, .. }] => return Ok(Value::Set { members: Vec::new(), braced: true }),
            [Token { kind: Kind::Field(letter), .. }] => return Ok(Value::Field(*letter)),
            [Token { kind: Kind::Word(word), .. }] => return Ok(Value::Words(words::normal(word))),
            // ℝ³
            [Token { kind: Kind::Field(letter), .. }, Token { kind: Kind::Op('^'), .. }, power @ ..] => {
                if let [Token { kind: Kind::Number(_), .. }] = ungrouped(power) {
                    let power: String = power.iter().map(|token| name::spelled(&token.kind)).collect();
                    return Ok(Value::Words(format!("space {letter} {power}")));
                }
            }
            _ => {}
        }
        if let Some(parts) = split(tokens, |kind| *kind == Kind::Mark('↔')) {
            return self.parts(&parts).map(Value::Tuple);
        }
        match matrix::matrix(tokens, self.mode) {
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
        let value = self.scalar(tokens)?;
        let components = match &value {
            Value::Scalar(scalar) if scalar.unit.is_none() => vector::components(&scalar.expr),
            _ => None,
        };
        Ok(components.unwrap_or(value))
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
                    ('{', Value::Set { members, braced: false }) => Value::Set { members, braced: true },
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
                let Some(parts) = split(inner, comma) else {
                    // [k = 4]
                    let stated = inner.iter().any(|token| token.kind == Kind::Relation(Relation::Equal));
                    return if stated { self.value(inner).map(Some) } else { Ok(None) };
                };
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
}

/// Ranges between separators outside of all brackets; nothing where there is no separator.
pub(super) fn split(tokens: &[Token], separates: impl Fn(&Kind) -> bool) -> Option<Vec<&[Token]>> {
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
pub(super) fn bracketed(tokens: &[Token]) -> Option<(char, &[Token], char)> {
    let (first, last) = (tokens.first()?, tokens.last()?);
    let (Kind::Open(open), Kind::Close(close)) = (&first.kind, &last.kind) else { return None };
    let between = inside(tokens)?;
    (between.len() + 2 == tokens.len()).then_some((*open, between, *close))
}

pub(super) fn is_relation(kind: &Kind) -> bool {
    matches!(kind, Kind::Relation(relation) if *relation != Relation::Implies)
}

/// `k ∈ ℤ`, `k is an integer`
pub(super) fn integer_parameter(tokens: &[Token]) -> Option<String> {
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

/// What lies in a group, or the tokens as they are.
fn ungrouped(tokens: &[Token]) -> &[Token] {
    match bracketed(tokens) {
        Some(('g', inner, _)) => inner,
        _ => tokens,
    }
}

/// Without what only stands around: separators, a closing full stop, an empty pair of braces.
pub(super) fn trimmed(mut tokens: &[Token]) -> &[Token] {
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
            [Token { kind: Kind::Open('g'), mark: None, .. }, .., Token { kind: Kind::Close('g'), .. }]
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
pub(super) fn gathered(parts: Vec<Value>, any: bool) -> Value {
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
