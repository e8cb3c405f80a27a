//! Each level and each kind of target on the wire of a real bridge.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use bpf_tests::daemon::{Site, site};
use bpf_tests::frame::Frame;
use bpf_tests::lab::mac;
use bpf_tests::raw::Raw;
use bpf_tests::traffic::{Service, check_ways, exchange, on_host, slowness, until};
use serde_json::Value;

/// How long is waited for what must come, on a usual machine.
const PATIENCE: Duration = Duration::from_secs(5);

const CONFIG: &str = r#"
[network]
internal = ["10.77.0.0/24", "fd77::/64"]
[reflex]
mode = "count"
[throttle]
new_per_second = 1
new_burst = 4
kib_per_second = 64
kib_burst = 128
[segments.ward]
ports = ["p1"]
[allow]
repair = ["arp", "dhcp", "tcp/104 10.77.0.2"]
"#;

/// A site with four hosts that find each other by ARP, and a daemon; `extra` is added to the configuration.
fn ward(work: impl FnOnce(&Site<'_>) -> Result<()> + Send) -> Result<()> {
    site(4, |site| {
        site.configure(CONFIG)?;
        site.lab.unlearn()?;
        work(site)
    })
}

fn hold(site: &Site, arguments: &[&str]) -> Result<Value> {
    site.ask(&[&["block", "add"], arguments].concat())
}

/// Which of these words, sent by UDP to a port, arrive.
fn datagram(site: &Site, from: u8, to: u8, port: u16) -> Result<bool> {
    let receiver = on_host(site.lab, to, move || Ok(UdpSocket::bind(("0.0.0.0", port))?))?;
    receiver.set_read_timeout(Some(Duration::from_millis(400) * slowness()))?;
    on_host(site.lab, from, move || {
        let sender = UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..3 {
            sender.send_to(b"word", (format!("10.77.0.{to}").as_str(), port))?;
        }
        Ok(())
    })?;
    Ok(receiver.recv(&mut [0; 8]).is_ok())
}

fn check_datagrams(site: &Site, when: &str, cases: &[(u8, u8, u16, bool)]) -> Result<()> {
    for (from, to, port, arrives) in cases {
        let arrived = datagram(site, *from, *to, *port)?;
        ensure!(arrived == *arrives, "{when}: from {from} to {to} port {port}: arrived: {arrived}");
    }
    Ok(())
}

#[test]
fn a_pinned_device_goes_on_with_what_it_did_and_a_quarantined_one_with_what_is_listed() -> Result<()> {
    ward(|site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        let _services = (Service::start(site.lab, 2, 104)?, Service::start(site.lab, 3, 8_080)?);
        let _served = Service::start(site.lab, 1, 11_112)?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        exchange(site.lab, 3, "10.77.0.1:11112")?;
        exchange(site.lab, 4, "10.77.0.3:8080")?;

        let pinned = hold(site, &["10.77.0.1", "--level", "pin"])?;
        ensure!(pinned["block"]["pairs"].as_u64() >= Some(2), "{pinned}");
        ensure!(pinned["impact"]["devices"] == 1, "{pinned}");
        for round in 0..2 {
            exchange(site.lab, 1, "10.77.0.2:104").with_context(|| format!("learned, round {round}"))?;
            exchange(site.lab, 3, "10.77.0.1:11112").context("learned as a server")?;
            ensure!(exchange(site.lab, 1, "10.77.0.3:8080").is_err(), "a new service is open");
            ensure!(exchange(site.lab, 4, "10.77.0.1:11112").is_err(), "a new client gets through");
            check_ways(site.lab, "pinned", false, &[(1, "10.77.0.4"), (4, "fd77::1")])?;
            // Also with the neighbours forgotten: ARP goes on.
            site.lab.host_ip(1, "neigh flush dev eth0")?;
        }

        // What was learned is in the kernel and in the database: no daemon, and the next one.
        daemon.kill()?;
        let learned = |when: &str| -> Result<()> {
            exchange(site.lab, 1, "10.77.0.2:104").with_context(|| format!("learned, {when}"))?;
            ensure!(exchange(site.lab, 1, "10.77.0.3:8080").is_err(), "{when}, a new service is open");
            Ok(())
        };
        learned("without a daemon")?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let list = site.ask(&["block", "list"])?;
        ensure!(list[0]["pairs"] == pinned["block"]["pairs"] && list[0]["level"] == "pin", "{list}");
        learned("after a restart")?;

        let quarantined = hold(site, &["10.77.0.1", "--level", "quarantine", "--allow", "repair"])?;
        ensure!(
            quarantined["block"]["id"] == pinned["block"]["id"] && quarantined["block"]["allow"] == "repair"
        );
        exchange(site.lab, 1, "10.77.0.2:104").context("listed")?;
        for closed in ["10.77.0.3:8080", "10.77.0.2:105"] {
            ensure!(exchange(site.lab, 1, closed).is_err(), "{closed} is open");
        }
        ensure!(exchange(site.lab, 3, "10.77.0.1:11112").is_err(), "it serves on");
        check_ways(site.lab, "quarantined", false, &[(1, "10.77.0.2"), (2, "10.77.0.1"), (1, "fd77::2")])?;
        let cases = [(1, 3, 67, true), (1, 3, 69, false), (3, 1, 69, false), (4, 3, 69, true)];
        check_datagrams(site, "quarantined", &cases)?;
        site.ask(&["block", "remove", "10.77.0.1"])?;
        exchange(site.lab, 1, "10.77.0.3:8080").context("released")
    })
}

#[test]
fn a_device_that_is_pinned_after_a_restart_goes_on_with_what_it_did_before_it() -> Result<()> {
    ward(|site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        let _services = (Service::start(site.lab, 2, 104)?, Service::start(site.lab, 3, 8_080)?);
        let _served = Service::start(site.lab, 1, 11_112)?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        exchange(site.lab, 3, "10.77.0.1:11112")?;
        daemon.stop()?;
        // Nothing of it is under way any more.
        site.plain(&["detach", "--pin-dir", &site.pin_dir().display().to_string()])?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        // They were heard for less than the minute after which devices are kept.
        check_ways(site.lab, "heard again", true, &[(1, "10.77.0.4"), (3, "10.77.0.4")])?;
        hold(site, &["10.77.0.1", "--level", "pin"])?;
        exchange(site.lab, 1, "10.77.0.2:104").context("learned")?;
        exchange(site.lab, 3, "10.77.0.1:11112").context("learned as a server")?;
        ensure!(exchange(site.lab, 1, "10.77.0.3:8080").is_err(), "a new service is open");
        Ok(())
    })
}

#[test]
fn external_only_keeps_what_is_inside_and_isolate_nothing() -> Result<()> {
    ward(|site| {
        site.lab.host_ip(3, "addr add 203.0.113.3/32 dev eth0")?;
        site.lab.host_ip(1, "route add 203.0.113.0/24 dev eth0")?;
        site.lab.host_ip(2, "route add 203.0.113.0/24 dev eth0")?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let (inside, outside) = ([(1, "10.77.0.3"), (1, "fd77::3")], [(1, "203.0.113.3")]);
        check_ways(site.lab, "before", true, &[&inside[..], &outside].concat())?;
        hold(site, &["10.77.0.1", "--level", "external-only"])?;
        check_ways(site.lab, "external-only", true, &[&inside[..], &[(2, "203.0.113.3")]].concat())?;
        check_ways(site.lab, "external-only", false, &outside)?;
        hold(site, &["10.77.0.1", "--level", "isolate"])?;
        check_ways(site.lab, "isolated", false, &[&inside[..], &outside, &[(2, "10.77.0.1")]].concat())?;
        hold(site, &["10.77.0.1", "--level", "observe"])?;
        check_ways(site.lab, "observed", true, &[&inside[..], &outside, &[(2, "10.77.0.1")]].concat())?;
        let list = site.ask(&["block", "list"])?;
        ensure!(
            list.as_array().is_some_and(|list| list.len() == 1) && list[0]["level"] == "observe",
            "{list}"
        );

        // A network: the longest prefix counts, and the protected go on.
        site.ask(&["block", "remove", "10.77.0.1"])?;
        hold(site, &["--net", "203.0.113.0/24"])?;
        check_ways(site.lab, "a network", false, &[(1, "203.0.113.3"), (2, "203.0.113.3")])?;
        hold(site, &["--net", "203.0.113.2/31", "--level", "observe"])?;
        check_ways(site.lab, "a longer prefix", true, &[(1, "203.0.113.3")])
    })
}

#[test]
fn a_direction_is_one_way() -> Result<()> {
    ward(|site| {
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_datagrams(site, "before", &[(1, 3, 9_000, true), (3, 1, 9_000, true)])?;
        hold(site, &["--mac", &mac(1), "--level", "external-only", "--direction", "from"])?;
        check_datagrams(site, "inside", &[(1, 3, 9_000, true), (3, 1, 9_000, true)])?;
        hold(site, &["--ip", "10.77.0.1", "--ip", "10.77.0.9", "--direction", "from"])?;
        // So that ARP, which it may not send, is not what stops it.
        for (host, peer) in [(1, 3), (3, 1)] {
            let entry = format!("neigh replace 10.77.0.{peer} lladdr {} dev eth0", mac(peer));
            site.lab.host_ip(host, &entry)?;
        }
        check_datagrams(site, "from", &[(1, 3, 9_000, false), (3, 1, 9_000, true)])?;
        hold(site, &["--ip", "10.77.0.1", "--direction", "to"])?;
        check_datagrams(site, "to", &[(1, 3, 9_000, true), (3, 1, 9_000, false)])
    })
}

#[test]
fn a_throttled_device_sends_no_more_than_its_budget() -> Result<()> {
    const SIZE: usize = 1_000;
    ward(|site| {
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.3"), (2, "10.77.0.3")])?;
        hold(site, &["10.77.0.1", "--level", "throttle"])?;
        // New destinations: four at once, then one a second; those known go on.
        let (listener, own) = (Raw::open(site.lab, 2)?, [2, 0, 0, 0, 0, 1]);
        let started = Instant::now();
        on_host(site.lab, 1, || {
            let sender = UdpSocket::bind("0.0.0.0:0")?;
            (100..200).try_for_each(|n| sender.send_to(b"word", format!("10.77.0.{n}:9")).map(drop))?;
            Ok(())
        })?;
        // Each asks for its neighbour first, which is the new destination.
        let asked = |frame: &Vec<u8>| frame.get(6..12) == Some(&own) && frame.get(12..14) == Some(&[8, 6]);
        let mut frames = Vec::new();
        until("the first questions for a neighbour", PATIENCE, || {
            frames.extend(listener.arrived([0; 6])?.into_iter().filter(asked));
            Ok((!frames.is_empty()).then_some(()))
        })?;
        // And for those that should not come.
        thread::sleep(Duration::from_millis(300));
        frames.extend(listener.arrived([0; 6])?.into_iter().filter(asked));
        let budget = 5 + started.elapsed().as_secs();
        frames.sort_unstable();
        frames.dedup();
        ensure!(frames.len() as u64 <= budget, "{} of {budget}", frames.len());

        // 2 MB within at least a second, from the throttled one and from another.
        let pour = |from: u8| -> Result<(usize, Duration)> {
            let receiver = on_host(site.lab, 3, || Ok(UdpSocket::bind("0.0.0.0:9000")?))?;
            receiver.set_read_timeout(Some(Duration::from_millis(700) * slowness()))?;
            let started = Instant::now();
            let counter = thread::spawn(move || {
                let mut bytes = 0;
                while let Ok(more) = receiver.recv(&mut [0; 2_000]) {
                    bytes += more;
                }
                bytes
            });
            on_host(site.lab, from, || {
                let sender = UdpSocket::bind("0.0.0.0:0")?;
                for _ in 0..200 {
                    for _ in 0..10 {
                        sender.send_to(&[7; SIZE], "10.77.0.3:9000")?;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            })?;
            let took = started.elapsed();
            Ok((counter.join().ok().context("the counter panicked")?, took))
        };
        let (free, _) = pour(2)?;
        ensure!(free > 1_500_000, "{free} bytes of another arrived");
        let (bytes, took) = pour(1)?;
        let most = (128.0 + 64.0 * (took.as_secs_f64() + 0.5)) * 1_024.0;
        ensure!(bytes > 100_000 && (bytes as f64) < most, "{bytes} bytes in {took:?}, at most {most}");

        check_ways(site.lab, "known", true, &[(1, "10.77.0.3")])
    })
}

/// Frames that came by port p1, and how many of them were dropped.
fn counted(site: &Site) -> Result<[u64; 2]> {
    let port = &site.ask(&["status"])?["ports"][0];
    Ok([port["packets"].as_u64().context("packets")?, port["drops"].as_u64().context("drops")?])
}

#[test]
fn a_place_that_is_cut_is_dark_and_a_vlan_is_what_its_tag_says() -> Result<()> {
    ward(|site| {
        site.lab.silence(1)?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2"), (2, "10.77.0.3")])?;
        let bytes = |host| [2, 0, 0, 0, 0, host];
        let (raw, listener) = (Raw::open(site.lab, 1)?, Raw::open(site.lab, 2)?);
        let tagged = |vlan: u16, word: &[u8]| {
            let ip = |host| std::net::Ipv4Addr::new(10, 77, 0, host);
            let frame = Frame::ethernet(bytes(1), bytes(2)).vlan(vlan).ip4(ip(1), ip(2));
            frame.udp(5_000, 9_000).bytes(word).build()
        };
        // What was sent before a frame that is let through arrives before it, or not at all. It needs no padding, which the
        // receiving host may cut off.
        let heard = |word: &[u8]| -> Result<bool> {
            let ip = |host| std::net::Ipv4Addr::new(10, 77, 0, host);
            let last = Frame::ethernet(bytes(1), bytes(2)).ip4(ip(1), ip(2)).udp(5_000, 9_001);
            let last = last.bytes(b"what comes after ").bytes(word).build();
            raw.send(&last)?;
            let frames = listener.until(bytes(2), &last, PATIENCE * slowness())?;
            Ok(frames.iter().any(|frame| frame.windows(word.len()).any(|part| part == word)))
        };
        hold(site, &["--vlan", "20"])?;
        for (vlan, word, arrives) in [(20, b"word-a", false), (21, b"word-b", true), (20, b"word-c", false)] {
            raw.send(&tagged(vlan, word))?;
            ensure!(heard(word)? == arrives, "VLAN {vlan}");
        }
        check_ways(site.lab, "a VLAN", true, &[(1, "10.77.0.2")])?;
        site.ask(&["block", "remove", "--vlan", "20"])?;
        raw.send(&tagged(20, b"word-d"))?;
        ensure!(heard(b"word-d")?, "VLAN 20, released");

        // LLDP (IEEE 802.1AB): the bridge does not forward it, so what the port drops tells.
        let lldp = Frame::ethernet(bytes(1), [0x01, 0x80, 0xc2, 0, 0, 0x0e])
            .ether_type(0x88cc)
            .bytes(&[0; 46])
            .build();
        for (target, name) in [("--port", "p1"), ("--segment", "ward")] {
            for (level, drops) in [("isolate", 0), ("cut", 5)] {
                hold(site, &[target, name, "--level", level, "--force"])?;
                check_ways(site.lab, level, false, &[(1, "10.77.0.2"), (2, "10.77.0.1")])?;
                check_ways(site.lab, level, true, &[(2, "10.77.0.3")])?;
                // What asked for its neighbours in vain gives up first.
                thread::sleep(Duration::from_millis(1_200) * slowness());
                site.lab.host_ip(1, "neigh flush dev eth0")?;
                thread::sleep(Duration::from_millis(200) * slowness());
                let before = counted(site)?;
                (0..5).try_for_each(|_| raw.send(&lldp))?;
                let after = until("the five to be counted", PATIENCE, || {
                    Ok(Some(counted(site)?).filter(|after| after[0] >= before[0] + 5))
                })?;
                assert_eq!(after[1] - before[1], drops, "{target} {level}");
            }
            site.ask(&["block", "remove", target, name])?;
            check_ways(site.lab, "released", true, &[(1, "10.77.0.2"), (2, "10.77.0.1")])?;
        }
        let refused = site.tell(&["block", "add", "10.77.0.1", "--level", "cut"])?;
        refused.check_failed(&["only a port, a VLAN or a segment"])?;
        site.tell(&["block", "add", "--segment", "lab"])?.check_failed(&["there is no segment lab", "ward"])
    })
}

#[test]
fn a_port_that_comes_back_is_cut_again_and_one_that_takes_its_index_is_not() -> Result<()> {
    ward(|site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        hold(site, &["--port", "p3", "--force"])?;
        check_ways(site.lab, "held", false, &[(3, "10.77.0.2")])?;
        site.lab.leave(3)?;
        until("the port to be gone", PATIENCE, || {
            Ok((site.ask(&["status"])?["ports"].as_array().context("ports")?.len() == 3).then_some(()))
        })?;
        // The index of p3 is free: p4 leaves, and takes it when it joins again.
        site.lab.leave(4)?;
        site.lab.join(4)?;
        until("the port to be back", PATIENCE, || {
            Ok((site.ask(&["status"])?["ports"].as_array().context("ports")?.len() == 3).then_some(()))
        })?;
        until("the other port to be open", PATIENCE, || {
            Ok((site.lab.ping(4, "10.77.0.2")? > 0).then_some(()))
        })?;
        check_ways(site.lab, "another port", true, &[(4, "10.77.0.2")])?;
        site.lab.join(3)?;
        until("the rule of the port", PATIENCE, || Ok((site.lab.ping(3, "10.77.0.2")? == 0).then_some(())))?;
        check_ways(site.lab, "it is back", false, &[(3, "10.77.0.2"), (2, "10.77.0.3")])?;
        // The rule holds over a restart, without a gap.
        let ping = site.lab.start_ping(3, "10.77.0.2", 600, 5)?;
        daemon.stop()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        assert_eq!(ping.finish()?, (600, 0));
        check_ways(site.lab, "restarted", true, &[(4, "10.77.0.2")])
    })
}

/// A map that the daemon pinned.
fn pinned(site: &Site, name: &str) -> Result<MapData> {
    let mut dirs = vec![site.pin_dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|file| file == name) {
                return Ok(MapData::from_pin(path)?);
            }
        }
    }
    anyhow::bail!("no map {name} is pinned")
}

#[test]
fn what_somebody_changes_in_the_kernel_is_put_right_within_two_seconds() -> Result<()> {
    ward(|site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        hold(site, &["--mac", &mac(1), "--level", "quarantine", "--allow", "repair"])?;
        hold(site, &["--segment", "ward", "--level", "observe"])?;
        let key = u64::from_le_bytes([2, 0, 0, 0, 0, 1, 0, 0]);
        let mut rules: HashMap<_, u64, [u64; 2]> =
            HashMap::try_from(Map::HashMap(pinned(site, "RULES_MAC")?))?;
        let mut segments: Array<_, u32> = Array::try_from(Map::Array(pinned(site, "SEGMENT_OF")?))?;
        let mut allowed: HashMap<_, [u64; 3], u32> = HashMap::try_from(Map::HashMap(pinned(site, "ALLOW")?))?;
        let read = |rules: &HashMap<_, u64, [u64; 2]>,
                    segments: &Array<_, u32>,
                    allowed: &HashMap<_, [u64; 3], u32>| {
            let mut all: Vec<[u64; 3]> = allowed.keys().collect::<Result<_, _>>()?;
            all.sort_unstable();
            let listed: Vec<u64> = rules.keys().collect::<Result<_, _>>()?;
            anyhow::Ok((
                rules.get(&key, 0).ok(),
                listed.len(),
                segments.get(&1, 0)?,
                segments.get(&9, 0)?,
                all,
            ))
        };
        let right = read(&rules, &segments, &allowed)?;
        ensure!(right.0.is_some() && right.1 == 1 && right.2 == 1 && right.4.len() >= 4, "{right:?}");
        let value = right.0.context("there")?;
        rules.remove(&key)?;
        rules.insert(key + 1, value, 0)?;
        segments.set(1, 0, 0)?;
        segments.set(9, 7, 0)?;
        allowed.remove(&right.4[0])?;
        allowed.insert([1, 2, 99], 1, 0)?;
        let started = Instant::now();
        until("the repair", Duration::from_secs(10), || {
            Ok((read(&rules, &segments, &allowed)? == right).then_some(()))
        })?;
        // The repair comes with the next second; an emulated machine takes as many times as long.
        let most = Duration::from_secs(4) * slowness();
        ensure!(started.elapsed() < most, "it took {:?}", started.elapsed());
        ensure!(daemon.log()?.contains("were not as decided; they were repaired"), "{}", daemon.log()?);
        site.metric_becomes("sekisho_repairs_total", &[("what", "rule")], |count| count >= 6.0)?;
        check_ways(site.lab, "repaired", false, &[(1, "10.77.0.2")])
    })
}
