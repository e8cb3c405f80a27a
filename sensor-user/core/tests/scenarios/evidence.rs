//! What the findings about a device add up to.

use sensor_core::evidence::{Family, Sum};

use crate::*;

impl Lan {
    /// The evidence of the newest incident.
    fn evidence(&self) -> Sum {
        let incidents = self.engine.snapshot(self.now).incidents;
        incidents.first().map(|incident| incident.evidence.clone()).unwrap_or_default()
    }

    /// Host 66 guesses passwords of host 3.
    fn guess(&mut self) {
        for n in 0..14 {
            self.session((66, 3), host(3), 22, (2_400 + n % 5 * 40, 2_500 + n % 3 * 60), SECOND);
        }
        self.pass(SECOND);
    }
}

#[test]
fn a_scan_weighs_what_its_test_says_and_other_families_add_to_it() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.guess();
    assert_eq!(lan.evidence().shares, [(Family::Brute, 4.7)]);
    for m in 100..105 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(SECOND);
    let shares = lan.evidence().shares;
    let [(Family::Scan, scan), (Family::Brute, brute)] = shares[..] else { panic!("{shares:?}") };
    assert!((6.9..7.0).contains(&scan) && (4.6..4.7).contains(&brute), "{shares:?}");
    assert_eq!(lan.alerts().len(), 2);
    assert_eq!(lan.actions(), [Action::None, Action::UngradedPin]);
    // Seven failures say more than five did: with the guesses enough to isolate, were decisions graded.
    for m in 105..107 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(SECOND);
    assert!(lan.evidence().total() > 14.0, "{:?}", lan.evidence());
    assert_eq!(lan.actions().last(), Some(&Action::UngradedIsolate));
    assert_eq!(lan.alerts().len(), 3);
    assert_eq!(lan.isolated(), [], "neither is decisive");
}

#[test]
fn a_slow_or_held_back_scan_weighs_no_more_than_an_alert() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    // Devices that are switched off one by one over a shift.
    for m in 100..130 {
        lan.tcp(66, m, 8080, None);
        lan.pass(5 * 60 * SECOND);
    }
    assert!(lan.evidence().total() < 4.8, "{:?}", lan.evidence());
    // Monitoring pings hosts that are off.
    for m in 100..130 {
        lan.see((mac(5), mac(m)), (host(5), host(m)), (0x800, 0), 1, 0);
        lan.pass(SECOND);
    }
    assert!(lan.evidence().total() < 4.8, "{:?}", lan.evidence());
}

#[test]
fn a_release_forgets_the_evidence() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.guess();
    lan.sweep();
    assert!(lan.evidence().total() > 18.0, "{:?}", lan.evidence());
    lan.engine
        .command(lan.now, Command::Remove(Which::Held(Who::Target(Target::Ip(host(66))))), &mut lan.out)
        .unwrap();
    lan.guess();
    assert_eq!(lan.evidence().shares, [(Family::Brute, 4.7)]);
}
