//! The maker's MIB (enterprise 20440), SNMP v2c: for light N (1 red to 5 white, 6 the buzzer) `.2.N` is what it does and
//! `.3.N` after how long it ends (0: it does not). 1 is off; a light is 2 on, 3 blinking, 5 flashing; the buzzer 2 sounding.
//! A separate object has all dark.

use std::path::Path;

use async_snmp::{Auth, Oid, Value};

use super::{Light, Wanted};
use crate::error::SendError;
use crate::send::net;
use crate::send::snmp::Session;
use crate::settings::Peer;

/// Lights and buzzer: the table.
const TABLE: [u32; 13] = [1, 3, 6, 1, 4, 1, 20440, 4, 1, 5, 1, 2, 1];
/// What has all dark.
const CLEAR: [u32; 13] = [1, 3, 6, 1, 4, 1, 20440, 4, 1, 5, 1, 3, 0];
const CONTROL: u32 = 2;
const TIMER: u32 = 3;
const MONITOR: u32 = 4;
const BUZZER: u32 = 6;
const OFF: i32 = 1;
/// What the lamp's maker ships it with.
const COMMUNITY: &str = "private";

fn object(column: u32, row: u32) -> Oid {
    Oid::from([&TABLE[..], &[column, row]].concat())
}

/// What is set: objects and numbers.
fn settings(wanted: &Wanted) -> Vec<(Oid, Value)> {
    if wanted.is_dark() {
        return vec![(Oid::from_slice(&CLEAR), Value::Integer(1))];
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
        set.push((object(CONTROL, row), Value::Integer(state)));
        set.push((object(TIMER, row), Value::Integer(0)));
    }
    set.push((object(CONTROL, BUZZER), Value::Integer(if wanted.buzzer { 2 } else { OFF })));
    set.push((object(TIMER, BUZZER), Value::Integer(0)));
    set
}

fn session(peer: &Peer, community: Option<&Path>) -> Result<Session, SendError> {
    let community = match community {
        Some(path) => net::secret(path, "community (community_file)")?,
        None => COMMUNITY.to_owned(),
    };
    Session::new(peer, Auth::v2c(community), net::LAMP_PATIENCE)
}

/// Has the lamp look so. One that refuses may have been given a community that may not write, or lacks these lights.
pub fn show(peer: &Peer, community: Option<&Path>, wanted: &Wanted) -> Result<String, SendError> {
    session(peer, community)?.set(&settings(wanted)).map(|()| "set".to_owned())
}

/// Whether the lamp answers.
pub fn is_there(peer: &Peer, community: Option<&Path>) -> Result<(), SendError> {
    session(peer, community)?.get(&object(MONITOR, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lamp::Looks;

    #[test]
    fn objects_are_those_of_the_mib() {
        let looks = Looks::default();
        let told = |severity| {
            let set = settings(&Wanted::new(looks.of(severity), looks.tiers()));
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
