//! Small networks, told flow by flow: what the engine makes of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own words is to fail")]

use std::net::IpAddr;

use sensor_core::addr::Mac;
use sensor_core::engine::{Command, CommandError, Engine, Output, Reply};
use sensor_core::event::{Action, Change, Event, Value};
use sensor_core::observation::{FlowId, FlowSeen, Kind, Observation, Verdict};
use sensor_core::policy::{BlockName, Decision, Save, Target};
use sensor_core::settings::{Mode, Settings};
use sensor_core::time::{HOUR, MILLISECOND, SECOND, Time};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const RST_ACK: u8 = 0x14;

/// A network under the eyes of an engine.
struct Lan {
    engine: Engine,
    now: Time,
    out: Output,
    sport: u16,
}

fn enforcing() -> Settings {
    Settings { mode: Mode::Enforce, ..Settings::default() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The MAC address of host n.
fn mac(n: u8) -> Mac {
    Mac([0, 0x1b, 0x21, 0, 0, n])
}

/// The IP address of host n.
fn host(n: u8) -> IpAddr {
    ip(&format!("10.0.0.{n}"))
}

impl Lan {
    fn new(settings: Settings) -> Self {
        let mut lan =
            Lan { engine: Engine::new(settings), now: Time(SECOND), out: Output::default(), sport: 40_000 };
        lan.engine.restore(Vec::new(), &mut lan.out);
        lan
    }

    fn pass(&mut self, ns: u64) {
        self.now = self.now.plus(ns);
        self.engine.tick(self.now, &mut self.out);
    }

    fn see(&mut self, macs: (Mac, Mac), ips: (IpAddr, IpAddr), ports: (u16, u16), proto: u8, flags: u8) {
        self.see_as(macs, ips, ports, proto, flags, Verdict::Pass, 64);
    }

    #[expect(clippy::too_many_arguments, reason = "a frame has that many headers")]
    fn see_as(
        &mut self,
        macs: (Mac, Mac),
        ips: (IpAddr, IpAddr),
        ports: (u16, u16),
        proto: u8,
        flags: u8,
        verdict: Verdict,
        ttl: u8,
    ) {
        let id = FlowId {
            src: ips.0,
            dst: ips.1,
            sport: ports.0,
            dport: ports.1,
            proto,
            kind: if proto == 0 { Kind::Arp } else { Kind::Ip },
            vlan: 0,
            port: 1,
        };
        let seen = FlowSeen {
            time: self.now,
            id,
            smac: macs.0,
            dmac: macs.1,
            arp_sha: if proto == 0 { macs.0 } else { Mac::default() },
            vlan_inner: 0,
            ether_type: if proto == 0 { 0x0806 } else { 0x0800 },
            window: 1024,
            len: 60,
            ttl,
            tcp_flags: flags,
            verdict,
            rule_id: 0,
        };
        self.engine.observe(&Observation::Flow(seen), &mut self.out);
    }

    /// Host n asks by ARP for host m.
    fn arp(&mut self, n: u8, m: u8) {
        self.see((mac(n), Mac([0xff; 6])), (host(n), host(m)), (1, 0), 0, 0);
    }

    /// Hosts that were all heard by ARP, as on a network that is in use.
    fn populate(&mut self, hosts: std::ops::RangeInclusive<u8>) {
        for n in hosts {
            self.arp(n, 254);
            self.pass(MILLISECOND);
        }
        self.arp(254, 1);
        self.pass(SECOND);
    }

    /// Host n opens a TCP connection to host m, which answers with `answer` flags if it answers.
    fn tcp(&mut self, n: u8, m: u8, port: u16, answer: Option<u8>) {
        self.sport += 1;
        let sport = self.sport;
        self.see((mac(n), mac(m)), (host(n), host(m)), (sport, port), TCP, SYN);
        self.pass(MILLISECOND / 5);
        if let Some(flags) = answer {
            self.see((mac(m), mac(n)), (host(m), host(n)), (port, sport), TCP, flags);
        }
    }

    /// The devices isolated so far, by number.
    fn isolated(&self) -> Vec<u8> {
        let change = |event: &Event| match event {
            Event::Isolation(isolation) if isolation.change == Change::Added => {
                isolation.device.as_ref().map(|device| device.mac.0[5])
            }
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| change(&timed.event)).collect()
    }

    fn actions(&self) -> Vec<Action> {
        let action = |event: &Event| match event {
            Event::Alert(alert) => Some(alert.action.clone()),
            _ => None,
        };
        self.out.events.iter().filter_map(|timed| action(&timed.event)).collect()
    }

    fn cut(&self) -> Vec<Target> {
        let mut cut = Vec::new();
        for decision in &self.out.decisions {
            match decision {
                Decision::Isolate { target, would: false, .. } => cut.push(*target),
                Decision::Clear(target) => cut.retain(|t| t != target),
                _ => {}
            }
        }
        cut
    }

    /// Host 66 sweeps addresses nobody has.
    fn sweep(&mut self) {
        for m in 100..130 {
            self.tcp(66, m, 445, None);
            self.pass(MILLISECOND);
        }
        self.pass(SECOND);
    }
}

#[test]
fn a_scan_of_silent_hosts_is_cut_off_after_ten_failures() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    lan.arp(66, 1);
    for m in 100..200 {
        lan.tcp(66, m, 8000 + u16::from(m), None);
        lan.pass(60 * MILLISECOND);
        if !lan.isolated().is_empty() {
            break;
        }
    }
    assert_eq!(lan.isolated(), [66]);
    let failures = lan.out.events.iter().rev().find_map(|timed| match &timed.event {
        Event::Alert(alert) => Some(alert.evidence[0].clone()),
        _ => None,
    });
    // Jung et al.: ln(0.99e6) / ln(4) is just below ten.
    assert_eq!(failures, Some(("failed_first_contacts", Value::Count(10))));
    assert_eq!(lan.cut(), [Target::Mac(mac(66)), Target::Ip(host(66))]);
}

#[test]
fn silence_says_nothing_when_answers_were_lost() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    lan.arp(66, 1);
    for m in 100..130 {
        lan.tcp(66, m, 8080, None);
    }
    lan.engine.lost_sight(lan.now.plus(1));
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), []);
    for m in 140..160 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(SECOND);
    assert_eq!(lan.isolated(), [66], "sight is back");
}

#[test]
fn a_busy_server_is_left_alone() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=200);
    for m in 1..=200u8 {
        // One in five is switched off, or says no.
        let answer = match m % 10 {
            0 => None,
            5 => Some(RST_ACK),
            _ => Some(SYN_ACK),
        };
        lan.tcp(250, m, 9100, answer);
        lan.pass(20 * MILLISECOND);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), [], "{:?}", lan.out.events.last());
}

#[test]
fn retries_of_one_dead_host_are_no_scan() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..500 {
        lan.tcp(3, 99, 104, None);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn unanswered_udp_to_living_hosts_says_nothing() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=60);
    for m in 2..=60 {
        lan.see((mac(1), mac(m)), (host(1), host(m)), (514, 514), UDP, 0);
        lan.pass(SECOND);
    }
    lan.pass(10 * SECOND);
    assert_eq!(lan.isolated(), []);
}

#[test]
fn ports_of_one_host() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for port in 1..=30 {
        lan.tcp(66, 3, port, Some(RST_ACK));
    }
    assert_eq!(lan.isolated(), [66]);
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for _ in 0..30 {
        lan.tcp(4, 3, 80, Some(RST_ACK));
    }
    assert_eq!(lan.actions(), [], "one refused port, however often, is no scan");
}

#[test]
fn a_worm_with_a_hit_list_is_seen_although_nothing_fails() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    for m in 10..=13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
        lan.pass(SECOND);
    }
    assert_eq!(lan.isolated(), [66]);
}

#[test]
fn file_servers_everybody_uses_are_no_lateral_movement() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=50);
    // Six servers, used by three PCs one at a time over the morning.
    for pc in [20, 21, 22] {
        for server in 1..=6 {
            lan.tcp(pc, server, 445, Some(SYN_ACK));
            lan.pass(5 * 60 * SECOND);
        }
    }
    for server in 1..=6 {
        lan.tcp(30, server, 445, Some(SYN_ACK));
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn gateways_and_the_protected_are_never_cut_off() {
    let named = Settings { gateways: [mac(66)].into(), ..enforcing() };
    let listed = Settings { protected: [Target::Mac(mac(66))].into(), ..enforcing() };
    let by_ip = Settings { protected: [Target::Ip(host(66))].into(), ..enforcing() };
    let by_net = Settings { protected_nets: vec!["10.0.0.64/29".parse().unwrap()], ..enforcing() };
    for (name, settings, want) in [
        ("a named gateway", named, Action::Gateway),
        ("a listed MAC", listed, Action::Protected),
        ("a listed address", by_ip, Action::Protected),
        ("a listed network", by_net, Action::Protected),
    ] {
        let mut lan = Lan::new(settings);
        lan.populate(1..=5);
        lan.arp(66, 1);
        lan.sweep();
        assert_eq!(lan.isolated(), [], "{name}");
        assert!(lan.actions().contains(&want), "{name}: {:?}", lan.actions());
        assert_eq!(lan.cut(), [], "{name}");
    }
}

#[test]
fn a_host_behind_a_router_is_cut_off_by_its_address_alone() {
    // The router is new: nobody else was seen behind it yet.
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(77, 1);
    let routed = ip("10.9.0.5");
    // It has a conversation, so that its address is known not to be made up.
    lan.see_as((mac(77), mac(2)), (routed, host(2)), (40_000, 80), TCP, SYN, Verdict::Pass, 63);
    lan.see((mac(2), mac(77)), (host(2), routed), (80, 40_000), TCP, SYN_ACK);
    for m in 100..130 {
        lan.see_as((mac(77), mac(m)), (routed, host(m)), (50_000, 8080), TCP, SYN, Verdict::Pass, 63);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), [Target::Ip(routed)]);
}

#[test]
fn nobody_can_have_a_remote_server_cut_off_by_borrowing_its_address() {
    let mut lan = Lan::new(Settings { gateways: [mac(77)].into(), ..enforcing() });
    lan.populate(1..=5);
    let server = ip("10.9.0.5");
    lan.see_as((mac(77), mac(2)), (server, host(2)), (443, 40_000), TCP, SYN_ACK, Verdict::Pass, 63);
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (server, host(m)), (50_000, 8080), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    // And one nobody ever heard of.
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (ip("10.9.0.9"), host(m)), (50_000, 8081), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), []);
}

#[test]
fn a_box_that_answers_arp_for_others_is_not_cut_for_what_they_do() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(77, 1);
    let client = ip("10.0.0.200");
    lan.see((mac(77), mac(2)), (client, host(2)), (2, 0), 0, 0);
    lan.see_as((mac(77), mac(2)), (client, host(2)), (40_000, 80), TCP, SYN, Verdict::Pass, 63);
    lan.see((mac(2), mac(77)), (host(2), client), (80, 40_000), TCP, SYN_ACK);
    for m in 100..130 {
        lan.see_as((mac(77), mac(m)), (client, host(m)), (50_000, 8080), TCP, SYN, Verdict::Pass, 63);
        lan.pass(60 * MILLISECOND);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.cut(), [Target::Ip(client)]);
}

#[test]
fn slow_answers_from_afar_are_answers() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 100..140 {
        let far = ip(&format!("10.9.0.{m}"));
        lan.see((mac(3), mac(77)), (host(3), far), (40_000, 104), TCP, SYN);
        lan.pass(300 * MILLISECOND);
        lan.see((mac(77), mac(3)), (far, host(3)), (104, 40_000), TCP, SYN_ACK);
        lan.pass(5 * SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn hosts_found_switched_off_over_a_shift_are_no_scan() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 100..120 {
        lan.tcp(3, m, 104, None);
        lan.pass(60 * SECOND);
    }
    assert_eq!(lan.isolated(), []);
}

#[test]
fn what_was_under_way_when_the_sensor_started_is_no_lateral_movement() {
    let mut lan = Lan::new(enforcing());
    for m in 10..20 {
        lan.see((mac(3), mac(m)), (host(3), host(m)), (50_000, 445), TCP, 0x18);
        lan.pass(SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn a_laptop_that_had_many_leases_is_no_gateway() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    for m in 200..206 {
        lan.see((mac(66), Mac([0xff; 6])), (host(m), host(1)), (1, 0), 0, 0);
        lan.see((mac(66), mac(1)), (host(m), host(1)), (50_000, 80), TCP, SYN);
        lan.pass(24 * HOUR);
    }
    lan.arp(66, 1);
    for m in 100..130 {
        lan.tcp(66, m, 8080, None);
    }
    lan.pass(2 * SECOND);
    assert_eq!(lan.isolated(), [66], "{:?}", lan.actions());
}

#[test]
fn an_address_two_devices_use_is_never_cut_off() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    // Host 66 borrows the address of host 3, with its own MAC, and is loud.
    for m in 100..130 {
        lan.see((mac(66), mac(m)), (host(3), host(m)), (50_000, 445), TCP, SYN);
        lan.pass(60 * MILLISECOND);
    }
    assert!(!lan.cut().contains(&Target::Ip(host(3))), "{:?}", lan.cut());
    assert!(!lan.cut().contains(&Target::Mac(mac(3))), "{:?}", lan.cut());
}

#[test]
fn observe_mode_decides_and_counts_but_drops_nothing() {
    let mut lan = Lan::new(Settings::default());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    assert_eq!(lan.isolated(), [66]);
    assert!(lan.actions().contains(&Action::WouldIsolate));
    assert_eq!(lan.cut(), []);
    let would = |d: &Decision| matches!(d, Decision::Isolate { would: true, .. });
    assert!(lan.out.decisions.iter().any(would));
}

#[test]
fn too_many_at_once_are_left_to_a_person() {
    let mut lan = Lan::new(Settings { budget: 2, ..enforcing() });
    lan.populate(1..=5);
    for n in 60..64 {
        lan.arp(n, 1);
        for m in 100..120 {
            lan.tcp(n, m, 445, None);
        }
        lan.pass(SECOND);
    }
    assert_eq!(lan.isolated(), [60, 61]);
    assert!(lan.actions().contains(&Action::BudgetSpent));
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
fn what_found_the_budget_spent_is_made_up_for() {
    let mut lan = Lan::new(Settings { budget: 1, budget_window_ns: 60 * SECOND, ..enforcing() });
    lan.populate(1..=5);
    for n in [60, 61] {
        lan.arp(n, 1);
        for m in 100..120 {
            lan.tcp(n, m, 8080, None);
        }
        lan.pass(2 * SECOND);
    }
    assert_eq!(lan.isolated(), [60]);
    lan.pass(60 * SECOND);
    assert_eq!(lan.isolated(), [60, 61]);
}

#[test]
fn observe_mode_holds_for_what_enforce_mode_started() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=5);
    lan.arp(66, 1);
    lan.sweep();
    let by_hand = Command::Add {
        targets: vec![Target::Ip(host(7))],
        for_ns: None,
        reason: "test".to_owned(),
        owner: "root".to_owned(),
    };
    lan.engine.command(lan.now, by_hand, &mut lan.out).unwrap();
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
    let entry = Command::Add {
        targets: vec![Target::Mac(mac(7))],
        for_ns: None,
        reason: "by hand".to_owned(),
        owner: "root".to_owned(),
    };
    lan.engine.command(lan.now, entry, &mut lan.out).unwrap();
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
        let (reason, owner) = ("test".to_owned(), "root".to_owned());
        let command = Command::Add { targets: vec![target], for_ns, reason, owner };
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
    assert_eq!(lan.cut(), [target, target, target, target], "orders are absolute: each holds alone");
    for (target, want) in [
        (Target::Mac(mac(1)), CommandError::Gateway(Target::Mac(mac(1)))),
        (Target::Ip(host(1)), CommandError::Gateway(Target::Ip(host(1)))),
        (Target::Mac(Mac([0xff; 6])), CommandError::Nobody(Target::Mac(Mac([0xff; 6])))),
        (Target::Ip(ip("224.0.0.1")), CommandError::Nobody(Target::Ip(ip("224.0.0.1")))),
    ] {
        assert_eq!(add(&mut lan, target, None), Err(want));
    }
    let gone = lan.engine.command(lan.now, Command::Remove(BlockName::Target(target)), &mut lan.out);
    assert!(matches!(gone, Ok(Reply::Removed(_))), "{gone:?}");
    let gone = lan.engine.command(lan.now, Command::Remove(BlockName::Target(target)), &mut lan.out);
    assert!(matches!(gone, Err(CommandError::NotFound(_))), "{gone:?}");
}

#[test]
fn what_was_remembered_holds_again_and_what_is_protected_now_does_not() {
    let mut lan = Lan::new(enforcing());
    let add = |target| Command::Add {
        targets: vec![target],
        for_ns: None,
        reason: "test".to_owned(),
        owner: "root".to_owned(),
    };
    for n in [7, 8] {
        lan.engine.command(lan.now, add(Target::Ip(host(n))), &mut lan.out).unwrap();
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
fn more_destinations_than_usual_alert_and_do_not_isolate() {
    let settings = Settings { names: [(Target::Mac(mac(9)), "pump 9".to_owned())].into(), ..enforcing() };
    let mut lan = Lan::new(settings);
    lan.populate(1..=200);
    // Ten quiet minutes: five print servers a minute.
    for _ in 0..10 {
        for m in 20..25 {
            lan.tcp(9, m, 9100, Some(SYN_ACK));
        }
        lan.pass(61 * SECOND);
    }
    assert_eq!(lan.actions(), []);
    for m in 30..80 {
        lan.tcp(9, m, 9100, Some(SYN_ACK));
    }
    let alerts: Vec<_> =
        lan.out.events.iter().filter(|timed| matches!(timed.event, Event::Alert(_))).collect();
    let [Event::Alert(alert)] = [&alerts[0].event] else { panic!("{alerts:?}") };
    assert_eq!((alert.detector, alert.severity, alert.device.name.as_deref()), ("fanout", 2, Some("pump 9")));
    assert_eq!(lan.isolated(), []);
}

#[test]
fn a_monitoring_station_is_usual_to_itself() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=90);
    for _ in 0..10 {
        for m in 1..=90 {
            lan.tcp(250, m, 161, Some(SYN_ACK));
        }
        lan.pass(61 * SECOND);
    }
    assert_eq!(lan.actions(), []);
}

#[test]
fn after_a_release_the_same_scan_is_called_again_and_old_servers_are_not() {
    let mut lan = Lan::new(enforcing());
    lan.populate(1..=20);
    for m in 10..13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
    }
    lan.pass(120 * SECOND);
    for round in 1..=2 {
        for port in 1..=30 {
            lan.tcp(66, 3, port, Some(RST_ACK));
        }
        assert_eq!(lan.isolated().len(), round);
        let entry = BlockName::Target(Target::Ip(host(66)));
        lan.engine.command(lan.now, Command::Remove(entry), &mut lan.out).unwrap();
        lan.pass(SECOND);
    }
    for m in 10..13 {
        lan.tcp(66, m, 445, Some(SYN_ACK));
    }
    lan.tcp(66, 13, 445, Some(SYN_ACK));
    lan.pass(SECOND);
    assert_eq!(lan.isolated().len(), 2);
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
