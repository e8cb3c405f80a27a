//! The error budget: a person judges an incident. One that is false puts its detectors on review for the class of its
//! device, or for the device where it has none: until a person ends the review they only alert there, and weigh nothing.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::detect::{Finding, is_advisory};
use crate::event::{Event, Judged, Judgement, Timed};
use crate::inventory::DeviceKey;
use crate::policy::class::class_of;
use crate::policy::memory::Counter;
use crate::policy::review::{MAX_REVIEWS, Review, ReviewId, Scope};
use crate::policy::{Memory, MemoryKey, Save, Target};
use crate::time::Time;

use super::command::{CommandError, Reply};
use super::{Engine, Output};

/// The reviews that go on.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
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

    /// A person judges an incident: `right` or false.
    pub(super) fn judge(
        &mut self,
        id: u64,
        (right, by): (bool, &str),
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        let Some(incident) = self.incidents.get(id) else {
            return self.take_back(id, (right, by), now, out);
        };
        let (key, findings) = (incident.device, incident.findings.clone());
        let scope = self.scope(key);
        let detectors: BTreeSet<&str> = findings.iter().map(|(_, finding)| finding.detector).collect();
        let detectors = detectors.into_iter().filter(|detector| !is_advisory(detector));
        let mut reviews = Vec::new();
        if right {
            reviews = self.end_reviews_of(id, out);
        } else {
            let new: Vec<&str> = detectors.filter(|d| self.reviews.about(d, scope).is_none()).collect();
            if self.reviews.all.len() + new.len() > MAX_REVIEWS {
                return Err(CommandError::ReviewsFull);
            }
            for detector in new {
                self.reviews.last += 1;
                let review = Review {
                    id: self.reviews.last,
                    detector: detector.to_owned(),
                    scope,
                    incident: id,
                    since: now,
                    by: by.to_owned(),
                };
                self.reviews.all.insert(review.id, review.clone());
                out.saves.push(Save::Keep(Memory::Review(review.clone())));
                out.saves.push(Save::Keep(Memory::Last(Counter::Reviews, review.id.into())));
                reviews.push(review);
            }
            for (_, finding) in &findings {
                self.ledger.strike(key, finding.family, finding.signature);
            }
        }
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.judged = Some((right, by.to_owned()));
        }
        let judged = if right { Judged::Right } else { Judged::False };
        let device = self.describe(key);
        let event = Judgement { judged, incident: id, device, reviews: reviews.clone(), by: by.to_owned() };
        out.events.push(Timed { time: now, event: Event::Judgement(event) });
        Ok(Reply::Judged { incident: id, right, reviews })
    }

    /// An incident of an earlier run is found true after all: its reviews are remembered, itself it is not.
    fn take_back(
        &mut self,
        id: u64,
        (right, by): (bool, &str),
        now: Time,
        out: &mut Output,
    ) -> Result<Reply, CommandError> {
        if !right || !self.reviews.iter().any(|review| review.incident == id) {
            return Err(CommandError::NoIncident(id));
        }
        let reviews = self.end_reviews_of(id, out);
        let (judged, by) = (Judged::Right, by.to_owned());
        let event = Judgement { judged, incident: id, device: None, reviews: reviews.clone(), by };
        out.events.push(Timed { time: now, event: Event::Judgement(event) });
        Ok(Reply::Judged { incident: id, right, reviews })
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
        };
        out.events.push(Timed { time: now, event: Event::Judgement(event) });
        Ok(Reply::Reviewed(review))
    }
}
