//! Work that a network card does before the program sees a frame, and that must not be done: it is switched off on every
//! port, and put back when the program leaves it.
//!
//! A card that strips the VLAN tag hides it, and one that merges segments (LRO, hardware GRO) makes frames that were
//! never on the wire; some drivers refuse an XDP program beside it. In a bond it is the members' cards that do it, whatever
//! the bond says of itself.
//!
//! What was switched off is noted on the BPF file system, among the pins: a symbolic link `offloads/IFINDEX` whose
//! "target" is the network namespace and the features, `4026531840 rx-lro,rx-vlan-hw-parse`. There it lives exactly as
//! long as what it tells of: it outlives the daemon, belongs to whom the pins belong to, and is gone after a restart of
//! the machine, as the settings are. The note is written before the switch, so that a daemon that dies in between leaves
//! one that is true.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::iter;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::error::BpfError;
use super::ethtool::{Ethtool, Features};
use super::link;
use super::pins::pin_error;

/// A feature of a card that must be off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offload {
    /// VLAN tags (802.1Q) are taken out of the frame.
    RxVlan,
    /// Outer VLAN tags (802.1ad) are.
    RxVlanOuter,
    /// TCP segments are merged, and what was is forgotten.
    Lro,
    /// Segments are merged as GRO does it.
    GroHw,
}

impl Offload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RxVlan, Self::RxVlanOuter, Self::Lro, Self::GroHw];

    /// Its name, as `ethtool -K` and the kernel know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RxVlan => "rx-vlan-hw-parse",
            Self::RxVlanOuter => "rx-vlan-stag-hw-parse",
            Self::Lro => "rx-lro",
            Self::GroHw => "rx-gro-hw",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|offload| offload.name() == name)
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some offloads.
pub type Offloads = BTreeSet<Offload>;

/// Their names in a row.
pub fn list(offloads: &Offloads) -> String {
    offloads.iter().map(|offload| offload.name()).collect::<Vec<_>>().join(", ")
}

/// The offloads of a port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortOffloads {
    /// Those that are switched off here, and will be put back.
    pub off: Offloads,
    /// Those that are on and could not be switched off.
    pub on: Offloads,
}

/// What there is to do on an interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffloadPlan {
    /// On, and can be switched off.
    pub switchable: Offloads,
    /// On for good.
    pub fixed: Offloads,
}

impl From<&Features> for OffloadPlan {
    fn from(features: &Features) -> Self {
        let on = Offload::ALL.into_iter().filter(|offload| features.on.contains(offload.name()));
        let (switchable, fixed) = on.partition(|offload| features.changeable.contains(offload.name()));
        Self { switchable, fixed }
    }
}

/// What a port's offloads would need; nothing if the kernel cannot tell.
pub fn plan(port: u32) -> OffloadPlan {
    let mut all = OffloadPlan::default();
    for card in cards(port) {
        let OffloadPlan { switchable, fixed } = plan_of(card);
        all.switchable.extend(switchable);
        all.fixed.extend(fixed);
    }
    all
}

/// The interfaces whose cards bring a port its frames: its own, and its members' if it is a bond.
fn cards(port: u32) -> Vec<u32> {
    let members = link::members(port).unwrap_or_else(|error| {
        log::debug!("members of interface {port}: {error}");
        Vec::new()
    });
    iter::once(port).chain(members.iter().map(|member| member.ifindex)).collect()
}

fn plan_of(card: u32) -> OffloadPlan {
    let features = Ethtool::open().and_then(|mut ethtool| ethtool.features(card));
    features.ok().flatten().map_or_else(OffloadPlan::default, |features| OffloadPlan::from(&features))
}

/// Switches offloads off, and remembers which, in the network namespace of the thread that calls.
#[derive(Clone, Debug)]
pub struct OffloadSwitch {
    dir: PathBuf,
    namespace: u64,
}

impl OffloadSwitch {
    /// A switch whose notes are in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.ino());
        Self { dir, namespace }
    }

    /// Switches off what is on on a port. What cannot be is told, and no error: the program works beside it, and sees
    /// less. What cannot be noted is not switched off.
    pub fn switch_off(&self, port: u32) -> PortOffloads {
        let mut all = PortOffloads::default();
        for card in cards(port) {
            let PortOffloads { off, on } = self.switch_off_card(card);
            all.off.extend(off);
            all.on.extend(on);
        }
        all
    }

    fn switch_off_card(&self, ifindex: u32) -> PortOffloads {
        self.try_switch_off(ifindex).unwrap_or_else(|error| {
            log::warn!("offloads of {} are left on: {error}", name(ifindex));
            let OffloadPlan { switchable, fixed } = plan_of(ifindex);
            PortOffloads { off: self.noted(ifindex), on: switchable.union(&fixed).copied().collect() }
        })
    }

    fn try_switch_off(&self, ifindex: u32) -> Result<PortOffloads, BpfError> {
        let noted = self.noted(ifindex);
        let Ok(mut ethtool) = Ethtool::open() else {
            // A kernel older than 5.6 has offloads and no way to ask for them by index.
            return Ok(PortOffloads { off: noted, on: Offloads::new() });
        };
        let before = self.look(&mut ethtool, ifindex);
        if before.switchable.is_empty() {
            return Ok(PortOffloads { off: noted, on: before.fixed });
        }
        self.note(ifindex, &noted.union(&before.switchable).copied().collect())?;
        let names: Vec<_> = before.switchable.iter().map(|offload| offload.name()).collect();
        if let Err(error) = ethtool.switch(ifindex, &names, false) {
            log::debug!("switching off {names:?} of interface {ifindex}: {error}");
        }
        let after = self.look(&mut ethtool, ifindex);
        let on: Offloads = after.switchable.union(&after.fixed).copied().collect();
        let off: Offloads =
            noted.union(&before.switchable).filter(|offload| !on.contains(offload)).copied().collect();
        self.note(ifindex, &off)?;
        Ok(PortOffloads { off, on })
    }

    /// Puts back what was switched off on an interface; gives what that was. An interface that is gone has nothing to be
    /// put back.
    fn put_back(&self, ifindex: u32) -> Result<Offloads, BpfError> {
        let mut off = self.noted(ifindex);
        if !off.is_empty() {
            let names: Vec<_> = off.iter().map(|offload| offload.name()).collect();
            let done = Ethtool::open().and_then(|mut ethtool| ethtool.switch(ifindex, &names, true));
            match done {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => off.clear(),
                Err(error) => {
                    let (port, which) = (name(ifindex), names.join(" on "));
                    log::warn!("{port}: {error}; do it by hand: ethtool -K {port} {which} on");
                }
                Ok(()) => {}
            }
        } else if fs::read_link(self.path(ifindex)).is_ok() {
            log::warn!(
                "what was switched off on interface {ifindex} of another network namespace stays off: look there with \
                 `ethtool -k` for {}",
                list(&Offloads::from(Offload::ALL))
            );
        }
        self.note(ifindex, &Offloads::new())?;
        Ok(off)
    }

    /// Puts back what was switched off for ports other than these; gives the names of the interfaces, and what it was.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first note that cannot be removed.
    pub fn put_back_all_but(&self, ports: &[u32]) -> Result<Vec<(String, Offloads)>, BpfError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(pin_error("reading", &self.dir))?,
        };
        let index = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        let spared: BTreeSet<u32> = ports.iter().flat_map(|port| cards(*port)).collect();
        let mut others: Vec<_> =
            entries.flatten().filter_map(index).filter(|i| !spared.contains(i)).collect();
        others.sort_unstable();
        let mut done = Vec::new();
        for ifindex in others {
            let offloads = self.put_back(ifindex)?;
            if !offloads.is_empty() {
                done.push((name(ifindex), offloads));
            }
        }
        Ok(done)
    }

    fn look(&self, ethtool: &mut Ethtool, ifindex: u32) -> OffloadPlan {
        match ethtool.features(ifindex) {
            Ok(features) => features.map_or_else(OffloadPlan::default, |found| OffloadPlan::from(&found)),
            Err(error) => {
                log::debug!("features of interface {ifindex}: {error}");
                OffloadPlan::default()
            }
        }
    }

    fn path(&self, ifindex: u32) -> PathBuf {
        self.dir.join(ifindex.to_string())
    }

    /// What the note of an interface tells. One of another network namespace is about another interface.
    fn noted(&self, ifindex: u32) -> Offloads {
        let text = fs::read_link(self.path(ifindex)).unwrap_or_default();
        let text = text.to_string_lossy();
        match text.split_once(' ') {
            Some((namespace, names)) if namespace == self.namespace.to_string() => {
                names.split(',').filter_map(Offload::from_name).collect()
            }
            _ => Offloads::new(),
        }
    }

    /// Writes the note of an interface anew; nothing to note is no note.
    fn note(&self, ifindex: u32, off: &Offloads) -> Result<(), BpfError> {
        let path = self.path(ifindex);
        if off.is_empty() {
            return remove(&path);
        }
        let names: Vec<_> = off.iter().map(|offload| offload.name()).collect();
        let text = format!("{} {}", self.namespace, names.join(","));
        // In one step, as a daemon may die at any time.
        let fresh = self.dir.join(format!("{ifindex}-new"));
        remove(&fresh)?;
        symlink(text, &fresh).map_err(pin_error("writing", &fresh))?;
        fs::rename(&fresh, &path).map_err(pin_error("writing", &path))
    }
}

/// The name of an interface, for messages.
fn name(ifindex: u32) -> String {
    let interface = link::get(ifindex).ok().flatten();
    interface.map_or_else(|| format!("interface {ifindex}"), |interface| interface.name)
}

/// Removes a note, if there is one.
fn remove(path: &Path) -> Result<(), BpfError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pin_error("removing", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(on: &[&str], changeable: &[&str]) -> Features {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Features { on: names(on), changeable: names(changeable) }
    }

    #[test]
    fn what_is_off_or_not_there_is_left_alone_and_what_is_fixed_is_known_to_be() {
        use Offload::{GroHw, Lro, RxVlan};
        let cases: [(&str, Features, &[Offload], &[Offload]); 4] = [
            ("nothing of the kind", features(&["tx-nocache-copy"], &["tx-nocache-copy"]), &[], &[]),
            ("all off", features(&[], &["rx-lro", "rx-vlan-hw-parse"]), &[], &[]),
            ("on", features(&["rx-lro", "rx-gro-hw"], &["rx-lro", "rx-gro-hw"]), &[Lro, GroHw], &[]),
            ("one fixed", features(&["rx-lro", "rx-vlan-hw-parse"], &["rx-lro"]), &[Lro], &[RxVlan]),
        ];
        for (name, features, switchable, fixed) in cases {
            let plan = OffloadPlan::from(&features);
            assert_eq!(plan.switchable.iter().copied().collect::<Vec<_>>(), switchable, "{name}");
            assert_eq!(plan.fixed.iter().copied().collect::<Vec<_>>(), fixed, "{name}");
        }
    }

    #[test]
    fn a_note_is_read_back_replaced_and_removed_and_one_of_another_namespace_does_not_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let switch = OffloadSwitch::new(dir.path().to_owned());
        let both = Offloads::from([Offload::RxVlan, Offload::Lro]);
        switch.note(7, &both).expect("noted");
        assert_eq!(switch.noted(7), both);
        assert_eq!(switch.noted(8), Offloads::new());
        let elsewhere = OffloadSwitch { namespace: 1, ..switch.clone() };
        assert_eq!(elsewhere.noted(7), Offloads::new());
        switch.note(7, &Offloads::from([Offload::GroHw])).expect("replaced");
        assert_eq!(switch.noted(7), Offloads::from([Offload::GroHw]));
        switch.note(7, &Offloads::new()).expect("removed");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_note_that_was_tampered_with_switches_on_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let switch = OffloadSwitch::new(dir.path().to_owned());
        for text in ["x", " ", "rx-lro", &format!("{} hw-tc-offload,../..", switch.namespace)] {
            symlink(text, dir.path().join("7")).expect("made");
            assert_eq!(switch.noted(7), Offloads::new(), "{text:?}");
            fs::remove_file(dir.path().join("7")).expect("removed");
        }
    }
}
