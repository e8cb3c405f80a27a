//! The database: its tables, how it is opened, and what is done with one that is broken.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::error::JournalError;
use crate::sqlite::{connect, layout};

/// Number of the database's layout (`PRAGMA user_version`).
pub const LAYOUT: i64 = 1;

/// Bytes of the disk that are left to others: the block list goes before anything that is told.
const SPARED: u64 = 16 << 20;

/// Most broken databases that are kept, the newest of them.
const MAX_ASIDE: usize = 4;

/// The members of the group may read it, as they may use the control socket.
const MODE: u32 = 0o640;

const CREATE: &str = "
    CREATE TABLE event (
        id       INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of writing
        time_ns  INTEGER NOT NULL,                  -- since 1970
        kind     TEXT NOT NULL,                     -- its event_type
        incident INTEGER,
        device   INTEGER,                           -- number of the device
        mac      TEXT,
        name     TEXT,
        severity INTEGER,
        body     TEXT NOT NULL,                     -- the event as JSON
        words    TEXT NOT NULL,                     -- the event as a sentence
        link     INTEGER UNIQUE,                    -- place in the chain; null: not in it
        hash     BLOB                               -- SHA-256 over the hash before it and this row
    ) STRICT;
    CREATE INDEX event_time ON event (time_ns);
    CREATE INDEX event_kind ON event (kind, time_ns);
    CREATE INDEX event_mac ON event (mac, time_ns) WHERE mac IS NOT NULL;
    CREATE INDEX event_incident ON event (incident, time_ns) WHERE incident IS NOT NULL;
    CREATE INDEX event_unchained ON event (id) WHERE link IS NULL;
    CREATE TABLE checkpoint (                       -- up to where the chain was taken away, the last one alone
        link      INTEGER PRIMARY KEY,
        hash      BLOB NOT NULL,
        signature BLOB NOT NULL                     -- Ed25519
    ) STRICT;
    CREATE TABLE fact (
        name  TEXT PRIMARY KEY,                     -- chain: its name; key: the public key; open: 1 while a daemon writes
        value TEXT NOT NULL
    ) STRICT;
    PRAGMA user_version = 1;";

/// Opens the database to write to it, and makes it or brings it to this release's layout if need be.
pub fn open(path: &Path) -> Result<Connection, JournalError> {
    let failed = |error| JournalError::of(path, error);
    let db = connect(path).map_err(failed)?;
    let layout = layout(&db).map_err(failed)?;
    match layout {
        LAYOUT => {}
        0 => db.execute_batch(&format!("BEGIN IMMEDIATE; {CREATE} COMMIT;")).map_err(failed)?,
        found => return Err(JournalError::Newer { path: path.to_owned(), found, known: LAYOUT }),
    }
    // Before there is anything to be kept from anybody: the files beside it take their modes from this one.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .map_err(JournalError::file("make readable", path))?;
    Ok(db)
}

/// Refuses to fill the disk.
pub fn spare(dir: &Path, path: &Path) -> Result<(), JournalError> {
    // What the disk does not say of itself, the write will.
    let Ok(disk) = nix::sys::statvfs::statvfs(dir) else { return Ok(()) };
    if disk.blocks_available().saturating_mul(disk.fragment_size()) < SPARED {
        return Err(JournalError::Full(path.to_owned()));
    }
    Ok(())
}

/// Moves a broken database out of the way, under a name with the time. Gives the new name.
pub fn set_aside(path: &Path, time_ns: i64) -> Result<PathBuf, JournalError> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let time =
        jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let free = |number: u32| {
        let end = if number == 0 { String::new() } else { format!("-{number}") };
        Some(format!(".broken-{time}{end}")).filter(|end| !with(end).exists())
    };
    let end = (0..1_000).find_map(free).unwrap_or_else(|| format!(".broken-{time}"));
    for part in ["-wal", "-shm", ""] {
        let (from, to) = (with(part), with(&format!("{end}{part}")));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(JournalError::File { what: "set aside the broken", path: from, source: error });
            }
            _ => {}
        }
    }
    forget_old(path);
    Ok(with(&end))
}

/// Broken databases must not fill the disk.
fn forget_old(path: &Path) {
    let Some((dir, name)) = path.parent().zip(path.file_name()) else { return };
    let prefix = format!("{}.broken-", name.to_string_lossy());
    let Ok(files) = fs::read_dir(dir) else { return };
    let mut names: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    let over = names.len().saturating_sub(MAX_ASIDE);
    for name in names.iter().take(over) {
        log::warn!("removing {name}: {MAX_ASIDE} broken journals are kept");
        for part in ["", "-wal", "-shm"] {
            // Those beside it need not be there.
            let _ = fs::remove_file(dir.join(format!("{name}{part}")));
        }
    }
}
