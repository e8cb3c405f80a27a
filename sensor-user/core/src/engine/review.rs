//! The error budget: a person judges an incident. One that is false puts its detectors on review for the class of its
//! device, or for the device where it has none: until a person ends the review they only alert there, and weigh nothing.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use crate::detect::{self, Finding, is_advisory};
use crate::event::{Event, Judged, Judgement, Said, Timed, Verdict};
use crate::inventory::DeviceKey;
use crate::policy::class::class_of;
use crate::policy::memory::Counter;
use crate::policy::review::{MAX_REVIEWS, Review, ReviewId, Scope};
use crate::policy::{Memory, MemoryKey, Save, Target};
use crate::time::Time;

use super::command::{CommandError, Former, Judge, Reply};
use super::{Engine, Output};

/// The reviews that go on.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub(super) struct Reviews {
    all: BTreeMap<ReviewId, Review>,
    last: ReviewId,
}

impl Reviews {
    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        self.all.values()
    }

    /// Takes up one that began in an earlier run.
    pub fn recall(&mut self, review: Review) {
        self.skip_to(review.id);
        self.all.insert(review.id, review);
    }

    /// Numbers up to this were given.
    pub fn skip_to(&mut self, number: ReviewId) {
        self.last = self.last.max(number);
    }

    fn about(&self, detector: &str, scope: Scope) -> Option<ReviewId> {
        let same = |review: &&Review| review.detector == detector && review.scope == scope;
        self.iter().find(same).map(|review| review.id)
    }
}

impl Engine {
    /// For whom a judgement about a device counts.
    fn scope(&self, device: DeviceKey) -> Scope {
        let class = self.inventory.get(device).and_then(|device| class_of(device, &self.settings));
        match (class, device) {
            (Some((class, _)), _) => Scope::Class(class),
            (None, DeviceKey::Local(mac)) => Scope::Device(Target::Mac(mac)),
            (None, DeviceKey::Routed(ip)) => Scope::Device(Target::Ip(ip)),
        }
    }

    /// The review that a finding's detector is on, for its device.
    pub(super) fn review_of(&self, finding: &Finding) -> Option<ReviewId> {
        if self.reviews.all.is_empty() {
            return None;
        }
        self.reviews.about(finding.detector, self.scope(finding.device))
    }

    /// A person judges an incident.
    pub(super) fn judge(
        &mut self,
        judge: &Judge,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let Judge { incident: id, said, former } = judge;
        let (device, detectors, findings) = match (self.incidents.get(*id), former) {
            (Some(incident), _) => {
                let findings = incident.findings.clone();
                let detectors = findings.iter().map(|(_, finding)| finding.detector.to_owned()).collect();
                (Some(incident.device), detectors, findings)
            }
            (None, Some(former)) => {
                (self.former_device(former), former.detectors.iter().cloned().collect(), Vec::new())
            }
            // Itself it is not remembered, but its reviews are.
            (None, None) if said.verdict.is_right() && self.reviews.iter().any(|one| one.incident == *id) => {
                (None, BTreeSet::new(), Vec::new())
            }
            (None, None) => return Err(CommandError::NoIncident(*id)),
        };
        let reviews = match device {
            _ if said.verdict.is_right() => self.end_reviews_of(*id, out),
            Some(device) => self.begin_reviews(*id, &said.by, (device, &detectors), now, out)?,
            None => Vec::new(),
        };
        if let (Some(device), false) = (device, said.verdict.is_right()) {
            for (_, finding) in &findings {
                self.ledger.strike(device, finding.family, finding.signature);
            }
            self.detectors.absolve(device, now);
            out.saves.extend(self.repeats.absolve(device));
        }
        if let Some(incident) = self.incidents.get_mut(*id) {
            incident.judged = Some(said.clone());
        }
        let judged = match said.verdict {
            Verdict::True => Judged::Right,
            Verdict::Grave => Judged::Grave,
            Verdict::False => Judged::False,
        };
        let device = device.and_then(|device| self.describe(device));
        let Said { by, comment, verdict } = said.clone();
        let event = Judgement { judged, incident: *id, device, reviews: reviews.clone(), by, comment };
        out.events.push(Timed { time: now, event: Event::Judgement(event) });
        Ok(Reply::Judged { incident: *id, verdict, reviews })
    }

    /// The device of an incident of an earlier run, if it is known now: by its MAC address; by an IP address only behind a
    /// router, for elsewhere another device may have that by now.
    fn former_device(&self, former: &Former) -> Option<DeviceKey> {
        let known = former.mac.and_then(|mac| self.inventory.find(Target::Mac(mac)));
        if let Some(device) = known.filter(|device| !device.gateway) {
            return Some(device.key);
        }
        let known = former.ips.iter().filter_map(|ip| self.inventory.find(Target::Ip(*ip)));
        known.map(|device| device.key).find(|key| matches!(key, DeviceKey::Routed(_)))
    }

    /// Puts detectors on review for the class of a device, or for the device; those that are not yet.
    fn begin_reviews(
        &mut self,
        incident: u64,
        by: &str,
        (device, detectors): (DeviceKey, &BTreeSet<String>),
        now: Time,
        out: &mut Output,
    ) -> Result<Vec<Review>, CommandError> {
        let scope = self.scope(device);
        let counts = |name: &&String| {
            detect::names().any(|known| known == *name)
                && !is_advisory(name)
                && self.reviews.about(name, scope).is_none()
        };
        let new: Vec<&String> = detectors.iter().filter(counts).collect();
        if self.reviews.all.len() + new.len() > MAX_REVIEWS {
            return Err(CommandError::ReviewsFull);
        }
        let mut begun = Vec::new();
        for detector in new {
            self.reviews.last += 1;
            let id = self.reviews.last;
            let review =
                Review { id, detector: detector.clone(), scope, incident, since: now, by: by.to_owned() };
            self.reviews.all.insert(id, review.clone());
            out.saves.push(Save::Keep(Memory::Review(review.clone())));
            out.saves.push(Save::Keep(Memory::Last(Counter::Reviews, id.into())));
            begun.push(review);
        }
        Ok(begun)
    }

    /// Ends the reviews that began with an incident.
    fn end_reviews_of(&mut self, incident: u64, out: &mut Output) -> Vec<Review> {
        let of_it: Vec<_> =
            self.reviews.iter().filter(|review| review.incident == incident).cloned().collect();
        for review in &of_it {
            self.reviews.all.remove(&review.id);
            out.saves.push(Save::Drop(MemoryKey::Review(review.id)));
        }
        of_it
    }

    /// A person ends a review: the detector counts again.
    pub(super) fn end_review(
        &mut self,
        id: ReviewId,
        by: &str,
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let review = self.reviews.all.remove(&id).ok_or(CommandError::NoReview(id))?;
        out.saves.push(Save::Drop(MemoryKey::Review(id)));
        let event = Judgement {
            judged: Judged::Reviewed,
            incident: review.incident,
            device: None,
            reviews: vec![review.clone()],
            by: by.to_owned(),
            comment: String::new(),
        };
        out.events.push(Timed { time: now, event: Event::Judgement(event) });
        Ok(Reply::Reviewed(review))
    }
}
