//! What is kept on the BPF file system: `<pin_dir>/<bridge>/abi-<ABI>/maps/NAME` and `<pin_dir>/<bridge>/links/PORT`.
//!
//! The pins of one bridge belong to one daemon at a time: it holds a lock on `<pin_dir>/<bridge>`. Two network
//! namespaces may each have a bridge of the same name; the second one to use a pin directory is refused, be the first
//! one's daemon alive (by the lock) or dead (because the pinned links are of interfaces that are not here), and needs
//! a pin directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use sensor_ebpf::ABI;

use super::error::BpfError;
use super::object::MapShape;
use super::offload::{OffloadSwitch, Offloads};
use super::ports::BridgePort;
use super::sys::{self, XdpLinkInfo};
use crate::patience;

/// Where pins go unless told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/sekisho";

/// What was taken off a bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Detached {
    /// The names of the ports that had a program.
    pub ports: Vec<String>,
    /// What was switched on again, by the name of the port.
    pub offloads: Vec<(String, Offloads)>,
}

/// Detaches the programs of a bridge and removes their pins, maps included: whoever was isolated no longer is. Puts the
/// ports' offloads back. Nothing pinned is no error.
///
/// # Errors
///
/// [`BpfError::PinsInUse`] while a daemon is using them; [`BpfError::Pin`] if one cannot be removed.
pub fn detach(pin_dir: &Path, bridge: &str) -> Result<Detached, BpfError> {
    if !root(pin_dir, bridge).is_dir() {
        return Ok(Detached::default());
    }
    Pins::open(pin_dir, bridge)?.remove_all()
}

/// The directory of a bridge's pins.
fn root(pin_dir: &Path, bridge: &str) -> PathBuf {
    pin_dir.join(pin_name(bridge))
}

/// The name of an interface as a name on a BPF file system, where a dot is not allowed (bpf_lookup in
/// kernel/bpf/inode.c); a colon is not allowed in the name of an interface (dev_valid_name in net/core/dev.c).
fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// A pinned link and what it is attached to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct PinnedLink {
    path: PathBuf,
    info: XdpLinkInfo,
}

/// The pins of one bridge, locked against other daemons.
#[derive(Debug)]
pub struct Pins {
    pin_dir: PathBuf,
    root: PathBuf,
    /// Held open for its lock.
    _lock: File,
}

impl Pins {
    /// Makes the directories and takes the lock.
    pub fn open(pin_dir: &Path, bridge: &str) -> Result<Self, BpfError> {
        let root = root(pin_dir, bridge);
        make_dir(&root)?;
        let lock = File::open(&root).map_err(pin_error("opening", &root))?;
        match patience::lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BpfError::PinsInUse { path: root }),
            Err(TryLockError::Error(error)) => return Err(pin_error("locking", &root)(error)),
        }
        let pins = Self { pin_dir: pin_dir.to_owned(), root, _lock: lock };
        make_dir(&pins.maps())?;
        make_dir(&pins.links())?;
        make_dir(&pins.offloads())?;
        Ok(pins)
    }

    fn maps(&self) -> PathBuf {
        self.root.join(format!("abi-{ABI}/maps"))
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where it is noted what was switched off on the ports.
    pub fn offloads(&self) -> PathBuf {
        self.root.join("offloads")
    }

    /// The pin of a map.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// A pin for the link of a port, not taken yet. It has the port's name, unless a port that was renamed since has
    /// that pin.
    pub fn link(&self, port: &BridgePort) -> PathBuf {
        let plain = self.links().join(pin_name(&port.name));
        if plain.exists() {
            self.links().join(format!("{}::{}", pin_name(&port.name), port.ifindex))
        } else {
            plain
        }
    }

    /// Whether maps of an earlier daemon are there.
    pub fn has_maps(&self) -> bool {
        fs::read_dir(self.maps()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes all pinned maps if one of them is not of the shape the object wants (flows, rules and switches belong
    /// together); says which and why. aya would reuse such a map without a look at it.
    pub fn remove_unfit(&self, wanted: &[MapShape]) -> Result<Vec<String>, BpfError> {
        let unfit = wanted.iter().find_map(|map| match shape_of_pin(map, &self.map(&map.name)) {
            Some(found) if found != *map => Some((map, found)),
            _ => None,
        });
        let Some((wanted, found)) = unfit else { return Ok(Vec::new()) };
        for path in entries(&self.maps())? {
            remove_file(&path)?;
        }
        Ok(vec![format!("all pinned maps were made anew: {found:?} was found where {wanted:?} is wanted")])
    }

    /// Removes the pinned maps of other ABIs, whose program is no longer needed to find them: it holds them itself as
    /// long as it is attached.
    pub fn remove_other_abis(&self) -> Result<Vec<String>, BpfError> {
        let mut notes = Vec::new();
        for dir in entries(&self.root)? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("abi-") && name != format!("abi-{ABI}") {
                remove_tree(&dir)?;
                notes.push(format!("pinned maps of {name} were removed: this program has abi-{ABI}"));
            }
        }
        Ok(notes)
    }

    /// Sorts the links an earlier daemon left: those of `ports` come back by interface index, to be taken over; those
    /// of interfaces that are gone or left the bridge (`others`) are removed.
    ///
    /// A link is known to be of an interface here by its program being attached to that interface.
    pub fn inherited(
        &self,
        ports: &[BridgePort],
        others: &[BridgePort],
    ) -> Result<BTreeMap<u32, PathBuf>, BpfError> {
        let attached = |list: &[BridgePort], info: XdpLinkInfo| {
            list.iter().any(|port| {
                port.ifindex == info.ifindex && port.xdp.is_some_and(|xdp| xdp.program == info.program)
            })
        };
        let mut inherited = BTreeMap::new();
        for link in self.pinned_links()? {
            if attached(ports, link.info) {
                inherited.insert(link.info.ifindex, link.path);
            } else if link.info.ifindex == 0 || attached(others, link.info) {
                remove_link(&link.path)?;
            } else {
                return Err(BpfError::ForeignPins { path: link.path });
            }
        }
        Ok(inherited)
    }

    fn pinned_links(&self) -> Result<Vec<PinnedLink>, BpfError> {
        let mut links = Vec::new();
        for path in entries(&self.links())? {
            let fd = sys::open_pin(&path).map_err(pin_error("opening", &path))?;
            let info = sys::xdp_link_info(fd.as_fd()).map_err(pin_error("asking about", &path))?;
            links.push(PinnedLink { path, info });
        }
        Ok(links)
    }

    /// Detaches all links, puts the offloads back and removes all pins.
    pub fn remove_all(self) -> Result<Detached, BpfError> {
        let mut ports = Vec::new();
        for path in entries(&self.links())? {
            remove_link(&path)?;
            ports.push(path.file_name().unwrap_or_default().to_string_lossy().replace(':', "."));
        }
        let offloads = OffloadSwitch::new(self.offloads()).put_back_all_but(&[])?;
        remove_tree(&self.root)?;
        // Other bridges may have pins there; then it stays.
        let _ = fs::remove_dir(&self.pin_dir);
        Ok(Detached { ports, offloads })
    }

    /// Removes what an unsuccessful start made, if it is of no use: maps without a program.
    pub fn remove_maps(self) {
        let _ = remove_tree(&self.root.join(format!("abi-{ABI}")));
        // Directories that still hold something stay.
        for dir in [self.links(), self.offloads(), self.root, self.pin_dir] {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Detaches a pinned link and removes the pin. One that is gone is no error.
pub fn remove_link(path: &Path) -> Result<(), BpfError> {
    let fd = match sys::open_pin(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        fd => fd.map_err(pin_error("opening", path))?,
    };
    match sys::detach_link(fd.as_fd()) {
        Ok(()) => {}
        // The interface is gone, and the link with it.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
        Err(error) => return Err(pin_error("detaching", path)(error)),
    }
    remove_file(path)
}

/// The shape of the map pinned at `path`; `None` if there is none. A pin that is no map has no shape in common.
fn shape_of_pin(wanted: &MapShape, path: &Path) -> Option<MapShape> {
    if !path.exists() {
        return None;
    }
    let shape =
        MapShape { name: wanted.name.clone(), kind: 0, key_bytes: 0, value_bytes: 0, entries: 0, flags: 0 };
    let Ok(info) = MapInfo::from_pin(path) else { return Some(shape) };
    Some(MapShape {
        kind: info.map_type().map_or(0, |kind| kind as u32),
        key_bytes: info.key_size(),
        value_bytes: info.value_size(),
        entries: info.max_entries(),
        flags: info.map_flags(),
        ..shape
    })
}

/// Makes a directory for root alone, with those above it.
fn make_dir(path: &Path) -> Result<(), BpfError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(pin_error("making directory", path))
}

/// The paths in a directory, sorted.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, BpfError> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = read().map_err(pin_error("reading", dir))?;
    paths.sort();
    Ok(paths)
}

fn remove_file(path: &Path) -> Result<(), BpfError> {
    fs::remove_file(path).map_err(pin_error("removing", path))
}

/// Removes a directory of at most a few levels and all in it.
fn remove_tree(path: &Path) -> Result<(), BpfError> {
    fs::remove_dir_all(path).map_err(pin_error("removing", path))
}

/// An error with a pin.
pub fn pin_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BpfError {
    move |source| BpfError::Pin { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_an_interface_name_is_no_dot_in_a_pin() {
        assert_eq!(pin_name("eth0.100"), "eth0:100");
        assert_eq!(root(Path::new("/sys/fs/bpf/sekisho"), "br.1"), Path::new("/sys/fs/bpf/sekisho/br:1"));
    }

    #[test]
    fn detaching_what_was_never_attached_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(detach(dir.path(), "br0").expect("nothing to do"), Detached::default());
    }
}
