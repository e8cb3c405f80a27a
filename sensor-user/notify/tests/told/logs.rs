//! Traps to snmptrapd, and syslog to rsyslog.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sensor_core::event::Change;
use sensor_notify::settings::{
    Access, Digest, ENTERPRISE, Format, Means, Peer, Syslog, Transport, Trap, User,
};

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

/// A snmptrapd that knows these names, and what it writes.
fn snmptrapd(dir: &Path, port: u16, names: &[&str]) -> (Process, PathBuf) {
    let (log, conf) = (dir.join("log"), dir.join("conf"));
    let users = [("sekisho", "SHA-256", "priv"), ("older", "SHA", "auth")].map(|(name, digest, level)| {
        format!("createUser {name} {digest} passworda AES passwordb\nauthUser log {name} {level}\n")
    });
    fs::write(&conf, format!("authCommunity log hospital\n{}", users.concat())).unwrap();
    let daemon = Command::new("/usr/sbin/snmptrapd")
        .args(["-f", "-C", "-c"])
        .arg(&conf)
        .args(names)
        .arg("-Lf")
        .arg(&log)
        .args(["-p".as_ref(), dir.join("pid").as_os_str()])
        .arg(format!("udp:127.0.0.1:{port}"))
        // It keeps there what it makes of the users.
        .env("SNMP_PERSISTENT_DIR", dir)
        .stderr(Stdio::null())
        .spawn()
        .expect("snmptrapd (Debian package snmptrapd)");
    let process = Process(daemon);
    until("snmptrapd", 10, || fs::read_to_string(&log).ok().filter(|log| log.contains("NET-SNMP version")));
    (process, log)
}

/// A directory with the MIB as it is delivered, and with so much of the standard ones as it takes to read it: Debian has them
/// not among its free packages.
fn mibs(dir: &Path) -> PathBuf {
    let macros = |names: &[&str]| {
        names.iter().map(|name| format!("{name} MACRO ::= BEGIN TYPE NOTATION ::= empty END\n")).collect()
    };
    let smi: String = macros(&["MODULE-IDENTITY", "OBJECT-TYPE", "NOTIFICATION-TYPE"]);
    let nodes = "internet OBJECT IDENTIFIER ::= { iso 3 6 1 }\nenterprises OBJECT IDENTIFIER ::= { internet 4 1 }\n\
         snmpTrapOID OBJECT IDENTIFIER ::= { internet 6 3 1 1 4 1 }\nInteger32 ::= INTEGER (-2147483648..2147483647)\n";
    let conf = macros(&["MODULE-COMPLIANCE", "OBJECT-GROUP", "NOTIFICATION-GROUP"]);
    let mibs = dir.join("mibs");
    fs::create_dir(&mibs).unwrap();
    for (name, text) in
        [("SNMPv2-SMI", smi + nodes), ("SNMPv2-TC", macros(&["TEXTUAL-CONVENTION"])), ("SNMPv2-CONF", conf)]
    {
        fs::write(mibs.join(name), format!("{name} DEFINITIONS ::= BEGIN\n{text}END\n")).unwrap();
    }
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/SEKISHO-MIB.txt"), mibs.join("SEKISHO-MIB"))
        .unwrap();
    mibs
}

#[test]
fn the_mib_is_well_formed_and_has_a_name_for_all_that_is_in_a_trap() {
    let dir = tempfile::tempdir().unwrap();
    let mibs = mibs(dir.path());
    let lint = Command::new("smilint")
        .args(["-l", "6"])
        .arg(mibs.join("SEKISHO-MIB"))
        .env("SMIPATH", &mibs)
        .output();
    let lint = lint.expect("smilint (Debian package smitools)");
    let said = String::from_utf8_lossy(&[lint.stdout, lint.stderr].concat()).into_owned();
    assert_eq!(said, "", "of the MIB");
    let port = free_udp();
    let (_daemon, log) = snmptrapd(dir.path(), port, &["-M", mibs.to_str().unwrap(), "-m", "SEKISHO-MIB"]);
    let community = dir.path().join("community");
    fs::write(&community, "hospital\n").unwrap();
    let trap = Trap { peer: v4(port), access: Access::Community(Some(community)), enterprise: ENTERPRISE };
    let mut house = House::start(settings(vec![("nms", Means::Trap(trap))]), &dir.path().join("notices"));
    house.tell(&alert(15, 1));
    let read = until("a trap", 10, || fs::read_to_string(&log).ok().filter(|log| log.contains("Incident")));
    for want in [
        "= OID: SEKISHO-MIB::sekishoNotice",
        "SEKISHO-MIB::sekishoSeverity.0 = INTEGER: high(1)",
        "SEKISHO-MIB::sekishoKind.0 = STRING: alert",
        "SEKISHO-MIB::sekishoHeadline.0 = STRING: MRI 15 (10.77.0.15): ARP scan: asks for many addresses nobody has",
        "SEKISHO-MIB::sekishoDeviceName.0 = STRING: MRI 15",
        "SEKISHO-MIB::sekishoDeviceMac.0 = STRING: 04:92:26:00:00:0f",
        "SEKISHO-MIB::sekishoDeviceAddress.0 = STRING: 10.77.0.15",
        "SEKISHO-MIB::sekishoPort.0 = STRING: eth1",
        "SEKISHO-MIB::sekishoVlan.0 = INTEGER: 20",
        "SEKISHO-MIB::sekishoSegment.0 = STRING: radiology",
        "SEKISHO-MIB::sekishoIncident.0 = INTEGER: 15",
    ] {
        assert!(read.contains(want), "{want}\n{read}");
    }
}

#[test]
fn snmptrapd_reads_the_traps() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_udp();
    let (_daemon, log) = snmptrapd(dir.path(), port, &["-On", "-m", ""]);
    let community = dir.path().join("community");
    fs::write(&community, "hospital\n").unwrap();
    let trap = |file| {
        Means::Trap(Trap { peer: v4(port), access: Access::Community(file), enterprise: 4_294_967_295 })
    };
    let channels = vec![("nms", trap(Some(community))), ("wrong", trap(None))];
    let mut house = House::start(settings(channels), &dir.path().join("notices"));
    house.tell(&alert(15, 1));
    let read = until("a trap", 10, || fs::read_to_string(&log).ok().filter(|log| log.contains(".1.10.0 = ")));
    let ours = ".1.3.6.1.4.1.4294967295.1";
    for want in [
        format!(".1.3.6.1.6.3.1.1.4.1.0 = OID: {ours}.0.1"),
        format!("{ours}.1.1.0 = INTEGER: 1"),
        format!("{ours}.1.2.0 = STRING: \"alert\""),
        format!(
            "{ours}.1.3.0 = STRING: \"MRI 15 (10.77.0.15): ARP scan: asks for many addresses nobody has\""
        ),
        format!("{ours}.1.4.0 = STRING: \"MRI 15\""),
        format!("{ours}.1.5.0 = STRING: \"04:92:26:00:00:0f\""),
        format!("{ours}.1.6.0 = STRING: \"10.77.0.15\""),
        format!("{ours}.1.7.0 = STRING: \"eth1\""),
        format!("{ours}.1.8.0 = INTEGER: 20"),
        format!("{ours}.1.9.0 = STRING: \"radiology\""),
        format!("{ours}.1.10.0 = INTEGER: 15"),
    ] {
        assert!(read.contains(&want), "{want}\n{read}");
    }
    // The one with another community was not let in.
    house.wait("wrong", "sent", 5, |wrong| wrong.sent == 1);
    assert_eq!(read.matches("STRING: \"alert\"").count(), 1, "{read}");
}

#[test]
fn snmptrapd_confirms_what_a_user_of_v3_tells() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_udp();
    let (_daemon, log) = snmptrapd(dir.path(), port, &["-On", "-m", ""]);
    let file = |name: &str, password: &str| {
        let path = dir.path().join(name);
        fs::write(&path, password).unwrap();
        path
    };
    let password_file = file("password", "passworda\n");
    let user = |name: &str, digest, privacy_file| {
        let user = User { name: name.to_owned(), digest, password_file: password_file.clone(), privacy_file };
        Means::Trap(Trap { peer: v4(port), access: Access::User(user), enterprise: ENTERPRISE })
    };
    let good = file("privacy", "passwordb\n");
    let channels = vec![
        ("sealed", user("sekisho", Digest::Sha256, Some(good.clone()))),
        ("signed", user("older", Digest::Sha1, None)),
        ("unknown", user("nobody", Digest::Sha256, Some(good))),
        ("short", user("sekisho", Digest::Sha256, Some(file("short", "short")))),
    ];
    let mut house = House::start(settings(channels), &dir.path().join("notices"));
    house.tell(&alert(15, 1));
    house.wait("sealed", "confirmed", 10, |sealed| sealed.sent == 1);
    house.wait("signed", "confirmed", 10, |signed| signed.sent == 1);
    let told = fs::read_to_string(&log).unwrap();
    assert_eq!(told.matches(".1.3.6.1.4.1.32473.1.1.4.0 = STRING: \"MRI 15\"").count(), 2, "{told}");
    for (name, why) in [("unknown", "wrong community, user or password"), ("short", "password")] {
        let said = house.test(name).unwrap_err();
        assert!(said.contains(why), "{name}: {said}");
    }
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
        let syslog = Syslog {
            peer,
            transport,
            format: Format::Rfc5424,
            local: 3,
            ca_file: authority.ca.clone(),
            enterprise: ENTERPRISE,
        };
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
