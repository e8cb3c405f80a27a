//! SNMP traps, v2c (RFC 3416): one a notice. Nobody confirms them.
//!
//! `deploy/SEKISHO-MIB.txt` names the trap and its objects.

use std::net::UdpSocket;
use std::time::Instant;

use snmp2::asn1::{TYPE_INTEGER, TYPE_OBJECTIDENTIFIER, TYPE_OCTETSTRING, TYPE_SEQUENCE};
use snmp2::{Oid, snmp};

use super::net;
use super::{Send, Sent, each};
use crate::error::SendError;
use crate::notice::Notice;
use crate::settings::{Peer, Trap};
use crate::words;

/// Notices at a time.
const MOST: usize = 100;
/// What receivers expect unless told otherwise.
const COMMUNITY: &str = "public";
/// SNMP v2c.
const VERSION: i64 = 1;
const UPTIME: [u64; 9] = [1, 3, 6, 1, 2, 1, 1, 3, 0];
const TRAP: [u64; 11] = [1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0];
/// Below it there are the enterprises.
const ENTERPRISES: [u64; 6] = [1, 3, 6, 1, 4, 1];
/// Below the enterprise's number: the trap, and its objects, each of which is there once (its instance is 0).
const NOTICE: [u64; 3] = [1, 0, 1];
const OBJECTS: [u64; 2] = [1, 1];
/// Bytes of a text in a trap, at most: ten of them fit in a datagram.
const MAX_TEXT: usize = 400;

/// The way to a receiver of traps.
pub struct Trapper {
    trap: Trap,
    started: Instant,
}

/// What a trap carries.
enum Object {
    Number(i64),
    Text(String),
}

impl Trapper {
    /// A way by these settings.
    pub fn new(trap: Trap) -> Self {
        Self { trap, started: Instant::now() }
    }

    fn tell(&self, notice: &Notice) -> Result<String, SendError> {
        let community = match &self.trap.community_file {
            Some(path) => net::secret(path, "community (community_file)")?,
            None => COMMUNITY.to_owned(),
        };
        let ticks = u32::try_from(self.started.elapsed().as_millis() / 10 % (1 << 32)).unwrap_or(0);
        let message = message(self.trap.enterprise, notice, &community, ticks)?;
        datagram(&self.trap.peer, &message)?;
        Ok("sent; traps are not confirmed".to_owned())
    }
}

impl Send for Trapper {
    fn send(&mut self, notices: &[Notice], _: u64) -> Sent {
        each(notices, |notice| self.tell(notice))
    }

    fn most(&self) -> usize {
        MOST
    }
}

/// Sends one datagram to a peer.
///
/// # Errors
///
/// If there is no way to it.
pub fn datagram(peer: &Peer, bytes: &[u8]) -> Result<(), SendError> {
    let unreachable = |source| SendError::Unreachable { peer: peer.to_string(), source };
    let address =
        *net::resolve(peer)?.first().ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).map_err(unreachable)?;
    // Connected, so that a port nobody listens at is told, if not of this datagram then of the next.
    socket.connect(address).and_then(|()| socket.send(bytes)).map_err(unreachable)?;
    Ok(())
}

/// The objects of a notice, by their number.
fn objects(notice: &Notice) -> Vec<(u64, Object)> {
    let text = |text: &str| {
        let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Object::Text(text[..end].to_owned())
    };
    let device = notice.device.as_ref();
    let place = notice.place.as_ref();
    let mut objects = vec![
        (1, Object::Number(i64::from(notice.severity))),
        (2, text(notice.kind().name())),
        (3, text(&words::headline(words::ENGLISH, notice))),
    ];
    let texts = [
        (4, device.and_then(|device| device.name.as_deref())),
        (5, device.map(|device| device.mac.as_str())),
        (6, device.and_then(|device| device.ips.first()).map(String::as_str)),
        (7, place.and_then(|place| place.port.as_deref())),
        (9, place.and_then(|place| place.segment.as_deref())),
    ];
    objects.extend(texts.into_iter().filter_map(|(number, value)| Some((number, text(value?)))));
    objects.extend(place.and_then(|place| place.vlan).map(|vlan| (8, Object::Number(i64::from(vlan)))));
    let incident = notice.incident.and_then(|id| i32::try_from(id).ok());
    objects.extend(incident.map(|id| (10, Object::Number(i64::from(id)))));
    objects
}

fn oid(parts: &[&[u64]]) -> Result<Oid<'static>, SendError> {
    Oid::from(&parts.concat()).map_err(|_| SendError::Form("not an object identifier".to_owned()))
}

/// A value of BER: its tag, its length, and it.
fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let bytes = content.len().to_be_bytes();
    let length = bytes.iter().position(|byte| *byte != 0).map_or(&bytes[7..], |first| &bytes[first..]);
    let mut value = vec![tag];
    if content.len() >= 0x80 {
        value.push(0x80 | length.len() as u8);
    }
    value.extend(length);
    value.extend(content);
    value
}

/// The bytes of a whole number, no more than it needs.
fn whole(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    // A first byte that only repeats the sign says nothing.
    let idle = bytes
        .windows(2)
        .take_while(|pair| (pair[0] == 0 && pair[1] < 0x80) || (pair[0] == 0xff && pair[1] >= 0x80));
    bytes[idle.count()..].to_vec()
}

/// A name and its value.
fn bound(name: &Oid, value: Vec<u8>) -> Vec<u8> {
    ber(TYPE_SEQUENCE, &[ber(TYPE_OBJECTIDENTIFIER, name.as_bytes()), value].concat())
}

/// The trap as it goes over the wire; `ticks` are hundredths of a second since the start.
///
/// # Errors
///
/// None that is known: the object identifiers are all good ones.
pub fn message(enterprise: u32, notice: &Notice, community: &str, ticks: u32) -> Result<Vec<u8>, SendError> {
    let enterprise = [&ENTERPRISES[..], &[u64::from(enterprise)]].concat();
    let kind = oid(&[&enterprise, &NOTICE])?;
    let mut bindings = bound(&oid(&[&UPTIME])?, ber(snmp::TYPE_TIMETICKS, &whole(i64::from(ticks))));
    bindings.extend(bound(&oid(&[&TRAP])?, ber(TYPE_OBJECTIDENTIFIER, kind.as_bytes())));
    for (number, object) in objects(notice) {
        let value = match object {
            Object::Number(number) => ber(TYPE_INTEGER, &whole(number)),
            Object::Text(text) => ber(TYPE_OCTETSTRING, text.as_bytes()),
        };
        bindings.extend(bound(&oid(&[&enterprise, &OBJECTS, &[number, 0]])?, value));
    }
    let request = i64::from(notice.id as u32 & 0x7fff_ffff);
    let zero = ber(TYPE_INTEGER, &whole(0));
    let trap = [ber(TYPE_INTEGER, &whole(request)), zero.clone(), zero, ber(TYPE_SEQUENCE, &bindings)];
    let version = ber(TYPE_INTEGER, &whole(VERSION));
    let community = ber(TYPE_OCTETSTRING, community.as_bytes());
    Ok(ber(TYPE_SEQUENCE, &[version, community, ber(snmp::MSG_TRAP, &trap.concat())].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_are_as_short_as_can_be() {
        for (number, want) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-129, &[0xff, 0x7f]),
            (65_536, &[1, 0, 0]),
            (i64::MIN, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(whole(number), want, "{number}");
        }
        assert_eq!(ber(4, &[]), [4, 0]);
        assert_eq!(ber(4, &[7; 127])[..3], [4, 127, 7]);
        assert_eq!(ber(4, &[7; 128])[..4], [4, 0x81, 128, 7]);
        assert_eq!(ber(4, &[7; 300])[..5], [4, 0x82, 1, 44, 7]);
    }
}
