//! Log-probabilities: asked as each call takes them, collected from streams, joined at seams, kept beside the answer.

use super::*;
use crate::{Answer as Outcome, Answers, Ask, Order, pump};
use distill_dataset::{Context, LogProbs, Problem, Progress, Reference, Split, Token, problem_id};

/// A request that asks for so many alternatives.
fn request(log_probabilities: Option<u8>) -> Request {
    let request = List::of(1).next().expect("a request");
    Request { sampling: SamplingParams { log_probabilities, ..request.sampling }, ..request }
}

/// A chunk of one word, with what is told of it in a chat.
fn word(text: &str, log_prob: f32) -> String {
    let told = |token: &str, log_prob: f32| serde_json::json!({"token": token, "logprob": log_prob, "bytes": token.as_bytes()});
    let mut place = told(text, log_prob);
    place["top_logprobs"] = serde_json::json!([told(text, log_prob), told("other", log_prob - 1.0)]);
    serde_json::json!({"choices": [{"delta": {"content": text}, "logprobs": {"content": [place]}}]}).to_string()
}

/// The generated tokens and their log-probabilities.
fn told(log_probs: &LogProbs) -> Vec<(String, f32)> {
    let text = |token: Token<'_>| match token {
        Token::Id(id) => id.to_string(),
        Token::Text(text) => String::from_utf8_lossy(text).into_owned(),
    };
    log_probs.iter().map(|place| (text(place.chosen().0), place.chosen().1)).collect()
}

fn words(expected: &[(&str, f32)]) -> Vec<(String, f32)> {
    expected.iter().map(|(word, log_prob)| ((*word).to_owned(), *log_prob)).collect()
}

#[test]
fn each_call_is_asked_in_its_own_form_and_not_at_all_where_nothing_is_wanted() {
    for (api, k, logprobs, top) in [
        (Api::Chat, Some(20), Some(serde_json::json!(true)), Some(20)),
        (Api::Chat, Some(0), Some(serde_json::json!(true)), None),
        (Api::Chat, None, None, None),
        (Api::Completions, Some(5), Some(serde_json::json!(5)), None),
        (Api::Completions, Some(0), Some(serde_json::json!(0)), None),
        (Api::Completions, None, None, None),
    ] {
        let config = HttpTeacherConfig { api: Some(api), ..config("http://a/v1".to_owned()) };
        let request = request(k);
        let prompt = (api == Api::Completions).then(|| ids::Prompt::Text("Q".to_owned()));
        let body = serde_json::to_value(wire::body(&config, &request, prompt)).expect("JSON");
        let found = (body.get("logprobs").cloned(), body.get("top_logprobs").and_then(serde_json::Value::as_u64));
        assert_eq!(found, (logprobs, top), "{api:?}, {k:?}");
    }
}

/// What a server's chunks come to where log-probabilities are asked for.
fn answered(chunks: &[&str], k: Option<u8>) -> (String, Option<LogProbs>) {
    let key = ApiKey::new("sk-secret-0123456789abcdef".to_owned());
    let endpoint = Endpoint::of(EndpointConfig::default(), Some(key));
    let live = body::Live::new(&endpoint, None).asking(&request(k).sampling);
    let mut body = body::Body::new(&live);
    let (_, _, text) = stream(chunks);
    match body.push(text.as_bytes()).unwrap_or_else(|| body.end()) {
        Ending::Done(answer) => (answer.text, answer.log_probs),
        _ => panic!("{chunks:?}: no answer"),
    }
}

#[test]
fn they_are_collected_where_asked_for_and_cost_the_answer_nothing_where_they_are_missing() {
    let (one, two) = (word("one ", -0.5), word("two", -0.25));
    let end = r#"{"choices":[{"delta":{},"logprobs":null,"finish_reason":"stop"}]}"#;
    let both = words(&[("one ", -0.5), ("two", -0.25)]);
    let whole = answered(&[&one, &two, end, "[DONE]"], Some(1));
    assert_eq!((whole.0.as_str(), told(&whole.1.expect("all"))), ("one two", both.clone()));
    assert_eq!(answered(&[&one, &two, end], None).1, None, "nobody asked");
    // The whole, said once more, and told once more.
    let again = word("one two", -9.0)
        .replace("\"delta\"", "\"message\"")
        .replace("\"message\":{", "\"finish_reason\":\"stop\",\"message\":{");
    assert_eq!(told(&answered(&[&one, &two, &again], Some(1)).1.expect("all")), both);
    let untold = r#"{"choices":[{"delta":{"reasoning_content":"two"}}]}"#;
    let (text, log_probs) = answered(&[&one, untold, end], Some(1));
    assert!(text.contains("two") && log_probs.is_none(), "{text}");
    let odd = two.replace("-0.25", "NaN");
    assert_eq!(answered(&[&one, &odd, end], Some(1)), ("one two".to_owned(), None));
    let completions = r#"{"choices":[{"text":"one","token_ids":[7],"logprobs":{"tokens":["one"],"token_logprobs":[-0.5],"top_logprobs":[{"one":-0.5,"two":-Infinity}]},"finish_reason":"stop"}]}"#;
    let log_probs = answered(&[completions], Some(5)).1.expect("all");
    let place = log_probs.iter().next().expect("a token");
    assert_eq!((place.chosen_id(), place.alternatives().count()), (Some(7), 1));
}

#[test]
fn a_key_is_in_no_log_probability() {
    let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let (half, rest) = (word("sk-secret-01234", -0.5), word("56789abcdef", -0.5));
    assert_eq!(answered(&[&half, &rest, end], Some(1)), ("[key]".to_owned(), None));
    let begun = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
    assert_eq!(answered(&[&half, begun], Some(1)), ("[key]".to_owned(), None));
    let aside = word("one", -0.5).replace("other", "sk-secret-0123456789abcdef");
    let bytes = serde_json::to_string(b"other").expect("JSON");
    let aside = aside.replace(&format!(",\"bytes\":{bytes}"), "").replace(&format!("\"bytes\":{bytes},"), "");
    assert_eq!(answered(&[&aside, end], Some(2)), ("one".to_owned(), None));
}

#[test]
fn they_are_joined_at_a_seam_and_a_part_without_them_leaves_none() {
    let goes_on = |url| HttpTeacherConfig { continuation: Some(Continuation::AssistantTurn), ..config(url) };
    let ask = |teacher: &HttpTeacher, partial: Option<Partial>| {
        let mut asking = Asking { list: List { partial, ..List::of(1) }, k: 1 };
        teacher.complete(&mut asking, &Cancel::default()).expect("an answer");
        asking.list.answers.remove(&0).expect("an outcome").expect("an answer")
    };
    let behaviour: Behaviour = |_, body| match body["messages"].as_array().map_or(0, Vec::len) {
        // Breaks off.
        1 => stream(&[&word("one ", -0.5), &word("two ", -1.5)]),
        _ => stream(&[&word("six", -0.25), STOP]),
    };
    let teacher = HttpTeacher::new(goes_on(serve(behaviour).0), None, None).expect("a teacher");
    let completion = ask(&teacher, None);
    assert_eq!((completion.text.as_str(), completion.earlier.len()), ("one two six", 1));
    let joined = completion.log_probs.expect("of both parts");
    assert_eq!(told(&joined), words(&[("one ", -0.5), ("two ", -1.5), ("six", -0.25)]));
    // As after a kill: the spool has only text.
    let spooled = Partial::default().and("one two ".to_owned(), 2);
    let completion = ask(&teacher, Some(spooled));
    assert_eq!((completion.text.as_str(), completion.log_probs), ("one two six", None));
}

/// A list whose requests ask for log-probabilities.
struct Asking {
    list: List,
    k: u8,
}

impl Queue for Asking {
    fn next(&mut self) -> Option<Request> {
        let request = self.list.next()?;
        Some(Request { sampling: SamplingParams { log_probabilities: Some(self.k), ..request.sampling }, ..request })
    }

    fn deliver(&mut self, id: u64, outcome: Result<Completion, TeacherError>) -> ControlFlow<()> {
        self.list.deliver(id, outcome)
    }
}

#[test]
fn what_a_server_tells_is_kept_beside_the_answer_and_read_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let (url, server) = serve(|_, body| {
        assert_eq!((body["logprobs"].as_bool(), body["top_logprobs"].as_u64()), (Some(true), Some(2)));
        stream(&[&word("one ", -0.5), &word("two", -0.25), STOP, USAGE, "[DONE]"])
    });
    let teacher = HttpTeacher::new(config(url), None, None).expect("a teacher");
    let messages = vec![Message::user("question")];
    let problem = Problem {
        id: problem_id(&messages),
        messages,
        domain: String::new(),
        reference: Reference::None,
        answer: String::new(),
        solution: None,
        source: String::new(),
        split: Split::Train,
        licence: None,
    };
    let identity = teacher.identity();
    let plain = SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 64, log_probabilities: None };
    let sampling = SamplingParams { log_probabilities: Some(2), ..plain };
    let asks =
        || -> crate::Asks<'_> { Box::new((0..3).map(|index| Ok(Ask::sample(&problem, index, &identity, &sampling)))) };
    let order = Order {
        asks: &asks,
        all: &asks,
        dataset: "d".to_owned(),
        budget: Default::default(),
        task: ("sample", "traces"),
    };
    let context =
        Context { scratch: dir.path().to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 1 };
    let answers = Answers::open(dir.path()).expect("answers");
    pump(&order, &teacher, &answers, &context).expect("answers");
    drop(answers);
    let answers = Answers::open(dir.path()).expect("answers");
    for index in 0..3 {
        let id = identity.sample_id(&problem.id, &sampling, index);
        assert_ne!(id, identity.sample_id(&problem.id, &plain, index), "a sample without them cannot serve");
        let Some((Outcome::Answered(trace), Some(text))) = answers.get_with_log_probs(&id).expect("a journal") else {
            panic!("expected an answer with log-probabilities");
        };
        assert_eq!(trace.text, "one two");
        let log_probs = LogProbs::of_text(&text).expect("log-probabilities");
        assert_eq!((log_probs.k(), told(&log_probs)), (2, words(&[("one ", -0.5), ("two", -0.25)])));
    }
    pump(&order, &teacher, &answers, &context).expect("the same");
    assert_eq!(server.calls.load(Ordering::SeqCst), 3, "nothing is bought twice");
}

#[test]
fn an_entry_without_them_is_as_it_always_was_and_is_read() {
    let ask = "{\"id\":\"i\",\"problem_id\":\"p\",\"sample_index\":0,\"text\":\"x\",\"finish_reason\":\"stop\",\"segments\":[],\"teacher\":\"t\",\"response_model\":\"m\",\"template_hash\":\"\",\"sampling\":{\"temperature\":1.0,\"top_p\":1.0,\"max_new_tokens\":9},\"seed\":1,\"prompt_tokens\":1,\"completion_tokens\":1,\"token_ids\":null,\"cost_usd\":0.0,\"finish_name\":null}";
    let old = format!("{{\"answered\":{{\"asked\":{{}},\"trace\":{ask}}}}}");
    let kept: crate::Kept = serde_json::from_str(&old).expect("an entry of the version before");
    assert!(matches!(&kept, crate::Kept::Answered { log_probs: None, .. }));
    let again = serde_json::to_string(&kept).expect("JSON");
    assert!(!again.contains("log"), "no field that older programs do not know: {again}");
}
