//! How long it takes until one route that is asked for is in force, with a small table and with a large
//! one: two nodes without a device in this process, asked in turn over their sockets, so that
//! whatever else the machine does meets both alike.
//!
//! `cargo bench --bench control`; without `--bench`, as in the tests, a short run that only shows that
//! it works.
#![allow(clippy::unwrap_used)]

use cableway::config::Config;
use cableway::control::desired::Desired;
use cableway::control::journal::Journal;
use cableway::control::management::{self, Socket};
use cableway::control::node::Node;
use cableway::control::orders;
use cableway::control::undo::Undo;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Routes that go in one request.
const BATCH: u32 = 100_000;

fn main() {
    let is_whole = std::env::args().any(|argument| argument == "--bench");
    let (large, rounds) = if is_whole { (1_000_000, 2_000) } else { (10_000, 10) };
    let directory = std::env::temp_dir().join(format!("cableway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let sizes = [1, large];
    // Only now: a connection that nobody uses is closed.
    let sockets = sizes.map(|size| node(&directory, size));
    let mut clients = sockets.map(|socket| Client::new(&socket));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            let path = format!("/v1/routes/10.0.{}.0/24", round / 2 % 256);
            let start = Instant::now();
            match round % 2 {
                0 => client.ask("PUT", &path, "{\"via\": \"unreachable\"}"),
                _ => client.ask("DELETE", &path, ""),
            }
            times.push(start.elapsed());
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let medians = times.each_mut().map(|times| percentile(times, 50));
    for ((size, times), median) in sizes.iter().zip(&mut times).zip(medians) {
        let worst = percentile(times, 99);
        println!("one route among {size:>9}: p50 {median:.1?}, p99 {worst:.1?}");
    }
    println!("ratio of the medians: {:.2}", medians[1].as_secs_f64() / medians[0].as_secs_f64());
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// A client that stays connected.
struct Client(BufReader<UnixStream>);

impl Client {
    fn new(socket: &Path) -> Client {
        let start = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Client(BufReader::new(stream)),
                Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks for something that must be done.
    fn ask(&mut self, method: &str, path: &str, body: &str) {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        self.0.get_mut().write_all((head + body).as_bytes()).unwrap();
        let (mut line, mut status, mut length) = (String::new(), String::new(), 0);
        while self.0.read_line(&mut line).unwrap() > 2 {
            if status.is_empty() {
                status.clone_from(&line);
            }
            let value = line.to_ascii_lowercase();
            if let Some(value) = value.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        assert!(status.contains("200"), "{status}{}", String::from_utf8_lossy(&answer));
    }
}

/// Starts a node that has `size` routes, and tells where it listens.
fn node(directory: &Path, size: u32) -> PathBuf {
    let path = directory.join(size.to_string());
    let text = format!(
        "node = {{ name = 'a', socket = {path:?} }}\n\
         memory = {{ chunks = 1024, huge-pages = false }}"
    );
    std::thread::spawn(move || run(&text));
    for from in (0..size).step_by(BATCH as usize) {
        let nets = from..size.min(from + BATCH);
        let nets = nets.map(|i| Ipv4Addr::from_bits(0x1000_0000 + i * 256));
        let put = nets.map(|net| json!({ "prefix": format!("{net}/24"), "via": "blackhole" }));
        let batch = json!({ "put": put.collect::<Vec<_>>() });
        Client::new(&path).ask("POST", "/v1/routes", &batch.to_string());
    }
    path
}

/// The node, for as long as this process lives.
fn run(text: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::parse(text, "bench").unwrap();
        let socket = Socket::bind(&config.node).unwrap();
        let (editor, mut orders) = orders::queue(Path::new("bench")).unwrap();
        let (journal, mut undo) = (Journal::beside(socket.path()), Undo::default());
        let mut node = Node::start(Desired::new(config), journal, &mut undo).await.unwrap();
        let state = node.state();
        tokio::select! {
            result = management::serve(&socket, state, editor) => result.unwrap(),
            () = node.follow(&mut orders, &mut undo) => {}
        }
    });
}
