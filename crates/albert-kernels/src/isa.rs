//! Instruction sets: which ones this processor has, and the one place that chooses among them.
//!
//! An [`Isa`] is a proof. A value that stands for AVX-512 can only be made after the processor
//! was asked, so whoever holds one may run that code. Nothing here computes.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};
use std::sync::OnceLock;

/// The environment variable that forces a lower instruction set than the best one.
pub const ISA_VARIABLE: &str = "ALBERT_ISA";

/// A set of instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

/// An algorithm written once for any [`Simd`], with its arguments. `run` must be
/// `#[inline(always)]`, as must everything it calls that touches vectors: only then is it
/// compiled with the instructions of the set it runs on.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

impl Isa {
    /// Plain Rust, which every processor runs.
    pub const PORTABLE: Self = Self(Level::Portable(Portable));

    /// Every set this processor has, best first; the last is always [`Isa::PORTABLE`].
    #[must_use]
    pub fn available() -> Vec<Self> {
        let sets = [
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(|token| Self(Level::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(|token| Self(Level::Avx2(token))),
            Some(Self::PORTABLE),
        ];
        sets.into_iter().flatten().collect()
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

    /// The set called `name` (`avx512`, `avx2` or `portable`), if this processor has it.
    ///
    /// # Errors
    /// A sentence for the user when the name is unknown or the processor lacks the set.
    pub fn from_name(name: &str) -> Result<Self, String> {
        if !["avx512", "avx2", "portable"].contains(&name) {
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
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            Level::Portable(_) => "portable",
        }
    }

    /// How many `f32` one vector holds.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => Avx2::LANES,
            Level::Portable(_) => Portable::LANES,
        }
    }

    /// Rows and columns of the block of C that one run of the matrix product's inner loop makes.
    pub(crate) fn tile(self) -> (usize, usize) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => (Avx512::TILE_ROWS, 2 * Avx512::LANES),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => (Avx2::TILE_ROWS, 2 * Avx2::LANES),
            Level::Portable(_) => (Portable::TILE_ROWS, 2 * Portable::LANES),
        }
    }

    /// Runs `kernel` compiled for this set: the only dispatch in the crate.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
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
}

fn unknown(name: &str) -> String {
    format!(
        "{ISA_VARIABLE} is {name:?}, which names no instruction set; use avx512, avx2 or portable"
    )
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
        assert!(message.contains("\"sse9\"") && message.contains("avx512, avx2 or portable"));
    }

    #[test]
    fn a_set_the_processor_lacks_is_an_error() {
        for name in ["avx512", "avx2"] {
            if !Isa::available().iter().any(|isa| isa.name() == name) {
                assert!(Isa::from_name(name).unwrap_err().contains("does not have"));
            }
        }
    }
}
