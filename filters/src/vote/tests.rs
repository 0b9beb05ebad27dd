//! Authored polls: what becomes of one of the answers to a problem.

use super::*;
use std::collections::BTreeMap;

const MINORITY: &str = "minority";
const TIE: &str = "no-clear-majority";
const SMALL: &str = "small-majority";
const NONE: &str = "no-answer";
const STRANGE: &str = "not-comparable";

/// What the traces say, parted by `|`, nothing where one says nothing; whose fate it is about, why that one goes, and a word why.
const POLLS: &[(&str, usize, &str, &str)] = &[
    ("4|4|5", 2, MINORITY, "one against two"),
    ("1/2|0.5|2", 2, MINORITY, "two spellings of one value against it"),
    (r"\frac12|1/2|1/3", 2, MINORITY, "another fraction"),
    ("5|4|4|4", 0, MINORITY, "that it came first does not matter"),
    ("4|4|4|40", 3, MINORITY, "a digit more"),
    ("4|4|5", 0, "", "of the majority"),
    ("1/2|0.5|2", 1, "", "another spelling of the majority's"),
    ("2.50|2.5|3", 0, "", "zeros behind the point"),
    (r"\frac12|1/2|1/3", 0, "", "a fraction in LaTeX"),
    ("5|4|4|4", 3, "", "the last of the majority"),
    ("4|5", 0, TIE, "one against one"),
    ("4|4|5|5", 3, TIE, "two against two"),
    ("1|2|3", 0, TIE, "everybody says something else"),
    ("1/2|0.5|2|2.0", 1, TIE, "two values, each in two spellings"),
    ("7||8", 2, TIE, "one against one, and one without an answer"),
    ("4|4|5|5|4", 3, MINORITY, "three against two are clear"),
    ("4|4|5|5|4", 0, "", "and these are the three"),
    ("7||7", 2, "", "two, and one without an answer"),
    ("7", 0, "", "who answers alone has the majority"),
    ("1|2|2", 1, "", "two of three are clear"),
    ("7|7|7|8|8|9", 0, "", "half of all, and clear"),
    ("4|4|5|6|7", 0, SMALL, "two of five are less than half"),
    ("4|4|5|6|7", 3, SMALL, "and nobody is wrong by so few"),
    ("1|1|1|2|2|3|4", 1, SMALL, "three of seven"),
    ("9|9|8|7|6|5", 5, SMALL, "two of six"),
    ("1/2|0.5|1|2|3", 1, SMALL, "two spellings of one value are two of five"),
    ("4|4|5|6", 0, "", "half is enough"),
    ("4|4|5|6", 2, MINORITY, "and the others are wrong"),
    ("4|4|4|5|6", 4, MINORITY, "three of five"),
    ("1|1|1|2|2|3", 2, "", "three of six"),
    ("9|9||||", 0, "", "who says nothing does not count"),
    ("4|4|", 2, NONE, "says nothing"),
    ("|4|4", 0, NONE, "that it came first does not matter"),
    ("||", 1, NONE, "nobody says anything"),
    ("4||5", 1, NONE, "nothing beside a tie"),
    ("|", 0, NONE, "two who say nothing"),
    ("4|4|0", 2, MINORITY, "zero is an answer"),
    ("4|4|", 0, "", "who answers beside one who does not"),
    ("0|0|1", 0, "", "zero has the majority"),
    ("x|x|", 1, "", "a letter is an answer"),
    ("none|none|none", 0, "", "that there is none is an answer"),
    (r"4|4|4|\mathfrak{S}_3", 3, STRANGE, "what nobody can read stands against three"),
    (r"\mathfrak{S}_3|4|4|4", 0, STRANGE, "the same, come first"),
    (r"4|4|4|4|\mathfrak{S}_3|\mathfrak{S}_4", 4, STRANGE, "two such against four"),
    (r"1/2|0.5|\frac12|\mathfrak{S}_3", 3, STRANGE, "against three spellings of one value"),
    (r"x|x|x|\mathfrak{A}", 3, STRANGE, "against letters"),
    (r"4|4|4|\mathfrak{S}_3", 0, "", "what can be read has the majority"),
    (
        r"4|4|\mathfrak{S}_3",
        0,
        TIE,
        "two against one that nobody can read: it may be both another value and the next in number",
    ),
    (r"\mathfrak{S}_3|\mathfrak{S}_3|\mathfrak{S}_3", 2, "", "the same signs are the same answer"),
    (r"4|\mathfrak{S}_3", 0, TIE, "one against one that may say the same"),
    (r"4|4|4|\sqrt{16}", 3, "", "a root that can be read"),
    (r"4|4|\frac{8}{2}", 2, "", "a fraction that can be read"),
];

#[test]
fn every_authored_answer_has_its_fate() {
    let config = VoteConfig { min_share: half(), on_unknown: OnUnknown::Reject, policy: Policy::default() };
    let (mut seen, mut wrong, mut stay) = (BTreeMap::<&str, u32>::new(), Vec::new(), 0);
    for &(said, index, expected, why) in POLLS {
        let said: Vec<Option<String>> =
            said.split('|').map(|text| (!text.is_empty()).then(|| text.to_owned())).collect();
        let mut poll = Poll { answers: said.iter().flatten().cloned().collect(), ..Poll::default() };
        let answers: Vec<&str> = poll.answers.iter().map(String::as_str).collect();
        poll.vote = vote(&answers, &config.policy);
        let voted: Vec<Voted> = said.iter().map(|text| place(String::new(), text.clone(), Some(&mut poll))).collect();
        let decided = config.decided(voted[index].clone());
        if decided.reason != expected || decided.goes_on != expected.is_empty() {
            wrong.push(format!("{why}: expected {expected:?}, found {:?} of {:?}", decided.reason, voted[index]));
        }
        *seen.entry(expected).or_default() += 1;
        stay += u32::from(expected.is_empty());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.values().all(|count| *count >= 5) && stay >= 20, "five of each reason, and look-alikes: {seen:?}");
}
