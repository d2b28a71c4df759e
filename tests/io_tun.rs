//! TUN and TAP devices with the kernel's own stack behind them.
#![allow(clippy::unwrap_used)]

mod io;

use cableway::io::Port;
use cableway::io::tun::{Kind, Tun, TunConfig, TunError};
use io::{Netns, Worker, needs_root, until};
use pipeline::frame::{BATCH_SIZE, Batch, Frame, GsoKind, HEADROOM, Link, Partial};
use pipeline::snapshot::PortId;
use pipeline::stages::port::{NO_MEMORY, REFUSED};
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn config(netns: &Netns, kind: Kind, name: &str) -> TunConfig {
    TunConfig {
        kind,
        name: name.to_owned(),
        netns: Some(netns.path()),
        mtu: 1450,
        mac: None,
        queues: 1,
        tx_queue_len: 1000,
    }
}

fn create(netns: &Netns, kind: Kind, name: &str) -> Tun {
    Tun::create(&config(netns, kind, name)).unwrap().remove(0)
}

/// Turns an echo request into its reply; the sum of what changes is the type's.
fn answer(frame: &mut Frame) {
    let packet = frame.head_mut();
    assert_eq!(packet[0], 0x45);
    let (source, destination) = packet[12..20].split_at_mut(4);
    source.swap_with_slice(destination);
    assert_eq!(packet[20], 8, "an echo request");
    packet[20] = 0;
    let sum = u32::from(u16::from_be_bytes([packet[22], packet[23]])) + 0x0800;
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[22..24].copy_from_slice(&(sum as u16).to_be_bytes());
}

#[test]
fn ping_is_answered() {
    needs_root();
    let pod = Netns::new();
    let mut tun = create(&pod, Kind::Tun, "eth0");
    assert_eq!(tun.link(), Link::Ip);
    assert!(tun.readiness().is_some());
    pod.up("eth0", "10.9.0.1/24");
    let mut worker = Worker::new(256);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ping = scope.spawn(|| {
            let text = pod.run(&["ping", "-c", "3", "-i", "0.05", "-W", "5", "10.9.0.2"]);
            done.store(true, Ordering::Relaxed);
            text
        });
        let (mut batch, mut queue) = (Batch::new(), VecDeque::new());
        until("ping", || {
            worker.rx(&mut tun, &mut batch);
            for frame in batch.drain() {
                match frame.head()[0] >> 4 {
                    4 => queue.push_back(frame),
                    _ => frame.free(&mut worker.pool), // the kernel solicits IPv6 routers
                }
            }
            queue.iter_mut().for_each(answer);
            worker.tx(&mut tun, &mut queue);
            assert!(queue.is_empty());
            done.load(Ordering::Relaxed)
        });
        assert!(ping.join().unwrap().contains(" 0% packet loss"));
    });
    tun.close(&mut worker.cx(0));
    worker.assert_all_chunks_are_back();
    assert_eq!(worker.counters.dropped_in_all(), 0);
}

/// TCP both ways between two namespaces through two devices; returns the largest super-frame seen.
fn tcp_between(kind: Kind, address: [&str; 2]) -> usize {
    needs_root();
    let (left, right) = (Netns::new(), Netns::new());
    let (mut a, mut b) = (create(&left, kind, "eth0"), create(&right, kind, "eth0"));
    left.up("eth0", address[0]);
    right.up("eth0", address[1]);
    let host = address[1].split('/').next().unwrap();
    let mut worker = Worker::new(4096);
    let mut largest = 0;
    let mut look = |frame: &mut Frame| {
        if frame.meta.gso.kind != GsoKind::None {
            assert!(frame.meta.partial.is_pending());
            assert!(usize::from(frame.meta.gso.size) <= 1450 - 40);
            largest = largest.max(frame.len());
        }
    };
    io::tcp_there_and_back(&left, &right, host, || {
        worker.forward(&mut a, &mut b, &mut look);
        worker.forward(&mut b, &mut a, &mut look);
    });
    a.close(&mut worker.cx(0));
    b.close(&mut worker.cx(0));
    worker.assert_all_chunks_are_back();
    assert_eq!(worker.counters.dropped_in_all(), 0);
    largest
}

#[test]
fn tcp4_super_frames_over_tun() {
    assert!(tcp_between(Kind::Tun, ["10.9.0.1/24", "10.9.0.2/24"]) > 30_000);
}

#[test]
fn tcp6_super_frames_over_tap() {
    assert!(tcp_between(Kind::Tap, ["fd00::1/64", "fd00::2/64"]) > 30_000);
}

#[test]
fn what_the_kernel_refuses_is_counted() {
    needs_root();
    let pod = Netns::new();
    let mut tun = create(&pod, Kind::Tun, "eth0");
    let mut worker = Worker::new(256);
    let port = PortId(0);
    let good = |worker: &mut Worker| Frame::copied(&[0x45; 60], &mut worker.pool, port).unwrap();

    // The device is down.
    let mut queue = VecDeque::from([good(&mut worker)]);
    assert_eq!(worker.tx(&mut tun, &mut queue), 0);
    assert_eq!(worker.drops(REFUSED), 1);

    pod.up("eth0", "10.9.0.1/24");
    // Neither IPv4 nor IPv6; a checksum that would start before the frame.
    let alien = Frame::copied(&[0xff; 60], &mut worker.pool, port).unwrap();
    let mut early = good(&mut worker);
    early.meta.partial = Partial { start: HEADROOM as u16 - 1, offset: 16 };
    let mut queue = VecDeque::from([alien, early, good(&mut worker)]);
    assert_eq!(worker.tx(&mut tun, &mut queue), 1, "what follows a refused frame is sent");
    assert_eq!(worker.drops(REFUSED), 3);
    assert!(queue.is_empty());

    tun.close(&mut worker.cx(0));
    worker.assert_all_chunks_are_back();
}

#[test]
fn as_many_segments_as_a_batch_has_are_written_at_once() {
    needs_root();
    let pod = Netns::new();
    let mut tun = create(&pod, Kind::Tun, "eth0");
    pod.up("eth0", "10.9.0.1/24");
    let mut worker = Worker::new(256);
    let piece =
        |worker: &mut Worker| Frame::copied(&[0x45; 500], &mut worker.pool, PortId(0)).unwrap();
    let mut whole = piece(&mut worker);
    (1..BATCH_SIZE).for_each(|_| whole.join(piece(&mut worker)));
    assert_eq!(worker.tx(&mut tun, &mut VecDeque::from([whole])), 1);
    tun.close(&mut worker.cx(0));
    worker.assert_all_chunks_are_back();
}

#[test]
fn a_frame_that_no_memory_is_left_for_is_counted() {
    needs_root();
    let pod = Netns::new();
    let jumbo = TunConfig { mtu: 9000, ..config(&pod, Kind::Tun, "eth0") };
    let mut tun = Tun::create(&jumbo).unwrap().remove(0);
    pod.up("eth0", "10.9.0.1/24");
    let socket = pod.within(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    let mut worker = Worker::new(64);
    let mut taken: Vec<_> = (0..62).map(|_| worker.pool.alloc().unwrap()).collect();
    let mut batch = Batch::new();
    worker.rx(&mut tun, &mut batch); // what IPv6 said when the device went up
    batch.drain().for_each(|frame| frame.free(&mut worker.pool));
    let before = worker.drops(NO_MEMORY);

    // Five chunks long, and there are two.
    socket.send_to(&[0x5a; 8000], "10.9.0.2:9").unwrap();
    worker.rx(&mut tun, &mut batch);
    assert_eq!((worker.drops(NO_MEMORY), batch.len()), (before + 1, 0));

    taken.drain(..).for_each(|chunk| worker.pool.free(chunk));
    socket.send_to(&[0x5a; 8000], "10.9.0.2:9").unwrap();
    worker.rx(&mut tun, &mut batch);
    assert_eq!(
        batch.drain().map(|frame| (frame.len(), frame.free(&mut worker.pool)).0).max(),
        Some(8028)
    );
    tun.close(&mut worker.cx(0));
    worker.assert_all_chunks_are_back();
}

#[test]
fn the_device_goes_with_its_last_queue_and_drops_are_told() {
    needs_root();
    let pod = Netns::new();
    let config = TunConfig { queues: 2, tx_queue_len: 8, ..config(&pod, Kind::Tun, "many") };
    let mut queues = Tun::create(&config).unwrap();
    assert_eq!(queues.len(), 2);
    pod.up("many", "10.9.0.1/24");
    // More than two queues of eight take.
    let socket = pod.within(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    for _ in 0..100 {
        let _ = socket.send_to(b"into the queue", "10.9.0.2:9");
    }
    let mut meters: Vec<_> = queues.iter_mut().filter_map(Port::meter).collect();
    assert_eq!(meters.len(), 1, "the device has one set of counters");
    let dropped: u64 = meters[0].kernel_drops().iter().map(|d| d.count).sum();
    assert!(dropped >= 80, "{dropped} of 100 were dropped");
    let mut worker = Worker::new(256);
    let mut batch = Batch::new();
    for queue in &mut queues {
        worker.rx(queue, &mut batch);
        queue.close(&mut worker.cx(0));
    }
    assert!(batch.len() >= 8);
    batch.drain().for_each(|frame| frame.free(&mut worker.pool));
    worker.assert_all_chunks_are_back();

    queues.pop();
    assert!(pod.within(|| io::exists("many")));
    queues.pop();
    assert!(!pod.within(|| io::exists("many")));
}

#[test]
fn a_port_whose_device_was_removed_says_so() {
    needs_root();
    let pod = Netns::new();
    let mut tun = create(&pod, Kind::Tap, "eth0");
    pod.run(&["ip", "link", "delete", "eth0"]);
    let mut worker = Worker::new(256);
    assert!(tun.rx(&mut Batch::new(), &mut worker.cx(0)).is_err());
    let frame = Frame::copied(&[0; 60], &mut worker.pool, PortId(0)).unwrap();
    let mut queue = VecDeque::from([frame]);
    assert!(tun.tx(&mut queue, &mut worker.cx(0)).is_err());
    assert_eq!(queue.len(), 1, "its owner decides what becomes of the frame");
}

#[test]
fn errors_say_what_to_do() {
    needs_root();
    let pod = Netns::new();
    let missing =
        TunConfig { netns: Some(io::nowhere().to_owned()), ..config(&pod, Kind::Tun, "x") };
    let text = Tun::create(&missing).unwrap_err().to_string();
    assert!(text.contains("io-does-not-exist") && text.contains("ip netns list"), "{text}");

    pod.run(&["ip", "tuntap", "add", "taken", "mode", "tun"]);
    let taken = Tun::create(&config(&pod, Kind::Tun, "taken")).unwrap_err();
    assert!(matches!(taken, TunError::Exists(_)), "{taken}");
    assert!(taken.to_string().contains("ip link delete taken"));

    let long = Tun::create(&config(&pod, Kind::Tun, "a-name-of-more-than-15-bytes")).unwrap_err();
    assert!(long.to_string().contains("a-name-of-more-than-15-bytes"), "{long}");
}
