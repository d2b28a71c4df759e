//! Outer packets in fragments: another kernel's VXLAN that is wider than the underlay, floods of fragments,
//! and forged news of what is too long. Needs root.
#![allow(clippy::unwrap_used)]

mod daemon_support;

use cableway::control::report::{Drops, Peers, Workers};
use cableway::io::netns;
use daemon_support::daemon::{Daemon, wait_for};
use daemon_support::iperf::Iperf;
use daemon_support::two::{Two, finish};
use daemon_support::{Space, run};
use encap::wire::{checksum, icmpv4, icmpv6, ipv4, ipv6, protocol, udp};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

/// The MACs of the inner Ethernet frames' ends.
const A_MAC: &str = "02:00:00:00:0a:0a";
const B_MAC: &str = "02:00:00:00:0b:0b";
const VXLAN: u16 = 4789;
const A: Ipv4Addr = Ipv4Addr::new(192, 168, 70, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 168, 70, 2);

/// The kernel of `b` as a peer, with pods' addresses of its own. Over IPv4 it is to send long packets
/// whatever it learns of the underlay; over IPv6 Linux does not fragment what comes of its VXLAN.
fn kernel_peer(b: &Space, local: &str, remote: &str) {
    let mtu = if local.contains(':') { "" } else { "mtu lock 8900" };
    b.ip(&format!(
        "link add vx0 address {B_MAC} mtu 8900 type vxlan id 7 local {local} dstport {VXLAN} \
         nolearning df unset"
    ));
    b.ip("address add 10.9.2.2/32 dev vx0");
    b.ip("address add fd00:9:2::2/128 dev vx0 nodad");
    b.ip("link set vx0 up");
    run("bridge", &["-n", &b.name, "fdb", "append", A_MAC, "dev", "vx0", "dst", remote]);
    for (gateway, pods) in [("10.9.1.1", "10.9.1.0/24"), ("fd00:9:1::1", "fd00:9:1::/64")] {
        b.ip(&format!("neighbour add {gateway} lladdr {A_MAC} dev vx0 nud permanent"));
        b.ip(&format!("route add {pods} dev vx0 via {gateway} onlink {mtu}"));
    }
}

/// Our node, whose pod is as wide.
fn node(two: &Two, remote: &str) -> Daemon {
    let config = two.config("a", "eth0", remote);
    let config = config
        .replace("[[tunnel.vxlan]]\n", &format!("[[tunnel.vxlan]]\nmac = \"{A_MAC}\"\n"))
        .replace("\"10.9.1.1\"]", "\"10.9.1.1\", \"fd00:9:1::1\"]")
        .replace("\"10.9.1.2/24\"]", "\"10.9.1.2/24\", \"fd00:9:1::2/64\"]\nmtu = 8900")
        .replace(
            "\"10.9.2.0/24\"]",
            &format!(
                "\"10.9.2.0/24\", \"fd00:9:2::/64\"]\nfragment = \"outer\"\nvtep-mac = \"{B_MAC}\""
            ),
        );
    let mut daemon = Daemon::new(&two.a, &config);
    daemon.start(&two.a);
    daemon
}

/// What the kernel dropped at the tunnels' sockets.
fn dropped_at_sockets(daemon: &Daemon) -> u64 {
    let drops = daemon.get::<Drops>("/v1/show/drops").kernel;
    drops.iter().find(|drop| drop.reason == "socket_dropped").expect("there are sockets").count
}

/// How many packets a kernel has put together.
fn put_together(space: &Space, is_v4: bool) -> u64 {
    if !is_v4 {
        let text = space.exec("cat /proc/net/snmp6");
        let line = text.lines().find(|line| line.starts_with("Ip6ReasmOKs"));
        return line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    }
    let text = space.exec("cat /proc/net/snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "ReasmOKs").unwrap().1.parse().unwrap()
}

/// Pings until one is answered: the peer's kernel learns by a packet that it can't send.
fn passes(from: &Space, words: &str) {
    wait_for(&format!("ping {words}"), || {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &from.name, "ping", "-c1", "-W1"]);
        command.args(words.split_whitespace()).output().unwrap().status.success()
    });
}

fn a_kernel_that_is_wider_than_its_underlay(local: &str, remote: &str) {
    let two = Two::new();
    let is_v4 = !local.contains(':');
    if !is_v4 {
        two.a.ip(&format!("address add {local}/64 dev eth0 nodad"));
        two.b.ip(&format!("address add {remote}/64 dev eth0 nodad"));
    }
    kernel_peer(&two.b, remote, local);
    let mut a = node(&two, remote);
    two.a1.reaches("10.9.2.2");
    // In one piece in the pods, in several outside.
    for words in ["-Mdo -s3000 10.9.2.2", "-Mdo -s8800 10.9.2.2", "-6 -Mdo -s3000 fd00:9:2::2"] {
        passes(&two.a1, words);
    }
    passes(&two.b, "-Mdont -s3000 10.9.1.2");
    let (ours, theirs) = (put_together(&two.a, is_v4), put_together(&two.b, is_v4));
    assert!(theirs >= 4 && (ours >= 3 || !is_v4), "{ours} and {theirs}");
    let second = Duration::from_secs(1);
    let there = ((&two.a1, &two.b), "10.9.2.2", "fd00:9:2::2");
    let back = ((&two.b, &two.a1), "10.9.1.2", "fd00:9:1::2");
    for (ends, v4, v6) in [there, back] {
        for (n, address, words) in [(1, v4, ""), (2, v6, ""), (3, v4, "--udp -l 4000 -b 40M")] {
            let arrived = Iperf::start(ends, (address, 5200 + n), second, words).finish();
            assert!(arrived.intervals.iter().sum::<u64>() > 500_000, "{words}: {arrived:?}");
        }
    }
    assert!(put_together(&two.b, is_v4) > theirs + 100);
    assert!(put_together(&two.a, is_v4) > ours + 100 || !is_v4);
    for reason in ["decap.udp", "decap.outer_checksum", "decap.unknown_peer", "port.whole"] {
        assert_eq!(a.dropped(reason), 0, "{reason}");
    }
    adds_up(&a);
    finish([&mut a]);
}

/// No frame and no chunk is lost. The counts are a second old, so this takes its time.
fn adds_up(daemon: &Daemon) {
    wait_for("frames to add up", || {
        let law = daemon.get::<Drops>("/v1/show/drops").conservation;
        law.balanced && law.held == 0
    });
    wait_for("chunks to add up", || {
        let memory = daemon.get::<Workers>("/v1/show/workers").memory;
        let known = memory.unclaimed as u64 + memory.pooled + memory.with_ports;
        known == u64::from(memory.chunks)
    });
}

#[test]
fn a_kernel_that_fragments_over_ipv4() {
    a_kernel_that_is_wider_than_its_underlay("192.168.70.1", "192.168.70.2");
}

#[test]
fn a_kernel_that_fragments_over_ipv6() {
    a_kernel_that_is_wider_than_its_underlay("fd00:70::1", "fd00:70::2");
}

/// Sends whole IPv4 packets from a namespace to our node.
struct Forger(Socket);

impl Forger {
    fn new(space: &Space) -> Forger {
        let raw = Some(Protocol::from(libc::IPPROTO_RAW));
        let socket = || Socket::new(Domain::IPV4, Type::RAW, raw).unwrap();
        Forger(netns::within(Some(&space.path()), socket).unwrap())
    }

    /// A fragment, of a datagram to the tunnel's port.
    fn send(&self, src: Ipv4Addr, ident: u16, at: usize, more: bool, payload: &[u8]) {
        let mut packet = vec![0; ipv4::LEN];
        ipv4::Header {
            tos: 0,
            total_len: (ipv4::LEN + payload.len()) as u16,
            ident,
            dont_fragment: false,
            more_fragments: more,
            fragment_offset: at as u16,
            ttl: 64,
            protocol: protocol::UDP,
            src,
            dst: A,
        }
        .emit(&mut packet);
        packet.extend(payload);
        // What does not fit a queue is lost, as on any wire.
        let _ = self.0.send_to(&packet, &SocketAddr::new(A.into(), 0).into());
    }

    /// A datagram in two fragments: no VXLAN.
    fn pair(&self, src: Ipv4Addr, ident: u16) {
        let mut datagram = vec![0x5a; 2000];
        let length = datagram.len() as u16;
        udp::Header { src_port: 50_000, dst_port: VXLAN, length, checksum: 0 }.emit(&mut datagram);
        let (first, second) = datagram.split_at(1024);
        self.send(src, ident, 0, true, first);
        self.send(src, ident, 1024, false, second);
    }

    /// First fragments alone, second ones alone, and two that lie on each other.
    fn halves(&self, src: Ipv4Addr, ident: u16) {
        self.send(src, ident, 0, true, &[0x5a; 1400]);
        self.send(src, ident.wrapping_add(1), 1400, false, &[0x5a; 8]);
        for at in [0, 8, 1024] {
            self.send(src, ident.wrapping_add(2), at, at < 1024, &[0x5a; 1200]);
        }
    }
}

/// Bytes of fragments that wait in a kernel.
fn waiting(space: &Space) -> u64 {
    let text = space.exec("cat /proc/net/sockstat");
    let line = text.lines().find(|line| line.starts_with("FRAG:")).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().unwrap()
}

#[test]
fn a_flood_of_fragments() {
    let two = Two::new();
    // Halves are to fill the kernel's room for a moment only.
    two.a.exec("sysctl -qw net.ipv4.ipfrag_time=1");
    let (mut a, mut b) = two.start("eth0", "192.168.70.1", "192.168.70.2");
    let stream = two.stream();
    let forger = Forger::new(&two.b);
    let stranger = |n: u16| Ipv4Addr::new(192, 168, 70, 100 + (n % 100) as u8);
    let most: u64 = two.a.exec("sysctl -n net.ipv4.ipfrag_high_thresh").trim().parse().unwrap();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            for n in (0..u16::MAX).take_while(|_| start.elapsed() < Duration::from_secs(3)) {
                forger.halves(stranger(n), n.wrapping_mul(3));
                forger.pair(stranger(n), n);
                forger.pair(B, n);
            }
        });
        while !flood.is_finished() {
            stream.passes();
            assert!(waiting(&two.a) <= most + 65_536, "the kernel keeps its bound");
        }
    });
    wait_for("halves to be given up", || waiting(&two.a) < most / 8);
    // What nobody reads for a while is dropped and counted, at the sockets.
    let before = dropped_at_sockets(&a);
    a.signal("STOP");
    (0..5000).for_each(|n| forger.pair(stranger(n), n));
    a.signal("CONT");
    stream.passes();
    assert!(dropped_at_sockets(&a) > before + 1000);
    assert!(a.show("drops").contains("kernel.socket_dropped"), "{}", a.show("drops"));
    // The rest is judged as any outer packet is.
    for reason in ["decap.unknown_peer", "decap.unknown_vni"] {
        assert!(a.dropped(reason) > 0, "{reason}");
    }
    assert!(a.is_ready());
    stream.finish();
    adds_up(&a);
    finish([&mut a, &mut b]);
}

/// A router's word that a packet was too long, of which it quotes the beginning.
fn too_big(from: IpAddr, to: IpAddr, port: u16, mtu: u16) -> Vec<u8> {
    let mut datagram = [0; udp::LEN];
    udp::Header { src_port: 50_000, dst_port: port, length: 1480, checksum: 0 }.emit(&mut datagram);
    let mut quote = vec![0; if from.is_ipv4() { ipv4::LEN } else { ipv6::LEN }];
    let mut message = vec![0; 8];
    match (from, to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Header {
                tos: 0,
                total_len: 1500,
                ident: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 63,
                protocol: protocol::UDP,
                src,
                dst,
            }
            .emit(&mut quote);
            icmpv4::Header::fragmentation_needed(mtu).emit(&mut message);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len: 1460,
                next_header: protocol::UDP,
                hop_limit: 63,
                src,
                dst,
            }
            .emit(&mut quote);
            icmpv6::Header::packet_too_big(mtu.into()).emit(&mut message, src, dst);
        }
        _ => unreachable!("ends of one family"),
    }
    message.extend(quote);
    message.extend(datagram);
    if from.is_ipv4() {
        message[2..4].fill(0);
        let sum = checksum::of(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Whoever knows what we send may narrow a path, to what is sensible; nobody else.
fn forged_news(ours: &str, theirs: &str, least: usize) {
    let two = Two::new();
    if ours.contains(':') {
        two.a.ip(&format!("address add {ours}/64 dev eth0 nodad"));
        two.b.ip(&format!("address add {theirs}/64 dev eth0 nodad"));
    }
    let (mut a, mut b) = two.start("eth0", ours, theirs);
    two.a1.reaches("10.9.2.2");
    let path = || a.get::<Peers>("/v1/show/peers").peers[0].path_mtu;
    let [from, to]: [IpAddr; 2] = [ours, theirs].map(|address| address.parse().unwrap());
    let (domain, kind) = match from {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = || Socket::new(domain, Type::RAW, Some(kind)).unwrap();
    let forger = netns::within(Some(&two.b.path()), socket).unwrap();
    let tell = |from, to, port, mtu| {
        let message = too_big(from, to, port, mtu);
        forger.send_to(&message, &SocketAddr::new(ours.parse().unwrap(), 0).into()).unwrap();
    };
    // Of somebody else's packets, of ours to somebody else, of another port; and that less is too long
    // than what our own link takes.
    let other = match from {
        IpAddr::V4(_) => "192.168.70.9",
        IpAddr::V6(_) => "fd00:70::9",
    };
    let other = other.parse().unwrap();
    for (from, to, port, mtu) in [
        (other, to, VXLAN, 1400),
        (to, from, VXLAN, 1400),
        (from, other, VXLAN, 1400),
        (from, to, VXLAN + 1, 1400),
        (from, to, VXLAN, 1500),
        (from, to, VXLAN, 9000),
    ] {
        tell(from, to, port, mtu);
    }
    // They are heard in their order: the last one is believed, as far as is sensible.
    tell(from, to, VXLAN, 68);
    wait_for("the last one to be heard", || path().is_some());
    assert_eq!(path(), Some(least));
    let said = a.log().lines().filter(|line| line.contains("a router says")).count();
    assert_eq!(said, 1, "{}", a.log());
    assert!(two.a1.pings("10.9.2.2"));
    finish([&mut a, &mut b]);
}

#[test]
fn forged_news_over_ipv4() {
    forged_news("192.168.70.1", "192.168.70.2", 552);
}

#[test]
fn forged_news_over_ipv6() {
    forged_news("fd00:70::1", "fd00:70::2", 1280);
}
