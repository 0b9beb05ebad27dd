//! A text enters, the hashes of its tokens leave, in order. Mathematics stays: a changed digit, operator or command is a
//! changed token.
//!
//! | text | token |
//! |---|---|
//! | a run of letters | one, its case folded |
//! | digits with their decimal points, `3.14` and `.5` | one |
//! | `\frac` | one, its case kept; so is `\{` |
//! | a letter of a script without blanks (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) | one |
//! | every other character that is not blank | one |
//! | blanks, controls, zero-width characters | none: they end a token |
//!
//! Hangul is written with blanks, so its runs are words. Unicode is not normalised.

use super::hash::{SALT, hash_bytes, last, load, low_bytes};

/// What shingles are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Words, numbers, commands and symbols.
    Words,
    /// Characters that are not blank, their case folded.
    Characters,
}

/// Kinds of tokens, told apart by the seed of their hash.
const WORD: u64 = 0x2d35_8dcc_aa6c_78a5;
const NUMBER: u64 = 0x8bb8_4b93_962e_acc9;
const COMMAND: u64 = 0x4b33_a62e_d433_d4a3;
const SYMBOL: u64 = 0x4d5a_2da5_1de1_aa47;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Letter,
    Digit,
    Backslash,
    Symbol,
    Wide,
}

/// The class of each first byte of a character.
static CLASS: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Wide; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'\\' => Class::Backslash,
            0..=b' ' | 0x7f => Class::Blank,
            _ => Class::Symbol,
        };
        byte += 1;
    }
    classes
}

/// Hands the hash of each token to `each`, in order. Returns the hash of the multiset of the numbers among them: equal
/// numbers in any order give equal hashes, and a text without numbers gives 0.
#[inline(always)]
pub(crate) fn tokens(text: &str, grain: Grain, each: impl FnMut(u64)) -> u64 {
    match grain {
        Grain::Words => words(text, each),
        Grain::Characters => characters(text, each),
    }
}

/// The fast way: 64 bytes are judged at a time, and the runs of ASCII that end among them are read without a branch for each
/// kind. What needs a look at its neighbours is read by [`one`].
#[inline(always)]
fn words(text: &str, mut each: impl FnMut(u64)) -> u64 {
    let bytes = text.as_bytes();
    let (mut at, mut numbers) = (0, 0u64);
    let mut tail: [u8; WINDOW];
    while at < bytes.len() {
        let window = match bytes[at..].first_chunk::<WINDOW>() {
            Some(window) => window,
            None => {
                // Blanks stand behind the end.
                tail = [0; WINDOW];
                tail[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                &tail
            }
        };
        let Kinds { letters, digits, hard, mut starts } = Kinds::of(window);
        // Where the next block begins: behind this one, or where its last token does.
        let mut next = at + 64;
        while starts != 0 {
            let start = starts.trailing_zeros() as usize;
            let run = (!(letters >> start)).trailing_zeros().max((!(digits >> start)).trailing_zeros());
            let end = start + run.max(1) as usize;
            if end >= 64 && start > 0 {
                next = at + start;
                break;
            }
            if end >= 64 || (hard >> start | u64::from(run > 0) & hard >> end) & 1 == 1 {
                let end = one(text, at + start, &mut numbers, &mut each);
                if end >= at + 64 {
                    next = end;
                    break;
                }
                starts &= u64::MAX << (end - at);
                continue;
            }
            starts &= starts - 1;
            let kind = (letters >> start & 1 | digits >> start << 1 & 2) as usize & 3;
            let (seed, lower) = KINDS[kind];
            let hash = if run < 8 {
                last(seed, low_bytes(load(window, start) | lower, end - start))
            } else if kind == LETTER {
                ascii_word(bytes, at + start).1
            } else {
                hash_bytes(&bytes[at + start..at + end], seed)
            };
            if kind == DIGIT {
                numbers = numbers.wrapping_add(last(hash, NUMBER));
            }
            each(hash);
        }
        at = next;
    }
    numbers
}

/// Bytes that are looked at for a block: its own, and those of a chunk that begins at its last.
const WINDOW: usize = 72;

/// Kinds of a token by their place in [`KINDS`].
const LETTER: usize = 1;
const DIGIT: usize = 2;

/// Of symbols, letters and digits, the seed of the hash and the bits that fold its case.
const KINDS: [(u64, u64); 4] = [(SYMBOL, 0), (WORD, 0x2020_2020_2020_2020), (NUMBER, 0), (SYMBOL, 0)];

/// What the bytes of a block are, a bit each.
struct Kinds {
    letters: u64,
    digits: u64,
    /// What [`one`] reads: `\`, points before a digit, all beyond ASCII.
    hard: u64,
    /// Where tokens begin, those that `hard` ones take in too.
    starts: u64,
}

impl Kinds {
    #[inline(always)]
    fn of(window: &[u8; WINDOW]) -> Kinds {
        let (mut letters, mut digits, mut points, mut hard, mut blanks) = (0, 0, 0, 0, 0);
        for eight in 0..8 {
            let chunk = load(window, 8 * eight);
            let wide = chunk & TOPS;
            // The top bits of sums of seven bits: no byte carries into the next.
            let low = chunk & !TOPS;
            let least = |folded: u64, byte: u8| folded.wrapping_add(ONES * u64::from(0x80 - byte));
            let equal = |byte: u8| !((low ^ (ONES * u64::from(byte))) + (ONES * 0x7f));
            let folded = low | (ONES * 0x20);
            let bits = |tops: u64| (tops & TOPS).wrapping_mul(0x0002_0408_1020_4081) >> 56 << (8 * eight);
            letters |= bits(least(folded, b'a') & !least(folded, b'z' + 1) & !wide);
            digits |= bits(least(low, b'0') & !least(low, b'9' + 1) & !wide);
            points |= bits(equal(b'.') & !wide);
            hard |= bits(equal(b'\\') | wide);
            blanks |= bits((!least(low, b' ' + 1) | equal(0x7f)) & !wide);
        }
        let after = u64::from(window[64].is_ascii_digit()) << 63;
        let hard = hard | points & (digits >> 1 | after);
        let inner = letters & letters << 1 | digits & digits << 1;
        Kinds { letters, digits, hard, starts: !(blanks | inner) }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * ONES;

/// Hands on the token that begins at `at`, or passes the blank there. Returns where it ends.
#[inline(never)]
fn one(text: &str, at: usize, numbers: &mut u64, each: &mut impl FnMut(u64)) -> usize {
    let bytes = text.as_bytes();
    let Some(&byte) = bytes.get(at) else { return at + 1 };
    match CLASS[usize::from(byte)] {
        Class::Blank => at + 1,
        Class::Letter => {
            let (end, hash) = ascii_word(bytes, at);
            if bytes.get(end).is_some_and(|&next| next >= 0x80) {
                return wide_word(text, at, each);
            }
            each(hash);
            end
        }
        Class::Digit => number(bytes, at, numbers, each),
        Class::Symbol if byte == b'.' && opens_number(bytes, at) => number(bytes, at, numbers, each),
        Class::Symbol => {
            each(last(SYMBOL, u64::from(byte)));
            at + 1
        }
        Class::Backslash => {
            let end = command_end(bytes, at);
            each(hash_bytes(&bytes[at..end], COMMAND));
            end
        }
        Class::Wide => wide(text, at, numbers, each),
    }
}

fn characters(text: &str, mut each: impl FnMut(u64)) -> u64 {
    let bytes = text.as_bytes();
    let (mut numbers, mut number_end) = (0u64, 0);
    for (at, character) in text.char_indices() {
        if at >= number_end {
            if character.is_ascii_digit() || (character == '.' && opens_number(bytes, at)) {
                number_end = number(bytes, at, &mut numbers, &mut |_| ());
            } else if !character.is_ascii() && character.is_numeric() {
                number_end = wide_number(text, at, &mut numbers, &mut |_| ());
            }
        }
        if !is_blank(character) {
            each(character.to_lowercase().fold(SYMBOL, |hash, lower| last(hash, u64::from(lower))));
        }
    }
    numbers
}

/// The end and the hash of the run of ASCII letters at `at`.
#[inline(always)]
fn ascii_word(bytes: &[u8], mut at: usize) -> (usize, u64) {
    let mut hash = WORD;
    loop {
        let chunk = load(bytes, at);
        let count = leading_letters(chunk);
        let lower = chunk | 0x2020_2020_2020_2020;
        if count < 8 {
            return (at + count, last(hash, low_bytes(lower, count)));
        }
        hash = super::hash::fold(hash ^ lower, SALT[1]);
        at += 8;
    }
}

/// How many bytes of the chunk are ASCII letters before the first that is none: all eight bytes are judged at once.
#[inline(always)]
fn leading_letters(chunk: u64) -> usize {
    let lower = (chunk | 0x2020_2020_2020_2020) & !TOPS;
    let from_a = lower + 0x1f1f_1f1f_1f1f_1f1f;
    let after_z = lower + 0x0505_0505_0505_0505;
    let letters = from_a & !after_z & !chunk & TOPS;
    (letters ^ TOPS).trailing_zeros() as usize / 8
}

/// Whether the point at `at` begins a number: `.5` after a blank, an operator or nothing.
fn opens_number(bytes: &[u8], at: usize) -> bool {
    let before = if at == 0 { Class::Blank } else { CLASS[usize::from(bytes[at - 1])] };
    matches!(before, Class::Blank | Class::Symbol) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// Hands on the number at `at`: digits, and points that a digit follows. Returns its end.
#[inline(always)]
fn number(bytes: &[u8], at: usize, numbers: &mut u64, each: &mut impl FnMut(u64)) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        let goes_on = byte.is_ascii_digit() || (byte == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit));
        if !goes_on {
            break;
        }
        end += 1;
    }
    let hash = hash_bytes(&bytes[at..end], NUMBER);
    *numbers = numbers.wrapping_add(last(hash, NUMBER));
    each(hash);
    end
}

/// The end of the LaTeX command at `at`: its letters, or the one symbol after the backslash.
fn command_end(bytes: &[u8], at: usize) -> usize {
    let letters = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let symbol = |byte: &u8| matches!(CLASS[usize::from(*byte)], Class::Symbol | Class::Backslash);
    if letters == 0 && bytes.get(at + 1).is_some_and(symbol) { at + 2 } else { at + 1 + letters }
}

/// Hands on the token that begins with the character at `at`, which is not ASCII. Returns its end.
#[inline(never)]
fn wide(text: &str, at: usize, numbers: &mut u64, each: &mut impl FnMut(u64)) -> usize {
    let Some(character) = text[at..].chars().next() else { return text.len() };
    if is_blank(character) {
        at + character.len_utf8()
    } else if character.is_numeric() {
        wide_number(text, at, numbers, each)
    } else if is_word_letter(character) {
        wide_word(text, at, each)
    } else {
        each(last(SYMBOL, u64::from(character)));
        at + character.len_utf8()
    }
}

/// Hands on the run of letters at `at`, some of which may not be ASCII. Returns its end.
#[inline(never)]
fn wide_word(text: &str, at: usize, each: &mut impl FnMut(u64)) -> usize {
    let rest = &text[at..];
    let end = rest.find(|character| !is_word_letter(character)).unwrap_or(rest.len());
    let word = &rest[..end];
    // Most words are short: their folded form is built on the stack, eight bytes of it at a time.
    let (mut hash, mut chunk, mut filled, mut utf8) = (WORD, 0u64, 0, [0; 4]);
    for lower in word.chars().flat_map(char::to_lowercase) {
        for &byte in lower.encode_utf8(&mut utf8).as_bytes() {
            chunk |= u64::from(byte) << (8 * filled);
            filled += 1;
            if filled == 8 {
                hash = super::hash::fold(hash ^ chunk, SALT[1]);
                (chunk, filled) = (0, 0);
            }
        }
    }
    each(last(hash, chunk));
    at + end
}

/// Hands on the run of digits at `at`, which are not ASCII: other scripts', superscripts, fractions. Returns its end.
fn wide_number(text: &str, at: usize, numbers: &mut u64, each: &mut impl FnMut(u64)) -> usize {
    let rest = &text[at..];
    let end = rest.find(|c: char| c.is_ascii() || !c.is_numeric()).unwrap_or(rest.len());
    let hash = hash_bytes(&rest.as_bytes()[..end], NUMBER);
    *numbers = numbers.wrapping_add(last(hash, NUMBER));
    each(hash);
    at + end
}

fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// Whether the character is part of a word, that is a letter of a script that is written with blanks.
fn is_word_letter(character: char) -> bool {
    character.is_ascii_alphabetic()
        || (!character.is_ascii() && character.is_alphabetic() && !is_numeral(character) && !stands_alone(character))
}

fn is_numeral(character: char) -> bool {
    character.is_numeric()
}

/// Whether the character's script is written without blanks, so that each of its letters is a token.
fn stands_alone(character: char) -> bool {
    matches!(u32::from(character),
        0x0e00..=0x0fff             // Thai, Lao, Tibetan
        | 0x1000..=0x109f           // Burmese
        | 0x1780..=0x17ff           // Khmer
        | 0x3005..=0x3007           // iteration mark, zero
        | 0x3040..=0x312f           // kana, bopomofo
        | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf           // Han
        | 0x4e00..=0x9fff
        | 0xf900..=0xfaff
        | 0xff66..=0xff9f           // half-width kana
        | 0x2_0000..=0x3_23af)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut hashes = Vec::new();
        tokens(text, Grain::Words, |hash| hashes.push(hash));
        hashes
    }

    #[test]
    fn tokens_are_those_of_the_table() {
        // Every text, and its tokens parted by blanks.
        let table = [
            ("Let x=3.14, y = -2", "let x = 3.14 , y = - 2"),
            ("", ""),
            (" \t\r\n\0\u{7f}\u{a0}\u{3000}\u{200b}\u{feff}", ""),
            ("\\frac{1}{2}\\Delta\\{a\\}\\\\", "\\frac { 1 } { 2 } \\Delta \\{ a \\} \\\\"),
            ("\\", "\\"),
            ("\\é", "\\ é"),
            ("1.2.3 4. x.5 .5 -.5 ..", "1.2.3 4 . x . 5 .5 - .5 . ."),
            ("naïve—Ünïcödewörter", "naïve — ünïcödewörter"),
            ("NAÏVE abcdefgh ABCDEFGHI", "naïve abcdefgh abcdefghi"),
            ("it’s x² ½ ٣٤", "it ’ s x ² ½ ٣٤"),
            ("数学は。ภาษา", "数 学 は 。 ภ า ษ า"),
            ("수학 문제", "수학 문제"),
            ("a_1+b^{2}≤√3", "a _ 1 + b ^ { 2 } ≤ √ 3"),
            ("2x 10km", "2 x 10 km"),
            ("🙂👍🏽", "🙂 👍 🏽"),
        ];
        for (text, parted) in table {
            let expected: Vec<u64> = parted.split_whitespace().flat_map(hashes).collect();
            assert_eq!(hashes(text), expected, "{text:?}");
            assert_eq!(expected.len(), parted.split_whitespace().count(), "{parted:?}");
        }
        let all: Vec<u64> =
            "let x 3.14 3.15 3 14 - = \\delta \\Delta delta \\ ² 2 数 学".split(' ').flat_map(hashes).collect();
        let distinct: std::collections::HashSet<u64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn equal_numbers_in_any_order_have_equal_hashes() {
        let numbers = |text: &str, grain| tokens(text, grain, |_| ());
        for grain in [Grain::Words, Grain::Characters] {
            assert_eq!(numbers("2 plus 3.5 is 5.5", grain), numbers("is 5.5 = 3.5 and 2?", grain));
            assert_eq!(numbers("none at all", grain), 0);
            for (one, other) in [("3.5", "3 5"), ("2 2", "2"), (".5", "5"), ("x²", "x³"), ("1 2", "1 3"), ("12", "1 2")]
            {
                assert_ne!(numbers(one, grain), numbers(other, grain), "{one} {other}");
            }
        }
    }

    #[test]
    fn characters_are_folded_and_blanks_skipped() {
        let hashes = |text: &str| {
            let mut hashes = Vec::new();
            tokens(text, Grain::Characters, |hash| hashes.push(hash));
            hashes
        };
        assert_eq!(hashes("A b\tÇ 12"), hashes("aBç1\u{a0}2"));
        assert_eq!(hashes("ab 12").len(), 4);
    }

    proptest! {
        #[test]
        fn a_block_reads_what_one_token_after_another_reads(
            parts in prop::collection::vec(
                prop_oneof![
                    "[a-zA-Z]{1,70}", "[ .,$(){}^_=0-9a-d-]{1,40}", r"\\[a-z{}\\]{0,9}", "[0-9]{1,12}", "[.0-9]{1,9}", "[é数²٣ —a-c\u{200b}]{1,6}",
                    "[ \n\t\0\x7f]{1,70}", any::<String>(),
                ],
                0..12,
            ),
        ) {
            let text = parts.concat();
            let (mut expected, mut numbers, mut at) = (Vec::new(), 0, 0);
            while at < text.len() {
                at = one(&text, at, &mut numbers, &mut |hash| expected.push(hash));
            }
            let mut found = Vec::new();
            prop_assert_eq!(tokens(&text, Grain::Words, |hash| found.push(hash)), numbers, "numbers of {:?}", text);
            prop_assert_eq!(found, expected, "{:?}", text);
        }
    }

    #[test]
    fn leading_letters_stop_at_everything_else() {
        for byte in 0..=255u8 {
            let chunk = u64::from_le_bytes([b'a', b'Z', byte, b'q', b'A', b'z', b'b', b'c']);
            assert_eq!(leading_letters(chunk), if byte.is_ascii_alphabetic() { 8 } else { 2 }, "{byte}");
        }
    }
}
