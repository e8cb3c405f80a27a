//! Tests of the socket with a pipeline that gives fixed answers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sensor_core::addr::Mac;
use sensor_core::engine::{Add, Impact, Judge, Which, Who, Whom};
use sensor_core::event::{Action, DeviceRef};
use sensor_core::identify::neighbour::Neighbour;
use sensor_core::identify::{Kind, Label};
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::policy::preview::Preview;
use sensor_core::policy::review::{Review, Scope};
use sensor_core::policy::window::{Cover, Window};
use sensor_core::policy::{Block, Direction, Level, List, Origin, Target};
use sensor_core::snapshot::{ClassSuccess, DeviceView, EngineStats, Perhaps};
use sensor_core::success::Rate;
use sensor_core::time::{HOUR, SECOND, Time};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::{Stamp, WallClock};
use crate::protocol::{Hits, Ledger, SuccessInfo};

fn block() -> Block {
    Block {
        id: 5,
        targets: vec![Target::Ip("10.0.0.7".parse().unwrap())],
        level: Level::Isolate,
        direction: Direction::Both,
        list: List::None,
        follows: false,
        origin: Origin::Manual("root".to_owned()),
        reason: "odd".to_owned(),
        since: Time::at(SECOND),
        until: Some(Time::at(HOUR)),
        would: false,
    }
}

fn review() -> Review {
    Review {
        id: 3,
        detector: "scan".to_owned(),
        scope: Scope::Class("icu".parse().unwrap()),
        incident: 12,
        since: Time::at(SECOND),
        by: "tanaka".to_owned(),
    }
}

fn window(id: u32) -> Window {
    let (reason, by) = ("renumbering".to_owned(), "tanaka".to_owned());
    let (from, until) = (Time::at(3 * SECOND), Time::at(4 * SECOND));
    Window { id, cover: Cover::Everybody, from, until, reason, since: Time::at(SECOND), by }
}

fn window_json(id: u32, who: &str, reason: &str, by: &str) -> Value {
    let at = |second| format!("1970-01-01T00:00:0{second}.000000+0000");
    json!({ "id": id, "for": who, "open": false, "from": at(3), "until": at(4), "reason": reason, "since": at(1), "by": by })
}

/// What is said of the device that was heard, and of one that was not.
fn cards() -> Vec<(Card, DeviceRef)> {
    let of = |id, mac: &str| {
        let mac: Mac = mac.parse().unwrap();
        let card = Card { id, keys: vec![DeviceKey::Local(mac)], ..Card::default() };
        (card, DeviceRef { id, mac, ips: Vec::new(), maker: None, name: None, class: None })
    };
    let (heard, name) = of(7, "00:1b:21:0a:0b:0c");
    let (spare, spare_name) = of(8, "00:1b:21:0a:0b:0d");
    let heard = Card { place: Some("OR 1".to_owned()), approved: true, ..heard };
    vec![(heard, name), (Card { owner: Some("radiology".to_owned()), ..spare }, spare_name)]
}

fn view() -> View {
    let device = DeviceView {
        id: 7,
        mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        ips: vec!["10.0.0.7".parse().unwrap()],
        more_ips: 0,
        maker: Some("Intel".to_owned()),
        name: None,
        class: None,
        first_seen: Time::at(SECOND / 2),
        last_seen: Time::at(2 * SECOND),
        port: 1,
        vlan: 20,
        segment: Some("ward-3".parse().unwrap()),
        uplink: Some(Neighbour {
            system: Some("sw-3f".to_owned()),
            port: Some("Gi0/7".to_owned()),
            ..Neighbour::default()
        }),
        label: Some(Label { kind: Kind::Modality, confidence: 0.931, reasons: vec!["x".to_owned()] }),
        names: vec!["mri2".to_owned()],
        one: None,
        perhaps: vec![Perhaps {
            device: cards()[1].1.clone(),
            client_id: "0001ab".to_owned(),
            against: None,
        }],
        gateway: false,
        protected: false,
        block: Some(5),
        destinations: 3,
        usual_destinations: None,
    };
    let snapshot = Snapshot {
        time: Time::at(2 * SECOND),
        enforce: true,
        devices: vec![device],
        incidents: Vec::new(),
        reviews: vec![review()],
        windows: vec![window(2)],
        blocks: vec![block()],
        cards: cards(),
        success: vec![ClassSuccess { class: None, rate: Rate { permille: Some(812), devices: 7 } }],
        stats: EngineStats { devices: 1, ..EngineStats::default() },
    };
    let port = PortStatus {
        name: "eth1".to_owned(),
        ifindex: 4,
        index: 1,
        mode: AttachMode::Native,
        problem: None,
        offloads_off: vec!["rx-lro".to_owned()],
        offloads_on: Vec::new(),
        packets: 10,
        bytes: 1_000,
        drops: 2,
        drop_bytes: 120,
        would_drops: 0,
        ledger: Ledger { arrived: 10, coverage: 1.0, ..Ledger::default() },
    };
    let live = LiveStatus {
        bridge: "br0".to_owned(),
        mode: "enforce".to_owned(),
        bypass: BypassInfo { on: false, since: None, by: None },
        version: "0.1.0".to_owned(),
        uptime_secs: 2,
        ports: vec![port],
        unfiltered: Vec::new(),
        ring_lost: 0,
        store_errors: 0,
        events_lost: 0,
        record_cut_short: 0,
        journal_lost: 0,
        journal_errors: 0,
        eve_lost: 0,
        pins: "/sys/fs/bpf/sekisho".to_owned(),
        blind: None,
        rules: BTreeMap::from([("5".to_owned(), Hits { dropped: 3, dropped_bytes: 180, ..Hits::default() })]),
        leaks: 0,
        detectors_off: BTreeMap::new(),
    };
    View { snapshot, live }
}

/// A pipeline that shows [`view`], adds whatever it is told to and knows no entry to remove.
async fn pipeline(mut asks: mpsc::Receiver<Ask>) {
    while let Some(ask) = asks.recv().await {
        match ask {
            Ask::Snapshot(answer) => drop(answer.send(view())),
            Ask::Command(Command::Add(add), answer) => {
                let Add { who, level, direction, list, for_ns, reason, owner, force, preview } = add;
                let target = |who: Who| match who {
                    Who::Target(target) => target,
                    Who::Device(_) => Target::Vlan(7),
                };
                let block = Block {
                    targets: who.into_iter().map(target).collect(),
                    level: level.unwrap_or_default(),
                    direction: direction.unwrap_or_default(),
                    list: list.map_or(List::None, List::Named),
                    reason,
                    origin: Origin::Manual(owner),
                    until: for_ns.map(Time::at),
                    ..block()
                };
                let device = DeviceRef {
                    id: 7,
                    mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
                    ips: Vec::new(),
                    maker: None,
                    name: Some("MRI".to_owned()),
                    class: Some("icu".parse().unwrap()),
                };
                let (device, impact) = (Some(device), Impact { devices: 1, conversations: 3 });
                let spared = if force { vec!["CT".to_owned()] } else { Vec::new() };
                let (level, entered) = (block.level, !preview);
                let lost =
                    Preview { level, peers: 1, services: 2, conversations: 3, lost: vec![], vital: vec![] };
                let lost = Box::new(lost);
                let reply = Reply::Added {
                    block,
                    extended: false,
                    device,
                    impact,
                    lost,
                    spared,
                    beside: vec![],
                    entered,
                };
                drop(answer.send(Ok(reply)));
            }
            Ask::Drilled(_, answer) => drop(answer.send(())),
            Ask::Bypass(on, by, answer) => {
                let by = Some(by.to_string());
                drop(answer.send(Ok(BypassInfo { on, since: Some(Stamp(1)), by })));
            }
            Ask::Model(ModelAsk::Promote(hash, _), answer) => {
                drop(answer.send(Err(format!("there is no model {hash}"))));
            }
            Ask::Model(ask, answer) => drop(answer.send(Ok(json!(format!("{ask:?}"))))),
            Ask::Notify(NotifyAsk::Test(name), _, answer) => {
                drop(answer.send(Err(format!("there is no channel {name}"))));
            }
            Ask::Notify(ask, _, answer) => drop(answer.send(Ok(json!(format!("{ask:?}"))))),
            Ask::Command(Command::Approve(incident, true, _), answer) => {
                let (level, action) = (Level::Isolate, Action::Isolated);
                drop(answer.send(Ok(Reply::Approved { incident, level, action })));
            }
            Ask::Command(Command::Approve(incident, false, _), answer) => {
                drop(answer.send(Err(CommandError::NotWaiting(incident))));
            }
            Ask::Note(_) => {}
            Ask::Command(Command::Judge(judge), answer) => {
                let Judge { incident, said, former } = judge;
                let Some(former) = former else {
                    drop(answer.send(Err(CommandError::NoIncident(incident))));
                    continue;
                };
                let detector = former.detectors.join(" ");
                let reviews = vec![Review { by: said.by, detector, ..review() }];
                drop(answer.send(Ok(Reply::Judged { incident, verdict: said.verdict, reviews })));
            }
            Ask::Command(Command::Review(id, _), answer) => {
                drop(answer.send(Ok(Reply::Reviewed(Review { id, ..review() }))));
            }
            Ask::Command(Command::Announce(announce), answer) => {
                assert_eq!((announce.in_ns, announce.for_ns), (5, HOUR));
                let Whom::Segment(name) = announce.who else { panic!("{announce:?}") };
                let (reason, by, cover) = (announce.reason, announce.by, Cover::Segment(name));
                drop(answer.send(Ok(Reply::Announced(Window { reason, by, cover, ..window(3) }))));
            }
            Ask::Command(Command::EndWindow(id, _), answer) => {
                drop(answer.send(Ok(Reply::WindowEnded(window(id)))));
            }
            Ask::Command(
                order @ (Command::Describe(..)
                | Command::Merge(..)
                | Command::Distinct(..)
                | Command::Split(..)
                | Command::ForgetDevice(..)
                | Command::Drill(_)),
                answer,
            ) => drop(answer.send(Err(CommandError::UnknownDevice(format!("{order:?}"))))),
            Ask::Command(Command::Remove(which), answer) => {
                let name = match which {
                    Which::Id(id) => id.to_string(),
                    Which::Held(Who::Target(target)) => target.to_string(),
                    Which::Held(Who::Device(text)) => text,
                };
                drop(answer.send(Err(CommandError::NotFound(name))));
            }
        }
    }
}

/// A journal that knows incident 12.
fn recall(incident: u64) -> Option<Former> {
    let detectors = vec!["scan".to_owned()];
    (incident == 12).then_some(Former { mac: None, ips: Vec::new(), detectors })
}

struct Daemon {
    dir: TempDir,
    tasks: Vec<JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        Self::with(|_| {}, true)
    }

    fn with(change: impl FnOnce(&mut Server), answers: bool) -> Self {
        let dir = TempDir::new().unwrap();
        let mut server = Server::bind(&dir.path().join("run/control.sock"), "no-such-group").unwrap();
        change(&mut server);
        let (sender, receiver) = mpsc::channel(4);
        let mut tasks =
            vec![tokio::spawn(
                async move { server.serve(sender, || WallClock::UNIX, Arc::new(recall)).await },
            )];
        tasks.push(tokio::spawn(async move {
            if answers {
                pipeline(receiver).await;
            } else {
                std::future::pending::<()>().await;
                drop(receiver);
            }
        }));
        Self { dir, tasks }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run/control.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// Sends bytes and gives all that comes back until the daemon or we are done.
    async fn send(&self, bytes: &[u8]) -> Vec<Value> {
        let mut stream = self.connect().await;
        // The daemon may hang up before it has read all.
        drop(stream.write_all(bytes).await);
        drop(stream.shutdown().await);
        let mut text = Vec::new();
        drop(stream.read_to_end(&mut text).await);
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn ask(&self, request: Value) -> Value {
        let answers = self.send(format!("{request}\n").as_bytes()).await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["version"], 1);
        answers.into_iter().next().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn what_people_say_of_devices_is_passed_on_and_what_makes_no_sense_is_refused() {
    let daemon = Daemon::start();
    let said = async |request: &str, with: Value| {
        let answer = daemon.ask(json!({ "version": 1, "request": request, "with": with })).await;
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    let edit = |class: &str, criticality: &str| json!([{ "device": "7", "class": class, "criticality": criticality }]);
    let cases = [
        ("device_edit", edit("icu", "server"), "class: Some(Some(\"icu\")), criticality: Some(Some(Server))"),
        ("device_edit", edit("", " "), "class: Some(None), criticality: Some(None)"),
        ("device_edit", edit("i/u", ""), "device 7: "),
        ("device_edit", edit("", "much"), "device 7: much is not one of other, server, life-critical"),
        ("device_edit", json!([{ "device": "" }]), "device"),
        ("device_edit", json!([{ "device": "7", "colour": "red" }]), "colour"),
        ("device_merge", json!({ "into": "a", "device": "b" }), "Merge(\"a\", \"b\""),
        ("device_distinct", json!({ "device": "a", "other": "b" }), "Distinct(\"a\", \"b\""),
        ("device_split", json!("10.0.0.7"), "Split(\"10.0.0.7\""),
        ("device_forget", json!("7"), "ForgetDevice(\"7\""),
        ("drill_begin", json!(null), "Drill("),
    ];
    for (request, with, want) in cases {
        let message = said(request, with.clone()).await;
        assert!(message.contains(want), "{request} {with}: {message}");
    }
}

#[tokio::test]
async fn a_list_in_parts_is_one_order_and_one_client_at_a_time_sends_one() {
    let daemon = Daemon::start();
    let line = |request: &str, who: &str| {
        let with = json!([{ "device": who, "name": "n" }]);
        json!({ "version": 1, "request": request, "with": with }).to_string() + "\n"
    };
    let list = [line("device_edit_part", "7"), line("device_edit_part", "8"), line("device_edit", "9")];
    let answers = daemon.send(list.concat().as_bytes()).await;
    assert_eq!([&answers[0]["ok"], &answers[1]["ok"]], [1, 2]);
    let order = |answer: &Value| {
        let told = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
        ["7", "8", "9"].map(|who| told.contains(&format!("(\"{who}\"")))
    };
    assert_eq!(order(&answers[2]), [true; 3], "{answers:?}");
    // A part that is no good takes the others with it, and so does a client that goes.
    let bad = json!({ "version": 1, "request": "device_edit_part", "with": [{ "device": "\n" }] })
        .to_string()
        + "\n";
    let answers = daemon.send([&list[0], &bad, &list[2]].map(String::as_str).concat().as_bytes()).await;
    assert_eq!(
        (&answers[1]["error"]["kind"], order(&answers[2])),
        (&json!("bad_request"), [false, false, true])
    );
    daemon.send(list[0].as_bytes()).await;
    let mut first = BufReader::new(daemon.connect().await);
    first.write_all(list[0].as_bytes()).await.unwrap();
    first.read_line(&mut String::new()).await.unwrap();
    let answers = daemon.send(list[1].as_bytes()).await;
    assert_eq!(answers[0]["error"]["kind"], "busy", "{answers:?}");
}

#[tokio::test]
async fn a_list_has_an_end() {
    let daemon = Daemon::start();
    let edits: Vec<_> = (0..1_000).map(|n| json!({ "device": n.to_string(), "name": "n" })).collect();
    let part = json!({ "version": 1, "request": "device_edit_part", "with": edits }).to_string() + "\n";
    let answers = daemon.send(part.repeat(66).as_bytes()).await;
    assert_eq!(answers[64]["ok"], 65_000);
    let message = answers[65]["error"]["message"].as_str().unwrap();
    assert_eq!(message, "a list has at most 65536 devices and 32 MiB; give several");
}

#[tokio::test]
async fn what_there_is_to_see_is_shown() {
    let daemon = Daemon::start();
    let devices = daemon.ask(json!({ "version": 1, "request": "devices" })).await;
    assert_eq!(
        devices["ok"],
        json!([{
            "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "maker": "Intel", "more_ips": 0,
            "place": "OR 1", "approved": true,
            "first_seen": "1970-01-01T00:00:00.500000+0000", "last_seen": "1970-01-01T00:00:02.000000+0000",
            "port": "eth1", "vlan": 20, "segment": "ward-3",
            "switch": { "name": "sw-3f", "port": "Gi0/7", "platform": null },
            "kind": { "name": "modality", "confidence": 0.93, "reasons": ["x"] }, "names": ["mri2"],
            "perhaps_same": [{ "device": { "id": 8, "mac": "00:1b:21:0a:0b:0d", "ips": [] }, "dhcp_client_id": "0001ab" }],
            "gateway": false, "protected": false, "block": 5, "destinations": 3,
            "usual_destinations": null,
        }, {
            "id": 8, "mac": "00:1b:21:0a:0b:0d", "ips": [], "more_ips": 0, "owner": "radiology", "approved": false,
            "first_seen": null, "last_seen": null, "port": null, "vlan": 0, "gateway": false, "protected": false,
            "block": null, "destinations": 0, "usual_destinations": null,
        }])
    );
    let blocks = daemon.ask(json!({ "version": 1, "request": "block_list" })).await;
    assert_eq!(
        blocks["ok"],
        json!([{
            "id": 5, "targets": ["10.0.0.7"],
            "device": { "id": 7, "mac": "00:1b:21:0a:0b:0c", "ips": ["10.0.0.7"], "maker": "Intel" },
            "level": "isolate", "direction": "both", "follows": false, "owner": "root", "reason": "odd", "since": "1970-01-01T00:00:01.000000+0000",
            "until": "1970-01-01T01:00:00.000000+0000", "would": false,
            "hits": { "dropped": 3, "dropped_bytes": 180, "would_drop": 0, "would_drop_bytes": 0 },
        }])
    );
    let status = daemon.ask(json!({ "version": 1, "request": "status" })).await;
    let status: crate::protocol::Status = serde_json::from_value(status["ok"].clone()).unwrap();
    assert_eq!((status.live, status.stats["devices"]), (view().live, 1));
    let success = SuccessInfo { class: None, permille: Some(812), devices: 7 };
    assert_eq!(status.success, [success]);
    assert_eq!(status.restricted, BTreeMap::from([("isolate".to_owned(), 1)]));
    assert_eq!(daemon.ask(json!({ "version": 1, "request": "incidents" })).await["ok"], json!([]));
}

#[tokio::test]
async fn what_is_asked_of_the_channels_reaches_the_pipeline() {
    let daemon = Daemon::start();
    for (request, want) in [
        (json!({ "version": 1, "request": "notify_list" }), json!({ "ok": "List" })),
        (
            json!({ "version": 1, "request": "notify_ack", "with": 12 }),
            json!({ "ok": "Acknowledge(Some(12))" }),
        ),
        (
            json!({ "version": 1, "request": "notify_ack", "with": null }),
            json!({ "ok": "Acknowledge(None)" }),
        ),
        (
            json!({ "version": 1, "request": "notify_test", "with": "it" }),
            json!({ "error": { "kind": "refused", "message": "there is no channel it" } }),
        ),
    ] {
        let mut want = want;
        want["version"] = 1.into();
        assert_eq!(daemon.ask(request.clone()).await, want, "{request}");
    }
    let refused = daemon.ask(json!({ "version": 1, "request": "notify_test", "with": "../it" })).await;
    assert_eq!(refused["error"]["kind"], "bad_request", "{refused}");
}

#[tokio::test]
async fn what_is_asked_of_the_models_reaches_the_pipeline() {
    let daemon = Daemon::start();
    for (request, want) in [
        (json!({ "version": 1, "request": "models" }), json!({ "ok": "List" })),
        (json!({ "version": 1, "request": "model_train" }), json!({ "ok": "Train(None)" })),
        (
            json!({ "version": 1, "request": "model_train_class", "with": "wards" }),
            json!({ "ok": "Train(Some(\"wards\"))" }),
        ),
        (
            json!({ "version": 1, "request": "model_scores", "with": "MRI 2" }),
            json!({ "ok": "Scores(\"MRI 2\")" }),
        ),
        (
            json!({ "version": 1, "request": "model_promote", "with": { "hash": "01AB", "golden": true } }),
            json!({ "error": { "kind": "refused", "message": "there is no model 01ab" } }),
        ),
        (
            json!({ "version": 1, "request": "model_promote", "with": { "hash": "../../etc" } }),
            json!({ "error": { "kind": "bad_request", "message": "a model is named by the beginning of its hash, as \
                `sekisho model list` shows it" } }),
        ),
    ] {
        let mut want = want;
        want["version"] = 1.into();
        assert_eq!(daemon.ask(request.clone()).await, want, "{request}");
    }
    let long = daemon
        .ask(json!({ "version": 1, "request": "model_promote", "with": { "hash": "a".repeat(65) } }))
        .await;
    assert_eq!(long["error"]["kind"], "bad_request");
}

#[tokio::test]
async fn orders_reach_the_pipeline() {
    let daemon = Daemon::start();
    let with = json!({ "targets": ["10.0.0.8", "10.0.0.8", "00:1B:21:0A:0B:0D"], "for_ns": HOUR, "reason": " a\nb " });
    let added = daemon.ask(json!({ "version": 1, "request": "block_add", "with": with })).await;
    let added: crate::protocol::Added = serde_json::from_value(added["ok"].clone()).unwrap();
    assert_eq!(added.block.targets, ["10.0.0.8", "00:1b:21:0a:0b:0d"]);
    assert_eq!(added.block.reason, "a b");
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    assert_eq!(added.block.owner, Some(super::peer::user_name(uid)));
    assert_eq!(added.block.device.unwrap().name.as_deref(), Some("MRI"));
    let with = json!({
        "targets": ["10.3.9.9/16", "vlan 20", "port eth1", "segment ward"], "level": "quarantine",
        "direction": "from", "allow": "repair", "force": true,
    });
    let added = daemon.ask(json!({ "version": 1, "request": "block_add", "with": with })).await;
    let added: crate::protocol::Added = serde_json::from_value(added["ok"].clone()).unwrap();
    assert_eq!(added.block.targets, ["10.3.0.0/16", "vlan 20", "port eth1", "segment ward"]);
    assert_eq!((added.block.level.as_str(), added.block.direction.as_str()), ("quarantine", "from"));
    assert_eq!((added.block.allow.as_deref(), added.spared), (Some("repair"), vec!["CT".to_owned()]));
    assert_eq!((added.impact.devices, added.impact.conversations), (1, 3));
    assert!(added.entered);
    let with = json!({ "devices": ["MRI"], "preview": true });
    let added = daemon.ask(json!({ "version": 1, "request": "block_add", "with": with })).await;
    let added: crate::protocol::Added = serde_json::from_value(added["ok"].clone()).unwrap();
    assert_eq!((added.entered, added.lost["services"].as_u64()), (false, Some(2)));
    assert_eq!(added.block.device.unwrap().class.as_deref(), Some("icu"));
    let with = json!({ "device": "MRI 2" });
    let removed = daemon.ask(json!({ "version": 1, "request": "block_remove", "with": with })).await;
    assert!(removed["error"]["message"].as_str().unwrap().contains("entry for MRI 2"), "{removed}");
    let removed = daemon.ask(json!({ "version": 1, "request": "block_remove", "with": { "id": 9 } })).await;
    assert_eq!(removed["error"]["kind"], "refused");
    assert!(removed["error"]["message"].as_str().unwrap().contains("there is no block entry for 9"));
}

#[tokio::test]
async fn what_a_person_says_of_incidents_reaches_the_pipeline_with_his_account() {
    let daemon = Daemon::start();
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let mine = super::peer::user_name(uid);
    let review = |id: u32, by: &str| {
        json!({ "id": id, "detector": "scan", "scope": "class icu", "incident_id": 12,
            "since": "1970-01-01T00:00:01.000000+0000", "by": by })
    };
    for (request, with, want) in [
        ("incident_approve", json!(7), json!({ "incident": 7, "level": "isolate", "action": "isolated" })),
        (
            "incident_judge",
            json!({ "incident": 12, "right": false }),
            json!({ "incident": 12, "right": false, "reviews": [review(3, &mine)] }),
        ),
        (
            "incident_judge",
            json!({ "incident": 12, "right": true, "grave": true, "comment": " found malware\n" }),
            json!({ "incident": 12, "right": true, "grave": true, "reviews": [review(3, &mine)] }),
        ),
        ("reviews", Value::Null, json!([review(3, "tanaka")])),
        ("review_end", json!(5), review(5, "tanaka")),
        ("windows", Value::Null, json!([window_json(2, "everybody", "renumbering", "tanaka")])),
        ("window_remove", json!(4), window_json(4, "everybody", "renumbering", "tanaka")),
        (
            "window_add",
            json!({ "who": { "segment": "icu" }, "in_ns": 5, "for_ns": HOUR, "reason": "new\tswitch " }),
            window_json(3, "segment icu", "new switch", &mine),
        ),
    ] {
        let mut line = json!({ "version": 1, "request": request });
        if !with.is_null() {
            line["with"] = with;
        }
        assert_eq!(daemon.ask(line).await["ok"], want, "{request}");
    }
    let denied = daemon.ask(json!({ "version": 1, "request": "incident_deny", "with": 8 })).await;
    let message = denied["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("nothing waits for approval in incident 8"), "{message}");
}

#[tokio::test]
async fn orders_are_told_and_what_changes_nothing_is_not() {
    let (sender, mut asks) = mpsc::channel(4);
    let (notes, mut noted) = mpsc::unbounded_channel();
    let dir = TempDir::new().unwrap();
    let server = Server::bind(&dir.path().join("control.sock"), "no-such-group").unwrap();
    let path = dir.path().join("control.sock");
    let serve = tokio::spawn(async move { server.serve(sender, || WallClock::UNIX, Arc::new(recall)).await });
    let (forward, rest) = mpsc::channel(4);
    let sort = tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Note(order) => notes.send(order).unwrap(),
                other => forward.send(other).await.unwrap(),
            }
        }
    });
    let answer = tokio::spawn(pipeline(rest));
    for (request, with, told) in [
        ("status", Value::Null, None),
        ("incidents", Value::Null, None),
        ("models", Value::Null, None),
        ("block_add", json!({ "targets": ["10.0.0.7"], "preview": true }), None),
        ("block_add", json!({ "targets": ["no address"] }), None),
        ("block_add", json!({ "targets": ["10.0.0.7"] }), Some("done")),
        ("block_remove", json!({ "id": 9 }), Some("there is no block entry for 9")),
        ("bypass", json!(true), Some("done")),
        ("model_train", Value::Null, Some("done")),
        ("model_promote", json!({ "hash": "abcd", "golden": false }), Some("there is no model abcd")),
        ("incident_judge", json!({ "incident": 12, "right": false }), Some("done")),
        ("incident_judge", json!({ "incident": 13, "right": false }), Some("there is no incident 13")),
    ] {
        let mut line = json!({ "version": 1, "request": request });
        if !with.is_null() {
            line["with"] = with.clone();
        }
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        BufReader::new(&mut stream).read_line(&mut answer).await.unwrap();
        // Given on before the answer: what comes is here a moment later, what does not come is not.
        let note = match told {
            Some(_) => tokio::time::timeout(Duration::from_secs(5), noted.recv()).await.unwrap(),
            None => noted.try_recv().ok(),
        };
        let Some(note) = note else {
            assert_eq!(told, None, "{line}");
            continue;
        };
        assert_eq!((&note.order[..], &note.with), (request, &with.to_string()), "{line}");
        let outcome = note.refused.as_deref().unwrap_or("done");
        assert!(told.is_some_and(|told| outcome.starts_with(told)), "{line}: {outcome}");
        assert!(!note.by.is_empty());
    }
    [serve, sort, answer].iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn garbage_is_answered_with_what_is_wrong() {
    let daemon = Daemon::start();
    for (line, want) in [
        ("", "the request is not understood: EOF"),
        ("garbage", "the request is not understood: expected value"),
        ("[1]", "the request is not understood: invalid type: sequence"),
        ("{}", "the request has no version"),
        (
            r#"{"version":2,"request":"status"}"#,
            "the request is of version 2 and the daemon understands version 1",
        ),
        (r#"{"version":1}"#, "the request is not understood: missing field `request`"),
        (r#"{"version":1,"request":"explode"}"#, "the request is not understood: unknown variant `explode`"),
        (r#"{"version":1,"request":"status","x":1}"#, "the request is not understood: "),
        (
            r#"{"version":1,"request":"incident_judge","with":{"incident":1,"right":false,"grave":true}}"#,
            "an incident that was none was not grave",
        ),
        (
            r#"{"version":1,"request":"block_add","with":{"targets":["MRI"]}}"#,
            "`MRI` is neither a MAC nor an IP address",
        ),
        (
            r#"{"version":1,"request":"block_add","with":{"targets":[],"for_ns":0}}"#,
            "a block of no length blocks nobody",
        ),
        (
            r#"{"version":1,"request":"block_add","with":{"targets":[],"reson":"x"}}"#,
            "the request is not understood: unknown field `reson`",
        ),
        (r#"{"version":1,"request":"block_add","with":{"targets":["vlan 4095"]}}"#, "`4095` is not a VLAN"),
        (
            r#"{"version":1,"request":"block_add","with":{"targets":["::/0"]}}"#,
            "`::/0` takes in all of IPv4 too",
        ),
        (
            r#"{"version":1,"request":"block_add","with":{"devices":["a"],"level":"off"}}"#,
            "`off` is no level; those are observe, throttle",
        ),
        (
            r#"{"version":1,"request":"block_add","with":{"devices":["a"],"direction":"up"}}"#,
            "`up` is no direction",
        ),
        (
            r#"{"version":1,"request":"block_remove","with":{"device":"a\u001b[31m"}}"#,
            "a device is called by its name",
        ),
    ] {
        let answers = daemon.send(format!("{line}\n").as_bytes()).await;
        assert_eq!(answers[0]["error"]["kind"], "bad_request", "{line}");
        let message = answers[0]["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(want), "{line}: {message}");
    }
}

#[tokio::test]
async fn one_client_may_ask_many_things() {
    let daemon = Daemon::start();
    let answers = daemon
        .send(b"{\"version\":1,\"request\":\"status\"}\nx\n{\"version\":1,\"request\":\"devices\"}")
        .await;
    let kinds: Vec<_> = answers.iter().map(|a| a.get("ok").is_some()).collect();
    assert_eq!(kinds, [true, false, true], "{answers:?}");
}

#[tokio::test]
async fn a_request_without_end_is_cut_off() {
    let daemon = Daemon::start();
    let answers = daemon.send(&vec![b'x'; 1_000_000]).await;
    // Whether the answer arrives depends on whether the client still sends when the daemon hangs up.
    assert!(answers.len() <= 1, "{answers:?}");
    let mut stream = daemon.connect().await;
    stream.write_all(&vec![b'x'; crate::protocol::MAX_REQUEST]).await.unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.unwrap();
    assert!(line.contains("the request is longer than 65536 bytes"), "{line}");
    assert!(daemon.ask(json!({ "version": 1, "request": "status" })).await.get("ok").is_some());
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let daemon = Daemon::with(|server| server.set_patience(Duration::from_millis(20)), true);
    let mut stream = daemon.connect().await;
    stream.write_all(b"{\"version\":1").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_pipeline_that_does_not_answer_is_told() {
    let daemon = Daemon::with(|server| server.set_patience(Duration::from_millis(20)), false);
    let answer = daemon.ask(json!({ "version": 1, "request": "status" })).await;
    assert_eq!(answer["error"]["kind"], "busy");
}

#[tokio::test]
async fn too_many_clients_are_turned_away() {
    let daemon = Daemon::start();
    let mut clients = Vec::new();
    for _ in 0..32 {
        let mut stream = BufReader::new(daemon.connect().await);
        stream.write_all(b"{\"version\":1,\"request\":\"status\"}\n").await.unwrap();
        stream.read_line(&mut String::new()).await.unwrap();
        clients.push(stream);
    }
    let mut line = String::new();
    BufReader::new(daemon.connect().await).read_line(&mut line).await.unwrap();
    assert!(line.contains("32 clients are connected already"), "{line}");
    clients.clear();
    while daemon.send(b"{\"version\":1,\"request\":\"status\"}\n").await[0].get("ok").is_none() {}
}

#[tokio::test]
async fn the_file_is_for_the_group_and_goes_with_the_server() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a/b/control.sock");
    let server = Server::bind(&path, "no-such-group").unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_live_daemon_is_not_pushed_aside_and_a_dead_one_is() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("control.sock");
    let first = Server::bind(&path, "no-such-group").unwrap();
    let error = Server::bind(&path, "no-such-group").err().unwrap();
    assert!(error.to_string().starts_with("another daemon answers on "), "{error}");
    drop(first);
    // What a killed daemon leaves: the file, and nobody behind it.
    let dead = dir.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    let second = Server::bind(&dead, "no-such-group").unwrap();
    UnixStream::connect(&dead).await.unwrap();
    drop(second);
}

#[tokio::test]
async fn a_successors_file_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("control.sock");
    let first = Server::bind(&path, "no-such-group").unwrap();
    fs::remove_file(&path).unwrap();
    let second = Server::bind(&path, "no-such-group").unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
}

#[tokio::test]
async fn another_file_of_that_name_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "notes").unwrap();
    let error = Server::bind(&path, "no-such-group").err().unwrap();
    assert!(matches!(error, ControlError::NotSocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
}

proptest! {
    #[test]
    fn reading_requests_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = super::request::read(&bytes, "root");
    }

    #[test]
    fn reading_orders_never_panics(
        request in "(status|block_add|block_remove|block_list)",
        target in "\\PC{0,20}",
        for_ns in any::<Option<i64>>(),
        reason in "\\PC*",
    ) {
        let with = json!({ "targets": [target.clone()], "for_ns": for_ns, "reason": reason });
        let line = json!({ "version": 1, "request": request, "with": with }).to_string();
        let _ = super::request::read(line.as_bytes(), "root");
        let line = json!({ "version": 1, "request": request, "with": { "target": target } }).to_string();
        let _ = super::request::read(line.as_bytes(), "root");
    }
}
