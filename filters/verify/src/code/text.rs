//! What a program wrote, made fit for people: short, and without anything that moves a terminal's cursor.

/// At most `limit` characters; control characters and direction marks become visible substitutes.
pub(super) fn short(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == limit {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push('⏎'),
            '\t' => shown.push(' '),
            c if harmful(c) => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// The same for bytes, of which only the beginning is looked at.
pub(super) fn short_bytes(bytes: &[u8], limit: usize) -> String {
    short(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * limit)]), limit)
}

/// The last line that says something, of what a program wrote to standard error.
pub(super) fn last_line(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(4096)..];
    let text = String::from_utf8_lossy(tail);
    short(text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(""), 200)
}

/// Escape codes, other controls, and marks that turn the direction of writing.
fn harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_codes_do_not_reach_a_terminal() {
        assert_eq!(short("\u{1b}[2J\u{9b}31mred\r\u{8}\n", 40), "\u{fffd}[2J\u{fffd}31mred\u{fffd}\u{fffd}⏎");
        assert_eq!(short("abcdef", 3), "abc…");
        assert_eq!(last_line(b"Traceback\n  line\nValueError: no\n\n"), "ValueError: no");
        assert_eq!(short_bytes(&[0xff; 10_000], 5), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}…");
    }
}
