//! How every database of the product is opened: the journal, and the daemon's own.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// How long to wait for somebody who reads a database, as a backup does.
pub const BUSY: Duration = Duration::from_secs(2);

/// Opens a database, or makes an empty one. Each transaction is on the disk when it is over.
///
/// # Errors
///
/// SQLite's, for one that cannot be read or is none.
pub fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// The number of a database's layout, 0 for an empty one, after a look whether the file is whole.
///
/// # Errors
///
/// SQLite's: `SQLITE_CORRUPT` with what is broken if it is not whole.
pub fn layout(db: &Connection) -> rusqlite::Result<i64> {
    let whole: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if whole != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(whole)));
    }
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}
