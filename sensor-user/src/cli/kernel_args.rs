//! What may be written after the commands that deal with the kernel's side.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{AskArgs, OutputArgs};
use crate::bpf::DEFAULT_PIN_DIR;

/// `sekisho load`.
#[derive(Args, Debug)]
pub struct LoadArgs {
    /// The bridge
    #[arg(long, value_name = "NAME")]
    pub bridge: String,
    /// The group that the daemon without privileges belongs to
    #[arg(long, value_name = "NAME", default_value = "sekisho")]
    pub group: String,
    /// Where to pin the kernel's side
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
}

/// `sekisho upgrade`.
#[derive(Args, Debug)]
pub struct UpgradeArgs {
    /// The bridge
    #[arg(long, value_name = "NAME")]
    pub bridge: String,
    /// Send numbered packets through while it is done, and go back if one is lost or one of an isolated device passes
    #[arg(long)]
    pub prove: bool,
    /// Another object than the one of this release, with the same maps
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
    /// Where the kernel's side is pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pub pin_dir: PathBuf,
    /// How to show the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What to do with the bypass.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BypassState {
    /// Every verdict is "pass"
    On,
    /// The rules hold
    Off,
    /// Only show which
    Status,
}

/// `sekisho bypass`.
#[derive(Args, Debug)]
pub struct BypassArgs {
    /// What to do
    #[arg(value_enum, value_name = "on|off|status")]
    pub state: BypassState,
    /// The bridge; without this all that are pinned there
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// Where the kernel's side is pinned; without this where the daemon says, or /sys/fs/bpf/sekisho if none answers
    #[arg(long, value_name = "DIR")]
    pub pin_dir: Option<PathBuf>,
    /// The daemon to tell, if one runs.
    #[command(flatten)]
    pub ask: AskArgs,
}
