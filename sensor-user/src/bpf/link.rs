//! Interfaces by rtnetlink, asked for one at a time.

use std::io;

use rtnetlink::packet_core::{Emitable, NLM_F_DUMP, Parseable};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached};
use sensor_core::addr::Mac;

use super::attach::Mode;
use super::netlink::Netlink;
use super::ports::AttachedProgram;

// Of linux/rtnetlink.h and linux/if_link.h.
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Instead of a program: none.
const NO_PROGRAM: i32 = -1;

/// An interface as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Interface index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Index of the bridge or bond it belongs to.
    pub master: Option<u32>,
    /// Its kind, if it is not plain hardware.
    pub kind: Option<InfoKind>,
    /// Longest packet, without the Ethernet header.
    pub mtu: u32,
    /// Its parent device: the bus and the name there.
    pub parent: Option<(String, String)>,
    /// The XDP program on it.
    pub xdp: Option<AttachedProgram>,
    /// Its own MAC address.
    pub mac: Mac,
    /// What its network card counted.
    pub nic: Nic,
}

/// What a network card counted since its interface was made. It never goes back but when a driver begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nic {
    /// Frames received, those included that a program dropped later.
    pub packets: u64,
    /// Their bytes. What counts as a byte of a frame is up to the driver: some leave out the Ethernet header, some add the
    /// checksum.
    pub bytes: u64,
    /// Frames that found no room in the card.
    pub missed: u64,
}

impl From<&LinkMessage> for Interface {
    fn from(link: &LinkMessage) -> Self {
        let mut interface = Self { ifindex: link.header.index, ..Self::default() };
        let (mut bus, mut parent) = (None, None);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Controller(master) => interface.master = Some(*master),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::ParentDevBusName(name) => bus = Some(name.clone()),
                LinkAttribute::ParentDevName(name) => parent = Some(name.clone()),
                LinkAttribute::Xdp(xdp) => interface.xdp = attached(xdp),
                LinkAttribute::Address(bytes) => {
                    interface.mac = bytes.as_slice().try_into().map_or(interface.mac, Mac);
                }
                LinkAttribute::Stats64(stats) => {
                    interface.nic = Nic {
                        packets: stats.rx_packets,
                        bytes: stats.rx_bytes,
                        missed: stats.rx_missed_errors,
                    };
                }
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.clone()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        interface.parent = bus.zip(parent);
        interface
    }
}

/// The program a link message tells of.
fn attached(xdp: &[LinkXdp]) -> Option<AttachedProgram> {
    let mode = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware | XdpAttached::Multiple) => {
            Some(Mode::Native)
        }
        _ => None,
    })?;
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    })?;
    Some(AttachedProgram { program, mode })
}

/// One interface as it is now; `None` if there is none of that index.
pub fn get(ifindex: u32) -> io::Result<Option<Interface>> {
    let mut question = LinkMessage::default();
    question.header.index = ifindex;
    match Netlink::route()?.ask(RTM_GETLINK, 0, &bytes(&question)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        answers => Ok(read(&answers?)?.into_iter().next()),
    }
}

/// All interfaces of this network namespace.
pub fn all() -> io::Result<Vec<Interface>> {
    read(&Netlink::route()?.ask(RTM_GETLINK, NLM_F_DUMP, &bytes(&LinkMessage::default()))?)
}

/// The interfaces that a bond, or anything else that has some, is made of.
pub fn members(master: u32) -> io::Result<Vec<Interface>> {
    let mut question = LinkMessage::default();
    question.attributes.push(LinkAttribute::Controller(master));
    let mut found = read(&Netlink::route()?.ask(RTM_GETLINK, NLM_F_DUMP, &bytes(&question))?)?;
    // For a kernel that answers more than it was asked.
    found.retain(|interface| interface.master == Some(master));
    Ok(found)
}

/// Takes a program off that was attached without a link; `EBUSY` if it was attached with one.
pub fn xdp_off(ifindex: u32, mode: Mode) -> io::Result<()> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let mut order = LinkMessage::default();
    order.header.index = ifindex;
    order.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(NO_PROGRAM), LinkXdp::Flags(flags)]));
    Netlink::route()?.ask(RTM_SETLINK, 0, &bytes(&order)).map(drop)
}

fn bytes(message: &LinkMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn read(answers: &[Vec<u8>]) -> io::Result<Vec<Interface>> {
    let read = |answer: &Vec<u8>| LinkMessage::parse(answer.as_slice()).map(|link| Interface::from(&link));
    answers.iter().map(read).collect::<Result<_, _>>().map_err(io::Error::other)
}
