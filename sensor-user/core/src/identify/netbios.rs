//! NetBIOS over UDP (RFC 1002): what a device registers or sends by its name.

use borsh::{BorshDeserialize, BorshSerialize};

use super::bytes::{Reader, words};

/// A name and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug, BorshSerialize, BorshDeserialize)]
pub struct NetBios {
    /// The name.
    pub name: String,
    /// Its last byte: 0x00 a workstation, 0x20 a file server, 0x1b and 0x1c domain controllers.
    pub suffix: u8,
    /// It is a group's: of a domain or a workgroup.
    pub group: bool,
}

/// Reads what a device calls itself in a message of the name service (port 137); none if it only asks for another.
pub fn name_service(bytes: &[u8]) -> Option<NetBios> {
    /// Registration, release and refresh (RFC 1002 4.2.1.1), the last in both its numbers.
    const OWN: [u16; 4] = [5, 6, 8, 9];
    let mut at = Reader(bytes);
    at.u16()?;
    let flags = at.u16()?;
    let counts = [at.u16()?, at.u16()?, at.u16()?, at.u16()?];
    let (is_answer, operation) = (flags & 0x8000 != 0, flags >> 11 & 0xf);
    if is_answer || !OWN.contains(&operation) || counts.first() != Some(&1) {
        return None;
    }
    let mut said = name(&mut at)?;
    // The question's type and class, then the record: a reference to the name, type, class, time, length, flags.
    at.take(4 + 2 + 4 + 4 + 2)?;
    said.group = at.u16()? & 0x8000 != 0;
    Some(said)
}

/// Reads who sends a datagram (port 138).
pub fn datagram(bytes: &[u8]) -> Option<NetBios> {
    let mut at = Reader(bytes);
    // Direct to one, to a group, to all.
    if !matches!(at.u8()?, 0x10..=0x12) {
        return None;
    }
    at.take(13)?;
    name(&mut at)
}

/// A name in first-level encoding (RFC 1001 14.1): two letters a byte.
fn name(at: &mut Reader<'_>) -> Option<NetBios> {
    if at.u8()? != 32 {
        return None;
    }
    let letters = at.take(32)?;
    if at.u8()? != 0 {
        return None;
    }
    let half = |letter: u8| {
        Some(letter).filter(u8::is_ascii_uppercase).map(|letter| letter - b'A').filter(|n| *n < 16)
    };
    let (pairs, _) = letters.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(half(*high)? << 4 | half(*low)?));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    let (suffix, name) = bytes.split_last()?;
    Some(NetBios { name: words(name)?, suffix: *suffix, group: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(name: &str, suffix: u8) -> Vec<u8> {
        let bytes = format!("{name:15}").into_bytes().into_iter().chain([suffix]);
        let letters = bytes.flat_map(|byte| [b'A' + (byte >> 4), b'A' + (byte & 15)]);
        [32].into_iter().chain(letters).chain([0]).collect()
    }

    #[test]
    fn a_name_that_is_registered_is_the_sender_s_own() {
        let message = |operation: u16, group: u8| {
            let flags = (operation << 11 | 0x0110).to_be_bytes();
            let head = [&[0, 1][..], &flags, &[0, 1, 0, 0, 0, 0, 0, 1]].concat();
            let record = [0xc0, 12, 0, 32, 0, 1, 0, 0, 0, 0, 0, 6, group, 0, 10, 0, 0, 7];
            [head, encoded("RECEPTION", 0x20), vec![0, 32, 0, 1], record.to_vec()].concat()
        };
        let own = NetBios { name: "RECEPTION".into(), suffix: 0x20, group: false };
        assert_eq!(name_service(&message(5, 0)), Some(own.clone()));
        assert_eq!(name_service(&message(5, 0x80)), Some(NetBios { group: true, ..own.clone() }));
        assert_eq!(name_service(&message(0, 0)), None, "a question");
        let sent =
            [&[0x11, 2, 0, 1, 10, 0, 0, 7, 0, 138, 0, 9, 0, 0][..], &encoded("RECEPTION", 0x20)].concat();
        assert_eq!(datagram(&sent), Some(own));
        assert_eq!(datagram(&sent[..30]), None);
    }
}
