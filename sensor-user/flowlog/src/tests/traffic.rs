//! A hospital's traffic, made up: the same for the same seed.

use std::net::{IpAddr, Ipv4Addr};

use crate::{Place, Row};
use sensor_core::addr::Mac;
use sensor_core::event::{FlowEnded, Half};
use sensor_core::observation::{EndReason, FlowId, Kind, Verdict};
use sensor_core::time::{MILLISECOND, SECOND, Time};

/// The date the made-up clock begins at: 2026-11-28 03:00 UTC, ns.
pub const EPOCH: i64 = 1_795_834_800_000_000_000;
/// Devices of the house.
const DEVICES: u64 = 1_500;

/// SplitMix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Many small, few large: between 0 and n - 1.
    fn skewed(&mut self, n: u64) -> u64 {
        let x = self.unit();
        ((x * x * x) * n as f64) as u64
    }

    /// As sizes and times of conversations are: a median, and the logarithm's spread.
    fn lognormal(&mut self, median: f64, spread: f64) -> u64 {
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (median * (normal * spread).exp()) as u64
    }
}

fn device(n: u64) -> (IpAddr, Mac) {
    let [.., a, b] = (n as u16).to_be_bytes();
    (IpAddr::V4(Ipv4Addr::new(10, 1, a, b)), Mac([0x00, 0x1b, 0x21 + (n % 7) as u8, 1, a, b]))
}

fn outside(n: u64) -> IpAddr {
    let mut random = Random(n);
    let [a, b, c, d, ..] = random.next().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(20 + a % 180, b, c, d))
}

/// Conversations, one after the other, as the engine tells them: the ends of a sweep together.
pub struct Traffic {
    random: Random,
    rate: u64,
    told: u64,
}

impl Traffic {
    /// So many a second.
    pub fn new(seed: u64, rate: u64) -> Self {
        Self { random: Random(seed), rate, told: 0 }
    }

    /// The next one, and when it is told.
    pub fn flow(&mut self) -> (FlowEnded, Time) {
        let at = Time::at(self.told * SECOND / self.rate);
        self.told += 1;
        let sweep = Time::at(at.ns() / (5 * SECOND) * (5 * SECOND));
        // A sweep takes a while, and tells a few thousand at a time.
        let now = sweep.plus(at.since(sweep) / 1_000 / MILLISECOND * MILLISECOND);
        let random = &mut self.random;
        let (client, smac) = device(random.skewed(DEVICES));
        let router = Mac([0x00, 0x1b, 0x21, 0, 0, 1]);
        let sport = 32_768 + random.below(28_232) as u16;
        let (proto, dport, server, sizes, wait) = match random.below(100) {
            0..25 => (17, 53, device(DEVICES + random.below(2)), (1, 80, 180), 60),
            25..60 => (6, 443, (outside(random.skewed(3_000)), router), (14, 2_400, 9_000), 5),
            60..72 => (6, 445, device(DEVICES + 10 + random.skewed(8)), (30, 6_000, 12_000), 5),
            72..80 => (6, 104, device(DEVICES + 30 + random.below(2)), (90, 60_000, 5_000), 5),
            80..86 => (6, 2575, device(DEVICES + 40), (10, 1_500, 700), 5),
            86..90 => (17, 123, device(DEVICES + 3), (1, 90, 90), 60),
            90..94 => {
                (17, 137, (IpAddr::V4(Ipv4Addr::new(10, 1, 255, 255)), Mac([0xff; 6])), (3, 276, 0), 60)
            }
            94..97 => (6, 9100, device(random.below(30) + 400), (20, 40_000, 1_200), 5),
            _ => (1, 0, device(random.skewed(DEVICES)), (4, 392, 392), 60),
        };
        let (server, dmac) = server;
        let kind = Kind::Ip;
        let sport = if proto == 1 { 8 << 8 } else { sport };
        let vlan = 20 + (smac.0[5] % 4) as u16;
        let id = FlowId { src: client, dst: server, sport, dport, proto, kind, vlan, port: 1 };
        let (frames, up, down) = sizes;
        let spread = if frames < 5 { 0.3 } else { 1.2 };
        let half = |random: &mut Random, bytes: u64| {
            let bytes = random.lognormal(bytes as f64, spread);
            let packets =
                bytes.div_ceil(700).max(u64::from(bytes > 0) * frames / 2).max(u64::from(bytes > 0));
            Half { packets, bytes, drops: 0, tcp_flags: if proto == 6 && bytes > 0 { 0x1b } else { 0 } }
        };
        let (to_server, to_client) = (half(random, up), half(random, down));
        let quiet = wait * SECOND + random.below(5 * SECOND);
        let took = random.lognormal(if frames < 5 { 0.002 } else { 0.8 } * SECOND as f64, 1.0);
        // The live sensor knows the time of a last frame to the jiffy.
        let end = Time::at((now.ns() + 7_200 * SECOND - quiet) / (4 * MILLISECOND) * (4 * MILLISECOND));
        let flow = FlowEnded {
            id,
            smac,
            dmac,
            inner: None,
            to_server,
            to_client,
            start: Time::at(end.ns() - took.min(3_000 * SECOND)),
            end,
            reason: if proto == 6 { EndReason::Closed } else { EndReason::Timeout },
            verdict: Verdict::Pass,
            earlier: None,
            devices: [None; 2],
        };
        (flow, now.plus(7_200 * SECOND))
    }

    /// The next row, by a clock that begins at [`EPOCH`].
    pub fn row(&mut self) -> Row {
        let (flow, now) = self.flow();
        Row::new(flow, now, EPOCH - 7_200 * SECOND as i64, Some(1.0))
    }
}

/// How its places are called.
pub fn place() -> Place {
    Place {
        ports: [(1, "eth1".to_owned()), (2, "eth2".to_owned())].into(),
        vlans: [(20, "radiology".to_owned()), (21, "wards".to_owned())].into(),
        port_segments: [(1, "offices".to_owned())].into(),
    }
}
