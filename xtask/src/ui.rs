//! What goes to the terminal: short lines, colours on a terminal only.
//!
//! A closed pipe (`cargo xtask run | head`) must not end a run before it has cleaned up, so a line that cannot be
//! written is dropped instead of panicking as `println!` does.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

/// Colours and weights used by the commands.
#[derive(Clone, Copy)]
pub enum Style {
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
}

/// Whether standard output is a terminal that wants colours (see no-color.org).
pub fn colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
}

/// The text in a style, or as it is when colours are off.
pub fn paint(style: Style, text: &str) -> String {
    if !colours() {
        return text.to_owned();
    }
    let code = match style {
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Good => "32",
        Style::Bad => "1;31",
        Style::Warn => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// One line to standard output.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody reads any more: go on to the clean-up.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A heading, with an empty line before it.
pub fn heading(text: &str) {
    line("");
    line(&paint(Style::Bold, text));
}

/// Something that is being done, for the reader who wonders what takes so long.
pub fn note(text: &str) {
    line(&paint(Style::Dim, text));
}

/// The error and its causes, to standard error.
pub fn error(error: &anyhow::Error) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: {error}");
    for cause in error.chain().skip(1) {
        let _ = writeln!(err, "  because: {cause}");
    }
}
