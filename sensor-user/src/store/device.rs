//! A device and its card as rows of the database, and back.

use std::net::IpAddr;

use rusqlite::{Connection, Row, params};
use sensor_core::addr::Mac;
use sensor_core::identify::Kind as Sort;
use sensor_core::identify::kept::KeptIdentity;
use sensor_core::inventory::DeviceKey;
use sensor_core::inventory::cards::Card;
use sensor_core::inventory::kept::{Kept, KeptAddress, Roles};
use sensor_core::policy::class::Criticality;
use sensor_core::time::Time;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock::Now;

/// What brings a database of layout 3 to layout 4.
pub const TO_4: &str = "
    CREATE TABLE device (
        key           TEXT PRIMARY KEY, -- MAC address; behind a gateway IP address
        id            INTEGER NOT NULL, -- devices that are one have the same
        mac           TEXT NOT NULL,    -- its own, or its gateway's
        addresses     TEXT NOT NULL,    -- JSON: [{\"ip\", \"claimed\", \"owned\", \"alone\", \"confirmed\"}]
        boot_id       TEXT NOT NULL,    -- of the machine's boot the *_mono_ns belong to
        first_mono_ns INTEGER NOT NULL,
        before_ns     INTEGER NOT NULL, -- first seen so long before that
        last_mono_ns  INTEGER NOT NULL,
        clean_mono_ns INTEGER NOT NULL, -- what is held against it from before then is forgotten
        first_unix_ns INTEGER NOT NULL,
        last_unix_ns  INTEGER NOT NULL,
        port          TEXT,
        vlan          INTEGER NOT NULL,
        roles         TEXT NOT NULL     -- JSON list of what it was found to be
    ) STRICT;
    CREATE TABLE card (
        id            INTEGER PRIMARY KEY,
        keys          TEXT NOT NULL,    -- JSON list of MAC addresses; behind a gateway IP addresses
        name          TEXT,
        place         TEXT,
        owner         TEXT,
        note          TEXT,
        class         TEXT,
        criticality   TEXT,
        approved      INTEGER NOT NULL
    ) STRICT;
    PRAGMA user_version = 4;";

/// What brings a database of layout 4 to layout 5.
pub const TO_5: &str = "
    ALTER TABLE device ADD COLUMN facts TEXT NOT NULL DEFAULT '{}'; -- JSON: what was seen of it, by which it is identified
    ALTER TABLE device ADD COLUMN kind TEXT;                        -- the kind it was told as
    ALTER TABLE device ADD COLUMN times_told INTEGER NOT NULL DEFAULT 0; -- how often it was another one
    PRAGMA user_version = 5;";

/// What brings a database of layout 5 to layout 6.
pub const TO_6: &str = "
    ALTER TABLE card ADD COLUMN parts TEXT NOT NULL DEFAULT '[]'; -- JSON list of cards: what each of several keys was by itself
    ALTER TABLE card ADD COLUMN distinct_from TEXT NOT NULL DEFAULT '[]'; -- JSON list of keys of other devices that it is not
    PRAGMA user_version = 6;";

/// What brings a database of layout 6 to layout 7: times may be before the clock began.
pub const TO_7: &str = "
    UPDATE device SET first_mono_ns = first_mono_ns - before_ns;
    UPDATE device SET clean_mono_ns = -9223372036854775808 WHERE clean_mono_ns = 0; -- never
    ALTER TABLE device DROP COLUMN before_ns;
    ALTER TABLE device DROP COLUMN first_unix_ns;
    PRAGMA user_version = 7;";

const PUT_DEVICE: &str = "
    INSERT OR REPLACE INTO device (key, id, mac, addresses, boot_id, first_mono_ns, last_mono_ns, clean_mono_ns,
        last_unix_ns, port, vlan, roles, facts, kind, times_told)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
const DEVICES: &str = "
    SELECT key, id, mac, addresses, boot_id, first_mono_ns, last_mono_ns, clean_mono_ns, last_unix_ns, port, vlan, roles, facts, kind, times_told
    FROM device ORDER BY key";
const PUT_CARD: &str = "
    INSERT OR REPLACE INTO card (id, keys, name, place, owner, note, class, criticality, approved, parts, distinct_from)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const CARDS: &str = "SELECT id, keys, name, place, owner, note, class, criticality, approved, parts, distinct_from FROM card ORDER BY id";

/// A row that may not be understood: what it is about, and why not.
pub type Read<T> = Result<T, (String, String)>;

fn number<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A device as text: its MAC address, or its IP address behind a gateway.
fn key_text(key: DeviceKey) -> String {
    match key {
        DeviceKey::Local(mac) => mac.to_string(),
        DeviceKey::Routed(ip) => ip.to_string(),
    }
}

fn key(text: &str) -> Result<DeviceKey, String> {
    let ip = text.parse::<IpAddr>().map(DeviceKey::Routed);
    ip.or_else(|_| text.parse::<Mac>().map(DeviceKey::Local)).map_err(|error| format!("key: {error}"))
}

/// Writes a device, at `now` in this boot.
pub fn put(db: &Connection, kept: &Kept, boot_id: &str, now: Now) -> rusqlite::Result<()> {
    let clock = now.clock();
    let addresses: Vec<Value> = kept
        .addresses
        .iter()
        .map(|KeptAddress { ip, claimed, owned, alone, confirmed }| {
            json!({ "ip": ip, "claimed": claimed, "owned": owned, "alone": alone, "confirmed": confirmed })
        })
        .collect();
    let Roles { gateway, forwards, answered, serves_dhcp, forwarded } = kept.roles;
    let roles = ROLES.iter().zip([gateway, forwards, answered, serves_dhcp, forwarded]);
    let roles: Vec<&str> = roles.filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    let KeptIdentity { facts, told, times } = &kept.identity;
    db.prepare_cached(PUT_DEVICE)?.execute(params![
        key_text(kept.key),
        number(kept.id),
        kept.mac.to_string(),
        Value::from(addresses).to_string(),
        boot_id,
        kept.first_seen.signed(),
        kept.last_seen.signed(),
        kept.clean_since.signed(),
        clock.stamp(kept.last_seen).0,
        kept.port.map(|port| port.to_string()),
        kept.vlan,
        json!(roles).to_string(),
        json!(facts).to_string(),
        told.map(Sort::name),
        times,
    ])?;
    Ok(())
}

/// The words for [`Roles`], in its order.
const ROLES: [&str; 5] = ["gateway", "forwards", "answered", "serves_dhcp", "forwarded"];

/// Deletes a device.
pub fn forget(db: &Connection, key: DeviceKey) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM device WHERE key = ?1")?.execute([key_text(key)])?;
    Ok(())
}

/// All devices, in times of this boot.
pub fn all(db: &Connection, boot_id: &str, now: Now) -> rusqlite::Result<Vec<Read<Kept>>> {
    let mut statement = db.prepare(DEVICES)?;
    let rows = statement.query_map([], |row| {
        let key: String = row.get(0)?;
        Ok(device(row, boot_id, now).map_err(|what| (format!("device {key}"), what)))
    })?;
    rows.collect()
}

fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
    row.get(name).map_err(|error| format!("{name}: {error}"))
}

fn json_of<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> Result<T, String> {
    serde_json::from_str(&column::<String>(row, name)?).map_err(|error| format!("{name}: {error}"))
}

fn device(row: &Row<'_>, boot_id: &str, now: Now) -> Result<Kept, String> {
    let roles: Vec<String> = json_of(row, "roles")?;
    let is = |name: &str| roles.iter().any(|role| role == name);
    let port: Option<String> = column(row, "port")?;
    let Times { first_seen, last_seen, clean_since } = times(row, boot_id, now)?;
    let mac: String = column(row, "mac")?;
    Ok(Kept {
        key: key(&column::<String>(row, "key")?)?,
        id: column::<i64>(row, "id")?.max(0).unsigned_abs(),
        mac: mac.parse().map_err(|error| format!("mac: {error}"))?,
        addresses: json_of::<Vec<Value>>(row, "addresses")?.iter().map(address).collect::<Result<_, _>>()?,
        first_seen,
        last_seen,
        clean_since,
        port: port.map(|port| port.parse()).transpose().map_err(|error| format!("port: {error}"))?,
        vlan: column(row, "vlan")?,
        roles: Roles {
            gateway: is("gateway"),
            forwards: is("forwards"),
            answered: is("answered"),
            serves_dhcp: is("serves_dhcp"),
            forwarded: is("forwarded"),
        },
        identity: KeptIdentity {
            facts: json_of(row, "facts")?,
            // One that this release does not know is told anew.
            told: column::<Option<String>>(row, "kind")?.and_then(|name| Sort::of_name(&name)),
            times: column(row, "times_told")?,
        },
    })
}

fn address(value: &Value) -> Result<KeptAddress, String> {
    let is = |name: &str| value[name].as_bool().unwrap_or(false);
    let ip = value["ip"].as_str().unwrap_or_default();
    let ip = ip.parse().map_err(|error| format!("addresses: {ip}: {error}"))?;
    Ok(KeptAddress {
        ip,
        claimed: is("claimed"),
        owned: is("owned"),
        alone: is("alone"),
        confirmed: is("confirmed"),
    })
}

/// The times of a device, as in [`Kept`].
struct Times {
    first_seen: Time,
    last_seen: Time,
    clean_since: Time,
}

fn times(row: &Row<'_>, boot_id: &str, now: Now) -> Result<Times, String> {
    let mono = |name| column(row, name).map(Time::of);
    let last_seen = mono("last_mono_ns")?;
    let ahead = if column::<String>(row, "boot_id")? == boot_id && !boot_id.is_empty() {
        0
    } else {
        let then: i64 = column(row, "last_unix_ns")?;
        // With a clock that is not set no time has gone.
        let gone = now.unix_ns.saturating_sub(then).max(0).unsigned_abs();
        now.mono.minus(gone).signed().saturating_sub(last_seen.signed())
    };
    Ok(Times {
        first_seen: mono("first_mono_ns")?.by_clock_ahead(ahead),
        last_seen: last_seen.by_clock_ahead(ahead),
        // With a clock that is not set it could be to come, and all that is found until then would be forgotten.
        clean_since: mono("clean_mono_ns")?.by_clock_ahead(ahead).min(now.mono),
    })
}

/// Writes a card.
pub fn put_card(db: &Connection, card: &Card) -> rusqlite::Result<()> {
    let parts: Vec<Value> = card.parts.iter().map(part_value).collect();
    db.prepare_cached(PUT_CARD)?.execute(params![
        number(card.id),
        json!(keys_text(&card.keys)).to_string(),
        card.name,
        card.place,
        card.owner,
        card.note,
        card.class.map(|class| class.to_string()),
        card.criticality.map(Criticality::name),
        card.approved,
        Value::from(parts).to_string(),
        json!(keys_text(&card.distinct)).to_string(),
    ])?;
    Ok(())
}

fn keys_text(keys: &[DeviceKey]) -> Vec<String> {
    keys.iter().map(|key| key_text(*key)).collect()
}

fn part_value(card: &Card) -> Value {
    json!({
        "id": card.id,
        "keys": keys_text(&card.keys),
        "name": card.name,
        "place": card.place,
        "owner": card.owner,
        "note": card.note,
        "class": card.class,
        "criticality": card.criticality,
        "approved": card.approved,
        "distinct_from": keys_text(&card.distinct),
    })
}

/// A part of a card, which has none itself.
#[derive(Deserialize)]
struct PartRow {
    id: u64,
    keys: Vec<String>,
    name: Option<String>,
    place: Option<String>,
    owner: Option<String>,
    note: Option<String>,
    class: Option<String>,
    criticality: Option<String>,
    approved: bool,
    distinct_from: Vec<String>,
}

/// Deletes a card.
pub fn forget_card(db: &Connection, id: u64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM card WHERE id = ?1")?.execute([number(id)])?;
    Ok(())
}

/// All cards.
pub fn cards(db: &Connection) -> rusqlite::Result<Vec<Read<Card>>> {
    let mut statement = db.prepare(CARDS)?;
    let rows = statement.query_map([], |row| {
        let id: i64 = row.get(0)?;
        Ok(card(row).map_err(|what| (format!("what is said of device {id}"), what)))
    })?;
    rows.collect()
}

fn card(row: &Row<'_>) -> Result<Card, String> {
    let parts: Vec<PartRow> = json_of(row, "parts")?;
    let whole = PartRow {
        id: column::<i64>(row, "id")?.max(0).unsigned_abs(),
        keys: json_of(row, "keys")?,
        name: column(row, "name")?,
        place: column(row, "place")?,
        owner: column(row, "owner")?,
        note: column(row, "note")?,
        class: column(row, "class")?,
        criticality: column(row, "criticality")?,
        approved: column(row, "approved")?,
        distinct_from: json_of(row, "distinct_from")?,
    };
    let parts = parts.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
    Ok(Card { parts, ..part(whole)? })
}

fn part(row: PartRow) -> Result<Card, String> {
    let PartRow { id, keys, name, place, owner, note, class, criticality, approved, distinct_from } = row;
    let read = |texts: &[String]| texts.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>();
    Ok(Card {
        id,
        keys: read(&keys)?,
        name,
        place,
        owner,
        note,
        class: class.map(|class| class.parse()).transpose().map_err(|error| format!("class: {error}"))?,
        criticality: criticality.map(|text| text.parse()).transpose()?,
        approved,
        parts: Vec::new(),
        distinct: read(&distinct_from)?,
    })
}
