//! `sekisho doctor`: whether Sekisho will work here, before it is started. It changes nothing.
//!
//! It is a check as Nagios and its kin run them: one line that says it all comes first, and the exit code is 0 (all is
//! well), 1 (it will work, but less well than it could) or 2 (it will not work).

mod port;
mod system;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::{bpf, label};

/// How a finding is to be taken. In order of gravity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but less well than it could.
    Warning,
    /// It does not work.
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fail => "fail",
        }
    }

    /// As Nagios has it.
    fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Fail => 2,
        })
    }
}

/// What one look found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How it is to be taken.
    pub level: Level,
    /// The port it is about, if it is about one.
    pub port: Option<String>,
    /// What was looked at.
    pub check: &'static str,
    /// What was found.
    pub found: String,
    /// What to do, if anything.
    pub hint: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, port: None, check, found: found.into(), hint: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, hint: Some(hint.into()), ..Self::ok(check, found) }
    }

    fn fail(check: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Fail, hint: Some(hint.into()), ..Self::ok(check, found) }
    }

    fn subject(&self) -> String {
        match &self.port {
            Some(port) => format!("{} {}", label::plain(port), self.check),
            None => self.check.to_owned(),
        }
    }
}

/// Looks at everything that matters to the daemon of `bridge`, or of any bridge, and tells it.
///
/// # Errors
///
/// If it cannot be told.
pub fn run(bridge: Option<&str>, pin_dir: &Path, json: bool) -> io::Result<ExitCode> {
    let mut findings = system::judge(&bpf::survey::system(pin_dir));
    match bpf::survey::bridges() {
        Ok(bridges) => findings.extend(port::judge(bridge, &bridges)),
        Err(error) => {
            let found = format!("asking the kernel for its interfaces: {error}");
            findings.push(Finding::fail("bridge", found, "find out why netlink is refused to this process"));
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let text = if json {
        format!("{}\n", json!({ "level": worst, "findings": findings }))
    } else {
        sentences(worst, &findings)
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(worst.exit_code())
}

/// The findings for people.
fn sentences(worst: Level, findings: &[Finding]) -> String {
    let all = label::count(findings.len() as u64, "check", "checks");
    let open: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
    let mut text = match &open[..] {
        [] => format!("OK: {all}, nothing to do\n"),
        [first, ..] => {
            let level = worst.name().to_uppercase();
            let worst = open.iter().find(|finding| finding.level == worst).unwrap_or(first);
            format!(
                "{level}: {} of {all} want attention, first {}: {}\n",
                open.len(),
                worst.subject(),
                worst.found
            )
        }
    };
    let width = findings.iter().map(|finding| finding.subject().len()).max().unwrap_or(0);
    for finding in findings {
        let level = finding.level.name();
        text.push_str(&format!("{level:<8} {:<width$}  {}\n", finding.subject(), finding.found));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("{:<8} {:<width$}  -> {hint}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_each_finding_has_its_line() {
        let findings = [
            Finding::ok("kernel", "Linux 6.12"),
            Finding::warning("jit", "off", "switch it on"),
            Finding { port: Some("eth1".to_owned()), ..Finding::fail("program", "another one", "remove it") },
        ];
        let expected = "\
FAIL: 2 of 3 checks want attention, first eth1 program: another one
ok       kernel        Linux 6.12
warning  jit           off
                       -> switch it on
fail     eth1 program  another one
                       -> remove it
";
        assert_eq!(sentences(Level::Fail, &findings), expected);
        assert_eq!(sentences(Level::Ok, &findings[..1]).lines().next(), Some("OK: 1 check, nothing to do"));
    }
}
