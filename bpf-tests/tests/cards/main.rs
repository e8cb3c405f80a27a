//! The box with network cards, as far as QEMU has them: what they do to frames, and how their drivers take the program.
//!
//! Not among the ordinary tests: `cargo xtask vm --cards` runs them, on a machine with such cards.

mod rig;

use anyhow::{Result, ensure};
use bpf_tests::daemon::signal;
use bpf_tests::traffic::check_ways;
use rig::{PLAIN, Rig, TAGGED, VLAN, rig, says};

/// As ethtool(8) calls what the product calls `rx-vlan-hw-parse` and so on.
const RX_VLAN: &str = "rx-vlan-offload";
const LRO: &str = "large-receive-offload";
const GRO_HW: &str = "rx-gro-hw";

/// Has somebody cut off by what is in tagged frames, and looks whether they get through. `port` is the bridge's; `card`
/// is the one that would take the tags off.
fn tags_are_seen(rig: &Rig, port: &str) -> Result<()> {
    let (site, lab, card) = (rig.site, rig.site.lab, rig.card.as_str());
    rig.join(port)?;
    rig.wait_for_cable()?;
    ensure!(rig.is_on(card, RX_VLAN)?, "{card} takes no tags off: nothing is shown");
    check_ways(lab, "without Sekisho", true, &[(2, PLAIN), (2, TAGGED)])?;

    let daemon = site.start(&["--mode", "enforce"])?;
    ensure!(!rig.is_on(card, RX_VLAN)?, "still on");
    says(&daemon.log()?, &[&format!("{port}: switched off until the filter leaves it: rx-vlan-hw-parse")])?;
    rig.wait_for_cable()?;
    check_ways(lab, "nobody is cut off", true, &[(2, PLAIN), (2, TAGGED)])?;
    for target in [["--ip", "10.78.0.2"], ["--vlan", VLAN]] {
        site.ask(&[&["block", "add"], &target[..]].concat())?;
        check_ways(lab, target[0], false, &[(2, TAGGED)])?;
        check_ways(lab, target[0], true, &[(2, PLAIN)])?;
        ensure!(rig.tagged_through()? == 0, "{target:?}: frames got through");
        site.ask(&[&["block", "remove"], &target[..]].concat())?;
    }

    // While nobody looks, somebody switches it on: that hides the tags, so it is this that has to be off.
    site.ask(&["block", "add", "--vlan", VLAN])?;
    signal("STOP", daemon.pid())?;
    rig.ethtool(&["-K", card, "rxvlan", "on"])?;
    rig.wait_for_cable()?;
    ensure!(rig.tagged_through()? > 0, "{card} does not take tags off: nothing is shown");
    signal("CONT", daemon.pid())?;
    rig.wait_for(card, RX_VLAN, false)?;
    site.metric_becomes("sekisho_repairs_total", &[("what", "offload")], |value| value >= 1.0)?;
    rig.wait_for_cable()?;
    ensure!(rig.tagged_through()? == 0, "frames got through after the repair");

    daemon.stop()?;
    ensure!(!rig.is_on(card, RX_VLAN)?, "a daemon that stops leaves the filter, and what it needs");
    rig.detach()?;
    ensure!(rig.is_on(card, RX_VLAN)?, "not put back");
    site.check_nothing_left()
}

/// Starts the daemon for a moment, and checks how it has the program on a port.
fn runs_as(rig: &Rig, port: &str, mode: &str, problem: Option<&str>) -> Result<()> {
    let daemon = rig.site.start(&[])?;
    rig.site.metric_becomes("sekisho_port_info", &[("port", port), ("mode", mode)], |value| value == 1.0)?;
    let page = rig.site.metrics()?;
    let told = page.series("sekisho_port_problem");
    let told: Vec<_> = told.iter().filter(|(series, _)| series.contains(&format!("\"{port}\""))).collect();
    match (problem, &told[..]) {
        (None, []) => {}
        (Some(problem), [(series, 1.0)]) => says(series, &[&format!("problem=\"{problem}\"")])?,
        _ => anyhow::bail!("expected {problem:?}, found {told:?}"),
    }
    daemon.stop()?;
    rig.detach()
}

#[test]
fn tags_of_a_card_that_runs_the_program_are_seen() -> Result<()> {
    rig("igb", |rig| tags_are_seen(rig, &rig.card))
}

#[test]
fn tags_of_a_card_that_runs_no_programs_are_seen() -> Result<()> {
    rig("e1000e", |rig| tags_are_seen(rig, &rig.card))
}

#[test]
fn tags_of_a_card_that_merges_segments_are_seen() -> Result<()> {
    rig("vmxnet3", |rig| tags_are_seen(rig, &rig.card))
}

#[test]
fn tags_of_a_card_in_a_bond_are_seen() -> Result<()> {
    rig("igb", |rig| {
        bond(rig)?;
        tags_are_seen(rig, "bond9")
    })
}

/// Makes a bond of the card.
fn bond(rig: &Rig) -> Result<()> {
    rig.site.lab.ip("link add bond9 type bond mode active-backup miimon 100")?;
    rig.site.lab.ip(&format!("link set {} master bond9", rig.card)).map(drop)
}

#[test]
fn a_card_has_its_offloads_back_when_its_bond_goes() -> Result<()> {
    rig("igb", |rig| {
        bond(rig)?;
        rig.join("bond9")?;
        rig.site.lab.ip("link add spare type veth")?;
        let _daemon = rig.site.start(&[])?;
        ensure!(!rig.is_on(&rig.card, RX_VLAN)?, "still on");
        // A member that comes later.
        rig.site.lab.ip("link set spare master bond9")?;
        rig.wait_for("spare", RX_VLAN, false)?;
        rig.site.lab.ip("link del bond9")?;
        rig.wait_for(&rig.card, RX_VLAN, true)?;
        rig.wait_for("spare", RX_VLAN, true)
    })
}

#[test]
fn segments_are_merged_by_no_card() -> Result<()> {
    // The kernel itself switches LRO off on a port of a bridge, and lets nobody switch it on there.
    rig("vmxnet3", |rig| {
        rig.site.lab.ip(&format!("link set {} up", rig.card))?;
        ensure!(rig.is_on(&rig.card, LRO)?, "it merges nothing: nothing is shown");
        rig.join(&rig.card)?;
        ensure!(!rig.is_on(&rig.card, LRO)?, "a bridge has a port that merges");
        // It tells what it could not do by failing.
        let _ = rig.ethtool(&["-K", &rig.card, "lro", "on"]);
        ensure!(!rig.is_on(&rig.card, LRO)?, "a bridge has a port that merges");
        Ok(())
    })?;
    // Hardware GRO it leaves alone.
    rig("virtio_net", |rig| {
        rig.join(&rig.card)?;
        ensure!(rig.is_on(&rig.card, GRO_HW)?, "it merges nothing: nothing is shown");
        let daemon = rig.site.start(&[])?;
        ensure!(!rig.is_on(&rig.card, GRO_HW)?, "still on");
        says(
            &daemon.log()?,
            &[&format!("{}: switched off until the filter leaves it: rx-gro-hw", rig.card)],
        )?;
        daemon.stop()?;
        rig.detach()?;
        ensure!(rig.is_on(&rig.card, GRO_HW)?, "not put back");
        Ok(())
    })
}

#[test]
fn an_mtu_that_the_driver_does_not_take_is_told() -> Result<()> {
    rig("igb", |rig| {
        let card = &rig.card;
        rig.join(card)?;
        for (mtu, level, mode, problem) in
            [("3046", "ok", "native", None), ("3047", "warning", "generic", Some("mtu"))]
        {
            rig.site.lab.ip(&format!("link set {card} mtu {mtu}"))?;
            says(&rig.doctor(card, "driver")?, &[level, "igb", mtu])?;
            runs_as(rig, card, mode, problem)?;
        }
        rig.site.lab.ip(&format!("link set {card} mtu 1500")).map(drop)
    })
}

#[test]
fn a_driver_that_runs_no_programs_is_told() -> Result<()> {
    rig("e1000e", |rig| {
        rig.join(&rig.card)?;
        // Kernels before 6.3 cannot tell; the doctor then says that it does not know, and what that may mean.
        says(&rig.doctor(&rig.card, "driver")?, &["warning", "e1000e", "generic mode"])?;
        runs_as(rig, &rig.card, "generic", Some("no_native"))
    })
}

#[test]
fn a_bond_is_as_good_as_its_members() -> Result<()> {
    rig("igb", |rig| {
        bond(rig)?;
        rig.join("bond9")?;
        says(&rig.doctor("bond9", "bond")?, &["warning", &format!("a bond of {}", rig.card)])?;
        runs_as(rig, "bond9", "native", None)
    })?;
    rig("e1000e", |rig| {
        bond(rig)?;
        rig.join("bond9")?;
        says(&rig.doctor("bond9", "bond")?, &["native mode only if all its members' drivers run it"])?;
        runs_as(rig, "bond9", "generic", Some("no_native"))
    })
}
