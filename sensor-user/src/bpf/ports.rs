//! The ports of the bridge, by rtnetlink: which there are, which come and go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{InfoKind, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::attach::Mode;
use super::link::Interface;

/// How often the list is compared with the kernel's, should a notice have been lost.
const RESYNC: Duration = Duration::from_secs(30);

/// Why the ports could not be told.
#[derive(Debug, Error)]
pub enum PortsError {
    /// No interface of that name.
    #[error("there is no interface {name}; {}", those_there(.bridges))]
    Missing {
        /// The name asked for.
        name: String,
        /// The bridges there are.
        bridges: Vec<String>,
    },
    /// It is another kind of interface.
    #[error("{name} is not a bridge but {kind}; {}", those_there(.bridges))]
    NotABridge {
        /// The name asked for.
        name: String,
        /// What it is.
        kind: String,
        /// The bridges there are.
        bridges: Vec<String>,
    },
    /// No netlink socket.
    #[error("opening a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// A question was not answered.
    #[error("asking the kernel for its interfaces: {0}")]
    Netlink(#[from] rtnetlink::Error),
    /// The kernel sends no more notices.
    #[error("the netlink socket was closed")]
    Closed,
}

/// What bridges there are, in words.
fn those_there(names: &[String]) -> String {
    if names.is_empty() {
        return "this network namespace has no bridge: make one with `ip link add name br0 type bridge` and give it \
                ports with `ip link set dev PORT master br0`"
            .to_owned();
    }
    format!("the bridges here are: {}", names.join(", "))
}

/// An XDP program on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttachedProgram {
    /// Its kernel id.
    pub program: u32,
    /// How it is run.
    pub mode: Mode,
}

/// An interface; mostly a port of the bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgePort {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// The XDP program on it when it was last heard of.
    pub xdp: Option<AttachedProgram>,
}

impl From<&Interface> for BridgePort {
    fn from(interface: &Interface) -> Self {
        Self { ifindex: interface.ifindex, name: interface.name.clone(), xdp: interface.xdp }
    }
}

/// What happened to the ports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortEvent {
    /// An interface became a port.
    Joined(BridgePort),
    /// A port left the bridge, or is gone.
    Left {
        /// Interface index.
        ifindex: u32,
        /// The name it had.
        name: String,
    },
    /// A port has a new name.
    Renamed {
        /// Interface index.
        ifindex: u32,
        /// The new name.
        name: String,
    },
    /// The bridge itself is gone; its ports have left before.
    BridgeGone,
}

/// The ports of one bridge, in the network namespace of the thread that opened it.
pub struct Ports {
    bridge: String,
    ifindex: u32,
    ports: BTreeMap<u32, BridgePort>,
    others: Vec<BridgePort>,
    events: VecDeque<PortEvent>,
    changed: BTreeSet<u32>,
    netlink: Netlink,
    resync: Interval,
    /// The kernel must be asked for all interfaces. It stays so until it was, also if that is given up in between.
    unsure: bool,
}

impl Ports {
    /// Finds a bridge and its ports, and follows them from then on. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    ///
    /// [`PortsError::Missing`] and [`PortsError::NotABridge`] name the bridges that are there.
    pub async fn open(bridge: &str) -> Result<Self, PortsError> {
        // First listen, then ask: what happens in between is heard.
        let netlink = Netlink::open()?;
        let interfaces = netlink.interfaces().await?;
        let found = find(&interfaces, bridge)?;
        let ifindex = found.ifindex;
        let (ports, others): (Vec<_>, Vec<_>) =
            interfaces.into_iter().partition(|interface| interface.master == Some(ifindex));
        let mut resync = interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            bridge: bridge.to_owned(),
            ifindex,
            ports: ports.iter().map(|interface| (interface.ifindex, interface.into())).collect(),
            others: others.iter().map(BridgePort::from).collect(),
            changed: BTreeSet::new(),
            events: VecDeque::new(),
            netlink,
            resync,
            unsure: false,
        })
    }

    /// The bridge's name.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The bridge's interface index.
    pub fn bridge_ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The ports as they are now, by interface index.
    pub fn list(&self) -> Vec<BridgePort> {
        self.ports.values().cloned().collect()
    }

    /// The interfaces that were no ports of this bridge when it was opened.
    pub(super) fn others(&self) -> Vec<BridgePort> {
        self.others.clone()
    }

    /// The ports something happened to since the last call, be it only that a feature was switched.
    pub fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// Waits for the next change. May be dropped and called again at any time.
    ///
    /// # Errors
    ///
    /// [`PortsError::Netlink`] or [`PortsError::Closed`].
    pub async fn next(&mut self) -> Result<PortEvent, PortsError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.unsure {
                let interfaces = self.netlink.interfaces().await?;
                self.unsure = false;
                self.compare(&interfaces);
                continue;
            }
            self.unsure = tokio::select! {
                message = self.netlink.notices.next() => self.hear(message.ok_or(PortsError::Closed)?.0.payload),
                _ = self.resync.tick() => true,
            };
        }
    }

    /// Takes a notice; true if some may have been lost and the kernel must be asked.
    fn hear(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>) -> bool {
        match payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                // The bridge's own notices of its ports lack the half of it; the interface's follow.
                if link.header.interface_family != AddressFamily::Bridge {
                    self.see(&Interface::from(&link));
                }
                false
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                self.lose(link.header.index, link.header.interface_family == AddressFamily::Bridge);
                false
            }
            NetlinkPayload::Overrun(_) => true,
            _ => false,
        }
    }

    /// Notes how an interface is now.
    fn see(&mut self, interface: &Interface) {
        let port = BridgePort::from(interface);
        if interface.master != Some(self.ifindex) {
            self.leave(port.ifindex);
            // A member of a port that is a bond.
            self.changed.extend(interface.master.filter(|master| self.ports.contains_key(master)));
            return;
        }
        let ifindex = port.ifindex;
        self.changed.insert(ifindex);
        match self.ports.insert(ifindex, port.clone()) {
            None => self.events.push_back(PortEvent::Joined(port)),
            Some(before) if before.name != port.name => {
                self.events.push_back(PortEvent::Renamed { ifindex, name: port.name });
            }
            Some(_) => {}
        }
    }

    /// Notes that an interface is gone, or (`from_bridge`) only from its bridge.
    fn lose(&mut self, ifindex: u32, from_bridge: bool) {
        self.leave(ifindex);
        if ifindex == self.ifindex && !from_bridge {
            for port in self.ports.keys().copied().collect::<Vec<_>>() {
                self.leave(port);
            }
            self.events.push_back(PortEvent::BridgeGone);
        }
    }

    fn leave(&mut self, ifindex: u32) {
        self.changed.remove(&ifindex);
        if let Some(port) = self.ports.remove(&ifindex) {
            self.events.push_back(PortEvent::Left { ifindex, name: port.name });
        }
    }

    /// Makes good for lost notices: `interfaces` are all there are.
    fn compare(&mut self, interfaces: &[Interface]) {
        let is_there = |ifindex: u32| interfaces.iter().any(|interface| interface.ifindex == ifindex);
        for ifindex in self.ports.keys().copied().collect::<Vec<_>>() {
            if !is_there(ifindex) {
                self.leave(ifindex);
            }
        }
        interfaces.iter().for_each(|interface| self.see(interface));
        if !is_there(self.ifindex) {
            self.lose(self.ifindex, false);
        }
    }
}

/// Finds the bridge among all interfaces.
fn find<'a>(interfaces: &'a [Interface], name: &str) -> Result<&'a Interface, PortsError> {
    let bridges = || {
        let bridges = interfaces.iter().filter(|interface| interface.kind == Some(InfoKind::Bridge));
        bridges.map(|interface| interface.name.clone()).collect()
    };
    match interfaces.iter().find(|interface| interface.name == name) {
        Some(interface) if interface.kind == Some(InfoKind::Bridge) => Ok(interface),
        Some(interface) => Err(PortsError::NotABridge {
            name: name.to_owned(),
            kind: interface
                .kind
                .as_ref()
                .map_or("a plain interface".to_owned(), |kind| format!("an interface of kind {kind}")),
            bridges: bridges(),
        }),
        None => Err(PortsError::Missing { name: name.to_owned(), bridges: bridges() }),
    }
}

/// A netlink socket that hears of links.
struct Netlink {
    handle: Handle,
    notices: futures_util::stream::BoxStream<
        'static,
        (NetlinkMessage<RouteNetlinkMessage>, rtnetlink::sys::SocketAddr),
    >,
    connection: JoinHandle<()>,
}

impl Netlink {
    fn open() -> Result<Self, PortsError> {
        let (connection, handle, notices) = new_multicast_connection(&[MulticastGroup::Link])?;
        Ok(Self { handle, notices: notices.boxed(), connection: tokio::spawn(connection) })
    }

    /// All interfaces of the namespace.
    async fn interfaces(&self) -> Result<Vec<Interface>, PortsError> {
        let links: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        Ok(links.iter().map(Interface::from).collect())
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_while_the_kernel_is_asked_is_asked_again() {
        let mut ports = Ports {
            bridge: "lo".to_owned(),
            // The loopback device, which is always there and has no ports.
            ifindex: 1,
            ports: BTreeMap::from([(
                u32::MAX,
                BridgePort { ifindex: u32::MAX, name: "gone".to_owned(), xdp: None },
            )]),
            others: Vec::new(),
            events: VecDeque::new(),
            changed: BTreeSet::new(),
            netlink: Netlink::open().expect("a netlink socket"),
            // The first is due at once, the next one after the end of the test.
            resync: interval(Duration::from_secs(3_600)),
            unsure: false,
        };
        timeout(Duration::ZERO, ports.next()).await.expect_err("the kernel had no time to answer");
        let event =
            timeout(Duration::from_secs(10), ports.next()).await.expect("asked again").expect("answered");
        assert_eq!(event, PortEvent::Left { ifindex: u32::MAX, name: "gone".to_owned() });
    }
}
