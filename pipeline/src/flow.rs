//! The flow hash: equal for all packets of a flow, spread over all 32 bits.
//!
//! Fragments are a flow by themselves, without ports, which only the first of them has: so all go one way.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Odd constants with well-mixed bits (the fractional parts of pi).
const K0: u64 = 0x243f_6a88_85a3_08d3;
const K1: u64 = 0x1319_8a2e_0370_7345;
const K2: u64 = 0xa409_3822_299f_31d1;

/// Multiplies to 128 bits and folds: one instruction that mixes every bit into every other.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Hash of an IPv4 flow; `ports` are source and destination as they stand in the packet, zero where
/// there are none.
#[inline]
pub(crate) fn hash4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ports: u32) -> u32 {
    // In the order in which the bytes stand: no need to turn them.
    let bits = |address: Ipv4Addr| u64::from(u32::from_le_bytes(address.octets()));
    let addresses = bits(dst) << 32 | bits(src);
    let l4 = u64::from(protocol) << 32 | u64::from(ports);
    (mix(addresses ^ K0, l4 ^ K1) >> 32) as u32
}

/// Hash of an IPv6 flow; `ports` as for [`hash4`].
#[inline]
pub(crate) fn hash6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, ports: u32) -> u32 {
    let (src, dst) = (src.to_bits(), dst.to_bits());
    let l4 = u64::from(protocol) << 32 | u64::from(ports);
    let sources = mix(src as u64 ^ K0, (src >> 64) as u64 ^ K1);
    let destinations = mix(dst as u64 ^ K1, (dst >> 64) as u64 ^ K2);
    (mix(sources ^ l4, destinations ^ K0) >> 32) as u32
}
