//! `AF_XDP`: frames straight between a device's queues and our memory.
//!
//! ```text
//!            program.rs   which frames are ours (bpf/uplink.bpf.c, bpf/pod.bpf.c)
//!  mod.rs -> socket.rs    one queue of the device: send, receive, give and take chunks
//!            ring.rs      the protocol of the rings
//!            umem.rs      our memory, registered once for all sockets
//! ```
//!
//! A received frame lies where the kernel put it, 256 bytes into its chunk; headers are pushed and
//! popped there, and the same chunk is sent, on whatever device. There is one system call for a batch
//! of frames to send and none for receiving. What the kernel cannot tell us about a frame is its
//! pending checksum and a VLAN tag kept aside: [`device::complete_frames`] makes a pod finish both.
//!
//! Everything vanishes with the process, after SIGKILL too.

mod error;
mod level;
mod program;
mod ring;
mod socket;
#[allow(unsafe_code)]
mod sys;
mod umem;

use super::device::{self, Statistics};
use super::{KernelDrop, Port, PortCx};
use error::explain;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use program::{BUSY, Program};
use rustix::event::epoll;
use rustix::io::Errno;
use socket::{OpenError, Options, Socket};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use umem::Mode;

pub use error::AfXdpError;
pub use program::Match;
pub use umem::Umem;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By the driver where it can, else generically.
    #[default]
    Auto,
    /// By the driver, or not at all.
    Native,
    /// By the kernel, behind the driver: for any device, but slower.
    Generic,
}

/// A device to be taken.
#[derive(Clone, Debug)]
pub struct AfXdpConfig {
    /// Its name in our namespace.
    pub device: String,
    /// How to attach the program.
    pub attach: Attach,
    /// Which packets are ours: the others go on to the kernel. All are when `None`: a pod's veth.
    pub matches: Option<Vec<Match>>,
    /// Slots of each ring: a power of two.
    pub ring: u32,
    /// Chunks that stand ready for a quiet queue; they become more with its load.
    pub fill: u32,
}

/// A device with our XDP program on it. It lives as long as one of its ports does, or this value.
#[derive(Debug)]
pub struct Device {
    config: AfXdpConfig,
    index: u32,
    queues: u32,
    program: Program,
}

impl Device {
    /// Attaches the program; until a queue has a port its frames go to the kernel.
    pub fn attach(config: AfXdpConfig) -> Result<Arc<Device>, AfXdpError> {
        let device = &config.device;
        if !config.ring.is_power_of_two() || !(8..=32768).contains(&config.ring) {
            return Err(AfXdpError::Ring { device: device.clone(), slots: config.ring });
        }
        Socket::probe().map_err(|e| explain(device, e))?;
        let missing = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => AfXdpError::Missing(device.clone()),
            _ => AfXdpError::setup(device, "ask for the device", source),
        };
        let index = device::index(device).map_err(missing)?;
        let queues = device::queues(device).map_err(missing)?;
        let program = Program::attach(&config, index, queues)?;
        Ok(Arc::new(Device { config, index, queues, program }))
    }

    /// Receive queues of the device.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Replaces what is ours of the device's packets.
    pub fn set_matches(&self, matches: &[Match]) -> Result<(), AfXdpError> {
        let device = &self.config.device;
        let step = "change which packets are ours";
        self.program.set_matches(matches).map_err(|e| AfXdpError::setup(device, step, e))
    }

    /// A port over some of the queues, for one worker. It sends by the first of them.
    ///
    /// # Panics
    /// When `queues` is empty or goes beyond [`queues`](Self::queues).
    pub fn port(
        self: &Arc<Self>,
        umem: &Arc<Umem>,
        queues: Range<u32>,
    ) -> Result<AfXdp, AfXdpError> {
        assert!(!queues.is_empty() && queues.end <= self.queues, "queues that the device has");
        let name = &self.config.device;
        let setup = |step| move |e| AfXdpError::setup(name, step, e);
        let mtu = device::mtu(name).map_err(setup("ask for the device's MTU"))?;
        let (mode, reason, sockets) = self.open(umem, queues.clone())?;
        let ready = Ready::new(&sockets).map_err(setup("make an epoll descriptor"))?;
        let statistics = (queues.start == 0)
            .then(|| Statistics::open(name))
            .transpose()
            .map_err(setup("open the device's counters"))?;
        Ok(AfXdp {
            device: Arc::clone(self),
            first: queues.start,
            mode,
            reason,
            sockets,
            next: 0,
            max_len: mtu as usize + ETHERNET,
            started: false,
            ready,
            statistics,
        })
    }

    /// Opens a socket for each queue, all of one mode: zero-copy when the device can do it for all.
    fn open(
        &self,
        umem: &Umem,
        queues: Range<u32>,
    ) -> Result<(Mode, Option<Errno>, Vec<Socket>), AfXdpError> {
        let all = |mode| queues.clone().map(|queue| self.open_one(umem, queue, mode)).collect();
        let mut reason = None;
        if self.program.is_native() {
            match all(Mode::ZeroCopy) {
                Ok(sockets) => return Ok((Mode::ZeroCopy, None, sockets)),
                Err(OpenError::Bind(errno)) => reason = Some(errno),
                Err(e) => return Err(explain(&self.config.device, e)),
            }
        }
        match all(Mode::Copy) {
            Ok(sockets) => Ok((Mode::Copy, reason, sockets)),
            Err(e) => Err(explain(&self.config.device, e)),
        }
    }

    fn open_one(&self, umem: &Umem, queue: u32, mode: Mode) -> Result<Socket, OpenError> {
        let AfXdpConfig { ring, fill, .. } = self.config;
        let options = Options { device: self.index, queue, ring, fill, mode };
        let start = Instant::now();
        loop {
            match Socket::open(umem, &options) {
                // What a socket that was closed a moment ago held is released later.
                Err(OpenError::Bind(Errno::BUSY)) if start.elapsed() < BUSY => {
                    sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
    }
}

/// A port over queues of a device.
///
/// Its sockets hold chunks: [`close`](Port::close) gives them back, dropping the port does not.
#[derive(Debug)]
pub struct AfXdp {
    device: Arc<Device>,
    /// The first of its queues; the others follow.
    first: u32,
    mode: Mode,
    /// Why it is not zero-copy, where that was tried.
    reason: Option<Errno>,
    sockets: Vec<Socket>,
    /// The socket that is asked first in the next turn.
    next: usize,
    /// The longest frame that the device sends.
    max_len: usize,
    /// Whether the queues' frames come to us: not before there are chunks for them.
    started: bool,
    ready: Ready,
    statistics: Option<Statistics>,
}

impl AfXdp {
    /// Takes a whole device: all its queues for one worker.
    pub fn open(umem: &Arc<Umem>, config: AfXdpConfig) -> Result<AfXdp, AfXdpError> {
        let device = Device::attach(config)?;
        let queues = 0..device.queues();
        device.port(umem, queues)
    }

    /// The device, to change its matches while the port is at work.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Gives the kernel chunks and then lets it send us frames.
    #[cold]
    fn start(&mut self, cx: &mut PortCx<'_>) -> io::Result<()> {
        for (queue, socket) in (self.first..).zip(&mut self.sockets) {
            socket.refill(cx.pool);
            self.device.program.set_socket(queue, socket.fd())?;
        }
        self.started = true;
        Ok(())
    }

    /// Looks whether the device has another MTU now, or another name.
    fn follow(&mut self) {
        let Ok(name) = device::name(self.device.index) else { return };
        if let Ok(mtu) = device::mtu(&name) {
            self.max_len = mtu as usize + ETHERNET;
        }
        if let Some(statistics) = &mut self.statistics {
            statistics.rename(name);
        }
    }

    fn check(&self) -> io::Result<()> {
        let gone = self.sockets.first().is_none_or(Socket::is_orphaned);
        if gone { Err(Errno::NXIO.into()) } else { Ok(()) }
    }
}

impl Port for AfXdp {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<()> {
        self.check()?;
        if !self.started {
            self.start(cx)?;
        }
        let count = self.sockets.len();
        for i in 0..count {
            self.sockets[(self.next + i) % count].receive(batch, cx);
        }
        self.next = (self.next + 1) % count;
        Ok(())
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        self.check()?;
        Ok(self.sockets[0].transmit(queue, self.max_len, cx))
    }

    fn poll(&mut self, cx: &mut PortCx<'_>) -> io::Result<()> {
        self.check()?;
        self.sockets[0].reclaim(cx.pool);
        self.sockets[0].kick(cx.pool);
        Ok(())
    }

    fn is_pending(&self) -> bool {
        self.sockets.first().is_some_and(Socket::is_pending)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        match &self.ready {
            Ready::Socket => self.sockets.first().map(|socket| socket.fd().as_fd()),
            Ready::Epoll(fd) => Some(fd.as_fd()),
        }
    }

    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        let mut drops = [
            KernelDrop { name: "rx_dropped", count: 0 },
            KernelDrop { name: "rx_ring_full", count: 0 },
            KernelDrop { name: "rx_invalid_descs", count: 0 },
            KernelDrop { name: "tx_invalid_descs", count: 0 },
            KernelDrop { name: "tx_dropped", count: 0 },
        ];
        for socket in &mut self.sockets {
            socket.settle_fill_level();
            socket.wake();
            if let Some(s) = socket.statistics() {
                // An empty fill ring is counted as rx_dropped, and once more by its own name.
                drops[0].count += s.rx_dropped;
                drops[1].count += s.rx_ring_full.unwrap_or(0);
                drops[2].count += s.rx_invalid_descs;
                drops[3].count += s.tx_invalid_descs;
            }
        }
        self.follow();
        drops[4].count = self.statistics.as_mut().map_or(0, |s| s.dropped().tx);
        drops.into()
    }

    fn describe(&self) -> String {
        let program = self.device.program.describe();
        let mode = match (self.mode, self.reason) {
            (Mode::ZeroCopy, _) => "zero-copy".to_owned(),
            (Mode::Copy, None) => "copy".to_owned(),
            (Mode::Copy, Some(errno)) => {
                format!("copy (zero-copy: {})", io::Error::from(errno))
            }
        };
        let chains = self.sockets.first().is_some_and(Socket::chains);
        let buffers = if chains { "multi-buffer" } else { "one buffer a frame" };
        let count = self.sockets.len();
        let plural = if count == 1 { "queue" } else { "queues" };
        format!(
            "{program}, {mode}, {buffers}, {count} {plural}, rings of {}",
            self.device.config.ring
        )
    }

    fn close(&mut self, cx: &mut PortCx<'_>) {
        for (queue, socket) in (self.first..).zip(self.sockets.drain(..)) {
            self.device.program.unset_socket(queue);
            socket.close(self.mode, cx.pool);
        }
    }
}

/// What becomes readable when a frame has arrived.
#[derive(Debug)]
enum Ready {
    /// The only socket.
    Socket,
    /// All sockets together.
    Epoll(OwnedFd),
}

impl Ready {
    fn new(sockets: &[Socket]) -> io::Result<Ready> {
        if sockets.len() == 1 {
            return Ok(Ready::Socket);
        }
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (i, socket) in (0..).zip(sockets) {
            epoll::add(&all, socket.fd(), epoll::EventData::new_u64(i), epoll::EventFlags::IN)?;
        }
        Ok(Ready::Epoll(all))
    }
}
