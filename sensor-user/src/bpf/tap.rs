//! Listening on a port for frames that leave by it (packet(7)). What is of no interest is sorted out in the kernel, by a
//! filter on the socket, so that a busy port costs little.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use sensor_core::addr::Mac;

use super::sys::check;

/// Bytes of a frame that are looked at.
const SNAP: usize = 128;
/// Most instructions of a filter, a little under the kernel's bound (BPF_MAXINSNS, 4,096).
const MAX_INSTRUCTIONS: usize = 4_000;

/// Where a frame's direction can be loaded from: SKF_AD_OFF + SKF_AD_PKTTYPE of linux/filter.h.
const PACKET_TYPE: u32 = (-0x1000_i32 + 4) as u32;
/// The direction of frames that leave (linux/if_packet.h).
const OUTGOING: u32 = 4;

// Instructions of the filter machine (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// Whose frames a tap is to hear.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// From or to these MAC addresses.
    pub macs: Vec<Mac>,
    /// From or to these IPv4 addresses, also in ARP.
    pub four: Vec<[u8; 4]>,
    /// From or to these IPv6 addresses.
    pub six: Vec<[u8; 16]>,
    /// Everybody's.
    pub all: bool,
}

impl Filter {
    /// Whether it wants nobody's.
    pub fn is_empty(&self) -> bool {
        !self.all && self.macs.is_empty() && self.four.is_empty() && self.six.is_empty()
    }

    /// The program. It looks at four bytes of each address, so it lets some pass that are not meant; whoever reads looks again.
    fn program(&self) -> Vec<libc::sock_filter> {
        let outgoing = [
            instruction(LOAD_BYTE, 0, 0, PACKET_TYPE),
            instruction(JUMP_IF_EQUAL, 1, 0, OUTGOING),
            instruction(RETURN, 0, 0, 0),
        ];
        let mut program = outgoing.to_vec();
        let wanted = self.addresses();
        if self.all || program.len() + wanted.len() > MAX_INSTRUCTIONS {
            program.push(accept());
        } else {
            program.extend(wanted);
        }
        program
    }

    fn addresses(&self) -> Vec<libc::sock_filter> {
        let low = |bytes: &[u8]| bytes.last_chunk::<4>().map_or(0, |low| u32::from_be_bytes(*low));
        let macs: Vec<_> = self.macs.iter().map(|mac| low(&mac.0)).collect();
        let four: Vec<_> = self.four.iter().map(|ip| low(ip)).collect();
        let six: Vec<_> = self.six.iter().map(|ip| low(ip)).collect();
        // The MAC addresses, then what lies behind each EtherType: where the last four bytes of both addresses are.
        let mut program = any_of(2, &macs);
        program.extend(any_of(8, &macs));
        program.push(instruction(LOAD_HALF, 0, 0, 12));
        for (ether_type, at, addresses) in
            [(0x0800, [26, 30], &four), (0x0806, [28, 38], &four), (0x86dd, [34, 50], &six)]
        {
            let mut section: Vec<_> = at.iter().flat_map(|at| any_of(*at, addresses)).collect();
            section.push(instruction(RETURN, 0, 0, 0));
            program.push(instruction(JUMP_IF_EQUAL, 1, 0, ether_type));
            program.push(instruction(JUMP, 0, 0, section.len() as u32));
            program.extend(section);
        }
        // Tags and labels before the packet: whoever reads looks behind them.
        for ether_type in [0x8100, 0x88a8, 0x9100, 0x8847, 0x8864] {
            program.push(instruction(JUMP_IF_EQUAL, 0, 1, ether_type));
            program.push(accept());
        }
        program.push(instruction(RETURN, 0, 0, 0));
        program
    }
}

/// Accepts the frame if the four bytes at an offset are one of these.
fn any_of(at: u32, words: &[u32]) -> Vec<libc::sock_filter> {
    if words.is_empty() {
        return Vec::new();
    }
    let mut program = vec![instruction(LOAD_WORD, 0, 0, at)];
    for word in words {
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, *word));
        program.push(accept());
    }
    program
}

fn accept() -> libc::sock_filter {
    instruction(RETURN, 0, 0, SNAP as u32)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// An ear on a port.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Listens on an interface of this network namespace.
    ///
    /// # Errors
    ///
    /// Those of the system; it needs CAP_NET_RAW.
    pub fn open(ifindex: u32, filter: &Filter) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are given. Protocol 0: nothing is heard before the filter is there.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut program = filter.program();
        let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the option's structure and its size; the program it points to lives until after the call.
        check(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const attached).cast(),
                size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        })?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: i32::try_from(ifindex).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address structure of this family, and its size.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Self { socket })
    }

    /// The beginning of the next frame; none if there is none now.
    ///
    /// # Errors
    ///
    /// Those of the system; that the interface is gone among them.
    pub fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; SNAP];
        // SAFETY: a buffer that lives, and its length.
        let read = unsafe { libc::recv(self.socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match check(read) {
            Ok(read) => {
                bytes.truncate(read as usize);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Frames that were wanted and found no room since this was last asked.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn missed(&self) -> io::Result<u32> {
        // Frames that came, and of these that found no room (struct tpacket_stats).
        let mut counted = [0u32; 2];
        let mut len = size_of_val(&counted) as libc::socklen_t;
        // SAFETY: room for the option's structure, and its size.
        check(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counted.as_mut_ptr().cast(),
                &raw mut len,
            )
        })?;
        Ok(counted[1])
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on a frame that leaves, as the kernel does; true if it is accepted.
    fn accepts(program: &[libc::sock_filter], frame: &[u8]) -> bool {
        let (mut at, mut word) = (0, 0u32);
        let load = |offset: u32, len: usize| -> Option<u32> {
            let bytes = frame.get(offset as usize..)?.get(..len)?;
            Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        };
        loop {
            let libc::sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let loaded = match code {
                LOAD_BYTE if k == PACKET_TYPE => Some(OUTGOING),
                LOAD_WORD => load(k, 4),
                LOAD_HALF => load(k, 2),
                JUMP_IF_EQUAL => {
                    at += usize::from(if word == k { jt } else { jf });
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN => return k > 0,
                other => panic!("instruction {other:#x}"),
            };
            // What lies beyond the frame ends the program.
            let Some(loaded) = loaded else { return false };
            word = loaded;
        }
    }

    fn frame(dst: u8, src: u8, ether_type: u16, rest: &[u8]) -> Vec<u8> {
        let mac = |last| [2, 0, 0, 0, 0, last];
        [&mac(dst)[..], &mac(src), &ether_type.to_be_bytes(), rest].concat()
    }

    #[test]
    fn only_frames_of_the_wanted_are_heard() {
        let filter = Filter {
            macs: vec![Mac([2, 0, 0, 0, 0, 7]), Mac([2, 0, 0, 0, 0, 8])],
            four: vec![[10, 0, 0, 7]],
            six: vec![[0xfd; 16]],
            all: false,
        };
        let four = |src: u8, dst: u8| [&[0x45; 12][..], &[10, 0, 0, src], &[10, 0, 0, dst]].concat();
        let six = |src: u8, dst: u8| [&[0x60; 8][..], &[src; 16], &[dst; 16]].concat();
        let arp = |spa: u8, tpa: u8| [&[0; 14][..], &[10, 0, 0, spa], &[0; 6], &[10, 0, 0, tpa]].concat();
        let cases: [(&str, Vec<u8>, bool); 15] = [
            ("MAC source", frame(1, 7, 0x88cc, &[]), true),
            ("MAC destination", frame(8, 1, 0x88cc, &[]), true),
            ("neither", frame(1, 2, 0x88cc, &[]), false),
            ("IPv4 source", frame(1, 2, 0x0800, &four(7, 9)), true),
            ("IPv4 destination", frame(1, 2, 0x0800, &four(9, 7)), true),
            ("IPv4 of others", frame(1, 2, 0x0800, &four(8, 9)), false),
            ("ARP sender", frame(1, 2, 0x0806, &arp(7, 9)), true),
            ("ARP target", frame(1, 2, 0x0806, &arp(9, 7)), true),
            ("ARP of others", frame(1, 2, 0x0806, &arp(8, 9)), false),
            ("IPv6 source", frame(1, 2, 0x86dd, &six(0xfd, 1)), true),
            ("IPv6 destination", frame(1, 2, 0x86dd, &six(1, 0xfd)), true),
            ("IPv6 of others", frame(1, 2, 0x86dd, &six(1, 2)), false),
            ("tagged", frame(1, 2, 0x8100, &[0; 40]), true),
            ("cut short", frame(1, 2, 0x0800, &[0x45; 10]), false),
            ("very short", vec![2; 8], false),
        ];
        let program = filter.program();
        for (name, frame, expected) in cases {
            assert_eq!(accepts(&program, &frame), expected, "{name}");
        }
        assert!(accepts(&Filter { all: true, ..Filter::default() }.program(), &frame(1, 2, 0x0800, &[])));
        assert!(Filter::default().is_empty() && !filter.is_empty());
    }

    #[test]
    fn a_filter_that_would_be_too_long_hears_everybody() {
        let macs = (0..2_000u16).map(|n| Mac([2, 0, 0, 0, (n >> 8) as u8, n as u8])).collect();
        let program = Filter { macs, ..Filter::default() }.program();
        assert!(program.len() <= MAX_INSTRUCTIONS);
        assert!(accepts(&program, &frame(99, 98, 0x0800, &[])));
    }

    #[test]
    fn the_kernel_takes_the_filter() {
        let macs = (0..400u16).map(|n| Mac([2, 0, 0, 0, (n >> 8) as u8, n as u8])).collect();
        let filter = Filter { macs, four: vec![[10, 0, 0, 7]], six: vec![[0xfd; 16]], all: false };
        match Tap::open(1, &filter) {
            Ok(tap) => {
                tap.next().expect("nothing, or something");
                assert_eq!(tap.missed().expect("counted"), 0);
            }
            // Not root.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
