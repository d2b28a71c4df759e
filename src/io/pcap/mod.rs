//! Capture files as a port: receives what a pcap or pcapng file holds, and writes what it is sent into a
//! pcap file. For replaying traffic, and for looking at what the pipeline makes of it.

mod source;

use super::{Port, PortCx};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError};
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use pipeline::stages::port::{NO_MEMORY, REFUSED, TRUNCATED};
use source::Source;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The longest frame that is written: a super-frame, and then some.
const SNAPLEN: u32 = 256 * 1024;

/// Which files.
#[derive(Clone, Debug)]
pub struct PcapConfig {
    /// What frames start with, in both files.
    pub link: Link,
    /// What is received, once from start to end; nothing when `None`.
    pub input: Option<PathBuf>,
    /// Frames received in a second, evenly; as fast as they are asked for when `None`.
    pub rate: Option<u32>,
    /// Where to write what is sent, replacing a file that is there; nowhere when `None`.
    pub output: Option<PathBuf>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PcapFileError {
    /// It cannot be opened.
    #[error("{}: cannot be opened: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is no capture file.
    #[error("{}: not a pcap or pcapng file: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: PcapError,
    },
    /// Its frames are of another kind.
    #[error("{}: holds frames of link type {found:?}, expected {expected:?} (Ethernet: 1; Ip: 101, 228 or 229)", path.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// Its link type.
        found: DataLink,
        /// What the port is to have.
        expected: Link,
    },
    /// It has fewer frames.
    #[error("{}: there is no frame {number}; the last one is {most}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The frame that was asked for.
        number: usize,
        /// How many there are.
        most: usize,
    },
    /// Not all of a frame was captured.
    #[error("{}: of frame {number} only a part was captured; expected all of it (tcpdump -s 0)", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// The frame.
        number: usize,
    },
}

/// A captured frame, the `number`th from 1 on, and what it starts with.
///
/// # Errors
/// When the file is no capture, has no such frame, or only a part of it.
pub fn frame(path: &Path, number: usize) -> Result<(Link, Vec<u8>), PcapFileError> {
    // Of which kind a pcap file is shows at its start, and of a pcapng file on the way.
    match nth(path, Link::Ethernet, number) {
        Err(PcapFileError::Link { .. }) => nth(path, Link::Ip, number),
        Err(invalid @ PcapFileError::Invalid { .. }) => {
            nth(path, Link::Ip, number).map_err(|_| invalid)
        }
        result => result,
    }
}

fn nth(path: &Path, link: Link, number: usize) -> Result<(Link, Vec<u8>), PcapFileError> {
    let mut source = Source::open(path, link)?;
    let mut n = 0;
    loop {
        n += 1;
        let next = source.next(link, |captured| captured.whole.then(|| captured.bytes.to_vec()));
        let invalid = |source| PcapFileError::Invalid { path: path.to_owned(), source };
        match next.map_err(invalid)? {
            None => {
                return Err(PcapFileError::Missing { path: path.to_owned(), number, most: n - 1 });
            }
            Some(_) if n < number => {}
            Some(Some(bytes)) => return Ok((link, bytes)),
            Some(None) => return Err(PcapFileError::Part { path: path.to_owned(), number }),
        }
    }
}

/// A port over capture files.
pub struct Pcap {
    config: PcapConfig,
    source: Option<Source>,
    output: Option<PcapWriter<BufWriter<File>>>,
    /// A frame's bytes in one piece.
    bytes: Vec<u8>,
    started: Option<Instant>,
    received: u64,
}

impl std::fmt::Debug for Pcap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pcap").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Pcap {
    /// Opens the files.
    pub fn open(config: PcapConfig) -> Result<Pcap, PcapFileError> {
        let source =
            config.input.as_deref().map(|path| Source::open(path, config.link)).transpose()?;
        let output = config.output.as_ref().map(|path| create(path, config.link)).transpose()?;
        let bytes = Vec::with_capacity(SNAPLEN as usize);
        Ok(Pcap { config, source, output, bytes, started: None, received: 0 })
    }

    /// Whether the whole input has been received.
    pub fn is_exhausted(&self) -> bool {
        self.source.is_none()
    }

    /// How many frames may have been received by now.
    fn due(&mut self) -> u64 {
        let Some(rate) = self.config.rate else { return u64::MAX };
        let elapsed = self.started.get_or_insert_with(Instant::now).elapsed();
        (elapsed.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
    }

    fn write(&mut self, frame: &Frame) -> bool {
        let Some(output) = &mut self.output else { return true };
        self.bytes.clear();
        frame.segments().for_each(|bytes| self.bytes.extend_from_slice(bytes));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let packet = PcapPacket::new(now, self.bytes.len() as u32, &self.bytes);
        output.write_packet(&packet).is_ok()
    }
}

fn create(path: &PathBuf, link: Link) -> Result<PcapWriter<BufWriter<File>>, PcapFileError> {
    let open = |source| PcapFileError::Open { path: path.clone(), source };
    let file = BufWriter::new(File::create(path).map_err(open)?);
    let datalink = match link {
        Link::Ethernet => DataLink::ETHERNET,
        Link::Ip => DataLink::RAW,
    };
    let header = PcapHeader { datalink, snaplen: SNAPLEN, ..PcapHeader::default() };
    PcapWriter::with_header(file, header)
        .map_err(|source| PcapFileError::Invalid { path: path.clone(), source })
}

impl Port for Pcap {
    fn link(&self) -> Link {
        self.config.link
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        let due = self.due();
        let Some(source) = &mut self.source else { return Ok(false) };
        while batch.room() > 0 && self.received < due {
            let next = source.next(self.config.link, |captured| {
                if !captured.whole {
                    return Err(TRUNCATED);
                }
                Frame::copied(captured.bytes, cx.pool, cx.id).ok_or(NO_MEMORY)
            });
            match next {
                Ok(Some(Ok(frame))) => batch.push(frame),
                Ok(Some(Err(reason))) => cx.refuse(reason),
                Ok(None) => {
                    self.source = None;
                    break;
                }
                Err(source) => {
                    let path = self.config.input.clone().unwrap_or_default();
                    self.source = None;
                    return Err(io::Error::other(PcapFileError::Invalid { path, source }));
                }
            }
            self.received += 1;
        }
        Ok(self.source.is_some())
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(frame) = queue.pop_front() {
            if self.write(&frame) {
                sent += 1;
                frame.free(cx.pool);
            } else {
                cx.discard(frame, REFUSED);
            }
        }
        Ok(sent)
    }

    fn describe(&self) -> String {
        let name = |path: &Option<PathBuf>| {
            path.as_ref().map_or_else(|| "nothing".to_owned(), |path| path.display().to_string())
        };
        format!("replays {}, writes {}", name(&self.config.input), name(&self.config.output))
    }

    fn close(&mut self, _cx: &mut PortCx<'_>) {
        self.source = None;
        // Dropping the writer writes what is buffered.
        self.output = None;
    }
}
