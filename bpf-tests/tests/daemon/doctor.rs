//! `sekisho doctor`: what it says of a machine before Sekisho is started there, and that it touches nothing.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bpf_tests::daemon::{Site, Told, copy_for_all, finish, site};
use bpf_tests::note;
use bpf_tests::small::empty_object;
use serde_json::Value;

fn doctor(site: &Site, extra: &[&str]) -> Result<Told> {
    let pins = site.pin_dir().display().to_string();
    site.plain(&[&["doctor", "--pin-dir", &pins], extra].concat())
}

/// The findings of a check, with the port it is about, and the exit code.
fn findings(site: &Site, extra: &[&str]) -> Result<(Option<i32>, Vec<Value>)> {
    let told = doctor(site, &[&["-o", "json"], extra].concat())?;
    let [answer] = &told.lines()?[..] else { anyhow::bail!("not one line: {told:?}") };
    let level = ["ok", "warning", "fail"][usize::try_from(told.code.context("it was killed")?)?];
    ensure!(answer["level"] == level, "{told:?}");
    Ok((told.code, answer["findings"].as_array().cloned().context("findings")?))
}

/// The one finding of that check of that port.
fn of<'a>(findings: &'a [Value], port: Option<&str>, check: &str) -> Result<&'a Value> {
    let mut found = findings.iter().filter(|f| f["check"] == check && f["port"].as_str() == port);
    let one = found.next().with_context(|| format!("no {check} of {port:?}: {findings:?}"))?;
    ensure!(found.next().is_none(), "twice: {one}");
    Ok(one)
}

fn says(finding: &Value, level: &str, words: &[&str]) -> Result<()> {
    let text = format!("{} {}", finding["found"], finding["hint"]);
    let lacks: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
    ensure!(finding["level"] == level && lacks.is_empty(), "{finding} lacks {level} or {lacks:?}");
    Ok(())
}

#[test]
fn a_machine_that_is_fit_is_found_so_and_nothing_is_touched() -> Result<()> {
    site(2, |site| {
        let told = doctor(site, &["--bridge", "br0"])?;
        ensure!(told.code == Some(0) && told.err.is_empty(), "{told:?}");
        ensure!(told.out.starts_with("OK: "), "{}", told.out);
        let (_, all) = findings(site, &[])?;
        says(of(&all, None, "kernel")?, "ok", &["Linux "])?;
        says(of(&all, None, "bridge")?, "ok", &["br0 has 2 ports"])?;
        says(of(&all, Some("p1"), "driver")?, "ok", &["veth", "1500"])?;
        says(of(&all, Some("p2"), "program")?, "ok", &["no other"])?;
        says(of(&all, Some("p2"), "offloads")?, "ok", &["switched off", "rx-vlan-hw-parse"])?;
        site.check_untouched()?;

        // Beside a running daemon.
        let _daemon = site.start(&[])?;
        let (code, all) = findings(site, &[])?;
        assert_eq!(code, Some(0), "{all:?}");
        says(of(&all, Some("p1"), "program")?, "ok", &["Sekisho's own"])?;
        says(of(&all, Some("p1"), "offloads")?, "ok", &["none is on"])
    })
}

#[test]
fn what_works_less_well_is_a_warning() -> Result<()> {
    if !note::require_kernel((6, 3), "says which drivers run XDP programs") {
        return Ok(());
    }
    site(2, |site| {
        // An interface whose driver runs no XDP programs.
        site.lab.ip("link add dark type ifb")?;
        site.lab.ip("link set dark master br0")?;
        // A bridge of one port carries nothing. A tap's driver runs them; long packets are no matter to a veth.
        site.lab.ip("link set p1 mtu 9000")?;
        site.lab.ip("link add br1 type bridge")?;
        site.lab.ip("tuntap add dev t1 mode tap")?;
        site.lab.ip("link set t1 master br1")?;
        let (code, all) = findings(site, &[])?;
        assert_eq!(code, Some(1), "{all:?}");
        says(of(&all, Some("dark"), "driver")?, "warning", &["ifb runs no XDP programs", "generic mode"])?;
        says(of(&all, Some("p1"), "driver")?, "ok", &["9000"])?;
        says(of(&all, Some("t1"), "driver")?, "ok", &["tun"])?;
        let told = doctor(site, &["--bridge", "br1"])?;
        ensure!(told.code == Some(1), "{told:?}");
        ensure!(told.out.starts_with("WARNING: 1 of "), "{}", told.out);
        ensure!(told.out.contains("br1 has 1 port: nothing crosses it"), "{}", told.out);
        ensure!(!told.out.contains("p1"), "of another bridge: {}", told.out);
        Ok(())
    })
}

#[test]
fn what_does_not_work_is_a_failure() -> Result<()> {
    site(2, |site| {
        let object = site.path("pass.o");
        std::fs::write(&object, empty_object()?)?;
        site.lab.ip(&format!("link set dev p2 xdp obj {} sec xdp", object.display()))?;
        let (code, all) = findings(site, &[])?;
        assert_eq!(code, Some(2), "{all:?}");
        says(
            of(&all, Some("p2"), "program")?,
            "fail",
            &["(id ", "empty)", "ip link set dev p2 xdp off", "--replace"],
        )?;
        let told = doctor(site, &["--bridge", "br0"])?;
        ensure!(
            told.out.starts_with("FAIL: 1 of ") && told.out.contains("p2 program: another"),
            "{}",
            told.out
        );
        site.lab.ip("link set dev p2 xdp off")?;

        let (code, all) = findings(site, &["--bridge", "br7"])?;
        assert_eq!(code, Some(2));
        says(of(&all, None, "bridge")?, "fail", &["br7", "br0"])?;
        let elsewhere = site.path("pins").display().to_string();
        let told = site.plain(&["doctor", "--pin-dir", &elsewhere])?;
        ensure!(told.code == Some(2) && told.out.contains("mount -t bpf bpf "), "{told:?}");

        // Somebody without rights gets an answer, too.
        let copy = copy_for_all(&site.path("."))?;
        let mut command = Command::new("setpriv");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
        command.args(nobody).arg(copy).arg("doctor").stdin(Stdio::null());
        let told = finish(command)?;
        ensure!(told.code == Some(2) && told.err.is_empty(), "{told:?}");
        ensure!(told.out.contains("missing: CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"), "{}", told.out);
        site.check_untouched()
    })
}
