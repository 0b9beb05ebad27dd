//! What is said in words: refusals, a model's word on itself, the beginnings of branches. Phrases are compared word by word,
//! whatever stands between them, and never across the end of a sentence.

use std::ops::Range;

/// The words of a text, in order: letters and digits in a row.
#[derive(Clone)]
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Words<'t> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at + self.text[self.at..].find(char::is_alphanumeric)?;
        let rest = &self.text[start..];
        let length = rest.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(rest.len());
        self.at = start + length;
        Some(start..self.at)
    }
}

/// How many words are looked at from where a phrase may begin.
const AHEAD: usize = 24;

/// A sentence from one of its words on, in small letters, with where each word ends.
struct Sentence {
    words: Vec<String>,
    ends: Vec<usize>,
}

impl Sentence {
    fn at(text: &str, start: usize) -> Sentence {
        let mut sentence = Sentence { words: Vec::new(), ends: Vec::new() };
        let mut last = start;
        for word in (Words { text, at: start }).take(AHEAD) {
            if text[last..word.start].contains(['.', '!', '?', '\n', '"', '”', '。']) {
                break;
            }
            last = word.end;
            // No word of a phrase is longer.
            let short = &text[word.start..text.floor_char_boundary(word.end.min(word.start + 40))];
            sentence.words.push(short.to_lowercase());
            sentence.ends.push(word.end);
        }
        sentence
    }

    /// How many words of a phrase stand at a word; nothing where it does not stand there.
    fn has(&self, index: usize, phrase: &str) -> Option<usize> {
        let words = self.words.get(index..)?;
        let mut count = 0;
        phrase
            .split(' ')
            .all(|word| {
                count += 1;
                words.get(count - 1).is_some_and(|found| found == word)
            })
            .then_some(count)
    }

    /// The words behind the first of these phrases that stands at a word.
    fn behind(&self, index: usize, phrases: &[&str]) -> Option<usize> {
        phrases.iter().find_map(|phrase| self.has(index, phrase)).map(|count| index + count)
    }

    fn holds(&self, from: usize, words: &[&str]) -> bool {
        self.words.iter().skip(from).any(|word| words.contains(&word.as_str()))
    }
}

/// What a trace quotes is not its own word: an odd number of quotation marks stands before it in its line, as far as one looks.
fn is_quoted(text: &str, at: usize) -> bool {
    let from = text.floor_char_boundary(at.saturating_sub(300));
    let line = text[from..at].rsplit('\n').next().unwrap_or_default();
    let (mut plain, mut curly) = (0, 0);
    for letter in line.chars() {
        match letter {
            '"' => plain += 1,
            '“' | '「' | '«' => curly += 1,
            '”' | '」' | '»' => curly -= 1,
            _ => {}
        }
    }
    plain % 2 == 1 || curly > 0 || line.trim_start().starts_with('>')
}

/// How many bytes of an answer may pass before it refuses.
const REFUSAL_BYTES: usize = 400;

const UNABLE: [&str; 14] = [
    "i can t",
    "i cannot",
    "i can not",
    "i am unable to",
    "i m unable to",
    "i am not able to",
    "i m not able to",
    "i won t",
    "i will not",
    "i am not allowed to",
    "i m not allowed to",
    "i must refuse to",
    "i have to refuse to",
    "i refuse to",
];
const DECLINE: [&str; 4] = ["i must decline", "i have to decline", "i respectfully decline", "i need to decline"];
const HELP: [&str; 7] = ["help", "assist", "comply", "fulfill", "fulfil", "engage", "participate"];
const GIVE: [&str; 12] = [
    "provide", "write", "create", "generate", "produce", "share", "answer", "discuss", "offer", "support", "do",
    "continue",
];
/// What a refusal withholds: an expression that has no closed form is none of it.
const WITHHELD: [&str; 11] = [
    "request",
    "requests",
    "instructions",
    "content",
    "information",
    "help",
    "assistance",
    "guidance",
    "advice",
    "topic",
    "topics",
];
const REFUSALS: [&str; 10] = [
    "beyond my current scope",
    "我无法回答",
    "我不能回答",
    "暂时无法回答",
    "我无法提供",
    "我不能提供",
    "我无法协助",
    "我不能协助",
    "无法满足您的请求",
    "换个话题",
];

/// Where an answer begins by refusing.
pub(super) fn refusal(answer: &str) -> Option<Range<usize>> {
    let begin = &answer[..answer.floor_char_boundary(REFUSAL_BYTES)];
    let stock = REFUSALS.iter().find_map(|phrase| begin.find(phrase).map(|at| at..at + phrase.len()));
    let words = || Words { text: begin, at: 0 };
    let is_sorry = |at: usize| {
        let told = ["sorry", "apologize", "apologise", "unfortunately", "afraid"];
        words().take_while(|word| word.start < at).any(|word| told.contains(&begin[word].to_lowercase().as_str()))
    };
    let in_words = words().filter(|word| begin[word.clone()].eq_ignore_ascii_case("i")).find_map(|word| {
        let sentence = Sentence::at(begin, word.start);
        let end = match sentence.behind(0, &UNABLE) {
            Some(next) => refuses(&sentence, next, is_sorry(word.start))?,
            None => sentence.behind(0, &DECLINE)?,
        };
        Some(word.start..sentence.ends[end - 1])
    });
    in_words.or(stock).filter(|span| !is_quoted(begin, span.start))
}

/// How many words it takes to refuse, where the words behind `cannot` do.
fn refuses(sentence: &Sentence, next: usize, is_sorry: bool) -> Option<usize> {
    let next = sentence.behind(next, &["be able to", "in good conscience", "ethically", "really"]).unwrap_or(next);
    let verb = sentence.words.get(next)?.as_str();
    // One cannot help but see that a number is prime.
    let helps = HELP.contains(&verb) && !(verb == "help" && sentence.holds(next + 1, &["but", "thinking", "noticing"]));
    let withholds = GIVE.contains(&verb) && (is_sorry || sentence.holds(next + 1, &WITHHELD));
    (helps || withholds).then_some(next + 1)
}

/// Whether a question, in small letters, asks for a refusal.
pub(super) fn asks_to_refuse(question: &str) -> bool {
    ["declin", "refus", "turn down", "say no", "apolog", "拒绝"].into_iter().any(|word| question.contains(word))
}

const MAKERS: [&str; 14] = [
    "deepseek",
    "openai",
    "anthropic",
    "alibaba",
    "google",
    "meta",
    "microsoft",
    "mistral",
    "moonshot",
    "bytedance",
    "baidu",
    "zhipu",
    "xai",
    "nvidia",
];
/// Names of models that are nobody else's.
const MODELS: [&str; 8] = ["deepseek", "chatgpt", "gpt", "qwen", "kimi", "ernie", "doubao", "openai"];
/// Names that are people's, animals' or stars' as well: a word beside them has to say that a model is meant.
const NAMESAKES: [&str; 6] = ["claude", "gemini", "llama", "bard", "mistral", "grok"];
const MODEL_WORDS: [&str; 6] = ["ai", "model", "assistant", "chatbot", "anthropic", "language"];
const AS_A_MODEL: [&str; 13] = [
    "as an ai language model",
    "as an ai model",
    "as an ai assistant",
    "as an ai developed",
    "as an ai created",
    "as an ai trained",
    "as an ai i",
    "as a language model",
    "as a large language model",
    "as an artificial intelligence i",
    "as an artificial intelligence language model",
    "as an llm i",
    "as an artificial intelligence model",
];
const I_AM: [&str; 4] = ["i am", "i m", "my name is", "i am called"];
const I_WAS_MADE: [&str; 16] = [
    "i was created by",
    "i was developed by",
    "i was trained by",
    "i was made by",
    "i was built by",
    "i am created by",
    "i am developed by",
    "i am trained by",
    "i am made by",
    "i am built by",
    "i m created by",
    "i m developed by",
    "i m trained by",
    "i m made by",
    "i m built by",
    "i have been developed by",
];
const IN_CHINESE: [&str; 10] = [
    "我是DeepSeek",
    "我是 DeepSeek",
    "我是深度求索",
    "我是由深度求索",
    "我是通义千问",
    "我是Qwen",
    "我是ChatGPT",
    "作为一个人工智能",
    "作为人工智能助手",
    "作为一个AI",
];

/// The first words of all these phrases, and the second ones.
const BEGINS: [(&str, &[&str]); 3] = [("i", &["am", "m", "was", "have"]), ("as", &["a", "an"]), ("my", &["name"])];

/// Where a text says which model speaks, or that one does.
pub(super) fn identity(text: &str) -> Option<Range<usize>> {
    let in_words = Words { text, at: 0 }.find_map(|word| {
        let is = |word: &Range<usize>, known: &str| text[word.clone()].eq_ignore_ascii_case(known);
        let (_, seconds) = BEGINS.iter().find(|(first, _)| is(&word, first))?;
        let second = Words { text, at: word.end }.next()?;
        if !seconds.iter().any(|known| is(&second, known)) {
            return None;
        }
        let end = says_who(&Sentence::at(text, word.start))?;
        (!is_quoted(text, word.start)).then_some(word.start..end)
    });
    let in_chinese = || {
        let found = IN_CHINESE.iter().filter_map(|phrase| text.find(phrase).map(|at| at..at + phrase.len()));
        found.filter(|span| !is_quoted(text, span.start)).min_by_key(|span| span.start)
    };
    in_words.or_else(in_chinese)
}

/// The byte behind a model's word on itself.
fn says_who(sentence: &Sentence) -> Option<usize> {
    let end = |index: usize| sentence.ends.get(index - 1).copied();
    if let Some(next) = sentence.behind(0, &AS_A_MODEL) {
        let of_itself = ["i", "my", "cannot", "can", "developed", "created", "trained", "made"];
        return if sentence.holds(next - 1, &of_itself) { end(next) } else { None };
    }
    if let Some(next) = sentence.behind(0, &I_WAS_MADE) {
        let made = sentence.words.iter().skip(next).take(4).position(|word| MAKERS.contains(&word.as_str()))?;
        return end(next + made + 1);
    }
    let next = sentence.behind(0, &I_AM)?;
    // The name stands at once, or behind what it is a name of: `an AI assistant called`.
    let named = sentence.words.iter().skip(next).take(10).enumerate();
    for (count, word) in named {
        let is_close =
            count == 0 || sentence.words[next..next + count].iter().all(|before| INTRODUCE.contains(&before.as_str()));
        let is_name = MODELS.contains(&word.as_str())
            || (NAMESAKES.contains(&word.as_str()) && sentence.holds(next, &MODEL_WORDS));
        if is_close && is_name {
            return end(next + count + 1);
        }
    }
    let is_model = [
        "an ai language model",
        "an ai assistant",
        "an ai model",
        "a large language model",
        "a language model",
        "just an ai",
        "only an ai",
    ];
    sentence.behind(next, &is_model).and_then(end)
}

/// What may stand between `I am` and a model's name.
const INTRODUCE: [&str; 19] = [
    "an",
    "a",
    "the",
    "ai",
    "assistant",
    "model",
    "language",
    "large",
    "chatbot",
    "called",
    "named",
    "known",
    "as",
    "by",
    "developed",
    "created",
    "made",
    "trained",
    "from",
];

/// Whether a question, in small letters, asks who speaks or is about models.
pub(super) fn asks_who_speaks(question: &str) -> bool {
    let asks = [
        "who are you",
        "what are you",
        "your name",
        "which model",
        "what model",
        "are you an ai",
        "are you a",
        "made you",
        "created you",
        "trained you",
        "developed you",
        "introduce yourself",
        "about yourself",
        "language model",
        "deepseek",
        "chatgpt",
        "openai",
        "anthropic",
        "chatbot",
        "as an ai",
        "你是谁",
        "你是什么",
        "介绍一下你",
        "人工智能",
    ];
    asks.into_iter().any(|phrase| question.contains(phrase))
}

/// The beginnings of branches in a reasoning.
#[derive(Default)]
pub(super) struct Branches {
    /// All words; a character of Han is one.
    pub(super) words: u64,
    pub(super) count: u64,
    pub(super) first: Option<Range<usize>>,
}

/// Counts `Wait`, `Alternatively` and `Hmm`.
pub(super) fn branches(text: &str) -> Branches {
    let mut branches = Branches::default();
    let mut last: Range<usize> = 0..0;
    for word in (Words { text, at: 0 }) {
        branches.words += words_in(&text[word.clone()]);
        if begins_branch(text, &last, &word) {
            branches.count += 1;
            branches.first.get_or_insert(word.clone());
        }
        last = word;
    }
    branches
}

fn words_in(word: &str) -> u64 {
    if word.is_ascii() {
        return 1;
    }
    let ideographs = word.chars().filter(|letter| matches!(letter, '\u{3041}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}'));
    (ideographs.count() as u64).max(1)
}

fn begins_branch(text: &str, last: &Range<usize>, word: &Range<usize>) -> bool {
    let found = &text[word.clone()];
    if found.eq_ignore_ascii_case("alternatively")
        || ["hmm", "hmmm"].iter().any(|sound| found.eq_ignore_ascii_case(sound))
    {
        return true;
    }
    if !found.eq_ignore_ascii_case("wait") {
        return false;
    }
    // Passengers wait, and wait times are computed: only a call to oneself stands at the beginning and alone.
    let gap = text[last.end..word.start].trim();
    let begins = last.end == 0
        || gap.ends_with(['.', '!', '?', ',', ':', ';', '—', '-', '…', '(', '*'])
        || text[last.end..word.start].contains('\n')
        || ["but", "oh", "no"].iter().any(|call| text[last.clone()].eq_ignore_ascii_case(call));
    let behind = text[word.end..].trim_start_matches(' ');
    let alone = behind.is_empty()
        || behind.starts_with([',', '.', '!', '…', '—', '-', ':', '\n', '?'])
        || ["no", "but", "so", "maybe", "let", "if", "the", "i", "actually", "that", "this", "we"].iter().any(|next| {
            let is_next = behind.get(..next.len()).is_some_and(|start| start.eq_ignore_ascii_case(next));
            is_next && behind[next.len()..].starts_with([' ', ',', '\''])
        });
    begins && alone
}
