//! A full disk: at the start, and while the daemon runs.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bpf_tests::daemon::{Site, mount_small, site};
use bpf_tests::flood::Flood;
use bpf_tests::lab::mac;
use bpf_tests::traffic::{check_ways, until};
use serde_json::Value;

/// Gives the site a state directory on a disk of its own, of so many KiB.
fn small_disk(site: &Site, kib: u32) -> Result<()> {
    fs::create_dir(site.state_dir())?;
    mount_small(&site.state_dir(), kib)
}

/// Fills the disk of the state directory to the last byte.
fn fill(site: &Site) -> Result<()> {
    fill_disk(&site.state_dir())
}

/// Fills the disk that a directory is on, to the last byte.
fn fill_disk(dir: &Path) -> Result<()> {
    let mut file = File::create(dir.join("filling"))?;
    let full = (0..100_000).find_map(|_| file.write_all(&[0; 512]).err());
    match full {
        Some(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
        Some(error) => Err(error).context("filling the disk"),
        None => bail!("the disk is too large to fill"),
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_told_and_leaves_nothing_behind() -> Result<()> {
    site(2, |site| {
        small_disk(site, 256)?;
        // From no room at all to where a database can be begun.
        for free_kib in [0, 4, 8, 32] {
            fill(site)?;
            let filling = File::options().write(true).open(site.state_dir().join("filling"))?;
            filling.set_len(filling.metadata()?.len().saturating_sub(free_kib * 1_024))?;
            let told = site.run("br0", &[])?;
            told.check_failed(&["the disk is full; free some space"])
                .with_context(|| format!("{free_kib} KiB free"))?;
            site.check_nothing_left()?;
        }
        fs::remove_file(site.state_dir().join("filling"))?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        check_ways(site.lab, "with room", false, &[(1, "10.77.0.2")])
    })
}

#[test]
fn a_disk_that_fills_while_the_daemon_runs_holds_no_block_up_and_is_told() -> Result<()> {
    site(3, |site| {
        small_disk(site, 512)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        // So little room is left to the block list: of the record nothing is begun, and nothing lies about.
        site.metric_becomes("sekisho_record_cut_short_total", &[], |cut| cut >= 1.0)?;
        let begun = fs::read_dir(site.state_dir().join("record"))?.count();
        ensure!(begun == 0, "{begun} files in the record");
        site.ask(&["block", "add", "--ip", "10.77.0.77", "--reason", "before"])?;
        fill(site)?;
        // Entries with long reasons soon need a page more than there is.
        let reason = "x".repeat(1_000);
        site.ask(&["block", "add", "--mac", &mac(1), "--reason", &reason])?;
        for host in 100..130 {
            site.ask(&["block", "add", "--ip", &format!("10.77.0.{host}"), "--reason", &reason])?;
        }
        check_ways(site.lab, "a full disk", false, &[(1, "10.77.0.2"), (1, "fd77::3")])?;
        check_ways(site.lab, "a full disk", true, &[(2, "10.77.0.3")])?;
        let errors = site.ask(&["status"])?["store_errors"].as_u64();
        ensure!(errors > Some(0), "{errors:?} errors counted");
        site.metric_becomes("sekisho_store_errors_total", &[], |value| value > 0.0)?;
        ensure!(daemon.log()?.contains("the disk is full; free some space"), "{}", daemon.log()?);
        let human = site.tell(&["status"])?;
        ensure!(human.out.contains("changes of the block list not written to disk"), "{}", human.out);
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(32));

        fs::remove_file(site.state_dir().join("filling"))?;
        // What could not be written is tried again by itself.
        until("the last entry on the disk", Duration::from_secs(8), || {
            let files = ["sekisho.db", "sekisho.db-wal"].map(|name| fs::read(site.state_dir().join(name)));
            let holds = |bytes: &[u8]| bytes.windows(11).any(|window| window == b"10.77.0.129");
            Ok(files.iter().flatten().any(|bytes| holds(bytes)).then_some(()))
        })?;
        daemon.kill()?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(32), "after a restart");
        check_ways(site.lab, "after a restart", false, &[(1, "10.77.0.2")])
    })
}

#[test]
fn a_restart_with_a_full_disk_keeps_those_cut_off_who_were() -> Result<()> {
    site(2, |site| {
        small_disk(site, 256)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        site.ask(&["block", "add", "--mac", &mac(1)])?;
        daemon.kill()?;
        fill(site)?;
        // A daemon that was killed leaves the files it needs.
        let daemon = site.start(&["--mode", "enforce"])?;
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(1));
        check_ways(site.lab, "killed", false, &[(1, "10.77.0.2")])?;
        fs::remove_file(site.state_dir().join("filling"))?;
        // One that was stopped does not, and they find no room.
        daemon.stop()?;
        fill(site)?;
        let told = site.run("br0", &["--mode", "enforce"])?;
        told.check_failed(&["the disk is full; free some space"])?;
        check_ways(site.lab, "refused", false, &[(1, "10.77.0.2")])?;
        fs::remove_file(site.state_dir().join("filling"))?;
        let _daemon = site.start(&["--mode", "enforce"])?;
        assert_eq!(site.ask(&["block", "list"])?.as_array().map(Vec::len), Some(1));
        Ok(())
    })
}

#[test]
fn events_that_find_the_disk_full_wait_for_room_and_the_oldest_are_lost_first() -> Result<()> {
    const WAITING: u16 = 8_192;
    const MORE: u16 = 1_000;
    site(3, |site| {
        // The events of the first run are written to a disk of their own.
        let disk = site.path("disk");
        fs::create_dir(&disk)?;
        mount_small(&disk, 16_384)?;
        symlink(disk.join("events"), site.path("events-0"))?;
        let daemon = site.start(&["--mode", "enforce", "--events", "flow,isolation"])?;
        site.ask(&["block", "add", "--ip", "10.77.0.77", "--reason", "before"])?;
        let before = daemon.event("the entry", |event| event["event_type"] == "isolation")?;
        fill_disk(&disk)?;

        // Conversations that end with their first frame, more than may wait to be told.
        let flood = Flood::new(site.lab, 1)?;
        flood.send(
            (0..WAITING + MORE).map(|n| flood.reset(Ipv4Addr::new(10, 9, (n >> 8) as u8, n as u8), 2)),
        )?;
        // The sweep that ends them comes every few seconds.
        let lost = |lost| lost >= f64::from(MORE / 2);
        site.metric_becomes_within("sekisho_events_lost_total", &[], Duration::from_secs(60), lost)?;
        let log = daemon.log()?;
        ensure!(log.contains("cannot write events to standard output: No space left on device"), "{log}");
        // Meanwhile whoever is to be cut off is, and nobody else.
        site.ask(&["block", "add", "--ip", "10.77.0.1", "--reason", "after"])?;
        check_ways(site.lab, "a full disk", false, &[(1, "10.77.0.2")])?;
        check_ways(site.lab, "a full disk", true, &[(2, "10.77.0.3")])?;
        let human = site.tell(&["status"])?.out;
        ensure!(human.contains("events lost because nobody took them"), "{human}");

        fs::remove_file(disk.join("filling"))?;
        daemon.event("the latest entry", |event| event["isolation"]["reason"] == "after")?;
        let of_flood = |event: &Value| {
            event["event_type"] == "flow"
                && event["src_ip"].as_str().is_some_and(|ip| ip.starts_with("10.9."))
        };
        // Those whose end a later sweep finds are told after the entry.
        until("each conversation to be told or counted as lost", Duration::from_secs(60), || {
            let lost = site.ask(&["status"])?["events_lost"].as_u64().context("a count")?;
            let told = daemon.events()?.iter().filter(|event| of_flood(event)).count() as u64;
            Ok((told + lost >= u64::from(WAITING + MORE)).then_some(()))
        })?;
        let events = daemon.events()?;
        ensure!(events.first() == Some(&before), "what was told before stays: {:#?}", events.first());
        let log = daemon.log()?;
        ensure!(log.contains("events can be written to standard output again"), "{log}");
        Ok(())
    })
}
