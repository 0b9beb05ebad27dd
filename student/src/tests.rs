//! The trainer as a stage: exact resume, micro-batches, divergence, and a student that really learns.

mod tokens;

use crate::{
    Answers, Base, Checkpointing, Compute, Overlong, Schedule, Select, States, Surgery, TrainError, TrainingConfig,
    adapt, initialise, train,
};
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_dataset::{Cancel, Context, Dataset, Detail, Example, Message, Progress, ProgressEvent, Tally};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

fn nano() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/nano")
}

pub(crate) fn config() -> TrainingConfig {
    TrainingConfig {
        epochs: 3,
        batch_size: 4,
        micro_batch_size: None,
        max_tokens: 64,
        overlong: Overlong::Drop,
        packing: false,
        learning_rate: 1e-2,
        schedule: Schedule::Cosine,
        min_learning_rate_ratio: 0.1,
        warmup_ratio: 0.1,
        decay_ratio: 0.1,
        weight_decay: 0.1,
        decay_embeddings: true,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        max_grad_norm: 1.0,
        z_loss: 0.0,
        freeze: Vec::new(),
        checkpointing: Checkpointing::Auto,
        compute: Compute::Auto,
        states: States::Float32,
        max_skipped_steps: 0,
        holdout_examples: 0,
        evaluate_every: 5,
        patience: None,
        select: Select::Last,
        keep_states: 2,
        save_every_seconds: 10.0,
        answers: Answers::Own,
    }
}

struct Bench {
    root: tempfile::TempDir,
    examples: Dataset,
}

impl Bench {
    /// A tiny base of random weights and 21 sums.
    fn new() -> Bench {
        let root = tempfile::tempdir().expect("a temporary folder");
        let shape = ModelConfig::from_json(
            r#"{"model_type": "qwen2", "vocab_size": 272, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "initializer_range": 0.02}"#,
        )
        .expect("a shape");
        let path = root.path().join("config.json");
        fs::write(&path, shape.to_json()).expect("a file");
        let folder = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            folder
        };
        let (base, data) = (folder("base"), folder("examples"));
        initialise(&path, &nano(), "cpu", &context(root.path()), &base).expect("a base");
        let examples = (0..21).map(|index| Example {
            trace_id: index.to_string(),
            problem_id: index.to_string(),
            messages: vec![
                Message::user(format!("What is {index}+{}?", index % 5)),
                Message::assistant(format!("<think>\n</think>\n\n\\boxed{{{}}}", index + index % 5)),
            ],
            weight: 1.0,
        });
        let examples = Dataset::write(&data, examples).expect("examples");
        Bench { root, examples }
    }

    /// Trains the base on the sums, into the folder of that name.
    fn run(&self, name: &str, config: &TrainingConfig, context: &Context) -> Result<Tally, TrainError> {
        self.run_by("cpu", name, config, context)
    }

    fn run_by(
        &self,
        device: &str,
        name: &str,
        config: &TrainingConfig,
        context: &Context,
    ) -> Result<Tally, TrainError> {
        let out = self.root.path().join(name);
        fs::create_dir_all(&out).expect("a folder");
        let base = self.root.path().join("base");
        train(Base::new(&base), std::slice::from_ref(&self.examples), config, device, context, &out)
    }

    /// The weights that come of it where nothing is left out.
    fn train(&self, name: &str, config: &TrainingConfig, context: &Context) -> Result<Vec<u8>, TrainError> {
        let tally = self.run(name, config, context)?;
        assert_eq!(tally.rows_out, 21);
        Ok(self.weights(name))
    }

    fn weights(&self, name: &str) -> Vec<u8> {
        fs::read(self.root.path().join(name).join("model.safetensors")).expect("weights")
    }

    /// The losses of all steps.
    fn losses(&self, name: &str, config: &TrainingConfig) -> Vec<f64> {
        self.train(name, config, &self.scratch(&format!("s-{name}"))).expect("a run");
        let text = fs::read_to_string(self.root.path().join(name).join("metrics.jsonl")).expect("metrics");
        let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["loss"].as_f64();
        text.lines().map(|line| loss(line).expect("a loss")).collect()
    }

    fn scratch(&self, name: &str) -> Context {
        let scratch = self.root.path().join(name);
        fs::create_dir_all(&scratch).expect("a folder");
        context(&scratch)
    }
}

fn context(scratch: &Path) -> Context {
    Context { scratch: scratch.to_owned(), cancel: Cancel::default(), progress: Progress::hidden(), seed: 17 }
}

/// A context in which a stop is asked for at that step.
fn stopping_at(step: u64, context: &Context) -> Context {
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let progress = Progress::new(move |event| {
        if matches!(event, ProgressEvent::Advance { done, .. } if done == step) {
            stop.cancel();
        }
    });
    Context { cancel, progress, ..context.clone() }
}

#[test]
fn a_run_that_was_stopped_twice_ends_with_the_same_weights_and_metrics() {
    let bench = Bench::new();
    let whole = bench.train("whole", &config(), &bench.scratch("s-whole")).expect("a run");
    let scratch = bench.scratch("s-parts");
    for step in [5, 11] {
        let stopped = bench.train("parts", &config(), &stopping_at(step, &scratch));
        assert!(matches!(stopped, Err(TrainError::Interrupted(_))));
    }
    let parts = bench.train("parts", &config(), &scratch).expect("the rest");
    assert!(whole == parts, "a resumed run must end with the very same weights");
    let metrics = |name: &str| fs::read_to_string(bench.root.path().join(name).join("metrics.jsonl")).expect("metrics");
    assert_eq!(metrics("whole"), metrics("parts"));
    let events = |name: &str| {
        let mut folder = fs::read_dir(bench.root.path().join(name).join("tensorboard")).expect("a folder");
        let bytes = fs::read(folder.next().expect("a file").expect("an entry").path()).expect("events");
        assert!(folder.next().is_none(), "{name}: one event file, however often the run was resumed");
        bytes
    };
    assert!(events("whole") == events("parts"), "event files do not tell of resumes");
    assert_eq!(metrics("whole").lines().count(), 18, "3 epochs of 6 steps");
}

#[test]
fn a_device_s_run_that_was_stopped_ends_with_the_same_weights() {
    let bench = Bench::new();
    for states in [States::Float32, States::Bfloat16] {
        let config = TrainingConfig { states, epochs: 1, packing: true, ..config() };
        let name = |kind: &str| format!("{kind}-{states:?}");
        bench.run_by("flex", &name("whole"), &config, &bench.scratch(&name("s-whole"))).expect("a run");
        let scratch = bench.scratch(&name("s-parts"));
        let stopped = bench.run_by("flex", &name("parts"), &config, &stopping_at(1, &scratch));
        assert!(matches!(stopped, Err(TrainError::Interrupted(_))));
        bench.run_by("flex", &name("parts"), &config, &scratch).expect("the rest");
        let same = bench.weights(&name("whole")) == bench.weights(&name("parts"));
        assert!(same, "{states:?}: a resumed run must end with the very same weights");
    }
}

#[test]
fn what_is_no_number_on_a_device_ends_the_training_named_and_saves_nothing() {
    let bench = Bench::new();
    let hot = TrainingConfig {
        learning_rate: 1e20,
        max_grad_norm: 1e30,
        epochs: 30,
        max_skipped_steps: 7,
        save_every_seconds: 0.0,
        ..config()
    };
    let context = bench.scratch("s-hot");
    let error = bench.run_by("flex", "hot", &hot, &context).expect_err("no number").to_string();
    assert!(error.contains("the first gradient that is not finite: model."), "{error}");
    assert!(!bench.root.path().join("hot/model.safetensors").exists(), "nothing is published");
    let metrics = fs::read_to_string(context.scratch.join("metrics.jsonl")).expect("metrics");
    assert!(!metrics.contains("null"), "the step that failed is not written down: {metrics}");
    let steps = metrics.lines().count() as u64;
    let newest = crate::state::saved(&context.scratch).last().map(|(step, _)| *step);
    assert!(newest.is_none_or(|step| step <= steps), "no state of the step that failed");
}

#[test]
fn micro_batches_take_the_same_step_as_the_whole_batch() {
    let bench = Bench::new();
    let whole = bench.losses("whole", &config());
    let micro = bench.losses("micro", &TrainingConfig { micro_batch_size: Some(1), ..config() });
    for (step, (whole, micro)) in whole.iter().zip(&micro).enumerate() {
        assert!((whole - micro).abs() < 2e-3 * whole, "step {step}: {whole} with one batch, {micro} with four");
    }
    assert!(whole[17] < whole[0] * 0.8, "the loss falls: {whole:?}");
}

#[test]
fn packed_examples_take_the_same_steps_as_separate_ones() {
    let bench = Bench::new();
    // One step an epoch, so that packing cannot change which examples are learnt together.
    let config = TrainingConfig { batch_size: 64, epochs: 4, ..config() };
    let plain = bench.losses("plain", &config);
    let packed = bench.losses("packed", &TrainingConfig { packing: true, ..config.clone() });
    let tensors = bench.losses("again", &TrainingConfig { checkpointing: Checkpointing::Always, ..config });
    assert_eq!(plain, tensors, "computed again or kept");
    for (step, (plain, packed)) in plain.iter().zip(&packed).enumerate() {
        assert!((plain - packed).abs() < 1e-4 * plain, "step {step}: {plain} apart, {packed} packed");
    }
}

#[test]
fn a_step_that_is_no_number_is_skipped_and_counted() {
    let bench = Bench::new();
    // Weights so large that every logarithm of a sum overflows.
    let hot = TrainingConfig {
        learning_rate: 1.0,
        max_grad_norm: 1e30,
        weight_decay: 10.0,
        epochs: 300,
        max_skipped_steps: 7,
        ..config()
    };
    let context = bench.scratch("s-hot");
    match bench.train("hot", &hot, &context) {
        Err(TrainError::Diverged { skipped, .. }) => assert_eq!(skipped, 8),
        other => panic!("expected divergence, found {:?}", other.map(|weights| weights.len())),
    }
    let text = fs::read_to_string(context.scratch.join("metrics.jsonl")).expect("metrics");
    assert_eq!(text.lines().filter(|line| line.contains("null")).count(), 7, "skipped steps are written down as such");
}

#[test]
fn held_out_examples_are_looked_at_and_end_a_run_that_learns_no_more() {
    let bench = Bench::new();
    let config = TrainingConfig {
        holdout_examples: 6,
        evaluate_every: 2,
        patience: Some(2),
        select: Select::Best,
        epochs: 60,
        learning_rate: 5e-2,
        ..config()
    };
    let context = bench.scratch("s-held");
    let tally = bench.run("held", &config, &context).expect("a run");
    assert_eq!(tally.rows_out, 15, "six of 21 are not learnt");
    let Detail::Training { steps, holdout_loss, .. } = tally.detail else { panic!("training detail") };
    assert!(steps < 240, "training ended after {steps} steps");
    let least = holdout_loss.y.iter().copied().fold(f64::INFINITY, f64::min);
    let place = holdout_loss.y.iter().position(|loss| *loss == least).expect("the least");
    assert_eq!(place + 3, holdout_loss.y.len(), "two looks after the best: {holdout_loss:?}");
    // The weights that were written are those of the best look.
    let best = format!("step-{:08}", holdout_loss.x[place] as u64);
    let saved = Checkpoint::open(&context.scratch.join(best)).expect("the best state is kept");
    let written = Checkpoint::open(&bench.root.path().join("held")).expect("the result");
    for (name, shape) in written.config().layout() {
        assert_eq!(
            written.read(&name, &shape).expect("weights"),
            saved.read(&name, &shape).expect("weights"),
            "{name}"
        );
    }
}

#[test]
fn long_examples_are_dropped_cut_or_split_as_asked() {
    let bench = Bench::new();
    let tally = |name: &str, overlong: Overlong| {
        let config = TrainingConfig { max_tokens: 20, epochs: 1, overlong, ..config() };
        bench.run(name, &config, &bench.scratch(&format!("s-{name}")))
    };
    let dropped = tally("dropped", Overlong::Drop).expect("a run");
    assert_eq!((dropped.rows_out, dropped.rejected["too-long"]), (10, 11));
    let cut = tally("cut", Overlong::Truncate).expect("a run");
    assert_eq!((cut.rows_out, cut.rejected["truncated"]), (21, 11));
    let split = tally("split", Overlong::Split).expect("a run");
    assert_eq!((split.rows_out, split.rejected["split"]), (21, 11));
    assert!(split.trained_tokens > cut.trained_tokens, "the pieces hold more than what is left after a cut");
}

#[test]
fn frozen_parameters_stay_as_they_are() {
    let bench = Bench::new();
    let config = TrainingConfig { freeze: vec!["model.layers.0.*".to_owned()], epochs: 1, ..config() };
    bench.train("frozen", &config, &bench.scratch("s-frozen")).expect("a run");
    let open = |name: &str| Checkpoint::open(&bench.root.path().join(name)).expect("a checkpoint");
    let (before, after) = (open("base"), open("frozen"));
    for (name, shape) in before.config().layout() {
        let same = before.read(&name, &shape).expect("weights") == after.read(&name, &shape).expect("weights");
        assert_eq!(same, name.starts_with("model.layers.0."), "{name}");
    }
    let config = TrainingConfig { freeze: vec!["model.layer.*".to_owned()], ..config };
    let error = bench.train("none", &config, &bench.scratch("s-none")).expect_err("no such parameter").to_string();
    assert!(error.contains("no parameter matches \"model.layer.*\""), "{error}");
}

#[test]
fn saved_states_are_the_last_few() {
    let bench = Bench::new();
    let context = bench.scratch("s-few");
    for stop_at in [3, 5, 8, 11] {
        let stopped = bench.train("few", &config(), &stopping_at(stop_at, &context));
        assert!(matches!(stopped, Err(TrainError::Interrupted(_))));
    }
    let saved: Vec<u64> = crate::state::saved(&context.scratch).into_iter().map(|(step, _)| step).collect();
    assert_eq!(saved, [8, 11]);
}

/// A context in which a stop is asked for when the training begins: inside its first step.
fn stopping_at_once(context: &Context) -> Context {
    let cancel = Cancel::default();
    let stop = cancel.clone();
    let progress = Progress::new(move |event| {
        if matches!(event, ProgressEvent::Begin { task, .. } if task == "train") {
            stop.cancel();
        }
    });
    Context { cancel, progress, ..context.clone() }
}

#[test]
fn a_stop_inside_a_step_or_a_look_is_as_if_it_had_not_been() {
    let bench = Bench::new();
    let config = TrainingConfig {
        holdout_examples: 6,
        evaluate_every: 2,
        select: Select::Best,
        save_every_seconds: 0.0,
        ..config()
    };
    bench.run("whole", &config, &bench.scratch("s-whole")).expect("a run");
    let scratch = bench.scratch("s-parts");
    // Before any step; after the step before a look, which is then owed; inside the step after.
    for context in [stopping_at_once(&scratch), stopping_at(4, &scratch), stopping_at_once(&scratch)] {
        let stopped = bench.run("parts", &config, &context);
        assert!(matches!(stopped, Err(TrainError::Interrupted(_))), "{stopped:?}");
    }
    bench.run("parts", &config, &scratch).expect("the rest");
    assert!(bench.weights("whole") == bench.weights("parts"), "the very same weights");
    let metrics = |name: &str| fs::read_to_string(bench.root.path().join(name).join("metrics.jsonl")).expect("metrics");
    assert_eq!(metrics("whole"), metrics("parts"), "every step and every look once");
}

#[test]
fn a_training_goes_on_whatever_now_says_how_to_run_it() {
    let bench = Bench::new();
    let whole = bench.train("whole", &config(), &bench.scratch("s-whole")).expect("a run");
    let scratch = bench.scratch("s-parts");
    let stopped = bench.train("parts", &config(), &stopping_at(7, &scratch));
    assert!(matches!(stopped, Err(TrainError::Interrupted(_))));
    let first = std::sync::Arc::new(Mutex::new(None));
    let seen = first.clone();
    let progress = Progress::new(move |event| {
        if let ProgressEvent::Advance { done, .. } = event {
            seen.lock().expect("a lock").get_or_insert(done);
        }
    });
    let other = TrainingConfig {
        save_every_seconds: 0.0,
        keep_states: 5,
        checkpointing: Checkpointing::Always,
        evaluate_every: 3,
        ..config()
    };
    let key = |config: &TrainingConfig| serde_json::to_string(&config.keyed()).expect("JSON");
    assert_eq!(key(&config()), key(&other), "the key of the stage, and with it the scratch space, is the same");
    let parts = bench.train("parts", &other, &Context { progress, ..scratch }).expect("the rest");
    assert_eq!(*first.lock().expect("a lock"), Some(8), "it goes on after the saved step");
    assert!(whole == parts, "and ends with the very same weights");
}

#[test]
fn a_damaged_state_costs_the_steps_since_the_one_before() {
    let bench = Bench::new();
    let config = TrainingConfig { save_every_seconds: 0.0, keep_states: 100, ..config() };
    let whole = bench.train("whole", &config, &bench.scratch("s-whole")).expect("a run");
    let scratch = bench.scratch("s-damaged");
    assert!(matches!(bench.train("parts", &config, &stopping_at(7, &scratch)), Err(TrainError::Interrupted(_))));
    let saved = crate::state::saved(&scratch.scratch);
    let (newest, before, earlier) = (&saved[saved.len() - 1], &saved[saved.len() - 2], &saved[saved.len() - 3]);
    // One bit of the newest is wrong, the one before is cut off.
    let weights = newest.1.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("a state");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).expect("a damaged file");
    let weights = before.1.join("model.safetensors");
    let bytes = fs::read(&weights).expect("a state");
    fs::write(&weights, &bytes[..bytes.len() / 2]).expect("a cut file");
    let first = std::sync::Arc::new(Mutex::new(None));
    let seen = first.clone();
    let progress = Progress::new(move |event| {
        if let ProgressEvent::Advance { done, .. } = event {
            seen.lock().expect("a lock").get_or_insert(done);
        }
    });
    let parts = bench.train("parts", &config, &Context { progress, ..scratch }).expect("the rest");
    assert_eq!(*first.lock().expect("a lock"), Some(earlier.0 + 1), "it goes on after the newest whole state");
    assert!(whole == parts, "and ends with the very same weights");
}

#[test]
fn a_run_that_ended_early_stays_ended_and_leaves_nothing_unfinished() {
    let bench = Bench::new();
    let config = TrainingConfig {
        holdout_examples: 6,
        evaluate_every: 2,
        patience: Some(2),
        epochs: 60,
        learning_rate: 5e-2,
        save_every_seconds: 0.0,
        ..config()
    };
    bench.run("whole", &config, &bench.scratch("s-whole")).expect("a run");
    let metrics = fs::read_to_string(bench.root.path().join("whole/metrics.jsonl")).expect("metrics");
    let steps = metrics.lines().filter(|line| line.contains("grad_norm")).count() as u64;
    assert!(steps < 240, "training ended after {steps} steps");
    // Asked to stop at the very step after which it ends.
    let scratch = bench.scratch("s-parts");
    assert!(matches!(bench.run("parts", &config, &stopping_at(steps, &scratch)), Err(TrainError::Interrupted(_))));
    // And killed before while it wrote a state.
    let unfinished = scratch.scratch.join("step-00000003.tmp");
    fs::create_dir_all(&unfinished).expect("a folder");
    fs::write(unfinished.join("model.safetensors"), "half").expect("a file");
    bench.run("parts", &config, &scratch).expect("the rest");
    assert!(bench.weights("whole") == bench.weights("parts"), "no step is taken after the end");
    assert_eq!(metrics, fs::read_to_string(bench.root.path().join("parts/metrics.jsonl")).expect("metrics"));
    assert!(!unfinished.exists(), "what a kill left unfinished is removed");
}

#[test]
fn examples_that_are_too_long_are_counted_and_none_left_is_an_error() {
    let bench = Bench::new();
    let config = TrainingConfig { max_tokens: 5, ..config() };
    let error = bench.train("short", &config, &bench.scratch("s-short")).expect_err("nothing fits");
    assert!(error.to_string().contains("too-long"), "{error}");
}

#[test]
fn the_manifest_tells_of_the_training() {
    let bench = Bench::new();
    let tally = bench.run("told", &config(), &bench.scratch("s-told")).expect("a run");
    let Detail::Training { steps, num_parameters, loss, .. } = tally.detail else { panic!("training detail") };
    let stored: usize = {
        let checkpoint = Checkpoint::open(&bench.root.path().join("told")).expect("a checkpoint");
        checkpoint.config().num_parameters()
    };
    assert_eq!((steps, num_parameters as usize, loss.x.len()), (18, stored, 18));
    assert!(tally.trained_tokens > 1000);
}

#[test]
fn surgery_changes_what_it_says_and_nothing_else() {
    let bench = Bench::new();
    let (base, out) = (bench.root.path().join("base"), bench.root.path().join("adapted"));
    fs::create_dir_all(&out).expect("a folder");
    let surgery = Surgery {
        rope_theta: Some(300_000.0),
        max_position_embeddings: Some(4096),
        // Ids 268 to 271 are rows that nothing used, 272 and 273 new ones.
        add_tokens: ["<a>", "<b>", "<c>", "<d>", "<e>"].map(str::to_owned).to_vec(),
        add_special_tokens: vec!["<|stop|>".to_owned()],
    };
    surgery.check().expect("sound surgery");
    adapt(&base, &surgery, None, None, &Cancel::default(), &out).expect("an adapted checkpoint");
    let (before, after) =
        (Checkpoint::open(&base).expect("the base"), Checkpoint::open(&out).expect("the adapted checkpoint"));
    let (old, new) = (before.config(), after.config());
    assert_eq!((new.rope.theta, new.max_position_embeddings, new.vocab_size), (300_000.0, 4096, 274));
    for (name, shape) in new.layout() {
        let (mut old_shape, values) = (shape.clone(), after.read(&name, &shape).expect("weights"));
        if name == "model.embed_tokens.weight" {
            old_shape[0] = old.vocab_size;
            let embedding = before.read(&name, &old_shape).expect("weights");
            let width = old.hidden_size;
            assert_eq!(values[..268 * width], embedding[..268 * width], "known rows stay");
            for row in 268..274 {
                for column in 0..width {
                    let mean: f64 = (0..268).map(|row| f64::from(embedding[row * width + column])).sum::<f64>() / 268.0;
                    assert_eq!(values[row * width + column], mean as f32, "row {row} is the mean of the known ones");
                }
            }
        } else {
            assert_eq!(values, before.read(&name, &old_shape).expect("weights"), "{name}");
        }
    }
    let chat = distill_chat::Chat::load(&out).expect("the tokenizer");
    assert_eq!(chat.encode("<a><e><|stop|>").expect("tokens"), [268, 272, 273]);
    assert!(chat.find_special("x<|stop|>").is_some(), "a control token cannot be spelt in a message");
    assert!(chat.find_special("<a>").is_none(), "a text token can");
    let again = Surgery { add_tokens: vec!["<think>".to_owned()], ..Surgery::default() };
    let error =
        adapt(&base, &again, None, None, &Cancel::default(), &out).expect_err("a token that exists").to_string();
    assert!(error.contains("\"<think>\" exists already"), "{error}");
    let stopped = Cancel::default();
    stopped.cancel();
    let error = adapt(&base, &Surgery::default(), None, None, &stopped, &out).expect_err("a stop was asked for");
    assert!(matches!(error, TrainError::Interrupted(_)), "{error}");
}

#[test]
fn a_student_is_trained_with_one_template_and_published_with_another() {
    let bench = Bench::new();
    let (base, out) = (bench.root.path().join("base"), bench.root.path().join("out"));
    fs::create_dir_all(&out).expect("a folder");
    let own = fs::read_to_string(base.join("chat_template.jinja")).expect("the base's template");
    let write = |name: &str, text: &str| {
        let path = bench.root.path().join(name);
        fs::write(&path, text).expect("a template");
        path
    };
    // As models are published: earlier reasoning is dropped, nothing says what carries loss.
    let plain = own.replace("{%- generation %}", "").replace("{%- endgeneration %}", "");
    let plain = plain.replace("{% generation %}", "").replace("{% endgeneration %}", "");
    assert_ne!(plain, own, "the base's template marks what carries loss");
    fs::write(base.join("chat_template.jinja"), &plain).expect("a template");
    let training = write("training.jinja", &own);
    let examples = std::slice::from_ref(&bench.examples);
    let context = bench.scratch("s-two");
    let unmarked = train(Base::new(&base), examples, &config(), "cpu", &context, &out).expect_err("no loss");
    assert!(unmarked.to_string().contains("{% generation %}"), "{unmarked}");

    let with = |publish_template| Base { dir: &base, chat_template: Some(&training), publish_template };
    let tally = train(with(None), examples, &config(), "cpu", &context, &out).expect("a run");
    let Detail::Training { trained_with, published_with, .. } = tally.detail else { panic!("training detail") };
    assert!(trained_with.starts_with("training.jinja (") && published_with.starts_with("the base's own ("));
    assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).expect("a template"), plain);

    let short = write("short.jinja", &format!("{plain}{{# short #}}"));
    let tally = train(with(Some(&short)), examples, &config(), "cpu", &context, &out).expect("a run");
    let Detail::Training { published_with, .. } = tally.detail else { panic!("training detail") };
    assert!(published_with.starts_with("short.jinja ("), "{published_with}");
    assert!(fs::read_to_string(out.join("chat_template.jinja")).expect("a template").contains("short"));

    let other = write("other.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}?");
    let error = train(with(Some(&other)), examples, &config(), "cpu", &context, &out).expect_err("another prompt");
    assert!(error.to_string().contains("expected the same"), "{error}");
}
