//! Incidents: all findings about one device that belong together.

use std::collections::{BTreeMap, HashMap};

use crate::coverage::Sighted;
use crate::detect::{Finding, is_advisory};
use crate::event::Action;
use crate::evidence::Sum;
use crate::inventory::DeviceKey;
use crate::time::{HOUR, Time};

/// A device without findings for this long starts a new incident with the next one.
pub const QUIET: u64 = HOUR;
/// Most findings kept in an incident.
const MAX_FINDINGS: usize = 32;

/// One incident.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its number.
    pub id: u64,
    /// Who is blamed.
    pub device: DeviceKey,
    /// Gravest severity so far.
    pub severity: u8,
    /// When it was opened.
    pub opened: Time,
    /// When the last finding came.
    pub updated: Time,
    /// What was done about it.
    pub action: Action,
    /// How much was seen when its last alert was told; none in a replay.
    pub coverage: Option<Sighted>,
    /// What the evidence against its device added up to with its last finding.
    pub evidence: Sum,
    /// Its findings: of each detector and signature the latest.
    pub findings: Vec<(Time, Finding)>,
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
    /// Incidents opened.
    pub opened: u64,
}

impl Incidents {
    /// No incidents, and room for `limit`.
    pub fn new(limit: usize) -> Self {
        Self { all: BTreeMap::new(), open: HashMap::new(), limit: limit.max(1), opened: 0 }
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
        let id = self.opened;
        while self.all.len() >= self.limit {
            let Some((old, incident)) = self.all.pop_first() else { break };
            if self.open.get(&incident.device) == Some(&old) {
                self.open.remove(&incident.device);
            }
        }
        let (device, severity) = (finding.device, finding.severity);
        self.all.insert(
            id,
            Incident {
                id,
                device,
                severity,
                opened: now,
                updated: now,
                action: Action::None,
                coverage: None,
                evidence: Sum::default(),
                findings: Vec::new(),
            },
        );
        self.open.insert(device, id);
        id
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

    /// Notes what was done. What graded decisions would do takes nothing back that was done, or refused.
    pub fn set_action(&mut self, id: u64, action: Action) {
        if let Some(incident) = self.all.get_mut(&id)
            && (!action.is_ungraded() || incident.is_untouched())
        {
            incident.action = action;
        }
    }

    /// Whether what graded decisions would do goes beyond what was said of an incident so far.
    pub fn rises(&self, id: u64, action: &Action) -> bool {
        self.all.get(&id).is_some_and(|incident| {
            action.is_ungraded() && incident.is_untouched() && action.level() > incident.action.level()
        })
    }

    /// Notes how much was seen when it was told.
    pub fn set_coverage(&mut self, id: u64, coverage: Option<Sighted>) {
        if let Some(incident) = self.all.get_mut(&id) {
            incident.coverage = coverage;
        }
    }

    /// The incident of that number.
    pub fn get(&self, id: u64) -> Option<&Incident> {
        self.all.get(&id)
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
