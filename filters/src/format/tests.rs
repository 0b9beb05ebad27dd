//! Traces by the reason for which they go, beside those that look alike and stay: ten at least for each, half of them kept.

use super::*;
use proptest::prelude::*;

fn measured(turn: &str, finish_reason: FinishReason) -> Form {
    form(&Row { id: "t".to_owned(), format: TurnFormat::default(), text: turn.to_owned(), finish_reason })
}

fn reason(config: &FormatConfig, turn: &str) -> &'static str {
    config.reason(&measured(turn, FinishReason::Stop)).unwrap_or_default()
}

/// All switches off that are on.
fn lax() -> FormatConfig {
    FormatConfig {
        reasoning: false,
        boxed: false,
        truncated: false,
        unknown_end: false,
        empty_answer: false,
        unclosed_box: false,
        unclosed_fence: false,
        ..FormatConfig::default()
    }
}

fn free() -> FormatConfig {
    FormatConfig { boxed: false, ..FormatConfig::default() }
}

fn thinks(reasoning: &str) -> String {
    format!("<think>\n{reasoning}\n</think>\n\n\\boxed{{12}}")
}

fn answers(answer: &str) -> String {
    format!("<think>\nLet me see.\n</think>\n\n{answer}")
}

/// Five that go for the reason, five that stay.
fn check(config: &FormatConfig, expected: &str, goes: &[&str], stays: &[&str]) {
    assert!(goes.len() >= 5 && stays.len() >= 5, "{expected}: five of each");
    for turn in goes {
        assert_eq!(reason(config, turn), expected, "{turn:?}: {:?}", measured(turn, FinishReason::Stop));
    }
    for turn in stays {
        assert_eq!(reason(config, turn), "", "{turn:?}: {:?}", measured(turn, FinishReason::Stop));
    }
}

fn check_parts(config: &FormatConfig, expected: &str, part: fn(&str) -> String, goes: &[&str], stays: &[&str]) {
    let [goes, stays] = [goes, stays].map(|texts| texts.iter().map(|text| part(text)).collect::<Vec<_>>());
    let [goes, stays] = [&goes, &stays].map(|turns| turns.iter().map(String::as_str).collect::<Vec<_>>());
    check(config, expected, &goes, &stays);
}

const WHOLE: &str = "<think>\nLet me see.\n</think>\n\n\\boxed{12}";

#[test]
fn how_a_trace_ends_counts_before_what_it_says() {
    use FinishReason::{Broken, ContentFilter, Context, Length, Stop, Unknown};
    let turns = [WHOLE, "<think>\nno end", "", "<think></think>\\boxed{1}", "a</think>b"];
    for turn in turns {
        for (finish, expected) in
            [(Length, "truncated"), (Context, "truncated"), (ContentFilter, "withheld"), (Unknown, "unknown-end")]
        {
            assert_eq!(FormatConfig::default().reason(&measured(turn, finish)), Some(expected), "{turn:?}");
        }
    }
    // What ends of itself stays, however it reads; so does what the switches let by.
    let stays = [
        WHOLE,
        "Step one.\n</think>\n\\boxed{12}",
        "<think>\nI stop here...\n</think>\n\nand so on, \\boxed{12}",
        "<think>\nThe limit is cut off at length\n</think>\n\nAs I was truncated: \\boxed{12} and",
        "<think>\na\n</think>\n\nSo it is\n\\boxed{12}",
    ];
    for turn in stays {
        for finish in [Stop, Broken] {
            assert_eq!(FormatConfig::default().reason(&measured(turn, finish)), None, "{turn:?}");
        }
        let off = FormatConfig { truncated: false, unknown_end: false, ..FormatConfig::default() };
        for finish in [Length, Context, Unknown] {
            assert_eq!(off.reason(&measured(turn, finish)), None, "{turn:?}");
        }
        assert_eq!(off.reason(&measured(turn, ContentFilter)), Some("withheld"));
    }
}

#[test]
fn reasoning_is_closed() {
    let goes = [
        "\\boxed{12}",
        "<think>\nLet me see. \\boxed{12}",
        "Let me see.\n\n\\boxed{12}",
        "<think>\nLet me see.\n<think>\n\\boxed{12}",
        "<think>\nLet me see.\n</thinking>\n\\boxed{12}",
        "",
    ];
    let stays = [
        WHOLE,
        "Let me see.\n</think>\n\n\\boxed{12}",
        "<think>Let me see.</think>\\boxed{12}",
        "Shall I say \"think\"? No.\n</think>\n\\boxed{12}",
        "<think>\nA thinker's < think > is spelt with blanks\n</think>\n\\boxed{12}",
    ];
    check(&FormatConfig::default(), "no-closing-tag", &goes, &stays);
    let plain = FormatConfig { no_closing_tag: false, ..FormatConfig::default() };
    assert_eq!(reason(&plain, "\\boxed{12}"), "", "an answer alone, where it may");
    assert_eq!(reason(&plain, "<think></think>\\boxed{12}"), "empty-reasoning", "but no empty thoughts");
    assert_eq!(reason(&plain, "<think>\nLet me see. \\boxed{12}"), "empty-answer", "nor one without an end");
}

#[test]
fn reasoning_is_closed_once() {
    let goes = [
        "<think>a</think>b</think>\\boxed{12}",
        "<think>a</think><think>b</think>\\boxed{12}",
        "a</think>b</think>\\boxed{12}",
        "<think>a</think>\\boxed{12}</think>",
        "<think>a</think>\\boxed{12}\n<think>b</think>\\boxed{12}",
        "<think><think>a</think></think>\\boxed{12}",
    ];
    let stays = [
        WHOLE,
        "a</think>\\boxed{12}",
        "<think>a</ think> b</think>\\boxed{12}",
        "<think>a</thinking></think>\\boxed{12}",
        "<think>a &lt;/think&gt; b</think>\\boxed{12}",
    ];
    check(&FormatConfig::default(), "several-closing-tags", &goes, &stays);
    let off = FormatConfig { several_closing_tags: false, ..FormatConfig::default() };
    assert_eq!(reason(&off, goes[0]), "");
}

#[test]
fn reasoning_is_opened_once_at_most() {
    let goes = [
        "<think>a<think>b</think>\\boxed{12}",
        "<think><think>a</think>\\boxed{12}",
        "<think>a</think>\\boxed{12}<think>b",
        "<think>a</think>The tag <think> is odd: \\boxed{12}",
        "<think>\na\n<think>\nb\n<think>\nc\n</think>\\boxed{12}",
    ];
    let stays = [
        WHOLE,
        "a</think>\\boxed{12}",
        "<think>I think, then I think</think>\\boxed{12}",
        "<think>a < think > b</think>\\boxed{12}",
        "<think>a <thinking> b</think>\\boxed{12}",
        "<think>&lt;think&gt;</think>\\boxed{12}",
    ];
    check(&FormatConfig::default(), "several-opening-tags", &goes, &stays);
    let off = FormatConfig { several_opening_tags: false, ..FormatConfig::default() };
    assert_eq!(reason(&off, goes[0]), "");
}

#[test]
fn reasoning_comes_first_where_that_is_asked() {
    let config = FormatConfig { text_before_reasoning: true, ..FormatConfig::default() };
    let goes = [
        "Sure!\n<think>a</think>\\boxed{12}",
        "a <think>b</think>\\boxed{12}",
        "\\boxed{12}<think>b</think>\\boxed{12}",
        "好的。<think>b</think>\\boxed{12}",
        ".<think>b</think>\\boxed{12}",
    ];
    let stays = [
        WHOLE,
        "\n\n<think>a</think>\\boxed{12}",
        "Sure!\na</think>\\boxed{12}",
        "<think>Sure!</think>\\boxed{12}",
        " \t<think>\n\na</think>Sure: \\boxed{12}",
    ];
    check(&config, "text-before-reasoning", &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), goes[0]), "", "off by default");
    let prompted = TurnFormat::of_prompt("<|User|>?<|Assistant|><think>\n");
    let row = |text: &str| Row {
        id: "t".to_owned(),
        format: prompted.clone(),
        text: text.to_owned(),
        finish_reason: FinishReason::Stop,
    };
    assert_eq!(config.reason(&form(&row("a</think>\\boxed{12}"))), None, "the prompt opened it");
    assert_eq!(config.reason(&form(&row("<think>a</think>\\boxed{12}"))), Some("several-opening-tags"));
}

#[test]
fn reasoning_says_something() {
    let goes = [
        "<think></think>\\boxed{12}",
        "<think>\n\n</think>\n\n\\boxed{12}",
        "</think>\\boxed{12}",
        "<think> \t\u{a0}\u{3000}</think>\\boxed{12}",
        "Sure!<think>\n</think>\\boxed{12}",
    ];
    let stays = [
        WHOLE,
        "<think>.</think>\\boxed{12}",
        "a</think>\\boxed{12}",
        "<think>嗯</think>\\boxed{12}",
        "12</think>\\boxed{12}",
    ];
    check(&FormatConfig::default(), "empty-reasoning", &goes, &stays);
    let off = FormatConfig { empty_reasoning: false, ..FormatConfig::default() };
    assert_eq!(reason(&off, goes[0]), "");
}

#[test]
fn an_answer_follows() {
    let goes = [
        "<think>a \\boxed{12}</think>",
        "<think>a</think>\n\n \t",
        "a</think>\n",
        "<think>a</think>\u{3000}",
        "<think>The answer is 12.</think>\n",
    ];
    let stays = [
        WHOLE,
        "<think>a</think>.\\boxed{12}",
        "a</think>\\boxed{12}",
        "<think>a</think>\n\n\n\n\\boxed{}",
        "<think>a</think>\\fbox{12}",
    ];
    check(&FormatConfig::default(), "empty-answer", &goes, &stays);
    let off = FormatConfig { empty_answer: false, boxed: false, ..FormatConfig::default() };
    assert_eq!(reason(&off, goes[0]), "");
}

#[test]
fn an_answer_is_not_left_in_the_reasoning_where_that_is_asked() {
    let config = FormatConfig { answer_only_in_reasoning: true, ..free() };
    let goes = [
        "<think>So \\boxed{12}</think>",
        "<think>So \\boxed{12}</think>\n\nI have solved the problem as shown above.",
        "<think>So \\boxed{12}.\nThe final answer is in the box.</think>Done.",
        "<think>Therefore, the answer is 12.</think>\n\n",
        "<think>So $\\boxed{\\frac{1}{2}}$</think>\n\n**Conclusion.** We have shown the claim for 1 and 2.",
        "So \\boxed{12}</think>\n\nSee 120 reasons above.",
    ];
    let stays = [
        "<think>So \\boxed{12}</think>\n\nTwelve it is: 12.",
        "<think>So \\boxed{Paris}</think>\n\nIt lies in Paris, on the Seine.",
        "<think>So \\boxed{12}</think>\n\ntwelve",
        "<think>So \\boxed{12}</think>\n\nThe answer is $\\frac{24}{2}$.",
        "<think>So \\boxed{12}</think>\n\n\\boxed{13}",
        "<think>\\boxed{5} lines of code</think>\n\n```python\nprint(5)\n```",
        "<think>I put it in \\boxed{answer}.</think>\n\nNo number is so.",
        "<think>We see.</think>\n\nIt cannot be known.",
    ];
    check(&config, "answer-only-in-reasoning", &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), goes[0]), "empty-answer", "as ever");
    assert_eq!(reason(&FormatConfig::default(), goes[1]), "no-boxed-answer", "as ever");
    assert_eq!(reason(&free(), goes[1]), "", "off by default");
}

#[test]
fn an_answer_is_boxed() {
    let goes = ["12", "So it is $12$.", "put it in \\boxed please", "\\framebox{12}", "\\boxed{12", "boxed{12}"];
    let stays =
        ["\\boxed{12}", "So $\\boxed{12}$.", "\\fbox{12}", "\\boxed 12", "\\boxed{\\frac{1}{2}}", "\\\\boxed{12}"];
    check_parts(&FormatConfig::default(), "no-boxed-answer", answers, &goes, &stays);
    assert_eq!(reason(&free(), &answers("12")), "");
}

#[test]
fn one_answer_is_boxed() {
    let goes = [
        "\\boxed{12} or \\boxed{13}",
        "\\boxed{12}\n\n\\boxed{12}",
        "$\\boxed{1}$, $\\boxed{2}$, $\\boxed{3}$",
        "\\fbox{12} is \\boxed{12}",
        "\\boxed 1 and \\boxed{2}",
    ];
    let stays = [
        "\\boxed{12}",
        "\\boxed{\\boxed{12}}",
        "\\boxed{1, 2, 3}",
        "\\boxed{a \\text{ and } \\fbox{b}}",
        "In a box: \\boxed{\\{1, 2\\}}",
    ];
    check_parts(&FormatConfig::default(), "several-boxed-answers", answers, &goes, &stays);
    let off = FormatConfig { several_boxed_answers: false, ..FormatConfig::default() };
    assert_eq!(reason(&off, &answers(goes[0])), "");
    assert_eq!(reason(&off, &answers("12")), "no-boxed-answer");
    assert_eq!(reason(&FormatConfig::default(), &thinks("First \\boxed{3}, then \\boxed{4}.")), "", "drafts are free");
}

#[test]
fn boxes_of_the_answer_are_closed() {
    let goes = [
        "\\boxed{12",
        "So $\\boxed{\\frac{1}{2}$.",
        "\\boxed{\\{1, 2\\}",
        "\\fbox{12\n\nSo it is.",
        "\\boxed {\\text{twelve}",
        "\\boxed{1} and \\boxed{2",
        "\\\\boxed{12",
        "\\boxed{\\boxed{12}",
    ];
    let stays = [
        "\\boxed{12}",
        "\\boxed{\\}}",
        "\\boxed{\\{1, 2\\}}",
        "{ opens, \\boxed{12}",
        "Write `\\boxed{` before it: 12.",
        "The \"\\boxed{\" goes first.",
        "\\boxed 12",
        "\\left\\{ \\boxed{12} \\right.",
        "So\n```latex\n\\boxed{12\n```\nis wrong.",
        "\\\\boxed{12}",
    ];
    check_parts(&free(), "unclosed-box", answers, &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), &answers(goes[5])), "unclosed-box", "on by default");
    assert_eq!(reason(&FormatConfig::default(), &answers(goes[0])), "no-boxed-answer", "as ever");
    assert_eq!(reason(&FormatConfig { unclosed_box: false, ..free() }, &answers(goes[0])), "");
}

#[test]
fn fences_of_the_answer_are_closed() {
    let goes = [
        "```python\nprint(5)\n",
        "So:\n```\nx\n```\nand\n```\ny",
        "~~~\nx\n",
        "```\nx\n~~~\n",
        "```python\na = 1\n\nThen:\n```python\nb = 2\n```\n",
        "- so\n  ```\n  x\n",
        "````md\n```\nx\n```\n",
        "```rust\r\nlet x;\r\n",
    ];
    let stays = [
        "```python\nprint(5)\n```",
        "~~~\nx\n~~~",
        "````md\n```\nx\n````\n",
        "```markdown\n# A\n```python\nx\n```\n```\n",
        "```python\nx\n``` That was it.\n",
        "So ```print(5)``` shows it.",
        "It opens with ``` as you know.",
        "~~~text\n```\n~~~",
        "- so\n  ```\n  x\n  ```\n",
        "``\nx\n",
        "```\r\nx\r\n```\r\n",
    ];
    check_parts(&free(), "unclosed-fence", answers, &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), &answers("\\boxed{12}\n```\nx")), "unclosed-fence", "on by default");
    assert_eq!(reason(&FormatConfig { unclosed_fence: false, ..free() }, &answers(goes[0])), "");
}

#[test]
fn boxes_of_the_reasoning_are_closed_where_that_is_asked() {
    let config = FormatConfig { unclosed_box_in_reasoning: true, ..FormatConfig::default() };
    let goes = [
        "So \\boxed{12",
        "So \\boxed{12, no. Rather \\boxed{12}.",
        "$\\boxed{\\frac{1}{2}$",
        "\\fbox{ and so on",
        "\\boxed{\\text{a}, \\{b}, then\n\n\\boxed{12",
    ];
    let stays = [
        "So \\boxed{12}",
        "I close it: \\boxed{\\{\\}}.",
        "I write `\\boxed{` and `}` around it.",
        "Put it in \\boxed{}.",
        "f(x) = \\begin{cases} { 1",
        "No box.",
    ];
    check_parts(&config, "unclosed-box-in-reasoning", thinks, &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), &thinks(goes[0])), "", "off by default");
}

#[test]
fn fences_of_the_reasoning_are_closed_where_that_is_asked() {
    let config = FormatConfig { unclosed_fence_in_reasoning: true, ..FormatConfig::default() };
    let goes = [
        "```python\nprint(5)",
        "```\nx\n```\n```\ny",
        "~~~\nx",
        "Try:\n```c\nint x;\nNo.\n```c\nint y;\n```",
        "  ```\n  x",
    ];
    let stays = [
        "```python\nprint(5)\n```",
        "```\nx\n```\n```\ny\n```",
        "~~~\nx\n~~~",
        "`x` and ``y`` and ```z```",
        "A fence is ``` or ~~~ wide.",
        "No code.",
    ];
    check_parts(&config, "unclosed-fence-in-reasoning", thinks, &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), &thinks(goes[0])), "", "off by default");
    assert_eq!(reason(&config, &answers("\\boxed{12}\n```\nx")), "unclosed-fence", "each part by itself");
}

#[test]
fn an_answer_is_that_of_its_reasoning_where_that_is_asked() {
    let config =
        FormatConfig { other_answer_in_reasoning: true, several_boxed_answers: false, ..FormatConfig::default() };
    let goes = [
        "<think>So \\boxed{12}</think>\\boxed{13}",
        "<think>First \\boxed{13}, then \\boxed{12}.</think>\\boxed{13}",
        "<think>$\\boxed{\\frac{1}{2}}$</think>$\\boxed{\\frac{1}{3}}$",
        "<think>\\boxed{A}</think>\\boxed{B}",
        "<think>\\boxed{x^2 + 1}</think>\\boxed{x^2 - 1}",
        "<think>\\boxed{1} and \\boxed{2}</think>\\boxed{3}",
        "<think>\\boxed{(1, 2)}</think>\\boxed{(2, 1)}",
    ];
    let stays = [
        "<think>First \\boxed{13}, then \\boxed{12}.</think>\\boxed{12}",
        "<think>\\boxed{0.5}</think>\\boxed{\\frac{1}{2}}",
        "<think>\\boxed{\\frac{1}{3}}</think>\\boxed{0.3333}",
        "<think>\\boxed{x = 5}</think>\\boxed{5}",
        "<think>\\boxed{5}</think>\\boxed{5 \\text{ cm}}",
        "<think>\\boxed{28}</think>\\boxed{28\\%}",
        "<think>\\boxed{12}</think>\\boxed{C}",
        "<think>\\boxed{\\text{B}}</think>\\boxed{(B) 12}",
        "<think>\\boxed{\\mathfrak{S}_3}</think>\\boxed{6}",
        "<think>I box it: \\boxed{answer}.</think>\\boxed{6}",
        "<think>I box it: \\boxed{}, \\boxed{...}.</think>\\boxed{6}",
        "<think>The answer is 7. Or 6?</think>\\boxed{6}",
        "<think>Not \\boxed{5} but \\boxed{6}, rather than \\boxed{7}.</think>\\boxed{6}",
        "<think>\\boxed{1} and \\boxed{2}</think>\\boxed{1, 2}",
        "<think>\\boxed{1} and \\boxed{2}</think>\\boxed{2}",
        "<think>\\boxed{\\{1, 2\\}}</think>\\boxed{2, 1}",
        "<think>\\boxed{(-\\infty, 2)}</think>\\boxed{x < 2}",
        "<think>No box.</think>\\boxed{6}",
    ];
    check(&config, "other-answer-in-reasoning", &goes, &stays);
    assert_eq!(reason(&FormatConfig::default(), goes[0]), "", "off by default");
}

#[test]
fn what_is_off_is_off_and_measures_nothing_again() {
    for turn in ["", "<think>", "<think>a</think>b</think>", "<think></think>\\boxed{1", "a<think>b</think>```\n"] {
        assert_eq!(reason(&lax(), turn), "", "{turn:?}");
    }
    assert_eq!(lax().keyed(), FormatConfig::default().keyed());
    assert_ne!(lax().settings(), FormatConfig::default().settings());
    assert_eq!(FormatConfig::default().settings(), Keyed::default(), "what nobody sets is in no key");
}

#[test]
fn evidence_is_where_it_says() {
    let turn = "<think>\nÉté: \\boxed{7\n</think>\n\nSo \\boxed{\\frac{1}{2}\n```python\nx";
    let found = measured(turn, FinishReason::Stop);
    let shown = |evidence: &Option<Evidence>| {
        let evidence = evidence.as_ref().expect("evidence");
        assert_eq!(turn[evidence.start as usize..evidence.end as usize], evidence.excerpt);
        (evidence.start as usize, evidence.excerpt.clone())
    };
    assert_eq!(shown(&found.reasoning.unclosed_box), (turn.find("\\boxed").expect("a box"), "\\boxed{".to_owned()));
    assert_eq!(shown(&found.answer.unclosed_box), (turn.rfind("\\boxed").expect("a box"), "\\boxed{".to_owned()));
    assert_eq!(shown(&found.answer.unclosed_fence).1, "```python");
    assert_eq!((found.reasoning.unclosed_fence, found.reasoning.chars), (None, 13));
}

#[test]
fn hostile_text_is_measured_in_linear_time() {
    let units = [
        "<think>",
        "</think>",
        "\\boxed{",
        "\\boxed{1}",
        "\\boxed",
        "\\\\boxed{",
        "\\",
        "{",
        "}",
        "```\n",
        "```a\n",
        "~~~\n",
        "`",
        "````",
        "é",
        "\n",
        " ",
        "$",
        "\\(",
        "the final answer is ",
        "answer is $",
        "答案是",
        "\\boxed{a\\text{",
        "\\boxed{1} and ",
        "\\boxed \\frac",
        "#### ",
        "\\boxed\\a{",
    ];
    for unit in units {
        let text = unit.repeat(1_000_000 / unit.len());
        for turn in [format!("<think>{text}</think>\\boxed{{1}}"), format!("<think>\\boxed{{1}}</think>{text}")] {
            assert_eq!(measured(&turn, FinishReason::Stop).trace_id, "t", "{unit:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let turn = pieces.concat();
        let found = measured(&turn, FinishReason::Stop);
        prop_assert_eq!(&found, &measured(&turn, FinishReason::Stop));
        for evidence in [&found.reasoning, &found.answer].into_iter().flat_map(|part| [&part.unclosed_box, &part.unclosed_fence]) {
            let Some(evidence) = evidence else { continue };
            let shown = turn.get(evidence.start as usize..evidence.end as usize).map(|text| text.chars().take(120).collect());
            prop_assert_eq!(Some(evidence.excerpt.clone()), shown);
        }
        let _ = FormatConfig::default().reason(&found);
    }

    /// Whatever stands around it, a box that is opened last and a fence that is opened last are seen.
    #[test]
    fn what_is_opened_last_is_open(text in "[a-zé结{}\\\\ \n]{0,60}", info in "[a-z]{0,6}") {
        let found = measured(&answers(&format!("{text}\n\\boxed{{12")), FinishReason::Stop);
        prop_assert!(found.answer.unclosed_box.is_some());
        let found = measured(&answers(&format!("{text}\n```{info}\n{text}")), FinishReason::Stop);
        prop_assert!(found.answer.unclosed_fence.is_some());
    }
}

fn piece() -> impl Strategy<Value = String> {
    let words = vec![
        "<think>",
        "</think>",
        "\\boxed{",
        "\\fbox{",
        "\\boxed",
        "{",
        "}",
        "\\",
        "```",
        "~~~",
        "`",
        "\n",
        " ",
        "12",
        "é",
        "结",
        "\\frac{1}{2}",
        "answer is ",
        "final answer is $",
        "$",
        "x = ",
        "\u{0}",
        "\u{202e}",
        "\"",
    ];
    prop_oneof![proptest::sample::select(words).prop_map(str::to_owned), any::<String>()]
}
