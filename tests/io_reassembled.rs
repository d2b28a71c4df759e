//! Outer packets that the kernel puts together, sent by another kernel's sockets.
#![allow(clippy::unwrap_used)]

mod io;

use cableway::io::Port;
use cableway::io::reassembled::{Inbox, Place, Reassembled};
use encap::Steer;
use encap::wire::{ipv4, ipv6, udp};
use io::{Netns, Worker, needs_root, run, until};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use pipeline::frame::Batch;
use pipeline::stages::port::WHOLE;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

const PORT: u16 = 8472;
/// DSCP EF and ECT(0).
const TOS: u8 = 0xba;

/// A wire of MTU 1500 from a sender to a receiver, whose sockets a port reads.
struct Wire {
    sender: Netns,
    receiver: Netns,
    inbox: Arc<Inbox>,
    port: Reassembled,
    worker: Worker,
}

impl Wire {
    fn new() -> Wire {
        needs_root();
        let (sender, receiver) = (Netns::new(), Netns::new());
        run(&[
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            &sender.name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &receiver.name,
        ]);
        for (space, number) in [(&sender, 1), (&receiver, 2)] {
            space.up("eth0", &format!("192.0.2.{number}/24"));
            space.up("eth0", &format!("2001:db8::{number}/64"));
        }
        let link = receiver.within(|| cableway::io::device::index("eth0").unwrap());
        let inbox = Inbox::new().unwrap();
        inbox.listen_to(&[link]).unwrap();
        let port = Reassembled::new(inbox.clone());
        Wire { sender, receiver, inbox, port, worker: Worker::new(4096) }
    }

    fn open(&self, address: IpAddr, by: Steer) {
        self.receiver.within(|| self.inbox.open(Place { address, by }).unwrap());
    }

    /// Sends so many bytes behind the outer headers.
    fn send(&self, to: IpAddr, by: Steer, len: usize) {
        let (kind, protocol, port) = match by {
            Steer::Udp(port) => (Type::DGRAM, Protocol::UDP, port),
            Steer::Protocol(number) => (Type::RAW, Protocol::from(i32::from(number)), 0),
        };
        let to = SocketAddr::new(to, port);
        let socket = self
            .sender
            .within(|| Socket::new(Domain::for_address(to), kind, Some(protocol)).unwrap());
        match to {
            SocketAddr::V4(_) => socket.set_tos_v4(TOS.into()).unwrap(),
            SocketAddr::V6(_) => socket.set_tclass_v6(TOS.into()).unwrap(),
        }
        assert_eq!(socket.send_to(&payload(len), &to.into()).unwrap(), len);
    }

    /// The next packet that the port has.
    fn receive(&mut self) -> Vec<u8> {
        let mut batch = Batch::new();
        until("a packet", || {
            self.worker.rx(&mut self.port, &mut batch);
            !batch.is_empty()
        });
        assert_eq!(batch.len(), 1);
        let frame = batch.take(0);
        batch.drain().for_each(|hollow| hollow.free(&mut self.worker.pool));
        let bytes = frame.segments().flatten().copied().collect();
        frame.free(&mut self.worker.pool);
        bytes
    }

    fn dropped_by_the_kernel(&mut self) -> u64 {
        self.port.meter().unwrap().kernel_drops().iter().map(|drop| drop.count).sum()
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Of the receiver's addresses, that of the family.
fn ours(is_v4: bool) -> (IpAddr, IpAddr) {
    let pair = if is_v4 { ["192.0.2.1", "192.0.2.2"] } else { ["2001:db8::1", "2001:db8::2"] };
    let [from, to] = pair.map(|address| address.parse().unwrap());
    (from, to)
}

/// Checks the outer IP header; what stands behind it, and its protocol.
fn behind_ip(packet: &[u8], (from, to): (IpAddr, IpAddr)) -> (u8, &[u8]) {
    match packet[0] >> 4 {
        4 => {
            let ip = ipv4::View::new(packet).unwrap();
            assert!(ip.verify() && !ip.is_fragment());
            assert_eq!((ip.src().into(), ip.dst().into(), ip.tos()), (from, to, TOS));
            assert_eq!(usize::from(ip.total_len()), packet.len());
            (ip.protocol(), ip.payload())
        }
        _ => {
            let ip = ipv6::View::new(packet).unwrap();
            assert_eq!((ip.src().into(), ip.dst().into(), ip.traffic_class()), (from, to, TOS));
            assert_eq!(ip.total_len(), packet.len());
            (ip.next_header(), ip.payload())
        }
    }
}

#[test]
fn datagrams_are_as_they_were_sent() {
    let mut wire = Wire::new();
    for is_v4 in [true, false] {
        let ends = ours(is_v4);
        wire.open(ends.1, Steer::Udp(PORT));
        for len in [1500, 3000, 9000, 65_000] {
            wire.send(ends.1, Steer::Udp(PORT), len);
            let packet = wire.receive();
            let (protocol, datagram) = behind_ip(&packet, ends);
            let udp = udp::View::new(datagram).unwrap();
            assert_eq!((protocol, udp.dst_port(), udp.checksum()), (17, PORT, 0));
            assert!(udp.src_port() > 0);
            assert!(udp.payload() == payload(len), "{len} bytes");
        }
    }
    assert_eq!(wire.dropped_by_the_kernel(), 0);
    wire.worker.assert_all_chunks_are_back();
}

#[test]
fn so_are_packets_without_ports() {
    let mut wire = Wire::new();
    for (is_v4, number) in [(true, 4), (true, 41), (false, 4), (false, 41)] {
        let (ends, by) = (ours(is_v4), Steer::Protocol(number));
        wire.open(ends.1, by);
        for len in [1500, 9000, 65_000] {
            wire.send(ends.1, by, len);
            let packet = wire.receive();
            let (protocol, inner) = behind_ip(&packet, ends);
            assert_eq!(protocol, number);
            assert!(inner == payload(len), "{len} bytes");
        }
    }
    wire.worker.assert_all_chunks_are_back();
}

#[test]
fn whole_ones_are_refused_and_those_of_other_devices_not_even_seen() {
    let mut wire = Wire::new();
    let mut batch = Batch::new();
    for (n, (is_v4, by)) in [
        (true, Steer::Udp(PORT)),
        (true, Steer::Protocol(4)),
        (false, Steer::Udp(PORT)),
        (false, Steer::Protocol(41)),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, to) = ours(is_v4);
        wire.open(to, by);
        wire.send(to, by, 1000);
        until("it to be refused", || {
            wire.worker.rx(&mut wire.port, &mut batch);
            wire.worker.drops(WHOLE) == n as u64 + 1
        });
    }
    let (_, to) = ours(true);
    wire.receiver.run(&["ip", "link", "set", "lo", "mtu", "1280"]);
    let itself = wire.receiver.within(|| std::net::UdpSocket::bind("192.0.2.2:0").unwrap());
    itself.send_to(&payload(3000), (to, PORT)).unwrap();
    // What is behind it in the same socket shows that it is not there.
    wire.send(to, Steer::Udp(PORT), 2000);
    assert_eq!(wire.receive().len(), 2028);
    assert!(batch.is_empty());
    assert_eq!(wire.worker.counters.received.get(), 4, "those that were refused");
    wire.worker.assert_all_chunks_are_back();
}

#[test]
fn more_than_waits_is_counted_and_takes_no_memory_of_ours() {
    let mut wire = Wire::new();
    let (_, to) = ours(true);
    wire.open(to, Steer::Udp(PORT));
    for _ in 0..1000 {
        wire.send(to, Steer::Udp(PORT), 8000);
    }
    until("the kernel to drop some", || wire.dropped_by_the_kernel() > 100);
    let dropped = wire.dropped_by_the_kernel();
    let (mut batch, mut received) = (Batch::new(), 0);
    loop {
        let more = wire.port.rx(&mut batch, &mut wire.worker.cx(0)).unwrap();
        received += batch.len() as u64;
        assert!(batch.len() <= 16, "other ports have their turn, too");
        batch.drain().for_each(|frame| frame.free(&mut wire.worker.pool));
        if !more {
            break;
        }
    }
    assert_eq!(received + dropped, 1000);
    // What was dropped at a socket stays counted when it goes.
    wire.inbox.retain(|_| false);
    assert_eq!(wire.dropped_by_the_kernel(), dropped);
    wire.worker.assert_all_chunks_are_back();
}

#[test]
fn each_arrival_is_an_edge_also_at_sockets_that_come_later() {
    let mut wire = Wire::new();
    let mut poll = Poll::new().unwrap();
    let fd = wire.port.readiness().unwrap().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    for (is_v4, by) in
        [(true, Steer::Udp(PORT)), (false, Steer::Udp(PORT)), (true, Steer::Protocol(4))]
    {
        let (_, to) = ours(is_v4);
        wire.open(to, by);
        for _ in 0..3 {
            wire.send(to, by, 3000);
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "it is told of");
            wire.receive();
            let mut batch = Batch::new();
            assert!(!wire.port.rx(&mut batch, &mut wire.worker.cx(0)).unwrap(), "that was all");
        }
    }
    wire.inbox.retain(|place| place.address.is_ipv6());
    let again = Place { address: ours(true).1, by: Steer::Udp(PORT) };
    assert!(!wire.inbox.has(again));
    // A process that another test starts just now has a copy of the closed socket until its exec.
    until("its port to be free", || match wire.receiver.within(|| wire.inbox.open(again)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        opened => {
            opened.unwrap();
            true
        }
    });
}
