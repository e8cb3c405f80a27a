//! The few bpf(2) commands aya does not offer, each as one safe function.
//!
//! Layouts: `union bpf_attr` and `struct bpf_link_info` of linux/bpf.h. A shorter attribute than the kernel's is
//! filled up with zeros by it, so only the fields used are declared.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::pod::Wire;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_LINK_TYPE_XDP: u32 = 6;
/// `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;

/// A power of two of pages, be they of 4 or of 64 KiB.
const RING_BYTES: u32 = 1 << 16;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ObjInfo {
    bpf_fd: u32,
    info_bytes: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct GetById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkDetach {
    link_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    open_flags: u32,
}

/// `struct bpf_link_info` of an XDP link, with room for what newer kernels add.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    ifindex: u32,
    rest: [u32; 27],
}

/// What a link is attached to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XdpLinkInfo {
    /// Kernel id of its program.
    pub program: u32,
    /// Index of its interface in the interface's own namespace; 0 once the interface is gone.
    pub ifindex: u32,
}

/// Runs a bpf(2) command; returns its non-negative answer.
///
/// # Safety
///
/// `attr` must be of the layout the command wants, and every address in it must be of live memory as large as the
/// command reads or writes.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    let attr: *mut T = attr;
    // SAFETY: the caller vouches for the attribute.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) })
}

/// The answer of a system call, which is negative when it failed.
pub fn check<T: Default + PartialOrd>(answer: T) -> io::Result<T> {
    if answer < T::default() { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Takes the descriptor a command answered with.
fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a ring buffer map, to see whether the kernel can.
pub fn create_ring() -> io::Result<OwnedFd> {
    let mut attr = MapCreate { kind: BPF_MAP_TYPE_RINGBUF, entries: RING_BYTES, ..MapCreate::default() };
    // SAFETY: the attribute of this command; it holds no address.
    let answer = unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?;
    owned(answer)
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjGet { pathname: path.as_ptr() as u64, ..ObjGet::default() };
    // SAFETY: the attribute of this command; the path is a string that lives until after the call.
    let answer = unsafe { bpf(BPF_OBJ_GET, &mut attr) }?;
    owned(answer)
}

/// Pins an object.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr =
        ObjGet { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd() as u32, file_flags: 0 };
    // SAFETY: the attribute of this command; the path is a string that lives until after the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens a loaded program by its kernel id, which takes CAP_SYS_ADMIN.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = GetById { id, ..GetById::default() };
    // SAFETY: the attribute of this command; it holds no address.
    let answer = unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }?;
    owned(answer)
}

/// The kernel id of a program.
pub fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = RawProgramInfo::default();
    let mut attr = ObjInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_bytes: size_of::<RawProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attribute of this command; `info` has the size it states and lives until after the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.id)
}

/// Attaches an XDP program to an interface, natively where the driver can.
pub fn create_xdp_link(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: BPF_XDP,
        flags: 0,
    };
    // SAFETY: the attribute of this command; it holds no address.
    let answer = unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?;
    owned(answer)
}

/// Replaces the program of a link, atomically.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: program.as_raw_fd() as u32,
        ..LinkUpdate::default()
    };
    // SAFETY: the attribute of this command; it holds no address.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// What an XDP link is attached to.
///
/// # Errors
///
/// `InvalidData` if the descriptor is of another kind of link.
pub fn xdp_link_info(link: BorrowedFd<'_>) -> io::Result<XdpLinkInfo> {
    let mut info = RawLinkInfo::default();
    let mut attr = ObjInfo {
        bpf_fd: link.as_raw_fd() as u32,
        info_bytes: size_of::<RawLinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attribute of this command; `info` has the size it states and lives until after the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    if info.kind != BPF_LINK_TYPE_XDP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an XDP link"));
    }
    Ok(XdpLinkInfo { program: info.program, ifindex: info.ifindex })
}

/// Detaches a link at once (removing its pin would do so only when the kernel gets to it).
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkDetach { link_fd: link.as_raw_fd() as u32 };
    // SAFETY: the attribute of this command; it holds no address.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// The id of the next link of the machine after `id`; `None` after the last. Takes CAP_SYS_ADMIN.
pub fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: the attribute of this command; it holds no address.
    let answer = unsafe { bpf(BPF_LINK_GET_NEXT_ID, &mut attr) };
    found(answer.map(drop), ()).map(|link| link.map(|()| attr.next))
}

/// Opens a link by its id. Takes CAP_SYS_ADMIN.
pub fn open_link(id: u32) -> io::Result<OwnedFd> {
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: the attribute of this command; it holds no address.
    owned(unsafe { bpf(BPF_LINK_GET_FD_BY_ID, &mut attr) }?)
}

/// What one call of [`lookup_batch`] brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchEnd {
    /// So many entries; go on with the cursor given.
    More(usize, u32),
    /// So many entries; they were the last.
    Last(usize),
    /// A bucket of the table has more entries than fit: call again with more room.
    TooSmall,
}

/// Reads the next entries of a map, at most as many as `keys` and `values` have room for.
pub fn lookup_batch<K: Wire, V: Wire>(
    map: BorrowedFd<'_>,
    cursor: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<BatchEnd> {
    let from = cursor.unwrap_or(0);
    let mut to = 0u32;
    let mut attr = Batch {
        in_batch: if cursor.is_some() { (&raw const from) as u64 } else { 0 },
        out_batch: (&raw mut to) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len().min(values.len()) as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the attribute of this command; the slices have room for `count` keys and values of the map's sizes
    // (checked when the map was opened), of types for which every pattern is valid, and live until after the call.
    let answer = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
    match answer {
        Ok(_) => Ok(BatchEnd::More(attr.count as usize, to)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(BatchEnd::Last(attr.count as usize)),
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Ok(BatchEnd::TooSmall),
        Err(error) => Err(error),
    }
}

/// Entries of a hash table that are read at a time, at first.
const AT_ONCE: usize = 4_096;

/// Reads all entries of a hash table, which may change meanwhile.
pub fn each_entry<K: Wire, V: Wire>(map: BorrowedFd<'_>, mut each: impl FnMut(K, V)) -> io::Result<()> {
    let (mut cursor, mut room) = (None, AT_ONCE);
    loop {
        let (mut keys, mut values) = (vec![K::default(); room], vec![V::default(); room]);
        let (count, next) = match lookup_batch(map, cursor, &mut keys, &mut values)? {
            BatchEnd::More(count, next) => (count, Some(next)),
            BatchEnd::Last(count) => (count, None),
            BatchEnd::TooSmall => {
                room *= 2;
                continue;
            }
        };
        keys.into_iter().zip(values).take(count).for_each(|(key, value)| each(key, value));
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// Reads an entry of a map; `None` if there is none.
pub fn lookup<K: Wire, V: Wire>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    let mut attr = Element {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const *key) as u64,
        value: (&raw mut value) as u64,
        ..Element::default()
    };
    // SAFETY: the attribute of this command; key and value are of the map's sizes (checked when it was opened), the value of
    // a type for which every pattern is valid, and both live until after the call.
    let answer = unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) };
    found(answer.map(drop), value)
}

/// "No such entry" is an answer, not an error.
fn found<T>(answer: io::Result<()>, value: T) -> io::Result<Option<T>> {
    match answer {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
