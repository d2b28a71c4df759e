//! What policies and the table of flows know a packet by.

use super::{FRAGMENT, TCP_FLAGS, TRUNCATED};
use crate::drops::Reason;
use crate::frame::{Frame, Meta, Packet as Parsed};
use crate::stages::parse::{addresses, has_ports};
use crate::tables::acl::Tuple;
use crate::tables::flows::{Flags, Key, Party, Side};
use encap::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol, tcp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// ICMP's type, RFC 792.
const REDIRECT: u8 = 5;

/// A packet between two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// What policies know of it.
    pub(super) case: Case,
    /// What it is to flows.
    pub(super) kind: Kind,
}

/// What policies know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// What rules ask.
    pub(super) tuple: Tuple,
    /// The source port, where there is one.
    pub(super) source_port: u16,
    /// TCP's flags, of a packet of a flow.
    pub(super) flags: Flags,
}

/// A key, and the side of it that the packet came from.
pub(super) type Keyed = (Key, Side);

/// What a packet is to flows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// One of a flow.
    Flow {
        /// The flow.
        of: Keyed,
        /// The datagram of which it is the first fragment.
        datagram: Option<Keyed>,
    },
    /// A fragment of this datagram, and not the first.
    Later(Keyed),
    /// An ICMP error about a packet of this flow, if it says so credibly.
    Error(Option<Keyed>),
    /// ICMP that belongs to no flow.
    Lone,
}

/// What a frame of the usual kind says of its flow: a whole packet of TCP, UDP or SCTP, with as much of a header as it
/// needs. Of such [`Packet::unusual`] knows the same, by a longer way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    /// The words of the source's and the destination's address, as they stand there; of IPv4 both are in the first.
    words: [u64; 4],
    /// The source's in the upper half.
    ports: u32,
    protocol: u8,
    flags: Flags,
    is_v4: bool,
}

impl Usual {
    #[inline]
    pub(super) fn of(frame: &Frame) -> Option<Usual> {
        let Meta { packet, protocol, l3, l4, .. } = frame.meta;
        if !has_ports(protocol) {
            return None;
        }
        let ports = u32::from_be_bytes(*frame.bytes_at(l4)?);
        let mut flags = Flags::default();
        if protocol == protocol::TCP {
            flags = Flags(frame.bytes_at::<{ tcp::LEN }>(l4)?[tcp::field::FLAGS]);
            if !flags.valid() {
                return None;
            }
        }
        let word = |word: &[u8; 8]| u64::from_be_bytes(*word);
        let (is_v4, words) = match packet {
            Parsed::V4 => {
                let ends = frame.bytes_at::<{ ipv4::LEN }>(l3)?.last_chunk()?;
                (true, [word(ends), 0, 0, 0])
            }
            Parsed::V6 => {
                let ends = frame.bytes_at::<{ ipv6::LEN }>(l3)?.last_chunk::<32>()?;
                let &[a, b, c, d] = ends.as_chunks().0.first_chunk()?;
                (false, [a, b, c, d].map(|bytes| word(&bytes)))
            }
            _ => return None,
        };
        Some(Usual { words, ports, protocol, flags, is_v4 })
    }

    /// Whether another one says the same.
    #[inline]
    pub(super) fn is(&self, other: &Usual) -> bool {
        // Word by word: comparing what was just written in several steps at one time stalls the processor.
        let ([a, b, c, d], [e, f, g, h]) = (self.words, other.words);
        let small = |usual: &Usual| (usual.protocol, usual.flags, usual.is_v4);
        self.ports == other.ports
            && (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
            && small(self) == small(other)
    }

    /// Its flow, and its flags.
    #[inline]
    pub(super) fn flow(&self) -> (Keyed, Flags) {
        let Usual { words: [a, b, c, d], ports, protocol, flags, is_v4 } = *self;
        let keyed = match is_v4 {
            true => Key::v4((a >> 32) as u32, a as u32, protocol, ports),
            false => Key::v6(wide(a, b), wide(c, d), protocol, ports),
        };
        (keyed, flags)
    }

    /// What policies know of it.
    #[inline]
    pub(super) fn case(&self) -> Case {
        let Usual { words: [a, b, c, d], ports, protocol, flags, .. } = *self;
        let (src, dst) = match self.is_v4 {
            true => {
                let [src, dst] = [(a >> 32) as u32, a as u32].map(Ipv4Addr::from_bits);
                (src.into(), dst.into())
            }
            false => {
                let [src, dst] = [wide(a, b), wide(c, d)].map(Ipv6Addr::from_bits);
                (src.into(), dst.into())
            }
        };
        let tuple = Tuple { src, dst, protocol, service: ports as u16 };
        Case { tuple, source_port: (ports >> 16) as u16, flags }
    }

    /// All that there is to know of it.
    pub(super) fn packet(&self) -> Packet {
        Packet { case: self.case(), kind: Kind::Flow { of: self.flow().0, datagram: None } }
    }
}

impl Packet {
    /// Of a frame that was parsed.
    ///
    /// # Errors
    /// Why nobody should get it.
    pub(super) fn of(frame: &Frame) -> Result<Packet, Reason> {
        Usual::of(frame).map_or_else(|| Packet::unusual(frame), |usual| Ok(usual.packet()))
    }

    /// The same of a frame of any kind.
    #[inline(never)]
    pub(super) fn unusual(frame: &Frame) -> Result<Packet, Reason> {
        let (src, dst) = addresses(frame).ok_or(TRUNCATED)?;
        let protocol = frame.meta.protocol;
        let (mut is_later, mut datagram) = (false, None);
        if frame.meta.packet.is_fragment() {
            let fragment = Fragment::of(frame).ok_or(TRUNCATED)?;
            let key = Key::datagram(src, dst, fragment.protocol, fragment.ident);
            is_later = fragment.offset != 0;
            // RFC 1858 §4.2: it would lay itself over the flags of the first one.
            if protocol == protocol::TCP && fragment.offset == 8 {
                return Err(FRAGMENT);
            }
            datagram = (fragment.more || is_later).then_some(key);
        }
        let tuple = Tuple { src, dst, protocol, service: 0 };
        match datagram.filter(|_| is_later) {
            Some(key) => Ok(Packet { case: Case::of(tuple), kind: Kind::Later(key) }),
            None => Packet::whole(tuple, frame.l4(), datagram),
        }
    }

    /// One of which this is the header behind IP's.
    fn whole(tuple: Tuple, l4: &[u8], datagram: Option<Keyed>) -> Result<Packet, Reason> {
        let Tuple { src, dst, protocol, .. } = tuple;
        if matches!(protocol, protocol::ICMPV4 | protocol::ICMPV6) {
            return Packet::icmp(tuple, l4, datagram);
        }
        let (mut ports, mut flags) = ((0, 0), Flags::default());
        if has_ports(protocol) {
            ports = self::ports(l4).ok_or(TRUNCATED)?;
        }
        if protocol == protocol::TCP {
            let header = l4.first_chunk::<{ tcp::LEN }>().ok_or(TRUNCATED)?;
            flags = Flags(header[tcp::field::FLAGS]);
            if !flags.valid() {
                return Err(TCP_FLAGS);
            }
        }
        let of = Key::new(src, dst, protocol, ports.0, ports.1);
        let tuple = Tuple { service: ports.1, ..tuple };
        let case = Case { tuple, source_port: ports.0, flags };
        Ok(Packet { case, kind: Kind::Flow { of, datagram } })
    }

    fn icmp(tuple: Tuple, l4: &[u8], datagram: Option<Keyed>) -> Result<Packet, Reason> {
        let Tuple { src, dst, protocol, .. } = tuple;
        let &[kind, code, _, _, a, b, _, _] = l4.first_chunk().ok_or(TRUNCATED)?;
        let tuple = Tuple { service: u16::from_be_bytes([kind, code]), ..tuple };
        let query = Key::query(src, dst, protocol, kind, u16::from_be_bytes([a, b]));
        let is_error = match protocol {
            // A redirect is for a link's own router to send (RFC 1122 §3.2.2.2), and that is us.
            protocol::ICMPV4 if kind == REDIRECT => false,
            protocol::ICMPV4 => icmpv4::View::new(l4).is_ok_and(|icmp| icmp.is_error()),
            _ => icmpv6::View::new(l4).is_ok_and(|icmp| icmp.is_error()),
        };
        let kind = match query {
            Some(of) => Kind::Flow { of, datagram },
            None if is_error => {
                let quoted = quoted(&l4[8..]).filter(|(_, sender)| *sender == dst);
                Kind::Error(quoted.map(|(flow, _)| flow))
            }
            None => Kind::Lone,
        };
        Ok(Packet { case: Case::of(tuple), kind })
    }

    /// What the table of flows is asked about, and with which flags. (For what belongs to no flow it does not matter.)
    pub(super) fn flow(&self) -> (Keyed, Flags) {
        let of = match self.kind {
            Kind::Flow { of, .. } | Kind::Later(of) | Kind::Error(Some(of)) => of,
            Kind::Error(None) | Kind::Lone => {
                let Tuple { src, dst, protocol, .. } = self.case.tuple;
                Key::new(src, dst, protocol, 0, 0)
            }
        };
        (of, self.case.flags)
    }
}

impl Case {
    /// Of a packet without ports.
    fn of(tuple: Tuple) -> Case {
        Case { tuple, source_port: 0, flags: Flags::default() }
    }

    /// Who sends it, where it is the first that is seen of its flow: of TCP it may be the end that was called, which answers
    /// a call, or has the lower port and opens nothing.
    #[inline]
    pub(super) fn sender(&self) -> Party {
        let Case { tuple, source_port, flags } = self;
        let (is_lower, is_tcp) = (*source_port < tuple.service, tuple.protocol == protocol::TCP);
        match is_tcp && !flags.is_call() && (is_lower || flags.is_answer()) {
            true => Party::Responder,
            false => Party::Initiator,
        }
    }

    /// What rules are asked about its flow, where the other end began that.
    pub(super) fn reversed(&self) -> Tuple {
        let Tuple { src, dst, protocol, service } = self.tuple;
        let [kind, _] = service.to_be_bytes();
        let service = match protocol {
            protocol::ICMPV4 | protocol::ICMPV6 => {
                let query = Key::asked(protocol, kind).unwrap_or(kind);
                u16::from_be_bytes([query, 0])
            }
            _ => self.source_port,
        };
        Tuple { src: dst, dst: src, protocol, service }
    }
}

/// The flow of a packet of which an ICMP error has the beginning, and who sent that packet: the error is
/// for him (RFC 792, RFC 4443 §2.4).
fn quoted(packet: &[u8]) -> Option<(Keyed, IpAddr)> {
    let (src, dst, protocol, l4): (IpAddr, IpAddr, _, _) = match packet.first()? >> 4 {
        4 => {
            let ip = ipv4::View::of_head(packet, usize::MAX).ok()?;
            let l4 = packet.get(ip.header_len()..).filter(|_| ip.fragment_offset() == 0)?;
            (ip.src().into(), ip.dst().into(), ip.protocol(), l4)
        }
        6 => {
            let ip = ipv6::View::of_head(packet, usize::MAX).ok()?;
            let upper = ip.upper_layer().ok()?;
            let is_first = upper.fragment.is_none_or(|fragment| fragment.offset == 0);
            let l4 = packet.get(upper.offset..).filter(|_| is_first)?;
            (ip.src().into(), ip.dst().into(), upper.protocol, l4)
        }
        _ => return None,
    };
    let key = match protocol {
        protocol::ICMPV4 | protocol::ICMPV6 => {
            let &[kind, _, _, _, a, b] = l4.first_chunk()?;
            Key::query(src, dst, protocol, kind, u16::from_be_bytes([a, b]))?
        }
        _ if has_ports(protocol) => {
            let (source, destination) = ports(l4)?;
            Key::new(src, dst, protocol, source, destination)
        }
        _ => Key::new(src, dst, protocol, 0, 0),
    };
    Some((key, src))
}

#[inline]
fn wide(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Source and destination port.
#[inline]
fn ports(l4: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = l4.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// What says which part of a datagram a fragment is.
struct Fragment {
    /// In bytes, of what is behind the headers.
    offset: u16,
    more: bool,
    ident: u32,
    /// IPv4 tells datagrams of several protocols apart.
    protocol: u8,
}

impl Fragment {
    fn of(frame: &Frame) -> Option<Fragment> {
        if frame.meta.packet == Parsed::V4Fragment {
            let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
            return Some(Fragment {
                offset: ip.fragment_offset(),
                more: ip.more_fragments(),
                ident: ip.ident().into(),
                protocol: ip.protocol(),
            });
        }
        let ip = ipv6::View::of_head(frame.l3(), usize::MAX).ok()?;
        let ipv6::Fragment { offset, more, ident, .. } = ip.upper_layer().ok()?.fragment?;
        Some(Fragment { offset, more, ident, protocol: 0 })
    }
}
