//! Tests of the command line and of what it shows, with a daemon that gives fixed answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use jiff::tz::TimeZone;
use sensor_core::time::HOUR;
use serde_json::{Value, json};
use tempfile::TempDir;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::clock::Stamp;
use crate::eve::EventType;
use crate::protocol::{BlockInfo, DeviceInfo, IncidentInfo, Status};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_as_documented() {
    let Task::Run(run) = parse("sekisho run --bridge br0").unwrap().task else { panic!() };
    assert_eq!(run.socket.to_str(), Some("/run/sekisho/control.sock"));
    assert_eq!(run.state_dir.to_str(), Some("/var/lib/sekisho"));
    assert_eq!(run.pin_dir.to_str(), Some("/sys/fs/bpf/sekisho"));
    assert_eq!((run.mode, run.metrics, run.tell.json()), (None, None, false));
}

#[test]
fn options_are_understood() {
    let Task::Run(run) = parse("sekisho run --bridge br0 --mode enforce --metrics off -o json").unwrap().task
    else {
        panic!()
    };
    assert_eq!(run.mode, Some(sensor_core::settings::Mode::Enforce));
    assert_eq!((run.metrics, run.tell.json()), (Some(MetricsListen(None)), true));
    let Task::Replay(replay) =
        parse("sekisho replay a.pcap b/ --events alert,isolation --enforce").unwrap().task
    else {
        panic!()
    };
    assert_eq!((replay.inputs.len(), replay.enforce), (2, true));
    assert_eq!(replay.tell.kinds(), [EventType::Alert, EventType::Isolation]);
}

#[test]
fn people_are_spared_the_flows() {
    for (options, want) in [("", false), ("-o json", true), ("--events flow", true)] {
        let Task::Replay(replay) = parse(&format!("sekisho replay a.pcap {options}")).unwrap().task else {
            panic!()
        };
        assert_eq!(replay.tell.kinds().contains(&EventType::Flow), want, "{options}");
    }
}

#[test]
fn what_is_not_understood_ends_with_code_2() {
    for (line, want) in [
        ("sekisho", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ("sekisho explode", ErrorKind::InvalidSubcommand),
        ("sekisho run", ErrorKind::MissingRequiredArgument),
        ("sekisho run --bridge br0 --mode off", ErrorKind::InvalidValue),
        ("sekisho run --bridge br0 --metrics 9935", ErrorKind::ValueValidation),
        ("sekisho replay", ErrorKind::MissingRequiredArgument),
        ("sekisho replay a.pcap --events alerts", ErrorKind::InvalidValue),
        ("sekisho block add --for 4h", ErrorKind::MissingRequiredArgument),
        ("sekisho block add --ip 10.0.0", ErrorKind::ValueValidation),
        ("sekisho block add --mac 10.0.0.7", ErrorKind::ValueValidation),
        ("sekisho block add --ip 10.0.0.7 --for 4", ErrorKind::ValueValidation),
        ("sekisho block add --ip 10.0.0.7 --for 0s", ErrorKind::ValueValidation),
        ("sekisho block add --ip 10.0.0.7 --for 20000d", ErrorKind::ValueValidation),
        ("sekisho block add MRI --level off", ErrorKind::InvalidValue),
        ("sekisho block add MRI --direction up", ErrorKind::InvalidValue),
        ("sekisho block add --vlan 4095", ErrorKind::ValueValidation),
        ("sekisho block add --net 10.0.0.0/33", ErrorKind::ValueValidation),
        ("sekisho block add --level cut", ErrorKind::MissingRequiredArgument),
        ("sekisho block remove", ErrorKind::MissingRequiredArgument),
        ("sekisho block remove MRI --vlan 7", ErrorKind::ArgumentConflict),
        ("sekisho block remove --ip 10.0.0.7 --id 3", ErrorKind::ArgumentConflict),
        ("sekisho status -o xml", ErrorKind::InvalidValue),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (want, 2), "{line}: {error}");
    }
}

fn here() -> show::Here {
    show::Here { now: Stamp(1_767_225_600_000_000_000), zone: TimeZone::UTC, width: 80 }
}

fn device() -> Value {
    json!({
        "id": 17, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7", "fe80::7"], "maker": "Intel Corporate", "more_ips": 1,
        "first_seen": "2025-12-31T22:00:00.000000+0000", "last_seen": "2025-12-31T23:58:00.000000+0000",
        "port": "eth1", "vlan": 20, "gateway": false, "protected": false, "block": 5, "destinations": 3,
        "usual_destinations": null,
        "segment": "ward-3", "switch": { "name": "sw-3f", "port": "Gi0/7", "platform": "Cisco IOS" },
        "kind": { "name": "modality", "confidence": 0.93, "reasons": ["sends by DICOM (TCP 104)", "asks as Windows does"] },
        "names": ["mri2"],
    })
}

fn block() -> Value {
    json!({
        "id": 5, "targets": ["10.0.0.7"],
        "device": { "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "name": "MRI 2" },
        "level": "isolate", "owner": "tanaka", "reason": "virus warning", "since": "2026-01-01T00:00:00.000000+0000",
        "until": "2026-01-01T04:00:00.000000+0000", "would": false,
        "hits": { "dropped": 12, "dropped_bytes": 720, "would_drop": 0, "would_drop_bytes": 0 },
    })
}

fn incident() -> Value {
    json!({
        "id": 3, "device": { "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "name": "MRI 2" }, "severity": 1,
        "opened": "2025-12-31T23:00:00.000000+0000", "updated": "2025-12-31T23:00:01.000000+0000",
        "action": "isolated", "coverage": { "port": 1.0, "bridge": 0.97 },
        "evidence": { "nats": 19.86, "families": { "scan": 13.86, "beacon": 6.0, "model": 0.0 } },
        "findings": [{
            "time": "2025-12-31T23:00:00.500000+0000", "detector": "scan", "signature": "first contacts fail",
            "severity": 1, "evidence": { "failed_first_contacts": 10, "destinations": ["10.0.0.8", "10.0.0.9"] },
        }],
    })
}

fn status(mode: &str) -> Value {
    json!({
        "time": "2026-01-01T00:00:00.000000+0000", "bridge": "br0", "mode": mode, "version": "0.1.0",
        "uptime_secs": 7_380, "ring_lost": 0, "store_errors": 0, "pins": "/sys/fs/bpf/sekisho",
        "ports": [{
            "name": "eth1", "ifindex": 4, "index": 1, "mode": "native", "packets": 10, "bytes": 1_000, "drops": 2,
            "drop_bytes": 120, "would_drops": 1,
            "ledger": {
                "arrived": 10, "nic_bytes": 1_000, "accounted": { "flows": 5, "refused": 1 },
                "ignored": { "link_control": 1 }, "lost": { "unseen": 0, "unread": 2 }, "pending": 1,
                "coverage": 0.99996,
                "bytes": { "seen": 1_000, "flows": 500, "ignored": 100, "unentered": 100, "unread": 200 },
            },
        }],
        "blind": null,
        "rules": { "5": { "dropped": 12, "dropped_bytes": 720, "would_drop": 0, "would_drop_bytes": 0 } },
        "leaks": 0,
        "detectors_off": { "fanout": ["guests", "radiology"] },
        "stats": { "devices": 4, "incidents": 1, "blocks": 3, "blocks_would": 1, "flows_live": 7, "flows_new": 20 },
        "restricted": { "isolate": 1, "pin": 2 },
        "success": [
            { "class": null, "permille": 812, "devices": 40 }, { "class": "icu", "permille": null, "devices": 3 },
            { "class": "wards", "permille": 700, "devices": 5 },
        ],
    })
}

fn blindness() -> Value {
    json!({
        "since": "2025-12-31T23:59:00.000000+0000", "reasons": ["records_lost", "unread"], "frames_lost": 2,
        "records_lost": 1,
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[test]
fn answers_are_shown_to_people() {
    let devices: Vec<DeviceInfo> = read(json!([device()]));
    assert_eq!(
        show::devices(&devices, &here()),
        "DEVICE    MAC                KIND      ADDRESS    PORT   PEERS  SEEN    STATE\n\
         Intel C…  00:1b:21:0a:0b:0c  modalit…  10.0.0.7…  eth1…    3/?  2m ago  blocked…\n\n\
         1 device. PEERS: destinations in the last minute / what is usual.\n\
         `sekisho devices show DEVICE` tells where one is, and why it is of its kind.\n"
    );
    let blocks: Vec<BlockInfo> = read(json!([block()]));
    assert_eq!(
        show::blocks(&blocks, &here()),
        "ID  DEVICE  ADDRESS   LEFT  LEVEL    FRAMES  BY      REASON\n\
         \u{20}5  MRI 2   10.0.0.7  4h    isolate      12  tanaka  virus warning\n"
    );
    let incidents: Vec<IncidentInfo> = read(json!([incident()]));
    assert_eq!(
        show::incidents(&incidents, None, &here()),
        "ID  WHEN                 GRAVE  DEVICE  WHAT                 DONE\n\
         \u{20}3  2025-12-31 23:00:01  high   MRI 2   first contacts fail  isolated\n\n\
         `sekisho incidents ID` shows one with its numbers.\n"
    );
    assert_eq!(
        show::incident(&incidents[0], &here()),
        "Incident 3: MRI 2 (high), isolated\n  opened   2025-12-31 23:00:00\n  last     2025-12-31 23:00:01\n  \
         device   00:1b:21:0a:0b:0c 10.0.0.7\n  seen     97.00 % of what came in the minutes before\n  \
         evidence 19.9 nats (scan 13.9, beacon 6.0, model 0.0)\n\n  \
         2025-12-31 23:00:00 first contacts fail [high]\n    \
         failed first contacts        10\n    destinations                 10.0.0.8 10.0.0.9\n"
    );
}

#[test]
fn one_device_is_shown_with_all_there_is_to_know() {
    let mut known = device();
    let said = json!({
        "name": "MRI 2", "place": "building A, room 12", "owner": "radiology", "criticality": "life-critical", "approved": true,
        "merged": ["00:1b:21:0a:0b:0c", "00:1b:21:0a:0b:0d"],
    });
    known.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    assert_eq!(
        show::device(&read(known), &here()),
        "number       17\nname         MRI 2\ncalls itself mri2\nMAC address  00:1b:21:0a:0b:0c\nmerged       00:1b:21:0a:0b:0c, \
         00:1b:21:0a:0b:0d\naddresses    10.0.0.7, fe80::7 and 1 more\nmaker        Intel Corporate\nclass        -\n\
         kind         modality 93 %\n             sends by DICOM (TCP 104)\n             asks as Windows does\n\
         criticality  life-critical\nplace        building A, room 12\nowner        radiology\nnote         -\napproved     \
         yes\nport         eth1, VLAN 20, segment ward-3\nswitch       sw-3f; its port Gi0/7 leads here\nfirst seen   2025-12-31 22:00:00 (2h ago)\nlast seen    2025-12-31 23:58:00 (2m \
         ago)\nstate        blocked #5\n"
    );
}

#[test]
fn who_is_perhaps_the_same_is_shown_with_what_to_say() {
    let mut first = device();
    first["perhaps_same"] = json!([{
        "device": { "id": 23, "mac": "00:1b:21:0a:0b:0d", "ips": [], "name": "dock" }, "dhcp_client_id": "0001ab",
    }]);
    let shown = show::device(&read(first.clone()), &here());
    let words = "perhaps      the same as dock: both ask by DHCP under one client id. If so: `sekisho devices merge 17 23`; \
                 if not: `sekisho devices distinct 17 23`\n";
    assert!(shown.ends_with(words), "{shown}");
    let mut second = first.clone();
    second["id"] = 23.into();
    let shown = show::devices(&[read(first), read(second), read(device())], &here());
    let words = "2 devices are perhaps one with another (17, 23): `sekisho devices show 17` tells why.\n";
    assert!(shown.ends_with(words), "{shown}");
}

/// Two addresses that are one device by evidence: the first is held, the second was heard last.
fn by_evidence() -> [Value; 2] {
    let with = |id: u64, mac: &str| {
        json!({
            "number": 17, "dhcp_client_id": "0004ab", "with": [{ "id": id, "mac": mac, "ips": [] }],
        })
    };
    let (mut first, mut second) = (device(), device());
    first["one_by_evidence"] = with(23, "00:1b:21:0a:0b:0d");
    (first["approved"], first["name"]) = (true.into(), "laptop".into());
    let later = json!({
        "id": 23, "mac": "00:1b:21:0a:0b:0d", "ips": ["10.0.9.7"], "block": null, "port": "eth2",
        "last_seen": "2025-12-31T23:59:00.000000+0000", "first_seen": "2025-12-31T23:00:00.000000+0000",
        "place": "ward 3", "one_by_evidence": with(17, "00:1b:21:0a:0b:0c"),
    });
    second.as_object_mut().unwrap().extend(later.as_object().unwrap().clone());
    [first, second]
}

#[test]
fn addresses_that_are_one_by_evidence_are_one_line_and_it_is_said_that_each_is_held_by_itself() {
    let mut other = device();
    (other["id"], other["mac"]) = (30.into(), "00:1b:21:0a:0b:0e".into());
    let [first, second] = by_evidence();
    let all: Vec<DeviceInfo> = read(json!([second, other, first]));
    let shown = show::devices(&all, &show::Here { width: 200, ..here() });
    let line = shown.lines().find(|line| line.starts_with("laptop")).unwrap();
    for part in
        ["00:1b:21:0a:0b:0c +1", "10.0.0.7 +4", "eth2/20", "1m ago", "blocked #5 (00:1b:21:0a:0b:0c alone)"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    let hint = "\n2 devices. PEERS: destinations in the last minute / what is usual.\n`sekisho devices show DEVICE` tells where one is, \
                and why it is of its kind.\n1 of them is one device with several addresses by evidence alone, each of which is held, \
                spared and judged by itself: `sekisho devices show 17` tells more.\n";
    assert!(shown.ends_with(hint), "{shown}");
    let words = "one with     00:1b:21:0a:0b:0d (number 23), counted as device 17 by evidence alone: they ask by DHCP under client id \
                 0004ab, and are heard by turns. Each is held, spared and judged by itself. To have them be one for that too: `sekisho \
                 devices merge 17 23`; if they are not one: `sekisho devices split 00:1b:21:0a:0b:0c`\n";
    let shown = show::device(&all[2], &here());
    assert!(shown.ends_with(words), "{shown}");
    let text = csv::export(&all, false).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("17,")).collect();
    let want = "17,laptop,00:1b:21:0a:0b:0c 00:1b:21:0a:0b:0d,10.0.0.7 fe80::7 10.0.9.7,Intel Corporate,modality,0.93,,,ward 3,,,no,eth2,20,\
                ward-3,sw-3f Gi0/7,2025-12-31T22:00:00.000000+0000,2025-12-31T23:59:00.000000+0000,blocked 5 (00:1b:21:0a:0b:0c alone),\
                DHCP client id 0004ab";
    assert_eq!((lines, text.lines().count()), (vec![want], 3));
    let rows = csv::import(text.as_bytes()).unwrap();
    assert_eq!(csv::of_one_device(&rows, &all), Ok(()));
}

#[test]
fn what_was_found_to_be_two_says_why() {
    let mut first = device();
    first["perhaps_same"] = json!([{
        "device": { "id": 23, "mac": "00:1b:21:0a:0b:0d", "ips": [] }, "dhcp_client_id": "0004ab",
        "against": "they are heard at the same time",
    }]);
    let shown = show::device(&read(first), &here());
    assert!(shown.contains("under one client id; but they are heard at the same time. If so:"), "{shown}");
}

#[test]
fn the_class_the_decision_and_what_is_lost_are_shown() {
    let mut device = device();
    device["class"] = "icu".into();
    let shown = show::devices(&[read(device)], &show::Here { width: 120, ..here() });
    assert!(shown.contains("blocked #5, icu\n"), "{shown}");
    let mut told = incident();
    told["device"]["class"] = "icu".into();
    let loss =
        json!({ "part": "uses", "service": "tcp/104", "peer": "10.0.0.3", "name": "PACS", "live": true });
    let impact = json!({ "services": 2, "peers": 1, "conversations": 1, "lost": [loss], "vital": [] });
    let lowered = json!([{ "to": "pin", "by": "class", "class": "icu" }]);
    told["decision"] = json!({ "earned": "isolate", "allowed": "pin", "lowered": lowered, "impact": impact });
    let told: IncidentInfo = read(told);
    let shown = show::incidents(std::slice::from_ref(&told), None, &here());
    assert!(shown.contains("MRI 2 [icu]"), "{shown}");
    let shown = show::incident(&told, &here());
    assert!(
        shown.contains(
            "  class    icu\n  earned   isolate\n  lowered  pin at most: the class icu allows no more\n  \
             lost     2 services with 1 peer, 1 conversation now\n           uses tcp/104 of PACS (10.0.0.3)\n           \
             and 1 more\n"
        ),
        "{shown}"
    );
    let looked = json!({ "block": block(), "extended": false, "lost": impact, "entered": false });
    let shown = show::added(&read(looked), false, &here());
    assert!(shown.starts_with("MRI 2 (10.0.0.7) would be cut off until "), "{shown}");
    assert!(shown.contains("uses tcp/104 of PACS") && shown.ends_with("Nothing was changed.\n"), "{shown}");
}

#[test]
fn the_status_is_shown_to_people() {
    let enforce: Status = read(status("enforce"));
    assert_eq!(
        show::status(&enforce, &here()),
        "Sekisho 0.1.0 watches br0 in enforce mode, for 2h 3m.\nThe detector fanout is switched off: guests, \
         radiology.\n\n  devices        4\n  incidents      1\n  \
         restricted     3 (1 isolate, 2 pin); only counted: 1\n  conversations  7 now, 20 since the start\n  \
         first contacts of no class: 81 % succeed, measured of 40 devices\n  \
         first contacts of wards: 70 % succeed, measured of 5 devices\n  \
         dropped        2 frames (120 B); only counted: 1 frame\n  lost           nothing\n  \
         pinned at      /sys/fs/bpf/sekisho\n\n\
         PORT  XDP     FRAMES   BYTES  DROPPED\neth1  native      10  1.0 kB        2\n\n\
         PORT  ARRIVED  ACCOUNTED  IGNORED  LOST  PENDING     SEEN\n\
         eth1       10          6        1     2        1  99.99 %\n\
         LOST: a full flow table forgot them before they were read.\n\
         ARRIVED: at the network card = accounted + ignored + lost + pending (not read yet).\n\
         SEEN: of what came in the last minutes.\n"
    );
    let mut observe: Status = read(status("observe"));
    observe.live.ring_lost = 3;
    let text = show::status(&observe, &here());
    assert!(text.contains("\nObserve mode: nothing is cut off by itself;"), "{text}");
    assert!(text.contains("lost           3 records lost because the ring was full\n"), "{text}");
    assert!(!text.contains("BLIND"), "{text}");
    let mut blind = status("enforce");
    blind["blind"] = blindness();
    blind["leaks"] = json!(7);
    let text = show::status(&read(blind), &here());
    let words = "\nBLIND since 2025-12-31 23:59:00 (more new flows than can be told, flows forgotten unread): 2 frames and 1 \
        record of a new flow were lost; that nothing is found means nothing now.\n";
    assert!(text.contains(words), "{text}");
    assert!(text.contains("lost           7 frames that LEAKED although a rule forbids them\n"), "{text}");
}

#[test]
fn long_answers_fit_the_screen() {
    let long = "第二内科受付の予備のパソコン, very long name indeed, and longer than any screen is wide";
    let mut device: DeviceInfo = read(device());
    device.device.name = Some(long.to_owned());
    device.device.ips = vec!["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".to_owned()];
    (device.gateway, device.protected, device.port) = (true, true, Some("enp0s31f6".to_owned()));
    let mut block: BlockInfo = read(block());
    block.reason = long.to_owned();
    block.targets = device.device.ips.clone();
    block.device = Some(device.device.clone());
    let mut incident: IncidentInfo = read(incident());
    incident.device = device.device.clone();
    incident.findings[0].signature = long.to_owned();
    for text in [
        show::devices(&[device], &here()),
        show::blocks(&[block], &here()),
        show::incidents(&[incident.clone()], None, &here()),
    ] {
        assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    }
}

#[test]
fn nothing_to_show_is_said() {
    assert_eq!(show::devices(&[], &here()), "No device was seen yet.\n");
    assert_eq!(show::blocks(&[], &here()), "Nobody is held.\n");
    assert_eq!(show::incidents(&[], None, &here()), "No incidents.\n");
    let text = show::incidents(&[], Some(&read(blindness())), &here());
    assert!(text.starts_with("BLIND since") && !text.contains("No incidents"), "{text}");
    assert!(text.ends_with("\n\nNone was found, but the sensor is blind.\n"), "{text}");
}

/// A daemon that gives these answers one after the other, and then tells what it was asked.
fn daemon(answers: Vec<Value>) -> (TempDir, JoinHandle<Vec<Value>>) {
    let dir = TempDir::new().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let thread = std::thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut asked = Vec::new();
        for answer in answers {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            asked.push(serde_json::from_str(&line).unwrap());
            writeln!(stream.get_mut(), "{answer}").unwrap();
        }
        asked
    });
    (dir, thread)
}

/// Carries a command line out against a daemon with these answers. Gives the output and what was asked.
fn command(line: &str, answers: Vec<Value>) -> (Result<String, String>, Vec<Value>) {
    let (dir, thread) = daemon(answers);
    let line = format!("sekisho {line} --socket {}", dir.path().join("s").display());
    let Task::Client(task) = parse(&line).unwrap().task else { panic!("{line}") };
    let mut out = Vec::new();
    let result = run::run(&task, &mut out);
    let text = result.map(|_| String::from_utf8(out).unwrap()).map_err(|error| error.to_string());
    (text, thread.join().unwrap())
}

fn ok(value: Value) -> Value {
    json!({ "version": 1, "ok": value })
}

#[test]
fn change_windows_are_announced_shown_and_ended() {
    let window = json!({ "id": 2, "for": "segment icu", "open": true, "from": "2026-01-01T00:00:00.000000+0000",
        "until": "2026-01-01T04:00:00.000000+0000", "reason": "new switch", "since": "2026-01-01T00:00:00.000000+0000",
        "by": "tanaka" });
    let add = |who: Value, in_ns: u64| {
        let with = json!({ "who": who, "in_ns": in_ns, "for_ns": 4 * HOUR, "reason": "new" });
        json!({ "version": 1, "request": "window_add", "with": with })
    };
    let told = "Window 2 for segment icu, until 2026-01-01 04:00:00: what is found is told, and nothing is cut off by itself.\n\
                `sekisho window remove 2` ends it.\n";
    for (line, request, answer, want) in [
        (
            "window add --segment icu --for 4h --reason=new",
            add(json!({ "segment": "icu" }), 0),
            window.clone(),
            told,
        ),
        (
            "window add 10.0.0.7 --in 2h --for 4h --reason=new",
            add(json!({ "device": "10.0.0.7" }), 2 * HOUR),
            window.clone(),
            told,
        ),
        ("window add --everybody --for 4h --reason=new", add(json!("everybody"), 0), window.clone(), told),
        (
            "window remove 2",
            json!({ "version": 1, "request": "window_remove", "with": 2 }),
            window.clone(),
            "Window 2 for segment icu is over: what is found there acts again.\n",
        ),
        (
            "window list",
            json!({ "version": 1, "request": "windows" }),
            json!([]),
            "No change window is announced.\n",
        ),
    ] {
        let (text, asked) = command(line, vec![ok(answer)]);
        assert_eq!((text.unwrap().as_str(), &asked), (want, &vec![request]), "{line}");
    }
    let (text, _) = command("window list", vec![ok(json!([window]))]);
    let text = text.unwrap();
    assert!(
        text.contains(" 2  open   segment icu  2026-01-01 00:00:00  2026-01-01 04:00:00  tanaka  new switch"),
        "{text}"
    );
    for wrong in [
        "window add --for 4h --reason x",
        "window add --everybody --for 73h --reason x",
        "window add --everybody --for 1h",
        "window add a --everybody --for 1h --reason x",
    ] {
        assert!(Cli::try_parse_from(["sekisho"].into_iter().chain(wrong.split(' '))).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_person_says_of_incidents_is_asked_for_and_shown() {
    let review = json!({ "id": 3, "detector": "scan", "scope": "class icu", "incident_id": 12,
        "since": "2026-01-01T00:00:00.000000+0000", "by": "tanaka" });
    for (line, request, answer, want) in [
        (
            "incidents approve 7",
            json!({ "version": 1, "request": "incident_approve", "with": 7 }),
            json!({ "incident": 7, "level": "isolate", "action": "isolated" }),
            "Incident 7: approved; isolated.\n",
        ),
        (
            "incidents deny 7",
            json!({ "version": 1, "request": "incident_deny", "with": 7 }),
            json!({ "incident": 7, "level": "isolate" }),
            "Incident 7: isolate is denied, and will not be asked for again.\n",
        ),
        (
            "incidents judge 12 false",
            json!({ "version": 1, "request": "incident_judge", "with": { "incident": 12, "right": false } }),
            json!({ "incident": 12, "right": false, "reviews": [review] }),
            "Incident 12 is judged false.\nscan only alerts for class icu until `sekisho incidents review 3`.\n\
             If its device is held, it still is: `sekisho block list`, `sekisho block remove`.\n",
        ),
        (
            "incidents judge 12 true",
            json!({ "version": 1, "request": "incident_judge", "with": { "incident": 12, "right": true } }),
            json!({ "incident": 12, "right": true, "reviews": [review] }),
            "Incident 12 is judged true.\nscan counts again for class icu.\n",
        ),
        (
            "incidents judge 12 grave --comment malware",
            json!({ "version": 1, "request": "incident_judge", "with": {
                "incident": 12, "right": true, "grave": true, "comment": "malware" } }),
            json!({ "incident": 12, "right": true, "grave": true, "reviews": [] }),
            "Incident 12 is judged true and grave.\n",
        ),
        (
            "incidents review 3",
            json!({ "version": 1, "request": "review_end", "with": 3 }),
            review.clone(),
            "scan counts again for class icu.\n",
        ),
        (
            "incidents reviews",
            json!({ "version": 1, "request": "reviews" }),
            json!([]),
            "No detector is on review.\n",
        ),
    ] {
        let (text, asked) = command(line, vec![ok(answer)]);
        assert_eq!((text.unwrap().as_str(), &asked), (want, &vec![request]), "{line}");
    }
    let (text, _) = command("incidents reviews", vec![ok(json!([review]))]);
    let text = text.unwrap();
    assert!(text.contains("ID  DETECTOR  ONLY ALERTS FOR  INCIDENT  SINCE"), "{text}");
    assert!(text.contains("class icu              12  2026-01-01"), "{text}");
    let mut told = incident();
    told["action"] = "waits".into();
    told["waits"] = json!({ "level": "isolate", "until": "2026-01-01T00:15:00.000000+0000" });
    told["judged"] = json!({ "right": false, "by": "tanaka", "comment": "a test" });
    let shown = show::incident(&read(told), &here());
    assert!(shown.contains("(high), waits for approval\n"), "{shown}");
    let want = "  waits    for approval of isolate until 2026-01-01 00:15:00: `sekisho incidents approve 3` or `deny 3`\n  \
        judged   false, by tanaka: a test\n";
    assert!(shown.contains(want), "{shown}");
}

#[test]
fn a_block_is_added() {
    let answers = vec![ok(json!({ "block": block(), "extended": false })), ok(status("observe"))];
    let (text, asked) =
        command("block add --ip ::ffff:10.0.0.7 --mac 00-1B-21-0A-0B-0C --for 4h --reason odd", answers);
    assert_eq!(
        asked[0],
        json!({ "version": 1, "request": "block_add", "with": {
            "targets": ["10.0.0.7", "00:1b:21:0a:0b:0c"], "for_ns": 14_400_000_000_000u64, "reason": "odd",
        } })
    );
    let text = text.unwrap();
    assert!(text.starts_with("MRI 2 (10.0.0.7) is cut off until 2026-01-01 "), "{text}");
    assert!(
        text.contains(
            ": entry 5.\nIt hits 0 known devices and 0 conversations that go on.\nThe daemon is in observe mode: what a \
             person enters is enforced"
        ),
        "{text}"
    );
}

#[test]
fn a_block_without_end_says_so() {
    let mut entry = block();
    entry["until"] = Value::Null;
    entry["device"] = Value::Null;
    let answers = vec![ok(json!({ "block": entry, "extended": true })), ok(status("enforce"))];
    let (text, asked) = command("block add --ip 10.0.0.7", answers);
    assert_eq!(asked[0]["with"], json!({ "targets": ["10.0.0.7"], "for_ns": null, "reason": "" }));
    let want = "10.0.0.7 was on the block list already and is now cut off until it is removed: entry 5.\n\
        It hits 0 known devices and 0 conversations that go on.\n";
    assert_eq!(text.unwrap(), want);
}

#[test]
fn all_targets_levels_and_directions_can_be_given() {
    let mut entry = block();
    entry["targets"] = json!(["vlan 20", "port eth1", "segment ward"]);
    (entry["level"], entry["direction"], entry["device"]) = ("pin".into(), "to".into(), Value::Null);
    entry["pairs"] = 17.into();
    let impact = json!({ "devices": 1, "conversations": 3 });
    let beside = json!([{ "id": 23, "mac": "00:1b:21:0a:0b:0d", "ips": [], "name": "dock" }]);
    let added =
        json!({ "block": entry, "extended": false, "impact": impact, "spared": ["CT 1"], "beside": beside });
    let (text, asked) = command(
        "block add MRI 10.0.0.9 --net fd00::/48 --vlan 20 --port eth1 --segment ward --level quarantine --direction to \
         --allow repair --force",
        vec![ok(added), ok(status("enforce"))],
    );
    assert_eq!(
        asked[0]["with"],
        json!({
            "targets": ["fd00::/48", "vlan 20", "port eth1", "segment ward"], "devices": ["MRI", "10.0.0.9"],
            "level": "quarantine", "direction": "to", "allow": "repair", "force": true, "for_ns": null, "reason": "",
        })
    );
    let text = text.unwrap();
    let want =
        "vlan 20, port eth1, segment ward is pinned to what it did before as a receiver until 2026-01-01 ";
    assert!(text.starts_with(want), "{text}");
    let want = ": entry 5.\nIt hits 1 known device and 3 conversations that go on.\n17 pairs of peer and service stay \
        open, and ARP and DHCP.\nProtected, and goes on: CT 1.\ndock (00:1b:21:0a:0b:0d) is counted as one device with it, by evidence \
        alone, and goes on: `sekisho block add 00:1b:21:0a:0b:0d` holds it too.\n";
    assert!(text.ends_with(want), "{text}");
    for (line, want) in [
        ("--vlan 20", json!({ "target": "vlan 20" })),
        ("--net 10.0.0.0/8", json!({ "target": "10.0.0.0/8" })),
        ("--segment ward", json!({ "target": "segment ward" })),
        ("MRI", json!({ "device": "MRI" })),
    ] {
        let (_, asked) = command(&format!("block remove {line} -o json"), vec![ok(block())]);
        assert_eq!(asked[0]["with"], want);
    }
}

#[test]
fn levels_are_listed() {
    let mut entry = block();
    let mut listed = |level: &str, direction: &str, would: bool| {
        (entry["level"], entry["direction"], entry["would"]) = (level.into(), direction.into(), would.into());
        let text = show::blocks(&[read(entry.clone())], &here());
        text.lines()
            .nth(1)
            .unwrap()
            .split("4h")
            .nth(1)
            .unwrap()
            .split("  ")
            .find(|t| !t.is_empty())
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(listed("throttle", "from", false), "throttle from");
    assert_eq!(listed("isolate", "both", true), "isolate (counted)");
    assert_eq!(listed("observe", "both", true), "observe");
}

#[test]
fn a_block_is_removed() {
    let mut removed = block();
    removed["device"] = Value::Null;
    let (text, asked) = command("block remove --ip 10.0.0.7", vec![ok(json!([block()])), ok(removed)]);
    assert_eq!(asked[1]["with"], json!({ "target": "10.0.0.7" }));
    assert_eq!(text.unwrap(), "MRI 2 (10.0.0.7) may talk again: entry 5 is removed.\n");
}

#[test]
fn programs_get_the_answer_as_it_came() {
    let (text, asked) = command("devices -o json", vec![ok(json!([device()]))]);
    assert_eq!(asked, [json!({ "version": 1, "request": "devices" })]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), json!([device()]));
    let (text, _) = command("incidents 3 -o json", vec![ok(json!([incident()]))]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), incident());
    let (text, asked) = command("block remove --id 5 -o json", vec![ok(block())]);
    assert_eq!(asked[0]["with"], json!({ "id": 5 }));
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), block());
}

#[test]
fn what_people_say_of_devices_is_sent() {
    let changed =
        || ok(json!([{ "id": 17, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "name": "MRI 2" }]));
    let (text, asked) =
        command("devices set 10.0.0.7 --name MRI2 --criticality none --unapproved", vec![changed()]);
    let edit = json!({ "device": "10.0.0.7", "name": "MRI2", "criticality": "", "approved": false });
    assert_eq!((&asked[0]["request"], &asked[0]["with"]), (&json!("device_edit"), &json!([edit])));
    assert_eq!(text.unwrap(), "Noted: MRI 2 (number 17).\n");
    let regrouped = || {
        let device = json!({ "id": 17, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "name": "MRI 2" });
        ok(json!({ "devices": [device], "remarks": ["entry 3 is about 10.0.0.8 too now"] }))
    };
    let (text, asked) = command("devices merge MRI2 10.0.0.8", vec![regrouped()]);
    assert_eq!(asked[0]["with"], json!({ "into": "MRI2", "device": "10.0.0.8" }));
    assert_eq!(
        text.unwrap(),
        "One device now: MRI 2 (number 17).\nNote: entry 3 is about 10.0.0.8 too now.\n"
    );
    let (text, asked) = command("devices distinct 17 23", vec![changed()]);
    assert_eq!((&asked[0]["request"], &asked[0]["with"]["other"]), (&json!("device_distinct"), &json!("23")));
    assert_eq!(text.unwrap(), "Noted: MRI 2 (number 17).\n");
    let (text, asked) = command("devices split 10.0.0.8", vec![regrouped()]);
    assert_eq!(asked[0]["request"], "device_split");
    assert!(text.unwrap().starts_with("Devices of their own now: MRI 2 (number 17).\nNote: "));
    let (text, asked) = command("devices forget 17", vec![ok(json!([]))]);
    assert_eq!(asked[0]["request"], "device_forget");
    assert_eq!(text.unwrap(), "Nothing changed: it was so already.\n");
    let (text, _) = command("devices show mri", vec![ok(json!([device()]))]);
    assert_eq!(text.unwrap_err(), "no device is known as mri; `sekisho devices` shows those there are");
    let (text, _) = command("devices show 17 -o json", vec![ok(json!([device()]))]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), json!([device()]));
}

#[test]
fn a_file_of_devices_is_sent_whole_or_not_at_all() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("devices.csv");
    let line = |n: u32| format!("02:00:00:00:{:02x}:{:02x},host {n},yes\n", n >> 8, n & 0xff);
    std::fs::write(&file, format!("mac,name,approved\n{}", (0..600).map(line).collect::<String>())).unwrap();
    let import = format!("devices import {}", file.display());
    let (text, asked) =
        command(&import, vec![ok(json!(500)), ok(json!([{ "id": 1, "mac": "", "ips": [] }]))]);
    assert_eq!(text.unwrap(), "600 devices read, 1 changed.\n");
    let requests: Vec<_> = asked.iter().map(|asked| asked["request"].as_str().unwrap()).collect();
    assert_eq!(requests, ["device_edit_part", "device_edit"]);
    let sent: Vec<_> = asked.iter().flat_map(|asked| asked["with"].as_array().unwrap()).collect();
    assert_eq!(sent.len(), 600);
    assert_eq!(*sent[128], json!({ "device": "02:00:00:00:00:80", "name": "host 128", "approved": true }));
    let refused = json!({ "version": 1, "error": { "kind": "refused", "message": "there is no class icu" } });
    let (text, _) = command(&import, vec![ok(json!(500)), refused]);
    assert_eq!(text.unwrap_err(), "there is no class icu; nothing was changed");
    let mistakes = json!([
        { "at": 0, "key": "device", "what": "no device is known as x" },
        { "at": 598, "key": "name", "what": "host 598 is the name of device 3 already" },
        { "at": 599, "what": "there are 65536 devices" },
    ]);
    let refused = json!({ "kind": "refused", "message": "", "mistakes": mistakes, "more_mistakes": 7 });
    let (text, _) = command(&import, vec![ok(json!(500)), json!({ "version": 1, "error": refused })]);
    let want = format!(
        "{} is not taken over; nothing was changed:\nline 2, column mac: no device is known as x\nline 600, column name: \
         host 598 is the name of device 3 already\nline 601: there are 65536 devices\nand 7 more",
        file.display()
    );
    assert_eq!(text.unwrap_err(), want);
    let check = format!("sekisho {import} --check -o json");
    let Task::Client(task) = parse(&check).unwrap().task else { panic!() };
    let mut checked = Vec::new();
    run::run(&task, &mut checked).unwrap();
    let checked: Value = serde_json::from_slice(&checked).unwrap();
    assert_eq!((&checked["devices"], &checked["problems"]), (&json!(600), &json!([])));
    let (text, _) = command("devices export -o json", vec![ok(json!([device()]))]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), json!([device()]));
    let (text, _) = command(&format!("devices export -f {}", file.display()), vec![ok(json!([device()]))]);
    assert_eq!(text.unwrap(), format!("1 device written to {}.\n", file.display()));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("\n17,,00:1b:21:0a:0b:0c,10.0.0.7 fe80::7,Intel Corporate,"), "{written}");
}

#[test]
fn what_the_daemon_refuses_is_told() {
    let refused = json!({ "version": 1, "error": { "kind": "refused", "message": "10.0.0.1 is a gateway" } });
    assert_eq!(command("block add --ip 10.0.0.1", vec![refused]).0.unwrap_err(), "10.0.0.1 is a gateway");
    let error = command("incidents 9", vec![ok(json!([incident()]))]).0.unwrap_err();
    assert_eq!(error, "there is no incident 9; `sekisho incidents` shows those there are");
    let error = command("status", vec![json!({ "version": 2, "ok": {} })]).0.unwrap_err();
    assert!(
        error.contains("(version 2 instead of 1); the sekisho command and the daemon must be of one release")
    );
    let error = command("status", vec![json!("hello")]).0.unwrap_err();
    assert!(error.contains("is not understood"), "{error}");
    let error = command("status", vec![]).0.unwrap_err();
    assert!(error.contains("does not answer: "), "{error}");
}

#[test]
fn a_daemon_that_is_not_there_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("s");
    for stale in [false, true] {
        if stale {
            drop(UnixListener::bind(&path).unwrap());
        }
        let line = format!("sekisho status --socket {}", path.display());
        let Task::Client(task) = parse(&line).unwrap().task else { panic!() };
        let error = run::run(&task, &mut Vec::new()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no daemon answers on {}; start one with", path.display())),
            "{error}"
        );
    }
}

fn models() -> Value {
    json!({
        "models": [{
            "class": "all", "subject": "flow", "hash": "0123abcd", "file": "all-flow-20251231-0123abcd.model",
            "made": "2025-12-31T23:00:00.000000+0000", "rows": 21_000, "rows_left_out": 200, "devices": 30,
            "devices_left_out": 1, "threshold": "guessed", "limit": 2.5, "rate": null, "in_force": true, "golden": false,
        }],
        "rows": { "flow": 30_000, "window": 700 }, "rows_needed": 20_000, "training": "flow",
        "classes": { "wards": { "flow": 20, "window": 7 } }, "training_class": "wards",
    })
}

#[test]
fn models_are_shown() {
    let (text, asked) = command("model list", vec![ok(models())]);
    assert_eq!(asked[0], json!({ "version": 1, "request": "models" }));
    let want = "\
HASH      CLASS  OF             MADE                 ROWS   DEVICES  ODD  STATE
0123abcd  all    conversations  2025-12-31 23:00:00  21000       30    1  in force, only learns
ODD: devices that were left out; the log names them. Golden: new ones are compared with it, to find slow change.

To learn from: 30000 conversations, 700 minutes; a training needs 20000 of a kind.
Of these in class wards: 20 conversations, 7 minutes.
A model of conversations (class wards) is being trained.
";
    let text = text.unwrap();
    assert_eq!(words(&text), words(want), "{text}");
    let (text, _) = command("model list --class wards", vec![ok(models())]);
    assert!(text.as_ref().is_ok_and(|text| text.starts_with("There is no model yet.\n")), "{text:?}");
    let (text, _) = command("model list --class ward", vec![ok(models())]);
    assert_eq!(text.unwrap(), "No models are made of a class ward; there are all, wards.\n");
    for (class, models_of, classes) in [("wards", 0, 1), ("all", 1, 0)] {
        let (text, _) = command(&format!("model list --class {class} -o json"), vec![ok(models())]);
        let shown: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let count = |part: &str| {
            shown[part].as_array().map_or_else(|| shown[part].as_object().unwrap().len(), Vec::len)
        };
        assert_eq!((count("models"), count("classes")), (models_of, classes), "{class}");
    }
    let mut golden = models();
    golden["models"][0]["threshold"] = "promised".into();
    golden["models"][0]["golden"] = true.into();
    let (text, _) = command("model list", vec![ok(golden)]);
    assert!(text.as_ref().is_ok_and(|text| text.contains("in force, golden\n")), "{text:?}");
    let none = json!({ "models": [], "rows": { "flow": 3 }, "rows_needed": 20_000, "training": null });
    let (text, _) = command("model list", vec![ok(none)]);
    let want =
        "There is no model yet.\n\nTo learn from: 3 conversations; a training needs 20000 of a kind.\n";
    assert_eq!(text.unwrap(), want);
    let (text, _) = command("model list -o json", vec![ok(models())]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), models());
}

/// Words alone: how wide a table is depends on the terminal, and the hour on its zone.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().filter(|word| !word.contains(':') && !word.starts_with("20")).collect()
}

#[test]
fn models_are_ordered_about() {
    let plan = json!([{ "class": "all", "subject": "window", "rows": 9, "will_train": false, "what": "is not trained: why" }]);
    let (text, asked) = command("model train", vec![ok(plan)]);
    assert_eq!(text.unwrap(), "The model of minutes (class all) is not trained: why.\n");
    assert_eq!(asked[0], json!({ "version": 1, "request": "model_train" }));
    let (_, asked) = command("model train --class wards", vec![ok(json!([]))]);
    assert_eq!(asked[0], json!({ "version": 1, "request": "model_train_class", "with": "wards" }));
    let (text, asked) = command("model promote 0123", vec![ok(models()["models"][0].clone())]);
    let want = "Model 0123abcd of conversations is in force. It only learns: its threshold is a guess.\n";
    assert_eq!(text.unwrap(), want);
    assert_eq!(
        asked[0],
        json!({ "version": 1, "request": "model_promote", "with": { "hash": "0123", "golden": false } })
    );
    let (text, asked) = command("model promote --golden 0123", vec![ok(models()["models"][0].clone())]);
    assert!(text.unwrap().starts_with("Model 0123abcd of conversations is golden: "));
    assert_eq!(asked[0]["with"], json!({ "hash": "0123", "golden": true }));
    let refusal = json!({ "version": 1, "error": { "kind": "refused", "message": "there is no model 77" } });
    assert_eq!(command("model promote 77", vec![refusal]).0, Err("there is no model 77".to_owned()));
}

#[test]
fn channels_are_shown_tried_and_told_that_somebody_knows() {
    let list = json!([
        { "name": "it-mail", "kind": "mail", "failing": true, "waiting": 3, "sent": 7, "failed": 4, "lost": 1,
          "last_error_time": "2025-12-31T23:00:00.700000+0000", "last_error": "m:587 refuses:\u{1b}[31m 550" },
        { "name": "lamp", "kind": "lamp", "failing": false, "waiting": 0, "sent": 2, "failed": 0, "lost": 0 },
    ]);
    let (text, asked) = command("notify list", vec![ok(list.clone())]);
    assert_eq!(asked[0], json!({ "version": 1, "request": "notify_list" }));
    let text = text.unwrap();
    assert!(text.contains("FAILS") && text.contains("m:587 refuses: [31m 550"), "{text}");
    let (text, _) = command("notify list -o json", vec![ok(list.clone())]);
    assert_eq!(serde_json::from_str::<Value>(&text.unwrap()).unwrap(), list);
    let (text, _) = command("notify list", vec![ok(json!([]))]);
    assert!(text.unwrap().starts_with("Nobody is told: "));

    let (before, after) = ("2025-12-31T23:00:00.000000+0000", "2025-12-31T23:00:01.000000+0000");
    for (success, error, want) in [
        (None, None, "untried"),
        (None, Some(before), "retries"),
        (Some(before), Some(after), "retries"),
        (Some(after), Some(before), "ok"),
        (Some(before), None, "ok"),
    ] {
        let mut channel = list[1].clone();
        channel["last_success"] = json!(success);
        channel["last_error_time"] = json!(error);
        let (text, _) = command("notify list", vec![ok(json!([channel]))]);
        let text = text.unwrap();
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row.split_whitespace().nth(2), Some(want), "{text}");
    }

    let tested = json!({ "channel": "it-mail", "answer": "250 queued" });
    let (text, asked) = command("notify test it-mail", vec![ok(tested)]);
    assert_eq!(text.unwrap(), "it-mail took it and says: 250 queued\n");
    assert_eq!(asked[0], json!({ "version": 1, "request": "notify_test", "with": "it-mail" }));
    let refusal = json!({ "version": 1, "error": { "kind": "refused", "message": "m:587 refuses: 550" } });
    assert_eq!(command("notify test it-mail", vec![refusal]).0, Err("m:587 refuses: 550".to_owned()));

    for (line, with, want) in [
        ("notify ack 12", json!(12), "You know of incident 12: lamps do not show it any more.\n"),
        ("notify ack", Value::Null, "You know of all there is: lamps go dark.\n"),
    ] {
        let (text, asked) = command(line, vec![ok(json!(true))]);
        assert_eq!((text.unwrap().as_str(), &asked[0]["with"]), (want, &with));
    }
}

#[test]
fn what_made_a_device_stand_out_is_explained() {
    let mut one = incident();
    one["findings"].as_array_mut().unwrap().push(json!({
        "time": "2025-12-31T23:00:00.700000+0000", "detector": "unusual", "signature": "unusual: a minute",
        "severity": 3, "evidence": { "bytes_out": "7000 bytes; usual 0 to 1200, half up to 300 (61 % of the score)" },
    }));
    let (text, _) = command("model explain 3", vec![ok(json!([one]))]);
    let text = text.unwrap();
    assert!(
        text.contains("unusual: a minute [low]") && text.contains("7000 bytes; usual 0 to 1200"),
        "{text}"
    );
    assert!(!text.contains("first contacts fail"), "{text}");
    let none = "no model had a part in incident 3: it has no finding of the detector `unusual`; `sekisho incidents 3` shows \
        what it has";
    assert_eq!(command("model explain 3", vec![ok(json!([incident()]))]).0, Err(none.to_owned()));
    assert!(
        command("model explain 4", vec![ok(json!([]))]).0.unwrap_err().starts_with("there is no incident 4")
    );

    let mut said = json!({ "device": { "mac": "00:1b:21:0a:0b:0c", "ips": [], "name": "MRI 2" }, "scores": [{
        "time": "2025-12-31T23:00:00.000000+0000", "subject": "window", "class": "all", "score": 1.25, "over_own_level": 0.5,
        "rank": 0.75, "limit": 2.0, "over_limit": false,
    }] });
    let (text, asked) = command("model explain 10.0.0.7", vec![ok(said.clone())]);
    assert_eq!(asked[0], json!({ "version": 1, "request": "model_scores", "with": "10.0.0.7" }));
    let text = text.unwrap();
    assert!(text.starts_with("MRI 2\n") && text.contains("minutes   0.50   2.00  75.00 %"), "{text}");
    said["scores"] = json!([]);
    let (text, _) = command("model explain 10.0.0.7", vec![ok(said)]);
    assert_eq!(text.unwrap(), "MRI 2: nothing of it was scored yet.\n");
}

#[test]
fn a_configuration_is_checked() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("c.toml");
    let check = |options: &str, text: &str| {
        std::fs::write(&path, text).unwrap();
        let line = format!("sekisho check {} {options}", path.display());
        let Task::Client(task) = parse(&line).unwrap().task else { panic!() };
        let mut out = Vec::new();
        let result = run::run(&task, &mut out).map_err(|error| error.to_string());
        (result, String::from_utf8(out).unwrap())
    };
    let (result, text) = check("", "mode = \"enforce\"\n[names]\n\"10.0.0.7\" = \"MRI\"\n");
    assert_eq!(result, Ok(true));
    assert!(
        text.contains("c.toml is good.\nMode enforce: devices with an incident of severity 1 or graver"),
        "{text}"
    );
    let rules = "[approve]\nfrom = \"isolate\"\nmeanwhile = \"throttle\"\n[classes.icu]\nkind = \"life-critical\"\n\
                 members = [\"10.1.0.0/16\", \"MRI\"]\napprove = \"pin\"\n[classes.tv]\nmembers = [\"10.2.0.0/16\"]\n\
                 highest = \"alert\"\n[names]\n\"10.0.0.7\" = \"MRI\"\n";
    let (_, text) = check("", rules);
    for line in [
        "Approval (in enforce mode): what is isolate or stricter must be approved by a person, within 15m, or it is only told; \
         meanwhile throttle.\n",
        "Class icu (life-critical, 2 members): pin at most; from pin on a person must approve.\n",
        "Class tv (other, 1 member): is only told about.\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let (_, text) = check("-o json", rules);
    let value: Value = serde_json::from_str(&text).unwrap();
    let icu =
        json!({ "name": "icu", "kind": "life-critical", "highest": "pin", "approve": "pin", "members": 2 });
    assert_eq!((&value["classes"][0], &value["approve"]["meanwhile"]), (&icu, &json!("throttle")));
    let told = "[notify.channels.chat]\nkind = \"webhook\"\nurl = \"https://chat.example/T0/secret\"\n";
    for (options, want) in [
        ("", "\nTold are chat (webhook), of what is of medium severity or graver.\n"),
        ("-o json", r#""notify":{"channels":[{"name":"chat","kind":"webhook"}],"rules":0}"#),
    ] {
        let (result, text) = check(options, told);
        assert!(result == Ok(true) && text.contains(want) && !text.contains("secret"), "{text}");
    }
    let (result, text) = check("", "mode = 1\nfoo = 2\n");
    let error = result.unwrap_err();
    assert!(error.starts_with("2 problems in the configuration ") && text.is_empty(), "{error}");
    let (result, text) = check("-o json", "mode = 1\nfoo = 2\n");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((result, value["problems"][1]["key"].as_str()), (Ok(false), Some("foo")));
}
