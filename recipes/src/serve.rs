//! `distill serve`: from what was typed to a server over the local engine.

use crate::{
    cli::{DecodeArgs, ServeArgs},
    explained::Misused,
    student,
    teachers::Secrets,
};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::Cancel;
use distill_teacher_local::{Engine, Limits, Placement, Precision, ServerConfig, load};
use std::{net::SocketAddr, path::Path, sync::Arc};

/// Serves until `cancel`; `say` gets the line that tells where.
///
/// # Errors
/// When the checkpoint, the device or the address cannot be used, or the key is missing.
pub fn serve(
    args: &ServeArgs,
    secrets: Secrets<'_>,
    cancel: &Cancel,
    say: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let api_key = match &args.api_key_env {
        None => None,
        Some(name) => match secrets(name) {
            Some(key) => Some(key),
            None => bail!(Misused(format!(
                "the environment variable {name} is not set\nhint: `--api-key-env` names it; export it before the server starts"
            ))),
        },
    };
    let limits = Limits { running: args.running.max(1), ..Limits::default() };
    let (chat, engine, precision) = open(&args.decode, limits)?;
    let name = name_of(&args.decode.checkpoint);
    let name = if precision.is_reduced() { format!("{name}-{}", precision.name()) } else { name };
    let model = args.name.clone().unwrap_or(name);
    let config = ServerConfig {
        address: SocketAddr::new(args.host, args.port),
        api_key,
        allowed_origins: args.allow_origins.clone(),
        max_body_bytes: args.max_body_bytes,
        max_choices: args.max_choices,
        max_open: args.queue,
        ..ServerConfig::local(&model)
    };
    if config.api_key.is_none() && !args.host.is_loopback() {
        tracing::warn!(address = %config.address, "anyone who reaches this address may use the server: it has no key");
    }
    tracing::info!(model, context = engine.context(), "loaded");
    let address = config.address;
    let mut told = Ok(());
    let ready = |address: SocketAddr| told = say(&format!("serving {model} on http://{address}/v1\n"));
    distill_teacher_local::serve(engine, chat, config, cancel, ready)
        .with_context(|| format!("cannot serve on {address}\nhint: `--port 0` takes any port that is free"))?;
    told
}

/// A model is called as its folder or file was typed, be that a link; `.` has no name of its own.
fn name_of(checkpoint: &Path) -> String {
    let typed = std::path::absolute(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    let name = match typed.extension().is_some_and(|extension| extension == "gguf") {
        true => typed.file_stem(),
        false => typed.file_name(),
    };
    match name {
        Some(name) => name.to_string_lossy().into_owned(),
        // It ends in `..`.
        None => typed
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "model".to_owned()),
    }
}

/// Loads what a command decodes.
///
/// # Errors
/// When the checkpoint or the device cannot be used, or the precision is unknown.
pub fn open(args: &DecodeArgs, limits: Limits) -> Result<(Arc<Chat>, Engine, Precision)> {
    let precision = Precision::from_name(&args.weights).map_err(|error| Misused(format!("--weights: {error}")))?;
    student::there(&args.checkpoint)?;
    let bytes = |mib: usize| mib.checked_mul(1 << 20).context("--cache-mib: too large a number");
    let cache_bytes = args.cache_mib.map(bytes).transpose()?;
    let limits = Limits { cache_bytes, ..limits };
    let (chat, engine) = load(&args.checkpoint, Placement { device: &args.device, precision, limits })?;
    Ok((chat, engine, precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_as_it_was_typed() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(root.path().join("56ab")).expect("a folder");
        std::os::unix::fs::symlink("56ab", root.path().join("published")).expect("a link");
        assert_eq!(name_of(&root.path().join("published")), "published", "a link has its own name");
        assert_eq!(name_of(&root.path().join("published/")), "published");
        assert_eq!(name_of(&root.path().join("small.q8.gguf")), "small.q8");
        assert_eq!(name_of(&root.path().join("56ab/../56ab")), "56ab");
    }
}
