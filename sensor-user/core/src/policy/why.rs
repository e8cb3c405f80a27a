//! Why a device is put under a level, or would be: what each family of evidence has to do with it.
//!
//! It is about the evidence alone, up to `decide.highest`. Classes, reviews, change windows and the impact come after it: each
//! of their steps down is in the [`super::ruling::Ruling`], which is told beside it.

use serde::{Serialize, Serializer};

use super::{Level, decide};
use crate::detect::{Finding, is_advisory};
use crate::evidence::{Family, Sum};
use crate::settings::Settings;

/// What evidence earns, as a whole and without each of its families. What is then done may be less: the ruling steps
/// down from it, a gateway is never cut, and the sum acts only where it is switched on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Why {
    /// The level it earns; none: it is told only.
    pub level: Option<Level>,
    /// A finding stands for itself, whatever the sum.
    pub decisive: bool,
    /// The level without each family of which there is evidence.
    #[serde(serialize_with = "by_family")]
    pub without: Vec<(Family, Option<Level>)>,
}

fn by_family<S: Serializer>(without: &[(Family, Option<Level>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(without.iter().map(|(family, level)| (family.name(), level)))
}

impl Why {
    /// Of the findings of an incident and what there is against its device.
    pub fn of<'a>(
        findings: impl Iterator<Item = &'a Finding> + Clone,
        sum: &Sum,
        settings: &Settings,
    ) -> Self {
        let stands = |finding: &&Finding| {
            finding.severity <= settings.isolate_severity && !is_advisory(finding.detector)
        };
        let decisive: Vec<Family> = findings.clone().filter(stands).map(|finding| finding.family).collect();
        let level = |left_out: Option<Family>| {
            let shares = sum.shares.iter().filter(|(family, _)| Some(*family) != left_out);
            let rest = Sum { shares: shares.copied().collect() };
            let stands = decisive.iter().any(|family| Some(*family) != left_out);
            decide::earned(&rest, stands).map(|level| level.min(settings.decide.highest))
        };
        let of_findings = |family: &Family| findings.clone().any(|finding| finding.family == *family);
        let has = |family: &Family| sum.shares.iter().any(|(other, _)| other == family);
        let families = Family::ALL.into_iter().filter(|family| has(family) || of_findings(family));
        Self {
            level: level(None),
            decisive: !decisive.is_empty(),
            without: families.map(|family| (family, level(Some(family)))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;
    use crate::inventory::DeviceKey;
    use crate::observation::{FlowId, Kind};
    use crate::time::Time;

    fn finding(detector: &'static str, family: Family, severity: u8) -> Finding {
        let any = std::net::Ipv4Addr::LOCALHOST.into();
        let flow =
            FlowId { src: any, dst: any, sport: 0, dport: 0, proto: 6, kind: Kind::Ip, vlan: 0, port: 1 };
        Finding {
            detector,
            signature: "test",
            severity,
            family,
            weight: 1.0,
            device: DeviceKey::Local(Mac::default()),
            flow,
            evidence: Vec::new(),
            first_evidence: Time::at(0),
        }
    }

    #[test]
    fn each_family_is_left_out_in_turn() {
        use Family::{Brute, Policy, Scan};
        let (scan, brute) = (finding("scan", Scan, 1), finding("brute", Brute, 2));
        let policy = finding("policy", Policy, 1);
        let shares = |shares: &[(Family, f64)]| Sum { shares: shares.to_vec() };
        type Without = &'static [(Family, Option<Level>)];
        type Case<'a> = (&'a str, &'a [&'a Finding], Sum, Option<Level>, bool, Without);
        let cases: [Case<'_>; 4] = [
            (
                "decisive alone",
                &[&scan],
                shares(&[(Scan, 13.9)]),
                Some(Level::Isolate),
                true,
                &[(Scan, None)],
            ),
            (
                "decisive with another",
                &[&scan, &brute],
                shares(&[(Scan, 13.9), (Brute, 7.0)]),
                Some(Level::Isolate),
                true,
                &[(Scan, Some(Level::Throttle)), (Brute, Some(Level::Isolate))],
            ),
            (
                "by the sum",
                &[&brute],
                shares(&[(Scan, 9.3), (Brute, 4.7)]),
                Some(Level::Isolate),
                false,
                &[(Scan, None), (Brute, Some(Level::Pin))],
            ),
            ("advice", &[&policy], shares(&[(Policy, 2.3)]), None, false, &[(Policy, None)]),
        ];
        for (name, findings, sum, level, decisive, without) in cases {
            let why = Why::of(findings.iter().copied(), &sum, &Settings::default());
            assert_eq!((why.level, why.decisive, &why.without[..]), (level, decisive, without), "{name}");
        }
    }
}
