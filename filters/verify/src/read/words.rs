//! Answers in words: names, yes and no, numbers, choices, dates and times.

pub(crate) use super::numerals::{in_digits, number};

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Short words that are no products of variables.
const SHORT: &[&str] = &[
    "yes", "no", "may", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "am", "pm",
    "none", "dne", "sq", "per", "of", "is", "are", "the", "odd", "one", "two", "six", "ten", "for", "if", "to", "by",
    "all", "any", "not", "only", "red", "boy", "cup", "pen", "cat", "dog", "egg", "day",
];

/// Words that turn around what follows, or take it back.
const REFUSALS: &[&str] = &[
    "not",
    "no",
    "never",
    "without",
    "except",
    "unless",
    "cannot",
    "neither",
    "nor",
    "wrong",
    "incorrect",
    "false",
    "isn",
    "isn't",
    "aren",
    "doesn",
    "don",
    "instead",
    "rather",
    "than",
    "excluding",
    "excluded",
    "avoid",
    "nicht",
    "kein",
    "keine",
    "pas",
    "non",
    "ne",
    "sauf",
    "sin",
    "ni",
    "не",
    "нет",
    "кроме",
    "falsch",
    "außer",
    "ohne",
    "exclude",
    "reject",
    "rejected",
    "discard",
    "impossible",
    "assume",
    "suppose",
];

/// Whether words take back, or turn around, what they are about.
pub(crate) fn refuses(words: &str) -> bool {
    // One ASCII word is the usual case.
    if words.is_ascii() && !words.contains(' ') {
        return REFUSALS.contains(&words);
    }
    words.split(' ').any(|word| REFUSALS.contains(&word)) || words.contains(['不', '非', '除', '没', '無', '无'])
}

/// Whether a run of two letters in text is a word.
pub(crate) fn is_short(run: &str) -> bool {
    matches!(
        run.to_ascii_lowercase().as_str(),
        "so" | "we"
            | "it"
            | "as"
            | "at"
            | "be"
            | "do"
            | "us"
            | "if"
            | "he"
            | "is"
            | "up"
            | "by"
            | "on"
            | "an"
            | "my"
            | "me"
    )
}

/// Whether a word makes a statement of what stands before it, so that it is no unit.
pub(crate) fn states(word: &str) -> bool {
    if word.len() < 2 {
        return false;
    }
    let lower = word.to_lowercase();
    refuses(&lower)
        || matches!(
            lower.as_str(),
            "is" | "are"
                | "was"
                | "were"
                | "be"
                | "if"
                | "when"
                | "because"
                | "since"
                | "than"
                | "but"
                | "otherwise"
                | "should"
                | "would"
                | "could"
                | "maybe"
                | "perhaps"
                | "more"
                | "less"
                | "fewer"
                | "most"
                | "or"
                | "where"
                | "who"
                | "which"
                | "while"
                | "until"
                | "before"
                | "after"
                | "above"
                | "below"
                | "over"
                | "under"
                | "between"
                | "then"
                | "so"
        )
}

/// Whether words lead to a conclusion and say nothing of it.
pub(crate) fn concludes(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "so" | "then"
            | "thus"
            | "hence"
            | "therefore"
            | "finally"
            | "answer"
            | "solution"
            | "所以"
            | "因此"
            | "故"
            | "解得"
    )
}

/// Whether a short run of letters is a word.
pub(crate) fn is_known(run: &str) -> bool {
    let lower = run.to_ascii_lowercase();
    SHORT.contains(&lower.as_str())
        && !(run.len() == 2 && run.chars().all(char::is_uppercase) && lower != "am" && lower != "pm")
        || super::unit::is_common(run) && !matches!(run, "ha" | "mi" | "nm" | "ms" | "in" | "kW")
        || matches!(run, "in")
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// Since midnight, or since the last twelve o'clock where the half of the day is not said.
    pub minutes: u32,
    /// Whether morning and afternoon are told apart.
    pub certain: bool,
}

/// `3:30 p.m.`, `15:30`, `12 noon`.
pub(crate) fn time(text: &str) -> Option<Time> {
    let lower: String = text.to_lowercase().chars().filter(|c| *c != '.' && !c.is_whitespace()).collect();
    if lower == "noon" || lower == "12noon" || lower == "midday" {
        return Some(Time { minutes: 720, certain: true });
    }
    if lower == "midnight" || lower == "12midnight" {
        return Some(Time { minutes: 0, certain: true });
    }
    let (clock, half) = match lower.strip_suffix("am").map(|rest| (rest, Some(false))) {
        Some(found) => found,
        None => lower.strip_suffix("pm").map_or((lower.as_str(), None), |rest| (rest, Some(true))),
    };
    let clock = clock.strip_suffix("noon").unwrap_or(clock);
    let (hours, minutes) = clock.split_once(':').unwrap_or((clock, ""));
    if minutes.is_empty() && half.is_none() {
        return None;
    }
    let digits = |text: &str| text.len() <= 2 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !(minutes.is_empty() || digits(minutes) && minutes.len() == 2) {
        return None;
    }
    let (mut hours, minutes): (u32, u32) =
        (hours.parse().ok()?, if minutes.is_empty() { 0 } else { minutes.parse().ok()? });
    if hours > 24 || minutes > 59 || half.is_some() && !(1..=12).contains(&hours) {
        return None;
    }
    if let Some(afternoon) = half {
        hours = hours % 12 + if afternoon { 12 } else { 0 };
    }
    Some(Time { minutes: hours * 60 + minutes, certain: half.is_some() || hours > 12 || hours == 0 })
}

/// A day of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    /// The year, where it is said.
    pub year: Option<u32>,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// `May 5, 2020`, `5 May 2020`, `2020-05-05`.
pub(crate) fn date(text: &str) -> Option<Date> {
    if text.len() > 40 {
        return None;
    }
    let numbers: Vec<&str> = text.trim().split('-').collect();
    if let [year, month, day] = numbers.as_slice()
        && year.len() == 4
        && (month.len(), day.len()) == (2, 2)
    {
        let found = Date { year: Some(year.parse().ok()?), month: month.parse().ok()?, day: day.parse().ok()? };
        return ((1..=12).contains(&found.month) && (1..=31).contains(&found.day)).then_some(found);
    }
    let (mut month, mut day, mut year) = (None, None, None);
    for word in text.split(|c: char| c.is_whitespace() || c == ',' || c == '.').filter(|word| !word.is_empty()) {
        let lower = word.to_lowercase();
        let known = MONTHS.iter().position(|name| *name == lower || lower.len() == 3 && name.starts_with(&lower));
        let number: Option<u32> = lower.trim_end_matches(|c: char| "stndrh".contains(c)).parse().ok();
        match (known, number) {
            (Some(at), _) if month.is_none() => month = Some(at as u32 + 1),
            (_, Some(value)) if (1..=31).contains(&value) && day.is_none() => day = Some(value),
            (_, Some(value)) if (1000..=9999).contains(&value) && year.is_none() => year = Some(value),
            _ => return None,
        }
    }
    Some(Date { year, month: month?, day: day? })
}

/// Text without styling, case, articles and punctuation: what two spellings of one phrase have in common.
pub(crate) fn normal(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let name = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let styling = name > 1
                && (rest[1..=name].starts_with("text")
                    || rest[1..=name].starts_with("math")
                    || matches!(
                        &rest[1..=name],
                        "mbox" | "quad" | "bf" | "rm" | "operatorname" | "boxed" | "left" | "right"
                    ));
            if name > 0 && !styling {
                plain.push_str(&rest[..=name]);
            } else if name == 0 {
                plain.push(' ');
            }
            let skip = if name == 0 { 1 + rest[1..].chars().next().map_or(0, char::len_utf8) } else { 1 + name };
            rest = &rest[skip..];
            continue;
        }
        match c {
            '{' | '}' | '$' | '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '*' | '`' | '~' | '“' | '”' => {
                plain.push(' ')
            }
            '_' => {}
            _ => plain.extend(c.to_lowercase()),
        }
        rest = &rest[c.len_utf8()..];
    }
    let words: Vec<&str> =
        plain.split_whitespace().filter(|word| !matches!(*word, "the" | "a" | "an" | "is")).collect();
    let joined = words.join(" ");
    match joined.as_str() {
        "no solutions" | "no real solution" | "no real solutions" | "there are no solutions" | "none exist" => {
            "no solution".to_owned()
        }
        "无解" | "無解" | "没有解" | "方程无解" => "no solution".to_owned(),
        "空集" => "empty set".to_owned(),
        "不存在" => "does not exist".to_owned(),
        "正确" | "对" | "是" => "yes".to_owned(),
        "错误" | "错" | "否" | "不是" => "no".to_owned(),
        "true" | "correct" => "yes".to_owned(),
        "false" | "incorrect" => "no".to_owned(),
        "does not exist" | "dne" | "doesnt exist" => "does not exist".to_owned(),
        _ => joined,
    }
}

/// Words before a number that change nothing about it.
pub(crate) fn is_hedge(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "about" | "approximately" | "exactly" | "roughly" | "around" | "nearly" | "approx"
    )
}

/// Words that can stand for a number.
pub(crate) fn is_quantifier(word: &str) -> bool {
    matches!(
        word,
        "first"
            | "second"
            | "third"
            | "fourth"
            | "fifth"
            | "sixth"
            | "seventh"
            | "eighth"
            | "ninth"
            | "tenth"
            | "last"
            | "none"
            | "nothing"
            | "once"
            | "twice"
            | "thrice"
            | "double"
            | "half"
            | "both"
            | "dozen"
            | "single"
            | "nil"
    )
}

/// Whether normalised text is words and nothing else.
pub(crate) fn wordy(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '-')
        && text.chars().any(char::is_alphabetic)
}

/// The letter of a choice, and what follows it: `(A)`, `\textbf{(D)}\ 12`, `B.`
pub(crate) fn choice(text: &str) -> Option<(char, &str)> {
    let mut rest = text.trim().trim_matches('$').trim();
    let mut styled = false;
    for command in ["\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\textrm{", "\\mbox{", "\\textit{", "\\bf{"] {
        if let Some(inner) = rest.strip_prefix(command) {
            (rest, styled) = (inner, true);
            break;
        }
    }
    let bracketed = rest.starts_with('(');
    rest = rest.strip_prefix('(').unwrap_or(rest).trim_start();
    let letter = rest.chars().next().filter(|c| ('A'..='J').contains(c))?;
    rest = rest[1..].trim_start();
    // `A: 3, B: 4` is a table.
    if rest.starts_with(':') && rest[1..].contains(':') {
        return None;
    }
    let closed = rest.starts_with([')', '.', ':']);
    if bracketed && !rest.starts_with(')') {
        return None;
    }
    if closed {
        rest = &rest[1..];
    }
    if styled {
        rest = rest.trim_start().strip_prefix('}')?;
        rest = rest.trim_start().strip_prefix(')').unwrap_or(rest);
    }
    let rest = rest
        .trim()
        .trim_start_matches("\\ ")
        .trim_start_matches("~")
        .trim_start_matches("\\quad")
        .trim()
        .trim_end_matches('.');
    (rest.is_empty() || closed || bracketed).then_some((letter, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates() {
        assert_eq!(time("3:30 p.m."), Some(Time { minutes: 930, certain: true }));
        assert_eq!(time("12:00 AM").map(|time| time.minutes), Some(0));
        assert_eq!(time("7:320"), None);
        assert_eq!(date("5 May 2020"), date("2020-05-05"));
        assert_eq!(date("May 35"), None);
    }

    #[test]
    fn choices() {
        assert_eq!(choice("\\textbf{(D)}\\ 12"), Some(('D', "12")));
        assert_eq!(choice("A."), Some(('A', "")));
        assert_eq!(choice("A+B"), None);
    }
}
