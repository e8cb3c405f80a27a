//! The end of the chain, kept apart from it: a chain that was cut off at its end is whole as far as it goes, and only who knows
//! how long it was can tell.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::chain::{Hash, hex, unhex};
use crate::error::JournalError;
use crate::key::{PublicKey, SigningKey};

/// The file, beside the database.
pub const FILE: &str = "journal.head";
/// Who may read the journal may read this.
const MODE: u32 = 0o640;
/// Bytes of it, at most.
const MAX: u64 = 4_096;

/// The end of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which chain.
    pub chain: String,
    /// The number of its last row; 0 if it has none.
    pub link: u64,
    /// The hash of that row.
    pub hash: Hash,
}

/// The same in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    chain: String,
    link: u64,
    hash: String,
    signature: String,
}

impl Head {
    fn signed(&self) -> String {
        format!("sekisho audit head\n{}\n{}\n{}\n", self.chain, self.link, hex(&self.hash))
    }

    /// Keeps it in a state directory.
    pub(crate) fn keep(&self, dir: &Path, key: &SigningKey) -> Result<(), JournalError> {
        let path = dir.join(FILE);
        let written = Written {
            chain: self.chain.clone(),
            link: self.link,
            hash: hex(&self.hash),
            signature: hex(&key.sign(self.signed().as_bytes())),
        };
        let mut text = serde_json::to_vec(&written).unwrap_or_default();
        text.push(b'\n');
        let temporary = path.with_extension("head.new");
        // Not waited for until it is on the disk: after a power failure an older one is there, which the chain goes beyond.
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(MODE))?;
                file.write_all(&text)
            })
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(JournalError::file("write", &path))
    }

    /// The one kept in a state directory, and whether it was signed with that key. None if there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(crate) fn kept(dir: &Path, key: Option<&PublicKey>) -> Result<Option<(Self, bool)>, String> {
        let path = dir.join(FILE);
        let wrong = |what: String| format!("{} cannot be read: {what}", path.display());
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let Written { chain, link, hash, signature } =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let hash = unhex(&hash).ok_or_else(|| wrong("its hash is none".to_owned()))?;
        let head = Self { chain, link, hash };
        let signature: Option<[u8; 64]> = unhex(&signature);
        let signed = signature
            .zip(key)
            .is_some_and(|(signature, key)| key.verifies(head.signed().as_bytes(), &signature));
        Ok(Some((head, signed)))
    }
}
