//! One `AF_XDP` socket: a device's queue, four rings, and the ledger of the chunks lent to the kernel.
//!
//! ```text
//!           fill: empty chunks ->            tx: frames to send ->
//!   us                            kernel                             kernel
//!           rx: <- frames                    completion: <- chunks sent
//! ```

use super::Longest;
use super::level::FillLevel;
use super::ring::{AddressSlot, Consumer, Descriptor, DescriptorSlot, Producer};
use super::sys::{self, Atomics, Lent, Shared, Which};
use super::umem::{Mode, Refused, Umem};
use crate::io::{Pending, PortCx};
use pipeline::frame::{Batch, CHUNK_SIZE, Frame, HEADROOM, Pool};
use pipeline::stages::port::REFUSED;
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, set_xdp_rx_ring_size,
    set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
    xdp_mmap_offsets,
};
use rustix::net::xdp::XdpRingOffset;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Chunks that a frame may have: one for the linear part of an skb and `MAX_SKB_FRAGS` others.
const MAX_CHUNKS: usize = 18;

/// What the kernel accounts to the socket for a frame in flight: an skb with a page for the data.
const SKB_BYTES: usize = 4096;

/// Send calls in a row for one turn of the worker: what is then still in the ring waits for the next.
const KICKS: usize = 8;

/// How long a socket that is closed may take to send what is in its ring.
const LINGER: Duration = Duration::from_millis(50);

/// What to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// The device's index.
    pub(super) device: u32,
    /// Its queue.
    pub(super) queue: u32,
    /// Slots of each ring.
    pub(super) ring: u32,
    /// Chunks in the fill ring of a quiet socket.
    pub(super) fill: u32,
    /// How to bind.
    pub(super) mode: Mode,
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum OpenError {
    /// `socket` itself.
    Socket(Errno),
    /// The registration of the UMEM.
    Register(Errno),
    /// The binding.
    Bind(Errno),
    /// The rings.
    Rings(Errno),
}

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: Arc<OwnedFd>,
    rx: Consumer<DescriptorSlot>,
    tx: Producer<DescriptorSlot>,
    fill: Producer<AddressSlot>,
    completion: Consumer<AddressSlot>,
    lent: Lent,
    /// Chunks sent or to be sent that have not come back.
    sending: u32,
    level: FillLevel,
    /// A frame of which the last piece has not been received.
    partial: Option<Frame>,
    /// Whether frames may have several chunks.
    chains: bool,
    /// Whether the device was removed.
    orphaned: bool,
}

impl Socket {
    /// Whether this process can have such sockets at all.
    pub(super) fn probe() -> Result<(), OpenError> {
        new_socket().map(drop)
    }

    pub(super) fn open(umem: &Umem, options: &Options) -> Result<Socket, OpenError> {
        let Options { device, queue, ring, mode, .. } = *options;
        let fd = Arc::new(new_socket()?);
        set_xdp_rx_ring_size(&fd, ring)
            .and_then(|()| set_xdp_tx_ring_size(&fd, ring))
            .and_then(|()| set_xdp_umem_fill_ring_size(&fd, ring))
            .and_then(|()| set_xdp_umem_completion_ring_size(&fd, ring))
            .map_err(OpenError::Rings)?;
        let offsets = xdp_mmap_offsets(&fd).map_err(OpenError::Rings)?;
        let chains = umem.bind(&fd, device, queue, mode).map_err(|refused| match refused {
            Refused::Register(errno) => OpenError::Register(errno),
            Refused::Bind(errno) => OpenError::Bind(errno),
        })?;
        raise_send_limits(&fd, ring);
        Ok(Socket {
            rx: Consumer::new(map(&fd, Which::Rx, &offsets.rx, ring)?),
            tx: Producer::new(map(&fd, Which::Tx, &offsets.tx, ring)?),
            fill: Producer::new(map(&fd, Which::Fill, &offsets.fr, ring)?),
            completion: Consumer::new(map(&fd, Which::Completion, &offsets.cr, ring)?),
            lent: Lent::new(umem.memory()),
            sending: 0,
            level: FillLevel::new(options.fill, ring),
            partial: None,
            chains,
            orphaned: false,
            fd,
        })
    }

    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    pub(super) fn chains(&self) -> bool {
        self.chains
    }

    /// Bytes of the longest frame for which there are chunks enough: received ones begin behind the headroom.
    pub(super) fn longest_frame(&self) -> usize {
        let chunks = if self.chains { MAX_CHUNKS } else { 1 };
        chunks * (CHUNK_SIZE - HEADROOM)
    }

    /// Takes what has arrived, as far as `batch` has room, and gives the kernel empty chunks for it.
    /// Returns whether there may be more.
    #[inline]
    pub(super) fn receive(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> bool {
        let mut more = true;
        while batch.room() > 0 {
            let Some(descriptor) = self.rx.pop() else {
                more = false;
                break;
            };
            let Descriptor { address, len, continued } = descriptor;
            let chunk = self.lent.reclaim(address).expect("the kernel has what it hands back");
            let (offset, len) = (address as usize % CHUNK_SIZE, len as usize);
            let frame = match self.partial.take() {
                None => Frame::new(chunk, offset, len, cx.id),
                Some(mut frame) => {
                    frame.chain(chunk, offset, len);
                    frame
                }
            };
            if continued {
                self.partial = Some(frame);
            } else {
                batch.push(frame);
            }
        }
        self.rx.release();
        self.refill(cx.pool);
        // Without a chunk nothing comes, and nobody would tell that there are chunks again.
        more || self.fill.used() == 0
    }

    /// Tops the fill ring up.
    #[inline]
    pub(super) fn refill(&mut self, pool: &mut Pool) {
        let wanted = self.level.wanted(self.fill.pending());
        for _ in 0..wanted {
            // Without chunks the kernel will drop, and count it.
            let Some(chunk) = pool.alloc() else { break };
            self.fill.push(self.lent.lend(chunk));
        }
        if wanted > 0 {
            self.level.filled = self.fill.used();
            self.fill.publish();
            // Drivers that do zero-copy may sleep when they run out of chunks.
            if self.fill.needs_wakeup() {
                self.wake();
            }
        }
    }

    /// Puts frames from the front of `queue` into the ring, as far as it has room, and tells the kernel.
    /// Returns how many there were. A frame that is too long may be the first to tell of a wider device.
    #[inline]
    pub(super) fn transmit(
        &mut self,
        queue: &mut VecDeque<Frame>,
        longest: &mut Longest,
        cx: &mut PortCx<'_>,
    ) -> usize {
        self.reclaim(cx.pool);
        let mut sent = 0;
        while let Some(frame) = queue.front() {
            let chunks = if frame.is_chained() { frame.chunks() } else { 1 };
            // The kernel would skip a descriptor that it does not like, and never give the chunk back.
            if frame.len() > longest.len {
                longest.ask();
            }
            let fits = !frame.is_empty() && frame.len() <= longest.len;
            let fits = fits && (chunks == 1 || self.chains && chunks <= MAX_CHUNKS);
            if fits && self.tx.free(chunks as u32) < chunks as u32 {
                break;
            }
            let Some(frame) = queue.pop_front() else { break };
            if fits {
                self.push(frame, cx.pool);
                sent += 1;
            } else {
                cx.discard(frame, REFUSED);
            }
        }
        if sent > 0 {
            self.tx.publish();
        }
        self.kick(cx.pool);
        sent
    }

    /// Puts one frame into the ring, which has room for its chunks.
    #[inline]
    fn push(&mut self, frame: Frame, pool: &mut Pool) {
        let mut left = frame.len();
        frame.into_chunks(|chunk, offset, len| {
            if len == 0 {
                // A descriptor must not be empty.
                return pool.free(chunk);
            }
            left -= len;
            let address = self.lent.lend(chunk) + offset as u64;
            self.tx.push(Descriptor { address, len: len as u32, continued: left > 0 });
            self.sending += 1;
        });
    }

    /// Takes back the chunks of what was sent.
    #[inline]
    pub(super) fn reclaim(&mut self, pool: &mut Pool) {
        if self.sending == 0 {
            return;
        }
        while let Some(address) = self.completion.pop() {
            let chunk = self.lent.reclaim(address).expect("the kernel has what it hands back");
            pool.free(chunk);
            self.sending -= 1;
        }
        self.completion.release();
    }

    /// Makes the kernel send what is in the ring: in copy mode it does so within this call, up to its
    /// budget, its own ring's room and the socket's send buffer.
    #[inline]
    pub(super) fn kick(&mut self, pool: &mut Pool) {
        if self.sending == 0 {
            return;
        }
        let mut before = self.tx.pending();
        for _ in 0..KICKS {
            if before == 0 || !self.tx.needs_wakeup() {
                break;
            }
            match send(&self.fd, &[], SendFlags::DONTWAIT) {
                // The device is down; the frames wait.
                Err(Errno::NETDOWN) => break,
                Err(Errno::NXIO) => {
                    self.orphaned = true;
                    break;
                }
                // There is more to do, or (EBUSY) the device dropped a frame, which it counts.
                _ => {}
            }
            let after = self.tx.pending();
            if after == before {
                break;
            }
            before = after;
            self.reclaim(pool);
        }
    }

    /// What is left of what was sent, as far as we know.
    pub(super) fn pending(&self) -> Pending {
        match (self.tx.used(), self.sending) {
            (0, 0) => Pending::Nothing,
            (0, _) => Pending::Chunks,
            _ => Pending::Frames,
        }
    }

    /// Chunks that it holds or that the kernel has for it.
    pub(super) fn chunks(&self) -> usize {
        self.lent.count() + self.partial.as_ref().map_or(0, Frame::chunks)
    }

    /// Wakes the receiving side of the driver; on the way the kernel tells whether there is still one.
    pub(super) fn wake(&mut self) {
        let woken = recv(&self.fd, &mut [0u8; 0][..], RecvFlags::DONTWAIT);
        self.orphaned |= matches!(woken, Err(Errno::NXIO));
    }

    /// Whether the device was removed, as far as we know.
    #[inline]
    pub(super) fn is_orphaned(&self) -> bool {
        self.orphaned
    }

    /// Lets the fill ring shrink if the last period was quiet.
    pub(super) fn settle_fill_level(&mut self) {
        self.level.settle();
    }

    /// Sends what is in the ring, closes the socket, and takes all chunks back.
    ///
    /// In zero-copy mode the kernel releases the queue some time after `close` has returned, and the
    /// device may write until then: those chunks stay lost, a few for each port removed.
    pub(super) fn close(mut self, mode: Mode, pool: &mut Pool) {
        let deadline = Instant::now() + LINGER;
        while self.sending > 0 && !self.orphaned && Instant::now() < deadline {
            self.reclaim(pool);
            self.kick(pool);
            if self.sending > 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if let Some(frame) = self.partial.take() {
            frame.free(pool);
        }
        let Socket { fd, mut lent, .. } = self;
        if close_last(fd, Instant::now() + LINGER) && mode == Mode::Copy {
            lent.reclaim_all(pool);
        }
    }
}

/// Closes a descriptor that others may be using just now, for a moment each. Whether it was closed.
fn close_last(mut fd: Arc<OwnedFd>, deadline: Instant) -> bool {
    loop {
        match Arc::try_unwrap(fd) {
            Ok(_closed_here) => return true,
            Err(_) if Instant::now() > deadline => return false,
            Err(shared) => fd = shared,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn new_socket() -> Result<OwnedFd, OpenError> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(OpenError::Socket)
}

fn map<S: Atomics>(
    fd: &OwnedFd,
    which: Which,
    offsets: &XdpRingOffset,
    size: u32,
) -> Result<Shared<S>, OpenError> {
    Shared::map(fd, which, offsets, size)
        .map_err(|e| OpenError::Rings(Errno::from_io_error(&e).unwrap_or(Errno::NOSYS)))
}

/// So that one send call can empty the ring. All of it is only for speed: older kernels lack the
/// budget, and an unprivileged process has its limit.
fn raise_send_limits(fd: &OwnedFd, ring: u32) {
    let _ = sys::set_tx_budget(fd, ring);
    let bytes = ring as usize * SKB_BYTES;
    if set_socket_send_buffer_size_force(fd, bytes).is_err() {
        let _ = set_socket_send_buffer_size(fd, bytes);
    }
}
