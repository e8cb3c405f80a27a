//! What the network does while the daemon does nothing, or the clock is wrong.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, Site, mount_small, signal, site};
use bpf_tests::lab::{mac, run};
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// Isolates a host's MAC address for so many seconds; gives when that was.
fn isolate_for(site: &Site, host: u8, secs: u64) -> Result<Instant> {
    let (mac, length) = (mac(host), format!("{secs}s"));
    // Not later than the rule is made: it ends that long after it.
    let made = Instant::now();
    site.ask(&["block", "add", "--mac", &mac, "--for", &length])?;
    Ok(made)
}

/// Waits until a host is let through to host 2, which must be `secs` after `made`: not before, and soon then.
fn check_end(site: &Site, host: u8, made: Instant, secs: u64) -> Result<()> {
    let open = || {
        let answered = site.lab.start_ping(host, "10.77.0.2", 1, 20)?.finish()?.1;
        Ok((answered == 1).then(|| made.elapsed()))
    };
    let took = until("the end of the isolation", Duration::from_secs(secs + 10), open)?;
    let (early, late) = (Duration::from_secs(secs), Duration::from_secs(secs + 3));
    ensure!((early..late).contains(&took), "isolated for {secs} s, open after {took:?}");
    Ok(())
}

/// With the daemon killed or stopped: nobody else loses a packet, who is isolated stays so, and isolations end on time.
fn without_daemon(word: &str) -> Result<()> {
    site(4, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        let made = isolate_for(site, 4, 8)?;
        signal(word, daemon.pid())?;
        let others = site.lab.start_ping(2, "10.77.0.3", 1_000, 2)?;
        let isolated = site.lab.start_ping(1, "10.77.0.2", 100, 10)?;
        let for_now = site.lab.start_ping(4, "10.77.0.2", 100, 10)?;
        assert_eq!(others.finish()?, (1_000, 1_000), "of others");
        assert_eq!((isolated.finish()?.1, for_now.finish()?.1), (0, 0), "of the isolated");
        check_end(site, 4, made, 8)?;
        check_ways(site.lab, word, false, &[(1, "10.77.0.2"), (2, "fd77::1")])?;
        if word == "STOP" {
            // It finds the world as it should be, and says so.
            signal("CONT", daemon.pid())?;
            let blocks = site.ask(&["block", "list"])?;
            assert_eq!(blocks.as_array().map(Vec::len), Some(1), "{blocks}");
            check_ways(site.lab, "going on", true, &[(4, "10.77.0.2")])?;
            check_ways(site.lab, "going on", false, &[(1, "10.77.0.2")])?;
        }
        Ok(())
    })
}

#[test]
fn while_the_daemon_is_dead_all_goes_on_and_isolations_hold_and_end() -> Result<()> {
    without_daemon("KILL")
}

#[test]
fn while_the_daemon_hangs_all_goes_on_and_isolations_hold_and_end() -> Result<()> {
    without_daemon("STOP")
}

/// Frames a host's interface received.
fn received(site: &Site, host: u8) -> Result<u64> {
    let links: Value = serde_json::from_str(&site.lab.host_ip(host, "-j -s link show eth0")?)?;
    links[0]["stats64"]["rx"]["packets"].as_u64().context("a count")
}

#[test]
fn a_restart_lets_nothing_of_the_isolated_through_and_counts_on() -> Result<()> {
    site(3, |site| {
        // So that whatever host 2 receives is of host 1.
        (1..=3).try_for_each(|host| site.lab.silence(host))?;
        let quiet = "net.ipv6.conf.all.disable_ipv6=1";
        run("ip", &["netns", "exec", &site.lab.switch(), "sysctl", "-q", "-w", quiet])?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        check_ways(site.lab, "before", false, &[(1, "10.77.0.2")])?;
        let counted = site.metric_becomes("sekisho_port_packets_total", &[("port", "p1")], |n| n >= 10.0)?;
        let before = received(site, 2)?;
        let mut isolated = site.lab.start_ping(1, "10.77.0.2", 4_000, 2)?;
        // Killed, started, stopped, started.
        daemon.kill()?;
        site.start(&["--mode", "enforce"])?.stop()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        ensure!(!isolated.ended()?, "the pings ended before the restarts");
        assert_eq!(isolated.finish()?.1, 0, "answers");
        assert_eq!(received(site, 2)?, before, "frames of host 1 came through");
        site.metric_becomes("sekisho_port_packets_total", &[("port", "p1")], |n| n >= counted + 4_000.0)?;
        check_ways(site.lab, "after", true, &[(3, "10.77.0.2")])
    })
}

/// A segment that gets another number by one added before it: neither is its own let go, nor are others held, at any moment.
#[test]
fn segments_that_are_renumbered_at_a_restart_hold_their_own() -> Result<()> {
    site(3, |site| {
        (1..=3).try_for_each(|host| site.lab.silence(host))?;
        let ward = "[segments.ward]\nports = [\"p1\"]\n";
        site.configure(ward)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2"), (3, "10.77.0.2")])?;
        site.ask(&["block", "add", "--segment", "ward", "--level", "isolate"])?;
        check_ways(site.lab, "isolated", false, &[(1, "10.77.0.2")])?;
        let mut held = site.lab.start_ping(1, "10.77.0.2", 3_000, 2)?;
        let mut other = site.lab.start_ping(3, "10.77.0.2", 3_000, 2)?;
        daemon.stop()?;
        site.configure(&format!("[segments.admin]\nports = [\"p3\"]\n{ward}"))?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        ensure!(!held.ended()? && !other.ended()?, "the pings ended before the restart");
        assert_eq!(held.finish()?.1, 0, "answers for the segment that is isolated");
        let (sent, answered) = other.finish()?;
        assert_eq!(answered, sent, "answers for the segment that is new");
        Ok(())
    })
}

/// A daemon whose clock is off by what stands in a file, at any time: by libfaketime, so that it alone sees another time
/// of day than the machine.
fn start_with_clock(site: &Site) -> Result<Daemon> {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    ensure!(Path::new(&library).exists(), "{library} is not there: apt-get install faketime");
    let file = site.path("clock").display().to_string();
    // Only the time of day: the clock that is never set is not set here either.
    let environment = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    site.start_in(&environment, &["--mode", "enforce"])
}

/// Sets the daemon's clock so many seconds off, and sees that it is.
fn set_clock(site: &Site, offset: i64) -> Result<()> {
    fs::write(site.path("clock"), format!("{offset:+}"))?;
    let status = site.ask(&["status"])?;
    let time = status["time"].as_str().context("a time")?.to_owned();
    let of = |text: &str| run("date", &["-d", text, "+%s"])?.trim().parse::<i64>().context("a number");
    let off = of(&time)? - of("now")?;
    ensure!((off - offset).abs() <= 5, "the daemon's clock is {off} s off, not {offset}: {time}");
    Ok(())
}

/// The clock is set by an hour while an isolation goes on: it neither ends early nor lasts longer, and is the same after a
/// restart.
fn clock_is_set(offset: i64) -> Result<()> {
    site(3, |site| {
        // It keeps files there, and forgets them when it is killed.
        mount_small("/dev/shm".as_ref(), 1_024)?;
        fs::write(site.path("clock"), "+0")?;
        let daemon = start_with_clock(site)?;
        let made = isolate_for(site, 1, 6)?;
        set_clock(site, offset)?;
        check_ways(site.lab, "the clock was set", false, &[(1, "10.77.0.2"), (3, "10.77.0.1")])?;
        check_end(site, 1, made, 6)?;
        until("the end in the list", Duration::from_secs(5), || {
            let blocks = site.ask(&["block", "list"])?;
            Ok((blocks.as_array().map(Vec::len) == Some(0)).then_some(()))
        })?;
        // Set back, and the daemon started anew.
        let made = isolate_for(site, 1, 10)?;
        daemon.kill()?;
        fs::write(site.path("clock"), "+0")?;
        let _daemon = start_with_clock(site)?;
        set_clock(site, 0)?;
        check_ways(site.lab, "started anew", false, &[(1, "10.77.0.2")])?;
        check_end(site, 1, made, 10)?;
        check_ways(site.lab, "all the time", true, &[(2, "10.77.0.3")])
    })
}

#[test]
fn a_clock_that_is_set_back_by_an_hour_changes_no_isolation() -> Result<()> {
    clock_is_set(-3_600)
}

#[test]
fn a_clock_that_is_set_forward_by_an_hour_changes_no_isolation() -> Result<()> {
    clock_is_set(3_600)
}
