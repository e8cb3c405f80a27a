//! The key that packs, heads and checkpoints are signed with (Ed25519): made at first use, and never leaving the state directory.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::chain::{hex, unhex};
use crate::error::JournalError;
use crate::journal::{DATABASE, fact};
use crate::read::Reader;

/// The key, in the state directory.
const FILE: &str = "audit.key";
/// Its public part, for everybody.
const PUBLIC: &str = "audit.pub";
/// Public parts of keys that were lost, a line each, the newest last.
const FORMER: &str = "audit.former";
/// Most of these that are known.
const MAX_FORMER: usize = 32;
/// Bytes of a key file, at most; one has less than a hundred.
const MAX_KEY: u64 = 4_096;

/// What signatures are verified with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.trim()).map(Self)
    }

    /// The key of a state directory; none if it has none, or it cannot be read.
    pub fn beside(dir: &Path) -> Option<Self> {
        let mut text = String::new();
        fs::File::open(dir.join(PUBLIC)).ok()?.take(MAX_KEY).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    /// The keys that signed in a state directory before, and were lost, the newest last.
    pub fn former(dir: &Path) -> Vec<Self> {
        let mut text = String::new();
        let read =
            fs::File::open(dir.join(FORMER)).and_then(|file| file.take(MAX_KEY).read_to_string(&mut text));
        if read.is_err() {
            return Vec::new();
        }
        text.lines().filter_map(Self::parse).collect()
    }

    /// Whether a signature is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What signs.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a state directory, made if there is none yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read or made.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(FILE);
        let key = match read(&path)? {
            Some(key) => key,
            None => {
                let lost = PublicKey::beside(dir).or_else(|| named(dir));
                make(dir, &path)?;
                let key = read(&path)?.ok_or_else(|| JournalError::Key(path.clone()))?;
                if let Some(lost) = lost.filter(|lost| *lost != key.public()) {
                    remember(dir, lost)?;
                    log::error!(
                        "the signing key {} WAS LOST, AND A NEW ONE WAS MADE: {} signs from here on. What was signed before is \
                         verified with {lost} alone; if nobody took the key away on purpose, find out who did",
                        path.display(),
                        key.public()
                    );
                }
                key
            }
        };
        let public = key.public();
        if PublicKey::beside(dir) != Some(public) {
            publish(dir, PUBLIC, &format!("{public}\n"))?;
        }
        Ok(key)
    }

    /// Whether a state directory has one. Who may not read it may see that it is there.
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// What its signatures are verified with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(self.0.sign(message).as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }
}

fn read(path: &Path) -> Result<Option<SigningKey>, JournalError> {
    let wrong = JournalError::file("read the signing key", path);
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(MAX_KEY).read_to_end(&mut bytes).map_err(wrong)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    match Ed25519KeyPair::from_pkcs8(&bytes) {
        Ok(key) => Ok(Some(SigningKey(key))),
        Err(_) => Err(JournalError::Key(path.to_owned())),
    }
}

/// Makes a key, unless somebody else just did: whoever is first wins, and all use the same.
fn make(dir: &Path, path: &Path) -> Result<(), JournalError> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| JournalError::Random)?;
    let wrong = JournalError::file("write the signing key", path);
    let temporary = write_new(path, key.as_ref(), 0o600).map_err(&wrong)?;
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => like(dir, path),
    };
    fs::remove_file(&temporary).and(linked).map_err(wrong)
}

/// The key that the journal names as its own: known also where the files of the key are gone.
fn named(dir: &Path) -> Option<PublicKey> {
    let reader = Reader::open(&dir.join(DATABASE)).ok()?;
    fact(&reader.db, "key").ok()?.and_then(|text| PublicKey::parse(&text))
}

/// Keeps the public part of a key that was lost: what it signed is still to be verified.
fn remember(dir: &Path, lost: PublicKey) -> Result<(), JournalError> {
    let mut keys = PublicKey::former(dir);
    keys.retain(|key| *key != lost);
    keys.push(lost);
    let first = keys.len().saturating_sub(MAX_FORMER);
    let lines: String = keys.iter().skip(first).map(|key| format!("{key}\n")).collect();
    publish(dir, FORMER, &lines)
}

/// Writes a file of public keys, for everybody to read.
fn publish(dir: &Path, name: &str, text: &str) -> Result<(), JournalError> {
    let path = dir.join(name);
    write_new(&path, text.as_bytes(), 0o644)
        .and_then(|temporary| fs::rename(&temporary, &path))
        .and_then(|()| like(dir, &path))
        .map_err(JournalError::file("write the public key", &path))
}

/// Writes a file beside its place, whole and on the disk.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<std::path::PathBuf> {
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    // Whatever the daemon's mask is.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(temporary)
}

/// Gives a file to the owner of its directory: what root makes by a command, the daemon must be able to read.
fn like(dir: &Path, path: &Path) -> std::io::Result<()> {
    let (dir, file) = (fs::metadata(dir)?, fs::metadata(path)?);
    if (dir.uid(), dir.gid()) == (file.uid(), file.gid()) {
        return Ok(());
    }
    match chown(path, Some(dir.uid()), Some(dir.gid())) {
        // Who may not give it away is not root, and made it for himself.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::open(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = SigningKey::open(dir.path()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(PublicKey::beside(dir.path()), Some(key.public()));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        let signature = again.sign(b"text");
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"Text", &signature));
    }

    #[test]
    fn a_key_that_was_lost_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let lose = || fs::remove_file(dir.path().join(FILE)).unwrap();
        let first = SigningKey::open(dir.path()).unwrap().public();
        assert_eq!(PublicKey::former(dir.path()), []);
        lose();
        assert!(!SigningKey::exists(dir.path()));
        let second = SigningKey::open(dir.path()).unwrap().public();
        assert_ne!(first, second);
        assert_eq!(SigningKey::open(dir.path()).unwrap().public(), second);
        assert_eq!(PublicKey::former(dir.path()), [first]);
        for _ in 0..MAX_FORMER {
            lose();
            SigningKey::open(dir.path()).unwrap();
        }
        let former = PublicKey::former(dir.path());
        assert!(former.len() == MAX_FORMER && former[0] == second, "{former:?}");
    }

    #[test]
    fn many_who_begin_at_once_have_one_key() {
        let dir = tempfile::tempdir().unwrap();
        // Threads share a process id, so they are given a place for the temporary file each by going one after the other.
        let first = SigningKey::open(dir.path()).unwrap().public();
        make(dir.path(), &dir.path().join(FILE)).unwrap();
        assert_eq!(SigningKey::open(dir.path()).unwrap().public(), first);
    }

    #[test]
    fn what_is_no_key_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"-----BEGIN", &[0; 10_000]] {
            fs::write(dir.path().join(FILE), bytes).unwrap();
            let error = SigningKey::open(dir.path()).err().unwrap();
            assert!(error.to_string().contains("move it away"), "{error}");
            assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), bytes);
        }
    }
}
