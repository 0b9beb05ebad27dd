//! What is found: precision, recall, numbers, copies, hostile texts.

use super::*;
use crate::near::{
    compare::in_common,
    shingles::{Shingler, distinct_shingles},
    signature::Signature,
};
use std::collections::HashMap;

#[test]
fn jaccard_is_that_of_hash_sets() {
    let mut seed = Seed(1);
    for size in [1, 2, 5, 8] {
        let mut shingler = Shingler::new(Shingle { grain: Grain::Words, size });
        for _ in 0..60 {
            let count = 1 + seed.below(700);
            let one = seed.words(count);
            let changes = seed.below(30);
            let (one, other) = (one.join(" "), seed.mutated(&one, changes).join(" "));
            let (mut a, mut b) = (Vec::new(), Vec::new());
            distinct_shingles(&mut shingler, &one, &mut a);
            distinct_shingles(&mut shingler, &other, &mut b);
            let common = in_common(&a, &b);
            let jaccard = common as f64 / (a.len() as u64 + b.len() as u64 - common) as f64;
            assert_eq!(jaccard, naive_jaccard(&one, &other, size), "{one} | {other}");
        }
    }
}

#[test]
fn digests_tell_streams_of_tokens_apart() {
    let mut shingler = Shingler::new(Shingle { grain: Grain::Words, size: 5 });
    let mut digest = |text: &str| shingler.shingles(text, |_| ()).digest;
    assert_eq!(digest("One  two\nthree"), digest("one two three "));
    assert_ne!(digest("one two three"), digest("one three two"));
    assert_ne!(digest("a a a a a a a"), digest("a a a a a a"));
    let long = "x ".repeat(512);
    assert_ne!(digest(&long), digest(&long[2..]));
}

/// Recall in bands of Jaccard similarity, measured on the keys alone: sets of `size` shingles that share what the
/// similarity asks for. Returns the greatest distance from theory.
fn distance_from_theory(cut: Bands, size: usize, pairs: usize) -> f64 {
    let mut seed = size as u64;
    let mut next = || {
        seed += 1;
        hash::constant(hash::constant(seed))
    };
    let mut greatest = 0f64;
    let [mut one, mut other] = [(); 2].map(|()| Signature::new(cut.permutations()));
    for tenth in 5..10 {
        let (mut met, mut expected) = (0, 0.0);
        for pair in 0..pairs {
            // Two sets of `size` with `common` of them in common, for a similarity within the tenth.
            let wanted = (tenth as f64 + (pair as f64 + 0.5) / pairs as f64) / 10.0;
            let common = (wanted * 2.0 * size as f64 / (1.0 + wanted)).round() as usize;
            expected += cut.recall(common as f64 / (2 * size - common) as f64);
            let shared: Vec<u64> = (0..common).map(|_| next()).collect();
            for signature in [&mut one, &mut other] {
                signature.clear();
                let rest: Vec<u64> = (common..size).map(|_| next()).collect();
                signature.add(&shared);
                signature.add(&rest);
            }
            met +=
                usize::from(one.bands(cut.rows, 0).zip(other.bands(cut.rows, 0)).take(cut.bands).any(|(a, b)| a == b));
        }
        let distance = met as f64 / pairs as f64 - expected / pairs as f64;
        greatest = greatest.max(distance.abs());
    }
    greatest
}

#[test]
fn recall_is_within_a_point_of_theory() {
    for cut in [Bands { bands: 14, rows: 8 }, Bands::for_threshold(0.8, 128)] {
        for (size, pairs) in [(20, 12_000), (60, 10_000), (400, 5_000)] {
            let distance = distance_from_theory(cut, size, pairs);
            assert!(distance < 0.01, "{cut:?}, sets of {size}: {distance}");
        }
    }
}

#[test]
fn what_is_found_is_what_a_naive_search_finds() {
    let texts = families();
    let config = NearConfig::default();
    let (tally, found) = run(&texts, 100, &config);
    let mut texts_of: HashMap<Vec<&str>, Vec<usize>> = HashMap::new();
    for (number, text) in texts.iter().enumerate() {
        naive_set(text, 5).into_iter().for_each(|shingle| texts_of.entry(shingle).or_default().push(number));
    }
    let sharing = texts_of.values().flat_map(|texts| texts.iter().flat_map(|&a| texts.iter().map(move |&b| (a, b))));
    let sharing: HashSet<(usize, usize)> = sharing.filter(|(a, b)| a < b).collect();
    let (mut pairs, mut nearest) = (0, vec![0.0; texts.len()]);
    for (a, b) in sharing {
        let jaccard = naive_jaccard(&texts[a], &texts[b], 5);
        if jaccard >= config.threshold {
            pairs += 1;
            [a, b].into_iter().for_each(|text| nearest[text] = jaccard.max(nearest[text]));
        }
    }
    for &(text, representative, neighbour, similarity, size) in &found {
        let jaccard = naive_jaccard(&texts[text], &texts[neighbour], 5);
        assert_eq!(similarity, jaccard as f32, "precision: {text} {neighbour}");
        assert!(jaccard >= config.threshold && representative <= text && size >= 2);
        assert!(jaccard <= nearest[text]);
    }
    let members = nearest.iter().filter(|jaccard| **jaccard > 0.0).count();
    assert!(found.len() as f64 >= 0.99 * members as f64, "{} of {members}", found.len());
    // Held still: a change of tokens, hashes, bands or clusters shows here.
    assert_eq!((texts.len(), pairs, members), FROZEN_NAIVE);
    assert_eq!((tally.near_pairs, tally.clusters, tally.duplicates), FROZEN);
}

const FROZEN_NAIVE: (usize, usize, usize) = (2089, 856, 853);
const FROZEN: (u64, u64, u64) = (344, 291, 558);

#[test]
fn a_differing_number_makes_no_duplicate_unless_asked() {
    let mut seed = Seed(3);
    let words = seed.words(100).join(" ");
    let texts = [format!("{words} 17 {words}"), format!("{words} 18 {words}"), format!("{words} 17 {words} also")];
    let (_, found) = run(&texts, 2, &NearConfig::default());
    assert_eq!(found.iter().map(|one| (one.0, one.2)).collect::<Vec<_>>(), [(0, 2), (2, 0)]);
    let (tally, found) = run(&texts, 2, &NearConfig { numbers: false, ..NearConfig::default() });
    assert_eq!((found.len(), tally.clusters, found[0].4), (3, 1, 3));
}

#[test]
fn short_problems_are_compared() {
    let texts = ["What is 2+2?", "what is 2 + 2 ?", "What is 2+3?", "yes", "Yes", "no", "", " "].map(str::to_owned);
    let (tally, found) = run(&texts, 3, &NearConfig::default());
    assert_eq!(found, [(0, 0, 1, 1.0, 2), (1, 0, 0, 1.0, 2), (3, 3, 4, 1.0, 2), (4, 3, 3, 1.0, 2)]);
    assert_eq!((tally.texts, tally.compared, tally.clusters, tally.duplicates), (8, 6, 2, 2));
}

#[test]
fn copies_take_no_pairs_and_join_the_cluster_of_their_first() {
    let mut seed = Seed(5);
    let words = seed.words(80);
    let near = [words.join(" "), "also ".to_owned() + &words.join(" ")];
    let texts: Vec<String> = (0..20_000).map(|at| near[usize::from(at % 1000 == 7)].clone()).collect();
    let (tally, found) = run(&texts, 3000, &NearConfig::default());
    assert_eq!((tally.candidate_pairs, tally.clusters, tally.duplicates), (1, 1, 19_999));
    assert!(found.iter().enumerate().all(|(at, one)| (one.0, one.1, one.3, one.4) == (at, 0, 1.0, 20_000)));
    assert_eq!((found[0].2, found[1].2, found[7].2, found[1007].2), (1, 0, 1007, 7));
}

#[test]
fn great_buckets_are_bounded_and_counted() {
    // 3,000 texts of one set of shingles, no two of them identical.
    let texts: Vec<String> = (1..=3000).map(|count| "na ".repeat(4 + count)).collect();
    let (tally, found) = run(&texts, 500, &NearConfig::default());
    assert!(tally.bounded_buckets > 0 && tally.candidate_pairs < 17 * 3000, "{tally:?}");
    assert_eq!((tally.clusters, found.len()), (1, 3000));
}

#[test]
fn hostile_texts_are_texts() {
    let wide = "\u{feff}\u{202e}e\u{301}\u{10ffff}\u{d7ff}\u{e000}ß\u{130}\u{1f9d1}\u{200d}\u{1f52c}";
    let mut texts: Vec<String> =
        ["", " \t\n\u{3000}", "\0", "\0\0a\0", "\\", "\\\\\\", ".", "...", "9", wide].map(str::to_owned).into();
    texts.extend(["a", "+", "7", "\u{4e00}", "\\", "\u{e9}", " ", "\0", "1."].map(|one| one.repeat(1 << 20)));
    texts.extend(["a", "+", "é", "7."].map(|one| one.repeat((1 << 20) - 1)));
    for grain in [Grain::Words, Grain::Characters] {
        let config = NearConfig { shingle: Shingle { grain, size: 5 }, ..NearConfig::default() };
        let (tally, found) = run(&texts, 4, &config);
        assert_eq!(tally.texts, texts.len() as u64);
        assert!(found.iter().all(|one| one.3 >= 0.8), "{found:?}");
        // A run of symbols is one shingle, however long it is.
        assert!(found.iter().any(|one| texts[one.0].starts_with('+')), "{grain:?} {found:?}");
    }
}
