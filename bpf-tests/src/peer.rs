//! What the program is measured against: one that does nothing, and xdp-filter of Debian's xdp-tools.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::lab::run;

/// A program that passes each frame: what a test run costs by itself.
pub struct EmptyProgram(Ebpf);

impl EmptyProgram {
    /// Loads it.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(&empty_object()?).context("loading the empty program")?;
        let program: &mut Xdp = ebpf.program_mut("empty").context("there")?.try_into()?;
        program.load()?;
        Ok(Self(ebpf))
    }

    /// The program.
    pub fn program(&self) -> Result<&Xdp> {
        Ok(self.0.program("empty").context("there")?.try_into()?)
    }
}

/// An object file of `r0 = XDP_PASS; exit`.
pub fn empty_object() -> Result<Vec<u8>> {
    const CODE: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let section = object.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
    let symbol = object.add_symbol(Symbol {
        name: b"empty".to_vec(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    object.add_symbol_data(symbol, section, &CODE, 8);
    object.write().context("writing an object file")
}

/// Loads xdp-filter with all features on an interface of this namespace, and has it drop what comes from `dropped`. It
/// needs a BPF file system at /sys/fs/bpf.
///
/// # Errors
///
/// If xdp-tools is not installed, or refuses.
pub fn xdp_filter(interface: &str, dropped: &str) -> Result<Xdp> {
    let hint = "xdp-filter is Debian's xdp-tools: apt-get install xdp-tools";
    // With its dispatcher it would be an extension of another program, which cannot be run by itself.
    let skip = "LIBXDP_SKIP_DISPATCHER=1";
    run("env", &[skip, "xdp-filter", "load", "--mode", "native", interface]).context(hint)?;
    run("xdp-filter", &["ip", dropped, "--mode", "src"])?;
    let pin = Path::new("/sys/fs/bpf/xdp-filter/programs").join(interface).join("xdpfilt_alw_all");
    Xdp::from_pin(&pin, XdpAttachType::Interface).with_context(|| format!("opening {}", pin.display()))
}
