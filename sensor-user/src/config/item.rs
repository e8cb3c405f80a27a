//! One value of the file and its readers. Each reader gives the value or everything that is wrong with it.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use sensor_core::addr::{Mac, Prefix};
use sensor_core::policy::Target;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Source};
use crate::duration;

/// A value, or what is wrong with it.
pub type Read<T> = Result<T, Vec<Problem>>;

/// A value in the file.
pub struct Item<'a> {
    /// The file.
    pub source: &'a Source<'a>,
    /// The key with its sections.
    pub path: String,
    /// What one would write, for hints.
    pub example: &'a str,
    /// The value and where it stands.
    pub value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    /// The line the value begins in.
    pub fn line(&self) -> usize {
        self.source.line(self.value.span().start)
    }

    /// A problem of this value.
    pub fn wrong<T>(&self, what: impl Into<String>, hint: impl Into<String>) -> Read<T> {
        Err(vec![self.problem(what, hint)])
    }

    /// The same, to be told beside others.
    pub fn problem(&self, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        let (what, hint) = (what.into(), hint.into());
        Problem { line: self.line(), key: self.path.clone(), what, hint }
    }

    /// The same value with another example for hints.
    pub fn like(&self, example: &'a str) -> Item<'a> {
        Item { source: self.source, path: self.path.clone(), example, value: self.value }
    }

    fn written(&self) -> String {
        format!("write it like: {}", self.example)
    }

    fn mistyped<T>(&self, wanted: &str) -> Read<T> {
        let found = match self.value.get_ref() {
            DeValue::String(text) => format!("the text {}", quoted(text)),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => format!("{value}"),
            DeValue::Datetime(date) => format!("the date {date}"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a section".to_owned(),
        };
        self.wrong(format!("must be {wanted}, and is {found}"), self.written())
    }

    /// A text.
    pub fn text(&self) -> Read<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => self.mistyped("a text in quotes"),
        }
    }

    /// Yes or no.
    pub fn flag(&self) -> Read<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => self.mistyped("true or false"),
        }
    }

    /// A whole number.
    pub fn count(&self, range: RangeInclusive<u64>) -> Read<u64> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            return self.mistyped("a whole number");
        };
        match u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| range.contains(n)) {
            Some(value) => Ok(value),
            None => self.out_of_range(number, range),
        }
    }

    /// A number.
    pub fn number(&self, range: RangeInclusive<f64>) -> Read<f64> {
        let text = match self.value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return self.mistyped("a number"),
        };
        match text.parse().ok().filter(|n| range.contains(n)) {
            Some(value) => Ok(value),
            None => self.out_of_range(text, range),
        }
    }

    fn out_of_range<T, N: fmt::Display>(
        &self,
        found: impl fmt::Display,
        range: RangeInclusive<N>,
    ) -> Read<T> {
        self.wrong(format!("{found} is out of range"), format!("give {} to {}", range.start(), range.end()))
    }

    /// A length of time, in ns.
    pub fn duration(&self, range: RangeInclusive<u64>) -> Read<u64> {
        let DeValue::String(text) = self.value.get_ref() else {
            return self.mistyped("a length of time in quotes");
        };
        let ns = duration::parse(text).or_else(|error| self.wrong(error.to_string(), self.written()))?;
        if range.contains(&ns) {
            return Ok(ns);
        }
        let (least, most) = (duration::show(*range.start()), duration::show(*range.end()));
        self.wrong(format!("{text} is out of range"), format!("give {least} to {most}"))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Read<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let names = names.join(" or ");
        let DeValue::String(text) = self.value.get_ref() else {
            return self.mistyped(&names);
        };
        match choices.iter().find(|(name, _)| *name == &**text) {
            Some((_, value)) => Ok(*value),
            None => self.wrong(format!("must be {names}, and is {}", quoted(text)), self.written()),
        }
    }

    /// A MAC address of one device.
    pub fn mac(&self) -> Read<Mac> {
        let text = self.text()?;
        match text.parse::<Mac>() {
            Ok(mac) if mac.is_nobody() => self
                .wrong(format!("{mac} is a broadcast, multicast or empty address"), "give one device's own"),
            Ok(mac) => Ok(mac),
            Err(_) => self.wrong(
                format!("{} is not a MAC address", quoted(text)),
                "write six pairs of 0-9 and a-f, like \"00:1b:21:0a:0b:0c\"",
            ),
        }
    }

    /// A network. One of IPv6 that has all of IPv4 in it, as addresses mapped into IPv6, is a problem: nobody means that.
    pub fn prefix(&self) -> Read<Prefix> {
        let text = self.text()?;
        let hint = "write an address and how many of its bits count, like \"10.0.0.0/8\" or \"fd00::/8\"";
        let Ok(prefix) = text.parse::<Prefix>() else {
            return self.wrong(format!("{} is not a network", quoted(text)), hint);
        };
        match Target::net(prefix) {
            Ok(_) => Ok(prefix),
            Err(_) => self.wrong(format!("{prefix} is so wide that all of IPv4 lies in it"), hint),
        }
    }

    /// A list, each of its values read by `read`. A value given twice is a problem.
    pub fn list<T: PartialEq>(&self, read: impl Fn(&Item<'a>) -> Read<T>) -> Read<Vec<T>> {
        let DeValue::Array(values) = self.value.get_ref() else {
            return self.mistyped("a list in [ ]");
        };
        let (mut good, mut problems) = (Vec::new(), Vec::new());
        for (index, value) in values.iter().enumerate() {
            let path = format!("{}[{index}]", self.path);
            let item = Item { source: self.source, path, example: self.example, value };
            let checked = read(&item).and_then(|value| match good.contains(&value) {
                false => Ok(value),
                true => item.wrong("is in the list already", "take one of them out"),
            });
            match checked {
                Ok(value) => good.push(value),
                Err(more) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(good) } else { Err(problems) }
    }

    /// A section whose keys are the user's own.
    pub fn section(&self) -> Read<&'a DeTable<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => self.mistyped("a section of its own"),
        }
    }

    /// The value of a known key in this section.
    pub fn key(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let path = format!("{}.{}", self.path, crate::label::plain(name));
        Item { source: self.source, path, example: self.example, value }
    }

    /// The value of a key of the user's own in this section.
    pub fn entry(&self, name: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let path = format!("{}.{}", self.path, quoted(name));
        Item { source: self.source, path, example: self.example, value }
    }
}

/// Whether an address can be one device's own; if not, why.
pub fn one_host(ip: IpAddr) -> Result<IpAddr, String> {
    if sensor_core::addr::is_host(ip) {
        Ok(ip)
    } else {
        Err(format!("{ip} is a broadcast, multicast, loopback or empty address"))
    }
}

/// The text in quotes, shortened, without what a terminal would obey.
pub fn quoted(text: &str) -> String {
    let short: String = text.chars().take(48).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", crate::label::plain(&short))
}
