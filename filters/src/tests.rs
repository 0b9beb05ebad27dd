//! The filters as stages: every trace measured, every trace decided on, the funnel sums, thresholds measure nothing again,
//! and nothing depends on how the traces are cut.

use crate::{Part, *};
use distill_dataset::*;
use distill_verify::{
    Policy,
    code::{Judges, Launcher, Options, Tools},
};
use serde::Serialize;
use std::{cell::Cell, collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

pub(crate) fn problem(index: u32) -> Problem {
    let messages = vec![Message::user(format!("problem {index}"))];
    Problem {
        id: problem_id(&messages),
        messages,
        domain: "math".to_owned(),
        reference: Reference::Math,
        answer: index.to_string(),
        solution: None,
        source: "test".to_owned(),
        split: Split::Train,
        licence: None,
    }
}

pub(crate) fn trace(index: u32, sample_index: u32, turn: &str, tokens: u32, finish_reason: FinishReason) -> Trace {
    Trace {
        id: format!("{index}-{sample_index}"),
        problem_id: problem(index).id,
        sample_index,
        format: TurnFormat::default(),
        text: turn.to_owned(),
        finish_reason,
        segments: vec![],
        teacher: "test".to_owned(),
        response_model: String::new(),
        template_hash: String::new(),
        sampling: SamplingParams { temperature: 1.0, top_p: 1.0, max_new_tokens: 99, log_probabilities: None },
        seed: 1,
        prompt_tokens: 3,
        completion_tokens: tokens,
        token_ids: None,
        cost_usd: 0.0,
        finish_name: None,
        system: None,
        claims: None,
    }
}

/// What is sampled, by the reason for which it goes; the empty reason is kept.
fn cases() -> Vec<(Trace, &'static str)> {
    use FinishReason::{ContentFilter, Length, Stop};
    let good = "<think>\nsteps\n</think>\n\n\\boxed{1}";
    vec![
        (trace(1, 0, good, 20, Stop), ""),
        (trace(1, 1, good, 20, Stop), "duplicate"),
        (trace(1, 2, "<think>\nother\n</think>\\boxed{2}", 20, Stop), "unequal"),
        (trace(1, 3, "<think>\nno end", 99, Length), "truncated"),
        (trace(2, 0, "", 0, ContentFilter), "withheld"),
        (trace(2, 1, "\\boxed{2}", 20, Stop), "no-closing-tag"),
        (trace(2, 2, "<think>a</think>b</think>\\boxed{2}", 20, Stop), "several-closing-tags"),
        (trace(2, 3, "<think> </think>\\boxed{2}", 20, Stop), "empty-reasoning"),
        (trace(2, 4, "<think>a</think> ", 20, Stop), "empty-answer"),
        (trace(2, 5, "<think>\\boxed{2}</think>two", 20, Stop), "no-boxed-answer"),
        (trace(2, 6, "<think>a</think>\\boxed{2} or \\boxed{3}", 20, Stop), "several-boxed-answers"),
        (trace(2, 7, "<think>a</think>\\boxed{\\mathfrak{S}_3}", 20, Stop), "answer-unread"),
        (trace(2, 8, "<think>a</think>\\boxed{2}", 3, Stop), "too-short"),
        (trace(2, 9, "a</think>\\boxed{2.0}", 20, Stop), ""),
    ]
}

pub(crate) fn listed(config: impl Filter + Serialize + 'static) -> FilterConfig {
    FilterConfig::new(config).expect("a table")
}

fn filters(on_unknown: OnUnknown) -> Vec<FilterConfig> {
    vec![
        listed(FormatConfig::default()),
        listed(LengthConfig { min_tokens: 10, max_tokens: Some(50), ..LengthConfig::default() }),
        listed(DuplicatesConfig::default()),
        listed(VerifyConfig { on_unknown, policy: Policy::default() }),
    ]
}

/// Tables in a store of their own, made unit by unit as a run makes them.
pub(crate) struct Bench {
    root: tempfile::TempDir,
    owner: Arc<Owner>,
    problems: Vec<Dataset>,
    traces: Vec<Dataset>,
    tables: Cell<u32>,
}

impl Bench {
    fn new() -> Bench {
        Bench::of((1..3).map(problem).collect(), vec![cases().into_iter().map(|(trace, _)| trace).collect()], 1)
    }

    /// Problems, and the traces of each source in shards of at most `shard_rows`.
    pub(crate) fn of(mut problems: Vec<Problem>, sources: Vec<Vec<Trace>>, shard_rows: usize) -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let owners = Store::new(root.path()).owners();
        let owner = Arc::new(Owner::register(&owners, Duration::from_secs(60)).expect("a registration"));
        let mut bench = Bench { root, owner, problems: vec![], traces: vec![], tables: Cell::new(0) };
        problems.sort_by(|a, b| a.id.cmp(&b.id));
        for mut traces in sources {
            traces.sort_by(|a, b| (&a.problem_id, a.sample_index).cmp(&(&b.problem_id, b.sample_index)));
            let cut = Cut { shard_rows, group_bytes: 2000, ..Cut::default() };
            bench.traces.push(bench.table(1, usize::MAX, |_, _, out| {
                let mut writer = ShardWriter::cut(out, "part", cut)?.sorted_by(|trace: &Trace| &trace.problem_id);
                traces.iter().try_for_each(|trace| writer.push(trace.clone()))?;
                writer.finish()?;
                Ok(Tally::default())
            }));
            bench.problems.push(bench.table(1, usize::MAX, |_, _, out| {
                let mut writer = ShardWriter::new(out)?.sorted_by(|problem: &Problem| &problem.id);
                problems.iter().try_for_each(|problem| writer.push(problem.clone()))?;
                writer.finish()?;
                Ok(Tally::default())
            }));
        }
        bench
    }

    pub(crate) fn num_units(&self) -> usize {
        self.traces.iter().map(|dataset| dataset.shards().count()).sum()
    }

    /// Makes a table of `num_units` units. It is stopped after every `kill_after` units and begun again by a new owner.
    pub(crate) fn table(
        &self,
        num_units: usize,
        kill_after: usize,
        unit: impl Fn(usize, &Context, &Path) -> Result<Tally, FilterError>,
    ) -> Dataset {
        self.tables.set(self.tables.get() + 1);
        let key = format!("{:064}", self.tables.get());
        let dir = Store::new(self.root.path().join("store")).stage(&format!("table-{}", self.tables.get()), &key);
        for (count, index) in (0..num_units).enumerate() {
            let claim = || match dir.claim(index, &self.owner).expect("a claim") {
                Claimed::Mine(claim) => claim,
                _ => panic!("unit {index} is free"),
            };
            if count % kill_after.max(1) == kill_after.max(1) - 1 {
                // Half a unit, which nobody commits.
                let claim = claim();
                fs::write(claim.output().join("part-99999-00000.parquet.tmp"), "half").expect("a file");
            }
            let claim = claim();
            let tally = unit(index, &context(&claim.scratch()), &claim.output()).expect("a unit");
            claim.commit(tally, 0.0).expect("a commit");
        }
        let draft = Manifest { format: Manifest::FORMAT, key, ..Manifest::default() };
        let manifest = dir.finish(num_units, draft).expect("a manifest");
        Dataset::new(dir.path().to_owned(), manifest)
    }

    pub(crate) fn measure(&self, filter: &FilterConfig, kill_after: usize) -> Dataset {
        let judges = judges();
        self.measure_in(&Inputs { judges: Some(&judges), ..self.inputs() }, filter, kill_after)
    }

    /// Measures what is in the inputs, after the filter's first pass where it has one.
    pub(crate) fn measure_in(&self, inputs: &Inputs<'_>, filter: &FilterConfig, kill_after: usize) -> Dataset {
        let filter = filter.filter().expect("one that measures");
        let survey = filter
            .survey()
            .map(|survey| self.table(1, usize::MAX, |_, context, out| survey.look(inputs, context, out)));
        let num_units = inputs.rows.iter().map(|table| table.shards().count()).sum();
        let inputs = Inputs { survey: survey.as_ref(), ..*inputs };
        let prepared = filter.prepare(&inputs).expect("what is made once");
        let inputs = Inputs { prepared: prepared.as_deref(), ..inputs };
        self.table(num_units, kill_after, |unit, context, out| filter.measure(&inputs.unit(unit)?, context, out))
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs::traces(&self.problems, &self.traces)
    }

    pub(crate) fn select(&self, filters: &[FilterConfig], measures: &[Dataset], kill_after: usize) -> Dataset {
        let (inputs, tables) = (self.inputs(), Tables { filters, measures });
        let contests = Contests::of(tables, None, &inputs, &context(self.root.path())).expect("cuts");
        self.table(self.num_units(), kill_after, |unit, context, out| {
            select(tables, &contests, &inputs.unit(unit)?, context, out)
        })
    }

    /// As it is with weights.
    fn mixed(&self, weights: &[f64], filters: &[FilterConfig], measures: &[Dataset]) -> Result<Dataset, FilterError> {
        let (inputs, tables) = (self.inputs(), Tables { filters, measures });
        let contests = Contests::of(tables, Some(weights), &inputs, &context(self.root.path()))?;
        Ok(self.table(self.num_units(), usize::MAX, |unit, context, out| {
            select(tables, &contests, &inputs.unit(unit)?, context, out)
        }))
    }

    fn decide(&self, filters: &[FilterConfig]) -> (Dataset, Vec<Dataset>) {
        let measures: Vec<Dataset> = filters
            .iter()
            .filter(|filter| filter.filter().is_some())
            .map(|filter| self.measure(filter, usize::MAX))
            .collect();
        (self.select(filters, &measures, usize::MAX), measures)
    }
}

/// Judges without an interpreter: nothing here runs code.
fn judges() -> Judges {
    let launcher = Launcher { program: "/bin/false".into(), arguments: Vec::new(), user: None };
    Judges::new(Options::new(launcher, Tools::default().into()))
}

pub(crate) fn context(scratch: &Path) -> Context {
    Context { scratch: scratch.to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 1 }
}

pub(crate) fn rows<R: Record>(table: &Dataset) -> Vec<R> {
    table.rows().collect::<Result<_, _>>().expect("rows")
}

#[test]
fn every_trace_is_kept_or_dropped_for_its_reason() {
    let bench = Bench::new();
    let (selection, _) = bench.decide(&filters(OnUnknown::Reject));
    let decisions: BTreeMap<String, Decision> =
        rows(&selection).into_iter().map(|row: Decision| (row.trace_id.clone(), row)).collect();
    assert_eq!(decisions.len(), cases().len());
    for (trace, reason) in cases() {
        let decision = &decisions[&trace.id];
        assert_eq!((decision.reason.as_str(), decision.kept), (reason, reason.is_empty()), "{}", trace.text);
    }
    let tally = &selection.manifest.tally;
    let Detail::Selection { funnel, verified, .. } = &tally.detail else { panic!("a selection") };
    let mut entered = tally.rows_in;
    for step in &funnel.steps {
        assert_eq!(step.entered, entered, "the funnel sums at `{}`", step.filter);
        entered -= step.dropped.values().sum::<u64>();
    }
    assert_eq!((entered, funnel.kept, *verified), (tally.rows_out, tally.rows_out, tally.rows_out));
    assert_eq!(tally.rows_out, 2);
}

#[test]
fn what_cannot_be_judged_goes_on_when_the_recipe_says_so() {
    let bench = Bench::new();
    let (selection, _) = bench.decide(&filters(OnUnknown::Keep));
    let Detail::Selection { verified, .. } = selection.manifest.tally.detail else { panic!("a selection") };
    assert_eq!((selection.manifest.tally.rows_out, verified), (3, 2), "what is kept undecided is not called verified");
    let undecided = rows::<Decision>(&selection).into_iter().find(|row| row.trace_id == "2-7");
    let undecided = undecided.expect("the trace that boxed a group");
    assert!(undecided.kept && undecided.outcomes[3] == Outcome::Unknown);
}

#[test]
fn thresholds_are_no_part_of_the_measurement() {
    let strict = LengthConfig { min_tokens: 10, max_tokens: Some(20), ..LengthConfig::default() };
    assert_eq!(strict.keyed(), LengthConfig::default().keyed());
    assert_ne!(strict.settings(), LengthConfig::default().settings());
    let verify = |on_unknown| VerifyConfig { on_unknown, policy: Policy::default() };
    assert_eq!(verify(OnUnknown::Keep).keyed(), verify(OnUnknown::Reject).keyed());
    assert_ne!(verify(OnUnknown::Keep).settings(), verify(OnUnknown::Reject).settings());
}

#[test]
fn a_side_table_of_other_traces_is_refused() {
    let bench = Bench::new();
    let filters = filters(OnUnknown::Reject);
    let (_, mut measures) = bench.decide(&filters);
    let mut lengths: Vec<Length> = rows(&measures[1]);
    let last = lengths.len() - 1;
    lengths.swap(last - 1, last);
    measures[1] = bench.table(bench.num_units(), usize::MAX, |unit, _, out| {
        let mut writer = ShardWriter::beside(out, unit)?;
        let sizes: Vec<u64> = bench.traces[0].shards().map(|shard| shard.num_rows()).collect();
        let start = sizes[..unit].iter().sum::<u64>() as usize;
        writer.extend(lengths[start..start + sizes[unit] as usize].to_vec())?;
        writer.finish()?;
        Ok(Tally::default())
    });
    let (inputs, out) = (bench.inputs(), bench.root.path().join("out"));
    fs::create_dir(&out).expect("a folder");
    let unit = inputs.unit(bench.num_units() - 1).expect("the last unit");
    let tried = |measures: &[Dataset]| {
        let tables = Tables { filters: &filters, measures };
        select(tables, &Contests::default(), &unit, &context(&out), &out)
    };
    let error = tried(&measures);
    assert!(matches!(error, Err(FilterError::Mismatch { .. })), "{error:?}");
    measures.pop();
    measures.push(bench.table(1, usize::MAX, |_, _, out| {
        ShardWriter::<Verified>::beside(out, 0)?.finish()?;
        Ok(Tally::default())
    }));
    assert!(tried(&measures).is_err(), "a table with fewer shards");
}

#[test]
fn a_trace_that_loops_goes_and_its_measure_is_kept() {
    let turns = [format!("<think>\na{}", " and so on".repeat(60)), "<think>\nsteps\n</think>\n\n\\boxed{1}".to_owned()];
    let traces = (0_u32..).zip(&turns).map(|(index, turn)| trace(1, index, turn, 9, FinishReason::Stop));
    let bench = Bench::of(vec![problem(1)], vec![traces.collect()], usize::MAX);
    let (selection, measures) = bench.decide(&[listed(RepetitionConfig::default())]);
    let decisions = rows::<Decision>(&selection).into_iter().map(|row| (row.kept, row.reason));
    assert_eq!(decisions.collect::<Vec<_>>(), [(false, "tail-loop".to_owned()), (true, String::new())]);
    let measures: Vec<Repetition> = rows(&measures[0]);
    let parts = |row: &Repetition| row.parts.iter().map(|repeats| repeats.part).collect::<Vec<_>>();
    assert_eq!((parts(&measures[0]), parts(&measures[1])), (vec![Part::Turn], vec![Part::Reasoning, Part::Answer]));
    let steady = false;
    assert_eq!(measures[0].parts[0].loops, [TailLoop { period: 10, repeats: 60, chars: 600, steady }]);
}

#[test]
fn examples_and_export_hold_the_kept_turns_whole() {
    let bench = Bench::new();
    let (selection, measures) = bench.decide(&filters(OnUnknown::Reject));
    let inputs = bench.inputs();
    let examples = bench.table(bench.num_units(), usize::MAX, |unit, context, out| {
        examples(&ShapingConfig::default(), &selection, &inputs.unit(unit)?, context, out)
    });
    let kept: BTreeMap<String, Example> =
        rows(&examples).into_iter().map(|row: Example| (row.trace_id.clone(), row)).collect();
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["1-0", "2-9"]);
    assert_eq!(kept["1-0"].messages[1].content, cases()[0].0.text);
    let exported = bench.table(bench.num_units(), usize::MAX, |unit, context, out| {
        export(Exported::Kept, (&selection, Some(&measures[3])), &inputs.unit(unit)?, context, out)
    });
    let exported: BTreeMap<String, ExportedRow> =
        rows(&exported).into_iter().map(|row: ExportedRow| (row.uuid.clone(), row)).collect();
    let row = &exported["1-0"];
    assert_eq!((exported.len(), row.correctness_math_verify[0], row.correctness_count), (2, Some(true), 1));
    assert_eq!((row.problem.as_str(), row.generations[0].as_str()), ("problem 1", cases()[0].0.text.as_str()));
    assert_eq!((&row.dropped_by, &row.dropped_for), (&None, &None));
    let filters = ["verify".to_owned()];
    let wrong = bench.table(bench.num_units(), usize::MAX, |unit, context, out| {
        let tables = (&selection, Some(&measures[3]));
        export(Exported::DroppedBy(&filters), tables, &inputs.unit(unit)?, context, out)
    });
    let wrong: Vec<ExportedRow> = rows(&wrong);
    let told = |row: &ExportedRow| (row.uuid.clone(), row.dropped_for.clone(), row.correctness_math_verify[0]);
    let reason = |reason: &str| Some(reason.to_owned());
    let expected =
        [("1-2".to_owned(), reason("unequal"), Some(false)), ("2-7".to_owned(), reason("answer-unread"), None)];
    let mut found: Vec<_> = wrong.iter().map(told).collect();
    found.sort();
    assert_eq!(found, expected, "wrong answers as labelled data, and what nobody could decide as such");
}

/// Traces of many problems, of two sources that share half of them, with duplicates within and across the sources.
fn pool() -> (Vec<Problem>, Vec<Vec<Trace>>) {
    let problems: Vec<Problem> = (0..64).map(problem).collect();
    let turn = |index: u32, sample: u32| match (index + sample) % 5 {
        0 => format!("<think>a</think>\\boxed{{{index}}}"),
        1 => "<think>b</think>\\boxed{7}".to_owned(),
        2 => format!("<think>{sample}</think>\\boxed{{{index}}}"),
        3 => "no tags".to_owned(),
        _ => format!("<think>a</think>\\boxed{{{index}.0}}"),
    };
    let source = |from: u32, to: u32, samples: u32, name: &str| -> Vec<Trace> {
        let all = (from..to).flat_map(|index| (0..samples).map(move |sample| (index, sample)));
        all.map(|(index, sample)| Trace {
            id: format!("{name}-{index}-{sample}"),
            ..trace(index, sample, &turn(index, sample), 10 + (index * 7 + sample) % 60, FinishReason::Stop)
        })
        .collect()
    };
    (problems, vec![source(0, 64, 4, "a"), source(32, 64, 3, "b")])
}

/// How many rows of each source of the pool are kept.
fn kept(decisions: &[Decision]) -> [usize; 2] {
    let of = |source| decisions.iter().filter(|row| row.kept && row.trace_id.starts_with(source)).count();
    [of('a'), of('b')]
}

#[test]
fn sources_are_mixed_as_their_weights_say_whatever_the_shards() {
    let filters = vec![
        listed(FormatConfig::default()),
        listed(LengthConfig { min_tokens: 12, max_tokens: None, ..LengthConfig::default() }),
    ];
    let run = |shard_rows, weights: &[f64]| {
        let (problems, sources) = pool();
        let bench = Bench::of(problems, sources, shard_rows);
        let (all, measures) = bench.decide(&filters);
        let mixed = bench.mixed(weights, &filters, &measures).expect("a mix");
        let rejected = mixed.manifest.tally.rejected.get("mix: over-its-share").copied();
        let Detail::Selection { funnel, .. } = &mixed.manifest.tally.detail else { panic!("a selection") };
        let step = funnel.steps.last().expect("the mix");
        assert_eq!((step.filter.as_str(), step.entered), (Mix::NAME, all.manifest.tally.rows_out));
        assert_eq!(Some(step.entered - funnel.kept), rejected);
        (kept(&rows(&all)), kept(&rows(&mixed)), rows::<Decision>(&mixed))
    };
    let (all, mixed, decisions) = run(usize::MAX, &[3.0, 1.0]);
    assert!(all[0] > 3 * 8 && all[1] > 8, "{all:?}: there is something to choose from");
    assert_eq!(mixed, [all[0].min(3 * all[1]), all[0].min(3 * all[1]) / 3], "of {all:?}");
    assert_eq!(run(4, &[3.0, 1.0]).2, decisions, "the cut changes nothing");
    assert_eq!(run(4, &[1.0, 1.0]).1, [all[1], all[1]]);
    let dropped = decisions.iter().find(|row| row.dropped_by == Mix::NAME).expect("a row that is too many");
    assert_eq!(
        (dropped.reason.as_str(), &dropped.outcomes[..]),
        (Mix::REASON, &[Outcome::Accept, Outcome::Accept][..])
    );
}

#[test]
fn a_source_of_which_nothing_is_kept_cannot_be_mixed_in() {
    let nothing = vec![
        listed(LengthConfig { min_tokens: 1000, max_tokens: None, ..LengthConfig::default() })
            .only(vec![(1, "b".to_owned())]),
    ];
    let (problems, sources) = pool();
    let bench = Bench::of(problems, sources, 16);
    let (_, measures) = bench.decide(&nothing);
    let error = bench.mixed(&[1.0, 1.0], &nothing, &measures).expect_err("nothing of the second source");
    assert!(error.to_string().contains("source 2"), "{error}");
}

#[test]
fn a_filter_of_some_sources_passes_the_others_by() {
    let (problems, sources) = pool();
    let bench = Bench::of(problems, sources, 16);
    let strict = listed(LengthConfig { min_tokens: 1000, max_tokens: None, ..LengthConfig::default() });
    let (all, only) = (strict.clone(), strict.only(vec![(0, "a".to_owned())]));
    let with = |filter: FilterConfig| {
        let filters = [filter, listed(FormatConfig::default())];
        (settings(&filters, None, 1), rows::<Decision>(&bench.decide(&filters).0))
    };
    let ((of_all, none), (of_some, some)) = (with(all), with(only));
    assert_ne!(of_all, of_some, "which sources it looks at decides the selection");
    assert_eq!(kept(&none), [0, 0]);
    let [of_first, of_second] = kept(&some);
    assert!(of_first == 0 && of_second > 30, "{of_first} {of_second}");
    let passed = some.iter().find(|row| row.trace_id.starts_with('b') && row.kept).expect("a row of the second source");
    assert_eq!(passed.outcomes, [Outcome::NotRun, Outcome::Accept]);
}

#[test]
fn the_system_prompt_that_was_asked_with_stays_in_the_conversation() {
    let turn = cases()[0].0.text.clone();
    let traces = vec![
        trace(1, 0, &turn, 20, FinishReason::Stop),
        Trace { system: Some("Reflect.".to_owned()), ..trace(1, 1, &format!("{turn}."), 20, FinishReason::Stop) },
    ];
    let bench = Bench::of(vec![problem(1)], vec![traces], 9);
    let (selection, _) = bench.decide(&[listed(FormatConfig::default())]);
    let inputs = bench.inputs();
    let made = bench.table(1, usize::MAX, |unit, context, out| {
        examples(&ShapingConfig::default(), &selection, &inputs.unit(unit)?, context, out)
    });
    let exported = bench.table(1, usize::MAX, |unit, context, out| {
        export(Exported::Kept, (&selection, None), &inputs.unit(unit)?, context, out)
    });
    let asked = |messages: &[Message]| messages[..messages.len() - 1].to_vec();
    let plain = problem(1).messages;
    let expected = vec![plain.clone(), [vec![Message::system("Reflect.")], plain].concat()];
    assert_eq!(rows::<Example>(&made).iter().map(|row| asked(&row.messages)).collect::<Vec<_>>(), expected);
    assert_eq!(rows::<ExportedRow>(&exported).iter().map(|row| asked(&row.messages)).collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_depends_on_how_the_traces_are_cut_nor_on_kills() {
    let vote = VoteConfig { min_share: 0.4, on_unknown: OnUnknown::Keep, policy: Policy::default() };
    let filters: Vec<FilterConfig> = filters(OnUnknown::Keep).into_iter().chain([listed(vote)]).collect();
    let run = |shard_rows, kill_after| {
        let (problems, sources) = pool();
        let bench = Bench::of(problems, sources, shard_rows);
        let measures: Vec<Dataset> = filters.iter().map(|filter| bench.measure(filter, kill_after)).collect();
        let selection = bench.select(&filters, &measures, kill_after);
        let inputs = bench.inputs();
        let exported = bench.table(bench.num_units(), kill_after, |unit, context, out| {
            export(Exported::Kept, (&selection, Some(&measures[3])), &inputs.unit(unit)?, context, out)
        });
        let examples = bench.table(bench.num_units(), kill_after, |unit, context, out| {
            examples(&ShapingConfig::default(), &selection, &inputs.unit(unit)?, context, out)
        });
        let tables = measures.iter().chain([&selection, &exported, &examples]);
        let digests: Vec<(String, Tally)> =
            tables.map(|table| (table.manifest.digest.clone(), table.manifest.tally.clone())).collect();
        (bench.num_units(), digests, rows::<Decision>(&selection))
    };
    let (num_units, digests, decisions) = run(usize::MAX, usize::MAX);
    assert_eq!(num_units, 2, "one shard a source");
    let kept = decisions.iter().filter(|decision| decision.kept).count();
    let duplicates = decisions.iter().filter(|decision| decision.reason == "duplicate").count();
    assert!(kept > 40 && duplicates > 10, "{kept} kept, {duplicates} duplicates: the pool has something to tell");
    assert!(
        decisions.iter().any(|row| row.reason == "duplicate" && row.trace_id.starts_with('b')),
        "a copy of another source's turn is one"
    );
    let mut cuts = Vec::new();
    for (shard_rows, kill_after) in [(60, usize::MAX), (4, 3), (1, 5)] {
        let (num_units, cut, rows) = run(shard_rows, kill_after);
        cuts.push(num_units);
        assert_eq!(rows, decisions, "shards of {shard_rows}");
        assert_eq!(cut, digests, "shards of {shard_rows}, killed after {kill_after} units");
    }
    assert!(cuts[0] >= 7 && cuts[2] >= 64, "{cuts:?} units");
}

#[test]
fn what_is_asked_depends_on_the_problems_reference() {
    let tests = r#"{"language": "python", "tests": {"kind": "stdin", "cases": [{"input": "", "output": "1"}]}}"#;
    let cases = [
        (Reference::Math, "1/2", "\\boxed{0.5}", Verdict::Pass, ""),
        (Reference::Text, "New York", "\\boxed{new york}", Verdict::Pass, ""),
        (Reference::Text, "New York", "\\boxed{York}", Verdict::Fail, "unequal"),
        (Reference::Choice, "B", "\\boxed{Rome}", Verdict::Pass, ""),
        (Reference::Choice, "B", "The answer is (A).", Verdict::Fail, "unequal"),
        (Reference::Choice, "B", "\\boxed{A} or \\boxed{B}", Verdict::Unknown, "several-choices"),
        (Reference::Tests, tests, "no code", Verdict::Unknown, "no-code"),
        (Reference::Tests, tests, "```python\nprint(1)\n```", Verdict::Unknown, "unsupported"),
        (Reference::Tests, "{}", "```python\nprint(1)\n```", Verdict::Unknown, "tests-unreadable"),
        (Reference::None, "", "\\boxed{1}", Verdict::Unknown, "no-reference"),
    ];
    let question = |index: usize| vec![Message::user(format!("{index}: Which?\nA. Paris\nB. Rome"))];
    let problems = cases.iter().enumerate().map(|(index, (reference, answer, ..))| {
        let (messages, answer) = (question(index), (*answer).to_owned());
        Problem { id: problem_id(&messages), messages, reference: *reference, answer, ..problem(0) }
    });
    let problems: Vec<Problem> = problems.collect();
    let traces = cases.iter().enumerate().map(|(index, (_, _, turn, ..))| {
        let id = problem_id(&question(index));
        Trace { problem_id: id, ..trace(index as u32, 0, &format!("<think>x</think>{turn}"), 9, FinishReason::Stop) }
    });
    let bench = Bench::of(problems, vec![traces.collect()], 3);
    let filter = listed(VerifyConfig { on_unknown: OnUnknown::Keep, policy: Policy::default() });
    let verdicts: BTreeMap<String, Verified> = rows(&bench.measure(&filter, usize::MAX))
        .into_iter()
        .map(|row: Verified| (row.trace_id.clone(), row))
        .collect();
    for (index, (reference, _, turn, verdict, reason)) in cases.into_iter().enumerate() {
        let measure = &verdicts[&format!("{index}-0")];
        assert_eq!((measure.verdict, measure.reason.as_str()), (verdict, reason), "{reference:?} {turn}: {measure:?}");
    }
}

#[test]
fn language_and_style_drop_what_they_name_and_keep_where_they_saw_it() {
    let turns = [
        ("We count all of them and see that there is one.", "", ""),
        (
            "We count all of them and see that there is one, and that no other one is left to be counted. \
             所以我们需要先计算总的排列数。 Then the count goes on as before, and it ends with the same number as the first one.",
            "language",
            "mixed-scripts",
        ),
        ("We count:\n```python\nprint(1)\n```\n", "style", "code-block"),
    ];
    let traces = (0_u32..).zip(turns).map(|(index, (reasoning, ..))| {
        trace(1, index, &format!("<think>{reasoning}</think>\\boxed{{1}}"), 9, FinishReason::Stop)
    });
    let bench = Bench::of(vec![problem(1)], vec![traces.collect()], 2);
    let filters = [listed(LanguageConfig::default()), listed(StyleConfig::default())];
    let (selection, measures) = bench.decide(&filters);
    let decisions = rows::<Decision>(&selection);
    let found: Vec<(&str, &str)> = decisions.iter().map(|row| (row.dropped_by.as_str(), row.reason.as_str())).collect();
    assert_eq!(found, turns.map(|(_, filter, reason)| (filter, reason)));
    let spoken: Vec<Spoken> = rows(&measures[0]);
    let written = spoken[1].scripts.iter().find(|written| written.script == Script::Han).expect("Chinese");
    assert_eq!(written.evidence.excerpt, "所以我们需要先计算总的排列数");
    let styled: Vec<Styled> = rows(&measures[1]);
    assert_eq!(styled[2].code_block.as_ref().map(|seen| seen.excerpt.as_str()), Some("```python\nprint(1)\n```\n"));
    assert_eq!((&styled[0].code_block, styled[0].domain.as_str()), (&None, "math"));
}

#[test]
fn a_majority_labels_what_nobody_knows() {
    let problems = vec![Problem { reference: Reference::None, ..problem(1) }];
    let turns = ["\\boxed{0.5}", "\\boxed{\\frac12}", "I do not know", "\\boxed{2}", "\\boxed{1/2}"];
    let traces = (0_u32..).zip(turns).map(|(index, turn)| trace(1, index, turn, 9, FinishReason::Stop));
    let bench = Bench::of(problems, vec![traces.collect()], usize::MAX);
    let vote = |min_share| VoteConfig { min_share, on_unknown: OnUnknown::Reject, policy: Policy::default() };
    let table = bench.measure(&listed(vote(0.5)), usize::MAX);
    let measures: Vec<Voted> = rows(&table);
    let verdicts: Vec<_> = measures.iter().map(|measure| measure.verdict).collect();
    let (pass, fail, unknown) = (Verdict::Pass, Verdict::Fail, Verdict::Unknown);
    assert_eq!(verdicts, [pass, pass, unknown, fail, pass]);
    assert_eq!((measures[3].label.as_deref(), measures[3].votes, measures[3].total), (Some("0.5"), 3, 4));
    let shard = table.shards().next().expect("a shard");
    let decide = |min_share| vote(min_share).decide(&shard, 0..5).expect("decisions");
    let accepted = |decided: &Decided| (decided.outcome, decided.goes_on, decided.reason.clone());
    assert_eq!(accepted(&decide(0.5)[0]), (Outcome::Accept, true, String::new()));
    assert_eq!(accepted(&decide(0.5)[3]), (Outcome::Reject, false, "minority".to_owned()));
    assert_eq!(accepted(&decide(0.8)[0]), (Outcome::Unknown, false, "small-majority".to_owned()));
    assert_eq!(vote(0.5).keyed(), vote(0.8).keyed(), "a threshold measures nothing again");
}

const POND: &str = "A farmer walks around a circular pond of radius 12 meters and then crosses it along a diameter. How many \
    meters does the farmer walk altogether, to the nearest meter?";

/// What nobody else asks, with a number in it.
fn tale(number: u32) -> String {
    let words = ["lighthouse", "orchard", "ferry", "quarry", "violin", "glacier", "bakery"];
    let word = |step: u32| words[((number / 7_u32.pow(step)) % 7) as usize];
    format!(
        "In the {} a {} keeps {number} tokens, and the {} takes a third of them. How many are left?",
        word(0),
        word(1),
        word(2)
    )
}

/// Problems as tables of their own: each source's, in shards of so many rows.
pub(crate) fn sources(bench: &Bench, texts: &[Vec<String>], shard_rows: usize) -> Vec<Dataset> {
    let table = |texts: &Vec<String>| {
        let mut problems: Vec<Problem> = texts.iter().map(|text| Problem::asking(text.as_str(), "1", "test")).collect();
        problems.sort_by(|a, b| a.id.cmp(&b.id));
        let cut = Cut { shard_rows, group_bytes: 2000, ..Cut::default() };
        bench.table(1, usize::MAX, |_, _, out| {
            let mut writer = ShardWriter::cut(out, "part", cut)?.sorted_by(|problem: &Problem| &problem.id);
            problems.iter().try_for_each(|problem| writer.push(problem.clone()))?;
            let rows_out = writer.finish()?;
            Ok(Tally { rows_out, ..Tally::default() })
        })
    };
    texts.iter().map(table).collect()
}

#[test]
fn problems_are_filtered_before_there_are_traces_whatever_the_shards() {
    let first: Vec<String> = (0..200).map(tale).chain([POND.to_owned()]).collect();
    let second = vec![
        tale(3).replace(' ', "  "),
        tale(5).replace("How many are left?", "How many of them are left?"),
        tale(900),
        POND.replace("12", "17"),
        POND.replace("altogether", "in all"),
        "池塘周围有多少棵树？ How many trees stand around the pond if every second one of them was felled last year?"
            .to_owned(),
    ];
    let filters = [
        listed(DuplicatesConfig::default()),
        listed(NearDuplicatesConfig { threshold: 0.6, ..NearDuplicatesConfig::default() }),
        listed(ContaminationConfig::default()),
        listed(LanguageConfig::default()),
        FilterConfig::selector(RandomConfig { count: Some(150), share: None }).expect("a table"),
    ];
    let run = |shard_rows, kill_after| {
        let bench = Bench::of(vec![], vec![], 1);
        let tables = sources(&bench, &[first.clone(), second.clone()], shard_rows);
        let benchmark = sources(&bench, &[vec![POND.to_owned()]], 9);
        let benchmarks = [("contest".to_owned(), benchmark[0].clone())];
        let inputs = Inputs { benchmarks: &benchmarks, ..Inputs::problems(&tables) };
        let measuring = filters.iter().filter(|filter| filter.filter().is_some());
        let measures: Vec<Dataset> = measuring.map(|filter| bench.measure_in(&inputs, filter, kill_after)).collect();
        let tables = Tables { filters: &filters, measures: &measures };
        let contests = Contests::of(tables, None, &inputs, &context(bench.root.path())).expect("contests");
        let num_units = inputs.rows.iter().map(|table| table.shards().count()).sum();
        let selection = bench.table(num_units, kill_after, |unit, context, out| {
            select(tables, &contests, &inputs.unit(unit)?, context, out)
        });
        let digests: Vec<String> = measures.iter().map(|table| table.manifest.digest.clone()).collect();
        (digests, rows::<Decision>(&selection), rows::<Near>(&measures[1]), rows::<Contamination>(&measures[2]))
    };
    let (digests, decisions, near, found) = run(usize::MAX, usize::MAX);
    let id = |text: &str| problem_id(&[Message::user(text)]);
    let reason = |text: &str| {
        let row = decisions.iter().find(|row| row.trace_id == id(text)).expect("a decision");
        (row.dropped_by.as_str(), row.reason.as_str())
    };
    assert_eq!(reason(&second[0]), ("duplicates", "duplicate"), "the same with wider blanks");
    assert_eq!(reason(&second[1]), ("near-duplicates", "near-duplicate"), "two words more");
    assert_eq!(reason(POND), ("contamination", "contaminated-question"));
    assert_eq!(reason(&second[4]).0, "near-duplicates");
    assert_eq!(reason(&second[5]), ("language", "mixed-scripts"));
    assert_ne!(reason(&second[3]).0, "contamination", "another number is another problem");
    let variant = found.iter().find(|row| row.id == id(&second[3])).expect("a measure");
    assert!(
        variant.masked.as_ref().is_some_and(|found| found.benchmark == "contest" && found.score > 0.9),
        "{variant:?}"
    );
    let twin = near.iter().find(|row| row.id == id(&second[1])).expect("a measure");
    assert_eq!(twin.neighbour, Some(id(&tale(5))), "{twin:?}");
    assert!(twin.similarity.is_some_and(|similarity| similarity > 0.6 && similarity < 1.0));
    assert_eq!(decisions.iter().filter(|row| row.kept).count(), 150);
    for (shard_rows, kill_after) in [(64, usize::MAX), (7, 3)] {
        let (other_digests, other, ..) = run(shard_rows, kill_after);
        assert_eq!(other, decisions, "shards of {shard_rows}");
        let told = [0, 2, 3].map(|index| (&digests[index], &other_digests[index]));
        assert!(told.iter().all(|(one, other)| one == other), "measures in shards of {shard_rows}");
    }
}
