//! What is open, that is, nobody has said yet that they know: it decides how the lamp looks. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::notice::{Notice, Step, What};

/// Most alarms that are open; of more the mildest are forgotten.
const MAX_OPEN: usize = 4_096;

/// What an alarm is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// An incident.
    Incident(u64),
    /// A new device, by its MAC address.
    Device(String),
    /// Too little is seen.
    Blind,
    /// Everything passes.
    Bypass,
    /// A channel fails.
    Channel(String),
}

/// What is open, with its severity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alarms(BTreeMap<About, u8>);

impl Alarms {
    /// Takes up what was open.
    pub fn load(open: Vec<(About, u8)>) -> Self {
        Self(open.into_iter().take(MAX_OPEN).collect())
    }

    /// What is open.
    pub fn save(&self) -> Vec<(&About, u8)> {
        self.0.iter().map(|(about, severity)| (about, *severity)).collect()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The gravest that is open.
    pub fn gravest(&self) -> Option<u8> {
        self.0.values().min().copied()
    }

    /// The incidents that are open.
    pub fn incidents(&self) -> impl Iterator<Item = u64> {
        self.0.keys().filter_map(|about| if let About::Incident(id) = about { Some(*id) } else { None })
    }

    /// A notice came; `ruled` if the lamp is to be lit by it, otherwise it only ends what was open. Gives whether it is a
    /// new alarm, or a graver one.
    pub fn hear(&mut self, notice: &Notice, ruled: bool) -> bool {
        let (about, open) = match (&notice.what, notice.incident) {
            (What::Alert { .. }, Some(id)) => (About::Incident(id), true),
            (What::Isolation(entry), Some(id)) => {
                let open = matches!(entry.change, Step::Added | Step::Changed);
                if !open && entry.change != Step::Released {
                    return false;
                }
                (About::Incident(id), open)
            }
            // Whoever said something knows.
            (What::Approval { step, .. }, Some(id)) => {
                (About::Incident(id), !matches!(step.as_str(), "approved" | "denied"))
            }
            (What::Judgement { right: Some(_), .. }, Some(id)) => (About::Incident(id), false),
            (What::Device { .. }, _) => match &notice.device {
                Some(device) => (About::Device(device.mac.clone()), true),
                None => return false,
            },
            (What::Blind { over, .. }, _) => (About::Blind, !over),
            (What::Bypass { on, .. }, _) => (About::Bypass, *on),
            (What::Channel { name, error, .. }, _) => (About::Channel(name.clone()), error.is_some()),
            _ => return false,
        };
        if !open {
            self.0.remove(&about);
            return false;
        }
        ruled && self.raise(about, notice.severity)
    }

    fn raise(&mut self, about: About, severity: u8) -> bool {
        let before = self.0.get(&about).copied();
        if before.is_some_and(|before| before <= severity) {
            return false;
        }
        self.0.insert(about, severity);
        if self.0.len() > MAX_OPEN {
            let mildest =
                self.0.iter().max_by_key(|(_, severity)| **severity).map(|(about, _)| about.clone());
            mildest.map(|about| self.0.remove(&about));
        }
        true
    }

    /// A person knows of an incident, or of everything. Gives how many alarms that ended.
    pub fn acknowledge(&mut self, incident: Option<u64>) -> usize {
        let before = self.0.len();
        match incident {
            Some(id) => drop(self.0.remove(&About::Incident(id))),
            None => self.0.clear(),
        }
        before - self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::{Device, Entry};

    fn notice(severity: u8, incident: Option<u64>, what: What) -> Notice {
        Notice { id: 1, unix_ns: 0, severity, device: None, place: None, incident, what }
    }

    fn alert(severity: u8, incident: u64) -> Notice {
        let what = What::Alert {
            detector: "scan".to_owned(),
            signature: String::new(),
            evidence: Vec::new(),
            impact: None,
            nats: 1.0,
            action: "isolated".to_owned(),
        };
        notice(severity, Some(incident), what)
    }

    fn entry(change: Step, incident: Option<u64>) -> Notice {
        let entry = Entry {
            id: 1,
            change,
            targets: Vec::new(),
            level: "isolate".to_owned(),
            direction: "both".to_owned(),
            until_ns: None,
            would: false,
            reason: String::new(),
            latency_ns: None,
        };
        notice(1, incident, What::Isolation(entry))
    }

    #[test]
    fn the_gravest_shows_until_somebody_knows() {
        let mut alarms = Alarms::default();
        assert!(alarms.hear(&alert(2, 7), true));
        assert!(!alarms.hear(&alert(3, 7), true), "it is known as graver");
        assert!(alarms.hear(&alert(1, 8), true));
        assert!(alarms.hear(&alert(1, 7), true), "it is graver now");
        assert_eq!(alarms.gravest(), Some(1));
        let judged = What::Judgement { right: Some(false), by: "root".to_owned() };
        alarms.hear(&notice(3, Some(8), judged), false);
        assert_eq!((alarms.gravest(), alarms.count()), (Some(1), 1));
        assert_eq!(alarms.acknowledge(Some(9)), 0);
        assert_eq!(alarms.acknowledge(Some(7)), 1);
        assert_eq!(alarms.gravest(), None);
    }

    #[test]
    fn what_rules_keep_from_the_lamp_does_not_light_it_and_still_ends_alarms() {
        let mut alarms = Alarms::default();
        assert!(!alarms.hear(&alert(1, 7), false));
        assert!(alarms.hear(&entry(Step::Added, Some(7)), true));
        alarms.hear(&entry(Step::Expired, Some(7)), false);
        assert_eq!(alarms.count(), 1, "its time was up, and nobody knows of it yet");
        alarms.hear(&entry(Step::Released, Some(7)), false);
        assert_eq!(alarms.count(), 0);
        assert!(!alarms.hear(&entry(Step::Added, None), true), "who entered it knows");
    }

    #[test]
    fn what_ends_by_itself_is_dark_by_itself() {
        let mut alarms = Alarms::default();
        let blind = |over| What::Blind { over, causes: Vec::new(), frames_lost: 0, records_lost: 0 };
        let channel = |error| What::Channel { name: "mail".to_owned(), error, trouble: None };
        let bypass = |on| What::Bypass { on, by: String::new() };
        for what in [blind(false), channel(Some(String::new())), bypass(true)] {
            assert!(alarms.hear(&notice(2, None, what), true));
        }
        for what in [blind(true), channel(None), bypass(false)] {
            alarms.hear(&notice(3, None, what), false);
        }
        assert_eq!(alarms, Alarms::default());
    }

    #[test]
    fn alarms_are_kept_and_bounded() {
        let mut alarms = Alarms::default();
        for number in 0..MAX_OPEN + 10 {
            let device = Device {
                mac: format!("{number}"),
                ips: Vec::new(),
                more_ips: 0,
                maker: None,
                name: None,
                class: None,
            };
            let new = notice(3, None, What::Device { gateway: false });
            alarms.hear(&Notice { device: Some(device), ..new }, true);
        }
        alarms.hear(&alert(1, 7), true);
        assert_eq!((alarms.count(), alarms.gravest()), (MAX_OPEN, Some(1)));
        let json = serde_json::to_vec(&alarms.save()).unwrap();
        assert_eq!(Alarms::load(serde_json::from_slice(&json).unwrap()), alarms);
    }
}
