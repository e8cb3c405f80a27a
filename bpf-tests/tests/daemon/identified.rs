//! What a device is, and where: from the wire to what a person reads.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::frame::Frame;
use bpf_tests::lab::mac;
use bpf_tests::raw::Raw;
use bpf_tests::traffic::{Service, exchange, until};
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

/// A real client asks for an address, and uses a real service; a switch says where it is.
#[test]
fn a_modality_is_recognised_by_how_it_asks_and_whom_it_sends_to_and_its_switch_is_named() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&[])?;
        let namespace = site.lab.host(1);
        let mut client = Command::new("ip");
        client.args([
            "netns",
            "exec",
            &namespace,
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-s",
            "/bin/true",
            "-t",
            "2",
        ]);
        client.args(["-T", "1", "-n", "-q", "-V", "MSFT 5.0", "-x", "hostname:CT-2"]);
        // Nobody gives it one, so that it fails.
        client.output().context("running udhcpc (apt-get install busybox)")?;
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
