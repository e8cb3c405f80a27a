//! What happens in the lab, in order: daily work, the infection, the cut, the release.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::daemon::METRICS;
use super::net::{HOSTS, Host, INFECTED, SWITCH};
use super::talk::{self, Exchanges, Matrix};
use super::{Ward, lines_in};
use crate::sh;
use crate::ui::{self, Style, paint};

/// Plays the story. An error tells what did not happen as it should.
pub fn play(ward: &mut Ward, program: &Path, extra: &[String]) -> Result<()> {
    let mut story = Story { ward, problems: Vec::new(), latency_ms: None };
    story.open_the_box(program, extra)?;
    story.daily_work()?;
    let since = story.infection()?;
    story.cut_off()?;
    story.look_inside()?;
    story.daily_work_went_on(&since);
    story.release()?;
    story.end()
}

struct Story<'a> {
    ward: &'a mut Ward,
    /// What was not as expected, but did not stop the story.
    problems: Vec<String>,
    latency_ms: Option<f64>,
}

/// Where each host's log was when the cut began.
type LogPositions = Vec<usize>;

fn infected() -> &'static Host {
    &HOSTS[INFECTED]
}

impl Story<'_> {
    fn open_the_box(&mut self, program: &Path, extra: &[String]) -> Result<()> {
        ui::heading("1. A ward network, and Sekisho on its bridge");
        ui::line("   a switch (Linux bridge br0) and five hosts, each in a network namespace of its own");
        self.ward.start_daemon(program, extra)?;
        let started = Instant::now();
        let ready = self.ward.wait(Duration::from_secs(20), |ward| {
            Ok(sh::try_output(&mut ward.daemon()?.command(&["status"])).is_some())
        })?;
        if !ready {
            bail!("expected `sekisho status` to answer within 20 s of the start; it did not");
        }
        ui::line(&format!("   sekisho guards br0 after {:.1} s:", started.elapsed().as_secs_f32()));
        self.show(&["status"], 30)
    }

    fn daily_work(&mut self) -> Result<()> {
        ui::heading("2. Daily work: everybody talks, Sekisho learns who is there");
        self.ward.events()?.restart_clock();
        self.ward.start_hosts()?;
        self.ward.wait(Duration::from_secs(5), |ward| Ok(ward.events()?.devices.len() >= HOSTS.len()))?;
        let matrix = self.pings()?;
        // Some seconds of ordinary exchanges, so that there is a usual to compare with.
        self.ward.wait(Duration::from_secs(4), |_| Ok(false))?;
        let seen = &self.ward.events()?.devices;
        let unseen: Vec<&str> =
            HOSTS.iter().filter(|host| !seen.contains_key(host.mac)).map(|host| host.name).collect();
        if !unseen.is_empty() {
            self.problems
                .push(format!("expected a device event for every host, none came for {}", unseen.join(", ")));
        }
        ui::line("");
        ui::line("   who reaches whom (ping, IPv4 and IPv6):");
        self.check(&matrix, None);
        Ok(())
    }

    fn infection(&mut self) -> Result<LogPositions> {
        ui::heading(&format!(
            "3. {} becomes infected and scans the ward (nmap -sS 10.77.0.0/24)",
            infected().name
        ));
        self.ward.events()?.restart_clock();
        self.ward.start_scan(infected())?;
        let isolated = self.ward.wait(Duration::from_secs(30), |ward| {
            Ok(ward.events()?.isolation_of(infected().mac).is_some())
        })?;
        if !isolated {
            let findings = self.ward.events()?.alerts.len();
            bail!(
                "expected {} to be isolated within 30 s of its scan; there were {findings} findings and no isolation",
                infected().name
            );
        }
        // The scan goes on against the cut for a moment, as malware would.
        self.ward.wait(Duration::from_secs(1), |_| Ok(false))?;
        self.ward.stop_scan()?;
        let positions = HOSTS.iter().map(|host| lines_in(&self.ward.log_of(host.name))).collect();
        self.tell_the_cut()?;
        Ok(positions)
    }

    /// The figures of the cut: how far the scan came and how long it took.
    fn tell_the_cut(&mut self) -> Result<()> {
        let events = self.ward.events()?;
        let isolation = events.isolation_of(infected().mac).context("no isolation")?;
        self.latency_ms = isolation.pointer("/isolation/latency_ms").and_then(Value::as_f64);
        let others: Vec<String> = events
            .isolations
            .iter()
            .filter(|event| super::events::name_of(event) != infected().name)
            .map(super::events::name_of)
            .collect();
        if !others.is_empty() {
            self.problems.push(format!("expected nobody else to be isolated, seen: {}", others.join(", ")));
        }
        match events.tried(infected().name) {
            Some(tried) => ui::line(&format!("   {} had tried {tried} when it was cut off", infected().name)),
            None => {
                self.problems.push("expected the finding to count what was tried, it does not".to_owned())
            }
        }
        match self.latency_ms {
            Some(ms) => ui::line(&format!(
                "   from the first piece of evidence to the drop in the kernel: {ms:.1} ms"
            )),
            None => self.problems.push("expected the isolation to carry latency_ms, it does not".to_owned()),
        }
        Ok(())
    }

    fn cut_off(&mut self) -> Result<()> {
        ui::heading(&format!("4. {} is cut off, the others are not", infected().name));
        let matrix = self.pings()?;
        self.check(&matrix, Some(INFECTED));
        Ok(())
    }

    fn look_inside(&mut self) -> Result<()> {
        ui::heading("5. What the operator sees");
        ui::note("   $ sekisho block list");
        self.show(&["block", "list"], 12)?;
        ui::note(&format!("   $ curl http://{METRICS}/metrics | grep ..."));
        let myself = std::env::current_exe().context("where am I?")?;
        let page = sh::output(self.ward.lab.inside(SWITCH, myself).args(["lab-get", METRICS, "/metrics"]))?;
        let shown =
            ["sekisho_isolations", "sekisho_incidents", "sekisho_port_dropped_packets", "sekisho_ring"];
        let lines: Vec<&str> = page
            .lines()
            .filter(|line| shown.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0"))
            .collect();
        if lines.is_empty() {
            self.problems.push("expected metrics named sekisho_*, there are none".to_owned());
        }
        for line in lines.iter().take(14) {
            ui::line(&format!("   {line}"));
        }
        Ok(())
    }

    fn daily_work_went_on(&mut self, since: &LogPositions) {
        let mut sum = Exchanges::default();
        for (host, position) in HOSTS.iter().zip(since).filter(|(host, _)| host.mac != infected().mac) {
            let count = talk::exchanges(&self.ward.log_of(host.name), *position);
            sum.answered += count.answered;
            sum.failed += count.failed;
        }
        ui::line("");
        ui::line(&format!(
            "   meanwhile the others made {} TCP exchanges; {} failed",
            sum.answered + sum.failed,
            sum.failed
        ));
        if sum.failed > 0 || sum.answered == 0 {
            self.problems.push(format!(
                "expected the others' exchanges to go on without failure; {} answered, {} failed",
                sum.answered, sum.failed
            ));
        }
    }

    fn release(&mut self) -> Result<()> {
        ui::heading("6. The laptop was cleaned; the operator lets it back in");
        self.ward.events()?.restart_clock();
        ui::note(&format!("   $ sekisho block remove --mac {}", infected().mac));
        self.show(&["block", "remove", "--mac", infected().mac], 4)?;
        let matrix = self.pings()?;
        self.check(&matrix, None);
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.problems.is_empty() {
            ui::heading(&paint(Style::Good, "Everything happened as told."));
            return Ok(());
        }
        let list: Vec<String> = self.problems.iter().map(|problem| format!("  - {problem}")).collect();
        bail!("the story did not happen as told:\n{}", list.join("\n"))
    }

    /// Runs a command of the daemon and shows what it prints.
    fn show(&mut self, arguments: &[&str], lines: usize) -> Result<()> {
        let printed = sh::output(&mut self.ward.daemon()?.command(arguments))?;
        for line in printed.lines().take(lines) {
            ui::line(&format!("   {line}"));
        }
        Ok(())
    }

    fn pings(&mut self) -> Result<Matrix> {
        let mut pings = talk::start_pings(&self.ward.lab)?;
        let ended = self.ward.wait(Duration::from_secs(20), |_| {
            for pair in &mut pings {
                if !pair.ended()? {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if !ended {
            bail!("expected ping to end within 20 s, it did not");
        }
        talk::matrix(pings)
    }

    fn check(&mut self, matrix: &Matrix, cut_off: Option<usize>) {
        talk::print(matrix);
        self.problems.extend(talk::unexpected(matrix, cut_off));
    }
}
