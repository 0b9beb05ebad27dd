//! What must never be repeated: keys and secret headers, and how they are taken out of what a server says.

use crate::TeacherError;
use reqwest::header::HeaderValue;
use std::fmt;

/// A key that never shows itself.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key.
    pub fn new(key: String) -> ApiKey {
        ApiKey(key.trim().to_owned())
    }

    /// It as a header's value, which no log shows.
    ///
    /// # Errors
    /// When it has a character that no header may have.
    pub(super) fn header(&self) -> Result<HeaderValue, TeacherError> {
        let mut value = HeaderValue::from_str(&self.0).map_err(|_| {
            TeacherError::Refused(
                "expected a secret that a header can hold, found a line break or another control character in one"
                    .to_owned(),
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Puts it into a call: into a header of the host's, or as everybody does.
    pub(super) fn authorise(&self, call: reqwest::RequestBuilder, header: Option<&str>) -> reqwest::RequestBuilder {
        match header {
            Some(header) => call.header(header, &self.0),
            None => call.bearer_auth(&self.0),
        }
    }

    /// Takes the key out of a message, should a server repeat it. A message may have been cut, so that its end may be
    /// the key's beginning: that goes too.
    fn redact(&self, message: &str) -> String {
        if self.0.is_empty() { message.to_owned() } else { self.without_beginning(message, SHORTEST) }
    }

    /// Takes the key out of an answer; out of the end of one that was cut, its beginning too. A key so short that it is
    /// a word or a number is no secret, and answers keep theirs.
    fn redact_answer(&self, answer: &str, cut: bool) -> String {
        match (self.0.len() >= SECRET, cut) {
            (false, _) => answer.to_owned(),
            (true, false) => answer.replace(&self.0, KEY),
            (true, true) => self.without_beginning(answer, SECRET),
        }
    }

    /// Bytes at the end of a text that are the key's beginning. A key may end as it begins: what belongs to a whole one
    /// begins no other.
    fn begun_in(&self, text: &str) -> usize {
        let behind = text.match_indices(&self.0).last().map_or(0, |(at, key)| at + key.len());
        let text = &text[behind..];
        let mut begun = (1..self.0.len()).rev().filter_map(|length| self.0.get(..length));
        begun.find(|beginning| text.ends_with(beginning)).map_or(0, str::len)
    }

    fn without_beginning(&self, text: &str, shortest: usize) -> String {
        let text = text.replace(&self.0, KEY);
        let mut begun = (shortest..self.0.len()).rev().filter_map(|length| self.0.get(..length));
        match begun.find_map(|beginning| text.strip_suffix(beginning)) {
            Some(before) => format!("{before}{KEY}"),
            None => text,
        }
    }
}

/// What stands in a key's place.
const KEY: &str = "[key]";
/// Fewer characters of a key tell nothing of it: they are its maker's, such as `sk-`.
const SHORTEST: usize = 4;
/// Bytes of the shortest key that is looked for in answers.
const SECRET: usize = 8;

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// All that an endpoint is told and must never be repeated.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(Vec<ApiKey>);

impl Secrets {
    /// With another one.
    pub(super) fn add(&mut self, key: &ApiKey) {
        self.0.push(key.clone());
    }

    /// A message without them; see [`ApiKey::redact`].
    pub(super) fn redact(&self, message: &str) -> String {
        self.0.iter().fold(message.to_owned(), |message, key| key.redact(&message))
    }

    /// An answer without them; see [`ApiKey::redact_answer`].
    pub(super) fn redact_answer(&self, answer: String, cut: bool) -> String {
        self.0.iter().fold(answer, |answer, key| key.redact_answer(&answer, cut))
    }

    /// Bytes at the end of a text that are the beginning of one.
    pub(super) fn begun_in(&self, text: &str) -> usize {
        self.0.iter().map(|key| key.begun_in(text)).max().unwrap_or(0)
    }
}

impl From<Option<ApiKey>> for Secrets {
    fn from(key: Option<ApiKey>) -> Secrets {
        Secrets(key.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_whole_and_where_a_text_was_cut_in_it() {
        let key = ApiKey::new(" sk-a1b2c3d4e5 \n".to_owned());
        for (text, expected) in [
            ("bad sk-a1b2c3d4e5, and sk-a1b2c3d4e5", "bad [key], and [key]"),
            ("bad sk-a1b2c3", "bad [key]"),
            ("bad sk-a", "bad [key]"),
            ("ends in sk-", "ends in sk-"),
            ("sk-a1 in the midst", "sk-a1 in the midst"),
        ] {
            assert_eq!(key.redact(text), expected);
        }
        for (text, expected) in [("is sk-a1", 5), ("is sk-a1b2c3d4e5", 0), ("is sk-a1b2c3d4e5s", 1), ("sk-a1 in it", 0)]
        {
            assert_eq!(key.begun_in(text), expected, "{text}");
        }
        let as_it_begins = ApiKey::new("sk-a1b2c3d4sk".to_owned());
        for (text, expected) in [("is sk-a1b2c3d4sk", 0), ("is sk-a1b2c3d4sk-a", 0), ("is sk-a1b2c3d4sksk", 2)] {
            assert_eq!(as_it_begins.begun_in(text), expected, "{text}");
        }
        assert_eq!(key.redact_answer("is sk-a1b2c3d4e5, sk-a1b2c3", false), "is [key], sk-a1b2c3");
        assert_eq!(key.redact_answer("is sk-a1b2c3d4e5, sk-a1b2c3", true), "is [key], [key]");
        assert_eq!(ApiKey::new("42".to_owned()).redact_answer("it is 42", false), "it is 42", "a number is no secret");
        assert_eq!(ApiKey::new(String::new()).redact("x"), "x");
        assert_eq!(format!("{key:?}"), "[key]");
    }

    #[test]
    fn of_several_secrets_each_is_taken_out() {
        let mut secrets = Secrets::from(Some(ApiKey::new("sk-a1b2c3d4e5".to_owned())));
        secrets.add(&ApiKey::new("tenant-98765432".to_owned()));
        assert_eq!(secrets.redact("sk-a1b2c3d4e5 of tenant-98765432, ten"), "[key] of [key], ten");
        assert_eq!(secrets.redact_answer("tenant-98765432 tenant-9876".to_owned(), true), "[key] [key]");
        assert_eq!((secrets.begun_in("it is sk-a1"), secrets.begun_in("it is tenant-")), (5, 7));
        assert_eq!(Secrets::default().redact("sk-a1b2c3d4e5"), "sk-a1b2c3d4e5");
    }
}
