//! The maker's PNS commands over TCP (port 10000), as the NH, LA and LR series understand them.
//!
//! A command is the product code (two bytes), one letter, a zero, the length of what follows (two bytes, big endian), and
//! that. `S` sets five lights and the buzzer, one byte each: 0 off, 1 on, 2 blinking slowly, 3 blinking faster, 9 as it is;
//! for the buzzer 0 silent, 1 sounding. `C` has all dark and silent. `G` asks for the same six bytes. The answer to the first
//! two is 06 (done) or 15 (refused). (PATLITE's sample programs for LR5-LAN and LA6-POE; NH-FV manual T95100208.)

use std::io::{Read, Write};

use super::{Light, Wanted};
use crate::error::SendError;
use crate::send::net;
use crate::settings::{Peer, Series};

const SET: u8 = b'S';
const CLEAR: u8 = b'C';
const GET: u8 = b'G';
const DONE: u8 = 0x06;
const REFUSED: u8 = 0x15;
/// As it is.
const KEEP: u8 = 9;
/// Lights and buzzer.
const PARTS: usize = 6;

/// A command as it goes over the wire.
fn command(series: Series, letter: u8, data: &[u8]) -> Vec<u8> {
    let product = match series {
        Series::Nh => *b"XX",
        Series::La => *b"AB",
    };
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&product[..], &[letter, 0], &length, data].concat()
}

const fn code(light: Option<Light>) -> u8 {
    match light {
        None => 0,
        Some(Light::On) => 1,
        Some(Light::Blink) => 2,
        Some(Light::Flash) => 3,
    }
}

fn data(wanted: &Wanted) -> [u8; PARTS] {
    let mut data = [KEEP; PARTS];
    for (byte, tier) in data.iter_mut().zip(wanted.tiers) {
        *byte = tier.map_or(KEEP, code);
    }
    data[PARTS - 1] = u8::from(wanted.buzzer);
    data
}

/// Asks, and reads the answer: `length` bytes, or one that refuses.
fn ask(peer: &Peer, command: &[u8], length: usize) -> Result<Vec<u8>, SendError> {
    let mut stream = net::connect(peer, net::LAMP_PATIENCE)?;
    let broken = |source| SendError::Broken { peer: peer.to_string(), source };
    stream.write_all(command).map_err(broken)?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer[..1]).map_err(broken)?;
    if answer[0] == REFUSED {
        let said = "the command was not understood (15h); give the series of the lamp".to_owned();
        return Err(SendError::Refused { peer: peer.to_string(), said, lasting: true });
    }
    stream.read_exact(&mut answer[1..]).map_err(broken)?;
    Ok(answer)
}

/// Has the lamp look so, and looks whether it does.
pub fn show(peer: &Peer, series: Series, wanted: &Wanted) -> Result<String, SendError> {
    let dark = wanted.is_dark();
    let wire = if dark { command(series, CLEAR, &[]) } else { command(series, SET, &data(wanted)) };
    let answer = ask(peer, &wire, 1)?;
    if answer != [DONE] {
        let said = format!("{answer:02x?}");
        return Err(SendError::Unexpected { peer: peer.to_string(), wanted: "06h (done)", said });
    }
    if !looks_so(peer, series, wanted)? {
        let said = "it took the command and looks otherwise".to_owned();
        return Err(SendError::Refused { peer: peer.to_string(), said, lasting: false });
    }
    Ok(if dark { "dark, as it says itself" } else { "lit, as it says itself" }.to_owned())
}

/// Whether the lights that are ours are so.
pub fn looks_so(peer: &Peer, series: Series, wanted: &Wanted) -> Result<bool, SendError> {
    let status = ask(peer, &command(series, GET, &[]), PARTS)?;
    let tiers = wanted.tiers.iter().zip(&status);
    Ok(tiers.into_iter().all(|(tier, byte)| tier.is_none_or(|light| code(light) == *byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lamp::Looks;

    #[test]
    fn commands_are_those_of_the_manual() {
        let looks = Looks::default();
        let wanted = |severity| Wanted::new(looks.of(severity), looks.tiers());
        for (series, severity, want) in [
            (Series::Nh, Some(1), *b"XXS\0\0\x06\x02\x00\x09\x09\x09\x01"),
            (Series::La, Some(1), *b"ABS\0\0\x06\x02\x00\x09\x09\x09\x01"),
            (Series::Nh, Some(2), *b"XXS\0\0\x06\x00\x01\x09\x09\x09\x00"),
        ] {
            assert_eq!(command(series, SET, &data(&wanted(severity))), want, "{series:?} {severity:?}");
        }
        assert_eq!(command(Series::Nh, CLEAR, &[]), *b"XXC\0\0\0");
        assert_eq!(command(Series::La, GET, &[]), *b"ABG\0\0\0");
    }
}
