//! What two spellings of a text share, in two grades: copies are told apart finely, what is held out coarsely.

/// What copies of a text have in common: white space, the spacing of punctuation and the capital that begins a word may differ.
/// Digits, operators, LaTeX commands, names of one letter and abbreviations keep their case, indented lines their indent, and
/// what stands in a fence of code all but blanks at the ends of lines: dropping these makes different mathematics equal.
///
/// ```
/// # use distill_dataset::normal_form;
/// assert_eq!(normal_form("Solve  for $x$ :\n2x + 3 = 7"), normal_form("solve for $x$: 2x+3=7"));
/// assert_ne!(normal_form("12 3"), normal_form("123"));
/// assert_ne!(normal_form("What is $N - n$?"), normal_form("What is $n - N$?"));
/// assert_ne!(normal_form("\\Gamma(5)"), normal_form("\\gamma(5)"));
/// assert_ne!(normal_form("if a:\n    b()\nc()"), normal_form("if a:\n    b()\n    c()"));
/// ```
pub fn normal_form(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let words = line.trim_start();
        let marks = fence_of(words);
        if let Some(open) = fence {
            form.push('\n');
            form.push_str(line.trim_end());
            if marks.starts_with(open) && words.trim_end() == marks {
                fence = None;
                // What comes behind the fence is not on its line.
                form.push('\n');
            }
        } else if marks.len() >= 3 && !words[marks.len()..].contains('`') {
            fence = Some(marks);
            form.push('\n');
            form.push_str(line.trim_end());
        } else {
            let indent = &line[..line.len() - words.len()];
            let is_indented = indent.len() > 1 || indent == "\t";
            if is_indented && !words.is_empty() && !form.is_empty() {
                form.push('\n');
                form.push_str(indent);
            }
            words.split_whitespace().for_each(|word| push_word(&mut form, word));
        }
    }
    form
}

/// The backticks or tildes that a line begins with.
fn fence_of(line: &str) -> &str {
    let mark = line.bytes().next().filter(|byte| matches!(byte, b'`' | b'~'));
    let count = mark.map_or(0, |mark| line.bytes().take_while(|byte| *byte == mark).count());
    &line[..count]
}

fn push_word(form: &mut String, word: &str) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let parts = form.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric);
    // `1, 234` is two numbers and `1,234` is one.
    let lists = (form.ends_with(',') && digits(word) == 3) || (form.ends_with('.') && digits(word) > 0);
    if parts || lists {
        form.push(' ');
    }
    let mut rest = word;
    while let Some(capital) = rest.find(char::is_uppercase) {
        let (before, from) = rest.split_at(capital);
        let end = from.find(|letter: char| !letter.is_alphabetic()).unwrap_or(from.len());
        let (letters, behind) = from.split_at(end);
        let mut small = letters.chars().skip(1).peekable();
        let begins = !before.ends_with(|letter: char| letter.is_alphabetic() || letter == '\\');
        form.push_str(before);
        match begins && small.peek().is_some() && small.all(char::is_lowercase) {
            true => form.extend(letters.chars().flat_map(char::to_lowercase)),
            false => form.push_str(letters),
        }
        rest = behind;
    }
    form.push_str(rest);
}

/// What a held-out text may share with none that is trained on: lower case, without white space but where it separates two
/// letters or digits. Coarser than [`normal_form`], since a held-out text must not be trained on in any spelling.
///
/// ```
/// # use distill_dataset::folded_form;
/// assert_eq!(folded_form("SOLVE for $X$ :\n2x + 3 = 7"), folded_form("solve for $x$: 2x+3=7"));
/// assert_ne!(folded_form("12 3"), folded_form("123"));
/// assert_ne!(folded_form("2x + 3 = 7"), folded_form("2x + 3 = 8"));
/// ```
pub fn folded_form(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if form.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric) {
            form.push(' ');
        }
        match word.is_ascii() {
            true => form.extend(word.bytes().map(|byte| char::from(byte.to_ascii_lowercase()))),
            false => form.extend(word.chars().flat_map(char::to_lowercase)),
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::normal_form;

    /// Two texts, whether they are copies, and why.
    const PAIRS: &[(&str, &str, bool, &str)] = &[
        ("What is 2+2?", "what  is 2 + 2 ?", true, "blanks and a capital that begins the sentence"),
        ("Find the Sum\r\nof $1/2$.", "find the sum of $1 / 2$ .", true, "line breaks of either kind"),
        ("Élodie a 3 pommes.", "élodie a 3 pommes .", true, "a capital beyond ASCII"),
        ("Let\u{a0}$x=1$", "let $x = 1$", true, "a blank that does not break"),
        ("a line\n\n\nanother", "a line another", true, "empty lines"),
        ("```\nx = 1  \n```", "```\nx = 1\n```", true, "blanks at the end of a line of code"),
        ("one\n two", "one two", true, "one blank is no indent"),
        ("If $(3, 4)$ lies on it", "if $(3,4)$ lies on it", true, "a pair of numbers"),
        (r"\text{Find } x", r"\text{find } x", true, "a word in a formula"),
        ("    What is it?\n", "what is it?", true, "blanks around all of it"),
        (r"Compute $\Gamma(5)$", r"Compute $\gamma(5)$", false, "another function"),
        (r"$\Delta x$", r"$\delta x$", false, "another symbol"),
        ("If N choose n, what is N - n?", "If n choose N, what is n - N?", false, "names change places"),
        ("What is AB?", "What is ab?", false, "a segment and a product"),
        ("2x + 3 = 7", "2x - 3 = 7", false, "another operator"),
        ("2x + 3 = 7", "2x + 3 = 8", false, "another number"),
        ("12 3", "123", false, "two numbers and one"),
        ("Add 1, 234.", "Add 1,234.", false, "a list and a number"),
        ("It ends in 3. 5 are left", "It ends in 3.5 are left", false, "a sentence's end and a decimal point"),
        (r"\frac{1}{2}", r"\frac{2}{1}", false, "another order"),
        (
            "for i in range(3):\n    x += 1\nx *= 2",
            "for i in range(3):\n    x += 1\n    x *= 2",
            false,
            "what is in the loop",
        ),
        ("if a:\n\tb()\n\tc()", "if a:\n\tb()\nc()", false, "the same by tabs"),
        ("```\nx = 1\n-y\n```", "```\nx = 1 -y\n```", false, "two statements and one"),
        ("```\nprint(Max)\n```", "```\nprint(max)\n```", false, "names in code"),
        ("```\na\n```\nb", "```\na\n```b", false, "a fence that is not closed"),
        ("NaCl", "Nacl", false, "a formula of chemistry"),
    ];

    #[test]
    fn spellings_are_one_and_different_mathematics_is_not() {
        for &(one, other, are_copies, why) in PAIRS {
            assert_eq!(normal_form(one) == normal_form(other), are_copies, "{why}: {one:?} beside {other:?}");
        }
    }
}
