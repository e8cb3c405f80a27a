//! Reading a frame in the kernel: every step is checked against the end of the packet.

use core::arch::asm;

use aya_ebpf::programs::XdpContext;
use sensor_ebpf::parse::{Cursor, Window};

/// A place in the packet.
#[derive(Clone, Copy)]
pub struct PacketCursor {
    pos: usize,
    end: usize,
}

impl PacketCursor {
    /// The start of the frame.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { pos: ctx.data(), end: ctx.data_end() }
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
        let (mut pos, mut n) = (self.pos, n);
        // SAFETY: arithmetic on two registers. Spelled out because LLVM must not know how `pos` came about: then the check
        // against the end and the loads behind it use the very same register, which is what the verifier understands.
        // And because LLVM would drop the mask where it can prove it idle: it makes all ways that lead here look alike to
        // the verifier, which otherwise follows each chain of IPv6 extension headers for itself, a million steps.
        unsafe {
            asm!("{n} &= 0xfff", "{pos} += {n}", n = inout(reg) n, pos = inout(reg) pos,
                 options(pure, nomem, nostack));
        }
        let _ = n;
        Self { pos, end: self.end }
    }

    #[inline(always)]
    fn remaining(self) -> usize {
        self.end.saturating_sub(self.pos)
    }
}
