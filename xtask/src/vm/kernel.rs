//! Debian's kernels: which are offered, and fetching one with the modules that the tests' networks need.
//!
//! By apt, with its checks of signatures, but in a root of its own: neither the machine's package sources nor its
//! installed packages are touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::sh;
use crate::ui;

/// The kernels for virtual machines: the same source and BPF as those for hardware, at a third of the size.
const FLAVOUR: &str = "-cloud-amd64";
/// Where Debian's kernels from 6.1 on are: the path below the archive's host, and the suite.
const SUITES: [(&str, &str); 6] = [
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-updates"),
    ("debian", "trixie-backports"),
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the list of packages may be.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// What the networks of the tests are made of, where it is not built in.
const MODULES: [&str; 4] = ["bridge", "ifb", "tun", "veth"];

/// A kernel, ready to be started.
pub struct Kernel {
    /// What uname says: `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// Its image.
    pub image: PathBuf,
    /// Module files, each after those it needs.
    pub modules: Vec<PathBuf>,
}

/// The archive, as an apt root of its own sees it.
pub struct Archive {
    home: PathBuf,
    offered: Vec<String>,
}

impl Archive {
    /// Asks the archive what it offers; what is fetched is kept below `home`.
    pub fn open(home: &Path) -> Result<Self> {
        let mut archive = Self { home: home.to_owned(), offered: Vec::new() };
        archive.configure()?;
        let age = fs::metadata(archive.stamp()).and_then(|meta| meta.modified()).ok();
        let age = age.and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_none_or(|age| age > FRESH) {
            sh::output(archive.apt("apt-get").args(["-q", "update", "--error-on=any"]))
                .context("cannot ask the archive which kernels there are")?;
            fs::write(archive.stamp(), "")?;
        }
        let names = sh::output(archive.apt("apt-cache").args(["pkgnames", "linux-image-"]))?;
        archive.offered = releases(&names);
        ensure!(!archive.offered.is_empty(), "the archive offers no kernel linux-image-*{FLAVOUR}");
        Ok(archive)
    }

    /// The release that is meant by `newest`, a series (`6.1`) or a release.
    pub fn resolve(&self, wanted: &str) -> Result<&str> {
        let series = numbers(wanted);
        let fits = |release: &&String| {
            wanted == "newest"
                || *release == wanted
                || (!series.is_empty()
                    && wanted.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                    && numbers(release).starts_with(&series))
        };
        self.offered.iter().rfind(fits).map(String::as_str).with_context(|| {
            format!("the archive offers no kernel {wanted}; it offers: {}", self.offered.join(" "))
        })
    }

    /// Fetches a release, unless it is there.
    pub fn kernel(&self, release: &str) -> Result<Kernel> {
        let home = self.home.join("kernels").join(release);
        if !home.exists() {
            // Moved to its name when it is whole.
            let work = self.home.join(format!("kernels/part-{}", process::id()));
            self.fetch(release, &work)?;
            fs::rename(&work, &home).with_context(|| format!("cannot keep {}", home.display()))?;
        }
        // Debian has moved the modules to where the rest of the files is.
        let base =
            [home.clone(), home.join("usr")].into_iter().find(|base| base.join("lib/modules").is_dir());
        let base = base.with_context(|| format!("no modules in the packages of {release}"))?;
        let own = base.join("lib/modules").join(release);
        let images = [home.join("boot").join(format!("vmlinuz-{release}")), own.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        let image = image.with_context(|| format!("no kernel in the packages of {release}"))?;
        Ok(Kernel { release: release.to_owned(), image, modules: modules(&base, release)? })
    }

    fn fetch(&self, release: &str, into: &Path) -> Result<()> {
        let image = format!("linux-image-{release}");
        let depends = sh::output(self.apt("apt-cache").args(["depends", "--important", &image]))?;
        let parts = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        // Since 7.x the image's package is empty and the files are in two others.
        let parts =
            parts.filter(|name| name.starts_with("linux-binary-") || name.starts_with("linux-modules-"));
        let names: Vec<&str> = std::iter::once(image.as_str()).chain(parts).collect();
        ui::note(&format!("vm: fetching {}", names.join(" ")));
        if into.exists() {
            fs::remove_dir_all(into)?;
        }
        let debs = into.join("debs");
        fs::create_dir_all(&debs)?;
        sh::output(self.apt("apt-get").current_dir(&debs).args(["-q", "download"]).args(names))
            .with_context(|| format!("cannot fetch the kernel {release}"))?;
        for deb in fs::read_dir(&debs)? {
            sh::output(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(into))?;
        }
        fs::remove_dir_all(&debs)?;
        Ok(())
    }

    fn stamp(&self) -> PathBuf {
        self.home.join("apt/updated")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.home.join("apt/apt.conf")).env("LC_ALL", "C");
        command
    }

    fn configure(&self) -> Result<()> {
        let root = self.home.join("apt");
        for folder in ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"]
        {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let host = archive_host()?;
        let source =
            |(path, suite)| format!("deb [arch=amd64 signed-by={KEYRING}] {host}{path} {suite} main\n");
        let sources: String = SUITES.into_iter().map(source).collect();
        let list = root.join("etc/sources.list");
        let root = root.display();
        let conf = format!(
            "Dir::State \"{root}/state\"; Dir::State::status \"{root}/status\"; Dir::Cache \"{root}/cache\";\n\
             Dir::Etc \"{root}/etc\"; Acquire::Languages \"none\"; APT::Sandbox::User \"\";\n\
             APT::Architecture \"amd64\"; APT::Architectures \"amd64\";\n"
        );
        fs::write(self.home.join("apt/apt.conf"), conf)?;
        fs::write(self.home.join("apt/status"), "")?;
        if fs::read_to_string(&list).is_ok_and(|old| old == sources) {
            return Ok(());
        }
        // The index is of other sources, if there is one.
        let _ = fs::remove_file(self.stamp());
        fs::write(list, sources).context("cannot write the list of package sources")
    }
}

/// Where this machine gets Debian from, up to the path of the archive.
fn archive_host() -> Result<String> {
    let uris = sh::output(Command::new("apt-get").args(["update", "--print-uris"]))?;
    let hosts = uris.lines().filter_map(|line| line.trim_start_matches('\'').split_once("debian/dists/"));
    let Some((host, _)) = hosts.into_iter().next() else {
        bail!("no source of this machine's apt is Debian's archive, from which the kernels come");
    };
    Ok(host.to_owned())
}

/// The releases among package names, in rising order.
fn releases(names: &str) -> Vec<String> {
    let release = |name: &str| {
        let release = name.strip_prefix("linux-image-")?;
        let version = release.strip_suffix(FLAVOUR)?;
        // `6.1-cloud-amd64` is no kernel but a package that needs the newest of its series.
        let is_one = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains(['-', '+']);
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

/// The files of [`MODULES`] and of what they need, in the order to load them.
fn modules(base: &Path, release: &str) -> Result<Vec<PathBuf>> {
    if !base.join("lib/modules").join(release).join("modules.dep").exists() {
        sh::output(Command::new("depmod").arg("-b").arg(base).arg(release))?;
    }
    let mut command = Command::new("modprobe");
    command
        .args(["-C", "/dev/null", "-d"])
        .arg(base)
        .args(["-S", release, "--show-depends", "--all"])
        .args(MODULES);
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

    fn archive() -> Archive {
        let names = [
            "linux-image-6.18.5+deb13-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.107+deb12-cloud-amd64",
            "linux-image-6.12.107+deb12-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
        ];
        Archive { home: PathBuf::new(), offered: releases(&names.join("\n")) }
    }

    #[test]
    fn a_series_means_its_newest_release() {
        let archive = archive();
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
            assert_eq!(archive.resolve(wanted).ok(), expected, "{wanted}");
        }
    }
}
