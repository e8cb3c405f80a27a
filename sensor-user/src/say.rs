//! What commands say besides writing their answer: lines on standard output and standard error.
//!
//! Whoever hung up, as `head` does, has read enough: that is no reason to break down, as the macros of the standard
//! library do, and the exit code tells the rest.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on standard output.
pub fn out(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on standard error.
pub fn err(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How far something is, on a terminal: in the place of what was said so before. Nothing takes it away.
pub fn progress(text: impl Display) {
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}
