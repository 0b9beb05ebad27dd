//! Bytes as base64 text (RFC 4648, with padding): entries of a journal are JSON.

use super::{LogProbs, LogProbsError};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl LogProbs {
    /// [`LogProbs::encode`], as base64 text.
    ///
    /// # Errors
    /// As there.
    pub fn to_text(&self) -> Result<String, LogProbsError> {
        Ok(base64(&self.encode()?))
    }

    /// The bytes in a text of [`LogProbs::to_text`].
    ///
    /// # Errors
    /// `Damaged` when it is no base64; what the bytes hold is not looked at.
    pub fn bytes_of_text(text: &str) -> Result<Vec<u8>, LogProbsError> {
        of_base64(text).ok_or(LogProbsError::Damaged("expected base64"))
    }

    /// Reads a text of [`LogProbs::to_text`].
    ///
    /// # Errors
    /// `Damaged` when it is no base64, else as [`LogProbs::decode`].
    pub fn of_text(text: &str) -> Result<LogProbs, LogProbsError> {
        LogProbs::decode(&LogProbs::bytes_of_text(text)?)
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let is_there = digit <= group.len();
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if is_there { char::from(ALPHABET[value as usize]) } else { '=' });
        }
    }
    text
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let whole = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        bytes.extend_from_slice(&whole[..group.len() - 1]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_s_and_comes_back() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd", "//79"),
        ] {
            assert_eq!(base64(bytes), text);
            assert_eq!(of_base64(text).as_deref(), Some(bytes));
        }
        for bad in ["Z", "Zg=", "Zg", "Zm9v====", "Z===", "Zm 9", "Zm9\u{e9}"] {
            assert_eq!(of_base64(bad), None, "{bad}");
        }
    }
}
