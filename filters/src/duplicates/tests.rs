//! Authored turns beside a first one: copies, and what only looks like a copy.

use super::*;

const FIRST: &str = "<think>\nLet $N = 12$ and $n = 3$. Then $N - n = 9$, by $\\Gamma(4) = 6$.\n\nfor i in range(3):\n    x += 1\nprint(x)\n</think>\n\nIt is \\boxed{9}.";

/// A change of the first turn, whether a copy is left, and a word why.
const CHANGES: &[(&str, &str, bool, &str)] = &[
    ("", "", true, "nothing changed"),
    ("\n\nfor", "\n\n\n\nfor", true, "another blank line"),
    ("$N = 12$", "$N=12$", true, "an operator set closely"),
    ("Let", "let", true, "the capital of a sentence"),
    (" and ", "  and ", true, "two blanks"),
    ("9}.", "9} .", true, "a blank before the stop"),
    ("\n</think>\n\n", "\n</think>\n", true, "blanks behind the tag"),
    ("It is", "it\nis", true, "a line break in a sentence"),
    ("\\boxed{9}", "\\boxed{ 9 }", true, "blanks in the box"),
    ("Then", "\tThen", true, "a tab within a line"),
    ("$N - n = 9$", "$n - N = 9$", false, "the names change places"),
    ("$N - n", "$N + n", false, "another operator"),
    ("\\boxed{9}", "\\boxed{-9}", false, "another sign"),
    ("12", "1 2", false, "two numbers"),
    ("\\Gamma", "\\gamma", false, "another function"),
    ("print(x)", "    print(x)", false, "printed in the loop"),
    ("x += 1", "x -= 1", false, "another statement"),
    ("\\boxed{9}", "\\boxed{9.0}", false, "another form of the value"),
    ("</think>", "", false, "no end of the reasoning"),
    ("It is", "So it is", false, "another word"),
];

#[test]
fn copies_go_and_what_looks_like_one_stays() {
    let first = duplicate(&Said::whole(FIRST));
    for &(from, to, is_copy, why) in CHANGES {
        let turn = FIRST.replacen(from, to, 1);
        assert!(from.is_empty() || turn != FIRST, "{why}: nothing changed");
        let found = duplicate(&Said::whole(&turn));
        assert_eq!(found.digest == first.digest, is_copy, "{why}: {turn}");
        assert_eq!(found.within_problem == first.within_problem, is_copy, "{why}, within a problem: {turn}");
    }
}

#[test]
fn a_copy_under_another_problem_is_one_of_everything_alone() {
    let (one, other) = (Said::whole(FIRST), Said { problem_id: "q".to_owned(), ..Said::whole(FIRST) });
    let (one, other) = (duplicate(&one), duplicate(&other));
    assert_eq!(one.digest, other.digest);
    assert_ne!(one.within_problem, other.within_problem, "another problem's answer is no copy of this one's");
}
