//! A real Prometheus reads the metrics, and answers for them.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bpf_tests::daemon::{METRICS, Metrics, Site, get, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{Scan, check_ways, until};
use serde_json::Value;

/// Where it answers: free in each lab's namespace.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// A Prometheus server, ended when dropped.
struct Server(Child);

impl Server {
    fn start(site: &Site) -> Result<Self> {
        let (config, log) = (site.path("prometheus.yml"), File::create(site.path("prometheus.log"))?);
        fs::write(
            &config,
            format!(
                "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: sekisho\n    static_configs:\n      \
                 - targets: [\"{METRICS}\"]\n"
            ),
        )?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "prometheus"]);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", site.path("tsdb").display()));
        command.arg(format!("--web.listen-address={PROMETHEUS}"));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self(child.context("starting prometheus (Debian package prometheus)")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of an expression, once the server has one.
fn query(expression: &str, wanted: impl Fn(f64) -> bool) -> Result<f64> {
    let text: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut last = Value::Null;
    until(expression, Duration::from_secs(10), || {
        // It answers from when it is ready.
        let Ok(answer) = get(PROMETHEUS, &format!("/api/v1/query?query={text}")) else { return Ok(None) };
        last = serde_json::from_str(&answer)?;
        let value = last["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok());
        Ok(value.filter(|value| wanted(*value)))
    })
    .with_context(|| format!("last answer: {last}"))
}

/// Has promtool read a page of metrics; it must find nothing to say.
fn promtool(page: &Metrics) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting promtool (Debian package prometheus)")?;
    let Some(mut pipe) = child.stdin.take() else { bail!("no pipe") };
    pipe.write_all(page.0.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && told.is_empty(), "promtool: {}\n{told}", output.status);
    Ok(())
}

/// Checks that no label of any series holds an address.
fn check_labels(page: &Metrics) -> Result<()> {
    for line in page.0.lines().filter(|line| !line.starts_with('#')) {
        let labels =
            line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |found| found.0);
        // Labels hold no escaped quotes: port names, modes, reasons, detectors.
        for value in labels.split('"').skip(1).step_by(2) {
            let dotted = value.split('.').filter(|part| part.parse::<u8>().is_ok()).count() == 4;
            ensure!(!dotted && !value.contains(':'), "an address in {line}");
        }
    }
    Ok(())
}

#[test]
fn prometheus_reads_the_metrics_and_answers_for_them() -> Result<()> {
    site(3, |site| {
        site.lab.unlearn()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        promtool(&site.metrics()?)?;
        let _server = Server::start(site)?;
        site.ask(&["block", "add", "--mac", &mac(3)])?;
        let ping = site.lab.start_ping(1, "10.77.0.2", 400, 20)?;

        assert_eq!(query("sekisho_isolations_active{mode=\"enforced\"}", |value| value > 0.0)?, 1.0);
        assert_eq!(query("up", |_| true)?, 1.0);
        // 50 pings a second come in at port 1, or fewer if the machine has much to do.
        let rate = query("rate(sekisho_port_packets_total{port=\"p1\"}[5s])", |rate| rate > 10.0)?;
        ensure!(rate < 80.0, "{rate} packets a second");
        let rate = query("sum(rate(sekisho_port_bytes_total[5s]))", |rate| rate > 2_000.0)?;
        ensure!(rate < 20_000.0, "{rate} bytes a second");

        let _scan = Scan::start(site.lab, 1, &["-sS", "-Pn", "-p", "1-200", "10.77.0.2"])?;
        daemon.event("the isolation", |event| {
            event["isolation"]["incident_id"].is_null() && event["incident_id"] == 1
        })?;
        assert_eq!(query("sekisho_isolations_active{mode=\"enforced\"}", |value| value > 1.0)?, 2.0);
        assert_eq!(query("sum(sekisho_incidents_total{detector=\"port_scan\"})", |value| value > 0.0)?, 1.0);
        assert_eq!(query("sekisho_isolation_latency_seconds_count", |value| value > 0.0)?, 1.0);
        ping.finish()?;
        let page = site.metrics()?;
        promtool(&page)?;
        check_labels(&page)
    })
}

#[test]
fn the_numbers_add_up() -> Result<()> {
    site(2, |site| {
        (1..=2).try_for_each(|host| site.lab.silence(host))?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "before", true, &[(1, "10.77.0.2")])?;
        site.ask(&["block", "add", "--ip", "10.77.0.1"])?;
        check_ways(site.lab, "blocked", false, &[(1, "10.77.0.2")])?;
        for (port, passed, dropped) in [("p1", 10.0, 10.0), ("p2", 10.0, 0.0)] {
            let verdict = |verdict| [("port", port), ("verdict", verdict)];
            site.metric_becomes("sekisho_port_packets_total", &[("port", port)], |n| n == passed + dropped)?;
            let page = site.metrics()?;
            assert_eq!(page.value("sekisho_verdicts_total", &verdict("pass")), Some(passed), "{port}");
            assert_eq!(page.value("sekisho_verdicts_total", &verdict("drop")), Some(dropped), "{port}");
            assert_eq!(
                page.value("sekisho_port_bytes_total", &[("port", port)]),
                Some(98.0 * (passed + dropped))
            );
        }
        let page = site.metrics()?;
        assert_eq!(page.value("sekisho_parse_results_total", &[("reason", "ok")]), Some(30.0));
        assert_eq!(page.value("sekisho_devices", &[]), Some(2.0));
        let told: f64 = page.series("sekisho_ring_records_lost_total").iter().map(|series| series.1).sum();
        assert_eq!(told, 0.0);
        Ok(())
    })
}

#[test]
fn metrics_can_be_moved_or_switched_off() -> Result<()> {
    site(1, |site| {
        site.configure("metrics_listen = \"127.0.0.1:9936\"\n")?;
        let daemon = site.start(&[])?;
        ensure!(get("127.0.0.1:9936", "/metrics")?.contains("sekisho_build_info{"));
        ensure!(get(METRICS, "/metrics").is_err(), "also at the default place");
        daemon.stop()?;
        let _daemon = site.start(&["--metrics", "off"])?;
        ensure!(get("127.0.0.1:9936", "/metrics").is_err(), "not off");
        Ok(())
    })
}
