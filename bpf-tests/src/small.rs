//! XDP programs of a few instructions, written down one by one: what the benchmark generates and measures traffic with.

use anyhow::{Context, Result};
use aya::maps::{MapData, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::{Object, ProgramSection};
use object::write::{Object as Writer, Relocation, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope,
};
use sensor_user::bpf::{OBJECT, PROGRAM};

use crate::kernel::{XDP_DROP, XDP_PASS};

/// Name of each of these programs, and of the one map they may have.
const NAME: &str = "small";
const MAP: &str = "NEXT";

/// Offset of the source address in an untagged IPv4 packet.
const SOURCE_ADDRESS: i16 = 26;
/// Offset of the source port in an untagged IPv4 packet without options.
const SOURCE_PORT: i16 = 34;

/// `BPF_MAP_TYPE_PROG_ARRAY` of linux/bpf.h.
const PROGRAM_ARRAY: u32 = 3;
/// Helper numbers of linux/bpf.h.
const GET_PRANDOM: i32 = 7;
const TAIL_CALL: i32 = 12;
const REDIRECT: i32 = 23;

/// A loaded program of a few instructions.
pub struct Small {
    ebpf: Ebpf,
    /// What it goes on with. The kernel empties an array of programs that no process has open.
    _next: Option<ProgramArray<MapData>>,
}

impl Small {
    /// A program that passes each frame: what a test run costs by itself.
    pub fn pass() -> Result<Self> {
        Self::load("xdp", &verdict(XDP_PASS), None)
    }

    /// A program that drops each frame: what a port can take in at most.
    pub fn drop() -> Result<Self> {
        Self::load("xdp", &verdict(XDP_DROP), None)
    }

    /// A generator: sends each frame out by an interface of the same network namespace. Of IPv4 packets it draws the
    /// source port anew, from so many bits: 0 leaves them as they are.
    pub fn generator(interface: u32, port_bits: u8) -> Result<Self> {
        let mut code = Vec::new();
        if port_bits > 0 {
            code.extend([mov_reg(6, 1), call(GET_PRANDOM), and(0, (1 << port_bits) - 1)]);
            code.extend(window(6, SOURCE_PORT + 2, 1));
            code.push(store_half(2, SOURCE_PORT, 0));
        }
        code.extend([mov(1, interface as i32), mov(2, 0), call(REDIRECT), EXIT]);
        Self::load("xdp", &code, None)
    }

    /// A program that adds one to the source address of an IPv4 packet and goes on with another program: run again and
    /// again it brings that one a new flow each time.
    pub fn next_flow(other: &Xdp) -> Result<Self> {
        let mut code = window(1, SOURCE_ADDRESS + 4, 3);
        code.extend([load_word(4, 2, SOURCE_ADDRESS), add(4, 1), store_word(2, SOURCE_ADDRESS, 4)]);
        let map_at = code.len();
        code.extend([LOAD_MAP_2, [0; 8], mov(3, 0), call(TAIL_CALL), mov(0, 0), EXIT]);
        // A tail call leads from one program to another only if both take frames of several buffers, or neither.
        let section = if takes_frags()? { "xdp.frags" } else { "xdp" };
        let mut small = Self::load(section, &code, Some(map_at))?;
        let map = small.ebpf.take_map(MAP).context("no map of programs")?;
        let mut next: ProgramArray<_> = map.try_into()?;
        next.set(0, other.fd()?, 0).context("naming the program to go on with")?;
        small._next = Some(next);
        Ok(small)
    }

    fn load(section: &str, code: &[[u8; 8]], map_at: Option<usize>) -> Result<Self> {
        let object = object(NAME, section, code, map_at)?;
        let mut ebpf = EbpfLoader::new().load(&object).context("loading a small program")?;
        let program: &mut Xdp = ebpf.program_mut(NAME).context("there")?.try_into()?;
        program.load()?;
        Ok(Self { ebpf, _next: None })
    }

    /// The program.
    pub fn program(&self) -> Result<&Xdp> {
        Ok(self.ebpf.program(NAME).context("there")?.try_into()?)
    }

    /// The program, to attach it.
    pub fn program_mut(&mut self) -> Result<&mut Xdp> {
        Ok(self.ebpf.program_mut(NAME).context("there")?.try_into()?)
    }
}

/// An object file of a program named `empty` that passes each frame, for others to load.
pub fn empty_object() -> Result<Vec<u8>> {
    object("empty", "xdp", &verdict(XDP_PASS), None)
}

/// Whether Sekisho's program takes frames of several buffers.
fn takes_frags() -> Result<bool> {
    let object = Object::parse(OBJECT).context("reading the object")?;
    let program = object.programs.get(PROGRAM).context("no program")?;
    Ok(matches!(program.section, ProgramSection::Xdp { frags: true, .. }))
}

/// An object file of one program; `map_at` is the instruction that loads the address of its map.
fn object(name: &str, section: &str, code: &[[u8; 8]], map_at: Option<usize>) -> Result<Vec<u8>> {
    let mut object = Writer::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let text = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    let symbol = object.add_symbol(symbol(name, SymbolKind::Text, SymbolSection::Section(text)));
    object.add_symbol_data(symbol, text, code.as_flattened(), 8);
    if let Some(at) = map_at {
        let symbol = map(&mut object);
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Absolute,
            encoding: RelocationEncoding::Generic,
            size: 64,
        };
        let relocation = Relocation { offset: at as u64 * 8, symbol, addend: 0, flags };
        object.add_relocation(text, relocation)?;
    }
    object.write().context("writing an object file")
}

/// Adds a map of one program.
fn map(object: &mut Writer<'_>) -> SymbolId {
    let maps = object.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
    let symbol = object.add_symbol(symbol(MAP, SymbolKind::Data, SymbolSection::Section(maps)));
    // Type, bytes of a key, bytes of a value, entries, flags, id, pinning.
    let definition = [PROGRAM_ARRAY, 4, 4, 1, 0, 0, 0].map(u32::to_le_bytes);
    object.add_symbol_data(symbol, maps, definition.as_flattened(), 4);
    symbol
}

fn symbol(name: &str, kind: SymbolKind, section: SymbolSection) -> Symbol {
    Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: 0,
        kind,
        scope: SymbolScope::Dynamic,
        weak: false,
        section,
        flags: SymbolFlags::None,
    }
}

// The instructions, by linux/bpf.h: operation, registers (destination in the low half), offset, constant.

const EXIT: [u8; 8] = instruction(0x95, 0, 0, 0, 0);
/// The first half of loading the address of a map into register 2; the second half is zero.
const LOAD_MAP_2: [u8; 8] = instruction(0x18, 2, 0, 0, 0);

const fn instruction(operation: u8, dst: u8, src: u8, offset: i16, constant: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [c0, c1, c2, c3] = constant.to_le_bytes();
    [operation, dst | src << 4, o0, o1, c0, c1, c2, c3]
}

fn verdict(verdict: u32) -> [[u8; 8]; 2] {
    [mov(0, verdict as i32), EXIT]
}

/// Puts the start of the packet of context `ctx` into register 2, and goes over the next `skip` instructions if the packet
/// is shorter than `bytes`. Uses registers 3 and 4.
fn window(ctx: u8, bytes: i16, skip: i16) -> Vec<[u8; 8]> {
    let jump_if_greater = instruction(0x2d, 4, 3, skip, 0);
    vec![load_word(2, ctx, 0), load_word(3, ctx, 4), mov_reg(4, 2), add(4, i32::from(bytes)), jump_if_greater]
}

const fn mov(dst: u8, constant: i32) -> [u8; 8] {
    instruction(0xb7, dst, 0, 0, constant)
}

const fn mov_reg(dst: u8, src: u8) -> [u8; 8] {
    instruction(0xbf, dst, src, 0, 0)
}

const fn add(dst: u8, constant: i32) -> [u8; 8] {
    instruction(0x07, dst, 0, 0, constant)
}

const fn and(dst: u8, constant: i32) -> [u8; 8] {
    instruction(0x57, dst, 0, 0, constant)
}

const fn call(helper: i32) -> [u8; 8] {
    instruction(0x85, 0, 0, 0, helper)
}

const fn load_word(dst: u8, src: u8, offset: i16) -> [u8; 8] {
    instruction(0x61, dst, src, offset, 0)
}

const fn store_word(dst: u8, offset: i16, src: u8) -> [u8; 8] {
    instruction(0x63, dst, src, offset, 0)
}

const fn store_half(dst: u8, offset: i16, src: u8) -> [u8; 8] {
    instruction(0x6b, dst, src, offset, 0)
}
