//! What is kept on the BPF file system: `<pin_dir>/<bridge>/abi-<ABI>/maps/NAME` and `<pin_dir>/<bridge>/links/PORT`.
//!
//! The pins of one bridge belong to one daemon at a time: it holds a lock on `<pin_dir>/<bridge>`. Two network
//! namespaces may each have a bridge of the same name; the second one to use a pin directory is refused, be the first
//! one's daemon alive (by the lock) or dead (because the pinned links are of interfaces that are not here), and needs
//! a pin directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use sensor_ebpf::ABI;

use super::error::BpfError;
use super::migrate::UNFIT;
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
    Pins::open(pin_dir, bridge)?.only_mine()?.remove_all()
}

/// What is pinned for a bridge, looked at without a lock: a daemon may be using it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinView {
    /// Where its maps are, if they are of this program's ABI.
    pub maps: Option<PathBuf>,
    /// Interface index and program id of each link; 0 is the index of one that was detached.
    pub links: Vec<(u32, u32)>,
}

/// Looks at what is pinned for a bridge.
///
/// # Errors
///
/// [`BpfError::Pin`] if something cannot be read.
pub fn view(pin_dir: &Path, bridge: &str) -> Result<PinView, BpfError> {
    let root = root(pin_dir, bridge);
    let (maps, links) = (root.join(format!("abi-{ABI}/maps")), root.join("links"));
    let mut found = Vec::new();
    for path in if links.is_dir() { entries(&links)? } else { Vec::new() } {
        let fd = sys::open_pin(&path).map_err(pin_error("opening", &path))?;
        let info = sys::xdp_link_info(fd.as_fd()).map_err(pin_error("asking about", &path))?;
        found.push((info.ifindex, info.program));
    }
    Ok(PinView { maps: maps.is_dir().then_some(maps), links: found })
}

/// The directory of a bridge's pins.
pub fn root(pin_dir: &Path, bridge: &str) -> PathBuf {
    pin_dir.join(pin_name(bridge))
}

/// The directory of the maps of an ABI.
pub fn maps_of(root: &Path, abi: u32) -> PathBuf {
    root.join(format!("abi-{abi}/maps"))
}

/// The numbers of the ABIs whose maps are pinned, in rising order.
pub fn abis(root: &Path) -> Result<Vec<u32>, BpfError> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let number = |dir: &PathBuf| dir.file_name()?.to_str()?.strip_prefix("abi-")?.parse().ok();
    let mut abis: Vec<u32> = entries(root)?.iter().filter_map(number).collect();
    abis.sort_unstable();
    Ok(abis)
}

/// The bridges that have something pinned, sorted.
///
/// # Errors
///
/// [`BpfError::Pin`] if the directory cannot be read.
pub fn bridges(pin_dir: &Path) -> Result<Vec<String>, BpfError> {
    match fs::metadata(pin_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(pin_error("looking at", pin_dir))?,
    };
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().replace(':', ".");
    Ok(entries(pin_dir)?.iter().map(name).collect())
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
    pub(super) pin_dir: PathBuf,
    root: PathBuf,
    /// Held open for its lock.
    _lock: File,
    attended: bool,
}

impl Pins {
    /// The pins for a process that changes nothing about them, but works with the maps: it has a lock of its own, on the
    /// directory of the ABI.
    ///
    /// # Errors
    ///
    /// [`BpfError::PinsInUse`] if another process works with the maps, else [`BpfError::Pin`].
    pub fn attend(pin_dir: &Path, bridge: &str) -> Result<Self, BpfError> {
        let root = root(pin_dir, bridge);
        let dir = root.join(format!("abi-{ABI}"));
        let lock = File::open(&dir).map_err(pin_error("opening", &dir))?;
        take(&lock, &dir)?;
        Ok(Self { pin_dir: pin_dir.to_owned(), root, _lock: lock, attended: true })
    }

    /// Whether a process without privileges works with the maps meanwhile.
    pub fn attended(&self) -> bool {
        self.attended
    }

    fn is_attended(&self) -> bool {
        let lock = File::open(self.root.join(format!("abi-{ABI}")));
        lock.is_ok_and(|lock| matches!(patience::lock(&lock), Err(TryLockError::WouldBlock)))
    }

    /// An error while a process without privileges works with the maps.
    ///
    /// # Errors
    ///
    /// [`BpfError::PinsInUse`].
    pub fn only_mine(self) -> Result<Self, BpfError> {
        if self.attended { Err(BpfError::PinsInUse { path: self.root }) } else { Ok(self) }
    }

    /// Makes the directories and takes the lock. Another process may work with the maps all the same: see
    /// [`Pins::attended`].
    ///
    /// # Errors
    ///
    /// [`BpfError::PinsInUse`] if another process has it, else [`BpfError::Pin`].
    pub fn open(pin_dir: &Path, bridge: &str) -> Result<Self, BpfError> {
        let root = root(pin_dir, bridge);
        make_dir(&root)?;
        let lock = File::open(&root).map_err(pin_error("opening", &root))?;
        take(&lock, &root)?;
        let mut pins = Self { pin_dir: pin_dir.to_owned(), root, _lock: lock, attended: false };
        make_dir(&pins.links())?;
        make_dir(&pins.offloads())?;
        pins.attended = pins.is_attended();
        Ok(pins)
    }

    /// The directory of the bridge's pins.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the pinned maps.
    pub fn maps(&self) -> PathBuf {
        maps_of(&self.root, ABI)
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

    /// Makes the directory of the maps.
    pub fn make_maps(&self) -> Result<(), BpfError> {
        make_dir(&self.maps())
    }

    /// Whether maps of an earlier daemon are there.
    pub fn has_maps(&self) -> bool {
        fs::read_dir(self.maps()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Where the program is pinned when all ports have it.
    pub fn program(&self) -> PathBuf {
        self.root.join(format!("abi-{ABI}/prog"))
    }

    /// The programs that may be pinned, those of other releases too.
    pub fn programs(&self) -> Vec<PathBuf> {
        let dirs = entries(&self.root).unwrap_or_default();
        dirs.into_iter().map(|dir| dir.join("prog")).filter(|pin| pin.exists()).collect()
    }

    /// Where the program that reads the clocks is pinned.
    pub fn clock(&self) -> PathBuf {
        self.root.join(format!("abi-{ABI}/clock"))
    }

    /// Pins the program of the ports in place of the one pinned before.
    pub fn pin_program(&self, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        self.replace(&self.program(), program)
    }

    /// Pins the program that reads the clocks in place of the one pinned before.
    pub fn pin_clock(&self, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        self.replace(&self.clock(), program)
    }

    fn replace(&self, pin: &Path, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        let young = self.root.join(format!("abi-{ABI}/new"));
        if young.exists() {
            remove_file(&young)?;
        }
        sys::pin(program, &young).map_err(pin_error("pinning", &young))?;
        fs::rename(&young, pin).map_err(pin_error("renaming to", pin))
    }

    /// Whether all pinned maps are those of this release, and of this shape.
    pub fn are_fit(&self, wanted: &[MapShape]) -> Result<bool, BpfError> {
        let fit = |map: &MapShape| shape_of_pin(map, &self.map(&map.name)).as_ref() == Some(map);
        Ok(self.other_layouts()?.is_empty() && wanted.iter().all(fit))
    }

    /// Puts all pinned maps aside if one of them is not of the shape the object wants (flows, rules and switches belong
    /// together); says which and why. aya would reuse such a map without a look at it.
    pub fn set_aside_unfit(&self, wanted: &[MapShape]) -> Result<Vec<String>, BpfError> {
        let unfit = wanted.iter().find_map(|map| match shape_of_pin(map, &self.map(&map.name)) {
            Some(found) if found != *map => Some((map, found)),
            _ => None,
        });
        let Some((wanted, found)) = unfit else { return Ok(Vec::new()) };
        let own = self.root.join(format!("abi-{ABI}"));
        let aside = self.root.join(format!("abi-{ABI}{UNFIT}"));
        if aside.exists() {
            remove_tree(&aside)?;
        }
        fs::rename(&own, &aside).map_err(pin_error("renaming", &own))?;
        Ok(vec![format!("all pinned maps were made anew: {found:?} was found where {wanted:?} is wanted")])
    }

    /// The directories of maps that are not of this program's layout.
    pub fn other_layouts(&self) -> Result<Vec<PathBuf>, BpfError> {
        let own = format!("abi-{ABI}");
        let other = |dir: &PathBuf| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("abi-") && name != own
        };
        Ok(entries(&self.root)?.into_iter().filter(other).collect())
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

    /// The pinned links.
    pub fn link_paths(&self) -> Result<Vec<PathBuf>, BpfError> {
        entries(&self.links())
    }

    /// Removes the pins of links whose interface is gone.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that cannot be looked at or removed.
    pub fn remove_dead_links(&self) -> Result<(), BpfError> {
        let links = self.pinned_links()?;
        links.iter().filter(|link| link.info.ifindex == 0).try_for_each(|link| remove_link(&link.path))
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
        // Maps put aside for them are in force still.
        let aside = self.root.join(format!("abi-{ABI}{UNFIT}"));
        let own = self.root.join(format!("abi-{ABI}"));
        let _ = remove_tree(&own);
        let _ = fs::rename(&aside, &own);
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
pub fn shape_of_pin(wanted: &MapShape, path: &Path) -> Option<MapShape> {
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

/// Locks what a process must have for itself.
fn take(lock: &File, path: &Path) -> Result<(), BpfError> {
    match patience::lock(lock) {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BpfError::PinsInUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(pin_error("locking", path)(error)),
    }
}

/// Makes a directory for root alone, with those above it.
fn make_dir(path: &Path) -> Result<(), BpfError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(pin_error("making directory", path))
}

/// The paths in a directory, sorted.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, BpfError> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = read().map_err(pin_error("reading", dir))?;
    paths.sort();
    Ok(paths)
}

fn remove_file(path: &Path) -> Result<(), BpfError> {
    fs::remove_file(path).map_err(pin_error("removing", path))
}

/// Removes a directory of at most a few levels and all in it.
pub fn remove_tree(path: &Path) -> Result<(), BpfError> {
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
