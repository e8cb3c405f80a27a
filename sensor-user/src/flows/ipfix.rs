//! Conversations sent to a collector as IPFIX, over UDP. What it does not take is counted: the log has it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use sensor_flowlog::Row;
use sensor_flowlog::ipfix::Encoder;

/// Sends rows to a collector.
pub struct Sender {
    socket: UdpSocket,
    collector: SocketAddr,
    encoder: Encoder,
    /// The kernel's numbers of the ports, by index.
    interfaces: BTreeMap<u8, u32>,
    /// Messages sent.
    pub sent: u64,
    /// Messages the system did not take.
    pub failed: u64,
}

impl Sender {
    /// A sender to a collector; `domain` is the observation domain.
    ///
    /// # Errors
    ///
    /// If there is no socket to be had.
    pub fn new(collector: SocketAddr, domain: u32) -> io::Result<Self> {
        let any = match collector {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            collector,
            encoder: Encoder::new(domain),
            interfaces: BTreeMap::new(),
            sent: 0,
            failed: 0,
        })
    }

    /// The kernel's numbers of the ports from now on.
    pub fn set_interfaces(&mut self, interfaces: BTreeMap<u8, u32>) {
        self.interfaces = interfaces;
    }

    /// Takes a row, and sends what is full.
    pub fn push(&mut self, row: &Row) {
        if let Some(message) = self.encoder.push(row, &self.interfaces) {
            self.send(&message);
        }
    }

    /// Sends what waits; `now` in microseconds since 1970.
    pub fn flush(&mut self, now: i64) {
        if let Some(message) = self.encoder.finish(now) {
            self.send(&message);
        }
    }

    fn send(&mut self, message: &[u8]) {
        // Not connected: at the start there may be no way there yet, and later another one.
        match self.socket.send_to(message, self.collector) {
            Ok(_) => self.sent += 1,
            Err(error) => {
                if self.failed == 0 {
                    log::warn!(
                        "the collector of IPFIX does not take everything: {error}; what is lost is counted"
                    );
                }
                self.failed += 1;
            }
        }
    }
}
