//! What kind of device is it, and where: what the engine makes of what devices say, serve and use.

use sensor_core::event::DeviceSeen;
use sensor_core::identify;
use sensor_core::identify::client::ClientId;
use sensor_core::identify::dhcp::{Dhcp, Dhcp6};
use sensor_core::identify::heard::{Heard, Said};
use sensor_core::identify::neighbour::Neighbour;
use sensor_core::snapshot::DeviceView;
use sensor_core::time::MINUTE;

use crate::*;

/// The makers of the hosts under test: all have one.
fn made_by(maker: &str) -> Settings {
    let mut makers = identify::makers::Makers::default();
    makers.enter(24, u64::from(mac(0).oui()), maker);
    Settings { makers, ..Settings::default() }
}

impl Lan {
    fn hear(&mut self, n: u8, said: Said) {
        let (port, vlan) = self.place;
        let heard = Heard { time: self.now, port, vlan, mac: mac(n), ip: None, said };
        self.engine.hear(&heard, &mut self.out);
    }

    /// Host n asks host m for a service, which answers with these flags.
    fn ask(&mut self, n: u8, m: u8, port: u16, flags: u8) {
        self.sport += 1;
        let sport = self.sport;
        self.see((mac(n), mac(m)), (host(n), host(m)), (sport, port), TCP, SYN);
        self.see((mac(m), mac(n)), (host(m), host(n)), (port, sport), TCP, flags);
        self.pass(SECOND);
    }

    /// Host n asks by DHCP under this identifier (option 61).
    pub(crate) fn asks_as(&mut self, n: u8, id: &[u8]) {
        let client_id = ClientId::of_dhcp(id);
        self.hear(n, Said::Dhcp(Dhcp { kind: 1, client: mac(n), client_id, ..Dhcp::default() }));
    }

    /// With whom host n is perhaps one.
    fn perhaps(&self, n: u8) -> Vec<Mac> {
        self.device(n).perhaps.into_iter().map(|perhaps| perhaps.device.mac).collect()
    }

    pub(crate) fn device(&self, n: u8) -> DeviceView {
        self.engine.snapshot(self.now).devices.into_iter().find(|device| device.mac == mac(n)).unwrap()
    }

    fn kind(&self, n: u8) -> Option<identify::Kind> {
        self.device(n).label.map(|label| label.kind)
    }

    /// What was told of host n being another kind.
    fn relabelled(&self, n: u8) -> Vec<DeviceSeen> {
        let told = self.out.events.iter().filter_map(|timed| match &timed.event {
            Event::Device(seen) if seen.relabelled && seen.device.mac == mac(n) => Some(seen.clone()),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn what_is_answered_counts_as_served_and_what_is_refused_does_not() {
    let mut lan = Lan::new(made_by("Canon Medical Systems Corporation"));
    lan.populate(1..=4);
    lan.ask(2, 1, 104, SYN_ACK);
    lan.ask(2, 3, 9_100, RST_ACK);
    let served = lan.device(1).label.unwrap();
    assert!(served.reasons.contains(&"serves DICOM (TCP 104)".to_owned()), "{served:?}");
    let used = lan.device(2).label.unwrap();
    assert_eq!(used.kind, identify::Kind::Modality);
    assert!(
        used.confidence > 0.8 && used.reasons.contains(&"sends by DICOM (TCP 104)".to_owned()),
        "{used:?}"
    );
    let refused = lan.device(3).label.unwrap();
    assert!(!refused.reasons.iter().any(|reason| reason.contains("9100")), "{refused:?}");
}

#[test]
fn a_device_that_turns_out_to_be_something_is_told_once() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=3);
    assert_eq!(lan.kind(1), None);
    for _ in 0..3 {
        lan.ask(2, 1, 9_100, SYN_ACK);
        lan.ask(3, 1, 631, SYN_ACK);
    }
    let told = lan.relabelled(1);
    assert_eq!(
        told.iter().map(|seen| seen.label.as_ref().unwrap().kind).collect::<Vec<_>>(),
        [identify::Kind::Printer]
    );
    assert!(!told[0].new && told[0].port == 1, "{told:?}");
}

#[test]
fn what_was_found_out_of_a_device_is_known_after_a_restart_and_not_told_again() {
    let ports = || [(1, "eth1".parse().unwrap()), (2, "eth2".parse().unwrap())].into();
    let mut lan = Lan::new(Settings::default());
    lan.engine.set_ports(ports());
    lan.populate(1..=3);
    let neighbour = Neighbour { system: Some("sw-3f".to_owned()), bridge: true, ..Neighbour::default() };
    lan.hear(9, Said::Neighbour(neighbour.clone()));
    lan.ask(2, 1, 9_100, SYN_ACK);
    let name = identify::netbios::NetBios { name: "LP-3F".to_owned(), suffix: 0, group: false };
    lan.hear(1, Said::NetBios(name));
    lan.pass(2 * MINUTE);
    // Heard for a minute, it is kept; what is found out then is, too, with the next round.
    lan.hear(9, Said::Neighbour(Neighbour { port: Some("Gi0/1".to_owned()), ..neighbour }));
    (1..=3).for_each(|n| lan.arp(n, 254));
    lan.pass(MINUTE);
    lan.ask(3, 1, 631, SYN_ACK);
    lan.pass(MINUTE);
    let (before, told) = (lan.device(1), lan.relabelled(1).len());
    assert_eq!((before.label.as_ref().map(|label| label.kind), told), (Some(identify::Kind::Printer), 1));
    assert_eq!(before.label.as_ref().unwrap().reasons.len(), 1, "{before:?}");
    assert!(before.uplink.is_some());
    let mut again = lan.restarted(|settings| settings);
    again.engine.set_ports(ports());
    let after = again.device(1);
    assert_eq!((&after.label, &after.names, &after.uplink), (&before.label, &before.names, &before.uplink));
    again.arp(1, 254);
    again.ask(2, 1, 515, SYN_ACK);
    assert_eq!(again.relabelled(1), [], "it was told before the restart");
    again.pass(HOUR);
    assert_eq!(again.device(1).uplink, None, "a switch that is not heard again is gone");
}

#[test]
fn a_switch_is_known_by_its_word_alone_and_says_where_others_are() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=2);
    let neighbour = Neighbour {
        system: Some("sw-3f".to_owned()),
        port: Some("Gi0/13".to_owned()),
        bridge: true,
        ..Neighbour::default()
    };
    let said = || Said::Neighbour(neighbour.clone());
    lan.hear(9, said());
    assert_eq!(lan.kind(9), Some(identify::Kind::Switch));
    let new = lan.out.events.iter().filter(|timed| {
        matches!(&timed.event, Event::Device(seen) if seen.new && seen.device.mac == mac(9) && seen.label.is_some())
    });
    assert_eq!(new.count(), 1, "told as new");
    assert_eq!(lan.device(1).uplink, Some(neighbour.clone()));
    lan.place = (2, 0);
    lan.populate(4..=4);
    assert_eq!(lan.device(4).uplink, None, "at another port");
    lan.place = (1, 0);
    for _ in 0..100 {
        lan.pass(MINUTE);
        lan.hear(9, said());
    }
    assert_eq!(lan.device(1).uplink, Some(neighbour.clone()), "as long as it is heard");
    lan.pass(HOUR);
    assert_eq!(lan.device(1).uplink, None, "no longer");
}

#[test]
fn what_a_router_passes_on_is_not_its_own() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=3);
    // Four hosts behind host 9, which use printers.
    for behind in 21..=24 {
        lan.sport += 1;
        let sport = lan.sport;
        lan.see((mac(9), mac(1)), (host(behind), host(1)), (sport, 9_100), TCP, SYN);
        lan.see((mac(1), mac(9)), (host(1), host(behind)), (9_100, sport), TCP, SYN_ACK);
        lan.pass(SECOND);
    }
    let router = lan.device(9);
    let label = router.label.unwrap();
    assert_eq!((router.gateway, label.kind), (true, identify::Kind::Router));
    assert!(!label.reasons.iter().any(|reason| reason.contains("9100")), "{label:?}");
    let syn =
        identify::syn::Syn { ttl: 128, options: vec![2, 1, 3, 1, 1, 4], ..identify::syn::Syn::default() };
    let heard =
        Heard { time: lan.now, port: 1, vlan: 0, mac: mac(9), ip: Some(host(30)), said: Said::Syn(syn) };
    lan.engine.hear(&heard, &mut lan.out);
    assert_eq!(lan.device(9).label, Some(label), "of a host behind it that is not known yet");
}

#[test]
fn what_devices_say_again_and_again_is_noted_once() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=1);
    lan.engine.take_notes();
    let said = || {
        let mdns =
            identify::mdns::Mdns { offers: vec!["_ipp._tcp".to_owned()], ..identify::mdns::Mdns::default() };
        Said::Mdns(mdns)
    };
    lan.hear(1, said());
    let first = lan.engine.fetch_notes().unwrap().bytes.len();
    for _ in 0..10 {
        lan.hear(1, said());
    }
    assert!(first > 0 && lan.engine.fetch_notes().unwrap().bytes.is_empty());
    assert_eq!(lan.kind(1), Some(identify::Kind::Printer));
}

#[test]
fn two_that_ask_under_one_identifier_are_perhaps_one_and_only_a_person_says_so() {
    let mut lan = Lan::new(decisive());
    lan.populate(1..=5);
    let duid = [0, 4, 1, 2, 3, 4];
    let of_card = |card: u8| [&[255, 0, 0, 0, card][..], &duid].concat();
    lan.asks_as(1, &of_card(1));
    assert_eq!(lan.perhaps(1), []);
    lan.asks_as(2, &of_card(2));
    lan.asks_as(3, &[1, 0, 0x1b, 0x21, 0, 0, 3]);
    assert_eq!((lan.perhaps(1), lan.perhaps(2), lan.perhaps(3)), (vec![mac(2)], vec![mac(1)], vec![]));
    assert_eq!(lan.device(1).perhaps[0].client_id, "000401020304");
    // By IPv6 too; and whoever borrows the hardware address of another.
    lan.hear(4, Said::Dhcp6(Dhcp6 { duid: ClientId::of_duid(&duid), ..Dhcp6::default() }));
    lan.asks_as(5, &[1, 0, 0x1b, 0x21, 0, 0, 3]);
    assert_eq!((lan.perhaps(4), lan.perhaps(3)), (vec![mac(1), mac(2)], vec![mac(5)]));
    // It is evidence alone: a borrower's isolation is its own.
    let entry = lan.add(block_device("10.0.0.5"));
    assert_eq!(entry.targets, [Target::Mac(mac(5)), Target::Ip(host(5))]);
    let merge = Command::Merge("10.0.0.1".to_owned(), "10.0.0.2".to_owned(), "root".to_owned());
    lan.engine.command(lan.now, merge, &mut lan.out).unwrap();
    assert_eq!((lan.perhaps(1), lan.perhaps(4)), (vec![mac(4)], vec![mac(1)]), "the two are one now");
    lan.pass(2 * MINUTE);
    (1..=5).for_each(|n| lan.arp(n, 254));
    lan.pass(MINUTE);
    let again = lan.restarted(|settings| settings);
    assert_eq!((again.perhaps(1), again.perhaps(3)), (vec![mac(4)], vec![mac(5)]), "also after a restart");
}

#[test]
fn two_that_a_person_says_are_two_are_no_longer_taken_for_one_until_they_are_merged() {
    let mut lan = Lan::new(decisive());
    lan.populate(1..=3);
    (1..=3).for_each(|n| lan.asks_as(n, &[0, b'x']));
    let words = |n, m| (host(n).to_string(), host(m).to_string(), "root".to_owned());
    let carry = |lan: &mut Lan, command| lan.engine.command(lan.now, command, &mut lan.out);
    let distinct = |n, m| {
        let (one, other, by) = words(n, m);
        Command::Distinct(one, other, by)
    };
    assert!(matches!(carry(&mut lan, distinct(1, 2)), Ok(Reply::Described(devices)) if devices.len() == 1));
    assert_eq!(carry(&mut lan, distinct(1, 2)), Ok(Reply::Described(vec![])), "it is said already");
    assert!(matches!(carry(&mut lan, distinct(1, 1)), Err(CommandError::SameDevice(_))));
    lan.pass(2 * MINUTE);
    (1..=3).for_each(|n| lan.arp(n, 254));
    lan.pass(MINUTE);
    let mut lan = lan.restarted(|settings| settings);
    assert_eq!([1, 2, 3].map(|n| lan.perhaps(n)), [vec![mac(3)], vec![mac(3)], vec![mac(1), mac(2)]]);
    let (into, other, by) = words(2, 1);
    carry(&mut lan, Command::Merge(into, other, by)).unwrap();
    let cards = lan.engine.snapshot(lan.now).cards;
    assert!(cards.iter().all(|(card, _)| card.distinct.is_empty()), "{cards:?}");
    carry(&mut lan, Command::Split(host(1).to_string(), "root".to_owned())).unwrap();
    assert_eq!(lan.perhaps(1), [mac(3)], "they are two again");
}

#[test]
fn an_identifier_that_many_have_is_that_of_a_disk_image_and_a_gateways_is_nobodys() {
    let mut lan = Lan::new(Settings { gateways: [mac(9)].into(), ..Settings::default() });
    lan.populate(1..=9);
    let image = [0, b'p', b'c'];
    (1..=4).for_each(|n| lan.asks_as(n, &image));
    assert_eq!(lan.perhaps(1), [mac(2), mac(3), mac(4)]);
    lan.asks_as(5, &image);
    assert_eq!(lan.perhaps(1), []);
    lan.asks_as(8, &[0, b'x']);
    lan.asks_as(9, &[0, b'x']);
    assert_eq!((lan.perhaps(8), lan.perhaps(9)), (vec![], vec![]));
}
