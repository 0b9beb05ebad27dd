//! Traces, authored: for each reason some that go for it, and look-alikes that stay.

/// One trace.
pub(super) struct Case {
    /// The reason that it goes for, or looks like.
    pub(super) of: &'static str,
    pub(super) name: &'static str,
    pub(super) turn: String,
    pub(super) drops: bool,
}

/// Reasoning without a loop.
pub(super) const HONEST: &str = "Okay, let me see. A bag holds 5 red and 7 blue marbles, and three are drawn without putting \
any back. I want the chance that exactly two of them are red. There are C(12, 3) = 220 ways to draw three marbles.\n\nTwo red \
ones can be chosen in C(5, 2) = 10 ways, and the blue one in 7 ways, so 70 draws are good. That gives 70/220 = 7/22.\n\nLet me \
check that by order. Red, red, blue has probability 5/12 * 4/11 * 7/10 = 140/1320. There are three places for the blue marble, \
so 420/1320, which is 7/22 again. Wait, is the sum over all cases 1? No red: C(7, 3) = 35. One red: 5 * 21 = 105. Two: 70. \
Three: 10. Together 35 + 105 + 70 + 10 = 220. Good, that is all of them.";

const ANSWER: &str = "The probability that exactly two are red is \\boxed{\\frac{7}{22}}.";

/// A whole turn.
fn whole(reasoning: &str) -> String {
    format!("<think>\n{HONEST}\n\n{reasoning}\n</think>\n\n{ANSWER}")
}

/// A turn that the token limit cut.
fn cut(reasoning: &str) -> String {
    format!("<think>\n{HONEST}\n\n{reasoning}")
}

fn answered(answer: &str) -> String {
    format!("<think>\n{HONEST}\n</think>\n\n{answer}")
}

/// What `each` makes of the numbers up to `until`, one after the other.
fn numbered(until: usize, each: impl Fn(usize) -> String) -> String {
    (1..=until).map(each).collect()
}

/// Some of these, in an order without a period, each followed by `end`.
fn shuffled(of: &[&str], how_many: usize, end: &str) -> String {
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % of.len()
    };
    (0..how_many).map(|_| format!("{}{end}", of[next()])).collect()
}

fn primes() -> impl Iterator<Item = usize> {
    (2..).filter(|n| (2..*n).all(|divisor| n % divisor > 0))
}

pub(super) fn cases() -> Vec<Case> {
    let groups = [
        ("tail-loop", tail_loops(), no_tail_loops()),
        ("counting-loop", counting_loops(), no_counting_loops()),
        ("repeated-lines", repeated_lines(), no_repeated_lines()),
        ("repeated-n-grams", repeated_n_grams(), no_repeated_n_grams()),
    ];
    let each = |drops: bool, of| move |(name, turn)| Case { of, name, turn, drops };
    let all = groups.into_iter().flat_map(|(of, drops, keeps)| {
        drops.into_iter().map(each(true, of)).chain(keeps.into_iter().map(each(false, of))).collect::<Vec<_>>()
    });
    all.collect()
}

type Cases = Vec<(&'static str, String)>;

fn tail_loops() -> Cases {
    let paragraph = "But maybe order matters here.\nIf it does, there are 1320 draws.\nThen 420 of them are good.\n\n";
    let sentence = cut(&"Wait, let me check that once more. ".repeat(60));
    vec![
        ("a sentence within a block that was cut", sentence[..sentence.len() - 13].to_owned()),
        ("a sentence until the token limit", sentence),
        ("a paragraph of several lines, in closed reasoning", whole(&paragraph.repeat(5))),
        ("one word", cut(&"the ".repeat(300))),
        ("one character", cut(&"!".repeat(500))),
        ("two sentences by turns", cut(&"Is it 7/22? Yes. But is it 3/22? No, it is not. ".repeat(12))),
        ("Chinese, which sets no blanks", cut(&"等等，让我再检查一遍这个结果。".repeat(40))),
        ("an answer", answered(&"The answer is \\boxed{\\frac{7}{22}}.\n".repeat(40))),
        ("a turn without tags that is nothing else", "So x = 3. ".repeat(80)),
        (
            "rows of a table that are all the same",
            answered(&format!("| a | b |\n{}", "| 0 | 0 | 0 | 0 |\n".repeat(50))),
        ),
    ]
}

fn no_tail_loops() -> Cases {
    let paragraph = "But suppose that order matters. Then there are 12 * 11 * 10 = 1320 draws, and those with the blue marble \
        first, second or third are 7 * 5 * 4 = 140 each, which makes 420 of them, the same share as before.\n\n";
    vec![
        ("the answer said three times", whole(&"So the answer is 7/22. ".repeat(3))),
        ("a decimal that repeats", whole(&format!("As a decimal that is 0.3{}", "18".repeat(60)))),
        ("a rule", answered(&format!("{ANSWER}\n\n{}", "-".repeat(100)))),
        ("yes, several times", whole(&"Yes. ".repeat(8))),
        ("a long paragraph twice", whole(&paragraph.repeat(2))),
        ("a sum of many equal terms", whole(&format!("So the total is {}1", "1 + ".repeat(50)))),
        ("no, no, no", whole("No, no, no, no, no, no. That counts the blue ones.")),
        ("a Chinese sentence said three times", whole(&"所以答案是二十二分之七。".repeat(3))),
        ("reasoning that ends as the answer begins", format!("<think>\n{HONEST}\n{ANSWER}\n</think>\n\n{ANSWER}")),
    ]
}

fn counting_loops() -> Cases {
    let wait = cut(&numbered(80, |n| format!("Wait, {}. ", n + 16)));
    vec![
        ("wait, and a number, cut within a number", wait[..wait.len() - 3].to_owned()),
        ("wait, and a number", wait),
        (
            "attempts over several widths, a line each",
            cut(&numbered(120, |n| format!("Attempt {n}: no luck, try again.\n"))),
        ),
        ("counting down", cut(&numbered(60, |n| format!("With {} left it does not fit. ", 500 - n)))),
        ("two numbers that go on together", cut(&numbered(40, |n| format!("Is {n} + 1 = {}? Yes, go on. ", n + 1)))),
        ("steps of seven", whole(&numbered(40, |n| format!("Then subtract 7 and get {}.\n", 900 - 7 * n)))),
        ("Chinese, which sets no blanks", cut(&numbered(60, |n| format!("第{n}步：再检查一遍结果。")))),
        ("an answer", answered(&numbered(90, |n| format!("Note {n}: see above.\n")))),
    ]
}

fn no_counting_loops() -> Cases {
    let fibonacci = |n: usize| (0..n).fold((0_u64, 1_u64), |(a, b), _| (b, a + b)).0;
    let listed = primes().take(90).map(|prime| format!("- prime {prime}\n")).collect::<String>();
    vec![
        ("a table of squares", whole(&numbered(40, |n| format!("{n}^2 = {}\n", n * n)))),
        ("the numbers up to 150", whole(&numbered(150, |n| format!("{n}, ")))),
        ("primes, a line each", answered(&listed)),
        ("names with an index", whole(&numbered(80, |n| format!("x_{n} + ")))),
        (
            "a short table of a linear function",
            answered(&numbered(10, |n| format!("After {n} hours: {} km\n", 60 * n))),
        ),
        ("all cases by brute force", whole(&numbered(50, |n| format!("n = {n}: n^2 mod 7 = {}. ", n * n % 7)))),
        ("Fibonacci numbers", whole(&numbered(40, |n| format!("The next is F({n}) = {}. ", fibonacci(n))))),
        (
            "a linear table, and what follows from it",
            whole(&format!(
                "{}So on the last day it is 305 miles in all.",
                numbered(40, |n| format!("Day {n}: {} miles so far.\n", 5 + 7 * n))
            )),
        ),
    ]
}

fn repeated_lines() -> Cases {
    let thoughts = [
        "Let me reconsider the problem from the beginning.",
        "But maybe the marbles of one colour are distinct.",
        "Then the number of draws would be different.",
        "Hold on, that was counted already, I think.",
    ];
    let chinese = ["等等，让我重新考虑这个问题。", "也许同色的弹珠是可以区分的。", "那么总数就不一样了，对吧？"];
    let function = "def ways(n, k):\n    result = 1\n    for i in range(k):\n        result = result * (n - i) // (i + 1)\n    return result\n";
    let equation = |n: usize| {
        format!("\\frac{{5}}{{12}} \\cdot \\frac{{4}}{{11}} \\cdot \\frac{{7}}{{10}}\nHm, case {}.\n", n * n)
    };
    vec![
        ("the same four thoughts in any order", cut(&shuffled(&thoughts, 60, "\n"))),
        (
            "a loop that was left",
            whole(&format!("{}Fine, I stop here.", "Let me count the draws again, slowly.\n".repeat(40))),
        ),
        ("one equation after every remark", whole(&numbered(40, equation))),
        ("a function printed over and over", answered(&numbered(14, |n| format!("# version {}\n{function}\n", n * n)))),
        ("Chinese thoughts in any order", cut(&shuffled(&chinese, 90, "\n"))),
        (
            "list items in any order",
            answered(&shuffled(&["- Check the sum of all cases.", "- Check the order of the draws."], 60, "\n")),
        ),
    ]
}

fn no_repeated_lines() -> Cases {
    let draft = |name: &str| {
        format!(
            "def {name}(n, k):\n    if k > n:\n        return 0\n    result = 1\n    for i in range(k):\n        result *= n - i\n        \
             result //= i + 1\n    return result\n\nprint({name}(12, 3))\n\n"
        )
    };
    let branch = |n: usize| format!("if x == {n}:\n    y = {}\n    continue\nelse:\n    y -= {n}\n", n * n * n);
    let remark = |n: usize| {
        format!(
            "Let me check.\nWith {n} marbles of the first colour there are {} pairs of them, and {} triples.\n",
            n * (n - 1) / 2,
            n * n
        )
    };
    vec![
        ("a program in three drafts", whole(&[draft("ways"), draft("choose"), draft("binomial")].concat())),
        (
            "displayed equations",
            whole(&numbered(30, |n| format!("\\[\nx_{n} = \\frac{{{n}}}{{{}}}\n\\]\n", n * n + 1))),
        ),
        ("let me check, often", whole(&numbered(25, remark))),
        (
            "rows of a sparse matrix",
            whole(&format!("{}det = 1.", "0 & 0 & 0 & 1 \\\\\n0 & 1 & 0 & 0 \\\\\n".repeat(6))),
        ),
        ("verdicts of many tests", answered(&format!("{ANSWER}\n{}", shuffled(&["YES", "NO"], 100, "\n")))),
        (
            "an equation restated four times",
            whole(&numbered(4, |n| format!("P = \\frac{{5}}{{12}} \\cdot \\frac{{4}}{{11}}\nNow {n}.\n"))),
        ),
        ("code with many equal branches", answered(&format!("```python\n{}```", numbered(25, branch)))),
    ]
}

fn repeated_n_grams() -> Cases {
    let thoughts = [
        "Maybe I should look at the complement, that is at the draws with no red marble at all.",
        "Hold on, the problem says exactly two, so three red marbles do not count here.",
        "Let me go back to the number of all draws and see whether order matters.",
    ];
    let chinese = [
        "等等，也许我应该考虑补集，也就是完全没有红色弹珠的情况。",
        "不对，题目说的是恰好两个，所以三个红色弹珠不算。",
    ];
    let words = ["first", "other", "last", "small", "large", "simple", "usual", "strange", "second", "next"];
    let varied = |n: usize| {
        format!(
            "Alternatively, take the {} way: the chance is the number of good draws over the number of all draws, which I have. ",
            words[n * n % 10]
        )
    };
    let tried = |n: usize| {
        format!(
            "Let me try {}: the sum of its digits is not what the problem asks for, so I go back to the start. ",
            n * n * 37 % 1009
        )
    };
    vec![
        ("three sentences in any order, on one line", cut(&shuffled(&thoughts, 40, " "))),
        ("a sentence with one word changed", cut(&numbered(30, varied))),
        ("a sentence around numbers without a rule", cut(&numbered(40, tried))),
        ("Chinese sentences in any order", cut(&shuffled(&chinese, 60, ""))),
        (
            "a loop that was left, on one line",
            whole(&format!(
                "{} Enough of that.",
                "Let me count all the draws again, but slowly this time. ".repeat(30)
            )),
        ),
        ("an answer of sentences in any order", answered(&shuffled(&thoughts, 40, " "))),
    ]
}

fn no_repeated_n_grams() -> Cases {
    let check = |n: usize| {
        format!("For n = {n} the left side is {n}^2 + {n} = {}, the right side {n} * {} too. ", n * n + n, n + 1)
    };
    let column = |n: usize| {
        let (a, b, carry) = (n * n * n / 7 % 10, n * n / 3 % 10, n % 2);
        format!(
            "{a} + {b} + {carry} = {}, write {} and carry {}. ",
            a + b + carry,
            (a + b + carry) % 10,
            (a + b + carry) / 10
        )
    };
    let table = |n: usize| {
        let (i, j) = (n / 8, n % 8);
        format!("dp[{i}][{j}] = max(dp[{}][{j}], dp[{i}][{}]) = {}. ", i + 1, j + 1, (n * n + 3) % 29)
    };
    let things = [
        "two red marbles",
        "a blue marble",
        "three of any colour",
        "the first one",
        "a red one after a blue one",
        "none",
    ];
    let chosen = |n: usize| {
        format!("So the number of ways to choose {} out of {} is {}. ", things[n % 6], n + 12, n * n * n + 1)
    };
    let quoted =
        "The problem says: a bag holds 5 red and 7 blue marbles, and three are drawn without putting any back. ";
    let chinese = |n: usize| format!("当n={n}时，左边等于{}，右边等于{}，所以等式成立。", n * n + n, n * (n + 1));
    vec![
        ("a long verification, case by case", whole(&numbered(600, check))),
        ("column arithmetic", whole(&numbered(60, column))),
        ("a table of dynamic programming", whole(&numbered(60, table))),
        ("the number of ways to choose, often", whole(&numbered(24, chosen))),
        ("the problem quoted three times", whole(&format!("{quoted}Fine. {quoted}Now count. {quoted}So 7/22."))),
        ("a long verification in Chinese", whole(&numbered(60, chinese))),
    ]
}
