//! What a rung is, as data: buffers with what they begin with, calls over them, what the calls write, and how far that may be
//! from its definition.

use distill_ops::{Buffer, Call, Dtype, kernels::Heads};
use half::bf16;
use rayon::prelude::*;

/// A model's sizes; those of `check.py`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) heads: Heads,
    pub(crate) vocab: usize,
}

impl Model {
    pub(crate) const ALL: [Model; 3] = [
        Model { name: "6.5M", hidden: 256, inner: 688, heads: Heads { query: 8, key: 4, dim: 32 }, vocab: 8192 },
        Model { name: "0.5B", hidden: 896, inner: 4864, heads: Heads { query: 14, key: 2, dim: 64 }, vocab: 151_936 },
        Model { name: "1.5B", hidden: 1536, inner: 8960, heads: Heads { query: 12, key: 2, dim: 128 }, vocab: 151_936 },
    ];
}

/// How large a case is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// So few rows that all is compared; an odd number, as packed batches have.
    Small(usize),
    /// So many as a batch has.
    Full(usize),
    /// The first or last rows of a full one, for its definition.
    Slice(usize),
}

impl Size {
    pub(crate) fn rows(self) -> usize {
        let (Size::Small(rows) | Size::Full(rows) | Size::Slice(rows)) = self;
        rows
    }

    pub(crate) fn is_small(self) -> bool {
        matches!(self, Size::Small(_))
    }
}

/// How a buffer depends on the number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// Not at all.
    Whole,
    /// Rows one after the other.
    Rows,
    /// A number of each row, the rows of a column one after the other.
    Columns,
}

/// What a buffer begins with.
#[derive(Clone, Debug)]
pub(crate) enum Fill {
    Zeros,
    /// Normally distributed around 0, with that deviation.
    Normal(f32),
    /// Around 1.
    NearOne,
    /// Their squares, with that mean.
    Squares(f32),
    Values(Vec<f32>),
    Ints(Vec<i32>),
}

/// A buffer of a case.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) dtype: Dtype,
    pub(crate) len: usize,
    pub(crate) span: Span,
    pub(crate) fill: Fill,
}

/// Numbers on the processor's side.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Zeros,
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

impl Room {
    /// What it begins with, rounded as it is kept.
    pub(crate) fn data(&self, seed: u64) -> Data {
        let normal = |place: usize| normal(seed, place as u64);
        let made = |value: &(dyn Fn(usize) -> f32 + Sync)| {
            let mut out = vec![0.0_f32; self.len];
            out.par_chunks_mut(1 << 14).enumerate().for_each(|(chunk, out)| {
                out.iter_mut().enumerate().for_each(|(at, out)| *out = rounded(value((chunk << 14) + at), self.dtype));
            });
            Data::Floats(out)
        };
        match &self.fill {
            Fill::Zeros => Data::Zeros,
            Fill::Normal(scale) => made(&|place| scale * normal(place)),
            Fill::NearOne => made(&|place| 1.0 + 0.1 * normal(place)),
            Fill::Squares(mean) => made(&|place| mean * normal(place).powi(2)),
            Fill::Values(values) => Data::Floats(values.iter().map(|value| rounded(*value, self.dtype)).collect()),
            Fill::Ints(values) => Data::Ints(values.clone()),
        }
    }
}

fn rounded(value: f32, dtype: Dtype) -> f32 {
    if dtype == Dtype::Bf16 { bf16::from_f32(value).to_f32() } else { value }
}

/// The finaliser of SplitMix64 over a seed and a place.
pub(crate) fn mixed(seed: u64, place: u64) -> u64 {
    let mut x = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Nearly normal: four uniform numbers of 16 bits, added up.
fn normal(seed: u64, place: u64) -> f32 {
    let bits = mixed(seed, place);
    let sum = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as f32).sum::<f32>();
    (sum / 65536.0 - 2.0) * 3.0_f32.sqrt()
}

/// How far a result may be from its definition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Relative distance in L2.
    pub(crate) l2: f64,
    /// Distance of one number over its own size and `floor` times the root mean square of all.
    pub(crate) worst: f64,
    /// See `worst`: what sums lose when their terms cancel.
    pub(crate) floor: f64,
}

impl Allowed {
    /// Both round the same number to bfloat16: it may fall to the neighbour, 2^-7 away.
    const BF16: Allowed = Allowed { l2: 4e-3, worst: 1e-2, floor: 1e-3 };
    /// Sums in float32 in another order, and the last bits of exponentials.
    pub(crate) const F32: Allowed = Allowed { l2: 1e-5, worst: 1e-4, floor: 0.1 };
    /// Products of up to 151,936 terms summed in float32; factors rounded to TF32 would be beyond it.
    const PRODUCT_F32: Allowed = Allowed { l2: 1e-4, worst: 1e-3, floor: 1.0 };
    const PRODUCT_BF16: Allowed = Allowed { l2: 4e-3, worst: 1e-2, floor: 1.0 };
    /// Of Freivalds' sums, in which roundings of 512 numbers meet.
    const SUMS_BF16: Allowed = Allowed { l2: 4e-3, worst: 3e-2, floor: 1.0 };
    /// Weights of attention are rounded to bfloat16 before they are multiplied.
    pub(crate) const ATTENTION: Allowed = Allowed { l2: 1e-2, worst: 5e-2, floor: 1.0 };
    /// Rows that are copied, and numbers that are only rounded.
    pub(crate) const EXACT: Allowed = Allowed { l2: 0.0, worst: 0.0, floor: 1.0 };

    /// That of Freivalds' sums over what a product writes.
    pub(crate) fn of_sums(dtype: Dtype) -> Allowed {
        if dtype == Dtype::Bf16 { Allowed::SUMS_BF16 } else { Allowed::PRODUCT_F32 }
    }

    /// That of what a kernel writes.
    pub(crate) fn of(dtype: Dtype) -> Allowed {
        if dtype == Dtype::Bf16 { Allowed::BF16 } else { Allowed::F32 }
    }

    /// That of a product.
    pub(crate) fn of_product(dtype: Dtype) -> Allowed {
        if dtype == Dtype::Bf16 { Allowed::PRODUCT_BF16 } else { Allowed::PRODUCT_F32 }
    }
}

/// How a step is looked at in full size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// All of it against the definition.
    Whole,
    /// The first and last rows against the definition, so many.
    Rows(usize),
    /// By products with a vector.
    Freivalds,
    /// Only against itself, twice.
    Repeated,
}

type Calls = Box<dyn Fn(&[Buffer]) -> Vec<Call>>;

/// Calls that are looked at together.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) shape: String,
    pub(crate) calls: Calls,
    /// Buffers that are written, by their index.
    pub(crate) outputs: Vec<(usize, Allowed)>,
    pub(crate) full: Full,
    /// Bytes that have to be moved at least.
    pub(crate) bytes: f64,
    pub(crate) flops: f64,
}

/// Buffers, and steps over them, one after the other.
#[derive(Default)]
pub(crate) struct Case {
    pub(crate) rooms: Vec<Room>,
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// A buffer of `rows` rows.
    pub(crate) fn rows(&mut self, dtype: Dtype, rows: usize, width: usize, fill: Fill) -> usize {
        self.room(Room { dtype, len: rows * width, span: Span::Rows, fill })
    }

    /// A buffer of `columns` numbers for each row, column after column; float32.
    pub(crate) fn columns(&mut self, rows: usize, columns: usize, fill: Fill) -> usize {
        self.room(Room { dtype: Dtype::F32, len: rows * columns, span: Span::Columns, fill })
    }

    /// A buffer that has nothing to do with rows.
    pub(crate) fn whole(&mut self, dtype: Dtype, len: usize, fill: Fill) -> usize {
        self.room(Room { dtype, len, span: Span::Whole, fill })
    }

    /// Integers, one for each row or as many as there are.
    pub(crate) fn ints(&mut self, span: Span, values: Vec<i32>) -> usize {
        self.room(Room { dtype: Dtype::I32, len: values.len(), span, fill: Fill::Ints(values) })
    }

    fn room(&mut self, room: Room) -> usize {
        self.rooms.push(room);
        self.rooms.len() - 1
    }

    /// Bytes of these buffers.
    pub(crate) fn bytes(&self, rooms: &[usize]) -> f64 {
        rooms.iter().map(|room| (self.rooms[*room].len * self.rooms[*room].dtype.size()) as f64).sum()
    }

    /// A step that moves these buffers' bytes and writes those; each is allowed what its type is.
    pub(crate) fn step<C: Into<Call>>(
        &mut self,
        name: &str,
        shape: String,
        (moves, writes): (&[usize], &[usize]),
        full: Full,
        call: impl Fn(&[Buffer]) -> C + 'static,
    ) -> &mut Step {
        let outputs = writes.iter().map(|room| (*room, Allowed::of(self.rooms[*room].dtype))).collect();
        let bytes = self.bytes(moves);
        let calls: Calls = Box::new(move |buffers| vec![call(buffers).into()]);
        self.steps.push(Step { name: name.to_owned(), shape, calls, outputs, full, bytes, flops: 0.0 });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }
}
