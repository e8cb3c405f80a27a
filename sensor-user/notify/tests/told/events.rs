//! What happened, as the engine tells it.

use std::net::IpAddr;

use sensor_core::event::{
    Action, Alert, Change, DeviceRef, DeviceSeen, Event, Isolation, Judged, Judgement, Timed, Value,
};
use sensor_core::evidence::{Family, Sum};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::policy::preview::{Loss, Part, Preview};
use sensor_core::policy::ruling::Ruling;
use sensor_core::policy::{Direction, Level, Service, Target, Why};
use sensor_core::time::{HOUR, SECOND, Time};

const NOW: Time = Time::at(1_000 * SECOND);

pub fn device(number: u8) -> DeviceRef {
    DeviceRef {
        id: 7,
        mac: format!("04:92:26:00:00:{number:02x}").parse().unwrap(),
        ips: vec![ip(number)],
        maker: Some("ASUSTek <COMPUTER> INC.".to_owned()),
        name: Some(format!("MRI {number}")),
        class: None,
    }
}

fn ip(number: u8) -> IpAddr {
    format!("10.77.0.{number}").parse().unwrap()
}

fn flow(number: u8) -> FlowId {
    let (src, dst) = (ip(number), ip(1));
    FlowId { src, dst, sport: 5_000, dport: 445, proto: 6, kind: Kind::Ip, vlan: 20, port: 1 }
}

/// It used the archive.
fn impact() -> Preview {
    let service = Service { proto: 6, port: 104, peer: Some(ip(2)) };
    let lost =
        vec![Loss { part: Part::Uses, service, name: Some("PACS".to_owned()), live: true, vital: false }];
    Preview { level: Level::Isolate, peers: 1, services: 1, conversations: 2, lost, vital: Vec::new() }
}

/// Device `number` scanned: incident `number`.
pub fn alert(number: u8, severity: u8) -> Timed {
    let alert = Alert {
        incident: u64::from(number),
        detector: "scan",
        signature: "ARP scan: asks for many addresses nobody has",
        severity,
        device: device(number),
        flow: flow(number),
        family: Family::Scan,
        weight: 14.0,
        evidence: vec![("failed_first_contacts", Value::Count(20))],
        first_evidence: NOW,
        sum: Sum { shares: vec![(Family::Scan, 14.0)] },
        why: Why::default(),
        action: Action::Isolated,
        ruling: Some(Ruling { impact: Some(impact()), ..Ruling::new(Level::Isolate) }),
        coverage: None,
    };
    Timed { time: NOW, event: Event::Alert(alert) }
}

/// It is cut off for an hour: entry `number`.
pub fn isolation(number: u8, change: Change) -> Timed {
    let device = device(number);
    let isolation = Isolation {
        id: u32::from(number),
        change,
        targets: vec![Target::Mac(device.mac)],
        device: Some(device),
        level: Level::Isolate,
        direction: Direction::Both,
        until: Some(NOW.plus(HOUR)),
        would: false,
        reason: "incident".to_owned(),
        incident: Some(u64::from(number)),
        flow: Some(flow(number)),
        first_evidence: Some(NOW),
    };
    Timed { time: NOW, event: Event::Isolation(isolation) }
}

pub fn judgement(number: u8) -> Timed {
    let judgement = Judgement {
        judged: Judged::False,
        incident: u64::from(number),
        device: None,
        reviews: Vec::new(),
        by: "root".to_owned(),
        comment: String::new(),
    };
    Timed { time: NOW, event: Event::Judgement(judgement) }
}

pub fn seen(number: u8) -> Timed {
    let seen = DeviceSeen {
        device: device(number),
        new: true,
        port: 1,
        vlan: 20,
        gateway: false,
        label: None,
        relabelled: false,
    };
    Timed { time: NOW, event: Event::Device(seen) }
}
