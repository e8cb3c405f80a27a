//! Classes of devices: who belongs to them, and how far Sekisho goes with them.

use std::collections::{BTreeMap, BTreeSet};

use sensor_core::policy::class::{Asks, Class, Criticality, MAX_CLASSES, MAX_MEMBERS};
use sensor_core::policy::{Level, Name, Target};
use sensor_core::settings::Settings;

use super::approve;
use super::item::{Item, Read, one_host, quoted};
use super::places::name;
use super::problem::Problem;

/// The keys of a class.
const CLASS_KEYS: [&str; 4] = ["members", "kind", "highest", "approve"];

/// How far it goes: the levels that are put on automatically, or none.
const HIGHEST: [(&str, Option<Level>); 4] = [
    ("alert", None),
    ("throttle", Some(Level::Throttle)),
    ("pin", Some(Level::Pin)),
    ("isolate", Some(Level::Isolate)),
];

/// One member as it is written.
#[derive(PartialEq)]
enum Member {
    Address(Target),
    Called(String),
}

/// The level of `item`, or `alert`: none.
pub fn highest(item: &Item) -> Read<Option<Level>> {
    item.choice(&HIGHEST)
}

/// Classes by name.
pub fn classes(item: &Item) -> Read<BTreeMap<Name, Class>> {
    let (mut classes, mut problems) = (BTreeMap::new(), Vec::new());
    for (text, value) in item.section()? {
        let entry = item.entry(text.get_ref(), value).like("[classes.ventilators]\nmembers = [\"10.0.0.7\"]");
        let read = name(&entry, text.get_ref()).and_then(|name| Ok((name, class(&entry, name)?)));
        match read {
            Ok((name, class)) => drop(classes.insert(name, class)),
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(twice(item, &classes));
    if classes.len() > MAX_CLASSES {
        problems.push(item.problem(format!("there are more than {MAX_CLASSES}"), "put some together"));
    }
    if problems.is_empty() { Ok(classes) } else { Err(problems) }
}

/// One class. Unless it says what it is, one that is called like a kind is of that kind.
fn class(entry: &Item, name: Name) -> Read<Class> {
    let called = Criticality::ALL.into_iter().find(|kind| kind.name() == name.as_str());
    let (mut kind, mut highest_given, mut members) = (called.unwrap_or_default(), None, Vec::new());
    let (mut asks, mut problems) = (Asks::default(), Vec::new());
    for (key, value) in entry.section()? {
        let item = entry.key(key.get_ref(), value);
        let read = match &**key.get_ref() {
            "members" => {
                item.like(r#"members = ["10.0.0.7", "MRI 2"]"#).list(member).map(|list| members = list)
            }
            "kind" => {
                let choices = Criticality::ALL.map(|kind| (kind.name(), kind));
                item.like(r#"kind = "life-critical""#).choice(&choices).map(|read| kind = read)
            }
            "highest" => {
                highest(&item.like(r#"highest = "pin""#)).map(|read| highest_given = Some((read, item)))
            }
            "approve" => approve::asks(&item.like(r#"approve = "isolate""#)).map(|read| asks = read),
            _ => item.wrong("is not a known key", format!("known here: {}", CLASS_KEYS.join(", "))),
        };
        problems.extend(read.err().into_iter().flatten());
    }
    if let Some((Some(level), item)) = &highest_given
        && kind == Criticality::LifeCritical
        && *level > kind.highest()
    {
        let hint = "give \"pin\" or less, or another kind: no life may depend on it";
        problems.push(item.problem("a life-critical device is pinned at most", hint));
    }
    if problems.is_empty() && members.is_empty() {
        problems.push(entry.problem("has no members", "give it members = [...]"));
    }
    if members.len() > MAX_MEMBERS {
        let hint = "name networks instead of addresses";
        problems.push(entry.problem(format!("has more than {MAX_MEMBERS} members"), hint));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut class = Class { approve: asks, ..Class::of_kind(kind) };
    if let Some((given, _)) = highest_given {
        class.highest = given;
    }
    for member in members {
        match member {
            Member::Address(target) => drop(class.members.insert(target)),
            Member::Called(name) => drop(class.names.insert(name)),
        }
    }
    Ok(class)
}

/// A MAC or IP address, a network, or a name of `[names]`.
fn member(item: &Item) -> Read<Member> {
    let text = item.text()?;
    if text.parse::<sensor_core::addr::Prefix>().is_ok() && text.contains('/') {
        let net = item.prefix()?;
        return Target::net(net).map(Member::Address).or_else(|error| item.wrong(error.to_string(), HINT));
    }
    match text.parse() {
        Ok(Target::Ip(ip)) => {
            one_host(ip).map(Target::Ip).map(Member::Address).or_else(|what| item.wrong(what, HINT))
        }
        Ok(Target::Mac(mac)) if mac.is_nobody() => {
            item.wrong(format!("{mac} is a broadcast, multicast or empty address"), HINT)
        }
        Ok(target @ Target::Mac(_)) => Ok(Member::Address(target)),
        _ if text.trim().is_empty() => item.wrong("is empty", HINT),
        _ => Ok(Member::Called(text.trim().to_lowercase())),
    }
}

const HINT: &str =
    "write a device's MAC or IP address, a network like \"10.1.0.0/16\", or a name that [names] gives";

/// Who is named in two classes at once.
fn twice(item: &Item, classes: &BTreeMap<Name, Class>) -> Vec<Problem> {
    let mut seen: BTreeMap<String, Name> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, class) in classes {
        for member in class.members.iter().map(ToString::to_string).chain(class.names.iter().cloned()) {
            if let Some(other) = seen.insert(member.clone(), *name) {
                let what = format!("{} is in both {other} and {name}", quoted(&member));
                problems.push(item.problem(what, "take it out of one of them"));
            }
        }
    }
    problems
}

/// The members that are called by a name nobody has, with their class.
pub fn unknown_names(settings: &Settings) -> Vec<(Name, String)> {
    let known: BTreeSet<String> = settings.names.values().map(|name| name.to_lowercase()).collect();
    let named =
        settings.classes.iter().flat_map(|(class, rules)| rules.names.iter().map(|name| (*class, name)));
    named.filter(|(_, name)| !known.contains(*name)).map(|(class, name)| (class, name.clone())).collect()
}
