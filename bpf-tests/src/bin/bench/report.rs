//! The figures: what is measured, what it is compared with, and whether the aim is met.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What a ratio is to be.
#[derive(Clone, Copy)]
pub enum Aim {
    /// Of the figure to its peer's.
    RatioAtMost(f64),
    /// Of the figure to its peer's.
    RatioAtLeast(f64),
    /// The figure itself.
    AtLeast(f64),
}

/// One figure.
pub struct Line {
    /// What was measured.
    pub name: String,
    /// The figure, in the unit of its table.
    pub value: f64,
    /// What it is compared with: name, figure, and the ratio of the two.
    pub peer: Option<Peer>,
    /// What is aimed at.
    pub aim: Option<Aim>,
}

/// What a figure is compared with.
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its figure.
    pub value: f64,
    /// Of the figure to this one. Taken in pairs, round by round, where there are rounds.
    pub ratio: f64,
}

impl Line {
    /// A figure alone.
    pub fn alone(name: impl Into<String>, value: f64, aim: Option<Aim>) -> Self {
        Self { name: name.into(), value, peer: None, aim }
    }

    /// The aim in words, and whether it is met.
    fn aimed(&self) -> Option<(String, bool)> {
        let ratio = self.peer.as_ref().map(|peer| peer.ratio);
        match (self.aim?, ratio) {
            (Aim::RatioAtMost(most), Some(ratio)) => Some((format!("at most {most}"), ratio <= most)),
            (Aim::RatioAtLeast(least), Some(ratio)) => Some((format!("at least {least}"), ratio >= least)),
            (Aim::AtLeast(least), _) => Some((format!("at least {least}"), self.value >= least)),
            _ => None,
        }
    }

    fn json(&self, unit: &str) -> Value {
        let aimed = self.aimed();
        json!({
            "name": self.name,
            "unit": unit,
            "value": rounded(self.value, 10.0),
            "peer": self.peer.as_ref().map(|peer| &peer.name),
            "peer_value": self.peer.as_ref().map(|peer| rounded(peer.value, 10.0)),
            "ratio": self.peer.as_ref().map(|peer| rounded(peer.ratio, 1000.0)),
            "aim": aimed.as_ref().map(|(words, _)| words),
            "met": aimed.as_ref().map(|(_, met)| met),
        })
    }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Figures of one unit.
pub struct Table {
    /// What they are about.
    pub title: &'static str,
    /// How they were measured, and what limits them: a line each.
    pub notes: Vec<String>,
    /// Their unit.
    pub unit: &'static str,
    /// The figures.
    pub lines: Vec<Line>,
}

impl Table {
    /// Prints it.
    pub fn print(&self) {
        println!("\n{}", self.title);
        for note in &self.notes {
            println!("  {note}");
        }
        println!(
            "  {:<42} {:>10}  {:<46} {:>10} {:>6}  aim",
            "subject", self.unit, "peer", self.unit, "ratio"
        );
        for line in &self.lines {
            let (peer, value, ratio) = match &line.peer {
                Some(peer) => (peer.name.as_str(), figure(peer.value), format!("{:.2}", peer.ratio)),
                None => ("-", "-".to_owned(), "-".to_owned()),
            };
            let aim = match line.aimed() {
                Some((words, true)) => format!("{words}: met"),
                Some((words, false)) => format!("{words}: MISSED"),
                None => String::new(),
            };
            let text = format!(
                "  {:<42} {:>10}  {peer:<46} {value:>10} {ratio:>6}  {aim}",
                line.name,
                figure(line.value)
            );
            println!("{}", text.trim_end());
        }
    }
}

/// A small figure with a tenth, a large one with its thousands apart.
fn figure(value: f64) -> String {
    if value.abs() < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The mean of the middle half: as steady as a median, and finer than the whole ns the kernel tells.
pub fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = &sorted[sorted.len() / 4..sorted.len() - sorted.len() / 4];
    half.iter().sum::<f64>() / half.len() as f64
}

/// Leaves the figures in the target folder.
pub fn write(tables: &[Table]) -> Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let path = target.join("bench.json");
    let lines: Vec<Value> =
        tables.iter().flat_map(|table| table.lines.iter().map(|line| line.json(table.unit))).collect();
    fs::write(&path, serde_json::to_string_pretty(&lines)? + "\n")
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path.canonicalize()?)
}
