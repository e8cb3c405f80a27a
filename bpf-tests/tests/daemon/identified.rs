//! What a device is, and where: from the wire to what a person reads.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::frame::Frame;
use bpf_tests::lab::mac;
use bpf_tests::raw::Raw;
use bpf_tests::traffic::{Service, check_ways, exchange, until};
use serde_json::Value;

/// What is said of host n, once it is what is wanted.
fn device(site: &Site, n: u8, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    until("the device", Duration::from_secs(10), || {
        let devices = site.ask(&["devices"])?;
        let mut list = devices.as_array().context("a list")?.iter();
        Ok(list.find(|device| device["mac"] == mac(n) && wanted(device)).cloned())
    })
}

fn says(device: &Value, reason: &str) -> bool {
    device["kind"]["reasons"].as_array().into_iter().flatten().any(|said| said == reason)
}

/// A real client on host n asks for an address as Windows does. Nobody gives it one, so that it fails.
fn ask_for_an_address(site: &Site, n: u8, options: &[&str]) -> Result<()> {
    let namespace = site.lab.host(n);
    let mut client = Command::new("ip");
    client.args(["netns", "exec", &namespace, "busybox", "udhcpc", "-i", "eth0", "-s", "/bin/true"]);
    client.args(["-t", "2", "-T", "1", "-n", "-q", "-V", "MSFT 5.0"]).args(options);
    client.output().context("running udhcpc (apt-get install busybox)").map(drop)
}

#[test]
fn what_was_found_out_of_devices_is_known_without_the_record_and_so_is_who_is_perhaps_one() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&[])?;
        for (n, name) in [(1, "hostname:CT-2"), (2, "hostname:dock")] {
            ask_for_an_address(site, n, &["-x", name, "-x", "0x3d:00c0ffee01"])?;
            // Of whom something is said is kept, however short it was heard.
            site.ask(&["devices", "approve", &mac(n)])?;
        }
        let one = |device: &Value| device["perhaps_same"][0]["device"]["mac"] == mac(2);
        let before = device(site, 1, one)?;
        assert_eq!(before["perhaps_same"][0]["dhcp_client_id"], "00c0ffee01", "{before}");
        let ids = (before["id"].to_string(), before["perhaps_same"][0]["device"]["id"].to_string());
        let merge = format!("If so: `sekisho devices merge {} {}`", ids.0, ids.1);
        for (args, want) in [
            (&["devices", "show", &mac(1)][..], &merge[..]),
            (&["devices"], "2 devices are perhaps one with another"),
        ] {
            let told = site.tell(args)?;
            ensure!(told.out.contains(want), "{}", told.out);
        }
        daemon.stop()?;
        // As after a boot of the machine: what is in the record is of no use any more.
        fs::remove_dir_all(site.state_dir().join("record")).context("removing the record")?;
        let daemon = site.start(&[])?;
        let after = device(site, 1, one)?;
        assert_eq!(before["names"], serde_json::json!(["CT-2"]), "{before}");
        for key in ["kind", "names", "port", "perhaps_same"] {
            assert_eq!(after[key], before[key], "{key}");
        }
        site.ask(&["devices", "merge", &ids.0, &ids.1])?;
        device(site, 1, |device| device.get("perhaps_same").is_none())?;
        daemon.stop().map(drop)
    })
}

/// Puts the cable of host n in ("up") or takes it out ("down").
fn cable(site: &Site, n: u8, state: &str) -> Result<()> {
    let done = Command::new("ip").args(["-n", &site.lab.host(n), "link", "set", "eth0", state]).status();
    ensure!(done.context("running ip")?.success(), "the cable of host {n} cannot be {state}");
    Ok(())
}

/// It takes three minutes: so long it is looked whether they are two.
#[test]
fn a_laptop_out_of_its_dock_is_one_device_for_people_also_after_a_kill_and_two_to_cut_off() -> Result<()> {
    const DUID: &str = "0004000102030405060708090a0b0c0d0e0f";
    site(3, |site| {
        let start = || site.start(&["--mode", "enforce"]);
        // Heard first, host 1 gives both its number.
        cable(site, 2, "down")?;
        let daemon = start()?;
        for n in [1, 2] {
            ask_for_an_address(site, n, &["-x", &format!("0x3d:ff0000000{n}{DUID}")])?;
            site.ask(&["devices", "approve", &mac(n)])?;
            if n == 1 {
                cable(site, 1, "down")?;
                cable(site, 2, "up")?;
            }
        }
        let grouped = |event: &Value| event["inventory"]["action"] == "grouped";
        let event = until("the evidence", Duration::from_secs(300), || {
            check_ways(site.lab, "undocked", true, &[(2, "10.77.0.3")])?;
            Ok(daemon.events()?.into_iter().find(grouped))
        })?;
        ensure!(event["inventory"]["dhcp_client_id"] == DUID, "{event}");
        let number = device(site, 1, |_| true)?["id"].clone();
        let one = |device: &Value| {
            let one = &device["one_by_evidence"];
            one["number"] == number && one["with"].as_array().is_some_and(|with| with.len() == 1)
        };
        let check = |when: &str| -> Result<()> {
            for n in [1, 2] {
                device(site, n, one).context(when.to_owned())?;
            }
            let export = site.tell(&["devices", "export"])?.out;
            let lines: Vec<&str> = export.lines().filter(|line| line.contains(&mac(2))).collect();
            ensure!(lines.len() == 1 && lines[0].contains(&mac(1)) && lines[0].contains(DUID), "{export}");
            let told = site.tell(&["devices", "show", &mac(2)])?.out;
            ensure!(told.contains("Each is held, spared and judged by itself"), "{told}");
            Ok(())
        };
        check("before")?;
        site.ask(&["block", "add", &number.to_string()])?;
        check_ways(site.lab, "the other is cut off", true, &[(2, "10.77.0.3")])?;
        daemon.kill()?;
        let daemon = start()?;
        check("after a kill")?;
        check_ways(site.lab, "after a kill", true, &[(2, "10.77.0.3")])?;
        site.ask(&["devices", "split", &mac(2)])?;
        let two = |device: &Value| device.get("one_by_evidence").is_none();
        daemon.kill()?;
        let daemon = start()?;
        for n in [1, 2] {
            device(site, n, two)?;
        }
        daemon.stop().map(drop)
    })
}

/// A real client asks for an address, and uses a real service; a switch says where it is.
#[test]
fn a_modality_is_recognised_by_how_it_asks_and_whom_it_sends_to_and_its_switch_is_named() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&[])?;
        ask_for_an_address(site, 1, &["-x", "hostname:CT-2"])?;
        let asked = device(site, 1, |device| says(device, "asks for an address as Windows does (MSFT 5.0)"))?;
        assert_eq!(asked["names"], serde_json::json!(["CT-2"]), "{asked}");
        let _service = Service::start(site.lab, 2, 104)?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        let sends = device(site, 1, |device| says(device, "sends by DICOM (TCP 104)"))?;
        assert_eq!(sends["kind"]["name"], "modality", "{sends}");
        let event = daemon.event("the kind", |event| event["kind"]["name"] == "modality")?;
        assert_eq!(event["device"]["mac"], mac(1).as_str(), "{event}");
        device(site, 2, |device| says(device, "serves DICOM (TCP 104)"))?;

        let mut lldp = vec![2, 7, 4, 2, 0, 0, 0, 0, 9, 4, 7, 5];
        lldp.extend(b"Gi0/13");
        lldp.extend([6, 2, 0, 120, 10, 5]);
        lldp.extend(b"sw-3f");
        lldp.extend([14, 4, 0, 4, 0, 4, 0, 0]);
        let frame = Frame::ethernet([0x02, 0, 0, 0, 0, 9], [0x01, 0x80, 0xc2, 0, 0, 0x0e]);
        Raw::open(site.lab, 1)?.send(&frame.ether_type(0x88cc).bytes(&lldp).build())?;
        let behind = device(site, 1, |device| device["switch"]["name"] == "sw-3f")?;
        assert_eq!(behind["switch"]["port"], "Gi0/13", "{behind}");
        let told = site.tell(&["devices", "show", &mac(1)])?;
        ensure!(told.out.contains("switch       sw-3f; its port Gi0/13 leads here"), "{}", told.out);
        ensure!(told.out.contains("sends by DICOM (TCP 104)"), "{}", told.out);
        let of = |outcome| [("kind", "dhcp"), ("outcome", outcome)];
        site.metric_becomes("sekisho_discovery_frames_total", &of("told"), |frames| frames >= 1.0)?;
        site.metric_becomes("sekisho_discovery_frames_total", &of("lost"), |frames| frames == 0.0)?;
        daemon.stop().map(drop)
    })
}
