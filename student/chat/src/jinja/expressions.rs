//! Tokens → expressions, by Jinja2's grammar: conditions, `or`, `and`, `not`, comparisons, sums, concatenations, products,
//! powers, signs; then what follows a value: attributes, items, calls, filters and tests.

use super::{
    ast::{Arguments, Comparison, Expression, Filter, Operator, Postfix},
    lexer::Token,
    parser::Parser,
    value::{Outcome, Value, fault},
};

impl Parser {
    pub(super) fn expression(&mut self) -> Outcome<Expression> {
        self.deeper(|parser| {
            let mut value = parser.either()?;
            while parser.take_name("if") {
                let condition = parser.either()?;
                let otherwise = if parser.take_name("else") { Some(parser.expression()?) } else { None };
                value = Expression::Conditional(Box::new((value, condition, otherwise)));
            }
            Ok(value)
        })
    }

    pub(super) fn either(&mut self) -> Outcome<Expression> {
        let mut items = vec![self.both()?];
        while self.take_name("or") {
            items.push(self.both()?);
        }
        Ok(one_or(items, Expression::Or))
    }

    fn both(&mut self) -> Outcome<Expression> {
        let mut items = vec![self.negation()?];
        while self.take_name("and") {
            items.push(self.negation()?);
        }
        Ok(one_or(items, Expression::And))
    }

    fn negation(&mut self) -> Outcome<Expression> {
        match self.take_name("not") {
            true => Ok(Expression::Not(Box::new(self.deeper(Parser::negation)?))),
            false => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Outcome<Expression> {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let comparison = match self.tokens.peek() {
                Some(Token::Operator("==")) => Comparison::Equal,
                Some(Token::Operator("!=")) => Comparison::Unequal,
                Some(Token::Operator("<")) => Comparison::Less,
                Some(Token::Operator("<=")) => Comparison::LessOrEqual,
                Some(Token::Operator(">")) => Comparison::Greater,
                Some(Token::Operator(">=")) => Comparison::GreaterOrEqual,
                Some(Token::Name(name)) if &**name == "in" => Comparison::In,
                Some(Token::Name(name)) if &**name == "not" => {
                    let mut ahead = self.tokens.clone();
                    ahead.next();
                    if !matches!(ahead.peek(), Some(Token::Name(name)) if &**name == "in") {
                        break;
                    }
                    self.tokens.next();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.tokens.next();
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expression::Compare(Box::new(first), others) })
    }

    fn chain(
        &mut self,
        operators: &[(&str, Operator)],
        operand: impl Fn(&mut Parser) -> Outcome<Expression>,
    ) -> Outcome<Expression> {
        let first = operand(self)?;
        let mut others = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            self.tokens.next();
            others.push((*operator, operand(self)?));
        }
        Ok(if others.is_empty() { first } else { Expression::Chain(Box::new(first), others) })
    }

    fn sum(&mut self) -> Outcome<Expression> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Subtract)], |parser| {
            let mut items = vec![parser.product()?];
            while parser.take("~") {
                items.push(parser.product()?);
            }
            Ok(one_or(items, Expression::Concatenation))
        })
    }

    fn product(&mut self) -> Outcome<Expression> {
        let operators = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("//", Operator::FloorDivide),
            ("%", Operator::Modulo),
        ];
        self.chain(&operators, |parser| parser.chain(&[("**", Operator::Power)], |parser| parser.unary(true)))
    }

    fn unary(&mut self, with_filters: bool) -> Outcome<Expression> {
        let value = if self.take("-") {
            Expression::Negative(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.take("+") {
            Expression::Positive(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let mut steps = Vec::new();
        self.postfix(&mut steps)?;
        if with_filters {
            self.filters_and_tests(&mut steps)?;
        }
        Ok(if steps.is_empty() { value } else { Expression::Postfix(Box::new(value), steps) })
    }

    fn filters_and_tests(&mut self, steps: &mut Vec<Postfix>) -> Outcome<()> {
        loop {
            if self.take("|") {
                steps.push(Postfix::Filter(self.filter()?));
            } else if self.take_name("is") {
                let negated = self.take_name("not");
                let filter = self.test()?;
                steps.push(Postfix::Test { filter, negated });
            } else if self.is("(") {
                steps.push(Postfix::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    fn postfix(&mut self, steps: &mut Vec<Postfix>) -> Outcome<()> {
        loop {
            if self.take(".") {
                steps.push(match self.tokens.next() {
                    Some(Token::Name(name)) => Postfix::Attribute(name),
                    Some(Token::Int(index)) => Postfix::Item(Expression::Constant(Value::Int(index))),
                    _ => return fault("expected a name or a number after a point"),
                });
            } else if self.take("[") {
                let mut items = Vec::new();
                while !self.take("]") {
                    if !items.is_empty() {
                        self.expect(",")?;
                    }
                    items.push(self.subscript()?);
                }
                steps.push(match items.pop() {
                    Some(item) if items.is_empty() => item,
                    None => return fault("expected an expression in a subscript"),
                    last => {
                        let items = items.into_iter().chain(last).map(|item| match item {
                            Postfix::Item(item) => Ok(item),
                            _ => fault("a slice stands alone in its brackets"),
                        });
                        Postfix::Item(Expression::Tuple(items.collect::<Outcome<_>>()?))
                    }
                });
            } else if self.is("(") {
                steps.push(Postfix::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    fn subscript(&mut self) -> Outcome<Postfix> {
        let mut parts = [None, None, None];
        let mut at = 0;
        loop {
            if self.take(":") {
                at += 1;
                if at > 2 {
                    return fault("expected at most two colons in a slice");
                }
            } else if self.is("]") || self.is(",") || self.tokens.peek().is_none() {
                break;
            } else if parts[at].is_none() {
                parts[at] = Some(self.expression()?);
            } else {
                return self.unexpected("\"]\"");
            }
        }
        match (at, parts) {
            (0, [Some(item), _, _]) => Ok(Postfix::Item(item)),
            (0, _) => self.unexpected("an expression"),
            (_, parts) => Ok(Postfix::Slice(Box::new(parts))),
        }
    }

    fn arguments(&mut self) -> Outcome<Arguments> {
        self.expect("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.take(")") {
            if !first {
                self.expect(",")?;
                if self.take(")") {
                    break;
                }
            }
            first = false;
            if self.take("**") {
                arguments.spread[1] = Some(Box::new(self.expression()?));
            } else if self.take("*") {
                arguments.spread[0] = Some(Box::new(self.expression()?));
            } else {
                let mut ahead = self.tokens.clone();
                let named = matches!(ahead.next(), Some(Token::Name(_))) && ahead.next() == Some(Token::Operator("="));
                if named {
                    let name = self.name()?;
                    self.expect("=")?;
                    arguments.named.push((name, self.expression()?));
                } else if arguments.named.is_empty() && arguments.spread[1].is_none() {
                    arguments.positional.push(self.expression()?);
                } else {
                    return self.unexpected("an argument with a name");
                }
            }
        }
        Ok(arguments)
    }

    pub(super) fn filter(&mut self) -> Outcome<Filter> {
        let mut name = self.name()?;
        while self.take(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        let arguments = if self.is("(") { self.arguments()? } else { Arguments::default() };
        Ok(Filter { name, arguments })
    }

    /// The name of a test and its arguments, in parentheses or one without.
    fn test(&mut self) -> Outcome<Filter> {
        let mut name = self.name()?;
        while self.take(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        if self.is("(") {
            return Ok(Filter { name, arguments: self.arguments()? });
        }
        let mut arguments = Arguments::default();
        let takes = match self.tokens.peek() {
            Some(Token::Name(word)) => !matches!(&**word, "else" | "or" | "and"),
            Some(Token::Operator(operator)) => matches!(*operator, "[" | "{"),
            Some(_) => true,
            None => false,
        };
        if takes {
            if self.is_name("is") {
                return fault("expected tests that are not chained with `is`");
            }
            let value = self.deeper(Parser::primary)?;
            let mut steps = Vec::new();
            self.postfix(&mut steps)?;
            arguments.positional.push(match steps.is_empty() {
                true => value,
                false => Expression::Postfix(Box::new(value), steps),
            });
        }
        Ok(Filter { name, arguments })
    }

    fn primary(&mut self) -> Outcome<Expression> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(match &*name {
                "true" | "True" => Expression::Constant(Value::Bool(true)),
                "false" | "False" => Expression::Constant(Value::Bool(false)),
                "none" | "None" => Expression::Constant(Value::None),
                word => {
                    self.speaks_of[0] |= word == "varargs";
                    self.speaks_of[1] |= word == "kwargs";
                    Expression::Name(name)
                }
            }),
            Some(Token::Text(text)) => {
                // Texts beside each other are one.
                let mut whole = text;
                while let Some(Token::Text(more)) = self.tokens.next_if(|token| matches!(token, Token::Text(_))) {
                    whole = format!("{whole}{more}").into();
                }
                Ok(Expression::Constant(Value::Str(whole)))
            }
            Some(Token::Int(value)) => Ok(Expression::Constant(Value::Int(value))),
            Some(Token::Float(value)) => Ok(Expression::Constant(Value::Float(value))),
            Some(Token::Operator("(")) => {
                let value = self.deeper(|parser| parser.tuple(true, true, &[]))?;
                self.expect(")")?;
                Ok(value)
            }
            Some(Token::Operator("[")) => {
                let mut items = Vec::new();
                while !self.take("]") {
                    if !items.is_empty() {
                        self.expect(",")?;
                        if self.take("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Ok(Expression::List(items))
            }
            Some(Token::Operator("{")) => {
                let mut entries = Vec::new();
                while !self.take("}") {
                    if !entries.is_empty() {
                        self.expect(",")?;
                        if self.take("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                }
                Ok(Expression::Dict(entries))
            }
            found => {
                let found = found.map_or("the end of the tag".to_owned(), |found| format!("{found:?}"));
                fault(format!("expected an expression, found {found}"))
            }
        }
    }
}

fn one_or(mut items: Vec<Expression>, several: fn(Vec<Expression>) -> Expression) -> Expression {
    match items.pop() {
        Some(item) if items.is_empty() => item,
        last => {
            items.extend(last);
            several(items)
        }
    }
}
