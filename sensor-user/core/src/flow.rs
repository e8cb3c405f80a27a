//! Conversations: the two directions of a flow, joined, and who began them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use sensor_ebpf::account::{idle_timeout_ns, is_closed};
use sensor_ebpf::flow::{KIND_ARP, KIND_FRAGMENT, KIND_IP, Lane};

use crate::addr::{Mac, mark};
use crate::event::{Earlier, FlowEnded, Half};
use crate::inventory::capacity;
use crate::lru::{Lru, Marks};
use crate::observation::{EndReason, FlowId, FlowProgress, FlowSeen, Kind, Verdict};
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};
use crate::tunnel::Inner;

mod midway;

/// IP protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMPv6.
pub const ICMP6: u8 = 58;

/// TCP flags (RFC 9293).
pub const FIN: u8 = 0x01;
/// Synchronize.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Acknowledge.
pub const ACK: u8 = 0x10;

/// A conversation without news for this long is ended although its end was never told.
const FORGOTTEN: u64 = 20 * MINUTE;

/// Of a conversation that goes on for so long a part is told each time, so that a log has it while it lasts. (NetFlow's
/// active time-out; that of most exporters is half of it.)
pub const ACTIVE: u64 = HOUR;

/// Why a flow that was quiet for `idle_ns` is over, if it is (see [`idle_timeout_ns`]).
pub fn retire(id: &FlowId, tcp_flags: u8, idle_ns: u64) -> Option<EndReason> {
    let kind = match id.kind {
        Kind::Ip => KIND_IP,
        Kind::Arp => KIND_ARP,
        Kind::Fragment => KIND_FRAGMENT,
    };
    if idle_ns < idle_timeout_ns(Lane::new(0, id.proto, 0, kind), tcp_flags) {
        return None;
    }
    let closed = id.proto == TCP && is_closed(tcp_flags);
    Some(if closed { EndReason::Closed } else { EndReason::Timeout })
}

/// Key of a conversation: the same for both directions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Key {
    low: (IpAddr, u16),
    high: (IpAddr, u16),
    proto: u8,
    kind: Kind,
    vlan: u16,
}

/// The two ends of a conversation, the lower first: the same for both its directions. Ports are 0 where they differ
/// between question and answer: the operation of ARP, the type of an echo or a neighbour solicitation.
pub fn ends(id: &FlowId) -> [(IpAddr, u16); 2] {
    let (sport, dport) = match (id.kind, id.proto) {
        (Kind::Arp, _) => (0, 0),
        (Kind::Ip, ICMP) if matches!(id.sport >> 8, 0 | 8) => (0, 0),
        (Kind::Ip, ICMP6) if matches!(id.sport >> 8, 128 | 129 | 135 | 136) => (0, 0),
        _ => (id.sport, id.dport),
    };
    let (a, b) = ((id.src, sport), (id.dst, dport));
    if a <= b { [a, b] } else { [b, a] }
}

impl Key {
    fn of(id: &FlowId) -> Self {
        let [low, high] = ends(id);
        Key { low, high, proto: id.proto, kind: id.kind, vlan: id.vlan }
    }
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Conversation {
    /// The direction that began it.
    id: FlowId,
    smac: Mac,
    dmac: Mac,
    start: Time,
    last: Time,
    touched: Time,
    /// The first answer was a refusal.
    refused: bool,
    /// Forward and backward.
    halves: [Track; 2],
    /// The packet within, of a tunnel. Few conversations have one, so it lies apart.
    inner: Option<Box<Inner>>,
    /// What became of frames that were dropped, or would have been.
    verdict: Verdict,
    /// What was told while it went on.
    earlier: Option<Box<Earlier>>,
}

/// Who speaks with whom in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Talk {
    /// The direction that began it.
    pub id: FlowId,
    /// MAC address of who began it.
    pub smac: Mac,
    /// MAC address it was sent to.
    pub dmac: Mac,
    /// When it began.
    pub start: Time,
}

/// What news of a flow mean to its conversation.
#[derive(Clone, PartialEq, Debug)]
pub struct Passage {
    /// The direction that began it.
    pub id: FlowId,
    /// MAC address of who began it.
    pub smac: Mac,
    /// What came since the flow was last told.
    pub more: Half,
    /// Both sides spoke.
    pub answered: bool,
    /// The conversation, if it is over with this.
    pub ended: Option<FlowEnded>,
    /// The conversation so far, if it is time to tell a part of it.
    pub part: Option<FlowEnded>,
}

/// One direction: what ended flows of it had, and what the one that goes on has.
#[derive(Debug, Default, Clone, Copy, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Track {
    seen: bool,
    /// Its beginning was told, to this run or an earlier one. How it goes on may be read before.
    told: bool,
    live: bool,
    ended: Half,
    current: Half,
}

impl Track {
    fn total(&self) -> Half {
        Half {
            packets: self.ended.packets + self.current.packets,
            bytes: self.ended.bytes + self.current.bytes,
            drops: self.ended.drops + self.current.drops,
            tcp_flags: self.ended.tcp_flags | self.current.tcp_flags,
        }
    }
}

/// What a new flow means to its conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Its first flow, and the sender began it.
    Opens,
    /// Its first flow, but the sender is taken for the one that answers: its beginning was missed.
    OpensMidway,
    /// The first answer; the conversation was begun by the other flow, from this MAC address.
    Answers(FlowId, Mac),
    /// More of what is known.
    Continues,
}

/// The table of conversations.
#[derive(Debug)]
pub struct Conversations {
    table: Lru<Key, Conversation>,
    /// Conversations that began.
    pub begun: u64,
    /// Conversations ended because the table was full.
    pub evicted: u64,
    /// Flows that began before this may have been told to an earlier run; none if there was none.
    watched_since: Option<Time>,
}

state!(Conversations { table, begun, evicted, watched_since });

impl Conversations {
    /// An empty table for at most `limit` conversations.
    pub fn new(limit: usize) -> Self {
        let ends: Marks<Key> = |key| [mark(key.low.0), mark(key.high.0)];
        Self { table: Lru::searched(capacity(limit), ends), begun: 0, evicted: 0, watched_since: None }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Notes a new flow; an evicted conversation comes back as ended.
    pub fn begin(&mut self, seen: &FlowSeen) -> (Role, Option<FlowEnded>) {
        let key = Key::of(&seen.id);
        if self.is_untold(&key, seen) {
            self.table.pop(&key);
        }
        if let Some(conversation) = self.table.get_mut(&key) {
            let back = usize::from(conversation.id.src != seen.id.src);
            let track = &mut conversation.halves[back];
            let first_answer = back == 1 && !track.told;
            conversation.refused |= first_answer && seen.id.proto == TCP && seen.tcp_flags & RST != 0;
            (track.seen, track.told, track.live) = (true, true, true);
            conversation.touched = seen.time;
            conversation.judge(seen.verdict);
            if conversation.inner.is_none() {
                conversation.inner = seen.inner.map(Box::new);
            }
            // Whoever answers itself, under a borrowed address, was not answered.
            let answered = first_answer && conversation.smac != seen.smac;
            let role =
                if answered { Role::Answers(conversation.id, conversation.smac) } else { Role::Continues };
            return (role, None);
        }
        let midway = began_by_other(seen);
        let id = if midway { reversed(&seen.id) } else { seen.id };
        let (smac, dmac) = if midway { (seen.dmac, seen.smac) } else { (seen.smac, seen.dmac) };
        let mut halves = [Track::default(); 2];
        halves[usize::from(midway)] = Track { seen: true, told: true, live: true, ..Track::default() };
        let (start, last, touched) = (seen.time, seen.time, seen.time);
        let refused = midway && seen.id.proto == TCP && seen.tcp_flags & RST != 0;
        let inner = seen.inner.map(Box::new);
        let (verdict, earlier) = (seen.verdict, None);
        let conversation =
            Conversation { id, smac, dmac, start, last, touched, refused, halves, inner, verdict, earlier };
        let evicted = self.table.push(key, conversation);
        self.begun += 1;
        let ended = evicted.filter(|(old, _)| *old != key).map(|(_, c)| c.ended(EndReason::Evicted));
        self.evicted += u64::from(ended.is_some());
        (if midway { Role::OpensMidway } else { Role::Opens }, ended)
    }

    /// The conversations of some addresses that were answered, and not by a refusal; the last touched first.
    pub fn talks(&self, of: &BTreeSet<IpAddr>) -> Vec<Talk> {
        let answered = |c: &&Conversation| !c.refused && c.halves.iter().all(|track| track.seen);
        let marks = of.iter().copied().map(mark).collect();
        let all = self.table.marked(&marks).map(|(_, conversation)| conversation);
        let found = all.filter(answered).filter(|c| of.contains(&c.id.src) || of.contains(&c.id.dst));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|c| (Reverse(c.touched), c.id));
        found.into_iter().map(Conversation::talk).collect()
    }

    /// All conversations, in no order.
    pub fn all(&self) -> impl Iterator<Item = Talk> {
        self.table.unordered().map(|(_, conversation)| conversation.talk())
    }

    /// Notes how a flow went on; none if its conversation is not known.
    pub fn progress(&mut self, progress: &FlowProgress) -> Option<Passage> {
        let key = Key::of(&progress.id);
        if self.enter_midway(key, progress) {
            return None;
        }
        let conversation = self.table.get_mut(&key)?;
        let track = &mut conversation.halves[usize::from(conversation.id.src != progress.id.src)];
        track.seen = true;
        track.live = progress.end.is_none();
        let current = read(progress);
        let old = std::mem::replace(&mut track.current, current);
        let more = Half {
            packets: current.packets.saturating_sub(old.packets),
            bytes: current.bytes.saturating_sub(old.bytes),
            drops: current.drops.saturating_sub(old.drops),
            tcp_flags: current.tcp_flags,
        };
        if progress.end.is_some() {
            track.ended = track.total();
            track.current = Half::default();
        }
        conversation.last = conversation.last.max(progress.last);
        conversation.touched = progress.time;
        if more.drops > 0 {
            conversation.judge(progress.verdict);
        }
        let (id, smac) = (conversation.id, conversation.smac);
        let answered = conversation.halves.iter().all(|track| track.seen);
        let over = progress.end.filter(|_| conversation.halves.iter().all(|t| !t.live));
        let part = if over.is_none() { conversation.part(progress.time) } else { None };
        let ended = over.and_then(|reason| self.table.pop(&key).map(|c| c.ended(reason)));
        Some(Passage { id, smac, more, answered, ended, part })
    }

    /// Ends conversations that were forgotten by the data path.
    pub fn expire(&mut self, now: Time) -> Option<FlowEnded> {
        let (_, oldest) = self.table.peek_lru()?;
        if now.since(oldest.touched) < FORGOTTEN {
            return None;
        }
        self.table.pop_lru().map(|(_, c)| c.ended(EndReason::Timeout))
    }

    /// Ends the conversation untouched for longest, for the sensor stops.
    pub fn drain(&mut self) -> Option<FlowEnded> {
        self.table.pop_lru().map(|(_, c)| c.ended(EndReason::Shutdown))
    }
}

impl Conversation {
    fn talk(&self) -> Talk {
        Talk { id: self.id, smac: self.smac, dmac: self.dmac, start: self.start }
    }

    /// Takes note of what becomes of frames. What was dropped once is told, whatever came after.
    fn judge(&mut self, verdict: Verdict) {
        if self.verdict != Verdict::Drop && verdict != Verdict::Pass {
            self.verdict = verdict;
        }
    }

    /// What is to be told of it while it goes on, if that is due.
    fn part(&mut self, now: Time) -> Option<FlowEnded> {
        let since = self.earlier.as_ref().map_or(self.start, |earlier| earlier.until);
        if now.since(since) < ACTIVE {
            return None;
        }
        let part = self.ended(EndReason::Active);
        let FlowEnded { to_server, to_client, .. } = part;
        self.earlier = Some(Box::new(Earlier { until: now, to_server, to_client }));
        Some(part)
    }

    fn ended(&self, reason: EndReason) -> FlowEnded {
        let [to_server, to_client] = self.halves.map(|track| track.total());
        FlowEnded {
            id: self.id,
            smac: self.smac,
            dmac: self.dmac,
            inner: self.inner.as_deref().copied(),
            to_server,
            to_client,
            start: self.start,
            end: self.last,
            reason,
            verdict: self.verdict,
            earlier: self.earlier.clone(),
            devices: [None; 2],
        }
    }
}

/// What a flow had when it was read.
fn read(progress: &FlowProgress) -> Half {
    Half {
        packets: progress.packets,
        bytes: progress.bytes,
        drops: u64::from(progress.drops),
        tcp_flags: progress.tcp_flags,
    }
}

/// The other direction.
fn reversed(id: &FlowId) -> FlowId {
    FlowId { src: id.dst, dst: id.src, sport: id.dport, dport: id.sport, ..*id }
}

/// Whether the first frame seen of a conversation is an answer to one that was missed.
fn began_by_other(seen: &FlowSeen) -> bool {
    let id = &seen.id;
    let from_service = id.sport < 1024 && id.dport >= 1024;
    match (id.kind, id.proto) {
        (Kind::Arp, _) => id.sport == 2,
        (Kind::Ip, TCP) if seen.tcp_flags & SYN != 0 => seen.tcp_flags & ACK != 0,
        (Kind::Ip, TCP) if seen.tcp_flags & (ACK | RST) != 0 => id.sport < id.dport,
        (Kind::Ip, UDP) => from_service,
        (Kind::Ip, ICMP) => id.sport >> 8 == 0,
        (Kind::Ip, ICMP6) => matches!(id.sport >> 8, 129 | 136),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    const START: Time = Time::at(7 * HOUR);

    pub(super) fn seen(verdict: Verdict) -> FlowSeen {
        let (src, dst) = ("10.0.0.7".parse().unwrap(), "10.0.0.9".parse().unwrap());
        FlowSeen {
            time: START,
            id: FlowId { src, dst, sport: 40_000, dport: 445, proto: TCP, kind: Kind::Ip, vlan: 0, port: 1 },
            smac: Mac([2, 0, 0, 0, 0, 7]),
            dmac: Mac([2, 0, 0, 0, 0, 9]),
            arp_sha: Mac::default(),
            vlan_inner: 0,
            ether_type: 0x0800,
            window: 0,
            len: 60,
            ttl: 64,
            tcp_flags: SYN,
            verdict,
            rule_id: 0,
            inner: None,
        }
    }

    fn went(after: u64, packets: u64, drops: u32, verdict: Verdict, end: Option<EndReason>) -> FlowProgress {
        let (id, time) = (seen(verdict).id, START.plus(after));
        let (bytes, first, last) = (packets * 100, START, time);
        let FlowSeen { smac, dmac, .. } = seen(verdict);
        FlowProgress {
            time,
            id,
            smac,
            dmac,
            packets,
            bytes,
            drops,
            verdict,
            first,
            last,
            tcp_flags: ACK,
            end,
        }
    }

    #[test]
    fn a_conversation_that_goes_on_for_long_is_told_in_parts_that_add_up_to_it() {
        let mut all = Conversations::new(10);
        all.begin(&seen(Verdict::Pass));
        let mut told = Vec::new();
        for second in (5..3 * 3_600).step_by(5) {
            let news = went(second * SECOND, second, 0, Verdict::Pass, None);
            told.extend(all.progress(&news).unwrap().part);
        }
        let over = went(3 * HOUR, 3 * 3_600, 0, Verdict::Pass, Some(EndReason::Closed));
        told.extend(all.progress(&over).unwrap().ended);
        let since = |part: &FlowEnded| part.earlier.as_ref().map(|earlier| earlier.until.since(START));
        let packets = |part: &FlowEnded| {
            part.to_server.packets - part.earlier.as_ref().map_or(0, |earlier| earlier.to_server.packets)
        };
        let parts: Vec<_> = told.iter().map(|part| (since(part), packets(part), part.reason)).collect();
        let hour = |n| Some(n * HOUR);
        assert_eq!(
            parts,
            [
                (None, 3_600, EndReason::Active),
                (hour(1), 3_600, EndReason::Active),
                (hour(2), 3_600, EndReason::Closed)
            ]
        );
        assert_eq!(told[2].to_server.packets, 3 * 3_600, "the end tells of all of it");
    }

    /// A sweep reads the tables as they are, and may be ahead of what lies in the rings.
    #[test]
    fn an_answer_whose_flow_was_swept_before_it_was_told_is_one_all_the_same() {
        let mut all = Conversations::new(10);
        let asked = seen(Verdict::Pass);
        assert_eq!(all.begin(&asked).0, Role::Opens);
        let (smac, dmac, id) = (asked.dmac, asked.smac, reversed(&asked.id));
        all.progress(&FlowProgress { id, smac, dmac, ..went(SECOND, 1, 0, Verdict::Pass, None) });
        let answer = FlowSeen { id, smac, dmac, tcp_flags: SYN | ACK, ..asked };
        assert_eq!(all.begin(&answer).0, Role::Answers(asked.id, asked.smac));
        assert_eq!(all.begin(&answer).0, Role::Continues);
    }

    #[test]
    fn the_verdict_is_that_on_what_was_dropped() {
        use Verdict::{Drop, Pass, WouldDrop};
        type News<'a> = &'a [(u32, Verdict)];
        let cases: [(&str, Verdict, News<'_>, Verdict); 6] = [
            ("passed", Pass, &[(0, Pass)], Pass),
            ("dropped from the first frame", Drop, &[(1, Drop)], Drop),
            ("dropped later", Pass, &[(0, Pass), (3, Drop)], Drop),
            ("only counted", Pass, &[(3, WouldDrop)], WouldDrop),
            ("first counted, then dropped", WouldDrop, &[(1, WouldDrop), (2, Drop), (2, Pass)], Drop),
            ("by a rule that dropped nothing of it", Pass, &[(0, Drop)], Pass),
        ];
        for (name, first, news, want) in cases {
            let mut all = Conversations::new(10);
            all.begin(&seen(first));
            for (at, (drops, verdict)) in news.iter().enumerate() {
                all.progress(&went(at as u64 * SECOND, 9, *drops, *verdict, None));
            }
            assert_eq!(all.drain().unwrap().verdict, want, "{name}");
        }
    }
}
