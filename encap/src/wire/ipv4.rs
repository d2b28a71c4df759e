//! IPv4, RFC 791.

use super::{Error, checksum, get16, get32, put16};
use std::net::Ipv4Addr;

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Version and header length in 4-byte words, four bits each.
    pub const VERSION_IHL: usize = 0;
    /// DSCP (six bits, RFC 2474) and ECN (two bits, RFC 3168).
    pub const TOS: usize = 1;
    /// Length of header and payload.
    pub const TOTAL_LEN: Range<usize> = 2..4;
    /// Identification.
    pub const IDENT: Range<usize> = 4..6;
    /// Flags (three bits) and fragment offset.
    pub const FRAGMENT: Range<usize> = 6..8;
    /// Time to live.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: Range<usize> = 10..12;
    /// Source address.
    pub const SRC: Range<usize> = 12..16;
    /// Destination address.
    pub const DST: Range<usize> = 16..20;
}

/// Types of option (IANA "IP Option Numbers") that are known here.
pub mod option {
    /// Ends the list.
    pub const END: u8 = 0;
    /// A single byte of padding.
    pub const NOP: u8 = 1;
    /// Loose source and record route.
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    /// Strict source and record route.
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    /// The bit of a type that says: all fragments have the option, not the first one alone.
    pub const COPIED: u8 = 0x80;
}

/// Bytes of a header without options.
pub const LEN: usize = 20;
/// Bytes of the longest header.
pub const LONGEST: usize = 60;
/// "Don't fragment" in the fragment word.
pub const DF: u16 = 0x4000;
/// "More fragments" in the fragment word.
pub const MF: u16 = 0x2000;
/// The offset in the fragment word, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// The bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks version, header length and total length; bytes behind the total length are padding
    /// and ignored. The checksum has a check of its own: [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Version`], [`Error::HeaderLength`], [`Error::TotalLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        View::of_head(bytes, bytes.len())
    }

    /// As [`new`](Self::new) when `head` holds only the first of the packet's `len` bytes, among
    /// them the whole header.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[inline]
    pub fn of_head(head: &'a [u8], len: usize) -> Result<View<'a>, Error> {
        let header: &[u8; LEN] = head.first_chunk().ok_or(Error::Truncated)?;
        if header[field::VERSION_IHL] >> 4 != 4 {
            return Err(Error::Version);
        }
        let header_len = usize::from(header[field::VERSION_IHL] & 0xf) * 4;
        if header_len < LEN {
            return Err(Error::HeaderLength);
        }
        if header_len > head.len() {
            return Err(Error::Truncated);
        }
        let total_len = usize::from(get16(header, field::TOTAL_LEN));
        if total_len < header_len || total_len > len {
            return Err(Error::TotalLength);
        }
        Ok(View { bytes: &head[..total_len.min(head.len())], header })
    }

    /// Bytes of the header, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header[field::VERSION_IHL] & 0xf) * 4
    }

    /// DSCP and ECN.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.header[field::TOS]
    }

    /// Bytes of header and payload.
    #[inline]
    pub fn total_len(&self) -> u16 {
        get16(self.header, field::TOTAL_LEN)
    }

    /// Identification.
    #[inline]
    pub fn ident(&self) -> u16 {
        get16(self.header, field::IDENT)
    }

    /// Routers must not fragment it.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        get16(self.header, field::FRAGMENT) & DF != 0
    }

    /// Fragments follow.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        get16(self.header, field::FRAGMENT) & MF != 0
    }

    /// Where the payload stands in the unfragmented packet's, in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (get16(self.header, field::FRAGMENT) & OFFSET) * 8
    }

    /// Not a whole packet, be it the first piece or a later one.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        get16(self.header, field::FRAGMENT) & (MF | OFFSET) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[field::TTL]
    }

    /// What the payload is: a number of [`protocol`](super::protocol).
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.header[field::PROTOCOL]
    }

    /// Header checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        get16(self.header, field::CHECKSUM)
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(get32(self.header, field::SRC))
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(get32(self.header, field::DST))
    }

    /// The header checksum matches.
    #[inline]
    pub fn verify(&self) -> bool {
        let partial = match self.header_len() {
            // Of a known length the compiler unrolls it.
            LEN => checksum::sum(self.header),
            len => checksum::sum(&self.bytes[..len]),
        };
        checksum::finish(partial) == 0
    }

    /// The options up to the end of the list. One that is malformed ends it, as an `Err`.
    pub fn options(&self) -> Options<'a> {
        Options { bytes: &self.bytes[LEN..self.header_len()] }
    }

    /// Has a source route option, or options that can't be read: what a router with a mind for
    /// security drops (RFC 7126 §4.3).
    #[inline]
    pub fn is_source_routed(&self) -> bool {
        self.header_len() != LEN
            && self.options().any(|option| match option {
                Ok(o) => {
                    matches!(o.kind, option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE)
                }
                Err(_) => true,
            })
    }

    /// What stands behind the header up to the total length, as much of it as is in the bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }

    /// Writes the header that fragments of the packet have, all but the first: of the options those
    /// that are copied (RFC 791 §3.1), and zeros up to a whole word. Returns its length. Total length,
    /// fragment word and checksum are not right before [`set_fragment`] has made them so.
    pub fn later_header(&self, room: &mut [u8; LONGEST]) -> usize {
        room[..LEN].copy_from_slice(self.header);
        let mut len = LEN;
        let copied = |option: &Opt<'_>| option.kind & option::COPIED != 0;
        for Opt { kind, data } in self.options().map_while(Result::ok).filter(copied) {
            let end = len + 2 + data.len();
            room[len] = kind;
            room[len + 1] = (end - len) as u8;
            room[len + 2..end].copy_from_slice(data);
            len = end;
        }
        let end = len.next_multiple_of(4);
        room[len..end].fill(option::END);
        room[field::VERSION_IHL] = 0x40 | (end / 4) as u8;
        end
    }
}

/// What most packets are, read in one look: no options, no fragment, four bytes at least behind the
/// header, lengths and checksum right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Bytes of header and payload.
    pub total_len: u16,
    /// What the payload is.
    pub protocol: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// The first four bytes of the payload: of most protocols source and destination port.
    pub ports: u32,
}

impl Plain {
    /// Reads the head of a packet of at most `len` bytes. `None` says only that it is not plain: a
    /// [`View`] tells what it is, or what is wrong with it.
    #[inline]
    pub fn read(head: &[u8; LEN + 4], len: usize) -> Option<Plain> {
        // Version and header length, and what of the fragment word is zero, at their places.
        const MASK: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
        const { assert!(MF | OFFSET == 0x3fff) };
        let ([a, b, c], _) = head.as_chunks::<8>() else { return None };
        // As the bytes stand: a sum does not care for their order, and the rest is quickly turned.
        let [a, b, c] = [a, b, c].map(|word| u64::from_le_bytes(*word));
        let total_len = (a >> 16) as u16;
        let total_len = total_len.swap_bytes();
        let is_plain = a & MASK == 0x45
            && usize::from(total_len) >= LEN + 4
            && usize::from(total_len) <= len
            && checksum::fold(ones(a, b, c as u32)) == 0xffff;
        is_plain.then_some(Plain {
            total_len,
            protocol: (b >> 8) as u8,
            src: Ipv4Addr::from(((b >> 32) as u32).to_le_bytes()),
            dst: Ipv4Addr::from((c as u32).to_le_bytes()),
            ports: ((c >> 32) as u32).swap_bytes(),
        })
    }
}

/// The one's complement sum of the five words of a header, as 32 bits.
#[inline(always)]
fn ones(a: u64, b: u64, c: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    let (sum, again) = sum.overflowing_add(u64::from(c) + u64::from(carry));
    let sum = sum + u64::from(again);
    (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Its type, a number of [`option`].
    pub kind: u8,
    /// What stands behind its type and length.
    pub data: &'a [u8],
}

/// Iterates over options; padding is skipped.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<Opt<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let bytes = std::mem::take(&mut self.bytes);
            let (&kind, rest) = bytes.split_first()?;
            match kind {
                option::END => return None,
                option::NOP => self.bytes = rest,
                _ => {
                    // The length counts the type and itself.
                    let len = rest.first().map_or(0, |&len| usize::from(len));
                    let Some(data) = bytes.get(2..len) else {
                        return Some(Err(Error::HeaderLength));
                    };
                    self.bytes = &bytes[len..];
                    return Some(Ok(Opt { kind, data }));
                }
            }
        }
    }
}

/// A header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload, at least 20.
    pub total_len: u16,
    /// Identification.
    pub ident: u16,
    /// Routers must not fragment it.
    pub dont_fragment: bool,
    /// Fragments follow.
    pub more_fragments: bool,
    /// Where the payload stands in the unfragmented packet's, in bytes: a multiple of eight.
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is: a number of [`protocol`](super::protocol).
    pub protocol: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads the header of a whole packet.
    ///
    /// # Errors
    /// As [`View::new`]; [`Error::HeaderLength`] also when there are options, which a `Header`
    /// can't hold; [`Error::Checksum`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        if view.header_len() != LEN {
            return Err(Error::HeaderLength);
        }
        if !view.verify() {
            return Err(Error::Checksum);
        }
        Ok(Header {
            tos: view.tos(),
            total_len: view.total_len(),
            ident: view.ident(),
            dont_fragment: view.dont_fragment(),
            more_fragments: view.more_fragments(),
            fragment_offset: view.fragment_offset(),
            ttl: view.ttl(),
            protocol: view.protocol(),
            src: view.src(),
            dst: view.dst(),
        })
    }

    /// Writes the first 20 of `bytes`, the checksum included.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..LEN];
        bytes[field::VERSION_IHL] = 0x45;
        bytes[field::TOS] = self.tos;
        put16(bytes, field::TOTAL_LEN, self.total_len);
        put16(bytes, field::IDENT, self.ident);
        let flags = if self.dont_fragment { DF } else { 0 };
        let flags = if self.more_fragments { flags | MF } else { flags };
        put16(bytes, field::FRAGMENT, flags | (self.fragment_offset / 8));
        bytes[field::TTL] = self.ttl;
        bytes[field::PROTOCOL] = self.protocol;
        put16(bytes, field::CHECKSUM, 0);
        bytes[field::SRC].copy_from_slice(&self.src.octets());
        bytes[field::DST].copy_from_slice(&self.dst.octets());
        put16(bytes, field::CHECKSUM, checksum::of(bytes));
    }
}

/// Source and destination address of a header.
#[inline]
pub fn addresses(header: &[u8; LEN]) -> (Ipv4Addr, Ipv4Addr) {
    let (src, dst) = (get32(header, field::SRC), get32(header, field::DST));
    (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst))
}

/// Takes one from the time to live of a header, and mends the checksum (RFC 1624). A TTL of zero is the
/// caller's to refuse: it wraps, and the checksum is not right then.
#[inline]
pub fn decrement_ttl(header: &mut [u8; LEN]) {
    header[field::TTL] = header[field::TTL].wrapping_sub(1);
    // The word that holds the TTL is less by 0x0100, so its complement's complement is more by that;
    // of the two zeros the one that equation 3 gives.
    let sum = u32::from(get16(header, field::CHECKSUM)) + 0x0100;
    let sum = sum + u32::from(sum >= 0xffff);
    put16(header, field::CHECKSUM, sum as u16);
}

/// Writes the time to live of a packet, and mends the header checksum.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_ttl(packet: &mut [u8], ttl: u8) {
    let header = &mut packet[..LEN];
    let old = get16(header, field::TTL..field::PROTOCOL + 1);
    header[field::TTL] = ttl;
    mend(header, old, u16::from(ttl) << 8 | old & 0x00ff);
}

/// Writes DSCP and ECN of a packet, and mends the header checksum.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) {
    let header = &mut packet[..LEN];
    let old = get16(header, field::VERSION_IHL..field::TOS + 1);
    header[field::TOS] = tos;
    mend(header, old, old & 0xff00 | u16::from(tos));
}

/// Writes the total length of a packet, and mends the header checksum.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_total_len(packet: &mut [u8], total_len: u16) {
    let header = &mut packet[..LEN];
    let old = get16(header, field::TOTAL_LEN);
    put16(header, field::TOTAL_LEN, total_len);
    mend(header, old, total_len);
}

/// Writes the identification of a packet, and mends the header checksum.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_ident(packet: &mut [u8], ident: u16) {
    let header = &mut packet[..LEN];
    let old = get16(header, field::IDENT);
    put16(header, field::IDENT, ident);
    mend(header, old, ident);
}

/// Lets others fragment the packet.
///
/// # Panics
/// When `packet` is shorter than a header.
pub fn clear_dont_fragment(packet: &mut [u8]) {
    let header = &mut packet[..LEN];
    let old = get16(header, field::FRAGMENT);
    put16(header, field::FRAGMENT, old & !DF);
    mend(header, old, old & !DF);
}

/// Makes a packet of `total_len` bytes a fragment: one whose payload stands `offset` bytes (a multiple of
/// eight) into the whole packet's, and which `more` follow. The header checksum is computed anew.
///
/// # Panics
/// When `packet` is shorter than its header.
pub fn set_fragment(packet: &mut [u8], total_len: u16, offset: u16, more: bool) {
    let header_len = usize::from(packet[field::VERSION_IHL] & 0xf) * 4;
    let header = &mut packet[..header_len];
    let flags = get16(header, field::FRAGMENT) & !(MF | OFFSET);
    let flags = if more { flags | MF } else { flags };
    put16(header, field::FRAGMENT, flags | (offset / 8));
    put16(header, field::TOTAL_LEN, total_len);
    put16(header, field::CHECKSUM, 0);
    let sum = checksum::of(header);
    put16(header, field::CHECKSUM, sum);
}

/// Follows the change of one word in the header checksum.
#[inline]
fn mend(header: &mut [u8], old: u16, new: u16) {
    let sum = checksum::update16(get16(header, field::CHECKSUM), old, new);
    put16(header, field::CHECKSUM, sum);
}
