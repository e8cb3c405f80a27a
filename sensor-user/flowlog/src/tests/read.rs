//! What is written comes back, and only what is asked for is read.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use sensor_core::event::Half;
use sensor_core::observation::{EndReason, FlowId, Kind, Verdict};
use sensor_core::tunnel::{Inner, Wrapping};
use serde_json::Value;

use super::traffic::{EPOCH, Traffic};
use super::{HOUR, Log, numbered};
use crate::Row;
use crate::export::{Exporter, Format};
use crate::query::{End, Query, Scanned, scan};

const ALL: Query =
    Query { from: 0, to: i64::MAX, hosts: Vec::new(), peers: Vec::new(), port: None, verdict: None };

fn told(log: &Log, query: &Query, format: Format) -> (String, Scanned) {
    let mut out = Vec::new();
    let names = HashMap::from([("10.0.0.9".to_owned(), "pacs".to_owned())]);
    let mut exporter = Exporter::new(&mut out, format, names).unwrap();
    let scanned = scan(log.path(), query, &mut |rows| exporter.write(rows)).unwrap();
    exporter.finish().unwrap();
    (String::from_utf8(out).unwrap(), scanned)
}

fn row(id: FlowId) -> Row {
    let (logged, start) = (EPOCH / 1_000 + 10_000_000, EPOCH / 1_000 + 1_500_000);
    Row {
        logged,
        start,
        since: None,
        end: start + 2_000_000,
        id,
        smac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        dmac: "00:1b:21:0a:0b:0d".parse().unwrap(),
        inner: None,
        to_server: Half { packets: 10, bytes: 1_500, drops: 0, tcp_flags: 0x1b },
        to_client: Half { packets: 8, bytes: 900, drops: 0, tcp_flags: 0x1a },
        reason: EndReason::Closed,
        verdict: Verdict::Pass,
        devices: [Some(7), None],
        coverage: Some(0.9999),
    }
}

fn id() -> FlowId {
    let (src, dst) = ("10.0.0.7".parse().unwrap(), "10.0.0.9".parse().unwrap());
    FlowId { src, dst, sport: 40_000, dport: 445, proto: 6, kind: Kind::Ip, vlan: 20, port: 1 }
}

#[test]
fn each_value_comes_back_as_it_went() {
    let log = Log::new();
    let (src, dst) = ("fd00::7".parse().unwrap(), "fd00::9".parse().unwrap());
    let icmp = FlowId { src, dst, sport: 128 << 8, dport: 0, proto: 58, vlan: 0, port: 9, ..id() };
    let inner = Inner { wrapping: Wrapping::Vxlan, src, dst, proto: 6, vlan: 0 };
    log.write(vec![
        row(id()),
        Row {
            id: icmp,
            since: Some(EPOCH / 1_000 + 2_000_000),
            inner: Some(Box::new(inner)),
            to_server: Half { packets: 5, bytes: u64::MAX, drops: 5, tcp_flags: 0 },
            reason: EndReason::Active,
            verdict: Verdict::Drop,
            devices: [None, Some(u64::from(u32::MAX))],
            coverage: None,
            logged: EPOCH / 1_000 + 11_000_000,
            ..row(id())
        },
        Row {
            id: FlowId { kind: Kind::Arp, sport: 1, proto: 0, dport: 0, ..id() },
            logged: EPOCH / 1_000 + 12_000_000,
            ..row(id())
        },
    ]);
    let (csv, _) = told(&log, &ALL, Format::Csv);
    let want = "\
logged_time,start_time,since_time,end_time,src_ip,src_port,dest_ip,dest_port,proto,icmp_type,icmp_code,src_mac,dest_mac,vlan,\
in_iface,segment,src_device,dest_device,pkts_toserver,bytes_toserver,drops_toserver,tcp_flags_ts,pkts_toclient,\
bytes_toclient,drops_toclient,tcp_flags_tc,reason,verdict,coverage,tunnel,inner_src_ip,inner_dest_ip
2026-11-28T03:00:10.000000Z,2026-11-28T03:00:01.500000Z,,2026-11-28T03:00:03.500000Z,10.0.0.7,40000,10.0.0.9,445,TCP,,,\
00:1b:21:0a:0b:0c,00:1b:21:0a:0b:0d,20,eth1,radiology,7,,10,1500,0,27,8,900,0,26,closed,pass,0.9999,,,
2026-11-28T03:00:11.000000Z,2026-11-28T03:00:01.500000Z,2026-11-28T03:00:02.000000Z,2026-11-28T03:00:03.500000Z,fd00::7,,\
fd00::9,,IPv6-ICMP,128,0,00:1b:21:0a:0b:0c,00:1b:21:0a:0b:0d,,,,,4294967295,5,9223372036854775807,5,,8,900,0,,active,drop,,\
vxlan,fd00::7,fd00::9
2026-11-28T03:00:12.000000Z,2026-11-28T03:00:01.500000Z,,2026-11-28T03:00:03.500000Z,10.0.0.7,,10.0.0.9,,ARP,,,\
00:1b:21:0a:0b:0c,00:1b:21:0a:0b:0d,20,eth1,radiology,7,,10,1500,0,,8,900,0,,closed,pass,0.9999,,,
";
    assert_eq!(csv, want);
    let (json, _) = told(&log, &ALL, Format::Json);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["src_ip"], "10.0.0.7");
    assert_eq!((&first["bytes_toserver"], &first["coverage"]), (&1_500.into(), &0.9999.into()));
    assert!(first.get("since_time").is_none());
}

#[test]
fn people_are_told_in_sentences() {
    let log = Log::new();
    let dropped = Half { drops: 3, ..row(id()).to_server };
    log.write(vec![
        row(id()),
        Row { to_server: dropped, verdict: Verdict::Drop, logged: EPOCH / 1_000 + 11_000_000, ..row(id()) },
    ]);
    let (text, _) = told(&log, &ALL, Format::Human);
    let lines: Vec<_> = text.lines().map(|line| line.split_at("2026-11-28 03:00:01 ".len()).1).collect();
    assert_eq!(
        lines,
        [
            "TCP  10.0.0.7:40000 -> pacs (10.0.0.9:445): 10 frames (1.5 kB) there, 8 frames (900 B) back, in 2.0s; closed",
            "TCP  10.0.0.7:40000 -> pacs (10.0.0.9:445): 10 frames (1.5 kB) there, 8 frames (900 B) back, in 2.0s; closed; 3 DROPPED",
        ]
    );
}

#[test]
fn what_is_asked_for_is_found_and_nothing_else() {
    let log = Log::new();
    let other = FlowId { src: "10.0.0.8".parse().unwrap(), dport: 443, ..id() };
    log.write(vec![
        row(id()),
        Row {
            id: other,
            verdict: Verdict::WouldDrop,
            smac: "00:1b:21:0a:0b:0e".parse().unwrap(),
            ..row(id())
        },
    ]);
    let ip = |ip: &str| End::Ip(ip.parse().unwrap());
    let net = |net: &str| End::Net(net.parse().unwrap());
    let mac = |mac: &str| End::Mac(mac.parse().unwrap());
    let start = EPOCH / 1_000 + 1_500_000;
    let cases: [(&str, Query, usize); 18] = [
        ("all", ALL, 2),
        ("until it began", Query { to: start, ..ALL }, 0),
        ("just after it began", Query { to: start + 1, ..ALL }, 2),
        ("from its last frame on", Query { from: start + 2_000_000, ..ALL }, 2),
        ("after its end", Query { from: start + 2_000_001, ..ALL }, 0),
        ("nothing", Query { from: 5, to: 5, ..ALL }, 0),
        ("backwards", Query { from: 6, to: 5, ..ALL }, 0),
        ("a host", Query { hosts: vec![ip("10.0.0.7")], ..ALL }, 1),
        ("a host that answers", Query { hosts: vec![ip("10.0.0.9")], ..ALL }, 2),
        ("a host by its MAC address", Query { hosts: vec![mac("00:1b:21:0a:0b:0e")], ..ALL }, 1),
        ("a network", Query { hosts: vec![net("10.0.0.8/30")], ..ALL }, 2),
        ("nobody", Query { hosts: vec![ip("10.0.0.70")], ..ALL }, 0),
        ("a pair", Query { hosts: vec![ip("10.0.0.9")], peers: vec![ip("10.0.0.8")], ..ALL }, 1),
        ("no pair", Query { hosts: vec![ip("10.0.0.7")], peers: vec![ip("10.0.0.8")], ..ALL }, 0),
        ("with itself", Query { hosts: vec![ip("10.0.0.7")], peers: vec![ip("10.0.0.7")], ..ALL }, 0),
        ("a port", Query { port: Some(445), ..ALL }, 1),
        ("a verdict", Query { verdict: Some("would_drop"), ..ALL }, 1),
        ("none of that", Query { verdict: Some("drop"), ..ALL }, 0),
    ];
    for (name, query, want) in cases {
        assert_eq!(told(&log, &query, Format::Json).0.lines().count(), want, "{name}");
    }
}

#[test]
fn only_the_hours_and_row_groups_are_read_that_may_hold_something() {
    let log = Log::new();
    let mut traffic = Traffic::new(1, 100);
    for hour in 0..6 {
        log.write(numbered(hour, 0..2_000));
    }
    // One hour with several groups.
    log.write((0..200_000).map(|_| traffic.row()).collect());
    let begin = EPOCH / 1_000;
    let hour = Query { from: begin + 4 * HOUR, to: begin + 4 * HOUR + 60_000_000, ..ALL };
    let (_, scanned) = told(&log, &hour, Format::Json);
    assert_eq!((scanned.files, scanned.groups, scanned.skipped), (2, 1, 1), "{scanned:?}");
    let minutes = Query { from: begin + 1_000_000_000, to: begin + 1_010_000_000, ..ALL };
    let (_, scanned) = told(&log, &minutes, Format::Json);
    assert!(scanned.skipped >= 3, "{scanned:?}");
}

#[test]
fn rows_come_in_the_order_in_which_they_were_logged() {
    let log = Log::new();
    log.write(numbered(0, 0..3_000));
    log.write(numbered(1, 3_000..6_000));
    let (csv, _) = told(&log, &ALL, Format::Csv);
    let times: Vec<_> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(times.len(), 6_000);
    assert!(times.is_sorted());
}

#[test]
fn a_parquet_file_comes_out_as_it_lay() {
    let log = Log::new();
    log.write(numbered(0, 0..3_000));
    let other = Log::new();
    let path = other.path().join("day=2026-11-28/hour=03");
    std::fs::create_dir_all(&path).unwrap();
    let file = std::fs::File::create(path.join("some.parquet")).unwrap();
    let mut exporter = Exporter::new(file, Format::Parquet, HashMap::new()).unwrap();
    scan(log.path(), &ALL, &mut |rows| exporter.write(rows)).unwrap();
    exporter.finish().unwrap();
    assert_eq!(told(&other, &ALL, Format::Csv).0, told(&log, &ALL, Format::Csv).0);
}

/// The disk, or somebody, may have changed a file: that is told, and nobody panics. Rows that come out wrong are no matter
/// of this: the files have no checksums of their own.
#[test]
fn a_file_that_was_tampered_with_panics_nobody() {
    let log = Log::new();
    log.write(numbered(0, 0..300));
    let path =
        log.shelf.root().join("day=2026-11-28/hour=03").read_dir().unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let mut random = super::traffic::Random(1);
    let (mut told, mut read) = (0, 0);
    for _ in 0..3_000 {
        let mut bytes = whole.clone();
        // The metadata at the end is what says how to read the rest.
        let at = if random.below(3) == 0 {
            random.below(bytes.len() as u64)
        } else {
            bytes.len() as u64 - 1 - random.below(6_000)
        };
        for _ in 0..=random.below(3) {
            let at = (at + random.below(16)).min(bytes.len() as u64 - 1) as usize;
            bytes[at] = random.next() as u8;
        }
        if random.below(20) == 0 {
            bytes.truncate(at as usize);
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut exporter = Exporter::new(std::io::sink(), Format::Csv, HashMap::new()).unwrap();
        match scan(log.path(), &ALL, &mut |rows| exporter.write(rows)).unwrap().unread.count {
            0 => read += 1,
            _ => told += 1,
        }
    }
    assert!(told > 500 && read > 50, "{told} told, {read} read");
}

#[test]
fn what_passed_is_added_up_by_segment_and_who_answers_where_is_told() {
    use crate::totals::{Total, totals};
    let log = Log::new();
    let telnet = FlowId { dport: 23, ..id() };
    let elsewhere = FlowId { vlan: 0, port: 9, ..id() };
    let answered = |id, device| Row {
        id,
        devices: [None, Some(device)],
        to_client: Half { tcp_flags: 0x12, ..row(id).to_client },
        ..row(id)
    };
    let part = Row { reason: EndReason::Active, ..row(id()) };
    let dropped = Row { verdict: Verdict::Drop, ..row(id()) };
    let late = Row { logged: row(id()).logged + HOUR, ..row(id()) };
    let refused = Row {
        devices: [None, Some(4)],
        to_client: Half { tcp_flags: 0x14, ..row(id()).to_client },
        ..row(telnet)
    };
    log.write(vec![row(id()), part, dropped, answered(telnet, 5), answered(elsewhere, 6), refused]);
    log.write(vec![late]);
    let mut parts = Vec::new();
    let of = |from, to, parts: &mut Vec<f64>| {
        totals(log.path(), (from, to), &[23], &mut |part| parts.push(part)).unwrap()
    };
    let first = row(id()).logged;
    let found = of(first, first + HOUR, &mut parts);
    let radiology = Total { conversations: 4, dropped: 1, bytes: 5 * 2_400 };
    let nowhere = Total { conversations: 1, dropped: 0, bytes: 2_400 };
    let segments = [(Some("radiology".to_owned()), radiology), (None, nowhere)].into();
    assert_eq!((found.segments, found.served), (segments, [(5, [23].into())].into()));
    assert_eq!(parts.last(), Some(&1.0));
    assert_eq!(of(first, first, &mut parts).segments.len(), 0);
    let all = of(0, i64::MAX, &mut parts);
    assert_eq!(all.segments[&Some("radiology".to_owned())].conversations, 5);
    assert!(totals(&log.path().join("nothing"), (0, 1), &[], &mut |_| {}).is_err());
}

/// A damaged file is told of, and the others are read.
#[test]
fn a_damaged_file_keeps_nobody_from_the_others() {
    let log = Log::new();
    for part in 0..3 {
        log.write(numbered(0, part * 100..(part + 1) * 100));
    }
    let dir = log.path().join("day=2026-11-28/hour=03");
    let damaged = crate::shelf::files(&dir).unwrap()[1].path.clone();
    fs::write(&damaged, "PAR1 no more").unwrap();
    let mut rows = 0;
    let scanned = scan(log.path(), &ALL, &mut |found| {
        rows += found.num_rows();
        Ok(())
    });
    let unread = scanned.unwrap().unread;
    assert_eq!((rows, unread.count), (200, 1));
    assert!(unread.to_string().contains(&damaged.display().to_string()), "{unread}");
    let time = (0, i64::MAX);
    let added = crate::totals::totals(log.path(), time, &[], &mut |_| {}).unwrap();
    assert_eq!(
        (added.segments.values().map(|total| total.conversations).sum::<u64>(), added.unread.count),
        (200, 1)
    );
}

/// A few bytes may stand for millions of equal rows, which nobody shall have to hold.
#[test]
fn a_file_that_claims_more_rows_in_a_group_than_any_of_ours_is_refused() {
    let log = Log::new();
    log.write(numbered(0, 0..1_000));
    let file = log.path().join("day=2026-11-28/hour=03").read_dir().unwrap().next().unwrap().unwrap().path();
    let whole = super::everything(&file).remove(0);
    let times = crate::columns::GROUP / whole.num_rows() + 1;
    let mut writer = ArrowWriter::try_new(fs::File::create(&file).unwrap(), whole.schema(), None).unwrap();
    for _ in 0..times {
        writer.write(&whole).unwrap();
    }
    writer.close().unwrap();
    let (_, scanned) = told(&log, &ALL, Format::Csv);
    assert_eq!((scanned.rows, scanned.unread.count), (0, 1));
    assert!(scanned.unread.to_string().contains("claims 66000 rows"), "{}", scanned.unread);
}

/// Whoever reads no more, as `head` does, is known for that.
#[test]
fn an_output_that_is_closed_is_told_as_that() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let log = Log::new();
    log.write(numbered(0, 0..50_000));
    for format in [Format::Csv, Format::Json, Format::Human, Format::Parquet] {
        let told = Exporter::new(Closed, format, Default::default()).and_then(|mut exporter| {
            scan(log.path(), &ALL, &mut |rows| exporter.write(rows))?;
            exporter.finish()
        });
        let Err(crate::error::FlowLogError::Output(error)) = told else { panic!("{format:?}: {told:?}") };
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{format:?}");
    }
}

/// Files of another release may have columns more or fewer.
#[test]
fn files_with_other_columns_are_read_as_far_as_they_are_known() {
    let log = Log::new();
    log.write(numbered(0, 0..100));
    let file = log.path().join("day=2026-11-28/hour=03").read_dir().unwrap().next().unwrap().unwrap().path();
    let whole = super::everything(&file).remove(0);
    let known = told(&log, &ALL, Format::Json).0;
    let write = |columns: Vec<(&str, ArrayRef)>| {
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(fs::File::create(&file).unwrap(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    };
    let schema = whole.schema();
    let columns = || -> Vec<(&str, ArrayRef)> {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        names.zip(whole.columns().iter().cloned()).collect()
    };
    // In another order, with one more, and without one that may be missing.
    let mut others = columns();
    others.reverse();
    others.retain(|(name, _)| *name != "coverage");
    others.push(("mood", Arc::new(Int32Array::from(vec![7; whole.num_rows()]))));
    write(others);
    let (json, scanned) = told(&log, &ALL, Format::Json);
    assert_eq!((scanned.rows, scanned.unread.count), (100, 0), "{}", scanned.unread);
    let rows =
        |json: &str| -> Vec<Value> { json.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let mut known = rows(&known);
    assert!(known.iter_mut().all(|row| row.as_object_mut().unwrap().remove("coverage").is_some()));
    assert_eq!(rows(&json), known);
    // One of another type cannot be told from something else.
    let mut others = columns();
    for (name, column) in &mut others {
        if *name == "dest_port" {
            *column = Arc::new(StringArray::from(vec!["https"; whole.num_rows()]));
        }
    }
    write(others);
    let (_, scanned) = told(&log, &ALL, Format::Csv);
    assert_eq!((scanned.rows, scanned.unread.count), (0, 1));
}
