//! The frames that are sent: UDP packets of one size with a stamp, between the pods, as they are where
//! the sender sends.

use super::super::arena::{FAR, GATEWAY_MAC, NODE, Site, TUNNEL_PORT, VNI};
use encap::wire::Mac;
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, UdpHeader};
use serde::{Deserialize, Serialize};

/// The UDP port that all packets go to: what is sent to "discard" belongs nowhere else.
pub(super) const PORT: u16 = 9;
/// `FIRST_PORT` of bpf/sender.bpf.c.
pub(super) const FIRST_PORT: u16 = 1024;

/// `STAMP_MAGIC` of bpf/stamp.h.
pub(super) const MAGIC: u32 = 0x4357_6265;

const ETHERNET: usize = Ethernet2Header::LEN;
/// Bytes of a UDP header.
pub(super) const UDP: usize = UdpHeader::LEN;
const IPV4_UDP: usize = Ipv4Header::MIN_LEN + UDP;
const VXLAN: usize = 8;
/// Where the stamp of a plain frame begins.
pub(super) const PLAIN: usize = ETHERNET + IPV4_UDP;
/// Where that of a frame in VXLAN begins.
pub(super) const TUNNELLED: usize = PLAIN + VXLAN + PLAIN;

/// Which way frames go through the arena, and so which half of a router is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// From the pod to the wire
    Encap,
    /// From the wire to the pod
    Decap,
    /// From pod to pod, through two routers of the kind
    Path,
}

impl Side {
    /// The site of the pod that the packets are of.
    pub(super) fn from(self) -> &'static Site {
        if self == Side::Decap { &FAR } else { &NODE }
    }

    /// The site of the pod that they are for.
    pub(super) fn to(self) -> &'static Site {
        if self == Side::Decap { &NODE } else { &FAR }
    }
}

/// A frame to be sent: headers, and room for a stamp and padding of zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Where the stamp begins, which is where the headers end.
    pub stamp: usize,
}

impl Frame {
    /// The packet of a frame of `size` bytes, from one pod to the other, in the Ethernet frame that its
    /// sender's pod would send to its router (`to`: that router's MAC).
    fn plain(size: usize, side: Side, from: Mac, to: Mac) -> Frame {
        let length = size - ETHERNET;
        let mut bytes = Vec::with_capacity(size);
        let ethernet =
            Ethernet2Header { source: from.0, destination: to.0, ether_type: EtherType::IPV4 };
        bytes.extend(ethernet.to_bytes());
        write_ip(&mut bytes, length, side.from().pod, side.to().pod, FIRST_PORT, PORT);
        let stamp = bytes.len();
        bytes.resize(size, 0);
        Frame { bytes, stamp }
    }

    /// As a pod sends it to its router, or to what forwards into the pod's TUN device.
    pub(super) fn of_pod(size: usize, side: Side, to: Option<Mac>) -> Frame {
        Frame::plain(size, side, Mac([2, 0, 0, 0, 2, 1]), to.unwrap_or(GATEWAY_MAC))
    }

    /// Without its link-layer header, as a TUN device has it.
    pub(super) fn without_link(mut self) -> Frame {
        self.bytes.drain(..ETHERNET);
        self.stamp -= ETHERNET;
        self
    }

    /// As the other node sends it.
    pub(super) fn of_wire(size: usize, side: Side) -> Frame {
        let (from, to) = (side.from(), side.to());
        let inner = Frame::plain(size, side, from.vtep_mac, to.vtep_mac);
        let ethernet = Ethernet2Header {
            source: from.mac.0,
            destination: to.mac.0,
            ether_type: EtherType::IPV4,
        };
        let mut bytes = ethernet.to_bytes().to_vec();
        let length = IPV4_UDP + VXLAN + inner.bytes.len();
        write_ip(&mut bytes, length, from.address, to.address, 49152, TUNNEL_PORT);
        bytes.extend([8, 0, 0, 0]);
        bytes.extend((VNI << 8).to_be_bytes());
        let stamp = bytes.len() + inner.stamp;
        bytes.extend(inner.bytes);
        Frame { bytes, stamp }
    }
}

/// IPv4 and UDP headers of a packet of `length` bytes, without a UDP checksum.
fn write_ip(
    bytes: &mut Vec<u8>,
    length: usize,
    from: std::net::Ipv4Addr,
    to: std::net::Ipv4Addr,
    source: u16,
    destination: u16,
) {
    let payload = (length - Ipv4Header::MIN_LEN) as u16;
    let mut ip = Ipv4Header::new(payload, 64, IpNumber::UDP, from.octets(), to.octets())
        .expect("a frame's length is that of an IPv4 packet");
    ip.header_checksum = ip.calc_header_checksum();
    bytes.extend(ip.to_bytes());
    let udp = UdpHeader {
        source_port: source,
        destination_port: destination,
        length: payload,
        checksum: 0,
    };
    bytes.extend(udp.to_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};

    #[test]
    fn frames_are_what_they_should_be() {
        let frame = Frame::of_pod(60, Side::Encap, None);
        assert_eq!((frame.bytes.len(), frame.stamp), (60, PLAIN));
        let read = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        let Some(TransportSlice::Udp(udp)) = read.transport else { panic!("{read:?}") };
        assert_eq!((udp.destination_port(), udp.payload().len()), (PORT, 18));
        let frame = Frame::of_wire(60, Side::Decap);
        assert_eq!((frame.bytes.len(), frame.stamp), (110, TUNNELLED));
        let outer = SlicedPacket::from_ethernet(&frame.bytes).unwrap();
        let Some(TransportSlice::Udp(udp)) = outer.transport else { panic!("{outer:?}") };
        assert_eq!(udp.destination_port(), TUNNEL_PORT);
        let inner = SlicedPacket::from_ethernet(&udp.payload()[VXLAN..]).unwrap();
        let Some(TransportSlice::Udp(udp)) = inner.transport else { panic!("{inner:?}") };
        assert_eq!(udp.payload().len(), 18);
        // The stamp.
        assert!(udp.payload().len() >= 16);
    }
}
