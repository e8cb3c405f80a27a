//! How far it goes with devices of a class.

use sensor_core::policy::class::{Class, Criticality};
use sensor_core::settings::DecideSettings;

use crate::*;

/// Settings with one class, whose members are named by addresses.
fn with(kind: Criticality, members: &[&str]) -> Settings {
    let members = members.iter().map(|text| text.parse().unwrap()).collect();
    let class = Class { members, ..Class::of_kind(kind) };
    Settings { classes: [("wards".parse().unwrap(), class)].into(), ..enforcing() }
}

fn levels(lan: &Lan) -> Vec<Level> {
    lan.engine.snapshot(lan.now).blocks.iter().map(|block| block.level).collect()
}

fn seen(settings: Settings) -> Lan {
    let mut lan = Lan::new(settings);
    lan.populate(1..=20);
    lan.arp(66, 1);
    lan
}

#[test]
fn a_class_bounds_what_is_done_and_the_alert_says_so() {
    let net = &["10.0.0.64/28"][..];
    let none = Class { highest: None, members: [net[0].parse().unwrap()].into(), ..Class::default() };
    let told_only = Settings { classes: [("wards".parse().unwrap(), none)].into(), ..enforcing() };
    for (name, settings, want, action) in [
        (
            "another device's",
            with(Criticality::LifeCritical, &["10.0.0.65"]),
            &[Level::Isolate][..],
            Action::Isolated,
        ),
        ("of no kind", with(Criticality::Other, net), &[Level::Isolate], Action::Isolated),
        ("by its network", with(Criticality::LifeCritical, net), &[Level::Pin], Action::Pinned),
        ("by its address", with(Criticality::LifeCritical, &["10.0.0.66"]), &[Level::Pin], Action::Pinned),
        (
            "by its MAC",
            with(Criticality::LifeCritical, &["00:1b:21:00:00:42"]),
            &[Level::Pin],
            Action::Pinned,
        ),
        ("told only", told_only, &[], Action::Lowered),
        (
            "a server that scans beyond doubt",
            with(Criticality::Server, net),
            &[Level::Isolate],
            Action::Isolated,
        ),
    ] {
        let mut lan = seen(settings);
        lan.sweep();
        assert_eq!(levels(&lan), want, "{name}");
        assert!(lan.actions().contains(&action), "{name}: {:?}", lan.actions());
        let ruling = lan.ruling();
        assert_eq!((ruling.earned, ruling.allowed()), (Level::Isolate, want.first().copied()), "{name}");
        let class = Cause::Class { class: "wards".parse().unwrap() };
        let lowered: Vec<_> = ruling.lowered.iter().map(|step| &step.why).collect();
        assert_eq!(lowered, if want == [Level::Isolate] { vec![] } else { vec![&class] }, "{name}");
    }
}

#[test]
fn a_server_is_throttled_at_most_unless_the_scan_test_stands_at_one_in_a_million() {
    let net = &["10.0.0.64/28"][..];
    // New administration peers are decisive, and no scan test.
    let mut lan = seen(with(Criticality::Server, net));
    for m in 1..=8 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
        lan.pass(MILLISECOND);
    }
    lan.pass(SECOND);
    assert_eq!(levels(&lan), [Level::Throttle], "{:?}", lan.alerts());
    // A scan test that is content with less is no proof.
    let mut settings = with(Criticality::Server, net);
    settings.scan.isolate_alpha = 1e-4;
    let mut lan = seen(settings);
    lan.sweep();
    assert_eq!(levels(&lan), [Level::Throttle]);
}

#[test]
fn the_sum_of_the_evidence_obeys_the_class_too() {
    for graded in [true, false] {
        let decide = DecideSettings { highest: Level::Isolate, graded };
        let mut settings = Settings { decide, ..with(Criticality::LifeCritical, &["10.0.0.66"]) };
        settings.classes.values_mut().for_each(|class| class.highest = Some(Level::Throttle));
        let mut lan = seen(settings);
        lan.pass(25 * HOUR);
        // Seven failures one by one earn a pin.
        for m in 100..107 {
            lan.tcp(66, m, 8080, None);
            lan.pass(2 * SECOND);
        }
        let want = if graded { vec![Level::Throttle] } else { vec![] };
        assert_eq!(levels(&lan), want, "{graded}");
        let ruling = lan.ruling();
        let told = (ruling.earned, ruling.allowed());
        assert!(lan.actions().iter().all(|action| !matches!(action, Action::Pinned | Action::UngradedPin)));
        assert_eq!(
            told,
            (Level::Throttle, Some(Level::Throttle)),
            "{graded}: what earns no more is not told again"
        );
    }
}

#[test]
fn the_closest_class_counts_and_is_named_with_the_device() {
    let class =
        |kind, member: &str| Class { members: [member.parse().unwrap()].into(), ..Class::of_kind(kind) };
    let named = Class { names: ["mri 2".to_owned()].into(), ..Class::of_kind(Criticality::Other) };
    let classes = [
        ("a-site", class(Criticality::Other, "10.0.0.0/16")),
        ("b-ward", class(Criticality::Other, "10.0.0.0/27")),
        ("c-host", class(Criticality::Other, "10.0.0.7")),
        ("d-mac", class(Criticality::Other, "00:1b:21:00:00:08")),
        ("e-host", class(Criticality::Other, "10.0.0.8")),
        ("f-name", named),
    ];
    let classes = classes.map(|(name, class)| (name.parse().unwrap(), class)).into();
    let names = [("10.0.0.9".parse().unwrap(), "MRI 2".to_owned())].into();
    let lan = seen(Settings { classes, names, ..enforcing() });
    let shown: Vec<_> = lan.engine.snapshot(lan.now).devices.into_iter().map(|d| (d.mac, d.class)).collect();
    for (n, want) in [(66, "a-site"), (6, "b-ward"), (7, "c-host"), (8, "d-mac"), (9, "f-name")] {
        assert!(shown.contains(&(mac(n), Some(want.parse().unwrap()))), "{n}: {shown:?}");
    }
}

#[test]
fn what_a_life_depends_on_is_not_slowed_down() {
    for (kind, five, seven) in [
        (Criticality::Other, vec![Level::Throttle], vec![Level::Pin]),
        (Criticality::LifeCritical, vec![], vec![Level::Pin]),
    ] {
        let mut lan = seen(with(kind, &["10.0.0.66"]));
        lan.pass(25 * HOUR);
        let mut fail = |from: u8, to: u8| {
            for m in from..to {
                lan.tcp(66, m, 8080, None);
                lan.pass(2 * SECOND);
            }
            levels(&lan)
        };
        assert_eq!((fail(100, 105), fail(105, 107)), (five, seven), "{kind:?}");
    }
}
