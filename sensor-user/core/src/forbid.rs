//! What the operator forbids: who must not use which service of whom. It is told, not prevented (see `detect::policy`).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::addr::Prefix;
use crate::policy::{Allow, Name, Service};

/// Most rules.
pub const MAX_FORBID: usize = 256;

/// One end of what is forbidden.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Anybody.
    Anybody,
    /// Whoever has an address in an internal network.
    Inside,
    /// Whoever has not.
    Outside,
    /// Whoever has an address of this network.
    Net(Prefix),
    /// The devices on the link in this segment.
    Segment(Name),
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its address.
    pub ip: IpAddr,
    /// It lies in an internal network.
    pub internal: bool,
    /// The segment it lives in, if it is on the link and in one.
    pub segment: Option<Name>,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forbid {
    /// Who begins the conversation.
    pub from: Whom,
    /// With whom.
    pub to: Whom,
    /// The service; none: any.
    pub service: Option<Service>,
}

impl Whom {
    fn is(&self, end: &End) -> bool {
        match self {
            Self::Anybody => true,
            Self::Inside => end.internal,
            Self::Outside => !end.internal,
            Self::Net(net) => net.contains(end.ip),
            Self::Segment(name) => end.segment == Some(*name),
        }
    }
}

impl Forbid {
    /// Whether a conversation is forbidden by this: its ends, protocol and port (0 if the protocol has none).
    pub fn is_about(&self, from: &End, to: &End, proto: u8, port: u16) -> bool {
        let service = self.service.is_none_or(|service| (service.proto, service.port) == (proto, port));
        service && self.from.is(from) && self.to.is(to)
    }

    /// The segments it names.
    pub fn segments(&self) -> impl Iterator<Item = Name> {
        [self.from, self.to].into_iter().filter_map(|whom| match whom {
            Whom::Segment(name) => Some(name),
            _ => None,
        })
    }

    /// Reads a service like `tcp/445` or `icmp`.
    pub fn service(text: &str) -> Option<Service> {
        match text.parse() {
            Ok(Allow::Use(service)) if service.peer.is_none() => Some(service),
            _ => None,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("any"),
            Self::Inside => f.write_str("inside"),
            Self::Outside => f.write_str("outside"),
            Self::Net(net) => net.fmt(f),
            Self::Segment(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Forbid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        self.service.map_or(Ok(()), |service| write!(f, " {service}"))
    }
}

impl FromStr for Whom {
    type Err = crate::addr::AddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => return Ok(Self::Anybody),
            "inside" => return Ok(Self::Inside),
            "outside" => return Ok(Self::Outside),
            _ => {}
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return Ok(Self::Net(Prefix::new(ip, if ip.is_ipv4() { 32 } else { 128 })));
        }
        // A name has no slash.
        if text.contains('/') { text.parse().map(Self::Net) } else { text.parse().map(Self::Segment) }
    }
}
