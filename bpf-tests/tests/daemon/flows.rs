//! The log of conversations: what went on the wire is in it, also after the daemon was killed, and with a disk that is full.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, mount_small, signal, site};
use bpf_tests::lab::{mac, run};
use bpf_tests::traffic::{Service, check_ways, exchange, on_host, until};
use sensor_core::addr::Mac;
use sensor_core::event::Half;
use sensor_core::observation::{EndReason, FlowId, Kind, Verdict};
use sensor_flowlog::query::{Query, scan};
use sensor_flowlog::{FlowLog, Keeping, Row};
use serde_json::{Value, json};

/// A file each second.
const CONFIG: &str = "[flows]\nevery = \"1s\"\nreserve_mib = 64\n[segments.ward]\nports = [\"p1\"]\n\
                      [names]\n\"10.77.0.2\" = \"PACS\"\n";

/// Asks the log, without a daemon.
fn query(site: &Site, arguments: &[&str]) -> Result<Vec<Value>> {
    let (state, config) =
        (site.state_dir().display().to_string(), site.path("sekisho.toml").display().to_string());
    let mut all = vec!["flows", "query", "--state-dir", &state, "--config", &config, "-o", "json"];
    all.extend(arguments);
    let told = site.plain(&all)?;
    ensure!(told.code == Some(0) && told.err.is_empty(), "{told:?}");
    told.lines()
}

/// Waits until so many conversations are on the disk.
fn logged(site: &Site, rows: f64) -> Result<f64> {
    let patience = Duration::from_secs(40);
    site.metric_becomes_within("sekisho_flow_log_rows_total", &[], patience, |n| n >= rows)
}

/// The forms in which the log is given, and a reader that has enough after a line.
fn check_forms(site: &Site) -> Result<()> {
    let state = site.state_dir().display().to_string();
    let ask = |more: &[&str]| {
        site.plain(
            &[&["flows", "query", "--from", "5m", "--state-dir", &state, "--port", "104"], more].concat(),
        )
    };
    let csv = ask(&["-o", "csv", "--peer", "10.77.0.2"])?;
    ensure!(csv.code == Some(0), "{csv:?}");
    let lines: Vec<&str> = csv.out.lines().collect();
    ensure!(
        lines.len() == 2 && lines[0].starts_with("logged_time,") && lines[1].contains("10.77.0.1"),
        "{csv:?}"
    );
    ensure!(ask(&["-o", "csv", "--peer", "10.77.0.77"])?.out.lines().count() == 1, "nobody's");
    let file = site.path("flows.parquet");
    let mut parquet = site.command();
    let parquet = parquet.args(["flows", "query", "--from", "5m", "--state-dir", &state, "-o", "parquet"]);
    ensure!(parquet.stdout(fs::File::create(&file)?).status()?.success(), "as Parquet");
    let bytes = fs::read(&file)?;
    ensure!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{} bytes", bytes.len());
    let program = site.program().display();
    let line = format!(
        "set -o pipefail; '{program}' flows query --from 5m --state-dir '{state}' -o csv | head -n 0"
    );
    let told = Command::new("bash").args(["-c", &line]).output()?;
    ensure!(told.status.success() && told.stderr.is_empty(), "{told:?}");
    Ok(())
}

#[test]
fn what_went_on_the_wire_is_in_the_log_also_after_a_kill() -> Result<()> {
    site(3, |site| {
        site.configure(CONFIG)?;
        let service = Service::start(site.lab, 2, 104)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        // It is over 10 s after its end, and told with the next sweep.
        let found = until("the exchange in the log", Duration::from_secs(40), || {
            Ok(query(site, &["--from", "5m", "--host", "pacs", "--port", "104"])?.pop())
        })?;
        for (name, want) in [
            ("src_ip", json!("10.77.0.1")),
            ("dest_ip", json!("10.77.0.2")),
            ("dest_port", json!(104)),
            ("proto", json!("TCP")),
            ("src_mac", json!(mac(1))),
            ("dest_mac", json!(mac(2))),
            ("in_iface", json!("p1")),
            ("segment", json!("ward")),
            ("reason", json!("closed")),
            ("verdict", json!("pass")),
            ("coverage", json!(1.0)),
        ] {
            ensure!(found[name] == want, "{name} is not {want}: {found}");
        }
        let frames = found["pkts_toserver"].as_u64().context("frames")?;
        ensure!((4..10).contains(&frames), "{frames} frames: {found}");
        check_forms(site)?;
        // What is written when it is killed is lost, and told; what has its place can be read.
        let before = query(site, &["--from", "5m"])?.len();
        daemon.kill()?;
        ensure!(query(site, &["--from", "5m"])?.len() >= before, "rows are gone");
        let daemon = site.start(&["--mode", "enforce"])?;
        site.metric_becomes("sekisho_flow_log_cut_short_total", &[], |n| n == 1.0)?;
        ensure!(
            daemon.log()?.contains("the last daemon was killed, or the power failed"),
            "{}",
            daemon.log()?
        );
        site.ask(&["block", "add", "--mac", &mac(3)])?;
        check_ways(site.lab, "isolated", false, &[(3, "10.77.0.2")])?;
        daemon.stop()?;
        // What still went on is written at the end.
        let dropped = query(site, &["--from", "5m", "--verdict", "drop"])?;
        ensure!(
            dropped.iter().any(|row| row["src_mac"] == mac(3) && row["reason"] == "shutdown"),
            "{dropped:?}"
        );
        ensure!(query(site, &["--from", "5m"])?.len() > before, "nothing was added");
        let daemon = site.start(&[])?;
        ensure!(!daemon.log()?.contains("the last daemon was killed"), "{}", daemon.log()?);
        daemon.stop()?;
        drop(service);
        Ok(())
    })
}

/// One conversation, over a daemon that is killed and the next one, which was not told that it began.
#[test]
fn a_conversation_goes_on_over_a_restart() -> Result<()> {
    site(2, |site| {
        site.configure(CONFIG)?;
        let listener = on_host(site.lab, 2, || Ok(TcpListener::bind("0.0.0.0:104")?))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let mut client = on_host(site.lab, 1, || Ok(TcpStream::connect("10.77.0.2:104")?))?;
        let mut server = listener.accept()?.0;
        let mut talk = |words: usize| -> Result<()> {
            for _ in 0..words {
                client.write_all(b"word")?;
                let mut word = [0; 4];
                server.read_exact(&mut word)?;
                server.write_all(&word)?;
                client.read_exact(&mut word)?;
            }
            Ok(())
        };
        // What a cut would break is known when it is known that both speak.
        let mut is_known = || {
            talk(1)?;
            let cut = site.ask(&["block", "add", "--ip", "10.77.0.1", "--preview"])?;
            let lost = &cut["lost"]["lost"][0];
            Ok((lost["service"] == "tcp/104" && lost["live"] == true).then_some(()))
        };
        until("that it is known", Duration::from_secs(10), &mut is_known)?;
        daemon.kill()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        // It is taken up by the sweep that finds that it goes on.
        until("that it is taken up", Duration::from_secs(40), is_known)?;
        talk(50)?;
        daemon.stop()?;
        let rows = query(site, &["--from", "5m", "--port", "104"])?;
        let row = rows.last().context("no row")?;
        ensure!((&row["src_ip"], &row["src_mac"]) == (&json!("10.77.0.1"), &json!(mac(1))), "{row}");
        ensure!(row["since_time"].is_string() && row["reason"] == "shutdown", "{row}");
        let frames = row["pkts_toserver"].as_u64().context("frames")?;
        ensure!((50..150).contains(&frames), "{frames} frames since the restart: {row}");
        Ok(())
    })
}

#[test]
fn a_disk_that_is_full_is_told_and_the_log_goes_on_when_there_is_room() -> Result<()> {
    site(3, |site| {
        site.configure(CONFIG)?;
        fs::create_dir(site.state_dir())?;
        // 64 MiB are left to others: so there is room for little.
        mount_small(&site.state_dir(), 66 << 10)?;
        let service = Service::start(site.lab, 2, 104)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let filling = site.state_dir().join("filling");
        fs::write(&filling, vec![0; 4 << 20])?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        let patience = Duration::from_secs(40);
        let lost = [("reason", "disk")];
        site.metric_becomes_within("sekisho_flow_log_lost_total", &lost, patience, |n| n >= 1.0)?;
        let log = daemon.log()?;
        ensure!(log.contains("conversations are not logged: cannot write to"), "{log}");
        ensure!(log.contains("64 MiB are left to others"), "{log}");
        site.ask(&["block", "add", "--mac", &mac(3)])?;
        check_ways(site.lab, "a full disk", false, &[(3, "10.77.0.2")])?;
        fs::remove_file(&filling)?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        logged(site, 1.0)?;
        ensure!(!query(site, &["--from", "5m"])?.is_empty(), "nothing to read");
        ensure!(daemon.log()?.contains("the log of conversations goes on"), "{}", daemon.log()?);
        drop(service);
        Ok(())
    })
}

/// A row like no other: so many take some 40 bytes each on the disk.
fn some_row(number: u64) -> Row {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, e, f, g, h] = mixed.to_be_bytes();
    let id = FlowId {
        src: IpAddr::from([10, a, b, c]),
        dst: IpAddr::from([10, d, e, f]),
        sport: u16::from_be_bytes([g, h]),
        dport: 443,
        proto: 6,
        kind: Kind::Ip,
        vlan: 0,
        port: 1,
    };
    let half = Half { packets: mixed >> 50, bytes: mixed >> 40, drops: 0, tcp_flags: 0x1b };
    let time = 1_795_834_800_000_000 + number as i64;
    Row {
        logged: time,
        start: time,
        since: None,
        end: time,
        id,
        smac: Mac([2, 0, 0, 0, 0, 1]),
        dmac: Mac([2, 0, 0, 0, 0, 2]),
        inner: None,
        to_server: half,
        to_client: half,
        reason: EndReason::Closed,
        verdict: Verdict::Pass,
        devices: [None; 2],
        coverage: None,
    }
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_file_damages_nothing() -> Result<()> {
    site(1, |site| {
        let root = site.path("small");
        fs::create_dir(&root)?;
        mount_small(&root, 8 << 10)?;
        let keeping = Keeping { every_ns: 200_000_000, days: 1_000, max_bytes: u64::MAX, reserve_bytes: 0 };
        let mut log = FlowLog::start(&root, keeping, None)?;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for number in 0..3_000_000 {
            log.push(some_row(number));
            while read(&log.counts().waiting) > 50_000 {
                thread::sleep(Duration::from_millis(1));
            }
            if read(&log.counts().lost_to_disk) > 200_000 {
                break;
            }
        }
        ensure!(read(&log.counts().lost_to_disk) > 200_000, "the disk took all");
        let (waiting, queue) = (read(&log.counts().waiting), read(&log.counts().lost_to_queue));
        ensure!(queue == 0 && waiting <= 51_200, "{waiting} wait, {queue} found no room");
        let written = read(&log.counts().written);
        log.close();
        let all = Query { from: 0, to: i64::MAX, ..Query::default() };
        let found = scan(&root, &all, &mut |_| Ok(()))?;
        ensure!(found.rows as u64 >= written && written > 0, "{written} written, {found:?}");
        let left: Vec<_> = fs::read_dir(root.join("_tmp"))?.collect::<std::io::Result<_>>()?;
        ensure!(left.len() == 1, "{left:?}: more than the lock is left");
        Ok(())
    })
}

/// Waits until a UDP socket is at this port with as many bytes to be read as `is` wants.
fn waiting_at(port: u16, is: impl Fn(u64) -> bool) -> Result<()> {
    let place = format!(":{port:04X} ");
    until("a socket to have read what there is", Duration::from_secs(30), || {
        let sockets = fs::read_to_string("/proc/thread-self/net/udp")?;
        let socket = sockets.lines().find(|line| line.contains(&place));
        let queue = socket.and_then(|line| line.split_whitespace().nth(4)?.split_once(':'));
        let bytes = queue.map(|(_, bytes)| u64::from_str_radix(bytes, 16)).transpose()?;
        Ok(bytes.filter(|bytes| is(*bytes)))
    })
    .map(drop)
}

#[test]
fn a_collector_is_told_the_same_by_ipfix() -> Result<()> {
    site(3, |site| {
        site.configure(&format!("[ipfix]\ncollector = \"127.0.0.1:4739\"\n{CONFIG}"))?;
        let folder = site.path("collected");
        fs::create_dir(&folder)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "nfcapd", "-b", "127.0.0.1", "-p", "4739", "-w"])
            .arg(&folder);
        let mut collector =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting nfcapd")?;
        // What is sent before somebody listens is lost.
        waiting_at(4739, |_| true)?;
        let service = Service::start(site.lab, 2, 104)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        exchange(site.lab, 1, "10.77.0.2:104")?;
        exchange(site.lab, 1, "[fd77::2]:104")?;
        logged(site, 2.0)?;
        let found = query(site, &["--from", "5m", "--port", "104"])?;
        daemon.stop()?;
        waiting_at(4739, |bytes| bytes == 0)?;
        signal("TERM", collector.id())?;
        collector.wait()?;
        drop(service);
        // It begins a file every five minutes.
        let told = run("nfdump", &["-q", "-o", "json", "-R", &folder.display().to_string(), "port 104"])?;
        // It prints the objects of a list, and not the list.
        let list = format!("[{}]", told.trim().trim_start_matches('[').trim_end_matches(']'));
        let told: Vec<Value> = serde_json::from_str(&list).with_context(|| told.clone())?;
        ensure!(told.len() == found.len() && !found.is_empty(), "{told:?} against {found:?}");
        for row in &found {
            let is = |told: &&Value| told["src_port"] == row["src_port"];
            let one = told.iter().find(is).with_context(|| format!("{row} is not in {told:?}"))?;
            let six = row["src_ip"].as_str().is_some_and(|ip| ip.contains(':'));
            let ips = if six { ["src6_addr", "dst6_addr"] } else { ["src4_addr", "dst4_addr"] };
            for (theirs, ours) in [
                (ips[0], "src_ip"),
                (ips[1], "dest_ip"),
                ("dst_port", "dest_port"),
                ("in_packets", "pkts_toserver"),
                ("in_bytes", "bytes_toserver"),
                ("out_packets", "pkts_toclient"),
                ("out_bytes", "bytes_toclient"),
            ] {
                ensure!(one[theirs] == row[ours], "{theirs}: {one} against {row}");
            }
            ensure!(one["input_snmp"].as_u64() > Some(0) && one.to_string().contains(&mac(1)), "{one}");
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_asked_of_the_log_is_told() -> Result<()> {
    site(2, |site| {
        site.configure(CONFIG)?;
        let config = site.path("sekisho.toml").display().to_string();
        let ask = |state: &str, more: &[&str]| {
            let mut all = vec!["flows", "query", "--state-dir", state, "--config", &config];
            all.extend(more);
            site.plain(&all)
        };
        let home = site.path("").display().to_string();
        ask(&home, &["--from", "1h"])?
            .check_failed(&["there is no log of conversations in", "--state-dir"])?;
        fs::create_dir(site.path("flows"))?;
        ask(&home, &["--from", "1h", "--to", "2h"])?.check_failed(&["--to", "is not after --from"])?;
        ask(&home, &["--from", "1h", "--host", "PAC"])?
            .check_failed(&["neither an address nor a known device", "did you mean \"PACS\"?"])?;
        let told = ask(&home, &["--from", "noon"])?;
        ensure!(told.code == Some(2) && told.err.contains("`noon` is no time"), "{told:?}");
        ensure!(ask(&home, &["--from", "1h", "--port", "70000"])?.code == Some(2), "a port that is none");
        let told = ask(&home, &["--from", "1h"])?;
        ensure!(told.out.contains("no conversation in that time"), "{told:?}");
        Ok(())
    })
}
