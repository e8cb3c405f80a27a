//! Budgets of new destinations and of bytes: the reflex that holds while nobody decides, and throttled devices.
//!
//! A host that speaks to an address it has not spoken to (and that has not spoken to it) spends one of its budget, a
//! token bucket that fills at a steady rate: Williamson's virus throttle (HP Labs 2002). It is asked for new flows only.
//! A host is an IP address at a MAC address on a port, so that a forged source spends nobody else's budget.

use crate::control::{Config, REFLEX_ENFORCE, REFLEX_OFF, Rate, Reflex};
use crate::flow::{VERDICT_DROP, VERDICT_PASS, VERDICT_RATE, VERDICT_WOULD_DROP, VERDICT_WOULD_RATE, mix};
use crate::judge::{ARMED_REFLEX, ASK_ARP, ASK_IP, Judgement, Question, is_discovery};
use crate::parse::PROTO_UDP;
use crate::rule::{Address, RULE_REFLEX};

/// What the budgets are kept in.
pub trait Ledger {
    /// Whether this pair of addresses spoke.
    fn knows(&mut self, pair: u64) -> bool;
    /// Notes that it did.
    fn remember(&mut self, pair: u64);
    /// The reflex where the frame came from.
    fn reflex(&mut self, ask: &Question) -> Reflex;
    /// Spends one of a host's budget; false if that is over.
    fn charge_host(&mut self, host: u64, rate: &Rate, now_ns: u64) -> bool;
    /// Spends one of a throttled device's budget of new destinations.
    fn charge_new(&mut self, rule_id: u32, rate: &Rate, now_ns: u64) -> bool;
    /// Spends so many ns of a throttled device's budget of bytes.
    fn charge_bytes(&mut self, rule_id: u32, rate: &Rate, cost_ns: u64, now_ns: u64) -> bool;
}

/// What the budgets say of the first frame of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// `VERDICT_PASS`, or what becomes of the frame; if it is dropped, its flow is not entered.
    pub verdict: u8,
    /// The rule behind that.
    pub rule_id: u32,
    /// The host is over its budget, whether that is enforced or not.
    pub over: bool,
}

/// Charges the first frame of a flow for a new destination.
#[inline(always)]
pub fn first(ask: &Question, judgement: Judgement, config: &Config, ledger: &mut impl Ledger) -> Spent {
    let mut spent = Spent::default();
    let counted = ask.armed & ARMED_REFLEX != 0;
    let rated = judgement.verdict == VERDICT_RATE || judgement.verdict == VERDICT_WOULD_RATE;
    if !(counted || rated) || !asks(ask) || judgement.verdict == VERDICT_DROP {
        return spent;
    }
    let [src, dst] = ask.ips;
    let (source, destination) = (mix(src[0], src[1]), mix(dst[0], dst[1]));
    let pair = mix(source, destination);
    if ledger.knows(pair) || ledger.knows(mix(destination, source)) {
        return spent;
    }
    let reflex = if counted { ledger.reflex(ask) } else { Reflex::default() };
    if reflex.mode != REFLEX_OFF && !judgement.spared && ask.now_ns >= config.reflex_from_ns {
        let host = host(src, ask.macs[0], ask.port);
        spent.over = !ledger.charge_host(host, &reflex.rate, ask.now_ns);
        if spent.over && reflex.mode == REFLEX_ENFORCE {
            return Spent { verdict: VERDICT_DROP, rule_id: RULE_REFLEX, over: true };
        }
    }
    if rated && !ledger.charge_new(judgement.rule_id, &config.throttle_new, ask.now_ns) {
        spent.rule_id = judgement.rule_id;
        spent.verdict = over(judgement.verdict);
        if spent.verdict == VERDICT_DROP {
            return spent;
        }
    }
    ledger.remember(pair);
    spent
}

/// What the budget of a host is found by: its address, and where it is.
#[inline(always)]
pub fn host(ip: Address, mac: u64, port: u8) -> u64 {
    mix(mix(ip[0], ip[1]), mac ^ u64::from(port) << 48)
}

/// Whether a frame may be a first word to somebody: not one to a group, nor an answer to a question that was one: of ARP and of
/// neighbour discovery (a router answers a thousand hosts a minute, and asks for them), or from a DHCP server.
#[inline(always)]
fn asks(ask: &Question) -> bool {
    const ARP_REQUEST: u16 = 1_u16.to_be();
    match ask.kind {
        ASK_ARP => ask.ports[0] == ARP_REQUEST && ask.ips[0] != ask.ips[1],
        ASK_IP => ask.macs[1] & 1 == 0 && !is_discovery(ask) && !is_lease(ask),
        _ => false,
    }
}

/// Whether a packet is from a DHCP server to its client (RFC 2131 4.1, RFC 8415 7.2).
#[inline(always)]
fn is_lease(ask: &Question) -> bool {
    const FOUR: [u16; 2] = [67_u16.to_be(), 68_u16.to_be()];
    const SIX: [u16; 2] = [547_u16.to_be(), 546_u16.to_be()];
    ask.proto == PROTO_UDP && (ask.ports == FOUR || ask.ports == SIX)
}

/// The verdict on a frame over the budget of a flow of this verdict.
#[inline(always)]
fn over(verdict: u8) -> u8 {
    if verdict == VERDICT_RATE { VERDICT_DROP } else { VERDICT_WOULD_DROP }
}

/// The verdict on one frame of a flow of this verdict.
#[inline(always)]
pub fn frame(
    verdict: u8,
    rule_id: u32,
    len: u32,
    now_ns: u64,
    config: &Config,
    ledger: &mut impl Ledger,
) -> u8 {
    if verdict != VERDICT_RATE && verdict != VERDICT_WOULD_RATE {
        return verdict;
    }
    let rate = &config.throttle_kib;
    if ledger.charge_bytes(rule_id, rate, rate.of_bytes(len), now_ns) { VERDICT_PASS } else { over(verdict) }
}
