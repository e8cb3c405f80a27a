//! A look at the interfaces of this network namespace, all at one moment: what each NIC counted, whose port it is, which
//! program it has. By a netlink socket of its own, which waits for the kernel's answer and for nobody else.

use std::io;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use sensor_core::addr::Mac;

use super::ports::{AttachedProgram, attached};

/// The kernel answers at once, or something is very wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's answers come in datagrams of 32 KiB at most (NLMSG_GOODSIZE and SKB_WITH_OVERHEAD in af_netlink.c).
const DATAGRAM: usize = 64 * 1024;

/// What a NIC counted since its interface was made. It never goes back but when a driver begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nic {
    /// Frames received, those included that a program dropped later.
    pub packets: u64,
    /// Their bytes. What counts as a byte of a frame is up to the driver: some leave out the Ethernet header, some add the
    /// checksum.
    pub bytes: u64,
    /// Frames that found no room in the NIC.
    pub missed: u64,
}

/// An interface at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Interface index of its bridge, if it is a port of one.
    pub master: Option<u32>,
    /// Its own MAC address.
    pub mac: Mac,
    /// The XDP program on it.
    pub xdp: Option<AttachedProgram>,
    /// What its NIC counted.
    pub nic: Nic,
}

/// The socket.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// Opens it, in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs() as i64, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// All interfaces.
    ///
    /// # Errors
    ///
    /// Those of the system; `InvalidData` if the answer is not understood.
    pub fn look(&mut self) -> io::Result<Vec<Link>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut links = Vec::new();
        while !self.receive(&mut links)? {}
        Ok(links)
    }

    /// Takes one datagram of the answer; true if it was the last.
    fn receive(&self, links: &mut Vec<Link>) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(DATAGRAM);
        self.socket.recv_from(&mut bytes, 0)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // What belongs to a question that was given up is passed over.
            if message.header.sequence_number == self.sequence {
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(true),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                        links.push(Link::from(&link));
                    }
                    _ => {}
                }
            }
            // Messages begin at multiples of four.
            let len = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(false)
    }
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Link {
            ifindex: message.header.index,
            name: String::new(),
            master: None,
            mac: Mac::default(),
            xdp: None,
            nic: Nic::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().map_or(link.mac, Mac);
                }
                LinkAttribute::Xdp(xdp) => link.xdp = attached(xdp),
                LinkAttribute::Stats64(stats) => {
                    link.nic = Nic {
                        packets: stats.rx_packets,
                        bytes: stats.rx_bytes,
                        missed: stats.rx_missed_errors,
                    };
                }
                _ => {}
            }
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_there_each_time() {
        let mut links = Links::open().expect("a socket");
        for _ in 0..3 {
            let found = links.look().expect("an answer");
            let loopback = found.iter().find(|link| link.name == "lo").expect("every namespace has it");
            assert_eq!((loopback.ifindex, loopback.master, loopback.xdp), (1, None, None));
        }
    }
}
