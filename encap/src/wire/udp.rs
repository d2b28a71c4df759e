//! UDP, RFC 768.

use super::{Error, checksum, get16, protocol, put16};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Source port.
    pub const SRC_PORT: Range<usize> = 0..2;
    /// Destination port.
    pub const DST_PORT: Range<usize> = 2..4;
    /// Length of header and payload.
    pub const LENGTH: Range<usize> = 4..6;
    /// Checksum.
    pub const CHECKSUM: Range<usize> = 6..8;
}

/// Bytes of a header.
pub const LEN: usize = 8;

/// The bytes of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks the length field against the bytes; bytes behind it are ignored.
    ///
    /// A length of zero, which RFC 2675 gives to datagrams of more than 65,535 bytes, is refused:
    /// jumbograms are not supported. Of a super-frame the length is that of the whole.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::TotalLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        View::of_head(bytes, bytes.len())
    }

    /// As [`new`](Self::new) when `head` holds only the first of the `len` bytes that there are.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[inline]
    pub fn of_head(head: &'a [u8], len: usize) -> Result<View<'a>, Error> {
        let header: &[u8; LEN] = head.first_chunk().ok_or(Error::Truncated)?;
        let length = usize::from(get16(header, field::LENGTH));
        if length < LEN || length > len {
            return Err(Error::TotalLength);
        }
        Ok(View { bytes: &head[..length.min(head.len())], header })
    }

    /// Source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        get16(self.header, field::SRC_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        get16(self.header, field::DST_PORT)
    }

    /// Bytes of header and payload.
    #[inline]
    pub fn length(&self) -> u16 {
        get16(self.header, field::LENGTH)
    }

    /// The checksum field; zero is "none".
    #[inline]
    pub fn checksum(&self) -> u16 {
        get16(self.header, field::CHECKSUM)
    }

    /// The payload, as much of it as is in the bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }

    /// The checksum matches or is absent; meaningful when the view holds the whole datagram.
    pub fn verify_v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let pseudo = checksum::pseudo_v4(src, dst, protocol::UDP, u32::from(self.length()));
        self.checksum() == 0 || checksum::finish(pseudo + checksum::sum(self.bytes)) == 0
    }

    /// The checksum matches or is absent (the caller knows whether RFC 6935 allows that);
    /// meaningful when the view holds the whole datagram.
    pub fn verify_v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let pseudo = checksum::pseudo_v6(src, dst, protocol::UDP, u32::from(self.length()));
        self.checksum() == 0 || checksum::finish(pseudo + checksum::sum(self.bytes)) == 0
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes of header and payload, at least 8.
    pub length: u16,
    /// The checksum field as it is on the wire; it is neither computed nor verified here.
    pub checksum: u16,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads the header of a whole datagram.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        Ok(Header {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            length: view.length(),
            checksum: view.checksum(),
        })
    }

    /// Writes the first 8 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..LEN];
        put16(bytes, field::SRC_PORT, self.src_port);
        put16(bytes, field::DST_PORT, self.dst_port);
        put16(bytes, field::LENGTH, self.length);
        put16(bytes, field::CHECKSUM, self.checksum);
    }
}

/// Writes the length field of a datagram.
///
/// # Panics
/// When `datagram` is shorter than a header.
#[inline]
pub fn set_length(datagram: &mut [u8], length: u16) {
    put16(datagram, field::LENGTH, length);
}

/// Writes the checksum field of a datagram.
///
/// # Panics
/// When `datagram` is shorter than a header.
#[inline]
pub fn set_checksum(datagram: &mut [u8], checksum: u16) {
    put16(datagram, field::CHECKSUM, checksum);
}
