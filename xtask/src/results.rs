//! What test programs print, and the notes that tests leave (`bpf_tests::note`), line by line.

use std::ops::AddAssign;

/// Tests that ran, by how they ended.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Count {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Count {
    /// Takes a test that was skipped, and which its runner counts as passed, for what it is.
    pub fn skip_one(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }
}

/// How a test ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// A line that says something about a test.
#[derive(PartialEq, Debug)]
pub enum Line {
    /// A test's name, and how its runner says it ended.
    Test(String, Outcome),
    /// The sum of a test program.
    Summary(Count),
    /// A test's name, and why it skipped itself.
    Skip(String, String),
    /// A figure that a test told.
    Figure(String),
}

impl Line {
    /// Reads a line; most are of no such kind.
    pub fn read(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("test result: ") {
            return summary(rest).map(Self::Summary);
        }
        if let Some(text) = line.strip_prefix("FIGURE ") {
            return Some(Self::Figure(text.to_owned()));
        }
        if let Some(rest) = line.strip_prefix("SKIPPED ") {
            let (name, reason) = rest.split_once(": ")?;
            return Some(Self::Skip(name.to_owned(), reason.to_owned()));
        }
        let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let outcome = match outcome {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            _ => Outcome::Skipped(outcome.strip_prefix("ignored")?.trim_start_matches(", ").to_owned()),
        };
        Some(Self::Test(name.to_owned(), outcome))
    }
}

/// Reads `ok. 5 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn summary(text: &str) -> Option<Count> {
    let mut count = Count::default();
    for part in text.split(';') {
        let mut words = part.split_whitespace().rev();
        let (what, number) = (words.next()?, words.next()?);
        match (what, number.parse()) {
            ("passed", Ok(number)) => count.passed = number,
            ("failed", Ok(number)) => count.failed = number,
            ("ignored", Ok(number)) => count.skipped = number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_print_is_read() {
        let count = |passed, failed, skipped| Some(Line::Summary(Count { passed, failed, skipped }));
        let test = |name: &str, outcome| Some(Line::Test(name.to_owned(), outcome));
        let cases = [
            (
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                count(5, 0, 1),
            ),
            (
                "test result: \u{1b}[31mFAILED\u{1b}[0m. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out",
                count(2, 3, 0),
            ),
            ("running 5 tests", None),
            ("test block::a ... ok", test("block::a", Outcome::Passed)),
            ("test b ... FAILED", test("b", Outcome::Failed)),
            ("test c ... ignored, too slow", test("c", Outcome::Skipped("too slow".to_owned()))),
            ("test d ... bench", None),
            (
                "SKIPPED block::a: needs Linux 6.12: why",
                Some(Line::Skip("block::a".to_owned(), "needs Linux 6.12: why".to_owned())),
            ),
            ("FIGURE stack 80", Some(Line::Figure("stack 80".to_owned()))),
        ];
        for (line, expected) in cases {
            assert_eq!(Line::read(line), expected, "{line}");
        }
    }
}
