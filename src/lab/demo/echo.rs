//! Echo requests from many namespaces at once, by sockets of our own: a `ping` for every pair of a
//! big lab's pods would take minutes.

use super::super::netns;
use super::Fault;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

/// Requests to one address, one after the other.
pub(super) const TIMES: usize = 3;
/// How long a reply may take, on a machine that plays all nodes at once.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a message before its data: type, code, checksum, identifier, sequence number (RFC 792,
/// RFC 4443 §4).
const HEADER: usize = 8;

/// A namespace, and the addresses of one family that it asks for, in this order.
pub(super) struct Asker<'a> {
    pub(super) netns: &'a str,
    pub(super) to: Vec<IpAddr>,
}

/// Has all askers ask at once, each for one address after the other. Every request must be replied to
/// once, the first included; how many pairs of asker and address there were.
pub(super) fn ask_all(askers: &[Asker]) -> Result<usize, Fault> {
    thread::scope(|scope| {
        let threads: Vec<_> = askers.iter().map(|asker| scope.spawn(|| ask(asker))).collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        answers.collect::<Result<Vec<()>, Fault>>()
    })?;
    Ok(askers.iter().map(|asker| asker.to.len()).sum())
}

fn ask(asker: &Asker) -> Result<(), Fault> {
    let Some(first) = asker.to.first() else { return Ok(()) };
    let failed = |to: &IpAddr, what: &dyn std::fmt::Display| {
        Fault::Failed(format!("{to} from {}: {what}", asker.netns))
    };
    let socket = netns::within(asker.netns, || open(*first))?;
    let socket = socket.map_err(|e| failed(first, &format!("an echo socket: {e}")))?;
    let requests = asker.to.iter().flat_map(|to| std::iter::repeat_n(to, TIMES));
    for (to, sequence) in requests.zip(1..) {
        socket.send_to(&request(*to, sequence), (*to, 0)).map_err(|e| failed(to, &e))?;
        let mut bytes = [0; 64];
        let (length, from) = socket.recv_from(&mut bytes).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => failed(to, &format!("no reply within {REPLY_WITHIN:?}")),
            _ => failed(to, &e),
        })?;
        if from.ip() != *to || !is_reply(&bytes[..length], sequence) {
            return Err(failed(to, &format!("expected one reply, got one too many from {from}")));
        }
    }
    Ok(())
}

/// A socket of the kind that `ping` uses where it may: the kernel keeps the identifier and the
/// checksum, and gives us the replies to our own requests alone.
fn open(like: IpAddr) -> io::Result<UdpSocket> {
    let protocol = if like.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let domain = Domain::for_address(SocketAddr::new(like, 0));
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(REPLY_WITHIN))?;
    // It sends and receives datagrams like any other.
    Ok(OwnedFd::from(socket).into())
}

fn request(to: IpAddr, sequence: u16) -> [u8; HEADER + 8] {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let [high, low] = sequence.to_be_bytes();
    let mut message = *b"........cableway";
    message[..HEADER].copy_from_slice(&[kind, 0, 0, 0, 0, 0, high, low]);
    message
}

fn is_reply(bytes: &[u8], sequence: u16) -> bool {
    let kind = bytes.first().is_some_and(|kind| [0, 129].contains(kind));
    kind && bytes.get(6..HEADER) == Some(&sequence.to_be_bytes())
}
