//! Finding `\boxed{…}` in a model's text, in one pass however hostile it is.

const COMMANDS: [&str; 2] = ["\\boxed", "\\fbox"];

/// The length of a box's beginning, where `text` begins with one: the command, spaces, the brace.
fn opening(text: &str) -> Option<usize> {
    let rest = COMMANDS.iter().find_map(|command| text.strip_prefix(command))?;
    let inner = rest.trim_start_matches(' ').strip_prefix('{')?;
    Some(text.len() - inner.len())
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
