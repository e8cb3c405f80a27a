//! Which technique of MITRE ATT&CK (Enterprise) a finding looks like, for those who sort incidents by it.
//!
//! Headers show what is done, not why: the technique is the one that most often looks so. Findings that may be anything
//! (something a model finds strange, something the policy forbids) have none.

use std::fmt;

/// A technique, and the tactic it serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Technique {
    /// Its number: `T1046`.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The tactic's number: `TA0007`.
    pub tactic_id: &'static str,
    /// The tactic's name.
    pub tactic: &'static str,
}

impl fmt::Display for Technique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.id, self.name, self.tactic)
    }
}

const fn technique(
    id: &'static str,
    name: &'static str,
    (tactic_id, tactic): (&'static str, &'static str),
) -> Option<Technique> {
    Some(Technique { id, name, tactic_id, tactic })
}

const RECONNAISSANCE: (&str, &str) = ("TA0043", "Reconnaissance");
const INITIAL_ACCESS: (&str, &str) = ("TA0001", "Initial Access");
const CREDENTIAL_ACCESS: (&str, &str) = ("TA0006", "Credential Access");
const DISCOVERY: (&str, &str) = ("TA0007", "Discovery");
const LATERAL_MOVEMENT: (&str, &str) = ("TA0008", "Lateral Movement");
const EXFILTRATION: (&str, &str) = ("TA0010", "Exfiltration");
const COMMAND_AND_CONTROL: (&str, &str) = ("TA0011", "Command and Control");
const IMPACT: (&str, &str) = ("TA0040", "Impact");

/// The technique that a detector's finding looks like, by its words.
pub fn of(detector: &str, signature: &str) -> Option<Technique> {
    let says = |word: &str| signature.contains(word);
    match detector {
        _ if says("from outside") => technique("T1595", "Active Scanning", RECONNAISSANCE),
        "scan" if says("ARP") || says("neighbour") || says("ping") => {
            technique("T1018", "Remote System Discovery", DISCOVERY)
        }
        "scan" | "port_scan" => technique("T1046", "Network Service Discovery", DISCOVERY),
        "novelty" if says("lateral") => technique("T1021", "Remote Services", LATERAL_MOVEMENT),
        "fanout" | "novelty" => technique("T1018", "Remote System Discovery", DISCOVERY),
        "lateral" | "chain" => technique("T1021", "Remote Services", LATERAL_MOVEMENT),
        "exposed" => technique("T1210", "Exploitation of Remote Services", LATERAL_MOVEMENT),
        "brute" => technique("T1110", "Brute Force", CREDENTIAL_ACCESS),
        "beacon" | "swarm" => technique("T1071", "Application Layer Protocol", COMMAND_AND_CONTROL),
        "exfil" => technique("T1048", "Exfiltration Over Alternative Protocol", EXFILTRATION),
        "rewrite" => technique("T1486", "Data Encrypted for Impact", IMPACT),
        "spoof" if says("ARP") => technique("T1557.002", "ARP Cache Poisoning", CREDENTIAL_ACCESS),
        "spoof" if says("DHCP") => technique("T1557.003", "DHCP Spoofing", CREDENTIAL_ACCESS),
        "spoof" => technique("T1557", "Adversary-in-the-Middle", CREDENTIAL_ACCESS),
        "flood" => technique("T1498", "Network Denial of Service", IMPACT),
        "identity" => technique("T1200", "Hardware Additions", INITIAL_ACCESS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_detector_has_one_but_those_whose_findings_may_be_anything() {
        let without: Vec<_> = crate::detect::names().filter(|name| of(name, "").is_none()).collect();
        assert_eq!(without, ["policy", "unusual"]);
    }

    #[test]
    fn words_tell_apart_what_one_detector_finds() {
        let id = |detector, signature| of(detector, signature).map(|technique| technique.id);
        assert_eq!(id("scan", "ARP scan: asks for many addresses nobody has"), Some("T1018"));
        assert_eq!(id("scan", "network scan: first contacts to many hosts fail"), Some("T1046"));
        assert_eq!(id("lateral", "intrusion attempt from outside: an administration service"), Some("T1595"));
        assert_eq!(
            of("spoof", "ARP spoofing: took a router's place")
                .map(|technique| technique.to_string())
                .as_deref(),
            Some("T1557.002 ARP Cache Poisoning (Credential Access)")
        );
    }
}
