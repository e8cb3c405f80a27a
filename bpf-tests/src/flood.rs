//! Very many frames from a host, made by hand: more flows than a table holds, and frames no program of a host would send.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::FromRawFd;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};

use crate::frame::{Frame, RST, SYN, mac};
use crate::lab::Lab;
use crate::traffic::on_host;

/// A socket on a host's wire.
#[derive(Debug)]
pub struct Flood {
    socket: OwnedFd,
    host: u8,
}

/// A frame of the spanning tree protocol.
pub fn control_frame(host: u8) -> Vec<u8> {
    Frame::ethernet(mac(host), [0x01, 0x80, 0xc2, 0, 0, 0]).ether_type(38).bytes(&[0x42, 0x42, 3]).build()
}

impl Flood {
    /// Opens the wire of a host.
    pub fn new(lab: &Lab, host: u8) -> Result<Self> {
        let socket = on_host(lab, host, || open("eth0").context("opening a packet socket"))?;
        Ok(Self { socket, host })
    }

    /// The first frame of a connection to another host, from this address.
    pub fn syn(&self, from: Ipv4Addr, to: u8) -> Vec<u8> {
        let to_address = Ipv4Addr::new(10, 77, 0, to);
        Frame::ethernet(mac(self.host), mac(to)).ip4(from, to_address).tcp(40_000, 80, SYN).build()
    }

    /// The first frame of a connection of this host to another, between these ports.
    pub fn open(&self, to: u8, from_port: u16, to_port: u16) -> Vec<u8> {
        let [from, to_address] = [self.host, to].map(|host| Ipv4Addr::new(10, 77, 0, host));
        Frame::ethernet(mac(self.host), mac(to)).ip4(from, to_address).tcp(from_port, to_port, SYN).build()
    }

    /// The first frame of a connection of this host to an address, by the host with the next number.
    pub fn probe(&self, to: Ipv4Addr) -> Vec<u8> {
        let from = Ipv4Addr::new(10, 77, 0, self.host);
        Frame::ethernet(mac(self.host), mac(self.host - 1)).ip4(from, to).tcp(40_000, 80, SYN).build()
    }

    /// A frame that ends its connection, which nobody saw before, to another host, from this address.
    pub fn reset(&self, from: Ipv4Addr, to: u8) -> Vec<u8> {
        let to_address = Ipv4Addr::new(10, 77, 0, to);
        Frame::ethernet(mac(self.host), mac(to)).ip4(from, to_address).tcp(40_000, 80, RST).build()
    }

    /// Sends all of them; returns how many. One for which there is no room is sent again.
    pub fn send(&self, frames: impl Iterator<Item = Vec<u8>>) -> Result<u64> {
        let mut sent = 0;
        for frame in frames {
            loop {
                // SAFETY: a buffer that lives, of its own length.
                let done =
                    unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
                if done >= 0 {
                    break;
                }
                let error = io::Error::last_os_error();
                if error.raw_os_error() != Some(libc::ENOBUFS) {
                    return Err(error).context("sending a frame");
                }
            }
            sent += 1;
        }
        Ok(sent)
    }
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(interface)?;
    // SAFETY: no pointers are given.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros is a valid address structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    // SAFETY: the structure of this family, and its size.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
