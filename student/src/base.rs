//! What a student starts from: random weights of a stated shape, or a checkpoint with the changes a recipe asks for.

use crate::{TrainError, train::fits};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, CheckpointError, Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
use distill_dataset::{Cancel, Context, Tally, copy_fresh};
use distill_model::Decoder;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Changes to a checkpoint that are not training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Surgery {
    /// Another base of the rotary frequencies: OpenR1-Distill takes 300,000 for a longer context.
    pub rope_theta: Option<f64>,
    /// Another longest context, in tokens.
    pub max_position_embeddings: Option<u32>,
    /// Tokens that the tokenizer gets, as plain text to it: the tags of its reasoning for example.
    pub add_tokens: Vec<String>,
    /// Control tokens that the tokenizer gets: text that spells one is refused in messages.
    pub add_special_tokens: Vec<String>,
}

impl Surgery {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Surgery::default()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A line for each key out of range: expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if let Some(theta) = self.rope_theta
            && !(theta.is_finite() && theta > 1.0)
        {
            wrong.push(format!("`rope-theta`: expected more than 1, found {theta}"));
        }
        if self.max_position_embeddings == Some(0) {
            wrong.push("`max-position-embeddings`: expected 1 or more, found 0".to_owned());
        }
        for (key, tokens) in [("add-tokens", &self.add_tokens), ("add-special-tokens", &self.add_special_tokens)] {
            if let Some(token) = tokens.iter().find(|token| token.trim().is_empty() || token.len() > 256) {
                wrong.push(format!("`{key}`: expected texts of up to 256 bytes, found {token:?}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// Writes a checkpoint of random weights: the shape of `config`, the tokenizer and template of `chat_dir`.
///
/// # Errors
/// When either is damaged, the tokenizer does not fit, the disk refuses, or a stop was asked for.
pub fn initialise(
    config: &Path,
    chat_dir: &Path,
    device: &str,
    context: &Context,
    out: &Path,
) -> Result<Tally, TrainError> {
    let config = ModelConfig::load(config)?;
    let chat = Chat::load(chat_dir)?;
    fits(&config, &chat)?;
    let model = Decoder::init(&config, context.seed, &distill_model::device(device)?);
    let mut read = |name: &str| going_on(&context.cancel, || Ok(model.read(name)));
    write_parameters(&mut read, &config, chat_dir, out)?;
    Ok(Tally::default())
}

/// Writes `from`, a folder or a GGUF file, as a Hugging Face folder with `surgery` done; in the element type that it was
/// saved in, or in `dtype`.
///
/// The rows of new tokens in the embedding and the output projection are the mean of the tokenizer's other rows (Hewitt,
/// 2021): their probability is near no extreme before anything is learnt.
///
/// # Errors
/// When the checkpoint or its tokenizer is damaged, a token exists already, the disk refuses, or a stop was asked for.
pub fn adapt(
    from: &Path,
    surgery: &Surgery,
    dtype: Option<Dtype>,
    max_shard_bytes: Option<u64>,
    cancel: &Cancel,
    out: &Path,
) -> Result<Tally, TrainError> {
    let checkpoint = Checkpoint::open(from)?;
    match checkpoint.vocabulary() {
        Some(vocabulary) => vocabulary.write_files(out)?,
        None => Chat::copy_files(from, out)?,
    }
    let added = distill_chat::add_tokens(out, &surgery.add_tokens, &surgery.add_special_tokens)?;
    let mut config = checkpoint.config().clone();
    config.rope.theta = surgery.rope_theta.unwrap_or(config.rope.theta);
    if let Some(length) = surgery.max_position_embeddings {
        config.max_position_embeddings = length as usize;
    }
    let old_rows = config.vocab_size;
    config.vocab_size = added.ids.iter().map(|id| *id as usize + 1).fold(old_rows, usize::max);
    let mut read = |name: &str| {
        let mut values = going_on(cancel, || checkpoint.parameter(name))?;
        if !added.ids.is_empty() && matches!(name, "model.embed_tokens.weight" | "lm_head.weight") {
            let rows = Rows { width: config.hidden_size, count: config.vocab_size, known: added.known.min(old_rows) };
            rows.add(&mut values, &added.ids);
        }
        Ok(values)
    };
    let dtype = dtype.unwrap_or(config.dtype);
    write_folder(out, &config, dtype, max_shard_bytes.unwrap_or(MAX_SHARD_BYTES), &mut read)?;
    Ok(Tally::default())
}

/// Does the next piece of a long work, unless a stop was asked for.
fn going_on<T>(cancel: &Cancel, work: impl FnOnce() -> Result<T, CheckpointError>) -> Result<T, CheckpointError> {
    if cancel.is_cancelled() { Err(CheckpointError::Interrupted) } else { work() }
}

/// A matrix of one row a token.
struct Rows {
    width: usize,
    /// Rows it is to have.
    count: usize,
    /// Rows whose tokens the tokenizer knew: padding does not count for the mean.
    known: usize,
}

impl Rows {
    /// Gives the rows of `added` the mean of the known ones.
    fn add(&self, values: &mut Vec<f32>, added: &[u32]) {
        let mut mean = vec![0.0_f64; self.width];
        for row in values.chunks_exact(self.width).take(self.known) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= self.known.max(1) as f64);
        values.resize(self.count * self.width, 0.0);
        for id in added {
            let start = *id as usize * self.width;
            let row = &mut values[start..start + self.width];
            row.iter_mut().zip(&mean).for_each(|(value, mean)| *value = *mean as f32);
        }
    }
}

/// A parameter by its name; nothing where there is none of that name.
type Parameter<'a> = dyn FnMut(&str) -> Result<Option<Vec<f32>>, CheckpointError> + 'a;

/// Writes parameters, by their names, with the tokenizer and template of `chat_dir`.
pub(crate) fn write_parameters(
    parameter: &mut Parameter<'_>,
    config: &ModelConfig,
    chat_dir: &Path,
    out: &Path,
) -> Result<(), TrainError> {
    let mut read = |name: &str| parameter(name)?.ok_or_else(|| CheckpointError::missing(out, name));
    write_folder(out, config, Dtype::F32, MAX_SHARD_BYTES, &mut read)?;
    Ok(Chat::copy_files(chat_dir, out)?)
}

/// The checkpoint that training starts from, and the chat templates of before and after.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// A Hugging Face folder.
    pub dir: &'a Path,
    /// The template that examples are rendered with, where that is not the folder's own; it marks what carries loss by
    /// `{% generation %}` blocks.
    pub chat_template: Option<&'a Path>,
    /// The template that the trained checkpoint gets, where that is not the folder's own.
    pub publish_template: Option<&'a Path>,
}

impl<'a> Base<'a> {
    /// A folder with its own template.
    pub fn new(dir: &'a Path) -> Base<'a> {
        Base { dir, chat_template: None, publish_template: None }
    }

    /// Loads the tokenizer with both templates; checks that the published one asks as the student was taught.
    pub(crate) fn chats(&self) -> Result<(Chat, Chat), TrainError> {
        let training = Chat::load_with(self.dir, self.chat_template)?;
        let published = Chat::load_with(self.dir, self.publish_template)?;
        training.check_asks_alike(&published)?;
        Ok((training, published))
    }

    /// Gives the trained checkpoint its template.
    pub(crate) fn publish_template(&self, out: &Path) -> Result<(), TrainError> {
        let Some(from) = self.publish_template else { return Ok(()) };
        copy_fresh(from, &out.join("chat_template.jinja")).map_err(TrainError::io("copy", from))
    }
}

/// How manifests name a template: its file and its digest.
pub(crate) fn template_name(path: Option<&Path>, chat: &Chat) -> String {
    let name = path.and_then(Path::file_name).map_or("the base's own".into(), |name| name.to_string_lossy());
    format!("{name} ({})", chat.template_hash())
}
