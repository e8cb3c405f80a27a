//! From facts to a kind: the weights of the rules that hold are added up, as naive Bayes does (Good 1950, "weights of evidence").
//!
//! What one witness says counts up to a bound, since it may say one thing in several ways. No kind is told with more confidence
//! than [`ALONE`] unless two witnesses speak for it that know it from different things.

use std::collections::BTreeMap;

use super::facts::{Facts, Service};
use super::kind::{Kind, Label};
use super::neighbour::Neighbour;
use super::rules::{Fact, PRIOR, RULES, Rule, Witness};
use super::syn::Syn;
use crate::flow::{TCP, UDP};

/// Most confidence without a second witness.
pub const ALONE: f64 = 0.8;
/// Most one witness may say for a kind, nats.
const MOST: f64 = 5.0;
/// What a witness must say for a kind to speak for it, nats.
const SPEAKS: f64 = 0.5;
/// With less confidence nothing is said.
const LEAST: f64 = 0.25;
/// Reasons that are given.
const MAX_REASONS: usize = 6;

/// What is known of a device beside its [`Facts`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Its maker.
    pub maker: Option<&'a str>,
    /// Its MAC address was made up by its software.
    pub made_up: bool,
    /// It carries, or forwards for, others.
    pub carries: bool,
}

/// What kind a device is; none if too little is known.
pub fn judge(facts: &Facts, known: Known<'_>) -> Option<Label> {
    let view = View::of(facts, known);
    let found: Vec<(&Rule, String)> =
        RULES.iter().filter_map(|rule| Some((rule, view.holds(rule.fact)?))).collect();
    let mut said: BTreeMap<(Kind, Witness), f64> = BTreeMap::new();
    for (rule, _) in &found {
        for (kind, weight) in rule.says {
            *said.entry((*kind, rule.witness)).or_default() += weight;
        }
    }
    let score = |kind: Kind| {
        let said = said.iter().filter(|((of, _), _)| *of == kind);
        PRIOR + said.map(|(_, weight)| weight.min(MOST)).sum::<f64>()
    };
    let odds = Kind::ALL.map(|kind| (kind, score(kind).exp()));
    // "Unknown" has odds of 1.
    let all: f64 = 1.0 + odds.iter().map(|(_, odds)| odds).sum::<f64>();
    let (kind, odds) = odds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let witnesses = said.iter().filter(|((of, _), weight)| *of == kind && **weight >= SPEAKS).count();
    let confidence = if witnesses < 2 { (odds / all).min(ALONE) } else { odds / all };
    (confidence >= LEAST).then(|| Label { kind, confidence, reasons: reasons(&found, kind) })
}

/// The rules that speak for a kind, the weightiest first.
fn reasons(found: &[(&Rule, String)], kind: Kind) -> Vec<String> {
    let weight = |rule: &Rule| rule.says.iter().find(|(of, _)| *of == kind).map(|(_, weight)| *weight);
    let mut reasons: Vec<(f64, String)> = found
        .iter()
        .filter_map(|(rule, what)| Some((weight(rule)?, rule.words.replace("{}", what))))
        .collect();
    reasons.sort_by(|a, b| b.0.total_cmp(&a.0));
    reasons.into_iter().map(|(_, words)| words).take(MAX_REASONS).collect()
}

/// What facts are compared with.
struct View<'a> {
    facts: &'a Facts,
    known: Known<'a>,
    /// The maker, in small letters.
    maker: Option<String>,
    /// What it says of itself in words, and its names; likewise.
    said: Vec<(String, &'a str)>,
    names: Vec<(String, &'a str)>,
}

impl<'a> View<'a> {
    fn of(facts: &'a Facts, known: Known<'a>) -> Self {
        let small = |texts: &'a [String]| {
            texts.iter().map(|text| (text.to_lowercase(), text.as_str())).collect::<Vec<_>>()
        };
        let names = small(&facts.names);
        let said = small(&facts.texts).into_iter().chain(names.iter().cloned()).collect();
        Self { facts, known, maker: known.maker.map(str::to_lowercase), said, names }
    }

    /// What shows that a fact holds; none if it does not.
    fn holds(&self, fact: Fact) -> Option<String> {
        let facts = self.facts;
        let yes = |holds: bool| holds.then(String::new);
        match fact {
            Fact::Maker(makers) => {
                let maker = self.maker.as_ref()?;
                let is = makers.iter().any(|name| begins_a_word(maker, name));
                self.known.maker.filter(|_| is).map(str::to_owned)
            }
            Fact::Vendor(vendors) => {
                let vendor = facts.dhcp.as_ref()?.vendor.as_ref()?;
                vendors.iter().any(|start| vendor.starts_with(start)).then(|| vendor.clone())
            }
            Fact::Asks(options) => yes(facts.dhcp.as_ref()?.options.starts_with(options)),
            Fact::AsksAll(options) => {
                let asked = &facts.dhcp.as_ref()?.options;
                yes(options.iter().all(|option| asked.contains(option)))
            }
            Fact::Words(words) => {
                shown(&self.said, |text| words.iter().any(|word| begins_a_word(text, word)))
            }
            Fact::Name(starts) => {
                shown(&self.names, |name| starts.iter().any(|start| name.starts_with(start)))
            }
            Fact::Offers(kinds) => begun(&facts.offers, kinds),
            Fact::LooksFor(kinds) => begun(&facts.looks_for, kinds),
            Fact::NetBios(suffixes) => yes(facts.netbios.iter().any(|suffix| suffixes.contains(suffix))),
            Fact::Switches | Fact::Routes | Fact::AccessPoint | Fact::Telephone => {
                yes(says(facts.neighbour.as_ref()?, fact))
            }
            Fact::Syn(ttl, windows, options) => {
                let alike = |syn: &&Syn| {
                    let window = windows.is_empty() || windows.contains(&syn.window);
                    syn.ttl == ttl && syn.options == options && window
                };
                facts.syns.iter().find(alike).map(ToString::to_string)
            }
            Fact::Serves(ports) => ports_of(&facts.serves, TCP, ports),
            Fact::ServesUdp(ports) => ports_of(&facts.serves, UDP, ports),
            Fact::ServesAll(ports) => {
                let served = |port: &u16| facts.serves.contains(&Service { proto: TCP, port: *port });
                ports.iter().all(served).then(|| ports_of(&facts.serves, TCP, ports)).flatten()
            }
            Fact::Uses(ports) => ports_of(&facts.uses, TCP, ports),
            Fact::UsesUdp(ports) => ports_of(&facts.uses, UDP, ports),
            Fact::Carries => yes(self.known.carries),
            Fact::GivesAddresses => yes(facts.gives_addresses),
            Fact::MadeUp => yes(self.known.made_up),
        }
    }
}

/// Whether a device says so by LLDP or CDP. A telephone may switch too, for the PC behind it.
fn says(neighbour: &Neighbour, fact: Fact) -> bool {
    let Neighbour { bridge, router, access_point, phone, .. } = *neighbour;
    match fact {
        Fact::Switches => bridge && !phone && !access_point,
        Fact::Routes => router && !phone,
        Fact::AccessPoint => access_point,
        Fact::Telephone => phone,
        _ => false,
    }
}

/// The first text that is so in small letters.
fn shown(texts: &[(String, &str)], is: impl Fn(&str) -> bool) -> Option<String> {
    texts.iter().find(|(small, _)| is(small)).map(|(_, text)| (*text).to_owned())
}

/// The first that begins like one of these.
fn begun(kinds: &[String], starts: &[&str]) -> Option<String> {
    kinds.iter().find(|kind| starts.iter().any(|start| kind.starts_with(start))).cloned()
}

/// Whether `start` is in `text` where no letter or digit comes before it.
fn begins_a_word(text: &str, start: &str) -> bool {
    text.match_indices(start).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric())
    })
}

/// Those of the ports that are there, as `TCP 104, 11112`.
fn ports_of(services: &[Service], proto: u8, ports: &[u16]) -> Option<String> {
    let found: Vec<_> = services
        .iter()
        .filter(|service| service.proto == proto && ports.contains(&service.port))
        .map(|service| service.port.to_string())
        .collect();
    let name = if proto == TCP { "TCP" } else { "UDP" };
    (!found.is_empty()).then(|| format!("{name} {}", found.join(", ")))
}
