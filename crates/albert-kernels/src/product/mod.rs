//! Products of activations with a packed right operand, in `f32`, bf16 or bytes.
//!
//! Everything here is 32-bit words along the depth of the product: one `f32`, two bf16 or four
//! bytes. A right operand lies in strips of [`STRIP`] columns: for each word of the depth, the
//! words of all columns of the strip, one cache line. That is the order in which the dot product
//! instructions of AVX-512 and the tiles of AMX read alike, so that one layout serves every set.
//! Left operands are row-major; bytes are unsigned on the left, signed on the right.
//!
//! Each element of the result is one chain over the depth, so its bits do not depend on how rows
//! and columns are cut.

#[cfg(target_arch = "x86_64")]
mod amx;
mod pack;
mod quantise;
#[cfg(test)]
mod tests;
mod weights;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::{Amx, AmxKind};
pub(crate) use pack::{AcrossRows, PackColumns, PackStrip, depth_pieces};
pub use quantise::quantise_weights;
pub(crate) use quantise::{RowScale, convert_row};
pub use weights::WeightData;
pub(crate) use weights::{Weights, words_padded};

use crate::isa::{DotKernel, Isa, Kernel};
use crate::simd::{Dots, Simd, Words};

/// Columns of a strip.
pub(crate) const STRIP: usize = 16;

/// What numbers a product multiplies. Sums are kept in `f32`, or in 32-bit integers for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// The upper half of an `f32`.
    Bf16,
    /// Bytes: unsigned activations with a scale and an offset for each row, signed weights with a
    /// scale for each column.
    Int8,
}

impl Precision {
    /// How many numbers are in a word.
    pub(crate) fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// What tiles multiply.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn amx_kind(self) -> Option<AmxKind> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(AmxKind::Bf16),
            Self::Int8 => Some(AmxKind::Int8),
        }
    }

    /// What is multiplied where bytes are not exact enough, beside products of this precision.
    #[must_use]
    pub fn wider(self) -> Self {
        if self == Self::Int8 { Self::Bf16 } else { self }
    }

    /// The name a user writes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// `C = A B`, or `C += A B`, of words.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// `rows` rows of `depth` words, `a_stride` apart.
    pub(crate) a: *const u32,
    pub(crate) a_stride: usize,
    pub(crate) rows: usize,
    /// `strips` strips of `depth` cache lines, `strip_stride` words apart.
    pub(crate) b: *const u32,
    pub(crate) strip_stride: usize,
    pub(crate) strips: usize,
    /// Words of depth, a multiple of 16.
    pub(crate) depth: usize,
    /// `rows` rows of `strips * STRIP` numbers (`f32`, or `i32` for bytes), `c_stride` apart.
    pub(crate) c: *mut u32,
    pub(crate) c_stride: usize,
    pub(crate) accumulate: bool,
}

impl Product {
    /// Computes the product.
    ///
    /// # Safety
    /// A and B are readable and C is writable (and initialised, to accumulate) as described, and
    /// nothing else uses C during the call.
    pub(crate) unsafe fn run(self, isa: Isa, precision: Precision) {
        debug_assert!(self.depth.is_multiple_of(16));
        #[cfg(target_arch = "x86_64")]
        if let (Some(amx), Some(kind)) = (isa.amx(), precision.amx_kind()) {
            let Self { a, a_stride, rows, b, strip_stride, strips, .. } = self;
            let Self { depth, c, c_stride, accumulate, .. } = self;
            // SAFETY: the caller's contract.
            unsafe {
                amx.product(
                    kind,
                    a,
                    a_stride,
                    rows,
                    b,
                    strip_stride,
                    strips,
                    depth,
                    c,
                    c_stride,
                    accumulate,
                );
            }
            return;
        }
        match precision {
            Precision::F32 => isa.run(RunF32(self)),
            Precision::Bf16 => isa.run_dots(RunDots::<true>(self)),
            Precision::Int8 => isa.run_dots(RunDots::<false>(self)),
        }
    }
}

/// How one kind of numbers is multiplied and added up, on one instruction set.
trait Arithmetic: Copy {
    type S: Words;
    type Sum: Copy;
    fn lanes(self) -> Self::S;
    fn zero(self) -> Self::Sum;
    fn dot(self, sum: Self::Sum, a: <Self::S as Simd>::I, b: <Self::S as Simd>::I) -> Self::Sum;
    fn add(self, a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn bits(self, sum: Self::Sum) -> <Self::S as Simd>::I;
    fn of_bits(self, bits: <Self::S as Simd>::I) -> Self::Sum;
}

#[derive(Clone, Copy)]
struct Floats<S>(S);

impl<S: Words> Arithmetic for Floats<S> {
    type S = S;
    type Sum = S::F;
    #[inline(always)]
    fn lanes(self) -> S {
        self.0
    }
    #[inline(always)]
    fn zero(self) -> S::F {
        self.0.zero()
    }
    #[inline(always)]
    fn dot(self, sum: S::F, a: S::I, b: S::I) -> S::F {
        self.0.fma(self.0.of_bits(a), self.0.of_bits(b), sum)
    }
    #[inline(always)]
    fn add(self, a: S::F, b: S::F) -> S::F {
        self.0.add(a, b)
    }
    #[inline(always)]
    fn bits(self, sum: S::F) -> S::I {
        self.0.bits(sum)
    }
    #[inline(always)]
    fn of_bits(self, bits: S::I) -> S::F {
        self.0.of_bits(bits)
    }
}

#[derive(Clone, Copy)]
struct Bf16s<D>(D);

impl<D: Dots> Arithmetic for Bf16s<D> {
    type S = D::S;
    type Sum = <D::S as Simd>::F;
    #[inline(always)]
    fn lanes(self) -> D::S {
        self.0.lanes()
    }
    #[inline(always)]
    fn zero(self) -> Self::Sum {
        self.lanes().zero()
    }
    #[inline(always)]
    fn dot(self, sum: Self::Sum, a: <D::S as Simd>::I, b: <D::S as Simd>::I) -> Self::Sum {
        self.0.add_bf16(sum, a, b)
    }
    #[inline(always)]
    fn add(self, a: Self::Sum, b: Self::Sum) -> Self::Sum {
        self.lanes().add(a, b)
    }
    #[inline(always)]
    fn bits(self, sum: Self::Sum) -> <D::S as Simd>::I {
        self.lanes().bits(sum)
    }
    #[inline(always)]
    fn of_bits(self, bits: <D::S as Simd>::I) -> Self::Sum {
        self.lanes().of_bits(bits)
    }
}

#[derive(Clone, Copy)]
struct Bytes<D>(D);

impl<D: Dots> Arithmetic for Bytes<D> {
    type S = D::S;
    type Sum = <D::S as Simd>::I;
    #[inline(always)]
    fn lanes(self) -> D::S {
        self.0.lanes()
    }
    #[inline(always)]
    fn zero(self) -> Self::Sum {
        self.lanes().splat_u32(0)
    }
    #[inline(always)]
    fn dot(self, sum: Self::Sum, a: Self::Sum, b: Self::Sum) -> Self::Sum {
        self.0.add_bytes(sum, a, b)
    }
    #[inline(always)]
    fn add(self, a: Self::Sum, b: Self::Sum) -> Self::Sum {
        self.lanes().add_u32(a, b)
    }
    #[inline(always)]
    fn bits(self, sum: Self::Sum) -> Self::Sum {
        sum
    }
    #[inline(always)]
    fn of_bits(self, bits: Self::Sum) -> Self::Sum {
        bits
    }
}

struct RunF32(Product);

impl Kernel for RunF32 {
    type Output = ();
    #[inline(always)]
    fn run<S: Words>(self, s: S) {
        // SAFETY: the contract of `Product::run`.
        unsafe { self.0.blocks(Floats(s)) }
    }
}

struct RunDots<const BF16: bool>(Product);

impl<const BF16: bool> DotKernel for RunDots<BF16> {
    type Output = ();
    #[inline(always)]
    fn run<D: Dots>(self, d: D) {
        // SAFETY: the contract of `Product::run`.
        unsafe { if BF16 { self.0.blocks(Bf16s(d)) } else { self.0.blocks(Bytes(d)) } }
    }
}

/// How many words ahead strips are asked for.
const PREFETCH: usize = 16 * STRIP;

/// Calls the instance for a number of rows known only at run time.
macro_rules! for_rows {
    ($product:expr, $x:expr, $at:expr, $rows:expr, $vectors:literal, $($n:literal)*) => {
        match $rows {
            // SAFETY: the contract of `Product::blocks`.
            $($n if $n <= X::S::TILE_ROWS => unsafe {
                $product.multiply::<X, $n, $vectors>($x, $at)
            },)*
            rows => unreachable!("{rows} rows in a tile"),
        }
    };
}

impl Product {
    /// Tiles of a few rows and two vectors of columns: the rows stay in the first-level cache
    /// while the strips stream past them.
    ///
    /// # Safety
    /// As for [`Product::run`].
    #[inline(always)]
    unsafe fn blocks<X: Arithmetic>(self, x: X) {
        let tiles = self.rows.div_ceil(X::S::TILE_ROWS);
        let (base, extra) = (self.rows / tiles.max(1), self.rows % tiles.max(1));
        let vectors = self.strips * STRIP / X::S::LANES;
        let mut first = 0;
        for tile in 0..tiles {
            let rows = base + usize::from(tile < extra);
            let mut column = 0;
            while column + 2 * X::S::LANES <= vectors * X::S::LANES {
                for_rows!(self, x, (first, column), rows, 2, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                column += 2 * X::S::LANES;
            }
            if column < vectors * X::S::LANES {
                for_rows!(self, x, (first, column), rows, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            first += rows;
        }
    }

    /// `R` rows and `V` vectors of C from row and column `at` on.
    ///
    /// # Safety
    /// They are inside of C; else as for [`Product::run`].
    #[inline(always)]
    unsafe fn multiply<X: Arithmetic, const R: usize, const V: usize>(
        self,
        x: X,
        at: (usize, usize),
    ) {
        let s = x.lanes();
        let mut sums = [[x.zero(); V]; R];
        let mut a = self.a.wrapping_add(at.0 * self.a_stride);
        let mut b: [*const u32; V] = std::array::from_fn(|v| {
            let column = at.1 + v * X::S::LANES;
            self.b.wrapping_add(column / STRIP * self.strip_stride + column % STRIP)
        });
        for _ in 0..self.depth {
            // SAFETY: word `k < depth` of `R` rows of A and of `V` vectors of B, by the contract.
            unsafe {
                let right: [_; V] = std::array::from_fn(|v| s.load_words(b[v]));
                b.iter().for_each(|b| s.prefetch(b.wrapping_add(PREFETCH)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let left = s.splat_u32(*a.wrapping_add(i * self.a_stride));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = x.dot(*sum, left, right);
                    }
                }
            }
            a = a.wrapping_add(1);
            b = b.map(|b| b.wrapping_add(STRIP));
        }
        for (i, sums) in sums.into_iter().enumerate() {
            for (v, mut sum) in sums.into_iter().enumerate() {
                let column = at.1 + v * X::S::LANES;
                // SAFETY: inside of C, by the contract.
                unsafe {
                    let c = self.c.add((at.0 + i) * self.c_stride + column);
                    if self.accumulate {
                        sum = x.add(x.of_bits(s.load_words(c)), sum);
                    }
                    s.store_words(c, x.bits(sum));
                }
            }
        }
    }
}
