//! Outer headers that stand ready: what tunnels are made of.
//!
//! All of a header is written once, as for a packet of no length; a packet changes what depends on it.
//! `N` is the number of bytes behind the outer IP header: arrays, so that every offset is known to lie
//! within.

use crate::tos::Dscp;
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{checksum, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};

/// The outer IP header. IPv4 ones carry "don't fragment", and identification zero, which RFC 6864 §4.1
/// allows for such.
#[derive(Clone, Debug)]
pub(crate) enum Ip {
    /// Also the sum of the header without TOS, length, protocol and checksum.
    V4([u8; ipv4::LEN], u32),
    V6([u8; ipv6::LEN]),
}

impl Ip {
    /// # Panics
    /// When the ends are of different families.
    pub(crate) fn new(ends: &Ends, ttl: NonZeroU8) -> Ip {
        match (ends.local, ends.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut bytes = [0; ipv4::LEN];
                ipv4::Header {
                    tos: 0,
                    total_len: 0,
                    ident: 0,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    ttl: ttl.get(),
                    protocol: 0,
                    src,
                    dst,
                }
                .emit(&mut bytes);
                bytes[ipv4::field::CHECKSUM].fill(0);
                let partial = checksum::sum(&bytes);
                Ip::V4(bytes, partial)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut bytes = [0; ipv6::LEN];
                ipv6::Header {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 0,
                    next_header: 0,
                    hop_limit: ttl.get(),
                    src,
                    dst,
                }
                .emit(&mut bytes);
                Ip::V6(bytes)
            }
            (local, remote) => panic!("the ends of a tunnel are of one family: {local}, {remote}"),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Ip::V4(..) => ipv4::LEN,
            Ip::V6(_) => ipv6::LEN,
        }
    }

    #[inline]
    pub(crate) fn family(&self) -> Family {
        match self {
            Ip::V4(..) => Family::V4,
            Ip::V6(_) => Family::V6,
        }
    }

    /// Writes the header for a packet of `len` bytes behind the outer headers; what is left of the room
    /// for those behind it. An IPv6 header gets the flow label, of twenty bits.
    ///
    /// # Panics
    /// When the room is not exactly as long as the headers.
    #[inline(always)]
    pub(crate) fn push<'a, const N: usize>(
        &self,
        room: &'a mut [u8],
        protocol: u8,
        tos: u8,
        label: u32,
        len: usize,
    ) -> &'a mut [u8; N] {
        match self {
            Ip::V4(header, partial) => {
                let (ip, behind) = split(room);
                *ip = *header;
                ip[ipv4::field::TOS] = tos;
                ip[ipv4::field::PROTOCOL] = protocol;
                resize_v4(ip, *partial, N + len);
                behind
            }
            Ip::V6(header) => {
                let (ip, behind) = split(room);
                *ip = *header;
                ip[ipv6::field::NEXT_HEADER] = protocol;
                ipv6::set_class_label(ip, tos, label);
                ipv6::set_payload_len(ip, (N + len) as u16);
                behind
            }
        }
    }

    /// Rewrites the length of a header that was pushed; what stands behind it.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    #[inline(always)]
    pub(crate) fn resize<'a, const N: usize>(
        &self,
        outer: &'a mut [u8],
        len: usize,
    ) -> &'a mut [u8; N] {
        match self {
            Ip::V4(_, partial) => {
                let (ip, behind) = split(outer);
                resize_v4(ip, *partial, N + len);
                behind
            }
            Ip::V6(_) => {
                let (ip, behind) = split::<{ ipv6::LEN }, N>(outer);
                ipv6::set_payload_len(ip, (N + len) as u16);
                behind
            }
        }
    }
}

/// Writes the length and the checksum for `len` bytes behind the header; of a super-frame that does not
/// fit the field, the lower bits.
#[inline(always)]
fn resize_v4(ip: &mut [u8; ipv4::LEN], partial: u32, len: usize) {
    let total_len = (ipv4::LEN + len) as u16;
    let (tos, protocol) = (ip[ipv4::field::TOS], ip[ipv4::field::PROTOCOL]);
    let sum = partial + u32::from(tos) + u32::from(protocol) + u32::from(total_len);
    ip[ipv4::field::TOTAL_LEN].copy_from_slice(&total_len.to_be_bytes());
    ip[ipv4::field::CHECKSUM].copy_from_slice(&checksum::finish(sum).to_be_bytes());
}

#[inline(always)]
fn split<const A: usize, const N: usize>(room: &mut [u8]) -> (&mut [u8; A], &mut [u8; N]) {
    let parts = room.split_first_chunk_mut();
    let parts = parts.and_then(|(ip, behind)| Some((ip, behind.try_into().ok()?)));
    parts.expect("the room is as long as the overhead")
}

/// Outer IP and UDP headers, and `N - 8` bytes of a tunnel's own behind them.
#[derive(Clone, Debug)]
pub(crate) struct Udp<const N: usize> {
    ip: Ip,
    behind: [u8; N],
    dscp: Dscp,
    /// The partial sum of the UDP pseudo-header without the length, where the checksum is computed.
    pseudo: Option<u32>,
}

/// What a tunnel's config says of its outer headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) port: NonZeroU16,
    /// Absent: over IPv6 only.
    pub(crate) checksum: Option<bool>,
    pub(crate) ttl: NonZeroU8,
    pub(crate) dscp: Dscp,
}

impl<const N: usize> Udp<N> {
    /// `own` writes the tunnel's own header into what it is given.
    ///
    /// # Panics
    /// When the ends are of different families.
    pub(crate) fn new(ends: &Ends, options: Options, own: impl FnOnce(&mut [u8])) -> Udp<N> {
        let ip = Ip::new(ends, options.ttl);
        let mut behind = [0; N];
        let (udp, rest) = behind.split_at_mut(udp::LEN);
        let dst_port = options.port.get();
        udp::Header { src_port: 0, dst_port, length: 0, checksum: 0 }.emit(udp);
        own(rest);
        let pseudo = match (ends.local, ends.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_v4(src, dst, protocol::UDP, 0),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_v6(src, dst, protocol::UDP, 0),
            _ => unreachable!("the IP header was made of them"),
        };
        let is_summed = options.checksum.unwrap_or(ip.family() == Family::V6);
        let pseudo = is_summed.then(|| u32::from(checksum::fold(pseudo)));
        Udp { ip, behind, dscp: options.dscp, pseudo }
    }

    #[inline]
    pub(crate) fn overhead(&self) -> usize {
        self.ip.len() + N
    }

    #[inline]
    pub(crate) fn family(&self) -> Family {
        self.ip.family()
    }

    /// Writes all headers; what is behind the IP header, for what only the tunnel knows.
    #[inline(always)]
    pub(crate) fn push<'a>(&self, room: &'a mut [u8], inner: &Inner) -> &'a mut [u8; N] {
        let tos = self.dscp.encap(inner.tos);
        let behind = self.ip.push(room, protocol::UDP, tos, 0, inner.len);
        *behind = self.behind;
        let port = source_port(inner.flow_hash);
        behind[udp::field::SRC_PORT].copy_from_slice(&port.to_be_bytes());
        self.resize_udp(behind, inner.len);
        behind
    }

    #[inline]
    pub(crate) fn checksum_offset(&self) -> Option<(usize, usize)> {
        let start = self.ip.len();
        self.pseudo.map(|_| (start, start + udp::field::CHECKSUM.start))
    }

    #[inline]
    pub(crate) fn resize(&self, outer: &mut [u8], inner_len: usize) {
        let behind = self.ip.resize(outer, inner_len);
        self.resize_udp(behind, inner_len);
    }

    #[inline(always)]
    fn resize_udp(&self, datagram: &mut [u8; N], inner_len: usize) {
        let len = (N + inner_len) as u16;
        udp::set_length(datagram, len);
        if let Some(pseudo) = self.pseudo {
            udp::set_checksum(datagram, checksum::fold(pseudo + u32::from(len)));
        }
    }
}

/// The source port of a flow: one of the 16,384 dynamic ones (RFC 7348 §5, RFC 6335 §6), chosen by
/// the hash's upper bits, since tables take the lower ones.
#[inline]
fn source_port(flow_hash: u32) -> u16 {
    49152 + (flow_hash >> 18) as u16
}
