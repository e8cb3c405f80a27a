//! What must survive a restart: the block list, and what else the engine must know again, in an SQLite database in the state
//! directory.
//!
//! An entry's end is kept by two clocks. Within one boot the monotonic clock counts, so that setting the clock neither
//! lengthens nor ends an isolation; after a reboot the wall clock does. Each save is on the disk when it returns
//! (`synchronous = FULL`): saves are few, and what a person entered must not be lost at a power failure.

mod device;
mod error;
mod memory;
mod row;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::{Card, DeviceId};
use sensor_core::inventory::kept::Kept;
use sensor_core::policy::{Block, BlockId, Memory, MemoryKey, Save};
use sensor_journal::sqlite::{BUSY, connect, layout};

use crate::clock::Now;
use crate::patience;
use device::{TO_4, TO_5, TO_6, TO_7};
use memory::{ASIDE, MemoryRow};
use row::{Row, Span};

pub use error::StoreError;

/// Number of the database's layout (`PRAGMA user_version`).
const LAYOUT: i64 = 7;

const CREATE: &str = "
    CREATE TABLE block (
        id            INTEGER PRIMARY KEY,
        targets       TEXT NOT NULL,    -- JSON list of addresses, networks and places
        level         TEXT NOT NULL,
        origin        TEXT NOT NULL,    -- JSON: {\"manual\": account} or {\"incident\": number}
        reason        TEXT NOT NULL,
        would         INTEGER NOT NULL, -- 1: only counted, not dropped
        boot_id       TEXT NOT NULL,    -- of the machine's boot the *_mono_ns belong to
        since_mono_ns INTEGER NOT NULL,
        until_mono_ns INTEGER,          -- null: until taken out
        since_unix_ns INTEGER NOT NULL,
        until_unix_ns INTEGER
    ) STRICT;";

/// What brings a database of layout 1 to layout 2.
const TO_2: &str = "
    ALTER TABLE block ADD COLUMN direction TEXT NOT NULL DEFAULT 'both';
    ALTER TABLE block ADD COLUMN list TEXT;                         -- JSON: {\"named\": name} or {\"learned\": number,
                                                                    -- \"allow\": [...]}; null: none
    ALTER TABLE block ADD COLUMN follows INTEGER NOT NULL DEFAULT 0; -- 1: addresses its device takes are added
    UPDATE block SET follows = 1 WHERE origin LIKE '{\"incident\"%' AND targets LIKE '[\"__:__:__:__:__:__\"%';
    CREATE TABLE aside AS SELECT *, '' AS what FROM block WHERE 0;  -- entries that cannot be understood
    PRAGMA user_version = 2;";

/// What brings a database of layout 2 to layout 3.
const TO_3: &str = "
    CREATE TABLE memory (
        kind          TEXT NOT NULL,    -- past, review, asked, window, last, drill, shared; aside: cannot be understood
        key           TEXT NOT NULL,    -- a number, or an address
        value         TEXT NOT NULL,    -- JSON
        boot_id       TEXT NOT NULL,    -- as in block
        since_mono_ns INTEGER NOT NULL,
        until_mono_ns INTEGER,
        since_unix_ns INTEGER NOT NULL,
        until_unix_ns INTEGER,
        PRIMARY KEY (kind, key)
    ) STRICT;
    PRAGMA user_version = 3;";

const PUT: &str = "
    INSERT INTO block (id, targets, level, origin, reason, would, boot_id, since_mono_ns, until_mono_ns, since_unix_ns,
        until_unix_ns, direction, list, follows)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (id) DO UPDATE SET targets = ?2, level = ?3, origin = ?4, reason = ?5, would = ?6, boot_id = ?7,
        since_mono_ns = ?8, until_mono_ns = ?9, until_unix_ns = ?11, direction = ?12, list = ?13, follows = ?14";

const ALL: &str = "
    SELECT id, targets, level, origin, reason, would, boot_id, since_mono_ns, until_mono_ns, since_unix_ns,
        until_unix_ns, direction, list, follows
    FROM block ORDER BY id";

const KEEP: &str = "
    INSERT OR REPLACE INTO memory (kind, key, value, boot_id, since_mono_ns, until_mono_ns, since_unix_ns, until_unix_ns)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const KEPT: &str = "
    SELECT kind, key, value, boot_id, since_mono_ns, until_mono_ns, since_unix_ns, until_unix_ns
    FROM memory WHERE kind <> 'aside' ORDER BY kind, key";

/// Takes away what was refused, once that need not be remembered any more: there is an end to how much of it there is.
const PRUNE: &str = "
    DELETE FROM memory
    WHERE kind = 'asked' AND value ->> 'refused' IS NOT NULL AND boot_id = ?1 AND until_mono_ns <= ?2";

/// What a change is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Block(BlockId),
    Memory(MemoryKey),
    Device(DeviceKey),
    Card(DeviceId),
}

impl Key {
    fn of(save: &Save) -> Self {
        match save {
            Save::Put(block) => Self::Block(block.id),
            Save::Forget(id) => Self::Block(*id),
            Save::Keep(memory) => Self::Memory(memory.key()),
            Save::Drop(key) => Self::Memory(key.clone()),
            Save::Device(kept) => Self::Device(kept.key),
            Save::ForgetDevice(key) => Self::Device(*key),
            Save::Card(card) => Self::Card(card.id),
            Save::ForgetCard(id) => Self::Card(*id),
        }
    }
}

/// The open database.
pub struct Store {
    db: Connection,
    path: PathBuf,
    boot_id: String,
    /// What could not be written yet. One for each entry and thing to remember, so it is bounded as those are.
    pending: BTreeMap<Key, Save>,
    /// Held, so that no other daemon uses the directory.
    _lock: File,
}

/// Of the state directory: the members of the group may read what lies there for them. As the unit has it.
const DIR_MODE: u32 = 0o750;
/// Of the database: who is held, and the names of devices, are for the daemon alone, whatever its mask is.
const FILE_MODE: u32 = 0o600;

impl Store {
    /// Opens the database in `dir`, creating both if need be.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let boot_id = boot_id();
        Self::open_in_boot(dir, boot_id.trim())
    }

    /// The same as if the machine was in that boot: by its clock the times are that it is given.
    pub fn open_in_boot(dir: &Path, boot_id: &str) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(dir)
            .map_err(|source| StoreError::Dir { dir: dir.to_owned(), source })?;
        let lock = lock(dir)?;
        let path = dir.join("sekisho.db");
        // The files beside it take their modes from this one. What keeps it from being made SQLite tells.
        drop(OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(&path));
        let db = connect(&path).map_err(|error| StoreError::of(&path, error))?;
        let layout = layout(&db).map_err(|error| StoreError::of(&path, error))?;
        if layout > LAYOUT {
            return Err(StoreError::Newer { path, found: layout, known: LAYOUT });
        }
        let steps = match layout {
            0 => [CREATE, TO_2, TO_3, TO_4, TO_5, TO_6, TO_7].concat(),
            1 => [TO_2, TO_3, TO_4, TO_5, TO_6, TO_7].concat(),
            2 => [TO_3, TO_4, TO_5, TO_6, TO_7].concat(),
            3 => [TO_4, TO_5, TO_6, TO_7].concat(),
            4 => [TO_5, TO_6, TO_7].concat(),
            5 => [TO_6, TO_7].concat(),
            6 => TO_7.to_owned(),
            _ => String::new(),
        };
        if !steps.is_empty() {
            db.execute_batch(&format!("BEGIN IMMEDIATE; {steps} COMMIT;"))
                .map_err(|error| StoreError::of(&path, error))?;
        }
        Ok(Self { db, path, boot_id: boot_id.to_owned(), pending: BTreeMap::new(), _lock: lock })
    }

    /// The entries in `dir` that still hold, oldest first, without a change to anything: a daemon may be using it. None if
    /// there never was a daemon.
    pub fn peek(dir: &Path, now: Now) -> Result<Vec<Block>, StoreError> {
        let Some((store, _)) = Self::look(dir)? else { return Ok(Vec::new()) };
        let mut blocks = Vec::new();
        for row in store.rows().map_err(|error| StoreError::of(&store.path, error))? {
            match row.read(&store.boot_id, now) {
                Ok(block) => blocks.push(block),
                Err(what) => return Err(StoreError::Row { path: store.path, id: row.id, what }),
            }
        }
        blocks.retain(|block| block.until.is_none_or(|until| until > now.mono));
        Ok(blocks)
    }

    /// The devices in `dir` and what people say of them, likewise. None of a database of an earlier release.
    pub fn peek_devices(dir: &Path, now: Now) -> Result<(Vec<Kept>, Vec<Card>), StoreError> {
        match Self::look(dir)? {
            Some((store, LAYOUT)) => store.devices(now),
            _ => Ok((Vec::new(), Vec::new())),
        }
    }

    /// Opens the database in `dir` to read, if there is one, and gives its layout.
    fn look(dir: &Path) -> Result<Option<(Self, i64)>, StoreError> {
        let path = dir.join("sekisho.db");
        if !path.exists() {
            return Ok(None);
        }
        let failed = |error| StoreError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags).map_err(failed)?;
        db.busy_timeout(BUSY).map_err(failed)?;
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found > LAYOUT {
            return Err(StoreError::Newer { path, found, known: LAYOUT });
        }
        let boot_id = boot_id();
        let _lock = File::open(&path).map_err(|source| StoreError::Dir { dir: dir.to_owned(), source })?;
        Ok(Some((Self { db, path, boot_id, pending: BTreeMap::new(), _lock }, found)))
    }

    /// The entries, oldest first, also those whose time was up meanwhile: whoever is released starts with a clean slate, which
    /// is the engine's to give. One that cannot be understood is set aside and told: it must not keep the others from being
    /// enforced.
    pub fn load(&mut self, now: Now) -> Result<Vec<Block>, StoreError> {
        let mut blocks = Vec::new();
        for row in self.rows().map_err(|error| StoreError::of(&self.path, error))? {
            match row.read(&self.boot_id, now) {
                Ok(block) => blocks.push(block),
                Err(what) => {
                    self.set_aside(row.id, &what).map_err(|error| StoreError::of(&self.path, error))?;
                    log::error!("{}", StoreError::Row { path: self.path.clone(), id: row.id, what });
                }
            }
        }
        Ok(blocks)
    }

    /// What else was remembered. What cannot be understood is set aside and told.
    pub fn recall(&mut self, now: Now) -> Result<Vec<Memory>, StoreError> {
        let mut memories = Vec::new();
        let mut lasting = BTreeSet::new();
        for row in self.memories().map_err(|error| StoreError::of(&self.path, error))? {
            match row.read(&self.boot_id, now, &mut lasting) {
                Ok(memory) => memories.push(memory),
                Err(what) => {
                    let MemoryRow { kind, key, .. } = row;
                    self.db
                        .execute(
                            "UPDATE OR REPLACE memory SET kind = ?3, key = kind || ' ' || key WHERE kind = ?1 AND key = ?2",
                            params![kind, key, ASIDE],
                        )
                        .map_err(|error| StoreError::of(&self.path, error))?;
                    log::error!("{}", StoreError::Memory { path: self.path.clone(), kind, key, what });
                }
            }
        }
        Ok(memories)
    }

    /// The devices that were known, and what people say of them. What cannot be understood is told, and left as it is.
    pub fn devices(&self, now: Now) -> Result<(Vec<Kept>, Vec<Card>), StoreError> {
        let failed = |error| StoreError::of(&self.path, error);
        let devices = device::all(&self.db, &self.boot_id, now).map_err(failed)?;
        let cards = device::cards(&self.db).map_err(failed)?;
        Ok((self.understood(devices), self.understood(cards)))
    }

    fn understood<T>(&self, rows: Vec<device::Read<T>>) -> Vec<T> {
        let told = |row: device::Read<T>| {
            row.inspect_err(|(row, what)| {
                let (path, row, what) = (self.path.clone(), row.clone(), what.clone());
                log::error!("{}", StoreError::Device { path, row, what });
            })
            .ok()
        };
        rows.into_iter().filter_map(told).collect()
    }

    /// Moves a row to the table of those that cannot be understood, in one step.
    fn set_aside(&mut self, id: BlockId, what: &str) -> rusqlite::Result<()> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("INSERT INTO aside SELECT *, ?2 FROM block WHERE id = ?1", params![id, what])?;
        transaction.execute("DELETE FROM block WHERE id = ?1", [id])?;
        transaction.commit()
    }

    /// Writes all of it to the disk, or none. What could not be written is kept and written with the next save.
    pub fn save(&mut self, saves: &[Save], now: Now) -> Result<(), StoreError> {
        for save in saves {
            self.pending.insert(Key::of(save), save.clone());
        }
        self.flush(now)
    }

    /// Writes what earlier saves could not. Does nothing if there is nothing.
    pub fn flush(&mut self, now: Now) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write(now).map_err(|error| StoreError::of(&self.path, error))?;
        self.pending.clear();
        Ok(())
    }

    /// How many entries wait to be written because the last save failed.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn write(&mut self, now: Now) -> rusqlite::Result<()> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for save in self.pending.values() {
            match save {
                Save::Put(block) => {
                    let row = Row::new(block, &self.boot_id, now);
                    transaction.prepare_cached(PUT)?.execute(params![
                        row.id,
                        row.targets,
                        row.level,
                        row.origin,
                        row.reason,
                        row.would,
                        row.span.boot_id,
                        row.span.since_mono_ns,
                        row.span.until_mono_ns,
                        row.span.since_unix_ns,
                        row.span.until_unix_ns,
                        row.direction,
                        row.list,
                        row.follows,
                    ])?;
                }
                Save::Forget(id) => {
                    transaction.prepare_cached("DELETE FROM block WHERE id = ?1")?.execute([id])?;
                }
                Save::Keep(memory) => {
                    let MemoryRow { kind, key, value, span } = MemoryRow::new(memory, &self.boot_id, now);
                    transaction.prepare_cached(KEEP)?.execute(params![
                        kind,
                        key,
                        value,
                        span.boot_id,
                        span.since_mono_ns,
                        span.until_mono_ns,
                        span.since_unix_ns,
                        span.until_unix_ns,
                    ])?;
                    if matches!(memory, Memory::Asked(_)) {
                        let now = i64::try_from(now.mono.ns()).unwrap_or(i64::MAX);
                        transaction.prepare_cached(PRUNE)?.execute(params![self.boot_id, now])?;
                    }
                }
                Save::Drop(key) => {
                    let (kind, key) = memory::names(key);
                    let delete = "DELETE FROM memory WHERE kind = ?1 AND key = ?2";
                    transaction.prepare_cached(delete)?.execute(params![kind, key])?;
                }
                Save::Device(kept) => device::put(&transaction, kept, &self.boot_id, now)?,
                Save::ForgetDevice(key) => device::forget(&transaction, *key)?,
                Save::Card(card) => device::put_card(&transaction, card)?,
                Save::ForgetCard(id) => device::forget_card(&transaction, *id)?,
            }
        }
        transaction.commit()
    }

    fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.db.prepare(ALL)?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                id: row.get(0)?,
                targets: row.get(1)?,
                level: row.get(2)?,
                origin: row.get(3)?,
                reason: row.get(4)?,
                would: row.get(5)?,
                span: span(row, 6)?,
                direction: row.get(11)?,
                list: row.get(12)?,
                follows: row.get(13)?,
            })
        })?;
        rows.collect()
    }

    fn memories(&self) -> rusqlite::Result<Vec<MemoryRow>> {
        let mut statement = self.db.prepare(KEPT)?;
        let rows = statement.query_map([], |row| {
            Ok(MemoryRow { kind: row.get(0)?, key: row.get(1)?, value: row.get(2)?, span: span(row, 3)? })
        })?;
        rows.collect()
    }
}

/// Names the machine's boot, in which the monotonic clock goes on; empty if the kernel does not say.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The five columns from `at` on.
fn span(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Span> {
    Ok(Span {
        boot_id: row.get(at)?,
        since_mono_ns: row.get(at + 1)?,
        until_mono_ns: row.get(at + 2)?,
        since_unix_ns: row.get(at + 3)?,
        until_unix_ns: row.get(at + 4)?,
    })
}

/// Makes sure that no other daemon uses the directory; the kernel ends the lock with the process.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let wrong = |source| StoreError::Dir { dir: dir.to_owned(), source };
    let file =
        OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(dir.join("lock")).map_err(wrong)?;
    match patience::lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(wrong(source)),
    }
}
