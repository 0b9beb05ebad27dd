//! `distill serve`: from what was typed to a server over the local engine.

use crate::{
    cli::{DecodeArgs, ServeArgs},
    teachers::Secrets,
};
use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::Cancel;
use distill_teacher_local::{Engine, Limits, Placement, Precision, ServerConfig, load};
use std::{net::SocketAddr, sync::Arc};

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
            None => bail!(
                "the environment variable {name} is not set\nhint: `--api-key-env` names it; export it before the server starts"
            ),
        },
    };
    let limits = Limits { running: args.running.max(1), ..Limits::default() };
    let (chat, engine, precision) = open(&args.decode, limits)?;
    let name = args.decode.checkpoint.canonicalize().ok();
    let name = name.as_ref().and_then(|path| path.file_name()).map_or("model".into(), |name| name.to_string_lossy());
    let name = if precision.is_reduced() { format!("{name}-{}", precision.name()) } else { name.into_owned() };
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

/// Loads what a command decodes.
///
/// # Errors
/// When the checkpoint or the device cannot be used, or the precision is unknown.
pub fn open(args: &DecodeArgs, limits: Limits) -> Result<(Arc<Chat>, Engine, Precision)> {
    let precision = Precision::from_name(&args.weights).map_err(|error| anyhow::anyhow!("--weights: {error}"))?;
    let bytes = |mib: usize| mib.checked_mul(1 << 20).context("--cache-mib: too large a number");
    let cache_bytes = args.cache_mib.map(bytes).transpose()?;
    let limits = Limits { cache_bytes, ..limits };
    let (chat, engine) = load(&args.checkpoint, Placement { device: &args.device, precision, limits })?;
    Ok((chat, engine, precision))
}
