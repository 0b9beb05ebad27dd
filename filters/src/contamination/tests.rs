//! Authored documents, each with the reason that it has or none; copies of items in long traces; hostile text.

mod cases;

use super::*;
use cases::{BOXES, Case, cases, items};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What an index and its weights make of documents; the corpus that is counted is the cases' questions.
fn ready(config: &ContaminationConfig) -> (Index, Weights) {
    let index = config.index(&items());
    let mut counts = Counts::new(&index);
    cases().iter().for_each(|case| counts.add(&index, case.question));
    let weights = Weights::new(&index, &counts).expect("counts of this index");
    (index, weights)
}

fn found(config: &ContaminationConfig, question: &str, answer: Option<&str>) -> Contamination {
    let (index, weights) = ready(config);
    measure(&index, &weights, &Document { question, answer })
}

fn reason(config: &ContaminationConfig, question: &str, answer: Option<&str>) -> &'static str {
    config.reason(&found(config, question, answer)).map_or("", |(reason, _)| reason)
}

const LONG: &str = "We add the two sides and find that the sum grows by three. ";

#[test]
fn every_authored_document_has_its_reason_or_none() {
    let config = ContaminationConfig::default();
    let (index, weights) = ready(&config);
    let (mut seen, mut wrong) = (BTreeMap::<_, [u32; 2]>::new(), Vec::new());
    for Case { name, question, answer, reason, item, of } in cases() {
        let found = measure(&index, &weights, &Document { question, answer });
        let told = config.reason(&found).map_or(("", ""), |(reason, found)| (reason, found.item.as_str()));
        seen.entry(of).or_default()[usize::from(reason.is_empty())] += 1;
        if told != (reason, item) {
            wrong.push(format!("{of}, {name}: expected {reason:?} by {item:?}, found {told:?}, {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (of, least) in [
        ("contaminated-question", 10),
        ("variant", 10),
        ("contaminated-answer-side", 10),
        ("contaminated-answer-text", 8),
    ] {
        assert!(seen[of].iter().all(|count| *count >= least), "{of}: {:?}", seen[of]);
    }
}

#[test]
fn a_match_says_where_it_is() {
    let item = &items()[2];
    let answer = format!("{} €\u{301} {} {}", LONG.repeat(50), item.question, LONG.repeat(50));
    let found =
        found(&ContaminationConfig::default(), "Recall a problem.", Some(&answer)).answer_side.expect("a match");
    let span = &answer[found.start as usize..found.end as usize];
    assert_eq!(span, item.question.trim_end_matches(['.', '$']), "what only sets a formula is no token");
    assert_eq!((found.benchmark.as_str(), found.item.as_str(), found.score), ("contest", "circle", 1.0));
    assert_eq!((found.part, found.numbers), (Part::Answer, 1.0));
    assert!(span.starts_with(&found.excerpt) && found.excerpt.len() <= 160 && found.excerpt.len() > 150);
}

#[test]
fn what_is_scattered_over_a_long_trace_is_no_copy() {
    let config = ContaminationConfig::default();
    let item = items().swap_remove(3);
    let words: Vec<&str> = item.question.split(' ').collect();
    let scattered: Vec<String> =
        words.chunks(4).map(|words| format!("{} {}", words.join(" "), LONG.repeat(5))).collect();
    assert_eq!(reason(&config, "", Some(&scattered.join(" "))), "");
    assert_eq!(
        reason(&config, "", Some(&format!("{}{}", LONG.repeat(400), items()[3].question))),
        "contaminated-answer-side"
    );
}

#[test]
fn a_translation_is_not_seen() {
    let question = "Ein Lager enthält 48 Kisten Zitronen auf 6 Regalen, und jede Kiste wiegt 13 Kilogramm.";
    assert_eq!(reason(&ContaminationConfig::default(), question, None), "");
}

#[test]
fn the_published_rules_take_one_n_gram() {
    let of = |rule| ContaminationConfig { rule, ..ContaminationConfig::default() };
    let (eight, ten, thirteen) = (of(Rule::EightGram), of(Rule::TenGram), of(Rule::LmEval));
    let generic = "Now, what is the sum of the ages of the two?";
    assert_eq!(reason(&eight, generic, None), "contaminated-question", "eight words that say nothing");
    assert_eq!(reason(&ten, generic, None), "");
    assert_eq!(reason(&eight, "What is, the sum of the ages of", None), "", "punctuation is kept");
    let cut = "WHAT is the sum of the ages of the shepherd and";
    assert_eq!(reason(&ten, cut, None), "contaminated-question");
    assert_eq!(reason(&eight, "Say it.", Some(cut)), "", "its source looks at prompts");
    assert_eq!(reason(&ten, "Say it.", Some(cut)), "contaminated-answer-side", "a training sample");
    let bare = "what is the sum of the ages of the shepherd - and the apprentice: now?";
    assert_eq!(reason(&thirteen, bare, None), "contaminated-question", "punctuation is left out");
    assert_eq!(reason(&thirteen, "what is the sum of the ages of the shepherd and the", None), "");
    let short =
        [Item { benchmark: "b".into(), id: "1".into(), question: "Two and two?".into(), answer: String::new() }];
    let index = eight.index(&short);
    let weights = Weights::new(&index, &Counts::new(&index)).expect("counts of this index");
    let found = measure(&index, &weights, &Document { question: "Two and two?", answer: None });
    assert_eq!(found, Contamination { rule: Rule::EightGram, ..Contamination::default() }, "too short for its n-grams");
}

#[test]
fn thresholds_decide_and_are_not_measured() {
    let config = ContaminationConfig::default();
    let found = found(
        &config,
        "A warehouse stores 36 crates of lemons on 4 shelves, and each crate weighs 17 kilograms. A forklift may carry at most 120 kilograms at once. How many trips does the forklift need to empty the warehouse?",
        None,
    );
    let (told, variant) = config.reason(&found).expect("a variant");
    assert_eq!((told, variant.item.as_str(), config.drops(told)), ("variant", "boxes", false));
    let dropping = ContaminationConfig { drop_variants: true, ..config.clone() };
    assert!(
        dropping.drops("variant") && dropping.drops("contaminated-question") && config.drops("contaminated-question")
    );
    let careless = ContaminationConfig { numbers: 0.0, ..config.clone() };
    assert_eq!(careless.reason(&found).map(|found| found.0), Some("contaminated-question"), "numbers do not matter");
    let blind = ContaminationConfig { sides: Some(vec![Side::AnswerSide]), ..config.clone() };
    assert_eq!(blind.reason(&found), None);
    let written = serde_json::to_string(&found).expect("JSON");
    assert_eq!(serde_json::from_str::<Contamination>(&written).expect("JSON"), found);
}

#[test]
fn a_variant_that_is_kept_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let variant = "A warehouse stores 36 crates of lemons on 4 shelves, and each crate weighs 17 kilograms. A forklift may carry at most 120 kilograms at once. How many trips does the forklift need to empty the warehouse?";
    let config = ContaminationConfig::default();
    let rows = [variant, BOXES, LONG].map(|question| found(&config, question, None));
    Dataset::write(folder.path(), rows.to_vec()).expect("a table");
    let table = Dataset::of_folder(folder.path()).expect("a table");
    let shard = table.shards().next().expect("a shard");
    let told = |config: &ContaminationConfig| {
        let decided = config.decide(&shard, 0..3).expect("decisions").into_iter();
        decided.map(|row| (row.goes_on, row.reason, row.note)).collect::<Vec<_>>()
    };
    let dropped = |reason: &str| (false, reason.to_owned(), None);
    let kept = |note| (true, String::new(), note);
    assert_eq!(told(&config), [kept(Some("variant")), dropped("contaminated-question"), kept(None)]);
    let strict = ContaminationConfig { drop_variants: true, ..config };
    assert_eq!(told(&strict)[0], dropped("variant"), "what goes is told by its reason");
}

#[test]
fn what_is_made_once_finds_what_each_unit_would() {
    let index = ContaminationConfig::default().index(&items());
    let questions: Vec<&str> = cases().iter().map(|case| case.question).collect();
    let (mut one, mut all) = (Counts::new(&index), Counts::new(&index));
    questions.iter().for_each(|question| one.add(&index, question));
    questions.iter().rev().map(|question| Counts::hits(&index, question)).for_each(|hits| all.count(hits));
    assert_eq!(one, all, "counts depend on no order");
    let sole = [Item { benchmark: "b".into(), id: "1".into(), question: BOXES.into(), answer: String::new() }];
    assert!(index.has_answers && !ContaminationConfig::default().index(&sole).has_answers);
}

#[test]
fn settings_without_a_meaning_are_told() {
    let config = ContaminationConfig::default();
    assert_eq!(config.check(), Ok(()));
    let wrong = [
        (ContaminationConfig { n_gram_words: 0, ..config.clone() }, "`n-gram-words`: expected 1 to 32, found 0"),
        (
            ContaminationConfig { threshold: 0.1, ..config.clone() },
            "`threshold`: expected a share from 0.2 to 1, found 0.1",
        ),
        (
            ContaminationConfig { numbers: f64::NAN, ..config.clone() },
            "`numbers`: expected a share from 0 to 1, found NaN",
        ),
    ];
    for (config, expected) in wrong {
        assert_eq!(config.check(), Err(expected.to_owned()));
    }
    assert!(serde_json::from_str::<ContaminationConfig>(r#"{"treshold": 0.5}"#).is_err());
}

#[test]
fn the_first_of_equal_items_is_told() {
    let twice: Vec<Item> = [items(), items()].concat();
    let config = ContaminationConfig::default();
    let index = config.index(&twice);
    let weights = Weights::new(&index, &Counts::new(&index)).expect("counts of this index");
    let mut other = twice[2].clone();
    other.benchmark = "later".into();
    let found = measure(&index, &weights, &Document { question: &other.question, answer: None }).question;
    assert_eq!(found.map(|found| (found.benchmark, found.score)), Some(("contest".to_owned(), 1.0)));
}

#[test]
fn counts_of_other_benchmarks_are_refused() {
    let config = ContaminationConfig::default();
    let (index, other) = (config.index(&items()), config.index(&items()[1..]));
    let counts = Counts::new(&other);
    let told = Weights::new(&index, &counts).err().expect("other benchmarks").to_string();
    assert!(told.starts_with("counts of other benchmarks: expected "), "{told}");
    let nothing = config.index(&[]);
    let weights = Weights::new(&nothing, &Counts::new(&nothing)).expect("counts of this index");
    assert_eq!(measure(&nothing, &weights, &Document { question: LONG, answer: Some(LONG) }), Contamination::default());
}

#[test]
fn a_corpus_full_of_an_item_is_seen_all_the_same() {
    let config = ContaminationConfig::default();
    let index = config.index(&items());
    let mut counts = Counts::new(&index);
    (0..500).for_each(|_| counts.add(&index, &items()[2].question));
    let weights = Weights::new(&index, &counts).expect("counts of this index");
    let found = measure(&index, &weights, &Document { question: &items()[2].question, answer: None });
    assert_eq!(found.question.map(|found| found.score), Some(1.0));
}

/// Text of pieces that mean something here, and of any characters.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<String>(),
        "[a-z 0-9.,$\\\\{}^é’小×!-]{0,40}",
        (0..9_usize, 0..200_usize, 0..400_usize).prop_map(|(item, start, length)| {
            items()[item].question.chars().skip(start).take(length).collect::<String>()
        }),
        Just("\u{0}\u{feff}\u{202e} ".repeat(9)),
    ];
    proptest::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_measured_and_spans_are_text(question in hostile(), answer in hostile(), extra in hostile()) {
        for rule in [Rule::EightGram, Rule::TenGram, Rule::LmEval, Rule::Containment] {
            let config = ContaminationConfig { rule, ..ContaminationConfig::default() };
            let mut items = items();
            items.push(Item { benchmark: "any".into(), id: "any".into(), question: extra.clone(), answer: answer.clone() });
            let index = config.index(&items);
            let weights = Weights::new(&index, &Counts::new(&index)).expect("counts of this index");
            let found = measure(&index, &weights, &Document { question: &question, answer: Some(&answer) });
            let matches = [&found.question, &found.masked, &found.answer_side, &found.answer_text];
            for found in matches.into_iter().flatten() {
                let text = if found.part == Part::Question { &question } else { &answer };
                let span = text.get(found.start as usize..found.end as usize);
                prop_assert!(span.is_some_and(|span| span.starts_with(&found.excerpt)), "{found:?}");
                prop_assert!(found.score > 0.0 && found.score <= 1.0 && (0.0..=1.0).contains(&found.numbers), "{found:?}");
            }
        }
    }

    #[test]
    fn counts_do_not_depend_on_the_order(rows in proptest::collection::vec(hostile(), 0..12), cut in 0..12_usize) {
        let index = ContaminationConfig::default().index(&items());
        let counted = |rows: &[String]| {
            let mut counts = Counts::new(&index);
            rows.iter().for_each(|row| counts.add(&index, row));
            counts
        };
        let mut turned = rows.clone();
        turned.rotate_left(cut.min(rows.len()));
        prop_assert_eq!(counted(&turned), counted(&rows));
    }

    #[test]
    fn a_copy_is_found_in_any_text(before in hostile(), after in hostile(), item in 0..4_usize) {
        let question = format!("{before}\n{}\n{after}", items()[item].question);
        let found = found(&ContaminationConfig::default(), &question, None).question.expect("a copy");
        prop_assert_eq!(found.score, 1.0);
    }
}
