//! What the tests of ports share: namespaces of their own, and a worker's belongings.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use cableway::io::{Port, PortCx, netns};
use pipeline::drops::{Counters, Reason};
use pipeline::frame::{Batch, Frame, Memory, Pool};
use pipeline::snapshot::PortId;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything here to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace that is deleted with this value.
#[derive(Debug)]
pub struct Netns {
    pub name: String,
}

impl Netns {
    pub fn new() -> Netns {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("io-{}-{next}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        let this = Netns { name };
        this.run(&["ip", "link", "set", "lo", "up"]);
        this
    }

    pub fn path(&self) -> PathBuf {
        netns::path(&self.name)
    }

    /// Runs a command inside, which must succeed; returns what it printed.
    pub fn run(&self, command: &[&str]) -> String {
        run(&[&["ip", "netns", "exec", &self.name], command].concat())
    }

    /// Runs code inside.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        netns::within(Some(&self.path()), f).unwrap()
    }

    /// Gives `device` an address and takes it up.
    pub fn up(&self, device: &str, address: &str) {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.run(&[&["ip", "address", "add", address, "dev", device], nodad].concat());
        self.run(&["ip", "link", "set", device, "up"]);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

pub fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}{text}");
    text
}

/// A worker's chunks and counters.
#[derive(Debug)]
pub struct Worker {
    pub pool: Pool,
    pub counters: Counters,
}

impl Worker {
    pub fn new(chunks: u32) -> Worker {
        Worker::with(Memory::new(chunks, false).unwrap())
    }

    pub fn with(memory: &'static Memory) -> Worker {
        Worker { pool: Pool::new(memory), counters: Counters::default() }
    }

    pub fn cx(&mut self, id: u16) -> PortCx<'_> {
        PortCx { id: PortId(id), pool: &mut self.pool, counters: &self.counters }
    }

    pub fn rx(&mut self, port: &mut dyn Port, batch: &mut Batch) {
        port.rx(batch, &mut self.cx(0)).unwrap();
    }

    pub fn tx(&mut self, port: &mut dyn Port, queue: &mut VecDeque<Frame>) -> usize {
        let sent = port.tx(queue, &mut self.cx(0)).unwrap();
        port.poll(&mut self.cx(0)).unwrap();
        sent
    }

    /// Moves everything that `from` has to `to`, after `f` looked at it; returns how many frames.
    pub fn forward(
        &mut self,
        from: &mut dyn Port,
        to: &mut dyn Port,
        mut f: impl FnMut(&mut Frame),
    ) -> usize {
        let (mut batch, mut queue) = (Batch::new(), VecDeque::new());
        self.rx(from, &mut batch);
        queue.extend(batch.drain().map(|mut frame| {
            f(&mut frame);
            frame
        }));
        let count = queue.len();
        let start = Instant::now();
        while !queue.is_empty() {
            self.tx(to, &mut queue);
            assert!(start.elapsed() < PATIENCE, "the port takes no more");
        }
        count
    }

    pub fn drops(&self, reason: Reason) -> u64 {
        self.counters.drops(reason)
    }

    /// The law over chunks, once no frame and no port holds one.
    pub fn assert_all_chunks_are_back(&self) {
        let memory = self.pool.memory();
        assert_eq!(self.pool.idle() + memory.unclaimed(), memory.chunks() as usize);
    }
}

/// Calls `f` until it says true.
pub fn until(what: &str, mut f: impl FnMut() -> bool) {
    let start = Instant::now();
    while !f() {
        assert!(start.elapsed() < PATIENCE, "{what}: did not happen");
        thread::yield_now();
    }
}

/// Sends some megabytes by TCP from `left` to the address `host` of `right` and back, while `turn` does a
/// router's work between them.
pub fn tcp_there_and_back(left: &Netns, right: &Netns, host: &str, mut turn: impl FnMut()) {
    let listener = right.within(|| TcpListener::bind((host, 7000)).unwrap());
    let random = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let data: Vec<u8> = (0..8_000_000u32).map(random).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut content = Vec::new();
            stream.read_to_end(&mut content).unwrap();
            stream.write_all(&content).unwrap();
        });
        let client = scope.spawn(|| {
            let mut stream = left.within(|| TcpStream::connect((host, 7000)).unwrap());
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            done.store(true, Ordering::Relaxed);
            back
        });
        until("TCP", || {
            turn();
            done.load(Ordering::Relaxed)
        });
        assert!(client.join().unwrap() == data, "the bytes came back as they were sent");
        echo.join().unwrap();
    });
}

/// Whether a device of this name is there (in this thread's namespace).
pub fn exists(device: &str) -> bool {
    cableway::io::device::index(device).is_ok()
}

/// Fails a test that cannot be run as this user, instead of passing without a look.
pub fn needs_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces: run it as root"
    );
}

pub fn nowhere() -> &'static Path {
    Path::new("/run/netns/io-does-not-exist")
}
