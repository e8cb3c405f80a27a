//! The block list by hand: what is cut off, for how long, what outlives the daemon, what is refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, copy_for_all, finish, site};
use bpf_tests::lab::{Ping, mac};
use bpf_tests::traffic::{check_ways, slowness, until};
use serde_json::{Value, json};

/// Ways from a host to an address.
type Ways<'a> = &'a [(u8, &'a str)];

fn list(site: &Site) -> Result<Vec<Value>> {
    site.ask(&["block", "list"])?.as_array().cloned().context("a list")
}

#[test]
fn each_kind_of_address_is_cut_off_and_let_go_while_the_daemon_runs() -> Result<()> {
    site(3, |site| {
        let _daemon = site.start(&["--mode", "enforce"])?;
        let four = [(1, "10.77.0.2"), (2, "10.77.0.1"), (3, "10.77.0.1")];
        let six = [(1, "fd77::2"), (2, "fd77::1"), (3, "fd77::1")];
        let others = [(2, "10.77.0.3"), (3, "fd77::2")];
        let both = [&four[..], &six].concat();
        check_ways(site.lab, "before", true, &[&both[..], &others].concat())?;
        let mac = mac(1);
        let cases: [(&[&str], Ways, Ways); 4] = [
            (&["--ip", "10.77.0.1"], &four, &six),
            (&["--ip", "fd77::1"], &six, &four),
            (&["--ip", "::ffff:10.77.0.1", "--ip", "fd77::1"], &both, &[]),
            (&["--mac", &mac], &both, &[]),
        ];
        for (who, closed, open) in cases {
            let added = site.ask(&[&["block", "add", "--reason", "a test"], who].concat())?;
            let (block, text) = (&added["block"], who.join(" "));
            assert_eq!(
                (&added["extended"], &block["reason"], &block["until"]),
                (&json!(false), &json!("a test"), &Value::Null)
            );
            assert_eq!(block["owner"], "root");
            check_ways(site.lab, &text, false, closed)?;
            check_ways(site.lab, &text, true, &[open, &others].concat())?;
            assert_eq!(list(site)?.len(), 1, "{text}");
            let dropped = &site.ask(&["status"])?["ports"][0]["drops"];
            ensure!(dropped.as_u64() > Some(0), "{text}: {dropped} dropped at p1");
            site.ask(&["block", "remove", "--id", &block["id"].to_string()])?;
            check_ways(site.lab, &format!("without {text}"), true, &both)?;
            assert_eq!(list(site)?, [] as [Value; 0], "{text}");
        }
        Ok(())
    })
}

/// The second of the day of a date and time. Dates come from two clocks read one after the other, and differ by as much.
fn second_of_day(date: &Value) -> Result<i32> {
    let time = date.as_str().and_then(|date| date.get(11..19)).context("a date with a time")?;
    time.split(':').try_fold(0, |sum, part| Ok(sum * 60 + part.parse::<i32>()?))
}

#[test]
fn a_block_ends_on_time_unless_it_is_extended() -> Result<()> {
    site(4, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--ip", "10.77.0.3", "--for", "2s"])?;
        site.ask(&["block", "add", "--mac", &mac(1), "--for", "2s"])?;
        let started = Instant::now();
        let ping = site.lab.start_ping(1, "10.77.0.2", 400, 10)?;
        let extended = site.ask(&["block", "add", "--ip", "10.77.0.3", "--for", "1h"])?;
        assert_eq!(extended["extended"], true);
        let shortened = site.ask(&["block", "add", "--ip", "10.77.0.3", "--for", "1s"])?;
        let [before, after] = [&extended, &shortened].map(|told| second_of_day(&told["block"]["until"]));
        ensure!(
            (after? - before? + 1).rem_euclid(24 * 3600) <= 2,
            "adding again never shortens: {shortened}"
        );

        until("the end of the entry", Duration::from_secs(4), || Ok((list(site)?.len() == 1).then_some(())))?;
        let took = started.elapsed();
        let latest = 3.0 * f64::from(slowness());
        ensure!((1.8..latest).contains(&took.as_secs_f64()), "listed for {took:?}");
        let expired = daemon.event("the expiry", |event| event["isolation"]["action"] == "expired")?;
        assert_eq!(expired["isolation"]["target"]["mac"], mac(1));
        let (sent, answered) = ping.finish()?;
        let closed = started.elapsed().mul_f64(f64::from(sent - answered) / f64::from(sent));
        ensure!((1.5..latest).contains(&closed.as_secs_f64()), "{answered} of {sent} answered: {closed:?}");
        check_ways(site.lab, "the extended one", false, &[(3, "10.77.0.2")])?;
        check_ways(site.lab, "the others", true, &[(1, "10.77.0.4"), (4, "10.77.0.2")])?;
        let entry = &list(site)?[0];
        assert_eq!(entry["targets"], json!(["10.77.0.3"]));
        Ok(())
    })
}

/// Restarts the daemon as long as the pings go on, ended by `TERM` and `KILL` in turn.
fn restart_during(site: &Site, pings: &mut [Ping]) -> Result<u32> {
    let mut daemon = site.start(&["--mode", "enforce"])?;
    let mut restarts = 0;
    while !pings[0].ended()? {
        if restarts % 2 == 0 {
            daemon.stop().map(drop)?;
        } else {
            daemon.kill()?;
        }
        daemon = site.start(&["--mode", "enforce"])?;
        restarts += 1;
    }
    daemon.stop()?;
    Ok(restarts)
}

#[test]
fn no_restart_lets_a_frame_of_a_blocked_host_through_or_loses_one_of_another() -> Result<()> {
    site(4, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1), "--for", "4h", "--reason", "virus warning"])?;
        site.ask(&["block", "add", "--ip", "fd77::3"])?;
        let before = list(site)?;
        daemon.stop()?;
        let pings = [(1, "10.77.0.2"), (3, "fd77::2"), (4, "10.77.0.2"), (4, "fd77::2")];
        let started: Result<Vec<_>> =
            pings.iter().map(|way| site.lab.start_ping(way.0, way.1, 1_000, 4 * slowness())).collect();
        let mut started = started?;
        let restarts = restart_during(site, &mut started)?;
        ensure!(restarts >= 4, "only {restarts} restarts in the time");
        let told: Result<Vec<_>> = started.into_iter().map(Ping::finish).collect();
        assert_eq!(told?, [(1_000, 0), (1_000, 0), (1_000, 1_000), (1_000, 1_000)], "{restarts} restarts");

        let _daemon = site.start(&["--mode", "enforce"])?;
        let after = list(site)?;
        let kept =
            |list: &[Value], key: &str| list.iter().map(|entry| entry[key].clone()).collect::<Vec<_>>();
        for key in ["id", "reason", "owner", "would"] {
            assert_eq!(kept(&before, key), kept(&after, key), "{key}");
        }
        // Addresses the devices were seen to use since were added.
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before["targets"][0], after["targets"][0]);
        }
        let end = |list: &[Value]| list[0]["until"].as_str().map(|until| until[..16].to_owned());
        assert_eq!(end(&before), end(&after));
        Ok(())
    })
}

#[test]
fn what_expires_while_no_daemon_runs_is_over_on_the_wire_and_after_the_restart() -> Result<()> {
    site(3, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1), "--for", "2s"])?;
        site.ask(&["block", "add", "--mac", &mac(3), "--for", "1h"])?;
        daemon.kill()?;
        check_ways(site.lab, "without a daemon", false, &[(3, "10.77.0.2")])?;
        until("the end on the wire", Duration::from_secs(4), || {
            Ok((site.lab.ping(1, "10.77.0.2")? == 5).then_some(()))
        })?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let left = list(site)?;
        ensure!(left.len() == 1 && left[0]["targets"][0] == json!(mac(3)), "{left:?}");
        check_ways(site.lab, "after the restart", true, &[(1, "10.77.0.2")])?;
        check_ways(site.lab, "after the restart", false, &[(3, "10.77.0.2")])
    })
}

#[test]
fn gateways_and_the_protected_cannot_be_blocked_and_mistakes_are_told() -> Result<()> {
    site(2, |site| {
        site.configure(&format!(
            "[network]\ngateways = [\"{}\"]\n[isolation]\nprotected = [\"{}\", \"10.77.0.7\", \"10.78.0.0/16\"]\n",
            mac(1),
            mac(2)
        ))?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        let (gateway, protected) = (mac(1), mac(2));
        let refused: [(&[&str], &str); 9] = [
            (&["add", "--mac", &gateway], "is a gateway"),
            (&["add", "--mac", &protected], "is on the protected list"),
            (&["add", "--ip", "10.77.0.7"], "is on the protected list"),
            (&["add", "--ip", "10.77.0.9", "--ip", "10.78.1.1"], "is on the protected list"),
            (&["add", "--ip", "255.255.255.255"], "belongs to no device"),
            (&["add", "--ip", "ff02::1"], "belongs to no device"),
            (&["add", "--mac", "ff:ff:ff:ff:ff:ff"], "belongs to no device"),
            (&["remove", "--ip", "10.77.0.9"], "sekisho block list"),
            (&["remove", "--id", "77"], "sekisho block list"),
        ];
        for (arguments, words) in refused {
            site.tell(&[&["block"], arguments].concat())?.check_failed(&[words])?;
        }
        assert_eq!(list(site)?, [] as [Value; 0]);
        let misunderstood: [&[&str]; 10] = [
            &["block", "add"],
            &["block", "add", "--ip", "10.77.0"],
            &["block", "add", "--mac", "02:00"],
            &["block", "add", "--ip", "10.77.0.9", "--for", "soon"],
            &["block", "add", "--ip", "10.77.0.9", "--for", "0s"],
            &["block", "remove"],
            &["block", "remove", "--ip", "10.77.0.9", "--id", "1"],
            &["block", "list", "-o", "xml"],
            &["status", "--nonsense"],
            &["bloc"],
        ];
        for arguments in misunderstood {
            let told = site.plain(arguments)?;
            ensure!(
                told.code == Some(2) && told.out.is_empty() && !told.err.is_empty(),
                "{arguments:?}: {told:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn every_command_speaks_json_and_words() -> Result<()> {
    site(2, |site| {
        let daemon = site.start(&["--mode", "enforce"])?;
        check_ways(site.lab, "at the start", true, &[(1, "10.77.0.2")])?;
        let commands: [&[&str]; 7] = [
            &["block", "add", "--ip", "10.77.0.9", "--for", "1h30m"],
            &["block", "add", "--ip", "10.77.0.9"],
            &["block", "list"],
            &["status"],
            &["devices"],
            &["incidents"],
            &["block", "remove", "--ip", "10.77.0.9"],
        ];
        for arguments in commands {
            let value = site.ask(arguments)?;
            ensure!(value.is_array() || value.is_object(), "{arguments:?}: {value}");
        }
        for arguments in commands {
            let told = site.tell(arguments)?;
            ensure!(
                told.code == Some(0) && told.err.is_empty() && told.lines().is_err(),
                "{arguments:?}: {told:?}"
            );
        }
        let config = site.path("sekisho.toml").display().to_string();
        assert_eq!(site.plain(&["check", &config, "-o", "json"])?.lines()?[0]["problems"], json!([]));
        site.tell(&["incidents", "7"])?.check_failed(&["there is no incident 7"])?;

        // Another user's command finds the door closed.
        daemon.stop()?;
        ensure!(!site.socket().exists(), "the socket is left");
        site.tell(&["status"])?.check_failed(&["sekisho run"])?;
        let pins = site.pin_dir().display().to_string();
        let detached = site.plain(&["detach", "--pin-dir", &pins, "-o", "json"])?;
        assert_eq!(detached.lines()?[0]["removed"], json!(["p1", "p2"]), "{detached:?}");
        site.check_nothing_left()
    })
}

#[test]
fn the_socket_is_for_root_and_its_group() -> Result<()> {
    site(1, |site| {
        // A group that every Debian has, and nobody is in.
        site.configure("socket_group = \"irc\"\n")?;
        let _daemon = site.start(&[])?;
        let socket = fs::symlink_metadata(site.socket())?;
        assert_eq!(socket.permissions().mode() & 0o7777, 0o660);
        let group = fs::read_to_string("/etc/group")?;
        let irc = group.lines().find_map(|line| line.strip_prefix("irc:x:")?.split(':').next());
        let gid = socket.gid().to_string();
        assert_eq!(irc, Some(gid.as_str()));

        // The socket's directory is for everybody, as /run/sekisho is; the socket is not.
        let copy = copy_for_all(&site.path("."))?;
        let ask = |groups: &[&str], arguments: &[&str]| {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--inh-caps=-all"])
                .args(groups)
                .arg("--")
                .arg(&copy);
            command.args(arguments).arg("--socket").arg(site.socket());
            finish(command)
        };
        ask(&["--clear-groups"], &["status"])?.check_failed(&["control.sock", "run as root", "group"])?;
        let member = [format!("--groups={gid}")];
        let added = ask(&[&member[0]], &["block", "add", "--ip", "10.77.0.9", "-o", "json"])?;
        ensure!(added.code == Some(0), "{added:?}");
        assert_eq!(list(site)?[0]["owner"], "nobody");
        Ok(())
    })
}
