//! The sections whose keys are names of the user's own: segments and allow lists.

use std::collections::BTreeMap;

use sensor_core::detect;
use sensor_core::forbid::{Forbid, MAX_FORBID, Whom};
use sensor_core::policy::{Allow, MAX_LIST, MAX_LISTS, MAX_VLAN, Name, Service};
use sensor_core::settings::{MAX_SEGMENTS, Off, ReflexMode, Segment, Settings};

use super::item::{Item, Read, quoted};
use super::problem::Problem;

/// One key of a segment: its name, and where its value goes.
type SegmentKey = (&'static str, fn(&mut Segment, &Item) -> Read<()>);

/// The keys of a segment.
const SEGMENT_KEYS: [SegmentKey; 5] = [
    ("ports", |segment, item| {
        segment.ports = item.like(r#"ports = ["eth1", "eth2"]"#).list(port)?;
        Ok(())
    }),
    ("vlans", |segment, item| {
        let item = item.like("vlans = [20, 21]");
        segment.vlans =
            item.list(|item| item.count(1..=u64::from(MAX_VLAN)))?.into_iter().map(|id| id as u16).collect();
        Ok(())
    }),
    ("reflex", |segment, item| {
        segment.reflex = Some(reflex_mode(&item.like(r#"reflex = "enforce""#))?);
        Ok(())
    }),
    ("reflex_per_second", |segment, item| {
        segment.per_second = Some(item.like("reflex_per_second = 5").count(1..=1_000_000)? as u32);
        Ok(())
    }),
    ("reflex_burst", |segment, item| {
        segment.burst = Some(item.like("reflex_burst = 100").count(1..=1_000_000)? as u32);
        Ok(())
    }),
];

/// What is done about hosts over their budget.
pub fn reflex_mode(item: &Item) -> Read<ReflexMode> {
    item.choice(&[("off", ReflexMode::Off), ("count", ReflexMode::Count), ("enforce", ReflexMode::Enforce)])
}

/// A name of the user's own.
pub fn name(item: &Item, text: &str) -> Read<Name> {
    text.parse().or_else(|_| {
        item.wrong(
            format!("{} is not a name", quoted(text)),
            "names have up to 31 letters, digits and signs, no spaces and no /",
        )
    })
}

fn port(item: &Item) -> Read<Name> {
    name(item, item.text()?)
}

/// Segments by name.
pub fn segments(item: &Item) -> Read<BTreeMap<Name, Segment>> {
    let (mut segments, mut problems) = (BTreeMap::new(), Vec::new());
    for (text, value) in item.section()? {
        let entry = item.entry(text.get_ref(), value).like("[segments.radiology]\nports = [\"eth1\"]");
        let mut segment = Segment::default();
        let read = name(&entry, text.get_ref()).and_then(|name| Ok((name, keys(&entry, &mut segment)?)));
        match read {
            Ok((name, ())) => drop(segments.insert(name, segment)),
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(twice(item, &segments));
    if segments.len() > MAX_SEGMENTS {
        problems.push(item.problem(format!("there are more than {MAX_SEGMENTS}"), "put some together"));
    }
    if problems.is_empty() { Ok(segments) } else { Err(problems) }
}

/// Reads the keys of one segment.
fn keys(entry: &Item, segment: &mut Segment) -> Read<()> {
    let mut problems = Vec::new();
    for (key, value) in entry.section()? {
        let item = entry.key(key.get_ref(), value);
        let known = SEGMENT_KEYS.iter().find(|(known, _)| known == key.get_ref());
        let read = match known {
            Some((_, set)) => set(segment, &item),
            None => item
                .wrong("is not a known key", format!("known here: {}", SEGMENT_KEYS.map(|k| k.0).join(", "))),
        };
        problems.extend(read.err().into_iter().flatten());
    }
    if problems.is_empty() && segment.ports.is_empty() && segment.vlans.is_empty() {
        return entry.wrong("has neither ports nor VLANs", "give it ports = [...], vlans = [...], or both");
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// What is in two segments at once.
fn twice(item: &Item, segments: &BTreeMap<Name, Segment>) -> Vec<Problem> {
    let mut seen = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, segment) in segments {
        let ports = segment.ports.iter().map(|port| format!("port {port}"));
        for place in ports.chain(segment.vlans.iter().map(|vlan| format!("VLAN {vlan}"))) {
            if let Some(other) = seen.insert(place.clone(), name) {
                problems.push(
                    item.problem(
                        format!("{place} is in both {other} and {name}"),
                        "take it out of one of them",
                    ),
                );
            }
        }
    }
    problems
}

/// What is forbidden.
pub fn forbid(item: &Item) -> Read<Vec<Forbid>> {
    let rules = item.list(rule)?;
    if rules.len() > MAX_FORBID {
        return item.wrong(format!("there are more than {MAX_FORBID} rules"), "put some together");
    }
    Ok(rules)
}

fn rule(item: &Item) -> Read<Forbid> {
    let (mut rule, mut problems) =
        (Forbid { from: Whom::Anybody, to: Whom::Anybody, service: None }, Vec::new());
    let table = item.section()?;
    for (key, value) in table {
        let item = item.key(key.get_ref(), value);
        let read = match key.get_ref().as_ref() {
            "from" => whom(&item).map(|from| rule.from = from),
            "to" => whom(&item).map(|to| rule.to = to),
            "service" => service(&item).map(|service| rule.service = service),
            _ => item.wrong("is not a known key", "known here: from, to, service"),
        };
        problems.extend(read.err().into_iter().flatten());
    }
    if problems.is_empty() && rule == (Forbid { from: Whom::Anybody, to: Whom::Anybody, service: None }) {
        return item.wrong("forbids everything to everybody", "give it from, to or service, or two of them");
    }
    if problems.is_empty() { Ok(rule) } else { Err(problems) }
}

fn whom(item: &Item) -> Read<Whom> {
    let text = item.text()?;
    text.parse().or_else(|_| {
        item.wrong(
            format!("{} is nobody", quoted(text)),
            "write \"any\", \"inside\", \"outside\", a segment, or a network like \"10.0.0.0/8\"",
        )
    })
}

fn service(item: &Item) -> Read<Option<Service>> {
    match item.text()? {
        "any" => Ok(None),
        text => match Forbid::service(text) {
            Some(service) => Ok(Some(service)),
            None => item.wrong(
                format!("{} is no service", quoted(text)),
                "write \"any\", or like \"tcp/445\", \"udp/161\", \"icmp\"",
            ),
        },
    }
}

/// What stands for all segments, and what is in none.
const EVERYWHERE: &str = "everywhere";

/// Where detectors are switched off, by the name of the detector.
pub fn off(item: &Item) -> Read<BTreeMap<&'static str, Off>> {
    let (mut off, mut problems) = (BTreeMap::new(), Vec::new());
    for (text, value) in item.section()? {
        let entry = item.entry(text.get_ref(), value);
        let known = detect::names().find(|known| known == text.get_ref());
        let read = match known {
            Some(detector) => entry.list(segment).map(|places| (detector, places)),
            None => entry.wrong(
                "is not a detector",
                format!("those there are: {}", detect::names().collect::<Vec<_>>().join(", ")),
            ),
        };
        match read {
            Ok((detector, places)) if places.contains(&None) => {
                off.insert(detector, Off::Everywhere);
            }
            Ok((detector, places)) if !places.is_empty() => {
                off.insert(detector, Off::In(places.into_iter().flatten().collect()));
            }
            // An empty list switches nothing off.
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(off) } else { Err(problems) }
}

/// The name of a segment; none for all of them.
fn segment(item: &Item) -> Read<Option<Name>> {
    match item.text()? {
        EVERYWHERE => Ok(None),
        text => name(item, text).map(Some),
    }
}

/// Segments that are named elsewhere, and that there are not: the key of the list, the place in it, the segment.
pub fn unknown_segments(settings: &Settings) -> impl Iterator<Item = (&'static str, String, Name)> {
    let named = settings.detectors_off.iter().flat_map(|(detector, off)| {
        let names = if let Off::In(names) = off { names.iter().copied().collect() } else { Vec::new() };
        names.into_iter().map(|name| ("detect.off", format!("detect.off.{}", quoted(detector)), name))
    });
    let forbidden = settings.forbid.iter().enumerate().flat_map(|(index, rule)| {
        rule.segments().map(move |name| ("forbid", format!("forbid[{index}]"), name))
    });
    named.chain(forbidden).filter(|(_, _, name)| !settings.segments.contains_key(name))
}

/// Allow lists by name.
pub fn allow(item: &Item) -> Read<BTreeMap<Name, Vec<Allow>>> {
    let (mut lists, mut problems) = (BTreeMap::new(), Vec::new());
    for (text, value) in item.section()? {
        let entry = item.entry(text.get_ref(), value);
        let read = name(&entry, text.get_ref()).and_then(|name| Ok((name, entry.list(line)?)));
        match read {
            Ok((_, lines)) if lines.len() > MAX_LIST => {
                problems.push(entry.problem(format!("has more than {MAX_LIST} entries"), "allow less"));
            }
            Ok((name, lines)) => drop(lists.insert(name, lines.into_iter().flatten().collect())),
            Err(more) => problems.extend(more),
        }
    }
    if lists.len() > MAX_LISTS {
        problems.push(item.problem(format!("there are more than {MAX_LISTS} lists"), "put some together"));
    }
    if problems.is_empty() { Ok(lists) } else { Err(problems) }
}

fn line(item: &Item) -> Read<Vec<Allow>> {
    Allow::line(item.text()?).or_else(|what| {
        item.wrong(
            what,
            "write \"arp\", \"dhcp\", \"dns 10.0.0.1\", \"10.0.0.1\", \"udp/123\", \"tcp/104 10.0.0.1\" or \
             \"serve tcp/104 10.0.0.1\"",
        )
    })
}
