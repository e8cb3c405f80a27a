//! `sekisho incidents pack`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::args::{Output, OutputArgs};
use super::events::StateArgs;
use super::{CliError, run};
use crate::clock::Stamp;
use crate::control::user_name;
use crate::pack::{self, Maker, Places};

/// `sekisho incidents pack`.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// Its number
    #[arg(value_name = "NUMBER")]
    pub id: u64,
    /// Where to write the pack; without this a name in this directory. A file that is there is not written over
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Where the daemon keeps its models; without this in the directory models of its state directory
    #[arg(long, value_name = "DIR")]
    pub model_dir: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub state: StateArgs,
    /// How to show what was done.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Makes the pack; gives what is shown.
pub fn pack(args: &PackArgs) -> Result<String, CliError> {
    let state_dir = args.state.state_dir.clone();
    let models = args.model_dir.clone().unwrap_or_else(|| state_dir.join("models"));
    let maker = Maker { by: user_name(nix::unistd::getuid().as_raw()), host: host(), made: Stamp::now() };
    let bytes = pack::make(&Places { state_dir, models }, args.id, &maker, &run::here().zone)?;
    let file = args.file.clone().unwrap_or_else(|| pack::file_name(args.id, maker.made).into());
    write(&file, &bytes).map_err(|source| CliError::File {
        doing: "write the pack",
        path: file.clone(),
        source,
    })?;
    let shown = file.display();
    Ok(match args.output.output {
        Output::Json => run::json(&json!({ "file": shown.to_string(), "bytes": bytes.len() })),
        Output::Human => format!(
            "Incident {} is packed in {shown}: report.html is for people, the rest for whoever asks how that is known.\n\
             `sekisho audit verify-pack {shown}` verifies it, anywhere with the key that `sekisho audit key` shows.\n",
            args.id
        ),
    })
}

/// Writes a file that is not there yet, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a pack is none.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// The name of this machine.
pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned())
}
