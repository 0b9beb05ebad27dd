//! Templates and tokenizers that mean harm, or that a byte was changed in: errors with a name, never a panic, a stack that
//! overflows or memory without end.

use crate::{
    Chat, ChatError,
    template::{SpecialTokens, Template},
};
use distill_dataset::{Message, TurnFormat};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn render(source: &str) -> Result<String, ChatError> {
    let messages = [Message::user("What is 7*6?"), Message::assistant(TurnFormat::default().join("42", "42"))];
    let specials = SpecialTokens::from([("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())]);
    Template::compile(source, specials)?.render(&messages, true).map(|rendered| rendered.text)
}

/// Does some work with a stack of half a MiB, a quarter of what threads have: an overflow ends the whole test.
fn with_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).expect("a thread");
    thread.join().expect("no panic")
}

#[test]
fn templates_that_mean_harm_are_refused_by_name() {
    let nested =
        |open: &str, close: &str, count: usize| format!("{{{{ {}1{} }}}}", open.repeat(count), close.repeat(count));
    let cases = [
        (nested("(", ")", 100_000), "nested at most"),
        (nested("[", "]", 100_000), "nested at most"),
        (nested("-", "", 100_000), "nested at most"),
        (nested("not ", "", 100_000), "nested at most"),
        (nested("1 if x else ", "", 50_000), "nested at most"),
        ("{% if 1 %}".repeat(20_000), "nested at most"),
        ("{% for x in [1] %}".repeat(1000) + "{{ x }}" + &"{% endfor %}".repeat(1000), "nested at most"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(), "deep"),
        ("{% macro f(n) %}{% call g(n) %}{% endcall %}{% endmacro %}{% macro g(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}".to_owned(), "deep"),
        ("{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}".to_owned(), "deep"),
        ("{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}".to_owned(), "nested"),
        ("{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}".to_owned(), "nested"),
        ("{% set x = [1] %}".to_owned() + &"{% set x = [x, x] %}".repeat(60) + "{{ x }}", "bytes in all"),
        ("{% set x = 'xxxxxxxx' %}".to_owned() + &"{% set x = x ~ x %}".repeat(60), "multiplies"),
        ("{% set x = 'xxxxxxxx' %}".to_owned() + &"{% set x = x + x %}".repeat(60), "multiplies"),
        ("{% set x = 'aa' %}".to_owned() + &"{% set x = x | replace('a', x) %}".repeat(60), "multiplies"),
        ("{% set x = 'aa' %}".to_owned() + &"{% set x = x.join([x, x, x]) %}".repeat(60), "all"),
        ("{% set x = [1, 2] %}".to_owned() + &"{% set x = x + x %}".repeat(60), "steps"),
        ("{{ 'x' * 1000000000 }}".to_owned(), "repetition"),
        ("{{ [0] * 1000000000 }}".to_owned(), "repetition"),
        ("{{ '%999999999d' % 1 }}".to_owned(), "width"),
        ("{{ '{:>999999999}'.format(1) }}".to_owned(), "width"),
        ("{{ 'x'.center(999999999999) }}".to_owned(), "multiplies"),
        ("{{ 'x' | indent(999999999) }}".to_owned(), "width"),
        ("{{ range(999999999) }}".to_owned(), "at most"),
        ("{{ 10 ** 1000 }}".to_owned(), "beyond"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}".to_owned(), "steps"),
        ("x".repeat(2 << 20), "bytes, found"),
        ("{{ messages.append(1) }}".to_owned(), "undefined"),
        ("{{ ''.__class__.__mro__ }}".to_owned(), "undefined"),
        ("{% include '/etc/passwd' %}".to_owned(), "no other templates"),
    ];
    for (source, expected) in cases {
        let shown: String = source.chars().take(70).collect();
        let error = with_a_small_stack(move || render(&source)).expect_err(&shown).to_string();
        assert!(error.contains(expected) && error.len() < 500, "{shown}: expected {expected:?} in {error}");
    }
}

#[test]
fn what_is_long_and_not_deep_is_rendered() {
    let sum = format!("{{{{ {}1 }}}}", "1 + ".repeat(20_000));
    assert_eq!(with_a_small_stack(move || render(&sum)).expect("a sum"), "20001");
    let words = format!("{{{{ {}'a' }}}}", "'a' ~ ".repeat(5000));
    assert_eq!(with_a_small_stack(move || render(&words)).expect("a text").len(), 5001);
    let branches = format!("{{% if 0 %}}{}{{% else %}}end{{% endif %}}", "{% elif 0 %}x".repeat(5000));
    assert_eq!(with_a_small_stack(move || render(&branches)).expect("a branch"), "end");
    let filters = format!("{{{{ 'a'{} }}}}", " | upper".repeat(5000));
    assert_eq!(with_a_small_stack(move || render(&filters)).expect("a text"), "A");
    let deepest = format!("{{{{ {}1{} }}}}", "[".repeat(50), "]".repeat(50));
    assert_eq!(with_a_small_stack(move || render(&deepest)).expect("a list").len(), 101);
    let countdown = "{% macro f(n) %}{% if n %}{{ n }} {{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(20) }}";
    assert!(with_a_small_stack(move || render(countdown)).expect("a text").starts_with("20 19 "));
}

/// A text with some of its pieces dropped, doubled, exchanged or replaced.
fn mutated(text: &str, others: &[String], numbers: &mut Numbers) -> String {
    const PIECES: [&str; 24] = [
        "{{", "}}", "{%", "%}", "-%}", "{%-", "{#", "#}", "'", "\"", "(", ")", "[", "]", "{", "|", "\\", "~", ".",
        " is ", " if ", "endfor", "\r\n", "é",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(chars.len().max(1)).min(chars.len());
        let end = (at + numbers.below(12)).min(chars.len());
        match numbers.below(6) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let piece: Vec<char> = chars[at..end].to_vec();
                let to = numbers.below(chars.len().max(1)).min(chars.len());
                chars.splice(to..to, piece);
            }
            2 => drop(chars.splice(at..at, PIECES[numbers.below(PIECES.len())].chars())),
            3 => drop(chars.splice(at..end, PIECES[numbers.below(PIECES.len())].chars())),
            4 => {
                let other: Vec<char> = others[numbers.below(others.len())].chars().collect();
                let from = numbers.below(other.len());
                let to = (from + numbers.below(80)).min(other.len());
                drop(chars.splice(at..at, other[from..to].iter().copied()));
            }
            _ => chars.truncate(at.max(1)),
        }
    }
    chars.into_iter().collect()
}

#[test]
fn thousands_of_changed_templates_end_in_a_text_or_an_error() {
    let folder = root().join("tests/parity/templates");
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder).expect("templates").map(|entry| entry.expect("a file").path()).collect();
    names.sort();
    let golden = fs::read_to_string(root().join("tests/parity/templates.json")).expect("the golden renderings");
    let golden: Value = serde_json::from_str(&golden).expect("JSON");
    let mut sources: Vec<String> = names
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "jinja"))
        .map(|path| fs::read_to_string(path).expect("a template"))
        .collect();
    sources.extend(
        golden["cases"].as_array().expect("cases").iter().filter_map(|case| Some(case["source"].as_str()?.to_owned())),
    );
    let (rendered, refused) = with_a_small_stack(move || {
        let (mut numbers, mut rendered, mut refused) = (Numbers(7), 0, 0);
        for _ in 0..6000 {
            let source = &sources[numbers.below(sources.len())];
            match render(&mutated(source, &sources, &mut numbers)) {
                Ok(_) => rendered += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty(), "an error has words");
                    refused += 1;
                }
            }
        }
        (rendered, refused)
    });
    assert!(rendered > 500 && refused > 500, "both happen: {rendered} rendered, {refused} refused");
}

/// A folder like nano's with another tokenizer.json.
fn with_tokenizer(dir: &Path, tokenizer: &str) -> Result<Chat, ChatError> {
    fs::write(dir.join("tokenizer.json"), tokenizer).expect("a file");
    Chat::load(dir)
}

fn nano(dir: &Path) -> Value {
    Chat::copy_files(&root().join("recipes/nano"), dir).expect("a copy");
    serde_json::from_slice(&fs::read(dir.join("tokenizer.json")).expect("a tokenizer")).expect("JSON")
}

#[test]
fn a_decoder_that_panics_is_an_error_with_a_name() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut tokenizer = nano(dir.path());
    // Strips more characters than there are.
    tokenizer["decoder"] = json!({"type": "Strip", "content": "7", "start": 0, "stop": 1000});
    let chat = with_tokenizer(dir.path(), &tokenizer.to_string()).expect("it can be read");
    let ids = chat.encode("7*6").expect("tokens");
    let error = chat.decode(&ids).expect_err("a panic").to_string();
    assert!(error.contains("decoding tokens panicked") && error.contains("hint: "), "{error}");
}

#[test]
fn a_tokenizer_neither_cuts_nor_fills_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut tokenizer = nano(dir.path());
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 1_000_000_000}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"});
    let chat = with_tokenizer(dir.path(), &tokenizer.to_string()).expect("a chat folder");
    let text = "1234567890+1234567890";
    assert_eq!(chat.decode(&chat.encode(text).expect("tokens")).expect("text"), text);
}

#[test]
fn a_pointer_of_git_lfs_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    nano(dir.path());
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    let error = with_tokenizer(dir.path(), pointer).err().expect("a pointer").to_string();
    assert!(error.contains("tokenizer.json") && error.contains("git lfs pull"), "{error}");
}

/// Changes one value somewhere inside.
fn change(value: &mut Value, numbers: &mut Numbers) {
    let inner = match value {
        Value::Array(items) if !items.is_empty() && numbers.below(5) > 0 => {
            let at = numbers.below(items.len());
            items.get_mut(at)
        }
        Value::Object(entries) if !entries.is_empty() && numbers.below(6) > 0 => {
            let at = numbers.below(entries.len());
            entries.values_mut().nth(at)
        }
        _ => None,
    };
    if let Some(inner) = inner {
        return change(inner, numbers);
    }
    let decoders = [
        "Strip",
        "ByteLevel",
        "WordPiece",
        "Metaspace",
        "CTC",
        "BPEDecoder",
        "Fuse",
        "ByteFallback",
        "Replace",
        "Sequence",
        "Digits",
        "Split",
        "NFC",
        "Prepend",
        "BPE",
        "Unigram",
        "WordLevel",
    ];
    *value = match numbers.below(12) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(numbers.below(300)),
        4 => json!("x"),
        5 => json!(""),
        6 => json!([]),
        7 => json!({}),
        8 => json!(true),
        9 => json!([[["a"]], {"b": 1e300}]),
        10 => {
            json!({"type": decoders[numbers.below(decoders.len())], "content": " ", "start": 3, "stop": 9, "replacement": "▁",
            "add_prefix_space": true, "prepend_scheme": "always", "trim_offsets": true, "use_regex": true, "prefix": "##",
            "cleanup": true, "suffix": "w", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false, "decoders": [],
            "pad_token": "p", "word_delimiter_token": "|", "individual_digits": true, "prepend": "_"})
        }
        _ => json!({"type": "Sequence", "decoders": [{"type": "Strip", "content": "a", "start": 9, "stop": 9}],
            "normalizers": [{"type": "Replace", "pattern": {"String": ""}, "content": "xx"}], "pretokenizers": [], "processors": []}),
    };
}

#[test]
fn thousands_of_changed_tokenizers_end_in_tokens_or_an_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tokenizer = nano(dir.path());
    let text = tokenizer.to_string();
    let mut numbers = Numbers(11);
    let (mut read, mut refused) = (0, 0);
    for round in 0..4000 {
        let mut changed = tokenizer.clone();
        let source = if round % 4 == 0 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(bytes.len());
                bytes[at] = b"\"{}[],:0x"[numbers.below(9)];
            }
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            for _ in 0..=numbers.below(2) {
                change(&mut changed, &mut numbers);
            }
            changed.to_string()
        };
        match with_tokenizer(dir.path(), &source) {
            Ok(chat) => {
                read += 1;
                for text in ["What is 34+5?", "  é🙂 \r\n aaaaaaaaaaaaaaaaaaaaaaaaaaaa!", ""] {
                    if let Ok(ids) = chat.encode(text) {
                        let _ = chat.decode(&ids);
                    }
                }
                let _ = chat.decode(&[0, 1, 5, 270, u32::MAX]);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("token") || error.contains("template"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(read > 100 && refused > 300, "both happen: {read} read, {refused} refused");
}

#[test]
fn of_several_templates_the_default_is_taken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    nano(dir.path());
    fs::remove_file(dir.path().join("chat_template.jinja")).expect("a template");
    let path = dir.path().join("tokenizer_config.json");
    let config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    let load = |templates: Value| {
        let mut config = config.clone();
        config["chat_template"] = templates;
        fs::write(&path, config.to_string()).expect("a file");
        Chat::load(dir.path())
    };
    let named = |name: &str, template: &str| json!({"name": name, "template": template});
    let chat =
        load(json!([named("tool_use", "t"), named("default", "d{{ messages[0].content }}")])).expect("a chat folder");
    assert_eq!(chat.render(&[Message::user("?")], true).expect("a text").text, "d?");
    for (templates, expected) in [
        (json!([named("tool_use", "t"), named("rag", "r")]), "found tool_use, rag"),
        (json!([{"name": "default"}]), "`name` and `template`"),
        (json!(7), "expected a text or a list"),
        (json!(null), "found neither"),
        (json!([]), "found neither"),
    ] {
        let error = load(templates).err().expect(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?} in {error}");
    }
    assert!(load(json!(null)).is_err() && Chat::load_for_text(dir.path()).is_ok(), "a base model's folder reads text");
}
