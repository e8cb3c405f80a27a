//! Frames of any bytes on and off the wire of a host of a lab: AF_PACKET, packet(7).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, sendto, setsockopt, socket,
};

use crate::lab::Lab;
use crate::traffic::on_host;

/// Bytes of the largest frame a lab carries.
const LARGEST: usize = 1 << 16;
/// Room for what arrives before it is read, bytes.
const ROOM: usize = 32 << 20;

/// The interface of a host, for frames as they are.
#[derive(Debug)]
pub struct Raw {
    socket: OwnedFd,
    interface: LinkAddr,
}

impl Raw {
    /// Opens a host's interface.
    pub fn open(lab: &Lab, host: u8) -> Result<Self> {
        on_host(lab, host, || {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                    .context("opening a packet socket (are you root?)")?;
            setsockopt(&socket, RcvBufForce, &ROOM)?;
            let mut interfaces = getifaddrs()?.filter(|interface| interface.interface_name == "eth0");
            let interface = interfaces.find_map(|interface| interface.address?.as_link_addr().copied());
            Ok(Self { socket, interface: interface.context("no eth0")? })
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = sendto(self.socket.as_raw_fd(), frame, &self.interface, MsgFlags::empty());
        let sent = sent.with_context(|| format!("sending {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "{sent} of {} bytes were sent", frame.len());
        Ok(())
    }

    /// What arrived up to now, in order; what the host sent itself (from that MAC address) apart. The kernel takes the outer
    /// VLAN tag out of what arrives.
    pub fn arrived(&self, own: [u8; 6]) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut room = vec![0; LARGEST];
        loop {
            let mut pieces = [IoSliceMut::new(&mut room)];
            let fd = self.socket.as_raw_fd();
            let bytes = match recvmsg::<LinkAddr>(fd, &mut pieces, None, MsgFlags::MSG_DONTWAIT) {
                Ok(message) => message.bytes,
                Err(Errno::EAGAIN) => return Ok(frames),
                Err(error) => return Err(error).context("receiving a frame"),
            };
            let frame = room.get(..bytes).unwrap_or_default();
            if frame.get(6..12) != Some(&own) {
                frames.push(frame.to_vec());
            }
        }
    }

    /// Waits for this frame; what arrived before it.
    pub fn until(&self, own: [u8; 6], last: &[u8], patience: Duration) -> Result<Vec<Vec<u8>>> {
        let started = Instant::now();
        let mut frames = Vec::new();
        while started.elapsed() < patience {
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            poll(&mut waiting, PollTimeout::from(50_u8))?;
            frames.extend(self.arrived(own)?);
            if let Some(at) = frames.iter().position(|frame| frame == last) {
                frames.remove(at);
                return Ok(frames);
            }
        }
        bail!("waited {patience:?} in vain for a frame; {} others came", frames.len())
    }
}
