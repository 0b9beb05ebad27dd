//! In which scripts a text is written: words and sentences of each, by Unicode's blocks.

use crate::prose::Evidence;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A script, or scripts that are written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// English, French, Vietnamese.
    Latin,
    /// Chinese.
    Han,
    /// Japanese: Hiragana and Katakana, and the Han among them.
    Kana,
    /// Korean.
    Hangul,
    /// Russian, Ukrainian.
    Cyrillic,
    /// Greek, but for what mathematics takes from it.
    Greek,
    /// Arabic, Persian, Urdu.
    Arabic,
    /// Hebrew.
    Hebrew,
    /// Hindi, Marathi, Sanskrit.
    Devanagari,
    /// Thai.
    Thai,
    /// Any other.
    Other,
}

/// All of them, each at its number.
const SCRIPTS: [Script; 11] = [
    Script::Latin,
    Script::Han,
    Script::Kana,
    Script::Hangul,
    Script::Cyrillic,
    Script::Greek,
    Script::Arabic,
    Script::Hebrew,
    Script::Devanagari,
    Script::Thai,
    Script::Other,
];

impl Script {
    /// The script of a letter; nothing for what is no letter, or is one of mathematics.
    pub(crate) fn of(letter: char) -> Option<Script> {
        Some(match u32::from(letter) {
            0x41..=0x5A | 0x61..=0x7A => Script::Latin,
            0..=0xBF | 0x2B0..=0x36F | 0x2000..=0x2BFF | 0x1D400..=0x1D7FF | 0x1EE00..=0x1EEFF => return None,
            0xC0..=0x24F | 0x250..=0x2AF | 0x1E00..=0x1EFF | 0xFF21..=0xFF3A | 0xFF41..=0xFF5A
                if letter.is_alphabetic() =>
            {
                Script::Latin
            }
            0x370..=0x3FF | 0x1F00..=0x1FFF if letter.is_alphabetic() => Script::Greek,
            0x400..=0x52F | 0x1C80..=0x1C8F | 0x2DE0..=0x2DFF | 0xA640..=0xA69F if letter.is_alphabetic() => {
                Script::Cyrillic
            }
            0x590..=0x5FF | 0xFB1D..=0xFB4F if letter.is_alphabetic() => Script::Hebrew,
            0x600..=0x6FF | 0x750..=0x77F | 0x8A0..=0x8FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFF
                if letter.is_alphabetic() =>
            {
                Script::Arabic
            }
            0x900..=0x97F | 0xA8E0..=0xA8FF => Script::Devanagari,
            0xE00..=0xE7F if letter.is_alphabetic() => Script::Thai,
            0x1100..=0x11FF | 0x3130..=0x318F | 0xA960..=0xA97F | 0xAC00..=0xD7FF => Script::Hangul,
            0x3041..=0x3096
            | 0x309D..=0x309F
            | 0x30A1..=0x30FA
            | 0x30FC..=0x30FF
            | 0x31F0..=0x31FF
            | 0xFF66..=0xFF9D => Script::Kana,
            0x2E80..=0x2FDF
            | 0x3005
            | 0x3007
            | 0x3400..=0x4DBF
            | 0x4E00..=0x9FFF
            | 0xF900..=0xFAFF
            | 0x20000..=0x3FFFF => Script::Han,
            _ if letter.is_alphabetic() => Script::Other,
            _ => return None,
        })
    }

    /// How many words so many letters in a row are. Characters of Chinese, Japanese and Korean count one each, four of Thai
    /// are one; of alphabets, fewer than three letters are a variable's name, and capitals a point's or an acronym.
    fn words(self, letters: u64, all_capitals: bool) -> u64 {
        match self {
            Script::Han | Script::Kana | Script::Hangul => letters,
            Script::Thai => letters.div_ceil(4),
            _ => u64::from(letters >= 3 && !all_capitals),
        }
    }

    /// Han stands within Japanese: one does not end a sentence of the other.
    fn continues(self, other: Script) -> bool {
        let japanese = |script| matches!(script, Script::Han | Script::Kana);
        self == other || (japanese(self) && japanese(other))
    }
}

/// What is written in one script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The script.
    pub script: Script,
    /// Words of an alphabet, or characters of Han, Kana or Hangul, but for what is quoted.
    pub words: u64,
    /// The most of them in a row, with no word of another script between.
    pub sentence: u64,
    /// Where those are.
    pub evidence: Evidence,
}

/// Counts of all scripts.
#[derive(Default)]
pub(crate) struct Scripts([Option<Written>; SCRIPTS.len()]);

/// Words of a script in a row.
struct Run {
    script: Script,
    words: [u64; SCRIPTS.len()],
    span: Range<usize>,
}

/// A longer run is a text, not a word or verse that somebody quotes.
const QUOTED_WORDS: u64 = 64;

impl Scripts {
    /// Adds a part of a turn that begins at byte `offset`: what is prose of it, at the same bytes.
    pub(crate) fn add(&mut self, part: &str, prose: &str, offset: usize) {
        let mut run: Option<Run> = None;
        for (script, words, span) in words_of(prose) {
            match &mut run {
                Some(run) if run.script.continues(script) => {
                    run.words[script as usize] += words;
                    run.span.end = span.end;
                }
                _ => {
                    let mut next = Run { script, words: [0; SCRIPTS.len()], span };
                    next.words[script as usize] = words;
                    if let Some(run) = run.replace(next) {
                        self.end(run, part, offset);
                    }
                }
            }
        }
        if let Some(run) = run {
            self.end(run, part, offset);
        }
    }

    fn end(&mut self, run: Run, part: &str, offset: usize) {
        let total: u64 = run.words.iter().sum();
        if total <= QUOTED_WORDS && is_quoted(part, &run.span) {
            return;
        }
        for script in SCRIPTS.into_iter().filter(|script| run.words[*script as usize] > 0) {
            let words = run.words[script as usize];
            let none = || Written { script, words: 0, sentence: 0, evidence: Evidence::default() };
            let written = self.0[script as usize].get_or_insert_with(none);
            written.words += words;
            if total > written.sentence {
                written.sentence = total;
                written.evidence = Evidence::of(part, offset, run.span.clone());
            }
        }
    }

    /// What was counted, the script with the most words first. Han among Kana is Japanese; a few Kana among Han are not.
    pub(crate) fn written(mut self) -> Vec<Written> {
        let [han, kana] = [Script::Han as usize, Script::Kana as usize];
        if let (Some(chinese), Some(japanese)) = (&self.0[han], &self.0[kana]) {
            let is_japanese = japanese.words * 10 >= chinese.words + japanese.words;
            let (into, from) = if is_japanese { (kana, han) } else { (han, kana) };
            if let (Some(from), Some(into)) = (self.0[from].take(), &mut self.0[into]) {
                into.words += from.words;
                if from.sentence > into.sentence {
                    (into.sentence, into.evidence) = (from.sentence, from.evidence);
                }
            }
        }
        let mut written: Vec<Written> = self.0.into_iter().flatten().collect();
        written.sort_by_key(|written| std::cmp::Reverse(written.words));
        written
    }
}

/// The words of a text that count: their script, how many they are, where they stand.
fn words_of(prose: &str) -> impl Iterator<Item = (Script, u64, Range<usize>)> {
    let mut letters = prose.char_indices().peekable();
    std::iter::from_fn(move || {
        loop {
            let (start, first) = letters.next()?;
            let Some(script) = Script::of(first) else { continue };
            let (mut count, mut end, mut capitals) = (1, start + first.len_utf8(), first.is_uppercase());
            while let Some((at, letter)) = letters.peek().copied() {
                let combines = matches!(u32::from(letter), 0x300..=0x36F | 0x64B..=0x65F | 0x591..=0x5C7);
                if Script::of(letter) != Some(script) && !combines {
                    break;
                }
                count += u64::from(!combines);
                capitals &= combines || letter.is_uppercase();
                end = at + letter.len_utf8();
                letters.next();
            }
            let words = script.words(count, capitals);
            if words > 0 {
                return Some((script, words, start..end));
            }
        }
    })
}

/// Whether quotation marks stand around a stretch of a text.
fn is_quoted(text: &str, span: &Range<usize>) -> bool {
    let opens = |mark| matches!(mark, '"' | '\'' | '“' | '‘' | '„' | '«' | '‹' | '「' | '『' | '《' | '〈');
    let closes = |mark| matches!(mark, '"' | '\'' | '”' | '’' | '“' | '»' | '›' | '」' | '』' | '》' | '〉');
    let between = |letter: char| matches!(letter, ' ' | '.' | ',' | '?' | '!' | '。' | '，' | '？' | '！' | '、' | '…');
    let before = text[..span.start].chars().rev().find(|letter| *letter != ' ');
    let behind = text[span.end..].chars().find(|letter| !between(*letter));
    before.is_some_and(opens) && behind.is_some_and(closes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script, its words, and the longest sentence's.
    type Counted = (Script, u64, u64);

    fn counted(text: &str) -> Vec<Counted> {
        let mut scripts = Scripts::default();
        scripts.add(text, text, 0);
        scripts.written().into_iter().map(|written| (written.script, written.words, written.sentence)).collect()
    }

    #[test]
    fn every_script_is_at_its_number() {
        assert!(SCRIPTS.into_iter().enumerate().all(|(index, script)| script as usize == index));
    }

    #[test]
    fn words_are_counted_by_script() {
        let cases: [(&str, &[Counted]); 14] = [
            ("Let us see.", &[(Script::Latin, 2, 2)]),
            ("x = ab, AB and ABC", &[(Script::Latin, 1, 1)]),
            ("α + β = γ and Δx, λμ", &[(Script::Latin, 1, 1)]),
            ("Θέλουμε να", &[(Script::Greek, 1, 1)]),
            ("скорость равна", &[(Script::Cyrillic, 2, 2)]),
            ("我们得到答案", &[(Script::Han, 6, 6)]),
            ("我们 x 得到, 答案", &[(Script::Han, 6, 6)]),
            ("これは答えです", &[(Script::Kana, 7, 7)]),
            ("한국어", &[(Script::Hangul, 3, 3)]),
            ("हिन्दी में", &[(Script::Devanagari, 2, 2)]),
            ("مرحبا بكم", &[(Script::Arabic, 2, 2)]),
            ("the word “答案” and \"我们\" are", &[(Script::Latin, 4, 2)]),
            ("ℝ ⊂ ℂ, 𝑥 ∈ ℕ，。！", &[]),
            ("we see 我们 then 得到答案", &[(Script::Han, 6, 4), (Script::Latin, 2, 1)]),
        ];
        for (text, expected) in cases {
            assert_eq!(counted(text), expected, "{text}");
        }
    }
}
