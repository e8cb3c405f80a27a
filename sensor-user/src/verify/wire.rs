//! What leaves by the ports from or to somebody who is isolated.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sensor_core::addr::Mac;
use sensor_core::datapath::{self, RuleKey, Rules};
use sensor_ebpf::account::{self, Frame};
use sensor_ebpf::counter::Reason;
use sensor_ebpf::flow::VERDICT_DROP;
use sensor_ebpf::judge::{ASK_LINK, End, Question, judge};
use sensor_ebpf::parse::{self, ETHER_ARP, ETHER_IPV4, Slice, mac_bytes};
use sensor_ebpf::rule::{FLAG_BOTH, FLAG_OBSERVE, LEVEL_ISOLATE, LEVEL_PROTECT, RuleValue};
use serde::Serialize;

use super::Problem;
use super::kernel::Found;
use crate::bpf::{Filter, Interface, Tap};
use crate::clock::Now;

/// Leaks told with their addresses.
const EXAMPLES: usize = 3;

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Wire {
    /// For how long, ns.
    pub listened_ns: u64,
    /// Frames that may have been of somebody isolated, and were looked at.
    pub frames: u64,
    /// Frames of these that leaked.
    pub leaked: u64,
    /// Frames there was no room for, so that nobody looked at them.
    pub missed: u64,
    /// Some of the leaks.
    pub examples: Vec<String>,
}

impl Wire {
    /// What is not as it should be.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.leaked > 0 {
            let examples = self.examples.join(", ");
            problems.push(Problem::critical(format!("{} frames leaked: {examples}", self.leaked)));
        }
        if self.missed > 0 {
            problems.push(Problem::warning(format!("{} frames on the wire were not looked at", self.missed)));
        }
        problems
    }
}

/// The rules that let nothing pass, and those that protect.
struct Isolation<'a> {
    rules: Rules,
    filter: Filter,
    /// Frames the box itself sends pass no program.
    own: &'a BTreeSet<Mac>,
}

impl<'a> Isolation<'a> {
    fn new(found: &'a Found) -> Self {
        let (mut rules, mut filter) = (Rules::default(), Filter::default());
        for (key, rule) in &found.rules {
            if rule.level == LEVEL_PROTECT {
                rules.set(*key, Some(*rule));
            } else if isolates(rule) {
                rules.set(*key, Some(*rule));
                match *key {
                    RuleKey::Mac(mac) => filter.macs.push(Mac(mac_bytes(mac))),
                    RuleKey::Ip(address) => match datapath::ip(address) {
                        IpAddr::V4(ip) => filter.four.push(ip.octets()),
                        IpAddr::V6(ip) => filter.six.push(ip.octets()),
                    },
                    RuleKey::Net { .. } => filter.all = true,
                    // Where a frame came in cannot be seen where it leaves.
                    RuleKey::Scope(_) => {}
                }
            }
        }
        Self { rules, filter, own: &found.own }
    }

    /// Who leaked, if the frame is a leak.
    fn leak(&self, bytes: &[u8], now_ns: u64) -> Option<String> {
        let (link, at, reason) = parse::link(Slice(bytes));
        if reason == Reason::LinkControl || self.own.contains(&Mac(mac_bytes(link.src))) {
            return None;
        }
        let armed = self.rules.armed();
        let mut ask = Question {
            now_ns,
            macs: [link.src, link.dst],
            armed,
            vlan: link.vlan,
            kind: ASK_LINK,
            ..Question::default()
        };
        let mut who = format!("{} -> {}", Mac(mac_bytes(link.src)), Mac(mac_bytes(link.dst)));
        if reason == Reason::None && self.read(&mut ask, &link, at) {
            let [src, dst] = ask.ips.map(datapath::ip);
            who = format!("{src} -> {dst}");
        }
        let verdict = judge(&ask, &self.rules, &mut [End::default(); 2]).verdict;
        (verdict == VERDICT_DROP).then_some(who)
    }

    /// Fills in what the packet of a frame is judged by; false if it cannot be read.
    fn read(&self, ask: &mut Question, link: &parse::Link, at: Slice<'_>) -> bool {
        // The beginning of the frame alone is here: how long it says it is must not matter.
        const BEYOND: usize = u16::MAX as usize;
        let (armed, now_ns) = (ask.armed, ask.now_ns);
        let frame = |upper| Frame { link, upper, arp_sha: 0, len: 0, port: 0 };
        let net = match link.ether_type {
            ETHER_IPV4 => parse::ipv4(at, BEYOND),
            ETHER_ARP => parse::arp(at),
            _ => {
                let Ok(net) = parse::ipv6(at, BEYOND) else { return false };
                account::ask(ask, &account::key6(&net, link, 0), &frame(&net.upper), armed, now_ns);
                return true;
            }
        };
        let Ok(net) = net else { return false };
        account::ask(ask, &account::key4(&net, link, 0), &frame(&net.upper), armed, now_ns);
        true
    }
}

/// Whether a rule lets nothing pass.
fn isolates(rule: &RuleValue) -> bool {
    rule.level >= LEVEL_ISOLATE && rule.flags & (FLAG_BOTH | FLAG_OBSERVE) == FLAG_BOTH
}

/// Listens on all ports for some time.
pub fn listen(found: &Found, time: Duration) -> io::Result<Wire> {
    let (isolation, ports) = (Isolation::new(found), &found.ports);
    let mut wire = Wire { listened_ns: time.as_nanos() as u64, ..Wire::default() };
    if isolation.filter.is_empty() {
        // Nobody is isolated: there is nothing to be heard.
        return Ok(Wire { listened_ns: 0, ..wire });
    }
    let taps: Vec<_> =
        ports.iter().map(|port| Tap::open(port.ifindex, &isolation.filter)).collect::<io::Result<_>>()?;
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let mut waits: Vec<_> = taps.iter().map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(left.as_millis() as u64 + 1).unwrap_or(PollTimeout::MAX);
        poll(&mut waits, timeout)?;
        for (tap, port) in taps.iter().zip(ports) {
            hear(tap, port, &isolation, &mut wire)?;
        }
    }
    for tap in &taps {
        wire.missed += u64::from(tap.missed()?);
    }
    Ok(wire)
}

/// Takes what a tap heard by now.
fn hear(tap: &Tap, port: &Interface, isolation: &Isolation<'_>, wire: &mut Wire) -> io::Result<()> {
    // As many as a socket's buffer holds; the others are heard next time, so that no port is passed over.
    for _ in 0..1_000 {
        let Some(bytes) = tap.next()? else { break };
        wire.frames += 1;
        if let Some(who) = isolation.leak(&bytes, Now::read().mono.ns()) {
            wire.leaked += 1;
            let example = format!("{who} by {}", port.name);
            if wire.examples.len() < EXAMPLES && !wire.examples.contains(&example) {
                wire.examples.push(example);
            }
        }
    }
    Ok(())
}
