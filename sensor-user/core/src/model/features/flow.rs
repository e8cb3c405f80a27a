//! The row of a conversation that ended, from the side of who began it.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Feature, Service, feature, flag, log_ratio, part, row};
use crate::addr::is_host;
use crate::event::{FlowEnded, Half};
use crate::flow::{FIN, ICMP, ICMP6, RST, SYN, TCP, UDP};
use crate::model::scale::Form::{Flag, Log, Plain};
use crate::observation::{FlowId, Kind};
use crate::time::SECOND;

/// Features of a conversation.
pub const WIDTH: usize = 41;

/// What was known of a conversation when it began.
#[derive(Clone, Copy, PartialEq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Opening {
    /// The device never tried the destination before.
    pub new_peer: bool,
    /// The device never tried the service there before.
    pub new_service: bool,
    /// Somebody was seen to send from the destination.
    pub alive: bool,
    /// The destination lies in an internal network.
    pub internal: bool,
    /// It began with TCP flags no stack opens a connection with.
    pub odd_flags: bool,
    /// Conversations the device had open.
    pub open: u32,
    /// Destinations it never tried before, lately (see [`super::Watch`]).
    pub new_peers_lately: u32,
    /// The part of its first contacts that failed lately, 0 to 1.
    pub failed_lately: f32,
}

/// A conversation, its beginning and its end.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    id: FlowId,
    opening: Opening,
    /// From who began it, and back.
    halves: [Half; 2],
    seconds: f32,
    to_group: bool,
    tunnel: bool,
    end: End,
}

/// How a conversation came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    NoAnswer,
    Refused,
    Aborted,
    Complete,
    /// TCP that was not closed.
    Open,
}

/// The features, in the order of the rows.
pub static FEATURES: [Feature<Talk>; WIDTH] = [
    feature("destination_inside", "", Flag, |talk| flag(talk.opening.internal)),
    feature("destination_group", "", Flag, |talk| flag(talk.to_group)),
    feature("destination_alive", "", Flag, |talk| flag(talk.opening.alive)),
    feature("destination_new", "", Flag, |talk| flag(talk.opening.new_peer)),
    feature("service_new", "", Flag, |talk| flag(talk.opening.new_service)),
    feature("address_in_common", "part of its bits", Plain, |talk| in_common(talk.id.src, talk.id.dst)),
    feature("tcp", "", Flag, |talk| flag(talk.is(&[TCP]))),
    feature("udp", "", Flag, |talk| flag(talk.is(&[UDP]))),
    feature("icmp", "", Flag, |talk| flag(talk.is(&[ICMP, ICMP6]))),
    feature("arp", "", Flag, |talk| flag(talk.id.kind == Kind::Arp)),
    feature("medical", "", Flag, |talk| talk.asks(Service::Medical)),
    feature("web", "", Flag, |talk| talk.asks(Service::Web)),
    feature("infrastructure", "", Flag, |talk| talk.asks(Service::Infrastructure)),
    feature("files", "", Flag, |talk| talk.asks(Service::Files)),
    feature("administration", "", Flag, |talk| talk.asks(Service::Administration)),
    feature("database", "", Flag, |talk| talk.asks(Service::Database)),
    feature("printing", "", Flag, |talk| talk.asks(Service::Printing)),
    feature("mail", "", Flag, |talk| talk.asks(Service::Mail)),
    feature("other_low_port", "", Flag, |talk| talk.asks(Service::OtherLow)),
    feature("high_port", "", Flag, |talk| talk.asks(Service::High)),
    feature("packets_out", "", Log, |talk| talk.packets(0)),
    feature("packets_in", "", Log, |talk| talk.packets(1)),
    feature("bytes_out", "bytes", Log, |talk| talk.bytes(0)),
    feature("bytes_in", "bytes", Log, |talk| talk.bytes(1)),
    feature("packets_out_to_in", "ln", Plain, |talk| log_ratio(talk.packets(0), talk.packets(1))),
    feature("bytes_out_to_in", "ln", Plain, |talk| log_ratio(talk.bytes(0), talk.bytes(1))),
    feature("mean_size_out", "bytes", Log, |talk| talk.mean_size(0)),
    feature("mean_size_in", "bytes", Log, |talk| talk.mean_size(1)),
    feature("duration", "seconds", Log, |talk| talk.seconds),
    feature("mean_gap", "seconds", Log, |talk| part(talk.seconds, talk.packets(0) + talk.packets(1) - 1.0)),
    feature("no_answer", "", Flag, |talk| flag(talk.end == End::NoAnswer)),
    feature("refused", "", Flag, |talk| flag(talk.end == End::Refused)),
    feature("aborted", "", Flag, |talk| flag(talk.end == End::Aborted)),
    feature("complete", "", Flag, |talk| flag(talk.end == End::Complete)),
    feature("left_open", "", Flag, |talk| flag(talk.end == End::Open)),
    feature("syn_retries", "", Log, |talk| talk.syn_retries()),
    feature("odd_flags", "", Flag, |talk| flag(talk.opening.odd_flags)),
    feature("tunnel", "", Flag, |talk| flag(talk.tunnel)),
    feature("open_conversations", "", Log, |talk| talk.opening.open as f32),
    feature("new_destinations_lately", "", Log, |talk| talk.opening.new_peers_lately as f32),
    feature("failed_contacts_lately", "part", Plain, |talk| talk.opening.failed_lately),
];

impl Talk {
    /// A conversation that ended, and how it began.
    pub fn new(ended: &FlowEnded, opening: Opening) -> Self {
        Self {
            id: ended.id,
            opening,
            halves: [ended.to_server, ended.to_client],
            seconds: ended.end.since(ended.start) as f32 / SECOND as f32,
            to_group: is_to_group(ended),
            tunnel: ended.inner.is_some(),
            end: End::of(ended),
        }
    }

    /// Its row.
    pub fn row(&self) -> [f32; WIDTH] {
        row(&FEATURES, self)
    }

    fn is(&self, protocols: &[u8]) -> bool {
        self.id.kind != Kind::Arp && protocols.contains(&self.id.proto)
    }

    fn asks(&self, service: Service) -> f32 {
        flag(Service::of(&self.id) == Some(service))
    }

    fn packets(&self, way: usize) -> f32 {
        self.halves.get(way).map_or(0.0, |half| half.packets as f32)
    }

    fn bytes(&self, way: usize) -> f32 {
        self.halves.get(way).map_or(0.0, |half| half.bytes as f32)
    }

    fn mean_size(&self, way: usize) -> f32 {
        part(self.bytes(way), self.packets(way))
    }

    /// Every frame of a TCP flow with no other flag than SYN asks once more.
    fn syn_retries(&self) -> f32 {
        let [to_server, _] = &self.halves;
        if self.is(&[TCP]) && to_server.tcp_flags == SYN { (self.packets(0) - 1.0).max(0.0) } else { 0.0 }
    }
}

/// Whether a conversation is with a group, which need not answer. ARP asks a group by nature.
pub(super) fn is_to_group(ended: &FlowEnded) -> bool {
    ended.id.kind != Kind::Arp && (ended.dmac.is_nobody() || !is_host(ended.id.dst))
}

impl End {
    fn of(ended: &FlowEnded) -> Self {
        let (there, back) = (ended.to_server.tcp_flags, ended.to_client.tcp_flags);
        let tcp = ended.id.kind == Kind::Ip && ended.id.proto == TCP;
        match ended.to_client.packets {
            0 if !is_to_group(ended) => End::NoAnswer,
            _ if !tcp => End::Complete,
            _ if back & (RST | SYN) == RST => End::Refused,
            _ if (there | back) & RST != 0 => End::Aborted,
            _ if there & back & FIN != 0 => End::Complete,
            _ => End::Open,
        }
    }
}

/// The part of the bits of two addresses, from the left, that they have in common: their network is near.
fn in_common(a: IpAddr, b: IpAddr) -> f32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() as f32 / 32.0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() as f32 / 128.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::addr::Mac;
    use crate::flow::ACK;
    use crate::observation::{EndReason, Verdict};
    use crate::time::Time;

    fn half(packets: u64, bytes: u64, tcp_flags: u8) -> Half {
        Half { packets, bytes, drops: 0, tcp_flags }
    }

    fn ended(proto: u8, dport: u16, to_server: Half, to_client: Half) -> FlowEnded {
        let ip = |host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        FlowEnded {
            id: FlowId {
                src: ip(1),
                dst: ip(2),
                sport: 50_000,
                dport,
                proto,
                kind: Kind::Ip,
                vlan: 0,
                port: 1,
            },
            smac: Mac([2, 0, 0, 0, 0, 1]),
            dmac: Mac([2, 0, 0, 0, 0, 2]),
            inner: None,
            to_server,
            to_client,
            start: Time::at(5 * SECOND),
            end: Time::at(9 * SECOND),
            reason: EndReason::Closed,
            verdict: Verdict::Pass,
            earlier: None,
            devices: [None; 2],
        }
    }

    fn check(ended: &FlowEnded, opening: Opening, want: &[(&str, f32)]) {
        let row = Talk::new(ended, opening).row();
        let got: Vec<_> =
            FEATURES.iter().zip(row).map(|(feature, value)| (feature.label.name, value)).collect();
        for (name, want) in want {
            let (_, value) = got.iter().find(|(known, _)| known == name).expect(name);
            assert!((value - want).abs() < 1e-3, "{name} is {value}, not {want}, in {got:?}");
        }
    }

    #[test]
    fn a_row_says_what_the_conversation_was() {
        let dicom = ended(TCP, 11_112, half(11, 9_000, SYN | ACK | FIN), half(6, 600, SYN | ACK | FIN));
        let opening =
            Opening { internal: true, alive: true, open: 3, failed_lately: 0.5, ..Opening::default() };
        check(
            &dicom,
            opening,
            &[
                ("destination_inside", 1.0),
                ("destination_group", 0.0),
                ("destination_alive", 1.0),
                ("service_new", 0.0),
                ("address_in_common", 30.0 / 32.0),
                ("tcp", 1.0),
                ("udp", 0.0),
                ("medical", 1.0),
                ("high_port", 0.0),
                ("packets_out", 11.0),
                ("bytes_in", 600.0),
                ("bytes_out_to_in", (9_001.0_f32 / 601.0).ln()),
                ("mean_size_out", 9_000.0 / 11.0),
                ("duration", 4.0),
                ("mean_gap", 0.25),
                ("complete", 1.0),
                ("no_answer", 0.0),
                ("syn_retries", 0.0),
                ("open_conversations", 3.0),
                ("failed_contacts_lately", 0.5),
            ],
        );
        let none = Half::default();
        let opening = Opening { new_peer: true, new_service: true, odd_flags: true, ..Opening::default() };
        let silent = ended(TCP, 445, half(4, 240, SYN), none);
        check(
            &silent,
            opening,
            &[
                ("files", 1.0),
                ("destination_new", 1.0),
                ("service_new", 1.0),
                ("no_answer", 1.0),
                ("complete", 0.0),
                ("syn_retries", 3.0),
                ("mean_size_in", 0.0),
                ("odd_flags", 1.0),
            ],
        );
    }

    #[test]
    fn ends_are_told_apart() {
        let (some, none) = (|flags| half(3, 180, flags), Half::default());
        for (proto, there, back, end) in [
            (TCP, some(SYN), none, "no_answer"),
            (TCP, some(SYN), some(RST | ACK), "refused"),
            (TCP, some(SYN | ACK | RST), some(SYN | ACK), "aborted"),
            (TCP, some(SYN | ACK | FIN), some(SYN | ACK | FIN), "complete"),
            (TCP, some(SYN | ACK), some(SYN | ACK), "left_open"),
            (UDP, some(0), none, "no_answer"),
            (UDP, some(0), some(0), "complete"),
        ] {
            let all = ["no_answer", "refused", "aborted", "complete", "left_open"];
            let want = all.map(|name| (name, flag(name == end)));
            check(&ended(proto, 9_999, there, back), Opening::default(), &want);
        }
        let mut group = ended(UDP, 5_353, some(0), none);
        group.dmac = Mac([1, 0, 0x5e, 0, 0, 0xfb]);
        check(
            &group,
            Opening::default(),
            &[("destination_group", 1.0), ("complete", 1.0), ("no_answer", 0.0)],
        );
    }
}
