//! Questions to the kernel by netlink, one at a time, each answered before the call returns.
//!
//! The ports are followed by rtnetlink and its own connection ([`super::ports`]); this is for what that crate does not
//! speak: generic netlink (ethtool, netdev), and a change of a link that must be done when the call returns.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NlaBuffer, NlasIterator, parse_i32, parse_u16,
};
use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};

/// Bytes of `struct nlmsghdr` of linux/netlink.h.
const HEADER: usize = 16;
/// Bytes of `struct genlmsghdr` of linux/genetlink.h.
const GENERIC_HEADER: usize = 4;
/// "The payload is made of attributes": required of them since Linux 5.2.
const NESTED: u16 = 1 << 15;

/// The controller of generic netlink, which knows the numbers of the families (linux/genetlink.h).
const CONTROLLER: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// A socket to the kernel, in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// A socket for changes of links.
    pub fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // The kernel answers before the sending returns: what is not there then would be waited for in vain.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a message; gives the payloads of the answers once the kernel says that there are no more.
    pub fn ask(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        // The kernel knows who asks.
        message.extend(0u32.to_ne_bytes());
        message.extend(payload);
        self.socket.send(&message, 0)?;
        self.answers()
    }

    fn answers(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = &datagram[..];
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                let sequence = u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]);
                let payload = rest.get(HEADER..length).ok_or_else(|| broken("a message"))?;
                // What was asked before and given up is not the answer.
                if sequence == self.sequence {
                    match kind {
                        NLMSG_ERROR => return acknowledged(payload).map(|()| answers),
                        NLMSG_DONE => return Ok(answers),
                        _ => answers.push(payload.to_vec()),
                    }
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// The kernel's last word on a question: 0, or an error.
fn acknowledged(payload: &[u8]) -> io::Result<()> {
    let code = payload.get(..4).and_then(|code| parse_i32(code).ok()).ok_or_else(|| broken("an answer"))?;
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// A family of generic netlink, by its name.
pub struct Family {
    netlink: Netlink,
    number: u16,
}

impl Family {
    /// Looks a family up; `NotFound` if this kernel does not have it.
    pub fn open(name: &str) -> io::Result<Self> {
        let mut netlink = Netlink::open(NETLINK_GENERIC)?;
        let mut attributes = Vec::new();
        put_text(&mut attributes, CTRL_ATTR_FAMILY_NAME, name);
        let answers = netlink.ask(CONTROLLER, 0, &generic(CTRL_CMD_GETFAMILY, &attributes))?;
        let number = answers.iter().find_map(|answer| {
            let number = find(answer.get(GENERIC_HEADER..)?, CTRL_ATTR_FAMILY_ID)?;
            parse_u16(number).ok()
        });
        Ok(Self { netlink, number: number.ok_or_else(|| broken("the number of a family"))? })
    }

    /// Runs a command of the family; gives the attributes of each answer.
    pub fn ask(&mut self, command: u8, attributes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let answers = self.netlink.ask(self.number, 0, &generic(command, attributes))?;
        Ok(answers.iter().map(|answer| answer.get(GENERIC_HEADER..).unwrap_or_default().to_vec()).collect())
    }
}

/// The payload of a generic message.
fn generic(command: u8, attributes: &[u8]) -> Vec<u8> {
    let mut payload = vec![command, 1, 0, 0];
    payload.extend(attributes);
    payload
}

/// Appends an attribute.
pub fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // The attributes made here are of a few hundred bytes.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Appends an attribute of text, with the zero byte at its end that the kernel wants.
pub fn put_text(to: &mut Vec<u8>, kind: u16, text: &str) {
    put(to, kind, &[text.as_bytes(), &[0]].concat());
}

/// The text of an attribute.
pub fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Appends an attribute of attributes.
pub fn put_nested(to: &mut Vec<u8>, kind: u16, attributes: &[u8]) {
    put(to, kind | NESTED, attributes);
}

/// The attributes in a payload: kinds and values. What is damaged ends them.
pub fn attributes(payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(payload).map_while(Result::ok).filter_map(|attribute: NlaBuffer<&[u8]>| {
        let (kind, length) = (attribute.kind(), attribute.value_length());
        attribute.into_inner().get(4..4 + length).map(|value| (kind, value))
    })
}

/// The value of the first attribute of a kind.
pub fn find(payload: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(payload).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} of the kernel is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_put() {
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        put(&mut inner, 1, b"odd");
        put(&mut inner, 2, &7u32.to_ne_bytes());
        put_nested(&mut outer, 5, &inner);
        let nested = find(&outer, 5).expect("there");
        assert_eq!(attributes(nested).collect::<Vec<_>>(), [(1, &b"odd"[..]), (2, &7u32.to_ne_bytes()[..])]);
        assert_eq!(find(&outer, 6), None);
        assert_eq!(attributes(&outer[..outer.len() - 1]).count(), 0, "cut short");
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own head");
        put_text(&mut outer, 7, "rx-gro");
        assert_eq!(find(&outer, 7).map(|value| (value.len(), text(value))), Some((7, "rx-gro".to_owned())));
    }

    #[test]
    fn a_family_nobody_has_is_not_found() {
        let error = Family::open("sekisho-none").map(drop).expect_err("not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}
