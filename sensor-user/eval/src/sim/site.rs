//! A made-up hospital: who is there, where, and by which addresses. Each seed has another topology, mix and addressing.
//!
//! The sensor is the bridge between the access switches (ports 2 to 9) and the core (port 1), where the router and the
//! servers are. Seeds are in turn *routed* (a VLAN for each kind of device, servers behind the router) and *flat* (all in
//! one network). Two hosts behind one access port talk unseen, but for their broadcasts, as behind any real switch.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use sensor_core::addr::Mac;

use super::chance::Chance;

/// Index of a host in its site.
pub type HostId = usize;
/// The bridge port towards router and servers.
pub const CORE: u8 = 1;
/// Ports towards access switches.
const ACCESS: usize = 8;

/// A kind of host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// A PC of an office or a ward.
    Pc,
    /// A patient monitor.
    Monitor,
    /// An infusion pump.
    Pump,
    /// A modality: CT, MRI, ultrasound.
    Modality,
    /// A laboratory analyser.
    Analyser,
    /// A printer.
    Printer,
    /// A telephone.
    Phone,
    /// A camera or badge reader.
    Camera,
    /// A server.
    Server,
    /// Management: monitoring, and the authorised vulnerability scanner. On the protected list, as the handbook says.
    Nms,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 10] = [
        Class::Pc,
        Class::Monitor,
        Class::Pump,
        Class::Modality,
        Class::Analyser,
        Class::Printer,
        Class::Phone,
        Class::Camera,
        Class::Server,
        Class::Nms,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Class::Pc => "pc",
            Class::Monitor => "monitor",
            Class::Pump => "pump",
            Class::Modality => "modality",
            Class::Analyser => "analyser",
            Class::Printer => "printer",
            Class::Phone => "phone",
            Class::Camera => "camera",
            Class::Server => "server",
            Class::Nms => "nms",
        }
    }

    /// Its part of all hosts; servers and management have numbers of their own.
    fn share(self) -> f64 {
        match self {
            Class::Pc => 0.60,
            Class::Monitor | Class::Pump | Class::Phone => 0.08,
            Class::Printer => 0.06,
            Class::Camera => 0.04,
            Class::Modality | Class::Analyser => 0.02,
            Class::Server | Class::Nms => 0.0,
        }
    }

    /// Where it is in a routed site.
    fn segment(self) -> usize {
        match self {
            Class::Server | Class::Nms => 0,
            Class::Pc | Class::Printer => 1,
            Class::Monitor | Class::Pump | Class::Modality | Class::Analyser => 2,
            Class::Phone => 3,
            Class::Camera => 4,
        }
    }

    /// The time to live it sends with.
    fn ttl(self) -> u8 {
        if matches!(self, Class::Pc | Class::Modality) { 128 } else { 64 }
    }

    /// The first half of its MAC addresses.
    fn oui(self) -> [u8; 3] {
        match self {
            Class::Pc => [0xd4, 0x92, 0x34],
            Class::Monitor => [0x00, 0x09, 0xfb],
            Class::Pump => [0x60, 0xf6, 0x73],
            Class::Modality => [0x00, 0x1b, 0xe3],
            Class::Analyser => [0x00, 0x0a, 0xb2],
            Class::Printer => [0x00, 0x26, 0x73],
            Class::Phone => [0x00, 0x1f, 0x9e],
            Class::Camera => [0x00, 0x40, 0x8c],
            Class::Server => [0x00, 0x50, 0x56],
            Class::Nms => [0x00, 0x15, 0x5d],
        }
    }
}

/// What a server is for. A host may do the work of several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Names, accounts, time, addresses.
    Directory,
    /// Files.
    Files,
    /// The patient record and other web applications.
    App,
    /// Databases behind them.
    Database,
    /// Images.
    Pacs,
    /// Old images.
    Archive,
    /// Messages of the laboratory and others (HL7).
    Hl7,
    /// Central stations of the monitors.
    Central,
    /// Pumps report here.
    Pumps,
    /// The telephone exchange.
    Exchange,
    /// Video, doors.
    Video,
    /// Mail.
    Mail,
    /// Updates of systems and virus patterns.
    Updates,
    /// Backups.
    Backup,
    /// The way out, if there is one.
    Proxy,
    /// Watches servers and printers.
    Watcher,
    /// The authorised vulnerability scanner.
    Auditor,
}

/// How many servers of each role there are for so many hosts: one, and one more for each of so many hosts.
const ROLES: [(Role, usize); 15] = [
    (Role::Directory, 800),
    (Role::Files, 250),
    (Role::App, 200),
    (Role::Database, 1_000),
    (Role::Pacs, 5_000),
    (Role::Archive, 10_000),
    (Role::Hl7, 5_000),
    (Role::Central, 500),
    (Role::Pumps, 5_000),
    (Role::Exchange, 5_000),
    (Role::Video, 2_500),
    (Role::Mail, 5_000),
    (Role::Updates, 5_000),
    (Role::Backup, 5_000),
    (Role::Proxy, 2_500),
];

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// What it is.
    pub class: Class,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP address.
    pub ip: IpAddr,
    /// The bridge port it is behind.
    pub port: u8,
    /// Index of its segment.
    pub segment: usize,
    /// The time to live it sends with.
    pub ttl: u8,
    /// What it serves as, if it is a server.
    pub role: Option<Role>,
    /// It is switched on and its network works.
    pub up: bool,
}

/// A network within the site.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// Its third byte of addresses: the first of [`Segment::width`] ones.
    pub third: u8,
    /// How many third bytes it has.
    pub width: u8,
    /// The router's address in it.
    pub router: IpAddr,
}

/// A site.
#[derive(Clone, Debug)]
pub struct Site {
    /// All hosts.
    pub hosts: Vec<Host>,
    /// Its networks.
    pub segments: Vec<Segment>,
    /// The router's MAC address.
    pub router: Mac,
    /// Who has which role, the most used first.
    pub roles: BTreeMap<Role, Vec<HostId>>,
    /// Who is of which class.
    pub members: BTreeMap<Class, Vec<HostId>>,
    /// All in one network.
    pub flat: bool,
    /// There is a way out to the web.
    pub open: bool,
    net: [u8; 2],
    free: Vec<u32>,
}

impl Site {
    /// The site of a seed, with about so many hosts.
    pub fn new(seed: u64, hosts: usize) -> Self {
        let mut chance = Chance::new(seed, 1);
        let flat = seed.is_multiple_of(2);
        let net = match seed % 3 {
            0 => [10, 16 + (seed % 100) as u8],
            1 => [172, 16 + (seed % 16) as u8],
            _ => [10, 140 + (seed % 100) as u8],
        };
        let count = if flat { 1 } else { 5 };
        let width = if flat { 64 } else { 32 };
        let segment = |at: usize| {
            let third = at as u8 * width;
            let vlan = if flat { 0 } else { 10 * (at as u16 + 1) };
            Segment { vlan, third, width, router: Ipv4Addr::new(net[0], net[1], third, 1).into() }
        };
        let router = Mac([0x00, 0x1a, 0xa1, 0, 0, seed as u8]);
        let mut site = Self {
            hosts: Vec::new(),
            segments: (0..count).map(segment).collect(),
            router,
            roles: BTreeMap::new(),
            members: BTreeMap::new(),
            flat,
            open: seed % 4 != 3,
            net,
            free: vec![0; count],
        };
        site.servers(hosts);
        for class in Class::ALL {
            let share = class.share() * chance.between(0.8, 1.2);
            let count = (share * hosts as f64).round() as usize;
            let count = if class.share() > 0.0 { count.max(2) } else { 0 };
            for at in 0..count {
                let port = 2 + (at * ACCESS / count) as u8;
                site.add(class, port);
            }
        }
        site
    }

    fn servers(&mut self, hosts: usize) {
        for (role, per) in ROLES {
            for _ in 0..=hosts / per {
                let id = self.add(Class::Server, CORE);
                self.give(role, id);
            }
        }
        // A second directory server also in the smallest site, for clients to turn to.
        let id = self.add(Class::Server, CORE);
        self.give(Role::Directory, id);
        for role in [Role::Watcher, Role::Auditor] {
            let id = self.add(Class::Nms, CORE);
            self.give(role, id);
        }
    }

    /// Makes a host one of a role.
    fn give(&mut self, role: Role, id: HostId) {
        self.roles.entry(role).or_default().push(id);
        if let Some(host) = self.hosts.get_mut(id) {
            host.role = Some(role);
        }
    }

    /// Moves the work of a server to a new host; returns that.
    pub fn migrate(&mut self, role: Role, from: HostId) -> HostId {
        let to = self.add(Class::Server, CORE);
        for host in self.roles.entry(role).or_default().iter_mut().filter(|host| **host == from) {
            *host = to;
        }
        for (id, role) in [(from, None), (to, Some(role))] {
            if let Some(host) = self.hosts.get_mut(id) {
                host.role = role;
            }
        }
        to
    }

    /// Adds a host of a class behind a port.
    pub fn add(&mut self, class: Class, port: u8) -> HostId {
        let id = self.hosts.len();
        let segment = if self.flat { 0 } else { class.segment() };
        let [a, b, c] = class.oui();
        let [.., d, e, f] = (id as u32 + 1).to_be_bytes();
        let ip = self.fresh_ip(segment);
        let mac = Mac([a, b, c, d, e, f]);
        self.hosts.push(Host { class, mac, ip, port, segment, ttl: class.ttl(), role: None, up: true });
        self.members.entry(class).or_default().push(id);
        id
    }

    /// An address of a segment that was never given before.
    pub fn fresh_ip(&mut self, segment: usize) -> IpAddr {
        let Some(free) = self.free.get_mut(segment) else { return IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let at = *free;
        *free += 1;
        self.address(segment, at)
    }

    /// The address of that number in a segment. A third of each /24 is nobody's: .2 to .171 are given.
    fn address(&self, segment: usize, at: u32) -> IpAddr {
        let third = self.segments.get(segment).map_or(0, |segment| segment.third);
        let (page, last) = ((at / 170) as u8, 2 + (at % 170) as u8);
        Ipv4Addr::new(self.net[0], self.net[1], third.saturating_add(page), last).into()
    }

    /// An address of a segment nobody ever had.
    pub fn dark_ip(&self, segment: usize, chance: &mut Chance) -> IpAddr {
        let Some(segment) = self.segments.get(segment) else { return IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let third = segment.third + chance.below(usize::from(segment.width)) as u8;
        Ipv4Addr::new(self.net[0], self.net[1], third, 172 + chance.below(82) as u8).into()
    }

    /// The segment an address lies in; none if that is outside.
    pub fn segment_of(&self, ip: IpAddr) -> Option<usize> {
        let IpAddr::V4(ip) = ip else { return None };
        let [a, b, third, _] = ip.octets();
        let within = |segment: &Segment| (segment.third..segment.third + segment.width).contains(&third);
        if [a, b] == self.net { self.segments.iter().position(within) } else { None }
    }

    /// Hosts that are up and no management, of a class.
    pub fn of(&self, class: Class) -> &[HostId] {
        self.members.get(&class).map_or(&[], Vec::as_slice)
    }

    /// The hosts of a role, the most used first.
    pub fn role(&self, role: Role) -> &[HostId] {
        self.roles.get(&role).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sites_differ_by_seed_and_hold_what_they_should() {
        for seed in 1..=7 {
            let site = Site::new(seed, 1_000);
            let count = site.hosts.len();
            assert!((850..1_150).contains(&count), "seed {seed}: {count} hosts");
            let ips: BTreeSet<_> = site.hosts.iter().map(|host| host.ip).collect();
            let macs: BTreeSet<_> = site.hosts.iter().map(|host| host.mac).collect();
            assert_eq!((ips.len(), macs.len()), (count, count), "seed {seed}: addresses are given once");
            for host in &site.hosts {
                assert_eq!(site.segment_of(host.ip), Some(host.segment), "seed {seed}: {}", host.ip);
            }
            for class in Class::ALL {
                assert!(!site.of(class).is_empty(), "seed {seed}: {}", class.name());
            }
        }
        let nets: BTreeSet<_> = (1..=7).map(|seed| Site::new(seed, 50).net).collect();
        assert_eq!(nets.len(), 7);
    }
}
