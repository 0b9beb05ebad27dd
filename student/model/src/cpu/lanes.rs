//! Sixteen float32 numbers at a time, on AVX-512, on AVX2, or in plain Rust: the only place where the CPU's vector
//! instructions are named. What is computed with them is safe code in `tile.rs` and its neighbours.
//!
//! A value of [`Avx512`] or [`Avx2`] exists only where the CPU was asked and said yes; that is what makes the calls sound.
#![allow(unsafe_code)]

/// Something to compute with whatever lanes the CPU has.
pub(crate) trait Kernel {
    /// What comes out.
    type Output;
    /// Computes it. Must be `#[inline(always)]`, so that it is compiled for those lanes.
    fn call<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Sixteen float32 lanes. All methods are `#[inline(always)]`.
pub(crate) trait Lanes: Copy {
    /// Sixteen numbers.
    type V: Copy;
    /// Most rows of a tile whose sums stay in registers.
    const ROWS: usize;
    /// One number in all lanes.
    fn splat(self, value: f32) -> Self::V;
    /// Sixteen numbers, the first in lane 0.
    fn load(self, from: &[f32; 16]) -> Self::V;
    /// Writes all lanes over `to`, in their order.
    fn store(self, value: Self::V, to: &mut [f32; 16]);
    /// `a * b + c`, rounded once where the CPU can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// Two to the power of whole numbers from -126 to 127.
    fn power_of_two(self, a: Self::V) -> Self::V;
    /// bfloat16 numbers as [`Half32`](super::panel::Half32) keeps them, lanes of the two halves in turn: numbers 0 to 15, and 16
    /// to 31.
    fn bf16(self, from: &[u16; 32]) -> (Self::V, Self::V);
    /// IEEE half-precision numbers: 0 to 15, and 16 to 31.
    fn f16(self, from: &[u16; 32]) -> (Self::V, Self::V);
    /// Bytes with a sign: 0 to 15, and 16 to 31.
    fn i8(self, from: &[i8; 32]) -> (Self::V, Self::V);
    /// Asks for the memory `ahead` bytes after `from`.
    fn prefetch<T>(self, from: &T, ahead: usize);
}

/// The instruction set to compute with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable,
}

impl Isa {
    /// The best that this CPU has.
    pub(crate) fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
            {
                return Isa::Avx512(Avx512(()));
            }
            if let Some(avx2) = Isa::avx2() {
                return avx2;
            }
        }
        Isa::Portable
    }

    /// AVX2, if the CPU has it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx2() -> Option<Isa> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c"))
            .then_some(Isa::Avx2(Avx2(())))
    }

    /// Computes with these instructions.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(lanes) => {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
                fn run<K: Kernel>(kernel: K, lanes: Avx512) -> K::Output {
                    kernel.call(lanes)
                }
                // SAFETY: an `Avx512` exists only where `detect` found these features.
                unsafe { run(kernel, lanes) }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(lanes) => {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn run<K: Kernel>(kernel: K, lanes: Avx2) -> K::Output {
                    kernel.call(lanes)
                }
                // SAFETY: an `Avx2` exists only where `avx2` found these features.
                unsafe { run(kernel, lanes) }
            }
            Isa::Portable => kernel.call(Portable),
        }
    }
}

/// Plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Portable {
    #[inline(always)]
    fn map(a: [f32; 16], b: [f32; 16], f: impl Fn(f32, f32) -> f32) -> [f32; 16] {
        let mut out = [0.0; 16];
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = f(a, b);
        }
        out
    }
}

impl Lanes for Portable {
    type V = [f32; 16];
    const ROWS: usize = 4;
    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 16] {
        [value; 16]
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [f32; 16] {
        *from
    }
    #[inline(always)]
    fn store(self, value: [f32; 16], to: &mut [f32; 16]) {
        *to = value;
    }
    #[inline(always)]
    fn fma(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        // Without the instruction a fused product would be a call into the mathematics library for each lane.
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Self::map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Self::map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Self::map(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Self::map(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        Self::map(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn round(self, a: [f32; 16]) -> [f32; 16] {
        // Adding and taking away 1.5 × 2^23 leaves no room for a fraction; exact up to 2^22.
        const SHIFT: f32 = 12_582_912.0;
        Self::map(a, a, |a, _| (a + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn power_of_two(self, a: [f32; 16]) -> [f32; 16] {
        Self::map(a, a, |a, _| f32::from_bits(((a as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn bf16(self, from: &[u16; 32]) -> ([f32; 16], [f32; 16]) {
        let (mut low, mut high) = ([0.0; 16], [0.0; 16]);
        for (lane, pair) in from.chunks_exact(2).enumerate() {
            low[lane] = f32::from_bits(u32::from(pair[0]) << 16);
            high[lane] = f32::from_bits(u32::from(pair[1]) << 16);
        }
        (low, high)
    }
    #[inline(always)]
    fn f16(self, from: &[u16; 32]) -> ([f32; 16], [f32; 16]) {
        let value = |bits: u16| half::f16::from_bits(bits).to_f32_const();
        (std::array::from_fn(|lane| value(from[lane])), std::array::from_fn(|lane| value(from[lane + 16])))
    }
    #[inline(always)]
    fn i8(self, from: &[i8; 32]) -> ([f32; 16], [f32; 16]) {
        (std::array::from_fn(|lane| f32::from(from[lane])), std::array::from_fn(|lane| f32::from(from[lane + 16])))
    }
    #[inline(always)]
    fn prefetch<T>(self, _from: &T, _ahead: usize) {}
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// SAFETY of every block in here: the instructions exist, because the token `self` does; every pointer comes from a
/// reference to an array that is as long as what is loaded or stored, and the unaligned forms are used.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Proof that the CPU has AVX-512 F, BW, VL and DQ.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx512(pub(super) ());

    /// Proof that the CPU has AVX2, FMA and F16C.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx2(pub(super) ());

    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

    impl Lanes for Avx512 {
        type V = __m512;
        const ROWS: usize = 12;
        #[inline(always)]
        fn splat(self, value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        fn load(self, from: &[f32; 16]) -> __m512 {
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, value: __m512, to: &mut [f32; 16]) {
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), value) }
        }
        #[inline(always)]
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn div(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        fn max(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        fn min(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        fn round(self, a: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<NEAREST>(a) }
        }
        #[inline(always)]
        fn power_of_two(self, a: __m512) -> __m512 {
            unsafe {
                let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
            }
        }
        #[inline(always)]
        fn bf16(self, from: &[u16; 32]) -> (__m512, __m512) {
            unsafe {
                let both = _mm512_loadu_si512(from.as_ptr().cast());
                let low = _mm512_slli_epi32::<16>(both);
                let high = _mm512_and_si512(both, _mm512_set1_epi32(0xffff_0000_u32 as i32));
                (_mm512_castsi512_ps(low), _mm512_castsi512_ps(high))
            }
        }
        #[inline(always)]
        fn f16(self, from: &[u16; 32]) -> (__m512, __m512) {
            unsafe {
                let low = _mm256_loadu_si256(from.as_ptr().cast());
                let high = _mm256_loadu_si256(from.as_ptr().add(16).cast());
                (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
            }
        }
        #[inline(always)]
        fn i8(self, from: &[i8; 32]) -> (__m512, __m512) {
            unsafe {
                let low = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()));
                let high = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().add(16).cast()));
                (_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(high))
            }
        }
        #[inline(always)]
        fn prefetch<T>(self, from: &T, ahead: usize) {
            // A prefetch never faults, so the address may lie outside.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(from).cast::<i8>().wrapping_add(ahead)) }
        }
    }

    impl Lanes for Avx2 {
        type V = [__m256; 2];
        const ROWS: usize = 3;
        #[inline(always)]
        fn splat(self, value: f32) -> [__m256; 2] {
            unsafe { [_mm256_set1_ps(value); 2] }
        }
        #[inline(always)]
        fn load(self, from: &[f32; 16]) -> [__m256; 2] {
            unsafe { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
        }
        #[inline(always)]
        fn store(self, value: [__m256; 2], to: &mut [f32; 16]) {
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), value[0]);
                _mm256_storeu_ps(to.as_mut_ptr().add(8), value[1]);
            }
        }
        #[inline(always)]
        fn fma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn min(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn round(self, a: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])] }
        }
        #[inline(always)]
        fn power_of_two(self, a: [__m256; 2]) -> [__m256; 2] {
            unsafe {
                let one = _mm256_set1_epi32(127);
                let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(a[0]), one));
                let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(a[1]), one));
                [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
            }
        }
        #[inline(always)]
        fn bf16(self, from: &[u16; 32]) -> ([__m256; 2], [__m256; 2]) {
            unsafe {
                let first = _mm256_loadu_si256(from.as_ptr().cast());
                let second = _mm256_loadu_si256(from.as_ptr().add(16).cast());
                let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                let low = [_mm256_slli_epi32::<16>(first), _mm256_slli_epi32::<16>(second)];
                let high = [_mm256_and_si256(first, mask), _mm256_and_si256(second, mask)];
                (
                    [_mm256_castsi256_ps(low[0]), _mm256_castsi256_ps(low[1])],
                    [_mm256_castsi256_ps(high[0]), _mm256_castsi256_ps(high[1])],
                )
            }
        }
        #[inline(always)]
        fn f16(self, from: &[u16; 32]) -> ([__m256; 2], [__m256; 2]) {
            unsafe {
                let at = from.as_ptr().cast::<__m128i>();
                let low = [_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1)))];
                let high = [_mm256_cvtph_ps(_mm_loadu_si128(at.add(2))), _mm256_cvtph_ps(_mm_loadu_si128(at.add(3)))];
                (low, high)
            }
        }
        #[inline(always)]
        fn i8(self, from: &[i8; 32]) -> ([__m256; 2], [__m256; 2]) {
            unsafe {
                let at = from.as_ptr();
                let a = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()));
                let b = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(8).cast()));
                let c = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(16).cast()));
                let d = _mm256_cvtepi8_epi32(_mm_loadl_epi64(at.add(24).cast()));
                ([_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)], [_mm256_cvtepi32_ps(c), _mm256_cvtepi32_ps(d)])
            }
        }
        #[inline(always)]
        fn prefetch<T>(self, from: &T, ahead: usize) {
            // A prefetch never faults, so the address may lie outside.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(from).cast::<i8>().wrapping_add(ahead)) }
        }
    }
}
