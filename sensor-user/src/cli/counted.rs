//! Devices as people count them: several addresses can be one, by word of a person or by evidence.
//!
//! The daemon tells of each address by itself, for each is held, spared and judged by itself where it is evidence alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::{DeviceInfo, OneInfo};

/// A device as it is counted.
pub struct Counted {
    /// What there is to say of all its addresses together, by its number.
    pub info: DeviceInfo,
    /// Its MAC addresses, the one known first before the others.
    pub macs: Vec<String>,
    /// The numbers of its addresses.
    pub ids: BTreeSet<u64>,
    /// The MAC addresses that are held, if others of it are not.
    pub held: Vec<String>,
}

/// The number by which a device is counted.
pub fn number(info: &DeviceInfo) -> u64 {
    info.one_by_evidence.as_ref().map_or(info.device.id, |one| one.number)
}

/// The DHCP client identifier by which several are one; none if a person said so, or it is one alone.
pub fn evidence(info: &DeviceInfo) -> Option<&str> {
    info.one_by_evidence.as_ref().map(|OneInfo { dhcp_client_id, .. }| dhcp_client_id.as_str())
}

/// The devices of a list, in the order in which they come in it.
pub fn counted(devices: &[DeviceInfo]) -> Vec<Counted> {
    let mut places: BTreeMap<u64, usize> = BTreeMap::new();
    let mut all: Vec<Vec<&DeviceInfo>> = Vec::new();
    for info in devices {
        let at = *places.entry(number(info)).or_insert(all.len());
        match all.get_mut(at) {
            Some(addresses) => addresses.push(info),
            None => all.push(vec![info]),
        }
    }
    all.into_iter().filter_map(one).collect()
}

/// One device of several addresses.
fn one(mut addresses: Vec<&DeviceInfo>) -> Option<Counted> {
    // The one by whose number it is counted first.
    addresses.sort_by_key(|info| info.device.id);
    let mut info = (*addresses.first()?).clone();
    // Where it was heard last it is.
    let here = *addresses.iter().rev().max_by_key(|info| info.last_seen)?;
    info.more_ips = addresses.iter().map(|info| info.more_ips).sum();
    info.first_seen = addresses.iter().filter_map(|info| info.first_seen).min();
    info.last_seen = here.last_seen;
    (info.port, info.vlan, info.segment) = (here.port.clone(), here.vlan, here.segment.clone());
    (info.switch, info.kind) = (here.switch.clone(), here.kind.clone().or(info.kind));
    (info.destinations, info.usual_destinations) = (here.destinations, here.usual_destinations);
    let (mut macs, mut held) = (Vec::new(), Vec::new());
    for other in &addresses {
        let (device, card) = (&other.device, &other.card);
        add(&mut macs, [&device.mac]);
        add(&mut held, other.block.map(|_| &device.mac));
        add(&mut info.device.ips, &device.ips);
        add(&mut info.names, &other.names);
        let perhaps = other.perhaps_same.iter().filter(|perhaps| {
            !addresses.iter().any(|own| own.device.id == perhaps.device.id)
                && !info.perhaps_same.iter().any(|told| told.device.id == perhaps.device.id)
        });
        let perhaps: Vec<_> = perhaps.cloned().collect();
        info.perhaps_same.extend(perhaps);
        let fill =
            |mine: &mut Option<String>, theirs: &Option<String>| *mine = mine.take().or(theirs.clone());
        fill(&mut info.device.name, &device.name);
        fill(&mut info.card.place, &card.place);
        fill(&mut info.card.owner, &card.owner);
        fill(&mut info.card.note, &card.note);
        // Who borrows an identifier must not be approved with its owner.
        info.card.approved &= card.approved;
        info.gateway |= other.gateway;
        info.protected |= other.protected;
        info.block = info.block.or(other.block);
    }
    if held.len() == macs.len() {
        held.clear();
    }
    let ids = addresses.iter().map(|info| info.device.id).collect();
    Some(Counted { info, macs, ids, held })
}

fn add<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for text in more {
        if !list.contains(text) {
            list.push(text.clone());
        }
    }
}
