//! Whether the chain is whole: each row as it was written, none missing, none added, and its end where it was.

use rusqlite::OptionalExtension;

use crate::chain::{self, Hash, hex};
use crate::entry::{Record, UNCHAINED};
use crate::error::JournalError;
use crate::head::{self, Head};
use crate::journal::fact;
use crate::key::PublicKey;
use crate::note;
use crate::prune;
use crate::read::{COLUMNS, Reader, record};

/// Digits of a hash that a person must have written down, at least.
const FEWEST_DIGITS: usize = 8;

/// An end of the chain that somebody wrote down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The number of the row that was the last then.
    pub link: u64,
    /// The beginning of its hash.
    pub digits: String,
}

impl std::str::FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "write it as `sekisho audit verify` shows it, like 1234:9f86d081; {FEWEST_DIGITS} digits at least"
            )
        };
        let (link, digits) = text.split_once(':').ok_or_else(wrong)?;
        let digits: String =
            digits.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        let fits = (FEWEST_DIGITS..=64).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let link = link.trim().parse().map_err(|_| wrong())?;
        if fits { Ok(Self { link, digits }) } else { Err(wrong()) }
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Rows of the chain that were read.
    pub records: u64,
    /// The first of them.
    pub first: u64,
    /// The end of the chain, as far as it fits.
    pub head: Option<Head>,
    /// What does not fit; the first of it in the order of the rows.
    pub faults: Vec<String>,
    /// What somebody should look at.
    pub doubts: Vec<String>,
}

/// Verifies the chain of a journal. `key` is what it must have been signed with; none: the one that lies beside it, or in it.
///
/// # Errors
///
/// If it cannot be read at all.
pub fn verify(reader: &Reader, key: Option<PublicKey>, claims: &[Claim]) -> Result<Verified, JournalError> {
    let mut found = Verified::default();
    let read = || -> rusqlite::Result<_> {
        let named = fact(&reader.db, "key")?.and_then(|text| PublicKey::parse(&text));
        Ok((fact(&reader.db, "chain")?, named))
    };
    let (chain, named) = read().map_err(|error| reader.failed(error))?;
    let Some(chain) = chain else {
        found.faults.push("the journal has no chain".to_owned());
        return Ok(found);
    };
    let keys = Keys {
        // Who says which key it must be, means no other.
        former: if key.is_some() { Vec::new() } else { PublicKey::former(reader.dir()) },
        key: key.or_else(|| PublicKey::beside(reader.dir())).or(named),
    };
    let mut walk = Walk { link: 0, hash: chain::beginning(&chain), claims: claims.to_vec() };
    let head = head(reader, &chain, &keys, &mut found);
    if let Some(head) = &head {
        walk.claims.push(Claim { link: head.link, digits: hex(&head.hash) });
    }
    // All of it as of one moment, after that of the head: a daemon may be writing, and taking old rows away.
    reader.db.execute_batch("BEGIN").map_err(|error| reader.failed(error))?;
    start(reader, &chain, &keys, &mut walk, &mut found).map_err(|error| reader.failed(error))?;
    if let Err(error) = rows(reader, &mut walk, &mut found) {
        found.faults.push(format!("record {} cannot be read: {error}", walk.link + 1));
    }
    if found.faults.is_empty() {
        for claim in &walk.claims {
            found.faults.push(format!(
                "the chain was cut off at its end: it ends with record {}, and had a record {}",
                walk.link, claim.link
            ));
        }
        outside(reader, &mut found).map_err(|error| reader.failed(error))?;
    }
    reader.db.execute_batch("COMMIT").map_err(|error| reader.failed(error))?;
    found.head = Some(Head { chain, link: walk.link, hash: walk.hash });
    Ok(found)
}

/// What signatures may be of.
struct Keys {
    key: Option<PublicKey>,
    /// Keys that were lost.
    former: Vec<PublicKey>,
}

impl Keys {
    /// Finds the key that signed something, and says so if it is one that was lost.
    fn signed(&self, what: &str, verifies: impl Fn(&PublicKey) -> bool, found: &mut Verified) {
        if self.key.as_ref().is_some_and(&verifies) {
            return;
        }
        match self.former.iter().find(|key| verifies(key)) {
            Some(key) => found
                .doubts
                .push(format!("{what} is signed with {key}, which was lost: another key was made since")),
            None => found.faults.push(format!("{what} is not signed with the key of this journal")),
        }
    }
}

/// How far the chain was read, and the ends of it that are still to come.
struct Walk {
    link: u64,
    hash: Hash,
    claims: Vec<Claim>,
}

impl Walk {
    /// Compares the ends that were told with what is there. What lies before the first row cannot be compared.
    fn compare(&mut self, found: &mut Verified) {
        let (link, hash) = (self.link, hex(&self.hash));
        self.claims.retain(|claim| {
            if claim.link == link && !hash.starts_with(&claim.digits) {
                found.faults.push(format!(
                    "record {link} is another one than it was: its hash begins with {}, and was {}",
                    hash.get(..claim.digits.len()).unwrap_or_default(),
                    claim.digits
                ));
            }
            claim.link > link
        });
    }
}

/// The end of the chain that was kept apart.
fn head(reader: &Reader, chain: &str, keys: &Keys, found: &mut Verified) -> Option<Head> {
    let kept = |key: Option<&PublicKey>| Head::kept(reader.dir(), key);
    match kept(None) {
        Err(error) => found.faults.push(error),
        Ok(None) => found.doubts.push(
            "there is no journal.head beside it: whether something was cut off at its end cannot be seen; compare with what \
             was written down (--head)"
                .to_owned(),
        ),
        Ok(Some((head, _))) if head.chain != chain => found.faults.push(format!(
            "it is another journal than the one that journal.head speaks of: chain {chain}, and not {}",
            head.chain
        )),
        Ok(Some((head, _))) => {
            let before = found.faults.len();
            let by = |key: &PublicKey| matches!(kept(Some(key)), Ok(Some((_, true))));
            keys.signed(head::FILE, by, found);
            return (found.faults.len() == before).then_some(head);
        }
    }
    None
}

/// Where the chain begins now: at its beginning, or after the last checkpoint.
fn start(
    reader: &Reader,
    chain: &str,
    keys: &Keys,
    walk: &mut Walk,
    found: &mut Verified,
) -> rusqlite::Result<()> {
    let sql = "SELECT link, hash, signature FROM checkpoint ORDER BY link DESC LIMIT 1";
    let row = reader.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?)));
    let Some((link, hash, signature)) = row.optional()? else {
        // Nothing was taken away, so a beginning that is written down is there.
        return Ok(());
    };
    let text = prune::checkpoint(chain, link, &hash);
    let signature: Result<[u8; 64], _> = signature.try_into();
    let by =
        |key: &PublicKey| signature.as_ref().is_ok_and(|signature| key.verifies(text.as_bytes(), signature));
    keys.signed(&format!("the checkpoint at record {link}"), by, found);
    (walk.link, walk.hash) = (link, hash);
    walk.compare(found);
    Ok(())
}

/// Reads the chain, up to the first row that does not fit.
fn rows(reader: &Reader, walk: &mut Walk, found: &mut Verified) -> rusqlite::Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM event e WHERE e.link IS NOT NULL ORDER BY e.link");
    let mut statement = reader.db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Record { id, entry, link: Some(link) } = record(row)? else { continue };
        if found.records == 0 {
            found.first = link.number;
        }
        if link.number != walk.link + 1 {
            found.faults.push(format!(
                "record {} is missing: after {} comes {}",
                walk.link + 1,
                walk.link,
                link.number
            ));
            return Ok(());
        }
        let hash = chain::link(&walk.hash, link.number, &entry);
        if hash != link.hash {
            let (time, kind) = (note::stamp(entry.time_ns), entry.kind.escape_debug());
            found.faults.push(format!(
                "record {} does not fit (row {id}, {time}, {kind}): it was changed, or one before it was taken out",
                link.number
            ));
            return Ok(());
        }
        (walk.link, walk.hash) = (link.number, hash);
        found.records += 1;
        let says = |what: &str| entry.body.contains(&format!("\"action\":\"{what}\""));
        let other = says("begun") && !entry.body.contains("\"before\":null");
        if entry.kind == note::KIND && (["missing", "set_aside", "new_key"].into_iter().any(says) || other) {
            found.doubts.push(format!(
                "record {}: {}",
                link.number,
                entry.words.trim_start_matches("journal").trim()
            ));
        }
        let before = found.faults.len();
        walk.compare(found);
        if found.faults.len() > before {
            return Ok(());
        }
    }
    Ok(())
}

/// Rows that should be in the chain, and are not.
fn outside(reader: &Reader, found: &mut Verified) -> rusqlite::Result<()> {
    let [unchained] = UNCHAINED;
    let sql = "SELECT id, kind FROM event WHERE link IS NULL AND kind <> ?1 ORDER BY id LIMIT 1";
    let row =
        reader.db.query_row(sql, [unchained], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
    if let Some((id, kind)) = row.optional()? {
        found.faults.push(format!(
            "row {id} ({}) is not in the chain: it was added by somebody else",
            kind.escape_debug()
        ));
    }
    Ok(())
}
