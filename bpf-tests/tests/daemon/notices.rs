//! People are told of what happens on the wire: by mail over TLS to a real server, and by a lamp.

use std::fs;
use std::net::TcpListener;

use anyhow::{Result, ensure};
use bpf_tests::daemon::{Site, site};
use bpf_tests::lab::mac;
use bpf_tests::traffic::{Scan, Service, check_ways, exchange};
use serde_json::{Value, json};

use crate::peers::{Authority, MailServer, PnsLamp, free_port, until};

/// Ways that are closed while host 1 is cut off.
const ITS_WAYS: [(u8, &str); 2] = [(1, "10.77.0.2"), (2, "10.77.0.1")];

/// A channel of mail, and one of a lamp.
fn configuration(site: &Site, authority: &Authority, mail: u16, lamp: u16) -> Result<String> {
    let password = site.path("password");
    fs::write(&password, "pass word\n")?;
    Ok(format!(
        "[names]\n\"10.77.0.1\" = \"MRI 2\"\n[segments.radiology]\nports = [\"p1\"]\n\
         [notify.channels.it]\nkind = \"mail\"\nserver = \"localhost:{mail}\"\nca_file = \"{}\"\n\
         user = \"sekisho\"\npassword_file = \"{}\"\nfrom = \"sekisho@example.jp\"\nto = [\"it@example.jp\"]\n\
         gather = \"1s\"\n[notify.channels.desk]\nkind = \"lamp\"\naddress = \"127.0.0.1:{lamp}\"\nbuzzer_for = \"0s\"\n",
        authority.ca.display(),
        password.display(),
    ))
}

fn is_isolation(event: &Value) -> bool {
    event["event_type"] == "isolation" && event["isolation"]["action"] == "added"
}

/// Host 1 works, which shows that it is no router, and then looks for hosts.
fn scan(site: &Site) -> Result<(Service, Scan)> {
    site.lab.unlearn()?;
    let service = Service::start(site.lab, 2, 80)?;
    exchange(site.lab, 1, "10.77.0.2:80")?;
    Ok((service, Scan::start(site.lab, 1, &["-sn", "10.77.0.0/24"])?))
}

#[test]
fn a_fire_drill_tells_every_channel_and_fails_where_one_is_dead() -> Result<()> {
    site(2, |site| {
        let authority = Authority::new(&site.path(""), "house");
        let server = MailServer::start(0, "starttls", &authority, &site.path("inbox"), "good");
        let lamp = PnsLamp::start(b"XX");
        site.configure(&configuration(site, &authority, server.port, lamp.port)?)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let told = site.ask(&["drill"])?;
        let stage = |name: &str| {
            let stages = told["stages"].as_array().into_iter().flatten();
            stages
                .filter(|stage| stage["stage"] == name)
                .map(|stage| stage["what"].to_string())
                .collect::<String>()
        };
        ensure!(told["good"] == true && stage("told").contains("after the isolation: desk "), "{told}");
        let [desk, it] = [&told["channels"][0], &told["channels"][1]];
        ensure!((&desk["channel"], &it["channel"]) == (&json!("desk"), &json!("it")), "{told}");
        // A mail waits for what may come with it; a lamp does not.
        let seconds = |channel: &Value| channel["seconds"].as_f64().unwrap_or(-1.0);
        ensure!(seconds(desk) >= 0.0 && seconds(it) > seconds(desk), "{told}");
        ensure!(server.wait(1)[0]["text"].to_string().contains("Sekisho fire drill"), "the mail names it");
        daemon.stop()?;

        site.configure(&configuration(site, &authority, free_port(), lamp.port)?)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let told = site.tell(&["drill", "--within", "3s", "-o", "json"])?;
        ensure!(told.code == Some(1) && told.out.contains("the stage `told` failed"), "{told:?}");
        let [line] = &told.lines()?[..] else { anyhow::bail!("{told:?}") };
        ensure!(line["error"].as_str().is_some_and(|error| error.contains("silent: it (desk ")), "{line}");
        ensure!(line["channels"][1] == json!({ "channel": "it", "seconds": null }), "{line}");
        ensure!(line["released"] == true, "{line}");
        ensure!(site.ask(&["block", "list"])?.as_array().is_some_and(Vec::is_empty), "released all the same");
        daemon.stop().map(drop)
    })
}

#[test]
fn who_scans_is_cut_off_and_the_mail_arrives_and_the_lamp_is_lit() -> Result<()> {
    site(3, |site| {
        let authority = Authority::new(&site.path(""), "house");
        let server = MailServer::start(0, "starttls", &authority, &site.path("inbox"), "good");
        let lamp = PnsLamp::start(b"XX");
        site.configure(&configuration(site, &authority, server.port, lamp.port)?)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let tested = site.ask(&["notify", "test", "it"])?;
        assert_eq!(tested, json!({"channel": "it", "answer": "250 2.0.0 queued as 1"}));
        site.tell(&["notify", "test", "them"])?.check_failed(&["there is no channel them", "desk, it"])?;

        let _scan = scan(site)?;
        let isolation = daemon.event("the isolation", is_isolation)?;
        lamp.wait([2, 0, 0, 0, 0, 1]);
        let mails = server.wait(2);
        let text = mails[1]["text"].as_str().unwrap_or_default();
        let entry = &isolation["isolation"]["id"];
        let incident = &isolation["incident_id"];
        for want in [
            "MRI 2 (10.77.0.1)".to_owned(),
            mac(1),
            "segment radiology".to_owned(),
            format!("sekisho block remove --id {entry}"),
            format!("sekisho incidents judge {incident} false"),
            "隔離".to_owned(),
        ] {
            ensure!(text.contains(&want), "{want}\n{text}");
        }
        ensure!(mails[1]["tls"] == true && mails[1]["authenticated"] == true, "{mails:#?}");
        check_ways(site.lab, "isolated", false, &ITS_WAYS)?;
        site.metric_becomes("sekisho_notices_sent_total", &[("channel", "it"), ("kind", "mail")], |sent| {
            sent > 0.0
        })?;

        // The command that the mail names undoes it, and somebody who knows has the lamp dark.
        let told = site.tell(&["notify", "ack", &incident.to_string()])?;
        ensure!(told.code == Some(0), "{told:?}");
        lamp.wait([0; 6]);
        site.ask(&["block", "remove", "--id", &entry.to_string()])?;
        check_ways(site.lab, "released", true, &ITS_WAYS)?;
        let list = site.ask(&["notify", "list"])?;
        assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("desk"), &json!("it")), "{list}");
        ensure!(list[1]["last_answer"].as_str().is_some_and(|said| said.starts_with("250 ")), "{list}");
        drop(daemon.stop()?);
        Ok(())
    })
}

#[test]
fn a_mail_server_that_hangs_delays_no_isolation_and_gets_the_mail_after_the_daemon_was_killed() -> Result<()>
{
    site(3, |site| {
        let authority = Authority::new(&site.path(""), "house");
        // It takes connections, and says nothing. The lamp is not there at all.
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let port = silent.local_addr()?.port();
        site.configure(&configuration(site, &authority, port, free_port())?)?;
        let daemon = site.start(&["--mode", "enforce"])?;
        let _scan = scan(site)?;
        let isolation = daemon.event("the isolation", is_isolation)?;
        let latency = isolation["isolation"]["latency_ms"].as_f64().unwrap_or(f64::MAX);
        ensure!(latency < 2_000.0, "{isolation}");
        check_ways(site.lab, "isolated", false, &ITS_WAYS)?;
        let kept = site.state_dir().join("notices/it");
        until("the notice is on the disk", 10, || fs::read_dir(&kept).ok()?.next().map(drop));
        daemon.kill()?;
        drop(silent);

        let server = MailServer::start(port, "starttls", &authority, &site.path("inbox"), "good");
        let _daemon = site.start(&["--mode", "enforce"])?;
        let mails = server.wait(1);
        ensure!(mails[0]["text"].as_str().is_some_and(|text| text.contains("MRI 2")), "{mails:#?}");
        check_ways(site.lab, "isolated still", false, &ITS_WAYS)?;
        Ok(())
    })
}
