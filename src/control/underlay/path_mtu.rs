//! What the underlay says about packets of ours that were too long for it: RFC 1191, RFC 8201.
//!
//! A router's message goes to our end of the tunnel, and no socket of ours has the port that the packet
//! was sent from, so that raw sockets listen to all such messages. Anybody can send one: it must quote a
//! packet that we may have sent, it can make a path narrower but not wider, and not narrower than is
//! sensible; and what it said is forgotten after a while.

use encap::Steer;
use encap::wire::{icmpv4, icmpv6, ipv4, ipv6, protocol};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// How long a path's MTU is believed (RFC 1191 §6.3): after that a wider path is tried.
const BELIEVED: Duration = Duration::from_secs(600);
/// Narrower than that no path is believed to be: Linux' least of IPv4, and IPv6's (RFC 8200 §5).
const LEAST4: usize = 552;
const LEAST6: usize = 1280;
/// What a path may be whose router does not say (RFC 1191 §7).
const PLATEAUS: [usize; 6] = [32_000, 17_914, 8166, 4352, 2002, 1492];
/// Bytes of a message that matter.
const LONGEST: usize = 256;

/// A packet of ours was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Where it came from: our end.
    pub from: IpAddr,
    /// Where it went: the peer's.
    pub to: IpAddr,
    /// What tells it apart from others there.
    pub by: Steer,
    /// Longest outer packet that gets through, in bytes.
    pub mtu: usize,
}

/// The sockets that hear of it: raw ones, which deliver datagrams as those of UDP do.
#[derive(Debug)]
pub struct Ear {
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Ear {
    /// Listens in this namespace.
    ///
    /// # Errors
    /// When there are no such sockets to be had.
    pub fn open() -> io::Result<Ear> {
        Ok(Ear {
            v4: open(Domain::IPV4, Protocol::ICMPV4, &ONLY_UNREACHABLE)?,
            v6: open(Domain::IPV6, Protocol::ICMPV6, &ONLY_TOO_BIG)?,
        })
    }

    /// The next message. May be dropped before there is one.
    pub async fn next(&self) -> TooBig {
        loop {
            let told = tokio::select! {
                message = receive(&self.v4) => read4(&message),
                message = receive(&self.v6) => read6(&message),
            };
            if let Some(told) = told {
                return told;
            }
        }
    }
}

/// A filter's instructions (classic BPF): those of RFC 792's "unreachable", behind the IP header that a raw
/// socket of IPv4 has too. The register for offsets gets that header's length.
static ONLY_UNREACHABLE: [SockFilter; 5] = [
    instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0),
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0),
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, icmpv4::UNREACHABLE as u32, 1),
    instruction(libc::BPF_RET | libc::BPF_K, LONGEST as u32, 0),
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
];
/// Those of RFC 4443's "packet too big".
static ONLY_TOO_BIG: [SockFilter; 4] = [
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0),
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, icmpv6::PACKET_TOO_BIG as u32, 1),
    instruction(libc::BPF_RET | libc::BPF_K, LONGEST as u32, 0),
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
];

/// With a comparison, `otherwise` is the number of instructions that are skipped when it fails.
const fn instruction(code: u32, k: u32, otherwise: u8) -> SockFilter {
    SockFilter::new(code as u16, 0, otherwise, k)
}

fn open(family: Domain, protocol: Protocol, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let socket = Socket::new(family, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
    socket.attach_filter(filter)?;
    UdpSocket::from_std(socket.into())
}

/// The next message; an empty one when the socket has nothing but an error to tell.
async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; LONGEST];
    let length = socket.recv(&mut bytes).await.unwrap_or(0);
    bytes.truncate(length);
    bytes
}

/// Reads an IPv4 packet with a message about one of ours.
fn read4(packet: &[u8]) -> Option<TooBig> {
    let ip = ipv4::View::of_head(packet, usize::MAX).ok()?;
    let icmp = icmpv4::View::new(packet.get(ip.header_len()..)?).ok()?;
    let is_it = icmp.kind() == icmpv4::UNREACHABLE
        && icmp.code() == icmpv4::unreachable::FRAGMENTATION_NEEDED;
    let quote = ipv4::View::of_head(icmp.payload(), usize::MAX).ok().filter(|_| is_it)?;
    let [_, _, mtu @ ..] = icmp.rest();
    let mtu = match usize::from(u16::from_be_bytes(mtu)) {
        0 => next_plateau(usize::from(quote.total_len())),
        mtu => mtu,
    };
    let by = steer(quote.protocol(), icmp.payload().get(quote.header_len()..)?)?;
    Some(TooBig { from: quote.src().into(), to: quote.dst().into(), by, mtu: mtu.max(LEAST4) })
}

/// Reads an ICMPv6 message about a packet of ours.
fn read6(message: &[u8]) -> Option<TooBig> {
    let icmp = icmpv6::View::new(message).ok()?;
    let is_it = icmp.kind() == icmpv6::PACKET_TOO_BIG;
    let quote = ipv6::View::of_head(icmp.payload(), usize::MAX).ok().filter(|_| is_it)?;
    let upper = quote.upper_layer().ok()?;
    let mtu = u32::from_be_bytes(icmp.rest()) as usize;
    let by = steer(upper.protocol, icmp.payload().get(upper.offset..)?)?;
    Some(TooBig { from: quote.src().into(), to: quote.dst().into(), by, mtu: mtu.max(LEAST6) })
}

fn steer(protocol: u8, l4: &[u8]) -> Option<Steer> {
    match protocol {
        protocol::UDP => {
            let port = l4.get(2..4)?.first_chunk()?;
            Some(Steer::Udp(u16::from_be_bytes(*port)))
        }
        other => Some(Steer::Protocol(other)),
    }
}

fn next_plateau(length: usize) -> usize {
    PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(LEAST4)
}

/// What is known of the paths to peers.
#[derive(Clone, Debug, Default)]
pub struct PathMtus(HashMap<IpAddr, (usize, Instant)>);

impl PathMtus {
    /// Longest outer packet to a peer, where it is known to be shorter than the uplink's.
    pub fn get(&self, to: IpAddr) -> Option<usize> {
        self.0.get(&to).map(|(mtu, _)| *mtu)
    }

    /// Notes what was told at `now`; whether the path is narrower than was known.
    pub fn learn(&mut self, to: IpAddr, mtu: usize, now: Instant) -> bool {
        let known = self.get(to);
        if known.is_some_and(|known| known < mtu) {
            return false;
        }
        self.0.insert(to, (mtu, now));
        known != Some(mtu)
    }

    /// Forgets what is not believed any more; about whom.
    pub fn forget(&mut self, now: Instant) -> Vec<IpAddr> {
        let old = self.0.extract_if(|_, (_, since)| now.duration_since(*since) > BELIEVED);
        old.map(|(to, _)| to).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    /// An outer packet's first bytes, as routers quote them.
    fn outer4(port: u16) -> Vec<u8> {
        let mut quote = Vec::new();
        let builder = PacketBuilder::ipv4([192, 168, 77, 1], [192, 168, 77, 2], 64);
        builder.udp(50_000, port).write(&mut quote, &[0; 1472]).unwrap();
        quote.truncate(28);
        quote
    }

    fn message4(mtu: u16, quote: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let needed =
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
        PacketBuilder::ipv4([192, 168, 77, 254], [192, 168, 77, 1], 64)
            .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(needed))
            .write(&mut packet, quote)
            .unwrap();
        packet
    }

    #[test]
    fn a_routers_message_is_read() {
        let told = |mtu| TooBig {
            from: "192.168.77.1".parse().unwrap(),
            to: "192.168.77.2".parse().unwrap(),
            by: Steer::Udp(8472),
            mtu,
        };
        let quote = outer4(8472);
        assert_eq!(read4(&message4(1400, &quote)), Some(told(1400)));
        assert_eq!(read4(&message4(60, &quote)), Some(told(LEAST4)), "not to be believed");
        assert_eq!(read4(&message4(0, &quote)), Some(told(1492)), "an old router");
        let message = message4(1400, &quote);
        for length in 0..message.len() - 4 {
            assert_eq!(read4(&message[..length]), None, "{length} bytes");
        }
        let mut other = message;
        other[21] = 3;
        assert_eq!(read4(&other), None, "the port is unreachable");
    }

    #[test]
    fn one_of_ipv6_is_read() {
        let [from, to] = [1, 2].map(|n| [0x2001, 0xdb8, 0, 0, 0, 0, 0, n].into());
        let mut quote = Vec::new();
        let ip = PacketBuilder::ipv6(std::net::Ipv6Addr::octets(&from), to.octets(), 64);
        ip.write(&mut quote, 4.into(), &[0; 1400]).unwrap();
        let message = |mtu: u32| {
            let mut message = vec![icmpv6::PACKET_TOO_BIG, 0, 0, 0];
            message.extend(mtu.to_be_bytes());
            [message, quote[..100].to_vec()].concat()
        };
        let by = Steer::Protocol(4);
        let told = |mtu| Some(TooBig { from: from.into(), to: to.into(), by, mtu });
        assert_eq!(read6(&message(1400)), told(1400));
        assert_eq!(read6(&message(0)), told(LEAST6), "not to be believed");
        for length in 0..48 {
            assert_eq!(read6(&message(1400)[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_path_gets_narrower_until_it_is_forgotten() {
        let (to, now) = ("192.0.2.2".parse().unwrap(), Instant::now());
        let mut paths = PathMtus::default();
        assert!(paths.learn(to, 1400, now));
        assert!(!paths.learn(to, 1450, now), "not wider");
        assert!(paths.learn(to, 1300, now));
        let later = now + BELIEVED;
        assert!(!paths.learn(to, 1300, later), "nothing new, but believed for longer");
        assert!(paths.forget(later + BELIEVED).is_empty());
        assert_eq!(paths.get(to), Some(1300));
        assert_eq!(paths.forget(later + BELIEVED + Duration::from_secs(1)), [to]);
        assert_eq!(paths.get(to), None);
    }

    #[tokio::test]
    async fn only_such_messages_are_heard() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not tested: raw sockets need root");
            return;
        }
        let ear = Ear::open().unwrap();
        let sender = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let lo = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into();
        let icmp = |mtu, quote: &[u8]| message4(mtu, quote)[20..].to_vec();
        let quote = outer4(8472);
        let mut echo = icmp(1400, &quote);
        (echo[0], echo[1]) = (icmpv4::ECHO_REPLY, 0);
        for message in [echo, icmp(1400, b"nothing"), icmp(1300, &quote)] {
            sender.send_to(&message, &lo).unwrap();
        }
        // Others on the machine may be told of others' packets.
        let told = loop {
            let told = ear.next().await;
            if told.by == Steer::Udp(8472) {
                break told;
            }
        };
        assert_eq!(told.mtu, 1300);
    }
}
