use super::*;
use distill_simulator::{decode, encode};

fn tokenizer() -> Arc<Tokenizer> {
    Arc::new(Tokenizer {
        encode: Box::new(|text| Ok(encode(text))),
        decode: Box::new(|ids, written| {
            let bytes = decode(ids, written).ok_or_else(|| "an unknown token".to_owned())?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }),
        begin: Some("<s>".to_owned()),
        adds_begin: true,
        ends: vec![distill_simulator::END],
    })
}

/// What chunks of ids and text come to, behind a part: the text, and the ids of the whole generation where they are known.
fn collected(before: &str, cut: usize, chunks: &[(&[u32], &str)]) -> Option<(String, Option<TokenIds>)> {
    let all = encode(before);
    let before = &all[..all.len() - cut];
    let text = String::from_utf8_lossy(&decode(before, false).expect("bytes")).into_owned();
    let text = text.trim_end_matches(UNFINISHED);
    let tokenizer = tokenizer();
    let unfinished = tokenizer.unfinished(before, text).expect("ids of this text");
    let mut ids = Ids::behind(tokenizer, before, unfinished);
    let mut content = String::new();
    for (told, text) in chunks {
        let mut text = (*text).to_owned();
        if !ids.take(Some(told.to_vec()), &mut text) {
            return None;
        }
        content += &text;
        ids.mark(content.len());
    }
    if !ids.held_nothing() {
        return None;
    }
    content += &ids.end().unwrap_or_default();
    let told = ids.finish(&content);
    Some((content, told))
}

#[test]
fn behind_a_seam_within_a_letter_the_text_is_what_the_tokens_say_however_it_is_told() {
    let letter = encode("🙂");
    for cut in 1..4 {
        let rest: Vec<u32> = letter[4 - cut..].iter().copied().chain(encode("ok")).collect();
        let (end, more) = rest.split_at(cut);
        let whole = Some(("🙂ok".to_owned(), Some(TokenIds { from: 7 - cut as u32, ids: rest.clone() })));
        for told in ["🙂", "\u{fffd}", "\u{fffd}\u{fffd}", ""] {
            assert_eq!(collected("be 🙂", cut, &[(end, told), (more, "ok")]), whole, "{cut} {told:?}");
            assert_eq!(
                collected("be 🙂", cut, &[(end, told)]).map(|(text, _)| text).as_deref(),
                Some("🙂"),
                "{cut} {told:?} at the end"
            );
            let at_once = format!("{told}ok");
            assert_eq!(collected("be 🙂", cut, &[(&rest, &at_once)]), whole, "{cut} {told:?} at once");
        }
        for (ids, told) in [(&rest[..], "no"), (&[7, 7, 7][..], "ok"), (&[5000000][..], "🙂"), (&[][..], "ok")] {
            assert_eq!(collected("be 🙂", cut, &[(ids, told)]), None, "{told:?} is not what the tokens say");
        }
    }
}

#[test]
fn ids_that_do_not_say_the_text_are_dropped_and_the_text_stays() {
    let told = |text: &str, ids: &[u32]| collected("", 0, &[(ids, text)]).expect("nothing is cut");
    let end = distill_simulator::END;
    let ids = [encode("it is 42"), vec![end]].concat();
    assert_eq!(told("it is 42", &ids).1.map(|told| told.ids), Some(ids.clone()));
    for (text, ids) in [
        ("it is 43", &ids[..]),
        ("it is 4", &ids),
        ("it is 42 or so", &ids),
        ("it is 42", &[&ids[..], &[5000000]].concat()),
        ("it is 42", &[&[end][..], &ids].concat()),
        ("it is 42", &[]),
    ] {
        assert_eq!(told(text, ids), (text.to_owned(), None));
    }
    // What was cut at a limit within a letter, by servers that tell a mark of it and others.
    let cut = &encode("a🙂")[..3];
    for text in ["a", "a\u{fffd}"] {
        assert_eq!(told(text, cut).1.map(|told| told.ids), Some(cut.to_vec()), "{text:?}");
    }
}

#[test]
fn a_piece_has_the_ids_that_say_its_text_and_waits_for_a_letter_to_end() {
    let letter = encode("🙂");
    let mut ids = Ids::behind(tokenizer(), &[], 0);
    let mut content = String::new();
    let mut take = |ids: &mut Ids, told: &[u32], text: &str| {
        let mut text = text.to_owned();
        assert!(ids.take(Some(told.to_vec()), &mut text));
        content += &text;
        ids.mark(content.len());
        content.clone()
    };
    let piece = |bytes: usize, ids: &[u32]| Some((bytes, TokenIds { from: 0, ids: ids.to_vec() }));
    let so_far = take(&mut ids, &encode("ab"), "ab");
    assert_eq!(ids.piece(&so_far, 2, false), piece(2, &encode("ab")));
    let so_far = take(&mut ids, &letter[..2], "");
    assert_eq!(ids.piece(&so_far, 2, false), piece(2, &[]), "half of a letter");
    take(&mut ids, &letter[2..], "🙂");
    let so_far = take(&mut ids, &encode("cd"), "cd");
    assert_eq!(ids.piece(&so_far, 6, false), piece(6, &letter), "what may begin the key is held back");
    assert_eq!(ids.piece(&so_far, 8, true), piece(8, &encode("cd")));
    assert_eq!(ids.told().map(|told| told.ids.len()), Some(8));
    let so_far = take(&mut ids, &letter[..3], "");
    assert_eq!(ids.piece(&so_far, 8, true), piece(8, &letter[..3]), "the last piece has all that is there");
    let so_far = take(&mut ids, &encode("x"), "y");
    assert_eq!(ids.piece(&so_far, 9, true), None);
    assert_eq!(ids.told(), None);
}

#[test]
fn other_counts_again_and_again_are_told_once() {
    let mut counts = Miscounts::default();
    let told = |counts: &mut Miscounts, found: u32, times: usize| {
        (0..times).filter_map(|_| counts.take(12, found)).collect::<Vec<_>>()
    };
    assert!(told(&mut counts, 13, 7).is_empty() && told(&mut counts, 12, 1).is_empty());
    let remarks = told(&mut counts, 13, 30);
    assert!(remarks.len() == 1 && remarks[0].contains("expected 12") && remarks[0].contains("found 13"), "{remarks:?}");
}
