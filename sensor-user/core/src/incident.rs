//! Incidents: all findings about one device that belong together.

use std::collections::{BTreeMap, HashMap};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::coverage::Sighted;
use crate::detect::{Finding, is_advisory};
use crate::event::{Action, Said};
use crate::evidence::Sum;
use crate::inventory::DeviceKey;
use crate::policy::Level;
use crate::policy::preview::Preview;
use crate::policy::ruling::{Lowered, Ruling};
use crate::state::state;
use crate::time::{HOUR, Time};

/// A device without findings for this long starts a new incident with the next one.
pub const QUIET: u64 = HOUR;
/// Most findings kept in an incident.
const MAX_FINDINGS: usize = 32;
/// So many numbers ahead of those in use are remembered as given, so that not each incident takes a write.
const AHEAD: u64 = 64;

/// Findings up to this severity alert; the others are hints.
const ALERT: u8 = 2;

/// One incident.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// Who is blamed.
    pub device: DeviceKey,
    /// Gravest severity so far.
    pub severity: u8,
    /// When it was opened.
    pub opened: Time,
    /// When the first evidence of its alerts came; of a hint it is not known how much it has to do with what followed.
    pub first_evidence: Option<Time>,
    /// When the last finding came.
    pub updated: Time,
    /// What was done about it.
    pub action: Action,
    /// Which level was earned last, and what came of it; none if nothing was earned.
    pub ruling: Option<Ruling>,
    /// The strictest level that a person denied, or nobody approved.
    pub denied: Option<Level>,
    /// The account that approved what was done.
    pub approved_by: Option<String>,
    /// What a person said of it.
    pub judged: Option<Said>,
    /// The last look at what a restriction of its device cuts.
    pub looked: Option<Looked>,
    /// How much was seen when its last alert was told; none in a replay.
    pub coverage: Option<Sighted>,
    /// What the evidence against its device added up to with its last finding.
    pub evidence: Sum,
    /// Its findings: of each detector and signature the latest.
    pub findings: Vec<(Time, Finding)>,
}

/// A look at what a restriction cuts.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Looked {
    /// When.
    pub time: Time,
    /// The level that was looked at.
    pub from: Level,
    /// The steps down that followed.
    pub lowered: Vec<Lowered>,
    /// What is lost by the level that is left; none if that was not looked at.
    pub impact: Option<Preview>,
}

impl Incident {
    /// Whether nothing was done about it, nor refused to be.
    fn is_untouched(&self) -> bool {
        self.action == Action::None || self.action.is_ungraded()
    }
}

/// All incidents, bounded; the oldest is forgotten first.
#[derive(Debug)]
pub struct Incidents {
    all: BTreeMap<u64, Incident>,
    open: HashMap<DeviceKey, u64>,
    limit: usize,
    /// The last number given.
    last: u64,
    /// Numbers up to this are remembered as given.
    reserved: u64,
    /// Incidents opened.
    pub opened: u64,
}

state!(Incidents { all, open, last, reserved, opened } keeps { limit });

impl Incidents {
    /// No incidents, and room for `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            open: HashMap::new(),
            limit: limit.max(1),
            last: 0,
            reserved: 0,
            opened: 0,
        }
    }

    /// Adds a finding to the device's open incident, or opens one. Returns its number, and whether the finding is news:
    /// the first of its kind in the incident, or graver than before. `evidence` is what there is against the device with it.
    pub fn add(&mut self, finding: &Finding, evidence: Sum, now: Time) -> (u64, bool) {
        let open = self.open.get(&finding.device).and_then(|id| self.all.get(id));
        let id = match open {
            Some(incident) if now.since(incident.updated) < QUIET => incident.id,
            _ => self.start(finding, now),
        };
        let Some(incident) = self.all.get_mut(&id) else { return (id, false) };
        incident.updated = now;
        incident.evidence = evidence;
        incident.severity = incident.severity.min(finding.severity);
        if finding.severity <= ALERT {
            let first =
                incident.first_evidence.map_or(finding.first_evidence, |old| old.min(finding.first_evidence));
            incident.first_evidence = Some(first);
        }
        let same = |(_, old): &&mut (Time, Finding)| {
            old.detector == finding.detector && old.signature == finding.signature
        };
        if let Some(old) = incident.findings.iter_mut().find(same) {
            let graver = finding.severity < old.1.severity;
            *old = (now, finding.clone());
            return (id, graver);
        }
        if incident.findings.len() < MAX_FINDINGS {
            incident.findings.push((now, finding.clone()));
        }
        (id, true)
    }

    fn start(&mut self, finding: &Finding, now: Time) -> u64 {
        self.opened += 1;
        self.last += 1;
        self.enter(self.last, finding, now);
        self.last
    }

    /// Takes up an incident of an earlier run, with the finding it went by.
    pub fn recall(&mut self, id: u64, finding: &Finding, now: Time) -> &mut Incident {
        self.skip_to(id);
        let incident = self.enter(id, finding, now);
        incident.opened = finding.first_evidence;
        incident.evidence = Sum { shares: vec![(finding.family, finding.weight)] };
        incident.findings.push((finding.first_evidence, finding.clone()));
        incident
    }

    /// Numbers up to this were given.
    pub fn skip_to(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// The last number given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Up to which number they are to be remembered as given; none if enough of them are.
    pub fn reserve(&mut self) -> Option<u64> {
        if self.last + AHEAD / 2 < self.reserved {
            return None;
        }
        self.reserved = self.last + AHEAD;
        Some(self.reserved)
    }

    fn enter(&mut self, id: u64, finding: &Finding, now: Time) -> &mut Incident {
        while self.all.len() >= self.limit {
            let Some((old, incident)) = self.all.pop_first() else { break };
            if self.open.get(&incident.device) == Some(&old) {
                self.open.remove(&incident.device);
            }
        }
        let incident = Incident {
            id,
            device: finding.device,
            severity: finding.severity,
            opened: now,
            first_evidence: None,
            updated: now,
            action: Action::None,
            ruling: None,
            denied: None,
            approved_by: None,
            judged: None,
            looked: None,
            coverage: None,
            evidence: Sum::default(),
            findings: Vec::new(),
        };
        self.open.insert(finding.device, id);
        self.all.entry(id).insert_entry(incident).into_mut()
    }

    /// Number and gravest finding of incidents that go on and found the budget of automatic isolations spent.
    pub fn unspent(&self, now: Time) -> Vec<(u64, Finding)> {
        let waiting = |incident: &&Incident| {
            incident.action == Action::BudgetSpent && now.since(incident.updated) < QUIET
        };
        let gravest = |incident: &Incident| {
            incident
                .findings
                .iter()
                .map(|(_, finding)| finding)
                .filter(|finding| !is_advisory(finding.detector))
                .min_by_key(|finding| finding.severity)
                .cloned()
        };
        let open = self.open.values().filter_map(|id| self.all.get(id));
        let mut incidents: Vec<_> = open.filter(waiting).collect();
        incidents.sort_by_key(|incident| incident.id);
        incidents.into_iter().filter_map(|incident| Some((incident.id, gravest(incident)?))).collect()
    }

    /// Notes what was done. What graded decisions would do takes nothing back that was done, or refused; that a device is
    /// restricted already says less than by what.
    pub fn set_action(&mut self, id: u64, action: Action) {
        if let Some(incident) = self.all.get_mut(&id)
            && (!action.is_ungraded() || incident.is_untouched())
            && (action != Action::AlreadyIsolated || !incident.action.acts())
        {
            incident.action = action;
        }
    }

    /// One of them.
    pub fn get(&self, id: u64) -> Option<&Incident> {
        self.all.get(&id)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Incident> {
        self.all.get_mut(&id)
    }

    /// Whether what graded decisions would do goes beyond what was said of an incident so far.
    pub fn rises(&self, id: u64, action: &Action) -> bool {
        self.all.get(&id).is_some_and(|incident| {
            action.is_ungraded() && incident.is_untouched() && action.level() > incident.action.level()
        })
    }

    /// Whether a device has an incident that goes on.
    pub fn is_open(&self, device: DeviceKey, now: Time) -> bool {
        let open = self.open.get(&device).and_then(|id| self.all.get(id));
        open.is_some_and(|incident| now.since(incident.updated) < QUIET)
    }

    /// Closes a device's incident: what comes next is a new one.
    pub fn close(&mut self, device: DeviceKey) {
        self.open.remove(&device);
    }

    /// All incidents, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Incident> {
        self.all.values().rev()
    }
}
