//! The codec and the file beside the shards: what goes in comes out within the stated error, and no bytes harm the reader.

use super::*;
use crate::{Dataset, DatasetError};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// 64-bit xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn uniform(state: &mut u64) -> f64 {
    (next(state) >> 11) as f64 / (1_u64 << 53) as f64
}

const STATED: f32 = 1.0 / 2048.0 + 1e-5;

/// One token as a server tells it: the generated one and the alternatives.
type Told = ((u32, f32), Vec<(u32, f32)>);

/// `count` tokens with alternatives as a language model's: candidates of a Zipf vocabulary with normal logits over their
/// frequency, softmax, the 20 most probable, and a draw. Half of all places are nearly certain, as in reasoning.
fn realistic(count: usize, state: &mut u64) -> Vec<Told> {
    (0..count)
        .map(|_| {
            let sharpness = if next(state).is_multiple_of(2) { 6.0 } else { 2.0 };
            let mut logits: Vec<(u32, f64)> = (0..200)
                .map(|_| {
                    let rank = (128_000_f64.powf(uniform(state))) as u32;
                    let normal: f64 = (0..12).map(|_| uniform(state)).sum::<f64>() - 6.0;
                    // Ids have little to do with ranks.
                    (rank.wrapping_mul(40_503) % 128_000, normal * sharpness)
                })
                .collect();
            logits.sort_by(|a, b| b.1.total_cmp(&a.1));
            let mut seen = BTreeSet::new();
            logits.retain(|(id, _)| seen.insert(*id));
            let all: f64 = logits.iter().map(|(_, logit)| logit.exp()).sum();
            let told = |(id, logit): &(u32, f64)| (*id, (logit - all.ln()) as f32);
            let mut mass = uniform(state) * all;
            let drawn = logits.iter().find(|(_, logit)| {
                mass -= logit.exp();
                mass <= 0.0
            });
            (told(drawn.unwrap_or(&logits[0])), logits[..20].iter().map(told).collect())
        })
        .collect()
}

/// A text of a token, as long as a tokenizer's.
fn text(id: u32) -> Vec<u8> {
    let word = format!(" {:x}", u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word.as_bytes()[..2 + id as usize % 7].iter().chain(&id.to_le_bytes()[..2]).copied().collect()
}

fn built(told: &[Told], k: u8, texts: bool) -> LogProbs {
    let mut builder = LogProbsBuilder::new(k);
    for ((id, log_prob), alternatives) in told {
        let texts: Vec<Vec<u8>> = std::iter::once(id)
            .chain(alternatives.iter().map(|(id, _)| id))
            .map(|id| if texts { text(*id) } else { vec![] })
            .collect();
        let token = |id: u32, text: &'static [u8]| if text.is_empty() { Token::Id(id) } else { Token::Text(text) };
        let leaked: Vec<&'static [u8]> = texts.into_iter().map(|text| &*text.leak()).collect();
        let alternatives: Vec<_> =
            alternatives.iter().zip(&leaked[1..]).map(|((id, log_prob), text)| (token(*id, text), *log_prob)).collect();
        builder.push((token(*id, leaked[0]), *log_prob), &alternatives).expect("a token");
    }
    builder.finish()
}

#[test]
fn a_token_takes_the_bytes_that_the_documentation_says() {
    let told = realistic(4000, &mut 5);
    for (texts, most) in [(false, 78.0), (true, 120.0)] {
        let log_probs = built(&told, 20, texts);
        let bytes = log_probs.encode().expect("bytes").len() as f64 / told.len() as f64;
        assert!(bytes > 0.5 * most && bytes < most, "{bytes} bytes a token at k = 20, texts: {texts}");
    }
}

#[test]
fn what_is_told_is_there_within_the_stated_error() {
    for (k, texts) in [(20, false), (20, true), (5, false), (1, true), (0, false)] {
        let told = realistic(300, &mut 9);
        let log_probs = built(&told, k, texts);
        let read = LogProbs::decode(&log_probs.encode().expect("bytes")).expect("log-probabilities");
        assert_eq!((read.len(), read.k()), (300, k));
        assert_eq!(read, log_probs, "k = {k}, texts: {texts}");
        assert_eq!(LogProbs::of_text(&log_probs.to_text().expect("text")), Ok(read.clone()));
        for (((id, log_prob), alternatives), found) in told.iter().zip(read.iter()) {
            let bytes = text(*id);
            let expected = if texts { Token::Text(&bytes) } else { Token::Id(*id) };
            assert_eq!(found.chosen().0, expected);
            assert!((found.chosen().1 - log_prob).abs() <= STATED);
            assert_eq!(found.chosen_id(), (!texts).then_some(*id));
            let kept: Vec<f32> = found.alternatives().map(|(_, log_prob)| log_prob).collect();
            assert_eq!(kept.len(), alternatives.len().min(usize::from(k)), "the k most probable");
            for ((_, expected), found) in alternatives.iter().zip(kept) {
                assert!((expected - found).abs() <= STATED);
            }
        }
    }
}

#[test]
fn what_is_out_of_range_is_at_its_end_and_no_number_is_refused() {
    let mut builder = LogProbsBuilder::new(3);
    let alternatives = [(Token::Id(1), 1e-7), (Token::Id(2), -9999.0), (Token::Id(3), f32::NEG_INFINITY)];
    builder.push((Token::Id(9), -63.0), &alternatives).expect("a token");
    assert_eq!(builder.push((Token::Id(9), f32::NAN), &[]), Err(LogProbsError::NotANumber));
    assert_eq!(builder.push((Token::Id(9), -1.0), &[(Token::Id(1), f32::NAN)]), Err(LogProbsError::NotANumber));
    assert_eq!(builder.push((Token::Text(b"a"), -1.0), &[]), Err(LogProbsError::Mixed));
    let log_probs = builder.finish();
    let token = log_probs.iter().next().expect("a token");
    let lowest = -65535.0 / 1024.0;
    assert_eq!(
        token.alternatives().collect::<Vec<_>>(),
        [(Token::Id(1), 0.0), (Token::Id(2), lowest), (Token::Id(3), lowest)]
    );
    assert_eq!(token.chosen(), (Token::Id(9), -63.0), "beside the alternatives");
    assert_eq!(LogProbs::decode(&log_probs.encode().expect("bytes")), Ok(log_probs));
}

#[test]
fn tokens_of_one_text_are_one_token_and_a_generated_one_that_is_another_stands_apart() {
    let mut builder = LogProbsBuilder::new(5);
    let unreadable: &[u8] = "\u{fffd}".as_bytes();
    let alternatives = [(Token::Text(unreadable), -3.0), (Token::Text(b"a"), -2.0), (Token::Text(unreadable), -1.0)];
    builder.push((Token::Text(unreadable), -3.0), &alternatives).expect("a token");
    let log_probs = builder.finish();
    let token = log_probs.iter().next().expect("a token");
    assert_eq!(token.alternatives().map(|(_, log_prob)| log_prob).collect::<Vec<_>>(), [-1.0, -2.0]);
    assert_eq!(token.chosen(), (Token::Text(unreadable), -3.0));
}

#[test]
fn parts_are_joined_at_a_seam_and_ids_stay_where_all_parts_have_them() {
    let told = realistic(120, &mut 3);
    for texts in [false, true] {
        let whole = built(&told, 20, texts);
        for cut in [0, 1, 60, 120] {
            let (mut first, second) = (built(&told[..cut], 20, texts), built(&told[cut..], 20, texts));
            first.append(&second).expect("one trace");
            assert_eq!(first, whole, "cut at {cut}");
        }
    }
    let ids = |count: u32| (0..count).collect::<Vec<u32>>();
    let part = |told: &[Told]| built(told, 20, true).with_ids(ids(told.len() as u32)).expect("an id for each");
    let mut both = part(&told[..50]);
    both.append(&part(&told[50..])).expect("one trace");
    let read = LogProbs::decode(&both.encode().expect("bytes")).expect("log-probabilities");
    let found: Vec<_> = read.iter().filter_map(|token| token.chosen_id()).collect();
    assert_eq!(found, [ids(50), ids(70)].concat());
    both.append(&built(&told, 20, true)).expect("one trace");
    assert!(both.iter().all(|token| token.chosen_id().is_none()), "some have none");
    let refused = LogProbsError::Ids { expected: 120, found: 3 };
    assert_eq!(built(&told, 20, true).with_ids(ids(3)), Err(refused));
    let before = both.clone();
    assert_eq!(both.append(&built(&told, 20, false)), Err(LogProbsError::Mixed));
    assert_eq!(both.append(&built(&told, 5, true)), Err(LogProbsError::Alternatives { expected: 20, found: 5 }));
    assert_eq!(both, before, "a part that does not fit changes nothing");
}

/// With a checksum that holds, so that the damage is met behind it.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= 8 {
        let checksum = crc32fast::hash(&bytes[8..]).to_le_bytes();
        bytes[4..8].copy_from_slice(&checksum);
    }
    bytes
}

/// What was read must be consistent: everything in it can be looked at, and written again.
fn sound(log_probs: &LogProbs) {
    for token in log_probs.iter() {
        assert!(token.chosen().1 <= 0.0 && token.alternatives().count() <= 20);
        token.chosen_id();
    }
    let again = LogProbs::decode(&log_probs.encode().expect("bytes")).expect("log-probabilities");
    assert_eq!(again, *log_probs);
}

#[test]
fn ten_thousand_changed_and_cut_inputs_are_refused_or_read() {
    let told = realistic(40, &mut 2);
    let sound_ones = [built(&told, 20, false), built(&told, 20, true).with_ids((0..40).collect()).expect("ids")]
        .map(|log_probs| log_probs.encode().expect("bytes"));
    let (mut state, mut read, mut refused) = (11, 0, BTreeMap::<String, u32>::new());
    for round in 0..10_000 {
        let mut bytes = sound_ones[round % 2].clone();
        for _ in 0..=next(&mut state) % 3 {
            let at = match next(&mut state) % 2 {
                0 => next(&mut state) as usize % 48.min(bytes.len()),
                _ => next(&mut state) as usize % bytes.len(),
            };
            match next(&mut state) % 5 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(&mut state) as usize % 5],
                2 => bytes[at] ^= 1 << (next(&mut state) % 8),
                3 => bytes.insert(at, next(&mut state) as u8),
                _ => bytes[at] = bytes[at].wrapping_add(1),
            }
        }
        if !next(&mut state).is_multiple_of(8) {
            bytes = resealed(bytes);
        }
        match LogProbs::decode(&bytes) {
            Ok(log_probs) => {
                sound(&log_probs);
                read += 1;
            }
            Err(error) => {
                *refused.entry(error.to_string().split(" found").next().unwrap_or_default().to_owned()).or_default() +=
                    1
            }
        }
    }
    assert!(refused.values().sum::<u32>() > 8000 && refused.len() > 10, "{read} read, {refused:?}");
}

#[test]
fn a_header_that_promises_much_takes_no_memory() {
    let columns = zstd::bulk::compress(&vec![0; 1 << 20], 3).expect("a frame");
    let promise = |numbers: [u32; 5]| {
        let mut bytes = [&b"dlp\x01"[..], &[0; 4], &[0, 20]].concat();
        numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(&columns);
        LogProbs::decode(&resealed(bytes))
    };
    let big = u32::MAX;
    assert!(matches!(promise([big, big, big, big, 0]), Err(LogProbsError::TooLarge { .. })));
    assert!(matches!(promise([1 << 20, big, 1, 1, 0]), Err(LogProbsError::Damaged(_))));
    assert!(matches!(promise([1 << 22, 1 << 23, 1, 1, 0]), Err(LogProbsError::Damaged(_))), "columns of one MiB");
    assert!(matches!(promise([1000, 1000, 1, 1, 0]), Err(LogProbsError::Damaged(_))), "columns of more than it says");
    assert_eq!(LogProbs::decode(b""), Err(LogProbsError::Magic));
    assert_eq!(LogProbs::decode(b"dlp\x02"), Err(LogProbsError::Version { expected: 1, found: 2 }));
}

fn entry() -> impl Strategy<Value = (u32, f32)> {
    (prop_oneof![0..9_u32, any::<u32>()], prop_oneof![-70.0..1.0_f32, Just(f32::NEG_INFINITY), Just(0.0)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is pushed comes back: each token, in order, within the stated error and range.
    #[test]
    fn whatever_is_pushed_comes_back(
        told in prop::collection::vec((entry(), prop::collection::vec(entry(), 0..25)), 0..40),
        k in 0..=20_u8,
        texts in any::<bool>(),
    ) {
        let log_probs = built(&told, k, texts);
        let read = LogProbs::decode(&log_probs.encode().expect("bytes")).expect("log-probabilities");
        prop_assert_eq!(&read, &log_probs);
        prop_assert_eq!(read.len(), told.len());
        for (((id, log_prob), alternatives), found) in told.iter().zip(read.iter()) {
            let bytes = text(*id);
            prop_assert_eq!(found.chosen().0, if texts { Token::Text(&bytes) } else { Token::Id(*id) });
            prop_assert!((found.chosen().1 - log_prob.clamp(-65535.0 / 1024.0, 0.0)).abs() <= STATED);
            let kept: Vec<_> = found.alternatives().collect();
            prop_assert!(kept.len() <= usize::from(k).min(alternatives.len()));
            prop_assert!(kept.windows(2).all(|pair| pair[0].1 >= pair[1].1 && pair[0].0 != pair[1].0));
        }
    }

    /// No bytes at all harm the reader.
    #[test]
    fn no_bytes_harm_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = resealed([&b"dlp\x01"[..], &bytes].concat());
        for bytes in [bytes, whole] {
            if let Ok(log_probs) = LogProbs::decode(&bytes) {
                sound(&log_probs);
            }
        }
    }
}

fn id(number: u32) -> String {
    format!("{number:032x}")
}

#[test]
fn a_file_gives_back_each_trace_s_and_says_where_it_is_damaged() {
    let dir = tempfile::tempdir().expect("a folder");
    let all: Vec<LogProbs> =
        (1..5).map(|seed| built(&realistic(20 * seed as usize, &mut { seed }), 20, seed % 2 == 0)).collect();
    let mut writer = LogProbsWriter::of_unit(dir.path(), 3).expect("a file");
    assert!(writer.push("no id", b"x").is_err() && writer.push(&id(1), b"").is_err());
    for (number, log_probs) in (0..).zip(&all) {
        writer.push(&id(number), &log_probs.encode().expect("bytes")).expect("a frame");
    }
    let path = dir.path().join("logprobs-00003.bin");
    assert!(!path.exists(), "it appears whole");
    writer.finish().expect("a file");
    let read = |path| LogProbsReader::open(path).and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
    let expected: Vec<_> = (0..).map(id).zip(all).collect();
    assert_eq!(read(&path).expect("log-probabilities"), expected);
    let dataset = Dataset::of_folder(dir.path()).expect("a dataset");
    assert!(dataset.has_log_probs() && dataset.shards().next().is_none());
    assert_eq!(dataset.log_probs().collect::<Result<Vec<_>, _>>().expect("log-probabilities"), expected);

    let whole = std::fs::read(&path).expect("bytes");
    let other = dir.path().join("other");
    for cut in (0..whole.len()).step_by(7).chain([whole.len() - 24, whole.len() - 1]) {
        std::fs::write(&other, &whole[..cut]).expect("a file");
        assert!(matches!(read(&other), Err(DatasetError::LogProbs { .. })), "cut at {cut}");
    }
    for at in (0..whole.len()).step_by(5) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&other, &bytes).expect("a file");
        assert!(matches!(read(&other), Err(DatasetError::LogProbs { .. })), "changed at {at}");
    }
    std::fs::write(&other, [&whole[..], b"more"].concat()).expect("a file");
    assert!(read(&other).expect_err("more").to_string().contains("the end of the file"));
    let unread = Dataset::new(dir.path().to_owned(), dataset.manifest.clone());
    std::fs::write(&path, [&whole[..], b"more"].concat()).expect("a file");
    assert!(matches!(unread.log_probs().next(), Some(Err(DatasetError::Checksum { .. }))), "the manifest knows");
}
