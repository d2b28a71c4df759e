//! ARP for IPv4 over Ethernet, RFC 826.

use super::{Error, Mac, get16, get32, put16};
use std::net::Ipv4Addr;

/// Offsets of the fields.
pub mod field {
    use std::ops::Range;
    /// Hardware type.
    pub const HARDWARE: Range<usize> = 0..2;
    /// Protocol type.
    pub const PROTOCOL: Range<usize> = 2..4;
    /// Bytes of a hardware address and of a protocol address.
    pub const LENGTHS: Range<usize> = 4..6;
    /// Operation.
    pub const OPERATION: Range<usize> = 6..8;
    /// Sender's hardware address.
    pub const SENDER_MAC: Range<usize> = 8..14;
    /// Sender's protocol address.
    pub const SENDER_IP: Range<usize> = 14..18;
    /// Target's hardware address.
    pub const TARGET_MAC: Range<usize> = 18..24;
    /// Target's protocol address.
    pub const TARGET_IP: Range<usize> = 24..28;
}

/// Operation: who has the target's protocol address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has.
pub const REPLY: u16 = 2;

/// Bytes of a packet.
pub const LEN: usize = 28;

/// Hardware type 1 (Ethernet), protocol type IPv4, addresses of six and four bytes.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// The bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8; LEN],
}

impl<'a> View<'a> {
    /// Checks the length and that it is about IPv4 over Ethernet; bytes behind are ignored.
    ///
    /// # Errors
    /// [`Error::Truncated`]; [`Error::Version`] when it is about other kinds of address.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        let bytes: &[u8; LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
        if bytes[..6] != ETHERNET_IPV4 {
            return Err(Error::Version);
        }
        Ok(View { bytes })
    }

    /// [`REQUEST`], [`REPLY`] or another.
    #[inline]
    pub fn operation(&self) -> u16 {
        get16(self.bytes, field::OPERATION)
    }

    /// Sender's Ethernet address.
    #[inline]
    pub fn sender_mac(&self) -> Mac {
        mac(self.bytes, field::SENDER_MAC.start)
    }

    /// Sender's IPv4 address; zero in a probe (RFC 5227).
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(get32(self.bytes, field::SENDER_IP))
    }

    /// Target's Ethernet address; of no meaning in a request.
    #[inline]
    pub fn target_mac(&self) -> Mac {
        mac(self.bytes, field::TARGET_MAC.start)
    }

    /// Target's IPv4 address.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(get32(self.bytes, field::TARGET_IP))
    }
}

/// A whole packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// [`REQUEST`], [`REPLY`] or another.
    pub operation: u16,
    /// Sender's Ethernet address.
    pub sender_mac: Mac,
    /// Sender's IPv4 address.
    pub sender_ip: Ipv4Addr,
    /// Target's Ethernet address.
    pub target_mac: Mac,
    /// Target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

impl Header {
    /// Bytes that [`emit`](Self::emit) writes.
    pub const LEN: usize = LEN;

    /// Reads a packet.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let view = View::new(bytes)?;
        Ok(Header {
            operation: view.operation(),
            sender_mac: view.sender_mac(),
            sender_ip: view.sender_ip(),
            target_mac: view.target_mac(),
            target_ip: view.target_ip(),
        })
    }

    /// Writes the first 28 of `bytes`.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn emit(&self, bytes: &mut [u8]) {
        let bytes = &mut bytes[..LEN];
        bytes[..6].copy_from_slice(&ETHERNET_IPV4);
        put16(bytes, field::OPERATION, self.operation);
        bytes[field::SENDER_MAC].copy_from_slice(&self.sender_mac.0);
        bytes[field::SENDER_IP].copy_from_slice(&self.sender_ip.octets());
        bytes[field::TARGET_MAC].copy_from_slice(&self.target_mac.0);
        bytes[field::TARGET_IP].copy_from_slice(&self.target_ip.octets());
    }

    /// The answer of `mac` to a request for its target's address.
    pub fn reply(&self, mac: Mac) -> Header {
        Header {
            operation: REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

#[inline(always)]
fn mac(bytes: &[u8; LEN], at: usize) -> Mac {
    let b = &bytes[at..at + 6];
    Mac([b[0], b[1], b[2], b[3], b[4], b[5]])
}
