//! What somebody with bpftool could do to the kernel's side behind the daemon's back.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Words of the switches.
const CONFIG_WORDS: usize = size_of::<sensor_ebpf::control::Config>() / 4;

fn hash(pin: &Path) -> Result<HashMap<MapData, [u64; 2], [u64; 2]>> {
    let data = MapData::from_pin(pin).with_context(|| format!("opening {}", pin.display()))?;
    Ok(Map::from_map_data(data)?.try_into()?)
}

/// Deletes a rule by IP address.
pub fn delete(pin: &Path, key: &[u64; 2]) -> Result<()> {
    hash(pin)?.remove(key).context("deleting a rule")
}

/// Adds a rule by IP address; `value` is the rule as it lies in memory.
pub fn insert(pin: &Path, key: [u64; 2], value: [u64; 2]) -> Result<()> {
    hash(pin)?.insert(key, value, 0).context("adding a rule")
}

/// Has all known flows judged anew.
pub fn raise_generation(maps: &Path) -> Result<()> {
    // The second word: see `sensor_ebpf::control::Config`.
    change(maps, |switches| switches[1] = switches[1].wrapping_add(1))
}

fn change(maps: &Path, with: impl FnOnce(&mut [u32; CONFIG_WORDS])) -> Result<()> {
    let data = MapData::from_pin(maps.join("CONFIG")).context("opening the switches")?;
    let mut config: Array<MapData, [u32; CONFIG_WORDS]> = Map::from_map_data(data)?.try_into()?;
    let mut switches = config.get(&0, 0)?;
    with(&mut switches);
    Ok(config.set(0, switches, 0)?)
}

/// Has the program ask no rules.
pub fn disarm(maps: &Path) -> Result<()> {
    change(maps, |switches| switches[0] = 0)
}

/// Takes the program of a pinned link off its port; the pin stays.
pub fn detach(pin: &Path) -> Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut get = [path.as_ptr() as u64, 0];
    let link = bpf(BPF_OBJ_GET, &mut get).with_context(|| format!("opening {}", pin.display()))?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    let mut detach = [link.as_raw_fd() as u64];
    bpf(BPF_LINK_DETACH, &mut detach).context("detaching the link").map(drop)
}

fn bpf<const N: usize>(command: libc::c_long, attributes: &mut [u64; N]) -> io::Result<i32> {
    // SAFETY: the attributes of these commands, of their size; what they point to lives in the callers.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<[u64; N]>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
