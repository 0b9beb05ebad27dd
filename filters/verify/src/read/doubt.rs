//! Which readings are beyond doubt. Only what is listed here is; a word, an unknown command, capital letters side by side,
//! a mark that was passed over or a convention are not, and a verdict that rests on one is probable at most.

use super::token::{Commas, Kind, Mode, Name, Relation, Token};
use super::unit;

/// Whether anything in `tokens` can be understood in another way.
pub(super) fn doubtful(tokens: &[Token]) -> bool {
    // 5-7 can be a range.
    let range = matches!(
        tokens,
        [
            Token { kind: Kind::Number(_), .. },
            Token { kind: Kind::Op('-'), space: false, .. },
            Token { kind: Kind::Number(_), space: false, .. }
        ]
    );
    range
        || tokens.iter().enumerate().any(|(at, token)| {
            let before = at.checked_sub(1).map(|at| &tokens[at]);
            let next = tokens.get(at + 1);
            let certain = match &token.kind {
                Kind::Number(_) => {
                    // `5^2` is no numeral to another base, `2(3)` a product.
                    !matches!(next.map(|token| &token.kind), Some(Kind::Op('_')))
                }
                Kind::Letter(name) => {
                    // A capital can be a matrix, a set or an event, and `x1` an index.
                    let plain = name.chars().all(char::is_lowercase) && name != "j";
                    let counted = next.is_some_and(|next| !next.space && matches!(next.kind, Kind::Number(_)));
                    let combined = matches!(name.as_str(), "C" | "P" | "A")
                        && matches!(next.map(|token| &token.kind), Some(Kind::Op('_')));
                    // `5 V`, `5\Omega`, `37° C`
                    let unit = before.is_some_and(|token| matches!(token.kind, Kind::Number(_) | Kind::Degree))
                        && (token.space && unit::is_letter(name) || unit::is_symbol(name));
                    let vector = matches!(name.as_str(), "j" | "k")
                        && tokens.iter().any(|token| token.kind == Kind::Letter("i".to_owned()));
                    let behind = before.is_some_and(|token| matches!(token.kind, Kind::Number(_)));
                    let cross = name == "x" && behind && next.is_some_and(|next| matches!(next.kind, Kind::Number(_)));
                    let suffix = name == "k" && behind;
                    let run = behind && token.space && unknown_unit(&tokens[at..]).is_some();
                    plain && !cross && !suffix && !run && !counted && !combined && !unit && !vector
                }
                Kind::Function(Name::Log) => matches!(next.map(|token| &token.kind), Some(Kind::Op('_'))),
                Kind::Function(name) => !matches!(name, Name::Cotangent | Name::Lg),
                // `1/2x` is half of x for some, and one over 2x for others.
                Kind::Op('/') => !divides_on(&tokens[at + 1..]),
                Kind::Op('*') => token.mark.is_none() || is_product(before, next),
                Kind::Op(c) => !matches!(c, '\'' | '~'),
                Kind::Relation(relation) => matches!(
                    relation,
                    Relation::Equal
                        | Relation::Unequal
                        | Relation::Less
                        | Relation::LessEqual
                        | Relation::Greater
                        | Relation::GreaterEqual
                ),
                Kind::Mark(c) => matches!(c, ',' | ';'),
                Kind::Open(c) | Kind::Close(c) => !matches!(c, '<' | '>'),
                Kind::Begin(name) | Kind::End(name) => name.ends_with("matrix"),
                Kind::Degree => !matches!(next.map(|token| &token.kind), Some(Kind::Letter(_) | Kind::Word(_))),
                Kind::Bar
                | Kind::Frac
                | Kind::Over
                | Kind::Choose
                | Kind::Sqrt
                | Kind::Binom
                | Kind::Row
                | Kind::Ampersand
                | Kind::Percent
                | Kind::Sum
                | Kind::Prod
                | Kind::Int
                | Kind::Pi
                | Kind::Infinity
                | Kind::Mod
                | Kind::Cup
                | Kind::Cap
                | Kind::SetMinus
                | Kind::Empty
                | Kind::Field(_) => true,
                _ => false,
            };
            let marked = token.mark.is_some_and(|mark| mark != '×');
            let spoken = token.textual && matches!(token.kind, Kind::Letter(_) | Kind::Op(_));
            !certain || marked || spoken
        })
}

/// Whether a factor stands right behind the number that is divided by.
fn divides_on(divisor: &[Token]) -> bool {
    matches!(divisor, [Token { kind: Kind::Number(_), .. }, next, ..]
        if !next.space && matches!(next.kind, Kind::Letter(_) | Kind::Pi | Kind::Sqrt | Kind::Open('(') | Kind::Function(_)))
}

/// The other way to read `1/2x` and `x1`: everything behind the bar divides, digits behind a letter are its index.
pub(super) fn other(tokens: &[Token]) -> Option<Vec<Token>> {
    let digits = |token: Option<&Token>| token.is_some_and(|token| matches!(token.kind, Kind::Number(_)));
    let tail = tokens.iter().rposition(|token| !matches!(token.kind, Kind::Letter(_)));
    let unit = tail.is_some_and(|at| at + 1 < tokens.len() && digits(tokens.get(at)));
    let possible = unit
        || tokens.iter().enumerate().any(|(at, token)| match &token.kind {
            Kind::Op('/') => divides_on(&tokens[at + 1..]),
            Kind::Letter(_) => digits(tokens.get(at + 1)),
            _ => false,
        });
    if !possible {
        return None;
    }
    let mut all = Vec::with_capacity(tokens.len() + 4);
    let (mut at, mut changed) = (0, false);
    let number =
        |at: Option<usize>| at.and_then(|at| tokens.get(at)).is_some_and(|token| matches!(token.kind, Kind::Number(_)));
    while at < tokens.len() {
        let token = &tokens[at];
        let before = at.checked_sub(1);
        // 2 x 3
        if token.kind == Kind::Letter("x".to_owned()) && number(before) && number(Some(at + 1)) {
            all.push(Token::new(Kind::Op('*')));
            (at, changed) = (at + 1, true);
            continue;
        }
        // `5 ppm`: a unit that is not known; `5k`: thousands.
        if number(before)
            && let Some(word) = unknown_unit(&tokens[at..])
        {
            all.push(Token { space: true, ..Token::new(Kind::Word(word)) });
            changed = true;
            break;
        }
        at += 1;
        all.push(token.clone());
        if token.kind == Kind::Op('/') && divides_on(&tokens[at..]) {
            let signs = |token: &Token| {
                matches!(
                    token.kind,
                    Kind::Op('+' | '-' | '*' | '/')
                        | Kind::Relation(_)
                        | Kind::Mark(_)
                        | Kind::Close(_)
                        | Kind::Word(_)
                        | Kind::And
                        | Kind::Or
                        | Kind::Degree
                        | Kind::Percent
                ) || token.space
            };
            let mut end = at + 1;
            while tokens.get(end).is_some_and(|token| !signs(token)) {
                end += match tokens[end].kind {
                    Kind::Open(_) => super::matrix::inside(&tokens[end..]).map_or(1, |inner| inner.len() + 2),
                    _ => 1,
                };
            }
            let end = end.min(tokens.len());
            all.push(Token::new(Kind::Open('g')));
            all.extend(tokens[at..end].iter().cloned());
            all.push(Token::new(Kind::Close('g')));
            (at, changed) = (end, true);
        } else if let (Kind::Letter(name), Some(next)) = (&token.kind, tokens.get(at))
            && name.chars().count() == 1
            && !next.space
            && matches!(&next.kind, Kind::Number(numeral) if numeral.digits.is_some())
            && !all.iter().rev().nth(1).is_some_and(|before| matches!(before.kind, Kind::Number(_)))
        {
            all.push(Token::new(Kind::Op('_')));
            changed = true;
        }
    }
    changed.then_some(all)
}

/// Letters at the end, behind a number and a space, that are more likely a unit than a product; `k` for thousands.
fn unknown_unit(tokens: &[Token]) -> Option<String> {
    let mut word = String::new();
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Letter(letter) = &token.kind else { return None };
        if letter.chars().count() != 1 || at > 0 && token.space {
            return None;
        }
        word.push_str(letter);
    }
    if word == "k" || word == "K" {
        return Some("thousand".to_owned());
    }
    let long = word.len() > 2 || word.len() == 2 && word.chars().any(char::is_uppercase);
    (tokens.first().is_some_and(|token| token.space) && long).then_some(word)
}

/// A cross between what has no arrow or hat only multiplies.
fn is_product(before: Option<&Token>, next: Option<&Token>) -> bool {
    let plain = |token: Option<&Token>| token.is_some_and(|token| token.mark.is_none_or(|mark| mark == '×'));
    plain(before) && plain(next)
}

fn is_capital(token: &Token) -> bool {
    matches!(&token.kind, Kind::Letter(name) if name.len() == 1 && name.chars().all(|c| c.is_ascii_uppercase()))
}

/// Whether capital letters stand side by side, or arrows and hats over letters: names for some, products for others.
pub(super) fn labelled(tokens: &[Token]) -> bool {
    tokens.windows(2).any(|pair| is_capital(&pair[0]) && is_capital(&pair[1]))
        || tokens.iter().any(|token| matches!(token.mark, Some('→' | '∠' | '△' | '↔' | '^')))
        || tokens.windows(2).any(|pair| {
            let letter = |token: &Token| token.textual && matches!(&token.kind, Kind::Letter(name) if name.len() == 1);
            letter(&pair[0]) && letter(&pair[1]) && !pair[1].space
        })
}

/// Whether letters that can be a unit stand right behind the last number.
pub(super) fn glued(tokens: &[Token]) -> bool {
    let Some(last) = tokens.iter().rposition(|token| matches!(token.kind, Kind::Number(_))) else { return false };
    // The exponent of `m^2` is no figure.
    let exponent = last > 0 && matches!(tokens[last - 1].kind, Kind::Op('^' | '-') | Kind::Open('g'));
    let end = if exponent {
        tokens.iter().rposition(|token| matches!(token.kind, Kind::Letter(_))).unwrap_or(0)
    } else {
        last + 1
    };
    match tokens.get(end).map(|token| &token.kind) {
        Some(Kind::Letter(name)) => {
            end > 0
                && !tokens[end].space
                && !tokens[end].textual
                && unit::is_symbol(name)
                && matches!(tokens[end - 1].kind, Kind::Number(_) | Kind::Close('g'))
        }
        _ => false,
    }
}

/// Whether `commas` is a way to read these commas: no list has a member `001`, and brackets around one grouped number, as
/// in `(1,234)`, hold two.
pub(super) fn fits(text: &str, tokens: &[Token], commas: Commas) -> bool {
    let bytes = text.as_bytes();
    match commas {
        Commas::Separate => !bytes
            .windows(4)
            .any(|part| part[0] == b',' && part[1] == b'0' && part[2].is_ascii_digit() && part[3].is_ascii_digit()),
        Commas::Group => {
            let grouped = |token: &Token| matches!(&token.kind, Kind::Number(numeral) if numeral.digits.is_none() && numeral.decimal.is_none() && numeral.value.is_integer());
            !text.contains(',')
                || text.contains("{,}")
                || !tokens.windows(3).any(|three| {
                    matches!((&three[0].kind, &three[2].kind), (Kind::Open('(' | '{' | '['), Kind::Close(_)))
                        && grouped(&three[1])
                })
        }
        Commas::Decimal => true,
    }
}

impl Mode {
    /// The other way to read capital letters.
    pub(crate) fn with_labels(self) -> Mode {
        Mode { labels: true, ..self }
    }
}
