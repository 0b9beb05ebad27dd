//! How large the cache of keys and values is: bytes a token from the model, the memory of the device, and the longest
//! request that will come. Too little is an error before anything is loaded, never a shorter answer.

use crate::{Limits, Placement, Precision};
use distill_checkpoint::{Checkpoint, Dtype};
use distill_model::{BLOCK, block_bytes};
use distill_teacher::TeacherError;
use std::{fs, path::Path, process::Command};

/// Tokens that are kept for a prompt of unknown length.
const UNKNOWN_PROMPT: usize = 2048;
/// Bytes for the cache where neither memory nor a request says anything.
const UNKNOWN_MEMORY: u64 = 1 << 30;

/// The longest request that an engine has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Tokens of the longest prompt, if they are known.
    pub prompt: Option<usize>,
    /// Limit on generated tokens.
    pub new: usize,
}

/// What a cache comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Bytes for keys and values.
    pub bytes: u64,
    /// Bytes of one token's keys and values over all layers.
    pub token_bytes: u64,
    /// Tokens of the longest request: prompt and answer, at most the model's context.
    pub longest_tokens: u64,
    /// Bytes of the weights on the device, about.
    pub weight_bytes: u64,
    /// Memory of the device that is free now, where it is known.
    pub free_bytes: Option<u64>,
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// Sizes the cache for `placement` without loading anything but headers: what a run checks before it starts.
///
/// # Errors
/// When the checkpoint cannot be opened, or the device has too little memory for the longest request: bytes needed and
/// found, and what to do.
pub fn plan_cache(dir: &Path, placement: &Placement<'_>) -> Result<CachePlan, TeacherError> {
    let checkpoint = Checkpoint::open(dir).map_err(|error| TeacherError::Local(error.to_string()))?;
    plan(&checkpoint, placement)
}

pub(crate) fn plan(checkpoint: &Checkpoint, placement: &Placement<'_>) -> Result<CachePlan, TeacherError> {
    let config = checkpoint.config();
    let sizes = Sizes {
        block_bytes: block_bytes(config, placement.device, placement.precision) as u64,
        context: config.max_position_embeddings as u64,
        weight_bytes: weight_bytes(checkpoint, placement),
    };
    sized(sizes, placement.limits, placement.device, memory_of(placement.device)).map_err(TeacherError::Local)
}

/// What a model brings.
#[derive(Clone, Copy)]
struct Sizes {
    block_bytes: u64,
    context: u64,
    weight_bytes: u64,
}

/// The arithmetic. Half of what the weights leave is the cache's at most: activations, the tokenizer and whatever else
/// runs here live in the other half.
fn sized(sizes: Sizes, limits: Limits, device: &str, memory: Option<Memory>) -> Result<CachePlan, String> {
    let Sizes { block_bytes, context, weight_bytes } = sizes;
    let block = BLOCK as u64;
    let request = limits.longest.map(|longest| {
        let prompt = longest.prompt.unwrap_or(UNKNOWN_PROMPT) as u64;
        prompt.saturating_add(longest.new as u64).min(context)
    });
    let longest_tokens = request.unwrap_or(context);
    let one = longest_tokens.div_ceil(block).max(1).saturating_mul(block_bytes);
    let all = one.saturating_mul(limits.running.max(1) as u64);
    // What has to be there: a whole request where one was named, else a block; such an engine tells its context.
    let needed = if request.is_some() { one } else { block_bytes };
    let plan = |bytes: u64| CachePlan {
        bytes,
        token_bytes: block_bytes / block,
        longest_tokens,
        weight_bytes,
        free_bytes: memory.map(|memory| memory.free),
    };
    let short = |found: u64, of: &str| {
        format!(
            "the cache for one request of {longest_tokens} tokens needs {needed} bytes ({} a token), found {found}: {of}\nhint: ask for fewer new tokens, free memory on {device}, or use a device that has more",
            block_bytes / block
        )
    };
    if let Some(bytes) = limits.cache_bytes.map(|bytes| bytes as u64) {
        if bytes < needed {
            return Err(short(bytes, "what the cache was limited to"));
        }
        return match memory.filter(|memory| bytes > memory.total) {
            None => Ok(plan(bytes)),
            Some(memory) => Err(format!(
                "expected a cache that {device} can hold, {} bytes in all, found a limit of {bytes}\nhint: leave the limit out, and the cache takes what it needs and what there is",
                memory.total
            )),
        };
    }
    let Some(memory) = memory else { return Ok(plan(all.min(UNKNOWN_MEMORY.max(one)))) };
    let left = memory.free.saturating_sub(weight_bytes) / 2;
    if left < needed {
        let of = format!("half of what {} free bytes leave beside weights of {weight_bytes}", memory.free);
        return Err(short(left, &of));
    }
    Ok(plan(all.min(left)))
}

/// Bytes of the weights as they are kept on the device.
fn weight_bytes(checkpoint: &Checkpoint, placement: &Placement<'_>) -> u64 {
    let eighths = |dtype: Option<Dtype>| match (placement.device, placement.precision) {
        // Other devices keep float32, or bfloat16 where they are asked to.
        (_, Precision::Bf16) | ("cpu", Precision::F16) => 16,
        ("cpu", Precision::Q8) => 9,
        ("cpu", Precision::Stored) if matches!(dtype, Some(Dtype::F16 | Dtype::BF16)) => 16,
        _ => 32,
    };
    let bytes = |(name, shape): &(String, Vec<usize>)| {
        let elements = shape.iter().fold(1_u64, |product, dim| product.saturating_mul(*dim as u64));
        elements.saturating_mul(eighths(checkpoint.dtype(name))) / 8
    };
    checkpoint.config().layout().iter().map(bytes).fold(0, u64::saturating_add)
}

/// The memory of a device, or nothing where the system does not tell.
fn memory_of(device: &str) -> Option<Memory> {
    match device.strip_prefix("cuda") {
        Some(index) => nvidia(index.strip_prefix(':').unwrap_or("0").parse().ok()?),
        None => {
            let host = host(&fs::read_to_string("/proc/meminfo").ok()?)?;
            Some(groups().into_iter().fold(host, |least, group| Memory {
                free: least.free.min(group.free),
                total: least.total.min(group.total),
            }))
        }
    }
}

/// `/proc/meminfo` in kibibytes.
fn host(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { free: field("MemAvailable:")?, total: field("MemTotal:")? })
}

/// The limits of the control groups that this process is in (version 2): a container's memory is not the machine's.
fn groups() -> Vec<Memory> {
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else { return Vec::new() };
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = |folder: &Path| {
        let total = number(&folder.join("memory.max"))?;
        let used = number(&folder.join("memory.current"))?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        // Pages of files that nobody has touched lately are given up when they are needed.
        let idle = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok()).unwrap_or(0);
        Some(Memory { free: total.saturating_sub(used.saturating_sub(idle)), total })
    };
    root.join(path).ancestors().take_while(|folder| folder.starts_with(root)).filter_map(group).collect()
}

/// What the driver's own tool says. Where it lists several devices, the one with the most free memory: it counts devices in
/// another order than programs do, and one that is full is found out when the weights are loaded.
fn nvidia(index: usize) -> Option<Memory> {
    let arguments = ["--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let devices: Vec<Memory> = text.lines().filter_map(mebibytes).collect();
    devices.get(index)?;
    devices.into_iter().max_by_key(|memory| memory.free)
}

/// `40000, 81559` in mebibytes.
fn mebibytes(line: &str) -> Option<Memory> {
    let (free, total) = line.split_once(',')?;
    let bytes = |text: &str| text.trim().parse::<u64>().ok()?.checked_mul(1 << 20);
    Some(Memory { free: bytes(free)?, total: bytes(total)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Qwen2.5-1.5B: 28 layers, 2 heads of keys and values of 128, in float32.
    const SIZES: Sizes = Sizes { block_bytes: 57_344 * 32, context: 131_072, weight_bytes: 3_100_000_000 };
    const GIB: u64 = 1 << 30;

    fn memory(free: u64) -> Option<Memory> {
        Some(Memory { free, total: 64 * GIB })
    }

    fn cpu(limits: Limits, memory: Option<Memory>) -> Result<CachePlan, String> {
        sized(SIZES, limits, "cpu", memory)
    }

    #[test]
    fn a_long_answer_gets_the_cache_it_needs_where_there_was_a_fixed_gibibyte() {
        let limits = Limits::for_request(Some(500), 32_768);
        let plan = cpu(limits, memory(8 * GIB)).expect("a plan");
        assert!(plan.bytes >= (500 + 32_768) * 57_344, "one whole request fits: {plan:?}");
        assert!(plan.bytes <= 8 * GIB / 2, "and half of the memory is left: {plan:?}");
        let plenty = cpu(limits, memory(64 * GIB)).expect("a plan");
        assert!(plenty.bytes > 10 * plan.bytes, "more memory, more at once: {plenty:?}");
        let few = cpu(Limits { running: 2, ..limits }, memory(64 * GIB)).expect("a plan");
        assert_eq!(few.bytes, 2 * 1040 * SIZES.block_bytes, "what two can fill, and no more");
    }

    #[test]
    fn too_little_memory_is_an_error_with_both_figures() {
        let error = cpu(Limits::for_request(Some(500), 32_768), memory(4 * GIB)).expect_err("too little");
        assert!(error.contains("33268 tokens needs 1908408320 bytes"), "{error}");
        assert!(error.contains("found 597483648"), "{error}");
        assert!(error.contains("hint: "), "{error}");
        let limited = Limits { cache_bytes: Some(1 << 30), ..Limits::for_request(Some(500), 32_768) };
        let error = cpu(limited, memory(64 * GIB)).expect_err("the old fixed size");
        assert!(error.contains("found 1073741824"), "{error}");
        let error =
            cpu(Limits { cache_bytes: Some(65 << 30), ..Limits::default() }, memory(GIB)).expect_err("too much");
        assert!(error.contains("68719476736 bytes in all"), "{error}");
    }

    #[test]
    fn a_request_is_never_longer_than_the_models_context() {
        let plan = cpu(Limits { running: 1, ..Limits::for_request(None, 1 << 40) }, memory(64 * GIB)).expect("a plan");
        assert_eq!((plan.longest_tokens, plan.bytes), (131_072, 131_072 * 57_344));
        let unknown = cpu(Limits::for_request(None, 100), memory(64 * GIB)).expect("a plan");
        assert_eq!(unknown.longest_tokens, 2148, "a prompt of unknown length has some room");
    }

    #[test]
    fn whoever_names_no_request_takes_what_there_is() {
        let plan = cpu(Limits::default(), memory(4 * GIB)).expect("a plan");
        assert_eq!(plan.bytes, (4 * GIB - SIZES.weight_bytes) / 2);
        let unknown = cpu(Limits::default(), None).expect("a plan");
        assert_eq!(unknown.bytes, 131_072 * 57_344, "one whole context where memory is not known");
    }

    #[test]
    fn what_systems_say_is_read() {
        let text = "MemTotal:       16384 kB\nMemFree: 12 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(host(text), Some(Memory { free: 8 << 20, total: 16 << 20 }));
        assert_eq!(host("MemTotal: 1 kB"), None);
        assert_eq!(mebibytes("40000, 81559"), Some(Memory { free: 40_000 << 20, total: 81_559 << 20 }));
        assert_eq!(mebibytes("[N/A], 81559"), None);
        assert!(memory_of("cpu").is_some_and(|memory| memory.free > 0 && memory.free <= memory.total));
    }
}
