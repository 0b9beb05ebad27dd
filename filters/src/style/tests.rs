//! Traces by the reason for which they go, beside those that look alike and stay.

use super::*;

const ASKED: &str = "How many ways are there to seat five people?";

fn measured(question: &str, domain: &str, turn: &str) -> Styled {
    styled(&Said::whole(turn), &Asked::question(question, domain))
}

fn thinks(reasoning: &str) -> String {
    format!("<think>\n{reasoning}\n</think>\n\n\\boxed{{12}}")
}

fn answers(answer: &str) -> String {
    format!("<think>\nLet me see.\n</think>\n\n{answer}")
}

fn check_all(config: &StyleConfig, cases: &[(&str, &str, &str, String, &str)]) {
    for (name, question, domain, turn, expected) in cases {
        let found = measured(question, domain, turn);
        assert_eq!(config.reason(&found).unwrap_or_default(), *expected, "{name}: {found:?}");
    }
}

#[test]
fn paragraphs_without_end_are_unreadable() {
    let (line, long) = ("We count all of them. ", "long-paragraph");
    let cases = [
        ("one paragraph", ASKED, "math", thinks(&line.repeat(200)), long),
        ("one among short ones", ASKED, "math", thinks(&format!("{line}\n\n{}\n\n{line}", line.repeat(200))), long),
        ("one in the answer", ASKED, "math", answers(&line.repeat(200)), long),
        ("one of Chinese", ASKED, "math", thinks(&"我们来数一数。".repeat(600)), long),
        ("one of formulas", ASKED, "math", thinks(&"$x = y$, ".repeat(500)), long),
        ("one of code's domain", ASKED, "code", thinks(&line.repeat(200)), long),
        ("many paragraphs", ASKED, "math", thinks(&format!("{line}\n\n").repeat(400)), ""),
        ("many lines", ASKED, "math", thinks(&format!("{line}\n").repeat(400)), ""),
        ("just as long as it may be", ASKED, "math", thinks(&"a".repeat(4000)), ""),
        ("bytes are no characters", ASKED, "math", thinks(&"é".repeat(4000)), ""),
        ("a long line of code", ASKED, "code", thinks(&format!("```\n{}\n```", "x = 1; ".repeat(900))), ""),
        ("nothing", ASKED, "math", String::new(), ""),
    ];
    check_all(&StyleConfig::default(), &cases);
}

#[test]
fn code_is_not_how_mathematics_is_reasoned() {
    let (block, code) = ("So:\n```python\nprint(5)\n```\nThat is it.", "code-block");
    let cases = [
        ("a block", ASKED, "math", thinks(block), code),
        ("a block of no language", ASKED, "math", thinks("So:\n```\nx = 1\n```\n"), code),
        ("a block between tildes", ASKED, "math", thinks("So:\n~~~\nx = 1\n~~~\n"), code),
        ("a block in a list", ASKED, "math", thinks("- so\n  ```\n  x = 1\n  ```\n"), code),
        ("a block that never ends", ASKED, "math", thinks("So:\n```python\nx = 1"), code),
        ("a block of another domain", ASKED, "stem", thinks(block), code),
        ("a problem of code", ASKED, "code", thinks(block), ""),
        ("a block in the answer", ASKED, "math", answers("So:\n```\nx\n```\n\\boxed{1}"), ""),
        ("code in a line", ASKED, "math", thinks("So `print(5)` and ``a ` b`` show it."), ""),
        ("backticks in the midst of a line", ASKED, "math", thinks("So ```print(5)``` shows it."), ""),
        ("code without a fence", ASKED, "math", thinks("for i in range(5): print(i)"), ""),
        ("two backticks", ASKED, "math", thinks("So:\n``\nx\n``\n"), ""),
        ("a rule", ASKED, "math", thinks("So:\n---\nx ~ y\n~\n"), ""),
    ];
    check_all(&StyleConfig::default(), &cases);
    let one = StyleConfig { max_code_blocks: 1, ..StyleConfig::default() };
    assert_eq!(one.reason(&measured(ASKED, "math", &thinks(block))), None);
    let off = StyleConfig { code_block: false, ..StyleConfig::default() };
    assert_eq!(off.reason(&measured(ASKED, "math", &thinks(block))), None);
}

#[test]
fn a_refusal_is_no_answer() {
    let refusal = "refusal";
    let cases = [
        ("sorry", ASKED, "general", answers("I'm sorry, but I can't help with that."), refusal),
        ("a curly apostrophe", ASKED, "general", answers("I’m sorry, but I can’t assist with that request."), refusal),
        ("unable", ASKED, "general", answers("I am unable to provide instructions for this."), refusal),
        ("will not", ASKED, "general", answers("I won't engage with this topic."), refusal),
        ("declines", ASKED, "general", answers("I must decline this one."), refusal),
        ("apologises", ASKED, "general", answers("I apologize, but I cannot create that story."), refusal),
        (
            "beyond a scope",
            ASKED,
            "general",
            answers("Sorry, that's beyond my current scope. Let's talk about something else."),
            refusal,
        ),
        ("in Chinese", ASKED, "general", answers("你好，这个问题我暂时无法回答，让我们换个话题再聊聊吧。"), refusal),
        ("an impossible number", ASKED, "math", answers("I cannot find such a number, so there is none."), ""),
        ("no closed form", ASKED, "math", answers("I cannot provide a closed form, but the value is \\boxed{3}."), ""),
        ("no product", ASKED, "math", answers("I cannot write it as a product of primes."), ""),
        ("sorry for a mistake", ASKED, "math", answers("Sorry for the confusion: the answer is 4."), ""),
        ("cannot help but see", ASKED, "math", answers("I can't help but notice that it is prime."), ""),
        ("quoted", ASKED, "general", answers("The guard said \"I can't help you\" and left."), ""),
        (
            "asked for",
            "Write a note that politely declines an invitation.",
            "general",
            answers("I'm sorry, but I can't help on Sunday."),
            "",
        ),
        ("thought of", ASKED, "general", thinks("I can't help with that. Or can I? Yes."), ""),
        (
            "far behind an answer",
            ASKED,
            "general",
            answers(&format!("{} I cannot help with more.", "It is five. ".repeat(60))),
            "",
        ),
    ];
    check_all(&StyleConfig::default(), &cases);
    let off = StyleConfig { refusal: false, ..StyleConfig::default() };
    assert_eq!(off.reason(&measured(ASKED, "math", &answers("I must decline."))), None);
}

#[test]
fn a_trace_does_not_say_which_model_speaks() {
    let leak = "identity-leak";
    let cases = [
        ("by name", ASKED, "general", answers("I am DeepSeek-R1, an AI assistant made by DeepSeek."), leak),
        ("in the reasoning", ASKED, "general", thinks("The user asks me. I'm ChatGPT, so I know."), leak),
        ("by its maker", ASKED, "general", answers("Well, I was developed by OpenAI to help."), leak),
        ("as a language model", ASKED, "general", thinks("As an AI language model, I do not sit."), leak),
        (
            "as a model of a maker",
            ASKED,
            "general",
            answers("As an AI language model developed by Alibaba, that is so."),
            leak,
        ),
        ("as an assistant", ASKED, "general", answers("I'm an AI assistant, and here is the answer."), leak),
        ("a name that others have", ASKED, "general", answers("I am Claude, an AI model."), leak),
        ("called so", ASKED, "general", answers("I am a large language model called Qwen."), leak),
        ("in Chinese", ASKED, "general", answers("我是DeepSeek，很高兴为您服务。"), leak),
        ("who are you", "Who are you?", "general", answers("I am DeepSeek-R1, made by DeepSeek."), ""),
        (
            "a problem about models",
            "How many parameters does DeepSeek-R1 have?",
            "stem",
            answers("I'm DeepSeek-R1: 671 billion."),
            "",
        ),
        ("in the third person", ASKED, "stem", answers("DeepSeek-R1 was developed by DeepSeek."), ""),
        ("quoted", ASKED, "general", answers("The robot says \"I am ChatGPT, made by OpenAI\" and waves."), ""),
        ("a person of that name", ASKED, "math", answers("If I am Claude, I sit beside Monet."), ""),
        ("an AI company", ASKED, "math", thinks("As an AI company grows, it needs more chairs."), ""),
        ("a mathematician", ASKED, "math", thinks("I am a mathematician by training, as I was taught by Gauss."), ""),
        ("by itself", ASKED, "math", thinks("I am made to think about the model of the table."), ""),
        ("used as a model", ASKED, "stem", answers("The n-gram serves as a language model of its time."), ""),
    ];
    check_all(&StyleConfig::default(), &cases);
}

#[test]
fn doubt_without_end_is_counted() {
    let config = StyleConfig { branch_heavy: true, ..StyleConfig::default() };
    let (plain, heavy) = ("We count the ways again and find that there are twelve of them in all. ", "branch-heavy");
    let with = |branch: &str, lines: usize| thinks(&format!("{branch}{}\n\n", plain.repeat(lines)).repeat(8));
    let cases = [
        ("wait", ASKED, "math", with("Wait, no. ", 1), heavy),
        ("but wait", ASKED, "math", with("But wait, is it? ", 1), heavy),
        ("wait, maybe", ASKED, "math", with("Wait maybe not. ", 1), heavy),
        ("hmm", ASKED, "math", with("Hmm. ", 1), heavy),
        ("alternatively", ASKED, "math", with("Alternatively, we could count. ", 1), heavy),
        ("all of them", ASKED, "math", with("Hmm, wait, alternatively: ", 3), heavy),
        ("now and then", ASKED, "math", with("Wait, no. ", 6), ""),
        ("a few in a short trace", ASKED, "math", thinks("Wait, no. Hmm. Alternatively, twelve."), ""),
        ("people who wait", ASKED, "math", with("They wait for the bus. ", 1), ""),
        ("a time to wait", ASKED, "math", with("Wait times are short. ", 1), ""),
        ("a bidding to wait", ASKED, "math", with("Wait for five minutes. ", 1), ""),
        ("none", ASKED, "math", with("", 1), ""),
    ];
    check_all(&config, &cases);
    let found = measured(ASKED, "math", &with("Wait, no. ", 1));
    assert_eq!(StyleConfig::default().reason(&found), None, "off by default");
    assert_eq!(StyleConfig { max_branches: 900.0, ..config }.reason(&found), None, "a threshold");
    assert_eq!(found.branches, 8);
}

#[test]
fn evidence_is_where_it_says() {
    let turn = "<think>\nÉté.\n```\nx\n```\nHmm.\n</think>\n\nI am DeepSeek-R1. I'm sorry, but I can't help with that.";
    let found = measured(ASKED, "math", turn);
    let shown = |evidence: &Option<Evidence>| {
        let evidence = evidence.as_ref().expect("evidence");
        assert_eq!(turn[evidence.start as usize..evidence.end as usize], evidence.excerpt);
        evidence.excerpt.clone()
    };
    assert_eq!(shown(&found.code_block), "```\nx\n```\n");
    assert_eq!(shown(&found.branch), "Hmm");
    assert_eq!(shown(&found.identity_leak), "I am DeepSeek");
    assert_eq!(shown(&found.refusal), "I can't help");
    assert_eq!(shown(&found.paragraph), "I am DeepSeek-R1. I'm sorry, but I can't help with that.");
}

#[test]
fn thresholds_measure_nothing_again_and_have_ranges() {
    let other = StyleConfig { max_paragraph_chars: 9, branch_heavy: true, ..StyleConfig::default() };
    assert_eq!(other.keyed(), StyleConfig::default().keyed());
    assert_ne!(other.settings(), StyleConfig::default().settings());
    assert_eq!(StyleConfig::default().check(), Ok(()));
    for (wrong, name) in [
        (StyleConfig { max_paragraph_chars: 0, ..StyleConfig::default() }, "max-paragraph-chars"),
        (StyleConfig { max_branches: -1.0, ..StyleConfig::default() }, "max-branches"),
        (StyleConfig { max_branches: f64::NAN, ..StyleConfig::default() }, "max-branches"),
    ] {
        assert!(wrong.check().expect_err(name).contains(name));
    }
}

#[test]
fn hostile_text_is_measured_in_linear_time() {
    for unit in
        ["i ", "I am ", "as an ai ", "wait", "Wait, ", "\"i am gpt ", "我是", "`", "```\n", "é", "\n", "i am gpt\" "]
    {
        let turn = unit.repeat(400_000 / unit.len());
        let found = measured("?", "math", &turn);
        assert_eq!(found.trace_id, "t", "{unit:?}");
    }
}
