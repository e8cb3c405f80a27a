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
}

impl Cursor for PacketCursor {
    type Window = PacketWindow;

    #[inline(always)]
    fn window(self, n: usize) -> Option<PacketWindow> {
        if self.pos + n > self.end { None } else { Some(PacketWindow(self.pos)) }
    }

    #[inline(always)]
    fn skip(self, n: usize) -> Self {
        // The bound tells the verifier that the pointer stays within its 64 KiB.
        let mut pos = self.pos + (n & 0xfff);
        // SAFETY: a register copied onto itself. It hides from LLVM how `pos` came about, so that the check against the
        // end and the loads behind it use the very same register, which is what the verifier understands. (An empty
        // template would give two line infos for one instruction, which the verifier refuses.)
        unsafe { asm!("{pos} = {pos}", pos = inout(reg) pos, options(pure, nomem, nostack)) };
        Self { pos, end: self.end }
    }

    #[inline(always)]
    fn remaining(self) -> usize {
        self.end.saturating_sub(self.pos)
    }
}
