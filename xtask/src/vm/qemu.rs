//! The machine that guests run in: the QEMU on PATH if it will do, else one of our own that is unpacked and installed nowhere.
//!
//! Debian's package would have to fit all that is installed, and the QEMU of another release that somebody has need not
//! let it. So it comes with every library it needs, the C library and its loader too, and uses none of this machine's.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use crate::setup;
use crate::sh;
use crate::ui;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// Where Debian has the libraries, below the root.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where it has what QEMU puts into the machines: the BIOS, and what it starts a kernel with.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A QEMU that starts.
pub struct Qemu(Vec<OsString>);

impl Qemu {
    /// The machine's own if it knows a network card (where one is named), else ours; ours is fetched if it is not there or
    /// does not start.
    pub fn find(archive: &Archive, card: Option<&str>) -> Result<Self> {
        let installed = Self(vec![PROGRAM.into()]);
        let here = setup::on_path(PROGRAM);
        if here && (card.is_none() || installed.check(card).is_ok()) {
            return Ok(installed);
        }
        let why = if here { "is too old" } else { "is not on PATH" };
        let home = archive.folder("qemu");
        let own = Self::below(&home);
        if own.check(card).is_err() {
            fetch(archive, &home, why).context("cannot fetch QEMU")?;
            own.check(card).context("QEMU was fetched but does not start")?;
        }
        Ok(own)
    }

    /// The words that start it, to which a machine's options are added.
    pub fn words(&self) -> &[OsString] {
        &self.0
    }

    /// The one whose packages are unpacked in `home`.
    fn below(home: &Path) -> Self {
        let libraries = home.join(LIBRARIES);
        let mut words = vec![
            libraries.join("ld-linux-x86-64.so.2").into(),
            "--library-path".into(),
            libraries.into(),
            home.join("usr/bin").join(PROGRAM).into(),
        ];
        words.extend(FIRMWARE.iter().flat_map(|folder| ["-L".into(), home.join(folder).into()]));
        Self(words)
    }

    /// Has it make a machine, BIOS and all, and end before that runs.
    fn check(&self, card: Option<&str>) -> Result<()> {
        let mut command = Command::new("env");
        command.args(self.words()).args(["-accel", "tcg", "-nodefaults", "-no-user-config", "-S"]);
        command.args(["-display", "none", "-nic", "none", "-monitor", "stdio"]);
        if let Some(card) = card {
            command.arg("-device").arg(format!("{card},romfile="));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start it")?;
        // One that has ended already does not listen; its status tells why.
        let _ = child.stdin.take().map(|mut input| input.write_all(b"quit\n"));
        let status = child.wait().context("cannot wait for it")?;
        ensure!(status.success(), "`{}` ended with {status}", sh::describe(&command));
        Ok(())
    }
}

fn fetch(archive: &Archive, home: &Path, why: &str) -> Result<()> {
    let packages = archive.closure(PACKAGE)?;
    ui::note(&format!(
        "vm: fetching {PACKAGE} and all it needs into {} ({PROGRAM} {why}; nothing is installed)",
        home.display()
    ));
    archive.unpack(&packages, home)
}
