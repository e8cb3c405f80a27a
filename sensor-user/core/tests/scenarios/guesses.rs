//! Who guesses passwords, and who only looks like it.

use sensor_core::time::MINUTE;

use crate::*;

/// Bytes of a failed login, both ways, a little different each time.
fn guess(n: u64) -> (u64, u64) {
    (2_400 + n % 5 * 40, 2_500 + n % 3 * 60)
}

#[test]
fn short_sessions_of_one_kind_are_called() {
    for (port, sessions, severity) in [(22, 12, 2), (3389, 12, 2), (445, 15, 2), (902, 24, 3)] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        for n in 0..40 {
            lan.session((66, 3), host(3), port, guess(n), 900 * MILLISECOND);
            if n + 2 == sessions {
                assert_eq!(lan.alerts(), [], "{port}: one less is too few");
            }
        }
        assert_eq!(lan.alerts(), [("brute", severity, 66)], "{port}");
        assert_eq!(lan.isolated(), [], "{port}");
    }
}

#[test]
fn a_busy_client_is_left_alone() {
    type Client = (u16, u64, fn(u64) -> (u64, u64));
    let cases: [(&str, Client); 6] = [
        ("a browser", (443, SECOND, guess)),
        ("a probe every 20 seconds", (22, 20 * SECOND, guess)),
        ("a person who logs in again and again", (22, 40 * SECOND, guess)),
        ("queries of all sizes", (5432, SECOND, |n| (400 + n * n * 7 % 3_000, 300 + n * n * 131 % 20_000))),
        ("a backup, large each time", (445, SECOND, |n| (80_000 + n, 900))),
        ("a port that is only opened and closed", (22, SECOND, |_| (140, 140))),
    ];
    for (name, (port, every, size)) in cases {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        for n in 0..60 {
            lan.session((66, 3), host(3), port, size(n), every / 2);
            lan.pass(every / 2);
        }
        assert_eq!(lan.alerts(), [], "{name}");
    }
}

#[test]
fn what_goes_on_for_days_is_told_once_and_then_is_usual() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // A script that logs in every 17 to 23 seconds.
    for n in 0..14_000 {
        lan.session((66, 3), host(3), 22, guess(n), SECOND);
        lan.pass((16 + n * 5 % 7) * SECOND);
    }
    assert_eq!(lan.alerts(), [("brute", 2, 66)]);
}

#[test]
fn a_login_that_works_clears_the_failed_ones() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..4 {
        for n in 0..8 {
            lan.session((66, 3), host(3), 22, guess(n), 2 * SECOND);
        }
        lan.session((66, 3), host(3), 22, (40_000, 60_000), 120 * SECOND);
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn what_all_clients_of_a_service_do_is_how_it_is_used() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // Analysers with a session a message; first all of them a little, then all of them much.
    for rounds in [14, 40] {
        for n in 0..rounds {
            for client in 20..25 {
                lan.session((client, 3), host(3), 2575, guess(n), 100 * MILLISECOND);
            }
            lan.pass(500 * MILLISECOND);
        }
    }
    assert_eq!(lan.alerts(), []);
}

#[test]
fn after_a_release_guesses_count_anew() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for n in 0..11 {
        lan.session((66, 3), host(3), 22, guess(n), SECOND);
    }
    lan.add(block(Target::Mac(mac(66))));
    let entry = Which::Held(Who::Target(Target::Mac(mac(66))));
    lan.engine.command(lan.now, Command::Remove(entry), &mut lan.out).unwrap();
    lan.pass(SECOND);
    for n in 0..11 {
        lan.session((66, 3), host(3), 22, guess(n), SECOND);
    }
    assert_eq!(lan.alerts(), []);
    lan.session((66, 3), host(3), 22, guess(0), SECOND);
    assert_eq!(lan.alerts(), [("brute", 2, 66)]);
}

#[test]
fn who_guesses_after_others_is_called_like_them() {
    for apart in [MINUTE, 26 * HOUR] {
        let mut lan = Lan::new(enforcing());
        lan.populate(1..=5);
        for guesser in 20..28 {
            for n in 0..20 {
                lan.session((guesser, 3), host(3), 22, guess(n), SECOND);
            }
            lan.pass(apart);
        }
        let called: Vec<_> = (20..28).map(|guesser| ("brute", 2, guesser)).collect();
        assert_eq!(lan.alerts(), called, "{} s apart", apart / SECOND);
    }
}

#[test]
fn what_three_devices_still_do_the_day_after_they_were_called_is_how_the_service_is_used() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    let work = |lan: &mut Lan, clients: &[u8], rounds: u64| {
        for n in 0..rounds {
            for client in clients.iter().copied() {
                lan.session((client, 3), host(3), 22, guess(n), SECOND);
            }
            lan.pass((16 + n * 5 % 7) * SECOND);
        }
    };
    // Each begins when the ones before were called.
    for clients in [&[20][..], &[20, 21], &[20, 21, 22]] {
        work(&mut lan, clients, 40);
    }
    let called = [20, 21, 22].map(|client| ("brute", 2, client));
    assert_eq!(lan.alerts(), called);
    work(&mut lan, &[20, 21, 22], 4_000);
    work(&mut lan, &[20, 21, 22, 23], 40);
    assert_eq!(lan.alerts(), called, "the fourth, a day later");
}
