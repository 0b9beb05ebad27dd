//! The answers of the simulated model. An answer is a function of the seed of its first request, and begins by saying it, so
//! that whoever goes on from a part of it gets the rest of that very answer. Of a part that is shorter than the seed, it is
//! remembered who asked for what.

use crate::vocabulary;

/// Letters of a token that is a number, least significant last.
const LETTERS: usize = 3;
/// Tokens in front that say the seed.
const HEAD: usize = 3;
/// How every answer ends. A closing tag and a box are in pieces, and so is one letter of four bytes.
pub(crate) const TAIL: [&str; 7] = ["🙂", "\n</t", "hink", ">\n\n\\", "box", "ed{7", "}"];

/// A number as a token: three letters and a space, as long as a token is on average.
pub(crate) fn token(mut number: u64) -> String {
    let mut letters = [b'a'; LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter += (number % 26) as u8;
        number /= 26;
    }
    format!("{} ", String::from_utf8_lossy(&letters))
}

pub(crate) fn number(token: &str) -> Option<u64> {
    let letters = token.strip_suffix(' ')?.as_bytes();
    let is_number = letters.len() == LETTERS && letters.iter().all(u8::is_ascii_lowercase);
    is_number.then(|| letters.iter().fold(0, |number, letter| number * 26 + u64::from(letter - b'a')))
}

/// Bytes of the longest part that does not say its seed.
pub(crate) const UNSAID: usize = (HEAD - 1) * (LETTERS + 1);
const BASE: u64 = 26 * 26 * 26;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The seed of its first request.
    pub seed: u32,
    /// Its tokens.
    pub len: usize,
}

impl Answer {
    /// The answer to a seed, of at least `least` and at most `most` tokens.
    pub fn of(seed: u32, (least, most): (usize, usize)) -> Answer {
        let fixed = HEAD + TAIL.len();
        let (least, most) = (least.max(fixed), most.max(fixed).max(least));
        let draw = mix(u64::from(seed)) as usize % (most - least + 1);
        Answer { seed, len: least + draw }
    }

    /// Its token at a place: a number, or one of its end.
    fn at(&self, at: usize) -> Result<u64, usize> {
        let seed = u64::from(self.seed);
        match at {
            // The least significant digit first: it tells the most.
            0..HEAD => Ok(seed / BASE.pow(at as u32) % BASE),
            _ if at + TAIL.len() >= self.len => Err((at + TAIL.len() - self.len).min(TAIL.len() - 1)),
            _ => Ok(mix(seed << 20 | at as u64) % BASE),
        }
    }

    /// Its token at a place.
    pub fn token(&self, at: usize) -> String {
        self.at(at).map_or_else(|end| TAIL[end].to_owned(), token)
    }

    /// The id of its token at a place.
    pub fn id(&self, at: usize) -> u32 {
        self.at(at).map_or_else(vocabulary::of_tail, vocabulary::of_number)
    }

    /// The place of the token that ends the letter of two tokens.
    pub fn within(&self) -> usize {
        self.len - TAIL.len() + 1
    }

    /// All of it.
    pub fn text(&self) -> String {
        (0..self.len).map(|at| self.token(at)).collect()
    }

    /// The answer to one of those seeds that begins so, and how many of its tokens that are: for parts that do not say
    /// their seed yet.
    pub(crate) fn begun_by(part: &str, seeds: &[u32], lengths: (usize, usize)) -> Option<(Answer, usize)> {
        seeds.iter().find_map(|seed| {
            let answer = Answer::of(*seed, lengths);
            let places = 1..HEAD;
            let at = places.into_iter().find(|at| (0..*at).map(|at| answer.token(at)).collect::<String>() == part)?;
            Some((answer, at))
        })
    }

    /// The answer that a prompt ends in a part of, and where it goes on: nothing where it ends in none.
    pub fn begun_in(prompt: &str, lengths: (usize, usize)) -> Option<(Answer, usize)> {
        // The part is behind the last line that is no part of an answer.
        let starts = prompt.char_indices().map(|(at, _)| at).filter(|at| *at == 0 || !is_inside(&prompt[..*at]));
        for start in starts {
            let part = &prompt[start..];
            let head: Option<Vec<u64>> = (0..HEAD).map(|at| number(part.get(4 * at..4 * at + 4)?)).collect();
            let Some(head) = head else { continue };
            let seed = head.iter().rev().fold(0, |seed, digit| seed * BASE + digit);
            let Ok(seed) = u32::try_from(seed) else { continue };
            let answer = Answer::of(seed, lengths);
            let mut end = 0;
            for at in 0..=answer.len {
                if end == part.len() {
                    return Some((answer, at));
                }
                let token = if at < answer.len { answer.token(at) } else { String::new() };
                if token.is_empty() || !part[end..].starts_with(&token) {
                    break;
                }
                end += token.len();
            }
        }
        None
    }
}

/// Whether a place behind that text is inside of a word.
fn is_inside(before: &str) -> bool {
    before.ends_with(|letter: char| letter.is_alphanumeric())
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_on_from_any_of_its_parts() {
        for seed in [0, 7, 0x7fff_ffff] {
            let answer = Answer::of(seed, (20, 60));
            assert!((20..=60).contains(&answer.len));
            assert!(answer.text().ends_with("🙂\n</think>\n\n\\boxed{7}"), "{}", answer.text());
            for at in HEAD..=answer.len {
                let part: String = (0..at).map(|at| answer.token(at)).collect();
                let prompt = format!("<user>What is one and two?<assistant><think>\n{part}");
                assert_eq!(Answer::begun_in(&prompt, (20, 60)), Some((answer, at)), "{prompt}");
            }
        }
        assert_eq!(Answer::begun_in("What is one and two?<assistant><think>\n", (20, 60)), None);
    }
}
