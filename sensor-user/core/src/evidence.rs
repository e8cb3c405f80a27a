//! Evidence: what the findings about a device add up to.
//!
//! Each finding has a weight in nats, a log-likelihood ratio or what stands for one: ln(1/p), p the chance that a healthy
//! device gives such a finding within the time the evidence counts. Detectors with a statistic of that kind (the
//! sequential test of `scan`) say theirs; for the others p is *assumed* by severity, not measured: [`by_severity`].
//! The sum S of a device fades: a weight halves every [`Family::half_life_ns`]. What is told again counts once, and
//! counts from then on. Findings of one family look at the same traffic, so that they are not independent: a family
//! adds no more than its [`Family::cap`].
//!
//! The caps are chosen so that no single family reaches [`crate::policy::decide::ISOLATE`] but those with a test that may
//! stand alone, and that the three that look at the same habits (novelty, beacon, model) do not reach it together.
//! Decay and restarts break the textbook guarantee of a sum of log-likelihoods: S is a scale, not a probability.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::detect::Finding;
use crate::inventory::{DeviceKey, capacity};
use crate::lru::Lru;
use crate::state::{declaration_as, definitions_as, state, word};
use crate::time::{HOUR, MINUTE, Time};

/// Most signatures that count for a device; the lightest goes first.
const MAX_ITEMS: usize = 32;

/// Nats of a finding that its detector calls decisive: ln(1e6), rounded up.
pub const DECISIVE: f64 = 13.82;
/// Nats of one that is to alert: ln(1/0.01), rounded up.
pub const ALERTING: f64 = 4.7;
/// Nats of a hint: ln(1/0.1).
pub const HINT: f64 = 2.3;

/// The weight of a finding whose detector has no statistic that is one: p = 1e-6, 0.01 and 0.1, as is assumed.
pub const fn by_severity(severity: u8) -> f64 {
    match severity {
        0 | 1 => DECISIVE,
        2 => ALERTING,
        _ => HINT,
    }
}

/// What a finding is evidence of. Findings of one family look at the same thing.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize, BorshSchema,
)]
pub enum Family {
    /// First contacts fail.
    Scan,
    /// More destinations than usual.
    Novelty,
    /// New peers on administration services.
    Lateral,
    /// Calls somebody evenly.
    Beacon,
    /// Gives much away.
    Exfil,
    /// Reads and writes back what servers keep.
    Rewrite,
    /// Guesses passwords.
    Brute,
    /// Claims to be somebody else.
    Spoof,
    /// Sends too much.
    Flood,
    /// Is not the device it was.
    Identity,
    /// Does what it must not, or never did.
    Policy,
    /// A trained model finds it strange.
    Model,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Scan,
        Self::Novelty,
        Self::Lateral,
        Self::Beacon,
        Self::Exfil,
        Self::Rewrite,
        Self::Brute,
        Self::Spoof,
        Self::Flood,
        Self::Identity,
        Self::Policy,
        Self::Model,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Novelty => "novelty",
            Self::Lateral => "lateral",
            Self::Beacon => "beacon",
            Self::Exfil => "exfil",
            Self::Rewrite => "rewrite",
            Self::Brute => "brute",
            Self::Spoof => "spoof",
            Self::Flood => "flood",
            Self::Identity => "identity",
            Self::Policy => "policy",
            Self::Model => "model",
        }
    }

    /// The time in which its evidence halves, ns: long where what it shows is slow.
    pub const fn half_life_ns(self) -> u64 {
        match self {
            Self::Scan | Self::Flood => 10 * MINUTE,
            Self::Novelty | Self::Rewrite | Self::Brute | Self::Spoof | Self::Model => HOUR,
            Self::Lateral | Self::Beacon | Self::Exfil | Self::Identity | Self::Policy => 24 * HOUR,
        }
    }

    /// The most nats it adds. Scan, lateral and spoof have a test that may stand alone.
    pub const fn cap(self) -> f64 {
        match self {
            Self::Scan | Self::Lateral | Self::Spoof => 16.0,
            Self::Exfil | Self::Brute => 7.0,
            Self::Beacon => 6.0,
            Self::Novelty | Self::Rewrite | Self::Flood | Self::Identity | Self::Policy => ALERTING,
            Self::Model => 3.0,
        }
    }
}

/// One finding's part.
#[derive(Clone, Copy, PartialEq, Debug, BorshSerialize, BorshDeserialize, BorshSchema)]
struct Item {
    family: Family,
    #[borsh(
        deserialize_with = "word",
        schema(with_funcs(
            declaration = "declaration_as::<String>",
            definitions = "definitions_as::<String>"
        ))
    )]
    signature: &'static str,
    weight: f64,
    /// When it was told last.
    time: Time,
}

impl Item {
    fn at(&self, now: Time) -> f64 {
        let halvings = now.since(self.time) as f64 / self.family.half_life_ns() as f64;
        self.weight * (-halvings).exp2()
    }
}

/// The evidence against one device.
#[derive(Clone, PartialEq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Case {
    items: Vec<Item>,
}

impl Case {
    /// Adds a finding's weight. Told again, it counts as much as it did or does, whichever is more.
    pub fn add(&mut self, family: Family, signature: &'static str, weight: f64, now: Time) {
        let weight = if weight.is_finite() { weight.clamp(0.0, family.cap()) } else { 0.0 };
        let new = Item { family, signature, weight, time: now };
        let same = |item: &&mut Item| (item.family, item.signature) == (family, signature);
        if let Some(item) = self.items.iter_mut().find(same) {
            let weight = weight.max(item.at(now));
            *item = Item { weight, ..new };
            return;
        }
        if self.items.len() < MAX_ITEMS {
            return self.items.push(new);
        }
        let lightest = self.items.iter_mut().min_by(|a, b| a.at(now).total_cmp(&b.at(now)));
        if let Some(item) = lightest.filter(|item| item.at(now) < weight) {
            *item = new;
        }
    }

    /// What it adds up to.
    pub fn sum(&self, now: Time) -> Sum {
        let of = |family: Family| {
            let items = self.items.iter().filter(|item| item.family == family);
            let nats = items.map(|item| item.at(now)).sum::<f64>();
            nats.min(family.cap())
        };
        let shares = Family::ALL.into_iter().map(|family| (family, of(family)));
        Sum { shares: shares.filter(|(_, nats)| *nats >= LEAST).collect() }
    }
}

/// Fewer nats of a family are none: what the fading leaves behind says nothing.
const LEAST: f64 = 0.01;

/// The evidence against a device at a moment.
#[derive(Clone, PartialEq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Sum {
    /// Nats of each family that has any, in the order of [`Family::ALL`].
    pub shares: Vec<(Family, f64)>,
}

impl Sum {
    /// S: all families together, nats.
    pub fn total(&self) -> f64 {
        self.shares.iter().map(|(_, nats)| nats).sum()
    }
}

/// To the hundredth: more digits would claim what the weights cannot tell.
fn hundredth(nats: f64) -> f64 {
    (nats * 100.0).round() / 100.0
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Shares<'a>(&'a [(Family, f64)]);
        impl Serialize for Shares<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(family, nats)| (family.name(), hundredth(*nats))))
            }
        }
        let mut object = serializer.serialize_struct("Sum", 2)?;
        object.serialize_field("nats", &hundredth(self.total()))?;
        object.serialize_field("families", &Shares(&self.shares))?;
        object.end()
    }
}

/// The evidence against all devices, bounded; of the one that was found out least lately it is forgotten first.
#[derive(Debug)]
pub struct Ledger(Lru<DeviceKey, Case>);

state!(Ledger of one);

impl Ledger {
    /// Nothing, and room for so many devices.
    pub fn new(devices: usize) -> Self {
        Self(Lru::new(capacity(devices)))
    }

    /// Adds a finding; returns what its device's evidence adds up to now.
    pub fn add(&mut self, finding: &Finding, now: Time) -> Sum {
        let evidence = self.0.get_or_insert_mut(finding.device, Case::default);
        evidence.add(finding.family, finding.signature, finding.weight, now);
        evidence.sum(now)
    }

    /// What a device's evidence adds up to.
    pub fn sum(&self, device: DeviceKey, now: Time) -> Sum {
        self.0.peek(&device).map_or_else(Sum::default, |evidence| evidence.sum(now))
    }

    /// Takes one signature out of what there is against a device: it was found wrong.
    pub fn strike(&mut self, device: DeviceKey, family: Family, signature: &str) {
        if let Some(case) = self.0.peek_mut(&device) {
            case.items.retain(|item| (item.family, item.signature) != (family, signature));
        }
    }

    /// Forgets what there is against a device.
    pub fn absolve(&mut self, device: DeviceKey) {
        self.0.pop(&device);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What isolates (see `policy`).
    const ISOLATE: f64 = 13.8;
    const SIGNATURES: [&str; 40] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t",
        "u", "v", "w", "x", "y", "z", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N",
    ];

    /// Findings of these families: which, signature, weight, ns since the one before.
    fn findings(families: &'static [Family]) -> impl Strategy<Value = Vec<(Family, &'static str, f64, u64)>> {
        let weight = prop_oneof![0.0..40.0, Just(f64::INFINITY), Just(f64::NAN), Just(-5.0)];
        let one = (
            proptest::sample::select(families),
            proptest::sample::select(&SIGNATURES[..]),
            weight,
            0..2 * HOUR,
        );
        proptest::collection::vec(one, 0..80)
    }

    /// The evidence, the moment of the last finding, and the most it ever added up to.
    fn told(findings: &[(Family, &'static str, f64, u64)]) -> (Case, Time, f64) {
        let (mut evidence, mut now, mut most) = (Case::default(), Time::at(0), 0.0_f64);
        for (family, signature, weight, gap) in findings {
            now = now.plus(*gap);
            evidence.add(*family, signature, *weight, now);
            most = most.max(evidence.sum(now).total());
            assert!(evidence.items.len() <= MAX_ITEMS);
        }
        (evidence, now, most)
    }

    proptest! {
        #[test]
        fn habits_alone_never_isolate(findings in findings(&[Family::Novelty, Family::Beacon, Family::Model])) {
            prop_assert!(told(&findings).2 < ISOLATE);
        }

        #[test]
        fn no_family_exceeds_its_cap_and_what_is_there_only_fades(
            findings in findings(&Family::ALL),
            gaps in proptest::collection::vec(0..30 * HOUR, 1..20),
        ) {
            let (evidence, mut now, _) = told(&findings);
            let mut before = evidence.sum(now);
            for gap in gaps {
                now = now.plus(gap);
                let sum = evidence.sum(now);
                for (family, nats) in &sum.shares {
                    prop_assert!(*nats <= family.cap() && nats.is_finite());
                }
                prop_assert!(sum.total() <= before.total());
                before = sum;
            }
        }
    }

    #[test]
    fn families_without_a_test_of_their_own_cannot_isolate() {
        for family in Family::ALL {
            let alone = matches!(family, Family::Scan | Family::Lateral | Family::Spoof);
            assert_eq!(family.cap() > ISOLATE, alone, "{}", family.name());
        }
    }

    #[test]
    fn what_is_told_again_counts_once_and_from_then_on() {
        let mut evidence = Case::default();
        let at = |minutes| Time::at(minutes * MINUTE);
        evidence.add(Family::Scan, "sweep", 8.0, at(0));
        assert_eq!(evidence.sum(at(10)).total(), 4.0);
        evidence.add(Family::Scan, "sweep", 8.0, at(10));
        assert_eq!(evidence.sum(at(10)).total(), 8.0, "refreshed");
        evidence.add(Family::Scan, "sweep", 1.0, at(20));
        assert_eq!(evidence.sum(at(20)).total(), 4.0, "a lighter one takes nothing away, and adds nothing");
        evidence.add(Family::Beacon, "beacon", 20.0, at(20));
        assert_eq!(evidence.sum(at(20)).total(), 10.0, "another family adds, up to its cap");
        assert_eq!(evidence.sum(at(20)).shares, [(Family::Scan, 4.0), (Family::Beacon, 6.0)]);
    }
}
