//! Reading a frame in the kernel: every step is checked against the end of the packet.

use core::arch::asm;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::parse::{Cursor, Window};

/// A place in the packet.
#[derive(Clone, Copy)]
pub struct PacketCursor {
    pos: usize,
    end: usize,
    /// 0, which the verifier does not know.
    zero: usize,
}

impl PacketCursor {
    /// The start of the frame. `zero` is 0; for ways through the parser that are many, it is one the verifier does not
    /// know to be (see [`Cursor::forget`]).
    #[inline(always)]
    pub fn new(ctx: &XdpContext, zero: u32) -> Self {
        Self { pos: ctx.data(), end: ctx.data_end(), zero: zero as usize }
    }

    /// Bytes from here to the end, which must not lie before.
    #[inline(always)]
    pub fn len(self) -> u64 {
        let mut len = self.end;
        // SAFETY: arithmetic on two registers. Spelled out because LLVM would subtract the lower halves of the two, which
        // the verifier does not allow for pointers.
        unsafe {
            asm!("{len} -= {pos}", len = inout(reg) len, pos = in(reg) self.pos, options(pure, nomem, nostack))
        };
        len as u64
    }

    /// Bytes from an earlier place to here.
    #[inline(always)]
    pub fn since(self, start: Self) -> u32 {
        let mut bytes = self.pos;
        // SAFETY: as for `len`.
        unsafe {
            asm!("{bytes} -= {start}", bytes = inout(reg) bytes, start = in(reg) start.pos,
                 options(pure, nomem, nostack))
        };
        bytes as u32
    }

    /// `n` bytes on, at most `MOST` (a mask).
    #[inline(always)]
    fn advance<const MOST: usize>(self, n: usize) -> Self {
        let (mut pos, mut n) = (self.pos, self.forget(n));
        // SAFETY: arithmetic on two registers. Spelled out because LLVM must not know how `pos` came about: then the check
        // against the end and the loads behind it use the very same register, which is what the verifier understands.
        // And because LLVM would drop the mask where it can prove it idle, and the verifier must see how far at most.
        unsafe {
            asm!("{n} &= {most}", "{pos} += {n}", n = inout(reg) n, pos = inout(reg) pos, most = const MOST,
                 options(pure, nomem, nostack));
        }
        let _ = n;
        Self { pos, ..self }
    }
}

/// Bytes whose presence was checked.
#[derive(Clone, Copy)]
pub struct PacketWindow(usize);

impl Window for PacketWindow {
    #[inline(always)]
    fn u8(self, at: usize) -> u8 {
        // SAFETY: `window` checked that the bytes are there, and the verifier checks it again.
        unsafe { *((self.0 + at) as *const u8) }
    }

    #[inline(always)]
    fn u16(self, at: usize) -> u16 {
        // SAFETY: as for `u8`. Headers start at odd multiples of two; the BPF machine loads unaligned packet data
        // (`read_unaligned` would load it byte by byte).
        unsafe { *((self.0 + at) as *const u16) }
    }

    #[inline(always)]
    fn u32(self, at: usize) -> u32 {
        // SAFETY: as for `u16`.
        unsafe { *((self.0 + at) as *const u32) }
    }

    #[inline(always)]
    fn u64(self, at: usize) -> u64 {
        // SAFETY: as for `u16`.
        unsafe { *((self.0 + at) as *const u64) }
    }
}

impl Cursor for PacketCursor {
    type Window = PacketWindow;

    #[inline(always)]
    fn window(self, n: usize) -> Option<PacketWindow> {
        if self.pos + n > self.end { None } else { Some(PacketWindow(self.pos)) }
    }

    #[inline(always)]
    fn skip(self, n: usize) -> Self {
        self.advance::<0xfff>(n)
    }

    #[inline(always)]
    fn step(self, n: usize) -> Self {
        self.advance::<0xf>(n)
    }

    #[inline(always)]
    fn remaining(self) -> usize {
        self.end.saturating_sub(self.pos)
    }

    #[inline(always)]
    fn forget(self, n: usize) -> usize {
        let mut n = n;
        // SAFETY: arithmetic on two registers; LLVM, which may know `n`, cannot undo it.
        unsafe {
            asm!("{n} ^= {zero}", n = inout(reg) n, zero = in(reg) self.zero, options(pure, nomem, nostack))
        };
        n
    }
}
