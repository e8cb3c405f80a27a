//! Tests of the store: restarts, clocks, and what goes wrong with disks.

use proptest::prelude::*;
use sensor_core::addr::{Mac, Prefix};
use sensor_core::detect::Finding;
use sensor_core::engine::{Command, Engine, Output};
use sensor_core::event::Value;
use sensor_core::evidence::Family;
use sensor_core::identify::Kind as Sort;
use sensor_core::identify::client::ClientId;
use sensor_core::identify::facts::{self, Asks, Facts};
use sensor_core::identify::group::{Shared, WhyTwo};
use sensor_core::identify::kept::KeptIdentity;
use sensor_core::identify::neighbour::Neighbour;
use sensor_core::identify::syn::Syn;
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::kept::{KeptAddress, Roles};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::policy::class::Criticality;
use sensor_core::policy::memory::{Asked, Counter, Known, Refused};
use sensor_core::policy::repeat::{Attack, Past};
use sensor_core::policy::review::{Review, Scope};
use sensor_core::policy::window::{Cover, Window};
use sensor_core::policy::{Allow, Direction, Level, List, Origin, Service, Target};
use sensor_core::settings::Settings;
use sensor_core::time::{HOUR, MINUTE, SECOND, Time};
use tempfile::TempDir;

use super::*;

const NOW: Now = Now { mono: Time::at(1_000 * SECOND), unix_ns: 1_767_225_600_000_000_000 };

/// The clocks `ns` later.
fn later(ns: u64) -> Now {
    Now { mono: NOW.mono.plus(ns), unix_ns: NOW.unix_ns + ns as i64 }
}

fn block(id: BlockId, until: Option<Time>) -> Block {
    Block {
        id,
        targets: vec![
            Target::Mac("00:1b:21:0a:0b:0c".parse().unwrap()),
            Target::Ip("10.0.0.7".parse().unwrap()),
            Target::Ip("fd00::7".parse().unwrap()),
        ],
        level: Level::Isolate,
        direction: Direction::Both,
        list: List::None,
        follows: false,
        origin: Origin::Manual("tanaka".to_owned()),
        reason: "\"odd\" traffic; it's 病院".to_owned(),
        since: NOW.mono,
        until,
        would: false,
    }
}

fn open(dir: &TempDir) -> Store {
    Store::open_in_boot(dir.path(), "boot-1").unwrap()
}

#[test]
fn what_is_kept_is_for_the_daemon_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = Store::open(&state).unwrap();
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o750);
    for file in fs::read_dir(&state).unwrap().map(Result::unwrap) {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", file.file_name());
    }
    drop(store);
}

#[test]
fn entries_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let (forever, hour) = (block(1, None), block(2, Some(NOW.mono.plus(HOUR))));
    let incident = Block { origin: Origin::Incident(7), would: true, ..block(3, Some(NOW.mono.plus(HOUR))) };
    let saves = [&forever, &hour, &incident].map(|b| Save::Put(b.clone()));
    open(&dir).save(&saves, NOW).unwrap();
    let all = [forever, hour, incident];
    assert_eq!(open(&dir).load(later(MINUTE)).unwrap(), all);
    assert_eq!(open(&dir).load(later(2 * HOUR)).unwrap(), all, "the engine releases who is held too long");
}

#[test]
fn an_entry_is_replaced_and_forgotten() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    store.save(&[Save::Put(block(1, Some(NOW.mono.plus(HOUR))))], NOW).unwrap();
    let longer = block(1, Some(NOW.mono.plus(3 * HOUR)));
    store.save(&[Save::Put(longer.clone())], later(MINUTE)).unwrap();
    assert_eq!(store.load(later(2 * HOUR)).unwrap(), [longer]);
    store.save(&[Save::Forget(1), Save::Forget(9)], NOW).unwrap();
    assert_eq!(store.load(NOW).unwrap(), []);
}

#[test]
fn within_a_boot_setting_the_clock_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let entry = block(1, Some(NOW.mono.plus(HOUR)));
    open(&dir).save(&[Save::Put(entry.clone())], NOW).unwrap();
    for set_by in [-10 * HOUR as i64, 10 * HOUR as i64] {
        let now = Now { mono: NOW.mono.plus(MINUTE), unix_ns: NOW.unix_ns + set_by };
        assert_eq!(open(&dir).load(now).unwrap(), std::slice::from_ref(&entry), "{set_by}");
    }
}

#[test]
fn after_a_reboot_the_wall_clock_counts() {
    let dir = TempDir::new().unwrap();
    open(&dir)
        .save(&[Save::Put(block(1, Some(NOW.mono.plus(HOUR)))), Save::Put(block(2, None))], NOW)
        .unwrap();
    let boot = |name, mono, unix_ns| {
        let mut store = Store::open_in_boot(dir.path(), name).unwrap();
        let blocks = store.load(Now { mono: Time::at(mono), unix_ns }).unwrap();
        blocks.iter().map(|b| (b.id, b.until)).collect::<Vec<_>>()
    };
    let uptime = 20 * SECOND;
    // 20 minutes went by, 40 remain.
    let later = NOW.unix_ns + (20 * MINUTE) as i64;
    assert_eq!(boot("boot-2", uptime, later), [(1, Some(Time::at(uptime + 40 * MINUTE))), (2, None)]);
    // The battery of the clock was empty: 1970. The entry lasts its full hour, not half a century.
    assert_eq!(boot("boot-3", uptime, 0), [(1, Some(Time::at(uptime + HOUR))), (2, None)]);
    // It is over, and the engine releases its device.
    let over = NOW.unix_ns + HOUR as i64;
    assert_eq!(boot("boot-4", uptime, over), [(1, Some(Time::at(uptime))), (2, None)]);
}

#[test]
fn an_entry_changed_after_a_reboot_keeps_its_beginning() {
    let dir = TempDir::new().unwrap();
    open(&dir).save(&[Save::Put(block(1, None))], NOW).unwrap();
    let day = 24 * HOUR;
    let now = |unix_ns| Now { mono: Time::at(10 * SECOND), unix_ns };
    let mut store = Store::open_in_boot(dir.path(), "boot-2").unwrap();
    let entry = store.load(now(NOW.unix_ns + day as i64)).unwrap().remove(0);
    assert_eq!(entry.since, Time::at(10 * SECOND).minus(day), "before this boot");
    store.save(&[Save::Put(entry)], now(NOW.unix_ns + day as i64)).unwrap();
    let rows = store.rows().unwrap();
    assert_eq!(rows[0].span.since_unix_ns, NOW.unix_ns);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    store.save(&[Save::Put(block(1, None))], NOW).unwrap();
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
    let big = Block { reason: "x".repeat(100_000), ..block(2, None) };
    let error = store.save(&[Save::Put(big.clone())], NOW).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(store.save(&[Save::Forget(1)], NOW).is_err(), "the one that waits is tried again");
    assert_eq!(store.pending(), 2);
    store.db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.flush(NOW).unwrap();
    assert_eq!((store.pending(), store.load(NOW).unwrap()), (0, vec![big]));
}

#[test]
fn a_full_disk_is_told_with_what_to_do() {
    let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let text = StoreError::of(Path::new("/var/lib/sekisho/sekisho.db"), error).to_string();
    assert!(text.contains("the disk is full") && text.contains("free some space"), "{text}");
}

#[test]
fn a_damaged_file_is_told() {
    for damage in
        ["this is not a database at all, it only has the name of one", "SQLite format 3\0and then rubbish"]
    {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("sekisho.db"), damage.repeat(100)).unwrap();
        let error = Store::open_in_boot(dir.path(), "b").err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("mv "), "{error}");
    }
}

#[test]
fn a_page_that_went_bad_is_told() {
    let dir = TempDir::new().unwrap();
    let saves: Vec<_> = (1..500).map(|id| Save::Put(block(id, None))).collect();
    open(&dir).save(&saves, NOW).unwrap();
    let path = dir.path().join("sekisho.db");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[8192..end.min(40_000)].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let error = Store::open_in_boot(dir.path(), "b").err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_later_layout_is_left_alone() {
    let dir = TempDir::new().unwrap();
    open(&dir).db.pragma_update(None, "user_version", LAYOUT + 1).unwrap();
    let error = Store::open_in_boot(dir.path(), "b").err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 8, known: 7, .. }), "{error}");
}

#[test]
fn an_entry_nobody_understands_is_set_aside_and_the_others_hold() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    for (id, column, junk) in [
        (4, "targets", "[\"nonsense\"]"),
        (5, "level", "off"),
        (6, "list", "{\"named\":\"\"}"),
        (7, "direction", "up"),
    ] {
        store.save(&[Save::Put(block(id, None)), Save::Put(block(9, None))], NOW).unwrap();
        store
            .db
            .execute(&format!("UPDATE block SET {column} = ?1 WHERE id = ?2"), params![junk, id])
            .unwrap();
        assert_eq!(store.load(NOW).unwrap(), [block(9, None)], "{column}");
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>("what")?, row.get::<_, String>("reason")?));
        let (what, reason) = store.db.query_row("SELECT * FROM aside WHERE id = ?1", [id], read).unwrap();
        assert!(!what.is_empty() && reason == block(id, None).reason, "{what}: {reason}");
    }
    let error =
        StoreError::Row { path: "/x/sekisho.db".into(), id: 4, what: "level off".to_owned() }.to_string();
    assert!(error.contains("entry 4") && error.contains("SELECT * FROM aside"), "{error}");
}

#[test]
fn a_database_of_the_first_layout_is_taken_over() {
    let dir = TempDir::new().unwrap();
    let db = connect(&dir.path().join("sekisho.db")).unwrap();
    db.execute_batch(&format!("{CREATE} PRAGMA user_version = 1;")).unwrap();
    let rows = [
        (1, r#"["00:1b:21:0a:0b:0c","10.0.0.7"]"#, r#"{"incident":7}"#),
        (2, r#"["10.0.0.8"]"#, r#"{"incident":8}"#),
        (3, r#"["00:1b:21:0a:0b:0d"]"#, r#"{"manual":"root"}"#),
    ];
    for (id, targets, origin) in rows {
        let insert = "INSERT INTO block VALUES (?1, ?2, 'isolate', ?3, 'odd', 0, 'boot-1', 1, NULL, 1, NULL)";
        db.execute(insert, params![id, targets, origin]).unwrap();
    }
    drop(db);
    let read = || {
        let blocks = open(&dir).load(NOW).unwrap();
        let one =
            |block: &Block| (block.id, block.targets.len(), block.level, block.direction, block.follows);
        blocks.iter().map(one).collect::<Vec<_>>()
    };
    let (level, both) = (Level::Isolate, Direction::Both);
    let want = [(1, 2, level, both, true), (2, 1, level, both, false), (3, 1, level, both, false)];
    assert_eq!(read(), want);
    assert_eq!(read(), want, "and again, when it is of the second layout");
    let throttle = Block { level: Level::Throttle, ..block(3, None) };
    open(&dir).save(&[Save::Put(throttle.clone())], NOW).unwrap();
    assert_eq!(open(&dir).load(NOW).unwrap().pop(), Some(throttle));
}

fn asked(incident: u64, until: Time, refused: Option<Refused>) -> Memory {
    let ip: std::net::IpAddr = "10.0.0.7".parse().unwrap();
    let mac = "00:1b:21:0a:0b:0c".parse().unwrap();
    let finding = Finding {
        detector: "scan",
        signature: "ARP scan: asks for many addresses nobody has",
        severity: 1,
        family: Family::Scan,
        weight: 13.86,
        device: DeviceKey::Local(mac),
        flow: FlowId { src: ip, dst: ip, sport: 1, dport: 0, proto: 0, kind: Kind::Arp, vlan: 20, port: 3 },
        evidence: vec![
            ("failed first contacts", Value::Count(10)),
            ("log likelihood ratio", Value::Number(13.0)),
            ("service", Value::Text("tcp/22".to_owned())),
            ("examples", Value::List(vec!["10.0.0.8".to_owned()])),
        ],
        first_evidence: NOW.mono,
    };
    let known = Known { id: 17, mac, ips: vec![ip, "fd00::7".parse().unwrap()], claimed: vec![ip] };
    let (level, meanwhile) = (Level::Isolate, Some(4));
    Memory::Asked(Box::new(Asked { incident, finding, known, level, until, meanwhile, refused }))
}

fn review(id: u32, scope: &str) -> Memory {
    let scope = match scope.parse::<Target>() {
        Ok(target) => Scope::Device(target),
        Err(_) => Scope::Class(scope.parse().unwrap()),
    };
    let (detector, by) = ("scan".to_owned(), "tanaka \"t\"".to_owned());
    Memory::Review(Review { id, detector, scope, incident: 7, since: NOW.mono, by })
}

fn window(id: u32, cover: Cover) -> Memory {
    let (from, until) = (NOW.mono.plus(HOUR), NOW.mono.plus(3 * HOUR));
    let (reason, by) = ("new switch".to_owned(), "sato".to_owned());
    Memory::Window(Window { id, cover, from, until, reason, since: NOW.mono, by })
}

fn past(device: DeviceKey, forgotten: Time) -> Memory {
    let attacks = vec![
        Attack { from: forgotten.minus(740 * HOUR), to: forgotten.minus(739 * HOUR) },
        Attack { from: forgotten.minus(721 * HOUR), to: forgotten.minus(720 * HOUR) },
    ];
    let (level, family) = (Level::Pin, Family::Brute);
    Memory::Past(device, Past { isolations: 3, level, family, would: true, forgotten, attacks })
}

fn shared(machine: u8, refuted: Option<WhyTwo>) -> Memory {
    let id = ClientId::of_duid(&[0, 2, 0, 0, 0xab, 0x11, machine, 2, 3, 4]).unwrap();
    let members = if refuted.is_none() { vec![7, 8] } else { Vec::new() };
    let members = members.into_iter().map(|n| DeviceKey::Local(Mac([0, 0x1b, 0x21, 0, 0, n]))).collect();
    Memory::Shared(Box::new(Shared { id, members, refuted }))
}

#[test]
fn what_the_engine_remembers_survives_a_restart() {
    let dir = TempDir::new().unwrap();
    let routed = DeviceKey::Routed("fd00::9".parse().unwrap());
    let mut want = vec![
        asked(3, NOW.mono.plus(HOUR), None),
        asked(4, NOW.mono.plus(HOUR), Some(Refused::Denied)),
        Memory::Last(Counter::Incidents, 64),
        Memory::Last(Counter::Reviews, 9),
        past(DeviceKey::Local("00:1b:21:0a:0b:0c".parse().unwrap()), NOW.mono.plus(800 * HOUR)),
        past(routed, NOW.mono.plus(900 * HOUR)),
        review(8, "10.0.0.9"),
        review(9, "icu"),
        shared(1, None),
        shared(2, Some(WhyTwo::Together)),
        window(2, Cover::Everybody),
        window(3, Cover::Segment("icu".parse().unwrap())),
        window(4, Cover::Device("MRI 2".to_owned(), block(1, None).targets)),
    ];
    let saves: Vec<_> = want.iter().cloned().map(Save::Keep).collect();
    open(&dir).save(&saves, NOW).unwrap();
    assert_eq!(open(&dir).recall(later(MINUTE)).unwrap(), want);
    // One is replaced, one is dropped.
    want[2] = Memory::Last(Counter::Incidents, 128);
    let gone = want.remove(5);
    open(&dir).save(&[Save::Keep(want[2].clone()), Save::Drop(gone.key())], NOW).unwrap();
    assert_eq!(open(&dir).recall(NOW).unwrap(), want);
}

#[test]
fn deadlines_go_by_the_wall_clock_after_a_reboot_and_only_then() {
    let dir = TempDir::new().unwrap();
    let forgotten = NOW.mono.plus(720 * HOUR);
    let saves = [
        asked(3, NOW.mono.plus(HOUR), None),
        window(1, Cover::Everybody),
        past(DeviceKey::Routed("10.0.0.9".parse().unwrap()), forgotten),
    ];
    open(&dir).save(&saves.map(Save::Keep), NOW).unwrap();
    let ends = |boot: &str, now| {
        let memories = Store::open_in_boot(dir.path(), boot).unwrap().recall(now).unwrap();
        let end = |memory: &Memory| match memory {
            Memory::Asked(asked) => asked.until,
            Memory::Past(_, past) => past.forgotten,
            Memory::Window(window) => {
                assert_eq!(window.until.since(window.from), 2 * HOUR);
                window.until
            }
            other => panic!("{other:?}"),
        };
        memories.iter().map(end).collect::<Vec<_>>()
    };
    let set = Now { mono: NOW.mono.plus(MINUTE), unix_ns: NOW.unix_ns + HOUR as i64 };
    let ends_then = [NOW.mono.plus(HOUR), forgotten, NOW.mono.plus(3 * HOUR)];
    assert_eq!(ends("boot-1", set), ends_then, "the clock was set by an hour");
    let up = Time::at(20 * SECOND);
    let rebooted = Now { mono: up, unix_ns: NOW.unix_ns + (20 * MINUTE) as i64 };
    let left = [40 * MINUTE, 720 * HOUR - 20 * MINUTE, 160 * MINUTE];
    assert_eq!(ends("boot-2", rebooted), left.map(|ns| up.plus(ns)));
}

#[test]
fn an_attack_stays_where_it_was_when_the_machine_is_started_anew_during_the_restriction() {
    let dir = TempDir::new().unwrap();
    let attack = Attack { from: NOW.mono.minus(8 * MINUTE), to: NOW.mono };
    let past = Past {
        isolations: 1,
        level: Level::Isolate,
        family: Family::Scan,
        would: false,
        forgotten: NOW.mono.plus((720 + 168) * HOUR),
        attacks: vec![attack],
    };
    let device = DeviceKey::Routed("10.0.0.9".parse().unwrap());
    open(&dir).save(&[Save::Keep(Memory::Past(device, past.clone()))], NOW).unwrap();
    let up = Time::at(20 * SECOND);
    let rebooted = Now { mono: up, unix_ns: NOW.unix_ns + HOUR as i64 };
    let recalled = Store::open_in_boot(dir.path(), "boot-2").unwrap().recall(rebooted).unwrap();
    let before = |time: Time| up.minus(HOUR + NOW.mono.since(time));
    let attacks = vec![Attack { from: before(attack.from), to: before(attack.to) }];
    let forgotten = up.plus((720 + 168 - 1) * HOUR);
    assert_eq!(recalled, [Memory::Past(device, Past { forgotten, attacks, ..past })]);
}

#[test]
fn what_was_refused_is_taken_away_when_it_is_over() {
    let dir = TempDir::new().unwrap();
    let until = NOW.mono.plus(HOUR);
    let mut store = open(&dir);
    store.save(&[Save::Keep(asked(3, until, Some(Refused::NotApproved)))], NOW).unwrap();
    store.save(&[Save::Keep(asked(4, until, None))], NOW).unwrap();
    assert_eq!(store.memories().unwrap().len(), 2);
    store.save(&[Save::Keep(asked(5, until, None))], later(HOUR)).unwrap();
    let left: Vec<_> = store.memories().unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(left, ["4", "5"], "what waits is the engine's to settle");
}

#[test]
fn a_memory_that_cannot_be_understood_is_set_aside_and_the_others_hold() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    store.save(&[Save::Keep(review(1, "icu")), Save::Keep(review(2, "icu"))], NOW).unwrap();
    store.db.execute("UPDATE memory SET value = '{' WHERE key = '1'", []).unwrap();
    for _ in 0..2 {
        assert_eq!(store.recall(NOW).unwrap(), [review(2, "icu")]);
    }
    let aside: String =
        store.db.query_row("SELECT key FROM memory WHERE kind = 'aside'", [], |row| row.get(0)).unwrap();
    assert_eq!(aside, "review 1");
}

#[test]
fn a_database_of_the_second_layout_keeps_its_entries_and_remembers_from_now_on() {
    let dir = TempDir::new().unwrap();
    let db = connect(&dir.path().join("sekisho.db")).unwrap();
    db.execute_batch(&format!("{CREATE} {TO_2}")).unwrap();
    let insert = "INSERT INTO block VALUES (5, '[\"10.0.0.7\"]', 'isolate', '{\"incident\":12}', 'odd', 0, 'boot-1', 1, NULL, 1, NULL, \
         'both', NULL, 0)";
    db.execute(insert, []).unwrap();
    drop(db);
    let mut store = open(&dir);
    assert_eq!(layout(&store.db).unwrap(), LAYOUT);
    let blocks = store.load(NOW).unwrap();
    assert_eq!(
        blocks.iter().map(|block| (block.id, &block.origin)).collect::<Vec<_>>(),
        [(5, &Origin::Incident(12))]
    );
    assert_eq!(store.recall(NOW).unwrap(), []);
    store.save(&[Save::Keep(review(1, "icu"))], NOW).unwrap();
    drop(store);
    assert_eq!(open(&dir).recall(NOW).unwrap(), [review(1, "icu")]);
}

#[test]
fn two_daemons_do_not_share_a_directory() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir);
    let error = Store::open_in_boot(dir.path(), "b").err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(first);
    open(&dir);
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let error = Store::open(Path::new("/proc/sekisho")).err().unwrap().to_string();
    assert!(error.starts_with("cannot use the state directory /proc/sekisho: "), "{error}");
}

fn kept(first_seen: Time, last_seen: Time) -> Kept {
    let address = |ip: &str, claimed| KeptAddress {
        ip: ip.parse().unwrap(),
        claimed,
        owned: true,
        alone: !claimed,
        confirmed: claimed,
    };
    Kept {
        key: DeviceKey::Local("00:1b:21:0a:0b:0c".parse().unwrap()),
        id: 17,
        mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        addresses: vec![address("10.0.0.7", true), address("fd00::7", false)],
        first_seen,
        last_seen,
        clean_since: first_seen,
        port: Some("eth1".parse().unwrap()),
        vlan: 20,
        roles: Roles { answered: true, forwards: true, ..Roles::default() },
        identity: identity(),
    }
}

fn identity() -> KeptIdentity {
    let neighbour = Neighbour { system: Some("sw \"3f\"".to_owned()), bridge: true, ..Neighbour::default() };
    let facts = Facts {
        names: vec!["病院-mri".to_owned()],
        texts: vec!["syngo".to_owned()],
        clients: ClientId::of_dhcp(&[1, 2, 0, 0, 0, 0, 0xab]).into_iter().collect(),
        dhcp: Some(Asks { options: vec![1, 3, 6], vendor: Some("MSFT 5.0".to_owned()) }),
        neighbour: Some(neighbour),
        syns: vec![Syn { ttl: 64, window: 65_535, scale: Some(7), options: vec![2, 4], ..Syn::default() }],
        serves: vec![facts::Service { proto: 6, port: 104 }],
        ..Facts::default()
    };
    KeptIdentity { facts, told: Some(Sort::Modality), times: 2 }
}

#[test]
fn a_database_of_the_fourth_layout_keeps_its_devices_and_what_is_seen_of_them_from_now_on() {
    let dir = TempDir::new().unwrap();
    let db = connect(&dir.path().join("sekisho.db")).unwrap();
    db.execute_batch(&[CREATE, TO_2, TO_3, TO_4].concat()).unwrap();
    let insert = "INSERT INTO device VALUES ('00:1b:21:0a:0b:0c', 17, '00:1b:21:0a:0b:0c', '[]', 'boot-1', 1, 0, 2, 0, 1, 2, 'eth1', 20, \
         '[]')";
    db.execute(insert, []).unwrap();
    drop(db);
    let mut store = open(&dir);
    assert_eq!(layout(&store.db).unwrap(), LAYOUT);
    let (mut devices, _) = store.devices(NOW).unwrap();
    assert_eq!((devices.len(), devices[0].id, &devices[0].identity), (1, 17, &KeptIdentity::default()));
    devices[0].identity = identity();
    store.save(&[Save::Device(Box::new(devices[0].clone()))], NOW).unwrap();
    drop(store);
    assert_eq!(open(&dir).devices(NOW).unwrap().0, devices);
}

#[test]
fn what_another_release_saw_of_a_device_is_read_as_far_as_it_is_known() {
    let dir = TempDir::new().unwrap();
    let mut store = open(&dir);
    store.save(&[Save::Device(Box::new(kept(NOW.mono, NOW.mono)))], NOW).unwrap();
    let facts = r#"{"names":["mri"],"smells":["odd"]}"#;
    store.db.execute("UPDATE device SET facts = ?1, kind = 'teapot'", [facts]).unwrap();
    let (devices, _) = store.devices(NOW).unwrap();
    let facts = Facts { names: vec!["mri".to_owned()], ..Facts::default() };
    assert_eq!(devices[0].identity, KeptIdentity { facts, told: None, times: 2 });
}

#[test]
fn devices_and_what_is_said_of_them_survive_a_restart_until_they_are_forgotten() {
    let dir = TempDir::new().unwrap();
    let device = kept(NOW.mono.minus(3 * HOUR), NOW.mono);
    let card = Card {
        id: 17,
        keys: vec![device.key, DeviceKey::Routed("10.9.0.1".parse().unwrap())],
        name: Some("MRI 2, 病院".to_owned()),
        place: Some("it's \"there\"".to_owned()),
        owner: None,
        note: Some("n".to_owned()),
        class: Some("icu".parse().unwrap()),
        criticality: Some(Criticality::LifeCritical),
        approved: true,
        parts: Vec::new(),
        distinct: vec![DeviceKey::Routed("10.9.0.2".parse().unwrap())],
    };
    let part = Card { id: 18, keys: vec![card.keys[1]], name: None, ..card.clone() };
    let card = Card { parts: vec![Card { keys: vec![device.key], ..card.clone() }, part], ..card };
    let saves = [Save::Device(Box::new(device.clone())), Save::Card(Box::new(card.clone()))];
    open(&dir).save(&saves, NOW).unwrap();
    let store = open(&dir);
    assert_eq!(store.devices(later(MINUTE)).unwrap(), (vec![device.clone()], vec![card]));
    drop(store);
    open(&dir).save(&[Save::ForgetDevice(device.key), Save::ForgetCard(17)], NOW).unwrap();
    assert_eq!(open(&dir).devices(NOW).unwrap(), (vec![], vec![]));
}

#[test]
fn a_database_of_the_fifth_layout_keeps_what_was_merged_and_learns_of_what_from_now_on() {
    let dir = TempDir::new().unwrap();
    let db = connect(&dir.path().join("sekisho.db")).unwrap();
    db.execute_batch(&[CREATE, TO_2, TO_3, TO_4, TO_5].concat()).unwrap();
    let keys = r#"["00:1b:21:0a:0b:0c","10.9.0.1"]"#;
    db.execute("INSERT INTO card VALUES (17, ?1, 'MRI', NULL, NULL, NULL, NULL, NULL, 1)", [keys]).unwrap();
    drop(db);
    let mut store = open(&dir);
    assert_eq!(layout(&store.db).unwrap(), LAYOUT);
    let mut card = store.devices(NOW).unwrap().1.remove(0);
    assert_eq!((card.id, card.keys.len(), &card.parts), (17, 2, &vec![]));
    card.parts = vec![Card { keys: vec![card.keys[0]], ..card.clone() }];
    store.save(&[Save::Card(Box::new(card.clone()))], NOW).unwrap();
    drop(store);
    assert_eq!(open(&dir).devices(NOW).unwrap().1, [card]);
}

/// An engine that takes up what the store has, and what it has to be saved then.
fn started(store: &mut Store) -> (Engine, Output) {
    let (mut engine, mut out) = (Engine::new(Settings::default()), Output::default());
    let (devices, cards) = store.devices(NOW).unwrap();
    engine.resume(devices, cards);
    engine.restore(store.load(NOW).unwrap(), &mut out);
    engine.recall(store.recall(NOW).unwrap(), NOW.mono, &mut out);
    (engine, out)
}

#[test]
fn two_devices_that_were_left_with_one_number_have_one_each_from_the_next_start_on() {
    let dir = TempDir::new().unwrap();
    let first = kept(NOW.mono.minus(3 * HOUR), NOW.mono);
    let mac = "00:1b:21:0a:0b:0d".parse().unwrap();
    let second = Kept {
        key: DeviceKey::Local(mac),
        mac,
        first_seen: NOW.mono,
        addresses: Vec::new(),
        ..first.clone()
    };
    let mut store = open(&dir);
    let saves = [first.clone(), second.clone()].map(|kept| Save::Device(Box::new(kept)));
    store.save(&saves, NOW).unwrap();
    let numbers = |store: &Store| {
        let kept = store.devices(NOW).unwrap().0;
        kept.into_iter().map(|kept| (kept.key, kept.id)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(numbers(&store)[&second.key], first.id);
    let (_, out) = started(&mut store);
    store.save(&out.saves, NOW).unwrap();
    let after = numbers(&store);
    assert_eq!(after[&first.key], first.id, "the one that was known longer keeps it");
    assert!(after[&second.key] > first.id);
    assert_eq!(out.events.len(), 1, "it is told");
    let (_, out) = started(&mut store);
    assert_eq!((out.events, numbers(&store)), (vec![], after));
}

#[test]
fn two_that_are_merged_and_parted_are_on_the_disk_with_the_order_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let first = kept(NOW.mono.minus(3 * HOUR), NOW.mono);
    let mac = "00:1b:21:0a:0b:0d".parse().unwrap();
    let second =
        Kept { key: DeviceKey::Local(mac), mac, id: first.id + 1, addresses: Vec::new(), ..first.clone() };
    let mut store = open(&dir);
    store.save(&[first.clone(), second.clone()].map(|kept| Save::Device(Box::new(kept))), NOW).unwrap();
    let state = |store: &Store| {
        let (kept, cards) = store.devices(NOW).unwrap();
        let ids = kept.into_iter().map(|kept| (kept.key, kept.id)).collect::<BTreeMap<_, _>>();
        (ids[&first.key], ids[&second.key], cards.len())
    };
    let (mut engine, _) = started(&mut store);
    let mut order = |store: &mut Store, command: Command| {
        let mut out = Output::default();
        engine.command(NOW.mono, command, &mut out).unwrap();
        let before = state(store);
        store.db.execute_batch("PRAGMA query_only = 1").unwrap();
        assert!(store.save(&out.saves, NOW).is_err());
        assert_eq!(state(store), before, "nothing of it");
        store.db.execute_batch("PRAGMA query_only = 0").unwrap();
        store.flush(NOW).unwrap();
        state(store)
    };
    let by = || "root".to_owned();
    let (a, b) = (first.mac.to_string(), second.mac.to_string());
    let merged = order(&mut store, Command::Merge(a.clone(), b.clone(), by()));
    assert_eq!(merged, (first.id, first.id, 1));
    let parted = order(&mut store, Command::Split(a, by()));
    assert_eq!(parted, (first.id, second.id, 0));
    let mut out = Output::default();
    engine.command(NOW.mono, Command::ForgetDevice(b, by()), &mut out).unwrap();
    store.save(&out.saves, NOW).unwrap();
    drop(store);
    assert_eq!(open(&dir).devices(NOW).unwrap().0.len(), 1);
}

#[test]
fn after_a_reboot_a_device_is_as_old_as_it_was() {
    let dir = TempDir::new().unwrap();
    let clean_since = NOW.mono.minus(HOUR);
    let device = Kept { clean_since, ..kept(NOW.mono.minus(3 * HOUR), NOW.mono.plus(MINUTE)) };
    open(&dir).save(&[Save::Device(Box::new(device))], later(MINUTE)).unwrap();
    let boot = |name, mono, unix_ns| {
        let store = Store::open_in_boot(dir.path(), name).unwrap();
        let now = Now { mono: Time::at(mono), unix_ns };
        let device = store.devices(now).unwrap().0.remove(0);
        assert!(device.clean_since <= now.mono, "what is found from now on counts");
        [device.first_seen, device.last_seen, device.clean_since].map(|time| now.mono.since(time))
    };
    let hours = |n: u64| NOW.unix_ns + (n * HOUR) as i64;
    // Up for ten seconds, or for two hours.
    for uptime in [10 * SECOND, 2 * HOUR] {
        assert_eq!(boot("2", uptime, hours(1)), [4 * HOUR, HOUR - MINUTE, 2 * HOUR]);
    }
    // The battery of the clock was empty: what was seen last is as of now.
    assert_eq!(boot("3", 10 * SECOND, 0), [3 * HOUR + MINUTE, 0, HOUR + MINUTE]);
    // Released after it was seen last.
    let device = Kept { clean_since: NOW.mono.plus(HOUR), ..kept(NOW.mono.minus(3 * HOUR), NOW.mono) };
    open(&dir).save(&[Save::Device(Box::new(device))], later(HOUR)).unwrap();
    assert_eq!(boot("4", 10 * SECOND, 0), [3 * HOUR, 0, 0]);
}

#[test]
fn a_device_that_was_never_released_was_not_in_any_boot() {
    let dir = TempDir::new().unwrap();
    let device = Kept { clean_since: Time::EARLIEST, ..kept(NOW.mono, NOW.mono) };
    open(&dir).save(&[Save::Device(Box::new(device))], NOW).unwrap();
    for name in ["boot-1", "2"] {
        let store = Store::open_in_boot(dir.path(), name).unwrap();
        assert_eq!(store.devices(later(HOUR)).unwrap().0[0].clean_since, Time::EARLIEST, "{name}");
    }
}

#[test]
fn a_database_of_the_sixth_layout_keeps_since_when_devices_are_known_and_clean() {
    let dir = TempDir::new().unwrap();
    let db = connect(&dir.path().join("sekisho.db")).unwrap();
    db.execute_batch(&[CREATE, TO_2, TO_3, TO_4, TO_5, TO_6].concat()).unwrap();
    for (mac, clean) in [("00:1b:21:0a:0b:0c", 0), ("00:1b:21:0a:0b:0d", 70)] {
        let insert = "INSERT INTO device (key, id, mac, addresses, boot_id, first_mono_ns, before_ns, last_mono_ns, \
             clean_mono_ns, first_unix_ns, last_unix_ns, vlan, roles) \
             VALUES (?1, 17, ?1, '[]', 'boot-1', 50, 250, 90, ?2, 1, 2, 20, '[]')";
        db.execute(insert, params![mac, clean]).unwrap();
    }
    drop(db);
    let store = open(&dir);
    assert_eq!(layout(&store.db).unwrap(), LAYOUT);
    let times = |kept: &Kept| (kept.first_seen, kept.last_seen, kept.clean_since);
    let times: Vec<_> = store.devices(NOW).unwrap().0.iter().map(times).collect();
    let (first, last) = (Time::of(-200), Time::at(90));
    assert_eq!(times, [(first, last, Time::EARLIEST), (first, last, Time::at(70))]);
}

#[test]
fn a_device_that_cannot_be_understood_keeps_no_other_from_being_taken_up() {
    let dir = TempDir::new().unwrap();
    let device = kept(NOW.mono, NOW.mono);
    let card =
        |id| Card { id, keys: vec![DeviceKey::Routed("10.9.0.1".parse().unwrap())], ..Card::default() };
    let saves = [
        Save::Device(Box::new(Kept {
            key: DeviceKey::Routed("10.9.0.1".parse().unwrap()),
            ..device.clone()
        })),
        Save::Device(Box::new(device.clone())),
        Save::Card(Box::new(card(1))),
        Save::Card(Box::new(card(2))),
    ];
    let mut store = open(&dir);
    store.save(&saves, NOW).unwrap();
    store.db.execute("UPDATE device SET addresses = '[{\"ip\":\"x\"}]' WHERE key = '10.9.0.1'", []).unwrap();
    store.db.execute("UPDATE card SET criticality = 'much' WHERE id = 1", []).unwrap();
    assert_eq!(store.devices(NOW).unwrap(), (vec![device], vec![card(2)]));
    store.db.execute("UPDATE device SET mac = 'nobody', roles = '{}'", []).unwrap();
    store.db.execute("UPDATE card SET keys = 'x'", []).unwrap();
    assert_eq!(store.devices(NOW).unwrap(), (vec![], vec![]));
}

fn any_ip() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| std::net::IpAddr::from(bits.to_be_bytes()).to_canonical()),
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any::<[u8; 6]>().prop_map(|bytes| Target::Mac(sensor_core::addr::Mac(bytes))),
        any_ip().prop_map(Target::Ip),
        (any_ip(), 96..=128u8).prop_map(|(ip, bits)| Target::net(Prefix::new(ip, bits)).unwrap()),
        (1..4_095u16).prop_map(Target::Vlan),
        "[!-.0-~]{1,15}".prop_map(|name| Target::Port(name.parse().unwrap())),
        "[!-.0-~]{1,31}".prop_map(|name| Target::Segment(name.parse().unwrap())),
    ]
}

fn any_allow() -> impl Strategy<Value = Allow> {
    let host = (1..=223u8, any::<[u8; 3]>()).prop_filter_map("a host", |(a, [b, c, d])| {
        let ip = std::net::IpAddr::from([a, b, c, d]);
        sensor_core::addr::is_host(ip).then_some(ip)
    });
    (any::<u8>(), 1..=u16::MAX, proptest::option::of(host), 0..4u8).prop_map(|(proto, port, peer, kind)| {
        let service = Service { proto, port: if matches!(proto, 6 | 17) { port } else { 0 }, peer };
        match (kind, peer) {
            (0, _) => Allow::Neighbour,
            (1, Some(peer)) => Allow::Any(peer),
            (2, _) => Allow::Serve(service),
            _ => Allow::Use(service),
        }
    })
}

fn any_list() -> impl Strategy<Value = List> {
    let learned = (any::<u16>(), proptest::collection::vec(any_allow(), 0..4));
    prop_oneof![
        Just(List::None),
        "[!-.0-~]{1,31}".prop_map(|name| List::Named(name.parse().unwrap())),
        learned.prop_map(|(number, allowed)| List::Learned { number, allowed: allowed.into() }),
    ]
}

prop_compose! {
    fn any_block()(
        id in any::<u32>(),
        targets in proptest::collection::vec(any_target(), 0..5),
        manual in any::<bool>(),
        text in "\\PC*",
        number in any::<u64>(),
        since in 0..i64::MAX as u64,
        until in proptest::option::of(0..i64::MAX as u64),
        would in any::<bool>(),
        level in 0..Level::ALL.len(),
        direction in 0..Direction::ALL.len(),
        list in any_list(),
        follows in any::<bool>(),
    ) -> Block {
        let origin = if manual { Origin::Manual(text.clone()) } else { Origin::Incident(number) };
        let (since, until) = (Time::at(since), until.map(Time::at));
        let (level, direction) = (Level::ALL[level], Direction::ALL[direction]);
        Block { id, targets, level, direction, list, follows, origin, reason: text, since, until, would }
    }
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_went(block in any_block()) {
        let now = Now { mono: Time::at(0), unix_ns: 0 };
        let back = Row::new(&block, "boot", now).read("boot", now);
        prop_assert_eq!(back, Ok(block));
    }

    #[test]
    fn reading_rows_never_panics(text in "\\PC*", ns in any::<i64>(), until in any::<Option<i64>>(), same in any::<bool>()) {
        let span = Span {
            boot_id: "boot".to_owned(),
            since_mono_ns: ns,
            until_mono_ns: until,
            since_unix_ns: ns,
            until_unix_ns: until,
        };
        let row = Row {
            id: 1,
            targets: text.clone(),
            level: "isolate".to_owned(),
            direction: "both".to_owned(),
            list: Some(text.clone()),
            follows: false,
            origin: text.clone(),
            reason: text,
            would: false,
            span: span.clone(),
        };
        let now = Now { mono: Time::at(ns.unsigned_abs()), unix_ns: ns.wrapping_mul(3) };
        let boot_id = if same { "boot" } else { "other" };
        let _ = row.read(boot_id, now);
        for kind in ["review", "asked", "past", "window", "last", "other"] {
            let (kind, key, value) = (kind.to_owned(), row.reason.clone(), row.reason.clone());
            let _ = MemoryRow { kind, key, value, span: span.clone() }.read(boot_id, now, &mut BTreeSet::new());
        }
    }
}
