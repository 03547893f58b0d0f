//! Products of bf16 pairs and of bytes on the tiles of AMX. Whole strips and packed words only:
//! nothing here packs, scales or rounds, and nothing runs on more than the calling thread.
//!
//! A block of C is up to 2 x 2 tiles of 16 x 16 words. The tiles of a block are
//!
//! ```text
//!            B: tmm6 tmm7
//! A: tmm4       tmm0 tmm1
//!    tmm5       tmm2 tmm3
//! ```
//!
//! so that four tiles are loaded for four products. The whole sum over K happens inside one
//! `asm!`, because nothing but assembly can hold a tile. Each element of C is one chain of
//! additions over K whatever block it falls into, so a caller may cut rows and strips anywhere
//! and get the same bits.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

#[cfg(all(test, target_os = "linux"))]
mod emulator;
#[cfg(all(test, target_os = "linux"))]
mod tests;

/// Words of a tile's row, and the columns of a strip.
const TILE_WORDS: usize = 16;
/// Rows of a tile.
const TILE_ROWS: usize = 16;
/// Bytes of a tile's row.
const TILE_ROW_BYTES: usize = 4 * TILE_WORDS;
/// Rows of a block of C: two tiles.
const BLOCK_ROWS: usize = 2 * TILE_ROWS;

/// Proves that the processor has AMX with bf16 and int8, and that this process may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx(());

/// What a word of A and of B holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AmxKind {
    /// Two bf16 each; C is `f32`. Subnormal numbers count as zero.
    Bf16,
    /// Four bytes each, unsigned in A and signed in B; C is `i32`, and wraps.
    Int8,
}

impl Amx {
    /// Asks the processor, and then the operating system: Linux gives tiles only to a process
    /// that asks for them.
    pub(crate) fn detect() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| processor_has_tiles() && system_permits_tiles()).then_some(Self(()))
    }

    /// C = A B, or C += A B when `accumulate`, all strides in words:
    ///
    /// - A: `rows` x `depth`, row-major, `a_stride` words from row to row;
    /// - B: `strips` strips `strip_stride` apart, each `depth` x 16 words, without gaps;
    /// - C: `rows` x `16 * strips`, row-major, `c_stride` words from row to row.
    ///
    /// `depth` is a multiple of 16. Strips that begin at a multiple of 64 bytes load faster.
    /// Products of bytes are exact, those of bf16 have a relative error of at most 8.8e-8 in
    /// the tests (on emulated tiles, 384 numbers deep).
    ///
    /// # Safety
    /// The words of A and B described above can be read, those of C written, and read when
    /// `accumulate`; C overlaps neither A nor B, and nobody else uses it meanwhile.
    pub(crate) unsafe fn product(
        self,
        kind: AmxKind,
        a: *const u32,
        a_stride: usize,
        rows: usize,
        b: *const u32,
        strip_stride: usize,
        strips: usize,
        depth: usize,
        c: *mut u32,
        c_stride: usize,
        accumulate: bool,
    ) {
        assert!(depth.is_multiple_of(TILE_WORDS), "{depth} words are no multiple of a tile's");
        let mut configured = None;
        for row in (0..rows).step_by(BLOCK_ROWS) {
            let height = BLOCK_ROWS.min(rows - row);
            let config = TileConfig::for_rows(height);
            if configured != Some(config) {
                // SAFETY: the token proves the instruction.
                unsafe { config.load() };
                configured = Some(config);
            }
            for strip in (0..strips).step_by(2) {
                let b = b.wrapping_add(strip * strip_stride);
                let block = Block {
                    a: a.wrapping_add(row * a_stride),
                    a_stride,
                    b: [b, b.wrapping_add(strip_stride)],
                    steps: depth / TILE_WORDS,
                    c: c.wrapping_add(row * c_stride + strip * TILE_WORDS),
                    c_stride,
                    accumulate,
                };
                // SAFETY: the token proves the instructions, `config` is loaded, and the block
                // has `height` of the caller's rows and no strip past the last.
                unsafe { block.compute(kind, height > TILE_ROWS, strip + 1 < strips) };
            }
        }
        if configured.is_some() {
            release_tiles();
        }
    }

    /// Multiplies tiles that stay in registers, four products a round, and returns how many
    /// operations (multiplications and additions) that was: what the hardware can do at most.
    pub(crate) fn peak(self, kind: AmxKind, rounds: usize) -> u64 {
        /// 1.0 and 1.0 as bf16, or the bytes 128, 63, 128, 63: no number that is cheap to handle.
        static WORDS: [[u32; TILE_WORDS]; TILE_ROWS] = [[0x3F80_3F80; TILE_WORDS]; TILE_ROWS];
        // SAFETY: the token proves the instructions; the assembly reads 16 rows of 64 bytes, the
        // shape that the configuration gives to all tiles, and that is what `WORDS` is.
        unsafe {
            TileConfig::for_rows(BLOCK_ROWS).load();
            match kind {
                AmxKind::Bf16 => multiply_in_registers::<false>(WORDS.as_ptr().cast(), rounds),
                AmxKind::Int8 => multiply_in_registers::<true>(WORDS.as_ptr().cast(), rounds),
            }
        }
        release_tiles();
        let multiplications_a_word = match kind {
            AmxKind::Bf16 => 2,
            AmxKind::Int8 => 4,
        };
        let words = 4 * TILE_ROWS * TILE_WORDS * TILE_WORDS;
        2 * multiplications_a_word * words as u64 * rounds as u64
    }
}

/// Whether the processor has tiles, bf16 and int8, and the system saves tiles on a switch.
#[allow(unused_unsafe, reason = "CPUID is an unsafe function in older versions of Rust")]
fn processor_has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    const CONFIG_AND_DATA: u32 = 1 << 17 | 1 << 18;
    // SAFETY: every x86-64 processor has CPUID, and leaf 7 is only read where it exists.
    let (osxsave, tiles) = unsafe {
        if __cpuid(0).eax < 7 {
            return false;
        }
        (__cpuid(1).ecx & OSXSAVE, __cpuid_count(7, 0).edx & BF16_TILE_INT8)
    };
    if osxsave == 0 || tiles != BF16_TILE_INT8 {
        return false;
    }
    let saved: u32;
    // SAFETY: the OSXSAVE bit says that XGETBV exists; register 0 always does.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack));
    }
    saved & CONFIG_AND_DATA == CONFIG_AND_DATA
}

/// Asks Linux for tiles, for all threads of this process.
#[cfg(target_os = "linux")]
fn system_permits_tiles() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: this system call touches no memory of ours; it may change the registers named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// How to ask other systems is not written yet.
#[cfg(not(target_os = "linux"))]
fn system_permits_tiles() -> bool {
    false
}

/// The operand of LDTILECFG, in palette 1: up to 8 tiles of up to 16 rows of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// For a block of `height` rows of C, 1 to 32. The second row of tiles is whole where it is
    /// not used, so that 16 rows need no other configuration than 32.
    fn for_rows(height: usize) -> Self {
        let first = height.min(TILE_ROWS) as u8;
        let second = if height > TILE_ROWS { height - TILE_ROWS } else { TILE_ROWS } as u8;
        let whole = TILE_ROWS as u8;
        let mut config =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(TILE_ROW_BYTES as u16);
        config.rows[..8]
            .copy_from_slice(&[first, first, second, second, first, second, whole, whole]);
        config
    }

    /// # Safety
    /// The processor has AMX and the process may use it.
    unsafe fn load(&self) {
        // SAFETY: the caller's contract; the operand is 64 readable, valid bytes.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                config = in(reg) self,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags),
            );
        }
    }
}

/// Gives the tiles back, so that the system need not save them on a switch. To be called where
/// a configuration was loaded, which needed a token.
fn release_tiles() {
    // SAFETY: the processor has AMX, since a configuration was loaded.
    unsafe {
        asm!(
            "tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack, preserves_flags),
        );
    }
}

/// Lines of assembly that are there only where the condition on constant operands holds.
macro_rules! when {
    ($condition:literal, $($line:literal),+) => {
        concat!(".if ", $condition, "\n", $($line, "\n",)+ ".endif")
    };
}

/// The product of a tile of A with one of B, added to one of C. An operand `int8` says which.
macro_rules! dot {
    ($operands:literal) => {
        concat!(".if {int8}\ntdpbusd ", $operands, "\n.else\ntdpbf16ps ", $operands, "\n.endif")
    };
}

/// One block of C: where it and its operands begin. Strides are in words.
struct Block {
    a: *const u32,
    a_stride: usize,
    /// The two strips; the second is not looked at in a block of one.
    b: [*const u32; 2],
    /// Steps of 16 words along K.
    steps: usize,
    c: *mut u32,
    c_stride: usize,
    accumulate: bool,
}

impl Block {
    /// Computes the block, of two rows of tiles when `tall` and of two strips when `wide`.
    ///
    /// # Safety
    /// The contract of [`Amx::product`] for the rows of the loaded configuration.
    unsafe fn compute(&self, kind: AmxKind, tall: bool, wide: bool) {
        // SAFETY: the caller's contract.
        unsafe {
            match kind {
                AmxKind::Bf16 => self.compute_kind::<false>(tall, wide),
                AmxKind::Int8 => self.compute_kind::<true>(tall, wide),
            }
        }
    }

    /// # Safety
    /// As for [`Block::compute`].
    unsafe fn compute_kind<const INT8: bool>(&self, tall: bool, wide: bool) {
        // SAFETY: the caller's contract.
        unsafe {
            match (tall, wide) {
                (true, true) => self.compute_tiles::<INT8, true, true>(),
                (true, false) => self.compute_tiles::<INT8, true, false>(),
                (false, true) => self.compute_tiles::<INT8, false, true>(),
                (false, false) => self.compute_tiles::<INT8, false, false>(),
            }
        }
    }

    /// # Safety
    /// As for [`Block::compute`].
    unsafe fn compute_tiles<const INT8: bool, const TALL: bool, const WIDE: bool>(&self) {
        let second_rows = TILE_ROWS * self.a_stride;
        // SAFETY: the caller's contract: tiles are loaded and stored with the rows that are
        // configured, and the second ones only where TALL and WIDE say that they exist.
        unsafe {
            asm!(
                "test {accumulate:e}, {accumulate:e}",
                "jnz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{c0} + {c_bytes}*1]",
                when!("{wide}", "tileloadd tmm1, [{c0} + {c_bytes}*1 + 64]"),
                when!("{tall}", "tileloadd tmm2, [{c1} + {c_bytes}*1]"),
                when!("{tall} & {wide}", "tileloadd tmm3, [{c1} + {c_bytes}*1 + 64]"),
                "3:",
                "test {steps}, {steps}",
                "jz 5f",
                "4:",
                "tileloadd tmm4, [{a0} + {a_bytes}*1]",
                "tileloadd tmm6, [{b0} + {b_bytes}*1]",
                dot!("tmm0, tmm4, tmm6"),
                when!("{wide}", "tileloadd tmm7, [{b1} + {b_bytes}*1]"),
                when!("{tall}", "tileloadd tmm5, [{a1} + {a_bytes}*1]"),
                ".if {wide}",
                dot!("tmm1, tmm4, tmm7"),
                ".endif",
                ".if {tall}",
                dot!("tmm2, tmm5, tmm6"),
                ".endif",
                ".if {tall} & {wide}",
                dot!("tmm3, tmm5, tmm7"),
                ".endif",
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {steps}",
                "jnz 4b",
                "5:",
                "tilestored [{c0} + {c_bytes}*1], tmm0",
                when!("{wide}", "tilestored [{c0} + {c_bytes}*1 + 64], tmm1"),
                when!("{tall}", "tilestored [{c1} + {c_bytes}*1], tmm2"),
                when!("{tall} & {wide}", "tilestored [{c1} + {c_bytes}*1 + 64], tmm3"),
                int8 = const INT8 as u8,
                tall = const TALL as u8,
                wide = const WIDE as u8,
                accumulate = in(reg) u32::from(self.accumulate),
                steps = inout(reg) self.steps => _,
                a0 = inout(reg) self.a => _,
                a1 = inout(reg) self.a.wrapping_add(second_rows) => _,
                a_bytes = in(reg) 4 * self.a_stride,
                b0 = inout(reg) self.b[0] => _,
                b1 = inout(reg) self.b[1] => _,
                b_bytes = in(reg) TILE_ROW_BYTES,
                c0 = in(reg) self.c,
                c1 = in(reg) self.c.wrapping_add(TILE_ROWS * self.c_stride),
                c_bytes = in(reg) 4 * self.c_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// `rounds` rounds of four products of the tile at `words` with itself.
///
/// # Safety
/// All tiles are configured as 16 rows of 64 bytes, and `words` has as many to read.
unsafe fn multiply_in_registers<const INT8: bool>(words: *const u32, rounds: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{words} + {bytes}*1]",
            "tileloadd tmm5, [{words} + {bytes}*1]",
            "tileloadd tmm6, [{words} + {bytes}*1]",
            "tileloadd tmm7, [{words} + {bytes}*1]",
            "test {rounds}, {rounds}",
            "jz 3f",
            "2:",
            dot!("tmm0, tmm4, tmm6"),
            dot!("tmm1, tmm4, tmm7"),
            dot!("tmm2, tmm5, tmm6"),
            dot!("tmm3, tmm5, tmm7"),
            "dec {rounds}",
            "jnz 2b",
            "3:",
            int8 = const INT8 as u8,
            rounds = inout(reg) rounds => _,
            words = in(reg) words,
            bytes = in(reg) TILE_ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(readonly, nostack),
        );
    }
}
