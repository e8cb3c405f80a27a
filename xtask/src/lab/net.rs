//! The lab's network: a switch and its hosts, each in a network namespace of its own.
//!
//! All names carry the id of the process that made them, so that two labs never meet and a lab whose process is gone
//! can be told from one in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sh;

/// A host of the lab.
pub struct Host {
    /// Its name, which is also the name of its port at the switch (15 letters at most).
    pub name: &'static str,
    /// Hardware address, with the prefix of a maker that builds such things.
    pub mac: &'static str,
    pub v4: &'static str,
    pub v6: &'static str,
    /// Whether it must never be cut off.
    pub protected: bool,
    /// TCP ports it serves.
    pub serves: &'static [u16],
    /// Whom it talks to all the time: name and TCP port.
    pub talks_to: &'static [(&'static str, u16)],
}

/// The hosts; the last one becomes infected.
pub const HOSTS: [Host; 5] = [
    Host {
        name: "nurse-pc",
        mac: "d4:92:34:00:00:11",
        v4: "10.77.0.11",
        v6: "fd77::11",
        protected: false,
        serves: &[],
        talks_to: &[("pacs", 104), ("printer", 9100)],
    },
    Host {
        name: "pacs",
        mac: "88:b4:36:00:00:12",
        v4: "10.77.0.12",
        v6: "fd77::12",
        protected: true,
        serves: &[104, 2575],
        talks_to: &[],
    },
    Host {
        name: "infusion-pump",
        mac: "60:f6:73:00:00:13",
        v4: "10.77.0.13",
        v6: "fd77::13",
        protected: true,
        serves: &[],
        talks_to: &[("pacs", 2575)],
    },
    Host {
        name: "printer",
        mac: "58:38:79:00:00:14",
        v4: "10.77.0.14",
        v6: "fd77::14",
        protected: false,
        serves: &[9100],
        talks_to: &[],
    },
    Host {
        name: "visitor-laptop",
        mac: "04:92:26:00:00:15",
        v4: "10.77.0.15",
        v6: "fd77::15",
        protected: false,
        serves: &[],
        talks_to: &[("printer", 9100)],
    },
];

/// The index in [`HOSTS`] of the host that becomes infected.
pub const INFECTED: usize = HOSTS.len() - 1;

/// The switch's name within a lab.
pub const SWITCH: &str = "sw";

const PREFIX: &str = "sekisho-lab-";
const NETNS: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf";

/// The host with this name.
pub fn host(name: &str) -> Option<&'static Host> {
    HOSTS.iter().find(|host| host.name == name)
}

/// One lab's names.
#[derive(Clone, Copy)]
pub struct Lab {
    id: u32,
}

impl Lab {
    /// The lab of a process.
    pub fn of_process(id: u32) -> Self {
        Self { id }
    }

    /// The namespace of a host or of the switch.
    pub fn namespace(&self, name: &str) -> String {
        format!("{PREFIX}{}-{name}", self.id)
    }

    /// The folder for state, configuration, socket and logs.
    pub fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{PREFIX}{}", self.id))
    }

    /// Where its sensor pins its maps and links.
    pub fn pins(&self) -> PathBuf {
        Path::new(PINS).join(format!("{PREFIX}{}", self.id))
    }

    /// A command inside a namespace. Not `ip netns exec`: that mounts /sys anew, without the BPF file system.
    pub fn inside(&self, name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={NETNS}/{}", self.namespace(name))).arg("--").arg(program);
        sh::scrub(&mut command);
        command
    }

    /// Makes the switch and connects all hosts.
    pub fn create(&self) -> Result<()> {
        let switch = self.namespace(SWITCH);
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link set lo up"))?;
        // Without snooping: nobody here answers its questions, and it would hold back neighbour discovery.
        ip(&format!("-n {switch} link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        // A frame that the switch forwards is none of its firewall's business. Not every kernel has the switches.
        for family in ["iptables", "ip6tables", "arptables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            let set = format!("if [ -e {path} ]; then echo 0 > {path}; fi");
            sh::output(self.inside(SWITCH, "sh").args(["-c", &set]))?;
        }
        for host in &HOSTS {
            self.connect(host).with_context(|| format!("cannot connect {}", host.name))?;
        }
        Ok(())
    }

    fn connect(&self, host: &Host) -> Result<()> {
        let Host { name, mac, v4, v6, .. } = host;
        let (switch, ns) = (self.namespace(SWITCH), self.namespace(name));
        ip(&format!("netns add {ns}"))?;
        ip(&format!("link add eth0 netns {ns} address {mac} type veth peer name {name} netns {switch}"))?;
        ip(&format!("-n {switch} link set {name} master br0 up"))?;
        ip(&format!("-n {ns} link set lo up"))?;
        ip(&format!("-n {ns} addr add {v4}/24 dev eth0"))?;
        // Nobody else has this address, and the second of waiting for an objection is not wanted.
        ip(&format!("-n {ns} addr add {v6}/64 dev eth0 nodad"))?;
        ip(&format!("-n {ns} link set eth0 up"))
    }

    /// Ends what runs inside, then removes namespaces, pins and folder. Returns what could not be removed.
    pub fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        let namespaces = self.namespaces();
        for namespace in &namespaces {
            end_processes(namespace);
        }
        for namespace in &namespaces {
            if let Err(error) = ip(&format!("netns delete {namespace}")) {
                left.push(format!("{error:#}"));
            }
        }
        for folder in [self.pins(), self.folder()] {
            if folder.exists()
                && let Err(error) = fs::remove_dir_all(&folder)
            {
                left.push(format!("{}: {error}", folder.display()));
            }
        }
        left
    }

    fn namespaces(&self) -> Vec<String> {
        let prefix = format!("{PREFIX}{}-", self.id);
        names_in(Path::new(NETNS)).into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// All labs on this machine whose process is gone.
    pub fn left_over() -> Vec<Self> {
        let places = [Path::new(NETNS), Path::new(PINS), &std::env::temp_dir()];
        let mut ids: Vec<u32> = places
            .into_iter()
            .flat_map(names_in)
            .filter_map(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok())
            .filter(|id| !is_xtask(*id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(Self::of_process).collect()
    }
}

/// One `ip` command; none of the lab's names has a blank.
fn ip(arguments: &str) -> Result<()> {
    sh::output(Command::new("ip").args(arguments.split(' '))).map(drop)
}

/// Asks the processes in a namespace of the lab to end, and makes them after 2 seconds.
fn end_processes(namespace: &str) {
    for (signal, tries) in [(Signal::SIGTERM, 40), (Signal::SIGKILL, 20)] {
        let pids = pids_in(namespace);
        for pid in &pids {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        for _ in 0..tries {
            if pids_in(namespace).is_empty() {
                return;
            }
            sleep(Duration::from_millis(50));
        }
    }
}

fn pids_in(namespace: &str) -> Vec<i32> {
    let listed = sh::try_output(Command::new("ip").args(["netns", "pids", namespace])).unwrap_or_default();
    listed.lines().filter_map(|pid| pid.trim().parse().ok()).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Whether this process runs and is a run of this program: ids are used again.
fn is_xtask(id: u32) -> bool {
    fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "xtask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_can_be_connected_and_know_whom_they_talk_to() {
        for host in &HOSTS {
            assert!(host.name.len() <= 15, "{} is too long for a port", host.name);
            for (peer, port) in host.talks_to {
                let serves = super::host(peer).map(|peer| peer.serves.contains(port));
                assert_eq!(serves, Some(true), "{} talks to {peer}:{port}", host.name);
            }
        }
    }
}
