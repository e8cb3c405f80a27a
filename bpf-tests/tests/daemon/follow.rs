//! An entry about a device follows it; whoever takes its address is left alone.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::frame::Frame;
use bpf_tests::lab::{BRIDGE, mac};
use bpf_tests::raw::Raw;
use bpf_tests::traffic::{check_ways, pings, until};

const CONFIG: &str = "[reflex]\nmode = \"off\"\n[names]\n\"02:00:00:00:00:01\" = \"CT 1\"\n";

/// What the one entry is about.
fn targets(site: &Site) -> Result<Vec<String>> {
    let list = site.ask(&["block", "list"])?;
    let targets = list[0]["targets"].as_array().context("an entry")?.clone();
    Ok(targets.iter().filter_map(|target| target.as_str().map(str::to_owned)).collect())
}

fn wait_for(site: &Site, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
    until(what, Duration::from_secs(8), || Ok(Some(targets(site)?).filter(|targets| wanted(targets))))
        .with_context(|| format!("the entry is about {:?}", targets(site).unwrap_or_default()))
}

/// Frames of these MAC addresses that a host heard since it was asked last.
fn heard(listener: &Raw, from: &[[u8; 6]]) -> Result<usize> {
    thread::sleep(Duration::from_millis(100));
    let frames = listener.arrived([0; 6])?;
    Ok(frames.iter().filter(|frame| from.iter().any(|mac| frame.get(6..12) == Some(mac))).count())
}

#[test]
fn an_isolated_device_gets_nothing_through_wherever_it_goes_and_whatever_it_calls_itself() -> Result<()> {
    site(3, |site| {
        site.configure(CONFIG)?;
        let lab = site.lab;
        lab.unlearn()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_ways(lab, "before", true, &[(1, "10.77.0.2"), (2, "10.77.0.3")])?;
        site.ask(&["block", "add", "CT 1", "--for", "1h"])?;
        let first = targets(site)?;
        ensure!(first[0] == mac(1) && first.contains(&"10.77.0.1".to_owned()), "{first:?}");
        let (listener, own) = (Raw::open(lab, 2)?, [2, 0, 0, 0, 0, 1]);
        heard(&listener, &[own])?;
        let tries = |when: &str| -> Result<()> {
            pings(lab, &[(1, "10.77.0.2"), (1, "fd77::2"), (1, "10.77.0.3")])?;
            let count = heard(&listener, &[own])?;
            ensure!(count == 0, "{when}: {count} frames passed");
            check_ways(lab, when, true, &[(2, "10.77.0.3")])
        };
        tries("isolated")?;
        lab.host_ip(1, "addr del 10.77.0.1/24 dev eth0")?;
        lab.host_ip(1, "addr add 10.77.0.101/24 dev eth0")?;
        tries("another address")?;
        for address in ["fd77::a1", "fd77::b2"] {
            lab.host_ip(1, &format!("addr add {address}/64 dev eth0"))?;
        }
        tries("two more of IPv6")?;
        ensure!(targets(site)? == first, "what it calls itself while it is isolated binds nobody else");

        // Another port of the bridge, and another VLAN.
        lab.ip("link del p1")?;
        lab.ip(&format!("link add p9 type veth peer name eth0 netns {}", lab.host(1)))?;
        lab.host_ip(1, &format!("link set eth0 address {}", mac(1)))?;
        lab.host_ip(1, "addr add 10.77.0.1/24 dev eth0")?;
        lab.host_ip(1, "addr add fd77::1/64 dev eth0 nodad")?;
        lab.host_ip(1, "link set eth0 up")?;
        lab.ip("link set p9 up")?;
        lab.ip(&format!("link set p9 master {BRIDGE}"))?;
        until("the new port", Duration::from_secs(5), || {
            let ports = site.ask(&["status"])?["ports"].to_string();
            Ok(ports.contains("\"p9\"").then_some(()))
        })?;
        // What it said before the port was filtered is not the entry's matter.
        heard(&listener, &[own])?;
        tries("another port")?;
        let raw = Raw::open(lab, 1)?;
        let ip = |host| std::net::Ipv4Addr::new(10, 77, 0, host);
        for vlan in [20, 21] {
            let frame =
                Frame::ethernet(own, [2, 0, 0, 0, 0, 2]).vlan(vlan).ip4(ip(1), ip(2)).udp(1, 2).build();
            (0..5).try_for_each(|_| raw.send(&frame))?;
        }
        tries("another VLAN")
    })
}

#[test]
fn addresses_a_throttled_device_takes_are_added_and_one_that_another_takes_is_free() -> Result<()> {
    site(3, |site| {
        site.configure(CONFIG)?;
        let lab = site.lab;
        lab.unlearn()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_ways(lab, "before", true, &[(1, "10.77.0.2"), (3, "10.77.0.2")])?;
        site.ask(&["block", "add", "CT 1", "--level", "throttle"])?;
        lab.host_ip(1, "addr add 10.77.0.101/24 dev eth0")?;
        lab.host_ip(1, "addr add fd77::a1/64 dev eth0 nodad")?;
        lab.host_ip(1, "route replace 10.77.0.2/32 dev eth0 src 10.77.0.101")?;
        lab.host_ip(1, "route replace fd77::2/128 dev eth0 src fd77::a1")?;
        // Neighbours are asked for anew from the new addresses.
        lab.host_ip(1, "neigh flush dev eth0")?;
        check_ways(lab, "throttled", true, &[(1, "10.77.0.2"), (1, "fd77::2")])?;
        let new = ["10.77.0.101".to_owned(), "fd77::a1".to_owned()];
        wait_for(site, "the new addresses", |all| new.iter().all(|ip| all.contains(ip)))?;

        site.ask(&["block", "add", "CT 1", "--level", "isolate"])?;
        check_ways(lab, "isolated", false, &[(1, "10.77.0.2"), (2, "10.77.0.101")])?;
        lab.host_ip(1, "link set eth0 down")?;
        lab.host_ip(3, "addr add 10.77.0.101/24 dev eth0")?;
        lab.host_ip(3, "route replace 10.77.0.2/32 dev eth0 src 10.77.0.101")?;
        lab.host_ip(3, "neigh flush dev eth0")?;
        until("the next holder to be free", Duration::from_secs(10), || {
            Ok((lab.ping(3, "10.77.0.2")? == 5).then_some(()))
        })?;
        let left = targets(site)?;
        ensure!(!left.contains(&new[0]) && left.contains(&mac(1)), "{left:?}");
        lab.host_ip(1, "link set eth0 up")?;
        check_ways(lab, "the device itself", false, &[(1, "10.77.0.3")])
    })
}
