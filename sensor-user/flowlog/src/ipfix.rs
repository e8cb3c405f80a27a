//! Rows as IPFIX messages (RFC 7011), for collectors: both directions in one record (RFC 5103). Encoding alone: sending is for
//! others.
//!
//! What is no IP (ARP) is not told: addresses are elements "in the IP packet header", and a collector would count it as IP of
//! protocol 0. Ports are told by the kernel's number of the interface.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sensor_core::flow::{ICMP, ICMP6};
use sensor_core::observation::{EndReason, Kind, Verdict};

use crate::row::Row;

/// A message is never longer: it fits a frame, with room for a tunnel's header.
pub const MAX_MESSAGE: usize = 1_400;
/// Templates come again with every so many messages, for over UDP the first may be lost (RFC 7011, 8.4)...
const AGAIN: u32 = 512;
/// ...and whenever so much time went by, s.
const AGAIN_SECS: u32 = 60;
/// Bytes of a message's header, and of a set's.
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
/// The set of templates.
const TEMPLATES: u16 = 2;
/// Information elements of the other direction have this enterprise number (RFC 5103).
const REVERSE: u32 = 29_305;

/// Fields by their numbers (IANA, IPFIX information elements) and lengths; and whether of the other direction.
type Field = (u16, u16, bool);

const SOURCE_4: Field = (8, 4, false);
const DESTINATION_4: Field = (12, 4, false);
const SOURCE_6: Field = (27, 16, false);
const DESTINATION_6: Field = (28, 16, false);
const ICMP_4: Field = (32, 2, false);
const ICMP_6: Field = (139, 2, false);
/// What both templates have, after the addresses and the ICMP type and code.
const FIELDS: [Field; 19] = [
    (152, 8, false), // flowStartMilliseconds
    (153, 8, false), // flowEndMilliseconds
    (7, 2, false),   // sourceTransportPort
    (11, 2, false),  // destinationTransportPort
    (4, 1, false),   // protocolIdentifier
    (10, 4, false),  // ingressInterface
    (58, 2, false),  // vlanId
    (56, 6, false),  // sourceMacAddress
    (80, 6, false),  // destinationMacAddress
    (2, 8, false),   // packetDeltaCount
    (1, 8, false),   // octetDeltaCount
    (2, 8, true),
    (1, 8, true),
    (6, 1, false), // tcpControlBits
    (6, 1, true),
    (136, 1, false), // flowEndReason
    (89, 1, false),  // forwardingStatus
    (133, 8, false), // droppedPacketDeltaCount
    (133, 8, true),
];

/// A template.
struct Template {
    id: u16,
    own: [Field; 3],
}

const FOUR: Template = Template { id: 256, own: [SOURCE_4, DESTINATION_4, ICMP_4] };
const SIX: Template = Template { id: 257, own: [SOURCE_6, DESTINATION_6, ICMP_6] };

impl Template {
    fn fields(&self) -> impl Iterator<Item = &Field> {
        self.own.iter().chain(&FIELDS)
    }

    /// Bytes of a record.
    fn length(&self) -> usize {
        self.fields().map(|(_, length, _)| usize::from(*length)).sum()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.id.to_be_bytes());
        out.extend((self.fields().count() as u16).to_be_bytes());
        for (number, length, reverse) in self.fields() {
            out.extend((number | if *reverse { 0x8000 } else { 0 }).to_be_bytes());
            out.extend(length.to_be_bytes());
            if *reverse {
                out.extend(REVERSE.to_be_bytes());
            }
        }
    }
}

/// Makes messages of rows.
pub struct Encoder {
    domain: u32,
    /// Records sent so far.
    sequence: u32,
    messages: u32,
    /// When templates were sent last, s since 1970.
    told: u32,
    /// Records that wait, of IPv4 and of IPv6.
    waiting: [Vec<u8>; 2],
    records: u32,
}

impl Encoder {
    /// An encoder for an observation domain.
    pub fn new(domain: u32) -> Self {
        Self { domain, sequence: 0, messages: 0, told: 0, waiting: [Vec::new(), Vec::new()], records: 0 }
    }

    /// Takes a row; a message comes back when one is full. `interfaces` are the kernel's numbers of the ports.
    pub fn push(&mut self, row: &Row, interfaces: &BTreeMap<u8, u32>) -> Option<Vec<u8>> {
        if row.id.kind == Kind::Arp {
            return None;
        }
        let six = !matches!((row.id.src, row.id.dst), (IpAddr::V4(_), IpAddr::V4(_)));
        let template = if six { &SIX } else { &FOUR };
        let templates =
            2 * SET_HEADER + [&FOUR, &SIX].map(|t| 4 + t.fields().count() * 8).iter().sum::<usize>();
        let room = MAX_MESSAGE - HEADER - 2 * SET_HEADER - templates;
        let held: usize = self.waiting.iter().map(Vec::len).sum();
        let full = if held + template.length() > room { self.finish(row.logged) } else { None };
        let interface = interfaces.get(&row.id.port).copied().unwrap_or(0);
        record(row, interface, &mut self.waiting[usize::from(six)]);
        self.records += 1;
        full
    }

    /// The message of what waits, if anything does; `now` in microseconds since 1970.
    pub fn finish(&mut self, now: i64) -> Option<Vec<u8>> {
        if self.records == 0 {
            return None;
        }
        let now = u32::try_from(now / 1_000_000).unwrap_or(0);
        let mut message = vec![0; HEADER];
        if self.messages.is_multiple_of(AGAIN) || now.abs_diff(self.told) >= AGAIN_SECS {
            self.told = now;
            set(&mut message, TEMPLATES, |out| [&FOUR, &SIX].iter().for_each(|template| template.write(out)));
        }
        for (template, records) in [&FOUR, &SIX].iter().zip(&mut self.waiting) {
            if !records.is_empty() {
                set(&mut message, template.id, |out| out.append(records));
            }
        }
        let length = message.len() as u16;
        let header = [10_u16.to_be_bytes(), length.to_be_bytes()].concat();
        let rest = [now, self.sequence, self.domain].map(u32::to_be_bytes).concat();
        message[..HEADER].copy_from_slice(&[header, rest].concat());
        self.sequence = self.sequence.wrapping_add(std::mem::take(&mut self.records));
        self.messages = self.messages.wrapping_add(1);
        Some(message)
    }
}

/// Appends a set.
fn set(message: &mut Vec<u8>, id: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let begin = message.len();
    message.extend(id.to_be_bytes());
    message.extend([0; 2]);
    fill(message);
    let length = (message.len() - begin) as u16;
    message[begin + 2..begin + SET_HEADER].copy_from_slice(&length.to_be_bytes());
}

fn octets(ip: IpAddr, six: bool, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) if six => out.extend(ip.to_ipv6_mapped().octets()),
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
}

/// Appends the record of a row, as its template says.
fn record(row: &Row, interface: u32, out: &mut Vec<u8>) {
    let id = &row.id;
    let six = !matches!((id.src, id.dst), (IpAddr::V4(_), IpAddr::V4(_)));
    let icmp = matches!(id.proto, ICMP | ICMP6);
    octets(id.src, six, out);
    octets(id.dst, six, out);
    out.extend((if icmp { id.sport } else { 0 }).to_be_bytes());
    for micros in [row.since.unwrap_or(row.start), row.end] {
        out.extend(u64::try_from(micros / 1_000).unwrap_or(0).to_be_bytes());
    }
    let [sport, dport] = if icmp { [0, 0] } else { [id.sport, id.dport] };
    out.extend(sport.to_be_bytes());
    out.extend(dport.to_be_bytes());
    out.push(id.proto);
    out.extend(interface.to_be_bytes());
    out.extend(id.vlan.to_be_bytes());
    out.extend(row.smac.0);
    out.extend(row.dmac.0);
    for half in [&row.to_server, &row.to_client] {
        out.extend(half.packets.to_be_bytes());
        out.extend(half.bytes.to_be_bytes());
    }
    out.extend([row.to_server.tcp_flags, row.to_client.tcp_flags]);
    out.push(match row.reason {
        EndReason::Timeout => 1,
        EndReason::Active => 2,
        EndReason::Closed => 3,
        EndReason::Shutdown => 4,
        EndReason::Evicted => 5,
    });
    // Forwarded; or dropped by a rule ("ACL drop", RFC 7270).
    out.push(if row.verdict == Verdict::Drop { 130 } else { 64 });
    [&row.to_server, &row.to_client].iter().for_each(|half| out.extend(half.drops.to_be_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::traffic::Traffic;

    /// Takes a message apart: its sequence number, and the number of records of each set of data.
    fn parts(message: &[u8]) -> (u32, Vec<(u16, usize)>) {
        let word = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        assert_eq!((word(0), usize::from(word(2))), (10, message.len()));
        let sequence = u32::from_be_bytes(message[8..12].try_into().unwrap());
        let (mut at, mut sets) = (HEADER, Vec::new());
        while at < message.len() {
            let (id, length) = (word(at), usize::from(word(at + 2)));
            let template = [FOUR, SIX].into_iter().find(|template| template.id == id);
            match template {
                Some(template) => {
                    let records = (length - SET_HEADER) / template.length();
                    assert_eq!(records * template.length() + SET_HEADER, length);
                    sets.push((id, records));
                }
                None => sets.push((id, 0)),
            }
            at += length;
        }
        assert_eq!(at, message.len());
        (sequence, sets)
    }

    #[test]
    fn messages_are_whole_fit_a_frame_and_count_their_records() {
        let (mut encoder, mut traffic) = (Encoder::new(7), Traffic::new(1, 1_000));
        let (mut told, mut templates) = (0, 0);
        let ports = BTreeMap::from([(1, 5)]);
        let mut check = |message: Vec<u8>| {
            assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
            let (sequence, sets) = parts(&message);
            assert_eq!(sequence, told);
            told += sets.iter().map(|(_, records)| *records as u32).sum::<u32>();
            templates += usize::from(sets[0].0 == TEMPLATES);
        };
        for at in 0..20_000 {
            let mut row = traffic.row();
            if at % 7 == 0 {
                (row.id.src, row.id.dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
            }
            encoder.push(&row, &ports).into_iter().for_each(&mut check);
        }
        encoder.finish(traffic.row().logged).into_iter().for_each(&mut check);
        assert_eq!(told, 20_000);
        assert!((4..20).contains(&templates), "{templates}");
        assert_eq!(encoder.finish(0), None);
    }

    /// A number of the first record of a message.
    fn number(message: &[u8], template: &Template, field: Field) -> u64 {
        // The set of data is the last.
        let record = message.len() - template.length();
        assert_eq!(message[record - SET_HEADER..record - 2], template.id.to_be_bytes());
        let before = template.fields().take_while(|other| **other != field);
        let at = record + before.map(|(_, length, _)| usize::from(*length)).sum::<usize>();
        message[at..at + usize::from(field.1)].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    #[test]
    fn what_was_dropped_is_told_of_each_direction() {
        let mut row = Traffic::new(1, 1).row();
        (row.to_server.drops, row.to_client.drops) = (7, 3);
        let mut encoder = Encoder::new(0);
        assert_eq!(encoder.push(&row, &BTreeMap::new()), None);
        let message = encoder.finish(row.logged).unwrap();
        let told = [false, true].map(|reverse| number(&message, &FOUR, (133, 8, reverse)));
        assert_eq!(told, [7, 3]);
        let packets = [false, true].map(|reverse| number(&message, &FOUR, (2, 8, reverse)));
        assert_eq!(packets, [row.to_server.packets, row.to_client.packets]);
        assert_eq!(number(&message, &FOUR, (4, 1, false)), u64::from(row.id.proto));
    }

    #[test]
    fn arp_is_not_told() {
        let mut row = Traffic::new(1, 1).row();
        row.id.kind = Kind::Arp;
        let mut encoder = Encoder::new(0);
        assert_eq!(encoder.push(&row, &BTreeMap::new()), None);
        assert_eq!(encoder.finish(0), None);
    }
}
