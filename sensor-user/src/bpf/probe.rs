//! Whether this process, this kernel and this file system can do what the sensor needs, asked before anything is made.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::BpfError;
use super::sys;

/// Capability numbers of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Asks for privileges, ring buffers and a BPF file system at `pin_dir`, in this order.
///
/// # Errors
///
/// [`BpfError::Privileges`], [`BpfError::NoRingBuffer`] or [`BpfError::NoBpfFs`], each with what to do.
pub fn probe(pin_dir: &Path) -> Result<(), BpfError> {
    privileges()?;
    // Kernels before 5.11 count maps against the limit on locked memory. Newer ones do not: a refusal is no error.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    ring_buffer()?;
    bpf_fs(pin_dir)
}

/// Whether this process may load and attach programs at all.
pub fn may_load() -> bool {
    missing_privileges().is_empty()
}

/// The capabilities that are needed and not there.
pub fn missing_privileges() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    // Without procfs nothing is known; the kernel will tell in the next step.
    effective(&status).map(missing).unwrap_or_default()
}

fn privileges() -> Result<(), BpfError> {
    let missing = missing_privileges();
    if missing.is_empty() { Ok(()) } else { Err(BpfError::Privileges { missing: missing.join(" and ") }) }
}

/// The effective capabilities in the text of /proc/PID/status.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The needed ones that are not among these capabilities. CAP_SYS_ADMIN stands for those that were part of it before
/// Linux 5.8. Without CAP_PERFMON the verifier refuses the program's arithmetic on packet pointers.
fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    let mut missing = Vec::new();
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(CAP_PERFMON) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_PERFMON");
    }
    missing
}

/// Makes a ring buffer, to see whether the kernel can.
pub fn ring_buffer() -> Result<(), BpfError> {
    match sys::create_ring() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(BpfError::Privileges { missing: "CAP_BPF".to_owned() })
        }
        Err(source) => Err(BpfError::NoRingBuffer { source, release: release() }),
    }
}

/// `uname -r`.
pub fn release() -> String {
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => format!("Linux {}", release.trim()),
        Err(_) => "an unknown release".to_owned(),
    }
}

/// The kernel's version, two numbers of it; 0.0 if it is not to be had.
pub fn kernel_version() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    parse_version(&release).unwrap_or_default()
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The directory itself need not be there yet; the nearest one above it that is decides.
pub fn bpf_fs(pin_dir: &Path) -> Result<(), BpfError> {
    let existing = pin_dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match statfs(existing) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        Ok(_) => {
            let mount = if pin_dir.starts_with("/sys/fs/bpf") { Path::new("/sys/fs/bpf") } else { existing };
            Err(BpfError::NoBpfFs { path: pin_dir.to_owned(), mount: mount.to_owned() })
        }
        Err(error) => {
            Err(BpfError::Pin { action: "looking at", path: existing.to_owned(), source: error.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let two = 1 << CAP_BPF | 1 << CAP_NET_ADMIN;
        let cases: [(&str, u64, &[&str]); 5] = [
            ("nobody", 0, &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]),
            ("root", u64::MAX, &[]),
            ("a service of three capabilities", two | 1 << CAP_PERFMON, &[]),
            ("a service of two capabilities", two, &["CAP_PERFMON"]),
            ("an old kernel's root without network", 1 << CAP_SYS_ADMIN, &["CAP_NET_ADMIN"]),
        ];
        for (name, effective, expected) in cases {
            assert_eq!(missing(effective), expected, "{name}");
        }
    }

    #[test]
    fn a_kernel_version_is_its_first_two_numbers() {
        assert_eq!(parse_version("6.12.48+deb13-amd64\n"), Some((6, 12)));
        assert_eq!(parse_version("6.1-rc3"), Some((6, 1)));
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn capabilities_are_read_from_the_status_text() {
        assert_eq!(effective("Name:\tx\nCapEff:\t00000000a80425fb\n"), Some(0xa804_25fb));
        assert_eq!(effective("Name:\tx\n"), None);
    }

    #[test]
    fn a_plain_directory_is_no_bpf_file_system() {
        let dir = tempfile::tempdir().expect("a directory");
        let pins = dir.path().join("deeper/still");
        let error = bpf_fs(&pins).expect_err("not a BPF file system");
        assert!(error.to_string().contains("mount -t bpf bpf"), "{error}");
    }
}
