//! What the enforcer does to the kernel's tables, and how long it takes.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bpf_tests::kernel::TestSensor;
use bpf_tests::note;
use sensor_core::datapath::Plan;
use sensor_core::policy::{Allow, Decision, MAX_PIN};
use sensor_core::settings::Settings;
use sensor_core::time::Time;
use sensor_user::enforce::Enforcer;

/// Lists of pinned devices, together nearly all there is room for.
const LISTS: u16 = 110;

/// A pinned device that is released must not make all others wait until its list is found among theirs.
#[test]
fn a_list_goes_as_a_whole_and_no_other_however_many_there_are() {
    let sensor = TestSensor::load().expect("loads");
    let mut enforcer = Enforcer::new(sensor.maps.rules, Plan::new(&Settings::default()), Time::at(1));
    enforcer.reconcile().expect("in order");
    let of = |list: u16, number: usize| {
        let [high, low] = (number as u16).to_be_bytes();
        Allow::Any(IpAddr::from(Ipv4Addr::new(10, list as u8, high, low)))
    };
    let lists = 2_000..2_000 + LISTS;
    let allow = |list| Decision::Allow(list, (0..MAX_PIN).map(|number| of(list, number)).collect());
    enforcer.apply(&lists.map(allow).collect::<Vec<_>>()).expect("allowed");
    assert_eq!(enforcer.reconcile().expect("in order"), 0, "all are there");
    let mut took = Vec::new();
    for list in [2_000, 2_050, 2_000 + LISTS - 1] {
        let before = Instant::now();
        enforcer.apply(&[Decision::Forbid(list)]).expect("forbidden");
        took.push(before.elapsed());
        assert_eq!(enforcer.reconcile().expect("in order"), 0, "list {list} is gone and no other");
    }
    note::figure(&format!("a list of {MAX_PIN} taken out of {LISTS}: {took:?}"));
}
