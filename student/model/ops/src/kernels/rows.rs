//! Rows taken from and put to places.

use crate::{
    call::{At, Kernel, Launch},
    host::Memory,
};

/// `y[r] = x[index[r]]`; `y`, `x`: `[.., width]`. An embedding is this.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Where the rows go.
    pub y: At,
    /// Where they come from.
    pub x: At,
    /// Which: integers.
    pub index: At,
    /// How many.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Kernel for Gather {
    fn launch(&self) -> Launch {
        let args = vec![self.y.into(), self.x.into(), self.index.into(), self.rows.into(), self.width.into()];
        Launch::new("gather_rows", Some(self.y.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        for (row, from) in memory.ints(self.index, self.rows).into_iter().enumerate() {
            let values = memory.read(self.x.plus(from as usize * self.width), self.width);
            memory.write(self.y.plus(row * self.width), &values);
        }
    }
}

/// `y[index[r]] = x[r]`; no index twice.
#[derive(Clone, Copy, Debug)]
pub struct Scatter {
    /// Where the rows go.
    pub y: At,
    /// Where they come from.
    pub x: At,
    /// To which: integers.
    pub index: At,
    /// How many.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Kernel for Scatter {
    fn launch(&self) -> Launch {
        let args = vec![self.y.into(), self.x.into(), self.index.into(), self.rows.into(), self.width.into()];
        Launch::new("scatter_rows", Some(self.y.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        for (row, to) in memory.ints(self.index, self.rows).into_iter().enumerate() {
            let values = memory.read(self.x.plus(row * self.width), self.width);
            memory.write(self.y.plus(to as usize * self.width), &values);
        }
    }
}

/// The gradient of an embedding: `gradient[ids[i]] += Σ dx[r]` over `r` in `order[starts[i]..starts[i + 1]]`, one after the
/// other, so that the sum has one order.
#[derive(Clone, Copy, Debug)]
pub struct EmbedBackward {
    /// `[vocab, width]`, float32.
    pub gradient: At,
    /// `[tokens, width]`
    pub dx: At,
    /// Tokens by their id: integers `[tokens]`.
    pub order: At,
    /// Where an id's begin: integers `[distinct + 1]`.
    pub starts: At,
    /// The ids: integers `[distinct]`.
    pub ids: At,
    /// How many ids.
    pub distinct: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Kernel for EmbedBackward {
    fn launch(&self) -> Launch {
        let places = [self.gradient, self.dx, self.order, self.starts, self.ids].map(Into::into);
        let args = places.into_iter().chain([self.distinct.into(), self.width.into()]).collect();
        Launch::new("embed_backward", Some(self.dx.dtype()), self.distinct, args)
    }

    fn define(&self, memory: &mut Memory) {
        let starts = memory.ints(self.starts, self.distinct + 1);
        for (id, span) in memory.ints(self.ids, self.distinct).into_iter().zip(starts.windows(2)) {
            for row in memory.ints(self.order.plus(span[0] as usize), (span[1] - span[0]) as usize) {
                let values = memory.read(self.dx.plus(row as usize * self.width), self.width);
                memory.add(self.gradient.plus(id as usize * self.width), &values);
            }
        }
    }
}
