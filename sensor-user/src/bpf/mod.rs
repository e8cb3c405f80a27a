//! The kernel side from user space: load, attach to the ports of a bridge, pins, typed maps.
//!
//! The only user of aya and the only place in user space with `unsafe`. It must not know what a device, an incident
//! or a configuration file is: it deals in ports, rules, flows, records and counters as [`sensor_ebpf`] defines them.
//!
//! Everything that must outlive the daemon is pinned: a dead daemon leaves the programs attached and the rules in
//! force, and the next one takes both over without letting a frame through (see [`Sensor::load`]).

mod attach;
mod attend;
mod before;
mod clock;
mod counters;
mod driver;
mod error;
mod ethtool;
mod flows;
mod kernel_log;
mod link;
mod lock;
mod migrate;
mod netlink;
mod object;
mod offload;
mod pinned;
mod pins;
mod plan;
mod pod;
mod port_table;
mod ports;
mod probe;
mod rehearse;
mod repair;
mod rings;
mod rules;
mod sensor;
mod share;
mod stranger;
pub mod survey;
mod sys;
mod tap;
mod wire;

pub use attach::{Attached, Attachments, Mode, Unfiltered};
pub use counters::{Counters, Marks};
pub use driver::Problem;
pub use error::BpfError;
pub use flows::{FlowKey, Flows, Sweep};
pub use kernel_log::KernelLog;
pub use link::{Interface, Nic, all as interfaces};
pub use lock::{LOCK_DIR, LockError, SensorLock};
pub use object::{OBJECT, PROGRAM};
pub use offload::{Offload, Offloads, PortOffloads, list as list_offloads};
pub use pins::{DEFAULT_PIN_DIR, Detached, PinView, Pins, bridges, detach, view};
pub use ports::{AttachedProgram, BridgePort, PortEvent, Ports, PortsError};
pub use probe::{may_load, probe};
pub use rehearse::{TestRule, lend_program};
pub use rings::{Record, Rings};
pub use rules::{Bypass, Rules, port_index};
pub use sensor::{Maps, Sensor, load_programs};
pub use sensor_core::datapath::RuleKey;
pub use tap::{Filter, Tap};
pub use wire::Wire;
