//! Buffers that are made together and given back together: a room lists what it needs once.

use distill_ops::{Buffer, Dtype, Engine, OpsError};

/// Buffers in the making.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    pub(crate) engine: &'a mut Engine,
    made: Vec<Buffer>,
}

impl<'a> Making<'a> {
    pub(crate) fn new(engine: &'a mut Engine) -> Making<'a> {
        Making { engine, made: Vec::new() }
    }

    /// One more buffer of zeros.
    pub(crate) fn zeros(&mut self, dtype: Dtype, len: usize) -> Result<Buffer, OpsError> {
        let buffer = self.engine.zeros(dtype, len)?;
        self.made.push(buffer);
        Ok(buffer)
    }

    /// All that were made.
    pub(crate) fn done(self) -> Lot {
        Lot(self.made)
    }
}

/// Buffers that were made together.
#[derive(Debug)]
pub(crate) struct Lot(Vec<Buffer>);

impl Lot {
    /// Gives their memory back to the device.
    pub(crate) fn free(self, engine: &mut Engine) -> Result<(), OpsError> {
        self.0.into_iter().try_for_each(|buffer| engine.free(buffer))?;
        engine.release()
    }
}
