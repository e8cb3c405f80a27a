//! Entries about a device: what is added to them, and what is not.

use crate::*;

/// A network in which host 66 is held at that level.
fn held(level: Level) -> (Lan, Block) {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // Before an hour has passed, nobody knows who else is there.
    lan.pass(HOUR);
    lan.place = (7, 0);
    lan.arp(66, 1);
    let entry = lan.add(Add { level: Some(level), ..block_device("10.0.0.66") });
    (lan, entry)
}

impl Lan {
    /// A device asks for its neighbour in IPv6.
    fn solicit(&mut self, from: Mac, address: IpAddr, verdict: Verdict) {
        const SOLICITATION: u16 = 135 << 8;
        let ips = (address, ip("fe80::1"));
        self.see_as((from, mac(1)), ips, (SOLICITATION, 0), 58, 0, verdict, 255);
    }

    fn targets(&self, entry: &Block) -> Vec<Target> {
        let blocks = self.engine.snapshot(self.now).blocks;
        blocks.into_iter().find(|block| block.id == entry.id).map(|block| block.targets).unwrap_or_default()
    }

    fn says(&mut self, from: Mac, address: IpAddr, verdict: Verdict) {
        self.see_as((from, Mac([0xff; 6])), (address, host(1)), (1, 0), 0, 0, verdict, 0);
    }
}

#[test]
fn a_device_is_all_its_addresses_and_each_it_takes_is_added() {
    let (mut lan, entry) = held(Level::Throttle);
    let (own, first) = (Target::Mac(mac(66)), Target::Ip(host(66)));
    assert_eq!((&entry.targets[..], entry.follows), (&[own, first][..], true));
    // Two privacy addresses (RFC 8981), another IPv4 address, another port and VLAN.
    for address in ["2001:db8::a1", "2001:db8::b2"] {
        lan.solicit(mac(66), ip(address), Verdict::Pass);
    }
    lan.place = (9, 30);
    lan.says(mac(66), host(77), Verdict::Pass);
    let want =
        [own, first, Target::Ip(ip("2001:db8::a1")), Target::Ip(ip("2001:db8::b2")), Target::Ip(host(77))];
    assert_eq!(lan.targets(&entry), want);
    assert_eq!(lan.cut(), want);
    let followed = lan.out.events.iter().filter(
        |timed| matches!(&timed.event, Event::Isolation(isolation) if isolation.change == Change::Followed),
    );
    assert_eq!(followed.count(), 3);
}

#[test]
fn while_its_frames_are_dropped_nobody_can_be_named_into_its_entry() {
    let (mut lan, entry) = held(Level::Isolate);
    let before = lan.targets(&entry);
    for m in (1..=5).chain(200..210) {
        lan.says(mac(66), host(m), Verdict::Drop);
    }
    assert_eq!(lan.targets(&entry), before);
    assert_eq!(lan.cut(), before, "its MAC address is held all the same");
}

#[test]
fn it_is_the_same_device_under_a_new_mac_address_only_if_all_says_so() {
    let new = Mac([2, 0xaa, 0, 0, 0, 1]);
    let returns = |after, port, address, prepare: fn(&mut Lan)| {
        let (mut lan, entry) = held(Level::Isolate);
        lan.says(mac(66), host(88), Verdict::Drop);
        prepare(&mut lan);
        lan.pass(after);
        lan.place = (port, 0);
        lan.says(new, address, Verdict::Drop);
        let targets = lan.targets(&entry);
        (targets.contains(&Target::Mac(new)), targets.contains(&Target::Ip(host(66))))
    };
    let mut early = Lan::new(enforcing());
    early.place = (7, 0);
    early.arp(66, 1);
    let entry = early.add(Add { level: Some(Level::Isolate), ..block_device("10.0.0.66") });
    early.pass(10 * SECOND);
    early.says(new, host(66), Verdict::Drop);
    assert!(!early.targets(&entry).contains(&Target::Mac(new)), "just after the start");
    let nothing = |_: &mut Lan| {};
    assert_eq!(returns(10 * SECOND, 7, host(66), nothing), (true, true), "its address");
    assert_eq!(returns(10 * SECOND, 7, host(88), nothing), (true, true), "one it showed since");
    assert_eq!(returns(61 * SECOND, 7, host(66), nothing), (false, false), "a spare in its place");
    assert_eq!(returns(10 * SECOND, 8, host(66), nothing), (false, false), "on another port");
    assert_eq!(returns(10 * SECOND, 7, host(99), nothing), (false, true), "an address of its own");
    let neighbour = |lan: &mut Lan| lan.arp(5, 1);
    assert_eq!(returns(10 * SECOND, 7, host(66), neighbour), (false, false), "others are there");
    let known = |lan: &mut Lan| {
        lan.says(Mac([2, 0xaa, 0, 0, 0, 1]), host(99), Verdict::Pass);
        lan.pass(SECOND);
        lan.says(mac(66), host(66), Verdict::Drop);
    };
    assert_eq!(returns(10 * SECOND, 7, host(66), known), (false, false), "it was there before");
}

#[test]
fn an_address_that_another_device_takes_is_free_and_stays_so() {
    let (mut lan, entry) = held(Level::Isolate);
    lan.place = (8, 0);
    lan.says(mac(67), host(66), Verdict::Drop);
    assert_eq!(lan.cut(), [Target::Mac(mac(66))]);
    lan.place = (7, 0);
    lan.says(mac(66), host(66), Verdict::Drop);
    lan.says(mac(66), host(66), Verdict::Pass);
    assert_eq!(lan.targets(&entry), [Target::Mac(mac(66))]);
}

#[test]
fn what_a_person_names_by_its_address_is_that_address_whoever_has_it() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    let entry = lan.add(block(Target::Ip(host(3))));
    lan.says(mac(4), host(3), Verdict::Drop);
    lan.says(mac(3), host(33), Verdict::Pass);
    assert_eq!(lan.targets(&entry), [Target::Ip(host(3))]);
}

#[test]
fn a_device_is_found_by_name_mac_and_address_and_by_nothing_else() {
    let names = [(Target::Ip(host(3)), "CT 1".to_owned()), (Target::Mac(mac(99)), "spare".to_owned())];
    let mut lan = Lan::new(Settings { names: names.into(), ..enforcing() });
    lan.populate(1..=5);
    for name in ["ct 1", "10.0.0.3", "00:1b:21:00:00:03"] {
        let entry = lan.add(block_device(name));
        assert_eq!(entry.targets, [Target::Mac(mac(3)), Target::Ip(host(3))], "{name}");
        let which = Which::Held(Who::Device(name.to_owned()));
        lan.engine.command(lan.now, Command::Remove(which), &mut lan.out).unwrap();
    }
    assert_eq!(lan.add(block_device("spare")).targets, [Target::Mac(mac(99))]);
    for name in ["CT 2", "10.0.0.77", "00:1b:21:00:00:63", "vlan 7", ""] {
        assert_eq!(lan.refused(block_device(name)), CommandError::UnknownDevice(name.to_owned()));
    }
}
