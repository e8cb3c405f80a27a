//! The maker's MIB (enterprise 20440), SNMP v2c: for light N (1 red to 5 white, 6 the buzzer) `.2.N` is what it does and
//! `.3.N` after how long it ends (0: it does not). 1 is off; a light is 2 on, 3 blinking, 5 flashing; the buzzer 2 sounding.
//! A separate object has all dark.

use std::path::Path;

use snmp2::{Oid, SyncSession, Value};

use super::{Light, Wanted};
use crate::error::SendError;
use crate::send::net;
use crate::settings::Peer;

/// Lights and buzzer: the table.
const TABLE: [u64; 13] = [1, 3, 6, 1, 4, 1, 20440, 4, 1, 5, 1, 2, 1];
/// What has all dark.
const CLEAR: [u64; 13] = [1, 3, 6, 1, 4, 1, 20440, 4, 1, 5, 1, 3, 0];
const CONTROL: u64 = 2;
const TIMER: u64 = 3;
const MONITOR: u64 = 4;
const BUZZER: u64 = 6;
const OFF: i64 = 1;
/// What the lamp's maker ships it with.
const COMMUNITY: &str = "private";

fn oid(parts: &[u64]) -> Result<Oid<'static>, SendError> {
    Oid::from(parts).map_err(|_| SendError::Form("not an object identifier".to_owned()))
}

fn object(column: u64, row: u64) -> Result<Oid<'static>, SendError> {
    oid(&[&TABLE[..], &[column, row]].concat())
}

/// What is set: objects and numbers.
fn settings(wanted: &Wanted) -> Result<Vec<(Oid<'static>, i64)>, SendError> {
    if wanted.is_dark() {
        return Ok(vec![(oid(&CLEAR)?, 1)]);
    }
    let mut set = Vec::new();
    let rows = wanted.tiers.iter().zip(1..).filter_map(|(tier, row)| tier.map(|light| (row, light)));
    for (row, light) in rows {
        let state = match light {
            None => OFF,
            Some(Light::On) => 2,
            Some(Light::Blink) => 3,
            Some(Light::Flash) => 5,
        };
        set.push((object(CONTROL, row)?, state));
        set.push((object(TIMER, row)?, 0));
    }
    set.push((object(CONTROL, BUZZER)?, if wanted.buzzer { 2 } else { OFF }));
    set.push((object(TIMER, BUZZER)?, 0));
    Ok(set)
}

fn session(peer: &Peer, community: Option<&Path>) -> Result<SyncSession, SendError> {
    let community = match community {
        Some(path) => net::secret(path, "community (community_file)")?,
        None => COMMUNITY.to_owned(),
    };
    let address = net::resolve(peer)?;
    SyncSession::new_v2c(&address[..], community.as_bytes(), Some(net::LAMP_PATIENCE), 1)
        .map_err(|source| SendError::Unreachable { peer: peer.to_string(), source })
}

/// Has the lamp look so.
pub fn show(peer: &Peer, community: Option<&Path>, wanted: &Wanted) -> Result<String, SendError> {
    let set = settings(wanted)?;
    let values: Vec<_> = set.iter().map(|(oid, state)| (oid, Value::Integer(*state))).collect();
    let mut session = session(peer, community)?;
    let answer = session.set(&values).map_err(|error| silent(peer, &error))?;
    if answer.error_status != 0 {
        let said = format!(
            "SNMP error {} at object {}; may this community write, and has the lamp these lights?",
            answer.error_status, answer.error_index
        );
        return Err(SendError::Refused { peer: peer.to_string(), said, lasting: true });
    }
    Ok("set".to_owned())
}

/// Whether the lamp answers.
pub fn is_there(peer: &Peer, community: Option<&Path>) -> Result<(), SendError> {
    let object = object(MONITOR, 1)?;
    session(peer, community)?.get(&object).map(drop).map_err(|error| silent(peer, &error))
}

fn silent(peer: &Peer, error: &snmp2::Error) -> SendError {
    let source = std::io::Error::other(format!("{error} (a wrong community gets no answer)"));
    SendError::Broken { peer: peer.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lamp::Looks;

    #[test]
    fn objects_are_those_of_the_mib() {
        let looks = Looks::default();
        let told = |severity| {
            let set = settings(&Wanted::new(looks.of(severity), looks.tiers())).unwrap();
            set.into_iter().map(|(oid, state)| format!("{oid}={state}")).collect::<Vec<_>>().join(" ")
        };
        let table = "1.3.6.1.4.1.20440.4.1.5.1.2.1";
        assert_eq!(
            told(Some(1)),
            format!("{table}.2.1=3 {table}.3.1=0 {table}.2.2=1 {table}.3.2=0 {table}.2.6=2 {table}.3.6=0")
        );
        assert_eq!(told(None), "1.3.6.1.4.1.20440.4.1.5.1.3.0=1");
    }
}
