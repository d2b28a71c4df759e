//! `AF_XDP` ports on veth pairs, with the kernel's own stack beside and behind them.
#![allow(clippy::unwrap_used)]

mod io;

use cableway::io::af_xdp::{AfXdp, AfXdpConfig, AfXdpError, Attach, Device, Matches, Umem};
use cableway::io::device;
use cableway::io::{KernelDrop, Meter, Port, PortCx};
use encap::Steer;
use etherparse::PacketBuilder;
use io::{Netns, Worker, needs_root, run, until};
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::{Caps, PortId};
use pipeline::stages::port::REFUSED;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Result as IoResult};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

const CHUNKS: u32 = 4096;

fn config(device: &str, matches: Option<Matches>) -> AfXdpConfig {
    AfXdpConfig { device: device.to_owned(), attach: Attach::Auto, matches, ring: 512, fill: 64 }
}

/// A tunnel's packets.
fn tunnels<const N: usize>(all: [(&str, Steer); N]) -> Matches {
    let tunnels = all.map(|(address, steer)| (address.parse().unwrap(), steer));
    Matches { tunnels: tunnels.into(), ..Matches::default() }
}

fn vxlan_to(address: &str) -> (&str, Steer) {
    (address, Steer::Udp(8472))
}

/// All queues of a device as one port, which sends by the first.
struct Whole {
    queues: Vec<AfXdp>,
    meters: Vec<Box<dyn Meter>>,
}

impl Whole {
    fn open(umem: &Arc<Umem>, config: AfXdpConfig) -> Result<Whole, AfXdpError> {
        let mut queues = AfXdp::open(umem, config)?;
        let meters = queues.iter_mut().filter_map(Port::meter).collect();
        Ok(Whole { queues, meters })
    }

    fn kernel_drops(&mut self) -> Vec<KernelDrop> {
        self.meters.iter_mut().flat_map(|meter| meter.kernel_drops()).collect()
    }
}

impl Port for Whole {
    fn link(&self) -> Link {
        self.queues[0].link()
    }

    fn caps(&self) -> Caps {
        self.queues[0].caps()
    }

    fn begin(&mut self, cx: &mut PortCx<'_>) -> IoResult<()> {
        self.queues.iter_mut().try_for_each(|queue| queue.begin(cx))
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> IoResult<bool> {
        let mut more = false;
        for queue in &mut self.queues {
            more |= queue.rx(batch, cx)?;
        }
        Ok(more)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> IoResult<usize> {
        self.queues[0].tx(queue, cx)
    }

    fn poll(&mut self, cx: &mut PortCx<'_>) -> IoResult<()> {
        self.queues[0].poll(cx)
    }

    fn describe(&self) -> String {
        self.queues[0].describe()
    }

    fn close(&mut self, cx: &mut PortCx<'_>) {
        self.queues.iter_mut().for_each(|queue| queue.close(cx));
        assert!(self.queues.iter().all(|queue| queue.chunks() == 0));
    }
}

/// Two namespaces joined by a veth pair of two queues each, with addresses of both families, and a
/// port on the first one's end.
struct Lab {
    node: Netns,
    wire: Netns,
    umem: Arc<Umem>,
    port: Whole,
    worker: Worker,
}

impl Lab {
    fn new(attach: Attach, matches: Option<Matches>) -> Lab {
        needs_root();
        let (node, wire) = (Netns::new(), Netns::new());
        veth(&node, "up0", &wire, "eth0", 1500);
        for (netns, device, n) in [(&node, "up0", 1), (&wire, "eth0", 2)] {
            netns.up(device, &format!("10.8.0.{n}/24"));
            netns.up(device, &format!("fd08::{n}/64"));
        }
        let mut worker = Worker::new(CHUNKS);
        let umem = Umem::new(worker.pool.memory());
        let config = AfXdpConfig { attach, ..config("up0", matches) };
        let mut port = node.within(|| Whole::open(&umem, config)).unwrap();
        port.begin(&mut worker.cx(0)).unwrap();
        Lab { node, wire, umem, port, worker }
    }

    /// The next frame that comes to the port.
    fn receive(&mut self) -> Vec<u8> {
        self.receive_all(1).remove(0)
    }

    fn receive_all(&mut self, count: usize) -> Vec<Vec<u8>> {
        let (mut batch, mut frames) = (Batch::new(), Vec::new());
        until("a frame for the port", || {
            self.worker.rx(&mut self.port, &mut batch);
            for frame in batch.drain() {
                frames.push(frame.segments().flatten().copied().collect());
                frame.free(&mut self.worker.pool);
            }
            frames.len() >= count
        });
        frames
    }

    fn nothing_came(&mut self) {
        let mut batch = Batch::new();
        self.worker.rx(&mut self.port, &mut batch);
        assert!(batch.is_empty());
    }

    fn close(mut self) {
        self.port.close(&mut self.worker.cx(0));
        self.worker.assert_all_chunks_are_back();
    }
}

fn veth(left: &Netns, device: &str, right: &Netns, peer: &str, mtu: u32) {
    let mtu = mtu.to_string();
    let queues = ["mtu", &mtu, "numrxqueues", "2", "numtxqueues", "2"];
    let end = ["ip", "link", "add", device, "netns", &left.name];
    let other = ["type", "veth", "peer", "name", peer, "netns", &right.name];
    run(&[&end[..], &queues, &other, &queues].concat());
}

#[test]
fn only_what_matches_is_redirected() {
    for attach in [Attach::Native, Attach::Generic] {
        let matches = tunnels([vxlan_to("10.8.0.1"), vxlan_to("fd08::1")]);
        let mut lab = Lab::new(attach, Some(matches));
        let sender = lab.wire.within(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let sender6 = lab.wire.within(|| UdpSocket::bind("[::]:0")).unwrap();
        let ours = lab.node.within(|| UdpSocket::bind("10.8.0.1:8472")).unwrap();
        let other = lab.node.within(|| UdpSocket::bind("10.8.0.1:8473")).unwrap();
        let listener = lab.node.within(|| TcpListener::bind("10.8.0.1:8472")).unwrap();
        ours.set_read_timeout(Some(io::PATIENCE)).unwrap();
        other.set_read_timeout(Some(io::PATIENCE)).unwrap();
        let mut bytes = [0; 4000];

        // The kernel keeps ARP, ping, TCP (even to a port of that number) and other UDP ports.
        lab.wire.run(&["ping", "-c", "1", "-W", "5", "10.8.0.1"]);
        lab.wire.run(&["ping", "-c", "1", "-W", "5", "fd08::1"]);
        sender.send_to(b"other", "10.8.0.1:8473").unwrap();
        assert_eq!(other.recv(&mut bytes).unwrap(), 5);
        lab.wire.within(|| TcpStream::connect("10.8.0.1:8472")).unwrap();
        drop(listener.accept().unwrap());
        lab.nothing_came();

        sender.send_to(b"four", "10.8.0.1:8472").unwrap();
        let frame = lab.receive();
        assert_eq!((&frame[12..15], &frame[42..46]), (&[8, 0, 0x45][..], &b"four"[..]));
        sender6.send_to(b"sixth", "[fd08::1]:8472").unwrap();
        let frame = lab.receive();
        assert_eq!((&frame[12..14], &frame[62..67]), (&[0x86, 0xdd][..], &b"sixth"[..]));

        // Fragments carry no port, or not in each: the kernel reassembles them for the socket.
        sender.send_to(&[7; 3000], "10.8.0.1:8472").unwrap();
        assert_eq!(ours.recv(&mut bytes).unwrap(), 3000);
        lab.nothing_came();

        // What matches can be changed at any time.
        lab.port.queues[0].device().set_matches(&tunnels([vxlan_to("fd08::1")])).unwrap();
        sender.send_to(b"now the kernel's", "10.8.0.1:8472").unwrap();
        assert_eq!(ours.recv(&mut bytes).unwrap(), 16);
        lab.nothing_came();
        lab.port.queues[0].device().set_matches(&tunnels([vxlan_to("10.8.0.1")])).unwrap();
        sender.send_to(b"ours again", "10.8.0.1:8472").unwrap();
        assert_eq!(&lab.receive()[42..52], b"ours again");
        lab.close();
    }
}

/// Frames made by hand, sent by a second port on the other end of the wire.
#[test]
fn odd_packets_are_left_to_the_kernel() {
    let (ipip, gre6) = (("10.8.0.1", Steer::Protocol(4)), ("fd08::1", Steer::Protocol(47)));
    let matches = tunnels([vxlan_to("10.8.0.1"), vxlan_to("fd08::1"), ipip, gre6]);
    let mut lab = Lab::new(Attach::Native, Some(matches));
    let mut wire = lab.wire.within(|| Whole::open(&lab.umem, config("eth0", None))).unwrap();

    let udp4 = |port| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 8, 0, 2], [10, 8, 0, 1], 64)
            .udp(5, port)
            .write(&mut frame, b"data")
            .unwrap();
        frame
    };
    let with = |mut frame: Vec<u8>, at: usize, bytes: &[u8]| {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let insert = |mut frame: Vec<u8>, at: usize, bytes: &[u8]| {
        frame.splice(at..at, bytes.iter().copied());
        frame
    };
    let v6 = |next: u8, payload: &[u8]| {
        let mut frame = vec![2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0];
        frame.extend([next, 64]);
        for n in [2, 1] {
            frame.extend([0xfd, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]);
        }
        frame[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        frame.extend(payload);
        frame
    };
    let udp = [0, 5, 0x21, 0x18, 0, 8, 0, 0]; // to port 8472
    let extension =
        |next: u8, words: u8| [&[next, words][..], &vec![0; 6 + 8 * words as usize]].concat();

    let ours = [
        udp4(8472),
        with(udp4(8472), 20, &[0x40, 0]), // don't fragment
        with(udp4(9), 23, &[4]),          // IPIP
        v6(17, &udp),
        v6(0, &[&extension(17, 0)[..], &udp].concat()),
        v6(0, &[&extension(43, 0)[..], &extension(60, 2), &extension(17, 1), &udp].concat()),
        v6(60, &[&extension(47, 3)[..], &[0; 4]].concat()),
    ];
    let not_ours = [
        udp4(8471),
        with(udp4(8472), 30, &[10, 8, 0, 3]), // another address
        with(udp4(8472), 20, &[0x20, 0]),     // the first fragment
        with(udp4(8472), 20, &[0, 1]),        // a later one
        insert(udp4(8472), 12, &[0x81, 0, 0, 1]), // a VLAN tag
        with(insert(udp4(8472), 34, &[1; 4]), 14, &[0x46]), // an IPv4 option
        with(udp4(8472), 23, &[47]),          // GRE, which is asked for over IPv6 only
        udp4(8472)[..40].to_vec(),            // ends within the UDP header
        udp4(8472)[..30].to_vec(),            // ends within the IP header
        udp4(8472)[..14].to_vec(),
        v6(17, &udp[..7]),
        v6(44, &[&extension(17, 0)[..], &udp].concat()), // a fragment header
        v6(51, &[&extension(17, 0)[..], &udp].concat()), // an authentication header
        v6(0, &[&extension(17, 9)[..20], &udp].concat()), // a header longer than the packet
        v6(0, &[&extension(0, 0).repeat(4)[..], &extension(17, 0), &udp].concat()), // five of them
        with(v6(17, &udp), 53, &[9]),                    // another address
    ];
    let mut queue = VecDeque::new();
    for frame in not_ours.iter().chain(&ours) {
        let pool = &mut lab.worker.pool;
        queue.push_back(Frame::copied(frame, pool, PortId(0)).unwrap());
    }
    until("all frames are sent", || {
        lab.worker.tx(&mut wire, &mut queue);
        queue.is_empty()
    });
    let received = lab.receive_all(ours.len());
    assert_eq!(received, ours);
    lab.nothing_came();
    wire.close(&mut lab.worker.cx(0));
    lab.close();
}

/// Two pods on veths, all their frames handed from one to the other by us.
fn tcp_between_pods(attach: Attach, mtu: u32) -> usize {
    needs_root();
    let (node, left, right) = (Netns::new(), Netns::new(), Netns::new());
    let mut worker = Worker::new(CHUNKS);
    let umem = Umem::new(worker.pool.memory());
    let mut ports = [(&left, "pod0", "10.7.0.1/24"), (&right, "pod1", "10.7.0.2/24")].map(
        |(pod, device, address)| {
            veth(&node, device, pod, "eth0", mtu);
            node.run(&["ip", "link", "set", device, "up"]);
            pod.within(|| device::complete_frames("eth0")).unwrap();
            pod.up("eth0", address);
            let config = AfXdpConfig { attach, ..config(device, None) };
            let mut port = node.within(|| Whole::open(&umem, config)).unwrap();
            port.begin(&mut worker.cx(0)).unwrap();
            port
        },
    );
    let mut largest = 0;
    let [a, b] = &mut ports;
    io::tcp_there_and_back(&left, &right, "10.7.0.2", || {
        worker.forward(a, b, |frame| largest = largest.max(frame.len()));
        worker.forward(b, a, |_| {});
    });
    for port in &mut ports {
        assert!(!port.describe().is_empty());
        port.close(&mut worker.cx(0));
    }
    worker.assert_all_chunks_are_back();
    assert_eq!(worker.counters.dropped_in_all(), 0);
    largest
}

#[test]
fn tcp_over_native_xdp() {
    assert_eq!(tcp_between_pods(Attach::Native, 1500), 1514);
}

#[test]
fn tcp_over_generic_xdp() {
    assert_eq!(tcp_between_pods(Attach::Generic, 1500), 1514);
}

#[test]
fn tcp_with_frames_of_several_chunks() {
    assert_eq!(tcp_between_pods(Attach::Native, 9000), 9014);
}

#[test]
fn every_chunk_comes_back_from_an_overrun_port() {
    let mut lab = Lab::new(Attach::Native, Some(tunnels([vxlan_to("10.8.0.1")])));
    let sender = lab.wire.within(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    // Nobody receives: the rings fill up, and then the kernel drops.
    for _ in 0..2000 {
        sender.send_to(b"flood", "10.8.0.1:8472").unwrap();
    }
    until("the kernel's drops are told", || {
        let drops = lab.port.kernel_drops();
        drops.iter().any(|d| d.name == "rx_dropped" && d.count > 1000)
    });
    // The port is at work again at once, and frames that were never received are given back too.
    lab.receive_all(32);
    lab.close();
}

#[test]
fn what_the_device_cannot_send_is_refused() {
    let mut lab = Lab::new(Attach::Native, None);
    let mut queue: VecDeque<Frame> = [0, 1515, 5000, 60]
        .iter()
        .map(|&len| Frame::copied(&vec![0xff; len], &mut lab.worker.pool, PortId(0)).unwrap())
        .collect();
    assert_eq!(lab.worker.tx(&mut lab.port, &mut queue), 1);
    assert!(queue.is_empty());
    assert_eq!(lab.worker.drops(REFUSED), 3);
    lab.close();
}

#[test]
fn many_queues_of_a_device() {
    let mut lab = Lab::new(Attach::Native, Some(tunnels([vxlan_to("10.8.0.1")])));
    assert_eq!((lab.port.queues.len(), lab.port.queues[0].device().queues()), (2, 2));
    // A worker sleeps on edges: each arrival must make one, on whatever queue.
    let mut mio = mio::Poll::new().unwrap();
    for (queue, port) in lab.port.queues.iter().enumerate() {
        let fd = port.readiness().unwrap().as_raw_fd();
        let (mut source, token) = (mio::unix::SourceFd(&fd), mio::Token(queue));
        mio.registry().register(&mut source, token, mio::Interest::READABLE).unwrap();
    }
    let mut events = mio::Events::with_capacity(4);
    let mut came = [0; 2];
    for i in 0..32u8 {
        // Another flow each time, and so now the one queue and now the other.
        let sender = lab.wire.within(|| UdpSocket::bind("10.8.0.2:0")).unwrap();
        sender.send_to(&[i], "10.8.0.1:8472").unwrap();
        mio.poll(&mut events, Some(io::PATIENCE)).unwrap();
        let event = events.iter().next().expect("a frame wakes somebody");
        let mut batch = Batch::new();
        let (port, mut cx) = (&mut lab.port.queues[event.token().0], lab.worker.cx(0));
        assert!(!port.rx(&mut batch, &mut cx).unwrap(), "there is no more");
        assert_eq!(batch.len(), 1, "where readiness was told");
        came[event.token().0] += 1;
        batch.drain().for_each(|frame| frame.free(cx.pool));
    }
    assert!(came[0] > 0 && came[1] > 0, "{came:?}");
    lab.close();
}

/// What a port sends comes in by the queue of its number at the other end: so a flow that one worker
/// has stays with one worker there.
#[test]
fn a_queue_sends_to_its_twin() {
    let mut lab = Lab::new(Attach::Native, None);
    let mut wire = lab.wire.within(|| Whole::open(&lab.umem, config("eth0", None))).unwrap();
    wire.begin(&mut lab.worker.cx(0)).unwrap();
    for queue in [0, 1, 1, 0] {
        let frame = Frame::copied(&[0xff; 60], &mut lab.worker.pool, PortId(0)).unwrap();
        lab.worker.tx(&mut lab.port.queues[queue], &mut VecDeque::from([frame]));
        let mut batch = Batch::new();
        until("the frame", || {
            lab.worker.rx(&mut wire.queues[queue], &mut batch);
            !batch.is_empty()
        });
        batch.drain().for_each(|frame| frame.free(&mut lab.worker.pool));
    }
    wire.close(&mut lab.worker.cx(0));
    lab.close();
}

#[test]
fn a_port_whose_device_was_removed_says_so() {
    let mut lab = Lab::new(Attach::Native, None);
    lab.node.run(&["ip", "link", "delete", "up0"]);
    let frame = Frame::copied(&[0; 60], &mut lab.worker.pool, PortId(0)).unwrap();
    let sent = lab.port.tx(&mut VecDeque::from([frame]), &mut lab.worker.cx(0)).unwrap();
    assert_eq!(sent, 1, "taken, since nobody knew");
    assert!(lab.port.poll(&mut lab.worker.cx(0)).is_err());
    assert!(lab.port.rx(&mut Batch::new(), &mut lab.worker.cx(0)).is_err());
    // Others can still be opened: the memory is registered anew if need be.
    veth(&lab.node, "up1", &lab.wire, "eth1", 1500);
    let mut port = lab.node.within(|| Whole::open(&lab.umem, config("up1", None))).unwrap();
    port.begin(&mut lab.worker.cx(0)).unwrap();
    port.close(&mut lab.worker.cx(0));
    lab.close();
}

#[test]
fn errors_say_what_to_do() {
    let lab = Lab::new(Attach::Auto, None);
    let open = |config| lab.node.within(|| AfXdp::open(&lab.umem, config)).unwrap_err();
    let missing = open(config("nothing", None));
    assert!(matches!(missing, AfXdpError::Missing(_)), "{missing}");
    let busy = open(config("up0", None));
    assert!(matches!(busy, AfXdpError::Busy(_)), "{busy}");
    let ring = open(AfXdpConfig { ring: 100, ..config("up0", None) });
    assert!(ring.to_string().contains("power of two"), "{ring}");
    lab.close();
}

#[test]
fn an_idle_port_finds_its_device_removed_too() {
    let mut lab = Lab::new(Attach::Native, None);
    lab.node.run(&["ip", "link", "delete", "up0"]);
    assert!(lab.port.queues.iter_mut().all(|queue| queue.settle().is_err()));
    assert!(lab.port.rx(&mut Batch::new(), &mut lab.worker.cx(0)).is_err());
    lab.close();
}

/// What `ip link` says of an XDP program.
fn has_program(netns: &Netns, device: &str) -> bool {
    netns.run(&["ip", "link", "show", device]).contains("xdp")
}

const CHILD: &str = "IO_TEST_CHILD_DEVICE";

/// Not a test: what a child process runs that the tests below start.
#[test]
#[ignore = "run by other tests as a process of its own"]
fn child() {
    let device = std::env::var(CHILD).unwrap();
    let mut worker = Worker::new(256);
    let umem = Umem::new(worker.pool.memory());
    match Whole::open(&umem, config(&device, None)) {
        Ok(mut port) => {
            port.begin(&mut worker.cx(0)).unwrap();
            println!("the child has {device}");
            std::thread::sleep(io::PATIENCE);
        }
        Err(e) => println!("the child has an error: {e}"),
    }
}

/// A process that runs `child` in a namespace, killed with this value.
struct ChildProcess {
    process: Child,
    /// What it said first; its output stays open.
    said: String,
    _output: BufReader<ChildStdout>,
}

impl ChildProcess {
    fn start(netns: &Netns, device: &str, wrapper: &[&str]) -> ChildProcess {
        let mut process = Command::new("ip")
            .args(["netns", "exec", &netns.name])
            .args(wrapper)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CHILD, device)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map_while(Result::ok);
        let said = lines.find(|line| line.contains("the child has")).unwrap_or_default();
        ChildProcess { process, said, _output: output }
    }

    /// SIGKILL: `ip netns exec` has become the child by exec.
    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn nothing_is_left_after_sigkill() {
    needs_root();
    let (node, wire) = (Netns::new(), Netns::new());
    veth(&node, "up0", &wire, "eth0", 1500);
    node.up("up0", "10.8.0.1/24");
    wire.up("eth0", "10.8.0.2/24");
    let child = ChildProcess::start(&node, "up0", &[]);
    assert!(child.said.ends_with("the child has up0"), "{}", child.said);
    assert!(has_program(&node, "up0"));
    child.kill();
    until("the program is gone", || !has_program(&node, "up0"));
    wire.run(&["ping", "-c", "1", "-W", "5", "10.8.0.1"]);
    // And the device can be had again.
    let child = ChildProcess::start(&node, "up0", &[]);
    assert!(child.said.ends_with("the child has up0"), "{}", child.said);
    child.kill();
}

#[test]
fn without_privilege() {
    needs_root();
    let (node, wire) = (Netns::new(), Netns::new());
    veth(&node, "up0", &wire, "eth0", 1500);
    let powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let child = ChildProcess::start(&node, "up0", &powerless);
    let said = &child.said;
    assert!(said.contains("not permitted") && said.contains("CAP_NET_ADMIN"), "{said}");
    child.kill();
}

#[test]
fn a_thousand_matches() {
    needs_root();
    let (node, wire) = (Netns::new(), Netns::new());
    veth(&node, "up0", &wire, "eth0", 1500);
    let device = node.within(|| Device::attach(config("up0", Some(Matches::default())))).unwrap();
    let address = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
    let many = Matches {
        tunnels: (0..1000).map(|n| (address(n), Steer::Protocol(4))).collect(),
        pods: (0..1000).map(|n| address(n).into()).collect(),
    };
    device.set_matches(&many).unwrap();
    device.set_matches(&Matches::default()).unwrap();
    device.set_matches(&many).unwrap();
}
