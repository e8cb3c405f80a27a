//! Packs: what there is of an incident as one ZIP archive, signed, to be verified by whoever has it and the public key.
//!
//! Three things tie it together. `manifest.json` has the SHA-256 hash of each file; `manifest.sig` is the Ed25519 signature of the
//! manifest; and the archive's comment, its last bytes, is a seal: the signature of all bytes before it. The seal finds any change
//! at all, the manifest says in which file it is. Rows of the journal are in it with their hash and the one before, so that they
//! can be held against the chain, or an end of it that somebody wrote down.

mod check;
mod line;
#[cfg(test)]
mod tests;

use std::io::{Cursor, Write};

use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::chain::{hex, sha256};
use crate::key::SigningKey;

pub use check::{Checked, check};
pub use line::line;

/// The list of files.
pub const MANIFEST: &str = "manifest.json";
/// Its signature.
pub const SIGNATURE: &str = "manifest.sig";
/// The rows of the journal, one a line, as [`line()`] writes them.
pub const EVENTS: &str = "events.jsonl";

/// Bytes of a pack, at most.
pub const MAX_PACK: u64 = 256 << 20;

/// What a seal begins with; the public key and the signature follow.
const SEAL: &str = "sekisho seal 1 ";
/// Bytes of a seal: the key has 64 digits, the signature 128.
const SEAL_LENGTH: usize = SEAL.len() + 64 + 1 + 128;

/// A file of a pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Why no pack can be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The archive cannot be written.
    #[error("the archive cannot be made: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A file of it cannot be.
    #[error("the archive cannot be made: {0}")]
    Io(#[from] std::io::Error),
    /// There is too much for one.
    #[error("the pack would have {0} bytes, and {MAX_PACK} is the most; leave out flows")]
    TooLarge(u64),
}

/// Makes a pack: its files, and in the manifest what it is about (`facts`).
///
/// # Errors
///
/// If there is too much in it.
pub fn seal(facts: Map<String, Value>, parts: &[Part], key: &SigningKey) -> Result<Vec<u8>, PackError> {
    let size = parts.iter().map(|part| part.bytes.len() as u64).sum();
    if size > MAX_PACK {
        return Err(PackError::TooLarge(size));
    }
    let files = parts.iter().map(
        |part| json!({ "name": part.name, "bytes": part.bytes.len(), "sha256": hex(&sha256(&part.bytes)) }),
    );
    let mut manifest = Map::new();
    manifest.insert("format".to_owned(), "sekisho pack 1".into());
    manifest.extend(facts);
    manifest.insert("public_key".to_owned(), key.public().to_string().into());
    manifest.insert("files".to_owned(), files.collect());
    let manifest = format!("{:#}\n", Value::Object(manifest));
    let signature = format!("{}\n", hex(&key.sign(manifest.as_bytes())));

    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.set_raw_comment(vec![b' '; SEAL_LENGTH].into());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let own = [(MANIFEST, manifest.as_bytes()), (SIGNATURE, signature.as_bytes())];
    let all = own.into_iter().chain(parts.iter().map(|part| (part.name.as_str(), &part.bytes[..])));
    for (name, bytes) in all {
        archive.start_file(name, options)?;
        archive.write_all(bytes)?;
    }
    let mut bytes = archive.finish()?.into_inner();
    let end = bytes.len().saturating_sub(SEAL_LENGTH);
    let signature = key.sign(bytes.get(..end).unwrap_or_default());
    bytes.truncate(end);
    bytes.extend_from_slice(format!("{SEAL}{} {}", key.public(), hex(&signature)).as_bytes());
    Ok(bytes)
}
