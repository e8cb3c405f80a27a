//! The client's end of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CliError;
use crate::protocol::{Answer, Envelope, Request, VERSION};

/// How long to wait for the daemon: a little longer than it waits for its own parts.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest answer, in bytes: the largest device table takes a tenth of it.
const MAX_ANSWER: u64 = 512 * 1024 * 1024;

/// A connection to the daemon.
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    pub fn connect(path: &Path) -> Result<Self, CliError> {
        Self::connect_for(path, PATIENCE)
    }

    /// The same, for answers that must come within `patience`.
    pub fn connect_for(path: &Path, patience: Duration) -> Result<Self, CliError> {
        let own = || path.to_owned();
        let stream = UnixStream::connect(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => CliError::NoDaemon { path: own() },
            ErrorKind::PermissionDenied => CliError::Denied { path: own() },
            _ => CliError::Connection { path: own(), source },
        })?;
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(|source| CliError::Connection { path: own(), source })?;
        Ok(Self { stream: BufReader::new(stream), path: own(), patience })
    }

    /// Asks, and gives the answer as it came.
    pub fn ask(&mut self, request: Request) -> Result<Value, CliError> {
        let line = self.exchange(request).map_err(|error| {
            let source = match error.kind() {
                ErrorKind::WouldBlock => {
                    let text = format!("it took longer than {} seconds", self.patience.as_secs());
                    io::Error::new(ErrorKind::TimedOut, text)
                }
                _ => error,
            };
            CliError::Connection { path: self.path.clone(), source }
        })?;
        let answer: Envelope<Answer> =
            serde_json::from_slice(&line).map_err(|error| self.misunderstood(error.to_string()))?;
        match answer.body {
            Answer::Error(refusal) => Err(CliError::Refused(refusal)),
            Answer::Ok(_) if answer.version != VERSION => {
                Err(self.misunderstood(format!("version {} instead of {VERSION}", answer.version)))
            }
            Answer::Ok(value) => Ok(value),
        }
    }

    /// Reads an answer into the type it must have.
    pub fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, CliError> {
        serde_json::from_value(answer).map_err(|error| self.misunderstood(error.to_string()))
    }

    fn misunderstood(&self, what: String) -> CliError {
        CliError::Answer { path: self.path.clone(), what }
    }

    fn exchange(&mut self, request: Request) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&Envelope { version: VERSION, body: request })?;
        line.push(b'\n');
        // A daemon with too many clients says so and hangs up at once; its answer is worth more than the broken pipe.
        let sent = self.stream.get_mut().write_all(&line);
        let mut answer = Vec::new();
        let read = (&mut self.stream).take(MAX_ANSWER).read_until(b'\n', &mut answer);
        if answer.ends_with(b"\n") {
            return Ok(answer);
        }
        sent?;
        read?;
        Err(io::Error::new(ErrorKind::UnexpectedEof, "it hung up; its log tells why"))
    }
}
