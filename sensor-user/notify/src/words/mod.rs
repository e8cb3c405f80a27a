//! Notices as people read them, in English and Japanese: a line that says it, and rows that tell which device, where, what,
//! how sure, what was done, until when, and how to undo it.

mod en;
mod html;
mod ja;
mod ja_terms;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sensor_core::policy::decide;

use crate::error::Trouble;
use crate::notice::{Device, Entry, Impact, Lost, Notice, Step, What};
use crate::place::Place;
use crate::settings::Language;

pub use html::page;

/// The phrases of a language. What is a function puts what it is given in its place.
pub struct Phrases {
    /// Names of the rows.
    labels: Labels,
    /// `high`, `medium`, `low`.
    severity: fn(u8) -> &'static str,
    /// Where a device is.
    place: fn(&Place) -> String,
    /// What a detector saw.
    signature: fn(&str, &str) -> String,
    /// The name of a number.
    number: fn(&str) -> String,
    /// A value of the evidence that is a text.
    value: fn(&str) -> String,
    /// What a detector looks for.
    detector: fn(&str) -> &str,
    /// How sure it is: nats, and how grave.
    sure: fn(f64, &str) -> String,
    /// Why an entry was made.
    why: fn(&str) -> String,
    /// What was done about an alert, by the name of the action.
    action: fn(&str) -> &'static str,
    /// What an entry does with its device: level, direction, whether it only would.
    held: fn(&Entry) -> String,
    /// What became of an entry, of whom.
    entry: fn(&str, &Entry) -> String,
    /// What is lost: how much, and one service of it.
    impact: fn(&Impact) -> String,
    lost_service: fn(&Lost) -> String,
    /// Until somebody takes it out.
    for_good: &'static str,
    /// A restriction waits, or that is over: whom, step, level, who said.
    approval: fn(&str, &str, &str, &str) -> String,
    /// What happens when nobody says anything: until when, whether it is done.
    otherwise: fn(&str, bool) -> String,
    judgement: fn(&str, u64, Option<bool>, &str) -> String,
    device: fn(&str, bool) -> String,
    blind: fn(bool, &[String], u64, u64) -> String,
    bypass: fn(bool, &str) -> String,
    channel: fn(&str, Option<&str>, Option<Trouble>) -> String,
    test: fn(&str) -> String,
    /// A device nobody knows any more.
    somebody: &'static str,
    /// So many others.
    more: fn(usize) -> String,
    /// So many notices were lost.
    lost: fn(u64) -> String,
    /// What a mail ends with.
    farewell: &'static str,
    /// Commands: to let it talk again, that it was a false alarm, to see all, to approve, to deny, to have the lamp dark.
    undo: [&'static str; 6],
}

impl Phrases {
    /// How grave something is, 1 (high) to 3 (low).
    pub fn severity(&self, severity: u8) -> &'static str {
        (self.severity)(severity)
    }

    /// What a detector saw.
    pub fn signature(&self, detector: &str, signature: &str) -> String {
        (self.signature)(detector, signature)
    }

    /// What a detector looks for, whatever exactly it saw.
    pub fn detector<'a>(&self, detector: &'a str) -> &'a str {
        (self.detector)(detector)
    }

    /// Why an entry of the block list was made.
    pub fn why(&self, reason: &str) -> String {
        (self.why)(reason)
    }

    /// The name of a number of the evidence.
    pub fn number(&self, name: &str) -> String {
        (self.number)(name)
    }

    /// A value of the evidence that is a text.
    pub fn value(&self, value: &str) -> String {
        (self.value)(value)
    }

    /// What was done about an alert, by the name of the action.
    pub fn action(&self, name: &str) -> &'static str {
        (self.action)(name)
    }
}

/// Names of the rows.
struct Labels {
    device: &'static str,
    addresses: &'static str,
    maker: &'static str,
    class: &'static str,
    place: &'static str,
    what: &'static str,
    sure: &'static str,
    done: &'static str,
    until: &'static str,
    lost: &'static str,
    reason: &'static str,
    undo: &'static str,
    time: &'static str,
    incident: &'static str,
}

/// English.
pub static ENGLISH: &Phrases = &en::PHRASES;
/// Japanese.
pub static JAPANESE: &Phrases = &ja::PHRASES;
static BOTH: [&Phrases; 2] = [&ja::PHRASES, &en::PHRASES];

impl Language {
    /// Its phrases, the first language first.
    pub fn phrases(self) -> &'static [&'static Phrases] {
        match self {
            Self::English => &BOTH[1..],
            Self::Japanese => &BOTH[..1],
            Self::Both => &BOTH,
        }
    }
}

/// A row: its name, and what there is to say.
pub type Row = (&'static str, String);

/// What is told of one incident, or one thing without an incident.
pub struct Section {
    /// What it comes down to.
    pub headline: String,
    /// 1 (high) to 3 (low).
    pub severity: u8,
    /// All else.
    pub rows: Vec<Row>,
}

/// Notices of one incident together, in the order in which each began.
pub fn groups(notices: &[Notice]) -> Vec<Vec<&Notice>> {
    let mut groups: Vec<Vec<&Notice>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for notice in notices {
        let at = notice.incident.and_then(|id| places.get(&id).copied());
        match at.and_then(|at: usize| groups.get_mut(at)) {
            Some(group) => group.push(notice),
            None => {
                if let Some(id) = notice.incident {
                    places.insert(id, groups.len());
                }
                groups.push(vec![notice]);
            }
        }
    }
    // Stable: those that are equally grave stay in their order.
    groups.sort_by_key(|group| group.iter().map(|notice| notice.severity).min());
    groups
}

/// How telling a notice is, of those of one incident.
fn rank(notice: &Notice) -> u8 {
    match &notice.what {
        What::Approval { step, .. } if step == "asked" => 4,
        What::Isolation(_) => 3,
        What::Approval { .. } => 2,
        _ => 1,
    }
}

/// What a notice comes down to, in one line.
pub fn headline(phrases: &Phrases, notice: &Notice) -> String {
    let device = notice.device.as_ref().map(Device::title);
    let who = match (&device, &notice.what) {
        (Some(title), _) => title.clone(),
        (None, What::Isolation(entry)) if !entry.targets.is_empty() => entry.targets.join(", "),
        _ => phrases.somebody.to_owned(),
    };
    match &notice.what {
        What::Alert { detector, signature, .. } => {
            format!("{who}: {}", (phrases.signature)(detector, signature))
        }
        What::Isolation(entry) => (phrases.entry)(&who, entry),
        What::Approval { step, level, by, .. } => {
            (phrases.approval)(&who, step, level, by.as_deref().unwrap_or("-"))
        }
        What::Judgement { right, by } => {
            (phrases.judgement)(&who, notice.incident.unwrap_or_default(), *right, by)
        }
        What::Device { gateway } => (phrases.device)(&who, *gateway),
        What::Blind { over, causes, frames_lost, records_lost } => {
            (phrases.blind)(*over, causes, *frames_lost, *records_lost)
        }
        What::Bypass { on, by } => (phrases.bypass)(*on, by),
        What::Channel { name, error, trouble } => (phrases.channel)(name, error.as_deref(), *trouble),
        What::Test { by } => (phrases.test)(by),
    }
}

/// All that is told of a group, in one language. Dates are of `zone`.
pub fn section(phrases: &Phrases, group: &[&Notice], zone: &TimeZone) -> Section {
    let severity = group.iter().map(|notice| notice.severity).min().unwrap_or(crate::notice::LOW);
    // Of equals the last: it is how things are now.
    let first = group.iter().max_by_key(|notice| rank(notice));
    let headline = first.map(|notice| headline(phrases, notice)).unwrap_or_default();
    let mut rows = whereabouts(phrases, group);
    rows.extend(findings(phrases, group, severity));
    rows.extend(consequences(phrases, group, zone));
    let undo = commands(phrases, group);
    if !undo.is_empty() {
        rows.push((phrases.labels.undo, undo.join("\n")));
    }
    if let Some(notice) = group.first() {
        rows.push((phrases.labels.time, date(notice.unix_ns, zone)));
    }
    if let Some(id) = group.first().and_then(|notice| notice.incident) {
        rows.push((phrases.labels.incident, id.to_string()));
    }
    Section { headline, severity, rows }
}

/// Which device, and where.
fn whereabouts(phrases: &Phrases, group: &[&Notice]) -> Vec<Row> {
    let labels = &phrases.labels;
    let mut rows = Vec::new();
    if let Some(device) = group.iter().find_map(|notice| notice.device.as_ref()) {
        rows.push((labels.device, device.title()));
        let more = (device.more_ips > 0).then(|| (phrases.more)(device.more_ips));
        let addresses = std::iter::once(device.mac.clone()).chain(device.ips.iter().cloned()).chain(more);
        rows.push((labels.addresses, addresses.collect::<Vec<_>>().join(", ")));
        rows.extend(device.maker.clone().map(|maker| (labels.maker, maker)));
        rows.extend(device.class.clone().map(|class| (labels.class, class)));
    }
    let place = group.iter().rev().find_map(|notice| notice.place.as_ref());
    let place = place.map(phrases.place).filter(|place| !place.is_empty());
    rows.extend(place.map(|place| (labels.place, place)));
    rows
}

/// What was found, and how sure that is.
fn findings(phrases: &Phrases, group: &[&Notice], severity: u8) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut most = None;
    for notice in group {
        let What::Alert { detector, signature, evidence, nats, .. } = &notice.what else { continue };
        let numbers = evidence
            .iter()
            .map(|(name, value)| format!("{} {}", (phrases.number)(name), (phrases.value)(value)));
        let numbers = numbers.collect::<Vec<_>>().join(", ");
        let said = (phrases.signature)(detector, signature);
        let row = (phrases.labels.what, if numbers.is_empty() { said } else { format!("{said}: {numbers}") });
        if !rows.contains(&row) {
            rows.push(row);
        }
        most = Some(most.map_or(*nats, |before: f64| before.max(*nats)));
    }
    if let Some(nats) = most {
        rows.push((phrases.labels.sure, (phrases.sure)(nats, (phrases.severity)(severity))));
    }
    rows
}

/// What was done, and until when.
fn consequences(phrases: &Phrases, group: &[&Notice], zone: &TimeZone) -> Vec<Row> {
    let labels = &phrases.labels;
    let mut rows = Vec::new();
    let entry = group.iter().rev().find_map(|notice| match &notice.what {
        What::Isolation(entry) => Some(entry),
        _ => None,
    });
    let action = group.iter().rev().find_map(|notice| match &notice.what {
        What::Alert { action, .. } => Some((phrases.action)(action)),
        _ => None,
    });
    if let Some(entry) = entry {
        rows.push((labels.done, (phrases.held)(entry)));
        if !matches!(entry.change, Step::Released | Step::Expired) {
            let until = entry.until_ns.map_or(phrases.for_good.to_owned(), |until| date(until, zone));
            rows.push((labels.until, until));
        }
        if !entry.reason.is_empty() {
            rows.push((labels.reason, (phrases.why)(&entry.reason)));
        }
    } else if let Some(action) = action {
        rows.push((labels.done, action.to_owned()));
    }
    if entry.is_none_or(|entry| !matches!(entry.change, Step::Released | Step::Expired)) {
        let impact = group.iter().rev().find_map(|notice| match &notice.what {
            What::Alert { impact, .. } => impact.as_ref(),
            _ => None,
        });
        rows.extend(impact.map(|impact| (labels.lost, lost(phrases, impact))));
    }
    let asked = group.iter().rev().find_map(|notice| match &notice.what {
        What::Approval { step, until_ns, acts, .. } if step == "asked" => Some((*until_ns, *acts)),
        _ => None,
    });
    if let Some((until, acts)) = asked {
        rows.push((labels.until, (phrases.otherwise)(&date(until, zone), acts)));
    }
    rows
}

/// How much is lost, and the first services, a line each.
fn lost(phrases: &Phrases, impact: &Impact) -> String {
    let more = impact.services.saturating_sub(impact.lost.len() as u64);
    let more = (more > 0).then(|| (phrases.more)(usize::try_from(more).unwrap_or(usize::MAX)));
    let services = impact.lost.iter().map(phrases.lost_service);
    let lines = std::iter::once((phrases.impact)(impact)).chain(services).chain(more);
    lines.collect::<Vec<_>>().join("\n")
}

/// The commands that undo it, or go on with it.
fn commands(phrases: &Phrases, group: &[&Notice]) -> Vec<String> {
    let [release, false_alarm, see, approve, deny, dark] = phrases.undo;
    let mut commands = Vec::new();
    let mut add = |words: &str, command: String| commands.push(format!("{words}: {command}"));
    let last = group.iter().max_by_key(|notice| rank(notice));
    let Some(last) = last else { return commands };
    let incident = last.incident;
    match (&last.what, incident) {
        (What::Approval { step, .. }, Some(id)) if step == "asked" => {
            add(approve, format!("sekisho incidents approve {id}"));
            add(deny, format!("sekisho incidents deny {id}"));
        }
        (What::Isolation(entry), _)
            if !entry.would && !matches!(entry.change, Step::Released | Step::Expired) =>
        {
            add(release, format!("sekisho block remove --id {}", entry.id));
        }
        (What::Blind { over: false, .. }, _) => add(see, "sekisho status".to_owned()),
        (What::Bypass { on: true, .. }, _) => add(release, "sekisho bypass off".to_owned()),
        (What::Device { .. }, _) => add(see, "sekisho devices".to_owned()),
        (What::Channel { name, error: Some(_), .. }, _) => add(see, format!("sekisho notify test {name}")),
        _ => {}
    }
    if let Some(id) = incident {
        add(see, format!("sekisho incidents {id}"));
        if group.iter().any(|notice| matches!(notice.what, What::Alert { .. })) {
            add(false_alarm, format!("sekisho incidents judge {id} false"));
        }
        add(dark, format!("sekisho notify ack {id}"));
    }
    commands
}

/// A letter: subject, and each language's sections.
pub struct Letter {
    /// The subject.
    pub subject: String,
    /// By language: its phrases and its sections.
    pub parts: Vec<(&'static Phrases, Vec<Section>)>,
    /// Sections that were left out.
    pub omitted: usize,
    /// Notices that were lost.
    pub lost: u64,
}

/// Most sections of a letter that are told in full.
const MAX_SECTIONS: usize = 20;

/// Puts notices into a letter.
pub fn letter(language: Language, notices: &[Notice], lost: u64, zone: &TimeZone) -> Letter {
    let groups = groups(notices);
    let shown = &groups[..groups.len().min(MAX_SECTIONS)];
    let parts: Vec<_> = language
        .phrases()
        .iter()
        .map(|phrases| {
            (*phrases, shown.iter().map(|group| section(phrases, group, zone)).collect::<Vec<_>>())
        })
        .collect();
    let subjects = parts.iter().map(|(phrases, sections)| {
        let first = sections.first().map_or(String::new(), |section| section.headline.clone());
        match groups.len() {
            0 | 1 => first,
            count => format!("{first} {}", (phrases.more)(count - 1)),
        }
    });
    let subject = format!("[Sekisho] {}", subjects.collect::<Vec<_>>().join(" / "));
    Letter { subject, parts, omitted: groups.len() - shown.len(), lost }
}

impl Letter {
    /// It as plain text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (index, (phrases, sections)) in self.parts.iter().enumerate() {
            if index > 0 {
                text.push_str("\n========================================\n\n");
            }
            for section in sections {
                text.push_str(&section_text(phrases, section));
                text.push('\n');
            }
            for note in self.notes(phrases) {
                text.push_str(&format!("{note}\n\n"));
            }
            text.push_str(&format!("-- \n{}\n", phrases.farewell));
        }
        text
    }

    /// What is to be said of what is not in it.
    pub(crate) fn notes(&self, phrases: &Phrases) -> Vec<String> {
        let omitted = (self.omitted > 0).then(|| (phrases.more)(self.omitted));
        let lost = (self.lost > 0).then(|| (phrases.lost)(self.lost));
        omitted.into_iter().chain(lost).collect()
    }
}

fn section_text(phrases: &Phrases, section: &Section) -> String {
    let mut text = format!("[{}] {}\n", (phrases.severity)(section.severity), section.headline);
    for (label, value) in &section.rows {
        let value = value.replace('\n', "\n    ");
        text.push_str(&format!("  {label}: {value}\n"));
    }
    text
}

/// A date and time of day, as people of that zone write it.
pub fn date(unix_ns: i64, zone: &TimeZone) -> String {
    let time = Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How much evidence there is, in words. The steps are those at which something is done by itself: a person needs no finer
/// ones, and the weights, most of which are assumed, give none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Grade {
    Hint,
    Likely,
    VeryLikely,
    NextToCertain,
}

impl Grade {
    fn of(nats: f64) -> Self {
        match nats {
            nats if nats >= decide::ISOLATE => Self::NextToCertain,
            nats if nats >= decide::PIN => Self::VeryLikely,
            nats if nats >= decide::THROTTLE => Self::Likely,
            _ => Self::Hint,
        }
    }
}

#[cfg(test)]
mod tests;
