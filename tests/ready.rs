//! Conversations that somebody has already: measured, selected, exported and trained on through the binary, with no teacher and
//! nothing bought.

use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

struct Place(tempfile::TempDir);

impl Place {
    fn new(file: &str, rows: &[Value], recipe: &str) -> Place {
        let place = Place(tempfile::tempdir().expect("a temporary folder"));
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        fs::write(place.path(file), lines).expect("a file");
        fs::write(place.path("own.toml"), recipe).expect("a recipe");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.current_dir(self.0.path()).args(words).output().expect("the binary runs")
    }

    fn done(&self, verb: &str) {
        let output = self.run(&[verb, "own.toml", "--threads", "2"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn refused(&self, verb: &str) -> String {
        let output = self.run(&[verb, "own.toml"]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn manifest(&self, label: &str) -> Value {
        let path = self.path("runs/own").join(label).join("manifest.json");
        serde_json::from_str(&fs::read_to_string(path).expect(label)).expect("JSON")
    }

    /// Rows of a stage.
    fn rows(&self, label: &str) -> Vec<serde_json::Map<String, Value>> {
        let dir = self.path("runs/own").join(label);
        let manifest = distill_dataset::Manifest::read(&dir.join("manifest.json")).expect(label);
        let dataset = distill_dataset::Dataset::new(dir, manifest);
        dataset.objects().map(|row| row.expect("a row")).collect()
    }
}

/// A sum as someone's teacher answers it.
fn turns(n: usize, answer: &str) -> Value {
    json!([{"from": "human", "value": format!("{n} + 1 = ?")}, {"from": "gpt", "value": answer}])
}

fn student() -> String {
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/nano");
    format!(
        "[student]\nbase = {{ config = {:?}, tokenizer = {nano:?} }}\n[student.training]\nepochs = 1\nbatch-size = 8\nmax-tokens = 160\nlearning-rate = 1e-3\n",
        nano.join("student.json")
    )
}

#[test]
fn a_conversation_set_is_trained_on_without_a_teacher() {
    let mut rows: Vec<Value> = (0..40)
        .map(|n| {
            // Every third was begun by its prompt, every fifth is wrong.
            let open = if n % 3 == 0 { "" } else { "<think>\n" };
            let said = if n % 5 == 0 { n } else { n + 1 };
            json!({
                "id": n, "answer": n + 1,
                "conversations": turns(n, &format!("{open}{n} and 1.\n</think>\n\n\\boxed{{{said}}}")),
            })
        })
        .collect();
    rows.push(
        json!({"answer": 1, "conversations": [{"from": "human", "value": "Call."}, {"from": "tool", "value": "1"}]}),
    );
    rows.push(json!({"answer": 1, "conversations": [{"from": "human", "value": "Nobody answers."}]}));
    let recipe = format!(
        "name = \"own\"\nseed = 1\n[[sources]]\nholdout = 4\n\
         problems = {{ jsonl = \"chats.jsonl\", columns = {{ conversation = \"conversations\", answer = \"answer\" }}, licence = \"MIT\" }}\n\
         teacher = {{ ready-traces = true, name = \"somebody's R1\" }}\n\
         [[filters]]\nkind = \"format\"\nunknown-end = false\n[[filters]]\nkind = \"verify\"\non-unknown = \"reject\"\n\
         [export]\ndataset-name = \"own\"\nlicense = \"mit\"\n{}",
        student()
    );
    let place = Place::new("chats.jsonl", &rows, &recipe);
    place.done("train");
    let ready = place.manifest("ready-traces");
    assert_eq!(ready["tally"]["rows_out"], 40);
    assert_eq!(ready["tally"]["rejected"], json!({"no-response": 1, "tool-turn": 1}));
    let rejected = fs::read_to_string(place.path("runs/own/ready-traces/rejected.jsonl")).expect("rejected rows");
    assert!(rejected.contains("\"line\":41,\"reason\":\"tool-turn\""), "{rejected}");
    let traces = place.manifest("traces");
    assert_eq!(traces["tally"]["detail"]["teacher"], "somebody's R1");
    assert_eq!(traces["tally"]["detail"]["finish_reasons"]["unknown"], traces["tally"]["rows_out"]);
    assert_eq!(
        (traces["tally"]["cost_usd"].as_f64(), traces["tally"]["completion_tokens"].as_u64()),
        (Some(0.0), Some(0))
    );
    let texts: Vec<String> =
        rows.iter().map(|row| row["conversations"][1]["value"].as_str().unwrap_or_default().to_owned()).collect();
    for trace in place.rows("traces") {
        assert!(
            texts.contains(&trace["text"].as_str().expect("a text").to_owned()),
            "a text is what was written: {trace:?}"
        );
    }
    let exported = place.rows("export");
    let wrong = |row: &serde_json::Map<String, Value>| row["correctness_math_verify"][0] != json!(true);
    assert!(!exported.is_empty() && !exported.iter().any(wrong), "the verifier's verdict decides");
    let whole = |row: &serde_json::Map<String, Value>| {
        row["generations"][0].as_str().is_some_and(|turn| turn.starts_with("<think>\n"))
    };
    assert!(exported.iter().all(whole), "a turn that its prompt began is whole in what is learnt");
    let trained = place.manifest("training");
    assert!(trained["tally"]["detail"]["steps"].as_u64().is_some_and(|steps| steps > 0), "{trained}");
    assert!(place.path("runs/own/training/model.safetensors").is_file());
}

#[test]
fn generations_keep_what_their_file_claims_and_are_judged_anew() {
    let rows = [
        json!({
            "problem": "1 + 1 = ?", "answer": "2", "finish_reasons": ["stop", "length"], "correctness_llama": [false, true],
            "generations": ["<think>\n1 and 1.\n</think>\n\n\\boxed{2}", "<think>\n1 and"], "model": "R1",
        }),
        json!({
            "problem": "2 + 2 = ?", "answer": "4", "finish_reasons": null, "correctness_llama": [true],
            "generations": ["<think>\n2 and 2.\n</think>\n\n\\boxed{5}"], "model": null,
        }),
    ];
    let recipe = "name = \"own\"\nseed = 1\n[[sources]]\n\
        problems = { jsonl = \"r1.jsonl\", columns = { question = \"problem\", answer = \"answer\", responses = \"generations\", \
        finish-reasons = \"finish_reasons\", claims = [\"correctness_llama\"], teacher = \"model\" } }\n\
        teacher = { ready-traces = true }\n[[filters]]\nkind = \"verify\"\non-unknown = \"reject\"\n\
        [export]\ndataset-name = \"own\"\nlicense = \"unknown\"\n";
    let place = Place::new("r1.jsonl", &rows, recipe);
    place.done("export");
    let mut traces = place.rows("traces");
    traces.sort_by_key(|trace| trace["text"].as_str().map(str::to_owned));
    let told: Vec<_> = traces
        .iter()
        .map(|trace| {
            (
                trace["finish_reason"].as_str().expect("a reason"),
                trace["teacher"].as_str().expect("a name"),
                &trace["claims"],
            )
        })
        .collect();
    let claim = |says: &str| json!([{"name": "correctness_llama", "says": says}]);
    assert_eq!(
        told,
        [("length", "R1", &claim("true")), ("stop", "R1", &claim("false")), ("unknown", "r1.jsonl", &claim("true")),]
    );
    let kept: Vec<_> = place.rows("selection").into_iter().filter(|row| row["kept"] == json!(true)).collect();
    assert_eq!(kept.len(), 1, "what the file claims decides nothing");
    assert_eq!(kept[0]["trace_id"], traces[1]["id"]);
    let exported = place.rows("export");
    assert_eq!((exported.len(), &exported[0]["claims"]), (1, &claim("false")), "the file's word goes with the row");
    assert_eq!(exported[0]["correctness_math_verify"], json!([true]));
}

#[test]
fn what_does_not_go_together_is_told_before_anything_is_read() {
    for (source, expected) in [
        (
            "problems = { generator = \"chain-sum\", count = 9, terms = [2, 3], first = [1, 9], operand = [1, 9] }\nteacher = { ready-traces = true }",
            "expected `responses` or `conversation` in `sources.0.problems.columns`, found neither",
        ),
        (
            "problems = { jsonl = \"a.jsonl\", columns = { question = \"q\" } }\nteacher = { ready-traces = true }",
            "expected `responses` or `conversation` in `sources.0.problems.columns`, found neither",
        ),
        (
            "problems = { jsonl = \"a.jsonl\", columns = { conversation = \"c\" } }\nteacher = { ready-traces = true }\nsampling = { samples-per-problem = 1, temperature = 0.6, max-new-tokens = 9 }",
            "expected none beside `ready-traces`, found one: nothing is sampled",
        ),
        (
            "problems = { jsonl = \"a.jsonl\", columns = { } }\nteacher = { worked-solutions = true }",
            "expected `question` or `conversation`, found neither",
        ),
        (
            "problems = { jsonl = \"a.jsonl\", columns = { conversation = \"c\" } }\nteacher = { ready-traces = false }",
            "`ready-traces` can only be true",
        ),
    ] {
        let place = Place::new("a.jsonl", &[], &format!("name = \"own\"\nseed = 1\n[[sources]]\n{source}\n"));
        let said = place.refused("sample");
        assert!(said.contains(expected), "expected {expected:?} in\n{said}");
    }
}

#[test]
fn nothing_read_is_never_success() {
    let recipe = |columns: &str| {
        format!(
            "name = \"own\"\nseed = 1\n[[sources]]\nproblems = {{ jsonl = \"a.jsonl\", columns = {{ {columns} }} }}\nteacher = {{ ready-traces = true }}\n"
        )
    };
    let conversation = "conversation = \"c\"";
    for (bytes, columns, expected) in [
        (&b""[..], conversation, "expected problems, found no row: it is empty"),
        (b"[]", conversation, "expected problems, found no row: it is empty"),
        (b"{\"c\": null}\n{\"c\": null}\n", conversation, "found none in 2 rows (2 no-question)"),
        (b"\xff\xfe{\0", conversation, "expected JSON in UTF-8, found UTF-16\nhint: `iconv"),
        (
            b"{\"c\": \"caf\xe9\"}\n",
            conversation,
            "found none in 1 rows (1 not-utf-8)\nhint: is it in another encoding?",
        ),
        (b"{\"d\": 1}\n", conversation, "expected a column `c`, found d"),
        (
            b"{\"q\": \"1?\", \"r\": null}\n",
            "question = \"q\", responses = \"r\"",
            "expected ready traces, found none in 1 rows (1 no-response)",
        ),
    ] {
        let place = Place::new("a.jsonl", &[], &recipe(columns));
        fs::write(place.path("a.jsonl"), bytes).expect("a file");
        let said = place.refused("sample");
        assert!(said.contains(expected) && said.contains("a.jsonl"), "expected {expected:?} in\n{said}");
    }
}
