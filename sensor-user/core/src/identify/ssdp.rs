//! SSDP (UPnP Device Architecture 2.0): lines of text like those of HTTP, of which few matter here.

use borsh::{BorshDeserialize, BorshSerialize};

use super::bytes::words;

/// Lines read of a message, at most.
const MAX_LINES: usize = 32;

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug, Default, BorshSerialize, BorshDeserialize)]
pub struct Ssdp {
    /// Whether it looks for others, as against saying what it is itself.
    pub asks: bool,
    /// The type of device or service it offers, or looks for (NT, ST).
    pub kind: Option<String>,
    /// Its system and product (SERVER).
    pub server: Option<String>,
    /// Its identity (USN).
    pub usn: Option<String>,
    /// The host its description lies at (LOCATION).
    pub location: Option<String>,
}

/// Reads a message; none if it is none of SSDP.
pub fn ssdp(bytes: &[u8]) -> Option<Ssdp> {
    let mut lines = bytes.split(|byte| *byte == b'\n').take(MAX_LINES);
    let first = lines.next()?;
    let asks = first.starts_with(b"M-SEARCH ");
    if !asks && !first.starts_with(b"NOTIFY ") && !first.starts_with(b"HTTP/1.") {
        return None;
    }
    let mut said = Ssdp { asks, ..Ssdp::default() };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        let is = |name: &str| key.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if is("NT") || is("ST") {
            said.kind = words(value).map(|kind| kind.to_lowercase());
        } else if is("SERVER") {
            said.server = words(value);
        } else if is("USN") {
            said.usn = words(value);
        } else if is("LOCATION") {
            said.location = words(value).as_deref().and_then(host).map(str::to_owned);
        }
    }
    Some(said)
}

/// The host of an address like `http://10.0.0.7:80/description.xml`.
fn host(location: &str) -> Option<&str> {
    let (_, rest) = location.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_is_and_what_it_looks_for() {
        let notify = b"NOTIFY * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nNT: urn:schemas-upnp-org:device:Basic:1\r\n\
            server: Linux, UPnP/1.0, X/2\r\nUSN: uuid:1::x\r\nLOCATION: http://10.0.0.7:49153/setup.xml\r\n\r\n";
        let expected = Ssdp {
            asks: false,
            kind: Some("urn:schemas-upnp-org:device:basic:1".into()),
            server: Some("Linux, UPnP/1.0, X/2".into()),
            usn: Some("uuid:1::x".into()),
            location: Some("10.0.0.7".into()),
        };
        assert_eq!(ssdp(notify), Some(expected));
        let search = b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\nMAN: \"ssdp:discover\"";
        let expected = Ssdp { asks: true, kind: Some("ssdp:all".into()), ..Ssdp::default() };
        assert_eq!(ssdp(search), Some(expected));
        assert_eq!(ssdp(b"GET / HTTP/1.1\r\nST: x\r\n"), None);
        let hosts = [("http://[fd00::1]:80/x", Some("fd00::1")), ("http:///x", None), ("x", None)];
        for (location, expected) in hosts {
            assert_eq!(host(location), expected, "{location}");
        }
    }
}
