//! Tokens → statements and expressions, by Jinja2's grammar.

use super::{
    ast::{Expression, Filter, For, Macro, Postfix, Statement, Target, What},
    lexer::{Content, Piece, Token, lex},
    value::{Fault, Outcome, fault},
};
use std::sync::Arc;

/// How deep statements and expressions may nest.
const MAX_DEPTH: u32 = 60;

/// Reads a template.
pub(super) fn parse(source: &str) -> Outcome<Vec<Statement>> {
    let mut parser = Parser {
        pieces: lex(source)?.into_iter(),
        tokens: Vec::new().into_iter().peekable(),
        line: 1,
        depth: 0,
        loops: 0,
        speaks_of: [false; 2],
    };
    let place = |mut error: Fault, line: u32| {
        error.line = if error.line == 0 { line } else { error.line };
        error
    };
    let parsed = parser.statements(&[]);
    let line = parser.line;
    let (statements, _) = parsed.map_err(|error| place(error, line))?;
    Ok(statements)
}

pub(super) struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Of the tag that is being read.
    pub(super) tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    line: u32,
    depth: u32,
    /// Loops around what is being read.
    loops: u32,
    /// Whether `varargs` and `kwargs` were named in the macro that is being read.
    pub(super) speaks_of: [bool; 2],
}

impl Parser {
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(format!("expected tags and expressions nested at most {MAX_DEPTH} deep"));
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    pub(super) fn is(&mut self, operator: &str) -> bool {
        matches!(self.tokens.peek(), Some(Token::Operator(found)) if *found == operator)
    }

    pub(super) fn take(&mut self, operator: &str) -> bool {
        let there = self.is(operator);
        if there {
            self.tokens.next();
        }
        there
    }

    pub(super) fn expect(&mut self, operator: &str) -> Outcome<()> {
        if self.take(operator) { Ok(()) } else { self.unexpected(&format!("{operator:?}")) }
    }

    pub(super) fn is_name(&mut self, name: &str) -> bool {
        matches!(self.tokens.peek(), Some(Token::Name(found)) if **found == *name)
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let there = self.is_name(name);
        if there {
            self.tokens.next();
        }
        there
    }

    pub(super) fn name(&mut self) -> Outcome<Arc<str>> {
        match self.tokens.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.tokens.next();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn unexpected<T>(&mut self, expected: &str) -> Outcome<T> {
        let found = match self.tokens.peek() {
            None => "the end of the tag".to_owned(),
            Some(Token::Name(name)) => name.to_string(),
            Some(Token::Text(text)) => format!("{text:?}"),
            Some(Token::Int(value)) => value.to_string(),
            Some(Token::Float(value)) => value.to_string(),
            Some(Token::Operator(operator)) => format!("{operator:?}"),
        };
        fault(format!("expected {expected}, found {found}"))
    }

    fn end_of_tag(&mut self) -> Outcome<()> {
        if self.tokens.peek().is_none() { Ok(()) } else { self.unexpected("the end of the tag") }
    }

    /// Statements up to one of these tags, whose name is given back with its tokens still to be read.
    fn statements(&mut self, ends: &[&str]) -> Outcome<(Vec<Statement>, Arc<str>)> {
        let mut statements = Vec::new();
        while let Some(piece) = self.pieces.next() {
            self.line = piece.line;
            let line = piece.line;
            let what = match piece.what {
                Content::Text(text) => What::Text(text),
                Content::Variable(tokens) => {
                    self.tokens = tokens.into_iter().peekable();
                    let value = self.tuple(true, false, &[])?;
                    self.end_of_tag()?;
                    What::Print(value)
                }
                Content::Block(tokens) => {
                    self.tokens = tokens.into_iter().peekable();
                    let name = self.name()?;
                    if ends.contains(&&*name) {
                        return Ok((statements, name));
                    }
                    self.deeper(|parser| parser.statement(&name))?
                }
            };
            statements.push(Statement { line, what });
        }
        match ends.last() {
            None => Ok((statements, "".into())),
            Some(end) => fault(format!("expected {{% {end} %}}, found the end of the template")),
        }
    }

    /// The statements of a block that ends with this tag.
    fn body(&mut self, end: &str) -> Outcome<Vec<Statement>> {
        self.end_of_tag()?;
        let (body, _) = self.statements(&[end])?;
        self.end_of_tag()?;
        Ok(body)
    }

    fn statement(&mut self, name: &str) -> Outcome<What> {
        let what = match name {
            "if" => return self.branches(),
            "for" => return self.repetition(),
            "set" => return self.assignment(),
            "macro" => {
                let name = self.name()?;
                return Ok(What::Macro(self.signature_and_body(name, true, "endmacro")?.0));
            }
            "call" => {
                let (body, call) = self.signature_and_body("caller".into(), false, "endcall")?;
                let is_call = matches!(&call, Some(Expression::Postfix(_, steps)) if matches!(steps.last(), Some(Postfix::Call(_))));
                return match call.filter(|_| is_call) {
                    Some(call) => Ok(What::Call(body, call)),
                    None => fault("expected a call in a call block"),
                };
            }
            "filter" => {
                let filters = self.filters(true)?;
                What::FilterBlock(filters, self.body("endfilter")?)
            }
            "with" => {
                let mut values = Vec::new();
                while self.tokens.peek().is_some() {
                    if !values.is_empty() {
                        self.expect(",")?;
                    }
                    let target = self.target(&[])?;
                    self.expect("=")?;
                    values.push((target, self.expression()?));
                }
                What::With(values, self.body("endwith")?)
            }
            "print" => What::Print(self.tuple(true, false, &[])?),
            "generation" => What::Generation(self.body("endgeneration")?),
            "autoescape" => {
                self.expression()?;
                What::Scope(self.body("endautoescape")?)
            }
            "block" => {
                self.name()?;
                while self.take_name("scoped") || self.take_name("required") {}
                self.end_of_tag()?;
                let (body, _) = self.statements(&["endblock"])?;
                if self.tokens.peek().is_some() {
                    self.name()?;
                }
                What::Scope(body)
            }
            "break" | "continue" if self.loops == 0 => return fault(format!("{{% {name} %}} outside of a loop")),
            "break" => What::Break,
            "continue" => What::Continue,
            "include" | "import" | "from" | "extends" => {
                return fault(format!("{{% {name} %}}: a chat template has no other templates beside it"));
            }
            other => return fault(format!("unknown tag {{% {other} %}}")),
        };
        self.end_of_tag()?;
        Ok(what)
    }

    fn branches(&mut self) -> Outcome<What> {
        let mut branches = Vec::new();
        let mut condition = Some(self.tuple(false, false, &[])?);
        loop {
            self.end_of_tag()?;
            let ends: &[&str] = if condition.is_some() { &["elif", "else", "endif"] } else { &["endif"] };
            let (body, end) = self.statements(ends)?;
            branches.push((condition.take(), body));
            match &*end {
                "elif" => condition = Some(self.tuple(false, false, &[])?),
                "else" => {}
                _ => {
                    self.end_of_tag()?;
                    return Ok(What::If(branches));
                }
            }
        }
    }

    fn repetition(&mut self) -> Outcome<What> {
        let target = self.target(&["in"])?;
        if !self.take_name("in") {
            return self.unexpected("in");
        }
        let over = self.tuple(false, false, &["recursive"])?;
        let filter = if self.take_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.take_name("recursive");
        self.end_of_tag()?;
        self.loops += 1;
        let (body, end) = self.statements(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = if &*end == "else" { self.body("endfor")? } else { Vec::new() };
        self.end_of_tag()?;
        Ok(What::For(Arc::new(For { target, over, filter, recursive, body, otherwise })))
    }

    fn assignment(&mut self) -> Outcome<What> {
        let target = self.target(&[])?;
        if self.take("=") {
            let value = self.tuple(true, false, &[])?;
            self.end_of_tag()?;
            return Ok(What::Set(target, value));
        }
        let filters = self.filters(false)?;
        Ok(What::SetBlock(target, filters, self.body("endset")?))
    }

    /// `(a, b=1)` and what follows up to the end of the block; for a call block, the call between them.
    fn signature_and_body(
        &mut self,
        name: Arc<str>,
        needed: bool,
        end: &str,
    ) -> Outcome<(Arc<Macro>, Option<Expression>)> {
        let mut parameters: Vec<(Arc<str>, Option<Expression>)> = Vec::new();
        if needed && !self.is("(") {
            return self.unexpected("\"(\"");
        }
        if self.take("(") {
            while !self.take(")") {
                if !parameters.is_empty() {
                    self.expect(",")?;
                }
                let parameter = self.name()?;
                let default = if self.take("=") { Some(self.expression()?) } else { None };
                if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                    return fault(format!("parameter {parameter}: expected a default, since one before it has one"));
                }
                parameters.push((parameter, default));
            }
        }
        let call = if needed { None } else { Some(self.expression()?) };
        self.end_of_tag()?;
        if parameters.iter().any(|(parameter, default)| &**parameter == "caller" && default.is_none()) {
            return fault("a parameter `caller` needs a default");
        }
        let (outside, loops) = (std::mem::take(&mut self.speaks_of), std::mem::take(&mut self.loops));
        let (body, _) = self.statements(&[end])?;
        self.end_of_tag()?;
        self.loops = loops;
        let takes_more = std::mem::replace(&mut self.speaks_of, outside);
        Ok((Arc::new(Macro { name, parameters, body, takes_more }), call))
    }

    fn target(&mut self, ends: &[&str]) -> Outcome<Target> {
        let mut targets = Vec::new();
        let mut several = false;
        loop {
            if self.take("(") {
                targets.push(self.deeper(|parser| parser.target(&[]))?);
                self.expect(")")?;
            } else {
                let name = self.name()?;
                targets.push(match self.take(".") {
                    true => Target::Attribute(name, self.name()?),
                    false => Target::Name(name),
                });
            }
            if !self.take(",") {
                break;
            }
            several = true;
            if ends.iter().any(|end| self.is_name(end)) || self.is("=") || self.is(")") {
                break;
            }
        }
        match targets.pop() {
            Some(target) if !several => Ok(target),
            last => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    /// One expression, or several with commas between them. Without conditions, `if` belongs to the tag.
    pub(super) fn tuple(&mut self, conditions: bool, in_parentheses: bool, ends: &[&str]) -> Outcome<Expression> {
        let mut items = Vec::new();
        let mut several = false;
        loop {
            let ended = self.tokens.peek().is_none() || self.is(")") || ends.iter().any(|end| self.is_name(end));
            if ended {
                break;
            }
            items.push(if conditions { self.expression()? } else { self.deeper(Parser::either)? });
            if !self.take(",") {
                break;
            }
            several = true;
        }
        match items.pop() {
            Some(item) if !several => Ok(item),
            None if !in_parentheses => self.unexpected("an expression"),
            last => {
                items.extend(last);
                Ok(Expression::Tuple(items))
            }
        }
    }

    /// Filters with bars between them; the bar before the first is already read in a filter block.
    fn filters(&mut self, started: bool) -> Outcome<Vec<Filter>> {
        let mut filters = Vec::new();
        let mut more = started || self.take("|");
        while more {
            filters.push(self.filter()?);
            more = self.take("|");
        }
        Ok(filters)
    }
}
