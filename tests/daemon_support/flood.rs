//! More packets than anybody asked for, from more sources than anybody can remember.

use super::Space;
use super::two::Two;
use cableway::bench::traffic::Wire;
use encap::wire::checksum;
use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The node that they come from: a peer of `b` by `br0`, which takes no part otherwise.
pub(crate) const ADDRESS: &str = "192.168.70.3";
/// What is behind it.
pub(crate) const SUBNET: &str = "10.128.0.0/9";
/// About a million.
pub(crate) const MILLION: u32 = 1 << 20;
/// The pod's address.
const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);
const ETHERNET: usize = 14;
const IP: usize = 20;

/// What is sent to the pod `b1`: packets of 40 bytes, in IPIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP's SYN to this port, from a million sources.
    Syns(u16),
    /// Datagrams to port 9, from so many, by turns.
    Datagrams(u32),
}

/// One that goes on until it is stopped.
pub(crate) struct Flood {
    thread: JoinHandle<u64>,
    is_over: Arc<AtomicBool>,
    start: Instant,
}

/// The node's namespace. `b` answers to there, where nobody takes it.
pub(crate) fn node(two: &Two) -> Space {
    let node = Space::new("c");
    two.plug(&node, "c", 0);
    node.ip(&format!("address add {ADDRESS}/24 dev eth0"));
    node
}

/// What `b`'s config says of it.
pub(crate) fn peer() -> String {
    format!(
        "[[tunnel.ipip]]\n[[peer]]\nname = \"c\"\naddress = \"{ADDRESS}\"\ntunnel = \"ipip\"\n\
         subnets = [\"{SUBNET}\"]\n"
    )
}

impl Flood {
    /// So many a second.
    pub(crate) fn start(from: &Space, to: &Space, kind: Kind, rate: f64) -> Flood {
        let wire = Wire::open(&from.name, "eth0").expect("the node has a device");
        let mut frames = vec![frame(from, to, kind); 64];
        let is_over = Arc::new(AtomicBool::new(false));
        let (stop, start) = (is_over.clone(), Instant::now());
        let sources = match kind {
            Kind::Syns(_) => MILLION,
            Kind::Datagrams(sources) => sources,
        };
        let send = move || {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * rate) as u64 - sent;
                let due = (due as usize).min(frames.len());
                if due < 16 {
                    sleep(Duration::from_micros(50));
                    continue;
                }
                for (number, frame) in (sent..).zip(&mut frames[..due]) {
                    vary(frame, (number as u32).wrapping_mul(0x9e37_79b1) % sources);
                }
                sent += wire.send(&frames[..due]).expect("the device is up") as u64;
            }
            sent
        };
        Flood { thread: std::thread::spawn(send), is_over, start }
    }

    /// How many were sent, and in which time.
    pub(crate) fn stop(self) -> (u64, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        let sent = self.thread.join().expect("the flood goes on until it is stopped");
        (sent, self.start.elapsed())
    }
}

fn frame(from: &Space, to: &Space, kind: Kind) -> Vec<u8> {
    let mac = |space: &Space| {
        let text = space.exec("cat /sys/class/net/eth0/address");
        text.trim().parse::<encap::wire::Mac>().expect("a device of Ethernet has a MAC").0
    };
    let [outer_src, outer_dst, src] = [[192, 168, 70, 3], [192, 168, 70, 2], [10, 128, 0, 1]];
    let mut inner = Vec::new();
    let ip = PacketBuilder::ipv4(src, POD.octets(), 64);
    match kind {
        Kind::Syns(port) => ip.tcp(40_000, port, 1, 64_240).syn().write(&mut inner, &[]),
        Kind::Datagrams(_) => ip.udp(40_000, 9).write(&mut inner, &[0; 12]),
    }
    .expect("it is short");
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(mac(from), mac(to))
        .ipv4(outer_src, outer_dst, 64)
        .write(&mut bytes, etherparse::IpNumber::IPV4, &inner)
        .expect("it is short");
    bytes
}

/// Gives a frame the source of this number.
fn vary(frame: &mut [u8], source: u32) {
    let inner = &mut frame[ETHERNET + IP..];
    inner[12..16].copy_from_slice(&(0x0a80_0000 | source).to_be_bytes());
    inner[10..12].fill(0);
    let sum = checksum::of(&inner[..IP]);
    inner[10..12].copy_from_slice(&sum.to_be_bytes());
}
