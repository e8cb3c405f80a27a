//! Frames of capture files.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

/// The folder of captures: `SEKISHO_DATA`, or `shared/data` beside the workspace. `None` if it is not there.
pub fn data_dir() -> Option<PathBuf> {
    let dir = match env::var_os("SEKISHO_DATA") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    dir.is_dir().then_some(dir)
}

/// All captures below a folder, sorted.
pub fn captures(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(captures(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Gives each frame of a capture, as far as it was captured, to `each`. A file that ends within a frame is read up to
/// there.
pub fn frames(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut reader = match create_reader(1 << 20, file) {
        Ok(reader) => reader,
        Err(error) => bail!("{} is no capture: {error:?}", path.display()),
    };
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                if let Some(frame) = frame(&block) {
                    each(frame)?;
                }
                reader.consume(offset);
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() || reader.refill().is_err() {
                    return Ok(());
                }
            }
            Err(error) => bail!("{}: {error:?}", path.display()),
        }
    }
}

/// The frame of a block, if it has one.
fn frame<'a>(block: &'a PcapBlockOwned<'_>) -> Option<&'a [u8]> {
    match block {
        PcapBlockOwned::Legacy(packet) => Some(packet.data),
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => packet.data.get(..packet.caplen as usize),
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => Some(packet.data),
        _ => None,
    }
}
