//! Which notices go to which channels: the rules.

use std::collections::BTreeSet;

use sensor_notify::notice::Kind;
use sensor_notify::settings::{MAX_RULES, Rule};

use super::item::{Item, Read, quoted};
use super::notify::Fields;
use super::places::name;

/// The days of the week, as rules name them.
const DAYS: [(&str, usize); 7] =
    [("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];
/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// The rules.
pub fn rules(item: &Item) -> Read<Vec<Rule>> {
    let rules = item.list(rule)?;
    if rules.len() > MAX_RULES {
        return item.wrong(format!("there are more than {MAX_RULES} rules"), "put some together");
    }
    Ok(rules)
}

fn rule(item: &Item) -> Read<Rule> {
    let mut rule = Rule::default();
    let mut fields = Fields::new(item)?;
    let severities = [("high", 1), ("medium", 2), ("low", 3)];
    let severity = fields.get("severity", r#"severity = "medium""#, |item| item.choice(&severities));
    rule.severity = severity.unwrap_or(rule.severity);
    let kinds = Kind::RULED.map(|kind| (kind.name(), kind));
    let about = fields.get("about", r#"about = ["isolation"]"#, |item| item.list(|item| item.choice(&kinds)));
    rule.kinds = about.unwrap_or_default().into_iter().collect();
    let segments = fields.get("segments", r#"segments = ["radiology"]"#, |item| {
        item.list(|item| name(item, item.text()?).map(|name| name.to_string()))
    });
    rule.segments = segments.unwrap_or_default().into_iter().collect();
    let days = fields.get("days", r#"days = ["mon", "tue"]"#, |item| item.list(|item| item.choice(&DAYS)));
    if let Some(days) = days.filter(|days| !days.is_empty()) {
        rule.days = std::array::from_fn(|day| days.contains(&day));
    }
    rule.hours = fields.get("hours", r#"hours = "08:00-18:00""#, hours);
    let channels = fields.need("channels", r#"channels = ["it"]"#, |item| {
        let list = item.list(|item| item.text().map(str::to_owned))?;
        if list.is_empty() {
            item.wrong("is empty", "name a channel, or take the rule out")
        } else {
            Ok(list)
        }
    });
    rule.channels = channels.unwrap_or_default().into_iter().collect();
    fields.finish(Some(rule))
}

/// Names that rules give and that there are not: which rule, what is wrong, what there is.
/// Segments are none if they could not be read.
pub fn unknown(
    rules: &[Rule],
    channels: &BTreeSet<String>,
    segments: Option<&BTreeSet<String>>,
) -> Vec<(String, String, String)> {
    let list =
        |names: Vec<&str>| if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
    let mut unknown = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let key = format!("notify.rules[{index}]");
        for channel in rule.channels.difference(channels) {
            let known = list(channels.iter().map(String::as_str).collect());
            let what = format!("there is no channel {}", quoted(channel));
            unknown.push((key.clone(), what, format!("channels: {known}")));
        }
        let Some(segments) = segments else { continue };
        for segment in rule.segments.difference(segments) {
            let known = list(segments.iter().map(String::as_str).collect());
            unknown.push((
                key.clone(),
                format!("there is no segment {segment}"),
                format!("segments: {known}"),
            ));
        }
    }
    unknown
}

/// `08:00-18:00`, as minutes; `24:00` is the end of the day.
fn hours(item: &Item) -> Read<(u16, u16)> {
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let minutes = hour.checked_mul(60)?.checked_add(minute)?;
        (minute < 60 && minutes <= DAY_MINUTES).then_some(minutes)
    };
    let text = item.text()?;
    let read = text.split_once('-').and_then(|(from, until)| Some((time(from.trim())?, time(until.trim())?)));
    match read {
        Some((from, until)) if from != until && from < DAY_MINUTES => Ok((from, until)),
        _ => item.wrong(
            format!("{} is no time of day", quoted(text)),
            "write it like \"08:00-18:00\", or over midnight \"18:00-08:00\"; leave it out for all day",
        ),
    }
}
