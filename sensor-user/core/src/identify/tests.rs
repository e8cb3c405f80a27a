use proptest::prelude::*;
use sensor_ebpf::ABI;
use sensor_ebpf::heard::{
    HEARD_BYTES, HEARD_DHCP, HEARD_DHCP6, HEARD_KINDS, HEARD_MDNS, HEARD_NEIGHBOUR, HEARD_NETBIOS,
    HEARD_SSDP, HEARD_SYN, HeardHead,
};

use super::facts::{Asks, Facts, Service};
use super::heard::{Heard, Said};
use super::judge::{ALONE, Known, judge};
use super::kind::Kind;
use super::neighbour::Neighbour;
use super::syn::Syn;
use super::{Identities, dhcp, mdns, neighbour, netbios, ssdp, syn};
use crate::addr::Mac;
use crate::flow::{TCP, UDP};
use crate::inventory::DeviceKey;
use crate::time::{HOUR, Time};

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn serves(proto: u8, ports: &[u16]) -> Vec<Service> {
    ports.iter().map(|port| Service { proto, port: *port }).collect()
}

fn maker(maker: &str) -> Known<'_> {
    Known { maker: Some(maker), ..Known::default() }
}

fn windows() -> Option<Asks> {
    Some(Asks { options: vec![1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119], vendor: Some("MSFT 5.0".into()) })
}

/// Devices of a hospital, of which there are no captures: what each is known to do, and what it is to be taken for.
#[test]
fn the_devices_of_a_hospital_are_told_apart() {
    let phone = Neighbour { phone: true, bridge: true, ..Neighbour::default() };
    let switch = Neighbour { bridge: true, router: true, ..Neighbour::default() };
    let none = Facts::default;
    let cases: [(&str, Facts, Known<'_>, Kind); 21] = [
        (
            "a CT on Windows",
            Facts { dhcp: windows(), uses: serves(TCP, &[104]), ..none() },
            maker("Canon Medical Systems Corporation"),
            Kind::Modality,
        ),
        (
            "an ultrasound",
            Facts { uses: serves(TCP, &[11_112]), serves: serves(TCP, &[104]), ..none() },
            maker("FUJIFILM Corporation"),
            Kind::Modality,
        ),
        (
            "a PACS",
            Facts {
                serves: serves(TCP, &[104, 443]),
                uses: serves(TCP, &[104]),
                names: texts(&["PACS01"]),
                ..none()
            },
            maker("Dell Inc."),
            Kind::Pacs,
        ),
        (
            "an interface engine",
            Facts { serves: serves(TCP, &[2_575]), ..none() },
            maker("VMware, Inc."),
            Kind::Hl7,
        ),
        ("a pump", none(), maker("TERUMO CORPORATION"), Kind::InfusionPump),
        (
            "a patient monitor",
            Facts { uses: serves(TCP, &[2_575]), ..none() },
            maker("NIHON KOHDEN CORPORATION"),
            Kind::PatientMonitor,
        ),
        (
            "a printer",
            Facts { serves: serves(TCP, &[9_100, 631]), offers: texts(&["_ipp._tcp"]), ..none() },
            maker("RICOH COMPANY, LTD."),
            Kind::Printer,
        ),
        (
            "a printer of a PC maker",
            Facts { serves: serves(TCP, &[9_100]), ..none() },
            maker("Hewlett Packard"),
            Kind::Printer,
        ),
        (
            "a telephone",
            Facts { neighbour: Some(phone), uses: serves(TCP, &[2_000]), ..none() },
            maker("Cisco Systems, Inc"),
            Kind::Phone,
        ),
        (
            "a camera",
            Facts { serves: serves(TCP, &[554, 80]), ..none() },
            maker("Axis Communications AB"),
            Kind::Camera,
        ),
        ("a controller", Facts { serves: serves(TCP, &[102]), ..none() }, maker("Siemens AG"), Kind::Plc),
        (
            "an air conditioner",
            Facts { serves: serves(UDP, &[47_808]), ..none() },
            maker("DAIKIN INDUSTRIES,LTD."),
            Kind::Building,
        ),
        (
            "a NAS",
            Facts { serves: serves(TCP, &[445, 5_000]), offers: texts(&["_smb._tcp"]), ..none() },
            maker("Synology Incorporated"),
            Kind::Nas,
        ),
        (
            "a domain controller",
            Facts { serves: serves(TCP, &[88, 389, 445, 464]), ..none() },
            maker("Dell Inc."),
            Kind::DomainController,
        ),
        (
            "a hypervisor",
            Facts { serves: serves(TCP, &[443, 902]), ..none() },
            maker("Super Micro Computer, Inc."),
            Kind::Hypervisor,
        ),
        (
            "a PC",
            Facts { dhcp: windows(), uses: serves(TCP, &[88, 445]), ..none() },
            maker("Dell Inc."),
            Kind::Pc,
        ),
        (
            "a server",
            Facts { serves: serves(TCP, &[1_433, 3_389]), ..none() },
            maker("Fujitsu Limited"),
            Kind::Server,
        ),
        (
            "a smartphone",
            Facts { uses: serves(TCP, &[5_223]), looks_for: texts(&["_homekit._tcp"]), ..none() },
            Known { made_up: true, ..Known::default() },
            Kind::Mobile,
        ),
        (
            "a router",
            Facts { gives_addresses: true, ..none() },
            Known { carries: true, ..maker("YAMAHA CORPORATION") },
            Kind::Router,
        ),
        (
            "a switch",
            Facts { neighbour: Some(switch), ..none() },
            maker("Allied Telesis, Inc."),
            Kind::Switch,
        ),
        (
            "an access point",
            Facts { uses: serves(UDP, &[5_246]), ..none() },
            maker("Aruba, a Hewlett Packard Enterprise Company"),
            Kind::AccessPoint,
        ),
    ];
    for (name, facts, known, expected) in cases {
        let label = judge(&facts, known);
        assert_eq!(label.as_ref().map(|label| label.kind), Some(expected), "{name}: {label:?}");
    }
}

#[test]
fn of_what_nothing_is_known_nothing_is_said() {
    assert_eq!(judge(&Facts::default(), Known::default()), None);
    assert_eq!(judge(&Facts::default(), maker("Nobody's Works")), None);
    let web = Facts { serves: serves(TCP, &[443]), ..Facts::default() };
    assert_eq!(judge(&web, Known::default()), None);
}

#[test]
fn nobody_is_sure_by_one_witness() {
    let names =
        Facts { offers: texts(&["_ipp._tcp", "_printer._tcp"]), serves: Vec::new(), ..Facts::default() };
    let one = judge(&names, Known::default()).unwrap();
    assert!(one.confidence <= ALONE, "{one:?}");
    let two = judge(&Facts { serves: serves(TCP, &[9_100]), ..names }, Known::default()).unwrap();
    assert!(two.confidence > 0.95, "{two:?}");
    let expected = ["announces that it prints or scans (_ipp._tcp)", "serves printing (TCP 9100)"];
    assert_eq!(two.reasons, expected);
}

#[test]
fn a_kind_is_told_once_and_another_again_but_not_without_end() {
    let mut identities = Identities::new(8);
    let key = DeviceKey::Local(Mac([2, 0, 0, 0, 0, 1]));
    let known = maker("RICOH COMPANY, LTD.");
    assert_eq!(identities.news(key, known).map(|label| label.kind), Some(Kind::Printer));
    assert_eq!(identities.news(key, known), None);
    let makers = ["TERUMO CORPORATION", "RICOH COMPANY, LTD."];
    let told = (0..100).filter(|at| identities.news(key, maker(makers[at % 2])).is_some()).count();
    assert_eq!(told, 7);
}

#[test]
fn a_switch_is_where_its_port_is_until_it_is_silent() {
    let mut identities = Identities::new(8);
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let neighbour = Neighbour { system: Some("sw-3f".into()), bridge: true, ..Neighbour::default() };
    let said = Said::Neighbour(neighbour.clone());
    let heard = Heard { time: Time::at(HOUR), port: 2, vlan: 0, mac, ip: None, said };
    identities.hear(DeviceKey::Local(mac), &heard);
    assert_eq!(identities.uplink(2, Time::at(HOUR + 1)), Some(&neighbour));
    assert_eq!(identities.uplink(1, Time::at(HOUR + 1)), None);
    assert_eq!(identities.uplink(2, Time::at(2 * HOUR)), None);
}

#[test]
fn what_is_kept_of_a_device_is_bounded() {
    let mut facts = Facts::default();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    for number in 0..1_000u16 {
        facts.add_served(Service { proto: TCP, port: number });
        facts.hear(mac, &Said::Syn(Syn { window: number, ..Syn::default() }));
        let said = mdns::Mdns { offers: vec![format!("_x{number}._tcp")], ..mdns::Mdns::default() };
        facts.hear(mac, &Said::Mdns(said));
    }
    assert_eq!((facts.serves.len(), facts.syns.len(), facts.offers.len()), (32, 4, 16));
}

fn heard(kind: u8, frame: &[u8]) -> Option<Heard> {
    let len = frame.len() as u32;
    let head =
        HeardHead { kind, abi: ABI as u8, port: 3, len, time_ns: 7, have: len, ..HeardHead::default() };
    Heard::decode(&head, frame)
}

#[test]
fn a_frame_is_read_by_the_kind_it_was_told_as() {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x81, 0, 0, 20, 8, 0]);
    let search = b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\n";
    frame.extend([
        0x45,
        0,
        0,
        28 + search.len() as u8,
        0,
        0,
        0,
        0,
        4,
        17,
        0,
        0,
        10,
        0,
        0,
        7,
        239,
        255,
        255,
        250,
    ]);
    frame.extend([0x9c, 0x40, 7, 108, 0, 8 + search.len() as u8, 0, 0]);
    frame.extend(search);
    let said = heard(HEARD_SSDP, &frame).unwrap();
    assert_eq!((said.vlan, said.port, said.ip), (20, 3, Some([10, 0, 0, 7].into())));
    assert!(matches!(said.said, Said::Ssdp(said) if said.asks));
    assert_eq!(heard(HEARD_MDNS, &frame), None, "told as something else");
    frame[6] = 3;
    assert_eq!(heard(HEARD_SSDP, &frame), None, "from a group address");
}

proptest! {
    #[test]
    fn no_bytes_panic_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..HEARD_BYTES), ether in any::<u16>()) {
        let _ = (dhcp::dhcp(&bytes), dhcp::dhcp6(&bytes), mdns::mdns(&bytes), ssdp::ssdp(&bytes));
        let _ = (netbios::name_service(&bytes), netbios::datagram(&bytes), syn::syn(64, &bytes));
        let _ = neighbour::neighbour(ether, &bytes);
        let _ = neighbour::neighbour(0x88cc, &bytes);
        let _ = (0..HEARD_KINDS as u8).map(|kind| heard(kind, &bytes)).collect::<Vec<_>>();
    }

    #[test]
    fn no_more_is_kept_than_fits(bytes in proptest::collection::vec(any::<u8>(), 0..HEARD_BYTES)) {
        let mut message = vec![0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        message.extend(&bytes);
        if let Some(said) = mdns::mdns(&message) {
            let lists = [said.hosts, said.offers, said.looks_for, said.texts];
            prop_assert!(lists.iter().all(|list| list.len() <= 12));
            prop_assert!(lists.iter().flatten().all(|text| text.chars().count() <= 129));
        }
    }

    #[test]
    fn a_label_is_no_more_than_sure(
        serves in proptest::collection::vec((prop_oneof![Just(TCP), Just(UDP)], prop_oneof![Just(104u16), Just(9_100), Just(554), Just(88), Just(389), Just(2_575), any::<u16>()]), 0..8),
        maker in prop_oneof![Just("Dell"), Just("Terumo"), Just("Axis Communications"), Just("x")],
        carries in any::<bool>(),
    ) {
        let serves = serves.into_iter().map(|(proto, port)| Service { proto, port }).collect();
        let facts = Facts { serves, ..Facts::default() };
        if let Some(label) = judge(&facts, Known { maker: Some(maker), made_up: false, carries }) {
            prop_assert!((0.0..=1.0).contains(&label.confidence) && !label.reasons.is_empty());
        }
    }
}

#[test]
fn each_kind_of_frame_has_a_reader() {
    let kinds = [HEARD_DHCP, HEARD_DHCP6, HEARD_MDNS, HEARD_SSDP, HEARD_NETBIOS, HEARD_NEIGHBOUR, HEARD_SYN];
    assert_eq!(kinds.len() + 1, HEARD_KINDS as usize);
}
