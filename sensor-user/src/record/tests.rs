//! The record: written as the daemon does, read as `sekisho explain` does.

use std::fs;
use std::path::{Path, PathBuf};

use sensor_core::addr::Mac;
use sensor_core::engine::{Command, Engine, Output, Which, Who};
use sensor_core::observation::{FlowId, FlowSeen, Kind, Observation, Verdict};
use sensor_core::policy::Target;
use sensor_core::settings::Mode;
use sensor_core::time::{MILLISECOND, SECOND, Time};
use serde_json::Value;

use super::again::{self, Again};
use super::writer::segments;
use super::*;
use crate::clock::WallClock;
use crate::config;

/// A daemon of little more than an engine and its record.
struct Daemon {
    engine: Engine,
    recorder: Recorder,
    teller: Teller,
    now: Time,
    told: Vec<Value>,
}

const CONFIG: &str = "[network]\ninternal = [\"10.0.0.0/8\"]\n";
const KEEPING: Keeping = Keeping { every_ns: 60 * SECOND, max_bytes: 1 << 30 };

impl Daemon {
    fn start(dir: &Path, keeping: Keeping) -> Self {
        let mut settings = config::parse(CONFIG.as_bytes()).unwrap().settings;
        settings.mode = Mode::Enforce;
        let mut engine = Engine::new(settings);
        let mut out = Output::default();
        engine.restore(Vec::new(), &mut out);
        let recorder = Recorder::start(dir, keeping, CONFIG.to_owned(), true).unwrap();
        let teller = Teller::new(WallClock { offset_ns: 1_700_000_000_000_000_000 });
        let mut daemon = Self { engine, recorder, teller, now: Time::at(SECOND), told: Vec::new() };
        daemon.turn(out);
        daemon
    }

    /// What a turn of the loop does.
    fn turn(&mut self, mut out: Output) {
        self.now = self.now.plus(20 * MILLISECOND);
        self.engine.tick(self.now, &mut out);
        for timed in &out.events {
            // The clocks of a machine never stand to each other as they did.
            self.teller.clock.offset_ns += 1_017;
            self.recorder.told(timed, &self.teller);
            let line = self.teller.value(timed, None);
            if !line["incident_id"].is_null() {
                self.told.push(line);
            }
        }
        self.recorder.step(self.clocks(), &mut self.engine, &self.teller);
    }

    fn sees(&mut self, seen: FlowSeen) {
        let mut out = Output::default();
        self.engine.observe(&Observation::Flow(FlowSeen { time: self.now, ..seen }), &mut out);
        self.turn(out);
    }

    /// A host asks for addresses that answer nothing, until it is cut off and a while on.
    fn scan(&mut self, host: u8) {
        let smac = Mac([2, 0, 0, 0, 0, host]);
        let asks = FlowId { src: [10, 0, 0, host].into(), sport: 1, kind: Kind::Arp, ..blank().id };
        self.sees(FlowSeen { id: asks, smac, arp_sha: smac, ether_type: 0x0806, ..blank() });
        for last in 0..40 {
            let id = FlowId { src: [10, 0, 0, host].into(), dst: [10, 9, host, last].into(), ..blank().id };
            self.sees(FlowSeen { id, smac, tcp_flags: 2, ..blank() });
        }
        self.wait(3);
    }

    fn clocks(&self) -> Now {
        Now { mono: self.now, unix_ns: self.teller.clock.stamp(self.now).0 }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 50 {
            self.turn(Output::default());
        }
    }

    fn of(&self, incident: u64) -> Vec<Value> {
        self.told.iter().filter(|line| line["incident_id"] == incident).cloned().collect()
    }

    fn stop(mut self) -> Vec<Value> {
        let now = self.clocks();
        self.recorder.close(now, &mut self.engine, &self.teller);
        self.told
    }
}

#[test]
fn what_was_learned_is_there_for_the_next_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let none = |error: &RecordError| panic!("{error}");
    assert_eq!(last_state(dir.path(), Now::read(), none), None);
    let mut daemon = Daemon::start(dir.path(), KEEPING);
    daemon.scan(1);
    let ended = daemon.clocks();
    daemon.stop();
    let last = last_state(dir.path(), ended, none).unwrap();
    assert_eq!((last.saved, last.ahead_ns), (ended.mono, 0));
    let mut engine = Engine::new(config::parse(CONFIG.as_bytes()).unwrap().settings);
    engine.take_up(&last, ended.mono).unwrap();
    let state = last.state[..last.state.len() / 2].to_vec();
    assert!(engine.take_up(&LastState { state, ..last.clone() }, ended.mono).is_err(), "cut short");
    // One that had just begun when the power failed: the one before counts.
    let newest = read::newest_first(dir.path())[0].clone();
    let bytes = fs::read(&newest).unwrap();
    fs::write(newest.with_file_name("18446744073709551615.segment"), &bytes[..MAGIC.len() + 8]).unwrap();
    assert_eq!(last_state(dir.path(), ended, |_| {}), Some(last));
    fs::write(newest.with_file_name("18446744073709551614.segment"), b"nothing").unwrap();
    let mut told = Vec::new();
    assert!(last_state(dir.path(), ended, |error| told.push(error.to_string())).is_none());
    assert!(told.iter().any(|text| text.ends_with("it does not begin as one")), "{told:?}");
    // After an upgrade.
    let form = [&b"SEKISHO RECORD 2"[..], &bytes[MAGIC.len()..]].concat();
    fs::write(newest.with_file_name("18446744073709551615.segment"), form).unwrap();
    told.clear();
    assert!(last_state(dir.path(), ended, |error| told.push(error.to_string())).is_none());
    assert!(told.iter().any(|text| text.contains("another release wrote it")), "{told:?}");
}

#[test]
fn what_was_forgiven_is_on_the_disk_within_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), Keeping { every_ns: HOUR, ..KEEPING });
    daemon.scan(1);
    daemon.wait(2);
    let (held, mut out) = (Who::Target(Target::Mac(Mac([2, 0, 0, 0, 0, 1]))), Output::default());
    daemon.engine.command(daemon.now, Command::Remove(Which::Held(held)), &mut out).unwrap();
    daemon.turn(out);
    daemon.wait(61);
    daemon.stop();
    // The first, the one after it, and the one at the end.
    assert_eq!(read::newest_first(dir.path()).len(), 3);
}

#[test]
fn after_a_reboot_what_was_learned_is_as_old_as_the_date_says() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), KEEPING);
    let ended = daemon.clocks();
    daemon.stop();
    let since = |boot: &str, mono: u64, gone: i64| {
        let now = Now { mono: Time::at(mono), unix_ns: ended.unix_ns.saturating_add(gone) };
        let last = last_state_in_boot(dir.path(), boot, now, |error| panic!("{error}")).unwrap();
        now.mono.since(last.saved.by_clock_ahead(last.ahead_ns))
    };
    let hour = HOUR as i64;
    assert_eq!(since("another", SECOND, 2 * hour), 2 * HOUR);
    assert_eq!(since("another", 3 * HOUR, 2 * hour), 2 * HOUR);
    assert_eq!(since("", SECOND, 2 * hour), 2 * HOUR, "a kernel that does not say which boot it is");
    assert_eq!(since("another", SECOND, -2 * hour), 0, "the date is not set yet");
    assert_eq!(since("another", SECOND, i64::MIN), 0);
    assert_eq!(since("another", SECOND, i64::MAX), LONGEST_OFF, "no date makes it too old");
    assert_eq!(since(&store::boot_id(), ended.mono.plus(HOUR).ns(), 5 * hour), HOUR, "the date was set");
}

fn decide(dir: &Path, incident: u64, change: Option<(&str, &str)>) -> Result<Again, RecordError> {
    again::decide(dir, incident, change, |_| {})
}

fn decisions(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["alert"]["metadata"]["decision"][0].as_str()).collect()
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    files.sort();
    files
}

#[test]
fn a_decision_is_made_anew_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), KEEPING);
    daemon.scan(7);
    // Into the next segment, where the first host is cut off already and another begins.
    daemon.wait(70);
    daemon.scan(8);
    let (first, second) = (daemon.of(1), daemon.of(2));
    assert!(decisions(&first).contains(&"isolated"), "{:?}", decisions(&first));
    daemon.stop();
    assert!(files(dir.path(), SEGMENT).len() >= 2);
    for (incident, told) in [(1, first), (2, second)] {
        let Again { recorded, anew } = decide(dir.path(), incident, None).unwrap();
        assert_eq!(recorded, told, "what was told of incident {incident} is on record");
        assert_eq!(anew, told, "and comes about again");
    }
    // Where nobody is isolated it is pinned.
    let what_if = decide(dir.path(), 1, Some(("decide.highest", "pin"))).unwrap();
    assert!(decisions(&what_if.anew).contains(&"pinned"), "{:?}", decisions(&what_if.anew));
    assert!(!decisions(&what_if.anew).contains(&"isolated"));
    let wrong = decide(dir.path(), 1, Some(("detect.scan.isolate_alfa", "1"))).unwrap_err().to_string();
    assert!(wrong.contains("isolate_alfa"), "{wrong}");
    let nowhere = decide(&dir.path().join("other"), 1, None).unwrap_err().to_string();
    assert!(nowhere.contains("no daemon kept one there"), "{nowhere}");
    let none = decide(dir.path(), 99, None).unwrap_err().to_string();
    assert!(none.contains("has no incident 99"), "{none}");
}

#[test]
fn what_a_daemon_that_died_left_is_of_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), KEEPING);
    daemon.scan(7);
    let told = daemon.of(1);
    daemon.stop();
    let path = files(dir.path(), SEGMENT).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for end in (0..whole.len()).step_by(whole.len() / 20 + 1) {
        fs::write(&path, &whole[..end]).unwrap();
        match decide(dir.path(), 1, None) {
            // What was told before the end comes about again; what came last may not have been told yet.
            Ok(Again { recorded, anew }) => {
                assert!(told.starts_with(&recorded), "cut at {end}: {recorded:?}");
                assert!(anew.starts_with(&recorded), "cut at {end}: {recorded:#?}\n{anew:#?}");
            }
            Err(RecordError::Damaged { .. }) => {}
            Err(other) => panic!("cut at {end}: {other}"),
        }
    }
    for at in (0..whole.len()).step_by(whole.len() / 50 + 1) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        // Whatever comes of it, it is no panic, and ends.
        let _ = decide(dir.path(), 1, None);
    }
}

#[test]
fn the_oldest_is_deleted_first_and_what_has_an_incident_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), Keeping { every_ns: 5 * SECOND, max_bytes: 1 << 30 });
    daemon.scan(7);
    daemon.wait(30);
    daemon.stop();
    let kept = segments(dir.path()).unwrap();
    let incidents: Vec<_> =
        kept.iter().filter(|kept| kept.has_incidents).map(|kept| kept.path.clone()).collect();
    assert!(kept.len() > 5 && !incidents.is_empty(), "{} {}", kept.len(), incidents.len());
    // Room for those with an incident and little more.
    let bytes = |kept: &[writer::Kept]| kept.iter().map(|kept| kept.bytes).sum::<u64>();
    let largest = kept.iter().map(|kept| kept.bytes).max().unwrap();
    let needed: u64 = kept.iter().filter(|kept| kept.has_incidents).map(|kept| kept.bytes).sum();
    let max_bytes = needed + 2 * largest;
    let mut daemon = Daemon::start(dir.path(), Keeping { every_ns: 60 * SECOND, max_bytes });
    daemon.wait(2);
    daemon.stop();
    let left = segments(dir.path()).unwrap();
    assert!(bytes(&left) <= max_bytes, "{} of {max_bytes}", bytes(&left));
    assert!(incidents.iter().all(|path| path.exists() && path.with_extension(INCIDENTS).exists()));
    decide(dir.path(), 1, None).unwrap();
    // Not room even for those: they go too, with their lists.
    let mut daemon = Daemon::start(dir.path(), Keeping { every_ns: 60 * SECOND, max_bytes: 1 });
    daemon.wait(2);
    daemon.stop();
    assert_eq!((files(dir.path(), SEGMENT).len(), files(dir.path(), INCIDENTS).len()), (1, 0));
}

#[test]
fn where_nothing_can_be_written_the_record_ends_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), KEEPING);
    while files(dir.path(), SEGMENT).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(daemon.recorder.cut_short(), 0);
    // The next segment finds no place.
    fs::remove_dir_all(dir.path()).unwrap();
    daemon.wait(60);
    while daemon.recorder.cut_short() == 0 {
        std::thread::yield_now();
        daemon.turn(Output::default());
    }
    assert_eq!(daemon.recorder.cut_short(), 1);
    fs::create_dir(dir.path()).unwrap();
    daemon.wait(70);
    daemon.scan(7);
    let told = daemon.of(1);
    daemon.stop();
    assert_eq!(decide(dir.path(), 1, None).unwrap(), Again { recorded: told.clone(), anew: told });
}

fn blank() -> FlowSeen {
    FlowSeen {
        time: Time::at(0),
        id: FlowId {
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            sport: 40_000,
            dport: 5_000,
            proto: 6,
            kind: Kind::Ip,
            vlan: 0,
            port: 1,
        },
        smac: Mac([2, 0, 0, 0, 0, 1]),
        dmac: Mac([2, 0, 0, 0, 0, 2]),
        arp_sha: Mac::default(),
        vlan_inner: 0,
        ether_type: 0x0800,
        window: 0,
        len: 60,
        ttl: 64,
        tcp_flags: 16,
        verdict: Verdict::Pass,
        rule_id: 0,
        inner: None,
    }
}
