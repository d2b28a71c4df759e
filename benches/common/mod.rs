//! Small frames, for benches.

use encap::wire::{Mac, checksum, ethernet, ipv4, protocol, udp};
use std::net::Ipv4Addr;

/// A packet in an Ethernet frame.
pub(crate) fn framed(dst: Mac, src: Mac, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::LEN];
    ethernet::Header { dst, src, ethertype: ethernet::ethertype::IPV4 }.emit(&mut bytes);
    bytes.extend_from_slice(packet);
    bytes
}

/// What 64 bytes on a wire hold of IPv4, from port 1024 to `port`.
pub(crate) fn datagram(src: Ipv4Addr, dst: Ipv4Addr, port: u16) -> Vec<u8> {
    const LEN: usize = 46;
    let mut bytes = vec![0; LEN];
    ipv4::Header {
        tos: 0,
        total_len: LEN as u16,
        ident: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: protocol::UDP,
        src,
        dst,
    }
    .emit(&mut bytes);
    let length = (LEN - ipv4::LEN) as u16;
    udp::Header { src_port: 1024, dst_port: port, length, checksum: 0 }
        .emit(&mut bytes[ipv4::LEN..]);
    let pseudo = checksum::pseudo_v4(src, dst, protocol::UDP, length.into());
    let mut sum = checksum::Sum::new(pseudo);
    sum.add(&bytes[ipv4::LEN..]);
    udp::set_checksum(&mut bytes[ipv4::LEN..], checksum::nonzero(sum.finish()));
    bytes
}
