//! Prompts and answers as token ids: what is sent, seams within a letter after drops and kills, servers that take no ids or tell
//! none, and tokenizers that count otherwise.

use super::simulated::{SAMPLING, problem, sample, seed_of};
use super::*;
use crate::HostProfile;
use distill_simulator::{Answer as Simulated, END, Fault, Script, Shape, Simulator, decode, encode};
use serde_json::{Value, json};
use std::sync::Arc;

fn tokenizer(adds_begin: bool) -> Arc<Tokenizer> {
    Arc::new(Tokenizer {
        encode: Box::new(|text| Ok(encode(text))),
        decode: Box::new(|ids, written| {
            let bytes = decode(ids, written).ok_or_else(|| "an unknown token".to_owned())?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }),
        begin: Some("<s>".to_owned()),
        adds_begin,
        ends: vec![END],
    })
}

/// A teacher whose template begins a conversation with that text.
fn teacher(config: HttpTeacherConfig, begin: &'static str, adds_begin: bool) -> HttpTeacher {
    let render = Render {
        template_hash: "t".to_owned(),
        turn: TurnFormat::of_prompt("<think>\n"),
        render: Box::new(move |messages| Ok(format!("{begin}<user>{}<assistant><think>\n", messages[0].content))),
        tokenizer: Some(tokenizer(adds_begin)),
    };
    HttpTeacher::new(config, None, Some(render)).expect("a teacher")
}

fn at(url: String) -> HttpTeacherConfig {
    HttpTeacherConfig {
        api: Some(Api::Completions),
        host: Some("vllm".to_owned()),
        has_template: true,
        prompt_ids: Some(true),
        max_retries: 12,
        idle_timeout_s: 60,
        concurrency: 64,
        ..config(url)
    }
}

#[test]
fn a_conversation_begins_once_as_ids_and_as_text_whoever_writes_its_first_token() {
    let request = List::of(1).next().expect("a request");
    let rest = "<user>question 0<assistant><think>\n";
    for (host, written, adds, texts, ids) in [
        ("vllm", "", true, 0, 0),
        ("vllm", "<s>", true, 1, 1),
        ("vllm", "<s><s>", false, 1, 1),
        ("sglang", "<s>", true, 0, 1),
        ("sglang", "", true, 0, 1),
        ("sglang", "<s>", false, 1, 1),
        ("llama-cpp", "", false, 0, 0),
    ] {
        let config = HttpTeacherConfig { host: Some(host.to_owned()), ..at("http://a/v1".to_owned()) };
        let teacher = teacher(config, written, adds);
        let endpoint = &teacher.endpoints[0];
        let sent = |by_ids| {
            let counted = teacher.prompt(&request, endpoint, by_ids).expect("a prompt").expect("of ours");
            let tokens = counted.tokens;
            (wire::body(&teacher.config, &request, Some(counted.prompt)), tokens)
        };
        let (text, as_text) = sent(false);
        let (list, as_ids) = sent(true);
        let (text, list) = (serde_json::to_value(text).expect("JSON"), serde_json::to_value(list).expect("JSON"));
        assert_eq!(text["prompt"], json!("<s>".repeat(texts) + rest), "{host} {written:?}");
        assert_eq!(list["prompt"], json!(encode(&("<s>".repeat(ids) + rest))), "{host} {written:?}");
        assert_eq!((as_text, as_ids), (as_ids, list["prompt"].as_array().map(|ids| ids.len() as u32)));
        let asks = HostProfile::of(host).is_some_and(|host| !host.call.ids_body.is_empty());
        assert_eq!((list.get("return_token_ids").is_some(), text.get("return_token_ids")), (asks, None), "{host}");
    }
}

#[test]
fn ids_are_in_no_identity() {
    let by_text = HttpTeacherConfig { prompt_ids: Some(false), ..at("http://a/v1".to_owned()) };
    let (by_text, by_ids) = (teacher(by_text, "", true), teacher(at("http://a/v1".to_owned()), "", true));
    assert_eq!(by_text.identity().pairs(), by_ids.identity().pairs());
}

fn check(traces: &[distill_dataset::Trace], lengths: (usize, usize)) {
    for trace in traces {
        let answer = Simulated::of(seed_of(trace), lengths);
        assert_eq!(trace.text, answer.text(), "segments {:?}", trace.segments);
        let ids: Vec<u32> = (0..answer.len).map(|at| answer.id(at)).chain([END]).collect();
        assert_eq!(trace.token_ids.as_ref(), Some(&ids), "segments {:?}", trace.segments);
        let bytes: u32 = trace.segments.iter().map(|segment| segment.num_bytes).sum();
        assert_eq!(bytes as usize, trace.text.len(), "{:?}", trace.segments);
    }
}

#[test]
fn under_every_fault_ids_are_whole_and_seams_within_a_letter_go_on_from_its_half() {
    let lengths = (10, 14);
    let cuts = std::iter::repeat_n(Fault::Cut, 12);
    let faults = Fault::PASSING.into_iter().filter(|fault| *fault != Fault::Hang).chain(cuts).collect();
    let script = Script { lengths, harmed: 0.5, faults, seed: 5, ..Script::default() };
    let simulator = Simulator::start(script).expect("a server");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (pumped, traces, charged) = sample(&teacher(at(simulator.url()), "<s>", true), dir.path(), 400);
    assert_eq!((pumped.done, pumped.failed, pumped.unanswered), (400, 0, 0));
    check(&traces, lengths);
    let log = simulator.log();
    let within = log.iter().filter(|served| served.from == Simulated::of(served.seed, lengths).within()).count();
    assert!(within >= 5, "{within} seams within a letter");
    let tokens: usize = traces.iter().map(|trace| Simulated::of(seed_of(trace), lengths).len).sum();
    // A server that does not say how many tokens an answer had is believed its ids, and its last one ends the answer.
    let untold = log.iter().filter(|served| served.ended && served.fault == Some(Fault::NoUsage)).count();
    assert_eq!(charged, (tokens + untold) as u64, "the ledger has every token once");
}

/// Copies a folder as it is now: what a process leaves that is killed.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            // One that is gone by now was not there.
            false => drop(std::fs::copy(entry.path(), target)),
        }
    }
}

#[test]
fn after_a_kill_answers_go_on_from_the_ids_that_were_spooled() {
    let lengths = (60, 70);
    let slow = Simulator::start(Script { lengths, rate: Some(40.0), ..Script::default() }).expect("a server");
    let fast = Simulator::start(Script { lengths, ..Script::default() }).expect("a server");
    let (dir, left) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let traces = std::thread::scope(|scope| {
        let slow = scope.spawn(|| sample(&teacher(at(slow.url()), "<s>", true), dir.path(), 40));
        std::thread::sleep(Duration::from_millis(1000));
        copy(dir.path(), left.path());
        let (_, traces, _) = sample(&teacher(at(fast.url()), "<s>", true), left.path(), 40);
        slow.join().expect("answers");
        traces
    });
    check(&traces, lengths);
    let begun = fast.log().iter().filter(|served| served.from > 0).count();
    assert!(begun >= 30 && traces.iter().filter(|trace| trace.segments.len() > 1).count() >= 30, "{begun} went on");
}

#[test]
fn what_an_older_version_spooled_is_gone_on_from_by_its_text() {
    let lengths = (60, 70);
    let simulator = Simulator::start(Script { lengths, ..Script::default() }).expect("a server");
    let dir = tempfile::tempdir().expect("a folder");
    let teacher = teacher(at(simulator.url()), "<s>", true);
    let ask = crate::Ask::sample(&problem(0), 0, &teacher.identity(), &SAMPLING);
    let answer = Simulated::of((ask.seed & 0x7fff_ffff) as u32, lengths);
    let part: String = (0..20).map(|at| answer.token(at)).collect();
    let cost = json!({"prompt_tokens": 12, "completion_tokens": 20, "usd": 0.0, "estimated": true});
    let spooled: crate::partial::Spooled =
        serde_json::from_value(json!({"a": "1-0", "p": [0, 0], "c": part, "t": cost}))
            .expect("a line of the version before");
    let answers = crate::Answers::open(dir.path()).expect("answers");
    answers.spool(&[(ask.id, spooled)]).expect("a spool");
    drop(answers);
    let (_, traces, _) = sample(&teacher, dir.path(), 1);
    assert_eq!((traces[0].text.as_str(), traces[0].segments.len()), (answer.text().as_str(), 2));
    assert_eq!(traces[0].token_ids, None, "of the first part they are not known");
    assert_eq!(simulator.log()[0].from, 20);
}

#[test]
fn a_server_that_takes_no_ids_gets_text_and_it_is_said_once() {
    let lengths = (20, 60);
    let refusing = [
        Shape { takes_ids: false, ..Shape::default() },
        Shape { refused: vec!["return_token_ids".to_owned()], ..Shape::default() },
    ];
    for shape in refusing {
        let simulator = Simulator::start(Script { lengths, shape, ..Script::default() }).expect("a server");
        let config = HttpTeacherConfig { concurrency: 1, max_retries: 0, ..at(simulator.url()) };
        let mut list = List::of(12);
        teacher(config, "<s>", true).complete(&mut list, &Cancel::default()).expect("answers");
        for (id, answer) in &list.answers {
            let answer = answer.as_ref().expect("an answer");
            assert_eq!((&answer.text, &answer.token_ids), (&Simulated::of(7 + *id as u32, lengths).text(), &None));
        }
        let said = list.remarks.iter().filter(|remark| remark.contains("does not take token ids")).count();
        assert_eq!((said, simulator.num_requests()), (1, 13), "{:?}", list.remarks);
    }
}

#[test]
fn a_refusal_that_is_not_of_ids_is_one_of_the_request() {
    let (url, server) = serve(|_, body| {
        assert!(body["prompt"].is_array());
        (400, vec![], r#"{"error":{"message":"this model's maximum context length is 9"}}"#.to_owned())
    });
    let mut list = List::of(1);
    teacher(at(url), "", true).complete(&mut list, &Cancel::default()).expect("an outcome");
    assert!(matches!(&list.answers[&0], Err(TeacherError::Unanswerable { reason: "too-long", .. })));
    assert_eq!(server.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_tells_no_ids_is_gone_on_from_by_text_as_ids() {
    let (url, _) = serve(|call, body| {
        let ids: Vec<u32> = serde_json::from_value(body["prompt"].clone()).expect("ids");
        let prompt = String::from_utf8(decode(&ids, true).expect("known ids")).expect("text");
        match call {
            0 => stream(&[r#"{"choices":[{"text":"one 🙂 "}]}"#]),
            _ => {
                assert!(prompt.ends_with("<think>\none 🙂 "), "{prompt}");
                stream(&[r#"{"choices":[{"text":"two","finish_reason":"stop"}]}"#])
            }
        }
    });
    let mut list = List::of(1);
    teacher(at(url), "", true).complete(&mut list, &Cancel::default()).expect("an answer");
    let answer = list.answers[&0].as_ref().expect("an answer");
    assert_eq!((answer.text.as_str(), &answer.token_ids), ("one 🙂 two", &None));
}

#[test]
fn a_seam_within_a_letter_whose_rest_is_not_told_goes_on_by_text_and_loses_nothing() {
    let (url, server) = serve(|call, body| {
        let ids: Vec<u32> = serde_json::from_value(body["prompt"].clone()).expect("ids");
        let piece = |ids: Value, text: &str| json!({"choices": [{"text": text, "token_ids": ids}]}).to_string();
        match call {
            // Half of the letter, then a drop.
            0 => stream(&[&piece(json!(encode("ab")), "ab"), &piece(json!([0xf0, 0x9f]), "")]),
            1 => {
                assert!(ids.ends_with(&[0xf0, 0x9f]), "from its half");
                stream(&[&piece(Value::Null, "\u{fffd} and more"), STOP])
            }
            _ => {
                assert!(ids.ends_with(&encode("\nab")), "from the text");
                stream(&[&piece(json!(encode("🙂!")), "🙂!"), STOP])
            }
        }
    });
    let mut list = List::of(1);
    teacher(at(url), "", true).complete(&mut list, &Cancel::default()).expect("an answer");
    let answer = list.answers[&0].as_ref().expect("an answer");
    assert_eq!((answer.text.as_str(), &answer.token_ids), ("ab🙂!", &None));
    assert_eq!(server.calls.load(Ordering::SeqCst), 3);
}

#[test]
fn a_key_is_in_no_ids() {
    let (url, _) = serve(|call, _| {
        let piece = |text: &str| json!({"choices": [{"text": text, "token_ids": encode(text)}]}).to_string();
        let told: Vec<String> = ["it is sk-secret", "-0123456789abcdef", " and more"].map(piece).into();
        let end = r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#.to_owned();
        let told: Vec<String> = if call == 0 { told } else { [told, vec![end]].concat() };
        stream(&told.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let render = Render {
        template_hash: "t".to_owned(),
        turn: TurnFormat::default(),
        render: Box::new(|_| Ok("Q".to_owned())),
        tokenizer: Some(tokenizer(false)),
    };
    let key = ApiKey::new("sk-secret-0123456789abcdef".to_owned());
    let teacher = HttpTeacher::new(at(url), Some(key), Some(render)).expect("a teacher");
    let mut list = List::of(1);
    teacher.complete(&mut list, &Cancel::default()).expect("an answer");
    let secret = encode("secret");
    let spells = |ids: &[u32]| ids.windows(secret.len()).any(|ids| ids == secret);
    let told = list.pieces.iter().filter_map(|(_, piece)| piece.ids.as_ref());
    assert!(told.into_iter().all(|told| !spells(&told.ids)), "{:?}", list.pieces);
    assert_eq!(list.answers[&0].as_ref().expect("an answer").token_ids, None);
}

/// A server that tokenises as our tokenizer does, but for so many tokens more of each prompt of text, and twice as many for a
/// backslash.
fn counting(body: &Value, more: usize, backslash: usize) -> Reply {
    let ids: Vec<u32> = match &body["prompt"] {
        Value::String(text) => encode(text),
        ids => serde_json::from_value(ids.clone()).expect("ids"),
    };
    let text = String::from_utf8_lossy(&decode(&ids, false).expect("bytes")).into_owned();
    let more = if body["prompt"].is_array() { 0 } else { more + backslash * text.matches('\\').count() };
    let count = ids.len() + more;
    let ids = body.get("return_token_ids").map_or(Value::Null, |_| json!(encode("2, 3, 5")));
    let usage = json!({"prompt_tokens": count, "completion_tokens": 7});
    let choice = json!({"text": "2, 3, 5", "token_ids": ids, "finish_reason": "stop"});
    (200, Vec::new(), json!({"model": "r1", "choices": [choice], "usage": usage}).to_string())
}

/// What a look finds, whether prompts are ids from there on, and what is remarked.
fn looked_at(behaviour: Behaviour, change: fn(&mut HttpTeacherConfig)) -> (Probed, bool, Vec<String>) {
    let continuation = Some(Continuation::None);
    let mut config = HttpTeacherConfig { prompt_ids: None, continuation, ..at(serve(behaviour).0) };
    change(&mut config);
    let teacher = teacher(config, "<s>", true);
    assert_eq!(teacher.sends_ids, teacher.config.prompt_ids == Some(true), "nothing is known before");
    let probed = teacher.probe().expect("a look");
    let (teacher, remarks) = teacher.as_probed(&probed);
    (probed[0].clone(), teacher.sends_ids, remarks)
}

#[test]
fn a_look_finds_whether_ids_work_and_whether_the_tokenizer_is_ours() {
    let ours: Behaviour = |_, body| counting(body, 0, 0);
    let (probed, by_ids, remarks) = looked_at(ours, |_| {});
    assert!(by_ids && remarks.is_empty() && probed.miscounts().is_empty(), "{remarks:?}");
    assert_eq!((probed.counts.len(), probed.prompt_ids, probed.token_ids), (6, Some(true), Some(true)));
    assert!(!looked_at(ours, |config| config.prompt_ids = Some(false)).1, "as the recipe says");
    // Another tokenizer: its ids would be other words.
    let (probed, by_ids, remarks) = looked_at(|_, body| counting(body, 0, 1), |_| {});
    let wrong = probed.miscounts();
    assert!(!by_ids && wrong.len() == 1 && remarks.len() == 1, "{remarks:?}");
    let latex = probed.counts.iter().find(|count| count.text == "latex").expect("a count");
    assert_eq!(wrong[0], format!("`latex` expected {}, found {}", latex.expected, latex.found));
    assert!(remarks[0].contains(&wrong[0]) && latex.found > latex.expected);
    // A first token too many.
    let (probed, by_ids, _) = looked_at(|_, body| counting(body, 1, 0), |_| {});
    assert!(!by_ids && probed.miscounts().len() == 6);
    let (probed, by_ids, remarks) = looked_at(
        |_, body| if body["prompt"].is_array() { (422, vec![], "no".to_owned()) } else { counting(body, 0, 0) },
        |config| config.prompt_ids = Some(true),
    );
    assert_eq!((probed.prompt_ids, by_ids, remarks.len()), (Some(false), false, 1), "{remarks:?}");
}

/// The same of a chat, whose template takes forty tokens.
fn talking(body: &Value, backslash: usize) -> Reply {
    let text = body["messages"][0]["content"].as_str().unwrap_or_default();
    let usage = json!({"prompt_tokens": 40 + encode(text).len() + backslash * text.matches('\\').count()});
    let choice = json!({"message": {"content": "2, 3, 5"}, "finish_reason": "stop"});
    (200, Vec::new(), json!({"model": "r1", "choices": [choice], "usage": usage}).to_string())
}

#[test]
fn in_a_chat_differences_are_compared_so_that_the_template_does_not_matter() {
    let chat = |config: &mut HttpTeacherConfig| config.api = Some(Api::Chat);
    let (probed, by_ids, remarks) = looked_at(|_, body| talking(body, 0), chat);
    assert!(!by_ids && remarks.is_empty() && probed.counts.len() == 6, "{:?} {remarks:?}", probed.counts);
    let (probed, _, remarks) = looked_at(|_, body| talking(body, 1), chat);
    assert!(remarks.len() == 1 && probed.miscounts().len() == 1, "{remarks:?}");
}

#[test]
fn counts_are_compared_with_those_of_the_first_look() {
    let dir = tempfile::tempdir().expect("a folder");
    let compare = |probed: &Probed| Probed::compare(std::slice::from_ref(probed), dir.path()).expect("a comparison");
    let (first, ..) = looked_at(|_, body| counting(body, 0, 0), |_| {});
    let (other, ..) = looked_at(|_, body| counting(body, 0, 2), |_| {});
    let mut old = serde_json::to_value(&first).expect("JSON");
    old.as_object_mut()
        .expect("an object")
        .retain(|name, _| !["counts", "prompt-ids", "token-ids"].contains(&name.as_str()));
    let old: Probed = serde_json::from_value(old).expect("a look of the version before");
    assert!(old.counts.is_empty() && first.differences(&old).is_empty());
    assert!(compare(&first).is_empty() && compare(&first).is_empty());
    let told = compare(&other).join("; ");
    assert!(told.contains("counts tokens otherwise than before") && told.contains("`latex`"), "{told}");
}

#[test]
fn answers_whose_prompts_are_counted_otherwise_are_remarked_once() {
    let mut list = List::of(40);
    let config = |url| HttpTeacherConfig { prompt_ids: Some(false), concurrency: 2, ..at(url) };
    let (url, _) = serve(|_, body| counting(body, 1, 0));
    teacher(config(url), "<s>", true).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.answers.len() == 40 && list.answers.values().all(Result::is_ok));
    let said: Vec<_> = list.remarks.iter().filter(|remark| remark.contains("counts the tokens")).collect();
    assert!(said.len() == 1 && said[0].contains("/v1/completions: "), "{:?}", list.remarks);
    let mut list = List::of(40);
    let (url, _) = serve(|_, body| counting(body, 0, 0));
    teacher(config(url), "<s>", true).complete(&mut list, &Cancel::default()).expect("answers");
    assert!(list.remarks.is_empty(), "{:?}", list.remarks);
}
