//! Cosines and sines of positions on the device, formed once and kept.

use crate::{ModelError, rope::Frequencies};
use distill_checkpoint::ModelConfig;
use distill_ops::{Buffer, Dtype, Engine};

/// Tables `[positions, dim / 2]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Angles {
    pub(crate) cos: Buffer,
    pub(crate) sin: Buffer,
}

/// Those of the positions met so far.
#[derive(Debug)]
pub(crate) struct AngleTables {
    frequencies: Frequencies,
    held: Option<(Angles, usize)>,
}

impl AngleTables {
    pub(crate) fn new(config: &ModelConfig) -> AngleTables {
        AngleTables { frequencies: Frequencies::of(config), held: None }
    }

    /// Tables of at least so many positions.
    pub(crate) fn reach(&mut self, engine: &mut Engine, positions: usize) -> Result<Angles, ModelError> {
        if let Some((angles, _)) = self.held.filter(|(_, held)| *held >= positions) {
            return Ok(angles);
        }
        if let Some((angles, _)) = self.held.take() {
            engine.free(angles.cos)?;
            engine.free(angles.sin)?;
        }
        let count = positions.next_power_of_two().max(64);
        let half = self.frequencies.per_position.len();
        let mut table = |function: fn(f64) -> f64| -> Result<Buffer, ModelError> {
            let rows = (0..count).flat_map(|position| self.frequencies.row(position, function).take(half));
            let values: Vec<f32> = rows.collect();
            let buffer = engine.zeros(Dtype::F32, values.len())?;
            engine.write(buffer.start(), &values)?;
            Ok(buffer)
        };
        let angles = Angles { cos: table(f64::cos)?, sin: table(f64::sin)? };
        self.held = Some((angles, count));
        Ok(angles)
    }
}
