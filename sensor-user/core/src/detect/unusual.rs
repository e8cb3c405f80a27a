//! Unusual: a conversation, or a minute of a device, is unlike all that was learned.
//!
//! Signal: rows of numbers of each conversation that ended and of each minute in which a device did something
//! ([`features`](crate::model::features)).
//! Statistic: how badly a network that learned the usual rows of all devices gives a row back, over the device's own level
//! (the running median of its scores), against the threshold its training promised a rate of false alarms for.
//! Cold start: nothing is found without a model in force whose threshold is [`Promised`](Threshold::Promised), and of a
//! device only once [`KNOWN_AFTER`] of its rows were scored. Recovery: a finding is told at most once an hour for a device,
//! and half as often each time it goes on, down to once a day.
//! Learning: rows of devices that are *clean* (no open incident, no entry of the block list) go into a bounded reservoir,
//! as the whole of what models are trained on.
//! Classes: rows are kept, and models made, of all devices and of each class of devices ([`Scope`]), whose rows go to both. A
//! device is scored by its class's model if that promises anything, else by the one of all, so that a small class is never
//! without; what is usual for a device is learned anew when it is scored by another class's. Only [`CLASSES`] classes learn,
//! the first by name, and fewer rows are kept of each ([`CLASS_ROWS`]): that bounds the memory.
//! Slow change: a device that becomes something else bit by bit is taken for usual by each training. So each new model is
//! compared with the first one ([`drift`](crate::model::drift)), and a device on which they part is found
//! ([`Unusual::parted`]).
//! Known false alarms: anything that is done for the first time, and be it the yearly stock-taking; a device that many
//! others suddenly ask. So it only advises: severity 3, and no setting lets it isolate ([`is_advisory`](super::is_advisory)).
//! Papers: Mirsky et al., Kitsune (NDSS 2018) and Nguyen et al., DIoT (ICDCS 2019) for networks that give rows back.
//!
//! It differs from the other detectors in that it is told who is clean and who has a destination, and is given models.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use hashbrown::DefaultHashBuilder;

use super::Finding;
use crate::contact::{Contact, Outcome};
use crate::event::{Evidence, FlowEnded, Value};
use crate::evidence::Family;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::model::drift::{self, Parting};
use crate::model::explain::Cause;
use crate::model::features::{Subject, Watch};
use crate::model::reservoir::{Reservoir, Rows};
use crate::model::{Judgement, Level, Model, Scratch, Threshold};
use crate::observation::{EndReason, FlowId};
use crate::policy::Name;
use crate::settings::Settings;
use crate::state::state;
use crate::time::{HOUR, MINUTE, Time};

/// The detector's name.
pub const NAME: &str = "unusual";
/// Most rows that are kept to learn from, of each subject; 4 bytes a feature and about 50 a row.
pub const MAX_ROWS: usize = 65_536;
/// The same of a class.
pub const CLASS_ROWS: usize = 32_768;
/// Classes that are learned from, at most: the first by name.
pub const CLASSES: usize = 12;
/// The name of all devices, as models have it. A class of the configuration that is called so is not learned from.
pub const ALL: &str = "all";
/// Rows of a device that must have been scored before one is called: its level is a guess until then.
pub const KNOWN_AFTER: u16 = 30;
/// Scores of a device that can be looked at.
pub const MAX_SCORES: usize = 8;
/// Length of a window.
const WINDOW: u64 = MINUTE;
/// A device is told again after this time at the soonest...
const FIRST_GAP: u64 = HOUR;
/// ...and after this at the latest, if it goes on.
const LAST_GAP: u64 = 24 * HOUR;
/// Features that are named in a finding.
const CAUSES: usize = 3;

/// Weight of a device that parts from what was learned first, nats: all that models may say together.
const PARTED_WEIGHT: f64 = 3.0;

/// Severity of its findings, the least there is.
const SEVERITY: u8 = 3;

/// Whether a device has nothing against it, so that it may be learned from.
pub type Clean<'a> = &'a dyn Fn(DeviceKey) -> bool;

/// What is known of devices.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Whether one may be learned from.
    pub clean: Clean<'a>,
    /// Its class.
    pub class: &'a dyn Fn(DeviceKey) -> Option<Name>,
}

/// What a model is of: the rows of a subject, of a class of devices or of all.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub struct Scope {
    /// The class; none: all devices.
    pub class: Option<Name>,
    /// What rows are about.
    pub subject: Subject,
}

impl Scope {
    /// That of a model; none if no class can be called so.
    pub fn of(model: &Model) -> Option<Self> {
        let class = if model.class == ALL { None } else { Some(model.class.parse().ok()?) };
        Some(Self { class, subject: model.subject })
    }

    /// The name of the class.
    pub fn class_name(&self) -> &str {
        self.class.as_ref().map_or(ALL, Name::as_str)
    }

    /// Rows that are kept to learn from, at most.
    pub fn limit(&self) -> usize {
        if self.class.is_some() { CLASS_ROWS } else { MAX_ROWS }
    }
}

impl From<Subject> for Scope {
    fn from(subject: Subject) -> Self {
        Self { class: None, subject }
    }
}

impl fmt::Display for Scope {
    /// As files have it: a name has no `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.class_name(), self.subject.name())
    }
}

/// A model in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The model.
    pub model: Arc<Model>,
    /// What it is called: the beginning of its file's hash.
    pub hash: String,
}

/// A score of a device.
#[derive(Clone, Copy, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Scored {
    /// When.
    pub time: Time,
    /// The model's scope.
    pub scope: Scope,
    /// What the model said.
    pub judgement: Judgement,
    /// The part of the rows learned from that score no more, 0 to 1.
    pub rank: f64,
}

#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Host {
    /// By subject, as the model of this class has it.
    levels: [Option<(Option<Name>, Level)>; 2],
    /// The last conversation it began.
    last: Option<FlowId>,
    scores: VecDeque<Scored>,
    /// When it was told last, and for how long it is not told again.
    told: Option<(Time, u64)>,
}

/// What was learned of a scope.
#[derive(Debug)]
struct Learned {
    reservoir: Reservoir,
    model: Option<InForce>,
}

/// The detector.
pub struct Unusual {
    watch: Watch,
    hosts: Lru<DeviceKey, Host>,
    learned: HashMap<Scope, Learned, DefaultHashBuilder>,
    /// How many models are in force.
    models: usize,
    scratch: Scratch,
    /// Added to times of rows, so that rows of several runs are of one clock.
    ahead_ns: u64,
}

state!(Unusual { watch, hosts } keeps { learned, models, scratch, ahead_ns });

const fn place(subject: Subject) -> usize {
    match subject {
        Subject::Flow => 0,
        Subject::Window => 1,
    }
}

/// The weight of a score that a healthy device reaches at this rate: a p-value as ln(1/(2 sqrt p)), a valid way from p to e
/// (Vovk and Wang 2021). Models promise nothing below 1e-12.
fn weight(rate: f64) -> f64 {
    -(2.0 * rate.clamp(1e-12, 1.0).sqrt()).ln()
}

impl Unusual {
    /// A detector without a model, and with nothing to learn from.
    pub fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let classes = settings.classes.keys().filter(|name| name.as_str() != ALL).take(CLASSES);
        let classes = [None].into_iter().chain(classes.copied().map(Some));
        let scopes = classes
            .flat_map(|class| [Subject::Flow, Subject::Window].map(|subject| Scope { class, subject }));
        let learned = (1..).zip(scopes).map(|(seed, scope)| {
            let reservoir = Reservoir::new(scope.limit(), scope.subject.labels().len(), seed);
            (scope, Learned { reservoir, model: None })
        });
        Self {
            watch: Watch::new(limits.devices, limits.flows, WINDOW),
            hosts: Lru::new(capacity(limits.devices)),
            learned: learned.collect(),
            models: 0,
            scratch: Scratch::default(),
            ahead_ns: 0,
        }
    }

    /// From now on times of rows are so much later than those of what is observed. Without it they are the same.
    pub fn set_ahead(&mut self, ahead_ns: u64) {
        self.ahead_ns = ahead_ns;
    }

    /// Puts a model in force in place of the one of its scope; one of a class that is not learned from is left out. What is
    /// usual for each device is learned anew by it.
    pub fn put(&mut self, in_force: InForce) {
        let scope = Scope::of(&in_force.model);
        let Some((scope, learned)) = scope.and_then(|scope| Some((scope, self.learned.get_mut(&scope)?)))
        else {
            return;
        };
        for host in self.hosts.values_mut() {
            if let Some(level) = host.levels.get_mut(place(scope.subject)) {
                level.take_if(|(class, _)| *class == scope.class);
            }
        }
        self.models += usize::from(learned.model.replace(in_force).is_none());
    }

    /// What is learned from: all devices first, then the classes by name.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let mut scopes: Vec<_> = self.learned.keys().copied().collect();
        scopes.sort();
        scopes.into_iter()
    }

    /// The model in force.
    pub fn model(&self, scope: Scope) -> Option<&InForce> {
        self.learned.get(&scope)?.model.as_ref()
    }

    /// The rows to learn from.
    pub fn reservoir(&self, scope: Scope) -> Option<&Reservoir> {
        self.learned.get(&scope).map(|learned| &learned.reservoir)
    }

    /// The same, to change them.
    pub fn reservoir_mut(&mut self, scope: Scope) -> Option<&mut Reservoir> {
        self.learned.get_mut(&scope).map(|learned| &mut learned.reservoir)
    }

    /// The rows to learn from, less those of devices that are not clean any more.
    pub fn rows(&self, scope: Scope, clean: Clean<'_>) -> Option<Rows> {
        self.reservoir(scope).map(|reservoir| reservoir.rows().only(clean))
    }

    /// The last scores of a device, the newest first.
    pub fn scores(&self, device: DeviceKey) -> impl Iterator<Item = &Scored> {
        self.hosts.peek(&device).into_iter().flat_map(|host| host.scores.iter().rev())
    }

    /// A device makes a contact; `peer` has the destination, if that is known.
    pub fn contact(
        &mut self,
        contact: &Contact,
        peer: Option<DeviceKey>,
        look: Look<'_>,
        found: &mut Vec<Finding>,
    ) {
        self.tick(contact.time, look, found);
        self.watch.contact(contact, peer);
    }

    /// A first contact has an outcome.
    pub fn outcome(
        &mut self,
        contact: &Contact,
        outcome: Outcome,
        now: Time,
        look: Look<'_>,
        found: &mut Vec<Finding>,
    ) {
        self.tick(now, look, found);
        self.watch.outcome(contact, outcome, now);
    }

    /// A conversation ended, of these devices, if they are known.
    pub fn ended(
        &mut self,
        flow: &FlowEnded,
        [device, peer]: [Option<DeviceKey>; 2],
        now: Time,
        look: Look<'_>,
        found: &mut Vec<Finding>,
    ) {
        self.tick(now, look, found);
        let row = self.watch.ended(flow, device, peer, now);
        // The end of the run ended it, halfway.
        let whole = flow.reason != EndReason::Shutdown;
        let Some(device) = device.filter(|_| whole) else { return };
        if self.models > 0 {
            self.hosts.get_or_insert_mut(device, Host::default).last = Some(flow.id);
        }
        self.take(Subject::Flow, device, &row, now, look, found);
    }

    /// Takes in the windows that are over.
    pub fn tick(&mut self, now: Time, look: Look<'_>, found: &mut Vec<Finding>) {
        while let Some((device, row)) = self.watch.due(now) {
            self.take(Subject::Window, device, &row, now, look, found);
        }
    }

    /// Devices became something else bit by bit, so that each training took them for usual: those that were seen since
    /// the start are found. `golden` is the hash of the model that was learned first.
    pub fn parted(&self, partings: &[Parting], golden: &str, now: Time, found: &mut Vec<Finding>) {
        for parting in partings {
            let Some(flow) = self.hosts.peek(&parting.host).and_then(|host| host.last) else { continue };
            found.push(Finding {
                detector: NAME,
                signature: "unusual: changed bit by bit from what was learned first",
                severity: SEVERITY,
                family: Family::Model,
                weight: PARTED_WEIGHT,
                device: parting.host,
                flow,
                evidence: vec![
                    ("rank_by_first_model", hundredths(parting.golden)),
                    ("rank_by_new_model", hundredths(parting.challenger)),
                    ("gap_in_sum", hundredths(parting.sum)),
                    ("limit", hundredths(drift::LIMIT)),
                    ("first_model", Value::Text(golden.to_owned())),
                ],
                first_evidence: now,
            });
        }
    }

    /// Scores a row, and keeps it to learn from.
    fn take(
        &mut self,
        subject: Subject,
        device: DeviceKey,
        row: &[f32],
        now: Time,
        look: Look<'_>,
        found: &mut Vec<Finding>,
    ) {
        let is_clean = (look.clean)(device);
        let all = Scope::from(subject);
        let own = Scope { class: (look.class)(device), subject };
        if is_clean {
            let time = now.plus(self.ahead_ns);
            let scopes = [Some(all), Some(own).filter(|own| *own != all)];
            for scope in scopes.into_iter().flatten() {
                if let Some(reservoir) = self.reservoir_mut(scope) {
                    reservoir.offer(device, time, row);
                }
            }
        }
        if self.models == 0 {
            return;
        }
        let in_force = |scope: Scope| self.learned.get(&scope).and_then(|learned| learned.model.as_ref());
        let promising = |in_force: &&InForce| matches!(in_force.model.threshold, Threshold::Promised { .. });
        let (scope, in_force) = match in_force(own).filter(promising) {
            Some(model) => (own, Some(model)),
            None => (all, in_force(all)),
        };
        let Some(InForce { model, hash }) = in_force else { return };
        let host = self.hosts.get_or_insert_mut(device, Host::default);
        let Some(level) = host.levels.get_mut(place(subject)) else { return };
        level.take_if(|(class, _)| *class != scope.class);
        let (_, level) = level.get_or_insert_with(|| (scope.class, model.level()));
        let judgement = model.judge(row, level, &mut self.scratch);
        let known = level.seen() >= KNOWN_AFTER;
        if is_clean {
            level.observe(judgement.score);
        }
        if host.scores.len() >= MAX_SCORES {
            host.scores.pop_front();
        }
        host.scores.push_back(Scored { time: now, scope, judgement, rank: model.rank(judgement.score) });
        let promised = matches!(model.threshold, Threshold::Promised { .. });
        let Some(flow) = host.last.filter(|_| judgement.alarm && known && promised) else { return };
        if !host.may_tell(now) {
            return;
        }
        let causes = model.explain(row, CAUSES, &mut self.scratch);
        found.push(Finding {
            detector: NAME,
            signature: signature(subject),
            severity: SEVERITY,
            family: Family::Model,
            weight: weight(judgement.rate),
            device,
            flow,
            evidence: evidence(&judgement, model, hash, &causes),
            first_evidence: now,
        });
    }
}

impl Host {
    /// Whether it is to be told now. If so, it is not told again for a while.
    fn may_tell(&mut self, now: Time) -> bool {
        let gap = match self.told {
            Some((last, gap)) if now.since(last) < gap => return false,
            // It went on, or began again soon.
            Some((last, gap)) if now.since(last) < 2 * LAST_GAP => gap.saturating_mul(2).min(LAST_GAP),
            _ => FIRST_GAP,
        };
        self.told = Some((now, gap));
        true
    }
}

fn signature(subject: Subject) -> &'static str {
    match subject {
        Subject::Flow => "unusual: a conversation unlike those that were learned",
        Subject::Window => "unusual: a minute unlike those that were learned",
    }
}

fn hundredths(number: f64) -> Value {
    Value::Number((number * 100.0).round() / 100.0)
}

fn evidence(judgement: &Judgement, model: &Model, hash: &str, causes: &[Cause]) -> Evidence {
    let rows = (1.0 / judgement.rate.max(f64::MIN_POSITIVE)).round();
    let mut evidence = vec![
        ("score_over_own_level", hundredths(f64::from(judgement.over))),
        ("limit", hundredths(model.threshold.at())),
        ("usual_once_in_rows", Value::Count(rows as u64)),
        ("model", Value::Text(hash.to_owned())),
        ("learned_of", Value::Text(model.class.clone())),
    ];
    evidence.extend(causes.iter().map(|cause| (cause.label.name, Value::Text(words(cause)))));
    evidence
}

/// A feature's value and what is usual, for people: `7000 bytes; usual 0 to 1200, half up to 300 (61 % of the score)`.
fn words(cause: &Cause) -> String {
    let Cause { label, value, usual, part, .. } = cause;
    let unit = if label.unit.is_empty() { String::new() } else { format!(" {}", label.unit) };
    format!(
        "{}{unit}; usual {} to {}, half up to {} ({:.0} % of the score)",
        short(*value),
        short(usual.low),
        short(usual.high),
        short(usual.middle),
        part * 100.0
    )
}

/// A number with as many digits as say something.
fn short(number: f32) -> String {
    let number = f64::from(number);
    let digits = if number.abs() >= 100.0 { 0 } else { 2 };
    let text = format!("{number:.digits$}");
    match text.strip_suffix(".00") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}
