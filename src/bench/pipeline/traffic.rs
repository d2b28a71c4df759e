//! Frames to be received, over and over.
//!
//! What makes frames is not measured, but it runs between what is: so it is small, and touches
//! little memory. Payloads are zeros, so that a frame is told by its first bytes and its length;
//! checksums are right.

use super::case::Size;
use super::flows::Draw;
use super::node::{MTU, Which};
use crate::io::mem::Source;
use encap::wire::{Mac, checksum, ethernet, ipv4, protocol, tcp, udp};
use pipeline::frame::{CHUNK_SIZE, Frame, Gso, GsoKind, HEADROOM, LINK, Partial, Pool};
use pipeline::snapshot::PortId;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Payload of each segment of a super-frame.
const SEGMENT: usize = MTU - ipv4::LEN - tcp::LEN;
/// Segments of a super-frame: as many as an IPv4 packet holds.
const SEGMENTS: usize = (65_535 - ipv4::LEN - tcp::LEN) / SEGMENT;
/// Bytes of frames, without the FCS.
const SMALL: usize = 60;
const MEDIUM: usize = 566;
const FULL: usize = MTU + ethernet::LEN;

/// The frames of all flows, in the order of flows.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The first bytes of all frames, one after the other.
    bytes: Vec<u8>,
    frames: Vec<Record>,
    /// How many frames each flow has.
    each: usize,
    /// Which of them are received when a flow is drawn: these first, then those, and then again.
    turns: Vec<Vec<usize>>,
    /// What a device would say of each frame.
    offload: Option<Offload>,
}

/// A frame: where its first bytes are, how many, and how long it is with the zeros behind them.
#[derive(Clone, Copy, Debug)]
struct Record {
    at: u32,
    head: u16,
    len: u32,
}

/// A super-frame's: how it is to be cut, and where from its checksum is to be computed.
#[derive(Clone, Copy, Debug)]
struct Offload {
    gso: Gso,
    start: u16,
    offset: u16,
}

impl Traffic {
    /// What the pod on `port` of a node sends to each of `destinations`, one flow for each.
    pub fn from_pod(
        which: Which,
        port: PortId,
        gateway: Mac,
        destinations: &[Ipv4Addr],
        size: Size,
    ) -> Traffic {
        let sizes: &[usize] = match size {
            Size::Small => &[SMALL],
            Size::Imix => &[SMALL, MEDIUM, FULL],
            Size::Mtu => &[FULL],
            Size::Super => &[],
        };
        // Evenly mixed: 7 to 4 to 1.
        let imix = [0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 1, 0].map(|size| vec![size]);
        let mut traffic = Traffic {
            each: sizes.len().max(1),
            turns: if size == Size::Imix { imix.to_vec() } else { vec![vec![0]] },
            ..Traffic::default()
        };
        let src = which.pod(port);
        let link = ethernet::Header {
            dst: gateway,
            src: which.pod_mac(port),
            ethertype: ethernet::ethertype::IPV4,
        };
        for (flow, dst) in destinations.iter().enumerate() {
            let flow = Flow { src, dst: *dst, port: 1024 + (flow % 60_000) as u16 };
            for len in sizes {
                traffic.add(&flow.datagram(link, *len), *len);
            }
            if size == Size::Super {
                traffic.add(&flow.super_frame(), ipv4::LEN + tcp::LEN + SEGMENTS * SEGMENT);
            }
        }
        if size == Size::Super {
            let gso = Gso { kind: GsoKind::Tcp4, size: SEGMENT as u16 };
            let offset = tcp::field::CHECKSUM.start as u16;
            traffic.offload = Some(Offload { gso, start: ipv4::LEN as u16, offset });
        }
        traffic
    }

    /// Without frames yet: what this becomes where each frame is cut into `parts`, which are received
    /// one after the other.
    pub fn cut(&self, parts: usize) -> Traffic {
        let turns = match parts {
            1 => self.turns.clone(),
            _ => vec![(0..parts).collect()],
        };
        Traffic { each: self.each * parts, turns, ..Traffic::default() }
    }

    /// Adds a frame of `len` bytes that begins with these, and has zeros behind them.
    pub fn add(&mut self, bytes: &[u8], len: usize) {
        let head = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let at = u32::try_from(self.bytes.len()).expect("the frames' heads fit 4 GiB");
        self.frames.push(Record { at, head: head as u16, len: len as u32 });
        self.bytes.extend_from_slice(&bytes[..head]);
    }

    /// How many frames there are of all flows.
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// How many packets a frame stands for: those that it is cut into.
    pub fn packets_per_frame(&self) -> usize {
        if self.offload.is_some() { SEGMENTS } else { 1 }
    }

    /// Mean length of the frames, in bytes, as often as they are received.
    pub fn mean_len(&self) -> f64 {
        let lens: Vec<_> =
            self.turns.iter().flatten().map(|i| f64::from(self.frames[*i].len)).collect();
        lens.iter().sum::<f64>() / lens.len() as f64
    }

    /// Frame `i`, as if received from `port`.
    fn make(&self, i: usize, pool: &mut Pool, port: PortId) -> Option<Frame> {
        let Record { at, head, len } = self.frames[i];
        let bytes = &self.bytes[at as usize..][..usize::from(head)];
        let mut left = len as usize;
        let mut chunk = pool.alloc()?;
        let first = left.min(CHUNK_SIZE - HEADROOM);
        let room = &mut chunk.bytes_mut()[HEADROOM..HEADROOM + first];
        let (headers, payload) = room.split_at_mut(bytes.len());
        headers.copy_from_slice(bytes);
        payload.fill(0);
        let mut frame = Frame::new(chunk, HEADROOM, first, port);
        left -= first;
        while left > 0 {
            let Some(mut chunk) = pool.alloc() else {
                frame.free(pool);
                return None;
            };
            let part = left.min(CHUNK_SIZE - LINK);
            chunk.bytes_mut()[LINK..LINK + part].fill(0);
            frame.chain(chunk, LINK, part);
            left -= part;
        }
        if let Some(Offload { gso, start, offset }) = self.offload {
            frame.meta.gso = gso;
            frame.meta.partial = Partial { start: HEADROOM as u16 + start, offset };
        }
        Some(frame)
    }
}

/// The two ends of a flow.
struct Flow {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    /// The source's; the other one is 9 (discard).
    port: u16,
}

impl Flow {
    /// The headers of a frame of `len` bytes: Ethernet, IPv4, UDP.
    fn datagram(&self, link: ethernet::Header, len: usize) -> Vec<u8> {
        const IP: usize = ethernet::LEN;
        const UDP: usize = IP + ipv4::LEN;
        let mut bytes = vec![0; UDP + udp::LEN];
        link.emit(&mut bytes);
        self.ip(len - IP, protocol::UDP).emit(&mut bytes[IP..]);
        let length = (len - UDP) as u16;
        udp::Header { src_port: self.port, dst_port: 9, length, checksum: 0 }
            .emit(&mut bytes[UDP..]);
        let mut sum = checksum::Sum::new(self.pseudo(protocol::UDP, length.into()));
        sum.add(&bytes[UDP..]);
        udp::set_checksum(&mut bytes[UDP..], checksum::nonzero(sum.finish()));
        bytes
    }

    /// The headers of a super-frame: IPv4 and TCP, whose checksum is left to whoever cuts it.
    fn super_frame(&self) -> Vec<u8> {
        let mut bytes = vec![0; ipv4::LEN + tcp::LEN];
        let len = tcp::LEN + SEGMENTS * SEGMENT;
        self.ip(ipv4::LEN + len, protocol::TCP).emit(&mut bytes);
        let pseudo = self.pseudo(protocol::TCP, len as u32);
        tcp::Header {
            src_port: self.port,
            dst_port: 9,
            seq: 1,
            ack: 1,
            flags: tcp::flag::ACK,
            window: 500,
            checksum: checksum::fold(pseudo),
            urgent: 0,
        }
        .emit(&mut bytes[ipv4::LEN..]);
        bytes
    }

    fn ip(&self, total_len: usize, protocol: u8) -> ipv4::Header {
        ipv4::Header {
            tos: 0,
            total_len: total_len as u16,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            src: self.src,
            dst: self.dst,
        }
    }

    fn pseudo(&self, protocol: u8, len: u32) -> u32 {
        checksum::pseudo_v4(self.src, self.dst, protocol, len)
    }
}

/// Plays the frames of flows that are drawn.
pub struct Player {
    traffic: Arc<Traffic>,
    draw: Draw,
    flow: usize,
    turn: usize,
    /// Within the turn.
    next: usize,
}

impl Player {
    /// Plays these, of flows drawn so.
    pub fn new(traffic: Arc<Traffic>, draw: Draw) -> Player {
        Player { traffic, draw, flow: 0, turn: 0, next: 0 }
    }
}

impl Source for Player {
    fn frame(&mut self, pool: &mut Pool, port: PortId) -> Option<Frame> {
        let traffic = &self.traffic;
        if self.next == 0 {
            self.flow = self.draw.next();
        }
        let turn = &traffic.turns[self.turn];
        let i = self.flow * traffic.each + turn[self.next];
        self.next += 1;
        if self.next == turn.len() {
            self.next = 0;
            self.turn = (self.turn + 1) % traffic.turns.len();
        }
        traffic.make(i, pool, port)
    }
}

/// Plays each frame once, in order.
pub struct Once {
    traffic: Arc<Traffic>,
    next: usize,
}

impl Once {
    /// Plays these.
    pub fn new(traffic: Arc<Traffic>) -> Once {
        Once { traffic, next: 0 }
    }
}

impl Source for Once {
    fn frame(&mut self, pool: &mut Pool, port: PortId) -> Option<Frame> {
        if self.next == self.traffic.count() {
            return None;
        }
        self.next += 1;
        self.traffic.make(self.next - 1, pool, port)
    }
}
