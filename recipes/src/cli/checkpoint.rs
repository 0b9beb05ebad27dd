//! What is typed to convert, serve or talk to a checkpoint.

use clap::Args;
use std::{net::IpAddr, path::PathBuf};

/// From which checkpoint to which.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// A Hugging Face folder, or a GGUF file.
    pub from: PathBuf,
    /// What is written: a GGUF file if its name ends in `.gguf`, else a Hugging Face folder. Must not exist yet.
    pub to: PathBuf,
    /// How weights are stored: f32, f16 or bf16, for GGUF also q8_0 or q4_0. As they were, if nothing is said; f32 for
    /// what was quantised.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<String>,
    /// Another base of the rotary frequencies.
    #[arg(long, value_name = "THETA")]
    pub rope_theta: Option<f64>,
    /// Another longest context, in tokens.
    #[arg(long, value_name = "TOKENS")]
    pub max_position_embeddings: Option<u32>,
    /// A token for the tokenizer, plain text to it, such as the tags of its reasoning; may be given several times.
    #[arg(long = "add-token", value_name = "TEXT")]
    pub add_tokens: Vec<String>,
    /// A control token for the tokenizer; may be given several times.
    #[arg(long = "add-special-token", value_name = "TEXT")]
    pub add_special_tokens: Vec<String>,
    /// The chat template that the result gets.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Largest file of a Hugging Face folder, in bytes; a tensor is never cut.
    #[arg(long, value_name = "BYTES")]
    pub max_shard_bytes: Option<u64>,
}

/// A checkpoint, and how it is decoded here.
#[derive(Args, Debug)]
pub struct DecodeArgs {
    /// A Hugging Face folder (config.json, safetensors, tokenizer.json and chat template), or a GGUF file.
    pub checkpoint: PathBuf,
    /// Where it runs: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// How weights are kept: `stored` and `f32` change nothing, `bf16`, `f16` and `q8_0` round them.
    #[arg(long, default_value = "stored", value_name = "PRECISION")]
    pub weights: String,
    /// Most memory for keys and values, in MiB. By default what full contexts need, up to half of what the weights leave.
    #[arg(long, value_name = "MIB")]
    pub cache_mib: Option<usize>,
    /// Threads for computing; all cores by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// How a checkpoint is served.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// What is served.
    #[command(flatten)]
    pub decode: DecodeArgs,
    /// Address to listen on. Anything but this machine itself should have a key.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any that is free.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The environment variable that holds the key which requests must bear; the key itself is never an argument.
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// An origin of another machine whose pages may ask, such as `https://example.org`, and whose name is answered to; `*`
    /// lets all in. May be given several times. By default only this machine's own names.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,
    /// The model's name; by default the folder's, or the file's without `.gguf`, with `-q8_0` behind it if weights are so rounded.
    #[arg(long)]
    pub name: Option<String>,
    /// Most answers that are decoded together.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub running: usize,
    /// Most answers that may be unfinished, waiting ones included; more are turned away with 429.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub queue: usize,
    /// Most choices of one request: prompts times `n`.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_choices: usize,
    /// Largest body of a request, in bytes.
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES")]
    pub max_body_bytes: usize,
}

/// How to talk to a checkpoint.
#[derive(Args, Debug)]
pub struct ChatArgs {
    /// Who answers.
    #[command(flatten)]
    pub decode: DecodeArgs,
    /// A system prompt.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Softmax temperature; 0 is greedy.
    #[arg(long, default_value_t = 0.6)]
    pub temperature: f32,
    /// Nucleus mass.
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Limit on the tokens of one answer; the context by default.
    #[arg(long, value_name = "N")]
    pub max_new_tokens: Option<usize>,
    /// Seed of the first answer; the next ones count on.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}
