//! Puts the outer headers on.

use super::{Config, FLAG_I, HEADER_LEN};
use crate::tos::Dscp;
use crate::tunnel::{Ends, Family, Inner};
use crate::wire::{checksum, ethernet, ipv4, ipv6, protocol, udp};
use std::net::IpAddr;

/// Bytes behind the outer IP header.
const BEHIND_IP: usize = udp::LEN + HEADER_LEN + ethernet::LEN;
/// Bytes pushed over IPv4.
const LEN_V4: usize = ipv4::LEN + BEHIND_IP;
/// Bytes pushed over IPv6.
const LEN_V6: usize = ipv6::LEN + BEHIND_IP;

/// A VXLAN towards one peer.
///
/// All headers stand ready, as for a packet of no length: `push` copies them and writes what
/// depends on the packet.
#[derive(Clone, Debug)]
pub struct Encap {
    headers: Headers,
    dscp: Dscp,
    /// The partial sum of the UDP pseudo-header without the length, where the checksum is computed.
    pseudo: Option<u32>,
}

#[derive(Clone, Debug)]
enum Headers {
    /// Also the partial sum of the IPv4 header with neither length nor checksum nor TOS.
    V4([u8; LEN_V4], u32),
    V6([u8; LEN_V6]),
}

impl Encap {
    pub(super) fn new(config: &Config, ends: &Ends) -> Encap {
        let ttl = config.ttl.get();
        let (headers, pseudo) = match (ends.local, ends.remote) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut bytes = [0; LEN_V4];
                ipv4::Header {
                    tos: 0,
                    total_len: 0,
                    ident: 0,
                    dont_fragment: true,
                    more_fragments: false,
                    fragment_offset: 0,
                    ttl,
                    protocol: protocol::UDP,
                    src,
                    dst,
                }
                .emit(&mut bytes);
                bytes[ipv4::field::CHECKSUM].fill(0);
                emit_behind_ip(&mut bytes[ipv4::LEN..], config, ends);
                let partial = checksum::sum(&bytes[..ipv4::LEN]);
                let pseudo = checksum::pseudo_v4(src, dst, protocol::UDP, 0);
                (Headers::V4(bytes, partial), pseudo)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut bytes = [0; LEN_V6];
                ipv6::Header {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 0,
                    next_header: protocol::UDP,
                    hop_limit: ttl,
                    src,
                    dst,
                }
                .emit(&mut bytes);
                emit_behind_ip(&mut bytes[ipv6::LEN..], config, ends);
                (Headers::V6(bytes), checksum::pseudo_v6(src, dst, protocol::UDP, 0))
            }
            (local, remote) => panic!("the ends of a tunnel are of one family: {local}, {remote}"),
        };
        let is_v6 = matches!(headers, Headers::V6(_));
        let pseudo = config.udp_checksum.unwrap_or(is_v6).then(|| u32::from(checksum::fold(pseudo)));
        Encap { headers, dscp: config.dscp, pseudo }
    }

    /// See [`Encap::overhead`](crate::Encap::overhead): 50 bytes over IPv4, 70 over IPv6.
    #[inline]
    pub fn overhead(&self) -> usize {
        match self.headers {
            Headers::V4(..) => LEN_V4,
            Headers::V6(..) => LEN_V6,
        }
    }

    /// See [`Encap::family`](crate::Encap::family).
    #[inline]
    pub fn family(&self) -> Family {
        match self.headers {
            Headers::V4(..) => Family::V4,
            Headers::V6(..) => Family::V6,
        }
    }

    /// See [`Encap::push`](crate::Encap::push).
    #[inline]
    pub fn push(&self, room: &mut [u8], inner: &Inner) {
        let tos = self.dscp.encap(inner.tos);
        // Arrays, so that every offset is known to lie within.
        match &self.headers {
            Headers::V4(headers, partial) => {
                let room: &mut [u8; LEN_V4] = exactly(room);
                *room = *headers;
                room[ipv4::field::TOS] = tos;
                self.resize_v4(room, *partial, inner.len);
                finish(last(room), inner);
            }
            Headers::V6(headers) => {
                let room: &mut [u8; LEN_V6] = exactly(room);
                *room = *headers;
                ipv6::set_traffic_class(room, tos);
                self.resize_v6(room, inner.len);
                finish(last(room), inner);
            }
        }
    }

    /// See [`Encap::checksum_offset`](crate::Encap::checksum_offset).
    #[inline]
    pub fn checksum_offset(&self) -> Option<(usize, usize)> {
        let start = self.overhead() - BEHIND_IP;
        self.pseudo.map(|_| (start, start + udp::field::CHECKSUM.start))
    }

    /// See [`Encap::resize`](crate::Encap::resize).
    #[inline]
    pub fn resize(&self, outer: &mut [u8], inner_len: usize) {
        match &self.headers {
            Headers::V4(_, partial) => self.resize_v4(exactly(outer), *partial, inner_len),
            Headers::V6(_) => self.resize_v6(exactly(outer), inner_len),
        }
    }

    // Of a super-frame that does not fit the fields, the lower bits, as documented.

    #[inline]
    fn resize_v4(&self, outer: &mut [u8; LEN_V4], partial: u32, inner_len: usize) {
        let total_len = (LEN_V4 + inner_len) as u16;
        let tos = u32::from(outer[ipv4::field::TOS]);
        let sum = checksum::finish(partial + tos + u32::from(total_len));
        outer[ipv4::field::TOTAL_LEN].copy_from_slice(&total_len.to_be_bytes());
        outer[ipv4::field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        self.resize_udp(last(outer), inner_len);
    }

    #[inline]
    fn resize_v6(&self, outer: &mut [u8; LEN_V6], inner_len: usize) {
        ipv6::set_payload_len(outer, (BEHIND_IP + inner_len) as u16);
        self.resize_udp(last(outer), inner_len);
    }

    #[inline]
    fn resize_udp(&self, datagram: &mut [u8; BEHIND_IP], inner_len: usize) {
        let len = (BEHIND_IP + inner_len) as u16;
        udp::set_length(datagram, len);
        if let Some(pseudo) = self.pseudo {
            udp::set_checksum(datagram, checksum::fold(pseudo + u32::from(len)));
        }
    }
}

/// The room as an array.
#[inline]
fn exactly<const N: usize>(room: &mut [u8]) -> &mut [u8; N] {
    room.try_into().expect("the room is as long as the overhead")
}

/// What stands behind the IP header.
#[inline]
fn last<const N: usize>(room: &mut [u8; N]) -> &mut [u8; BEHIND_IP] {
    room.last_chunk_mut().expect("the headers behind IP are part of all")
}

/// Writes what only `push` knows: the flow's source port, the inner packet's type.
#[inline]
fn finish(behind_ip: &mut [u8; BEHIND_IP], inner: &Inner) {
    let port = source_port(inner.flow_hash);
    behind_ip[udp::field::SRC_PORT].copy_from_slice(&port.to_be_bytes());
    behind_ip[BEHIND_IP - 2..].copy_from_slice(&inner.family.ethertype().to_be_bytes());
}

/// Writes UDP, VXLAN and inner Ethernet headers without what depends on the packet.
fn emit_behind_ip(bytes: &mut [u8], config: &Config, ends: &Ends) {
    let (udp, rest) = bytes.split_at_mut(udp::LEN);
    let (vxlan, ethernet) = rest.split_at_mut(HEADER_LEN);
    udp::Header { src_port: 0, dst_port: config.port.get(), length: 0, checksum: 0 }.emit(udp);
    let [_, vni @ ..] = config.vni.get().to_be_bytes();
    vxlan[0] = FLAG_I;
    vxlan[4..7].copy_from_slice(&vni);
    ethernet::Header { dst: ends.remote_mac, src: ends.local_mac, ethertype: 0 }.emit(ethernet);
}

/// The source port of a flow: one of the 16,384 dynamic ones (RFC 7348 §5, RFC 6335 §6), chosen by
/// the hash's upper bits, since tables take the lower ones.
#[inline]
fn source_port(flow_hash: u32) -> u16 {
    49152 + (flow_hash >> 18) as u16
}
