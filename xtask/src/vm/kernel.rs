//! Debian's kernels: which are offered, and fetching one with the modules that the tests' networks need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::archive::Archive;
use super::cards;
use crate::sh;
use crate::ui;

/// What the networks of the tests are made of, where it is not built in.
const MODULES: [&str; 4] = ["bridge", "ifb", "tun", "veth"];

/// Which of Debian's builds of a kernel.
#[derive(Clone, Copy)]
pub struct Flavour {
    /// How the names of its releases end.
    suffix: &'static str,
    /// What is loaded besides [`MODULES`].
    modules: &'static [&'static str],
}

impl Flavour {
    /// For virtual machines: the same source and BPF as that for hardware, at a third of the size.
    pub const CLOUD: Self = Self { suffix: "-cloud-amd64", modules: &[] };
    /// For hardware: with the drivers of network cards.
    pub const HARDWARE: Self = Self { suffix: "-amd64", modules: &cards::MODULES };
}

/// A kernel, ready to be started.
pub struct Kernel {
    /// What uname says: `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// Its image.
    pub image: PathBuf,
    /// Module files, each after those it needs.
    pub modules: Vec<PathBuf>,
}

/// The kernels that the archive offers.
pub struct Kernels<'a> {
    archive: &'a Archive,
    flavour: Flavour,
    offered: Vec<String>,
}

impl<'a> Kernels<'a> {
    /// Asks the archive.
    pub fn of(archive: &'a Archive, flavour: Flavour) -> Result<Self> {
        let offered = releases(&archive.names("linux-image-")?, flavour);
        ensure!(!offered.is_empty(), "the archive offers no kernel linux-image-*{}", flavour.suffix);
        Ok(Self { archive, flavour, offered })
    }

    /// The release that is meant by `newest`, a series (`6.1`) or a release.
    pub fn resolve(&self, wanted: &str) -> Result<&str> {
        resolve(&self.offered, wanted)
    }

    /// Fetches a release, unless it is there.
    pub fn get(&self, release: &str) -> Result<Kernel> {
        let home = self.archive.folder("kernels").join(release);
        if !home.exists() {
            self.fetch(release, &home)?;
        }
        // Debian has moved the modules to where the rest of the files is.
        let base =
            [home.clone(), home.join("usr")].into_iter().find(|base| base.join("lib/modules").is_dir());
        let base = base.with_context(|| format!("no modules in the packages of {release}"))?;
        let own = base.join("lib/modules").join(release);
        let images = [home.join("boot").join(format!("vmlinuz-{release}")), own.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        let image = image.with_context(|| format!("no kernel in the packages of {release}"))?;
        Ok(Kernel { release: release.to_owned(), image, modules: modules(&base, release, self.flavour)? })
    }

    fn fetch(&self, release: &str, into: &Path) -> Result<()> {
        let image = format!("linux-image-{release}");
        // Since 7.x the image's package is empty and the files are in two others.
        let parts = self.archive.depends(&image)?.into_iter();
        let parts =
            parts.filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"));
        let names: Vec<String> = std::iter::once(image).chain(parts).collect();
        ui::note(&format!("vm: fetching {}", names.join(" ")));
        self.archive.unpack(&names, into).with_context(|| format!("cannot fetch the kernel {release}"))
    }
}

/// The release that is meant by `newest`, a series (`6.1`) or a release.
fn resolve<'a>(offered: &'a [String], wanted: &str) -> Result<&'a str> {
    let series = numbers(wanted);
    let fits = |release: &&String| {
        wanted == "newest"
            || *release == wanted
            || (!series.is_empty()
                && wanted.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                && numbers(release).starts_with(&series))
    };
    offered
        .iter()
        .rfind(fits)
        .map(String::as_str)
        .with_context(|| format!("the archive offers no kernel {wanted}; it offers: {}", offered.join(" ")))
}

/// The releases among package names, in rising order.
fn releases(names: &str, flavour: Flavour) -> Vec<String> {
    let release = |name: &str| {
        let release = name.strip_prefix("linux-image-")?;
        let version = release.strip_suffix(flavour.suffix)?;
        // `6.1-cloud-amd64` is no kernel but a package that needs the newest of its series.
        let is_one = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains(['-', '+']);
        // Of another flavour, whose name is longer.
        let is_one = is_one && !["-cloud", "-rt"].iter().any(|other| version.ends_with(other));
        is_one.then(|| release.to_owned())
    };
    let mut found: Vec<String> = names.lines().filter_map(release).collect();
    found.sort_by_key(|release| numbers(release));
    found
}

/// The numbers in a release: `6.12.94+deb13-cloud-amd64` is 6, 12, 94, 13, 64.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The files of the modules that guests want and of what these need, in the order to load them.
fn modules(base: &Path, release: &str, flavour: Flavour) -> Result<Vec<PathBuf>> {
    let index = base.join("lib/modules").join(release).join("modules.dep");
    if !index.exists() {
        sh::output(Command::new("depmod").arg("-b").arg(base).arg(release))?;
    }
    let index = fs::read_to_string(&index).with_context(|| format!("cannot read {}", index.display()))?;
    // What is not listed is built in, of which not every package tells.
    let drivers = flavour.modules.iter().filter(|name| index.contains(&format!("/{name}.ko")));
    let mut command = Command::new("modprobe");
    command
        .args(["-C", "/dev/null", "-d"])
        .arg(base)
        .args(["-S", release, "--show-depends", "--all"])
        .args(MODULES)
        .args(drivers);
    let told = sh::output(&mut command)?;
    let files = told.lines().filter_map(|line| line.strip_prefix("insmod "));
    let mut found: Vec<PathBuf> = Vec::new();
    for file in files.map(|file| PathBuf::from(file.trim())) {
        if !found.contains(&file) {
            found.push(file);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(flavour: Flavour) -> Vec<String> {
        let names = [
            "linux-image-6.18.5+deb13-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.12.107+deb12-amd64",
            "linux-image-6.12.107+deb12-rt-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
        ];
        releases(&names.join("\n"), flavour)
    }

    #[test]
    fn a_series_means_its_newest_release() {
        let offered = offered(Flavour::CLOUD);
        let cases = [
            ("6.1", Some("6.1.0-56-cloud-amd64")),
            ("6.12", Some("6.12.107+deb12-cloud-amd64")),
            ("newest", Some("6.18.5+deb13-cloud-amd64")),
            ("6.12.94+deb13-cloud-amd64", Some("6.12.94+deb13-cloud-amd64")),
            ("6", Some("6.18.5+deb13-cloud-amd64")),
            ("6.5", None),
            ("latest", None),
            ("", None),
        ];
        for (wanted, expected) in cases {
            assert_eq!(resolve(&offered, wanted).ok(), expected, "{wanted}");
        }
    }
    #[test]
    fn a_flavour_is_not_taken_for_another() {
        assert_eq!(offered(Flavour::HARDWARE), ["6.12.107+deb12-amd64"]);
    }
}
