//! What can go wrong with the kernel side, and what to do about it.

use std::io;
use std::path::PathBuf;

use sensor_ebpf::control::MAX_IFINDEX;
use sensor_ebpf::rule::RULE_CAPACITY;
use thiserror::Error;

use sensor_core::datapath::RuleKey;

/// An error of this module. Each says what was tried, with what, and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BpfError {
    /// The process may not load BPF programs.
    #[error(
        "loading BPF programs needs {missing}: run as root, or as a service with those capabilities, or have `sekisho \
         load` do it before"
    )]
    Privileges {
        /// The capabilities that are missing, as in capabilities(7).
        missing: String,
    },
    /// The kernel has no ring buffers.
    #[error(
        "the kernel cannot make a BPF ring buffer ({source}): this needs Linux 5.9 or newer (Debian 12 has 6.1), \
         this is {release}"
    )]
    NoRingBuffer {
        /// What the kernel answered.
        source: io::Error,
        /// `uname -r`.
        release: String,
    },
    /// The kernel cannot attach XDP programs by links, so that nothing could be pinned.
    #[error(
        "the kernel attached {port} without a link, which cannot be pinned: this needs Linux 5.9 or newer"
    )]
    NoLinks {
        /// The port's name.
        port: String,
    },
    /// The pin directory is not on a BPF file system.
    #[error("{path} is not on a BPF file system: mount one with `mount -t bpf bpf {mount}`")]
    NoBpfFs {
        /// The pin directory asked for.
        path: PathBuf,
        /// Where to mount.
        mount: PathBuf,
    },
    /// The embedded object is not what this program was built for.
    #[error("the embedded BPF object is unusable ({0}): rebuild with `cargo xtask build`")]
    Object(String),
    /// There is no program to go on from.
    #[error("no port has the program yet: there is nothing to replace")]
    NoProgram,
    /// Another object has other maps.
    #[error("the object has not the maps of this release: load it by the sekisho it belongs to")]
    OtherObject,
    /// The kernel refused the object.
    #[error("loading the BPF program failed: {0}")]
    Load(String),
    /// A map operation failed.
    #[error("{action}: {source}")]
    Map {
        /// What was tried, with what.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A rule table is full.
    #[error("no room for the rule for {key}: a table holds {RULE_CAPACITY} rules; remove some")]
    RulesFull {
        /// The rule's key.
        key: RuleKey,
    },
    /// A pin could not be made, read or removed.
    #[error("{action} {path}: {source}")]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another daemon holds the pins.
    #[error(
        "another daemon is using the pins in {path}: stop it, or choose another place with --pin-dir (each network \
         namespace needs its own)"
    )]
    PinsInUse {
        /// The directory of the bridge's pins.
        path: PathBuf,
    },
    /// Nothing is pinned for the bridge.
    #[error("nothing is loaded for {bridge} in {pin_dir}: start it with `sekisho run --bridge {bridge}`")]
    NotLoaded {
        /// The bridge's name.
        bridge: String,
        /// Where the pins should be.
        pin_dir: PathBuf,
    },
    /// The pinned maps are of a layout this program does not know.
    #[error(
        "the maps in {path} are of another release (abi-{found}; this one has abi-{}): use the sekisho of that release, or \
         start this one, which takes them over",
        sensor_ebpf::ABI
    )]
    OtherAbi {
        /// The directory of the bridge's pins.
        path: PathBuf,
        /// The ABI found.
        found: u32,
    },
    /// The pinned maps of another release cannot be taken over.
    #[error(
        "the maps in {path} cannot be taken over ({why}): go on with the release they are of, or end all isolations and \
         begin anew with `sekisho detach`"
    )]
    UnknownAbi {
        /// Their directory.
        path: PathBuf,
        /// What is the matter.
        why: String,
    },
    /// The pinned links belong to interfaces of another network namespace.
    #[error(
        "{path} holds the program of an interface that is not in this network namespace: choose another place with \
         --pin-dir (each network namespace needs its own), or remove it with `sekisho detach`"
    )]
    ForeignPins {
        /// The pin of the link.
        path: PathBuf,
    },
    /// The port has not the program, and this process may not give it.
    #[error("{port} has not the program yet; `sekisho load` was asked to attach it")]
    NotAttached {
        /// The port's name.
        port: String,
    },
    /// Another XDP program is attached to a port.
    #[error(
        "another XDP program{} is attached to {port}: remove it with `ip link set dev {port} xdp off`, or take its place \
         with `sekisho run --replace`",
        which(.program, .name)
    )]
    PortBusy {
        /// The port's name.
        port: String,
        /// The program's kernel id, if known.
        program: Option<u32>,
        /// The program's name, if known.
        name: Option<String>,
    },
    /// Another XDP program was to be replaced, and the kernel does not let us.
    #[error("the XDP program{} on {port} could not be replaced: {why}", which(&Some(*program), .name))]
    NotReplaced {
        /// The port's name.
        port: String,
        /// The program's kernel id.
        program: u32,
        /// The program's name, if known.
        name: Option<String>,
        /// Why not, and what to do.
        why: String,
    },
    /// An interface could not be asked about.
    #[error("asking the kernel for {port}: {source}")]
    Link {
        /// The port's name.
        port: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The sensor's own program is attached to a port, but its pins are elsewhere.
    #[error(
        "{port} already has the program of a Sekisho with other pins: stop that daemon and run `sekisho detach` \
         with its --pin-dir, or use that --pin-dir"
    )]
    PortTaken {
        /// The port's name.
        port: String,
    },
    /// No mode of attaching worked.
    #[error("attaching to {port} failed, natively ({native}) and generically ({generic})")]
    Attach {
        /// The port's name.
        port: String,
        /// What the driver said.
        native: String,
        /// What the kernel said for the generic mode.
        generic: String,
    },
    /// The port's interface index is beyond the table.
    #[error(
        "{port} has interface index {ifindex}, and only those below {} can be watched: create the interface anew \
         after a restart of the system, which counts from 1 again",
        MAX_IFINDEX
    )]
    IfindexTooLarge {
        /// The port's name.
        port: String,
        /// Its interface index.
        ifindex: u32,
    },
    /// The table of ports is full.
    #[error("{port} is port number 256: at most 255 ports of a bridge can be watched")]
    TooManyPorts {
        /// The port's name.
        port: String,
    },
    /// The clocks of the kernel could not be read.
    #[error("the kernel's clocks could not be read: {0}")]
    Clock(String),
}

/// What is known of a program, in brackets.
fn which(program: &Option<u32>, name: &Option<String>) -> String {
    match (program, name) {
        (Some(id), Some(name)) => format!(" (id {id}, {name})"),
        (Some(id), None) => format!(" (id {id})"),
        _ => String::new(),
    }
}

impl BpfError {
    /// A failed map operation; `error` may be aya's or of the system.
    pub(super) fn map(action: impl Into<String>, error: impl Into<MapFault>) -> Self {
        let MapFault(source) = error.into();
        Self::Map { action: action.into(), source }
    }
}

/// An I/O error, whatever it came wrapped in.
pub(super) struct MapFault(io::Error);

impl From<io::Error> for MapFault {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl From<aya::maps::MapError> for MapFault {
    fn from(error: aya::maps::MapError) -> Self {
        use aya::maps::MapError;
        Self(match error {
            MapError::SyscallError(error) => error.io_error,
            MapError::IoError(error) | MapError::CreateError { io_error: error, .. } => error,
            other => io::Error::other(other.to_string()),
        })
    }
}

/// An error with all its causes in one line: aya's own messages leave the causes out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
