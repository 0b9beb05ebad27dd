//! The coverage table of the README: each kind has an example that is equal, one that is unequal and one that is unknown,
//! and each is judged so.

use distill_verify::{Policy, Verdict, judge_answer};

#[test]
fn the_readme_examples_are_judged_as_it_says() {
    let table = include_str!("../README.md").split("| kind | equal | unequal | unknown |").nth(1).expect("the table");
    let (mut kinds, mut wrong) = (0, Vec::new());
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        // A bar within an example is escaped in Markdown.
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        let [kind, examples @ ..] = cells.as_slice() else { panic!("{row}") };
        assert_eq!(examples.len(), 3, "{kind}");
        for (example, wanted) in examples.iter().zip([Verdict::Equal, Verdict::Unequal, Verdict::Unknown]) {
            let texts: Vec<&str> = example.split('`').collect();
            let [_, gold, between, answer, _] = texts[..] else { panic!("{kind}: two code spans in {example}") };
            assert_eq!(between.trim(), "⇄", "{kind}");
            let judged = judge_answer(answer, gold, &Policy::default());
            if judged.verdict != wanted {
                wrong.push(format!(
                    "{kind}: {gold} ⇄ {answer} is {:?} ({}), not {wanted:?}",
                    judged.verdict, judged.reason
                ));
            }
        }
        kinds += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(kinds >= 30, "{kinds}");
}
