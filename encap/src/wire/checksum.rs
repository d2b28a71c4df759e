//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *partial sum* is a `u32` of 16-bit words in host order added without complement; partial sums
//! are added with `+` and end in [`finish`] (complemented: what a field carries) or [`fold`] (not
//! complemented: what the kernel leaves in a field that is still to be completed).
//!
//! One's complement addition does not care for byte order (RFC 1071 §2.B), so [`sum`] adds words
//! as the machine has them, eight bytes at a time, and swaps once at the end.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The partial sum of `bytes`, at most `0xffff`; of an odd number a zero byte is thought behind.
///
/// It is zero only when all bytes are.
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    // Independent lanes, so that the compiler can use vector registers.
    const LANES: usize = 4;
    let mut lanes = [0u64; LANES];
    let (blocks, tail) = bytes.as_chunks::<{ 4 * LANES }>();
    // A lane takes 2^32 words, far more than a slice of a packet has.
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, rest) = tail.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 32) + (total & 0xffff_ffff);
    u32::from(u16::from_be(fold(total as u32)))
}

/// A partial sum as 16 bits, carries added back; zero only when `partial` is.
#[inline]
pub fn fold(partial: u32) -> u16 {
    let partial = (partial >> 16) + (partial & 0xffff);
    ((partial >> 16) + (partial & 0xffff)) as u16
}

/// The checksum: the complement of the folded sum.
///
/// Over bytes that include a right checksum it is zero.
#[inline]
pub fn finish(partial: u32) -> u16 {
    !fold(partial)
}

/// The checksum of `bytes`.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    finish(sum(bytes))
}

/// A computed UDP checksum as its field carries it: zero there means "none", so zero is sent as
/// `0xffff` (RFC 768).
#[inline]
pub fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The sum over slices that follow each other, each of any length, odd ones too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    partial: u32,
    odd: bool,
}

impl Sum {
    /// Starts from a partial sum, such as a pseudo-header's.
    pub fn new(partial: u32) -> Sum {
        Sum { partial, odd: false }
    }

    /// Adds the next bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let mut partial = sum(bytes);
        if self.odd {
            // The slice begins with the second byte of a word: RFC 1071 §2.B.
            partial = u32::from((partial as u16).swap_bytes());
        }
        self.partial = u32::from(fold(self.partial)) + partial;
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The sum of all, folded.
    #[inline]
    pub fn fold(self) -> u16 {
        fold(self.partial)
    }

    /// The checksum of all.
    #[inline]
    pub fn finish(self) -> u16 {
        finish(self.partial)
    }
}

/// The partial sum of a pseudo-header for IPv4 (RFC 9293 §3.1, RFC 768); `len` counts the bytes
/// from the transport header on.
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u32) -> u32 {
    halves(src.to_bits()) + halves(dst.to_bits()) + u32::from(protocol) + halves(len)
}

/// The partial sum of a pseudo-header for IPv6 (RFC 8200 §8.1); `len` counts the bytes from the
/// upper-layer header on.
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> u32 {
    sum(&src.octets()) + sum(&dst.octets()) + u32::from(protocol) + halves(len)
}

/// `checksum`, its covered 16-bit word `old` being replaced by `new`: RFC 1624 §3, equation 3.
#[inline]
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    finish(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}

/// As [`update16`] for two words at an even place, an IPv4 address say.
#[inline]
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    finish(u32::from(!checksum) + halves(!old) + halves(new))
}

/// The two words of a `u32`, added.
#[inline]
fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}
