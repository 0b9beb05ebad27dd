//! How numbers lie in memory: in rows of 32, so that a tile of a product reads and writes whole cache lines.
//!
//! An activation `[rows, width]` is cut into panels of 32 columns, each panel holding its 32 columns of every row. A
//! product can then be shared out by panels of its result, each of which is one contiguous piece of memory; and what is a
//! result of one product is the input of the next without being moved.

/// Columns of a panel.
pub(crate) const WIDTH: usize = 32;

/// 32 float32 numbers on two cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row32(pub(crate) [f32; WIDTH]);

/// 32 half-precision numbers on one cache line. bfloat16 numbers lie in the order 0, 16, 1, 17, …, so that both halves
/// become float32 by one instruction each.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Half32(pub(crate) [u16; WIDTH]);

/// 32 bytes with a sign.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Byte32(pub(crate) [i8; WIDTH]);

impl Row32 {
    /// 32 zeros.
    pub(crate) const ZERO: Row32 = Row32([0.0; WIDTH]);

    /// Both halves: numbers 0 to 15, and 16 to 31.
    #[inline(always)]
    pub(crate) fn halves(&self) -> (&[f32; 16], &[f32; 16]) {
        let [low, high] = self.0.as_chunks::<16>().0 else { unreachable!("32 is twice 16") };
        (low, high)
    }

    /// Both halves, to be written.
    #[inline(always)]
    pub(crate) fn halves_mut(&mut self) -> (&mut [f32; 16], &mut [f32; 16]) {
        let [low, high] = self.0.as_chunks_mut::<16>().0 else { unreachable!("32 is twice 16") };
        (low, high)
    }
}

/// How many panels `width` columns take: `width / 32`, rounded up.
pub(crate) fn panels(width: usize) -> usize {
    width.div_ceil(WIDTH)
}

/// A vector `[len]` in rows of 32, the last filled up with zeros: `len / 32` rows, rounded up.
pub(crate) fn rows_of(values: &[f32]) -> Vec<Row32> {
    let row = |chunk: &[f32]| {
        let mut row = Row32::ZERO;
        row.0[..chunk.len()].copy_from_slice(chunk);
        row
    };
    values.chunks(WIDTH).map(row).collect()
}

/// An activation `[rows, width]`, panel by panel; columns past `width` are zero.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// `[panel][row]`: 32 columns of one row each, float32.
    pub(crate) data: Vec<Row32>,
}

impl Panels {
    /// `[rows, width]` of zeros.
    pub(crate) fn zeros(rows: usize, width: usize) -> Panels {
        Panels { rows, width, data: vec![Row32::ZERO; rows * panels(width)] }
    }

    /// Copies numbers of a row into `out`, as many as that holds, from column `start`.
    pub(crate) fn copy_row(&self, row: usize, start: usize, out: &mut [f32]) {
        let mut column = start;
        let mut left = out;
        while !left.is_empty() {
            let at = column % WIDTH;
            let count = left.len().min(WIDTH - at);
            let (now, later) = left.split_at_mut(count);
            now.copy_from_slice(&self.data[column / WIDTH * self.rows + row].0[at..at + count]);
            (left, column) = (later, column + count);
        }
    }

    /// Writes `values` over a row's numbers from column `start`.
    pub(crate) fn set_row(&mut self, row: usize, start: usize, values: &[f32]) {
        let (mut column, mut left) = (start, values);
        while !left.is_empty() {
            let at = column % WIDTH;
            let count = left.len().min(WIDTH - at);
            self.data[column / WIDTH * self.rows + row].0[at..at + count].copy_from_slice(&left[..count]);
            (left, column) = (&left[count..], column + count);
        }
    }

    /// Only these rows, in this order: `[rows.len(), width]`.
    pub(crate) fn select(&self, rows: &[usize]) -> Panels {
        let mut data = Vec::with_capacity(rows.len() * panels(self.width));
        for panel in self.data.chunks_exact(self.rows.max(1)) {
            data.extend(rows.iter().map(|row| panel[*row]));
        }
        Panels { rows: rows.len(), width: self.width, data }
    }
}
