//! One thing that is wrong with a configuration, and how it is told.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The key with its sections, empty if the line could not be understood at all.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\n    hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in one line.
pub fn told(problems: &[Problem]) -> String {
    let told: Vec<_> = problems.iter().map(|p| format!("{}: {} ({})", p.key, p.what, p.hint)).collect();
    told.join("; ")
}

/// All problems of a file, for a person.
pub fn report(file: &Path, problems: &[Problem]) -> String {
    let count = crate::label::count(problems.len() as u64, "problem", "problems");
    let mut text = format!("{count} in the configuration {}", file.display());
    for problem in problems {
        text.push_str(&format!("\n  {}", problem.to_string().replace('\n', "\n  ")));
    }
    text
}

/// The text of a configuration, to tell lines by.
pub struct Source<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Takes note of where the lines begin.
    pub fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// What stands in a line, shortened.
    pub fn snippet(&self, line: usize) -> String {
        let text = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        let short: String = text.chars().take(60).collect();
        let short = crate::label::plain(&short);
        if text.chars().count() > 60 { format!("{short}…") } else { short }
    }
}
