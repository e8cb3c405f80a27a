//! The ways notices go out: each knows one protocol, and neither the others nor when it is asked.

pub mod mail;
pub mod net;
pub mod snmp;
pub mod syslog;
pub mod trap;
pub mod webhook;

use crate::error::SendError;
use crate::notice::Notice;

/// How far an attempt came: so many of the first were told, and the rest was not, for that reason.
pub struct Sent {
    /// Notices that were told.
    pub count: usize,
    /// What the peer said last, or why it ended early.
    pub said: Result<String, SendError>,
}

/// A way out.
pub trait Send: std::marker::Send {
    /// Tells these, in their order. `lost` were given up since the last message.
    fn send(&mut self, notices: &[Notice], lost: u64) -> Sent;

    /// How many it takes at a time.
    fn most(&self) -> usize;
}

/// Tells one after the other, until one fails.
fn each(notices: &[Notice], mut send: impl FnMut(&Notice) -> Result<String, SendError>) -> Sent {
    let mut said = Ok(String::new());
    for (count, notice) in notices.iter().enumerate() {
        match send(notice) {
            Ok(answer) => said = Ok(answer),
            Err(error) => return Sent { count, said: Err(error) },
        }
    }
    Sent { count: notices.len(), said }
}
