//! Inputs put together from what servers send: streams and whole answers, with errors, counts and text in all forms.

use super::{HEADER, KEYS};

/// 64-bit xorshift.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Random {
        Random((u64::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const BREAKS: [&str; 6] = ["\n\n", "\n\n", "\r\n\r\n", "\r\r", "\n", "\r\n"];
const STARTS: [&str; 7] = ["\u{feff}", " \n", "\u{feff}\n ", "\n\u{feff}", "\u{feff}\u{feff}", ": ping\n\n", "                                             "];
const LINES: [&str; 8] =
    [": ping", ": keep-alive, keep-alive, keep-alive, keep-alive, keep-alive", "event: message", "id: 7", "retry: 3", "data", "data:", "nonsense: 1"];
const WORDS: [&str; 16] = [
    "4", "2", "", "step", "é🙂", "\\ud83d\\ude42", "\\ud83d", "\\n", "<think>\\n", "\\n</think>\\n\\n", "\\\"", "\u{feff}",
    "NaN", "\\u0000", "</thi", "step 1The answer",
];
const FINISHES: [&str; 20] = [
    "\"stop\"", "\"stop\"", "\"stop\"", "\"length\"", "\"MAX_TOKENS\"", "\"content_filter\"", "\"SAFETY\"", "\"abort\"", "\"error\"",
    "\"eos_token\"", "\"tool_calls\"", "null", "\"\"", "\"null\"", "\"None\"", "7", "{\"type\":\"stop\"}", "[\"stop\"]", "true",
    "\"insufficient_system_resource\"",
];
const NUMBERS: [&str; 20] = [
    "0", "1", "5", "11.0", "\"5\"", "\" 7 \"", "null", "-1", "-0.0", "1e30", "1e999", "-1e999", "4294967295", "4294967296",
    "18446744073709551616", "1e-400", "NaN", "Infinity", "{}", "\"inf\"",
];
const CODES: [&str; 16] = [
    "400", "401", "402", "403", "404", "413", "429", "\"429\"", "500", "502", "503", "504", "200", "302", "99999", "\"invalid\"",
];
const MESSAGES: [&str; 10] = [
    "full", "maximum context length", "context_length_exceeded", "insufficient_quota", "content_filter", "data_inspection_failed",
    "sk\\u002dsecret\\u002d0123456789abcdef", "out of memory", "é", "[NaN]",
];
const JUNK: [&str; 14] = [
    "{", "}", "[", "]", "\"", "\\", ",", ":", "\n", "\r", "data:", "[DONE]", "-Infinity", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// A whole input.
pub fn input(random: &mut Random) -> Vec<u8> {
    let mut input: Vec<u8> = (0..HEADER).map(|_| random.below(256) as u8).collect();
    // Most are read as they are in earnest.
    for byte in &mut input[1..4] {
        if !random.once_in(3) {
            *byte = 15;
        }
    }
    let mut text = String::new();
    if random.once_in(4) {
        text += random.of(&STARTS);
    }
    match random.below(8) {
        0 => text += random.of(&["<html>no</html>", "upstream is gone", "[1]", "3", "", "null"]),
        1 | 2 => text += &chunk(random, true),
        _ => stream(random, &mut text),
    }
    if random.once_in(8) {
        text += random.of(&["\n", " ", "\n\n", "x", "{}"]);
    }
    input.extend_from_slice(text.as_bytes());
    input
}

fn stream(random: &mut Random, text: &mut String) {
    let ending = random.of(&BREAKS[..4]);
    let count = 1 + random.below(6);
    for at in 0..count {
        if random.once_in(5) {
            *text += random.of(&LINES);
            *text += random.of(&BREAKS);
        }
        *text += random.of(&["data: ", "data: ", "data:", "data:  "]);
        *text += &chunk(random, at + 1 == count);
        *text += if random.once_in(12) { random.of(&BREAKS) } else { ending };
    }
    if !random.once_in(3) {
        *text += random.of(&["data: [DONE]", "data:[DONE] more", "data: [DONE]\n\ndata: {\"error\":1}"]);
        *text += ending;
    }
}

/// A chunk of a stream or a whole answer.
fn chunk(random: &mut Random, last: bool) -> String {
    let mut fields = Vec::new();
    if random.once_in(14) {
        fields.push(error(random));
    }
    if random.once_in(3) {
        fields.push(format!("\"model\":{}", text(random)));
    }
    if !random.once_in(8) {
        let choices: Vec<String> = (0..1 + random.below(8) / 7).map(|_| choice(random, last)).collect();
        fields.push(format!("\"choices\":[{}]", choices.join(",")));
    }
    if random.once_in(if last { 2 } else { 10 }) {
        let usage = match random.below(6) {
            0 => "null".to_owned(),
            1 => "[3,4]".to_owned(),
            _ => format!("{{\"prompt_tokens\":{},\"completion_tokens\":{}}}", random.of(&NUMBERS), random.of(&NUMBERS)),
        };
        fields.push(format!("\"usage\":{usage}"));
    }
    if random.once_in(12) {
        fields.push(random.of(&["\"choices\":null", "\"choices\":3", "\"usage\":7", "\"id\":NaN", "\"object\":\"error\"", "\"model\":null"]).to_owned());
    }
    if random.once_in(3) {
        fields.reverse();
    }
    format!("{{{}}}", fields.join(","))
}

fn error(random: &mut Random) -> String {
    let message = format!("\"{}{}\"", random.of(&MESSAGES), if random.once_in(3) { word(random) } else { String::new() });
    match random.below(6) {
        0 => format!("\"error\":{message}"),
        1 => format!("\"object\":\"error\",\"message\":{message},\"code\":{}", random.of(&CODES)),
        2 => format!("\"detail\":{message}"),
        3 => format!("\"error\":{{\"message\":{message}}}"),
        _ => format!("\"error\":{{\"code\":{},\"message\":{message}}}", random.of(&CODES)),
    }
}

fn choice(random: &mut Random, last: bool) -> String {
    let mut fields = Vec::new();
    for _ in 0..1 + random.below(5) / 4 {
        let name = random.of(&["delta", "delta", "delta", "message", "message"]);
        let mut parts = Vec::new();
        for name in ["content", "reasoning", "reasoning_content"] {
            if random.once_in(if name == "content" { 1 } else { 4 }) {
                parts.push(format!("\"{name}\":{}", text(random)));
            }
        }
        fields.push(format!("\"{name}\":{{{}}}", parts.join(",")));
    }
    if random.once_in(4) {
        fields = vec![format!("\"text\":{}", text(random))];
    }
    if random.once_in(8) {
        fields.push(random.of(&["\"logprobs\":[NaN,-Infinity]", "\"delta\":null", "\"index\":0", "\"message\":null"]).to_owned());
    }
    if random.once_in(4) {
        aside(random, &mut fields);
    }
    if last != random.once_in(10) {
        fields.push(match random.below(12) {
            0 => format!("\"finish_reason\":{}", text(random)),
            _ => format!("\"finish_reason\":{}", random.of(&FINISHES)),
        });
    }
    format!("{{{}}}", fields.join(","))
}

/// A text's ids, a byte each, and log-probabilities in one of the shapes that they have; most of them of this very text.
fn aside(random: &mut Random, fields: &mut Vec<String>) {
    let word = random.of(&["4", "42", "step", "é🙂", "\n", ""]);
    let json = format!("{word:?}");
    let mut ids: Vec<String> = word.bytes().map(|byte| byte.to_string()).collect();
    if random.once_in(8) {
        ids.push(random.of(&["256", "7", "255", "999999", "-1", "null"]).to_owned());
    }
    let number = if random.once_in(6) { random.of(&NUMBERS) } else { "-0.5" };
    let place = format!("{{\"token\":{json},\"logprob\":{number},\"bytes\":[{}]", ids.join(","));
    let log_probs = match random.below(4) {
        0 => format!("{{\"content\":[{place},\"top_logprobs\":[{place}}}]}}]}}"),
        1 => format!("{{\"content\":[{place}}}]}}"),
        2 => format!("{{\"tokens\":[{json}],\"token_logprobs\":[{number}],\"top_logprobs\":[{{{json}:{number}}}]}}"),
        _ => random.of(&["null", "{}", "[]", "{\"content\":[]}", "{\"content\":null}"]).to_owned(),
    };
    if !random.once_in(4) {
        *fields = vec![format!("\"text\":{json}")];
    }
    fields.push(format!("\"token_ids\":[{}]", ids.join(",")));
    fields.push(format!("\"logprobs\":{log_probs}"));
}

/// Text in one of the forms that it has.
fn text(random: &mut Random) -> String {
    let plain = format!("\"{}\"", words(random));
    match random.below(14) {
        0 => "null".to_owned(),
        1 => random.of(&NUMBERS).to_owned(),
        2 => format!("[{plain},\"{}\"]", words(random)),
        3 => format!("[{{\"type\":\"text\",\"text\":{plain}}},{{\"type\":\"thinking\",\"thinking\":[{{\"text\":\"{}\"}}]}}]", words(random)),
        4 => format!("{{\"text\":{plain}}}"),
        _ => plain,
    }
}

fn words(random: &mut Random) -> String {
    let mut count = 1 + random.below(3);
    if random.once_in(40) {
        count = 60;
    }
    (0..count).map(|_| word(random)).collect()
}

fn word(random: &mut Random) -> String {
    if !random.once_in(4) {
        return random.of(&WORDS).to_owned();
    }
    // A key, its beginning, or its end.
    let key = random.of(&KEYS);
    let at = 1 + random.below(key.len() - 1);
    match random.below(3) {
        0 => key[..at].to_owned(),
        1 => key[at..].to_owned(),
        _ => key.to_owned(),
    }
}

/// Does some harm to an input.
pub fn spoil(input: &mut Vec<u8>, random: &mut Random) {
    if input.len() <= HEADER {
        return;
    }
    let at = HEADER + random.below(input.len() - HEADER);
    match random.below(6) {
        0 => input[at] = random.below(256) as u8,
        1 => drop(input.remove(at)),
        2 => input.truncate(at),
        3 => drop(input.splice(at..at, random.of(&JUNK).bytes())),
        4 => {
            let end = (at + 1 + random.below(40)).min(input.len());
            let piece = input[at..end].to_vec();
            drop(input.splice(at..at, piece));
        }
        _ => {
            let word = word(random);
            drop(input.splice(at..at, word.bytes()));
        }
    }
}
