//! Traffic that runs while something changes: numbered datagrams to an echo, and when they came
//! back.

use super::Space;
use super::daemon::PATIENCE;
use cableway::io::netns;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two datagrams.
const INTERVAL: Duration = Duration::from_millis(5);
const PORT: u16 = 7007;
/// A datagram that has not come back for so long is lost.
const LATE: Duration = Duration::from_secs(3);

/// Datagrams on their way to and fro until this is dropped.
pub(crate) struct Stream {
    stop: Arc<AtomicBool>,
    stop_sending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
    epoch: Instant,
}

#[derive(Default)]
struct Seen {
    /// When the youngest datagram was sent that has come back, since the epoch.
    youngest: Option<Duration>,
    /// Datagrams sent, and come back.
    sent: u64,
    back: u64,
    /// When the last one came back, and the longest time without any.
    last: Option<Duration>,
    gap: Duration,
}

impl Stream {
    /// From `from` to the address of a pod in `to`.
    pub(crate) fn new(from: &Space, to: &Space, address: &str) -> Stream {
        Stream::every(INTERVAL, from, to, address)
    }

    /// The same with another time between two datagrams.
    pub(crate) fn every(interval: Duration, from: &Space, to: &Space, address: &str) -> Stream {
        let place = SocketAddr::new(address.parse().expect("an address"), PORT);
        let any = if place.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let echo = bind(to, &place.to_string());
        let sender = bind(from, any);
        sender.connect(place).expect("a UDP socket connects without a word");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let epoch = Instant::now();
        let mut threads = Vec::new();
        let done = stop.clone();
        threads.push(std::thread::spawn(move || answer(&echo, &done)));
        let (done, receiver) = (stop.clone(), sender.try_clone().expect("a descriptor"));
        let counts = seen.clone();
        threads.push(std::thread::spawn(move || collect(&receiver, epoch, &counts, &done)));
        let stop_sending = Arc::new(AtomicBool::new(false));
        let (done, counts) = (stop_sending.clone(), seen.clone());
        threads.push(std::thread::spawn(move || send(&sender, epoch, interval, &counts, &done)));
        Stream { stop, stop_sending, threads, seen, epoch }
    }

    /// Waits until a datagram has come back that was sent from now on; how long that took.
    pub(crate) fn passes(&self) -> Duration {
        let from = self.epoch.elapsed();
        loop {
            let youngest = self.seen.lock().expect("no thread panics").youngest;
            if youngest.is_some_and(|sent| sent >= from) {
                return self.epoch.elapsed() - from;
            }
            let waited = self.epoch.elapsed() - from;
            assert!(waited < PATIENCE, "nothing has come back for {waited:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether nothing comes back for a while.
    pub(crate) fn is_cut(&self) -> bool {
        // What is on its way may still arrive.
        std::thread::sleep(Duration::from_millis(100));
        let before = self.seen.lock().expect("no thread panics").back;
        std::thread::sleep(Duration::from_millis(200));
        self.seen.lock().expect("no thread panics").back == before
    }

    /// The longest time in which none came back between two that did, since this was last asked.
    pub(crate) fn longest_gap(&self) -> Duration {
        std::mem::take(&mut self.seen.lock().expect("no thread panics").gap)
    }

    /// Datagrams sent, and come back.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock().expect("no thread panics");
        (seen.sent, seen.back)
    }
}

impl Stream {
    /// Ends it; how many datagrams were lost.
    pub(crate) fn finish(self) -> u64 {
        self.stop_sending.store(true, Ordering::Relaxed);
        let start = Instant::now();
        let lost = |(sent, back): (u64, u64)| sent - back;
        // Not while one may be under way.
        while lost(self.counts()) > 0 && start.elapsed() < LATE {
            std::thread::sleep(Duration::from_millis(5));
        }
        lost(self.counts())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stop_sending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn bind(space: &Space, place: &str) -> UdpSocket {
    let socket = netns::within(Some(&space.path()), || UdpSocket::bind(place));
    let socket = socket.expect("the namespace is there").expect("the address is there");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    socket
}

fn answer(echo: &UdpSocket, done: &AtomicBool) {
    let mut bytes = [0; 64];
    while !done.load(Ordering::Relaxed) {
        if let Ok((length, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..length], from);
        }
    }
}

fn send(
    sender: &UdpSocket,
    epoch: Instant,
    interval: Duration,
    seen: &Mutex<Seen>,
    done: &AtomicBool,
) {
    while !done.load(Ordering::Relaxed) {
        let now = u64::try_from(epoch.elapsed().as_nanos()).expect("it is not that long ago");
        // Before it can be back.
        seen.lock().expect("no thread panics").sent += 1;
        // An ICMP error for an earlier one is no matter.
        let _ = sender.send(&now.to_be_bytes());
        std::thread::sleep(interval);
    }
}

fn collect(receiver: &UdpSocket, epoch: Instant, seen: &Mutex<Seen>, done: &AtomicBool) {
    let mut bytes = [0; 8];
    while !done.load(Ordering::Relaxed) {
        let Ok(8) = receiver.recv(&mut bytes) else { continue };
        let sent = Duration::from_nanos(u64::from_be_bytes(bytes));
        let mut seen = seen.lock().expect("no thread panics");
        seen.back += 1;
        let now = epoch.elapsed();
        seen.gap = seen.gap.max(now - seen.last.replace(now).unwrap_or(now));
        seen.youngest = seen.youngest.max(Some(sent));
    }
}

/// Carries `length` bytes by TCP from a pod to the address of another one, and back; they must
/// arrive as they were.
pub(crate) fn carry(from: &Space, to: &Space, address: &str, length: usize) {
    let place = SocketAddr::new(address.parse().expect("an address"), PORT);
    let bytes: Vec<u8> = (0..length).map(|i| (i / 251) as u8).collect();
    let listener = netns::within(Some(&to.path()), || TcpListener::bind(place));
    let listener = listener.expect("the namespace is there").expect("the address is there");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut peer, _) = listener.accept().expect("somebody connects");
            peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut got = vec![0; length];
            peer.read_exact(&mut got).expect("all bytes arrive");
            peer.write_all(&got).expect("all bytes go back");
        });
        let connect = || TcpStream::connect_timeout(&place, PATIENCE);
        let peer = netns::within(Some(&from.path()), connect).expect("the namespace is there");
        let mut peer = peer.expect("the other one answers");
        peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        peer.write_all(&bytes).expect("the bytes are sent");
        let mut got = vec![0; length];
        peer.read_exact(&mut got).expect("all bytes come back");
        assert!(got == bytes, "the bytes are the same");
    });
}
