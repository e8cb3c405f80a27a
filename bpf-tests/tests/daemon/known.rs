//! What people say of devices is known again after the daemon was killed.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// Ways that are closed while host 1 is cut off.
const ITS_WAYS: [(u8, &str); 2] = [(1, "10.77.0.2"), (2, "10.77.0.1")];

/// The device of that name.
fn called(site: &Site, name: &str) -> Result<Value> {
    let devices = site.ask(&["devices"])?;
    let found = devices.as_array().into_iter().flatten().find(|device| device["name"] == name);
    found.cloned().with_context(|| format!("nobody is called {name}: {devices}"))
}

#[test]
fn names_and_numbers_of_devices_outlive_a_kill_and_a_device_is_cut_off_by_its_name() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "before", true, &ITS_WAYS)?;
        site.ask(&["devices", "set", &mac(1), "--name", "MRI 2", "--place", "room 12", "--approved"])?;
        let file = site.path("devices.csv");
        let lines = format!("mac,name,owner\n{},PACS,IT\n02:aa:00:00:00:01,spare pump,ward 3\n", mac(2));
        fs::write(&file, lines).context("writing the list")?;
        let file = file.display().to_string();
        let read = site.ask(&["devices", "import", &file])?;
        ensure!(read["devices"] == 2 && read["changed"] == 2, "{read}");
        // Two swap their names in one file.
        for names in [["spare pump", "PACS"], ["PACS", "spare pump"]] {
            let lines = format!("mac,name\n{},{}\n02:aa:00:00:00:01,{}\n", mac(2), names[0], names[1]);
            fs::write(&file, lines).context("writing the swap")?;
            ensure!(site.ask(&["devices", "import", &file])?["changed"] == 2, "{names:?}");
            ensure!(called(site, names[0])?["mac"] == mac(2), "{names:?}");
        }
        let numbers = || -> Result<Vec<Value>> {
            ["MRI 2", "PACS", "spare pump"].iter().map(|name| Ok(called(site, name)?["id"].clone())).collect()
        };
        let before = numbers()?;
        daemon.kill()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        ensure!(daemon.log()?.contains("what was learned before is taken up"), "{}", daemon.log()?);
        let after = numbers()?;
        ensure!(before == after, "{before:?} then {after:?}");
        let (scanner, spare) = (called(site, "MRI 2")?, called(site, "spare pump")?);
        ensure!(scanner["place"] == "room 12" && scanner["approved"] == true, "{scanner}");
        ensure!(spare["last_seen"].is_null() && spare["owner"] == "ward 3", "{spare}");
        site.ask(&["block", "add", "MRI 2"])?;
        check_ways(site.lab, "while it is cut off", false, &ITS_WAYS)?;
        check_ways(site.lab, "meanwhile", true, &[(2, "10.77.0.3")])?;
        let told = site.tell(&["devices", "import", &file, "--check"])?;
        ensure!(told.code == Some(0), "{told:?}");
        fs::write(&file, "mac,name\nnobody,x\n").context("writing a mistake")?;
        site.tell(&["devices", "import", &file])?.check_failed(&["nobody", "nothing was changed"])?;
        daemon.stop().map(drop)
    })
}

/// The device of host n.
fn host(site: &Site, n: u8) -> Result<Value> {
    let devices = site.ask(&["devices"])?;
    let found = devices.as_array().into_iter().flatten().find(|device| device["mac"] == mac(n));
    found.cloned().with_context(|| format!("host {n} is not known: {devices}"))
}

/// Numbers and names of hosts 1 and 4, and how much depends on them.
fn said(site: &Site) -> Result<[[Value; 4]; 2]> {
    let of = |n| -> Result<[Value; 4]> {
        let device = host(site, n)?;
        Ok(["id", "name", "criticality", "approved"].map(|field| device[field].clone()))
    };
    Ok([of(1)?, of(4)?])
}

#[test]
fn what_is_merged_parted_and_forgotten_outlives_a_kill_right_after_and_is_cut_off_as_one() -> Result<()> {
    const THEIRS: [(u8, &str); 4] = [(2, "10.77.0.4"), (3, "10.77.0.4"), (4, "10.77.0.2"), (4, "10.77.0.3")];
    site(4, |site| {
        let start = || site.start(&["--mode", "enforce"]);
        let daemon = start()?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2"), (3, "10.77.0.2"), (4, "10.77.0.2")])?;
        // All are on the disk from here on. Of whom nothing is said, and who was heard for less than a minute, is not: after a kill he
        // is unknown until he begins a new conversation.
        for n in 1..=4 {
            let known = || Ok(site.ask(&["devices", "show", &mac(n)]).ok());
            until("each host is known", Duration::from_secs(10), known)?;
            site.ask(&["devices", "set", &mac(n), "--approved"])?;
        }
        daemon.stop()?;
        let daemon = start()?;
        let set = ["--name", "Vent 1", "--criticality", "life-critical"];
        site.ask(&[&["devices", "set", &mac(1)][..], &set].concat())?;
        let before = said(site)?;
        site.ask(&["devices", "merge", &mac(4), "Vent 1"])?;
        daemon.kill()?;
        let daemon = start()?;
        let merged = said(site)?;
        ensure!(merged[0] == merged[1] && merged[0][2] == "life-critical", "{merged:?}");
        site.ask(&["devices", "split", &mac(1)])?;
        daemon.kill()?;
        let daemon = start()?;
        let parted = said(site)?;
        ensure!(parted == before, "{before:?} then {parted:?}");

        check_ways(site.lab, "heard again", true, &[(3, "10.77.0.2"), (4, "10.77.0.2")])?;
        site.ask(&["block", "add", &mac(3), "--for", "5m"])?;
        check_ways(site.lab, "host 4 is free", true, &[(4, "10.77.0.2")])?;
        let answer = site.ask(&["devices", "merge", &mac(3), &mac(4)])?;
        ensure!(answer["remarks"].to_string().contains(&mac(4)), "{answer}");
        check_ways(site.lab, "merged with one that is cut off", false, &THEIRS)?;
        daemon.kill()?;
        let daemon = start()?;
        site.ask(&["devices", "split", &mac(4)])?;
        daemon.kill()?;
        let daemon = start()?;
        check_ways(site.lab, "parted, and cut off still", false, &THEIRS)?;
        let list = site.ask(&["block", "list"])?;
        ensure!(list.as_array().is_some_and(|list| list.len() == 2), "{list}");
        site.ask(&["block", "remove", &mac(4)])?;
        check_ways(site.lab, "host 4 alone is let go", true, &[(4, "10.77.0.2")])?;
        check_ways(site.lab, "and host 3 is not", false, &[(3, "10.77.0.2"), (4, "10.77.0.3")])?;
        site.ask(&["devices", "forget", "Vent 1"])?;
        daemon.kill()?;
        let daemon = start()?;
        let devices = site.ask(&["devices"])?;
        let number = |device: &Value| device["id"] == before[0][0];
        ensure!(!devices.as_array().into_iter().flatten().any(number), "{devices}");
        daemon.stop().map(drop)
    })
}
