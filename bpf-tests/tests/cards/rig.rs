//! A switch with a host at a veth, and another at the far end of a real card's cable.
//!
//! `cargo xtask vm --cards` has such cards: the MAC addresses 52:54:00:77:NN:00 and 52:54:00:77:NN:01 are the two ends of
//! cable NN, and 52:54:00:77:NN:02 has none.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::{BRIDGE, mac, run};
use bpf_tests::traffic::until;
use serde_json::Value;

/// Where the cards are: the network namespace that the machine began with, as ip(8) is to know it.
const MACHINE: &str = "machine";
/// How long a card may take to come back from a namespace that is gone, or its cable to be ready.
const PATIENCE: Duration = Duration::from_secs(10);
/// The VLAN that both hosts are in, beside the plain network, and their interface there.
pub const VLAN: &str = "7";
const IN_VLAN: &str = "v7";
/// Host 1 in the plain network, and in the VLAN.
pub const PLAIN: &str = "10.77.0.1";
pub const TAGGED: &str = "10.78.0.1";

/// A card is in one test at a time.
static CARDS: Mutex<()> = Mutex::new(());

/// A site of which host 1 is at a veth and host 2 at a card.
pub struct Rig<'a> {
    pub site: &'a Site<'a>,
    /// The card on the switch.
    pub card: String,
}

/// Makes a site and runs `work` with the card of that driver on the switch, which is no port of the bridge yet. Its cable
/// leads to host 2, unless it has none.
pub fn rig<T: Send>(driver: &str, work: impl FnOnce(&Rig<'_>) -> Result<T> + Send) -> Result<T> {
    let _alone = CARDS.lock().unwrap_or_else(PoisonError::into_inner);
    let (card, far) = until(&format!("a card of {driver}"), PATIENCE, || card(driver))
        .context("`cargo xtask vm --cards` runs this where there is one")?;
    // For everybody, since a site's mounts are its own. That it is known already is no harm.
    let _ = run("ip", &["netns", "attach", MACHINE, "1"]);
    site(1, |site| {
        machine(&["link", "set", &card, "netns", &site.lab.switch()])?;
        let host = far.map(|far| Host2::new(site, &far)).transpose()?;
        let outcome = work(&Rig { site, card: card.clone() });
        drop(host);
        outcome
    })
}

/// The card of the machine that has this driver, and the other end of its cable if it has one.
fn card(driver: &str) -> Result<Option<(String, Option<String>)>> {
    let is = |name: &str| {
        let link = fs::read_link(Path::new("/sys/class/net").join(name).join("device/driver"));
        link.is_ok_and(|link| link.file_name().is_some_and(|name| name == driver))
    };
    let all = interfaces()?;
    let mut ours = all.iter().filter(|(_, mac)| mac.starts_with("52:54:00:77:") && !mac.ends_with(":01"));
    let Some((card, mac)) = ours.find(|(name, _)| is(name)) else { return Ok(None) };
    let Some(cable) = mac.strip_suffix(":00") else { return Ok(Some((card.clone(), None))) };
    let far = all.iter().find(|(_, mac)| *mac == format!("{cable}:01"));
    Ok(far.map(|(far, _)| (card.clone(), Some(far.clone()))))
}

/// The interfaces of the machine, by name and MAC address.
fn interfaces() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net").context("listing interfaces")? {
        let entry = entry?;
        let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        found.push((entry.file_name().to_string_lossy().into_owned(), address.trim().to_owned()));
    }
    Ok(found)
}

/// Runs ip(8) where the cards are.
fn machine(arguments: &[&str]) -> Result<String> {
    run("ip", &[&["-n", MACHINE], arguments].concat())
}

/// The namespace of host 2; its card goes back to the machine with it.
struct Host2(String);

impl Host2 {
    fn new(site: &Site<'_>, card: &str) -> Result<Self> {
        let host = Self(site.lab.host(2));
        run("ip", &["netns", "add", &host.0])?;
        // What comes through from it is to be what a test has it send.
        site.lab.silence(2)?;
        machine(&["link", "set", card, "netns", &host.0])?;
        site.lab.host_ip(2, &format!("link set {card} up"))?;
        // Its tags are to be in the frames of host 1's veth.
        let untouched = ["tx-vlan-hw-insert", "off", "tx-vlan-stag-hw-insert", "off"];
        run(
            "ip",
            &[&["netns", "exec", &site.lab.host(1), "ethtool", "-K", "eth0"], &untouched[..]].concat(),
        )?;
        site.lab.host_ip(2, &format!("addr add 10.77.0.2/24 dev {card}"))?;
        for (host, device) in [(1, "eth0"), (2, card)] {
            let ip = |arguments: &str| site.lab.host_ip(host, arguments);
            ip(&format!("link add link {device} name {IN_VLAN} type vlan id {VLAN}"))?;
            ip(&format!("link set {IN_VLAN} up"))?;
            ip(&format!("addr add 10.78.0.{host}/24 dev {IN_VLAN}"))?;
        }
        // So that host 2 sends what it has to say also if nobody answers.
        for (address, device) in [(PLAIN, card), (TAGGED, IN_VLAN)] {
            site.lab.host_ip(2, &format!("neigh replace {address} lladdr {} dev {device}", mac(1)))?;
        }
        Ok(host)
    }
}

impl Drop for Host2 {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = run("ip", &["netns", "del", &self.0]);
    }
}

impl Rig<'_> {
    /// Makes an interface of the switch a port of the bridge.
    pub fn join(&self, port: &str) -> Result<()> {
        self.site.lab.ip(&format!("link set {port} master {BRIDGE}"))?;
        self.site.lab.ip(&format!("link set {port} up")).map(drop)
    }

    /// Waits until host 2 reaches host 1, which takes a card some seconds.
    pub fn wait_for_cable(&self) -> Result<()> {
        until("the cable", PATIENCE, || Ok((self.site.lab.ping(2, PLAIN)? > 0).then_some(())))
    }

    /// Runs ethtool(8) on the switch.
    pub fn ethtool(&self, arguments: &[&str]) -> Result<String> {
        run("ip", &[&["netns", "exec", &self.site.lab.switch(), "ethtool"], arguments].concat())
    }

    /// Whether a feature of an interface is on, by ethtool(8): an independent witness.
    pub fn is_on(&self, port: &str, feature: &str) -> Result<bool> {
        let text = self.ethtool(&["-k", port])?;
        let state = text.lines().find_map(|line| line.trim().strip_prefix(feature)?.strip_prefix(": "));
        state.map(|state| state.starts_with("on")).with_context(|| format!("no {feature}:\n{text}"))
    }

    pub fn wait_for(&self, port: &str, feature: &str, on: bool) -> Result<()> {
        let what = format!("{feature} of {port} {}", if on { "on" } else { "off" });
        until(&what, PATIENCE, || Ok((self.is_on(port, feature)? == on).then_some(())))
    }

    /// How many of the pings that host 2 sends with a tag came through to host 1, whether or not it can answer.
    pub fn tagged_through(&self) -> Result<u64> {
        let received = || -> Result<u64> {
            let told = self.site.lab.host_ip(1, &format!("-s -j link show {IN_VLAN}"))?;
            let told: Value = serde_json::from_str(&told)?;
            told[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| format!("no count: {told}"))
        };
        let before = received()?;
        self.site.lab.ping(2, TAGGED)?;
        Ok(received()? - before)
    }

    /// What `sekisho doctor` finds of a port: the level, the words and the hint of that check.
    pub fn doctor(&self, port: &str, check: &str) -> Result<String> {
        let pins = self.site.pin_dir().display().to_string();
        let told = self.site.plain(&["doctor", "--pin-dir", &pins, "-o", "json"])?;
        let lines = told.lines()?;
        let findings = lines.first().and_then(|answer| answer["findings"].as_array());
        let found = findings.into_iter().flatten().find(|f| f["port"] == port && f["check"] == check);
        let found = found.with_context(|| format!("no {check} of {port}: {told:?}"))?;
        Ok(format!("{} {} {}", found["level"], found["found"], found["hint"]))
    }

    /// Takes the filter off.
    pub fn detach(&self) -> Result<()> {
        let told = self.site.plain(&["detach", "--pin-dir", &self.site.pin_dir().display().to_string()])?;
        ensure!(told.code == Some(0), "{told:?}");
        Ok(())
    }
}

/// Checks that a text has these words.
pub fn says(text: &str, words: &[&str]) -> Result<()> {
    let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
    ensure!(missing.is_empty(), "it lacks {missing:?}:\n{text}");
    Ok(())
}
