//! Authored rows for the reasons of those that choose among rows: of every reason at least five rows that go for it, and five
//! that only look as if they had to.

use crate::{
    BestConfig, Candidate, Cell, ContaminationConfig, Contest, Contests, CoverageConfig, Filter, Inputs, LengthConfig,
    LongShortConfig, OnUnknown, PassRateConfig, Prefer, QuotaConfig, RandomConfig, RepetitionConfig, Selector, Tables,
    Within,
    contest::{
        lot,
        tests::{dropped, row},
    },
    select,
    tests::{Bench, context, listed, rows, sources},
};
use distill_dataset::{
    Dataset, Decision, Detail, Message,
    Outcome::{self, Accept, NotRun, Reject, Unknown},
    problem_id,
};

/// A problem, or a domain; length and verdict of a row; why it goes, or nothing; a word why.
type Row = (&'static str, u32, Outcome, &'static str, &'static str);

/// Every row goes or stays as it says, and each reason has five of both.
fn check(contest: Box<dyn Contest>, rows: &[Row]) {
    let candidates: Vec<Candidate<'_>> =
        (0..).zip(rows).map(|(place, (problem, length, verdict, ..))| row(place, problem, *length, *verdict)).collect();
    let found = dropped(contest, &candidates);
    for (place, (problem, length, verdict, expected, why)) in (0..).zip(rows) {
        let reason = found.iter().find(|(at, _)| *at == place).map_or("", |(_, reason)| reason);
        assert_eq!(reason, *expected, "{why}: {problem}, {length}, {verdict:?}");
    }
    let stay = rows.iter().filter(|row| row.3.is_empty()).count();
    assert!(found.len() >= 5 && stay >= 5, "five of each: {} go, {stay} stay", found.len());
}

#[test]
fn pass_rates() {
    let of = |problem, verdict, count, reason, why| vec![(problem, 1, verdict, reason, why); count];
    let rows = [
        of("easy", Accept, 5, "too-easy", "always solved"),
        of("nine of ten", Accept, 9, "", "nine tenths are not more than nine tenths"),
        of("nine of ten", Reject, 1, "", "nor is the one that failed"),
        of("all but cut", Accept, 1, "", "once of two decided: what is cut says nothing"),
        of("all but cut", Unknown, 8, "", "cut by the limit"),
        of("all but cut", Reject, 1, "", "the other of the two"),
        of("hard", Accept, 1, "too-hard", "the one that succeeded of five"),
        of("hard", Reject, 4, "too-hard", "and those that failed"),
        of("a third", Accept, 1, "", "a third is within the band"),
        of("a third", Reject, 2, "", "with all its traces"),
        of("open", Unknown, 4, "too-few-attempts", "nothing is known of four"),
        of("open", Accept, 1, "too-few-attempts", "one attempt is no rate"),
        of("twice", Unknown, 3, "", "two are decided beside these"),
        of("twice", Accept, 1, "", "one of two"),
        of("twice", Reject, 1, "", "the other"),
    ];
    let config = PassRateConfig { min: 0.3, max: 0.9, on_unknown: OnUnknown::Reject, ..PassRateConfig::default() };
    check(config.contest(1), &rows.concat());
}

#[test]
fn the_best() {
    let out = "not-among-the-best";
    let rows = [
        ("p", 70, Accept, out, "the third shortest that is right"),
        ("p", 50, Accept, "", "the shortest that is right"),
        ("p", 10, Reject, out, "shorter, and wrong"),
        ("p", 60, Accept, "", "the second shortest that is right"),
        ("p", 60, Accept, out, "as short, and behind it"),
        ("p", 10, Unknown, out, "shorter, and undecided"),
        ("q", 12, Unknown, "", "undecided where none is right"),
        ("q", 5, Reject, out, "wrong where others are undecided"),
        ("q", 10, Unknown, "", "undecided and shorter"),
        ("r", 900, Reject, "", "wrong, and alone"),
        ("s", 900, Accept, "", "long, and one of two"),
        ("s", 901, Accept, "", "the other"),
        ("t", 1, NotRun, "", "of those that nobody verified the first, behind a right one"),
        ("t", 1, NotRun, out, "the other of equals"),
        ("t", 9, Accept, "", "right, and longer"),
    ];
    check(BestConfig { keep: 2, ..BestConfig::default() }.contest(1), &rows);
}

#[test]
fn quotas() {
    let out = "over-its-quota";
    let most = [("math", 3), ("code", 1), ("law", 0)].map(|(name, most)| (name.to_owned(), most)).into();
    let config = QuotaConfig { by: Cell::Domain, most, prefer: vec![Prefer::Shortest], ..QuotaConfig::default() };
    let rows = [
        ("math", 50, Accept, out, "the fourth shortest"),
        ("math", 30, Accept, "", "the shortest"),
        ("math", 40, Reject, "", "a quota does not ask whether it is right"),
        ("math", 60, Accept, out, "the fifth"),
        ("math", 40, Accept, "", "as short as another, and both have room"),
        ("code", 100, Accept, out, "one has room"),
        ("code", 99, Accept, "", "the shortest of code"),
        ("code", 99, Accept, out, "as short, and behind it"),
        ("law", 1, Accept, out, "no room at all"),
        ("law", 2, Reject, out, "nor for this one"),
        ("poetry", 500, Accept, "", "of a domain that the recipe does not speak of"),
        ("poetry", 600, Accept, "", "any number of them"),
        ("mathematics", 700, Accept, "", "the name of a cell is all of it"),
    ];
    check(config.contest(1).expect("a contest"), &rows);
}

#[test]
fn long_and_short() {
    let [long, short] = ["over-the-long-share", "over-the-short-share"];
    let config = LongShortConfig { boundary: 100, long_share: 0.5, prefer: vec![Prefer::Shortest] };
    let more_long = [
        ("p", 1, Accept, "", "short"),
        ("p", 50, Reject, "", "short and wrong: a mix does not ask"),
        ("p", 60, Accept, "", "short"),
        ("p", 99, Accept, "", "just below the boundary"),
        ("p", 100, Accept, "", "at the boundary is short"),
        ("p", 101, Accept, "", "the shortest long one"),
        ("q", 102, Accept, "", "another problem's"),
        ("p", 103, Accept, "", "long, and room"),
        ("p", 104, Accept, "", "long, and room"),
        ("p", 105, Accept, "", "the fifth beside five short ones"),
        ("p", 106, Accept, long, "the sixth"),
        ("q", 107, Accept, long, "another problem's"),
        ("p", 900, Accept, long, "very long"),
        ("p", 105, Accept, long, "as long as one that stays, and behind it"),
        ("p", u32::MAX, Unknown, long, "longer than anything"),
    ];
    check(config.contest(1), &more_long);
    let more_short = [
        ("p", 200, Accept, "", "long"),
        ("p", 101, Accept, "", "just above the boundary"),
        ("q", 300, Reject, "", "long and wrong"),
        ("p", 400, Accept, "", "long"),
        ("p", 500, Unknown, "", "long"),
        ("p", 0, Accept, "", "nothing is short"),
        ("p", 1, Accept, "", "short, and room"),
        ("p", 2, Accept, "", "short, and room"),
        ("q", 3, Accept, "", "another problem's"),
        ("p", 4, Accept, "", "the fifth beside five long ones"),
        ("p", 5, Accept, short, "the sixth"),
        ("p", 4, Accept, short, "as short as one that stays, and behind it"),
        ("p", 99, Accept, short, "just below the boundary"),
        ("q", 100, Accept, short, "at the boundary is short"),
        ("p", 50, Reject, short, "short and wrong"),
    ];
    check(config.contest(1), &more_short);
}

#[test]
fn coverage() {
    // What each row says, whether it is covered by the five that stay, and a word why.
    let rows: [(&[u32], bool, &str); 13] = [
        (&[1, 2, 3, 4], false, "says most"),
        (&[1, 2, 3, 4], true, "the same, behind it"),
        (&[1, 2], true, "a part of it"),
        (&[5, 6, 7], false, "says something else"),
        (&[4, 5, 6], true, "each of it is said by one of two"),
        (&[8, 9], false, "two new ones"),
        (&[8], true, "one of them"),
        (&[], true, "says nothing"),
        (&[9, 10, 11], false, "one old one and two new ones"),
        (&[11, 12], false, "one new one: as good as the next, and before it"),
        (&[13, 1], true, "one new one, when five are taken"),
        (&[7, 8, 9], true, "all of it is said, by three"),
        (&[2, 3, 4, 1], true, "the same in another order"),
    ];
    let of = |row: usize| Candidate { place: row as u64, sample: rows[row].0, ..row_of(row) };
    let candidates: Vec<Candidate<'_>> = (0..rows.len()).map(of).collect();
    let config = CoverageConfig { keep: 5, within: Within::Problem, ..CoverageConfig::default() };
    let found = dropped(config.contest(1).expect("a contest"), &candidates);
    for (place, (said, is_covered, why)) in rows.iter().enumerate() {
        let reason = found.iter().find(|(at, _)| *at == place as u64).map(|(_, reason)| *reason);
        assert_eq!(reason, is_covered.then_some("covered"), "{why}: {said:?}");
    }
}

fn row_of(place: usize) -> Candidate<'static> {
    row(place as u64, "p", 1, Accept)
}

#[test]
fn lots() {
    let ids: Vec<String> = (0..12).map(|id| format!("row {id}")).collect();
    let rows: Vec<Candidate<'_>> =
        ids.iter().enumerate().map(|(place, id)| Candidate { id, ..row_of(place) }).collect();
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|place| lot(7, &ids[*place]) >> 32);
    let of = |count, share| dropped(RandomConfig { count, share }.contest(7), &rows);
    let places = |found: Vec<(u64, &'static str)>| {
        assert!(found.iter().all(|row| row.1 == "not-drawn"));
        found.into_iter().map(|row| row.0 as usize).collect::<Vec<_>>()
    };
    let expected = |most: usize| {
        let mut rest = order[most..].to_vec();
        rest.sort_unstable();
        rest
    };
    assert_eq!(places(of(Some(6), None)), expected(6), "those with the least lots stay, wherever they stand");
    assert_eq!(places(of(None, Some(0.5))), expected(6), "a share is as many");
    assert_eq!(places(of(Some(12), None)), [] as [usize; 0], "as many as there are");
    assert_eq!(places(of(Some(0), None)).len(), 12, "none at all");
    // What does not reach it is neither drawn nor dropped, and takes nobody's place.
    let mut rows = rows.clone();
    for place in &order[..3] {
        rows[*place].reaches = false;
    }
    let found = places(dropped(RandomConfig { count: Some(6), share: None }.contest(7), &rows));
    assert_eq!(found, expected(9), "the six least of those that are left");
}

/// An item of a benchmark with its number.
fn item(boxes: u32) -> String {
    format!(
        "A warehouse stores {boxes} crates of lemons on its shelves, and each crate weighs as much as the forklift's driver. How \
         many crates does the forklift carry past the gate before the gate gives way?"
    )
}

#[test]
fn problems_are_judged_by_what_is_asked_alone() {
    let again = format!("Why? {}", "Say it again, and then once more. ".repeat(40));
    let (long, variant) = ("Which number? ".repeat(400), item(36));
    let texts = [long.clone(), again.clone(), variant.clone(), item(48), "What is 2+2?".into(), "What is 2+3?".into()];
    let bench = Bench::of(vec![], vec![], 1);
    let tables = sources(&bench, &[texts.to_vec()], 2);
    let benchmarks = [("contest".to_owned(), sources(&bench, &[vec![item(48)]], 9).remove(0))];
    let inputs = Inputs { benchmarks: &benchmarks, ..Inputs::problems(&tables) };
    let most = [("*".to_owned(), 2)].into();
    let filters = [
        listed(LengthConfig { max_chars: Some(3000), ..LengthConfig::default() }),
        listed(RepetitionConfig::default()),
        listed(ContaminationConfig::default()),
        listed(QuotaConfig { most, prefer: vec![Prefer::Longest], ..QuotaConfig::default() }),
    ];
    let measures: Vec<Dataset> = filters.iter().map(|filter| bench.measure_in(&inputs, filter, usize::MAX)).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tables = Tables { filters: &filters, measures: &measures };
    let contests = Contests::of(tables, None, &inputs, &context(folder.path())).expect("contests");
    let units = inputs.rows[0].shards().count();
    let selection = bench
        .table(units, usize::MAX, |unit, context, out| select(tables, &contests, &inputs.unit(unit)?, context, out));
    let decisions = rows::<Decision>(&selection);
    let reason = |text: &str| {
        let id = problem_id(&[Message::user(text)]);
        decisions.iter().find(|row| row.trace_id == id).expect("a decision").reason.as_str()
    };
    assert_eq!(reason(&long), "too-many-chars");
    assert_eq!(reason(&again), "tail-loop");
    assert_eq!(reason(&item(48)), "contaminated-question");
    assert_eq!(reason(&variant), "", "another number is another problem");
    let over = ["What is 2+2?", "What is 2+3?"].map(reason);
    assert!(over.contains(&"") && over.contains(&"over-its-quota"), "two have room: {over:?}");
    let Detail::Selection { funnel, .. } = &selection.manifest.tally.detail else { panic!("a selection") };
    assert_eq!(funnel.steps[2].noted, [("variant".to_owned(), 1)].into(), "and it is told");
}
