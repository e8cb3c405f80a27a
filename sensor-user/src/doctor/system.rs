//! The machine: kernel, rights, file system.

use super::Finding;
use crate::bpf::BpfError;
use crate::bpf::survey::SystemFacts;

/// Without links, which came then, nothing outlives the daemon.
const OLDEST: (u32, u32) = (5, 9);
/// That of Debian 12: the oldest Sekisho is tested on.
const TESTED: (u32, u32) = (6, 1);
/// From here on maps are no locked memory.
const NO_MEMLOCK: (u32, u32) = (5, 11);

/// Judges the machine.
pub fn judge(facts: &SystemFacts) -> Vec<Finding> {
    vec![kernel(facts), rights(facts), ring_buffer(facts), bpf_fs(facts), jit(facts), memlock(facts)]
}

fn kernel(facts: &SystemFacts) -> Finding {
    let (release, hint) = (facts.release.clone(), "install a newer one: Debian 12 has 6.1");
    match facts.kernel {
        // It could not be asked; the checks of what it can do say more than its number.
        (0, 0) => Finding::ok("kernel", release),
        old if old < OLDEST => Finding::fail("kernel", format!("{release} is too old: 5.9 is needed"), hint),
        old if old < TESTED => {
            Finding::warning("kernel", format!("{release} is older than any Sekisho was tested on"), hint)
        }
        _ => Finding::ok("kernel", release),
    }
}

fn rights(facts: &SystemFacts) -> Finding {
    if facts.missing.is_empty() {
        return Finding::ok("capabilities", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    }
    let found = format!("missing: {}", facts.missing.join(", "));
    Finding::fail("capabilities", found, "run as root, or give the service these capabilities")
}

fn ring_buffer(facts: &SystemFacts) -> Finding {
    match &facts.ring_buffer {
        _ if !facts.missing.is_empty() => Finding::ok("ring buffers", "not tried: it takes the capabilities"),
        Ok(()) => Finding::ok("ring buffers", "the kernel makes them"),
        Err(error) => Finding::fail("ring buffers", error.to_string(), "install a newer kernel"),
    }
}

fn bpf_fs(facts: &SystemFacts) -> Finding {
    match &facts.bpf_fs {
        Ok(()) => Finding::ok("bpffs", "there is a BPF file system for the pins"),
        Err(BpfError::NoBpfFs { path, mount }) => {
            let found = format!("{} is not on a BPF file system", path.display());
            Finding::fail("bpffs", found, format!("mount -t bpf bpf {}", mount.display()))
        }
        Err(error) => Finding::fail("bpffs", error.to_string(), "run as root"),
    }
}

fn jit(facts: &SystemFacts) -> Finding {
    match facts.jit {
        Some(false) => Finding::warning(
            "jit",
            "BPF programs are interpreted: each frame costs several times as much",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(true) => Finding::ok("jit", "BPF programs are compiled"),
        None => Finding::ok("jit", "the kernel does not tell here whether BPF programs are compiled"),
    }
}

fn memlock(facts: &SystemFacts) -> Finding {
    if facts.kernel >= NO_MEMLOCK || facts.memlock {
        return Finding::ok("memlock", "no limit applies");
    }
    Finding::warning(
        "memlock",
        "this kernel counts maps as locked memory, which is limited",
        "run as root, or set LimitMEMLOCK=infinity in the service",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn good() -> SystemFacts {
        SystemFacts {
            release: "Linux 6.12.1".to_owned(),
            kernel: (6, 12),
            missing: Vec::new(),
            ring_buffer: Ok(()),
            bpf_fs: Ok(()),
            jit: Some(true),
            memlock: false,
        }
    }

    #[test]
    fn each_fault_is_found_under_its_name() {
        let no_fs = BpfError::NoBpfFs { path: "/sys/fs/bpf/x".into(), mount: "/sys/fs/bpf".into() };
        let no_ring = BpfError::NoRingBuffer {
            source: std::io::Error::from_raw_os_error(libc::EINVAL),
            release: "Linux 5.4".to_owned(),
        };
        let cases: [(SystemFacts, &str, Level); 8] = [
            (SystemFacts { kernel: (5, 8), ..good() }, "kernel", Level::Fail),
            (SystemFacts { kernel: (5, 15), ..good() }, "kernel", Level::Warning),
            (SystemFacts { missing: vec!["CAP_PERFMON"], ..good() }, "capabilities", Level::Fail),
            (SystemFacts { ring_buffer: Err(no_ring), ..good() }, "ring buffers", Level::Fail),
            (SystemFacts { bpf_fs: Err(no_fs), ..good() }, "bpffs", Level::Fail),
            (SystemFacts { jit: Some(false), ..good() }, "jit", Level::Warning),
            (SystemFacts { kernel: (5, 10), ..good() }, "memlock", Level::Warning),
            (SystemFacts { kernel: (0, 0), memlock: true, ..good() }, "none", Level::Ok),
        ];
        for (facts, check, level) in cases {
            let bad: Vec<_> = judge(&facts).into_iter().filter(|f| f.level != Level::Ok).collect();
            let found = bad.iter().find(|finding| finding.check == check);
            assert_eq!(found.map_or(Level::Ok, |finding| finding.level), level, "{check}: {bad:?}");
            assert!(bad.iter().all(|finding| finding.hint.is_some()), "{bad:?}");
        }
        assert!(judge(&good()).iter().all(|finding| finding.level == Level::Ok));
    }
}
