//! Products and transpositions of whole activations and weights. Everything is in panels, and a product of training is
//! always the same one: `x [rows, depth] · w [depth, width]`, with the depth filled up to a multiple of 32.
//!
//! Forward, `w` is a weight transposed; for the gradient of what came in it is the weight as it is kept; for the gradient
//! of the weight, `x` is the transposed gradient of what came out, and `w` what came in.

use crate::cpu::{
    lanes::{Isa, Kernel, Lanes},
    panel::{Panels, Row32, WIDTH, panels},
    tile::{Rows, products},
};
use rayon::prelude::*;

/// Most panels of a result that a thread computes together.
const GROUP: usize = 4;

/// What becomes of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Into {
    /// It is written over.
    Set,
    /// It is added to.
    Add,
}

/// `out (+)= x · w`, with `x` `[rows, depth]`, `w` `[depth, width]` and `out` `[rows, width]`. The rows of `w` are the depth
/// filled up to a multiple of 32, as the columns of `x` are.
pub(super) fn multiply(isa: Isa, x: &Panels, w: &Panels, out: &mut Panels, into: Into) {
    debug_assert_eq!(panels(x.width) * WIDTH, w.rows, "the depths of a product");
    debug_assert_eq!((x.rows, panels(w.width)), (out.rows, panels(out.width)), "the shape of a product");
    if x.rows == 0 {
        return;
    }
    let group = (panels(w.width) / (2 * rayon::current_num_threads())).clamp(1, GROUP);
    let out = out.data.par_chunks_mut(group * x.rows);
    out.zip(w.data.par_chunks(group * w.rows)).for_each(|(out, w)| {
        let x = Rows { data: &x.data, all: x.rows };
        match into {
            Into::Set => isa.run(Products::<false> { x, w, out }),
            Into::Add => isa.run(Products::<true> { x, w, out }),
        }
    });
}

/// Some panels of a product.
struct Products<'a, const ADD: bool> {
    /// `[rows, depth]`
    x: Rows<'a>,
    /// `[panel][depth]`, each 32 columns.
    w: &'a [Row32],
    /// `[panel][row]`, each 32 columns.
    out: &'a mut [Row32],
}

impl<const ADD: bool> Kernel for Products<'_, ADD> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        products::<L, ADD>(lanes, self.x, self.w, self.out);
    }
}

/// `out ← xᵀ`, with `x` `[rows, width]` and `out` `[width, rows]`. The rows of `x` are a multiple of 32, and so are those of
/// `out`: the width, filled up.
pub(super) fn transpose(isa: Isa, x: &Panels, out: &mut Panels) {
    debug_assert_eq!(
        (panels(x.width) * WIDTH, x.rows),
        (out.rows, panels(out.width) * WIDTH),
        "the shape of a transposition"
    );
    let stripes = out.data.par_chunks_exact_mut(out.rows.max(1)).enumerate();
    stripes.for_each(|(stripe, out)| isa.run(Stripe { x, stripe, out }));
}

/// The same into a new one, `[width, rows]`, on this thread.
pub(super) fn transposed(isa: Isa, x: &Panels) -> Panels {
    let mut out = Panels::zeros(panels(x.width) * WIDTH, x.rows);
    let stripes = out.data.chunks_exact_mut(out.rows.max(1)).enumerate();
    stripes.for_each(|(stripe, out)| isa.run(Stripe { x, stripe, out }));
    out
}

/// 32 rows as 32 columns.
struct Stripe<'a> {
    /// `[rows, width]`
    x: &'a Panels,
    /// Which 32 of its rows.
    stripe: usize,
    /// `[width, 32]`: a panel of the transpose.
    out: &'a mut [Row32],
}

impl Kernel for Stripe<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, _: L) {
        for (panel, out) in self.out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            let first = panel * self.x.rows + self.stripe * WIDTH;
            if let Some(block) = self.x.data[first..].first_chunk() {
                flip(block, out);
            }
        }
    }
}

/// `[32, 32]`, transposed into `out`.
#[inline(always)]
pub(super) fn flip(block: &[Row32; WIDTH], out: &mut [Row32; WIDTH]) {
    // Squares of 8 stay in registers.
    for row in (0..WIDTH).step_by(8) {
        for column in (0..WIDTH).step_by(8) {
            for inner in 0..8 {
                for outer in 0..8 {
                    out[column + outer].0[row + inner] = block[row + inner].0[column + outer];
                }
            }
        }
    }
}

/// Operations a second that products reach here, measured over some hundredths of a second: the best of a few.
pub fn fastest_product() -> f64 {
    let isa = Isa::detect();
    let (rows, depth, width) = (1024, 512, 512);
    let filled = |rows: usize, width: usize| {
        let mut x = Panels::zeros(rows, width);
        x.data.iter_mut().for_each(|row| row.0.fill(0.5));
        x
    };
    let (x, w, mut out) = (filled(rows, depth), filled(depth, width), Panels::zeros(rows, width));
    let operations = 2.0 * rows as f64 * depth as f64 * width as f64;
    let once = |out: &mut Panels| {
        let begin = std::time::Instant::now();
        multiply(isa, &x, &w, out, Into::Set);
        operations / begin.elapsed().as_secs_f64().max(1e-9)
    };
    (0..12).map(|_| once(&mut out)).fold(0.0, f64::max)
}
