//! AMX on processors without it, for tests: a handler of SIGILL decodes the instruction that the
//! processor refused, carries it out on tiles of its own, and lets the thread go on behind it.
//!
//! Only what the kernel uses is known; any other illegal instruction ends the process, as it
//! would without the handler. A fault, which cannot be raised from here, aborts with a sentence.
//! Nothing in the handler allocates.

mod tiles;

use super::{Amx, AmxKind};
use core::ffi::{c_int, c_void};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Register};
use std::cell::RefCell;
use std::sync::Once;
use tiles::{Fault, Tiles};

/// What a thread has had emulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) instructions: u64,
    /// Those of them that multiply tiles.
    pub(super) dots: u64,
}

thread_local! {
    /// Made at compile time and never dropped, so that the handler finds it without allocation.
    static THREAD: RefCell<(Tiles, Counts)> =
        const { RefCell::new((Tiles::new(), Counts { instructions: 0, dots: 0 })) };
}

/// What the current thread has had emulated so far; nothing where the processor has AMX.
pub(super) fn counts() -> Counts {
    THREAD.with_borrow(|(_, counts)| *counts)
}

impl Amx {
    /// The processor's own tiles where it has them, otherwise emulated ones.
    pub(crate) fn emulated() -> Self {
        static INSTALLED: Once = Once::new();
        Self::detect().unwrap_or_else(|| {
            INSTALLED.call_once(install_handler);
            Self(())
        })
    }
}

fn install_handler() {
    // The decoder makes its tables when it is first used: not in the handler, then.
    assert_eq!(decode(&TILERELEASE, 0).code(), Code::VEX_Tilerelease);
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_illegal_instruction;
    // SAFETY: all bytes zero is a valid `sigaction`; the fields that matter are set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is whole, and the handler has the signature that SA_SIGINFO asks for.
    let result = unsafe { libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "the handler of SIGILL cannot be installed");
}

const TILERELEASE: [u8; 5] = [0xC4, 0xE2, 0x78, 0x49, 0xC0];

/// More than the longest instruction that is emulated: VEX prefix, opcode, ModRM, SIB and four
/// bytes of displacement are ten.
const CODE_BYTES: usize = 10;

fn decode(code: &[u8], address: u64) -> Instruction {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode()
}

extern "C" fn on_illegal_instruction(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the system passes the context of the interrupted thread, which
    // nobody else uses until the handler returns.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let address = registers[libc::REG_RIP as usize].cast_unsigned();
    // SAFETY: the processor has just fetched an instruction from there, and what is emulated is
    // never within a few bytes of the end of the code: its function returns behind it.
    let code = unsafe { std::slice::from_raw_parts(address as *const u8, CODE_BYTES) };
    let instruction = decode(code, address);
    let result = THREAD.with_borrow_mut(|(tiles, counts)| {
        // SAFETY: the thread was about to execute the instruction on these registers, so its
        // operands in memory are those that the thread answers for.
        let known = unsafe { execute(&instruction, registers, tiles) }?;
        counts.instructions += u64::from(known);
        counts.dots += u64::from(known && instruction.op_count() == 3);
        Ok(known)
    });
    match result {
        Ok(true) => registers[libc::REG_RIP as usize] = instruction.next_ip().cast_signed(),
        // The thread meets the same instruction again, this time without a handler.
        // SAFETY: the default action is valid for SIGILL.
        Ok(false) => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
        Err(fault) => abort(fault),
    }
}

/// Carries out one instruction; false when it is none of AMX.
///
/// # Safety
/// The memory that the instruction reads or writes with these registers may be so used.
unsafe fn execute(
    instruction: &Instruction,
    registers: &[i64; 23],
    tiles: &mut Tiles,
) -> Result<bool, Fault> {
    let tile = |operand| tile_number(instruction.op_register(operand));
    match instruction.code() {
        Code::VEX_Ldtilecfg_m512 => {
            let (base, offset) = memory_operand(instruction, registers)?;
            let config = (base.wrapping_add_signed(offset as i64)) as *const tiles::Config;
            // SAFETY: the caller's contract; bytes have no alignment.
            tiles.configure(unsafe { &*config })?;
        }
        Code::VEX_Tilerelease => tiles.release(),
        Code::VEX_Tilezero_tmm => tiles.zero(tile(0))?,
        Code::VEX_Tileloadd_tmm_sibmem => {
            let (base, stride) = memory_operand(instruction, registers)?;
            // SAFETY: the caller's contract.
            unsafe { tiles.load(tile(0), base as *const u8, stride) }?;
        }
        Code::VEX_Tilestored_sibmem_tmm => {
            let (base, stride) = memory_operand(instruction, registers)?;
            // SAFETY: the caller's contract.
            unsafe { tiles.store(tile(1), base as *mut u8, stride) }?;
        }
        Code::VEX_Tdpbf16ps_tmm_tmm_tmm => tiles.dot(AmxKind::Bf16, tile(0), tile(1), tile(2))?,
        Code::VEX_Tdpbusd_tmm_tmm_tmm => tiles.dot(AmxKind::Int8, tile(0), tile(1), tile(2))?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Base with displacement, and index times scale, which is the stride of a tile.
fn memory_operand(instruction: &Instruction, registers: &[i64; 23]) -> Result<(u64, isize), Fault> {
    if instruction.segment_prefix() != Register::None {
        return Err("operands in other segments are not emulated");
    }
    let displacement = instruction.memory_displacement64();
    let base = match instruction.memory_base() {
        // The decoder has already added the address.
        Register::RIP => 0,
        register => general_register(register, registers)?,
    };
    let index = general_register(instruction.memory_index(), registers)?;
    let offset = index * i64::from(instruction.memory_index_scale());
    Ok((base.cast_unsigned().wrapping_add(displacement), offset as isize))
}

/// The value of a register of 64 bits; 0 for none.
fn general_register(register: Register, registers: &[i64; 23]) -> Result<i64, Fault> {
    /// Where the system saves them, in the processor's order.
    const PLACES: [c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    if register == Register::None {
        return Ok(0);
    }
    let number = (register as usize).checked_sub(Register::RAX as usize);
    let place = number.and_then(|number| PLACES.get(number));
    let place = place.ok_or("an address is not in registers of 64 bits")?;
    Ok(registers[*place as usize])
}

fn tile_number(register: Register) -> usize {
    register as usize - Register::TMM0 as usize
}

/// Ends the process with a sentence, by means that a signal handler may use.
fn abort(fault: Fault) -> ! {
    for part in ["emulated AMX: ", fault, "\n"] {
        // SAFETY: the pointer and the length are those of one string.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: nothing is asked of the caller.
    unsafe { libc::abort() }
}
