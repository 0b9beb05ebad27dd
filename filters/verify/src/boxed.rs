//! Finding `\boxed{…}` in a model's text, in one pass however hostile it is.

const COMMANDS: [&str; 2] = ["\\boxed", "\\fbox"];

/// The length of a box's beginning, where `text` begins with one: the command, spaces, the brace.
fn opening(text: &str) -> Option<usize> {
    let rest = COMMANDS.iter().find_map(|command| text.strip_prefix(command))?;
    let inner = rest.trim_start_matches(' ').strip_prefix('{')?;
    Some(text.len() - inner.len())
}

/// Bytes of a command's argument, at most: what is never closed is not looked for to the end of the text each time.
const MOST_GROUP: usize = 4096;

/// The length of `\boxed` where it takes the next token without braces, and that of the token: `\boxed5`, `\boxed\frac12`.
fn bare(text: &str) -> Option<(usize, usize)> {
    let rest = COMMANDS.iter().find_map(|command| text.strip_prefix(command))?;
    let inner = rest.trim_start_matches(' ');
    let start = text.len() - inner.len();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(inner.starts_with('-'));
    let mut length = sign + digits(&inner[sign..]);
    if length > sign {
        // As long as digits go on behind a point, a comma or a bar.
        while inner[length..].starts_with(['.', ',', '/']) && digits(&inner[length + 1..]) > 0 {
            length += 1 + digits(&inner[length + 1..]);
        }
        return Some((start, length));
    }
    if let Some(command) = inner.strip_prefix('\\') {
        let name = command.bytes().take_while(u8::is_ascii_alphabetic).count();
        let mut length = 1 + name;
        while let Some(group) = inner[length..].strip_prefix('{') {
            length += 2 + group.bytes().take(MOST_GROUP).position(|byte| byte == b'}')?;
        }
        if command[..name].ends_with("frac") && length == 1 + name {
            length += digits(&inner[length..]).min(2);
        }
        return (name > 0 && !command.starts_with("begin")).then_some((start, length));
    }
    let mut chars = inner.chars();
    let letter = chars.next().filter(|c| c.is_ascii_alphanumeric())?;
    (!chars.next().is_some_and(char::is_alphanumeric) && rest.len() != inner.len())
        .then_some((start, letter.len_utf8()))
}

/// The contents of every closed, outermost `\boxed{…}` or `\fbox{…}`, in order.
pub fn boxed_answers(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found: Vec<&str> = Vec::new();
    // Open braces: where the contents of a box begin, or nothing for a plain brace.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            // A response that went through JSON twice has its backslashes doubled.
            let doubled = text[at + 1..].starts_with('\\') && opening(&text[at + 1..]).is_some();
            at += usize::from(doubled);
            if let Some(length) = opening(&text[at..]) {
                at += length;
                open.push(Some(at));
            } else if let Some((start, length)) = bare(&text[at..]) {
                found.push(&text[at + start..at + start + length]);
                at += start + length;
            } else {
                // A backslash takes its next byte along: `\{` opens nothing.
                at += 1 + usize::from(at + 1 < bytes.len());
                while at < bytes.len() && !text.is_char_boundary(at) {
                    at += 1;
                }
            }
            continue;
        }
        match bytes[at] {
            b'{' => open.push(None),
            b'}' => {
                if let Some(Some(start)) = open.pop() {
                    // A box inside this one is part of it.
                    while found.last().is_some_and(|inner| inner.as_ptr() as usize >= text[start..].as_ptr() as usize) {
                        found.pop();
                    }
                    found.push(&text[start..at]);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The contents of the last closed `\boxed{…}`.
pub fn last_boxed(text: &str) -> Option<&str> {
    boxed_answers(text).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_without_braces_hold_one_token() {
        for (text, found) in [
            ("\\boxed2", &["2"][..]),
            ("\\boxed5.", &["5"]),
            ("so \\boxed{1} and \\boxed 12, then", &["1", "12"]),
            ("\\boxed-3.5!", &["-3.5"]),
            ("\\boxed\\frac12", &["\\frac12"]),
            ("\\boxed\\frac{1}{2} x", &["\\frac{1}{2}"]),
            ("\\boxed x.", &["x"]),
            ("put it in \\boxed please", &[]),
            ("\\boxed", &[]),
            ("\\boxed\\", &[]),
            ("\\boxed\\frac{", &[]),
            ("\\boxed{\\boxed3}", &["\\boxed3"]),
        ] {
            assert_eq!(boxed_answers(text), found, "{text}");
        }
    }
}
