//! Every host of the profiles, as its documentation describes it: path, query, key, fields, where the reasoning is and what
//! an end is called. The shapes are played by the simulator; only llama.cpp's was tried on the real server.

use super::*;
use crate::HostProfile;
use distill_simulator::{Answer as Simulated, Fault, Script, Shape, Simulator};

const LENGTHS: (usize, usize) = (20, 60);

/// A simulator that looks like that host, and the client that the profile makes.
fn host(profile: &HostProfile, refused: Vec<String>) -> (Simulator, HttpTeacher) {
    let (call, answer) = (&profile.call, &profile.answer);
    let query = call.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    let named =
        |meaning: &str| answer.finish_reasons.iter().find(|(_, to)| *to == meaning).map(|(name, _)| name.clone());
    let (header, value) = match &call.key_header {
        Some(header) => (header.to_ascii_lowercase(), "sk-secret-key".to_owned()),
        None => ("authorization".to_owned(), "Bearer sk-secret-key".to_owned()),
    };
    let shape = Shape {
        chat: format!("/base{}{query}", call.chat_path),
        completions: format!("/base{}{query}", call.completions_path),
        key: Some((header, value)),
        reasoning: Some(answer.reasoning.clone()).filter(|field| field != "text"),
        stop: named("stop").unwrap_or_else(|| "stop".to_owned()),
        length: named("length").unwrap_or_else(|| "length".to_owned()),
        cached: answer.cached_tokens.clone().unwrap_or(Shape::default().cached),
        refused,
        takes_ids: true,
        error: answer.error.clone().unwrap_or(Shape::default().error),
    };
    let simulator =
        Simulator::start(Script { lengths: LENGTHS, cached: 8, shape, ..Script::default() }).expect("a server");
    let url = format!("http://{}/base", simulator.address());
    let config = HttpTeacherConfig {
        host: Some(profile.name.to_owned()),
        model: "deepseek-ai/DeepSeek-R1".to_owned(),
        max_retries: 1,
        ..config(url)
    };
    let key = ApiKey::new("sk-secret-key".to_owned());
    (simulator, HttpTeacher::new(config, Some(key), None).expect("a teacher"))
}

#[test]
fn every_host_is_asked_and_read_as_its_documentation_says() {
    for profile in HostProfile::all() {
        let (simulator, teacher) = host(profile, Vec::new());
        let (identity, name) = (teacher.identity(), profile.name);
        assert_eq!(identity.api, profile.call.api, "{name}: a model whose prompts can be written here");
        let forced = if identity.api == "completions" { "<think>\n" } else { "" };
        assert_eq!(identity.turn.prefix, forced, "{name}");
        let answers = ask(&teacher, 4).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answers.len(), 4, "{name}");
        for (id, outcome) in answers {
            let answer = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
            let seed = if profile.call.omit.contains(&Omit::Seed) { 0 } else { 7 + id as u32 };
            let expected = Simulated::of(seed, LENGTHS);
            assert_eq!((answer.prompt_tokens, answer.cached_tokens), (12, 8), "{name}");
            let apart = identity.api == "chat" && profile.answer.reasoning != "text";
            let text = if apart {
                let tokens = |range: std::ops::Range<usize>| range.map(|at| expected.token(at)).collect::<String>();
                let half = expected.len / 2;
                TurnFormat::default().join(&tokens(0..half), &tokens(half..expected.len))
            } else {
                expected.text()
            };
            assert_eq!(
                (answer.text, answer.finish_reason, answer.finish_name),
                (text, FinishReason::Stop, None),
                "{name}"
            );
        }
        assert!(simulator.num_requests() >= 4);
    }
}

#[test]
fn what_a_host_says_of_an_error_is_told_whatever_its_shape() {
    for profile in HostProfile::all() {
        let name = profile.name;
        let (_simulator, teacher) = host(profile, vec!["max_tokens".to_owned()]);
        let error = ask(&teacher, 1).expect("an outcome").remove(&0).expect("an outcome").expect_err("a refusal");
        assert!(error.to_string().ends_with("400 Bad Request: unknown field max_tokens"), "{name}: {error}");
        if profile.answer.errors_in_200 {
            let (simulator, teacher) = host(profile, Vec::new());
            let (faults, shape) = (vec![Fault::ErrorAtOnce], simulator.shape());
            simulator.behave(Script { harmed: 1.0, faults, shape, ..Script::default() });
            let error = ask(&teacher, 1).expect("an outcome").remove(&0).expect("an outcome").expect_err("a failure");
            assert!(error.to_string().ends_with("gave up after 2 tries: simulated"), "{name}: {error}");
        }
    }
}

#[test]
fn log_probabilities_are_asked_as_a_host_takes_them() {
    for (name, expected) in [("together", [Some(5), None]), ("openrouter", [None, Some(5)])] {
        let config = HttpTeacherConfig { host: Some(name.to_owned()), ..config("http://a/v1".to_owned()) };
        let mut request = List::of(1).next().expect("a request");
        request.sampling.log_probabilities = Some(5);
        let body = serde_json::to_value(wire::body(&config, &request, None)).expect("JSON");
        assert_eq!([body["logprobs"].as_u64(), body["top_logprobs"].as_u64()], expected, "{name}: {body}");
    }
    assert!(HostProfile::of("deepseek").expect("a profile").refuses_log_probs());
}

#[test]
fn what_a_limit_leaves_out_is_reserved() {
    let request = List::of(1).next().expect("a request");
    for (name, beside) in [(None, 0), (Some("vllm"), 0), (Some("siliconflow"), 32768)] {
        let config = HttpTeacherConfig {
            host: name.map(str::to_owned),
            usd_per_million_tokens: Some([0.0, 1e6]),
            ..config("http://a/v1".to_owned())
        };
        let teacher = HttpTeacher::new(config, None, None).expect("a teacher");
        let most = u64::from(request.sampling.max_new_tokens) + beside + OVERRUN;
        assert_eq!(teacher.most_tokens(&request), most, "{name:?}");
        assert!((teacher.max_cost(&request, Currency::USD) - most as f64).abs() < 1e-6, "{name:?}");
    }
}

#[test]
fn without_its_key_a_host_refuses_and_the_key_is_not_repeated() {
    let azure = HostProfile::of("azure").expect("a profile");
    let (simulator, _) = host(azure, Vec::new());
    let url = format!("http://{}/base", simulator.address());
    let config = HttpTeacherConfig { host: Some("azure".to_owned()), ..config(url) };
    let wrong = ApiKey::new("sk-another-key".to_owned());
    let teacher = HttpTeacher::new(config, Some(wrong), None).expect("a teacher");
    let error = ask(&teacher, 1).expect_err("a refusal").to_string();
    assert!(error.contains("401") && !error.contains("sk-another-key"), "{error}");
}

#[test]
fn fields_of_the_recipe_are_sent_beside_ours_and_change_who_answers() {
    let url = "http://127.0.0.1:1/v1".to_owned();
    let body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(r#"{"top_k": 20, "min_p": 0.05}"#).expect("JSON");
    let config = HttpTeacherConfig { body, host: Some("vllm".to_owned()), ..config(url) };
    assert_eq!(config.check(), Ok(()));
    assert_ne!(config.asked(None), HttpTeacherConfig { body: serde_json::Map::new(), ..config.clone() }.asked(None));
    let taken = HttpTeacherConfig { body: serde_json::from_str(r#"{"seed": 1}"#).expect("JSON"), ..config.clone() };
    assert!(taken.check().expect_err("a refusal").contains("`body`"));
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer x".to_owned())]);
    let error = HttpTeacherConfig { headers, ..config.clone() }.check().expect_err("a refusal");
    assert!(error.contains("api-key-env") && !error.contains("Bearer"), "{error}");
    for (name, variable, expected) in [
        ("X-Tenant", "TENANT", None),
        ("X-Tenant", "sk-secret-itself", Some("the name of an environment variable")),
        ("X Tenant", "TENANT", Some("expected a header")),
    ] {
        let headers_env = BTreeMap::from([(name.to_owned(), variable.to_owned())]);
        let error = HttpTeacherConfig { headers_env, ..config.clone() }.check().err();
        assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
        assert!(error.is_none_or(|error| error.contains(expected.unwrap_or_default()) && !error.contains("sk-secret")));
    }
}

#[test]
fn servers_that_were_launched_are_asked_at_the_addresses_that_they_registered() {
    let launched = HttpTeacherConfig { url: String::new(), is_launched: true, ..config(String::new()) };
    assert_eq!(launched.check(), Ok(()), "none is known when the recipe is read");
    let simulator = Simulator::start(Script { lengths: LENGTHS, ..Script::default() }).expect("a server");
    let endpoints = vec![EndpointConfig { url: simulator.url(), ..EndpointConfig::default() }];
    let teacher = HttpTeacher::new(HttpTeacherConfig { endpoints, ..launched }, None, None).expect("a teacher");
    assert_eq!(ask(&teacher, 2).expect("answers").len(), 2);
}
