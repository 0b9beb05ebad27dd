//! Answers that break off are gone on from, whatever breaks.

use super::*;
use crate::Piece;

const WHOLE: &str = "one two six ten ONE TWO SIX TEN 111 222";

fn completions_at(url: String) -> HttpTeacherConfig {
    HttpTeacherConfig { api: Some(Api::Completions), ..config(url) }
}

fn completions(url: String) -> HttpTeacher {
    teacher(completions_at(url))
}

fn teacher(config: HttpTeacherConfig) -> HttpTeacher {
    let render = Render {
        template_hash: "t".to_owned(),
        turn: TurnFormat::of_prompt("<think>\n"),
        render: Box::new(|messages| Ok(format!("Q {} A ", messages[0].content))),
        tokenizer: None,
    };
    HttpTeacher::new(config, None, Some(render)).expect("a teacher")
}

/// The rest of the whole behind what a prompt ends in, a word a piece; `most` words of it, and an end where it is whole.
fn rest(behind: &str, most: usize) -> Reply {
    let rest = WHOLE.strip_prefix(behind).unwrap_or_else(|| panic!("expected a beginning, found {behind:?}"));
    let words: Vec<&str> = rest.split_inclusive(' ').collect();
    let piece = |word: &&str| serde_json::json!({"choices": [{"text": word, "delta": {}}]}).to_string();
    let mut pieces: Vec<String> = words.iter().take(most).map(piece).collect();
    if words.len() <= most {
        pieces.push(r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#.to_owned());
    }
    stream(&pieces.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn an_answer_that_drops_is_gone_on_from_and_nothing_is_bought_twice() {
    let (url, server) = serve(|call, body| {
        let prompt = body["prompt"].as_str().expect("a prompt");
        let behind = prompt.strip_prefix("Q question 0 A ").expect("our prompt");
        let before = behind.split_inclusive(' ').filter(|word| !word.is_empty()).count();
        assert_eq!(body["max_tokens"], 64 - before, "what is left of the limit");
        if call > 0 {
            assert_ne!(body["seed"], 7, "not the same draws again");
        }
        rest(behind, 3)
    });
    let mut list = List::of(1);
    completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
    let completion = list.answers[&0].as_ref().expect("an answer");
    assert_eq!((completion.text.as_str(), completion.finish_reason), (WHOLE, FinishReason::Stop));
    assert_eq!(server.calls.load(Ordering::SeqCst), 4);
    let seams: Vec<_> = completion.earlier.iter().map(|segment| (segment.num_bytes, segment.num_tokens)).collect();
    assert_eq!(seams, [(12, 3), (12, 3), (12, 3)]);
    assert!(completion.earlier.iter().all(|segment| segment.finish_reason == FinishReason::Broken));
    let charged: u64 = list.charges.iter().map(|(_, cost)| cost.completion_tokens).sum();
    assert_eq!(charged + u64::from(completion.completion_tokens), 10, "ten words, each paid for once");
}

/// All pieces of a request, put together.
fn spooled(list: &List) -> Piece {
    let mut whole = Piece::default();
    for (_, piece) in &list.pieces {
        whole.reasoning += &piece.reasoning;
        whole.content += &piece.content;
        whole.cost = piece.cost.clone();
    }
    whole
}

#[test]
fn what_a_stop_cuts_is_spooled_and_the_next_process_goes_on_from_it() {
    let url = serve_beginning(&[r#"{"choices":[{"text":"one two "}]}"#, r#"{"choices":[{"text":"six "}]}"#]);
    let cancel = Cancel::default();
    let mut list = List { cancel_at: Some((0, cancel.clone())), drain: Duration::from_millis(500), ..List::of(1) };
    let priced = HttpTeacherConfig { usd_per_million_tokens: Some([0.0, 1e6]), ..completions_at(url) };
    teacher(priced).complete(&mut list, &cancel).expect("a stop");
    let piece = spooled(&list);
    assert_eq!((piece.content.as_str(), piece.cost.completion_tokens), ("one two six ", 3));
    assert!((piece.cost.usd - 3.0).abs() < 1e-9, "{}: a budget of dollars counts it after a kill", piece.cost.usd);
    let (url, _) = serve(|_, body| rest(&body["prompt"].as_str().expect("a prompt")["Q question 0 A ".len()..], 99));
    let partial = Partial::default().and(piece.content, piece.cost.completion_tokens);
    let mut list = List { partial: Some(partial), ..List::of(1) };
    completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
    let completion = list.answers[&0].as_ref().expect("an answer");
    assert_eq!((completion.text.as_str(), completion.earlier.len()), (WHOLE, 1));
}

#[test]
fn while_an_answer_comes_it_is_spooled() {
    let (_, _, text) = stream(&[r#"{"choices":[{"text":"one "}]}"#]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
            for _ in 0..30 {
                let _ = stream.write_all(text.as_bytes());
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = stream.write_all(b"data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n");
        }
    });
    let mut list = List::of(1);
    completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
    let words = spooled(&list).content.split_whitespace().count();
    assert!(list.pieces.len() >= 2 && words >= 15, "{} pieces, {words} words", list.pieces.len());
}

#[test]
fn a_server_that_does_not_take_a_part_is_asked_anew() {
    let (url, server) = serve(|call, body| match call {
        0 => rest("", 3),
        1 => (400, vec![], "no continuation here".to_owned()),
        _ => {
            assert_eq!(body["prompt"], "Q question 0 A ");
            rest("", 99)
        }
    });
    let mut list = List::of(1);
    completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
    assert_eq!(list.answers[&0].as_ref().expect("an answer").text, WHOLE);
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn where_a_context_has_no_room_to_go_on_what_is_there_is_the_answer() {
    for (limit, calls) in [(64, 2), (400, 3)] {
        let (url, server) = serve(|call, body| match call {
            0 => rest("", 3),
            _ => {
                // With fewer tokens than are left, once, where there are enough of them.
                let lowered = if call == 1 { 0 } else { 64 };
                assert!([64, 400].map(|limit| limit - 3 - lowered).contains(&body["max_tokens"].as_i64().unwrap_or(0)));
                (400, vec![], "This model's maximum context length is 32768 tokens".to_owned())
            }
        });
        let mut list = List { limit: Some(limit), ..List::of(1) };
        completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
        let answer = list.answers[&0].as_ref().expect("an answer");
        assert_eq!((answer.text.as_str(), answer.finish_reason), ("one two six ", FinishReason::Length));
        let seams: Vec<_> = answer.earlier.iter().map(|segment| (segment.num_bytes, segment.num_tokens)).collect();
        assert_eq!((seams, answer.completion_tokens), (vec![(12, 3)], 0), "nothing behind the seam");
        assert_eq!(server.calls.load(Ordering::SeqCst), calls, "{limit}: nothing is bought anew");
    }
}

#[test]
fn a_part_with_fewer_tokens_to_come_may_fit_into_a_context() {
    let (url, server) = serve(|_, body| match body["max_tokens"].as_u64() {
        Some(400) => rest("", 3),
        Some(397) => (400, vec![], "context_length_exceeded".to_owned()),
        _ => rest("one two six ", 99),
    });
    let mut list = List { limit: Some(400), ..List::of(1) };
    completions(url).complete(&mut list, &Cancel::default()).expect("an answer");
    assert_eq!(list.answers[&0].as_ref().expect("an answer").text, WHOLE);
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn a_part_that_is_refused_where_others_were_gone_on_from_is_not_bought_again() {
    let (url, server) = serve(|call, body| match call {
        0 | 1 => rest(&body["prompt"].as_str().expect("a prompt")["Q question 0 A ".len()..], 3),
        _ => (400, vec![], "no".to_owned()),
    });
    let mut list = List::of(1);
    completions(url).complete(&mut list, &Cancel::default()).expect("an outcome");
    let Err(TeacherError::Unanswerable { reason, text, .. }) = &list.answers[&0] else { panic!("{:?}", list.answers) };
    assert_eq!((*reason, text.as_str()), ("refused", "one two six ten ONE TWO "));
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn each_way_to_go_on_in_a_chat_sends_what_its_servers_take() {
    for (by, expected) in [
        (Continuation::ContinueFinalMessage, (Some(false), Some(true), None)),
        (Continuation::AssistantTurn, (None, None, None)),
        (Continuation::Prefix, (None, None, Some(true))),
    ] {
        let config = HttpTeacherConfig { continuation: Some(by), ..config("http://a/v1".to_owned()) };
        config.check().expect("a way to go on");
        let mut request = List::of(1).next().expect("a request");
        let text = |request: &Request| serde_json::to_value(wire::body(&config, request, None)).expect("JSON");
        let first = text(&request);
        assert!(
            first.get("continue_final_message").is_none() && first["messages"].as_array().expect("turns").len() == 1
        );
        request.partial = Some(Partial::default().and("<think>\nabc".to_owned(), 4));
        let body = text(&request);
        let last = &body["messages"][1];
        assert_eq!((last["role"].as_str(), last["content"].as_str()), (Some("assistant"), Some("<think>\nabc")));
        let found = (body["add_generation_prompt"].as_bool(), body["continue_final_message"].as_bool());
        assert_eq!((found.0, found.1, last["prefix"].as_bool()), expected, "{by:?}");
        assert_eq!(body["max_tokens"], 60);
    }
    let wrong = HttpTeacherConfig { continuation: Some(Continuation::Prompt), ..config("http://a/v1".to_owned()) };
    assert!(wrong.check().expect_err("no prompt of ours").contains("`continuation`"));
}

#[test]
fn a_key_is_in_no_piece_though_it_comes_in_two() {
    let (url, _) = serve(|_, _| {
        stream(&[
            r#"{"choices":[{"delta":{"content":"it is sk-secret-0123"}}]}"#,
            r#"{"choices":[{"delta":{"content":"456789abcdef and more"}}]}"#,
        ])
    });
    let key = ApiKey::new("sk-secret-0123456789abcdef".to_owned());
    let endpoint = Endpoint::of(EndpointConfig::default(), Some(key.clone()));
    let live = body::Live::new(&endpoint, None);
    let mut body = body::Body::new(&live);
    let mut told = String::new();
    for piece in ["it is sk-secret-0123", "456789abcdef and sk-secret-", "more"] {
        let event = serde_json::json!({"choices": [{"delta": {"content": piece}}]});
        assert!(body.push(format!("data: {event}\n\n").as_bytes()).is_none());
        told += &live.piece(false).unwrap_or_default().content;
    }
    told += &live.piece(true).unwrap_or_default().content;
    assert_eq!(told, "it is [key] and sk-secret-more");
    let config = HttpTeacherConfig { max_retries: 0, ..config(url) };
    let mut list = List::of(1);
    HttpTeacher::new(config, Some(key), None)
        .expect("a teacher")
        .complete(&mut list, &Cancel::default())
        .expect("an end");
    assert!(!format!("{:?}{:?}", list.pieces, list.answers).contains("secret"), "{:?}", list.pieces);
}
