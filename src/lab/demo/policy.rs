//! Whether policies do what a topology expects of them: real clients ask, and the daemons' counters and
//! traces must say the same as what came of it.

use super::super::file::{Answer, Router};
use super::super::topology::{Expectation, Node, Pod, Question};
use super::super::{Error, daemon, netns, shell};
use super::{Fault, Scene, Verdict, law};
use crate::control::management::client::{self, Content};
use crate::control::trace::{Input, Outcome, Report};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server looks for clients before it looks whether it is still needed.
const PAUSE: Duration = Duration::from_millis(5);
/// How long counters may take to tell of a packet that was dropped.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// How long a client waits for an answer that must come, whatever else the machine does, seconds.
const PATIENCE: u64 = 10;
/// How long it waits for one that must not.
const DOUBT: u64 = 1;
/// What servers answer.
const ANSWER: &str = "the answer";
/// Bytes of a large one.
const LARGE: usize = 200_000;

/// Has one pod ask the other, over each family that both have.
pub(super) fn verdict(scene: &Scene, expected: &Expectation) -> Verdict {
    let pod = |name: &str| scene.topology.pod(name).expect("a topology knows its pods");
    let ((from_node, from), (to_node, to)) = (pod(&expected.from), pod(&expected.to));
    let mut families = Vec::new();
    for address in to.addresses.iter() {
        let before = dropped(scene, expected)?;
        let is_answered = ask(expected, from, to, address)?;
        let what = format!("{} asking {address} for {}", from.name, expected.question);
        match (&expected.drop, is_answered) {
            (None, false) => return Err(Fault::Failed(format!("{what}: no answer"))),
            (Some(_), true) => return Err(Fault::Failed(format!("{what} was answered"))),
            (None, true) if expected.answer == Answer::Large => {
                narrowed(scene, to, from, address.is_ipv4())?;
            }
            (None, true) => {}
            (Some(reason), false) => wait_counted(scene, expected, before).map_err(|found| {
                Fault::Failed(format!("{what}: {reason} counted {found} packets"))
            })?,
        }
        let packet = packet(expected.question, from, address)?;
        let traced = trace((from_node, from), (to_node, to), &packet)?;
        if traced != expected.drop {
            let traced =
                traced.map_or("it passes".to_owned(), |reason| format!("a drop, {reason}"));
            return Err(Fault::Failed(format!("{what}: a trace of `{packet}` says {traced}")));
        }
        families.push(if address.is_ipv4() { "IPv4" } else { "IPv6" });
    }
    let (question, families) = (expected.question, families.join(" and "));
    let came = match &expected.drop {
        None => match expected.answer {
            Answer::Small => "is answered".to_owned(),
            Answer::Large => {
                format!("is answered at length, in packets of {}", scene.topology.pod_mtu())
            }
            Answer::Refusal => "is told that nobody is there".to_owned(),
        },
        Some(reason) => format!("is dropped: {reason}"),
    };
    Ok(format!("{} asking {} for {question}, {families}, {came}", from.name, to.name))
}

/// A question's packet, as `trace` takes it.
fn packet(question: Question, from: &Pod, to: IpAddr) -> Result<String, Fault> {
    let mut own = from.addresses.iter().filter(|own| own.is_ipv4() == to.is_ipv4());
    let own = own.next().ok_or_else(|| {
        Fault::Failed(format!("pod {} has no address of the family of {to}", from.name))
    })?;
    let end = |address: IpAddr, port: u16| SocketAddr::from((address, port));
    Ok(match question {
        Question::Ping if to.is_ipv4() => format!("icmp {own} > {to} echo-request"),
        Question::Ping => format!("icmpv6 {own} > {to} echo-request"),
        Question::Tcp(port) => format!("tcp {} > {} syn", end(own, 40_000), end(to, port)),
        Question::Udp(port) => format!("udp {} > {}", end(own, 40_000), end(to, port)),
    })
}

/// The reason for which a trace says that a packet from one pod to another is dropped, by the one node or by
/// the other; `None` if it arrives.
fn trace(
    (from_node, from): (&Node, &Pod),
    (to_node, to): (&Node, &Pod),
    packet: &str,
) -> Result<Option<String>, Fault> {
    let packet = Some(packet.to_owned());
    let port = Some(from.name.clone());
    let there = trace_at(from_node, &Input { port, packet: packet.clone(), ..Input::default() })?;
    let outcome = match there {
        Outcome::Sent { .. } if from_node.name != to_node.name => {
            let peer = Some(from_node.name.clone());
            trace_at(to_node, &Input { peer, packet, ..Input::default() })?
        }
        outcome => outcome,
    };
    match outcome {
        Outcome::Sent { port, .. } if port == to.name => Ok(None),
        Outcome::Dropped { reason, .. } => Ok(Some(reason)),
        other => Err(Fault::Failed(format!("a trace to pod {} ends with {other:?}", to.name))),
    }
}

fn trace_at(node: &Node, input: &Input) -> Result<Outcome, Fault> {
    let content = serde_json::to_value(input).expect("texts are JSON");
    let socket = daemon::socket(&node.name);
    let report: Report = client::call(&socket, "POST", "/v1/trace", Content::Json(content))
        .map_err(|error| Fault::Failed(error.to_string()))?;
    let frame = report.frames.into_iter().next();
    Ok(frame.expect("a trace begins with the packet").outcome)
}

/// Packets that were dropped on all nodes for the reason that is expected.
fn dropped(scene: &Scene, expected: &Expectation) -> Result<u64, Fault> {
    let Some(reason) = &expected.drop else { return Ok(0) };
    let ours = scene.topology.nodes.iter().filter(|node| node.router == Router::Cableway);
    let mut sum = 0;
    for node in ours {
        let drops = law::read(&node.name)?.drops;
        sum +=
            drops.iter().filter(|drop| drop.reason == *reason).map(|drop| drop.count).sum::<u64>();
    }
    Ok(sum)
}

fn wait_counted(scene: &Scene, expected: &Expectation, before: u64) -> Result<(), u64> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        let more = dropped(scene, expected).map_or(0, |now| now.saturating_sub(before));
        match more {
            0 if Instant::now() < deadline => thread::sleep(PAUSE),
            0 => return Err(0),
            _ => return Ok(()),
        }
    }
}

/// Whether who answers has learned what the way to the other carries.
fn narrowed(scene: &Scene, by: &Pod, to: &Pod, is_v4: bool) -> Result<(), Fault> {
    let mtu = scene.topology.pod_mtu();
    let mut ends = to.addresses.iter().filter(|address| address.is_ipv4() == is_v4);
    let there = ends.next().map_or_else(String::new, |address| address.to_string());
    let (_, route) = run(&format!("ip -n {} route get {there}", by.netns))?;
    match route.contains(&format!(" mtu {mtu}")) {
        true => Ok(()),
        false => Err(Fault::Failed(format!(
            "{} has not learned that the way to {there} carries {mtu} bytes: {}",
            by.name,
            route.trim()
        ))),
    }
}

/// Whether the answer is the one that is expected, or whether there is one where none is.
fn ask(expected: &Expectation, from: &Pod, to: &Pod, address: IpAddr) -> Result<bool, Fault> {
    let question = expected.question;
    let answer = match expected.answer {
        Answer::Small => ANSWER.to_owned(),
        Answer::Large => ANSWER.repeat(LARGE / ANSWER.len()),
        Answer::Refusal => return refused(question, from, address),
    };
    let wait = if expected.drop.is_none() { PATIENCE } else { DOUBT };
    let client = match question {
        Question::Ping => format!("ping -n -c 1 -W {wait} {address}"),
        Question::Tcp(port) => {
            let there = SocketAddr::from((address, port));
            format!("curl --silent --show-error --max-time {wait} --noproxy * http://{there}/")
        }
        Question::Udp(port) => format!("nc -u -W 1 -w {wait} {address} {port}"),
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = serve(question, &answer, to, address)?;
        let server = server.map(|mut server| {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    server();
                    thread::sleep(PAUSE);
                }
            })
        });
        let answered = run(&format!("ip netns exec {} {client}", from.netns));
        done.store(true, Ordering::Relaxed);
        if let Some(server) = server {
            server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let (succeeded, text) = answered?;
        Ok(match question {
            Question::Ping => succeeded,
            Question::Tcp(_) | Question::Udp(_) => text.contains(&answer),
        })
    })
}

/// Whether a datagram to where nobody listens is answered so.
fn refused(question: Question, from: &Pod, to: IpAddr) -> Result<bool, Fault> {
    let Question::Udp(port) = question else { return Ok(false) };
    let client = || {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(PATIENCE)))?;
        socket.connect((to, port))?;
        socket.send(b"question")?;
        socket.recv(&mut [0; 16])
    };
    let answer = netns::within(&from.netns, client)?;
    Ok(answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Answers those who ask, each time that it is called.
type Server = Box<dyn FnMut() + Send>;

/// Who is asked, ready before anybody asks; nobody for ping, which the pod's kernel answers.
fn serve(
    question: Question,
    answer: &str,
    to: &Pod,
    address: IpAddr,
) -> Result<Option<Server>, Fault> {
    let answer = answer.to_owned();
    let failed = |port: u16, error: io::Error| {
        Fault::Failed(format!("cannot serve at {}: {error}", SocketAddr::from((address, port))))
    };
    match question {
        Question::Ping => Ok(None),
        Question::Tcp(port) => {
            let listener = netns::within(&to.netns, || TcpListener::bind((address, port)))?;
            let listener = listener.and_then(|l| l.set_nonblocking(true).map(|()| l));
            let listener = listener.map_err(|error| failed(port, error))?;
            Ok(Some(Box::new(move || {
                // A client that goes away has not been answered, and notices that itself.
                if let Ok((mut client, _)) = listener.accept() {
                    let _ = client.set_nonblocking(false);
                    let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
                    let _ = client.read(&mut [0; 1024]);
                    let length = answer.len();
                    let _ = write!(
                        client,
                        "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}"
                    );
                }
            })))
        }
        Question::Udp(port) => {
            let socket = netns::within(&to.netns, || UdpSocket::bind((address, port)))?;
            let socket = socket.and_then(|s| s.set_nonblocking(true).map(|()| s));
            let socket = socket.map_err(|error| failed(port, error))?;
            Ok(Some(Box::new(move || {
                if let Ok((_, client)) = socket.recv_from(&mut [0; 1024]) {
                    let _ = socket.send_to(answer.as_bytes(), client);
                }
            })))
        }
    }
}

/// Runs a client, which is told one line; whether it succeeded, and what it says.
fn run(line: &str) -> Result<(bool, String), Fault> {
    let start = |source| Error::Io { doing: format!("run {line}"), source };
    let mut client = shell::command(line);
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().map_err(start)?;
    if let Some(mut stdin) = client.stdin.take() {
        // One that does not listen needs no line.
        let _ = stdin.write_all(b"question\n");
    }
    let output = client.wait_with_output().map_err(start)?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}
