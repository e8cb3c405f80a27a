//! What the driver of an interface can do for XDP, asked of the kernel where it knows (Linux 6.3), else looked up.

use std::fs;
use std::path::Path;

use aya_obj::{Object, ProgramSection};
use rtnetlink::packet_core::parse_u64;
use rtnetlink::packet_route::link::InfoKind;

use super::error::BpfError;
use super::link::Interface;
use super::netlink::{Family, find, put};
use super::object::{OBJECT, PROGRAM};

// Of linux/netdev.h.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// The driver runs XDP programs.
const XDP_ACT_BASIC: u64 = 1;
/// The driver gives a program frames of several buffers.
const XDP_ACT_RX_SG: u64 = 1 << 5;

/// Drivers that run XDP programs: since which kernel, and the longest MTU a program that takes frames of one buffer can
/// be used with, where it is known (docs.ebpf.io, "XDP driver support").
const KNOWN: [(&str, (u32, u32), Option<u32>); 16] = [
    ("atlantic", (5, 19), None),
    ("bnxt_en", (4, 11), None),
    ("bond", (5, 15), None),
    ("i40e", (4, 13), Some(3046)),
    ("ice", (5, 5), Some(3046)),
    ("igb", (5, 10), Some(3046)),
    ("igc", (5, 13), Some(1500)),
    ("ixgbe", (4, 12), Some(3050)),
    ("lan966x", (6, 2), None),
    ("mlx4_core", (4, 8), None),
    ("mlx5_core", (4, 9), Some(3498)),
    ("mtk_soc_eth", (6, 0), None),
    ("mvneta", (5, 5), None),
    ("tun", (4, 14), None),
    ("veth", (4, 19), Some(3520)),
    ("virtio_net", (4, 10), Some(3506)),
];

/// Why a port is filtered less well than it could be, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Problem {
    /// Not filtered: another XDP program is there.
    Busy,
    /// Not filtered: the program of a Sekisho with other pins is there.
    Taken,
    /// Not filtered: the table of ports has no room for it.
    NoRoom,
    /// Not filtered: another reason.
    Failed,
    /// In generic mode: the MTU is longer than the driver takes.
    Mtu,
    /// In generic mode: the driver runs no XDP programs.
    NoNative,
    /// In generic mode: the driver refused, and does not say why.
    Refused,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Busy, Self::Taken, Self::NoRoom, Self::Failed, Self::Mtu, Self::NoNative, Self::Refused];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Taken => "taken",
            Self::NoRoom => "no_room",
            Self::Failed => "failed",
            Self::Mtu => "mtu",
            Self::NoNative => "no_native",
            Self::Refused => "refused",
        }
    }

    /// What kind of problem an error of attaching is.
    pub const fn of(error: &BpfError) -> Self {
        match error {
            BpfError::PortBusy { .. } | BpfError::NotReplaced { .. } => Self::Busy,
            BpfError::PortTaken { .. } => Self::Taken,
            BpfError::IfindexTooLarge { .. } | BpfError::TooManyPorts { .. } => Self::NoRoom,
            _ => Self::Failed,
        }
    }
}

/// What a driver will do with the program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Native {
    /// Run it.
    Yes,
    /// Run it with an MTU of at most so many bytes, which the interface's is above.
    AboveMtu(u32),
    /// Not run it.
    No,
    /// Nobody knows.
    Unknown,
}

/// The name of an interface's driver, or its kind if it has no hardware.
pub fn name(interface: &Interface) -> Option<String> {
    if let Some(kind) = &interface.kind {
        return Some(kind.to_string());
    }
    // Not by /sys/class/net, which may show another network namespace's.
    let (bus, parent) = interface.parent.as_ref()?;
    let link = fs::read_link(Path::new("/sys/bus").join(bus).join("devices").join(parent).join("driver"));
    Some(link.ok()?.file_name()?.to_string_lossy().into_owned())
}

/// Whether the driver runs the program on this interface, with its MTU as it is.
pub fn native(interface: &Interface, kernel: (u32, u32)) -> Native {
    let driver = name(interface);
    let known = KNOWN.iter().find(|(known, ..)| Some(*known) == driver.as_deref());
    judge(xdp_features(interface.ifindex), known, kernel, interface.mtu, takes_fragments())
}

fn judge(
    features: Option<u64>,
    known: Option<&(&str, (u32, u32), Option<u32>)>,
    kernel: (u32, u32),
    mtu: u32,
    fragments: bool,
) -> Native {
    let runs = match (features, known) {
        (Some(features), _) => features & XDP_ACT_BASIC != 0,
        (None, Some((_, since, _))) => kernel >= *since,
        (None, None) => return Native::Unknown,
    };
    if !runs {
        return Native::No;
    }
    if fragments && features.is_some_and(|features| features & XDP_ACT_RX_SG != 0) {
        return Native::Yes;
    }
    match known.and_then(|(_, _, limit)| *limit) {
        Some(limit) if mtu > limit => Native::AboveMtu(limit),
        _ => Native::Yes,
    }
}

/// What the kernel says of a driver; `None` if it does not know.
fn xdp_features(ifindex: u32) -> Option<u64> {
    let mut question = Vec::new();
    put(&mut question, NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes());
    let answers = Family::open("netdev").ok()?.ask(NETDEV_CMD_DEV_GET, &question).ok()?;
    answers.iter().find_map(|answer| parse_u64(find(answer, NETDEV_A_DEV_XDP_FEATURES)?).ok())
}

/// Whether the program takes frames of several buffers.
fn takes_fragments() -> bool {
    let object = Object::parse(OBJECT).ok();
    let program = object.as_ref().and_then(|object| object.programs.get(PROGRAM));
    program.is_some_and(|program| matches!(program.section, ProgramSection::Xdp { frags: true, .. }))
}

/// Whether several interfaces are one here.
pub fn is_bond(interface: &Interface) -> bool {
    matches!(interface.kind, Some(InfoKind::Bond | InfoKind::Team))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_believed_before_the_table() {
        let known = |name: &str| KNOWN.iter().find(|(known, ..)| *known == name);
        let all = Some(XDP_ACT_BASIC | XDP_ACT_RX_SG);
        let cases = [
            ("new kernel", judge(all, known("ice"), (6, 12), 1500, false), Native::Yes),
            ("new kernel, long MTU", judge(all, known("ice"), (6, 12), 9000, false), Native::AboveMtu(3046)),
            ("fragments", judge(all, known("ice"), (6, 12), 9000, true), Native::Yes),
            ("no fragments there", judge(Some(1), known("igb"), (6, 12), 9000, true), Native::AboveMtu(3046)),
            ("it says no", judge(Some(0), known("virtio_net"), (6, 12), 1500, false), Native::No),
            ("old kernel", judge(None, known("igc"), (6, 1), 1500, false), Native::Yes),
            ("older than the driver's", judge(None, known("lan966x"), (6, 1), 1500, false), Native::No),
            ("unknown driver", judge(None, None, (6, 1), 1500, false), Native::Unknown),
            ("unknown limit", judge(Some(1), known("mvneta"), (6, 12), 9000, false), Native::Yes),
        ];
        for (name, found, expected) in cases {
            assert_eq!(found, expected, "{name}");
        }
    }
}
