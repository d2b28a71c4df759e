//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *partial sum* is a `u32` of 16-bit words in host order added without complement; partial sums
//! are added with `+` and end in [`finish`] (complemented: what a field carries) or [`fold`] (not
//! complemented: what the kernel leaves in a field that is still to be completed).
//!
//! One's complement addition does not care for byte order (RFC 1071 §2.B), so [`sum`] adds words
//! as the machine has them, several at a time, and swaps once at the end.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The partial sum of `bytes`, at most `0xffff`; of an odd number a zero byte is thought behind.
///
/// It is zero only when all bytes are.
#[inline]
pub fn sum(bytes: &[u8]) -> u32 {
    // Independent lanes, which the compiler puts in vector registers. A lane takes 2^32 words, far
    // more than a packet has.
    const LANES: usize = 8;
    let mut lanes = [0u64; LANES];
    let (blocks, rest) = bytes.as_chunks::<{ 4 * LANES }>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, mut rest) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    if let Some((word, last)) = rest.split_first_chunk::<2>() {
        total += u64::from(u16::from_ne_bytes(*word));
        rest = last;
    }
    if let [byte] = rest {
        total += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 32) + (total & 0xffff_ffff);
    u32::from(u16::from_be(fold(total as u32)))
}

/// A partial sum as 16 bits, carries added back; zero only when `partial` is.
#[inline]
pub fn fold(partial: u32) -> u16 {
    // The carry out of the lower half's sum is added to the upper half's.
    (partial.wrapping_add(partial.rotate_left(16)) >> 16) as u16
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// RFC 1071 §4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn full_words_do_not_overflow() {
        for len in [0, 1, 2, 3, 15, 16, 17, 1500, 65_535, 1 << 20] {
            let bytes = vec![0xff; len];
            assert_eq!(sum(&bytes), u32::from(naive(&bytes)), "{len} bytes");
        }
        assert_eq!(sum(&[0; 1500]), 0);
    }

    proptest! {
        #[test]
        fn sum_is_the_naive_one(bytes in vec(any::<u8>(), 0..300), skip in 0..8usize) {
            // From any alignment.
            let bytes = &bytes[skip.min(bytes.len())..];
            prop_assert_eq!(sum(bytes), u32::from(naive(bytes)));
            prop_assert_eq!(of(bytes), !naive(bytes));
        }

        #[test]
        fn slices_may_split_anywhere(slices in vec(vec(any::<u8>(), 0..40), 0..8)) {
            let mut sum = Sum::new(0);
            slices.iter().for_each(|slice| sum.add(slice));
            prop_assert_eq!(sum.fold(), naive(&slices.concat()));
            prop_assert_eq!(sum.finish(), !naive(&slices.concat()));
        }

        /// The update gives what a computation from scratch gives, in that very representation:
        /// RFC 1624 is about the case where RFC 1141 gave the other zero.
        #[test]
        fn update_is_a_fresh_sum(
            mut bytes in vec(any::<u8>(), 20), at in 0..9usize, word: u32,
        ) {
            bytes[0] |= 1; // As headers, not all zero before or after.
            let before = of(&bytes);
            let (at, long) = (at * 2 + 2, word);
            let old16 = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let mut changed = bytes.clone();
            changed[at..at + 2].copy_from_slice(&(word as u16).to_be_bytes());
            prop_assert_eq!(update16(before, old16, word as u16), of(&changed));

            let at = at.min(16);
            let old32 = u32::from_be_bytes(*bytes[at..].first_chunk().expect("four bytes"));
            bytes[at..at + 4].copy_from_slice(&long.to_be_bytes());
            prop_assert_eq!(update32(before, old32, long), of(&bytes));
        }

        #[test]
        fn pseudo_headers_are_their_bytes(a: [u8; 16], b: [u8; 16], protocol: u8, len: u32) {
            let v6 = [&a[..], &b, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
            let sum = pseudo_v6(a.into(), b.into(), protocol, len);
            prop_assert_eq!(fold(sum), naive(&v6));

            let [a, b] = [a, b].map(|x| [x[0], x[1], x[2], x[3]]);
            let v4 = [&a[..], &b, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
            prop_assert_eq!(fold(pseudo_v4(a.into(), b.into(), protocol, len)), naive(&v4));
        }
    }
}
