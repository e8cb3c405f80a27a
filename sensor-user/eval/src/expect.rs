//! What is known of the captures: the folder with them, its list, and the table of expectations.
//!
//! `expect.tsv` has a line for each capture: the file, who must be blamed (MAC or IP addresses, `-` for nobody), who
//! must never be cut off (`*` for nobody at all), and how much the line counts (`must`, `should`, `weak`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of captures in which nobody does harm.
pub const BENIGN: [&str; 5] = ["benign", "benign-periodic", "device", "device-iot-sentinel", "ics-medical"];
/// Names a capture ends with.
const ENDINGS: [&str; 2] = [".pcap", ".pcapng"];
/// What stands for everybody in the column of those who must never be cut off.
const EVERYBODY: &str = "*";

/// Why what is known of the captures cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    /// A file is missing or cannot be read.
    #[error(
        "cannot read {path}: {source}; name the folder of captures with --data and its table with --expect"
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line does not say what it must.
    #[error("{path}, line {line}: {what}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// The line, the title being 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// How much an expectation counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Grade {
    /// It has to be met.
    Must,
    /// Four in five have to be met.
    Should,
    /// Headers show little of it: met is a bonus.
    Weak,
}

impl Grade {
    /// Every grade.
    pub const ALL: [Grade; 3] = [Grade::Must, Grade::Should, Grade::Weak];

    /// As it is written in the table.
    pub fn name(self) -> &'static str {
        match self {
            Grade::Must => "must",
            Grade::Should => "should",
            Grade::Weak => "weak",
        }
    }
}

/// Who must never be cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Never {
    /// Nobody may be.
    Anybody,
    /// None of these.
    These(Vec<String>),
}

impl Never {
    /// The first of those cut off who must not be.
    pub fn hit<'a>(&self, cut: &'a BTreeSet<String>) -> Option<&'a str> {
        let hit = match self {
            Never::Anybody => cut.first(),
            Never::These(these) => cut.iter().find(|who| these.contains(who)),
        };
        hit.map(String::as_str)
    }
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The capture, below the folder.
    pub file: String,
    /// One of these addresses must be blamed; none: nobody has to be.
    pub blame: Vec<String>,
    /// Who must never be cut off.
    pub never: Never,
    /// How much it counts.
    pub grade: Grade,
}

/// Whether a capture lies in a folder in which nobody does harm.
pub fn is_benign(file: &str) -> bool {
    file.split_once('/').is_some_and(|(folder, _)| BENIGN.contains(&folder))
}

fn read(path: &Path) -> Result<String, ExpectError> {
    fs::read_to_string(path).map_err(|source| ExpectError::Read { path: path.to_owned(), source })
}

/// Reads the table of expectations.
pub fn table(path: &Path) -> Result<Vec<Expected>, ExpectError> {
    let text = read(path)?;
    let lines = text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            expected(line).map_err(|what| ExpectError::Line { path: path.to_owned(), line: at + 1, what })
        })
        .collect()
}

fn expected(line: &str) -> Result<Expected, String> {
    let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
    let [file, blame, never, grade] = cells[..] else {
        return Err(format!("has {} columns; it needs file, blame, never and grade", cells.len()));
    };
    let list =
        |cell: &str| cell.split(',').map(str::trim).filter(|who| *who != "-").map(str::to_owned).collect();
    let grade = Grade::ALL.into_iter().find(|known| known.name() == grade);
    Ok(Expected {
        file: file.to_owned(),
        blame: list(blame),
        never: if never == EVERYBODY { Never::Anybody } else { Never::These(list(never)) },
        grade: grade.ok_or_else(|| format!("`{}` is not must, should or weak", cells[3]))?,
    })
}

/// The captures that `manifest.tsv` lists, below the folder, in its order.
pub fn captures(data: &Path) -> Result<Vec<String>, ExpectError> {
    let text = read(&data.join("manifest.tsv"))?;
    let files = text.lines().skip(1).filter_map(|line| line.split('\t').next());
    Ok(files.filter(|file| ENDINGS.iter().any(|end| file.ends_with(end))).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_expected() {
        let these = |who: &[&str]| Never::These(who.iter().map(|who| (*who).to_owned()).collect());
        let good = |file: &str, blame: &[&str], never, grade| {
            let blame = blame.iter().map(|who| (*who).to_owned()).collect();
            Ok(Expected { file: file.to_owned(), blame, never, grade })
        };
        for (line, want) in [
            (
                "a/b.pcap\t10.0.0.1,10.0.0.2\t-\tmust",
                good("a/b.pcap", &["10.0.0.1", "10.0.0.2"], these(&[]), Grade::Must),
            ),
            ("a.pcap\t-\t*\tshould", good("a.pcap", &[], Never::Anybody, Grade::Should)),
            ("a.pcap\t-\t10.0.0.3\tweak", good("a.pcap", &[], these(&["10.0.0.3"]), Grade::Weak)),
            ("a.pcap\t-", Err("has 2 columns; it needs file, blame, never and grade".to_owned())),
            ("a.pcap\t-\t-\tperhaps", Err("`perhaps` is not must, should or weak".to_owned())),
        ] {
            assert_eq!(expected(line), want, "{line}");
        }
    }

    #[test]
    fn folders_tell_who_is_benign() {
        for (file, want) in [
            ("benign/a.pcap", true),
            ("device-iot-sentinel/x.pcap", true),
            ("malware/a.pcap", false),
            ("benign.pcap", false),
        ] {
            assert_eq!(is_benign(file), want, "{file}");
        }
    }
}
