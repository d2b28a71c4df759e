//! TCP, RFC 9293.

use super::{Error, checksum, get16, get32, protocol, put16, put32};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Source port.
    pub const SRC_PORT: Range<usize> = 0..2;
    /// Destination port.
    pub const DST_PORT: Range<usize> = 2..4;
    /// Sequence number.
    pub const SEQ: Range<usize> = 4..8;
    /// Acknowledgment number.
    pub const ACK: Range<usize> = 8..12;
    /// Header length in 4-byte words (upper four bits), and reserved bits.
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Window.
    pub const WINDOW: Range<usize> = 14..16;
    /// Checksum.
    pub const CHECKSUM: Range<usize> = 16..18;
    /// Urgent pointer.
    pub const URGENT: Range<usize> = 18..20;
}

/// Bits of the flags byte.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo, RFC 3168.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced, RFC 3168.
    pub const CWR: u8 = 0x80;
}

/// Kinds of options.
pub mod option {
    /// Ends the list.
    pub const END: u8 = 0;
    /// A single byte of padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size, two bytes; of segments with SYN.
    pub const MSS: u8 = 2;
}

/// Bytes of a header without options.
pub const LEN: usize = 20;

/// The bytes of a segment; its length is what the IP header left.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks that the header is there with all its options.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::HeaderLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        let header: &[u8; LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
        let header_len = usize::from(header[field::DATA_OFFSET] >> 4) * 4;
        if header_len < LEN {
            return Err(Error::HeaderLength);
        }
        if header_len > bytes.len() {
            return Err(Error::Truncated);
        }
        Ok(View { bytes, header })
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

    /// Sequence number of the first byte of the payload (of the SYN where there is one).
    #[inline]
    pub fn seq(&self) -> u32 {
        get32(self.header, field::SEQ)
    }

    /// The sequence number expected next, where [`flag::ACK`] is set.
    #[inline]
    pub fn ack(&self) -> u32 {
        get32(self.header, field::ACK)
    }

    /// Bytes of the header, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.header[field::DATA_OFFSET] >> 4) * 4
    }

    /// The four bits between data offset and flags: reserved but for the lowest (RFC 9768).
    #[inline]
    pub fn reserved(&self) -> u8 {
        self.header[field::DATA_OFFSET] & 0x0f
    }

    /// The flags: bits of [`flag`].
    #[inline]
    pub fn flags(&self) -> u8 {
        self.header[field::FLAGS]
    }

    /// Window, not scaled.
    #[inline]
    pub fn window(&self) -> u16 {
        get16(self.header, field::WINDOW)
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        get16(self.header, field::CHECKSUM)
    }

    /// Urgent pointer.
    #[inline]
    pub fn urgent(&self) -> u16 {
        get16(self.header, field::URGENT)
    }

    /// The bytes of the options.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        &self.bytes[LEN..self.header_len()]
    }

    /// What stands behind the header, as much of it as is in the bytes.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }

    /// The checksum matches; meaningful when the view holds exactly the whole segment.
    pub fn verify_v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        let pseudo = checksum::pseudo_v4(src, dst, protocol::TCP, self.bytes.len() as u32);
        checksum::finish(pseudo + checksum::sum(self.bytes)) == 0
    }

    /// The checksum matches; meaningful when the view holds exactly the whole segment.
    pub fn verify_v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let pseudo = checksum::pseudo_v6(src, dst, protocol::TCP, self.bytes.len() as u32);
        checksum::finish(pseudo + checksum::sum(self.bytes)) == 0
    }
}

/// A header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// The checksum field as it is on the wire; it is neither computed nor verified here.
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: u16,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads the header of a segment.
    ///
    /// # Errors
    /// As [`View::new`]; [`Error::HeaderLength`] also when there are options or reserved bits,
    /// which a `Header` can't hold.
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        if view.header_len() != LEN || view.reserved() != 0 {
            return Err(Error::HeaderLength);
        }
        Ok(Header {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            seq: view.seq(),
            ack: view.ack(),
            flags: view.flags(),
            window: view.window(),
            checksum: view.checksum(),
            urgent: view.urgent(),
        })
    }

    /// Writes the first 20 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..LEN];
        put16(bytes, field::SRC_PORT, self.src_port);
        put16(bytes, field::DST_PORT, self.dst_port);
        put32(bytes, field::SEQ, self.seq);
        put32(bytes, field::ACK, self.ack);
        bytes[field::DATA_OFFSET] = 5 << 4;
        bytes[field::FLAGS] = self.flags;
        put16(bytes, field::WINDOW, self.window);
        put16(bytes, field::CHECKSUM, self.checksum);
        put16(bytes, field::URGENT, self.urgent);
    }
}

/// Writes the sequence number of a segment.
///
/// # Panics
/// When `segment` is shorter than a header.
#[inline]
pub fn set_seq(segment: &mut [u8], seq: u32) {
    put32(segment, field::SEQ, seq);
}

/// Writes the flags of a segment.
///
/// # Panics
/// When `segment` is shorter than a header.
#[inline]
pub fn set_flags(segment: &mut [u8], flags: u8) {
    segment[field::FLAGS] = flags;
}

/// Writes the checksum field of a segment.
///
/// # Panics
/// When `segment` is shorter than a header.
#[inline]
pub fn set_checksum(segment: &mut [u8], checksum: u16) {
    put16(segment, field::CHECKSUM, checksum);
}

/// Lowers the segment size that a segment names to `most`, if it names a larger one, and mends the
/// checksum, if that `is_complete` and so has the options in it.
pub fn lower_mss(segment: &mut [u8], most: u16, is_complete: bool) {
    let Some(at) = View::new(segment).ok().and_then(|view| mss(view.options())) else { return };
    let at = LEN + at;
    let old = get16(segment, at..at + 2);
    if old <= most {
        return;
    }
    put16(segment, at..at + 2, most);
    if is_complete {
        // Across two words it is a word with its bytes exchanged.
        let word = |value: u16| if at.is_multiple_of(2) { value } else { value.swap_bytes() };
        let sum = get16(segment, field::CHECKSUM);
        set_checksum(segment, checksum::update16(sum, word(old), word(most)));
    }
}

/// Where in these options the segment size stands.
fn mss(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match (*options.get(at)?, options.get(at + 1)) {
            (option::END, _) => return None,
            (option::NOP, _) => at += 1,
            (option::MSS, Some(4)) => return (at + 4 <= options.len()).then_some(at + 2),
            (_, Some(&len)) if len >= 2 => at += usize::from(len),
            _ => return None,
        }
    }
}
