//! Outer packets that came in fragments, which the kernel put together: read from the tunnels' sockets.
//!
//! A tunnel's packet is nobody's before all of it is there: its fragments but the first have no port. So
//! the XDP program leaves fragments to the kernel, which puts them together within its own bounds
//! (`net.ipv4.ipfrag_high_thresh` and its like) and puts the whole into the socket that is bound to the
//! tunnel's port, or into a raw one of the tunnel's protocol. What the kernel took off, the outer headers,
//! is written in front of it again from what it tells besides, so that the stages judge it as any other
//! outer packet.
//!
//! Sockets come and go while the port is at work: they are in an [`Inbox`], which the control side shares.
//! A filter in each refuses what did not come by an uplink, and the port what was no fragment.

mod ancillary;
mod headers;
#[allow(unsafe_code)]
mod sys;

use super::{KernelDrop, Meter, Port, PortCx};
use ancillary::Ancillary;
use encap::Steer;
use headers::ROOM;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use pipeline::stages::port::{NO_MEMORY, REFUSED, TRUNCATED, WHOLE};
use rustix::event::epoll;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use sys::Received;

/// Bytes that wait in a socket at most, as the kernel counts them.
const BACKLOG: usize = 1 << 20;
/// Packets that one call receives at most: each of them has cost its sender two at least, and the other
/// ports wait meanwhile.
const AT_ONCE: usize = 16;
/// The longest IP packet.
const LONGEST: usize = 65_535;

/// Where a socket's packets go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// An address of ours.
    pub address: IpAddr,
    /// What tells them apart there.
    pub by: Steer,
}

/// A socket of ours and what is known of its packets.
#[derive(Debug)]
struct Source {
    place: Place,
    socket: Socket,
}

/// The sockets.
///
/// The lock is held by the control side for moments only, since a worker takes it.
#[derive(Debug)]
pub struct Inbox {
    /// Readable when one of them is.
    epoll: OwnedFd,
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    open: Vec<Source>,
    /// Numbers of the devices whose packets they take.
    links: Vec<u32>,
    /// What the kernel dropped at those that were closed.
    dropped: u64,
}

impl Inbox {
    /// Without a socket.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Arc<Inbox>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Arc::new(Inbox { epoll, sources: Mutex::default() }))
    }

    /// Takes packets that came by these devices from now on, and no others.
    ///
    /// # Errors
    /// When the kernel refuses a filter.
    pub fn listen_to(&self, links: &[u32]) -> io::Result<()> {
        let mut sources = self.lock();
        if sources.links != links {
            sources.links = links.to_vec();
            let filter = filter(links);
            sources.open.iter().try_for_each(|source| source.socket.attach_filter(&filter))?;
        }
        Ok(())
    }

    /// Whether there is a socket for it.
    pub fn has(&self, place: Place) -> bool {
        self.lock().open.iter().any(|source| source.place == place)
    }

    /// Opens a socket.
    ///
    /// # Errors
    /// When somebody else has the port, or the kernel refuses.
    pub fn open(&self, place: Place) -> io::Result<()> {
        let filter = filter(&self.lock().links);
        let socket = open(place, &filter)?;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        self.lock().open.push(Source { place, socket });
        Ok(())
    }

    /// Closes the sockets that are not for one of these.
    pub fn retain(&self, is_wanted: impl Fn(Place) -> bool) {
        let mut sources = self.lock();
        let over: Vec<_> = sources.open.extract_if(.., |source| !is_wanted(source.place)).collect();
        sources.dropped += over.iter().map(Source::dropped).sum::<u64>();
        // Before they are closed, which takes its time.
        drop(sources);
    }

    /// What the kernel dropped at all of them.
    fn dropped(&self) -> u64 {
        let sources = self.lock();
        sources.dropped + sources.open.iter().map(Source::dropped).sum::<u64>()
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A socket for packets to a place: of UDP, or a raw one.
fn open(place: Place, filter: &[SockFilter]) -> io::Result<Socket> {
    let Place { address, by } = place;
    let (kind, protocol, port) = match by {
        Steer::Udp(port) => (Type::DGRAM, Protocol::UDP, port),
        Steer::Protocol(number) => (Type::RAW, Protocol::from(i32::from(number)), 0),
    };
    let domain = Domain::for_address(SocketAddr::new(address, port));
    let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol))?;
    // Before it is bound, and something comes.
    socket.attach_filter(filter)?;
    // What of it the machine's own limit allows, where we may not go beyond that.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BACKLOG)
        .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BACKLOG))?;
    ancillary::ask_for(&socket, place)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    Ok(socket)
}

/// A filter (classic BPF) that refuses what came by no device of these.
fn filter(links: &[u32]) -> Vec<SockFilter> {
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IS_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let device = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
    let mut program = vec![SockFilter::new(LOAD, 0, 0, device)];
    for link in links {
        program.push(SockFilter::new(IS_EQUAL, 0, 1, *link));
        program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

impl Source {
    fn dropped(&self) -> u64 {
        sys::dropped(&self.socket).map_or(0, u64::from)
    }
}

/// The port that reads them.
#[derive(Debug)]
pub struct Reassembled {
    inbox: Arc<Inbox>,
    /// Room for headers, and a packet.
    buffer: Box<[u8]>,
    /// Which of the sockets is asked first.
    first: usize,
}

impl Reassembled {
    /// A port that receives what comes into `inbox`.
    pub fn new(inbox: Arc<Inbox>) -> Reassembled {
        Reassembled { inbox, buffer: vec![0; ROOM + LONGEST].into(), first: 0 }
    }
}

impl Port for Reassembled {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        let sources = self.inbox.lock();
        let many = sources.open.len();
        let mut left = AT_ONCE.min(batch.room());
        for k in (0..many).map(|k| (self.first + k) % many) {
            let source = &sources.open[k];
            while left > 0 {
                let mut ancillary = Ancillary::default();
                match ancillary.receive(&source.socket, &mut self.buffer[ROOM..]) {
                    Ok(received) => {
                        take(source.place, &mut self.buffer, &received, &ancillary, batch, cx);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What the kernel tells only once, such as an ICMP error.
                    Err(_) => {}
                }
                left -= 1;
            }
            if left == 0 {
                self.first = k + 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        // No route leads here.
        queue.drain(..).for_each(|frame| cx.discard(frame, REFUSED));
        Ok(0)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inbox.epoll.as_fd())
    }

    fn meter(&mut self) -> Option<Box<dyn Meter>> {
        Some(Box::new(Gauge(self.inbox.clone())))
    }

    fn describe(&self) -> String {
        "sockets".to_owned()
    }
}

/// Adds a packet to the batch whose bytes behind the outer headers stand [`ROOM`] bytes into `buffer`.
fn take(
    place: Place,
    buffer: &mut [u8],
    received: &Received,
    ancillary: &Ancillary,
    batch: &mut Batch,
    cx: &mut PortCx<'_>,
) {
    if received.is_truncated {
        return cx.refuse(TRUNCATED);
    }
    if !ancillary.was_fragmented(received) {
        return cx.refuse(WHOLE);
    }
    let Some(from) = ancillary.source() else { return cx.refuse(TRUNCATED) };
    let (tos, end) = (ancillary.tos(received), ROOM + received.len);
    let start = headers::write(place, from, tos, &mut buffer[..end]);
    match Frame::copied(&buffer[start..end], cx.pool, cx.id) {
        Some(frame) => batch.push(frame),
        None => cx.refuse(NO_MEMORY),
    }
}

/// Reads the sockets' counters.
struct Gauge(Arc<Inbox>);

impl Meter for Gauge {
    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        vec![KernelDrop { name: "socket_dropped", count: self.0.dropped() }]
    }
}
