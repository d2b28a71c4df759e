//! ICMP for IPv6, RFC 4443. Neighbor Discovery has a file of its own: [`ndp`](super::ndp).

use super::{Error, checksum, get16, protocol, put16};
use std::net::Ipv6Addr;

pub use super::icmpv4::field;

/// Destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Packet too big; the rest holds the next hop's MTU.
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Router solicitation, RFC 4861 §4.1.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement, RFC 4861 §4.2.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbor solicitation, RFC 4861 §4.3.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbor advertisement, RFC 4861 §4.4.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Redirect, RFC 4861 §4.5.
pub const REDIRECT: u8 = 137;

/// Codes of [`UNREACHABLE`].
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// The host does not answer.
    pub const ADDRESS: u8 = 3;
    /// Nobody listens on the port.
    pub const PORT: u8 = 4;
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

    /// Reports an error; nobody answers one with another (RFC 4443 §2.4 e).
    #[inline]
    pub fn is_error(&self) -> bool {
        self.kind() < 128
    }

    /// The checksum matches; meaningful when the view holds exactly the whole message.
    pub fn verify(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        of(src, dst, self.bytes) == 0
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

    /// "Packet too big" for a next hop with this MTU.
    pub fn packet_too_big(mtu: u32) -> Header {
        Header { kind: PACKET_TOO_BIG, code: 0, rest: mtu.to_be_bytes() }
    }

    /// Reads the header of a whole message between these addresses.
    ///
    /// # Errors
    /// As [`View::new`]; [`Error::Checksum`].
    pub fn parse(bytes: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        if !view.verify(src, dst) {
            return Err(Error::Checksum);
        }
        Ok(Header { kind: view.kind(), code: view.code(), rest: view.rest() })
    }

    /// Writes the first 8 of `message`, which is the whole message with its payload in place, and
    /// the checksum of all of it between these addresses.
    ///
    /// # Panics
    /// When `message` is shorter than a header.
    pub fn emit(&self, message: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        message[field::KIND] = self.kind;
        message[field::CODE] = self.code;
        message[field::REST].copy_from_slice(&self.rest);
        put16(message, field::CHECKSUM, 0);
        put16(message, field::CHECKSUM, of(src, dst, message));
    }
}

/// The checksum of a message.
fn of(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo = checksum::pseudo_v6(src, dst, protocol::ICMPV6, message.len() as u32);
    checksum::finish(pseudo + checksum::sum(message))
}
