//! Making the kernel's rules what the engine decided, and keeping them so.
//!
//! Everything the verdict depends on is wanted here and compared: rules, allow lists, segments, the reflex, internal
//! networks and the budget of throttled devices. Ports have names in what is wanted and are looked up each time, for a
//! port that comes back has another index.

use std::collections::{BTreeMap, BTreeSet};

use sensor_core::datapath::{self, Plan, PortIndices};
use sensor_core::policy::{Decision, Target};
use sensor_core::time::Time;
use sensor_ebpf::rule::{AllowKey, LEVEL_PROTECT, RuleValue, scope_of_segment, scope_of_vlan};

use crate::bpf::{BpfError, Bypass, RuleKey, Rules};

/// The rules as decided, and the kernel's.
pub struct Enforcer {
    rules: Rules,
    plan: Plan,
    /// When hosts are charged for new destinations from, if that is not decided yet.
    reflex_from: Time,
    wanted: BTreeMap<Target, RuleValue>,
    /// What is allowed, by the number of the list: to read it back from the kernel takes tens of milliseconds.
    allowed: BTreeMap<u16, BTreeSet<AllowKey>>,
    /// The ports; none: not told yet, and what the kernel holds about ports stays.
    ports: Option<PortIndices>,
    /// A commit failed: known flows may have old verdicts.
    uncommitted: bool,
}

impl Enforcer {
    /// An enforcer that wants no rule yet, at a start at `now`. What the kernel holds from an earlier daemon stays until
    /// the first [`Enforcer::reconcile`].
    pub fn new(rules: Rules, plan: Plan, now: Time) -> Self {
        let mut allowed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for key in &plan.allow {
            allowed.entry(key.list).or_default().insert(*key);
        }
        Self {
            rules,
            reflex_from: now.plus(plan.grace_ns.max(1)),
            wanted: BTreeMap::new(),
            allowed,
            plan,
            ports: None,
            uncommitted: false,
        }
    }

    /// Whether all verdicts are taken to "pass". If that cannot be read it is taken to be so.
    pub fn is_bypassed(&self) -> bool {
        self.rules.config().map_or(true, |config| config.bypass != 0)
    }

    /// Notes decisions without carrying them out: for a start, before [`Enforcer::reconcile`].
    pub fn want(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            self.note(decision);
        }
    }

    /// Notes a decision; false if it is about something that is protected, and changes nothing.
    fn note(&mut self, decision: &Decision) -> bool {
        match decision {
            Decision::Restrict(target, by) => {
                let protected = self.wanted.get(target).is_some_and(|rule| rule.level == LEVEL_PROTECT);
                if !protected {
                    self.wanted.insert(*target, datapath::value(by));
                }
                return !protected;
            }
            Decision::Protect(target) => drop(self.wanted.insert(*target, datapath::protection())),
            Decision::Clear(target) => drop(self.wanted.remove(target)),
            Decision::Allow(list, allowed) => {
                let keys = allowed.iter().map(|allow| allow.key(*list));
                self.allowed.entry(*list).or_default().extend(keys);
            }
            Decision::Forbid(list) => drop(self.allowed.remove(list)),
            Decision::Begin(_) => {}
        }
        true
    }

    /// Tells which port has which index; false if that is known. [`Enforcer::reconcile`] carries it out. Who lived at a port
    /// that left is forgotten at once, before another port gets its index.
    pub fn set_ports(&mut self, ports: PortIndices) -> bool {
        let new = self.ports.as_ref() != Some(&ports);
        if new && let Err(error) = self.rules.forget_places(&ports.values().copied().collect()) {
            log::warn!("{error}");
        }
        self.ports = Some(ports);
        new
    }

    /// Carries out decisions; they hold for all flows when this returns.
    ///
    /// # Errors
    ///
    /// The first rule that could not be written. The others were, and [`Enforcer::reconcile`] tries it again.
    pub fn apply(&mut self, decisions: &[Decision]) -> Result<(), BpfError> {
        if decisions.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        for decision in decisions {
            result = result.and(self.carry_out(decision));
        }
        result.and(self.commit())
    }

    /// Takes every verdict to "pass", or back to the rules. Deciding goes on meanwhile, and the rules are kept up to date.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn set_bypass(&mut self, bypass: Bypass) -> Result<(), BpfError> {
        self.rules.set_bypass(bypass)
    }

    /// Whether every verdict is taken to "pass", be it by this process or another.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`].
    pub fn bypass(&self) -> Result<Bypass, BpfError> {
        self.rules.bypass()
    }

    fn carry_out(&mut self, decision: &Decision) -> Result<(), BpfError> {
        if let Decision::Forbid(list) = decision {
            return self.forbid(*list);
        }
        if !self.note(decision) {
            return Ok(());
        }
        match decision {
            Decision::Restrict(target, _) | Decision::Protect(target) | Decision::Clear(target) => {
                let Some(key) = self.key(*target) else { return Ok(()) };
                match self.wanted.get(target) {
                    Some(value) => self.rules.set(key, *value),
                    None => self.rules.remove(key).map(drop),
                }
            }
            Decision::Allow(list, allowed) => {
                allowed.iter().try_for_each(|allow| self.rules.allow(allow.key(*list), true))
            }
            Decision::Forbid(_) | Decision::Begin(_) => Ok(()),
        }
    }

    /// Takes an allow list out. What somebody else put into it is found by [`Enforcer::reconcile`].
    fn forbid(&mut self, list: u16) -> Result<(), BpfError> {
        let gone = self.allowed.remove(&list).unwrap_or_default();
        // The verdicts that go by it are made anew first.
        self.commit()?;
        gone.iter().try_for_each(|key| self.rules.allow(*key, false))
    }

    fn is_allowed(&self, key: &AllowKey) -> bool {
        self.allowed.get(&key.list).is_some_and(|keys| keys.contains(key))
    }

    /// The kernel's key of a target; none for a place that is not there.
    fn key(&self, target: Target) -> Option<RuleKey> {
        let none = PortIndices::new();
        self.plan.key(target, self.ports.as_ref().unwrap_or(&none))
    }

    fn commit(&mut self) -> Result<(), BpfError> {
        let result = self.rules.commit();
        self.uncommitted = result.is_err();
        result
    }

    /// Compares what the kernel holds with what is wanted and repairs each difference; returns how many there were. Takes
    /// about 1 us a rule, and some milliseconds for the tables of places.
    ///
    /// # Errors
    ///
    /// The first entry that could not be read or written; the others were repaired.
    pub fn reconcile(&mut self) -> Result<usize, BpfError> {
        let mut repair = Repair { differences: 0, result: Ok(()) };
        let allowed = self.rules.allowed()?;
        for key in self.allowed.values().flatten().filter(|key| !allowed.contains(key)) {
            repair.done(self.rules.allow(*key, true));
        }
        self.reconcile_plan(&mut repair)?;
        self.reconcile_rules(&mut repair)?;
        let config = self.rules.config()?;
        if config.bypass == 0 && config.armed != self.rules.armed()? {
            // Whoever cleared the switches took every rule out of force.
            repair.differences += 1;
        }
        if repair.differences > 0 || self.uncommitted {
            let committed = self.commit();
            repair.result = repair.result.and(committed);
        }
        // Only now does no rule go by them any more.
        let stray: Vec<AllowKey> = allowed.into_iter().filter(|key| !self.is_allowed(key)).collect();
        for key in stray {
            repair.done(self.rules.allow(key, false));
        }
        repair.result.map(|()| repair.differences)
    }

    fn reconcile_rules(&mut self, repair: &mut Repair) -> Result<(), BpfError> {
        let found: BTreeMap<RuleKey, RuleValue> = self.rules.list()?.into_iter().collect();
        let wanted = self.wanted();
        for (key, value) in &wanted {
            if found.get(key) != Some(value) {
                repair.done(self.rules.set(*key, *value));
            }
        }
        let stray = found.into_keys().filter(|key| !wanted.contains_key(key) && !self.is_unknown(key));
        for key in stray.collect::<Vec<_>>() {
            repair.done(self.rules.remove(key).map(drop));
        }
        Ok(())
    }

    /// The rules as decided, of all that is there.
    pub fn wanted(&self) -> BTreeMap<RuleKey, RuleValue> {
        let rule = |(target, value): (&Target, &RuleValue)| Some((self.key(*target)?, *value));
        self.wanted.iter().filter_map(rule).collect()
    }

    /// Whether a rule is about a port while the ports are not told.
    fn is_unknown(&self, key: &RuleKey) -> bool {
        self.ports.is_none() && matches!(key, RuleKey::Scope(index) if *index < scope_of_vlan(0))
    }

    /// Segments, the reflex, internal networks, budgets.
    fn reconcile_plan(&mut self, repair: &mut Repair) -> Result<(), BpfError> {
        let Self { rules, plan, .. } = self;
        let config = rules.config()?;
        if config.reflex_from_ns == 0 {
            repair.done(rules.set_reflex_from(self.reflex_from.ns()));
        }
        let [new, kib] = plan.throttle;
        if (config.throttle_new, config.throttle_kib) != (new, kib) {
            repair.done(rules.set_throttle(new, kib));
        }
        for (segment, (found, wanted)) in (0..).zip(rules.reflexes()?.iter().zip(&plan.reflex)) {
            if found != wanted {
                repair.done(rules.set_reflex(segment, *wanted));
            }
        }
        let internal = rules.internal()?;
        for (bits, address) in plan.internal.difference(&internal) {
            repair.done(rules.add_internal(*bits, *address));
        }
        for (bits, address) in internal.difference(&plan.internal) {
            repair.done(rules.remove_internal(*bits, *address));
        }
        self.reconcile_segments(repair)
    }

    /// Puts ports and VLANs into their segments, so that no frame meets a half: the rule of a segment that nobody is in is made
    /// as it is wanted, and only then does who belongs to it come. Where segments change places with each other that cannot
    /// be, and some are without their rule, or under another's, for a moment.
    fn reconcile_segments(&mut self, repair: &mut Repair) -> Result<(), BpfError> {
        let mut found = self.rules.segments()?;
        let places = self.plan.segment_of(&self.ports.clone().unwrap_or_default());
        let known = |place: &u32| self.ports.is_some() || *place >= scope_of_vlan(0);
        let leave = found.keys().filter(|place| !places.contains_key(place) && known(place));
        let leave: Vec<(u32, u32)> = leave.map(|place| (*place, 0)).collect();
        let enter = places.into_iter().filter(|(place, segment)| found.get(place) != Some(segment));
        let mut moves: Vec<(u32, u32)> = leave.into_iter().chain(enter).collect();
        if moves.is_empty() {
            return Ok(());
        }
        let wanted = self.wanted();
        let mut rules: BTreeMap<RuleKey, RuleValue> = self.rules.list()?.into_iter().collect();
        while !moves.is_empty() {
            let empty: BTreeSet<u32> = moves.iter().map(|(_, segment)| *segment).collect();
            for segment in
                empty.into_iter().filter(|one| *one != 0 && found.values().all(|other| one != other))
            {
                let key = RuleKey::Scope(scope_of_segment(segment));
                let value = wanted.get(&key);
                if value == rules.get(&key) {
                    continue;
                }
                let written = match value {
                    Some(value) => self.rules.set(key, *value),
                    None => self.rules.remove(key).map(drop),
                };
                let failed = written.is_err();
                repair.done(written);
                if failed {
                    // All stay where they are until it can be written.
                    return Ok(());
                }
                rules.remove(&key);
                rules.extend(value.map(|value| (key, *value)));
            }
            let is_ready = |segment: u32| {
                let key = RuleKey::Scope(scope_of_segment(segment));
                segment == 0 || wanted.get(&key) == rules.get(&key)
            };
            let (mut ready, mut others): (Vec<_>, Vec<_>) =
                moves.into_iter().partition(|(_, segment)| is_ready(*segment));
            if ready.is_empty() {
                std::mem::swap(&mut ready, &mut others);
            }
            for (place, segment) in ready {
                repair.done(self.rules.set_segment(place, segment));
                if segment == 0 {
                    found.remove(&place)
                } else {
                    found.insert(place, segment)
                };
            }
            moves = others;
        }
        Ok(())
    }
}

/// What was repaired, and the first thing that could not be.
struct Repair {
    differences: usize,
    result: Result<(), BpfError>,
}

impl Repair {
    fn done(&mut self, result: Result<(), BpfError>) {
        self.differences += 1;
        if self.result.is_ok() {
            self.result = result;
        }
    }
}
