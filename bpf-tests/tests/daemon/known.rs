//! What people say of devices is known again after the daemon was killed.

use std::fs;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::check_ways;
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
