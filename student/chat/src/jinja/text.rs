//! Python's ideas of text, where they are not Rust's.

/// What `str.strip` and `\s` take for blank.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Where `str.splitlines` ends a line.
fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// `str.splitlines`.
pub(crate) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ends_line) {
        let end =
            at + if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(1, char::len_utf8) };
        lines.push(&rest[..if keep_ends { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.split` and `str.rsplit`; fewer than zero cuts is as many as there are.
pub(crate) fn split<'t>(text: &'t str, separator: Option<&str>, cuts: i128, from_right: bool) -> Vec<&'t str> {
    let mut cuts = usize::try_from(cuts).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = text;
    match (separator, from_right) {
        (Some(separator), false) => return text.splitn(cuts.saturating_add(1), separator).collect(),
        (Some(separator), true) => parts.extend(text.rsplitn(cuts.saturating_add(1), separator)),
        (None, false) => {
            rest = rest.trim_start_matches(is_space);
            while !rest.is_empty() {
                let Some(at) = rest.find(is_space).filter(|_| cuts > 0) else {
                    // What is left whole keeps its blanks at the end only where cuts ran out.
                    parts.push(rest);
                    break;
                };
                cuts -= 1;
                parts.push(&rest[..at]);
                rest = rest[at..].trim_start_matches(is_space);
            }
            return parts;
        }
        (None, true) => {
            rest = rest.trim_end_matches(is_space);
            while !rest.is_empty() {
                let Some((at, blank)) = rest.char_indices().rev().find(|(_, c)| is_space(*c)).filter(|_| cuts > 0)
                else {
                    parts.push(rest);
                    break;
                };
                cuts -= 1;
                parts.push(&rest[at + blank.len_utf8()..]);
                rest = rest[..at].trim_end_matches(is_space);
            }
        }
    }
    parts.reverse();
    parts
}

/// The first character in upper case, the others in lower.
pub(crate) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => titled(first) + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

fn titled(c: char) -> String {
    match c {
        'ß' => "Ss".to_owned(),
        'Ǆ' | 'ǅ' | 'ǆ' => 'ǅ'.into(),
        'Ǉ' | 'ǈ' | 'ǉ' => 'ǈ'.into(),
        'Ǌ' | 'ǋ' | 'ǌ' => 'ǋ'.into(),
        'Ǳ' | 'ǲ' | 'ǳ' => 'ǲ'.into(),
        c => c.to_uppercase().collect(),
    }
}

/// `str.title`: a letter after what is no letter is upper case.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let cased = c.is_lowercase() || c.is_uppercase() || titled(c) != c.to_string();
        match cased {
            true if inside => out.extend(c.to_lowercase()),
            true => out.push_str(&titled(c)),
            false => out.push(c),
        }
        inside = cased;
    }
    out
}

/// Byte places of every character's beginning, and the end: for slices by characters.
pub(crate) fn places(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}
