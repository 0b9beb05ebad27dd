//! cuBLASLt, found and loaded when a card is used: nothing of it is needed to build. The dozen functions that are called are
//! declared here with plain integers, so that a newer library cannot return what has no name.

#![allow(unsafe_code)]
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

use crate::{
    call::Dtype,
    lowered::{Layout, Problem},
};
use libloading::Library;
use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    ptr::{from_mut, from_ref, null_mut},
};

/// Bytes that a product may use beside its matrices: what the library's documentation recommends for Hopper.
pub(crate) const WORKSPACE: usize = 64 << 20;
/// Products whose plans are kept; packed batches have ever new numbers of rows.
pub(crate) const PLANS: usize = 4096;

/// Names under which the library is looked for, newest first.
const NAMES: [&str; 3] = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];

type Status = c_int;
type Pointer = *mut c_void;

/// What keeps a product from being computed.
#[derive(Debug, thiserror::Error)]
pub enum LtError {
    /// No library.
    #[error(
        "cuBLASLt was not found: expected libcublasLt.so.13 or .12, looked in {looked}\nhint: install CUDA's libraries or PyTorch (`pip install nvidia-cublas`), or name the folder in LD_LIBRARY_PATH"
    )]
    Missing {
        /// Where.
        looked: String,
    },
    /// One that does not load or lacks a function.
    #[error("{path}: cuBLASLt cannot be used: {why}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// One that refuses a call.
    #[error("cuBLASLt failed in {call}: {why}")]
    Failed {
        /// The function.
        call: &'static str,
        /// Its status.
        why: String,
    },
}

macro_rules! functions {
    ($($field:ident = $symbol:literal ( $($argument:ty),* );)*) => {
        struct Functions { $($field: unsafe extern "C" fn($($argument),*) -> Status,)* text: unsafe extern "C" fn(Status) -> *const c_char }

        impl Functions {
            fn load(library: &Library) -> Result<Functions, libloading::Error> {
                // SAFETY: the types are those of cuBLASLt's header; pointers to functions live as long as the library,
                // which is kept beside them.
                unsafe {
                    Ok(Functions {
                        $($field: *library.get($symbol)?,)*
                        text: *library.get(b"cublasLtGetStatusString\0")?,
                    })
                }
            }
        }
    };
}

functions! {
    create = b"cublasLtCreate\0"(*mut Pointer);
    multiply = b"cublasLtMatmul\0"(Pointer, Pointer, *const c_void, *const c_void, Pointer, *const c_void, Pointer, *const c_void, *const c_void, Pointer, *mut c_void, Pointer, *const Algorithm, *mut c_void, usize, Pointer);
    choose = b"cublasLtMatmulAlgoGetHeuristic\0"(Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, Pointer, c_int, *mut Choice, *mut c_int);
    describe = b"cublasLtMatmulDescCreate\0"(*mut Pointer, c_int, c_int);
    set_description = b"cublasLtMatmulDescSetAttribute\0"(Pointer, c_int, *const c_void, usize);
    drop_description = b"cublasLtMatmulDescDestroy\0"(Pointer);
    lay_out = b"cublasLtMatrixLayoutCreate\0"(*mut Pointer, c_int, u64, u64, i64);
    set_layout = b"cublasLtMatrixLayoutSetAttribute\0"(Pointer, c_int, *const c_void, usize);
    drop_layout = b"cublasLtMatrixLayoutDestroy\0"(Pointer);
    prefer = b"cublasLtMatmulPreferenceCreate\0"(*mut Pointer);
    set_preference = b"cublasLtMatmulPreferenceSetAttribute\0"(Pointer, c_int, *const c_void, usize);
    drop_preference = b"cublasLtMatmulPreferenceDestroy\0"(Pointer);
}

/// `cublasLtMatmulAlgo_t`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Algorithm([u64; 8]);

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Choice {
    algorithm: Algorithm,
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}
const _: () = assert!(size_of::<Choice>() == 96, "the library writes as much as its header says");

/// `CUBLAS_COMPUTE_32F`: factors as they are, sums in float32; no TF32.
const COMPUTE_32F: c_int = 68;
const TRANSPOSE_FIRST: c_int = 3;
const TRANSPOSE_SECOND: c_int = 4;
const BATCH_COUNT: c_int = 5;
const BATCH_STRIDE: c_int = 6;
const MAX_WORKSPACE: c_int = 1;
/// Of the four matrices, in the order first, second, added, out.
const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

/// `cudaDataType`
fn kind(dtype: Dtype) -> c_int {
    match dtype {
        Dtype::F32 => 0,
        Dtype::F64 => 1,
        Dtype::I32 => 10,
        Dtype::Bf16 => 14,
    }
}

/// What the library found for a product.
struct Plan {
    description: Pointer,
    layouts: [Pointer; 3],
    algorithm: Algorithm,
}

/// A problem, and to how many bytes its matrices are aligned.
type Key = (Problem, [u32; 4]);

/// The library, with what it found so far.
pub(crate) struct Lt {
    functions: Functions,
    handle: Pointer,
    plans: HashMap<Key, Plan>,
    path: PathBuf,
    // Never unloaded: a card may still run what is in it.
    _library: ManuallyDrop<Library>,
}

impl std::fmt::Debug for Lt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lt").field("path", &self.path).field("plans", &self.plans.len()).finish()
    }
}

impl Lt {
    /// Finds and loads the library.
    pub(crate) fn open() -> Result<Lt, LtError> {
        Lt::find(&NAMES, &places())
    }

    /// Loads the first of these names that the loader knows, or else that lies in one of these folders.
    pub(crate) fn find(names: &[&str], places: &[PathBuf]) -> Result<Lt, LtError> {
        // By name first: the loader's own search knows LD_LIBRARY_PATH and the system's cache.
        let files = places.iter().flat_map(|place| names.iter().map(|name| place.join(name)));
        let candidates = names.iter().map(PathBuf::from).chain(files.filter(|path| path.exists()));
        for path in candidates {
            // SAFETY: loading cuBLASLt runs its initialisers, which is what it is for.
            if let Ok(library) = unsafe { Library::new(&path) } {
                return Lt::of(&path, library);
            }
        }
        let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        let looked = if looked.is_empty() {
            "the loader's search path".to_owned()
        } else {
            format!("the loader's search path, {}", looked.join(", "))
        };
        Err(LtError::Missing { looked })
    }

    /// Loads the library from a file.
    #[cfg(test)]
    pub(crate) fn load(path: &Path) -> Result<Lt, LtError> {
        // SAFETY: as above.
        Lt::of(path, unsafe { Library::new(path) }.map_err(|error| unusable(path, &error))?)
    }

    /// With a library that was loaded from there.
    fn of(path: &Path, library: Library) -> Result<Lt, LtError> {
        let functions = Functions::load(&library).map_err(|error| unusable(path, &error))?;
        let mut lt = Lt {
            functions,
            handle: null_mut(),
            plans: HashMap::new(),
            path: path.to_owned(),
            _library: ManuallyDrop::new(library),
        };
        // SAFETY: a place for the handle is given.
        let status = unsafe { (lt.functions.create)(&mut lt.handle) };
        lt.check("cublasLtCreate", status)?;
        Ok(lt)
    }

    /// The file it was loaded from, as far as the loader tells.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), LtError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function returns a text that lives as long as the library, or null.
        let text = unsafe { (self.functions.text)(status) };
        let why = if text.is_null() {
            format!("status {status}")
        } else {
            // SAFETY: not null, and ended by a zero as C has it.
            format!("{} (status {status})", unsafe { CStr::from_ptr(text) }.to_string_lossy())
        };
        Err(LtError::Failed { call, why })
    }

    /// Multiplies matrices that lie at these addresses: first, second, added, out.
    ///
    /// # Safety
    /// The addresses hold matrices of the problem's layouts on the current context's card for as long as the stream's work
    /// takes, and `workspace` [`WORKSPACE`] bytes that nothing else uses meanwhile.
    pub(crate) unsafe fn multiply(
        &mut self,
        problem: &Problem,
        [first, second, added, out]: [u64; 4],
        workspace: u64,
        stream: Pointer,
    ) -> Result<(), LtError> {
        let alignments = [first, second, added, out].map(|address| 1 << address.trailing_zeros().min(8));
        let key = (*problem, alignments);
        if !self.plans.contains_key(&key) {
            if self.plans.len() >= PLANS {
                self.forget();
            }
            let plan = self.plan(&key)?;
            self.plans.insert(key, plan);
        }
        let plan = &self.plans[&key];
        let (alpha, beta) = (1.0_f32, if problem.adds { 1.0_f32 } else { 0.0 });
        let [first_layout, second_layout, out_layout] = plan.layouts;
        // SAFETY: the caller vouches for the addresses; the plan was made for this problem and alignment.
        let status = unsafe {
            (self.functions.multiply)(
                self.handle,
                plan.description,
                from_ref(&alpha).cast(),
                first as *const c_void,
                first_layout,
                second as *const c_void,
                second_layout,
                from_ref(&beta).cast(),
                added as *const c_void,
                out_layout,
                out as *mut c_void,
                out_layout,
                &plan.algorithm,
                workspace as *mut c_void,
                WORKSPACE,
                stream,
            )
        };
        self.check("cublasLtMatmul", status)
    }

    /// [`Lt::multiply`] by a library that looks at no matrix.
    #[cfg(test)]
    pub(crate) fn ask(&mut self, problem: &Problem, addresses: [u64; 4]) -> Result<(), LtError> {
        // SAFETY: the addresses are told to the test's own library, which only writes them down.
        unsafe { self.multiply(problem, addresses, 0x77_0000, null_mut()) }
    }

    fn plan(&self, (problem, alignments): &Key) -> Result<Plan, LtError> {
        let functions = &self.functions;
        let mut description = null_mut();
        // SAFETY, for all calls below: every attribute is given a number of the type and size that the header names, and
        // every handle was created right before.
        let status = unsafe { (functions.describe)(&mut description, COMPUTE_32F, kind(Dtype::F32)) };
        self.check("cublasLtMatmulDescCreate", status)?;
        for (attribute, transposed) in [TRANSPOSE_FIRST, TRANSPOSE_SECOND].into_iter().zip(problem.transposed) {
            let value = c_int::from(transposed);
            // SAFETY: see above.
            let status = unsafe { (functions.set_description)(description, attribute, from_ref(&value).cast(), 4) };
            self.check("cublasLtMatmulDescSetAttribute", status)?;
        }
        let layouts = [
            self.layout(&problem.first, problem.batch)?,
            self.layout(&problem.second, problem.batch)?,
            self.layout(&problem.out, problem.batch)?,
        ];
        let mut preference = null_mut();
        // SAFETY: see above.
        let status = unsafe { (functions.prefer)(&mut preference) };
        self.check("cublasLtMatmulPreferenceCreate", status)?;
        // SAFETY: see above.
        let status = unsafe {
            (functions.set_preference)(preference, MAX_WORKSPACE, from_ref(&WORKSPACE).cast(), size_of::<usize>())
        };
        self.check("cublasLtMatmulPreferenceSetAttribute", status)?;
        for (attribute, alignment) in ALIGNMENTS.into_iter().zip(alignments) {
            // SAFETY: see above.
            let status = unsafe { (functions.set_preference)(preference, attribute, from_ref(alignment).cast(), 4) };
            self.check("cublasLtMatmulPreferenceSetAttribute", status)?;
        }
        let (mut choice, mut count) = (Choice::default(), 0);
        let [first, second, out] = layouts;
        // SAFETY: room for one choice is given and one is asked for.
        let status = unsafe {
            (functions.choose)(
                self.handle,
                description,
                first,
                second,
                out,
                out,
                preference,
                1,
                from_mut(&mut choice),
                &mut count,
            )
        };
        self.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        // SAFETY: created above, used no more.
        self.check("cublasLtMatmulPreferenceDestroy", unsafe { (functions.drop_preference)(preference) })?;
        // What else is in a choice counts only where its own state is no failure.
        if count == 0 || choice.state != 0 {
            return Err(LtError::Failed {
                call: "cublasLtMatmulAlgoGetHeuristic",
                why: format!("no way to compute {problem:?}"),
            });
        }
        Ok(Plan { description, layouts, algorithm: choice.algorithm })
    }

    fn layout(&self, layout: &Layout, batch: i32) -> Result<Pointer, LtError> {
        let mut out = null_mut();
        // SAFETY: a place for the handle is given; attributes as in `plan`.
        let status = unsafe {
            (self.functions.lay_out)(&mut out, kind(layout.dtype), layout.rows, layout.columns, layout.leading)
        };
        self.check("cublasLtMatrixLayoutCreate", status)?;
        if batch > 1 {
            // SAFETY: see above.
            let status = unsafe { (self.functions.set_layout)(out, BATCH_COUNT, from_ref(&batch).cast(), 4) };
            self.check("cublasLtMatrixLayoutSetAttribute", status)?;
            // SAFETY: see above.
            let status =
                unsafe { (self.functions.set_layout)(out, BATCH_STRIDE, from_ref(&layout.batch_stride).cast(), 8) };
            self.check("cublasLtMatrixLayoutSetAttribute", status)?;
        }
        Ok(out)
    }

    /// Drops what was found.
    fn forget(&mut self) {
        for (_, plan) in self.plans.drain() {
            // SAFETY: created in `plan`, owned by the table alone, used no more.
            unsafe {
                (self.functions.drop_description)(plan.description);
                plan.layouts.into_iter().for_each(|layout| {
                    (self.functions.drop_layout)(layout);
                });
            }
        }
    }
}

/// What the loader says is in the error's source: which file, which symbol.
fn unusable(path: &Path, error: &libloading::Error) -> LtError {
    let said = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    LtError::Unusable { path: path.display().to_string(), why: format!("{error}{said}") }
}

/// Folders where installations and PyTorch's wheels keep the library.
fn places() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    homes.extend(["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from));
    let mut places: Vec<PathBuf> =
        homes.iter().flat_map(|home| [home.join("lib64"), home.join("targets/x86_64-linux/lib")]).collect();
    // The environment of the `python3` that would run, then the active one.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binaries = std::env::split_paths(&path).find(|place| place.join("python3").exists());
    let prefixes = std::env::var_os("VIRTUAL_ENV")
        .map(PathBuf::from)
        .into_iter()
        .chain(binaries.and_then(|place| Some(place.parent()?.to_owned())));
    for prefix in prefixes {
        for versions in folders(&prefix.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                places.extend(
                    folders(&versions.join(packages).join("nvidia"), "").into_iter().map(|package| package.join("lib")),
                );
            }
        }
    }
    places.retain(|place| place.is_dir());
    places
}

/// Folders in `place` whose names begin so, in order.
fn folders(place: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}
