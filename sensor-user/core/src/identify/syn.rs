//! The frame that opens a TCP connection: its fields differ from system to system (Zalewski, p0f).

use std::fmt;

use borsh::{BorshDeserialize, BorshSchema, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::bytes::Reader;

/// Options read, at most: there are 40 bytes for them.
const MAX_OPTIONS: usize = 20;

/// What shows the system.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Default,
    BorshSerialize,
    BorshDeserialize,
    BorshSchema,
    Serialize,
    Deserialize,
)]
#[serde(default)]
pub struct Syn {
    /// Time to live as it was sent: 32, 64, 128 or 255.
    pub ttl: u8,
    /// Window.
    pub window: u16,
    /// Largest segment; 0 if it does not say.
    pub mss: u16,
    /// Window scale; none if it does not say.
    pub scale: Option<u8>,
    /// Kinds of options in their order (RFC 9293 3.2): 0 end, 1 padding, 2 segment, 3 scale, 4 SACK, 8 time.
    pub options: Vec<u8>,
}

/// Reads a TCP header; `ttl` is as it arrived.
pub fn syn(ttl: u8, bytes: &[u8]) -> Option<Syn> {
    let mut at = Reader(bytes);
    at.take(12)?;
    let header = usize::from(at.u8()? >> 4) * 4;
    at.u8()?;
    let window = at.u16()?;
    at.take(4)?;
    let mut at = Reader(bytes.get(20..header)?);
    let mut said = Syn { ttl: sent(ttl), window, ..Syn::default() };
    for _ in 0..MAX_OPTIONS {
        let Some(kind) = at.u8() else { break };
        said.options.push(kind);
        if kind == 0 {
            break;
        }
        if kind == 1 {
            continue;
        }
        let length = at.u8().and_then(|length| usize::from(length).checked_sub(2));
        let Some(value) = length.and_then(|length| at.take(length)) else { break };
        match (kind, value) {
            (2, [high, low]) => said.mss = u16::from_be_bytes([*high, *low]),
            (3, [scale]) => said.scale = Some(*scale),
            _ => {}
        }
    }
    Some(said)
}

/// What a time to live was when it was sent.
fn sent(ttl: u8) -> u8 {
    match ttl {
        0..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        _ => 255,
    }
}

/// As `64:5840:1460:1:2,4,8,1,3`.
impl fmt::Display for Syn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:", self.ttl, self.window, self.mss)?;
        match self.scale {
            Some(scale) => write!(f, "{scale}:")?,
            None => f.write_str("-:")?,
        }
        let options: Vec<_> = self.options.iter().map(u8::to_string).collect();
        f.write_str(&options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_differ_are_read() {
        let header = |options: &[u8]| {
            let words = 5 + options.len() as u8 / 4;
            let fixed = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, words << 4, 2, 0x16, 0xd0, 0, 0, 0, 0];
            [&fixed[..], options].concat()
        };
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 1];
        let cases: [(&str, &[u8], &str); 4] = [
            ("linux", &linux, "64:5840:1460:1:2,4,8,1,3"),
            ("none", &[], "64:5840:0:-:"),
            ("length 0", &[3, 0, 0, 0], "64:5840:0:-:3"),
            ("end", &[2, 4, 5, 0xb4, 0, 9, 9, 9], "64:5840:1460:-:2,0"),
        ];
        for (name, options, expected) in cases {
            assert_eq!(
                syn(61, &header(options)).map(|said| said.to_string()).as_deref(),
                Some(expected),
                "{name}"
            );
        }
        assert_eq!(syn(64, &header(&linux)[..30]), None, "cut short");
    }
}
