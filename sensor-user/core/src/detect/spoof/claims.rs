//! Addresses that two MAC addresses claim in turns; who sends packets from an address it has goes on claiming it.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::{Known, Macs, QUARREL, finding, is_virtual};
use crate::addr::Mac;
use crate::detect::{Began, Finding, seconds};
use crate::event::Value;
use crate::inventory::capacity;
use crate::lru::Lru;
use crate::observation::{FlowId, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MILLISECOND, Time};

/// Turns that show that both are alive: the second claims, the first claims again, the second does.
const TURNS: u32 = 3;
/// Turns that prove it.
const PROOF: u32 = 5;
/// A bridge repeats a broadcast within this time.
const ECHO: u64 = 20 * MILLISECOND;
/// Claims nearer to each other than this are one: the times of flows are those of the kernel's clock ticks.
const AGAIN: u64 = 50 * MILLISECOND;
/// Times to live that systems start with: a packet with one of these was not passed on by a router.
const FULL: [u8; 4] = [32, 64, 128, 255];
/// One that goes on is told again after this time.
const REARM: u64 = HOUR;

/// Somebody says at which MAC address an address is.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The message; its source is the address.
    pub id: FlowId,
    /// The MAC address named.
    pub mac: Mac,
    /// When.
    pub time: Time,
    /// The MAC address it was sent by.
    pub sender: Mac,
    /// It was said to all.
    pub to_all: bool,
    /// The sender changed its port lately.
    pub moved: bool,
    /// Quarrels from before then are forgotten.
    pub clean_since: Time,
}

/// A second one that claims an address.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Rival {
    mac: Mac,
    sender: Mac,
    flow: FlowId,
    first: Time,
    last: Time,
    /// Claims that followed one of the other, the first included.
    turns: u32,
    /// It claimed last.
    last_word: bool,
    /// It was at another port meanwhile: somebody may borrow its MAC address.
    moved: bool,
}

#[derive(Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Binding {
    /// Who claimed it first.
    mac: Mac,
    sender: Mac,
    /// Its last claim, and the message of it.
    last: Time,
    last_id: FlowId,
    rival: Option<Rival>,
    /// The severity it was told with, and when.
    told: Option<(u8, Time)>,
}

/// Who claims which address, by VLAN.
#[derive(Debug)]
pub struct Claims {
    bindings: Lru<(u16, IpAddr), Binding>,
    /// The address that a MAC address claimed first.
    own: Lru<Mac, IpAddr>,
    /// They put their MAC address in the place of others'.
    bridges: Macs,
    /// The MAC address by which others send to an address, and when one last did.
    used: Lru<(u16, IpAddr), (Mac, Time)>,
}

state!(Claims { bindings, own, bridges, used });

impl Claims {
    /// Nobody claimed anything.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self {
            bindings: Lru::new(size),
            own: Lru::new(size),
            bridges: Macs::new(settings),
            used: Lru::new(size),
        }
    }

    /// Whether anybody says that it has an address on the link.
    pub fn is_on_link(&self, vlan: u16, ip: IpAddr) -> bool {
        self.bindings.contains(&(vlan, ip))
    }

    /// Notes a packet that no router passed on: by which MAC address its destination is reached, and that whoever sent it
    /// is alive.
    pub fn sent(&mut self, began: &Began<'_>) {
        let (seen, id) = (began.seen, &began.seen.id);
        if id.kind != Kind::Ip || !FULL.contains(&seen.ttl) || seen.dmac.is_nobody() {
            return;
        }
        if let Some(binding) = self.bindings.peek_mut(&(id.vlan, id.src))
            && binding.mac == seen.smac
        {
            binding.holder_spoke(seen.time);
        }
        if !began.internal {
            return;
        }
        let used = self.used.get_or_insert_mut((id.vlan, id.dst), || (seen.dmac, seen.time));
        if used.0 == seen.dmac || seen.time.since(used.1) >= QUARREL {
            *used = (seen.dmac, seen.time);
        }
    }

    /// Notes a claim.
    pub fn claimed(&mut self, claim: &Claim, known: &Known, found: &mut Vec<Finding>) {
        let key = (claim.id.vlan, claim.id.src);
        self.own.get_or_insert_mut(claim.mac, || claim.id.src);
        let Some(binding) = self.bindings.get_mut(&key) else {
            let mut binding = Binding::new(claim);
            // Others reach the address by another MAC address: that one has it, though it was not heard to say so.
            let used = self
                .used
                .peek(&key)
                .filter(|(mac, last)| *mac != claim.mac && claim.time.since(*last) < QUARREL);
            if let Some((mac, last)) = used {
                (binding.mac, binding.sender, binding.last) = (*mac, *mac, *last);
                binding.heard(claim);
            }
            self.bindings.put(key, binding);
            return;
        };
        let repeats = claim.to_all && claim.id == binding.last_id && claim.time.since(binding.last) < ECHO;
        if claim.mac != binding.mac && repeats && !known.is_gateway(binding.mac) {
            self.bridges.note(claim.mac);
        }
        // A bridge speaks for all behind it, a router of several for the one whose turn it is.
        let excused = self.bridges.has(claim.mac) || self.bridges.has(binding.mac);
        if claim.mac != binding.mac && (is_virtual(claim.mac) || (excused && !known.is_gateway(binding.mac)))
        {
            if is_virtual(claim.mac) {
                *binding = Binding::new(claim);
            }
            return;
        }
        binding.heard(claim);
        let Some(rival) = binding.rival.filter(|rival| rival.turns >= TURNS) else { return };
        let own = [binding.mac, rival.mac].map(|mac| self.own.peek(&mac).copied());
        let Some(call) = binding.judge(&rival, own, claim, known) else { return };
        let told = binding
            .told
            .is_some_and(|(gravest, at)| gravest <= call.severity && claim.time.since(at) < REARM);
        if !told {
            binding.told = Some((call.severity, claim.time));
            found.push(call);
        }
    }
}

impl Binding {
    fn new(claim: &Claim) -> Self {
        Self {
            mac: claim.mac,
            sender: claim.sender,
            last: claim.time,
            last_id: claim.id,
            rival: None,
            told: None,
        }
    }

    /// Notes that the holder is alive.
    fn holder_spoke(&mut self, now: Time) {
        self.last = self.last.max(now);
        if let Some(rival) = &mut self.rival {
            rival.turns += u32::from(rival.last_word);
            rival.last_word = false;
        }
    }

    /// Notes a claim of the holder or of another one.
    fn heard(&mut self, claim: &Claim) {
        if self.rival.is_some_and(|rival| rival.first < claim.clean_since) {
            self.rival = None;
        }
        if claim.mac == self.mac {
            if claim.time.since(self.last) >= AGAIN {
                self.last_id = claim.id;
                self.holder_spoke(claim.time);
            }
            return;
        }
        match &mut self.rival {
            // How a flow went on tells of its first message again.
            Some(rival) if rival.mac == claim.mac && claim.time.since(rival.last) < AGAIN => {}
            Some(rival) if rival.mac == claim.mac && claim.time.since(rival.first) < QUARREL => {
                rival.last = claim.time;
                rival.turns += u32::from(!rival.last_word);
                rival.last_word = true;
                rival.moved |= claim.moved;
            }
            // The holder has not been heard since: the address changed hands.
            Some(rival) if rival.mac == claim.mac && rival.turns == 1 => *self = Self::new(claim),
            None if claim.time.since(self.last) >= QUARREL => *self = Self::new(claim),
            rival => {
                *rival = Some(Rival {
                    mac: claim.mac,
                    sender: claim.sender,
                    flow: claim.id,
                    first: claim.time,
                    last: claim.time,
                    turns: 1,
                    last_word: true,
                    moved: claim.moved,
                });
            }
        }
    }

    /// What to make of two that claim the address in turns; `own` is what each of them claimed first of all.
    fn judge(
        &self,
        rival: &Rival,
        [holders, rivals]: [Option<IpAddr>; 2],
        claim: &Claim,
        known: &Known,
    ) -> Option<Finding> {
        // Routers that share an address, one by its own MAC address or both.
        let both = |a: Mac, b: Mac| known.may_share(a) && (known.may_share(b) || known.is_gateway(b));
        if both(self.mac, rival.mac) || both(rival.mac, self.mac) {
            return None;
        }
        let gateways = (known.is_gateway(self.mac), known.is_gateway(rival.mac));
        let ip = claim.id.src;
        // Whoever carries the traffic of many is the router, even if the other one was heard first; of two others it
        // is the one that never claimed anything else.
        let late = rivals == Some(ip) && holders != Some(ip);
        let (holder, sender, flow) = match gateways {
            (false, true) => (rival.mac, self.sender, self.last_id),
            (false, false) if late => (rival.mac, self.sender, self.last_id),
            _ => (self.mac, rival.sender, rival.flow),
        };
        let (router, maker) = (gateways.0 || gateways.1, self.mac.oui() == rival.mac.oui());
        // Devices of one maker that know no other address have not been set up.
        let factory = rivals == Some(ip) && holders.is_none_or(|own| own == ip);
        if !router && maker && factory {
            return None;
        }
        let sole =
            rivals.is_some_and(|own| own != ip) && !known.may_share(self.mac) && !known.may_share(rival.mac);
        let proof = gateways == (true, false) && sole && !maker && !rival.moved && rival.turns >= PROOF;
        let (signature, severity) = match (router, proof) {
            (true, true) => ("ARP spoofing: claims a router's address, which the router claims too", 1),
            (true, false) => ("a router's address is claimed by a second device in turns", 2),
            (false, _) => ("address conflict: two devices claim one address in turns", 3),
        };
        let evidence = vec![
            ("address", Value::Text(ip.to_string())),
            ("holder", Value::Text(holder.to_string())),
            ("turns", Value::Count(u64::from(rival.turns))),
            ("seconds", seconds(claim.time.since(rival.first))),
        ];
        Some(finding(signature, severity, sender, flow, rival.first, evidence))
    }
}
