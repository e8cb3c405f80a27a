//! The guest's file system: an archive that the kernel unpacks into memory (initramfs: cpio's "newc" format).
//!
//! It has the tests as they were built for this machine, the programs they call and the libraries of all these, each at
//! its own path. Nothing of the machine's disk is seen by the guest.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Plan;
use super::kernel::Kernel;
use crate::sh::{self, Tree};

/// What the tests call. Everything else is busybox.
const TOOLS: [&str; 19] = [
    "bpftool",
    "bridge",
    "cp",
    "date",
    "env",
    "ethtool",
    "find",
    "ip",
    "kill",
    "nc",
    "nmap",
    "ping",
    "prometheus",
    "promtool",
    "setpriv",
    "sh",
    "sysctl",
    "tc",
    "tcpreplay",
];
/// Libraries that a test has a program load, besides its own.
const PRELOADED: [&str; 1] = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"];
/// Files that these, or the product, read.
const DATA: [&str; 6] = [
    "/etc/group",
    "/etc/passwd",
    "/usr/share/ieee-data/oui.txt",
    "/usr/share/nmap/nmap-payloads",
    "/usr/share/nmap/nmap-protocols",
    "/usr/share/nmap/nmap-services",
];
const FOLDERS: [&str; 9] = ["busybox", "dev", "proc", "root", "run", "sys", "tmp", "var/tmp", "vm/modules"];

/// Folders of the root that are in /usr since Debian 12.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

const INIT: &[u8] = include_bytes!("init.sh");

/// Type and rights of what is in the archive.
const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_000;
const PROGRAM: u32 = FILE | 0o755;

enum Content {
    Folder,
    /// To that path.
    Link(String),
    Bytes(Vec<u8>),
    /// Copied from this machine when the archive is written.
    File(PathBuf),
}

/// All that is in a guest, by its path without the leading slash.
pub struct Image(BTreeMap<PathBuf, Content>);

impl Image {
    /// Puts together what guests of all kernels have: the plan, and those of the test programs (names and files) that it
    /// needs. `work` is for intermediate files.
    pub fn new(tree: &Tree, work: &Path, tests: &[(String, PathBuf)], plan: &Plan) -> Result<Self> {
        let mut image = Self(BTreeMap::new());
        for folder in FOLDERS {
            image.put(Path::new(folder), Content::Folder);
        }
        for folder in MERGED {
            image.put(&Path::new("usr").join(folder), Content::Folder);
            image.0.insert(folder.into(), Content::Link(format!("usr/{folder}")));
        }
        image.put(Path::new("init"), Content::Bytes(INIT.to_vec()));
        image.put(Path::new("bin/busybox"), Content::File(find("busybox")?));
        for tool in TOOLS {
            let path = find(tool)?;
            image.program(&path, &path)?;
        }
        for library in PRELOADED {
            image.program(Path::new(library), Path::new(library))?;
        }
        for file in DATA {
            image.file(Path::new(file), Path::new(file))?;
        }
        // Where the tests look for what is in the work tree: from the folder of their own package.
        image.put(below(&tree.root.join("bpf-tests")), Content::Folder);
        for folder in ["deploy", "bpf-tests/tests/data"].map(|folder| tree.root.join(folder)) {
            image.folder(&folder, &folder)?;
        }
        let data = captures(tree);
        if data.is_dir() {
            image.folder(Path::new("/vm/data"), &data)?;
        }
        if plan.needs_product() {
            image.stripped(Path::new("/vm/sekisho"), &tree.sekisho(), work)?;
        }
        for (name, file) in tests.iter().filter(|(name, _)| plan.steps.iter().any(|(step, _)| step == name)) {
            image.stripped(&Path::new("/vm/tests").join(name), file, work)?;
        }
        let steps: String = plan.steps.iter().map(|(name, filter)| format!("{name} {filter}\n")).collect();
        image.put(Path::new("vm/plan"), Content::Bytes(steps.into_bytes()));
        Ok(image)
    }

    /// Exchanges the modules for those of a kernel.
    pub fn modules(&mut self, kernel: &Kernel) -> Result<()> {
        self.0.retain(|path, _| path.parent() != Some(Path::new("vm/modules")));
        for (number, file) in kernel.modules.iter().enumerate() {
            let bytes = if file.extension().is_some_and(|extension| extension == "xz") {
                let output = Command::new("xz").arg("-dc").arg(file).output().context("cannot start xz")?;
                ensure!(output.status.success(), "cannot decompress {}", file.display());
                output.stdout
            } else {
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?
            };
            // The guest loads them in the order of their names.
            self.put(&Path::new("vm/modules").join(format!("{number:02}.ko")), Content::Bytes(bytes));
        }
        Ok(())
    }

    /// Writes the archive.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = BufWriter::new(file);
        for (number, (path, content)) in self.0.iter().enumerate() {
            let context = || format!("cannot pack {}", path.display());
            match content {
                Content::Folder => entry(&mut out, number, path, FOLDER, 0, io::empty()),
                Content::Link(to) => entry(&mut out, number, path, LINK, to.len() as u64, to.as_bytes()),
                Content::Bytes(bytes) => {
                    entry(&mut out, number, path, PROGRAM, bytes.len() as u64, &bytes[..])
                }
                Content::File(source) => {
                    let file = File::open(source).with_context(context)?;
                    let meta = file.metadata().with_context(context)?;
                    entry(&mut out, number, path, FILE | meta.permissions().mode() & 0o7777, meta.len(), file)
                }
            }
            .with_context(context)?;
        }
        entry(&mut out, 0, Path::new("TRAILER!!!"), 0, 0, io::empty())?;
        out.flush().context("cannot write the guest's file system")
    }

    /// Adds something, and the folders it is in.
    fn put(&mut self, path: &Path, content: Content) {
        let merged = MERGED.iter().any(|folder| path.starts_with(folder));
        let path = if merged { &Path::new("usr").join(path) } else { path };
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.0.entry(folder.to_owned()).or_insert(Content::Folder);
        }
        self.0.insert(path.to_owned(), content);
    }

    fn file(&mut self, path: &Path, source: &Path) -> Result<()> {
        let source = source.canonicalize().with_context(|| format!("cannot find {}", source.display()))?;
        self.put(below(path), Content::File(source));
        Ok(())
    }

    fn folder(&mut self, path: &Path, source: &Path) -> Result<()> {
        let entries = fs::read_dir(source).with_context(|| format!("cannot read {}", source.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = path.join(entry.file_name());
            if entry.path().is_dir() {
                self.folder(&path, &entry.path())?;
            } else {
                self.file(&path, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds a program and the shared libraries it needs.
    fn program(&mut self, path: &Path, source: &Path) -> Result<()> {
        self.file(path, source)?;
        // It fails for a static program, which needs none.
        let told = sh::try_output(Command::new("ldd").arg(source)).unwrap_or_default();
        for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
            self.file(Path::new(library), Path::new(library))?;
        }
        Ok(())
    }

    /// Adds a program without its debug information, which is most of it.
    fn stripped(&mut self, path: &Path, source: &Path, work: &Path) -> Result<()> {
        let name = path.file_name().context("a program without a name")?;
        let lean = work.join(name);
        sh::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&lean).arg(source))?;
        self.program(path, &lean)
    }
}

/// The captures that some tests replay: the same folder that they find on this machine.
fn captures(tree: &Tree) -> PathBuf {
    env::var_os("SEKISHO_DATA").map_or_else(|| tree.root.join("../shared/data"), PathBuf::from)
}

/// A path in the guest's root.
fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// A program on PATH, or where the system's own are.
fn find(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("there is no {program} on this machine: run `cargo xtask setup`"))
}

/// Writes one entry: "070701", thirteen numbers of eight hexadecimal digits, name, content, each padded to four bytes.
fn entry(
    out: &mut impl Write,
    number: usize,
    path: &Path,
    mode: u32,
    size: u64,
    mut content: impl io::Read,
) -> io::Result<()> {
    let name = path.as_os_str().as_encoded_bytes();
    let links = 1;
    let [owner, group, time, major, minor, own_major, own_minor, check] = [0; 8];
    let length = name.len() as u64 + 1;
    write!(out, "070701{number:08x}{mode:08x}{owner:08x}{group:08x}{links:08x}{time:08x}{size:08x}")?;
    write!(out, "{major:08x}{minor:08x}{own_major:08x}{own_minor:08x}{length:08x}{check:08x}")?;
    out.write_all(name)?;
    out.write_all(b"\0")?;
    pad(out, 110 + length)?;
    let copied = io::copy(&mut content, out)?;
    if copied != size {
        return Err(io::Error::other("the file changed while it was read"));
    }
    pad(out, size)
}

fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let missing = written.next_multiple_of(4) - written;
    io::copy(&mut io::Read::take(io::repeat(0), missing), out).map(drop)
}
