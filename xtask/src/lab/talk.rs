//! Who can talk to whom: pings of all pairs, in both families, and the exchanges that the hosts make by themselves.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::net::{HOSTS, Host, Lab};
use crate::ui::{self, Style, paint};

/// How a pair can talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Every IPv4 ping was answered.
    pub v4: bool,
    /// Every IPv6 ping was answered.
    pub v6: bool,
    /// No ping at all was answered.
    pub none: bool,
}

impl Reach {
    /// What the table says.
    fn word(self) -> &'static str {
        match self {
            Self { v4: true, v6: true, .. } => "yes",
            Self { none: true, .. } => "no",
            Self { v4: true, .. } => "IPv4 only",
            Self { v6: true, .. } => "IPv6 only",
            _ => "in part",
        }
    }
}

/// The result of all pairs: `matrix[from][to]`, nothing for a host and itself.
pub type Matrix = Vec<Vec<Option<Reach>>>;

/// Pings of one pair that are under way.
pub struct Pings {
    from: usize,
    to: usize,
    v4: Child,
    v6: Child,
}

/// Starts three pings of every pair in both families, all at the same time.
pub fn start_pings(lab: &Lab) -> Result<Vec<Pings>> {
    let mut pings = Vec::new();
    for (from, source) in HOSTS.iter().enumerate() {
        for (to, target) in HOSTS.iter().enumerate() {
            if from != to {
                let v4 = ping(lab, source, target.v4)?;
                let v6 = ping(lab, source, target.v6)?;
                pings.push(Pings { from, to, v4, v6 });
            }
        }
    }
    Ok(pings)
}

fn ping(lab: &Lab, source: &Host, address: &str) -> Result<Child> {
    lab.inside(source.name, "ping")
        .args(["-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", address])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start ping")
}

impl Pings {
    /// Whether both have ended.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.v4.try_wait()?.is_some() && self.v6.try_wait()?.is_some())
    }
}

/// The matrix of pings that have ended.
pub fn matrix(pings: Vec<Pings>) -> Result<Matrix> {
    let mut matrix = vec![vec![None; HOSTS.len()]; HOSTS.len()];
    for Pings { from, to, v4, v6 } in pings {
        let (v4, v6) = (answered(v4)?, answered(v6)?);
        let reach = Reach { v4: v4 == 3, v6: v6 == 3, none: v4 + v6 == 0 };
        if let Some(cell) = matrix.get_mut(from).and_then(|row| row.get_mut(to)) {
            *cell = Some(reach);
        }
    }
    Ok(matrix)
}

fn answered(ping: Child) -> Result<u32> {
    let output = ping.wait_with_output().context("cannot read ping")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    answers(&text).with_context(|| format!("ping said {text:?}"))
}

/// Reads `3 packets transmitted, 2 received, 33% packet loss, time 402ms`.
fn answers(text: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.contains("packets transmitted"))?;
    line.split(", ").find_map(|part| part.strip_suffix(" received"))?.parse().ok()
}

/// The matrix as a table.
pub fn print(matrix: &Matrix) {
    let mut header = format!("   {:<16}", "from \\ to");
    for host in &HOSTS {
        header += &format!("{:<16}", host.name);
    }
    ui::line(&paint(Style::Dim, header.trim_end()));
    for (host, row) in HOSTS.iter().zip(matrix) {
        let mut line = format!("   {:<16}", host.name);
        for cell in row {
            let (text, style) = match cell {
                None => (".", Style::Dim),
                Some(reach) if reach.none => (reach.word(), Style::Bad),
                Some(reach) if reach.v4 && reach.v6 => (reach.word(), Style::Good),
                Some(reach) => (reach.word(), Style::Warn),
            };
            // Padded before it is coloured: the colour's letters take no room.
            line += &paint(style, &format!("{text:<16}"));
        }
        ui::line(line.trim_end());
    }
}

/// Pairs that are not as expected: everybody reaches everybody, but nobody `cut_off` and the other way round.
pub fn unexpected(matrix: &Matrix, cut_off: Option<usize>) -> Vec<String> {
    let mut problems = Vec::new();
    for (from, row) in matrix.iter().enumerate() {
        for (to, cell) in row.iter().enumerate() {
            let Some(reach) = cell else { continue };
            let cut = cut_off.is_some_and(|cut| from == cut || to == cut);
            let (wanted, fine) = if cut { ("no", reach.none) } else { ("yes", reach.v4 && reach.v6) };
            if let (false, Some(from), Some(to)) = (fine, HOSTS.get(from), HOSTS.get(to)) {
                let seen = reach.word();
                problems.push(format!("{} pings {}: expected {wanted}, seen: {seen}", from.name, to.name));
            }
        }
    }
    problems
}

/// How many exchanges of a host's log, from a line on, went well and how many failed.
#[derive(Clone, Copy, Default)]
pub struct Exchanges {
    pub answered: usize,
    pub failed: usize,
}

/// Counts a host's exchanges, leaving out the first `skip` lines.
pub fn exchanges(log: &Path, skip: usize) -> Exchanges {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut count = Exchanges::default();
    for line in text.lines().skip(skip) {
        match line.split(' ').nth(1) {
            Some("ok") => count.answered += 1,
            Some(_) => count.failed += 1,
            None => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_from_ping() {
        let cases = [
            ("3 packets transmitted, 3 received, 0% packet loss, time 402ms", Some(3)),
            ("3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 402ms", Some(0)),
            ("PING 10.77.0.11 (10.77.0.11) 56(84) bytes of data.", None),
        ];
        for (text, expected) in cases {
            assert_eq!(answers(text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_host_that_is_cut_off_may_be_silent() {
        let yes = Some(Reach { v4: true, v6: true, none: false });
        let no = Some(Reach { v4: false, v6: false, none: true });
        let matrix = vec![vec![None, yes, no], vec![yes, None, no], vec![no, no, None]];
        assert_eq!(unexpected(&matrix, Some(2)), Vec::<String>::new());
        assert_eq!(unexpected(&matrix, None).len(), 4);
        assert_eq!(unexpected(&matrix, Some(1)).len(), 4);
    }
}
