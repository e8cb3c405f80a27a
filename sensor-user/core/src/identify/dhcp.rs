//! DHCP (RFC 2131, RFC 2132) and DHCPv6 (RFC 8415): what a client asks for and calls itself, and who answers.

use std::net::Ipv4Addr;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};

use super::bytes::{Reader, words};
use super::client::ClientId;
use crate::addr::Mac;

/// Options of a list a client asks for that are kept.
const MAX_ASKED: usize = 48;
/// Options read of a message, at most.
const MAX_OPTIONS: usize = 64;

/// A DHCP message.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Dhcp {
    /// Whether a server says it.
    pub server: bool,
    /// Message type (option 53); 0 if there is none.
    pub kind: u8,
    /// Hardware address of the client.
    pub client: Mac,
    /// Host name (option 12).
    pub host_name: Option<String>,
    /// Vendor class (option 60).
    pub vendor: Option<String>,
    /// Client identifier (option 61).
    pub client_id: Option<ClientId>,
    /// The address the client wants (option 50).
    pub wants: Option<Ipv4Addr>,
    /// The options the client asks for, in its order (option 55).
    pub asks: Vec<u8>,
}

/// A DHCPv6 message.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize, BorshSchema)]
pub struct Dhcp6 {
    /// Whether a server says it.
    pub server: bool,
    /// Client identifier (DUID, option 1).
    pub duid: Option<ClientId>,
    /// Vendor class (option 16), its first word.
    pub vendor: Option<String>,
    /// Host name (option 39).
    pub host_name: Option<String>,
    /// The options the client asks for (option 6).
    pub asks: Vec<u16>,
}

/// Reads a DHCP message; none if it is not one of Ethernet.
pub fn dhcp(bytes: &[u8]) -> Option<Dhcp> {
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    let mut at = Reader(bytes);
    let (operation, hardware, length) = (at.u8()?, at.u8()?, at.u8()?);
    if !matches!(operation, 1 | 2) || hardware != 1 || length != 6 {
        return None;
    }
    at.take(25)?;
    let client = Mac(*at.take(6)?.first_chunk()?);
    at.take(10 + 64 + 128)?;
    if at.four()? != COOKIE {
        return None;
    }
    let mut said = Dhcp { server: operation == 2, client, ..Dhcp::default() };
    for _ in 0..MAX_OPTIONS {
        let Some(code) = at.u8().filter(|code| *code != 255) else { break };
        if code == 0 {
            continue;
        }
        // A message cut short is used as far as it goes.
        let Some(value) = at.u8().and_then(|length| at.take(usize::from(length))) else { break };
        said.option(code, value);
    }
    Some(said)
}

impl Dhcp {
    fn option(&mut self, code: u8, value: &[u8]) {
        match code {
            12 => self.host_name = words(value),
            50 => self.wants = value.first_chunk::<4>().map(|ip| Ipv4Addr::from(*ip)),
            53 => self.kind = value.first().copied().unwrap_or_default(),
            55 => self.asks = value.iter().copied().take(MAX_ASKED).collect(),
            60 => self.vendor = words(value),
            61 => self.client_id = ClientId::of_dhcp(value),
            _ => {}
        }
    }
}

/// Reads a DHCPv6 message of a client or a server; none if it is another one.
pub fn dhcp6(bytes: &[u8]) -> Option<Dhcp6> {
    let mut at = Reader(bytes);
    let server = match at.u8()? {
        1 | 3..=6 | 8 | 9 | 11 => false,
        2 | 7 | 10 => true,
        _ => return None,
    };
    at.take(3)?;
    let mut said = Dhcp6 { server, ..Dhcp6::default() };
    for _ in 0..MAX_OPTIONS {
        let Some((code, length)) = at.u16().zip(at.u16()) else { break };
        let Some(value) = at.take(usize::from(length)) else { break };
        said.option(code, value);
    }
    Some(said)
}

impl Dhcp6 {
    fn option(&mut self, code: u16, value: &[u8]) {
        match code {
            1 => self.duid = ClientId::of_duid(value),
            6 => {
                let (codes, _) = value.as_chunks::<2>();
                self.asks = codes.iter().map(|code| u16::from_be_bytes(*code)).take(MAX_ASKED).collect();
            }
            // Enterprise number, length, words.
            16 => self.vendor = value.get(6..).and_then(words),
            // Flags, then labels (RFC 4704): the first is the host's.
            39 => {
                let label = value.get(1).and_then(|length| value.get(2..2 + usize::from(*length)));
                self.host_name = label.and_then(words);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(operation: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![operation, 1, 6, 0];
        bytes.extend([0; 24]);
        bytes.extend([2, 0, 0, 0, 0, 7]);
        bytes.extend([0; 10 + 64 + 128]);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_client_says_what_it_wants_and_who_it_is() {
        let options = [
            &[53, 1, 1, 0, 12, 3][..],
            b"mri",
            &[60, 8],
            b"MSFT 5.0",
            &[61, 7, 1, 2, 0, 0, 0, 0, 7, 50, 4, 10, 0, 0, 9, 55, 3, 1, 3, 6, 255, 12, 1],
            b"x",
        ];
        let said = dhcp(&message(1, &options.concat())).unwrap();
        let expected = Dhcp {
            server: false,
            kind: 1,
            client: Mac([2, 0, 0, 0, 0, 7]),
            host_name: Some("mri".into()),
            vendor: Some("MSFT 5.0".into()),
            client_id: ClientId::of_dhcp(&[1, 2, 0, 0, 0, 0, 7]),
            wants: Some(Ipv4Addr::new(10, 0, 0, 9)),
            asks: vec![1, 3, 6],
        };
        assert_eq!(said, expected);
        assert!(dhcp(&message(2, &[53, 1, 5])).unwrap().server);
        assert_eq!(dhcp(&message(3, &[])), None);
        assert_eq!(dhcp(&message(1, &[])[..200]), None);
    }

    #[test]
    fn a_message_cut_short_is_read_as_far_as_it_goes() {
        let said = dhcp(&message(1, &[12, 3, b'm', b'r', b'i', 60, 200, b'M'])).unwrap();
        assert_eq!((said.host_name.as_deref(), said.vendor), (Some("mri"), None));
    }

    #[test]
    fn a_client_of_ipv6_says_so_too() {
        let bytes = [
            &[1, 0, 0, 1, 0, 1, 0, 4, 0, 3, 0, 1][..],
            &[0, 6, 0, 4, 0, 23, 0, 24, 0, 16, 0, 14, 0, 0, 1, 55, 0, 8],
            b"MSFT 5.0",
            &[0, 39, 0, 5, 0, 3],
            b"mri",
        ];
        let said = dhcp6(&bytes.concat()).unwrap();
        let expected = Dhcp6 {
            server: false,
            duid: ClientId::of_duid(&[0, 3, 0, 1]),
            vendor: Some("MSFT 5.0".into()),
            host_name: Some("mri".into()),
            asks: vec![23, 24],
        };
        assert_eq!(said, expected);
        assert_eq!(dhcp6(&[12, 0, 0, 0]), None, "of a relay");
    }
}
