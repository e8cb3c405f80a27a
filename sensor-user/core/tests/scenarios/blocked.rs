//! How long and for whom a cut holds, and what undoes it.

use crate::*;

#[test]
fn observe_mode_decides_and_counts_but_drops_nothing() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    assert_eq!(lan.isolated(), [66]);
    assert!(lan.actions().contains(&Action::WouldIsolate));
    assert_eq!(lan.cut(), []);
    let would = |d: &Decision| matches!(d, Decision::Restrict(_, Restriction { would: true, .. }));
    assert!(lan.out.decisions.iter().any(would));
}

#[test]
fn an_isolation_ends_by_itself_and_the_next_scan_is_called_anew() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    assert_eq!(lan.cut().len(), 2);
    lan.pass(HOUR + SECOND);
    assert_eq!(lan.cut(), []);
    assert!(lan.out.saves.iter().any(|save| matches!(save, Save::Forget(_))));
    for m in 140..170 {
        lan.tcp(66, m, 445, None);
    }
    lan.pass(SECOND);
    assert_eq!(lan.isolated(), [66, 66]);
}

#[test]
fn an_isolated_device_cannot_pull_others_into_its_cut() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    let cut = lan.cut();
    for m in 200..210 {
        let ips = (host(m), host(1));
        lan.see_as((mac(66), Mac([0xff; 6])), ips, (1, 0), 0, 0, Verdict::Drop, 0);
    }
    assert_eq!(lan.cut(), cut);
}

#[test]
fn who_gets_an_isolated_devices_address_next_does_not_inherit_the_cut() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    assert_eq!(lan.cut(), [Target::Mac(mac(66)), Target::Ip(host(66))]);
    lan.see_as((mac(67), Mac([0xff; 6])), (host(66), host(1)), (1, 0), 0, 0, Verdict::Drop, 0);
    assert_eq!(lan.cut(), [Target::Mac(mac(66))]);
}

#[test]
fn observe_mode_holds_for_what_enforce_mode_started() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    lan.add(block(Target::Ip(host(7))));
    let blocks = lan.engine.snapshot(lan.now).blocks;
    let (mut next, mut out) = (Engine::new(Settings::default()), Output::default());
    next.restore(blocks, &mut out);
    let would: Vec<_> = next.snapshot(lan.now).blocks.iter().map(|block| block.would).collect();
    assert_eq!(would, [true, false]);
}

#[test]
fn what_an_isolated_device_still_tries_is_not_held_against_anybody() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=40);
    lan.add(block(Target::Mac(mac(7))));
    for m in 8..=40 {
        let ports = (50_000, 445);
        lan.see_as((mac(7), mac(m)), (host(7), host(m)), ports, TCP, SYN, Verdict::Drop, 64);
        lan.see_as((mac(m), mac(7)), (host(m), host(7)), ports, TCP, SYN, Verdict::Drop, 64);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn the_block_list_by_hand() {
    let mut lan = Lan::new(Settings { gateways: [mac(1)].into(), ..Settings::default() });
    lan.populate(1..=5);
    let add = |lan: &mut Lan, target, for_ns| {
        let command = Command::Add(Add { for_ns, ..block(target) });
        lan.engine.command(lan.now, command, &mut lan.out)
    };
    let target = Target::Ip(host(7));
    let first = add(&mut lan, target, Some(HOUR)).unwrap();
    let Reply::Added { block, extended: false, .. } = first else { panic!("{first:?}") };
    assert_eq!(block.until, Some(lan.now.plus(HOUR)));
    assert!(!block.would, "a person's word holds in observe mode too");
    // Again: extended, never shortened.
    let again = add(&mut lan, target, Some(2 * HOUR)).unwrap();
    let Reply::Added { block: longer, extended: true, .. } = again else { panic!("{again:?}") };
    assert_eq!((longer.id, longer.until), (block.id, Some(lan.now.plus(2 * HOUR))));
    let Reply::Added { block: same, .. } = add(&mut lan, target, Some(SECOND)).unwrap() else { panic!() };
    assert_eq!(same.until, longer.until);
    let Reply::Added { block: forever, .. } = add(&mut lan, target, None).unwrap() else { panic!() };
    assert_eq!(forever.until, None);
    assert_eq!(lan.cut(), [target]);
    for (target, want) in [
        (Target::Mac(mac(1)), CommandError::Gateway(Target::Mac(mac(1)))),
        (Target::Ip(host(1)), CommandError::Gateway(Target::Ip(host(1)))),
        (Target::Mac(Mac([0xff; 6])), CommandError::Nobody(Target::Mac(Mac([0xff; 6])))),
        (Target::Ip(ip("224.0.0.1")), CommandError::Nobody(Target::Ip(ip("224.0.0.1")))),
    ] {
        assert_eq!(add(&mut lan, target, None), Err(want));
    }
    let gone = lan.engine.command(lan.now, Command::Remove(Which::Held(Who::Target(target))), &mut lan.out);
    assert!(matches!(gone, Ok(Reply::Removed(_))), "{gone:?}");
    let gone = lan.engine.command(lan.now, Command::Remove(Which::Held(Who::Target(target))), &mut lan.out);
    assert!(matches!(gone, Err(CommandError::NotFound(_))), "{gone:?}");
}

#[test]
fn what_was_remembered_holds_again_and_what_is_protected_now_does_not() {
    let mut lan = Lan::new(enforcing());
    for n in [7, 8] {
        lan.add(block(Target::Ip(host(n))));
    }
    let blocks = lan.engine.snapshot(lan.now).blocks;
    let settings = Settings { protected: [Target::Ip(host(8))].into(), ..enforcing() };
    let (mut next, mut out) = (Engine::new(settings), Output::default());
    next.restore(blocks, &mut out);
    assert_eq!(next.snapshot(lan.now).blocks.len(), 1);
    assert!(out.decisions.contains(&Decision::Protect(Target::Ip(host(8)))));
    assert!(out.saves.iter().any(|save| matches!(save, Save::Forget(_))));
}

#[test]
fn what_observe_mode_only_counted_shields_nobody_from_enforce_mode() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    let blocks = lan.engine.snapshot(lan.now).blocks;
    assert_eq!(blocks.len(), 1);
    let mut next = Lan::new(enforcing());
    next.engine.restore(blocks, &mut next.out);
    assert!(next.out.saves.iter().any(|save| matches!(save, Save::Forget(_))));
    next.populate(1..=5);
    next.arp(66, 1);
    next.sweep();
    assert_eq!(next.isolated(), [66]);
    assert!(!next.cut().is_empty());
}
