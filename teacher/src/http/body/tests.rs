//! Bodies in every form that hosts send, cut anywhere and changed anywhere.

use super::*;
use crate::ApiKey;

/// What a body comes to that arrives in pieces of that size, and what it cost.
fn read(text: &[u8], piece: usize) -> (Ending, Cost) {
    let live = Live::default();
    live.begun.set(true);
    let mut body = Body::new(&live);
    let early = text.chunks(piece).find_map(|bytes| body.push(bytes));
    (early.unwrap_or_else(|| body.end()), live.cost())
}

/// The same, whatever the pieces: text, finish reason and the host's own name for it.
fn answer(text: &str) -> (String, FinishReason, Option<String>) {
    let mut found: Vec<_> = (1..=text.len())
        .map(|piece| match read(text.as_bytes(), piece).0 {
            Ending::Done(answer) => (answer.text, answer.finish_reason, answer.finish_name),
            Ending::Broken(_, message) => panic!("{text}, by {piece}: {message}"),
            _ => panic!("{text}, by {piece}: no answer"),
        })
        .collect();
    found.dedup();
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found.remove(0)
}

const PIECE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"4\"}}]}\n\n";
const LAST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"2\"},\"finish_reason\":\"stop\"}]}\n\n";

#[test]
fn what_the_official_client_reads_is_read() {
    let cases = [
        format!("{PIECE}{LAST}data: [DONE]\n\n"),
        format!("\u{feff}{PIECE}{LAST}data:[DONE] \n\n"),
        format!("\n\n: ping\n\ndata:\n\nevent: message\n{PIECE}data: \n\n{LAST}"),
        format!("{PIECE}{LAST}").trim_end().to_owned(),
        format!("{PIECE}{LAST}").replace('\n', "\r\n"),
        // A field that nobody knows.
        format!("foo: 1\n\n{PIECE}{LAST}"),
        // A finish reason that says nothing, before and behind the one that does.
        format!("{}{LAST}{}", PIECE.replace("}}]", "},\"finish_reason\":\"\"}]"), "data: {\"choices\":[{\"finish_reason\":null}]}\n\n"),
        // The whole, said once more.
        format!("{PIECE}{}", LAST.replace("\"delta\"", "\"message\":{\"content\":\"42\"},\"delta\"")),
        " \n{\"choices\":[{\"message\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}\n".to_owned(),
        "\u{feff}{\"choices\":[{\"message\":{\"content\":[{\"text\":\"42\"}]},\"finish_reason\":{\"type\":\"stop\"}}],\"usage\":null}".to_owned(),
        "{\"choices\":[{\"text\":\"42\",\"finish_reason\":\"stop\",\"logprobs\":[NaN]}],\"choices\":[{\"text\":\"42\",\"finish_reason\":\"stop\"}]}".to_owned(),
    ];
    for text in cases {
        assert_eq!(answer(&text), ("42".to_owned(), FinishReason::Stop, None), "{text}");
    }
}

#[test]
fn every_host_s_name_for_an_end_is_understood_or_kept() {
    for (names, expected) in [
        (["stop", "eos_token", "STOP", "COMPLETE"], Some(FinishReason::Stop)),
        (["length", "model_length", "MAX_TOKENS", "max_tokens"], Some(FinishReason::Length)),
        (["content_filter", "SAFETY", "sensitive", "refusal"], Some(FinishReason::ContentFilter)),
        (["insufficient_system_resource", "tool_calls", "7", "Stopp"], Some(FinishReason::Unknown)),
        (["abort", "error", "network_error", "ABORT"], None),
    ] {
        for name in names {
            let text = LAST.replace("stop", name);
            match (read(text.as_bytes(), 9).0, expected) {
                (Ending::Done(found), Some(expected)) => {
                    assert_eq!(found.finish_reason, expected, "{name}");
                    let kept = expected == FinishReason::Unknown;
                    assert_eq!(found.finish_name, kept.then(|| name.to_owned()));
                }
                (Ending::Broken("broken-off", message), None) => assert!(message.contains(name), "{message}"),
                _ => panic!("{name}: another ending"),
            }
        }
    }
}

#[test]
fn tokens_are_as_told_and_counted_where_they_are_not() {
    let usage = |usage: &str| format!("{PIECE}{LAST}data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
    for (told, prompt, completion, estimated) in [
        (r#"{"prompt_tokens":11,"completion_tokens":5}"#, 11, 5, false),
        (r#"{"prompt_tokens":11.0,"completion_tokens":"5"}"#, 11, 5, false),
        (r#"{"prompt_tokens":11,"completion_tokens":null}"#, 11, 2, true),
        (r#"{"prompt_tokens":11,"completion_tokens":0}"#, 11, 2, true),
        ("null", 0, 2, true),
    ] {
        let cost = read(usage(told).as_bytes(), 50).1;
        let found = (cost.prompt_tokens, cost.completion_tokens, cost.estimated);
        assert_eq!(found, (prompt, completion, estimated), "{told}");
    }
    let whole = format!(r#"{{"choices":[{{"text":"{}","finish_reason":"stop"}}]}}"#, "four".repeat(100));
    assert_eq!(read(whole.as_bytes(), 99).1.completion_tokens, 100, "one piece of a hundred tokens");
}

#[test]
fn tokens_from_a_cache_are_read_where_each_host_tells_them_and_are_never_more_than_the_prompt_s() {
    let cached = |host: Option<&str>, usage: &str| {
        let host = host.map(|name| HostProfile::of(name).expect("a profile"));
        let live = Live { host, ..Live::default() };
        live.begun.set(true);
        live.prompt_estimate.set(9);
        let mut body = Body::new(&live);
        assert!(body.push(format!("{PIECE}{LAST}data: {{\"choices\":[],\"usage\":{usage}}}\n\n").as_bytes()).is_none());
        assert!(matches!(body.end(), Ending::Done(_)));
        let cost = live.cost();
        (cost.prompt_tokens, cost.cached_tokens)
    };
    for (told, expected) in
        [("8", 8), ("8.0", 8), ("\"8\"", 8), ("null", 0), ("-1", 0), ("{}", 0), ("11", 11), ("12", 11), ("1e30", 11)]
    {
        let openai = format!(
            r#"{{"prompt_tokens":11,"completion_tokens":2,"prompt_tokens_details":{{"cached_tokens":{told}}}}}"#
        );
        let deepseek = format!(r#"{{"prompt_tokens":11,"completion_tokens":2,"prompt_cache_hit_tokens":{told}}}"#);
        for host in [None, Some("vllm"), Some("openrouter")] {
            assert_eq!(cached(host, &openai), (11, expected), "{host:?}: {openai}");
            assert_eq!(cached(host, &deepseek), (11, 0), "{host:?}: {deepseek}");
        }
        assert_eq!(cached(Some("deepseek"), &deepseek), (11, expected), "{deepseek}");
    }
    for nothing in ["null", "{}", r#"{"prompt_tokens_details":null}"#, r#"{"prompt_tokens_details":[8]}"#] {
        assert_eq!(cached(None, nothing), (9, 0), "{nothing}");
    }
    let more = r#"{"prompt_tokens_details":{"cached_tokens":64}}"#;
    assert_eq!(cached(None, more), (9, 9), "than the prompt is estimated at");
}

#[test]
fn what_is_no_completion_is_told_with_what_was_found() {
    for (text, reason, expected) in [
        ("<html><body>Sign in</body></html>", "broken-off", "Sign in"),
        ("upstream is gone", "broken-off", "found upstream is gone"),
        ("retry: 3\n\n: ping\n\n", "broken-off", "found retry: 3"),
        ("[1]", "broken-off", "expected a completion"),
        ("data: <html>\n\n", "broken-off", "<html>"),
        ("", "broken-off", "found nothing"),
        (" \n ", "broken-off", "found nothing"),
        ("{\"choices\":[]}", "incomplete", "without a finish reason"),
        (PIECE, "incomplete", "without a finish reason"),
    ] {
        for piece in [1, 4, 100] {
            match read(text.as_bytes(), piece).0 {
                Ending::Broken(found, message) => {
                    assert_eq!(found, reason, "{text}: {message}");
                    assert!(message.contains(expected), "{text}: {message}");
                }
                _ => panic!("{text}: another ending"),
            }
        }
    }
    for (text, code) in [
        (r#"{"object":"error","message":"no such model","code":404}"#, "no such model"),
        (r#"{"error":{"code":"402","message":"no balance"}}"#, "no balance"),
    ] {
        match read(text.as_bytes(), 7).0 {
            Ending::Fatal(message) | Ending::Shut(message) => assert!(message.contains(code), "{message}"),
            _ => panic!("{text}: another ending"),
        }
    }
    assert!(
        matches!(read(br#"{"detail":"out of memory"}"#, 7).0, Ending::Server(message, _) if message.contains("out of memory"))
    );
}

#[test]
fn what_stands_before_a_body_has_a_greatest_length_however_it_is_cut() {
    let limits = Limits { body: 100, event: 40 };
    for (before, expected) in [
        (" ".repeat(40), "incomplete"),
        (" ".repeat(41), "answer-too-long"),
        (" ".repeat(30) + "\u{feff}" + &"\n".repeat(7), "incomplete"),
        (" ".repeat(30) + "\u{feff}" + &"\n".repeat(8), "answer-too-long"),
    ] {
        let text = before.clone() + "{}";
        for piece in 1..=text.len() {
            let live = Live::within(limits, Secrets::default(), None);
            let mut body = Body::new(&live);
            let early = text.as_bytes().chunks(piece).find_map(|bytes| body.push(bytes));
            match early.unwrap_or_else(|| body.end()) {
                Ending::Broken(reason, _) | Ending::Unanswerable(reason, _) => {
                    assert_eq!(reason, expected, "{before:?} by {piece}");
                }
                _ => panic!("{before:?} by {piece}: another ending"),
            }
        }
    }
}

#[test]
fn a_key_that_ends_as_it_begins_is_in_no_piece() {
    let key = "s7-0123456789-s7";
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{key}\"}}}}]}}\n\n");
    let live = Live::within(Limits::default(), Some(ApiKey::new(key.to_owned())).into(), None);
    let mut body = Body::new(&live);
    let mut spooled = String::new();
    for last in [false, false, true] {
        assert!(body.push(event.as_bytes()).is_none());
        spooled += &live.piece(last).map(|piece| piece.content).unwrap_or_default();
    }
    assert_eq!(spooled, "[key][key][key]");
}

/// 64-bit xorshift.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

#[test]
fn no_bytes_harm_the_reader_and_how_they_are_cut_changes_nothing() {
    let sound = [
        format!("\u{feff}: ping\n\n{PIECE}{LAST}data: [DONE]\n\n"),
        r#"{"model":"é🙂","choices":[{"message":{"content":[{"text":"a\ud83d"}],"reasoning":null},"finish_reason":"stop"}],"usage":{"completion_tokens":5.0}}"#.to_owned(),
        r#"data: {"error":{"code":"429","message":[NaN,{"a":"\\u"}]}}"#.to_owned(),
    ];
    let pieces: [&[u8]; 10] =
        [b"\n\n", b"\r", b"data:", b"\"", b"{", b"\\", b"-Infinity", b"\\ud800", b"[[[[[[[[", b"\xef\xbb\xbf"];
    let mut state = 17;
    let (mut answers, mut others) = (0, 0);
    for round in 0..30_000 {
        let mut bytes = sound[round % sound.len()].clone().into_bytes();
        for _ in 0..=next(&mut state) % 4 {
            let at = next(&mut state) % bytes.len();
            match next(&mut state) % 4 {
                0 => bytes[at] = next(&mut state) as u8,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                1 | 2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.splice(at..at, pieces[next(&mut state) % pieces.len()].iter().copied())),
            }
        }
        let [whole, cut] = [bytes.len(), 1 + next(&mut state) % 5].map(|piece| match read(&bytes, piece).0 {
            Ending::Done(answer) => Ok((answer.text, answer.finish_reason, answer.model)),
            Ending::Broken(reason, message) => Err(format!("{reason}: {message}")),
            Ending::Unanswerable(reason, message) => Err(format!("{reason}: {message}")),
            Ending::Fatal(message)
            | Ending::Shut(message)
            | Ending::Server(message, _)
            | Ending::Another(message)
            | Ending::Away { message, .. } => Err(message),
        });
        assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(&bytes));
        if whole.is_ok() { answers += 1 } else { others += 1 }
    }
    assert!(answers > 1000 && others > 1000, "{answers} answers, {others} others");
}

#[test]
fn an_answer_that_had_ended_is_whole_though_the_stream_broke() {
    for (text, whole) in [(format!("{PIECE}{LAST}"), true), (PIECE.to_owned(), false)] {
        let live = Live::default();
        let mut body = Body::new(&live);
        assert!(body.push(text.as_bytes()).is_none());
        assert_eq!(body.is_answered(), whole);
        assert_eq!(matches!(body.broken("timed-out", "silent"), Ending::Done(_)), whole);
    }
}

/// What a stream comes to that may have so many bytes at most for each of 100 of an answer.
fn endless(text: &str, piece: usize) -> Ending {
    let live = Live::within(Limits { body: 100, event: 90 }, Secrets::default(), None);
    let mut body = Body::new(&live);
    let early = text.as_bytes().chunks(piece).find_map(|bytes| body.push(bytes));
    early.unwrap_or_else(|| body.end())
}

#[test]
fn comments_and_empty_events_without_end_come_to_an_end() {
    for nothing in [":\n", "\n", "event: x\n\n", "data: {\"choices\":[]}\n\n", "foo: 1\n"] {
        let text = format!("{PIECE}{}", nothing.repeat(1 + 1600 / nothing.len()));
        for piece in [1, 7, 10_000] {
            let ending = endless(&text, piece);
            let Ending::Unanswerable(reason, message) = ending else {
                panic!("{nothing:?} by {piece}: another ending")
            };
            assert_eq!(reason, "answer-too-long", "{nothing:?}: {message}");
        }
        // What had said why it ended is whole.
        let text = format!("{LAST}{}", nothing.repeat(1 + 1600 / nothing.len()));
        assert!(matches!(endless(&text, 7), Ending::Done(_)), "{nothing:?} behind an answer");
    }
}

/// A stream of so many pieces of that text, where so many tokens are the most.
fn cut(piece: &str, count: usize, most: u64) -> (Ending, u64) {
    cut_behind(None, piece, count, most)
}

/// The same, which goes on from that text.
fn cut_behind(before: Option<String>, piece: &str, count: usize, most: u64) -> (Ending, u64) {
    let before = before.map(|text| Partial { text, ..Partial::default() });
    let live = Live::within(Limits::default(), Secrets::default(), before).cut_at(most);
    live.begun.set(true);
    let mut body = Body::new(&live);
    let event = PIECE.replace("\"4\"", &format!("{piece:?}"));
    let early = event.repeat(count).as_bytes().chunks(99).find_map(|bytes| body.push(bytes));
    (early.unwrap_or_else(|| body.end()), live.cost().completion_tokens)
}

#[test]
fn a_stream_that_goes_on_beyond_its_limit_is_cut_there_and_costs_no_more_than_was_reserved() {
    let (ending, tokens) = cut("four", 500, 100);
    let Ending::Done(answer) = ending else { panic!("expected an answer that was cut") };
    assert_eq!((answer.finish_reason, answer.text.len(), tokens), (FinishReason::Length, 4 * 101, 100));
    // Several tokens a piece.
    let (ending, tokens) = cut(&"four ".repeat(100), 50, 100);
    assert!(matches!(ending, Ending::Done(answer) if answer.text.len() < 4000), "32 bytes a token are no text");
    assert_eq!(tokens, 100);
    // What is said once more was there before.
    let again = |count| cut_behind(Some("four".repeat(300)), "four", count, 100).0;
    assert!(
        matches!(again(400), Ending::Broken("incomplete", _)),
        "a hundred tokens behind a part that is said once more"
    );
    assert!(matches!(again(2000), Ending::Done(answer) if answer.finish_reason == FinishReason::Length));
    // Letters are no tokens, and an answer at its limit is whole.
    for (piece, count) in [("f", 400), ("four", 100)] {
        assert!(matches!(cut(piece, count, 100).0, Ending::Broken("incomplete", _)), "{piece}: it was not cut");
    }
}

#[test]
fn nothing_is_kept_of_another_model_and_it_is_known_by_its_first_chunk() {
    let expected = Expected::of(Some("r1".to_owned()));
    for (model, is_another) in [("r1", false), ("r1-distill", true)] {
        let live = Live::default().expecting(expected.at_an_endpoint());
        live.begun.set(true);
        let mut body = Body::new(&live);
        let ending =
            body.push(PIECE.replace("{\"choices\"", &format!("{{\"model\":\"{model}\",\"choices\"")).as_bytes());
        assert_eq!(matches!(ending, Some(Ending::Another(_))), is_another, "{model}");
        assert_eq!(live.piece(true).is_none(), is_another, "{model}: nothing of it is spooled");
        assert_eq!(live.cost().completion_tokens, 1, "{model}: what came was paid for");
    }
}

#[test]
fn a_body_of_many_small_values_takes_no_many_times_its_bytes() {
    // Where it is read through a value, each of them takes 32 bytes.
    let text = format!(r#"{{"a":NaN,"a":[{}],"choices":[],"choices":[]}}"#, "0,".repeat(3 << 20));
    match read(text.as_bytes(), 1 << 20).0 {
        Ending::Broken("broken-off", message) => assert!(message.contains("expected a completion"), "{message}"),
        _ => panic!("another ending"),
    }
    let (aside, whole) = ("0,".repeat(1 << 20), r#""choices":[{"text":"42","finish_reason":"stop"}]"#);
    for text in [format!(r#"{{"usage":[{aside}0],{whole}}}"#), format!(r#"{{"a":[{aside}NaN],{whole}}}"#)] {
        assert!(matches!(read(text.as_bytes(), 1 << 20).0, Ending::Done(answer) if answer.text == "42"));
    }
    let error = format!(r#"{{"error":[{aside}0]}}"#);
    assert!(matches!(read(error.as_bytes(), 1 << 20).0, Ending::Server(message, _) if message.len() < 400));
}

#[test]
fn ids_and_log_probabilities_are_read_by_the_door_of_the_fuzzer() {
    let piece = |text: &str, ids: &str| {
        let told = format!(r#"{{"tokens":["{text}"],"token_logprobs":[-0.5],"top_logprobs":[null]}}"#);
        format!("data: {{\"choices\":[{{\"text\":\"{text}\",\"token_ids\":{ids},\"logprobs\":{told}}}]}}\n\n")
    };
    let end = "data: {\"choices\":[{\"text\":\"\",\"token_ids\":[256],\"finish_reason\":\"stop\"}]}\n\n";
    let how = crate::http::fuzzing::Arriving {
        key: None,
        before: Some("a"),
        most: None,
        log_probs: Some(1),
        by_ids: true,
        most_tokens: None,
        breaks: false,
    };
    let text = piece("4", "[52]") + &piece("2", "[50]") + end;
    for size in [1, 7, 1000] {
        let arrived = crate::http::fuzzing::read_body(text.as_bytes().chunks(size), how);
        assert_eq!((arrived.said.as_deref(), arrived.places), (Some(&b"42"[..]), Some(2)), "{arrived:?}");
        assert!(arrived.told.contains("a42"), "{arrived:?}");
    }
}
