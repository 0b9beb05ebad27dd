//! Other people's text on a terminal: models, servers and data files say what they like, and must not move the cursor, colour
//! the screen, or turn the direction of a line around.

/// The text with everything that a terminal would obey escaped.
///
/// ```
/// assert_eq!(distill::terminal::printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// ```
pub fn printable(text: &str) -> String {
    escaped(text, |c| c.escape_unicode().to_string())
}

/// JSON with all of that in JSON's own escapes: it means what it meant.
pub fn printable_json(json: &str) -> String {
    escaped(json, |c| format!("\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            shown.push_str(&escape(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// As [`printable`], on one line.
pub fn on_one_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

fn is_obeyed(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let hostile = "a\u{1b}]0;title\u{7}b\rc\u{9b}2Jd\u{202e}e\u{2066}f\u{8}";
        let shown = on_one_line(hostile);
        assert!(shown.chars().all(|c| !is_obeyed(c)), "{shown:?}");
        let json = serde_json::to_string(hostile).expect("JSON");
        let shown = printable_json(&json);
        assert!(shown.chars().all(|c| !is_obeyed(c)), "{shown:?}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("the same JSON"), hostile);
        assert_eq!(printable("x\n\ty é 漢"), "x\n\ty é 漢", "text is left as it is");
    }
}
