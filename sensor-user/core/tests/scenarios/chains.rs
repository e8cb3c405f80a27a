//! From host to host by services for administration, and who goes on like that by right.

use sensor_core::time::MINUTE;

use crate::*;

fn steps(lan: &mut Lan, path: &[(u8, u8, u16)], pause: u64) {
    for (from, to, port) in path.iter().copied() {
        lan.tcp(from, to, port, Some(SYN_ACK));
        lan.pass(pause);
    }
}

#[test]
fn a_chain_is_told_by_its_second_step_and_alerts_by_its_third() {
    for pause in [SECOND, 5 * MINUTE, 10 * HOUR] {
        let mut lan = ward(enforcing());
        steps(&mut lan, &[(5, 6, 445)], pause);
        assert_eq!(lan.alerts(), [], "one step");
        steps(&mut lan, &[(6, 7, 3389)], pause);
        assert_eq!(lan.alerts(), [("chain", 3, 6)], "two steps");
        steps(&mut lan, &[(7, 8, 22)], pause);
        assert_eq!(lan.alerts(), [("chain", 3, 6), ("chain", 2, 7)], "three steps");
        assert_eq!(lan.isolated(), []);
    }
}

#[test]
fn a_chain_names_its_hosts() {
    let mut lan = ward(enforcing());
    steps(&mut lan, &[(5, 6, 445), (6, 7, 445)], MINUTE);
    let evidence = lan.out.events.iter().find_map(|timed| match &timed.event {
        Event::Alert(alert) => Some(alert.evidence.clone()),
        _ => None,
    });
    let path = ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(str::to_owned).to_vec();
    assert_eq!(evidence.unwrap()[..2], [("steps", Value::Count(2)), ("chain", Value::List(path))]);
}

#[test]
fn who_is_served_and_goes_on_with_the_work_is_no_chain() {
    type Story = fn(&mut Lan);
    let stories: [(&str, Story); 6] = [
        ("the server that everybody uses", |lan| steps(lan, &[(50, 6, 3389), (6, 101, 445)], MINUTE)),
        ("back to who came", |lan| steps(lan, &[(50, 6, 3389), (6, 50, 445)], MINUTE)),
        ("two days later", |lan| {
            steps(lan, &[(50, 6, 3389)], 49 * HOUR);
            steps(lan, &[(6, 7, 445)], MINUTE);
        }),
        ("an administrator who visits one after the other", |lan| {
            steps(lan, &[(50, 6, 3389), (50, 7, 3389), (50, 8, 3389)], 5 * MINUTE);
        }),
        ("by a service that is none for administration", |lan| {
            steps(lan, &[(50, 6, 9100), (6, 7, 9100), (7, 8, 9100)], MINUTE);
        }),
        ("a new PC that is set up", |lan| {
            lan.arp(130, 1);
            steps(lan, &[(50, 130, 3389), (130, 7, 445), (130, 8, 445)], MINUTE);
        }),
    ];
    for (name, story) in stories {
        let mut lan = ward(enforcing());
        story(&mut lan);
        assert_eq!(lan.alerts(), [], "{name}");
    }
}

#[test]
fn a_refused_step_leads_nowhere_and_a_release_forgets() {
    let mut lan = ward(enforcing());
    lan.tcp(5, 6, 445, Some(RST_ACK));
    steps(&mut lan, &[(6, 7, 445)], MINUTE);
    assert_eq!(lan.alerts(), [], "refused");

    let mut lan = ward(enforcing());
    steps(&mut lan, &[(5, 6, 445)], MINUTE);
    let entry = lan.add(block_device("10.0.0.6"));
    let held = Command::Remove(Which::Id(entry.id));
    lan.engine.command(lan.now, held, &mut lan.out).unwrap();
    steps(&mut lan, &[(6, 7, 445)], MINUTE);
    assert_eq!(lan.alerts(), [], "released");
}

#[test]
fn on_the_first_day_nothing_is_a_step() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=120);
    steps(&mut lan, &[(5, 6, 445), (6, 7, 445), (7, 8, 445)], MINUTE);
    assert_eq!(lan.alerts(), []);
}

#[test]
fn what_scanners_reached_is_no_common_service_by_that() {
    let mut lan = ward(enforcing());
    for scanner in [30, 31, 32] {
        lan.tcp(scanner, 7, 445, Some(SYN_ACK));
        for dark in 200..212 {
            lan.tcp(scanner, dark, 445, None);
            lan.pass(200 * MILLISECOND);
        }
        lan.pass(HOUR);
    }
    assert_eq!(lan.isolated(), [30, 31, 32]);
    let before = lan.alerts().len();
    steps(&mut lan, &[(5, 6, 445), (6, 7, 445)], MINUTE);
    assert_eq!(lan.alerts()[before..], [("chain", 3, 6)]);
}
