//! An entry of the block list as a row of the database, and back.

use sensor_core::addr::AddrError;
use sensor_core::policy::{Allow, Block, BlockId, List, Origin, Target};
use sensor_core::time::Time;
use serde_json::Value;

use crate::clock::Now;

/// A row.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub id: BlockId,
    pub targets: String,
    pub level: String,
    pub direction: String,
    pub list: Option<String>,
    pub follows: bool,
    pub origin: String,
    pub reason: String,
    pub would: bool,
    pub span: Span,
}

/// From when until when something holds, by both clocks.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    pub boot_id: String,
    pub since_mono_ns: i64,
    pub until_mono_ns: Option<i64>,
    pub since_unix_ns: i64,
    pub until_unix_ns: Option<i64>,
}

impl Span {
    /// As it is at `now` in this boot.
    pub fn new(since: Time, until: Option<Time>, boot_id: &str, now: Now) -> Self {
        let clock = now.clock();
        Self {
            boot_id: boot_id.to_owned(),
            since_mono_ns: since.signed(),
            until_mono_ns: until.map(Time::signed),
            since_unix_ns: clock.stamp(since).0,
            until_unix_ns: until.map(|until| clock.stamp(until).0),
        }
    }

    /// In times of this boot.
    pub fn times(&self, boot_id: &str, now: Now) -> (Time, Option<Time>) {
        if self.boot_id == boot_id && !boot_id.is_empty() {
            (Time::of(self.since_mono_ns), self.until_mono_ns.map(Time::of))
        } else {
            self.times_after_reboot(now)
        }
    }

    /// By the wall clock. If that was set back meanwhile, it lasts no longer than it was meant to in all.
    fn times_after_reboot(&self, now: Now) -> (Time, Option<Time>) {
        let age = now.unix_ns.saturating_sub(self.since_unix_ns).max(0);
        let since = now.mono.minus(age.unsigned_abs());
        let until = self.until_unix_ns.map(|until| {
            let left = until.saturating_sub(now.unix_ns).min(until.saturating_sub(self.since_unix_ns));
            now.mono.plus(left.max(0).unsigned_abs())
        });
        (since, until)
    }
}

impl Row {
    /// The entry as a row, written at `now` in this boot.
    pub fn new(block: &Block, boot_id: &str, now: Now) -> Self {
        let list = match &block.list {
            List::None => None,
            List::Named(name) => Some(serde_json::json!({ "named": name })),
            List::Learned { number, allowed } => {
                Some(serde_json::json!({ "learned": number, "allow": texts(allowed) }))
            }
        };
        let origin = match &block.origin {
            Origin::Manual(account) => serde_json::json!({ "manual": account }),
            Origin::Incident(number) => serde_json::json!({ "incident": number }),
        };
        Self {
            id: block.id,
            targets: texts(&block.targets).to_string(),
            level: block.level.name().to_owned(),
            direction: block.direction.name().to_owned(),
            list: list.map(|list| list.to_string()),
            follows: block.follows,
            origin: origin.to_string(),
            reason: block.reason.clone(),
            would: block.would,
            span: Span::new(block.since, block.until, boot_id, now),
        }
    }

    /// The entry, in times of this boot. Fails with what cannot be understood.
    pub fn read(&self, boot_id: &str, now: Now) -> Result<Block, String> {
        let (since, until) = self.span.times(boot_id, now);
        Ok(Block {
            id: self.id,
            targets: self.targets()?,
            level: self.level.parse()?,
            direction: self.direction.parse()?,
            list: self.list()?,
            follows: self.follows,
            origin: self.origin()?,
            reason: self.reason.clone(),
            since,
            until,
            would: self.would,
        })
    }

    fn targets(&self) -> Result<Vec<Target>, String> {
        let texts: Vec<String> =
            serde_json::from_str(&self.targets).map_err(|error| format!("targets: {error}"))?;
        texts.iter().map(|text| text.parse::<Target>().map_err(|error| error.to_string())).collect()
    }

    fn list(&self) -> Result<List, String> {
        let Some(text) = &self.list else { return Ok(List::None) };
        let value: Value = serde_json::from_str(text).map_err(|error| format!("list: {error}"))?;
        if let Some(name) = value.get("named").and_then(Value::as_str) {
            return name.parse().map(List::Named).map_err(|error: AddrError| format!("list: {error}"));
        }
        let number =
            value.get("learned").and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok());
        let entries = value.get("allow").and_then(Value::as_array);
        let (Some(number), Some(entries)) = (number, entries) else {
            return Err(format!("list {value} is not known"));
        };
        let read = |entry: &Value| entry.as_str().unwrap_or_default().parse::<Allow>();
        let allowed = entries.iter().map(read).collect::<Result<_, _>>();
        Ok(List::Learned { number, allowed: allowed.map_err(|what| format!("list: {what}"))? })
    }

    fn origin(&self) -> Result<Origin, String> {
        let value: Value = serde_json::from_str(&self.origin).map_err(|error| format!("origin: {error}"))?;
        let account = value.get("manual").and_then(Value::as_str).map(|name| Origin::Manual(name.to_owned()));
        let incident = value.get("incident").and_then(Value::as_u64).map(Origin::Incident);
        account.or(incident).ok_or_else(|| format!("origin {value} is not known"))
    }
}

fn texts<T: ToString>(items: &[T]) -> Value {
    items.iter().map(|item| Value::from(item.to_string())).collect()
}
