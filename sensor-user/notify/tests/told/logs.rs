//! Traps to snmptrapd, and syslog to rsyslog.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use sensor_core::event::Change;
use sensor_notify::settings::{Format, Means, Peer, Syslog, Transport, Trap};

use crate::events::{alert, isolation, seen};
use crate::peers::{Authority, Process, free_port, until};
use crate::{House, local, settings};

/// A port of UDP nobody has.
fn free_udp() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn v4(port: u16) -> Peer {
    Peer { host: "127.0.0.1".to_owned(), port }
}

#[test]
fn snmptrapd_reads_the_traps() {
    let dir = tempfile::tempdir().unwrap();
    let (port, log, conf) = (free_udp(), dir.path().join("log"), dir.path().join("conf"));
    fs::write(&conf, "authCommunity log hospital\n").unwrap();
    let daemon = Command::new("/usr/sbin/snmptrapd")
        .args(["-f", "-C", "-On", "-m", "", "-c"])
        .arg(&conf)
        .arg("-Lf")
        .arg(&log)
        .args(["-p".as_ref(), dir.path().join("pid").as_os_str()])
        .arg(format!("udp:127.0.0.1:{port}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("snmptrapd (Debian package snmptrapd)");
    let _daemon = Process(daemon);
    until("snmptrapd", 10, || fs::read_to_string(&log).ok().filter(|log| log.contains("NET-SNMP version")));
    let community = dir.path().join("community");
    fs::write(&community, "hospital\n").unwrap();
    let trap = |file| Means::Trap(Trap { peer: v4(port), community_file: file });
    let channels = vec![("nms", trap(Some(community))), ("wrong", trap(None))];
    let mut house = House::start(settings(channels), &dir.path().join("notices"));
    house.tell(&alert(15, 1));
    let read = until("a trap", 10, || fs::read_to_string(&log).ok().filter(|log| log.contains(".1.10 = ")));
    let ours = ".1.3.6.1.4.1.32473.1";
    for want in [
        format!(".1.3.6.1.6.3.1.1.4.1.0 = OID: {ours}.0.1"),
        format!("{ours}.1.1 = INTEGER: 1"),
        format!("{ours}.1.2 = STRING: \"alert\""),
        format!("{ours}.1.3 = STRING: \"MRI 15 (10.77.0.15): ARP scan: asks for many addresses nobody has\""),
        format!("{ours}.1.4 = STRING: \"MRI 15\""),
        format!("{ours}.1.5 = STRING: \"04:92:26:00:00:0f\""),
        format!("{ours}.1.6 = STRING: \"10.77.0.15\""),
        format!("{ours}.1.7 = STRING: \"eth1\""),
        format!("{ours}.1.8 = INTEGER: 20"),
        format!("{ours}.1.9 = STRING: \"radiology\""),
        format!("{ours}.1.10 = INTEGER: 15"),
    ] {
        assert!(read.contains(&want), "{want}\n{read}");
    }
    // The one with another community was not let in.
    house.wait("wrong", "sent", 5, |wrong| wrong.sent == 1);
    assert_eq!(read.matches("STRING: \"alert\"").count(), 1, "{read}");
}

/// An rsyslog with a configuration of its own, that writes what it understood of each message.
fn rsyslog(dir: &Path, input: &str) -> Process {
    let (conf, log) = (dir.join("rsyslog.conf"), dir.join("log"));
    let text = format!(
        "global(workDirectory=\"{0}\")\n{input}\n\
         template(name=\"parts\" type=\"string\" \
         string=\"%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{1}\" template=\"parts\" fileCreateMode=\"0644\")\n",
        dir.display(),
        log.display(),
    );
    fs::write(&conf, text).unwrap();
    let daemon = Command::new("/usr/sbin/rsyslogd")
        .args(["-n", "-f"])
        .arg(&conf)
        .arg("-i")
        .arg(dir.join("pid"))
        .stderr(Stdio::null())
        .spawn()
        .expect("rsyslogd (Debian package rsyslog)");
    let process = Process(daemon);
    until("rsyslog", 10, || dir.join("pid").exists().then_some(()));
    process
}

fn log(dir: &Path, lines: usize) -> Vec<String> {
    until("syslog", 15, || {
        let text = fs::read_to_string(dir.join("log")).ok()?;
        let read: Vec<_> = text.lines().map(str::to_owned).collect();
        (read.len() >= lines).then_some(read)
    })
}

#[test]
fn rsyslog_understands_every_part_over_udp_tcp_and_tls() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path(), "house");
        let port = if transport == Transport::Udp { free_udp() } else { free_port() };
        let input = match transport {
            Transport::Udp => {
                format!("module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")")
            }
            Transport::Tcp => {
                format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")")
            }
            Transport::Tls => format!(
                "global(defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" \
                 defaultNetstreamDriverKeyFile=\"{}\")\n\
                 module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
                 streamDriver.authMode=\"anon\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")",
                authority.ca.display(),
                authority.cert.display(),
                authority.key.display(),
            ),
        };
        let server = rsyslog(dir.path(), &input);
        let peer = if transport == Transport::Udp { v4(port) } else { local(port) };
        let syslog =
            Syslog { peer, transport, format: Format::Rfc5424, local: 3, ca_file: authority.ca.clone() };
        let cef = Syslog { format: Format::Cef, ..syslog.clone() };
        let channels = vec![("text", Means::Syslog(syslog))];
        let mut house = House::start(settings(channels), &dir.path().join("notices"));
        house.tell(&alert(15, 1));
        let line = log(dir.path(), 1).remove(0);
        let parts: Vec<_> = line.splitn(7, '|').collect();
        // local3.crit
        assert_eq!(
            (parts[0], parts[2], parts[3], parts[4]),
            ("154", "sekisho-box", "sekisho", "alert"),
            "{line}"
        );
        assert!(parts[1].ends_with('Z') || parts[1].contains("+00:00"), "{line}");
        for want in
            ["[sekisho@32473 id=", " mac=\"04:92:26:00:00:0f\"", " segment=\"radiology\"", " incident=\"15\""]
        {
            assert!(parts[5].contains(want), "{want}: {line}");
        }
        assert!(
            parts[6].ends_with("MRI 15 (10.77.0.15): ARP scan: asks for many addresses nobody has"),
            "{line}"
        );

        if transport != Transport::Udp {
            // The receiver is started anew: nothing is written into the connection that is gone.
            drop(server);
            fs::remove_file(dir.path().join("pid")).unwrap_or_default();
            let _server = rsyslog(dir.path(), &input);
            house.tell(&isolation(15, Change::Added));
            let lines = log(dir.path(), 2);
            assert!(lines[1].contains(" until=\"") && lines[1].contains("is cut off"), "{lines:#?}");
            continue;
        }
        let mut house = House::start(settings(vec![("cef", Means::Syslog(cef))]), &dir.path().join("other"));
        house.tell(&seen(15));
        let lines = log(dir.path(), 2);
        assert!(
            lines[1].contains("|-| CEF:0|Sekisho|Sekisho|") || lines[1].contains("|-|CEF:0|Sekisho|Sekisho|"),
            "{lines:#?}"
        );
        assert!(lines[1].contains("|device|new device: MRI 15 (10.77.0.15)|3|rt="), "{lines:#?}");
    }
}
