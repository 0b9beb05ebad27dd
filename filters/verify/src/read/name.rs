//! What stands before an equals sign, where it is a name: a variable, `f(2)`, `P(A)`, a segment, an angle, an area, a
//! function of a letter, words. Names come out in one spelling, so that they can be compared: `AB`, `BA` and
//! `\overline{AB}` are one segment, `∠ABC` and `∠CBA` one angle, `∠ACB` another.

use super::list::{split, trimmed};
use super::token::{Kind, Token};
use super::words;

/// Words at the beginning that say nothing about what is named.
const FILLERS: &[&str] = &[
    "so",
    "then",
    "thus",
    "hence",
    "therefore",
    "let",
    "we",
    "get",
    "have",
    "now",
    "and",
    "that",
    "gives",
    "where",
    "since",
    "with",
    "find",
    "obtain",
    "answer",
    "solution",
    "finally",
    "here",
    "yields",
    "设",
    "则",
    "所以",
    "解得",
    "因此",
    "得",
    "故",
    "即",
];
/// Words after which a letter belongs to the name.
const LEADING: &[&str] = &[
    "of",
    "angle",
    "side",
    "segment",
    "triangle",
    "length",
    "variable",
    "value",
    "point",
    "term",
    "height",
    "width",
    "arc",
    "number",
    "coefficient",
    "constant",
    "area",
    "radius",
    "probability",
    "line",
    "edge",
];
/// The name that `tokens` are, or nothing.
pub(super) fn name(tokens: &[Token]) -> Option<String> {
    let mut tokens = trimmed(tokens);
    while let [Token { kind: Kind::Word(word), .. }, rest @ ..] = tokens
        && !rest.is_empty()
        && FILLERS.contains(&word.to_lowercase().as_str())
    {
        tokens = rest;
        while let [Token { kind: Kind::Mark(':' | ','), .. }, rest @ ..] = tokens {
            tokens = rest;
        }
    }
    let (first, rest) = tokens.split_first()?;
    match &first.kind {
        Kind::Word(_) => label(tokens).or_else(|| in_words(tokens)).or_else(|| called(tokens)),
        Kind::Letter(letter) if rest.is_empty() => {
            Some(if matches!(first.mark, Some('∠')) { format!("∠{letter}") } else { letter.clone() })
        }
        // m∠A
        Kind::Letter(letter) if letter == "m" && rest.first().is_some_and(|token| token.mark == Some('∠')) => {
            name(rest)
        }
        Kind::Letter(_) => label(tokens)
            .or_else(|| hyphenated(tokens))
            .or_else(|| indexed(tokens))
            .or_else(|| called(tokens))
            .or_else(|| quotient(tokens))
            .or_else(|| squared(tokens)),
        Kind::Function(_) => applied(tokens),
        Kind::Overline => label(tokens).or_else(|| match trimmed(rest) {
            [Token { kind: Kind::Letter(letter), .. }] => Some(format!("¯{letter}")),
            _ => None,
        }),
        // E[X]
        Kind::Field(letter) => called(rest).map(|rest| format!("{letter}{rest}")).or_else(|| called(tokens)),
        Kind::Open('g') if first.mark.is_some() => label(tokens).or_else(|| match tokens {
            // \hat{t}, as \hat t
            [Token { mark: Some('^'), .. }, Token { kind: Kind::Letter(letter), .. }, _] => Some(letter.clone()),
            _ => None,
        }),
        Kind::Open('(') => together(tokens),
        Kind::Bar => within(tokens, |kind| *kind == Kind::Bar).map(|(inner, text)| match label(inner) {
            Some(label) => label,
            None => format!("|{text}|"),
        }),
        Kind::Open('[') => {
            let (inner, _) = within(tokens, |kind| *kind == Kind::Close(']'))?;
            let run = capitals(inner).filter(|run| run.chars().count() > 1)?;
            Some(format!("[{}]", ordered(&run)))
        }
        Kind::Frac => ratio(tokens).or_else(|| derivative(tokens)),
        Kind::Unknown(name) if rest.is_empty() => Some(name.clone()),
        _ => None,
    }
}

/// One spelling for a token, in names.
pub(super) fn spelled(kind: &Kind) -> String {
    match kind {
        Kind::Letter(name) | Kind::Word(name) | Kind::Unknown(name) => name.clone(),
        Kind::Number(numeral) => numeral.value.to_string(),
        Kind::Open('g') | Kind::Close('g') => String::new(),
        Kind::Op(c) | Kind::Mark(c) | Kind::Open(c) | Kind::Close(c) => c.to_string(),
        Kind::Bar => "|".to_owned(),
        Kind::Frac => "frac".to_owned(),
        Kind::Cup => "∪".to_owned(),
        Kind::Cap => "∩".to_owned(),
        Kind::Pi => "π".to_owned(),
        Kind::Degree => "∘".to_owned(),
        Kind::Overline => "¯".to_owned(),
        Kind::Function(name) => format!("{name:?} "),
        Kind::Field(letter) => letter.to_string(),
        other => format!("{other:?}"),
    }
}

fn text(tokens: &[Token]) -> String {
    tokens.iter().map(|token| spelled(&token.kind)).collect()
}

/// A run of capital letters and nothing else; groups and marks do not count.
fn capitals(tokens: &[Token]) -> Option<String> {
    let mut run = String::new();
    for token in tokens {
        match &token.kind {
            Kind::Letter(letter) if letter.len() == 1 && letter.chars().all(|c| c.is_ascii_uppercase()) => {
                run.push_str(letter);
            }
            // ABCD
            Kind::Word(word) if word.len() <= 6 && word.chars().all(|c| c.is_ascii_uppercase()) => run.push_str(word),
            Kind::Op('\'') if !run.is_empty() => run.push('\''),
            Kind::Open('g') | Kind::Close('g') | Kind::Overline => {}
            _ => return None,
        }
    }
    (!run.is_empty()).then_some(run)
}

fn ordered(run: &str) -> String {
    let mut letters: Vec<char> = run.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// The key of a run of capitals under a mark: segments and angles read from either end, triangles from anywhere.
pub(super) fn label_key(run: &str, mark: Option<char>) -> String {
    let back: String = run.chars().rev().collect();
    let either = || if back.as_str() < run { back.clone() } else { run.to_owned() };
    match mark {
        Some('∠') => format!("∠{}", either()),
        Some('^') if run.chars().count() == 3 => format!("∠{}", either()),
        Some('△') => format!("△{}", ordered(run)),
        Some('→') => format!("→{run}"),
        Some('—') => either(),
        _ => run.to_owned(),
    }
}

/// AB, ∠ABC, △ABC.
fn label(tokens: &[Token]) -> Option<String> {
    let run = capitals(tokens)?;
    let mark = tokens.first()?.mark;
    let short = run.chars().count() == 2 && mark.is_none();
    (run.chars().count() > 1).then(|| label_key(&run, if short { Some('—') } else { mark }))
}

/// P-value, x-intercept, z-score.
fn hyphenated(tokens: &[Token]) -> Option<String> {
    match tokens {
        [
            Token { kind: Kind::Letter(letter), .. },
            Token { kind: Kind::Op('-'), space: false, .. },
            Token { kind: Kind::Word(word), space: false, .. },
        ] => Some(format!("{} {}", letter.to_lowercase(), word.to_lowercase())),
        _ => None,
    }
}

/// `x_1`, `a_{n+1}`, `S_{ABC}`, `f'`, `x_1'`.
fn indexed(tokens: &[Token]) -> Option<String> {
    let [Token { kind: Kind::Letter(letter), .. }, rest @ ..] = tokens else { return None };
    let mut rest = rest;
    let mut index = String::new();
    if let [Token { kind: Kind::Op('_'), .. }, tail @ ..] = rest {
        let length = match tail.first()?.kind {
            Kind::Open('g') => super::matrix::inside(tail)?.len() + 2,
            _ => 1,
        };
        let inner = tail.get(..length)?;
        index = format!(
            "_{}",
            match capitals(inner) {
                Some(run) if run.chars().count() > 1 => ordered(&run),
                _ => text(inner),
            }
        );
        rest = &tail[length..];
    }
    let primes = rest.iter().take_while(|token| token.kind == Kind::Op('\'')).count();
    (primes == rest.len() && !(index.is_empty() && primes == 0))
        .then(|| format!("{letter}{index}{}", "'".repeat(primes)))
}

/// f(2), f'(0), f^{-1}(3), P(A | B), Var(X).
fn called(tokens: &[Token]) -> Option<String> {
    let open = tokens.iter().position(|token| matches!(token.kind, Kind::Open('(' | '[')))?;
    let inner = super::matrix::inside(&tokens[open..])?;
    let after = tokens.get(open + inner.len() + 2..)?;
    let head = &tokens[..open];
    let expectation = |name: &str| matches!(name, "E" | "V" | "D" | "P") || name.chars().count() > 1;
    if tokens[open].kind == Kind::Open('[')
        && !matches!(head, [Token { kind: Kind::Letter(name) | Kind::Word(name), .. }] if expectation(name))
        && !matches!(head, [Token { kind: Kind::Field(_), .. }])
    {
        return None;
    }
    let plain = match head {
        [Token { kind: Kind::Field(_), .. }] => true,
        // tr(A)
        [_, _, ..] if head.iter().all(|token| token.textual && matches!(token.kind, Kind::Letter(_))) => true,
        // `y(x + 1)` is a product.
        [Token { kind: Kind::Letter(letter), .. }]
            if letter.chars().all(char::is_lowercase)
                && !matches!(letter.as_str(), "f" | "g" | "h" | "p" | "u" | "v") =>
        {
            !inner.iter().any(|token| matches!(token.kind, Kind::Op('+' | '-')))
        }
        [Token { kind: Kind::Letter(_) | Kind::Word(_), .. }] => true,
        [Token { kind: Kind::Letter(_), .. }, Token { kind: Kind::Op('\'' | '^' | '_'), .. }, ..] => {
            head.iter().all(|token| !matches!(token.kind, Kind::Word(_) | Kind::Op('+' | '*' | '/')))
        }
        _ => false,
    };
    // `f^{(4)}(0)`
    if plain && !after.is_empty() && head.last().is_some_and(|token| token.kind == Kind::Open('g')) {
        return after.last().is_some_and(|token| token.kind == Kind::Close(')')).then(|| text(tokens));
    }
    (plain && after.is_empty() && !inner.is_empty()).then(|| text(tokens))
}

/// σ², χ²: quantities that are named as squares.
fn squared(tokens: &[Token]) -> Option<String> {
    match tokens {
        [Token { kind: Kind::Letter(letter), .. }, Token { kind: Kind::Op('^'), .. }, exponent @ ..]
            if matches!(letter.as_str(), "sigma" | "chi") =>
        {
            matches!(trimmed(exponent), [Token { kind: Kind::Number(numeral), .. }] if numeral.digits.as_deref() == Some("2"))
                .then(|| format!("{letter}^2"))
        }
        _ => None,
    }
}

/// sin A, tan θ: a function of letters alone.
fn applied(tokens: &[Token]) -> Option<String> {
    let letters = tokens.iter().any(|token| matches!(token.kind, Kind::Letter(_)));
    let plain = tokens.iter().enumerate().all(|(at, token)| match token.kind {
        Kind::Op('+' | '-') => {
            // Within brackets, or an exponent.
            let depth = tokens[..at].iter().fold(0_i32, |depth, token| match token.kind {
                Kind::Open(_) => depth + 1,
                Kind::Close(_) => depth - 1,
                _ => depth,
            });
            depth > 0
        }
        Kind::Word(_) | Kind::Relation(_) | Kind::Unknown(_) | Kind::And | Kind::Or => false,
        _ => true,
    });
    let functions = tokens.iter().filter(|token| matches!(token.kind, Kind::Function(_))).count();
    (letters && plain && functions == 1).then(|| text(tokens))
}

/// (x, y)
fn together(tokens: &[Token]) -> Option<String> {
    let (inner, _) = within(tokens, |kind| *kind == Kind::Close(')'))?;
    let parts = split(inner, |kind| matches!(kind, Kind::Mark(',' | ';')))?;
    let names: Option<Vec<String>> = parts.into_iter().map(name).collect();
    Some(format!("({})", names?.join(",")))
}

/// What lies between the first token and the last, where the last closes it; and its text.
fn within(tokens: &[Token], closes: impl Fn(&Kind) -> bool) -> Option<(&[Token], String)> {
    let [_, inner @ .., last] = tokens else { return None };
    let calculates = inner.iter().any(|token| matches!(token.kind, Kind::Op('+' | '-' | '*' | '/')));
    let number = inner.iter().any(|token| matches!(token.kind, Kind::Number(_)));
    let letters = inner.iter().any(|token| matches!(token.kind, Kind::Letter(_) | Kind::Word(_)));
    (closes(&last.kind) && letters && !(calculates || number && !inner.iter().any(|token| token.kind == Kind::Op('_'))))
        .then(|| (inner, text(inner)))
}

/// AB : CD, AB / CD, S_{ABC} : S
fn quotient(tokens: &[Token]) -> Option<String> {
    let capital = tokens.iter().all(|token| match &token.kind {
        Kind::Letter(name) | Kind::Word(name) => name.chars().all(char::is_uppercase),
        Kind::Mark(':') | Kind::Op('/' | '_') | Kind::Open('g') | Kind::Close('g') => true,
        _ => false,
    });
    let parted = tokens.iter().any(|token| matches!(token.kind, Kind::Mark(':') | Kind::Op('/')));
    (capital && parted).then(|| text(tokens))
}

/// NO/BO in a fraction.
fn ratio(tokens: &[Token]) -> Option<String> {
    let mut letters = 0;
    for token in tokens {
        match &token.kind {
            Kind::Letter(name) if name.chars().all(char::is_uppercase) => letters += 1,
            Kind::Frac | Kind::Open('g') | Kind::Close('g') | Kind::Bar | Kind::Overline | Kind::Op('_') => {}
            _ => return None,
        }
    }
    (letters > 1).then(|| text(tokens))
}

/// dy/dx
fn derivative(tokens: &[Token]) -> Option<String> {
    let letters = tokens.iter().filter(|token| matches!(&token.kind, Kind::Letter(name) if name == "d")).count();
    let plain = tokens.iter().all(|token| {
        matches!(
            token.kind,
            Kind::Frac | Kind::Open('g') | Kind::Close('g') | Kind::Letter(_) | Kind::Op('^' | '_') | Kind::Number(_)
        )
    });
    (letters == 2 && plain && tokens.len() <= 16).then(|| text(tokens))
}

/// Words, letters that belong to them, and numbers that count them: `the area of ABC`, `Plan 2`.
fn in_words(tokens: &[Token]) -> Option<String> {
    let mut said: Vec<String> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Word(word) => {
                let lower = word.to_lowercase();
                if words::refuses(&lower) || matches!(lower.as_str(), "if" | "when" | "for" | "but" | "either") {
                    return None;
                }
                if !matches!(lower.as_str(), "the" | "a" | "an") {
                    said.push(lower);
                }
            }
            Kind::Letter(letter) if tokens.get(at..at + 3).and_then(hyphenated).is_some() => {
                said.push(letter.to_lowercase());
            }
            Kind::Letter(letter) => {
                let belongs = tokens[..at].iter().rev().find_map(|before| match &before.kind {
                    Kind::Word(word) => Some(LEADING.contains(&word.to_lowercase().as_str())),
                    Kind::Letter(_) | Kind::Op('_') | Kind::Open('g') | Kind::Close('g') => None,
                    _ => Some(false),
                });
                if belongs == Some(false) && !token.textual {
                    return None;
                }
                said.push(letter.clone());
            }
            Kind::Number(numeral) => said.push(numeral.value.to_string()),
            Kind::Op('_' | '\'' | '-') | Kind::Open('g') | Kind::Close('g') => {}
            Kind::Degree => said.push("degree".to_owned()),
            Kind::Mark(':') if at + 1 == tokens.len() => {}
            _ => return None,
        }
    }
    (!said.is_empty()).then(|| said.join(" "))
}
