//! Authored texts beside a first one, by the settings that hold where a recipe says none: near duplicates, and what only looks
//! like one.

use super::*;
use crate::near::{Corpus, near_duplicates};
use std::{convert::Infallible, ops::ControlFlow};

struct Two([String; 2]);

impl Corpus for Two {
    type Error = Infallible;

    fn num_units(&self) -> u32 {
        1
    }

    fn read(&self, _: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), Infallible> {
        for (row, text) in (0..).zip(&self.0) {
            if each(row, text).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn are_near(one: &str, other: &str) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = NearDuplicatesConfig::default().near();
    let texts = Two([one, other].map(str::to_owned));
    let tally = near_duplicates(&texts, &config, folder.path(), |_, _, _| Ok(()), |_| Ok(())).expect("a run");
    tally.duplicates == 1
}

const FIRST: &str = "A lighthouse keeper counts 48 gulls on the rocks in the morning. Before noon a third of them fly away to the harbour, \
where the fishing boats come in, and in the afternoon half of those that stayed follow them. In the evening the keeper counts again, \
from the gallery of the tower this time, and writes the number into the old book with the blue cover that lies beside the lamp. \
Find $\\frac{48}{3}$ first. How many gulls does the keeper write down?";

/// A change of the first text, whether a near duplicate is left, and a word why.
const CHANGES: &[(&str, &str, bool, &str)] = &[
    ("", "", true, "nothing changed"),
    ("writes the", "notes the", true, "one word of ninety"),
    (" again,", ",", true, "one word left out"),
    ("the old book", "the very old book", true, "one word put in"),
    ("A lighthouse", "a LIGHTHOUSE", true, "capitals"),
    (". Before", ".\n\nBefore", true, "a paragraph begins"),
    ("$\\frac{48}{3}$", "$ \\frac {48} {3} $", true, "a formula set widely"),
    ("How many", "Now: how many", true, "a word before the question"),
    ("down?", "down? Explain.", true, "an instruction behind it"),
    ("morning.", "morning!", true, "another mark"),
    ("48 gulls", "36 gulls", false, "another number"),
    ("a third of them", "1/3 of them", false, "a number in digits"),
    ("\\frac{48}{3}", "\\frac{48}{4}", false, "another denominator"),
    ("down?", "down? Answer in 1 word.", false, "a number in the instruction"),
    ("$\\frac{48}{3}$", "$48$ over $3.0$", false, "a number in another form"),
    (
        "Before noon a third of them fly away to the harbour, where the fishing boats come in, and in the afternoon half of those that \
         stayed follow them.",
        "By night a third of them have left for the open sea.",
        false,
        "another story in the middle",
    ),
    (
        "In the evening the keeper counts again, from the gallery of the tower this time, and writes the number into the old book with \
         the blue cover that lies beside the lamp.",
        "",
        false,
        "a third of it left out",
    ),
    (
        "How many gulls does the keeper write down?",
        "Show that the boats come in before the gulls do, whatever the keeper counts, and say what the book with the blue cover is for.",
        false,
        "another question behind the same story",
    ),
    ("the ", "a ", false, "an article throughout: one word in eight, each in five shingles"),
    ("keeper", "old and tired keeper", false, "three more words at each of four places"),
];

#[test]
fn near_duplicates_go_and_what_looks_like_one_stays() {
    let mut wrong = Vec::new();
    for &(from, to, is_near, why) in CHANGES {
        let changed = if from.is_empty() { FIRST.to_owned() } else { FIRST.replace(from, to) };
        assert!(from.is_empty() || changed != FIRST, "{why}: nothing changed");
        if are_near(FIRST, &changed) != is_near {
            wrong.push(format!("{why}: expected near = {is_near}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
