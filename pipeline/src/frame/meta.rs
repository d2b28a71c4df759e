//! What the pipeline knows about a frame besides its bytes.

use crate::drops::Reason;
use crate::snapshot::{NextHop, PortId};
use encap::Family;

/// `Meta::peer` of a frame that came from no peer.
pub const NO_PEER: u16 = u16::MAX;

/// What a stage decided about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on to the next stage.
    Continue,
    /// Leaves by this port.
    Emit(PortId),
    /// Ends here, for this reason.
    Drop(Reason),
    /// Somebody took it out of the batch: held for a neighbour, merged into another frame.
    Taken,
}

/// What the bytes at a frame's start are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// Segmentation that a super-frame still needs, as in `virtio_net_hdr.gso_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GsoKind {
    /// An ordinary frame.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams of equal size (`UDP_SEGMENT`), over IPv4 or IPv6.
    Udp,
}

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Gso {
    /// The protocol that is cut.
    pub kind: GsoKind,
    /// Bytes of L4 payload in each segment but the last.
    pub size: u16,
}

/// A checksum that is not complete: the field holds the folded pseudo-header sum, and the sum over
/// everything from `start` is still to be added (`CHECKSUM_PARTIAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Partial {
    /// First covered byte, from the head chunk's first byte; 0 when no checksum is pending.
    pub start: u16,
    /// The field, in bytes from `start`.
    pub offset: u16,
}

impl Partial {
    /// Nothing pending.
    pub const NONE: Partial = Partial { start: 0, offset: 0 };

    /// Whether a checksum is to be completed.
    #[inline]
    pub fn is_pending(self) -> bool {
        self.start != 0
    }
}

/// A frame's facts. Offsets (`l3`, `l4`, `outer`, `Partial::start`) are bytes from the first byte of
/// the head chunk, so that they hold while headers are pushed and popped in front of them.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// The latest decision.
    pub verdict: Verdict,
    /// Hash of the innermost flow parsed so far.
    pub hash: u32,
    /// Where the route stage sends it.
    pub next_hop: NextHop,
    /// The port it came in by.
    pub in_port: PortId,
    /// The port by which `next_hop` leaves; [`PortId::NONE`] when by none.
    pub egress: PortId,
    /// The peer whose tunnel it came out of, or [`NO_PEER`].
    pub peer: u16,
    /// The innermost IP header; 0 before one was found.
    pub l3: u16,
    /// The header behind it; equal to the end of the headers when there is none to speak of.
    pub l4: u16,
    /// The outer IP header that the tunnel stage pushed, 0 without one.
    pub outer: u16,
    /// The outer headers have a checksum that is still to be completed.
    pub outer_sum: bool,
    /// Segmentation still to be done.
    pub gso: Gso,
    /// Inner checksum still to be completed.
    pub partial: Partial,
    /// Upper-layer protocol number of the packet at `l3` (the one behind extension headers).
    pub protocol: u8,
    /// What the packet at `l3` is.
    pub packet: Packet,
    /// Times it was reinjected.
    pub hops: u8,
}

/// What stands at `Meta::l3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Not parsed yet.
    Unknown,
    /// An IPv4 packet.
    V4,
    /// A fragment of an IPv4 packet, first or not.
    V4Fragment,
    /// An IPv6 packet.
    V6,
    /// A fragment of an IPv6 packet, first or not.
    V6Fragment,
    /// An ARP packet.
    Arp,
}

impl Packet {
    /// Its IP version.
    #[inline]
    pub fn family(self) -> Option<Family> {
        match self {
            Packet::V4 | Packet::V4Fragment => Some(Family::V4),
            Packet::V6 | Packet::V6Fragment => Some(Family::V6),
            Packet::Unknown | Packet::Arp => None,
        }
    }

    /// Whether its L4 header cannot be relied on.
    #[inline]
    pub fn is_fragment(self) -> bool {
        matches!(self, Packet::V4Fragment | Packet::V6Fragment)
    }
}

impl Meta {
    /// Of a frame that just came in by `port`.
    #[inline]
    pub const fn received(port: PortId) -> Meta {
        Meta {
            verdict: Verdict::Continue,
            hash: 0,
            next_hop: NextHop::NONE,
            in_port: port,
            egress: PortId::NONE,
            peer: NO_PEER,
            l3: 0,
            l4: 0,
            outer: 0,
            outer_sum: false,
            gso: Gso { kind: GsoKind::None, size: 0 },
            partial: Partial::NONE,
            protocol: 0,
            packet: Packet::Unknown,
            hops: 0,
        }
    }
}
