//! The ladder: every operation of training and decoding, alone, on a device against the processor.
//!
//! ```text
//! ladder DEVICE [--model 6.5M|0.5B|1.5B|all] [--only NAME,...] [--list] [--rows N] [--break NAME]
//! ```
//!
//! DEVICE is `cuda`, `cuda:N` or `flex`; on the last one every rung compares the processor with itself, so that what is tested
//! is the ladder. Each operation is a rung at the shapes of three models, in bfloat16 and float32, twice: small, where all of
//! what it writes is compared with its definition, and at full size (N rows, 8,192 unless told otherwise, a quarter of them in
//! float32). There products are checked by Freivalds ([`freivalds`]), kernels against their definition, as a whole or where
//! it costs too much at the first and last rows; kernels run twice and must give the same bits.
//!
//! A line of JSON for each, flushed. `error` is the relative L2 distance, `worst` that of one number over its own size and a
//! share of the mean size of all; what is `allowed` of both depends on the type that is written ([`case::Allowed`]). `ms` is
//! the median of ten batches of `runs` runs, waited for by reading one number, less the wait alone; `predicted_ms` is the
//! longer of what bytes take at 3.0 TB/s and operations at 700 TFLOP/s (50 in float32); `seconds` is all that went by since
//! the line before. NAME is a group or part of a rung's name; `--break` spoils one number of what such rungs write: they must
//! fail. The exit status is 1 if one did.

mod attention;
mod case;
mod climb;
mod decode;
mod freivalds;
mod kernels;
mod probes;
mod products;

use burn::tensor::Device;
use case::{Case, Model, Size};
use climb::Climb;
use distill_ops::Dtype;
use std::{error::Error, process::ExitCode};

/// What a rung's case is made from.
type Build = fn(&Model, Dtype, Size) -> Case;

/// An operation, or several that follow each other.
struct Entry {
    group: &'static str,
    name: &'static str,
    build: Build,
    dtypes: &'static [Dtype],
    /// Whether it is looked at in full size too.
    full: bool,
}

const BOTH: &[Dtype] = &[Dtype::Bf16, Dtype::F32];
const BF16: &[Dtype] = &[Dtype::Bf16];
const F32: &[Dtype] = &[Dtype::F32];

const fn entry(group: &'static str, name: &'static str, dtypes: &'static [Dtype], build: Build) -> Entry {
    Entry { group, name, build, dtypes, full: true }
}

const ENTRIES: &[Entry] = &[
    entry("products_bf16", "qkv", BF16, products::qkv),
    entry("products_bf16", "o", BF16, products::o),
    entry("products_bf16", "gate_up", BF16, products::gate_up),
    entry("products_bf16", "down", BF16, products::down),
    entry("products_bf16", "head", BF16, products::head),
    entry("products_f32", "qkv", F32, products::qkv),
    entry("products_f32", "o", F32, products::o),
    entry("products_f32", "gate_up", F32, products::gate_up),
    entry("products_f32", "down", F32, products::down),
    entry("products_f32", "head", F32, products::head),
    entry("norms", "rms_norm", BOTH, kernels::rms_norm),
    entry("norms", "head_norm", BOTH, kernels::head_norm),
    entry("rope", "rope", BOTH, kernels::rope),
    entry("swiglu", "swiglu", BOTH, kernels::swiglu),
    entry("attention_fused", "fused", BF16, attention::fused),
    entry("attention_fused", "fused, long", BF16, attention::fused_long),
    Entry { full: false, ..entry("attention_fused", "fused, window", BF16, attention::fused_window) },
    entry("attention_plain", "plain", BOTH, attention::plain),
    entry("loss", "cross_entropy", BOTH, kernels::cross_entropy),
    entry("rows", "rows", BOTH, kernels::rows),
    entry("adam", "adamw", BOTH, kernels::adamw),
    entry("sums", "sums", BOTH, kernels::sums),
    entry("decode_bf16", "cache", BF16, decode::cache),
    entry("decode_bf16", "products", BF16, decode::products),
    entry("decode_f32", "cache", F32, decode::cache),
    entry("decode_f32", "products", F32, decode::products),
];

struct Options {
    device: String,
    model: String,
    only: Vec<String>,
    rows: Option<usize>,
    broken: Option<String>,
    list: bool,
}

impl Options {
    fn parse() -> Result<Options, Box<dyn Error>> {
        let mut options = Options {
            device: String::new(),
            model: "all".to_owned(),
            only: Vec::new(),
            rows: None,
            broken: None,
            list: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("expected a value behind {argument}"));
            match argument.as_str() {
                "--model" => options.model = value()?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--rows" => options.rows = Some(value()?.parse()?),
                "--break" => options.broken = Some(value()?),
                "--list" => options.list = true,
                device if options.device.is_empty() && !device.starts_with('-') => {
                    device.clone_into(&mut options.device)
                }
                other => return Err(format!("unexpected argument {other:?}").into()),
            }
        }
        if options.device.is_empty() && !options.list {
            return Err(
                "usage: ladder DEVICE [--model NAME] [--only NAME,...] [--list] [--rows N] [--break NAME]".into()
            );
        }
        Ok(options)
    }

    /// Whether a rung, or all of a group, was asked for.
    fn asks(&self, group: &str, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == group || name.contains(only.as_str()))
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse()?;
    if options.list {
        list()?;
        return Ok(ExitCode::SUCCESS);
    }
    let device = device(&options.device)?;
    let is_host = options.device == "flex";
    let rows = options.rows.unwrap_or(if is_host { 512 } else { 8192 });
    let mut climb = Climb::new(&device, is_host, options.broken.clone())?;
    for probe in probes::PROBES {
        if options.asks(probe.0, probe.1) {
            climb.probe(probe.0, probe.1, probe.2)?;
        }
    }
    for model in Model::ALL.iter().filter(|model| options.model == "all" || options.model == model.name) {
        for entry in ENTRIES {
            for dtype in entry.dtypes {
                let asks = |name: &str| options.asks(entry.group, name);
                let asked = (entry.build)(model, *dtype, Size::Small(8)).steps.iter().any(|step| asks(&step.name));
                if !asked {
                    continue;
                }
                climb.small(entry, model, *dtype, rows.min(255))?;
                if entry.full {
                    // Sums in float32 are much slower, and the bytes twice as many.
                    let rows = if *dtype == Dtype::F32 { rows.div_ceil(4) } else { rows };
                    climb.full(entry, model, *dtype, rows)?;
                }
            }
        }
    }
    distill_ops::leave_if_hanging(climb.failed.into());
    Ok(if climb.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Groups and their rungs, apart by blanks, in the order in which they are climbed.
fn list() -> Result<(), Box<dyn Error>> {
    for (group, name, _) in probes::PROBES {
        climb::print(&format!("{group} {name}"))?;
    }
    for entry in ENTRIES {
        for step in (entry.build)(&Model::ALL[0], entry.dtypes[0], Size::Small(8)).steps {
            climb::print(&format!("{} {}", entry.group, step.name))?;
        }
    }
    Ok(())
}

fn device(name: &str) -> Result<Device, Box<dyn Error>> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    match (kind, index.parse::<usize>()) {
        ("flex", _) => Ok(Device::flex()),
        #[cfg(feature = "cuda")]
        ("cuda", Ok(index)) => Ok(Device::cuda(index)),
        _ => Err(format!("unknown device {name:?}: expected flex, or cuda with that feature built in").into()),
    }
}
