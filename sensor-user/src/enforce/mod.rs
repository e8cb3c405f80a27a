//! Making the kernel's rules what the engine decided, and keeping them so.

use std::collections::BTreeMap;

use sensor_core::datapath;
use sensor_core::policy::Decision;
use sensor_ebpf::rule::RuleValue;

use crate::bpf::{BpfError, RuleKey, Rules};

/// The rules as decided, and the kernel's.
pub struct Enforcer {
    rules: Rules,
    wanted: BTreeMap<RuleKey, RuleValue>,
    /// A commit failed: known flows may have old verdicts.
    uncommitted: bool,
}

impl Enforcer {
    /// An enforcer that wants no rule yet. What the kernel holds from an earlier daemon stays until the first
    /// [`Enforcer::reconcile`].
    pub fn new(rules: Rules) -> Self {
        Self { rules, wanted: BTreeMap::new(), uncommitted: false }
    }

    /// Notes decisions without carrying them out: for a start, before [`Enforcer::reconcile`].
    pub fn want(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let (key, value) = datapath::rule(decision);
            match value {
                Some(value) => self.wanted.insert(key, value),
                None => self.wanted.remove(&key),
            };
        }
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
        self.want(decisions);
        let mut result = Ok(());
        for decision in decisions {
            let (key, value) = datapath::rule(decision);
            let done = match value {
                Some(value) => self.rules.set(key, value),
                None => self.rules.remove(key).map(drop),
            };
            result = result.and(done);
        }
        result.and(self.commit())
    }

    fn commit(&mut self) -> Result<(), BpfError> {
        let result = self.rules.commit();
        self.uncommitted = result.is_err();
        result
    }

    /// Compares the kernel's rules with those wanted and repairs each difference; returns how many there were. Takes
    /// about 1 us a rule.
    ///
    /// # Errors
    ///
    /// The first rule that could not be read or written; the others were repaired.
    pub fn reconcile(&mut self) -> Result<usize, BpfError> {
        let found: BTreeMap<RuleKey, RuleValue> = self.rules.list()?.into_iter().collect();
        let mut differences = 0;
        let mut result = Ok(());
        for (key, value) in &self.wanted {
            if found.get(key) != Some(value) {
                differences += 1;
                result = result.and(self.rules.set(*key, *value));
            }
        }
        for key in found.keys().filter(|key| !self.wanted.contains_key(key)) {
            differences += 1;
            result = result.and(self.rules.remove(*key).map(drop));
        }
        if differences > 0 || self.uncommitted {
            result = result.and(self.commit());
        }
        result.map(|()| differences)
    }
}
