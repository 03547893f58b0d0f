//! Eight tiles and what the instructions do to them, after the pseudo-code of Intel's manual
//! (Software Developer's Manual, volume 2), without signals or decoding.
//!
//! What faults there is an error here. `dot_bf16` adds in the order that the manual states;
//! where the manual leaves the last bit open (a result that is subnormal only before rounding,
//! which NaN comes out) hardware may differ.

use super::super::AmxKind;

/// Tiles of palette 1, their rows and bytes in a row.
pub(super) const TILES: usize = 8;
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;
const WORDS: usize = ROW_BYTES / 4;

/// Why the processor would raise an exception.
pub(super) type Fault = &'static str;

/// The state that AMX adds to a thread.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tiles {
    shapes: Option<[Shape; TILES]>,
    data: [[[u8; ROW_BYTES]; ROWS]; TILES],
}

/// The part of a tile that is used; zero by zero for none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    rows: usize,
    bytes: usize,
}

/// What LDTILECFG reads.
pub(super) type Config = [u8; 64];

impl Tiles {
    pub(super) const fn new() -> Self {
        Self { shapes: None, data: [[[0; ROW_BYTES]; ROWS]; TILES] }
    }

    /// LDTILECFG, but for a `start_row` other than 0, which only an interrupted load leaves.
    pub(super) fn configure(&mut self, config: &Config) -> Result<(), Fault> {
        if config[0] == 0 {
            self.release();
            return Ok(());
        }
        if config[0] != 1 {
            return Err("ldtilecfg: the palette is neither 0 nor 1");
        }
        let unused = [&config[1..16], &config[32..48], &config[56..64]];
        if unused.into_iter().flatten().any(|&byte| byte != 0) {
            return Err("ldtilecfg: the start row or a reserved byte is not 0");
        }
        let mut shapes = [Shape { rows: 0, bytes: 0 }; TILES];
        for (tile, shape) in shapes.iter_mut().enumerate() {
            let bytes = u16::from_le_bytes([config[16 + 2 * tile], config[17 + 2 * tile]]);
            *shape = Shape { rows: config[48 + tile].into(), bytes: bytes.into() };
            if shape.rows > ROWS || shape.bytes > ROW_BYTES {
                return Err("ldtilecfg: a tile has more than 16 rows of 64 bytes");
            }
            if (shape.rows == 0) != (shape.bytes == 0) {
                return Err("ldtilecfg: a tile has rows without bytes or bytes without rows");
            }
        }
        *self = Self { shapes: Some(shapes), ..Self::new() };
        Ok(())
    }

    /// TILERELEASE.
    pub(super) fn release(&mut self) {
        *self = Self::new();
    }

    /// TILEZERO.
    pub(super) fn zero(&mut self, tile: usize) -> Result<(), Fault> {
        self.shape(tile)?;
        self.data[tile] = [[0; ROW_BYTES]; ROWS];
        Ok(())
    }

    /// TILELOADD from the row at `base`, and so on every `stride` bytes.
    ///
    /// # Safety
    /// The rows of the tile's configuration can be read there.
    pub(super) unsafe fn load(
        &mut self,
        tile: usize,
        base: *const u8,
        stride: isize,
    ) -> Result<(), Fault> {
        let shape = self.shape(tile)?;
        self.zero(tile)?;
        for row in 0..shape.rows {
            let from = base.wrapping_offset(row as isize * stride);
            let to = self.data[tile][row].as_mut_ptr();
            // SAFETY: the caller's contract, and a configured row is at most as long as one here.
            unsafe { to.copy_from_nonoverlapping(from, shape.bytes) };
        }
        Ok(())
    }

    /// TILESTORED to the row at `base`, and so on every `stride` bytes.
    ///
    /// # Safety
    /// The rows of the tile's configuration can be written there.
    pub(super) unsafe fn store(
        &self,
        tile: usize,
        base: *mut u8,
        stride: isize,
    ) -> Result<(), Fault> {
        let shape = self.shape(tile)?;
        for row in 0..shape.rows {
            let to = base.wrapping_offset(row as isize * stride);
            // SAFETY: the caller's contract, and a configured row is at most as long as one here.
            unsafe { to.copy_from_nonoverlapping(self.data[tile][row].as_ptr(), shape.bytes) };
        }
        Ok(())
    }

    /// TDPBF16PS or TDPBUSD: the tile `c` gets the product of `a` and `b` added.
    pub(super) fn dot(&mut self, kind: AmxKind, c: usize, a: usize, b: usize) -> Result<(), Fault> {
        let (c_shape, a_shape, b_shape) = (self.shape(c)?, self.shape(a)?, self.shape(b)?);
        if c == a || c == b || a == b {
            return Err("tdp: two operands are one tile");
        }
        if [c_shape, a_shape, b_shape].iter().any(|shape| shape.bytes % 4 != 0) {
            return Err("tdp: a tile's row is no whole number of words");
        }
        if c_shape.rows != a_shape.rows
            || c_shape.bytes != b_shape.bytes
            || a_shape.bytes / 4 != b_shape.rows
        {
            return Err("tdp: the shapes of the tiles do not fit together");
        }
        for row in 0..c_shape.rows {
            for column in 0..c_shape.bytes / 4 {
                let mut words = [(0, 0); WORDS];
                for (k, words) in words[..b_shape.rows].iter_mut().enumerate() {
                    *words = (self.word(a, row, k), self.word(b, k, column));
                }
                let dot = match kind {
                    AmxKind::Bf16 => dot_bf16,
                    AmxKind::Int8 => dot_int8,
                };
                let sum = dot(self.word(c, row, column), &words[..b_shape.rows]);
                self.data[c][row][4 * column..4 * column + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        Ok(())
    }

    fn shape(&self, tile: usize) -> Result<Shape, Fault> {
        let shapes = self.shapes.ok_or("a tile is used before ldtilecfg or after tilerelease")?;
        match shapes[tile].rows {
            0 => Err("a tile is used that the configuration leaves out"),
            _ => Ok(shapes[tile]),
        }
    }

    fn word(&self, tile: usize, row: usize, word: usize) -> u32 {
        let bytes = self.data[tile][row][4 * word..].first_chunk().expect("a word");
        u32::from_le_bytes(*bytes)
    }
}

/// One element of TDPBF16PS: `c` plus the sum over the words of A and B. The even and the odd
/// numbers have a chain of fused multiply-adds each, which begin at zero.
pub(super) fn dot_bf16(c: u32, words: &[(u32, u32)]) -> u32 {
    let even = |word: u32| flush(f32::from_bits(word << 16));
    let odd = |word: u32| flush(f32::from_bits(word & 0xFFFF_0000));
    let mut sums = [0.0; 2];
    for &(a, b) in words {
        sums[0] = flush(even(a).mul_add(even(b), sums[0]));
        sums[1] = flush(odd(a).mul_add(odd(b), sums[1]));
    }
    flush(flush(f32::from_bits(c)) + flush(sums[0] + sums[1])).to_bits()
}

/// One element of TDPBUSD: `c` plus the sum over the bytes of A, unsigned, and B, signed.
pub(super) fn dot_int8(c: u32, words: &[(u32, u32)]) -> u32 {
    let product = |a: u8, b: u8| i32::from(a) * i32::from(b.cast_signed());
    let mut sum = c.cast_signed();
    for (a, b) in words {
        for (a, b) in a.to_le_bytes().into_iter().zip(b.to_le_bytes()) {
            sum = sum.wrapping_add(product(a, b));
        }
    }
    sum.cast_unsigned()
}

/// Zero, of the same sign, for a subnormal number.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u32 = 0x3F80;
    const TWO: u32 = 0x4000;
    const THREE: u32 = 0x4040;
    const MINUS_ONE: u32 = 0xBF80;
    /// 2^24, beside which 1 is lost.
    const LARGE: u32 = 0x4B80;

    fn pair(low: u32, high: u32) -> u32 {
        high << 16 | low
    }

    fn bf16(c: f32, words: &[(u32, u32)]) -> f32 {
        f32::from_bits(dot_bf16(c.to_bits(), words))
    }

    fn int8(c: i32, a: [u8; 4], b: [i8; 4]) -> i32 {
        let b = b.map(i8::cast_unsigned);
        dot_int8(c.cast_unsigned(), &[(u32::from_le_bytes(a), u32::from_le_bytes(b))]).cast_signed()
    }

    #[test]
    fn pairs_of_bf16_are_multiplied_and_added() {
        // 1 * 3 + 2 * -1, then 3 * 2 + 1 * 1.
        let words = [(pair(ONE, TWO), pair(THREE, MINUS_ONE)), (pair(THREE, ONE), pair(TWO, ONE))];
        assert_eq!(bf16(0.0, &words), 8.0);
        assert_eq!(bf16(-10.0, &words), -2.0);
        assert_eq!(bf16(0.5, &[]), 0.5);
    }

    #[test]
    fn even_and_odd_numbers_have_their_own_sums() {
        // Even: 2^24 + 1 + 1, each 1 lost; odd: 1 + 1 + 1. One chain would lose every 1.
        let words = [(pair(LARGE, ONE), pair(ONE, ONE)), (pair(ONE, ONE), pair(ONE, ONE))];
        let words = [words[0], words[1], words[1]];
        assert_eq!(bf16(0.0, &words), 16_777_216.0 + 4.0);
        // The sum over the words is rounded before C is added: 2^24 + 3 becomes 2^24 + 4.
        assert_eq!(bf16(-16_777_216.0, &words), 4.0);
    }

    #[test]
    fn subnormal_numbers_count_as_zero() {
        let (smallest, subnormal) = (0x0080, 0x0040);
        assert_eq!(bf16(0.0, &[(smallest, ONE)]), f32::MIN_POSITIVE);
        assert_eq!(bf16(0.0, &[(subnormal, ONE)]), 0.0);
        assert_eq!(bf16(0.0, &[(ONE, pair(0, subnormal))]), 0.0);
        // 2^-126 times 2^-1 would be subnormal, and so would this C.
        assert_eq!(bf16(0.0, &[(smallest, 0x3F00)]), 0.0);
        assert_eq!(bf16(f32::from_bits(1), &[]), 0.0);
    }

    #[test]
    fn bytes_of_a_are_unsigned_and_those_of_b_signed() {
        assert_eq!(int8(0, [255, 0, 0, 0], [-128, 9, 9, 9]), -32_640);
        assert_eq!(int8(7, [255, 128, 2, 1], [127, -1, 3, 100]), 7 + 32_385 - 128 + 6 + 100);
        assert_eq!(int8(i32::MAX, [1, 0, 0, 0], [1, 0, 0, 0]), i32::MIN);
    }

    /// Tile 0 of 2 x 3 words, 1 of 2 x 2, 2 of 2 x 3; the others left out.
    fn config() -> Config {
        let mut config = [0; 64];
        config[0] = 1;
        for (tile, (rows, words)) in [(2, 3), (2, 2), (2, 3)].into_iter().enumerate() {
            config[16 + 2 * tile] = 4 * words;
            config[48 + tile] = rows;
        }
        config
    }

    fn configured() -> Tiles {
        let mut tiles = Tiles::new();
        tiles.configure(&config()).unwrap();
        tiles
    }

    #[test]
    fn tiles_are_multiplied_by_rows_and_columns() {
        let mut tiles = configured();
        // One number in each word: A is [[1, 2], [3, 4]], B [[1, 0, 2], [0, 1, 3]].
        let (a, b) = ([1, 2, 99, 3, 4, 99], [1, 0, 2, 0, 1, 3]);
        let mut c = [10, 10, 10, 20, 20, 20, 77u32];
        // SAFETY: each tile has two rows, which lie in the arrays at these strides.
        unsafe {
            tiles.load(0, c.as_ptr().cast(), 12).unwrap();
            tiles.load(1, a.as_ptr().cast(), 12).unwrap();
            tiles.load(2, b.as_ptr().cast(), 12).unwrap();
            tiles.dot(AmxKind::Int8, 0, 1, 2).unwrap();
            tiles.store(0, c.as_mut_ptr().cast(), 12).unwrap();
        }
        assert_eq!(c, [11, 12, 18, 23, 24, 38, 77]);
    }

    #[test]
    fn a_load_zeroes_the_rest_of_the_tile_and_a_release_everything() {
        let mut tiles = configured();
        tiles.data[1] = [[9; ROW_BYTES]; ROWS];
        // SAFETY: the tile has two rows of 8 bytes, which the array has.
        unsafe { tiles.load(1, [[1u8; 8]; 2].as_ptr().cast(), 8) }.unwrap();
        let ones = tiles.data[1].as_flattened().iter().map(|&byte| usize::from(byte)).sum();
        assert_eq!((tiles.data[1][1][..9].to_vec(), 16), (vec![1, 1, 1, 1, 1, 1, 1, 1, 0], ones));
        tiles.zero(1).unwrap();
        assert_eq!(tiles, configured());
        tiles.release();
        assert_eq!(tiles, Tiles::new());
    }

    #[track_caller]
    fn assert_fault<T: std::fmt::Debug>(result: Result<T, Fault>, part: &str) {
        let fault = result.expect_err("a fault");
        assert!(fault.contains(part), "{fault}");
    }

    #[test]
    fn tiles_that_are_not_configured_fault() {
        assert_fault(Tiles::new().zero(0), "before ldtilecfg");
        assert_fault(configured().zero(3), "leaves out");
        let mut released = configured();
        released.release();
        assert_fault(released.dot(AmxKind::Int8, 0, 1, 2), "before ldtilecfg");
        let mut disabled = configured();
        disabled.configure(&[0; 64]).unwrap();
        assert_eq!(disabled, Tiles::new());
    }

    #[test]
    fn tiles_that_do_not_fit_together_fault() {
        assert_fault(configured().dot(AmxKind::Int8, 1, 0, 2), "do not fit");
        assert_fault(configured().dot(AmxKind::Bf16, 0, 0, 2), "one tile");
        for (tile, rows) in [(0, 1), (1, 3), (2, 1)] {
            let mut config = config();
            config[48 + tile] = rows;
            let mut tiles = Tiles::new();
            tiles.configure(&config).unwrap();
            assert_fault(tiles.dot(AmxKind::Bf16, 0, 1, 2), "do not fit");
        }
    }

    #[test]
    fn wrong_configurations_fault() {
        for (byte, value, part) in [
            (0, 2, "palette"),
            (1, 1, "start row"),
            (15, 1, "reserved"),
            (32, 1, "reserved"),
            (56, 1, "reserved"),
            (16, 68, "more than 16 rows of 64"),
            (17, 1, "more than 16 rows of 64"),
            (48, 17, "more than 16 rows of 64"),
            (48, 0, "bytes without rows"),
            (55, 1, "rows without bytes"),
        ] {
            let mut config = config();
            config[byte] = value;
            assert_fault(Tiles::new().configure(&config), part);
        }
    }
}
