//! Several endpoints behind one teacher: what one cannot do, another does.

use super::*;

/// A teacher at these endpoints, eight requests at each.
fn at(urls: &[&str]) -> HttpTeacherConfig {
    let place = |url: &&str| EndpointConfig { url: (*url).to_owned(), ..EndpointConfig::default() };
    let endpoints = urls.iter().map(place).collect();
    HttpTeacherConfig { endpoints, concurrency: 8, max_retries: 0, ..config(String::new()) }
}

fn teacher(urls: &[&str]) -> HttpTeacher {
    HttpTeacher::new(at(urls), None, None).expect("a teacher")
}

fn answered_by(list: &List, model: &str) -> usize {
    let models = list.answers.values().map(|answer| answer.as_ref().expect("an answer").response_model.as_str());
    models.filter(|found| *found == model).count()
}

/// An answer of that model.
fn of(model: &str) -> Reply {
    let piece = format!(r#"{{"model":"{model}","choices":[{{"delta":{{"content":"fine"}}}}]}}"#);
    stream(&[&piece, STOP, USAGE, "[DONE]"])
}

#[test]
fn an_endpoint_that_goes_away_loses_nothing_and_is_used_again_when_it_is_back() {
    let (steady, _) = serve(|_, _| whole());
    let (moody, server) =
        serve(|call, _| if (10..16).contains(&call) { (502, vec![], "gone".to_owned()) } else { whole() });
    let mut list = List::of(600);
    teacher(&[&steady, &moody]).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 600 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    let calls = server.calls.load(Ordering::SeqCst);
    assert!(calls > 40, "it was asked {calls} times: not used again");
}

#[test]
fn an_endpoint_that_refuses_is_left_and_all_that_do_end_the_run() {
    let (open, _) = serve(|_, _| whole());
    let (shut, server) = serve(|_, _| (401, vec![], "no".to_owned()));
    let mut list = List::of(60);
    teacher(&[&shut, &open]).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 60 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    assert!(server.calls.load(Ordering::SeqCst) <= 8, "no more than were in flight");
    let (other, _) = serve(|_, _| (404, vec![], "no such model".to_owned()));
    let error = teacher(&[&shut, &other]).complete(&mut List::of(60), &Cancel::default()).expect_err("refusals");
    assert!(error.to_string().contains("401") && error.to_string().contains("no such model"), "{error}");
}

#[test]
fn nobody_at_one_of_two_addresses_is_no_reason_to_end() {
    let (open, _) = serve(|_, _| whole());
    let mut list = List::of(60);
    teacher(&["http://127.0.0.1:9/v1", &open]).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 60 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    let error = teacher(&["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"]);
    let error = error.complete(&mut List::of(9), &Cancel::default()).expect_err("nobody anywhere");
    assert!(matches!(error, TeacherError::Unreachable(_)), "{error}");
}

#[test]
fn another_model_stops_its_endpoint_and_is_charged() {
    let (right, _) = serve(|_, _| of("r1"));
    let (wrong, server) = serve(|_, _| of("v4-flash"));
    let mut list = List { model: Some("r1".to_owned()), ..List::of(60) };
    teacher(&[&wrong, &right]).complete(&mut list, &Cancel::default()).expect("answers");
    assert_eq!((list.answers.len(), answered_by(&list, "r1")), (60, 60));
    let calls = server.calls.load(Ordering::SeqCst);
    assert!((1..=8).contains(&calls), "{calls} calls");
    assert_eq!(list.charges.len(), calls, "what the other model wrote was paid for");
}

#[test]
fn a_reasoning_field_that_is_renamed_stops_its_endpoint() {
    fn with(field: &str) -> Reply {
        let piece = format!(r#"{{"choices":[{{"delta":{{"{field}":"steps"}}}}]}}"#);
        stream(&[&piece, r#"{"choices":[{"delta":{"content":"fine"}}]}"#, STOP, "[DONE]"])
    }
    let (steady, _) = serve(|_, _| with("reasoning_content"));
    let (renamed, server) = serve(|call, _| with(if call < 20 { "reasoning_content" } else { "reasoning" }));
    let mut list = List::of(300);
    teacher(&[&steady, &renamed]).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 300 && list.answers.values().all(Result::is_ok), "{:?}", list.answers);
    let calls = server.calls.load(Ordering::SeqCst);
    assert!((20..=28).contains(&calls), "{calls} calls: those in flight when it was noticed, and no more");
}

#[test]
fn where_a_server_was_changed_and_no_other_is_there_the_run_ends_with_what_was_found() {
    let fields: Behaviour = |call, _| {
        let field = if call < 6 { "reasoning_content" } else { "reasoning" };
        let piece = format!(r#"{{"choices":[{{"delta":{{"{field}":"steps"}}}}]}}"#);
        stream(&[&piece, r#"{"choices":[{"delta":{"content":"fine"}}]}"#, STOP, "[DONE]"])
    };
    let models: Behaviour = |call, _| of(if call < 6 { "r1" } else { "v4-flash" });
    for (behaviour, before, now) in [(fields, "`reasoning_content`", "`reasoning`"), (models, "`r1`", "`v4-flash`")] {
        let mut list = List::of(60);
        let error = teacher(&[&serve(behaviour).0]).complete(&mut list, &Cancel::default()).expect_err("a change");
        assert!(matches!(error, TeacherError::Refused(_)), "{error}");
        assert!(error.to_string().contains(before) && error.to_string().contains(now), "{error}");
        assert_eq!((list.answers.len(), list.answers.values().filter(|answer| answer.is_ok()).count()), (6, 6));
        assert!((1..=8).contains(&list.charges.len()), "{}: those in flight, which were paid for", list.charges.len());
    }
}

/// A teacher that goes on from a part of an answer.
fn goes_on(urls: &[&str]) -> HttpTeacher {
    let config = HttpTeacherConfig { continuation: Some(Continuation::AssistantTurn), max_retries: 4, ..at(urls) };
    HttpTeacher::new(config, None, None).expect("a teacher")
}

#[test]
fn what_another_model_wrote_before_it_broke_off_is_in_no_answer() {
    let (right, _) = serve(|_, body| {
        assert_eq!(body["messages"].as_array().map(Vec::len), Some(1), "nothing is gone on from");
        of("r1")
    });
    let (wrong, server) = serve(|_, _| {
        stream(&[
            r#"{"model":"r1-distill","choices":[{"delta":{"content":"half "}}]}"#,
            r#"{"error":{"message":"gone"}}"#,
        ])
    });
    let mut list = List { model: Some("r1".to_owned()), ..List::of(60) };
    goes_on(&[&wrong, &right]).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(server.calls.load(Ordering::SeqCst) > 0, "it was asked");
    let texts: Vec<_> = list.answers.values().map(|answer| answer.as_ref().expect("an answer").text.as_str()).collect();
    assert!(texts.len() == 60 && texts.iter().all(|text| *text == "fine"), "{texts:?}");
    assert!(list.pieces.iter().all(|(_, piece)| !piece.content.contains("half")), "{:?}", list.pieces);
}

#[test]
fn over_a_kill_only_the_model_that_wrote_a_part_goes_on_from_it() {
    for (wrote, expected) in [(Some("r1"), 2), (None, 2), (Some("r1-distill"), 1)] {
        let behaviour: Behaviour = |_, body| {
            let turns = body["messages"].as_array().map_or(0, Vec::len);
            stream(&[&format!(r#"{{"model":"r1","choices":[{{"delta":{{"content":"{turns}"}}}}]}}"#), STOP])
        };
        let partial = Partial { model: wrote.map(str::to_owned), ..Partial::default().and("half ".to_owned(), 2) };
        let mut list = List { model: Some("r1".to_owned()), partial: Some(partial), ..List::of(1) };
        goes_on(&[&serve(behaviour).0]).complete(&mut list, &Cancel::default()).expect("an answer");
        let answer = list.answers[&0].as_ref().expect("an answer");
        let text = if expected == 2 { "half 2" } else { "1" };
        assert_eq!((answer.text.as_str(), answer.earlier.len()), (text, expected - 1), "{wrote:?}");
    }
}

#[test]
fn a_key_goes_to_its_endpoint_and_to_no_other() {
    let (one, first) = serve(|_, _| whole());
    let (other, second) = serve(|_, _| whole());
    let mut config = at(&[&one, &other]);
    config.endpoints[1].api_key_env = Some("OTHER".to_owned());
    let key = |name: &str| ApiKey::new(format!("sk-of-{name}"));
    let teacher = HttpTeacher::new(config, Some(key("all")), None).expect("a teacher").with_key("OTHER", &key("other"));
    teacher.complete(&mut List::of(60), &Cancel::default()).expect("answers");
    for (server, expected) in [(first, "Bearer sk-of-all"), (second, "Bearer sk-of-other")] {
        let keys = server.keys.lock().expect("a lock");
        assert!(!keys.is_empty() && keys.iter().all(|key| key == expected), "{keys:?}");
    }
}

#[test]
fn what_several_endpoints_are_is_checked() {
    for (config, expected) in [
        (HttpTeacherConfig { url: "http://a/v1".to_owned(), ..at(&["http://b/v1"]) }, "found both"),
        (at(&[]), "found neither"),
        (at(&["http://a/v1", "http://a/v1"]), "once"),
        (at(&["http://a/v1", "ftp://b"]), "ftp://b"),
        (HttpTeacherConfig { requests_per_minute: Some(0), ..at(&["http://a/v1"]) }, "requests-per-minute"),
    ] {
        let error = config.check().expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(at(&["http://a/v1", "http://b/v1"]).asked(None), config("http://c/v1".to_owned()).asked(None));
}
