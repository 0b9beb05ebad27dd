//! The simulated model's tokens as ids: bytes, what its answers are made of, and two that begin and end a conversation. One
//! letter of four bytes comes in two tokens, so that an answer can break off within it.

use crate::answer::{TAIL, number};

/// What a conversation begins with, as it is written.
pub const BEGIN: &str = "<s>";
/// The token that ends an answer.
pub const END: u32 = 257;
const BEGIN_ID: u32 = 256;
/// The first token of an answer's end.
const FIRST_TAIL: u32 = 258;
/// The token of the number 0.
const FIRST_NUMBER: u32 = 1000;
/// The first two tokens of an answer's end, cut within the letter.
const CUT: [&[u8]; 2] = [b"\xf0\x9f", b"\x99\x82\n</t"];

/// The token of a number.
pub(crate) fn of_number(number: u64) -> u32 {
    FIRST_NUMBER + number as u32
}

/// The token at a place of an answer's end.
pub(crate) fn of_tail(at: usize) -> u32 {
    FIRST_TAIL + at as u32
}

/// Text → ids.
pub fn encode(mut text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    while let Some(letter) = text.chars().next() {
        let (id, len) = match text.get(..4).and_then(number) {
            _ if text.starts_with(BEGIN) => (BEGIN_ID, BEGIN.len()),
            Some(number) => (of_number(number), 4),
            None => {
                let len = letter.len_utf8();
                ids.extend(text.as_bytes()[..len].iter().map(|byte| u32::from(*byte)));
                text = &text[len..];
                continue;
            }
        };
        ids.push(id);
        text = &text[len..];
    }
    ids
}

/// Ids → bytes, with what begins and ends a conversation written out or not; nothing where one is unknown.
pub fn decode(ids: &[u32], written: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for id in ids {
        match *id {
            byte @ 0..=255 => bytes.push(byte as u8),
            BEGIN_ID if written => bytes.extend_from_slice(BEGIN.as_bytes()),
            END if written => bytes.extend_from_slice(b"</s>"),
            BEGIN_ID | END => {}
            id => match (id.checked_sub(FIRST_NUMBER), id.checked_sub(FIRST_TAIL)) {
                (Some(number), _) if number < 26 * 26 * 26 => {
                    bytes.extend_from_slice(crate::answer::token(u64::from(number)).as_bytes());
                }
                (None, Some(at)) => match CUT.get(at as usize) {
                    Some(cut) => bytes.extend_from_slice(cut),
                    None => bytes.extend_from_slice(TAIL.get(at as usize)?.as_bytes()),
                },
                _ => return None,
            },
        }
    }
    Some(bytes)
}
