//! Connections with a limit on how long anything may take, secrets from files, and whom to trust.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::error::SendError;
use crate::settings::Peer;

/// How long a peer may take for each step.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a lamp may take for each step: it is in the house, and does little.
pub const LAMP_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of a secret, at most.
const MAX_SECRET: u64 = 4_096;
/// Bytes of a file of certificates, at most.
const MAX_CERTIFICATES: u64 = 8 << 20;

/// A connection within TLS.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The addresses of a peer.
///
/// # Errors
///
/// If its name is not known.
pub fn resolve(peer: &Peer) -> Result<Vec<SocketAddr>, SendError> {
    let unreachable = |source| SendError::Unreachable { peer: peer.to_string(), source };
    let found: Vec<_> = (peer.host.as_str(), peer.port).to_socket_addrs().map_err(unreachable)?.collect();
    if found.is_empty() {
        return Err(unreachable(io::Error::new(io::ErrorKind::NotFound, "its name has no address")));
    }
    Ok(found)
}

/// Sends one datagram to a peer.
///
/// # Errors
///
/// If there is no way to it.
pub fn datagram(peer: &Peer, bytes: &[u8]) -> Result<(), SendError> {
    let unreachable = |source| SendError::Unreachable { peer: peer.to_string(), source };
    let address = *resolve(peer)?.first().ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).map_err(unreachable)?;
    // Connected, so that a port nobody listens at is told, if not of this datagram then of the next.
    socket.connect(address).and_then(|()| socket.send(bytes)).map_err(unreachable)?;
    Ok(())
}

/// Connects to the first address of a peer that answers within `patience`, which holds for each step from then on.
///
/// # Errors
///
/// Why the last one did not.
pub fn connect(peer: &Peer, patience: Duration) -> Result<TcpStream, SendError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolve(peer)? {
        let connected = TcpStream::connect_timeout(&address, patience).and_then(|stream| {
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(SendError::Unreachable { peer: peer.to_string(), source: last })
}

/// Puts TLS on a connection.
///
/// # Errors
///
/// If the peer's certificate is not to be trusted.
pub fn tls(peer: &Peer, ca_file: &Path) -> Result<TlsStream, SendError> {
    let config = client_config(ca_file)?;
    let untrusted = |what: String| SendError::untrusted(peer.to_string(), what);
    let name = ServerName::try_from(peer.host.clone()).map_err(|error| untrusted(error.to_string()))?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| untrusted(error.to_string()))?;
    let mut stream = connect(peer, PATIENCE)?;
    // Here already, so that it is clear whether the certificate or something later was the trouble.
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => untrusted(error.to_string()),
            _ => SendError::Broken { peer: peer.to_string(), source: error },
        })?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The cryptography in use.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn client_config(ca_file: &Path) -> Result<ClientConfig, SendError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca_file)?);
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| SendError::Form(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of authorities in a file.
///
/// # Errors
///
/// If it cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SendError> {
    let pem = read(path, "certificates of authorities (ca_file)", MAX_CERTIFICATES)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let wrong = |what: String| SendError::File {
        what: "certificates of authorities (ca_file)",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    };
    match found {
        Ok(found) if found.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// A secret from its file, without the end of the line. It is read anew each time, so that it can be changed.
///
/// # Errors
///
/// If it cannot be read, or is empty.
pub fn secret(path: &Path, what: &'static str) -> Result<String, SendError> {
    let wrong = |said: &str| SendError::File {
        what,
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, said),
    };
    let text = String::from_utf8(read(path, what, MAX_SECRET)?).map_err(|_| wrong("it is not text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong("it is empty")),
        secret => Ok(secret.to_owned()),
    }
}

fn read(path: &Path, what: &'static str, most: u64) -> Result<Vec<u8>, SendError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    let read = read.and_then(|length| match length as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large")),
        false => Ok(()),
    });
    read.map_err(|source| SendError::File { what, path: path.to_owned(), source })?;
    Ok(bytes)
}
