//! ICMP errors.

use crate::flow;
use crate::frame::{Frame, Packet};
use encap::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest ICMPv4 error with its IP header, bytes (RFC 1812 §4.3.2.3).
const LONGEST4: usize = 576;
/// Longest ICMPv6 error with its IP header, bytes (RFC 4443 §2.4 c).
const LONGEST6: usize = ipv6::MIN_MTU;
/// Hops that an error may take.
const TTL: u8 = 64;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The time to live ran out.
    Expired,
    /// There is no route.
    NoRoute,
    /// There is one, which says no.
    HostUnreachable,
    /// The router listens at no port.
    PortUnreachable,
    /// The packet is larger than its way carries: packets of so many bytes.
    TooBig(usize),
}

impl Why {
    /// RFC 792 and RFC 1812 §5.2.7; RFC 1191 §4.
    fn v4(self) -> icmpv4::Header {
        let unreachable = |code| (icmpv4::UNREACHABLE, code);
        let (kind, code) = match self {
            Why::Expired => (icmpv4::TIME_EXCEEDED, 0),
            Why::NoRoute => unreachable(icmpv4::unreachable::NET),
            Why::HostUnreachable => unreachable(icmpv4::unreachable::HOST),
            Why::PortUnreachable => unreachable(icmpv4::unreachable::PORT),
            Why::TooBig(mtu) => {
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                return icmpv4::Header::fragmentation_needed(mtu);
            }
        };
        icmpv4::Header { kind, code, rest: [0; 4] }
    }

    /// RFC 4443 §3. Nobody sends less than the least MTU of IPv6 (RFC 8200 §5), so less is not told.
    fn v6(self) -> icmpv6::Header {
        let unreachable = |code| (icmpv6::UNREACHABLE, code);
        let (kind, code) = match self {
            Why::Expired => (icmpv6::TIME_EXCEEDED, 0),
            Why::NoRoute => unreachable(icmpv6::unreachable::NO_ROUTE),
            Why::HostUnreachable => unreachable(icmpv6::unreachable::ADDRESS),
            Why::PortUnreachable => unreachable(icmpv6::unreachable::PORT),
            Why::TooBig(mtu) => {
                return icmpv6::Header::packet_too_big(mtu.max(ipv6::MIN_MTU) as u32);
            }
        };
        icmpv6::Header { kind, code, rest: [0; 4] }
    }
}

/// The sender of a packet that an error may be sent about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offender {
    /// Its address.
    pub(super) src: IpAddr,
}

impl Offender {
    /// `None` about packets that no error may answer (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e): errors, what may
    /// be part of one, later fragments of IPv4, and what was not for one host. (Multicasts do not come
    /// this far.)
    pub(super) fn of(frame: &Frame) -> Option<Offender> {
        let src = match frame.meta.packet {
            Packet::V4 | Packet::V4Fragment => {
                let ip = ipv4::View::of_head(frame.l3(), usize::MAX).ok()?;
                if ip.fragment_offset() != 0 {
                    return None;
                }
                ip.src().into()
            }
            Packet::V6 | Packet::V6Fragment => {
                let ip = ipv6::View::of_head(frame.l3(), usize::MAX).ok()?;
                let fragment = ip.upper_layer().ok()?.fragment;
                let is_later = fragment.is_some_and(|fragment| fragment.offset != 0);
                if is_later && frame.meta.protocol == protocol::ICMPV6 {
                    return None;
                }
                ip.src().into()
            }
            _ => return None,
        };
        let is_error = match frame.meta.protocol {
            protocol::ICMPV4 => icmpv4::View::new(frame.l4()).is_ok_and(|icmp| icmp.is_error()),
            protocol::ICMPV6 => icmpv6::View::new(frame.l4()).is_ok_and(|icmp| icmp.is_error()),
            _ => false,
        };
        (!is_error).then_some(Offender { src })
    }
}

/// Writes the error into the empty `message`, quoting as much of `frame` as is allowed and fits into
/// `most` bytes.
pub(super) fn write(
    message: &mut Frame,
    why: Why,
    offender: &Offender,
    ours: IpAddr,
    frame: &Frame,
    most: usize,
) -> Option<()> {
    match (ours, offender.src) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let quote = quote(frame, most.min(LONGEST4), ipv4::LEN + icmpv4::LEN);
            write4(message, why.v4(), src, dst, quote)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let quote = quote(frame, most.min(LONGEST6), ipv6::LEN + icmpv6::LEN);
            write6(message, why.v6(), src, dst, quote)
        }
        _ => None,
    }
}

fn write4(
    message: &mut Frame,
    error: icmpv4::Header,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    quote: &[u8],
) -> Option<()> {
    let len = ipv4::LEN + icmpv4::LEN + quote.len();
    let at = message.offset() as u16;
    let bytes = message.append(len)?;
    let header = ipv4::Header {
        tos: 0,
        total_len: len as u16,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: TTL,
        protocol: protocol::ICMPV4,
        src,
        dst,
    };
    header.emit(bytes);
    bytes.get_mut(ipv4::LEN + icmpv4::LEN..)?.copy_from_slice(quote);
    error.emit(bytes.get_mut(ipv4::LEN..)?);
    note(message, Packet::V4, protocol::ICMPV4, at, ipv4::LEN);
    message.meta.hash = flow::hash4(src, dst, protocol::ICMPV4, 0);
    Some(())
}

fn write6(
    message: &mut Frame,
    error: icmpv6::Header,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    quote: &[u8],
) -> Option<()> {
    let len = icmpv6::LEN + quote.len();
    let at = message.offset() as u16;
    let bytes = message.append(ipv6::LEN + len)?;
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: len as u16,
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        src,
        dst,
    };
    header.emit(bytes);
    let body = bytes.get_mut(ipv6::LEN..)?;
    body.get_mut(icmpv6::LEN..)?.copy_from_slice(quote);
    error.emit(body, src, dst);
    note(message, Packet::V6, protocol::ICMPV6, at, ipv6::LEN);
    message.meta.hash = flow::hash6(src, dst, protocol::ICMPV6, 0);
    Some(())
}

/// The packet's first bytes: as many as leave room for `headers` in a message of `longest` bytes.
fn quote(frame: &Frame, longest: usize, headers: usize) -> &[u8] {
    let packet = frame.l3();
    &packet[..packet.len().min(longest.saturating_sub(headers))]
}

/// What parse would have noted.
fn note(message: &mut Frame, packet: Packet, protocol: u8, at: u16, header_len: usize) {
    let meta = &mut message.meta;
    meta.packet = packet;
    meta.protocol = protocol;
    meta.l3 = at;
    meta.l4 = at + header_len as u16;
}
