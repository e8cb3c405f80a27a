//! Keeps what the rows are made of: how each conversation began, and what each device did in its window.
//!
//! A device's window begins with the first thing it does after the last one was over, so that those of many devices do not
//! end at one moment; who is silent has no window. What is *lately* is the window under way and the one before it, if that
//! ended no longer ago than a window.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::flow::{self, Opening, Talk, is_to_group};
use super::part;
use super::window::{self, Tally};
use crate::contact::{Contact, Outcome};
use crate::event::FlowEnded;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::observation::FlowId;
use crate::state::state;
use crate::time::Time;

/// New destinations, first contacts judged, and those of them that failed.
type Lately = [u32; 3];

#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Habit {
    /// When its last window began.
    start: Time,
    /// A window is under way.
    in_window: bool,
    tally: Tally,
    /// The window before.
    before: Lately,
    before_end: Time,
    /// Conversations it has open.
    open: u32,
}

/// The state of all devices; bounded, and who was not heard for longest makes room. About 0.9 kB a device and 0.2 kB a
/// conversation.
#[derive(Debug)]
pub struct Watch {
    habits: Lru<DeviceKey, Habit>,
    /// Devices with a window under way, in the order in which these began, and when.
    windows: Lru<DeviceKey, Time>,
    /// Conversations under way, by who began them.
    openings: Lru<FlowId, (DeviceKey, Opening)>,
    window_ns: u64,
}

state!(Watch { habits, windows, openings } keeps { window_ns });

impl Watch {
    /// Watches at most so many devices and conversations, with windows of a length.
    pub fn new(devices: usize, flows: usize, window_ns: u64) -> Self {
        Self {
            habits: Lru::new(capacity(devices)),
            windows: Lru::new(capacity(devices)),
            openings: Lru::new(capacity(flows)),
            window_ns,
        }
    }

    /// A device begins a conversation; `peer` is the device that has the destination, if that is known.
    pub fn contact(&mut self, contact: &Contact, peer: Option<DeviceKey>) {
        let window_ns = self.window_ns;
        if let Some(peer) = peer.filter(|peer| *peer != contact.device) {
            self.habit(peer, contact.time).tally.is_asked(contact);
        }
        let habit = self.habit(contact.device, contact.time);
        let [new_peers_lately, judged, failed] = habit.lately(window_ns);
        let opening = Opening {
            new_peer: contact.new_peer,
            new_service: contact.new_service,
            alive: contact.alive,
            internal: contact.internal,
            odd_flags: contact.odd_flags,
            open: habit.open,
            new_peers_lately,
            failed_lately: part(failed as f32, judged as f32),
        };
        habit.tally.begins(contact);
        habit.tally.active(contact.time, habit.start, window_ns);
        habit.open = habit.open.saturating_add(1);
        if let Some((_, (device, _))) = self.openings.push(contact.id, (contact.device, opening)) {
            self.closes(device);
        }
    }

    /// A first contact has an outcome.
    pub fn outcome(&mut self, contact: &Contact, outcome: Outcome, now: Time) {
        self.habit(contact.device, now).tally.judge(contact, outcome);
    }

    /// A conversation is over: its row. `device` began it, `peer` has the destination, if they are known; how it began is
    /// known if it was a contact.
    pub fn ended(
        &mut self,
        ended: &FlowEnded,
        device: Option<DeviceKey>,
        peer: Option<DeviceKey>,
        now: Time,
    ) -> [f32; flow::WIDTH] {
        let known = self.openings.pop(&ended.id);
        if let Some((device, _)) = known {
            self.closes(device);
        }
        let device = known.map(|(device, _)| device).or(device);
        let opening = known.map(|(_, opening)| opening).unwrap_or_default();
        if let Some(peer) = peer.filter(|peer| Some(*peer) != device) {
            self.habit(peer, now).tally.carried([&ended.to_client, &ended.to_server]);
        }
        if let Some(device) = device {
            self.habit(device, now).tally.ends(ended, opening.new_peer, is_to_group(ended));
        }
        Talk::new(ended, opening).row()
    }

    /// The next device whose window is over by `now`, and its row; call until none is left, before anything later is told.
    pub fn due(&mut self, now: Time) -> Option<(DeviceKey, [f32; window::WIDTH])> {
        loop {
            // Asked with every record: nothing is looked up until one is over.
            let (device, start) = self.windows.peek_lru().map(|(device, start)| (*device, *start))?;
            if now.since(start) < self.window_ns {
                return None;
            }
            self.windows.pop_lru();
            if let Some(habit) = self.habits.peek_mut(&device) {
                return Some((device, habit.end(self.window_ns)));
            }
        }
    }

    /// The state of a device, with a window under way.
    fn habit(&mut self, device: DeviceKey, now: Time) -> &mut Habit {
        let known = self.habits.peek(&device).map(|habit| habit.in_window);
        if known != Some(true)
            && let Some((gone, _)) = self.windows.push(device, now)
            && gone != device
        {
            self.habits.pop(&gone);
        }
        if known.is_none()
            && let Some((gone, _)) = self.habits.push(device, Habit::default())
        {
            self.windows.pop(&gone);
        }
        let habit = self.habits.get_or_insert_mut(device, Habit::default);
        if !habit.in_window {
            (habit.in_window, habit.start) = (true, now);
        }
        habit
    }

    /// A conversation of a device is over, or forgotten.
    fn closes(&mut self, device: DeviceKey) {
        if let Some(habit) = self.habits.peek_mut(&device) {
            habit.open = habit.open.saturating_sub(1);
        }
    }
}

impl Habit {
    fn lately(&self, window_ns: u64) -> Lately {
        let now = [self.tally.new_destinations, self.tally.judged, self.tally.failures()];
        let recent = self.start.since(self.before_end) < window_ns;
        let before = if recent { self.before } else { [0; 3] };
        std::array::from_fn(|at| now[at].saturating_add(before[at]))
    }

    /// Ends the window: its row.
    fn end(&mut self, window_ns: u64) -> [f32; window::WIDTH] {
        let row = self.tally.row();
        self.before = [self.tally.new_destinations, self.tally.judged, self.tally.failures()];
        self.before_end = self.start.plus(window_ns);
        (self.in_window, self.tally) = (false, Tally::default());
        row
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::addr::Mac;
    use crate::event::Half;
    use crate::flow::{SYN, TCP};
    use crate::health::Health;
    use crate::model::features::Subject;
    use crate::observation::{EndReason, Kind, Verdict};
    use crate::time::{MINUTE, SECOND};

    fn device(at: u8) -> DeviceKey {
        DeviceKey::Local(Mac([2, 0, 0, 0, 0, at]))
    }

    fn contact(from: u8, to: u8, dport: u16, new: bool, at: u64) -> Contact {
        let ip = |host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        let (src, dst) = (ip(from), ip(to));
        Contact {
            class: None,
            device: device(from),
            id: FlowId { src, dst, sport: 50_000, dport, proto: TCP, kind: Kind::Ip, vlan: 0, port: 1 },
            time: Time::at(at * SECOND),
            new_peer: new,
            new_service: new,
            internal: true,
            alive: true,
            settled: true,
            midway: false,
            odd_flags: false,
            end_host: true,
            from_outside: false,
            forbidden: None,
            health: Health::Unknown,
            success: None,
            clean_since: Time::EARLIEST,
        }
    }

    fn ended(contact: &Contact, bytes: u64) -> FlowEnded {
        FlowEnded {
            id: contact.id,
            smac: Mac([2, 0, 0, 0, 0, 1]),
            dmac: Mac([2, 0, 0, 0, 0, 2]),
            inner: None,
            to_server: Half { packets: 10, bytes, drops: 0, tcp_flags: SYN },
            to_client: Half { packets: 5, bytes: 500, drops: 0, tcp_flags: SYN },
            start: contact.time,
            end: contact.time.plus(SECOND),
            reason: EndReason::Closed,
            verdict: Verdict::Pass,
            earlier: None,
            devices: [None; 2],
        }
    }

    fn check(subject: Subject, row: &[f32], want: &[(&str, f32)]) {
        let labels = subject.labels();
        for (name, want) in want {
            let at = labels.iter().position(|label| label.name == *name).expect(name);
            assert!((row[at] - want).abs() < 0.05, "{name} is {}, not {want}", row[at]);
        }
    }

    #[test]
    fn names_differ_and_are_as_many_as_the_rows_are_long() {
        for (subject, width) in [(Subject::Flow, flow::WIDTH), (Subject::Window, window::WIDTH)] {
            let mut names: Vec<_> = subject.labels().iter().map(|label| label.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), width);
        }
    }

    #[test]
    fn a_minute_of_a_device_is_told() {
        let mut watch = Watch::new(8, 8, MINUTE);
        let (known, new) = (contact(1, 2, 445, false, 100), contact(1, 3, 22, true, 130));
        watch.contact(&known, Some(device(2)));
        watch.contact(&new, None);
        watch.outcome(&new, Outcome::Refused, Time::at(131 * SECOND));
        watch.outcome(&known, Outcome::Answered, Time::at(131 * SECOND));
        let row = watch.ended(&ended(&new, 7_000), None, None, Time::at(140 * SECOND));
        check(
            Subject::Flow,
            &row,
            &[
                ("destination_new", 1.0),
                ("open_conversations", 1.0),
                ("administration", 1.0),
                ("bytes_out", 7_000.0),
            ],
        );
        watch.ended(&ended(&known, 1_000), None, Some(device(2)), Time::at(150 * SECOND));
        assert_eq!(watch.due(Time::at(159 * SECOND)), None);

        let (who, row) = watch.due(Time::at(160 * SECOND)).unwrap();
        assert_eq!(who, device(2));
        check(Subject::Window, &row, &[("flows_in", 1.0), ("sources", 1.0), ("bytes_out", 500.0)]);
        let (who, row) = watch.due(Time::at(160 * SECOND)).unwrap();
        assert_eq!(who, device(1));
        check(
            Subject::Window,
            &row,
            &[
                ("flows_out", 2.0),
                ("packets_out", 20.0),
                ("bytes_out", 8_000.0),
                ("bytes_in", 1_000.0),
                ("destinations", 2.0),
                ("new_destinations", 1.0),
                ("ports", 2.0),
                ("networks", 1.0),
                ("failed_contacts", 0.5),
                ("refused_contacts", 1.0),
                ("files", 0.5),
                ("administration", 0.5),
                ("destination_entropy", 1.0),
                ("most_bytes_out", 7_000.0),
                ("bytes_to_new", 7_000.0),
                ("active", 2.0),
            ],
        );
        assert_eq!(watch.due(Time::at(10_000 * SECOND)), None);
    }

    #[test]
    fn what_was_lately_lasts_into_the_next_window_and_no_longer() {
        let mut watch = Watch::new(8, 8, MINUTE);
        let mut lately = |at: u64, to: u8| {
            while watch.due(Time::at(at * SECOND)).is_some() {}
            let contact = contact(1, to, 80, true, at);
            watch.contact(&contact, None);
            watch.outcome(&contact, Outcome::Silent, contact.time);
            let row = watch.ended(&ended(&contact, 1), None, None, contact.time);
            row[flow::WIDTH - 2]
        };
        assert_eq!([lately(0, 1), lately(1, 2), lately(70, 3), lately(71, 4)], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(lately(300, 5), 0.0);
    }

    #[test]
    fn tables_stay_within_their_bounds() {
        let mut watch = Watch::new(4, 4, MINUTE);
        for at in 0..200_u8 {
            let made = contact(at, at.wrapping_add(1), 80, true, u64::from(at) / 20);
            watch.contact(&made, Some(device(at.wrapping_add(1))));
        }
        assert_eq!([watch.habits.len(), watch.windows.len(), watch.openings.len()], [4; 3]);
        assert!(watch.windows.iter().all(|(device, _)| watch.habits.contains(device)));
        let mut due = 0;
        while watch.due(Time::LATEST).is_some() {
            due += 1;
        }
        assert_eq!(due, 4);
        // Who has conversations open that were forgotten has none after all.
        assert!(watch.habits.iter().all(|(_, habit)| habit.open <= 4));
    }
}
