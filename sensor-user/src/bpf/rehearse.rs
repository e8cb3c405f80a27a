//! What the proof of a swap needs of the program in force: two more ports that have it, and a rule for a device that is
//! none.

use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData};
use sensor_core::datapath::RuleKey;
use sensor_ebpf::rule::{LEVEL_ISOLATE, RuleValue};

use super::before::program_of;
use super::error::BpfError;
use super::migrate;
use super::pins::{Pins, pin_error};
use super::ports::BridgePort;
use super::rules::Rules;
use super::sys;

/// Gives ports of our own the program that the others have, as an earlier daemon would have.
///
/// # Errors
///
/// [`BpfError::NoProgram`] if no port has one, else [`BpfError::Pin`].
pub fn lend_program(pins: &Pins, ports: &[BridgePort]) -> Result<(), BpfError> {
    let program = pins.link_paths()?.iter().find_map(|link| program_of(pins, link));
    let program = program.ok_or(BpfError::NoProgram)?;
    for port in ports {
        let pin = pins.link(port);
        let link =
            sys::create_xdp_link(program.as_fd(), port.ifindex).map_err(pin_error("attaching", &pin))?;
        sys::pin(link.as_fd(), &pin).map_err(pin_error("pinning", &pin))?;
    }
    Ok(())
}

/// A rule that isolates a MAC address nobody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestRule {
    /// The address.
    pub mac: [u8; 6],
    /// The rule lapses then, ns of CLOCK_MONOTONIC: should nobody be left to withdraw it.
    pub until_ns: u64,
}

impl TestRule {
    /// Enters it in the maps in force, of whichever release they are.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if they cannot be written.
    pub fn enter(self, pins: &Pins) -> Result<(), BpfError> {
        self.put(pins, true)
    }

    /// Takes it out again; that it is not there is no error.
    ///
    /// # Errors
    ///
    /// [`BpfError`] if they cannot be written.
    pub fn withdraw(self, pins: &Pins) -> Result<(), BpfError> {
        self.put(pins, false)
    }

    fn put(self, pins: &Pins, add: bool) -> Result<(), BpfError> {
        if !pins.has_maps()
            && let Some(old) = pins.other_layouts()?.first()
        {
            return self.put_in_one(old, add);
        }
        let mut rules = Rules::of_pins(pins)?;
        let key = RuleKey::from(self.mac);
        if add {
            rules.set(key, RuleValue { until_ns: self.until_ns, ..RuleValue::new(0, LEVEL_ISOLATE) })?;
        } else {
            rules.remove(key)?;
        }
        rules.commit()
    }

    /// The same in maps of ABI 1, where class 2 isolates, and bit 0 of the first word of the switches (64 bytes) arms the
    /// rules by MAC address; the second is the generation.
    fn put_in_one(self, dir: &Path, add: bool) -> Result<(), BpfError> {
        let fault = |error| BpfError::map("entering a rule in the old maps", error);
        let [a, b, c, d, e, f] = self.mac;
        let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let mut table: HashMap<MapData, u64, [u64; 2]> =
            HashMap::try_from(migrate::pinned(dir, "RULES_MAC")?).map_err(fault)?;
        if add {
            table.insert(mac, [self.until_ns, 2 << 32], 0).map_err(fault)?;
        } else if table.remove(&mac).is_err() {
            return Ok(());
        }
        let mut config: Array<MapData, [u32; 16]> =
            Array::try_from(migrate::pinned(dir, "CONFIG")?).map_err(fault)?;
        let mut switches = config.get(&0, 0).map_err(fault)?;
        switches[0] |= 1;
        config.set(0, switches, 0).map_err(fault)?;
        switches[1] = switches[1].wrapping_add(1);
        config.set(0, switches, 0).map_err(fault)
    }
}
