//! IPv6 and its extension headers, RFC 8200.

use super::{Error, get16, get32, protocol, put16, put32};
use std::net::Ipv6Addr;

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Version (four bits), traffic class (eight) and flow label (twenty).
    pub const VERSION_CLASS_LABEL: Range<usize> = 0..4;
    /// Length of what stands behind the header.
    pub const PAYLOAD_LEN: Range<usize> = 4..6;
    /// What stands behind the header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SRC: Range<usize> = 8..24;
    /// Destination address.
    pub const DST: Range<usize> = 24..40;
}

/// Bytes of a header without extension headers.
pub const LEN: usize = 40;
/// The least that a link must carry, bytes (RFC 8200 §5).
pub const MIN_MTU: usize = 1280;
/// Bytes of a Fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Extension headers that are walked. RFC 8200 §4.1 asks senders to use each at most once, but for
/// two Destination Options: six; a packet with more than this many is not an honest one.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// The bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks version and payload length; bytes behind it are padding and ignored.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Version`], [`Error::TotalLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        View::of_head(bytes, bytes.len())
    }

    /// As [`new`](Self::new) when `head` holds only the first of the packet's `len` bytes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[inline]
    pub fn of_head(head: &'a [u8], len: usize) -> Result<View<'a>, Error> {
        let header: &[u8; LEN] = head.first_chunk().ok_or(Error::Truncated)?;
        if header[0] >> 4 != 6 {
            return Err(Error::Version);
        }
        let total_len = LEN + usize::from(get16(header, field::PAYLOAD_LEN));
        if total_len > len {
            return Err(Error::TotalLength);
        }
        Ok(View { bytes: &head[..total_len.min(head.len())], header })
    }

    /// DSCP (six bits) and ECN (two bits).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (get32(self.header, field::VERSION_CLASS_LABEL) >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        get32(self.header, field::VERSION_CLASS_LABEL) & 0x000f_ffff
    }

    /// Bytes behind the header, extension headers included.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        get16(self.header, field::PAYLOAD_LEN)
    }

    /// Bytes of header and payload.
    #[inline]
    pub fn total_len(&self) -> usize {
        LEN + usize::from(self.payload_len())
    }

    /// What stands behind the header, an extension header perhaps: a number of [`protocol`].
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.header[field::NEXT_HEADER]
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.header[field::HOP_LIMIT]
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        address(self.header, field::SRC.start)
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        address(self.header, field::DST.start)
    }

    /// What stands behind the header, as much of it as is in the bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }

    /// Walks the extension headers.
    ///
    /// # Errors
    /// [`Error::Truncated`] when they don't end within the bytes; [`Error::ExtensionHeaders`] when
    /// there are more than [`MAX_EXTENSION_HEADERS`].
    #[inline]
    pub fn upper_layer(&self) -> Result<UpperLayer, Error> {
        let upper = UpperLayer {
            protocol: self.next_header(),
            offset: LEN,
            fragment: None,
            source_routed: false,
        };
        if is_extension(upper.protocol) { walk(self.bytes, upper) } else { Ok(upper) }
    }
}

/// Where the extension headers of a packet end, and what they said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// The upper-layer protocol: a number of [`protocol`], [`protocol::NO_NEXT_HEADER`] too.
    ///
    /// Of a fragment that is not the first it is what the Fragment header names next, which is
    /// in the first one.
    pub protocol: u8,
    /// Where it begins, from the IPv6 header's first byte.
    pub offset: usize,
    /// The Fragment header.
    pub fragment: Option<Fragment>,
    /// There is a Routing header with segments left.
    pub source_routed: bool,
}

/// A Fragment header, RFC 8200 §4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What follows in the first fragment.
    pub next_header: u8,
    /// Where what follows stands in the fragmentable part, in bytes: a multiple of eight.
    pub offset: u16,
    /// Fragments follow.
    pub more: bool,
    /// Identification.
    pub ident: u32,
}

impl Fragment {
    /// Writes the first 8 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..FRAGMENT_LEN];
        bytes[..2].copy_from_slice(&[self.next_header, 0]);
        put16(bytes, 2..4, self.offset & 0xfff8 | u16::from(self.more));
        bytes[4..8].copy_from_slice(&self.ident.to_be_bytes());
    }

    /// The packet is whole all the same (RFC 6946).
    #[inline]
    pub fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Walks the extension headers of the packet in `bytes`.
///
/// # Errors
/// As [`View::new`] and [`View::upper_layer`].
pub fn upper_layer(bytes: &[u8]) -> Result<UpperLayer, Error> {
    View::new(bytes)?.upper_layer()
}

/// The ones that can be walked: ESP can't, for all behind it is encrypted.
#[inline]
fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AH
            | protocol::DESTINATION_OPTIONS
    )
}

/// Out of line: few packets have extension headers.
#[cold]
fn walk(bytes: &[u8], mut upper: UpperLayer) -> Result<UpperLayer, Error> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        // Next header, length, and six bytes that differ; every one has at least these eight.
        let header: &[u8; 8] =
            bytes.get(upper.offset..).and_then(<[u8]>::first_chunk).ok_or(Error::Truncated)?;
        let length = usize::from(header[1]);
        let len = match upper.protocol {
            protocol::FRAGMENT => FRAGMENT_LEN,
            // RFC 4302 §2.2: in 4-byte words, minus two.
            protocol::AH => (length + 2) * 4,
            // RFC 8200 §4: in 8-byte words, the first not counted.
            _ => (length + 1) * 8,
        };
        if upper.protocol == protocol::ROUTING && header[3] != 0 {
            upper.source_routed = true;
        }
        if upper.protocol == protocol::FRAGMENT {
            let word = get16(header, 2..4);
            let ident = get32(header, 4..8);
            let (next_header, offset, more) = (header[0], word & 0xfff8, word & 1 != 0);
            upper.fragment = Some(Fragment { next_header, offset, more, ident });
        }
        upper.protocol = header[0];
        upper.offset += len;
        if upper.offset > bytes.len() {
            return Err(Error::Truncated);
        }
        let later_fragment = upper.fragment.is_some_and(|f| f.offset != 0);
        if later_fragment || !is_extension(upper.protocol) {
            return Ok(upper);
        }
    }
    Err(Error::ExtensionHeaders)
}

/// A header without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label; its lower 20 bits count.
    pub flow_label: u32,
    /// Bytes behind the header.
    pub payload_len: u16,
    /// What stands behind the header: a number of [`protocol`].
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads the header of a whole packet.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        Ok(Header {
            traffic_class: view.traffic_class(),
            flow_label: view.flow_label(),
            payload_len: view.payload_len(),
            next_header: view.next_header(),
            hop_limit: view.hop_limit(),
            src: view.src(),
            dst: view.dst(),
        })
    }

    /// Writes the first 40 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..LEN];
        let label = self.flow_label & 0x000f_ffff;
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | label;
        put32(bytes, field::VERSION_CLASS_LABEL, word);
        put16(bytes, field::PAYLOAD_LEN, self.payload_len);
        bytes[field::NEXT_HEADER] = self.next_header;
        bytes[field::HOP_LIMIT] = self.hop_limit;
        bytes[field::SRC].copy_from_slice(&self.src.octets());
        bytes[field::DST].copy_from_slice(&self.dst.octets());
    }
}

/// Source and destination address of a header.
#[inline]
pub fn addresses(header: &[u8; LEN]) -> (Ipv6Addr, Ipv6Addr) {
    (address(header, field::SRC.start), address(header, field::DST.start))
}

/// Takes one from the hop limit of a packet.
///
/// # Panics
/// When `packet` is shorter than a header. A hop limit of zero is the caller's to refuse: it wraps.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) {
    packet[field::HOP_LIMIT] = packet[field::HOP_LIMIT].wrapping_sub(1);
}

/// Writes the traffic class of a packet: DSCP and ECN.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_traffic_class(packet: &mut [u8], class: u8) {
    let old = get32(packet, field::VERSION_CLASS_LABEL);
    put32(packet, field::VERSION_CLASS_LABEL, old & 0xf00f_ffff | u32::from(class) << 20);
}

/// Writes the traffic class of a packet, and its flow label: of `label` the lower twenty bits.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_class_label(packet: &mut [u8], class: u8, label: u32) {
    let word = 6 << 28 | u32::from(class) << 20 | label & 0x000f_ffff;
    put32(packet, field::VERSION_CLASS_LABEL, word);
}

/// Writes the payload length of a packet.
///
/// # Panics
/// When `packet` is shorter than a header.
#[inline]
pub fn set_payload_len(packet: &mut [u8], payload_len: u16) {
    put16(packet, field::PAYLOAD_LEN, payload_len);
}

#[inline(always)]
fn address(header: &[u8; LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets)
}
