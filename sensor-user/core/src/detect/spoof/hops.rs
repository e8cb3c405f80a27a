//! Clients whose way out went by one MAC address and now goes by another that claimed an address to them alone.

use std::net::IpAddr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::claims::{Claim, Claims};
use super::{Known, QUARREL, finding};
use crate::addr::{Mac, is_host};
use crate::detect::{Began, Finding, seconds};
use crate::event::Value;
use crate::flow::{ICMP, Role};
use crate::inventory::capacity;
use crate::lru::Lru;
use crate::observation::{FlowId, Kind};
use crate::settings::Settings;
use crate::state::state;
use crate::time::Time;

/// Conversations by the new way that show that it is one.
const MOVED: u32 = 3;
/// ICMP type of a redirect, by which a router names a better one (RFC 792).
const REDIRECT: u16 = 5;

/// The way of one client to one host behind a router.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Hop {
    mac: Mac,
    last: Time,
    /// The way before.
    before: Option<Mac>,
    /// When it changed, and conversations since.
    changed: Time,
    count: u32,
}

/// A claim to one client.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Whisper {
    ip: IpAddr,
    time: Time,
    flow: FlowId,
}

/// Ways out.
#[derive(Debug)]
pub struct Hops {
    /// By client and host.
    hops: Lru<(IpAddr, IpAddr), Hop>,
    /// By who claims and the client.
    whispers: Lru<(Mac, IpAddr), Whisper>,
    /// Addresses claimed to all.
    announced: Lru<(Mac, IpAddr), ()>,
    /// Clients that were told of a better way.
    redirected: Lru<IpAddr, Time>,
    /// When a call was made of a MAC address.
    told: Lru<Mac, Time>,
}

state!(Hops { hops, whispers, announced, redirected, told });

impl Hops {
    /// No way is known.
    pub fn new(settings: &Settings) -> Self {
        let size = capacity(settings.limits.devices);
        Self {
            hops: Lru::new(size),
            whispers: Lru::new(size),
            announced: Lru::new(size),
            redirected: Lru::new(size),
            told: Lru::new(size),
        }
    }

    /// Notes who claims which address to whom.
    pub fn claimed(&mut self, claim: &Claim) {
        if claim.to_all {
            self.announced.put((claim.sender, claim.id.src), ());
        } else {
            let whisper = Whisper { ip: claim.id.src, time: claim.time, flow: claim.id };
            self.whispers.put((claim.sender, claim.id.dst), whisper);
        }
    }

    /// Notes the way of a new conversation.
    pub fn began(&mut self, began: &Began<'_>, claims: &Claims, known: &Known, found: &mut Vec<Finding>) {
        let (seen, id) = (began.seen, &began.seen.id);
        if id.kind == Kind::Ip && id.proto == ICMP && id.sport >> 8 == REDIRECT {
            self.redirected.put(id.dst, seen.time);
        }
        let outward = began.role == Role::Opens && id.kind == Kind::Ip && !seen.dmac.is_nobody();
        if !outward || began.gateway || !is_host(id.dst) || claims.is_on_link(id.vlan, id.dst) {
            return;
        }
        let fresh = || Hop { mac: seen.dmac, last: seen.time, before: None, changed: seen.time, count: 0 };
        let hop = self.hops.get_or_insert_mut((id.src, id.dst), fresh);
        let stale = seen.time.since(hop.last) >= QUARREL || hop.changed < began.clean_since;
        if stale || hop.before == Some(seen.dmac) {
            *hop = fresh();
        }
        if hop.mac != seen.dmac {
            *hop = Hop { before: Some(hop.mac), ..fresh() };
        }
        hop.last = seen.time;
        hop.count += 1;
        let hop = *hop;
        if let Some(before) = hop.before.filter(|_| hop.count >= MOVED) {
            found.extend(self.judge(began, &hop, before, known));
        }
    }

    /// What to make of a client whose way changed.
    fn judge(&mut self, began: &Began<'_>, hop: &Hop, before: Mac, known: &Known) -> Option<Finding> {
        let (time, client) = (began.seen.time, began.seen.id.src);
        let recent = |then: Time| time.since(then) < QUARREL;
        let whisper = self.whispers.peek(&(hop.mac, client)).copied()?;
        let announced = self.announced.contains(&(hop.mac, whisper.ip));
        let redirected = self.redirected.peek(&client).is_some_and(|then| recent(*then));
        let shared = known.may_share(hop.mac) || known.may_share(before);
        let told = self.told.peek(&hop.mac).is_some_and(|then| recent(*then));
        if announced || redirected || shared || told || !recent(whisper.time) || whisper.time > hop.changed {
            return None;
        }
        self.told.put(hop.mac, time);
        let evidence = vec![
            ("address", Value::Text(whisper.ip.to_string())),
            ("client", Value::Text(client.to_string())),
            ("router_before", Value::Text(before.to_string())),
            ("conversations", Value::Count(u64::from(hop.count))),
            ("seconds", seconds(time.since(whisper.time))),
        ];
        let signature = "ARP spoofing: took a router's place by claiming an address to one client alone";
        Some(finding(signature, 2, hop.mac, whisper.flow, whisper.time, evidence))
    }
}
