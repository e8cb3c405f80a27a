//! Tests of the metrics by the text Prometheus gets.

use std::io::Write;
use std::process::{Command, Stdio};

use sensor_core::event::{Action, Alert, Change, DeviceRef, Isolation};
use sensor_core::evidence::{Family, Sum};
use sensor_core::observation::{FlowId, Kind};
use sensor_core::policy::{Direction, Level, Why};
use sensor_core::time::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn text(metrics: &Metrics) -> String {
    server::text(&metrics.registry()).unwrap()
}

/// The value of a line, `name{labels}`.
fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    let text = text(metrics);
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn port(name: &str, packets: u64, drops: u64) -> PortSample {
    let counters = PortCounters {
        packets,
        bytes: packets * 100,
        drop_packets: drops,
        drop_bytes: drops * 100,
        would_drop_packets: 1,
        ..PortCounters::default()
    };
    let ledger = Ledger {
        arrived: packets,
        accounted: [("flows".to_owned(), packets - 7)].into(),
        ignored: [("link_control".to_owned(), 4)].into(),
        lost: [("unread".to_owned(), 2)].into(),
        pending: 1,
        coverage: 0.5,
        ..Ledger::default()
    };
    let (name, mode) = (name.to_owned(), AttachMode::Native);
    PortSample { name, mode, problem: None, offloads_on: Vec::new(), counters, ledger }
}

fn sample() -> LiveSample {
    LiveSample {
        ports: vec![port("eth1", 100, 10), port("eth2", 50, 0)],
        parse: vec![("ok", 140), ("short_ipv4", 10)],
        unfiltered: vec![("eth3".to_owned(), "busy")],
        rings: vec![RingSample { ring: "flow", sent: 70, lost: 3 }],
        heard: vec![("dhcp", HeardCell { told: 8, limited: 2, lost: 1, ..HeardCell::default() })],
        engine: EngineStats {
            devices: 4,
            flows_live: 7,
            flows_new: 20,
            blocks: 1,
            approvals_waiting: 2,
            reviews: 3,
            windows_open: 1,
            ..EngineStats::default()
        },
        store_errors: 2,
        events_lost: 3,
        journal_lost: 4,
        journal_errors: 5,
        eve_lost: 6,
        record_cut_short: 2,
        enforce: true,
        bypass: true,
        blind: vec![BlindCause::Unread],
        leaks: 3,
        hits: Hits { dropped: 10, dropped_bytes: 1_000, would_drop: 1, would_drop_bytes: 60 },
        detectors_off: BTreeMap::from([("scan".to_owned(), vec!["radiology".to_owned()])]),
        models: vec![ModelSample { class: "all".to_owned(), subject: "flow", hash: "0123abcd".to_owned() }],
        model_rows: vec![("flow", 20_000)],
        channels: vec![ChannelSample {
            name: "it-mail".to_owned(),
            kind: "mail",
            sent: 7,
            failed: 2,
            lost: 1,
            waiting: 3,
            failing: true,
            last_success_secs: Some(1_700_000_000.0),
        }],
    }
}

fn metrics() -> Metrics {
    Metrics::new("0.1.0", 1_767_225_600.5).unwrap()
}

fn device() -> DeviceRef {
    DeviceRef {
        id: 7,
        mac: "00:1b:21:0a:0b:0c".parse().unwrap(),
        ips: vec!["10.0.0.7".parse().unwrap()],
        maker: Some("Intel".to_owned()),
        name: Some("MRI".to_owned()),
        class: None,
    }
}

fn alert(incident: u64) -> Timed {
    let ip = "10.0.0.7".parse().unwrap();
    let flow = FlowId { src: ip, dst: ip, sport: 1, dport: 2, proto: 6, kind: Kind::Ip, vlan: 0, port: 1 };
    let event = Event::Alert(Alert {
        incident,
        detector: "scan",
        signature: "first contacts fail",
        severity: 1,
        device: device(),
        flow,
        evidence: Vec::new(),
        first_evidence: Time::at(0),
        family: Family::Scan,
        weight: 13.82,
        sum: Sum { shares: vec![(Family::Scan, 13.82)] },
        why: Why::default(),
        action: Action::Isolated,
        ruling: None,
        coverage: None,
    });
    Timed { time: Time::at(1), event }
}

fn isolation() -> Timed {
    let event = Event::Isolation(Isolation {
        id: 1,
        change: Change::Added,
        device: Some(device()),
        targets: vec!["10.0.0.7".parse().unwrap()],
        level: Level::Isolate,
        direction: Direction::Both,
        until: None,
        would: false,
        reason: "odd".to_owned(),
        incident: Some(1),
        flow: None,
        first_evidence: None,
    });
    Timed { time: Time::at(1), event }
}

#[test]
fn counters_follow_the_kernels() {
    let mut metrics = metrics();
    metrics.update(&sample());
    for (name, want) in [
        ("sekisho_build_info{version=\"0.1.0\"}", 1.0),
        ("sekisho_start_time_seconds", 1_767_225_600.5),
        ("sekisho_enforce", 1.0),
        ("sekisho_port_info{mode=\"native\",port=\"eth1\"}", 1.0),
        ("sekisho_port_problem{port=\"eth3\",problem=\"busy\"}", 1.0),
        ("sekisho_repairs_total{what=\"rule\"}", 0.0),
        ("sekisho_port_packets_total{port=\"eth1\"}", 100.0),
        ("sekisho_port_bytes_total{port=\"eth2\"}", 5_000.0),
        ("sekisho_verdicts_total{port=\"eth1\",verdict=\"pass\"}", 89.0),
        ("sekisho_verdicts_total{port=\"eth1\",verdict=\"drop\"}", 10.0),
        ("sekisho_verdicts_total{port=\"eth1\",verdict=\"would_drop\"}", 1.0),
        ("sekisho_parse_results_total{reason=\"short_ipv4\"}", 10.0),
        ("sekisho_ring_records_sent_total{ring=\"flow\"}", 70.0),
        ("sekisho_ring_records_lost_total{ring=\"flow\"}", 3.0),
        ("sekisho_discovery_frames_total{kind=\"dhcp\",outcome=\"told\"}", 8.0),
        ("sekisho_discovery_frames_total{kind=\"dhcp\",outcome=\"limited\"}", 2.0),
        ("sekisho_discovery_frames_total{kind=\"dhcp\",outcome=\"lost\"}", 1.0),
        ("sekisho_approvals_waiting", 2.0),
        ("sekisho_approvals_total{step=\"denied\"}", 0.0),
        ("sekisho_detectors_on_review", 3.0),
        ("sekisho_devices", 4.0),
        ("sekisho_flows_live", 7.0),
        ("sekisho_flows_new_total", 20.0),
        ("sekisho_flows_evicted_total", 0.0),
        ("sekisho_findings_silenced_total", 0.0),
        ("sekisho_detector_off{detector=\"scan\",segment=\"radiology\"}", 1.0),
        ("sekisho_isolations_active{mode=\"enforced\"}", 1.0),
        ("sekisho_isolations_active{mode=\"observed\"}", 0.0),
        ("sekisho_store_errors_total", 2.0),
        ("sekisho_events_lost_total", 3.0),
        ("sekisho_journal_lost_total", 4.0),
        ("sekisho_journal_errors_total", 5.0),
        ("sekisho_eve_lost_total", 6.0),
        ("sekisho_record_cut_short_total", 2.0),
        ("sekisho_port_arrived_frames_total{port=\"eth1\"}", 100.0),
        ("sekisho_port_frames_total{kind=\"accounted\",port=\"eth1\",reason=\"flows\"}", 93.0),
        ("sekisho_port_frames_total{kind=\"ignored\",port=\"eth1\",reason=\"link_control\"}", 4.0),
        ("sekisho_port_frames_total{kind=\"lost\",port=\"eth1\",reason=\"unread\"}", 2.0),
        ("sekisho_port_pending_frames{port=\"eth1\"}", 1.0),
        ("sekisho_coverage_ratio{port=\"eth2\"}", 0.5),
        ("sekisho_blind", 1.0),
        ("sekisho_blind_reason{reason=\"unread\"}", 1.0),
        ("sekisho_blind_reason{reason=\"stopped\"}", 0.0),
        ("sekisho_isolation_leak_packets_total", 3.0),
        ("sekisho_rule_packets_total{verdict=\"drop\"}", 10.0),
        ("sekisho_rule_bytes_total{verdict=\"would_drop\"}", 60.0),
        ("sekisho_model_info{class=\"all\",hash=\"0123abcd\",subject=\"flow\"}", 1.0),
        ("sekisho_model_rows{subject=\"flow\"}", 20_000.0),
        ("sekisho_notices_sent_total{channel=\"it-mail\",kind=\"mail\"}", 7.0),
        ("sekisho_notices_failed_total{channel=\"it-mail\",kind=\"mail\"}", 2.0),
        ("sekisho_notices_lost_total{channel=\"it-mail\",kind=\"mail\"}", 1.0),
        ("sekisho_notices_waiting{channel=\"it-mail\",kind=\"mail\"}", 3.0),
        ("sekisho_notify_channel_failing{channel=\"it-mail\",kind=\"mail\"}", 1.0),
        ("sekisho_notify_last_success_timestamp_seconds{channel=\"it-mail\",kind=\"mail\"}", 1_700_000_000.0),
    ] {
        assert_eq!(value(&metrics, name), Some(want), "{name}");
    }
    metrics.update(&sample());
    assert_eq!(
        value(&metrics, "sekisho_port_packets_total{port=\"eth1\"}"),
        Some(100.0),
        "not counted twice"
    );
}

#[test]
fn what_did_not_happen_yet_is_zero() {
    for name in [
        "sekisho_incidents_total{detector=\"lateral\",severity=\"1\"}",
        "sekisho_isolation_changes_total{change=\"added\",mode=\"enforced\",origin=\"incident\"}",
        "sekisho_isolation_latency_seconds_count",
    ] {
        assert_eq!(value(&metrics(), name), Some(0.0), "{name}");
    }
}

#[test]
fn a_counter_that_begins_anew_is_followed() {
    let mut metrics = metrics();
    metrics.update(&sample());
    metrics.update(&LiveSample { ports: vec![port("eth1", 7, 0)], ..sample() });
    assert_eq!(value(&metrics, "sekisho_port_packets_total{port=\"eth1\"}"), Some(7.0));
}

#[test]
fn ports_that_left_are_not_shown() {
    let mut metrics = metrics();
    metrics.update(&sample());
    let generic = PortSample {
        mode: AttachMode::Generic,
        problem: Some("mtu"),
        offloads_on: vec!["rx-lro"],
        ..port("eth1", 101, 10)
    };
    metrics.update(&LiveSample { ports: vec![generic], unfiltered: Vec::new(), ..sample() });
    assert_eq!(value(&metrics, "sekisho_port_problem{port=\"eth3\",problem=\"busy\"}"), None);
    assert_eq!(value(&metrics, "sekisho_port_problem{port=\"eth1\",problem=\"mtu\"}"), Some(1.0));
    assert_eq!(value(&metrics, "sekisho_port_offload_on{offload=\"rx-lro\",port=\"eth1\"}"), Some(1.0));
    assert!(!text(&metrics).contains("eth2"));
    assert_eq!(value(&metrics, "sekisho_port_info{mode=\"native\",port=\"eth1\"}"), None);
    assert_eq!(value(&metrics, "sekisho_port_info{mode=\"generic\",port=\"eth1\"}"), Some(1.0));
    assert_eq!(value(&metrics, "sekisho_port_packets_total{port=\"eth1\"}"), Some(101.0));
}

#[test]
fn what_happens_is_counted_once() {
    let mut metrics = metrics();
    for incident in [1, 1, 2] {
        metrics.event(&alert(incident));
    }
    metrics.event(&isolation());
    metrics.isolated_after(Duration::from_millis(12));
    for (name, want) in [
        ("sekisho_alerts_total{detector=\"scan\",severity=\"1\"}", 3.0),
        ("sekisho_incidents_total{detector=\"scan\",severity=\"1\"}", 2.0),
        ("sekisho_isolation_changes_total{change=\"added\",mode=\"enforced\",origin=\"incident\"}", 1.0),
        ("sekisho_isolation_latency_seconds_bucket{le=\"0.01\"}", 0.0),
        ("sekisho_isolation_latency_seconds_bucket{le=\"0.025\"}", 1.0),
        ("sekisho_isolation_latency_seconds_count", 1.0),
    ] {
        assert_eq!(value(&metrics, name), Some(want), "{name}");
    }
}

/// Everything the metrics can show.
fn full() -> Metrics {
    let mut metrics = metrics();
    metrics.update(&sample());
    metrics.event(&alert(1));
    metrics.event(&isolation());
    metrics.isolated_after(Duration::from_millis(12));
    metrics.flows(Some(&sensor_flowlog::Counts::default()), [0; 2]);
    metrics
}

#[test]
fn what_the_log_of_conversations_counts_is_shown() {
    use std::sync::atomic::Ordering::Relaxed;

    let (metrics, counts) = (metrics(), sensor_flowlog::Counts::default());
    for (count, to) in [
        (&counts.written, 9),
        (&counts.lost_to_queue, 1),
        (&counts.lost_to_disk, 2),
        (&counts.waiting, 3),
        (&counts.bytes, 180),
        (&counts.copied, 4),
        (&counts.never_copied, 5),
    ] {
        count.store(to, Relaxed);
    }
    counts.oldest.store(1_795_834_800, Relaxed);
    metrics.flows(Some(&counts), [7, 1]);
    for (name, want) in [
        ("sekisho_flow_log_rows_total", 9.0),
        ("sekisho_flow_log_lost_total{reason=\"queue\"}", 1.0),
        ("sekisho_flow_log_lost_total{reason=\"disk\"}", 2.0),
        ("sekisho_flow_log_waiting", 3.0),
        ("sekisho_flow_log_bytes", 180.0),
        ("sekisho_flow_log_oldest_timestamp_seconds", 1_795_834_800.0),
        ("sekisho_flow_log_copies_total{result=\"done\"}", 4.0),
        ("sekisho_flow_log_copies_total{result=\"missed\"}", 5.0),
        ("sekisho_flow_log_cut_short_total", 0.0),
        ("sekisho_ipfix_messages_total{result=\"sent\"}", 7.0),
        ("sekisho_ipfix_messages_total{result=\"failed\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, name), Some(want), "{name}");
    }
}

#[test]
fn no_address_and_no_name_is_shown() {
    let text = text(&full());
    for secret in ["10.0.0.7", "00:1b:21", "MRI", "Intel"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn every_line_is_help_type_or_value() {
    for line in text(&full()).lines() {
        let value = line
            .rsplit_once(' ')
            .is_some_and(|(name, value)| name.starts_with("sekisho_") && value.parse::<f64>().is_ok());
        assert!(
            line.starts_with("# HELP sekisho_") || line.starts_with("# TYPE sekisho_") || value,
            "{line}"
        );
    }
}

#[test]
fn promtool_finds_nothing_to_say() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("skipped: promtool is not installed (Debian package prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text(&full()).as_bytes()).unwrap();
    let result = promtool.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    assert!(result.status.success() && said.trim().is_empty(), "{said}");
}

/// What the server answers to a request of that path.
async fn http(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_metrics_are_served() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(serve(listener, full().registry()));
    let page = http(address, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4"), "{page}");
    assert!(page.contains("\nsekisho_devices 4\n"), "{page}");
    assert!(http(address, "/").await.contains("href=\"/metrics\""));
    assert!(http(address, "/other").await.starts_with("HTTP/1.1 404"));
    task.abort();
}

#[tokio::test]
async fn a_port_in_use_is_told() {
    let first = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).await.unwrap_err().to_string();
    assert!(error.contains("the port is in use") && error.contains("--metrics"), "{error}");
    let error = bind(([192, 0, 2, 1], 9935).into()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot serve metrics at 192.0.2.1:9935: "), "{error}");
}
