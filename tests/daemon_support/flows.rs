//! Numbered datagrams of several flows at once, and in which order they arrive.

use super::Space;
use cableway::io::netns;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const PORT: u16 = 7008;
/// The first port that flows of [`landing`] come from.
const FIRST: u16 = 20_000;
/// Datagrams of a flow that are sent at once, and what lies between two such lots.
const LOT: (u32, Duration) = (8, Duration::from_millis(1));
/// Datagrams that may be under way, fewer than a ring holds: a worker that has no core for a moment loses
/// none. Those that take longer than this are taken for lost.
const UNDER_WAY: (u32, Duration) = (1024, Duration::from_millis(100));
/// Nothing more comes after such a silence.
const SILENCE: Duration = Duration::from_millis(500);

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// Flows of which anything did.
    pub(crate) flows: usize,
    /// Datagrams.
    pub(crate) datagrams: u32,
    /// Those that a later one of their flow had overtaken, or that came twice.
    pub(crate) late: u32,
}

/// Sends `each` datagrams in every one of `flows` flows to the address of a pod in `to`.
pub(crate) fn send(from: &Space, to: &Space, address: &str, flows: u16, each: u32) -> Arrived {
    let place = SocketAddr::new(address.parse().expect("an address"), PORT);
    let receiver = bind(to, &place.to_string());
    set_socket_recv_buffer_size(&receiver, 8 << 20).expect("a buffer");
    receiver.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let (sent, received) = (AtomicU32::new(0), AtomicU32::new(0));
    let wait_for_room = || {
        let start = Instant::now();
        let under_way = || sent.load(Relaxed).saturating_sub(received.load(Relaxed));
        while under_way() >= UNDER_WAY.0 {
            if start.elapsed() > UNDER_WAY.1 {
                sent.store(received.load(Relaxed), Relaxed);
            }
            std::thread::sleep(LOT.1);
        }
    };
    std::thread::scope(|scope| {
        let senders = (0..flows).map(|_| {
            scope.spawn(|| {
                let any = if place.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let sender = bind(from, any);
                sender.connect(place).expect("a UDP socket connects without a word");
                for n in 0..each {
                    wait_for_room();
                    let _ = sender.send(&n.to_be_bytes());
                    sent.fetch_add(1, Relaxed);
                    if n % LOT.0 == 0 {
                        std::thread::sleep(LOT.1);
                    }
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        let mut next: HashMap<SocketAddr, u32> = HashMap::new();
        let mut arrived = Arrived::default();
        let mut bytes = [0; 4];
        loop {
            let Ok((_, flow)) = receiver.recv_from(&mut bytes) else {
                if senders.iter().all(|sender| sender.is_finished()) {
                    break;
                }
                continue;
            };
            let n = u32::from_be_bytes(bytes);
            let next = next.entry(flow).or_default();
            arrived.datagrams += 1;
            received.fetch_add(1, Relaxed);
            arrived.late += u32::from(n < *next);
            *next = n + 1;
        }
        Arrived { flows: next.len(), ..arrived }
    })
}

fn bind(space: &Space, place: &str) -> UdpSocket {
    let socket = netns::within(Some(&space.path()), || UdpSocket::bind(place));
    socket.expect("the namespace is there").expect("the address is there")
}

/// Sends a datagram from each of `flows` ports to an address that every one of `to` has; which of these each
/// reached, by its index.
pub(crate) fn landing(
    from: &Space,
    to: &[&Space],
    address: &str,
    flows: u16,
) -> Vec<Option<usize>> {
    let place = SocketAddr::new(address.parse().expect("an address"), PORT);
    let receivers = to.iter().map(|space| {
        let receiver = bind(space, &place.to_string());
        receiver.set_read_timeout(Some(SILENCE)).expect("a timeout");
        receiver
    });
    let receivers: Vec<_> = receivers.collect();
    for n in 0..flows {
        let sender = bind(from, &format!("0.0.0.0:{}", FIRST + n));
        let _ = sender.send_to(&[], place);
    }
    let mut reached = vec![None; flows.into()];
    for (i, receiver) in receivers.iter().enumerate() {
        while let Ok((_, flow)) = receiver.recv_from(&mut [0; 4]) {
            reached[usize::from(flow.port() - FIRST)] = Some(i);
        }
    }
    reached
}
