//! The BPF object the daemon carries, and what it declares.

use aya_obj::{EbpfSectionKind, Object};

use super::error::BpfError;

/// The compiled program of `sensor-ebpf`, as `cargo xtask build` made it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor.o"));

/// The XDP program of every port.
pub const PROGRAM: &str = "sekisho";
/// The program that reads the kernel's clocks; only ever test-run.
pub const CLOCK_PROGRAM: &str = "sekisho_clock";

/// aya-log's own ring: a new daemon starts a new one.
pub const LOG_MAP: &str = "AYA_LOGS";

/// A map as the object declares it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapShape {
    /// Its name, which is also the name of its pin.
    pub name: String,
    /// `enum bpf_map_type` of linux/bpf.h.
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Most entries (bytes, for a ring).
    pub entries: u32,
    /// `BPF_F_*` flags of its making.
    pub flags: u32,
}

/// The maps that outlive the daemon: all the program declares, without its constants and its log.
///
/// # Errors
///
/// [`BpfError::Object`] if the object cannot be read.
pub fn pinned_maps(object: &[u8]) -> Result<Vec<MapShape>, BpfError> {
    let object = Object::parse(object).map_err(|error| BpfError::Object(error.to_string()))?;
    let mut maps: Vec<MapShape> = object
        .maps
        .iter()
        .filter(|(name, map)| map.section_kind() == EbpfSectionKind::Maps && name.as_str() != LOG_MAP)
        .map(|(name, map)| MapShape {
            name: name.clone(),
            kind: map.map_type(),
            key_bytes: map.key_size(),
            value_bytes: map.value_size(),
            entries: map.max_entries(),
            flags: map.map_flags(),
        })
        .collect();
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_maps_but_constants_and_log_are_pinned() {
        let maps = pinned_maps(OBJECT).expect("the object parses");
        let names: Vec<&str> = maps.iter().map(|map| map.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "ALLOW",
                "CLOCK",
                "CONFIG",
                "FLOW4",
                "FLOW6",
                "FRAGMENTS",
                "HEARD",
                "HOSTS",
                "INTERNAL",
                "PAIRS",
                "PLACES",
                "PORTS",
                "PORT_COUNTERS",
                "REASONS",
                "REFLEX",
                "RING_CONTROL",
                "RING_FLOW",
                "RING_HEARD",
                "RULES_IP",
                "RULES_MAC",
                "RULES_NET",
                "RULES_SCOPE",
                "RULE_COUNTERS",
                "SCRATCH",
                "SEALS",
                "SEGMENT_OF",
                "THROTTLED",
                "WOKEN",
            ]
        );
    }
}
