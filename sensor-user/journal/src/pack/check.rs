//! Verifying a pack: whoever made it is taken for hostile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use serde::Deserialize;
use serde_json::Value;
use zip::ZipArchive;

use super::{EVENTS, MANIFEST, MAX_PACK, SEAL, SEAL_LENGTH, SIGNATURE, line};
use crate::chain::{hex, sha256, unhex};
use crate::key::PublicKey;

/// Files of a pack, at most.
const MAX_FILES: usize = 64;
/// What does not fit is told so often, at most.
const MAX_FAULTS: usize = 20;

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Checked {
    /// Whose seal it bears; none if it has none that can be read.
    pub key: Option<PublicKey>,
    /// What the manifest says, null if there is none. Only to be trusted if there are no faults.
    pub manifest: Value,
    /// Files.
    pub files: usize,
    /// Rows of the journal.
    pub records: usize,
    /// What does not fit.
    pub faults: Vec<String>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Verifies a pack: by `key`, or by the one it names if none is given.
pub fn check(bytes: &[u8], key: Option<PublicKey>) -> Checked {
    let mut checked = Checked::default();
    let sealed = seal(bytes, key, &mut checked);
    match files(bytes) {
        Ok(files) => contents(&files, key.or(checked.key), &mut checked),
        Err(what) => checked.faults.push(format!("the archive cannot be read: {what}")),
    }
    if !sealed && checked.faults.is_empty() {
        checked.faults.push(
            "the archive was changed, though none of its files was: its directory, or what else lies between them".to_owned(),
        );
    }
    checked.faults.truncate(MAX_FAULTS);
    checked
}

/// Whether the seal is there and is right. What is wrong with it alone is told here.
fn seal(bytes: &[u8], key: Option<PublicKey>, checked: &mut Checked) -> bool {
    let end = bytes.len().saturating_sub(SEAL_LENGTH);
    let (sealed, seal) = bytes.split_at(end);
    let read = || {
        let rest = std::str::from_utf8(seal).ok()?.strip_prefix(SEAL)?;
        let (public, signature) = rest.split_once(' ')?;
        Some((PublicKey(unhex(public)?), unhex::<64>(signature)?))
    };
    let Some((public, signature)) = read() else {
        checked.faults.push(
            "there is no seal at its end: it is no pack of Sekisho, or was cut short or changed there"
                .to_owned(),
        );
        return false;
    };
    checked.key = Some(public);
    if let Some(key) = key
        && key != public
    {
        checked.faults.push(format!("it is sealed with another key: {public}, and not {key}"));
        return false;
    }
    public.verifies(sealed, &signature)
}

/// The files of an archive by name, so many and so large as a pack can have.
fn files(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    if archive.len() > MAX_FILES {
        return Err(format!("it has more than {MAX_FILES} files"));
    }
    let (mut files, mut left) = (BTreeMap::new(), MAX_PACK);
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|error| format!("file {index}: {error}"))?;
        let name = file.name().to_owned();
        let mut content = Vec::new();
        let read = file.by_ref().take(left + 1).read_to_end(&mut content);
        // A file that cannot be unpacked has another hash than it should: told with its name.
        if read.is_err() {
            content.clear();
        }
        left = left
            .checked_sub(content.len() as u64)
            .ok_or_else(|| format!("it has more than {MAX_PACK} bytes"))?;
        if files.insert(name.clone(), content).is_some() {
            return Err(format!("it has two files of the name {}", name.escape_debug()));
        }
    }
    Ok(files)
}

/// Compares the files with the manifest, and the rows of the journal with their hashes.
fn contents(files: &BTreeMap<String, Vec<u8>>, key: Option<PublicKey>, checked: &mut Checked) {
    let faults = &mut checked.faults;
    let manifest = files.get(MANIFEST).map(Vec::as_slice).unwrap_or_default();
    let signature = files.get(SIGNATURE).and_then(|text| std::str::from_utf8(text).ok());
    let signature: Option<[u8; 64]> = signature.and_then(|text| unhex(text.strip_suffix('\n')?));
    let signed = key.zip(signature).is_some_and(|(key, signature)| key.verifies(manifest, &signature));
    if !signed {
        faults.push(format!("{MANIFEST} was changed, or {SIGNATURE}: the signature is not that of the key"));
    }
    checked.manifest = serde_json::from_slice(manifest).unwrap_or_default();
    let listed: Vec<Listed> = serde_json::from_value(checked.manifest["files"].clone()).unwrap_or_default();
    let mut known = BTreeSet::from([MANIFEST, SIGNATURE]);
    for Listed { name, bytes, sha256: hash } in &listed {
        known.insert(name);
        let shown = name.escape_debug();
        match files.get(name) {
            None => faults.push(format!("{shown} is missing")),
            Some(content) if content.len() as u64 != *bytes || hex(&sha256(content)) != *hash => {
                faults.push(format!("{shown} was changed: its SHA-256 hash is not that of the manifest"));
            }
            Some(_) => checked.files += 1,
        }
    }
    let added = files.keys().filter(|name| !known.contains(name.as_str()));
    faults.extend(added.map(|name| format!("{} was added: it is not in the manifest", name.escape_debug())));
    let Some(events) = files.get(EVENTS) else { return };
    let events = String::from_utf8_lossy(events);
    for (number, text) in events.lines().enumerate() {
        match line::check(text) {
            Ok(_) => checked.records += 1,
            Err(_) if faults.len() >= MAX_FAULTS => break,
            Err(what) => faults.push(format!("{EVENTS}, line {}: {what}", number + 1)),
        }
    }
}
