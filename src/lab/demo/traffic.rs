//! Streams and datagrams between namespaces, by the standard library's sockets: a socket stays in
//! the namespace it was made in, so that one process holds both ends and compares.

use super::super::{netns, shell};
use super::Fault;
use hdrhistogram::Histogram;
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a connection may take to come about, or to make any progress, and a datagram's echo to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one write.
const CHUNK: usize = 128 * 1024;
/// Bytes of one ping-pong.
const BALL: usize = 64;

/// Both ends of a TCP connection from one namespace to another.
pub(super) fn connect(
    from: &str,
    to: &str,
    address: IpAddr,
) -> Result<(TcpStream, TcpStream), Fault> {
    let listener = netns::within(to, || TcpListener::bind((address, 0)))?;
    let listener = listener.map_err(|e| failed("listen on", address, &e))?;
    let there = listener.local_addr().map_err(|e| failed("listen on", address, &e))?;
    let client = netns::within(from, || TcpStream::connect_timeout(&there, PATIENCE))?;
    let client = client.map_err(|e| failed("connect to", there, &e))?;
    let server = accept(&listener).map_err(|e| failed("accept on", there, &e))?;
    for end in [&client, &server] {
        let set = || {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_write_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)
        };
        set().map_err(|e| failed("use", there, &e))?;
    }
    Ok((client, server))
}

/// The client is connected, so what is left to wait for is the last step of the handshake.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(e),
        }
    }
}

/// Sends a stream of noise in each direction of one connection at once and compares the hash of
/// what was received with that of what was sent; the time it took.
pub(crate) fn exchange(
    from: &str,
    to: &str,
    address: IpAddr,
    bytes: u64,
) -> Result<Duration, Fault> {
    let (client, server) = connect(from, to, address)?;
    let start = Instant::now();
    let [up, upped, down, downed] = thread::scope(|scope| {
        let run = [
            scope.spawn(|| send(&client, 1, bytes)),
            scope.spawn(|| receive(&server)),
            scope.spawn(|| send(&server, 2, bytes)),
            scope.spawn(|| receive(&client)),
        ];
        run.map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for (way, sent, received) in [("to", up, upped), ("from", down, downed)] {
        let sent = sent.map_err(|e| failed(&format!("send {way}"), address, &e))?;
        let received = received.map_err(|e| failed(&format!("receive {way}"), address, &e))?;
        if sent != received {
            return Err(Fault::Failed(format!(
                "the stream {way} {address}: sent {sent}, received {received}"
            )));
        }
    }
    Ok(start.elapsed())
}

/// What a stream was, for comparison.
#[derive(PartialEq)]
struct Sum {
    bytes: u64,
    sha256: [u8; 32],
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes with SHA-256 ", self.bytes)?;
        self.sha256[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

fn send(mut stream: &TcpStream, seed: u64, bytes: u64) -> io::Result<Sum> {
    let (mut noise, mut hash) = (Noise(seed), Sha256::new());
    let mut buffer = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        interruptible()?;
        let chunk = &mut buffer[..left.min(CHUNK as u64) as usize];
        noise.fill(chunk);
        hash.update(&chunk);
        stream.write_all(chunk)?;
        left -= chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(Sum { bytes, sha256: hash.finalize().into() })
}

fn receive(mut stream: &TcpStream) -> io::Result<Sum> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; CHUNK];
    loop {
        interruptible()?;
        match stream.read(&mut buffer)? {
            0 => return Ok(Sum { bytes, sha256: hash.finalize().into() }),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Sends a datagram of every size, each when the one before has come back, and compares the echo.
pub(super) fn udp_echo(
    from: &str,
    to: &str,
    address: IpAddr,
    sizes: impl Iterator<Item = usize>,
) -> Result<(), Fault> {
    let server = netns::within(to, || UdpSocket::bind((address, 0)))?;
    let server = server.map_err(|e| failed("listen on", address, &e))?;
    let there = server.local_addr().map_err(|e| failed("listen on", address, &e))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = netns::within(from, || UdpSocket::bind(any))?;
    let client = client.map_err(|e| failed("reach", there, &e))?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = scope.spawn(|| serve_echo(&server, &done));
        let result = ask_echo(&client, there, sizes);
        done.store(true, Ordering::Relaxed);
        let served = echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.and(served.map_err(|e| failed("echo at", there, &e)))
    })
}

fn serve_echo(socket: &UdpSocket, done: &AtomicBool) -> io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while !done.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((n, peer)) => drop(socket.send_to(&buffer[..n], peer)?),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn ask_echo(
    socket: &UdpSocket,
    there: SocketAddr,
    sizes: impl Iterator<Item = usize>,
) -> Result<(), Fault> {
    let mut noise = Noise(3);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    socket.connect(there).map_err(|e| failed("reach", there, &e))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|e| failed("reach", there, &e))?;
    for size in sizes {
        let mut datagram = vec![0; size];
        noise.fill(&mut datagram);
        let mut round = || {
            interruptible()?;
            socket.send(&datagram)?;
            socket.recv(&mut buffer)
        };
        let n = round().map_err(|e| failed(&format!("echo {size} bytes at"), there, &e))?;
        if buffer[..n] != datagram {
            let message = format!("{there}: the echo of {size} bytes has {n} bytes, or other ones");
            return Err(Fault::Failed(message));
        }
    }
    Ok(())
}

/// Bits a second that one stream delivers.
pub(super) fn throughput(
    from: &str,
    to: &str,
    address: IpAddr,
    time: Duration,
) -> Result<f64, Fault> {
    let (client, server) = connect(from, to, address)?;
    let chunk = vec![0x5a; CHUNK];
    let start = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| io::copy(&mut &server, &mut io::sink()));
        let send = || {
            while start.elapsed() < time {
                interruptible()?;
                (&client).write_all(&chunk)?;
            }
            client.shutdown(Shutdown::Write)
        };
        (send(), receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let elapsed = start.elapsed();
    let bytes = sent.and(received).map_err(|e| failed("stream to", address, &e))?;
    Ok(bytes as f64 * 8.0 / elapsed.as_secs_f64())
}

/// Nanoseconds of each round trip of a small message over TCP, one at a time.
pub(crate) fn ping_pong(
    from: &str,
    to: &str,
    address: IpAddr,
    time: Duration,
) -> Result<Histogram<u64>, Fault> {
    let (client, server) = connect(from, to, address)?;
    let mut times: Histogram<u64> = Histogram::new_with_max(PATIENCE.as_nanos() as u64, 3)
        .expect("the maximum is above 2, three digits are supported");
    let played = thread::scope(|scope| {
        let partner = scope.spawn(|| {
            let mut ball = [0; BALL];
            // Ends when the other side has had enough and closes.
            while (&server).read_exact(&mut ball).and_then(|()| (&server).write_all(&ball)).is_ok()
            {
            }
        });
        let start = Instant::now();
        let mut ball = [0; BALL];
        let mut play = || {
            while start.elapsed() < time {
                interruptible()?;
                let served = Instant::now();
                (&client).write_all(&ball)?;
                (&client).read_exact(&mut ball)?;
                times.saturating_record(served.elapsed().as_nanos() as u64);
            }
            Ok(())
        };
        let played = play();
        let closed = client.shutdown(Shutdown::Both);
        partner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        played.and(closed)
    });
    played.map_err(|e: io::Error| failed("play ping-pong with", address, &e))?;
    Ok(times)
}

fn interruptible() -> io::Result<()> {
    shell::check_interrupt().map_err(io::Error::other)
}

fn failed(verb: &str, whom: impl std::fmt::Display, error: &io::Error) -> Fault {
    let error = match error.kind() {
        // What a socket's timeout is reported as.
        io::ErrorKind::WouldBlock => "nothing came in time".into(),
        _ => error.to_string(),
    };
    Fault::Failed(format!("cannot {verb} {whom}: {error}"))
}

/// Numbers without a pattern that repeats within a lab's life (xorshift64*).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_differs_from_itself_later_and_by_seed() {
        let (mut one, mut two) = (Noise(1), Noise(2));
        let mut buffers = [[0; 64]; 3];
        one.fill(&mut buffers[0]);
        one.fill(&mut buffers[1]);
        two.fill(&mut buffers[2]);
        assert_ne!(buffers[0], buffers[1]);
        assert_ne!(buffers[0], buffers[2]);
    }
}
