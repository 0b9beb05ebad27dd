//! Kernels as text that the driver compiles for the card it finds: `kernels.ptx`, from CUDA C++, and the attention's, from
//! Triton. Scripts beside the sources prove that the texts are theirs.

use super::check;
use crate::{
    call::{AttentionPart, Entry},
    engine::{OpsError, failed},
};
use cudarc::driver::sys;
use serde::Deserialize;
use std::{
    collections::HashMap,
    ffi::{CString, c_void},
    ptr::null_mut,
};

const KERNELS: &str = include_str!("../../kernels/kernels.ptx");
const ATTENTION: &str = include_str!("../../kernels/attention/attention.json");
macro_rules! texts {
    ($($arch:literal: $($entry:literal),* $(,)?;)*) => {
        &[$($((
            concat!("ptx/", $arch, "/", $entry, ".ptx"),
            include_str!(concat!("../../kernels/attention/ptx/", $arch, "/", $entry, ".ptx")),
        )),*),*]
    };
}
const ATTENTION_TEXTS: &[(&str, &str)] = texts! {
    "sm_90a":
        "attention_forward_d128", "attention_dkdv_d128", "attention_dq_d128",
        "attention_forward_d64", "attention_dkdv_d64", "attention_dq_d64",
        "attention_forward_d32", "attention_dkdv_d32", "attention_dq_d32";
    "sm_80":
        "attention_forward_d128", "attention_dkdv_d128", "attention_dq_d128",
        "attention_forward_d64", "attention_dkdv_d64", "attention_dq_d64",
        "attention_forward_d32", "attention_dkdv_d32", "attention_dq_d32";
};
/// Dynamic shared memory that a kernel has without asking.
const SHARED: u32 = 48 << 10;

/// What `attention.json` says of a kernel.
#[derive(Debug, Deserialize)]
struct Described {
    entry: String,
    file: String,
    kernel: String,
    arch: String,
    dim: usize,
    grid_block: usize,
    threads: u32,
    shared_bytes: u32,
    parameters: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Table {
    kernels: Vec<Described>,
}

/// A kernel that can be launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    pub(super) handle: sys::CUfunction,
    /// Of the attention's kernels; others say so at the launch.
    pub(super) threads: u32,
    pub(super) shared: u32,
    /// Rows of a tile.
    pub(super) tile: usize,
    /// Null pointers behind the arguments.
    pub(super) trailing: usize,
}

/// Compiled kernels; the attention's when they are first asked for.
#[derive(Debug)]
pub(super) struct Modules {
    plain: sys::CUmodule,
    functions: HashMap<String, Function>,
    described: Vec<Described>,
    attention: HashMap<(AttentionPart, usize), Function>,
}

impl Modules {
    /// For a card of that compute capability.
    pub(super) fn load(capability: [i32; 2]) -> Result<Modules, OpsError> {
        let table: Table = serde_json::from_str(ATTENTION)
            .map_err(|error| OpsError::Device(format!("attention.json, built in: {error}")))?;
        // Text for 9.0a runs on 9.0 alone; that for 8.0 on all that came since.
        let arch = if capability == [9, 0] { "sm_90a" } else { "sm_80" };
        let described = table.kernels.into_iter().filter(|described| described.arch == arch).collect();
        let plain = compiled("kernels.ptx", KERNELS)?;
        Ok(Modules { plain, functions: HashMap::new(), described, attention: HashMap::new() })
    }

    pub(super) fn has_attention(&self, dim: usize) -> bool {
        self.described.iter().any(|described| described.dim == dim)
    }

    fn attention(&mut self, part: AttentionPart, dim: usize) -> Result<Function, OpsError> {
        if let Some(function) = self.attention.get(&(part, dim)) {
            return Ok(*function);
        }
        let kernel = match part {
            AttentionPart::Forward => "forward",
            AttentionPart::Dkdv => "dkdv",
            AttentionPart::Dq => "dq",
        };
        let found = self.described.iter().find(|described| described.kernel == kernel && described.dim == dim);
        let found = found.ok_or_else(|| failed("attention", format!("no kernel for heads of {dim}")))?.load()?;
        self.attention.insert((part, dim), found);
        Ok(found)
    }

    /// The kernel of an entry.
    pub(super) fn function(&mut self, entry: &Entry) -> Result<Function, OpsError> {
        match entry {
            Entry::Attention { part, dim, .. } => self.attention(*part, *dim),
            Entry::Plain { name, threads, .. } => {
                if let Some(function) = self.functions.get(name) {
                    return Ok(*function);
                }
                let handle = function(self.plain, name)?;
                let found = Function { handle, threads: *threads, shared: 0, tile: 1, trailing: 0 };
                self.functions.insert(name.clone(), found);
                Ok(found)
            }
        }
    }
}

impl Described {
    fn load(&self) -> Result<Function, OpsError> {
        let text = ATTENTION_TEXTS.iter().find(|(file, _)| *file == self.file).map(|(_, text)| *text);
        let text = text.ok_or_else(|| failed(&self.entry, format!("{} is not built in", self.file)))?;
        let handle = function(compiled(&self.file, text)?, &self.entry)?;
        if self.shared_bytes > SHARED {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is live.
            let set = unsafe { sys::cuFuncSetAttribute(handle, attribute, self.shared_bytes.cast_signed()) };
            check(&self.entry, set)?;
        }
        let trailing = self.parameters.iter().filter(|name| *name == "scratch").count();
        let (threads, shared, tile) = (self.threads, self.shared_bytes, self.grid_block);
        Ok(Function { handle, threads, shared, tile, trailing })
    }
}

fn compiled(name: &str, text: &str) -> Result<sys::CUmodule, OpsError> {
    let text = CString::new(text).map_err(|_| failed(name, "a zero in the text".to_owned()))?;
    let mut module = null_mut();
    let mut log = [0_u8; 4096];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    // SAFETY: the text is ended by a zero; the log is as long as is said.
    let status = unsafe {
        sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    check(name, status).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        failed(name, format!("{error}; the driver's compiler says: {}", String::from_utf8_lossy(&log[..end])))
    })?;
    Ok(module)
}

fn function(module: sys::CUmodule, name: &str) -> Result<sys::CUfunction, OpsError> {
    let mut handle = null_mut();
    let text = CString::new(name).map_err(|_| failed(name, "a zero in the name".to_owned()))?;
    // SAFETY: the module is live, the name ended by a zero.
    check(name, unsafe { sys::cuModuleGetFunction(&mut handle, module, text.as_ptr()) })?;
    Ok(handle)
}
