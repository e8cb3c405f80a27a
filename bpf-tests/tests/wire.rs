//! The sensor on a real bridge, in namespaces: what is cut, what is not, and what outlives the daemon.

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::EbpfLoader;
use aya::programs::{Xdp, XdpMode};
use bpf_tests::lab::{self, BRIDGE, Lab, has_xdp};
use sensor_ebpf::ABI;
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};
use sensor_user::bpf::{
    Attached, BpfError, Mode, OBJECT, PortEvent, Ports, PortsError, RuleKey, Sensor, detach, load_programs,
};
use sensor_user::clock::Now;
use tokio::time::timeout;

/// A runtime like the daemon's.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// A daemon's start: finds the ports, loads, attaches all.
async fn start(pins: &Path) -> Result<(Sensor, Ports)> {
    let ports = Ports::open(BRIDGE).await?;
    let mut sensor = Sensor::load(pins, &ports)?;
    for port in ports.list() {
        sensor.attachments.attach(&port)?;
    }
    Ok((sensor, ports))
}

fn address(host: u8) -> String {
    format!("10.77.0.{host}")
}

fn key(host: u8) -> RuleKey {
    RuleKey::from(IpAddr::from(Ipv4Addr::new(10, 77, 0, host)))
}

fn isolation() -> RuleValue {
    RuleValue::new(7, LEVEL_ISOLATE)
}

fn isolate(sensor: &mut Sensor, key: RuleKey) -> Result<()> {
    sensor.rules.set(key, isolation())?;
    Ok(sensor.rules.commit()?)
}

/// Of five pings each, how many were answered.
fn pings(lab: &Lab, ways: &[(u8, u8)]) -> Result<Vec<u32>> {
    ways.iter().map(|(from, to)| lab.ping(*from, &address(*to))).collect()
}

/// The ports that have an XDP program, as ip(8) sees it.
fn with_program(lab: &Lab, hosts: u8) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    for host in 1..=hosts {
        if has_xdp(&lab.ip(&format!("link show p{host}"))?) {
            found.push(host);
        }
    }
    Ok(found)
}

#[test]
fn all_ports_are_watched_natively_and_traffic_passes() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, ports) = start(pins).await?;
            assert_eq!(ports.bridge(), BRIDGE);
            let told = |port: &Attached| (port.name.clone(), port.index, port.mode, port.inherited);
            let got: Vec<_> = sensor.attachments.attached().map(told).collect();
            let native = |name: &str, index| (name.to_owned(), index, Mode::Native, false);
            assert_eq!(got, [native("p1", 1), native("p2", 2), native("p3", 3)]);
            assert_eq!(with_program(&lab, 3)?, [1, 2, 3]);
            assert!([1_000_000, 3_333_333, 4_000_000, 10_000_000].contains(&sensor.jiffy_ns));
            assert_eq!(sensor.notes, Vec::<String>::new());

            assert_eq!(pings(&lab, &[(1, 2), (2, 3), (3, 1)])?, [5, 5, 5]);
            timeout(Duration::from_secs(2), sensor.rings.wait())
                .await
                .context("nobody woke the reader")??;
            let mut records = Vec::new();
            sensor.rings.read(1000, &mut records);
            let flow =
                records.iter().find(|record| record.proto == 1 && record.src.ends_with(&[10, 77, 0, 1]));
            let flow = flow.context("no record of the ping")?;
            assert_eq!(sensor.attachments.port_name(flow.port), Some("p1"));
            assert_eq!(flow.smac, [2, 0, 0, 0, 0, 1]);
            assert_eq!(sensor.rings.rejected(), 0);
            let counters = sensor.counters.port(1)?;
            assert!(counters.packets >= 10, "{counters:?}");
            assert_eq!((counters.drop_packets, counters.records_lost), (0, 0));
            let clock = sensor.attachments.clock()?;
            assert!(clock.monotonic_ns.abs_diff(Now::read().mono.ns()) < 1_000_000_000, "{clock:?}");
            sensor.attachments.detach_all()?;
            assert!(with_program(&lab, 3)?.is_empty());
            assert!(!pins.exists(), "nothing is left");
            Ok(())
        })
    })
}

#[test]
fn the_reader_is_woken_by_both_rings_and_sleeps_when_idle() -> Result<()> {
    let lab = Lab::new(2)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, _ports) = start(pins).await?;
            let mut records = Vec::new();
            lab.silence(1)?;
            lab.silence(2)?;
            // What was under way comes to its end.
            while timeout(Duration::from_millis(500), sensor.rings.wait()).await.is_ok() {
                sensor.rings.read(usize::MAX, &mut records);
            }
            for round in 1..=3u8 {
                records.clear();
                lab.host_ip(
                    1,
                    &format!("neigh replace 10.77.0.{} lladdr {} dev eth0", 100 + round, lab::mac(2)),
                )?;
                let ping = lab.start_ping(1, &address(100 + round), 1, 10)?;
                timeout(Duration::from_secs(2), sensor.rings.wait()).await.context("not woken")??;
                sensor.rings.read(usize::MAX, &mut records);
                assert_eq!(records.len(), 1, "round {round}: {records:?}");
                ping.finish()?;
                // Once more for what came later in the jiffy, then silence.
                timeout(Duration::from_millis(200), sensor.rings.wait())
                    .await
                    .context("no second look")??;
                let idle = timeout(Duration::from_millis(300), sensor.rings.wait()).await;
                sensor.rings.read(usize::MAX, &mut records);
                assert!(idle.is_err(), "round {round}: woken for nothing: {records:?}");
            }
            records.clear();
            lab.host_ip(1, "neigh flush all")?;
            lab.host_ip(1, "neigh del 10.77.0.2 dev eth0").ok();
            let ping = lab.start_ping(1, &address(2), 1, 10)?;
            timeout(Duration::from_secs(2), sensor.rings.wait()).await.context("not woken by ARP")??;
            sensor.rings.read(usize::MAX, &mut records);
            assert_eq!(records.first().map(|record| record.ether_type), Some(0x0806));
            ping.finish().map(drop)
        })
    })
}

#[test]
fn a_rule_cuts_its_host_and_nobody_else_and_its_removal_undoes_it() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, _ports) = start(pins).await?;
            let ways = [(1, 2), (2, 1), (2, 3)];
            assert_eq!(pings(&lab, &ways)?, [5, 5, 5], "before");
            for key in [key(1), RuleKey::from([2, 0, 0, 0, 0, 1])] {
                isolate(&mut sensor, key)?;
                assert_eq!(pings(&lab, &ways)?, [0, 0, 5], "isolated by {key}");
                assert_eq!(sensor.rules.list()?, [(key, isolation())]);
                assert!(sensor.rules.remove(key)?, "it was there");
                assert!(!sensor.rules.remove(key)?, "it is gone");
                sensor.rules.commit()?;
                assert_eq!(pings(&lab, &ways)?, [5, 5, 5], "released from {key}");
            }
            let six = RuleKey::from("fd77::1".parse::<IpAddr>()?);
            isolate(&mut sensor, six)?;
            assert_eq!((lab.ping(1, "fd77::2")?, lab.ping(3, "fd77::2")?), (0, 5), "isolated by {six}");
            let dropped = sensor.counters.port(1)?;
            assert!(dropped.drop_packets >= 10, "{dropped:?}");
            Ok(())
        })
    })
}

#[test]
fn ports_that_join_and_leave_later_are_followed() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.leave(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, mut ports) = start(pins).await?;
            assert_eq!(ports.list().len(), 2);
            isolate(&mut sensor, key(3))?;

            lab.join(3)?;
            let PortEvent::Joined(port) = next(&mut ports).await? else { panic!("p3 did not join") };
            assert_eq!(port.name, "p3");
            let attached = sensor.attachments.attach(&port)?;
            assert_eq!((attached.index, attached.mode), (3, Mode::Native));
            assert_eq!(pings(&lab, &[(1, 2), (3, 1), (1, 3)])?, [5, 0, 0], "isolated since it joined");

            lab.ip("link set p2 down")?;
            lab.ip("link set p2 name uplink.2")?;
            let PortEvent::Renamed { ifindex, name } = next(&mut ports).await? else { panic!("no new name") };
            sensor.attachments.rename(ifindex, &name);
            assert_eq!(sensor.attachments.port_name(2), Some("uplink.2"));

            lab.leave(3)?;
            let left = next(&mut ports).await?;
            assert_eq!(left, PortEvent::Left { ifindex: port.ifindex, name: "p3".to_owned() });
            let (last, counters) =
                sensor.attachments.detach(port.ifindex, &mut sensor.counters)?.context("it was attached")?;
            assert_eq!((last.name.as_str(), last.index), ("p3", 3));
            assert!(counters.drop_packets > 0, "{counters:?}");
            assert_eq!(sensor.counters.port(3)?, Default::default(), "told once");
            assert!(!has_xdp(&lab.ip("link show p3")?), "detached");

            lab.ip("link del p1")?;
            let PortEvent::Left { ifindex, name } = next(&mut ports).await? else {
                panic!("p1 did not leave")
            };
            assert_eq!(name, "p1");
            sensor.attachments.detach(ifindex, &mut sensor.counters)?.context("it was attached")?;
            assert_eq!(sensor.attachments.attached().count(), 1);

            lab.ip(&format!("link del {BRIDGE}"))?;
            assert!(matches!(next(&mut ports).await?, PortEvent::Left { .. }));
            assert_eq!(next(&mut ports).await?, PortEvent::BridgeGone);
            Ok(())
        })
    })
}

async fn next(ports: &mut Ports) -> Result<PortEvent> {
    Ok(timeout(Duration::from_secs(5), ports.next()).await.context("no event in 5 s")??)
}

#[test]
fn a_restart_lets_no_frame_of_an_isolated_host_through_and_loses_none_of_others() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, ports) = start(pins).await?;
            isolate(&mut sensor, key(1))?;
            let before: Vec<Attached> = sensor.attachments.attached().cloned().collect();
            let cut = lab.start_ping(1, &address(2), 1500, 2)?;
            let free = lab.start_ping(3, &address(2), 1500, 2)?;
            let mut seen = sensor.counters.port(1)?.packets;
            drop((sensor, ports));
            for round in 0..5 {
                // A daemon that dies, and another that starts.
                let (mut sensor, _ports) = start(pins).await?;
                assert_eq!(sensor.rules.list()?, [(key(1), isolation())], "round {round}");
                for (now, then) in sensor.attachments.attached().zip(&before) {
                    assert_eq!((&now.name, now.index, now.mode), (&then.name, then.index, then.mode));
                    assert!(now.inherited, "round {round}: {now:?}");
                }
                let packets = sensor.counters.port(1)?.packets;
                assert!(packets >= seen, "round {round}: counters go on");
                seen = packets;
            }
            let (sent, received) = cut.finish()?;
            assert_eq!((sent, received), (1500, 0), "the isolated host");
            assert_eq!(free.finish()?, (1500, 1500), "another host");
            let (sensor, _ports) = start(pins).await?;
            assert!(sensor.counters.port(1)?.packets >= 1500, "all are counted, whoever reads them");
            Ok(())
        })
    })
}

#[test]
fn isolation_outlives_the_daemon_ends_on_time_and_detach_undoes_all() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, ports) = start(pins).await?;
            let until_ns = Now::read().mono.ns() + 8_000_000_000;
            sensor.rules.set(key(1), RuleValue { until_ns, ..isolation() })?;
            sensor.rules.set(key(2), isolation())?;
            sensor.rules.commit()?;
            drop((sensor, ports));
            assert_eq!(pings(&lab, &[(1, 3)])?, [0], "isolated without a daemon");
            let left = until_ns.saturating_sub(Now::read().mono.ns());
            tokio::time::sleep(Duration::from_nanos(left) + Duration::from_millis(50)).await;
            assert_eq!(pings(&lab, &[(1, 3), (2, 3)])?, [5, 0], "one ended on time, the other has no end");
            assert_eq!(detach(pins, BRIDGE)?.ports, ["p1", "p2", "p3"]);
            assert_eq!(pings(&lab, &[(2, 3)])?, [5], "detached");
            assert!(with_program(&lab, 3)?.is_empty());
            assert!(!pins.exists(), "nothing is left");
            Ok(())
        })
    })
}

#[test]
fn pins_are_of_one_daemon_and_one_namespace() -> Result<()> {
    let (lab, other) = (Lab::new(1)?, Lab::new(1)?);
    lab.on_switch(|pins| {
        block_on(async {
            let (sensor, ports) = start(pins).await?;
            let error = Sensor::load(pins, &ports).map(drop).expect_err("in use");
            assert!(matches!(error, BpfError::PinsInUse { .. }), "{error}");
            assert!(matches!(detach(pins, BRIDGE), Err(BpfError::PinsInUse { .. })));
            drop(sensor);
            // In another namespace a port of the same name has, for all we know, the same index.
            let switch = fs::File::open(format!("/run/netns/{}", other.switch()))?;
            nix::sched::setns(&switch, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let theirs = Ports::open(BRIDGE).await?;
            assert_eq!(theirs.list(), bare(&ports), "the same to look at");
            let error = Sensor::load(pins, &theirs).map(drop).expect_err("not theirs");
            assert!(matches!(error, BpfError::ForeignPins { .. }), "{error}");
            let own = pins.join("other");
            let sensor = Sensor::load(&own, &theirs).context("a directory of its own will do")?;
            Ok(sensor.attachments.detach_all()?)
        })
    })?;
    Ok(())
}

/// Ports as if they had no program.
fn bare(ports: &Ports) -> Vec<sensor_user::bpf::BridgePort> {
    ports.list().into_iter().map(|port| sensor_user::bpf::BridgePort { xdp: None, ..port }).collect()
}

#[test]
fn an_unsuccessful_start_leaves_nothing_and_names_what_is_in_the_way() -> Result<()> {
    let lab = Lab::new(2)?;
    lab.on_switch(|pins| {
        block_on(async {
            let mut stranger = EbpfLoader::new().load(OBJECT)?;
            load_programs(&mut stranger)?;
            let program: &mut Xdp = stranger.program_mut("sekisho_clock").context("there")?.try_into()?;
            let link = program.attach("p2", XdpMode::Driver)?;

            let ports = Ports::open(BRIDGE).await?;
            let mut sensor = Sensor::load(pins, &ports)?;
            let [first, second] = &ports.list()[..] else { panic!("two ports") };
            sensor.attachments.attach(first)?;
            let error = sensor.attachments.attach(second).map(drop).expect_err("in the way");
            let text = error.to_string();
            assert!(matches!(error, BpfError::PortBusy { program: Some(_), .. }), "{text}");
            assert!(text.contains("sekisho_clock) is attached to p2"), "{text}");
            assert!(text.contains("ip link set dev p2 xdp off"), "{text}");
            sensor.attachments.roll_back()?;
            assert_eq!(with_program(&lab, 2)?, [2], "only the stranger's");
            assert!(!pins.exists(), "nothing is left");

            // One of our own with other pins is told as such.
            program.detach(link)?;
            let (_running, _) = start(&pins.join("elsewhere")).await?;
            let ports = Ports::open(BRIDGE).await?;
            let mut sensor = Sensor::load(pins, &ports)?;
            let error = sensor.attachments.attach(&ports.list()[0]).map(drop).expect_err("taken");
            assert!(matches!(error, BpfError::PortTaken { .. }), "{error}");
            Ok(())
        })
    })
}

#[test]
fn a_failed_restart_leaves_what_was_in_force() -> Result<()> {
    let lab = Lab::new(2)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, ports) = start(pins).await?;
            isolate(&mut sensor, key(1))?;
            drop((sensor, ports));
            let (sensor, _ports) = start(pins).await?;
            sensor.attachments.roll_back()?;
            assert_eq!(with_program(&lab, 2)?, [1, 2]);
            assert_eq!(pings(&lab, &[(1, 2)])?, [0], "still isolated");
            Ok(())
        })
    })
}

#[test]
fn a_port_whose_driver_cannot_is_watched_generically() -> Result<()> {
    let lab = Lab::new(2)?;
    lab.no_native(1)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, _ports) = start(pins).await?;
            let modes: Vec<Mode> = sensor.attachments.attached().map(|port| port.mode).collect();
            assert_eq!(modes, [Mode::Generic, Mode::Native]);
            assert_eq!(pings(&lab, &[(1, 2)])?, [5]);
            isolate(&mut sensor, key(1))?;
            assert_eq!(pings(&lab, &[(1, 2)])?, [0]);
            drop(sensor);
            let (sensor, _ports) = start(pins).await?;
            let told: Vec<_> =
                sensor.attachments.attached().map(|port| (port.mode, port.inherited)).collect();
            assert_eq!(told, [(Mode::Generic, true), (Mode::Native, true)], "after a restart");
            Ok(())
        })
    })
}

#[test]
fn what_changed_while_no_daemon_ran_is_put_right() -> Result<()> {
    let lab = Lab::new(3)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (sensor, ports) = start(pins).await?;
            drop((sensor, ports));
            // One port left the bridge, one was made anew under its old name.
            lab.leave(1)?;
            lab.ip("link del p2")?;
            lab.ip(&format!("link add p2 type veth peer name eth0 netns {}", lab.host(2)))?;
            lab.ip("link set p2 up")?;
            lab.join(2)?;
            let (sensor, _ports) = start(pins).await?;
            let told: Vec<_> =
                sensor.attachments.attached().map(|port| (port.name.clone(), port.inherited)).collect();
            assert_eq!(told, [("p3".to_owned(), true), ("p2".to_owned(), false)], "by interface index");
            assert!(!has_xdp(&lab.ip("link show p1")?), "it left");
            let links = pins.join(BRIDGE).join("links");
            assert!(!links.join("p1").exists() && links.join("p2").exists() && links.join("p3").exists());
            Ok(())
        })
    })
}

#[test]
fn a_pinned_map_of_another_shape_is_not_reused() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.on_switch(|pins| {
        block_on(async {
            let (mut sensor, ports) = start(pins).await?;
            isolate(&mut sensor, key(1))?;
            drop((sensor, ports));
            let pin = pins.join(BRIDGE).join(format!("abi-{ABI}/maps/REASONS"));
            ensure!(pin.exists(), "{} is not there", pin.display());
            fs::remove_file(&pin)?;
            let mut loader = EbpfLoader::new();
            let mut other = loader.map_max_entries("REASONS", 7).load(OBJECT)?;
            other.take_map("REASONS").context("there")?.pin(&pin)?;

            let (mut sensor, _ports) = start(pins).await?;
            let [map] = &sensor.notes[..] else { panic!("{:?}", sensor.notes) };
            assert!(map.contains("REASONS") && map.contains("entries: 7"), "{map}");
            assert_eq!(sensor.rules.list()?, [(key(1), isolation())], "the rules are taken over");
            assert_ne!(sensor.rules.config()?.armed, 0);
            let note = sensor.attachments.settle(&mut sensor.counters)?;
            assert!(note.is_some_and(|note| note.contains("1 rules")));
            let left: Vec<_> = fs::read_dir(pins.join(BRIDGE))?.collect::<Result<_, _>>()?;
            assert_eq!(left.len(), 3, "its maps, the links and the offloads: {left:?}");
            assert_eq!(sensor.counters.reasons(1)?.len(), 19);
            Ok(())
        })
    })
}

#[test]
fn a_wrong_bridge_is_told_with_the_right_ones() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.on_switch(|_| {
        block_on(async {
            let missing = Ports::open("br7").await.map(drop).expect_err("no such bridge");
            assert_eq!(missing.to_string(), "there is no interface br7; the bridges here are: br0");
            let port = Ports::open("p1").await.map(drop).expect_err("no bridge");
            assert_eq!(
                port.to_string(),
                "p1 is not a bridge but an interface of kind veth; the bridges here are: br0"
            );
            let lo = Ports::open("lo").await.map(drop).expect_err("no bridge");
            assert!(matches!(lo, PortsError::NotABridge { .. }), "{lo}");
            lab.ip(&format!("link del {BRIDGE}"))?;
            let none = Ports::open(BRIDGE).await.map(drop).expect_err("no bridge any more");
            assert!(none.to_string().contains("ip link add name br0 type bridge"), "{none}");
            Ok(())
        })
    })
}

#[test]
fn an_interface_index_beyond_the_table_is_refused() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.on_switch(|pins| {
        block_on(async {
            lab.ip("link add far index 70000 type veth peer name near")?;
            lab.ip(&format!("link set far master {BRIDGE}"))?;
            let ports = Ports::open(BRIDGE).await?;
            let mut sensor = Sensor::load(pins, &ports)?;
            let far = ports.list().pop().context("a port")?;
            assert_eq!(far.ifindex, 70_000);
            let error = sensor.attachments.attach(&far).map(drop).expect_err("too far");
            assert!(error.to_string().contains("interface index 70000"), "{error}");
            sensor.attachments.roll_back()?;
            Ok(())
        })
    })
}
