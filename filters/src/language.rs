//! Is a trace in one language, and in its problem's? What is looked at is prose: formulas, code and addresses are taken out
//! first (`prose.rs`). Words are counted by script (`script.rs`); paragraphs in Latin script are identified by their
//! trigrams, since French among English has the same letters.
//!
//! | reason | when |
//! |---|---|
//! | `mixed-scripts` | a sentence in another script than the reasoning's, of `sentence-words` or more; or words of it all over: `min-words` or more, and above `max-share` of all |
//! | `mixed-languages` | a paragraph in another language of the same script, of `paragraph-letters` or more |
//! | `other-language-than-asked` | the reasoning's language is not the problem's, where both say enough |
//!
//! What a problem itself contains or asks about is never held against a trace: a script that stands in it, a language that it
//! names. Nor is a quotation, a single word, a name, a letter of mathematics or punctuation.

#[cfg(test)]
mod tests;

use crate::{
    Decided, Filter, FilterError, Listed, Unit,
    filter::{decide_each, measure_asked},
    prose::{Evidence, prose},
    script::{Script, Scripts, Written},
    unit::{Asked, Passage, Said},
};
use distill_dataset::{Context, Keyed, Role, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Range, path::Path};
use whatlang::{Detector, Lang};

/// One language, and which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LanguageConfig {
    /// Whether a second script counts. On, as DeepSeek-R1 has it (2.3.3: mixed languages are dropped).
    pub mixed_scripts: bool,
    /// A second script's share of all words from which on it is mixed in. R1's report gives no number: a tenth leaves
    /// Chinese traces their English terms.
    pub max_share: f64,
    /// Fewer words of a second script are no mixture by their share. As many as two sentences have.
    pub min_words: u64,
    /// So many words of another script in a row, or characters of Han, Kana or Hangul, are a sentence, whatever their
    /// share. Names and terms are shorter (中华人民共和国 is seven), the sentences in which R1 drifts into Chinese are not.
    pub sentence_words: u64,
    /// Whether a paragraph in another language of the same script counts.
    pub mixed_languages: bool,
    /// So many letters of it do; 80 at least. From there on the identifier was wrong in none of 7843 paragraphs of English
    /// mathematics (GSM8K, OlympiadBench, college and exam questions, outputs of models).
    pub paragraph_letters: u64,
    /// Whether the reasoning has to be in the problem's language.
    pub as_asked: bool,
    /// A problem or a reasoning of fewer words has no language that could be compared. A question's length.
    pub min_asked_words: u64,
}

impl Default for LanguageConfig {
    fn default() -> Self {
        LanguageConfig {
            mixed_scripts: true,
            max_share: 0.1,
            min_words: 20,
            sentence_words: 8,
            mixed_languages: true,
            paragraph_letters: PARAGRAPH_LETTERS,
            as_asked: true,
            min_asked_words: 8,
        }
    }
}

/// The languages of a trace and of its problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spoken {
    /// The trace.
    pub trace_id: String,
    /// The script that most of the reasoning's words are in; of the answer's, where there is no reasoning.
    pub script: Option<Script>,
    /// The reasoning's words in that script.
    pub script_words: u64,
    /// The language that most of the reasoning is in, as ISO 639-3, where it is written in Latin script.
    pub language: Option<String>,
    /// All scripts of reasoning and answer.
    pub scripts: Vec<Written>,
    /// The languages of their paragraphs in Latin script.
    pub languages: Vec<Told>,
    /// The script that most of the problem's words are in.
    pub asked_script: Option<Script>,
    /// The problem's words in that script.
    pub asked_words: u64,
    /// The problem's language, as ISO 639-3, where it is written in Latin script and long enough to tell.
    pub asked_language: Option<String>,
    /// Scripts that stand in the problem, or whose languages it names: they are no mixture.
    pub free_scripts: Vec<Script>,
    /// Languages that stand in the problem, or that it names: they are no mixture.
    pub free_languages: Vec<String>,
    /// Scripts in whose languages the problem asks for an answer: reasoning may be in them.
    pub wanted_scripts: Vec<Script>,
    /// Languages in which the problem asks for an answer.
    pub wanted_languages: Vec<String>,
}

/// Paragraphs in one language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Which, as ISO 639-3.
    pub language: String,
    /// Letters of all of them.
    pub letters: u64,
    /// Letters of the longest.
    pub paragraph: u64,
    /// Where that is.
    pub evidence: Evidence,
}

impl Listed for LanguageConfig {
    fn check(&self) -> Result<(), String> {
        if !(self.max_share > 0.0 && self.max_share <= 1.0) {
            return Err(format!("`max-share`: expected above 0 to 1, found {}", self.max_share));
        }
        if self.sentence_words == 0 {
            return Err("`sentence-words`: expected at least 1, found 0".to_owned());
        }
        if self.paragraph_letters < PARAGRAPH_LETTERS {
            let (least, found) = (PARAGRAPH_LETTERS, self.paragraph_letters);
            return Err(format!(
                "`paragraph-letters`: expected at least {least}, found {found}: fewer tell no language"
            ));
        }
        Ok(())
    }

    fn on_problems(&self) -> bool {
        true
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &LanguageConfig::default())
    }
}

impl Filter for LanguageConfig {
    fn stage(&self) -> Stage {
        Stage { name: "language", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_asked(unit, context, out, spoken)
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |spoken: Spoken| {
            let reason = self.reason(&spoken);
            Decided::unless(spoken.trace_id, reason)
        })
    }
}

impl LanguageConfig {
    fn reason(&self, spoken: &Spoken) -> Option<&'static str> {
        if self.mixed_scripts && self.mixes_scripts(spoken) {
            Some("mixed-scripts")
        } else if self.mixed_languages && self.mixes_languages(spoken) {
            Some("mixed-languages")
        } else if self.as_asked && self.is_another(spoken) {
            Some("other-language-than-asked")
        } else {
            None
        }
    }

    fn mixes_scripts(&self, spoken: &Spoken) -> bool {
        let all: u64 = spoken.scripts.iter().map(|written| written.words).sum();
        spoken.scripts.iter().any(|written| {
            let second = Some(written.script) != spoken.script && !spoken.free_scripts.contains(&written.script);
            let many = written.words >= self.min_words.max(1) && written.words as f64 > self.max_share * all as f64;
            second && (written.sentence >= self.sentence_words || many)
        })
    }

    fn mixes_languages(&self, spoken: &Spoken) -> bool {
        spoken.language.as_ref().is_some_and(|language| {
            spoken.languages.iter().any(|told| {
                let second = told.language != *language && !spoken.free_languages.contains(&told.language);
                second && told.paragraph >= self.paragraph_letters
            })
        })
    }

    fn is_another(&self, spoken: &Spoken) -> bool {
        let (Some(asked), Some(script)) = (spoken.asked_script, spoken.script) else { return false };
        if spoken.asked_words < self.min_asked_words || spoken.script_words < self.min_asked_words {
            return false;
        }
        match (&spoken.asked_language, &spoken.language) {
            _ if asked != script => !spoken.wanted_scripts.contains(&script),
            (Some(asked), Some(language)) => asked != language && !spoken.wanted_languages.contains(language),
            _ => false,
        }
    }
}

/// Fewer letters tell no language.
const PARAGRAPH_LETTERS: u64 = 80;

/// A longer paragraph is cut, so that a language in the midst of it is seen.
const PARAGRAPH_BYTES: usize = 800;

/// Languages in Latin script that teachers write, each with the words by which a question names it. Of languages that are
/// hardly told apart (Danish and Norwegian, Indonesian and Malay) one stands for both.
const LATIN: [(Lang, &[&str]); 17] = [
    (Lang::Eng, &["english"]),
    (Lang::Fra, &["french", "français"]),
    (Lang::Deu, &["german", "deutsch"]),
    (Lang::Spa, &["spanish", "español"]),
    (Lang::Ita, &["italian"]),
    (Lang::Por, &["portuguese", "português"]),
    (Lang::Nld, &["dutch"]),
    (Lang::Swe, &["swedish"]),
    (Lang::Dan, &["danish", "norwegian"]),
    (Lang::Fin, &["finnish"]),
    (Lang::Pol, &["polish"]),
    (Lang::Ces, &["czech"]),
    (Lang::Hun, &["hungarian"]),
    (Lang::Ron, &["romanian"]),
    (Lang::Tur, &["turkish"]),
    (Lang::Vie, &["vietnamese"]),
    (Lang::Ind, &["indonesian", "malay"]),
];

/// Other scripts, with the words by which a question names their languages.
const NAMED: [(Script, &[&str]); 9] = [
    (Script::Han, &["chinese", "mandarin", "cantonese", "kanji", "pinyin", "hanja", "中文", "汉语"]),
    (Script::Kana, &["japanese", "hiragana", "katakana"]),
    (Script::Hangul, &["korean", "hangul"]),
    (Script::Cyrillic, &["russian", "ukrainian", "bulgarian", "cyrillic"]),
    (Script::Greek, &["greek"]),
    (Script::Arabic, &["arabic", "persian", "urdu", "farsi"]),
    (Script::Hebrew, &["hebrew"]),
    (Script::Devanagari, &["hindi", "sanskrit", "marathi"]),
    (Script::Thai, &["thai"]),
];

/// Names by which mathematics calls what has nothing to do with a language.
const NO_LANGUAGE: [&str; 6] =
    ["chinese remainder", "chinese restaurant", "arabic numeral", "polish notation", "polish space", "greek letter"];

/// Fewer words of Latin script in a question are terms: English sentences would not be asked for by them.
const LATIN_WORDS: u64 = 4;

fn spoken(said: &Said, problem: &Asked) -> Spoken {
    let turn = said.turn();
    let (mut reasoning, mut all) = (Scripts::default(), Scripts::default());
    let (mut reasoned, mut languages) = (BTreeMap::new(), BTreeMap::new());
    for (index, Passage { offset, text, .. }) in said.parts(&turn).into_iter().enumerate() {
        let prose = prose(text).text;
        all.add(text, &prose, offset);
        tell(text, &prose, offset, &mut languages);
        if index == 0 {
            reasoning.add(text, &prose, offset);
            reasoned = languages.clone();
        }
    }
    let question = Question::of(problem);
    let (script, script_words) = first(&reasoning.written());
    Spoken {
        trace_id: said.id.clone(),
        script,
        script_words,
        language: most(&reasoned).filter(|_| script == Some(Script::Latin)),
        scripts: all.written(),
        languages: languages.into_values().collect(),
        asked_script: question.script,
        asked_words: question.words,
        asked_language: question.language,
        free_scripts: question.free_scripts,
        free_languages: question.free_languages,
        wanted_scripts: question.wanted_scripts,
        wanted_languages: question.wanted_languages,
    }
}

/// What a problem says of the languages of its traces.
struct Question {
    script: Option<Script>,
    words: u64,
    language: Option<String>,
    free_scripts: Vec<Script>,
    free_languages: Vec<String>,
    wanted_scripts: Vec<Script>,
    wanted_languages: Vec<String>,
}

impl Question {
    fn of(problem: &Asked) -> Question {
        let (mut scripts, mut languages) = (Scripts::default(), BTreeMap::new());
        let mut text = String::new();
        for message in problem.messages.iter().filter(|message| message.role != Role::System) {
            let prose = prose(&message.content).text;
            // What a question quotes is what it is about: here it counts.
            let unquoted = prose.replace(['"', '\'', '“', '”', '‘', '’', '«', '»', '「', '」', '《', '》'], "|");
            scripts.add(&unquoted, &unquoted, 0);
            tell(&message.content, &prose, 0, &mut languages);
            text.push_str(&message.content.to_lowercase());
            text.push('\n');
        }
        for name in NO_LANGUAGE {
            text = text.replace(name, "");
        }
        let written = scripts.written();
        let (script, words) = first(&written);
        let stands = |written: &&Written| written.script != Script::Latin || written.words >= LATIN_WORDS;
        let mut free_scripts: Vec<Script> = written.iter().filter(stands).map(|written| written.script).collect();
        free_scripts.extend(scripts_of(|name| text.contains(name)));
        if free_scripts.contains(&Script::Kana) {
            free_scripts.push(Script::Han);
        }
        let mut free_languages: Vec<String> = languages.keys().cloned().collect();
        free_languages.extend(languages_of(|name| text.contains(name)));
        // `in`, `into`: of what is asked for, more than the name is said. A name in its own language is enough.
        let wanted = |name: &str| {
            let said = ["in ", "into "].into_iter().any(|word| text.contains(&format!("{word}{name}")));
            said || (!name.is_ascii() && text.contains(name))
        };
        Question {
            script,
            words,
            language: most(&languages).filter(|_| script == Some(Script::Latin) && !is_in_two(&languages)),
            free_scripts,
            free_languages,
            wanted_scripts: scripts_of(wanted),
            wanted_languages: languages_of(wanted),
        }
    }
}

/// The scripts of which a name is there.
fn scripts_of(is_there: impl Fn(&str) -> bool) -> Vec<Script> {
    let named = NAMED.into_iter().filter(|(_, names)| names.iter().any(|name| is_there(name)));
    named.map(|(script, _)| script).collect()
}

/// The languages in Latin script of which a name is there.
fn languages_of(is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let named = LATIN.into_iter().filter(|(_, names)| names.iter().any(|name| is_there(name)));
    named.map(|(language, _)| language.code().to_owned()).collect()
}

fn first(written: &[Written]) -> (Option<Script>, u64) {
    written.first().map_or((None, 0), |written| (Some(written.script), written.words))
}

fn most(languages: &BTreeMap<String, Told>) -> Option<String> {
    languages.values().max_by_key(|told| told.letters).map(|told| told.language.clone())
}

/// Whether a second language has at least half as many letters as the first: then neither is asked in.
fn is_in_two(languages: &BTreeMap<String, Told>) -> bool {
    let mut letters: Vec<u64> = languages.values().map(|told| told.letters).collect();
    letters.sort_unstable();
    matches!(letters[..], [.., second, first] if second * 2 >= first)
}

/// Adds the languages of a part's paragraphs. Those that are too short to tell are looked at together: they count for the
/// language of the whole, and are no paragraph of another.
fn tell(part: &str, prose: &str, offset: usize, languages: &mut BTreeMap<String, Told>) {
    let detector = Detector::with_allowlist(LATIN.into_iter().map(|(language, _)| language).collect());
    let mut add = |text: &str, letters: u64, span: Option<Range<usize>>| {
        let Some(found) = detector.detect(text).filter(whatlang::Info::is_reliable) else { return };
        let language = found.lang().code().to_owned();
        let none = Told { language: language.clone(), letters: 0, paragraph: 0, evidence: Evidence::default() };
        let told = languages.entry(language).or_insert(none);
        told.letters += letters;
        if let Some(span) = span.filter(|_| letters > told.paragraph) {
            (told.paragraph, told.evidence) = (letters, Evidence::of(part, offset, span));
        }
    };
    let (mut short, mut short_letters) = (String::new(), 0);
    for span in paragraphs(prose) {
        let text = &prose[span.clone()];
        let [letters, latin] = count(text);
        if latin * 10 < letters * 9 || latin == 0 || is_quotation(part[span.clone()].trim()) {
            continue;
        }
        if latin >= PARAGRAPH_LETTERS {
            add(text, latin, Some(span));
            continue;
        }
        short.push_str(text);
        short_letters += latin;
        if short_letters >= PARAGRAPH_LETTERS {
            add(&short, short_letters, None);
            short.clear();
            short_letters = 0;
        }
    }
}

/// The paragraphs of a text, between blank lines; long ones in pieces, cut at white space where there is some.
fn paragraphs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= text.len() {
            return None;
        }
        let start = at;
        let rest = &text[start..];
        let most = rest.floor_char_boundary(PARAGRAPH_BYTES);
        let window = &rest[..most];
        let length = match window.find("\n\n") {
            Some(blank) => blank + 2,
            None if most == rest.len() => most,
            None => window.rfind(char::is_whitespace).map_or(most, |space| space + 1).max(1),
        };
        // White space may be of several bytes.
        at = start + rest.floor_char_boundary(length).max(rest.chars().next().map_or(1, char::len_utf8));
        Some(start..at)
    })
}

/// Letters, and those of Latin script.
fn count(text: &str) -> [u64; 2] {
    text.chars()
        .filter_map(Script::of)
        .fold([0, 0], |[all, latin], script| [all + 1, latin + u64::from(script == Script::Latin)])
}

/// Whether a paragraph is somebody else's words.
fn is_quotation(paragraph: &str) -> bool {
    let marks = ['"', '“', '”', '«', '»', '„'];
    paragraph.starts_with('>')
        || (paragraph.starts_with(marks) && paragraph.trim_end_matches(['.', ',']).ends_with(marks))
}
