//! Debian's archive, from which the kernels and QEMU come.
//!
//! By apt, with its checks of signatures, but in a root of its own where nothing is installed: neither the machine's
//! package sources nor its installed packages are touched, or matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::sh;

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

/// The archive, as an apt root of its own sees it.
pub struct Archive {
    home: PathBuf,
}

impl Archive {
    /// Asks the archive what it offers; what is fetched is kept below `home`.
    pub fn open(home: &Path) -> Result<Self> {
        let archive = Self { home: home.to_owned() };
        archive.configure()?;
        let age = fs::metadata(archive.stamp()).and_then(|meta| meta.modified()).ok();
        let age = age.and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_none_or(|age| age > FRESH) {
            sh::output(archive.apt("apt-get").args(["-q", "update", "--error-on=any"]))
                .context("cannot ask the archive what there is")?;
            fs::write(archive.stamp(), "")?;
        }
        Ok(archive)
    }

    /// A folder for what is fetched.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The names of packages that begin so.
    pub fn names(&self, prefix: &str) -> Result<String> {
        sh::output(self.apt("apt-cache").args(["pkgnames", prefix]))
    }

    /// The packages that a package names as needed.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let told = sh::output(self.apt("apt-cache").args(["depends", "--important", package]))?;
        let names = told.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// A package and all that it needs on a machine where there is nothing.
    pub fn closure(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.apt("apt-get");
        let told =
            sh::output(command.args(["-q", "--simulate", "--no-install-recommends", "install", package]))?;
        let names = told.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches packages and unpacks them into a folder, which appears when it is whole.
    pub fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        // One run at a time is here; what an earlier one that was ended has left goes.
        let work = self.home.join("part");
        clear(&work)?;
        let debs = work.join("debs");
        fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
        sh::output(self.apt("apt-get").current_dir(&debs).args(["-q", "download"]).args(packages))?;
        for deb in fs::read_dir(&debs)? {
            sh::output(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&work))?;
        }
        fs::remove_dir_all(&debs)?;
        clear(folder)?;
        fs::create_dir_all(folder.parent().unwrap_or(folder))?;
        fs::rename(&work, folder).with_context(|| format!("cannot keep {}", folder.display()))
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
        bail!("no source of this machine's apt is Debian's archive, from which kernels and QEMU come");
    };
    Ok(host.to_owned())
}

/// Removes a folder, if it is there.
fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
