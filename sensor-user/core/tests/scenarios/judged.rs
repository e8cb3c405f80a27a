//! Incidents that a person judged, and what comes of it.

use sensor_core::engine::{Former, Judge};
use sensor_core::event::{Judged, Said, Verdict};
use sensor_core::policy::class::{Class, Criticality};
use sensor_core::policy::review::Review;

use crate::*;

impl Lan {
    fn judge(&mut self, incident: u64, right: bool) -> Result<Reply, CommandError> {
        self.verdict(incident, if right { Verdict::True } else { Verdict::False }, None)
    }

    fn verdict(
        &mut self,
        incident: u64,
        verdict: Verdict,
        former: Option<Former>,
    ) -> Result<Reply, CommandError> {
        let said = Said { verdict, by: "tanaka".to_owned(), comment: "a test".to_owned() };
        let command = Command::Judge(Judge { incident, said, former });
        self.engine.command(self.now, command, &mut self.out)
    }

    fn entered(&self) -> usize {
        self.engine.snapshot(self.now).blocks.len()
    }

    fn reviews(&self) -> Vec<Review> {
        self.engine.snapshot(self.now).reviews
    }

    /// Host n sweeps; the number of the incident.
    fn found(&mut self, n: u8) -> u64 {
        self.arp(n, 1);
        for m in 100..130 {
            self.tcp(n, m, 8080, None);
            self.pass(MILLISECOND);
        }
        self.pass(SECOND);
        self.engine.snapshot(self.now).incidents[0].id
    }
}

/// Settings where hosts 64 to 79 are a class.
fn wards() -> Settings {
    let members = ["10.0.0.64/28".parse().unwrap()].into();
    let class = Class { members, ..Class::of_kind(Criticality::Other) };
    Settings { classes: [("wards".parse().unwrap(), class)].into(), budget_share: 1.0, ..enforcing() }
}

#[test]
fn a_false_incident_lowers_its_detector_for_the_class_until_it_is_reviewed() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    let incident = lan.found(66);
    assert_eq!(lan.entered(), 1);
    let reply = lan.judge(incident, false).unwrap();
    let Reply::Judged { verdict: Verdict::False, reviews, .. } = reply else { panic!("{reply:?}") };
    let told: Vec<_> =
        reviews.iter().map(|review| (review.detector.as_str(), review.scope.to_string())).collect();
    assert!(told.contains(&("scan", "class wards".to_owned())), "{told:?}");
    assert_eq!((lan.reviews(), lan.entered()), (reviews.clone(), 1), "a person releases");
    // Another of the class: it is told, and why nothing is done.
    lan.found(67);
    assert_eq!(lan.entered(), 1);
    let ruling = lan.ruling();
    assert_eq!((ruling.earned, ruling.allowed()), (Level::Isolate, None));
    assert!(matches!(ruling.lowered[0].why, Cause::Review { .. }), "{ruling:?}");
    // One of no class is cut off as ever.
    lan.found(90);
    assert_eq!(lan.entered(), 2);
    for review in &reviews {
        let over = Command::Review(review.id, "sato".to_owned());
        lan.engine.command(lan.now, over, &mut lan.out).unwrap();
    }
    assert_eq!(lan.reviews(), []);
    lan.found(68);
    assert_eq!(lan.entered(), 3, "it counts again");
    let said = |event: &Event| match event {
        Event::Judgement(judgement) => Some((judgement.judged, judgement.by.clone())),
        _ => None,
    };
    let said: Vec<_> = lan.out.events.iter().filter_map(|timed| said(&timed.event)).collect();
    assert_eq!(said[0], (Judged::False, "tanaka".to_owned()));
    assert!(said[1..].iter().all(|(judged, by)| *judged == Judged::Reviewed && by == "sato"), "{said:?}");
}

#[test]
fn a_device_of_no_class_is_judged_alone_and_a_judgement_can_be_taken_back() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    let incident = lan.found(90);
    lan.judge(incident, false).unwrap();
    assert!(lan.reviews().iter().all(|review| review.scope.to_string() == "device 00:1b:21:00:00:5a"));
    let said = lan.engine.snapshot(lan.now).incidents[0].judged.clone().unwrap();
    assert_eq!((said.verdict, &said.by[..], &said.comment[..]), (Verdict::False, "tanaka", "a test"));
    lan.judge(incident, false).unwrap();
    let count = lan.reviews().len();
    lan.judge(incident, false).unwrap();
    assert_eq!(lan.reviews().len(), count, "said twice is said once");
    lan.judge(incident, true).unwrap();
    assert_eq!((lan.reviews(), lan.engine.stats().reviews), (vec![], 0));
    assert_eq!(lan.judge(99, true), Err(CommandError::NoIncident(99)));
    let over = Command::Review(7, "sato".to_owned());
    assert_eq!(lan.engine.command(lan.now, over, &mut lan.out), Err(CommandError::NoReview(7)));
}

#[test]
fn reviews_go_on_after_a_restart_with_their_numbers() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    let incident = lan.found(66);
    lan.judge(incident, false).unwrap();
    let before = lan.reviews();
    let mut next = lan.restarted(|settings| settings);
    assert_eq!(next.reviews(), before);
    next.populate(1..=20);
    let second = next.found(67);
    assert!(second > incident, "an order about incident {incident} must not hit another one");
    assert!(matches!(next.ruling().lowered[0].why, Cause::Review { .. }), "{:?}", next.ruling());
    for review in &before {
        next.engine.command(next.now, Command::Review(review.id, "sato".to_owned()), &mut next.out).unwrap();
    }
    let mut third = next.restarted(|settings| settings);
    assert_eq!(third.reviews(), []);
    third.populate(1..=20);
    let incident = third.found(68);
    third.judge(incident, false).unwrap();
    let last = before.iter().map(|review| review.id).max();
    assert!(third.reviews().iter().all(|review| Some(review.id) > last), "numbers are given once");
}

#[test]
fn a_judgement_can_be_taken_back_after_a_restart() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    let incident = lan.found(66);
    lan.judge(incident, false).unwrap();
    let mut next = lan.restarted(|settings| settings);
    assert_eq!(next.judge(incident, false), Err(CommandError::NoIncident(incident)), "it is not remembered");
    next.judge(incident, true).unwrap();
    assert_eq!((next.reviews(), next.restarted(|settings| settings).reviews()), (vec![], vec![]));
}

#[test]
fn numbers_of_incidents_go_on_however_the_daemon_ended() {
    // No entry of the block list bears the number.
    let mut lan = Lan::new(Settings { isolate_severity: 0, ..wards() });
    lan.populate(1..=20);
    let first = lan.found(66);
    assert_eq!(lan.entered(), 0);
    // Killed: a bound is remembered. Stopped: the number itself.
    let mut killed = lan.restarted(|settings| settings);
    killed.populate(1..=20);
    assert!(killed.found(67) > first);
    lan.engine.finish(lan.now, &mut lan.out);
    let mut stopped = lan.restarted(|settings| settings);
    stopped.populate(1..=20);
    assert_eq!(stopped.found(67), first + 1);
}

/// What a journal says of an incident about host n.
fn former(n: u8) -> Former {
    Former { mac: Some(mac(n)), ips: vec![host(n)], detectors: vec!["scan".to_owned(), "gone".to_owned()] }
}

#[test]
fn an_incident_of_an_earlier_run_is_judged_by_what_a_journal_says_of_it() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=80);
    let reply = lan.verdict(7, Verdict::False, Some(former(66))).unwrap();
    let Reply::Judged { incident: 7, reviews, .. } = reply else { panic!("{reply:?}") };
    let told: Vec<_> =
        reviews.iter().map(|review| (&review.detector[..], review.scope.to_string())).collect();
    assert_eq!(told, [("scan", "class wards".to_owned())], "and none that there is no more");
    lan.found(67);
    assert!(matches!(lan.ruling().lowered[0].why, Cause::Review { .. }), "{:?}", lan.ruling());
    lan.verdict(7, Verdict::Grave, Some(former(66))).unwrap();
    assert_eq!(lan.reviews(), []);
    let said = lan.out.events.iter().filter_map(|timed| match &timed.event {
        Event::Judgement(one) => Some((one.judged, one.device.is_some())),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(Judged::False, true), (Judged::Grave, true)]);
}

#[test]
fn an_incident_of_an_earlier_run_is_not_taken_for_another_devices() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    // Another device has the address by now.
    let stranger = Former { mac: Some(mac(200)), ips: vec![host(3)], ..former(200) };
    let reply = lan.verdict(7, Verdict::False, Some(stranger)).unwrap();
    assert!(matches!(&reply, Reply::Judged { reviews, .. } if reviews.is_empty()), "{reply:?}");
    assert_eq!(lan.reviews(), []);
}

#[test]
fn a_grave_incident_is_a_true_one() {
    let mut lan = Lan::new(wards());
    lan.populate(1..=20);
    let incident = lan.found(90);
    lan.judge(incident, false).unwrap();
    lan.verdict(incident, Verdict::Grave, None).unwrap();
    assert_eq!(lan.reviews(), []);
    assert_eq!(lan.engine.snapshot(lan.now).incidents[0].judged.as_ref().unwrap().verdict, Verdict::Grave);
}
