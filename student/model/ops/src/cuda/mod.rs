//! A card: memory of CubeCL's pool, a stream of our own, products by cuBLASLt, kernels from PTX.
//!
//! CubeCL's streams are not to be had, so that order with what it does itself is kept by events of the whole context: a buffer
//! is taken into use after everything that CubeCL was asked for before ([`Cuda::enter`]), and given back before everything
//! that it is asked for later ([`Cuda::leave`]). In between nothing but this stream touches a buffer. An address holds as
//! long as the resource that it was read from, which lies beside it.

#![allow(unsafe_code)]

mod modules;

use crate::{
    call::{Arg, At, Buffer, Call, Dtype, Entry, Launch, grid},
    engine::{OpsError, Watch, failed},
    lowered::Lowered,
    lt::{Lt, WORKSPACE},
};
use burn::{
    backend::{BackendTensor, DispatchTensorKind},
    tensor::{Device, Tensor},
};
use burn_cubecl::{
    CubeDevice,
    cubecl::{__private::Runtime, client::Client, cuda::CudaRuntime, server::Handle},
};
use cudarc::driver::sys;
use modules::Modules;
use rayon::prelude::*;
use std::{
    any::Any,
    ffi::{CStr, c_void},
    ptr::{from_mut, null_mut},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Contexts' events came with CUDA 12.5.
const OLDEST_DRIVER: i32 = 12050;
/// Bytes of the pinned memory through which is read: a copy into it runs at the bus's speed, and does not block the driver.
const STAGING: usize = 32 << 20;
/// Calls between two marks: the driver blocks, without a limit, when about a thousand launches wait.
const MARK: usize = 256;

/// Whether a card of this process has not finished in time.
static HANGS: AtomicBool = AtomicBool::new(false);

/// See [`crate::leave_if_hanging`].
pub(crate) fn leave_if_hanging(status: u8) {
    if HANGS.load(Ordering::Relaxed) {
        // SAFETY: it does not return, and touches no memory of this process.
        unsafe { libc::_exit(status.into()) }
    }
}

/// A card with buffers.
pub(crate) struct Cuda {
    client: Client,
    context: sys::CUcontext,
    stream: sys::CUstream,
    before: sys::CUevent,
    after: sys::CUevent,
    modules: Modules,
    lt: Lt,
    /// Memory that products work in. It is the first of the buffers.
    workspace: u64,
    staging: *mut u8,
    buffers: Vec<Option<Held>>,
    name: String,
    watch: Watch,
    /// Whether work did not end: nothing more is waited for.
    hangs: bool,
    /// Calls since the last mark, and what was marked before.
    started: usize,
    marks: [sys::CUevent; 2],
}

// SAFETY: the context is made current at every entry, on whichever thread that is; the driver's handles may be used from any
// thread, and `&mut self` keeps two from using them at once.
unsafe impl Send for Cuda {}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cuda")
            .field("name", &self.name)
            .field("lt", &self.lt)
            .field("buffers", &self.buffers.len())
            .finish()
    }
}

/// Memory in use: the allocation, what keeps it in place, and its address.
struct Held {
    _handle: Handle,
    _resource: Box<dyn Any + Send>,
    address: u64,
    bytes: usize,
}

impl Cuda {
    /// The card that a device is; nothing where it is another kind of device.
    pub(crate) fn of(device: &Device, watch: Watch) -> Result<Option<Cuda>, OpsError> {
        let probe = Tensor::<1>::zeros([1], device).into_dispatch().kind;
        let probe = match probe {
            DispatchTensorKind::Cube(BackendTensor::Float(probe)) => probe,
            DispatchTensorKind::Flex(_) => return Ok(None),
            other => {
                let message = format!("expected a plain device, the processor or a card, found one of {other:?}");
                return Err(OpsError::Device(message));
            }
        };
        let CubeDevice::Cuda(card) = &probe.device else { return Ok(None) };
        let index = i32::try_from(card.index).map_err(|_| OpsError::Device(format!("no card {}", card.index)))?;
        // SAFETY: asks whether the driver's library can be loaded; it is, since Burn computes on the card.
        if !unsafe { sys::is_culib_present() } {
            return Err(OpsError::Device("the driver's library (libcuda.so.1) is missing".to_owned()));
        }
        let mut version = 0;
        // SAFETY: a place for the number is given.
        check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut version) })?;
        if version < OLDEST_DRIVER {
            return Err(OpsError::Device(format!(
                "expected a driver for CUDA 12.5 or newer (555), found one for CUDA {}.{}\nhint: update the driver",
                version / 1000,
                version % 1000 / 10
            )));
        }
        let (mut ordinal, mut context) = (0, null_mut());
        let mut capability = [0; 2];
        let mut name = [0; 128];
        let [major, minor] = [
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        ];
        // SAFETY: places for the results are given; the context is the primary one, which CubeCL keeps alive too.
        unsafe {
            check("cuDeviceGet", sys::cuDeviceGet(&mut ordinal, index))?;
            check("cuDeviceGetName", sys::cuDeviceGetName(name.as_mut_ptr(), 127, ordinal))?;
            check("cuDeviceGetAttribute", sys::cuDeviceGetAttribute(&mut capability[0], major, ordinal))?;
            check("cuDeviceGetAttribute", sys::cuDeviceGetAttribute(&mut capability[1], minor, ordinal))?;
            check("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut context, ordinal))?;
            check("cuCtxSetCurrent", sys::cuCtxSetCurrent(context))?;
        }
        // SAFETY: ended by a zero within the array, which is one longer than what was asked for.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        if capability < [8, 0] {
            let [major, minor] = capability;
            return Err(OpsError::Device(format!(
                "{name} is of compute capability {major}.{minor}, expected 8.0 or more: bfloat16 needs it"
            )));
        }
        let lt = Lt::open()?;
        let (mut stream, mut before, mut after) = (null_mut(), null_mut(), null_mut());
        let mut marks = [null_mut(); 2];
        let mut staging = null_mut();
        // SAFETY: places for the handles are given, the context is current. 1: not ordered with the null stream; 2: events
        // without times.
        unsafe {
            check("cuMemAllocHost", sys::cuMemAllocHost_v2(&mut staging, STAGING))?;
            check("cuStreamCreate", sys::cuStreamCreate(&mut stream, 1))?;
            check("cuEventCreate", sys::cuEventCreate(&mut before, 2))?;
            check("cuEventCreate", sys::cuEventCreate(&mut after, 2))?;
            check("cuEventCreate", sys::cuEventCreate(&mut marks[0], 2))?;
            check("cuEventCreate", sys::cuEventCreate(&mut marks[1], 2))?;
        }
        let client = probe.client.clone();
        let workspace = held(&client, WORKSPACE)?;
        let modules = Modules::load(capability)?;
        Ok(Some(Cuda {
            client,
            staging: staging.cast(),
            context,
            stream,
            before,
            after,
            modules,
            lt,
            workspace: workspace.address,
            buffers: vec![Some(workspace)],
            name,
            watch,
            hangs: false,
            started: 0,
            marks,
        }))
    }

    /// Makes the context this thread's. A card that hangs is asked nothing more.
    fn current(&self) -> Result<(), OpsError> {
        if self.hangs {
            return Err(failed("the device", "it has not finished what it was asked before".to_owned()));
        }
        // SAFETY: the context is retained and never released.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    /// The stream goes on after everything that the context was asked for.
    fn enter(&self) -> Result<(), OpsError> {
        // SAFETY: context, event and stream are live.
        unsafe {
            check("cuCtxRecordEvent", sys::cuCtxRecordEvent(self.context, self.before))?;
            check("cuStreamWaitEvent", sys::cuStreamWaitEvent(self.stream, self.before, 0))
        }
    }

    /// Everything that the context is asked for from now on comes after the stream's work.
    fn leave(&self) -> Result<(), OpsError> {
        // SAFETY: as above.
        unsafe {
            check("cuEventRecord", sys::cuEventRecord(self.after, self.stream))?;
            check("cuCtxWaitEvent", sys::cuCtxWaitEvent(self.context, self.after))
        }
    }

    pub(crate) fn zeros(&mut self, dtype: Dtype, len: usize) -> Result<Buffer, OpsError> {
        self.current()?;
        let bytes = (len * dtype.size()).max(16);
        let is_short = |cuda: &Cuda| cuda.memory().map(|(free, _)| free).filter(|free| bytes as u64 > *free);
        if is_short(self).is_some() {
            self.release()?;
        }
        if let Some(free) = is_short(self) {
            return Err(OpsError::Device(format!(
                "{}: expected {} MiB of free memory, found {} MiB\nhint: fewer tokens at once, states in bfloat16, or a larger card",
                self.name,
                bytes >> 20,
                free >> 20
            )));
        }
        // The address is told only after everything before was launched, so that the event sees it.
        let held = held(&self.client, bytes)?;
        self.enter()?;
        // SAFETY: the buffer is that long and in no other use.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(held.address, 0, bytes, self.stream) })?;
        let buffer = Buffer { index: self.buffers.len(), dtype };
        self.buffers.push(Some(held));
        Ok(buffer)
    }

    pub(crate) fn free(&mut self, buffer: Buffer) -> Result<(), OpsError> {
        self.current()?;
        self.leave()?;
        self.buffers[buffer.index] = None;
        Ok(())
    }

    /// Gives what was freed back to the card: the pool keeps it otherwise, in pages of the sizes that were asked for before.
    pub(crate) fn release(&mut self) -> Result<(), OpsError> {
        self.current()?;
        self.finish("what was asked before memory was given back")?;
        self.client.memory_cleanup().map_err(|error| failed("giving memory back", error.to_string()))?;
        self.current()
    }

    /// The address of a place, checked to have `bytes` behind it.
    fn address(&self, at: At, len: usize) -> Result<u64, OpsError> {
        let (offset, size) = (at.offset * at.dtype().size(), len * at.dtype().size());
        match &self.buffers[at.buffer.index] {
            Some(held) if offset + size <= held.bytes => Ok(held.address + offset as u64),
            Some(held) => {
                Err(failed("an address", format!("{} bytes at {offset} of a buffer of {}", size, held.bytes)))
            }
            None => Err(failed("an address", "of a buffer that was given back".to_owned())),
        }
    }

    pub(crate) fn write(&mut self, at: At, values: &[f32]) -> Result<(), OpsError> {
        match at.dtype() {
            Dtype::F32 => self.upload(at, values),
            Dtype::Bf16 => {
                self.upload(at, &values.iter().map(|value| half::bf16::from_f32(*value)).collect::<Vec<_>>())
            }
            Dtype::F64 => self.upload(at, &values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>()),
            Dtype::I32 => Err(failed("a write", "floats where integers are kept".to_owned())),
        }
    }

    pub(crate) fn write_ints(&mut self, at: At, values: &[i32]) -> Result<(), OpsError> {
        self.upload(at, values)
    }

    fn upload<T>(&mut self, at: At, values: &[T]) -> Result<(), OpsError> {
        self.current()?;
        let address = self.address(at, values.len())?;
        let bytes = size_of_val(values);
        // SAFETY: `address` has room for so many numbers. Memory that is not pinned is copied to a staging buffer before the call
        // returns (the driver API's page on synchronisation).
        let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(address, values.as_ptr().cast(), bytes, self.stream) };
        check("cuMemcpyHtoDAsync", copied)
    }

    pub(crate) fn read_into(&mut self, at: At, len: usize, out: &mut Vec<f32>) -> Result<(), OpsError> {
        out.resize(len, 0.0);
        match at.dtype() {
            Dtype::F32 => self.download(at, out),
            Dtype::Bf16 => {
                let mut read = vec![half::bf16::ZERO; len];
                self.download(at, &mut read)?;
                out.iter_mut().zip(read).for_each(|(out, value)| *out = value.to_f32());
                Ok(())
            }
            Dtype::F64 => {
                let read = self.read_doubles(at, len)?;
                out.iter_mut().zip(read).for_each(|(out, value)| *out = value as f32);
                Ok(())
            }
            Dtype::I32 => Err(failed("a read", "floats where integers are kept".to_owned())),
        }
    }

    pub(crate) fn read_doubles(&mut self, at: At, len: usize) -> Result<Vec<f64>, OpsError> {
        let mut out = vec![0.0; len];
        self.download(at, &mut out)?;
        Ok(out)
    }

    fn download<T: Copy + Send + Sync>(&mut self, at: At, out: &mut [T]) -> Result<(), OpsError> {
        self.current()?;
        let address = self.address(at, out.len())?;
        for (index, part) in out.chunks_mut(STAGING / size_of::<T>()).enumerate() {
            let bytes = size_of_val(part);
            let from = address + (index * STAGING) as u64;
            // SAFETY: the part lies in the buffer, and in the staging memory, which nothing else uses.
            let copied = unsafe { sys::cuMemcpyDtoHAsync_v2(self.staging.cast(), from, bytes, self.stream) };
            check("cuMemcpyDtoHAsync", copied)?;
            self.finish("a read")?;
            // SAFETY: the card has written that many numbers there, whose every bit pattern is one; the memory is aligned to
            // pages, and not written before the next part is asked for.
            let staged = unsafe { std::slice::from_raw_parts(self.staging.cast::<T>(), part.len()) };
            part.par_chunks_mut(1 << 16)
                .zip(staged.par_chunks(1 << 16))
                .for_each(|(to, from)| to.copy_from_slice(from));
        }
        Ok(())
    }

    /// Waits until the stream's work is done.
    fn finish(&mut self, operation: &str) -> Result<(), OpsError> {
        let stream = self.stream;
        // SAFETY: the stream is live.
        self.wait(operation, || unsafe { sys::cuStreamQuery(stream) })
    }

    /// Asks until the answer is another than *not ready*.
    fn wait(&mut self, operation: &str, ask: impl Fn() -> sys::CUresult) -> Result<(), OpsError> {
        let begin = Instant::now();
        loop {
            match ask() {
                sys::CUresult::CUDA_ERROR_NOT_READY => {}
                status => return check(operation, status),
            }
            let waited = begin.elapsed();
            if waited > self.watch.patience {
                self.hangs = true;
                HANGS.store(true, Ordering::Relaxed);
                return Err(OpsError::Hangs { operation: operation.to_owned(), seconds: waited.as_secs_f64() });
            }
            if waited > Duration::from_micros(200) {
                std::thread::sleep(Duration::from_micros(20));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    pub(crate) fn run(&mut self, calls: &[Call]) -> Result<(), OpsError> {
        self.current()?;
        for call in calls {
            self.start(call).map_err(|error| named(error, call))?;
            self.started += 1;
            if self.started.is_multiple_of(MARK) {
                self.mark(call)?;
            }
            if self.watch.checked {
                self.finish(&call.name())?;
            }
        }
        Ok(())
    }

    /// Marks where the stream is, and waits for the mark before: so the host is never more than two marks ahead, and a card
    /// that hangs is noticed while more is still to be started.
    fn mark(&mut self, call: &Call) -> Result<(), OpsError> {
        let [now, before] = [self.started / MARK % 2, (self.started / MARK + 1) % 2].map(|which| self.marks[which]);
        // SAFETY: event and stream are live.
        check("cuEventRecord", unsafe { sys::cuEventRecord(now, self.stream) })?;
        // SAFETY: the event is live; one that was never recorded is done.
        self.wait(&format!("what was started before {}", call.name()), || unsafe { sys::cuEventQuery(before) })
    }

    fn start(&mut self, call: &Call) -> Result<(), OpsError> {
        match call {
            Call::Product(product) => {
                let lowered = Lowered::of(product);
                for (at, len) in product.places() {
                    self.address(at, len)?;
                }
                let [first, second, added, out] =
                    [lowered.first, lowered.second, lowered.added, lowered.out].map(|at| self.address(at, 1));
                let addresses = [first?, second?, added?, out?];
                // SAFETY: all matrices were seen to lie in their buffers; the workspace is this stream's alone.
                unsafe { self.lt.multiply(&lowered.problem, addresses, self.workspace, self.stream.cast()) }?;
                Ok(())
            }
            Call::Zero(at, len) => {
                let (address, bytes) = (self.address(*at, *len)?, len * at.dtype().size());
                // SAFETY: the range was checked.
                check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(address, 0, bytes, self.stream) })
            }
            Call::Kernel(kernel) => self.launch(&kernel.launch()),
        }
    }

    fn launch(&mut self, launch: &Launch) -> Result<(), OpsError> {
        let function = self.modules.function(&launch.entry)?;
        // Every argument in eight bytes of its own, whose first ones are what the kernel reads: the processor is
        // little-endian wherever a card is.
        let mut values = Vec::with_capacity(launch.args.len() + function.trailing);
        for arg in &launch.args {
            values.push(match *arg {
                Arg::At(at) => self.address(at, 1)?,
                Arg::Null => 0,
                Arg::Int(value) => u64::from(value.cast_unsigned()),
                Arg::Unsigned(value) => u64::from(value),
                Arg::Long(value) => value,
                Arg::Float(value) => u64::from(value.to_bits()),
            });
        }
        values.extend(std::iter::repeat_n(0, function.trailing));
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| from_mut(value).cast()).collect();
        let ([x, y, z], threads) = match launch.entry {
            Entry::Plain { grid: blocks, threads, .. } => (blocks, threads),
            Entry::Attention { longest, heads, documents, .. } => {
                ([longest.div_ceil(function.tile), heads, documents].map(grid), function.threads)
            }
        };
        // SAFETY: the arguments are those of the kernel's definition in number and type (a test reads both) and every address
        // lies in a live buffer; how far behind it a kernel reaches is what whoever implements `Kernel` vouches for. The stream
        // orders the launch with everything that touches those buffers.
        let status = unsafe {
            sys::cuLaunchKernel(
                function.handle,
                x,
                y,
                z,
                threads,
                1,
                1,
                function.shared,
                self.stream,
                pointers.as_mut_ptr(),
                null_mut(),
            )
        };
        check("cuLaunchKernel", status)
    }

    pub(crate) fn has_attention(&self, dim: usize) -> bool {
        self.modules.has_attention(dim)
    }

    /// Bytes that are free, and all.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        self.current().ok()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: places for the numbers are given.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }).ok()?;
        Some((free as u64, total as u64))
    }

    pub(crate) fn held_memory(&self) -> u64 {
        self.buffers.iter().flatten().map(|held| held.bytes as u64).sum()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn describe(&self) -> String {
        format!("{}, products by {}", self.name, self.lt.path().display())
    }
}

impl Drop for Cuda {
    /// Ends the work, and gives everything back in order. A card that does not answer keeps what it has: what it may still
    /// write to is nobody else's.
    fn drop(&mut self) {
        let ended = self.current().and_then(|()| self.finish("the end")).and_then(|()| self.leave());
        if ended.is_err() {
            std::mem::forget(std::mem::take(&mut self.buffers));
            return;
        }
        self.buffers.clear();
        // SAFETY: made in `of`, used by nothing any more. What is not destroyed here ends with the process.
        unsafe {
            let _ = sys::cuStreamDestroy_v2(self.stream);
            for event in [self.before, self.after].into_iter().chain(self.marks) {
                let _ = sys::cuEventDestroy_v2(event);
            }
            let _ = sys::cuMemFreeHost(self.staging.cast());
        }
    }
}

fn held(client: &Client, bytes: usize) -> Result<Held, OpsError> {
    let handle = client.empty(bytes);
    let resource = client
        .get_resource::<<CudaRuntime as Runtime>::Server>(handle.clone())
        .map_err(|error| OpsError::Device(format!("no memory for {} MiB: {error}", bytes >> 20)))?;
    let address = resource.resource().ptr;
    Ok(Held { _handle: handle, _resource: Box::new(resource), address, bytes })
}

fn check(operation: &str, status: sys::CUresult) -> Result<(), OpsError> {
    if status == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut text = std::ptr::null();
    // SAFETY: a place for the text is given; the texts are the driver's own and live as long as it does.
    let told = unsafe { sys::cuGetErrorString(status, &mut text) };
    let why = if told == sys::CUresult::CUDA_SUCCESS && !text.is_null() {
        // SAFETY: see above.
        format!("{} ({status:?})", unsafe { CStr::from_ptr(text) }.to_string_lossy())
    } else {
        format!("{status:?}")
    };
    Err(failed(operation, why))
}

/// An error with the call that it happened in.
fn named(error: OpsError, call: &Call) -> OpsError {
    match error {
        OpsError::Failed { operation, why } => failed(&call.name(), format!("{operation}: {why}")),
        error => failed(&call.name(), error.to_string()),
    }
}
