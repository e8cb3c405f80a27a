//! Hashes, and how a row is bound to the one before it.

use ring::digest;

use crate::entry::Entry;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// What the hash of a row begins with: another layout of the fields has another word here.
const LAYOUT: &[u8] = b"sekisho audit record 1\n";

/// The SHA-256 hash of some bytes.
pub fn sha256(bytes: &[u8]) -> Hash {
    of(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn of(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    hash
}

/// What stands before the first row of a chain: chains cannot be exchanged for one another.
pub fn beginning(chain: &str) -> Hash {
    sha256(format!("sekisho audit chain\n{chain}\n").as_bytes())
}

/// The hash of a row: over the hash before it, its number, and each of its fields with its length, so that nothing can be moved
/// from one field to the next.
pub fn link(before: &Hash, number: u64, entry: &Entry) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(LAYOUT);
    context.update(before);
    context.update(&number.to_be_bytes());
    context.update(&entry.time_ns.to_be_bytes());
    let mut field = |bytes: Option<&[u8]>| {
        context.update(&[u8::from(bytes.is_some())]);
        let bytes = bytes.unwrap_or_default();
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    field(Some(entry.kind.as_bytes()));
    field(entry.incident.map(u64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
    field(entry.device.map(u64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
    field(entry.mac.as_ref().map(String::as_bytes));
    field(entry.name.as_ref().map(String::as_bytes));
    field(entry.severity.map(u8::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
    field(Some(entry.body.as_bytes()));
    field(Some(entry.words.as_bytes()));
    of(context.finish().as_ref())
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// So many bytes from as many pairs of hexadecimal digits, small letters only: a text has one way to be written.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let text = || "[a-c\\x00é]{0,3}";
        (
            any::<i64>(),
            text(),
            any::<Option<u64>>(),
            proptest::option::of(text()),
            any::<Option<u8>>(),
            text(),
        )
            .prop_map(|(time_ns, kind, incident, mac, severity, body)| Entry {
                time_ns,
                kind,
                incident,
                mac,
                severity,
                body,
                ..Entry::default()
            })
    }

    proptest! {
        #[test]
        fn another_row_has_another_hash(a in entry(), b in entry()) {
            let before = sha256(b"");
            prop_assert_eq!(a == b, link(&before, 1, &a) == link(&before, 1, &b));
            prop_assert_ne!(link(&before, 1, &a), link(&before, 2, &a));
            prop_assert_ne!(link(&before, 1, &a), link(&sha256(b"x"), 1, &a));
        }

        #[test]
        fn hexadecimal_digits_come_back(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in ".{0,70}") {
            let _: Option<Hash> = unhex(&text);
        }
    }

    #[test]
    fn a_field_is_not_the_next_one() {
        let a = Entry { mac: Some("ab".to_owned()), name: None, ..Entry::default() };
        let b = Entry { mac: None, name: Some("ab".to_owned()), ..Entry::default() };
        let c = Entry { mac: Some("a".to_owned()), name: Some("b".to_owned()), ..Entry::default() };
        let hashes = [&a, &b, &c].map(|entry| link(&sha256(b""), 1, entry));
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    }

    #[test]
    fn what_is_written_once_is_read_by_every_release() {
        // By sha256sum: a change here makes every chain of earlier releases fail.
        assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let entry = Entry { time_ns: 5, kind: "alert".to_owned(), incident: Some(3), ..Entry::default() };
        assert_eq!(hex(&link(&beginning("c"), 1, &entry)), GOLDEN);
    }

    /// Made by Python's hashlib from the description of [`link`].
    const GOLDEN: &str = "a27f9f2c037357febf8460a2c983f7ccc00bc70da9ada4122fd9f0d7e4ac10c5";

    #[test]
    fn capital_letters_and_other_lengths_are_no_hash() {
        for text in ["", "0", "AB", "0g", "0000", "é"] {
            assert_eq!(unhex::<1>(text), None, "{text}");
        }
    }
}
