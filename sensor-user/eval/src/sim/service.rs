//! What hosts serve: whether a port of a host answers, refuses or is silent.

use sensor_core::flow::{ICMP, TCP, UDP};

use super::site::{Class, Host, Role, Site};

/// How a host takes a contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It answers.
    Yes,
    /// It refuses: a reset, or an ICMP error for UDP.
    No,
    /// Nothing comes back.
    Silence,
}

/// TCP ports a role answers at, besides those of every Windows server.
fn of_role(role: Role) -> &'static [u16] {
    match role {
        Role::Directory => &[53, 88, 389, 636, 3268],
        Role::Files => &[2049],
        Role::App => &[80, 443, 8080],
        Role::Database => &[1433, 1521],
        Role::Pacs | Role::Archive => &[104, 443, 11_112],
        Role::Hl7 => &[2575, 6661],
        Role::Central => &[24_105],
        Role::Pumps => &[7001],
        Role::Exchange => &[443, 5060, 5061],
        Role::Video => &[554, 4050],
        Role::Mail => &[25, 443, 587, 993],
        Role::Updates => &[8014, 8530],
        Role::Backup => &[10_000],
        Role::Proxy => &[3128],
        Role::Watcher => &[443, 22],
        Role::Auditor => &[22],
    }
}

fn tcp(host: &Host, port: u16) -> bool {
    let served: &[u16] = match host.class {
        Class::Pc => &[135, 139, 445, 3389, 5357],
        Class::Server => &[135, 139, 445, 3389, 5985],
        Class::Nms => &[],
        Class::Modality => &[104, 135, 139, 445, 11_112],
        Class::Printer => &[80, 515, 631, 9100],
        Class::Phone => &[80],
        Class::Camera => &[80, 554],
        Class::Analyser => &[22, 445],
        Class::Monitor => &[2050],
        Class::Pump => &[80],
    };
    served.contains(&port) || host.role.is_some_and(|role| of_role(role).contains(&port))
}

fn udp(host: &Host, port: u16) -> bool {
    match port {
        53 | 88 | 123 => host.role == Some(Role::Directory),
        161 => matches!(host.class, Class::Server | Class::Printer | Class::Camera | Class::Phone),
        5060 => host.role == Some(Role::Exchange) || host.class == Class::Phone,
        137 => matches!(host.class, Class::Pc | Class::Server),
        10_000..=65_535 => matches!(host.class, Class::Phone | Class::Monitor),
        _ => false,
    }
}

impl Site {
    /// How a host that is up takes a contact.
    pub fn answer(&self, host: &Host, proto: u8, port: u16) -> Answer {
        // Every third PC's firewall says nothing where another's refuses.
        let mute = host.class == Class::Pc && host.mac.0[5].is_multiple_of(3);
        let offers = match proto {
            TCP => tcp(host, port),
            UDP => udp(host, port),
            ICMP => return if mute { Answer::Silence } else { Answer::Yes },
            _ => false,
        };
        match offers {
            true => Answer::Yes,
            false if mute => Answer::Silence,
            false => Answer::No,
        }
    }
}
