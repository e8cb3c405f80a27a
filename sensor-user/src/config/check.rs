//! From the text of the file to checked settings, or to everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::classes;
use super::item::{Item, quoted};
use super::keys::{KEYS, Key};
use super::notify_rules;
use super::places;
use super::problem::{Problem, Source};

/// Reads and checks the whole text.
pub fn check(text: &str) -> Result<Config, Vec<Problem>> {
    over(Config::default(), text)
}

/// How the problem of a line begins that is no TOML.
pub const UNREADABLE: &str = "cannot be read";

/// The same, where what the text does not say is as in another configuration.
pub fn over(config: Config, text: &str) -> Result<Config, Vec<Problem>> {
    let source = Source::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let (mut problems, understood) = syntax(&source, &errors);
    let (lines, channels) = (BTreeMap::new(), BTreeSet::new());
    let mut walk = Walk { source: &source, config, lines, channels, problems: Vec::new() };
    walk.table("", document.get_ref());
    walk.agree();
    // After a line that cannot be understood the parser's guess of what belongs where would give problems nobody has.
    problems.extend(walk.problems.into_iter().filter(|problem| problem.line < understood));
    problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
    if problems.is_empty() { Ok(walk.config) } else { Err(problems) }
}

/// What is wrong with the form of the text, and the first line that may be misunderstood because of it.
fn syntax(source: &Source, errors: &[toml::de::Error]) -> (Vec<Problem>, usize) {
    let mut understood = usize::MAX;
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let line = source.line(error.span().map_or(0, |span| span.start));
        let twice = error.message().starts_with("duplicate key");
        if !twice {
            understood = understood.min(line);
        }
        // One slip often gives several errors in its line; the first says it best.
        if problems.iter().any(|problem| problem.line == line) {
            continue;
        }
        let (what, hint) = if twice {
            ("is given twice".to_owned(), "take one of them out".to_owned())
        } else {
            let snippet = source.snippet(line);
            (format!("{UNREADABLE}: {} in `{snippet}`", error.message()), SYNTAX_HINT.to_owned())
        };
        let key = if twice { source.snippet(line) } else { String::new() };
        let key = key.split('=').next().unwrap_or_default().trim().to_owned();
        problems.push(Problem { line, key, what, hint });
    }
    (problems, understood)
}

const SYNTAX_HINT: &str = "a line is `key = value` or `[section]`; texts and lengths of time are in quotes, lists in [ ] with commas";

struct Walk<'a> {
    source: &'a Source<'a>,
    config: Config,
    /// Where the keys stood that were read without a problem.
    lines: BTreeMap<&'static str, usize>,
    /// The names of channels in the file, also of those with a mistake.
    channels: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    /// Reads what is in a section; `section` is its name with a dot at the end, or empty.
    fn table(&mut self, section: &str, table: &'a DeTable<'a>) {
        for (name, value) in table {
            let path = format!("{section}{}", name.get_ref());
            if let Some(key) = KEYS.iter().find(|key| key.path == path) {
                self.key(key, path, value);
            } else if is_section(&path) {
                self.section(path, value);
            } else {
                let line = self.source.line(name.span().start);
                let key = crate::label::plain(&path);
                self.problems.push(Problem {
                    line,
                    key,
                    what: "is not a known key".to_owned(),
                    hint: suggestion(section, name.get_ref()),
                });
            }
        }
    }

    fn key(&mut self, key: &'static Key, path: String, value: &'a Spanned<DeValue<'a>>) {
        let item = Item { source: self.source, path, example: key.example, value };
        if let ("notify.channels", DeValue::Table(table)) = (key.path, value.get_ref()) {
            self.channels.extend(table.keys().map(|name| name.get_ref().to_string()));
        }
        match key.set(&mut self.config, &item) {
            Ok(()) => drop(self.lines.insert(key.path, item.line())),
            Err(more) => self.problems.extend(more),
        }
    }

    fn section(&mut self, path: String, value: &'a Spanned<DeValue<'a>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(&format!("{path}."), table),
            _ => self.problems.push(Problem {
                line: self.source.line(value.span().start),
                what: "is a section, not a key".to_owned(),
                hint: format!("write [{path}] on a line of its own, and its keys below"),
                key: path,
            }),
        }
    }

    /// Checks that whoever a class calls by name has that name.
    fn agree_on_names(&mut self) {
        let unread = self.problems.iter().any(|problem| problem.key.starts_with("names"));
        let Some((key, line)) = self.lines.get_key_value("classes").filter(|_| !unread) else { return };
        for (class, name) in classes::unknown_names(&self.config.settings) {
            self.problems.push(Problem {
                line: *line,
                key: format!("{key}.{class}.members"),
                what: format!(
                    "{} is neither an address nor a network, and no device has that name",
                    quoted(&name)
                ),
                hint: "give the device this name under [names], or write its MAC or IP address".to_owned(),
            });
        }
    }

    /// Checks values that must fit each other.
    fn agree(&mut self) {
        self.agree_on_names();
        let settings = &self.config.settings;
        let (scan, ports) = (&settings.scan, &settings.port_scan);
        let rules = [
            (
                scan.scanner_success < scan.benign_success,
                ["detect.scan.scanner_success", "detect.scan.benign_success"],
                "scanner_success must be less than benign_success: a scanner fails more often",
            ),
            (
                scan.isolate_alpha <= scan.alert_alpha,
                ["detect.scan.isolate_alpha", "detect.scan.alert_alpha"],
                "isolate_alpha must not be more than alert_alpha: to isolate takes more certainty",
            ),
            (
                ports.isolate >= ports.alert,
                ["detect.port_scan.isolate", "detect.port_scan.alert"],
                "isolate must not be less than alert: to isolate takes more certainty",
            ),
        ];
        self.problems.extend(self.unknown_segments());
        self.problems.extend(self.unknown_in_rules());
        for (holds, keys, what) in rules {
            // A rule over a value that could not be read would compare with the default instead.
            let unread = keys.iter().any(|key| self.problems.iter().any(|p| p.key == *key));
            let Some((key, line)) = keys.iter().find_map(|key| self.lines.get_key_value(key)) else {
                continue;
            };
            if !holds && !unread {
                self.problems.push(Problem {
                    line: *line,
                    key: (*key).to_owned(),
                    what: what.to_owned(),
                    hint: format!("the defaults are `{}` and `{}`", example(keys[0]), example(keys[1])),
                });
            }
        }
    }
}

impl Walk<'_> {
    /// Segments that are named elsewhere, and that the file does not have. If they could not be read nothing is said of it.
    fn unknown_segments(&self) -> Vec<Problem> {
        let unread = self.problems.iter().any(|problem| problem.key.starts_with("segments"));
        if unread {
            return Vec::new();
        }
        let known: Vec<_> = self.config.settings.segments.keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        places::unknown_segments(&self.config.settings)
            .map(|(list, key, name)| Problem {
                line: self.lines.get(list).copied().unwrap_or(1),
                key,
                what: format!("there is no segment {name}"),
                hint: format!("segments: {known}"),
            })
            .collect()
    }
}

impl Walk<'_> {
    /// Channels and segments that rules of notices name, and that the file does not have. A channel with a mistake is there
    /// all the same; if the segments could not be read nothing is said of them.
    fn unknown_in_rules(&self) -> Vec<Problem> {
        let Some(line) = self.lines.get("notify.rules") else { return Vec::new() };
        let unread = self.problems.iter().any(|problem| problem.key.starts_with("segments"));
        let segments = self.config.settings.segments.keys().map(ToString::to_string).collect();
        let notify = &self.config.daemon.notify;
        let channels = notify.channels.keys().chain(&self.channels).cloned().collect();
        let unknown = notify_rules::unknown(&notify.rules, &channels, Some(&segments).filter(|_| !unread));
        unknown.into_iter().map(|(key, what, hint)| Problem { line: *line, key, what, hint }).collect()
    }
}

fn example(path: &str) -> &'static str {
    KEYS.iter().find(|key| key.path == path).map_or("", |key| key.example)
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// What somebody who wrote an unknown key may have meant.
fn suggestion(section: &str, name: &str) -> String {
    let here: Vec<&str> = known_in(section);
    let near =
        |candidate: &&&str| strsim::damerau_levenshtein(name, candidate) <= (candidate.len() / 3).max(1);
    if let Some(best) = here.iter().filter(near).min_by_key(|c| strsim::damerau_levenshtein(name, c)) {
        return format!("did you mean `{best}`?");
    }
    let elsewhere = KEYS.iter().map(|key| key.path.rsplit_once('.').unwrap_or(("", key.path)));
    let named_so: Vec<&str> =
        elsewhere.filter(|(_, leaf)| *leaf == name).map(|(section, _)| section).collect();
    match named_so.as_slice() {
        [] => format!("known here: {}", here.join(", ")),
        ["", ..] => format!("`{name}` belongs above the first [section]"),
        sections => format!("`{name}` belongs under [{}]", sections.join("] or [")),
    }
}

/// The names of the keys and sections of a section.
fn known_in(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| key.path.strip_prefix(section))
        .filter_map(|rest| rest.split('.').next())
        .collect();
    names.dedup();
    names
}
