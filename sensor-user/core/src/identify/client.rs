//! By what identifier a device asks for an address. Two that ask under the same one are perhaps one device with two network
//! cards; or clones of one disk image, or one that borrows the other's. So it is evidence that people are shown, and by which
//! devices are counted as one ([`group`](super::group)); whom to restrict is never decided by it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::Identities;
use crate::inventory::DeviceKey;

/// Most bytes of an identifier: a DUID has 130 at most (RFC 8415 11.1), and 5 before it in option 61. A longer one could be
/// taken for another with the same beginning.
pub const MAX_ID: usize = 135;
/// An identifier of more devices than this is that of a disk image, and says nothing.
pub(crate) const MAX_ALIKE: usize = 4;
/// Types of DUIDs (RFC 8415 11, RFC 6355).
const DUID_LLT: [u8; 2] = [0, 1];
const DUID_EN: [u8; 2] = [0, 2];
const DUID_UUID: [u8; 2] = [0, 4];
/// Bytes of a DUID before its own part: type, kind of network and time; type and number of the maker; type.
const BEFORE_ADDRESS: usize = 8;
const BEFORE_NAME: usize = 6;
const BEFORE_UUID: usize = 2;
const UUID: usize = 16;
/// First byte of option 61 if a DUID is in it (RFC 4361 6.1), and the bytes before that: type and network card.
const HOLDS_DUID: u8 = 255;
const BEFORE_DUID: usize = 5;

/// A DHCP client's identifier: its DUID, or what else it says.
#[derive(
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
    Serialize,
    Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct ClientId(Vec<u8>);

impl ClientId {
    /// Of option 61 of DHCP.
    pub fn of_dhcp(option: &[u8]) -> Option<Self> {
        match option.first()? {
            &HOLDS_DUID => Self::of_duid(option.get(BEFORE_DUID..)?),
            _ => Self::of_duid(option),
        }
    }

    /// Of a DUID; none if it is too long, or names nobody.
    pub fn of_duid(duid: &[u8]) -> Option<Self> {
        let (_, name) = duid.split_first()?;
        let first = name.first()?;
        let blank = matches!(first, 0 | 0xff) && name.iter().all(|byte| byte == first);
        (duid.len() <= MAX_ID && !blank).then(|| Self(duid.to_vec()))
    }

    /// Whether it is one that a machine makes once and uses with all its network cards: a DUID with a time, of a maker, or a UUID.
    /// A hardware address (as option 61 or as DUID-LL) is that of a card, which may go from one machine to another; what else an
    /// option 61 says is a text that somebody chose.
    pub fn is_of_machine(&self) -> bool {
        let own = |before: usize| self.0.get(before..).unwrap_or_default();
        let (own, long) = match self.0.first_chunk() {
            Some(&DUID_LLT) => (own(BEFORE_ADDRESS), own(BEFORE_ADDRESS).len() >= 6),
            Some(&DUID_EN) => (own(BEFORE_NAME), own(BEFORE_NAME).len() >= 4),
            Some(&DUID_UUID) => (own(BEFORE_UUID), own(BEFORE_UUID).len() == UUID),
            _ => return false,
        };
        // All bytes alike: a main board whose maker left it blank.
        long && own.iter().any(|byte| Some(byte) != own.first())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ClientId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let bytes = bytes.filter(|_| rest.is_empty());
        bytes.and_then(|bytes| Self::of_duid(&bytes)).ok_or("no identifier of a DHCP client")
    }
}

/// Which devices ask under the same identifier.
pub struct Alike<'a> {
    by_id: HashMap<&'a ClientId, Vec<DeviceKey>>,
}

impl Identities {
    /// Which devices on this link ask under the same identifier.
    pub fn alike(&self) -> Alike<'_> {
        let mut by_id: HashMap<_, Vec<DeviceKey>> = HashMap::new();
        for (key, identity) in self.devices.iter() {
            for id in identity.facts.clients.iter().filter(|_| matches!(key, DeviceKey::Local(_))) {
                by_id.entry(id).or_default().push(*key);
            }
        }
        by_id.retain(|_, keys| (2..=MAX_ALIKE).contains(&keys.len()));
        by_id.values_mut().for_each(|keys| keys.sort());
        Alike { by_id }
    }
}

impl Identities {
    /// Which of these devices ask under the same identifier of a machine.
    pub(crate) fn sharing(
        &self,
        keys: impl Iterator<Item = DeviceKey>,
    ) -> BTreeMap<ClientId, Vec<DeviceKey>> {
        let mut by_id: BTreeMap<ClientId, Vec<DeviceKey>> = BTreeMap::new();
        for key in keys {
            let ids = self.facts(key).map(|facts| &facts.clients[..]).unwrap_or_default();
            for id in ids.iter().filter(|id| id.is_of_machine()) {
                by_id.entry(id.clone()).or_default().push(key);
            }
        }
        by_id.retain(|_, keys| keys.len() > 1);
        by_id.values_mut().for_each(|keys| keys.sort());
        by_id
    }
}

impl Alike<'_> {
    /// Who asks under an identifier of a device's, and under which; the device itself is among them.
    pub fn to<'b>(&'b self, ids: &'b [ClientId]) -> impl Iterator<Item = (DeviceKey, &'b ClientId)> {
        ids.iter().flat_map(|id| self.by_id.get(id).into_iter().flatten().map(move |key| (*key, id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duid_in_an_identifier_counts_whatever_the_network_card() {
        let duid = [0, 4, 1, 2, 3];
        let at = |card: u8| ClientId::of_dhcp(&[&[255, 0, 0, 0, card][..], &duid].concat());
        assert_eq!((at(1), at(2)), (ClientId::of_duid(&duid), ClientId::of_duid(&duid)));
        assert!(at(1).is_some());
        assert_eq!(
            ClientId::of_dhcp(&[1, 2, 0, 0, 0, 0, 7]).map(String::from).as_deref(),
            Some("01020000000007")
        );
    }

    #[test]
    fn what_names_a_card_or_was_chosen_is_none_of_a_machine() {
        let (mac, name) = ([2, 0, 0, 0, 0, 7], [0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8]);
        let uuid: Vec<u8> = (1..=16).collect();
        let llt = [&[0, 1, 0, 1, 0x2d, 1, 2, 3], &mac[..]].concat();
        let cases = [
            ("with a time", llt.clone(), true),
            ("of a maker", [&[0, 2, 0, 0], &name[..]].concat(), true),
            ("a UUID", [&[0, 4], &uuid[..]].concat(), true),
            ("in option 61", [&[255, 9, 9, 9, 9], &llt[..]].concat(), true),
            ("a hardware address", [&[1], &mac[..]].concat(), false),
            ("of a card", [&[0, 3, 0, 1], &mac[..]].concat(), false),
            ("a text", b"\0laptop".to_vec(), false),
            ("a short UUID", vec![0, 4, 1, 2, 3, 4], false),
            ("a blank UUID", [&[0, 4], &[0xff; 16][..]].concat(), false),
            ("cut off", vec![0, 1, 0, 1, 0x2d, 1], false),
        ];
        for (what, bytes, want) in cases {
            let id = ClientId::of_dhcp(&bytes).unwrap();
            assert_eq!(id.is_of_machine(), want, "{what}: {id}");
        }
    }

    #[test]
    fn what_names_nobody_is_no_identifier() {
        let long = [7; MAX_ID + 1];
        for id in
            [&[][..], &[1], &[0, 0, 0], &[1, 255, 255], &[255, 0, 0, 0, 1], &[255, 0, 0, 0, 1, 0, 0], &long]
        {
            assert_eq!(ClientId::of_dhcp(id), None, "{id:?}");
        }
        assert!(ClientId::of_dhcp(&long[1..]).is_some());
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let id = ClientId::of_duid(&[0, 1, 0xab]).unwrap();
        assert_eq!(ClientId::try_from(String::from(id.clone())), Ok(id));
        for text in ["", "0", "0001zz", "000", "é1", "+1+2"] {
            assert!(ClientId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
