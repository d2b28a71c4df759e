//! Ethernet II frames, with 802.1Q and 802.1ad tags.
//!
//! ```text
//! +-----------------+-----------------+ [ 0x8100 | TCI ]* +-----------+---------
//! | destination (6) | source (6)      |  tags, 4 bytes a  | ethertype | payload
//! +-----------------+-----------------+  piece, two read  +-----------+---------
//! ```

use super::{Error, Mac, get16};

/// Offsets of the fields of an untagged header.
pub mod field {
    use std::ops::Range;
    /// Destination address.
    pub const DST: Range<usize> = 0..6;
    /// Source address.
    pub const SRC: Range<usize> = 6..12;
    /// Type of the payload, or of the first tag.
    pub const ETHERTYPE: Range<usize> = 12..14;
}

/// Numbers of the type field (IANA "IEEE 802 Numbers").
pub mod ethertype {
    /// IPv4, RFC 894.
    pub const IPV4: u16 = 0x0800;
    /// ARP, RFC 826.
    pub const ARP: u16 = 0x0806;
    /// A customer's VLAN tag, IEEE 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6, RFC 2464.
    pub const IPV6: u16 = 0x86dd;
    /// A provider's VLAN tag, IEEE 802.1ad ("QinQ").
    pub const QINQ: u16 = 0x88a8;
}

/// Bytes of a header without tags.
pub const LEN: usize = 14;
/// Bytes of a tag.
pub const TAG_LEN: usize = 4;
/// Tags that a view reads; a further one is left as ethertype and payload.
pub const MAX_TAGS: usize = 2;

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// [`ethertype::VLAN`] or [`ethertype::QINQ`].
    pub protocol: u16,
    /// Priority, drop eligibility and VLAN identifier: 3, 1 and 12 bits.
    pub tci: u16,
}

impl Tag {
    /// The VLAN, 0 to 4095; 0 is a priority tag that names none.
    #[inline]
    pub fn vlan(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[inline]
    pub fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }
}

/// The bytes of a frame, without preamble and frame check sequence.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
    header_len: usize,
}

impl<'a> View<'a> {
    /// Checks that the header is there with all tags that are read.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        let header = bytes.first_chunk().ok_or(Error::Truncated)?;
        let mut header_len = LEN;
        while header_len < LEN + MAX_TAGS * TAG_LEN
            && is_tag(get16(bytes, header_len - 2..header_len))
        {
            header_len += TAG_LEN;
            if bytes.len() < header_len {
                return Err(Error::Truncated);
            }
        }
        Ok(View { bytes, header, header_len })
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Mac {
        mac(self.header, 0)
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Mac {
        mac(self.header, 6)
    }

    /// Type of the payload, behind the tags.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        get16(self.bytes, self.header_len - 2..self.header_len)
    }

    /// The tags, the outermost first.
    pub fn tags(&self) -> impl Iterator<Item = Tag> + use<'a> {
        let (tags, _) = self.bytes[LEN - 2..self.header_len - 2].as_chunks::<TAG_LEN>();
        tags.iter().map(|t| Tag { protocol: get16(t, 0..2), tci: get16(t, 2..4) })
    }

    /// The outermost tag.
    #[inline]
    pub fn tag(&self) -> Option<Tag> {
        self.tags().next()
    }

    /// Bytes of the header, tags included.
    #[inline]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// What stands behind the header, padding included.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len..]
    }
}

/// A header without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// Type of the payload; of a tagged frame, of the tag.
    pub ethertype: u16,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads the first 14 bytes.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let header: &[u8; LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
        let ethertype = get16(header, field::ETHERTYPE);
        Ok(Header { dst: mac(header, 0), src: mac(header, 6), ethertype })
    }

    /// Writes the first 14 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        let room = bytes.first_chunk_mut().expect("there is room for a header");
        Addresses::new(self.dst, self.src).emit(self.ethertype, room);
    }
}

/// Destination and source of a header as it stands in memory, for frames that differ in type alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    first: u64,
    rest: u32,
}

impl Addresses {
    /// Of a header to `dst` from `src`.
    #[inline]
    pub fn new(dst: Mac, src: Mac) -> Addresses {
        let (dst, src) = (dst.to_bits(), src.to_bits());
        Addresses { first: dst | src << 48, rest: (src >> 16) as u32 }
    }

    /// Writes the header.
    #[inline(always)]
    pub fn emit(self, ethertype: u16, room: &mut [u8; LEN]) {
        room[..8].copy_from_slice(&self.first.to_le_bytes());
        room[8..12].copy_from_slice(&self.rest.to_le_bytes());
        room[12..].copy_from_slice(&ethertype.to_be_bytes());
    }
}

#[inline]
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ)
}

#[inline(always)]
fn mac(header: &[u8; LEN], at: usize) -> Mac {
    let b = &header[at..at + 6];
    Mac([b[0], b[1], b[2], b[3], b[4], b[5]])
}
