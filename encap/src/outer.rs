//! Outer headers that stand ready: what tunnels are made of.
//!
//! All headers towards a peer are written once, as for a packet of no length, and copied in one piece; a
//! packet changes what depends on it. `V4` and `V6` are their lengths over either family, outer IP header
//! included: arrays, so that every offset is known to lie within.

use crate::tos::Dscp;
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{checksum, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};

/// An outer IP header and what stands behind it. IPv4 ones carry "don't fragment", and identification
/// zero, which RFC 6864 §4.1 allows for such.
#[derive(Clone, Debug)]
pub(crate) enum Headers<const V4: usize, const V6: usize> {
    /// Also the sum of the IP header without TOS, length, protocol and checksum.
    V4([u8; V4], u32),
    V6([u8; V6]),
}

impl<const V4: usize, const V6: usize> Headers<V4, V6> {
    /// `own` writes what stands behind the IP header into what it is given.
    ///
    /// # Panics
    /// When the ends are of different families.
    pub(crate) fn new(ends: &Ends, ttl: NonZeroU8, own: impl FnOnce(&mut [u8])) -> Self {
        match (ends.local, ends.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut bytes = [0; V4];
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
                let partial = checksum::sum(&bytes[..ipv4::LEN]);
                own(&mut bytes[ipv4::LEN..]);
                Headers::V4(bytes, partial)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut bytes = [0; V6];
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
                own(&mut bytes[ipv6::LEN..]);
                Headers::V6(bytes)
            }
            (local, remote) => panic!("the ends of a tunnel are of one family: {local}, {remote}"),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Headers::V4(..) => V4,
            Headers::V6(_) => V6,
        }
    }

    #[inline]
    pub(crate) fn family(&self) -> Family {
        match self {
            Headers::V4(..) => Family::V4,
            Headers::V6(_) => Family::V6,
        }
    }

    /// Writes the headers for a packet of `len` bytes behind them. An IPv6 header gets the flow label, of
    /// twenty bits; `own` changes what stands behind the IP header.
    ///
    /// # Panics
    /// When the room is not exactly as long as the headers.
    #[inline(always)]
    pub(crate) fn push(
        &self,
        room: &mut [u8],
        protocol: u8,
        tos: u8,
        label: u32,
        len: usize,
        own: impl FnOnce(&mut [u8]),
    ) {
        match self {
            Headers::V4(headers, partial) => {
                let room: &mut [u8; V4] = whole(room);
                *room = *headers;
                room[ipv4::field::TOS] = tos;
                room[ipv4::field::PROTOCOL] = protocol;
                resize_v4(room, *partial, len);
                own(&mut room[ipv4::LEN..]);
            }
            Headers::V6(headers) => {
                let room: &mut [u8; V6] = whole(room);
                *room = *headers;
                room[ipv6::field::NEXT_HEADER] = protocol;
                ipv6::set_class_label(room, tos, label);
                resize_v6(room, len);
                own(&mut room[ipv6::LEN..]);
            }
        }
    }

    /// Rewrites the length in headers that were pushed; `own` that in what stands behind the IP header.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    #[inline(always)]
    pub(crate) fn resize(&self, outer: &mut [u8], len: usize, own: impl FnOnce(&mut [u8])) {
        match self {
            Headers::V4(_, partial) => {
                let outer: &mut [u8; V4] = whole(outer);
                resize_v4(outer, *partial, len);
                own(&mut outer[ipv4::LEN..]);
            }
            Headers::V6(_) => {
                let outer: &mut [u8; V6] = whole(outer);
                resize_v6(outer, len);
                own(&mut outer[ipv6::LEN..]);
            }
        }
    }
}

#[inline(always)]
fn whole<const N: usize>(room: &mut [u8]) -> &mut [u8; N] {
    room.try_into().expect("the room is as long as the overhead")
}

/// Writes the length and the checksum for `len` bytes behind the headers; of a super-frame that does not
/// fit the field, the lower bits.
#[inline(always)]
fn resize_v4<const N: usize>(headers: &mut [u8; N], partial: u32, len: usize) {
    let total_len = (N + len) as u16;
    let (tos, protocol) = (headers[ipv4::field::TOS], headers[ipv4::field::PROTOCOL]);
    let sum = partial + u32::from(tos) + u32::from(protocol) + u32::from(total_len);
    headers[ipv4::field::TOTAL_LEN].copy_from_slice(&total_len.to_be_bytes());
    headers[ipv4::field::CHECKSUM].copy_from_slice(&checksum::finish(sum).to_be_bytes());
}

#[inline(always)]
fn resize_v6<const N: usize>(headers: &mut [u8; N], len: usize) {
    ipv6::set_payload_len(headers, (N - ipv6::LEN + len) as u16);
}

/// Outer IP and UDP headers, and a tunnel's own behind them.
#[derive(Clone, Debug)]
pub(crate) struct Udp<const V4: usize, const V6: usize> {
    headers: Headers<V4, V6>,
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

impl<const V4: usize, const V6: usize> Udp<V4, V6> {
    /// `own` writes the tunnel's own header into what it is given.
    ///
    /// # Panics
    /// When the ends are of different families.
    pub(crate) fn new(ends: &Ends, options: Options, own: impl FnOnce(&mut [u8])) -> Self {
        let headers = Headers::new(ends, options.ttl, |behind| {
            let (udp, rest) = behind.split_at_mut(udp::LEN);
            let dst_port = options.port.get();
            udp::Header { src_port: 0, dst_port, length: 0, checksum: 0 }.emit(udp);
            own(rest);
        });
        let pseudo = match (ends.local, ends.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_v4(src, dst, protocol::UDP, 0),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_v6(src, dst, protocol::UDP, 0),
            _ => unreachable!("the IP header was made of them"),
        };
        let is_summed = options.checksum.unwrap_or(headers.family() == Family::V6);
        let pseudo = is_summed.then(|| u32::from(checksum::fold(pseudo)));
        Udp { headers, dscp: options.dscp, pseudo }
    }

    #[inline]
    pub(crate) fn overhead(&self) -> usize {
        self.headers.len()
    }

    #[inline]
    pub(crate) fn family(&self) -> Family {
        self.headers.family()
    }

    /// Writes all headers; `own` changes what only the tunnel knows of its own.
    #[inline(always)]
    pub(crate) fn push(&self, room: &mut [u8], inner: &Inner, own: impl FnOnce(&mut [u8])) {
        let tos = self.dscp.encap(inner.tos);
        self.headers.push(room, protocol::UDP, tos, 0, inner.len, |behind| {
            let port = source_port(inner.flow_hash);
            behind[udp::field::SRC_PORT].copy_from_slice(&port.to_be_bytes());
            self.resize_udp(behind, inner.len);
            own(&mut behind[udp::LEN..]);
        });
    }

    #[inline]
    pub(crate) fn checksum_offset(&self) -> Option<(usize, usize)> {
        let start = match self.family() {
            Family::V4 => ipv4::LEN,
            Family::V6 => ipv6::LEN,
        };
        self.pseudo.map(|_| (start, start + udp::field::CHECKSUM.start))
    }

    #[inline]
    pub(crate) fn resize(&self, outer: &mut [u8], inner_len: usize) {
        self.headers.resize(outer, inner_len, |behind| self.resize_udp(behind, inner_len));
    }

    #[inline(always)]
    fn resize_udp(&self, behind: &mut [u8], inner_len: usize) {
        let len = (behind.len() + inner_len) as u16;
        udp::set_length(behind, len);
        if let Some(pseudo) = self.pseudo {
            udp::set_checksum(behind, checksum::fold(pseudo + u32::from(len)));
        }
    }
}

/// The source port of a flow: one of the 16,384 dynamic ones (RFC 7348 §5, RFC 6335 §6), chosen by
/// the hash's upper bits, since tables take the lower ones.
#[inline]
fn source_port(flow_hash: u32) -> u16 {
    49152 + (flow_hash >> 18) as u16
}
