//! Finished hours are copied elsewhere, so that the logs of many boxes lie in one lake: into a folder, or to a server that
//! speaks S3. What was copied is noted beside the log, so that a restart goes on where the last run ended.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::io::AsyncWriteExt;

use crate::error::FlowLogError;
use crate::hour::Hour;
use crate::log::Counts;
use crate::shelf::{Kept, Shelf, files, hours};
use crate::tidy::now;

/// Time between looks, and after a failure; that doubles with each, up to [`LONGEST`].
const EVERY: Duration = Duration::from_secs(60);
/// Longest pause after failures.
const LONGEST: Duration = Duration::from_secs(3_600);
/// An hour whose files are still not one after this time is copied as it is, microseconds.
const PATIENCE: i64 = 3 * 3_600_000_000;
/// Most bytes sent in one piece; S3 takes 10,000 pieces of a file.
const PIECE: usize = 8 << 20;
/// A request may take so long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The directory of the notes of what was copied.
const COPIED: &str = "_copied";

/// Where finished hours go.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Lake {
    /// `s3://bucket/prefix`, or a folder that is there.
    pub url: String,
    /// The name of this box: a partition of its own, `box=NAME`.
    pub name: String,
    /// S3: the server, unless it is Amazon's.
    pub endpoint: Option<String>,
    /// S3: the region.
    pub region: String,
    /// S3: the account.
    pub key_id: String,
    /// S3: the file that holds its secret.
    pub secret_file: PathBuf,
}

/// A store and where in it.
struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// Where it is, if it is a folder.
    folder: Option<PathBuf>,
}

impl Place {
    /// Removes what a copy that was killed left beside where it was to be: the store calls it `NAME#1` until it is whole.
    fn clear(&self, key: &Key) -> io::Result<()> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(key.as_ref())) else { return Ok(()) };
        let (Some(dir), Some(name)) = (path.parent(), key.filename()) else { return Ok(()) };
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let left = entry.file_name();
            if left.to_str().and_then(|left| left.strip_prefix(name)).is_some_and(|end| end.starts_with('#'))
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Lake {
    fn wrong(&self, what: impl ToString) -> FlowLogError {
        FlowLogError::Lake { url: self.url.clone(), what: what.to_string() }
    }

    fn open(&self) -> Result<Place, FlowLogError> {
        let Some(rest) = self.url.strip_prefix("s3://") else {
            let store = LocalFileSystem::new_with_prefix(&self.url).map_err(|error| self.wrong(error))?;
            return Ok(Place {
                store: Arc::new(store.with_fsync(true)),
                prefix: Key::default(),
                folder: Some(PathBuf::from(&self.url)),
            });
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let secret = fs::read_to_string(&self.secret_file);
        let secret = secret.map_err(FlowLogError::disk("read the secret of S3 in", &self.secret_file))?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.key_id)
            .with_secret_access_key(secret.trim())
            .with_client_options(ClientOptions::new().with_timeout(TIMEOUT))
            .with_retry(RetryConfig { max_retries: 2, retry_timeout: TIMEOUT, ..RetryConfig::default() });
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        // Whichever of the program's parts is first chooses for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = builder.build().map_err(|error| self.wrong(error))?;
        let prefix = Key::parse(prefix).map_err(|error| self.wrong(error))?;
        Ok(Place { store: Arc::new(store), prefix, folder: None })
    }
}

/// A note of what was copied of an hour.
pub(crate) struct Mark(PathBuf);

impl Mark {
    /// The note of an hour, which need not be there.
    pub fn of(root: &Path, hour: Hour) -> Self {
        Self(root.join(COPIED).join(hour.to_string().replace('/', ",")))
    }

    /// What it says; nothing if it is not there.
    fn read(&self) -> Vec<String> {
        fs::read_to_string(&self.0)
            .map_or_else(|_| Vec::new(), |text| text.lines().map(str::to_owned).collect())
    }

    fn write(&self, lines: &[String]) -> io::Result<()> {
        fs::create_dir_all(self.0.parent().unwrap_or(&self.0))?;
        let unfinished = self.0.with_extension("new");
        fs::write(&unfinished, lines.join("\n"))?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(&unfinished, &self.0)
    }

    /// Removes it; whether it was there.
    pub fn remove(&self) -> bool {
        fs::remove_file(&self.0).is_ok()
    }
}

/// Copies until `stops` is closed.
pub(crate) fn run(lake: &Lake, shelf: &Shelf, counts: &Counts, stops: &Receiver<()>) {
    let mut failures = 0_u32;
    loop {
        let pause = match copy(lake, shelf, counts, now()) {
            Ok(()) if failures == 0 => EVERY,
            Ok(()) => {
                failures = 0;
                log::info!("finished hours of the log are copied to {} again", lake.url);
                EVERY
            }
            Err(error) => {
                counts.copy_failures.fetch_add(1, Ordering::Relaxed);
                if failures == 0 {
                    log::error!(
                        "{error}; it is tried again, and nothing is lost as long as the log keeps those hours"
                    );
                }
                failures = failures.saturating_add(1);
                EVERY.saturating_mul(1 << failures.min(6)).min(LONGEST)
            }
        };
        if !matches!(stops.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// Copies all hours that are finished and were not copied yet.
pub(crate) fn copy(lake: &Lake, shelf: &Shelf, counts: &Counts, now: i64) -> Result<(), FlowLogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| lake.wrong(error))?;
    let mut waiting = Vec::new();
    let mut result = Ok(());
    for (hour, dir) in hours(shelf.root(), &mut |error| result = Err(error))? {
        let there = match files(&dir) {
            // Of a clock that was set back since there may be some in the future.
            Ok(there) if hour != Hour::of(now) => there,
            Ok(_) => continue,
            Err(error) => {
                result = Err(error);
                continue;
            }
        };
        let joined = there.len() == 1 && there.iter().all(Kept::is_joined);
        let is_due = joined || hour.begin().saturating_add(PATIENCE) < now;
        let want = lines(lake, hour, &there);
        if is_due && !there.is_empty() && Mark::of(shelf.root(), hour).read() != want {
            waiting.push((hour, there, want));
        }
    }
    counts.copy_waiting.store(waiting.len() as u64, Ordering::Relaxed);
    if waiting.is_empty() {
        return result;
    }
    let place = lake.open()?;
    for (hour, there, want) in waiting {
        let mark = Mark::of(shelf.root(), hour);
        let copied = runtime
            .block_on(copy_hour(lake, &place, &there, &mark.read(), &want))
            .and_then(|()| mark.write(&want).map_err(FlowLogError::disk("note what was copied in", &mark.0)));
        match copied {
            Ok(()) => {
                counts.copied.fetch_add(1, Ordering::Relaxed);
                counts.copy_waiting.fetch_sub(1, Ordering::Relaxed);
            }
            // It keeps nobody from the next.
            Err(error) => result = Err(error),
        }
    }
    result
}

/// What the note of an hour says when these files are copied: where, and each file's key and size.
fn lines(lake: &Lake, hour: Hour, there: &[Kept]) -> Vec<String> {
    let mut lines = vec![lake.url.clone()];
    lines.extend(there.iter().map(|file| {
        let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or("flows.parquet");
        format!("box={}/{hour}/{name} {}", lake.name, file.bytes)
    }));
    lines
}

/// Copies the files of an hour, and deletes those that they are in the place of.
async fn copy_hour(
    lake: &Lake,
    place: &Place,
    there: &[Kept],
    before: &[String],
    want: &[String],
) -> Result<(), FlowLogError> {
    let key = |line: &str| {
        let key = line.rsplit_once(' ').map_or(line, |(key, _)| key);
        Key::parse(format!("{}/{key}", place.prefix)).map_err(|error| lake.wrong(error))
    };
    let wanted = want.iter().skip(1).map(|line| key(line)).collect::<Result<Vec<_>, _>>()?;
    for (file, key) in there.iter().zip(&wanted) {
        place.clear(key).map_err(|error| lake.wrong(error))?;
        send(place, key, &file.path).await.map_err(|error| lake.wrong(error))?;
    }
    let before = if before.first() == want.first() { before } else { &[] };
    for old in before.iter().skip(1) {
        let old = key(old)?;
        if wanted.contains(&old) {
            continue;
        }
        match place.store.delete(&old).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(lake.wrong(error)),
        }
    }
    Ok(())
}

/// Copies a file in pieces: it is there when it is whole.
async fn send(place: &Place, key: &Key, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut writer =
        BufWriter::with_capacity(Arc::clone(&place.store), key.clone(), PIECE).with_max_concurrency(1);
    if let Err(error) = put(&mut file, &mut writer).await {
        // The place would keep the pieces. What went wrong before is what is told.
        let _ = writer.abort().await;
        return Err(error);
    }
    writer.shutdown().await
}

async fn put(file: &mut File, writer: &mut BufWriter) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(1 << 20);
        let read = io::Read::by_ref(file).take(1 << 20).read_to_end(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        writer.put(Bytes::from(piece)).await?;
    }
}
