//! A packet's bytes, with checksums that hold.

use super::Packet;
use encap::wire::{checksum, icmpv4, ipv4, ipv6, protocol, tcp, udp};
use std::net::IpAddr;

impl Packet {
    /// The bytes, from the IP header on. What a protocol carries that is not known here is zeros.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = self.header_len();
        // The fields of a length have 16 bits, which the parser has seen to.
        let len = usize::from(self.len.max(self.least()));
        let mut bytes = vec![0; len];
        let (front, behind) = bytes.split_at_mut(header);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
                tos: 0,
                total_len: len as u16,
                ident: 0,
                dont_fragment: self.dont_fragment,
                more_fragments: false,
                fragment_offset: 0,
                ttl: self.ttl,
                protocol: self.protocol,
                src,
                dst,
            }
            .emit(front),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len: behind.len() as u16,
                next_header: self.protocol,
                hop_limit: self.ttl,
                src,
                dst,
            }
            .emit(front),
            _ => {}
        }
        self.emit_upper(behind);
        bytes
    }

    fn emit_upper(&self, bytes: &mut [u8]) {
        let ([src_port, dst_port], length) = (self.ports, bytes.len() as u16);
        let field = match self.protocol {
            protocol::TCP => {
                let flags = self.flags;
                let (seq, ack) = (1, u32::from(flags & tcp::flag::ACK != 0));
                let header = tcp::Header {
                    src_port,
                    dst_port,
                    seq,
                    ack,
                    flags,
                    window: 65535,
                    checksum: 0,
                    urgent: 0,
                };
                header.emit(bytes);
                tcp::field::CHECKSUM
            }
            protocol::UDP => {
                udp::Header { src_port, dst_port, length, checksum: 0 }.emit(bytes);
                udp::field::CHECKSUM
            }
            _ if self.is_icmp() => {
                bytes[..2].copy_from_slice(&self.message);
                icmpv4::field::CHECKSUM
            }
            _ if super::has_ports(self.protocol) => {
                bytes[..2].copy_from_slice(&src_port.to_be_bytes());
                bytes[2..4].copy_from_slice(&dst_port.to_be_bytes());
                return;
            }
            _ => return,
        };
        let mut sum = checksum::Sum::new(self.pseudo(bytes.len() as u32));
        sum.add(bytes);
        let sum = sum.finish();
        let sum = if self.protocol == protocol::UDP { checksum::nonzero(sum) } else { sum };
        bytes[field].copy_from_slice(&sum.to_be_bytes());
    }

    fn pseudo(&self, len: u32) -> u32 {
        match (self.src, self.dst) {
            // ICMP for IPv4 has no pseudo-header.
            _ if self.protocol == protocol::ICMPV4 => 0,
            (IpAddr::V4(src), IpAddr::V4(dst)) => checksum::pseudo_v4(src, dst, self.protocol, len),
            (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::pseudo_v6(src, dst, self.protocol, len),
            _ => 0,
        }
    }
}
