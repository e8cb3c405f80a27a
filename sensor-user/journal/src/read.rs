//! Reading the journal, with or without a daemon that writes to it, and copies of it wherever they lie.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql};

use crate::entry::{Entry, Link, Record};
use crate::error::JournalError;
use crate::head::{self, Head};
use crate::journal::DATABASE;
use crate::schema::LAYOUT;
use crate::sqlite::BUSY;

/// Rows of one incident, at most; the newest of them.
const MAX_OF_INCIDENT: i64 = 10_000;

/// Columns of a row, as [`record`] reads them.
pub const COLUMNS: &str = "e.id, e.time_ns, e.kind, e.incident, e.device, e.mac, e.name, e.severity, e.body, e.words, e.link, e.hash,
    coalesce((SELECT p.hash FROM event p WHERE p.link = e.link - 1), (SELECT c.hash FROM checkpoint c WHERE c.link = e.link - 1))";

/// Which rows are wanted: those for which all of it holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// From this time on, ns since 1970.
    pub from_ns: Option<i64>,
    /// Up to this time.
    pub to_ns: Option<i64>,
    /// Of one of these kinds; empty: of all.
    pub kinds: Vec<String>,
    /// About one of these devices: its number, name, MAC address or an IP address it had; empty: about any, or none.
    pub devices: Vec<String>,
    /// Of this incident.
    pub incident: Option<u64>,
    /// So many at most, the newest; none: all.
    pub newest: Option<u64>,
}

/// Why there is no journal: there never was one, or it is gone, as the end of its chain beside it says.
fn nothing(path: &Path) -> JournalError {
    let dir = path.parent().unwrap_or(Path::new("."));
    let named = path.file_name().is_some_and(|name| name == DATABASE);
    match Head::kept(dir, None) {
        // A copy of another name that is not there is a slip of the pen.
        Ok(Some((Head { chain, link: records, .. }, _))) if named && records > 0 => {
            JournalError::Gone { path: path.to_owned(), head: head::FILE, records, chain }
        }
        _ => JournalError::Nothing(path.to_owned()),
    }
}

/// The journal, to read.
pub struct Reader {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
}

impl Reader {
    /// Opens the database at `path`. Nothing of it is changed.
    ///
    /// # Errors
    ///
    /// If there is none, it may not be read, or it is not whole.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(nothing(path));
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(JournalError::Denied(path.to_owned()));
            }
            Err(error) => return Err(JournalError::file("read", path)(error)),
            Ok(_) => {}
        }
        let failed = |error| JournalError::of(path, error);
        let db = match connect(path, "") {
            // A copy in a place where nothing can be written, which SQLite would do even to read: so nobody else does.
            Err(_) if !beside(path, "-wal").exists() => connect(path, "?immutable=1"),
            other => other,
        };
        let (db, found) = db.map_err(failed)?;
        if found > LAYOUT {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: LAYOUT });
        }
        if found == 0 {
            return Err(nothing(path));
        }
        Ok(Self { db, path: path.to_owned() })
    }

    /// The directory it lies in.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    pub(crate) fn failed(&self, error: rusqlite::Error) -> JournalError {
        JournalError::of(&self.path, error)
    }

    /// The rows that are wanted, oldest first, each given to `take` until that says no.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn each(&self, query: &Query, mut take: impl FnMut(Record) -> bool) -> Result<(), JournalError> {
        let (wanted, values) = conditions(query);
        let newest = query.newest.map_or(-1, |newest| i64::try_from(newest).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {COLUMNS} FROM event e WHERE e.id IN (
                SELECT id FROM event e WHERE {wanted} ORDER BY time_ns DESC, id DESC LIMIT {newest})
            ORDER BY e.time_ns, e.id"
        );
        let mut read = || {
            let mut statement = self.db.prepare(&sql)?;
            let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
            let mut rows = statement.query(&values[..])?;
            while let Some(row) = rows.next()? {
                if !take(record(row)?) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| self.failed(error))
    }

    /// The same, all at once.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn all(&self, query: &Query) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        self.each(query, |record| {
            records.push(record);
            true
        })?;
        Ok(records)
    }

    /// The rows of an incident, oldest first: the last ten thousand.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn of_incident(&self, id: u64) -> Result<Vec<Record>, JournalError> {
        let newest = Some(MAX_OF_INCIDENT as u64);
        self.all(&Query { incident: Some(id), newest, ..Query::default() })
    }

    /// The numbers of incidents with an alert in a time, the newest first.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn incidents(&self, from_ns: i64, to_ns: i64, most: u64) -> Result<Vec<u64>, JournalError> {
        let sql = "
            SELECT incident FROM event
            WHERE kind = 'alert' AND incident IS NOT NULL AND time_ns BETWEEN ?1 AND ?2
            GROUP BY incident ORDER BY max(time_ns) DESC, incident DESC LIMIT ?3";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let read = || {
            let mut statement = self.db.prepare(sql)?;
            let rows = statement.query_map((from_ns, to_ns, most), |row| row.get(0))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// The highest number of an incident; 0 if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn last_incident(&self) -> Result<u64, JournalError> {
        // Orders have the numbers that people gave.
        let sql = "
            SELECT incident FROM event WHERE incident IS NOT NULL AND kind = 'alert' ORDER BY incident DESC LIMIT 1";
        let last = self.db.query_row(sql, [], |row| row.get(0)).optional();
        last.map(Option::unwrap_or_default).map_err(|error| self.failed(error))
    }
}

/// A file beside the database.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Opens it, and gives its layout.
pub(crate) fn connect(path: &Path, options: &str) -> rusqlite::Result<(Connection, i64)> {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri + options, flags)?;
    db.busy_timeout(BUSY)?;
    let layout = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok((db, layout))
}

/// What is wanted as SQL, and the values in it.
fn conditions(query: &Query) -> (String, Vec<Box<dyn ToSql>>) {
    let mut parts = vec!["1".to_owned()];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut put = |value: Box<dyn ToSql>| {
        values.push(value);
        values.len()
    };
    if let Some(from) = query.from_ns {
        parts.push(format!("e.time_ns >= ?{}", put(Box::new(from))));
    }
    if let Some(to) = query.to_ns {
        parts.push(format!("e.time_ns <= ?{}", put(Box::new(to))));
    }
    if let Some(incident) = query.incident {
        parts.push(format!("e.incident = ?{}", put(Box::new(incident))));
    }
    if !query.kinds.is_empty() {
        let kinds: Vec<_> =
            query.kinds.iter().map(|kind| format!("?{}", put(Box::new(kind.clone())))).collect();
        parts.push(format!("e.kind IN ({})", kinds.join(", ")));
    }
    if !query.devices.is_empty() {
        let is = |device: &String| {
            format!(
                "e.mac = lower(?{0}) OR e.name = ?{0} COLLATE NOCASE OR CAST(e.device AS TEXT) = ?{0} OR EXISTS (
                    SELECT 1 FROM json_each(e.body, '$.device.ips') WHERE value = lower(?{0}))",
                put(Box::new(device.clone()))
            )
        };
        let any: Vec<_> = query.devices.iter().map(is).collect();
        // A MAC address is found by its index; whatever has no device is not looked into.
        parts.push(format!("e.mac IS NOT NULL AND ({})", any.join(" OR ")));
    }
    (parts.join(" AND "), values)
}

/// A row of [`COLUMNS`].
pub(crate) fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Record> {
    let entry = Entry {
        time_ns: row.get(1)?,
        kind: row.get(2)?,
        incident: row.get(3)?,
        device: row.get(4)?,
        mac: row.get(5)?,
        name: row.get(6)?,
        severity: row.get(7)?,
        body: row.get(8)?,
        words: row.get(9)?,
    };
    let number: Option<u64> = row.get(10)?;
    let link = match number {
        Some(number) => Some(Link { number, hash: row.get(11)?, before: row.get(12)? }),
        None => None,
    };
    Ok(Record { id: row.get(0)?, entry, link })
}
