//! Which types may be handed to the kernel as plain bytes.

use aya::Pod;
use sensor_ebpf::control::{Bucket, Clock, Config, Port, Reflex};
use sensor_ebpf::counter::PortCell;
use sensor_ebpf::event::FlowRecord;
use sensor_ebpf::flow::{FlowKey4, FlowKey6};
use sensor_ebpf::heard::{HeardCell, HeardHead};
use sensor_ebpf::rule::{AllowKey, RuleCounters, RuleValue};
use sensor_ebpf::table::Set;

/// A key or value as aya's maps want it. (Neither the trait nor most of the types are ours, hence the wrapper.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Raw<T>(pub T);

/// A type of the kernel boundary: fixed width, no padding, every bit pattern valid.
///
/// # Safety
///
/// The type must be `repr(C)` of integers and arrays of them, without padding, and without a pointer.
pub unsafe trait Wire: Copy + Default + 'static {}

macro_rules! wire {
    ($($type:ty),+ $(,)?) => { $(
        // SAFETY: repr(C) of integers only; sensor-ebpf asserts the sizes, in which every byte is a field's.
        unsafe impl Wire for $type {}
    )+ };
}

wire!(
    u32,
    u64,
    [u64; 2],
    [u64; 12],
    Bucket,
    Clock,
    Config,
    Port,
    PortCell,
    Reflex,
    FlowRecord,
    HeardCell,
    HeardHead,
    FlowKey4,
    FlowKey6,
    AllowKey,
    RuleCounters,
    RuleValue
);

macro_rules! sets {
    ($($key:ty),+) => { $(
        // SAFETY: repr(C) of integers only. It has padding, so it is only ever read from the kernel: whatever that writes is
        // a valid pattern.
        unsafe impl Wire for Set<$key> {}
    )+ };
}

sets!(FlowKey4, FlowKey6);

// SAFETY: `Wire` demands just what `Pod` does, and the wrapper is transparent.
unsafe impl<T: Wire> Pod for Raw<T> {}

/// The value that `bytes` hold, if their number is right.
pub fn from_bytes<T: Wire>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: as many bytes as the type has, of which every pattern is valid; no alignment is needed.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_wrong_number_are_refused() {
        assert_eq!(from_bytes::<u32>(&[1, 0, 0]), None);
        assert_eq!(from_bytes::<u32>(&[1, 0, 0, 0, 0]), None);
        assert_eq!(from_bytes::<u32>(&1u32.to_ne_bytes()), Some(1));
    }
}
