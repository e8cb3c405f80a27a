//! Who besides root may use the pins: a group, for a daemon without privileges.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::BpfError;
use super::pins::{Pins, entries, pin_error};

impl Pins {
    /// Gives the maps, and the programs that may be run but not attached without privileges, to a group. Links stay
    /// root's: whoever may open one may detach it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that cannot be given away.
    pub fn share_with(&self, group: u32) -> Result<(), BpfError> {
        // A BPF file system is for root alone as systemd mounts it.
        self.pin_dir.parent().map_or(Ok(()), |dir| open_way(dir, group))?;
        give(&self.pin_dir, group, 0o750)?;
        give(self.root(), group, 0o750)?;
        self.share()
    }

    /// Gives to the group that has the directory what was made anew in it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Pin`] for the first that cannot be given away.
    pub fn share(&self) -> Result<(), BpfError> {
        let group = fs::metadata(self.root()).map_err(pin_error("looking at", self.root()))?.gid();
        if group == 0 {
            return Ok(());
        }
        let own = self.program().with_file_name("");
        for dir in [&own, &self.maps()] {
            give(dir, group, 0o750)?;
        }
        let maps = entries(&self.maps())?;
        [self.program(), self.clock()].iter().chain(&maps).try_for_each(|pin| match pin.exists() {
            true => give(pin, group, 0o660),
            false => Ok(()),
        })
    }
}

/// Gives something to a group, with these rights.
fn give(path: &Path, group: u32, mode: u32) -> Result<(), BpfError> {
    chown(path, None, Some(group)).map_err(pin_error("giving away", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(pin_error("giving away", path))
}

/// Lets a group through a directory, unless all may pass or it is not on a BPF file system.
fn open_way(dir: &Path, group: u32) -> Result<(), BpfError> {
    let on_bpf = statfs(dir).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
    let meta = fs::metadata(dir).map_err(pin_error("looking at", dir))?;
    if !on_bpf || meta.mode() & 0o001 != 0 || (meta.gid() == group && meta.mode() & 0o010 != 0) {
        return Ok(());
    }
    let mode = meta.mode() & 0o7777;
    if meta.gid() == 0 {
        return give(dir, group, mode | 0o010);
    }
    // Some other group has it already, and is to keep it.
    fs::set_permissions(dir, Permissions::from_mode(mode | 0o001)).map_err(pin_error("giving away", dir))
}
