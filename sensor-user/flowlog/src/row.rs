//! A row before it is written: what is logged of a conversation.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensor_core::addr::Mac;
use sensor_core::event::{FlowEnded, Half};
use sensor_core::inventory::cards::DeviceId;
use sensor_core::observation::{EndReason, FlowId, Verdict};
use sensor_core::time::Time;
use sensor_core::tunnel::Inner;

/// A conversation that ended, or an hour of one that goes on. Times are microseconds since 1970.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// When it was logged.
    pub logged: i64,
    /// Its first frame.
    pub start: i64,
    /// Since when what is counted was counted; none: since `start`.
    pub since: Option<i64>,
    /// Its last frame so far.
    pub end: i64,
    /// The direction that began it.
    pub id: FlowId,
    /// MAC address of who began it.
    pub smac: Mac,
    /// MAC address it was sent to.
    pub dmac: Mac,
    /// The packet within, if it is a tunnel.
    pub inner: Option<Box<Inner>>,
    /// From who began it.
    pub to_server: Half,
    /// The answers.
    pub to_client: Half,
    /// Why it ended.
    pub reason: EndReason,
    /// What became of its frames.
    pub verdict: Verdict,
    /// Numbers of the devices that began it and that it was sent to.
    pub devices: [Option<DeviceId>; 2],
    /// The part of what came that was seen, on the port, at the time it was logged.
    pub coverage: Option<f64>,
}

/// How places are called at the time a row is logged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Names of the ports, by index.
    pub ports: BTreeMap<u8, String>,
    /// The name of the segment of each VLAN that is in one.
    pub vlans: BTreeMap<u16, String>,
    /// The name of the segment of each port that is in one, by index.
    pub port_segments: BTreeMap<u8, String>,
}

impl Place {
    /// The segment of a conversation: that of its VLAN before that of its port.
    pub(crate) fn segment(&self, id: &FlowId) -> Option<&str> {
        self.vlans.get(&id.vlan).or_else(|| self.port_segments.get(&id.port)).map(String::as_str)
    }
}

/// Rows told together, and how places were called then.
pub(crate) struct Chunk {
    pub rows: Vec<Row>,
    pub place: Arc<Place>,
}

impl Row {
    /// The row of a conversation that was told at `now`; `ahead_ns` is to be added to the core's times to get ns since
    /// 1970.
    pub fn new(flow: FlowEnded, now: Time, ahead_ns: i64, coverage: Option<f64>) -> Self {
        let micros = |time: Time| {
            let ns = i128::from(time.signed()) + i128::from(ahead_ns);
            ns.div_euclid(1_000).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        };
        let [to_server, to_client] = match &flow.earlier {
            None => [flow.to_server, flow.to_client],
            Some(earlier) => {
                [less(flow.to_server, earlier.to_server), less(flow.to_client, earlier.to_client)]
            }
        };
        let dropped = to_server.drops + to_client.drops > 0;
        Self {
            logged: micros(now),
            start: micros(flow.start),
            since: flow.earlier.as_ref().map(|earlier| micros(earlier.until)),
            end: micros(flow.end),
            id: flow.id,
            smac: flow.smac,
            dmac: flow.dmac,
            inner: flow.inner.map(Box::new),
            to_server,
            to_client,
            reason: flow.reason,
            // Of the first part also what was dropped and not counted yet.
            verdict: if dropped || flow.earlier.is_none() { flow.verdict } else { Verdict::Pass },
            devices: flow.devices,
            coverage,
        }
    }
}

/// What came after what was told already. Flags are those of all of it: which came again is not known.
fn less(all: Half, told: Half) -> Half {
    Half {
        packets: all.packets.saturating_sub(told.packets),
        bytes: all.bytes.saturating_sub(told.bytes),
        drops: all.drops.saturating_sub(told.drops),
        tcp_flags: all.tcp_flags,
    }
}
