//! The frames of a capture file, one after the other.

use super::PcapFileError;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};
use pipeline::frame::Link;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// First bytes of a pcapng file: the type of its section header block.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// A capture file, of the older or the newer format.
pub(super) enum Source {
    Pcap(PcapReader<File>),
    PcapNg(PcapNgReader<File>),
}

/// A captured frame.
#[derive(Debug)]
pub(super) struct Captured<'a> {
    /// What was captured of it.
    pub(super) bytes: &'a [u8],
    /// Whether that is all of it.
    pub(super) whole: bool,
}

impl Source {
    /// Opens a file, which must hold frames of kind `link`.
    pub(super) fn open(path: &Path, link: Link) -> Result<Source, PcapFileError> {
        let open = |source| PcapFileError::Open { path: path.to_owned(), source };
        let invalid = |source| PcapFileError::Invalid { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(open)?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|e| invalid(PcapError::IoError(e)))?;
        file.rewind().map_err(open)?;
        if magic == PCAPNG {
            // Its interfaces are declared on the way: each frame is checked.
            return Ok(Source::PcapNg(PcapNgReader::new(file).map_err(invalid)?));
        }
        let reader = PcapReader::new(file).map_err(invalid)?;
        let found = reader.header().datalink;
        if kind(found) != Some(link) {
            return Err(PcapFileError::Link { path: path.to_owned(), found, expected: link });
        }
        Ok(Source::Pcap(reader))
    }

    /// Gives the next frame to `f`; `None` at the end. Frames of another kind than `link` are an error.
    pub(super) fn next<T>(
        &mut self,
        link: Link,
        f: impl FnOnce(Captured<'_>) -> T,
    ) -> Result<Option<T>, PcapError> {
        match self {
            Source::Pcap(reader) => {
                let Some(packet) = reader.next_packet().transpose()? else { return Ok(None) };
                Ok(Some(f(captured(&packet.data, packet.orig_len))))
            }
            Source::PcapNg(reader) => next_of_pcapng(reader, link, f),
        }
    }
}

fn next_of_pcapng<T>(
    reader: &mut PcapNgReader<File>,
    link: Link,
    f: impl FnOnce(Captured<'_>) -> T,
) -> Result<Option<T>, PcapError> {
    loop {
        // All interfaces so far; a frame's own interface is among them, or the file is wrong.
        let interfaces = reader.interfaces();
        let foreign = interfaces.iter().any(|interface| kind(interface.linktype) != Some(link));
        let known = interfaces.len();
        let Some(block) = reader.next_block().transpose()? else { return Ok(None) };
        let (interface, data, len) = match block {
            Block::EnhancedPacket(packet) => {
                (packet.interface_id, packet.data, packet.original_len)
            }
            Block::SimplePacket(packet) => (0, packet.data, packet.original_len),
            _ => continue,
        };
        if interface as usize >= known {
            return Err(PcapError::InvalidInterfaceId(interface));
        }
        if foreign {
            return Err(PcapError::InvalidField("an interface of another link type"));
        }
        return Ok(Some(f(captured(&data, len))));
    }
}

fn captured(bytes: &[u8], original_len: u32) -> Captured<'_> {
    Captured { bytes, whole: bytes.len() == original_len as usize }
}

/// What frames of a link type start with, if we know.
fn kind(link: DataLink) -> Option<Link> {
    match link {
        DataLink::ETHERNET => Some(Link::Ethernet),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => Some(Link::Ip),
        _ => None,
    }
}
