//! SNMP over UDP (RFC 3416), v2c and v3: a conversation with one peer, for threads that wait.

use std::io;
use std::time::Duration;

use async_snmp::error::ErrorKind;
use async_snmp::transport::UdpHandle;
use async_snmp::{Auth, Client, Oid, Retry, Value, VarBind};
use tokio::runtime::{Builder, Runtime};

use super::net;
use crate::error::SendError;
use crate::settings::Peer;

/// How often a request is sent again that nobody answers, at once.
const AGAIN: u32 = 1;

/// A conversation with a peer.
pub struct Session {
    peer: String,
    /// The library waits by a runtime.
    runtime: Runtime,
    client: Client<UdpHandle>,
}

impl Session {
    /// Begins one; the peer has `patience` for each answer.
    ///
    /// # Errors
    ///
    /// If the name of the peer is not known, or there is no socket to be had.
    pub fn new(peer: &Peer, access: Auth, patience: Duration) -> Result<Self, SendError> {
        let name = peer.to_string();
        let unreachable = |source| SendError::Unreachable { peer: name.clone(), source };
        let address =
            *net::resolve(peer)?.first().ok_or_else(|| unreachable(io::ErrorKind::NotFound.into()))?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
        let retry =
            Retry::fixed(AGAIN, Duration::ZERO).map_err(|error| SendError::Form(error.to_string()))?;
        let client = Client::builder(address, access).request_timeout(patience).retry(retry);
        let client = runtime.block_on(client.connect()).map_err(|error| fault(&name, &error))?;
        Ok(Self { peer: name, runtime, client })
    }

    /// Sends a trap, which nobody confirms; `ticks` are hundredths of a second since the start.
    ///
    /// # Errors
    ///
    /// If there is no way to the peer.
    pub fn trap(&self, kind: &Oid, ticks: u32, objects: Vec<VarBind>) -> Result<(), SendError> {
        self.wait(self.client.send_trap(kind, ticks, objects))
    }

    /// Sends the same as an inform request, and waits until it is confirmed.
    ///
    /// # Errors
    ///
    /// If it is not, or the peer does not know the user.
    pub fn inform(&self, kind: &Oid, ticks: u32, objects: Vec<VarBind>) -> Result<(), SendError> {
        self.wait(self.client.send_inform(kind, ticks, objects))
    }

    /// Sets objects.
    ///
    /// # Errors
    ///
    /// If the peer does not answer, or refuses.
    pub fn set(&self, objects: &[(Oid, Value)]) -> Result<(), SendError> {
        self.wait(self.client.set_many(objects))
    }

    /// Reads an object, whatever it is.
    ///
    /// # Errors
    ///
    /// If the peer does not answer, or refuses.
    pub fn get(&self, object: &Oid) -> Result<(), SendError> {
        self.wait(self.client.get(object))
    }

    fn wait<T>(&self, work: impl Future<Output = async_snmp::Result<T>>) -> Result<(), SendError> {
        self.runtime.block_on(work).map(drop).map_err(|error| fault(&self.peer, &error))
    }
}

fn fault(peer: &str, error: &async_snmp::Error) -> SendError {
    let peer = peer.to_owned();
    match error.kind() {
        ErrorKind::Network => SendError::Unreachable { peer, source: io::Error::other(error.to_string()) },
        ErrorKind::Timeout | ErrorKind::ConstructionTimeout => {
            let source = io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer in time (a wrong community, user or password gets none)",
            );
            SendError::Broken { peer, source }
        }
        ErrorKind::Snmp | ErrorKind::Auth | ErrorKind::Report => {
            SendError::Refused { peer, said: error.to_string(), lasting: true }
        }
        ErrorKind::OutboundMessageTooLarge | ErrorKind::Config => SendError::Form(error.to_string()),
        _ => SendError::Unexpected { peer, wanted: "SNMP", said: error.to_string() },
    }
}
