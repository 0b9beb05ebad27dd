//! Traces that are too short or too long by each measure, beside those that are just right.

use super::*;
use proptest::prelude::*;
use std::{fs, sync::LazyLock};

fn nano() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/nano")
}

fn row(turn: &str, tokens: u32) -> Row {
    let (id, format) = ("t".to_owned(), TurnFormat::default());
    Row { id, format, text: turn.to_owned(), completion_tokens: tokens }
}

fn measured(config: &LengthConfig, turn: &str, tokens: u32) -> Length {
    let file = config.tokenizer_file().expect("a path");
    let tokenizer = file.map(|file| TextTokens::load(&file).expect("a tokenizer"));
    length(&row(turn, tokens), tokenizer.as_ref())
}

/// Five of each at least.
fn check(config: &LengthConfig, cases: &[(&str, u32, &str)]) {
    assert_eq!(config.check(), Ok(()));
    for (turn, tokens, expected) in cases {
        let found = measured(config, turn, *tokens);
        assert_eq!(config.reason(&found).unwrap_or_default(), *expected, "{turn:?}: {found:?}");
    }
    let kept = cases.iter().filter(|(_, _, expected)| expected.is_empty()).count();
    assert!(kept >= 5 && cases.len() - kept >= 5, "five of each");
}

const TURN: &str = "<think>\nLet me see.\n</think>\n\n\\boxed{12}";

#[test]
fn tokens_are_those_that_the_teacher_counted() {
    let (few, many) = ("too-short", "too-long");
    check(
        &LengthConfig { min_tokens: 10, max_tokens: Some(20), ..LengthConfig::default() },
        &[
            (TURN, 0, few),
            (TURN, 9, few),
            ("", 9, few),
            ("a long answer ", 1, few),
            ("结", 9, few),
            (TURN, 21, many),
            ("", 21, many),
            ("a", 22, many),
            (TURN, u32::MAX, many),
            ("结", 99, many),
            (TURN, 10, ""),
            (TURN, 20, ""),
            ("", 15, ""),
            ("a", 11, ""),
            ("结", 19, ""),
        ],
    );
}

#[test]
fn characters_of_the_turn_are_no_bytes() {
    let (few, many) = ("too-few-chars", "too-many-chars");
    check(
        &LengthConfig { min_chars: 5, max_chars: Some(8), ..LengthConfig::default() },
        &[
            ("", 9, few),
            ("abcd", 9, few),
            ("  abcd  ", 9, few),
            ("ééé", 9, few),
            ("数一数\n\n\n", 9, few),
            ("abcdefghi", 9, many),
            ("<think>ab", 9, many),
            ("一二三四五六七八九", 9, many),
            ("a       b", 9, many),
            (TURN, 9, many),
            ("abcde", 9, ""),
            ("abcdefgh", 9, ""),
            ("éééééééé", 9, ""),
            ("一二三四五六七八", 9, ""),
            ("\n\nabcdefgh\n\n", 9, ""),
        ],
    );
}

#[test]
fn reasoning_and_answer_have_limits_of_their_own() {
    let (few, many) = ("short-reasoning", "long-reasoning");
    check(
        &LengthConfig { min_reasoning_chars: 3, max_reasoning_chars: Some(6), ..LengthConfig::default() },
        &[
            ("<think>ab</think>a long answer", 9, few),
            ("<think>\n\n</think>a long answer", 9, few),
            ("an answer alone", 9, few),
            ("ab</think>a long answer", 9, few),
            ("<think>\n 数 \n</think>a", 9, few),
            ("<think>abcdefg</think>a", 9, many),
            ("abcdefg</think>a", 9, many),
            ("<think>never closed", 9, many),
            ("<think>一二三四五六七</think>", 9, many),
            ("<think>a     b</think>", 9, many),
            ("<think>abc</think>a long answer", 9, ""),
            ("<think>\n\nabcdef\n\n</think>a", 9, ""),
            ("abc</think>", 9, ""),
            ("said before <think>abc</think>", 9, ""),
            ("<think>一二三四五六</think>a", 9, ""),
        ],
    );
    let (few, many) = ("short-answer", "long-answer");
    check(
        &LengthConfig { min_answer_chars: 3, max_answer_chars: Some(6), ..LengthConfig::default() },
        &[
            ("<think>long reasoning</think>ab", 9, few),
            ("<think>long reasoning</think>\n\n", 9, few),
            ("<think>long reasoning", 9, few),
            ("long reasoning</think>  1  ", 9, few),
            ("", 9, few),
            ("<think>a</think>abcdefg", 9, many),
            ("abcdefg", 9, many),
            ("a</think>\n\nabcdefg\n", 9, many),
            ("<think></think>一二三四五六七", 9, many),
            ("<think>a</think>a     b", 9, many),
            ("<think>long reasoning</think>abc", 9, ""),
            ("<think>long reasoning</think>\n\nabcdef\n\n", 9, ""),
            ("abcdef", 9, ""),
            ("<think>a</think>一二三四五六", 9, ""),
            ("a</think> abc", 9, ""),
        ],
    );
}

#[test]
fn the_students_tokens_are_counted_by_its_own_tokenizer() {
    let chat = distill_chat::Chat::load(&nano()).expect("the nano chat folder");
    let count = |text: &str| chat.encode(text).expect("tokens").len() as u32;
    let config = LengthConfig { tokenizer: Some(nano()), ..LengthConfig::default() };
    for turn in [TURN, "", "héllo ∑ \u{1F600}", "<|end|><think>", "  0123456789\r\n"] {
        assert_eq!(measured(&config, turn, 0).student_tokens, Some(count(turn)), "{turn:?}");
    }
    let by_file = LengthConfig { tokenizer: Some(nano().join("tokenizer.json")), ..config.clone() };
    assert_eq!(measured(&by_file, TURN, 0), measured(&config, TURN, 0));
    assert_eq!(measured(&LengthConfig::default(), TURN, 0).student_tokens, None, "nobody asked");

    let (few, many) = ("too-few-student-tokens", "too-many-student-tokens");
    let limits = LengthConfig { min_student_tokens: count("12 + 3"), max_student_tokens: Some(count(TURN)), ..config };
    let longer = [format!("{TURN}."), TURN.repeat(2), "∑".repeat(99), "7 ".repeat(99), format!("a{TURN}")];
    let mut cases = vec![
        ("", 9, few),
        ("1", 9, few),
        ("12", 9, few),
        ("7", 9, few),
        ("<think>", 99, few),
        (TURN, 0, ""),
        (TURN, 9999, ""),
        ("12 + 3", 9, ""),
        ("12 + 3 = 15", 9, ""),
        ("<think>1 + 2</think>3", 9, ""),
    ];
    cases.extend(longer.iter().map(|turn| (turn.as_str(), 9, many)));
    check(&limits, &cases);
    let lost = Length { student_tokens: None, ..measured(&limits, TURN, 0) };
    assert_eq!(limits.reason(&lost), Some("not-tokenised"));
    assert_eq!(LengthConfig { tokenizer: Some(nano()), ..LengthConfig::default() }.reason(&lost), None, "no limit");
}

#[test]
fn what_the_students_tokenizer_has_no_token_for_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vocabulary = r#"{"one": 0, "two": 1, "three": 2, "plus": 3, "is": 4}"#;
    let tokenizer = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null, "decoder": null,
            "model": {{"type": "WordLevel", "vocab": {vocabulary}, "unk_token": "[UNK]"}}}}"#
    );
    fs::write(folder.path().join("tokenizer.json"), tokenizer).expect("a file");
    let limits = LengthConfig {
        max_student_tokens: Some(5),
        tokenizer: Some(folder.path().to_owned()),
        ..LengthConfig::default()
    };
    let lost = "not-tokenised";
    check(
        &limits,
        &[
            ("four", 9, lost),
            ("one plus one is two or three", 9, lost),
            ("One plus two is three", 9, lost),
            ("one plus two is three.", 9, lost),
            ("один plus two", 9, lost),
            ("one plus two is three", 9, ""),
            ("one", 9, ""),
            ("", 9, ""),
            ("  two\n\nplus one ", 9, ""),
            ("is is is is is", 9, ""),
        ],
    );
    let of_problem = |text: &str| {
        let tokenizer = TextTokens::load(&folder.path().join("tokenizer.json")).expect("a tokenizer");
        of_problem(&Said::whole(text), Some(&tokenizer))
    };
    assert_eq!(limits.reason(&of_problem("one plus two is three plus one")), Some("too-many-student-tokens"));
    assert_eq!(limits.reason(&of_problem("one plus two is three")), None, "a problem counts as a turn does");
}

#[test]
fn a_problem_has_characters_and_no_completion() {
    let chars = LengthConfig { min_chars: 3, max_chars: Some(8), ..LengthConfig::default() };
    assert_eq!(chars.check_on_problems(), Ok(()));
    for (text, expected) in [("?", Some("too-few-chars")), (" ab? ", None), ("What is 2 + 2?", Some("too-many-chars"))]
    {
        assert_eq!(chars.reason(&of_problem(&Said::whole(text), None)), expected, "{text:?}");
    }
    for (config, key) in [
        (LengthConfig { max_tokens: Some(9), ..LengthConfig::default() }, "`max-tokens`: expected none on problems"),
        (LengthConfig { min_answer_chars: 9, ..LengthConfig::default() }, "`min-answer-chars`"),
    ] {
        assert!(config.check_on_problems().is_err_and(|told| told.contains(key)), "{config:?}");
    }
}

#[test]
fn the_tokenizers_content_counts_and_not_its_place() {
    let limits = |tokenizer: &Path| LengthConfig {
        max_student_tokens: Some(9),
        tokenizer: Some(tokenizer.to_owned()),
        ..LengthConfig::default()
    };
    let here = limits(&nano());
    assert_eq!(here.files().expect("a tokenizer"), [nano().join("tokenizer.json")]);
    let moved = tempfile::tempdir().expect("a temporary folder");
    fs::copy(nano().join("tokenizer.json"), moved.path().join("tokenizer.json")).expect("a copy");
    let there = limits(moved.path());
    assert_eq!(there.files().expect("a tokenizer"), [moved.path().join("tokenizer.json")]);
    assert_eq!((here.keyed(), here.settings()), (there.keyed(), there.settings()), "where it lies is in no key");
    assert_ne!(here.settings(), LengthConfig::default().settings());
    assert_eq!(LengthConfig::default().files().expect("nothing"), Vec::<PathBuf>::new());
}

#[test]
fn a_tokenizer_that_is_not_there_or_none_is_told() {
    let of = |path: &Path| LengthConfig { tokenizer: Some(path.to_owned()), ..LengthConfig::default() };
    let dir = tempfile::tempdir().expect("a temporary folder");
    for path in [dir.path().to_owned(), dir.path().join("tokenizer.json"), dir.path().join("no/where")] {
        let error = of(&path).files().expect_err("nothing there").to_string();
        for part in [&*path.display().to_string(), "expected a tokenizer.json, or a folder with one", "hint: "] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
    fs::write(dir.path().join("tokenizer.json"), "{}").expect("a file");
    let error = of(dir.path()).files().expect_err("no tokenizer").to_string();
    assert!(error.contains("`tokenizer`") && error.contains("not a tokenizer"), "{error}");
}

#[test]
fn a_relative_path_is_laid_from_the_recipes_folder() {
    let config = LengthConfig { tokenizer: Some("nano".into()), ..LengthConfig::default() };
    let laid = config.laid_from(Path::new("/recipes")).expect("text").expect("a path");
    let absolute = LengthConfig { tokenizer: Some("/recipes/nano".into()), ..LengthConfig::default() };
    assert_eq!(laid, FilterConfig::new(absolute.clone()).expect("a table"));
    let kept = absolute.laid_from(Path::new("/elsewhere")).expect("text").expect("a path");
    assert_eq!(kept, laid, "an absolute one stays");
    assert!(LengthConfig::default().laid_from(Path::new("/recipes")).expect("text").is_none());
}

#[test]
fn limits_measure_nothing_again_and_have_ranges() {
    let set = LengthConfig { min_tokens: 1, max_chars: Some(9), max_answer_chars: Some(3), ..LengthConfig::default() };
    assert_eq!(set.keyed(), LengthConfig::default().keyed());
    assert_ne!(set.settings(), LengthConfig::default().settings());
    assert_eq!(LengthConfig::default().settings(), Keyed::default(), "what nobody sets is in no key");
    let none = LengthConfig::default;
    for (wrong, name) in [
        (
            LengthConfig { min_tokens: 2, max_tokens: Some(1), ..none() },
            "`min-tokens`: expected at most max-tokens = 1",
        ),
        (LengthConfig { min_chars: 2, max_chars: Some(1), ..none() }, "`min-chars`"),
        (LengthConfig { min_reasoning_chars: 2, max_reasoning_chars: Some(1), ..none() }, "`min-reasoning-chars`"),
        (LengthConfig { min_answer_chars: 2, max_answer_chars: Some(1), ..none() }, "`min-answer-chars`"),
        (
            LengthConfig { min_student_tokens: 2, max_student_tokens: Some(1), tokenizer: Some(nano()), ..none() },
            "`min-student-tokens`",
        ),
        (LengthConfig { min_student_tokens: 2, ..none() }, "`min-student-tokens`: expected `tokenizer` beside it"),
        (LengthConfig { max_student_tokens: Some(2), ..none() }, "`max-student-tokens`: expected `tokenizer`"),
    ] {
        let found = wrong.check().expect_err(name);
        assert!(found.starts_with(name), "{found}");
    }
}

#[test]
fn hostile_text_is_measured_in_linear_time() {
    let config = LengthConfig { tokenizer: Some(nano()), ..LengthConfig::default() };
    let file = config.tokenizer_file().expect("a path").expect("a file");
    let tokenizer = TextTokens::load(&file).expect("a tokenizer");
    for unit in ["<think>", "</think>", "a", " ", "\n", "é", "结", "<|end|>", "1", "\u{0}", "a ", "\\"] {
        let turn = unit.repeat(1_000_000 / unit.len());
        assert!(length(&row(&turn, 1), Some(&tokenizer)).student_tokens.is_some(), "{unit:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(before in any::<String>(), reasoning in any::<String>(), answer in any::<String>()) {
        static TOKENS: LazyLock<TextTokens> =
            LazyLock::new(|| TextTokens::load(&nano().join("tokenizer.json")).expect("a tokenizer"));
        for turn in [
            format!("{before}<think>{reasoning}</think>{answer}"),
            format!("{reasoning}</think>{answer}"),
            format!("<think>{reasoning}"),
            answer.clone(),
        ] {
            let found = length(&row(&turn, 1), Some(&*TOKENS));
            prop_assert_eq!(&found, &length(&row(&turn, 1), Some(&*TOKENS)));
            prop_assert!(found.reasoning_chars <= found.chars && found.answer_chars <= found.chars);
            prop_assert!(found.student_tokens.is_some());
        }
    }
}
