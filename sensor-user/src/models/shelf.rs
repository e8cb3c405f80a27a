//! Models on the disk: a bounded number of files in one directory, and for each subject and class of devices the names of the one in force and of
//! the golden one, against which slow change is measured, with what was measured so far.
//!
//! A file is called `<class>-<subject>-<date>-<hash>.model`, `all` being the class of all devices, and written whole or not at all. What cannot be read is told
//! and left alone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sensor_core::detect::unusual::{MAX_ROWS, Scope};
use sensor_core::inventory::DeviceKey;
use sensor_core::model::drift::Poisoning;
use sensor_core::model::{Model, file};

use crate::disk::{self, spare};

/// Models kept of each subject and class, besides the one in force and the golden one.
const KEPT: usize = 8;
/// Files looked at, at most.
const MAX_FILES: usize = 1_024;
/// Devices whose slow change is measured, at most: as many as have rows.
const DRIFT_HOSTS: usize = MAX_ROWS;
/// Bytes read of what was measured, at most: lines of an IPv6 address and a number.
const MAX_DRIFT: usize = 4 << 20;
/// Digits of a hash that people see.
const DIGITS: usize = 8;

/// Why a model cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}; check that the disk has room and that the daemon may write there")]
pub struct ShelfError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Kept {
    /// What it is of; none if no class can be called so.
    pub fn scope(&self) -> Option<Scope> {
        Scope::of(&self.model)
    }
}

impl ShelfError {
    fn of(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { what, path, source }
    }
}

/// What a model was chosen for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chosen {
    /// It is asked about all that comes.
    InForce,
    /// New ones are compared with it, to find who changes bit by bit.
    Golden,
}

/// A model that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The model.
    pub model: Arc<Model>,
    /// The name of its file.
    pub file: String,
    /// The beginning of its hash.
    pub hash: String,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    /// The shelf in a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, ShelfError> {
        fs::create_dir_all(dir).map_err(ShelfError::of("make the directory", dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All models that can be read, the oldest first. What a writer that was stopped left behind is cleared away.
    pub fn read(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        let entries = fs::read_dir(&self.dir).into_iter().flatten().take(MAX_FILES);
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("model") => match read_one(&path) {
                    Ok(model) => kept.push(model),
                    Err(what) => log::error!("the model {} is left alone: {what}", path.display()),
                },
                Some("new") => {
                    if let Err(error) = fs::remove_file(&path) {
                        log::warn!("cannot remove {}: {error}", path.display());
                    }
                }
                _ => {}
            }
        }
        kept.sort_by(|a, b| (a.model.facts.made_secs, &a.file).cmp(&(b.model.facts.made_secs, &b.file)));
        kept
    }

    /// The name of the file of the model that was chosen.
    pub fn chosen(&self, what: Chosen, scope: Scope) -> Option<String> {
        let bytes = read_at_most(&self.marker(what, scope), 256).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        Some(text.trim().to_owned())
    }

    /// Remembers the choice of a model. Against another golden model all measuring begins anew.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn choose(&self, what: Chosen, kept: &Kept) -> Result<(), ShelfError> {
        let Some(scope) = kept.scope() else { return Ok(()) };
        if what == Chosen::Golden {
            self.put_drift(scope, &Poisoning::new(DRIFT_HOSTS))?;
        }
        write(&self.marker(what, scope), format!("{}\n", kept.file).as_bytes())
    }

    /// The golden model, if there is one that can be read.
    pub fn golden(&self, scope: Scope) -> Option<Kept> {
        let file = self.chosen(Chosen::Golden, scope)?;
        let golden = match file.contains('/') {
            true => Err("no name of a file".to_owned()),
            false => read_one(&self.dir.join(&file)),
        };
        golden
            .inspect_err(|why| {
                log::error!(
                    "the golden model {} ({scope}) cannot be used, so slow change is not found: {why}; choose another: \
                     `sekisho model promote --golden HASH`",
                    crate::label::plain(&file)
                );
            })
            .ok()
    }

    /// How far devices parted from the golden model by now.
    pub fn drift(&self, scope: Scope) -> Poisoning {
        let path = self.drift_path(scope);
        let mut drift = Poisoning::new(DRIFT_HOSTS);
        let text = match read_at_most(&path, MAX_DRIFT) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                log::error!("cannot read {}: {error}; slow change is measured anew", path.display());
                String::new()
            }
        };
        for line in text.lines() {
            match drift_line(line) {
                Some((host, sum)) => drift.restore(host, sum),
                None => log::error!("{}: a line that says nothing was left out", path.display()),
            }
        }
        drift
    }

    /// Keeps how far devices parted, a line for each: its address and the sum of gaps.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn put_drift(&self, scope: Scope, drift: &Poisoning) -> Result<(), ShelfError> {
        let lines = drift.sums().filter(|(_, sum)| *sum > 0.0);
        let text: String = lines.map(|(host, sum)| format!("{} {sum:.4}\n", address(&host))).collect();
        write(&self.drift_path(scope), text.as_bytes())
    }

    /// Writes a model.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn put(&self, model: Model) -> Result<Kept, ShelfError> {
        let bytes = file::write(&model);
        let hash = hash(&bytes);
        let made = i64::try_from(model.facts.made_secs).unwrap_or(0);
        let made = Timestamp::from_second(made).unwrap_or_default().to_zoned(TimeZone::UTC);
        let (class, subject) = (&model.class, model.subject.name());
        let file = format!("{class}-{subject}-{}-{hash}.model", made.strftime("%Y%m%d"));
        write(&self.dir.join(&file), &bytes)?;
        Ok(Kept { model: Arc::new(model), file, hash })
    }

    /// Removes the oldest models of each subject and class beyond those kept, but not what is in force or golden. `kept` is in order of age.
    pub fn prune(&self, kept: &mut Vec<Kept>) {
        let scopes: BTreeSet<_> = kept.iter().filter_map(Kept::scope).collect();
        for scope in scopes {
            let chosen = [Chosen::InForce, Chosen::Golden].map(|what| self.chosen(what, scope));
            let others = |one: &Kept| one.scope() == Some(scope) && !chosen.contains(&Some(one.file.clone()));
            let mut over = kept.iter().filter(|one| others(one)).count().saturating_sub(KEPT);
            kept.retain(|one| {
                if over == 0 || !others(one) {
                    return true;
                }
                over -= 1;
                if let Err(error) = fs::remove_file(self.dir.join(&one.file)) {
                    log::warn!("cannot remove the old model {}: {error}", one.file);
                }
                false
            });
        }
    }

    fn marker(&self, what: Chosen, scope: Scope) -> PathBuf {
        let ending = match what {
            Chosen::InForce => "in-force",
            Chosen::Golden => "golden",
        };
        self.dir.join(format!("{scope}.{ending}"))
    }

    fn drift_path(&self, scope: Scope) -> PathBuf {
        self.dir.join(format!("{scope}.drift"))
    }
}

/// The address a device is known by.
pub fn address(device: &DeviceKey) -> String {
    match device {
        DeviceKey::Local(mac) => mac.to_string(),
        DeviceKey::Routed(ip) => ip.to_string(),
    }
}

fn drift_line(line: &str) -> Option<(DeviceKey, f64)> {
    let (host, sum) = line.split_once(' ')?;
    let host = match host.parse() {
        Ok(mac) => DeviceKey::Local(mac),
        Err(_) => DeviceKey::Routed(host.parse().ok()?),
    };
    Some((host, sum.parse().ok()?))
}

fn read_one(path: &Path) -> Result<Kept, String> {
    let bytes = read_at_most(path, file::MAX_BYTES + 1).map_err(|error| error.to_string())?;
    let model = file::read(&bytes).map_err(|error| error.to_string())?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    Ok(Kept { model: Arc::new(model), file: name, hash: hash(&bytes) })
}

/// The bytes of a file, or as many of them as are wanted.
pub fn read_at_most(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The beginning of the hash a model's file ends with.
fn hash(bytes: &[u8]) -> String {
    let hash = bytes.last_chunk::<32>().into_iter().flatten();
    let mut text: String = hash.map(|byte| format!("{byte:02x}")).collect();
    text.truncate(DIGITS);
    text
}

/// Writes a file whole or not at all.
///
/// # Errors
///
/// If it cannot be written; an older one is as it was then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ShelfError> {
    let written = spare(path, bytes.len() as u64).and_then(|()| disk::write(path, bytes));
    written.map_err(ShelfError::of("write", path))
}
