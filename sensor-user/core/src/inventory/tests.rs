use proptest::prelude::*;

use super::cards::{CardError, Edit, MAX_KEYS, MAX_NOTE, MAX_WORDS};
use super::*;
use crate::identify::client::ClientId;
use crate::identify::dhcp::Dhcp;
use crate::identify::heard::{Heard, Said};
use crate::identify::{Identities, Known};
use crate::observation::{FlowSeen, Kind, Verdict};

fn local(n: u8) -> DeviceKey {
    DeviceKey::Local(Mac([2, 0, 0, 0, 0, n]))
}

fn card(id: DeviceId, name: &str) -> Card {
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    Card { id, keys: vec![local(id as u8)], name, ..Card::default() }
}

fn named(name: &str) -> Edit {
    Edit { name: Some(name.to_owned()), ..Edit::default() }
}

#[test]
fn what_a_card_cannot_say_is_refused() {
    let mut cards = Cards::default();
    cards.put(card(1, "MRI 2"));
    let long = |field, most| CardError::Long { field, most };
    let place = |text: String| Edit { place: Some(text), ..Edit::default() };
    let note = |text: String| Edit { note: Some(text), ..Edit::default() };
    let cases = [
        (named("MRI 2"), Some(CardError::Taken { name: "MRI 2".to_owned(), id: 1 })),
        (named("mri 2"), Some(CardError::Taken { name: "mri 2".to_owned(), id: 1 })),
        (named("12"), Some(CardError::Ambiguous("12".to_owned()))),
        (named("10.0.0.1"), Some(CardError::Ambiguous("10.0.0.1".to_owned()))),
        (named("02:00:00:00:00:01"), Some(CardError::Ambiguous("02:00:00:00:00:01".to_owned()))),
        (named("a\nb"), Some(CardError::Control("name"))),
        (named("a\u{202e}b"), Some(CardError::Control("name"))),
        (named(&"x".repeat(MAX_WORDS + 1)), Some(long("name", MAX_WORDS))),
        (place("x".repeat(MAX_WORDS + 1)), Some(long("place", MAX_WORDS))),
        (note("あ".repeat(MAX_NOTE)), None),
        (note("あ".repeat(MAX_NOTE + 1)), Some(long("note", MAX_NOTE))),
        (named("人工呼吸器 3"), None),
        (named(""), None),
    ];
    for (edit, expected) in cases {
        assert_eq!(cards.edited(&card(2, ""), &edit).err(), expected, "{edit:?}");
    }
    let edited = cards.edited(&card(2, ""), &named("  CT 1 ")).unwrap();
    assert_eq!(edited.name.as_deref(), Some("CT 1"), "without the spaces around it");
    assert_eq!(cards.edited(&cards.get(1).unwrap().clone(), &named("mri 2")).unwrap().id, 1, "its own name");
}

#[test]
fn a_card_is_found_by_all_it_has_and_by_nothing_it_had() {
    let mut cards = Cards::default();
    cards.put(card(1, "MRI 2"));
    cards.put(Card { keys: vec![local(9), local(10)], ..card(1, "CT 1") });
    let found = |cards: &Cards, key| cards.of(key).map(|card| card.id);
    assert_eq!([1, 9, 10].map(|n| found(&cards, local(n))), [None, Some(1), Some(1)]);
    assert_eq!((cards.called("mri 2"), cards.called("ct 1").map(|card| card.id)), (None, Some(1)));
    assert!(cards.remove(1).is_some());
    assert_eq!((found(&cards, local(9)), cards.called("CT 1")), (None, None));
    assert_eq!(cards.remove(1), None);
}

#[test]
fn of_two_that_are_one_the_first_goes_on_and_no_protection_is_lost() {
    let into = Card { place: Some("OR 1".to_owned()), ..card(1, "") };
    let other = Card {
        place: Some("store".to_owned()),
        criticality: Some(class::Criticality::LifeCritical),
        ..card(2, "ventilator")
    };
    let merged = Cards::merged(&into, &other).unwrap();
    assert_eq!((merged.id, &merged.keys[..]), (1, &[local(1), local(2)][..]));
    assert_eq!((merged.name.as_deref(), merged.place.as_deref()), (Some("ventilator"), Some("OR 1")));
    assert_eq!(merged.criticality, Some(class::Criticality::LifeCritical));
    let many = Card { keys: (0..MAX_KEYS as u8).map(|n| local(100 + n)).collect(), ..card(3, "") };
    assert_eq!(Cards::merged(&into, &many), Err(CardError::Keys));
}

proptest! {
    /// What is kept and taken up again is kept the same, whatever was heard.
    #[test]
    fn what_is_kept_is_taken_up_the_same(
        heard in prop::collection::vec((0u8..6, 0u8..12, any::<bool>(), 0u64..100), 1..60),
    ) {
        let settings = Settings::default();
        let (mut inventory, mut identities) = (Inventory::new(&settings), Identities::new(100));
        let mut now = Time::at(0);
        for (n, ip, arp, seconds) in heard {
            now = now.plus(seconds * crate::time::SECOND);
            let DeviceKey::Local(mac) = local(n) else { continue };
            let id = FlowId {
                src: IpAddr::from([10, 0, 0, ip]),
                dst: IpAddr::from([10, 0, 0, 100]),
                sport: 1,
                dport: 0,
                proto: if arp { 0 } else { 6 },
                kind: if arp { Kind::Arp } else { Kind::Ip },
                vlan: 0,
                port: n % 3,
            };
            let seen = FlowSeen {
                time: now, id, smac: mac, dmac: Mac([0xff; 6]), arp_sha: mac, vlan_inner: 0, ether_type: 0x800, window: 0,
                len: 60, ttl: 64, tcp_flags: 0, verdict: Verdict::Pass, rule_id: 0, inner: None,
            };
            inventory.see(&seen, &settings);
            let dhcp = Dhcp {
                client: mac,
                host_name: Some(format!("h{ip}")),
                client_id: ClientId::of_dhcp(&[0, ip + 1]),
                ..Dhcp::default()
            };
            let heard = Heard { time: now, port: n, vlan: 0, mac, ip: None, said: Said::Dhcp(dhcp) };
            let new = match arp {
                true => identities.hear(local(n), &heard),
                false => identities.served(local(n), &FlowId { dport: u16::from(ip), ..id }),
            };
            if new {
                inventory.note_identity(local(n));
                identities.told(local(n), Known::default());
            }
        }
        let ports = (0..3).map(|n| (n, format!("eth{n}").parse().unwrap())).collect();
        let kept = |inventory: &mut Inventory, identities: &Identities| {
            let saves = inventory.unsaved((now, true), &ports, identities, &settings);
            let devices = saves.into_iter().filter_map(|save| match save {
                crate::policy::Save::Device(kept) => Some(*kept),
                _ => None,
            });
            let mut devices: Vec<_> = devices.collect();
            devices.sort_by_key(|kept| kept.key);
            devices
        };
        let first = kept(&mut inventory, &identities);
        prop_assert_eq!(kept(&mut inventory, &identities), vec![], "nothing changed since");
        let (mut other, mut known) = (Inventory::new(&settings), Identities::new(100));
        other.resume(first.clone(), Vec::new(), &mut known, &settings);
        other.place(&ports, &mut known);
        other.devices.values_mut().for_each(|device| device.changed = true);
        prop_assert_eq!(kept(&mut other, &known), first);
    }
}
