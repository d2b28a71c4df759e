//! `AF_XDP`: frames straight between a device's queues and our memory.
//!
//! ```text
//!            program.rs   which frames are ours (bpf/uplink.bpf.c, bpf/pod.bpf.c)
//!  mod.rs -> socket.rs    one queue of the device: send, receive, give and take chunks
//!            ring.rs      the protocol of the rings
//!            umem.rs      our memory, registered once for all sockets
//!            meter.rs     what the kernel counts
//! ```
//!
//! A received frame lies where the kernel put it, 256 bytes into its chunk; headers are pushed and
//! popped there, and the same chunk is sent, on whatever device. There is one system call for a
//! batch of frames to send and none for receiving. What the kernel cannot tell us about a frame is
//! its pending checksum and a VLAN tag kept aside: [`device::complete_frames`] makes a pod finish
//! both.
//!
//! Everything vanishes with the process, after SIGKILL too.

mod error;
mod level;
mod meter;
mod program;
mod ring;
mod socket;
#[allow(unsafe_code)]
mod sys;
mod umem;

use super::device::{self, Statistics};
use super::{Meter, Pending, Port, PortCx};
use error::explain;
use meter::Gauge;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use program::{BUSY, Program};
use rustix::io::Errno;
use socket::{OpenError, Options, Socket};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use umem::Mode;

pub use error::AfXdpError;
pub use program::Matches;
pub(crate) use program::attach_as as attach_link;
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
    pub matches: Option<Matches>,
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
    pub fn set_matches(&self, matches: &Matches) -> Result<(), AfXdpError> {
        let device = &self.config.device;
        let step = "change which packets are ours";
        self.program.set_matches(matches).map_err(|e| AfXdpError::setup(device, step, e))
    }

    /// A port for each queue, all of one mode: zero-copy when the device can do it for all.
    pub fn ports(self: &Arc<Self>, umem: &Arc<Umem>) -> Result<Vec<AfXdp>, AfXdpError> {
        let name = &self.config.device;
        let setup = |step| move |e| AfXdpError::setup(name, step, e);
        let longest = Longest::of(self.index).map_err(setup("ask for the device's MTU"))?;
        let (mode, reason, sockets) = self.open(umem)?;
        let mut ports: Vec<_> = (0..)
            .zip(sockets)
            .map(|(queue, socket)| AfXdp {
                device: Arc::clone(self),
                queue,
                mode,
                reason,
                socket: Some(socket),
                longest,
                busy: false,
                statistics: None,
            })
            .collect();
        let statistics = Statistics::open(name).map_err(setup("open the device's counters"))?;
        ports[0].statistics = Some(statistics);
        Ok(ports)
    }

    fn open(&self, umem: &Umem) -> Result<(Mode, Option<Errno>, Vec<Socket>), AfXdpError> {
        let all = |mode| (0..self.queues).map(|queue| self.open_one(umem, queue, mode)).collect();
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

/// The longest frame that a device sends, as far as we know: its MTU may change at any time.
#[derive(Clone, Copy, Debug)]
struct Longest {
    device: u32,
    len: usize,
}

impl Longest {
    /// Of the device with this index.
    fn of(device: u32) -> io::Result<Longest> {
        let mtu = device::mtu(&device::name(device)?)?;
        Ok(Longest { device, len: mtu as usize + ETHERNET })
    }

    /// Asks anew; of a device that is gone nothing changes.
    #[cold]
    fn ask(&mut self) {
        *self = Longest::of(self.device).unwrap_or(*self);
    }
}

/// A port over one queue of a device. What it sends on a veth comes in by the queue of the same
/// number at the other end.
///
/// Its socket holds chunks: [`close`](Port::close) gives them back, dropping the port does not.
#[derive(Debug)]
pub struct AfXdp {
    device: Arc<Device>,
    queue: u32,
    mode: Mode,
    /// Why it is not zero-copy, where that was tried.
    reason: Option<Errno>,
    /// Until it is closed.
    socket: Option<Socket>,
    /// What the device sends.
    longest: Longest,
    /// Whether anything was sent since it was settled.
    busy: bool,
    /// With the first queue only, since the counters belong to the device; until the meter is
    /// taken.
    statistics: Option<Statistics>,
}

impl AfXdp {
    /// Takes a whole device: a port for each of its queues.
    pub fn open(umem: &Arc<Umem>, config: AfXdpConfig) -> Result<Vec<AfXdp>, AfXdpError> {
        Device::attach(config)?.ports(umem)
    }

    /// The device, to change its matches while the port is at work.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// The longest packet that can be sent and received by it, whatever the device's MTU is.
    pub fn longest_packet(&self) -> usize {
        self.socket.as_ref().map_or(0, Socket::longest_frame).saturating_sub(ETHERNET)
    }

    /// The socket, while it is open and has a device.
    #[inline]
    fn socket(&mut self) -> io::Result<&mut Socket> {
        match &mut self.socket {
            Some(socket) if !socket.is_orphaned() => Ok(socket),
            _ => Err(Errno::NXIO.into()),
        }
    }
}

impl Port for AfXdp {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    /// Gives the kernel chunks and then lets it send us frames, which until now were the kernel's.
    fn begin(&mut self, cx: &mut PortCx<'_>) -> io::Result<()> {
        let socket = self.socket()?;
        socket.refill(cx.pool);
        let fd = Arc::clone(socket.fd());
        self.device.program.set_socket(self.queue, &fd)
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        Ok(self.socket()?.receive(batch, cx))
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        self.busy = true;
        let mut longest = self.longest;
        let sent = self.socket()?.transmit(queue, &mut longest, cx);
        self.longest = longest;
        Ok(sent)
    }

    fn poll(&mut self, cx: &mut PortCx<'_>) -> io::Result<()> {
        let socket = self.socket()?;
        socket.reclaim(cx.pool);
        socket.kick(cx.pool);
        Ok(())
    }

    fn pending(&self) -> Pending {
        match &self.socket {
            Some(socket) if !socket.is_orphaned() => socket.pending(),
            _ => Pending::Nothing,
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.fd().as_fd())
    }

    fn is_memory(&self) -> bool {
        true
    }

    fn settle(&mut self) -> io::Result<()> {
        let socket = self.socket()?;
        socket.settle_fill_level();
        socket.wake();
        if std::mem::take(&mut self.busy) {
            self.longest.ask();
        }
        self.socket().map(drop)
    }

    fn meter(&mut self) -> Option<Box<dyn Meter>> {
        let socket = Arc::downgrade(self.socket.as_ref()?.fd());
        Some(Box::new(Gauge::new(socket, self.device.index, self.statistics.take())))
    }

    fn chunks(&self) -> usize {
        self.socket.as_ref().map_or(0, Socket::chunks)
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
        let chains = self.socket.as_ref().is_some_and(Socket::chains);
        let buffers = if chains { "multi-buffer" } else { "one buffer a frame" };
        format!("{program}, {mode}, {buffers}, rings of {}", self.device.config.ring)
    }

    fn close(&mut self, cx: &mut PortCx<'_>) {
        if let Some(socket) = self.socket.take() {
            self.device.program.unset_socket(self.queue);
            socket.close(self.mode, cx.pool);
        }
    }
}
