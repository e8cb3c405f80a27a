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
    privileges().is_ok()
}

fn privileges() -> Result<(), BpfError> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    // Without procfs nothing is known; the kernel will tell in the next step.
    let Some(missing) = effective(&status).map(missing) else { return Ok(()) };
    if missing.is_empty() { Ok(()) } else { Err(BpfError::Privileges { missing: missing.join(" and ") }) }
}

/// The effective capabilities in the text of /proc/PID/status.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The capabilities that are needed and not there.
fn missing(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    let mut missing = Vec::new();
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    missing
}

fn ring_buffer() -> Result<(), BpfError> {
    match sys::create_ring() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(BpfError::Privileges { missing: "CAP_BPF".to_owned() })
        }
        Err(source) => Err(BpfError::NoRingBuffer { source, release: release() }),
    }
}

/// `uname -r`.
fn release() -> String {
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => format!("Linux {}", release.trim()),
        Err(_) => "an unknown release".to_owned(),
    }
}

/// The directory itself need not be there yet; the nearest one above it that is decides.
fn bpf_fs(pin_dir: &Path) -> Result<(), BpfError> {
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
        let cases: [(&str, u64, &[&str]); 4] = [
            ("nobody", 0, &["CAP_BPF", "CAP_NET_ADMIN"]),
            ("root", u64::MAX, &[]),
            ("a service of two capabilities", 1 << CAP_BPF | 1 << CAP_NET_ADMIN, &[]),
            ("an old kernel's root without network", 1 << CAP_SYS_ADMIN, &["CAP_NET_ADMIN"]),
        ];
        for (name, effective, expected) in cases {
            assert_eq!(missing(effective), expected, "{name}");
        }
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
