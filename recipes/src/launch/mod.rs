//! `distill teacher launch`: a recipe's teacher on a Slurm cluster. From the table `launch` of an endpoint come batch scripts
//! (`vllm.sbatch`, `sglang.sbatch`, `command.sbatch`, with `common.sh` in front) that start the server, wait until it is
//! healthy, and then register its URL in the store; a sampling of the recipe asks whatever is registered while it runs.

use crate::{
    identity::Outside,
    recipe::{Recipe, SourceConfig, TeacherConfig},
    teachers::Teacher,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use distill_dataset::{Cancel, Digest, Store, entries, read_regular, write_whole};
use distill_teacher::EndpointConfig;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How often one looks whether a server is registered.
const POLL: Duration = Duration::from_secs(2);
/// Tokens of a prompt that a context has room for where nothing is said.
const PROMPT: u32 = 8192;
/// Tokens of a prompt that it has to have room for.
const SHORT_PROMPT: u32 = 1024;
/// A registration is no longer.
const MOST_BYTES: u64 = 1 << 16;

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// `vllm serve`, over Ray where it takes several nodes.
    Vllm,
    /// `sglang.launch_server`, a rank a node.
    Sglang,
    /// Any program that serves on the port.
    Command,
}

/// How a teacher is started on a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LaunchConfig {
    /// What serves.
    pub engine: Engine,
    /// The program and its arguments, for `engine = "command"`.
    #[serde(default)]
    pub command: Vec<String>,
    /// What is loaded: a path or a hub's name; the model's name by default.
    #[serde(default)]
    pub weights: Option<String>,
    /// Servers of that kind, each a job of its own.
    #[serde(default = "one")]
    pub jobs: u32,
    /// Nodes of each.
    #[serde(default = "one")]
    pub nodes: u32,
    /// GPUs of each node; 8 for vLLM and SGLang, none for a command where nothing is said.
    #[serde(default)]
    pub gpus_per_node: Option<u32>,
    /// Longest context, in tokens, prompt included; room for the longest answer and a prompt of 8,192 where nothing is said.
    #[serde(default)]
    pub max_model_len: Option<u32>,
    /// Most requests that the server works on at once.
    #[serde(default = "max_running")]
    pub max_running: u32,
    /// The port that it listens on.
    #[serde(default = "port")]
    pub port: u16,
    /// The longest that a job may run, as Slurm writes it.
    #[serde(default = "time")]
    pub time: String,
    /// Slurm's partition.
    #[serde(default)]
    pub partition: Option<String>,
    /// Slurm's account.
    #[serde(default)]
    pub account: Option<String>,
    /// Seconds for loading.
    #[serde(default = "load_timeout_s")]
    pub load_timeout_s: u32,
    /// What answers 200 once the server is ready.
    #[serde(default = "health_path")]
    pub health_path: String,
    /// Further arguments of the server.
    #[serde(default)]
    pub extra: Vec<String>,
}

fn one() -> u32 {
    1
}
/// What open-r1 serves R1 with on 16 H100: more lead to evictions of long answers.
fn max_running() -> u32 {
    56
}
fn port() -> u16 {
    8000
}
fn time() -> String {
    "24:00:00".to_owned()
}
fn load_timeout_s() -> u32 {
    3600
}
fn health_path() -> String {
    "/health".to_owned()
}

impl LaunchConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if (self.engine == Engine::Command) == self.command.is_empty() {
            wrong.push("`command`: expected a program for `engine = \"command\"`, and only there".to_owned());
        }
        if self.engine == Engine::Command && self.nodes != 1 {
            wrong.push(format!("`nodes`: expected 1 for `engine = \"command\"`, found {}", self.nodes));
        }
        for (key, found) in [("jobs", self.jobs), ("nodes", self.nodes)] {
            if found == 0 || found > 4096 {
                wrong.push(format!("`{key}`: expected 1 to 4096, found {found}"));
            }
        }
        for (key, found) in [
            ("port", u32::from(self.port)),
            ("load-timeout-s", self.load_timeout_s),
            ("max-model-len", self.max_model_len.unwrap_or(1)),
            ("max-running", self.max_running),
        ] {
            if found == 0 {
                wrong.push(format!("`{key}`: expected 1 or more, found 0"));
            }
        }
        if self.engine != Engine::Command && self.gpus() == 0 {
            wrong.push("`gpus-per-node`: expected 1 or more, found 0".to_owned());
        }
        for (key, text) in [("time", Some(&self.time)), ("weights", self.weights.as_ref())] {
            if text.is_some_and(String::is_empty) {
                wrong.push(format!("`{key}`: expected some text, found none"));
            }
        }
        if !self.health_path.starts_with('/') || self.health_path.contains(char::is_whitespace) {
            wrong.push(format!("`health-path`: expected a path, found {:?}", self.health_path));
        }
        let texts = self.command.iter().chain(&self.extra).chain([&self.time, &self.health_path]);
        let texts = texts.chain(&self.weights).chain(&self.partition).chain(&self.account);
        for text in texts.filter(|text| text.chars().any(char::is_control)) {
            wrong.push(format!("`launch`: expected no control characters, found {text:?}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    fn gpus(&self) -> u32 {
        self.gpus_per_node.unwrap_or(if self.engine == Engine::Command { 0 } else { 8 })
    }

    /// The profile of what serves, where there is one.
    pub(crate) fn host(&self) -> Option<&'static str> {
        match self.engine {
            Engine::Vllm => Some("vllm"),
            Engine::Sglang => Some("sglang"),
            Engine::Command => None,
        }
    }

    /// The longest context for answers of at most `longest` tokens.
    fn context(&self, longest: u32) -> u32 {
        self.max_model_len.unwrap_or_else(|| longest.saturating_add(PROMPT))
    }

    /// Checks that a context holds answers of at most `longest` tokens behind a prompt: servers refuse a request otherwise.
    ///
    /// # Errors
    /// Expected and found, and what to do.
    pub(crate) fn check_context(&self, longest: u32) -> Result<(), String> {
        let needed = longest.saturating_add(SHORT_PROMPT);
        match self.max_model_len {
            Some(found) if found < needed && self.engine != Engine::Command => Err(format!(
                "`launch.max-model-len`: expected {needed} at least, for a prompt and `max-new-tokens` = {longest}, found {found}\nhint: leave it out, which is {}, or lower `max-new-tokens`",
                longest.saturating_add(PROMPT)
            )),
            _ => Ok(()),
        }
    }

    /// The batch script of one job, for answers of at most `longest` tokens.
    fn script(&self, (model, longest): (&str, u32), name: &str, registry: &Path, log: &Path) -> String {
        let template = match self.engine {
            Engine::Vllm => include_str!("vllm.sbatch"),
            Engine::Sglang => include_str!("sglang.sbatch"),
            Engine::Command => include_str!("command.sbatch"),
        };
        let line = |option: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!("#SBATCH --{option}={}", quoted(value)))
        };
        let gpus = match self.gpus() {
            0 => String::new(),
            gpus => format!("#SBATCH --gpus-per-node={gpus}"),
        };
        let words = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let values = [
            ("job_name", quoted(name)),
            ("nodes", self.nodes.to_string()),
            ("gpus_line", gpus),
            ("partition_line", line("partition", &self.partition)),
            ("account_line", line("account", &self.account)),
            ("time", quoted(&self.time)),
            // Slurm expands what follows a `%`.
            ("log", quoted(&format!("{}/%j.log", log.to_string_lossy().replace('%', "%%")))),
            ("port", self.port.to_string()),
            ("model", quoted(model)),
            ("health_path", quoted(&self.health_path)),
            ("registry", quoted(&registry.to_string_lossy())),
            ("load_timeout_s", self.load_timeout_s.to_string()),
            ("weights", quoted(self.weights.as_deref().unwrap_or(model))),
            ("gpus_per_node", self.gpus().to_string()),
            ("max_model_len", self.context(longest).to_string()),
            ("max_running", self.max_running.to_string()),
            ("extra", words(&self.extra)),
            ("command", words(&self.command)),
        ];
        let filled = filled(&template.replace("{{common}}", include_str!("common.sh")), &values);
        // Lines that say nothing, between those for Slurm.
        let (head, body) = filled.split_once("\n\n# Written by").unwrap_or((&filled, ""));
        let head: Vec<&str> = head.lines().filter(|line| !line.is_empty()).collect();
        format!("{}\n\n# Written by{body}", head.join("\n"))
    }
}

/// Puts each value where its name stands in two pairs of braces, in one pass: no value is looked into.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, behind)) = rest.split_once("{{") {
        text.push_str(before);
        let known = behind.split_once("}}").and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match known {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push_str("{{");
                rest = behind;
            }
        }
    }
    text + rest
}

/// One word for a shell, and for Slurm's own reading of its lines.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A server that a job has registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// Its base.
    pub url: String,
    /// Slurm's number of the job.
    pub job: String,
    /// The model that it serves.
    pub model: String,
    /// Since when, in UTC.
    pub started: String,
}

/// Where the servers of a teacher are registered: of one that is served in another way, elsewhere.
pub fn registry(store: &Store, teacher: &Teacher, config: &LaunchConfig) -> PathBuf {
    let mut digest = Digest::new("launched");
    digest.field(&teacher.identity).field(&format!("{:?}", config.engine));
    for part in config.weights.iter().chain(&config.command).chain(&config.extra) {
        digest.field(part);
    }
    let how = digest.finish_short();
    store.root().join("teachers").join(format!("{}-{}", teacher.folder(), &how[..8]))
}

/// The servers that are registered there, in the order of their URLs.
///
/// # Errors
/// When the folder cannot be read.
pub fn registered(dir: &Path) -> Result<Vec<Registered>> {
    let mut found = Vec::new();
    for path in entries(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let is_entry = path.extension().is_some_and(|extension| extension == "json");
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_entry || hidden {
            continue;
        }
        // A job may have ended between the two.
        let Ok(bytes) = read_regular(&path, MOST_BYTES) else { continue };
        let server = serde_json::from_slice(&bytes).ok().filter(|server: &Registered| server.url.starts_with("http"));
        let at = path.display();
        found.push(server.with_context(|| {
            format!("{at}: expected the registration of a server\nhint: remove it if no job of yours wrote it")
        })?);
    }
    // A node that died has left its file: of two servers at one place, the one that began last is there.
    found.sort_by(|a: &Registered, b| a.url.cmp(&b.url).then(b.started.cmp(&a.started)));
    found.dedup_by(|later, first| later.url == first.url);
    Ok(found)
}

/// The endpoints that are registered for a source's teacher; none where jobs were launched that are not there yet, or again.
///
/// # Errors
/// When there are none and nothing was launched, or the folder cannot be read.
pub fn endpoints(dir: &Path) -> Result<Vec<EndpointConfig>> {
    let found = registered(dir)?;
    ensure!(
        !found.is_empty() || was_launched(dir)?,
        "expected a registered server of this teacher in {}, found none\nhint: `distill teacher launch RECIPE` starts one; a job that ended has taken its server with it",
        dir.display()
    );
    Ok(found.into_iter().map(|server| EndpointConfig { url: server.url, ..EndpointConfig::default() }).collect())
}

/// Whether jobs were submitted for the servers that register there.
fn was_launched(dir: &Path) -> Result<bool> {
    let all = entries(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(all.iter().any(|path| path.extension().is_some_and(|extension| extension == "sbatch")))
}

/// Starts the teachers of a recipe, or says how: `told` takes what people read.
///
/// # Errors
/// When no source says how, Slurm refuses, a job ends before its server is there, or a stop was asked for.
pub fn launch(
    recipe: &Recipe,
    store: &Store,
    dry_run: bool,
    cancel: &Cancel,
    told: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut any = false;
    let outside = Outside::read(store.root());
    for (index, source) in recipe.sources.iter().enumerate() {
        let Some((config, model)) = config_of(source) else { continue };
        any = true;
        let evaluated = recipe.evaluation.as_ref().map_or(0, |evaluation| evaluation.max_new_tokens);
        let longest = source.sampling.as_ref().map_or(0, |sampling| sampling.max_new_tokens).max(evaluated);
        config.check_context(longest).map_err(|message| anyhow!("`sources.{index}.teacher.http`: {message}"))?;
        let teacher = Teacher::of(&source.teacher, &outside)?.context("expected a teacher that is an endpoint")?;
        let root = std::path::absolute(store.root()).context("cannot tell where the store is")?;
        let dir = registry(&Store::new(&root), &teacher, config);
        let log = dir.join("log");
        let name = format!("distill-{}-{}", recipe.name, index + 1);
        let script = config.script((model, longest), &name, &dir, &log);
        if dry_run {
            told(&script)?;
            continue;
        }
        fs::create_dir_all(dir.join("log")).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = dir.join(format!("{name}.sbatch"));
        write_whole(&path, script.as_bytes())?;
        let before = registered(&dir)?;
        let mut jobs = Vec::new();
        for _ in 0..config.jobs {
            jobs.push(submit(&path)?);
        }
        told(&format!("submitted {} (log in {})\n", jobs.join(", "), dir.join("log").display()))?;
        wait(&dir, &jobs, cancel, told).with_context(|| {
            format!("not all servers are there; what was submitted stays\nhint: scancel {} ends it", jobs.join(" "))
        })?;
        let kept = before.iter().filter(|server| !jobs.contains(&server.job)).count();
        if kept > 0 {
            told(&format!("{kept} servers were registered before\n"))?;
        }
    }
    ensure!(
        any,
        "expected a source with a table `launch` in its `teacher.http`, found none\nhint: e.g. launch = {{ engine = \"sglang\", nodes = 2, gpus-per-node = 8 }}"
    );
    Ok(())
}

fn config_of(source: &SourceConfig) -> Option<(&LaunchConfig, &str)> {
    match &source.teacher {
        TeacherConfig::Http(config) => Some((config.launch.as_ref()?, &config.endpoint.model)),
        _ => None,
    }
}

fn submit(script: &Path) -> Result<String> {
    let output = Command::new("sbatch").arg("--parsable").arg(script).output();
    let output =
        output.context("cannot run sbatch\nhint: is this a node of the cluster? `--dry-run` prints the script")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("sbatch refused {}: {}", script.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    // `12345;cluster`
    Ok(said.trim().split(';').next().unwrap_or_default().to_owned())
}

/// Waits until every job has registered its server.
fn wait(dir: &Path, jobs: &[String], cancel: &Cancel, told: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let mut left: Vec<&String> = jobs.iter().collect();
    while !left.is_empty() {
        cancel.check()?;
        for server in registered(dir)? {
            if left.iter().any(|job| **job == server.job) {
                told(&format!("job {}: {} serves {}\n", server.job, server.url, server.model))?;
                left.retain(|job| **job != server.job);
            }
        }
        for job in &left {
            ensure!(
                is_queued(job),
                "job {job} ended before its server was there\nhint: {} says why",
                dir.join("log").join(format!("{job}.log")).display()
            );
        }
        if !left.is_empty() {
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Whether Slurm still has a job, waiting or running; true where that cannot be told now.
fn is_queued(job: &str) -> bool {
    let output = Command::new("squeue").args(["--noheader", "--format=%T", "--jobs", job]).output();
    match output {
        Ok(output) if output.status.success() => {
            let states = String::from_utf8_lossy(&output.stdout);
            let ended =
                ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"];
            states.lines().any(|state| !ended.contains(&state.trim()))
        }
        // Slurm forgets a job some minutes after its end, and calls its number invalid then.
        Ok(output) => !String::from_utf8_lossy(&output.stderr).contains("Invalid job id"),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> LaunchConfig {
        toml::from_str(text).expect("a configuration")
    }

    fn script(config: &LaunchConfig) -> String {
        config.script(("deepseek-ai/DeepSeek-R1", 32768), "job", Path::new("/store/it's"), Path::new("/store/100%/log"))
    }

    #[test]
    fn every_engine_has_a_whole_script_whose_values_no_shell_reads() {
        for text in [
            "engine = \"vllm\"\nnodes = 2\nextra = [\"--enable-prefix-caching\", \"$(reboot)\"]",
            "engine = \"sglang\"\nnodes = 2\npartition = \"gpu\"\naccount = \"a b\"",
            "engine = \"command\"\ncommand = [\"serve\", \"{{model}}\", \"it's\"]\ngpus-per-node = 0",
        ] {
            let config = config(text);
            assert_eq!(config.check(), Ok(()));
            let script = script(&config);
            assert!(script.starts_with("#!/usr/bin/env bash\n#SBATCH"), "{script}");
            assert!(script.contains("registry='/store/it'\\''s'"), "{script}");
            let names: Vec<&str> = script.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect();
            let left: Vec<&&str> = names.iter().filter(|name| **name != "model").collect();
            assert!(left.is_empty(), "no place is left open: {left:?}");
            let bash = Command::new("bash").arg("-n").arg("-c").arg(&script).output();
            if let Ok(checked) = bash {
                assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
            }
        }
        assert!(
            script(&config("engine = \"vllm\"")).contains("--max-model-len 40960"),
            "R1's longest answer and a prompt"
        );
        let sglang = script(&config("engine = \"sglang\"\nnodes = 2\npartition = \"gpu\""));
        for line in
            ["#SBATCH --nodes=2", "#SBATCH --gpus-per-node=8", "#SBATCH --partition='gpu'", "max-running-requests 56"]
        {
            assert!(sglang.contains(line), "{line}");
        }
        assert!(sglang.contains("--output='/store/100%%/log/%j.log'"), "Slurm expands no part of the store's name");
        assert!(script(&config("engine = \"vllm\"\nextra = [\"$(reboot)\"]")).contains("'$(reboot)'"));
        let command = script(&config("engine = \"command\"\ncommand = [\"serve\", \"{{model}}\"]"));
        assert!(command.contains("'serve' '{{model}}'"), "a value is not looked into");
        assert!(!command.contains("--gpus"), "a command gets GPUs where it asks for some");
    }

    #[test]
    fn a_context_without_room_for_prompt_and_answer_is_refused() {
        for engine in ["vllm", "sglang"] {
            let said = |found: u32| config(&format!("engine = \"{engine}\"\nmax-model-len = {found}"));
            let error = said(32768).check_context(32768).expect_err("no room for a prompt");
            assert!(error.contains("expected 33792 at least") && error.contains("found 32768"), "{error}");
            assert_eq!(said(33792).check_context(32768), Ok(()));
            assert_eq!(
                config(&format!("engine = \"{engine}\"")).check_context(1 << 20),
                Ok(()),
                "it follows the answers"
            );
        }
    }

    #[test]
    fn what_cannot_be_launched_is_refused_by_its_key() {
        for (text, key) in [
            ("engine = \"command\"", "`command`"),
            ("engine = \"vllm\"\ncommand = [\"x\"]", "`command`"),
            ("engine = \"command\"\ncommand = [\"x\"]\nnodes = 2", "`nodes`"),
            ("engine = \"vllm\"\njobs = 0", "`jobs`"),
            ("engine = \"vllm\"\nhealth-path = \"health\"", "`health-path`"),
            ("engine = \"vllm\"\nport = 0", "`port`"),
            ("engine = \"vllm\"\ngpus-per-node = 0", "`gpus-per-node`"),
            ("engine = \"sglang\"\ntime = \"\"", "`time`"),
            ("engine = \"vllm\"\npartition = \"a\\nb\"", "control"),
        ] {
            let error = config(text).check().expect_err(text);
            assert!(error.contains(key), "{text}: {error}");
        }
    }

    #[test]
    fn registered_servers_are_found_and_none_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(endpoints(dir.path()).expect_err("none").to_string().contains("distill teacher launch"));
        let server = |url: &str| {
            format!("{{\"url\": \"{url}\", \"job\": \"7\", \"model\": \"m\", \"started\": \"2026-11-27T10:00:00Z\"}}")
        };
        fs::write(dir.path().join("8.json"), server("http://n2:8000/v1")).expect("a file");
        fs::write(dir.path().join("7.json"), server("http://n1:8000/v1")).expect("a file");
        fs::write(dir.path().join(".9.json.tmp"), "{").expect("a file");
        let urls: Vec<String> = endpoints(dir.path()).expect("two").into_iter().map(|place| place.url).collect();
        assert_eq!(urls, ["http://n1:8000/v1", "http://n2:8000/v1"]);
        fs::remove_file(dir.path().join("7.json")).expect("gone");
        fs::remove_file(dir.path().join("8.json")).expect("gone");
        assert!(endpoints(dir.path()).is_err());
        fs::write(dir.path().join("distill-r1-1.sbatch"), "").expect("a file");
        assert!(endpoints(dir.path()).expect("jobs that come again are waited for").is_empty());
        fs::write(dir.path().join("10.json"), "not JSON").expect("a file");
        assert!(endpoints(dir.path()).expect_err("damaged").to_string().contains("10.json"));
    }
}
