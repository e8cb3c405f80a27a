//! Whole frames on an interface, sent and received by a packet socket (packet(7)).

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::sys::check;

/// Bytes of received frames that may wait.
const WAITING: libc::c_int = 16 << 20;

/// A packet socket bound to one interface, which has to be in this network namespace.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens it. Receiving waits for at most `patience`.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and bind(2).
    pub fn open(ifindex: u32, patience: Duration) -> io::Result<Self> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no address is passed.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::c_int::from(protocol))
        })?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let wire = Self { socket: unsafe { OwnedFd::from_raw_fd(fd) } };
        wire.bind(ifindex, protocol)?;
        let micros = libc::suseconds_t::from(patience.subsec_micros() as i32);
        let patience = libc::timeval { tv_sec: patience.as_secs() as libc::time_t, tv_usec: micros };
        wire.option(libc::SO_RCVTIMEO, &patience)?;
        wire.option(libc::SO_RCVBUFFORCE, &WAITING)?;
        Ok(wire)
    }

    fn bind(&self, ifindex: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: a plain structure of integers, for which zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = ifindex as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address lives until after the call and is of the length stated.
        check(unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), length) }).map(drop)
    }

    fn option<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        let (fd, length) = (self.socket.as_raw_fd(), size_of::<T>() as libc::socklen_t);
        let value: *const T = value;
        // SAFETY: the value lives until after the call and is of the length stated.
        check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value.cast(), length) }).map(drop)
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame lives until after the call and is of the length stated.
        check(unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) }).map(drop)
    }

    /// Receives a frame, cut to the room there is; gives its length. `None` if none came in time.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: the room lives until after the call and is of the length stated.
        match check(unsafe { libc::recv(self.socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0) }) {
            Ok(got) => Ok(Some(got as usize)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }
}
