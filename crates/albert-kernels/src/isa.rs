//! Instruction sets: which ones this processor has, and the one place that chooses among them.
//!
//! An [`Isa`] is a proof. A value that stands for AVX-512 can only be made after the processor
//! was asked, so whoever holds one may run that code. Nothing here computes.

#[cfg(target_arch = "x86_64")]
use crate::product::Amx;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx2Vnni, Avx512, Avx512Bf16, Avx512Vnni};
use crate::simd::{Dots, Emulated, Portable, Simd, Words};
use std::sync::OnceLock;

/// The environment variable that forces a lower instruction set than the best one.
pub const ISA_VARIABLE: &str = "ALBERT_ISA";

/// The names of all sets, best first.
const NAMES: [&str; 7] =
    ["amx", "avx512-bf16", "avx512-vnni", "avx512", "avx2-vnni", "avx2", "portable"];

/// A set of instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    /// What computes in `f32`.
    level: Level,
    /// What multiplies smaller numbers.
    dots: DotsLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DotsLevel {
    #[cfg(target_arch = "x86_64")]
    Amx(Amx, Avx512Bf16),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2Vnni(Avx2Vnni),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

/// An algorithm written once for any [`Simd`], with its arguments. `run` must be
/// `#[inline(always)]`, as must everything it calls that touches vectors: only then is it
/// compiled with the instructions of the set it runs on.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Words>(self, s: S) -> Self::Output;
}

/// As [`Kernel`], for algorithms that need dot products of packed numbers.
pub(crate) trait DotKernel {
    type Output;
    fn run<D: Dots>(self, d: D) -> Self::Output;
}

impl Isa {
    /// Plain Rust, which every processor runs.
    pub const PORTABLE: Self =
        Self { level: Level::Portable(Portable), dots: DotsLevel::Portable(Portable) };

    /// Every set this processor has, best first; the last is always [`Isa::PORTABLE`].
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(token) = Avx512::detect() {
                let level = Level::Avx512(token);
                let bf16 = Avx512Bf16::detect();
                let amx = Amx::detect().zip(bf16).map(|(amx, bf16)| DotsLevel::Amx(amx, bf16));
                let levels = [
                    amx,
                    bf16.map(DotsLevel::Avx512Bf16),
                    Avx512Vnni::detect().map(DotsLevel::Avx512Vnni),
                    Some(DotsLevel::Avx512(token)),
                ];
                sets.extend(levels.into_iter().flatten().map(|dots| Self { level, dots }));
            }
            if let Some(token) = Avx2::detect() {
                let level = Level::Avx2(token);
                let vnni = Avx2Vnni::detect().map(DotsLevel::Avx2Vnni);
                sets.extend(vnni.map(|dots| Self { level, dots }));
                sets.push(Self { level, dots: DotsLevel::Avx2(token) });
            }
        }
        sets.push(Self::PORTABLE);
        sets
    }

    /// One of each of the sets that compute differently in `f32`, best first.
    #[must_use]
    pub fn available_f32() -> Vec<Self> {
        let mut sets = Self::available();
        sets.dedup_by_key(|isa| isa.level);
        sets
    }

    /// The best set this processor has, whatever the environment says.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// The set to use: the one that `ALBERT_ISA` names, or the best when it is unset or empty.
    ///
    /// # Errors
    /// A sentence for the user when the name is unknown or the processor lacks the set.
    pub fn detect() -> Result<Self, String> {
        match std::env::var(ISA_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::from_name(&name),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::best()),
            Err(std::env::VarError::NotUnicode(_)) => Err(unknown("(not UTF-8)")),
        }
    }

    /// The set called `name`, if this processor has it: `amx`, `avx512-bf16`, `avx512-vnni`,
    /// `avx512`, `avx2-vnni`, `avx2` or `portable`.
    ///
    /// # Errors
    /// A sentence for the user when the name is unknown or the processor lacks the set.
    pub fn from_name(name: &str) -> Result<Self, String> {
        if !NAMES.contains(&name) {
            return Err(unknown(name));
        }
        let sets = Self::available();
        sets.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = sets.iter().map(|isa| isa.name()).collect();
            format!(
                "{ISA_VARIABLE} asks for {name}, which this processor does not have; it has: {}",
                names.join(", ")
            )
        })
    }

    /// The name that `ALBERT_ISA` uses for this set.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.dots {
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Amx(..) => "amx",
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx512Bf16(_) => "avx512-bf16",
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx512Vnni(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx2Vnni(_) => "avx2-vnni",
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx2(_) => "avx2",
            DotsLevel::Portable(_) => "portable",
        }
    }

    /// Whether the set multiplies bf16 faster than `f32`.
    #[must_use]
    pub fn has_bf16(self) -> bool {
        ["amx", "avx512-bf16"].contains(&self.name())
    }

    /// The tile registers, if the set has them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn amx(self) -> Option<Amx> {
        match self.dots {
            DotsLevel::Amx(amx, _) => Some(amx),
            _ => None,
        }
    }

    /// Whether the set has tile registers.
    pub(crate) fn has_tiles(self) -> bool {
        self.name() == "amx"
    }

    /// AMX, emulated where the processor does not have it, on top of a set with AVX-512.
    #[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn emulated_amx() -> Option<Self> {
        let (avx512, bf16) = Avx512::detect().zip(Avx512Bf16::detect())?;
        let dots = DotsLevel::Amx(Amx::emulated(), bf16);
        Some(Self { level: Level::Avx512(avx512), dots })
    }

    /// How many `f32` one vector holds.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => Avx2::LANES,
            Level::Portable(_) => Portable::LANES,
        }
    }

    /// Rows and columns of the block of C that one run of the matrix product's inner loop makes.
    pub(crate) fn tile(self) -> (usize, usize) {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => (Avx512::TILE_ROWS, 2 * Avx512::LANES),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => (Avx2::TILE_ROWS, 2 * Avx2::LANES),
            Level::Portable(_) => (Portable::TILE_ROWS, 2 * Portable::LANES),
        }
    }

    /// Runs `kernel` compiled for this set: with [`Isa::run_dots`] the only dispatch in the crate.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.level {
            // SAFETY: the token exists, so `Avx512::detect` found the features that
            // `run_avx512` enables.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => unsafe { run_avx512(token, kernel) },
            // SAFETY: the token exists, so `Avx2::detect` found the features that `run_avx2`
            // enables.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => unsafe { run_avx2(token, kernel) },
            Level::Portable(token) => kernel.run(token),
        }
    }

    /// As [`Isa::run`], for a kernel that needs dot products; AMX stands aside.
    pub(crate) fn run_dots<K: DotKernel>(self, kernel: K) -> K::Output {
        match self.dots {
            // SAFETY: the token exists, so its `detect` found the features enabled; so below.
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Amx(_, token) | DotsLevel::Avx512Bf16(token) => unsafe {
                run_avx512_bf16(token, kernel)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx512Vnni(token) => unsafe { run_avx512_vnni(token, kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx512(token) => unsafe { run_avx512_dots(token, kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx2Vnni(token) => unsafe { run_avx2_vnni(token, kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            DotsLevel::Avx2(token) => unsafe { run_avx2_dots(token, kernel) },
            DotsLevel::Portable(token) => kernel.run(Emulated(token)),
        }
    }
}

fn unknown(name: &str) -> String {
    let names = NAMES.join(", ");
    format!("{ISA_VARIABLE} is {name:?}, which names no instruction set; use one of {names}")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512vnni,avx512bf16")]
fn run_avx512_bf16<K: DotKernel>(token: Avx512Bf16, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,avx512vnni")]
fn run_avx512_vnni<K: DotKernel>(token: Avx512Vnni, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512_dots<K: DotKernel>(token: Avx512, kernel: K) -> K::Output {
    kernel.run(Emulated(token))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn run_avx2_vnni<K: DotKernel>(token: Avx2Vnni, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2_dots<K: DotKernel>(token: Avx2, kernel: K) -> K::Output {
    kernel.run(Emulated(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_is_always_there_and_last() {
        assert_eq!(Isa::available().last(), Some(&Isa::PORTABLE));
        assert_eq!(Isa::best(), Isa::available()[0]);
    }

    #[test]
    fn names_round_trip() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.name()), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_choices() {
        let message = Isa::from_name("sse9").unwrap_err();
        assert!(
            message.contains("\"sse9\"") && message.contains("avx512, avx2-vnni, avx2, portable")
        );
    }

    #[test]
    fn a_set_the_processor_lacks_is_an_error() {
        for name in NAMES {
            if !Isa::available().iter().any(|isa| isa.name() == name) {
                assert!(Isa::from_name(name).unwrap_err().contains("does not have"));
            }
        }
    }
}
