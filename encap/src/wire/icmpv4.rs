//! ICMP for IPv4, RFC 792.

use super::{Error, checksum, get16, put16};

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Type.
    pub const KIND: usize = 0;
    /// Code.
    pub const CODE: usize = 1;
    /// Checksum.
    pub const CHECKSUM: Range<usize> = 2..4;
    /// Four bytes whose meaning depends on the type.
    pub const REST: Range<usize> = 4..8;
}

/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Codes of [`UNREACHABLE`].
pub mod unreachable {
    /// No route to the network.
    pub const NET: u8 = 0;
    /// The host does not answer.
    pub const HOST: u8 = 1;
    /// Nobody there speaks the protocol.
    pub const PROTOCOL: u8 = 2;
    /// Nobody listens on the port.
    pub const PORT: u8 = 3;
    /// Too big, and "don't fragment" is set; the rest holds the next hop's MTU (RFC 1191).
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Administratively prohibited, RFC 1812 §5.2.7.1.
    pub const PROHIBITED: u8 = 13;
}

/// Bytes of a header.
pub const LEN: usize = 8;

/// The bytes of a message; its length is what the IP header left.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks that the header is there.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        let header = bytes.first_chunk().ok_or(Error::Truncated)?;
        Ok(View { bytes, header })
    }

    /// Type.
    #[inline]
    pub fn kind(&self) -> u8 {
        self.header[field::KIND]
    }

    /// Code.
    #[inline]
    pub fn code(&self) -> u8 {
        self.header[field::CODE]
    }

    /// Checksum.
    #[inline]
    pub fn checksum(&self) -> u16 {
        get16(self.header, field::CHECKSUM)
    }

    /// Four bytes whose meaning depends on the type.
    #[inline]
    pub fn rest(&self) -> [u8; 4] {
        let [_, _, _, _, rest @ ..] = *self.header;
        rest
    }

    /// What stands behind the header: an echo's data, or the packet that an error is about.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[LEN..]
    }

    /// Reports an error; nobody answers one with another (RFC 1122 §3.2.2).
    #[inline]
    pub fn is_error(&self) -> bool {
        // Source quench (4) and redirect (5) too.
        matches!(self.kind(), UNREACHABLE | 4 | 5 | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }

    /// The checksum matches; meaningful when the view holds exactly the whole message.
    pub fn verify(&self) -> bool {
        checksum::of(self.bytes) == 0
    }
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Four bytes whose meaning depends on the type.
    pub rest: [u8; 4],
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// "Fragmentation needed" of a next hop with this MTU (RFC 1191 §4).
    pub fn fragmentation_needed(mtu: u16) -> Header {
        let [a, b] = mtu.to_be_bytes();
        Header { kind: UNREACHABLE, code: unreachable::FRAGMENTATION_NEEDED, rest: [0, 0, a, b] }
    }

    /// Reads the header of a whole message.
    ///
    /// # Errors
    /// As [`View::new`]; [`Error::Checksum`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        if !view.verify() {
            return Err(Error::Checksum);
        }
        Ok(Header { kind: view.kind(), code: view.code(), rest: view.rest() })
    }

    /// Writes the first 8 of `message`, which is the whole message with its payload in place, and
    /// the checksum of all of it.
    ///
    /// # Panics
    /// When `message` is shorter than a header.
    pub fn emit(&self, message: &mut [u8]) {
        message[field::KIND] = self.kind;
        message[field::CODE] = self.code;
        message[field::REST].copy_from_slice(&self.rest);
        put16(message, field::CHECKSUM, 0);
        put16(message, field::CHECKSUM, checksum::of(message));
    }
}
