//! Reading captures: pcap (micro- and nanoseconds, either byte order) and pcapng, as a stream.
//!
//! A capture is hostile input: records may lie about their length, end in the middle, or carry any time. What can be
//! read is given out; what cannot is told at the end, never guessed.

use std::fs::File;
use std::path::{Path, PathBuf};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;
/// Largest record: the most libpcap writes (MAXIMUM_SNAPLEN, 262,144) with room for pcapng options. A record that says
/// it is longer is damaged.
const MAX_RECORD: usize = 4 << 20;

/// Why a capture could not be opened. A fault further on is in [`Summary::problem`].
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; name a capture, or a folder of captures, that you may read")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a capture.
    #[error("{path} is neither pcap nor pcapng; give a capture as tcpdump, dumpcap or Wireshark write it")]
    NotACapture {
        /// Which.
        path: PathBuf,
    },
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When it was captured, ns since 1970.
    pub unix_ns: u64,
    /// Bytes on the wire.
    pub len: u32,
    /// The bytes captured.
    pub bytes: &'a [u8],
}

/// What a capture held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Frames given out.
    pub frames: u64,
    /// Records of other than Ethernet, left out.
    pub not_ethernet: u64,
    /// What is wrong with the file behind the last frame given out.
    pub problem: Option<String>,
}

/// One interface of a pcapng section.
#[derive(Clone, Copy)]
struct Interface {
    ethernet: bool,
    /// Ticks a second.
    resolution: u64,
    offset_secs: i64,
    snaplen: u32,
}

impl Interface {
    /// ns since 1970 of a 64-bit time stamp.
    fn unix_ns(&self, high: u32, low: u32) -> u64 {
        let ticks = u128::from(high) << 32 | u128::from(low);
        let ns = ticks * 1_000_000_000 / u128::from(self.resolution.max(1));
        let ns = i128::try_from(ns)
            .unwrap_or(i128::MAX)
            .saturating_add(i128::from(self.offset_secs) * 1_000_000_000);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// State of the format.
#[derive(Default)]
struct Format {
    interfaces: Vec<Interface>,
    /// pcap: whether it is Ethernet, and ns of a unit of the fraction.
    legacy: Option<(bool, u64)>,
    /// Time of the last frame, for those without one.
    last_ns: u64,
}

/// Reads a capture and gives each Ethernet frame to `take`.
pub fn read(path: &Path, mut take: impl FnMut(Frame<'_>)) -> Result<Summary, CaptureError> {
    let file = File::open(path).map_err(|source| CaptureError::Open { path: path.to_owned(), source })?;
    let directory = file.metadata().is_ok_and(|meta| meta.is_dir());
    let not_a_capture = || CaptureError::NotACapture { path: path.to_owned() };
    if directory {
        return Err(not_a_capture());
    }
    let mut reader = create_reader(BUFFER, file).map_err(|_| not_a_capture())?;
    let mut format = Format::default();
    let mut summary = Summary::default();
    let mut capacity = BUFFER;
    loop {
        let fault = match reader.next() {
            Ok((size, block)) => {
                format.block(&block, &mut summary, &mut take);
                reader.consume(size);
                continue;
            }
            Err(PcapError::Eof) => return Ok(summary),
            Err(PcapError::Incomplete(_)) => match refill(&mut reader) {
                Ok(()) => continue,
                Err(fault) => fault,
            },
            Err(PcapError::BufferTooSmall) if capacity < MAX_RECORD => {
                capacity = MAX_RECORD;
                if reader.grow(capacity) && refill(&mut reader).is_ok() {
                    continue;
                }
                "a record is too long for memory"
            }
            Err(PcapError::BufferTooSmall) => "a record says it is longer than any capture's",
            Err(PcapError::UnexpectedEof) => "the file ends within a record",
            Err(PcapError::ReadError) => "the file could not be read on",
            Err(_) => "a record is damaged",
        };
        summary.problem = Some(format!(
            "{}: {fault}, after {} frames; those were used, the rest is lost",
            path.display(),
            summary.frames
        ));
        return Ok(summary);
    }
}

/// Reads on; an error says why there is nothing more.
fn refill(reader: &mut Box<dyn PcapReaderIterator + Send + '_>) -> Result<(), &'static str> {
    if reader.reader_exhausted() {
        return Err("the file ends within a record");
    }
    reader.refill().map_err(|_| "the file could not be read on")
}

impl Format {
    fn block(&mut self, block: &PcapBlockOwned<'_>, summary: &mut Summary, take: &mut impl FnMut(Frame<'_>)) {
        let (ethernet, unix_ns, len, bytes) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                self.legacy = Some((header.network == Linktype::ETHERNET, unit));
                return;
            }
            PcapBlockOwned::Legacy(block) => {
                let (ethernet, unit) = self.legacy.unwrap_or((false, 1_000));
                let unix_ns = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * unit;
                (ethernet, unix_ns, block.origlen, block.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => return self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                self.interfaces.push(Interface {
                    ethernet: block.linktype == Linktype::ETHERNET,
                    resolution: block.ts_resolution().unwrap_or(1_000_000),
                    offset_secs: block.ts_offset(),
                    snaplen: block.snaplen,
                });
                return;
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let Some(interface) = self.interfaces.get(block.if_id as usize) else {
                    summary.not_ethernet += 1;
                    return;
                };
                let bytes = block.data.get(..block.caplen as usize).unwrap_or(block.data);
                let unix_ns = interface.unix_ns(block.ts_high, block.ts_low);
                (interface.ethernet, unix_ns, block.origlen, bytes)
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                let Some(interface) = self.interfaces.first() else {
                    summary.not_ethernet += 1;
                    return;
                };
                let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
                let captured = block.origlen.min(snaplen) as usize;
                let bytes = block.data.get(..captured).unwrap_or(block.data);
                (interface.ethernet, self.last_ns, block.origlen, bytes)
            }
            PcapBlockOwned::NG(_) => return,
        };
        if !ethernet {
            summary.not_ethernet += 1;
            return;
        }
        self.last_ns = unix_ns;
        summary.frames += 1;
        // A record that says it is shorter on the wire than what it holds lies.
        let len = len.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        take(Frame { unix_ns, len, bytes });
    }
}
