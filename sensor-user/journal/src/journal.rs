//! The database as the daemon writes to it. One writer, one transaction a batch: after a kill -9 or a power failure a batch is
//! there as a whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use crate::alive;
use crate::chain::{self, Hash, hex};
use crate::entry::{Entry, is_chained};
use crate::error::JournalError;
use crate::head::Head;
use crate::key::SigningKey;
use crate::note::{note, stamp};
use crate::prune::{self, Cut};
use crate::schema;

/// The file, in the state directory.
pub const DATABASE: &str = "journal.db";

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// Rows older than so many days go.
    pub days: u64,
    /// Rows of the chain at most, the newest; and as many of those that are not in it.
    pub rows: u64,
}

/// The journal, to write to.
pub struct Journal {
    db: Connection,
    dir: PathBuf,
    path: PathBuf,
    key: SigningKey,
    keeping: Keeping,
    last: Head,
    /// Whether the last try to keep the head apart failed, so that a lasting fault is told once.
    headless: bool,
    /// The last sign of life, ns since 1970.
    alive: i64,
}

impl Journal {
    /// Opens the journal of a state directory, and makes it if need be. One that is broken is set aside and told, and a new one
    /// begun.
    ///
    /// # Errors
    ///
    /// If it cannot be used, or was written by a newer release.
    pub fn open(dir: &Path, keeping: Keeping, now_ns: i64) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(JournalError::file("make the directory", dir))?;
        let path = dir.join(DATABASE);
        schema::spare(dir, &path)?;
        let key = SigningKey::open(dir)?;
        let mut notes = Vec::new();
        let opened = match schema::open(&path) {
            Err(JournalError::Damaged { path, what }) => {
                let aside = schema::set_aside(&path, now_ns)?;
                let words =
                    format!("{what}: it was set aside as {}, and a new journal is begun", aside.display());
                log::error!("the journal {} is damaged: {words}", path.display());
                let file = aside.file_name().map(|name| name.to_string_lossy().into_owned());
                notes.push(note(now_ns, "set_aside", &[("file", file.into()), ("what", what.into())], words));
                schema::open(&path)
            }
            other => other,
        };
        let db = opened?;
        let failed = |error| JournalError::of(&path, error);
        let last = last(&db).map_err(failed)?;
        let mut journal = Self {
            db,
            dir: dir.to_owned(),
            path: path.clone(),
            key,
            keeping,
            last,
            headless: false,
            alive: i64::MIN,
        };
        journal.take_up(now_ns, &mut notes).map_err(failed)?;
        journal.write(&notes)?;
        journal.lives(now_ns);
        Ok(journal)
    }

    /// Compares what is there with what was there before, and notes what is to be told.
    fn take_up(&mut self, now_ns: i64, notes: &mut Vec<Entry>) -> rusqlite::Result<()> {
        let kept = Head::kept(&self.dir, Some(&self.key.public()));
        let kept = kept.unwrap_or_else(|error| {
            log::error!("{error}");
            None
        });
        if self.last.chain.is_empty() {
            self.begin()?;
            let before =
                kept.as_ref().map(|(head, _)| format!("{} {} {}", head.chain, head.link, hex(&head.hash)));
            let words = match &kept {
                Some((head, _)) => format!("begun; the one before it ended with record {}", head.link),
                None => "begun".to_owned(),
            };
            let chain = Value::from(self.last.chain.as_str());
            notes.insert(0, note(now_ns, "begun", &[("chain", chain), ("before", before.into())], words));
        } else if let Some((head, _)) = &kept
            && (head.chain != self.last.chain || head.link > self.last.link)
        {
            let words = format!(
                "records are missing: it ends with record {} of chain {}, and ended with record {} of chain {} before",
                self.last.link, self.last.chain, head.link, head.chain
            );
            log::error!("{}: {words}", self.path.display());
            let facts = [
                ("chain", Value::from(head.chain.as_str())),
                ("link", head.link.into()),
                ("hash", hex(&head.hash).into()),
                ("found", self.last.link.into()),
            ];
            notes.push(note(now_ns, "missing", &facts, words));
        }
        if self.fact("open")?.as_deref() == Some("1") {
            let alive = alive::last(&self.dir).filter(|alive| *alive <= now_ns).map(stamp);
            let until = alive.as_ref().map(|alive| format!(", which lived at {alive} still"));
            let words = format!(
                "the daemon before was killed{}: what happened within its last second may be missing",
                until.unwrap_or_default()
            );
            log::warn!("{words}");
            notes.push(note(now_ns, "killed", &[("alive", alive.into())], words));
        }
        let key = self.key.public().to_string();
        if let Some(before) = self.fact("key")?.filter(|before| *before != key) {
            let words = format!(
                "a new key was made, for the one before was lost: {key} signs from here on; what was signed before is verified with {before}"
            );
            let facts = [("key", Value::from(key.as_str())), ("before", before.into())];
            notes.push(note(now_ns, "new_key", &facts, words));
        }
        self.put_fact("open", "1")?;
        self.put_fact("key", &key)
    }

    /// Begins a chain.
    fn begin(&mut self) -> rusqlite::Result<()> {
        let mut bytes = [0; 16];
        // Chains are told apart by it; one that begins at the same moment with the same name would need two clocks in step.
        if SystemRandom::new().fill(&mut bytes).is_err() {
            log::warn!("the system gives no random numbers; the journal's chain is named by its key alone");
        }
        let chain = hex(&chain::sha256(&[&bytes[..], &self.key.public().0].concat())[..16]);
        self.put_fact("chain", &chain)?;
        self.last = Head { hash: chain::beginning(&chain), chain, link: 0 };
        Ok(())
    }

    fn fact(&self, name: &str) -> rusqlite::Result<Option<String>> {
        fact(&self.db, name)
    }

    fn put_fact(&self, name: &str, value: &str) -> rusqlite::Result<()> {
        self.db
            .execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)", params![name, value])
            .map(drop)
    }

    /// Leaves a sign of life now and then, to be called at least each minute: if the daemon is killed the next one tells since
    /// when nobody was there.
    pub fn lives(&mut self, now_ns: i64) {
        if now_ns.saturating_sub(self.alive).unsigned_abs() < alive::EVERY.as_nanos() as u64 {
            return;
        }
        self.alive = now_ns;
        if let Err(error) = alive::leave(&self.dir, now_ns) {
            log::warn!("no sign of life can be left in {}: {error}", self.dir.display());
        }
    }

    /// The end of the chain.
    pub fn head(&self) -> &Head {
        &self.last
    }

    /// Writes all of it to the disk, or none.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then nothing is changed.
    pub fn write(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        if entries.is_empty() {
            return Ok(());
        }
        schema::spare(&self.dir, &self.path)?;
        let written = self.append(entries).map_err(|error| JournalError::of(&self.path, error))?;
        self.move_head(written);
        Ok(())
    }

    fn append(&mut self, entries: &[Entry]) -> rusqlite::Result<Head> {
        let mut head = self.last.clone();
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        entries.iter().try_for_each(|entry| put(&transaction, entry, &mut head))?;
        transaction.commit()?;
        Ok(head)
    }

    fn move_head(&mut self, head: Head) {
        if head == self.last {
            return;
        }
        self.last = head;
        let kept = self.last.keep(&self.dir, &self.key);
        if let Err(error) = &kept
            && !self.headless
        {
            log::error!("{error}; that the journal was cut off at its end cannot be noticed");
        }
        self.headless = kept.is_err();
    }

    /// Takes away what need not be kept any more, a part at a time; by age only if the clock is `steady`. Gives how many rows
    /// went.
    ///
    /// # Errors
    ///
    /// If it cannot be written; then nothing is changed.
    pub fn prune(&mut self, now_ns: i64, steady: bool) -> Result<u64, JournalError> {
        let failed = |path: &Path, error| JournalError::of(path, error);
        let (gone, head) = self.prune_to(now_ns, steady).map_err(|error| failed(&self.path, error))?;
        self.move_head(head);
        Ok(gone)
    }

    fn prune_to(&mut self, now_ns: i64, steady: bool) -> rusqlite::Result<(u64, Head)> {
        let trusted = steady.then_some(now_ns);
        let mut head = self.last.clone();
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut gone = prune::unchained(&transaction, self.keeping, trusted)?;
        if let Some(Cut { link, hash }) = prune::cut(&transaction, self.keeping, trusted, head.link)? {
            let signature = self.key.sign(prune::checkpoint(&head.chain, link, &hash).as_bytes());
            let rows = prune::chained(&transaction, link, &hash, &signature)?;
            gone += rows;
            let words = format!("{rows} old records were taken away, up to record {link}");
            let facts = [("link", link.into()), ("hash", hex(&hash).into()), ("records", rows.into())];
            put(&transaction, &note(now_ns, "pruned", &facts, words), &mut head)?;
        }
        transaction.commit()?;
        Ok((gone, head))
    }

    /// Ends in order: the next one to open it need not fear for anything.
    ///
    /// # Errors
    ///
    /// If that cannot be written.
    pub fn close(self) -> Result<(), JournalError> {
        self.put_fact("open", "0").map_err(|error| JournalError::of(&self.path, error))
    }
}

/// A fact of the database.
pub(crate) fn fact(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// The end of the chain that is there; its name is empty if there is none.
fn last(db: &Connection) -> rusqlite::Result<Head> {
    let Some(chain) = fact(db, "chain")? else {
        return Ok(Head { chain: String::new(), link: 0, hash: Hash::default() });
    };
    let row = "SELECT link, hash FROM event WHERE link IS NOT NULL ORDER BY link DESC LIMIT 1";
    let end = db.query_row(row, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let checkpoint = "SELECT link, hash FROM checkpoint ORDER BY link DESC LIMIT 1";
    let end = match end {
        None => db.query_row(checkpoint, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?,
        some => some,
    };
    Ok(match end {
        Some((link, hash)) => Head { chain, link, hash },
        None => Head { hash: chain::beginning(&chain), chain, link: 0 },
    })
}

/// Writes a row; if it is of the chain, that ends with it.
fn put(transaction: &Transaction<'_>, entry: &Entry, head: &mut Head) -> rusqlite::Result<()> {
    // Numbers come from whoever gives orders; one that the database cannot hold is none of an incident, and must not keep the
    // rows beside it from being written.
    let fits = |number: &u64| i64::try_from(*number).is_ok();
    let (incident, device) = (entry.incident.filter(fits), entry.device.filter(fits));
    let entry = &Entry { incident, device, ..entry.clone() };
    let link = if is_chained(&entry.kind) {
        head.link += 1;
        head.hash = chain::link(&head.hash, head.link, entry);
        Some((head.link, head.hash))
    } else {
        None
    };
    let (link, hash) = link.unzip();
    let put = "
        INSERT INTO event (time_ns, kind, incident, device, mac, name, severity, body, words, link, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let Entry { time_ns, kind, incident, device, mac, name, severity, body, words } = entry;
    transaction
        .prepare_cached(put)?
        .execute(params![time_ns, kind, incident, device, mac, name, severity, body, words, link, hash])?;
    Ok(())
}

#[cfg(test)]
mod tests;
