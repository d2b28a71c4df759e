//! Wire formats, one file a protocol.
//!
//! Each protocol has a *view* and a *header*:
//!
//! * `View<'a>` is checked bytes. `View::new` does every check that the accessors rely on, so that
//!   they cannot fail; they return values in host byte order.
//! * `Header` is a validated value, good for making packets: `parse(emit(header)) == header`.
//!
//! What the fast path rewrites in place (a TTL, a length, a traffic class) is a free function
//! `set_…` over the bytes of a packet that a view has been made of before. These and `emit` panic
//! when their buffer is shorter than they say; nothing that parses ever does.
//!
//! The pipeline keeps a long packet in a chain of chunks with all its headers in the first. A view
//! whose protocol carries a length has therefore a second constructor, `View::of_head`, that is
//! told how long the whole packet is.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
mod mac;
pub mod ndp;
pub mod tcp;
pub mod udp;

pub use mac::{Mac, MacError};

use std::ops::Range;

/// Why bytes are not what they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The bytes end within the header.
    #[error("the bytes end within the header")]
    Truncated,
    /// The version (IP) or the kind of address (ARP) is another.
    #[error("the version is another")]
    Version,
    /// The header's own length is less than the protocol's minimum, or more than is there.
    #[error("the header's length field is not valid")]
    HeaderLength,
    /// The packet's length field is less than its header, or more than is there.
    #[error("the packet's length field is not valid")]
    TotalLength,
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// An IPv6 packet has more extension headers than [`ipv6::MAX_EXTENSION_HEADERS`].
    #[error("too many extension headers")]
    ExtensionHeaders,
    /// A type or code is not one of those that are read here.
    #[error("the message is of another type")]
    Type,
}

/// Numbers of the IP `protocol` and `next header` fields (IANA "Protocol Numbers").
pub mod protocol {
    /// IPv6 Hop-by-Hop Options, RFC 8200 §4.3.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4, RFC 792.
    pub const ICMPV4: u8 = 1;
    /// IPv4 within IP, RFC 2003.
    pub const IPIP: u8 = 4;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// IPv6 within IP, RFC 2473 and RFC 4213.
    pub const IPV6: u8 = 41;
    /// IPv6 Routing header, RFC 8200 §4.4.
    pub const ROUTING: u8 = 43;
    /// IPv6 Fragment header, RFC 8200 §4.5.
    pub const FRAGMENT: u8 = 44;
    /// GRE, RFC 2784.
    pub const GRE: u8 = 47;
    /// Encapsulating Security Payload, RFC 4303.
    pub const ESP: u8 = 50;
    /// Authentication Header, RFC 4302.
    pub const AH: u8 = 51;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// IPv6 No Next Header, RFC 8200 §4.7.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 Destination Options, RFC 8200 §4.6.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;
}

/// Two bytes in network order.
#[inline(always)]
fn get16(bytes: &[u8], at: Range<usize>) -> u16 {
    u16::from_be_bytes([bytes[at.start], bytes[at.start + 1]])
}

/// Four bytes in network order.
#[inline(always)]
fn get32(bytes: &[u8], at: Range<usize>) -> u32 {
    let at = at.start;
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes two bytes in network order.
#[inline(always)]
fn put16(bytes: &mut [u8], at: Range<usize>, value: u16) {
    bytes[at].copy_from_slice(&value.to_be_bytes());
}

/// Writes four bytes in network order.
#[inline(always)]
fn put32(bytes: &mut [u8], at: Range<usize>, value: u32) {
    bytes[at].copy_from_slice(&value.to_be_bytes());
}
