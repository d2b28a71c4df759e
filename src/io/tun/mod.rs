//! TUN and TAP devices: a pod's device, the host's own, or any machine's without `AF_XDP`.
//!
//! One read or write moves one frame, but with `IFF_VNET_HDR` such a frame may be a super-frame of
//! 64 KiB whose checksum nobody has computed yet. So bulk traffic costs one system call for forty
//! packets, and small packets cost one each: for those `af_xdp` is the better port.
//!
//! A device of several queues serves several workers. The kernel puts a flow's packets into the queue by
//! which we last wrote a packet of that flow, or by their hash into any where we did not for three
//! seconds. So both directions of a flow come to be with one worker; when a flow changes its queue for
//! that, what waits in the old one may be overtaken.
//!
//! The device exists as long as one of its queues is open, so that it is gone with the process,
//! however that ends, unless somebody else was given the queues to hold ([`Tun::file`]). Its addresses, its routes and whether it is up are the control thread's business.

mod adopt;
#[allow(unsafe_code)]
mod sys;
mod vnet;

pub use adopt::AdoptError;

use super::device::{self, Statistics};
use super::netns::{self, NetnsError};
use super::{KernelDrop, Meter, Port, PortCx};
use encap::wire::Mac;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use pipeline::stages::port::{NO_MEMORY, OFFLOAD, REFUSED};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use sys::{Read, Row};

const CLONE_DEVICE: &str = "/dev/net/tun";

/// Pieces of a frame that one write gathers, the header included. Coalesced segments have most, up to 64 KiB of
/// them from one batch: 64 of one chunk, or fewer of two of which the second has little.
const PIECES: usize = 96;

/// What kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Carries IP packets.
    Tun,
    /// Carries Ethernet frames.
    Tap,
}

/// A device to be made.
#[derive(Clone, Debug)]
pub struct TunConfig {
    /// What it carries.
    pub kind: Kind,
    /// Its name in its namespace.
    pub name: String,
    /// The file of the namespace it is made in (see [`netns::path`]); ours when `None`.
    pub netns: Option<PathBuf>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Address of the device itself (not ours on it); TAP only, made up by the kernel when `None`.
    pub mac: Option<Mac>,
    /// How many queues: each is a [`Tun`] for a worker of its own.
    pub queues: usize,
    /// Frames that may wait for us in each queue before the kernel drops.
    pub tx_queue_len: u32,
}

/// Why a device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The kernel has no TUN driver.
    #[error(
        "{CLONE_DEVICE} cannot be opened: {0}; load the kernel module `tun`, and give the container this device"
    )]
    NoDriver(io::Error),
    /// We may not.
    #[error(
        "{name}: a TUN/TAP device may not be made: {source}; it takes CAP_NET_ADMIN in the device's namespace"
    )]
    Privilege {
        /// The device.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody has a device of that name.
    #[error(
        "{0}: a device of this name exists already in its namespace; remove it (`ip link delete {0}`) or choose another name"
    )]
    Exists(String),
    /// The namespace could not be entered.
    #[error("{name}: {source}")]
    Netns {
        /// The device.
        name: String,
        /// What was wrong.
        source: NetnsError,
    },
    /// Anything else.
    #[error("{name}: cannot {step}: {source}")]
    Setup {
        /// The device.
        name: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// One queue of a TUN or TAP device.
#[derive(Debug)]
pub struct Tun {
    file: Arc<File>,
    kind: Kind,
    offload: Offload,
    row: Row,
    /// With the first queue only, since the counters belong to the device; until the meter is taken.
    statistics: Option<Statistics>,
}

impl Tun {
    /// Makes a device and opens its queues. When the last of them is dropped the device is gone.
    pub fn create(config: &TunConfig) -> Result<Vec<Tun>, TunError> {
        netns::within(config.netns.as_deref(), || create(config))
            .map_err(|source| TunError::Netns { name: config.name.clone(), source })?
    }

    /// The queue itself: who holds its descriptor keeps the device.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// Makes the device in this thread's namespace.
fn create(config: &TunConfig) -> Result<Vec<Tun>, TunError> {
    let mut queues = Vec::with_capacity(config.queues);
    for _ in 0..config.queues.max(1) {
        queues.push(open_queue(config, queues.is_empty())?);
    }
    set_up(config, queues)
}

/// Makes open queues into ports; the device is in this thread's namespace.
fn set_up(config: &TunConfig, files: Vec<File>) -> Result<Vec<Tun>, TunError> {
    let setup = |step| {
        let name = config.name.clone();
        move |source| TunError::Setup { name, step, source }
    };
    let mut queues = Vec::with_capacity(files.len());
    for file in files {
        sys::set_vnet_hdr_size(&file, vnet::LEN as i32)
            .map_err(setup("choose the header before each frame"))?;
        let offload = Offload::negotiate(&file).map_err(setup("switch offloads on"))?;
        let (file, row) = (Arc::new(file), Row::new());
        queues.push(Tun { file, kind: config.kind, offload, row, statistics: None });
    }
    let name = &config.name;
    device::set_mtu(name, config.mtu).map_err(setup("set the device's MTU"))?;
    if let (Kind::Tap, Some(mac)) = (config.kind, config.mac) {
        device::set_mac(name, mac).map_err(setup("set the device's address"))?;
    }
    device::set_tx_queue_len(name, config.tx_queue_len)
        .map_err(setup("set the length of the device's queue"))?;
    queues[0].statistics =
        Some(Statistics::open(name).map_err(setup("open the device's counters"))?);
    Ok(queues)
}

fn open_queue(config: &TunConfig, first: bool) -> Result<File, TunError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(CLONE_DEVICE)
        .map_err(TunError::NoDriver)?;
    let mut flags = libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    flags |= match config.kind {
        Kind::Tun => libc::IFF_TUN,
        Kind::Tap => libc::IFF_TAP,
    };
    if first {
        // Otherwise a persistent device of that name would be opened, whoever made it.
        flags |= libc::IFF_TUN_EXCL;
    }
    if config.queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    sys::set_iff(&file, &config.name, flags).map_err(|source| {
        let name = config.name.clone();
        match source.raw_os_error() {
            Some(libc::EBUSY) => TunError::Exists(name),
            Some(libc::EPERM) => TunError::Privilege { name, source },
            _ => TunError::Setup { name, step: "make the device", source },
        }
    })?;
    Ok(file)
}

/// What the kernel leaves to us and takes from us unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offload {
    /// Checksums, TCP and UDP super-frames.
    Udp,
    /// Checksums and TCP super-frames: kernels before 6.2.
    Tcp,
    /// Nothing.
    None,
}

impl Offload {
    fn negotiate(file: &File) -> io::Result<Offload> {
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        let udp = tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6;
        for (offload, features) in [(Offload::Udp, udp), (Offload::Tcp, tcp)] {
            match sys::set_offload(file, features) {
                Ok(()) => return Ok(offload),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => continue,
                Err(e) => return Err(e),
            }
        }
        sys::set_offload(file, 0)?;
        Ok(Offload::None)
    }
}

impl Port for Tun {
    fn link(&self) -> Link {
        match self.kind {
            Kind::Tun => Link::Ip,
            Kind::Tap => Link::Ethernet,
        }
    }

    fn caps(&self) -> Caps {
        let tcp = self.offload != Offload::None;
        let uso = self.offload == Offload::Udp;
        Caps { checksum: true, tso4: tcp, tso6: tcp, uso, coalesce: tcp }
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        while batch.room() > 0 && self.row.fill(cx.pool) {
            match self.row.read(&self.file, cx.id) {
                Ok(Read::Frame(header, mut frame)) => match vnet::read(header, &mut frame) {
                    Ok(()) => batch.push(frame),
                    Err(vnet::Mismatch) => {
                        cx.refuse(OFFLOAD);
                        frame.free(cx.pool);
                    }
                },
                // A full row takes any frame: it was not full, for want of chunks.
                Ok(Read::Truncated) => cx.refuse(NO_MEMORY),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // A row is cheap to lay out, and much to leave lying at each of a hundred quiet ports.
                    self.row.release(cx.pool);
                    return Ok(false);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(frame) = queue.pop_front() {
            match self.write(&frame) {
                Ok(()) => {
                    sent += 1;
                    frame.free(cx.pool);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => queue.push_front(frame),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    queue.push_front(frame);
                    break;
                }
                Err(e) if e.raw_os_error() == Some(libc::EBADFD) => {
                    queue.push_front(frame);
                    return Err(e);
                }
                // The device is down, or the kernel found something wrong with the frame.
                Err(_) => cx.discard(frame, REFUSED),
            }
        }
        Ok(sent)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn meter(&mut self) -> Option<Box<dyn Meter>> {
        Some(Box::new(Gauge(self.statistics.take()?)))
    }

    fn chunks(&self) -> usize {
        self.row.chunks()
    }

    fn describe(&self) -> String {
        let kind = match self.kind {
            Kind::Tun => "tun",
            Kind::Tap => "tap",
        };
        let offload = match self.offload {
            Offload::Udp => "checksum TSO USO",
            Offload::Tcp => "checksum TSO (no USO before Linux 6.2)",
            Offload::None => "no offloads (the kernel refused them)",
        };
        format!("{kind}, {offload}")
    }

    fn close(&mut self, cx: &mut PortCx<'_>) {
        self.row.release(cx.pool);
    }
}

/// The device's counters.
struct Gauge(Statistics);

impl Meter for Gauge {
    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        let dropped = self.0.dropped();
        // The device's view is the other way round: what it transmits is what we receive.
        vec![
            KernelDrop { name: "tx_dropped", count: dropped.tx },
            KernelDrop { name: "rx_dropped", count: dropped.rx },
        ]
    }
}

impl Tun {
    /// Writes one frame, its header in front.
    fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let header = vnet::write(frame).map_err(|_| io::ErrorKind::InvalidInput)?;
        if !frame.is_chained() {
            return self.write_all_of(&[IoSlice::new(&header), IoSlice::new(frame.head())]);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        pieces[0] = IoSlice::new(&header);
        let mut count = 1;
        for bytes in frame.segments() {
            *pieces.get_mut(count).ok_or(io::ErrorKind::InvalidInput)? = IoSlice::new(bytes);
            count += 1;
        }
        self.write_all_of(&pieces[..count])
    }

    fn write_all_of(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        // The device takes a frame whole or not at all.
        (&*self.file).write_vectored(pieces).map(drop)
    }
}
