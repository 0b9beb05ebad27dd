//! How it is found: threads, units, ceilings, going on, damage.

use super::*;
use crate::near::{
    merge::{FanIn, Sorted},
    runs::RunsWriter,
};
use proptest::prelude::*;
use std::fs;

#[test]
fn neither_units_nor_ceiling_nor_threads_move_the_result() {
    let texts = families();
    let expected = run(&texts, 100, &NearConfig::default());
    let small = NearConfig { memory: 1 << 20, ..NearConfig::default() };
    for (threads, rows, config) in
        [(1, 100, &small), (2, 29, &small), (2, texts.len(), &small), (1, 37, &NearConfig::default())]
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("no error");
        assert_eq!(pool.install(|| run(&texts, rows, config)), expected, "{threads} threads, units of {rows}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cut_gives_the_same(
        texts in prop::collection::vec("([ab1] ){0,9}([cd2.\\\\é数] ){0,3}", 1..60),
        rows in 1usize..70,
        size in 1usize..6,
        numbers: bool,
    ) {
        let config = NearConfig { shingle: Shingle { grain: Grain::Words, size }, numbers, threshold: 0.6, ..NearConfig::default() };
        let whole = run(&texts, texts.len(), &config);
        prop_assert_eq!(&run(&texts, rows, &NearConfig { memory: 1 << 20, ..config }), &whole);
    }

    #[test]
    fn a_merge_is_a_sort(records in prop::collection::vec(any::<[u64; 2]>(), 0..2000), files in 1usize..9, num_runs in 2usize..6) {
        let folder = tempfile::tempdir().expect("no error");
        let paths: Vec<_> = (0..files).map(|file| folder.path().join(format!("runs-{file}"))).collect();
        for (at, path) in paths.iter().enumerate() {
            // The least memory: runs of 64 records.
            let mut writer = RunsWriter::new(path.clone(), 0).expect("no error");
            records.iter().skip(at).step_by(files).for_each(|record| writer.push(*record).expect("no error"));
            writer.finish().expect("no error");
        }
        let fan_in = FanIn { num_runs, bytes: 100 };
        let sorted = Sorted::<2>::open(&paths, fan_in, &folder.path().join("stem")).expect("no error");
        let mut expected = records;
        expected.sort_unstable();
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        let mut merge = sorted.whole().expect("no error");
        while let Some(record) = merge.next().expect("no error") { whole.push(record) }
        for part in 0..16 {
            let mut merge = sorted.part(part, 16).expect("no error");
            while let Some(record) = merge.next().expect("no error") { parts.push(record) }
        }
        prop_assert_eq!(&whole, &expected);
        prop_assert_eq!(&parts, &expected);
        drop(sorted);
        prop_assert_eq!(fs::read_dir(folder.path()).expect("no error").count(), files);
    }
}

/// A run that is refused at the given call of `on_unit`.
fn stopped_run(
    corpus: &Texts,
    folder: &Path,
    stop_at: usize,
) -> Result<(NearTally, Vec<Duplicate>), NearError<Refused>> {
    let (mut calls, mut found) = (0, Vec::new());
    let on_unit = |_, _, _| {
        calls += 1;
        assert!(calls <= stop_at, "no call after an error");
        if calls == stop_at { Err(Refused) } else { Ok(()) }
    };
    let tally = near_duplicates(corpus, &NearConfig::default(), folder, on_unit, |one| {
        found.push(one);
        Ok(())
    })?;
    Ok((tally, found))
}

#[test]
fn a_killed_run_goes_on_at_the_unit_it_was_in() {
    let texts = families();
    let whole = tempfile::tempdir().expect("no error");
    let expected = stopped_run(&Texts::cut(&texts, 100), whole.path(), usize::MAX).expect("no error");
    let num_units = texts.len().div_ceil(100);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("no error");
    // Within signing, copies, candidates, the merge of pairs, sets and comparing.
    let (signed, paired) = (num_units, num_units + 33);
    for stop_at in [
        1,
        2,
        signed / 2,
        signed,
        signed + 9,
        signed + 20,
        paired,
        paired + 5,
        paired + num_units,
        paired + num_units + 1,
    ] {
        let folder = tempfile::tempdir().expect("no error");
        let corpus = Texts::cut(&texts, 100);
        let stopped = pool.install(|| stopped_run(&corpus, folder.path(), stop_at));
        assert!(matches!(stopped, Err(NearError::Caller(Refused))), "{stop_at} {stopped:?}");
        let before = corpus.reads();
        let is_done = |name: &str, unit| folder.path().join(format!("{name}-{unit:08}")).exists();
        let done: Vec<[bool; 2]> =
            (0..num_units).map(|unit| ["signed", "index"].map(|name| is_done(name, unit))).collect();
        assert!(done.iter().any(|[signed, _]| *signed));
        assert_eq!(
            pool.install(|| stopped_run(&corpus, folder.path(), usize::MAX)).expect("no error"),
            expected,
            "{stop_at}"
        );
        for (unit, [signed, index]) in done.into_iter().enumerate() {
            let reads = corpus.reads()[unit] - before[unit];
            assert_eq!(reads, usize::from(!signed) + usize::from(!index), "{stop_at}: unit {unit}");
        }
        // A third call reads nothing.
        let before = corpus.reads();
        assert_eq!(stopped_run(&corpus, folder.path(), usize::MAX).expect("no error"), expected);
        assert_eq!(corpus.reads(), before);
    }
}

#[test]
fn what_is_half_written_has_no_final_name() {
    let texts = families();
    let folder = tempfile::tempdir().expect("no error");
    let corpus = Texts::cut(&texts, 100);
    // Where the file of a unit is to be written there is a folder, as a full disk would refuse it.
    let part = format!("bands-00000003.part-{}", std::process::id());
    fs::create_dir_all(folder.path().join(&part)).expect("no error");
    let refused = stopped_run(&corpus, folder.path(), usize::MAX);
    let Err(NearError::Fault(fault @ NearFault::Io { .. })) = refused else { panic!("{refused:?}") };
    assert!(fault.to_string().contains(&part) && fault.to_string().contains("\nhelp: "), "{fault}");
    for name in ["bands-00000003", "signed-00000003"] {
        assert!(!folder.path().join(name).exists());
    }
    fs::remove_dir(folder.path().join(&part)).expect("no error");
    let (tally, _) = stopped_run(&corpus, folder.path(), usize::MAX).expect("no error");
    assert_eq!(tally.texts, texts.len() as u64);
}

#[test]
fn damage_and_other_runs_are_errors() {
    let texts = families();
    let folder = tempfile::tempdir().expect("no error");
    let corpus = Texts::cut(&texts, 100);
    stopped_run(&corpus, folder.path(), 30).expect_err("it was stopped");
    let path = folder.path().join("digests-00000002");
    let bytes = fs::read(&path).expect("no error");
    for damaged in [&bytes[..bytes.len() - 24], &bytes[..5], &[]] {
        fs::write(&path, damaged).expect("no error");
        for part in 0..16 {
            let _ = fs::remove_file(folder.path().join(format!("groups-{part:08}")));
        }
        let outcome = stopped_run(&corpus, folder.path(), usize::MAX);
        assert!(matches!(outcome, Err(NearError::Fault(NearFault::Damaged { .. }))), "{outcome:?}");
    }
    let other = NearConfig { threshold: 0.7, ..NearConfig::default() };
    let outcome = near_duplicates(&corpus, &other, folder.path(), |_, _, _| Ok(()), |_| Ok(()));
    assert!(matches!(outcome, Err(NearError::Fault(NearFault::OtherRun { .. }))), "{outcome:?}");
}

#[test]
fn settings_out_of_range_are_errors() {
    let bad: [fn(&mut NearConfig); 9] = [
        |config| config.shingle.size = 0,
        |config| config.threshold = 0.0,
        |config| config.threshold = 1.1,
        |config| config.threshold = f64::NAN,
        |config| config.permutations = 257,
        |config| config.bands = Some(Bands { bands: 0, rows: 8 }),
        |config| config.bands = Some(Bands { bands: usize::MAX, rows: 2 }),
        |config| config.bucket = 1,
        |config| config.memory = 0,
    ];
    for change in bad {
        let mut config = NearConfig::default();
        change(&mut config);
        assert!(matches!(config.check(), Err(NearFault::Setting { .. })), "{config:?}");
    }
}

#[test]
fn an_empty_corpus_has_no_duplicates() {
    let (tally, found) = run(&[], 1, &NearConfig::default());
    assert_eq!((tally, found.len()), (NearTally::default(), 0));
    let (tally, found) = run(&[String::new()], 1, &NearConfig::default());
    assert_eq!((tally.texts, tally.compared, found.len()), (1, 0, 0));
}
