//! What is forbidden, and what a steady device never did.

use sensor_core::forbid::Forbid;
use sensor_core::settings::{Off, Segment};

use crate::*;

/// Settings with VLAN 20 as the segment `radiology`, and one rule.
fn forbidding(from: &str, to: &str, service: Option<&str>) -> Settings {
    let radiology = Segment { vlans: vec![20], ..Segment::default() };
    let service = service.map(|text| Forbid::service(text).unwrap());
    Settings {
        segments: [("radiology".parse().unwrap(), radiology)].into(),
        forbid: vec![Forbid { from: from.parse().unwrap(), to: to.parse().unwrap(), service }],
        isolate_severity: 3,
        ..enforcing()
    }
}

#[test]
fn what_is_forbidden_is_told_once_a_day_and_isolates_nobody() {
    for (name, settings, vlan, told) in [
        ("segment to host, service", forbidding("radiology", "10.0.0.7", Some("tcp/23")), 20, true),
        ("segment to segment", forbidding("radiology", "radiology", None), 20, true),
        ("network to inside", forbidding("10.0.0.0/24", "inside", Some("tcp/23")), 0, true),
        ("other segment", forbidding("radiology", "any", None), 30, false),
        ("other service", forbidding("any", "any", Some("udp/23")), 20, false),
        ("other direction", forbidding("10.0.0.7", "10.0.0.66", None), 20, false),
        ("to outside", forbidding("radiology", "outside", None), 20, false),
    ] {
        let mut lan = Lan::new(settings);
        lan.place = (1, vlan);
        lan.populate(1..=10);
        for _ in 0..20 {
            lan.tcp(66, 7, 23, Some(SYN_ACK));
            lan.pass(HOUR);
        }
        let want = if told { &[("policy", 3, 66)][..] } else { &[] };
        assert_eq!(lan.alerts(), want, "{name}");
        assert_eq!(lan.isolated(), [], "{name}");
    }
}

#[test]
fn a_steady_device_that_turns_to_another_network_is_told_and_a_pc_is_not() {
    let router = Mac([2, 0, 0, 0, 0, 1]);
    for (name, networks, days, told) in
        [("a pump", 2, 10, true), ("a pump in its first days", 2, 5, false), ("a PC", 40, 40, false)]
    {
        let mut lan = Lan::new(Settings {
            gateways: [router].into(),
            detectors_off: [("beacon", Off::Everywhere)].into(),
            ..enforcing()
        });
        lan.populate(1..=5);
        for day in 0..days {
            for hour in 0..24 {
                let net = (day * 24 + hour) % networks;
                lan.tcp_by(9, router, ip(&format!("10.{}.0.4", 20 + net.min(day))));
                lan.pass(HOUR);
            }
        }
        // Afresh in its own networks.
        lan.tcp_by(9, router, ip("10.20.0.77"));
        assert_eq!(lan.alerts(), [], "{name}");
        lan.tcp_by(9, router, ip("203.0.113.7"));
        lan.tcp_by(9, router, ip("203.0.113.8"));
        lan.tcp_by(9, router, ip("198.51.100.8"));
        let want = if told { &[("policy", 3, 9)][..] } else { &[] };
        assert_eq!(lan.alerts(), want, "{name}");
    }
}
