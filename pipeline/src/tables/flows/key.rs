//! What tells one flow from another: the same for both of its directions.

use crate::flow::mix;
use encap::wire::{icmpv4, icmpv6, protocol};
use std::net::{IpAddr, Ipv6Addr};

/// Which of a key's two ends a packet comes from.
///
/// Ends stand in a key in the order of their addresses and ports, not in that of who spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one with the lesser address, or port.
    First,
    /// The other.
    Second,
}

/// The two ends of a flow, and its protocol: 40 bytes, compared as five words.
///
/// ```text
///   address of the first end │ address of the second end │ numbers  protocol  kind  family
///             128            │            128            │    32        8       3     1
/// ```
/// IPv4 addresses are written as IPv6 has them (`::ffff:a.b.c.d`); the family keeps the two apart all
/// the same, since such addresses may come in IPv6 packets too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) [u64; 5]);

/// What a key's numbers are, and for what asks and is answered: who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The ports of the first and the second end.
    Ports,
    /// Type and identifier of the query that this side makes.
    Query(Side),
    /// The identification of a datagram that this side sends in fragments.
    Datagram(Side),
}

const PROTOCOL: u32 = 32;
const KIND: u32 = 40;
const FAMILY: u32 = 43;

impl Key {
    /// Of a packet with ports, or of a protocol that has none (zeros), and the side that sends it. Both addresses
    /// are of one family.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: u8, sport: u16, dport: u16) -> (Key, Side) {
        let ports = u32::from(sport) << 16 | u32::from(dport);
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Key::v4(src.to_bits(), dst.to_bits(), protocol, ports)
            }
            _ => Key::v6(mapped(src), mapped(dst), protocol, ports),
        }
    }

    /// The same of an IPv4 packet, in its own words: of `ports` the upper half is the source's.
    #[inline]
    pub fn v4(src: u32, dst: u32, protocol: u8, ports: u32) -> (Key, Side) {
        let (from, to) = (
            u64::from(src) << 16 | u64::from(ports >> 16),
            u64::from(dst) << 16 | u64::from(ports & 0xffff),
        );
        let (side, first, second, ports) = match from <= to {
            true => (Side::First, src, dst, ports),
            false => (Side::Second, dst, src, ports.rotate_left(16)),
        };
        let (first, second) = (V4_MAPPED | u128::from(first), V4_MAPPED | u128::from(second));
        (Key::pack(first, second, ports, protocol, Kind::Ports, true), side)
    }

    /// The same of an IPv6 packet.
    #[inline]
    pub fn v6(src: u128, dst: u128, protocol: u8, ports: u32) -> (Key, Side) {
        let (side, first, second, ports) = match (src, ports >> 16) <= (dst, ports & 0xffff) {
            true => (Side::First, src, dst, ports),
            false => (Side::Second, dst, src, ports.rotate_left(16)),
        };
        (Key::pack(first, second, ports, protocol, Kind::Ports, false), side)
    }

    /// Of an ICMP or ICMPv6 packet of this type, if that is a query or its reply; `identifier` is the
    /// number that the two have in common.
    ///
    /// The key names the side that asks: who was asked once may answer, but to ask itself, with
    /// the same identifier, is another flow.
    #[inline]
    pub fn query(
        src: IpAddr,
        dst: IpAddr,
        protocol: u8,
        icmp_type: u8,
        identifier: u16,
    ) -> Option<(Key, Side)> {
        let (query, is_reply) = query(protocol, icmp_type)?;
        let (from, to) = (mapped(src), mapped(dst));
        let (first, second, side) = in_order(from, to);
        let asks = if is_reply { side.other() } else { side };
        let numbers = u32::from(query) << 16 | u32::from(identifier);
        let kind = Kind::Query(asks);
        Some((Key::pack(first, second, numbers, protocol, kind, src.is_ipv4()), side))
    }

    /// The type of the query that an ICMP type is, or replies to.
    pub fn asked(protocol: u8, icmp_type: u8) -> Option<u8> {
        query(protocol, icmp_type).map(|(query, _)| query)
    }

    /// Of a datagram that comes in fragments. `protocol` is that of IPv4's header; for IPv6, where the
    /// identification alone stands for it (RFC 8200 §4.5), any number that is always the same.
    #[inline]
    pub fn datagram(src: IpAddr, dst: IpAddr, protocol: u8, identification: u32) -> (Key, Side) {
        let (first, second, side) = in_order(mapped(src), mapped(dst));
        let kind = Kind::Datagram(side);
        (Key::pack(first, second, identification, protocol, kind, src.is_ipv4()), side)
    }

    #[inline]
    fn pack(a: u128, b: u128, numbers: u32, protocol: u8, kind: Kind, is_v4: bool) -> Key {
        let rest = u64::from(is_v4) << FAMILY | kind.bits() << KIND;
        let rest = rest | u64::from(protocol) << PROTOCOL | u64::from(numbers);
        Key([(a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64, rest])
    }

    /// The protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        (self.0[4] >> PROTOCOL) as u8
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        Kind::of_bits(self.0[4] >> KIND & 7)
    }

    /// The 32 bits whose meaning [`kind`](Self::kind) tells.
    pub(super) fn numbers(&self) -> u32 {
        self.0[4] as u32
    }

    /// The addresses of the two ends.
    pub(super) fn addresses(&self) -> (IpAddr, IpAddr) {
        let [a, b, c, d, rest] = self.0;
        let address = |high: u64, low: u64| match rest >> FAMILY & 1 {
            0 => Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
            _ => std::net::Ipv4Addr::from_bits(low as u32).into(),
        };
        (address(a, b), address(c, d))
    }
}

impl Side {
    /// The other one.
    #[inline]
    pub fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }

    #[inline]
    pub(super) fn bit(self) -> u64 {
        u64::from(self == Side::Second)
    }

    #[inline]
    pub(super) fn of_bit(bit: u64) -> Side {
        if bit & 1 == 0 { Side::First } else { Side::Second }
    }
}

impl Kind {
    #[inline]
    fn bits(self) -> u64 {
        match self {
            Kind::Ports => 0,
            Kind::Query(side) => 2 | side.bit(),
            Kind::Datagram(side) => 4 | side.bit(),
        }
    }

    #[inline]
    fn of_bits(bits: u64) -> Kind {
        match bits >> 1 {
            0 => Kind::Ports,
            1 => Kind::Query(Side::of_bit(bits)),
            _ => Kind::Datagram(Side::of_bit(bits)),
        }
    }
}

/// The hash of keys, for those who know its secret: nobody else can tell which flows meet in a
/// bucket.
#[derive(Clone, Copy)]
pub(super) struct Secret([u64; 5]);

impl Secret {
    pub(super) fn new(seed: u64) -> Secret {
        // Weyl's sequence, each number mixed with one that is fixed.
        let word = |i: u64| mix(seed.wrapping_add(i.wrapping_mul(GOLDEN)) ^ GOLDEN, MIXER);
        Secret([1, 2, 3, 4, 5].map(word))
    }

    #[inline]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        let ([a, b, c, d, rest], k) = (key.0, self.0);
        let first = mix(a ^ k[0], b ^ k[1]);
        let second = mix(c ^ k[2], d ^ k[3]);
        mix(first ^ rest, second ^ k[4])
    }
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Odd, with well-mixed bits.
const MIXER: u64 = 0xd1b5_4a32_d192_ed03;

#[inline]
fn in_order(from: u128, to: u128) -> (u128, u128, Side) {
    if from <= to { (from, to, Side::First) } else { (to, from, Side::Second) }
}

/// What an IPv4-mapped IPv6 address begins with (RFC 4291 §2.5.5.2).
const V4_MAPPED: u128 = 0xffff << 32;

#[inline]
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => V4_MAPPED | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The type of the query that an ICMP type is, or replies to, and whether it replies.
#[inline]
fn query(protocol: u8, icmp_type: u8) -> Option<(u8, bool)> {
    match (protocol, icmp_type) {
        (protocol::ICMPV4, icmpv4::ECHO_REPLY) => Some((icmpv4::ECHO_REQUEST, true)),
        (protocol::ICMPV4, icmpv4::ECHO_REQUEST) => Some((icmpv4::ECHO_REQUEST, false)),
        (protocol::ICMPV4, TIMESTAMP) => Some((TIMESTAMP, false)),
        (protocol::ICMPV4, TIMESTAMP_REPLY) => Some((TIMESTAMP, true)),
        (protocol::ICMPV6, icmpv6::ECHO_REQUEST) => Some((icmpv6::ECHO_REQUEST, false)),
        (protocol::ICMPV6, icmpv6::ECHO_REPLY) => Some((icmpv6::ECHO_REQUEST, true)),
        _ => None,
    }
}

/// RFC 792, "Timestamp or Timestamp Reply Message".
const TIMESTAMP: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;
