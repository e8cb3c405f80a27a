//! The data path in software judges as the program in the kernel does.

use sensor_core::addr::Mac;
use sensor_core::datapath::Datapath;
use sensor_core::policy::{Decision, Direction, Level, Restriction, Target};
use sensor_core::time::Time;

/// A DHCP discover: from 0.0.0.0 to everybody, whoever sends it.
fn discover(from: u8) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, from, 8, 0];
    frame.extend([0x45, 0, 0, 48, 0, 7, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    frame.extend([0, 68, 0, 67, 0, 28, 0, 0]);
    frame.extend([0; 20]);
    frame
}

#[test]
fn a_mac_rule_holds_for_its_mac_alone_when_two_hosts_share_a_flow() {
    let isolate = |until| {
        let by = Restriction {
            id: 7,
            level: Level::Isolate,
            direction: Direction::Both,
            list: 0,
            until: Some(Time::at(until)),
            would: false,
        };
        Decision::Restrict(Target::Mac(Mac([2, 0, 0, 0, 0, 1])), by)
    };
    for order in [[1, 2, 1, 2, 2, 1], [2, 1, 1, 2, 1, 2]] {
        let mut datapath = Datapath::new(1);
        let dropped = |datapath: &mut Datapath, host, time| {
            let before = datapath.counters().drop_packets;
            let frame = discover(host);
            datapath.frame(&frame, frame.len() as u32, Time::at(time));
            datapath.counters().drop_packets > before
        };
        for host in order {
            assert!(!dropped(&mut datapath, host, 1), "from {host} in {order:?}, no rule");
        }
        datapath.enforce(&[isolate(1_000_000_000)]);
        for host in order {
            assert_eq!(dropped(&mut datapath, host, 2), host == 1, "from {host} in {order:?}");
        }
        for host in order {
            assert!(!dropped(&mut datapath, host, 2_000_000_000), "from {host} in {order:?}, lapsed");
        }
    }
}
