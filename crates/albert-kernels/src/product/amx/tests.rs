//! The kernel against plain loops, on the processor's tiles or on emulated ones.

use super::emulator::{Counts, counts};
use super::{Amx, AmxKind, TILE_WORDS, processor_has_tiles};

/// What lies around operands: NaN as bf16 and as `f32`, and neither zero nor one as bytes.
const GUARD: u32 = 0x7FC1_7FC1;
const KINDS: [AmxKind; 2] = [AmxKind::Bf16, AmxKind::Int8];
/// Around the rows of a tile and of a block, where the code for tails begins and ends.
const ROWS: [usize; 15] = [1, 2, 3, 15, 16, 17, 18, 31, 32, 33, 47, 48, 49, 64, 70];
/// Measured: 8.8e-8 at most, on emulated tiles; each of the up to 384 additions for an element may be
/// off by 6e-8 of its result.
const BF16_ERROR_MAX: f64 = 5e-7;

/// Numbers without pattern, the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    /// A number in -1..1.
    fn number(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// A word of A or B: two bf16 in -1..1, or four bytes of any value.
    fn word(&mut self, kind: AmxKind) -> u32 {
        match kind {
            AmxKind::Bf16 => self.number().to_bits() >> 16 | self.number().to_bits() & 0xFFFF_0000,
            AmxKind::Int8 => self.bits(),
        }
    }

    /// A word of C.
    fn sum(&mut self, kind: AmxKind) -> u32 {
        match kind {
            AmxKind::Bf16 => self.number().to_bits(),
            AmxKind::Int8 => (self.bits().cast_signed() >> 8).cast_unsigned(),
        }
    }
}

/// A and B with guards between the rows of A, between the strips of B, and behind both.
struct Operands {
    kind: AmxKind,
    rows: usize,
    strips: usize,
    depth: usize,
    a: Vec<u32>,
    b: Vec<u32>,
}

impl Operands {
    const GAP: usize = 5;
    /// A whole tile of guards behind the last row.
    const BEHIND: usize = 16 * TILE_WORDS;

    fn random(kind: AmxKind, rows: usize, strips: usize, depth: usize) -> Self {
        let mut random = Random::new((rows * 1000 + strips * 100 + depth) as u64);
        let mut fill = |pieces: usize, words: usize| {
            let mut filled = Vec::new();
            for _ in 0..pieces {
                filled.extend((0..words).map(|_| random.word(kind)));
                filled.extend([GUARD; Self::GAP]);
            }
            filled.extend([GUARD; Self::BEHIND]);
            filled
        };
        let (a, b) = (fill(rows, depth), fill(strips, TILE_WORDS * depth));
        Self { kind, rows, strips, depth, a, b }
    }

    fn a_stride(&self) -> usize {
        self.depth + Self::GAP
    }

    fn strip_stride(&self) -> usize {
        TILE_WORDS * self.depth + Self::GAP
    }

    fn columns(&self) -> usize {
        TILE_WORDS * self.strips
    }

    /// C, random, with guards as A has them and a row of them before.
    fn random_c(&self) -> Guarded {
        let (stride, mut random) = (self.columns() + 3, Random::new(7));
        let mut words = vec![GUARD; (self.rows + 17) * stride];
        for row in words.chunks_mut(stride).skip(1).take(self.rows) {
            row[..self.columns()].fill_with(|| random.sum(self.kind));
        }
        Guarded { words, rows: self.rows, columns: self.columns(), stride }
    }

    /// The product, or only some of its rows and strips.
    fn multiply(
        &self,
        c: &mut Guarded,
        rows: std::ops::Range<usize>,
        strips: std::ops::Range<usize>,
        accumulate: bool,
    ) {
        assert!(rows.end <= self.rows && strips.end <= self.strips);
        let a = &self.a[rows.start * self.a_stride()..];
        let b = &self.b[strips.start * self.strip_stride()..];
        let c_start = (1 + rows.start) * c.stride + strips.start * TILE_WORDS;
        // SAFETY: rows and strips are within the operands, as asserted above, and within C,
        // which was made for them and is borrowed.
        unsafe {
            Amx::emulated().product(
                self.kind,
                a.as_ptr(),
                self.a_stride(),
                rows.len(),
                b.as_ptr(),
                self.strip_stride(),
                strips.len(),
                self.depth,
                c.words[c_start..].as_mut_ptr(),
                c.stride,
                accumulate,
            );
        }
    }

    /// The sum over K for an element of C, of what `product` makes of a word of A and of B.
    fn sum<T: std::iter::Sum>(
        &self,
        row: usize,
        column: usize,
        product: impl Fn(u32, u32) -> T,
    ) -> T {
        let strip = &self.b[column / TILE_WORDS * self.strip_stride()..];
        let a = &self.a[row * self.a_stride()..][..self.depth];
        let b = strip.chunks(TILE_WORDS).map(|words| words[column % TILE_WORDS]);
        a.iter().zip(b).map(|(&a, b)| product(a, b)).sum()
    }

    /// Panics unless `got` is the product, added to `before` when `accumulate`.
    #[track_caller]
    fn check(&self, got: &Guarded, before: &Guarded, accumulate: bool) {
        let elements = || (0..self.rows).flat_map(|i| (0..self.columns()).map(move |j| (i, j)));
        let what = format!(
            "{:?}, {} rows, {} strips, {} words, accumulate {accumulate}",
            self.kind, self.rows, self.strips, self.depth
        );
        match self.kind {
            AmxKind::Int8 => {
                for (i, j) in elements() {
                    let start = i64::from(before.at(i, j).cast_signed()) * i64::from(accumulate);
                    let truth = start + self.sum(i, j, int8_product);
                    assert_eq!(i64::from(got.at(i, j).cast_signed()), truth, "{what}: {i}, {j}");
                }
            }
            AmxKind::Bf16 => {
                let number = |c: &Guarded, i, j| f64::from(f32::from_bits(c.at(i, j)));
                let truth = elements().map(|(i, j)| {
                    let start = if accumulate { number(before, i, j) } else { 0.0 };
                    start + self.sum(i, j, bf16_product)
                });
                let got: Vec<f64> = elements().map(|(i, j)| number(got, i, j)).collect();
                let error = relative_error(&got, &truth.collect::<Vec<_>>());
                if std::env::var_os("SHOW_ERRORS").is_some() {
                    println!("{what}: {error:.2e}");
                }
                assert!(error <= BF16_ERROR_MAX, "{what}: relative error {error:e}");
            }
        }
    }
}

fn int8_product(a: u32, b: u32) -> i64 {
    let bytes = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    bytes.map(|(a, b)| i64::from(a) * i64::from(b.cast_signed())).sum()
}

fn bf16_product(a: u32, b: u32) -> f64 {
    let numbers =
        |word: u32| [word << 16, word & 0xFFFF_0000].map(|bits| f64::from(f32::from_bits(bits)));
    let ([a0, a1], [b0, b1]) = (numbers(a), numbers(b));
    a0 * b0 + a1 * b1
}

/// The Euclidean norm of the difference over that of the truth; NaN where there is one.
fn relative_error(got: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(got.len(), truth.len());
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(truth).map(|(g, t)| square(g - t)).sum();
    let size: f64 = truth.iter().copied().map(square).sum();
    if error == 0.0 { 0.0 } else { (error / size).sqrt() }
}

/// C, with a row of guards before, three at the end of each row, and a tile's rows behind.
#[derive(Clone, PartialEq)]
struct Guarded {
    words: Vec<u32>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Guarded {
    fn at(&self, row: usize, column: usize) -> u32 {
        self.words[(1 + row) * self.stride + column]
    }

    #[track_caller]
    fn check_guards(&self) {
        for (place, &word) in self.words.iter().enumerate() {
            let (row, column) = (place / self.stride, place % self.stride);
            let inside = (1..=self.rows).contains(&row) && column < self.columns;
            assert!(inside || word == GUARD, "word {column} of row {row} was written: {word:x}");
        }
    }
}

#[test]
fn the_processor_is_asked_as_the_system_asks_it() {
    let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else {
        println!("skipped: /proc/cpuinfo cannot be read");
        return;
    };
    let flags = text.lines().find(|line| line.starts_with("flags")).expect("a line of flags");
    let has = |flag| flags.split_whitespace().any(|word| word == flag);
    let listed = has("amx_tile") && has("amx_bf16") && has("amx_int8");
    assert_eq!(processor_has_tiles(), listed);
    assert!(listed || Amx::detect().is_none());
}

fn check_products(depth: usize, accumulate: bool) {
    for kind in KINDS {
        for rows in ROWS {
            for strips in 1..=5 {
                let operands = Operands::random(kind, rows, strips, depth);
                let before = operands.random_c();
                let mut c = before.clone();
                operands.multiply(&mut c, 0..rows, 0..strips, accumulate);
                c.check_guards();
                operands.check(&c, &before, accumulate);
            }
        }
    }
}

#[test]
fn products_of_one_step_are_right() {
    check_products(16, false);
    check_products(16, true);
}

#[test]
fn products_of_two_steps_are_right() {
    check_products(32, false);
    check_products(32, true);
}

#[test]
fn products_of_many_steps_are_right() {
    check_products(192, false);
    check_products(192, true);
}

#[test]
fn the_bits_do_not_depend_on_the_cuts() {
    for kind in KINDS {
        let operands = Operands::random(kind, 70, 5, 48);
        for accumulate in [false, true] {
            let start = operands.random_c();
            let mut whole = start.clone();
            operands.multiply(&mut whole, 0..70, 0..5, accumulate);
            assert!(whole != start);
            for row_cuts in [&[0, 70][..], &[0, 1, 16, 33, 70], &[0, 32, 49, 66, 70]] {
                for strip_cuts in [&[0, 1, 2, 5][..], &[0, 2, 5], &[0, 3, 4, 5]] {
                    let mut pieces = start.clone();
                    for rows in row_cuts.windows(2) {
                        for strips in strip_cuts.windows(2) {
                            let (rows, strips) = (rows[0]..rows[1], strips[0]..strips[1]);
                            operands.multiply(&mut pieces, rows, strips, accumulate);
                        }
                    }
                    assert!(pieces == whole, "{kind:?}, cut at {row_cuts:?} and {strip_cuts:?}");
                }
            }
        }
    }
}

#[test]
fn nothing_to_multiply_is_no_error() {
    for kind in KINDS {
        let empty = Operands::random(kind, 3, 2, 0);
        let start = empty.random_c();
        let mut c = start.clone();
        empty.multiply(&mut c, 0..0, 0..2, false);
        empty.multiply(&mut c, 0..3, 0..0, false);
        empty.multiply(&mut c, 0..3, 0..2, true);
        assert!(c == start);
        empty.multiply(&mut c, 0..3, 0..2, false);
        c.check_guards();
        assert!((0..3).all(|row| (0..32).all(|column| c.at(row, column) == 0)));
    }
}

#[test]
#[should_panic(expected = "17 words are no multiple")]
fn a_depth_that_is_no_multiple_of_a_tile_is_refused() {
    let operands = Operands::random(AmxKind::Int8, 1, 1, 17);
    operands.multiply(&mut operands.random_c(), 0..1, 0..1, false);
}

/// Memory that begins or ends where the process may not read: a step outside kills the test.
struct Fenced {
    map: *mut u8,
    bytes: usize,
}

impl Fenced {
    const PAGE: usize = 4096;

    fn new(words: usize) -> Self {
        let bytes = (4 * words).next_multiple_of(Self::PAGE);
        let (rights, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, of which the last page is then forbidden.
        let map = unsafe {
            let map = libc::mmap(std::ptr::null_mut(), bytes + Self::PAGE, rights, kind, -1, 0);
            assert!(map != libc::MAP_FAILED);
            let fence = map.byte_add(bytes);
            assert_eq!(libc::mprotect(fence, Self::PAGE, libc::PROT_NONE), 0);
            map.cast()
        };
        Self { map, bytes }
    }

    /// The last `words` words before the fence.
    fn last(&self, words: usize) -> *mut u32 {
        assert!(4 * words <= self.bytes);
        // SAFETY: within the mapping, as just asserted.
        unsafe { self.map.add(self.bytes - 4 * words).cast() }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        let result = unsafe { libc::munmap(self.map.cast(), self.bytes + Self::PAGE) };
        assert_eq!(result, 0);
    }
}

#[test]
fn nothing_past_the_operands_is_touched() {
    const DEPTH: usize = 32;
    for kind in KINDS {
        for rows in ROWS {
            for strips in 1..=3 {
                let (a_words, b_words) = (rows * DEPTH, strips * TILE_WORDS * DEPTH);
                let c_words = rows * strips * TILE_WORDS;
                let [a, b, c] = [a_words, b_words, c_words].map(Fenced::new);
                for accumulate in [false, true] {
                    // SAFETY: the fenced memory has just the words of the operands, all zero.
                    unsafe {
                        Amx::emulated().product(
                            kind,
                            a.last(a_words),
                            DEPTH,
                            rows,
                            b.last(b_words),
                            TILE_WORDS * DEPTH,
                            strips,
                            DEPTH,
                            c.last(c_words),
                            strips * TILE_WORDS,
                            accumulate,
                        );
                    }
                }
            }
        }
    }
}

/// What `work` had emulated, or nothing where the processor itself has tiles.
fn emulated_by(work: impl FnOnce()) -> Option<Counts> {
    let before = counts();
    work();
    let after = counts();
    Amx::detect().is_none().then(|| Counts {
        instructions: after.instructions - before.instructions,
        dots: after.dots - before.dots,
    })
}

/// Without this, all others could pass on a kernel that runs no tile instruction.
#[test]
fn the_instructions_are_really_executed() {
    for kind in KINDS {
        let operands = Operands::random(kind, 17, 3, 32);
        let mut c = operands.random_c();
        let counts = emulated_by(|| operands.multiply(&mut c, 0..17, 0..3, false));
        // Two blocks, of four tiles and of two; each zeroes four tiles and takes two steps of
        // as many dots as tiles, and of four and three loads. One configuration, one release.
        let (zeros, dots, loads, stores) = (8, 2 * (4 + 2), 2 * (4 + 3), 4 + 2);
        let expected = Counts { instructions: 2 + zeros + dots + loads + stores, dots };
        assert!(counts.is_none_or(|counts| counts == expected), "{counts:?}");
    }
}

#[test]
fn a_configuration_is_loaded_only_where_the_rows_change() {
    let other_instructions = |rows: usize| {
        let operands = Operands::random(AmxKind::Int8, rows, 1, 0);
        let mut c = operands.random_c();
        let counts = emulated_by(|| operands.multiply(&mut c, 0..rows, 0..1, false));
        // Without depth, a block zeroes four tiles and stores one for each 16 rows.
        let blocks = rows.div_ceil(32) as u64;
        counts.map(|counts| counts.instructions - 4 * blocks - rows.div_ceil(16) as u64 - 1)
    };
    for (rows, configurations) in [(32, 1), (96, 1), (80, 1), (16, 1), (5, 1), (97, 2), (49, 2)] {
        let counted = other_instructions(rows);
        assert!(counted.is_none_or(|counted| counted == configurations), "{rows}: {counted:?}");
    }
}

#[test]
fn the_peak_counts_what_it_does() {
    for (kind, operations_a_dot) in
        [(AmxKind::Bf16, 2 * 16 * 16 * 32), (AmxKind::Int8, 2 * 16 * 16 * 64)]
    {
        for rounds in [0, 1, 5] {
            let mut operations = 0;
            let counts = emulated_by(|| operations = Amx::emulated().peak(kind, rounds));
            assert_eq!(operations, 4 * rounds as u64 * operations_a_dot);
            assert!(counts.is_none_or(|counts| counts.dots == 4 * rounds as u64), "{counts:?}");
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    let over = |got: &[f64], truth: &[f64]| {
        let error = relative_error(got, truth);
        error.is_nan() || error > BF16_ERROR_MAX
    };
    assert!(over(&[0.0], &[1e-3]) && over(&[1e-9], &[0.0]));
    assert!(over(&[f64::NAN, 1.0], &[1.0, 1.0]) && over(&[1.0, 1.000_002], &[1.0, 1.0]));
    assert!(!over(&[1.0, 1.0], &[1.0, 1.0]) && !over(&[0.0], &[0.0]));
}
