//! `ioctl` on `/dev/net/tun` and the scattered read: the only unsafe code of this folder.

use super::vnet;
use crate::io::device::ifreq;
use pipeline::frame::{CHUNK_SIZE, Chunk, Frame, HEADROOM, LINK, Pool};
use pipeline::snapshot::PortId;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// Bytes that a read leaves free in the head chunk.
const HEAD_ROOM: usize = CHUNK_SIZE - HEADROOM;
/// Bytes that a read leaves free in each further chunk.
const TAIL_ROOM: usize = CHUNK_SIZE - LINK;

/// Chunks for the longest frame there is, an IP packet of 65,535 bytes behind an Ethernet header with a
/// VLAN tag, with at least a byte to spare: a read that fills them all was cut short.
const ROW: usize = 1 + (65_535 + 18 - HEAD_ROOM) / TAIL_ROOM + 1;

/// Makes `file` a queue of a device; returns the device's name.
pub(super) fn set_iff(file: &File, name: &str, flags: i32) -> io::Result<String> {
    let mut request = ifreq(name)?;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    // SAFETY: the kernel terminates the name that it answers with, within the array.
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

/// The name and the flags of the device that `file` is a queue of.
pub(super) fn get_iff(file: &File) -> io::Result<(String, i32)> {
    let mut request = ifreq("any")?;
    // SAFETY: TUNGETIFF writes an ifreq.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: the kernel terminates the name that it answers with, within the array.
    let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
    // SAFETY: of the union's fields TUNGETIFF fills in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name.to_string_lossy().into_owned(), i32::from(flags as u16)))
}

/// The namespace that the device of `file` is in.
pub(super) fn device_netns(file: &File) -> io::Result<File> {
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a new descriptor, which is ours.
    unsafe {
        let fd = libc::ioctl(file.as_raw_fd(), libc::TUNGETDEVNETNS);
        check(fd)?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Says how long the header before each frame is.
pub(super) fn set_vnet_hdr_size(file: &File, size: i32) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads an int.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })
}

/// Says what we take unfinished: `TUN_F_*`.
pub(super) fn set_offload(file: &File, features: u32) -> io::Result<()> {
    let features = libc::c_ulong::from(features);
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, features) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The longest name of a device, terminator included, is part of the ABI.
const _: () = assert!(libc::IFNAMSIZ == 16);

/// Chunks laid out in a row for the next frame: a read fills as many as the frame needs, the others
/// serve the next read.
///
/// Invariant: `chunks[gap..end]` are ours, the others are `None`, and `iov[1 + i]` describes the free
/// bytes of each chunk `i` of ours; `iov[0]` describes `header`, which lives on the heap so that it
/// stays where it is.
pub(super) struct Row {
    header: Box<[u8; vnet::LEN]>,
    chunks: [Option<Chunk>; ROW],
    iov: [libc::iovec; 1 + ROW],
    gap: usize,
    end: usize,
}

// SAFETY: the pointers in `iov` lead to memory that the row owns, wherever it is moved.
unsafe impl Send for Row {}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({}..{} of {ROW})", self.gap, self.end)
    }
}

/// What a read gave.
#[derive(Debug)]
pub(super) enum Read {
    /// A frame and its header.
    Frame([u8; vnet::LEN], Frame),
    /// Something that is no frame, or one too long for the chunks that could be had.
    Truncated,
}

impl Row {
    /// An empty row.
    pub(super) fn new() -> Row {
        let mut header = Box::new([0; vnet::LEN]);
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut iov = [nothing; 1 + ROW];
        iov[0] = libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: vnet::LEN };
        Row { header, chunks: [const { None }; ROW], iov, gap: 0, end: 0 }
    }

    /// Closes the gap that reads left and fills the row; whether there is a chunk to read into.
    pub(super) fn fill(&mut self, pool: &mut Pool) -> bool {
        while self.gap > 0 {
            let chunk = pool.alloc().or_else(|| self.pop());
            self.gap -= 1;
            match chunk {
                Some(chunk) => self.place(self.gap, chunk),
                None => self.end = self.gap,
            }
        }
        while self.end < ROW {
            let Some(chunk) = pool.alloc() else { break };
            self.place(self.end, chunk);
            self.end += 1;
        }
        self.end > 0
    }

    /// Gives all chunks back.
    pub(super) fn release(&mut self, pool: &mut Pool) {
        while let Some(chunk) = self.pop() {
            pool.free(chunk);
        }
        (self.gap, self.end) = (0, 0);
    }

    /// Chunks in it.
    pub(super) fn chunks(&self) -> usize {
        self.end - self.gap
    }

    /// The last chunk.
    fn pop(&mut self) -> Option<Chunk> {
        if self.end == self.gap {
            return None;
        }
        self.end -= 1;
        self.chunks[self.end].take()
    }

    fn place(&mut self, slot: usize, mut chunk: Chunk) {
        let skip = if slot == 0 { HEADROOM } else { LINK };
        let free = &mut chunk.bytes_mut()[skip..];
        self.iov[1 + slot] =
            libc::iovec { iov_base: free.as_mut_ptr().cast(), iov_len: free.len() };
        self.chunks[slot] = Some(chunk);
    }

    /// Reads one frame, which leaves a gap.
    ///
    /// # Panics
    /// When [`fill`](Self::fill) did not say since the last read that there is a chunk.
    pub(super) fn read(&mut self, file: &File, port: PortId) -> io::Result<Read> {
        assert!(self.gap == 0 && self.end > 0, "a row is filled before each read");
        let count = (1 + self.end) as libc::c_int;
        // SAFETY: by the invariant each of these entries describes bytes that this row owns and
        // nothing else refers to.
        let n = unsafe { libc::readv(file.as_raw_fd(), self.iov.as_ptr(), count) };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        let room = HEAD_ROOM + (self.end - 1) * TAIL_ROOM;
        match n.saturating_sub(vnet::LEN) {
            len if len == 0 || len >= room => Ok(Read::Truncated),
            len => Ok(Read::Frame(*self.header, self.take(len, port))),
        }
    }

    /// The first `len` bytes of the row as a frame.
    fn take(&mut self, len: usize, port: PortId) -> Frame {
        let mut next = |room: usize| {
            let chunk = self.chunks[self.gap].take().expect("bytes were read into this chunk");
            self.gap += 1;
            (chunk, room)
        };
        let (head, room) = next(HEAD_ROOM);
        let mut frame = Frame::new(head, HEADROOM, len.min(room), port);
        while frame.len() < len {
            let (chunk, room) = next(TAIL_ROOM);
            let left = len - frame.len();
            frame.chain(chunk, LINK, left.min(room));
        }
        frame
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use pipeline::frame::Memory;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    /// A socket stands in for the device: one datagram is one frame.
    fn through_a_socket(row: &mut Row, pool: &mut Pool, len: usize) -> Read {
        let (reader, writer) = UnixDatagram::pair().unwrap();
        let bytes: Vec<u8> = (0..vnet::LEN + len).map(|i| (i % 251) as u8).collect();
        assert_eq!(writer.send(&bytes).unwrap(), bytes.len());
        assert!(row.fill(pool));
        row.read(&File::from(OwnedFd::from(reader)), PortId(3)).unwrap()
    }

    fn content(frame: &Frame) -> Vec<u8> {
        frame.segments().flatten().copied().collect()
    }

    #[test]
    fn frames_of_all_lengths() {
        let mut pool = Pool::new(Memory::new(256, false).unwrap());
        let mut row = Row::new();
        for len in [1, 60, 1500, HEAD_ROOM, HEAD_ROOM + 1, HEAD_ROOM + TAIL_ROOM, 9000, 65_553] {
            let Read::Frame(_, frame) = through_a_socket(&mut row, &mut pool, len) else {
                panic!("{len} bytes are a frame")
            };
            let expected: Vec<u8> = (vnet::LEN..vnet::LEN + len).map(|i| (i % 251) as u8).collect();
            assert_eq!(content(&frame), expected);
            assert_eq!(frame.offset(), HEADROOM);
            frame.free(&mut pool);
        }
        row.release(&mut pool);
        assert_eq!(pool.idle() + pool.memory().unclaimed(), 256);
    }

    #[test]
    fn too_long_for_the_memory_there_is() {
        let mut pool = Pool::new(Memory::new(64, false).unwrap());
        let mut held: Vec<_> = (0..60).map(|_| pool.alloc().unwrap()).collect();
        let mut row = Row::new();
        let Read::Frame(_, frame) = through_a_socket(&mut row, &mut pool, 3000) else {
            panic!("two chunks of four suffice")
        };
        // Two chunks are left, which must move to the front of the row.
        assert!(matches!(through_a_socket(&mut row, &mut pool, 4000), Read::Truncated));
        let Read::Frame(_, second) = through_a_socket(&mut row, &mut pool, 3000) else {
            panic!("two chunks of two suffice")
        };
        assert!(!row.fill(&mut pool), "no chunk is left");
        frame.free(&mut pool);
        second.free(&mut pool);
        assert!(row.fill(&mut pool));
        row.release(&mut pool);
        held.drain(..).for_each(|chunk| pool.free(chunk));
        assert_eq!(pool.idle(), 64);
    }
}
