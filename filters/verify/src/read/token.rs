//! Text to tokens: LaTeX, Unicode and plain spelling become one alphabet. Styling and spacing disappear here.

use super::number::Numeral;
use super::scan;
use crate::expr::Function;

/// Longer answers are not read.
pub(crate) const MAX_CHARS: usize = 4000;

/// One token, and whether white space stood before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// What it is.
    pub kind: Kind,
    /// White space before it.
    pub space: bool,
    /// Inside of `\\text{…}`.
    pub textual: bool,
    /// What was written on or before it and is no token: an angle `∠`, a triangle `△`, an arrow `→`, a hat `^`, a bar `—`,
    /// the cross `×` of a product, a unit vector `î`.
    pub mark: Option<char>,
}

impl Token {
    /// One that nothing marks.
    pub(super) fn new(kind: Kind) -> Token {
        Token { kind, space: false, textual: false, mark: None }
    }
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is named for what it stands for")]
pub(crate) enum Kind {
    Number(Numeral),
    /// A variable: one letter, or the name of a Greek one.
    Letter(String),
    /// A run of letters that is no product of variables.
    Word(String),
    Function(Name),
    /// `+ - * / ^ _ ! ' ~`
    Op(char),
    PlusMinus(bool),
    Relation(Relation),
    /// `, ; :`
    Mark(char),
    /// `( [ ` and `{` of a set, `g` for a group, `<` angle, `f` floor, `c` ceiling.
    Open(char),
    Close(char),
    Bar,
    Frac,
    Over,
    Choose,
    Sqrt,
    Binom,
    Overline,
    Begin(String),
    End(String),
    Row,
    Ampersand,
    Percent,
    Degree,
    Currency(&'static str),
    Sum,
    Prod,
    Int,
    Pi,
    Infinity,
    Mod,
    Cup,
    Cap,
    SetMinus,
    Empty,
    /// ℝ, ℤ, ℕ, ℚ, ℂ by its letter.
    Field(char),
    And,
    Or,
    /// ∧ and ∨: between statements they join, between letters they calculate.
    Wedge,
    Vee,
    Dots,
    /// A new line, or `\\` outside of a matrix.
    Break,
    /// `lim`
    Limit,
    /// A command that nothing here knows.
    Unknown(String),
}

/// A function's name as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A function as it is.
    Plain(Function),
    /// 1 / that function: sec, csc, cot.
    Inverse(Function),
    /// That function of 1 / the argument: arcsec, arccsc.
    Inverted(Function),
    /// arccot, whose values below zero two conventions place differently.
    Cotangent,
    /// `log`, with or without a base.
    Log,
    /// `lg`: base 10.
    Lg,
    /// `exp`.
    Exp,
}

/// Between two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the relations' own names")]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approx,
    Congruent,
    In,
    NotIn,
    Implies,
}

/// How commas between digits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commas {
    /// `1,234` is one thousand two hundred and thirty-four.
    Group,
    /// `1,234` is 1 and 234.
    Separate,
    /// `1,22` is 1.22.
    Decimal,
}

/// How letters are read where that is not certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    /// A bare `log` is the natural one.
    pub natural: bool,
    /// Capital letters side by side are one name, as those of a segment or an angle are; else a product.
    pub labels: bool,
    /// A letter right behind a number is a unit where it can be one; else a variable.
    pub glued: bool,
}

/// Tokens of `text`, or why there are none.
pub(crate) fn tokens(text: &str, commas: Commas) -> Result<Vec<Token>, &'static str> {
    scanned(text, commas).map(|(tokens, _)| tokens)
}

/// Tokens of `text`, and whether something in it was passed over or guessed.
pub(crate) fn scanned(text: &str, commas: Commas) -> Result<(Vec<Token>, bool), &'static str> {
    let chars: Vec<char> = text.chars().take(MAX_CHARS + 1).collect();
    if chars.len() > MAX_CHARS {
        return Err("too-long");
    }
    let (mut tokens, doubt) = scan::scan(chars, commas)?;
    balance(&mut tokens);
    Ok((tokens, doubt))
}

/// `]0, 1[` gets brackets that open and close, what never closes is closed, and the `x` of `2.5 x 10^4` multiplies.
fn balance(tokens: &mut Vec<Token>) {
    raised_degrees(tokens);
    let mut open: Vec<char> = Vec::new();
    for at in 0..tokens.len() {
        let next = tokens.get(at + 1).map(|token| token.kind.clone());
        match tokens[at].kind.clone() {
            Kind::Open('[') if open.last() == Some(&']') || ends_interval(&open, next.as_ref()) => {
                open.pop();
                tokens[at].kind = Kind::Close('[');
            }
            Kind::Close(']') if open.is_empty() => {
                open.push(']');
                tokens[at].kind = Kind::Open(']');
            }
            Kind::Open(bracket) => open.push(bracket),
            Kind::Close(_) => {
                open.pop();
            }
            Kind::Letter(name) if name == "x" && at > 0 && tokens[at].space => {
                let ten = matches!(&next, Some(Kind::Number(numeral)) if numeral.digits.as_deref() == Some("10"));
                let power = tokens.get(at + 2).is_some_and(|token| token.kind == Kind::Op('^'));
                if ten && power && matches!(tokens[at - 1].kind, Kind::Number(_)) {
                    tokens[at].kind = Kind::Op('*');
                }
            }
            _ => {}
        }
    }
    while let Some(bracket) = open.pop() {
        let close = match bracket {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            other => other,
        };
        tokens.push(Token::new(Kind::Close(close)));
    }
}

/// `^\circ` and `^{\circ}` are degrees.
fn raised_degrees(tokens: &mut Vec<Token>) {
    if !tokens.iter().any(|token| token.kind == Kind::Degree) {
        return;
    }
    let mut idle = vec![false; tokens.len()];
    for at in 0..tokens.len() {
        let is = |place: usize, kind: &Kind| tokens.get(place).is_some_and(|token| token.kind == *kind);
        if !is(at, &Kind::Op('^')) {
            continue;
        }
        let group = is(at + 1, &Kind::Open('g')) && is(at + 2, &Kind::Degree) && is(at + 3, &Kind::Close('g'));
        let alone = is(at + 1, &Kind::Degree);
        idle[at] = group || alone;
        if group {
            (idle[at + 1], idle[at + 3]) = (true, true);
        }
    }
    let mut idle = idle.into_iter();
    tokens.retain(|_| idle.next() != Some(true));
}

/// Whether a `[` ends the interval that the last bracket began: `(0, 1[`.
fn ends_interval(open: &[char], next: Option<&Kind>) -> bool {
    matches!(open.last(), Some('(' | '[')) && matches!(next, None | Some(Kind::Cup | Kind::Cap))
}
