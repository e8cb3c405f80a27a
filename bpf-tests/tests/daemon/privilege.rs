//! Least privilege: a loader with three capabilities that ends, and a daemon of nobody without any.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, NOBODY, Site, Told, finish, site};
use bpf_tests::lab::{BRIDGE, has_xdp, mac};
use bpf_tests::traffic::{Service, check_ways, exchange, until};

const PATIENCE: Duration = Duration::from_secs(15);

/// Runs `sekisho load` as its service does: root with three capabilities, in the daemon's group.
fn load(site: &Site) -> Result<Told> {
    let mut command = Command::new("setpriv");
    command.args(["--regid", NOBODY, "--clear-groups", "--no-new-privs", "--inh-caps", "-all"]);
    command.args(["--bounding-set", "-all,+bpf,+net_admin,+perfmon", "--"]).arg(site.program());
    command.args(["load", "--bridge", BRIDGE, "--group", "nogroup", "--pin-dir"]).arg(site.pin_dir());
    finish(std::mem::replace(command.stdin(Stdio::null()), Command::new("true")))
}

/// A site as systemd has it - a BPF file system for root alone - with the program loaded.
fn loaded(site: &Site) -> Result<()> {
    let bpf = site.pin_dir().parent().context("a mount")?;
    fs::set_permissions(bpf, Permissions::from_mode(0o1700))?;
    let told = load(site)?;
    ensure!(told.code == Some(0), "{told:?}");
    site.drop_privileges()
}

/// Does what systemd would when the request file is written: nothing, or runs the loader until `done`.
fn serve(site: &Site, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, PATIENCE, || {
        if site.request().exists() {
            fs::remove_file(site.request())?;
            let told = load(site)?;
            ensure!(told.code == Some(0), "{told:?}");
        }
        Ok(done()?.then_some(()))
    })
}

/// Checks that the loop of a daemon comes before other programs, and no other thread of it does.
fn check_priorities(daemon: &Daemon) -> Result<()> {
    let mut priorities = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        // proc_pid_stat(5): behind the name, the 17th field is the nice value.
        let (_, fields) = stat.rsplit_once(") ").context("a name")?;
        priorities.push(fields.split(' ').nth(16).context("a priority")?.parse::<i32>()?);
    }
    priorities.sort_unstable();
    ensure!(priorities.len() > 3 && priorities[0] == -15 && priorities[1] == 0, "{priorities:?}");
    Ok(())
}

/// Checks that a daemon is nobody's and has no capability at all.
fn check_powerless(daemon: &Daemon) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    for (name, wanted) in [("Uid:", NOBODY), ("CapEff:", "0000000000000000"), ("CapBnd:", "0000000000000000")]
    {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line")?;
        ensure!(line.split_whitespace().next() == Some(wanted), "{name}{line}");
    }
    Ok(())
}

#[test]
fn a_daemon_without_privileges_isolates_expires_sweeps_and_restarts() -> Result<()> {
    site(3, |site| {
        loaded(site)?;
        let links = site.pin_dir().join(BRIDGE).join("links");
        let modes = [(links.clone(), 0o700), (links.join("p1"), 0o600)];
        for (path, mode) in modes {
            let meta = fs::metadata(&path)?;
            ensure!(meta.mode() & 0o777 == mode, "{}: {:o}", path.display(), meta.mode());
        }
        let daemon = site.start(&["--mode", "enforce"])?;
        check_powerless(&daemon)?;
        let log = daemon.log()?;
        ensure!(log.contains("the daemon may not come before other programs"), "without LimitNICE:\n{log}");
        let ways = [(1, "10.77.0.2"), (2, "fd77::1")];
        let others = [(2, "10.77.0.3"), (3, "fd77::2")];
        check_ways(site.lab, "before", true, &[&ways[..], &others].concat())?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        check_ways(site.lab, "isolated", false, &ways)?;
        check_ways(site.lab, "the others", true, &others)?;
        site.ask(&["block", "add", "--mac", &mac(3), "--for", "1s"])?;
        let over = |event: &serde_json::Value| event["isolation"]["action"] == "expired";
        daemon.event("the expiry", over)?;
        check_ways(site.lab, "expired", true, &others)?;
        // Records, and what only a sweep tells: the end of a conversation.
        daemon
            .event("a device", |event| event["event_type"] == "device" && event["device"]["mac"] == mac(2))?;
        let _service = Service::start(site.lab, 2, 7_777)?;
        exchange(site.lab, 3, "10.77.0.2:7777")?;
        until("the end of a conversation", PATIENCE, || {
            let ended =
                |event: &serde_json::Value| event["dest_port"] == 7_777 && event["event_type"] == "flow";
            Ok(daemon.events()?.iter().any(ended).then_some(()))
        })?;
        let drops = site.ask(&["status"])?["ports"][0]["drops"].as_u64();
        ensure!(drops > Some(0), "{drops:?} drops");

        // It ends in both ways and comes back; nothing leaks and nothing is lost.
        let streams = [(1, "10.77.0.2"), (2, "10.77.0.3")];
        let streams = streams.map(|way| site.lab.start_ping(way.0, way.1, 1_000, 4));
        daemon.stop()?;
        site.start(&["--mode", "enforce"])?.kill()?;
        let daemon = site.start(&["--mode", "enforce"])?;
        check_powerless(&daemon)?;
        let told = streams.into_iter().map(|ping| ping?.finish()).collect::<Result<Vec<_>>>()?;
        assert_eq!(told, [(1_000, 0), (1_000, 1_000)]);
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(1));
        Ok(())
    })
}

#[test]
fn what_takes_privileges_is_asked_of_the_loader() -> Result<()> {
    site(4, |site| {
        site.lab.leave(4)?;
        loaded(site)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        site.ask(&["block", "add", "--mac", &mac(4)])?;
        let ports = || {
            let status = site.ask(&["status"])?;
            Ok::<_, anyhow::Error>(status["ports"].as_array().map_or(0, Vec::len))
        };
        assert_eq!(ports()?, 3);
        // A port joins; another leaves.
        site.lab.join(4)?;
        serve(site, "the new port", || Ok(ports()? == 4))?;
        ensure!(has_xdp(&site.lab.ip("link show p4")?));
        check_ways(site.lab, "by the new port", false, &[(4, "10.77.0.2"), (1, "10.77.0.3")])?;
        site.lab.leave(3)?;
        serve(site, "the port that left", || Ok(ports()? == 3 && !has_xdp(&site.lab.ip("link show p3")?)))?;
        // Somebody takes the program off.
        fs::remove_file(site.pin_dir().join(BRIDGE).join("links/p1"))?;
        until("the program to be gone", PATIENCE, || {
            Ok((!has_xdp(&site.lab.ip("link show p1")?)).then_some(()))
        })?;
        serve(site, "the repair", || Ok(has_xdp(&site.lab.ip("link show p1")?)))?;
        serve(site, "the port to be known again", || Ok(ports()? == 3))?;
        check_ways(site.lab, "after the repair", false, &[(1, "10.77.0.2")])?;
        ensure!(
            daemon.log()?.contains("port p1 has lost the filter and is NOT filtered"),
            "{}",
            daemon.log()?
        );
        Ok(())
    })
}

#[test]
fn only_one_works_with_the_maps_and_nobody_else_may_use_them() -> Result<()> {
    site(2, |site| {
        let pins = site.pin_dir().display().to_string();
        loaded(site)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        site.be_root();
        site.plain(&["detach", "--pin-dir", &pins])?.check_failed(&["another daemon is using the pins"])?;
        site.plain(&["upgrade", "--bridge", BRIDGE, "--pin-dir", &pins])?
            .check_failed(&["already watching"])?;
        daemon.kill()?;
        // Who is not in the group may not even look.
        let mut stranger = Command::new("setpriv");
        stranger
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "--"])
            .arg(site.path("sekisho"));
        stranger.args(["bypass", "on", "--pin-dir", &pins, "--socket", "/nonexistent"]);
        let told = finish(stranger)?;
        ensure!(told.code == Some(1) && told.err.contains("ermission denied"), "{told:?}");
        check_ways(site.lab, "still isolated", false, &[(1, "10.77.0.2")])?;
        // Root takes over what was nobody's, and leaves it to nobody again.
        let daemon = site.start(&["--mode", "enforce"])?;
        check_priorities(&daemon)?;
        check_ways(site.lab, "with root", false, &[(1, "10.77.0.2")])?;
        daemon.stop()?;
        // What root does meanwhile keeps nobody from going on.
        fs::read_dir("/run/sekisho")?.try_for_each(|file| fs::remove_file(file?.path()))?;
        let told = site.plain(&["upgrade", "--bridge", BRIDGE, "--pin-dir", &pins])?;
        ensure!(told.code == Some(0), "{told:?}");
        site.drop_privileges()?;
        site.start(&["--mode", "enforce"])?.stop()?;
        let told = site.plain(&["bypass", "on", "--pin-dir", &pins])?;
        ensure!(told.code == Some(0), "{told:?}");
        check_ways(site.lab, "bypassed by nobody", true, &[(1, "10.77.0.2")])?;
        site.plain(&["bypass", "off", "--pin-dir", &pins])?;
        check_ways(site.lab, "and back", false, &[(1, "10.77.0.2")])
    })
}

#[test]
fn without_the_loader_a_daemon_without_privileges_says_what_to_do() -> Result<()> {
    site(1, |site| {
        site.drop_privileges()?;
        site.run(BRIDGE, &[])?.check_failed(&["CAP_BPF and CAP_NET_ADMIN", "sekisho load"])
    })
}
