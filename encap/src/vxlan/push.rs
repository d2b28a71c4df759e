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
        let udp_at = match &self.headers {
            Headers::V4(headers, _) => {
                room.copy_from_slice(headers);
                room[ipv4::field::TOS] = tos;
                ipv4::LEN
            }
            Headers::V6(headers) => {
                room.copy_from_slice(headers);
                ipv6::set_traffic_class(room, tos);
                ipv6::LEN
            }
        };
        self.resize(room, inner.len);
        let port = source_port(inner.flow_hash);
        let behind_ip = &mut room[udp_at..udp_at + BEHIND_IP];
        behind_ip[udp::field::SRC_PORT].copy_from_slice(&port.to_be_bytes());
        behind_ip[BEHIND_IP - 2..].copy_from_slice(&inner.family.ethertype().to_be_bytes());
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
        // Of a super-frame that does not fit the fields, the lower bits, as documented.
        let udp_len = (BEHIND_IP + inner_len) as u16;
        let udp_at = match &self.headers {
            Headers::V4(_, partial) => {
                let ip: &mut [u8] = &mut outer[..ipv4::LEN];
                let total_len = (LEN_V4 + inner_len) as u16;
                let tos = u32::from(ip[ipv4::field::TOS]);
                let sum = checksum::finish(partial + tos + u32::from(total_len));
                ip[ipv4::field::TOTAL_LEN].copy_from_slice(&total_len.to_be_bytes());
                ip[ipv4::field::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
                ipv4::LEN
            }
            Headers::V6(_) => {
                ipv6::set_payload_len(outer, udp_len);
                ipv6::LEN
            }
        };
        let datagram = &mut outer[udp_at..udp_at + udp::LEN];
        udp::set_length(datagram, udp_len);
        if let Some(pseudo) = self.pseudo {
            udp::set_checksum(datagram, checksum::fold(pseudo + u32::from(udp_len)));
        }
    }
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
