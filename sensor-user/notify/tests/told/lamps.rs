//! Lamps, which check every byte.

use std::fs;
use std::path::Path;

use sensor_core::event::Change;
use sensor_core::time::SECOND;
use sensor_notify::lamp::Looks;
use sensor_notify::settings::{Lamp, LampProtocol, Means, Rule, Series, Settings};

use crate::events::{alert, isolation, judgement};
use crate::peers::{PnsLamp, WebServer, free_port, snmp_lamp, until};
use crate::{House, local, settings};

fn lamp(protocol: LampProtocol) -> Settings {
    let lamp = Lamp { protocol, looks: Looks::default(), buzzer_for_ns: 2 * SECOND };
    let mut settings = settings(vec![("desk", Means::Lamp(lamp))]);
    settings.rules = vec![Rule { severity: 2, channels: ["desk".to_owned()].into(), ..Rule::default() }];
    settings
}

fn pns(lamp: &PnsLamp, dir: &Path) -> House {
    House::start(self::lamp(LampProtocol::Pns(local(lamp.port), Series::Nh)), dir)
}

#[test]
fn a_lamp_shows_the_gravest_until_somebody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = PnsLamp::start(b"XX");
    let mut house = pns(&lamp, dir.path());
    // At its start it is made dark, for nothing is open.
    until("dark", 5, || (lamp.orders() == [b"XXC\0\0\0"]).then_some(()));
    house.tell(&alert(15, 2));
    lamp.wait([0, 1, 0, 0, 0, 0]);
    house.tell(&isolation(16, Change::Added));
    lamp.wait([2, 0, 0, 0, 0, 1]);
    // The buzzer stops by itself.
    lamp.wait([2, 0, 0, 0, 0, 0]);
    house.wait("desk", "told", 5, |desk| desk.sent == 2);
    house.tell(&judgement(16));
    lamp.wait([0, 1, 0, 0, 0, 0]);
    for (incident, want) in [(16, (0, vec![15])), (99, (0, vec![15])), (15, (1, vec![])), (15, (0, vec![]))] {
        assert_eq!(house.acknowledge(Some(incident)), want, "{incident}");
    }
    until("dark", 5, || (lamp.lights() == [0; 6]).then_some(()));
    let orders = lamp.orders();
    let want: [&[u8]; 5] = [
        b"XXS\0\0\x06\x00\x01\x09\x09\x09\x00",
        b"XXS\0\0\x06\x02\x00\x09\x09\x09\x01",
        b"XXS\0\0\x06\x02\x00\x09\x09\x09\x00",
        b"XXS\0\0\x06\x00\x01\x09\x09\x09\x00",
        b"XXC\0\0\0",
    ];
    assert_eq!(orders[1..], want);
    // Each order is followed by a look at what came of it, the last one a moment after the lamp is dark.
    let heard = || lamp.heard.lock().unwrap().requests.clone();
    until("a look", 5, || heard().len().is_multiple_of(2).then_some(()));
    let heard = heard();
    assert!(heard.chunks(2).all(|pair| pair[1] == b"XXG\0\0\0"), "{heard:x?}");
}

#[test]
fn a_lamp_goes_on_after_a_restart_and_is_dark_when_all_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = PnsLamp::start(b"XX");
    let mut house = pns(&lamp, dir.path());
    house.tell(&alert(15, 1));
    lamp.wait([2, 0, 0, 0, 0, 1]);
    house.notifier.close();
    // It lost its power meanwhile.
    lamp.heard.lock().unwrap().lights = [0; 6];
    let house = pns(&lamp, dir.path());
    // Lit again, and silent: nothing is new.
    lamp.wait([2, 0, 0, 0, 0, 0]);
    assert_eq!(house.channel("desk").waiting, 1);
    assert_eq!(house.acknowledge(None), (1, vec![]));
    lamp.wait([0; 6]);
    fs::write(dir.path().join("desk/open.alarms"), "broken").unwrap();
    house.notifier.close();
    drop(pns(&lamp, dir.path()));
}

#[test]
fn a_lamp_of_another_series_refuses_and_one_that_is_not_there_fails() {
    let dir = tempfile::tempdir().unwrap();
    let lamp = PnsLamp::start(b"AB");
    let house = pns(&lamp, &dir.path().join("one"));
    let desk = house.wait("desk", "failing", 10, |desk| desk.failing);
    assert!(desk.last_error.unwrap().contains("give the series of the lamp"));
    let settings = self::lamp(LampProtocol::Pns(local(free_port()), Series::Nh));
    let mut house = House::start(settings, &dir.path().join("two"));
    house.tell(&alert(15, 1));
    let desk = house.wait("desk", "failing", 20, |desk| desk.failing);
    assert!(desk.last_error.unwrap().contains("cannot reach localhost:"));
    assert_eq!((desk.waiting, desk.sent), (1, 0), "it told nobody");

    let settings = self::lamp(LampProtocol::Pns(local(lamp.port), Series::La));
    let house = House::start(settings, &dir.path().join("three"));
    let said = house.test("desk").unwrap();
    assert_eq!(said, "lit, as it says itself; lit for 3 s");
    assert!(lamp.orders().contains(&b"ABS\0\0\x06\x02\x00\x09\x09\x09\x01".to_vec()));
    // The test is over.
    until("dark", 10, || (lamp.lights() == [0; 6]).then_some(()));
}

#[test]
fn a_lamp_is_told_by_http() {
    let dir = tempfile::tempdir().unwrap();
    let web = WebServer::start(None, vec![("200 OK", "Success.")]);
    let mut house = House::start(lamp(LampProtocol::Http(local(web.port))), &dir.path().join("one"));
    web.wait(1);
    house.tell(&alert(15, 1));
    let requests = web.wait(3);
    house.acknowledge(None);
    let last = web.wait(4).pop().unwrap();
    let line = |request: &str| request.lines().next().unwrap().to_owned();
    assert_eq!(
        requests.iter().map(|r| line(r)).collect::<Vec<_>>(),
        [
            "GET /api/control?clear=1 HTTP/1.1",
            "GET /api/control?alert=209991 HTTP/1.1",
            "GET /api/control?alert=209990 HTTP/1.1",
        ]
    );
    assert_eq!(line(&last), "GET /api/control?clear=1 HTTP/1.1");

    let web = WebServer::start(None, vec![("200 OK", "Error.")]);
    let house = House::start(lamp(LampProtocol::Http(local(web.port))), &dir.path().join("two"));
    let said = house.test("desk").unwrap_err();
    assert!(said.contains("is HTTP command control switched on"), "{said}");
}

#[test]
fn a_lamp_is_told_by_snmp() {
    let dir = tempfile::tempdir().unwrap();
    let (port, sets) = snmp_lamp();
    let community = dir.path().join("community");
    fs::write(&community, "lamps\n").unwrap();
    let mut peer = local(port);
    peer.host = "127.0.0.1".to_owned();
    let mut house =
        House::start(lamp(LampProtocol::Snmp(peer, Some(community))), &dir.path().join("notices"));
    house.tell(&alert(15, 1));
    let table = "1.3.6.1.4.1.20440.4.1.5.1.2.1";
    let lit = |buzzer| {
        [("2.1", 3), ("3.1", 0), ("2.2", 1), ("3.2", 0), ("2.6", buzzer), ("3.6", 0)]
            .map(|(object, number)| format!("{table}.{object}={number}"))
            .to_vec()
    };
    let dark = vec!["1.3.6.1.4.1.20440.4.1.5.1.3.0=1".to_owned()];
    let seen = |want: &Vec<String>| sets.lock().unwrap().last() == Some(want);
    until("sounding", 10, || seen(&lit(2)).then_some(()));
    until("silent", 10, || seen(&lit(1)).then_some(()));
    house.acknowledge(None);
    until("dark", 10, || seen(&dark).then_some(()));
}
