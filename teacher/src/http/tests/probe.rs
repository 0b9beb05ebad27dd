//! What a look at an endpoint learns: of one that can everything, one that refuses fields, one that begins anew, and one behind
//! whose name another model stands than before.

use super::*;
use serde_json::{Value, json};

const WORDS: &str = "2, 3, 5, 7, 11, 13, 17, 19";

/// A chat server that answers in one piece. `n`, log-probabilities, seeds and prefixed turns work.
fn able(_: usize, body: &Value) -> Reply {
    let begun = body["messages"].as_array().and_then(|turns| turns.last()).filter(|turn| turn["role"] == "assistant");
    let begun = begun.and_then(|turn| turn["content"].as_str()).unwrap_or_default();
    let text = match body["temperature"].as_f64() {
        Some(0.0) if !begun.is_empty() => "11, 7, 5, 3, 2".to_owned(),
        Some(0.0) => WORDS.to_owned(),
        _ => format!("drawn with {}", body["seed"]),
    };
    let mut choice = json!({"message": {"content": text}, "finish_reason": "stop"});
    if body["logprobs"] == json!(true) {
        choice["logprobs"] = json!({"content": [{"token": "2", "logprob": -0.1}, {"token": ",", "logprob": -0.2}]});
    }
    let count = body["n"].as_u64().unwrap_or(1) as usize;
    let value = json!({
        "model": "r1", "choices": vec![choice; count], "usage": {"prompt_tokens": 20, "completion_tokens": 8},
    });
    (200, Vec::new(), value.to_string())
}

/// The same, of another model.
fn other(number: usize, body: &Value) -> Reply {
    let (status, headers, text) = able(number, body);
    let text = text.replace("\"r1\"", "\"v4-flash\"").replace(":20,", ":23,").replace("-0.2", "-1.2");
    (status, headers, text.replace("\"prompt_tokens\":20", "\"prompt_tokens\":23"))
}

/// It refuses `seed`, `n` and log-probabilities, begins every answer anew, and tells reasoning apart.
fn unable(_: usize, body: &Value) -> Reply {
    if body.get("seed").is_some() || body.get("n").is_some() || body.get("logprobs").is_some() {
        return (400, Vec::new(), json!({"error": {"message": "unknown field"}}).to_string());
    }
    let message = json!({"reasoning_content": WORDS, "content": "done"});
    (200, Vec::new(), json!({"model": "r1", "choices": [{"message": message, "finish_reason": "stop"}]}).to_string())
}

fn teacher(behaviour: Behaviour) -> HttpTeacher {
    let config = HttpTeacherConfig { continuation: Some(Continuation::Prefix), ..config(serve(behaviour).0) };
    HttpTeacher::new(config, None, None).expect("a teacher")
}

fn look(teacher: &HttpTeacher) -> Probed {
    teacher.probe().expect("a look").pop().expect("an endpoint")
}

#[test]
fn what_an_endpoint_can_is_learned_and_changes_nothing() {
    let teacher = teacher(able);
    let probed = look(&teacher);
    assert_eq!((probed.model.as_str(), probed.reasoning.as_deref()), ("r1", Some("text")));
    assert_eq!(
        (probed.seed, probed.n, probed.logprobs, probed.continues),
        (Some(true), Some(true), Some(true), Some(true))
    );
    assert_eq!((probed.prompt_tokens, probed.answer.as_str()), (Some(20), WORDS));
    assert_eq!(probed.token_logprobs, [-0.1, -0.2]);
    assert_eq!(probed.spent_tokens, 6 * 28);
    let (teacher, remarks) = teacher.as_probed(&[probed]);
    assert!(remarks.is_empty() && teacher.continues(), "{remarks:?}");
}

#[test]
fn what_an_endpoint_cannot_is_not_asked_of_it() {
    let teacher = teacher(unable);
    let probed = look(&teacher);
    assert_eq!(probed.reasoning.as_deref(), Some("reasoning_content"));
    assert_eq!(
        (probed.seed, probed.n, probed.logprobs, probed.continues),
        (None, Some(false), Some(false), Some(false))
    );
    assert_eq!(probed.refuses, ["seed"]);
    let (teacher, remarks) = teacher.as_probed(&[probed]);
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(!teacher.continues() && teacher.config.omits(Omit::Seed));
}

#[test]
fn another_model_behind_the_same_name_is_told_and_the_same_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, again, changed) = (look(&teacher(able)), look(&teacher(able)), look(&teacher(other)));
    let compare = |probed: &Probed| Probed::compare(std::slice::from_ref(probed), dir.path()).expect("a comparison");
    assert!(compare(&first).is_empty() && compare(&again).is_empty());
    let told = compare(&changed).join("; ");
    for part in ["`r1`", "`v4-flash`", "20 tokens", "23 now", "moved by 1.00"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let looks = std::fs::read_to_string(dir.path().join("looks.jsonl")).expect("looks");
    assert_eq!(looks.lines().count(), 3, "every look is kept");
}

#[test]
fn a_model_that_has_no_likeness_to_the_one_that_was_asked_for_is_remarked() {
    let teacher = teacher(other);
    let probed = look(&teacher);
    let remarks = teacher.as_probed(&[probed]).1;
    assert!(remarks.len() == 1 && remarks[0].contains("`r1`") && remarks[0].contains("`v4-flash`"), "{remarks:?}");
}

#[test]
fn an_endpoint_that_is_away_is_told_as_such() {
    let config = config("http://127.0.0.1:9/v1".to_owned());
    let probed = look(&HttpTeacher::new(config, None, None).expect("a teacher"));
    assert!(probed.fault.as_deref().is_some_and(|fault| fault.contains("127.0.0.1:9")), "{probed:?}");
    let dir = tempfile::tempdir().expect("a folder");
    assert!(Probed::compare(&[probed], dir.path()).expect("nothing to compare").is_empty());
    assert!(!dir.path().join("first-look.json").exists(), "it is no first look");
}

/// A server that says the key wherever it says something.
fn telling(_: usize, body: &Value) -> Reply {
    let key = "sk-a1b2c3d4e5f6";
    if body.get("n").is_some() {
        return (400, Vec::new(), json!({"error": {"message": key}}).to_string());
    }
    let message = json!({"reasoning": key, "content": key});
    (200, Vec::new(), json!({"model": key, "choices": [{"message": message, "finish_reason": key}]}).to_string())
}

#[test]
fn a_key_that_a_server_repeats_is_in_no_look() {
    let key = || ApiKey::new("sk-a1b2c3d4e5f6".to_owned());
    let dir = tempfile::tempdir().expect("a folder");
    for behaviour in
        [telling as Behaviour, |_, _| (401, Vec::new(), "{\"error\": \"sk-\\u00611b2c3d4e5f6\"}".to_owned())]
    {
        let teacher = HttpTeacher::new(config(serve(behaviour).0), Some(key()), None).expect("a teacher");
        let probed = teacher.probe().expect("a look");
        let _ = Probed::compare(&probed, dir.path()).expect("a comparison");
        assert!(!format!("{probed:?}").contains("a1b2c3d4e5f6"), "{probed:?}");
    }
    for entry in std::fs::read_dir(dir.path()).expect("a folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a look");
        assert!(!text.contains("a1b2c3d4e5f6"), "{text}");
    }
}
