//! Two pods of a node, and what goes from one to the other: a load by a route that nobody touches, and
//! probes to where there is no route yet.

use cableway::io::netns;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The load: so many datagrams at once, and so long between two such lots.
const LOT: (u64, Duration) = (10, Duration::from_millis(1));
/// Time between two probes; the kernel's timers add half of it.
const PROBE: Duration = Duration::from_micros(100);
/// How long anything may be under way.
const LATE: Duration = Duration::from_secs(5);
const LOAD_PORT: u16 = 7001;
const PROBE_PORT: u16 = 7002;
const TO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

/// A namespace that goes with this.
struct Space(String);

impl Space {
    fn new(name: String) -> Space {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        Space(name)
    }

    fn socket(&self, port: u16) -> UdpSocket {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let socket = netns::within(Some(&netns::path(&self.0)), bind).unwrap().unwrap();
        set_socket_recv_buffer_size(&socket, 4 << 20).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        socket
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// The pods.
pub(crate) struct Pods {
    from: Space,
    to: Space,
}

impl Pods {
    /// Their namespaces; the node makes the devices.
    pub(crate) fn new(node: &str) -> Pods {
        let space = |pod| Space::new(format!("bench-{}-{node}-{pod}", std::process::id()));
        let pods = Pods { from: space("from"), to: space("to") };
        // All that is routed there reaches a socket.
        ip(&format!("-n {} route add local 10.64.0.0/10 dev lo", pods.to.0));
        pods
    }

    /// What a node's config says of them.
    pub(crate) fn config(&self) -> String {
        let port = |name, space: &Space, address| {
            format!(
                "[[port]]\nname = '{name}'\nkind = 'tun'\nnetns = '{}'\ndevice = 'eth0'\n\
                 addresses = ['{address}/24']\n",
                space.0
            )
        };
        "[gateway]\naddresses = ['10.9.0.1']\n".to_owned()
            + &port("from", &self.from, Ipv4Addr::new(10, 9, 0, 2))
            + &port("to", &self.to, TO)
    }

    /// Lets it flow.
    pub(crate) fn talk(self) -> Traffic {
        let shared = Arc::new(Shared::default());
        let (seen, arrivals) = mpsc::channel();
        let mut threads = Vec::new();
        let mut start = |f: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || f(&shared)));
        };
        let (load, sink) = (self.from.socket(0), self.to.socket(LOAD_PORT));
        start(Box::new(move |shared| shared.send_load(&load)));
        start(Box::new(move |shared| shared.take_load(&sink)));
        let (probe, sink) = (self.from.socket(0), self.to.socket(PROBE_PORT));
        start(Box::new(move |shared| shared.send_probes(&probe)));
        start(Box::new(move |shared| shared.take_probes(&sink, &seen)));
        Traffic { shared, arrivals, threads, _pods: self }
    }
}

/// What flows, until this is dropped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    arrivals: mpsc::Receiver<(Ipv4Addr, Instant)>,
    threads: Vec<JoinHandle<()>>,
    _pods: Pods,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    is_loaded: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    /// The longest time between two datagrams of the load, in ns.
    gap: AtomicU64,
    /// Where probes go.
    probed: AtomicU32,
}

impl Traffic {
    /// Begins or ends the load.
    pub(crate) fn load(&self, is_loaded: bool) {
        self.shared.is_loaded.store(is_loaded, Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        self.longest_gap();
    }

    /// Sends probes to an address from now on.
    pub(crate) fn probe(&self, address: Ipv4Addr) {
        self.shared.probed.store(address.to_bits(), Relaxed);
        std::thread::sleep(PROBE * 5);
    }

    /// When the first probe to an address arrived.
    pub(crate) fn arrival(&self, address: Ipv4Addr) -> Instant {
        loop {
            let (to, when) = self.arrivals.recv_timeout(LATE).expect("a probe arrives");
            if to == address {
                return when;
            }
        }
    }

    /// The longest time between two datagrams of the load, since this was last asked.
    pub(crate) fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.shared.gap.swap(0, Relaxed))
    }

    /// Ends the load; how many of its datagrams were sent, and lost.
    pub(crate) fn losses(&self) -> (u64, u64) {
        self.load(false);
        let start = Instant::now();
        loop {
            let (sent, received) =
                (self.shared.sent.load(Relaxed), self.shared.received.load(Relaxed));
            if sent == received || start.elapsed() > LATE {
                return (sent, sent - received);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn send_load(&self, socket: &UdpSocket) {
        while !self.is_over.load(Relaxed) {
            if self.is_loaded.load(Relaxed) {
                for _ in 0..LOT.0 {
                    socket.send_to(&[0; 32], (TO, LOAD_PORT)).unwrap();
                }
                self.sent.fetch_add(LOT.0, Relaxed);
            }
            std::thread::sleep(LOT.1);
        }
    }

    fn take_load(&self, socket: &UdpSocket) {
        let mut last: Option<Instant> = None;
        while !self.is_over.load(Relaxed) {
            if socket.recv(&mut [0; 64]).is_err() {
                // There is no load.
                last = last.filter(|_| self.is_loaded.load(Relaxed));
                continue;
            }
            self.received.fetch_add(1, Relaxed);
            let now = Instant::now();
            let gap = now - last.replace(now).unwrap_or(now);
            self.gap.fetch_max(gap.as_nanos() as u64, Relaxed);
        }
    }

    fn send_probes(&self, socket: &UdpSocket) {
        while !self.is_over.load(Relaxed) {
            let to = self.probed.load(Relaxed);
            if to != 0 {
                socket.send_to(&to.to_be_bytes(), (Ipv4Addr::from_bits(to), PROBE_PORT)).unwrap();
            }
            std::thread::sleep(PROBE);
        }
    }

    /// Tells of the first probe to each address.
    fn take_probes(&self, socket: &UdpSocket, seen: &mpsc::Sender<(Ipv4Addr, Instant)>) {
        let (mut bytes, mut last) = ([0; 4], [0; 4]);
        while !self.is_over.load(Relaxed) {
            if socket.recv(&mut bytes).is_ok() && bytes != last {
                let _ = seen.send((bytes.into(), Instant::now()));
                last = bytes;
            }
        }
    }
}
