//! Why something was not told.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a channel did not take a notice.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The name is not known, or nobody is there.
    #[error("cannot reach {peer}: {source}; is it on, and is the address right?")]
    Unreachable {
        /// Whom.
        peer: String,
        /// What the system says.
        source: io::Error,
    },
    /// It broke off, or took too long.
    #[error("{peer} does not answer as it should: {source}")]
    Broken {
        /// Who.
        peer: String,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate is not one to trust, or there is no agreement on TLS.
    #[error(
        "no trusted connection to {peer}: {what}; give the authority of its certificate as ca_file, and the server by the \
         name in that"
    )]
    Untrusted {
        /// Who.
        peer: String,
        /// What is wrong.
        what: String,
    },
    /// The peer understood, and says no.
    #[error("{peer} refuses: {said}")]
    Refused {
        /// Who.
        peer: String,
        /// What it said.
        said: String,
        /// Whether it will say the same again.
        lasting: bool,
    },
    /// What came back is not of the protocol.
    #[error("{peer} answers something else than {wanted}: {said}")]
    Unexpected {
        /// Who.
        peer: String,
        /// What should have come.
        wanted: &'static str,
        /// What came.
        said: String,
    },
    /// A file that belongs to the channel cannot be read.
    #[error("cannot read {path}, the {what}: {source}")]
    File {
        /// What it is for.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The notice cannot be put into the form of the channel.
    #[error("cannot make the message: {0}")]
    Form(String),
}

/// What kind of trouble it is, for those who are told in another language than its details.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// See [`SendError::Unreachable`].
    Unreachable,
    /// See [`SendError::Broken`].
    Broken,
    /// See [`SendError::Untrusted`].
    Untrusted,
    /// See [`SendError::Refused`].
    Refused,
    /// See [`SendError::Unexpected`].
    Unexpected,
    /// See [`SendError::File`].
    File,
    /// See [`SendError::Form`].
    Form,
}

/// What the TLS library calls the certificate of an authority that a server shows as its own.
const AUTHORITY: &str = "CaUsedAsEndEntity";

impl SendError {
    /// That peer is not to be trusted. What openssl makes without being told otherwise has a name in the library alone.
    pub fn untrusted(peer: String, what: String) -> Self {
        let what = if what.contains(AUTHORITY) {
            "its certificate is one of an authority (CA:TRUE), which no server may show; have it made anew with \
             `-addext basicConstraints=critical,CA:FALSE` for openssl req"
                .to_owned()
        } else {
            what
        };
        Self::Untrusted { peer, what }
    }

    /// What kind of trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Unreachable { .. } => Trouble::Unreachable,
            Self::Broken { .. } => Trouble::Broken,
            Self::Untrusted { .. } => Trouble::Untrusted,
            Self::Refused { .. } => Trouble::Refused,
            Self::Unexpected { .. } => Trouble::Unexpected,
            Self::File { .. } => Trouble::File,
            Self::Form(_) => Trouble::Form,
        }
    }

    /// Whether another attempt within minutes will hardly do better.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { lasting, .. } => *lasting,
            Self::Untrusted { .. } | Self::File { .. } | Self::Form(_) => true,
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Unexpected { .. } => false,
        }
    }
}

/// Why nobody can be told at all.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// There is no room for what waits.
    #[error("cannot keep notices in {path}: {source}")]
    Outbox {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread can be started.
    #[error("cannot start the thread of the notices: {0}")]
    Thread(#[from] io::Error),
}
