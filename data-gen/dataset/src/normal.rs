//! The normal form of a text: what two texts share that differ only in case, white space or the spacing of punctuation.

/// Lower case, without white space but where it separates two letters or digits: `12 3` is not `123`. Digits, operators and
/// LaTeX are kept: dropping them, as prose normalisers do, makes different mathematics equal.
///
/// ```
/// # use distill_dataset::normal_form;
/// assert_eq!(normal_form("Solve  for $x$ :\n2x + 3 = 7"), normal_form("solve for $x$: 2x+3=7"));
/// assert_ne!(normal_form("12 3"), normal_form("123"));
/// assert_ne!(normal_form("2x + 3 = 7"), normal_form("2x + 3 = 8"));
/// ```
pub fn normal_form(text: &str) -> String {
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
