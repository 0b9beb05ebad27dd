//! Buffers and what is done to them, on a card or on the processor.

use crate::{
    call::{At, Buffer, Call, Dtype},
    host::Memory,
    lt::LtError,
};
use burn::tensor::Device;
use std::time::Duration;

/// How a card is watched while it works. The processor needs none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Whether every call is waited for, so that the one that fails or hangs is named. That is slow.
    pub checked: bool,
    /// How long the card may work at what was asked of it at once, before it counts as hanging.
    pub patience: Duration,
}

impl Default for Watch {
    /// Calls are started one after the other, and two minutes are long enough for what waits in the card's queue.
    fn default() -> Self {
        Watch { checked: false, patience: Duration::from_secs(120) }
    }
}

/// What can go wrong on a device.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The device cannot be used.
    #[error("{0}")]
    Device(String),
    /// The library of matrix products is missing or refuses.
    #[error(transparent)]
    Products(#[from] LtError),
    /// An operation failed on the device.
    #[error("{operation} failed on the device: {why}")]
    Failed {
        /// Which.
        operation: String,
        /// What the driver says.
        why: String,
    },
    /// Work did not end.
    #[error(
        "{operation}: the device has not finished after {seconds:.0} s\nhint: end the process; `--ops checked` names the operation that hangs"
    )]
    Hangs {
        /// What was waited for.
        operation: String,
        /// How long.
        seconds: f64,
    },
}

/// Ends the process with that status at once if a card of it hangs, and does nothing otherwise. Nothing that is registered for
/// a process's end is run then: the driver would wait for the card's work, for ever. What was written to files stays as it
/// is; call it when everything is said.
pub fn leave_if_hanging(status: u8) {
    #[cfg(feature = "cuda")]
    crate::cuda::leave_if_hanging(status);
    let _ = status;
}

/// A device with buffers.
#[derive(Debug)]
pub struct Engine {
    on: On,
}

#[derive(Debug)]
enum On {
    Host(Memory),
    #[cfg(feature = "cuda")]
    Cuda(Box<crate::cuda::Cuda>),
}

impl Engine {
    /// On Burn's device: a card, or the processor, where calls run by definition.
    ///
    /// # Errors
    /// When the card's driver or cuBLASLt is missing or too old.
    pub fn new(device: &Device) -> Result<Engine, OpsError> {
        Engine::with(device, Watch::default())
    }

    /// As [`Engine::new`], watched in another way.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with(device: &Device, watch: Watch) -> Result<Engine, OpsError> {
        #[cfg(feature = "cuda")]
        if let Some(cuda) = crate::cuda::Cuda::of(device, watch)? {
            return Ok(Engine { on: On::Cuda(Box::new(cuda)) });
        }
        let _ = (device, watch);
        Ok(Engine { on: On::Host(Memory::default()) })
    }

    /// A new buffer of zeros.
    ///
    /// # Errors
    /// When there is no memory left.
    pub fn zeros(&mut self, dtype: Dtype, len: usize) -> Result<Buffer, OpsError> {
        match &mut self.on {
            On::Host(memory) => Ok(memory.zeros(dtype, len)),
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.zeros(dtype, len),
        }
    }

    /// Gives a buffer's memory back.
    ///
    /// # Errors
    /// When the device failed before.
    pub fn free(&mut self, buffer: Buffer) -> Result<(), OpsError> {
        match &mut self.on {
            On::Host(memory) => {
                memory.free(buffer);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.free(buffer),
        }
    }

    /// Gives the memory of freed buffers back to the device, for buffers of other sizes; waits for what was asked before.
    ///
    /// # Errors
    /// When the device failed before.
    pub fn release(&mut self) -> Result<(), OpsError> {
        match &mut self.on {
            On::Host(_) => Ok(()),
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.release(),
        }
    }

    /// Puts floats there, rounded as the buffer keeps them.
    ///
    /// # Errors
    /// When the device failed before, or the buffer was given back, is too short or keeps something else.
    pub fn write(&mut self, at: At, values: &[f32]) -> Result<(), OpsError> {
        floats("a write", at)?;
        match &mut self.on {
            On::Host(memory) => {
                memory.check(at, values.len())?;
                memory.write(at, values);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.write(at, values),
        }
    }

    /// Puts integers there.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn write_ints(&mut self, at: At, values: &[i32]) -> Result<(), OpsError> {
        if at.dtype() != Dtype::I32 {
            return Err(failed("a write", format!("integers where {:?} is kept", at.dtype())));
        }
        match &mut self.on {
            On::Host(memory) => {
                memory.check(at, values.len())?;
                memory.write_ints(at, values);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.write_ints(at, values),
        }
    }

    /// Floats from `at` on, when all that was asked before is done. Float64 is rounded to float32.
    ///
    /// # Errors
    /// When something failed on the device, it does not finish, or the place is not there.
    pub fn read(&mut self, at: At, len: usize) -> Result<Vec<f32>, OpsError> {
        let mut out = Vec::new();
        self.read_into(at, len, &mut out)?;
        Ok(out)
    }

    /// As [`Engine::read`], in the place of what `out` has.
    ///
    /// # Errors
    /// As there.
    pub fn read_into(&mut self, at: At, len: usize, out: &mut Vec<f32>) -> Result<(), OpsError> {
        floats("a read", at)?;
        match &mut self.on {
            On::Host(memory) => {
                memory.check(at, len)?;
                *out = memory.read(at, len);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.read_into(at, len, out),
        }
    }

    /// 64-bit floats from `at` on, likewise.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub fn read_doubles(&mut self, at: At, len: usize) -> Result<Vec<f64>, OpsError> {
        if at.dtype() != Dtype::F64 {
            return Err(failed("a read", format!("64-bit floats where {:?} is kept", at.dtype())));
        }
        match &mut self.on {
            On::Host(memory) => {
                memory.check(at, len)?;
                Ok(memory.doubles(at, len))
            }
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.read_doubles(at, len),
        }
    }

    /// Does what the calls say, in order; returns before a card is done.
    ///
    /// # Errors
    /// When a call cannot be started, a buffer of it was given back, or an earlier one failed.
    pub fn run(&mut self, calls: &[Call]) -> Result<(), OpsError> {
        match &mut self.on {
            On::Host(memory) => calls.iter().try_for_each(|call| {
                memory.check_call(call).map_err(|error| failed(&call.name(), error.to_string()))?;
                memory.run(call);
                Ok(())
            }),
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.run(calls),
        }
    }

    /// Whether the fused attention has kernels for heads of `dim` numbers of that type.
    pub fn has_fused_attention(&self, dim: usize, dtype: Dtype) -> bool {
        let there = match &self.on {
            On::Host(_) => dim > 0,
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.has_attention(dim),
        };
        there && dtype == Dtype::Bf16
    }

    /// Bytes that are free on a card; nothing on the processor.
    pub fn free_memory(&self) -> Option<u64> {
        match &self.on {
            On::Host(_) => None,
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => Some(cuda.memory()?.0),
        }
    }

    /// Bytes that a card has; nothing on the processor.
    pub fn total_memory(&self) -> Option<u64> {
        match &self.on {
            On::Host(_) => None,
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => Some(cuda.memory()?.1),
        }
    }

    /// Bytes of all buffers on a card; nothing on the processor.
    pub fn held_memory(&self) -> Option<u64> {
        match &self.on {
            On::Host(_) => None,
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => Some(cuda.held_memory()),
        }
    }

    /// What computes: a card's name, or the processor.
    pub fn name(&self) -> &str {
        match &self.on {
            On::Host(_) => "the processor by definition",
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.name(),
        }
    }

    /// By what it computes, in words.
    pub fn describe(&self) -> String {
        match &self.on {
            On::Host(_) => "the processor, by definition".to_owned(),
            #[cfg(feature = "cuda")]
            On::Cuda(cuda) => cuda.describe(),
        }
    }
}

/// An operation that failed.
pub(crate) fn failed(operation: &str, why: String) -> OpsError {
    OpsError::Failed { operation: operation.to_owned(), why }
}

fn floats(operation: &str, at: At) -> Result<(), OpsError> {
    if at.dtype() == Dtype::I32 {
        return Err(failed(operation, "floats where integers are kept".to_owned()));
    }
    Ok(())
}
