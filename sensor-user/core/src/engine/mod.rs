//! The engine: observations, ticks and commands in; decisions, things to remember and events out.
//!
//! It is fed by one task and holds no lock. What it decides is carried out by whoever feeds it: a live daemon writes the
//! kernel's maps, a replay its own software data path.

mod add;
mod approve;
mod command;
mod conclude;
mod devices;
mod follow;
mod forbidden;
mod fuse;
mod group;
mod habit;
mod hold;
mod identify;
mod input;
mod learn;
mod merge;
mod pass;
mod preview;
mod reach;
mod reached;
mod recall;
mod review;
mod rule;
mod sight;
mod silence;
mod state;
mod view;
mod window;

use std::collections::{BTreeMap, VecDeque};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::addr::Mac;
use crate::contact::{Contact, Contacts, Facts, Outcome, SETTLED};
use crate::coverage::Sight;
use crate::detect::unusual::Unusual;
use crate::detect::{Finding, REGISTRY, tests_first_contact};
use crate::event::{Change, DeviceRef, FlowEnded, Timed};
use crate::evidence::Ledger;
use crate::flow::{Conversations, RST, Role, TCP, UDP};
use crate::health::{Health, Services};
use crate::hearing::Hearing;
use crate::identify::Identities;
use crate::identify::group::Groups;
use crate::incident::Incidents;
use crate::inventory::{self, DeviceKey, Inventory};
use crate::observation::{FlowId, FlowSeen, Kind, Observation, Verdict};
use crate::policy::memory::Counter;
use crate::policy::repeat::Repeats;
use crate::policy::{Blocklist, Decision, Level, Memory, Name, Save, Target};
use crate::settings::Settings;
use crate::success::Success;
use crate::time::{MINUTE, SECOND, Time};

pub use add::Add;
use approve::Waitings;
pub use command::{Command, CommandError, Former, Impact, Judge, Mistake, Mistakes, Reply, Which, Who};
pub use devices::MAX_EDITS;
use follow::Following;
pub use input::{Input, Notes};
pub use merge::Remark;
pub use recall::LastState;
use review::Reviews;
use state::Detectors;
use window::Windows;
pub use window::{Announce, Whom};

/// What the engine gives back: all of it must be carried out, decisions first.
#[derive(Debug, Default)]
pub struct Output {
    /// Orders to the data path, in order.
    pub decisions: Vec<Decision>,
    /// What the store is to remember.
    pub saves: Vec<Save>,
    /// What happened.
    pub events: Vec<Timed>,
    /// Parts of conversations that go on for long, told when they are due: for a log alone, since their ends are events.
    pub parts: Vec<FlowEnded>,
}

/// Conversations found under way within this time after the first observation are taken for old.
const WARM_UP: u64 = MINUTE;
/// Incidents that found the budget spent are looked at again this often.
const SECOND_LOOK: u64 = 10 * SECOND;

/// An automatic restriction that began, or was raised.
#[derive(Clone, Copy, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Begun {
    time: Time,
    device: DeviceKey,
    level: Level,
    /// Another one of these reached it before: it is of its infection tree.
    infected: bool,
}

/// The engine.
pub struct Engine {
    settings: Settings,
    inventory: Inventory,
    conversations: Conversations,
    contacts: Contacts,
    services: Services,
    success: Success,
    hearing: Hearing,
    identities: Identities,
    groups: Groups,
    detectors: Detectors,
    incidents: Incidents,
    ledger: Ledger,
    repeats: Repeats,
    blocks: Blocklist,
    following: Following,
    /// The names of the ports, by index.
    ports: BTreeMap<u8, Name>,
    /// Restrictions that wait for a person.
    waiting: Waitings,
    /// Detectors on review.
    reviews: Reviews,
    /// Announced change windows.
    windows: Windows,
    /// The made-up device of a fire drill, and until when it is one.
    drill: Option<(Mac, Time)>,
    /// The last automatic restrictions.
    recent: VecDeque<Begun>,
    found: Vec<Finding>,
    /// What came in, if that is noted down.
    notes: Option<Notes>,
    /// Findings of detectors that are switched off where they were made.
    silenced: u64,
    /// Contacts made before are not judged by silence.
    sighted_since: Time,
    /// The first observation.
    begun: Option<Time>,
    /// The first flow that was told.
    heard_since: Option<Time>,
    /// When incidents that found the budget spent are looked at again.
    next_second_look: Time,
    /// When what changed of devices is saved.
    next_keep: Time,
    /// How much was seen lately; none if nobody says.
    sight: Option<Sight>,
    /// What changed of cards and is not told yet; until when so many may be told.
    untold: VecDeque<Timed>,
    next_told: (Time, usize),
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            inventory: Inventory::new(&settings),
            conversations: Conversations::new(settings.limits.flows),
            contacts: Contacts::new(&settings),
            services: Services::new(&settings),
            success: Success::new(&settings),
            hearing: Hearing::default(),
            identities: Identities::new(settings.limits.devices),
            groups: Groups::default(),
            detectors: Detectors {
                registered: REGISTRY.iter().map(|(_, build)| build(&settings)).collect(),
                unusual: Some(Box::new(Unusual::new(&settings))),
            },
            incidents: Incidents::new(settings.limits.incidents),
            ledger: Ledger::new(settings.limits.devices),
            repeats: Repeats::new(settings.limits.devices),
            blocks: Blocklist::default(),
            following: Following::default(),
            ports: BTreeMap::new(),
            waiting: Waitings::new(),
            reviews: Reviews::default(),
            windows: Windows::default(),
            drill: None,
            recent: VecDeque::new(),
            found: Vec::new(),
            notes: None,
            silenced: 0,
            sighted_since: Time::EARLIEST,
            begun: None,
            heard_since: None,
            next_second_look: Time::EARLIEST,
            next_keep: Time::EARLIEST,
            sight: None,
            untold: VecDeque::new(),
            next_told: (Time::EARLIEST, 0),
            settings,
        }
    }

    /// Tells which port has which index now.
    pub fn set_ports(&mut self, ports: BTreeMap<u8, Name>) {
        self.note(|| Input::Ports(ports.clone()));
        self.inventory.place(&ports, &mut self.identities);
        self.ports = ports;
    }

    /// Takes in one observation.
    pub fn observe(&mut self, observation: &Observation, out: &mut Output) {
        self.note(|| Input::Observation(*observation));
        match observation {
            Observation::Flow(seen) => self.flow(seen, out),
            Observation::Progress(progress) => self.progress(progress, out),
            Observation::Drop(seen) => self.dropped(seen, out),
        }
    }

    /// Observations up to `until` were lost. Silence says nothing of contacts made by then: the answer may be among them.
    pub fn lost_sight(&mut self, until: Time) {
        self.note(|| Input::LostSight(until));
        self.sighted_since = self.sighted_since.max(until);
    }

    /// Lets time pass: what waited too long is judged, what is over ends. Everything up to `now` must have been observed
    /// before, or an answer that is on its way would be taken for silence. Cheap when nothing is due; at least every 10 ms
    /// is best while contacts wait, and at least every second always.
    pub fn tick(&mut self, now: Time, out: &mut Output) {
        self.note(|| Input::Tick(now));
        self.pass_time(now, out);
    }

    fn pass_time(&mut self, now: Time, out: &mut Output) {
        self.turn_windows(now, out);
        self.judge_lapsed(now, out);
        while let Some(ended) = self.conversations.expire(now) {
            self.ended(ended, now, out);
        }
        self.ask_unusual(now, |unusual, look, found| unusual.tick(now, look, found));
        self.conclude(now, out);
        self.measure_success(now);
        for id in self.blocks.lapsed(now) {
            self.release(id, Change::Expired, now, out);
        }
        self.settle_lapsed(now, out);
        self.keep_devices(now, false, out);
        self.watch_groups(now, out);
        self.tell_cards(now, false, out);
        if now >= self.next_second_look {
            self.next_second_look = now.plus(SECOND_LOOK);
            self.look_again(now, out);
        }
    }

    /// The highest number of an incident so far; 0 if there was none.
    pub fn last_incident(&self) -> u64 {
        self.incidents.last()
    }

    /// Ends the run: contacts that wait are judged at `now`, all conversations end.
    pub fn finish(&mut self, now: Time, out: &mut Output) {
        self.note(|| Input::Finish(now));
        self.pass_time(now, out);
        out.saves.push(Save::Keep(Memory::Last(Counter::Incidents, self.incidents.last())));
        self.keep_devices(now, true, out);
        self.tell_cards(now, true, out);
        while let Some(ended) = self.conversations.drain() {
            self.ended(ended, now, out);
        }
    }

    /// Whether contacts wait for an answer, so that time matters to the millisecond.
    pub fn is_waiting(&self) -> bool {
        !self.contacts.is_empty()
    }

    fn flow(&mut self, seen: &FlowSeen, out: &mut Output) {
        self.judge_lapsed(seen.time, out);
        self.heard_since.get_or_insert(seen.time);
        let sighting = self.inventory.see(seen, &self.settings);
        if sighting.became_gateway {
            self.identities.forget(DeviceKey::Local(seen.smac));
        }
        if let Some(news) = sighting.news {
            self.tell_device(sighting.device, news, seen.time, out);
        }
        if sighting.became_gateway && self.settings.protected.contains(&Target::Mac(seen.smac)) {
            out.decisions.push(Decision::Clear(Target::Mac(seen.smac)));
        }
        self.follow(seen, out);
        let (role, evicted) = self.conversations.begin(seen);
        if let Some(ended) = evicted {
            self.ended(ended, seen.time, out);
        }
        self.began(seen, role, sighting.device);
        if seen.verdict != Verdict::Drop
            && let Some((contact, outcome)) = self.contacts.advertised(seen)
        {
            self.outcome(&contact, outcome, seen.time);
        }
        match (role, sighting.device) {
            (Role::Opens, Some(device)) if !self.is_cut(seen) => self.opens(device, seen),
            (Role::Answers(id, asker), _) if seen.verdict != Verdict::Drop => {
                self.hearing.answered(&id);
                self.note_service(&id, sighting.device, seen, out);
                let refused = id.proto == TCP && seen.tcp_flags & RST != 0;
                if !refused {
                    self.accepted(&id, seen);
                }
                if let Some((contact, outcome)) = self.contacts.answered(&id, seen) {
                    self.outcome(&contact, outcome, seen.time);
                } else if let Some(asked) = self.inventory.speaker(asker, id.src).filter(|_| !refused) {
                    let internal = self.is_internal(id.dst);
                    self.contacts.accepted(asked.key, &id, internal, seen);
                }
            }
            _ => {}
        }
        self.conclude(seen.time, out);
    }

    /// The first flow of a conversation.
    fn opens(&mut self, device: DeviceKey, seen: &FlowSeen) {
        if let Some((contact, outcome)) = self.contacts.refused_by_icmp(seen) {
            return self.outcome(&contact, outcome, seen.time);
        }
        let Some(known) = self.inventory.get(device) else { return };
        let (class, end_host, clean_since) = (known.class, known.is_end_host(), known.clean_since);
        let begun = *self.begun.get_or_insert(seen.time);
        let settled = self.is_settled(device, seen.time);
        // Nothing comes back of what was dropped, wherever answers go.
        let asks = seen.id.proto == TCP && seen.verdict != Verdict::Drop;
        if asks && self.services.knows(&seen.id, seen.time) {
            self.hearing.asked(&seen.id, device, seen.time);
        }
        let facts = Facts { class, alive: self.inventory.alive(seen.id.dst), settled, end_host, clean_since };
        let Some(contact) = self.contacts.make(device, seen, facts, &self.settings) else { return };
        // What was under way when the sensor started is how the network is.
        if contact.midway && seen.time.since(begun) < WARM_UP {
            return;
        }
        let contact = Contact { forbidden: self.forbidden(&contact), ..contact };
        for detector in &mut self.detectors.registered {
            detector.contact(&contact, &mut self.found);
        }
        if contact.is_solicitation() {
            return;
        }
        let peer = self.inventory.holder(contact.id.dst).map(|peer| peer.key);
        self.ask_unusual(contact.time, |unusual, look, found| unusual.contact(&contact, peer, look, found));
    }

    /// A conversation was answered, and not by a refusal, whether it was a first contact or not: what is tried first may not have
    /// been started yet.
    fn accepted(&mut self, id: &FlowId, answer: &FlowSeen) {
        if matches!(id.proto, TCP | UDP) {
            self.inventory.note_answer(answer.dmac, id.src);
        }
        if self.is_internal(id.dst) {
            self.services.answered(id, answer.time);
        }
    }

    fn outcome(&mut self, contact: &Contact, outcome: Outcome, now: Time) {
        let health = match outcome {
            Outcome::Answered => Health::Unknown,
            _ => {
                let heard = self.inventory.holder(contact.id.dst).map(|device| device.last_seen);
                self.services.failed(contact, outcome, heard)
            }
        };
        let contact = Contact { health, ..*contact };
        let success = self.success_of(&contact, outcome, now);
        let contact = &Contact { success, ..contact };
        for detector in &mut self.detectors.registered {
            detector.outcome(contact, outcome, now, &mut self.found);
        }
        if contact.is_solicitation() {
            return;
        }
        self.ask_unusual(now, |unusual, look, found| unusual.outcome(contact, outcome, now, look, found));
    }

    /// Whether a device and the sensor know each other so long that not all is new (see [`Contact::settled`]).
    fn is_settled(&self, device: DeviceKey, now: Time) -> bool {
        let known = self.inventory.get(device).map(|device| device.first_seen);
        let both = self.begun.zip(known).map(|(begun, known)| begun.max(known));
        both.is_some_and(|since| now.since(since) >= SETTLED)
    }

    /// How often first contacts succeed in the device's class; notes what came of this one.
    fn success_of(&mut self, contact: &Contact, outcome: Outcome, now: Time) -> Option<u16> {
        if !tests_first_contact(contact, outcome) {
            return None;
        }
        if self.is_clean(contact.device, now) {
            self.success.note(contact.device, outcome == Outcome::Answered);
        }
        self.success.of(contact.class)
    }

    /// Measures how often first contacts succeed, if it is time.
    fn measure_success(&mut self, now: Time) {
        if !self.success.is_due(now) {
            return;
        }
        let mut success = std::mem::replace(&mut self.success, Success::new(&self.settings));
        success.measure(now, |device| {
            let known = self.inventory.get(device).filter(|_| !self.is_suspect(device, now))?;
            Some(known.class)
        });
        self.success = success;
    }

    /// Judges contacts whose time is up. One to a device that was restricted meanwhile says nothing, and is left out.
    fn judge_lapsed(&mut self, now: Time, out: &mut Output) {
        while let Some((contact, deadline)) = self.contacts.lapsed(now) {
            let deaf = contact.id.kind == Kind::Ip && self.hearing.is_deaf(&contact.id, deadline);
            if deaf || contact.time < self.sighted_since {
                self.contacts.evicted += 1;
                continue;
            }
            if !self.is_held(contact.id.dst) {
                self.outcome(&contact, Outcome::Silent, deadline);
                self.conclude(deadline, out);
            }
        }
    }

    fn describe(&self, key: DeviceKey) -> Option<DeviceRef> {
        self.inventory.get(key).map(|device| inventory::describe(device, &self.settings))
    }
}
