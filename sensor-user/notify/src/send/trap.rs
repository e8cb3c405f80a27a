//! SNMP notifications (RFC 3416), one a notice. By v2c they are traps, which nobody confirms; by v3 they are inform requests: the
//! receiver confirms each, and needs to know nothing of the sender but its user.
//!
//! `deploy/SEKISHO-MIB.txt` names the notification and its objects.

use std::time::{Duration, Instant};

use async_snmp::{Auth, AuthProtocol, Oid, PrivProtocol, UsmConfig, Value, VarBind};

use super::snmp::Session;
use super::{Send, Sent, each, net};
use crate::error::SendError;
use crate::notice::Notice;
use crate::settings::{Access, Digest, Trap, User};
use crate::words;

/// Notices at a time.
const MOST: usize = 100;
/// What receivers expect unless told otherwise.
const COMMUNITY: &str = "public";
/// Below it there are the enterprises.
const ENTERPRISES: [u32; 6] = [1, 3, 6, 1, 4, 1];
/// Below the enterprise's number: the notification, and its objects, each of which is there once (its instance is 0).
const NOTICE: [u32; 3] = [1, 0, 1];
const OBJECTS: [u32; 2] = [1, 1];
/// Bytes of the headline, and of each other text, at most: all of them fit in a datagram of Ethernet (1,472 bytes).
const MAX_HEADLINE: usize = 400;
const MAX_TEXT: usize = 120;
/// How long a receiver may take to confirm: it is in the house.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way to a receiver of traps.
pub struct Trapper {
    trap: Trap,
    started: Instant,
}

impl Trapper {
    /// A way by these settings.
    pub fn new(trap: Trap) -> Self {
        Self { trap, started: Instant::now() }
    }

    fn tell(&self, session: &Session, notice: &Notice) -> Result<String, SendError> {
        let ticks = u32::try_from(self.started.elapsed().as_millis() / 10 % (1 << 32)).unwrap_or(0);
        let enterprise = [&ENTERPRISES[..], &[self.trap.enterprise]].concat();
        let below = |parts: &[u32]| Oid::from([&enterprise[..], parts].concat());
        let objects = objects(notice).into_iter();
        let objects =
            objects.map(|(number, value)| VarBind::new(below(&[OBJECTS[0], OBJECTS[1], number, 0]), value));
        match self.trap.access {
            Access::Community(_) => session
                .trap(&below(&NOTICE), ticks, objects.collect())
                .map(|()| "sent; traps are not confirmed".to_owned()),
            Access::User(_) => {
                session.inform(&below(&NOTICE), ticks, objects.collect()).map(|()| "confirmed".to_owned())
            }
        }
    }
}

impl Send for Trapper {
    fn send(&mut self, notices: &[Notice], _: u64) -> Sent {
        let session =
            access(&self.trap.access).and_then(|access| Session::new(&self.trap.peer, access, PATIENCE));
        match session {
            Ok(session) => each(notices, |notice| self.tell(&session, notice)),
            Err(error) => Sent { count: 0, said: Err(error) },
        }
    }

    fn most(&self) -> usize {
        MOST
    }
}

/// What a receiver knows us by, with what its files have now.
fn access(access: &Access) -> Result<Auth, SendError> {
    match access {
        Access::Community(None) => Ok(Auth::v2c(COMMUNITY)),
        Access::Community(Some(path)) => Ok(Auth::v2c(net::secret(path, "community (community_file)")?)),
        Access::User(user) => Ok(security(user)?.into()),
    }
}

fn security(user: &User) -> Result<UsmConfig, SendError> {
    let digest = match user.digest {
        Digest::Sha1 => AuthProtocol::Sha1,
        Digest::Sha256 => AuthProtocol::Sha256,
        Digest::Sha512 => AuthProtocol::Sha512,
    };
    let password = net::secret(&user.password_file, "password (password_file)")?;
    let config = UsmConfig::new(user.name.clone());
    let config = match &user.privacy_file {
        None => config.auth(digest, password),
        Some(path) => {
            let privacy = net::secret(path, "password of the encryption (privacy_file)")?;
            config.auth_priv(digest, password, PrivProtocol::Aes128, privacy)
        }
    };
    config.map_err(|error| SendError::Form(error.to_string()))
}

/// The objects of a notice, by their number below the enterprise's own.
pub fn objects(notice: &Notice) -> Vec<(u32, Value)> {
    let cut = |text: &str, most: usize| {
        let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Value::from(&text[..end])
    };
    let text = |text: &str| cut(text, MAX_TEXT);
    let device = notice.device.as_ref();
    let place = notice.place.as_ref();
    let mut objects = vec![
        (1, Value::Integer(i32::from(notice.severity))),
        (2, text(notice.kind().name())),
        (3, cut(&words::headline(words::ENGLISH, notice), MAX_HEADLINE)),
    ];
    let texts = [
        (4, device.and_then(|device| device.name.as_deref())),
        (5, device.map(|device| device.mac.as_str())),
        (6, device.and_then(|device| device.ips.first()).map(String::as_str)),
        (7, place.and_then(|place| place.port.as_deref())),
        (9, place.and_then(|place| place.segment.as_deref())),
    ];
    objects.extend(texts.into_iter().filter_map(|(number, value)| Some((number, text(value?)))));
    objects.extend(place.and_then(|place| place.vlan).map(|vlan| (8, Value::Integer(i32::from(vlan)))));
    let incident = notice.incident.and_then(|id| i32::try_from(id).ok());
    objects.extend(incident.map(|id| (10, Value::Integer(id))));
    objects
}
