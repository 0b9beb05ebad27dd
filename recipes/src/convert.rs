//! `distill convert`: any checkpoint into a Hugging Face folder or a GGUF file. The result appears under its name whole.

use crate::{cli::ConvertArgs, explained::Misused, student};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_checkpoint::{Checkpoint, Dtype, Vocabulary, write_gguf};
use distill_dataset::{Cancel, copy_fresh};
use distill_student::Surgery;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Converts, and says what was written.
///
/// # Errors
/// When the source is damaged, the target exists or cannot say what the source is, or the disk refuses.
pub fn convert(args: &ConvertArgs) -> Result<String> {
    let surgery = Surgery {
        rope_theta: args.rope_theta,
        max_position_embeddings: args.max_position_embeddings,
        add_tokens: args.add_tokens.clone(),
        add_special_tokens: args.add_special_tokens.clone(),
    };
    surgery.check().map_err(|message| Misused(message.replace('`', "")))?;
    let to_gguf = args.to.extension().is_some_and(|extension| extension == "gguf");
    let dtype = args.dtype.as_deref().map(|name| dtype(name, to_gguf)).transpose()?;
    // A file is for its reader to refuse.
    if args.from.is_dir() || !args.from.exists() {
        student::there(&args.from)?;
    }
    if args.to.exists() {
        let to = args.to.display();
        bail!(Misused(format!("{to}: expected nothing there yet\nhint: remove it, or give another name")));
    }
    let scratch = Scratch::beside(&args.to)?;
    if to_gguf {
        let changed = !surgery.is_empty() || args.chat_template.is_some();
        if changed {
            adapt(args, &surgery, None, &scratch.0)?;
        }
        write_gguf_file(if changed { &scratch.0 } else { &args.from }, dtype, &args.to)?;
    } else {
        adapt(args, &surgery, dtype, &scratch.0)?;
        fs::rename(&scratch.0, &args.to).with_context(|| format!("cannot rename to {}", args.to.display()))?;
    }
    describe(&args.to)
}

fn adapt(args: &ConvertArgs, surgery: &Surgery, dtype: Option<Dtype>, out: &Path) -> Result<()> {
    distill_student::adapt(&args.from, surgery, dtype, args.max_shard_bytes, &Cancel::default(), out)?;
    if let Some(template) = &args.chat_template {
        Chat::load_with(out, Some(template))?;
        copy_fresh(template, &out.join("chat_template.jinja"))
            .with_context(|| format!("cannot copy {}", template.display()))?;
    }
    Ok(())
}

fn write_gguf_file(from: &Path, dtype: Option<Dtype>, to: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open(from)?;
    let config = checkpoint.config();
    let vocabulary = match checkpoint.vocabulary() {
        Some(vocabulary) => vocabulary.clone(),
        None => Vocabulary::read_files(from, config.vocab_size)?,
    };
    let dtype = dtype.unwrap_or(config.dtype);
    Ok(write_gguf(to, config, &vocabulary, dtype, &mut |name| checkpoint.parameter(name))?)
}

fn dtype(name: &str, to_gguf: bool) -> Result<Dtype> {
    let plain = [Dtype::F32, Dtype::F16, Dtype::BF16];
    let quantised: &[Dtype] = if to_gguf { &[Dtype::Q8_0, Dtype::Q4_0] } else { &[] };
    let known = || plain.iter().chain(quantised).copied();
    let found = known().find(|dtype| dtype.ggml_name() == name || dtype.name() == name);
    Ok(found.ok_or_else(|| {
        let names: Vec<&str> = known().map(Dtype::ggml_name).collect();
        let hint = if to_gguf { "" } else { "\nhint: quantised weights need a target that ends in .gguf" };
        Misused(format!("--dtype: expected one of {}, found {name:?}{hint}", names.join(", ")))
    })?)
}

/// What is at `path` now, read back.
fn describe(path: &Path) -> Result<String> {
    let checkpoint = Checkpoint::open(path)?;
    let config = checkpoint.config();
    let stored = checkpoint.dtype("model.layers.0.self_attn.q_proj.weight");
    Ok(format!(
        "{}: {}, {} parameters, {}, context {}\n",
        path.display(),
        config.architecture.class(),
        config.num_parameters(),
        stored.map_or("", Dtype::ggml_name),
        config.max_position_embeddings,
    ))
}

/// A folder beside the target, removed unless it becomes the target.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(target: &Path) -> Result<Scratch> {
        let name = target.file_name().context("expected a target with a name")?.to_string_lossy();
        let path = target.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
        // The name can be guessed: what somebody put there is not taken for a folder of ours.
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}
