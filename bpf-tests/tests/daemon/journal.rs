//! The journal of the real daemon: what happened is there after it was killed, verifies, is packed; and the file of events.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Daemon, Site, Told, mount_small, signal, site};
use bpf_tests::lab::{mac, run};
use bpf_tests::traffic::{Scan, Service, check_ways, exchange, until};
use sensor_core::addr::Mac;
use sensor_core::inventory::DeviceKey;
use sensor_core::model::features::Subject;
use sensor_core::model::random::Random;
use sensor_core::model::reservoir::Rows;
use sensor_core::model::train::{Training, train};
use sensor_core::time::Time;
use sensor_user::models::{Shelf, training};
use serde_json::{Value, json};

/// What the journal holds comes within this time: it is written a few times a second.
const WRITTEN: Duration = Duration::from_secs(5);

/// Host 1 works, which shows that it is no router, and then looks for hosts; the isolation that comes of it.
fn isolated(site: &Site, daemon: &Daemon) -> Result<Value> {
    exchange(site.lab, 1, "10.77.0.2:80")?;
    let _scan = Scan::start(site.lab, 1, &["-sn", "10.77.0.0/24"])?;
    daemon.event("the isolation", |event| {
        event["event_type"] == "isolation"
            && event["isolation"]["action"] == "added"
            && event["incident_id"].is_u64()
    })
}

/// A command that reads the journal; no daemon need run.
fn read(site: &Site, arguments: &[&str]) -> Result<Told> {
    let state = site.state_dir().display().to_string();
    site.plain(&[arguments, &["--state-dir", &state]].concat())
}

/// Events of the journal.
fn events(site: &Site, arguments: &[&str]) -> Result<Vec<Value>> {
    let told = read(site, &[&["events", "--newest", "0", "-o", "json"], arguments].concat())?;
    ensure!(told.code == Some(0), "{told:?}");
    told.lines()
}

/// Waits until an event is in the journal. A daemon that begins may not have one for a moment.
fn kept(site: &Site, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    until(what, WRITTEN, || {
        let told = read(site, &["events", "--newest", "0", "-o", "json"])?;
        if told.err.contains("there is no journal") {
            return Ok(None);
        }
        ensure!(told.code == Some(0), "{told:?}");
        Ok(told.lines()?.into_iter().find(|event| wanted(event)))
    })
}

fn is_order(event: &Value, request: &str) -> bool {
    event["event_type"] == "order" && event["order"]["request"] == request
}

fn check_whole(site: &Site) -> Result<()> {
    let told = read(site, &["audit", "verify"])?;
    ensure!(told.code == Some(0) && told.out.starts_with("The record of decisions is whole"), "{told:?}");
    Ok(())
}

#[test]
fn a_scan_is_isolated_judged_released_and_all_of_it_stands_after_the_daemon_was_killed() -> Result<()> {
    site(3, |site| {
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let isolation = isolated(site, &daemon)?;
        let id = isolation["incident_id"].as_u64().context("a number")?;
        let number = id.to_string();
        site.ask(&["incidents", "judge", &number, "true", "--comment", "found malware"])?;
        site.ask(&["block", "remove", "10.77.0.1"])?;
        ensure!(site.tell(&["block", "remove", "10.77.0.99"])?.code == Some(1), "nobody is held there");
        check_ways(site.lab, "released", true, &[(1, "10.77.0.2")])?;
        kept(site, "the last order", |event| {
            is_order(event, "block_remove") && event["order"]["outcome"] == "refused"
        })?;
        daemon.kill()?;

        // Everything is there without a daemon.
        check_whole(site)?;
        let why = read(site, &["explain", &number])?;
        ensure!(why.out.contains("10.77.0.1") && why.out.contains("isolate"), "{why:?}");
        let told = events(site, &["--incident", &number])?;
        for kind in ["alert", "isolation", "judgement", "order"] {
            ensure!(told.iter().any(|event| event["event_type"] == kind), "{kind} is missing: {told:#?}");
        }
        ensure!(told.contains(&isolation), "the event as it was told: {isolation}\n{told:#?}");
        let released = events(site, &["--kind", "isolation", "--device", "10.77.0.1"])?;
        let action = |event: &Value| event["isolation"]["action"].clone();
        assert_eq!(released.iter().map(action).collect::<Vec<_>>(), ["added", "released"]);
        let order = kept(site, "the order", |event| is_order(event, "block_remove"))?;
        assert_eq!(
            (&order["order"]["by"], &order["order"]["outcome"]),
            (&json!("root"), &json!("done")),
            "{order}"
        );

        // The next daemon tells that the one before was killed, and knows the incident by its number.
        let daemon = site.start(&["--mode", "enforce"])?;
        let killed = kept(site, "that it was killed", |event| event["journal"]["action"] == "killed")?;
        ensure!(killed["journal"]["alive"].as_str() < killed["timestamp"].as_str(), "{killed}");
        check_whole(site)?;
        let state = site.state_dir().display().to_string();
        let old = site.ask(&["incidents", &number, "--state-dir", &state])?;
        assert_eq!((&old["action"], &old["device"]["mac"]), (&json!("isolated"), &json!(mac(1))), "{old}");
        assert_eq!(
            (&old["judged"]["right"], &old["judged"]["comment"]),
            (&json!(true), &json!("found malware"))
        );
        ensure!(
            old["findings"][0]["evidence"].as_object().is_some_and(|numbers| !numbers.is_empty()),
            "{old}"
        );
        assert_eq!(site.ask(&["incidents"])?, json!([]), "the daemon has no incidents yet");
        let all = site.ask(&["incidents", "--all", "--state-dir", &state])?;
        assert_eq!(all[0]["id"], id, "{all}");

        // It is judged once more, though the daemon never saw it: its detectors go on review for its device.
        exchange(site.lab, 1, "10.77.0.2:80")?;
        let judged = site.ask(&["incidents", "judge", &number, "false"])?;
        assert_eq!(judged["reviews"][0]["incident_id"], id, "{judged}");
        let judged = site.ask(&["incidents", "judge", &number, "grave", "--comment", "after all"])?;
        assert_eq!(
            (&judged["grave"], site.ask(&["incidents", "reviews"])?),
            (&json!(true), json!([])),
            "{judged}"
        );
        kept(site, "the judgement", |event| event["judgement"]["verdict"] == "grave")?;
        check_report(site, &number)?;
        daemon.stop()?;
        check_pack(site, &number)?;
        check_tampering(site)
    })
}

/// The report of this month has the incident, as it was judged, and the devices; as a page, as lines and on paper.
fn check_report(site: &Site, number: &str) -> Result<()> {
    let month = run("date", &["+%Y-%m"])?;
    let (socket, state) = (site.socket().display().to_string(), site.state_dir().display().to_string());
    let report = |form: &[&str]| {
        let mut all =
            vec!["report", "--month", month.trim(), "--socket", &socket, "--state-dir", &state, "-o"];
        all.extend(form);
        site.plain(&all)
    };
    let page = report(&["html", "--lang", "en"])?;
    ensure!(page.code == Some(0), "{page:?}");
    for word in
        ["true and grave", "10.77.0.1", "cut off", "New devices", &format!("<td class=\"n\">{number}</td>")]
    {
        ensure!(page.out.contains(word), "the page lacks {word}:\n{}", page.out);
    }
    let lines = report(&["csv"])?.out;
    ensure!(
        lines.lines().any(|line| line.starts_with(&format!("{number},")) && line.ends_with(",grave")),
        "{lines}"
    );
    let figures = report(&["figures"])?.out;
    for line in ["incidents,,1", "incidents,grave,1", "isolated,,1", "blind_secs,,0.000"] {
        ensure!(figures.lines().any(|found| found == line), "{line} is missing:\n{figures}");
    }
    let pdf = site.path("report.pdf").display().to_string();
    let told = report(&["pdf", "-f", &pdf])?;
    ensure!(told.code == Some(0), "{told:?}");
    // Columns are narrow.
    let text = run("pdftotext", &[&pdf, "-"])?.replace('\n', "");
    for word in ["重大", "10.77.0.1", "新しい機器"] {
        ensure!(text.contains(word), "the PDF lacks {word}:\n{text}");
    }
    let told = site.plain(&["report", "--month", "2026-13"])?;
    ensure!(told.code == Some(2) && told.err.contains("2026-13 is no month"), "{told:?}");
    Ok(())
}

/// A pack of the incident verifies; with one byte changed it does not.
fn check_pack(site: &Site, number: &str) -> Result<()> {
    let file = site.path("pack.zip").display().to_string();
    let told = read(site, &["incidents", "pack", number, "-f", &file])?;
    ensure!(told.code == Some(0), "{told:?}");
    let key = read(site, &["audit", "key"])?.out;
    let verify = || site.plain(&["audit", "verify-pack", &file, "--key", key.trim(), "-o", "json"]);
    let good = verify()?;
    let lines = good.lines()?;
    ensure!(good.code == Some(0) && lines[0]["whole"] == true, "{good:?}");
    ensure!(lines[0]["records"].as_u64() > Some(5), "{good:?}");
    let mut bytes = fs::read(&file)?;
    ensure!(bytes.windows(9).any(|name| name == b"flows.csv"), "its conversations are in it");
    for at in [10, bytes.len() / 3, bytes.len() / 2, bytes.len() - 300, bytes.len() - 1] {
        bytes[at] ^= 4;
        fs::write(&file, &bytes)?;
        let bad = verify()?;
        ensure!(bad.code == Some(2) && bad.lines()?[0]["whole"] == false, "byte {at}: {bad:?}");
        bytes[at] ^= 4;
    }
    Ok(())
}

/// What somebody changes in the database is named.
fn check_tampering(site: &Site) -> Result<()> {
    let path = site.state_dir().join("journal.db");
    let mut bytes = fs::read(&path)?;
    let comment = b"found malware";
    let at = bytes.windows(comment.len()).position(|window| window == comment).context("the comment")?;
    bytes[at..at + comment.len()].copy_from_slice(b"found nothing");
    fs::write(&path, &bytes)?;
    let told = read(site, &["audit", "verify"])?;
    ensure!(told.code == Some(2) && told.out.contains("DOES NOT FIT: record"), "{told:?}");
    Ok(())
}

#[test]
fn a_broken_journal_is_set_aside_and_holds_nothing_up() -> Result<()> {
    site(3, |site| {
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        kept(site, "the beginning", |event| event["daemon"]["action"] == "start")?;
        daemon.stop()?;
        let path = site.state_dir().join("journal.db");
        fs::write(&path, "not a database at all, and long enough to be read as one".repeat(100))?;
        let daemon = site.start(&["--mode", "enforce"])?;
        kept(site, "that it was set aside", |event| event["journal"]["action"] == "set_aside")?;
        isolated(site, &daemon)?;
        check_ways(site.lab, "isolated", false, &[(1, "10.77.0.2")])?;
        kept(site, "the isolation", |event| event["isolation"]["action"] == "added")?;
        ensure!(daemon.log()?.contains("is damaged"), "{}", daemon.log()?);
        let told = read(site, &["audit", "verify"])?;
        ensure!(told.code == Some(1) && told.out.contains("set aside"), "somebody should look: {told:?}");
        let aside =
            fs::read_dir(site.state_dir())?.filter_map(|file| file.ok()?.file_name().into_string().ok());
        assert_eq!(aside.filter(|name| name.starts_with("journal.db.broken-")).count(), 1);
        Ok(())
    })
}

#[test]
fn a_full_disk_holds_nothing_up_and_what_happened_meanwhile_is_kept_when_there_is_room() -> Result<()> {
    site(3, |site| {
        site.lab.unlearn()?;
        let _service = Service::start(site.lab, 2, 80)?;
        fs::create_dir(site.state_dir())?;
        mount_small(&site.state_dir(), 32 * 1_024)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        kept(site, "the beginning", |event| event["daemon"]["action"] == "start")?;
        // The last of the disk is left to the block list.
        fs::write(site.state_dir().join("filling"), vec![0; 18 << 20])?;
        isolated(site, &daemon)?;
        check_ways(site.lab, "isolated", false, &[(1, "10.77.0.2")])?;
        site.metric_becomes("sekisho_journal_errors_total", &[], |errors| errors >= 1.0)?;
        ensure!(daemon.log()?.contains("the disk is full"), "{}", daemon.log()?);
        ensure!(
            !events(site, &[])?.iter().any(|event| event["event_type"] == "isolation"),
            "nothing is written"
        );
        assert_eq!(site.ask(&["status"])?["journal_lost"], 0);
        fs::remove_file(site.state_dir().join("filling"))?;
        until("the isolation in the journal", Duration::from_secs(12), || {
            let events = events(site, &["--kind", "isolation"])?;
            Ok((!events.is_empty()).then_some(()))
        })?;
        daemon.stop()?;
        check_whole(site)
    })
}

#[test]
fn the_file_of_events_is_opened_anew_by_order() -> Result<()> {
    site(2, |site| {
        let file = site.path("log").join("eve.json");
        site.configure(&format!(
            "[eve]\nfile = \"{}\"\nkinds = [\"isolation\", \"order\"]\n",
            file.display()
        ))?;
        let daemon = site.start(&["--mode", "enforce", "--events", "stats"])?;
        let lines = |path: &std::path::Path| -> Result<Vec<Value>> {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).context("a line")).collect()
        };
        let holds = |path: &std::path::Path, ip: &str| {
            until(ip, WRITTEN, || {
                let found = lines(path)?.into_iter().find(|line| line["isolation"]["target"]["ip"] == ip);
                Ok(found.map(drop))
            })
        };
        site.ask(&["block", "add", "--ip", "10.77.0.50"])?;
        holds(&file, "10.77.0.50")?;
        let old = file.with_file_name("eve.json-old");
        fs::rename(&file, &old)?;
        signal("HUP", daemon.pid())?;
        // The signal may come after the next event: then that is in the old file, and a later one in the new.
        until("the new file", WRITTEN, || {
            site.ask(&["block", "add", "--ip", "10.77.0.51"])?;
            Ok(file.exists().then_some(()))
        })?;
        site.ask(&["block", "add", "--ip", "10.77.0.52"])?;
        holds(&file, "10.77.0.52")?;
        ensure!(lines(&old)?.iter().all(|line| line["event_type"] != "device"), "only the kinds wanted");
        daemon.stop()?;
        Ok(())
    })
}

/// Puts a model of windows, learned from noise, where the daemon finds it.
fn learned(dir: &Path, seed: u64) -> Result<()> {
    let width = Subject::Window.labels().len();
    let (mut random, mut rows) = (Random::new(seed), Rows::new(width));
    for at in 0..480 {
        let row: Vec<f32> = (0..width).map(|_| random.normal().abs() as f32).collect();
        rows.push(DeviceKey::Local(Mac([2, 0, 0, 0, 0, (at % 8) as u8])), Time::at(at), &row);
    }
    let little = Training { rounds: 1, epochs: 2, epoch_rows: 256, least_rows: 400, ..training() };
    let trained = train(&rows, Subject::Window, "all", &little, (seed, seed))?;
    Shelf::open(dir)?.put(trained.model)?;
    Ok(())
}

#[test]
fn a_model_that_is_put_in_force_is_in_the_record() -> Result<()> {
    site(1, |site| {
        let models = site.state_dir().join("models");
        for seed in [1, 2] {
            learned(&models, seed)?;
        }
        let daemon = site.start(&[])?;
        let list = site.ask(&["model", "list"])?;
        let all = list["models"].as_array().context("models")?;
        let hash = |in_force: bool| {
            let found = all.iter().find(|model| model["in_force"] == in_force);
            found.and_then(|model| model["hash"].as_str()).context("a hash")
        };
        kept(site, "what it began with", |event| {
            event["daemon"]["models"][0]["hash"].as_str() == hash(true).ok()
        })?;
        site.ask(&["model", "promote", hash(false)?])?;
        let told = kept(site, "the model", |event| event["daemon"]["action"] == "model")?;
        ensure!(told["daemon"]["model"]["hash"].as_str() == hash(false).ok(), "{told}");
        check_whole(site)?;
        daemon.stop().map(drop)
    })
}
