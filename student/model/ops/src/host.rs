//! Calls run on the processor, by definition: slowly, in the order they are given, with the roundings that the buffers'
//! types bring. What a card computes is compared with this.

use crate::{
    call::{Arg, At, Buffer, Call, Dtype},
    engine::{OpsError, failed},
    lowered::Lowered,
};
use half::bf16;

/// Buffers in the processor's memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// Nothing where a buffer was given back: its place is never used again.
    buffers: Vec<Option<Numbers>>,
}

#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

impl Memory {
    /// A new buffer of zeros.
    pub fn zeros(&mut self, dtype: Dtype, len: usize) -> Buffer {
        self.buffers.push(Some(match dtype {
            Dtype::F32 => Numbers::F32(vec![0.0; len]),
            Dtype::Bf16 => Numbers::Bf16(vec![bf16::ZERO; len]),
            Dtype::F64 => Numbers::F64(vec![0.0; len]),
            Dtype::I32 => Numbers::I32(vec![0; len]),
        }));
        Buffer { index: self.buffers.len() - 1, dtype }
    }

    /// Forgets a buffer's numbers.
    pub(crate) fn free(&mut self, buffer: Buffer) {
        self.buffers[buffer.index] = None;
    }

    fn held(&self, at: At) -> &Numbers {
        self.buffers[at.buffer.index].as_ref().expect("a buffer that was not given back")
    }

    fn held_mut(&mut self, at: At) -> &mut Numbers {
        self.buffers[at.buffer.index].as_mut().expect("a buffer that was not given back")
    }

    /// Refuses a place in a buffer that was given back, or with fewer than `len` numbers behind it: a card would be refused
    /// its address too.
    pub(crate) fn check(&self, at: At, len: usize) -> Result<(), OpsError> {
        let held = match &self.buffers[at.buffer.index] {
            Some(Numbers::F32(values)) => values.len(),
            Some(Numbers::Bf16(values)) => values.len(),
            Some(Numbers::F64(values)) => values.len(),
            Some(Numbers::I32(values)) => values.len(),
            None => return Err(failed("an address", "of a buffer that was given back".to_owned())),
        };
        if at.offset + len > held {
            let why = format!("{len} numbers at {} of a buffer of {held}", at.offset);
            return Err(failed("an address", why));
        }
        Ok(())
    }

    /// Refuses a call whose buffers are not there. How far a kernel reads is its definition's to know: here only where it
    /// begins is looked at.
    pub(crate) fn check_call(&self, call: &Call) -> Result<(), OpsError> {
        let places = match call {
            Call::Product(product) => product.places(),
            Call::Zero(at, len) => vec![(*at, *len)],
            Call::Kernel(kernel) => {
                let at = |arg: &Arg| if let Arg::At(at) = arg { Some((*at, 0)) } else { None };
                kernel.launch().args.iter().filter_map(at).collect()
            }
        };
        places.into_iter().try_for_each(|(at, len)| self.check(at, len))
    }

    /// Floats from `at` on.
    pub fn read(&self, at: At, len: usize) -> Vec<f32> {
        let range = at.offset..at.offset + len;
        match self.held(at) {
            Numbers::F32(values) => values[range].to_vec(),
            Numbers::Bf16(values) => values[range].iter().map(|value| value.to_f32()).collect(),
            Numbers::F64(values) => values[range].iter().map(|value| *value as f32).collect(),
            Numbers::I32(_) => panic!("floats are read where integers are kept"),
        }
    }

    /// Puts floats there, rounded as the buffer keeps them.
    pub fn write(&mut self, at: At, values: &[f32]) {
        let range = at.offset..at.offset + values.len();
        match self.held_mut(at) {
            Numbers::F32(held) => held[range].copy_from_slice(values),
            Numbers::Bf16(held) => {
                held[range].iter_mut().zip(values).for_each(|(held, value)| *held = bf16::from_f32(*value))
            }
            Numbers::F64(held) => {
                held[range].iter_mut().zip(values).for_each(|(held, value)| *held = f64::from(*value))
            }
            Numbers::I32(_) => panic!("floats are written where integers are kept"),
        }
    }

    /// Integers from `at` on.
    pub fn ints(&self, at: At, len: usize) -> Vec<i32> {
        let Numbers::I32(values) = self.held(at) else { panic!("integers are read where floats are kept") };
        values[at.offset..at.offset + len].to_vec()
    }

    /// Puts integers there.
    pub fn write_ints(&mut self, at: At, values: &[i32]) {
        let Numbers::I32(held) = self.held_mut(at) else { panic!("integers are written where floats are kept") };
        held[at.offset..at.offset + values.len()].copy_from_slice(values);
    }

    /// 64-bit floats from `at` on.
    pub fn doubles(&self, at: At, len: usize) -> Vec<f64> {
        let Numbers::F64(values) = self.held(at) else { panic!("expected 64-bit floats") };
        values[at.offset..at.offset + len].to_vec()
    }

    /// Puts 64-bit floats there.
    pub fn write_doubles(&mut self, at: At, values: &[f64]) {
        let Numbers::F64(held) = self.held_mut(at) else { panic!("expected 64-bit floats") };
        held[at.offset..at.offset + values.len()].copy_from_slice(values);
    }

    /// Adds to floats.
    pub fn add(&mut self, at: At, values: &[f32]) {
        let sums: Vec<f32> = self.read(at, values.len()).iter().zip(values).map(|(held, value)| held + value).collect();
        self.write(at, &sums);
    }

    /// Does what a call says.
    pub fn run(&mut self, call: &Call) {
        match call {
            Call::Product(product) => Lowered::of(product).on_host(self),
            Call::Kernel(kernel) => kernel.define(self),
            Call::Zero(at, len) => match at.dtype() {
                Dtype::I32 => self.write_ints(*at, &vec![0; *len]),
                Dtype::F64 => self.write_doubles(*at, &vec![0.0; *len]),
                Dtype::F32 | Dtype::Bf16 => self.write(*at, &vec![0.0; *len]),
            },
        }
    }
}
