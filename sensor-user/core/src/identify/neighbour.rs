//! LLDP (IEEE 802.1AB) and CDP: what switches, access points and telephones say to whom they are plugged into.

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::bytes::{Reader, words};
use crate::addr::Mac;

/// Fields read of a message, at most.
const MAX_FIELDS: usize = 64;

/// A device that names itself and the port it says so by.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    Serialize,
    Deserialize,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
)]
#[serde(default)]
pub struct Neighbour {
    /// Its name.
    pub system: Option<String>,
    /// Its port.
    pub port: Option<String>,
    /// What it is: the system's description, or CDP's platform.
    pub platform: Option<String>,
    /// It switches.
    pub bridge: bool,
    /// It routes.
    pub router: bool,
    /// It is an access point.
    pub access_point: bool,
    /// It is a telephone.
    pub phone: bool,
}

/// Reads what is behind the Ethernet header and its tags; none if it is neither.
pub fn neighbour(ether_type: u16, bytes: &[u8]) -> Option<Neighbour> {
    /// LLC of SNAP, Cisco's number, and CDP's (UDLD and VTP have others).
    const CDP: [u8; 8] = [0xaa, 0xaa, 0x03, 0, 0, 0x0c, 0x20, 0];
    const LLDP: u16 = 0x88cc;
    if ether_type == LLDP { lldp(bytes) } else { cdp(bytes.strip_prefix(&CDP)?) }
}

fn lldp(bytes: &[u8]) -> Option<Neighbour> {
    let mut at = Reader(bytes);
    let (mut said, mut described) = (Neighbour::default(), None);
    for field in 0..MAX_FIELDS {
        let Some(head) = at.u16().filter(|head| *head != 0) else { break };
        let Some(value) = at.take(usize::from(head & 0x1ff)) else { break };
        match head >> 9 {
            // The first names the chassis, or it is none of LLDP.
            1 => {}
            _ if field == 0 => return None,
            2 => said.port = port(value),
            4 => described = words(value),
            5 => said.system = words(value),
            6 => said.platform = words(value),
            7 => said.capable(value.get(2..4)?),
            _ => {}
        }
    }
    // A port that is a number, or an address, is better known by its description.
    if said.port.as_ref().is_none_or(|port| port.len() < 3 || port.contains(':')) {
        said.port = described.or(said.port);
    }
    Some(said)
}

/// The name of a port (IEEE 802.1AB 8.5.3): words, or its MAC address.
fn port(value: &[u8]) -> Option<String> {
    let (kind, id) = value.split_first()?;
    match kind {
        3 => Some(Mac(*id.first_chunk()?).to_string()),
        _ => words(id),
    }
}

impl Neighbour {
    /// What is switched on (IEEE 802.1AB table 8-4).
    fn capable(&mut self, enabled: &[u8]) {
        let [_, bits] = enabled else { return };
        self.bridge = bits & 0x04 != 0;
        self.access_point = bits & 0x08 != 0;
        self.router = bits & 0x10 != 0;
        self.phone = bits & 0x20 != 0;
    }

    /// Whether it passes on what others send, so that it says where they are.
    pub fn is_switch(&self) -> bool {
        (self.bridge || self.router) && !self.phone
    }
}

fn cdp(bytes: &[u8]) -> Option<Neighbour> {
    let mut at = Reader(bytes);
    at.four()?;
    let mut said = Neighbour::default();
    for _ in 0..MAX_FIELDS {
        let Some((kind, length)) = at.u16().zip(at.u16()) else { break };
        let Some(value) = at.take(usize::from(length).saturating_sub(4)) else { break };
        match kind {
            1 => said.system = words(value),
            3 => said.port = words(value),
            4 => {
                let bits = value.get(3).copied().unwrap_or_default();
                said.router = bits & 0x01 != 0;
                // A transparent bridge, a source-route bridge, a switch.
                said.bridge = bits & 0x0e != 0;
                said.phone = bits & 0x80 != 0;
            }
            6 => {
                said.platform = words(value);
                let platform = said.platform.as_deref().unwrap_or_default().to_lowercase();
                said.access_point = platform.contains("air-") || platform.contains("-ap");
            }
            _ => {}
        }
    }
    (said.system.is_some() || said.platform.is_some()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
        [&(kind << 9 | value.len() as u16).to_be_bytes()[..], value].concat()
    }

    #[test]
    fn a_switch_says_where_one_is() {
        let message = [
            tlv(1, &[4, 0, 0x19, 0x2f, 1, 2, 3]),
            tlv(2, b"\x05Gi0/13"),
            tlv(3, &[0, 120]),
            tlv(4, b"to the ward"),
            tlv(5, b"sw-3f"),
            tlv(6, b"Cisco IOS"),
            tlv(7, &[0, 0x14, 0, 0x04]),
            vec![0, 0],
        ]
        .concat();
        let expected = Neighbour {
            system: Some("sw-3f".into()),
            port: Some("Gi0/13".into()),
            platform: Some("Cisco IOS".into()),
            bridge: true,
            ..Neighbour::default()
        };
        assert_eq!(neighbour(0x88cc, &message), Some(expected.clone()));
        assert!(expected.is_switch());
        let by_number = [tlv(1, &[4, 2, 0, 0, 0, 0, 1]), tlv(2, b"\x077"), tlv(4, b"port 7")].concat();
        assert_eq!(neighbour(0x88cc, &by_number).and_then(|said| said.port).as_deref(), Some("port 7"));
        assert_eq!(neighbour(0x88cc, &tlv(5, b"no chassis")), None);
    }

    #[test]
    fn cdp_says_so_too() {
        let field = |kind: u16, value: &[u8]| {
            [&kind.to_be_bytes()[..], &(value.len() as u16 + 4).to_be_bytes(), value].concat()
        };
        let message = [
            vec![0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2, 180, 0, 0],
            field(1, b"SEP001122334455"),
            field(3, b"Port 1"),
            field(4, &[0, 0, 4, 0x90]),
            field(6, b"Cisco IP Phone 7941"),
        ]
        .concat();
        let expected = Neighbour {
            system: Some("SEP001122334455".into()),
            port: Some("Port 1".into()),
            platform: Some("Cisco IP Phone 7941".into()),
            phone: true,
            ..Neighbour::default()
        };
        assert_eq!(neighbour(0x100, &message), Some(expected));
        let udld = [&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x01, 0x11][..], &[0; 40]].concat();
        assert_eq!(neighbour(0x100, &udld), None);
    }
}
