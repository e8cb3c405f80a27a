//! By what identifier a device asks for an address. Two that ask under the same one are perhaps one device with two network
//! cards; or clones of one disk image, or one that borrows the other's. So it is evidence that people are shown, and nothing
//! is decided by it.

use std::collections::HashMap;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::Identities;
use crate::inventory::DeviceKey;

/// Most bytes of an identifier: a DUID has 130 at most (RFC 8415 11.1), and 5 before it in option 61. A longer one could be
/// taken for another with the same beginning.
pub const MAX_ID: usize = 135;
/// An identifier of more devices than this is that of a disk image, and says nothing.
const MAX_ALIKE: usize = 4;
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
