//! What a device is asked to do, as plain data: products and kernels over numbered buffers. A list of calls is built without
//! a device, printed, compared, run on the processor by definition ([`crate::host`]), or handed to a card.

use std::fmt::Debug;

/// What a number is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// bfloat16.
    Bf16,
    /// 64-bit float: partial sums only.
    F64,
    /// 32-bit integer: tokens and places.
    I32,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::Bf16 => 2,
            Dtype::F64 => 8,
        }
    }

    /// How kernels for numbers of this type end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Dtype::F32 => "_f32",
            Dtype::Bf16 => "_bf16",
            Dtype::F64 => "_f64",
            Dtype::I32 => "_i32",
        }
    }
}

/// A buffer of an [`crate::Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    pub(crate) index: usize,
    pub(crate) dtype: Dtype,
}

impl Buffer {
    /// What its numbers are kept as.
    pub fn dtype(self) -> Dtype {
        self.dtype
    }

    /// Its first number.
    pub fn start(self) -> At {
        At { buffer: self, offset: 0 }
    }

    /// The number after `offset` others.
    pub fn at(self, offset: usize) -> At {
        At { buffer: self, offset }
    }
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The buffer.
    pub buffer: Buffer,
    /// How many of its numbers come before.
    pub offset: usize,
}

impl At {
    /// A place further on.
    pub fn plus(self, offset: usize) -> At {
        At { offset: self.offset + offset, ..self }
    }

    /// What is kept there.
    pub fn dtype(self) -> Dtype {
        self.buffer.dtype
    }
}

/// A row-major matrix in memory, or a batch of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Its first number.
    pub at: At,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Numbers from one matrix of a batch to the next; 0 for the same one again.
    pub batch_stride: usize,
}

impl Matrix {
    /// One whose rows follow each other without a gap.
    pub fn new(at: At, rows: usize, columns: usize) -> Matrix {
        Matrix { at, rows, columns, stride: columns, batch_stride: 0 }
    }

    /// The same with its rows so far apart.
    pub fn stride(self, stride: usize) -> Matrix {
        Matrix { stride, ..self }
    }

    /// A batch of such matrices so far apart.
    pub fn batch(self, batch_stride: usize) -> Matrix {
        Matrix { batch_stride, ..self }
    }

    /// Numbers from the first of a batch of `batch` to behind the last, those between the rows included.
    pub(crate) fn extent(&self, batch: usize) -> usize {
        if self.rows * self.columns * batch == 0 {
            return 0;
        }
        (batch - 1) * self.batch_stride + (self.rows - 1) * self.stride + self.columns
    }
}

/// Which of a product's factors is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `a · b`
    Nn,
    /// `a · bᵀ`
    Nt,
    /// `aᵀ · b`
    Tn,
}

/// `out = a · b`, and what `added` holds on top; factors as they are stored, transposed as `form` says. Sums are formed in
/// float32; where the library splits one, it may add up parts in the output's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Which factor is transposed.
    pub form: Form,
    /// The first factor.
    pub a: Matrix,
    /// The second.
    pub b: Matrix,
    /// Where the product goes.
    pub out: Matrix,
    /// A matrix in the layout of `out` that is added; `out` itself to add up.
    pub added: Option<At>,
    /// How many products of a batch.
    pub batch: usize,
}

impl Product {
    /// One product that replaces what was there.
    pub fn new(form: Form, a: Matrix, b: Matrix, out: Matrix) -> Product {
        Product { form, a, b, out, added: None, batch: 1 }
    }

    /// With `added` on top, which lies as `out` does.
    pub fn plus(self, added: Option<At>) -> Product {
        Product { added, ..self }
    }

    /// Added to what is there, where `add` says so.
    pub fn accumulate(self, add: bool) -> Product {
        self.plus(add.then_some(self.out.at))
    }

    /// Every place that is read or written, with how many numbers lie from there to the last that is.
    pub(crate) fn places(&self) -> Vec<(At, usize)> {
        let out = self.out.extent(self.batch);
        let factors = [self.a, self.b].map(|matrix| (matrix.at, matrix.extent(self.batch)));
        factors.into_iter().chain([(self.out.at, out)]).chain(self.added.map(|added| (added, out))).collect()
    }

    /// Rows, columns and terms of a sum: `[m, n, k]`.
    ///
    /// # Panics
    /// When the shapes do not fit each other: a mistake in a program, found the first time it is built.
    pub fn sizes(&self) -> [usize; 3] {
        let (m, k) = if self.form == Form::Tn { (self.a.columns, self.a.rows) } else { (self.a.rows, self.a.columns) };
        let (n, kb) = if self.form == Form::Nt { (self.b.rows, self.b.columns) } else { (self.b.columns, self.b.rows) };
        assert!(k == kb && [m, n] == [self.out.rows, self.out.columns], "a product's shapes do not fit: {self:?}");
        [m, n, k]
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// An address.
    At(At),
    /// No address.
    Null,
    /// `int`
    Int(i32),
    /// `unsigned`
    Unsigned(u32),
    /// `long long` or `unsigned long long`
    Long(u64),
    /// `float`
    Float(f32),
}

impl From<At> for Arg {
    fn from(at: At) -> Arg {
        Arg::At(at)
    }
}

impl From<Option<At>> for Arg {
    fn from(at: Option<At>) -> Arg {
        at.map_or(Arg::Null, Arg::At)
    }
}

impl From<usize> for Arg {
    /// As `int`; what does not fit is a mistake that no size in use makes.
    fn from(value: usize) -> Arg {
        Arg::Int(i32::try_from(value).expect("a size that a kernel's int holds"))
    }
}

impl From<f32> for Arg {
    fn from(value: f32) -> Arg {
        Arg::Float(value)
    }
}

/// One of the fused attention's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionPart {
    /// The output and the logarithms of its sums.
    Forward,
    /// Gradients of keys and values, by query head.
    Dkdv,
    /// Gradients of queries.
    Dq,
}

/// What is launched.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A kernel of `kernels.cu` by its name, so many blocks of so many threads.
    Plain {
        /// Its name.
        name: String,
        /// Blocks.
        grid: [u32; 3],
        /// Threads of a block.
        threads: u32,
    },
    /// A kernel of `attention.py`: the card's own tile decides how many blocks.
    Attention {
        /// Which.
        part: AttentionPart,
        /// Numbers of a head.
        dim: usize,
        /// Tokens of the longest document.
        longest: usize,
        /// Query heads.
        heads: usize,
        /// Documents.
        documents: usize,
    },
}

/// How a kernel is launched.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What.
    pub entry: Entry,
    /// With what, in order.
    pub args: Vec<Arg>,
}

impl Launch {
    /// A kernel of `kernels.cu` with 256 threads a block.
    pub(crate) fn new(name: &str, dtype: Option<Dtype>, blocks: usize, args: Vec<Arg>) -> Launch {
        let name = format!("{name}{}", dtype.map_or("", Dtype::suffix));
        Launch { entry: Entry::Plain { name, grid: [grid(blocks), 1, 1], threads: 256 }, args }
    }

    /// With so many blocks in the second dimension.
    pub(crate) fn rows(mut self, blocks: usize) -> Launch {
        if let Entry::Plain { grid: of, .. } = &mut self.entry {
            of[1] = grid(blocks);
        }
        self
    }

    /// With another number of threads.
    pub(crate) fn threads(mut self, count: u32) -> Launch {
        if let Entry::Plain { threads, .. } = &mut self.entry {
            *threads = count;
        }
        self
    }
}

/// A grid's size in one dimension.
pub(crate) fn grid(blocks: usize) -> u32 {
    u32::try_from(blocks.max(1)).expect("a grid that a launch can have")
}

/// Blocks for `count` numbers of a kernel that strides over them: eight numbers a thread, as many blocks as that takes up to a
/// bound that no card fills.
pub(crate) fn strided(count: usize) -> usize {
    count.div_ceil(8 * 256).clamp(1, 1 << 16)
}

/// A kernel: its launch on a card, and what it means. Whoever implements it vouches that the launch reaches no further than the
/// buffers do; only where an argument begins is checked.
pub trait Kernel: Debug + Send + Sync {
    /// How it is launched.
    fn launch(&self) -> Launch;

    /// What it does, on the processor: the definition that cards are held to.
    fn define(&self, memory: &mut crate::host::Memory);
}

/// One thing to do.
#[derive(Debug)]
pub enum Call {
    /// A product of matrices.
    Product(Product),
    /// A kernel.
    Kernel(Box<dyn Kernel>),
    /// So many numbers become zero.
    Zero(At, usize),
}

impl Call {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Call::Product(product) => {
                let [m, n, k] = product.sizes();
                format!(
                    "product {:?} {m} x {n} x {k}, {:?} to {:?}",
                    product.form,
                    product.a.at.dtype(),
                    product.out.at.dtype()
                )
            }
            Call::Kernel(kernel) => match kernel.launch().entry {
                Entry::Plain { name, .. } => name,
                Entry::Attention { part, dim, .. } => format!("attention {part:?}, heads of {dim}"),
            },
            Call::Zero(..) => "zero".to_owned(),
        }
    }
}

impl<K: Kernel + 'static> From<K> for Call {
    fn from(kernel: K) -> Call {
        Call::Kernel(Box::new(kernel))
    }
}

impl From<Product> for Call {
    fn from(product: Product) -> Call {
        Call::Product(product)
    }
}
